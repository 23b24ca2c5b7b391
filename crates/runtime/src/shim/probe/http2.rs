//! One call of grpc.health.v1.Health/Check over HTTP/2 without TLS and with prior knowledge (RFC 9113; gRPC over HTTP2).

use std::io::{Read, Write};
use std::time::Instant;

use carrack_oci::probe::Target;

use super::hpack;
use super::own::{Connection, Failure};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a frame may hold where nobody has asked for more.
const FRAME_MAX_BYTES: usize = 16_384;
/// All that is read of a server: its answer is a few bytes long.
const ANSWER_MAX_BYTES: usize = 256 << 10;

mod kind {
    pub(super) const DATA: u8 = 0;
    pub(super) const HEADERS: u8 = 1;
    pub(super) const RST_STREAM: u8 = 3;
    pub(super) const SETTINGS: u8 = 4;
    pub(super) const PING: u8 = 6;
    pub(super) const GOAWAY: u8 = 7;
    pub(super) const CONTINUATION: u8 = 9;
}

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// Ours: the first of a client.
const STREAM: u32 = 1;

#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// What has come of the answer.
#[derive(Debug, Default)]
struct Answer {
    http_status: Option<String>,
    grpc_status: Option<String>,
    grpc_message: String,
    message: Vec<u8>,
}

pub(super) fn ask(target: &Target, service: &str, deadline: Instant) -> Result<String, Failure> {
    let mut connection = Connection::open(target, deadline)?;
    let host = target.address.map_or_else(|| "localhost".to_owned(), |address| address.to_string());
    let authority =
        if host.contains(':') { format!("[{host}]:{}", target.port) } else { format!("{host}:{}", target.port) };
    connection.write_all(&request(&authority, service)).map_err(Failure::at("sending the request"))?;
    let answer = receive(&mut connection)?;
    let whom = if service.is_empty() { authority } else { format!("{authority} {service}") };
    let verdict = answer.verdict();
    let line = |verdict: &str| format!("grpc.health.v1 {whom}: {verdict}");
    verdict.map(|verdict| line(&verdict)).map_err(|verdict| Failure::Said(line(&verdict)))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, high, middle, low] = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![high, middle, low, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn request(authority: &str, service: &str) -> Vec<u8> {
    // A header table of no size, so that nothing refers to what went before; no pushes.
    let settings = [0, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0];
    let mut headers = vec![hpack::METHOD_POST, hpack::SCHEME_HTTP];
    headers.extend(hpack::literal(hpack::PATH, "/grpc.health.v1.Health/Check"));
    headers.extend(hpack::literal(hpack::AUTHORITY, authority));
    headers.extend(hpack::literal(hpack::CONTENT_TYPE, "application/grpc"));
    headers.extend(hpack::literal_named("te", "trailers"));

    // HealthCheckRequest { string service = 1 }, behind whether it is compressed and its length.
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        message.extend(varint(service.len() as u64));
        message.extend(service.as_bytes());
    }
    let mut data = vec![0];
    data.extend((message.len() as u32).to_be_bytes());
    data.extend(message);

    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(kind::SETTINGS, 0, 0, &settings));
    bytes.extend(frame(kind::HEADERS, END_HEADERS, STREAM, &headers));
    bytes.extend(frame(kind::DATA, END_STREAM, STREAM, &data));
    bytes
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn read_frame(connection: &mut impl Read) -> Result<Frame, Failure> {
    let mut head = [0; 9];
    connection.read_exact(&mut head).map_err(Failure::at("reading the answer"))?;
    let [high, middle, low, kind, flags, stream @ ..] = head;
    let length = u32::from_be_bytes([0, high, middle, low]) as usize;
    if length > FRAME_MAX_BYTES {
        return Err(Failure::Said("no answer of HTTP/2: a frame is too long".into()));
    }
    let mut payload = vec![0; length];
    connection.read_exact(&mut payload).map_err(Failure::at("reading the answer"))?;
    Ok(Frame { kind, flags, stream: u32::from_be_bytes(stream) & 0x7fff_ffff, payload })
}

fn receive(connection: &mut (impl Read + Write)) -> Result<Answer, Failure> {
    let mut answer = Answer::default();
    let mut taken = 0;
    let mut first = true;
    loop {
        let frame = read_frame(connection)?;
        taken += frame.payload.len() + 9;
        if taken > ANSWER_MAX_BYTES {
            return Err(Failure::Said("the answer does not end".into()));
        }
        if std::mem::take(&mut first) && (frame.kind != kind::SETTINGS || frame.flags & ACK != 0) {
            return Err(Failure::Said("no answer of HTTP/2: it does not begin with settings".into()));
        }
        if answer.take(frame, connection)? {
            return Ok(answer);
        }
    }
}

/// What is kept and what is said to it are bounded.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    let mut server = crate::shim::fuzzing::Answering { bytes: data, told: 0 };
    if let Ok(answer) = receive(&mut server) {
        assert!(answer.message.len() <= ANSWER_MAX_BYTES);
        let _ = answer.verdict();
    }
    assert!(server.told <= data.len());
}

impl Answer {
    /// Says whether the answer is there as a whole.
    fn take(&mut self, mut frame: Frame, connection: &mut (impl Read + Write)) -> Result<bool, Failure> {
        let malformed = || Failure::Said("no answer of HTTP/2".into());
        match frame.kind {
            kind::SETTINGS if frame.flags & ACK == 0 => self.reply(kind::SETTINGS, &[], connection)?,
            kind::PING if frame.flags & ACK == 0 => self.reply(kind::PING, &frame.payload, connection)?,
            kind::RST_STREAM if frame.stream == STREAM => {
                let code: [u8; 4] = frame.payload.as_slice().try_into().map_err(|_| malformed())?;
                // A server that has answered may say that it needs nothing more of the request.
                let code = u32::from_be_bytes(code);
                return if code == 0 {
                    Ok(true)
                } else {
                    Err(Failure::Said(format!("the call was reset: error {code}")))
                };
            }
            kind::GOAWAY => {
                let last = frame.payload.get(..4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
                if last.ok_or_else(malformed)? & 0x7fff_ffff < STREAM {
                    return Err(Failure::Said("the server is going away".into()));
                }
            }
            kind::DATA if frame.stream == STREAM => {
                self.message.extend(unpadded(&frame, 0).ok_or_else(malformed)?);
                return Ok(frame.flags & END_STREAM != 0);
            }
            kind::HEADERS if frame.stream == STREAM => {
                let skipped = if frame.flags & PRIORITY != 0 { 5 } else { 0 };
                let mut block = unpadded(&frame, skipped).ok_or_else(malformed)?.to_vec();
                let ends = frame.flags & END_STREAM != 0;
                while frame.flags & END_HEADERS == 0 {
                    frame = read_frame(connection)?;
                    if frame.kind != kind::CONTINUATION || frame.stream != STREAM || block.len() > ANSWER_MAX_BYTES {
                        return Err(malformed());
                    }
                    block.extend(&frame.payload);
                }
                self.take_headers(&block).ok_or_else(malformed)?;
                return Ok(ends);
            }
            _ => {}
        }
        Ok(false)
    }

    fn reply(&self, kind: u8, payload: &[u8], connection: &mut impl Write) -> Result<(), Failure> {
        connection.write_all(&frame(kind, ACK, 0, payload)).map_err(Failure::at("sending the request"))
    }

    fn take_headers(&mut self, block: &[u8]) -> Option<()> {
        for (name, value) in hpack::decode(block)? {
            let value = String::from_utf8_lossy(&value).into_owned();
            match name.as_slice() {
                b":status" => self.http_status = Some(value),
                b"grpc-status" => self.grpc_status = Some(value),
                b"grpc-message" => self.grpc_message = value,
                _ => {}
            }
        }
        Some(())
    }

    fn verdict(&self) -> Result<String, String> {
        match self.http_status.as_deref() {
            Some("200") => {}
            Some(status) => return Err(format!("HTTP status {status}")),
            None => return Err("no HTTP status".into()),
        }
        match self.grpc_status.as_deref() {
            Some("0") => {}
            Some(code) => {
                let name = code.parse().ok().and_then(|code: usize| CODES.get(code)).copied().unwrap_or("?");
                return Err(format!("{name} (gRPC status {code}) {}", self.grpc_message).trim_end().to_owned());
            }
            None => return Err("the answer has no gRPC status".into()),
        }
        // HealthCheckResponse { ServingStatus status = 1 }.
        let (head, message) = self.message.split_at_checked(5).ok_or("the answer is empty")?;
        let length = head.get(1..).and_then(|length| length.try_into().ok()).map(u32::from_be_bytes);
        if head.first() != Some(&0) || length.map(|length| length as usize) != Some(message.len()) {
            return Err("the answer is compressed or cut off".into());
        }
        match serving_status(message).ok_or("the answer is malformed")? {
            1 => Ok("SERVING".into()),
            0 => Err("UNKNOWN".into()),
            2 => Err("NOT_SERVING".into()),
            3 => Err("SERVICE_UNKNOWN".into()),
            other => Err(format!("status {other}")),
        }
    }
}

/// Status codes of gRPC.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn unpadded(frame: &Frame, skipped: usize) -> Option<&[u8]> {
    let (padding, rest) = match frame.flags & PADDED {
        0 => (0, frame.payload.as_slice()),
        _ => frame.payload.split_first().map(|(padding, rest)| (usize::from(*padding), rest))?,
    };
    rest.get(skipped..rest.len().checked_sub(padding)?)
}

/// The last value of field 1; 0 where there is none.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = take_varint(&mut message)?;
        match key & 7 {
            0 => {
                let value = take_varint(&mut message)?;
                if key >> 3 == 1 {
                    status = value;
                }
            }
            1 => message = message.get(8..)?,
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            5 => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(status)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// A connection that says this and takes everything.
    struct Said<'a>(&'a [u8], Vec<u8>);

    impl Read for Said<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Said<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.1.extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn headers(flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
        let block: Vec<u8> = fields.iter().flat_map(|(name, value)| hpack::literal_named(name, value)).collect();
        frame(kind::HEADERS, flags | END_HEADERS, STREAM, &block)
    }

    fn verdict_of(frames: &[Vec<u8>]) -> Result<String, String> {
        let bytes = [frame(kind::SETTINGS, 0, 0, &[]), frames.concat()].concat();
        match receive(&mut Said(&bytes, Vec::new())) {
            Ok(answer) => answer.verdict(),
            Err(Failure::Said(said)) => Err(said),
            Err(Failure::TimedOut) => Err("timed out".into()),
        }
    }

    #[test]
    fn serving_is_healthy_and_nothing_else() {
        let good = headers(0, &[(":status", "200"), ("content-type", "application/grpc")]);
        let data = |message: &[u8]| {
            let payload = [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat();
            frame(kind::DATA, 0, STREAM, &payload)
        };
        let end = headers(END_STREAM, &[("grpc-status", "0")]);
        assert_eq!(verdict_of(&[good.clone(), data(&[8, 1]), end.clone()]), Ok("SERVING".into()));
        // Between the frames of the answer come others, and unknown fields in it.
        let ping = frame(kind::PING, 0, 0, &[7; 8]);
        let more = data(&[0x12, 1, 9, 8, 1, 0x1d, 0, 0, 0, 0]);
        assert_eq!(verdict_of(&[ping, good.clone(), more, end.clone()]), Ok("SERVING".into()));
        assert_eq!(verdict_of(&[good.clone(), data(&[8, 2]), end.clone()]), Err("NOT_SERVING".into()));
        assert_eq!(verdict_of(&[good.clone(), data(&[]), end.clone()]), Err("UNKNOWN".into()));
        let unknown = [(":status", "200"), ("grpc-status", "5"), ("grpc-message", "unknown service")];
        let said = verdict_of(&[headers(END_STREAM, &unknown)]);
        assert_eq!(said, Err("NOT_FOUND (gRPC status 5) unknown service".into()));
        assert_eq!(verdict_of(&[headers(END_STREAM, &[(":status", "404")])]), Err("HTTP status 404".into()));
        assert!(verdict_of(&[good.clone(), data(&[8, 1]), headers(END_STREAM, &[])]).is_err(), "no status of the call");
        assert!(verdict_of(&[frame(kind::RST_STREAM, 0, STREAM, &[0, 0, 0, 2])]).unwrap_err().contains("reset"));
        assert!(verdict_of(&[frame(kind::GOAWAY, 0, 0, &[0; 8])]).unwrap_err().contains("going away"));
        // Cut into two frames, padded, with a priority.
        let block = hpack::literal_named(":status", "200");
        let (front, back) = block.split_at(4);
        let padded = [&[2, 0, 0, 0, 0, 0][..], front, &[0, 0]].concat();
        let cut = [
            frame(kind::HEADERS, PADDED | PRIORITY, STREAM, &padded),
            frame(kind::CONTINUATION, END_HEADERS, STREAM, back),
        ];
        assert_eq!(verdict_of(&[cut.concat(), data(&[8, 1]), end]), Ok("SERVING".into()));
    }

    #[test]
    fn a_server_of_another_protocol_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target { address: None, port: listener.local_addr().unwrap().port() };
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").unwrap();
            preface
        });
        let said = ask(&target, "", Instant::now() + Duration::from_secs(20)).unwrap_err();
        assert!(matches!(said, Failure::Said(said) if said.starts_with("no answer of HTTP/2")));
        assert_eq!(server.join().unwrap(), PREFACE);
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes: Vec<u8>) {
            let _ = verdict_of(std::slice::from_ref(&bytes));
            let _ = verdict_of(&[frame(kind::HEADERS, END_HEADERS, STREAM, &bytes)]);
            let _ = verdict_of(&[headers(0, &[(":status", "200")]), frame(kind::DATA, END_STREAM, STREAM, &bytes)]);
        }
    }
}
