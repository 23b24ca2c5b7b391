//! Reading a container's log: Docker's JSON lines, oldest file first, following what is appended and rotated.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use carrack_diag::Result;
use carrack_runtime::state::{State, Status};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use serde::Deserialize;

use crate::engine::{Engine, host_error};

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
    /// RFC 3339.
    pub time: String,
}

#[derive(Deserialize)]
struct Entry {
    log: String,
    stream: String,
    time: String,
}

/// Told of each line; false ends the reading.
pub(crate) type LogSink<'a> = dyn FnMut(&LogLine) -> bool + 'a;

/// Name of the log in a container's folder on the data root.
pub(crate) const LOG_FILE: &str = "log.json";

impl Engine {
    /// Reads the log of a container.
    pub fn logs(&self, name: &str, options: &LogOptions, sink: &mut LogSink<'_>) -> Result<()> {
        let record = self.find(name)?;
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

/// A container that will be started again has not ended for its log's readers.
fn is_ended(state: Option<&State>) -> bool {
    state.is_none_or(|state| !matches!(state.actual_status(), Status::Running | Status::Paused | Status::Restarting))
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
    let files = generations(path);
    let mut skip = match options.tail {
        None => 0,
        Some(tail) => {
            let mut lines = 0;
            for file in &files {
                lines += count_lines(file)?;
            }
            lines.saturating_sub(tail)
        }
    };
    let mut current = None;
    for file in files {
        let Some(mut reader) = Reader::open(&file)? else { continue };
        if !reader.drain(&mut skip, sink)? {
            return Ok(());
        }
        current = Some(reader);
    }
    let Some(watch) = watch else { return Ok(()) };
    loop {
        // Looked at before reading, so that what was written until the end is read after it.
        let last = ended();
        if let Some(reader) = &mut current
            && !reader.drain(&mut skip, sink)?
        {
            return Ok(());
        }
        let rotated = current.as_ref().is_none_or(|reader| !reader.is_at(path));
        if rotated && let Some(mut reader) = Reader::open(path)? {
            if !reader.drain(&mut skip, sink)? {
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

/// The log and what was rotated away from it, oldest first.
fn generations(path: &Path) -> Vec<PathBuf> {
    let rotated = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    let mut files: Vec<PathBuf> = (1..).map(rotated).take_while(|file| file.exists()).collect();
    files.reverse();
    files.push(path.to_owned());
    files
}

fn count_lines(path: &Path) -> std::io::Result<usize> {
    let Some(mut reader) = Reader::open(path)? else { return Ok(0) };
    let mut lines = 0;
    loop {
        let block = reader.file.fill_buf()?;
        if block.is_empty() {
            return Ok(lines);
        }
        lines += block.iter().filter(|byte| **byte == b'\n').count();
        let length = block.len();
        reader.file.consume(length);
    }
}

struct Reader {
    file: BufReader<File>,
    inode: u64,
    partial: Vec<u8>,
}

impl Reader {
    fn open(path: &Path) -> std::io::Result<Option<Self>> {
        match File::open(path) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                Ok(Some(Self { file: BufReader::new(file), inode, partial: Vec::new() }))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_at(&self, path: &Path) -> bool {
        std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == self.inode)
    }

    /// Gives every whole line that is there to the sink. False where the sink has had enough.
    fn drain(&mut self, skip: &mut usize, sink: &mut LogSink<'_>) -> std::io::Result<bool> {
        loop {
            let read = self.file.read_until(b'\n', &mut self.partial)?;
            if read == 0 || !self.partial.ends_with(b"\n") {
                return Ok(true);
            }
            let line = std::mem::take(&mut self.partial);
            if *skip > 0 {
                *skip -= 1;
                continue;
            }
            // A line that is no JSON was torn by a power failure.
            let Ok(entry) = serde_json::from_slice::<Entry>(&line) else { continue };
            let line = LogLine { text: entry.log.into_bytes(), stderr: entry.stream == "stderr", time: entry.time };
            if !sink(&line) {
                return Ok(false);
            }
        }
    }
}

/// Wakes a reader when a log grows or is rotated, or its container's state changes.
struct Watch(std::os::fd::OwnedFd);

impl Watch {
    fn new(log: &Path, state_folder: &Path) -> std::io::Result<Self> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let flags = inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::CREATE
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
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], None) {
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
        assert_eq!(collect(&folder.path().join("none"), None), Vec::<String>::new());
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
