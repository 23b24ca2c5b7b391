//! Targets of `fuzz/`: logs that are read, specifications of devices.

use crate::container;

/// The name of its seeds, and what is fed with them.
pub type Target = (&'static str, fn(&[u8]));

/// What `fuzz/` and a test feed.
pub const TARGETS: &[Target] = &[("cdi", container::fuzz_cdi), ("log-reader", container::fuzz_logs)];

#[cfg(test)]
#[test]
fn no_input_breaks_what_reads_it() {
    carrack_testkit::fuzz::check(TARGETS);
}
