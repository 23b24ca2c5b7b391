//! Reading a container's log: Docker's JSON lines, oldest file first, following what is appended and rotated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carrack_diag::{Diagnostic, Result};
use carrack_runtime::state::{State, Status};
use carrack_specgen::container::LogDriver;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags, inotify, memfd_create};
use serde::Deserialize;

use crate::codes;
use crate::engine::{Engine, host_error};

/// How soon an end is seen that changes no file: a shim that is killed.
const LOOK: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };

/// How much is looked at at once for the last lines, in bytes.
const BLOCK_SIZE: usize = 64 << 10;

/// What is read of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as it grows, until the container ends.
    pub follow: bool,
    /// So many lines from the end; none is all.
    pub tail: Option<usize>,
    /// Only lines from then on, of those.
    pub since: Option<jiff::Timestamp>,
    /// Only lines until then; the reading ends with the first later one.
    pub until: Option<jiff::Timestamp>,
}

impl LogOptions {
    /// Whether a line is shown; none where it and all after it are too late.
    fn admit(&self, line: &LogLine) -> Option<bool> {
        if self.since.is_none() && self.until.is_none() {
            return Some(true);
        }
        // A time that nobody can read is no reason to hide a line.
        let Ok(time) = line.time.parse::<jiff::Timestamp>() else { return Some(true) };
        if self.until.is_some_and(|until| time > until) {
            return None;
        }
        Some(self.since.is_none_or(|since| time >= since))
    }
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Bytes with their newline; without one the program had not ended its line.
    pub text: Vec<u8>,
    /// Whether it came from standard error.
    pub stderr: bool,
    /// RFC 3339 in UTC, with all nine digits of the second: in the order of time.
    pub time: String,
    /// What the driver was asked to say with each line.
    pub attributes: BTreeMap<String, String>,
    /// Whether the next one is at hand already.
    pub more: bool,
}

#[derive(Deserialize)]
struct Entry {
    log: String,
    stream: String,
    time: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    /// The text in base64, where it is not UTF-8.
    bytes: Option<String>,
}

impl Entry {
    fn line(self, more: bool) -> LogLine {
        let bytes = self.bytes.and_then(|bytes| STANDARD.decode(bytes).ok());
        LogLine {
            text: bytes.unwrap_or_else(|| self.log.into_bytes()),
            stderr: self.stream == "stderr",
            time: nine_digits(self.time),
            attributes: self.attrs,
            more,
        }
    }
}

/// Docker writes as few digits of the second as will do, and shows all of them.
fn nine_digits(mut time: String) -> String {
    let Some(whole) = time.strip_suffix('Z') else { return time };
    let digits = whole.split_once('.').map_or(0, |(_, digits)| digits.len());
    if digits < 9 {
        let (point, zeros) = (if digits == 0 { "." } else { "" }, "0".repeat(9 - digits));
        time = format!("{whole}{point}{zeros}Z");
    }
    time
}

/// Told of each line; false ends the reading.
pub(crate) type LogSink<'a> = dyn FnMut(&LogLine) -> bool + 'a;

/// Name of the log in a container's folder on the data root.
pub(crate) const LOG_FILE: &str = "log.json";

impl Engine {
    /// Reads the log of a container.
    pub fn logs(&self, name: &str, options: &LogOptions, sink: &mut LogSink<'_>) -> Result<()> {
        let record = self.find(name)?;
        if record.container.log.driver == LogDriver::None {
            return Err(Diagnostic::error(&codes::NO_LOG, format!("{} has no log", record.name))
                .cause("its log driver is `none`")
                .hint(format!("`carrack attach {}` shows what it writes from now on", record.name))
                .boxed());
        }
        let path = self.store.container_dir(&record.id)?.join(LOG_FILE);
        let run = self.store.container_run_dir(&record.id)?;
        read(&path, options, &|| is_ended(State::read(&run).ok().flatten().as_ref()), &run, sink)
            .map_err(|error| host_error(format!("can't read the log of {}", record.name), error))
    }

    /// The last lines of a container's log, for a diagnostic.
    pub(crate) fn last_lines(&self, name: &str, count: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let options = LogOptions { tail: Some(count), ..LogOptions::default() };
        let _ = self.logs(name, &options, &mut |line| {
            lines.push(String::from_utf8_lossy(&line.text).trim_end().to_owned());
            true
        });
        lines
    }
}

/// A container that will be started again has not ended for its log's readers, nor one whose shim is yet to be told
/// whether it will.
fn is_ended(state: Option<&State>) -> bool {
    state.is_none_or(|state| match state.actual_status() {
        Status::Running | Status::Paused | Status::Restarting => false,
        Status::Exited => !state.has_shim(),
        Status::Created | Status::Lost => true,
    })
}

fn read(
    path: &Path,
    options: &LogOptions,
    ended: &dyn Fn() -> bool,
    state_folder: &Path,
    sink: &mut LogSink<'_>,
) -> std::io::Result<()> {
    let sink: &mut LogSink<'_> = &mut |line: &LogLine| match options.admit(line) {
        Some(true) => sink(line),
        Some(false) => true,
        None => false,
    };
    let watch = if options.follow { Some(Watch::new(path, state_folder)?) } else { None };
    let mut readers = generations(path)?;
    if let Some(tail) = options.tail {
        seek_to_last(&mut readers, path, tail)?;
    }
    let mut current = None;
    for mut reader in readers {
        reader.unpack(path)?;
        if !reader.drain(sink)? {
            return Ok(());
        }
        current = Some(reader);
    }
    let Some(watch) = watch else { return Ok(()) };
    loop {
        // Looked at before reading, so that what was written until the end is read after it.
        let last = ended();
        if let Some(reader) = &mut current
            && !reader.drain(sink)?
        {
            return Ok(());
        }
        let rotated = current.as_ref().is_none_or(|reader| !reader.is_at(path));
        if rotated && let Some(mut reader) = Reader::open(path)? {
            if !reader.drain(sink)? {
                return Ok(());
            }
            current = Some(reader);
        }
        if last {
            return Ok(());
        }
        watch.wait()?;
    }
}

/// How often the files are opened anew where one is rotated meanwhile.
const ATTEMPTS_MAX: u32 = 16;

/// The log and what was rotated away from it, oldest first: as they were at one moment, since what is compressed between two
/// looks can't be told from another file. Where they never hold still, some of it is met twice, and none missed.
fn generations(path: &Path) -> std::io::Result<Vec<Reader>> {
    let mut readers = opened(path)?;
    for _ in 0..ATTEMPTS_MAX {
        if readers.last().is_none_or(|newest| newest.is_at(path)) {
            break;
        }
        readers = opened(path)?;
    }
    Ok(readers)
}

/// Opened from the newest on.
fn opened(path: &Path) -> std::io::Result<Vec<Reader>> {
    let mut readers: Vec<Reader> = Vec::new();
    for number in 0.. {
        let mut name = path.as_os_str().to_owned();
        if number > 0 {
            name.push(format!(".{number}"));
        }
        let found = match Reader::open(Path::new(&name))? {
            None if number > 0 => {
                name.push(".gz");
                Reader::open(Path::new(&name))?.map(|reader| Reader { is_packed: true, ..reader })
            }
            found => found,
        };
        match found {
            Some(reader) if readers.iter().any(|known| known.inode == reader.inode) => {}
            Some(reader) => readers.push(reader),
            // The newest may be about to be made.
            None if number == 0 => {}
            None => break,
        }
    }
    readers.reverse();
    Ok(readers)
}

/// Leaves the last so many lines to be read. Looks at no more of the files than has those.
fn seek_to_last(readers: &mut Vec<Reader>, path: &Path, lines: usize) -> std::io::Result<()> {
    let mut wanted = lines;
    for index in (0..readers.len()).rev() {
        let Some(reader) = readers.get_mut(index) else { break };
        reader.unpack(path)?;
        let found = reader.seek_to_last(wanted)?;
        wanted -= found;
        // With none left to be found, all that is older is read already.
        if wanted == 0 {
            readers.drain(..index);
            return Ok(());
        }
    }
    Ok(())
}

struct Reader {
    file: BufReader<File>,
    inode: u64,
    /// Whether it has yet to be made readable.
    is_packed: bool,
    partial: Vec<u8>,
}

impl Reader {
    fn open(path: &Path) -> std::io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                Ok(Some(Self { file: BufReader::new(file), inode, is_packed: false, partial: Vec::new() }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces a compressed file by what it holds: in a file without a name beside the log, in memory where that can't be.
    fn unpack(&mut self, log: &Path) -> std::io::Result<()> {
        if !std::mem::take(&mut self.is_packed) {
            return Ok(());
        }
        let packed = self.file.get_ref();
        let plain = unnamed(log)
            .and_then(|plain| unpacked(packed, plain))
            .or_else(|_| unpacked(packed, memfd_create("log", MemfdFlags::CLOEXEC)?.into()))?;
        self.file = BufReader::new(plain);
        Ok(())
    }

    fn is_at(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == self.inode)
    }

    /// Goes to where the last so many whole lines begin; returns how many there are, at most as many as asked for.
    fn seek_to_last(&mut self, lines: usize) -> std::io::Result<usize> {
        let mut file = self.file.get_ref();
        let mut position = file.seek(SeekFrom::End(0))?;
        let mut block = vec![0; BLOCK_SIZE];
        // One line feed more than lines: the one before the first of them.
        let mut line_feeds = 0;
        while position > 0 {
            let length = block.len().min(usize::try_from(position).unwrap_or(usize::MAX));
            position -= length as u64;
            let part = block.get_mut(..length).unwrap_or_default();
            match file.read_exact_at(part, position) {
                // A torn line was cut off meanwhile, as the shim does on a full disk.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    (position, line_feeds) = (file.seek(SeekFrom::End(0))?, 0);
                    continue;
                }
                read => read?,
            }
            for at in (0..length).rev().filter(|at| part.get(*at) == Some(&b'\n')) {
                line_feeds += 1;
                if line_feeds > lines {
                    self.file.seek(SeekFrom::Start(position + at as u64 + 1))?;
                    return Ok(lines);
                }
            }
        }
        self.file.seek(SeekFrom::Start(0))?;
        Ok(line_feeds)
    }

    /// Gives every whole line that is there to the sink. False where the sink has had enough.
    fn drain(&mut self, sink: &mut LogSink<'_>) -> std::io::Result<bool> {
        loop {
            let read = self.file.read_until(b'\n', &mut self.partial)?;
            if read == 0 || !self.partial.ends_with(b"\n") {
                return Ok(true);
            }
            let line = std::mem::take(&mut self.partial);
            // A line that is no JSON was torn by a power failure.
            let Ok(entry) = serde_json::from_slice::<Entry>(&line) else { continue };
            if !sink(&entry.line(self.file.buffer().contains(&b'\n'))) {
                return Ok(false);
            }
        }
    }
}

fn unnamed(log: &Path) -> std::io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(log.parent().unwrap_or(log), flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// All that can be read of it: the rest was torn by a power failure.
fn unpacked(packed: &File, mut plain: File) -> std::io::Result<File> {
    let mut start = packed.try_clone()?;
    start.seek(SeekFrom::Start(0))?;
    if let Ok(mut packed) = carrack_store::decompress(start) {
        let mut block = vec![0; BLOCK_SIZE];
        while let Ok(length @ 1..) = packed.read(&mut block) {
            plain.write_all(block.get(..length).unwrap_or_default())?;
        }
    }
    plain.seek(SeekFrom::Start(0))?;
    Ok(plain)
}

/// A target of `fuzz/`: the last lines of a log are the last of all of its lines.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let folder = std::path::PathBuf::from(format!("/dev/shm/carrack-fuzz-log-{}", std::process::id()));
    let path = folder.join("log");
    // Two files, as after a rotation; what was rotated ends with a line.
    let cut = data.iter().position(|byte| *byte == 0).map_or(0, |at| at + 1);
    let (older, newer) = data.split_at(cut);
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(&path, newer).expect("a log");
    std::fs::write(path.with_extension("1"), [older, b"\n"].concat()).expect("a log");
    let lines = |tail| {
        let mut lines = Vec::new();
        let options = LogOptions { tail, ..LogOptions::default() };
        let done = read(&path, &options, &|| true, &folder, &mut |line| {
            lines.push(LogLine { more: false, ..line.clone() });
            true
        });
        done.expect("a log is read");
        lines
    };
    let (all, last) = (lines(None), lines(Some(2)));
    let _ = std::fs::remove_dir_all(&folder);
    assert!(all.ends_with(&last) && last.len() <= 2, "{all:?} {last:?}");
    assert!(all.iter().map(|line| line.text.len()).sum::<usize>() <= data.len());
}

/// Wakes a reader when a log grows or is rotated, or its container's state changes.
struct Watch(std::os::fd::OwnedFd);

impl Watch {
    fn new(log: &Path, state_folder: &Path) -> std::io::Result<Self> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CREATE
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::DELETE_SELF;
        for folder in [log.parent().unwrap_or(log), state_folder] {
            match inotify::add_watch(&watch, folder, flags) {
                Ok(_) | Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Self(watch))
    }

    fn wait(&self) -> std::io::Result<()> {
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&LOOK)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut buffer = [0; 4096];
        while matches!(rustix::io::read(&self.0, &mut buffer), Ok(read) if read > 0) {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(path: &Path, tail: Option<usize>) -> Vec<String> {
        collect_of(path, LogOptions { tail, ..LogOptions::default() })
    }

    fn collect_of(path: &Path, options: LogOptions) -> Vec<String> {
        let mut lines = Vec::new();
        read(path, &options, &|| true, path, &mut |line| {
            lines.push(String::from_utf8_lossy(&line.text).trim_end().to_owned());
            true
        })
        .unwrap();
        lines
    }

    fn line(text: &str) -> String {
        format!("{{\"log\":\"{text}\\n\",\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}}\n")
    }

    #[test]
    fn f8_rotated_files_are_read_oldest_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        std::fs::write(folder.path().join("log.json.2"), line("a")).unwrap();
        std::fs::write(folder.path().join("log.json.1"), line("b") + &line("c")).unwrap();
        std::fs::write(&path, line("d") + "{\"log\":\"torn").unwrap();
        assert_eq!(collect(&path, None), ["a", "b", "c", "d"]);
        assert_eq!(collect(&path, Some(3)), ["b", "c", "d"]);
        assert_eq!(collect(&path, Some(1)), ["d"], "what is torn is no line");
        assert_eq!(collect(&path, Some(4)), ["a", "b", "c", "d"]);
        assert_eq!(collect(&path, Some(9)), ["a", "b", "c", "d"]);
        assert_eq!(collect(&path, Some(0)), Vec::<String>::new());
        assert_eq!(collect(&folder.path().join("none"), None), Vec::<String>::new());
    }

    #[test]
    fn f8_the_last_lines_are_found_across_blocks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let long = "x".repeat(BLOCK_SIZE - 100);
        let texts: Vec<String> = (0..5).map(|number| format!("{number}{long}")).collect();
        std::fs::write(&path, texts.iter().map(|text| line(text)).collect::<String>()).unwrap();
        for tail in 0..=5 {
            assert_eq!(collect(&path, Some(tail)), texts[5 - tail..]);
        }
    }

    #[test]
    fn f8_bytes_that_are_no_text_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let entry = r#"{"log":"\ufffd\ufffd\n","stream":"stderr","attrs":{"a":"b"},"time":"2026-01-01T00:00:00.5Z","bytes":"//4K"}"#;
        std::fs::write(&path, format!("{entry}\n{}", line("text"))).unwrap();
        let mut lines = Vec::new();
        read(&path, &LogOptions::default(), &|| true, &path, &mut |line| {
            lines.push(line.clone());
            true
        })
        .unwrap();
        let attributes = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        let time = "2026-01-01T00:00:00.500000000Z".to_owned();
        assert_eq!(lines[0], LogLine { text: b"\xff\xfe\n".to_vec(), stderr: true, time, attributes, more: true });
        assert_eq!((lines[1].time.as_str(), lines[1].more), ("2026-01-01T00:00:00.000000000Z", false));
    }

    #[test]
    fn f8_a_time_bounds_what_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        let at = |second: &str, text: &str| line(text).replace("00:00:00Z", &format!("00:00:{second}Z"));
        std::fs::write(&path, at("01.5", "a") + &at("02", "b") + &at("03", "c")).unwrap();
        let time = |text: &str| Some(format!("2026-01-01T00:00:{text}Z").parse().unwrap());
        let between = |since, until, tail| collect_of(&path, LogOptions { follow: false, tail, since, until });
        assert_eq!(between(time("02"), None, None), ["b", "c"]);
        assert_eq!(between(None, time("02"), None), ["a", "b"]);
        assert_eq!(between(time("01.5"), time("01.6"), None), ["a"]);
        assert_eq!(between(time("01"), None, Some(1)), ["c"]);
        assert_eq!(between(time("04"), None, None), Vec::<String>::new());
    }

    #[test]
    fn f8_a_follower_sees_what_is_appended_and_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.json");
        std::fs::write(&path, line("a")).unwrap();
        let ended = std::cell::Cell::new(false);
        let mut seen = Vec::new();
        let options = LogOptions { follow: true, ..LogOptions::default() };
        read(&path, &options, &|| ended.get(), folder.path(), &mut |found| {
            seen.push(String::from_utf8_lossy(&found.text).trim_end().to_owned());
            match seen.len() {
                // Each step is taken when the one before was seen, so nothing here depends on time.
                1 => {
                    use std::io::Write;
                    File::options().append(true).open(&path).unwrap().write_all(line("b").as_bytes()).unwrap();
                }
                2 => {
                    std::fs::rename(&path, folder.path().join("log.json.1")).unwrap();
                    std::fs::write(&path, line("c")).unwrap();
                }
                _ => ended.set(true),
            }
            true
        })
        .unwrap();
        assert_eq!(seen, ["a", "b", "c"]);
    }
}
