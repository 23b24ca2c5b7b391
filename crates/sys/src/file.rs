use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

use crate::process::check;

/// Has the kernel begin to write back what was written to a part of a file (sync_file_range(2)), and does not wait for it:
/// a sync at the end then finds little to do. It promises nothing.
pub fn start_writeback(fd: impl AsFd, offset: u64, length: u64) -> Result<()> {
    let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    // SAFETY: only numbers are handed over.
    check(unsafe {
        libc::sync_file_range(fd.as_fd().as_raw_fd(), clamp(offset), clamp(length), libc::SYNC_FILE_RANGE_WRITE)
    })
}

/// Far more than mounts and renames elsewhere on the host make necessary, and no more than a moment.
const ATTEMPTS_MAX: u32 = 1000;

/// Opens a path below a folder, close-on-exec (openat2(2)).
///
/// Where something on the host is mounted or renamed at that moment, the kernel can't tell that a `..` stayed inside and
/// says so with `EAGAIN`: then it is asked again, up to a bound, as a container may go on renaming for ever.
pub fn open_below(
    folder: impl AsFd,
    path: impl rustix::path::Arg,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd> {
    let path = path.into_c_str()?;
    for _ in 1..ATTEMPTS_MAX {
        match rustix::fs::openat2(&folder, &*path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => std::thread::yield_now(),
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// Renames beside it, as every host has them, are no reason to fail.
    #[test]
    fn what_moves_elsewhere_is_no_obstacle() {
        let folder = std::env::temp_dir().join(format!("carrack-open-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("a/b")).unwrap();
        std::fs::create_dir(folder.join("moves")).unwrap();
        let root = rustix::fs::open(&folder, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::fs::rename(folder.join("moves"), folder.join("moved")).unwrap();
                    std::fs::rename(folder.join("moved"), folder.join("moves")).unwrap();
                }
            });
            // Long enough that a rename falls into some of the lookups, and short enough that it does not into all.
            let path = format!("{}a/b", "a/../".repeat(40));
            let opened = (0..5000)
                .try_for_each(|_| open_below(&root, path.as_str(), OFlags::PATH, ResolveFlags::IN_ROOT).map(drop));
            done.store(true, Ordering::Relaxed);
            opened.unwrap();
        });
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
