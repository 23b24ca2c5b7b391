//! Where a build stops for somebody to look around.

use carrack_diag::{Diagnostic, Result, SourceFile, Span};
use carrack_dockerfile::ast::{Dockerfile, From};

use crate::codes;

/// Before or after what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breakpoint {
    /// Index of the stage.
    pub stage: usize,
    /// The instruction in it.
    pub place: Place,
    /// On which side of it.
    pub moment: Moment,
}

/// How an instruction is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// By where it stands; a FROM too.
    Instruction(Span),
    /// By its number among the steps of its stage, as progress shows it: those that make layers, FROM being 1, and with the
    /// base image's triggers.
    Step(usize),
}

/// A side of an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// As it finds things.
    Before,
    /// As it leaves them.
    After,
}

impl Moment {
    /// In English.
    pub fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

impl Breakpoint {
    /// Reads `[before:|after:]STEP`; without a side it is after. A step is a line of the file (`9`), a number as progress
    /// shows it (`build 2/5`, `2/5` where there is one stage; `build:2` for short), or a part of an instruction that no
    /// other has (`RUN make`).
    ///
    /// # Errors
    /// Where no instruction, or more than one, is meant.
    pub fn find(text: &str, dockerfile: &Dockerfile, source: &SourceFile) -> Result<Self> {
        let (moment, step) = match text.split_once(':') {
            Some(("before", step)) => (Moment::Before, step),
            Some(("after", step)) => (Moment::After, step),
            _ => (Moment::After, text),
        };
        let step = step.trim().trim_start_matches('[').trim_end_matches(']').trim();
        let found = if let Ok(line) = step.parse::<usize>() {
            of_line(line, dockerfile, source)
        } else if let Some((name, number)) = numbered(step) {
            of_number(name, number, dockerfile)
        } else {
            of_text(step, dockerfile, source)
        };
        let (stage, place) = found?;
        let breakpoint = Self { stage, place, moment };
        if moment == Moment::Before && breakpoint.is_from(&dockerfile.stages[stage].from) {
            return Err(no_such_step(format!("nothing is there before the FROM of `{step}`"))
                .hint("look at what it begins with: say `after:`")
                .boxed());
        }
        Ok(breakpoint)
    }

    pub(crate) fn is_from(&self, from: &From) -> bool {
        matches!(self.place, Place::Step(1)) || self.place == Place::Instruction(from.span)
    }
}

type Found = Result<(usize, Place)>;

/// Every instruction that can be stopped at: stage, place, text.
fn all(dockerfile: &Dockerfile) -> impl Iterator<Item = (usize, Span, &str)> {
    dockerfile.stages.iter().enumerate().flat_map(|(index, stage)| {
        let from = std::iter::once((index, stage.from.span, stage.from.text.as_str()));
        from.chain(stage.instructions.iter().map(move |each| (index, each.span, each.text.as_str())))
    })
}

fn line_of(source: &SourceFile, offset: u32) -> usize {
    let before = source.text.as_bytes().iter().take(offset as usize);
    before.filter(|byte| **byte == b'\n').count() + 1
}

fn of_line(line: usize, dockerfile: &Dockerfile, source: &SourceFile) -> Found {
    let mut next = None;
    for (stage, span, text) in all(dockerfile) {
        let first = line_of(source, span.start);
        if (first..=line_of(source, span.end.saturating_sub(1).max(span.start))).contains(&line) {
            return Ok((stage, Place::Instruction(span)));
        }
        if first > line && next.is_none() {
            next = Some(format!("the next one is `{text}` in line {first}"));
        }
    }
    let hint = next.unwrap_or_else(|| "count lines from 1, in the Dockerfile".to_owned());
    Err(no_such_step(format!("line {line} belongs to no step")).hint(hint).boxed())
}

/// `build 2/5`, `build:2`, `2/5`.
fn numbered(step: &str) -> Option<(&str, usize)> {
    let digits = |text: &str| text.parse::<usize>().ok();
    if let Some((left, total)) = step.rsplit_once('/').filter(|(_, total)| digits(total).is_some()) {
        let _ = total;
        let (name, number) = left.rsplit_once(' ').unwrap_or(("", left));
        return digits(number).map(|number| (name.trim(), number)).filter(|(name, _)| !name.contains(' '));
    }
    let (name, number) = step.rsplit_once(':')?;
    digits(number).map(|number| (name, number)).filter(|(name, _)| !name.contains([' ', '/']))
}

fn of_number(name: &str, number: usize, dockerfile: &Dockerfile) -> Found {
    let count = dockerfile.stages.len();
    let stage = match name {
        "" if count == 1 => Some(0),
        "" => None,
        name => dockerfile
            .stage(name, count)
            .or_else(|| name.strip_prefix("stage-")?.parse().ok().filter(|index| *index < count)),
    };
    let Some(stage) = stage else {
        let message = format!("there is no stage `{name}` to stop in");
        return Err(no_such_step(message).hint("give the stage's name or number, as in `build:2`").boxed());
    };
    Ok((stage, Place::Step(number)))
}

fn of_text(step: &str, dockerfile: &Dockerfile, source: &SourceFile) -> Found {
    // Continued lines are told with their blanks.
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let wanted = plain(step);
    let found: Vec<_> =
        all(dockerfile).filter(|(_, _, text)| !wanted.is_empty() && plain(text).contains(&wanted)).collect();
    match found.as_slice() {
        [(stage, span, _)] => Ok((*stage, Place::Instruction(*span))),
        [] => {
            let hint = "give a line of the Dockerfile (`9`), a step as progress shows it (`build:2`), or a part of an \
                        instruction (`RUN make`), after `before:` or `after:`";
            Err(no_such_step(format!("no instruction has `{step}` in it")).hint(hint).boxed())
        }
        several => {
            let lines: Vec<String> =
                several.iter().map(|(_, span, _)| line_of(source, span.start).to_string()).collect();
            let message = format!("{} instructions have `{step}` in them", several.len());
            Err(no_such_step(message).hint(format!("give the line: one of {}", lines.join(", "))).boxed())
        }
    }
}

pub(crate) fn no_such_step(message: String) -> Diagnostic {
    Diagnostic::error(&codes::NO_SUCH_STEP, message)
}
