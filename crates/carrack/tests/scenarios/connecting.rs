//! Networks of containers that run: connected, taken off, with IPv6, names and links (I1 to I3, I7, G14).

use carrack_testkit::host::Outside;

use crate::machine::{Machine, eventually, on_both_hosts};

/// A container that answers its own name to every connection on port 8000.
fn server(machine: &Machine, name: &str, flags: &[&str]) {
    let script = format!("echo {name} > /index.html; httpd -f -p 8000 -h /");
    machine.ok(&[&["run", "-d", "--name", name], flags, &["busybox", "sh", "-c", &script]].concat());
    eventually("the server listens", || fetch(machine, name, "127.0.0.1:8000").map(drop));
}

/// What a container gets from an address; none where it gets nothing.
fn fetch(machine: &Machine, from: &str, to: &str) -> Option<String> {
    let output = machine.carrack(&[
        "exec",
        from,
        "busybox",
        "timeout",
        "2",
        "busybox",
        "wget",
        "-q",
        "-O",
        "-",
        &format!("http://{to}/"),
    ]);
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[test]
fn a_running_container_is_connected_and_taken_off_with_its_names() {
    on_both_hosts(|machine| {
        machine.ok(&["network", "create", "front"]);
        machine.ok(&["network", "create", "back"]);
        server(&machine, "web", &["--network", "front", "-p", "8080:8000"]);
        server(&machine, "db", &["--network", "back"]);
        assert_eq!(fetch(&machine, "web", "db:8000"), None);

        machine.ok(&["network", "connect", "--alias", "shop", "--link", "db:store", "back", "web"]);
        assert_eq!(fetch(&machine, "web", "db:8000").as_deref(), Some("db"));
        assert_eq!(fetch(&machine, "web", "store:8000").as_deref(), Some("db"), "a link is the container's own name");
        assert_eq!(fetch(&machine, "db", "store:8000"), None);
        assert_eq!(fetch(&machine, "db", "shop:8000").as_deref(), Some("web"));
        let network = machine.json(&["network", "inspect", "back"])[0].clone();
        let containers = network["Containers"].as_object().unwrap();
        assert!(containers.values().any(|container| container["Name"] == "web"), "{network}");
        let failure = machine.fails(&["network", "connect", "back", "web"]);
        assert_eq!((failure.code(), failure.status), ("engine/invalid-network", 1));

        // Its published port leads to where it is now.
        machine.ok(&["network", "disconnect", "front", "web"]);
        let outside = Outside::connect();
        let reached = || outside.run(|| std::net::TcpStream::connect((Outside::HOST, 8080)).map(drop));
        reached().unwrap();
        assert_eq!(machine.ok(&["exec", "db", "wget", "-q", "-O", "-", "http://shop:8000/"]), "web");
        let hosts = machine.ok(&["exec", "web", "cat", "/etc/hosts"]);
        let address = machine.ok(&["inspect", "--format", "{{.NetworkSettings.Networks.back.IPAddress}}", "web"]);
        assert!(hosts.contains(&address), "{hosts}");
        assert!(machine.ok(&["exec", "web", "ip", "route"]).contains("default via"));

        machine.ok(&["network", "disconnect", "back", "web"]);
        assert_eq!(fetch(&machine, "db", "shop:8000"), None);
        assert_eq!(machine.fails(&["network", "disconnect", "back", "web"]).status, 1);
        machine.ok(&["network", "disconnect", "--force", "back", "web"]);
        // Connected while it is stopped, it is there when it starts.
        machine.ok(&["rm", "-f", "web"]);
        machine.ok(&["create", "--name", "late", "--network", "front", "busybox", "sleep", "1000"]);
        machine.ok(&["network", "connect", "back", "late"]);
        machine.ok(&["network", "disconnect", "front", "late"]);
        machine.ok(&["start", "late"]);
        assert_eq!(fetch(&machine, "late", "db:8000").as_deref(), Some("db"));
        machine.ok(&["rm", "-f", "late", "db"]);
        machine.ok(&["network", "rm", "front", "back"]);
        machine.finish();
    });
}

// CVE-2024-29018: what is asked for on an internal network goes nowhere, also after it was connected and taken off.
#[test]
fn a_container_asks_the_world_only_while_it_is_on_a_network_with_a_way_out() {
    on_both_hosts(|machine| {
        machine.ok(&["network", "create", "--internal", "cellar"]);
        machine.ok(&["network", "create", "front"]);
        let resolver = std::net::UdpSocket::bind("127.0.0.1:53").unwrap();
        resolver.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        let dns = ["--dns", "127.0.0.1", "--network", "cellar"];
        machine.ok(&[&["run", "-d", "--name", "asker"], &dns[..], &["busybox", "sleep", "1000"]].concat());
        // Whether a question for a name of the world arrives at the resolver.
        let asks = || {
            machine.carrack(&["exec", "asker", "busybox", "timeout", "1", "busybox", "nslookup", "leak.example"]);
            resolver.recv(&mut [0; 512]).is_ok()
        };
        assert!(!asks());
        machine.ok(&["network", "connect", "front", "asker"]);
        assert!(asks());
        machine.ok(&["network", "disconnect", "front", "asker"]);
        while resolver.recv(&mut [0; 512]).is_ok() {}
        assert!(!asks());
        machine.finish();
    });
}

#[test]
fn a_network_with_ipv6_gives_addresses_names_and_ports() {
    on_both_hosts(|machine| {
        if !std::path::Path::new("/proc/sys/net/ipv6").exists() {
            eprintln!("skipped: the kernel has no IPv6");
            return machine.finish();
        }
        let ranges = ["--subnet", "10.213.90.0/24", "--subnet", "fd00:90::/64", "--gateway", "fd00:90::99"];
        machine.ok(&[&["network", "create", "--ipv6"], &ranges[..], &["six"]].concat());
        let script = "mkdir /www; echo six > /www/index.html; httpd -f -p [::]:8000 -h /www";
        let place = ["--network", "name=six,ip=10.213.90.8,ip6=fd00:90::8,alias=www", "-p", "[::1]:0:8000"];
        machine.ok(&[&["run", "-d", "--name", "web"], &place[..], &["busybox", "sh", "-c", script]].concat());
        machine.ok(&["run", "-d", "--name", "ask", "--network", "six", "busybox", "sleep", "1000"]);
        eventually("it is reached by IPv6", || {
            fetch(&machine, "ask", "[fd00:90::8]:8000").filter(|text| text == "six")
        });
        let lookup = machine.ok(&["exec", "ask", "busybox", "nslookup", "-type=aaaa", "www"]);
        assert!(lookup.contains("fd00:90::8"), "{lookup}");
        let route = machine.ok(&["exec", "ask", "ip", "-6", "route"]);
        assert!(route.contains("default via fd00:90::99"), "{route}");
        let hosts = machine.ok(&["exec", "web", "cat", "/etc/hosts"]);
        assert!(hosts.contains("fd00:90::8"), "{hosts}");
        let inspected = machine.json(&["network", "inspect", "six"])[0].clone();
        assert_eq!(inspected["EnableIPv6"], true);
        assert_eq!(inspected["IPAM"]["Config"][1]["Gateway"], "fd00:90::99");
        let port: std::net::SocketAddr = machine.ok(&["port", "web", "8000"]).parse().unwrap();
        assert!(port.is_ipv6(), "{port}");
        std::net::TcpStream::connect(port).unwrap();
        // An address that is taken, and a range of IPv6 on a network that is to have none.
        let taken = ["run", "--rm", "--network", "name=six,ip6=fd00:90::8", "busybox", "true"];
        assert_eq!(machine.fails(&taken).code(), "network/address-taken");
        let without = machine.fails(&["network", "create", "--subnet", "fd00:91::/64", "seven"]);
        assert_eq!(without.code(), "engine/invalid-network");
        machine.finish();
    });
}

#[test]
fn what_docker_has_and_we_do_not_is_refused_by_name_and_leaves_nothing() {
    let Some(machine) = Machine::new() else { return };
    for (flags, word) in [
        (&["-d", "overlay"][..], "overlay"),
        (&["-d", "macvlan"], "not there yet"),
        (&["-d", "nonsense"], "nonsense"),
        (&["--ingress"], "--ingress"),
        (&["--scope", "swarm"], "swarm"),
        (&["--config-only"], "--config-only"),
        (&["--ipv4=false"], "every network has IPv4"),
        (&["--ipam-driver", "dhcp"], "dhcp"),
        (&["--ipam-opt", "a=b"], "a=b"),
        (&["--opt", "com.docker.network.bridge.gateway_mode_ipv4=routed"], "gateway_mode_ipv4"),
        (&["--opt", "nonsense=1"], "nonsense"),
        (&["--gateway", "10.1.2.3"], "10.1.2.3"),
        (&["--subnet", "10.9.0.0/24", "--subnet", "10.10.0.0/24"], "second range"),
    ] {
        let failure = machine.fails(&[&["network", "create"], flags, &["n"]].concat());
        assert_ne!(failure.status, 0);
        assert!(failure.text().contains(word), "{flags:?}: {}", failure.text());
    }
    assert_eq!(machine.ok(&["network", "ls", "-q", "--filter", "type=custom"]), "");
    machine.finish();
}

/// A command that was killed between the link and the record (I-3): the next one makes it whole.
#[test]
fn what_a_killed_connect_has_left_is_no_obstacle() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["network", "create", "back"]);
    machine.ok(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"]);
    let id = machine.ok(&["inspect", "--format", "{{.Id}}", "web"]);
    let path = machine.path().join("data/containers").join(id).join("record.json");
    let before = std::fs::read(&path).unwrap();
    machine.ok(&["network", "connect", "back", "web"]);
    std::fs::write(&path, before).unwrap();
    machine.ok(&["network", "connect", "back", "web"]);
    let networks = machine.ok(&[
        "inspect",
        "--format",
        "{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}",
        "web",
    ]);
    assert_eq!(networks.split_whitespace().collect::<Vec<_>>(), ["back", "bridge"]);
    assert_eq!(machine.ok(&["exec", "web", "sh", "-c", "ls /sys/class/net"]), "eth0\neth1\nlo");
    machine.ok(&["rm", "-f", "web"]);
    machine.ok(&["network", "rm", "back"]);
    machine.finish();
}
