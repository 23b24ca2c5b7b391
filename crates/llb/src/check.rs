//! Build checks: what is allowed and probably not meant, under the names of the Dockerfile reference.

mod rules;
mod variables;

pub use rules::is_secret_name;

use std::collections::BTreeSet;

use carrack_diag::{Code, Diagnostic, SourceFile, Span};
use carrack_dockerfile::IgnoreFile;
use carrack_dockerfile::ast::Dockerfile;

use crate::LowerOptions;

/// The build argument that stands for the directive, and is taken before it.
const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What checks are made of.
pub struct CheckInput<'a> {
    /// The file, parsed without errors.
    pub dockerfile: &'a Dockerfile,
    /// Its text.
    pub source: &'a SourceFile,
    /// As it would be lowered. A stage whose base image is not among the images is not asked for its variables.
    pub options: &'a LowerOptions,
    /// What is left out of the context.
    pub ignore: Option<&'a IgnoreFile>,
}

/// What the checks find, by place. Errors instead of warnings where the file says `# check=error=true`.
pub fn check(input: &CheckInput<'_>) -> Vec<Diagnostic> {
    let wanted = Wanted::read(input);
    let mut findings = Findings { wanted, diagnostics: Vec::new() };
    rules::all(input, &mut findings);
    variables::all(input, &mut findings);
    let mut diagnostics = findings.diagnostics;
    diagnostics.sort_by_key(|diagnostic| diagnostic.labels.first().map(|label| (label.span.start, label.span.end)));
    diagnostics.dedup();
    diagnostics
}

/// What `# check=skip=A,B;error=true;experimental=C` asks for.
#[derive(Default)]
struct Wanted {
    skips_all: bool,
    skipped: BTreeSet<String>,
    is_error: bool,
    experiments_all: bool,
    experiments: BTreeSet<String>,
}

impl Wanted {
    fn read(input: &CheckInput<'_>) -> Self {
        let given = input.options.build_args.get(ARGUMENT).map(String::as_str);
        let written = input.dockerfile.directives.check.as_ref().map(|word| word.value.as_str());
        let mut wanted = Self::default();
        for part in given.or(written).unwrap_or_default().split(';') {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let names = || value.split(',').map(|name| name.trim().to_owned());
            match key.trim() {
                "skip" => {
                    wanted.skips_all = names().any(|name| name == "all");
                    wanted.skipped = names().collect();
                }
                "error" => wanted.is_error = matches!(value.trim(), "true" | "1"),
                "experimental" => {
                    wanted.experiments_all = names().any(|name| name == "all");
                    wanted.experiments = names().collect();
                }
                _ => {}
            }
        }
        wanted
    }
}

/// Findings as they come.
struct Findings {
    wanted: Wanted,
    diagnostics: Vec<Diagnostic>,
}

impl Findings {
    fn add(&mut self, code: &'static Code, span: Span, message: String) {
        let name = name(code);
        let is_skipped = self.wanted.skips_all || self.wanted.skipped.contains(name);
        let is_experiment = code == &crate::codes::INVALID_DEFINITION_DESCRIPTION;
        let is_tried = self.wanted.experiments_all || self.wanted.experiments.contains(name);
        if is_skipped || is_experiment && !is_tried {
            return;
        }
        let message = format!("{name}: {message}");
        let diagnostic = match self.wanted.is_error {
            true => Diagnostic::error(code, message),
            false => Diagnostic::warning(code, message),
        };
        self.diagnostics.push(diagnostic.at(span, "").hint(format!("{}, or `# check=skip={name}`", code.fix)));
    }
}

/// A check's name in the reference.
fn name(code: &Code) -> &'static str {
    code.id.rsplit('/').next().unwrap_or(code.id)
}

/// Whether a diagnostic is a check's finding.
pub fn is_finding(diagnostic: &Diagnostic) -> bool {
    diagnostic.code.id.starts_with("check/")
}
