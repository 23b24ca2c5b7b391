//! Images from one repository to another, with everything that they refer to, byte for byte.

use carrack_diag::Result;
use carrack_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type};

use crate::client::{Client, Document};
use crate::codes;
use crate::http::protocol;
use crate::push::{Destination, PushBlob};
use crate::transfer::Transfer;

/// An index in an index in an index is a mistake.
const DEPTH_MAX: u32 = 4;

impl Client {
    /// What a manifest's image runs on; none for an index, and for what is no image.
    ///
    /// # Errors
    /// Whatever keeps its configuration from arriving whole.
    pub fn platform_of(&self, reference: &Reference, document: &Document) -> Result<Option<Platform>> {
        let bytes = self.config_of(reference, document)?.unwrap_or_default();
        Ok(serde_json::from_slice::<ImageConfig>(&bytes).ok().map(|config| config.platform()))
    }

    /// The configuration of a manifest's image; none for an index, and for what is no image.
    ///
    /// # Errors
    /// Whatever keeps it from arriving whole.
    pub fn config_of(&self, reference: &Reference, document: &Document) -> Result<Option<Vec<u8>>> {
        let Ok(manifest) = serde_json::from_slice::<Manifest>(&document.bytes) else { return Ok(None) };
        let is_image = matches!(manifest.config.media_type.as_str(), media_type::CONFIG | media_type::DOCKER_CONFIG);
        if !is_image || manifest.config.size > crate::http::SMALL_LIMIT {
            return Ok(None);
        }
        self.blob_bytes(&self.site(reference.host()), reference, &manifest.config).map(Some)
    }
}

impl Client {
    /// Brings a manifest that is no image's, and what it refers to, into the store, kept by the transfer's lease. Whether
    /// that is so now: not where the registry has it no longer, or where a blob has more than `limit` bytes.
    ///
    /// # Errors
    /// Whatever else keeps it from arriving whole.
    pub fn fetch_artifact(&self, from: &Reference, limit: u64, transfer: Transfer<'_>) -> Result<bool> {
        let document = match self.manifest(from) {
            Ok(document) => document,
            Err(error) if error.code.id == codes::NOT_FOUND.id => return Ok(false),
            Err(error) => return Err(error),
        };
        let manifest: Manifest =
            serde_json::from_slice(&document.bytes).map_err(|error| protocol(&from.familiar(), error.to_string()))?;
        let mut blobs = manifest.layers.iter().chain([&manifest.config]);
        if blobs.clone().any(|blob| blob.size > limit) {
            return Ok(false);
        }
        blobs.try_for_each(|blob| self.fetch_one(from, blob, transfer))?;
        transfer.store.ingest_bytes(transfer.lease, &document.bytes)?;
        Ok(true)
    }
}

impl Destination<'_> {
    /// Sends a manifest of this store that is no image's, after its blobs.
    ///
    /// # Errors
    /// As pushing them.
    pub fn send_artifact(&self, descriptor: &Descriptor, manifest: &Manifest) -> Result<()> {
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            self.send(&PushBlob { blob: blob.clone(), mounts: Vec::new() })?;
        }
        let bytes = self.transfer.store.read_blob(&descriptor.digest, descriptor.size)?;
        self.put_manifest(&descriptor.digest.to_string(), &descriptor.media_type, &bytes).map(|_| ())
    }

    /// Puts a manifest or index of another repository there under a tag or its digest, after everything that it refers
    /// to. Blobs of the same registry are mounted, others come through the store, kept by the transfer's lease.
    ///
    /// # Errors
    /// As pulling and pushing them.
    pub fn copy(&self, from: &Reference, document: &Document, name: &str) -> Result<Digest> {
        self.copy_parts(from, document, 0)?;
        self.put_manifest(name, &document.media_type, &document.bytes)
    }

    /// Everything that a manifest or index of another repository refers to.
    ///
    /// # Errors
    /// As [`Destination::copy`].
    pub fn copy_parts(&self, from: &Reference, document: &Document, depth: u32) -> Result<()> {
        let is_near = from.host() == self.reference.host();
        if is_near && from.path() == self.reference.path() {
            return Ok(());
        }
        if depth > DEPTH_MAX {
            return Err(protocol(&from.familiar(), "its indexes lie too deep".into()));
        }
        let unreadable = |error: serde_json::Error| protocol(&from.familiar(), error.to_string());
        if media_type::is_index(&document.media_type) {
            let index: Index = serde_json::from_slice(&document.bytes).map_err(unreadable)?;
            for child in index.manifests {
                if !self.has_manifest(&child.digest)? {
                    let named: Reference = format!("{}/{}@{}", from.host(), from.path(), child.digest).parse()?;
                    let document = self.client.manifest(&named)?;
                    self.copy_parts(from, &document, depth + 1)?;
                    self.put_manifest(&child.digest.to_string(), &document.media_type, &document.bytes)?;
                }
            }
            return Ok(());
        }
        let manifest: Manifest = serde_json::from_slice(&document.bytes).map_err(unreadable)?;
        let mut blobs: Vec<Descriptor> = Vec::new();
        for blob in manifest.layers.into_iter().chain([manifest.config]) {
            if blobs.iter().all(|known| known.digest != blob.digest) {
                blobs.push(blob);
            }
        }
        self.transfer.all(&blobs, |blob| {
            let mounts = if is_near { vec![from.path().to_owned()] } else { Vec::new() };
            let wanted = PushBlob { blob: blob.clone(), mounts };
            self.send_from(&wanted, &|| self.client.fetch_one(from, blob, self.transfer))
        })
    }

    fn has_manifest(&self, digest: &Digest) -> Result<bool> {
        let path = format!("/v2/{}/manifests/{digest}", self.reference.path());
        self.head(&path)
    }
}
