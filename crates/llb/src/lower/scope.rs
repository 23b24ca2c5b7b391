//! Variables of a stage.

use carrack_diag::Diagnostic;
use carrack_dockerfile::Lexer;
use carrack_dockerfile::ast::Word;

use crate::codes;

/// The proxies that a RUN may use without declaring them.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

pub(super) fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|proxy| name == *proxy || name == proxy.to_ascii_lowercase())
}

/// Variables, the environment of the image before the arguments of the build.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    escape: char,
    /// `NAME=VALUE`, in the order in which they were first set.
    pub(super) environment: Vec<(String, String)>,
    /// In the order in which they were declared; a later one hides an earlier one.
    pub(super) arguments: Vec<(String, Option<String>)>,
}

impl Default for Scope {
    fn default() -> Self {
        Self::new('\\')
    }
}

impl Scope {
    pub(super) fn new(escape: char) -> Self {
        Self { escape, environment: Vec::new(), arguments: Vec::new() }
    }

    /// Declares an argument.
    pub(super) fn define(&mut self, name: &str, value: Option<String>) {
        self.arguments.retain(|(other, _)| other != name);
        self.arguments.push((name.to_owned(), value));
    }

    /// Sets a variable of the environment.
    pub(super) fn set(&mut self, name: String, value: String) {
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

    pub(super) fn get(&self, name: &str) -> Option<String> {
        let environment = self.environment.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        environment.or_else(|| self.argument(name))
    }

    /// The arguments that have a value and are not hidden by the environment.
    pub(super) fn effective_arguments(&self) -> Vec<(String, String)> {
        let hidden = |name: &str| self.environment.iter().any(|(other, _)| other == name);
        let arguments = self.arguments.iter().filter(|(name, _)| !hidden(name));
        arguments.filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect()
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
