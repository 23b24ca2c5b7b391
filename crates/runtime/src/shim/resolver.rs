//! The container's name server: answers from the names file, and asks the host's servers for the rest.

mod lookup;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

use super::DnsConfig;
use super::dns::{self, Code, Kind, Query, Record};
use super::names::{Names, OpenNames};
use super::poll::{Interest, Poll, Token, Watch};
use super::sockets::NameSockets;
use lookup::Lookup;

/// Short, as a name moves on with each change of a service; the next question costs a message within the host.
const TTL_SECONDS: u32 = super::ANSWER_TTL.as_secs() as u32;
/// How many questions to others may be open; beyond that the asker is told to come again.
const LOOKUPS_MAX: usize = 256;
/// How many connections there may be.
const CLIENTS_MAX: usize = 64;
/// How many servers are asked.
const UPSTREAMS_MAX: usize = 4;
/// How long a connection may say nothing.
const IDLE: Duration = Duration::from_secs(30);
/// Of a message with its length before it (RFC 1035, section 4.2.2).
const STREAM_MESSAGE_MAX: usize = 65_535;
/// How many datagrams are taken before somebody else gets a turn.
const BURST: usize = 64;

/// Who wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    Datagram(SocketAddr),
    Stream(u64),
}

#[derive(Debug)]
pub(super) struct Resolver {
    udp: OwnedFd,
    tcp: OwnedFd,
    tcp_watch: Watch,
    names: Names,
    upstreams: Vec<SocketAddr>,
    lookups: BTreeMap<u64, Lookup>,
    /// Which lookup a socket to a server belongs to.
    sockets: BTreeMap<u64, u64>,
    clients: BTreeMap<u64, StreamClient>,
    next: u64,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct StreamClient {
    fd: OwnedFd,
    watch: Watch,
    input: Vec<u8>,
    output: Vec<u8>,
    last_heard: Instant,
    ended: bool,
    broken: bool,
}

impl Resolver {
    /// Answers at these sockets; `open` gives the file of names as it is now.
    pub(super) fn new(
        NameSockets { udp, tcp, .. }: NameSockets,
        config: &DnsConfig,
        open: OpenNames,
        poll: &Poll,
    ) -> Result<Self, Errno> {
        poll.watch_input(&udp, Token::DnsUdp)?;
        let mut tcp_watch = Watch::new(Token::DnsTcp);
        poll.set(&tcp, &mut tcp_watch, Interest::IN)?;
        Ok(Self {
            udp,
            tcp,
            tcp_watch,
            names: Names::new(open),
            upstreams: config.upstreams.iter().take(UPSTREAMS_MAX).copied().collect(),
            lookups: BTreeMap::new(),
            sockets: BTreeMap::new(),
            clients: BTreeMap::new(),
            next: 0,
            buffer: vec![0; STREAM_MESSAGE_MAX],
        })
    }

    pub(super) fn handle(&mut self, token: Token, interest: Interest, poll: &Poll) {
        match token {
            Token::DnsUdp => self.hear_datagrams(poll),
            Token::DnsTcp => self.accept(poll),
            Token::DnsClient(number) => self.hear_stream(number, poll),
            Token::Upstream(number) => self.hear_upstream(number, interest, poll),
            _ => {}
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let lookups = self.lookups.values().map(Lookup::next_step);
        let clients = self.clients.values().map(|client| client.last_heard + IDLE);
        lookups.chain(clients).min()
    }

    pub(super) fn tick(&mut self, now: Instant, poll: &Poll) {
        let due = |lookup: &&Lookup| lookup.next_step() <= now;
        while let Some((number, over)) =
            self.lookups.iter().find(|(_, lookup)| due(lookup)).map(|(number, lookup)| (*number, lookup.is_over(now)))
        {
            if over {
                self.conclude(number, None, poll);
            } else if let Some(lookup) = self.lookups.get_mut(&number) {
                lookup.ask_again();
            }
        }
        self.clients.retain(|_, client| !client.broken && client.last_heard + IDLE > now);
        self.watch_listener(poll);
    }

    fn watch_listener(&mut self, poll: &Poll) {
        let wanted = if self.clients.len() < CLIENTS_MAX { Interest::IN } else { Interest::empty() };
        let _ = poll.set(&self.tcp, &mut self.tcp_watch, wanted);
    }

    fn hear_datagrams(&mut self, poll: &Poll) {
        for _ in 0..BURST {
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = rustix::net::recvfrom(&self.udp, &mut buffer, RecvFlags::empty());
            let message = received.as_ref().ok().and_then(|(length, _, _)| buffer.get(..*length).map(<[u8]>::to_vec));
            self.buffer = buffer;
            match (received, message) {
                (Ok((_, _, Some(from))), Some(message)) => {
                    if let Ok(from) = SocketAddr::try_from(from) {
                        self.ask(&message, Asker::Datagram(from), poll);
                    }
                }
                (Err(Errno::AGAIN), _) => return,
                // An error that an earlier answer met on its way.
                _ => {}
            }
        }
    }

    fn ask(&mut self, message: &[u8], asker: Asker, poll: &Poll) {
        let query = match dns::parse(message) {
            None => return,
            Some(Err(error)) => return self.reply(asker, &error, poll),
            Some(Ok(query)) => query,
        };
        let size = match asker {
            Asker::Datagram(_) => query.datagram_max,
            Asker::Stream(_) => STREAM_MESSAGE_MAX,
        };
        if let Some(records) = self.know(&query) {
            return self.reply(asker, &query.answer(Code::NoError, &records, TTL_SECONDS, size), poll);
        }
        if self.upstreams.is_empty() || self.names.is_internal() || self.lookups.len() >= LOOKUPS_MAX {
            return self.reply(asker, &query.answer(Code::ServerFailure, &[], 0, size), poll);
        }
        self.next += 1;
        let number = self.next;
        let lookup = Lookup::new(query, message.to_vec(), asker, &self.upstreams, &mut self.next, poll);
        self.sockets.extend(lookup.sockets().map(|socket| (socket, number)));
        let hopeless = lookup.is_hopeless();
        self.lookups.insert(number, lookup);
        if hopeless {
            self.conclude(number, None, poll);
        }
    }

    /// What the names file says. A name of ours has no other records than its addresses, and those it has not got do
    /// not exist elsewhere.
    fn know(&mut self, query: &Query) -> Option<Vec<Record>> {
        self.names.refresh();
        if !query.is_internet() {
            return None;
        }
        if let Some(address) = query.reverse_address() {
            return self.names.name(address).map(|name| vec![Record::Name(name.to_owned())]);
        }
        let addresses = self.names.addresses(&query.name)?;
        let wanted = addresses.into_iter().filter(|address| match query.kind {
            Kind::A => address.is_ipv4(),
            Kind::Aaaa => address.is_ipv6(),
            Kind::Ptr | Kind::Other(_) => false,
        });
        Some(wanted.map(Record::Address).collect())
    }

    fn hear_upstream(&mut self, socket: u64, interest: Interest, poll: &Poll) {
        let Some(number) = self.sockets.get(&socket).copied() else { return };
        let Some(lookup) = self.lookups.get_mut(&number) else { return };
        let answer = lookup.hear(socket, interest, &mut self.buffer, poll);
        if answer.is_some() || lookup.is_hopeless() {
            self.conclude(number, answer, poll);
        }
    }

    /// Ends a lookup with an answer, or with the best that there was.
    fn conclude(&mut self, number: u64, answer: Option<Vec<u8>>, poll: &Poll) {
        let Some(lookup) = self.lookups.remove(&number) else { return };
        for socket in lookup.sockets() {
            self.sockets.remove(&socket);
        }
        let (asker, answer) = lookup.conclude(answer);
        self.reply(asker, &answer, poll);
    }

    fn reply(&mut self, asker: Asker, message: &[u8], poll: &Poll) {
        match asker {
            // An asker that takes no datagram now will ask again.
            Asker::Datagram(to) => drop(rustix::net::sendto(&self.udp, message, SendFlags::empty(), &to)),
            Asker::Stream(number) => {
                if let Some(client) = self.clients.get_mut(&number) {
                    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
                    client.output.extend(length.to_be_bytes());
                    client.output.extend(message.iter().take(length.into()));
                    client.settle(poll);
                }
            }
        }
    }

    fn accept(&mut self, poll: &Poll) {
        while self.clients.len() < CLIENTS_MAX {
            match rustix::net::accept_with(&self.tcp, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                Ok(fd) => {
                    self.next += 1;
                    let mut client = StreamClient::new(fd, self.next);
                    client.settle(poll);
                    self.clients.insert(self.next, client);
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => break,
            }
        }
        self.watch_listener(poll);
    }

    fn hear_stream(&mut self, number: u64, poll: &Poll) {
        let Some(client) = self.clients.get_mut(&number) else { return };
        client.read(&mut self.buffer);
        let mut messages = Vec::new();
        while let Some(message) = take_message(&mut client.input) {
            messages.push(message);
        }
        for message in messages {
            self.ask(&message, Asker::Stream(number), poll);
        }
        if let Some(client) = self.clients.get_mut(&number) {
            client.settle(poll);
        }
        self.clients.retain(|_, client| !client.broken);
        self.watch_listener(poll);
    }
}

/// The first whole message of a stream.
fn take_message(input: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    let message = rest.get(..usize::from(u16::from_be_bytes(*length)))?.to_vec();
    input.drain(..message.len() + 2);
    Some(message)
}

impl StreamClient {
    fn new(fd: OwnedFd, number: u64) -> Self {
        let watch = Watch::new(Token::DnsClient(number));
        let (input, output) = (Vec::new(), Vec::new());
        Self { fd, watch, input, output, last_heard: Instant::now(), ended: false, broken: false }
    }

    fn read(&mut self, buffer: &mut [u8]) {
        match rustix::io::read(&self.fd, &mut *buffer) {
            Ok(0) => self.ended = true,
            Ok(length) => {
                self.last_heard = Instant::now();
                self.input.extend(buffer.iter().take(length));
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.broken = true,
        }
    }

    /// Writes what waits, and reads on only when that is taken.
    fn settle(&mut self, poll: &Poll) {
        while !self.output.is_empty() && !self.broken {
            match rustix::net::send(&self.fd, &self.output, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.output.drain(..sent)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(_) => self.broken = true,
            }
        }
        let wanted = match (self.output.is_empty(), self.ended) {
            (false, _) => Interest::OUT,
            (true, false) => Interest::IN,
            // It has said all; what it asked may still be looked up, until its time is over.
            (true, true) => Interest::empty(),
        };
        self.broken |= poll.set(&self.fd, &mut self.watch, wanted).is_err();
    }
}
