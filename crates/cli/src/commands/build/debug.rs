//! `build --debug`: a shell in the middle of a build, and the command for it where a step failed.

use carrack_diag::SourceMap;
use carrack_engine::build::BuildRequest;
use carrack_engine::{Engine, interrupt};

use super::outputs::Outputs;
use super::progress::Display;
use super::{Session, failed, platforms};
use crate::arguments::{BuildArguments, ProjectArguments, ProjectSetting};
use crate::commands::container::status;
use crate::commands::registry::BaseImages;
use crate::flags;
use crate::output::{Failure, Outcome};

/// A shell needs the streams for itself.
pub(super) fn check(session: &Session, arguments: &BuildArguments, outputs: &Outputs) -> Result<(), Failure> {
    let reason = if session.output.json {
        "it without --json: the shell writes to standard output"
    } else if outputs.takes_standard_output() {
        "it with an --output to a file: the shell writes to standard output"
    } else if platforms::wanted(arguments)?.len() > 1 {
        "it with one --platform"
    } else if reads_standard_input(arguments) {
        "it with a folder and a Dockerfile that are not on standard input: the shell reads from there"
    } else {
        return Ok(());
    };
    Err(flags::invalid("--debug", arguments.debug.as_deref().unwrap_or_default(), reason).into())
}

fn reads_standard_input(arguments: &BuildArguments) -> bool {
    arguments.context.iter().any(|context| context == "-") || arguments.file.iter().any(|file| file.as_os_str() == "-")
}

/// Builds up to a step, and ends as the shell there does.
pub(super) fn stop(session: &Session, engine: &Engine, request: &BuildRequest, at: &str, display: &Display) -> Outcome {
    let interrupted = interrupt::Flag::new()?;
    let mut sources = SourceMap::new();
    let images = BaseImages { session, engine, quiet: !display.is_text() };
    let ended = display
        .during(|| engine.debug_build(request, at, &display.watch(None), &images, interrupted.is_set(), &mut sources));
    ended.map(status).map_err(|errors| failed(errors, &sources))
}

/// Adds to a failed RUN the command that opens a shell in what it has left.
pub(super) fn offer(failure: Failure, arguments: &BuildArguments, service: Option<&str>) -> Failure {
    if arguments.debug.is_some() || reads_standard_input(arguments) {
        return failure;
    }
    offered(failure, |flag| command(std::env::args().skip(1), flag, service))
}

/// As [`offer`], for the build of a service that another command has asked for.
pub(super) fn offer_service(failure: Failure, arguments: &ProjectArguments, service: &str) -> Failure {
    let ProjectSetting { project_name, env_file, profile, project_directory } = &arguments.setting;
    // What `build` has no flag for would be missing from the command; a shell is of one platform.
    if service.contains(' ')
        || project_name.is_some()
        || !env_file.is_empty()
        || !profile.is_empty()
        || project_directory.is_some()
    {
        return failure;
    }
    offered(failure, |flag| {
        let files = arguments.file.iter().flat_map(|file| ["-f".to_owned(), file.display().to_string()]);
        let words = ["build".to_owned()].into_iter().chain(files);
        command(global_flags().into_iter().chain(words), flag, Some(service))
    })
}

/// As [`offer`], for the build of a bake file's target, given as `build` would be.
pub(super) fn offer_target(failure: Failure, flags: &[String]) -> Failure {
    offered(failure, |flag| command(global_flags().into_iter().chain(flags.iter().cloned()), flag, None))
}

/// What stands before the verb, which each verb knows.
fn global_flags() -> Vec<String> {
    let mut words = std::env::args().skip(1);
    let mut flags = Vec::new();
    while let Some(word) = words.next() {
        if matches!(word.as_str(), "--root" | "--run-root" | "--snapshotter") {
            flags.extend([Some(word), words.next()].into_iter().flatten());
        } else if word.starts_with("--root=") || word.starts_with("--run-root=") || word.starts_with("--snapshotter=") {
            flags.push(word);
        }
    }
    flags
}

fn offered(mut failure: Failure, command: impl Fn(&str) -> String) -> Failure {
    let is_run = |id: &str| id == "build/run-failed";
    for diagnostic in failure.diagnostics.iter_mut().filter(|diagnostic| is_run(diagnostic.code.id)) {
        let Some(label) = diagnostic.labels.first() else { continue };
        // A trigger of the base image has no line of its own.
        let text = failure.sources.get(label.span.file).text.get(label.span.start as usize..).unwrap_or_default();
        let is_own = text.get(..3).is_some_and(|keyword| keyword.eq_ignore_ascii_case("run"));
        let line = failure.sources.position(label.span).line;
        let flag = if is_own { format!("--debug=after:{line}") } else { "--debug".to_owned() };
        let command = command(&flag);
        diagnostic.hints.push(format!("to look around in what it has left: {command}"));
    }
    failure
}

/// The command line with a further flag, as a shell reads it.
fn command(words: impl Iterator<Item = String>, flag: &str, service: Option<&str>) -> String {
    let mut words: Vec<String> = words.map(|word| quoted(without_proxy(&word))).collect();
    let verb = words.iter().position(|word| matches!(word.as_str(), "build" | "b")).map_or(0, |index| index + 1);
    words.insert(verb, flag.to_owned());
    words.extend(service.filter(|service| !words[verb..].iter().any(|word| word == service)).map(quoted));
    format!("carrack {}", words.join(" "))
}

/// A proxy's address may hold a password. Without it the argument takes the environment's.
fn without_proxy(word: &str) -> &str {
    match word.split_once("_proxy=").or_else(|| word.split_once("_PROXY=")) {
        Some((name, value)) if value.contains('@') => &word[..name.len() + "_proxy".len()],
        _ => word,
    }
}

fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_alphanumeric() || "_-+=:,./@%^".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn the_command_is_the_callers_with_the_flag() {
        let of =
            |words: &[&str], service| command(words.iter().map(|word| (*word).to_owned()), "--debug=after:7", service);
        assert_eq!(
            of(&["--root", "/r", "buildx", "build", "--build-arg", "A=it's so", "-t", "x", "."], None),
            r"carrack --root /r buildx build --debug=after:7 --build-arg 'A=it'\''s so' -t x ."
        );
        assert_eq!(
            of(&["build", "--build-arg", "HTTPS_PROXY=http://me:word@proxy", "--build-arg=no_proxy=here", "."], None),
            "carrack build --debug=after:7 --build-arg HTTPS_PROXY --build-arg=no_proxy=here ."
        );
        assert_eq!(of(&["build"], Some("web")), "carrack build --debug=after:7 web");
        assert_eq!(of(&["build", "web"], Some("web")), "carrack build --debug=after:7 web");
    }
}
