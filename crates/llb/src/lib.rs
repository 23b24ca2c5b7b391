//! What a build consists of: a graph of operations with the keys they are cached under, and the way from a Dockerfile to it.
//!
//! This crate never reads a file or asks a registry: what it must know of base images it asks for and is handed in.

mod breakpoint;
mod check;
pub mod codes;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod git;
mod graph;
mod lower;
mod mode;
mod outline;

pub use breakpoint::{Breakpoint, Moment, Place};
pub use check::{CheckInput, check, is_finding, is_secret_name};
pub use git::GitAddress;
pub use graph::{
    Action, CacheMount, CopyAction, Edge, Exec, ExecMount, ExecSettings, FileContent, Graph, HistoryStep, HttpAddress,
    MountKind, Network, Op, Source, Vertex, VertexId, cache_key,
};
pub use lower::{ImageNeed, LowerOptions, Lowered, NamedContext, ResolvedImage, lower};
pub use mode::{Change, FileMode};
pub use outline::{ArgumentOutline, MountOutline, Outline, TargetOutline, outline, targets};

#[cfg(test)]
mod tests;
