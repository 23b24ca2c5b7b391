//! The cache for elsewhere (`--cache-to`).

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Descriptor, Digest, Index, Manifest, Platform, Reference, media_type};
use carrack_store::{Compression, Layer, Lease, Store};
use rustix::fs::{FlockOperation, flock};

use super::Aliases;
use super::format::{Annotations, CacheConfig, CacheLayer, CacheResult, Record, Step};
use super::import::{CacheImport, CacheReader, Imports, TAG_ANNOTATION, blob_path, document, open};
use super::shared::{Joined, Part, Share, SharedCache};
use crate::codes;
use crate::request::Images;
use crate::vertex::Outcome;

/// Where a cache goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheDestination {
    /// A folder that becomes an OCI layout (`type=local`).
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the cache is called in it.
        tag: String,
    },
    /// A registry, under a name of its own (`type=registry`).
    Registry(Reference),
}

/// A cache to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheExport {
    /// Where.
    pub destination: CacheDestination,
    /// Whether the layers of all steps go with it (`mode=max`), or only those of the image (`mode=min`).
    pub all: bool,
    /// Of its layers; none is gzip, or whatever they have already.
    pub compression: Option<Compression>,
    /// Whether layers that are compressed in another way are compressed again.
    pub force: bool,
    /// Whether the build has succeeded although this fails.
    pub ignore_error: bool,
    /// The builds that write it together.
    pub shared: Option<SharedCache>,
}

/// Registries, as far as caches are kept in them.
pub trait CacheRegistry {
    /// Finds a cache, or an image that carries one.
    ///
    /// # Errors
    /// Where there is none, and whatever keeps it from arriving.
    fn open(&self, reference: &Reference, platform: &Platform) -> Result<Box<dyn CacheReader>>;

    /// Sends a manifest under a tag, with those of its blobs that are not there; all of them that are missing there are in
    /// the store.
    ///
    /// # Errors
    /// Whatever keeps it from being taken.
    fn push(
        &self,
        reference: &Reference,
        manifest: &Manifest,
        store: &Store,
        lease: &Lease,
        cancel: &AtomicBool,
    ) -> Result<()>;
}

/// What a build has made, as far as caches tell of it.
pub(crate) struct Results<'a> {
    pub(crate) outcomes: &'a [Arc<Outcome>],
    /// Of the result.
    pub(crate) layers: &'a [Layer],
    /// Further keys of the results.
    pub(crate) aliases: Aliases,
}

impl Results<'_> {
    /// Each step under each of its keys, with its own layer. `only_first` leaves keys out that a build finds only when it
    /// does the step.
    fn steps(&self, only_first: bool) -> Vec<(Digest, Step, Option<&Layer>)> {
        let mut steps = Vec::new();
        for outcome in self.outcomes {
            let Some(record) = &outcome.record else { continue };
            let below = outcome.layers.len() - usize::from(record.layer.is_some());
            let base = below.checked_sub(1).and_then(|index| outcome.layers.get(index)).map(|layer| layer.chain);
            let layer = record.layer.as_ref();
            let step = Step { base, diff_id: layer.map(|layer| layer.diff_id), created: record.created.clone() };
            let own = if only_first { 1 } else { outcome.keys.len() };
            let mut keys: BTreeSet<Digest> = outcome.keys.iter().take(own).copied().collect();
            let aliases = layer.and_then(|layer| self.aliases.get(&(layer.chain, record.created.clone())));
            keys.extend(aliases.into_iter().flatten());
            steps.extend(keys.into_iter().map(|key| (key, step.clone(), layer)));
        }
        steps.sort_by_key(|(key, ..)| *key);
        steps.dedup_by_key(|(key, ..)| *key);
        steps
    }

    /// What an image's configuration carries of it (`type=inline`): the records, their layers those of the image. The same
    /// for the same steps, cached or not, as it is part of the image.
    pub(crate) fn inline(&self) -> Option<String> {
        let records = self.steps(true).into_iter().map(|(key, step, layer)| {
            let index = layer.and_then(|layer| self.layers.iter().position(|other| other.chain == layer.chain));
            record(key, step, index)
        });
        serde_json::to_vec(&records.collect::<Vec<_>>()).ok().map(|bytes| STANDARD.encode(bytes))
    }
}

fn record(key: Digest, step: Step, index: Option<usize>) -> Record {
    let created = Some(step.created.clone());
    let results = index.map(|layer| CacheResult { layer, created }).into_iter().collect();
    Record { digest: key.to_string(), results, step: Some(step) }
}

/// Where nobody says otherwise: a cache is read as often as it is written, and most often nearby.
const QUICK: Compression = Compression::Gzip { level: 1 };

/// Where things come from and go to.
pub(crate) struct Exchange<'a> {
    pub(crate) store: &'a Store,
    pub(crate) lease: &'a Lease,
    pub(crate) images: &'a dyn Images,
    pub(crate) imports: &'a Imports<'a>,
    pub(crate) cancel: &'a AtomicBool,
}

impl Exchange<'_> {
    /// Writes a cache.
    pub(crate) fn export(&self, wanted: &CacheExport, made: &Results<'_>) -> Result<()> {
        let place = match &wanted.destination {
            CacheDestination::Folder { path, .. } => path.display().to_string(),
            CacheDestination::Registry(reference) => reference.familiar(),
        };
        // What is known of the other side may be gone there.
        let known = if wanted.force { HashMap::new() } else { self.known(wanted) };
        let write = || -> Result<()> {
            let part = self.collect(wanted, made, &known)?;
            let own = Share { part, outcomes: made.outcomes.to_vec(), layers: made.layers.to_vec() };
            let all = match &wanted.shared {
                None => Joined { share: own, _lease: None },
                Some(shared) => match shared.join(self.store, own)? {
                    Some(all) => all,
                    // The last of the builds writes it.
                    None => return Ok(()),
                },
            };
            let Share { part, outcomes, layers } = all.share;
            let sent = self.send(wanted, part);
            if sent.is_ok() || known.is_empty() {
                return sent;
            }
            let made = Results { outcomes: &outcomes, layers: &layers, aliases: made.aliases.clone() };
            self.send(wanted, self.collect(wanted, &made, &HashMap::new())?)
        };
        let written = write();
        written.map_err(|error| {
            let failed = Diagnostic::error(&codes::CACHE_NOT_WRITTEN, format!("can't write the cache to {place}"));
            let causes = [vec![error.message], error.causes].concat();
            let failed = causes.into_iter().fold(failed, Diagnostic::cause);
            failed.hint("the image itself is built; ignore-error=true makes this a warning").boxed()
        })
    }

    /// What a cache says, its blobs in the store but for those that are known to be there.
    fn collect(&self, wanted: &CacheExport, made: &Results<'_>, known: &HashMap<Digest, Descriptor>) -> Result<Part> {
        let own: BTreeSet<Digest> = made.layers.iter().map(|layer| layer.chain).collect();
        let mut config = CacheConfig::default();
        let mut blobs: Vec<Descriptor> = Vec::new();
        let mut indexes: HashMap<Digest, usize> = HashMap::new();
        let steps = made.steps(false);
        let chains: BTreeSet<Digest> =
            steps.iter().filter_map(|(_, _, layer)| layer.map(|layer| layer.chain)).collect();
        // Parents come before what lies on them.
        for outcome in made.outcomes {
            for (place, layer) in outcome.layers.iter().enumerate() {
                let is_wanted = wanted.all || own.contains(&layer.chain);
                if !chains.contains(&layer.chain) || !is_wanted || indexes.contains_key(&layer.chain) {
                    continue;
                }
                let Some(blob) = self.blob(layer, wanted, known)? else { continue };
                let below = place.checked_sub(1).and_then(|below| indexes.get(&outcome.layers[below].chain).copied());
                indexes.insert(layer.chain, config.layers.len());
                config.layers.push(CacheLayer {
                    blob: blob.digest.to_string(),
                    parent: below.and_then(|below| i64::try_from(below).ok()).unwrap_or(-1),
                    annotations: Some(Annotations {
                        media_type: blob.media_type.clone(),
                        diff_id: layer.diff_id.to_string(),
                        size: blob.size,
                        created: outcome.record.as_ref().map(|record| record.created.clone()),
                    }),
                });
                if blobs.iter().all(|other| other.digest != blob.digest) {
                    blobs.push(blob);
                }
            }
        }
        let index = |layer: Option<&Layer>| layer.and_then(|layer| indexes.get(&layer.chain).copied());
        config.records = steps.into_iter().map(|(key, step, layer)| record(key, step, index(layer))).collect();
        Ok(Part { config, blobs })
    }

    fn send(&self, wanted: &CacheExport, Part { config, blobs }: Part) -> Result<()> {
        let bytes = serde_json::to_vec(&config).map_err(|error| failed(&error.to_string()))?;
        let digest = self.store.ingest_bytes(self.lease, &bytes)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::MANIFEST.to_owned(),
            artifact_type: None,
            config: Descriptor::new(media_type::CACHE_CONFIG, digest, bytes.len() as u64),
            layers: blobs,
            subject: None,
            annotations: std::collections::BTreeMap::new(),
        };
        match &wanted.destination {
            CacheDestination::Folder { path, tag } => {
                self.folder(path, tag, &manifest).map_err(|error| failed(&error.to_string()))
            }
            CacheDestination::Registry(reference) => match self.images.registries()? {
                Some(registries) => registries.push(reference, &manifest, self.store, self.lease, self.cancel),
                None => Err(failed("there is no registry to send it to")),
            },
        }
    }

    /// Layers that are there already, by what they unpack to: they need not be compressed again.
    fn known(&self, wanted: &CacheExport) -> HashMap<Digest, Descriptor> {
        let from = match &wanted.destination {
            CacheDestination::Folder { path, tag } => {
                CacheImport::Folder { path: path.clone(), tag: tag.clone(), digest: None }
            }
            CacheDestination::Registry(reference) => CacheImport::Registry(reference.clone()),
        };
        let read = || -> Option<HashMap<Digest, Descriptor>> {
            let reader = open(&from, self.images, &Platform::host()).ok()?;
            let config: CacheConfig = serde_json::from_slice(&reader.config().ok()?).ok()?;
            let mut known = HashMap::new();
            for layer in &config.layers {
                let digest = layer.blob.parse().ok();
                let found = reader.manifest().layers.iter().find(|blob| Some(blob.digest) == digest);
                let diff_id = layer.annotations.as_ref().and_then(|told| told.diff_id.parse().ok());
                if let (Some(found), Some(diff_id)) = (found, diff_id) {
                    known.insert(diff_id, found.clone());
                }
            }
            Some(known)
        };
        // Nothing there yet, or nothing of use: then all of it is sent.
        read().unwrap_or_default()
    }

    /// The blob that stands for a layer; none where it cannot be had.
    fn blob(
        &self,
        layer: &Layer,
        wanted: &CacheExport,
        known: &HashMap<Digest, Descriptor>,
    ) -> Result<Option<Descriptor>> {
        let is_right = |kind: &str| match wanted.compression {
            Some(Compression::Plain) => kind == media_type::LAYER,
            Some(Compression::Gzip { .. }) => kind == media_type::LAYER_GZIP,
            Some(Compression::Zstd { .. }) => kind == media_type::LAYER_ZSTD,
            None => true,
        };
        let is_there = |blob: &Descriptor| match &wanted.destination {
            CacheDestination::Folder { path, .. } => is_whole(&blob_path(path, &blob.digest), blob),
            CacheDestination::Registry(_) => true,
        };
        if let Some(found) = known.get(&layer.diff_id)
            && is_right(&found.media_type)
            && is_there(found)
        {
            return Ok(Some(found.clone()));
        }
        if !self.imports.bring_blob(layer, self.store, self.lease, self.cancel) {
            return Ok(None);
        }
        let compression = wanted.compression.unwrap_or(QUICK);
        if wanted.compression.is_none()
            && let Some(known) = self.store.known_compressed(self.lease, layer, compression)?
        {
            return Ok(Some(known.blob));
        }
        let packed = self.store.recompress(self.lease, layer, compression, wanted.force);
        packed.map(|packed| Some(packed.blob))
    }

    fn folder(&self, folder: &Path, tag: &str, manifest: &Manifest) -> io::Result<()> {
        fs::create_dir_all(folder.join("blobs/sha256"))?;
        // Builds of one project may write to one folder.
        let lock = File::options().create(true).append(true).open(folder.join("index.json.lock"))?;
        flock(&lock, FlockOperation::LockExclusive)?;
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            let path = blob_path(folder, &blob.digest);
            if is_whole(&path, blob) {
                continue;
            }
            let mut from = self.store.blob(&blob.digest).map_err(|error| io::Error::other(error.message))?;
            write(&path, |to| io::copy(&mut from, to).map(|_| ()))?;
        }
        let bytes = serde_json::to_vec(manifest)?;
        let digest = Digest::of(&bytes);
        write(&blob_path(folder, &digest), |to| io::Write::write_all(to, &bytes))?;
        let old = document(&folder.join("index.json"), None).ok();
        let mut index: Index = old.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or(Index {
            schema_version: 2,
            media_type: media_type::INDEX.to_owned(),
            manifests: Vec::new(),
            annotations: std::collections::BTreeMap::new(),
        });
        let is_replaced = |entry: &Descriptor| entry.annotations.get(TAG_ANNOTATION).is_some_and(|name| name == tag);
        let (replaced, mut kept): (Vec<Descriptor>, Vec<Descriptor>) =
            index.manifests.into_iter().partition(is_replaced);
        let mut entry = Descriptor::new(media_type::MANIFEST, digest, bytes.len() as u64);
        entry.annotations.insert(TAG_ANNOTATION.to_owned(), tag.to_owned());
        kept.push(entry);
        index.manifests = kept;
        let text = serde_json::to_vec(&index)?;
        write(&folder.join("oci-layout"), |to| io::Write::write_all(to, br#"{"imageLayoutVersion":"1.0.0"}"#))?;
        write(&folder.join("index.json"), |to| io::Write::write_all(to, &text))?;
        sweep(folder, &replaced, &index)
    }
}

fn is_whole(path: &Path, blob: &Descriptor) -> bool {
    fs::metadata(path).is_ok_and(|there| there.len() == blob.size)
}

/// Takes away what only caches needed that are replaced: a folder that is written by every build shall not grow with each.
fn sweep(folder: &Path, replaced: &[Descriptor], index: &Index) -> io::Result<()> {
    let blobs = |entries: &[Descriptor]| -> BTreeSet<Digest> {
        let mut all = BTreeSet::new();
        for entry in entries {
            all.insert(entry.digest);
            let read = document(&blob_path(folder, &entry.digest), Some(&entry.digest)).ok();
            if let Some(manifest) = read.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok()) {
                all.extend(manifest.layers.iter().chain([&manifest.config]).map(|blob| blob.digest));
            }
        }
        all
    };
    if index.manifests.iter().any(|entry| entry.media_type != media_type::MANIFEST) {
        // Somebody else's, of which it is not known what it needs.
        return Ok(());
    }
    let kept = blobs(&index.manifests);
    for digest in blobs(replaced).difference(&kept) {
        match fs::remove_file(blob_path(folder, digest)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Writes a file that is there whole or not at all.
fn write(path: &Path, content: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.part", std::process::id()));
    let partial = PathBuf::from(partial);
    let written = File::create(&partial).and_then(|mut file| content(&mut file));
    written.and_then(|()| fs::rename(&partial, path)).inspect_err(|_| {
        // The error that is told is the first.
        let _ = fs::remove_file(&partial);
    })
}

fn failed(reason: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::CACHE_NOT_WRITTEN, reason.to_owned()).boxed()
}
