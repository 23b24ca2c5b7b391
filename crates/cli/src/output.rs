//! What people and programs read: tables and texts on one side, the JSON envelope on the other.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use carrack_diag::{Diagnostic, Rendering, SourceMap};
use serde::Serialize;

use crate::template::columns;

/// How this invocation answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Whether standard output carries the JSON envelope.
    pub(crate) json: bool,
    /// Whether nobody wants to read warnings.
    pub(crate) without_warnings: bool,
}

/// A command that did not do what was asked: why, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) sources: SourceMap,
    pub(crate) exit_code: u8,
}

impl Failure {
    /// Errors that point into `sources`.
    pub(crate) fn new(diagnostics: Vec<Diagnostic>, sources: SourceMap) -> Self {
        Self { diagnostics, sources, exit_code: exit::FAILED }
    }

    /// The same with another exit code.
    pub(crate) fn exit(mut self, exit_code: u8) -> Self {
        self.exit_code = exit_code;
        self
    }
}

impl From<Box<Diagnostic>> for Failure {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        let is_usage = diagnostic.code == &crate::codes::NO_FILTER;
        let failure = Self::new(vec![*diagnostic], SourceMap::new());
        if is_usage { failure.exit(exit::ENGINE) } else { failure }
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::new(vec![diagnostic], SourceMap::new())
    }
}

/// What a command gives back: its exit code, or why it failed.
pub(crate) type Outcome = Result<u8, Failure>;

/// Exit codes of the workflow's verbs. Docker's verbs have Docker's.
pub(crate) mod exit {
    pub(crate) const DONE: u8 = 0;
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const PLAN_NOT_EMPTY: u8 = 10;
    pub(crate) const CONFIRM: u8 = 11;
    pub(crate) const UNHEALTHY: u8 = 14;
    /// What was looked at is not as it was to be.
    pub(crate) const FINDINGS: u8 = 16;
    /// Docker's: the engine could not run the container.
    pub(crate) const ENGINE: u8 = 125;
    /// As a program that SIGINT ended.
    pub(crate) const INTERRUPTED: u8 = 130;
}

impl Output {
    /// Prints a result: as the envelope of `schema`, or as `text` makes it.
    pub(crate) fn result<T: Serialize>(self, schema: &str, result: &T, text: impl FnOnce(&T) -> String) {
        if self.json {
            self.envelope(schema, Some(result), &[], &SourceMap::new());
        } else {
            print(&text(result));
        }
    }

    /// Prints diagnostics where they belong: into the envelope of a failure, or on standard error.
    pub(crate) fn failure(self, schema: &str, failure: &Failure) {
        if self.json {
            self.envelope::<()>(schema, None, &failure.diagnostics, &failure.sources);
        } else {
            self.diagnostics(&failure.diagnostics, &failure.sources);
        }
    }

    /// Prints warnings and errors on standard error; in JSON they go into the envelope of the answer.
    pub(crate) fn diagnostics(self, diagnostics: &[Diagnostic], sources: &SourceMap) {
        if self.json {
            told().extend(diagnostics.iter().map(|diagnostic| carrack_diag::json(diagnostic, sources)));
            return;
        }
        let rendering = Rendering { color: colors_on_stderr() };
        let is_told = |diagnostic: &&Diagnostic| diagnostic.is_error() || !self.without_warnings;
        for diagnostic in diagnostics.iter().filter(is_told) {
            note(&carrack_diag::text(diagnostic, sources, rendering));
        }
    }

    fn envelope<T: Serialize>(self, schema: &str, result: Option<&T>, diagnostics: &[Diagnostic], sources: &SourceMap) {
        let mut all = std::mem::take(&mut *told());
        all.extend(diagnostics.iter().map(|diagnostic| carrack_diag::json(diagnostic, sources)));
        let ok = !all.iter().any(|diagnostic| diagnostic["severity"] == "error");
        let envelope = serde_json::json!({
            "schema": format!("carrack/v1/{schema}"),
            "ok": ok,
            "result": result,
            "diagnostics": all,
        });
        print(&format!("{envelope}\n"));
    }
}

/// Warnings that wait for the envelope: one answer a process, and its sources may be gone by then.
fn told() -> MutexGuard<'static, Vec<serde_json::Value>> {
    static TOLD: Mutex<Vec<serde_json::Value>> = Mutex::new(Vec::new());
    TOLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to standard output. A reader that went away ends the program quietly, as SIGPIPE would.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_err() {
        std::process::exit(141);
    }
}

/// Writes to standard error; nobody can be told where that fails.
pub(crate) fn note(text: &str) {
    above(&mut drawn(), text);
}

/// Draws lines on standard error in place of those drawn before. What is written otherwise goes above them. They must fit
/// the terminal.
pub(crate) fn live(lines: &[String]) {
    let mut count = drawn();
    above(&mut count, &lines.iter().map(|line| format!("{line}\n")).collect::<String>());
    *count = lines.len();
}

/// Writes where the lines that are drawn again and again begin, and takes them away.
fn above(count: &mut usize, text: &str) {
    let erased = match std::mem::take(count) {
        0 => String::new(),
        count => format!("\x1b[{count}A\x1b[J"),
    };
    let _ = std::io::stderr().lock().write_all(format!("{erased}{text}").as_bytes());
}

/// How many lines are drawn at the bottom of the terminal.
fn drawn() -> MutexGuard<'static, usize> {
    static DRAWN: Mutex<usize> = Mutex::new(0);
    DRAWN.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn colors_on_stderr() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A table as Docker prints them: see [`columns`].
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = header.join("\t") + "\n";
    for row in rows {
        text.push_str(&row.join("\t"));
        text.push('\n');
    }
    columns(&text)
}

/// `3 minutes`, as Docker says durations.
pub(crate) fn human_duration(seconds: i64) -> String {
    let plural = |number: i64, unit: &str| format!("{number} {unit}{}", if number == 1 { "" } else { "s" });
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => plural(seconds, "second"),
        60..120 => "About a minute".to_owned(),
        120..3600 => plural(seconds / 60, "minute"),
        3600..7200 => "About an hour".to_owned(),
        7200..172_800 => plural(seconds / 3600, "hour"),
        172_800..1_209_600 => plural(seconds / 86_400, "day"),
        1_209_600..5_184_000 => plural(seconds / 604_800, "week"),
        5_184_000..63_072_000 => plural(seconds / 2_592_000, "month"),
        _ => plural(seconds / 31_536_000, "year"),
    }
}

/// `2026-11-21 09:57:54 UTC`, from RFC 3339 in UTC.
pub(crate) fn human_time(text: &str) -> String {
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => text.to_owned(),
    }
}

/// `1.98MB`, decimal, as Docker says the size of one thing: three significant digits.
pub(crate) fn human_size(bytes: u64) -> String {
    decimal_size(bytes, 2)
}

/// `1.984MB`, as Docker says sums: four significant digits.
pub(crate) fn human_sum(bytes: u64) -> String {
    decimal_size(bytes, 3)
}

/// With so many digits behind the point of a number below ten.
fn decimal_size(bytes: u64, digits: usize) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        100.0.. => digits - 2,
        10.0.. => digits - 1,
        _ => digits,
    };
    let number = format!("{value:.digits$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", UNITS[unit])
}

/// `668KiB`, `23.54GiB`: four significant digits, as Docker says memory.
pub(crate) fn binary_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        _ => 3,
    };
    let number = format!("{value:.digits$}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::{binary_size, human_size, human_sum, table};

    #[test]
    fn sizes_have_docker_s_digits() {
        for (bytes, size, sum) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1_984_301, "1.98MB", "1.984MB"),
            (15_640_000, "15.6MB", "15.64MB"),
            (526_312_345, "526MB", "526.3MB"),
            (2_000_000_000, "2GB", "2GB"),
        ] {
            assert_eq!((human_size(bytes).as_str(), human_sum(bytes).as_str()), (size, sum));
        }
    }

    #[test]
    fn tables_end_as_docker_s_do() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            table(&["NAME", "ENDPOINT", "ERROR"], &[row(["default *", "unix:///var/run/docker.sock", ""])]),
            "NAME        ENDPOINT                      ERROR\ndefault *   unix:///var/run/docker.sock   \n"
        );
        assert_eq!(table(&["A", "B", "C"], &[]), "A         B         C\n");
    }

    #[test]
    fn memory_is_said_as_in_docker() {
        for (bytes, text) in [
            (0, "0B"),
            (668 << 10, "668KiB"),
            (25_276_000_000, "23.54GiB"),
            (1023, "1023B"),
            (1024, "1KiB"),
            (1536, "1.5KiB"),
            (60 << 20, "60MiB"),
        ] {
            assert_eq!(binary_size(bytes), text);
        }
    }
}
