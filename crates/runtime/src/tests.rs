//! Containers on the real kernel. Each test needs root and says why it is skipped without.

mod attacks;
mod escapes;
mod exec;
mod faults;
mod fixture;
mod limits;
mod oracle;
mod start;

// The tests' own binary is what init executes.
carrack_sys::run_before_main!(become_role);

fn become_role() {
    crate::shim::confined_main();
    crate::dispatch();
}
