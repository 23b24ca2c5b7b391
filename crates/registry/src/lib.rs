//! The client of image registries (OCI distribution specification 1.1): manifests and blobs into the store and out of it,
//! with authorisation, mirrors, repetitions and resumption; credentials as Docker keeps them.
//!
//! This crate never unpacks a layer and never reads the command line.

mod arriving;
mod auth;
mod base64;
mod client;
pub mod codes;
mod copy;
mod credentials;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod http;
mod pull;
mod push;
mod referrers;
mod settings;
mod transfer;

pub use arriving::Arriving;
pub use carrack_http::Proxies;
pub use carrack_oci::{Artifact, ArtifactBlob};
pub use client::{Client, Document};
pub use credentials::{Credential, CredentialFile};
pub use pull::{Resolved, images_of};
pub use push::{Destination, PushBlob};
pub use referrers::Contents;
pub use settings::{RegistrySettings, Settings};
pub use transfer::{Event, Ignore, Transfer, Watch};

#[cfg(test)]
mod tests;
