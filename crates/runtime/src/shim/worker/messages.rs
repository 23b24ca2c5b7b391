//! What the shim and its worker say to each other: whole messages on two socket pairs.
//!
//! ```text
//! shim → worker                                 worker → shim
//! 01 output   stream, time (8 bytes), bytes     01 log        the file to append to
//! 02 finish                                     02 next log   the same, after the present one was rotated
//! 03 lead     addresses (4 or 20 bytes), or none 03 names      the file of names
//! 04 ended                                      04 tcp        a socket in the container's network
//! 05 lost     how many bytes (8 bytes)          05 udp        the same
//!                                               06 finished
//!                                               80+ network  the names of the network of this number in the file of names
//! ```
//!
//! What the worker says is one byte. All but 06 is answered by four bytes, an errno or 0, with the descriptor that was asked
//! for; they go by a pair of their own. Numbers are little endian. Whatever does not fit this ends the worker.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, Result};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};

use crate::shim::stdio::Stream;

/// Before the bytes of a message, in bytes.
pub(super) const HEADER_MAX: usize = 17;

/// What the shim says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shim) enum Told<'a> {
    /// The program has written this.
    Output { stream: Stream, time_ns: u64, bytes: &'a [u8] },
    /// The program has ended: what has no line feed gets none. Answered by [`Asked::Finished`].
    Finish { time_ns: u64 },
    /// Where published ports lead from now on.
    Lead(Option<(Ipv4Addr, Option<Ipv6Addr>)>),
    /// The program has ended, and with it whoever was at the other end.
    Ended,
    /// So many bytes of output found no worker.
    Lost { bytes: u64, time_ns: u64 },
    /// So many found no room in the buffer.
    Dropped { bytes: u64, time_ns: u64 },
}

impl<'a> Told<'a> {
    fn head(&self) -> Vec<u8> {
        let numbered = |kind: u8, number: u64| [&[kind][..], &number.to_le_bytes()].concat();
        match self {
            Self::Output { stream: Stream::Stdout, time_ns, .. } => numbered(0x01, *time_ns),
            Self::Output { stream: Stream::Stderr, time_ns, .. } => numbered(0x11, *time_ns),
            Self::Finish { time_ns } => numbered(0x02, *time_ns),
            Self::Lead(None) => vec![0x03],
            Self::Lead(Some((address, None))) => [&[0x03][..], &address.octets()].concat(),
            Self::Lead(Some((address, Some(ipv6)))) => [&[0x03][..], &address.octets(), &ipv6.octets()].concat(),
            Self::Ended => vec![0x04],
            Self::Lost { bytes, time_ns } => [numbered(0x05, *bytes), time_ns.to_le_bytes().to_vec()].concat(),
            Self::Dropped { bytes, time_ns } => [numbered(0x06, *bytes), time_ns.to_le_bytes().to_vec()].concat(),
        }
    }

    fn body(&self) -> &'a [u8] {
        match self {
            Self::Output { bytes, .. } => bytes,
            _ => &[],
        }
    }

    /// The whole message.
    pub(super) fn encode(&self) -> Vec<u8> {
        [&self.head()[..], self.body()].concat()
    }

    /// Sends it without waiting.
    pub(super) fn send(&self, channel: impl AsFd) -> Result<()> {
        let head = self.head();
        let parts = [IoSlice::new(&head), IoSlice::new(self.body())];
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(channel, &parts, &mut SendAncillaryBuffer::default(), flags).map(drop)
    }

    pub(super) fn decode(message: &'a [u8]) -> Option<Self> {
        let (kind, rest) = message.split_first()?;
        let number = |rest: &'a [u8]| {
            let (number, rest) = rest.split_first_chunk::<8>()?;
            Some((u64::from_le_bytes(*number), rest))
        };
        let output = |stream| number(rest).map(|(time_ns, bytes)| Self::Output { stream, time_ns, bytes });
        match (kind, rest) {
            (0x01, _) => output(Stream::Stdout),
            (0x11, _) => output(Stream::Stderr),
            (0x02, time) => Some(Self::Finish { time_ns: u64::from_le_bytes(time.try_into().ok()?) }),
            (0x03, []) => Some(Self::Lead(None)),
            (0x03, &[a, b, c, d]) => Some(Self::Lead(Some(([a, b, c, d].into(), None)))),
            (0x03, &[a, b, c, d, ref ipv6 @ ..]) => {
                let ipv6: [u8; 16] = ipv6.try_into().ok()?;
                Some(Self::Lead(Some(([a, b, c, d].into(), Some(ipv6.into())))))
            }
            (0x04, []) => Some(Self::Ended),
            (0x05 | 0x06, _) => {
                let (bytes, rest) = number(rest)?;
                let time_ns = u64::from_le_bytes(rest.try_into().ok()?);
                Some(match kind {
                    0x05 => Self::Lost { bytes, time_ns },
                    _ => Self::Dropped { bytes, time_ns },
                })
            }
            _ => None,
        }
    }
}

/// What the worker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::shim) enum Asked {
    Log,
    NextLog,
    Names,
    Tcp,
    Udp,
    Finished,
    /// Below 128.
    Network(u8),
}

/// Of the first network.
const NETWORK: u8 = 0x80;

impl Asked {
    pub(super) fn encode(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::NextLog => 2,
            Self::Names => 3,
            Self::Tcp => 4,
            Self::Udp => 5,
            Self::Finished => 6,
            Self::Network(number) => NETWORK | number,
        }
    }

    pub(super) fn decode(message: &[u8]) -> Option<Self> {
        Some(match message {
            [1] => Self::Log,
            [2] => Self::NextLog,
            [3] => Self::Names,
            [4] => Self::Tcp,
            [5] => Self::Udp,
            [6] => Self::Finished,
            [byte @ NETWORK..=0xff] => Self::Network(byte & !NETWORK),
            _ => return None,
        })
    }
}

/// Answers what was asked, without waiting: an asker takes every answer before it asks again.
pub(super) fn answer(channel: impl AsFd, answer: Result<OwnedFd>) -> Result<()> {
    let errno = answer.as_ref().err().map_or(0, |errno| errno.raw_os_error()).to_le_bytes();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors: Vec<_> = answer.iter().map(AsFd::as_fd).collect();
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(channel, &[IoSlice::new(&errno)], &mut ancillary, flags).map(drop)
}

/// Waits for the answer to what was asked. None where the shim is gone.
pub(super) fn await_answer(channel: impl AsFd) -> Option<Result<OwnedFd>> {
    let mut bytes = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut parts = [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(&channel, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => break received.ok()?,
        }
    };
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match (received.bytes, i32::from_le_bytes(bytes)) {
        (4, 0) => Some(descriptor.ok_or(Errno::BADMSG)),
        (4, errno) => Some(Err(Errno::from_raw_os_error(errno))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_told_survives(bytes: Vec<u8>, time_ns: u64, count: u64) {
            let all = [
                Told::Output { stream: Stream::Stdout, time_ns, bytes: &bytes },
                Told::Output { stream: Stream::Stderr, time_ns, bytes: &bytes },
                Told::Finish { time_ns }, Told::Lead(None), Told::Lead(Some(([10, 0, 0, 2].into(), None))), Told::Lead(Some(([10, 0, 0, 2].into(), Some([7; 16].into())))), Told::Ended,
                Told::Lost { bytes: count, time_ns }, Told::Dropped { bytes: count, time_ns },
            ];
            for told in all {
                let message = told.encode();
                prop_assert_eq!(Told::decode(&message), Some(told));
                let longer = [&message[..], &[0]].concat();
                let is_output = matches!(told, Told::Output { .. });
                let is_address = matches!(told, Told::Lead(_));
                prop_assert!(is_output || is_address || Told::decode(&longer).is_none(), "{:?}", told);
            }
        }

        #[test]
        fn a_worker_that_was_taken_over_can_say_few_things(bytes: Vec<u8>, byte: u8) {
            let _ = Told::decode(&bytes);
            let asked = Asked::decode(&[byte]);
            prop_assert_eq!(asked.map(Asked::encode), ((1..7).contains(&byte) || byte >= NETWORK).then_some(byte));
            prop_assert!(bytes.len() == 1 || Asked::decode(&bytes).is_none());
        }
    }
}
