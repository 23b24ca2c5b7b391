mod diagnostics;
mod files;
mod merging;
mod random;
mod syntax;
mod values;

use carrack_diag::{Diagnostic, SourceMap};

use crate::{Env, LoadOptions, Loaded, Project, load};

/// A project in /srv/shop out of texts.
#[derive(Default)]
struct Fixture<'a> {
    /// Compose files, the base first.
    files: &'a [(&'a str, &'a str)],
    /// What else is there, by absolute path.
    others: &'a [(&'a str, &'a str)],
    env: &'a [(&'a str, &'a str)],
    profiles: &'a [&'a str],
    services: &'a [&'a str],
}

struct Outcome {
    project: Option<Box<Project>>,
    environment: Env,
    diagnostics: Vec<Diagnostic>,
    sources: SourceMap,
}

impl Fixture<'_> {
    /// Loads as a caller does: reads what is needed, and calls again.
    fn load(&self) -> Outcome {
        let mut sources = SourceMap::new();
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let mut options = LoadOptions {
            files: self.files.iter().map(|(path, text)| sources.add(*path, *text)).collect(),
            project_directory: "/srv/shop".into(),
            profiles: owned(self.profiles),
            services: owned(self.services),
            ..LoadOptions::default()
        };
        let env: Env = self.env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        loop {
            match load(&sources, &env, &options) {
                Loaded::Done { project, environment, diagnostics } => {
                    return Outcome { project, environment, diagnostics, sources };
                }
                Loaded::Needs(needs) => {
                    assert!(needs.iter().all(|need| !options.read.contains_key(&need.path)), "asked for again");
                    for need in needs {
                        let found = self.others.iter().find(|(path, _)| *path == need.path);
                        let file = found.map(|(path, text)| sources.add(*path, *text));
                        options.read.insert(need.path, file);
                    }
                }
            }
        }
    }

    /// The project, which must have no errors.
    fn project(&self) -> Project {
        let outcome = self.load();
        match outcome.project {
            Some(project) => *project,
            None => panic!("{}", outcome.said()),
        }
    }
}

impl Outcome {
    /// One line a diagnostic: `severity code path:line:column: message (hints)`.
    fn said(&self) -> String {
        let line = |diagnostic: &Diagnostic| {
            let place = diagnostic.labels.first().map_or("-".to_owned(), |label| {
                let at = self.sources.position(label.span);
                format!("{}:{}:{}", at.path, at.line, at.column)
            });
            let severity = format!("{:?}", diagnostic.severity).to_lowercase();
            let hints = match diagnostic.hints.join("; ") {
                hints if hints.is_empty() => hints,
                hints => format!(" ({hints})"),
            };
            format!("{severity} {} {place}: {}{hints}", diagnostic.code.id, diagnostic.message)
        };
        self.diagnostics.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// What is said of one file `compose.yaml`.
fn said(text: &str) -> String {
    Fixture { files: &[("compose.yaml", text)], ..Fixture::default() }.load().said()
}

/// The project of one file without errors.
fn project(text: &str) -> Project {
    Fixture { files: &[("compose.yaml", text)], ..Fixture::default() }.project()
}

/// The canonical form of base and overrides.
fn merged(files: &[(&str, &str)]) -> String {
    crate::render::yaml(&Fixture { files, ..Fixture::default() }.project())
}

#[test]
fn every_code_has_an_entry() {
    let mut ids = Vec::new();
    for code in crate::codes::ALL {
        assert!(code.id.starts_with("compose/") && !ids.contains(&code.id), "{}", code.id);
        assert!([code.title, code.cause, code.check, code.fix].iter().all(|text| !text.is_empty()));
        ids.push(code.id);
    }
}
