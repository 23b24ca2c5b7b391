//! `format` (go-cty, `stdlib.Format`): `%[flags][width][.precision]verb`, and `%[n]verb` for the nth value.

use serde_json::Value;

/// Wider and more precise is nothing that is read.
const WIDTH_MAX: usize = 1000;

#[derive(Default)]
struct Verb {
    is_left: bool,
    is_signed: bool,
    is_zero_filled: bool,
    width: usize,
    precision: Option<usize>,
}

/// The text; else what belongs there.
pub(super) fn format(pattern: &str, values: &[&Value]) -> Result<String, String> {
    let mut made = String::new();
    let mut letters = pattern.chars().peekable();
    let (mut next, mut is_counted) = (0, true);
    while let Some(letter) = letters.next() {
        if letter != '%' {
            made.push(letter);
            continue;
        }
        if letters.next_if_eq(&'%').is_some() {
            made.push('%');
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = letters.next_if(|letter| "-+0 #".contains(*letter)) {
            match flag {
                '-' => verb.is_left = true,
                '+' => verb.is_signed = true,
                '0' => verb.is_zero_filled = true,
                _ => {}
            }
        }
        let mut number = || -> Result<Option<usize>, String> {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            match digits.parse::<usize>() {
                Ok(number) if number <= WIDTH_MAX => Ok(Some(number)),
                _ if digits.is_empty() => Ok(None),
                _ => Err(format!("widths up to {WIDTH_MAX}")),
            }
        };
        verb.width = number()?.unwrap_or(0);
        if letters.next_if_eq(&'.').is_some() {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let precision = digits.parse().unwrap_or(0);
            if precision > WIDTH_MAX {
                return Err(format!("a precision up to {WIDTH_MAX}"));
            }
            verb.precision = Some(precision);
        }
        if letters.next_if_eq(&'[').is_some() {
            let mut digits = String::new();
            while let Some(digit) = letters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            let place = digits.parse::<usize>().ok().filter(|place| *place > 0);
            let (Some(place), Some(']')) = (place, letters.next()) else { return Err("%[1]s and the like".to_owned()) };
            next = place - 1;
            is_counted = false;
        }
        let kind = letters.next().ok_or("a verb such as s, d or v after %")?;
        let value = values.get(next).ok_or_else(|| format!("a value for each verb: there is none for %{kind}"))?;
        next += 1;
        made.push_str(&verb.apply(kind, value)?);
    }
    match is_counted && next < values.len() {
        true => Err(format!("a verb for each value: there are {next}")),
        false => Ok(made),
    }
}

impl Verb {
    fn apply(&self, kind: char, value: &Value) -> Result<String, String> {
        let text = || match value {
            Value::String(text) => Ok(text.clone()),
            Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
            _ => Err(format!("a text for %{kind}")),
        };
        let number = || {
            let parsed = value.as_str().and_then(|text| text.parse::<f64>().ok());
            value.as_f64().or(parsed).ok_or_else(|| format!("a number for %{kind}"))
        };
        let whole = || number().map(|number| number.trunc() as i64);
        let cut = |text: String| match self.precision {
            Some(length) => text.chars().take(length).collect(),
            None => text,
        };
        let signed = |text: String| if self.is_signed && !text.starts_with('-') { format!("+{text}") } else { text };
        let (made, is_number) = match kind {
            'v' => match value {
                Value::Number(_) => (signed(value.to_string()), true),
                Value::Array(_) | Value::Object(_) => (super::encoded(value).to_string(), false),
                Value::Null => ("null".to_owned(), false),
                _ => (cut(text()?), false),
            },
            's' => (cut(text()?), false),
            'q' => (Value::String(cut(text()?)).to_string(), false),
            't' => match value {
                Value::Bool(truth) => (truth.to_string(), false),
                Value::String(text) if matches!(text.as_str(), "true" | "false") => (text.clone(), false),
                _ => return Err("true or false for %t".to_owned()),
            },
            'd' => (signed(whole()?.to_string()), true),
            'x' => (format!("{:x}", whole()?), true),
            'X' => (format!("{:X}", whole()?), true),
            'o' => (format!("{:o}", whole()?), true),
            'b' => (format!("{:b}", whole()?), true),
            'f' => (signed(format!("{:.*}", self.precision.unwrap_or(6), number()?)), true),
            'g' => (signed(crate::value::number_of(number()?).to_string()), true),
            other => return Err(format!("the verbs v, s, q, t, d, x, X, o, b, f and g, and not %{other}")),
        };
        let missing = self.width.saturating_sub(made.chars().count());
        Ok(match (self.is_left, self.is_zero_filled && is_number) {
            (true, _) => format!("{made}{}", " ".repeat(missing)),
            (false, true) => {
                let (sign, digits) = made.split_at(usize::from(made.starts_with(['-', '+'])));
                format!("{sign}{}{digits}", "0".repeat(missing))
            }
            (false, false) => format!("{}{made}", " ".repeat(missing)),
        })
    }
}
