use std::collections::BTreeMap;

use crate::{Descriptor, Digest, Manifest, media_type};

/// Something that speaks about a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// What it is: `application/vnd.in-toto+json`.
    pub artifact_type: String,
    /// The manifest or index that it speaks about, of the same repository.
    pub subject: Descriptor,
    /// Its content, in order.
    pub blobs: Vec<ArtifactBlob>,
    /// Free text by key.
    pub annotations: BTreeMap<String, String>,
}

/// Content of an artefact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactBlob {
    /// What it is.
    pub media_type: String,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Free text by key.
    pub annotations: BTreeMap<String, String>,
}

impl ArtifactBlob {
    /// As the manifest names it.
    pub fn descriptor(&self) -> Descriptor {
        let descriptor = Descriptor::new(&self.media_type, Digest::of(&self.bytes), self.bytes.len() as u64);
        Descriptor { annotations: self.annotations.clone(), ..descriptor }
    }
}

impl Artifact {
    /// What stands for no configuration (image-spec `manifest.md`, "Guidance for an Empty Descriptor").
    pub const EMPTY: &[u8] = b"{}";

    /// Its manifest's bytes (image-spec `manifest.md`, "Guidelines for Artifact Usage"); the same for the same artefact.
    pub fn manifest(&self) -> Vec<u8> {
        let empty = Descriptor::new(media_type::EMPTY, Digest::of(Self::EMPTY), Self::EMPTY.len() as u64);
        let mut layers: Vec<Descriptor> = self.blobs.iter().map(ArtifactBlob::descriptor).collect();
        if layers.is_empty() {
            layers.push(empty.clone());
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: media_type::MANIFEST.to_owned(),
            artifact_type: Some(self.artifact_type.clone()),
            config: empty,
            layers,
            // The platform and annotations of an index's entry are no part of what is spoken about.
            subject: Some(Descriptor::new(&self.subject.media_type, self.subject.digest, self.subject.size)),
            annotations: self.annotations.clone(),
        };
        serde_json::to_vec(&manifest).unwrap_or_default()
    }
}
