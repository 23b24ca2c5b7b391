use proptest::prelude::*;

use super::*;
use crate::lease::Leases;

fn network(host: &Host, wanted: &str) -> crate::Network {
    host.networks.create(&Wanted { name: "app".into(), subnet: Some(subnet(wanted)), ..Wanted::default() }).unwrap()
}

#[test]
fn ranges_are_taken_from_the_pools_around_what_the_host_routes() {
    on_a_host(|host| {
        let mut socket = Socket::route().unwrap();
        // 172.18.4.0/24 is connected; nothing of 172.18.0.0/16 is free then.
        let address = "172.18.4.1".parse().unwrap();
        socket.execute(&[route::create_bridge("lan", Mac::of(address), 1500), route::set_up_by_name("lan")]).unwrap();
        let index = socket.link("lan").unwrap().unwrap().index;
        socket.execute(&[route::add_address(index, address, 24)]).unwrap();
        assert_eq!(host.create("a").subnet, subnet("172.17.0.0/16"));
        assert_eq!(host.create("b").subnet, subnet("172.19.0.0/16"));
        let wanted = Wanted { name: "c".into(), subnet: Some(subnet("172.18.0.0/20")), ..Wanted::default() };
        let error = host.networks.create(&wanted).unwrap_err();
        assert_eq!(error.code.id, "network/subnet-taken");
        assert_eq!(error.hints, ["172.20.0.0/16 is free"]);
        for subnet in ["172.17.128.0/20", "172.16.0.0/12"] {
            let subnet = Some(super::subnet(subnet));
            let wanted = Wanted { name: "c".into(), subnet, ..Wanted::default() };
            assert_eq!(host.networks.create(&wanted).unwrap_err().code.id, "network/subnet-taken");
        }
    });
}

#[test]
fn malformed_wishes_are_refused_and_leave_nothing() {
    on_a_host(|host| {
        let base = Wanted { name: "app".into(), subnet: Some(subnet("10.5.0.0/16")), ..Wanted::default() };
        let option =
            |key: &str, value: &str| Wanted { options: [(key.to_owned(), value.to_owned())].into(), ..base.clone() };
        for (wanted, code) in [
            (Wanted { gateway: Some("10.6.0.1".parse().unwrap()), ..base.clone() }, "network/invalid-subnet"),
            (Wanted { ip_range: Some(subnet("10.6.0.0/24")), ..base.clone() }, "network/invalid-subnet"),
            (Wanted { subnet: Some(subnet("10.5.0.0/31")), ..base.clone() }, "network/invalid-subnet"),
            (option("com.docker.network.driver.mtu", "12"), "network/unknown-option"),
            (option("com.docker.network.bridge.name", "br0"), "network/not-yet"),
            (option("mut", "1500"), "network/unknown-option"),
            (Wanted { name: "../app".into(), ..base.clone() }, "store/invalid-name"),
        ] {
            assert_eq!(host.networks.create(&wanted).unwrap_err().code.id, code, "{wanted:?}");
        }
        assert!(host.networks.list().unwrap().is_empty());
        assert!(host.ruleset().is_none_or(|rules| rules.is_empty()));
    });
}

#[test]
fn fixed_address_is_given_once_and_range_gateway_and_reservations_are_kept() {
    on_a_host(|host| {
        let wanted = Wanted {
            name: "app".into(),
            subnet: Some(subnet("172.28.0.0/16")),
            gateway: Some("172.28.5.254".parse().unwrap()),
            ip_range: Some(subnet("172.28.5.248/29")),
            reserved: [("router".to_owned(), "172.28.5.249".parse().unwrap())].into(),
            ..Wanted::default()
        };
        host.networks.create(&wanted).unwrap();
        let attach = |id: &str, address: Option<&str>| {
            let address = address.map(|address| address.parse().unwrap());
            let attachment = Attachment { network: "app".into(), address, ..Attachment::default() };
            let endpoints = host.networks.attach(id, &Namespace::create().unwrap(), &[attachment])?;
            Ok::<_, Box<carrack_diag::Diagnostic>>(endpoints[0].address.to_string())
        };
        assert_eq!(attach("a", None).unwrap(), "172.28.5.248");
        assert_eq!(attach("b", None).unwrap(), "172.28.5.250");
        assert_eq!(attach("c", Some("172.28.1.1")).unwrap(), "172.28.1.1");
        let code = |address: &str| attach("d", Some(address)).unwrap_err().code.id;
        assert_eq!(code("172.28.1.1"), "network/address-taken");
        assert_eq!(code("172.28.5.254"), "network/address-taken");
        assert_eq!(code("172.29.1.1"), "network/invalid-subnet");
        assert_eq!(code("172.28.255.255"), "network/invalid-subnet");
        for id in ["e", "f", "g", "h"] {
            attach(id, None).unwrap();
        }
        assert_eq!(attach("i", None).unwrap_err().code.id, "network/no-address");
    });
}

#[test]
fn released_address_rests_two_seconds() {
    on_a_host(|host| {
        let network = network(host, "10.7.0.0/24");
        let endpoint = host.container("a", &["app"]).endpoints.remove(0);
        let mut leases = Leases::of_boot("this");
        let first = leases.choose(&network, None, 0).unwrap();
        assert_eq!(first, endpoint.address);
        leases.add(&endpoint).unwrap();
        leases.release(|_| true, 5000);
        assert_ne!(leases.choose(&network, None, 6999).unwrap(), first);
        assert_eq!(leases.choose(&network, Some(first), 6999).unwrap(), first, "asked for by name it is given at once");
        assert_eq!(leases.choose(&network, None, 7000).unwrap(), first);
        assert_eq!(Leases::parse(&leases.text(), "this"), Ok(leases.clone()));
        let another = Leases::parse(&leases.text(), "another").unwrap();
        assert_eq!(another, Leases::of_boot("another"), "void after a reboot");
    });
}

proptest! {
    // Whatever comes and goes, in whatever order: no address twice, none of the network's own, none before it has rested.
    #[test]
    fn addresses_are_given_to_one_at_a_time(steps in proptest::collection::vec((any::<bool>(), 0usize..8, 0u64..900), 0..60)) {
        let wanted = Wanted { name: "app".into(), ip_range: Some(subnet("10.7.0.0/28")), ..Wanted::default() };
        let network = crate::Network::new(&wanted, "0a1b2c3d", subnet("10.7.0.0/24"), None, 1500).unwrap();
        let (mut leases, mut now) = (Leases::of_boot("this"), 0);
        let mut released: Vec<(Ipv4Addr, u64)> = Vec::new();
        for (comes, which, later) in steps {
            now += later;
            if !comes {
                if let Some(endpoint) = leases.endpoints().unwrap().get(which).cloned() {
                    prop_assert!(leases.release(|held| held.is_of(&endpoint), now));
                    released.push((endpoint.address, now));
                }
                continue;
            }
            let Ok(address) = leases.choose(&network, None, now) else { continue };
            prop_assert!(leases.endpoints().unwrap().iter().all(|endpoint| endpoint.address != address));
            prop_assert!(network.ip_range.unwrap().contains(address));
            prop_assert!(address != network.gateway && address != network.subnet.first());
            prop_assert!(released.iter().all(|(rests, since)| *rests != address || now - since >= 2000));
            leases.add(&endpoint(&network, address)).unwrap();
            prop_assert_eq!(Leases::parse(&leases.text(), "this"), Ok(leases.clone()));
        }
    }
}

proptest! {
    // I-4: a file that somebody damaged is told of, never half believed, and never ends a command by panic.
    #[test]
    fn any_file_of_leases_is_read_or_refused(text in "(boot this\n)?([ -~]{0,40}\n|10.7.0.2 a b\t\\{\\}\n){0,4}") {
        if let Ok(leases) = Leases::parse(&text, "this") {
            prop_assert_eq!(Leases::parse(&leases.text(), "this"), Ok(leases.clone()));
            let _ = (leases.announced(), leases.endpoints());
        }
    }
}

fn endpoint(network: &crate::Network, address: Ipv4Addr) -> Endpoint {
    Endpoint {
        container: address.to_string(),
        network: network.name.clone(),
        network_id: network.id.clone(),
        interface: "eth0".into(),
        port: "ck".into(),
        address,
        prefix: network.subnet.prefix(),
        mac: Mac::of(address.into()),
        gateway: network.gateway,
        internal: network.internal,
        names: Vec::new(),
        withdrawn: false,
        is_gateway: false,
        published: Vec::new(),
        ipv6: None,
        link_local: Vec::new(),
        links: Vec::new(),
        gateway_priority: 0,
    }
}

#[test]
fn bridge_holds_1023_ports_and_says_so() {
    on_a_host(|host| {
        let network = network(host, "10.7.0.0/16");
        let endpoint = host.container("a", &["app"]).endpoints.remove(0);
        let mut leases = Leases::of_boot("this");
        for _ in 0..crate::PORTS_PER_BRIDGE {
            let address = leases.choose(&network, None, 0).unwrap();
            leases.add(&Endpoint { address, ..endpoint.clone() }).unwrap();
        }
        let error = leases.choose(&network, None, 0).unwrap_err();
        assert_eq!(error.code.id, "network/bridge-full");
    });
}

#[test]
fn names_are_those_of_shared_networks_only() {
    on_a_host(|host| {
        host.create("front");
        host.create_internal("back");
        let proxy = host.container("proxy", &["front"]);
        let web = host.container("web", &["front", "back"]);
        let _db = host.container("db", &["back"]);
        host.networks.write_names(["front", "back"]).unwrap();
        let network = |name: &str| host.folder.path().join(format!("run/networks/{name}.names"));
        let of = |name: &str| std::fs::read_to_string(network(name)).unwrap();
        let address = |container: &Container, index: usize| container.endpoints[index].address;
        let (on_front, on_back) = (address(&web, 0), address(&web, 1));
        assert_eq!(of("front"), format!("{} proxy proxy\n{on_front} web web\n", address(&proxy, 0)));
        assert_eq!(of("back"), format!("{on_back} web web\n172.18.0.3 db db\n"));
        let own = host.folder.path().join("own");
        let own_of = |id: &str| {
            host.networks.write_own_names(id, &own).unwrap();
            std::fs::read_to_string(&own).unwrap()
        };
        let (front, back) = (network("front"), network("back"));
        assert_eq!(own_of("db"), format!("internal\nown 172.18.0.3 db\nnetwork {}\n", back.display()));
        let expected = [
            format!("own {on_front} web\nnetwork {}\n", front.display()),
            format!("own {on_back} web\nnetwork {}\n", back.display()),
        ];
        assert_eq!(own_of("web"), expected.concat());
        assert_eq!(own_of("nobody"), "internal\n");

        // Told to nobody while it is withdrawn, and known to itself.
        assert!(host.networks.set_withdrawn("web", true).unwrap());
        host.networks.write_names(["front", "back"]).unwrap();
        assert_eq!(of("back"), "172.18.0.3 db db\n");
        assert_eq!(own_of("web"), expected.concat());
        host.networks.detach("web").unwrap();
        host.networks.detach("db").unwrap();
        host.networks.write_names(["back"]).unwrap();
        assert!(!network("back").exists());
    });
}

#[test]
fn names_files_are_replaced_where_they_change() {
    on_a_host(|host| {
        let _a = host.container("a", &["bridge"]);
        let path = host.folder.path().join("run/networks/bridge.names");
        let read = || std::fs::read_to_string(&path).unwrap();
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
        host.networks.write_names(["bridge"]).unwrap();
        assert_eq!(read(), "172.17.0.2 a a\n");
        let before = inode();
        host.networks.write_names(["bridge"]).unwrap();
        assert_eq!(inode(), before, "a file that says the same is left alone");
        let _b = host.container("b", &["bridge"]);
        host.networks.write_names(["bridge"]).unwrap();
        assert_eq!(read(), "172.17.0.2 a a\n172.17.0.3 b b\n");
        let files = std::fs::read_dir(host.folder.path().join("run/networks")).unwrap().count();
        assert_eq!(files, 2, "the leases and the names: nothing temporary");
        let error = host.networks.write_own_names("a", std::path::Path::new("/proc/nowhere/names")).unwrap_err();
        assert!(error.message.contains("/proc/nowhere/names"), "{}", error.message);
    });
}
