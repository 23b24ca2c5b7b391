//! On a terminal: steps that are over scroll away, those that run are drawn again with their times and last lines.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use carrack_engine::build::Event;

use super::{Build, Step};
use crate::output::{colors_on_stderr, live, note};

/// How often times are brought up to date.
const PERIOD: Duration = Duration::from_millis(100);

/// How many of the last lines of a running step are shown.
const TAIL_LINES: usize = 5;

/// Draws while work is done.
#[derive(Default)]
pub(super) struct Ticker;

impl Ticker {
    pub(super) fn during<T>(&self, draw: impl Fn() + Sync, work: impl FnOnce() -> T, end: impl FnOnce()) -> T {
        std::thread::scope(|scope| {
            let (ended, over) = channel::<()>();
            scope.spawn(|| {
                let over = over;
                while over.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                    draw();
                }
            });
            let result = work();
            drop(ended);
            end();
            result
        })
    }
}

pub(super) fn event(build: &mut Build, event: &Event<'_>) {
    match event {
        Event::Output { vertex, bytes, .. } => {
            let step = &mut build.steps[*vertex];
            for line in step.lines(bytes) {
                step.tail.push_back(printable(&line));
            }
            while step.tail.len() > TAIL_LINES {
                step.tail.pop_front();
            }
        }
        Event::Done { vertex, is_cached, duration } => {
            let word = if *is_cached { "CACHED " } else { "" };
            over(build, *vertex, word, *duration, "34");
        }
        Event::Failed { vertex, duration } => over(build, *vertex, "ERROR ", *duration, "31"),
        _ => {}
    }
}

fn over(build: &Build, vertex: usize, word: &str, duration: Duration, color: &str) {
    let text = format!("{word}{}", shown(build, &build.steps[vertex]));
    note(&format!("{}\n", painted(&line(&text, duration, width()), color)));
}

/// The steps that run, below a line that says how far it has come.
pub(super) fn draw(builds: &[Build], began: Instant) {
    let (width, height) = (width(), height());
    let mut lines = vec![heading(builds, began, "")];
    for build in builds {
        for step in build.steps.iter().filter(|step| !step.is_over) {
            let Some(began) = step.began else { continue };
            lines.push(line(&shown(build, step), began.elapsed(), width));
            lines.extend(step.tail.iter().map(|text| cut(&format!(" => => # {text}"), width)));
        }
    }
    lines.truncate(height.saturating_sub(1).max(1));
    live(&lines);
}

/// What stays when all is over.
pub(super) fn finish(builds: &[Build], began: Instant) {
    note(&format!("{}\n", heading(builds, began, " FINISHED")));
}

fn heading(builds: &[Build], began: Instant, word: &str) -> String {
    let steps = || builds.iter().flat_map(|build| &build.steps);
    let done = steps().filter(|step| step.is_over).count();
    let text = format!("[+] Building {:.1}s ({done}/{}){word}", began.elapsed().as_secs_f64(), steps().count());
    painted(&cut(&text, width()), "1")
}

fn shown(build: &Build, step: &Step) -> String {
    let name = printable(&step.name);
    build.label.as_ref().map_or_else(|| name.clone(), |label| format!("{label} {name}"))
}

/// ` => NAME                     1.2s`
fn line(name: &str, duration: Duration, width: usize) -> String {
    let time = format!("{:.1}s", duration.as_secs_f64());
    let room = width.saturating_sub(time.len() + 1);
    let text = cut(&format!(" => {name}"), room);
    let blanks = room.saturating_sub(text.chars().count()) + 1;
    format!("{text}{}{time}", " ".repeat(blanks))
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// One line without what would move the cursor.
fn printable(text: &str) -> String {
    let mut out = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // A control sequence goes to its final letter (ECMA-48).
            '\x1b' if characters.next_if_eq(&'[').is_some() => {
                let _ = characters.find(|end| ('\x40'..='\x7e').contains(end));
            }
            '\t' => out.push(' '),
            other if other.is_control() => {}
            other => out.push(other),
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn painted(text: &str, color: &str) -> String {
    if colors_on_stderr() { format!("\x1b[{color}m{text}\x1b[0m") } else { text.to_owned() }
}

fn width() -> usize {
    size(|size| size.ws_col, 80)
}

fn height() -> usize {
    size(|size| size.ws_row, 24)
}

/// Some terminals do not know their size.
fn size(side: impl Fn(rustix::termios::Winsize) -> u16, otherwise: usize) -> usize {
    let known = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, side);
    if known == 0 { otherwise } else { usize::from(known) }
}

#[cfg(test)]
mod tests {
    use super::{line, printable};
    use std::time::Duration;

    #[test]
    fn lines_fit_and_move_no_cursor() {
        assert_eq!(line("[2/2] RUN true", Duration::from_millis(1250), 30), " => [2/2] RUN true        1.2s");
        assert_eq!(line("a long name of a step", Duration::from_secs(10), 20), " => a long nam 10.0s");
        assert_eq!(line("x", Duration::ZERO, 3).chars().count(), 5, "a time is shown however narrow it is");
        assert_eq!(printable("a\tb\x1b[31mred\x1b[0m\x07\x1b[2Kz"), "a bredz");
    }
}
