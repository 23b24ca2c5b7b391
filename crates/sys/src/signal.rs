use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Result;

use crate::process::{check, last_errno};

/// A thread's signal mask as it was.
pub struct Mask(libc::sigset_t);

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask(..)")
    }
}

/// Blocks every signal in this thread and says which were blocked before.
pub fn block_all() -> Result<Mask> {
    change(libc::SIG_SETMASK, &full())
}

/// Unblocks every signal in this thread.
pub fn unblock_all() -> Result<()> {
    change(libc::SIG_SETMASK, &empty()).map(drop)
}

/// Takes back what [`block_all`] did.
pub fn restore(mask: &Mask) -> Result<()> {
    change(libc::SIG_SETMASK, &mask.0).map(drop)
}

/// Blocks these signals in this thread; threads started later inherit it.
pub fn block(signals: &[i32]) -> Result<Mask> {
    change(libc::SIG_BLOCK, &set_of(signals))
}

/// Gives every signal its default disposition; the runtime of Rust, for one, ignores SIGPIPE, and what is ignored stays
/// so over execve.
pub fn reset_dispositions() {
    // Handler, flags, restorer, mask: zero is the default disposition. The C library hides two signals from its own
    // function, and an ignored one of them would be inherited.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // SAFETY: the kernel reads the structure, which is no longer than this on any architecture of ours, and the old
        // one is not asked for; numbers without a disposition are refused.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, &raw const default, std::ptr::null::<()>(), 8) };
    }
}

/// Waits for any blocked signal and says which came.
pub fn wait() -> Result<i32> {
    // SAFETY: no information beside the number is asked for.
    let signal = unsafe { libc::sigwaitinfo(&full(), std::ptr::null_mut()) };
    if signal < 0 { Err(last_errno()) } else { Ok(signal) }
}

/// A descriptor, readable when one of some blocked signals is pending (signalfd(2)).
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks the signals in this thread and makes the descriptor: non-blocking, close-on-exec.
    pub fn new(signals: &[i32]) -> Result<Self> {
        block(signals)?;
        // SAFETY: −1 asks for a new descriptor, and the set is only read.
        let fd = unsafe { libc::signalfd(-1, &set_of(signals), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        check(fd)?;
        // SAFETY: the kernel has just made it for us.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The next pending signal, none where there is none.
    pub fn read(&self) -> Result<Option<i32>> {
        let mut information = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let length = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the kernel writes whole records, and there is room for one.
        let read = unsafe { libc::read(self.0.as_raw_fd(), information.as_mut_ptr().cast(), length) };
        if read == length as isize {
            // SAFETY: the kernel has filled the record.
            return Ok(Some(unsafe { information.assume_init() }.ssi_signo as i32));
        }
        match last_errno() {
            rustix::io::Errno::AGAIN => Ok(None),
            errno => Err(errno),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn change(how: libc::c_int, set: &libc::sigset_t) -> Result<Mask> {
    let mut old = MaybeUninit::uninit();
    // SAFETY: one set is read, the other written.
    match unsafe { libc::pthread_sigmask(how, set, old.as_mut_ptr()) } {
        // SAFETY: the call has filled it.
        0 => Ok(Mask(unsafe { old.assume_init() })),
        errno => Err(rustix::io::Errno::from_raw_os_error(errno)),
    }
}

fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn full() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the whole set.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = empty();
    for signal in signals {
        // SAFETY: the set is initialised; an impossible number is refused.
        unsafe { libc::sigaddset(&mut set, *signal) };
    }
    set
}
