//! The root's own table. Its rules never change but in one way: networks and published ports are elements of its sets and
//! maps, and the kernel path is open or shut as a whole.
//!
//! ```text
//! table inet carrack-TAG
//!   forward      what was set up before passes; within a network everything; into an internal network or out of it
//!                nothing; into other networks what was published (destination translated), nothing else
//!   prerouting   while the kernel path is open: what comes for a published port of this host goes to its container
//!   output       the same for what this host itself sends to an address of its own but loopback
//!   postrouting  what leaves takes the host's address, and so does what returns to the network it came from
//! ```
//! An accept here ends this chain only: every other chain of the host still judges the packet, and a drop is final.
//!
//! What the kernel path translates passes no INPUT chain: [`crate::obstacles`] says when it may be open. A port is
//! bound on the host by its container's shim either way, and while the path is shut the shim forwards.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use carrack_diag::Result;
use carrack_sys::netlink::Socket;
use carrack_sys::nftables::{
    Batch, Element, Expression as E, Family, Hook, HookPoint, KeyType, Set, Table, has_chain, rules,
};
use rustix::io::Errno;

use crate::Network;
use crate::fault::Context as _;

const SUBNETS: &str = "subnets";
const MASQUERADED: &str = "masqueraded";
const BRIDGES: &str = "bridges";
const INTERNAL: &str = "internal";
const SAME: &str = "same";

const FORWARD: &str = "forward";
const PREROUTING: &str = "prerouting";
const OUTPUT: &str = "output";
const POSTROUTING: &str = "postrouting";

/// Ports of every address of the host, and of one.
const PORTS: &str = "ports";
const SOCKETS: &str = "sockets";

/// `NF_IP_PRI_NAT_DST`, where the destination is translated: chains that run later see the container's.
pub(crate) const PRIORITY_DNAT: i32 = -100;

/// What the names of the tables of all roots begin with.
pub(crate) const TABLE_PREFIX: &str = "carrack-";

/// What stands before the data root's path in the comment of its table.
pub(crate) const ROOT_COMMENT: &str = "of the data root ";

/// A port of the host as it leads to a container in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Translation {
    pub(crate) host: SocketAddr,
    /// Number of the transport protocol.
    pub(crate) protocol: u8,
    pub(crate) to: SocketAddr,
}

/// The root's table.
pub(crate) fn table(tag: &str) -> Table {
    Table { family: Family::Inet, name: format!("{TABLE_PREFIX}{tag}") }
}

/// Whether the root has its table.
pub(crate) fn exists(socket: &mut Socket, tag: &str) -> Result<bool> {
    let table = table(tag);
    has_chain(socket, &table, POSTROUTING).context(|| format!("can't look at the packet filter's table {}", table.name))
}

/// Makes the table where it is missing, and the network a part of it.
pub(crate) fn add_network(socket: &mut Socket, root: &Path, tag: &str, network: &Network) -> Result<()> {
    let table = table(tag);
    let mut batch = Batch::new();
    if !exists(socket, tag)? {
        declare(&mut batch, &table, root);
    }
    for (set, elements) in elements(network) {
        batch.add_elements(&table, set, &elements);
    }
    batch.commit(socket).context(|| format!("can't add network {} to the packet filter", network.name))
}

/// Makes the table without networks, with the kernel path open, to see whether it can be made.
pub(crate) fn try_table(socket: &mut Socket) -> Result<()> {
    let mut batch = Batch::new();
    let table = table("probe");
    declare(&mut batch, &table, Path::new("probe"));
    append_kernel_path(&mut batch, &table);
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
    let attempt = || format!("can't take network {} out of the packet filter", network.name);
    delete_present(socket, tag, &elements(network)).context(attempt)
}

pub(crate) fn remove_table(socket: &mut Socket, table: &Table) -> Result<()> {
    let mut batch = Batch::new();
    batch.delete_table(table);
    batch.commit(socket).context(|| format!("can't remove the packet filter's table {}", table.name))
}

/// Leads ports of the host to containers, as far as the kernel path is open.
pub(crate) fn add_translations(socket: &mut Socket, tag: &str, translations: &[Translation]) -> Result<()> {
    let mut batch = Batch::new();
    for translation in translations {
        let (map, element) = element(translation, true);
        batch.add_elements(&table(tag), map, &[element]);
    }
    batch.commit(socket).context(|| "can't lead published ports to their container".into())
}

/// The reverse of [`add_translations`].
pub(crate) fn remove_translations(socket: &mut Socket, tag: &str, translations: &[Translation]) -> Result<()> {
    let elements: Vec<_> = translations.iter().map(|translation| element(translation, false)).collect();
    let elements: Vec<_> = elements.into_iter().map(|(map, element)| (map, vec![element])).collect();
    delete_present(socket, tag, &elements).context(|| "can't take back published ports".into())
}

/// All at once, or one by one where some are gone already: a removal that was interrupted went that far, or somebody
/// flushed the table.
fn delete_present(
    socket: &mut Socket,
    tag: &str,
    elements: &[(&'static str, Vec<Element>)],
) -> std::result::Result<(), carrack_sys::netlink::Refusal> {
    let table = table(tag);
    let mut batch = Batch::new();
    for (set, elements) in elements {
        batch.delete_elements(&table, set, elements);
    }
    match batch.commit(socket) {
        Err(refusal) if refusal.error == Errno::NOENT && elements.len() > 1 => {
            elements.iter().try_for_each(|one| delete_present(socket, tag, std::slice::from_ref(one)))
        }
        Err(refusal) if refusal.error == Errno::NOENT => Ok(()),
        other => other,
    }
}

/// Whether the kernel path is open.
pub(crate) fn is_kernel_path_open(socket: &mut Socket, tag: &str) -> Result<bool> {
    let present = rules(socket, &table(tag), PREROUTING).context(|| "can't look at the kernel path".into())?;
    Ok(!present.is_empty())
}

/// Opens or shuts the kernel path. Connections that it has set up go on.
pub(crate) fn set_kernel_path(socket: &mut Socket, tag: &str, open: bool) -> Result<()> {
    let table = table(tag);
    let mut batch = Batch::new();
    batch.flush_chain(&table, PREROUTING).flush_chain(&table, OUTPUT);
    if open {
        append_kernel_path(&mut batch, &table);
    }
    let word = if open { "open" } else { "shut" };
    batch.commit(socket).context(|| format!("can't {word} the kernel path of published ports"))
}

fn append_kernel_path(batch: &mut Batch, table: &Table) {
    for family in [Family::Ip, Family::Ip6] {
        // 127.0.0.1 is the shim's: what comes for it from elsewhere is forged, and the kernel judges that after this chain.
        let not_loopback = if family == Family::Ip { E::NotToLoopback } else { E::NotToIpv6Loopback };
        for with_address in [true, false] {
            let map = map_name(family, with_address);
            let translate = E::TranslateByMap { map, family, with_address };
            let rule = [E::Version(family), not_loopback.clone(), E::DestinationIsLocal, translate];
            for chain in [PREROUTING, OUTPUT] {
                batch.append_rule(table, chain, &rule, "published ports");
            }
        }
    }
}

fn map_name(family: Family, with_address: bool) -> &'static str {
    match (family, with_address) {
        (Family::Ip6, false) => "ports6",
        (Family::Ip6, true) => "sockets6",
        (_, false) => PORTS,
        (_, true) => SOCKETS,
    }
}

fn family_of(address: IpAddr) -> Family {
    if address.is_ipv4() { Family::Ip } else { Family::Ip6 }
}

fn element(translation: &Translation, with_data: bool) -> (&'static str, Element) {
    let Translation { host, protocol, to } = translation;
    let address = Some(host.ip()).filter(|address| !address.is_unspecified());
    let to = with_data.then_some((to.ip(), to.port()));
    let element = Element::port(address, *protocol, host.port(), to);
    (map_name(family_of(host.ip()), address.is_some()), element)
}

fn elements(network: &Network) -> Vec<(&'static str, Vec<Element>)> {
    let bridge = network.bridge.as_str();
    let mut elements = vec![(BRIDGES, vec![Element::interface(bridge)])];
    elements.push((SAME, vec![Element::interface_pair(bridge, bridge)]));
    if network.internal {
        elements.push((INTERNAL, vec![Element::interface(bridge)]));
    }
    let subnet = Element::subnet(network.subnet.first().into(), network.subnet.prefix());
    if network.masquerade {
        elements.push((MASQUERADED, subnet.clone()));
    }
    elements.push((SUBNETS, subnet));
    elements
}

fn declare(batch: &mut Batch, table: &Table, root: &Path) {
    batch.add_table_with_comment(table, &format!("{ROOT_COMMENT}{}", root.display()));
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
    for (family, socket) in [(Family::Ip, KeyType::Ipv4Socket), (Family::Ip6, KeyType::Ipv6Socket)] {
        batch.add_map(table, map_name(family, false), KeyType::Port, family);
        batch.add_map(table, map_name(family, true), socket, family);
    }
    let nat = |point, priority| Some(Hook { point, is_nat: true, priority });
    batch.add_chain(table, FORWARD, Some(Hook { point: HookPoint::Forward, is_nat: false, priority: 0 }));
    batch.add_chain(table, PREROUTING, nat(HookPoint::Prerouting, PRIORITY_DNAT));
    batch.add_chain(table, OUTPUT, nat(HookPoint::Output, PRIORITY_DNAT));
    batch.add_chain(table, POSTROUTING, nat(HookPoint::Postrouting, 100));
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
    let version = E::Version(Family::Ip);
    let translated = E::DestinationTranslated(true);
    let hairpin = [version.clone(), translated, E::SourceIn(SUBNETS), E::DestinationIn(SUBNETS), E::Masquerade];
    batch.append_rule(table, POSTROUTING, &hairpin, "to a published port and back into its network");
    let outward = [version, E::SourceIn(MASQUERADED), to(BRIDGES, true), E::Masquerade];
    batch.append_rule(table, POSTROUTING, &outward, "outward");
}
