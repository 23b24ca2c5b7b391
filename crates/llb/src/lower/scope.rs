//! Variables of a stage.

use std::collections::BTreeSet;

use carrack_diag::Diagnostic;
use carrack_dockerfile::Lexer;
use carrack_dockerfile::ast::Word;

use crate::codes;

/// The proxies that a RUN may use without declaring them.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

pub(super) fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| name == *proxy || name == proxy.to_ascii_lowercase())
}

/// What a build may be given without declaring it.
pub(super) fn is_predefined(name: &str) -> bool {
    is_proxy(name) || name.starts_with("BUILDKIT_") || name == "SOURCE_DATE_EPOCH"
}

/// Variables: the environment of the image and the arguments of the build. Of one name in both, what was set last counts.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    escape: char,
    /// `NAME=VALUE`, in the order in which they were first set.
    pub(super) environment: Vec<(String, String)>,
    /// In the order in which they were first declared.
    pub(super) arguments: Vec<(String, Option<String>)>,
    /// Names of the environment that an argument has been given a value for since.
    hidden: BTreeSet<String>,
}

impl Default for Scope {
    fn default() -> Self {
        Self::new('\\')
    }
}

impl Scope {
    pub(super) fn new(escape: char) -> Self {
        Self { escape, environment: Vec::new(), arguments: Vec::new(), hidden: BTreeSet::new() }
    }

    /// Declares an argument. Without a value it keeps the one that it has.
    pub(super) fn define(&mut self, name: &str, value: Option<String>) {
        if value.is_some() && self.environment.iter().any(|(other, _)| other == name) {
            self.hidden.insert(name.to_owned());
        }
        match self.arguments.iter_mut().find(|(other, _)| other == name) {
            Some((_, old)) => *old = value.or(old.take()),
            None => self.arguments.push((name.to_owned(), value)),
        }
    }

    /// Sets a variable of the environment.
    pub(super) fn set(&mut self, name: String, value: String) {
        self.hidden.remove(&name);
        match self.environment.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = value,
            None => self.environment.push((name, value)),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.arguments.iter().any(|(other, _)| other == name)
    }

    pub(super) fn argument(&self, name: &str) -> Option<String> {
        self.arguments.iter().find(|(other, _)| other == name).and_then(|(_, value)| value.clone())
    }

    /// Whether the environment's value of a name is the one that counts.
    pub(super) fn is_environment(&self, name: &str) -> bool {
        !self.hidden.contains(name) && self.environment.iter().any(|(other, _)| other == name)
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        if !self.is_environment(name) {
            return self.argument(name);
        }
        self.environment.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone())
    }

    /// The declared names that have a value, with the one that counts.
    pub(super) fn declared_arguments(&self) -> Vec<(String, String)> {
        self.arguments.iter().filter_map(|(name, _)| Some((name.clone(), self.get(name)?))).collect()
    }

    /// A word, expanded; none and a diagnostic where it can't be.
    pub(super) fn word(&self, word: &Word, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
        let lookup = |name: &str| self.get(name);
        report(Lexer::new(self.escape).word(&word.value, &lookup), word, diagnostics)
    }

    /// A word, expanded and split at blanks.
    pub(super) fn words(&self, word: &Word, diagnostics: &mut Vec<Diagnostic>) -> Option<Vec<String>> {
        let lookup = |name: &str| self.get(name);
        report(Lexer::new(self.escape).words(&word.value, &lookup), word, diagnostics)
    }

    /// The content of a here-document, in which quotes are text.
    pub(super) fn heredoc(&self, word: &Word, text: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
        let lookup = |name: &str| self.get(name);
        let lexer = Lexer { keep_quotes: true, ..Lexer::new(self.escape) };
        report(lexer.word(text, &lookup), word, diagnostics)
    }
}

fn report<T>(
    result: Result<T, carrack_dockerfile::ExpandError>,
    word: &Word,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<T> {
    result
        .map_err(|error| {
            diagnostics.push(
                Diagnostic::error(&codes::INVALID_VARIABLE, "a word cannot be expanded")
                    .at(word.span, error.to_string())
                    .hint("close the quote or brace, escape a literal `$`, or pass the variable with --build-arg"),
            );
        })
        .ok()
}
