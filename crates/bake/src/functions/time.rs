//! `formatdate` (go-cty, `stdlib.FormatDate`). What time it is, only the caller knows.

use carrack_diag::Result;
use serde_json::Value;

use super::Arguments;
use crate::value::wrong;

pub(super) fn call(arguments: &Arguments<'_>) -> Option<Result<Value>> {
    (arguments.name == "formatdate").then(|| format(arguments))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A time of RFC 3339, in its own zone.
struct Time<'a> {
    year: usize,
    month: usize,
    day: usize,
    hour: usize,
    minute: usize,
    second: usize,
    /// `+02:00`, or `Z`.
    zone: &'a str,
}

impl<'a> Time<'a> {
    /// None where it is none.
    fn parse(text: &'a str) -> Option<Self> {
        let number = |from: usize, to: usize| -> Option<usize> {
            let digits = text.get(from..to)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
        };
        let signs = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if signs.iter().any(|(at, sign)| text.as_bytes().get(*at) != Some(sign)) {
            return None;
        }
        let zone = text.get(19..)?;
        let zone = match zone.strip_prefix('.') {
            Some(fraction) => fraction.trim_start_matches(|digit: char| digit.is_ascii_digit()),
            None => zone,
        };
        let is_offset = |zone: &[u8]| matches!(zone, [b'+' | b'-', a, b, b':', c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()));
        let time = Self {
            year: number(0, 4)?,
            month: number(5, 7)?,
            day: number(8, 10)?,
            hour: number(11, 13)?,
            minute: number(14, 16)?,
            second: number(17, 19)?,
            zone,
        };
        let is_time = (1..=12).contains(&time.month)
            && (1..=31).contains(&time.day)
            && time.hour < 24
            && time.minute < 60
            && time.second <= 60
            && (zone == "Z" || is_offset(zone.as_bytes()));
        is_time.then_some(time)
    }

    /// From Sunday, 0 (Sakamoto).
    fn day_of_week(&self) -> usize {
        const SHIFTS: [usize; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = if self.month < 3 { self.year + 399 } else { self.year + 400 };
        (year + year / 4 - year / 100 + year / 400 + SHIFTS[self.month - 1] + self.day) % 7
    }

    /// What a verb stands for; none where there is no such verb.
    fn verb(&self, verb: &str) -> Option<String> {
        let twelve = (self.hour + 11) % 12 + 1;
        let half = if self.hour < 12 { "am" } else { "pm" };
        let offset = if self.zone == "Z" { "+00:00" } else { self.zone };
        Some(match verb {
            "YYYY" => format!("{:04}", self.year),
            "YY" => format!("{:02}", self.year % 100),
            "MMMM" => MONTHS[self.month - 1].to_owned(),
            "MMM" => MONTHS[self.month - 1][..3].to_owned(),
            "MM" => format!("{:02}", self.month),
            "M" => self.month.to_string(),
            "DD" => format!("{:02}", self.day),
            "D" => self.day.to_string(),
            "EEEE" => DAYS[self.day_of_week()].to_owned(),
            "EEE" => DAYS[self.day_of_week()][..3].to_owned(),
            "hh" => format!("{:02}", self.hour),
            "h" => self.hour.to_string(),
            "HH" => format!("{twelve:02}"),
            "H" => twelve.to_string(),
            "AA" => half.to_uppercase(),
            "aa" => half.to_owned(),
            "mm" => format!("{:02}", self.minute),
            "m" => self.minute.to_string(),
            "ss" => format!("{:02}", self.second),
            "s" => self.second.to_string(),
            "ZZZZZ" => offset.to_owned(),
            "ZZZZ" => offset.replace(':', ""),
            "ZZZ" if self.zone == "Z" => "UTC".to_owned(),
            "ZZZ" => offset.replace(':', ""),
            "Z" => self.zone.to_owned(),
            _ => return None,
        })
    }
}

fn format(arguments: &Arguments<'_>) -> Result<Value> {
    arguments.exactly(2)?;
    let (pattern, text) = (arguments.text(0)?, arguments.text(1)?);
    let time = Time::parse(&text).ok_or_else(|| wrong(arguments.place(1), "a time such as 2006-01-02T15:04:05Z"))?;
    let mut made = String::new();
    let mut rest = pattern.as_str();
    while let Some(first) = rest.chars().next() {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let end = quoted_end(quoted).ok_or_else(|| arguments.refuse("quotes that are closed"))?;
            made.push_str(&quoted[..end].replace("''", "'"));
            rest = &quoted[end + 1..];
        } else if first.is_ascii_alphabetic() {
            let length = rest.len() - rest.trim_start_matches(first).len();
            let verb = time.verb(&rest[..length]);
            made.push_str(&verb.ok_or_else(|| arguments.refuse(&format!("no verb `{}`", &rest[..length])))?);
            rest = &rest[length..];
        } else {
            made.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(Value::String(made))
}

/// Where a quoted text ends; two quotes in it are one.
fn quoted_end(text: &str) -> Option<usize> {
    let mut from = 0;
    loop {
        let end = from + text[from..].find('\'')?;
        if !text[end + 1..].starts_with('\'') {
            return Some(end);
        }
        from = end + 2;
    }
}
