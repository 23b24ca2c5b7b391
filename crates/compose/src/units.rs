//! Durations and byte sizes as Docker reads and writes them (Compose specification, "Extension").

/// A duration in nanoseconds: `1m30s`, `10ms`, `1.5h`, `500us`; a bare number is not one, save `0`.
pub fn duration_ns(text: &str) -> Option<u64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = 0u64;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end =
            tail.find(|character: char| character.is_ascii_digit() || character == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale: u64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            "w" => 604_800_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, scale)?)?;
        rest = tail;
    }
    Some(total)
}

/// A size in bytes: `50M`, `1gb`, `512k`, `1.5GiB`, `1024`. Units are binary, as Docker's are.
pub fn size_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|character: char| !character.is_ascii_digit() && character != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    scaled(number, 1 << shift)
}

/// Processors in billionths: `0.5` is 500,000,000.
pub fn nano_cpus(text: &str) -> Option<u64> {
    scaled(text, 1_000_000_000)
}

/// `number`, a decimal with an optional fraction, times `scale`, exactly; what is below 1 is cut.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut value = u128::from(whole) * u128::from(scale);
    let mut place = u128::from(scale);
    let mut rest = 0u128;
    let mut divisor = 1u128;
    for digit in fraction.bytes().take(18) {
        divisor *= 10;
        rest = rest * 10 + u128::from(digit - b'0');
    }
    place = place * rest / divisor;
    value += place;
    u64::try_from(value).ok()
}

/// A duration as Go prints it: `1m30s`, `500ms`, `0s`.
pub fn format_duration(ns: u64) -> String {
    const SECOND: u64 = 1_000_000_000;
    if ns == 0 {
        return "0s".into();
    }
    if ns < SECOND {
        let (scale, unit) = match ns {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{}{unit}", decimal(ns, scale));
    }
    let seconds = ns / SECOND;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let rest = format!("{}s", decimal(ns % (60 * SECOND), SECOND));
    match (hours, minutes) {
        (0, 0) => rest,
        (0, minutes) => format!("{minutes}m{rest}"),
        (hours, minutes) => format!("{hours}h{minutes}m{rest}"),
    }
}

/// `value / scale`, without trailing zeros. `scale` is a power of ten.
pub(crate) fn decimal(value: u64, scale: u64) -> String {
    let (whole, fraction) = (value / scale, value % scale);
    if fraction == 0 {
        return whole.to_string();
    }
    let width = scale.ilog10() as usize;
    format!("{whole}.{fraction:0width$}").trim_end_matches('0').to_owned()
}
