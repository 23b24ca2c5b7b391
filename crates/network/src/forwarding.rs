//! Forwarding of IPv4 and of IPv6, which the kernel has once a network namespace each.
//!
//! Where it was off and we turn it on, the table `ip carrack` (`ip6 carrack`) says so: it drops what would now pass between the interfaces
//! that were there before, and its existence is the record that the sysctl is ours to turn off again. All roots share it.

use carrack_diag::Result;
use carrack_sys::netlink::Socket;
use carrack_sys::netlink::route::Link;
use carrack_sys::nftables::{Batch, Element, Expression as E, Family, Hook, HookPoint, KeyType, Set, Table, tables};

use crate::fault::Context as _;
use crate::firewall::{TABLE_PREFIX, remove_table};

const SYSCTL: &str = "/proc/sys/net/ipv4/ip_forward";
const SYSCTL_IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// Both, in the order in which they are turned on and off.
pub(crate) const FAMILIES: [Family; 2] = [Family::Ip, Family::Ip6];

fn sysctl(family: Family) -> &'static str {
    if family == Family::Ip6 { SYSCTL_IPV6 } else { SYSCTL }
}

const GUARDED: &str = "guarded";
const FORWARD: &str = "forward";

/// The table that all roots of a host share.
pub(crate) fn table(family: Family) -> Table {
    Table { family, name: "carrack".into() }
}

/// Whether the table is one that all roots share.
pub(crate) fn is_shared(table: &Table) -> bool {
    table.name == "carrack"
}

/// Turns forwarding on where it is off, guarding the interfaces that nobody meant to connect.
pub(crate) fn turn_on(filter: &mut Socket, links: &[Link], family: Family) -> Result<()> {
    let guarded = |link: &&Link| !link.is_loopback && link.bridge.is_none() && !is_ours(link);
    if is_on(family)? {
        // Hardware that was plugged in since is guarded too. What other programs made forwards by their intention.
        let hardware = links.iter().filter(guarded).filter(|link| link.kind.is_none());
        return if is_ours_to_turn_off(filter, family)? { guard(filter, hardware, family) } else { Ok(()) };
    }
    guard(filter, links.iter().filter(guarded), family)?;
    if family == Family::Ip6 {
        keep_router_advertisements(links)?;
    }
    set(family, true)
}

/// A host that forwards IPv6 stops listening to routers, and would lose its own default route; 2 has it go on.
fn keep_router_advertisements(links: &[Link]) -> Result<()> {
    for link in links.iter().filter(|link| !link.is_loopback && !is_ours(link)) {
        let path = format!("/proc/sys/net/ipv6/conf/{}/accept_ra", link.name.replace('/', "."));
        if std::fs::read_to_string(&path).is_ok_and(|text| text.trim() == "1") {
            std::fs::write(&path, "2").context(|| format!("can't keep the host's IPv6 routes ({path})"))?;
        }
    }
    Ok(())
}

/// After the last table of a root is gone: forwarding is what it was, unless somebody has come to need it.
pub(crate) fn turn_off_if_unused(filter: &mut Socket, links: &[Link]) -> Result<()> {
    if has_root(filter)? {
        return Ok(());
    }
    for family in FAMILIES {
        if !is_ours_to_turn_off(filter, family)? {
            continue;
        }
        let forwards =
            |link: &Link| matches!(link.kind.as_deref(), Some("bridge" | "tun" | "wireguard")) && !is_ours(link);
        if !links.iter().any(forwards) {
            set(family, false)?;
        }
        remove_table(filter, &table(family))?;
    }
    Ok(())
}

/// Whether some root turned it on.
fn is_ours_to_turn_off(filter: &mut Socket, family: Family) -> Result<bool> {
    Ok(all_tables(filter)?.contains(&table(family)))
}

/// Whether some root has networks on this host.
pub(crate) fn has_root(filter: &mut Socket) -> Result<bool> {
    Ok(all_tables(filter)?.iter().any(|table| table.name.starts_with(TABLE_PREFIX)))
}

pub(crate) fn all_tables(filter: &mut Socket) -> Result<Vec<Table>> {
    tables(filter).context(|| "can't list the packet filter's tables".into())
}

/// Of the network namespace of this thread.
pub(crate) fn set(family: Family, on: bool) -> Result<()> {
    let (path, value) = (sysctl(family), if on { "1" } else { "0" });
    std::fs::write(path, value).context(|| format!("can't set forwarding to {value} ({path})"))
}

/// In the network namespace of this thread; off where the kernel does not know the family.
pub(crate) fn is_on(family: Family) -> Result<bool> {
    let path = sysctl(family);
    match std::fs::read_to_string(path) {
        Err(error) if family == Family::Ip6 && error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        text => Ok(text.context(|| format!("can't read {path}"))?.trim() != "0"),
    }
}

fn is_ours(link: &Link) -> bool {
    let tag = link.name.strip_prefix("ck").and_then(|rest| rest.get(..8));
    tag.is_some_and(|tag| tag.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Declares the table and its one rule, and makes links subject to it.
fn guard<'a>(filter: &mut Socket, links: impl Iterator<Item = &'a Link>, family: Family) -> Result<()> {
    let table = table(family);
    let elements: Vec<Element> = links.map(|link| Element::interface(&link.name)).collect();
    let mut batch = Batch::new();
    if !is_ours_to_turn_off(filter, family)? {
        batch.add_table(&table);
        batch.add_set(&table, &Set { name: GUARDED, key: KeyType::InterfaceName, is_interval: false });
        batch.add_chain(&table, FORWARD, Some(Hook { point: HookPoint::Forward, is_nat: false, priority: 0 }));
        let rule = [
            E::InputInterfaceIn { set: GUARDED, negated: false },
            E::OutputInterfaceIn { set: GUARDED, negated: false },
            E::DestinationTranslated(false),
            E::Counter,
            E::Drop,
        ];
        batch.append_rule(&table, FORWARD, &rule, "carrack turned forwarding on, not for these");
    }
    batch.add_elements(&table, GUARDED, &elements);
    batch.commit(filter).context(|| "can't guard the host's interfaces before turning on forwarding".into())
}
