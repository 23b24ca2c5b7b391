//! The container's network namespace, entered for a moment to make sockets there.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use carrack_sys::process::{self, SingleThreaded, namespace};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// How many connections wait to be accepted, as far as the kernel's own bound allows.
const BACKLOG: i32 = 4096;

/// The namespace and the way back.
#[derive(Debug)]
pub(super) struct Network {
    container: OwnedFd,
    host: OwnedFd,
    proof: Rc<SingleThreaded>,
}

impl Network {
    pub(super) fn new(container: OwnedFd, proof: Rc<SingleThreaded>) -> Result<Self> {
        let host = rustix::fs::open("/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { container, host, proof })
    }

    /// What the container's processes join.
    pub(super) fn container(&self) -> BorrowedFd<'_> {
        self.container.as_fd()
    }

    /// Does something inside. Sockets made there stay there.
    pub(super) fn inside<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<T> {
        process::set_namespaces(&self.proof, &self.container, namespace::NETWORK)?;
        let result = act();
        if process::set_namespaces(&self.proof, &self.host, namespace::NETWORK).is_err() {
            // Nothing that we would do from here on would be in the network that it is meant for.
            super::server::complain("shim: the way back to the host's network is gone");
            process::exit_immediately(1);
        }
        result
    }
}

/// A socket that does not block and is not inherited.
pub(super) fn socket(address: IpAddr, kind: SocketType) -> Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// A bound socket, listening where it is a stream, and what it is bound to. `[::]` is IPv6 only: IPv4 has its own.
pub(super) fn bind(address: SocketAddr, kind: SocketType) -> Result<(OwnedFd, SocketAddr)> {
    let fd = socket(address.ip(), kind)?;
    if kind == SocketType::STREAM {
        // What was connected to a former socket may still linger.
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&fd, true)?;
    }
    rustix::net::bind(&fd, &address)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&fd, BACKLOG)?;
    }
    let bound = rustix::net::getsockname(&fd)?.try_into().map_err(|_| Errno::AFNOSUPPORT)?;
    Ok((fd, bound))
}

/// Begins a connection; whether it stands is known when the socket can be written to.
pub(super) fn connect(fd: &OwnedFd, address: SocketAddr) -> Result<()> {
    match rustix::net::connect(fd, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
        Err(errno) => Err(errno),
    }
}
