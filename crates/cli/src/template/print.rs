//! How Go prints values: `print`, `printf`, and what an action writes.

use serde_json::Value as Json;

use super::value::{Nil, Value, sorted};

/// Wider than this, Go itself gives up.
const WIDTH_MAX: usize = 1_000_000;
/// What is printed of one value at most; whoever prints asks afterwards whether that was reached.
pub(super) const TEXT_MAX: usize = 16 << 20;

/// A value as an action writes it.
pub(super) fn written(value: &Value<'_>) -> String {
    match value {
        Value::Missing => "<no value>".to_owned(),
        Value::Nil(Nil::Pointer) => "<nil>".to_owned(),
        Value::Nil(Nil::Slice) => "[]".to_owned(),
        Value::Nil(Nil::Map) => "map[]".to_owned(),
        Value::Row(_) | Value::Json(_) => {
            let mut out = String::new();
            plain(&value.json(), &mut out);
            out
        }
    }
}

/// `%v`
fn plain(json: &Json, out: &mut String) {
    if out.len() > TEXT_MAX {
        return;
    }
    match json {
        Json::Null => out.push_str("<nil>"),
        Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Json::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(float) => out.push_str(&general(float, None, 21)),
            None => out.push_str(&number.to_string()),
        },
        Json::String(text) => out.push_str(text),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                plain(item, out);
            }
            out.push(']');
        }
        Json::Object(map) => {
            out.push_str("map[");
            for (index, (key, item)) in sorted(map).into_iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                plain(item, out);
            }
            out.push(']');
        }
    }
}

/// `print`: a space between two of which neither is text.
pub(super) fn print(values: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut after_text = true;
    for (index, value) in values.iter().enumerate() {
        let is_text = value.kind() == "string";
        if index > 0 && !is_text && !after_text {
            out.push(' ');
        }
        out.push_str(&argument(value));
        after_text = is_text;
        if out.len() > TEXT_MAX {
            break;
        }
    }
    out
}

/// `println`: a space between all.
pub(super) fn print_line(values: &[Value<'_>]) -> String {
    let mut out = String::new();
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(' ');
        }
        out.push_str(&argument(value));
        if out.len() > TEXT_MAX {
            break;
        }
    }
    out.push('\n');
    out
}

/// A value that is handed to a function to print.
fn argument(value: &Value<'_>) -> String {
    if matches!(value, Value::Missing) { "<nil>".to_owned() } else { written(value) }
}

#[derive(Default, Clone, Copy)]
struct Flags {
    plus: bool,
    minus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `printf`, with Go's own complaints inside of the text.
pub(super) fn format(text: &str, values: &[Value<'_>]) -> String {
    let mut out = String::new();
    let mut characters = text.chars().peekable();
    let (mut next, mut reordered) = (0, false);
    while let Some(character) = characters.next() {
        if out.len() > TEXT_MAX {
            return out;
        }
        if character != '%' {
            out.push(character);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = characters.next_if(|c| matches!(c, '+' | '-' | '#' | ' ' | '0')) {
            match flag {
                '+' => flags.plus = true,
                '-' => flags.minus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                _ => flags.zero = true,
            }
        }
        let mut number = |characters: &mut std::iter::Peekable<std::str::Chars<'_>>,
                          next: &mut usize|
         -> Result<Option<usize>, ()> {
            if characters.next_if_eq(&'[').is_some() {
                let digits: String = std::iter::from_fn(|| characters.next_if(char::is_ascii_digit)).take(9).collect();
                let index = digits.parse::<usize>().ok().filter(|index| (1..=values.len()).contains(index)).ok_or(())?;
                characters.next_if_eq(&']').ok_or(())?;
                *next = index - 1;
                reordered = true;
            }
            if characters.next_if_eq(&'*').is_some() {
                let given = values.get(*next).map(Value::json);
                *next += 1;
                return Ok(given.and_then(|given| usize::try_from(given.as_i64()?.unsigned_abs()).ok()));
            }
            let digits: String = std::iter::from_fn(|| characters.next_if(char::is_ascii_digit)).take(9).collect();
            Ok(digits.parse().ok())
        };
        let (Ok(width), Ok(precision)) = (
            number(&mut characters, &mut next),
            match characters.next_if_eq(&'.') {
                Some(_) => number(&mut characters, &mut next).map(|number| Some(number.unwrap_or(0))),
                None => Ok(None),
            },
        ) else {
            out.push_str(&format!("%!{}(BADINDEX)", characters.next().unwrap_or(' ')));
            continue;
        };
        // An index may stand before the verb too: %[2]d.
        if characters.peek() == Some(&'[') && number(&mut characters, &mut next).is_err() {
            out.push_str("%!(BADINDEX)");
            continue;
        }
        if width.is_some_and(|width| width > WIDTH_MAX) {
            out.push_str("%!(BADWIDTH)");
        }
        if precision.is_some_and(|precision| precision > WIDTH_MAX) {
            out.push_str("%!(BADPREC)");
        }
        flags.width = width.filter(|width| *width <= WIDTH_MAX);
        flags.precision = precision.filter(|precision| *precision <= WIDTH_MAX);
        let Some(verb) = characters.next() else {
            out.push_str("%!(NOVERB)");
            break;
        };
        if verb == '%' {
            out.push('%');
            continue;
        }
        match values.get(next) {
            Some(value) => one(verb, flags, value, &mut out),
            None => out.push_str(&format!("%!{verb}(MISSING)")),
        }
        next += 1;
    }
    if next < values.len() && !reordered {
        out.push_str("%!(EXTRA ");
        for (index, value) in values[next..].iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            if value.kind() == "nil" {
                out.push_str("<nil>");
            } else {
                out.push_str(&format!("{}={}", value.kind(), argument(value)));
            }
            if out.len() > TEXT_MAX {
                return out;
            }
        }
        out.push(')');
    }
    out
}

fn one(verb: char, flags: Flags, value: &Value<'_>, out: &mut String) {
    match (verb, value) {
        ('T', _) => padded(out, flags, value.kind()),
        ('v', Value::Missing | Value::Nil(_)) => padded(out, flags, &argument(value)),
        (_, Value::Missing | Value::Nil(Nil::Pointer)) => out.push_str(&format!("%!{verb}(<nil>)")),
        (_, Value::Nil(_)) => padded(out, flags, &written(value)),
        _ => of_json(verb, flags, &value.json(), out),
    }
}

fn of_json(verb: char, flags: Flags, json: &Json, out: &mut String) {
    if out.len() > TEXT_MAX {
        return;
    }
    match json {
        Json::Array(items) if verb != 'T' => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                of_json(verb, flags, item, out);
            }
            out.push(']');
        }
        Json::Object(map) if verb != 'T' => {
            out.push_str("map[");
            for (index, (key, item)) in sorted(map).into_iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                of_json(verb, flags, &Json::String(key.clone()), out);
                out.push(':');
                of_json(verb, flags, item, out);
            }
            out.push(']');
        }
        _ => match scalar(verb, flags, json) {
            Some((text, is_number)) => {
                if is_number && flags.zero && !flags.minus {
                    zero_padded(out, flags, &text);
                } else {
                    padded(out, flags, &text);
                }
            }
            None => {
                let mut text = String::new();
                plain(json, &mut text);
                let kind = super::value::kind(json);
                out.push_str(&if kind == "nil" {
                    format!("%!{verb}(<nil>)")
                } else {
                    format!("%!{verb}({kind}={text})")
                });
            }
        },
    }
}

/// The text of one value, and whether zeros may stand before it. None where the verb does not fit the value.
fn scalar(verb: char, flags: Flags, json: &Json) -> Option<(String, bool)> {
    let signed = |number: i64, digits: String| {
        let sign = if number < 0 {
            "-"
        } else if flags.plus {
            "+"
        } else if flags.space {
            " "
        } else {
            ""
        };
        let zeros = flags.precision.unwrap_or(0).saturating_sub(digits.len());
        format!("{sign}{}{digits}", "0".repeat(zeros))
    };
    match (json, verb) {
        (Json::Null, 'v') => Some(("<nil>".into(), false)),
        (Json::Bool(value), 'v' | 't') => Some((value.to_string(), false)),
        (Json::String(text), 'v' | 's') => {
            let text = flags.precision.map_or_else(|| text.clone(), |length| text.chars().take(length).collect());
            Some((if verb == 'v' && flags.sharp { quoted(&text) } else { text }, false))
        }
        (Json::String(text), 'q') => Some((quoted(text), false)),
        (Json::String(text), 'x' | 'X') => {
            let digits: Vec<String> = text.bytes().map(|byte| hex(byte.into(), verb == 'X', 2)).collect();
            Some((digits.join(if flags.space { " " } else { "" }), false))
        }
        (Json::Number(number), _) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => {
                let magnitude = number.unsigned_abs();
                let prefix = |prefix: &'static str| if flags.sharp { prefix } else { "" };
                let digits = match verb {
                    'v' | 'd' => magnitude.to_string(),
                    'x' => format!("{}{magnitude:x}", prefix("0x")),
                    'X' => format!("{}{magnitude:X}", prefix("0X")),
                    'o' => format!("{}{magnitude:o}", prefix("0")),
                    'b' => format!("{}{magnitude:b}", prefix("0b")),
                    'c' => return Some((character(number).to_string(), false)),
                    'q' => return Some((format!("'{}'", character(number).escape_debug()), false)),
                    'U' => return Some((format!("U+{magnitude:04X}"), false)),
                    _ => return None,
                };
                Some((signed(number, digits), flags.precision.is_none()))
            }
            (None, Some(float)) => {
                let text = match verb {
                    'v' | 'g' | 'G' => general(float, flags.precision, 21),
                    'f' | 'F' => format!("{float:.*}", flags.precision.unwrap_or(6)),
                    'e' | 'E' => exponent(float, Some(flags.precision.unwrap_or(6))),
                    _ => return None,
                };
                let text = if flags.plus && !text.starts_with('-') { format!("+{text}") } else { text };
                Some((if verb.is_ascii_uppercase() { text.to_uppercase() } else { text }, true))
            }
            (None, None) => Some((number.to_string(), true)),
        },
        _ => None,
    }
}

fn character(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn hex(number: u64, upper: bool, width: usize) -> String {
    if upper { format!("{number:0width$X}") } else { format!("{number:0width$x}") }
}

/// As Go quotes text.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            _ if u32::from(character) < 0x20 || character == '\u{7f}' => {
                out.push_str(&format!("\\x{:02x}", u32::from(character)));
            }
            _ if character.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

/// `%e`: shortest without a precision.
fn exponent(float: f64, precision: Option<usize>) -> String {
    let text = precision.map_or_else(|| format!("{float:e}"), |precision| format!("{float:.precision$e}"));
    match text.split_once('e') {
        Some((mantissa, exponent)) => {
            let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
            format!("{mantissa}e{sign}{digits:0>2}")
        }
        None => text,
    }
}

/// `%g`: the shortest text that is the same number, with an exponent where that is small, or at least `large`.
fn general(float: f64, precision: Option<usize>, large: i32) -> String {
    if !float.is_finite() {
        return if float.is_nan() {
            "NaN".into()
        } else if float > 0.0 {
            "+Inf".into()
        } else {
            "-Inf".into()
        };
    }
    let precision = precision.map(|precision| precision.max(1));
    let scientific = exponent(float, precision.map(|precision| precision - 1));
    let power: i32 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let large = precision.and_then(|precision| i32::try_from(precision).ok()).unwrap_or(large);
    if power < -4 || power >= large {
        return scientific;
    }
    match precision {
        None => format!("{float}"),
        Some(precision) => {
            let decimals = usize::try_from(i32::try_from(precision).unwrap_or(0) - 1 - power).unwrap_or(0);
            let text = format!("{float:.decimals$}");
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
    }
}

fn padded(out: &mut String, flags: Flags, text: &str) {
    let missing = flags.width.unwrap_or(0).saturating_sub(text.chars().count());
    let spaces = std::iter::repeat_n(if flags.zero && !flags.minus { '0' } else { ' ' }, missing);
    if flags.minus {
        out.push_str(text);
        out.extend(spaces);
    } else {
        out.extend(spaces);
        out.push_str(text);
    }
}

fn zero_padded(out: &mut String, flags: Flags, text: &str) {
    let (sign, digits) = match text.strip_prefix(['-', '+', ' ']) {
        Some(digits) => text.split_at(text.len() - digits.len()),
        None => ("", text),
    };
    out.push_str(sign);
    let missing = flags.width.unwrap_or(0).saturating_sub(sign.len() + digits.chars().count());
    out.extend(std::iter::repeat_n('0', missing));
    out.push_str(digits);
}
