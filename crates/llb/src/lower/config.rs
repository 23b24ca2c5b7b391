//! Instructions that change what the image says of itself, and no files.

use std::fmt::Write as _;

use carrack_diag::Diagnostic;
use carrack_dockerfile::ast::{Assignment, Command, CommandLine, Healthcheck, Instruction, Word};
use carrack_dockerfile::parse_port;
use carrack_oci::Empty;

use super::Lowering;
use super::stage::Stage;
use crate::codes;

/// What shell-form commands are given to where SHELL says nothing.
const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Names without SIG that a signal may have on Linux, beside the real-time ones.
const SIGNALS: [&str; 33] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU",
];

impl Lowering<'_> {
    pub(super) fn configure(&mut self, stage: &mut Stage, instruction: &Instruction) {
        match &instruction.command {
            Command::Cmd(line) => {
                let arguments = stage.arguments(line);
                stage.record(format!("CMD {}", quoted(&arguments)), None);
                stage.image.config.cmd = Some(arguments);
                // Without meaning on Linux, and part of what BuildKit writes.
                stage.image.config.args_escaped = true;
                stage.has_own_cmd = true;
            }
            Command::Entrypoint(line) => {
                let arguments = stage.arguments(line);
                stage.record(format!("ENTRYPOINT {}", quoted(&arguments)), None);
                stage.image.config.entrypoint = Some(arguments);
                if !stage.has_own_cmd {
                    stage.image.config.cmd = None;
                }
            }
            Command::Env(assignments) => self.env(stage, assignments),
            Command::Label(assignments) => self.label(stage, assignments),
            Command::Expose(words) => self.expose(stage, words),
            Command::Healthcheck(check) => healthcheck(stage, check),
            Command::Maintainer(name) => {
                stage.image.author = Some(name.value.clone());
                stage.record(format!("MAINTAINER {}", name.value), None);
            }
            Command::Onbuild(inner) => {
                let text = trigger_text(inner);
                stage.image.config.on_build.push(text);
            }
            Command::Shell(words) => {
                let words: Vec<_> = words.iter().map(|word| word.value.clone()).collect();
                stage.record(format!("SHELL [{}]", words.join(" ")), None);
                stage.image.config.shell = Some(words);
            }
            Command::StopSignal(word) => self.stop_signal(stage, word),
            Command::User(word) => {
                let Some(user) = stage.scope.word(word, &mut self.diagnostics) else { return };
                stage.record(format!("USER {user}"), None);
                stage.image.config.user = user;
            }
            Command::Volume(words) => self.volume(stage, words),
            // These have been seen to by the caller.
            Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_) | Command::Arg(_) => {}
        }
    }

    /// The pairs of one instruction are expanded with what was set before it, not by it.
    fn pairs(&mut self, stage: &Stage, assignments: &[Assignment]) -> Option<Vec<(String, String)>> {
        let pairs = assignments.iter().map(|assignment| {
            let name = stage.scope.word(&assignment.name, &mut self.diagnostics);
            let value = stage.scope.word(&assignment.value, &mut self.diagnostics);
            Some((name?, value?))
        });
        pairs.collect::<Vec<_>>().into_iter().collect()
    }

    fn env(&mut self, stage: &mut Stage, assignments: &[Assignment]) {
        let Some(pairs) = self.pairs(stage, assignments) else { return };
        let mut text = String::from("ENV");
        for (name, value) in pairs {
            let _ = write!(text, " {name}={value}");
            stage.scope.set(name, value);
        }
        stage.store_environment();
        stage.record(text, None);
    }

    fn label(&mut self, stage: &mut Stage, assignments: &[Assignment]) {
        let Some(pairs) = self.pairs(stage, assignments) else { return };
        let mut text = String::from("LABEL");
        for (name, value) in pairs {
            let _ = write!(text, " {name}={value}");
            stage.image.config.labels.insert(name, value);
        }
        stage.record(text, None);
    }

    fn expose(&mut self, stage: &mut Stage, words: &[Word]) {
        let mut exposed = Vec::new();
        for word in words {
            let Some(values) = stage.scope.words(word, &mut self.diagnostics) else { continue };
            for value in values {
                match parse_port(&value) {
                    Ok(port) => {
                        exposed.extend((port.first..=port.last).map(|number| format!("{number}/{}", port.protocol)));
                    }
                    Err(reason) => self.diagnostics.push(
                        Diagnostic::error(&codes::INVALID_VALUE, format!("EXPOSE cannot read `{value}`"))
                            .at(word.span, "malformed port")
                            .cause(reason)
                            .hint("write PORT[-PORT][/PROTOCOL]"),
                    ),
                }
            }
        }
        exposed.sort();
        stage.record(format!("EXPOSE [{}]", exposed.join(" ")), None);
        stage.image.config.exposed_ports.extend(exposed.into_iter().map(|port| (port, Empty {})));
    }

    fn stop_signal(&mut self, stage: &mut Stage, word: &Word) {
        let Some(signal) = stage.scope.word(word, &mut self.diagnostics) else { return };
        if !is_signal(&signal) {
            self.diagnostics.push(
                Diagnostic::error(&codes::INVALID_VALUE, format!("`{signal}` is not a signal"))
                    .at(word.span, "unknown signal")
                    .hint("write a name such as SIGQUIT, or a number from 1 to 64"),
            );
        }
        stage.record(format!("STOPSIGNAL {signal}"), None);
        stage.image.config.stop_signal = Some(signal);
    }

    fn volume(&mut self, stage: &mut Stage, words: &[Word]) {
        let mut paths = Vec::new();
        for word in words {
            match stage.scope.word(word, &mut self.diagnostics) {
                Some(path) if path.is_empty() => self.diagnostics.push(
                    Diagnostic::error(&codes::INVALID_VALUE, "VOLUME expands to an empty path")
                        .at(word.span, "expands to nothing")
                        .hint("give the variable a value"),
                ),
                Some(path) => paths.push(path),
                None => {}
            }
        }
        stage.record(format!("VOLUME [{}]", paths.join(" ")), None);
        stage.image.config.volumes.extend(paths.into_iter().map(|path| (path, Empty {})));
    }
}

impl Stage {
    /// The shell of shell-form commands.
    pub(super) fn shell(&self) -> Vec<String> {
        match &self.image.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ => DEFAULT_SHELL.map(str::to_owned).to_vec(),
        }
    }

    fn arguments(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.iter().map(|word| word.value.clone()).collect(),
            CommandLine::Shell(text) if text.value.is_empty() => Vec::new(),
            CommandLine::Shell(text) => {
                let mut arguments = self.shell();
                arguments.push(text.value.clone());
                arguments
            }
        }
    }
}

fn healthcheck(stage: &mut Stage, check: &Healthcheck) {
    let mut stored = carrack_oci::Healthcheck::default();
    match check {
        Healthcheck::None => stored.test = vec!["NONE".into()],
        Healthcheck::Cmd { command, interval_ns, timeout_ns, start_period_ns, start_interval_ns, retries } => {
            stored.test = match command {
                CommandLine::Shell(text) => vec!["CMD-SHELL".into(), text.value.clone()],
                CommandLine::Exec(words) => {
                    std::iter::once("CMD".into()).chain(words.iter().map(|word| word.value.clone())).collect()
                }
            };
            stored.interval = interval_ns.unwrap_or_default();
            stored.timeout = timeout_ns.unwrap_or_default();
            stored.start_period = start_period_ns.unwrap_or_default();
            stored.start_interval = start_interval_ns.unwrap_or_default();
            stored.retries = retries.unwrap_or_default();
        }
    }
    let text = format!(
        "HEALTHCHECK &{{{} {} {} {} {} '\\x{:02x}'}}",
        quoted(&stored.test),
        quoted_duration(stored.interval),
        quoted_duration(stored.timeout),
        quoted_duration(stored.start_period),
        quoted_duration(stored.start_interval),
        stored.retries
    );
    stage.record(text, None);
    stage.image.config.healthcheck = Some(stored);
}

/// As Go prints a duration: `1m0s`, `500ms`, `1.5s`.
fn quoted_duration(nanoseconds: u64) -> String {
    let (minutes, rest) = (nanoseconds / 60_000_000_000, nanoseconds % 60_000_000_000);
    let text = match (minutes, rest) {
        (0, 0) => "0s".to_owned(),
        (0, 1..1_000) => format!("{rest}ns"),
        (0, 1_000..1_000_000) => format!("{}µs", rest as f64 / 1e3),
        (0, 1_000_000..1_000_000_000) => format!("{}ms", rest as f64 / 1e6),
        (0, _) => format!("{}s", rest as f64 / 1e9),
        (1..60, _) => format!("{minutes}m{}s", rest as f64 / 1e9),
        _ => format!("{}h{}m{}s", minutes / 60, minutes % 60, rest as f64 / 1e9),
    };
    format!("\"{text}\"")
}

/// As Go prints a list of quoted strings: `["a" "b"]`.
fn quoted(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

/// An instruction as it is stored in an image: its line, then its here-documents.
fn trigger_text(instruction: &Instruction) -> String {
    let mut text = instruction.text.clone();
    let heredocs: Vec<_> = match &instruction.command {
        Command::Run(run) => run.heredocs.iter().collect(),
        Command::Add(copy) | Command::Copy(copy) => copy
            .sources
            .iter()
            .filter_map(|source| match source {
                carrack_dockerfile::ast::CopySource::Heredoc(heredoc) => Some(heredoc),
                carrack_dockerfile::ast::CopySource::Path(_) => None,
            })
            .collect(),
        _ => Vec::new(),
    };
    for heredoc in heredocs {
        let _ = write!(text, "\n{}{}", heredoc.content.value, heredoc.name.value);
    }
    text
}

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u32>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let base = name.split(['+', '-']).next().unwrap_or_default();
    SIGNALS.contains(&name) || name == "XFSZ" || matches!(base, "RTMIN" | "RTMAX")
}
