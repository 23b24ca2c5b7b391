use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd as _;

use carrack_diag::{Diagnostic, Result};
use carrack_store::{DEFAULT_WAIT, Durability, Lock};
use carrack_sys::netlink::route::{self, Mac, Veth};
use carrack_sys::netlink::{Message, Socket};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::fault::{Context as _, fault};
use crate::lease::{Leases, boot_id, now_ms};
use crate::network::link_name;
use crate::networks::{delete_link, open_filter, open_routes};
use crate::{Namespace, Network, Networks, Publication, codes, other_firewalls};

/// `BR_MAX_PORTS` of the kernel, less the one it never gives out.
pub const PORTS_PER_BRIDGE: usize = 1023;

/// A container's place on one network, as it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Name or id of the network.
    pub network: String,
    /// Names that it answers to there: the container's own, its short id, aliases.
    pub names: Vec<String>,
    /// The lowest free one where none.
    pub address: Option<Ipv4Addr>,
    /// Follows from the address where none.
    pub mac: Option<Mac>,
    /// `eth0`, `eth1`, … by position where none.
    pub interface: Option<String>,
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
    /// Of the link in the container's namespace.
    pub mac: Mac,
    /// The bridge's address; the default route only where the network is not internal.
    pub gateway: Ipv4Addr,
    /// Whether the network is internal.
    pub internal: bool,
    /// Names that it answers to there, in lower case.
    pub names: Vec<String>,
    /// Whether nobody but the container itself is told these names: it is not ready yet, or about to be stopped.
    #[serde(default)]
    pub withdrawn: bool,
    /// Whether the container's default route leaves through it.
    #[serde(default)]
    pub is_gateway: bool,
    /// Ports of the host that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Publication>,
}

impl Endpoint {
    /// The container's id as people see it.
    pub fn short_container(&self) -> &str {
        self.container.get(..12).unwrap_or(&self.container)
    }

    /// Where it sends what is for no network of its own.
    pub fn default_route(&self) -> Option<Ipv4Addr> {
        (!self.internal).then_some(self.gateway)
    }
}

impl Networks {
    /// Connects a namespace to networks, in this order; the first that is not internal gives the default route.
    ///
    /// # Errors
    /// `network/unknown-network`, `network/address-taken`, `network/no-address`, `network/bridge-full`,
    /// `network/invalid-subnet`, `network/kernel`. The namespace is then to be thrown away; nothing else is left.
    pub fn attach(&self, container: &str, namespace: &Namespace, attachments: &[Attachment]) -> Result<Vec<Endpoint>> {
        if attachments.is_empty() {
            return Ok(Vec::new());
        }
        let networks = attachments.iter().map(|attachment| self.wanted(&attachment.network));
        let networks = networks.collect::<Result<Vec<Network>>>()?;
        let mut routes = open_routes()?;
        let bridges = self.bridges(&mut routes, &networks)?;
        other_firewalls::admit_docker(&mut open_filter()?, &self.tag)?;
        let endpoints = self.lease(container, &mut routes, &networks, attachments)?;
        let connected = connect_ports(&mut routes, namespace, &networks, &bridges, &endpoints)
            .and_then(|()| namespace.run(|| configure(&endpoints)));
        if let Err(error) = connected {
            // The first error is the one to tell; a link that stays is a leak that doctor names.
            for endpoint in &endpoints {
                let _ = delete_link(&mut routes, &endpoint.port);
            }
            self.release(container)?;
            return Err(error);
        }
        Ok(endpoints)
    }

    /// Indexes of the bridges, raised where they are missing.
    fn bridges(&self, routes: &mut Socket, networks: &[Network]) -> Result<Vec<u32>> {
        let missing: Vec<Network> = networks
            .iter()
            .filter_map(|network| match routes.link(&network.bridge) {
                Ok(Some(link)) if link.is_up => None,
                Ok(_) => Some(Ok(network.clone())),
                Err(error) => Some(Err(fault(format!("can't look at the bridge {}", network.bridge), error))),
            })
            .collect::<Result<_>>()?;
        if !missing.is_empty() || !self.is_filtered(networks)? {
            self.restore(&missing)?;
        }
        let index = |network: &Network| {
            let attempt = || format!("can't look at the bridge {}", network.bridge);
            if let Some(link) = routes.link(&network.bridge).context(attempt)? {
                return Ok(link.index);
            }
            // Whoever removes a network takes the bridge before its record, and may be killed in between.
            let guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
            self.check_present(network)?;
            drop(guard);
            self.restore(std::slice::from_ref(network))?;
            let link = routes.link(&network.bridge).context(attempt)?;
            Ok(link.ok_or(Errno::NODEV).context(attempt)?.index)
        };
        networks.iter().map(index).collect()
    }

    fn check_present(&self, network: &Network) -> Result<()> {
        if self.get(&network.name)?.is_some_and(|present| present.id == network.id) {
            return Ok(());
        }
        let message = format!("network {} was removed meanwhile", network.name);
        Err(Diagnostic::error(&codes::UNKNOWN_NETWORK, message).boxed())
    }

    /// Chooses and records the addresses of all attachments, or of none.
    fn lease(
        &self,
        container: &str,
        routes: &mut Socket,
        networks: &[Network],
        attachments: &[Attachment],
    ) -> Result<Vec<Endpoint>> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let (records, boot, now) = (self.lease_records(), boot_id()?, now_ms());
        let mut files: BTreeMap<&str, Leases> = BTreeMap::new();
        let mut endpoints = Vec::new();
        let gateway = networks.iter().position(|network| !network.internal);
        for (position, (network, attachment)) in networks.iter().zip(attachments).enumerate() {
            // Looked at again under the lock: it may have been removed since.
            self.check_present(network)?;
            let leases = match files.entry(&network.name) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Leases::of_boot(records.get(&network.name)?, &boot))
                }
            };
            let address = leases.choose(network, attachment.address, now)?;
            let endpoint = Endpoint {
                container: container.to_owned(),
                network: network.name.clone(),
                network_id: network.id.clone(),
                interface: attachment.interface.clone().unwrap_or_else(|| format!("eth{position}")),
                port: free_link_name(routes, &self.tag)?,
                address,
                prefix: network.subnet.prefix(),
                mac: attachment.mac.unwrap_or_else(|| Mac::of(address.into())),
                gateway: network.gateway,
                internal: network.internal,
                names: attachment.names.iter().map(|name| name.to_lowercase()).collect(),
                withdrawn: attachment.withdrawn,
                is_gateway: gateway == Some(position),
                published: Vec::new(),
            };
            leases.endpoints.push(endpoint.clone());
            endpoints.push(endpoint);
        }
        for (network, leases) in files {
            records.put(network, &leases, Durability::Cached)?;
        }
        Ok(endpoints)
    }

    /// Takes a container off its networks: ports leave their bridges, addresses rest and are free then.
    ///
    /// The links themselves die with the container's namespace, in the background. Nothing to do for a container that is
    /// on no network.
    ///
    /// # Errors
    /// `network/kernel`, `store/…`.
    pub fn detach(&self, container: &str) -> Result<()> {
        let mut routes = open_routes()?;
        let own = self.endpoints_of(container)?;
        self.unpublish(&own.iter().collect::<Vec<_>>())?;
        for endpoint in own {
            let attempt = || format!("can't take {} off network {}", endpoint.short_container(), endpoint.network);
            let Some(link) = routes.link(&endpoint.port).context(attempt)? else { continue };
            match routes.execute(&[route::disconnect(link.index)]) {
                Err(refusal) if refusal.error == Errno::NODEV => {}
                other => other.context(attempt)?,
            }
        }
        self.release(container)
    }

    /// A container's places on all networks.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn endpoints_of(&self, container: &str) -> Result<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        for network in self.lease_records().names()? {
            let all = self.endpoints(&network)?;
            endpoints.extend(all.into_iter().filter(|endpoint| endpoint.container == container));
        }
        endpoints.sort_by(|a, b| a.interface.cmp(&b.interface));
        Ok(endpoints)
    }

    /// All containers' places, by the container's id: what asking [`Networks::endpoints_of`] for each would give, read once.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn endpoints_by_container(&self) -> Result<BTreeMap<String, Vec<Endpoint>>> {
        let mut endpoints: BTreeMap<String, Vec<Endpoint>> = BTreeMap::new();
        for network in self.lease_records().names()? {
            for endpoint in self.endpoints(&network)? {
                endpoints.entry(endpoint.container.clone()).or_default().push(endpoint);
            }
        }
        endpoints.values_mut().for_each(|own| own.sort_by(|a, b| a.interface.cmp(&b.interface)));
        Ok(endpoints)
    }

    /// The containers that have an address, by id.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn holders(&self) -> Result<BTreeSet<String>> {
        let mut holders = BTreeSet::new();
        for network in self.lease_records().names()? {
            holders.extend(self.endpoints(&network)?.into_iter().map(|endpoint| endpoint.container));
        }
        Ok(holders)
    }

    /// Takes a container's names away from all others on its networks, or gives them back. Whether anything changed: then
    /// the names files are to be written.
    ///
    /// # Errors
    /// `store/corrupt-record`, `network/kernel`.
    pub fn set_withdrawn(&self, container: &str, withdrawn: bool) -> Result<bool> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let (records, boot) = (self.lease_records(), boot_id()?);
        let mut changed = false;
        for network in records.names()? {
            let mut leases = Leases::of_boot(records.get(&network)?, &boot);
            let own = leases.endpoints.iter_mut().filter(|endpoint| endpoint.container == container);
            let other: Vec<&mut Endpoint> = own.filter(|endpoint| endpoint.withdrawn != withdrawn).collect();
            if !other.is_empty() {
                other.into_iter().for_each(|endpoint| endpoint.withdrawn = withdrawn);
                records.put(&network, &leases, Durability::Cached)?;
                changed = true;
            }
        }
        Ok(changed)
    }

    /// Has a container answer to another name instead of one, on all its networks. Gives those whose names files are to be
    /// written.
    ///
    /// # Errors
    /// `store/corrupt-record`, `network/kernel`.
    pub fn rename(&self, container: &str, from: &str, to: &str) -> Result<Vec<String>> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let (records, boot) = (self.lease_records(), boot_id()?);
        let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
        let mut changed = Vec::new();
        for network in records.names()? {
            let mut leases = Leases::of_boot(records.get(&network)?, &boot);
            let own = leases.endpoints.iter_mut().find(|endpoint| endpoint.container == container);
            let Some(own) = own else { continue };
            own.names.retain(|name| *name != from && *name != to);
            own.names.insert(0, to.clone());
            records.put(&network, &leases, Durability::Cached)?;
            changed.push(network);
        }
        Ok(changed)
    }

    fn release(&self, container: &str) -> Result<()> {
        self.release_where(|endpoint| endpoint.container == container)
    }

    /// Gives back the addresses that `is_given_back` says, writing only the files that change.
    pub(crate) fn release_where(&self, is_given_back: impl Fn(&Endpoint) -> bool) -> Result<()> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let (records, boot, now) = (self.lease_records(), boot_id()?, now_ms());
        for network in records.names()? {
            let mut leases = Leases::of_boot(records.get(&network)?, &boot);
            if leases.endpoints.iter().any(&is_given_back) {
                leases.release(&is_given_back, now);
                records.put(&network, &leases, Durability::Cached)?;
            }
        }
        Ok(())
    }
}

fn free_link_name(routes: &mut Socket, tag: &str) -> Result<String> {
    loop {
        let mut bytes = [0; 4];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
            .context(|| "can't read random bytes".into())?;
        let name = link_name(tag, &format!("{:08x}", u32::from_ne_bytes(bytes)));
        if routes.link(&name).context(|| format!("can't look for a link {name}"))?.is_none() {
            return Ok(name);
        }
    }
}

/// Makes all pairs in one send: each port in its bridge and up, each peer born in the namespace and down.
fn connect_ports(
    routes: &mut Socket,
    namespace: &Namespace,
    networks: &[Network],
    bridges: &[u32],
    endpoints: &[Endpoint],
) -> Result<()> {
    let mut batch: Vec<Message> = Vec::new();
    for ((network, bridge), endpoint) in networks.iter().zip(bridges).zip(endpoints) {
        batch.push(route::create_veth(&Veth {
            name: &endpoint.port,
            bridge: Some(*bridge),
            mtu_bytes: network.mtu_bytes,
            peer_name: &endpoint.interface,
            peer_mac: endpoint.mac,
            peer_namespace: namespace.as_fd(),
        }));
        batch.push(route::set_bridge_port(&endpoint.port));
    }
    routes.execute(&batch).map_err(|refusal| {
        let endpoint = &endpoints[(refusal.index / 2).min(endpoints.len() - 1)];
        let attempt = format!("can't connect {} to network {}", endpoint.short_container(), endpoint.network);
        match refusal.error {
            Errno::XFULL => Diagnostic::error(&codes::BRIDGE_FULL, attempt)
                .cause(format!("its bridge has {PORTS_PER_BRIDGE} ports, which is all that Linux gives one"))
                .hint("spread the containers over several networks")
                .boxed(),
            error => fault(attempt, error),
        }
    })
}

/// Inside of the namespace: addresses, links up, default route.
fn configure(endpoints: &[Endpoint]) -> Result<()> {
    let attempt = || "can't set up the container's interfaces".to_owned();
    // Announces an address when its link comes up, so that a neighbour's stale entry is corrected at once.
    std::fs::write("/proc/sys/net/ipv4/conf/all/arp_notify", "1").context(attempt)?;
    let mut socket = Socket::route().context(attempt)?;
    let links = socket.links().context(attempt)?;
    let mut batch = Vec::new();
    for endpoint in endpoints {
        let link = links.iter().find(|link| link.name == endpoint.interface);
        let index = link.ok_or(Errno::NODEV).context(attempt)?.index;
        batch.push(route::add_address(index, IpAddr::V4(endpoint.address), endpoint.prefix));
        batch.push(route::without_ipv6(index));
        batch.push(route::set_up(index));
    }
    if let Some(gateway) = endpoints.iter().find(|endpoint| endpoint.is_gateway).map(|endpoint| endpoint.gateway) {
        batch.push(route::add_default_route(IpAddr::V4(gateway)));
    }
    socket.execute(&batch).context(attempt)
}
