//! The log: Docker's json-file format, byte for byte, with its rotation.

use std::fs::{File, OpenOptions};
use std::io::{Read, Result, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::LogConfig;
use crate::time::rfc3339_nano;

/// A longer line is logged in pieces of this size, in bytes; all but the last without line feed.
pub(super) const LINE_MAX: usize = 16 << 10;

/// Encoded lines are written when they are this much, in bytes: enough for few writes, little enough for a small shim.
const WRITE_SIZE: usize = 16 << 10;

/// Cuts one stream into lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// What came since the last line feed or piece.
    rest: Vec<u8>,
    /// Of the first piece; the others of the same line share it.
    piece_time_ns: Option<u64>,
}

impl Lines {
    /// Hands over what is complete: lines with their line feed, pieces without.
    pub(super) fn push(&mut self, mut data: &[u8], now_ns: u64, mut emit: impl FnMut(&[u8], u64)) {
        while !data.is_empty() {
            let room = LINE_MAX - self.rest.len();
            let window = data.get(..room).unwrap_or(data);
            let end = window.iter().position(|byte| *byte == b'\n').map(|position| position + 1);
            let take = end.unwrap_or(window.len());
            let (taken, left) = data.split_at(take);
            data = left;
            if end.is_none() && taken.len() < room {
                self.rest.extend_from_slice(taken);
                return;
            }
            let time_ns = match end {
                Some(_) => self.piece_time_ns.take().unwrap_or(now_ns),
                None => *self.piece_time_ns.get_or_insert(now_ns),
            };
            if self.rest.is_empty() {
                emit(taken, time_ns);
            } else {
                self.rest.extend_from_slice(taken);
                emit(&self.rest, time_ns);
                self.rest.clear();
            }
        }
    }

    /// Hands over what has no line feed and never will.
    pub(super) fn finish(&mut self, now_ns: u64, mut emit: impl FnMut(&[u8], u64)) {
        let time_ns = self.piece_time_ns.take().unwrap_or(now_ns);
        if !self.rest.is_empty() {
            emit(&self.rest, time_ns);
        }
        self.rest = Vec::new();
    }
}

/// Where the files of a log come from: one process opens them, another writes to them.
pub(super) trait LogFiles: std::fmt::Debug {
    /// The file to append to.
    fn current(&mut self) -> Result<File>;
    /// The same, after the present one was rotated.
    fn next(&mut self) -> Result<File>;
}

/// Files by their names: `log` becomes `log.1`, `log.1` becomes `log.2`, …
#[derive(Debug)]
pub(super) struct NamedFiles {
    path: PathBuf,
    /// How many there are at most.
    count_max: u32,
}

impl NamedFiles {
    pub(super) fn new(config: &LogConfig) -> Self {
        Self { path: config.path.clone(), count_max: config.max_files.max(1) }
    }
}

impl LogFiles for NamedFiles {
    /// A line that a killed shim left incomplete is ended, so that it spoils no other.
    fn current(&mut self) -> Result<File> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o640).open(&self.path)?;
        if file.seek(SeekFrom::End(0))? > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
            }
        }
        Ok(file)
    }

    /// The oldest goes. A single file is emptied.
    fn next(&mut self) -> Result<File> {
        let path = &self.path;
        if self.count_max == 1 {
            OpenOptions::new().write(true).truncate(true).open(path)?;
        } else {
            let (plain, packed) = (|number| numbered(path, number), |number| packed(&numbered(path, number)));
            // In either form.
            missing_is_fine(std::fs::remove_file(packed(self.count_max - 1)))?;
            missing_is_fine(std::fs::remove_file(plain(self.count_max - 1)))?;
            for number in (1..self.count_max - 1).rev() {
                missing_is_fine(std::fs::rename(packed(number), packed(number + 1)))?;
                missing_is_fine(std::fs::rename(plain(number), plain(number + 1)))?;
            }
            missing_is_fine(std::fs::rename(path, numbered(path, 1)))?;
        }
        self.current()
    }
}

/// Writes the log. It never fails: lines that can't be written are counted, and the count is written when that works.
#[derive(Debug)]
pub(super) struct Log {
    files: Box<dyn LogFiles>,
    max_size_bytes: u64,
    file: Option<File>,
    size_bytes: u64,
    /// Encoded lines that are not written yet.
    pending: Vec<u8>,
    pending_lines: u64,
    lost_lines: u64,
    lost_why: String,
    /// What stands behind the stream of each line: `,"attrs":{…}`, or nothing.
    attributes: Vec<u8>,
}

impl Log {
    pub(super) fn new(config: &LogConfig, files: Box<dyn LogFiles>) -> Self {
        Self {
            files,
            max_size_bytes: if config.max_size_bytes == 0 { u64::MAX } else { config.max_size_bytes },
            file: None,
            size_bytes: 0,
            pending: Vec::new(),
            pending_lines: 0,
            lost_lines: 0,
            lost_why: String::new(),
            attributes: encode_attributes(&config.attributes),
        }
    }

    /// Adds one line or piece of a line.
    pub(super) fn line(&mut self, stream: &str, line: &[u8], time_ns: u64) {
        if let Err(error) = self.open() {
            self.lose(1, &error);
            return;
        }
        if self.size_bytes + self.pending.len() as u64 >= self.max_size_bytes {
            self.flush(time_ns);
            if self.size_bytes >= self.max_size_bytes
                && let Err(error) = self.rotate()
            {
                self.lose(1, &error);
                return;
            }
        }
        encode(&mut self.pending, stream, &self.attributes, line, time_ns);
        self.pending_lines += 1;
        if self.pending.len() >= WRITE_SIZE {
            self.flush(time_ns);
        }
    }

    /// Writes what was added.
    pub(super) fn flush(&mut self, now_ns: u64) {
        if self.pending.is_empty() {
            return;
        }
        if let Err(error) = self.write_pending(now_ns) {
            self.lose(self.pending_lines, &error);
        }
        self.pending.clear();
        self.pending.shrink_to(2 * WRITE_SIZE);
        self.pending_lines = 0;
    }

    fn lose(&mut self, lines: u64, error: &std::io::Error) {
        self.lost_lines += lines;
        self.lost_why = error.to_string();
    }

    fn write_pending(&mut self, now_ns: u64) -> Result<()> {
        if self.lost_lines > 0 {
            let note = format!("carrack: {} lines of log were lost: {}\n", self.lost_lines, self.lost_why);
            let mut encoded = Vec::new();
            encode(&mut encoded, "stderr", &self.attributes, note.as_bytes(), now_ns);
            self.write(&encoded)?;
            self.lost_lines = 0;
        }
        let pending = std::mem::take(&mut self.pending);
        let written = self.write(&pending);
        self.pending = pending;
        written
    }

    fn open(&mut self) -> Result<()> {
        if self.file.is_none() {
            let file = self.files.current()?;
            self.take(file)?;
        }
        Ok(())
    }

    /// All of it or, where the disk is full, nothing.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.open()?;
        let Some(file) = &mut self.file else { return Ok(()) };
        match file.write_all(bytes) {
            Ok(()) => {
                self.size_bytes += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                let _ = file.set_len(self.size_bytes);
                Err(error)
            }
        }
    }

    fn rotate(&mut self) -> Result<()> {
        self.file = None;
        let file = self.files.next()?;
        self.take(file)
    }

    fn take(&mut self, mut file: File) -> Result<()> {
        self.size_bytes = file.seek(SeekFrom::End(0))?;
        self.file = Some(file);
        Ok(())
    }
}

pub(super) fn missing_is_fine(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The name of a rotated file.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// The name of a rotated file that is compressed.
pub(super) fn packed(rotated: &Path) -> PathBuf {
    let mut name = rotated.as_os_str().to_owned();
    name.push(".gz");
    name.into()
}

/// One line as Docker's daemon encodes it. JSON has no place for what is not UTF-8: such a line says its bytes once more,
/// where Docker's readers do not look.
pub(super) fn encode(to: &mut Vec<u8>, stream: &str, attributes: &[u8], line: &[u8], time_ns: u64) {
    to.extend_from_slice(b"{\"log\":\"");
    let whole = escape(to, line);
    to.extend_from_slice(b"\",\"stream\":\"");
    to.extend_from_slice(stream.as_bytes());
    to.push(b'"');
    to.extend_from_slice(attributes);
    to.extend_from_slice(b",\"time\":\"");
    to.extend_from_slice(rfc3339_nano(time_ns).as_bytes());
    if !whole {
        to.extend_from_slice(b"\",\"bytes\":\"");
        to.extend_from_slice(STANDARD.encode(line).as_bytes());
    }
    to.extend_from_slice(b"\"}\n");
}

fn encode_attributes(attributes: &std::collections::BTreeMap<String, String>) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value) in attributes {
        encoded.extend_from_slice(if encoded.is_empty() { b",\"attrs\":{\"" } else { b",\"" });
        escape(&mut encoded, name.as_bytes());
        encoded.extend_from_slice(b"\":\"");
        escape(&mut encoded, value.as_bytes());
        encoded.push(b'"');
    }
    if !encoded.is_empty() {
        encoded.push(b'}');
    }
    encoded
}

/// JSON that is also safe inside of HTML and JavaScript, with U+FFFD for each byte that is not UTF-8. Says whether there
/// was none of those.
fn escape(to: &mut Vec<u8>, text: &[u8]) -> bool {
    let mut whole = true;
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().as_bytes();
        let mut plain_from = 0;
        let mut position = 0;
        while let Some(byte) = valid.get(position) {
            let separator = *byte == 0xe2 && matches!(valid.get(position + 1..position + 3), Some([0x80, 0xa8 | 0xa9]));
            if !separator && !needs_escape(*byte) {
                position += 1;
                continue;
            }
            to.extend_from_slice(valid.get(plain_from..position).unwrap_or_default());
            if separator {
                to.extend_from_slice(if valid.get(position + 2) == Some(&0xa8) { b"\\u2028" } else { b"\\u2029" });
                position += 3;
            } else {
                escape_byte(to, *byte);
                position += 1;
            }
            plain_from = position;
        }
        to.extend_from_slice(valid.get(plain_from..).unwrap_or_default());
        for _ in chunk.invalid() {
            to.extend_from_slice(b"\\ufffd");
            whole = false;
        }
    }
    whole
}

fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'\\' | b'"' | b'<' | b'>' | b'&')
}

fn escape_byte(to: &mut Vec<u8>, byte: u8) {
    const HEX: [u8; 16] = *b"0123456789abcdef";
    match byte {
        b'\\' | b'"' => to.extend([b'\\', byte]),
        b'\n' => to.extend(b"\\n"),
        b'\r' => to.extend(b"\\r"),
        _ => {
            to.extend(b"\\u00");
            to.extend([byte >> 4, byte & 15].iter().filter_map(|digit| HEX.get(usize::from(*digit))));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIME: u64 = 1_700_000_000_000_000_001;

    fn split(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut lines, mut out) = (Lines::default(), Vec::new());
        for chunk in chunks {
            lines.push(chunk, TIME, |line, _| out.push(line.to_vec()));
        }
        lines.finish(TIME, |line, _| out.push(line.to_vec()));
        out
    }

    fn log_at(path: &Path, max_size_bytes: u64, max_files: u32) -> Log {
        let config = LogConfig {
            driver: carrack_specgen::container::LogDriver::JsonFile,
            path: path.to_owned(),
            max_size_bytes,
            max_files,
            attributes: Default::default(),
            buffer_bytes: None,
            compress: false,
        };
        Log::new(&config, Box::new(NamedFiles::new(&config)))
    }

    #[test]
    fn lines_are_encoded_as_docker_does() {
        let mut out = Vec::new();
        encode(&mut out, "stdout", b"", "a<b>&\"\\\t\r\n\u{2028}é\u{1f}".as_bytes(), TIME);
        encode(&mut out, "stderr", b"", b"\xff\xfe\xe2\x80", 1_700_000_000_000_000_000);
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        {"log":"a\u003cb\u003e\u0026\"\\\u0009\r\n\u2028é\u001f","stream":"stdout","time":"2023-11-14T22:13:20.000000001Z"}
        {"log":"\ufffd\ufffd\ufffd\ufffd","stream":"stderr","time":"2023-11-14T22:13:20Z","bytes":"//7igA=="}
        "#);
    }

    #[test]
    fn long_lines_come_in_pieces_that_share_their_time() {
        let long = vec![b'x'; 2 * LINE_MAX];
        assert_eq!(split(&[&long, b"\n"]), [vec![b'x'; LINE_MAX], vec![b'x'; LINE_MAX], b"\n".to_vec()]);
        assert_eq!(split(&[b"no line feed"]), [b"no line feed"]);

        let (mut lines, mut times) = (Lines::default(), Vec::new());
        lines.push(&vec![b'x'; LINE_MAX], 1, |_, time| times.push(time));
        lines.push(b"end\nnext\n", 2, |_, time| times.push(time));
        assert_eq!(times, [1, 1, 2]);
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_they_are_read(
            data in prop::collection::vec(prop_oneof![9 => any::<u8>(), 1 => Just(b'\n')], 0..5000),
            repeat in 1usize..12, cut in 1usize..9000,
        ) {
            let data = data.repeat(repeat);
            let whole = split(&[&data]);
            let chunks: Vec<&[u8]> = data.chunks(cut).collect();
            prop_assert_eq!(&split(&chunks), &whole);
            prop_assert_eq!(whole.concat(), data);
            for line in &whole {
                prop_assert!(line.len() <= LINE_MAX);
                prop_assert!(!line[..line.len() - 1].contains(&b'\n'));
            }
        }

        #[test]
        fn every_line_is_json_that_says_what_was_written(text: String, bytes: Vec<u8>) {
            let mut out = Vec::new();
            encode(&mut out, "stdout", b"", text.as_bytes(), TIME);
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(value["log"].as_str().unwrap(), text);
            out.clear();
            encode(&mut out, "stdout", b"", &bytes, TIME);
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(value.get("bytes").is_some(), std::str::from_utf8(&bytes).is_err());
        }
    }

    #[test]
    fn rotation_keeps_as_many_files_as_asked_for() {
        // F8: a file that has reached its size is rotated before the next line, as Docker's is.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = log_at(&path, 150, 3);
        for number in 0..10 {
            log.line("stdout", format!("line {number}\n").as_bytes(), TIME);
        }
        log.flush(TIME);
        let numbers = |path: &Path| -> Vec<String> {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(|line| line[13..14].to_owned()).collect()
        };
        assert_eq!(numbers(&numbered(&path, 2)), ["4", "5"]);
        assert_eq!(numbers(&numbered(&path, 1)), ["6", "7"]);
        assert_eq!(numbers(&path), ["8", "9"]);
        assert!(!numbered(&path, 3).exists());

        let mut files = NamedFiles { path: path.clone(), count_max: 4 };
        for (number, text) in [(1, "one"), (2, "two"), (3, "three")] {
            std::fs::remove_file(numbered(&path, number)).ok();
            std::fs::write(packed(&numbered(&path, number)), text).unwrap();
        }
        drop(files.next().unwrap());
        assert_eq!(numbers(&numbered(&path, 1)), ["8", "9"], "compressed ones keep their form");
        for (number, text) in [(2, "one"), (3, "two")] {
            assert_eq!(std::fs::read_to_string(packed(&numbered(&path, number))).unwrap(), text);
        }
        assert!(!packed(&numbered(&path, 1)).exists() && !packed(&numbered(&path, 4)).exists());

        let mut log = log_at(&path, 100, 1);
        log.line("stdout", b"line a\n", TIME);
        log.flush(TIME);
        assert_eq!(numbers(&path), ["a"], "the file of a former shim counts, and a single one is emptied");
    }

    #[test]
    fn lines_lost_to_a_full_disk_are_counted_when_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut log = log_at(&path, 0, 1);
        for _ in 0..3 {
            log.line("stdout", b"lost\n", TIME);
            log.flush(TIME);
        }
        std::fs::remove_file(&path).unwrap();
        log.file = None;
        log.line("stdout", b"kept\n", TIME);
        log.flush(TIME);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("carrack: 3 lines of log were lost: No space left on device"), "{text}");
        assert!(
            text.ends_with("{\"log\":\"kept\\n\",\"stream\":\"stdout\",\"time\":\"2023-11-14T22:13:20.000000001Z\"}\n")
        );
    }

    #[test]
    fn a_line_that_a_killed_shim_left_incomplete_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "{\"log\":\"ha").unwrap();
        let mut log = log_at(&path, 0, 1);
        log.line("stdout", b"next\n", TIME);
        log.flush(TIME);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\"log\":\"ha\n{\"log\":\"next\\n\""), "{text}");
    }
}
