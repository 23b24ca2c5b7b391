//! Who reaches published ports, and by which way (I2, X11).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use carrack_testkit::host::Outside;

use crate::machine::{BOUND, Machine, eventually, on_both_hosts};

/// A container that says who asked, on a published port.
pub(crate) fn mirror(machine: &Machine, name: &str, publish: &str) {
    let script = r#"mkdir /cgi-bin; echo '#!/bin/sh' > /cgi-bin/who; echo 'echo; echo "from $REMOTE_ADDR"' >> /cgi-bin/who
        chmod 755 /cgi-bin/who; httpd -f -p 8000 -h /"#;
    machine.ok(&["run", "-d", "--name", name, "-p", publish, "busybox", "sh", "-c", script]);
    eventually("the server listens", || {
        (machine.code(&["exec", name, "wget", "-q", "-O", "-", "http://127.0.0.1:8000/cgi-bin/who"]) == 0).then_some(())
    });
}

/// Whom the server says that it was asked by; none where nothing answers.
pub(crate) fn asked_by(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, std::time::Duration::from_millis(300)).ok()?;
    stream.set_read_timeout(Some(BOUND)).ok()?;
    stream.write_all(b"GET /cgi-bin/who HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let address = text.lines().find_map(|line| line.strip_prefix("from "))?;
    Some(address.trim_start_matches("[::ffff:").trim_end_matches(']').to_owned())
}

fn nft(script: &str) {
    let output = std::process::Command::new("nft").arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn is_nft_here() -> bool {
    let is_here = std::process::Command::new("nft").arg("--version").output().is_ok();
    if !is_here {
        eprintln!("skipped: nft is not installed");
    }
    is_here
}

#[test]
fn a_firewall_that_comes_later_is_heeded_at_once_and_the_source_is_kept_before() {
    on_both_hosts(|machine| {
        if !is_nft_here() {
            return;
        }
        let outside = Outside::connect();
        mirror(&machine, "web", "8080:8000");
        let port = SocketAddr::from((Outside::HOST, 8080));
        let from_outside = || outside.run(|| asked_by(port));
        assert_eq!(from_outside(), Some(Outside::ADDRESS.to_string()), "the kernel path keeps the source");
        // Nobody tells carrack: the shim sees it.
        nft("add table inet mine");
        nft("add chain inet mine in { type filter hook input priority 0; }");
        nft("add rule inet mine in tcp dport 22 drop");
        eventually("the way is the one that the firewall judges", || {
            from_outside().filter(|from| *from != Outside::ADDRESS.to_string())
        });
        nft("add rule inet mine in tcp dport 8080 drop");
        assert_eq!(from_outside(), None);
        nft("delete table inet mine");
        eventually("the kernel path is open again", || {
            from_outside().filter(|from| *from == Outside::ADDRESS.to_string())
        });
        machine.finish();
    });
}

/// Attempts as `from -> to: reached`, in the order that they were made.
fn attempts(machine: &Machine, arguments: &[&str]) -> Vec<String> {
    let found = machine.json(&[&["port", "--reach"], arguments].concat());
    let text = |attempt: &serde_json::Value, key: &str| attempt[key].as_str().unwrap().to_owned();
    let line = |attempt| {
        let (from, to, reached) = (text(attempt, "from"), text(attempt, "to"), text(attempt, "reached"));
        format!("{from} -> {to}: {reached}")
    };
    found.as_array().unwrap().iter().map(line).collect()
}

#[test]
fn reach_tries_who_gets_where_and_says_why() {
    on_both_hosts(|machine| {
        machine.ok(&["network", "create", "--subnet", "10.213.80.0/24", "front"]);
        machine.ok(&["network", "create", "--subnet", "10.213.81.0/24", "back"]);
        machine.ok(&["run", "-d", "--name", "other", "--network", "back", "busybox", "sleep", "1000"]);
        let script = "httpd -f -p 80 -h /";
        let publish = ["-p", "0.0.0.0:8080:80", "-p", "127.0.0.1:8081:81"];
        machine.ok(&[
            &["run", "-d", "--name", "web", "--network", "front", "--ip", "10.213.80.9"],
            &publish[..],
            &["busybox", "sh", "-c", script],
        ]
        .concat());
        eventually("the server listens", || {
            (machine.code(&["exec", "web", "wget", "-q", "-O", "/dev/null", "http://127.0.0.1/bin/busybox"]) == 0)
                .then_some(())
        });
        assert_eq!(
            attempts(&machine, &["web", "80"]),
            [
                "this host -> 127.0.0.1:8080: yes",
                "the network outside -> 192.0.2.1:8080: yes",
                "a container on front -> 10.213.80.1:8080: yes",
                "a container on back -> 10.213.81.1:8080: yes",
                "the network outside -> 10.213.80.9:80: no",
                "a container on front -> 10.213.80.9:80: yes",
                "a container on back -> 10.213.80.9:80: no",
            ]
        );
        // Published for this host alone, and nobody listens.
        let alone = attempts(&machine, &["web", "81"]);
        assert!(alone.contains(&"the network outside -> 192.0.2.1:8081: refused".to_owned()), "{alone:#?}");
        let text = machine.ok(&["port", "--reach", "web"]);
        for reason in ["it is published on 127.0.0.1 only", "networks are kept apart", "with the source address kept"] {
            assert!(text.contains(reason), "{text}");
        }
        if is_nft_here() {
            nft("add table inet mine");
            nft("add chain inet mine in { type filter hook input priority 0; }");
            nft("add rule inet mine in tcp dport 8080 ip saddr 192.0.2.0/24 drop");
            let shut =
                || attempts(&machine, &["web"]).contains(&"the network outside -> 192.0.2.1:8080: no".to_owned());
            eventually("the firewall has the last word", || shut().then_some(()));
            let text = machine.ok(&["port", "--reach", "web"]);
            assert!(text.contains("this host's firewall may drop it: inet mine in: it has rules"), "{text}");
            nft("delete table inet mine");
        }
        let failure = machine.fails(&["port"]);
        assert_ne!(failure.status, 0);
        machine.finish();
    });
}
