//! Images out of a folder that is an OCI layout (image-spec `image-layout.md`).

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Descriptor, Digest, Index, Manifest, Platform, media_type};

use crate::archive::{annotated_tag, invalid, parse_json};
use crate::image::JSON_LIMIT;
use crate::{Image, Lease, Store, codes};

impl Store {
    /// Takes in the image of a layout that `wanted` names, a tag or a digest; without, its only one. Of an image for several
    /// platforms, the one for `platform`. It gets no name.
    ///
    /// # Errors
    /// `store/invalid-image` where the folder is no layout or has no such image; as for loading an archive.
    pub fn load_layout(&self, folder: &Path, wanted: Option<&str>, platform: &Platform) -> Result<Image> {
        let lease = self.lease()?;
        let index = read(&folder.join("index.json")).map_err(|error| {
            invalid(format!("{} is no OCI layout", folder.display()))
                .cause(format!("its index.json cannot be read: {error}"))
                .hint("name a folder that `skopeo copy … oci:FOLDER` has written, or that an archive of `--output type=oci` was unpacked into")
                .boxed()
        })?;
        let index: Index = parse_json("index.json", &index)?;
        let descriptor = chosen(folder, &index, wanted)?;
        self.take_in_layout(&lease, folder, descriptor, 0)?;
        let manifest = self.choose(&lease, descriptor.clone(), platform)?;
        let Some(manifest) = manifest else {
            return Err(invalid(format!("{} holds no image for {platform}", folder.display())).boxed());
        };
        self.load_manifest(&lease, &manifest, Vec::new(), Vec::new()).map(|(image, _)| image)
    }

    /// What a descriptor leads to. Other platforms' layers may be missing, and are only taken where they are chosen later.
    fn take_in_layout(&self, lease: &Lease, folder: &Path, descriptor: &Descriptor, depth: u32) -> Result<()> {
        self.take_in_blob(lease, folder, &descriptor.digest)?;
        if media_type::is_manifest(&descriptor.media_type) {
            let manifest: Manifest = parse_json("manifest", &self.read_blob(&descriptor.digest, JSON_LIMIT)?)?;
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                self.take_in_blob(lease, folder, &blob.digest)?;
            }
        } else if media_type::is_index(&descriptor.media_type) && depth < 4 {
            let index: Index = parse_json("index", &self.read_blob(&descriptor.digest, JSON_LIMIT)?)?;
            for child in &index.manifests {
                if blob_path(folder, &child.digest).is_file() {
                    self.take_in_layout(lease, folder, child, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn take_in_blob(&self, lease: &Lease, folder: &Path, digest: &Digest) -> Result<()> {
        lease.add(&[*digest])?;
        if self.has_blob(digest) {
            return Ok(());
        }
        let path = blob_path(folder, digest);
        let mut ingest = self.ingest()?;
        let copied = File::open(&path).and_then(|mut file| io::copy(&mut file, &mut ingest));
        copied.map_err(|error| {
            invalid(format!("the layout {} is not whole", folder.display()))
                .cause(format!("{}: {error}", path.display()))
                .boxed()
        })?;
        ingest.commit(lease, Some(digest)).map(drop)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(JSON_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn blob_path(folder: &Path, digest: &Digest) -> PathBuf {
    folder.join("blobs/sha256").join(digest.hex())
}

fn chosen<'a>(folder: &Path, index: &'a Index, wanted: Option<&str>) -> Result<&'a Descriptor> {
    let digest = wanted.and_then(|wanted| wanted.parse::<Digest>().ok());
    let mut named: Vec<&Descriptor> = index.manifests.iter().collect();
    if let Some(digest) = digest {
        named.retain(|descriptor| descriptor.digest == digest);
    } else if let Some(tag) = wanted {
        named.retain(|descriptor| annotated_tag(descriptor) == Some(tag));
    } else if named.len() > 1 {
        // Without a word on it, the usual tag, as in image references.
        named.retain(|descriptor| annotated_tag(descriptor) == Some("latest"));
    }
    match named.first() {
        Some(descriptor) => Ok(descriptor),
        None => {
            let known: Vec<String> = index.manifests.iter().map(shown).collect();
            let what = wanted.map_or_else(|| "one image".to_owned(), |wanted| format!("an image `{wanted}`"));
            let message = format!("the layout {} does not hold {what}", folder.display());
            Err(Diagnostic::error(&codes::INVALID_IMAGE, message)
                .cause(format!("it holds {}", if known.is_empty() { "nothing".to_owned() } else { known.join(", ") }))
                .hint("name one as oci-layout://FOLDER:TAG or oci-layout://FOLDER@sha256:…")
                .boxed())
        }
    }
}

fn shown(descriptor: &Descriptor) -> String {
    annotated_tag(descriptor).map_or_else(|| descriptor.digest.to_string(), str::to_owned)
}

/// The folder and what of it is meant, of `FOLDER[:TAG][@DIGEST]`.
pub fn split_layout(text: &str) -> (&Path, Option<&str>) {
    if let Some((folder, digest)) = text.split_once('@').filter(|(_, digest)| digest.parse::<Digest>().is_ok()) {
        // A tag beside the digest says nothing more.
        let folder = folder.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(folder, |(folder, _)| folder);
        return (Path::new(folder), Some(digest));
    }
    let is_whole = fs::metadata(text).is_ok();
    match text.rsplit_once(':').filter(|(_, tag)| !is_whole && !tag.is_empty() && !tag.contains('/')) {
        Some((folder, tag)) => (Path::new(folder), Some(tag)),
        None => (Path::new(text), None),
    }
}
