//! The caller's terminal while another program has it.

use std::os::fd::BorrowedFd;

use rustix::io::Result;
use rustix::termios::{OptionalActions, Termios};

/// A raw terminal, as it was before when this is dropped.
#[derive(Debug)]
pub(super) struct RawTerminal<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> RawTerminal<'a> {
    pub(super) fn enter(terminal: BorrowedFd<'a>) -> Result<Self> {
        let before = rustix::termios::tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawTerminal<'_> {
    fn drop(&mut self) {
        let _ = rustix::termios::tcsetattr(self.terminal, OptionalActions::Now, &self.before);
    }
}
