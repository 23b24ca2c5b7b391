//! The folders of running steps on the run root: secrets, generated files. They tell the steps of a killed build apart from
//! those that run.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use carrack_store::Store;
use rustix::fs::FlockOperation;

use crate::codes;

/// A step's folder, held by `flock` and gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Private {
    path: PathBuf,
    _held: File,
}

impl Private {
    /// The folder of the step `id`.
    pub(crate) fn create(store: &Store, id: &str) -> io::Result<Self> {
        let folder = folder(store);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        loop {
            let path = folder.join(id);
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
            // Between its creation and its lock somebody may take it for a leftover.
            let held = match File::open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            if rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok() && path.is_dir() {
                return Ok(Self { path, _held: held });
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn id(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // A leftover is taken away by the next build.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// The steps whose folders are there, and whether a build that lives holds each of them. Changes nothing.
pub fn steps(store: &Store) -> Vec<(String, bool)> {
    let entries = fs::read_dir(folder(store)).into_iter().flatten().flatten();
    let is_held = |path: PathBuf| {
        let file = File::open(path);
        file.is_ok_and(|file| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared).is_err())
    };
    entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), is_held(entry.path()))).collect()
}

/// The folders that nobody holds, now held by us.
pub(crate) fn abandoned(store: &Store) -> Result<Vec<Private>> {
    let folder = folder(store);
    let find = || -> io::Result<Vec<Private>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let Ok(held) = File::open(&path) else { continue };
            if rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).is_ok() {
                found.push(Private { path, _held: held });
            }
        }
        Ok(found)
    };
    match find() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|error| {
            Diagnostic::error(&codes::STEP_FAILED, format!("look for the leftovers of builds in {}", folder.display()))
                .cause(error.to_string())
                .boxed()
        }),
    }
}

fn folder(store: &Store) -> PathBuf {
    store.roots().run.join("build")
}
