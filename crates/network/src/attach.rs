use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd as _;

use carrack_diag::{Diagnostic, Result};
use carrack_store::{DEFAULT_WAIT, Lock};
use carrack_sys::netlink::route::{self, Mac, Veth};
use carrack_sys::netlink::{Message, Socket};
use rustix::io::Errno;

use crate::endpoint::{Ipv6Place, gateway_of};
use crate::fault::{Context as _, fault};
use crate::lease::{Held, Leases, now_ms};
use crate::network::link_name;
use crate::networks::{delete_link, open_filter, open_routes, set_ipv6};
use crate::{Attachment, DEFAULT_NETWORK, Endpoint, Namespace, Network, Networks, codes, other_firewalls};

/// `BR_MAX_PORTS` of the kernel, less the one it never gives out.
pub const PORTS_PER_BRIDGE: usize = 1023;

impl Networks {
    /// Connects a namespace to networks, in this order; of those that are not internal the one with the highest priority,
    /// and of several the first, gives the default route.
    ///
    /// # Errors
    /// `network/unknown-network`, `network/address-taken`, `network/no-address`, `network/bridge-full`,
    /// `network/invalid-subnet`, `network/kernel`. The namespace is then to be thrown away; nothing else is left.
    pub fn attach(&self, container: &str, namespace: &Namespace, attachments: &[Attachment]) -> Result<Vec<Endpoint>> {
        self.attach_beside(&[], container, namespace, attachments)
    }

    /// Connects a container that is on networks already to one more. Where that gives the default route from now on, what
    /// is published leads there too.
    ///
    /// # Errors
    /// As for [`Networks::attach`]; nothing is left then.
    pub fn connect(&self, container: &str, namespace: &Namespace, attachment: &Attachment) -> Result<Endpoint> {
        let former = self.endpoints_of(container)?;
        let mut made = self.attach_beside(&former, container, namespace, std::slice::from_ref(attachment))?;
        self.elect_gateway(container)?;
        let published: Vec<_> = former.into_iter().flat_map(|endpoint| endpoint.published).collect();
        if !published.is_empty() {
            self.publish(&self.endpoints_of(container)?, &published)?;
        }
        made.pop().ok_or_else(|| fault("can't connect the container", Errno::NODEV))
    }

    fn attach_beside(
        &self,
        former: &[Endpoint],
        container: &str,
        namespace: &Namespace,
        attachments: &[Attachment],
    ) -> Result<Vec<Endpoint>> {
        if attachments.is_empty() {
            return Ok(Vec::new());
        }
        let mut routes = open_routes()?;
        let places = || {
            let networks = attachments.iter().map(|attachment| self.wanted(&attachment.network));
            let networks = networks.collect::<Result<Vec<Network>>>()?;
            let bridges = self.bridges(&mut routes, &networks)?;
            other_firewalls::admit_docker(&mut open_filter()?, &self.tag)?;
            let endpoints = self.lease(former, container, &mut routes, &networks, attachments)?;
            Ok((networks, bridges, endpoints))
        };
        let (networks, bridges, endpoints) = self.through_pruning(attachments, places)?;
        let connected = connect_ports(&mut routes, namespace, &networks, &bridges, &endpoints)
            .and_then(|()| namespace.run(|| configure(&endpoints, attachments)));
        if let Err(error) = connected {
            // The first error is the one to tell; a link that stays is a leak that doctor names.
            for endpoint in &endpoints {
                let _ = delete_link(&mut routes, &endpoint.port);
            }
            self.release_where(|held| endpoints.iter().any(|endpoint| held.is_of(endpoint)))?;
            return Err(error);
        }
        Ok(endpoints)
    }

    /// Does it again where the default network went meanwhile: it is made when it is needed, so nobody need know that it can go.
    fn through_pruning<T>(&self, attachments: &[Attachment], mut places: impl FnMut() -> Result<T>) -> Result<T> {
        const ATTEMPTS: usize = 5;
        let has_default = attachments.iter().any(|attachment| attachment.network == DEFAULT_NETWORK);
        for _ in 1..ATTEMPTS {
            match places() {
                Err(error) if has_default && error.code == &codes::UNKNOWN_NETWORK => {}
                done => return done,
            }
        }
        places()
    }

    /// Takes a running container off one of its networks: names, ports and addresses, its interface, and the default route
    /// where it left through it. What was published then leads to where the default route leaves.
    ///
    /// # Errors
    /// `network/unknown-network` where it is not on it, `network/kernel`, `store/…`.
    pub fn disconnect(&self, container: &str, namespace: &Namespace, network: &str) -> Result<()> {
        let own = self.endpoints_of(container)?;
        let Some(leaving) = own.iter().find(|endpoint| endpoint.network == network) else {
            let message = format!("the container is not on the network {network}");
            return Err(Diagnostic::error(&codes::UNKNOWN_NETWORK, message).boxed());
        };
        let published = leaving.published.clone();
        self.unpublish(&[leaving])?;
        delete_link(&mut open_routes()?, &leaving.port)?;
        self.release_where(|held| held.is_of(leaving))?;
        let gateway = self.elect_gateway(container)?;
        namespace.run(|| gateway.iter().try_for_each(lead_out))?;
        if published.is_empty() { Ok(()) } else { self.publish(&self.endpoints_of(container)?, &published) }
    }

    /// Writes down which of the container's endpoints gives the default route, and says which.
    pub(crate) fn elect_gateway(&self, container: &str) -> Result<Option<Endpoint>> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let own = self.endpoints_of(container)?;
        let gateway = gateway_of(&own).and_then(|index| own.get(index)).cloned();
        for network in own.iter().map(|endpoint| &endpoint.network) {
            let mut leases = self.leases(network)?;
            let chosen = gateway.as_ref().is_some_and(|gateway| gateway.network == *network);
            let choose = |endpoint: &mut Endpoint| std::mem::replace(&mut endpoint.is_gateway, chosen) != chosen;
            if leases.change(container, choose)? {
                self.put_leases(network, &leases)?;
            }
        }
        Ok(gateway)
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
            self.present(network)?;
            drop(guard);
            self.restore(std::slice::from_ref(network))?;
            let link = routes.link(&network.bridge).context(attempt)?;
            Ok(link.ok_or(Errno::NODEV).context(attempt)?.index)
        };
        networks.iter().map(index).collect()
    }

    /// The network as it is now.
    fn present(&self, network: &Network) -> Result<Network> {
        let is_it = |present: &Network| present.id == network.id && present.created == network.created;
        self.get(&network.name)?.filter(is_it).ok_or_else(|| {
            let message = format!("network {} was removed meanwhile", network.name);
            Diagnostic::error(&codes::UNKNOWN_NETWORK, message).boxed()
        })
    }

    /// Chooses and records the addresses of all attachments, or of none.
    fn lease(
        &self,
        former: &[Endpoint],
        container: &str,
        routes: &mut Socket,
        networks: &[Network],
        attachments: &[Attachment],
    ) -> Result<Vec<Endpoint>> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let mut files: BTreeMap<String, Leases> = BTreeMap::new();
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (network, attachment) in networks.iter().zip(attachments) {
            // Looked at again under the lock: it may have been removed since, or moved.
            let network = self.present(network)?;
            if former.iter().chain(&endpoints).any(|endpoint| endpoint.network_id == network.id) {
                let message = format!("the container is on network {} already", network.name);
                return Err(Diagnostic::error(&codes::ADDRESS_TAKEN, message).boxed());
            }
            let leases = match files.entry(network.name.clone()) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => entry.insert(self.leases(&network.name)?),
            };
            let address = leases.choose(&network, attachment.address, now_ms())?;
            let ipv6 = leases.choose_ipv6(&network, attachment.ipv6)?;
            let place = network.ipv6.as_ref().zip(ipv6).map(|(range, address)| Ipv6Place {
                address,
                prefix: range.subnet.prefix(),
                gateway: range.gateway,
            });
            let lower = |(target, alias): &(String, String)| (target.to_lowercase(), alias.to_lowercase());
            let endpoint = Endpoint {
                container: container.to_owned(),
                network: network.name.clone(),
                network_id: network.id.clone(),
                interface: interface(&network, attachment, former.iter().chain(&endpoints))?,
                port: free_link_name(routes, &self.tag)?,
                address,
                prefix: network.subnet.prefix(),
                ipv6: place,
                link_local: attachment.link_local.clone(),
                mac: attachment.mac.unwrap_or_else(|| Mac::of(address.into())),
                gateway: network.gateway,
                internal: network.internal,
                names: attachment.names.iter().map(|name| name.to_lowercase()).collect(),
                links: attachment.links.iter().map(lower).collect(),
                withdrawn: attachment.withdrawn,
                gateway_priority: attachment.gateway_priority,
                is_gateway: false,
                published: Vec::new(),
            };
            endpoints.push(endpoint);
        }
        let all: Vec<Endpoint> = former.iter().chain(&endpoints).cloned().collect();
        let gateway = gateway_of(&all).and_then(|index| all.get(index)).map(|endpoint| endpoint.network_id.clone());
        for endpoint in &mut endpoints {
            endpoint.is_gateway = gateway.as_ref() == Some(&endpoint.network_id);
            if let Some(leases) = files.get_mut(endpoint.network.as_str()) {
                leases.add(endpoint)?;
            }
        }
        for (network, leases) in files {
            self.put_leases(&network, &leases)?;
        }
        Ok(endpoints)
    }

    /// Takes a container off its networks: its ports lead nowhere, its addresses rest and are free then.
    ///
    /// The links themselves die with the container's namespace, in the background; leaving their bridges before would make
    /// each end of a container wait for all processors. Nothing to do for a container that is on no network.
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
            if routes.execute(&[route::block_bridge_port(link.index)]).is_err() {
                disconnect(&mut routes, link.index).context(attempt)?;
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
        for network in self.leased_networks()? {
            endpoints.extend(self.leases(&network)?.endpoint_of(container)?);
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
        for network in self.leased_networks()? {
            for endpoint in self.endpoints(&network)? {
                endpoints.entry(endpoint.container.clone()).or_default().push(endpoint);
            }
        }
        endpoints.values_mut().for_each(|own| own.sort_by(|a, b| a.interface.cmp(&b.interface)));
        Ok(endpoints)
    }

    /// Takes a container's names away from all others on its networks, or gives them back. Whether anything changed: then
    /// the names files are to be written.
    ///
    /// # Errors
    /// `store/corrupt-record`, `network/kernel`.
    pub fn set_withdrawn(&self, container: &str, withdrawn: bool) -> Result<bool> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let mut changed = false;
        for network in self.leased_networks()? {
            let mut leases = self.leases(&network)?;
            let withdraw = |own: &mut Endpoint| std::mem::replace(&mut own.withdrawn, withdrawn) != withdrawn;
            if leases.change(container, withdraw)? {
                self.put_leases(&network, &leases)?;
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
        let (from, to) = (from.to_ascii_lowercase(), to.to_ascii_lowercase());
        let mut changed = Vec::new();
        for network in self.leased_networks()? {
            let mut leases = self.leases(&network)?;
            let rename = |own: &mut Endpoint| {
                own.names.retain(|name| *name != from && *name != to);
                own.names.insert(0, to.clone());
                true
            };
            if leases.change(container, rename)? {
                self.put_leases(&network, &leases)?;
                changed.push(network);
            }
        }
        Ok(changed)
    }

    fn release(&self, container: &str) -> Result<()> {
        self.release_where(|held| held.container() == container)
    }

    /// Gives back the addresses that `is_given_back` says, writing only the files that change.
    pub(crate) fn release_where(&self, is_given_back: impl Fn(&Held) -> bool) -> Result<()> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        for network in self.leased_networks()? {
            let mut leases = self.leases(&network)?;
            if leases.release(&is_given_back, now_ms()) {
                self.put_leases(&network, &leases)?;
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
/// Takes out of full bridges what was detached and has not gone with its namespace yet, and deletes what was connected of
/// these endpoints. Whether there was anything to take out.
fn make_room(routes: &mut Socket, bridges: &[u32], endpoints: &[Endpoint]) -> Result<bool> {
    let attempt = || "can't make room on a full bridge".to_owned();
    for endpoint in endpoints {
        delete_link(routes, &endpoint.port)?;
    }
    let mut links = routes.links().context(attempt)?;
    links.retain(|link| link.is_blocked && link.bridge.is_some_and(|bridge| bridges.contains(&bridge)));
    for link in &links {
        disconnect(routes, link.index).context(attempt)?;
    }
    Ok(!links.is_empty())
}

/// Takes a link out of its bridge, if it is there.
fn disconnect(routes: &mut Socket, index: u32) -> std::result::Result<(), Errno> {
    match routes.execute(&[route::disconnect(index)]) {
        Err(refusal) if refusal.error == Errno::NODEV => Ok(()),
        other => other.map_err(|refusal| refusal.error),
    }
}

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
        batch.push(route::set_bridge_port(&endpoint.port, network.is_isolated));
    }
    let connected = match routes.execute(&batch) {
        Err(refusal) if refusal.error == Errno::XFULL && make_room(routes, bridges, endpoints)? => {
            routes.execute(&batch)
        }
        other => other,
    };
    connected.map_err(|refusal| {
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

/// The name in the container: as asked for, else the first number that is free behind the network's prefix.
fn interface<'a>(
    network: &Network,
    attachment: &Attachment,
    taken: impl Iterator<Item = &'a Endpoint> + Clone,
) -> Result<String> {
    let is_taken = |name: &str| name == "lo" || taken.clone().any(|endpoint| endpoint.interface == name);
    if let Some(name) = &attachment.interface {
        // IFNAMSIZ less the terminating zero, and what the kernel's dev_valid_name refuses.
        let is_name = (1..=15).contains(&name.len()) && !name.bytes().any(|byte| b"/: \t\n%".contains(&byte));
        if !is_name || name == "." || name == ".." || is_taken(name) {
            let message = format!("`{name}` can't be the interface's name on network {}", network.name);
            return Err(Diagnostic::error(&codes::UNKNOWN_OPTION, message)
                .cause("it is taken, too long for Linux (15 bytes), or has a character that a link's name can't have")
                .boxed());
        }
        return Ok(name.clone());
    }
    let prefix = network.interface_prefix.as_deref().unwrap_or("eth");
    let mut names = (0..).map(|number: u32| format!("{prefix}{number}"));
    Ok(names.find(|name| !is_taken(name)).unwrap_or_default())
}

/// Inside of the namespace: addresses, parameters, links up, default route.
fn configure(endpoints: &[Endpoint], attachments: &[Attachment]) -> Result<()> {
    let attempt = || "can't set up the container's interfaces".to_owned();
    // Announces an address when its link comes up, so that a neighbour's stale entry is corrected at once.
    std::fs::write("/proc/sys/net/ipv4/conf/all/arp_notify", "1").context(attempt)?;
    let mut socket = Socket::route().context(attempt)?;
    let links = socket.links().context(attempt)?;
    let mut batch = Vec::new();
    for (endpoint, attachment) in endpoints.iter().zip(attachments) {
        let link = links.iter().find(|link| link.name == endpoint.interface);
        let index = link.ok_or(Errno::NODEV).context(attempt)?.index;
        batch.push(route::add_address(index, IpAddr::V4(endpoint.address), endpoint.prefix));
        let has_ipv6 = endpoint.ipv6.is_some() || endpoint.link_local.iter().any(IpAddr::is_ipv6);
        if has_ipv6 {
            let parameters = [("disable_ipv6", "0"), ("accept_dad", "0"), ("accept_ra", "0"), ("ndisc_notify", "1")];
            set_ipv6(&endpoint.interface, &parameters)?;
        } else {
            batch.push(route::without_ipv6(index));
        }
        batch.extend(endpoint.ipv6.map(|place| route::add_address(index, place.address.into(), place.prefix)));
        for address in &endpoint.link_local {
            batch.push(route::add_address(index, *address, if address.is_ipv4() { 16 } else { 64 }));
        }
        for (name, value) in &attachment.parameters {
            set_parameter(&endpoint.interface, name, value)?;
        }
        batch.push(route::set_up(index));
    }
    socket.execute(&batch).context(attempt)?;
    endpoints.iter().filter(|endpoint| endpoint.is_gateway).try_for_each(lead_out)
}

/// Inside of the namespace: the default routes of this endpoint in the place of others.
fn lead_out(endpoint: &Endpoint) -> Result<()> {
    let attempt = || format!("can't lead the container out through network {}", endpoint.network);
    let batch: Vec<Message> = endpoint.gateways().map(route::replace_default_route).collect();
    Socket::route().context(attempt)?.execute(&batch).context(attempt)
}

/// `FAMILY.GROUP.NAME` of an interface, inside of its namespace.
fn set_parameter(interface: &str, name: &str, value: &str) -> Result<()> {
    let parts: Vec<&str> = name.split('.').collect();
    let plain = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let [family @ ("ipv4" | "ipv6" | "mpls"), group, last] = parts.as_slice() else {
        let message = format!("`{name}` is no parameter of an interface");
        return Err(Diagnostic::error(&codes::UNKNOWN_OPTION, message)
            .hint("write it as net.ipv4.conf.IFNAME.log_martians=1")
            .boxed());
    };
    if ![group, last].into_iter().all(plain) {
        return Err(
            Diagnostic::error(&codes::UNKNOWN_OPTION, format!("`{name}` is no parameter of an interface")).boxed()
        );
    }
    let path = format!("/proc/sys/net/{family}/{group}/{interface}/{last}");
    std::fs::write(&path, value).context(|| format!("can't set {path} to `{value}`"))
}
