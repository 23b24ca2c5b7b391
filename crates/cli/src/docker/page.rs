//! `docs/docker-verbs.md`, made of the table and the grammar.

use std::fmt::Write as _;

use clap::{Command, CommandFactory};

use super::{Flag, Standing, Verb, command, verbs};
use crate::arguments::Arguments;

/// What becomes of a verb or flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Done,
    Refused(&'static str),
    NotYet,
}

pub(super) fn grammar() -> Command {
    let mut command = Arguments::command();
    command.build();
    command
}

/// Whether the grammar has a flag to be used: what it takes only to answer is hidden there.
pub(super) fn has(command: &Command, flag: &Flag) -> bool {
    let short = flag.short.map(|short| short.chars().nth(1));
    let long = flag.long.trim_start_matches('-');
    command.get_arguments().any(|argument| {
        let longs = argument.get_long().into_iter().chain(argument.get_all_aliases().unwrap_or_default());
        let shorts = argument.get_short().into_iter().chain(argument.get_all_short_aliases().unwrap_or_default());
        longs.into_iter().any(|known| known == long)
            && short.is_none_or(|short| shorts.into_iter().any(|known| Some(known) == short))
    })
}

pub(super) fn verb_state(grammar: &Command, verb: &Verb) -> State {
    match verb.reason {
        Some(reason) => State::Refused(reason),
        None if command(grammar, verb.names[0]).is_some() => State::Done,
        None => State::NotYet,
    }
}

/// Done is what every name of the verb takes.
pub(super) fn flag_state(grammar: &Command, verb: &Verb, flag: &Flag) -> State {
    let mut commands = verb.names.iter().filter_map(|name| command(grammar, name)).peekable();
    match (flag.standing, verb_state(grammar, verb)) {
        (Standing::Refused(reason), _) | (_, State::Refused(reason)) => State::Refused(reason),
        (Standing::NotYet, _) | (_, State::NotYet) => State::NotYet,
        _ if commands.all(|command| has(command, flag)) => State::Done,
        _ => State::NotYet,
    }
}

/// Verbs that are to have no flag left that is not there.
const WHOLE: [&str; 7] =
    ["container run", "container create", "container exec", "image build", "container logs", "container ls", "inspect"];

pub(super) fn page() -> String {
    let grammar = grammar();
    let verbs = verbs();
    // Groups that only hold verbs are no verbs.
    let is_group = |verb: &Verb| {
        let prefix = format!("{} ", verb.names[0]);
        verb.names[0].is_empty() || verbs.iter().any(|other| other.names[0].starts_with(&prefix))
    };
    let mut out = String::from(
        "# Docker's verbs and flags\n\n\
         What becomes of each verb and flag of Docker's command line reference (28.5) in this version of carrack. *Done* is what the \
         grammar of the command line has; a refusal has a reason of kernel, security or scope, and the command line answers with it; \
         *not yet* is planned, and says so when it is used. Made by a test of `crates/cli/src/docker.rs`; after a change of the grammar:\n\n\
         ```console\n$ UPDATE=1 cargo test -p carrack-cli docker::\n```\n\n\
         `buildx`, `compose` and what else Docker keeps in plugins of its command line is not in that reference. `carrack config` is \
         a verb of carrack's own.\n\n",
    );
    let (mut counted_verbs, mut counted_flags) = ([0; 3], [0; 3]);
    let mut body = String::new();
    let mut missing = Vec::new();
    for verb in &verbs {
        let state = verb_state(&grammar, verb);
        let name = if verb.names[0].is_empty() { "docker" } else { verb.names[0] };
        let others: Vec<String> = verb.names[1..]
            .iter()
            .map(|name| match command(&grammar, name) {
                None if state == State::Done => format!("`{name}` (not yet)"),
                _ => format!("`{name}`"),
            })
            .collect();
        let others = if others.is_empty() { String::new() } else { format!(" · {}", others.join(" · ")) };
        if !is_group(verb) {
            counted_verbs[index(state)] += 1;
        } else if verb.flags.is_empty() {
            continue;
        }
        let _ = writeln!(body, "\n## `{name}`{others}\n\n{}\n", text(state));
        for flag in &verb.flags {
            let state_of_flag = flag_state(&grammar, verb, flag);
            counted_flags[index(state_of_flag)] += 1;
            let short = flag.short.map(|short| format!("`{short}` ")).unwrap_or_default();
            if !matches!(state, State::Refused(_)) {
                let _ = writeln!(body, "- {short}`{}`: {}", flag.long, text(state_of_flag));
            }
        }
        if let (State::Refused(_), false) = (state, verb.flags.is_empty()) {
            let flags: Vec<String> = verb.flags.iter().map(|flag| format!("`{}`", flag.long)).collect();
            let _ = writeln!(body, "With all its flags: {}", flags.join(" "));
        }
        if WHOLE.contains(&name) || name == "container cp" {
            let left = verb.flags.iter().filter(|flag| flag_state(&grammar, verb, flag) == State::NotYet).count();
            missing
                .push(format!("`{name}` {}", if state == State::NotYet { "all".to_owned() } else { left.to_string() }));
        }
    }
    let row =
        |what: &str, [done, refused, not_yet]: [usize; 3]| format!("| {what} | {done} | {refused} | {not_yet} |\n");
    out.push_str("| | done | refused | not yet |\n|---|---|---|---|\n");
    out.push_str(&row("verbs", counted_verbs));
    out.push_str(&row("flags", counted_flags));
    let _ = writeln!(out, "\nFlags that are not there yet of the verbs used most: {}.", missing.join(", "));
    out + &body
}

fn index(state: State) -> usize {
    match state {
        State::Done => 0,
        State::Refused(_) => 1,
        State::NotYet => 2,
    }
}

fn text(state: State) -> String {
    match state {
        State::Done => "done".to_owned(),
        State::Refused(reason) => format!("refused: {reason}"),
        State::NotYet => "**not yet**".to_owned(),
    }
}
