//! This very program as something that a container cannot write to (CVE-2019-5736): what a container's processes reach
//! through /proc/PID/exe lies on a read-only mount of its own, or in sealed memory.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

use carrack_sys::mount::{Attributes, set_attributes};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags, StatVfsMountFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{MountAttrFlags, OpenTreeFlags};

/// A descriptor to execute our own program by, made once a process. Close-on-exec.
pub fn own_binary() -> Result<BorrowedFd<'static>> {
    static BINARY: OnceLock<Result<OwnedFd>> = OnceLock::new();
    match BINARY.get_or_init(open) {
        Ok(binary) => Ok(binary.as_fd()),
        Err(errno) => Err(*errno),
    }
}

/// Whether this process itself runs from something that cannot be written to, so that what it forks does too.
pub(super) fn runs_from_it() -> bool {
    static SAFE: OnceLock<bool> = OnceLock::new();
    *SAFE.get_or_init(|| running().and_then(already_safe).is_ok())
}

fn running() -> Result<OwnedFd> {
    rustix::fs::openat(CWD, "/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

fn open() -> Result<OwnedFd> {
    let running = running()?;
    read_only_clone(&running).or_else(|_| already_safe(running)).or_else(|_| sealed_copy())
}

/// A mount that shows this one file and cannot be written through.
fn read_only_clone(running: &OwnedFd) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let clone = rustix::mount::open_tree(running, c"", flags)?;
    let attributes = Attributes {
        set: MountAttrFlags::MOUNT_ATTR_RDONLY,
        clear: MountAttrFlags::empty(),
        propagation: None,
        recursive: false,
    };
    set_attributes(&clone, attributes)?;
    Ok(clone)
}

/// A process that was itself started this way runs from such a mount, which older kernels refuse to clone.
fn already_safe(running: OwnedFd) -> Result<OwnedFd> {
    let flags = rustix::fs::fstatvfs(&running)?.f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) { Ok(running) } else { Err(Errno::ROFS) }
}

/// A copy in memory that is sealed against every change.
fn sealed_copy() -> Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("carrack", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("carrack", flags))?;
    let mut copy = File::from(memory);
    let copied = File::open("/proc/self/exe").and_then(|mut running| std::io::copy(&mut running, &mut copy));
    copied.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    Ok(copy.into())
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::fd::AsRawFd;

    use super::{own_binary, sealed_copy};

    /// CVE-2019-5736, also where the kernel does not let us clone a mount: opened again, neither way can be written.
    #[test]
    fn neither_clone_nor_copy_can_be_written() {
        let copy = sealed_copy().expect("a copy");
        let clone = own_binary().expect("a descriptor");
        for number in [copy.as_raw_fd(), clone.as_raw_fd()] {
            let path = format!("/proc/self/fd/{number}");
            let written = OpenOptions::new().write(true).open(&path).and_then(|mut file| {
                use std::io::Write;
                file.write_all(b"x")
            });
            assert!(written.is_err(), "{path}");
            assert!(std::fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"\x7fELF")));
        }
    }
}
