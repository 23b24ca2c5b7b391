//! The functions of templates: Go's own and Docker's.

use serde_json::Value as Json;

use super::print;
use super::value::{Value, kind};

pub(super) const NAMES: [&str; 27] = [
    "and", "call", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper", "urlquery",
];

/// The function of a name.
pub(super) fn named(name: &str) -> Option<&'static str> {
    NAMES.into_iter().find(|known| *known == name)
}

/// In the heading of a table these leave a column's title as it is.
const HEADING_KEEPS: [&str; 6] = ["json", "lower", "split", "title", "truncate", "upper"];

/// What a function makes of its arguments, or what is wrong with them. `and` and `or` see all of theirs here.
pub(super) fn call<'a>(name: &str, arguments: &[Value<'a>], heading: bool) -> Result<Value<'a>, String> {
    if heading && HEADING_KEEPS.contains(&name) {
        let title = arguments.first().cloned().unwrap_or(Value::Missing);
        return Ok(if name == "split" { Value::list(vec![title.json().into_owned()]) } else { title });
    }
    let count = |wanted: std::ops::RangeInclusive<usize>| {
        if wanted.contains(&arguments.len()) {
            return Ok(());
        }
        let (least, most) = wanted.into_inner();
        let wanted = if least == most {
            least.to_string()
        } else if most == usize::MAX {
            format!("at least {least}")
        } else {
            format!("{least} to {most}")
        };
        Err(format!("wrong number of args for {name}: want {wanted} got {}", arguments.len()))
    };
    match name {
        "print" => Ok(Value::text(print::print(arguments))),
        "println" => Ok(Value::text(print::print_line(arguments))),
        "printf" => {
            count(1..=usize::MAX)?;
            Ok(Value::text(print::format(&text(arguments, 0)?, &arguments[1..])))
        }
        "html" => Ok(Value::text(html(&joined(arguments)))),
        "js" => Ok(Value::text(js(&joined(arguments)))),
        "urlquery" => Ok(Value::text(url_query(&joined(arguments)))),
        "len" => {
            count(1..=1)?;
            length(&arguments[0])
        }
        "index" => {
            count(1..=usize::MAX)?;
            arguments[1..].iter().try_fold(arguments[0].clone(), |value, key| {
                value.index(&key.json()).map_err(|problem| format!("error calling index: {problem}"))
            })
        }
        "slice" => {
            count(1..=4)?;
            slice(&arguments[0], &arguments[1..]).map_err(|problem| format!("error calling slice: {problem}"))
        }
        "not" => {
            count(1..=1)?;
            Ok(Value::boolean(!arguments[0].truth()))
        }
        "eq" => {
            count(2..=usize::MAX)?;
            for other in &arguments[1..] {
                if equal(&arguments[0], other)? {
                    return Ok(Value::boolean(true));
                }
            }
            Ok(Value::boolean(false))
        }
        "ne" => {
            count(2..=2)?;
            Ok(Value::boolean(!equal(&arguments[0], &arguments[1])?))
        }
        "lt" | "le" | "gt" | "ge" => {
            count(2..=2)?;
            let order =
                ordered(&arguments[0], &arguments[1]).map_err(|problem| format!("error calling {name}: {problem}"))?;
            Ok(Value::boolean(order.is_some_and(|order| match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            })))
        }
        "json" => {
            count(1..=1)?;
            Ok(Value::text(match &arguments[0] {
                Value::Row(row) => row.json(),
                other => other.json().to_string(),
            }))
        }
        "split" => {
            count(2..=2)?;
            let (source, separator) = (text(arguments, 0)?, text(arguments, 1)?);
            Ok(Value::list(split(&source, &separator)))
        }
        "join" => {
            count(2..=2)?;
            join(&arguments[0], &text(arguments, 1)?)
        }
        "title" => {
            count(1..=1)?;
            Ok(Value::text(title(&text(arguments, 0)?)))
        }
        "lower" => {
            count(1..=1)?;
            Ok(Value::text(text(arguments, 0)?.to_lowercase()))
        }
        "upper" => {
            count(1..=1)?;
            Ok(Value::text(text(arguments, 0)?.to_uppercase()))
        }
        "pad" => {
            count(3..=3)?;
            let source = text(arguments, 0)?;
            let spaces = |index| number(arguments, index).map(|count| usize::try_from(count).unwrap_or(0));
            let (before, after) = (spaces(1)?, spaces(2)?);
            if source.is_empty() {
                return Ok(Value::text(""));
            }
            if before.saturating_add(after) > print::TEXT_MAX {
                return Err("error calling pad: so much space fits nowhere".to_owned());
            }
            Ok(Value::text(format!("{}{source}{}", " ".repeat(before), " ".repeat(after))))
        }
        "truncate" => {
            count(2..=2)?;
            let source = text(arguments, 0)?;
            let length = number(arguments, 1)?;
            let length =
                usize::try_from(length).map_err(|_| format!("error calling truncate: {length} is no length"))?;
            // Docker counts bytes; half a character is of use to nobody.
            Ok(Value::text(source.get(..source.floor_char_boundary(length)).unwrap_or(&source)))
        }
        "call" => Err("error calling call: nothing here is a function".to_owned()),
        _ => Err(format!("function `{name}` not defined")),
    }
}

fn text(arguments: &[Value<'_>], index: usize) -> Result<String, String> {
    match arguments[index].json().as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(format!("wrong type for value; expected string; got {}", arguments[index].kind())),
    }
}

fn number(arguments: &[Value<'_>], index: usize) -> Result<i64, String> {
    let json = arguments[index].json();
    json.as_i64().ok_or_else(|| format!("wrong type for value; expected int; got {}", arguments[index].kind()))
}

/// What the escaping functions take: one text, or all of them printed.
fn joined(arguments: &[Value<'_>]) -> String {
    match arguments {
        [one] if one.kind() == "string" => print::written(one),
        _ => print::print(arguments),
    }
}

fn length<'a>(value: &Value<'_>) -> Result<Value<'a>, String> {
    let length = match &*value.json() {
        Json::String(text) => text.len(),
        Json::Array(items) => items.len(),
        Json::Object(map) => map.len(),
        Json::Null => match value {
            Value::Nil(super::value::Nil::Slice | super::value::Nil::Map) => 0,
            _ => return Err("error calling len: len of nil pointer".to_owned()),
        },
        other => return Err(format!("error calling len: len of type {}", kind(other))),
    };
    Ok(Value::integer(i64::try_from(length).unwrap_or(i64::MAX)))
}

fn slice<'a>(value: &Value<'_>, bounds: &[Value<'_>]) -> Result<Value<'a>, String> {
    let json = value.json();
    let capacity = match &*json {
        Json::String(text) if bounds.len() < 3 => text.len(),
        Json::Array(items) => items.len(),
        Json::String(_) => return Err("cannot 3-index slice a string".to_owned()),
        other => return Err(format!("can't slice item of type {}", kind(other))),
    };
    let mut at = [0, capacity, capacity];
    for (place, bound) in at.iter_mut().zip(bounds) {
        let bound = bound.json();
        let number = bound.as_i64().ok_or_else(|| format!("cannot index slice/array with type {}", kind(&bound)))?;
        *place =
            usize::try_from(number).ok().filter(|at| *at <= capacity).ok_or(format!("index out of range: {number}"))?;
    }
    let [from, to, most] = at;
    if from > to || to > most {
        return Err(format!("invalid slice index: {from} > {}", if from > to { to } else { most }));
    }
    match &*json {
        Json::Array(items) => Ok(Value::list(items[from..to].to_vec())),
        Json::String(text) => match text.get(from..to) {
            Some(part) => Ok(Value::text(part)),
            None => Ok(Value::text(String::from_utf8_lossy(&text.as_bytes()[from..to]))),
        },
        _ => Ok(Value::Missing),
    }
}

fn equal(left: &Value<'_>, right: &Value<'_>) -> Result<bool, String> {
    let (one, other) = (left.json(), right.json());
    let wrong = |problem: &str| Err(format!("error calling eq: {problem}"));
    match (&*one, &*other) {
        (Json::Null, Json::Null) => Ok(true),
        (Json::Null, _) | (_, Json::Null) => Ok(false),
        (Json::Array(_) | Json::Object(_), _) => wrong(&format!("non-comparable type {}: {one}", kind(&one))),
        (_, Json::Array(_) | Json::Object(_)) => wrong(&format!("non-comparable type {}: {other}", kind(&other))),
        _ if kind(&one) != kind(&other) => {
            wrong(&format!("incompatible types for comparison: {} and {}", kind(&one), kind(&other)))
        }
        _ => Ok(one == other),
    }
}

fn ordered(left: &Value<'_>, right: &Value<'_>) -> Result<Option<std::cmp::Ordering>, String> {
    let (one, other) = (left.json(), right.json());
    match (&*one, &*other) {
        (Json::String(one), Json::String(other)) => Ok(Some(one.cmp(other))),
        (Json::Number(one), Json::Number(other)) if one.is_f64() == other.is_f64() => {
            match (one.as_i64(), other.as_i64()) {
                (Some(one), Some(other)) => Ok(Some(one.cmp(&other))),
                _ => Ok(one.as_f64().zip(other.as_f64()).and_then(|(one, other)| one.partial_cmp(&other))),
            }
        }
        _ if kind(&one) != kind(&other) => {
            Err(format!("incompatible types for comparison: {} and {}", kind(&one), kind(&other)))
        }
        _ => Err(format!("invalid type for comparison: {}", kind(&one))),
    }
}

fn split(source: &str, separator: &str) -> Vec<Json> {
    if separator.is_empty() {
        return source.chars().map(|c| Json::String(c.into())).collect();
    }
    source.split(separator).map(|part| Json::String(part.to_owned())).collect()
}

fn join<'a>(items: &Value<'_>, separator: &str) -> Result<Value<'a>, String> {
    let json = items.json();
    let mut out = String::new();
    match &*json {
        Json::Null if !matches!(items, Value::Missing) => {}
        Json::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(separator);
                }
                let item = item.as_str().ok_or_else(|| format!("can't join what is of type {}", kind(item)))?;
                out.push_str(item);
                if out.len() > print::TEXT_MAX {
                    break;
                }
            }
        }
        other => return Err(format!("can't handle {other} for arg of type []string")),
    }
    Ok(Value::text(out))
}

/// Words with a capital letter, as Go's strings.Title.
fn title(text: &str) -> String {
    let mut before = ' ';
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let separates =
            if before.is_ascii() { !(before.is_ascii_alphanumeric() || before == '_') } else { before.is_whitespace() };
        if separates {
            out.extend(character.to_uppercase());
        } else {
            out.push(character);
        }
        before = character;
    }
    out
}

fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            _ => out.push(character),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            _ if character.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out
}

fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
