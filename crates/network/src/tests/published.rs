//! Published ports on the kernel path, and when it is shut. The forwarder has tests of its own: here a listener on the
//! host stands for it, and whoever accepts says which way a connection took.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::UdpSocket;

use super::*;
use crate::{Publication, Transport};

fn publication(host: (IpAddr, u16), transport: Transport, container_port: u16) -> Publication {
    Publication { host: host.into(), transport, container_port }
}

fn any() -> IpAddr {
    Ipv4Addr::UNSPECIFIED.into()
}

/// A container with a server at port 80 that is published at 8080, and the shim's listener there.
struct Published {
    container: Container,
    server: TcpListener,
    shim: TcpListener,
}

impl Published {
    fn at(host: &Host, network: &str, id: &str, address: IpAddr) -> Self {
        let container = host.container(id, &[network]);
        let server = listen(&container.namespace, 80);
        server.set_nonblocking(true).unwrap();
        let shim = TcpListener::bind((address, 8080)).unwrap();
        shim.set_nonblocking(true).unwrap();
        host.networks.publish(&container.endpoints, &[publication((address, 8080), Transport::Tcp, 80)]).unwrap();
        Self { container, server, shim }
    }

    /// Which of both a new connection was for, and from whom it came.
    fn accepted(&self) -> (&'static str, IpAddr) {
        for _ in 0..2000 {
            for (name, listener) in [("kernel", &self.server), ("shim", &self.shim)] {
                match listener.accept() {
                    Ok((_, peer)) => return (name, peer.ip()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                    Err(error) => panic!("{error}"),
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("a connection came about, and nobody has it");
    }

    fn way(&self, from: &Namespace, to: IpAddr) -> (&'static str, IpAddr) {
        let _connection = assert_reaches(from, to, 8080);
        self.accepted()
    }
}

fn nft(script: &str) -> Option<()> {
    output("nft", &[script]).map(drop)
}

#[test]
fn kernel_path_keeps_the_source_and_leaves_with_the_container() {
    on_both_hosts(|host| {
        let (outside, other) = (host.outside(0), host.outside(1));
        host.create("app");
        host.create("other");
        let published = Published::at(host, "app", "a", any());
        assert_eq!(host.networks.kernel_path_obstacles().unwrap(), []);
        assert_eq!(published.way(&outside.namespace, outside.host), ("kernel", outside.address));
        assert_eq!(published.way(&other.namespace, other.host), ("kernel", other.address));
        // Siblings, another network's container and the container itself.
        let (sibling, stranger) = (host.container("b", &["app"]), host.container("c", &["other"]));
        for from in [&sibling, &stranger, &published.container] {
            assert_eq!(published.way(&from.namespace, outside.host).0, "kernel");
        }
        // This host by an address of its own, and by loopback, which is the shim's.
        let here = Namespace::of_this_thread().unwrap();
        assert_eq!(published.way(&here, outside.host).0, "kernel");
        assert_eq!(published.way(&here, Ipv4Addr::LOCALHOST.into()).0, "shim");
        assert!(host.networks.is_on_kernel_path("a", (any(), 8080).into(), Transport::Tcp).unwrap());
        if let Some(rules) = host.ruleset() {
            let rule = "ip daddr != 127.0.0.0/8 fib daddr type local dnat ip to meta l4proto . th dport map @ports";
            assert_eq!(rules.matches(rule).count(), 2, "{rules}");
        }
        host.networks.detach("a").unwrap();
        let _connection = assert_reaches(&outside.namespace, outside.host, 8080);
        assert_eq!(published.accepted().0, "shim");
        assert!(host.ruleset().is_none_or(|rules| !rules.contains("tcp . 8080")));
    });
}

#[test]
fn port_of_one_address_is_not_there_at_another() {
    on_both_hosts(|host| {
        let (outside, other) = (host.outside(0), host.outside(1));
        host.create("app");
        let published = Published::at(host, "app", "a", outside.host);
        assert_eq!(published.way(&outside.namespace, outside.host), ("kernel", outside.address));
        let refused = connect(&other.namespace, (other.host, 8080), LONG_PATIENCE).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

// CVE-2020-8558: what is for this host's loopback, sent by a neighbour.
#[test]
fn neighbour_reaches_neither_loopback_nor_what_is_not_published() {
    on_both_hosts(|host| {
        let outside = host.outside(0);
        host.create("app");
        let published = Published::at(host, "app", "a", Ipv4Addr::LOCALHOST.into());
        let everywhere = Published::at_port(host, "app", "b", 9090);
        let _hidden = listen(&published.container.namespace, 81);
        let loopback: IpAddr = Ipv4Addr::LOCALHOST.into();
        let to_loopback = || {
            // A neighbour that holds 127.0.0.0/8 for a network like any other.
            std::fs::write("/proc/sys/net/ipv4/conf/all/route_localnet", "1").unwrap();
            let status = std::process::Command::new("sh")
                .args(["-c", "ip addr del 127.0.0.1/8 dev lo && ip route add 127.0.0.1 via 198.51.100.1"])
                .status();
            Ok(status.is_ok_and(|status| status.success()))
        };
        if !outside.namespace.run(to_loopback).unwrap() {
            println!("skipped: ip(8) is not there");
            return;
        }
        for port in [8080, 9090] {
            assert_dropped(&outside.namespace, loopback, port);
        }
        assert_dropped(&outside.namespace, published.container.address(), 80);
        assert_dropped(&outside.namespace, published.container.address(), 81);
        assert_dropped(&outside.namespace, everywhere.address(), 80);
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/route_localnet").unwrap(), "0\n");
    });
}

impl Published {
    /// A container without a listener on the host.
    fn at_port(host: &Host, network: &str, id: &str, port: u16) -> Container {
        let container = host.container(id, &[network]);
        host.networks.publish(&container.endpoints, &[publication((any(), port), Transport::Tcp, 80)]).unwrap();
        container
    }
}

/// Chains as the tools write them, in a table each, and whether port 8080 is reached all the same.
const FIREWALLS: [(&str, &str, &[&str], bool); 7] = [
    ("policy of drop", "inet mine", &["in { type filter hook input priority 0; policy drop; }"], false),
    ("one port", "inet mine", &["in { type filter hook input priority 0; tcp dport 8080 drop; }"], false),
    ("another port", "inet mine", &["in { type filter hook input priority 0; tcp dport 22 drop; }"], true),
    (
        "in a chain that is jumped to",
        "ip mine",
        &[
            "far { tcp dport 8080 reject; }",
            "near { jump far; }",
            "in { type filter hook input priority 10; policy accept; goto near; }",
        ],
        false,
    ),
    (
        "by a map of verdicts",
        "inet mine",
        &["in { type filter hook input priority 0; tcp dport vmap { 8080 : drop }; }"],
        false,
    ),
    (
        "ufw",
        "ip filter",
        &[
            "ufw-before-input { ct state related,established accept; }",
            "ufw-user-input { tcp dport 8080 accept; }",
            "INPUT { type filter hook input priority 0; policy drop; jump ufw-before-input; jump ufw-user-input; }",
        ],
        true,
    ),
    (
        "firewalld",
        "inet firewalld",
        &[
            "filter_IN_public { tcp dport 22 accept; }",
            "filter_INPUT_ZONES { goto filter_IN_public; }",
            "filter_PREROUTING { type filter hook prerouting priority 10; policy accept; \
             meta nfproto ipv6 fib saddr . mark . iif oif missing drop; }",
            "filter_INPUT { type filter hook input priority 10; policy accept; \
             ct state { established, related } accept; iifname \"lo\" accept; jump filter_INPUT_ZONES; \
             ct state invalid drop; reject with icmpx admin-prohibited; }",
        ],
        false,
    ),
];

fn plant(table: &str, chains: &[&str]) -> Option<()> {
    let chains: String = chains.iter().map(|chain| format!("chain {chain}\n")).collect();
    nft(&format!("table {table} {{\n{chains}}}"))
}

// X11: the host's firewall has the last word, whether it was there first or came later.
#[test]
fn what_the_hosts_firewall_can_drop_takes_the_way_that_it_judges() {
    for (name, table, chains, reached) in FIREWALLS {
        for was_there_first in [true, false] {
            let on_hosts = |test: &(dyn Fn(&Host) + Send + Sync)| match was_there_first {
                true => on_both_hosts(test),
                false => on_a_host(test),
            };
            on_hosts(&|host| {
                let outside = host.outside(0);
                host.create("app");
                if was_there_first && plant(table, chains).is_none() {
                    return;
                }
                let published = Published::at(host, "app", "a", any());
                if !was_there_first {
                    if plant(table, chains).is_none() {
                        return;
                    }
                    host.networks.judge_kernel_path().unwrap();
                }
                let obstacles = host.networks.kernel_path_obstacles().unwrap();
                assert!(!obstacles.is_empty(), "{name}");
                assert!(!host.networks.is_on_kernel_path("a", (any(), 8080).into(), Transport::Tcp).unwrap(), "{name}");
                if reached {
                    assert_eq!(published.way(&outside.namespace, outside.host).0, "shim", "{name}");
                } else {
                    connect(&outside.namespace, (outside.host, 8080), PATIENCE).expect_err(name);
                }
            });
        }
    }
}

#[test]
fn rules_that_only_accept_or_count_leave_the_kernel_path_open_and_it_opens_again() {
    on_a_host(|host| {
        let outside = host.outside(0);
        host.create("app");
        let input = "in { type filter hook input priority 0; policy accept; tcp dport 22 accept; jump other; }";
        if plant("inet mine", &["other { counter; return; }", input]).is_none() {
            return;
        }
        let published = Published::at(host, "app", "a", any());
        assert_eq!(published.way(&outside.namespace, outside.host).0, "kernel");
        nft("add rule inet mine other tcp dport 1 drop").unwrap();
        host.networks.judge_kernel_path().unwrap();
        assert_eq!(published.way(&outside.namespace, outside.host).0, "shim");
        nft("delete table inet mine").unwrap();
        host.networks.judge_kernel_path().unwrap();
        assert_eq!(published.way(&outside.namespace, outside.host).0, "kernel");
    });
}

#[test]
fn docker_beside_us_leaves_the_kernel_path_open() {
    on_both_hosts(|host| {
        let outside = host.outside(0);
        for line in ["-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-I FORWARD -j DOCKER-USER"] {
            if output("iptables-nft", &[&["-w"], &line.split(' ').collect::<Vec<_>>()[..]].concat()).is_none() {
                return;
            }
        }
        host.create("app");
        let published = Published::at(host, "app", "a", any());
        assert_eq!(published.way(&outside.namespace, outside.host), ("kernel", outside.address));
    });
}

#[test]
fn flushed_filter_is_put_back_with_what_is_published() {
    on_a_host(|host| {
        let outside = host.outside(0);
        host.create("app");
        let published = Published::at(host, "app", "a", any());
        if nft("flush ruleset").is_none() {
            return;
        }
        host.networks.restore(&[]).unwrap();
        assert_eq!(published.way(&outside.namespace, outside.host), ("kernel", outside.address));
    });
}

#[test]
fn udp_keeps_the_source_and_a_client_that_goes_on_sending_finds_the_next_container() {
    on_both_hosts(|host| {
        let outside = host.outside(0);
        host.create("app");
        let client = outside.namespace.run(|| Ok(UdpSocket::bind("0.0.0.0:0").unwrap())).unwrap();
        client.set_read_timeout(Some(LONG_PATIENCE)).unwrap();
        let _shim = UdpSocket::bind((any(), 8053)).unwrap();
        for id in ["a", "b"] {
            let container = host.container(id, &["app"]);
            let server = container.namespace.run(|| Ok(UdpSocket::bind("0.0.0.0:53").unwrap())).unwrap();
            server.set_read_timeout(Some(LONG_PATIENCE)).unwrap();
            host.networks.publish(&container.endpoints, &[publication((any(), 8053), Transport::Udp, 53)]).unwrap();
            let mut bytes = [0; 16];
            client.send_to(b"question", (outside.host, 8053)).unwrap();
            let (length, from) = server.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..length], from.ip()), (&b"question"[..], outside.address));
            server.send_to(id.as_bytes(), from).unwrap();
            let (length, from) = client.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..length], from), (id.as_bytes(), (outside.host, 8053).into()));
            host.networks.detach(id).unwrap();
        }
    });
}

#[test]
fn bytes_pass_both_ways() {
    on_a_host(|host| {
        let outside = host.outside(0);
        host.create("app");
        let published = Published::at(host, "app", "a", any());
        let mut client = assert_reaches(&outside.namespace, outside.host, 8080);
        published.server.set_nonblocking(false).unwrap();
        let (mut server, _) = published.server.accept().unwrap();
        client.write_all(b"ping").unwrap();
        let mut bytes = [0; 4];
        server.read_exact(&mut bytes).unwrap();
        server.write_all(b"pong").unwrap();
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"pong");
    });
}
