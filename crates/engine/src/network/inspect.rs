//! What `network inspect` answers, in Docker's shape. `Bridge`, the link's name, and a container's `Names` are carrack's own.

use std::collections::BTreeMap;

use carrack_diag::Result;
use carrack_network::{DEFAULT_NETWORK, Endpoint, Network, Networks, Subnet};
use carrack_oci::Digest;
use carrack_specgen::container::NetworkMode;
use serde_json::{Map, Value, json};

use super::predefined::Found;
use super::{NetworkView, WANTED_LABEL};
use crate::engine::Engine;

impl Engine {
    /// Everything known of a network, in the shape of `docker network inspect`.
    pub fn inspect_network(&self, name: &str) -> Result<Value> {
        match self.find_network(name)? {
            Found::Bridge(network) => self.inspect_bridge(network),
            Found::Name(view) => self.inspect_name(&view),
        }
    }

    fn inspect_bridge(&self, mut network: Network) -> Result<Value> {
        let networks = Networks::new(&self.store);
        let mut containers = Map::new();
        for endpoint in &networks.endpoints(&network.name)? {
            let name = self.records().get(&endpoint.container)?.map(|record| record.name);
            let with_prefix = |address: &dyn std::fmt::Display, prefix: u8| format!("{address}/{prefix}");
            let ipv6 = endpoint.ipv6.map(|place| with_prefix(&place.address, place.prefix));
            let mut value = container(
                &name.unwrap_or_default(),
                &endpoint_id(endpoint),
                &endpoint.mac.to_string(),
                &with_prefix(&endpoint.address, endpoint.prefix),
                &ipv6.unwrap_or_default(),
            );
            value["Names"] = json!(endpoint.names);
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
        if network.name == DEFAULT_NETWORK {
            if networks.get(DEFAULT_NETWORK)?.is_none() {
                network.created = self.root_created();
            }
            network.options = default_options(&network);
        }
        // As Go writes a map that nobody made.
        let ipam_options = if network.name == DEFAULT_NETWORK { Value::Null } else { json!({}) };
        let labels: BTreeMap<_, _> = network.labels.iter().filter(|(key, _)| *key != WANTED_LABEL).collect();
        Ok(json!({
            "Name": network.name,
            "Id": network.id,
            "Created": network.created,
            "Scope": "local",
            "Driver": "bridge",
            "EnableIPv4": true,
            "EnableIPv6": network.ipv6.is_some(),
            "IPAM": { "Driver": "default", "Options": ipam_options, "Config": config },
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

    /// One that has no bridge and gives no addresses; its containers are those that run with it.
    fn inspect_name(&self, view: &NetworkView) -> Result<Value> {
        let mut containers = Map::new();
        for found in self.containers()?.iter().filter(|found| found.is_active()) {
            let has = match found.record.container.network {
                NetworkMode::Host => view.name == "host",
                NetworkMode::None => view.name == "none",
                NetworkMode::Container(_) | NetworkMode::Networks(_) => false,
            };
            if has {
                let id = place_id(&found.record.id, &view.id);
                containers.insert(found.record.id.clone(), container(&found.record.name, &id, "", "", ""));
            }
        }
        Ok(json!({
            "Name": view.name,
            "Id": view.id,
            "Created": view.created,
            "Scope": "local",
            "Driver": view.driver,
            "EnableIPv4": true,
            "EnableIPv6": false,
            "IPAM": { "Driver": "default", "Options": null, "Config": null },
            "Internal": false,
            "Attachable": false,
            "Ingress": false,
            "ConfigFrom": { "Network": "" },
            "ConfigOnly": false,
            "Containers": containers,
            "Options": {},
            "Labels": {},
        }))
    }
}

fn container(name: &str, endpoint_id: &str, mac: &str, ipv4: &str, ipv6: &str) -> Value {
    json!({
        "Name": name,
        "EndpointID": endpoint_id,
        "MacAddress": mac,
        "IPv4Address": ipv4,
        "IPv6Address": ipv6,
    })
}

/// What tells a container's place on a network from every other: it follows from both.
pub(crate) fn endpoint_id(endpoint: &Endpoint) -> String {
    place_id(&endpoint.container, &endpoint.network_id)
}

fn place_id(container: &str, network: &str) -> String {
    Digest::of(format!("{container} {network}").as_bytes()).hex().to_owned()
}

fn ipam(
    subnet: &Subnet,
    gateway: &dyn std::fmt::Display,
    ip_range: Option<Subnet>,
    reserved: BTreeMap<&String, String>,
) -> Value {
    let mut config = json!({ "Subnet": subnet.to_string() });
    if let Some(range) = ip_range {
        config["IPRange"] = range.to_string().into();
    }
    config["Gateway"] = gateway.to_string().into();
    if !reserved.is_empty() {
        config["AuxiliaryAddresses"] = json!(reserved);
    }
    config
}

/// What Docker says of its default network: how it is without anybody having asked for it.
fn default_options(network: &Network) -> BTreeMap<String, String> {
    let option = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    [
        option("com.docker.network.bridge.default_bridge", "true"),
        option("com.docker.network.bridge.enable_icc", "true"),
        option("com.docker.network.bridge.enable_ip_masquerade", "true"),
        option("com.docker.network.bridge.host_binding_ipv4", "0.0.0.0"),
        option("com.docker.network.bridge.name", &network.bridge),
        option("com.docker.network.driver.mtu", &network.mtu_bytes.to_string()),
    ]
    .into()
}
