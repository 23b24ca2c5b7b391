//! The packet filter (nf_tables), spoken to directly: a batch of changes is one transaction, and one send.
//!
//! Only the expressions that carrack's rules are made of. Every one that `iptables-nft` meets in a chain it shares with us
//! is one that it prints itself. Source: linux/netfilter/nf_tables.h.

mod table;

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socket_with};

pub use table::{table_comments, tables};

use crate::netlink::{Message, Refusal, Reply, Socket, attribute, attributes, replies, string};

/// Whose packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// Frames within bridges.
    Bridge = 7,
    /// IPv6.
    Ip6 = 10,
}

impl Family {
    fn of(number: u8) -> Option<Self> {
        [Self::Inet, Self::Ip, Self::Bridge, Self::Ip6].into_iter().find(|family| *family as u8 == number)
    }

    /// As `nft` writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Bridge => "bridge",
            Self::Ip6 => "ip6",
        }
    }
}

/// A table by family and name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Table {
    /// Whose packets it sees.
    pub family: Family,
    /// Unique within the family.
    pub name: String,
}

/// Where the kernel calls a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum HookPoint {
    /// Every packet that arrives.
    Prerouting = 0,
    /// Packets for this host.
    Input = 1,
    /// Packets on their way through.
    Forward = 2,
    /// Packets of this host.
    Output = 3,
    /// Every packet that leaves.
    Postrouting = 4,
}

/// How a base chain is hooked in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hook {
    /// Where.
    pub point: HookPoint,
    /// `filter` where false.
    pub is_nat: bool,
    /// Lower runs earlier; 0 is `filter`, −100 `dstnat`, 100 `srcnat`.
    pub priority: i32,
}

/// A named set of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Set<'a> {
    /// Unique within the table.
    pub name: &'a str,
    /// What a key is made of.
    pub key: KeyType,
    /// Whether elements are ranges.
    pub is_interval: bool,
}

/// What the keys of a set are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyType {
    /// 4 bytes.
    Ipv4Address,
    /// 16 bytes.
    Ipv6Address,
    /// 16 bytes, filled with zeros.
    InterfaceName,
    /// Two names, 32 bytes.
    InterfaceNamePair,
    /// Transport protocol and port, filled with zeros to 4 bytes each.
    Port,
    /// IPv4 address, transport protocol and port.
    Ipv4Socket,
    /// IPv6 address, transport protocol and port.
    Ipv6Socket,
}

// `nft`'s numbers of types.
const TYPE_IPV4_ADDRESS: u32 = 7;
const TYPE_IPV6_ADDRESS: u32 = 8;
const TYPE_PROTOCOL: u32 = 12;
const TYPE_SERVICE: u32 = 13;

impl KeyType {
    /// `nft`'s number of the type, six bits a part, and its length in bytes.
    fn number_and_length(self) -> (u32, u32) {
        const PORT: u32 = TYPE_PROTOCOL << 6 | TYPE_SERVICE;
        const INTERFACE_NAME: u32 = 41;
        match self {
            Self::Ipv4Address => (TYPE_IPV4_ADDRESS, 4),
            Self::Ipv6Address => (TYPE_IPV6_ADDRESS, 16),
            Self::Port => (PORT, 8),
            Self::Ipv4Socket => (TYPE_IPV4_ADDRESS << 12 | PORT, 12),
            Self::Ipv6Socket => (TYPE_IPV6_ADDRESS << 12 | PORT, 24),
            Self::InterfaceName => (INTERFACE_NAME, 16),
            Self::InterfaceNamePair => (INTERFACE_NAME << 6 | INTERFACE_NAME, 32),
        }
    }
}

/// A member of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    key: Vec<u8>,
    is_interval_end: bool,
    /// Of maps.
    data: Vec<u8>,
}

impl Element {
    /// An interface by name.
    pub fn interface(name: &str) -> Self {
        Self::key(interface_key(name))
    }

    /// A pair of interfaces by name.
    pub fn interface_pair(first: &str, second: &str) -> Self {
        Self::key([interface_key(first), interface_key(second)].concat())
    }

    fn key(key: Vec<u8>) -> Self {
        Self { key, is_interval_end: false, data: Vec::new() }
    }

    /// The addresses of a subnet, which the kernel keeps as a first and a first that is no longer in it.
    pub fn subnet(first: IpAddr, prefix: u8) -> Vec<Self> {
        let end = match first {
            IpAddr::V4(first) => {
                let size = 1_u64 << (32 - u32::from(prefix.min(32)));
                u32::try_from(u64::from(u32::from(first)) + size).ok().map(|end| end.to_be_bytes().to_vec())
            }
            IpAddr::V6(first) => {
                let size = 1_u128.checked_shl(128 - u32::from(prefix.min(128)));
                let end = size.and_then(|size| u128::from(first).checked_add(size));
                end.map(|end| end.to_be_bytes().to_vec())
            }
        };
        let mut elements = vec![Self::key(octets(first))];
        // Past the last address of all there is no end to write.
        elements.extend(end.map(|key| Self { is_interval_end: true, ..Self::key(key) }));
        elements
    }

    /// A port of the host, at one of its addresses or at any; with where it leads in a map.
    pub fn port(address: Option<IpAddr>, protocol: u8, port: u16, to: Option<(IpAddr, u16)>) -> Self {
        let mut key = address.map(octets).unwrap_or_default();
        key.extend([protocol, 0, 0, 0]);
        key.extend(port.to_be_bytes());
        key.extend([0; 2]);
        let mut data = Vec::new();
        if let Some((address, port)) = to {
            data.extend(octets(address));
            data.extend(port.to_be_bytes());
            data.extend([0; 2]);
        }
        Self { data, ..Self::key(key) }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn interface_key(name: &str) -> Vec<u8> {
    let mut key = name.as_bytes().to_vec();
    key.resize(libc::IFNAMSIZ, 0);
    key
}

/// One step of a rule. The first that does not hold ends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// The interface it came through is this one, or one whose name begins so where `is_prefix`.
    InputInterface {
        /// The name or its beginning.
        name: String,
        /// Whether it is a beginning.
        is_prefix: bool,
    },
    /// The interface it leaves through.
    OutputInterface {
        /// The name or its beginning.
        name: String,
        /// Whether it is a beginning.
        is_prefix: bool,
    },
    /// The interface it came through is in a set of names, or is not where `negated`.
    InputInterfaceIn {
        /// Name of the set.
        set: &'static str,
        /// Whether the opposite is asked.
        negated: bool,
    },
    /// The interface it leaves through.
    OutputInterfaceIn {
        /// Name of the set.
        set: &'static str,
        /// Whether the opposite is asked.
        negated: bool,
    },
    /// Both interfaces are in a set of pairs.
    InterfacesIn(&'static str),
    /// The packet is one of [`Family::Ip`] or [`Family::Ip6`]; before what looks at addresses, in a table that sees both.
    Version(Family),
    /// The IPv4 source address is in a set.
    SourceIn(&'static str),
    /// The IPv4 destination address is in a set.
    DestinationIn(&'static str),
    /// The IPv6 source address is in a set.
    Ipv6SourceIn(&'static str),
    /// The IPv6 destination address is in a set.
    Ipv6DestinationIn(&'static str),
    /// The destination is an address of this host.
    DestinationIsLocal,
    /// The IPv4 destination is none of 127.0.0.0/8.
    NotToLoopback,
    /// The IPv6 destination is not `::1`.
    NotToIpv6Loopback,
    /// The destination becomes what a map of [`KeyType::Port`] or, with the address, of sockets has for it.
    TranslateByMap {
        /// Name of the map.
        map: &'static str,
        /// [`Family::Ip`] or [`Family::Ip6`].
        family: Family,
        /// Whether the destination address is a part of the key.
        with_address: bool,
    },
    /// The IPv4 destination address.
    Destination(Ipv4Addr),
    /// TCP (6) or UDP (17).
    Protocol(u8),
    /// The destination port of TCP or UDP; after [`Self::Protocol`].
    DestinationPort(u16),
    /// The connection was set up before, or belongs to one that was.
    Established,
    /// The connection's destination was translated, or was not where false.
    DestinationTranslated(bool),
    /// Counts what came so far.
    Counter,
    /// Ends this base chain; later ones still judge.
    Accept,
    /// Ends all.
    Drop,
    /// The source becomes the address of the interface it leaves through.
    Masquerade,
    /// The destination becomes this.
    TranslateDestination(Ipv4Addr, u16),
}

const REGISTER_1: u32 = libc::NFT_REG_1 as u32;
const REGISTER_2: u32 = libc::NFT_REG_2 as u32;
/// The first of the registers of 4 bytes; four of them are one of 16.
const REGISTER_32: u32 = libc::NFT_REG32_00 as u32;
const REGISTER_VERDICT: u32 = libc::NFT_REG_VERDICT as u32;

const CT_ESTABLISHED_OR_RELATED: u32 = 1 << 1 | 1 << 2;
const CT_STATUS_DNAT: u32 = 1 << 5;

const FIB_RESULT_ADDRESS_TYPE: u32 = 3;
const FIB_DESTINATION: u32 = 1 << 1;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USER_DATA: u16 = 7;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;

impl Expression {
    fn write(&self, list: &mut Message) {
        match self {
            Self::InputInterface { name, is_prefix } => {
                load_meta(list, libc::NFT_META_IIFNAME, REGISTER_1);
                compare(list, libc::NFT_CMP_EQ, &interface_pattern(name, *is_prefix));
            }
            Self::OutputInterface { name, is_prefix } => {
                load_meta(list, libc::NFT_META_OIFNAME, REGISTER_1);
                compare(list, libc::NFT_CMP_EQ, &interface_pattern(name, *is_prefix));
            }
            Self::InputInterfaceIn { set, negated } => {
                load_meta(list, libc::NFT_META_IIFNAME, REGISTER_1);
                look_up(list, set, *negated);
            }
            Self::OutputInterfaceIn { set, negated } => {
                load_meta(list, libc::NFT_META_OIFNAME, REGISTER_1);
                look_up(list, set, *negated);
            }
            Self::InterfacesIn(set) => {
                load_meta(list, libc::NFT_META_IIFNAME, REGISTER_1);
                load_meta(list, libc::NFT_META_OIFNAME, REGISTER_2);
                look_up(list, set, false);
            }
            Self::SourceIn(set) => {
                load_payload(list, libc::NFT_PAYLOAD_NETWORK_HEADER, 12, 4);
                look_up(list, set, false);
            }
            Self::DestinationIn(set) => {
                load_payload(list, libc::NFT_PAYLOAD_NETWORK_HEADER, 16, 4);
                look_up(list, set, false);
            }
            Self::Ipv6SourceIn(set) => {
                load_payload(list, libc::NFT_PAYLOAD_NETWORK_HEADER, 8, 16);
                look_up(list, set, false);
            }
            Self::Ipv6DestinationIn(set) => {
                load_payload(list, libc::NFT_PAYLOAD_NETWORK_HEADER, 24, 16);
                look_up(list, set, false);
            }
            Self::Version(family) => {
                load_meta(list, libc::NFT_META_NFPROTO, REGISTER_1);
                compare(list, libc::NFT_CMP_EQ, &[*family as u8]);
            }
            Self::DestinationIsLocal => {
                expression(list, "fib", |data| {
                    number(data, 1, REGISTER_1);
                    number(data, 2, FIB_RESULT_ADDRESS_TYPE);
                    number(data, 3, FIB_DESTINATION);
                });
                compare(list, libc::NFT_CMP_EQ, &u32::from(libc::RTN_LOCAL).to_ne_bytes());
            }
            Self::NotToLoopback => {
                load_payload(list, libc::NFT_PAYLOAD_NETWORK_HEADER, 16, 1);
                compare(list, libc::NFT_CMP_NEQ, &[127]);
            }
            Self::NotToIpv6Loopback => {
                load_payload(list, libc::NFT_PAYLOAD_NETWORK_HEADER, 24, 16);
                compare(list, libc::NFT_CMP_NEQ, &std::net::Ipv6Addr::LOCALHOST.octets());
            }
            Self::TranslateByMap { map, family, with_address } => {
                translate_by_map(list, map, *family, *with_address);
            }
            Self::Destination(address) => {
                load_payload(list, libc::NFT_PAYLOAD_NETWORK_HEADER, 16, 4);
                compare(list, libc::NFT_CMP_EQ, &address.octets());
            }
            Self::Protocol(number) => {
                load_meta(list, libc::NFT_META_L4PROTO, REGISTER_1);
                compare(list, libc::NFT_CMP_EQ, &[*number]);
            }
            Self::DestinationPort(port) => {
                load_payload(list, libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
                compare(list, libc::NFT_CMP_EQ, &port.to_be_bytes());
            }
            Self::Established => test_ct_bits(list, libc::NFT_CT_STATE, CT_ESTABLISHED_OR_RELATED, true),
            Self::DestinationTranslated(wanted) => {
                test_ct_bits(list, libc::NFT_CT_STATUS, CT_STATUS_DNAT, *wanted);
            }
            Self::Counter => expression(list, "counter", |_| {}),
            Self::Accept => verdict(list, 1),
            Self::Drop => verdict(list, 0),
            Self::Masquerade => expression(list, "masq", |_| {}),
            Self::TranslateDestination(address, port) => translate_destination(list, *address, *port),
        }
    }
}

/// A name is compared with its terminating zero, a beginning without.
fn interface_pattern(name: &str, is_prefix: bool) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    if !is_prefix {
        bytes.push(0);
    }
    bytes
}

fn expression(list: &mut Message, name: &str, data: impl FnOnce(&mut Message)) {
    list.nested(LIST_ELEMENT, |element| {
        element.text(EXPRESSION_NAME, name).nested(EXPRESSION_DATA, data);
    });
}

fn number(message: &mut Message, kind: u16, value: u32) {
    message.attribute(kind, &value.to_be_bytes());
}

fn value(message: &mut Message, kind: u16, bytes: &[u8]) {
    message.nested(kind, |data| {
        data.attribute(DATA_VALUE, bytes);
    });
}

fn load_meta(list: &mut Message, key: i32, register: u32) {
    expression(list, "meta", |data| {
        number(data, 1, register);
        number(data, 2, key as u32);
    });
}

fn load_payload(list: &mut Message, base: i32, offset: u32, length: u32) {
    load_payload_to(list, REGISTER_1, base, offset, length);
}

fn load_payload_to(list: &mut Message, register: u32, base: i32, offset: u32, length: u32) {
    expression(list, "payload", |data| {
        number(data, 1, register);
        number(data, 2, base as u32);
        number(data, 3, offset);
        number(data, 4, length);
    });
}

fn compare(list: &mut Message, operator: i32, bytes: &[u8]) {
    expression(list, "cmp", |data| {
        number(data, 1, REGISTER_1);
        number(data, 2, operator as u32);
        value(data, 3, bytes);
    });
}

fn look_up(list: &mut Message, set: &str, negated: bool) {
    expression(list, "lookup", |data| {
        data.text(1, set);
        number(data, 2, REGISTER_1);
        if negated {
            number(data, 5, libc::NFT_LOOKUP_F_INV as u32);
        }
    });
}

fn test_ct_bits(list: &mut Message, key: i32, mask: u32, wanted: bool) {
    expression(list, "ct", |data| {
        number(data, 1, REGISTER_1);
        number(data, 2, key as u32);
    });
    expression(list, "bitwise", |data| {
        number(data, 1, REGISTER_1);
        number(data, 2, REGISTER_1);
        number(data, 3, 4);
        value(data, 4, &mask.to_ne_bytes());
        value(data, 5, &[0; 4]);
    });
    compare(list, if wanted { libc::NFT_CMP_NEQ } else { libc::NFT_CMP_EQ }, &[0; 4]);
}

fn verdict(list: &mut Message, code: u32) {
    expression(list, "immediate", |data| {
        number(data, 1, REGISTER_VERDICT);
        data.nested(2, |immediate| {
            immediate.nested(DATA_VERDICT, |verdict| number(verdict, 1, code));
        });
    });
}

fn translate_destination(list: &mut Message, address: Ipv4Addr, port: u16) {
    for (register, bytes) in [(REGISTER_1, &address.octets()[..]), (REGISTER_2, &port.to_be_bytes()[..])] {
        expression(list, "immediate", |data| {
            number(data, 1, register);
            value(data, 2, bytes);
        });
    }
    expression(list, "nat", |data| {
        number(data, 1, libc::NFT_NAT_DNAT as u32);
        number(data, 2, u32::from(Family::Ip as u8));
        number(data, 3, REGISTER_1);
        number(data, 5, REGISTER_2);
    });
}

fn translate_by_map(list: &mut Message, map: &str, family: Family, with_address: bool) {
    let (offset, length) = if family == Family::Ip { (16, 4) } else { (24, 16) };
    let mut register = REGISTER_32;
    if with_address {
        load_payload_to(list, register, libc::NFT_PAYLOAD_NETWORK_HEADER, offset, length);
        register += length / 4;
    }
    load_meta(list, libc::NFT_META_L4PROTO, register);
    load_payload_to(list, register + 1, libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2);
    expression(list, "lookup", |data| {
        data.text(1, map);
        number(data, 2, REGISTER_32);
        number(data, 3, REGISTER_32);
    });
    expression(list, "nat", |data| {
        number(data, 1, libc::NFT_NAT_DNAT as u32);
        number(data, 2, u32::from(family as u8));
        number(data, 3, REGISTER_32);
        number(data, 5, REGISTER_32 + length / 4);
    });
}

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
const HEADER_BYTES: usize = 4;

fn request(kind: i32, family: u8, flags: i32) -> Message {
    Message::new(SUBSYSTEM | kind as u16, flags as u16, &[family, 0, 0, 0])
}

fn batch_bound(kind: i32) -> Message {
    let [high, low] = (libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes();
    Message::new(kind as u16, 0, &[0, 0, high, low])
}

/// User data of a set by which `nft` prints interface names right: type 0, four bytes, 1 for the host's byte order.
const HOST_BYTE_ORDER: [u8; 6] = {
    let [a, b, c, d] = 1_u32.to_ne_bytes();
    [0, 4, a, b, c, d]
};

/// Changes that come true together or not at all.
#[derive(Debug)]
pub struct Batch {
    messages: Vec<Message>,
    sets: u32,
}

impl Default for Batch {
    fn default() -> Self {
        Self::new()
    }
}

impl Batch {
    /// No changes.
    pub fn new() -> Self {
        Self { messages: vec![batch_bound(libc::NFNL_MSG_BATCH_BEGIN)], sets: 0 }
    }

    /// Makes a chain unless it is there. A base chain's policy is to accept.
    pub fn add_chain(&mut self, table: &Table, name: &str, hook: Option<Hook>) -> &mut Self {
        let message = self.push(libc::NFT_MSG_NEWCHAIN, table, libc::NLM_F_CREATE);
        message.text(CHAIN_TABLE, &table.name).text(CHAIN_NAME, name);
        if let Some(hook) = hook {
            message.nested(CHAIN_HOOK, |nest| {
                number(nest, HOOK_NUMBER, hook.point as u32);
                nest.attribute(HOOK_PRIORITY, &hook.priority.to_be_bytes());
            });
            number(message, CHAIN_POLICY, 1);
            message.text(CHAIN_TYPE, if hook.is_nat { "nat" } else { "filter" });
        }
        self
    }

    /// Removes every rule of a chain.
    pub fn flush_chain(&mut self, table: &Table, chain: &str) -> &mut Self {
        self.push(libc::NFT_MSG_DELRULE, table, 0).text(RULE_TABLE, &table.name).text(RULE_CHAIN, chain);
        self
    }

    /// Makes a rule the last of its chain. `comment` is what `nft list` shows beside it, at most 127 bytes.
    pub fn append_rule(&mut self, table: &Table, chain: &str, rule: &[Expression], comment: &str) -> &mut Self {
        self.rule(libc::NLM_F_CREATE | libc::NLM_F_APPEND, table, chain, rule, comment)
    }

    /// Makes a rule the first of its chain, without a comment, as `iptables -I` does.
    pub fn insert_rule(&mut self, table: &Table, chain: &str, rule: &[Expression]) -> &mut Self {
        self.rule(libc::NLM_F_CREATE, table, chain, rule, "")
    }

    fn rule(&mut self, flags: i32, table: &Table, chain: &str, rule: &[Expression], comment: &str) -> &mut Self {
        let message = self.push(libc::NFT_MSG_NEWRULE, table, flags);
        message.text(RULE_TABLE, &table.name).text(RULE_CHAIN, chain);
        message.nested(RULE_EXPRESSIONS, |list| rule.iter().for_each(|expression| expression.write(list)));
        if !comment.is_empty() {
            // Type 0 is a comment: type, length, text with its zero.
            let mut data = vec![0, comment.len() as u8 + 1];
            data.extend_from_slice(comment.as_bytes());
            data.push(0);
            message.attribute(RULE_USER_DATA, &data);
        }
        self
    }

    /// Removes the rule with that handle.
    pub fn delete_rule(&mut self, table: &Table, chain: &str, handle: u64) -> &mut Self {
        let message = self.push(libc::NFT_MSG_DELRULE, table, 0);
        message.text(RULE_TABLE, &table.name).text(RULE_CHAIN, chain);
        message.attribute(RULE_HANDLE, &handle.to_be_bytes());
        self
    }

    /// Makes a set unless it is there.
    pub fn add_set(&mut self, table: &Table, set: &Set<'_>) -> &mut Self {
        self.new_set(table, set, None)
    }

    /// Makes a map unless it is there, from keys to an address of the family and a port.
    pub fn add_map(&mut self, table: &Table, name: &str, key: KeyType, family: Family) -> &mut Self {
        let (address, length) = if family == Family::Ip { (TYPE_IPV4_ADDRESS, 4) } else { (TYPE_IPV6_ADDRESS, 16) };
        let set = Set { name, key, is_interval: false };
        self.new_set(table, &set, Some((address << 6 | TYPE_SERVICE, length + 4)))
    }

    fn new_set(&mut self, table: &Table, set: &Set<'_>, data: Option<(u32, u32)>) -> &mut Self {
        self.sets += 1;
        let id = self.sets;
        let (key_type, key_length) = set.key.number_and_length();
        let interval = if set.is_interval { libc::NFT_SET_INTERVAL as u32 } else { 0 };
        let map = if data.is_some() { libc::NFT_SET_MAP as u32 } else { 0 };
        let message = self.push(libc::NFT_MSG_NEWSET, table, libc::NLM_F_CREATE);
        message.text(1, &table.name).text(2, set.name);
        number(message, 3, interval | map);
        number(message, 4, key_type);
        number(message, 5, key_length);
        if let Some((data_type, data_length)) = data {
            number(message, 6, data_type);
            number(message, 7, data_length);
        }
        number(message, 10, id);
        if set.key == KeyType::InterfaceName {
            message.attribute(13, &HOST_BYTE_ORDER);
        }
        self
    }

    /// Adds to a set what is not yet in it.
    pub fn add_elements(&mut self, table: &Table, set: &str, elements: &[Element]) -> &mut Self {
        self.elements(libc::NFT_MSG_NEWSETELEM, libc::NLM_F_CREATE, table, set, elements)
    }

    /// Removes from a set; all of them must be in it.
    pub fn delete_elements(&mut self, table: &Table, set: &str, elements: &[Element]) -> &mut Self {
        self.elements(libc::NFT_MSG_DELSETELEM, 0, table, set, elements)
    }

    fn elements(&mut self, kind: i32, flags: i32, table: &Table, set: &str, elements: &[Element]) -> &mut Self {
        if elements.is_empty() {
            return self;
        }
        let message = self.push(kind, table, flags);
        message.text(1, &table.name).text(2, set);
        message.nested(3, |list| {
            for element in elements {
                list.nested(LIST_ELEMENT, |nest| {
                    value(nest, 1, &element.key);
                    if !element.data.is_empty() {
                        value(nest, 2, &element.data);
                    }
                    if element.is_interval_end {
                        number(nest, 3, libc::NFT_SET_ELEM_INTERVAL_END as u32);
                    }
                });
            }
        });
        self
    }

    fn push(&mut self, kind: i32, table: &Table, flags: i32) -> &mut Message {
        let index = self.messages.len();
        self.messages.push(request(kind, table.family as u8, flags));
        &mut self.messages[index]
    }

    /// Makes the changes true. A refusal's index counts from 1 in the order of the calls, 0 is the batch itself (`EPERM`).
    pub fn commit(mut self, socket: &mut Socket) -> std::result::Result<(), Refusal> {
        self.messages.push(batch_bound(libc::NFNL_MSG_BATCH_END));
        let last = self.messages.len() - 1;
        socket.execute_flagged(&self.messages, |index| index != 0 && index != last)
    }
}

/// A chain as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its table.
    pub table: Table,
    /// Unique within the table.
    pub name: String,
    /// Number of the hook, for base chains.
    pub hook: Option<u32>,
    /// `filter`, `nat`, `route`, for base chains.
    pub kind: Option<String>,
    /// Lower runs earlier; 0 for chains without a hook.
    pub priority: i32,
    /// Whether what reaches its end is dropped.
    pub drops: bool,
}

/// A rule as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Unique within its table.
    pub handle: u64,
    /// Names and contents of its expressions.
    pub expressions: Vec<(String, Vec<u8>)>,
}

impl Rule {
    /// Whether one of its comparisons is with these bytes.
    pub fn compares_with(&self, bytes: &[u8]) -> bool {
        self.expressions.iter().any(|(name, data)| {
            name == "cmp" && attribute(data, 3).and_then(|data| attribute(data, DATA_VALUE)) == Some(bytes)
        })
    }

    /// The `NFT_META_*` keys that it loads.
    pub fn meta_keys(&self) -> impl Iterator<Item = i32> {
        let metas = self.expressions.iter().filter(|(name, _)| name == "meta");
        metas.filter_map(|(_, data)| Some(i32::from_be_bytes(attribute(data, 2)?.try_into().ok()?)))
    }

    /// Whether it ends a packet's way by itself: a drop verdict or a reject.
    pub fn drops(&self) -> bool {
        self.expressions.iter().any(|(name, data)| match name.as_str() {
            "reject" => true,
            "immediate" => verdict_code(data) == Some(0),
            _ => false,
        })
    }

    /// The chains that it hands packets on to.
    pub fn jumps(&self) -> impl Iterator<Item = String> {
        let verdicts = self.expressions.iter().filter(|(name, _)| name == "immediate");
        verdicts.filter_map(|(_, data)| {
            let verdict = attribute(attribute(data, 2)?, DATA_VERDICT)?;
            Some(string(attribute(verdict, VERDICT_CHAIN)?))
        })
    }

    /// Whether it may end a packet's way in a manner that can't be told from the rule alone: by a map of verdicts, a queue
    /// to a program, an extension of xtables that is not known to let everything pass.
    pub fn is_opaque(&self) -> bool {
        const HARMLESS: [&str; 12] =
            ["LOG", "NFLOG", "MARK", "CONNMARK", "CT", "TCPMSS", "TOS", "DSCP", "CLASSIFY", "TRACE", "ULOG", "ACCEPT"];
        self.expressions.iter().any(|(name, data)| match name.as_str() {
            "lookup" => attribute(data, LOOKUP_DESTINATION) == Some(&REGISTER_VERDICT.to_be_bytes()),
            "queue" | "synproxy" => true,
            "immediate" => verdict_code(data).is_some_and(|code| code & 0xff == VERDICT_QUEUE),
            "target" => attribute(data, 1).map(string).is_none_or(|target| !HARMLESS.contains(&target.as_str())),
            _ => false,
        })
    }
}

const VERDICT_CHAIN: u16 = 2;
const VERDICT_QUEUE: u32 = 3;
const LOOKUP_DESTINATION: u16 = 3;

fn verdict_code(immediate: &[u8]) -> Option<u32> {
    let verdict = attribute(attribute(immediate, 2)?, DATA_VERDICT)?;
    Some(u32::from_be_bytes(attribute(verdict, 1)?.try_into().ok()?))
}

/// Tells when somebody changes the packet filter of the namespace that it was opened in.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Sees changes from now on.
    pub fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(rustix::net::netlink::NETFILTER))?;
        let groups = 1 << (libc::NFNLGRP_NFTABLES - 1);
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self(fd))
    }

    /// Whether tables were changed since the last question whose name does not begin with `ignored`. More than was kept
    /// for us counts as a change.
    pub fn is_changed(&self, ignored: &str) -> bool {
        let mut buffer = [0; 8192];
        let mut changed = false;
        loop {
            match rustix::net::recv(&self.0, &mut buffer, RecvFlags::empty()) {
                Ok((0, _)) => return changed,
                Ok((length, _)) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    changed |= replies(bytes).any(|reply| reply.is_ok_and(|reply| concerns(&reply, ignored)));
                }
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => changed = true,
                Err(_) => return changed,
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Rules, chains and tables all name their table in the same place; sets only matter where a rule refers to them, which
/// can drop already.
fn concerns(change: &Reply<'_>, ignored: &str) -> bool {
    const KINDS: [i32; 6] = [
        libc::NFT_MSG_NEWTABLE,
        libc::NFT_MSG_DELTABLE,
        libc::NFT_MSG_NEWCHAIN,
        libc::NFT_MSG_DELCHAIN,
        libc::NFT_MSG_NEWRULE,
        libc::NFT_MSG_DELRULE,
    ];
    let kind = i32::from(change.kind) - i32::from(SUBSYSTEM);
    let table = change.payload.get(HEADER_BYTES..).and_then(|body| attribute(body, TABLE_NAME)).map(string);
    KINDS.contains(&kind) && table.is_some_and(|table| !table.starts_with(ignored))
}

/// All chains of the namespace.
pub fn chains(socket: &mut Socket) -> Result<Vec<Chain>> {
    list(socket, &request(libc::NFT_MSG_GETCHAIN, 0, libc::NLM_F_DUMP), read_chain)
}

/// Whether there is a chain of that name.
pub fn has_chain(socket: &mut Socket, table: &Table, chain: &str) -> Result<bool> {
    let mut message = request(libc::NFT_MSG_GETCHAIN, table.family as u8, 0);
    message.text(CHAIN_TABLE, &table.name).text(CHAIN_NAME, chain);
    match list(socket, &message, read_chain) {
        Ok(chains) => Ok(!chains.is_empty()),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The rules of a chain, in order; none where the chain is missing.
pub fn rules(socket: &mut Socket, table: &Table, chain: &str) -> Result<Vec<Rule>> {
    let mut message = request(libc::NFT_MSG_GETRULE, table.family as u8, libc::NLM_F_DUMP);
    message.text(RULE_TABLE, &table.name).text(RULE_CHAIN, chain);
    list(socket, &message, read_rule)
}

fn list<T>(socket: &mut Socket, message: &Message, read: impl Fn(Family, &[u8]) -> Option<T>) -> Result<Vec<T>> {
    socket.query(message, |reply: &Reply<'_>| {
        let family = Family::of(*reply.payload.first()?)?;
        read(family, reply.payload.get(HEADER_BYTES..)?)
    })
}

fn read_rule(_: Family, body: &[u8]) -> Option<Rule> {
    let handle = u64::from_be_bytes(attribute(body, RULE_HANDLE)?.try_into().ok()?);
    let expressions = attributes(attribute(body, RULE_EXPRESSIONS)?).filter_map(|(_, element)| {
        let data = attribute(element, EXPRESSION_DATA).unwrap_or_default();
        Some((string(attribute(element, EXPRESSION_NAME)?), data.to_vec()))
    });
    Some(Rule { handle, expressions: expressions.collect() })
}

fn read_chain(family: Family, body: &[u8]) -> Option<Chain> {
    let u32_of = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    let of_hook = |kind| attribute(body, CHAIN_HOOK).and_then(|hook| attribute(hook, kind)).and_then(u32_of);
    Some(Chain {
        table: Table { family, name: string(attribute(body, CHAIN_TABLE)?) },
        name: string(attribute(body, CHAIN_NAME)?),
        hook: of_hook(HOOK_NUMBER),
        kind: attribute(body, CHAIN_TYPE).map(string),
        priority: of_hook(HOOK_PRIORITY).unwrap_or(0).cast_signed(),
        drops: attribute(body, CHAIN_POLICY).and_then(u32_of) == Some(0),
    })
}

#[cfg(test)]
mod tests;
