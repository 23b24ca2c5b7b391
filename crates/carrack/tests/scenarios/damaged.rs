//! Files of the run root that somebody has damaged (X16, I-3).

use super::machine::Machine;

/// Nothing is lost with a file of addresses in use: what runs has them, and the next command that starts or stops a
/// container writes them down anew, to the letter.
#[test]
fn addresses_in_use_are_learned_anew() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["network", "create", "--ipv6", "other"]);
    let published = ["-p", "80", "-p", "80/udp", "--network-alias", "site"];
    let run = |name: &str, flags: &[&str]| {
        machine.ok(&[&["run", "-d", "--name", name], flags, &["busybox", "sleep", "1000"]].concat());
    };
    run("web", &published);
    run("wide", &["--network", "other", "-p", "80"]);
    machine.ok(&["network", "connect", "bridge", "wide"]);
    run("brief", &[]);
    let file = |network: &str| machine.path().join(format!("run/networks/{network}.leases"));
    let held = |network: &str| {
        let text = std::fs::read_to_string(file(network)).unwrap();
        text.lines().filter(|line| line.contains('\t')).map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let is_briefs = |line: &String| line.contains("\"brief\"");
    let mut before = (held("bridge"), held("other"));
    before.0.retain(|line| !is_briefs(line));

    std::fs::write(file("bridge"), "\0garbage").unwrap();
    std::fs::write(file("other"), std::fs::read_to_string(file("other")).unwrap().replace("fd", "zz")).unwrap();
    let refusal = machine.fails(&["inspect", "web"]);
    assert!(refusal.text().contains("store/corrupt-record"), "{}", refusal.text());
    assert!(refusal.text().contains("starts or stops a container"), "{}", refusal.text());
    assert!(machine.ok(&["doctor"]).contains("can't read the addresses in use"));
    machine.ok(&["stop", "-t", "0", "brief"]);
    assert_eq!((held("bridge"), held("other")), before);
    assert!(!machine.ok(&["doctor"]).contains("can't read the addresses in use"));
    let told = machine.ok(&["events", "--since", "1m", "--until", "0s", "--filter", "event=restore"]);
    assert_eq!(told.lines().count(), 2, "{told}");

    std::fs::write(file("bridge"), "garbage").unwrap();
    machine.ok(&["rm", "-f", "web", "wide", "brief"]);
    std::fs::write(file("bridge"), "garbage").unwrap();
    machine.ok(&["run", "--rm", "-p", "80", "busybox", "true"]);
    machine.ok(&["network", "rm", "other"]);
    machine.finish();
}
