//! Networks of one host: bridges with address ranges, the addresses and names of containers on them, the packet filter
//! that keeps them apart, and what the host's resolvers and listening processes mean for containers.
//!
//! This crate never starts, stops or judges a container, and never changes a firewall rule, address or link that carries
//! neither this root's tag nor carrack's own name.
//!
//! What is true is asked of the kernel, in the network namespace of the calling thread; records say what was wanted.
//! Networks live in `networks/NAME.json` of the data root, the addresses in use in `networks/NAME.leases` of the run root.

mod attach;
pub mod codes;
mod endpoint;
mod fault;
mod file;
mod firewall;
mod forwarding;
mod holder;
mod host_lock;
mod leak;
mod lease;
mod names;
mod namespace;
mod network;
mod networks;
mod obstacles;
mod orphan;
mod other_firewalls;
pub mod probe;
mod publish;
mod relearn;
mod resolver;
mod subnet;
mod visitor;

pub use attach::PORTS_PER_BRIDGE;
pub use carrack_sys::netlink::route::Mac;
pub use endpoint::{Attachment, Endpoint, Ipv6Place};
pub use holder::{Holder, Transport, who_listens};
pub use leak::Leak;
pub use namespace::{DNS_ADDRESS, Namespace, NamespaceBirth};
pub use network::{DEFAULT_NETWORK, Ipv6Range, Network, Wanted, WantedIpv6};
pub use networks::Networks;
pub use obstacles::Obstacle;
pub use orphan::Orphan;
pub use publish::Publication;
pub use relearn::Running;
pub use resolver::{Resolvers, host_resolvers, hosts_file, resolv_conf};
pub use subnet::Subnet;
pub use visitor::{Visitor, connect};

#[cfg(test)]
mod tests;
