//! Hosts of a test's own: network namespaces in which nothing of the machine's is touched, with a world beside them.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use carrack_sys::netlink::Socket;
use carrack_sys::netlink::route::{self, Mac, Veth};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Whether frames within a bridge pass the host's packet filter too.
const BRIDGE_NF_CALL: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";

/// Runs a scenario on two hosts: one that hides frames within a bridge from its packet filter, and one that shows them to
/// it. Prints why where it can't.
pub fn on_both(scenario: impl Fn() + Sync) {
    for value in ["0", "1"] {
        in_thread(|| {
            if let Err(error) = route::unshare_network() {
                println!("skipped: no network namespace: {error}");
                return;
            }
            Socket::route().unwrap().execute(&[route::set_up(1)]).unwrap();
            // A new namespace takes over what the machine has.
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
            match std::fs::write(BRIDGE_NF_CALL, value) {
                Err(error) if value == "1" => println!("skipped: {BRIDGE_NF_CALL} = 1: {error}"),
                // Without the module nothing calls the packet filter, which is what 0 means.
                _ => scenario(),
            }
        });
    }
}

/// A machine beside the host, on a link of its own, that takes the host for its way to everywhere.
#[derive(Debug)]
pub struct Outside(OwnedFd);

impl Outside {
    /// The host as this machine sees it.
    pub const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    /// This machine.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

    /// Connects it to the network namespace of this thread.
    pub fn connect() -> Self {
        let namespace = in_thread(|| {
            route::unshare_network().unwrap();
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, "/proc/thread-self/ns/net", flags, Mode::empty()).unwrap()
        });
        let outside = Self(namespace);
        let mut socket = Socket::route().unwrap();
        let veth = Veth {
            name: "uplink",
            bridge: None,
            mtu_bytes: 1500,
            peer_name: "uplink",
            peer_mac: Mac::of(Self::ADDRESS.into()),
            peer_namespace: outside.0.as_fd(),
        };
        socket.execute(&[route::create_veth(&veth)]).unwrap();
        set_up(Self::HOST);
        outside.run(|| {
            set_up(Self::ADDRESS);
            Socket::route().unwrap().execute(&[route::add_default_route(Self::HOST.into())]).unwrap();
        });
        outside
    }

    /// Does `work` there. A socket stays there, whichever thread uses it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        in_thread(|| {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }
}

fn set_up(address: Ipv4Addr) {
    let mut socket = Socket::route().unwrap();
    let index = socket.link("uplink").unwrap().unwrap().index;
    socket.execute(&[route::add_address(index, address.into(), 24), route::set_up(index)]).unwrap();
}

/// A namespace is a thread's, and whatever the thread starts is born into it.
fn in_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}
