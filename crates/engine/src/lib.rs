//! The façade of carrack: it observes the machine, executes plans on it, keeps the releases.
//!
//! This crate never prints, never reads the command line or the caller's environment, and never decides what a plan should
//! hold: that is `carrack-plan`'s.

mod active;
pub mod apply;
mod attestation;
mod boot;
pub mod boot_service;
pub mod bootstrap;
pub mod build;
mod build_cache;
pub mod codes;
pub mod confinement;
mod container;
pub mod docker;
pub mod doctor;
mod engine;
mod events;
pub mod fault;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod git_tags;
mod image;
mod info;
pub mod interrupt;
pub mod journal;
mod leaks;
mod network;
mod prune;
pub mod registry;
mod signal;
mod stack;
mod usage;
mod volume;

#[cfg(test)]
mod tests;

pub use attestation::{AttestationView, Sbom};
pub use bootstrap::BootstrapRequest;
pub use carrack_network::Subnet;
pub use carrack_runtime::event::Event;
pub use carrack_store::{LayerForm, Roots};
pub use container::{
    AttachOptions, AttachOutcome, CommitRequest, ContainerRecord, ContainerView, CopyOptions, ExecOptions, LogLine,
    LogOptions, ProcessView, PublishedPort, Reach, RemoveOptions, RunFailure, Started, StopOptions, UpdateRequest,
    Usage, VolumeUse,
};
pub use engine::Engine;
pub use events::EventSpan;
pub use image::{
    Change, FileDiff, ImageDiff, ImageFamily, ImageTree, ImageView, LayerTree, TreeEntry, Waste, config_of,
};
pub use leaks::Leak;
pub use network::NetworkView;
pub use prune::{LabelFilter, PruneFilter, Removed, until_of_volumes};
pub use stack::{Applied, Forecast, ServiceStatus, StackStatus, UpOptions, docker_holds};
pub use usage::{ContainerUsage, DiskUsage, ImageUsage, VolumeUsage};
pub use volume::VolumeView;
