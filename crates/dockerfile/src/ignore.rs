//! `.dockerignore`: the patterns and how paths are held against them, exactly as the reference implementation does
//! (order, `!`, `**`, parents).

use carrack_diag::{Diagnostic, FileId, SourceFile, Span};

use crate::codes;
use crate::pattern::{self, InvalidPattern, Token};

/// The patterns of an ignore file, in order: the last one that matches a path or one of its parents decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IgnoreFile {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// Whether it brings back what an earlier one took away.
    exception: bool,
    text: String,
    matcher: Matcher,
}

/// The reference implementation compares without a regular expression where it can, and thereby reads some patterns
/// otherwise than the expression would: `**foo` takes the end of a name, `foo**` its beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Matcher {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Tokens(Vec<Token>),
}

impl IgnoreFile {
    /// Reads the text of an ignore file. A malformed pattern is reported and left out.
    pub fn parse(file: FileId, source: &SourceFile) -> (Self, Vec<Diagnostic>) {
        let mut ignore = Self::default();
        let mut diagnostics = Vec::new();
        let mut start = 0;
        for raw in source.text.split_inclusive('\n') {
            let line = raw.trim_end_matches(['\n', '\r']);
            let line_start = start;
            start += raw.len();
            let line = if line_start == 0 { line.trim_start_matches('\u{feff}') } else { line };
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if ignore.push(line).is_err() {
                let span = Span::new(file, line_start, line_start + raw.trim_end().len());
                diagnostics.push(
                    Diagnostic::error(&codes::INVALID_PATTERN, format!("`{}` is not a pattern", line.trim()))
                        .at(span, "cannot be matched with")
                        .hint("close the bracket, or escape it with a backslash"),
                );
            }
        }
        (ignore, diagnostics)
    }

    /// Patterns from elsewhere, such as `COPY --exclude`.
    pub fn from_patterns<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidPattern> {
        let mut ignore = Self::default();
        for pattern in patterns {
            ignore.push(pattern)?;
        }
        Ok(ignore)
    }

    /// Whether there is nothing to hold paths against.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a folder that is left out must be walked all the same, since an exception may bring back what is in it.
    pub fn has_exceptions_below(&self, folder: &str) -> bool {
        let prefix = format!("{folder}/");
        self.rules.iter().filter(|rule| rule.exception).any(|rule| {
            let literal = rule.text.split(['*', '?', '[', '\\']).next().unwrap_or_default();
            literal.starts_with(&prefix) || prefix.starts_with(literal)
        })
    }

    /// Whether `path` (relative, with slashes, clean) is left out: the last pattern that matches it or a folder it lies in decides.
    ///
    /// The reference walks from the top and hands down which patterns have matched. One that could not have changed what
    /// was decided of a folder is not asked there, and so does not count for what lies in it.
    pub fn is_ignored(&self, path: &str) -> bool {
        let parents = path.match_indices('/').map(|(index, _)| &path[..index]).filter(|parent| !parent.is_empty());
        let mut matched = vec![false; self.rules.len()];
        let mut ignored = false;
        for path in parents.chain([path]) {
            ignored = false;
            for (rule, matched) in self.rules.iter().zip(&mut matched) {
                *matched |= rule.exception == ignored && rule.matcher.matches(path);
                if *matched {
                    ignored = !rule.exception;
                }
            }
        }
        ignored
    }

    fn push(&mut self, line: &str) -> Result<(), InvalidPattern> {
        let line = line.trim();
        let (exception, text) = match line.strip_prefix('!') {
            Some(rest) => (true, rest.trim()),
            None => (false, line),
        };
        if text.is_empty() {
            return if exception { Err(InvalidPattern) } else { Ok(()) };
        }
        let mut text = clean(text);
        if text.len() > 1 && text.starts_with('/') {
            text.remove(0);
        }
        pattern::compile(&text)?;
        let matcher = Matcher::new(&text)?;
        self.rules.push(Rule { exception, text, matcher });
        Ok(())
    }
}

impl Matcher {
    fn new(text: &str) -> Result<Self, InvalidPattern> {
        let mut tokens = Vec::new();
        let mut rest = text.chars().peekable();
        // What the comparison without expression still is, and none once an expression is needed.
        let mut plain = Some(Matcher::Exact(text.to_owned()));
        let mut first = true;
        while let Some(character) = rest.next() {
            match character {
                '*' if rest.next_if_eq(&'*').is_some() => {
                    rest.next_if_eq(&'/');
                    if rest.peek().is_some() {
                        tokens.push(Token::Folders);
                        plain = None;
                    } else if matches!(plain, Some(Matcher::Exact(_))) {
                        plain = Some(Matcher::Prefix(text.strip_suffix("**").unwrap_or(text).to_owned()));
                    } else {
                        tokens.push(Token::Anything);
                        plain = None;
                    }
                    if first {
                        plain = Some(Matcher::Suffix(text[2..].to_owned()));
                    }
                }
                '*' => {
                    tokens.push(Token::Star);
                    plain = None;
                }
                '?' => {
                    tokens.push(Token::One);
                    plain = None;
                }
                '\\' => {
                    tokens.push(Token::Literal(rest.next().unwrap_or('\\')));
                    plain = None;
                }
                '[' => {
                    tokens.push(pattern::class(&mut rest)?);
                    plain = None;
                }
                character => tokens.push(Token::Literal(character)),
            }
            first = false;
        }
        Ok(plain.unwrap_or(Matcher::Tokens(tokens)))
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path),
            Self::Tokens(tokens) => pattern::run(tokens, path),
        }
    }
}

/// Go's `path.Clean`: no doubled slashes, `.` or resolvable `..`; `.` where nothing is left.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".to_owned(),
        (false, false) => joined,
    }
}
