//! `logs`: of a container, or of the project's services.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carrack_engine::{LogLine, LogOptions};

use super::{Session, stack};
use crate::arguments::{LogsArguments, ProjectArguments};
use crate::output::{Outcome, exit};
use crate::{codes, flags};

pub(crate) fn logs(session: &Session, arguments: &LogsArguments) -> Outcome {
    let now = jiff::Timestamp::now();
    let time = |flag: &str, text: &Option<String>| text.as_deref().map(|text| flags::time(flag, text, now)).transpose();
    let options = LogOptions {
        since: time("--since", &arguments.since)?,
        until: time("--until", &arguments.until)?,
        ..options(arguments.follow, &arguments.lines)?
    };
    let engine = session.observer()?;
    let container = match arguments.names.as_slice() {
        [name] => Some(engine.container(name).map(|view| (name, view.record.name))),
        _ => None,
    };
    let shape = Shape { json: session.output.json, timestamps: arguments.timestamps, details: arguments.details };
    if let Some(Ok((id, name))) = container {
        let mut writer = Writer::new(shape, &name, "");
        engine.logs(id, &options, &mut |line| writer.line(line))?;
        writer.flush();
        return Ok(exit::DONE);
    }
    let project = ProjectArguments { file: arguments.compose_files.clone(), setting: arguments.setting.clone() };
    let style = stack::Style { shape, prefix: true };
    let shown = stack::project_logs(session, &project, &arguments.names, &options, &style);
    match (shown, container) {
        // Where there is no project, a container was meant.
        (Err(failure), Some(Err(error))) if failure.diagnostics.iter().any(|one| one.code == &codes::NO_PROJECT) => {
            Err(error.into())
        }
        (shown, _) => shown,
    }
}

pub(crate) fn options(follow: bool, lines: &str) -> carrack_diag::Result<LogOptions> {
    let tail = match lines {
        "all" => None,
        // Docker takes any negative number for all of them.
        number if number.strip_prefix('-').is_some_and(|number| number.parse::<u64>().is_ok()) => None,
        number => Some(number.parse().map_err(|_| flags::invalid("--tail", number, "a number or `all`"))?),
    };
    Ok(LogOptions { follow, tail, ..LogOptions::default() })
}

/// How lines are shown.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shape {
    /// Each as an envelope of its own, whatever else is asked for.
    pub(crate) json: bool,
    /// With their times.
    pub(crate) timestamps: bool,
    /// With what the log driver was asked to say with each.
    pub(crate) details: bool,
}

/// Beyond this much is written whatever comes next, in bytes.
const WRITE_SIZE: usize = 64 << 10;

/// Shows the lines of one container on the streams that they came from, many with one write.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    shape: Shape,
    container: &'a str,
    prefix: &'a str,
    waiting: Vec<u8>,
    /// Where that goes.
    stderr: bool,
    /// Of standard output and error: what comes next goes on with a line that was too long for one entry.
    midline: [bool; 2],
}

impl<'a> Writer<'a> {
    pub(crate) fn new(shape: Shape, container: &'a str, prefix: &'a str) -> Self {
        Self { shape, container, prefix, waiting: Vec::new(), stderr: false, midline: [false; 2] }
    }

    /// Adds one. False where the reader is gone.
    pub(crate) fn line(&mut self, line: &LogLine) -> bool {
        let stderr = line.stderr && !self.shape.json;
        if stderr != self.stderr && !self.flush() {
            return false;
        }
        self.stderr = stderr;
        if self.shape.json {
            self.envelope(line);
        } else {
            self.text(line);
        }
        (line.more && self.waiting.len() < WRITE_SIZE) || self.flush()
    }

    fn text(&mut self, line: &LogLine) {
        let midline = std::mem::replace(&mut self.midline[usize::from(line.stderr)], !line.text.ends_with(b"\n"));
        if !midline {
            self.waiting.extend_from_slice(self.prefix.as_bytes());
            if self.shape.timestamps {
                self.waiting.extend_from_slice(line.time.as_bytes());
                self.waiting.push(b' ');
            }
            if self.shape.details {
                let details: Vec<String> = line
                    .attributes
                    .iter()
                    .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
                    .collect();
                self.waiting.extend_from_slice(details.join(",").as_bytes());
                self.waiting.push(b' ');
            }
        }
        self.waiting.extend_from_slice(&line.text);
    }

    fn envelope(&mut self, line: &LogLine) {
        let mut result = serde_json::json!({
            "container": self.container,
            "stream": if line.stderr { "stderr" } else { "stdout" },
            "time": line.time,
            "text": String::from_utf8_lossy(&line.text),
        });
        if std::str::from_utf8(&line.text).is_err() {
            result["bytes"] = STANDARD.encode(&line.text).into();
        }
        if !line.attributes.is_empty() {
            result["attributes"] = serde_json::json!(line.attributes);
        }
        let none: [(); 0] = [];
        let envelope =
            serde_json::json!({ "schema": "carrack/v1/logs", "ok": true, "result": result, "diagnostics": none });
        self.waiting.extend_from_slice(format!("{envelope}\n").as_bytes());
    }

    /// Writes what waits. False where the reader is gone.
    pub(crate) fn flush(&mut self) -> bool {
        let written = if self.stderr {
            std::io::stderr().lock().write_all(&self.waiting)
        } else {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(&self.waiting).and_then(|()| stdout.flush())
        };
        self.waiting.clear();
        written.is_ok()
    }
}

/// As in the query of an address, which is Docker's form: no value is taken for two.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b' ' => escaped.push('+'),
            b'-' | b'_' | b'.' | b'~' => escaped.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => escaped.push(byte.into()),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
