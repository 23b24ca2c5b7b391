//! `build`: an image from a Dockerfile, or the images of a project's services.

mod bake;
mod call;
mod context;
mod debug;
mod foretell;
mod outputs;
mod platforms;
mod progress;
mod project;
mod report;
mod service;
mod several;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use carrack_diag::{Diagnostic, SourceMap};
use carrack_engine::build::{BuildOutput, BuildRequest, BuildResult, Compression};
use carrack_engine::{Engine, interrupt};
use carrack_oci::Reference;
use serde_json::json;

use super::registry::{self, BaseImages};
use super::{Session, current_folder};
use crate::arguments::BuildArguments;
use crate::output::{Failure, Outcome, exit, human_size, note};
use crate::{build_flags, destination, docker_config, flags};
pub(crate) use bake::bake;
use call::Call;
use foretell::{Foretold, explained_text, explanation, foretell};
use outputs::Outputs;
use progress::Display;
pub(crate) use project::{Builds, forecast, project_images, services};
use project::{not_of_projects, project};

/// With a folder, Docker's `build`; without one, the project's services.
pub(crate) fn build(session: &Session, arguments: &BuildArguments) -> Outcome {
    build_flags::refuse(&arguments.docker)?;
    build_flags::attest_values(arguments)?;
    let [context] = arguments.context.as_slice() else { return project(session, arguments) };
    if !is_context(session, arguments, context) {
        return project(session, arguments);
    }
    let engine = if arguments.more.dry_run { session.observer()? } else { session.engine()? };
    let mut request = prepare(&engine, arguments, context)?;
    let request = &mut request;
    let display = Display::new(arguments.progress, arguments.quiet, session.output.json)?;
    if let Some(call) = Call::of(arguments.check, arguments.call.as_deref())? {
        let requests = platforms::each(&engine, (request, arguments), &platforms::wanted(arguments)?)?;
        return call.answer(session, &engine, &requests);
    }
    let mut outputs = Outputs::new(&arguments.more.output)?;
    let pushed = outputs.pushed().or(arguments.more.push.then_some(Compression::OUTGOING));
    request.explain = arguments.more.explain;
    request.report = arguments.more.report;
    if arguments.more.dry_run {
        let requests = platforms::each(&engine, (request, arguments), &platforms::wanted(arguments)?)?;
        return foretell(session, &engine, &Foretold::of(&requests));
    }
    if let Some(at) = &arguments.debug {
        debug::check(session, arguments, &outputs)?;
        request.debug = true;
        if !at.is_empty() {
            return debug::stop(session, &engine, request, at, &display);
        }
    }
    outputs.open(request)?;
    if arguments.more.push && !request.outputs.iter().any(|output| matches!(output, BuildOutput::Image)) {
        request.outputs.push(BuildOutput::Image);
    }
    if pushed.is_some() && request.tags.is_empty() {
        return Err(flags::invalid("--push", "", "a --tag: what is pushed needs a name").into());
    }
    let wanted = platforms::wanted(arguments)?;
    if wanted.len() > 1 || platforms::is_forced(request) {
        return platforms::build(session, &engine, (request, arguments), &wanted, (&mut outputs, pushed), &display);
    }
    let built = run(session, &engine, request, &display).map_err(|failure| debug::offer(failure, arguments, None));
    let mut built = built?;
    outputs.finish()?;
    if let Some(compression) = pushed {
        registry::push_built(session, &engine, &request.tags, compression, display.is_quiet())?;
        if let Some(manifest) = engine.manifest_of(&request.tags[0])? {
            built.image.manifest = manifest;
        }
    }
    if let Some(path) = &arguments.more.metadata_file {
        destination::write(path, &format!("{:#}\n", build_flags::metadata(&built)))?;
    }
    if let Some(path) = &arguments.iidfile {
        destination::write(path, &built.image.id.to_string())?;
    }
    if outputs.takes_standard_output() {
        note(&report::text(&built));
        return Ok(exit::DONE);
    }
    session.output.result("build", &result(&built), |_| {
        let id = if display.is_quiet() { format!("{}\n", built.image.id) } else { String::new() };
        id + &report::text(&built)
    });
    Ok(exit::DONE)
}

/// Of the commit that a context is of.
fn conventional_tags(context: &str) -> carrack_diag::Result<Vec<String>> {
    let folder = current_folder().join(context);
    if context == "-" || context.contains("://") || !folder.is_dir() {
        return Err(flags::invalid("--tags-from", "git", "a context that is a folder of a git repository"));
    }
    carrack_engine::git_tags::of_folder(&folder)
}

/// The request of a build with one context, but for what becomes of it.
fn prepare(engine: &Engine, arguments: &BuildArguments, context: &str) -> Result<BuildRequest, Failure> {
    let mut request = context::open(engine, arguments, context).map_err(interrupted)?;
    for text in &arguments.ssh {
        let (id, socket) = context::agent(text)?;
        request.agents.insert(id, socket);
    }
    arguments.allow.iter().try_for_each(|entitlement| build_flags::allow(&mut request, entitlement))?;
    request.target.clone_from(&arguments.target);
    request.no_cache = arguments.no_cache;
    request.pull = arguments.pull;
    request.build_args.extend(docker_config::proxies());
    for text in &arguments.build_arg {
        build_argument(&mut request, text);
    }
    for text in &arguments.label {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        request.labels.insert(key.to_owned(), value.to_owned());
    }
    let conventional = match &arguments.more.tags_from {
        Some(_) => conventional_tags(context)?,
        None => Vec::new(),
    };
    for name in &arguments.tag {
        let reference = name.parse::<Reference>()?;
        match conventional.is_empty() || registry::has_tag(name) {
            true => request.tags.push(reference),
            false => request.tags.extend(conventional.iter().map(|tag| reference.with_tag(tag))),
        }
    }
    build_flags::epoch(&mut request)?;
    build_flags::apply(&mut request, arguments)?;
    Ok(request)
}

/// A service's name is no path. Of a folder with such a name the flags tell what is meant.
fn is_context(session: &Session, arguments: &BuildArguments, text: &str) -> bool {
    if text == "-" || text.contains("://") || text.contains(['/', '.']) {
        return true;
    }
    let is_compose =
        |file: &PathBuf| file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
    if arguments.file.iter().any(is_compose) {
        return false;
    }
    let folder = current_folder().join(text);
    let is_docker = !arguments.file.is_empty() || not_of_projects(session).is_some();
    folder.join("Dockerfile").exists() || is_docker && folder.is_dir()
}

/// `NAME=VALUE`, or `NAME` for the caller's own value; absent where the caller has none, as in Docker.
fn build_argument(request: &mut BuildRequest, text: &str) {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, std::env::var(text).ok()),
    };
    if let Some(value) = value {
        request.build_args.insert(name.to_owned(), value);
    }
}

fn run(session: &Session, engine: &Engine, request: &BuildRequest, display: &Display) -> Result<BuildResult, Failure> {
    // What runs in a step has no part in the terminal's signals: it has to be ended.
    let interrupted = interrupt::Flag::new()?;
    display.during(|| run_until(session, engine, request, (display, None), interrupted.is_set()))
}

/// Builds until `cancel` is set. Lines of one of several builds carry its label.
fn run_until(
    session: &Session,
    engine: &Engine,
    request: &BuildRequest,
    (display, label): (&Display, Option<&str>),
    cancel: &AtomicBool,
) -> Result<BuildResult, Failure> {
    let mut sources = SourceMap::new();
    let images = BaseImages { session, engine, quiet: !display.is_text() };
    let built = engine.build(request, &display.watch(label), &images, cancel, &mut sources);
    let built = built.map_err(|errors| failed(errors, &sources))?;
    if session.output.json || display.is_text() {
        session.output.diagnostics(&built.warnings, &sources);
    }
    display.warn(&built.warnings);
    if display.is_text() {
        let names: Vec<String> = built.image.names.iter().map(Reference::familiar).collect();
        let cached = format!("{} of {} steps cached", built.cached_steps, built.steps);
        let context = human_size(built.context.size_bytes);
        note(&explained_text(&built.explanation, label));
        note(&format!("{} {} ({cached}, context {context})\n", built.image.id.short(), names.join(" ")));
    }
    Ok(built)
}

fn failed(errors: Vec<Diagnostic>, sources: &SourceMap) -> Failure {
    interrupted(Failure::new(errors, sources.clone()))
}

/// What somebody has stopped ends as what a signal has ended.
fn interrupted(failure: Failure) -> Failure {
    let is_cancelled = failure.diagnostics.iter().any(|error| error.code.id == "build/cancelled");
    if is_cancelled { failure.exit(exit::INTERRUPTED) } else { failure }
}

fn result(built: &BuildResult) -> serde_json::Value {
    json!({
        "id": built.image.id,
        "names": built.image.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
        "steps": built.steps,
        "cached_steps": built.cached_steps,
        "context_bytes": built.context.size_bytes,
        "explanation": explanation(&built.explanation),
        "report": report::json(built),
    })
}
