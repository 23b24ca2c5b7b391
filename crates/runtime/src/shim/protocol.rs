//! What is spoken on `shim.sock`: a stream of frames both ways, each one byte of type, four of length (little endian),
//! the payload. Numbers in payloads are little endian too.
//!
//! ```text
//! client → shim                                        shim → client
//! 01 attach        flags (1 byte)                      81 stdout         bytes
//! 02 stdin         bytes                               82 stderr         bytes
//! 03 stdin end                                         83 exited         status (4 bytes, −1 unknown)
//! 04 resize        columns, rows (2 bytes each)        84 done
//! 05 restart                                           85 refused        text
//! 06 restart in    milliseconds (8 bytes)              86 started        pid (4 bytes)
//! 07 stop intended                                     87 attached       1 with terminal, else 0 (1 byte)
//! 08 shutdown                                          88 failed         why, a `StartError` in postcard
//! 09 signal        number (4 bytes)
//! 0a paused        1 paused, 0 not (1 byte)
//! 0b keep
//! 10 lead          the container's address (4 bytes) and that of IPv6 (16 bytes), without the second, or nothing
//! 11 named         the container's new name
//! ```
//!
//! Every order (from 05 on) is answered by one `done`, `refused`, `started` or `failed`; `attach` by `attached`, then
//! output as it comes, and `exited` at the end of the program or at once where it has none. The length of a payload is at
//! most [`PAYLOAD_MAX`]. Whatever does not fit this ends the connection.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::StartError;

/// Name of the socket in the container's folder on the run root.
pub const SOCKET: &str = "shim.sock";

/// In bytes. A pump never reads more at once, so output frames never need to be split.
pub(super) const PAYLOAD_MAX: usize = 64 << 10;
const HEADER_LENGTH: usize = 5;

/// Flags of `attach`.
pub(super) mod attach {
    pub(crate) const STDIN: u8 = 1;
    pub(crate) const STDOUT: u8 = 2;
    pub(crate) const STDERR: u8 = 4;
    /// Runs the container in the foreground: may be slow for ever.
    pub(crate) const FOREGROUND: u8 = 8;
    /// Puts the container away at its end: nobody else is told of that before it has had the time.
    pub(crate) const PUTS_AWAY: u8 = 16;
}

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order<'a> {
    Attach { flags: u8 },
    Stdin(&'a [u8]),
    StdinEnd,
    Resize { columns: u16, rows: u16 },
    Restart,
    RestartIn { delay_ms: u64 },
    StopIntended,
    Shutdown,
    Signal(i32),
    Paused(bool),
    Keep,
    Lead(Option<(Ipv4Addr, Option<Ipv6Addr>)>),
    Named(&'a str),
}

/// What the shim says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer<'a> {
    Stdout(&'a [u8]),
    Stderr(&'a [u8]),
    Exited { status: Option<i32> },
    Done,
    Refused(&'a str),
    Started { pid: i32 },
    Attached { tty: bool },
    Failed(StartError),
}

/// Bytes that are no frame of this protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

impl<'a> Order<'a> {
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Attach { flags } => frame(to, 0x01, &[*flags]),
            Self::Stdin(bytes) => frame(to, 0x02, bytes),
            Self::StdinEnd => frame(to, 0x03, &[]),
            Self::Resize { columns, rows } => {
                let [a, b] = columns.to_le_bytes();
                let [c, d] = rows.to_le_bytes();
                frame(to, 0x04, &[a, b, c, d]);
            }
            Self::Restart => frame(to, 0x05, &[]),
            Self::RestartIn { delay_ms } => frame(to, 0x06, &delay_ms.to_le_bytes()),
            Self::StopIntended => frame(to, 0x07, &[]),
            Self::Shutdown => frame(to, 0x08, &[]),
            Self::Signal(number) => frame(to, 0x09, &number.to_le_bytes()),
            Self::Paused(paused) => frame(to, 0x0a, &[u8::from(*paused)]),
            Self::Keep => frame(to, 0x0b, &[]),
            Self::Lead(None) => frame(to, 0x10, &[]),
            Self::Lead(Some((address, None))) => frame(to, 0x10, &address.octets()),
            Self::Lead(Some((address, Some(ipv6)))) => {
                frame(to, 0x10, &[&address.octets()[..], &ipv6.octets()].concat());
            }
            Self::Named(name) => frame(to, 0x11, name.as_bytes()),
        }
    }

    fn decode(kind: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        Ok(match (kind, payload) {
            (0x01, [flags]) if *flags < 32 => Self::Attach { flags: *flags },
            (0x02, bytes) => Self::Stdin(bytes),
            (0x03, []) => Self::StdinEnd,
            (0x04, [a, b, c, d]) => {
                Self::Resize { columns: u16::from_le_bytes([*a, *b]), rows: u16::from_le_bytes([*c, *d]) }
            }
            (0x05, []) => Self::Restart,
            (0x06, bytes) => Self::RestartIn { delay_ms: u64::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?) },
            (0x07, []) => Self::StopIntended,
            (0x08, []) => Self::Shutdown,
            (0x09, bytes) => Self::Signal(number(bytes)?),
            (0x0a, [paused @ (0 | 1)]) => Self::Paused(*paused == 1),
            (0x0b, []) => Self::Keep,
            (0x10, []) => Self::Lead(None),
            (0x10, &[a, b, c, d]) => Self::Lead(Some(([a, b, c, d].into(), None))),
            (0x10, &[a, b, c, d, ref ipv6 @ ..]) => {
                let ipv6: [u8; 16] = ipv6.try_into().map_err(|_| Malformed)?;
                Self::Lead(Some(([a, b, c, d].into(), Some(ipv6.into()))))
            }
            (0x11, name) => Self::Named(std::str::from_utf8(name).map_err(|_| Malformed)?),
            _ => return Err(Malformed),
        })
    }
}

impl<'a> Answer<'a> {
    pub(super) fn encode(&self, to: &mut Vec<u8>) {
        match self {
            Self::Stdout(bytes) => frame(to, 0x81, bytes),
            Self::Stderr(bytes) => frame(to, 0x82, bytes),
            Self::Exited { status } => frame(to, 0x83, &status.unwrap_or(-1).to_le_bytes()),
            Self::Done => frame(to, 0x84, &[]),
            Self::Refused(text) => frame(to, 0x85, text.as_bytes()),
            Self::Started { pid } => frame(to, 0x86, &pid.to_le_bytes()),
            Self::Attached { tty } => frame(to, 0x87, &[u8::from(*tty)]),
            Self::Failed(error) => frame(to, 0x88, &postcard::to_stdvec(error).unwrap_or_default()),
        }
    }

    fn decode(kind: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        Ok(match (kind, payload) {
            (0x81, bytes) => Self::Stdout(bytes),
            (0x82, bytes) => Self::Stderr(bytes),
            (0x83, bytes) => Self::Exited { status: Some(number(bytes)?).filter(|status| *status >= 0) },
            (0x84, []) => Self::Done,
            (0x85, text) => Self::Refused(std::str::from_utf8(text).map_err(|_| Malformed)?),
            (0x86, bytes) => Self::Started { pid: number(bytes)? },
            (0x87, [tty @ (0 | 1)]) => Self::Attached { tty: *tty == 1 },
            (0x88, bytes) => Self::Failed(postcard::from_bytes(bytes).map_err(|_| Malformed)?),
            _ => return Err(Malformed),
        })
    }
}

fn number(bytes: &[u8]) -> Result<i32, Malformed> {
    Ok(i32::from_le_bytes(bytes.try_into().map_err(|_| Malformed)?))
}

fn frame(to: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let payload = payload.get(..PAYLOAD_MAX).unwrap_or(payload);
    to.push(kind);
    to.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    to.extend_from_slice(payload);
}

/// Bytes as they came, until they are whole frames. Never holds more than one frame and what one read added.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    start: usize,
}

impl Frames {
    /// Room to read into.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next order that has come whole.
    pub(super) fn next_order(&mut self) -> Result<Option<Order<'_>>, Malformed> {
        self.next().and_then(|frame| frame.map(|(kind, payload)| Order::decode(kind, payload)).transpose())
    }

    /// The next answer that has come whole.
    pub(super) fn next_answer(&mut self) -> Result<Option<Answer<'_>>, Malformed> {
        self.next().and_then(|frame| frame.map(|(kind, payload)| Answer::decode(kind, payload)).transpose())
    }

    fn next(&mut self) -> Result<Option<(u8, &[u8])>, Malformed> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let Some((&[kind, a, b, c, d], payload)) = rest.split_first_chunk::<HEADER_LENGTH>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > PAYLOAD_MAX {
            return Err(Malformed);
        }
        let Some(payload) = payload.get(..length) else { return Ok(None) };
        self.start += HEADER_LENGTH + length;
        Ok(Some((kind, payload)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hostile_bytes_never_panic_and_never_pile_up(chunks in prop::collection::vec(any::<Vec<u8>>(), 0..20)) {
            let mut frames = Frames::default();
            for chunk in &chunks {
                frames.push(chunk);
                while let Ok(Some(_)) = frames.next_order() {}
                prop_assert!(frames.bytes.len() - frames.start <= HEADER_LENGTH + PAYLOAD_MAX + chunk.len());
            }
        }

        #[test]
        fn orders_survive_any_cut(data: Vec<u8>, columns: u16, rows: u16, signal: i32, delay_ms: u64, cut in 1usize..9) {
            let orders = [
                Order::Attach { flags: 7 }, Order::Stdin(&data), Order::StdinEnd, Order::Resize { columns, rows },
                Order::Restart, Order::RestartIn { delay_ms }, Order::StopIntended, Order::Shutdown,
                Order::Signal(signal), Order::Paused(true), Order::Paused(false), Order::Keep,
                Order::Lead(None), Order::Lead(Some(([10, 0, 0, 2].into(), None))),
                Order::Lead(Some(([10, 0, 0, 2].into(), Some([7; 16].into())))), Order::Named("web"),
            ];
            let mut bytes = Vec::new();
            orders.iter().for_each(|order| order.encode(&mut bytes));
            let (mut frames, mut position) = (Frames::default(), 0);
            for chunk in bytes.chunks(cut) {
                frames.push(chunk);
                while let Some(order) = frames.next_order().unwrap() {
                    prop_assert_eq!(&order, &orders[position]);
                    position += 1;
                }
            }
            prop_assert_eq!(position, orders.len());
        }

        #[test]
        fn answers_survive(data: Vec<u8>, pid: i32, status in 0i32..256, text: String) {
            let answers = [
                Answer::Stdout(&data), Answer::Stderr(&data), Answer::Exited { status: Some(status) },
                Answer::Exited { status: None }, Answer::Done, Answer::Refused(&text), Answer::Started { pid },
                Answer::Attached { tty: true }, Answer::Failed(StartError::Shim { attempt: text.clone(), errno: pid }),
            ];
            let mut bytes = Vec::new();
            answers.iter().for_each(|answer| answer.encode(&mut bytes));
            let mut frames = Frames::default();
            frames.push(&bytes);
            for answer in &answers {
                prop_assert_eq!(&frames.next_answer().unwrap().unwrap(), answer);
            }
        }
    }

    #[test]
    fn a_length_beyond_the_bound_is_refused_before_it_is_awaited() {
        let mut frames = Frames::default();
        frames.push(&[0x02, 1, 0, 1, 0]);
        assert_eq!(frames.next_order(), Err(Malformed));
    }
}
