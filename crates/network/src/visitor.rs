//! A machine that does not exist otherwise, made to find out what it reaches: beside the host, or on a network.
//!
//! Nothing of it is recorded and nothing has to be cleared away: its link dies with its namespace, which only this process
//! holds.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_sys::netlink::route::{self, Mac, Veth};
use rustix::io::Errno;

use crate::fault::Context as _;
use crate::networks::{delete_link, open_routes};
use crate::{Namespace, Network, Networks, Subnet, codes};

/// Ranges for documentation (RFC 5737): nobody's own addresses.
const BESIDE_THE_HOST: [Ipv4Addr; 3] =
    [Ipv4Addr::new(198, 51, 100, 0), Ipv4Addr::new(203, 0, 113, 0), Ipv4Addr::new(192, 0, 2, 0)];

/// A machine in a network namespace of its own.
#[derive(Debug)]
pub struct Visitor {
    namespace: Namespace,
    link: String,
    /// The host as it sees it.
    pub host: Ipv4Addr,
    /// Its own.
    pub address: Ipv4Addr,
}

impl Visitor {
    /// Tries a connection by TCP. The outer error says that it could not even be tried.
    ///
    /// # Errors
    /// `network/no-permission`, `network/kernel`.
    pub fn connect(&self, to: SocketAddr, patience: Duration) -> Result<std::io::Result<()>> {
        self.namespace.run(|| Ok(connect(to, patience)))
    }
}

impl Drop for Visitor {
    /// Its link would die with its namespace too, but a moment later, and the host's address on it with it.
    fn drop(&mut self) {
        if let Ok(mut routes) = open_routes() {
            let _ = delete_link(&mut routes, &self.link);
        }
    }
}

/// How long a connection that stands is listened to: a forwarder that finds nobody behind it resets it at once.
const AFTERTHOUGHT: Duration = Duration::from_millis(50);

/// Tries a connection by TCP from this thread's namespace.
///
/// # Errors
/// `ConnectionRefused` where nobody listens, at whichever end of a forwarder.
pub fn connect(to: SocketAddr, patience: Duration) -> std::io::Result<()> {
    let refused = |error: std::io::Error| match error.kind() {
        ErrorKind::ConnectionReset => std::io::Error::from(ErrorKind::ConnectionRefused),
        _ => error,
    };
    let stream = TcpStream::connect_timeout(&to, patience).map_err(refused)?;
    stream.set_read_timeout(Some(AFTERTHOUGHT))?;
    match stream.peek(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(refused(error)),
        _ => Ok(()),
    }
}

impl Networks {
    /// A machine on a link of its own with the host, which is its way to everywhere: a neighbour on the host's network.
    ///
    /// # Errors
    /// `network/no-permission`, `network/kernel`, `network/pool-exhausted`.
    pub fn neighbour(&self) -> Result<Visitor> {
        let mut routes = open_routes()?;
        let present = routes.addresses().context(|| "can't list the host's addresses".into())?;
        let is_free = |first: &&Ipv4Addr| {
            let range = Subnet::containing(**first, 24);
            !present.iter().any(|found| matches!(found.address, IpAddr::V4(address) if range.contains(address)))
        };
        let range = BESIDE_THE_HOST.iter().rev().find(is_free).ok_or_else(|| {
            Diagnostic::error(&codes::POOL_EXHAUSTED, "every address range for a neighbour of this host is in use")
                .boxed()
        })?;
        let host = |number: u32| Ipv4Addr::from(u32::from(*range) + number);
        Self::visitor(None, host(1), host(2), 30)
    }

    /// A machine on a network, as a container there would be.
    ///
    /// # Errors
    /// `network/no-address`, `network/no-permission`, `network/kernel`.
    pub fn guest(&self, network: &Network) -> Result<Visitor> {
        let held: Vec<Ipv4Addr> = self.endpoints(&network.name)?.iter().map(|endpoint| endpoint.address).collect();
        let is_free = |address: &Ipv4Addr| {
            *address != network.gateway
                && !held.contains(address)
                && !network.reserved.values().any(|own| own == address)
        };
        let (IpAddr::V4(first), IpAddr::V4(last)) = (network.subnet.first(), network.subnet.last()) else {
            return Err(Diagnostic::error(&codes::NO_ADDRESS, format!("network {} has no IPv4", network.name)).boxed());
        };
        // From the far end: containers are numbered from the other.
        let address =
            (u32::from(first) + 1..u32::from(last)).rev().map(Ipv4Addr::from).find(is_free).ok_or_else(|| {
                Diagnostic::error(&codes::NO_ADDRESS, format!("network {} has no free address", network.name)).boxed()
            })?;
        let attempt = || format!("can't look at the bridge {}", network.bridge);
        let bridge = open_routes()?.link(&network.bridge).context(attempt)?.ok_or(Errno::NODEV).context(attempt)?;
        Self::visitor(Some(bridge.index), network.gateway, address, network.subnet.prefix())
    }

    fn visitor(bridge: Option<u32>, host: Ipv4Addr, address: Ipv4Addr, prefix: u8) -> Result<Visitor> {
        let attempt = || "can't make a machine to try connections from".to_owned();
        let namespace = Namespace::create()?;
        let mut routes = open_routes()?;
        let mut bytes = [0; 4];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context(attempt)?;
        // Not of a root's names: nobody takes it for a leak while it is needed.
        let name = format!("ckreach{:08x}", u32::from_ne_bytes(bytes));
        let visitor = Visitor { namespace, link: name, host, address };
        let Visitor { namespace, link: name, .. } = &visitor;
        let pair = Veth {
            name,
            bridge,
            mtu_bytes: 1500,
            peer_name: "eth0",
            peer_mac: Mac::of(address.into()),
            peer_namespace: namespace.as_fd(),
        };
        routes.execute(&[route::create_veth(&pair)]).context(attempt)?;
        if bridge.is_none() {
            let link = routes.link(name).context(attempt)?.ok_or(Errno::NODEV).context(attempt)?;
            routes.execute(&[route::add_address(link.index, host.into(), prefix)]).context(attempt)?;
        }
        namespace.run(|| {
            let mut inside = open_routes()?;
            let link = inside.link("eth0").context(attempt)?.ok_or(Errno::NODEV).context(attempt)?;
            let batch = [
                route::add_address(link.index, address.into(), prefix),
                route::set_up(link.index),
                route::add_default_route(host.into()),
            ];
            inside.execute(&batch).context(attempt)
        })?;
        Ok(visitor)
    }
}
