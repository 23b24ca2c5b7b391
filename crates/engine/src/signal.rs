//! Signals by name and number, as people write them: `TERM`, `SIGTERM`, `15`, `RTMIN+3`.

use carrack_diag::{Diagnostic, Result};
use rustix::process::Signal;

use crate::codes;

/// SIGTERM.
pub(crate) const TERM: i32 = Signal::TERM.as_raw();

/// SIGKILL.
pub(crate) const KILL: i32 = Signal::KILL.as_raw();

/// The first and the last real-time signal as programs see them: C libraries keep 32 and 33 for themselves.
const REAL_TIME: (i32, i32) = (34, 64);

const NAMES: [(&str, Signal); 31] = [
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("QUIT", Signal::QUIT),
    ("ILL", Signal::ILL),
    ("TRAP", Signal::TRAP),
    ("ABRT", Signal::ABORT),
    ("BUS", Signal::BUS),
    ("FPE", Signal::FPE),
    ("KILL", Signal::KILL),
    ("USR1", Signal::USR1),
    ("SEGV", Signal::SEGV),
    ("USR2", Signal::USR2),
    ("PIPE", Signal::PIPE),
    ("ALRM", Signal::ALARM),
    ("TERM", Signal::TERM),
    ("STKFLT", Signal::STKFLT),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("STOP", Signal::STOP),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("URG", Signal::URG),
    ("XCPU", Signal::XCPU),
    ("XFSZ", Signal::XFSZ),
    ("VTALRM", Signal::VTALARM),
    ("PROF", Signal::PROF),
    ("WINCH", Signal::WINCH),
    ("IO", Signal::IO),
    ("PWR", Signal::POWER),
    ("SYS", Signal::SYS),
];

/// The number of a signal that is given by name or number.
pub(crate) fn parse(text: &str) -> Result<i32> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_name = || NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| signal.as_raw());
    let by_number = || name.parse().ok().filter(|number| (1..=REAL_TIME.1).contains(number));
    by_name().or_else(by_number).or_else(|| real_time(name)).ok_or_else(|| {
        Diagnostic::error(&codes::INVALID_SIGNAL, format!("`{text}` is not a signal"))
            .hint("write a name such as TERM, SIGTERM or RTMIN+3, or a number from 1 to 64")
            .boxed()
    })
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-2`.
fn real_time(name: &str) -> Option<i32> {
    let (first, last) = REAL_TIME;
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        text => text.strip_prefix(sign)?.parse::<u8>().ok().map(i32::from),
    };
    let number = match name.strip_prefix("RTMIN") {
        Some(rest) => first + offset(rest, '+')?,
        None => last - offset(name.strip_prefix("RTMAX")?, '-')?,
    };
    (first..=last).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers_as_in_docker() {
        for (text, number) in [
            ("TERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("KILL", 9),
            ("64", 64),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMAX-2", 62),
            ("RTMAX", 64),
            ("RTMIN+30", 64),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["", "0", "65", "-9", "SIG", "XX", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN+", "RTMIN+-1"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
