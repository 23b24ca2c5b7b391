//! What can be said of an image beside it: the packages in it, each with the layer and instruction that brought it, and how
//! it was built.
//!
//! This crate never opens an image: layers are told to it member by member.

mod bill;
mod cyclonedx;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod inventory;
mod packages;
mod provenance;
mod purl;
mod spdx;
mod statement;

pub use bill::{Bill, Listed, Origin, Subject, Unread};
pub use cyclonedx::cyclonedx;
pub use inventory::{Inventory, Kind};
pub use packages::{Ecosystem, Form, OperatingSystem, Package, TEXT_LIMIT};
pub use provenance::{Material, Mode, Provenance, Step, Vcs};
pub use spdx::spdx;
pub use statement::{IN_TOTO, PROVENANCE, SBOM, attestation, predicate_of, statement};

#[cfg(test)]
mod tests;
