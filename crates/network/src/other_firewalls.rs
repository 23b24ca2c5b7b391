//! Firewalls that are not ours. A drop of theirs is final, whatever our table accepts, so where they offer a place for
//! rules of others we use it, and where they don't we say what to add.

use std::process::Command;

use carrack_diag::{Diagnostic, Result};
use carrack_sys::netlink::Socket;
use carrack_sys::nftables::{Batch, Chain, Expression, Family, HookPoint, Rule, Table, has_chain, rules};

use crate::fault::Context as _;
use crate::network::link_prefix;
use crate::{codes, firewall, forwarding};

/// Docker jumps to it before all rules of its own and never changes what is in it.
const DOCKER_USER: &str = "DOCKER-USER";

const LEGACY_TABLES: &str = "/proc/thread-self/net/ip_tables_names";

fn filter_table() -> Table {
    Table { family: Family::Ip, name: "filter".into() }
}

/// Lets packets of our links pass where Docker rules, under either of the kernel's packet filters.
pub(crate) fn admit(filter: &mut Socket, tag: &str) -> Result<()> {
    admit_docker(filter, tag)?;
    if legacy_has_chain(DOCKER_USER) {
        for direction in ["-i", "-o"] {
            let pattern = format!("{}+", link_prefix(tag));
            let rule = [DOCKER_USER, direction, &pattern, "-j", "ACCEPT"];
            if !legacy(&[&["-C"], &rule[..]].concat()) {
                // Where it fails the warnings name the chain.
                legacy(&[&["-I"], &rule[..]].concat());
            }
        }
    }
    Ok(())
}

/// As [`admit`], for nf_tables alone: cheap enough for every container, as Docker may have come since the last one.
pub(crate) fn admit_docker(filter: &mut Socket, tag: &str) -> Result<()> {
    let attempt = || format!("can't let the containers' packets pass in Docker's chain {DOCKER_USER}");
    let table = filter_table();
    if !has_chain(filter, &table, DOCKER_USER).context(attempt)? {
        return Ok(());
    }
    let prefix = link_prefix(tag);
    let present = rules(filter, &table, DOCKER_USER).context(attempt)?;
    if present.iter().filter(|rule| rule.compares_with(prefix.as_bytes())).count() >= 2 {
        return Ok(());
    }
    // The very expressions that `iptables -i PREFIX+ -j ACCEPT` makes: Docker's own iptables must be able to print them.
    let incoming = Expression::InputInterface { name: prefix.clone(), is_prefix: true };
    let outgoing = Expression::OutputInterface { name: prefix, is_prefix: true };
    let mut batch = Batch::new();
    for interface in [incoming, outgoing] {
        batch.insert_rule(&table, DOCKER_USER, &[interface, Expression::Counter, Expression::Accept]);
    }
    batch.commit(filter).context(attempt)
}

/// The reverse of [`admit`].
pub(crate) fn withdraw(filter: &mut Socket, tag: &str) -> Result<()> {
    let attempt = || format!("can't take our rules out of Docker's chain {DOCKER_USER}");
    let ours = docker_rules(filter, tag)?;
    if !ours.is_empty() {
        let mut batch = Batch::new();
        for rule in &ours {
            batch.delete_rule(&filter_table(), DOCKER_USER, rule.handle);
        }
        batch.commit(filter).context(attempt)?;
    }
    if legacy_has_chain(DOCKER_USER) {
        let pattern = format!("{}+", link_prefix(tag));
        for direction in ["-i", "-o"] {
            legacy(&["-D", DOCKER_USER, direction, &pattern, "-j", "ACCEPT"]);
        }
    }
    Ok(())
}

/// Our rules in Docker's chain.
pub(crate) fn docker_rules(filter: &mut Socket, tag: &str) -> Result<Vec<Rule>> {
    let attempt = || format!("can't list the rules of {DOCKER_USER}");
    if !has_chain(filter, &filter_table(), DOCKER_USER).context(attempt)? {
        return Ok(Vec::new());
    }
    let mut found = rules(filter, &filter_table(), DOCKER_USER).context(attempt)?;
    found.retain(|rule| rule.compares_with(link_prefix(tag).as_bytes()));
    Ok(found)
}

/// A warning for each forward chain of others that drops and names neither our links nor a place with our rules.
pub(crate) fn warnings(filter: &mut Socket, tag: &str) -> Result<Vec<Diagnostic>> {
    let chains = forward_obstacles(filter, tag)?;
    let mut warnings: Vec<Diagnostic> = Vec::new();
    if !chains.is_empty() {
        let all = crate::networks::all_chains(filter)?;
        warnings.extend(chains.iter().map(|chain| warning(chain, tag, &all)));
    }
    warnings.extend(legacy_warning(tag));
    Ok(warnings)
}

/// The forward chains of others that drop, and name neither our links nor a place with our rules.
pub(crate) fn forward_obstacles(filter: &mut Socket, tag: &str) -> Result<Vec<Chain>> {
    let mut obstacles = Vec::new();
    let admitted_by_docker = !docker_rules(filter, tag)?.is_empty();
    for chain in crate::networks::all_chains(filter)?.into_iter().filter(is_foreign_forward) {
        let attempt = || format!("can't list the rules of {}", chain.name);
        let present = rules(filter, &chain.table, &chain.name).context(attempt)?;
        let jumps_to_docker = chain.table == filter_table() && admitted_by_docker;
        let names_us =
            present.iter().any(|rule| rule.compares_with(link_prefix(tag).as_bytes()) || rule.compares_with(b"ck"));
        let drops = chain.drops || present.iter().any(Rule::drops);
        if drops && !names_us && !jumps_to_docker {
            obstacles.push(chain);
        }
    }
    Ok(obstacles)
}

fn is_foreign_forward(chain: &Chain) -> bool {
    let ours = forwarding::is_shared(&chain.table) || chain.table.name.starts_with(firewall::TABLE_PREFIX);
    let sees_ipv4 = matches!(chain.table.family, Family::Ip | Family::Inet);
    let filters = chain.kind.as_deref() == Some("filter") && chain.hook == Some(HookPoint::Forward as u32);
    filters && sees_ipv4 && !ours
}

fn warning(chain: &Chain, tag: &str, chains: &[Chain]) -> Diagnostic {
    let Table { family, name } = &chain.table;
    let place = format!("{} {name} {}", family.name(), chain.name);
    let prefix = link_prefix(tag);
    let is_ufw = chains.iter().any(|chain| chain.name == "ufw-user-forward");
    let hint = if name == "firewalld" {
        "firewall-cmd --permanent --zone=trusted --add-interface=BRIDGE, for each bridge of `carrack network ls`, then \
         firewall-cmd --reload"
            .to_owned()
    } else if is_iptables_forward(chain) && is_ufw {
        format!(
            "in /etc/ufw/before.rules: -A ufw-before-forward -i {prefix}+ -j ACCEPT, and the same with -o; then ufw reload"
        )
    } else if is_iptables_forward(chain) {
        iptables_hint("iptables", &prefix)
    } else {
        format!(
            "nft insert rule {place} iifname \"{prefix}*\" accept; nft insert rule {place} oifname \"{prefix}*\" accept"
        )
    };
    Diagnostic::warning(&codes::FIREWALL_DROPS, format!("the chain {place} may drop what containers send and receive"))
        .cause(if chain.drops { "its policy is to drop" } else { "it has rules that drop or reject" })
        .hint(hint)
}

fn is_iptables_forward(chain: &Chain) -> bool {
    chain.table == filter_table() && chain.name == "FORWARD"
}

fn iptables_hint(program: &str, prefix: &str) -> String {
    format!("{program} -I FORWARD -i {prefix}+ -j ACCEPT; {program} -I FORWARD -o {prefix}+ -j ACCEPT")
}

/// The kernel's older packet filter, which only its own program speaks to.
fn legacy_warning(tag: &str) -> Option<Diagnostic> {
    if !legacy_is_used() {
        return None;
    }
    let prefix = link_prefix(tag);
    let warning = Diagnostic::warning(
        &codes::FIREWALL_DROPS,
        "the legacy chain FORWARD may drop what containers send and receive",
    )
    .hint(iptables_hint("iptables-legacy", &prefix));
    let listing = |chain: &str| {
        let output = Command::new("iptables-legacy").args(["-w", "-S", chain]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    match listing("FORWARD") {
        Ok(forward) => {
            let drops = forward.lines().any(|line| line == "-P FORWARD DROP" || line.ends_with("-j DROP"));
            let admitted = forward.contains(&format!("{prefix}+"))
                || listing(DOCKER_USER).is_ok_and(|rules| rules.contains(&format!("{prefix}+")));
            (drops && !admitted).then(|| warning.cause("its policy or a rule of it drops"))
        }
        Err(error) => Some(warning.cause(format!("it is in use, and iptables-legacy can't be asked: {error}"))),
    }
}

pub(crate) fn legacy_is_used() -> bool {
    std::fs::read_to_string(LEGACY_TABLES).is_ok_and(|tables| tables.lines().any(|table| table == "filter"))
}

fn legacy_has_chain(chain: &str) -> bool {
    legacy_is_used() && legacy(&["-S", chain])
}

/// Whether the program is there and succeeds.
fn legacy(arguments: &[&str]) -> bool {
    let output = Command::new("iptables-legacy").arg("-w").args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}
