use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::{Subnet, codes};

/// The network of containers that asked for none; made when first used.
pub const DEFAULT_NETWORK: &str = "bridge";

const OPTION_MTU: &str = "com.docker.network.driver.mtu";
const OPTION_MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";

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
    /// Options of Docker's bridge driver.
    pub options: BTreeMap<String, String>,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
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
    pub(crate) fn new(wanted: &Wanted, tag: &str, subnet: Subnet, mtu_bytes: u32) -> Result<Self> {
        let options = Options::read(&wanted.options)?;
        let created = jiff::Timestamp::now().to_string();
        let id =
            Digest::of(format!("{tag} {} {created} {}", wanted.name, std::process::id()).as_bytes()).hex().to_owned();
        let network = Self {
            bridge: link_name(tag, &id),
            name: wanted.name.clone(),
            id,
            created,
            subnet,
            gateway: wanted.gateway.unwrap_or_else(|| (u32::from(subnet.first()) + 1).into()),
            ip_range: wanted.ip_range,
            reserved: wanted.reserved.clone(),
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
        let subnet = self.subnet;
        let wrong = |what: String| {
            Err(Diagnostic::error(&codes::INVALID_SUBNET, format!("network {}: {what}", self.name)).boxed())
        };
        if !(8..=30).contains(&subnet.prefix()) {
            return wrong(format!("the prefix of {subnet} is not between 8 and 30"));
        }
        let is_host = |address| subnet.contains(address) && address != subnet.first() && address != subnet.last();
        if !is_host(self.gateway) {
            return wrong(format!("the gateway {} is not an address of a host in {subnet}", self.gateway));
        }
        if let Some(range) = self.ip_range.filter(|range| !subnet.covers(*range)) {
            return wrong(format!("the range {range} is not a part of {subnet}"));
        }
        match self.reserved.iter().find(|(_, address)| !is_host(**address)) {
            Some((name, address)) => wrong(format!("the address {address} of {name} is not one of a host in {subnet}")),
            None => Ok(()),
        }
    }

    /// Where containers send what is not for this network; none on an internal one.
    pub fn default_route(&self) -> Option<Ipv4Addr> {
        (!self.internal).then_some(self.gateway)
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
}

impl Options {
    fn read(options: &BTreeMap<String, String>) -> Result<Self> {
        let mut read = Self { mtu_bytes: None, masquerade: true };
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
