//! Docker's verbs and flags: what is done is what the grammar has; the rest is refused for a reason, or not there yet (I-6).
//!
//! `docker/verbs.txt` names them. `docs/docker-verbs.md` is made of it and of the grammar.

#[cfg(test)]
mod page;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use carrack_diag::Diagnostic;
use clap::{Command, CommandFactory};

use crate::arguments::Arguments;
use crate::codes;

const TABLE: &str = include_str!("docker/verbs.txt");

/// A verb of Docker's.
#[derive(Debug, PartialEq, Eq)]
struct Verb {
    /// Its names, each with those of the groups above it: `container ls`, `ps`.
    names: Vec<&'static str>,
    /// Why it is refused.
    reason: Option<&'static str>,
    flags: Vec<Flag>,
}

/// A flag of a verb of Docker's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flag {
    /// With its dash.
    short: Option<&'static str>,
    /// With its dashes.
    long: &'static str,
    standing: Standing,
}

/// What the table says of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Done where the grammar has it, else not there yet.
    AsGrammar,
    /// Not there yet, though the grammar takes it to say so.
    NotYet,
    Refused(&'static str),
}

/// The verbs in the table's order, the command line itself under an empty name.
fn verbs() -> Vec<Verb> {
    let mut reasons = Vec::new();
    let mut verbs: Vec<Verb> = Vec::new();
    let reason_of = |reasons: &[(&str, &'static str)], name: &str| {
        reasons.iter().find(|(known, _)| *known == name).map_or("", |(_, reason)| reason)
    };
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some((name, reason)) = line.strip_prefix("reason ").and_then(|line| line.split_once(' ')) {
            reasons.push((name, reason));
        } else if let Some(words) = line.strip_prefix("    ")
            && let Some(verb) = verbs.last_mut()
        {
            verb.flags.extend(words.split_whitespace().map(|word| {
                let (word, standing) = if let Some(word) = word.strip_suffix('?') {
                    (word, Standing::NotYet)
                } else if let Some((word, reason)) = word.split_once('!') {
                    (word, Standing::Refused(reason_of(&reasons, reason)))
                } else {
                    (word, Standing::AsGrammar)
                };
                let (short, long) = word.split_once(',').map_or((None, word), |(short, long)| (Some(short), long));
                Flag { short, long, standing }
            }));
        } else {
            let (names, reason) = line.split_once(" ! ").map_or((line, None), |(names, reason)| (names, Some(reason)));
            let names: Vec<&str> = if names == "(docker)" { vec![""] } else { names.split(", ").collect() };
            let above =
                verbs.iter().find(|group| names[0].split_once(' ').is_some_and(|(above, _)| group.names[0] == above));
            let reason = reason.map(|reason| reason_of(&reasons, reason)).or(above.and_then(|group| group.reason));
            verbs.push(Verb { names, reason, flags: Vec::new() });
        }
    }
    verbs
}

/// The table's reason of a name.
pub(crate) fn reason(name: &str) -> &'static str {
    let reasons = TABLE.lines().filter_map(|line| line.strip_prefix("reason ")?.split_once(' '));
    reasons.filter(|(known, _)| *known == name).map(|(_, reason)| reason).next().unwrap_or_default()
}

/// The verb that the words of a command line begin with, and the name it is called by there.
fn called<'a>(verbs: &'a [Verb], arguments: &[OsString]) -> Option<(&'a Verb, &'static str)> {
    let mut found = verbs.first().map(|verb| (verb, ""));
    let mut path = String::new();
    let mut words = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    while let Some(word) = words.next() {
        match word {
            "--root" | "--run-root" | "--snapshotter" | "--config" | "-l" | "--log-level" => drop(words.next()),
            _ if word.starts_with('-') => {}
            _ => {
                if !path.is_empty() {
                    path.push(' ');
                }
                path.push_str(word);
                let verb = verbs.iter().find_map(|verb| Some((verb, *verb.names.iter().find(|name| **name == path)?)));
                match verb {
                    Some(verb) => found = Some(verb),
                    None if found.is_some_and(|(_, name)| name.is_empty()) => return None,
                    None => break,
                }
            }
        }
    }
    found
}

/// Whether the command line calls a verb of Docker's.
pub(crate) fn is_docker_verb(arguments: &[OsString]) -> bool {
    called(&verbs(), arguments).is_some_and(|(_, name)| !name.is_empty())
}

/// The command of a name, as `container ls`.
fn command<'a>(grammar: &'a Command, name: &str) -> Option<&'a Command> {
    name.split_whitespace().try_fold(grammar, |command, word| command.find_subcommand(word))
}

/// What is said of a verb of Docker's that the grammar does not have.
pub(crate) fn verb_answer(arguments: &[OsString]) -> Option<Diagnostic> {
    let verbs = verbs();
    let (verb, name) = called(&verbs, arguments)?;
    if command(&Arguments::command(), name).is_some() {
        return None;
    }
    Some(answer(&format!("carrack {name}"), verb.reason))
}

/// What is said of a flag of a verb of Docker's that the grammar does not have: `flag` with its dashes.
pub(crate) fn flag_answer(arguments: &[OsString], flag: &str) -> Option<Diagnostic> {
    let verbs = verbs();
    let is_it = |known: &&Flag| known.long == flag || known.short == Some(flag);
    let own = verbs.first().filter(|_| stands_before_verb(arguments, flag)).map(|own| (own, ""));
    let (verb, name) = own.or_else(|| called(&verbs, arguments))?;
    let found = verb.flags.iter().find(is_it)?;
    let reason = match found.standing {
        Standing::Refused(reason) => Some(reason),
        Standing::NotYet | Standing::AsGrammar => verb.reason,
    };
    let place = if name.is_empty() { String::new() } else { format!(" {name}") };
    Some(answer(&format!("carrack{place} {}", found.long), reason))
}

/// Docker's own flags stand before the verb, and only there.
fn stands_before_verb(arguments: &[OsString], flag: &str) -> bool {
    let mut words = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    while let Some(word) = words.next().filter(|word| word.starts_with('-')) {
        match word {
            "--root" | "--run-root" | "--snapshotter" | "--config" | "-l" | "--log-level" => drop(words.next()),
            _ if word.split('=').next() == Some(flag) || (!flag.starts_with("--") && word.starts_with(flag)) => {
                return true;
            }
            _ => {}
        }
    }
    false
}

fn answer(what: &str, reason: Option<&str>) -> Diagnostic {
    match reason {
        Some(reason) => Diagnostic::error(&codes::REFUSED, format!("`{what}` is refused"))
            .cause(reason)
            .hint("leave it out; docs/docker-verbs.md lists what carrack does; nothing was changed"),
        None => Diagnostic::error(&codes::NOT_YET, format!("`{what}` is not there yet"))
            .hint("`carrack --help` lists what is; nothing was changed"),
    }
}
