//! Diagnostic codes of this crate.

use carrack_diag::Code;

/// The kernel refused an operation on links, addresses, rules or namespaces.
pub static KERNEL: Code = Code {
    id: "network/kernel",
    title: "the kernel refused a network operation",
    cause: "A link, address, route, packet filter rule or namespace could not be made. Either the kernel lacks a part \
            (bridge, veth, nf_tables, nf_conntrack, nf_nat), or something else uses the same name or number.",
    check: "The message says which operation, its cause why; `dmesg` and `ip -d link`, `nft list ruleset` show the rest.",
    fix: "Load or install the missing kernel modules (`modprobe bridge veth nf_tables nft_masq nft_ct`), or remove what \
          stands in the way.",
};

/// Not enough rights for a network operation.
pub static NO_PERMISSION: Code = Code {
    id: "network/no-permission",
    title: "no permission for a network operation",
    cause: "Links, addresses and packet filter rules need CAP_NET_ADMIN, joining namespaces CAP_SYS_ADMIN.",
    check: "`id -u`, and `grep CapEff /proc/self/status` inside a container.",
    fix: "Run the command as root.",
};

/// A network that does not exist.
pub static UNKNOWN_NETWORK: Code = Code {
    id: "network/unknown-network",
    title: "no such network",
    cause: "No network of this root has that name.",
    check: "`carrack network ls`.",
    fix: "Make it with `carrack network create NAME`, or correct the name.",
};

/// A second network of one name.
pub static NAME_TAKEN: Code = Code {
    id: "network/name-taken",
    title: "there is already a network of that name",
    cause: "Names of networks are unique on a root.",
    check: "`carrack network inspect NAME`.",
    fix: "Use the existing network, remove it first, or choose another name.",
};

/// A network that containers are still on.
pub static IN_USE: Code = Code {
    id: "network/in-use",
    title: "the network has containers on it",
    cause: "A network can only be removed when no container holds an address of it.",
    check: "`carrack network inspect NAME` lists them.",
    fix: "Stop or disconnect the containers, then remove the network.",
};

/// Text that is not an address range.
pub static INVALID_SUBNET: Code = Code {
    id: "network/invalid-subnet",
    title: "malformed or unusable address range",
    cause: "A subnet is ADDRESS/PREFIX with an IPv4 address whose host part is zero and a prefix from 8 to 30; gateway, \
            range and fixed addresses lie inside of it.",
    check: "Read the value and its subnet; `172.20.0.0/16` is well-formed, `172.20.0.1/16` is not.",
    fix: "Correct the value, or leave it out and let carrack choose.",
};

/// A range that something on this host uses already.
pub static SUBNET_TAKEN: Code = Code {
    id: "network/subnet-taken",
    title: "the address range is in use on this host",
    cause: "Another network, interface or route of this host covers a part of the range; packets could not be told apart.",
    check: "`ip route show table all` and `carrack network ls`.",
    fix: "Choose another subnet, or remove what uses this one.",
};

/// No range left in the pools.
pub static POOL_EXHAUSTED: Code = Code {
    id: "network/pool-exhausted",
    title: "no free address range",
    cause: "All default ranges (172.17.0.0/16 to 172.31.0.0/16, 192.168.0.0/16 in twentieths) are covered by networks, \
            interfaces or routes of this host.",
    check: "`carrack network ls` and `ip route show table all`.",
    fix: "Remove unused networks (`carrack network prune`), or give the network a subnet of its own.",
};

/// A fixed address that somebody has.
pub static ADDRESS_TAKEN: Code = Code {
    id: "network/address-taken",
    title: "the address is in use",
    cause: "Another container, the gateway or a reservation holds the address, or it was released less than two seconds ago.",
    check: "`carrack network inspect NAME`.",
    fix: "Choose another address, or stop the container that holds it.",
};

/// No address left on a network.
pub static NO_ADDRESS: Code = Code {
    id: "network/no-address",
    title: "the network has no free address",
    cause: "Every address of its range is held, reserved, or was released less than two seconds ago.",
    check: "`carrack network inspect NAME`.",
    fix: "Remove containers, or make the network anew with a larger subnet.",
};

/// The kernel's limit of a bridge.
pub static BRIDGE_FULL: Code = Code {
    id: "network/bridge-full",
    title: "the bridge has no port left",
    cause: "A Linux bridge has at most 1,023 ports, so a network holds at most 1,023 running containers.",
    check: "`carrack network inspect NAME`.",
    fix: "Spread the containers over several networks.",
};

/// An option that carrack does not implement yet.
pub static NOT_YET: Code = Code {
    id: "network/not-yet",
    title: "network option not implemented yet",
    cause: "The option is Docker's and will come; until then it is refused instead of being ignored.",
    check: "The message names the option.",
    fix: "Remove the option.",
};

/// An option that nobody knows.
pub static UNKNOWN_OPTION: Code = Code {
    id: "network/unknown-option",
    title: "unknown or malformed network option",
    cause: "The bridge driver knows `com.docker.network.driver.mtu` and `com.docker.network.bridge.enable_ip_masquerade`.",
    check: "The message names the option and its value.",
    fix: "Correct or remove it.",
};

/// Another firewall drops what containers send.
pub static FIREWALL_DROPS: Code = Code {
    id: "network/firewall-drops",
    title: "another firewall may drop the containers' traffic",
    cause: "Packets between containers and the outside pass every forward chain of the host, and one that drops cannot \
            be overruled by another that accepts. The chain of the message drops, and no rule of it names carrack's interfaces.",
    check: "`nft list ruleset` or `iptables -S FORWARD`; try a connection from a container.",
    fix: "Add the rule that the hint shows to that firewall, and make it permanent with that firewall's own tools.",
};

/// The file with the host's resolvers.
pub static NO_RESOLVERS: Code = Code {
    id: "network/no-resolvers",
    title: "the host's resolvers are unknown",
    cause: "/etc/resolv.conf is missing, unreadable or names no server, so containers can resolve each other but nothing \
            outside.",
    check: "`cat /etc/resolv.conf`.",
    fix: "Name a server there, or give the container one with --dns.",
};

/// The lock that all roots of a host share.
pub static HOST_LOCKED: Code = Code {
    id: "network/host-locked",
    title: "another carrack holds the host's network lock",
    cause: "Address ranges and forwarding are chosen by one carrack at a time, whatever root it serves.",
    check: "`fuser /run/carrack-network.lock`.",
    fix: "Wait for the other command, or end it.",
};

/// All codes of this crate.
pub static ALL: &[&Code] = &[
    &ADDRESS_TAKEN,
    &BRIDGE_FULL,
    &FIREWALL_DROPS,
    &HOST_LOCKED,
    &INVALID_SUBNET,
    &IN_USE,
    &KERNEL,
    &NAME_TAKEN,
    &NOT_YET,
    &NO_ADDRESS,
    &NO_PERMISSION,
    &NO_RESOLVERS,
    &POOL_EXHAUSTED,
    &SUBNET_TAKEN,
    &UNKNOWN_NETWORK,
    &UNKNOWN_OPTION,
];
