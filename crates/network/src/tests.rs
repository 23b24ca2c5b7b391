//! Every test makes a host of its own: a network namespace, a root in a temporary folder, and namespaces for containers
//! and for the world outside. The machine's own links, rules and sysctls are never touched.

mod addresses;
mod connecting;
mod dns;
mod docker;
mod firewalls;
mod ipv6;
mod leaks;
mod life;
mod published;
mod traffic;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use carrack_store::{Roots, Store};
use carrack_sys::netlink::Socket;
use carrack_sys::netlink::route::{self, Mac, Veth};

use crate::{Attachment, Endpoint, Namespace, Networks, Subnet, Wanted};

/// Whether frames within a bridge pass the host's packet filter too.
const BRIDGE_NF_CALL: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// How long a connection that should be refused is given to come about.
const PATIENCE: Duration = Duration::from_millis(300);

/// How long one that should come about is given, on a machine that is busy with other tests.
const LONG_PATIENCE: Duration = Duration::from_secs(10);

struct Host {
    networks: Networks,
    folder: tempfile::TempDir,
}

/// Runs a test on a host of its own, or says why not.
fn on_a_host(test: impl FnOnce(&Host) + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if let Err(error) = route::unshare_network() {
                println!("skipped: no network namespace: {error}");
                return;
            }
            Socket::route().unwrap().execute(&[route::set_up(1)]).unwrap();
            // A new namespace takes over what the machine has.
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
            test(&Host::new());
        });
    });
}

/// The same twice, with frames within a bridge hidden from the packet filter and shown to it.
fn on_both_hosts(test: impl Fn(&Host) + Send + Sync) {
    for value in ["0", "1"] {
        on_a_host(|host| match std::fs::write(BRIDGE_NF_CALL, value) {
            Ok(()) => test(host),
            Err(error) if value == "1" => println!("skipped: {BRIDGE_NF_CALL} = 1: {error}"),
            // Without the module nothing calls the packet filter, which is what 0 means.
            Err(_) => test(host),
        });
    }
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let roots = Roots { data: folder.path().join("data"), run: folder.path().join("run") };
        Self { networks: Networks::new(&Store::open(roots).unwrap()), folder }
    }

    fn create(&self, name: &str) -> crate::Network {
        self.networks.create(&Wanted { name: name.into(), ..Wanted::default() }).unwrap()
    }

    fn create_internal(&self, name: &str) -> crate::Network {
        self.networks.create(&Wanted { name: name.into(), internal: true, ..Wanted::default() }).unwrap()
    }

    /// A container on these networks.
    fn container(&self, id: &str, networks: &[&str]) -> Container {
        let namespace = Namespace::create().unwrap();
        let attachments: Vec<Attachment> = networks
            .iter()
            .map(|network| Attachment { network: (*network).into(), names: vec![id.into()], ..Attachment::default() })
            .collect();
        let endpoints = self.networks.attach(id, &namespace, &attachments).unwrap();
        Container { namespace, endpoints }
    }

    /// A machine on a link of its own, `outside` numbers it: 198.51.100.2 with the host at 198.51.100.1, or 203.0.113.
    fn outside(&self, number: usize) -> Outside {
        let (host, address) = [("198.51.100.1", "198.51.100.2"), ("203.0.113.1", "203.0.113.2")][number];
        let (host, address): (IpAddr, IpAddr) = (host.parse().unwrap(), address.parse().unwrap());
        let namespace = Namespace::create().unwrap();
        let name = format!("up{number}");
        let mut socket = Socket::route().unwrap();
        let veth = Veth {
            name: &name,
            bridge: None,
            mtu_bytes: 1500,
            peer_name: "eth0",
            peer_mac: Mac::of(address),
            peer_namespace: namespace.as_fd(),
        };
        socket.execute(&[route::create_veth(&veth)]).unwrap();
        let index = socket.link(&name).unwrap().unwrap().index;
        socket.execute(&[route::add_address(index, host, 24)]).unwrap();
        let inside = || {
            let mut socket = Socket::route().unwrap();
            let index = socket.link("eth0").unwrap().unwrap().index;
            // Its default route leads through the host: it can try to reach containers by their addresses.
            let messages =
                [route::add_address(index, address, 24), route::set_up(index), route::add_default_route(host)];
            socket.execute(&messages).unwrap();
            Ok(())
        };
        namespace.run(inside).unwrap();
        Outside { namespace, host, address }
    }

    /// What nft shows of this host; none without nft.
    fn ruleset(&self) -> Option<String> {
        output("nft", &["list", "ruleset"])
    }
}

struct Container {
    namespace: Namespace,
    endpoints: Vec<Endpoint>,
}

struct Outside {
    namespace: Namespace,
    /// The host as this machine sees it.
    host: IpAddr,
    address: IpAddr,
}

impl Container {
    fn address(&self) -> IpAddr {
        self.endpoints[0].address.into()
    }
}

/// A socket stays in the namespace it was made in, whichever thread uses it.
fn listen(namespace: &Namespace, port: u16) -> TcpListener {
    namespace.run(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap())).unwrap()
}

fn connect(namespace: &Namespace, to: impl Into<SocketAddr>, patience: Duration) -> std::io::Result<TcpStream> {
    let to = to.into();
    namespace.run(|| Ok(TcpStream::connect_timeout(&to, patience))).unwrap()
}

fn assert_reaches(namespace: &Namespace, to: IpAddr, port: u16) -> TcpStream {
    connect(namespace, (to, port), LONG_PATIENCE).unwrap_or_else(|error| panic!("{to}:{port}: {error}"))
}

#[track_caller]
fn assert_dropped(namespace: &Namespace, to: IpAddr, port: u16) {
    let error = connect(namespace, (to, port), PATIENCE).expect_err("a connection that was to be dropped came about");
    let kind = error.kind();
    let is_dropped = matches!(kind, std::io::ErrorKind::TimedOut | std::io::ErrorKind::NetworkUnreachable);
    assert!(is_dropped, "{to}:{port} was answered: {error}");
}

/// What a program prints; none, said aloud, where it is not installed. Its failure fails the test.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    match std::process::Command::new(program).args(arguments).output() {
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {errors}");
            Some(String::from_utf8(output.stdout).unwrap())
        }
        Err(error) => {
            println!("skipped: {program}: {error}");
            None
        }
    }
}

fn subnet(text: &str) -> Subnet {
    Subnet::parse(text).unwrap()
}
