//! What can go wrong, said so that a person can act on it: source files and spans, diagnostics with
//! stable codes, and their rendering as text and as JSON.
//!
//! This crate never reads a file, the environment or a clock: it is handed texts and gives back texts.

mod code;
mod diagnostic;
mod render;
mod source;
mod suggest;

pub use code::Code;
pub use diagnostic::{Diagnostic, Diagnostics, Label, Result, Severity};
pub use render::{Rendering, json, text};
pub use source::{FileId, Position, SourceFile, SourceMap, Span, Spanned};
pub use suggest::nearest;

#[cfg(test)]
mod tests;
