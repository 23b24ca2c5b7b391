use crate::{Code, Span};

/// How grave a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The command can't do what was asked.
    Error,
    /// It can, and somebody will regret it.
    Warning,
    /// Worth knowing.
    Note,
}

/// A place in a source text and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The underlined text.
    pub span: Span,
    /// What stands beside the underline; may be empty.
    pub text: String,
}

/// One thing that went wrong: what was attempted, where, why, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its class, with the entry that `carrack explain` prints.
    pub code: &'static Code,
    /// How grave it is.
    pub severity: Severity,
    /// What was attempted and failed, in one line without a full stop.
    pub message: String,
    /// Where. The first is the primary one.
    pub labels: Vec<Label>,
    /// Why, the nearest cause first.
    pub causes: Vec<String>,
    /// What to do next.
    pub hints: Vec<String>,
}

/// Several diagnostics of one command.
pub type Diagnostics = Vec<Diagnostic>;

/// The result of anything that can fail in a way people should read about.
pub type Result<T, E = Box<Diagnostic>> = std::result::Result<T, E>;

impl Diagnostic {
    /// An error of class `code`.
    pub fn error(code: &'static Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message.into())
    }

    /// A warning of class `code`.
    pub fn warning(code: &'static Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message.into())
    }

    /// A note of class `code`.
    pub fn note(code: &'static Code, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Note, message.into())
    }

    fn new(code: &'static Code, severity: Severity, message: String) -> Self {
        Self { code, severity, message, labels: Vec::new(), causes: Vec::new(), hints: Vec::new() }
    }

    /// Adds a place.
    #[must_use]
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds a reason, farther away than the ones before.
    #[must_use]
    pub fn cause(mut self, text: impl Into<String>) -> Self {
        self.causes.push(text.into());
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hints.push(text.into());
        self
    }

    /// Ready for `return Err(…)`.
    pub fn boxed(self) -> Box<Self> {
        Box::new(self)
    }

    /// Whether the command has to fail for it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The message and its causes in one line, for logs. People get [`crate::text`].
impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
