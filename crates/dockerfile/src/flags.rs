//! `--name=value` words between an instruction and its arguments.

use carrack_diag::{Diagnostic, Span, Spanned, nearest};

use crate::ast::Word;
use crate::codes;
use crate::lines::Line;

/// The flags of one instruction, not yet taken.
pub(crate) struct Flags {
    keyword: Spanned<String>,
    flags: Vec<Flag>,
    known: Vec<&'static str>,
}

struct Flag {
    name: String,
    value: Option<Word>,
    span: Span,
    is_taken: bool,
}

impl Flags {
    /// Reads the flags from `start` of a line. Returns where the arguments begin. `--` ends them.
    pub(crate) fn read(keyword: &Spanned<String>, line: &Line, mut start: usize) -> (Self, usize) {
        let mut flags = Vec::new();
        loop {
            let rest = &line.text[start..];
            start += rest.len() - rest.trim_start().len();
            if !line.text[start..].starts_with("--") {
                break;
            }
            let (text, end) = word(&line.text, start);
            if text == "--" {
                start = end;
                break;
            }
            flags.push(Flag::new(line, start, end, &text));
            start = end;
        }
        (Self { keyword: keyword.clone(), flags, known: Vec::new() }, start)
    }

    /// A flag that takes a value and may be given once.
    pub(crate) fn value(&mut self, name: &'static str, diagnostics: &mut Vec<Diagnostic>) -> Option<Word> {
        let mut values = self.values(name, diagnostics);
        if values.len() > 1 {
            let (first, second) = (values[0].span, values[1].span);
            diagnostics.push(
                Diagnostic::error(&codes::DUPLICATE_FLAG, format!("--{name} is given twice"))
                    .at(second, "the second time")
                    .at(first, "the first time")
                    .hint("keep one of them"),
            );
        }
        (!values.is_empty()).then(|| values.swap_remove(0))
    }

    /// A flag that takes a value and may be given several times.
    pub(crate) fn values(&mut self, name: &'static str, diagnostics: &mut Vec<Diagnostic>) -> Vec<Word> {
        self.known.push(name);
        let mut values = Vec::new();
        for flag in self.flags.iter_mut().filter(|flag| flag.name == name) {
            flag.is_taken = true;
            match &flag.value {
                Some(value) => values.push(value.clone()),
                None => diagnostics.push(
                    Diagnostic::error(&codes::INVALID_FLAG, format!("--{name} needs a value"))
                        .at(flag.span, "no value")
                        .hint(format!("write --{name}=VALUE, without a blank")),
                ),
            }
        }
        values
    }

    /// A flag that is there, or `=true` or `=false`.
    pub(crate) fn boolean(&mut self, name: &'static str, diagnostics: &mut Vec<Diagnostic>) -> Option<bool> {
        self.known.push(name);
        let mut result = None;
        for flag in self.flags.iter_mut().filter(|flag| flag.name == name) {
            flag.is_taken = true;
            let value = flag.value.as_ref().map_or("true", |value| value.value.as_str());
            match value.to_ascii_lowercase().as_str() {
                _ if result.is_some() => diagnostics.push(
                    Diagnostic::error(&codes::DUPLICATE_FLAG, format!("--{name} is given twice"))
                        .at(flag.span, "the second time")
                        .hint("keep one of them"),
                ),
                "true" => result = Some(true),
                "false" => result = Some(false),
                _ => diagnostics.push(
                    Diagnostic::error(&codes::INVALID_FLAG, format!("--{name} is true or false, not `{value}`"))
                        .at(flag.span, "neither true nor false")
                        .hint(format!("write --{name} or --{name}=false")),
                ),
            }
        }
        result
    }

    /// Reports the flags that nobody took.
    pub(crate) fn finish(self, diagnostics: &mut Vec<Diagnostic>) {
        let keyword = self.keyword.value.to_ascii_uppercase();
        for flag in self.flags.iter().filter(|flag| !flag.is_taken) {
            let diagnostic = Diagnostic::error(&codes::UNKNOWN_FLAG, format!("{keyword} has no flag --{}", flag.name))
                .at(flag.span, "unknown flag");
            diagnostics.push(match nearest(&flag.name, self.known.iter().copied()) {
                Some(known) => diagnostic.hint(format!("did you mean --{known}?")),
                None if self.known.is_empty() => diagnostic.hint(format!("{keyword} takes no flags")),
                None => diagnostic.hint(format!("{keyword} takes --{}", self.known.join(", --"))),
            });
        }
    }
}

impl Flag {
    fn new(line: &Line, start: usize, end: usize, text: &str) -> Self {
        let body = text.strip_prefix("--").unwrap_or(text);
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => {
                let raw = &line.text[start..end];
                let value_start = raw.find('=').map_or(start, |equals| start + equals + 1);
                (name, Some(Spanned::new(value.to_owned(), line.span(value_start, end))))
            }
            None => (body, None),
        };
        Self { name: name.to_owned(), value, span: line.span(start, end), is_taken: false }
    }
}

/// One word of a flag, quotes and escapes taken away, and where it ends. The reference escapes with a backslash here
/// whatever the escape directive says.
fn word(text: &str, start: usize) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut characters = text[start..].char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            _ if quote == Some(character) => quote = None,
            '\\' => word.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' | '"' if quote.is_none() => quote = Some(character),
            _ if character.is_whitespace() && quote.is_none() => return (word, start + index),
            _ => word.push(character),
        }
    }
    (word, text.len())
}
