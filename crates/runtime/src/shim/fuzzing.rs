//! The ways of `fuzz/` to what reads hostile bytes. Not in any product.

use super::dns;
use super::log::{Lines, encode};
use super::protocol::Frames;

/// A question for a name, and another server's answer to it.
pub fn dns(data: &[u8]) {
    let (question, answer) = data.split_at(data.len() / 2);
    for question in [data, question] {
        let Some(parsed) = dns::parse(question) else { continue };
        match parsed {
            Err(error) => assert!(error.len() <= 12),
            Ok(query) => {
                let records = [dns::Record::Name(query.name.clone()), dns::Record::Address([10, 0, 0, 2].into())];
                let own = query.answer(dns::Code::NoError, &records, 1, query.datagram_max);
                assert!(own.len() <= query.datagram_max.max(question.len() + 12) && query.is_answered_by(&own));
                let _ = (query.reverse_address(), query.is_internet(), query.is_answered_by(answer));
                let mut answer = answer.to_vec();
                dns::set_id(&mut answer, 7);
                dns::truncate(&mut answer, &query);
                let _ = (dns::id(&answer), dns::is_truncated(&answer), dns::is_conclusive(&answer));
            }
        }
    }
}

/// What a client says to a shim and a shim to a client.
pub fn protocol(data: &[u8]) {
    for size in [1, 7, data.len().max(1)] {
        let (mut orders, mut answers) = (Frames::default(), Frames::default());
        for chunk in data.chunks(size) {
            orders.push(chunk);
            answers.push(chunk);
            while let Ok(Some(_)) = orders.next_order() {}
            while let Ok(Some(_)) = answers.next_answer() {}
        }
    }
}

/// What a shim and its worker say to each other.
pub fn worker(data: &[u8]) {
    super::worker::fuzz(data);
}

/// Output, cut into lines and written as JSON.
pub fn log(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let (mut lines, mut encoded, mut whole) = (Lines::default(), Vec::new(), Vec::new());
    let mut emit = |line: &[u8], time: u64| {
        encode(&mut encoded, "stdout", b"", line, time);
        whole.extend_from_slice(line);
    };
    for chunk in data.chunks(usize::from(*size).max(1)) {
        lines.push(chunk, 1, &mut emit);
    }
    lines.finish(2, &mut emit);
    assert_eq!(whole, data);
    for line in encoded.split_inclusive(|byte| *byte == b'\n') {
        serde_json::from_slice::<serde_json::Value>(line).expect("a line of JSON");
    }
}

/// The file of names.
pub fn names(data: &[u8]) {
    super::names::fuzz(&String::from_utf8_lossy(data));
}

/// Headers of an HTTP/2 answer.
pub fn hpack(data: &[u8]) {
    super::probe::fuzz_hpack(data);
}

/// An answer of HTTP/1.1.
pub fn http(data: &[u8]) {
    super::probe::fuzz_http(data);
}

/// An answer of HTTP/2.
pub fn http2(data: &[u8]) {
    super::probe::fuzz_http2(data);
}
