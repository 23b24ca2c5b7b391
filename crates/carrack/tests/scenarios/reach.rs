//! Who reaches published ports, and by which way (I2, X11).

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use carrack_testkit::host::Outside;

use crate::machine::{BOUND, Machine, eventually, on_both_hosts};

/// A container that says who asked, on a published port.
fn mirror(machine: &Machine, name: &str, publish: &str) {
    let script = r#"mkdir /cgi-bin; echo '#!/bin/sh' > /cgi-bin/who; echo 'echo; echo "from $REMOTE_ADDR"' >> /cgi-bin/who
        chmod 755 /cgi-bin/who; httpd -f -p 8000 -h /"#;
    machine.ok(&["run", "-d", "--name", name, "-p", publish, "busybox", "sh", "-c", script]);
    eventually("the server listens", || {
        (machine.code(&["exec", name, "wget", "-q", "-O", "-", "http://127.0.0.1:8000/cgi-bin/who"]) == 0).then_some(())
    });
}

/// Whom the server says that it was asked by; none where nothing answers.
fn asked_by(address: SocketAddr) -> Option<String> {
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
        println!("skipped: nft is not installed");
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
