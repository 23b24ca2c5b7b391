//! Runs containers: makes a process out of an init plan, puts it into its control groups, joins programs to it later, and
//! keeps a shim beside it.
//!
//! This crate never decides what a container should be: plans come from `carrack-specgen`, orders from the engine.

pub mod cgroup;
pub mod codes;
pub mod event;
pub mod external;
pub mod foreground;
pub mod host;
pub mod init;
pub mod shim;
pub mod state;
mod time;

#[cfg(test)]
mod tests;

#[cfg(any(test, fuzzing))]
pub use shim::fuzzing;

use std::ffi::{OsStr, OsString};

/// Becomes what argument zero says, where it is one of the private roles of this binary: a container's init or its shim.
///
/// The first call of `main`, before any thread, signal handler or allocation worth mentioning. Returns the words of the
/// command line: this process's own, or those of the command that a shim reports by.
pub fn dispatch() -> Vec<OsString> {
    match std::env::args_os().next().as_deref().and_then(OsStr::to_str) {
        Some(init::ARGV0) => init::main(),
        Some(shim::ARGV0) => shim::main(),
        Some(shim::EVENT_ARGV0) => shim::event_main().into_iter().map(OsString::from).collect(),
        Some(shim::PROBE_ARGV0) => shim::probe_main(),
        Some(foreground::ORPHAN_ARGV0) => foreground::orphan_main(),
        Some(cgroup::systemd::KEEPER_ARGV0) => cgroup::systemd::keeper_main(),
        _ => std::env::args_os().collect(),
    }
}
