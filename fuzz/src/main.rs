//! One program for all targets: `FUZZ_TARGET` says which, so that the product is built and linked once.
#![no_main]

mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
        let found = targets::ALL.iter().find(|(known, _)| *known == name);
        let Some((_, target)) = found else {
            let all: Vec<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
            eprintln!("FUZZ_TARGET is one of: {}", all.join(" "));
            std::process::exit(2);
        };
        *target
    });
    target(data);
});
