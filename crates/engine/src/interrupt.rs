//! What Ctrl-C and SIGTERM do where a command has something to put away first.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use carrack_diag::Result;
use carrack_sys::signal::{Mask, SignalFd, block, restore};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::engine::host_error;

/// SIGHUP, SIGINT, SIGTERM.
const INTERRUPTS: [i32; 3] = [1, 2, 15];

/// Has `act` done in a thread of its own when somebody interrupts, and ends the process with 130 after it. A second
/// interrupt ends it at once. To be called before other threads are started: they inherit what is blocked.
pub fn on_signal(act: impl FnOnce() + Send + 'static) -> Result<()> {
    let signals = SignalFd::new(&INTERRUPTS).map_err(|error| host_error("can't wait for interrupts", error))?;
    std::thread::spawn(move || {
        next(&signals);
        std::thread::spawn(move || {
            next(&signals);
            std::process::exit(130);
        });
        act();
        std::process::exit(130);
    });
    Ok(())
}

/// Interrupts end nothing until it is dropped, by the thread that made it.
#[derive(Debug)]
struct Blocked(Mask);

impl Blocked {
    /// Also where they can be read meanwhile.
    fn new() -> Result<(Self, SignalFd)> {
        let failed = |errno| host_error("can't wait for interrupts", errno);
        let blocked = Self(block(&INTERRUPTS).map_err(failed)?);
        Ok((blocked, SignalFd::new(&INTERRUPTS).map_err(failed)?))
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        // A mask that was read can be set again.
        let _ = restore(&self.0);
    }
}

/// Until it is dropped, an interrupt makes it readable and does nothing else.
#[derive(Debug)]
pub(crate) struct Interrupts {
    _blocked: Blocked,
    signals: SignalFd,
}

impl Interrupts {
    /// To be dropped by the thread that made it.
    pub(crate) fn new() -> Result<Self> {
        let (blocked, signals) = Blocked::new()?;
        Ok(Self { _blocked: blocked, signals })
    }

    /// Takes one note of an interrupt; false where there is none.
    pub(crate) fn take(&self) -> bool {
        matches!(self.signals.read(), Ok(Some(_)))
    }
}

impl AsFd for Interrupts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

/// Some send a signal to a process and to its group: what comes that soon is the same interrupt.
const REPEAT: Duration = Duration::from_secs(1);

/// Until it is dropped, an interrupt sets [`Flag::is_set`] instead of ending the process; a later one ends it with 130.
#[derive(Debug)]
pub struct Flag {
    flag: Arc<AtomicBool>,
    /// Closed, it ends the thread.
    end: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    _blocked: Blocked,
}

impl Flag {
    /// To be called before other threads are started, and dropped by the thread that made it.
    pub fn new() -> Result<Self> {
        let pipe = pipe_with(PipeFlags::CLOEXEC);
        let (ended, end) = pipe.map_err(|errno| host_error("can't wait for interrupts", errno))?;
        let (blocked, signals) = Blocked::new()?;
        let flag = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&flag);
        let thread = std::thread::spawn(move || {
            let mut first = None::<Instant>;
            loop {
                let mut sources = [PollFd::new(&signals, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
                let _ = poll(&mut sources, None);
                if !sources[1].revents().is_empty() {
                    return;
                }
                if !matches!(signals.read(), Ok(Some(_))) {
                    continue;
                }
                set.store(true, Ordering::SeqCst);
                if first.get_or_insert_with(Instant::now).elapsed() > REPEAT {
                    std::process::exit(130);
                }
            }
        });
        Ok(Self { flag, end: Some(end), thread: Some(thread), _blocked: blocked })
    }

    /// What an interrupt sets; others may set it too.
    pub fn is_set(&self) -> &AtomicBool {
        &self.flag
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // It can't panic.
            let _ = thread.join();
        }
    }
}

fn next(signals: &SignalFd) {
    while !matches!(signals.read(), Ok(Some(_))) {
        let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], None);
    }
}
