//! Addresses in use on a network: a file on the run root, void after a reboot.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use carrack_diag::{Diagnostic, Result};
use serde::{Deserialize, Serialize};

use crate::fault::Context as _;
use crate::network::Range;
use crate::{Endpoint, Network, PORTS_PER_BRIDGE, codes};

/// How long a released address rests, so that nobody's cached answer or late packet reaches a stranger.
pub(crate) const REST_MS: u64 = 2000;

/// The file of one network.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Leases {
    boot: String,
    pub(crate) endpoints: Vec<Endpoint>,
    released: Vec<Released>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Released {
    address: IpAddr,
    at_ms: u64,
}

impl Leases {
    /// Makes leases of another boot, or none, into none of this boot.
    pub(crate) fn of_boot(found: Option<Self>, boot: &str) -> Self {
        found.filter(|leases| leases.boot == boot).unwrap_or_else(|| Self { boot: boot.to_owned(), ..Self::default() })
    }

    /// The address for a new endpoint: `fixed`, or the lowest that is free and rested. `now_ms` counts from the boot.
    pub(crate) fn choose(&mut self, network: &Network, fixed: Option<Ipv4Addr>, now_ms: u64) -> Result<Ipv4Addr> {
        self.released.retain(|released| now_ms.saturating_sub(released.at_ms) < REST_MS);
        if self.endpoints.len() >= PORTS_PER_BRIDGE {
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
            let held = self.endpoints.iter().find(|endpoint| endpoint.addresses().any(|own| own == address));
            held.map(|endpoint| {
                format!("container {} holds it", &endpoint.container[..endpoint.container.len().min(12)])
            })
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
        let mut taken: BTreeSet<IpAddr> = self.endpoints.iter().flat_map(Endpoint::addresses).collect();
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
                .cause(format!(
                    "{} containers hold addresses, {} addresses rest",
                    self.endpoints.len(),
                    self.released.len()
                ))
                .hint("make the network anew with a larger subnet, or remove containers")
                .boxed()
        })
    }

    /// Gives back every address that `is_given_back` says.
    pub(crate) fn release(&mut self, is_given_back: impl Fn(&Endpoint) -> bool, now_ms: u64) {
        let (given_back, kept) = std::mem::take(&mut self.endpoints).into_iter().partition(is_given_back);
        self.endpoints = kept;
        let given_back: Vec<Endpoint> = given_back;
        let addresses = given_back.iter().flat_map(Endpoint::addresses);
        self.released.extend(addresses.map(|address| Released { address, at_ms: now_ms }));
    }
}

/// Milliseconds since the boot, suspended time included.
pub(crate) fn now_ms() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1000 + u64::try_from(time.tv_nsec).unwrap_or(0) / 1_000_000
}

/// What tells this boot from every other.
pub(crate) fn boot_id() -> Result<String> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    let text = std::fs::read_to_string(PATH).context(|| format!("can't read {PATH}"))?;
    Ok(text.trim().to_owned())
}
