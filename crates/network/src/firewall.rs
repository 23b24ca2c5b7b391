//! The root's own table. Its rules never change: networks are elements of its sets.
//!
//! ```text
//! table ip carrack-TAG
//!   forward      what was set up before passes; within a network everything; into an internal network or out of it
//!                nothing; into other networks what was published (destination translated), nothing else
//!   postrouting  what leaves takes the host's address, and so does what returns to the network it came from
//! ```
//! An accept here ends this chain only: every other chain of the host still judges the packet, and a drop is final.
//! Published ports on the kernel's path will be a map of this table with chains at prerouting and output.

use carrack_diag::Result;
use carrack_sys::netlink::Socket;
use carrack_sys::nftables::{Batch, Element, Expression as E, Family, Hook, HookPoint, KeyType, Set, Table, has_chain};
use rustix::io::Errno;

use crate::Network;
use crate::fault::Context as _;

const SUBNETS: &str = "subnets";
const MASQUERADED: &str = "masqueraded";
const BRIDGES: &str = "bridges";
const INTERNAL: &str = "internal";
const SAME: &str = "same";

const FORWARD: &str = "forward";
const POSTROUTING: &str = "postrouting";

/// What the names of the tables of all roots begin with.
pub(crate) const TABLE_PREFIX: &str = "carrack-";

/// The root's table.
pub(crate) fn table(tag: &str) -> Table {
    Table { family: Family::Ip, name: format!("{TABLE_PREFIX}{tag}") }
}

/// Whether the root has its table.
pub(crate) fn exists(socket: &mut Socket, tag: &str) -> Result<bool> {
    let table = table(tag);
    has_chain(socket, &table, POSTROUTING).context(|| format!("can't look at the packet filter's table {}", table.name))
}

/// Makes the table where it is missing, and the network a part of it.
pub(crate) fn add_network(socket: &mut Socket, tag: &str, network: &Network) -> Result<()> {
    let table = table(tag);
    let mut batch = Batch::new();
    if !exists(socket, tag)? {
        declare(&mut batch, &table);
    }
    for (set, elements) in elements(network) {
        batch.add_elements(&table, set, &elements);
    }
    batch.commit(socket).context(|| format!("can't add network {} to the packet filter", network.name))
}

/// Makes the table without networks, to see whether it can be made.
pub(crate) fn try_table(socket: &mut Socket) -> Result<()> {
    let mut batch = Batch::new();
    declare(&mut batch, &table("probe"));
    batch.commit(socket).context(|| "can't make the packet filter's table".into())
}

/// Takes the network out; with the last one goes the table.
pub(crate) fn remove_network(socket: &mut Socket, tag: &str, network: &Network, is_last: bool) -> Result<()> {
    if !exists(socket, tag)? {
        return Ok(());
    }
    if is_last {
        return remove_table(socket, &table(tag));
    }
    for (set, elements) in elements(network) {
        let mut batch = Batch::new();
        batch.delete_elements(&table(tag), set, &elements);
        match batch.commit(socket) {
            // A removal that was interrupted went this far.
            Err(refusal) if refusal.error == Errno::NOENT => {}
            other => other.context(|| format!("can't take network {} out of the packet filter", network.name))?,
        }
    }
    Ok(())
}

pub(crate) fn remove_table(socket: &mut Socket, table: &Table) -> Result<()> {
    let mut batch = Batch::new();
    batch.delete_table(table);
    batch.commit(socket).context(|| format!("can't remove the packet filter's table {}", table.name))
}

fn elements(network: &Network) -> Vec<(&'static str, Vec<Element>)> {
    let bridge = network.bridge.as_str();
    let subnet = Element::subnet(network.subnet.first(), network.subnet.prefix());
    let mut elements = vec![
        (SUBNETS, subnet.clone()),
        (BRIDGES, vec![Element::interface(bridge)]),
        (SAME, vec![Element::interface_pair(bridge, bridge)]),
    ];
    if network.internal {
        elements.push((INTERNAL, vec![Element::interface(bridge)]));
    }
    if network.masquerade {
        elements.push((MASQUERADED, subnet));
    }
    elements
}

fn declare(batch: &mut Batch, table: &Table) {
    batch.add_table(table);
    let set = |name, key, is_interval| Set { name, key, is_interval };
    for set in [
        set(SUBNETS, KeyType::Ipv4Address, true),
        set(MASQUERADED, KeyType::Ipv4Address, true),
        set(BRIDGES, KeyType::InterfaceName, false),
        set(INTERNAL, KeyType::InterfaceName, false),
        set(SAME, KeyType::InterfaceNamePair, false),
    ] {
        batch.add_set(table, &set);
    }
    batch.add_chain(table, FORWARD, Some(Hook { point: HookPoint::Forward, is_nat: false, priority: 0 }));
    batch.add_chain(table, POSTROUTING, Some(Hook { point: HookPoint::Postrouting, is_nat: true, priority: 100 }));
    let from = |set, negated| E::InputInterfaceIn { set, negated };
    let to = |set, negated| E::OutputInterfaceIn { set, negated };
    for (rule, why) in [
        (vec![E::Established, E::Accept], "what was let through before"),
        // Frames within a bridge come here where bridge-nf-call-iptables is 1.
        (vec![E::InterfacesIn(SAME), E::Accept], "within one network"),
        (vec![from(INTERNAL, false), E::Counter, E::Drop], "nothing leaves an internal network"),
        (vec![to(INTERNAL, false), E::Counter, E::Drop], "nothing enters an internal network"),
        (vec![to(BRIDGES, false), E::DestinationTranslated(true), E::Accept], "published ports"),
        (vec![to(BRIDGES, false), E::Counter, E::Drop], "not published, or from another network"),
    ] {
        batch.append_rule(table, FORWARD, &rule, why);
    }
    let hairpin = [E::DestinationTranslated(true), E::SourceIn(SUBNETS), E::DestinationIn(SUBNETS), E::Masquerade];
    batch.append_rule(table, POSTROUTING, &hairpin, "to a published port and back into its network");
    let outward = [E::SourceIn(MASQUERADED), to(BRIDGES, true), E::Masquerade];
    batch.append_rule(table, POSTROUTING, &outward, "outward");
}
