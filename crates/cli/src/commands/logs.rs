//! `logs`: of a container, or of the project's services.

use std::io::Write;

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
        [name] => Some(engine.container(name).map(|_| name)),
        _ => None,
    };
    if let Some(Ok(name)) = container {
        let timestamps = arguments.timestamps;
        engine.logs(name, &options, &mut |line| write_line(line, timestamps, ""))?;
        return Ok(exit::DONE);
    }
    let project = ProjectArguments { file: arguments.compose_files.clone(), setting: arguments.setting.clone() };
    let style = stack::Style { timestamps: arguments.timestamps, prefix: true };
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

/// One line of output on the stream it came from. False where the reader is gone.
pub(crate) fn write_line(line: &LogLine, timestamps: bool, prefix: &str) -> bool {
    let mut text = Vec::with_capacity(line.text.len() + prefix.len() + 32);
    text.extend_from_slice(prefix.as_bytes());
    if timestamps {
        text.extend_from_slice(line.time.as_bytes());
        text.push(b' ');
    }
    text.extend_from_slice(&line.text);
    let written = if line.stderr {
        std::io::stderr().lock().write_all(&text)
    } else {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(&text).and_then(|()| stdout.flush())
    };
    written.is_ok()
}
