//! Go's durations, as the flags of `HEALTHCHECK` are written.

/// Nanoseconds of `1h15m30.5s`. The error says what is wrong.
pub(super) fn parse(text: &str) -> Result<u64, String> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(0);
    }
    if rest.starts_with('-') {
        return Err("it cannot be negative".into());
    }
    if rest.is_empty() {
        return Err("it is empty".into());
    }
    let mut total: f64 = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| format!("`{rest}` does not start with a number"))?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let nanoseconds = match &rest[..letters] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => return Err("the unit is missing: ns, us, ms, s, m or h".into()),
            unit => return Err(format!("`{unit}` is not a unit: ns, us, ms, s, m or h")),
        };
        total += number * nanoseconds;
        rest = &rest[letters..];
    }
    if total > i64::MAX as f64 {
        return Err("it is too long".into());
    }
    if total > 0.0 && total < 1e6 {
        return Err("it is shorter than a millisecond".into());
    }
    Ok(total.round() as u64)
}
