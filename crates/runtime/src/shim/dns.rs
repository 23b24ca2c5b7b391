//! Just enough of the domain name system's messages (RFC 1035, RFC 3596) to answer for a handful of names: pure, bounded,
//! and indifferent to whatever bytes a container sends.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Of a name on the wire, with its length bytes (RFC 1035, section 2.3.4).
const NAME_MAX: usize = 255;
/// What fits into a datagram without further agreement (RFC 1035, section 4.2.1).
pub(super) const DATAGRAM_MAX: usize = 512;
const HEADER_LENGTH: usize = 12;

const RESPONSE: u16 = 0x8000;
const OPCODE_MASK: u16 = 0x7800;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_DESIRED: u16 = 0x0100;
const RECURSION_AVAILABLE: u16 = 0x0080;
const CLASS_INTERNET: u16 = 1;
/// Points at the question's name, which always begins behind the header.
const POINTER_TO_QUESTION: u16 = 0xc00c;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// The name of an address.
    Ptr,
    /// Something that we never know.
    Other(u16),
}

impl Kind {
    fn number(self) -> u16 {
        match self {
            Self::A => 1,
            Self::Ptr => 12,
            Self::Aaaa => 28,
            Self::Other(number) => number,
        }
    }

    fn from(number: u16) -> Self {
        match number {
            1 => Self::A,
            12 => Self::Ptr,
            28 => Self::Aaaa,
            number => Self::Other(number),
        }
    }
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NotImplemented = 4,
}

/// A question as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) id: u16,
    flags: u16,
    /// Lower case, with dots, without the last one. A byte that is no plain character makes it equal no name of ours.
    pub(super) name: String,
    pub(super) kind: Kind,
    class: u16,
    /// Name, kind and class as they came, case preserved, to be said again in the answer.
    question: Vec<u8>,
    /// What the asker takes in one datagram.
    pub(super) datagram_max: usize,
}

/// What we say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    Address(IpAddr),
    Name(String),
}

/// Reads a query. None is no question that deserves an answer of any kind.
pub(super) fn parse(message: &[u8]) -> Option<Result<Query, Vec<u8>>> {
    let (id, flags) = (u16_at(message, 0)?, u16_at(message, 2)?);
    if message.len() < HEADER_LENGTH || flags & RESPONSE != 0 {
        return None;
    }
    if flags & OPCODE_MASK != 0 {
        return Some(Err(empty(id, flags, Code::NotImplemented)));
    }
    Some(question(message, id, flags).ok_or_else(|| empty(id, flags, Code::FormatError)))
}

fn question(message: &[u8], id: u16, flags: u16) -> Option<Query> {
    if u16_at(message, 4)? != 1 {
        return None;
    }
    let (name, end) = name_at(message, HEADER_LENGTH)?;
    let (kind, class) = (u16_at(message, end)?, u16_at(message, end + 2)?);
    let question = message.get(HEADER_LENGTH..end + 4)?.to_vec();
    let datagram_max = offered_size(message, end + 4).unwrap_or(DATAGRAM_MAX);
    Some(Query { id, flags, name, kind: Kind::from(kind), class, question, datagram_max })
}

/// The asker's own size (RFC 6891): an OPT record that is the only one behind the question.
fn offered_size(message: &[u8], start: usize) -> Option<usize> {
    let only = (u16_at(message, 6)?, u16_at(message, 8)?, u16_at(message, 10)?) == (0, 0, 1);
    let is_option = message.get(start)? == &0 && u16_at(message, start + 1)? == 41;
    (only && is_option).then(|| u16_at(message, start + 3))?.map(|size| usize::from(size).clamp(DATAGRAM_MAX, 4096))
}

/// A name that is written out, as a question's must be: pointers have nothing to point at before it.
fn name_at(message: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut position = start;
    loop {
        let length = usize::from(*message.get(position)?);
        position += 1;
        if length == 0 {
            return Some((name, position));
        }
        if length > 63 || position + length - start >= NAME_MAX {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        for byte in message.get(position..position + length)? {
            // A dot inside of a label must not look like one between labels.
            let plain = byte.is_ascii_graphic() && *byte != b'.';
            name.push(if plain { byte.to_ascii_lowercase().into() } else { char::REPLACEMENT_CHARACTER });
        }
        position += length;
    }
}

impl Query {
    /// Whether it is about the internet, as everything has been for decades.
    pub(super) fn is_internet(&self) -> bool {
        self.class == CLASS_INTERNET
    }

    /// The address that a question for its name is about.
    pub(super) fn reverse_address(&self) -> Option<IpAddr> {
        if self.kind != Kind::Ptr {
            return None;
        }
        if let Some(labels) = self.name.strip_suffix(".in-addr.arpa") {
            let mut bytes = [0; 4];
            let mut labels = labels.split('.');
            for byte in bytes.iter_mut().rev() {
                *byte = labels.next()?.parse().ok()?;
            }
            return labels.next().is_none().then(|| Ipv4Addr::from(bytes).into());
        }
        let mut number = 0u128;
        let mut labels = self.name.strip_suffix(".ip6.arpa")?.split('.');
        for position in 0..32 {
            let label = labels.next().filter(|label| label.len() == 1)?;
            number |= u128::from_str_radix(label, 16).ok()? << (4 * position);
        }
        labels.next().is_none().then(|| Ipv6Addr::from(number).into())
    }

    /// The answer. What does not fit into `size` bytes is left out and the answer marked, so that the asker comes again
    /// by TCP.
    pub(super) fn answer(&self, code: Code, records: &[Record], ttl_seconds: u32, size: usize) -> Vec<u8> {
        let mut message = self.header(code);
        message.extend_from_slice(&self.question);
        let mut count = 0u16;
        for record in records {
            let mut encoded = Vec::new();
            let data = record.data();
            for number in [POINTER_TO_QUESTION, record.kind(), CLASS_INTERNET] {
                encoded.extend(number.to_be_bytes());
            }
            encoded.extend(ttl_seconds.to_be_bytes());
            encoded.extend((data.len() as u16).to_be_bytes());
            encoded.extend(data);
            if message.len() + encoded.len() > size || count == u16::MAX {
                set_u16(&mut message, 2, self.answer_flags(code) | TRUNCATED);
                break;
            }
            message.extend(encoded);
            count += 1;
        }
        set_u16(&mut message, 6, count);
        message
    }

    fn answer_flags(&self, code: Code) -> u16 {
        RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | (self.flags & RECURSION_DESIRED) | code as u16
    }

    fn header(&self, code: Code) -> Vec<u8> {
        let mut message = Vec::with_capacity(DATAGRAM_MAX);
        for number in [self.id, self.answer_flags(code), 1, 0, 0, 0] {
            message.extend(number.to_be_bytes());
        }
        message
    }

    /// Whether a message of another server answers this question: an asker takes no answer to another.
    pub(super) fn is_answered_by(&self, message: &[u8]) -> bool {
        let is_response = u16_at(message, 2).is_some_and(|flags| flags & RESPONSE != 0);
        let question = message.get(HEADER_LENGTH..HEADER_LENGTH + self.question.len());
        let same = question.is_some_and(|question| question.eq_ignore_ascii_case(&self.question));
        is_response && message.len() >= HEADER_LENGTH && (same || u16_at(message, 4) == Some(0))
    }
}

impl Record {
    fn kind(&self) -> u16 {
        match self {
            Self::Address(IpAddr::V4(_)) => Kind::A.number(),
            Self::Address(IpAddr::V6(_)) => Kind::Aaaa.number(),
            Self::Name(_) => Kind::Ptr.number(),
        }
    }

    fn data(&self) -> Vec<u8> {
        match self {
            Self::Address(IpAddr::V4(address)) => address.octets().to_vec(),
            Self::Address(IpAddr::V6(address)) => address.octets().to_vec(),
            Self::Name(name) => encode_name(name),
        }
    }
}

/// A name on the wire; labels are cut to what the wire can carry.
fn encode_name(name: &str) -> Vec<u8> {
    let mut encoded = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = label.as_bytes();
        let label = label.get(..63).unwrap_or(label);
        if encoded.len() + label.len() + 2 > NAME_MAX {
            break;
        }
        encoded.push(label.len() as u8);
        encoded.extend_from_slice(label);
    }
    encoded.push(0);
    encoded
}

/// The id of a message.
pub(super) fn id(message: &[u8]) -> Option<u16> {
    u16_at(message, 0)
}

/// Gives a message another id.
pub(super) fn set_id(message: &mut [u8], id: u16) {
    set_u16(message, 0, id);
}

/// Whether a server knew what to say: there is such a name, or certainly none.
pub(super) fn is_conclusive(message: &[u8]) -> bool {
    u16_at(message, 2).is_some_and(|flags| matches!(flags & 0xf, 0 | 3))
}

/// Whether there is more by TCP.
pub(super) fn is_truncated(message: &[u8]) -> bool {
    u16_at(message, 2).is_some_and(|flags| flags & TRUNCATED != 0)
}

/// The same message without its records, marked as incomplete: for one that is too large for the asker's datagram.
pub(super) fn truncate(message: &mut Vec<u8>, query: &Query) {
    message.truncate(HEADER_LENGTH);
    message.extend_from_slice(&query.question);
    let flags = u16_at(message, 2).unwrap_or(0);
    set_u16(message, 2, flags | TRUNCATED);
    set_u16(message, 4, 1);
    for position in [6, 8, 10] {
        set_u16(message, position, 0);
    }
}

fn empty(id: u16, flags: u16, code: Code) -> Vec<u8> {
    let flags = RESPONSE | (flags & (OPCODE_MASK | RECURSION_DESIRED)) | code as u16;
    [id, flags, 0, 0, 0, 0].into_iter().flat_map(u16::to_be_bytes).collect()
}

fn u16_at(message: &[u8], position: usize) -> Option<u16> {
    let bytes = message.get(position..position.checked_add(2)?)?;
    Some(u16::from_be_bytes(bytes.try_into().ok()?))
}

fn set_u16(message: &mut [u8], position: usize, number: u16) {
    if let Some(bytes) = message.get_mut(position..position + 2) {
        bytes.copy_from_slice(&number.to_be_bytes());
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A query as a stub resolver writes it.
    pub(in crate::shim) fn query(id: u16, name: &str, kind: u16) -> Vec<u8> {
        let mut message: Vec<u8> = [id, RECURSION_DESIRED, 1, 0, 0, 0].into_iter().flat_map(u16::to_be_bytes).collect();
        message.extend(encode_name(name));
        message.extend(kind.to_be_bytes());
        message.extend(CLASS_INTERNET.to_be_bytes());
        message
    }

    /// The addresses in an answer of ours.
    pub(in crate::shim) fn addresses(message: &[u8]) -> Vec<IpAddr> {
        let (_, end) = name_at(message, HEADER_LENGTH).unwrap();
        let mut position = end + 4;
        let mut found = Vec::new();
        for _ in 0..u16_at(message, 6).unwrap() {
            let length = usize::from(u16_at(message, position + 10).unwrap());
            let data = &message[position + 12..position + 12 + length];
            match length {
                4 => found.push(IpAddr::from(<[u8; 4]>::try_from(data).unwrap())),
                _ => found.push(IpAddr::from(<[u8; 16]>::try_from(data).unwrap())),
            }
            position += 12 + length;
        }
        assert_eq!(position, message.len());
        found
    }

    fn parsed(message: &[u8]) -> Query {
        parse(message).unwrap().unwrap()
    }

    #[test]
    fn an_answer_repeats_the_question_with_its_case() {
        let query = parsed(&query(77, "Web.Example", 1));
        assert_eq!((query.name.as_str(), query.kind), ("web.example", Kind::A));
        let answer = query.answer(Code::NoError, &[Record::Address([10, 0, 0, 2].into())], 2, DATAGRAM_MAX);
        assert!(answer.windows(11).any(|window| window == b"Web\x07Example"));
        assert_eq!(addresses(&answer), [IpAddr::from([10, 0, 0, 2])]);
        assert!(query.is_answered_by(&answer));
        assert!(!parsed(&tests::query(77, "other", 1)).is_answered_by(&answer));
    }

    #[test]
    fn too_many_records_are_cut_and_marked() {
        let query = parsed(&query(1, "many", 1));
        let records: Vec<Record> = (0..100).map(|last| Record::Address([10, 0, 0, last].into())).collect();
        let answer = query.answer(Code::NoError, &records, 2, DATAGRAM_MAX);
        assert!(answer.len() <= DATAGRAM_MAX && is_truncated(&answer));
        assert_eq!(addresses(&answer).len(), (DATAGRAM_MAX - 22) / 16);
        assert_eq!(addresses(&query.answer(Code::NoError, &records, 2, 65535)).len(), 100);
    }

    #[test]
    fn pointers_and_long_names_in_a_question_are_errors_of_form() {
        let mut pointer = query(5, "", 1);
        pointer[12] = 0xc0;
        pointer.insert(13, 12);
        assert_eq!(parse(&pointer).unwrap().unwrap_err()[3] & 0xf, Code::FormatError as u8);
        let mut long = query(5, "", 1);
        long.splice(
            12..13,
            [[&[63u8][..], &[b'a'; 63]].concat(), [&[63u8][..], &[b'a'; 63]].concat()].concat().repeat(3),
        );
        assert!(parse(&long).unwrap().is_err());
        assert_eq!(parse(&[0; 11]), None);
        let mut response = query(5, "a", 1);
        response[2] |= 0x80;
        assert_eq!(parse(&response), None, "an answer is never answered");
    }

    #[test]
    fn reverse_questions_name_their_address() {
        let of = |name: &str| parsed(&query(1, name, 12)).reverse_address();
        assert_eq!(of("2.0.18.172.in-addr.arpa"), Some([172, 18, 0, 2].into()));
        let six = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
        assert_eq!(of(six), Some("fd00::2".parse().unwrap()));
        for wrong in ["2.0.18.in-addr.arpa", "1.2.0.18.172.in-addr.arpa", "300.0.0.1.in-addr.arpa", "ip6.arpa"] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes: Vec<u8>, tail: Vec<u8>) {
            let _ = parse(&bytes);
            let mut query = query(1, "db", 1);
            query.extend(&tail);
            if let Some(Ok(query)) = parse(&query) {
                let _ = query.is_answered_by(&bytes);
                let mut message = bytes.clone();
                truncate(&mut message, &query);
            }
        }

        #[test]
        fn names_survive(name in "[a-z0-9-]{1,20}(\\.[a-z0-9-]{1,20}){0,5}", id: u16, kind: u16, size in 512usize..4096) {
            let query = parsed(&query(id, &name, kind));
            prop_assert_eq!(&query.name, &name);
            let answer = query.answer(Code::NoError, &[Record::Name(name.clone())], 1, size);
            let (copy, end) = name_at(&answer, HEADER_LENGTH).unwrap();
            prop_assert_eq!(&copy, &name);
            prop_assert_eq!(name_at(&answer, end + 4 + 12).unwrap().0, name);
        }
    }
}
