//! What keeps content, layers and images from being taken away.
//!
//! A [`Lease`] is a process's: it ends with it, however it ends. A keep is a record: it stays until it is removed. Both
//! hold digests: of blobs, of image ids (with all that the image needs), of chain ids (with the layers below). Whoever
//! adds a digest first and looks for the object second can rely on what it finds: adding waits for a prune that is at work.

use std::collections::HashSet;
use std::fs::File;
use std::io::Write as _;

use carrack_diag::Result;
use carrack_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::fault::Context as _;
use crate::files::{self, Durability, Held};
use crate::lock::{DEFAULT_WAIT, Lock, Sharing};
use crate::{Layout, Records, Store};

/// Keeps digests while this process lives and holds it.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    held: Held,
}

impl Store {
    /// A lease of this process, empty at first.
    ///
    /// # Errors
    /// Where its file can't be made.
    pub fn lease(&self) -> Result<Lease> {
        self.mutable()?;
        Ok(Lease { store: self.clone(), held: Held::file(&self.leases_dir())? })
    }
}

impl Lease {
    /// Keeps more. May be called from several threads.
    ///
    /// # Errors
    /// Where the lease's file can't be written, or a prune takes longer than 30 s.
    pub fn add(&self, digests: &[Digest]) -> Result<()> {
        let lines: String = digests.iter().map(|digest| format!("{digest}\n")).collect();
        let _guard = self.store.lock_as(Lock::Content, Sharing::Shared, DEFAULT_WAIT)?;
        // One write, so that threads do not mix their lines; the offset is shared and only ever grows.
        let mut file: &File = &self.held.file;
        file.write_all(lines.as_bytes()).context("write the lease", &self.held.path)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // It keeps nothing from now on. What can't be put away is by the next who tries.
        let _ = std::fs::remove_file(&self.held.path);
        let _ = self.store.put_layers_away();
    }
}

/// Who keeps something beyond the life of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeepKind {
    /// A container, as long as it exists: its image and chain.
    Container,
    /// A release that can be rolled back to: its images.
    Release,
    /// A build cache entry: a chain, blobs.
    Cache,
}

impl KeepKind {
    const ALL: [Self; 3] = [Self::Container, Self::Release, Self::Cache];

    fn folder(self) -> &'static str {
        match self {
            Self::Container => "keeps/container",
            Self::Release => "keeps/release",
            Self::Cache => "keeps/cache",
        }
    }
}

/// What one owner keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// Of the owner.
    pub kind: KeepKind,
    /// Container id, `PROJECT-NUMBER` of a release, cache key.
    pub owner: String,
    /// Blobs, image ids, chain ids.
    pub digests: Vec<Digest>,
}

impl Store {
    /// Keeps digests for an owner, replacing what it kept. Look for the objects after this, not before.
    ///
    /// # Errors
    /// `store/invalid-name` for the owner; where the record can't be written.
    pub fn keep(&self, kind: KeepKind, owner: &str, digests: &[Digest], durability: Durability) -> Result<()> {
        let keep = Keep { kind, owner: owner.to_owned(), digests: digests.to_vec() };
        let _guard = self.lock_as(Lock::Content, Sharing::Shared, DEFAULT_WAIT)?;
        self.keep_records(kind).put(owner, &keep, durability)
    }

    /// Lets go of what an owner kept. Whether it kept anything.
    ///
    /// # Errors
    /// Where the record can't be removed.
    pub fn unkeep(&self, kind: KeepKind, owner: &str) -> Result<bool> {
        self.keep_records(kind).remove(owner)
    }

    /// All keeps.
    ///
    /// # Errors
    /// `store/corrupt-record`: a keep that can't be read might keep anything, so nothing is decided without it.
    pub fn keeps(&self) -> Result<Vec<Keep>> {
        let mut keeps = Vec::new();
        for kind in KeepKind::ALL {
            keeps.extend(self.keep_records(kind).list()?.into_values());
        }
        Ok(keeps)
    }

    /// The owners of one kind that keep anything.
    ///
    /// # Errors
    /// Where the folder can't be listed.
    pub fn keepers(&self, kind: KeepKind) -> Result<Vec<String>> {
        self.keep_records(kind).names()
    }

    pub(crate) fn keep_records(&self, kind: KeepKind) -> Records<Keep> {
        self.records(kind.folder(), "keep", Layout::Flat)
    }

    /// What leases of living processes hold.
    pub(crate) fn leased(&self) -> Result<HashSet<Digest>> {
        let mut leased = HashSet::new();
        for name in files::names(&self.leases_dir())? {
            let lines = files::read(&self.leases_dir().join(name))?.unwrap_or_default();
            leased.extend(String::from_utf8_lossy(&lines).lines().filter_map(|line| line.parse::<Digest>().ok()));
        }
        Ok(leased)
    }
}
