//! Evaluates a build: a graph of operations becomes layers, each taken from the cache where nothing that it depends on has
//! changed, and the layers become an image of the store.
//!
//! This crate never asks a registry and prints nothing: images must be in the store, and whoever calls is told what happens
//! by events.

mod agent;
mod archive;
mod arrived;
mod attest;
mod authorization;
mod build;
mod cache;
pub mod codes;
mod configuration;
mod container;
mod contents;
mod context;
mod copy;
mod draft;
mod exec;
mod explain;
mod export;
mod fetch;
mod flight;
mod foreign;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod git;
mod inventory;
mod mounts;
mod owner;
mod place;
mod plan;
mod predict;
mod private;
mod progress;
mod questions;
mod report;
mod request;
mod schedule;
mod select;
mod solve;
mod stages;
mod tree;
mod usage;
mod vertex;

pub use arrived::{Arrival, ArrivedContext};
pub use attest::{Attestations, ProvenanceRequest, incomplete};
pub use authorization::Secrets;
pub use build::{BuildResult, build, debug};
pub use cache::CacheRecord;
pub use cache::export::{CacheDestination, CacheExport, CacheRegistry};
pub use cache::import::{CacheImport, CacheReader};
pub use cache::shared::SharedCache;
pub use container::{BuildNetwork, Connection, ContainerExecutor, HostNetwork};
pub use context::ContextReport;
pub use exec::{Ended, ExecMountSource, ExecRequest, ExecRequestMount, Executor};
pub use explain::{FileChange, Reason, StepExplanation, StepInputs};
pub use export::{BuildOutput, attestation, export_index};
pub use flight::Together;
pub use inventory::{bill, subject};
pub use mounts::exchange::{MountFate, MountsRequest, MovedMount, export_mounts, import_mounts};
pub use predict::{Prediction, explain, predict};
pub use private::steps;
pub use progress::{Event, Progress, Silent, Stream};
pub use questions::{bases, check, outline, targets};
pub use report::{BuildReport, StepReport};
pub use request::{BuildRequest, DockerfileSource, Images, NamedContext, Services, StoreOnly};
pub use usage::{CacheEntry, CacheKind, PruneRequest, Pruned, cache_usage, prune_cache};

#[cfg(test)]
mod tests;
