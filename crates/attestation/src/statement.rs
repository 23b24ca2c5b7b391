use std::collections::BTreeMap;

use carrack_oci::{Artifact, ArtifactBlob, Descriptor, Digest};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// The media type of a statement, and the type of the artefacts that carry one.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// Of a statement's descriptor, and of its manifest: what it speaks of (as BuildKit writes it).
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// The predicate of a bill of materials: SPDX.
pub const SBOM: &str = "https://spdx.dev/Document";
/// The predicate of how an image was built: SLSA v1.
pub const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

/// A predicate with its subject: in-toto's Statement v1.
///
/// # Errors
/// Where the predicate is no JSON.
pub fn statement(
    predicate_type: &str,
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
        predicate_type,
        predicate: serde_json::from_slice(predicate)?,
    })
}

/// A predicate about the image with this manifest, as an artefact that refers to it. The same values give the same bytes.
///
/// # Errors
/// Where the predicate is no JSON.
pub fn attestation(
    predicate_type: &str,
    predicate: &[u8],
    subject: &Descriptor,
    names: &[String],
) -> Result<Artifact, serde_json::Error> {
    let annotations = BTreeMap::from([(PREDICATE_TYPE.to_owned(), predicate_type.to_owned())]);
    let bytes = statement(predicate_type, predicate, &subject.digest, names)?;
    let blob = ArtifactBlob { media_type: IN_TOTO.to_owned(), bytes, annotations: annotations.clone() };
    Ok(Artifact { artifact_type: IN_TOTO.to_owned(), subject: subject.clone(), blobs: vec![blob], annotations })
}

/// What a statement says of the image with this manifest: the predicate's type, and the predicate. None where it speaks of
/// something else, or is no statement.
pub fn predicate_of(statement: &[u8], subject: &Digest) -> Option<(String, Vec<u8>)> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Statement<'a> {
        #[serde(borrow)]
        subject: Vec<About<'a>>,
        predicate_type: String,
        #[serde(borrow)]
        predicate: &'a RawValue,
    }
    #[derive(serde::Deserialize)]
    struct About<'a> {
        #[serde(borrow)]
        digest: BTreeMap<&'a str, &'a str>,
    }
    let statement: Statement<'_> = serde_json::from_slice(statement).ok()?;
    let hex = subject.hex();
    let is_meant = statement.subject.iter().any(|about| about.digest.get("sha256").is_some_and(|found| *found == hex));
    is_meant.then(|| (statement.predicate_type, statement.predicate.get().as_bytes().to_vec()))
}
