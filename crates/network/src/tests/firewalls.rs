use super::*;

/// What Docker leaves behind in the filter table, made by the programs it uses.
fn docker_like(iptables: &str) -> Option<()> {
    for line in ["-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-I FORWARD -j DOCKER-USER"] {
        output(iptables, &[&["-w"], &line.split(' ').collect::<Vec<_>>()[..]].concat())?;
    }
    Some(())
}

fn dockers_chain_lets_us_pass(iptables: &str, host: &Host) {
    let outside = host.outside(0);
    let _server = listen(&outside.namespace, 443);
    // Once with Docker there before us, once after.
    host.create("before");
    if docker_like(iptables).is_none() {
        return;
    }
    host.create("after");
    for (id, network) in [("a", "before"), ("b", "after")] {
        let container = host.container(id, &[network]);
        assert_reaches(&container.namespace, outside.address, 443);
    }
    assert_eq!(host.networks.firewall_warnings().unwrap(), []);
    let prefix = host.networks.link_prefix();
    let rules = output(iptables, &["-S", "DOCKER-USER"]).unwrap();
    for direction in ["-i", "-o"] {
        let rule = format!("-A DOCKER-USER {direction} {prefix}+ -j ACCEPT");
        assert_eq!(rules.matches(&rule).count(), 1, "{rules}");
    }
    for (id, network) in [("a", "before"), ("b", "after")] {
        host.networks.detach(id).unwrap();
        host.networks.remove(network).unwrap();
    }
    let rules = output(iptables, &["-S", "DOCKER-USER"]).unwrap();
    assert!(!rules.contains(&prefix), "{rules}");
    assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);
}

#[test]
fn dockers_chain_of_nf_tables_lets_us_pass() {
    on_both_hosts(|host| dockers_chain_lets_us_pass("iptables-nft", host));
}

#[test]
fn dockers_legacy_chain_lets_us_pass() {
    on_both_hosts(|host| dockers_chain_lets_us_pass("iptables-legacy", host));
}

#[test]
fn firewall_that_drops_is_named_with_the_rule_to_add_and_content_with_it() {
    on_a_host(|host| {
        let outside = host.outside(0);
        let _server = listen(&outside.namespace, 443);
        let container = host.container("a", &["bridge"]);
        assert_eq!(host.networks.firewall_warnings().unwrap(), []);
        if output("iptables-nft", &["-P", "FORWARD", "DROP"]).is_none() {
            return;
        }
        assert_dropped(&container.namespace, outside.address, 443);
        let warnings = host.networks.firewall_warnings().unwrap();
        assert_eq!(warnings.len(), 1);
        assert_eq!(warnings[0].code.id, "network/firewall-drops");
        assert!(warnings[0].message.contains("ip filter FORWARD"), "{}", warnings[0].message);
        for command in warnings[0].hints[0].split("; ") {
            let words: Vec<&str> = command.split(' ').collect();
            output("iptables-nft", &words[1..]).unwrap();
        }
        assert_reaches(&container.namespace, outside.address, 443);
        assert_eq!(host.networks.firewall_warnings().unwrap(), []);
    });
}

#[test]
fn firewall_of_nft_and_firewalld_are_named_too() {
    on_a_host(|host| {
        host.create("app");
        let forward = "{ type filter hook forward priority filter; policy";
        for (table, policy) in
            [("inet mine", "drop; }"), ("inet firewalld", "accept; reject with icmpx admin-prohibited; }")]
        {
            let script = format!("table {table} {{ chain through {forward} {policy}; }}");
            if output("nft", &[&script]).is_none() {
                return;
            }
        }
        let warnings = host.networks.firewall_warnings().unwrap();
        let chains: Vec<&str> = warnings.iter().map(|warning| warning.message.as_str()).collect();
        assert_eq!(warnings.len(), 2, "{chains:?}");
        assert!(
            warnings[0].hints[0].starts_with("nft insert rule inet mine through iifname"),
            "{:?}",
            warnings[0].hints
        );
        assert!(warnings[1].hints[0].starts_with("firewall-cmd"), "{:?}", warnings[1].hints);
        for command in warnings[0].hints[0].split("; ") {
            output("nft", &[command.strip_prefix("nft ").unwrap()]).unwrap();
        }
        assert_eq!(host.networks.firewall_warnings().unwrap().len(), 1);
    });
}
