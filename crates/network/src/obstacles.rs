//! When the kernel path of published ports may be open.
//!
//! What it translates is forwarded and never passes the host's INPUT chains, which is how other engines open ports that
//! an administrator has closed. So it is open only while the host's rules can't make a difference: where no chain that
//! judges what this host receives can drop anything at all, and where what is forwarded to our bridges gets through. Not
//! which packets a rule drops is asked, only whether it can drop some: a rule is easily read wrongly, and shut the path
//! costs speed and the source address, but no port. What can't be read counts as dropping.
//!
//! Chains that run before destinations are translated see the packets of both ways, so they do not count.

use carrack_diag::Result;
use carrack_sys::netlink::Socket;
use carrack_sys::nftables::{Chain, Family, HookPoint, Rule, Table, rules};

use crate::fault::Context as _;
use crate::firewall::{PRIORITY_DNAT, TABLE_PREFIX};
use crate::networks::all_chains;
use crate::{forwarding, other_firewalls};

/// Something of the host's that the kernel path would pass by, or that would stop it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// The chain, as `nft` writes it: `inet firewalld filter_INPUT`.
    pub chain: String,
    /// What it does.
    pub cause: &'static str,
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.chain, self.cause)
    }
}

const POLICY: &str = "its policy is to drop";
const RULES: &str = "it has rules that can drop or reject";

/// Everything in the way of the kernel path; none opens it.
pub(crate) fn obstacles(filter: &mut Socket, tag: &str) -> Result<Vec<Obstacle>> {
    let all = all_chains(filter)?;
    let mut found = Vec::new();
    for chain in all.iter().filter(|chain| judges_what_arrives(chain)) {
        let cause = if chain.drops {
            POLICY
        } else if can_drop(filter, &all, chain)? {
            RULES
        } else {
            continue;
        };
        found.push(Obstacle { chain: place(chain), cause });
    }
    for chain in other_firewalls::forward_obstacles(filter, tag)? {
        let cause = if chain.drops { POLICY } else { RULES };
        found.push(Obstacle { chain: place(&chain), cause });
    }
    if other_firewalls::legacy_is_used() {
        let chain = "the legacy tables of iptables".to_owned();
        found.push(Obstacle { chain, cause: "they are in use, and what they drop can't be told from here" });
    }
    Ok(found)
}

fn place(chain: &Chain) -> String {
    let Table { family, name } = &chain.table;
    format!("{} {name} {}", family.name(), chain.name)
}

/// INPUT, and PREROUTING where destinations are translated already.
fn judges_what_arrives(chain: &Chain) -> bool {
    let is_ours = forwarding::is_shared(&chain.table) || chain.table.name.starts_with(TABLE_PREFIX);
    let sees_packets = matches!(chain.table.family, Family::Ip | Family::Ip6 | Family::Inet);
    let is_input = chain.hook == Some(HookPoint::Input as u32);
    let is_late = chain.hook == Some(HookPoint::Prerouting as u32) && chain.priority >= PRIORITY_DNAT;
    sees_packets && !is_ours && (is_input || is_late)
}

/// Whether a packet can be dropped in the chain, or in one that it hands packets on to.
fn can_drop(filter: &mut Socket, all: &[Chain], chain: &Chain) -> Result<bool> {
    let mut seen = vec![chain.name.clone()];
    let mut next = 0;
    while let Some(name) = seen.get(next).cloned() {
        next += 1;
        let present = rules(filter, &chain.table, &name).context(|| format!("can't list the rules of {name}"))?;
        if present.iter().any(|rule| rule.drops() || rule.is_opaque()) {
            return Ok(true);
        }
        for target in present.iter().flat_map(Rule::jumps) {
            let is_known = all.iter().any(|other| other.table == chain.table && other.name == target);
            if !is_known {
                return Ok(true);
            }
            if !seen.contains(&target) {
                seen.push(target);
            }
        }
    }
    Ok(false)
}
