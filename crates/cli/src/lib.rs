//! The command line: from arguments to requests of the engine, from its answers to text, JSON and exit codes.
//!
//! This crate never touches a container, an image or a network itself: what it can't ask of the engine, it can't do.

mod arguments;
mod build_flags;
mod cache_flags;
pub mod codes;
mod commands;
mod container_flags;
mod destination;
mod docker;
mod docker_config;
mod filters;
mod flags;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod mount_flags;
mod natural;
mod network_flags;
mod output;
mod project;
mod template;
mod vcs;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use carrack_diag::Diagnostic;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches};

use arguments::{Arguments, Command, LogLevel};
use commands::Session;
use output::{Failure, Outcome, Output, exit};

/// Does what the command line says and returns what the process exits with.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut arguments: Vec<OsString> = arguments.into_iter().collect();
    // `help VERB` is `VERB --help`.
    if arguments.get(1).is_some_and(|word| word == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    let json = arguments.iter().skip(1).take_while(|argument| *argument != "--").any(|argument| argument == "--json");
    // Not worth freeing: it is made of thousands of pieces, and the process ends soon.
    let mut command = ManuallyDrop::new(Arguments::command());
    let matches = command.try_get_matches_from_mut(&arguments);
    match matches.and_then(|matches| Ok((Arguments::from_arg_matches(&matches)?, given(&command, &matches)))) {
        Ok((parsed, given)) => {
            let without_warnings = !parsed.debug && matches!(parsed.log_level, LogLevel::Error | LogLevel::Fatal);
            let output = Output { json: parsed.json, without_warnings };
            if let Some(folder) = &parsed.config {
                docker_config::choose(folder);
            }
            let schema = schema(&parsed.command);
            match run(parsed, given, output) {
                Ok(code) => code.into(),
                Err(failure) => {
                    output.failure(schema, &failure);
                    failure.exit_code.into()
                }
            }
        }
        Err(error) => usage(&error, Output { json, without_warnings: false }, &arguments),
    }
}

fn run(arguments: Arguments, given: BTreeSet<String>, output: Output) -> Outcome {
    let session = Session::new(&arguments.root, arguments.run_root.as_deref(), arguments.snapshotter, given, output);
    commands::dispatch(&session, arguments.command)
}

/// What of the verb's own arguments stands in the command line, by clap's ids.
fn given(command: &clap::Command, matches: &ArgMatches) -> BTreeSet<String> {
    let (mut command, mut matches) = (command, matches);
    while let Some((name, inner)) = matches.subcommand()
        && let Some(verb) = command.find_subcommand(name)
    {
        (command, matches) = (verb, inner);
    }
    let ids = command.get_arguments().map(|argument| argument.get_id().as_str());
    ids.filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine)).map(str::to_owned).collect()
}

/// Verbs that the workflow is to have, and that this version does not do (I-6). Docker's stand in `docker`.
const NOT_YET: [&str; 25] = [
    "apply", "backup", "bundle", "check", "deploy", "dev", "docs", "init", "lock", "migrate", "monitor", "prod",
    "promote", "prove", "restore", "scale", "scan", "schema", "serve", "shell", "sign", "test", "undo", "verify",
    "wait-for",
];

/// Help and version are answers, everything else is wrong usage: Docker's exit codes for its verbs, else 2.
fn usage(error: &clap::Error, output: Output, arguments: &[OsString]) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        output::print(&error.render().to_string());
        return ExitCode::SUCCESS;
    }
    let flag = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(flag)) if error.kind() == ErrorKind::UnknownArgument => Some(flag.as_str()),
        _ => None,
    };
    let verb_answer = || {
        let verb = verb(arguments).filter(|verb| NOT_YET.contains(verb))?;
        let diagnostic = Diagnostic::error(&codes::NOT_YET, format!("`carrack {verb}` is not there yet"));
        Some(diagnostic.hint("`carrack --help` lists what is; nothing was changed"))
    };
    let answer = match (error.kind(), flag) {
        (ErrorKind::InvalidSubcommand, _) => docker::verb_answer(arguments).or_else(verb_answer),
        (_, Some(flag)) => docker::flag_answer(arguments, flag),
        _ => None,
    };
    if let Some(diagnostic) = answer {
        output.failure("usage", &Failure::from(diagnostic));
        return ExitCode::from(if flag.is_some() { exit::ENGINE } else { exit::FAILED });
    }
    let rendered = error.render().to_string();
    let message = rendered.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let mut diagnostic = Diagnostic::error(&codes::USAGE, message);
    for tip in rendered.lines().filter_map(|line| line.trim().strip_prefix("tip: ")) {
        diagnostic = diagnostic.hint(tip);
    }
    for line in rendered.lines().skip(1).take_while(|line| line.starts_with("  <") || line.starts_with("  [")) {
        diagnostic = diagnostic.cause(format!("missing {}", line.trim()));
    }
    let is_list = arguments.iter().any(|word| ["ps", "images", "ls", "list"].iter().any(|list| word == list));
    if let Some(key) = flag.and_then(|flag| flag.strip_prefix("--")).filter(|key| is_list && filters::is_key(key)) {
        diagnostic = diagnostic.hint(format!("what is listed is chosen by `--filter {key}=VALUE`"));
    }
    let verb = verb(arguments);
    // Docker's: 125 for flags, 1 for missing, surplus and unknown words.
    let words = [ErrorKind::MissingRequiredArgument, ErrorKind::TooFewValues, ErrorKind::InvalidSubcommand];
    let is_about_words = words.contains(&error.kind()) || flag.is_some_and(|flag| !flag.starts_with('-'));
    let exit_code = match docker::is_docker_verb(arguments) {
        true if is_about_words => exit::FAILED,
        true => exit::ENGINE,
        false => exit::USAGE,
    };
    if let Some(verb) = verb.filter(|verb| Arguments::command().find_subcommand(verb).is_some()) {
        diagnostic = diagnostic.hint(format!("see `carrack {verb} --help`"));
    } else {
        diagnostic = diagnostic.hint("see `carrack --help`");
    }
    output.failure("usage", &Failure::from(diagnostic));
    ExitCode::from(exit_code)
}

/// The first word that is no flag and no flag's value.
fn verb(arguments: &[OsString]) -> Option<&str> {
    let mut words = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    loop {
        match words.next()? {
            "--root" | "--run-root" | "--snapshotter" | "--config" | "-l" | "--log-level" => drop(words.next()),
            word if word.starts_with('-') => {}
            word => return Some(word),
        }
    }
}

/// The name of the result's shape: the verb's.
fn schema(command: &Command) -> &'static str {
    match command {
        Command::Up(_) => "up",
        Command::Down(_) => "down",
        Command::Plan(_) => "plan",
        Command::Config(_) => "config",
        Command::Status(_) => "status",
        Command::Release(_) => "release",
        Command::Rollback(_) => "rollback",
        Command::Compose(_) => "compose",
        Command::Run(_) => "run",
        Command::Create(_) => "create",
        Command::Start(_) => "start",
        Command::Stop(_) => "stop",
        Command::Restart(_) => "restart",
        Command::Kill(_) => "kill",
        Command::Pause(_) => "pause",
        Command::Unpause(_) => "unpause",
        Command::Rename(_) => "rename",
        Command::Rm(_) => "rm",
        Command::Exec(_) => "exec",
        Command::Attach(_) => "attach",
        Command::Logs(_) => "logs",
        Command::Ps(_) => "ps",
        Command::Inspect(_) => "inspect",
        Command::Wait(_) => "wait",
        Command::Port(_) => "port",
        Command::Update(_) => "update",
        Command::Top(_) => "top",
        Command::Stats(_) => "stats",
        Command::Cp(_) => "cp",
        Command::Diff(_) => "diff",
        Command::Export(_) => "export",
        Command::Commit(_) => "commit",
        Command::Build(_) | Command::Buildx(_) => "build",
        Command::Images(_) => "images",
        Command::Load(_) => "load",
        Command::Save(_) => "save",
        Command::Import(_) => "import",
        Command::Tag(_) => "tag",
        Command::Rmi(_) => "rmi",
        Command::Pull(_) => "pull",
        Command::Push(_) => "push",
        Command::Login(_) => "login",
        Command::Logout(_) => "logout",
        Command::History(_) => "history",
        Command::Sbom(_) => "sbom",
        Command::Attestation(_) => "attestation",
        Command::Manifest(_) => "manifest",
        Command::Container(_) => "container",
        Command::Image(_) => "image",
        Command::Builder(_) => "builder",
        Command::Network(_) => "network",
        Command::Volume(_) => "volume",
        Command::Explain(_) => "explain",
        Command::Doctor(_) => "doctor",
        Command::Events(_) => "events",
        Command::Info(_) => "info",
        Command::Boot(_) => "boot",
        Command::System(_) => "system",
        Command::Context(_) => "context",
        Command::Version(_) => "version",
        Command::Event(_) => "event",
        Command::Bake(_) => "bake",
    }
}
