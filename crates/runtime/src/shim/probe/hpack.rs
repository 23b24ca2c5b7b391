//! Header compression (RFC 7541) without the dynamic table, which [`super::http2`] tells the server not to use.

use std::sync::LazyLock;

/// `:method: POST` and `:scheme: http` of the static table (appendix A).
pub(super) const METHOD_POST: u8 = 0x83;
pub(super) const SCHEME_HTTP: u8 = 0x86;
/// Names of the static table.
pub(super) const AUTHORITY: u8 = 1;
pub(super) const PATH: u8 = 4;
pub(super) const CONTENT_TYPE: u8 = 31;

const STATIC_ENTRIES: usize = 61;
const FIRST_STATUS: usize = 8;
const STATUSES: [&str; 7] = ["200", "204", "206", "304", "400", "404", "500"];

/// A field whose name is in the static table, not to be remembered.
pub(super) fn literal(name: u8, value: &str) -> Vec<u8> {
    let mut bytes = integer(0, 4, usize::from(name));
    bytes.extend(string(value));
    bytes
}

/// A field, not to be remembered.
pub(super) fn literal_named(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(string(name));
    bytes.extend(string(value));
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let mut bytes = integer(0, 7, text.len());
    bytes.extend(text.as_bytes());
    bytes
}

/// Section 5.1.
fn integer(pattern: u8, prefix_bits: u32, number: usize) -> Vec<u8> {
    let most = (1 << prefix_bits) - 1;
    if number < most {
        return vec![pattern | number as u8];
    }
    let mut bytes = vec![pattern | most as u8];
    let mut rest = number - most;
    while rest >= 0x80 {
        bytes.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    bytes.push(rest as u8);
    bytes
}

/// Name and value of each field. Names of the static table other than `:status` come out empty: nobody asks for them.
/// None where the block is malformed.
pub(super) fn decode(mut block: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut fields = Vec::new();
    while let Some(first) = block.first().copied() {
        if first & 0x80 != 0 {
            let index = take_integer(&mut block, 7)?;
            let value =
                index.checked_sub(FIRST_STATUS).and_then(|place| STATUSES.get(place)).copied().unwrap_or_default();
            fields.push((name_of(index)?, value.into()));
        } else if first & 0xe0 == 0x20 {
            // The size of the table, which stays 0.
            take_integer(&mut block, 5)?;
        } else {
            let index = take_integer(&mut block, if first & 0xc0 == 0x40 { 6 } else { 4 })?;
            let name = if index == 0 { take_string(&mut block)? } else { name_of(index)? };
            fields.push((name, take_string(&mut block)?));
        }
    }
    Some(fields)
}

fn name_of(index: usize) -> Option<Vec<u8>> {
    match index {
        0 => None,
        _ if index > STATIC_ENTRIES => None,
        _ if (FIRST_STATUS..FIRST_STATUS + STATUSES.len()).contains(&index) => Some(b":status".to_vec()),
        _ => Some(Vec::new()),
    }
}

fn take_integer(bytes: &mut &[u8], prefix_bits: u32) -> Option<usize> {
    let (first, mut rest) = bytes.split_first()?;
    let most = (1usize << prefix_bits) - 1;
    let mut number = usize::from(*first) & most;
    if number == most {
        let mut shift = 0;
        loop {
            let (byte, after) = rest.split_first()?;
            rest = after;
            number = number.checked_add(usize::from(byte & 0x7f).checked_shl(shift)?)?;
            if byte & 0x80 == 0 {
                break;
            }
            shift += 7;
            if shift > 28 {
                return None;
            }
        }
    }
    *bytes = rest;
    Some(number)
}

fn take_string(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let is_huffman = bytes.first()? & 0x80 != 0;
    let length = take_integer(bytes, 7)?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    if is_huffman { huffman(text) } else { Some(text.to_vec()) }
}

/// Lengths in bits of the codes of all bytes and of the end (appendix B). The code is canonical: shorter ones come first,
/// and those of one length in order.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
const LONGEST: u8 = 30;

fn huffman(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let Codes { symbols, counts } = &*CODES;
    let mut bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
    loop {
        // The code read so far, the first code of its length, and how many codes are shorter.
        let (mut code, mut first, mut shorter) = (0u32, 0u32, 0usize);
        let mut length = 0;
        let symbol = loop {
            let Some(bit) = bits.next() else {
                // What fills the last byte are the first bits of the end: ones.
                return (length < 8 && code + 1 == 1 << length).then_some(text);
            };
            length += 1;
            code = code << 1 | u32::from(bit);
            first <<= 1;
            let count = *counts.get(usize::from(length))?;
            let place = code.checked_sub(first).map(|place| place as usize).filter(|place| *place < count);
            if let Some(place) = place {
                break *symbols.get(shorter + place)?;
            }
            first += count as u32;
            shorter += count;
            if length == LONGEST {
                return None;
            }
        };
        text.push(u8::try_from(symbol).ok()?);
    }
}

struct Codes {
    /// All symbols in the order of their codes.
    symbols: Vec<usize>,
    /// How many codes have each length.
    counts: Vec<usize>,
}

static CODES: LazyLock<Codes> = LazyLock::new(|| {
    let of_length =
        |length| (0..LENGTHS.len()).filter(move |symbol| LENGTHS.get(*symbol).is_some_and(|known| *known == length));
    Codes {
        symbols: (1..=LONGEST).flat_map(of_length).collect(),
        counts: (0..=LONGEST).map(|length| of_length(length).count()).collect(),
    }
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn the_examples_of_the_rfc() {
        // C.4.1 to C.4.3, C.6.1 and C.6.3: strings of Huffman's code.
        for (bytes, text) in [
            ("f1e3 c2e5 f23a 6ba0 ab90 f4ff", "www.example.com"),
            ("a8eb 1064 9cbf", "no-cache"),
            ("25a8 49e9 5ba9 7d7f", "custom-key"),
            ("6402", "302"),
            ("d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff", "Mon, 21 Oct 2013 20:13:22 GMT"),
        ] {
            assert_eq!(huffman(&hex(bytes)).as_deref(), Some(text.as_bytes()), "{text}");
        }
        // C.1: integers.
        assert_eq!((integer(0, 5, 10), integer(0, 5, 1337)), (vec![10], vec![31, 154, 10]));
        assert_eq!(take_integer(&mut [31, 154, 10].as_slice(), 5), Some(1337));
        // C.2.1 and C.2.4: a literal with a new name, an index.
        let block = hex("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572 20 88");
        let fields = decode(&block).unwrap();
        assert_eq!(fields[0], (b"custom-key".to_vec(), b"custom-header".to_vec()));
        assert_eq!(fields[1], (b":status".to_vec(), b"200".to_vec()));
        assert_eq!(decode(&[0xbe]), None, "nothing is in the dynamic table");
    }

    proptest! {
        #[test]
        fn no_block_panics(block: Vec<u8>) {
            let _ = decode(&block);
            let _ = huffman(&block);
        }

        #[test]
        fn what_is_written_is_read(name in "[a-z-]{1,300}", value in "[ -~]{0,300}") {
            let fields = decode(&literal_named(&name, &value)).unwrap();
            prop_assert_eq!(fields, vec![(name.into_bytes(), value.into_bytes())]);
        }
    }
}
