//! Published ports, led to the container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use carrack_specgen::container::Protocol;
use rustix::io::{Errno, Result as IoResult};
use rustix::net::SocketType;

use super::network::{connect, socket};
use super::poll::{Interest, Poll, Token};
use super::sockets::PortSocket;
use super::tcp::Connections;
use super::udp::Sessions;
use super::worker::Line;

/// Where a published port leads.
#[derive(Debug, Clone)]
pub(super) struct Target {
    address: Option<IpAddr>,
    ipv6: Option<Ipv6Addr>,
    port: u16,
    /// Where the container has a network of its own.
    line: Option<Rc<Line>>,
}

impl Target {
    /// Without a container, for tests.
    #[cfg(test)]
    pub(super) fn outside(address: SocketAddr) -> Self {
        Self { address: Some(address.ip()), ipv6: None, port: address.port(), line: None }
    }

    /// A socket on its way to the container from the host's network.
    pub(super) fn connect(&self, kind: SocketType) -> IoResult<OwnedFd> {
        match self.address {
            Some(address) => self.connect_to(address, kind),
            None => self.connect_inside(kind),
        }
    }

    /// The same to its address of IPv6, where it has one and its first was refused.
    pub(super) fn connect_ipv6(&self, kind: SocketType) -> Option<IoResult<OwnedFd>> {
        self.ipv6.map(|address| self.connect_to(address.into(), kind))
    }

    fn connect_to(&self, address: IpAddr, kind: SocketType) -> IoResult<OwnedFd> {
        let fd = socket(address, kind)?;
        connect(&fd, SocketAddr::new(address, self.port))?;
        Ok(fd)
    }

    /// The same from the container's own network, where the host has no way to its address.
    pub(super) fn connect_inside(&self, kind: SocketType) -> IoResult<OwnedFd> {
        let line = self.line.as_ref().ok_or(Errno::NETUNREACH)?;
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let fd = line.socket_inside(kind)?;
        connect(&fd, SocketAddr::new(loopback, self.port))?;
        Ok(fd)
    }

    /// Whether an attempt that failed this way may go better from inside. A refusal is the program's own answer.
    pub(super) fn is_worth_another_way(&self, errno: Errno) -> bool {
        let no_way = matches!(
            errno,
            Errno::NETUNREACH
                | Errno::HOSTUNREACH
                | Errno::ACCESS
                | Errno::PERM
                | Errno::TIMEDOUT
                | Errno::ADDRNOTAVAIL
        );
        no_way && self.address.is_some() && self.line.is_some()
    }
}

/// All published ports of a container.
#[derive(Debug, Default)]
pub(super) struct Forwarder {
    tcp: Connections,
    udp: Sessions,
}

impl Forwarder {
    pub(super) fn new(ports: Vec<PortSocket>, line: &Rc<Line>, poll: &Poll) -> IoResult<Self> {
        let mut forwarder = Self::default();
        for PortSocket { fd, published, has_inside, .. } in ports {
            let line = has_inside.then(|| Rc::clone(line));
            let (address, ipv6) = (published.address, published.ipv6);
            let target = Target { address, ipv6, port: published.container_port, line };
            match published.protocol {
                Protocol::Tcp => forwarder.tcp.add_listener(fd, target, poll)?,
                Protocol::Udp => forwarder.udp.add_listener(fd, target, poll)?,
            }
        }
        Ok(forwarder)
    }

    /// New connections and sessions go to these addresses of the container.
    pub(super) fn lead_to(&mut self, address: Option<IpAddr>, ipv6: Option<Ipv6Addr>) {
        let targets = self.tcp.targets().chain(self.udp.targets());
        targets.for_each(|target| (target.address, target.ipv6) = (address, ipv6));
    }

    pub(super) fn handle(&mut self, token: Token, interest: Interest, poll: &Poll) {
        match token {
            Token::TcpListener(number) => self.tcp.accept(number, poll),
            Token::TcpOutside(number) | Token::TcpInside(number) => self.tcp.handle(number, token, interest, poll),
            Token::UdpListener(number) => self.udp.hear_outside(number, poll),
            Token::UdpSession(number) => self.udp.hear_inside(number),
            _ => {}
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.tcp.deadline().into_iter().chain(self.udp.deadline()).min()
    }

    pub(super) fn tick(&mut self, now: Instant, poll: &Poll) {
        self.tcp.tick(now, poll);
        self.udp.tick(now);
    }

    /// The program has ended, and with it whoever was at the other end.
    pub(super) fn drop_connections(&mut self) {
        self.udp.clear();
    }
}
