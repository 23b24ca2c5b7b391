//! Targets of `fuzz/`: what images say of the packages that they have.

use std::io::Cursor;

use crate::packages::{self, Form};

/// The name of its seeds, and what is fed with them.
pub type Target = (&'static str, fn(&[u8]));

/// What `fuzz/` and a test feed.
pub const TARGETS: &[Target] = &[("elf", elf), ("packages", lists)];

/// A program, which may hold the list of what it was built from.
fn elf(data: &[u8]) {
    let _ = packages::read(Form::Program, &mut Cursor::new(data));
}

/// One file as each form of list.
fn lists(data: &[u8]) {
    for form in [
        Form::DpkgStatus,
        Form::DpkgPart,
        Form::ApkInstalled,
        Form::PythonMetadata,
        Form::NodePackage,
        Form::NodeLock,
        Form::YarnLock,
        Form::PnpmLock,
        Form::CargoLock,
        Form::OsRelease,
    ] {
        let _ = packages::read(form, &mut Cursor::new(data));
    }
}

#[cfg(test)]
#[test]
fn no_input_breaks_what_reads_it() {
    carrack_testkit::fuzz::check(TARGETS);
}
