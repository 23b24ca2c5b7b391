//! The OCI and Docker vocabulary as types: digests, references, descriptors, manifests, image configurations,
//! the runtime configuration.
//!
//! This crate never fetches, stores or interprets: a type here is what a specification says and no more.

mod artifact;
pub mod codes;
mod device_name;
mod digest;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod image;
pub mod media_type;
mod platform;
pub mod probe;
mod reference;
pub mod runtime;

pub use artifact::{Artifact, ArtifactBlob};
pub use device_name::is_device_name;
pub use digest::{Digest, Hasher};
pub use image::{Config, Descriptor, Empty, Healthcheck, History, ImageConfig, Index, Manifest, RootFs, chain_ids};
pub use platform::Platform;
pub use reference::Reference;

#[cfg(test)]
mod tests;
