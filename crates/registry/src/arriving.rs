//! Blobs that are read while they arrive.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A blob between its arrival and whoever reads along: what has come of it, and how it ended.
#[derive(Default)]
pub struct Arriving {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    file: Option<File>,
    size_bytes: u64,
    /// Whether it came whole and verified.
    end: Option<bool>,
}

impl Arriving {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It comes into this file.
    pub(crate) fn begin(&self, file: File) {
        self.lock().file = Some(file);
        self.changed.notify_all();
    }

    pub(crate) fn advance(&self, size_bytes: u64) {
        self.lock().size_bytes = size_bytes;
        self.changed.notify_all();
    }

    pub(crate) fn end(&self, is_whole: bool) {
        self.lock().end.get_or_insert(is_whole);
        self.changed.notify_all();
    }

    /// Waits for the end; whether it came whole and verified.
    pub fn wait(&self) -> bool {
        let mut state = self.lock();
        loop {
            if let Some(is_whole) = state.end {
                return is_whole;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Reads it from its beginning as it comes. Its end is told once it was verified; before that, nothing that is read is
    /// to be believed.
    ///
    /// # Errors
    /// Where it never begins.
    pub fn reader(&self) -> io::Result<impl Read> {
        let mut state = self.lock();
        loop {
            if let Some(file) = &state.file {
                return Ok(Along { file: file.try_clone()?, at_bytes: 0, blob: self });
            }
            if state.end.is_some() {
                return Err(cut());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Along<'a> {
    file: File,
    at_bytes: u64,
    blob: &'a Arriving,
}

impl Read for Along<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.blob.lock();
        while state.size_bytes == self.at_bytes && state.end.is_none() {
            state = self.blob.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let there = state.size_bytes - self.at_bytes;
        let end = state.end;
        drop(state);
        match end {
            _ if there > 0 => {
                let wanted = buffer.len().min(usize::try_from(there).unwrap_or(usize::MAX));
                let count = self.file.read_at(&mut buffer[..wanted], self.at_bytes)?;
                self.at_bytes += count as u64;
                Ok(count)
            }
            Some(true) => Ok(0),
            _ => Err(cut()),
        }
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the layer did not arrive whole")
}
