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

/// A document of YAML, or of JSON, as plain values: null where the text is empty.
///
/// # Errors
/// The first that is wrong with the text.
pub fn yaml(path: &str, text: &str) -> carrack_diag::Result<serde_json::Value> {
    let (mut sources, mut diagnostics) = (carrack_diag::SourceMap::default(), Vec::new());
    let documents = parse::documents(sources.add(path, text), text, &mut diagnostics);
    match diagnostics.into_iter().next() {
        Some(wrong) => Err(wrong.boxed()),
        None => Ok(documents.first().map_or(serde_json::Value::Null, node::Node::to_json)),
    }
}

pub use load::{FILE_NAMES, LoadOptions, Loaded, Need, OVERRIDE_FILE_NAMES, load, project_name_of};
pub use project::Project;
pub use words::split as split_words;

#[cfg(test)]
mod tests;
