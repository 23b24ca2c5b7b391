use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socket_with};

use super::{HEADER_BYTES, SUBSYSTEM, TABLE_NAME};
use crate::netlink::{Reply, attribute, replies, string};

/// Tells when somebody changes the packet filter of the namespace that it was opened in.
#[derive(Debug)]
pub struct Watch(OwnedFd);

impl Watch {
    /// Sees changes from now on.
    pub fn open() -> Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(rustix::net::netlink::NETFILTER))?;
        let groups = 1 << (libc::NFNLGRP_NFTABLES - 1);
        rustix::net::bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        Ok(Self(fd))
    }

    /// Whether tables were changed since the last question whose name does not begin with `ignored`. More than was kept
    /// for us counts as a change.
    pub fn is_changed(&self, ignored: &str) -> bool {
        let mut buffer = [0; 8192];
        let mut changed = false;
        loop {
            match rustix::net::recv(&self.0, &mut buffer, RecvFlags::empty()) {
                Ok((0, _)) => return changed,
                Ok((length, _)) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    changed |= replies(bytes).any(|reply| reply.is_ok_and(|reply| concerns(&reply, ignored)));
                }
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => changed = true,
                Err(_) => return changed,
            }
        }
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Rules, chains and tables all name their table in the same place; sets only matter where a rule refers to them, which
/// can drop already.
fn concerns(change: &Reply<'_>, ignored: &str) -> bool {
    const KINDS: [i32; 6] = [
        libc::NFT_MSG_NEWTABLE,
        libc::NFT_MSG_DELTABLE,
        libc::NFT_MSG_NEWCHAIN,
        libc::NFT_MSG_DELCHAIN,
        libc::NFT_MSG_NEWRULE,
        libc::NFT_MSG_DELRULE,
    ];
    let kind = i32::from(change.kind) - i32::from(SUBSYSTEM);
    let table = change.payload.get(HEADER_BYTES..).and_then(|body| attribute(body, TABLE_NAME)).map(string);
    KINDS.contains(&kind) && table.is_some_and(|table| !table.starts_with(ignored))
}
