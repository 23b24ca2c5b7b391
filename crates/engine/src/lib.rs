//! The façade of carrack: it observes the machine, executes plans on it, keeps the releases.
//!
//! This crate never prints, never reads the command line or the caller's environment, and never decides what a plan should
//! hold: that is `carrack-plan`'s.

pub mod apply;
pub mod codes;
pub mod docker;
pub mod fault;
pub mod journal;

#[cfg(test)]
mod tests;
