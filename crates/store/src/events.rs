//! What happened on a root, as lines of JSON in one file that everybody appends to and anybody follows.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use carrack_diag::{Diagnostic, Result};
use serde::Serialize;

use crate::fault::{Context as _, fault, present};
use crate::lock::{DEFAULT_WAIT, Lock, Sharing};
use crate::{Store, codes};

/// Above this the file is set aside; the one set aside before goes.
const ROTATE_BYTES: u64 = 8 << 20;

/// Reads the lines that come after where it stands. Not a watcher: the caller asks again when it likes.
#[derive(Debug)]
pub struct EventReader {
    path: PathBuf,
    file: Option<BufReader<File>>,
    /// The begin of a line whose end is not written yet.
    partial: Vec<u8>,
}

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the oldest line that is kept.
    Oldest,
    /// With the first line written after this.
    Now,
}

impl Store {
    /// Appends an event: one line, one write, so that lines of several processes never mix. Never synced.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn append_event<T: Serialize>(&self, event: &T) -> Result<()> {
        let path = self.events_path();
        let mut line = serde_json::to_vec(event).map_err(|error| {
            Diagnostic::error(&codes::CORRUPT_RECORD, "an event can't be written").cause(error.to_string()).boxed()
        })?;
        line.push(b'\n');
        let size = {
            // A rotation between opening and writing would put the line into the file set aside.
            let _guard = self.lock_as(Lock::Events, Sharing::Shared, DEFAULT_WAIT)?;
            let mut file =
                OpenOptions::new().append(true).create(true).mode(0o600).open(&path).context("open", &path)?;
            file.write_all(&line).context("write", &path)?;
            file.metadata().context("look at", &path)?.len()
        };
        if size > ROTATE_BYTES { self.rotate_events(ROTATE_BYTES) } else { Ok(()) }
    }

    pub(crate) fn rotate_events(&self, above_bytes: u64) -> Result<()> {
        let path = self.events_path();
        let _guard = self.lock(Lock::Events, DEFAULT_WAIT)?;
        // Another writer may have been faster.
        let is_large =
            present(fs::metadata(&path)).context("look at", &path)?.is_some_and(|file| file.len() > above_bytes);
        if is_large {
            fs::rename(&path, path.with_extension("1")).context("set aside", &path)?;
        }
        Ok(())
    }

    /// Follows the events. Needs no lock and writes nothing.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub fn event_reader(&self, start: Start) -> Result<EventReader> {
        let path = self.events_path();
        let mut reader = EventReader { path: path.clone(), file: None, partial: Vec::new() };
        let (aside, newest) = (reader.open("1")?, reader.open("")?);
        reader.file = match start {
            Start::Oldest => aside.or(newest),
            Start::Now => newest.or(aside),
        };
        if start == Start::Now
            && let Some(file) = &mut reader.file
        {
            file.seek(SeekFrom::End(0)).context("read", &path)?;
        }
        Ok(reader)
    }

    /// The file, for those who want to watch its growth.
    pub fn events_path(&self) -> PathBuf {
        self.roots().run.join("events")
    }
}

impl EventReader {
    /// The lines written since the last call, each one event in JSON, without line feed; none where there are none.
    ///
    /// # Errors
    /// Where the file can't be read.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        loop {
            // In this order: what is written to a file after it was set aside is nothing.
            let next = self.successor()?;
            self.drain(&mut lines)?;
            match next {
                Some(file) => self.file = Some(file),
                None => return Ok(lines),
            }
        }
    }

    /// The file after the current one, once the current one was set aside.
    fn successor(&self) -> Result<Option<BufReader<File>>> {
        // In this order: a file that is set aside in between is then seen twice, not never.
        let newest = self.open("")?;
        let aside = self.open("1")?;
        let Some(current) = &self.file else { return Ok(aside.or(newest)) };
        let inode = |file: &BufReader<File>| file.get_ref().metadata().map(|file| (file.dev(), file.ino())).ok();
        let is_current =
            |file: &Option<BufReader<File>>| file.as_ref().is_some_and(|file| inode(file) == inode(current));
        Ok(if is_current(&newest) {
            None
        } else if aside.is_none() || is_current(&aside) {
            newest
        } else {
            // Two rotations have passed.
            aside
        })
    }

    fn open(&self, extension: &str) -> Result<Option<BufReader<File>>> {
        let path = if extension.is_empty() { self.path.clone() } else { self.path.with_extension(extension) };
        Ok(present(File::open(&path)).context("open", &path)?.map(BufReader::new))
    }

    fn drain(&mut self, lines: &mut Vec<String>) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        loop {
            match file.read_until(b'\n', &mut self.partial) {
                Ok(0) => return Ok(()),
                Ok(_) if self.partial.ends_with(b"\n") => {
                    self.partial.pop();
                    lines.push(String::from_utf8_lossy(&self.partial).into_owned());
                    self.partial.clear();
                }
                Ok(_) => {}
                Err(error) => return Err(fault("read", &self.path, error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scene;

    #[test]
    fn readers_follow_through_rotations() {
        let scene = Scene::new();
        let mut reader = scene.store.event_reader(Start::Oldest).unwrap();
        assert_eq!(reader.lines().unwrap(), Vec::<String>::new());
        for number in 1..=3 {
            scene.store.append_event(&number).unwrap();
        }
        assert_eq!(reader.lines().unwrap(), ["1", "2", "3"]);
        let mut late = scene.store.event_reader(Start::Now).unwrap();
        scene.store.append_event(&4).unwrap();
        scene.store.rotate_events(0).unwrap();
        scene.store.append_event(&5).unwrap();
        scene.store.rotate_events(0).unwrap();
        scene.store.append_event(&6).unwrap();
        for reader in [&mut reader, &mut late] {
            assert_eq!(reader.lines().unwrap(), ["4", "5", "6"]);
            assert_eq!(reader.lines().unwrap(), Vec::<String>::new());
        }
        let oldest = scene.store.event_reader(Start::Oldest).unwrap().lines().unwrap();
        assert_eq!(oldest, ["5", "6"]);
    }

    #[test]
    fn an_unfinished_line_waits_for_its_end() {
        let scene = Scene::new();
        let mut reader = scene.store.event_reader(Start::Oldest).unwrap();
        fs::write(scene.store.events_path(), "\"half").unwrap();
        assert_eq!(reader.lines().unwrap(), Vec::<String>::new());
        OpenOptions::new().append(true).open(scene.store.events_path()).unwrap().write_all(b" whole\"\n").unwrap();
        assert_eq!(reader.lines().unwrap(), ["\"half whole\""]);
    }

    #[test]
    fn lines_of_several_writers_never_mix_nor_get_lost() {
        let scene = Scene::new();
        let mut reader = scene.store.event_reader(Start::Oldest).unwrap();
        let text = "x".repeat(300);
        let mut lines = Vec::new();
        std::thread::scope(|scope| {
            let write = || (0..50).for_each(|_| scene.store.append_event(&text).unwrap());
            let writers = [scope.spawn(write), scope.spawn(write)];
            while !writers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                lines.extend(reader.lines().unwrap());
                scene.store.rotate_events(2000).unwrap();
            }
        });
        lines.extend(reader.lines().unwrap());
        assert_eq!(lines.len(), 100);
        assert!(lines.iter().all(|line| line.len() == 302));
    }
}
