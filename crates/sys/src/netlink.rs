//! Netlink over a synchronous socket: messages are built and read by hand, several travel in one send.
//!
//! A socket belongs to the network namespace of the thread that opened it, for good.

/// Links, addresses and routes (rtnetlink).
pub mod route;

use std::os::fd::OwnedFd;

use rustix::io::{Errno, Result};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with};

const HEADER_BYTES: usize = 16;
const ATTRIBUTE_HEADER_BYTES: usize = 4;

/// The kernel sizes its dumps by the reader's buffer, up to this.
const RECEIVE_BUFFER_BYTES: usize = 32 * 1024;

/// Requests are answered by the time `send` returns; a longer silence is a fault, not patience.
const SILENCE_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// How often a dump is begun again because what it shows changed meanwhile.
const DUMP_ATTEMPTS: usize = 8;

/// One request: header, the family's fixed header, attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    bytes: Vec<u8>,
    too_long: bool,
}

impl Message {
    /// A request of type `kind` with the `NLM_F_*` bits of `flags` and the family's fixed header.
    pub fn new(kind: u16, flags: u16, fixed: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        bytes.extend_from_slice(fixed);
        let mut message = Self { bytes, too_long: false };
        message.pad();
        message
    }

    /// Appends an attribute. A value of 64 KiB or more makes the message unsendable (`EMSGSIZE`).
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        match u16::try_from(ATTRIBUTE_HEADER_BYTES + value.len()) {
            Ok(length) => {
                self.bytes.extend_from_slice(&length.to_ne_bytes());
                self.bytes.extend_from_slice(&kind.to_ne_bytes());
                self.bytes.extend_from_slice(value);
                self.pad();
            }
            Err(_) => self.too_long = true,
        }
        self
    }

    /// Appends an attribute that is a string with its terminating zero.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Self {
        let mut bytes = Vec::with_capacity(value.len() + 1);
        bytes.extend_from_slice(value.as_bytes());
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Appends an attribute that consists of the attributes `fill` appends.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | libc::NLA_F_NESTED as u16).to_ne_bytes());
        fill(self);
        match u16::try_from(self.bytes.len() - start) {
            Ok(length) => self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.too_long = true,
        }
        self
    }

    /// Appends bytes that are not an attribute: a second fixed header inside of a nest.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn append_to(&self, batch: &mut Vec<u8>, sequence: u32, more_flags: u16) -> Result<()> {
        let length = u32::try_from(self.bytes.len()).map_err(|_| Errno::MSGSIZE)?;
        if self.too_long {
            return Err(Errno::MSGSIZE);
        }
        let start = batch.len();
        batch.extend_from_slice(&self.bytes);
        let flags = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | more_flags;
        batch[start..start + 4].copy_from_slice(&length.to_ne_bytes());
        batch[start + 6..start + 8].copy_from_slice(&flags.to_ne_bytes());
        batch[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
        Ok(())
    }
}

/// One message of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// Of the request that it answers.
    pub sequence: u32,
    /// Fixed header and attributes.
    pub payload: &'a [u8],
}

/// Reads the messages of one datagram. Ends at the first length that does not fit, with an error.
pub fn replies(mut datagram: &[u8]) -> impl Iterator<Item = Result<Reply<'_>>> {
    std::iter::from_fn(move || {
        if datagram.is_empty() {
            return None;
        }
        let reply = split_reply(datagram);
        datagram = reply.map_or(&[], |(_, rest)| rest);
        Some(reply.map(|(reply, _)| reply).ok_or(Errno::BADMSG))
    })
}

fn split_reply(datagram: &[u8]) -> Option<(Reply<'_>, &[u8])> {
    let length = usize::try_from(u32_at(datagram, 0)?).ok()?;
    let payload = datagram.get(HEADER_BYTES..length)?;
    let reply =
        Reply { kind: u16_at(datagram, 4)?, flags: u16_at(datagram, 6)?, sequence: u32_at(datagram, 8)?, payload };
    Some((reply, datagram.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// Reads attributes as (type without flag bits, value). Ends at the first length that does not fit.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & libc::NLA_TYPE_MASK as u16;
        let value = bytes.get(ATTRIBUTE_HEADER_BYTES..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The value of the first attribute of that type.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A string attribute without its terminating zero; foreign bytes are replaced.
pub fn string(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

pub(crate) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

/// Which message of a batch the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Position in the batch; its length where sending or receiving itself failed.
    pub index: usize,
    /// Why.
    pub error: Errno,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "netlink message {}: {}", self.index, std::io::Error::from(self.error))
    }
}

impl std::error::Error for Refusal {}

/// A connection to the kernel.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// For links, addresses and routes of this thread's network namespace.
    pub fn route() -> Result<Self> {
        Self::open(None)
    }

    /// For the packet filter of this thread's network namespace.
    pub fn netfilter() -> Result<Self> {
        Self::open(Some(rustix::net::netlink::NETFILTER))
    }

    fn open(protocol: Option<rustix::net::Protocol>) -> Result<Self> {
        let fd = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        set_socket_timeout(&fd, Timeout::Recv, Some(SILENCE_LIMIT))?;
        // A connected socket takes messages of the kernel only, never of another process.
        connect(&fd, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; RECEIVE_BUFFER_BYTES] })
    }

    /// Sends all messages at once and waits until each is acknowledged; the first refusal is returned.
    ///
    /// The kernel goes on after a refused rtnetlink message: what follows it in the batch was attempted too.
    pub fn execute(&mut self, messages: &[Message]) -> std::result::Result<(), Refusal> {
        self.execute_flagged(messages, |_| true)
    }

    /// As [`Self::execute`], with only those messages acknowledged that `acknowledged` says.
    pub(crate) fn execute_flagged(
        &mut self,
        messages: &[Message],
        acknowledged: impl Fn(usize) -> bool,
    ) -> std::result::Result<(), Refusal> {
        let transport = |error| Refusal { index: messages.len(), error };
        let first = self.sequence.wrapping_add(1);
        let mut batch = Vec::with_capacity(messages.len() * 256);
        let mut expected = 0;
        for (index, message) in messages.iter().enumerate() {
            let flags = if acknowledged(index) { libc::NLM_F_ACK as u16 } else { 0 };
            expected += usize::from(flags != 0);
            let sequence = first.wrapping_add(index as u32);
            message.append_to(&mut batch, sequence, flags).map_err(|error| Refusal { index, error })?;
        }
        self.sequence = first.wrapping_add(messages.len() as u32);
        send_all(&self.fd, &batch).map_err(transport)?;
        while expected > 0 {
            let length = receive(&self.fd, &mut self.buffer).map_err(transport)?;
            for reply in replies(&self.buffer[..length]) {
                let reply = reply.map_err(transport)?;
                let index = reply.sequence.wrapping_sub(first) as usize;
                // Older sequences are what a refused batch left behind.
                if index >= messages.len() || i32::from(reply.kind) != libc::NLMSG_ERROR {
                    continue;
                }
                acknowledgement(&reply).map_err(|error| Refusal { index, error })?;
                expected -= 1;
            }
        }
        Ok(())
    }

    /// Asks for one object or a list (with `NLM_F_DUMP`) and makes a value of each answer that `read` understands.
    pub fn query<T>(&mut self, message: &Message, read: impl Fn(&Reply<'_>) -> Option<T>) -> Result<Vec<T>> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(answers) = self.query_once(message, &read)? {
                return Ok(answers);
            }
        }
        Err(Errno::INTR)
    }

    /// None where the list changed while it was read.
    fn query_once<T>(&mut self, message: &Message, read: &impl Fn(&Reply<'_>) -> Option<T>) -> Result<Option<Vec<T>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut batch = Vec::new();
        let is_dump = u16_at(&message.bytes, 6).is_some_and(|flags| flags & libc::NLM_F_DUMP as u16 != 0);
        message.append_to(&mut batch, self.sequence, if is_dump { 0 } else { libc::NLM_F_ACK as u16 })?;
        send_all(&self.fd, &batch)?;
        let (mut answers, mut consistent) = (Vec::new(), true);
        loop {
            let length = receive(&self.fd, &mut self.buffer)?;
            for reply in replies(&self.buffer[..length]) {
                let reply = reply?;
                if reply.sequence != self.sequence {
                    continue;
                }
                consistent &= reply.flags & libc::NLM_F_DUMP_INTR as u16 == 0;
                match i32::from(reply.kind) {
                    libc::NLMSG_DONE | libc::NLMSG_ERROR => {
                        acknowledgement(&reply)?;
                        return Ok(consistent.then_some(answers));
                    }
                    _ => answers.extend(read(&reply)),
                }
            }
        }
    }
}

/// Both an error message and the end of a dump begin with a negative errno or zero.
fn acknowledgement(reply: &Reply<'_>) -> Result<()> {
    match u32_at(reply.payload, 0).map(|code| code as i32) {
        Some(0) => Ok(()),
        Some(code) if (-4095..0).contains(&code) => Err(Errno::from_raw_os_error(-code)),
        _ => Err(Errno::BADMSG),
    }
}

fn send_all(fd: &OwnedFd, batch: &[u8]) -> Result<()> {
    let sent = rustix::io::retry_on_intr(|| send(fd, batch, SendFlags::empty()))?;
    if sent == batch.len() { Ok(()) } else { Err(Errno::MSGSIZE) }
}

fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> Result<usize> {
    let (_, length) = rustix::io::retry_on_intr(|| recv(fd, &mut *buffer, RecvFlags::TRUNC))?;
    if length > buffer.len() { Err(Errno::MSGSIZE) } else { Ok(length) }
}

#[cfg(test)]
mod tests;
