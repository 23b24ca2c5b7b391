//! Compose files as a typed [`Project`]: YAML with places, variables, merging, `extends`, `include`, checks, and the
//! canonical rendering.
//!
//! This crate never reads a file, the environment or a clock: texts are handed in, and what else is needed is asked for.

mod build;
pub mod codes;
mod connection;
mod deploy;
pub mod dotenv;
mod interpolate;
mod load;
mod merge;
mod mount;
mod node;
mod parse;
mod port;
/// The types of a loaded project.
pub mod project;
mod read;
pub mod render;
mod schema;
mod service;
mod top;
mod tuning;
pub mod units;
mod validate;
mod words;

/// The environment as a map.
pub type Env = std::collections::BTreeMap<String, String>;

pub use load::{FILE_NAMES, LoadOptions, Loaded, Need, OVERRIDE_FILE_NAMES, load, project_name_of};
pub use project::Project;
pub use words::split as split_words;

#[cfg(test)]
mod tests;
