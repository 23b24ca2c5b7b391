//! Addresses in use on a network: a file on the run root, void after a reboot.
//!
//! Text, so that of a thousand endpoints only those are parsed that somebody asks for: a head, the addresses that rest,
//! and a line an endpoint: its addresses, its container, the names that others may ask for, a tab, all of it in JSON.
//!
//! ```text
//! boot 6c1f9b0e-…
//! rests 172.18.0.9 81230544
//! 172.18.0.2,fd00:18::2 3f2a91bc77d0… shop-web-1 3f2a91bc77d0 web⇥{"container":"3f2a91bc77d0…",…}
//! ```

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use carrack_diag::{Diagnostic, Result};
use carrack_store::codes::CORRUPT_RECORD;

use crate::fault::Context as _;
use crate::network::Range;
use crate::{Endpoint, Network, Networks, PORTS_PER_BRIDGE, codes, file};

/// How long a released address rests, so that nobody's cached answer or late packet reaches a stranger.
pub(crate) const REST_MS: u64 = 2000;
/// What a file of leases ends with.
const SUFFIX: &str = ".leases";

/// The file of one network.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Leases {
    boot: String,
    held: Vec<Held>,
    released: Vec<Released>,
}

/// An endpoint's line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held(String);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Released {
    address: IpAddr,
    at_ms: u64,
}

impl Held {
    fn of(endpoint: &Endpoint) -> Result<Self> {
        let addresses: Vec<String> = endpoint.addresses().map(|address| address.to_string()).collect();
        let mut line = format!("{} {}", addresses.join(","), endpoint.container);
        // Nobody can ask for a name that has a space.
        let is_asked_for = |name: &&String| !endpoint.withdrawn && !name.contains(char::is_whitespace);
        for name in endpoint.names.iter().filter(is_asked_for) {
            line.push(' ');
            line.push_str(name);
        }
        let json = serde_json::to_string(endpoint).map_err(|error| unreadable(Path::new(&endpoint.network), &error))?;
        Ok(Self(format!("{line}\t{json}")))
    }

    fn is_readable(&self) -> bool {
        let mut words = self.0.splitn(3, ' ');
        words.next().is_some_and(|first| first.split(',').all(|address| address.parse::<IpAddr>().is_ok()))
            && words.next().is_some_and(|container| !container.is_empty())
            && self.0.contains('\t')
    }

    fn head(&self) -> &str {
        self.0.split_once('\t').map_or("", |(head, _)| head)
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let words = self.head().split(' ').next().unwrap_or_default();
        words.split(',').filter_map(|address| address.parse().ok())
    }

    /// Id of the container.
    pub(crate) fn container(&self) -> &str {
        self.head().split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn is_of(&self, endpoint: &Endpoint) -> bool {
        self.container() == endpoint.container && self.addresses().any(|address| address == endpoint.address)
    }

    pub(crate) fn endpoint(&self) -> Result<Endpoint> {
        let json = self.0.split_once('\t').map_or("", |(_, json)| json);
        serde_json::from_str(json).map_err(|error| unreadable(Path::new(self.container()), &error))
    }

    /// What name servers of others answer from: a line an address, none while its names are withdrawn.
    fn announced(&self) -> String {
        let (_, names) = self.head().split_once(' ').unwrap_or_default();
        let lines = self.addresses().filter(|_| names.contains(' ')).map(|address| format!("{address} {names}\n"));
        lines.collect()
    }
}

impl Leases {
    /// None of this boot yet.
    pub(crate) fn of_boot(boot: &str) -> Self {
        Self { boot: boot.to_owned(), ..Self::default() }
    }

    /// What a file says, if it is of this boot; else none.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str, boot: &str) -> std::result::Result<Self, String> {
        let mut leases = Self::of_boot(boot);
        let mut lines = text.lines();
        match lines.next().map(|line| line.strip_prefix("boot ")) {
            None => return Ok(leases),
            Some(None) => return Err("it does not say of which boot it is".into()),
            Some(Some(other)) if other != boot => return Ok(leases),
            Some(Some(_)) => {}
        }
        for (number, line) in lines.enumerate() {
            let wrong = || format!("line {} can't be understood", number + 2);
            if let Some(rests) = line.strip_prefix("rests ") {
                let (address, at_ms) = rests.split_once(' ').ok_or_else(wrong)?;
                let address = address.parse().map_err(|_| wrong())?;
                leases.released.push(Released { address, at_ms: at_ms.parse().map_err(|_| wrong())? });
                continue;
            }
            let held = Held(line.to_owned());
            if !held.is_readable() {
                return Err(wrong());
            }
            leases.held.push(held);
        }
        Ok(leases)
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!("boot {}\n", self.boot);
        for released in &self.released {
            text.push_str(&format!("rests {} {}\n", released.address, released.at_ms));
        }
        for held in &self.held {
            text.push_str(&held.0);
            text.push('\n');
        }
        text
    }

    /// What name servers of those on the network answer from.
    pub(crate) fn announced(&self) -> String {
        self.held.iter().map(Held::announced).collect()
    }

    pub(crate) fn held(&self) -> &[Held] {
        &self.held
    }

    pub(crate) fn endpoints(&self) -> Result<Vec<Endpoint>> {
        self.held.iter().map(Held::endpoint).collect()
    }

    pub(crate) fn endpoint_of(&self, container: &str) -> Result<Option<Endpoint>> {
        self.held.iter().find(|held| held.container() == container).map(Held::endpoint).transpose()
    }

    pub(crate) fn add(&mut self, endpoint: &Endpoint) -> Result<()> {
        self.held.push(Held::of(endpoint)?);
        Ok(())
    }

    /// Writes down what has become of a container's endpoint, where it has one. `change` says whether it did change it.
    pub(crate) fn change(&mut self, container: &str, change: impl FnOnce(&mut Endpoint) -> bool) -> Result<bool> {
        let Some(held) = self.held.iter_mut().find(|held| held.container() == container) else { return Ok(false) };
        let mut endpoint = held.endpoint()?;
        let is_changed = change(&mut endpoint);
        if is_changed {
            *held = Held::of(&endpoint)?;
        }
        Ok(is_changed)
    }

    /// The address for a new endpoint: `fixed`, or the lowest that is free and rested. `now_ms` counts from the boot.
    pub(crate) fn choose(&mut self, network: &Network, fixed: Option<Ipv4Addr>, now_ms: u64) -> Result<Ipv4Addr> {
        self.released.retain(|released| now_ms.saturating_sub(released.at_ms) < REST_MS);
        if self.held.len() >= PORTS_PER_BRIDGE {
            let message = format!("network {} has {PORTS_PER_BRIDGE} containers on it already", network.name);
            return Err(Diagnostic::error(&codes::BRIDGE_FULL, message)
                .cause("a Linux bridge has no more ports")
                .hint("spread the containers over several networks")
                .boxed());
        }
        match self.choose_of(network, &network.range(), fixed.map(IpAddr::V4))? {
            IpAddr::V4(address) => Ok(address),
            // The range of a network is IPv4's.
            IpAddr::V6(_) => Ok(Ipv4Addr::UNSPECIFIED),
        }
    }

    /// The same for IPv6; none where the network has none.
    pub(crate) fn choose_ipv6(&self, network: &Network, fixed: Option<Ipv6Addr>) -> Result<Option<Ipv6Addr>> {
        let Some(range) = network.range_of_ipv6() else {
            return match fixed {
                Some(address) => {
                    let message = format!("{address} on network {}: it has no IPv6", network.name);
                    let hint = "make the network with --ipv6, or leave the address out";
                    Err(Diagnostic::error(&codes::INVALID_SUBNET, message).hint(hint).boxed())
                }
                None => Ok(None),
            };
        };
        Ok(match self.choose_of(network, &range, fixed.map(IpAddr::V6))? {
            IpAddr::V6(address) => Some(address),
            IpAddr::V4(_) => None,
        })
    }

    fn choose_of(&self, network: &Network, range: &Range, fixed: Option<IpAddr>) -> Result<IpAddr> {
        match fixed {
            Some(address) => self.check_fixed(network, range, address),
            None => self.lowest_free(network, range),
        }
    }

    fn check_fixed(&self, network: &Network, range: &Range, address: IpAddr) -> Result<IpAddr> {
        let subnet = range.subnet;
        if !subnet.has_host(address) {
            let message = format!("{address} is not an address of a host on network {} ({subnet})", network.name);
            return Err(Diagnostic::error(&codes::INVALID_SUBNET, message).boxed());
        }
        let holder = if address == range.gateway {
            Some("it is the gateway".to_owned())
        } else {
            let held = self.held.iter().find(|held| held.addresses().any(|own| own == address));
            held.map(|held| format!("container {} holds it", held.container().get(..12).unwrap_or(held.container())))
        };
        match holder {
            Some(holder) => {
                let message = format!("{address} on network {} is taken", network.name);
                Err(Diagnostic::error(&codes::ADDRESS_TAKEN, message).cause(holder).boxed())
            }
            // Whoever names an address gets it at once: it is nearly always its former holder that returns.
            None => Ok(address),
        }
    }

    fn lowest_free(&self, network: &Network, range: &Range) -> Result<IpAddr> {
        let mut taken: BTreeSet<IpAddr> = self.held.iter().flat_map(Held::addresses).collect();
        taken.extend(self.released.iter().map(|released| released.address));
        taken.extend(range.reserved.values());
        taken.insert(range.gateway);
        let part = range.ip_range.unwrap_or(range.subnet);
        // No more than these can be taken, so one of so many and one is free where there are as many.
        let places = 0..=taken.len() as u128 + 2;
        let mut candidates = places.map(|place| part.nth(place));
        let free = candidates.find(|candidate| range.subnet.has_host(*candidate) && !taken.contains(candidate));
        free.ok_or_else(|| {
            let message = format!("network {} has no free address in {part}", network.name);
            Diagnostic::error(&codes::NO_ADDRESS, message)
                .cause(format!("{} containers hold addresses, {} addresses rest", self.held.len(), self.released.len()))
                .hint("make the network anew with a larger subnet, or remove containers")
                .boxed()
        })
    }

    /// Gives back every address that `is_given_back` says. Whether any was.
    pub(crate) fn release(&mut self, is_given_back: impl Fn(&Held) -> bool, now_ms: u64) -> bool {
        let (given_back, kept): (Vec<Held>, _) = std::mem::take(&mut self.held).into_iter().partition(is_given_back);
        self.held = kept;
        let addresses = given_back.iter().flat_map(Held::addresses);
        self.released.extend(addresses.map(|address| Released { address, at_ms: now_ms }));
        !given_back.is_empty()
    }
}

impl Networks {
    /// What is held on a network in this boot.
    ///
    /// # Errors
    /// `store/corrupt-record`, `network/kernel`.
    pub(crate) fn leases(&self, network: &str) -> Result<Leases> {
        let path = self.lease_path(network);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Leases::of_boot(boot_id()?)),
            read => read.context(|| format!("can't read {}", path.display()))?,
        };
        Leases::parse(&text, boot_id()?).map_err(|wrong| unreadable(&path, &wrong))
    }

    /// Replaces the file. The caller holds the lock of the networks.
    pub(crate) fn put_leases(&self, network: &str, leases: &Leases) -> Result<()> {
        file::replace(&self.lease_path(network), &leases.text())
    }

    /// The caller holds the lock of the networks.
    pub(crate) fn forget_leases(&self, network: &str) -> Result<()> {
        file::remove(&self.lease_path(network))
    }

    /// Networks that have a file of leases, sorted.
    pub(crate) fn leased_networks(&self) -> Result<Vec<String>> {
        let folder = self.file_folder();
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.context(|| format!("can't read {}", folder.display()))?,
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter_map(|name| Some(name.strip_suffix(SUFFIX)?.to_owned())).collect();
        names.sort();
        Ok(names)
    }

    /// Where the files of networks are that are void after a reboot.
    pub(crate) fn file_folder(&self) -> PathBuf {
        self.store.roots().run.join("networks")
    }

    pub(crate) fn lease_path(&self, network: &str) -> PathBuf {
        self.file_folder().join(format!("{network}{SUFFIX}"))
    }
}

fn unreadable(what: &Path, why: &dyn std::fmt::Display) -> Box<Diagnostic> {
    Diagnostic::error(&CORRUPT_RECORD, format!("can't read the addresses in use: {}", what.display()))
        .cause(why.to_string())
        .hint("the next command that starts or stops a container makes it anew of what the containers have")
        .boxed()
}

/// Milliseconds since the boot, suspended time included.
pub(crate) fn now_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

/// What tells this boot from every other.
pub(crate) fn boot_id() -> Result<&'static str> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot);
    }
    let text = std::fs::read_to_string(PATH).context(|| format!("can't read {PATH}"))?;
    Ok(BOOT.get_or_init(|| text.trim().to_owned()))
}
