//! One program for all targets, which stand in `fuzzing.rs` of each crate: `FUZZ_TARGET` says which, so that everything is
//! built and linked once. Without it, their names.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

type Target = (&'static str, fn(&[u8]));

const ALL: &[&[Target]] = &[
    carrack_attestation::fuzzing::TARGETS,
    carrack_bake::fuzzing::TARGETS,
    carrack_cli::fuzzing::TARGETS,
    carrack_engine::fuzzing::TARGETS,
    carrack_http::fuzzing::TARGETS,
    carrack_llb::fuzzing::TARGETS,
    carrack_oci::fuzzing::TARGETS,
    carrack_registry::fuzzing::TARGETS,
    carrack_runtime::fuzzing::TARGETS,
    carrack_solver::fuzzing::TARGETS,
    carrack_specgen::fuzzing::TARGETS,
    carrack_store::fuzzing::TARGETS,
];

fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let mut all = ALL.iter().copied().flatten();
        match all.clone().find(|(name, _)| *name == wanted) {
            Some((_, target)) => *target,
            None => {
                all.by_ref().for_each(|(name, _)| println!("{name}"));
                std::process::exit(2);
            }
        }
    });
    target(data);
});
