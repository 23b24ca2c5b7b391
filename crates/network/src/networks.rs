use std::net::IpAddr;

use carrack_diag::{Diagnostic, Result};
use carrack_store::{DEFAULT_WAIT, Durability, Layout, Lock, Records, Store};
use carrack_sys::netlink::Socket;
use carrack_sys::netlink::route::{self, Link, Mac};
use carrack_sys::nftables::{Chain, Table, chains};

use crate::fault::Context as _;
use crate::host_lock::HostLock;
use crate::network::{link_prefix, predefined_id};
use crate::subnet::{ipv6_pools, pools};
use crate::{DEFAULT_NETWORK, Endpoint, Network, Subnet, Wanted, codes, firewall, forwarding, other_firewalls};

/// Where no route says another.
const DEFAULT_MTU_BYTES: u32 = 1500;

/// A route this short is a default route in disguise (VPNs halve the default route in two).
const SHORTEST_PREFIX: u8 = 8;

/// All networks of a root.
#[derive(Debug, Clone)]
pub struct Networks {
    pub(crate) store: Store,
    pub(crate) tag: String,
}

impl Networks {
    /// Those of the store's root, in the network namespace of whichever thread calls.
    pub fn new(store: &Store) -> Self {
        Self { tag: store.root_tag().to_owned(), store: store.clone() }
    }

    pub(crate) fn records(&self) -> Records<Network> {
        self.store.records("networks", "network", Layout::Flat)
    }

    /// The root's table of the packet filter.
    pub fn table(&self) -> Table {
        firewall::table(&self.tag)
    }

    /// What the names of all links of the root begin with.
    pub fn link_prefix(&self) -> String {
        link_prefix(&self.tag)
    }

    /// All networks by name.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn list(&self) -> Result<Vec<Network>> {
        Ok(self.records().list()?.into_values().collect())
    }

    /// The network of that name.
    ///
    /// # Errors
    /// `store/invalid-name`, `store/corrupt-record`.
    pub fn get(&self, name: &str) -> Result<Option<Network>> {
        self.records().get(name)
    }

    /// The id of a network that every root has, made or not: the same for as long as the root is where it is.
    pub fn predefined_id(&self, name: &str) -> String {
        predefined_id(&self.tag, name)
    }

    /// The default network as it was made, or as it would be made now. Makes nothing.
    ///
    /// # Errors
    /// `store/corrupt-record`; where it was not made yet `network/pool-exhausted`, `network/kernel`.
    pub fn default_network(&self) -> Result<Network> {
        if let Some(network) = self.get(DEFAULT_NETWORK)? {
            return Ok(network);
        }
        let host = Host::look()?;
        let subnet = host.choose(&self.recorded_subnets(None)?)?;
        let wanted = Wanted { name: DEFAULT_NETWORK.into(), ..Wanted::default() };
        Network::new(&wanted, &self.tag, subnet, None, host.mtu_bytes())
    }

    /// The network of that name, id, or beginning of an id; the default one also where it was not made yet.
    ///
    /// # Errors
    /// `network/unknown-network` with the nearest name.
    pub fn find(&self, wanted: &str) -> Result<Network> {
        let is_default = wanted == DEFAULT_NETWORK
            || (!wanted.is_empty() && self.predefined_id(DEFAULT_NETWORK).starts_with(wanted));
        match self.find_made(wanted) {
            Err(error) if is_default && error.code == &codes::UNKNOWN_NETWORK => self.default_network(),
            found => found,
        }
    }

    fn find_made(&self, wanted: &str) -> Result<Network> {
        let networks = self.list()?;
        if let Some(network) = networks.iter().find(|network| network.name == wanted) {
            return Ok(network.clone());
        }
        let mut by_id = networks.iter().filter(|network| !wanted.is_empty() && network.id.starts_with(wanted));
        match (by_id.next(), by_id.next()) {
            (Some(network), None) => Ok(network.clone()),
            _ => {
                let error = Diagnostic::error(&codes::UNKNOWN_NETWORK, format!("there is no network `{wanted}`"));
                let near = carrack_diag::nearest(wanted, networks.iter().map(|network| network.name.as_str()));
                Err(match near {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint("`carrack network ls` lists all of them"),
                }
                .boxed())
            }
        }
    }

    /// The containers' places on a network; none for what happened before the last reboot.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn endpoints(&self, network: &str) -> Result<Vec<Endpoint>> {
        self.leases(network)?.endpoints()
    }

    /// Makes a network: record, packet filter, bridge.
    ///
    /// # Errors
    /// `network/name-taken`, `network/invalid-subnet`, `network/subnet-taken`, `network/pool-exhausted`,
    /// `network/not-yet`, `network/unknown-option`, `network/kernel`. Nothing of it is left then.
    pub fn create(&self, wanted: &Wanted) -> Result<Network> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        if self.get(&wanted.name)?.is_some() {
            let message = format!("there is already a network `{}`", wanted.name);
            return Err(Diagnostic::error(&codes::NAME_TAKEN, message)
                .hint(format!("`carrack network inspect {}` shows it", wanted.name))
                .boxed());
        }
        self.create_locked(wanted)
    }

    fn create_locked(&self, wanted: &Wanted) -> Result<Network> {
        let lock = HostLock::take()?;
        let host = Host::look()?;
        let recorded = self.recorded_subnets(None)?;
        let subnet = match wanted.subnet {
            Some(subnet) => host.check_free(subnet, &recorded, &wanted.name)?,
            None => host.choose(&recorded)?,
        };
        let ipv6 = match (&wanted.ipv6_range, wanted.ipv6) {
            (Some(range), _) => Some(host.check_free(range.subnet, &recorded, &wanted.name)?),
            (None, true) => Some(host.choose_ipv6(&recorded, &self.tag)?),
            (None, false) => None,
        };
        let network = Network::new(wanted, &self.tag, subnet, ipv6, host.mtu_bytes())?;
        // The record first: what a kill leaves then is a network to raise or to remove, never a bridge without an owner.
        self.records().put(&network.name, &network, Durability::Synced)?;
        if let Err(error) = self.raise(&network, &host.links) {
            // The first error is the one to tell; what can't be undone now is a leak that doctor names.
            let _ = self.lower(&network).and_then(|()| retire_if_unused(lock));
            return Err(error);
        }
        Ok(network)
    }

    /// Makes what the kernel lacks of these networks: their bridges after a reboot, and for all networks the packet filter
    /// after somebody flushed it and forwarding after somebody turned it off.
    ///
    /// # Errors
    /// `network/subnet-taken` where the host has come to use the range otherwise, `network/kernel`.
    pub fn restore(&self, networks: &[Network]) -> Result<()> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let _host = HostLock::take()?;
        // Asked under the lock: whoever waited for it may find all of it done.
        let all = self.list()?;
        let is_filtered = self.is_filtered(&all)?;
        let standing = Host::look()?;
        for network in all {
            let has_bridge = standing.has_bridge(&network);
            let is_wanted = networks.iter().any(|wanted| wanted.id == network.id);
            if (is_wanted && !has_bridge) || (has_bridge && !is_filtered) {
                let host = Host::look()?;
                let mut network = network;
                // A bridge that is there, if down, holds the range itself.
                if !host.links.iter().any(|link| link.name == network.bridge) {
                    network = self.settle(&host, network)?;
                }
                self.raise(&network, &host.links)?;
            }
        }
        if !is_filtered {
            let mut filter = open_filter()?;
            if firewall::exists(&mut filter, &self.tag)? {
                self.republish(&mut filter)?;
            }
        }
        Ok(())
    }

    /// Makes sure that the host has no other use for the network's addresses. One whose range nobody asked for and nobody
    /// has an address of is moved to another.
    fn settle(&self, host: &Host, network: Network) -> Result<Network> {
        if let Some(range) = &network.ipv6 {
            host.check_free(range.subnet, &[], &network.name)?;
        }
        match host.check_free(network.subnet, &[], &network.name) {
            Err(_) if network.is_chosen && self.leases(&network.name)?.held().is_empty() => {
                let moved = network.moved(host.choose(&self.recorded_subnets(Some(&network.name))?)?);
                // What the filter has of the old range would go with nobody.
                let mut filter = open_filter()?;
                firewall::remove_network(&mut filter, &self.tag, &network, false)?;
                self.records().put(&moved.name, &moved, Durability::Synced)?;
                Ok(moved)
            }
            checked => checked.map(|_| network),
        }
    }

    /// Of all networks but one.
    fn recorded_subnets(&self, but: Option<&str>) -> Result<Vec<Subnet>> {
        let networks = self.list()?.into_iter().filter(|network| Some(network.name.as_str()) != but);
        Ok(networks
            .flat_map(|network| [Some(network.subnet), network.ipv6.map(|range| range.subnet)])
            .flatten()
            .collect())
    }

    /// Whether the table stands, and what these networks forward is forwarded.
    pub(crate) fn is_filtered(&self, networks: &[Network]) -> Result<bool> {
        let mut needed = networks.iter().filter(|network| !network.internal).flat_map(Network::families);
        let is_forwarded =
            needed.try_fold(true, |all, family| Ok::<_, Box<Diagnostic>>(all && forwarding::is_on(family)?))?;
        Ok(is_forwarded && firewall::exists(&mut open_filter()?, &self.tag)?)
    }

    /// The network of that name, made where it is the default one and missing.
    pub(crate) fn wanted(&self, name: &str) -> Result<Network> {
        if name != DEFAULT_NETWORK {
            return self.find(name);
        }
        if let Some(network) = self.get(name)? {
            return Ok(network);
        }
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        match self.get(name)? {
            Some(network) => Ok(network),
            None => self.create_locked(&Wanted { name: name.into(), ..Wanted::default() }),
        }
    }

    /// Filter before bridge: there is no instant at which the network is open.
    fn raise(&self, network: &Network, links: &[Link]) -> Result<()> {
        let mut filter = open_filter()?;
        firewall::add_network(&mut filter, &self.store.roots().data, &self.tag, network)?;
        for family in network.families().filter(|_| !network.internal) {
            forwarding::turn_on(&mut filter, links, family)?;
        }
        other_firewalls::admit(&mut filter, &self.tag)?;
        raise_bridge(network, links).map_err(|error| {
            (*error).cause(format!("while raising network {} ({})", network.name, network.subnet)).boxed()
        })
    }

    /// Removes a network.
    ///
    /// # Errors
    /// `network/unknown-network`; `network/in-use` with the containers on it; `network/kernel`.
    pub fn remove(&self, name: &str) -> Result<()> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let network = self.find_made(name)?;
        let endpoints = self.endpoints(&network.name)?;
        if !endpoints.is_empty() {
            let message = format!("network {} has {} containers on it", network.name, endpoints.len());
            let error = Diagnostic::error(&codes::IN_USE, message);
            let error = endpoints.iter().take(10).fold(error, |error, endpoint| {
                error.cause(format!("container {} holds {}", endpoint.short_container(), endpoint.address))
            });
            return Err(error.hint("stop them or disconnect them first").boxed());
        }
        let host = HostLock::take()?;
        self.lower(&network)?;
        retire_if_unused(host)
    }

    /// The reverse of making. The bridge goes down first: whoever finds it so raises all of the network again. The record
    /// goes last.
    ///
    /// Filter before bridge: closing the filter's socket waits until what was removed is out of every processor's sight,
    /// which it is by the time that the bridge is gone.
    fn lower(&self, network: &Network) -> Result<()> {
        let mut routes = open_routes()?;
        take_down(&mut routes, &network.bridge)?;
        let is_last = self.records().names()?.iter().all(|name| *name == network.name);
        let mut filter = open_filter()?;
        firewall::remove_network(&mut filter, &self.tag, network, is_last)?;
        delete_link(&mut routes, &network.bridge)?;
        if is_last {
            other_firewalls::withdraw(&mut filter, &self.tag)?;
            let links = routes.links().context(|| "can't list the links".into())?;
            forwarding::turn_off_if_unused(&mut filter, &links)?;
        }
        self.forget_names(&network.name)?;
        self.forget_leases(&network.name)?;
        self.records().remove(&network.name)?;
        Ok(())
    }

    /// What other firewalls of this host will do to the containers' packets, as warnings. Changes nothing.
    ///
    /// # Errors
    /// `network/kernel`.
    pub fn firewall_warnings(&self) -> Result<Vec<Diagnostic>> {
        other_firewalls::warnings(&mut open_filter()?, &self.tag)
    }
}

fn retire_if_unused(lock: HostLock) -> Result<()> {
    if forwarding::has_root(&mut open_filter()?)? { Ok(()) } else { lock.retire() }
}

pub(crate) fn open_routes() -> Result<Socket> {
    Socket::route().context(|| "can't open a netlink socket for links and routes".into())
}

pub(crate) fn open_filter() -> Result<Socket> {
    Socket::netfilter().context(|| "can't open a netlink socket for the packet filter".into())
}

pub(crate) fn all_chains(filter: &mut Socket) -> Result<Vec<Chain>> {
    chains(filter).context(|| "can't list the packet filter's chains".into())
}

fn raise_bridge(network: &Network, links: &[Link]) -> Result<()> {
    let mut routes = open_routes()?;
    let attempt = || format!("can't make the bridge {}", network.bridge);
    let gateway = IpAddr::V4(network.gateway);
    if !links.iter().any(|link| link.name == network.bridge) {
        let bridge = route::create_bridge(&network.bridge, Mac::of(gateway), network.mtu_bytes);
        routes.execute(&[bridge]).context(attempt)?;
    }
    let link = routes.link(&network.bridge).context(attempt)?;
    let index = link.ok_or(rustix::io::Errno::NODEV).context(attempt)?.index;
    let addresses = routes.addresses().context(attempt)?;
    match &network.ipv6 {
        None => refuse_ipv6(&network.bridge)?,
        // Nobody else has these addresses, and whoever comes first would wait for them to be tried out.
        Some(_) => set_ipv6(&network.bridge, &[("disable_ipv6", "0"), ("accept_dad", "0"), ("accept_ra", "0")])?,
    }
    for (gateway, prefix) in network.gateways() {
        if !addresses.iter().any(|found| found.index == index && found.address == gateway) {
            routes.execute(&[route::add_address(index, gateway, prefix)]).context(attempt)?;
        }
    }
    // Up last: the sign that all of it stands.
    routes.execute(&[route::set_up(index)]).context(attempt)
}

fn take_down(routes: &mut Socket, name: &str) -> Result<()> {
    let attempt = || format!("can't take down the link {name}");
    match routes.link(name).context(attempt)? {
        Some(link) => routes.execute(&[route::disconnect(link.index)]).context(attempt),
        None => Ok(()),
    }
}

/// What was not asked for is not there: a container that forges IPv6 frames has no way out.
fn refuse_ipv6(bridge: &str) -> Result<()> {
    match set_ipv6(bridge, &[("disable_ipv6", "1")]) {
        // A kernel without IPv6 forwards none.
        Err(_) if !std::path::Path::new("/proc/sys/net/ipv6").exists() => Ok(()),
        other => other,
    }
}

/// Parameters of IPv6 of a link in this thread's namespace.
pub(crate) fn set_ipv6(link: &str, parameters: &[(&str, &str)]) -> Result<()> {
    for (name, value) in parameters {
        let path = format!("/proc/sys/net/ipv6/conf/{link}/{name}");
        std::fs::write(&path, value).context(|| format!("can't set {path} to {value}"))?;
    }
    Ok(())
}

/// Deletes the link of that name, where it is there.
pub(crate) fn delete_link(routes: &mut Socket, name: &str) -> Result<()> {
    let attempt = || format!("can't delete the link {name}");
    let Some(link) = routes.link(name).context(attempt)? else { return Ok(()) };
    match routes.execute(&[route::delete_link(link.index)]) {
        // It died with its namespace meanwhile.
        Err(refusal) if refusal.error == rustix::io::Errno::NODEV => Ok(()),
        other => other.context(attempt),
    }
}

/// What of the host decides which addresses are free.
struct Host {
    links: Vec<Link>,
    /// Of interfaces.
    connected: Vec<Subnet>,
    /// Of routes, the connected ones too.
    routed: Vec<Subnet>,
    /// Index of the link of the default route.
    uplink: Option<u32>,
}

impl Host {
    fn look() -> Result<Self> {
        let attempt = || "can't read the host's links, addresses and routes".to_owned();
        let mut socket = open_routes()?;
        let links = socket.links().context(attempt)?;
        let addresses = socket.addresses().context(attempt)?;
        let routes = socket.routes().context(attempt)?;
        let default = |route: &&route::Route| route.prefix == 0 && route.destination.is_ipv4();
        Ok(Self {
            links,
            connected: addresses.iter().filter_map(|found| subnet(found.address, found.prefix)).collect(),
            routed: routes.iter().filter_map(|route| subnet(route.destination, route.prefix)).collect(),
            uplink: routes.iter().find(default).and_then(|route| route.output),
        })
    }

    fn has_bridge(&self, network: &Network) -> bool {
        self.links.iter().any(|link| link.name == network.bridge && link.is_up)
    }

    fn mtu_bytes(&self) -> u32 {
        let link = self.links.iter().find(|link| Some(link.index) == self.uplink);
        link.map_or(DEFAULT_MTU_BYTES, |link| link.mtu_bytes)
    }

    fn choose(&self, recorded: &[Subnet]) -> Result<Subnet> {
        let is_taken = |subnet: Subnet| {
            let routed = self.routed.iter().filter(|routed| routed.prefix() >= SHORTEST_PREFIX);
            routed.chain(&self.connected).chain(recorded).any(|taken| taken.overlaps(subnet))
        };
        pools().find(|subnet| !is_taken(*subnet)).ok_or_else(|| {
            Diagnostic::error(&codes::POOL_EXHAUSTED, "every default address range is in use on this host")
                .hint("remove unused networks, or give this one a subnet of its own")
                .boxed()
        })
    }

    fn choose_ipv6(&self, recorded: &[Subnet], tag: &str) -> Result<Subnet> {
        let machine = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let digest = carrack_oci::Digest::of(format!("{machine} {tag}").as_bytes());
        let byte = |at: usize| u8::from_str_radix(digest.hex().get(at * 2..at * 2 + 2).unwrap_or_default(), 16);
        let identity = [0, 1, 2, 3, 4].map(|at| byte(at).unwrap_or(0));
        let is_taken = |subnet: Subnet| {
            let routed = self.routed.iter().filter(|routed| routed.prefix() >= SHORTEST_PREFIX);
            routed.chain(&self.connected).chain(recorded).any(|taken| taken.overlaps(subnet))
        };
        ipv6_pools(&identity).find(|subnet| !is_taken(*subnet)).ok_or_else(|| {
            Diagnostic::error(&codes::POOL_EXHAUSTED, "every default IPv6 range is in use on this host")
                .hint("remove unused networks, or give this one a subnet of its own")
                .boxed()
        })
    }

    /// A range that somebody asked for may lie within a larger route, not within a connected network.
    fn check_free(&self, subnet: Subnet, recorded: &[Subnet], name: &str) -> Result<Subnet> {
        match self.connected.iter().chain(recorded).find(|taken| taken.overlaps(subnet)) {
            None => Ok(subnet),
            Some(taken) => {
                let message = format!("network {name} can't have {subnet}: {taken} is in use on this host");
                let error = Diagnostic::error(&codes::SUBNET_TAKEN, message);
                let free = self.choose(recorded).map(|free| format!("{free} is free"));
                Err(free.into_iter().fold(error, Diagnostic::hint).boxed())
            }
        }
    }
}

fn subnet(address: IpAddr, prefix: u8) -> Option<Subnet> {
    match address {
        _ if address.is_unspecified() || address.is_multicast() || prefix == 0 => None,
        // Every link has them.
        IpAddr::V6(address) if address.is_unicast_link_local() => None,
        address => Some(Subnet::containing(address, prefix)),
    }
}
