//! Env files (Compose specification, "Env_file format").

use carrack_diag::{Diagnostic, FileId, Result, Span, Spanned};

use crate::codes;
use crate::interpolate::{failed, interpolate};

/// One line of an env file. A name without `=` has no value: it takes that of the environment, if there is one.
pub type Assignment = (Spanned<String>, Option<String>);

/// What a variable is worth; none where it is not set.
pub type Lookup<'l> = dyn Fn(&str) -> Option<String> + 'l;

/// Reads an env file, in order. The `environment` wins over earlier lines of the file, and these over `earlier` files.
pub fn parse(file: FileId, text: &str, environment: &Lookup<'_>, earlier: &Lookup<'_>) -> Result<Vec<Assignment>> {
    let at = usize::from(text.starts_with('\u{feff}')) * 3;
    let mut reader = Reader { file, text, at, environment, earlier, seen: Vec::new() };
    while reader.line()? {}
    Ok(reader.seen)
}

/// Reads an env file of `format: raw`: each line is `NAME=value`, the value as it stands.
pub fn parse_raw(file: FileId, text: &str) -> Result<Vec<Assignment>> {
    let mut offset = 0;
    let mut assignments = Vec::new();
    for line in text.split_inclusive('\n') {
        let start = offset;
        offset += line.len();
        let line = line.trim_end_matches(['\n', '\r']);
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let (name, value) = line.split_once('=').map_or((line, None), |(name, value)| (name, Some(value.to_owned())));
        let span = Span::new(file, start, start + name.len());
        assignments.push((Spanned::new(name.trim().to_owned(), span), value));
    }
    Ok(assignments)
}

struct Reader<'t, 'l> {
    file: FileId,
    text: &'t str,
    at: usize,
    environment: &'l Lookup<'l>,
    earlier: &'l Lookup<'l>,
    seen: Vec<Assignment>,
}

impl Reader<'_, '_> {
    /// Reads one assignment, blank line or comment; false at the end.
    fn line(&mut self) -> Result<bool> {
        self.skip(|character| character.is_whitespace());
        if self.at >= self.text.len() {
            return Ok(false);
        }
        if self.rest().starts_with('#') {
            self.skip(|character| character != '\n');
            return Ok(true);
        }
        if let Some(after) = self.rest().strip_prefix("export")
            && after.starts_with([' ', '\t'])
        {
            self.at += "export".len();
            self.skip(is_blank);
        }
        let start = self.at;
        self.skip(|character| character.is_alphanumeric() || matches!(character, '_' | '.' | '-' | '[' | ']'));
        let name = Spanned::new(self.text[start..self.at].to_owned(), Span::new(self.file, start, self.at));
        self.skip(is_blank);
        let value = match self.rest().chars().next() {
            None | Some('\n' | '\r' | '#') if !name.value.is_empty() => {
                self.skip(|character| character != '\n');
                None
            }
            Some('=' | ':') if !name.value.is_empty() => {
                self.at += 1;
                self.skip(is_blank);
                Some(self.value()?)
            }
            _ => {
                let end = self.rest().find('\n').map_or(self.text.len(), |newline| self.at + newline);
                return Err(self
                    .error(start..end, "this line of the env file can't be read", "neither NAME=value nor a comment")
                    .hint("names are letters, digits, `_`, `.` and `-`, without spaces before the `=`")
                    .boxed());
            }
        };
        self.seen.push((name, value));
        Ok(true)
    }

    fn value(&mut self) -> Result<String> {
        match self.rest().chars().next() {
            Some(quote @ ('"' | '\'')) => {
                let start = self.at;
                let raw = self.quoted(quote)?;
                if quote == '"' { self.expand(&raw, start) } else { Ok(raw) }
            }
            _ => {
                let start = self.at;
                let line = self.rest().split(['\n', '\r']).next().unwrap_or("");
                let commented = line.starts_with('#').then_some(0).or_else(|| {
                    line.match_indices('#').map(|(at, _)| at).find(|at| line[..*at].ends_with([' ', '\t']))
                });
                let value = line[..commented.unwrap_or(line.len())].trim_end().to_owned();
                self.at += line.len();
                self.expand(&value, start)
            }
        }
    }

    /// The text between quotes, over line ends; what follows on the closing line may only be a comment.
    fn quoted(&mut self, quote: char) -> Result<String> {
        let start = self.at;
        let mut value = String::new();
        let mut characters = self.text[start + 1..].char_indices();
        while let Some((offset, character)) = characters.next() {
            match character {
                character if character == quote => {
                    self.at = start + 1 + offset + 1;
                    self.skip(is_blank);
                    let rest = self.rest();
                    if rest.is_empty() || rest.starts_with(['\n', '\r', '#']) {
                        self.skip(|character| character != '\n');
                        return Ok(value);
                    }
                    let end = self.at + rest.find('\n').unwrap_or(rest.len());
                    return Err(self
                        .error(self.at..end, "text follows the closing quote of a value", "not part of the value")
                        .hint("put the whole value between the quotes; a comment begins with ` #`")
                        .boxed());
                }
                '\\' => match characters.next() {
                    Some((_, escaped)) if escaped == quote => value.push(escaped),
                    Some((_, escaped)) if quote == '"' => match escaped {
                        'n' => value.push('\n'),
                        'r' => value.push('\r'),
                        't' => value.push('\t'),
                        '\\' => value.push('\\'),
                        '$' => value.push_str("$$"),
                        other => value.extend(['\\', other]),
                    },
                    Some((_, other)) => value.extend(['\\', other]),
                    None => value.push('\\'),
                },
                other => value.push(other),
            }
        }
        let end = self.text[start..].find('\n').map_or(self.text.len(), |newline| start + newline);
        Err(self
            .error(start..end, "a quoted value is never closed", "the quote is opened here")
            .hint(format!("add the closing {quote}"))
            .boxed())
    }

    fn expand(&self, raw: &str, start: usize) -> Result<String> {
        let above = |name: &str| self.seen.iter().rev().find(|(seen, _)| seen.value == name)?.1.clone();
        let lookup = |name: &str| (self.environment)(name).or_else(|| above(name)).or_else(|| (self.earlier)(name));
        match interpolate(raw, &lookup) {
            Ok(result) => Ok(result.text.into_owned()),
            Err((failure, _)) => Err(failed(&failure, Span::new(self.file, start, self.at)).boxed()),
        }
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip(&mut self, skipped: impl Fn(char) -> bool) {
        let rest = &self.text[self.at..];
        self.at += rest.find(|character| !skipped(character)).unwrap_or(rest.len());
    }

    fn error(&self, range: std::ops::Range<usize>, message: &str, label: &str) -> Diagnostic {
        Diagnostic::error(&codes::DOTENV_SYNTAX, message).at(Span::new(self.file, range.start, range.end), label)
    }
}

fn is_blank(character: char) -> bool {
    character == ' ' || character == '\t'
}
