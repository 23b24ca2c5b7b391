use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carrack_diag::Result;
use serde_json::Value;

use super::{Arguments, format};
use crate::value::wrong;

pub(super) fn call(arguments: &Arguments<'_>) -> Option<Result<Value>> {
    Some(match arguments.name {
        "upper" => of_one(arguments, |text| text.to_uppercase()),
        "lower" => of_one(arguments, |text| text.to_lowercase()),
        "title" => of_one(arguments, title),
        "chomp" => of_one(arguments, |text| text.trim_end_matches(['\r', '\n']).to_owned()),
        "trimspace" => of_one(arguments, |text| text.trim().to_owned()),
        "reverse" => of_one(arguments, |text| text.chars().rev().collect()),
        "sanitize" => of_one(arguments, sanitize),
        "urlencode" => of_one(arguments, url_encode),
        "basename" => of_one(arguments, |text| base_name(text).to_owned()),
        "dirname" => of_one(arguments, directory_name),
        "base64encode" => of_one(arguments, |text| STANDARD.encode(text)),
        "base64decode" => decode(arguments),
        "strlen" => arguments.exactly(1).and_then(|()| Ok(arguments.text(0)?.chars().count().into())),
        "trim" => of_two(arguments, |text, set| text.trim_matches(|letter| set.contains(letter)).to_owned()),
        "trimprefix" => of_two(arguments, |text, start| text.strip_prefix(start).unwrap_or(text).to_owned()),
        "trimsuffix" => of_two(arguments, |text, end| text.strip_suffix(end).unwrap_or(text).to_owned()),
        "replace" => replace(arguments),
        "substr" => part(arguments),
        "indent" => indent(arguments),
        "split" => split(arguments),
        "join" => join(arguments),
        "format" => format_one(arguments),
        "formatlist" => format_each(arguments),
        _ => return None,
    })
}

fn of_one(arguments: &Arguments<'_>, with: impl Fn(&str) -> String) -> Result<Value> {
    arguments.exactly(1)?;
    Ok(Value::String(with(&arguments.text(0)?)))
}

fn of_two(arguments: &Arguments<'_>, with: impl Fn(&str, &str) -> String) -> Result<Value> {
    arguments.exactly(2)?;
    Ok(Value::String(with(&arguments.text(0)?, &arguments.text(1)?)))
}

fn title(text: &str) -> String {
    let mut is_first = true;
    let mut titled = String::new();
    for letter in text.chars() {
        match is_first {
            true => titled.extend(letter.to_uppercase()),
            false => titled.push(letter),
        }
        is_first = !letter.is_alphanumeric();
    }
    titled
}

/// Fit for a target's name: letters, digits, `-` and `_`.
fn sanitize(text: &str) -> String {
    let fit = |letter: char| if letter.is_ascii_alphanumeric() || "-_".contains(letter) { letter } else { '_' };
    text.chars().map(fit).collect()
}

/// As in the query of an address.
fn url_encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn base_name(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" if path.is_empty() => ".",
        "" => "/",
        path => path.rsplit('/').next().unwrap_or(path),
    }
}

fn directory_name(path: &str) -> String {
    let Some((folder, _)) = path.rsplit_once('/') else { return ".".to_owned() };
    let parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match (folder.starts_with('/') || path.starts_with('/'), parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

fn decode(arguments: &Arguments<'_>) -> Result<Value> {
    arguments.exactly(1)?;
    let decoded = STANDARD.decode(arguments.text(0)?).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.map(Value::String).ok_or_else(|| wrong(arguments.place(0), "a text in base64"))
}

fn replace(arguments: &Arguments<'_>) -> Result<Value> {
    arguments.exactly(3)?;
    let (text, old, new) = (arguments.text(0)?, arguments.text(1)?, arguments.text(2)?);
    arguments.bounded(text.len().saturating_add(text.matches(old.as_str()).count().saturating_mul(new.len())))?;
    Ok(Value::String(text.replace(&old, &new)))
}

/// From a place on, so many letters; places below 0 count from the end, and a length of -1 is all.
fn part(arguments: &Arguments<'_>) -> Result<Value> {
    arguments.exactly(3)?;
    let (text, from, length) = (arguments.text(0)?, arguments.whole(1)?, arguments.whole(2)?);
    let count = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
    let from = if from < 0 { (count + from).max(0) } else { from };
    let letters = text.chars().skip(usize::try_from(from).unwrap_or(usize::MAX));
    Ok(Value::String(match usize::try_from(length) {
        Ok(length) => letters.take(length).collect(),
        Err(_) if length == -1 => letters.collect(),
        Err(_) => return Err(wrong(arguments.place(2), "a length, or -1 for the rest,")),
    }))
}

fn indent(arguments: &Arguments<'_>) -> Result<Value> {
    arguments.exactly(2)?;
    let (depth, text) = (usize::try_from(arguments.whole(0)?).unwrap_or(0), arguments.text(1)?);
    arguments.bounded(text.len().saturating_add(text.lines().count().saturating_mul(depth)))?;
    Ok(Value::String(text.replace('\n', &format!("\n{}", " ".repeat(depth)))))
}

fn split(arguments: &Arguments<'_>) -> Result<Value> {
    arguments.exactly(2)?;
    let (separator, text) = (arguments.text(0)?, arguments.text(1)?);
    Ok(match (separator.is_empty(), text.is_empty()) {
        (_, true) => Value::Array(vec![Value::String(String::new())]),
        (true, false) => text.chars().map(|letter| Value::String(letter.to_string())).collect(),
        (false, false) => text.split(separator.as_str()).map(Value::from).collect(),
    })
}

fn join(arguments: &Arguments<'_>) -> Result<Value> {
    let separator = arguments.text(0)?;
    let mut texts = Vec::new();
    for index in 1..arguments.values.len().max(2) {
        for item in arguments.list(index)? {
            texts.push(crate::value::text(item, arguments.place(index))?);
        }
    }
    let size = texts.iter().map(|text| text.len().saturating_add(separator.len())).fold(0, usize::saturating_add);
    arguments.bounded(size)?;
    Ok(Value::String(texts.join(&separator)))
}

fn format_one(arguments: &Arguments<'_>) -> Result<Value> {
    let values: Vec<&Value> = arguments.values.iter().skip(1).collect();
    let made = format::format(&arguments.text(0)?, &values).map_err(|form| arguments.refuse(&form))?;
    Ok(Value::String(made))
}

/// Once for each element of the lists, which are of one length; what is no list stands in each.
fn format_each(arguments: &Arguments<'_>) -> Result<Value> {
    let pattern = arguments.text(0)?;
    let given = &arguments.values[1..];
    let mut lengths = given.iter().filter_map(|value| Some(value.as_array()?.len()));
    let length = lengths.next();
    if lengths.any(|other| Some(other) != length) {
        return Err(arguments.refuse("lists of one length"));
    }
    let (mut made, mut size) = (Vec::new(), 0_usize);
    for index in 0..length.unwrap_or(1) {
        let values: Vec<&Value> =
            given.iter().map(|value| value.as_array().and_then(|items| items.get(index)).unwrap_or(value)).collect();
        let one = format::format(&pattern, &values).map_err(|form| arguments.refuse(&form))?;
        size = size.saturating_add(one.len());
        arguments.bounded(size)?;
        made.push(Value::String(one));
    }
    Ok(Value::Array(made))
}
