//! Signals by name and number, as people write them: `TERM`, `SIGTERM`, `15`.

use carrack_diag::{Diagnostic, Result};
use rustix::process::Signal;

use crate::codes;

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

/// The signal of a name or number.
pub(crate) fn parse(text: &str) -> Result<Signal> {
    let upper = text.trim().to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let by_number = || name.parse::<i32>().ok().and_then(Signal::from_named_raw);
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, signal)| *signal).or_else(by_number).ok_or_else(|| {
        Diagnostic::error(&codes::INVALID_SIGNAL, format!("`{text}` is not a signal"))
            .hint("write a name such as TERM or SIGTERM, or a number from 1 to 31")
            .boxed()
    })
}
