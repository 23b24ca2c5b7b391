//! User namespaces that nobody lives in: they only say how a mount shows owners and groups (mount_setattr(2), idmapped mounts).

use std::os::fd::OwnedFd;

use carrack_specgen::container::Identities;
use carrack_sys::process::{self, Fork, SingleThreaded, namespace};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{WaitId, WaitIdOptions};

use super::interpret::{Done, Failure};

/// A namespace with these maps. Its one process has ended by then. The host's procfs must still be in sight.
pub(super) fn user_namespace(proof: &SingleThreaded, identities: &Identities) -> Done<OwnedFd> {
    let (said, says) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let (awaited, awaits) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    let child = match process::fork(proof, false)? {
        Fork::Child => {
            drop(awaits);
            process::exit_immediately(if inhabit(proof, &says, &awaited).is_ok() { 0 } else { 1 })
        }
        Fork::Parent(child) => child,
    };
    drop((says, awaited));
    let mut pid = [0; 16];
    let length = rustix::io::read(&said, &mut pid)?;
    let made = std::str::from_utf8(pid.get(..length).unwrap_or_default()).ok().filter(|pid| !pid.is_empty());
    let namespace = made.ok_or(Failure::new(Errno::PERM, "making a user namespace")).and_then(|pid| {
        let write = |name: &str, map: String| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::write(path, &map)
                .map_err(|error| Failure::new(errno_of(&error), format!("{name} {}", map.trim_end())))
        };
        write("uid_map", lines(&identities.uids))?;
        write("gid_map", lines(&identities.gids))?;
        Ok(rustix::fs::openat(CWD, format!("/proc/{pid}/ns/user"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    });
    drop(awaits);
    rustix::process::waitid(WaitId::PidFd(rustix::fd::AsFd::as_fd(&child.pidfd)), WaitIdOptions::EXITED)?;
    namespace
}

/// The new process: it says who it is in the procfs that is in sight, which may be of another process namespace.
fn inhabit(proof: &SingleThreaded, says: &OwnedFd, awaited: &OwnedFd) -> Result<(), Errno> {
    process::unshare(proof, namespace::USER)?;
    let pid = rustix::fs::readlinkat(CWD, "/proc/self", Vec::new())?;
    rustix::io::write(says, pid.as_bytes())?;
    rustix::io::read(awaited, &mut [0; 1]).map(drop)
}

fn lines(mappings: &[carrack_oci::runtime::IdMapping]) -> String {
    mappings.iter().map(|one| format!("{} {} {}\n", one.container_id, one.host_id, one.size)).collect()
}

fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
