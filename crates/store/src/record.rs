use std::collections::BTreeMap;
use std::fs::File;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use carrack_diag::{Diagnostic, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fault::{Context as _, present};
use crate::files::{self, Durability, check_name};
use crate::{Store, codes};

/// Where a kind of record lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `DIR/NAME.json`
    Flat,
    /// `DIR/NAME/FILE`, for objects that own a folder.
    Folder(&'static str),
}

/// Records of one kind: one JSON file an object, replaced by rename, so a reader sees the old or the new.
#[derive(Debug, Clone)]
pub struct Records<T> {
    dir: PathBuf,
    /// Where records are written before they are renamed.
    ingest: PathBuf,
    what: &'static str,
    layout: Layout,
    writable: bool,
    kind: PhantomData<fn() -> T>,
}

impl Store {
    /// Records below the data root; `what` names the kind in messages (`container`).
    pub fn records<T: Serialize + DeserializeOwned>(
        &self,
        dir: &str,
        what: &'static str,
        layout: Layout,
    ) -> Records<T> {
        self.records_in(self.roots().data.join(dir), self.ingest_dir(), what, layout)
    }

    /// Records below the run root: void after a reboot.
    pub fn run_records<T: Serialize + DeserializeOwned>(
        &self,
        dir: &str,
        what: &'static str,
        layout: Layout,
    ) -> Records<T> {
        self.records_in(self.roots().run.join(dir), self.run_ingest_dir(), what, layout)
    }

    fn records_in<T>(&self, dir: PathBuf, ingest: PathBuf, what: &'static str, layout: Layout) -> Records<T> {
        Records { dir, ingest, what, layout, writable: self.is_writable(), kind: PhantomData }
    }
}

impl<T: Serialize + DeserializeOwned> Records<T> {
    /// The file of a record.
    ///
    /// # Errors
    /// `store/invalid-name`.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        check_name(self.what, name)?;
        Ok(match self.layout {
            Layout::Flat => self.dir.join(format!("{name}.json")),
            Layout::Folder(file) => self.dir.join(name).join(file),
        })
    }

    /// The record; none where there is none. An empty file is none: a power failure leaves it of a record that was never
    /// synced.
    ///
    /// # Errors
    /// `store/corrupt-record` for a torn or foreign file.
    pub fn get(&self, name: &str) -> Result<Option<T>> {
        let path = self.path(name)?;
        match files::read(&path)? {
            Some(bytes) if bytes.is_empty() => Ok(None),
            Some(bytes) => parse(self.what, &path, &bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The names, sorted, of objects that have a record file. Files of other kinds in the folder are not ours to judge.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names = files::names(&self.dir)?;
        names.retain_mut(|name| match self.layout {
            Layout::Flat => match name.strip_suffix(".json") {
                Some(stem) if check_name(self.what, stem).is_ok() => {
                    *name = stem.to_owned();
                    true
                }
                _ => false,
            },
            Layout::Folder(file) => check_name(self.what, name).is_ok() && self.dir.join(&name).join(file).is_file(),
        });
        Ok(names)
    }

    /// All records by name. One that is removed meanwhile is left out.
    ///
    /// # Errors
    /// As [`Records::get`].
    pub fn list(&self) -> Result<BTreeMap<String, T>> {
        let mut records = BTreeMap::new();
        for name in self.names()? {
            if let Some(record) = self.get(&name)? {
                records.insert(name, record);
            }
        }
        Ok(records)
    }

    /// Writes a record, making its folder where needed.
    ///
    /// # Errors
    /// Where it can't be written; the old record then stands.
    pub fn put(&self, name: &str, record: &T, durability: Durability) -> Result<()> {
        self.mutable()?;
        let path = self.path(name)?;
        let dir = path.parent().unwrap_or(&self.dir);
        let is_new = !dir.is_dir();
        if is_new {
            files::make_dir(dir)?;
        }
        files::write_atomic(&self.ingest, &path, &to_json(&path, record)?, durability)?;
        if is_new
            && durability == Durability::Synced
            && let Some(parent) = dir.parent()
        {
            files::sync_dir(parent)?;
        }
        Ok(())
    }

    /// Removes a record (of an object with a folder: only the record file). Whether it was there.
    ///
    /// # Errors
    /// Where it can't be removed.
    pub fn remove(&self, name: &str) -> Result<bool> {
        self.mutable()?;
        files::remove_file(&self.path(name)?)
    }

    /// Marks a record as used now. One that is gone is none to mark.
    ///
    /// # Errors
    /// Where its time can't be set.
    pub fn touch(&self, name: &str) -> Result<()> {
        self.mutable()?;
        let path = self.path(name)?;
        let file = present(File::options().write(true).open(&path)).context("open", &path)?;
        file.map_or(Ok(()), |file| file.set_modified(SystemTime::now()).context("set the time of", &path))
    }

    /// When a record was written or last marked as used; none where there is none.
    ///
    /// # Errors
    /// Where it can't be looked at.
    pub fn used(&self, name: &str) -> Result<Option<SystemTime>> {
        let path = self.path(name)?;
        let metadata = present(std::fs::metadata(&path)).context("look at", &path)?;
        metadata.map(|metadata| metadata.modified()).transpose().context("look at", &path)
    }

    fn mutable(&self) -> Result<()> {
        if self.writable { Ok(()) } else { Err(crate::read_only(&format!("a {} record", self.what))) }
    }
}

/// Readable JSON with a final line feed.
pub(crate) fn to_json<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(value).map_err(|error| {
        Diagnostic::error(&codes::CORRUPT_RECORD, format!("can't write {} as JSON", path.display()))
            .cause(error.to_string())
            .boxed()
    })?;
    json.push(b'\n');
    Ok(json)
}

pub(crate) fn parse<T: DeserializeOwned>(what: &str, path: &Path, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        Diagnostic::error(&codes::CORRUPT_RECORD, format!("can't read the {what} record {}", path.display()))
            .cause(error.to_string())
            .hint(format!("restore {} from a backup, or remove it and make the {what} again", path.display()))
            .boxed()
    })
}
