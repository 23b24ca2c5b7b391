//! Connections that the kernel tracks (ctnetlink). Source: linux/netfilter/nfnetlink_conntrack.h.

use std::net::{IpAddr, SocketAddr};

use rustix::io::{Errno, Result};

use crate::netlink::{Message, Reply, Socket, attribute};

const SUBSYSTEM: u16 = (libc::NFNL_SUBSYS_CTNETLINK as u16) << 8;
const GET: u16 = 1;
const DELETE: u16 = 2;
const HEADER_BYTES: usize = 4;

const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const TUPLE_ADDRESSES: u16 = 1;
const TUPLE_PROTOCOL: u16 = 2;
const ADDRESS_V4_SOURCE: u16 = 1;
const ADDRESS_V6_SOURCE: u16 = 3;
const PROTOCOL_NUMBER: u16 = 1;
const PROTOCOL_SOURCE_PORT: u16 = 2;

fn request(kind: u16, family: u8, flags: i32) -> Message {
    Message::new(SUBSYSTEM | kind, flags as u16, &[family, 0, 0, 0])
}

/// Ends every tracked flow of a transport protocol that is answered from this address and port: the next packet of it is
/// judged and translated anew. The socket is one of [`Socket::netfilter`].
pub fn forget(socket: &mut Socket, protocol: u8, answered_by: SocketAddr) -> Result<()> {
    let family = if answered_by.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    let dump = request(GET, family, libc::NLM_F_DUMP);
    let originals = socket.query(&dump, |reply: &Reply<'_>| {
        let body = reply.payload.get(HEADER_BYTES..)?;
        let (from, number) = source(attribute(body, TUPLE_REPLY)?)?;
        let is_meant = (from, number) == (answered_by, protocol);
        is_meant.then(|| attribute(body, TUPLE_ORIGINAL).map(<[u8]>::to_vec)).flatten()
    })?;
    for original in originals {
        let mut message = request(DELETE, family, 0);
        message.attribute(TUPLE_ORIGINAL | libc::NLA_F_NESTED as u16, &original);
        match socket.execute(&[message]) {
            // It ended by itself.
            Err(refusal) if refusal.error == Errno::NOENT => {}
            other => other.map_err(|refusal| refusal.error)?,
        }
    }
    Ok(())
}

/// Where packets in the direction of a tuple come from, and their transport protocol.
fn source(tuple: &[u8]) -> Option<(SocketAddr, u8)> {
    let addresses = attribute(tuple, TUPLE_ADDRESSES)?;
    let v4 = attribute(addresses, ADDRESS_V4_SOURCE).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let v6 = attribute(addresses, ADDRESS_V6_SOURCE).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    let address = v4.map(IpAddr::from).or(v6.map(IpAddr::from))?;
    let protocol = attribute(tuple, TUPLE_PROTOCOL)?;
    let port = u16::from_be_bytes(attribute(protocol, PROTOCOL_SOURCE_PORT)?.try_into().ok()?);
    Some((SocketAddr::new(address, port), *attribute(protocol, PROTOCOL_NUMBER)?.first()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn reader_takes_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = source(&bytes);
        }
    }
}
