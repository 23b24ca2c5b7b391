//! Published ports: bound on the host, led to the container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Instant;

use carrack_specgen::container::Protocol;
use rustix::io::{Errno, Result as IoResult};
use rustix::net::SocketType;

use super::network::{Network, bind, connect, socket};
use super::poll::{Interest, Poll, Token};
use super::tcp::Connections;
use super::udp::Sessions;
use super::{BoundPort, PublishedPort, StartError};

/// Where a published port leads.
#[derive(Debug, Clone)]
pub(super) struct Target {
    address: Option<IpAddr>,
    ipv6: Option<Ipv6Addr>,
    port: u16,
    network: Option<Rc<Network>>,
}

impl Target {
    /// Without a container, for tests.
    #[cfg(test)]
    pub(super) fn outside(address: SocketAddr) -> Self {
        Self { address: Some(address.ip()), ipv6: None, port: address.port(), network: None }
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
        let network = self.network.as_ref().ok_or(Errno::NETUNREACH)?;
        let loopback = IpAddr::from(Ipv4Addr::LOCALHOST);
        let fd = network.inside(|| socket(loopback, kind))?;
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
        no_way && self.address.is_some() && self.network.is_some()
    }
}

/// All published ports of a container.
#[derive(Debug)]
pub(super) struct Forwarder {
    bound: Vec<BoundPort>,
    tcp: Connections,
    udp: Sessions,
}

impl Forwarder {
    /// Binds all ports, or none. Ports that were any free one stay what they were under a former shim.
    pub(super) fn open(
        ports: &[PublishedPort],
        former: &[BoundPort],
        network: Option<Rc<Network>>,
        poll: &Poll,
    ) -> Result<Self, StartError> {
        let mut forwarder = Self { bound: Vec::new(), tcp: Connections::default(), udp: Sessions::default() };
        for port in ports {
            let wanted = forwarder.number(port, former);
            let host = SocketAddr::new(port.host_address, wanted);
            let refused = |host| {
                move |errno: Errno| StartError::Port { host, protocol: port.protocol, errno: errno.raw_os_error() }
            };
            let kind = match port.protocol {
                Protocol::Tcp => SocketType::STREAM,
                Protocol::Udp => SocketType::DGRAM,
            };
            let (fd, host) = match bind(host, kind) {
                Err(Errno::ADDRINUSE) if port.host_port == 0 && wanted != 0 => {
                    let any = SocketAddr::new(port.host_address, 0);
                    bind(any, kind).map_err(refused(any))?
                }
                bound => bound.map_err(refused(host))?,
            };
            let (address, ipv6) = (port.address, port.ipv6);
            let target = Target { address, ipv6, port: port.container_port, network: network.clone() };
            let watched = match port.protocol {
                Protocol::Tcp => forwarder.tcp.add_listener(fd, target, poll),
                Protocol::Udp => forwarder.udp.add_listener(fd, target, poll),
            };
            watched.map_err(|errno| StartError::shim("watch a port", errno))?;
            let (protocol, container_port) = (port.protocol, port.container_port);
            forwarder.bound.push(BoundPort { host, protocol, container_port });
        }
        Ok(forwarder)
    }

    /// The number to ask for where any will do: what it was, else what the same port has in the other family.
    fn number(&self, port: &PublishedPort, former: &[BoundPort]) -> u16 {
        let same = |bound: &&BoundPort| (bound.protocol, bound.container_port) == (port.protocol, port.container_port);
        match port.host_port {
            0 => {
                let was = former.iter().filter(same).find(|bound| bound.host.ip() == port.host_address);
                let last = self.bound.last().filter(same).filter(|bound| bound.host.ip() != port.host_address);
                was.or(last).map_or(0, |bound| bound.host.port())
            }
            number => number,
        }
    }

    /// New connections and sessions go to these addresses of the container.
    pub(super) fn lead_to(&mut self, address: Option<IpAddr>, ipv6: Option<Ipv6Addr>) {
        let targets = self.tcp.targets().chain(self.udp.targets());
        targets.for_each(|target| (target.address, target.ipv6) = (address, ipv6));
    }

    pub(super) fn bound(&self) -> Vec<BoundPort> {
        self.bound.clone()
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
