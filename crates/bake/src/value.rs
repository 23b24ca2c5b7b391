//! Values: what they are taken for, and what they are as texts.

use carrack_diag::{Diagnostic, Result, Span};
use serde_json::{Number, Value};

use crate::codes;

pub(crate) fn wrong(span: Span, form: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::INVALID_EXPRESSION, format!("{form} belongs here"))
        .at(span, "something else")
        .hint("look at the types of both sides")
        .boxed()
}

pub(crate) fn truth(value: &Value, span: Span) -> Result<bool> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err(wrong(span, "true or false")),
    }
}

pub(crate) fn number(value: &Value, span: Span) -> Result<f64> {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    value.as_f64().or(parsed).ok_or_else(|| wrong(span, "a number"))
}

/// A whole number is one without a point.
pub(crate) fn number_of(value: f64) -> Value {
    let whole = value.fract() == 0.0 && value.abs() < 9e15;
    if whole { Value::from(value as i64) } else { Number::from_f64(value).map_or(Value::Null, Value::Number) }
}

/// What is calculated, without the last digits, which are those of the representation: 0.1 + 0.2 is 0.3.
pub(crate) fn calculated(value: f64) -> Value {
    number_of(format!("{value:.14e}").parse().unwrap_or(value))
}

/// A value within a text.
pub(crate) fn text(value: &Value, span: Span) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Null => Ok(String::new()),
        Value::Array(_) | Value::Object(_) => Err(wrong(span, "a text")),
    }
}

/// How much a value takes: its parts, and the bytes of its texts.
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => 1 + text.len(),
        Value::Array(items) => 1 + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => 1 + fields.iter().map(|(key, value)| key.len() + weight(value)).sum::<usize>(),
        _ => 1,
    }
}

/// The fields of a map in the order of their names, as HCL goes through them.
pub(crate) fn sorted(fields: &serde_json::Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut sorted: Vec<_> = fields.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    sorted
}
