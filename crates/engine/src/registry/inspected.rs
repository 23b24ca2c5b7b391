//! What a registry has of an image beside its manifest, as `buildx imagetools inspect` calls it.

use carrack_attestation::{IN_TOTO, SBOM, predicate_of};
use carrack_diag::Result;
use carrack_oci::{Descriptor, Digest, ImageConfig, Index, Reference, media_type};
use carrack_registry::{Client, Document};
use carrack_store::STATEMENT_LIMIT;
use serde_json::{Map, Value, json};

use super::by_digest;
use crate::engine::host_error;

/// Of the children of an index that BuildKit writes: of which other child they speak.
const CHILD_SUBJECT: &str = "vnd.docker.reference.digest";
/// Whatever version of it.
const PROVENANCES: &str = "https://slsa.dev/provenance/";

/// Configuration, bill of materials and provenance of an image, as `Image`, `SBOM` and `Provenance`; of one for several
/// platforms, each by platform.
pub fn inspected(client: &Client, reference: &Reference, document: &Document) -> Result<Value> {
    let mut images: Vec<(String, [Value; 3])> = Vec::new();
    if !media_type::is_index(&document.media_type) {
        images.extend(image(client, reference, document, &[])?);
    } else {
        let index: Index = serde_json::from_slice(&document.bytes)
            .map_err(|error| host_error(format!("can't read the index {}", reference.familiar()), error))?;
        for child in index.manifests.iter().filter(|child| !child.is_attestation()) {
            let said = index.manifests.iter();
            let said: Vec<&Descriptor> = said.filter(|other| speaks_of(other, &child.digest)).collect();
            let document = client.manifest(&by_digest(reference, &child.digest)?)?;
            images.extend(image(client, reference, &document, &said)?);
        }
    }
    let names = ["Image", "SBOM", "Provenance"];
    let mut fields = Map::new();
    for (at, name) in names.into_iter().enumerate() {
        let value = match images.as_slice() {
            [] => Value::Null,
            [(_, values)] => values[at].clone(),
            several => several.iter().map(|(platform, values)| (platform.clone(), values[at].clone())).collect(),
        };
        fields.insert(name.to_owned(), value);
    }
    Ok(Value::Object(fields))
}

fn speaks_of(child: &Descriptor, subject: &Digest) -> bool {
    child.annotations.get(CHILD_SUBJECT).is_some_and(|digest| *digest == subject.to_string())
}

/// None for what is no image.
fn image(
    client: &Client,
    reference: &Reference,
    document: &Document,
    said: &[&Descriptor],
) -> Result<Option<(String, [Value; 3])>> {
    let Some(config) = client.config_of(reference, document)? else { return Ok(None) };
    let unreadable = |error: serde_json::Error| {
        host_error(format!("can't read the configuration of {}", reference.familiar()), error)
    };
    let platform = serde_json::from_slice::<ImageConfig>(&config).map_err(unreadable)?.platform();
    let config: Value = serde_json::from_slice(&config).map_err(unreadable)?;
    let referring = client.referrers(reference, &document.digest, Some(IN_TOTO))?;
    let (mut bills, mut provenance) = (Vec::new(), json!({}));
    for entry in said.iter().copied().chain(&referring) {
        let (_, statements) = client.artifact(reference, entry, STATEMENT_LIMIT)?;
        for (kind, predicate) in statements.iter().filter_map(|(_, bytes)| predicate_of(bytes, &document.digest)) {
            let predicate: Value = serde_json::from_slice(&predicate).map_err(unreadable)?;
            if kind == SBOM {
                bills.push(predicate);
            } else if kind.starts_with(PROVENANCES) {
                provenance = json!({ "SLSA": predicate });
            }
        }
    }
    let mut sbom = json!({});
    let mut bills = bills.into_iter();
    if let Some(first) = bills.next() {
        sbom["SPDX"] = first;
    }
    let more: Vec<Value> = bills.collect();
    if !more.is_empty() {
        sbom["AdditionalSPDXs"] = more.into();
    }
    Ok(Some((platform.to_string(), [config, sbom, provenance])))
}
