use std::time::Instant;

use carrack_sys::nftables::Family;

use super::*;

fn links() -> Vec<String> {
    Socket::route().unwrap().links().unwrap().into_iter().map(|link| link.name).collect()
}

#[test]
fn rules_are_fixed_and_read_back_through_nft() {
    on_a_host(|host| {
        let _outside = host.outside(0);
        let app = host.create("app");
        let Some(text) = host.ruleset() else { return };
        let text = text.replace(&app.bridge, "APP").replace(&host.networks.tag, "TAG").replace('\t', "    ");
        // nft 1.1 has a name for it.
        let text = text.replace("hook output priority -100", "hook output priority dstnat");
        let comment = format!("    comment \"of the data root {}\"\n", host.networks.store.roots().data.display());
        assert!(text.contains(&comment), "{text}");
        let text = text.replacen(&comment, "", 1);
        insta::assert_snapshot!(text, @r#"
        table inet carrack-TAG {
            set subnets {
                type ipv4_addr
                flags interval
                elements = { 172.17.0.0/16 }
            }

            set masqueraded {
                type ipv4_addr
                flags interval
                elements = { 172.17.0.0/16 }
            }

            set subnets6 {
                type ipv6_addr
                flags interval
            }

            set masqueraded6 {
                type ipv6_addr
                flags interval
            }

            set bridges {
                type ifname
                elements = { "APP" }
            }

            set internal {
                type ifname
            }

            set same {
                type ifname . ifname
                elements = { "APP" . "APP" }
            }

            map ports {
                type inet_proto . inet_service : ipv4_addr . inet_service
            }

            map sockets {
                type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
            }

            map ports6 {
                type inet_proto . inet_service : ipv6_addr . inet_service
            }

            map sockets6 {
                type ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
            }

            chain forward {
                type filter hook forward priority filter; policy accept;
                ct state established,related accept comment "what was let through before"
                iifname . oifname @same accept comment "within one network"
                iifname @internal counter packets 0 bytes 0 drop comment "nothing leaves an internal network"
                oifname @internal counter packets 0 bytes 0 drop comment "nothing enters an internal network"
                oifname @bridges ct status dnat accept comment "published ports"
                oifname @bridges counter packets 0 bytes 0 drop comment "not published, or from another network"
            }

            chain prerouting {
                type nat hook prerouting priority dstnat; policy accept;
            }

            chain output {
                type nat hook output priority dstnat; policy accept;
            }

            chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                ct status dnat ip saddr @subnets ip daddr @subnets masquerade comment "to a published port and back into its network"
                ip saddr @masqueraded oifname != @bridges masquerade comment "outward"
                ct status dnat ip6 saddr @subnets6 ip6 daddr @subnets6 masquerade comment "to a published port and back into its network"
                ip6 saddr @masqueraded6 oifname != @bridges masquerade comment "outward"
            }
        }
        table ip carrack {
            set guarded {
                type ifname
                elements = { "up0" }
            }

            chain forward {
                type filter hook forward priority filter; policy accept;
                iifname @guarded oifname @guarded ct status ! dnat counter packets 0 bytes 0 drop comment "carrack turned forwarding on, not for these"
            }
        }
        "#);
    });
}

#[test]
fn last_network_leaves_without_a_trace() {
    on_a_host(|host| {
        let before = links();
        host.create("app");
        host.create_internal("back");
        let a = host.container("a", &["app", "back"]);
        assert_eq!(host.networks.remove("app").unwrap_err().code.id, "network/in-use");
        host.networks.detach("a").unwrap();
        drop(a);
        host.networks.remove("app").unwrap();
        assert!(host.ruleset().is_none_or(|rules| rules.contains(&host.networks.table().name)));
        host.networks.remove("back").unwrap();
        assert!(host.ruleset().is_none_or(|rules| rules.is_empty()));
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap(), "0\n");
        assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);
        assert!(links().iter().filter(|name| !before.contains(name)).all(|name| is_dying(name)), "{:?}", links());
        assert!(host.networks.list().unwrap().is_empty());
        let files = std::fs::read_dir(host.folder.path().join("run/networks")).unwrap().count();
        assert_eq!(files, 0);
    });
}

/// A detached port goes with its namespace, a moment later.
fn is_dying(name: &str) -> bool {
    let link = Socket::route().unwrap().link(name).unwrap();
    link.is_none_or(|link| link.bridge.is_none() || link.is_blocked)
}

/// Somebody who shares its namespace keeps it alive.
#[test]
fn a_detached_port_leads_nowhere_and_gives_its_place_on_a_full_bridge() {
    on_a_host(|host| {
        let bridge = host.create("app").bridge;
        let (a, b) = (host.container("a", &["app"]), host.container("b", &["app"]));
        let _server = listen(&b.namespace, 80);
        assert_reaches(&a.namespace, b.address(), 80);
        host.networks.detach("a").unwrap();
        assert_dropped(&a.namespace, b.address(), 80);
        let mut socket = Socket::route().unwrap();
        let port = &a.endpoints[0].port;
        assert!(socket.link(port).unwrap().unwrap().is_blocked);
        assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);

        let index = socket.link(&bridge).unwrap().unwrap().index;
        let elsewhere = Namespace::create().unwrap();
        let fill: Vec<_> = (2..crate::PORTS_PER_BRIDGE)
            .map(|number| {
                route::create_veth(&Veth {
                    name: &format!("x{number}"),
                    bridge: Some(index),
                    mtu_bytes: 1500,
                    peer_name: &format!("y{number}"),
                    peer_mac: Mac([2, 0, 0, 0, (number >> 8) as u8, number as u8]),
                    peer_namespace: elsewhere.as_fd(),
                })
            })
            .collect();
        for batch in fill.chunks(32) {
            socket.execute(batch).unwrap();
        }
        let c = host.container("c", &["app"]);
        assert_reaches(&c.namespace, b.address(), 80);
        assert_eq!(socket.link(port).unwrap().unwrap().bridge, None);
        let wanted = Attachment { network: "app".into(), ..Attachment::default() };
        let refused = host.networks.attach("d", &Namespace::create().unwrap(), &[wanted]).unwrap_err();
        assert_eq!(refused.code.id, "network/bridge-full");
    });
}

#[test]
fn networks_are_listed_found_and_refused_by_name() {
    on_a_host(|host| {
        let app = host.create("app-network");
        host.create("monitoring");
        assert_eq!(host.networks.list().unwrap().len(), 2);
        assert_eq!(host.networks.find("app-network").unwrap(), app);
        assert_eq!(host.networks.find(&app.id[..12]).unwrap(), app);
        let error = host.networks.find("app-netwrok").unwrap_err();
        assert_eq!(
            (error.code.id, error.hints.as_slice()),
            ("network/unknown-network", &["did you mean `app-network`?".to_owned()][..])
        );
        let twice = Wanted { name: "monitoring".into(), ..Wanted::default() };
        assert_eq!(host.networks.create(&twice).unwrap_err().code.id, "network/name-taken");
        assert_eq!(host.networks.remove("nothing").unwrap_err().code.id, "network/unknown-network");
    });
}

#[test]
fn default_network_is_made_when_first_used_and_the_bridge_restored_when_missing() {
    on_a_host(|host| {
        let outside = host.outside(0);
        let a = host.container("a", &["bridge"]);
        assert_eq!(a.address(), "172.17.0.2".parse::<IpAddr>().unwrap());
        assert_eq!(a.endpoints[0].mac.to_string(), "02:42:ac:11:00:02");
        // As after a reboot: records are there, links and rules are not.
        host.networks.detach("a").unwrap();
        let bridge = host.networks.get("bridge").unwrap().unwrap().bridge;
        crate::networks::delete_link(&mut Socket::route().unwrap(), &bridge).unwrap();
        crate::firewall::remove_table(&mut Socket::netfilter().unwrap(), &host.networks.table()).unwrap();
        let b = host.container("b", &["bridge"]);
        let _server = listen(&outside.namespace, 443);
        assert_reaches(&b.namespace, outside.address, 443);
    });
}

#[test]
fn interfaces_addresses_routes_and_limits_are_as_asked_for() {
    on_a_host(|host| {
        let options = [("com.docker.network.driver.mtu".to_owned(), "1400".to_owned())].into();
        let wanted = Wanted { name: "app".into(), subnet: Some(subnet("172.20.0.0/16")), options, ..Wanted::default() };
        host.networks.create(&wanted).unwrap();
        host.create_internal("back");
        let namespace = Namespace::create().unwrap();
        let attachments = [
            Attachment { network: "back".into(), ..Attachment::default() },
            Attachment {
                network: "app".into(),
                address: Some("172.20.5.5".parse().unwrap()),
                mac: Some("02:00:00:00:00:09".parse().unwrap()),
                interface: Some("web0".into()),
                ..Attachment::default()
            },
        ];
        let endpoints = host.networks.attach("c", &namespace, &attachments).unwrap();
        assert_eq!(endpoints[0].interface, "eth0");
        let (links, addresses, routes) = namespace
            .run(|| {
                let mut socket = Socket::route().unwrap();
                Ok((socket.links().unwrap(), socket.addresses().unwrap(), socket.routes().unwrap()))
            })
            .unwrap();
        let web = links.iter().find(|link| link.name == "web0").unwrap();
        assert_eq!((web.mac.unwrap().to_string(), web.mtu_bytes, web.is_up), ("02:00:00:00:00:09".into(), 1400, true));
        assert!(
            addresses.iter().any(|found| found.index == web.index && found.address == IpAddr::from([172, 20, 5, 5]))
        );
        let uninvited = |found: &&route::Address| !found.address.is_loopback() && found.address.is_ipv6();
        assert_eq!(addresses.iter().find(uninvited), None);
        let defaults: Vec<_> = routes.iter().filter(|route| route.prefix == 0 && route.gateway.is_some()).collect();
        assert_eq!(defaults.len(), 1, "the internal network gives none");
        assert_eq!(defaults[0].gateway, Some(IpAddr::from([172, 20, 0, 1])));
    });
}

#[test]
fn failed_attach_leaves_nothing() {
    on_a_host(|host| {
        host.create("app");
        let namespace = Namespace::create().unwrap();
        let parameters = vec![("ipv4.conf.nonsense".to_owned(), "1".to_owned())];
        let wrong = Attachment { network: "app".into(), parameters, ..Attachment::default() };
        let error = host.networks.attach("c", &namespace, &[wrong]).unwrap_err();
        assert_eq!(error.code.id, "network/kernel");
        assert_eq!(host.networks.endpoints("app").unwrap(), []);
        let ports = links().into_iter().filter(|name| name.starts_with(&host.networks.link_prefix())).count();
        assert_eq!(ports, 1, "the bridge");
    });
}

#[test]
fn containers_come_and_go_at_once_from_several_threads() {
    on_a_host(|host| {
        let here = Namespace::of_this_thread().unwrap();
        let here = &here;
        // Which address, when it was certainly held, and whether it was given back.
        let held = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let held = &held;
                scope.spawn(move || {
                    here.run(|| {
                        for round in 0..5 {
                            let id = format!("c{thread}-{round}");
                            let container = host.container(&id, &["bridge"]);
                            let given_at = Instant::now();
                            if round % 2 == 0 {
                                host.networks.detach(&id).unwrap();
                            }
                            held.lock().unwrap().push((container.address(), given_at, round % 2 == 0));
                        }
                        Ok(())
                    })
                    .unwrap();
                });
            }
        });
        let mut held = held.into_inner().unwrap();
        assert_eq!(held.len(), 20);
        held.sort_unstable();
        for pair in held.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            let (before, after) = (pair[0], pair[1]);
            // Only a slow machine comes to give one again.
            let rested = before.2 && after.1 - before.1 >= Duration::from_millis(crate::lease::REST_MS);
            assert!(rested, "an address was given twice, or did not rest: {before:?}, {after:?}");
        }
        assert_eq!(host.networks.endpoints("bridge").unwrap().len(), 8);
        assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);
    });
}

// I3: a container on two networks is no way from one to the other.
#[test]
fn new_namespace_forwards_nothing_whatever_the_host_does() {
    on_a_host(|_| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").unwrap();
        let namespace = Namespace::create().unwrap();
        assert!(!namespace.run(|| crate::forwarding::is_on(Family::Ip)).unwrap());
    });
}

#[test]
fn filter_that_was_flushed_and_forwarding_that_was_turned_off_come_back() {
    on_a_host(|host| {
        let outside = host.outside(0);
        host.create("one");
        host.create("two");
        let (a, b) = (host.container("a", &["one"]), host.container("b", &["two"]));
        let _servers = [listen(&a.namespace, 80), listen(&b.namespace, 80), listen(&outside.namespace, 443)];
        crate::firewall::remove_table(&mut Socket::netfilter().unwrap(), &host.networks.table()).unwrap();
        assert_reaches(&a.namespace, b.address(), 80);
        // The next container sees to it, for all networks.
        let _c = host.container("c", &["one"]);
        assert_dropped(&a.namespace, b.address(), 80);
        assert_reaches(&b.namespace, outside.address, 443);
        crate::forwarding::set(Family::Ip, false).unwrap();
        let _d = host.container("d", &["one"]);
        assert_reaches(&b.namespace, outside.address, 443);
    });
}

#[test]
fn bridge_takes_no_ipv6() {
    on_a_host(|host| {
        let path = format!("/proc/sys/net/ipv6/conf/{}/disable_ipv6", host.create("app").bridge);
        match std::fs::read_to_string(&path) {
            Ok(value) => assert_eq!(value, "1\n"),
            Err(error) => println!("skipped: {path}: {error}"),
        }
    });
}

// I-3: killed between the filter and the bridge.
#[test]
fn removal_that_was_interrupted_leaves_a_network_that_is_raised_or_removed() {
    on_a_host(|host| {
        host.create("other");
        let app = host.create("app");
        let bridge = Socket::route().unwrap().link(&app.bridge).unwrap().unwrap();
        Socket::route().unwrap().execute(&[route::disconnect(bridge.index)]).unwrap();
        crate::firewall::remove_network(&mut Socket::netfilter().unwrap(), &host.networks.tag, &app, false).unwrap();
        let (a, b) = (host.container("a", &["app"]), host.container("b", &["other"]));
        let _server = listen(&a.namespace, 80);
        assert_dropped(&b.namespace, a.address(), 80);
        host.networks.detach("a").unwrap();
        crate::firewall::remove_network(&mut Socket::netfilter().unwrap(), &host.networks.tag, &app, false).unwrap();
        host.networks.remove("app").unwrap();
        assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);
    });
}
