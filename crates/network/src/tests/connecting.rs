//! Networks that a running container is connected to and taken off.

use super::*;
use crate::{Publication, Transport};

fn attachment(network: &str) -> Attachment {
    Attachment { network: network.into(), names: vec!["a".into()], ..Attachment::default() }
}

fn default_route(namespace: &Namespace) -> Option<IpAddr> {
    let look = || Ok(Socket::route().unwrap().routes().unwrap());
    let routes = namespace.run(look).unwrap();
    routes.into_iter().find(|route| route.prefix == 0 && route.gateway.is_some()).and_then(|route| route.gateway)
}

#[test]
fn running_container_is_connected_and_taken_off_and_always_has_a_way_out() {
    on_both_hosts(|host| {
        let (front, back) = (host.create("front"), host.create("back"));
        let outside = host.outside(0);
        let _server = listen(&outside.namespace, 443);
        let a = host.container("a", &["front"]);
        let b = host.container("b", &["back"]);
        let _listening = listen(&a.namespace, 80);
        assert_dropped(&b.namespace, a.address(), 80);

        let made = host.networks.connect("a", &a.namespace, &attachment("back")).unwrap();
        assert_eq!((made.interface.as_str(), made.is_gateway), ("eth1", false));
        assert_reaches(&b.namespace, made.address.into(), 80);
        assert_eq!(default_route(&a.namespace), Some(front.gateway.into()));
        let twice = host.networks.connect("a", &a.namespace, &attachment("back")).unwrap_err();
        assert_eq!(twice.code.id, "network/address-taken");

        host.networks.disconnect("a", &a.namespace, "front").unwrap();
        assert_eq!(default_route(&a.namespace), Some(back.gateway.into()));
        assert_reaches(&a.namespace, outside.address, 443);
        assert_eq!(
            host.networks.disconnect("a", &a.namespace, "front").unwrap_err().code.id,
            "network/unknown-network"
        );
        // The name of the interface that is free is taken again.
        let again = host.networks.connect("a", &a.namespace, &attachment("front")).unwrap();
        assert_eq!(again.interface, "eth0");
        host.networks.disconnect("a", &a.namespace, "front").unwrap();
        host.networks.disconnect("a", &a.namespace, "back").unwrap();
        assert_eq!(default_route(&a.namespace), None);
        assert_eq!(host.networks.endpoints_of("a").unwrap(), []);
        assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);
    });
}

#[test]
fn highest_priority_gives_the_way_out_and_takes_what_is_published_along() {
    on_both_hosts(|host| {
        let (_, back) = (host.create("front"), host.create("back"));
        let outside = host.outside(0);
        let a = host.container("a", &["front"]);
        let server = listen(&a.namespace, 80);
        let port: SocketAddr = (Ipv4Addr::UNSPECIFIED, 8080).into();
        let _shim = TcpListener::bind(port).unwrap();
        let publication = Publication { host: port, transport: Transport::Tcp, container_port: 80 };
        host.networks.publish(&a.endpoints, &[publication]).unwrap();

        let preferred = Attachment { gateway_priority: 1, ..attachment("back") };
        let made = host.networks.connect("a", &a.namespace, &preferred).unwrap();
        assert_eq!(default_route(&a.namespace), Some(back.gateway.into()));
        let _connection = assert_reaches(&outside.namespace, outside.host, 8080);
        let (stream, peer) = server.accept().unwrap();
        assert_eq!((stream.local_addr().unwrap().ip(), peer.ip()), (IpAddr::from(made.address), outside.address));

        host.networks.disconnect("a", &a.namespace, "back").unwrap();
        let _connection = assert_reaches(&outside.namespace, outside.host, 8080);
        assert_eq!(server.accept().unwrap().0.local_addr().unwrap().ip(), a.address());
    });
}

#[test]
fn attachment_that_fails_leaves_the_container_as_it_was() {
    on_a_host(|host| {
        host.create("front");
        host.create("back");
        let a = host.container("a", &["front"]);
        let links = || Socket::route().unwrap().links().unwrap().len();
        let before = (links(), host.networks.endpoints_of("a").unwrap());
        for wrong in [
            Attachment { interface: Some("eth0".into()), ..attachment("back") },
            Attachment { interface: Some("no/name".into()), ..attachment("back") },
            Attachment { parameters: vec![("ipv4.conf.nonsense".into(), "1".into())], ..attachment("back") },
            Attachment { parameters: vec![("ipv4.../../x".into(), "1".into())], ..attachment("back") },
            Attachment { ipv6: Some("fd00::2".parse().unwrap()), ..attachment("back") },
        ] {
            host.networks.connect("a", &a.namespace, &wrong).unwrap_err();
        }
        assert_eq!(host.networks.endpoints_of("a").unwrap(), before.1);
        assert_eq!(links(), before.0);
    });
}

#[test]
fn interfaces_are_named_and_set_as_asked_for() {
    on_a_host(|host| {
        let options = [("com.docker.network.container_iface_prefix".to_owned(), "net".to_owned())].into();
        host.networks.create(&Wanted { name: "front".into(), options, ..Wanted::default() }).unwrap();
        host.create("back");
        let wanted = [
            attachment("front"),
            Attachment {
                interface: Some("uplink7".into()),
                parameters: vec![("ipv4.conf.log_martians".into(), "1".into())],
                link_local: vec!["169.254.7.8".parse().unwrap()],
                ..attachment("back")
            },
        ];
        let namespace = Namespace::create().unwrap();
        let endpoints = host.networks.attach("a", &namespace, &wanted).unwrap();
        let names: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.interface.as_str()).collect();
        assert_eq!(names, ["net0", "uplink7"]);
        let look = || {
            let value = std::fs::read_to_string("/proc/sys/net/ipv4/conf/uplink7/log_martians").unwrap();
            Ok((value, Socket::route().unwrap().addresses().unwrap()))
        };
        let (value, addresses) = namespace.run(look).unwrap();
        assert_eq!(value, "1\n");
        let link_local: IpAddr = "169.254.7.8".parse().unwrap();
        assert!(addresses.iter().any(|found| found.address == link_local && found.prefix == 16), "{addresses:?}");
    });
}

#[test]
fn containers_of_an_isolated_network_reach_the_world_and_not_each_other() {
    on_both_hosts(|host| {
        let outside = host.outside(0);
        let _server = listen(&outside.namespace, 443);
        let options = [("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())].into();
        host.networks.create(&Wanted { name: "apart".into(), options, ..Wanted::default() }).unwrap();
        let (a, b) = (host.container("a", &["apart"]), host.container("b", &["apart"]));
        let _listening = listen(&a.namespace, 80);
        let error = connect(&b.namespace, (a.address(), 80), PATIENCE).unwrap_err();
        assert_ne!(error.kind(), std::io::ErrorKind::ConnectionRefused);
        assert_reaches(&b.namespace, outside.address, 443);
    });
}

#[test]
fn unused_network_whose_range_was_taken_meanwhile_is_moved_and_one_that_was_asked_for_is_not() {
    on_a_host(|host| {
        let outside = host.outside(0);
        let _server = listen(&outside.namespace, 443);
        let chosen = host.create("chosen");
        let range = Some(subnet("10.88.0.0/24"));
        let asked = host.networks.create(&Wanted { name: "asked".into(), subnet: range, ..Wanted::default() }).unwrap();
        // As after a reboot, with somebody else there first.
        let mut socket = Socket::route().unwrap();
        for (name, network) in [("other0", &chosen), ("other1", &asked)] {
            let index = socket.link(&network.bridge).unwrap().unwrap().index;
            socket.execute(&[route::delete_link(index)]).unwrap();
            socket.execute(&[route::create_bridge(name, Mac([2, 0, 0, 0, 0, 1]), 1500)]).unwrap();
            let index = socket.link(name).unwrap().unwrap().index;
            let address = network.subnet.nth(9);
            socket
                .execute(&[route::add_address(index, address, network.subnet.prefix()), route::set_up(index)])
                .unwrap();
        }
        let a = host.container("a", &["chosen"]);
        let moved = host.networks.find("chosen").unwrap();
        assert!(!moved.subnet.overlaps(chosen.subnet) && moved.id == chosen.id);
        assert!(moved.subnet.contains(a.address()));
        assert_reaches(&a.namespace, outside.address, 443);
        assert!(host.ruleset().is_none_or(|rules| !rules.contains(&chosen.subnet.to_string())));
        let namespace = Namespace::create().unwrap();
        let refused = host.networks.attach("b", &namespace, &[attachment("asked")]).unwrap_err();
        assert_eq!(refused.code.id, "network/subnet-taken");
    });
}
