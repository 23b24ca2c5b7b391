//! The process that reads what a container sends: its questions for names, the traffic of its published ports, what of its
//! output goes to the log.
//!
//! A fork of the shim, made when there is something to read for the first time. It is nobody, without capabilities, under
//! a filter that lets it use the descriptors it has and no other ([`confine`]); what it needs besides, it asks the shim
//! for ([`messages`]). The shim itself, which needs every right to start programs, passes bytes on and looks at none.
//! `docs/design/015` says why.
//!
//! A worker that ends is followed by another. Connections through it are gone, as are questions that were open; output
//! that it had not written is lost, and the log says how much of it the shim knows.

mod confine;
mod inside;
mod messages;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use carrack_sys::process::{self, Process, SingleThreaded};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, sockopt};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::ShimConfig;
use super::poll::{Interest, Poll, Token, Watch};
use super::sockets::Sockets;
use super::start::null;
use crate::time::now_ns;

#[cfg(test)]
pub(crate) use confine::tests::confined_main;

pub(super) use confine::{become_nobody, confine, keep_ending};
pub(super) use inside::Line;
pub(super) use messages::{Asked, Told};

/// A target of `fuzz/`: what a worker says to its shim and the shim to it.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    if let Some(told) = Told::decode(data) {
        assert_eq!(told.encode(), data, "there is one way to say it");
    }
    if let Some(asked) = Asked::decode(data) {
        assert_eq!([asked.encode()], data);
    }
}

/// Room for what is told, in bytes: a few of the largest messages.
const TOLD_SIZE_BYTES: usize = 256 << 10;
/// How long an end may take to be written down.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// A worker, from the shim's side.
#[derive(Debug)]
pub(super) struct Worker {
    process: Process,
    pub(super) born: Instant,
    told: OwnedFd,
    told_watch: Watch,
    asked: OwnedFd,
    /// What did not fit into the socket.
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of output in there.
    waiting_bytes: u64,
    /// How many there may be before more is dropped; none has the program wait.
    buffer_max_bytes: Option<u64>,
    /// Bytes of output that found no room there, and are not told yet.
    dropped_bytes: u64,
    /// Whether there was output since the last end.
    has_output: bool,
}

impl Worker {
    /// Makes one, which serves the sockets from now on.
    pub(super) fn start(proof: &SingleThreaded, sockets: &Sockets, config: &ShimConfig, poll: &Poll) -> Result<Self> {
        let pair = || rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let ((told, hears), (asked, asks)) = (pair()?, pair()?);
        let _ = sockopt::set_socket_send_buffer_size(&told, TOLD_SIZE_BYTES);
        let shim = rustix::process::getpid();
        let null = null()?;
        let mut descriptors = vec![null.as_fd(), null.as_fd(), rustix::stdio::stderr(), hears.as_fd(), asks.as_fd()];
        descriptors.extend(sockets.descriptors());
        let child = |descriptors| inside::run(shim, descriptors, sockets, config);
        let process = process::fork_into(proof, 0, None, &descriptors, child)?;
        poll.watch_input(&asked, Token::Asked)?;
        poll.watch_input(&process.pidfd, Token::Worker)?;
        Ok(Self {
            process,
            born: Instant::now(),
            told,
            told_watch: Watch::new(Token::Told),
            asked,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            buffer_max_bytes: config.log.buffer_bytes,
            dropped_bytes: 0,
            has_output: false,
        })
    }

    pub(super) fn pid(&self) -> i32 {
        self.process.pid
    }

    /// Says something; what finds no room waits for it.
    pub(super) fn tell(&mut self, told: &Told<'_>) {
        if let Told::Output { bytes, .. } = told {
            self.has_output = true;
            let length = bytes.len() as u64;
            let is_full = |max| !self.waiting.is_empty() && self.waiting_bytes + length > max;
            if self.buffer_max_bytes.is_some_and(is_full) {
                self.dropped_bytes += length;
                return;
            }
        }
        if !self.waiting.is_empty() || told.send(&self.told).is_err() {
            if let Told::Output { bytes, .. } = told {
                self.waiting_bytes += bytes.len() as u64;
            }
            self.waiting.push_back(told.encode());
        }
    }

    /// Says what waits, as far as there is room.
    pub(super) fn flush(&mut self) {
        while let Some(message) = self.waiting.front() {
            let flags = rustix::net::SendFlags::NOSIGNAL | rustix::net::SendFlags::DONTWAIT;
            match rustix::net::send(&self.told, message, flags) {
                Ok(_) => {
                    if let Some(Told::Output { bytes, .. }) = Told::decode(message) {
                        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes.len() as u64);
                    }
                    drop(self.waiting.pop_front());
                }
                Err(Errno::INTR) => {}
                // It is full, or its end is gone, which is heard of otherwise.
                Err(_) => return,
            }
        }
        self.tell_dropped();
    }

    fn tell_dropped(&mut self) {
        let bytes = std::mem::take(&mut self.dropped_bytes);
        if bytes > 0 {
            self.tell(&Told::Dropped { bytes, time_ns: now_ns() });
        }
    }

    /// Whether more output has room.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.is_empty() || self.buffer_max_bytes.is_some()
    }

    /// How many bytes of output never came to it.
    pub(super) fn unheard_bytes(&self) -> u64 {
        self.waiting_bytes + self.dropped_bytes
    }

    /// Hears of room for what waits.
    pub(super) fn watch(&mut self, poll: &Poll) -> Result<()> {
        let wanted = if self.waiting.is_empty() { Interest::empty() } else { Interest::OUT };
        poll.set(&self.told, &mut self.told_watch, wanted)
    }

    /// What it asks for, none where there is nothing now.
    ///
    /// # Errors
    /// Something that no worker of ours says.
    pub(super) fn asked(&self) -> Result<Option<Asked>> {
        let mut bytes = [0; 2];
        match rustix::net::recv(&self.asked, &mut bytes, RecvFlags::DONTWAIT) {
            // Its end, which its descriptor says too.
            Ok((0, _)) | Err(Errno::AGAIN | Errno::INTR | Errno::CONNRESET) => Ok(None),
            Ok((length, _)) => {
                let asked = Asked::decode(bytes.get(..length).unwrap_or_default());
                asked.map(Some).ok_or(Errno::BADMSG)
            }
            Err(errno) => Err(errno),
        }
    }

    pub(super) fn answer(&self, answer: Result<OwnedFd>) -> Result<()> {
        messages::answer(&self.asked, answer)
    }

    /// Has it write down what has no line feed, and returns when it has written everything; meanwhile `serve` gives it
    /// what it asks for.
    pub(super) fn finish(&mut self, time_ns: u64, mut serve: impl FnMut(Asked) -> Result<OwnedFd>) -> Result<()> {
        if !std::mem::take(&mut self.has_output) {
            return Ok(());
        }
        self.tell_dropped();
        self.tell(&Told::Finish { time_ns });
        let deadline = Instant::now() + FINISH_TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let room = if self.waiting.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            let mut polled = [
                PollFd::new(&self.asked, PollFlags::IN),
                PollFd::new(&self.process.pidfd, PollFlags::IN),
                PollFd::new(&self.told, room),
            ];
            match rustix::event::poll(&mut polled, Some(&timeout)) {
                Ok(0) => return Err(Errno::TIMEDOUT),
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            }
            let ended = polled.get(1).is_some_and(|polled| !polled.revents().is_empty());
            match self.asked()? {
                Some(Asked::Finished) => return Ok(()),
                Some(asked) => self.answer(serve(asked))?,
                None if ended => return Err(Errno::SRCH),
                None => {}
            }
            self.flush();
        }
    }

    /// Ends it, where it has not ended yet; says how it ended: by a signal, where it was one.
    pub(super) fn end(self) -> Option<i32> {
        let _ = rustix::process::pidfd_send_signal(&self.process.pidfd, Signal::KILL);
        let status = rustix::process::waitid(WaitId::PidFd(self.process.pidfd.as_fd()), WaitIdOptions::EXITED);
        status.ok().flatten().and_then(|status| status.terminating_signal())
    }
}
