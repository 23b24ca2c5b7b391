use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Result;

use super::{Message, Reply, Socket, attribute, attributes, string, u32_at};

const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const DUMP: u16 = libc::NLM_F_DUMP as u16;

const LINK_HEADER_BYTES: usize = 16;
const ADDRESS_HEADER_BYTES: usize = 8;
const ROUTE_HEADER_BYTES: usize = 12;

// linux/if_link.h and linux/veth.h; not in libc.
const VETH_INFO_PEER: u16 = 1;
const IFLA_BRPORT_STATE: u16 = 1;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
// linux/if_addr.h.
const IFA_FLAGS: u16 = 8;
const IFLA_BRPORT_ISOLATED: u16 = 33;
const IN6_ADDR_GEN_MODE_NONE: u8 = 1;
// linux/if_bridge.h.
const BR_STATE_DISABLED: u8 = 0;

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The locally administered address that follows from an IP address, as Docker derives it: `02:42` and the last four
    /// bytes. A container that takes over an address takes over its hardware address, and no neighbour's cache is wrong.
    pub fn of(address: IpAddr) -> Self {
        let tail = match address {
            IpAddr::V4(address) => address.octets(),
            IpAddr::V6(address) => {
                let bytes = address.octets();
                [bytes[12], bytes[13], bytes[14], bytes[15]]
            }
        };
        Self([0x02, 0x42, tail[0], tail[1], tail[2], tail[3]])
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let wrong = || format!("{text:?} is not a hardware address of the form 02:42:ac:11:00:02");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let is_pair = |part: &&str| part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit());
            let part = parts.next().filter(is_pair).ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() { Err(wrong()) } else { Ok(Self(bytes)) }
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

/// A pair of Ethernet interfaces: one port of a bridge here, its peer born in another network namespace.
#[derive(Debug)]
pub struct Veth<'a> {
    /// Name of the end here, at most 15 bytes.
    pub name: &'a str,
    /// Index of the bridge it is a port of; none to stay outside of any.
    pub bridge: Option<u32>,
    /// Of both ends, in bytes.
    pub mtu_bytes: u32,
    /// Name of the other end.
    pub peer_name: &'a str,
    /// Hardware address of the other end.
    pub peer_mac: Mac,
    /// Where the other end is born.
    pub peer_namespace: BorrowedFd<'a>,
}

fn link_header(index: u32, flags: u32, change: u32) -> [u8; LINK_HEADER_BYTES] {
    let mut header = [0; LINK_HEADER_BYTES];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&change.to_ne_bytes());
    header
}

fn set_link(index: u32, flags: u32, change: u32) -> Message {
    Message::new(libc::RTM_NEWLINK, 0, &link_header(index, flags, change))
}

const UP: u32 = libc::IFF_UP as u32;

/// Makes a bridge, down.
pub fn create_bridge(name: &str, mac: Mac, mtu_bytes: u32) -> Message {
    let mut message = Message::new(libc::RTM_NEWLINK, CREATE, &link_header(0, 0, 0));
    message.text(libc::IFLA_IFNAME, name).attribute(libc::IFLA_ADDRESS, &mac.0);
    message.attribute(libc::IFLA_MTU, &mtu_bytes.to_ne_bytes());
    message.nested(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_KIND, "bridge");
    });
    message
}

/// More queues than the one in use, which the kernel gives by its processors, cost two grace periods at the birth of a pair.
fn one_queue(message: &mut Message) {
    let one = 1_u32.to_ne_bytes();
    message.attribute(libc::IFLA_NUM_TX_QUEUES, &one).attribute(libc::IFLA_NUM_RX_QUEUES, &one);
}

/// Makes a pair, this end up, the peer down: a peer that is up before it has a namespace of its own costs a grace period.
pub fn create_veth(veth: &Veth<'_>) -> Message {
    let mtu = veth.mtu_bytes.to_ne_bytes();
    let mut message = Message::new(libc::RTM_NEWLINK, CREATE, &link_header(0, UP, UP));
    message.text(libc::IFLA_IFNAME, veth.name).attribute(libc::IFLA_MTU, &mtu);
    one_queue(&mut message);
    if let Some(bridge) = veth.bridge {
        message.attribute(libc::IFLA_MASTER, &bridge.to_ne_bytes());
    }
    message.nested(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_KIND, "veth");
        info.nested(libc::IFLA_INFO_DATA, |data| {
            data.nested(VETH_INFO_PEER, |peer| {
                peer.raw(&link_header(0, 0, 0)).text(libc::IFLA_IFNAME, veth.peer_name);
                peer.attribute(libc::IFLA_MTU, &mtu).attribute(libc::IFLA_ADDRESS, &veth.peer_mac.0);
                one_queue(peer);
                peer.attribute(libc::IFLA_NET_NS_FD, &veth.peer_namespace.as_raw_fd().to_ne_bytes());
            });
        });
    });
    message
}

/// Has a bridge take no frame from one of its ports any more, send none through it and learn nothing from it, until the
/// link goes down and up. Unlike [`disconnect`], which comes to the same, it waits for no processor to have seen it.
/// `EOPNOTSUPP` for what is no port, `EBUSY` where the bridge runs the spanning tree protocol of the kernel, `ENETDOWN` where
/// the port is down.
pub fn block_bridge_port(index: u32) -> Message {
    // As a message to the bridge: one to the link would be followed by a notice of its change, at which the bridge looks at
    // the link and lets it take part again.
    let mut header = link_header(index, 0, 0);
    header[0] = libc::AF_BRIDGE as u8;
    let mut message = Message::new(libc::RTM_SETLINK, 0, &header);
    message.nested(libc::IFLA_PROTINFO, |port| {
        port.attribute(IFLA_BRPORT_LEARNING, &[0]);
        port.attribute(IFLA_BRPORT_STATE, &[BR_STATE_DISABLED]);
    });
    message
}

/// Lets the bridge send a frame back through the port it came from, which a container that reaches itself by a published
/// port or a virtual address needs. One that is isolated exchanges frames with the bridge alone, not with other such
/// ports. Also keeps link-local IPv6 off the port.
pub fn set_bridge_port(name: &str, is_isolated: bool) -> Message {
    let mut message = set_link(0, 0, 0);
    message.text(libc::IFLA_IFNAME, name);
    message.nested(libc::IFLA_LINKINFO, |info| {
        info.text(libc::IFLA_INFO_SLAVE_KIND, "bridge");
        info.nested(libc::IFLA_INFO_SLAVE_DATA, |data| {
            data.attribute(IFLA_BRPORT_MODE, &[1]);
            data.attribute(IFLA_BRPORT_ISOLATED, &[u8::from(is_isolated)]);
        });
    });
    without_link_local(&mut message);
    message
}

/// Keeps the kernel from giving a link an IPv6 address that nobody asked for; before it comes up.
pub fn without_ipv6(index: u32) -> Message {
    let mut message = set_link(index, 0, 0);
    without_link_local(&mut message);
    message
}

/// Brings a link up.
pub fn set_up(index: u32) -> Message {
    set_link(index, UP, UP)
}

/// As [`set_up`], by name: for a link that is made in the same batch.
pub fn set_up_by_name(name: &str) -> Message {
    let mut message = set_up(0);
    message.text(libc::IFLA_IFNAME, name);
    message
}

fn without_link_local(message: &mut Message) {
    message.nested(libc::IFLA_AF_SPEC, |families| {
        families.nested(libc::AF_INET6 as u16, |family| {
            family.attribute(IFLA_INET6_ADDR_GEN_MODE, &[IN6_ADDR_GEN_MODE_NONE]);
        });
    });
}

/// Takes a link out of the bridge it is a port of, and down.
pub fn disconnect(index: u32) -> Message {
    let mut message = set_link(index, 0, UP);
    message.attribute(libc::IFLA_MASTER, &0_u32.to_ne_bytes());
    message
}

/// Deletes a link, and with a veth its peer. Takes tens of milliseconds for a veth: the death of the peer's namespace does
/// the same in the background.
pub fn delete_link(index: u32) -> Message {
    Message::new(libc::RTM_DELLINK, 0, &link_header(index, 0, 0))
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn put_address(message: &mut Message, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => message.attribute(kind, &address.octets()),
        IpAddr::V6(address) => message.attribute(kind, &address.octets()),
    };
}

/// Gives a link an address; for IPv4 with the subnet's broadcast address. One of IPv6 is not tried out first.
pub fn add_address(index: u32, address: IpAddr, prefix: u8) -> Message {
    let mut header = [0; ADDRESS_HEADER_BYTES];
    (header[0], header[1]) = (family(address), prefix);
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let mut message = Message::new(libc::RTM_NEWADDR, CREATE, &header);
    put_address(&mut message, libc::IFA_LOCAL, address);
    put_address(&mut message, libc::IFA_ADDRESS, address);
    if address.is_ipv6() {
        message.attribute(IFA_FLAGS, &libc::IFA_F_NODAD.to_ne_bytes());
    }
    if let (IpAddr::V4(address), 0..=30) = (address, prefix) {
        let broadcast = u32::from(address) | (u32::MAX >> prefix);
        put_address(&mut message, libc::IFA_BROADCAST, IpAddr::V4(broadcast.into()));
    }
    message
}

/// Adds the default route through `gateway`.
pub fn add_default_route(gateway: IpAddr) -> Message {
    default_route(gateway, CREATE)
}

/// As [`add_default_route`], in the place of the one that is there.
pub fn replace_default_route(gateway: IpAddr) -> Message {
    default_route(gateway, (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16)
}

fn default_route(gateway: IpAddr, flags: u16) -> Message {
    let mut header = [0; ROUTE_HEADER_BYTES];
    header[0] = family(gateway);
    (header[4], header[5]) = (libc::RT_TABLE_MAIN, libc::RTPROT_BOOT);
    (header[6], header[7]) = (libc::RT_SCOPE_UNIVERSE, libc::RTN_UNICAST);
    let mut message = Message::new(libc::RTM_NEWROUTE, flags, &header);
    put_address(&mut message, libc::RTA_GATEWAY, gateway);
    message
}

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Of its namespace.
    pub index: u32,
    /// Of its namespace.
    pub name: String,
    /// `bridge`, `veth`, …; none for hardware and loopback.
    pub kind: Option<String>,
    /// Index of the bridge (or bond, …) it is a port of.
    pub bridge: Option<u32>,
    /// Index of a veth's other end, of that one's namespace.
    pub peer: Option<u32>,
    /// None for links without one.
    pub mac: Option<Mac>,
    /// In bytes.
    pub mtu_bytes: u32,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Whether it is a port that [`block_bridge_port`] was asked for.
    pub is_blocked: bool,
    /// Whether it is the loopback interface.
    pub is_loopback: bool,
}

/// An address of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// Of the link.
    pub index: u32,
    /// The address.
    pub address: IpAddr,
    /// Of its subnet.
    pub prefix: u8,
}

/// A route of any table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// First address of the destination; unspecified for the default route.
    pub destination: IpAddr,
    /// Of the destination; 0 for the default route.
    pub prefix: u8,
    /// Next hop, where there is one.
    pub gateway: Option<IpAddr>,
    /// Index of the link it leaves through.
    pub output: Option<u32>,
    /// `RT_TABLE_*`.
    pub table: u32,
    /// `RTN_*`: 1 is unicast, 2 local, 3 broadcast.
    pub kind: u8,
}

impl Socket {
    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        self.query(&Message::new(libc::RTM_GETLINK, DUMP, &link_header(0, 0, 0)), read_link)
    }

    /// The link of that name.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>> {
        let mut message = Message::new(libc::RTM_GETLINK, 0, &link_header(0, 0, 0));
        message.text(libc::IFLA_IFNAME, name);
        match self.query(&message, read_link) {
            Ok(links) => Ok(links.into_iter().next()),
            Err(rustix::io::Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All addresses of the namespace.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        self.query(&Message::new(libc::RTM_GETADDR, DUMP, &[0; ADDRESS_HEADER_BYTES]), read_address)
    }

    /// All routes of the namespace.
    pub fn routes(&mut self) -> Result<Vec<Route>> {
        self.query(&Message::new(libc::RTM_GETROUTE, DUMP, &[0; ROUTE_HEADER_BYTES]), read_route)
    }
}

fn read_link(reply: &Reply<'_>) -> Option<Link> {
    if reply.kind != libc::RTM_NEWLINK {
        return None;
    }
    let body = reply.payload.get(LINK_HEADER_BYTES..)?;
    let flags = u32_at(reply.payload, 8)?;
    let info = attribute(body, libc::IFLA_LINKINFO);
    let port = info
        .filter(|info| attribute(info, libc::IFLA_INFO_SLAVE_KIND).is_some_and(|kind| string(kind) == "bridge"))
        .and_then(|info| attribute(info, libc::IFLA_INFO_SLAVE_DATA));
    Some(Link {
        index: u32_at(reply.payload, 4)?,
        name: string(attribute(body, libc::IFLA_IFNAME)?),
        kind: info.and_then(|info| attribute(info, libc::IFLA_INFO_KIND)).map(string),
        bridge: attribute(body, libc::IFLA_MASTER).and_then(|value| u32_at(value, 0)),
        peer: attribute(body, libc::IFLA_LINK).and_then(|value| u32_at(value, 0)),
        mac: attribute(body, libc::IFLA_ADDRESS).and_then(|value| value.try_into().ok()).map(Mac),
        mtu_bytes: attribute(body, libc::IFLA_MTU).and_then(|value| u32_at(value, 0)).unwrap_or(0),
        is_up: flags & UP != 0,
        // One without a carrier is disabled too, by the bridge itself.
        is_blocked: port.is_some_and(|port| {
            let is = |setting, value| attribute(port, setting) == Some(&[value]);
            is(IFLA_BRPORT_STATE, BR_STATE_DISABLED) && is(IFLA_BRPORT_LEARNING, 0)
        }),
        is_loopback: flags & libc::IFF_LOOPBACK as u32 != 0,
    })
}

fn read_address(reply: &Reply<'_>) -> Option<Address> {
    if reply.kind != libc::RTM_NEWADDR {
        return None;
    }
    let body = reply.payload.get(ADDRESS_HEADER_BYTES..)?;
    // For IPv4 the local address; with a peer, IFA_ADDRESS is the peer's.
    let value = attribute(body, libc::IFA_LOCAL).or_else(|| attribute(body, libc::IFA_ADDRESS))?;
    Some(Address { index: u32_at(reply.payload, 4)?, address: ip(value)?, prefix: reply.payload[1] })
}

fn read_route(reply: &Reply<'_>) -> Option<Route> {
    if reply.kind != libc::RTM_NEWROUTE {
        return None;
    }
    let body = reply.payload.get(ROUTE_HEADER_BYTES..)?;
    let unspecified: IpAddr = match i32::from(reply.payload[0]) {
        libc::AF_INET => std::net::Ipv4Addr::UNSPECIFIED.into(),
        libc::AF_INET6 => std::net::Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let (mut destination, mut gateway, mut output, mut table) = (unspecified, None, None, u32::from(reply.payload[4]));
    for (kind, value) in attributes(body) {
        match kind {
            libc::RTA_DST => destination = ip(value)?,
            libc::RTA_GATEWAY => gateway = ip(value),
            libc::RTA_OIF => output = u32_at(value, 0),
            libc::RTA_TABLE => table = u32_at(value, 0)?,
            _ => {}
        }
    }
    Some(Route { destination, prefix: reply.payload[1], gateway, output, table, kind: reply.payload[7] })
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(value).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

/// Moves this thread into a new network namespace, in which even the loopback interface is down.
pub fn unshare_network() -> Result<()> {
    // SAFETY: CLONE_NEWNET changes the network namespace of this thread alone; it shares no descriptors or memory less
    // than before, which is what makes other flags of this call unsafe.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn readers_take_any_payload(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            let reply = |kind| Reply { kind, flags: 0, sequence: 0, payload: &payload };
            let _ = read_link(&reply(libc::RTM_NEWLINK));
            let _ = read_address(&reply(libc::RTM_NEWADDR));
            let _ = read_route(&reply(libc::RTM_NEWROUTE));
        }
    }
}
