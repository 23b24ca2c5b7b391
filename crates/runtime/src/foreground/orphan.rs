//! What stays with the terminal of a program that its caller has detached from: without it the program would be hung up.

use std::os::fd::AsFd;

use carrack_sys::process;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::cgroup::Cgroup;
use crate::init::own_binary;

/// Argument zero of a process that is to keep a terminal.
pub(crate) const ARGV0: &str = "carrack-terminal";

/// Of the process: the terminal, then the control groups to join.
const TERMINAL: i32 = 3;
const GROUPS: std::ops::RangeFrom<i32> = 4..;

/// Leaves a terminal to a process of its own in these control groups, which takes what is written there until all of its
/// programs have ended.
pub fn keep_terminal(terminal: impl AsFd, cgroup: &Cgroup) -> rustix::io::Result<()> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let mut descriptors = vec![null.as_fd(), null.as_fd(), null.as_fd(), terminal.as_fd()];
    descriptors.extend(cgroup.joined_by_writing());
    process::spawn(&process::Spawn {
        program: own_binary()?,
        argv0: c"carrack-terminal",
        environment: &[],
        namespaces: 0,
        cgroup: cgroup.born_into(),
        descriptors: &descriptors,
        failure: null.as_fd(),
        // Until it is in a session of its own, the end of this process would hang it up as well.
        awaited: true,
    })
    .map(drop)
}

/// The new process's part.
pub(crate) fn main() -> ! {
    if let Ok(terminal) = process::take_inherited(TERMINAL) {
        for group in GROUPS {
            let Ok(file) = process::take_inherited(group) else { break };
            let _ = rustix::io::write(file, b"0");
        }
        let _ = rustix::process::chdir("/");
        let mut buffer = [0; 4096];
        loop {
            match rustix::io::read(&terminal, &mut buffer) {
                Ok(1..) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&terminal, PollFlags::IN)], None)),
                Ok(0) | Err(_) => break,
            }
        }
    }
    process::exit_immediately(0);
}
