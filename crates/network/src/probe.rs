//! Whether this kernel does what networks need: tried in a namespace that dies with the question.

use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;

use carrack_diag::Result;
use carrack_sys::netlink::route::{self, Mac, Veth};

use crate::fault::Context as _;
use crate::networks::{open_filter, open_routes};
use crate::{Namespace, firewall};

/// Makes a network namespace: no container runs without one.
///
/// # Errors
/// `network/no-permission`, `network/kernel`.
pub fn try_namespace() -> Result<()> {
    Namespace::create().map(drop)
}

/// Makes a bridge and a pair of links.
///
/// # Errors
/// `network/no-permission`, `network/kernel`.
pub fn try_links() -> Result<()> {
    let (namespace, peer) = (Namespace::create()?, Namespace::create()?);
    let mac = Mac::of(Ipv4Addr::LOCALHOST.into());
    namespace.run(|| {
        let mut routes = open_routes()?;
        routes.execute(&[route::create_bridge("probe", mac, 1500)]).context(|| "can't make a bridge".into())?;
        let pair = Veth {
            name: "probe0",
            bridge: None,
            mtu_bytes: 1500,
            peer_name: "eth0",
            peer_mac: mac,
            peer_namespace: peer.as_fd(),
        };
        routes.execute(&[route::create_veth(&pair)]).context(|| "can't make a pair of links".into())
    })
}

/// Makes the rules of a root without networks, and those for a container's name server.
///
/// # Errors
/// `network/no-permission`, `network/kernel`.
pub fn try_filter() -> Result<()> {
    let namespace = Namespace::create()?;
    namespace.run(|| firewall::try_table(&mut open_filter()?))?;
    namespace.redirect_dns(1024, 1024)
}
