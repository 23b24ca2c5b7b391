//! epoll(7) with typed tokens, level-triggered.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::{Errno, Result};

pub(super) use rustix::event::epoll::EventFlags as Interest;

/// Whose descriptor is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Signals,
    Control,
    Child,
    Stdout,
    Stderr,
    Stdin,
    Socket,
    Event,
    Probe,
    DnsUdp,
    DnsTcp,
    /// Numbers are never used twice, so one that comes late hits nobody.
    Client(u64),
    DnsClient(u64),
    Upstream(u64),
    TcpListener(u64),
    TcpOutside(u64),
    TcpInside(u64),
    UdpListener(u64),
    UdpSession(u64),
    Filter,
    /// The first word to a socket that has no worker yet.
    Knock,
    Worker,
    Asked,
    Told,
    Packing,
}

const KIND_SHIFT: u32 = 56;

impl Token {
    fn encode(self) -> u64 {
        let (kind, number) = match self {
            Self::Signals => (0, 0),
            Self::Control => (1, 0),
            Self::Child => (2, 0),
            Self::Stdout => (3, 0),
            Self::Stderr => (4, 0),
            Self::Stdin => (5, 0),
            Self::Socket => (6, 0),
            Self::Event => (7, 0),
            Self::Probe => (8, 0),
            Self::DnsUdp => (9, 0),
            Self::DnsTcp => (10, 0),
            Self::Client(number) => (11, number),
            Self::DnsClient(number) => (12, number),
            Self::Upstream(number) => (13, number),
            Self::TcpListener(number) => (14, number),
            Self::TcpOutside(number) => (15, number),
            Self::TcpInside(number) => (16, number),
            Self::UdpListener(number) => (17, number),
            Self::UdpSession(number) => (18, number),
            Self::Filter => (19, 0),
            Self::Knock => (20, 0),
            Self::Worker => (21, 0),
            Self::Asked => (22, 0),
            Self::Told => (23, 0),
            Self::Packing => (24, 0),
        };
        kind << KIND_SHIFT | number
    }

    fn decode(value: u64) -> Option<Self> {
        let number = value & ((1 << KIND_SHIFT) - 1);
        Some(match value >> KIND_SHIFT {
            0 => Self::Signals,
            1 => Self::Control,
            2 => Self::Child,
            3 => Self::Stdout,
            4 => Self::Stderr,
            5 => Self::Stdin,
            6 => Self::Socket,
            7 => Self::Event,
            8 => Self::Probe,
            9 => Self::DnsUdp,
            10 => Self::DnsTcp,
            11 => Self::Client(number),
            12 => Self::DnsClient(number),
            13 => Self::Upstream(number),
            14 => Self::TcpListener(number),
            15 => Self::TcpOutside(number),
            16 => Self::TcpInside(number),
            17 => Self::UdpListener(number),
            18 => Self::UdpSession(number),
            19 => Self::Filter,
            20 => Self::Knock,
            21 => Self::Worker,
            22 => Self::Asked,
            23 => Self::Told,
            24 => Self::Packing,
            _ => return None,
        })
    }
}

/// What one descriptor is watched for at present. Watched for nothing it is taken out, as the kernel reports hang-ups
/// also of what nobody asked for.
#[derive(Debug)]
pub(super) struct Watch {
    token: Token,
    interest: Interest,
}

impl Watch {
    pub(super) fn new(token: Token) -> Self {
        Self { token, interest: Interest::empty() }
    }
}

/// The set of watched descriptors. Closing a descriptor that nobody else holds takes it out.
#[derive(Debug)]
pub(super) struct Poll(OwnedFd);

impl Poll {
    pub(super) fn new() -> Result<Self> {
        epoll::create(epoll::CreateFlags::CLOEXEC).map(Self)
    }

    /// Watches for something else than before.
    pub(super) fn set(&self, fd: impl AsFd, watch: &mut Watch, interest: Interest) -> Result<()> {
        if watch.interest == interest {
            return Ok(());
        }
        let data = epoll::EventData::new_u64(watch.token.encode());
        match (watch.interest.is_empty(), interest.is_empty()) {
            (true, _) => epoll::add(&self.0, fd, data, interest)?,
            (false, true) => epoll::delete(&self.0, fd)?,
            (false, false) => epoll::modify(&self.0, fd, data, interest)?,
        }
        watch.interest = interest;
        Ok(())
    }

    /// Watches something for input for as long as it is open.
    pub(super) fn watch_input(&self, fd: impl AsFd, token: Token) -> Result<()> {
        self.set(fd, &mut Watch::new(token), Interest::IN)
    }

    /// Waits for events, at most so long, with the shim's own code unmapped meanwhile.
    pub(super) fn wait_without_code(&self, timeout: Option<Duration>) -> Result<()> {
        carrack_sys::process::wait_without_code(&self.0, timeout)
    }

    /// Waits for events, at most so long.
    pub(super) fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<(Token, Interest)>) -> Result<()> {
        let mut events = [epoll::Event { flags: Interest::empty(), data: epoll::EventData::new_u64(0) }; 64];
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().min(i64::MAX as u64) as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let count = match epoll::wait(&self.0, &mut events, timeout.as_ref()) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(errno) => return Err(errno),
        };
        let events = events.iter().take(count);
        ready.extend(events.filter_map(|event| Some((Token::decode(event.data.u64())?, event.flags))));
        Ok(())
    }
}
