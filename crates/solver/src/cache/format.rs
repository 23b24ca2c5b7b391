//! A cache as it is handed on: BuildKit's cache manifest (`cache/remotecache/v1/spec.go`), a configuration of the type
//! `application/vnd.buildkit.cacheconfig.v0`.
//!
//! Layers and records are BuildKit's. The keys are ours, and so is what stands under `carrack`, which BuildKit passes over:
//! it finds nothing in such a cache, and we find nothing in its.

use carrack_oci::Digest;
use serde::{Deserialize, Serialize};

/// The configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CacheConfig {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) layers: Vec<CacheLayer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) records: Vec<Record>,
}

/// A layer above another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CacheLayer {
    /// Of the blob, one of the manifest's.
    pub(crate) blob: String,
    /// Index of the layer below; −1 is none.
    #[serde(default)]
    pub(crate) parent: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) annotations: Option<Annotations>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Annotations {
    #[serde(rename = "mediaType")]
    pub(crate) media_type: String,
    #[serde(rename = "diffID")]
    pub(crate) diff_id: String,
    pub(crate) size: u64,
    #[serde(rename = "createdAt", skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
}

/// A key and what was made under it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The key.
    pub(crate) digest: String,
    /// The layers of the result, where the cache has them.
    #[serde(default, rename = "layers", skip_serializing_if = "Vec::is_empty")]
    pub(crate) results: Vec<CacheResult>,
    #[serde(default, rename = "carrack", skip_serializing_if = "Option::is_none")]
    pub(crate) step: Option<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CacheResult {
    /// Index of the topmost layer.
    pub(crate) layer: usize,
    #[serde(default, rename = "createdAt", skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<String>,
}

/// What a step came to. That is enough for the keys of those that build on it, also where the layer itself is not in the
/// cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// The chain of layers that it was done on; none is no layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) base: Option<Digest>,
    /// The layer that it made; none where it changed nothing.
    #[serde(default, rename = "diffID", skip_serializing_if = "Option::is_none")]
    pub(crate) diff_id: Option<Digest>,
    /// RFC 3339.
    pub(crate) created: String,
}
