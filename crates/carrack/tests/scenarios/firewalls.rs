//! Published ports beside the firewalls that people have, as these set themselves up (X11; docs/design/013): what they close
//! is closed, and what they open is open.

use std::net::SocketAddr;
use std::process::Command;

use carrack_testkit::host::Outside;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::machine::{Machine, eventually, is_host_ours};
use super::reach::{asked_by, mirror};

#[track_caller]
fn tool(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{words:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// On the network of this machine itself, with this firewall on it; none, with the reason printed, where that can't be.
fn machine(program: &str) -> Option<Machine> {
    if !is_host_ours() {
        return None;
    }
    if Command::new(program).arg("--version").output().is_err() {
        eprintln!("skipped: {program} is not installed");
        return None;
    }
    Machine::new()
}

struct Host<'a> {
    machine: &'a Machine,
    outside: Outside,
}

impl Host<'_> {
    /// Whom the server takes those outside for; none where they do not reach it.
    fn asker(&self) -> Option<String> {
        self.outside.run(|| asked_by(SocketAddr::from((Outside::HOST, 8080))))
    }

    /// The way out of a container, to a port that somebody listens at.
    fn gets_out(&self) -> bool {
        let listener = self.outside.run(|| std::net::TcpListener::bind((Outside::ADDRESS, 8443)).unwrap());
        let address = Outside::ADDRESS.to_string();
        let mut client = self.machine.command(&["exec", "web", "nc", "-w", "5", &address, "8443"]).spawn().unwrap();
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        let reached = poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&patience)).unwrap() > 0;
        // Hung up, it ends.
        drop(reached.then(|| listener.accept()));
        client.wait().unwrap();
        reached
    }

    /// What `doctor` says of other firewalls.
    fn advice(&self) -> serde_json::Value {
        let report = self.machine.json_whatever(&["doctor"]);
        report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "other firewalls").unwrap().clone()
    }

    /// Closed by the firewall's own rules, opened by its own words.
    #[track_caller]
    fn assert_heeds(&self, open: &[&str], close: &[&str]) {
        assert_eq!(self.asker(), None, "closed");
        assert!(asked_by(SocketAddr::from(([127, 0, 0, 1], 8080))).is_some(), "this host itself");
        tool(open);
        eventually("open", || self.asker());
        tool(close);
        eventually("closed again", || self.asker().is_none().then_some(()));
    }
}

#[test]
fn firewalld_is_heeded() {
    let Some(machine) = machine("firewall-cmd") else { return };
    tool(&["systemctl", "start", "firewalld"]);
    mirror(&machine, "web", "8080:8000");
    let host = Host { machine: &machine, outside: Outside::connect() };
    host.assert_heeds(&["firewall-cmd", "--add-port=8080/tcp"], &["firewall-cmd", "--remove-port=8080/tcp"]);
    if !host.gets_out() {
        let advice = host.advice();
        assert!(advice["ok"] == false && advice["fix"].as_str().unwrap().contains("firewall-cmd"), "{advice}");
        let bridge = bridge(&machine);
        tool(&["firewall-cmd", "--zone=trusted", &format!("--add-interface={bridge}")]);
        assert!(host.gets_out(), "the advice opens the way out");
        assert_eq!(host.asker(), None, "and nothing else");
    }
    // Its rules made anew leave ours where they are.
    tool(&["firewall-cmd", "--reload"]);
    host.assert_heeds(&["firewall-cmd", "--add-port=8080/tcp"], &["firewall-cmd", "--remove-port=8080/tcp"]);
    tool(&["systemctl", "stop", "firewalld"]);
    eventually("the kernel path is open", || host.asker().filter(|from| *from == Outside::ADDRESS.to_string()));
    machine.finish();
}

#[test]
fn ufw_is_heeded() {
    let Some(machine) = machine("ufw") else { return };
    tool(&["ufw", "allow", "22/tcp"]);
    tool(&["ufw", "--force", "enable"]);
    mirror(&machine, "web", "8080:8000");
    let host = Host { machine: &machine, outside: Outside::connect() };
    let (open, close) = (["ufw", "allow", "8080/tcp"], ["ufw", "delete", "allow", "8080/tcp"]);
    host.assert_heeds(&open, &close);
    if !host.gets_out() {
        let advice = host.advice();
        let fix = advice["fix"].as_str().unwrap();
        assert!(advice["ok"] == false && fix.contains("ufw-before-forward"), "{advice}");
        let rule = fix.split("-i ").nth(1).unwrap().split_whitespace().next().unwrap();
        let path = "/etc/ufw/before.rules";
        let rules = std::fs::read_to_string(path).unwrap();
        let ours =
            format!("-A ufw-before-forward -i {rule} -j ACCEPT\n-A ufw-before-forward -o {rule} -j ACCEPT\nCOMMIT");
        std::fs::write(path, rules.replacen("COMMIT", &ours, 1)).unwrap();
        tool(&["ufw", "reload"]);
        assert!(host.gets_out(), "the advice opens the way out");
        host.assert_heeds(&open, &close);
        std::fs::write(path, rules).unwrap();
    }
    tool(&["ufw", "--force", "disable"]);
    eventually("the kernel path is open", || host.asker().filter(|from| *from == Outside::ADDRESS.to_string()));
    machine.finish();
}

/// The link of the only network that containers are on.
fn bridge(machine: &Machine) -> String {
    let pid = machine.pid("web");
    let inside = tool(&["nsenter", "-t", &pid.to_string(), "-n", "ip", "-o", "link", "show", "eth0"]);
    let peer = inside.split("eth0@if").nth(1).unwrap().split(':').next().unwrap().to_owned();
    let links = tool(&["ip", "-o", "link"]);
    let port = links.lines().find(|line| line.starts_with(&format!("{peer}: "))).unwrap();
    port.split(" master ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}
