//! What is said of images: the packages in them, how they were built.

use carrack_attestation::{Bill, Subject, cyclonedx, spdx};
use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use serde_json::Value;

use crate::codes;
use crate::engine::Engine;

/// The packages of an image.
#[derive(Debug, Clone)]
pub struct Sbom {
    bill: Bill,
    subject: Subject,
}

impl Engine {
    /// The packages of an image, each with the layer and instruction that brought it. Reads all its layers; changes nothing
    /// (I-5).
    pub fn sbom(&self, name: &str) -> Result<Sbom> {
        let image = self.store.image(name)?;
        let bill = carrack_solver::bill(&self.store, &image.layers, &image.config.history)?;
        Ok(Sbom { bill, subject: carrack_solver::subject(&image) })
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
        incomplete(&self.bill)
    }
}

fn incomplete(bill: &Bill) -> Vec<Diagnostic> {
    let warning = |unread: &carrack_attestation::Unread| {
        let message = format!("the packages that /{} knows are not listed", unread.path);
        Diagnostic::warning(&codes::SBOM_INCOMPLETE, message).cause(unread.reason.clone())
    };
    bill.unread.iter().map(warning).collect()
}
