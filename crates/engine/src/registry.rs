//! Images from registries and to them.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, chain_ids, media_type};
use carrack_registry::{Push, PushBlob, Resolved, Transfer};
use carrack_runtime::event::{self, Event as Happened};
use carrack_store::{Image, Layer, Lease, NewImage, Snapshotter as _};
use serde::Serialize;

pub use carrack_registry::{Artifact, ArtifactBlob, Client, CredentialFile, Document, Event, Ignore, Settings, Watch};

use crate::codes;
use crate::engine::{Engine, host_error, seconds_since};

/// Largest manifest or configuration that is read back from the store, in bytes.
const JSON_LIMIT: u64 = 4 << 20;

/// What a pull did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pulled {
    /// Under which name, as people write it.
    pub name: String,
    /// What the name names at the registry: an index or a manifest.
    pub digest: Digest,
    /// The image's id.
    pub id: Digest,
    /// Whether it was not here before, or was another one.
    pub is_new: bool,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// Under which name, as people write it.
    pub name: String,
    /// Of the manifest.
    pub digest: Digest,
    /// Of the manifest, in bytes.
    pub size_bytes: u64,
}

/// When an image is asked for at its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// Each time.
    Always,
    /// Where it is not here.
    Missing,
    /// Not at all.
    Never,
}

/// A line of an image's history, the newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HistoryView {
    /// The image's id, of the newest line only: what lies between has none.
    pub id: Option<Digest>,
    /// RFC 3339; none where nobody said.
    pub created: Option<String>,
    /// Since then.
    pub age_seconds: Option<i64>,
    /// The instruction.
    pub created_by: String,
    /// The layer, unpacked, in bytes; 0 where the step made none.
    pub size_bytes: u64,
    /// Free text.
    pub comment: String,
}

impl Engine {
    /// Brings an image here from its registry. Without a platform, the one for this machine.
    pub fn pull(
        &self,
        client: &Client,
        reference: &Reference,
        platform: Option<&Platform>,
        watch: &dyn Watch,
    ) -> Result<Pulled> {
        self.pull_as(client, reference, platform, watch, true)
    }

    /// As [`Engine::pull`]. Whether the name moves: else it stays with the image that it stands for on this machine, and
    /// stands for this one on its platform too.
    fn pull_as(
        &self,
        client: &Client,
        reference: &Reference,
        platform: Option<&Platform>,
        watch: &dyn Watch,
        moves: bool,
    ) -> Result<Pulled> {
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        if let Some(known) = self.is_up_to_date(client, reference, wanted)? {
            return Ok(known);
        }
        let resolved = client.resolve(reference, wanted, platform.is_some())?;
        let lease = self.store.lease()?;
        let config = client.config(&resolved)?;
        let layers = layers(reference, &config, &resolved.parsed)?;
        self.fetch_and_unpack(client, &resolved, &layers, &lease, watch)?;
        let origin = by_digest(reference, &resolved.named)?;
        let is_tag = reference.digest().is_none();
        let before = self.store.find_image(&reference.to_string())?.map(|image| image.manifest.digest);
        let image = self.store.put_image(
            &lease,
            &config,
            NewImage {
                layers,
                manifest: Some((resolved.manifest.bytes.clone(), resolved.manifest.media_type.clone())),
                names: if is_tag && moves { vec![reference.clone()] } else { Vec::new() },
                repo_digests: vec![origin],
                annotations: BTreeMap::new(),
            },
        )?;
        if is_tag && !moves {
            self.store.tag_platform(&image, reference)?;
        }
        self.emit_image("pull", &reference.familiar(), &image.id);
        Ok(Pulled {
            name: reference.familiar(),
            digest: resolved.named,
            id: image.id,
            is_new: before != Some(image.manifest.digest),
        })
    }

    /// By the digest that the registry tells of the tag, where the image came from there under that digest.
    fn is_up_to_date(&self, client: &Client, reference: &Reference, wanted: &Platform) -> Result<Option<Pulled>> {
        let Some(image) = self.store.find_image_for(&reference.to_string(), wanted)? else { return Ok(None) };
        if !image.config.platform().matches(wanted) {
            return Ok(None);
        }
        let digest = match reference.digest() {
            Some(digest) => *digest,
            None => match client.digest_of_tag(reference)? {
                Some(digest) => digest,
                None => return Ok(None),
            },
        };
        let is_known = image.repo_digests.contains(&by_digest(reference, &digest)?);
        Ok(is_known.then(|| Pulled { name: reference.familiar(), digest, id: image.id, is_new: false }))
    }

    /// Layers are unpacked in their order, each as soon as it is there, while others arrive.
    fn fetch_and_unpack(
        &self,
        client: &Client,
        image: &Resolved,
        layers: &[Layer],
        lease: &Lease,
        watch: &dyn Watch,
    ) -> Result<()> {
        let cancel = AtomicBool::new(false);
        let transfer = Transfer { store: &self.store, lease, watch, cancel: &cancel };
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            let unpacking = scope.spawn(|| {
                let unpacked = self.unpack_as_they_come(layers, lease, watch, receiver);
                if unpacked.is_err() {
                    cancel.store(true, Ordering::Relaxed);
                }
                unpacked
            });
            // Nobody receives any more where unpacking failed: then that is told.
            let fetched = client.fetch_layers(image, transfer, &|digest| {
                let _ = sender.send(*digest);
            });
            drop(sender);
            let unpacked = unpacking.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            unpacked.and(fetched)
        })
    }

    fn unpack_as_they_come(
        &self,
        layers: &[Layer],
        lease: &Lease,
        watch: &dyn Watch,
        receiver: mpsc::Receiver<Digest>,
    ) -> Result<()> {
        let mut here = HashSet::new();
        let mut parent = None;
        for layer in layers {
            let digest = layer.blob.digest;
            while !here.contains(&digest) {
                // The other end is gone before the layer came: the fetch has failed and says why.
                let Ok(arrived) = receiver.recv() else { return Ok(()) };
                here.insert(arrived);
            }
            self.store.apply(lease, parent.as_ref(), &layer.diff_id, &mut self.store.blob(&digest)?)?;
            watch.event(Event::Ready { digest });
            parent = Some(layer.chain);
        }
        Ok(())
    }

    /// Brings an image here that a build begins with, for the platform that it is to be for.
    pub fn pull_base(
        &self,
        client: &Client,
        reference: &Reference,
        platform: &Platform,
        watch: &dyn Watch,
    ) -> Result<Pulled> {
        self.pull_as(client, reference, Some(platform), watch, false)
    }

    /// Sees to it that an image is here, as the policy says. What a pull did; none where there was nothing to do.
    ///
    /// Where the registry can't be reached, the error is that the image is not here, with the reason.
    pub fn ensure_image(
        &self,
        client: &Client,
        name: &str,
        platform: Option<&Platform>,
        policy: PullPolicy,
        watch: &dyn Watch,
    ) -> Result<Option<Pulled>> {
        let here = self.store.find_image(name)?;
        let is_here = here.is_some_and(|image| platform.is_none_or(|wanted| image.config.platform().matches(wanted)));
        let is_wanted = match policy {
            PullPolicy::Always => true,
            PullPolicy::Missing => !is_here,
            PullPolicy::Never => false,
        };
        if !is_wanted {
            return self.store.image(name).map(|_| None);
        }
        // An id, or the beginning of one, names nothing at a registry.
        let Ok(reference) = name.parse::<Reference>() else { return self.store.image(name).map(|_| None) };
        match self.pull(client, &reference, platform, watch) {
            Ok(pulled) => Ok(Some(pulled)),
            Err(error) if is_here => Err(error),
            Err(error) => Err(match self.store.image(name) {
                Ok(_) => error,
                Err(missing) => not_here(*missing, *error),
            }),
        }
    }

    /// Sends an image to its registry under a tag. A pulled one goes as it came; the plain layers of one made here are
    /// compressed first, and the image refers to those from then on.
    pub fn push(&self, client: &Client, reference: &Reference, watch: &dyn Watch) -> Result<Pushed> {
        if reference.digest().is_some() {
            let message = format!("can't push {}", reference.familiar());
            return Err(Diagnostic::error(&codes::NOT_A_TAG, message)
                .cause("a digest follows from the content, and can't be given")
                .hint("push a tag: NAME:TAG")
                .boxed());
        }
        let image = self.store.image(&reference.to_string())?;
        let lease = self.store.lease()?;
        lease.add(&[image.id, image.manifest.digest])?;
        let cancel = AtomicBool::new(false);
        let transfer = Transfer { store: &self.store, lease: &lease, watch, cancel: &cancel };
        let config = self.store.read_blob(&image.id, JSON_LIMIT)?;
        let layers = self.layers_to_send(&image, &lease, watch)?;
        let (manifest, kind) = if layers == image.layers {
            (self.store.read_blob(&image.manifest.digest, JSON_LIMIT)?, image.manifest.media_type.clone())
        } else {
            (manifest_of(&image, config.len() as u64, &layers)?, media_type::MANIFEST.to_owned())
        };
        let parsed: Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| host_error(format!("can't read the manifest of {}", reference.familiar()), error))?;
        let sources = self.mounts(reference)?;
        let blobs = parsed.layers.iter().chain([&parsed.config]).map(|blob| PushBlob {
            blob: blob.clone(),
            mounts: sources.get(&blob.digest).cloned().unwrap_or_default(),
        });
        let push = Push { blobs: blobs.collect(), manifest, media_type: kind };
        let digest = client.push(reference, &push, transfer)?;
        let size_bytes = push.manifest.len() as u64;
        let new = NewImage {
            layers,
            manifest: Some((push.manifest, push.media_type)),
            names: Vec::new(),
            repo_digests: vec![by_digest(reference, &digest)?],
            annotations: BTreeMap::new(),
        };
        self.store.put_image(&lease, &config, new)?;
        self.emit_image("push", &reference.familiar(), &image.id);
        Ok(Pushed { name: reference.familiar(), digest, size_bytes })
    }

    /// Of an image that no registry knows, plain layers compressed, as many at once as there are processors.
    fn layers_to_send(&self, image: &Image, lease: &Lease, watch: &dyn Watch) -> Result<Vec<Layer>> {
        let is_known = !image.repo_digests.is_empty();
        let plain = |layer: &Layer| !is_known && layer.blob.media_type == media_type::LAYER;
        let jobs = Mutex::new(image.layers.iter().enumerate().filter(|(_, layer)| plain(layer)));
        let made: Mutex<Vec<(usize, Result<Layer>)>> = Mutex::new(Vec::new());
        let work = || loop {
            let Some((place, layer)) = jobs.lock().unwrap_or_else(PoisonError::into_inner).next() else { return };
            let compressed = self.store.compress(lease, layer);
            if compressed.is_ok() {
                watch.event(Event::Ready { digest: layer.blob.digest });
            }
            made.lock().unwrap_or_else(PoisonError::into_inner).push((place, compressed));
        };
        std::thread::scope(|scope| {
            for _ in 1..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(work);
            }
            work();
        });
        let mut layers = image.layers.clone();
        for (place, layer) in made.into_inner().unwrap_or_else(PoisonError::into_inner) {
            layers[place] = layer?;
        }
        Ok(layers)
    }

    /// Blobs with other repositories of the same registry that have them, as far as it is known here.
    fn mounts(&self, reference: &Reference) -> Result<BTreeMap<Digest, Vec<String>>> {
        let mut mounts: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for image in self.store.images()? {
            for origin in &image.repo_digests {
                if origin.host() == reference.host() && origin.path() != reference.path() {
                    for layer in &image.layers {
                        let known = mounts.entry(layer.blob.digest).or_default();
                        if !known.iter().any(|path| path == origin.path()) {
                            known.push(origin.path().to_owned());
                        }
                    }
                }
            }
        }
        Ok(mounts)
    }

    /// How an image came about, the newest step first.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryView>> {
        let image = self.store.image(name)?;
        let mut layers = image.layers.iter();
        let mut views = Vec::new();
        for entry in &image.config.history {
            let layer = if entry.empty_layer { None } else { layers.next() };
            let size_bytes = match layer {
                Some(layer) => self.store.snapshot(&layer.chain)?.map_or(layer.blob.size, |known| known.size_bytes),
                None => 0,
            };
            views.push(HistoryView {
                id: None,
                created: entry.created.clone(),
                age_seconds: entry.created.as_deref().and_then(seconds_since),
                created_by: entry.created_by.clone().unwrap_or_default(),
                size_bytes,
                comment: entry.comment.clone().unwrap_or_default(),
            });
        }
        if let Some(newest) = views.last_mut() {
            newest.id = Some(image.id);
        }
        views.reverse();
        Ok(views)
    }

    /// An event that can't be written must not undo what happened.
    fn emit_image(&self, action: &str, name: &str, id: &Digest) {
        let attributes = BTreeMap::from([("name".to_owned(), name.to_owned())]);
        let (kind, action) = ("image".to_owned(), action.to_owned());
        let happened = Happened { kind, action, id: id.to_string(), attributes, ..Happened::default() };
        let _ = event::append(&self.roots().run.join("events"), &happened);
    }
}

fn by_digest(reference: &Reference, digest: &Digest) -> Result<Reference> {
    format!("{}/{}@{digest}", reference.host(), reference.path()).parse()
}

/// Layers as the configuration and the manifest together tell them.
fn layers(reference: &Reference, config: &[u8], manifest: &Manifest) -> Result<Vec<Layer>> {
    let wrong = |reason: String| {
        let message = format!("the image {} can't be used", reference.familiar());
        Diagnostic::error(&carrack_store::codes::INVALID_IMAGE, message).cause(reason).boxed()
    };
    let config: ImageConfig = serde_json::from_slice(config).map_err(|error| wrong(error.to_string()))?;
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let (said, there) = (diff_ids.len(), manifest.layers.len());
        return Err(wrong(format!("its configuration names {said} layers, its manifest {there}")));
    }
    let chains = chain_ids(&diff_ids);
    let layers = diff_ids.into_iter().zip(chains).zip(&manifest.layers);
    Ok(layers.map(|((diff_id, chain), blob)| Layer { diff_id, chain, blob: blob.clone() }).collect())
}

fn manifest_of(image: &Image, config_size_bytes: u64, layers: &[Layer]) -> Result<Vec<u8>> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST.to_owned(),
        artifact_type: None,
        config: Descriptor::new(media_type::CONFIG, image.id, config_size_bytes),
        layers: layers.iter().map(|layer| layer.blob.clone()).collect(),
        subject: None,
        annotations: BTreeMap::new(),
    };
    serde_json::to_vec(&manifest).map_err(|error| host_error("can't write the image's manifest", error))
}

/// What is told where an image is neither here nor to be had. Where the registry was asked, its word counts; else that the
/// image is not here.
fn not_here(missing: Diagnostic, error: Diagnostic) -> Box<Diagnostic> {
    let is_silent = ["registry/unknown-host", "registry/unreachable", "registry/tls"].contains(&error.code.id);
    if !is_silent {
        let near = missing.hints.into_iter().filter(|hint| hint.starts_with("did you mean"));
        return near.fold(error, Diagnostic::hint).boxed();
    }
    let missing = missing.cause(error.message);
    error.causes.into_iter().fold(missing, Diagnostic::cause).boxed()
}
