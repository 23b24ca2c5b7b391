//! Targets of `fuzz/`: what a container, another server or another process says to a shim, its worker and its probes.

use std::io::{Read, Write};

use super::log::{LINE_MAX, Lines, encode};
use super::protocol::Frames;
use super::{dns, names, probe, worker};

/// The name of its seeds, and what is fed with them.
pub type Target = (&'static str, fn(&[u8]));

/// What `fuzz/` and a test feed.
pub const TARGETS: &[Target] = &[
    ("dns", dns),
    ("event", crate::event::fuzz),
    ("hpack", probe::fuzz_hpack),
    ("http", probe::fuzz_http),
    ("http2", probe::fuzz_http2),
    ("log", log),
    ("names", names::fuzz),
    ("shim-protocol", protocol),
    ("worker", worker::fuzz),
];

/// A question for a name, and another server's answer to it.
fn dns(data: &[u8]) {
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

/// What a client says to a shim and a shim to a client: as much of it is understood however it arrives.
fn protocol(data: &[u8]) {
    let mut counts = Vec::new();
    for size in [1, 7, data.len().max(1)] {
        let (mut orders, mut answers) = (Frames::default(), Frames::default());
        let mut count = (0, 0);
        // What is no frame ends its connection.
        let (mut orders_go_on, mut answers_go_on) = (true, true);
        for chunk in data.chunks(size) {
            orders.push(chunk);
            answers.push(chunk);
            while orders_go_on {
                match orders.next_order() {
                    Ok(Some(_)) => count.0 += 1,
                    Ok(None) => break,
                    Err(_) => orders_go_on = false,
                }
            }
            while answers_go_on {
                match answers.next_answer() {
                    Ok(Some(_)) => count.1 += 1,
                    Ok(None) => break,
                    Err(_) => answers_go_on = false,
                }
            }
        }
        counts.push(count);
    }
    assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
}

/// Output, cut into lines and written as JSON: nothing is lost, and no line is too long.
fn log(data: &[u8]) {
    let Some((size, data)) = data.split_first() else { return };
    let (mut lines, mut encoded, mut whole) = (Lines::default(), Vec::new(), Vec::new());
    let mut emit = |line: &[u8], time: u64| {
        assert!(line.len() <= LINE_MAX);
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

/// A server that answers whatever is asked, and never hears.
pub(super) struct Answering<'a> {
    pub(super) bytes: &'a [u8],
    /// How many bytes it was told.
    pub(super) told: usize,
}

impl Read for Answering<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.bytes.read(buffer)
    }
}

impl Write for Answering<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.told += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[test]
fn no_input_breaks_what_reads_it() {
    carrack_testkit::fuzz::check(TARGETS);
}
