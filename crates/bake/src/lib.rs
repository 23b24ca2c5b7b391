//! Bake files: `docker-bake.hcl`, `.json` and Compose files as targets of a build, with variables, inheritance and groups.
//!
//! This crate never reads a file or a variable of the environment: texts are handed in, and so is what is asked of the
//! environment. What it gives is the flags of each build.

pub mod codes;
mod expression;
mod file;
mod functions;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod matrix;
mod overrides;
mod project;
mod resolve;
mod scope;
mod target;
mod template;
mod types;
mod value;

pub use file::{File, Format, parse};
pub use overrides::Override;
pub use resolve::{Bake, Listed, Plan};
pub use target::Target;

/// What files are taken where none is named, in the order of merging; the first Compose file only.
pub const FILE_NAMES: [&str; 4] =
    ["docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl"];

/// What the environment is asked for the time by, which no variable is called: RFC 3339, UTC, whole seconds.
pub const NOW: &str = "timestamp()";

#[cfg(test)]
mod tests;
