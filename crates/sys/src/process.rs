use std::convert::Infallible;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::{Errno, Result};

use crate::signal;

/// Namespaces as `CLONE_NEW…` bits (clone(2)).
pub mod namespace {
    /// File systems.
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    /// Processes.
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    /// System V and POSIX queues, semaphores, shared memory.
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    /// Host name.
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    /// Interfaces.
    pub const NETWORK: u64 = libc::CLONE_NEWNET as u64;
    /// View of the control groups.
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
    /// User and group ids.
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
}

/// A process to make.
#[derive(Debug)]
pub struct Spawn<'a> {
    /// The executable; `O_PATH` is enough.
    pub program: BorrowedFd<'a>,
    /// Its whole argument vector is this word.
    pub argv0: &'a CStr,
    /// Its environment, `NAME=VALUE`.
    pub environment: &'a [&'a CStr],
    /// New namespaces ([`namespace`]).
    pub namespaces: u64,
    /// Folder of a v2 control group to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// What the program finds at descriptors 0, 1, 2, …; every other one is closed when it is executed.
    pub descriptors: &'a [BorrowedFd<'a>],
    /// A socket that gets the errno in four bytes, native order, where the program can't be executed.
    pub failure: BorrowedFd<'a>,
    /// Whether to return only when the program is executed. Until then the new process holds every descriptor of ours,
    /// and one that we close is still reported by epoll(7). Not for a group that may be frozen: there it would take as
    /// long as that lasts.
    pub awaited: bool,
}

/// A process of ours.
#[derive(Debug)]
pub struct Process {
    /// Its number in our process namespace.
    pub pid: i32,
    /// Its descriptor, close-on-exec.
    pub pidfd: OwnedFd,
}

/// Makes a process and executes a program in it: a session of its own, signals at their defaults and unblocked.
///
/// Safe beside other threads: between birth and execution it makes async-signal-safe calls only. A failure there is
/// written to [`Spawn::failure`] and the process exits with 127.
pub fn spawn(request: &Spawn<'_>) -> Result<Process> {
    // Above every number that they will be given, so that giving one never closes another.
    let floor = request.descriptors.len() as RawFd;
    let lift = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, floor);
    let descriptors = request.descriptors.iter().map(|fd| lift(*fd)).collect::<Result<Vec<_>>>()?;
    let program = lift(request.program)?;
    let failure = lift(request.failure)?;
    let arguments = [request.argv0.as_ptr(), std::ptr::null()];
    let environment: Vec<*const libc::c_char> =
        request.environment.iter().map(|entry| entry.as_ptr()).chain([std::ptr::null()]).collect();
    let awaited = if request.awaited { libc::CLONE_VFORK as u64 } else { 0 };

    let blocked = signal::block_all()?;
    // SAFETY: the child runs `become_program` only, which allocates nothing, takes no lock and never returns; all it
    // reads was made before.
    let born = unsafe { clone3(request.namespaces | awaited, request.cgroup) };
    if matches!(born, Ok(None)) {
        let raw = |fd: &OwnedFd| fd.as_raw_fd();
        become_program(&descriptors, raw(&program), &arguments, &environment, raw(&failure));
    }
    signal::restore(&blocked)?;
    match born? {
        Some(process) => Ok(process),
        None => unreachable!("the child never comes here"),
    }
}

/// Makes a process that goes on as `child` without executing anything: signals as in [`spawn`], its own session, the
/// given descriptors as 0, 1, 2, …, those from 3 on handed over, and every other one closed.
pub fn fork_into(
    _proof: &SingleThreaded,
    namespaces: u64,
    cgroup: Option<BorrowedFd<'_>>,
    descriptors: &[BorrowedFd<'_>],
    child: impl FnOnce(Vec<OwnedFd>) -> Infallible,
) -> Result<Process> {
    let floor = descriptors.len() as RawFd;
    let lift = |fd: &BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, floor);
    let lifted = descriptors.iter().map(lift).collect::<Result<Vec<_>>>()?;
    let blocked = signal::block_all()?;
    // SAFETY: there is one thread, so nothing that the child may touch is held by another.
    let born = unsafe { clone3(namespaces, cgroup) };
    if matches!(born, Ok(None)) {
        signal::reset_dispositions();
        let _ = rustix::process::setsid();
        // SAFETY: plain system calls. The child never returns to a caller that owns one of the closed descriptors, so no
        // owner of a number but those made here is left.
        let handed = unsafe {
            let placed = lifted.iter().enumerate().all(|(number, fd)| libc::dup2(fd.as_raw_fd(), number as RawFd) >= 0);
            let closed = libc::syscall(libc::SYS_close_range, floor, u32::MAX, 0) == 0;
            std::mem::forget(lifted);
            (placed && closed && signal::unblock_all().is_ok()).then(|| {
                (3..floor)
                    .map(|number| {
                        libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC);
                        OwnedFd::from_raw_fd(number)
                    })
                    .collect()
            })
        };
        let _: Option<Infallible> = handed.map(child);
        exit_immediately(127);
    }
    signal::restore(&blocked)?;
    match born? {
        Some(process) => Ok(process),
        None => unreachable!("the child never comes here"),
    }
}

/// The child's part: async-signal-safe from first to last.
fn become_program(
    descriptors: &[OwnedFd],
    program: RawFd,
    arguments: &[*const libc::c_char],
    environment: &[*const libc::c_char],
    failure: RawFd,
) -> ! {
    signal::reset_dispositions();
    let _ = rustix::process::setsid();
    // SAFETY: plain system calls on descriptors that this process owns a copy of; both vectors end in a null pointer and
    // hold strings that end in a zero byte.
    unsafe {
        let mut placed = true;
        for (number, descriptor) in descriptors.iter().enumerate() {
            placed &= libc::dup2(descriptor.as_raw_fd(), number as RawFd) >= 0;
        }
        // Also those that somebody opened without close-on-exec: a leaked folder of the host is a way out (CVE-2024-21626).
        let closed = libc::syscall(libc::SYS_close_range, descriptors.len(), u32::MAX, CLOSE_RANGE_CLOEXEC) == 0;
        if placed && closed && signal::unblock_all().is_ok() {
            libc::syscall(
                libc::SYS_execveat,
                program,
                c"".as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
                libc::AT_EMPTY_PATH,
            );
        }
        let errno = (*libc::__errno_location()).to_ne_bytes();
        libc::write(failure, errno.as_ptr().cast(), errno.len());
        libc::_exit(127)
    }
}

/// Proof that this process had one thread when it was asked.
///
/// Whoever holds it promises to start none: forking beside threads leaves their locks taken for ever.
#[derive(Debug)]
pub struct SingleThreaded(PhantomData<*const ()>);

impl SingleThreaded {
    /// The proof, or none where there are more threads.
    pub fn check() -> Option<Self> {
        let threads = std::fs::read_dir("/proc/self/task").ok()?.count();
        (threads == 1).then_some(Self(PhantomData))
    }
}

/// Which side of a fork this is.
#[derive(Debug)]
pub enum Fork {
    /// The old process, with the new one.
    Parent(Process),
    /// The new process.
    Child,
}

/// fork(2). The child is the caller's own or, with `sibling`, its parent's.
pub fn fork(_proof: &SingleThreaded, sibling: bool) -> Result<Fork> {
    let flags = libc::CLONE_PIDFD | libc::SIGCHLD | if sibling { libc::CLONE_PARENT } else { 0 };
    let mut pidfd: RawFd = -1;
    // The old call: container filters answer "unknown" to clone3, whose flags they can't see.
    // SAFETY: there is one thread, so nothing that the child may touch is held by another. Without a stack it returns
    // twice like fork; the third argument, where the kernel puts the descriptor, is third on every architecture.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    match pid {
        -1 => Err(last_errno()),
        0 => Ok(Fork::Child),
        // SAFETY: the kernel has just made this descriptor for us.
        pid => Ok(Fork::Parent(Process { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })),
    }
}

/// clone3(2) like a fork. None in the child.
///
/// # Safety
/// Beside other threads the child may make async-signal-safe calls only, until it executes a program.
unsafe fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Option<Process>> {
    let mut pidfd: RawFd = -1;
    // SAFETY: the structure is plain integers, for which zero means "not asked for".
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags | libc::CLONE_PIDFD as u64;
    arguments.pidfd = (&raw mut pidfd).addr() as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    if let Some(cgroup) = cgroup {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments live as long as the call, and without a stack it returns twice like fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match pid {
        -1 => Err(last_errno()),
        0 => Ok(None),
        // SAFETY: the kernel has just made this descriptor for us.
        pid => Ok(Some(Process { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })),
    }
}

/// Not in every libc's headers.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Leaves for new namespaces ([`namespace`]; not `USER`, and `PID` concerns children only).
pub fn unshare(_proof: &SingleThreaded, namespaces: u64) -> Result<()> {
    // SAFETY: with one thread no descriptor table or directory is shared with anybody.
    check(unsafe { libc::unshare(namespaces as libc::c_int) })
}

/// Enters the namespaces of a process behind its descriptor, or the one behind a namespace's (setns(2)).
pub fn set_namespaces(_proof: &SingleThreaded, fd: impl AsFd, namespaces: u64) -> Result<()> {
    // SAFETY: a plain system call on a descriptor that is borrowed for its time.
    check(unsafe { libc::setns(fd.as_fd().as_raw_fd(), namespaces as libc::c_int) })
}

/// Sends a signal by number, a real-time one too, to a process behind its descriptor (pidfd_send_signal(2)).
pub fn send_signal(pidfd: impl AsFd, number: i32) -> Result<()> {
    let pidfd = pidfd.as_fd().as_raw_fd();
    // SAFETY: no information beside the number is given, and the descriptor is borrowed for the time of the call.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, number, std::ptr::null::<()>(), 0) } as libc::c_int)
}

/// Descriptors that were already taken, so that none gets two owners.
static TAKEN: AtomicU64 = AtomicU64::new(0);

/// Takes ownership of a descriptor that the program was born with, each once, and marks it close-on-exec.
///
/// # Errors
/// `EBADF` for a number of 64 and more, one that was taken before, or one that is not open.
pub fn take_inherited(number: RawFd) -> Result<OwnedFd> {
    if !claim(&TAKEN, number) {
        return Err(Errno::BADF);
    }
    // SAFETY: fcntl takes any number; one that is not open is an error.
    check(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) })?;
    // SAFETY: it is open, and the table above gives it one owner. Callers take it before they open anything themselves.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether this number's one owner is the caller. Apart from the table of this process, whose numbers a test can't know
/// to be closed: other tests open descriptors at the same time.
pub(crate) fn claim(taken: &AtomicU64, number: RawFd) -> bool {
    (0..64).contains(&number) && taken.fetch_or(1 << number, Ordering::Relaxed) & (1 << number) == 0
}

/// Marks every descriptor from `first` on close-on-exec.
pub fn close_on_exec_from(first: u32) -> Result<()> {
    // SAFETY: changes a flag only; no descriptor is closed under its owner.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC) } as libc::c_int)
}

const CLOSE_RANGE_CLOEXEC: libc::c_uint = 4;

/// Executes a program. Returns only where that fails.
pub fn execve(path: &CStr, arguments: &[&CStr], environment: &[&CStr]) -> Errno {
    let pointers = |list: &[&CStr]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both vectors end in a null pointer and hold strings that end in a zero byte.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    last_errno()
}

/// Ends the process at once: no destructors, no buffers written.
pub fn exit_immediately(status: i32) -> ! {
    // SAFETY: async-signal-safe and without preconditions.
    unsafe { libc::_exit(status) }
}

unsafe extern "C" {
    /// Where linkers let the program begin.
    static __executable_start: u8;
    /// Where linkers end its code.
    static etext: u8;
}

/// Waits until a descriptor has something to read, or the time is up, without memory that was freed and with as good as none
/// of the program's code mapped: it is mapped again, from the page cache, as it is needed.
pub fn wait_without_code(fd: impl AsFd, timeout: Option<Duration>) -> Result<()> {
    const PAGE: usize = 4096;
    let mut waiting = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let timeout = timeout.map(|timeout| libc::timespec {
        tv_sec: timeout.as_secs().min(i64::MAX as u64) as i64,
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: gives back what is allocated to nobody.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
    let start = &raw const __executable_start;
    let length = (&raw const etext).addr().saturating_sub(start.addr()) / PAGE * PAGE;
    // SAFETY: between these symbols linkers put read-only segments alone, and nothing relocates code; a page of them that
    // is dropped is read back from the file as it was.
    match check(unsafe { libc::madvise(start.cast_mut().cast(), length, libc::MADV_DONTNEED) }) {
        // Linkers may leave a page out between two segments: the kernel drops all others and tells of the hole.
        Ok(()) | Err(Errno::NOMEM) => {}
        Err(errno) => return Err(errno),
    }
    // SAFETY: both structures live until the call returns.
    match check(unsafe { libc::ppoll(&raw mut waiting, 1, timeout, std::ptr::null()) }) {
        Err(Errno::INTR) => Ok(()),
        waited => waited,
    }
}

/// Takes a new session keyring of this name (keyctl(2), `KEYCTL_JOIN_SESSION_KEYRING`).
pub fn join_session_keyring(name: &CStr) -> Result<()> {
    // SAFETY: the name ends in a zero byte and is only read.
    let key = unsafe { libc::syscall(libc::SYS_keyctl, 1, name.as_ptr(), 0, 0, 0) };
    if key < 0 { Err(last_errno()) } else { Ok(()) }
}

/// Sets a resource limit by its number, `u64::MAX` being unlimited.
pub fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure is read only, and the old value is not asked for.
    let done = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &raw const limit, std::ptr::null::<()>()) };
    check(done as libc::c_int)
}

/// The soft and hard limit of a resource by its number.
pub fn rlimit(resource: u32) -> Result<(u64, u64)> {
    let mut limit = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is written only.
    let done = unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, std::ptr::null::<()>(), &raw mut limit) };
    check(done as libc::c_int).map(|()| (limit.rlim_cur, limit.rlim_max))
}

/// The current folder as the kernel says it: one outside of the root starts with `(unreachable)`, which the C library
/// would hide.
pub fn current_directory() -> Result<Vec<u8>> {
    let mut buffer = vec![0u8; libc::PATH_MAX as usize];
    // SAFETY: the kernel writes no more than the length given.
    let length = unsafe { libc::syscall(libc::SYS_getcwd, buffer.as_mut_ptr(), buffer.len()) };
    if length < 0 {
        return Err(last_errno());
    }
    buffer.truncate((length as usize).saturating_sub(1));
    Ok(buffer)
}

pub(crate) fn check(result: libc::c_int) -> Result<()> {
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

pub(crate) fn last_errno() -> Errno {
    Errno::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
}
