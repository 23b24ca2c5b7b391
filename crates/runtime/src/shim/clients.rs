//! Connections on `shim.sock`.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};

use super::CLIENT_PATIENCE;
use super::poll::{Interest, Poll, Token, Watch};
use super::protocol::{Answer, Frames, attach};
use super::stdio::Stream;

/// Beyond this much output that a client has not taken, nobody reads from the program any more, in bytes.
const OUT_HIGH_WATER_BYTES: usize = 256 << 10;
/// How long nobody is accepted after somebody could not be.
const PAUSE: Duration = Duration::from_millis(100);
/// Everyone beyond these waits in the socket's queue.
const CLIENTS_MAX: usize = 128;

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    fd: OwnedFd,
    watch: Watch,
    pub(super) frames: Frames,
    out: Vec<u8>,
    out_start: usize,
    /// What it attached to.
    pub(super) attached: Option<u8>,
    /// Since when it takes nothing of what waits for it.
    stalled_since: Option<Instant>,
    /// To be closed as soon as it has taken everything.
    leaving: bool,
    /// It says nothing more.
    pub(super) ended: bool,
    broken: bool,
}

impl Connection {
    fn new(fd: OwnedFd, number: u64) -> Self {
        Self {
            fd,
            watch: Watch::new(Token::Client(number)),
            frames: Frames::default(),
            out: Vec::new(),
            out_start: 0,
            attached: None,
            stalled_since: None,
            leaving: false,
            ended: false,
            broken: false,
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.attached.is_some_and(|flags| flags & flag != 0)
    }

    /// Says something.
    pub(super) fn answer(&mut self, answer: &Answer<'_>) {
        answer.encode(&mut self.out);
        self.flush();
    }

    /// Says nothing more after what waits.
    pub(super) fn leave(&mut self) {
        self.leaving = true;
    }

    /// It is to be closed at once.
    pub(super) fn give_up(&mut self) {
        self.broken = true;
    }

    /// Nothing that it says counts any more.
    pub(super) fn is_given_up(&self) -> bool {
        self.broken
    }

    fn waiting(&self) -> usize {
        self.out.len() - self.out_start
    }

    /// Reads once. None where there is nothing now.
    pub(super) fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        match rustix::io::read(&self.fd, &mut *buffer) {
            Ok(0) => self.ended = true,
            Ok(length) => return buffer.get(..length),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.broken = true,
        }
        None
    }

    /// Writes what waits as far as it is taken.
    pub(super) fn flush(&mut self) {
        while self.waiting() > 0 && !self.broken {
            let rest = self.out.get(self.out_start..).unwrap_or_default();
            match rustix::net::send(&self.fd, rest, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
                Ok(sent) => {
                    self.out_start += sent;
                    self.stalled_since = None;
                }
                Err(Errno::AGAIN) => {
                    self.stalled_since.get_or_insert_with(Instant::now);
                    break;
                }
                Err(Errno::INTR) => {}
                Err(_) => self.broken = true,
            }
        }
        if self.waiting() == 0 {
            self.out.clear();
            self.out.shrink_to(2 * super::protocol::PAYLOAD_MAX);
            self.out_start = 0;
            self.stalled_since = None;
        } else if self.out_start > OUT_HIGH_WATER_BYTES {
            self.out.drain(..self.out_start);
            self.out_start = 0;
        }
    }

    fn is_gone(&self) -> bool {
        self.broken || (self.leaving && self.waiting() == 0)
    }

    /// When it is dropped for taking nothing.
    fn patience_ends(&self) -> Option<Instant> {
        self.stalled_since.filter(|_| !self.has(attach::FOREGROUND)).map(|since| since + CLIENT_PATIENCE)
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Clients {
    all: BTreeMap<u64, Connection>,
    next: u64,
    /// No connection is taken until then, as the last one could not be.
    paused_until: Option<Instant>,
}

impl Clients {
    /// Takes new connections, while there is room.
    pub(super) fn accept(&mut self, socket: &OwnedFd) {
        while self.all.len() < CLIENTS_MAX {
            match rustix::net::accept_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => {
                    self.next += 1;
                    self.all.insert(self.next, Connection::new(fd, self.next));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // Out of descriptors or memory.
                Err(_) => {
                    self.paused_until = Some(Instant::now() + PAUSE);
                    break;
                }
            }
        }
    }

    /// Whether another connection has room now.
    pub(super) fn have_room(&self, now: Instant) -> bool {
        self.all.len() < CLIENTS_MAX && self.paused_until.is_none_or(|until| until <= now)
    }

    /// Takes a connection out, to be put back.
    pub(super) fn take(&mut self, number: u64) -> Option<Connection> {
        self.all.remove(&number)
    }

    /// Puts it back.
    pub(super) fn put(&mut self, number: u64, connection: Connection) {
        self.all.insert(number, connection);
    }

    /// Gives output to all who asked for it.
    pub(super) fn broadcast(&mut self, stream: Stream, data: &[u8]) {
        let (flag, answer) = match stream {
            Stream::Stdout => (attach::STDOUT, Answer::Stdout(data)),
            Stream::Stderr => (attach::STDERR, Answer::Stderr(data)),
        };
        for connection in self.all.values_mut().filter(|connection| connection.has(flag)) {
            connection.answer(&answer);
        }
    }

    /// The program has ended: those who are attached are told and leave. Whether one of them puts the container away.
    pub(super) fn tell_exit(&mut self, status: Option<i32>) -> bool {
        let mut puts_away = false;
        for connection in self.all.values_mut().filter(|connection| connection.attached.is_some()) {
            connection.answer(&Answer::Exited { status });
            connection.leave();
            puts_away |= connection.has(attach::PUTS_AWAY) && !connection.ended && !connection.broken;
        }
        puts_away
    }

    /// Whether all have taken enough for the program to go on.
    pub(super) fn take_output(&self) -> bool {
        self.all.values().all(|connection| connection.waiting() < OUT_HIGH_WATER_BYTES)
    }

    /// Nobody has yet to take something.
    pub(super) fn are_served(&self) -> bool {
        self.all.values().all(|connection| connection.waiting() == 0)
    }

    /// When the next one is dropped for taking nothing, or others may come again.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let pause = self.paused_until.filter(|until| *until > now);
        self.all.values().filter_map(Connection::patience_ends).chain(pause).min()
    }

    /// Closes those who are gone or take nothing, and watches the others: nobody is heard while nobody takes their
    /// input. Returns whether one that gave input is gone.
    pub(super) fn settle(&mut self, poll: &Poll, now: Instant, takes_stdin: bool) -> bool {
        let mut writer_gone = false;
        self.all.retain(|_, connection| {
            let impatient = connection.patience_ends().is_some_and(|end| end <= now);
            let half = connection.ended && (connection.attached.is_none() || connection.leaving);
            let gone = connection.is_gone() || impatient || (half && connection.waiting() == 0);
            writer_gone |= gone && connection.has(attach::STDIN);
            !gone
        });
        for connection in self.all.values_mut() {
            let mut wanted = Interest::empty();
            wanted.set(Interest::IN, !connection.ended && (takes_stdin || !connection.has(attach::STDIN)));
            wanted.set(Interest::OUT, connection.waiting() > 0);
            // A hang-up is to be heard of even where nothing else is.
            wanted.set(Interest::RDHUP, !connection.ended);
            connection.broken |= poll.set(&connection.fd, &mut connection.watch, wanted).is_err();
        }
        writer_gone
    }
}

#[cfg(test)]
mod tests {
    use rustix::net::{AddressFamily, SocketType};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
    }

    /// Two clients that take nothing, the first of them in the foreground.
    fn stuck() -> (Clients, [OwnedFd; 2]) {
        let mut clients = Clients::default();
        let ends = [attach::FOREGROUND, 0].map(|flag| {
            let (ours, theirs) = pair();
            let number = u64::from(flag);
            let mut connection = Connection::new(ours, number);
            connection.attached = Some(attach::STDOUT | flag);
            clients.put(number, connection);
            theirs
        });
        while clients.all.values().any(|connection| connection.waiting() < OUT_HIGH_WATER_BYTES) {
            clients.broadcast(Stream::Stdout, &[0; 32 << 10]);
        }
        (clients, ends)
    }

    #[test]
    fn a_client_that_takes_nothing_is_dropped_unless_it_runs_the_container() {
        let (mut clients, _ends) = stuck();
        let poll = Poll::new().unwrap();
        let now = Instant::now();
        assert!(!clients.take_output(), "the program waits for its clients");
        assert!(clients.deadline(now).unwrap() <= now + CLIENT_PATIENCE);
        assert!(!clients.settle(&poll, now, true));
        assert_eq!(clients.all.len(), 2);
        clients.settle(&poll, now + CLIENT_PATIENCE, true);
        assert_eq!(clients.all.keys().copied().collect::<Vec<_>>(), [u64::from(attach::FOREGROUND)]);
        assert_eq!(clients.deadline(now), None, "the other may be slow for ever");
    }

    #[test]
    fn a_client_that_takes_something_is_patient_anew() {
        let (mut clients, ends) = stuck();
        let connection = clients.all.get_mut(&0).unwrap();
        let before = connection.patience_ends().unwrap();
        assert!(rustix::io::read(&ends[1], &mut vec![0; 256 << 10]).unwrap() > 0);
        connection.flush();
        assert!(connection.patience_ends().is_none_or(|end| end > before));
    }

    #[test]
    fn a_dead_client_holds_nothing_back() {
        let (mut clients, ends) = stuck();
        drop(ends);
        clients.broadcast(Stream::Stdout, b"more");
        clients.settle(&Poll::new().unwrap(), Instant::now(), true);
        assert!(clients.all.is_empty() && clients.take_output());
    }
}
