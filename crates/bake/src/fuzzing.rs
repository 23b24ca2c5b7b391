//! Targets of `fuzz/`: bake files, Compose files, files of variables.

use std::collections::BTreeMap;

use carrack_compose::{Env, LoadOptions, Loaded, dotenv, render};
use carrack_diag::{Diagnostic, SourceMap};

use crate::{Bake, Format, NOW, parse};

/// The name of its seeds, and what is fed with them.
pub type Target = (&'static str, fn(&[u8]));

/// What `fuzz/` and a test feed.
pub const TARGETS: &[Target] = &[
    ("bake", |data| bake(data, Format::Hcl)),
    ("bake-json", |data| bake(data, Format::Json)),
    ("compose", compose),
    ("dotenv", variables),
];

/// Every message must be showable over its source.
fn show(sources: &SourceMap, diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        let _ = carrack_diag::text(diagnostic, sources, carrack_diag::Rendering::default());
        let _ = carrack_diag::json(diagnostic, sources);
    }
}

/// Loaded, with whatever it asks for being the same text again, or not there.
fn load(text: &str) -> Option<Box<carrack_compose::Project>> {
    let mut sources = SourceMap::new();
    let file = sources.add("/p/compose.yaml", text);
    let mut options = LoadOptions { files: vec![file], project_directory: "/p".into(), ..LoadOptions::default() };
    for _ in 0..3 {
        match carrack_compose::load(&sources, &Env::new(), &options) {
            Loaded::Needs(needs) => {
                for (number, need) in needs.into_iter().enumerate() {
                    options.read.insert(need.path, (number % 2 == 0).then_some(file));
                }
            }
            Loaded::Done { project, diagnostics, .. } => {
                show(&sources, &diagnostics);
                return project;
            }
        }
    }
    None
}

/// A project that is shown is the same project.
fn compose(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(project) = load(text) {
        let shown = render::yaml(&project);
        let again = load(&shown).expect("what was shown is a project");
        assert_eq!(render::yaml(&again), shown);
    }
}

fn variables(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut sources = SourceMap::new();
    let file = sources.add(".env", text);
    let known: BTreeMap<&str, &str> = BTreeMap::from([("A", "1"), ("B", "")]);
    let lookup = |name: &str| known.get(name).map(|value| (*value).to_owned());
    for read in [dotenv::parse(file, text, &lookup, &lookup), dotenv::parse_raw(file, text)] {
        if let Err(error) = read {
            show(&sources, &[*error]);
        }
    }
}

fn bake(data: &[u8], format: Format) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut sources = SourceMap::new();
    let file = sources.add("docker-bake", text);
    let environment = |name: &str| match name {
        NOW => Some("2026-01-02T03:04:05Z".to_owned()),
        "TAG" => Some("v1".to_owned()),
        _ => None,
    };
    let resolved = parse(file, sources.get(file), format).and_then(|parsed| {
        let mut bake = Bake::default();
        bake.add(parsed);
        let _ = bake.variables(&environment);
        bake.targets(&environment)?;
        bake.resolve(&[], &[], &environment)
    });
    if let Err(error) = resolved {
        show(&sources, &[*error]);
    }
}

#[cfg(test)]
#[test]
fn no_input_breaks_what_reads_it() {
    carrack_testkit::fuzz::check(TARGETS);
}
