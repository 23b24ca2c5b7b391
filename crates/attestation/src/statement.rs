use std::collections::BTreeMap;

use carrack_oci::{Descriptor, Digest, Manifest, media_type};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The media type of a statement, and the type of the artefacts that carry one.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Of a statement's descriptor, and of its manifest: what it speaks of (as BuildKit writes it).
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// What is said of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PredicateType {
    /// Its packages: SPDX.
    Sbom,
    /// How it was built: SLSA v1.
    Provenance,
}

impl PredicateType {
    /// The URI that a statement names it by.
    pub fn uri(self) -> &'static str {
        match self {
            Self::Sbom => "https://spdx.dev/Document",
            Self::Provenance => "https://slsa.dev/provenance/v1",
        }
    }
}

/// A predicate with its subject: in-toto's Statement v1.
///
/// # Errors
/// Where the predicate is no JSON.
pub fn statement(
    kind: PredicateType,
    predicate: &[u8],
    subject: &Digest,
    names: &[String],
) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Statement<'a> {
        #[serde(rename = "_type")]
        kind: &'a str,
        subject: Vec<Value>,
        predicate_type: &'a str,
        predicate: &'a RawValue,
    }
    let digest = json!({ "sha256": subject.hex() });
    let mut subjects: Vec<Value> = names.iter().map(|name| json!({ "name": name, "digest": digest })).collect();
    if subjects.is_empty() {
        // As BuildKit calls what has no name.
        subjects.push(json!({ "name": "_", "digest": digest }));
    }
    serde_json::to_vec(&Statement {
        kind: "https://in-toto.io/Statement/v1",
        subject: subjects,
        predicate_type: kind.uri(),
        predicate: serde_json::from_slice(predicate)?,
    })
}

/// A statement as an artefact that refers to an image (image-spec `manifest.md`, "Guidelines for Artifact Usage").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attestation {
    /// The manifest, with the image as its subject.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub bytes: Vec<u8>,
    /// What it names: the empty configuration, the statement.
    pub blobs: [(Descriptor, Vec<u8>); 2],
}

impl Attestation {
    /// Of the manifest, as an index names it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            artifact_type: self.manifest.artifact_type.clone(),
            annotations: self.manifest.annotations.clone(),
            ..Descriptor::new(media_type::MANIFEST, Digest::of(&self.bytes), self.bytes.len() as u64)
        }
    }
}

/// The artefact of a predicate about the image with this manifest. The same values give the same bytes.
///
/// # Errors
/// Where the predicate is no JSON.
pub fn attestation(
    kind: PredicateType,
    predicate: &[u8],
    subject: &Descriptor,
    names: &[String],
) -> Result<Attestation, serde_json::Error> {
    let said = statement(kind, predicate, &subject.digest, names)?;
    let annotations = BTreeMap::from([(PREDICATE_TYPE.to_owned(), kind.uri().to_owned())]);
    let layer = Descriptor {
        annotations: annotations.clone(),
        ..Descriptor::new(IN_TOTO, Digest::of(&said), said.len() as u64)
    };
    let empty = b"{}".to_vec();
    let config = Descriptor::new(media_type::EMPTY, Digest::of(&empty), empty.len() as u64);
    let manifest = Manifest {
        schema_version: 2,
        media_type: media_type::MANIFEST.to_owned(),
        artifact_type: Some(IN_TOTO.to_owned()),
        config: config.clone(),
        layers: vec![layer.clone()],
        subject: Some(Descriptor::new(subject.media_type.clone(), subject.digest, subject.size)),
        annotations,
    };
    let bytes = serde_json::to_vec(&manifest)?;
    Ok(Attestation { manifest, bytes, blobs: [(config, empty), (layer, said)] })
}
