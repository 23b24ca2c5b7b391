//! One question to the host's servers, to all of them at once.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::{Errno, Result};
use rustix::net::{SendFlags, SocketType};
use rustix::rand::GetRandomFlags;

use super::{Asker, STREAM_MESSAGE_MAX, take_message};
use crate::shim::dns::{self, Code, Query};
use crate::shim::network::{connect, socket};
use crate::shim::poll::{Interest, Poll, Token, Watch};

/// A datagram may be lost: when it is sent once more.
const AGAIN_AFTER: Duration = Duration::from_millis(1500);
/// Below what the usual resolver library waits for us, five seconds, so that it hears the end.
const TIMEOUT: Duration = Duration::from_millis(4500);

#[derive(Debug)]
pub(super) struct Lookup {
    query: Query,
    /// As the servers get it, with an id that nobody else knows.
    message: Vec<u8>,
    asker: Asker,
    servers: Vec<Server>,
    began: Instant,
    asked_again: bool,
    /// An answer that is better than none.
    second_best: Option<Vec<u8>>,
}

/// A socket to one server. Its port is the kernel's choice, so an answer from elsewhere has to guess two numbers.
#[derive(Debug)]
struct Server {
    number: u64,
    fd: OwnedFd,
    watch: Watch,
    stream: bool,
    /// Of a stream: what is still to be sent.
    output: Vec<u8>,
    /// Of a stream: what came so far.
    input: Vec<u8>,
}

impl Lookup {
    /// Asks. An asker that came by stream has its question asked by stream: it knows that the answer is long.
    pub(super) fn new(
        query: Query,
        mut message: Vec<u8>,
        asker: Asker,
        upstreams: &[SocketAddr],
        next: &mut u64,
        poll: &Poll,
    ) -> Self {
        let mut id = [0; 2];
        // Without random numbers the asker's own id is as good as any.
        if rustix::rand::getrandom(&mut id, GetRandomFlags::empty()) == Ok(2) {
            dns::set_id(&mut message, u16::from_ne_bytes(id));
        }
        let stream = matches!(asker, Asker::Stream(_));
        let servers = upstreams
            .iter()
            .filter_map(|upstream| {
                *next += 1;
                Server::ask(*next, *upstream, stream, &message, poll).ok()
            })
            .collect();
        Self { query, message, asker, servers, began: Instant::now(), asked_again: stream, second_best: None }
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = u64> {
        self.servers.iter().map(|server| server.number)
    }

    /// Nobody is left who could answer.
    pub(super) fn is_hopeless(&self) -> bool {
        self.servers.is_empty()
    }

    pub(super) fn next_step(&self) -> Instant {
        self.began + if self.asked_again { TIMEOUT } else { AGAIN_AFTER }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.began + TIMEOUT
    }

    pub(super) fn ask_again(&mut self) {
        self.asked_again = true;
        for server in &self.servers {
            let _ = rustix::net::send(&server.fd, &self.message, SendFlags::NOSIGNAL);
        }
    }

    /// Takes what a server says; returns it where that settles the question.
    pub(super) fn hear(&mut self, socket: u64, interest: Interest, buffer: &mut [u8], poll: &Poll) -> Option<Vec<u8>> {
        let position = self.servers.iter().position(|server| server.number == socket)?;
        let server = self.servers.get_mut(position)?;
        let answer = match server.hear(interest, buffer, poll) {
            Ok(Some(answer)) => answer,
            Ok(None) => return None,
            // Nobody listens there.
            Err(_) => {
                self.servers.remove(position);
                return None;
            }
        };
        if dns::id(&answer) != dns::id(&self.message) || !self.query.is_answered_by(&answer) {
            return None;
        }
        if dns::is_conclusive(&answer) {
            return Some(answer);
        }
        self.second_best = Some(answer);
        self.servers.remove(position);
        None
    }

    /// What the asker gets.
    pub(super) fn conclude(self, answer: Option<Vec<u8>>) -> (Asker, Vec<u8>) {
        let Some(mut answer) = answer.or(self.second_best) else {
            return (self.asker, self.query.answer(Code::ServerFailure, &[], 0, STREAM_MESSAGE_MAX));
        };
        dns::set_id(&mut answer, self.query.id);
        if matches!(self.asker, Asker::Datagram(_))
            && answer.len() > self.query.datagram_max
            && !dns::is_truncated(&answer)
        {
            dns::truncate(&mut answer, &self.query);
        }
        (self.asker, answer)
    }
}

impl Server {
    fn ask(number: u64, address: SocketAddr, stream: bool, message: &[u8], poll: &Poll) -> Result<Self> {
        let fd = socket(address.ip(), if stream { SocketType::STREAM } else { SocketType::DGRAM })?;
        connect(&fd, address)?;
        let mut output = Vec::new();
        if stream {
            output.extend(u16::try_from(message.len()).unwrap_or(0).to_be_bytes());
            output.extend(message);
        } else {
            rustix::net::send(&fd, message, SendFlags::NOSIGNAL)?;
        }
        let mut watch = Watch::new(Token::Upstream(number));
        poll.set(&fd, &mut watch, if stream { Interest::OUT } else { Interest::IN })?;
        Ok(Self { number, fd, watch, stream, output, input: Vec::new() })
    }

    fn hear(&mut self, interest: Interest, buffer: &mut [u8], poll: &Poll) -> Result<Option<Vec<u8>>> {
        if self.stream && !self.output.is_empty() && interest.contains(Interest::OUT) {
            let sent = rustix::net::send(&self.fd, &self.output, SendFlags::NOSIGNAL)?;
            self.output.drain(..sent);
            if self.output.is_empty() {
                poll.set(&self.fd, &mut self.watch, Interest::IN)?;
            }
            return Ok(None);
        }
        let length = match rustix::io::read(&self.fd, &mut *buffer) {
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Ok(0) if self.stream => return Err(Errno::CONNRESET),
            length => length?,
        };
        let data = buffer.get(..length).unwrap_or_default();
        if !self.stream {
            return Ok(Some(data.to_vec()));
        }
        self.input.extend(data);
        Ok(take_message(&mut self.input))
    }
}
