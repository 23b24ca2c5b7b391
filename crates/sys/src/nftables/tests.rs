use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::netlink::route;

fn table(name: &str) -> Table {
    Table { family: Family::Ip, name: name.into() }
}

/// Runs `work` in a network namespace of its own, or says why not.
fn in_new_namespace(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| match route::unshare_network() {
            Ok(()) => work(),
            Err(error) => println!("skipped: no network namespace: {error}"),
        });
    });
}

/// What `nft` makes of our table; none where there is no `nft`.
fn listing(name: &str) -> Option<String> {
    let output = match Command::new("nft").args(["list", "table", "ip", name]).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: nft: {error}");
            return None;
        }
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap())
}

proptest! {
    #[test]
    fn readers_take_any_bytes(kinds in proptest::collection::vec((0u16..9, proptest::collection::vec(any::<u8>(), 0..24)), 0..6)) {
        let mut body = Vec::new();
        for (kind, value) in &kinds {
            body.extend_from_slice(&(4 + value.len() as u16).to_ne_bytes());
            body.extend_from_slice(&kind.to_ne_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let _ = read_chain(Family::Ip, &body);
        if let Some(rule) = read_rule(Family::Ip, &body) {
            let _ = (rule.drops(), rule.compares_with(b"ck"), rule.meta_keys().count());
        }
    }
}

#[test]
fn every_expression_reads_back_through_nft() {
    in_new_namespace(|| {
        let mut socket = Socket::netfilter().unwrap();
        let table = table("carrack-test");
        let mut batch = Batch::new();
        batch.add_table(&table);
        for set in [
            Set { name: "nets", key: KeyType::Ipv4Address, is_interval: true },
            Set { name: "links", key: KeyType::InterfaceName, is_interval: false },
            Set { name: "pairs", key: KeyType::InterfaceNamePair, is_interval: false },
        ] {
            batch.add_set(&table, &set);
        }
        batch.add_elements(&table, "nets", &Element::subnet([172, 17, 0, 0].into(), 16));
        batch.add_elements(&table, "nets", &Element::subnet([255, 255, 255, 0].into(), 24));
        batch.add_elements(&table, "links", &[Element::interface("ck0123456789abc")]);
        batch.add_elements(&table, "pairs", &[Element::interface_pair("cka", "ckb")]);
        let filter = Hook { point: HookPoint::Forward, is_nat: false, priority: 0 };
        batch.add_chain(&table, "forward", Some(filter));
        let nat = |point, priority| Some(Hook { point, is_nat: true, priority });
        batch.add_chain(&table, "postrouting", nat(HookPoint::Postrouting, 100));
        batch.add_chain(&table, "output", nat(HookPoint::Output, -100));
        use Expression::*;
        let interface = |name: &str, is_prefix| InputInterface { name: name.into(), is_prefix };
        let leaving = |name: &str, is_prefix| OutputInterface { name: name.into(), is_prefix };
        for rule in [
            vec![Established, Accept],
            vec![interface("ck", true), leaving("eth0", false), Counter, Accept],
            vec![
                InputInterfaceIn { set: "links", negated: true },
                OutputInterfaceIn { set: "links", negated: false },
                Drop,
            ],
            vec![InterfacesIn("pairs"), DestinationTranslated(true), Accept],
            vec![DestinationTranslated(false), Counter, Drop],
        ] {
            batch.append_rule(&table, "forward", &rule, "why");
        }
        batch.append_rule(&table, "postrouting", &[SourceIn("nets"), DestinationIn("nets"), Masquerade], "");
        let address = Ipv4Addr::new(127, 0, 0, 11);
        let dns = [Destination(address), Protocol(17), DestinationPort(53), TranslateDestination(address, 40053)];
        batch.append_rule(&table, "output", &dns, "");
        batch.commit(&mut socket).unwrap();

        let Some(text) = listing("carrack-test") else { return };
        // nft 1.1 has a name for it.
        let text = text.replace('\t', "    ").replace("hook output priority -100", "hook output priority dstnat");
        insta::assert_snapshot!(text, @r#"
        table ip carrack-test {
            set nets {
                type ipv4_addr
                flags interval
                elements = { 172.17.0.0/16, 255.255.255.0/24 }
            }

            set links {
                type ifname
                elements = { "ck0123456789abc" }
            }

            set pairs {
                type ifname . ifname
                elements = { "cka" . "ckb" }
            }

            chain forward {
                type filter hook forward priority filter; policy accept;
                ct state established,related accept comment "why"
                iifname "ck*" oifname "eth0" counter packets 0 bytes 0 accept comment "why"
                iifname != @links oifname @links drop comment "why"
                iifname . oifname @pairs ct status dnat accept comment "why"
                ct status ! dnat counter packets 0 bytes 0 drop comment "why"
            }

            chain postrouting {
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr @nets ip daddr @nets masquerade
            }

            chain output {
                type nat hook output priority dstnat; policy accept;
                ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:40053
            }
        }
        "#);
        let rules = rules(&mut socket, &table, "forward").unwrap();
        assert_eq!(rules.len(), 5);
        assert!(rules[1].compares_with(b"ck") && !rules[1].drops() && rules[4].drops());
        assert_eq!(rules[1].meta_keys().collect::<Vec<_>>(), [libc::NFT_META_IIFNAME, libc::NFT_META_OIFNAME]);
    });
}

#[test]
fn batch_is_all_or_nothing() {
    in_new_namespace(|| {
        let mut socket = Socket::netfilter().unwrap();
        let mut batch = Batch::new();
        batch.add_table(&table("one")).delete_table(&table("two"));
        assert_eq!(batch.commit(&mut socket), Err(Refusal { index: 2, error: Errno::NOENT }));
        assert_eq!(tables(&mut socket).unwrap(), []);
    });
}

#[test]
fn elements_may_be_added_twice_and_a_table_leaves_without_a_trace() {
    in_new_namespace(|| {
        let mut socket = Socket::netfilter().unwrap();
        let table = table("carrack-test");
        for _ in 0..2 {
            let mut batch = Batch::new();
            batch.add_table(&table);
            batch.add_set(&table, &Set { name: "nets", key: KeyType::Ipv4Address, is_interval: true });
            batch.add_elements(&table, "nets", &Element::subnet([10, 0, 0, 0].into(), 8));
            batch.commit(&mut socket).unwrap();
        }
        assert_eq!(tables(&mut socket).unwrap(), std::slice::from_ref(&table));
        assert!(!has_chain(&mut socket, &table, "forward").unwrap());
        let mut batch = Batch::new();
        batch.delete_elements(&table, "nets", &Element::subnet([10, 0, 0, 0].into(), 8)).delete_table(&table);
        batch.commit(&mut socket).unwrap();
        assert_eq!(tables(&mut socket).unwrap(), []);
    });
}

#[test]
fn watch_sees_the_changes_of_others_and_not_our_own() {
    in_new_namespace(|| {
        let watch = Watch::open().unwrap();
        let mut socket = Socket::netfilter().unwrap();
        let mut make = |name: &str| {
            let mut batch = Batch::new();
            batch.add_table(&table(name));
            batch.commit(&mut socket).unwrap();
        };
        assert!(!watch.is_changed("carrack"));
        make("carrack-test");
        assert!(!watch.is_changed("carrack"));
        make("mine");
        assert!(watch.is_changed("carrack"));
        assert!(!watch.is_changed("carrack"));
    });
}
