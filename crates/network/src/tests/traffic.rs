use carrack_sys::nftables::{Batch, Expression, Family, Hook, HookPoint, Table};

use super::*;

/// Publishes a port as a rule of somebody would: what comes for `from` goes to `to`.
fn publish(from: (IpAddr, u16), to: (IpAddr, u16)) {
    let (IpAddr::V4(address), IpAddr::V4(target)) = (from.0, to.0) else { panic!("IPv4 only") };
    let table = Table { family: Family::Ip, name: "published".into() };
    let mut batch = Batch::new();
    let hook = Hook { point: HookPoint::Prerouting, is_nat: true, priority: -100 };
    batch.add_table(&table).add_chain(&table, "prerouting", Some(hook));
    let rule = [
        Expression::Destination(address),
        Expression::Protocol(6),
        Expression::DestinationPort(from.1),
        Expression::TranslateDestination(target, to.1),
    ];
    batch.append_rule(&table, "prerouting", &rule, "");
    batch.commit(&mut Socket::netfilter().unwrap()).unwrap();
}

/// What a container that may set routes could do on an internal network.
fn take_default_route(container: &Container) {
    let gateway = IpAddr::V4(container.endpoints[0].gateway);
    let take = || {
        Socket::route().unwrap().execute(&[route::add_default_route(gateway)]).unwrap();
        Ok(())
    };
    container.namespace.run(take).unwrap();
}

#[test]
fn containers_of_one_network_reach_each_other_and_the_host_reaches_them() {
    on_both_hosts(|host| {
        host.create("app");
        let (a, b) = (host.container("a", &["app"]), host.container("b", &["app"]));
        let server = listen(&a.namespace, 80);
        assert_reaches(&b.namespace, a.address(), 80);
        let (_, peer) = server.accept().unwrap();
        assert_eq!(peer.ip(), b.address(), "nothing translates what stays within a network");
        TcpStream::connect_timeout(&(a.address(), 80).into(), LONG_PATIENCE).unwrap();
    });
}

// I2 I3: segmentation.
#[test]
fn containers_of_two_networks_do_not_reach_each_other_and_one_on_both_reaches_both() {
    on_both_hosts(|host| {
        host.create("front");
        host.create_internal("back");
        let (a, b) = (host.container("a", &["front"]), host.container("b", &["back"]));
        let both = host.container("both", &["front", "back"]);
        let _servers = [listen(&a.namespace, 80), listen(&b.namespace, 80), listen(&both.namespace, 80)];
        assert_dropped(&a.namespace, b.address(), 80);
        assert_dropped(&b.namespace, a.address(), 80);
        assert_reaches(&both.namespace, a.address(), 80);
        assert_reaches(&both.namespace, b.address(), 80);
        assert_reaches(&a.namespace, both.endpoints[0].address.into(), 80);
        assert_reaches(&b.namespace, both.endpoints[1].address.into(), 80);
        assert_dropped(&a.namespace, both.endpoints[1].address.into(), 80);
    });
}

#[test]
fn two_networks_that_both_have_a_way_out_do_not_reach_each_other() {
    on_both_hosts(|host| {
        host.create("one");
        host.create("two");
        let (a, b) = (host.container("a", &["one"]), host.container("b", &["two"]));
        let _servers = [listen(&a.namespace, 80), listen(&b.namespace, 80)];
        assert_dropped(&a.namespace, b.address(), 80);
        assert_dropped(&b.namespace, a.address(), 80);
    });
}

#[test]
fn what_leaves_takes_the_hosts_address_and_an_internal_network_has_no_way_out() {
    on_both_hosts(|host| {
        let outside = host.outside(0);
        host.create("app");
        host.create_internal("back");
        let (a, b) = (host.container("a", &["app"]), host.container("b", &["back"]));
        let server = listen(&outside.namespace, 443);
        assert_reaches(&a.namespace, outside.address, 443);
        assert_eq!(server.accept().unwrap().1.ip(), outside.host);
        assert_dropped(&b.namespace, outside.address, 443);
        // Nor when the container gives itself a route.
        take_default_route(&b);
        assert_dropped(&b.namespace, outside.address, 443);
    });
}

#[test]
fn network_without_masquerade_keeps_the_containers_address() {
    on_a_host(|host| {
        let outside = host.outside(0);
        let options = [("com.docker.network.bridge.enable_ip_masquerade".to_owned(), "false".to_owned())].into();
        host.networks.create(&Wanted { name: "plain".into(), options, ..Wanted::default() }).unwrap();
        let a = host.container("a", &["plain"]);
        let server = listen(&outside.namespace, 443);
        assert_reaches(&a.namespace, outside.address, 443);
        assert_eq!(server.accept().unwrap().1.ip(), a.address());
    });
}

// I2 X11: only what is published is reachable.
#[test]
fn from_outside_only_published_ports_are_reached() {
    on_both_hosts(|host| {
        let outside = host.outside(0);
        host.create("app");
        host.create_internal("back");
        let (a, b) = (host.container("a", &["app"]), host.container("b", &["back"]));
        let _servers = [listen(&a.namespace, 80), listen(&b.namespace, 80)];
        // It could answer: what keeps it unreached is the filter alone.
        take_default_route(&b);
        assert_dropped(&outside.namespace, a.address(), 80);
        assert_dropped(&outside.namespace, b.address(), 80);
        publish((outside.host, 8080), (a.address(), 80));
        publish((outside.host, 8081), (b.address(), 80));
        assert_reaches(&outside.namespace, outside.host, 8080);
        assert_dropped(&outside.namespace, outside.host, 8081);
        assert_dropped(&outside.namespace, a.address(), 80);
    });
}

#[test]
fn published_port_is_reached_from_siblings_and_from_the_container_itself() {
    on_both_hosts(|host| {
        let outside = host.outside(0);
        host.create("app");
        host.create("other");
        let (a, b) = (host.container("a", &["app"]), host.container("b", &["app"]));
        let stranger = host.container("stranger", &["other"]);
        let _server = listen(&a.namespace, 80);
        publish((outside.host, 8080), (a.address(), 80));
        for container in [&b, &a, &stranger] {
            assert_reaches(&container.namespace, outside.host, 8080);
        }
    });
}

#[test]
fn turning_forwarding_on_connects_no_interfaces_of_the_host() {
    on_both_hosts(|host| {
        let (left, right) = (host.outside(0), host.outside(1));
        let _servers = [listen(&left.namespace, 80), listen(&right.namespace, 80)];
        host.create("app");
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "1\n");
        assert_dropped(&left.namespace, right.address, 80);
        assert_dropped(&right.namespace, left.address, 80);
        let a = host.container("a", &["app"]);
        assert_reaches(&a.namespace, left.address, 80);
        assert_reaches(&a.namespace, right.address, 80);
    });
}

#[test]
fn host_that_forwarded_before_goes_on_and_is_left_so() {
    on_a_host(|host| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let (left, right) = (host.outside(0), host.outside(1));
        let _server = listen(&right.namespace, 80);
        host.create("app");
        assert_reaches(&left.namespace, right.address, 80);
        host.networks.remove("app").unwrap();
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "1\n");
    });
}

#[test]
fn two_roots_on_one_host_do_not_reach_each_other_and_do_not_touch_each_other() {
    on_both_hosts(|host| {
        let second = Host::new();
        let outside = host.outside(0);
        assert_ne!(host.create("app").subnet, second.create("app").subnet);
        let (a, b) = (host.container("a", &["app"]), second.container("b", &["app"]));
        let _servers = [listen(&a.namespace, 80), listen(&b.namespace, 80), listen(&outside.namespace, 443)];
        assert_dropped(&a.namespace, b.address(), 80);
        assert_dropped(&b.namespace, a.address(), 80);
        host.networks.detach("a").unwrap();
        host.networks.remove("app").unwrap();
        assert_reaches(&b.namespace, outside.address, 443);
        assert_dropped(&outside.namespace, b.address(), 80);
        assert_eq!(second.networks.leaks(&|_| true).unwrap(), []);
        assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);
    });
}
