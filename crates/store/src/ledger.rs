use std::path::PathBuf;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{self, Durability};
use crate::record::{parse, to_json};
use crate::{Guard, Lock, Store, codes};

/// A project's history: one file a record, `releases/NUMBER-DIGEST.json`, counted from 1, named by the digest of its bytes,
/// never changed. A person can read it with `cat` and prove it with `sha256sum`.
#[derive(Debug, Clone)]
pub struct Ledger {
    project: String,
    dir: PathBuf,
    ingest: PathBuf,
}

/// One record of a ledger.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Counted from 1.
    pub number: u64,
    /// Of the file's bytes.
    pub digest: Digest,
    /// The file.
    pub path: PathBuf,
}

impl Store {
    /// The ledger of a project, which may have no records yet.
    ///
    /// # Errors
    /// `store/invalid-name`.
    pub fn ledger(&self, project: &str) -> Result<Ledger> {
        Ok(Ledger {
            project: project.to_owned(),
            dir: self.stack_dir(project)?.join("releases"),
            ingest: self.ingest_dir(),
        })
    }

    /// Projects that have a folder: a ledger, a journal.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn projects(&self) -> Result<Vec<String>> {
        let mut names = files::names(&self.roots().data.join("stacks"))?;
        names.retain(|name| files::check_name("project", name).is_ok());
        Ok(names)
    }
}

impl Ledger {
    /// Adds a record, made for the number that it gets. On disk when this returns. `lock` is the project's.
    ///
    /// # Errors
    /// `store/lock-order` where it is another lock; where the record can't be written: the ledger is then as before.
    pub fn append<T: Serialize>(&self, lock: &Guard, make: impl FnOnce(u64) -> T) -> Result<Entry> {
        if *lock.lock() != Lock::Stack(self.project.clone()) {
            let message = format!("a release of {} was recorded under {}", self.project, lock.lock());
            return Err(Diagnostic::error(&codes::LOCK_ORDER, message).boxed());
        }
        files::make_dir(&self.dir)?;
        let number = self.head()?.map_or(1, |head| head.number + 1);
        let bytes = to_json(&self.dir, &make(number))?;
        let digest = Digest::of(&bytes);
        let path = self.dir.join(format!("{number:06}-{}.json", digest.hex()));
        files::write_atomic(&self.ingest, &path, &bytes, Durability::Synced)?;
        if number == 1 {
            files::sync_parents(&self.dir, 3)?;
        }
        Ok(Entry { number, digest, path })
    }

    /// All records, oldest first.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn list(&self) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for name in files::names(&self.dir)? {
            let parts = name.strip_suffix(".json").and_then(|stem| stem.split_once('-'));
            let Some((number, hex)) = parts else { continue };
            if let (Ok(number), Some(digest)) = (number.parse(), Digest::from_hex(hex)) {
                entries.push(Entry { number, digest, path: self.dir.join(&name) });
            }
        }
        entries.sort();
        Ok(entries)
    }

    /// The newest record.
    ///
    /// # Errors
    /// As [`Ledger::list`].
    pub fn head(&self) -> Result<Option<Entry>> {
        Ok(self.list()?.pop())
    }

    /// The record of a number, proved against its digest.
    ///
    /// # Errors
    /// `store/not-found`; `store/digest-mismatch` where somebody changed the file; `store/corrupt-record`.
    pub fn read<T: DeserializeOwned>(&self, number: u64) -> Result<T> {
        let Some(entry) = self.list()?.into_iter().find(|entry| entry.number == number) else {
            return Err(Diagnostic::error(&codes::NOT_FOUND, format!("there is no release {number}"))
                .hint("`carrack release ls` lists what is there")
                .boxed());
        };
        let bytes = files::read(&entry.path)?.unwrap_or_default();
        let found = Digest::of(&bytes);
        if found != entry.digest {
            let message = format!("the release {number} was changed after it was recorded");
            return Err(Diagnostic::error(&codes::DIGEST_MISMATCH, message)
                .cause(format!("{} has the digest {found}", entry.path.display()))
                .hint("restore the file from a backup; other releases are not touched by this")
                .boxed());
        }
        parse("release", &entry.path, &bytes)
    }

    /// Removes the record of a number; whether it was there. `lock` is the project's.
    ///
    /// # Errors
    /// Where it can't be removed.
    pub fn remove(&self, _lock: &Guard, number: u64) -> Result<bool> {
        match self.list()?.into_iter().find(|entry| entry.number == number) {
            Some(entry) => files::remove_file(&entry.path),
            None => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::DEFAULT_WAIT;
    use crate::testing::Scene;

    #[test]
    fn releases_are_counted_and_proved() {
        let scene = Scene::new();
        let ledger = scene.store.ledger("shop").unwrap();
        assert_eq!(ledger.head().unwrap(), None);
        let lock = scene.store.lock(Lock::Stack("shop".into()), DEFAULT_WAIT).unwrap();
        for text in ["one", "two"] {
            ledger.append(&lock, |number| format!("{number} {text}")).unwrap();
        }
        assert_eq!(ledger.read::<String>(1).unwrap(), "1 one");
        assert_eq!(ledger.read::<String>(2).unwrap(), "2 two");
        assert_eq!(ledger.read::<String>(3).unwrap_err().code.id, "store/not-found");
        let head = ledger.head().unwrap().unwrap();
        assert_eq!(head.number, 2);
        fs::write(&head.path, "\"2 twо\"").unwrap();
        assert_eq!(ledger.read::<String>(2).unwrap_err().code.id, "store/digest-mismatch");
        assert!(ledger.remove(&lock, 2).unwrap());
        assert_eq!(scene.store.projects().unwrap(), ["shop"]);
    }

    #[test]
    fn only_the_projects_lock_counts() {
        let scene = Scene::new();
        let ledger = scene.store.ledger("shop").unwrap();
        let lock = scene.store.lock(Lock::Stack("other".into()), DEFAULT_WAIT).unwrap();
        assert_eq!(ledger.append(&lock, |_| ()).unwrap_err().code.id, "store/lock-order");
        assert_eq!(ledger.list().unwrap(), []);
    }
}
