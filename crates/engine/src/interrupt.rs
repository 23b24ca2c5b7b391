//! What Ctrl-C and SIGTERM do where a command has something to put away first.

use carrack_diag::Result;
use carrack_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};

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

fn next(signals: &SignalFd) {
    while !matches!(signals.read(), Ok(Some(_))) {
        let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], None);
    }
}
