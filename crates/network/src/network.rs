use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use carrack_sys::nftables::Family;
use serde::{Deserialize, Serialize};

use crate::{Subnet, codes};

/// The network of containers that asked for none; made when first used.
pub const DEFAULT_NETWORK: &str = "bridge";

/// The id of a network that every root of this tag has, made or not: 64 hexadecimal digits.
pub(crate) fn predefined_id(tag: &str, name: &str) -> String {
    Digest::of(format!("{tag} {name}").as_bytes()).hex().to_owned()
}

const OPTION_MTU: &str = "com.docker.network.driver.mtu";
const OPTION_MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const OPTION_BETWEEN: &str = "com.docker.network.bridge.enable_icc";
const OPTION_HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const OPTION_INTERFACE_PREFIX: &str = "com.docker.network.container_iface_prefix";
const OPTION_GATEWAY_MODES: [&str; 2] =
    ["com.docker.network.bridge.gateway_mode_ipv4", "com.docker.network.bridge.gateway_mode_ipv6"];

/// A network as somebody wants it. A field's default is "not asked for".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Unique on a root.
    pub name: String,
    /// Without a way out or in, but through published ports of the forwarder.
    pub internal: bool,
    /// One of the pools where none.
    pub subnet: Option<Subnet>,
    /// The bridge's own address; the first of the subnet where none.
    pub gateway: Option<Ipv4Addr>,
    /// The part of the subnet that containers are numbered from.
    pub ip_range: Option<Subnet>,
    /// Addresses of others by name, never given to a container that does not ask for them.
    pub reserved: BTreeMap<String, Ipv4Addr>,
    /// Whether IPv6 is asked for.
    pub ipv6: bool,
    /// One of this host's own where none and IPv6 is asked for.
    pub ipv6_range: Option<WantedIpv6>,
    /// Whether containers may be connected by hand where an orchestrator owns it; nothing but a mark here.
    pub attachable: bool,
    /// Options of Docker's bridge driver.
    pub options: BTreeMap<String, String>,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
}

/// Addresses of IPv6 as they are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedIpv6 {
    /// The range.
    pub subnet: Subnet,
    /// The bridge's own address; the first of the subnet where none.
    pub gateway: Option<Ipv6Addr>,
    /// The part of the subnet that containers are numbered from.
    pub ip_range: Option<Subnet>,
    /// Addresses of others by name.
    pub reserved: BTreeMap<String, Ipv6Addr>,
}

/// The addresses of IPv6 of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv6Range {
    /// All of them.
    pub subnet: Subnet,
    /// The bridge's own.
    pub gateway: Ipv6Addr,
    /// The part of the subnet that containers are numbered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<Subnet>,
    /// Addresses of others by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reserved: BTreeMap<String, Ipv6Addr>,
}

/// A network as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Unique on a root.
    pub name: String,
    /// 64 hexadecimal digits.
    pub id: String,
    /// RFC 3339.
    pub created: String,
    /// Name of its link in the kernel.
    pub bridge: String,
    /// Its addresses.
    pub subnet: Subnet,
    /// The bridge's own address.
    pub gateway: Ipv4Addr,
    /// The part of the subnet that containers are numbered from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<Subnet>,
    /// Addresses of others by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reserved: BTreeMap<String, Ipv4Addr>,
    /// Whether nobody asked for this subnet: then the network may be moved to another.
    #[serde(default)]
    pub is_chosen: bool,
    /// None where it has IPv4 only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Range>,
    /// Whether containers may be connected by hand; nothing but a mark.
    #[serde(default)]
    pub attachable: bool,
    /// Whether its containers are kept from each other.
    #[serde(default)]
    pub is_isolated: bool,
    /// Where ports are published that name no address of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_binding: Option<IpAddr>,
    /// What interfaces are called in containers, before their number; `eth` where none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface_prefix: Option<String>,
    /// Without a way out: no default route, nothing forwarded, nothing translated.
    pub internal: bool,
    /// Whether what leaves takes the address of the host's interface.
    pub masquerade: bool,
    /// Of the bridge and its ports.
    pub mtu_bytes: u32,
    /// Options as asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Network {
    /// The network that is asked for, on this subnet. `mtu_bytes` is taken where no option says another.
    pub(crate) fn new(
        wanted: &Wanted,
        tag: &str,
        subnet: Subnet,
        ipv6: Option<Subnet>,
        mtu_bytes: u32,
    ) -> Result<Self> {
        let options = Options::read(&wanted.options)?;
        let created = jiff::Timestamp::now().to_string();
        let id = match wanted.name.as_str() {
            DEFAULT_NETWORK => predefined_id(tag, DEFAULT_NETWORK),
            name => Digest::of(format!("{tag} {name} {created} {}", std::process::id()).as_bytes()).hex().to_owned(),
        };
        let asked = wanted.ipv6_range.as_ref();
        let ipv6 = ipv6.map(|subnet| Ipv6Range {
            subnet,
            gateway: asked.and_then(|range| range.gateway).unwrap_or_else(|| first_host_ipv6(subnet)),
            ip_range: asked.and_then(|range| range.ip_range),
            reserved: asked.map(|range| range.reserved.clone()).unwrap_or_default(),
        });
        let network = Self {
            bridge: link_name(tag, &id),
            name: wanted.name.clone(),
            id,
            created,
            subnet,
            gateway: wanted.gateway.unwrap_or_else(|| first_host(subnet)),
            ip_range: wanted.ip_range,
            reserved: wanted.reserved.clone(),
            is_chosen: wanted.subnet.is_none(),
            ipv6,
            attachable: wanted.attachable,
            is_isolated: options.is_isolated,
            host_binding: options.host_binding,
            interface_prefix: options.interface_prefix,
            internal: wanted.internal,
            masquerade: options.masquerade && !wanted.internal,
            mtu_bytes: options.mtu_bytes.unwrap_or(mtu_bytes),
            options: wanted.options.clone(),
            labels: wanted.labels.clone(),
        };
        network.check()?;
        Ok(network)
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: String| {
            Err(Diagnostic::error(&codes::INVALID_SUBNET, format!("network {}: {what}", self.name)).boxed())
        };
        let check = |range: &Range, prefixes: std::ops::RangeInclusive<u8>| {
            let Range { subnet, gateway, .. } = *range;
            if !prefixes.contains(&subnet.prefix()) {
                let (from, to) = prefixes.into_inner();
                return wrong(format!("the prefix of {subnet} is not between {from} and {to}"));
            }
            if !subnet.has_host(gateway) {
                return wrong(format!("the gateway {gateway} is not an address of a host in {subnet}"));
            }
            if let Some(part) = range.ip_range.filter(|part| !subnet.covers(*part)) {
                return wrong(format!("the range {part} is not a part of {subnet}"));
            }
            match range.reserved.iter().find(|(_, address)| !subnet.has_host(**address)) {
                Some((name, address)) => {
                    wrong(format!("the address {address} of {name} is not one of a host in {subnet}"))
                }
                None => Ok(()),
            }
        };
        check(&self.range(), 8..=30)?;
        self.range_of_ipv6().map_or(Ok(()), |range| check(&range, 8..=126))
    }

    /// IPv4, and IPv6 where it has that.
    pub(crate) fn families(&self) -> impl Iterator<Item = Family> {
        std::iter::once(Family::Ip).chain(self.ipv6.as_ref().map(|_| Family::Ip6))
    }

    /// The bridge's addresses with the prefixes of their subnets.
    pub(crate) fn gateways(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        let ipv6 = self.ipv6.as_ref().map(|range| (range.gateway.into(), range.subnet.prefix()));
        std::iter::once((self.gateway.into(), self.subnet.prefix())).chain(ipv6)
    }

    /// The addresses of IPv4.
    pub(crate) fn range(&self) -> Range {
        let reserved = self.reserved.iter().map(|(name, address)| (name.clone(), IpAddr::V4(*address)));
        Range {
            subnet: self.subnet,
            gateway: self.gateway.into(),
            ip_range: self.ip_range,
            reserved: reserved.collect(),
        }
    }

    pub(crate) fn range_of_ipv6(&self) -> Option<Range> {
        let ipv6 = self.ipv6.as_ref()?;
        let reserved = ipv6.reserved.iter().map(|(name, address)| (name.clone(), IpAddr::V6(*address)));
        Some(Range {
            subnet: ipv6.subnet,
            gateway: ipv6.gateway.into(),
            ip_range: ipv6.ip_range,
            reserved: reserved.collect(),
        })
    }

    /// The same network on another subnet that was chosen for it.
    pub(crate) fn moved(&self, subnet: Subnet) -> Self {
        Self { subnet, gateway: first_host(subnet), ip_range: None, reserved: BTreeMap::new(), ..self.clone() }
    }

    /// Where containers send what is not for this network; none on an internal one.
    pub fn default_route(&self) -> Option<Ipv4Addr> {
        (!self.internal).then_some(self.gateway)
    }
}

/// The addresses of one family, either one.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) subnet: Subnet,
    pub(crate) gateway: IpAddr,
    pub(crate) ip_range: Option<Subnet>,
    pub(crate) reserved: BTreeMap<String, IpAddr>,
}

fn first_host(subnet: Subnet) -> Ipv4Addr {
    match subnet.nth(1) {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}

fn first_host_ipv6(subnet: Subnet) -> Ipv6Addr {
    match subnet.nth(1) {
        IpAddr::V6(address) => address,
        IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
    }
}

/// `ck`, the tag, and 25 bits of a hash: 15 bytes, as long as a link's name can be.
pub(crate) fn link_name(tag: &str, id: &str) -> String {
    const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let bits = u32::from_str_radix(id.get(..8).unwrap_or_default(), 16).unwrap_or(0);
    let digit = |position: u32| char::from(DIGITS[(bits >> (5 * position) & 31) as usize]);
    format!("{}{}", link_prefix(tag), (0..5).map(digit).collect::<String>())
}

/// What the names of all links of a root begin with.
pub(crate) fn link_prefix(tag: &str) -> String {
    format!("ck{tag}")
}

struct Options {
    mtu_bytes: Option<u32>,
    masquerade: bool,
    is_isolated: bool,
    host_binding: Option<IpAddr>,
    interface_prefix: Option<String>,
}

impl Options {
    fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut read =
            Self { mtu_bytes: None, masquerade: true, is_isolated: false, host_binding: None, interface_prefix: None };
        for (key, value) in options {
            let malformed = |wanted: &str| {
                Diagnostic::error(&codes::UNKNOWN_OPTION, format!("network option {key}: `{value}` is not {wanted}"))
                    .boxed()
            };
            match key.as_str() {
                OPTION_MTU => {
                    let mtu = value.parse().ok().filter(|mtu| (576..=65535).contains(mtu));
                    read.mtu_bytes = Some(mtu.ok_or_else(|| malformed("a number of bytes from 576 to 65535"))?);
                }
                OPTION_MASQUERADE => read.masquerade = value.parse().map_err(|_| malformed("`true` or `false`"))?,
                OPTION_BETWEEN => {
                    let between: bool = value.parse().map_err(|_| malformed("`true` or `false`"))?;
                    read.is_isolated = !between;
                }
                OPTION_HOST_BINDING => {
                    let address: Ipv4Addr = value.parse().map_err(|_| malformed("an IPv4 address"))?;
                    read.host_binding = Some(address.into()).filter(|address: &IpAddr| !address.is_unspecified());
                }
                OPTION_INTERFACE_PREFIX => {
                    // With a number behind it, it still has to be the name of a link.
                    let is_name = (1..=11).contains(&value.len())
                        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
                    if !is_name || value == "lo" {
                        return Err(malformed("a beginning of a link's name: up to 11 letters, digits, `_`, `-`, `.`"));
                    }
                    read.interface_prefix = Some(value.clone());
                }
                // What is done anyway.
                mode if OPTION_GATEWAY_MODES.contains(&mode) && value == "nat" => {}
                _ if key.starts_with("com.docker.network.") => {
                    let message = format!("network option {key} is not implemented yet");
                    return Err(Diagnostic::error(&codes::NOT_YET, message).hint("remove the option").boxed());
                }
                _ => {
                    let message = format!("there is no network option {key}");
                    return Err(Diagnostic::error(&codes::UNKNOWN_OPTION, message).boxed());
                }
            }
        }
        Ok(read)
    }
}
