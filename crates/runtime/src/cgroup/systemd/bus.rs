//! As much of D-Bus as it takes to have systemd make a unit: method calls on its own socket, little endian
//! (D-Bus specification, "Message Protocol" and "Authentication Protocol"; org.freedesktop.systemd1(5)).

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// systemd's own, for root, which needs no message bus to run.
const SOCKET: &str = "/run/systemd/private";
/// More than any answer to what is asked here.
const MESSAGE_MAX_BYTES: usize = 1 << 20;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;

mod field {
    pub(super) const PATH: u8 = 1;
    pub(super) const INTERFACE: u8 = 2;
    pub(super) const MEMBER: u8 = 3;
    pub(super) const ERROR_NAME: u8 = 4;
    pub(super) const REPLY_SERIAL: u8 = 5;
    pub(super) const DESTINATION: u8 = 6;
    pub(super) const SIGNATURE: u8 = 8;
}

const DESTINATION: &str = "org.freedesktop.systemd1";

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    Refused { name: String, message: String },
    Said(String),
}

impl Failure {
    /// Whether the other side went away, with its socket for a moment, and not what was asked is wrong.
    pub(super) fn is_loss(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound, UnexpectedEof};
        let Self::Io(error) = self else { return false };
        matches!(error.kind(), BrokenPipe | ConnectionRefused | ConnectionReset | NotFound | UnexpectedEof)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{SOCKET}: {error}"),
            Self::Refused { name, message } => write!(f, "{message} ({name})"),
            Self::Said(text) => f.write_str(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Said(text)
    }
}

impl From<&str> for Failure {
    fn from(text: &str) -> Self {
        Self::Said(text.to_owned())
    }
}

/// A connection to systemd.
#[derive(Debug)]
pub(super) struct Bus {
    stream: UnixStream,
    serial: u32,
}

impl Bus {
    /// As root; every wait ends after `timeout`.
    pub(super) fn connect(timeout: Duration) -> Result<Self, Failure> {
        let mut stream = UnixStream::connect(SOCKET)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let user: String =
            rustix::process::geteuid().as_raw().to_string().bytes().map(|digit| format!("{digit:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {user}\r\n").as_bytes())?;
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") && line.len() < 512 {
            let mut byte = [0];
            stream.read_exact(&mut byte)?;
            line.extend(byte);
        }
        if !line.starts_with(b"OK ") {
            return Err("systemd does not take who we are".into());
        }
        stream.write_all(b"BEGIN\r\n")?;
        Ok(Self { stream, serial: 0 })
    }

    /// Orders a scope with this process in it, whose tree is the caller's. It ends after these units do.
    pub(super) fn start_scope(&mut self, name: &str, slice: &str, pid: u32, before: &[String]) -> Result<(), Failure> {
        let mut body = Writer::default();
        body.text(name);
        body.text("fail");
        body.array(8, |properties| {
            properties.property("Description", "s", |value| value.text("containers of carrack"));
            properties.property("Slice", "s", |value| value.text(slice));
            properties.property("Before", "as", |value| {
                value.array(4, |names| before.iter().for_each(|name| names.text(name)));
            });
            properties.property("CollectMode", "s", |value| value.text("inactive-or-failed"));
            properties.property("Delegate", "b", |value| value.number(1));
            // Containers have limits of their own.
            properties.property("TasksMax", "t", |value| value.long(u64::MAX));
            properties.property("TimeoutStopUSec", "t", |value| value.long(10_000_000));
            properties.property("PIDs", "au", |value| value.array(4, |pids| pids.number(pid)));
        });
        body.array(8, |_| {});
        let path = "/org/freedesktop/systemd1";
        let interface = "org.freedesktop.systemd1.Manager";
        self.call(path, interface, "StartTransientUnit", "ssa(sv)a(sa(sv))", &body.0).map(drop)
    }

    /// `active`, `activating`, `failed`, …
    pub(super) fn active_state(&mut self, unit: &str) -> Result<String, Failure> {
        let mut body = Writer::default();
        body.text("org.freedesktop.systemd1.Unit");
        body.text("ActiveState");
        let path = format!("/org/freedesktop/systemd1/unit/{}", escaped(unit));
        let answer = self.call(&path, "org.freedesktop.DBus.Properties", "Get", "ss", &body.0)?;
        let mut answer = Reader { bytes: &answer, place: 0 };
        let state = answer.signature().filter(|signature| signature == "s").and_then(|_| answer.text());
        state.ok_or_else(|| "systemd's answer can't be understood".into())
    }

    /// Returns the answer's body.
    fn call(
        &mut self,
        path: &str,
        interface: &str,
        member: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<Vec<u8>, Failure> {
        self.serial += 1;
        self.stream.write_all(&message(self.serial, path, interface, member, signature, body))?;
        loop {
            let (kind, fields, body) = self.receive()?;
            let fields = Fields::parse(&fields).ok_or("systemd's answer can't be understood")?;
            match kind {
                RETURN if fields.reply_serial == Some(self.serial) => return Ok(body),
                ERROR if fields.reply_serial == Some(self.serial) => {
                    let message = Reader { bytes: &body, place: 0 }.text().unwrap_or_default();
                    return Err(Failure::Refused { name: fields.error_name, message });
                }
                // Signals, which nobody has asked for.
                _ => {}
            }
        }
    }

    /// Kind, header fields and body of the next message.
    fn receive(&mut self) -> Result<(u8, Vec<u8>, Vec<u8>), Failure> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        let number = |place: usize| {
            head.get(place..place + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        let (body_length, fields_length) = (number(4) as usize, number(12) as usize);
        let [order, kind, ..] = head;
        if order != b'l' || body_length > MESSAGE_MAX_BYTES || fields_length > MESSAGE_MAX_BYTES {
            return Err("systemd's answer can't be understood".into());
        }
        let mut fields = vec![0; fields_length.next_multiple_of(8)];
        self.stream.read_exact(&mut fields)?;
        fields.truncate(fields_length);
        let mut body = vec![0; body_length];
        self.stream.read_exact(&mut body)?;
        Ok((kind, fields, body))
    }
}

fn message(serial: u32, path: &str, interface: &str, member: &str, signature: &str, body: &[u8]) -> Vec<u8> {
    let mut message = Writer(vec![b'l', CALL, 0, 1]);
    message.number(body.len() as u32);
    message.number(serial);
    message.array(8, |message| {
        let fields = [
            (field::PATH, "o", path),
            (field::INTERFACE, "s", interface),
            (field::MEMBER, "s", member),
            (field::DESTINATION, "s", DESTINATION),
        ];
        for (code, kind, value) in fields {
            message.pad(8);
            message.0.push(code);
            message.signature(kind);
            message.text(value);
        }
        message.pad(8);
        message.0.push(field::SIGNATURE);
        message.signature("g");
        message.signature(signature);
    });
    message.pad(8);
    message.0.extend(body);
    message.0
}

/// A name as the last part of an object's path.
fn escaped(name: &str) -> String {
    let plain = |(place, byte): (usize, u8)| byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && place > 0);
    name.bytes()
        .enumerate()
        .map(|(place, byte)| if plain((place, byte)) { char::from(byte).to_string() } else { format!("_{byte:02x}") })
        .collect()
}

/// Values one behind the other, each at a multiple of its size.
#[derive(Debug, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn pad(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn number(&mut self, number: u32) {
        self.pad(4);
        self.0.extend(number.to_le_bytes());
    }

    fn long(&mut self, number: u64) {
        self.pad(8);
        self.0.extend(number.to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// One `(sv)`.
    fn property(&mut self, name: &str, signature: &str, value: impl FnOnce(&mut Self)) {
        self.pad(8);
        self.text(name);
        self.signature(signature);
        value(self);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// Its length counts from the first element on, which is aligned.
    fn array(&mut self, alignment: usize, fill: impl FnOnce(&mut Self)) {
        self.number(0);
        let place = self.0.len() - 4;
        self.pad(alignment);
        let start = self.0.len();
        fill(self);
        let length = (self.0.len() - start) as u32;
        if let Some(bytes) = self.0.get_mut(place..place + 4) {
            bytes.copy_from_slice(&length.to_le_bytes());
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    place: usize,
}

impl Reader<'_> {
    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.place..self.place.checked_add(length)?)?;
        self.place += length;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u32> {
        self.place = self.place.next_multiple_of(4);
        self.take(4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.number()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Some(text)
    }

    fn signature(&mut self) -> Option<String> {
        let length = usize::from(self.byte()?);
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Some(text)
    }
}

/// What is asked of the header of an answer.
#[derive(Debug, Default)]
struct Fields {
    reply_serial: Option<u32>,
    error_name: String,
}

impl Fields {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut fields = Self::default();
        let mut reader = Reader { bytes, place: 0 };
        while reader.place.next_multiple_of(8) < bytes.len() {
            reader.place = reader.place.next_multiple_of(8);
            let code = reader.byte()?;
            match (code, reader.signature()?.as_str()) {
                (field::REPLY_SERIAL, "u") => fields.reply_serial = Some(reader.number()?),
                (field::ERROR_NAME, "s") => fields.error_name = reader.text()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "g") => drop(reader.signature()?),
                (_, "u") => drop(reader.number()?),
                _ => return None,
            }
        }
        Some(fields)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_call_is_laid_out_as_the_specification_says() {
        let mut body = Writer::default();
        body.text("ab");
        body.array(8, |body| body.signature("t"));
        assert_eq!(body.0, [&[2, 0, 0, 0][..], b"ab\0", &[0], &[3, 0, 0, 0], &[0; 4], &[1], b"t\0"].concat());
        let call = message(7, "/a", "b", "c", "s", &[1, 2]);
        assert_eq!(call.get(..12), Some(&[b'l', 1, 0, 1, 2, 0, 0, 0, 7, 0, 0, 0][..]));
        let fields_length = u32::from_le_bytes(call[12..16].try_into().unwrap()) as usize;
        assert_eq!((16 + fields_length).next_multiple_of(8) + 2, call.len());
        let fields = &call[16..16 + fields_length];
        assert!(Fields::parse(fields).is_some_and(|fields| fields.reply_serial.is_none()));
        assert_eq!(fields.get(..11), Some(&[1, 1, b'o', 0, 2, 0, 0, 0, b'/', b'a', 0][..]));
    }

    #[test]
    fn names_become_paths() {
        assert_eq!(escaped("carrack-0a.service"), "carrack_2d0a_2eservice");
        assert_eq!(escaped("0x"), "_30x");
    }

    proptest! {
        #[test]
        fn no_answer_panics(bytes: Vec<u8>) {
            let _ = Fields::parse(&bytes);
            let _ = Reader { bytes: &bytes, place: 0 }.text();
        }
    }
}
