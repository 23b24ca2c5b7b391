//! The lines that tell what happened on a root: one JSON object each, appended by whoever acts.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{Result, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::time::{now_ns, rfc3339_nano};

/// Beyond this the file becomes `events.1` and a new one begins.
const ROTATION_SIZE_BYTES: u64 = 8 << 20;

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

/// Appends one line with one write, so that writers beside each other never mix theirs.
pub fn append(path: &Path, event: &Event) -> Result<()> {
    let mut line = if event.time.is_empty() {
        serde_json::to_vec(&Event { time: rfc3339_nano(now_ns()), ..event.clone() })?
    } else {
        serde_json::to_vec(event)?
    };
    line.push(b'\n');
    let mut file = open(path)?;
    if file.metadata()?.len() >= ROTATION_SIZE_BYTES {
        rotate(path)?;
        file = open(path)?;
    }
    let written = file.write(&line)?;
    if written == line.len() { Ok(()) } else { Err(std::io::ErrorKind::WriteZero.into()) }
}

fn open(path: &Path) -> Result<std::fs::File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Two writers may find the file full at once; the second finds a new one under the lock and leaves it.
fn rotate(path: &Path) -> Result<()> {
    let lock = open(&path.with_extension("lock"))?;
    lock.lock()?;
    if std::fs::metadata(path)?.len() >= ROTATION_SIZE_BYTES {
        std::fs::rename(path, path.with_extension("1"))?;
    }
    Ok(())
}
