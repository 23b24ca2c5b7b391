//! The lines that tell what happened on a root: one JSON object each, appended by whoever acts, read by whoever follows.

mod read;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Result, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use read::{Reader, Reading};

#[cfg(any(test, fuzzing))]
pub(crate) use read::fuzz;

use crate::time::{now_ns, rfc3339_nano};

/// Beyond this the file becomes `events.1` and a new one begins. It lies in memory.
const FILE_SIZE_BYTES: u64 = 2 << 20;

/// How many older files there are: `events.1` is the youngest.
const OLDER_FILES: u32 = 4;

/// Something that happened. Actions have Docker's names: `start`, `die`, `health_status: healthy`, …
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// RFC 3339; set by [`append`] where empty.
    #[serde(default)]
    pub time: String,
    /// `container`, `image`, `network`, `volume`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// What was done.
    pub action: String,
    /// Of the object.
    pub id: String,
    /// Name, image, exit code, …
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// Appends one line with one write, so that writers beside each other never mix theirs. Waits for nobody: a full file that
/// somebody is writing to is left to the next writer.
pub fn append(path: &Path, event: &Event) -> Result<()> {
    let mut line = if event.time.is_empty() {
        serde_json::to_vec(&Event { time: rfc3339_nano(now_ns()), ..event.clone() })?
    } else {
        serde_json::to_vec(event)?
    };
    line.push(b'\n');
    let mut may_rotate = true;
    loop {
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        // Held while it is written to, as nothing may come into a file that its readers have seen renamed.
        file.lock_shared()?;
        let found = file.metadata()?;
        if !is_at(path, found.ino())? {
            continue;
        }
        if may_rotate && found.len() >= FILE_SIZE_BYTES {
            drop(file);
            may_rotate = rotate(path)?;
            continue;
        }
        let written = file.write(&line)?;
        return if written == line.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) };
    }
}

/// Whether the file of that name is the one with this inode.
fn is_at(path: &Path, inode: u64) -> Result<bool> {
    match std::fs::metadata(path) {
        Ok(current) => Ok(current.ino() == inode),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// False where somebody is at the file just now.
fn rotate(path: &Path) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(std::fs::TryLockError::WouldBlock) => return Ok(false),
        Err(std::fs::TryLockError::Error(error)) => return Err(error),
    }
    // Whoever had it before may have done it.
    let found = file.metadata()?;
    if found.len() < FILE_SIZE_BYTES || !is_at(path, found.ino())? {
        return Ok(true);
    }
    for number in (0..OLDER_FILES).rev() {
        match std::fs::rename(older(path, number), older(path, number + 1)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(true)
}

/// The file that was current so many rotations ago.
fn older(path: &Path, number: u32) -> PathBuf {
    if number == 0 { path.to_owned() } else { path.with_extension(number.to_string()) }
}

#[cfg(test)]
mod tests;
