//! The worker itself: one loop over everything that is sent.

use std::convert::Infallible;
use std::io::IoSlice;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use carrack_sys::{process, signal};
use rustix::io::{Errno, Result};
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, SocketType};
use rustix::process::{Pid, Signal};

use super::confine::confine;
use super::messages::{Asked, HEADER_MAX, Told, await_answer};
use crate::shim::ShimConfig;
use crate::shim::forward::Forwarder;
use crate::shim::log::{Lines, Log, LogFiles};
use crate::shim::poll::{Interest, Poll, Token};
use crate::shim::resolver::Resolver;
use crate::shim::server::{READ_SIZE, complain};
use crate::shim::sockets::Sockets;
use crate::shim::stdio::Stream;

/// Number of the limit on open files (setrlimit(2)).
const RLIMIT_NOFILE: u32 = 7;
/// How many files a worker opens at most: two for each forwarded connection, and a few pipes.
const OPEN_FILES_MAX: u64 = 1 << 16;
/// How long it goes on with all the code that it has touched.
const RELEASE_DELAY: Duration = Duration::from_secs(1);
/// How many messages are taken before somebody else gets a turn.
const TURN: usize = 16;

/// The way to the shim.
#[derive(Debug)]
pub(in crate::shim) struct Line(OwnedFd);

impl Line {
    fn say(&self, asked: Asked) {
        let byte = [asked.encode()];
        if rustix::net::sendmsg(
            &self.0,
            &[IoSlice::new(&byte)],
            &mut SendAncillaryBuffer::default(),
            SendFlags::NOSIGNAL,
        )
        .is_err()
        {
            gone();
        }
    }

    fn ask(&self, asked: Asked) -> Result<OwnedFd> {
        self.say(asked);
        await_answer(&self.0).unwrap_or_else(|| gone())
    }

    /// A socket in the container's network.
    pub(in crate::shim) fn socket_inside(&self, kind: SocketType) -> Result<OwnedFd> {
        self.ask(if kind == SocketType::STREAM { Asked::Tcp } else { Asked::Udp })
    }
}

/// Without its shim there is nothing to do for a worker.
fn gone() -> ! {
    process::exit_immediately(0)
}

/// The log's files, which the shim opens.
#[derive(Debug)]
struct Lent(Rc<Line>);

impl LogFiles for Lent {
    fn current(&mut self) -> std::io::Result<std::fs::File> {
        Ok(self.0.ask(Asked::Log)?.into())
    }

    fn next(&mut self) -> std::io::Result<std::fs::File> {
        Ok(self.0.ask(Asked::NextLog)?.into())
    }
}

struct Inside {
    poll: Poll,
    told: OwnedFd,
    line: Rc<Line>,
    log: Log,
    lines: [Lines; 2],
    resolver: Option<Resolver>,
    forwarder: Forwarder,
    buffer: Vec<u8>,
}

/// A worker's whole life.
pub(super) fn run(shim: Pid, descriptors: Vec<OwnedFd>, sockets: &Sockets, config: &ShimConfig) -> Infallible {
    let Err(errno) = serve(shim, descriptors, sockets, config);
    complain(&format!("worker: {errno}"));
    process::exit_immediately(1)
}

fn serve(shim: Pid, descriptors: Vec<OwnedFd>, sockets: &Sockets, config: &ShimConfig) -> Result<Infallible> {
    // A connection that ends while it is written to is no reason to end.
    signal::block(&[Signal::PIPE.as_raw()])?;
    let mut inside = Inside::new(descriptors, sockets, config)?;
    let (soft, hard) = process::rlimit(RLIMIT_NOFILE)?;
    process::set_rlimit(RLIMIT_NOFILE, soft.max(OPEN_FILES_MAX).min(hard), hard)?;
    rustix::thread::set_name(c"carrack-worker")?;
    confine(shim)?;
    inside.run()
}

impl Inside {
    fn new(mut descriptors: Vec<OwnedFd>, sockets: &Sockets, config: &ShimConfig) -> Result<Self> {
        let served = descriptors.split_off(descriptors.len().min(2));
        let [told, asks] = descriptors.try_into().map_err(|_| Errno::BADF)?;
        let (names, ports) = sockets.served(served).ok_or(Errno::BADF)?;
        let poll = Poll::new()?;
        poll.watch_input(&told, Token::Told)?;
        let line = Rc::new(Line(asks));
        let resolver = match (names, &config.dns) {
            (Some(names), Some(dns)) => {
                let line = Rc::clone(&line);
                let open = move |network: Option<usize>| match network {
                    None => line.ask(Asked::Names),
                    Some(number) => {
                        let number = u8::try_from(number).ok().filter(|number| *number < 128);
                        line.ask(Asked::Network(number.ok_or(Errno::NOENT)?))
                    }
                };
                Some(Resolver::new(names, dns, Box::new(open), &poll)?)
            }
            _ => None,
        };
        Ok(Self {
            forwarder: Forwarder::new(ports, &line, &poll)?,
            log: Log::new(&config.log, Box::new(Lent(Rc::clone(&line)))),
            poll,
            told,
            line,
            lines: Default::default(),
            resolver,
            buffer: vec![0; HEADER_MAX + READ_SIZE],
        })
    }

    fn run(&mut self) -> Result<Infallible> {
        let mut ready = Vec::with_capacity(64);
        let mut release_at = Some(Instant::now() + RELEASE_DELAY);
        loop {
            let now = Instant::now();
            let resolver = self.resolver.as_ref().and_then(Resolver::deadline);
            let deadline = resolver.into_iter().chain(self.forwarder.deadline()).chain(release_at).min();
            let mut timeout = deadline.map(|deadline| deadline.saturating_duration_since(now));
            if release_at.take_if(|at| *at <= now).is_some() {
                let deadline = resolver.into_iter().chain(self.forwarder.deadline()).min();
                self.poll.wait_without_code(deadline.map(|deadline| deadline.saturating_duration_since(now)))?;
                timeout = Some(Duration::ZERO);
            }
            self.poll.wait(timeout, &mut ready)?;
            if !ready.is_empty() {
                release_at = Some(Instant::now() + RELEASE_DELAY);
            }
            for (token, interest) in ready.drain(..) {
                self.handle(token, interest)?;
            }
            let now = Instant::now();
            if let Some(resolver) = &mut self.resolver {
                resolver.tick(now, &self.poll);
            }
            self.forwarder.tick(now, &self.poll);
        }
    }

    fn handle(&mut self, token: Token, interest: Interest) -> Result<()> {
        match token {
            Token::Told => return self.hear_shim(),
            Token::DnsUdp | Token::DnsTcp | Token::DnsClient(_) | Token::Upstream(_) => {
                if let Some(resolver) = &mut self.resolver {
                    resolver.handle(token, interest, &self.poll);
                }
            }
            _ => self.forwarder.handle(token, interest, &self.poll),
        }
        Ok(())
    }

    fn hear_shim(&mut self) -> Result<()> {
        for _ in 0..TURN {
            let length = match rustix::net::recv(&self.told, &mut self.buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) | Err(Errno::CONNRESET) => gone(),
                Ok((length, _)) => length,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno),
            };
            let message = self.buffer.get(..length).and_then(Told::decode).ok_or(Errno::BADMSG)?;
            let [stdout, stderr] = &mut self.lines;
            match message {
                Told::Output { stream, time_ns, bytes } => {
                    let lines = if stream == Stream::Stdout { stdout } else { stderr };
                    lines.push(bytes, time_ns, |line, time| self.log.line(stream.name(), line, time));
                    self.log.flush(time_ns);
                }
                Told::Finish { time_ns } => {
                    for (stream, lines) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
                        lines.finish(time_ns, |line, time| self.log.line(stream.name(), line, time));
                    }
                    self.log.flush(time_ns);
                    self.line.say(Asked::Finished);
                }
                Told::Lead(addresses) => {
                    let address = addresses.map(|(address, _)| IpAddr::from(address));
                    self.forwarder.lead_to(address, addresses.and_then(|(_, ipv6)| ipv6));
                }
                Told::Ended => self.forwarder.drop_connections(),
                Told::Lost { bytes, time_ns } => {
                    let note =
                        format!("carrack: {bytes} bytes of output were lost: the process that logs them had ended\n");
                    self.log.line(Stream::Stderr.name(), note.as_bytes(), time_ns);
                    self.log.flush(time_ns);
                }
                Told::Dropped { bytes, time_ns } => {
                    let note = format!("carrack: {bytes} bytes of output were lost: the log's buffer was full\n");
                    self.log.line(Stream::Stderr.name(), note.as_bytes(), time_ns);
                    self.log.flush(time_ns);
                }
            }
        }
        Ok(())
    }
}
