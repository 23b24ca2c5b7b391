use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result, nearest};
use carrack_oci::{Descriptor, Digest, ImageConfig, Manifest, Reference, chain_ids, media_type};
use serde::{Deserialize, Serialize};

use crate::files::Durability;
use crate::lock::{DEFAULT_WAIT, Lock, Sharing};
use crate::{Layer, Layout, Lease, Records, Snapshotter as _, Store, codes};

/// Largest configuration or manifest that is read, in bytes (distribution-spec recommends 4 MiB for manifests).
pub(crate) const JSON_LIMIT: u64 = 4 << 20;

/// An image of this store.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The digest of its configuration's bytes, as Docker shows it.
    pub id: Digest,
    /// The configuration.
    pub config: ImageConfig,
    /// Its manifest; the bytes are the blob of that digest. Of several, the one that was named.
    pub manifest: Descriptor,
    /// Base layer first.
    pub layers: Vec<Layer>,
    /// Tags, sorted.
    pub names: Vec<Reference>,
    /// Names by digest, of where this manifest was pulled from or pushed to.
    pub repo_digests: Vec<Reference>,
    /// RFC 3339, when it came into this store.
    pub added: String,
    /// What is said of it beside it.
    pub predicates: Vec<Predicate>,
}

/// Something that is said of an image, without naming it: manifests of the same image may differ in how its layers are
/// compressed, so the subject is added where it leaves the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Predicate {
    /// A URI (in-toto's `predicateType`).
    #[serde(rename = "type")]
    pub kind: String,
    /// The JSON; a blob of that digest.
    pub content: Descriptor,
    /// Whether somebody asked for it, so that it is worth a trace among a registry's tags.
    pub is_asked: bool,
}

impl Image {
    /// The chain id of all its layers; none where it has none.
    pub fn chain(&self) -> Option<&Digest> {
        self.layers.last().map(|layer| &layer.chain)
    }

    /// The familiar name, or the short id where it has no name.
    pub fn display_name(&self) -> String {
        self.names.first().map_or_else(|| self.id.short(), Reference::familiar)
    }
}

/// What is on disk of an image. Its names are records of their own, so that a tag moves in one rename.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    /// The one that came last.
    #[serde(flatten)]
    pub(crate) manifest: ManifestRecord,
    /// Others of the same configuration: compressed otherwise, or with other annotations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) others: Vec<ManifestRecord>,
    pub(crate) added: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) predicates: Vec<Predicate>,
}

/// One manifest of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManifestRecord {
    pub(crate) manifest: Descriptor,
    pub(crate) layers: Vec<Layer>,
    /// By which digests registries name it: its own, or that of an index.
    #[serde(default)]
    pub(crate) repo_digests: Vec<String>,
}

impl ImageRecord {
    pub(crate) fn manifests(&self) -> impl Iterator<Item = &ManifestRecord> {
        std::iter::once(&self.manifest).chain(&self.others)
    }

    /// The manifest of that digest; where it is gone, the one that came last.
    fn manifest(&self, digest: Option<&Digest>) -> &ManifestRecord {
        self.manifests().find(|known| Some(&known.manifest.digest) == digest).unwrap_or(&self.manifest)
    }

    /// Puts a manifest first.
    fn add(&mut self, mut new: ManifestRecord, replaced: Option<&Digest>) {
        let before = std::mem::take(&mut self.others);
        let before = std::iter::once(std::mem::replace(&mut self.manifest, new.clone())).chain(before);
        for known in before {
            if known.manifest.digest == new.manifest.digest || Some(&known.manifest.digest) == replaced {
                new.repo_digests.extend(known.repo_digests);
            } else {
                self.others.push(known);
            }
        }
        new.repo_digests.sort();
        new.repo_digests.dedup();
        self.manifest = new;
    }
}

/// The file's name is the digest of the reference, which may be longer than a file name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    pub(crate) name: String,
    pub(crate) image: Digest,
    /// Which of its manifests.
    #[serde(default)]
    pub(crate) manifest: Option<Digest>,
    /// All that it stands for, that image too, where it is more than one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) platforms: Vec<Digest>,
    /// What says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<Descriptor>,
}

/// What [`Store::put_image`] needs besides the configuration.
#[derive(Debug, Clone, Default)]
pub struct NewImage {
    /// Base layer first; their blobs are in content.
    pub layers: Vec<Layer>,
    /// The manifest's own bytes and media type where it was pulled or loaded; else one is made.
    pub manifest: Option<(Vec<u8>, String)>,
    /// Of a manifest that is made.
    pub annotations: BTreeMap<String, String>,
    /// Tags that the image takes over.
    pub names: Vec<Reference>,
    /// Names by digest.
    pub repo_digests: Vec<Reference>,
    /// What is said of it; their contents are in content.
    pub predicates: Vec<Predicate>,
    /// The manifest that this one is instead of: names that meant that one mean this one then.
    pub replaced: Option<Digest>,
}

impl Store {
    /// Makes an image of a configuration and its layers, and gives it its names, in this order: whoever finds the name
    /// finds the whole image. Synced.
    ///
    /// An image that is there already gets a further manifest where one is given; else it keeps the one that it has, whose
    /// digest may be known elsewhere.
    ///
    /// # Errors
    /// `store/invalid-image` where configuration, layers and blobs do not fit together.
    pub fn put_image(&self, lease: &Lease, config: &[u8], new: NewImage) -> Result<Image> {
        self.mutable()?;
        let parsed = parse_config(config)?;
        self.check_layers(&parsed, &new.layers)?;
        let id = self.ingest_bytes(lease, config)?;
        // Two that make the same image at once each add to what is known of it.
        let images = self.lock(Lock::Images, DEFAULT_WAIT)?;
        let known = self.keep_known(lease, &id)?;
        let is_given = new.manifest.is_some() || !new.repo_digests.is_empty() || !new.annotations.is_empty();
        let record = match known {
            Some(known) if !is_given => ImageRecord { predicates: merged(known.predicates, new.predicates), ..known },
            known => {
                let (bytes, media_type) = match new.manifest {
                    Some(manifest) => manifest,
                    None => (make_manifest(id, config, &new.layers, new.annotations)?, media_type::MANIFEST.to_owned()),
                };
                let manifest = Descriptor::new(media_type, self.ingest_bytes(lease, &bytes)?, bytes.len() as u64);
                let repo_digests = new.repo_digests.iter().map(Reference::to_string).collect();
                let manifest = ManifestRecord { manifest, layers: new.layers, repo_digests };
                let added = jiff::Timestamp::now().to_string();
                let mut record = known.unwrap_or_else(|| ImageRecord {
                    manifest: manifest.clone(),
                    others: Vec::new(),
                    added: added.clone(),
                    predicates: Vec::new(),
                });
                record.add(manifest, new.replaced.as_ref());
                let predicates = merged(std::mem::take(&mut record.predicates), new.predicates);
                ImageRecord { added, predicates, ..record }
            }
        };
        let manifest = record.manifest.manifest.digest;
        {
            let _guard = self.lock_as(Lock::Content, Sharing::Shared, DEFAULT_WAIT)?;
            self.image_records().put(&id.hex(), &record, Durability::Synced)?;
            if let Some(replaced) = new.replaced.filter(|replaced| *replaced != manifest) {
                for (key, mut name) in self.name_records().list()? {
                    if name.image == id && name.manifest == Some(replaced) {
                        name.manifest = Some(manifest);
                        self.name_records().put(&key, &name, Durability::Synced)?;
                    }
                }
            }
        }
        drop(images);
        let image = self.image_by_id(&id, Some(&manifest))?;
        for name in &new.names {
            self.tag(&image, name)?;
        }
        self.image_by_id(&id, Some(&manifest))
    }

    /// Puts an image together that is no image of this store: its parts are kept by the lease alone, to be given out.
    ///
    /// # Errors
    /// As [`Store::put_image`].
    pub fn unlisted_image(&self, lease: &Lease, config: &[u8], new: NewImage) -> Result<Image> {
        let parsed = parse_config(config)?;
        self.check_layers(&parsed, &new.layers)?;
        let id = self.ingest_bytes(lease, config)?;
        let bytes = make_manifest(id, config, &new.layers, new.annotations)?;
        let manifest = self.ingest_bytes(lease, &bytes)?;
        let manifest = Descriptor::new(media_type::MANIFEST, manifest, bytes.len() as u64);
        let added = jiff::Timestamp::now().to_string();
        Ok(Image {
            id,
            config: parsed,
            manifest,
            layers: new.layers,
            names: new.names,
            repo_digests: Vec::new(),
            added,
            predicates: new.predicates,
        })
    }

    /// The record of an image that is there, with the manifests that have all their blobs, which the lease keeps from now
    /// on.
    fn keep_known(&self, lease: &Lease, id: &Digest) -> Result<Option<ImageRecord>> {
        let Some(known) = self.image_records().get(&id.hex())? else { return Ok(None) };
        let said: Vec<Digest> = known.predicates.iter().map(|predicate| predicate.content.digest).collect();
        lease.add(&said)?;
        let mut whole = Vec::new();
        for manifest in known.manifests() {
            let mut blobs: Vec<Digest> = manifest.layers.iter().map(|layer| layer.blob.digest).collect();
            blobs.push(manifest.manifest.digest);
            lease.add(&blobs)?;
            if blobs.iter().all(|blob| self.has_blob(blob)) {
                whole.push(manifest.clone());
            }
        }
        if whole.is_empty() {
            return Ok(None);
        }
        let manifest = whole.remove(0);
        Ok(Some(ImageRecord { manifest, others: whole, ..known }))
    }

    fn check_layers(&self, config: &ImageConfig, layers: &[Layer]) -> Result<()> {
        let wrong = |reason: String| {
            Diagnostic::error(&codes::INVALID_IMAGE, "the image's configuration and layers do not fit together")
                .cause(reason)
                .boxed()
        };
        let said = &config.rootfs.diff_ids;
        if said.len() != layers.len() {
            return Err(wrong(format!("the configuration names {} layers, there are {}", said.len(), layers.len())));
        }
        for ((said, layer), chain) in said.iter().zip(layers).zip(chain_ids(said)) {
            if *said != layer.diff_id || chain != layer.chain {
                return Err(wrong(format!("the configuration names the layer {said}, there is {}", layer.diff_id)));
            }
            if !self.has_blob(&layer.blob.digest) {
                return Err(wrong(format!("the blob {} is missing", layer.blob.digest)));
            }
        }
        Ok(())
    }

    /// Finds an image by name (`nginx`, `nginx:1`, `nginx@sha256:…`), id (with or without `sha256:`), manifest digest, or
    /// the first digits of its id.
    ///
    /// # Errors
    /// `store/image-not-found`, with the nearest name as a hint; `store/image-ambiguous`.
    pub fn image(&self, text: &str) -> Result<Image> {
        match self.find_image(text)? {
            Some(image) => Ok(image),
            None => Err(self.image_not_found(text)?),
        }
    }

    /// As [`Store::image`]; none where there is none.
    ///
    /// # Errors
    /// `store/image-ambiguous`; what can't be read.
    pub fn find_image(&self, text: &str) -> Result<Option<Image>> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if let Some(digest) = Digest::from_hex(digits) {
            return self.find_by_digest(&digest, None);
        }
        if let Ok(name) = text.parse::<Reference>() {
            let found = match name.digest() {
                Some(digest) => self.find_by_digest(digest, Some(&name))?,
                None => self.find_by_name(&name)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        self.find_by_prefix(text, digits)
    }

    /// The id of the image that [`Store::image`] finds; of one that is named by a tag few files are read, however many images
    /// there are.
    ///
    /// # Errors
    /// As for [`Store::image`].
    pub fn image_id(&self, text: &str) -> Result<Digest> {
        match self.find_image_id(text)? {
            Some(id) => Ok(id),
            None => Err(self.image_not_found(text)?),
        }
    }

    /// As [`Store::image_id`]; none where there is none.
    ///
    /// # Errors
    /// As for [`Store::find_image`].
    pub fn find_image_id(&self, text: &str) -> Result<Option<Digest>> {
        let is_id = Digest::from_hex(text.strip_prefix("sha256:").unwrap_or(text)).is_some();
        let tag = text.parse::<Reference>().ok().filter(|name| !is_id && name.digest().is_none());
        let named = tag.map(|tag| self.name_records().get(&name_key(&tag))).transpose()?.flatten();
        match named {
            Some(record) if self.image_records().get(&record.image.hex())?.is_some() => Ok(Some(record.image)),
            _ => Ok(self.find_image(text)?.map(|image| image.id)),
        }
    }

    /// An image by its id, without its names: few files are read, however many images there are.
    ///
    /// # Errors
    /// `store/image-not-found`.
    pub fn unnamed_image(&self, id: &Digest) -> Result<Image> {
        match self.image_records().get(&id.hex())? {
            Some(record) => self.assemble(*id, record.manifest(None), &record, Vec::new()),
            None => Err(self.image_not_found(&id.to_string())?),
        }
    }

    /// The configuration of an image by its id, and nothing else of it: one file is read, however many images there are.
    ///
    /// # Errors
    /// `store/blob-not-found` where it is not there any more.
    pub fn image_config(&self, id: &Digest) -> Result<ImageConfig> {
        parse_config(&self.read_blob(id, JSON_LIMIT)?)
    }

    fn find_by_name(&self, name: &Reference) -> Result<Option<Image>> {
        let Some(record) = self.name_records().get(&name_key(name))? else { return Ok(None) };
        self.image_by_id(&record.image, record.manifest.as_ref()).map(Some)
    }

    /// The digest of a configuration, a manifest, or of where the image came from (of the same repository, if one is given).
    fn find_by_digest(&self, digest: &Digest, name: Option<&Reference>) -> Result<Option<Image>> {
        if self.image_records().get(&digest.hex())?.is_some() {
            return self.image_by_id(digest, None).map(Some);
        }
        let suffix = format!("@{digest}");
        let repository = name.map(|name| format!("{}/{}@", name.host(), name.path()));
        for (hex, record) in self.image_records().list()? {
            let of_repository = |known: &String| {
                known.ends_with(&suffix) && repository.as_ref().is_none_or(|repository| known.starts_with(repository))
            };
            let named = record
                .manifests()
                .find(|known| known.manifest.digest == *digest || known.repo_digests.iter().any(of_repository));
            if let (Some(named), Some(id)) = (named, Digest::from_hex(&hex)) {
                return self.image_by_id(&id, Some(&named.manifest.digest)).map(Some);
            }
        }
        Ok(None)
    }

    fn find_by_prefix(&self, text: &str, digits: &str) -> Result<Option<Image>> {
        let is_hex = !digits.is_empty() && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !is_hex {
            return Ok(None);
        }
        let names = self.image_records().names()?;
        let mut matching = names.iter().filter(|hex| hex.starts_with(digits));
        match (matching.next(), matching.next()) {
            (Some(first), Some(second)) => Err(Diagnostic::error(
                &codes::IMAGE_AMBIGUOUS,
                format!("`{text}` is the beginning of several image ids"),
            )
            .cause(format!("{} and {}", &first[..16], &second[..16]))
            .hint("give more digits, or the name")
            .boxed()),
            (Some(hex), None) => Digest::from_hex(hex).map(|id| self.image_by_id(&id, None)).transpose(),
            _ => Ok(None),
        }
    }

    fn image_not_found(&self, text: &str) -> Result<Box<Diagnostic>> {
        let diagnostic = Diagnostic::error(&codes::IMAGE_NOT_FOUND, format!("there is no image `{text}`"));
        let known: Vec<String> = self.names()?.keys().map(Reference::familiar).collect();
        let wanted = text.parse::<Reference>().map_or_else(|_| text.to_owned(), |name| name.familiar());
        Ok(match nearest(&wanted, known.iter().map(String::as_str)) {
            Some(name) => diagnostic.hint(format!("did you mean `{name}`?")),
            None if self.image_records().names()?.is_empty() => diagnostic
                .cause(format!("there are no images below {}", self.roots().data.display()))
                .hint("get one with `carrack pull`, `carrack load`, `carrack build` or `carrack image bootstrap`"),
            None => diagnostic.hint("`carrack images` lists what is there"),
        }
        .boxed())
    }

    /// What is said of an image; nothing where it is not here.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn predicates(&self, id: &Digest) -> Result<Vec<Predicate>> {
        Ok(self.image_records().get(&id.hex())?.map(|record| record.predicates).unwrap_or_default())
    }

    /// All images, by id: one for each manifest, with the names that mean it.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut by_image: BTreeMap<Digest, Vec<(Reference, Option<Digest>)>> = BTreeMap::new();
        for record in self.name_records().list()?.into_values() {
            by_image.entry(record.image).or_default().push((record.name.parse()?, record.manifest));
        }
        let mut images = Vec::new();
        for (hex, record) in self.image_records().list()? {
            let Some(id) = Digest::from_hex(&hex) else { continue };
            let names = by_image.remove(&id).unwrap_or_default();
            for manifest in record.manifests() {
                let digest = manifest.manifest.digest;
                let meant = |wanted: &Option<Digest>| record.manifest(wanted.as_ref()).manifest.digest == digest;
                let mut names: Vec<Reference> =
                    names.iter().filter(|(_, wanted)| meant(wanted)).map(|(name, _)| name.clone()).collect();
                names.sort();
                match self.assemble(id, manifest, &record, names) {
                    Ok(image) => images.push(image),
                    // Removed meanwhile.
                    Err(_) if self.image_records().get(&hex)?.is_none() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(images)
    }

    /// All tags and the image that each names.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn names(&self) -> Result<BTreeMap<Reference, Digest>> {
        let mut names = BTreeMap::new();
        for record in self.name_records().list()?.into_values() {
            names.insert(record.name.parse::<Reference>()?, record.image);
        }
        Ok(names)
    }

    pub(crate) fn image_by_id(&self, id: &Digest, manifest: Option<&Digest>) -> Result<Image> {
        let Some(record) = self.image_records().get(&id.hex())? else {
            return Err(self.image_not_found(&id.to_string())?);
        };
        let names = self.names()?.into_iter().filter(|(_, image)| image == id).map(|(name, _)| name).collect();
        self.assemble(*id, record.manifest(manifest), &record, names)
    }

    fn assemble(
        &self,
        id: Digest,
        manifest: &ManifestRecord,
        record: &ImageRecord,
        names: Vec<Reference>,
    ) -> Result<Image> {
        let config = self.image_config(&id)?;
        let repo_digests = manifest.repo_digests.iter().map(|name| name.parse()).collect::<Result<_>>()?;
        let ManifestRecord { manifest, layers, .. } = manifest.clone();
        let (added, predicates) = (record.added.clone(), record.predicates.clone());
        Ok(Image { id, config, manifest, layers, names, repo_digests, added, predicates })
    }

    /// Gives an image a tag, taking it from whatever had it. Synced.
    ///
    /// # Errors
    /// `store/image-not-found`; `store/invalid-name` for a reference by digest.
    pub fn tag(&self, image: &Image, name: &Reference) -> Result<()> {
        if name.digest().is_some() || name.tag().is_none() {
            return Err(Diagnostic::error(&codes::INVALID_NAME, format!("`{}` is no tag", name.familiar()))
                .hint("a digest names its image by itself; give NAME:TAG")
                .boxed());
        }
        let _guard = self.lock_as(Lock::Content, Sharing::Shared, DEFAULT_WAIT)?;
        if self.image_records().get(&image.id.hex())?.is_none() {
            return Err(self.image_not_found(&image.id.to_string())?);
        }
        let record = NameRecord {
            name: name.to_string(),
            image: image.id,
            manifest: Some(image.manifest.digest),
            platforms: Vec::new(),
            index: None,
        };
        self.name_records().put(&name_key(name), &record, Durability::Synced)
    }

    /// Takes a tag away; whether it was there. The image stays until it is removed or pruned.
    ///
    /// # Errors
    /// Where the record can't be removed.
    pub fn untag(&self, name: &Reference) -> Result<bool> {
        let platforms = self.name_records().get(&name_key(name))?.map(|record| record.platforms).unwrap_or_default();
        let is_gone = self.name_records().remove(&name_key(name))?;
        self.drop_platforms(&platforms)?;
        Ok(is_gone)
    }

    /// Who keeps an image: containers, releases, builds. The words are for people: `container 3f2a…`.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn image_users(&self, id: &Digest) -> Result<Vec<String>> {
        let mut users: Vec<String> = Vec::new();
        for keep in self.keeps()? {
            if keep.digests.contains(id) {
                let kind = match keep.kind {
                    crate::KeepKind::Container => "container",
                    crate::KeepKind::Release => "release",
                    crate::KeepKind::Cache => "build cache entry",
                };
                let owner = if keep.owner.len() == 64 { &keep.owner[..12] } else { keep.owner.as_str() };
                users.push(format!("{kind} {owner}"));
            }
        }
        if self.leased()?.contains(id) {
            users.push("a running command".into());
        }
        Ok(users)
    }

    /// Removes an image with all its names; whether it is gone. Layers and blobs go with the next [`Store::prune`].
    ///
    /// Forced while something keeps it, it loses its names only, so that what runs and what can be rolled back to stays
    /// whole; the rest goes with a prune after its last user.
    ///
    /// # Errors
    /// `store/image-in-use` where a container, release or running command keeps it, unless forced.
    pub fn remove_image(&self, id: &Digest, force: bool) -> Result<bool> {
        let _guard = self.lock(Lock::Content, DEFAULT_WAIT)?;
        let users = self.image_users(id)?;
        if !users.is_empty() && !force {
            return Err(in_use(id, &users));
        }
        for (name, image) in self.names()? {
            if image == *id {
                self.untag(&name)?;
            }
        }
        if users.is_empty() {
            self.image_records().remove(&id.hex())?;
        }
        Ok(users.is_empty())
    }

    /// What an image takes unpacked, in bytes: its layers, shared ones counted too.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn image_size_bytes(&self, image: &Image) -> Result<u64> {
        let mut total = 0;
        for layer in &image.layers {
            total += self.snapshot(&layer.chain)?.map_or(layer.blob.size, |snapshot| snapshot.size_bytes);
        }
        Ok(total)
    }

    pub(crate) fn image_records(&self) -> Records<ImageRecord> {
        self.records("images/records", "image", Layout::Flat)
    }

    pub(crate) fn name_records(&self) -> Records<NameRecord> {
        self.records("images/names", "image name", Layout::Flat)
    }
}

/// One of each type. What nobody asked for says how the image was made when it was new: it replaces nothing.
fn merged(mut known: Vec<Predicate>, new: Vec<Predicate>) -> Vec<Predicate> {
    for predicate in new {
        match known.iter_mut().find(|other| other.kind == predicate.kind) {
            Some(other) if predicate.is_asked => *other = predicate,
            Some(_) => {}
            None => known.push(predicate),
        }
    }
    known
}

pub(crate) fn in_use(id: &Digest, users: &[String]) -> Box<Diagnostic> {
    Diagnostic::error(&codes::IMAGE_IN_USE, format!("the image {} is in use", id.short()))
        .cause(format!("it is kept by {}", listed(users)))
        .hint("remove what uses it first, or force it: then it loses its names, and goes after its last user")
        .boxed()
}

pub(crate) fn name_key(name: &Reference) -> String {
    Digest::of(name.to_string()).hex()
}

pub(crate) fn parse_config(bytes: &[u8]) -> Result<ImageConfig> {
    serde_json::from_slice(bytes).map_err(|error| {
        Diagnostic::error(&codes::INVALID_IMAGE, "the image's configuration can't be read")
            .cause(error.to_string())
            .boxed()
    })
}

fn make_manifest(
    id: Digest,
    config: &[u8],
    layers: &[Layer],
    annotations: BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST.to_owned(),
        artifact_type: None,
        config: Descriptor::new(media_type::CONFIG, id, config.len() as u64),
        layers: layers.iter().map(|layer| layer.blob.clone()).collect(),
        subject: None,
        annotations,
    };
    serde_json::to_vec(&manifest).map_err(|error| {
        Diagnostic::error(&codes::INVALID_IMAGE, "the image's manifest can't be written")
            .cause(error.to_string())
            .boxed()
    })
}

/// A few, and how many there are beside them.
fn listed(users: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = users[..users.len().min(SHOWN)].join(", ");
    match users.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
