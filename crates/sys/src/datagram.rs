use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};

use crate::process::{check, last_errno};

/// Room for one message of either family, aligned for its header.
type Control = [u64; 8];

/// A datagram as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    /// How many bytes.
    pub length: usize,
    /// Who sent it.
    pub from: SocketAddr,
    /// Which of our addresses it was sent to, as far as the kernel says.
    pub to: Option<IpAddr>,
}

/// Has the kernel say which address each datagram was sent to (ip(7) `IP_PKTINFO`, ipv6(7) `IPV6_RECVPKTINFO`).
pub fn report_destination(fd: impl AsFd, ipv6: bool) -> Result<()> {
    let (level, option) =
        if ipv6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
    let yes: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option's value is an integer that outlives the call.
    check(unsafe { libc::setsockopt(fd.as_fd().as_raw_fd(), level, option, (&raw const yes).cast(), length) })
}

/// Takes one datagram without waiting.
pub fn receive(fd: impl AsFd, buffer: &mut [u8]) -> Result<Received> {
    let mut name = MaybeUninit::<libc::sockaddr_storage>::zeroed();
    let mut control: Control = [0; 8];
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: plain integers and pointers, for which zero means none.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = name.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of::<Control>() as _;
    // SAFETY: every pointer leads to memory of the length beside it that outlives the call.
    let length = unsafe { libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT) };
    if length < 0 {
        return Err(last_errno());
    }
    // SAFETY: zeroed before and filled by the kernel.
    let from = address(unsafe { name.assume_init_ref() }).ok_or(Errno::AFNOSUPPORT)?;
    Ok(Received { length: length as usize, from, to: destination(&message) })
}

/// Sends one datagram without waiting, from one of our addresses.
pub fn send(fd: impl AsFd, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> Result<()> {
    let mut control: Control = [0; 8];
    let (mut name, name_length) = raw_address(to);
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: plain integers and pointers, for which zero means none.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut name).cast();
    message.msg_namelen = name_length;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if let Some(from) = from {
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Control>() as _;
        set_source(&mut message, from);
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: every pointer leads to memory of the length beside it that outlives the call, which writes none of it.
    let sent = unsafe { libc::sendmsg(fd.as_fd().as_raw_fd(), &raw const message, flags) };
    if sent < 0 { Err(last_errno()) } else { Ok(()) }
}

fn destination(message: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: the kernel has left whole control messages in the buffer that the header describes; the macros stay inside
    // of it, and the payload of each kind is the structure read, at any alignment.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            let data = libc::CMSG_DATA(header);
            match ((*header).cmsg_level, (*header).cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let information: libc::in_pktinfo = data.cast::<libc::in_pktinfo>().read_unaligned();
                    return Some(Ipv4Addr::from(u32::from_be(information.ipi_spec_dst.s_addr)).into());
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let information: libc::in6_pktinfo = data.cast::<libc::in6_pktinfo>().read_unaligned();
                    return Some(Ipv6Addr::from(information.ipi6_addr.s6_addr).into());
                }
                _ => header = libc::CMSG_NXTHDR(message, header),
            }
        }
    }
    None
}

/// Writes the one control message that names the source, into the buffer that the message has for it.
fn set_source(message: &mut libc::msghdr, from: IpAddr) {
    // SAFETY: the buffer has room for the larger of the two messages, is aligned for the header and is zeroed, and each
    // structure is plain integers.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(message);
        match from {
            IpAddr::V4(address) => {
                let mut information: libc::in_pktinfo = std::mem::zeroed();
                information.ipi_spec_dst.s_addr = u32::from(address).to_be();
                (*header).cmsg_level = libc::IPPROTO_IP;
                (*header).cmsg_type = libc::IP_PKTINFO;
                (*header).cmsg_len = libc::CMSG_LEN(size_of::<libc::in_pktinfo>() as u32) as _;
                libc::CMSG_DATA(header).cast::<libc::in_pktinfo>().write_unaligned(information);
                message.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in_pktinfo>() as u32) as _;
            }
            IpAddr::V6(address) => {
                let mut information: libc::in6_pktinfo = std::mem::zeroed();
                information.ipi6_addr.s6_addr = address.octets();
                (*header).cmsg_level = libc::IPPROTO_IPV6;
                (*header).cmsg_type = libc::IPV6_PKTINFO;
                (*header).cmsg_len = libc::CMSG_LEN(size_of::<libc::in6_pktinfo>() as u32) as _;
                libc::CMSG_DATA(header).cast::<libc::in6_pktinfo>().write_unaligned(information);
                message.msg_controllen = libc::CMSG_SPACE(size_of::<libc::in6_pktinfo>() as u32) as _;
            }
        }
    }
}

fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    let name = &raw const *name;
    match libc::c_int::from(
        // SAFETY: the family stands in every socket address.
        unsafe { (*name).ss_family },
    ) {
        libc::AF_INET => {
            // SAFETY: the family says that it is one of these, which the storage is large and aligned enough for.
            let inet = unsafe { &*name.cast::<libc::sockaddr_in>() };
            let address = Ipv4Addr::from(u32::from_be(inet.sin_addr.s_addr));
            Some(SocketAddrV4::new(address, u16::from_be(inet.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let inet = unsafe { &*name.cast::<libc::sockaddr_in6>() };
            let address = Ipv6Addr::from(inet.sin6_addr.s6_addr);
            let port = u16::from_be(inet.sin6_port);
            Some(SocketAddrV6::new(address, port, inet.sin6_flowinfo, inet.sin6_scope_id).into())
        }
        _ => None,
    }
}

fn raw_address(address: SocketAddr) -> (libc::sockaddr_storage, libc::socklen_t) {
    // SAFETY: plain integers, for which zero is valid.
    let mut storage: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let name = &raw mut storage;
    let length = match address {
        SocketAddr::V4(address) => {
            // SAFETY: the storage is large and aligned enough for every family's address.
            let inet = unsafe { &mut *name.cast::<libc::sockaddr_in>() };
            inet.sin_family = libc::AF_INET as libc::sa_family_t;
            inet.sin_port = address.port().to_be();
            inet.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let inet = unsafe { &mut *name.cast::<libc::sockaddr_in6>() };
            inet.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            inet.sin6_port = address.port().to_be();
            inet.sin6_flowinfo = address.flowinfo();
            inet.sin6_addr.s6_addr = address.ip().octets();
            inet.sin6_scope_id = address.scope_id();
            size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as libc::socklen_t)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn echo_to(address: &str, bound: &str) {
        let Ok(server) = UdpSocket::bind((bound, 0)) else {
            eprintln!("skipped: no address {bound}");
            return;
        };
        let ipv6 = bound.contains(':');
        report_destination(&server, ipv6).unwrap();
        let wanted: SocketAddr = (address.parse::<IpAddr>().unwrap(), server.local_addr().unwrap().port()).into();
        let client = UdpSocket::bind((if ipv6 { "::1" } else { "127.0.0.1" }, 0)).unwrap();
        // Connected, it hears nobody but the address that it has spoken to.
        client.connect(wanted).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        client.send(b"hello").unwrap();
        server.set_nonblocking(false).unwrap();
        server.peek_from(&mut [0; 9]).unwrap();
        let mut buffer = [0; 99];
        let received = receive(&server, &mut buffer).unwrap();
        let from = client.local_addr().unwrap();
        assert_eq!(received, Received { length: 5, from, to: Some(wanted.ip()) });
        send(&server, b"hello yourself", from, received.to).unwrap();
        assert_eq!(client.recv(&mut buffer).unwrap(), 14);
        assert_eq!(receive(&server, &mut buffer), Err(Errno::AGAIN));
    }

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        echo_to("127.0.0.2", "0.0.0.0");
        echo_to("::1", "::");
    }
}
