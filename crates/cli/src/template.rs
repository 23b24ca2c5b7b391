//! `--format`: the part of Go's templates that people use daily: text and `{{.Field.Name}}`, `{{json .Field}}`.

use carrack_diag::Result;
use serde_json::Value;

use crate::flags;

/// Fills `template` from `value`. A field that does not exist is an error, as in Docker.
pub(crate) fn render(template: &str, value: &Value) -> Result<String> {
    let mut out = String::new();
    let mut rest = template.strip_prefix("table ").unwrap_or(template);
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(&unescape(before));
        let wrong = || flags::invalid("--format", template, "text with {{.Field}} or {{json .Field}}, or `json`");
        let (action, tail) = after.split_once("}}").ok_or_else(wrong)?;
        let action = action.trim();
        let (json, path) = match action.strip_prefix("json ") {
            Some(path) => (true, path.trim()),
            None => (false, action),
        };
        let path = path.strip_prefix('.').ok_or_else(wrong)?;
        let mut found = value;
        for field in path.split('.').filter(|field| !field.is_empty()) {
            found = found.get(field).ok_or_else(|| {
                carrack_diag::Diagnostic::error(
                    &crate::codes::INVALID_VALUE,
                    format!("--format: no field `{field}` here"),
                )
                .hint(format!("fields: {}", fields(found)))
                .boxed()
            })?;
        }
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

fn fields(value: &Value) -> String {
    match value {
        Value::Object(map) => map.keys().cloned().collect::<Vec<_>>().join(", "),
        _ => "none".to_owned(),
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}
