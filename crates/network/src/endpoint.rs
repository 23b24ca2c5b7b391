use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use carrack_sys::netlink::route::Mac;
use serde::{Deserialize, Serialize};

use crate::Publication;

/// A container's place on one network, as it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Name or id of the network.
    pub network: String,
    /// Names that it answers to there: the container's own, its short id, aliases.
    pub names: Vec<String>,
    /// Names that it alone has for others there: name or id of the other, then the name.
    pub links: Vec<(String, String)>,
    /// The lowest free one where none.
    pub address: Option<Ipv4Addr>,
    /// The same for IPv6, where the network has it.
    pub ipv6: Option<Ipv6Addr>,
    /// Further addresses of the interface, of its link alone.
    pub link_local: Vec<IpAddr>,
    /// Follows from the address where none.
    pub mac: Option<Mac>,
    /// `eth0`, `eth1`, … by position where none, with the network's own prefix where it has one.
    pub interface: Option<String>,
    /// The network with the highest gives the default route; the first of those with the same.
    pub gateway_priority: i64,
    /// Kernel parameters of the interface: `ipv4.conf.log_martians` stands for the file
    /// `/proc/sys/net/ipv4/conf/INTERFACE/log_martians`.
    pub parameters: Vec<(String, String)>,
    /// Whether it does not answer to the names yet.
    pub withdrawn: bool,
}

/// A container's place on one network, as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Id of the container.
    pub container: String,
    /// Name of the network.
    pub network: String,
    /// Id of the network.
    pub network_id: String,
    /// The link in the container's namespace.
    pub interface: String,
    /// The link in the host's namespace.
    pub port: String,
    /// On the network.
    pub address: Ipv4Addr,
    /// Of the network's subnet.
    pub prefix: u8,
    /// Where the network has IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Place>,
    /// Further addresses of the interface.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
    /// Of the link in the container's namespace.
    pub mac: Mac,
    /// The bridge's address; the default route only where the network is not internal.
    pub gateway: Ipv4Addr,
    /// Whether the network is internal.
    pub internal: bool,
    /// Names that it answers to there, in lower case.
    pub names: Vec<String>,
    /// Names that it alone has for others there, in lower case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<(String, String)>,
    /// Whether nobody but the container itself is told these names: it is not ready yet, or about to be stopped.
    #[serde(default)]
    pub withdrawn: bool,
    /// The network with the highest gives the default route.
    #[serde(default)]
    pub gateway_priority: i64,
    /// Whether the container's default route leaves through it.
    #[serde(default)]
    pub is_gateway: bool,
    /// Ports of the host that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Publication>,
}

/// An endpoint's address of IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Place {
    /// On the network.
    pub address: Ipv6Addr,
    /// Of the network's subnet.
    pub prefix: u8,
    /// The bridge's address.
    pub gateway: Ipv6Addr,
}

impl Endpoint {
    /// The container's id as people see it.
    pub fn short_container(&self) -> &str {
        self.container.get(..12).unwrap_or(&self.container)
    }

    /// Its addresses on the network, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(IpAddr::V4(self.address)).chain(self.ipv6.map(|place| IpAddr::V6(place.address)))
    }

    /// Where a container's default routes lead, of those families that the network has.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(IpAddr::V4(self.gateway)).chain(self.ipv6.map(|place| IpAddr::V6(place.gateway)))
    }
}

/// Which of a container's endpoints, in the order of connecting, gives the default route.
pub(crate) fn gateway_of(endpoints: &[Endpoint]) -> Option<usize> {
    let candidates = endpoints.iter().enumerate().filter(|(_, endpoint)| !endpoint.internal);
    let best = candidates.max_by_key(|(index, endpoint)| (endpoint.gateway_priority, std::cmp::Reverse(*index)));
    best.map(|(index, _)| index)
}
