use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread::{Builder, JoinHandle, ScopedJoinHandle};

use carrack_diag::Result;
use carrack_sys::netlink::{Socket, route};
use carrack_sys::nftables::{Batch, Expression, Family, Hook, HookPoint, Table};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::fault::{Context as _, fault};
use crate::forwarding;

/// Where a container's resolver answers, inside its namespace.
pub const DNS_ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// `NF_IP_PRI_NAT_DST`.
const PRIORITY_DNAT: i32 = -100;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A network namespace, held by descriptor: it has no name and no mount, and dies with the last process or descriptor.
#[derive(Debug)]
pub struct Namespace(OwnedFd);

impl Namespace {
    /// A new one in which only the loopback interface is, up, and nothing is forwarded.
    ///
    /// A thread that lives for this alone moves into it, as the caller may have other threads and must stay where it is.
    ///
    /// # Errors
    /// `network/no-permission`, `network/kernel`.
    pub fn create() -> Result<Self> {
        Self::begin().wait()
    }

    /// Begins to make the same, while the caller does something else: the kernel waits for all processors meanwhile.
    pub fn begin() -> NamespaceBirth {
        NamespaceBirth(named_thread().spawn(Self::make_in_this_thread))
    }

    fn make_in_this_thread() -> Result<Self> {
        route::unshare_network().context(|| "can't make a network namespace".into())?;
        let namespace = Self::of_this_thread()?;
        bring_loopback_up()?;
        stay_out_of_forwarding()?;
        Ok(namespace)
    }

    /// The one that this thread is in.
    ///
    /// # Errors
    /// `network/kernel`.
    pub fn of_this_thread() -> Result<Self> {
        Self::open(Path::new("/proc/thread-self/ns/net"))
    }

    /// That of `/proc/PID/ns/net` or a mount of one.
    ///
    /// # Errors
    /// `network/no-permission`, `network/kernel`.
    pub fn open(path: &Path) -> Result<Self> {
        let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        fd.map(Self).context(|| format!("can't open the network namespace {}", path.display()))
    }

    /// Does `work` in a thread of its own that has moved into the namespace.
    ///
    /// # Errors
    /// Those of `work`, and `network/no-permission` where joining is refused.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        in_thread(|| {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .context(|| "can't join the container's network namespace".into())?;
            work()
        })
    }

    /// Leads what programs inside ask of 127.0.0.11:53 to the resolver's sockets at these high ports of the same address,
    /// so that port 53 stays free for the programs themselves. Answers are translated back with their connections.
    ///
    /// # Errors
    /// `network/kernel`.
    pub fn redirect_dns(&self, udp_port: u16, tcp_port: u16) -> Result<()> {
        let table = Table { family: Family::Ip, name: "carrack".into() };
        let mut batch = Batch::new();
        batch.add_table(&table);
        let hook = Hook { point: HookPoint::Output, is_nat: true, priority: PRIORITY_DNAT };
        batch.add_chain(&table, "output", Some(hook)).flush_chain(&table, "output");
        for (protocol, port) in [(UDP, udp_port), (TCP, tcp_port)] {
            let rule = [
                Expression::Destination(DNS_ADDRESS),
                Expression::Protocol(protocol),
                Expression::DestinationPort(53),
                Expression::TranslateDestination(DNS_ADDRESS, port),
            ];
            batch.append_rule(&table, "output", &rule, "names of containers");
        }
        self.run(|| {
            let attempt = || "can't lead port 53 to the container's resolver".to_owned();
            let mut socket = Socket::netfilter().context(attempt)?;
            batch.commit(&mut socket).context(attempt)
        })
    }
}

/// A namespace that is being made. Dropped, it goes when it is there.
#[derive(Debug)]
pub struct NamespaceBirth(std::io::Result<JoinHandle<Result<Namespace>>>);

impl NamespaceBirth {
    /// # Errors
    /// As for [`Namespace::create`].
    pub fn wait(self) -> Result<Namespace> {
        joined(self.0.map(JoinHandle::join))
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl From<OwnedFd> for Namespace {
    fn from(fd: OwnedFd) -> Self {
        Self(fd)
    }
}

impl From<Namespace> for OwnedFd {
    fn from(namespace: Namespace) -> Self {
        namespace.0
    }
}

fn bring_loopback_up() -> Result<()> {
    let attempt = || "can't bring up the loopback interface".to_owned();
    let mut socket = Socket::route().context(attempt)?;
    // The loopback interface is the first of every namespace.
    socket.execute(&[route::set_up(1)]).context(attempt)
}

/// A new namespace takes over the host's setting, and a container on two networks would be a router between them.
fn stay_out_of_forwarding() -> Result<()> {
    if forwarding::is_on(Family::Ip)? { forwarding::set(Family::Ip, false) } else { Ok(()) }
}

fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| joined(named_thread().spawn_scoped(scope, work).map(ScopedJoinHandle::join)))
}

fn named_thread() -> Builder {
    Builder::new().name("netns".into())
}

fn joined<T>(ended: std::io::Result<std::thread::Result<Result<T>>>) -> Result<T> {
    ended
        .map_err(|error| fault("can't start a thread for the network namespace", error))?
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
