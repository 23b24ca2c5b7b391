//! Networks, for people and for plans.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result};
use carrack_network::{Endpoint, Networks, Subnet, Wanted, WantedIpv6};
use carrack_oci::Digest;
use serde::Serialize;
use serde_json::{Value, json};

use crate::codes;
use crate::engine::Engine;

/// A network as it is listed.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkView {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique on the root.
    pub name: String,
    /// What it was made from.
    #[serde(skip)]
    pub wanted: carrack_plan::Network,
}

impl NetworkView {
    /// The first 12 digits of the id.
    pub fn short_id(&self) -> &str {
        &self.id[..12.min(self.id.len())]
    }
}

/// The label under which a network remembers what was asked for, so that a change of it can be told.
const WANTED_LABEL: &str = "dev.carrack.wanted";

impl Engine {
    /// All networks.
    pub fn networks(&self) -> Result<Vec<NetworkView>> {
        let networks = Networks::new(&self.store).list()?;
        Ok(networks
            .into_iter()
            .map(|network| {
                let wanted = network.labels.get(WANTED_LABEL).and_then(|text| serde_json::from_str(text).ok());
                let unasked = || carrack_plan::Network {
                    name: network.name.clone(),
                    internal: network.internal,
                    labels: network.labels.clone(),
                    ..carrack_plan::Network::default()
                };
                NetworkView { wanted: wanted.unwrap_or_else(unasked), id: network.id, name: network.name }
            })
            .collect())
    }

    /// Makes a network; one that is there already and was asked for in the same words is left as it is. Gives its id.
    pub fn create_network(&self, network: &carrack_plan::Network) -> Result<String> {
        if let Some(existing) = self.networks()?.into_iter().find(|view| view.wanted == *network) {
            return Ok(existing.id);
        }
        self.create_new_network(network)
    }

    /// Makes a network whose name is free. Gives its id.
    pub fn create_new_network(&self, network: &carrack_plan::Network) -> Result<String> {
        let made = Networks::new(&self.store).create(&wanted(network)?)?;
        self.emit_network("create", &made.id, &made.name, None);
        Ok(made.id)
    }

    /// Removes a network that nothing uses.
    pub fn remove_network(&self, name: &str) -> Result<()> {
        let networks = Networks::new(&self.store);
        let network = networks.find(name)?;
        networks.remove(&network.name)?;
        self.emit_network("destroy", &network.id, &network.name, None);
        Ok(())
    }

    pub(crate) fn remove_network_if_there(&self, name: &str) -> Result<()> {
        let networks = Networks::new(&self.store);
        match networks.get(name)? {
            Some(_) => self.remove_network(name),
            None => Ok(()),
        }
    }

    /// Everything known of a network, in the shape of `docker network inspect`.
    pub fn inspect_network(&self, name: &str) -> Result<Value> {
        let networks = Networks::new(&self.store);
        let network = networks.find(name)?;
        let endpoints = networks.endpoints(&network.name)?;
        let mut containers = serde_json::Map::new();
        for endpoint in &endpoints {
            let name = self.records().get(&endpoint.container)?.map(|record| record.name);
            let with_prefix = |address: &dyn std::fmt::Display, prefix: u8| format!("{address}/{prefix}");
            let ipv6 = endpoint.ipv6.map(|place| with_prefix(&place.address, place.prefix));
            let value = json!({
                "Name": name.unwrap_or_default(),
                "EndpointID": endpoint_id(endpoint),
                "MacAddress": endpoint.mac.to_string(),
                "IPv4Address": with_prefix(&endpoint.address, endpoint.prefix),
                "IPv6Address": ipv6.unwrap_or_default(),
                "Names": endpoint.names,
            });
            containers.insert(endpoint.container.clone(), value);
        }
        let mut config = vec![ipam(
            &network.subnet,
            &network.gateway,
            network.ip_range,
            network.reserved.iter().map(|(name, address)| (name, address.to_string())).collect(),
        )];
        if let Some(range) = &network.ipv6 {
            let reserved = range.reserved.iter().map(|(name, address)| (name, address.to_string())).collect();
            config.push(ipam(&range.subnet, &range.gateway, range.ip_range, reserved));
        }
        let labels: BTreeMap<_, _> = network.labels.iter().filter(|(key, _)| *key != WANTED_LABEL).collect();
        Ok(json!({
            "Name": network.name,
            "Id": network.id,
            "Created": network.created,
            "Scope": "local",
            "Driver": "bridge",
            "EnableIPv4": true,
            "EnableIPv6": network.ipv6.is_some(),
            "IPAM": { "Driver": "default", "Options": {}, "Config": config },
            "Internal": network.internal,
            "Attachable": network.attachable,
            "Ingress": false,
            "ConfigFrom": { "Network": "" },
            "ConfigOnly": false,
            "Containers": containers,
            "Options": network.options,
            "Labels": labels,
            "Bridge": network.bridge,
        }))
    }
}

/// Whether somebody who wrote `text` meant the network of this name and id.
pub(crate) fn is_meant(text: &str, name: &str, id: &str) -> bool {
    text == name || (!text.is_empty() && id.starts_with(text))
}

/// What tells a container's place on a network from every other: it follows from both.
pub(crate) fn endpoint_id(endpoint: &Endpoint) -> String {
    Digest::of(format!("{} {}", endpoint.container, endpoint.network_id).as_bytes()).hex().to_owned()
}

fn ipam(
    subnet: &Subnet,
    gateway: &dyn std::fmt::Display,
    ip_range: Option<Subnet>,
    reserved: BTreeMap<&String, String>,
) -> Value {
    let mut config = json!({ "Subnet": subnet.to_string(), "Gateway": gateway.to_string() });
    if let Some(range) = ip_range {
        config["IPRange"] = range.to_string().into();
    }
    if !reserved.is_empty() {
        config["AuxiliaryAddresses"] = json!(reserved);
    }
    config
}

/// One range of each family at most, as a bridge has.
fn wanted(network: &carrack_plan::Network) -> Result<Wanted> {
    let wrong = |text: &str| {
        Diagnostic::error(&codes::INVALID_NETWORK, format!("network {}: `{text}` is malformed", network.name))
            .hint("a subnet is written 10.9.0.0/24 or fd00:9::/64, an address 10.9.0.1 or fd00:9::1")
            .boxed()
    };
    let subnet = |text: &String| text.parse::<Subnet>().map_err(|_| wrong(text));
    let mut labels = network.labels.clone();
    // Plain data: writing it can't fail.
    labels.insert(WANTED_LABEL.into(), serde_json::to_string(network).unwrap_or_default());
    let mut wanted = Wanted {
        name: network.name.clone(),
        internal: network.internal,
        ipv6: network.ipv6,
        attachable: network.attachable,
        options: network.driver_options.clone(),
        labels,
        ..Wanted::default()
    };
    for range in &network.subnets {
        let whole = subnet(&range.subnet)?;
        let ip_range = range.ip_range.as_ref().map(subnet).transpose()?;
        let is_second = if whole.is_ipv4() { wanted.subnet.is_some() } else { wanted.ipv6_range.is_some() };
        if is_second {
            let message = format!("network {}: {whole} is a second range of its family", network.name);
            return Err(Diagnostic::error(&codes::INVALID_NETWORK, message)
                .cause("a bridge has one IPv4 range and one IPv6 range")
                .boxed());
        }
        if whole.is_ipv4() {
            wanted.subnet = Some(whole);
            wanted.ip_range = ip_range;
            wanted.gateway = range.gateway.as_ref().map(|text| text.parse().map_err(|_| wrong(text))).transpose()?;
            wanted.reserved = addresses(&range.reserved, &wrong)?;
        } else {
            if !network.ipv6 {
                let message = format!("network {}: {whole} is IPv6, which the network is not to have", network.name);
                return Err(Diagnostic::error(&codes::INVALID_NETWORK, message)
                    .hint("add --ipv6, or `enable_ipv6: true`")
                    .boxed());
            }
            wanted.ipv6_range = Some(WantedIpv6 {
                subnet: whole,
                ip_range,
                gateway: range.gateway.as_ref().map(|text| text.parse().map_err(|_| wrong(text))).transpose()?,
                reserved: addresses(&range.reserved, &wrong)?,
            });
        }
    }
    Ok(wanted)
}

fn addresses<A: std::str::FromStr>(
    texts: &BTreeMap<String, String>,
    wrong: &dyn Fn(&str) -> Box<Diagnostic>,
) -> Result<BTreeMap<String, A>> {
    texts.iter().map(|(name, text)| Ok((name.clone(), text.parse().map_err(|_| wrong(text))?))).collect()
}
