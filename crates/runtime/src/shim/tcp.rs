//! Connections through the shim, spliced through pipes: the bytes never come into its memory.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::{Errno, Result};
use rustix::net::{Shutdown, SocketFlags, SocketType, sockopt};
use rustix::pipe::{PipeFlags, SpliceFlags};

use super::forward::Target;
use super::poll::{Interest, Poll, Token, Watch};

/// How many connections one container has at most; others wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4096;
/// How long the container's side may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long no connection is accepted after one could not be: it would only fail again.
const PAUSE: Duration = Duration::from_millis(100);
/// What one splice moves at most, in bytes: a pipe's size.
const CHUNK: usize = 64 << 10;
/// How many empty pipes are kept.
const SPARE_PIPES_MAX: usize = 8;
/// How many splices a connection gets before another has its turn.
const TURN: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Connections {
    listeners: Vec<Listener>,
    all: BTreeMap<u64, Connection>,
    /// Empty ones, so that not every chunk makes its own.
    spare_pipes: Vec<Pipe>,
    next: u64,
    paused_until: Option<Instant>,
}

#[derive(Debug)]
struct Listener {
    fd: OwnedFd,
    watch: Watch,
    target: Target,
}

#[derive(Debug)]
struct Connection {
    outside: Side,
    inside: Side,
    to_inside: Direction,
    to_outside: Direction,
    /// While the container's side is not connected: where to, and how long.
    connecting: Option<(Target, Instant)>,
    way: Way,
}

/// How the container's side is sought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    First,
    /// By IPv6, as the first was refused.
    Ipv6,
    Inside,
}

#[derive(Debug)]
struct Side {
    fd: OwnedFd,
    watch: Watch,
}

/// To read from and to write to.
type Pipe = (OwnedFd, OwnedFd);

/// What flows one way.
#[derive(Debug, Default)]
struct Direction {
    /// There while something is in it.
    pipe: Option<Pipe>,
    held: usize,
    source_ended: bool,
    done: bool,
}

impl Connections {
    pub(super) fn add_listener(&mut self, fd: OwnedFd, target: Target, poll: &Poll) -> Result<()> {
        let mut watch = Watch::new(Token::TcpListener(self.listeners.len() as u64));
        poll.set(&fd, &mut watch, Interest::IN)?;
        self.listeners.push(Listener { fd, watch, target });
        Ok(())
    }

    pub(super) fn targets(&mut self) -> impl Iterator<Item = &mut Target> {
        self.listeners.iter_mut().map(|listener| &mut listener.target)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let connecting = self.all.values().filter_map(|connection| Some(connection.connecting.as_ref()?.1));
        connecting.chain(self.paused_until).min()
    }

    pub(super) fn tick(&mut self, now: Instant, poll: &Poll) {
        let late = |connection: &Connection| connection.connecting.as_ref().is_some_and(|(_, until)| *until <= now);
        let late: Vec<u64> =
            self.all.iter().filter(|(_, connection)| late(connection)).map(|(number, _)| *number).collect();
        for number in late {
            self.work(number, poll, |connection, _, poll| connection.go_another_way(number, Errno::TIMEDOUT, poll));
        }
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        let room = self.all.len() < CONNECTIONS_MAX && self.paused_until.is_none();
        for listener in &mut self.listeners {
            let wanted = if room { Interest::IN } else { Interest::empty() };
            let _ = poll.set(&listener.fd, &mut listener.watch, wanted);
        }
    }

    pub(super) fn accept(&mut self, listener: u64, poll: &Poll) {
        let Some(listener) = self.listeners.get(listener as usize) else { return };
        let mut accepted = Vec::new();
        while self.all.len() + accepted.len() < CONNECTIONS_MAX && accepted.len() < TURN {
            match rustix::net::accept_with(&listener.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => accepted.push(fd),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(Errno::AGAIN) => break,
                // Out of descriptors or memory.
                Err(_) => {
                    self.paused_until = Some(Instant::now() + PAUSE);
                    break;
                }
            }
        }
        let target = listener.target.clone();
        for outside in accepted {
            self.next += 1;
            let number = self.next;
            let inside = target.connect(SocketType::STREAM).map(|fd| (fd, Way::First)).or_else(|errno| {
                if target.is_worth_another_way(errno) {
                    target.connect_inside(SocketType::STREAM).map(|fd| (fd, Way::Inside))
                } else {
                    Err(errno)
                }
            });
            match inside {
                Ok((inside, way)) => {
                    let connection = Connection::new(number, outside, inside, target.clone(), way);
                    self.all.insert(number, connection);
                    self.work(number, poll, |connection, _, poll| connection.watch(poll));
                }
                Err(_) => reset(&outside),
            }
        }
    }

    pub(super) fn handle(&mut self, number: u64, token: Token, interest: Interest, poll: &Poll) {
        self.work(number, poll, |connection, pipes, poll| connection.handle(number, token, interest, pipes, poll));
    }

    /// Does something with a connection, and forgets it where that failed or was the last.
    fn work(
        &mut self,
        number: u64,
        poll: &Poll,
        act: impl FnOnce(&mut Connection, &mut Vec<Pipe>, &Poll) -> Result<()>,
    ) {
        let Some(connection) = self.all.get_mut(&number) else { return };
        match act(connection, &mut self.spare_pipes, poll) {
            Ok(()) if !connection.is_done() => {}
            Ok(()) => drop(self.all.remove(&number)),
            Err(_) => {
                if let Some(connection) = self.all.remove(&number) {
                    reset(&connection.outside.fd);
                    reset(&connection.inside.fd);
                }
            }
        }
    }
}

/// Closing it then tells the other end that something broke, and not that all was said.
fn reset(fd: &OwnedFd) {
    let _ = sockopt::set_socket_linger(fd, Some(Duration::ZERO));
}

impl Connection {
    fn new(number: u64, outside: OwnedFd, inside: OwnedFd, target: Target, way: Way) -> Self {
        for fd in [&outside, &inside] {
            let _ = sockopt::set_tcp_nodelay(fd, true);
            // A peer that vanished without a word is found out.
            let _ = sockopt::set_socket_keepalive(fd, true);
        }
        Self {
            outside: Side { fd: outside, watch: Watch::new(Token::TcpOutside(number)) },
            inside: Side { fd: inside, watch: Watch::new(Token::TcpInside(number)) },
            to_inside: Direction::default(),
            to_outside: Direction::default(),
            connecting: Some((target, Instant::now() + CONNECT_TIMEOUT)),
            way,
        }
    }

    fn is_done(&self) -> bool {
        self.to_inside.done && self.to_outside.done
    }

    fn handle(
        &mut self,
        number: u64,
        token: Token,
        interest: Interest,
        pipes: &mut Vec<Pipe>,
        poll: &Poll,
    ) -> Result<()> {
        if self.connecting.is_some() {
            if token == Token::TcpInside(number) {
                match sockopt::socket_error(&self.inside.fd)? {
                    Ok(()) if interest.contains(Interest::OUT) => self.connecting = None,
                    Ok(()) => {}
                    Err(errno) => return self.go_another_way(number, errno, poll),
                }
            } else if interest.intersects(Interest::ERR | Interest::HUP) {
                return Err(Errno::CONNRESET);
            }
        }
        if self.connecting.is_none() {
            self.to_inside.flow(&self.outside.fd, &self.inside.fd, pipes)?;
            self.to_outside.flow(&self.inside.fd, &self.outside.fd, pipes)?;
        }
        self.watch(poll)
    }

    /// The way to the container failed: another one may be left.
    fn go_another_way(&mut self, number: u64, errno: Errno, poll: &Poll) -> Result<()> {
        let Some((target, _)) = &self.connecting else { return Ok(()) };
        let (fd, way) = match (self.way, errno) {
            (Way::First, Errno::CONNREFUSED) => (target.connect_ipv6(SocketType::STREAM).ok_or(errno)??, Way::Ipv6),
            (Way::First, _) if target.is_worth_another_way(errno) => {
                (target.connect_inside(SocketType::STREAM)?, Way::Inside)
            }
            _ => return Err(errno),
        };
        self.way = way;
        self.connecting = Some((target.clone(), Instant::now() + CONNECT_TIMEOUT));
        self.inside = Side { fd, watch: Watch::new(Token::TcpInside(number)) };
        self.watch(poll)
    }

    fn watch(&mut self, poll: &Poll) -> Result<()> {
        let connecting = self.connecting.is_some();
        let wanted = |from: &Direction, to: &Direction| {
            let mut wanted = Interest::empty();
            wanted.set(Interest::IN, !connecting && from.wants_input());
            wanted.set(Interest::OUT, !connecting && to.held > 0);
            wanted
        };
        let outside = wanted(&self.to_inside, &self.to_outside);
        // One that gives up while it waits for the container is heard of.
        let outside = if connecting { Interest::PRI } else { outside };
        let inside = if connecting { Interest::OUT } else { wanted(&self.to_outside, &self.to_inside) };
        poll.set(&self.outside.fd, &mut self.outside.watch, outside)?;
        poll.set(&self.inside.fd, &mut self.inside.watch, inside)
    }
}

impl Direction {
    fn wants_input(&self) -> bool {
        !self.source_ended && self.held == 0
    }

    /// Moves what can be moved now, and passes an end on behind the last byte.
    fn flow(&mut self, from: &OwnedFd, to: &OwnedFd, pipes: &mut Vec<Pipe>) -> Result<()> {
        for _ in 0..TURN {
            let filled = self.fill(from, pipes)?;
            let emptied = self.empty(to)?;
            if !filled && !emptied {
                break;
            }
        }
        if self.held == 0 {
            pipes.extend(self.pipe.take().filter(|_| pipes.len() < SPARE_PIPES_MAX));
            if self.source_ended && !self.done {
                self.done = true;
                match rustix::net::shutdown(to, Shutdown::Write) {
                    // It is gone already, which is known soon enough.
                    Ok(()) | Err(Errno::NOTCONN) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        Ok(())
    }

    fn fill(&mut self, from: &OwnedFd, pipes: &mut Vec<Pipe>) -> Result<bool> {
        // A pipe that holds something may be full whatever its count: it counts pages.
        if self.source_ended || self.held > 0 {
            return Ok(false);
        }
        if self.pipe.is_none() {
            self.pipe = match pipes.pop() {
                Some(pipe) => Some(pipe),
                None => Some(rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?),
            };
        }
        let Some((_, into)) = &self.pipe else { return Ok(false) };
        match splice(from, into, CHUNK)? {
            None => Ok(false),
            Some(0) => {
                self.source_ended = true;
                Ok(false)
            }
            Some(moved) => {
                self.held += moved;
                Ok(true)
            }
        }
    }

    fn empty(&mut self, to: &OwnedFd) -> Result<bool> {
        let Some((out, _)) = self.pipe.as_ref().filter(|_| self.held > 0) else { return Ok(false) };
        let moved = splice(out, to, self.held)?.unwrap_or(0);
        self.held -= moved;
        Ok(moved > 0)
    }
}

/// None where it would block.
fn splice(from: &OwnedFd, to: &OwnedFd, length: usize) -> Result<Option<usize>> {
    match rustix::pipe::splice(from, None, to, None, length, SpliceFlags::NONBLOCK | SpliceFlags::MOVE) {
        Ok(moved) => Ok(Some(moved)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(errno) => Err(errno),
    }
}
