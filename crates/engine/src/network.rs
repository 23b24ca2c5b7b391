//! Networks, for people and for plans.

use carrack_diag::{Diagnostic, Result};
use carrack_network::{Networks, Subnet, Wanted};
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
        let networks = Networks::new(&self.store);
        if let Some(existing) = self.networks()?.into_iter().find(|view| view.wanted == *network) {
            return Ok(existing.id);
        }
        let made = networks.create(&wanted(network)?)?;
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

    /// Everything known of a network.
    pub fn inspect_network(&self, name: &str) -> Result<Value> {
        let networks = Networks::new(&self.store);
        let network = networks.find(name)?;
        let endpoints = networks.endpoints(&network.name)?;
        let containers: serde_json::Map<String, Value> = endpoints
            .iter()
            .map(|endpoint| {
                let value = json!({
                    "IPv4Address": format!("{}/{}", endpoint.address, endpoint.prefix),
                    "MacAddress": endpoint.mac.to_string(),
                    "Names": endpoint.names,
                });
                (endpoint.container.clone(), value)
            })
            .collect();
        Ok(json!({
            "Name": network.name,
            "Id": network.id,
            "Created": network.created,
            "Driver": "bridge",
            "Scope": "local",
            "Internal": network.internal,
            "IPAM": { "Config": [{ "Subnet": network.subnet.to_string(), "Gateway": network.gateway }] },
            "Labels": network.labels,
            "Options": network.options,
            "Bridge": network.bridge,
            "Containers": containers,
        }))
    }
}

fn wanted(network: &carrack_plan::Network) -> Result<Wanted> {
    let wrong = |text: &str| {
        Diagnostic::error(&codes::INVALID_NETWORK, format!("network {}: `{text}` is malformed", network.name))
            .hint("a subnet is written 10.9.0.0/24, an address 10.9.0.1")
            .boxed()
    };
    let first = network.subnets.first();
    let subnet = |text: &String| text.parse::<Subnet>().map_err(|_| wrong(text));
    let mut labels = network.labels.clone();
    // Plain data: writing it can't fail.
    labels.insert(WANTED_LABEL.into(), serde_json::to_string(network).unwrap_or_default());
    Ok(Wanted {
        name: network.name.clone(),
        internal: network.internal,
        subnet: first.map(|first| subnet(&first.subnet)).transpose()?,
        gateway: first
            .and_then(|f| f.gateway.as_ref())
            .map(|text| text.parse().map_err(|_| wrong(text)))
            .transpose()?,
        ip_range: first.and_then(|first| first.ip_range.as_ref()).map(subnet).transpose()?,
        reserved: first
            .into_iter()
            .flat_map(|first| &first.reserved)
            .map(|(name, text)| Ok((name.clone(), text.parse().map_err(|_| wrong(text))?)))
            .collect::<Result<_>>()?,
        ipv6: network.ipv6,
        options: network.driver_options.clone(),
        labels,
    })
}
