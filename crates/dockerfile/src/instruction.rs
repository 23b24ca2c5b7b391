//! One instruction: its flags and arguments.

use carrack_diag::{Diagnostic, Spanned, nearest};

use crate::ast::{Argument, Assignment, Command, CommandLine, Copy, CopySource, Healthcheck, Heredoc, Word};
use crate::flags::Flags;
use crate::lines::{Line, Reader};
use crate::{codes, heredoc, json, parser, port, words};

mod duration;
mod run;

const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What the parts of an instruction's parsing share.
pub(crate) struct Context<'a, 'r> {
    line: &'a Line,
    keyword: &'a Spanned<String>,
    /// Where the arguments begin, behind the flags.
    start: usize,
    reader: &'a mut Reader<'r>,
    diagnostics: &'a mut Vec<Diagnostic>,
}

/// Reads the arguments from `start` of a line. None where it could not be understood, which a diagnostic says.
pub(crate) fn parse(
    line: &Line,
    keyword: &Spanned<String>,
    start: usize,
    reader: &mut Reader<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Command> {
    let name = keyword.value.to_ascii_uppercase();
    if !KEYWORDS.contains(&name.as_str()) {
        diagnostics.push(unknown_instruction(keyword));
        return None;
    }
    let (mut flags, start) = Flags::read(keyword, line, start);
    let mut context = Context { line, keyword, start, reader, diagnostics };
    let command = match name.as_str() {
        "ADD" | "COPY" => context.copy(&mut flags, name == "ADD"),
        "ARG" => context.arguments().map(Command::Arg),
        "CMD" => Some(Command::Cmd(context.command_line())),
        "ENTRYPOINT" => Some(Command::Entrypoint(context.command_line())),
        "ENV" => context.assignments().map(Command::Env),
        "LABEL" => context.assignments().map(Command::Label),
        "EXPOSE" => context.expose(),
        // A stage's own FROM never comes here, so this one was deferred.
        "FROM" => {
            context.diagnostics.push(invalid_trigger(keyword));
            None
        }
        "HEALTHCHECK" => context.healthcheck(&mut flags),
        "MAINTAINER" => context.maintainer(),
        "ONBUILD" => context.onbuild(),
        "RUN" => context.run(&mut flags),
        "SHELL" => context.shell(),
        "STOPSIGNAL" => context.single("a signal, for example `STOPSIGNAL SIGQUIT`").map(Command::StopSignal),
        "USER" => context.single("a user, for example `USER app` or `USER 1000:1000`").map(Command::User),
        "VOLUME" => context.volume(),
        _ => context.single("a path, for example `WORKDIR /app`").map(Command::Workdir),
    };
    flags.finish(diagnostics);
    command
}

/// The here-documents that belong to a command.
pub(crate) fn heredocs(command: &Command) -> Vec<&Heredoc> {
    match command {
        Command::Run(run) => run.heredocs.iter().collect(),
        Command::Add(copy) | Command::Copy(copy) => copy
            .sources
            .iter()
            .filter_map(|source| match source {
                CopySource::Heredoc(heredoc) => Some(heredoc),
                CopySource::Path(_) => None,
            })
            .collect(),
        Command::Onbuild(instruction) => heredocs(&instruction.command),
        _ => Vec::new(),
    }
}

fn unknown_instruction(keyword: &Spanned<String>) -> Diagnostic {
    let diagnostic =
        Diagnostic::error(&codes::UNKNOWN_INSTRUCTION, format!("`{}` is not an instruction", keyword.value))
            .at(keyword.span, "unknown instruction");
    match nearest(&keyword.value, KEYWORDS) {
        Some(known) => diagnostic.hint(format!("did you mean {known}?")),
        None => diagnostic.hint("if it belongs to the instruction above, end that line with a backslash"),
    }
}

pub(crate) fn invalid_trigger(keyword: &Spanned<String>) -> Diagnostic {
    Diagnostic::error(&codes::INVALID_TRIGGER, format!("ONBUILD cannot defer {}", keyword.value.to_ascii_uppercase()))
        .at(keyword.span, "not allowed here")
        .hint("write it in the Dockerfile that builds on this image")
}

impl Context<'_, '_> {
    fn missing(&mut self, what: &str) {
        let name = self.keyword.value.to_ascii_uppercase();
        self.diagnostics.push(
            Diagnostic::error(&codes::WRONG_ARGUMENTS, format!("{name} lacks its arguments"))
                .at(self.keyword.span, "incomplete")
                .hint(format!("{name} takes {what}")),
        );
    }

    /// Everything behind the flags as one word.
    fn single(&mut self, what: &str) -> Option<Word> {
        let word = words::rest(self.line, self.start);
        if word.value.is_empty() {
            self.missing(what);
            return None;
        }
        Some(word)
    }

    /// Shell form, or exec form where the text is a JSON array of strings.
    fn command_line(&mut self) -> CommandLine {
        match json::strings(self.line, self.start) {
            Some(strings) => CommandLine::Exec(strings),
            None => {
                let text = words::rest(self.line, self.start);
                self.looks_like_json(&text);
                CommandLine::Shell(text)
            }
        }
    }

    /// `[ -f x ]` and `[ "$a" = "b" ]` are a shell's tests and no failed arrays: a quote and a comma must follow, or a quote
    /// without a blank before it.
    fn looks_like_json(&mut self, text: &Word) {
        if json::is_array(self.line, self.start) {
            self.diagnostics.push(
                Diagnostic::error(&codes::NOT_STRINGS, "a JSON array of an instruction holds strings only")
                    .at(text.span, "holds something else")
                    .hint("put every element in double quotes, and no array into another"),
            );
            return;
        }
        let quoted = text.value.strip_prefix('[').is_some_and(|inner| {
            let is_quote = |text: &str| text.starts_with(['"', '\'']);
            is_quote(inner) || is_quote(inner.trim_start()) && (inner.contains("\",") || inner.contains("',"))
        });
        if quoted && text.value.ends_with(']') {
            self.diagnostics.push(
                Diagnostic::warning(&codes::NOT_JSON, "this is taken as a line for the shell, not as the exec form")
                    .at(text.span, "not a JSON array of strings")
                    .hint("write [\"program\", \"argument\"], with double quotes and commas"),
            );
        }
    }

    /// A JSON array of strings, or words between blanks.
    fn list(&mut self) -> Vec<Word> {
        if let Some(strings) = json::strings(self.line, self.start) {
            return strings;
        }
        let text = words::rest(self.line, self.start);
        self.looks_like_json(&text);
        words::plain(self.line, self.start)
    }

    fn copy(&mut self, flags: &mut Flags, is_add: bool) -> Option<Command> {
        let diagnostics = &mut *self.diagnostics;
        let from = if is_add { None } else { flags.value("from", diagnostics) };
        let chown = flags.value("chown", diagnostics);
        let chmod = flags.value("chmod", diagnostics);
        let link = flags.boolean("link", diagnostics).unwrap_or(false);
        let parents = !is_add && flags.boolean("parents", diagnostics).unwrap_or(false);
        let exclude = flags.values("exclude", diagnostics);
        let (mut keep_git_dir, mut checksum, mut unpack) = (false, None, None);
        if is_add {
            keep_git_dir = flags.boolean("keep-git-dir", diagnostics).unwrap_or(false);
            checksum = flags.value("checksum", diagnostics);
            unpack = flags.boolean("unpack", diagnostics);
        }
        let is_json = json::strings(self.line, self.start).is_some();
        let words = self.list();
        let (mut heredocs, escape) = if is_json {
            (Vec::new(), self.reader.escape)
        } else {
            (parser::heredocs(self.line, self.start, self.reader, self.diagnostics), self.reader.escape)
        };
        let (destination, words) = match words.split_last() {
            Some((destination, sources)) if !sources.is_empty() => (destination.clone(), sources.to_vec()),
            _ => {
                self.missing("at least one source and a destination, for example `COPY src/ /app/`");
                return None;
            }
        };
        let sources = words
            .into_iter()
            .map(|word| {
                let opens = !is_json && heredoc::is_opening(&word, escape) && !heredocs.is_empty();
                if opens { CopySource::Heredoc(heredocs.remove(0)) } else { CopySource::Path(word) }
            })
            .collect();
        let copy =
            Copy { sources, destination, from, chown, chmod, link, parents, exclude, keep_git_dir, checksum, unpack };
        Some(if is_add { Command::Add(copy) } else { Command::Copy(copy) })
    }

    fn arguments(&mut self) -> Option<Vec<Argument>> {
        let words = words::quoted(self.line, self.start, self.reader.escape);
        if words.is_empty() {
            self.missing("NAME or NAME=DEFAULT");
            return None;
        }
        let mut arguments = Vec::new();
        for word in words {
            let (name, default) = split_assignment(&word);
            if name.value.is_empty() {
                self.invalid_assignment(&word, "no name before the equals sign");
                return None;
            }
            arguments.push(Argument { name, default });
        }
        Some(arguments)
    }

    fn assignments(&mut self) -> Option<Vec<Assignment>> {
        let words = words::quoted(self.line, self.start, self.reader.escape);
        let Some(first) = words.first() else {
            self.missing("NAME=VALUE");
            return None;
        };
        if !first.value.contains('=') {
            return self.legacy_assignment();
        }
        let mut assignments = Vec::new();
        for word in &words {
            match split_assignment(word) {
                (name, Some(value)) if !name.value.is_empty() => {
                    assignments.push(Assignment { name, value, legacy: false });
                }
                (_, Some(_)) => {
                    self.invalid_assignment(word, "no name before the equals sign");
                    return None;
                }
                _ => {
                    self.invalid_assignment(word, "no equals sign");
                    return None;
                }
            }
        }
        Some(assignments)
    }

    /// `ENV NAME the rest of the line`.
    fn legacy_assignment(&mut self) -> Option<Vec<Assignment>> {
        let (name, value_start) = parser::keyword(self.line, self.start);
        let value = words::rest(self.line, value_start);
        if value.value.is_empty() {
            self.missing("NAME=VALUE");
            return None;
        }
        Some(vec![Assignment { name, value, legacy: true }])
    }

    fn invalid_assignment(&mut self, word: &Word, what: &str) {
        let name = self.keyword.value.to_ascii_uppercase();
        self.diagnostics.push(
            Diagnostic::error(&codes::INVALID_ASSIGNMENT, format!("`{}` of {name} is not NAME=VALUE", word.value))
                .at(word.span, what)
                .hint("quote a value that holds blanks: NAME=\"some words\""),
        );
    }

    fn expose(&mut self) -> Option<Command> {
        let ports = words::plain(self.line, self.start);
        if ports.is_empty() {
            self.missing("ports, for example `EXPOSE 8080 53/udp`");
            return None;
        }
        for word in ports.iter().filter(|word| !word.value.contains('$')) {
            let unquoted = word.value.trim_matches(['"', '\'']);
            if let Err(reason) = port::parse(unquoted) {
                self.diagnostics.push(
                    Diagnostic::error(&codes::INVALID_PORT, format!("EXPOSE cannot read `{}`", word.value))
                        .at(word.span, "malformed port")
                        .cause(reason)
                        .hint("write PORT[-PORT][/PROTOCOL], for example 8080 or 53/udp"),
                );
            }
        }
        Some(Command::Expose(ports))
    }

    fn healthcheck(&mut self, flags: &mut Flags) -> Option<Command> {
        let interval_ns = self.duration(flags, "interval");
        let timeout_ns = self.duration(flags, "timeout");
        let start_period_ns = self.duration(flags, "start-period");
        let start_interval_ns = self.duration(flags, "start-interval");
        let retries = flags.value("retries", self.diagnostics).and_then(|word| self.retries(&word));
        let (kind, start) = parser::keyword(self.line, self.start);
        self.start = start;
        match kind.value.to_ascii_uppercase().as_str() {
            "NONE" if words::rest(self.line, start).value.is_empty() => Some(Command::Healthcheck(Healthcheck::None)),
            "CMD" => {
                let command = self.command_line();
                let is_empty = match &command {
                    CommandLine::Shell(text) => text.value.is_empty(),
                    CommandLine::Exec(arguments) => arguments.is_empty(),
                };
                if is_empty {
                    self.missing("a command after CMD");
                    return None;
                }
                Some(Command::Healthcheck(Healthcheck::Cmd {
                    command,
                    interval_ns,
                    timeout_ns,
                    start_period_ns,
                    start_interval_ns,
                    retries,
                }))
            }
            "" => {
                self.missing("`CMD command` or `NONE`");
                None
            }
            _ => {
                self.diagnostics.push(
                    Diagnostic::error(&codes::WRONG_ARGUMENTS, format!("HEALTHCHECK has no form `{}`", kind.value))
                        .at(kind.span, "neither CMD nor NONE alone")
                        .hint("write `HEALTHCHECK CMD command` or `HEALTHCHECK NONE`"),
                );
                None
            }
        }
    }

    fn duration(&mut self, flags: &mut Flags, name: &'static str) -> Option<u64> {
        let word = flags.value(name, self.diagnostics)?;
        match duration::parse(&word.value) {
            Ok(nanoseconds) => Some(nanoseconds),
            Err(reason) => {
                self.diagnostics.push(
                    Diagnostic::error(&codes::INVALID_FLAG, format!("--{name} cannot be `{}`", word.value))
                        .at(word.span, "malformed duration")
                        .cause(reason)
                        .hint("write a number and its unit, for example 30s or 1m30s"),
                );
                None
            }
        }
    }

    fn retries(&mut self, word: &Word) -> Option<u32> {
        let retries = word.value.parse().ok();
        if retries.is_none() {
            self.diagnostics.push(
                Diagnostic::error(&codes::INVALID_FLAG, format!("--retries cannot be `{}`", word.value))
                    .at(word.span, "not a number")
                    .hint("write a whole number, for example --retries=3"),
            );
        }
        retries
    }

    fn maintainer(&mut self) -> Option<Command> {
        Some(Command::Maintainer(self.single("a name")?))
    }

    fn onbuild(&mut self) -> Option<Command> {
        let (keyword, _) = parser::keyword(self.line, self.start);
        match keyword.value.to_ascii_uppercase().as_str() {
            "" => {
                self.missing("an instruction, for example `ONBUILD COPY . /app`");
                None
            }
            "ONBUILD" | "FROM" | "MAINTAINER" => {
                self.diagnostics.push(invalid_trigger(&keyword));
                None
            }
            _ => parser::instruction_of(self.line, self.start, self.reader, self.diagnostics)
                .map(|instruction| Command::Onbuild(Box::new(instruction))),
        }
    }

    fn shell(&mut self) -> Option<Command> {
        match json::strings(self.line, self.start) {
            Some(strings) if !strings.is_empty() => Some(Command::Shell(strings)),
            _ => {
                let text = words::rest(self.line, self.start);
                self.diagnostics.push(
                    Diagnostic::error(&codes::WRONG_ARGUMENTS, "SHELL takes a JSON array of strings")
                        .at(self.keyword.span.to(text.span), "not a JSON array of strings")
                        .hint("write SHELL [\"/bin/bash\", \"-c\"]"),
                );
                None
            }
        }
    }

    fn volume(&mut self) -> Option<Command> {
        let paths = self.list();
        if paths.is_empty() || paths.iter().any(|path| path.value.is_empty()) {
            self.missing("paths, for example `VOLUME /data`");
            return None;
        }
        Some(Command::Volume(paths))
    }
}

/// A word at its first equals sign.
fn split_assignment(word: &Word) -> (Word, Option<Word>) {
    let Some((name, value)) = word.value.split_once('=') else { return (word.clone(), None) };
    // Escapes across lines may make the text shorter than its span; a value then has the whole word's place.
    let (mut name_span, mut value_span) = (word.span, word.span);
    if (word.span.end - word.span.start) as usize == word.value.len() {
        name_span.end = name_span.start + u32::try_from(name.len()).unwrap_or_default();
        value_span.start = name_span.end + 1;
    }
    (Spanned::new(name.to_owned(), name_span), Some(Spanned::new(value.to_owned(), value_span)))
}
