//! `$NAME` and `${NAME…}` in values (Compose specification, "Interpolation").

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use carrack_diag::{Diagnostic, SourceMap, Span};

use crate::Env;
use crate::codes;
use crate::node::{Node, Value};

/// How deep expressions may nest.
const MAX_DEPTH: usize = 32;

/// How long a value may become: a bound for expressions that repeat long variables.
const MAX_BYTES: usize = 4 << 20;

/// Why a text can't be interpolated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The expression is malformed.
    Syntax(&'static str),
    /// `${NAME:?message}` of a variable that is not set (or empty).
    Required {
        /// The variable.
        name: String,
        /// What the file says about it; may be empty.
        message: String,
    },
}

/// What came of interpolating one text.
#[derive(Debug)]
pub(crate) struct Interpolated<'t> {
    /// The text; borrowed where nothing was replaced.
    pub(crate) text: Cow<'t, str>,
    /// Variables that read as empty because they are not set, with the place of the expression.
    pub(crate) unset: Vec<(String, Range<usize>)>,
}

/// Replaces the expressions in `text`; variables are looked up by `lookup`. A failure comes with its place.
pub(crate) fn interpolate<'t>(
    text: &'t str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<Interpolated<'t>, (Failure, Range<usize>)> {
    if !text.contains('$') {
        return Ok(Interpolated { text: Cow::Borrowed(text), unset: Vec::new() });
    }
    let mut template = Template { text, lookup, unset: Vec::new(), budget: MAX_BYTES };
    let replaced = template.expand(0..text.len(), 0)?;
    Ok(Interpolated { text: Cow::Owned(replaced), unset: template.unset })
}

struct Template<'t, 'l> {
    text: &'t str,
    lookup: &'l dyn Fn(&str) -> Option<String>,
    unset: Vec<(String, Range<usize>)>,
    budget: usize,
}

type Expanded = Result<String, (Failure, Range<usize>)>;

impl Template<'_, '_> {
    fn expand(&mut self, range: Range<usize>, depth: usize) -> Expanded {
        if depth > MAX_DEPTH {
            return Err((Failure::Syntax("expressions nest too deep"), range));
        }
        let mut out = String::new();
        let mut at = range.start;
        while let Some(dollar) = self.text[at..range.end].find('$').map(|offset| at + offset) {
            out.push_str(&self.text[at..dollar]);
            let rest = &self.text[dollar + 1..range.end];
            at = if rest.starts_with('$') {
                out.push('$');
                dollar + 2
            } else if rest.starts_with('{') {
                let end = self.closing_brace(dollar, range.end)?;
                let value = self.braced(dollar, end, depth)?;
                self.push(&mut out, &value, dollar..end)?;
                end
            } else {
                let name = name_length(rest);
                if name == 0 {
                    out.push('$');
                } else {
                    let end = dollar + 1 + name;
                    let value = self.value_or_empty(&rest[..name], dollar..end);
                    self.push(&mut out, &value, dollar..end)?;
                }
                dollar + 1 + name
            };
        }
        out.push_str(&self.text[at..range.end]);
        Ok(out)
    }

    fn push(&mut self, out: &mut String, value: &str, place: Range<usize>) -> Result<(), (Failure, Range<usize>)> {
        match self.budget.checked_sub(value.len()) {
            Some(rest) => self.budget = rest,
            None => return Err((Failure::Syntax("the value becomes longer than 4 MiB"), place)),
        }
        out.push_str(value);
        Ok(())
    }

    /// The offset after the brace that closes the expression at `dollar`.
    fn closing_brace(&self, dollar: usize, end: usize) -> Result<usize, (Failure, Range<usize>)> {
        let bytes = self.text.as_bytes();
        let mut open = 0usize;
        let mut at = dollar;
        while at < end {
            match bytes[at] {
                b'$' if at + 1 < end && bytes[at + 1] == b'{' => {
                    open += 1;
                    at += 1;
                }
                b'$' if at + 1 < end && bytes[at + 1] == b'$' => at += 1,
                b'}' => {
                    open -= 1;
                    if open == 0 {
                        return Ok(at + 1);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        Err((Failure::Syntax("`${` is never closed by `}`"), dollar..end))
    }

    fn braced(&mut self, dollar: usize, end: usize, depth: usize) -> Expanded {
        let place = dollar..end;
        let inner = dollar + 2..end - 1;
        let name = &self.text[inner.start..inner.start + name_length(&self.text[inner.clone()])];
        if name.is_empty() {
            return Err((Failure::Syntax("`${` wants the name of a variable: letters, digits, `_`"), place));
        }
        let operand = |skip: usize| inner.start + name.len() + skip..inner.end;
        let value = (self.lookup)(name);
        let filled = value.as_deref().is_some_and(|value| !value.is_empty());
        let operator = &self.text[operand(0)];
        let name = name.to_owned();
        if operator.is_empty() {
            return Ok(self.value_or_empty(&name, place));
        }
        let (operator, counts, operand) = match operator.strip_prefix(':') {
            Some(after) => (after.chars().next(), filled, operand(2.min(operator.len()))),
            None => (operator.chars().next(), value.is_some(), operand(1)),
        };
        match operator {
            Some('-') if counts => Ok(value.unwrap_or_default()),
            Some('-') => self.expand(operand, depth + 1),
            Some('+') if counts => self.expand(operand, depth + 1),
            Some('+') => Ok(String::new()),
            Some('?') if counts => Ok(value.unwrap_or_default()),
            Some('?') => {
                let message = self.expand(operand, depth + 1)?;
                Err((Failure::Required { name, message }, place))
            }
            _ => Err((Failure::Syntax("after the name come `}` or one of `:-` `-` `:?` `?` `:+` `+`"), place)),
        }
    }

    fn value_or_empty(&mut self, name: &str, place: Range<usize>) -> String {
        (self.lookup)(name).unwrap_or_else(|| {
            self.unset.push((name.to_owned(), place));
            String::new()
        })
    }
}

/// How many bytes at the start of `text` are a variable's name.
fn name_length(text: &str) -> usize {
    let starts = text.bytes().next().is_some_and(|byte| byte == b'_' || byte.is_ascii_alphabetic());
    if !starts {
        return 0;
    }
    text.bytes().take_while(|byte| *byte == b'_' || byte.is_ascii_alphanumeric()).count()
}

/// Interpolates every value of a tree in place; keys stay. Each unset variable is reported once.
pub(crate) fn tree(
    node: &mut Node,
    env: &Env,
    sources: &SourceMap,
    reported: &mut BTreeSet<String>,
    diagnostics: &mut Vec<Diagnostic>,
) {
    match &mut node.value {
        Value::Null => {}
        Value::Sequence(items) => {
            items.iter_mut().for_each(|item| tree(item, env, sources, reported, diagnostics));
        }
        Value::Mapping(entries) => {
            entries.iter_mut().for_each(|entry| tree(&mut entry.value, env, sources, reported, diagnostics));
        }
        Value::Scalar(scalar) if scalar.text.contains('$') => {
            let text = std::mem::take(&mut scalar.text);
            match interpolate(&text, &|name| env.get(name).cloned()) {
                Ok(result) => {
                    for (name, place) in &result.unset {
                        if reported.insert(name.clone()) {
                            diagnostics.push(unset(name, narrow(sources, node.span, &text[place.clone()])));
                        }
                    }
                    // An expression yields text: an empty variable is an empty string, not null.
                    scalar.plain = scalar.plain && !result.text.is_empty();
                    scalar.text = result.text.into_owned();
                }
                Err((failure, place)) => {
                    diagnostics.push(failed(&failure, narrow(sources, node.span, &text[place])));
                    scalar.text = text;
                }
            }
        }
        Value::Scalar(_) => {}
    }
}

fn unset(name: &str, span: Span) -> Diagnostic {
    Diagnostic::warning(&codes::UNSET_VARIABLE, format!("the variable {name} is not set and reads as empty"))
        .at(span, "used here")
        .hint(format!(
            "set it in the environment or in .env, or write `${{{name}:-default}}`; a literal dollar sign is `$$`"
        ))
}

pub(crate) fn failed(failure: &Failure, span: Span) -> Diagnostic {
    match failure {
        Failure::Syntax(reason) => {
            Diagnostic::error(&codes::INTERPOLATION_SYNTAX, "this variable expression can't be understood")
                .at(span, *reason)
                .hint("a literal dollar sign is written `$$`")
        }
        Failure::Required { name, message } => {
            let label = if message.is_empty() { "required here".to_owned() } else { message.clone() };
            Diagnostic::error(&codes::REQUIRED_VARIABLE, format!("the required variable {name} is not set"))
                .at(span, label)
                .hint(format!("set {name} in the environment, in .env or in a file given with --env-file"))
        }
    }
}

/// The place of `expression` inside the value at `span`, where the source shows it literally.
fn narrow(sources: &SourceMap, span: Span, expression: &str) -> Span {
    let Some(file) = sources.find(span.file) else { return span };
    let Some(source) = file.text.get(span.start as usize..span.end as usize) else { return span };
    match source.find(expression) {
        Some(offset) => {
            let start = span.start as usize + offset;
            Span::new(span.file, start, start + expression.len())
        }
        None => span,
    }
}
