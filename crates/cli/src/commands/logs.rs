//! `logs`: of a container, or of the project's services.

use std::io::Write;

use carrack_engine::{LogLine, LogOptions};

use super::{Session, stack};
use crate::arguments::{LogsArguments, ProjectArguments};
use crate::flags;
use crate::output::{Outcome, exit};

pub(crate) fn logs(session: &Session, arguments: &LogsArguments) -> Outcome {
    let options = options(arguments.follow, &arguments.lines)?;
    let engine = session.observer()?;
    if let [name] = arguments.names.as_slice()
        && engine.container(name).is_ok()
    {
        let timestamps = arguments.timestamps;
        engine.logs(name, &options, &mut |line| write_line(line, timestamps, ""))?;
        return Ok(exit::DONE);
    }
    let project = ProjectArguments { file: arguments.compose_files.clone(), setting: arguments.setting.clone() };
    let style = stack::Style { timestamps: arguments.timestamps, prefix: true, since: None };
    stack::project_logs(session, &project, &arguments.names, &options, &style)
}

pub(crate) fn options(follow: bool, lines: &str) -> carrack_diag::Result<LogOptions> {
    let tail = match lines {
        "all" => None,
        number => Some(number.parse().map_err(|_| flags::invalid("--tail", number, "a number or `all`"))?),
    };
    Ok(LogOptions { follow, tail })
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
