//! Images as archives: `load` and `save` (docker archives that are OCI layouts as well), `import`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Read, Write};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::{
    Artifact, Config, Descriptor, Digest, History, ImageConfig, Index, Manifest, Platform, Reference, chain_ids,
    media_type,
};
use serde::{Deserialize, Serialize};

use crate::compression::layer_media_type;
use crate::fault::{Context as _, fault};
use crate::image::{JSON_LIMIT, parse_config};
use crate::platforms::parts;
use crate::tar::{Kind, Member, Reader, TarError, Writer};
use crate::{Image, ImageIndex, Layer, Lease, NewImage, Predicate, Snapshotter as _, Store, codes, decompress};

/// Of the full name, as containerd and Docker write it into an index.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Of the tag, or by some tools the full name (image-spec `annotations.md`).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// One image of `manifest.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// What [`Store::import`] makes of a root file system.
#[derive(Debug, Clone)]
pub struct Import {
    /// What containers of the image start with.
    pub config: Config,
    /// What the image runs on.
    pub platform: Platform,
    /// RFC 3339; the same input and time give the same image.
    pub created: Option<String>,
    /// The history's comment.
    pub message: Option<String>,
    /// Tags that the image takes over.
    pub names: Vec<Reference>,
}

type Loaded = (Image, Vec<Reference>);

/// What statements, which came as artefacts that refer to a manifest, say of its image. Contents are kept by the lease.
pub type ReadStatements<'a> = dyn Fn(&Lease, &Digest, &[Vec<u8>]) -> Result<Vec<Predicate>> + 'a;

/// Of a statement about an image (in-toto), and of the artefact that carries it.
const STATEMENT: &str = "application/vnd.in-toto+json";
/// Largest statement about an image that is taken with it, in bytes.
pub const STATEMENT_LIMIT: u64 = 32 << 20;

/// The members of an archive, their content in the store.
struct Members {
    files: HashMap<String, Digest>,
    links: HashMap<String, String>,
    digests: HashSet<Digest>,
}

impl Store {
    /// Takes in the images of an archive made by `docker save`, `podman save` or a tool that writes OCI layouts, plain or
    /// compressed with gzip or zstd, and unpacks their layers; what artefacts beside them say of them is kept. Of an image for several platforms, the one for `platform`. Gives
    /// each with the names that the archive has for it.
    ///
    /// # Errors
    /// `store/invalid-tar`, `store/invalid-image`, `store/digest-mismatch` and what makes a layer unusable; images before
    /// the faulty one are there then.
    pub fn load(
        &self,
        stream: impl Read,
        platform: &Platform,
        statements: &ReadStatements<'_>,
    ) -> Result<Vec<(Image, Vec<Reference>)>> {
        let lease = self.lease()?;
        let while_reading = self.lease()?;
        let mut members = Members { files: HashMap::new(), links: HashMap::new(), digests: HashSet::new() };
        let images = self
            .take_in(stream, &while_reading, &mut members)
            .and_then(|()| self.load_members(&lease, &members, platform, statements));
        // From here on the images' own records keep what is needed.
        drop((lease, while_reading));
        self.drop_unneeded(&members.digests)?;
        images
    }

    /// A stream that can't be read, or a root that can't be written: the root is named, as its disk may be full.
    fn not_an_archive(&self, error: TarError) -> Box<Diagnostic> {
        match error {
            TarError::Io(error) if error.raw_os_error().is_some() => {
                fault("take the archive in below", &self.roots().data, error)
            }
            TarError::Io(error) => invalid_tar(error.to_string()),
            TarError::Malformed(reason) => invalid_tar(reason),
        }
    }

    fn take_in(&self, stream: impl Read, lease: &Lease, members: &mut Members) -> Result<()> {
        let mut reader = Reader::new(decompress(stream)?);
        while let Some(member) = reader.next().map_err(|error| self.not_an_archive(error))? {
            let Some(name) = std::str::from_utf8(&member.path).ok().map(normal) else { continue };
            match member.kind {
                Kind::File => {
                    let mut ingest = self.ingest()?;
                    io::copy(&mut reader, &mut ingest).map_err(|error| self.not_an_archive(TarError::Io(error)))?;
                    let (digest, _) = ingest.commit(lease, None)?;
                    members.digests.insert(digest);
                    members.files.insert(name, digest);
                }
                Kind::Symlink | Kind::HardLink => {
                    let target = String::from_utf8_lossy(&member.link).into_owned();
                    let target = if member.kind == Kind::Symlink { beside(&name, &target) } else { normal(&target) };
                    members.links.insert(name, target);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn load_members(
        &self,
        lease: &Lease,
        members: &Members,
        platform: &Platform,
        statements: &ReadStatements<'_>,
    ) -> Result<Vec<Loaded>> {
        if let Some(index) = members.find("index.json") {
            let index: Index = self.json("index.json", &index)?;
            return self.load_index(lease, &index, platform, statements);
        }
        let Some(manifest) = members.find("manifest.json") else {
            return Err(invalid("the archive holds no image")
                .cause("it has neither `index.json` (OCI layout) nor `manifest.json` (docker save)")
                .hint("a root file system is read by `carrack import`")
                .boxed());
        };
        let images: Vec<DockerImage> = self.json("manifest.json", &manifest)?;
        images.iter().map(|image| self.load_docker(lease, members, image)).collect()
    }

    /// One image a manifest; several descriptors may name the same one.
    fn load_index(
        &self,
        lease: &Lease,
        index: &Index,
        platform: &Platform,
        statements: &ReadStatements<'_>,
    ) -> Result<Vec<Loaded>> {
        let mut names: BTreeMap<Digest, Vec<Reference>> = BTreeMap::new();
        let mut manifests: Vec<&Descriptor> = Vec::new();
        for descriptor in &index.manifests {
            if !manifests.iter().any(|known| known.digest == descriptor.digest) {
                manifests.push(descriptor);
            }
            names.entry(descriptor.digest).or_default().extend(annotated_name(descriptor));
        }
        let mut images = Vec::new();
        for descriptor in manifests {
            let names = names.remove(&descriptor.digest).unwrap_or_default();
            if let Some(manifest) = self.choose(lease, descriptor.clone(), platform)? {
                let said = self.statements_about(&manifest.digest, index)?;
                let predicates = statements(lease, &manifest.digest, &said)?;
                images.push(self.load_manifest(lease, &manifest, names, predicates)?);
            }
        }
        if images.is_empty() {
            return Err(invalid(format!("the archive holds no image for {platform}")).boxed());
        }
        Ok(images)
    }

    /// Follows indexes to the manifest for a platform. What says nothing about its platform is taken as it is.
    pub(crate) fn choose(
        &self,
        lease: &Lease,
        descriptor: Descriptor,
        wanted: &Platform,
    ) -> Result<Option<Descriptor>> {
        self.choose_below(lease, descriptor, (wanted, 0), &mut HashSet::new())
    }

    /// Each index once: indexes that name each other again and again lead to more than anybody could follow.
    fn choose_below(
        &self,
        lease: &Lease,
        descriptor: Descriptor,
        (wanted, depth): (&Platform, u32),
        seen: &mut HashSet<Digest>,
    ) -> Result<Option<Descriptor>> {
        let fits = descriptor.platform.as_ref().is_none_or(|platform| platform.matches(wanted));
        let is_attestation = descriptor.artifact_type.is_some() || descriptor.is_attestation();
        if media_type::is_manifest(&descriptor.media_type) {
            return Ok((fits && !is_attestation).then_some(descriptor));
        }
        if !media_type::is_index(&descriptor.media_type) || depth > 4 {
            return Err(invalid(format!("`{}` is neither a manifest nor an index", descriptor.media_type)).boxed());
        }
        if !seen.insert(descriptor.digest) {
            return Ok(None);
        }
        lease.add(&[descriptor.digest])?;
        let index: Index = self.json("index", &descriptor.digest)?;
        for child in index.manifests {
            if let Some(manifest) = self.choose_below(lease, child, (wanted, depth + 1), seen)? {
                return Ok(Some(manifest));
            }
        }
        Ok(None)
    }

    /// The statements of artefacts of an index that refer to a manifest.
    fn statements_about(&self, subject: &Digest, index: &Index) -> Result<Vec<Vec<u8>>> {
        let is_artifact = |entry: &&Descriptor| entry.artifact_type.as_deref() == Some(STATEMENT);
        let mut blobs = Vec::new();
        for entry in index.manifests.iter().filter(is_artifact) {
            let manifest: Manifest = self.json("artefact", &entry.digest)?;
            if manifest.subject.is_some_and(|found| found.digest == *subject) {
                for blob in manifest.layers.iter().filter(|blob| blob.media_type == STATEMENT) {
                    blobs.push(self.read_blob(&blob.digest, STATEMENT_LIMIT)?);
                }
            }
        }
        Ok(blobs)
    }

    pub(crate) fn load_manifest(
        &self,
        lease: &Lease,
        descriptor: &Descriptor,
        names: Vec<Reference>,
        predicates: Vec<Predicate>,
    ) -> Result<Loaded> {
        lease.add(&[descriptor.digest])?;
        let bytes = self.read_blob(&descriptor.digest, JSON_LIMIT)?;
        let manifest: Manifest = parse_json("manifest", &bytes)?;
        lease.add(&[manifest.config.digest])?;
        let config = self.read_blob(&manifest.config.digest, JSON_LIMIT)?;
        let new = NewImage {
            layers: layers_of(&config, manifest.layers)?,
            manifest: Some((bytes, descriptor.media_type.clone())),
            names,
            predicates,
            ..NewImage::default()
        };
        self.put_unpacked(lease, &config, new)
    }

    fn load_docker(&self, lease: &Lease, members: &Members, image: &DockerImage) -> Result<Loaded> {
        let member = |path: &String| {
            members.find(path).ok_or_else(|| {
                invalid(format!("the archive's manifest.json names `{path}`, which is not there")).boxed()
            })
        };
        let config = self.read_blob(&member(&image.config)?, JSON_LIMIT)?;
        let mut blobs = Vec::new();
        for path in image.layers.iter().flatten() {
            let digest = member(path)?;
            lease.add(&[digest])?;
            let size = self.blob_size_bytes(&digest).unwrap_or(0);
            blobs.push(Descriptor::new(self.layer_media_type(&digest)?, digest, size));
        }
        let names = image.repo_tags.iter().flatten().map(|name| name.parse()).collect::<Result<_>>()?;
        let new = NewImage { layers: layers_of(&config, blobs)?, names, ..NewImage::default() };
        self.put_unpacked(lease, &config, new)
    }

    fn put_unpacked(&self, lease: &Lease, config: &[u8], new: NewImage) -> Result<Loaded> {
        for layer in &new.layers {
            lease.add(&[layer.blob.digest])?;
        }
        self.unpack(lease, &new.layers)?;
        let names = new.names.clone();
        Ok((self.put_image(lease, config, new)?, names))
    }

    fn layer_media_type(&self, digest: &Digest) -> Result<&'static str> {
        let mut start = Vec::new();
        self.blob(digest)?.take(4).read_to_end(&mut start).context("read the blob", &self.blob_path(digest))?;
        Ok(layer_media_type(&start))
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, what: &str, digest: &Digest) -> Result<T> {
        parse_json(what, &self.read_blob(digest, JSON_LIMIT)?)
    }

    /// Writes images as one archive that is an OCI layout (image-spec `image-layout.md`) and that `docker load` reads as
    /// well. The same images give the same bytes. Each comes with the names given for it; with none it has only its id.
    ///
    /// # Errors
    /// Where a blob is missing or writing fails.
    pub fn save(&self, images: &[(Image, Vec<Reference>)], out: impl Write) -> Result<()> {
        self.save_all(images, &[], &[], out)
    }

    /// As [`Store::save`], with indexes beside, and artefacts that refer to the images. What an index names is in the archive;
    /// programs that read images only see none of it.
    ///
    /// # Errors
    /// As [`Store::save`].
    pub fn save_all(
        &self,
        images: &[(Image, Vec<Reference>)],
        indexes: &[(ImageIndex, Vec<Reference>)],
        artifacts: &[Artifact],
        out: impl Write,
    ) -> Result<()> {
        let mut index = Index {
            schema_version: 2,
            media_type: media_type::INDEX.into(),
            manifests: Vec::new(),
            annotations: BTreeMap::new(),
        };
        let mut docker = Vec::new();
        let mut blobs = BTreeSet::new();
        for (image, names) in images {
            blobs.extend([image.id, image.manifest.digest]);
            blobs.extend(image.layers.iter().map(|layer| layer.blob.digest));
            index.manifests.extend(descriptors(image, names));
            docker.push(DockerImage {
                config: blob_member(&image.id),
                repo_tags: Some(names.iter().map(Reference::familiar).collect()),
                layers: Some(image.layers.iter().map(|layer| blob_member(&layer.blob.digest)).collect()),
            });
        }
        for (named, names) in indexes {
            for image in &named.images {
                blobs.extend([image.id, image.manifest.digest]);
                blobs.extend(image.layers.iter().map(|layer| layer.blob.digest));
            }
            if let Some(descriptor) = &named.descriptor {
                blobs.insert(descriptor.digest);
                blobs.extend(self.attestations(descriptor)?.iter().flat_map(parts));
                index.manifests.extend(with_names(descriptor, names));
            }
        }
        let mut own: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
        for artifact in artifacts {
            let manifest = artifact.manifest();
            let mut descriptor = Descriptor::new(media_type::MANIFEST, Digest::of(&manifest), manifest.len() as u64);
            descriptor.artifact_type = Some(artifact.artifact_type.clone());
            descriptor.annotations.clone_from(&artifact.annotations);
            index.manifests.push(descriptor);
            let contents = artifact.blobs.iter().map(|blob| blob.bytes.clone());
            own.extend(contents.chain([manifest, Artifact::EMPTY.to_vec()]).map(|bytes| (Digest::of(&bytes), bytes)));
        }
        let texts = [
            ("index.json", serde_json::to_vec(&index)),
            ("manifest.json", serde_json::to_vec(&docker)),
            ("oci-layout", Ok(br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec())),
        ];
        let mut tar = Writer::new(out);
        let write = || -> io::Result<()> {
            for dir in ["blobs/", "blobs/sha256/"] {
                tar.append(&Member::new(dir, Kind::Dir), &mut io::empty())?;
            }
            for digest in &blobs {
                let mut file = std::fs::File::open(self.blob_path(digest))?;
                let size_bytes = file.metadata()?.len();
                tar.append(&Member { size_bytes, ..Member::new(blob_member(digest), Kind::File) }, &mut file)?;
            }
            for (digest, bytes) in &own {
                let member = Member { size_bytes: bytes.len() as u64, ..Member::new(blob_member(digest), Kind::File) };
                tar.append(&member, &mut bytes.as_slice())?;
            }
            for (name, text) in texts {
                let text = text?;
                let member = Member { size_bytes: text.len() as u64, ..Member::new(name, Kind::File) };
                tar.append(&member, &mut text.as_slice())?;
            }
            Ok(())
        };
        write()
            .and_then(|()| tar.finish()?.flush())
            .map_err(|error| fault("save images from", &self.roots().data, error))
    }

    /// Makes an image of one layer from a tar of a root file system, plain, gzip or zstd. The layer is kept plain.
    ///
    /// # Errors
    /// `store/invalid-tar`, `store/hostile-layer`.
    pub fn import(&self, stream: impl Read, import: Import) -> Result<Image> {
        let lease = self.lease()?;
        let mut ingest = self.ingest()?;
        io::copy(&mut decompress(stream)?, &mut ingest).map_err(|error| self.not_an_archive(TarError::Io(error)))?;
        let (diff_id, size_bytes) = ingest.commit(&lease, None)?;
        if let Err(error) = self.apply(&lease, None, &diff_id, &mut self.blob(&diff_id)?) {
            drop(lease);
            self.drop_unneeded(&HashSet::from([diff_id]))?;
            return Err(error);
        }
        let mut config = ImageConfig::scratch(&import.platform);
        config.config = import.config;
        config.created.clone_from(&import.created);
        config.rootfs.diff_ids.push(diff_id);
        config.history.push(History { created: import.created, comment: import.message, ..History::default() });
        let bytes = serde_json::to_vec(&config)
            .map_err(|error| invalid("the configuration can't be written").cause(error.to_string()).boxed())?;
        let layer = Layer { diff_id, chain: diff_id, blob: Descriptor::new(media_type::LAYER, diff_id, size_bytes) };
        self.put_image(&lease, &bytes, NewImage { layers: vec![layer], names: import.names, ..NewImage::default() })
    }
}

impl Members {
    /// Through at most eight links.
    fn find(&self, path: &str) -> Option<Digest> {
        let mut path = normal(path);
        for _ in 0..8 {
            if let Some(digest) = self.files.get(&path) {
                return Some(*digest);
            }
            path = self.links.get(&path)?.clone();
        }
        None
    }
}

/// Layers as the configuration and the manifest together tell them.
fn layers_of(config: &[u8], blobs: Vec<Descriptor>) -> Result<Vec<Layer>> {
    let diff_ids = parse_config(config)?.rootfs.diff_ids;
    if diff_ids.len() != blobs.len() {
        let message =
            format!("the image's configuration names {} layers, its manifest {}", diff_ids.len(), blobs.len());
        return Err(invalid(message).boxed());
    }
    let chains = chain_ids(&diff_ids);
    let layers = diff_ids.into_iter().zip(chains).zip(blobs);
    Ok(layers.map(|((diff_id, chain), blob)| Layer { diff_id, chain, blob }).collect())
}

fn annotated_name(descriptor: &Descriptor) -> Option<Reference> {
    if let Some(name) = descriptor.annotations.get(IMAGE_NAME) {
        return name.parse().ok();
    }
    // A bare tag names nothing by itself.
    descriptor.annotations.get(REF_NAME).filter(|name| name.contains([':', '/'])).and_then(|name| name.parse().ok())
}

/// The tag that a layout gives an image, whichever form its tool writes.
pub(crate) fn annotated_tag(descriptor: &Descriptor) -> Option<&str> {
    let name = descriptor.annotations.get(REF_NAME).or_else(|| descriptor.annotations.get(IMAGE_NAME))?;
    Some(name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name.as_str(), |(_, tag)| tag))
}

fn descriptors(image: &Image, names: &[Reference]) -> Vec<Descriptor> {
    with_names(&Descriptor { platform: Some(image.config.platform()), ..image.manifest.clone() }, names)
}

/// One a name.
fn with_names(plain: &Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    let named = |name: &Reference| {
        let mut descriptor = plain.clone();
        descriptor.annotations.insert(IMAGE_NAME.into(), name.to_string());
        descriptor.annotations.insert(REF_NAME.into(), name.tag().unwrap_or_default().into());
        descriptor
    };
    if names.is_empty() { vec![plain.clone()] } else { names.iter().map(named).collect() }
}

fn blob_member(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Without `.`, empty components and a leading slash; `..` goes up, never out.
pub(crate) fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn beside(link: &str, target: &str) -> String {
    let dir = link.rsplit_once('/').map_or("", |(dir, _)| dir);
    if target.starts_with('/') { normal(target) } else { normal(&format!("{dir}/{target}")) }
}

pub(crate) fn parse_json<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| invalid(format!("the image's {what} can't be read")).cause(error.to_string()).boxed())
}

pub(crate) fn invalid(message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(&codes::INVALID_IMAGE, message)
}

fn invalid_tar(reason: String) -> Box<Diagnostic> {
    Diagnostic::error(&codes::INVALID_TAR, "the archive can't be read")
        .cause(reason)
        .hint("save or fetch it again; `tar -t` lists what is readable")
        .boxed()
}
