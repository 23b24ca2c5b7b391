//! The folders of cache mounts, and who works with them.
//!
//! A folder `NAME` has a file `NAME.json` beside it that says which mount it is; its time is when it was last used, and
//! whoever works with the folder holds it by `flock`, shared. A prune holds it alone.

pub(crate) mod exchange;

use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::PathBuf;
use std::time::SystemTime;

use carrack_store::Store;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Where they are.
pub(crate) fn folder(store: &Store) -> PathBuf {
    store.roots().data.join("build/mounts")
}

pub(crate) fn record_path(store: &Store, name: &str) -> PathBuf {
    folder(store).join(format!("{name}.json"))
}

/// Held by whoever wants the mount for itself (`sharing=locked` and `private`).
pub(crate) fn lock_path(store: &Store, name: &str) -> PathBuf {
    folder(store).join(format!("{name}.lock"))
}

/// Names of all folders.
pub(crate) fn names(store: &Store) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder(store)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && entry.file_type()?.is_dir() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// The mount's id, when it was last used, and whether somebody works with it now.
pub(crate) fn state(store: &Store, name: &str) -> io::Result<(String, SystemTime, bool)> {
    let path = record_path(store, name);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let used = fs::metadata(folder(store).join(name))?.modified()?;
            return Ok((format!("cache mount {}", name.get(..12).unwrap_or(name)), used, false));
        }
        other => other?,
    };
    let id: String = serde_json::from_reader(&file).unwrap_or_default();
    let used = file.metadata()?.modified()?;
    let is_in_use = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => false,
        Err(Errno::WOULDBLOCK) => true,
        Err(errno) => return Err(errno.into()),
    };
    Ok((id, used, is_in_use))
}

/// The file of a folder, locked; none where somebody else has it and it is not waited for.
pub(crate) fn hold(store: &Store, name: &str, operation: FlockOperation) -> io::Result<Option<File>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder(store))?;
    let path = record_path(store, name);
    loop {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        match flock(&file, operation) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
        let same = |there: &Metadata, here: &Metadata| (there.dev(), there.ino()) == (here.dev(), here.ino());
        // A prune may have taken the file away while it was waited for.
        if let Ok(there) = fs::metadata(&path)
            && same(&there, &file.metadata()?)
        {
            return Ok(Some(file));
        }
    }
}

/// Takes part in using a folder, as long as the file is held.
pub(crate) fn using(store: &Store, name: &str, id: &str) -> io::Result<File> {
    let held = hold(store, name, FlockOperation::LockShared)?.ok_or(io::ErrorKind::WouldBlock)?;
    // Whoever else does the same writes the same.
    (&held).write_all(&serde_json::to_vec(id)?)?;
    held.set_modified(SystemTime::now())?;
    Ok(held)
}

pub(crate) fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
