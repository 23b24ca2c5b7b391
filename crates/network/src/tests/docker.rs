//! Beside a real dockerd, which lives in the test's network namespace and in a mount namespace of its own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::*;

struct Docker {
    process: Child,
}

impl Docker {
    /// Starts it and waits until it listens; none, said aloud, where it is not installed or can't run here.
    fn start(host: &Host) -> Option<Self> {
        if Command::new("dockerd").arg("--version").output().is_err() {
            println!("skipped: dockerd is not on the path");
            return None;
        }
        let folder = |name: &str| host.folder.path().join(name).display().to_string();
        let process = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "dockerd", "--storage-driver", "vfs"])
            .args(["--data-root", &folder("docker-data"), "--exec-root", &folder("docker-exec")])
            .args(["--pidfile", &folder("docker.pid"), "--host", &format!("unix://{}", folder("docker.sock"))])
            .stderr(Stdio::piped())
            .spawn();
        let mut docker = Self { process: process.unwrap() };
        let mut log = BufReader::new(docker.process.stderr.take().unwrap());
        let mut said = String::new();
        while log.read_line(&mut said).unwrap() > 0 {
            if said.contains("API listen on") {
                // Somebody has to go on reading, or dockerd stops at a full pipe.
                std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
                return Some(docker);
            }
        }
        println!("skipped: dockerd does not run here: {}", said.lines().last().unwrap_or_default());
        None
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.process.id() as i32) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        }
        self.process.wait().unwrap();
    }
}

/// A machine on Docker's bridge, as one of its containers is.
fn docker_container() -> Namespace {
    let mut socket = Socket::route().unwrap();
    let bridge = socket.link("docker0").unwrap().unwrap().index;
    let gateway = socket.addresses().unwrap().into_iter().find(|found| found.index == bridge).unwrap();
    let IpAddr::V4(first) = gateway.address else { panic!("docker0 has no IPv4 address") };
    let address: IpAddr = Ipv4Addr::from(u32::from(first) + 100).into();
    let namespace = Namespace::create().unwrap();
    let veth = Veth {
        name: "vethdocker",
        bridge: Some(bridge),
        mtu_bytes: 1500,
        peer_name: "eth0",
        peer_mac: Mac::of(address),
        peer_namespace: namespace.as_fd(),
    };
    socket.execute(&[route::create_veth(&veth)]).unwrap();
    let inside = || {
        let mut socket = Socket::route().unwrap();
        let index = socket.link("eth0").unwrap().unwrap().index;
        let messages = [
            route::add_address(index, address, gateway.prefix),
            route::set_up(index),
            route::add_default_route(gateway.address),
        ];
        socket.execute(&messages).unwrap();
        Ok(())
    };
    namespace.run(inside).unwrap();
    namespace
}

/// Docker's rules without counters and comments of time.
fn rules_of_docker() -> Vec<String> {
    let mut rules = Vec::new();
    for table in ["filter", "nat"] {
        let text = output("iptables", &["-t", table, "-S"]).unwrap();
        rules.extend(text.lines().filter(|line| !line.contains("ck")).map(|line| format!("{table} {line}")));
    }
    rules
}

fn assert_all_is_well(host: &Host, ours: &Container, dockers: &Namespace, outside: &Outside) {
    assert_reaches(&ours.namespace, outside.address, 443);
    assert_reaches(dockers, outside.address, 443);
    assert_dropped(&outside.namespace, ours.address(), 80);
    assert_dropped(dockers, ours.address(), 80);
    assert_eq!(host.networks.firewall_warnings().unwrap(), []);
}

#[test]
fn docker_was_there_first_and_both_get_out_and_keep_their_rules() {
    on_both_hosts(|host| {
        let outside = host.outside(0);
        let _server = listen(&outside.namespace, 443);
        let Some(docker) = Docker::start(host) else { return };
        let before = rules_of_docker();
        assert!(before.contains(&"filter -P FORWARD DROP".to_owned()), "{before:#?}");
        host.create("app");
        let a = host.container("a", &["app"]);
        let _listening = listen(&a.namespace, 80);
        let dockers = docker_container();
        assert_all_is_well(host, &a, &dockers, &outside);
        assert_eq!(rules_of_docker(), before);

        // A restart of Docker runs over its rules again; ours have to be readable to it, and to survive.
        drop(docker);
        let Some(docker) = Docker::start(host) else { return };
        assert_all_is_well(host, &a, &dockers, &outside);
        assert_eq!(rules_of_docker(), before);

        host.networks.detach("a").unwrap();
        host.networks.remove("app").unwrap();
        assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);
        assert_reaches(&dockers, outside.address, 443);
        assert_eq!(rules_of_docker(), before);
        drop(docker);
    });
}

#[test]
fn docker_came_later_and_both_get_out() {
    on_both_hosts(|host| {
        let outside = host.outside(0);
        let _server = listen(&outside.namespace, 443);
        host.create("app");
        let a = host.container("a", &["app"]);
        let _listening = listen(&a.namespace, 80);
        let Some(docker) = Docker::start(host) else { return };
        // The next container, or the next `up`, sees to Docker's chain.
        let b = host.container("b", &["app"]);
        let _also = listen(&b.namespace, 80);
        let dockers = docker_container();
        assert_all_is_well(host, &a, &dockers, &outside);
        assert_all_is_well(host, &b, &dockers, &outside);
        assert_reaches(&a.namespace, b.address(), 80);
        for id in ["a", "b"] {
            host.networks.detach(id).unwrap();
        }
        host.networks.remove("app").unwrap();
        assert_eq!(host.networks.leaks(&|_| true).unwrap(), []);
        // Forwarding was ours to turn off, but Docker needs it now.
        assert_reaches(&dockers, outside.address, 443);
        drop(docker);
    });
}
