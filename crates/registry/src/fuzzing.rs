//! Targets of `fuzz/`: what registries say, and files of settings.

use crate::{auth, credentials, settings};

/// The name of its seeds, and what is fed with them.
pub type Target = (&'static str, fn(&[u8]));

/// What `fuzz/` and a test feed.
pub const TARGETS: &[Target] =
    &[("challenge", auth::fuzz), ("credentials", credentials::fuzz), ("registries", settings::fuzz)];

#[cfg(test)]
#[test]
fn no_input_breaks_what_reads_it() {
    carrack_testkit::fuzz::check(TARGETS);
}
