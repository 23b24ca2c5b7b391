use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Result};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Event, OLDER_FILES, is_at, older};

/// Reads events in the order of the files, across rotations, however slowly.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    /// Oldest first; the last one is still written to.
    files: VecDeque<(File, u64)>,
    /// Bytes behind the last newline.
    rest: Vec<u8>,
    /// Whether a file may have come and gone unseen.
    has_missed: bool,
}

/// What [`Reader::read`] has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Something that happened.
    Event(Event),
    /// More files were written meanwhile than are kept: what was in the first of them is lost to this reader.
    Missed,
    /// Nothing more yet.
    End,
}

const CHUNK_BYTES: usize = 64 << 10;

impl Reader {
    /// From the oldest event that is kept, or from now on.
    pub fn open(path: &Path, from_the_beginning: bool) -> Result<Self> {
        let mut files = files_of(path)?;
        if !from_the_beginning {
            while files.len() > 1 {
                files.pop_front();
            }
            if let Some((file, _)) = files.front_mut() {
                std::io::Seek::seek(file, std::io::SeekFrom::End(0))?;
            }
        }
        Ok(Self { path: path.to_owned(), files, rest: Vec::new(), has_missed: false })
    }

    /// The next event that is there. A line that was cut off when the disk was full is passed over.
    pub fn read(&mut self) -> Result<Reading> {
        loop {
            if std::mem::take(&mut self.has_missed) {
                return Ok(Reading::Missed);
            }
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                if let Some(event) = parse(&line) {
                    return Ok(Reading::Event(event));
                }
                continue;
            }
            if !self.read_on()? {
                return Ok(Reading::End);
            }
        }
    }

    /// Whether there was more.
    fn read_on(&mut self) -> Result<bool> {
        let is_last = self.files.len() == 1;
        let Some((file, inode)) = self.files.front_mut() else {
            self.files = files_of(&self.path)?;
            return Ok(!self.files.is_empty());
        };
        let inode = *inode;
        // Asked before it is read: a file that is not current any more gets nothing new.
        let is_final = !is_last || !is_at(&self.path, inode)?;
        let before = self.rest.len();
        file.take(CHUNK_BYTES as u64).read_to_end(&mut self.rest)?;
        if self.rest.len() > before {
            return Ok(true);
        }
        if !is_final {
            return Ok(false);
        }
        self.rest.clear();
        if is_last {
            let mut newer = files_of(&self.path)?;
            if newer.is_empty() {
                // Between two names, or the root was taken away.
                return Ok(false);
            }
            match newer.iter().position(|(_, other)| *other == inode) {
                Some(position) => drop(newer.drain(..=position)),
                None => self.has_missed = true,
            }
            if newer.is_empty() {
                return Ok(false);
            }
            self.files = newer;
        } else {
            self.files.pop_front();
        }
        Ok(true)
    }
}

/// All files, oldest first. They are opened youngest first, as a rotation moves them the other way.
fn files_of(path: &Path) -> Result<VecDeque<(File, u64)>> {
    let mut files: VecDeque<(File, u64)> = VecDeque::new();
    for number in 0..=OLDER_FILES {
        let file = match File::open(older(path, number)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        if files.iter().all(|(_, other)| *other != inode) {
            files.push_front((file, inode));
        }
    }
    Ok(files)
}

/// A target of `fuzz/`: an event is said again as it was read.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    if let Some(event) = parse(data) {
        let line = serde_json::to_vec(&event).expect("an event is JSON");
        assert!(!line.contains(&b'\n'));
        assert_eq!(parse(&line), Some(event));
    }
}

/// Behind the beginning of a line that was cut off stands a whole one.
fn parse(line: &[u8]) -> Option<Event> {
    const BEGINNING: &[u8] = b"{\"time\":";
    serde_json::from_slice(line).ok().or_else(|| {
        let at = line.windows(BEGINNING.len()).rposition(|window| window == BEGINNING)?;
        serde_json::from_slice(&line[at..]).ok()
    })
}
