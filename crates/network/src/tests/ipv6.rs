//! Networks with IPv6 beside IPv4.

use std::net::Ipv6Addr;

use super::*;
use crate::{Publication, Transport, WantedIpv6};

fn create(host: &Host, name: &str, range: Option<&str>, internal: bool) -> crate::Network {
    let ipv6_range = range.map(|text| WantedIpv6 {
        subnet: subnet(text),
        gateway: None,
        ip_range: None,
        reserved: std::collections::BTreeMap::new(),
    });
    host.networks.create(&Wanted { name: name.into(), ipv6: true, ipv6_range, internal, ..Wanted::default() }).unwrap()
}

fn ipv6(container: &Container) -> IpAddr {
    container.endpoints[0].ipv6.unwrap().address.into()
}

fn listen_ipv6(namespace: &Namespace, port: u16) -> TcpListener {
    namespace.run(|| Ok(TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).unwrap())).unwrap()
}

const HOST: &str = "2001:db8:1::1";
const OUTSIDE: &str = "2001:db8:1::2";

/// A machine beside the host as [`Host::outside`] makes it, with IPv6.
fn outside(host: &Host) -> (Outside, IpAddr, IpAddr) {
    let outside = host.outside(0);
    let (here, there): (IpAddr, IpAddr) = (HOST.parse().unwrap(), OUTSIDE.parse().unwrap());
    let mut socket = Socket::route().unwrap();
    let index = socket.link("up0").unwrap().unwrap().index;
    socket.execute(&[route::add_address(index, here, 64)]).unwrap();
    let inside = || {
        let mut socket = Socket::route().unwrap();
        let index = socket.link("eth0").unwrap().unwrap().index;
        socket.execute(&[route::add_address(index, there, 64), route::add_default_route(here)]).unwrap();
        Ok(())
    };
    outside.namespace.run(inside).unwrap();
    (outside, here, there)
}

fn is_ipv6_here() -> bool {
    let is_here = std::path::Path::new("/proc/sys/net/ipv6").exists();
    if !is_here {
        println!("skipped: the kernel has no IPv6");
    }
    is_here
}

/// The same for IPv6's frames within a bridge; where it can't be said nothing calls the packet filter.
fn on_both_hosts_with_ipv6(test: impl Fn(&Host) + Send + Sync) {
    on_both_hosts(|host| {
        if is_ipv6_here() {
            let path = "/proc/sys/net/bridge/bridge-nf-call-ip6tables";
            let value = std::fs::read_to_string(BRIDGE_NF_CALL).unwrap_or_default();
            let _ = std::fs::write(path, value);
            test(host);
        }
    });
}

#[test]
fn siblings_reach_each_other_strangers_do_not_and_what_leaves_takes_the_hosts_address() {
    on_both_hosts_with_ipv6(|host| {
        let (outside, here, there) = outside(host);
        let app = create(host, "app", Some("fd00:77::/64"), false);
        create(host, "other", None, false);
        let (a, b, c) = (host.container("a", &["app"]), host.container("b", &["app"]), host.container("c", &["other"]));
        assert_eq!(ipv6(&a), "fd00:77::2".parse::<IpAddr>().unwrap());
        assert_eq!(app.ipv6.unwrap().gateway, "fd00:77::1".parse::<Ipv6Addr>().unwrap());
        let _listening = listen_ipv6(&a.namespace, 80);
        assert_reaches(&b.namespace, ipv6(&a), 80);
        assert_dropped(&c.namespace, ipv6(&a), 80);
        assert_dropped(&outside.namespace, ipv6(&a), 80);
        let server = listen_ipv6(&outside.namespace, 443);
        for container in [&a, &c] {
            assert_reaches(&container.namespace, there, 443);
            assert_eq!(server.accept().unwrap().1.ip(), here);
        }
        // The other's default range is this host's own (RFC 4193).
        let IpAddr::V6(address) = ipv6(&c) else { panic!() };
        assert!(address.is_unique_local(), "{address}");
    });
}

#[test]
fn internal_network_has_no_way_out_and_one_without_ipv6_has_none_at_all() {
    on_both_hosts_with_ipv6(|host| {
        let (outside, _, there) = outside(host);
        let _server = listen_ipv6(&outside.namespace, 443);
        create(host, "back", Some("fd00:78::/64"), true);
        host.create("plain");
        let (a, b) = (host.container("a", &["back"]), host.container("b", &["plain"]));
        // Also with a route that it gives itself.
        let gateway: IpAddr = "fd00:78::1".parse().unwrap();
        let lead_out = || Ok(Socket::route().unwrap().execute(&[route::add_default_route(gateway)]));
        a.namespace.run(lead_out).unwrap().unwrap();
        for container in [&a, &b] {
            connect(&container.namespace, (there, 443), PATIENCE).unwrap_err();
        }
    });
}

// A host that forwards nothing between its own interfaces does so neither after we turned forwarding on.
#[test]
fn turning_forwarding_on_connects_no_interfaces_and_is_undone() {
    on_both_hosts_with_ipv6(|host| {
        let (left, _, _) = outside(host);
        let right = host.outside(1);
        let (here, there): (IpAddr, IpAddr) = ("2001:db8:2::1".parse().unwrap(), "2001:db8:2::2".parse().unwrap());
        let give = |name: &str, address: IpAddr, gateway: Option<IpAddr>| {
            let mut socket = Socket::route().unwrap();
            let index = socket.link(name).unwrap().unwrap().index;
            socket.execute(&[route::add_address(index, address, 64)]).unwrap();
            if let Some(gateway) = gateway {
                socket.execute(&[route::add_default_route(gateway)]).unwrap();
            }
        };
        give("up1", here, None);
        right
            .namespace
            .run(|| {
                give("eth0", there, Some(here));
                Ok(())
            })
            .unwrap();
        let _server = listen_ipv6(&right.namespace, 80);
        create(host, "app", None, false);
        let forwarding = "/proc/sys/net/ipv6/conf/all/forwarding";
        assert_eq!(std::fs::read_to_string(forwarding).unwrap(), "1\n");
        assert_dropped(&left.namespace, there, 80);
        host.networks.remove("app").unwrap();
        assert_eq!(std::fs::read_to_string(forwarding).unwrap(), "0\n");
        assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);
        assert!(host.ruleset().is_none_or(|rules| rules.is_empty()));
    });
}

#[test]
fn port_is_published_with_the_source_kept_and_reached_from_siblings() {
    on_both_hosts_with_ipv6(|host| {
        let (outside, here, there) = outside(host);
        create(host, "app", Some("fd00:79::/64"), false);
        let (a, b) = (host.container("a", &["app"]), host.container("b", &["app"]));
        let server = listen_ipv6(&a.namespace, 80);
        let port: SocketAddr = (Ipv6Addr::UNSPECIFIED, 8080).into();
        let _shim = TcpListener::bind(port).unwrap();
        let publication = Publication { host: port, transport: Transport::Tcp, container_port: 80 };
        host.networks.publish(&a.endpoints, &[publication]).unwrap();
        assert_reaches(&outside.namespace, here, 8080);
        assert_eq!(server.accept().unwrap().1.ip(), there);
        for container in [&a, &b] {
            assert_reaches(&container.namespace, here, 8080);
            server.accept().unwrap();
        }
    });
}

#[test]
fn ranges_are_checked_and_addresses_given_in_order() {
    on_a_host(|host| {
        if !is_ipv6_here() {
            return;
        }
        create(host, "app", Some("fd00:7a::/64"), false);
        let overlapping = WantedIpv6 {
            subnet: subnet("fd00:7a::/80"),
            gateway: None,
            ip_range: None,
            reserved: std::collections::BTreeMap::new(),
        };
        let wanted = Wanted { name: "b".into(), ipv6: true, ipv6_range: Some(overlapping), ..Wanted::default() };
        assert_eq!(host.networks.create(&wanted).unwrap_err().code.id, "network/subnet-taken");
        let fixed =
            Attachment { network: "app".into(), ipv6: Some("fd00:7a::2".parse().unwrap()), ..Attachment::default() };
        let namespace = Namespace::create().unwrap();
        host.networks.attach("a", &namespace, std::slice::from_ref(&fixed)).unwrap();
        assert_eq!(ipv6(&host.container("b", &["app"])), "fd00:7a::3".parse::<IpAddr>().unwrap());
        let other = Namespace::create().unwrap();
        assert_eq!(host.networks.attach("c", &other, &[fixed]).unwrap_err().code.id, "network/address-taken");
    });
}
