//! The sockets that a container's name server and published ports are heard at: bound by the shim for as long as it lives,
//! served by its worker.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use carrack_specgen::container::Protocol;
use rustix::io::{Errno, Result};
use rustix::net::SocketType;

use super::network::{Network, bind};
use super::poll::{Interest, Poll, Token, Watch};
use super::{BoundPort, DnsConfig, DnsPorts, PublishedPort, StartError};

/// All of a container's.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    names: Option<NameSockets>,
    ports: Vec<PortSocket>,
    /// Of all of them, in the order of [`Sockets::descriptors`].
    watches: Vec<Watch>,
}

/// The name server's, in the container's network.
#[derive(Debug)]
pub(super) struct NameSockets {
    pub(super) udp: OwnedFd,
    pub(super) tcp: OwnedFd,
    ports: DnsPorts,
}

/// A published port's, on the host.
#[derive(Debug)]
pub(super) struct PortSocket {
    pub(super) fd: OwnedFd,
    pub(super) host: SocketAddr,
    /// Where it leads; without an address to the container's own loopback.
    pub(super) published: PublishedPort,
    /// Whether the container has a network of its own, whose loopback is another way to it.
    pub(super) has_inside: bool,
}

impl Sockets {
    /// Binds all, or none. Numbers that were any free one stay what they were under a former shim.
    pub(super) fn bind(
        dns: Option<&DnsConfig>,
        former_dns: Option<DnsPorts>,
        ports: &[PublishedPort],
        former_ports: &[BoundPort],
        network: Option<&Network>,
    ) -> std::result::Result<Self, StartError> {
        let mut sockets = Self::default();
        if let (Some(dns), Some(network)) = (dns, network) {
            let names = NameSockets::bind(dns, former_dns, network).map_err(|errno| {
                StartError::shim(format!("listen for DNS on {} in the container", dns.address), errno)
            })?;
            sockets.names = Some(names);
        }
        for port in ports {
            let wanted = sockets.number(port, former_ports);
            let (fd, host) = bind_port(port, wanted)?;
            sockets.ports.push(PortSocket { fd, host, published: port.clone(), has_inside: network.is_some() });
        }
        Ok(sockets)
    }

    /// The number to ask for where any will do: what it was, else what the same port has in the other family.
    fn number(&self, port: &PublishedPort, former: &[BoundPort]) -> u16 {
        let same = |protocol, container_port| (protocol, container_port) == (port.protocol, port.container_port);
        match port.host_port {
            0 => {
                let was = former
                    .iter()
                    .find(|bound| same(bound.protocol, bound.container_port) && bound.host.ip() == port.host_address);
                let last = self.ports.last().filter(|last| {
                    same(last.published.protocol, last.published.container_port) && last.host.ip() != port.host_address
                });
                was.map(|bound| bound.host).or(last.map(|last| last.host)).map_or(0, |host| host.port())
            }
            number => number,
        }
    }

    pub(super) fn dns(&self) -> Option<DnsPorts> {
        self.names.as_ref().map(|names| names.ports)
    }

    pub(super) fn bound(&self) -> Vec<BoundPort> {
        let bound = |port: &PortSocket| BoundPort {
            host: port.host,
            protocol: port.published.protocol,
            container_port: port.published.container_port,
        };
        self.ports.iter().map(bound).collect()
    }

    /// New connections and sessions go to this address of the container.
    pub(super) fn lead_to(&mut self, address: Option<IpAddr>, ipv6: Option<Ipv6Addr>) {
        for port in &mut self.ports {
            (port.published.address, port.published.ipv6) = (address, ipv6);
        }
    }

    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let names = self.names.iter().flat_map(|names| [names.udp.as_fd(), names.tcp.as_fd()]);
        names.chain(self.ports.iter().map(|port| port.fd.as_fd()))
    }

    /// Has the first word to any of them heard, or, while a worker serves them, none.
    pub(super) fn watch(&mut self, poll: &Poll, wanted: bool) -> Result<()> {
        let mut watches = std::mem::take(&mut self.watches);
        watches.resize_with(self.descriptors().count(), || Watch::new(Token::Knock));
        let interest = if wanted { Interest::IN } else { Interest::empty() };
        let done = self.descriptors().zip(&mut watches).try_for_each(|(fd, watch)| poll.set(fd, watch, interest));
        self.watches = watches;
        done
    }

    /// The same, for the process that serves them: it has got the descriptors anew, in the order of
    /// [`Sockets::descriptors`].
    pub(super) fn served(&self, descriptors: Vec<OwnedFd>) -> Option<(Option<NameSockets>, Vec<PortSocket>)> {
        let mut descriptors = descriptors.into_iter();
        let names = match &self.names {
            Some(NameSockets { ports, .. }) => {
                Some(NameSockets { udp: descriptors.next()?, tcp: descriptors.next()?, ports: *ports })
            }
            None => None,
        };
        let port = |port: &PortSocket| {
            let (published, fd) = (port.published.clone(), descriptors.next()?);
            Some(PortSocket { fd, host: port.host, published, has_inside: port.has_inside })
        };
        Some((names, self.ports.iter().map(port).collect::<Option<_>>()?))
    }
}

impl NameSockets {
    /// Listens inside of the container's network, at the ports that NAT rules lead to already where there are such.
    fn bind(config: &DnsConfig, former: Option<DnsPorts>, network: &Network) -> Result<Self> {
        let ports = config.ports.or(former).unwrap_or(DnsPorts { udp: 0, tcp: 0 });
        let inside = |port, kind| network.inside(|| bind(SocketAddr::new(config.address, port), kind));
        let (udp, udp_address) = inside(ports.udp, SocketType::DGRAM)?;
        let (tcp, tcp_address) = inside(ports.tcp, SocketType::STREAM)?;
        Ok(Self { udp, tcp, ports: DnsPorts { udp: udp_address.port(), tcp: tcp_address.port() } })
    }
}

fn bind_port(port: &PublishedPort, wanted: u16) -> std::result::Result<(OwnedFd, SocketAddr), StartError> {
    let host = SocketAddr::new(port.host_address, wanted);
    let refused =
        |host| move |errno: Errno| StartError::Port { host, protocol: port.protocol, errno: errno.raw_os_error() };
    let kind = match port.protocol {
        Protocol::Tcp => SocketType::STREAM,
        Protocol::Udp => SocketType::DGRAM,
    };
    match bind(host, kind) {
        Err(Errno::ADDRINUSE) if port.host_port == 0 && wanted != 0 => {
            let any = SocketAddr::new(port.host_address, 0);
            bind(any, kind).map_err(refused(any))
        }
        bound => bound.map_err(refused(host)),
    }
}
