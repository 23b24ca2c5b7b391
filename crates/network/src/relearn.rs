//! Addresses in use, learned anew from the containers that have them where a file of leases can't be understood.

use std::collections::BTreeSet;

use carrack_diag::Result;
use carrack_store::codes::CORRUPT_RECORD;
use carrack_store::{DEFAULT_WAIT, Lock};
use carrack_sys::netlink::Socket;
use carrack_sys::netlink::route::{Address, Link, Mac};

use crate::endpoint::Ipv6Place;
use crate::fault::Context as _;
use crate::firewall::{self, Translation};
use crate::lease::{Leases, boot_id};
use crate::networks::{open_filter, open_routes};
use crate::{Attachment, Endpoint, Namespace, Network, Networks, Publication};

/// A container that runs, and what it was given at its start.
#[derive(Debug)]
pub struct Running {
    /// Id of the container.
    pub container: String,
    /// Its own.
    pub namespace: Namespace,
    /// As they were wanted.
    pub attachments: Vec<Attachment>,
    /// What its shim has bound.
    pub published: Vec<Publication>,
}

impl Networks {
    /// Makes those files of leases anew that can't be understood, of what the running containers have. Their names.
    ///
    /// # Errors
    /// `network/kernel`, `store/…`.
    pub fn relearn(&self, running: &[Running]) -> Result<Vec<String>> {
        let damaged = self.relearn_places(running)?;
        for one in running {
            let gateway = self.elect_gateway(&one.container)?;
            let Some(gateway) = gateway.filter(|gateway| damaged.contains(&gateway.network)) else { continue };
            let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
            let mut leases = self.leases(&gateway.network)?;
            let publish = |leased: &mut Endpoint| {
                leased.published.clone_from(&one.published);
                true
            };
            if leases.change(&one.container, publish)? {
                self.put_leases(&gateway.network, &leases)?;
            }
        }
        Ok(damaged.into_iter().collect())
    }

    fn relearn_places(&self, running: &[Running]) -> Result<BTreeSet<String>> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let mut damaged = BTreeSet::new();
        for name in self.leased_networks()? {
            match self.leases(&name) {
                Err(error) if error.code == &CORRUPT_RECORD => damaged.insert(name),
                read => read.map(|_| false)?,
            };
        }
        let ports = open_routes()?.links().context(|| "can't list the links".into())?;
        for name in &damaged {
            let Some(network) = self.get(name)? else {
                self.forget_leases(name)?;
                continue;
            };
            let announced = std::fs::read_to_string(self.names_path(name)).unwrap_or_default();
            let mut leases = Leases::of_boot(boot_id()?);
            for one in running {
                for attachment in one.attachments.iter().filter(|wanted| is_meant(&wanted.network, &network)) {
                    if let Some(mut place) = place(one, attachment, &network, &ports)? {
                        place.withdrawn = !announced.contains(&one.container);
                        leases.add(&place)?;
                    }
                }
            }
            self.put_leases(name, &leases)?;
        }
        Ok(damaged)
    }

    /// Takes back what leads from these ports of the host to a container, whatever address it had.
    ///
    /// # Errors
    /// `network/kernel`.
    pub fn unpublish_ports(&self, publications: &[Publication]) -> Result<()> {
        let translations: Vec<Translation> = publications.iter().map(Publication::key).collect();
        let mut filter = open_filter()?;
        if translations.is_empty() || !firewall::exists(&mut filter, &self.tag)? {
            return Ok(());
        }
        firewall::remove_translations(&mut filter, &self.tag, &translations)
    }
}

/// Networks are given by name, id, or the beginning of an id.
fn is_meant(wanted: &str, network: &Network) -> bool {
    wanted == network.name || (!wanted.is_empty() && network.id.starts_with(wanted))
}

/// What a container has on a network; none where it is not on it any more.
fn place(one: &Running, wanted: &Attachment, network: &Network, ports: &[Link]) -> Result<Option<Endpoint>> {
    let attempt = || format!("can't see the addresses of container {}", one.container);
    let look = || {
        let mut socket = Socket::route().context(attempt)?;
        Ok((socket.links().context(attempt)?, socket.addresses().context(attempt)?))
    };
    let (links, addresses): (Vec<Link>, Vec<Address>) = one.namespace.run(look)?;
    let bridge = ports.iter().find(|link| link.name == network.bridge).map(|link| link.index);
    let port_of = |link: &Link| ports.iter().find(|port| Some(port.index) == link.peer && port.bridge == bridge);
    let found = links.iter().find_map(|link| Some((link, port_of(link)?)));
    let Some((link, port)) = found.filter(|_| bridge.is_some()) else { return Ok(None) };
    let own = || addresses.iter().filter(|address| address.index == link.index).map(|address| address.address);
    let address = own().find_map(|address| match address {
        std::net::IpAddr::V4(ipv4) if network.subnet.has_host(address) => Some(ipv4),
        _ => None,
    });
    let Some(address) = address else { return Ok(None) };
    let ipv6 = network.ipv6.as_ref().and_then(|range| {
        let address = own().find_map(|address| match address {
            std::net::IpAddr::V6(ipv6) if range.subnet.has_host(address) => Some(ipv6),
            _ => None,
        })?;
        Some(Ipv6Place { address, prefix: range.subnet.prefix(), gateway: range.gateway })
    });
    let lower = |(target, alias): &(String, String)| (target.to_lowercase(), alias.to_lowercase());
    Ok(Some(Endpoint {
        container: one.container.clone(),
        network: network.name.clone(),
        network_id: network.id.clone(),
        interface: link.name.clone(),
        port: port.name.clone(),
        address,
        prefix: network.subnet.prefix(),
        ipv6,
        link_local: wanted.link_local.clone(),
        mac: link.mac.unwrap_or_else(|| Mac::of(address.into())),
        gateway: network.gateway,
        internal: network.internal,
        names: wanted.names.iter().map(|name| name.to_lowercase()).collect(),
        links: wanted.links.iter().map(lower).collect(),
        withdrawn: false,
        gateway_priority: wanted.gateway_priority,
        is_gateway: false,
        published: Vec::new(),
    }))
}
