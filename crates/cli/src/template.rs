//! `--format`: Go's text/template with Docker's functions, over the JSON that a command answers with.
//!
//! Where JSON knows less than Go's types (a missing key of a map, an empty list that is null), the names of Docker's fields
//! decide. What a template may cost is bounded.

mod columns;
mod evaluate;
mod functions;
mod parse;
mod print;
#[cfg(test)]
mod tests;
mod value;

use std::borrow::Cow;
use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result};
use serde_json::Value as Json;

use crate::codes;
pub(crate) use columns::columns;
use parse::{Problem, Templates};
pub(crate) use print::quoted;
pub(crate) use value::Row;
use value::Value;

/// A template that was understood.
pub(crate) struct Template {
    text: String,
    templates: Templates,
    is_table: bool,
}

impl Template {
    /// For one thing, as `inspect --format` takes it.
    pub(crate) fn of_one(text: &str) -> Result<Self> {
        Self::parse(text, text, false)
    }

    /// For the lines of a list: `\t` and `\n` are characters, and after `table ` columns stand below their headings.
    pub(crate) fn of_list(text: &str) -> Result<Self> {
        match text.strip_prefix("table ") {
            Some(columns) => Ok(Self { is_table: true, ..Self::parse(columns.trim_start_matches(' '), text, true)? }),
            None => Self::parse(text, text, true),
        }
    }

    fn parse(text: &str, given: &str, escapes: bool) -> Result<Self> {
        let templates = parse::parse(text, escapes).map_err(|problem| diagnostic(given, text, problem))?;
        Ok(Self { text: text.to_owned(), templates, is_table: false })
    }

    /// Whether the text speaks of a field, so that what costs is only looked for where it is asked for.
    pub(crate) fn names(&self, field: &str) -> bool {
        self.text.contains(field)
    }

    /// The text for one value.
    pub(crate) fn fill(&self, value: &Json) -> Result<String> {
        self.evaluate(&Value::Json(Cow::Borrowed(value)), false)
    }

    /// A line for each row, with the headings of the fields above where it is a table.
    pub(crate) fn lines(&self, rows: &[Row], headings: &[(&str, &str)]) -> Result<String> {
        let mut out = String::new();
        if self.is_table {
            let fields = headings.iter().map(|(field, heading)| (*field, *heading)).collect();
            let row = Row { fields, labels: BTreeMap::new() };
            out.push_str(&self.evaluate(&Value::Row(&row), true)?);
            out.push('\n');
        }
        for row in rows {
            out.push_str(&self.evaluate(&Value::Row(row), false)?);
            out.push('\n');
        }
        Ok(if self.is_table { columns(&out) } else { out })
    }

    fn evaluate(&self, data: &Value<'_>, heading: bool) -> Result<String> {
        evaluate::evaluate(&self.templates, data, heading)
            .map_err(|problem| diagnostic(&self.text, &self.text, problem))
    }
}

/// Fills `template` from `value`. A field that does not exist is an error, as in Docker.
pub(crate) fn render(template: &str, value: &Json) -> Result<String> {
    Template::of_one(template)?.fill(value)
}

/// A line for each of `rows`, whose labels nobody asks for one by one.
pub(crate) fn rows(template: &str, rows: &[Json], headings: &[(&str, &str)]) -> Result<String> {
    let rows: Vec<Row> = rows.iter().map(|fields| Row { fields: fields.clone(), labels: BTreeMap::new() }).collect();
    Template::of_list(template)?.lines(&rows, headings)
}

/// A problem, with its line and column in what was given.
fn diagnostic(given: &str, text: &str, problem: Problem) -> Box<Diagnostic> {
    let at = problem.at + (given.len() - text.len());
    let before = given.get(..at).unwrap_or(given);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let mut rest: String =
        given.get(at..).unwrap_or_default().lines().next().unwrap_or_default().chars().take(40).collect();
    if rest.is_empty() {
        rest = "the end".to_owned();
    }
    Diagnostic::error(&codes::INVALID_VALUE, format!("--format: {}", problem.message))
        .cause(format!("at line {line}, column {column} of the template: {rest}"))
        .hint(problem.hint.unwrap_or_else(|| {
            "templates are Go's: {{.Field}}, {{json .}}, {{range .List}}…{{end}}, {{if}}…{{else}}…{{end}}".to_owned()
        }))
        .boxed()
}
