//! A scope goes with its last process. Between the end of a root's last container and the next start one process of ours
//! stays in it, asleep, so that a start need not wait for another scope nor race with the end of this one. It ends when there
//! was nothing for a while; killed, it takes nothing with it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use carrack_sys::process::{self, Process};
use rustix::fs::{FlockOperation, flock};
use rustix::pipe::PipeFlags;
use rustix::process::Signal;

use super::super::SHIMS;
use crate::init::own_binary;

/// Argument zero of a process that is to keep a scope.
pub(crate) const ARGV0: &str = "carrack-keeper";
/// Its group in the scope.
pub(crate) const GROUP: &str = "keeper";
/// How long a scope stays without containers, at least.
const PATIENCE: Duration = Duration::from_secs(60);

/// A keeper that was just born.
pub(super) struct Keeper {
    pub(super) pid: i32,
    process: Process,
}

impl Keeper {
    pub(super) fn kill(&self) {
        let _gone = rustix::process::pidfd_send_signal(&self.process.pidfd, Signal::KILL);
    }
}

/// Keeps the keeper from ending, where there is one.
pub(super) fn hold(scope: &Path) -> Option<OwnedFd> {
    let folder = scope.join(GROUP);
    let held = File::open(&folder).ok()?;
    flock(&held, FlockOperation::LockShared).ok()?;
    // Looked at under the lock, without which it does not end.
    fs::read_to_string(folder.join("cgroup.procs")).is_ok_and(|processes| !processes.is_empty()).then(|| held.into())
}

/// Moves the keeper to its place, so that controllers can be handed down from the scope.
pub(super) fn settle(scope: &Path, pid: i32) -> io::Result<()> {
    let folder = scope.join(GROUP);
    match fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::write(folder.join("cgroup.procs"), pid.to_string())
}

/// Starts one, still in the caller's group.
pub(super) fn spawn(scope: &Path) -> io::Result<Keeper> {
    let (path, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    File::from(ours).write_all(scope.as_os_str().as_encoded_bytes())?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let process = process::spawn(&process::Spawn {
        program: own_binary()?,
        argv0: c"carrack-keeper",
        environment: &[],
        namespaces: 0,
        cgroup: None,
        awaited: false,
        descriptors: &[null.as_fd(), null.as_fd(), null.as_fd(), path.as_fd()],
        failure: null.as_fd(),
    })?;
    Ok(Keeper { pid: process.pid, process })
}

/// The new process's part.
pub(crate) fn main() -> ! {
    if let (Ok(scope), Ok((never, _writer))) = (born(), rustix::pipe::pipe_with(PipeFlags::CLOEXEC)) {
        // Nobody writes to it: to wait for it is to sleep, with none of the program's code mapped.
        while process::wait_without_code(&never, Some(PATIENCE)).is_ok() && !is_over(&scope) {}
    }
    process::exit_immediately(0);
}

fn born() -> io::Result<PathBuf> {
    let mut path = Vec::new();
    File::from(process::take_inherited(3)?).read_to_end(&mut path)?;
    rustix::process::chdir("/")?;
    use std::os::unix::ffi::OsStringExt as _;
    Ok(std::ffi::OsString::from_vec(path).into())
}

/// Whether nobody needs it: then the lock is held to the end, which comes at once.
fn is_over(scope: &Path) -> bool {
    let Ok(folder) = File::open(scope.join(GROUP)) else { return true };
    if flock(&folder, FlockOperation::NonBlockingLockExclusive).is_err() {
        return false;
    }
    let needed = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let is_group = entry.file_type().is_ok_and(|kind| kind.is_dir()) && name != GROUP;
        let has_shims =
            || fs::read_to_string(entry.path().join("cgroup.procs")).is_ok_and(|processes| !processes.is_empty());
        is_group && (name != SHIMS || has_shims())
    };
    let is_needed = fs::read_dir(scope).into_iter().flatten().flatten().any(needed);
    if !is_needed {
        std::mem::forget(folder);
    }
    !is_needed
}
