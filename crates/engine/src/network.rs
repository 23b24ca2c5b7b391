//! Networks, for people and for plans.

mod inspect;
mod predefined;

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result};
use carrack_network::{DEFAULT_NETWORK, Network, Networks, Subnet, Wanted, WantedIpv6};
use serde::Serialize;

use crate::codes;
use crate::engine::Engine;
pub(crate) use inspect::endpoint_id;
use predefined::Found;

/// A network as it is listed.
#[derive(Debug, Clone, Serialize)]
pub struct NetworkView {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique on the root.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// `bridge`, `host`, `null`.
    pub driver: &'static str,
    /// Without a way out.
    pub internal: bool,
    /// With IPv6 addresses.
    pub ipv6: bool,
    /// Whether every root has it.
    pub is_predefined: bool,
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
    /// The networks that containers can be connected to: those that were made, and the default one.
    pub fn networks(&self) -> Result<Vec<NetworkView>> {
        let networks = Networks::new(&self.store);
        let mut views: Vec<NetworkView> = networks.list()?.into_iter().map(view).collect();
        if views.iter().all(|view| view.name != DEFAULT_NETWORK) {
            views.push(self.predefined_view(DEFAULT_NETWORK, "bridge"));
        }
        Ok(views)
    }

    /// Whether a running container is on the network of that name.
    pub fn is_network_used(&self, name: &str) -> Result<bool> {
        Ok(!Networks::new(&self.store).endpoints(name)?.is_empty())
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
        if predefined::is_predefined(&network.name) {
            let message = format!("can't make a network {}: it is a predefined one", network.name);
            return Err(Diagnostic::error(&codes::PREDEFINED_NETWORK, message)
                .hint("use it as it is, or choose another name")
                .boxed());
        }
        let made = Networks::new(&self.store).create(&wanted(network)?)?;
        self.emit_network("create", &made.id, &made.name, None);
        Ok(made.id)
    }

    /// Removes a network that nothing uses.
    pub fn remove_network(&self, name: &str) -> Result<()> {
        let networks = Networks::new(&self.store);
        let network = match self.find_network(name)? {
            Found::Bridge(network) if network.name != DEFAULT_NETWORK => network,
            found => {
                let message = format!("{} is a predefined network and can't be removed", found.name());
                return Err(Diagnostic::error(&codes::PREDEFINED_NETWORK, message)
                    .hint("`carrack network prune` removes what nothing uses")
                    .boxed());
            }
        };
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
}

/// Whether somebody who wrote `text` meant the network of this name and id.
pub(crate) fn is_meant(text: &str, name: &str, id: &str) -> bool {
    text == name || (!text.is_empty() && id.starts_with(text))
}

fn view(network: Network) -> NetworkView {
    let wanted = network.labels.get(WANTED_LABEL).and_then(|text| serde_json::from_str(text).ok());
    let unasked = || carrack_plan::Network {
        name: network.name.clone(),
        internal: network.internal,
        labels: network.labels.clone(),
        ..carrack_plan::Network::default()
    };
    NetworkView {
        wanted: wanted.unwrap_or_else(unasked),
        is_predefined: network.name == DEFAULT_NETWORK,
        id: network.id,
        name: network.name,
        created: network.created,
        driver: "bridge",
        internal: network.internal,
        ipv6: network.ipv6.is_some(),
    }
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
