//! What the build cache takes on disk, and how some of it is let go.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use carrack_store::{KeepKind, Layer, Scope, Snapshot, Snapshotter as _, Store, disk_usage, remove_tree};
use rustix::fs::FlockOperation;

use crate::cache;
use crate::codes;
use crate::contents;
use crate::explain;
use crate::fetch;
use crate::mounts::{self, folder, ignore_missing};

/// What an entry of the cache is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// The layer of a step.
    Step,
    /// The folder of a cache mount.
    Mount,
    /// A file behind an address.
    Fetched,
}

/// Something that builds have left for later ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// 64 hexadecimal digits: the first of the step's keys, or the digest of the mount's id or of the address.
    pub id: String,
    /// What it is.
    pub kind: CacheKind,
    /// The step, the mount's id or the address, for people.
    pub description: String,
    /// When a build last made or took it.
    pub used: SystemTime,
    /// On disk. Steps that made the same layer are one entry.
    pub size_bytes: u64,
    /// Whether an image has the layer too, so that forgetting the step frees nothing.
    pub is_shared: bool,
    /// Whether a step works with it at this moment.
    pub is_in_use: bool,
    /// All keys of a step, or the mount's folder names, or of what was fetched the one name.
    keys: Vec<String>,
    layer: Option<Layer>,
}

/// Which entries go. All conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneRequest {
    /// Also what images have too.
    pub all: bool,
    /// Not used for so long.
    pub unused_for: Option<Duration>,
    /// Beginnings of ids; empty is any.
    pub ids: Vec<String>,
    /// Empty is any.
    pub kinds: Vec<CacheKind>,
    /// Only what is shared, or only what is not.
    pub shared: Option<bool>,
    /// Only what a step works with, or only what none does.
    pub in_use: Option<bool>,
    /// Only what is used in place (mounts), or only what is not.
    pub mutable: Option<bool>,
    /// Whole descriptions; empty is any.
    pub descriptions: Vec<String>,
    /// How much may stay at most: what was used last stays longest.
    pub max_used_bytes: Option<u64>,
    /// How much stays in any case; alone, how much may stay at most.
    pub reserved_bytes: Option<u64>,
    /// How much is to be free on the file system: no more goes than that needs.
    pub min_free_bytes: Option<u64>,
}

/// What a prune has taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Forgotten, in this order.
    pub entries: Vec<CacheEntry>,
    /// On disk.
    pub freed_bytes: u64,
}

/// Everything in the cache, least recently used first. Writes nothing (I-5).
///
/// # Errors
/// `store/corrupt-record`.
pub fn cache_usage(store: &Store) -> Result<Vec<CacheEntry>> {
    let snapshots: HashMap<Digest, Snapshot> =
        store.snapshots()?.into_iter().map(|snapshot| (snapshot.chain, snapshot)).collect();
    let mut entries = steps(store, &snapshots)?;
    entries.extend(mounts(store)?);
    entries.extend(fetched(store)?);
    // A layer is used whenever one above it is, and can't go before it.
    let depth = |entry: &CacheEntry| chain(entry, &snapshots).count();
    entries.sort_by(|left, right| {
        (left.used, std::cmp::Reverse(depth(left)), &left.id).cmp(&(
            right.used,
            std::cmp::Reverse(depth(right)),
            &right.id,
        ))
    });
    Ok(entries)
}

/// The chain ids of an entry's layer and of those below it.
fn chain<'a>(entry: &CacheEntry, snapshots: &'a HashMap<Digest, Snapshot>) -> impl Iterator<Item = Digest> + use<'a> {
    let first = entry.layer.as_ref().map(|layer| layer.chain);
    std::iter::successors(first, |chain| snapshots.get(chain)?.parent)
}

fn steps(store: &Store, snapshots: &HashMap<Digest, Snapshot>) -> Result<Vec<CacheEntry>> {
    let mut imaged: HashSet<Digest> = HashSet::new();
    for image in store.images()? {
        imaged.extend(image.layers.iter().map(|layer| layer.chain));
    }
    let records = cache::records(store);
    let mut by_layer: BTreeMap<String, CacheEntry> = BTreeMap::new();
    for (key, record) in records.list()? {
        let Some(used) = records.used(&key)? else { continue };
        let group = record.layer.as_ref().map_or_else(|| key.clone(), |layer| layer.chain.hex());
        let size = |layer: &Layer| {
            let beside = snapshots.get(&layer.chain).map_or(0, |snapshot| store.bytes_beside_blob(snapshot));
            beside + store.blob_size_bytes(&layer.blob.digest).unwrap_or(0)
        };
        let entry = by_layer.entry(group).or_insert_with(|| CacheEntry {
            id: key.clone(),
            kind: CacheKind::Step,
            description: record.name,
            used,
            size_bytes: record.layer.as_ref().map_or(0, size),
            is_shared: record.layer.as_ref().is_some_and(|layer| imaged.contains(&layer.chain)),
            is_in_use: false,
            keys: Vec::new(),
            layer: record.layer,
        });
        entry.used = entry.used.max(used);
        entry.keys.push(key);
    }
    let mut latest: HashMap<Digest, SystemTime> = HashMap::new();
    for entry in by_layer.values() {
        for below in chain(entry, snapshots) {
            let used = latest.entry(below).or_insert(entry.used);
            *used = entry.used.max(*used);
        }
    }
    let mut entries: Vec<CacheEntry> = by_layer.into_values().collect();
    for entry in &mut entries {
        let used = entry.layer.as_ref().and_then(|layer| latest.get(&layer.chain));
        entry.used = used.copied().unwrap_or(entry.used);
    }
    Ok(entries)
}

fn mounts(store: &Store) -> Result<Vec<CacheEntry>> {
    let look = || -> io::Result<Vec<CacheEntry>> {
        let mut entries = Vec::new();
        for name in mounts::names(store)? {
            let (description, used, is_in_use) = mounts::state(store, &name)?;
            entries.push(CacheEntry {
                id: name.split('-').next().unwrap_or_default().to_owned(),
                kind: CacheKind::Mount,
                description,
                used,
                size_bytes: disk_usage(&folder(store).join(&name)),
                is_shared: false,
                is_in_use,
                keys: vec![name],
                layer: None,
            });
        }
        Ok(entries)
    };
    look().map_err(|error| unreadable(&folder(store), &error))
}

fn fetched(store: &Store) -> Result<Vec<CacheEntry>> {
    let kept = fetch::kept(store).map_err(|error| unreadable(&fetch::folder(store), &error))?;
    let entry = |file: fetch::Fetched| CacheEntry {
        id: file.name.clone(),
        kind: CacheKind::Fetched,
        description: file.url,
        used: file.used,
        size_bytes: file.size_bytes,
        is_shared: false,
        is_in_use: file.is_in_use,
        keys: vec![file.name],
        layer: None,
    };
    Ok(kept.into_iter().map(entry).collect())
}

/// Forgets entries and frees what nothing else needs; where no condition is made, also the digests of files, which no
/// entry tells of. Layers that images, containers, releases or running builds need
/// stay, and so do the folders of mounts that a step works with.
///
/// # Errors
/// Where something can't be removed; what was forgotten before stays forgotten.
pub fn prune_cache(store: &Store, request: &PruneRequest) -> Result<Pruned> {
    let entries = cache_usage(store)?;
    let now = SystemTime::now();
    let mut total: u64 = entries.iter().filter(|entry| !entry.is_shared).map(|entry| entry.size_bytes).sum();
    let keep_bytes = request.keep_bytes(total, free_bytes(store)?);
    let mut pruned = Pruned::default();
    let records = cache::records(store);
    for entry in entries {
        let is_within = keep_bytes.is_some_and(|keep| total <= keep);
        if is_within || entry.is_in_use || !request.selects(&entry, now) {
            continue;
        }
        let is_gone = match entry.kind {
            CacheKind::Step => {
                for key in &entry.keys {
                    // What a record names must not be taken away before the record is.
                    records.remove(key)?;
                    store.unkeep(KeepKind::Cache, key)?;
                }
                true
            }
            CacheKind::Mount => remove_mounts(store, &entry.keys)?,
            CacheKind::Fetched => {
                fetch::forget(store, &entry.id).map_err(|error| unreadable(&fetch::folder(store), &error))?
            }
        };
        if is_gone {
            total -= if entry.is_shared { 0 } else { entry.size_bytes };
            pruned.freed_bytes += if entry.kind == CacheKind::Step { 0 } else { entry.size_bytes };
            pruned.entries.push(entry);
        }
    }
    if request.is_unconditional() {
        pruned.freed_bytes += contents::prune(store).map_err(|error| unreadable(&store.roots().data, &error))?;
    }
    explain::sweep(store, &records.list()?).map_err(|error| unreadable(&store.roots().data, &error))?;
    pruned.freed_bytes += store.prune(Scope::Unreferenced)?.size_bytes;
    Ok(pruned)
}

impl PruneRequest {
    /// Whether every entry goes that no image has.
    fn is_unconditional(&self) -> bool {
        Self { all: false, ..self.clone() } == Self::default()
    }

    /// How much of `total` may stay where so much is free; none is no limit to what goes.
    fn keep_bytes(&self, total: u64, free: u64) -> Option<u64> {
        let excess = self.min_free_bytes.map(|wanted| wanted.saturating_sub(free));
        let keep = match (self.max_used_bytes, excess) {
            (None, None) => return self.reserved_bytes,
            (Some(most), None) => most,
            (most, Some(excess)) => most.unwrap_or(total).min(total.saturating_sub(excess)),
        };
        Some(keep.max(self.reserved_bytes.unwrap_or(0)))
    }

    /// Whether an entry fulfils the conditions, its size and use aside.
    pub fn selects(&self, entry: &CacheEntry, now: SystemTime) -> bool {
        let unused_for = now.duration_since(entry.used).unwrap_or_default();
        (self.all || self.shared == Some(true) || !entry.is_shared)
            && self.unused_for.is_none_or(|least| unused_for >= least)
            && (self.ids.is_empty() || self.ids.iter().any(|id| entry.id.starts_with(id.as_str())))
            && (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && self.shared.is_none_or(|shared| shared == entry.is_shared)
            && self.in_use.is_none_or(|in_use| in_use == entry.is_in_use)
            && self.mutable.is_none_or(|mutable| mutable == (entry.kind == CacheKind::Mount))
            && (self.descriptions.is_empty() || self.descriptions.contains(&entry.description))
    }
}

/// What anybody but root may still write where the data root is, in bytes.
fn free_bytes(store: &Store) -> Result<u64> {
    let data = &store.roots().data;
    let free = rustix::fs::statvfs(data).map_err(|errno| unreadable(data, &errno.into()))?;
    Ok(free.f_bavail.saturating_mul(free.f_frsize))
}

/// Whether they could be removed: a step may have come meanwhile.
fn remove_mounts(store: &Store, names: &[String]) -> Result<bool> {
    for name in names {
        let Some(held) = mounts::hold(store, name, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| unreadable(&folder(store), &error))?
        else {
            return Ok(false);
        };
        let (path, gone) = (folder(store).join(name), folder(store).join(format!(".gone-{name}")));
        // Never half of it under its name.
        remove_tree(&gone)?;
        let moved = fs::rename(&path, &gone).or_else(ignore_missing);
        moved.map_err(|error| unreadable(&path, &error))?;
        remove_tree(&gone)?;
        for file in [mounts::lock_path(store, name), mounts::record_path(store, name)] {
            fs::remove_file(&file).or_else(ignore_missing).map_err(|error| unreadable(&file, &error))?;
        }
        drop::<File>(held);
    }
    Ok(true)
}

fn unreadable(path: &Path, error: &io::Error) -> Box<Diagnostic> {
    let path: PathBuf = path.into();
    Diagnostic::error(&codes::STEP_FAILED, format!("can't look after the build cache in {}", path.display()))
        .cause(error.to_string())
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::PruneRequest;

    #[test]
    fn what_may_stay() {
        let keep = |most, reserved, min_free, free| {
            let request = PruneRequest {
                max_used_bytes: most,
                reserved_bytes: reserved,
                min_free_bytes: min_free,
                ..PruneRequest::default()
            };
            request.keep_bytes(100, free)
        };
        assert_eq!(keep(None, None, None, 0), None);
        assert_eq!(keep(None, Some(40), None, 0), Some(40));
        assert_eq!(keep(Some(60), None, None, 0), Some(60));
        assert_eq!(keep(Some(60), Some(40), None, 0), Some(60));
        assert_eq!(keep(Some(30), Some(40), None, 0), Some(40));
        // Enough is free: all of it stays.
        assert_eq!(keep(None, None, Some(50), 50), Some(100));
        assert_eq!(keep(None, None, Some(50), 20), Some(70));
        assert_eq!(keep(Some(60), None, Some(50), 20), Some(60));
        assert_eq!(keep(Some(90), Some(80), Some(500), 20), Some(80));
        assert_eq!(keep(None, None, Some(500), 20), Some(0));
    }
}
