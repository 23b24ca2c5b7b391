use std::sync::Arc;

use carrack_oci::Digest;
use serde::Serialize;

use crate::packages::{OperatingSystem, Package};

/// A layer and what made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// Of the layer's uncompressed tar.
    pub layer: Digest,
    /// As the image's history tells it, cut where it is long; empty where it does not.
    pub instruction: String,
}

/// A package of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// What it is.
    #[serde(flatten)]
    pub package: Package,
    /// Its URL, which other tools know it by.
    pub purl: String,
    /// Files that say that it is there.
    pub locations: Vec<String>,
    /// What brought it.
    #[serde(flatten)]
    pub origin: Arc<Origin>,
    /// Of what was copied from another stage, what brought it there, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Arc<Origin>>,
}

/// A file that could not be understood, so that what it knows is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// In the image.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// The packages of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Bill {
    /// What it is made of.
    #[serde(rename = "os")]
    pub system: Option<OperatingSystem>,
    /// By ecosystem, name and version.
    pub packages: Vec<Listed>,
    /// What is missing.
    pub unread: Vec<Unread>,
}

/// What a document speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The image's name.
    pub name: String,
    /// Its id: the digest of its configuration, which registries do not change.
    pub id: Digest,
    /// RFC 3339, UTC, whole seconds. Documents carry the image's own time, so that the same image has the same document.
    pub created: String,
}
