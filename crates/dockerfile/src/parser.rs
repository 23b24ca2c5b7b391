//! A source text becomes a [`Dockerfile`].

use carrack_diag::{Diagnostic, FileId, SourceFile, Span, Spanned};

use crate::ast::{Command, Directives, Dockerfile, From, Instruction, Stage};
use crate::flags::Flags;
use crate::heredoc;
use crate::instruction;
use crate::lines::{Line, Reader};
use crate::{codes, words};

/// What has so many mistakes is no Dockerfile, and nobody reads more of them.
const ERRORS_MAX: usize = 100;

/// The largest Dockerfiles have some ten thousand. Each takes hundreds of bytes, in all that is made of it.
const WORDS_MAX: usize = 500_000;

/// Parses a file. The tree holds whatever could be understood; it is complete where no diagnostic is an error.
pub fn parse(file: FileId, source: &SourceFile) -> (Dockerfile, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let mut reader = Reader::new(file, &source.text);
    let directives = directives(&mut reader, &mut diagnostics);
    reader.escape = directives.escape;
    let mut dockerfile =
        Dockerfile { file, directives, global_args: Vec::new(), stages: Vec::new(), empty_continuations: Vec::new() };
    let (mut empty, mut words) = (None, 0);
    while let Some(line) = reader.logical(&mut empty) {
        dockerfile.empty_continuations.extend(empty.take());
        words += line.text.split([' ', '\t', ',']).filter(|word| !word.is_empty()).count();
        if words > WORDS_MAX {
            diagnostics.push(
                Diagnostic::error(&codes::TOO_MANY_WORDS, format!("{} has too many words", source.path))
                    .at(line.span(0, 1), format!("with this instruction, more than {WORDS_MAX}"))
                    .hint("take a list from a file in a RUN, or copy a folder instead of its files"),
            );
            break;
        }
        statement(&line, &mut reader, &mut dockerfile, &mut diagnostics);
        if diagnostics.len() >= ERRORS_MAX && diagnostics.iter().any(Diagnostic::is_error) {
            break;
        }
    }
    if dockerfile.stages.is_empty() && !diagnostics.iter().any(Diagnostic::is_error) {
        let end = source.text.trim_end().len();
        diagnostics.push(
            Diagnostic::error(&codes::NO_STAGE, format!("{} has no FROM", source.path))
                .at(Span::new(file, end, end), "nothing to build up to here")
                .hint("start with `FROM image`, or `FROM scratch` for an empty base"),
        );
    }
    (dockerfile, diagnostics)
}

/// Parses an instruction that a base image deferred with ONBUILD. Every span is `origin`, the place that made it run.
pub fn parse_trigger(text: &str, origin: Span) -> (Option<Instruction>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    // The text may hold here-documents behind its first line, in which case it is read like a file.
    let (first, bodies) = text.split_once('\n').unwrap_or((text, ""));
    let line = Line::fixed(first.trim(), origin);
    let mut reader = Reader::new(origin.file, bodies);
    let instruction = instruction_of(&line, 0, &mut reader, &mut diagnostics);
    let forbidden = matches!(
        instruction.as_ref().map(|instruction| &instruction.command),
        Some(Command::Onbuild(_) | Command::Maintainer(_))
    );
    if forbidden {
        diagnostics.push(instruction::invalid_trigger(&Spanned::new(first.to_owned(), origin)));
    }
    for diagnostic in &mut diagnostics {
        diagnostic.labels.iter_mut().for_each(|label| label.span = origin);
    }
    (instruction, diagnostics)
}

fn statement(line: &Line, reader: &mut Reader<'_>, dockerfile: &mut Dockerfile, diagnostics: &mut Vec<Diagnostic>) {
    let (keyword, arguments) = keyword(line, 0);
    if keyword.value.eq_ignore_ascii_case("FROM") {
        if let Some(from) = from(line, &keyword, arguments, diagnostics) {
            dockerfile.stages.push(Stage { from, instructions: Vec::new() });
        }
        return;
    }
    let errors_before = diagnostics.len();
    let Some(instruction) = instruction_of(line, 0, reader, diagnostics) else { return };
    match dockerfile.stages.last_mut() {
        Some(stage) => stage.instructions.push(instruction),
        None if matches!(instruction.command, Command::Arg(_)) => dockerfile.global_args.push(instruction),
        // A FROM that could not be read has said so already.
        None if diagnostics[..errors_before].iter().any(Diagnostic::is_error) => {}
        None => diagnostics.push(
            Diagnostic::error(&codes::BEFORE_FROM, format!("{} stands before the first FROM", keyword.value))
                .at(keyword.span, "no stage to belong to")
                .hint("only ARG may stand before FROM"),
        ),
    }
}

/// The instruction that starts at `start` of a line, and the here-documents behind it.
pub(crate) fn instruction_of(
    line: &Line,
    start: usize,
    reader: &mut Reader<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Instruction> {
    let (keyword, arguments) = keyword(line, start);
    let begin = keyword.span;
    let command = instruction::parse(line, &keyword, arguments, reader, diagnostics)?;
    let end = line.text.trim_end().len();
    let mut span = begin.to(line.span(end.saturating_sub(1), end));
    for heredoc in instruction::heredocs(&command) {
        span = span.to(heredoc.content.span);
    }
    Some(Instruction { span, keyword, text: line.text[start..].trim().to_owned(), command })
}

/// The first word from `start`, and where its arguments begin.
pub(crate) fn keyword(line: &Line, start: usize) -> (Spanned<String>, usize) {
    let rest = &line.text[start..];
    let begin = start + (rest.len() - rest.trim_start().len());
    let length = line.text[begin..].find(char::is_whitespace).unwrap_or(line.text.len() - begin);
    (line.part(begin, begin + length), begin + length)
}

fn from(line: &Line, keyword: &Spanned<String>, arguments: usize, diagnostics: &mut Vec<Diagnostic>) -> Option<From> {
    let (mut flags, arguments) = Flags::read(keyword, line, arguments);
    let platform = flags.value("platform", diagnostics);
    flags.finish(diagnostics);
    let mut words = words::plain(line, arguments);
    let name = match words.as_slice() {
        [_] => None,
        [_, r#as, name] if r#as.value.eq_ignore_ascii_case("AS") => Some(stage_name(name, diagnostics)?),
        _ => {
            let place = words.get(1).map_or(keyword.span, |word| word.span);
            diagnostics.push(
                Diagnostic::error(&codes::WRONG_ARGUMENTS, "FROM takes an image, and a name after AS")
                    .at(place, if words.is_empty() { "no image" } else { "not expected here" })
                    .hint("write `FROM image` or `FROM image AS name`"),
            );
            return None;
        }
    };
    let end = line.text.trim_end().len();
    let span = keyword.span.to(line.span(end.saturating_sub(1), end));
    Some(From { span, text: line.text.trim().to_owned(), image: words.swap_remove(0), platform, name })
}

fn stage_name(word: &Spanned<String>, diagnostics: &mut Vec<Diagnostic>) -> Option<Spanned<String>> {
    let name = word.value.to_lowercase();
    let well_formed = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if !well_formed {
        diagnostics.push(
            Diagnostic::error(&codes::INVALID_STAGE_NAME, format!("`{}` is not a stage name", word.value))
                .at(word.span, "malformed")
                .hint("start with a letter; go on with letters, digits, `.`, `-`, `_`"),
        );
        return None;
    }
    Some(Spanned::new(name, word.span))
}

/// The `# name=value` lines at the head of the file. The first line that is none ends them.
fn directives(reader: &mut Reader<'_>, diagnostics: &mut Vec<Diagnostic>) -> Directives {
    let mut directives = Directives { syntax: None, escape: '\\', check: None };
    let mut seen: Vec<&str> = Vec::new();
    while let Some((name, value, span)) = reader.peek().and_then(|line| directive(&line, reader.file())) {
        reader.next();
        if seen.contains(&name) {
            diagnostics.push(
                Diagnostic::error(&codes::INVALID_DIRECTIVE, format!("the parser directive `{name}` is given twice"))
                    .at(span, "the second time")
                    .hint("keep one of them"),
            );
            continue;
        }
        seen.push(name);
        let word = Some(Spanned::new(value.to_owned(), span));
        match (name, value) {
            ("syntax", _) => directives.syntax = word,
            ("check", _) => directives.check = word,
            (_, "\\" | "`") => directives.escape = if value == "`" { '`' } else { '\\' },
            _ => diagnostics.push(
                Diagnostic::error(&codes::INVALID_DIRECTIVE, format!("`{value}` cannot be the escape character"))
                    .at(span, "neither a backslash nor a backtick")
                    .hint("write `# escape=\\` or a backtick"),
            ),
        }
    }
    directives
}

fn directive<'a>(line: &crate::lines::Physical<'a>, file: FileId) -> Option<(&'static str, &'a str, Span)> {
    let (name, value) = line.text.trim_start().strip_prefix('#')?.split_once('=')?;
    let known = ["syntax", "escape", "check"].into_iter().find(|known| known.eq_ignore_ascii_case(name.trim()))?;
    let value = value.trim();
    let start = line.start + (value.as_ptr() as usize - line.text.as_ptr() as usize);
    (!value.is_empty()).then(|| (known, value, Span::new(file, start, start + value.len())))
}

/// Reads the here-documents of `line`, whose arguments begin at `arguments`.
pub(crate) fn heredocs(
    line: &Line,
    arguments: usize,
    reader: &mut Reader<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Vec<crate::ast::Heredoc> {
    if line.text.contains("<<") { heredoc::read(line, arguments, reader, diagnostics) } else { Vec::new() }
}
