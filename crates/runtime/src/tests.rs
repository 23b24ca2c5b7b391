//! Containers on the real kernel. Each needs root and prints why it is skipped without.

mod fixture;
mod start;

// The tests' own binary is what init executes.
carrack_sys::run_before_main!(crate::dispatch);
