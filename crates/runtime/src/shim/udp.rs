//! Datagrams through the shim: a table of who spoke to which port, with a time-out.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use carrack_sys::datagram::{self, Received};
use rustix::io::{Errno, Result};
use rustix::net::{RecvFlags, SendFlags, SocketType};

use super::forward::Target;
use super::poll::{Interest, Poll, Token, Watch};

/// How many there are at most; the one that was silent longest makes room for another.
const SESSIONS_MAX: usize = 1024;
/// How long one stays that nobody ever answered, as the kernel's connection tracking keeps it.
const UNANSWERED: Duration = Duration::from_secs(30);
/// How long one stays that was answered.
const ANSWERED: Duration = Duration::from_secs(180);
/// The table is looked through no more often.
const SWEEP: Duration = Duration::from_secs(10);
/// How many datagrams are taken before somebody else gets a turn.
const TURN: usize = 64;
/// The largest there is.
const DATAGRAM_MAX: usize = 65_535;

#[derive(Debug, Default)]
pub(super) struct Sessions {
    listeners: Vec<(OwnedFd, Target)>,
    /// By port, speaker and whom they spoke to.
    by_speaker: BTreeMap<Conversation, u64>,
    all: BTreeMap<u64, Session>,
    next: u64,
    next_sweep: Option<Instant>,
    buffer: Vec<u8>,
}

/// An answer leaves from the address that was spoken to, or the speaker does not take it for one.
type Conversation = (u64, SocketAddr, Option<IpAddr>);

#[derive(Debug)]
struct Session {
    conversation: Conversation,
    fd: OwnedFd,
    last: Instant,
    answered: bool,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        self.last + if self.answered { ANSWERED } else { UNANSWERED } <= now
    }
}

impl Session {
    /// Where the program does not listen on the one address, it may on the other.
    fn go_another_way(&mut self, number: u64, target: &Target, poll: &Poll) {
        if let Some(Ok(fd)) = target.connect_ipv6(SocketType::DGRAM)
            && poll.set(&fd, &mut Watch::new(Token::UdpSession(number)), Interest::IN).is_ok()
        {
            self.fd = fd;
        }
    }
}

impl Sessions {
    pub(super) fn add_listener(&mut self, fd: OwnedFd, target: Target, poll: &Poll) -> Result<()> {
        let ipv6 = matches!(rustix::net::getsockname(&fd)?.try_into(), Ok(SocketAddr::V6(_)));
        datagram::report_destination(&fd, ipv6)?;
        poll.watch_input(&fd, Token::UdpListener(self.listeners.len() as u64))?;
        self.listeners.push((fd, target));
        Ok(())
    }

    pub(super) fn targets(&mut self) -> impl Iterator<Item = &mut Target> {
        // Who speaks already is to be heard at the new place too.
        self.clear();
        self.listeners.iter_mut().map(|(_, target)| target)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.next_sweep
    }

    pub(super) fn tick(&mut self, now: Instant) {
        if self.next_sweep.is_none_or(|at| at > now) {
            return;
        }
        let over: Vec<u64> =
            self.all.iter().filter(|(_, session)| session.is_over(now)).map(|(number, _)| *number).collect();
        over.into_iter().for_each(|number| self.forget(number));
        self.next_sweep = (!self.all.is_empty()).then(|| now + SWEEP);
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.by_speaker.clear();
    }

    fn forget(&mut self, number: u64) {
        if let Some(session) = self.all.remove(&number) {
            self.by_speaker.remove(&session.conversation);
        }
    }

    /// Datagrams for the container.
    pub(super) fn hear_outside(&mut self, listener: u64, poll: &Poll) {
        let mut buffer = self.take_buffer();
        for _ in 0..TURN {
            let Some((fd, target)) = self.listeners.get(listener as usize) else { break };
            let target = target.clone();
            match datagram::receive(fd, &mut buffer) {
                Ok(Received { length, from, to }) => {
                    let Ok(number) = self.session((listener, from, to), poll) else { continue };
                    if let Some(session) = self.all.get_mut(&number) {
                        session.last = Instant::now();
                        let bytes = buffer.get(..length).unwrap_or_default();
                        // The first after a refusal only reports that.
                        if let Err(Errno::CONNREFUSED) = rustix::net::send(&session.fd, bytes, SendFlags::NOSIGNAL) {
                            session.go_another_way(number, &target, poll);
                            let _ = rustix::net::send(&session.fd, bytes, SendFlags::NOSIGNAL);
                        }
                    }
                }
                Err(Errno::AGAIN) => break,
                _ => {}
            }
        }
        self.buffer = buffer;
    }

    /// Answers of the container.
    pub(super) fn hear_inside(&mut self, number: u64) {
        let mut buffer = self.take_buffer();
        for _ in 0..TURN {
            let Some(session) = self.all.get_mut(&number) else { break };
            match rustix::net::recv(&session.fd, &mut buffer, RecvFlags::empty()) {
                Ok((length, _)) => {
                    session.answered = true;
                    session.last = Instant::now();
                    let (listener, speaker, spoken_to) = session.conversation;
                    if let Some((fd, _)) = self.listeners.get(listener as usize) {
                        let bytes = buffer.get(..length).unwrap_or_default();
                        let _ = datagram::send(fd, bytes, speaker, spoken_to);
                    }
                }
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.buffer = buffer;
    }

    fn take_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(DATAGRAM_MAX, 0);
        buffer
    }

    fn session(&mut self, conversation: Conversation, poll: &Poll) -> Result<u64> {
        if let Some(number) = self.by_speaker.get(&conversation) {
            return Ok(*number);
        }
        if self.all.len() >= SESSIONS_MAX {
            let silent = self.all.iter().min_by_key(|(_, session)| session.last).map(|(number, _)| *number);
            silent.into_iter().for_each(|number| self.forget(number));
        }
        let (_, target) = self.listeners.get(conversation.0 as usize).ok_or(Errno::BADF)?;
        let fd = match target.connect(SocketType::DGRAM) {
            Err(errno) if target.is_worth_another_way(errno) => target.connect_inside(SocketType::DGRAM)?,
            fd => fd?,
        };
        self.next += 1;
        let number = self.next;
        poll.set(&fd, &mut Watch::new(Token::UdpSession(number)), Interest::IN)?;
        let now = Instant::now();
        self.all.insert(number, Session { conversation, fd, last: now, answered: false });
        self.by_speaker.insert(conversation, number);
        self.next_sweep.get_or_insert(now + SWEEP);
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::shim::network::bind;

    /// Waits until a descriptor is readable.
    fn readable(fd: &OwnedFd) {
        use rustix::event::{PollFd, PollFlags, Timespec};
        let patience = Timespec { tv_sec: 20, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&patience)), Ok(1));
    }

    #[test]
    fn a_session_ends_sooner_where_nobody_answered() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (fd, host) = bind("0.0.0.0:0".parse().unwrap(), SocketType::DGRAM).unwrap();
        // Of all addresses of a host, an answer must leave from the one that was spoken to.
        let host = SocketAddr::from(([127, 0, 0, 2], host.port()));
        let poll = Poll::new().unwrap();
        let mut sessions = Sessions::default();
        sessions.add_listener(fd, Target::outside(server.local_addr().unwrap()), &poll).unwrap();
        let speakers = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        for speaker in &speakers {
            speaker.connect(host).unwrap();
            speaker.send(b"hello").unwrap();
            readable(&sessions.listeners[0].0);
            sessions.hear_outside(0, &poll);
        }
        assert_eq!(sessions.all.len(), 2);
        let (_, first) = server.recv_from(&mut [0; 9]).unwrap();
        server.send_to(b"hello yourself", first).unwrap();
        readable(&sessions.all[&1].fd);
        sessions.hear_inside(1);
        let mut buffer = [0; 99];
        assert_eq!(speakers[0].recv(&mut buffer).unwrap(), b"hello yourself".len());

        let now = Instant::now();
        sessions.tick(now + UNANSWERED);
        assert_eq!(sessions.all.keys().copied().collect::<Vec<_>>(), [1]);
        sessions.tick(now + ANSWERED);
        assert!(sessions.all.is_empty() && sessions.by_speaker.is_empty());
        assert_eq!(sessions.deadline(), None, "an empty table wakes nobody");
    }
}
