//! Caches from elsewhere (`--cache-from`). They are read when a step is found that this root does not have, and a layer is
//! fetched when something needs its files. What is wrong with them is a warning and a miss.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type};
use carrack_store::{Layer, Lease, Snapshotter as _, Store, chain_of};

use super::format::{CacheConfig, Record};
use super::{Cache, CacheRecord};
use crate::codes;
use crate::explain::StepInputs;
use crate::request::Images;

/// Larger documents are not looked at, in bytes.
const DOCUMENT_LIMIT: u64 = 64 << 20;

/// A cache that a build may take results from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheImport {
    /// A folder that is an OCI layout (`type=local`).
    Folder {
        /// The folder.
        path: PathBuf,
        /// Which of its caches.
        tag: String,
        /// Its manifest, instead of the tag.
        digest: Option<Digest>,
    },
    /// A cache of its own at a registry, or an image that carries one (`type=registry`).
    Registry(Reference),
}

impl CacheImport {
    fn describe(&self) -> String {
        match self {
            Self::Folder { path, .. } => path.display().to_string(),
            Self::Registry(reference) => reference.familiar(),
        }
    }
}

/// A cache that was found, its layers not fetched yet.
pub trait CacheReader: Send + Sync {
    /// Its manifest.
    fn manifest(&self) -> &Manifest;

    /// The bytes of the manifest's configuration, verified.
    ///
    /// # Errors
    /// Whatever keeps them from arriving whole.
    fn config(&self) -> Result<Vec<u8>>;

    /// Brings layers of the manifest into the store, verified, kept by `lease`.
    ///
    /// # Errors
    /// Whatever keeps one from arriving whole; those that arrived stay.
    fn fetch(&self, blobs: &[Descriptor], store: &Store, lease: &Lease, cancel: &AtomicBool) -> Result<()>;
}

/// A step that a cache has.
struct Found {
    diff_id: Option<Digest>,
    base: Option<Digest>,
    created: String,
    /// None where the cache knows what it came to, and no more.
    blob: Option<Descriptor>,
    source: usize,
}

struct Source {
    name: String,
    reader: Box<dyn CacheReader>,
}

#[derive(Default)]
struct Opened {
    sources: Vec<Source>,
    steps: HashMap<Digest, Found>,
}

/// A layer that was given out without being here.
struct Pending {
    blob: Option<Descriptor>,
    source: usize,
    records: Vec<(Digest, CacheRecord)>,
    /// The chain that it was given out as; another one where it was laid on something else since.
    origin: Digest,
}

/// The caches of one build.
pub(crate) struct Imports<'a> {
    wanted: &'a [CacheImport],
    images: &'a dyn Images,
    platform: Platform,
    opened: OnceLock<Opened>,
    pending: Mutex<HashMap<Digest, Pending>>,
    /// Chains that turned out not to be had.
    lost: Mutex<HashSet<Digest>>,
    /// One at a time: others most often want the same.
    fetching: Mutex<()>,
    pub(crate) warnings: Mutex<Vec<Diagnostic>>,
}

impl<'a> Imports<'a> {
    pub(crate) fn new(wanted: &'a [CacheImport], images: &'a dyn Images, platform: Option<&Platform>) -> Self {
        Self {
            wanted,
            images,
            platform: platform.cloned().unwrap_or_else(Platform::host),
            opened: OnceLock::new(),
            pending: Mutex::default(),
            lost: Mutex::default(),
            fetching: Mutex::default(),
            warnings: Mutex::default(),
        }
    }

    fn warn(&self, what: String, error: &Diagnostic) {
        let mut warning = Diagnostic::warning(&codes::CACHE_UNUSABLE, what).cause(error.message.clone());
        for cause in &error.causes {
            warning = warning.cause(cause.clone());
        }
        lock(&self.warnings).push(warning.hint("the steps are done instead"));
    }

    fn opened(&self) -> &Opened {
        self.opened.get_or_init(|| {
            let mut opened = Opened::default();
            for wanted in self.wanted {
                let name = wanted.describe();
                let read = open(wanted, self.images, &self.platform).and_then(|reader| {
                    let steps = steps(reader.as_ref(), opened.sources.len())?;
                    Ok((reader, steps))
                });
                match read {
                    Ok((reader, steps)) => {
                        for (key, found) in steps {
                            // The first that has the files.
                            let known = opened.steps.get(&key);
                            if known.is_none_or(|known| known.blob.is_none() && found.blob.is_some()) {
                                opened.steps.insert(key, found);
                            }
                        }
                        opened.sources.push(Source { name, reader });
                    }
                    Err(error) => self.warn(format!("the cache {name} cannot be used"), &error),
                }
            }
            opened
        })
    }

    /// The result of a step on `base`. Its layer may have to be fetched before its files are looked at.
    pub(crate) fn get(
        &self,
        key: &Digest,
        base: Option<&Digest>,
        name: &str,
        made_of: impl FnOnce() -> StepInputs,
    ) -> Option<CacheRecord> {
        if self.wanted.is_empty() {
            return None;
        }
        let found = self.opened().steps.get(key)?;
        if found.base.as_ref() != base {
            return None;
        }
        let layer = found.diff_id.map(|diff_id| Layer {
            diff_id,
            chain: chain_of(base, &diff_id),
            blob: found.blob.clone().unwrap_or_else(|| Descriptor::new(media_type::LAYER, diff_id, 0)),
        });
        if let Some(layer) = &layer
            && lock(&self.lost).contains(&layer.chain)
        {
            return None;
        }
        let inputs = Some(made_of());
        let (created, name) = (found.created.clone(), name.to_owned());
        let record = CacheRecord { layer, created, name, duration_ms: None, inputs };
        if let Some(layer) = &record.layer {
            let mut pending = lock(&self.pending);
            let (blob, source, origin) = (found.blob.clone(), found.source, layer.chain);
            let new = || Pending { blob, source, records: Vec::new(), origin };
            let entry = pending.entry(layer.chain).or_insert_with(new);
            if entry.records.iter().all(|(known, _)| known != key) {
                entry.records.push((*key, record.clone()));
            }
        }
        Some(record)
    }

    /// Whether a layer was promised and is not here yet.
    pub(crate) fn is_pending(&self, store: &Store, layer: &Layer) -> Result<bool> {
        let is_promised = lock(&self.pending).contains_key(&layer.chain);
        Ok(is_promised && (store.snapshot(&layer.chain)?.is_none() || !store.has_blob(&layer.blob.digest)))
    }

    /// A layer is to lie on others, one of which is not here yet.
    pub(crate) fn lay(&self, layer: &Layer, chain: Digest) {
        let mut pending = lock(&self.pending);
        let (blob, source, origin) = match pending.get(&layer.chain) {
            Some(known) => (known.blob.clone(), known.source, known.origin),
            None => (Some(layer.blob.clone()), usize::MAX, layer.chain),
        };
        pending.entry(chain).or_insert(Pending { blob, source, records: Vec::new(), origin });
    }

    /// How many promises were broken.
    pub(crate) fn lost_count(&self) -> usize {
        lock(&self.lost).len()
    }

    /// Sees to it that layers are unpacked here. An error of the code [`codes::CACHE_LOST`] is for whoever begins anew: the
    /// layers that could not be had are not given out again.
    pub(crate) fn bring(
        &self,
        layers: &[Layer],
        (store, lease): (&Store, &Lease),
        cache: &Cache<'_>,
        cancel: &AtomicBool,
    ) -> Result<()> {
        let Some(top) = layers.last() else { return Ok(()) };
        if lock(&self.pending).is_empty() || store.snapshot(&top.chain)?.is_some() {
            return Ok(());
        }
        let _one = lock(&self.fetching);
        lease.add(&layers.iter().flat_map(|layer| [layer.chain, layer.blob.digest]).collect::<Vec<_>>())?;
        let mut missing = Vec::new();
        for layer in layers {
            if store.snapshot(&layer.chain)?.is_none() {
                missing.push(layer);
            }
        }
        let is_lost = |layer: &&&Layer| {
            lock(&self.pending).get(&layer.chain).is_some_and(|pending| pending.blob.is_none())
                && !store.has_blob(&layer.blob.digest)
        };
        let unknown: Vec<Digest> = missing.iter().filter(is_lost).map(|layer| layer.chain).collect();
        if !unknown.is_empty() {
            return Err(self.lose(unknown));
        }
        self.fetch(&missing, store, lease, cancel)?;
        for (index, layer) in layers.iter().enumerate() {
            let applied = store.unpack(lease, &layers[..=index]);
            if let Err(error) = applied {
                let Some(source) = self.source(&layer.chain).filter(|_| is_foreign(&error)) else { return Err(error) };
                self.warn(format!("a layer of the cache {source} cannot be used"), &error);
                return Err(self.lose([layer.chain]));
            }
            let records = lock(&self.pending).get(&layer.chain).map(|pending| pending.records.clone());
            for (key, record) in records.unwrap_or_default() {
                cache.put(&key, &record)?;
            }
        }
        Ok(())
    }

    fn source(&self, chain: &Digest) -> Option<&str> {
        let source = lock(&self.pending).get(chain)?.source;
        Some(&self.opened().sources.get(source)?.name)
    }

    fn lose(&self, chains: impl IntoIterator<Item = Digest>) -> Box<Diagnostic> {
        let pending = lock(&self.pending);
        let origin = |chain: Digest| pending.get(&chain).map_or(chain, |pending| pending.origin);
        lock(&self.lost).extend(chains.into_iter().map(origin));
        Diagnostic::error(&codes::CACHE_LOST, "a result that a cache promised cannot be had").boxed()
    }

    fn fetch(&self, missing: &[&Layer], store: &Store, lease: &Lease, cancel: &AtomicBool) -> Result<()> {
        for (index, source) in self.opened().sources.iter().enumerate() {
            let mut blobs: Vec<Descriptor> = Vec::new();
            for layer in missing {
                let is_ours = lock(&self.pending).get(&layer.chain).is_some_and(|pending| pending.source == index);
                let is_known = blobs.iter().any(|known| known.digest == layer.blob.digest);
                if is_ours && !is_known && !store.has_blob(&layer.blob.digest) {
                    blobs.push(layer.blob.clone());
                }
            }
            if blobs.is_empty() {
                continue;
            }
            let Err(error) = source.reader.fetch(&blobs, store, lease, cancel) else { continue };
            if cancel.load(std::sync::atomic::Ordering::SeqCst) || !is_foreign(&error) {
                return Err(error);
            }
            self.warn(format!("a layer of the cache {} cannot be fetched", source.name), &error);
            let lost = missing.iter().filter(|layer| {
                blobs.iter().any(|blob| blob.digest == layer.blob.digest) && !store.has_blob(&layer.blob.digest)
            });
            return Err(self.lose(lost.map(|layer| layer.chain)));
        }
        Ok(())
    }

    /// Brings the blob of a layer that was given out, for handing it on. Whether it is here then.
    pub(crate) fn bring_blob(&self, layer: &Layer, store: &Store, lease: &Lease, cancel: &AtomicBool) -> bool {
        let _one = lock(&self.fetching);
        store.has_blob(&layer.blob.digest)
            || lock(&self.pending).get(&layer.chain).is_some_and(|pending| pending.blob.is_some())
                && self.fetch(&[layer], store, lease, cancel).is_ok()
                && store.has_blob(&layer.blob.digest)
    }
}

/// Whether what is wrong is the cache's, and not this machine's.
fn is_foreign(error: &Diagnostic) -> bool {
    error.code != &carrack_store::codes::DISK_FULL
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn open(wanted: &CacheImport, images: &dyn Images, platform: &Platform) -> Result<Box<dyn CacheReader>> {
    match wanted {
        CacheImport::Folder { path, tag, digest } => {
            Ok(Box::new(FolderCache::open(path, tag, digest.as_ref()).map_err(|error| unusable(&error.to_string()))?))
        }
        CacheImport::Registry(reference) => match images.registries()? {
            Some(registries) => registries.open(reference, platform),
            None => Err(unusable("there is no registry to ask")),
        },
    }
}

fn unusable(reason: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::CACHE_UNUSABLE, reason.to_owned()).boxed()
}

/// What a cache says of steps, by key.
fn steps(reader: &dyn CacheReader, source: usize) -> Result<Vec<(Digest, Found)>> {
    let bytes = reader.config()?;
    let manifest = reader.manifest();
    let malformed = |error: serde_json::Error| unusable(&format!("its configuration is malformed: {error}"));
    let (config, diff_ids) = if manifest.config.media_type == media_type::CACHE_CONFIG {
        (serde_json::from_slice::<CacheConfig>(&bytes).map_err(malformed)?, Vec::new())
    } else {
        let image: ImageConfig = serde_json::from_slice(&bytes).map_err(malformed)?;
        let Some(text) = image.cache else {
            return Err(unusable("the image carries no cache: build it with --cache-to type=inline"));
        };
        let bytes = STANDARD.decode(text).map_err(|error| unusable(&format!("its cache is malformed: {error}")))?;
        let records = serde_json::from_slice::<Vec<Record>>(&bytes).map_err(malformed)?;
        (CacheConfig { layers: Vec::new(), records }, image.rootfs.diff_ids)
    };
    let blob = |record: &Record, wanted: &Digest| -> Option<Descriptor> {
        let index = record.results.first()?.layer;
        // An image's layers stand in its manifest, in order.
        let (digest, diff_id) = match config.layers.get(index) {
            Some(layer) => (layer.blob.parse().ok()?, layer.annotations.as_ref()?.diff_id.parse().ok()?),
            None => (manifest.layers.get(index)?.digest, *diff_ids.get(index)?),
        };
        let found = manifest.layers.iter().find(|descriptor| descriptor.digest == digest)?;
        (diff_id == *wanted).then(|| Descriptor::new(found.media_type.clone(), found.digest, found.size))
    };
    let mut steps = Vec::new();
    for record in &config.records {
        let (Ok(key), Some(step)) = (record.digest.parse::<Digest>(), &record.step) else { continue };
        if step.created.parse::<jiff::Timestamp>().is_err() {
            continue;
        }
        let blob = step.diff_id.as_ref().and_then(|diff_id| blob(record, diff_id));
        let created = step.created.clone();
        steps.push((key, Found { diff_id: step.diff_id, base: step.base, created, blob, source }));
    }
    Ok(steps)
}

/// A manifest, a line `===`, and the configuration that goes with it.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    struct Given(Manifest, Vec<u8>);
    impl CacheReader for Given {
        fn manifest(&self) -> &Manifest {
            &self.0
        }
        fn config(&self) -> Result<Vec<u8>> {
            Ok(self.1.clone())
        }
        fn fetch(&self, _: &[Descriptor], _: &Store, _: &Lease, _: &AtomicBool) -> Result<()> {
            Ok(())
        }
    }
    const APART: &[u8] = b"\n===\n";
    let Some(at) = data.windows(APART.len()).position(|window| window == APART) else { return };
    let Ok(manifest) = serde_json::from_slice::<Manifest>(&data[..at]) else { return };
    let given = Given(manifest, data[at + APART.len()..].to_vec());
    let found = steps(&given, 0).unwrap_or_default();
    for blob in found.into_iter().filter_map(|(_, found)| found.blob) {
        assert!(given.0.layers.iter().any(|layer| layer.digest == blob.digest), "a layer that the manifest has not");
    }
}

/// A cache in a folder.
pub(crate) struct FolderCache {
    path: PathBuf,
    manifest: Arc<Manifest>,
}

pub(crate) fn blob_path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join("blobs/sha256").join(digest.hex())
}

/// A document of a layout. What names it is not its own word, so it is verified by whoever has a digest.
pub(crate) fn document(path: &Path, expected: Option<&Digest>) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(DOCUMENT_LIMIT + 1).read_to_end(&mut bytes)?;
    let wrong = |reason: &str| Err(io::Error::new(io::ErrorKind::InvalidData, format!("{}: {reason}", path.display())));
    if bytes.len() as u64 > DOCUMENT_LIMIT {
        return wrong("it is too large");
    }
    if expected.is_some_and(|expected| Digest::of(&bytes) != *expected) {
        return wrong("its content is not what its name says");
    }
    Ok(bytes)
}

pub(crate) const TAG_ANNOTATION: &str = "org.opencontainers.image.ref.name";

impl FolderCache {
    pub(crate) fn open(path: &Path, tag: &str, digest: Option<&Digest>) -> io::Result<Self> {
        let invalid = |error: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let digest = match digest {
            Some(digest) => *digest,
            None => {
                let index: Index =
                    serde_json::from_slice(&document(&path.join("index.json"), None)?).map_err(invalid)?;
                let tagged =
                    |entry: &&Descriptor| entry.annotations.get(TAG_ANNOTATION).is_some_and(|name| name == tag);
                let entry = index.manifests.iter().find(tagged).ok_or_else(|| {
                    let message = format!("{} has no cache of the tag `{tag}`", path.display());
                    io::Error::new(io::ErrorKind::NotFound, message)
                })?;
                entry.digest
            }
        };
        let bytes = document(&blob_path(path, &digest), Some(&digest))?;
        let manifest = Arc::new(serde_json::from_slice(&bytes).map_err(invalid)?);
        Ok(Self { path: path.to_owned(), manifest })
    }
}

impl CacheReader for FolderCache {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn config(&self) -> Result<Vec<u8>> {
        let digest = &self.manifest.config.digest;
        document(&blob_path(&self.path, digest), Some(digest)).map_err(|error| unusable(&error.to_string()))
    }

    fn fetch(&self, blobs: &[Descriptor], store: &Store, lease: &Lease, cancel: &AtomicBool) -> Result<()> {
        for blob in blobs {
            let path = blob_path(&self.path, &blob.digest);
            let unreadable = |error: io::Error| unusable(&format!("{}: {error}", path.display()));
            let mut from = File::open(&path).map_err(unreadable)?;
            let mut ingest = store.ingest()?;
            let mut buffer = vec![0; 1 << 16];
            loop {
                if cancel.load(std::sync::atomic::Ordering::SeqCst) {
                    return Err(Diagnostic::error(&codes::CANCELLED, "the build was cancelled").boxed());
                }
                let count = from.read(&mut buffer).map_err(unreadable)?;
                if count == 0 {
                    break;
                }
                ingest.append(&buffer[..count])?;
            }
            ingest.commit(lease, Some(&blob.digest))?;
        }
        Ok(())
    }
}
