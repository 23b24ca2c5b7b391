//! A build as it goes: plain lines, lines that are drawn again on a terminal, or JSON for programs.

mod live;
mod plain;
mod rawjson;

use std::io::IsTerminal as _;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use carrack_diag::{Diagnostic, Result};
use carrack_engine::build::{self, Event};

use crate::arguments::Progress;
use crate::flags;
use crate::output::note;

/// What is shown of one command's builds.
pub(super) struct Display {
    kind: Kind,
    began: Instant,
    state: Mutex<State>,
    resumed: Condvar,
    live: Option<live::Ticker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing, not even the result.
    Silent,
    Quiet,
    Plain,
    Live,
    Json,
}

#[derive(Default)]
struct State {
    builds: Vec<Build>,
    /// Somebody is in a shell; everything else waits.
    is_in_shell: bool,
}

/// One of them.
#[derive(Default)]
struct Build {
    /// Whose it is, where there are several.
    label: Option<String>,
    steps: Vec<Step>,
}

#[derive(Default)]
struct Step {
    name: String,
    /// Indexes of those that it needs.
    inputs: Vec<usize>,
    began: Option<Instant>,
    is_over: bool,
    /// What it has written behind its last newline.
    partial: Vec<u8>,
    /// The last lines that it has written, for the terminal.
    tail: std::collections::VecDeque<String>,
}

/// What one build tells.
pub(super) struct Watcher<'a> {
    display: &'a Display,
    build: usize,
}

impl Display {
    /// As `--progress` says, else `BUILDKIT_PROGRESS`, else as fits the terminal.
    pub(super) fn new(asked: Option<Progress>, quiet: bool, json: bool) -> Result<Self> {
        let kind = match asked.map_or_else(from_environment, Ok)? {
            _ if json => Kind::Quiet,
            Progress::Quiet => Kind::Quiet,
            Progress::None if !quiet => Kind::Silent,
            Progress::Rawjson => Kind::Json,
            _ if quiet => Kind::Quiet,
            Progress::Plain => Kind::Plain,
            Progress::Tty if !std::io::stderr().is_terminal() => {
                return Err(flags::invalid("--progress", "tty", "plain or auto: standard error is no terminal"));
            }
            Progress::Auto if !std::io::stderr().is_terminal() => Kind::Plain,
            Progress::Auto | Progress::Tty | Progress::None => Kind::Live,
        };
        Ok(Self {
            kind,
            began: Instant::now(),
            state: Mutex::default(),
            resumed: Condvar::new(),
            live: (kind == Kind::Live).then(live::Ticker::default),
        })
    }

    /// Whether nothing is told beside the result.
    pub(super) fn is_quiet(&self) -> bool {
        self.kind == Kind::Quiet
    }

    /// Whether people read it.
    pub(super) fn is_text(&self) -> bool {
        matches!(self.kind, Kind::Plain | Kind::Live)
    }

    /// Tells the warnings that a build ends with to programs; people read diagnostics.
    pub(super) fn warn(&self, warnings: &[Diagnostic]) {
        if self.kind == Kind::Json && !warnings.is_empty() {
            rawjson::warnings(warnings);
        }
    }

    /// A further build. Lines of one of several carry its label.
    pub(super) fn watch(&self, label: Option<&str>) -> Watcher<'_> {
        let mut state = self.lock();
        state.builds.push(Build { label: label.map(str::to_owned), ..Build::default() });
        Watcher { display: self, build: state.builds.len() - 1 }
    }

    /// Does `work`, while what is to be drawn again is.
    pub(super) fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        let Some(ticker) = &self.live else { return work() };
        ticker.during(|| self.draw(), work, || self.finish())
    }

    fn draw(&self) {
        let state = self.lock();
        if !state.is_in_shell {
            live::draw(&state.builds, self.began);
        }
    }

    fn finish(&self) {
        live::finish(&self.lock().builds, self.began);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As buildx takes it.
fn from_environment() -> Result<Progress> {
    const NAME: &str = "BUILDKIT_PROGRESS";
    let Ok(text) = std::env::var(NAME) else { return Ok(Progress::Auto) };
    match text.as_str() {
        "" | "auto" => Ok(Progress::Auto),
        "plain" => Ok(Progress::Plain),
        // A wish of all commands, also of those whose output goes to a file.
        "tty" if std::io::stderr().is_terminal() => Ok(Progress::Tty),
        "tty" => Ok(Progress::Auto),
        "quiet" => Ok(Progress::Quiet),
        "none" => Ok(Progress::None),
        "rawjson" => Ok(Progress::Rawjson),
        _ => Err(flags::invalid(NAME, &text, "auto, plain, tty, quiet, none or rawjson")),
    }
}

impl build::Progress for Watcher<'_> {
    fn event(&self, event: Event<'_>) {
        let display = self.display;
        let mut state = display.lock();
        match event {
            Event::ShellClosed => {
                state.is_in_shell = false;
                display.resumed.notify_all();
                return;
            }
            _ => {
                while state.is_in_shell {
                    state = display.resumed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        let State { builds, is_in_shell } = &mut *state;
        let build = &mut builds[self.build];
        match &event {
            Event::Planned { names, inputs } => {
                let steps = names.iter().zip(inputs);
                let step = |(name, inputs): (&&str, &Vec<usize>)| Step {
                    name: (*name).to_owned(),
                    inputs: inputs.clone(),
                    ..Step::default()
                };
                build.steps = steps.map(step).collect();
            }
            Event::Started { vertex } => build.steps[*vertex].began = Some(Instant::now()),
            Event::ShellOpened { vertex, program, has_failed } => {
                *is_in_shell = true;
                note(&banner(&build.steps[*vertex].name, program, *has_failed));
            }
            _ => {}
        }
        match display.kind {
            Kind::Silent | Kind::Quiet => {}
            Kind::Plain => plain::event(build, &event, display.began),
            Kind::Live => live::event(build, &event),
            Kind::Json => rawjson::event(build, self.build, &event),
        }
        if let Event::Done { vertex, .. } | Event::Failed { vertex, .. } = event {
            build.steps[vertex].is_over = true;
        }
    }
}

fn banner(name: &str, program: &[String], has_failed: bool) -> String {
    const LIMIT: usize = 60;
    let mut name = name.split_whitespace().collect::<Vec<_>>().join(" ");
    if name.chars().count() > LIMIT {
        name = name.chars().take(LIMIT).chain(['…']).collect();
    }
    let what = if has_failed { format!("{name} failed: a shell in what it has left") } else { name };
    let which = match program {
        [_, _, ..] => "the image has no shell, this is the host's busybox".to_owned(),
        _ => program.concat(),
    };
    format!("carrack: {what} ({which}). What is done in it is thrown away; `exit` ends it.\n")
}

impl Step {
    /// The lines that are whole with these bytes. A progress bar rewrites its line: only what it ends as counts.
    fn lines(&mut self, bytes: &[u8]) -> Vec<String> {
        self.partial.extend_from_slice(bytes);
        let whole = self.partial.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let rest = self.partial.split_off(whole);
        let text = std::mem::replace(&mut self.partial, rest);
        let last = |line: &str| line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("").to_owned();
        String::from_utf8_lossy(&text).lines().map(last).collect()
    }
}
