//! Names, walls between networks, published ports (G14, I1 to I3, I7).

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use carrack_testkit::host::Outside;

use crate::machine::{BOUND, Machine, eventually, kill, on_both_hosts};

/// How long a connection that should be refused is given to come about.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(300);

/// A container that answers `text` to every connection on port 8000.
fn server(machine: &Machine, name: &str, flags: &[&str], text: &str) {
    let script = format!("echo {text} > /index.html; httpd -f -v -p 8000 -h /");
    machine.ok(&[&["run", "-d", "--name", name], flags, &["busybox", "sh", "-c", &script]].concat());
    // Asked from inside, so that nothing but the server itself is waited for.
    eventually("the server listens", || {
        (machine.code(&["exec", name, "wget", "-q", "-O", "-", "http://127.0.0.1:8000/"]) == 0).then_some(())
    });
}

/// What a container of that network gets from a URL; none where it gets nothing.
fn fetch(machine: &Machine, network: &str, url: &str) -> Option<String> {
    // The bound is for the refusals, which are silence.
    let wget = ["busybox", "timeout", "2", "wget", "-q", "-O", "-", url];
    let output = machine.carrack(&[&["run", "--rm", "--init", "--network", network, "busybox"], &wget[..]].concat());
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn containers_of_one_network_find_each_other_and_no_others() {
    on_both_hosts(|machine| {
        machine.ok(&["network", "create", "front"]);
        machine.ok(&["network", "create", "back"]);
        server(&machine, "web", &["--network", "front", "--network-alias", "www"], "front page");
        assert_eq!(fetch(&machine, "front", "http://web:8000/").as_deref(), Some("front page"));
        assert_eq!(fetch(&machine, "front", "http://www:8000/").as_deref(), Some("front page"));
        assert_eq!(fetch(&machine, "back", "http://web:8000/"), None, "no name");
        let address = machine.json(&["inspect", "web"])[0]["NetworkSettings"]["Networks"]["front"]["IPAddress"].clone();
        let url = format!("http://{}:8000/", address.as_str().unwrap());
        assert_eq!(fetch(&machine, "front", &url).as_deref(), Some("front page"));
        assert_eq!(fetch(&machine, "back", &url), None, "no way by address either (I3)");

        // On both, it is reached from both.
        server(&machine, "bridge-head", &["--network", "front", "--network", "back"], "both");
        for network in ["front", "back"] {
            assert_eq!(fetch(&machine, network, "http://bridge-head:8000/").as_deref(), Some("both"), "{network}");
        }
        // A name goes with its container.
        machine.ok(&["rm", "-f", "web"]);
        assert_eq!(fetch(&machine, "front", "http://web:8000/"), None);
        machine.finish();
    });
}

#[test]
fn an_internal_network_has_no_way_out() {
    on_both_hosts(|machine| {
        machine.ok(&["network", "create", "--internal", "cellar"]);
        machine.ok(&["network", "create", "yard"]);
        let route = |network| machine.ok(&["run", "--rm", "--network", network, "busybox", "ip", "route"]);
        assert!(route("yard").contains("default via"), "a bridge has a way out");
        assert!(!route("cellar").contains("default"), "an internal one has none");
        server(&machine, "vault", &["--network", "cellar"], "gold");
        assert_eq!(fetch(&machine, "cellar", "http://vault:8000/").as_deref(), Some("gold"));
        assert_eq!(fetch(&machine, "yard", "http://vault:8000/"), None);
        machine.finish();
    });
}

/// A GET from the host, outside of every container.
fn get(port: u16) -> Option<String> {
    get_from((Ipv4Addr::LOCALHOST, port).into())
}

fn get_from(address: SocketAddr) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, BOUND).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned())
}

#[test]
fn a_published_port_answers_until_the_container_goes() {
    on_both_hosts(|machine| {
        server(&machine, "web", &["-p", "127.0.0.1:0:8000", "--restart", "always"], "published");
        let address = machine.ok(&["port", "web", "8000"]);
        let port: u16 = address.strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
        assert_eq!(get(port).as_deref(), Some("published"));
        let first = machine.pid("web");
        // From outside: what the user kills stays dead.
        kill(first);
        eventually("the policy restarts it", || (![0, first].contains(&machine.pid("web"))).then_some(()));
        assert_eq!(machine.ok(&["port", "web", "8000"]), address, "a restart moves no port");
        eventually("it answers again", || (get(port).as_deref() == Some("published")).then_some(()));
        machine.ok(&["rm", "-f", "web"]);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        machine.finish();
    });
}

#[test]
fn a_busy_port_names_its_holder() {
    on_both_hosts(|machine| {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let failure = machine.fails(&["run", "--rm", "-p", &format!("127.0.0.1:{port}:80"), "busybox", "true"]);
        assert_eq!((failure.code(), failure.status), ("engine/port-busy", 125));
        assert!(failure.text().contains(&format!("process {}", std::process::id())), "{}", failure.text());

        machine.ok(&["run", "-d", "--name", "first", "-p", "127.0.0.1:0:80", "busybox", "sleep", "1000"]);
        let taken = machine.ok(&["port", "first", "80"]);
        let failure = machine.fails(&["run", "--name", "second", "-p", &format!("{taken}:80"), "busybox", "true"]);
        assert_eq!(failure.code(), "engine/port-busy");
        assert!(failure.text().contains("the container first"), "{}", failure.text());
        machine.finish();
    });
}

#[test]
fn the_way_out_is_the_hosts_and_the_way_in_is_what_is_published() {
    on_both_hosts(|machine| {
        let outside = Outside::connect();
        machine.ok(&["network", "create", "front"]);
        machine.ok(&["network", "create", "back"]);
        server(&machine, "web", &["--network", "front", "-p", "8080:8000"], "published");
        let url = format!("http://{}:8080/", Outside::HOST);
        let from_outside = |to: SocketAddr| outside.run(|| get_from(to));
        assert_eq!(from_outside((Outside::HOST, 8080).into()).as_deref(), Some("published"));
        assert_eq!(get(8080).as_deref(), Some("published"));
        for network in ["front", "back"] {
            assert_eq!(fetch(&machine, network, &url).as_deref(), Some("published"), "{network}, by the host");
        }
        assert_eq!(machine.ok(&["exec", "web", "wget", "-q", "-O", "-", &url]), "published", "its own port");
        // What is not published is not reached, also not by who knows the address (I3).
        let address = machine.ok(&["inspect", "--format", "{{.NetworkSettings.Networks.front.IPAddress}}", "web"]);
        let address: IpAddr = address.parse().unwrap();
        let direct = outside.run(|| TcpStream::connect_timeout(&(address, 8000).into(), PATIENCE));
        assert!(direct.is_err());

        let listener = outside.run(|| TcpListener::bind((Outside::ADDRESS, 443)).unwrap());
        let address = Outside::ADDRESS.to_string();
        let mut client = machine.follow(&["run", "--rm", "-i", "--network", "back", "busybox", "nc", &address, "443"]);
        let (mut stream, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), IpAddr::from(Outside::HOST), "it goes out under the host's address");
        stream.write_all(b"welcome\n").unwrap();
        client.until("welcome");
        drop((stream, client));
        eventually("it ends", || machine.ok(&["ps", "-q"]).lines().count().eq(&1).then_some(()));
        machine.finish();
    });
}

#[test]
fn who_shares_a_network_shares_its_names() {
    on_both_hosts(|machine| {
        machine.ok(&["network", "create", "front"]);
        let flags = ["--network", "front", "--network-alias", "www", "-h", "head", "--add-host", "uphill:192.0.2.7"];
        server(&machine, "web", &flags, "front page");
        let beside = ["run", "--rm", "--network", "container:web", "busybox"];
        assert_eq!(machine.ok(&[&beside[..], &["hostname"]].concat()), "head");
        for file in ["/etc/hosts", "/etc/resolv.conf", "/etc/hostname"] {
            let theirs = machine.ok(&["exec", "web", "cat", file]);
            assert_eq!(machine.ok(&[&beside[..], &["cat", file]].concat()), theirs, "{file}");
        }
        let page = machine.ok(&[&beside[..], &["wget", "-q", "-O", "-", "http://www:8000/"]].concat());
        assert_eq!(page, "front page");
        machine.finish();
    });
}

#[test]
fn exposed_ports_are_published_by_one_flag() {
    on_both_hosts(|machine| {
        let flags = ["-P", "--expose", "8000", "--expose", "9000-9001/udp", "-p", "127.0.0.1:0:8000"];
        server(&machine, "web", &flags, "exposed");
        let ports = machine.ok(&["port", "web"]);
        let inside = |text: &str| ports.lines().filter(|line| line.starts_with(text)).count();
        assert_eq!(inside("8000/tcp -> 127.0.0.1:"), 1, "{ports}");
        assert_eq!(inside("8000/tcp"), 1, "what is published already is not published again: {ports}");
        assert!(inside("9000/udp -> 0.0.0.0:") == 1 && inside("9001/udp -> 0.0.0.0:") == 1, "{ports}");
        machine.finish();
    });
}

#[test]
fn ports_of_the_hosts_network_are_left_to_the_program() {
    on_both_hosts(|machine| {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let publish = format!("127.0.0.1:{port}:{port}");
        // A shim that held the port would keep the program from it.
        let script =
            format!("httpd -p 127.0.0.1:{port} && wget -q -O - http://127.0.0.1:{port}/no-such 2>&1 | grep 404");
        for network in ["host", "none"] {
            let flags = ["run", "--rm", "--network", network, "-p", &publish, "busybox", "sh", "-c", &script];
            let output = machine.carrack(&flags);
            assert!(output.status.success(), "{network}: {}", String::from_utf8_lossy(&output.stderr));
            assert!(String::from_utf8_lossy(&output.stderr).contains("cli/not-published"), "{network}");
        }
        machine.finish();
    });
}

#[test]
fn a_network_in_use_stays() {
    on_both_hosts(|machine| {
        machine.ok(&["network", "create", "--subnet", "10.213.77.0/24", "busy"]);
        assert!(
            machine
                .ok(&["run", "--rm", "--network", "busy", "--ip", "10.213.77.9", "busybox", "ip", "addr"])
                .contains("10.213.77.9/24")
        );
        machine.ok(&["run", "-d", "--name", "tenant", "--network", "busy", "busybox", "sleep", "1000"]);
        assert_eq!(machine.fails(&["network", "rm", "busy"]).code(), "network/in-use");
        assert_eq!(machine.fails(&["network", "create", "busy"]).code(), "network/name-taken");
        machine.ok(&["rm", "-f", "tenant"]);
        machine.ok(&["network", "rm", "busy"]);
        assert!(!machine.ok(&["network", "ls"]).contains("busy"));
        assert_eq!(
            machine.fails(&["run", "--rm", "--network", "busy", "busybox", "true"]).code(),
            "network/unknown-network"
        );
        machine.finish();
    });
}
