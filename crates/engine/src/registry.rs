//! Images from registries and to them.

mod indexes;
mod inspected;
mod unpacking;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};

use carrack_attestation::{IN_TOTO, PROVENANCE, SBOM, predicate_of};
use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, chain_ids, media_type};
use carrack_registry::{Arriving, Destination, PushBlob, Resolved, Transfer, images_of};
use carrack_store::{
    Compression, Image, ImageIndex, Layer, Lease, NewImage, Predicate, STATEMENT_LIMIT, Snapshotter as _,
};
use serde::Serialize;

pub use carrack_registry::{Artifact, ArtifactBlob, Client, CredentialFile, Document, Event, Ignore, Settings, Watch};

pub use indexes::{Draft, DraftEntry, PlatformChange, to_json};
pub use inspected::inspected;

use crate::codes;
use crate::engine::{Engine, host_error, seconds_since};
use unpacking::Unpacking;

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

    /// Brings an image here for several platforms, or for all that its index lists where none is given. Where that is all of
    /// the index, the name stands for the index, and is pushed under its digest; else for the images by platform.
    pub fn pull_platforms(
        &self,
        client: &Client,
        reference: &Reference,
        platforms: &[Platform],
        watch: &dyn Watch,
    ) -> Result<Pulled> {
        let document = client.manifest(reference)?;
        if !media_type::is_index(&document.media_type) {
            let pull = |platform| self.pull(client, reference, platform, watch);
            // For several platforms, all but one of them are missing, and that is told.
            let pulled = platforms.iter().map(|platform| pull(Some(platform))).collect::<Result<Vec<_>>>()?;
            return pulled.into_iter().next().map_or_else(|| pull(None), Ok);
        }
        let index: Index = serde_json::from_slice(&document.bytes)
            .map_err(|error| host_error(format!("can't read the index {}", reference.familiar()), error))?;
        let listed: Vec<&Platform> = images_of(&index).filter_map(|child| child.platform.as_ref()).collect();
        let wanted: Vec<&Platform> = if platforms.is_empty() { listed } else { platforms.iter().collect() };
        // The tag may move meanwhile; the index does not.
        let pinned = by_digest(reference, &document.digest)?;
        let lease = self.store.lease()?;
        let before = self.store.find_image(&reference.to_string())?.map(|image| image.id);
        let (mut images, mut first) = (Vec::new(), None);
        for platform in wanted {
            let pulled = self.pull_as(client, &pinned, Some(platform), watch, false)?;
            let child = images_of(&index).find(|child| child.platform.as_ref().is_some_and(|it| it.matches(platform)));
            // Under the manifest that the index lists: the image may have others.
            let named = child.map_or(pulled.id, |child| child.digest).to_string();
            let image = self.store.find_image(&named)?.map_or_else(|| self.store.image(&pulled.id.to_string()), Ok)?;
            lease.add(&[image.id, image.manifest.digest])?;
            images.push(image);
            first.get_or_insert(pulled);
        }
        let first = first.ok_or_else(|| host_error("can't pull it", "its index names no image"))?;
        let is_here = |child: &Descriptor| images.iter().any(|image| image.manifest.digest == child.digest);
        let is_whole = index.manifests.iter().all(|child| child.is_attestation() || is_here(child))
            && self.fetch_attestations(client, &pinned, &index, &lease, watch)?;
        let descriptor = Descriptor::new(&document.media_type, document.digest, document.bytes.len() as u64);
        if is_whole {
            self.store.ingest_bytes(&lease, &document.bytes)?;
        }
        let named = ImageIndex { descriptor: is_whole.then_some(descriptor), images };
        if reference.digest().is_none() {
            self.store.tag_index(&named, reference)?;
        }
        let after = self.store.find_image(&reference.to_string())?.map_or(first.id, |image| image.id);
        self.emit_image_id("pull", &reference.familiar(), &after);
        let is_new = first.is_new || before != Some(after);
        Ok(Pulled { name: reference.familiar(), digest: document.digest, id: after, is_new })
    }

    /// What an index lists beside its images. Whether all of it is here now.
    fn fetch_attestations(
        &self,
        client: &Client,
        reference: &Reference,
        index: &Index,
        lease: &Lease,
        watch: &dyn Watch,
    ) -> Result<bool> {
        let cancel = AtomicBool::new(false);
        let transfer = Transfer { store: &self.store, lease, watch, cancel: &cancel };
        for child in index.manifests.iter().filter(|child| child.is_attestation()) {
            if !client.fetch_artifact(&by_digest(reference, &child.digest)?, STATEMENT_LIMIT, transfer)? {
                return Ok(false);
            }
        }
        Ok(true)
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
        let predicates = self.predicates_with(client, &resolved, &lease);
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
                predicates,
                ..NewImage::default()
            },
        )?;
        if is_tag && !moves {
            self.store.tag_platform(&image, reference)?;
        }
        self.emit_image("pull", &reference.familiar(), &image);
        Ok(Pulled {
            name: reference.familiar(),
            digest: resolved.named,
            id: image.id,
            is_new: before != Some(image.manifest.digest),
        })
    }

    /// What is said of an image at its registry. The image is no less one where that can't be had.
    fn predicates_with(&self, client: &Client, image: &Resolved, lease: &Lease) -> Vec<Predicate> {
        let referring = client.referring(image, IN_TOTO, STATEMENT_LIMIT);
        let (statements, is_tagged) = referring.unwrap_or_default();
        let kept = self.predicates_of(&statements, &image.manifest.digest, lease);
        let mut kept = kept.unwrap_or_default();
        // Where it stands among the tags, somebody asked for it.
        kept.iter_mut().for_each(|predicate| predicate.is_asked |= is_tagged);
        kept
    }

    /// What statements say of the image with this manifest, the contents kept by the lease. Of one that is known to be said
    /// unasked it can't be told whether somebody asked.
    pub(crate) fn predicates_of(
        &self,
        statements: &[Vec<u8>],
        manifest: &Digest,
        lease: &Lease,
    ) -> Result<Vec<Predicate>> {
        let said = statements.iter().filter_map(|statement| predicate_of(statement, manifest));
        let known = said.filter(|(kind, _)| [SBOM, PROVENANCE].contains(&kind.as_str()));
        known
            .map(|(kind, bytes)| {
                let digest = self.store.ingest_bytes(lease, &bytes)?;
                let content = Descriptor::new("application/json", digest, bytes.len() as u64);
                Ok(Predicate { is_asked: kind != PROVENANCE, kind, content })
            })
            .collect()
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

    /// Layers are unpacked while they arrive, as many at once as there are processors, and get their names together at the
    /// end.
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
        let blobs = image.blobs();
        let arriving: Vec<Arriving> = blobs.iter().map(|_| Arriving::default()).collect();
        let blobs: Vec<(Descriptor, &Arriving)> = blobs.into_iter().zip(&arriving).collect();
        let unpacking = Unpacking::new((&self.store, lease), layers, &blobs, &cancel);
        let arrived = Mutex::default();
        let (fetched, unpacked) = std::thread::scope(|scope| {
            let count = std::thread::available_parallelism().map_or(1, usize::from).min(layers.len());
            let workers: Vec<_> = (0..count).map(|_| scope.spawn(|| unpacking.work(watch))).collect();
            let fetched = client.fetch_blobs(image, &blobs, transfer, &arrived);
            let unpacked: Vec<Result<()>> = workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            (fetched, unpacked.into_iter().collect::<Result<()>>())
        });
        let arrived = arrived.into_inner().unwrap_or_else(PoisonError::into_inner);
        match (fetched, unpacked) {
            (Ok(()), Ok(())) => self.store.commit_all(lease, arrived, unpacking.finish()),
            (fetched, unpacked) => {
                // What has arrived need not come again.
                self.store.commit_all(lease, arrived, Vec::new())?;
                unpacked.and(fetched)
            }
        }
    }

    /// Brings an image here that a build begins with, for the platform that it is to be for (none: this machine's). Where it
    /// can't be had and is not here, that is the error, with the reason.
    pub fn pull_base(
        &self,
        client: &Client,
        reference: &Reference,
        platform: Option<&Platform>,
        watch: &dyn Watch,
    ) -> Result<Pulled> {
        let pulled = self.pull_as(client, reference, platform, watch, false);
        pulled.map_err(|error| self.why_missing(&reference.to_string(), error))
    }

    /// Where the image is not here either, that is the error, and why it did not come the reason.
    fn why_missing(&self, name: &str, error: Box<Diagnostic>) -> Box<Diagnostic> {
        match self.store.image(name) {
            Ok(_) => error,
            Err(missing) => not_here(*missing, *error),
        }
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
        let is_here = match platform {
            Some(wanted) => {
                let here = self.store.find_image_for(name, wanted)?;
                here.is_some_and(|image| image.config.platform().matches(wanted))
            }
            None => self.store.find_image_id(name)?.is_some(),
        };
        let is_wanted = match policy {
            PullPolicy::Always => true,
            PullPolicy::Missing => !is_here,
            PullPolicy::Never => false,
        };
        if !is_wanted {
            return if is_here { Ok(None) } else { self.store.image(name).map(|_| None) };
        }
        // An id, or the beginning of one, names nothing at a registry.
        let Ok(reference) = name.parse::<Reference>() else { return self.store.image(name).map(|_| None) };
        match self.pull(client, &reference, platform, watch) {
            Ok(pulled) => Ok(Some(pulled)),
            Err(error) if is_here => Err(error),
            Err(error) => Err(self.why_missing(name, error)),
        }
    }

    /// Sends an image to its registry under a tag. A pulled one goes as it came; the plain layers of one made here are
    /// compressed while they are sent, and the image refers to those from then on. Of a name that stands for an index all
    /// goes, or the image for one platform alone, as with Docker.
    pub fn push(
        &self,
        client: &Client,
        reference: &Reference,
        platform: Option<&Platform>,
        compression: Compression,
        watch: &dyn Watch,
    ) -> Result<Pushed> {
        if reference.digest().is_some() {
            return Err(not_a_tag(reference));
        }
        let tag = reference.tag().unwrap_or("latest");
        let whole = if platform.is_none() { self.store.index_of(reference)? } else { None };
        let pushed = match whole.filter(|index| index.descriptor.is_some()) {
            Some(index) => self.push_platforms(client, reference, &index, compression, watch)?,
            None => {
                let image = self.image_for(&reference.to_string(), platform)?;
                self.push_manifest(client, reference, (&image, Some(tag)), compression, watch)?.manifest
            }
        };
        if let Some(image) = self.store.find_image(&reference.to_string())? {
            self.emit_image("push", &reference.familiar(), &image);
        }
        Ok(Pushed { name: reference.familiar(), digest: pushed.digest, size_bytes: pushed.size })
    }

    /// Sends one image's blobs and manifest, under a tag or else its digest, and keeps it as it was sent.
    fn push_manifest(
        &self,
        client: &Client,
        reference: &Reference,
        (image, tag): (&Image, Option<&str>),
        compression: Compression,
        watch: &dyn Watch,
    ) -> Result<Image> {
        let lease = self.store.lease()?;
        lease.add(&[image.id, image.manifest.digest])?;
        let cancel = AtomicBool::new(false);
        let transfer = Transfer { store: &self.store, lease: &lease, watch, cancel: &cancel };
        let config = self.store.read_blob(&image.id, JSON_LIMIT)?;
        let manifest = self.store.read_blob(&image.manifest.digest, JSON_LIMIT)?;
        let parsed: Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| host_error(format!("can't read the manifest of {}", reference.familiar()), error))?;
        let sources = self.mounts(reference)?;
        let destination = client.destination(reference, sources.values().flatten().cloned().collect(), transfer);
        let layers = self.send_blobs(image, compression, &parsed.config, &sources, &destination, transfer)?;
        let (manifest, kind) = if layers == image.layers {
            (manifest, image.manifest.media_type.clone())
        } else {
            (with_layers(&parsed, &layers)?, media_type::MANIFEST.to_owned())
        };
        let own = Digest::of(&manifest).to_string();
        let digest = destination.put_manifest(tag.unwrap_or(&own), &kind, &manifest)?;
        let new = NewImage {
            layers,
            manifest: Some((manifest, kind)),
            repo_digests: vec![by_digest(reference, &digest)?],
            replaced: Some(image.manifest.digest),
            ..NewImage::default()
        };
        let sent = self.store.put_image(&lease, &config, new)?;
        self.push_attestations(client, reference, &sent)?;
        Ok(sent)
    }

    /// What is said of the image goes after it, and refers to the manifest that was sent. What nobody asked for goes only
    /// where the registry keeps such lists itself: elsewhere it would show up among the tags.
    fn push_attestations(&self, client: &Client, reference: &Reference, image: &Image) -> Result<()> {
        let sent = &image.manifest;
        if image.predicates.is_empty() {
            return Ok(());
        }
        let is_wanted = |predicate: &Predicate| predicate.is_asked;
        // Who may push and not ask need not be told of what nobody asked for.
        let all = image.predicates.iter().all(is_wanted)
            || client.knows_referrers(reference, &sent.digest).unwrap_or_default();
        for predicate in image.predicates.iter().filter(|predicate| all || is_wanted(predicate)) {
            let artifact = carrack_solver::attestation(&self.store, predicate, sent, std::slice::from_ref(reference))?;
            client.push_artifact(reference, &artifact).map_err(|error| {
                let cause = format!("{} itself is there", reference.familiar());
                error.cause(cause).hint("push again, or build with --provenance=false and without --sbom").boxed()
            })?;
        }
        Ok(())
    }

    /// Sends the images of an index, then the index, which lists them as they were sent. Names of the index name that one
    /// from then on.
    fn push_platforms(
        &self,
        client: &Client,
        reference: &Reference,
        index: &ImageIndex,
        compression: Compression,
        watch: &dyn Watch,
    ) -> Result<Descriptor> {
        let Some(descriptor) = &index.descriptor else { return Err(not_a_tag(reference)) };
        let bytes = self.store.read_blob(&descriptor.digest, JSON_LIMIT)?;
        let mut listed: Index = serde_json::from_slice(&bytes)
            .map_err(|error| host_error(format!("can't read the index {}", reference.familiar()), error))?;
        let before = listed.clone();
        let mut images = Vec::new();
        for image in &index.images {
            let sent = self.push_manifest(client, reference, (image, None), compression, watch)?;
            for entry in listed.manifests.iter_mut().filter(|entry| entry.digest == image.manifest.digest) {
                (entry.digest, entry.size) = (sent.manifest.digest, sent.manifest.size);
                entry.media_type.clone_from(&sent.manifest.media_type);
            }
            images.push(sent);
        }
        let bytes = if listed == before { bytes } else { to_json(&listed)? };
        let lease = self.store.lease()?;
        let cancel = AtomicBool::new(false);
        let transfer = Transfer { store: &self.store, lease: &lease, watch, cancel: &cancel };
        let destination = client.destination(reference, Vec::new(), transfer);
        for (attestation, manifest) in self.store.attestations(descriptor)? {
            destination.send_artifact(&attestation, &manifest)?;
        }
        let tag = reference.tag().unwrap_or("latest");
        let digest = destination.put_manifest(tag, &descriptor.media_type, &bytes)?;
        self.store.ingest_bytes(&lease, &bytes)?;
        let pushed = Descriptor::new(&descriptor.media_type, digest, bytes.len() as u64);
        let index = ImageIndex { descriptor: Some(pushed.clone()), images };
        for name in self.store.names_of_index(&descriptor.digest)? {
            self.store.tag_index(&index, &name)?;
        }
        Ok(pushed)
    }

    /// What a name stands for on several platforms; none where it stands for one image.
    pub fn index_of(&self, name: &Reference) -> Result<Option<ImageIndex>> {
        self.store.index_of(name)
    }

    /// The tags of a repository that are here, sorted.
    pub fn tags_of(&self, repository: &Reference) -> Result<Vec<Reference>> {
        let is_of = |name: &Reference| name.host() == repository.host() && name.path() == repository.path();
        Ok(self.store.names()?.into_keys().filter(is_of).collect())
    }

    /// The manifest of an image, as it was pushed last.
    pub fn manifest_of(&self, name: &Reference) -> Result<Option<Descriptor>> {
        Ok(self.store.find_image(&name.to_string())?.map(|image| image.manifest))
    }

    /// What to say where no image has a name.
    pub fn no_image(&self, name: &str) -> Result<Box<Diagnostic>> {
        self.store.image(name).map_or_else(Ok, |image| {
            let message = format!("the image {} has no tag of {name}", image.display_name());
            Ok(Diagnostic::error(&carrack_store::codes::IMAGE_NOT_FOUND, message).boxed())
        })
    }

    /// Sends configuration and layers, several at once. Of an image that no registry knows, plain layers are compressed;
    /// gives the layers as they were sent.
    fn send_blobs(
        &self,
        image: &Image,
        compression: Compression,
        config: &Descriptor,
        sources: &BTreeMap<Digest, Vec<String>>,
        destination: &Destination<'_>,
        transfer: Transfer<'_>,
    ) -> Result<Vec<Layer>> {
        let is_known = !image.repo_digests.is_empty();
        let mut layers = image.layers.clone();
        let mut items: Vec<Item> = Vec::new();
        for layer in &mut layers {
            let mut is_plain = !is_known && layer.blob.media_type == media_type::LAYER;
            if is_plain && let Some(known) = self.store.known_compressed(transfer.lease, layer, compression)? {
                *layer = known;
                is_plain = false;
            }
            if items.iter().all(|item| item.blob().digest != layer.blob.digest) {
                transfer.watch.event(Event::Waiting { digest: layer.blob.digest, size_bytes: layer.blob.size });
                items.push(if is_plain { Item::Plain(layer.clone()) } else { Item::Blob(layer.blob.clone()) });
            }
        }
        transfer.watch.event(Event::Waiting { digest: config.digest, size_bytes: config.size });
        items.push(Item::Blob(config.clone()));
        let sent: Mutex<HashMap<Digest, Descriptor>> = Mutex::default();
        transfer.all(&items, |item| match item {
            Item::Blob(blob) => {
                let mounts = sources.get(&blob.digest).cloned().unwrap_or_default();
                destination.send(&PushBlob { blob: blob.clone(), mounts })
            }
            Item::Plain(layer) => {
                let compressed = destination.send_compressed(layer, compression)?;
                sent.lock().unwrap_or_else(PoisonError::into_inner).insert(layer.blob.digest, compressed.blob);
                Ok(())
            }
        })?;
        let sent = sent.into_inner().unwrap_or_else(PoisonError::into_inner);
        for layer in &mut layers {
            if let Some(blob) = sent.get(&layer.blob.digest) {
                layer.blob = blob.clone();
            }
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
    pub fn history(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<HistoryView>> {
        let image = self.image_on(name, platform)?;
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
}

fn not_a_tag(reference: &Reference) -> Box<Diagnostic> {
    Diagnostic::error(&codes::NOT_A_TAG, format!("can't push {}", reference.familiar()))
        .cause("a digest follows from the content, and can't be given")
        .hint("push a tag: NAME:TAG")
        .boxed()
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

fn with_layers(manifest: &Manifest, layers: &[Layer]) -> Result<Vec<u8>> {
    let layers = layers.iter().map(|layer| layer.blob.clone()).collect();
    let manifest = Manifest { media_type: media_type::MANIFEST.to_owned(), layers, ..manifest.clone() };
    serde_json::to_vec(&manifest).map_err(|error| host_error("can't write the image's manifest", error))
}

/// What is sent of an image.
enum Item {
    Blob(Descriptor),
    Plain(Layer),
}

impl Item {
    fn blob(&self) -> &Descriptor {
        match self {
            Self::Blob(blob) => blob,
            Self::Plain(layer) => &layer.blob,
        }
    }
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
