//! Targets of `fuzz/`: Dockerfiles, ignore files, addresses.

use carrack_diag::{Diagnostic, SourceMap};
use carrack_dockerfile::IgnoreFile;
use carrack_oci::Platform;

use crate::{LowerOptions, lower};

/// The name of its seeds, and what is fed with them.
pub type Target = (&'static str, fn(&[u8]));

/// What `fuzz/` and a test feed.
pub const TARGETS: &[Target] = &[("dockerfile", dockerfile), ("git", git), ("ignore", ignore)];

/// Every message must be showable over its source.
fn show(sources: &SourceMap, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let _ = carrack_diag::text(diagnostic, sources, carrack_diag::Rendering::default());
        let _ = carrack_diag::json(diagnostic, sources);
    }
}

fn dockerfile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut sources = SourceMap::new();
    let file = sources.add("Dockerfile", text);
    let (dockerfile, diagnostics) = carrack_dockerfile::parse(file, sources.get(file));
    show(&sources, &diagnostics);
    let options = LowerOptions::new("linux/amd64".parse::<Platform>().expect("a platform"));
    if let Err(diagnostics) = lower(&dockerfile, &options) {
        assert!(!diagnostics.is_empty(), "refused without a word");
        show(&sources, &diagnostics);
    }
}

/// What is left out as a whole has nothing in it that is not.
fn ignore(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (patterns, path) = text.split_once('\0').unwrap_or((text, "a/b.c"));
    let mut sources = SourceMap::new();
    let file = sources.add(".dockerignore", patterns);
    let (ignore, diagnostics) = IgnoreFile::parse(file, sources.get(file));
    show(&sources, &diagnostics);
    if ignore.is_ignored(path) && !ignore.has_exceptions_below(path) && !path.ends_with('/') && !path.is_empty() {
        let below = format!("{path}/x");
        assert!(ignore.is_ignored(&below), "{below:?} is not ignored");
    }
}

/// Addresses of repositories and files, modes of files.
fn git(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ =
        (crate::GitAddress::parse(text), crate::graph::HttpAddress::parse(text, None), crate::FileMode::parse(text));
}

#[cfg(test)]
#[test]
fn no_input_breaks_what_reads_it() {
    carrack_testkit::fuzz::check(TARGETS);
}
