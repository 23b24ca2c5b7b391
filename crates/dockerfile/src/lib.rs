//! The Dockerfile language and its ignore files: text becomes a syntax tree whose every word knows its place, words are
//! expanded with variables, and paths are matched as the reference implementation matches them.
//!
//! This crate never reads a file or a variable of the environment: it is handed texts and gives back values and diagnostics.

pub mod ast;
pub mod codes;
mod expand;
mod flags;
mod heredoc;
mod ignore;
mod instruction;
mod json;
mod lines;
mod parser;
mod pattern;
mod port;
mod words;

pub use ast::{Command, Dockerfile, Instruction, Stage};
pub use expand::{ExpandError, Lexer, Variables};
pub use ignore::IgnoreFile;
pub use parser::{parse, parse_trigger};
pub use pattern::{InvalidPattern, has_wildcard, matches as path_matches};
pub use port::{Port, parse as parse_port};

#[cfg(test)]
mod tests;
