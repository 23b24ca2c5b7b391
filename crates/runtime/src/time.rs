//! Instants as text, without the weight of a calendar library in the long-lived shim.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970-01-01 UTC; 0 for clocks that are set before.
pub(crate) fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// RFC 3339 in UTC with as many digits of the second as are needed, as Go's RFC3339Nano writes it.
pub(crate) fn rfc3339_nano(unix_ns: u64) -> String {
    let (seconds, nanoseconds) = (unix_ns / 1_000_000_000, unix_ns % 1_000_000_000);
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}");
    if nanoseconds != 0 {
        let digits = format!(".{nanoseconds:09}");
        text.push_str(digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

/// The Gregorian date of a day counted from 1970-01-01: years are made to start in March, so that leap days end them.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::rfc3339_nano;

    proptest! {
        #[test]
        fn equals_a_calendar_library(seconds in 0u64..18_000_000_000, nanoseconds in 0u32..1_000_000_000) {
            let ours = rfc3339_nano(seconds * 1_000_000_000 + u64::from(nanoseconds));
            let theirs = jiff::Timestamp::new(seconds as i64, nanoseconds as i32).unwrap();
            prop_assert_eq!(ours.parse::<jiff::Timestamp>().unwrap(), theirs);
        }
    }

    #[test]
    fn writes_no_more_digits_than_needed() {
        assert_eq!(rfc3339_nano(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339_nano(951_782_400_120_000_000), "2000-02-29T00:00:00.12Z");
    }
}
