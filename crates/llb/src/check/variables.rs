//! Checks of what variables hold where they are used.

use std::collections::BTreeSet;

use carrack_diag::nearest;
use carrack_dockerfile::Lexer;
use carrack_dockerfile::ast::{Command, CopySource, Instruction, Word};
use carrack_oci::Reference;

use super::{CheckInput, Findings};
use crate::codes;

/// What every FROM and every stage's ARG may name undeclared.
const PLATFORM_ARGUMENTS: [&str; 9] = [
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "TARGETSTAGE",
];

/// What a stage knows when it ends.
#[derive(Debug, Clone, Default)]
struct Known {
    names: BTreeSet<String>,
    /// Whether the base image has been looked at, so that nothing else can be there.
    is_complete: bool,
    /// Whether an absolute WORKDIR has been given.
    has_workdir: bool,
}

pub(super) fn all(input: &CheckInput<'_>, findings: &mut Findings) {
    let file = input.dockerfile;
    let mut globals: BTreeSet<String> = PLATFORM_ARGUMENTS.iter().map(|name| (*name).to_owned()).collect();
    let mut defaults: Vec<(String, String)> = Vec::new();
    for argument in file.global_args.iter().filter_map(arguments).flatten() {
        if let Some(default) = &argument.default {
            let value = expand(input, default, &defaults);
            defaults.push((argument.name.value.clone(), value));
        }
        globals.insert(argument.name.value.clone());
    }
    let mut stages: Vec<Known> = Vec::new();
    for (index, stage) in file.stages.iter().enumerate() {
        let from = &stage.from;
        let mut is_declared = true;
        for word in from.platform.iter().chain([&from.image]) {
            for name in used(input, word) {
                if !globals.contains(&name) {
                    is_declared = false;
                    let near = suggestion(&name, &globals, "");
                    findings.add(
                        &codes::UNDEFINED_ARG_IN_FROM,
                        word.span,
                        format!("FROM argument '{name}' is not declared{near}"),
                    );
                }
            }
        }
        let image = expand(input, &from.image, &defaults);
        let mut known = match file.stage(&image, index).filter(|_| image.parse::<usize>().is_err()) {
            Some(base) => stages[base].clone(),
            None => {
                let is_valid = image == "scratch" || image.parse::<Reference>().is_ok();
                if !is_valid && is_declared && from.image.value.contains('$') {
                    let message = format!(
                        "Default value for ARG {} results in empty or invalid base image name",
                        from.image.value
                    );
                    findings.add(&codes::INVALID_DEFAULT_ARG_IN_FROM, from.image.span, message);
                }
                base(input, from)
            }
        };
        for instruction in &stage.instructions {
            step(input, instruction, &mut known, findings);
        }
        stages.push(known);
    }
}

fn arguments(instruction: &Instruction) -> Option<&[carrack_dockerfile::ast::Argument]> {
    match &instruction.command {
        Command::Arg(arguments) => Some(arguments),
        _ => None,
    }
}

fn lexer(input: &CheckInput<'_>) -> Lexer {
    Lexer::new(input.dockerfile.directives.escape)
}

/// A word with the defaults of the arguments before the first FROM.
fn expand(input: &CheckInput<'_>, word: &Word, defaults: &[(String, String)]) -> String {
    let options = input.options;
    let lookup = |name: &str| match name {
        "BUILDPLATFORM" => Some(options.build_platform.to_string()),
        "TARGETPLATFORM" => Some(options.target_platform.to_string()),
        "BUILDARCH" => Some(options.build_platform.architecture.clone()),
        "TARGETARCH" => Some(options.target_platform.architecture.clone()),
        "BUILDOS" => Some(options.build_platform.os.clone()),
        "TARGETOS" => Some(options.target_platform.os.clone()),
        name => defaults.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.clone()),
    };
    // What cannot be expanded is an error of the build, and no finding.
    lexer(input).word(&word.value, &lookup).unwrap_or_default()
}

/// What an image brings along, where it is known.
fn base(input: &CheckInput<'_>, from: &carrack_dockerfile::ast::From) -> Known {
    let name = lexer(input).word(&from.image.value, &|name: &str| input.options.build_args.get(name).cloned());
    let name = name.unwrap_or_default();
    let mut known = Known { names: BTreeSet::from(["PATH".to_owned()]), ..Known::default() };
    if name == "scratch" {
        known.is_complete = true;
    }
    if let Ok(reference) = name.parse::<Reference>()
        && let Some(image) = input.options.images.iter().find(|image| image.reference == reference)
    {
        known.is_complete = true;
        let names = image.config.config.env.iter().map(|entry| entry.split('=').next().unwrap_or_default().to_owned());
        known.names.extend(names);
    }
    known
}

fn step(input: &CheckInput<'_>, instruction: &Instruction, known: &mut Known, findings: &mut Findings) {
    for word in words(&instruction.command) {
        for name in used(input, word) {
            if known.is_complete && !known.names.contains(&name) {
                let near = suggestion(&name, &known.names, "$");
                findings.add(&codes::UNDEFINED_VAR, word.span, format!("Usage of undefined variable '${name}'{near}"));
            }
        }
    }
    match &instruction.command {
        // Declared is known, whether or not a value is given.
        Command::Arg(arguments) => known.names.extend(arguments.iter().map(|argument| argument.name.value.clone())),
        Command::Env(pairs) => known.names.extend(pairs.iter().map(|pair| pair.name.value.clone())),
        Command::Workdir(path) => {
            let text = path.value.trim_matches(['"', '\'']);
            if text.starts_with('/') {
                known.has_workdir = true;
            } else if !known.has_workdir && !text.starts_with('$') {
                let message =
                    format!("Relative workdir \"{text}\" can have unexpected results if the base image changes");
                findings.add(&codes::WORKDIR_RELATIVE_PATH, path.span, message);
            }
        }
        _ => {}
    }
}

/// The words of an instruction that the builder, and not a shell, expands.
fn words(command: &Command) -> Vec<&Word> {
    match command {
        Command::Add(copy) | Command::Copy(copy) => {
            let sources = copy.sources.iter().filter_map(|source| match source {
                CopySource::Path(word) => Some(word),
                CopySource::Heredoc(_) => None,
            });
            sources.chain([&copy.destination]).chain(&copy.chown).chain(&copy.chmod).collect()
        }
        Command::Arg(arguments) => arguments.iter().filter_map(|argument| argument.default.as_ref()).collect(),
        Command::Env(pairs) | Command::Label(pairs) => pairs.iter().map(|pair| &pair.value).collect(),
        Command::Expose(words) | Command::Volume(words) => words.iter().collect(),
        Command::StopSignal(word) | Command::User(word) | Command::Workdir(word) => vec![word],
        _ => Vec::new(),
    }
}

/// The variables of a word that have no value of their own for when they are not set.
fn used(input: &CheckInput<'_>, word: &Word) -> Vec<String> {
    let mut names = lexer(input).names(&word.value);
    let has_operator = |name: &String| {
        ["-", ":-", "+", ":+", "?", ":?"].iter().any(|operator| word.value.contains(&format!("${{{name}{operator}")))
    };
    let is_variable = |name: &String| name.starts_with(|first: char| first.is_alphabetic() || first == '_');
    names.retain(|name| is_variable(name) && !has_operator(name));
    names.dedup();
    names
}

fn suggestion(name: &str, known: &BTreeSet<String>, sign: &str) -> String {
    let near = nearest(name, known.iter().map(String::as_str));
    near.map_or_else(String::new, |near| format!(" (did you mean {sign}{near}?)"))
}
