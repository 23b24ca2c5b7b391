//! The whole container workflow in one binary. What it does is in `carrack-cli`; here is only the switch between the
//! command line and the roles that the binary plays beside it: a container's init, its shim.
//!
//! This crate never does anything else.

use std::process::ExitCode;

fn main() -> ExitCode {
    carrack_cli::main(carrack_runtime::dispatch())
}
