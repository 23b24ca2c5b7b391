//! What earlier builds have made, by the key of the step: here, and in caches that are handed on.

pub(crate) mod export;
mod format;
pub(crate) mod import;
pub(crate) mod shared;

use std::collections::{BTreeSet, HashMap};

use carrack_diag::Result;
use carrack_oci::Digest;
use carrack_store::{Durability, KeepKind, Layer, Layout, Lease, Records, Snapshotter as _, Store};
use serde::{Deserialize, Serialize};

use crate::explain::StepInputs;

/// The result of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRecord {
    /// The layer that it made; none where it changed nothing.
    pub layer: Option<Layer>,
    /// RFC 3339, when it was made.
    pub created: String,
    /// The step, for people.
    pub name: String,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// What it was made of, for explanations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<StepInputs>,
}

/// All keys of results, by their chain and when they were made: a step has a key from its inputs, and may have one from
/// the files that it takes.
pub(crate) type Aliases = HashMap<(Digest, String), BTreeSet<Digest>>;

pub(crate) fn aliases(store: &Store) -> Result<Aliases> {
    let mut aliases = Aliases::new();
    for (key, record) in records(store).list()? {
        if let (Some(key), Some(layer)) = (Digest::from_hex(&key), &record.layer) {
            aliases.entry((layer.chain, record.created)).or_default().insert(key);
        }
    }
    Ok(aliases)
}

/// The cache of one store.
pub(crate) struct Cache<'a> {
    store: &'a Store,
    /// None looks only.
    lease: Option<&'a Lease>,
    records: Records<CacheRecord>,
}

pub(crate) fn records(store: &Store) -> Records<CacheRecord> {
    store.records("build/steps", "build step", Layout::Flat)
}

impl<'a> Cache<'a> {
    pub(crate) fn new(store: &'a Store, lease: Option<&'a Lease>) -> Self {
        Self { store, lease, records: records(store) }
    }

    /// A result whose layer is still there, kept by the lease from now on.
    pub(crate) fn get(&self, key: &Digest) -> Result<Option<CacheRecord>> {
        let Some(record) = self.records.get(&key.hex())? else { return Ok(None) };
        if let Some(layer) = &record.layer {
            if let Some(lease) = self.lease {
                lease.add(&[layer.chain, layer.blob.digest])?;
            }
            if self.store.snapshot(&layer.chain)?.is_none() || !self.store.has_blob(&layer.blob.digest) {
                return Ok(None);
            }
        }
        if self.lease.is_some() {
            self.records.touch(&key.hex())?;
        }
        Ok(Some(record))
    }

    /// Enters a result. Its layer is on disk by now: a record is never ahead of what it names.
    pub(crate) fn put(&self, key: &Digest, record: &CacheRecord) -> Result<()> {
        if self.lease.is_none() {
            return Ok(());
        }
        if let Some(layer) = &record.layer {
            let digests = [layer.chain, layer.blob.digest];
            self.store.keep(KeepKind::Cache, &key.hex(), &digests, Durability::Cached)?;
        }
        self.records.put(&key.hex(), record, Durability::Cached)
    }
}
