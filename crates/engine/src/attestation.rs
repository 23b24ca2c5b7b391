//! What is said of images: the packages in them, how they were built.

use carrack_attestation::{Bill, PROVENANCE, SBOM, Subject, cyclonedx, spdx};
use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Digest, Platform};
use carrack_store::{Image, Predicate};
use serde::Serialize;
use serde_json::Value;

use crate::engine::{Engine, host_error};

/// The packages of an image.
#[derive(Debug, Clone)]
pub struct Sbom {
    bill: Bill,
    subject: Subject,
}

impl Engine {
    /// The packages of an image, each with the layer and instruction that brought it; of one for several platforms, of this
    /// machine's where none is named. Reads all its layers; changes nothing (I-5).
    pub fn sbom(&self, name: &str, platform: Option<&Platform>) -> Result<Sbom> {
        let image = self.image_for(name, platform)?;
        let bill = carrack_solver::bill(&self.store, &image.layers, &image.config.history)?;
        Ok(Sbom { bill, subject: carrack_solver::subject(&image) })
    }

    /// What a name stands for on a platform; without one, on this machine.
    ///
    /// # Errors
    /// `registry/no-such-platform`, `store/image-not-found`.
    pub fn image_for(&self, name: &str, platform: Option<&Platform>) -> Result<Image> {
        let image = self.store.image(name)?;
        let Some(platform) = platform.filter(|platform| !image.config.platform().matches(platform)) else {
            return Ok(image);
        };
        let index = name.parse().ok().map(|name| self.store.index_of(&name)).transpose()?.flatten();
        let images = index.map_or_else(|| vec![image], |index| index.images);
        let known: Vec<String> = images.iter().map(|image| image.config.platform().to_string()).collect();
        let found = images.into_iter().find(|image| image.config.platform().matches(platform));
        found.ok_or_else(|| {
            let message = format!("{name} is not here for {platform}");
            Diagnostic::error(&carrack_registry::codes::NO_PLATFORM, message)
                .cause(format!("it is here for {}", known.join(", ")))
                .hint("name one of them, or pull or build it for that platform")
                .boxed()
        })
    }
}

/// What is said of an image beside it.
#[derive(Debug, Clone, Serialize)]
pub struct AttestationView {
    /// `sbom`, `provenance`, or the predicate's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// The predicate's type: a URI.
    pub predicate_type: String,
    /// Of the predicate.
    pub digest: Digest,
    /// Of the predicate, in bytes.
    pub size_bytes: u64,
    /// The manifest in this store that it speaks of.
    pub subject: Digest,
}

/// The types that have names.
const KINDS: [(&str, &str); 2] = [("sbom", SBOM), ("provenance", PROVENANCE)];

impl Engine {
    /// What is said of an image of this store; of one for several platforms, of this machine's where none is named.
    pub fn attestations(&self, name: &str, platform: Option<&Platform>) -> Result<Vec<AttestationView>> {
        let image = self.image_for(name, platform)?;
        let view = |predicate: &Predicate| {
            let known = KINDS.iter().find(|(_, uri)| *uri == predicate.kind);
            AttestationView {
                kind: known.map_or(predicate.kind.as_str(), |(kind, _)| kind).to_owned(),
                predicate_type: predicate.kind.clone(),
                digest: predicate.content.digest,
                size_bytes: predicate.content.size,
                subject: image.manifest.digest,
            }
        };
        Ok(image.predicates.iter().map(view).collect())
    }

    /// A statement about an image: in-toto's, as it goes to registries. None where nothing of this type is said.
    pub fn attestation(&self, name: &str, platform: Option<&Platform>, kind: &str) -> Result<Option<Value>> {
        let image = self.image_for(name, platform)?;
        let uri = KINDS.iter().find(|(known, _)| *known == kind).map_or(kind, |(_, uri)| uri);
        let Some(predicate) = image.predicates.iter().find(|predicate| predicate.kind == uri) else { return Ok(None) };
        let artifact = carrack_solver::attestation(&self.store, predicate, &image.manifest, &image.names)?;
        let statement = artifact.blobs.first().map(|blob| serde_json::from_slice(&blob.bytes));
        statement.transpose().map_err(|error| host_error(format!("can't read what is said of {name}"), error))
    }
}

impl Sbom {
    /// What was found.
    pub fn bill(&self) -> &Bill {
        &self.bill
    }

    /// The image's id.
    pub fn image(&self) -> Digest {
        self.subject.id
    }

    /// As an SPDX 2.3 document.
    pub fn spdx(&self) -> Value {
        spdx(&self.bill, &self.subject)
    }

    /// As a CycloneDX 1.6 document.
    pub fn cyclonedx(&self) -> Value {
        cyclonedx(&self.bill, &self.subject)
    }

    /// What is missing, and why.
    pub fn warnings(&self) -> Vec<Diagnostic> {
        self.bill.unread.iter().map(carrack_solver::incomplete).collect()
    }
}
