//! `--format`: the part of Go's templates that people use daily: text and `{{.Field.Name}}`, `{{json .Field}}`.

use carrack_diag::{Diagnostic, Result};
use serde_json::Value;

use crate::output::table;
use crate::{codes, flags};

/// Fills `template` from `value`. A field that does not exist is an error, as in Docker.
pub(crate) fn render(template: &str, value: &Value) -> Result<String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(&unescape(before));
        let (action, tail) = after.split_once("}}").ok_or_else(|| wrong(template))?;
        let action = action.trim();
        let (json, path) = match action.strip_prefix("json ") {
            Some(path) => (true, path.trim()),
            None => (false, action),
        };
        let found = found(value, path, template)?;
        match found {
            _ if json => out.push_str(&found.to_string()),
            Value::String(text) => out.push_str(text),
            Value::Null => {}
            other => out.push_str(&other.to_string()),
        }
        rest = tail;
    }
    out.push_str(&unescape(rest));
    Ok(out)
}

/// What a path means: `.Field.Name`, `index .Field "key"`, or that in parentheses and a path from there.
fn found<'a>(value: &'a Value, path: &str, template: &str) -> Result<&'a Value> {
    if let Some((inner, rest)) = path.strip_prefix('(').and_then(|path| path.split_once(')')) {
        let inner = found(value, inner.trim(), template)?;
        return if rest.is_empty() { Ok(inner) } else { found(inner, rest, template) };
    }
    if let Some((path, key)) = path.strip_prefix("index ").and_then(|words| words.trim().split_once(' ')) {
        let key = key.trim().strip_prefix('"').and_then(|key| key.strip_suffix('"')).ok_or_else(|| wrong(template))?;
        return field(found(value, path, template)?, key);
    }
    let path = path.strip_prefix('.').ok_or_else(|| match path.split_whitespace().next() {
        Some(word) => wrong_word(word),
        None => wrong(template),
    })?;
    path.split('.').filter(|name| !name.is_empty()).try_fold(value, field)
}

fn field<'a>(value: &'a Value, name: &str) -> Result<&'a Value> {
    value.get(name).ok_or_else(|| {
        Diagnostic::error(&codes::INVALID_VALUE, format!("--format: no field `{name}` here"))
            .hint(format!("fields: {}", fields(value)))
            .boxed()
    })
}

fn wrong(template: &str) -> Box<Diagnostic> {
    flags::invalid("--format", template, "text with {{.Field}} or {{json .Field}}, or `json`")
}

/// A line for each of `rows`. After `table ` columns are those between tabs, and `headings` of the fields stand above.
pub(crate) fn rows(template: &str, rows: &[Value], headings: &[(&str, &str)]) -> Result<String> {
    let Some(template) = template.strip_prefix("table ") else {
        let lines: Vec<String> = rows.iter().map(|row| render(template, row)).collect::<Result<_>>()?;
        return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
    };
    let headings: Value = headings.iter().map(|(field, heading)| (*field, *heading)).collect();
    let cells = |row: &Value| Ok(render(template, row)?.split('\t').map(str::to_owned).collect::<Vec<String>>());
    let header = cells(&headings)?;
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect::<Result<_>>()?;
    Ok(table(&header.iter().map(String::as_str).collect::<Vec<_>>(), &rows))
}

fn wrong_word(word: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::INVALID_VALUE, format!("--format: `{word}` is not understood"))
        .hint("write text with {{.Field}} or {{json .Field}}, or `json`")
        .boxed()
}

fn fields(value: &Value) -> String {
    match value {
        Value::Object(map) => map.keys().cloned().collect::<Vec<_>>().join(", "),
        _ => "none".to_owned(),
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_fields_are_filled_and_all_else_is_named() {
        let value = json!({ "Names": "web", "State": { "Pid": 7 } });
        assert_eq!(render("{{.Names}}\\t{{ .State.Pid }} {{json .State}}", &value).unwrap(), "web\t7 {\"Pid\":7}");
        let value = json!({ "Names": "web", "State": { "Pid": 7, "a/b.c": { "d": [1] } } });
        assert_eq!(render("{{ json (index .State \"a/b.c\").d }} {{index .State \"Pid\"}}", &value).unwrap(), "[1] 7");
        for (template, named) in [
            ("{{index .State \"x\"}}", "`x`"),
            ("{{index .State x}}", "{{index"),
            ("{{(index .State \"Pid\"}}", "`(index`"),
            ("{{upper .Names}}", "`upper`"),
            ("{{range .State}}x{{end}}", "`range`"),
            ("{{.Nmaes}}", "`Nmaes`"),
            ("{{.State.Pid.Deep}}", "`Deep`"),
            ("{{.Label \"a\"}}", "Label"),
            ("{{.Names", "{{.Names"),
        ] {
            let error = render(template, &value).unwrap_err();
            assert!(error.message.contains(named), "{template}: {}", error.message);
        }
    }

    #[test]
    fn a_table_has_headings_and_even_columns() {
        let rows_of = [json!({ "Names": "web", "ID": "1" }), json!({ "Names": "database", "ID": "2" })];
        let headings = [("Names", "NAMES"), ("ID", "CONTAINER ID")];
        let text = rows("table {{.Names}}\\t{{.ID}}", &rows_of, &headings).unwrap();
        assert_eq!(text, "NAMES      CONTAINER ID\nweb        1\ndatabase   2\n");
        assert_eq!(rows("{{.ID}}", &rows_of, &headings).unwrap(), "1\n2\n");
        assert_eq!(rows("table {{.ID}}", &[], &headings).unwrap(), "CONTAINER ID\n");
    }
}
