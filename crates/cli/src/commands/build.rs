//! `build`: an image from a Dockerfile, or the images of a project's services.

mod bake;
mod call;
mod context;
mod debug;
mod outputs;
mod platforms;
mod progress;
mod report;
mod service;
mod several;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use carrack_compose::project::{Build, Service};
use carrack_diag::{Diagnostic, SourceMap};
use carrack_engine::build::{
    BuildOutput, BuildRequest, BuildResult, Compression, Prediction, Reason, StepExplanation, Together,
};
use carrack_engine::{Engine, Forecast, interrupt};
use carrack_oci::{Platform, Reference};
use clap::Args as _;
use serde_json::json;

use super::registry::{self, BaseImages};
use super::stack::{check_services, load};
use super::{Session, current_folder};
use crate::arguments::{BuildArguments, ComposeBuildArguments, DockerBuildArguments, ProjectArguments, Pull};
use crate::output::{Failure, Outcome, exit, human_size, note};
use crate::project::Loaded;
use crate::{build_flags, cache_flags, codes, destination, flags};
pub(crate) use bake::bake;
use call::Call;
use context::Fetched;
use outputs::Outputs;
use progress::Display;
use several::Wanted;

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

/// A build whose steps are foretold.
struct Foretold<'a> {
    request: &'a BuildRequest,
    /// Of a project.
    service: Option<&'a str>,
    /// Where it is for several.
    platform: Option<String>,
}

impl<'a> Foretold<'a> {
    /// One build, for each of its platforms.
    fn of(requests: &'a [BuildRequest]) -> Vec<Self> {
        let is_several = requests.len() > 1;
        let each = requests.iter().map(|request| Self {
            service: None,
            platform: request.platform.as_ref().filter(|_| is_several).map(Platform::to_string),
            request,
        });
        each.collect()
    }
}

/// What builds would do, and why (I-5).
fn foretell(session: &Session, engine: &Engine, builds: &[Foretold<'_>]) -> Outcome {
    let (mut steps, mut text) = (Vec::new(), String::new());
    for Foretold { request, service, platform } in builds {
        let label: Vec<&str> = service.iter().copied().chain(platform.as_deref()).collect();
        let label = label.join(" ");
        let mut sources = SourceMap::new();
        let explained = engine.explain_build(request, &mut sources).map_err(|mut errors| {
            if !label.is_empty() {
                errors.iter_mut().for_each(|error| error.causes.push(format!("building {label}")));
            }
            Failure::new(errors, sources)
        })?;
        for mut step in explanation(&explained) {
            for (key, name) in [("service", service.as_deref()), ("platform", platform.as_deref())] {
                if let Some(name) = name {
                    step[key] = name.into();
                }
            }
            steps.push(step);
        }
        text.push_str(&explained_text(&explained, Some(label.as_str()).filter(|label| !label.is_empty())));
    }
    session.output.result("build-plan", &json!({ "steps": steps }), |_| text);
    Ok(exit::DONE)
}

fn explanation(steps: &[StepExplanation]) -> Vec<serde_json::Value> {
    let reason = |reason: &Reason| {
        let mut value = json!(reason);
        value["text"] = reason.to_string().into();
        value
    };
    let step = |step: &StepExplanation| {
        let reasons: Vec<serde_json::Value> = step.reasons.iter().map(reason).collect();
        json!({ "name": step.name, "cached": step.is_cached, "reasons": reasons })
    };
    steps.iter().map(step).collect()
}

/// A line a step, with its reasons below it. Of several builds it is told which.
fn explained_text(steps: &[StepExplanation], label: Option<&str>) -> String {
    const SHOWN: usize = 10;
    let mut text = String::new();
    let label = label.map(|label| format!("{label} ")).unwrap_or_default();
    for step in steps {
        text.push_str(&format!("{} {label}{}\n", if step.is_cached { "cached" } else { "missed" }, step.name));
        for reason in step.reasons.iter().take(SHOWN) {
            text.push_str(&format!("         {reason}\n"));
        }
        if step.reasons.len() > SHOWN {
            text.push_str(&format!("         and {} more\n", step.reasons.len() - SHOWN));
        }
    }
    text
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

/// A flag in the command line that says nothing to the build of a project.
fn not_of_projects(session: &Session) -> Option<String> {
    const OF_PROJECTS: [&str; 19] = [
        "file",
        "build_arg",
        "no_cache",
        "pull",
        "push",
        "load",
        "quiet",
        "progress",
        "debug",
        "report",
        "explain",
        "dry_run",
        "check",
        "call",
        "context",
        "root",
        "run_root",
        "snapshotter",
        "json",
    ];
    let accepted = DockerBuildArguments::augment_args(clap::Command::new("build"));
    let is_accepted = |id: &str| accepted.get_arguments().any(|argument| argument.get_id() == id);
    let other = session.given.iter().find(|id| !OF_PROJECTS.contains(&id.as_str()) && !is_accepted(id))?;
    Some(format!("--{}", other.replace('_', "-")))
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

fn project(session: &Session, arguments: &BuildArguments) -> Outcome {
    if let Some(flag) = not_of_projects(session) {
        let named = match arguments.context.as_slice() {
            [one] => format!("`{one}` is no folder, and {flag} says nothing to the services of a project"),
            _ => format!("{flag} says nothing to the services of a project"),
        };
        let hint = format!("name the folder to build: `carrack build {flag} … FOLDER`, or say it in the Compose file");
        return Err(Diagnostic::error(&codes::USAGE, named).hint(hint).into());
    }
    let project = ProjectArguments { file: arguments.file.clone(), ..ProjectArguments::default() };
    let options = ComposeBuildArguments {
        no_cache: arguments.no_cache,
        build_arg: arguments.build_arg.clone(),
        push: arguments.more.push,
        quiet: arguments.quiet,
        services: arguments.context.clone(),
    };
    let display = Display::new(arguments.progress, arguments.quiet, session.output.json)?;
    services_with(session, &project, &options, &display, Some(arguments))
}

pub(crate) fn services(session: &Session, arguments: &ProjectArguments, options: &ComposeBuildArguments) -> Outcome {
    let display = Display::new(None, options.quiet, session.output.json)?;
    services_with(session, arguments, options, &display, None)
}

fn services_with(
    session: &Session,
    arguments: &ProjectArguments,
    options: &ComposeBuildArguments,
    display: &Display,
    flags: Option<&BuildArguments>,
) -> Outcome {
    let loaded = load(session, arguments, &options.services)?;
    check_services(&loaded, &options.services)?;
    let engine = if flags.is_some_and(|flags| flags.more.dry_run) { session.observer()? } else { session.engine()? };
    let together = Together::default();
    let (mut wanted, mut indexes) = (Vec::new(), Vec::new());
    let named = loaded.project.services.keys();
    let named = named.filter(|name| options.services.is_empty() || options.services.contains(name)).cloned();
    let mut fetched = Fetched::default();
    for service in service::with_contexts(&loaded, named) {
        if let Some(how) = &service.build {
            let mut request = service::request(&engine, &loaded, service, how, Some(&mut fetched))?;
            request.no_cache |= options.no_cache;
            request.pull |= flags.is_some_and(|flags| flags.pull);
            request.together = together.clone();
            request.report = flags.is_some_and(|flags| flags.more.report);
            request.explain = flags.is_some_and(|flags| flags.more.explain);
            options.build_arg.iter().for_each(|text| build_argument(&mut request, text));
            let platforms = service::platforms(&loaded, how)?;
            cache_flags::share(&mut request, platforms.len().max(1));
            let own = request.platform.clone();
            let others = platforms.iter().filter(|platform| Some(*platform) != own.as_ref());
            let others = others.map(|platform| {
                let one = platforms::one(&request, platform);
                Wanted { name: format!("{} {platform}", service.name), place: Some((&loaded, how)), ..one }
            });
            let others: Vec<Wanted<'_>> = others.collect();
            if !platforms.is_empty() {
                let first = wanted.len();
                indexes.push((first..=first + others.len(), request.tags.clone()));
            }
            wanted.push(Wanted {
                name: service.name.clone(),
                place: Some((&loaded, how)),
                request,
                contexts: Vec::new(),
            });
            wanted.extend(others);
        }
    }
    if let Some(outcome) = flags.map(|flags| answers(session, &engine, &wanted, flags)).transpose()?.flatten() {
        return Ok(outcome);
    }
    if let (Some(at), Some(flags)) = (flags.and_then(|flags| flags.debug.as_ref()), flags) {
        let [Wanted { request, .. }] = wanted.as_mut_slice() else {
            return Err(flags::invalid("--debug", at, "it with the name of one service that is built").into());
        };
        debug::check(session, flags, &Outputs::new(&[])?)?;
        request.debug = true;
        if !at.is_empty() {
            return debug::stop(session, &engine, request, at, display);
        }
    }
    let built = several::all(session, &engine, &wanted, display).map_err(|(failure, index)| match flags {
        Some(flags) => debug::offer(failure, flags, wanted[index].name.split(' ').next()),
        None => debug::offer_service(failure, arguments, &wanted[index].name),
    })?;
    for (range, tags) in indexes {
        let platform = |index: usize| wanted[index].request.platform.clone().unwrap_or_else(Platform::host);
        let images: Vec<_> = range.map(|index| (platform(index), built[index].image.clone())).collect();
        engine.join_platforms(&images, &tags, &[])?;
    }
    if options.push {
        // As in Compose: whose image has no name of its own is nobody else's.
        let is_named = |wanted: &Wanted<'_>| {
            let service = loaded.project.services.get(&wanted.name);
            service.is_some_and(|service| service.image.is_some())
        };
        for Wanted { request, .. } in wanted.iter().filter(|wanted| is_named(wanted)) {
            registry::push_built(session, &engine, &request.tags, Compression::OUTGOING, display.is_quiet())?;
        }
    }
    let results: Vec<_> = built.iter().map(result).collect();
    session.output.result("build", &results, |_| built.iter().map(report::text).collect());
    Ok(exit::DONE)
}

/// What is asked of the services instead of building them; none where nothing is. The builds of one, for its platforms, follow
/// each other.
fn answers(
    session: &Session,
    engine: &Engine,
    wanted: &[Wanted<'_>],
    flags: &BuildArguments,
) -> Result<Option<u8>, Failure> {
    let service = |wanted: &'_ Wanted<'_>| wanted.name.split(' ').next().map(str::to_owned);
    if let Some(call) = Call::of(flags.check, flags.call.as_deref())? {
        let mut outcome = exit::DONE;
        for builds in wanted.chunk_by(|one, other| service(one) == service(other)) {
            let requests: Vec<BuildRequest> = builds.iter().map(|build| build.request.clone()).collect();
            outcome = outcome.max(call.answer(session, engine, &requests)?);
        }
        return Ok(Some(outcome));
    }
    if !flags.more.dry_run {
        return Ok(None);
    }
    let foretold = wanted.chunk_by(|one, other| service(one) == service(other)).flat_map(|builds| {
        builds.iter().map(|build| Foretold {
            request: &build.request,
            service: build.name.split(' ').next(),
            platform: build.request.platform.as_ref().filter(|_| builds.len() > 1).map(Platform::to_string),
        })
    });
    foretell(session, engine, &foretold.collect::<Vec<_>>()).map(Some)
}

/// Which services' images are built before the project comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Builds {
    All,
    Missing,
    None,
}

/// Builds images of services, and gets those that nobody builds from their registries.
pub(crate) fn project_images(
    session: &Session,
    engine: &Engine,
    (loaded, arguments): (&Loaded, &ProjectArguments),
    only: &[String],
    which: Builds,
    pull: Option<Pull>,
) -> Result<(), Failure> {
    let needed = carrack_plan::selection(&loaded.project, only, false);
    // Services that differ in their command only ask for the same build.
    let mut done = BTreeSet::new();
    let together = Together::default();
    let mut wanted = Vec::new();
    let mut fetched = Fetched::default();
    let is_needed = |service: &Service| -> Result<bool, Failure> {
        let name = carrack_plan::image_name(&loaded.project, service);
        Ok(service.build.is_none()
            || which == Builds::All
            || which == Builds::Missing && engine.image_id(&name)?.is_none())
    };
    let mut names = Vec::new();
    for service in loaded.project.services.values().filter(|service| needed.contains(&service.name)) {
        if is_needed(service)? {
            names.push(service.name.clone());
        }
    }
    for service in service::with_contexts(loaded, names.into_iter()) {
        let name = carrack_plan::image_name(&loaded.project, service);
        match &service.build {
            None => service_image(session, engine, loaded, service, (&name, pull))?,
            Some(how) if is_needed(service)? => {
                let mut request = service::request(engine, loaded, service, how, Some(&mut fetched))?;
                request.together = together.clone();
                if !done.insert(format!("{request:?}")) {
                    continue;
                }
                wanted.push(Wanted {
                    name: service.name.clone(),
                    place: Some((loaded, how)),
                    request,
                    contexts: Vec::new(),
                });
            }
            Some(_) => {}
        }
    }
    let display = Display::new(None, false, session.output.json)?;
    let built = several::all(session, engine, &wanted, &display);
    built.map(|_| ()).map_err(|(failure, index)| debug::offer_service(failure, arguments, &wanted[index].name))
}

/// The image of a service that is not built, from its registry as `pull_policy` says.
fn service_image(
    session: &Session,
    engine: &Engine,
    loaded: &Loaded,
    service: &Service,
    (name, policy): (&str, Option<Pull>),
) -> Result<(), Failure> {
    let policy = match (policy, service.pull_policy.as_ref().map(|policy| policy.value.as_str())) {
        // An image that is not here is said by lowering, with the place that asks for it.
        (Some(Pull::Never), _) | (None, Some("never" | "build")) => return Ok(()),
        (Some(policy), _) => policy,
        (None, Some("always")) => Pull::Always,
        _ => Pull::Missing,
    };
    let platform = service.platform.as_ref().map(|platform| platform.value.as_str());
    registry::ensure(session, engine, name, platform, policy, false).map_err(|error| {
        let error = match &service.image {
            // Where no registry had a word on it, what counts is that it is not here.
            _ if error.code.id == "store/image-not-found" => {
                let unresolved = carrack_plan::image_unresolved(&loaded.project, service);
                error.causes.into_iter().fold(unresolved, Diagnostic::cause)
            }
            Some(image) => error.at(image.span, format!("the image of the service `{}`", service.name)),
            None => *error,
        };
        Failure::new(vec![error], loaded.sources.clone())
    })
}

/// What [`project_images`] would come to, for a plan that is only shown. Reads only (I-5).
pub(crate) fn forecast(engine: &Engine, loaded: &Loaded, only: &[String], all: bool) -> Result<Forecast, Failure> {
    let needed = carrack_plan::selection(&loaded.project, only, false);
    let mut forecast = Forecast::default();
    let mut changing = BTreeSet::new();
    for service in loaded.project.services.values().filter(|service| needed.contains(&service.name)) {
        let Some(how) = &service.build else { continue };
        let name = carrack_plan::image_name(&loaded.project, service);
        let present = engine.image_id(&name)?;
        let is_built = all || present.is_none();
        let mut sources = SourceMap::new();
        if how.is_remote() {
            if is_built {
                forecast.unknown.insert(service.name.clone(), "its context is fetched first".into());
            }
            continue;
        }
        let predicted = service::request(engine, loaded, service, how, None).and_then(|request| {
            let predicted = engine.predict(&request, &changing, &mut sources);
            let predicted = predicted.map_err(|errors| placed(Failure::new(errors, sources), loaded, how))?;
            Ok((predicted, request.tags))
        });
        let (prediction, tags) = match predicted {
            Ok(predicted) => predicted,
            Err(failure) if is_built => return Err(failure),
            Err(failure) => {
                let why = failure.diagnostics.first().map_or("", |diagnostic| &diagnostic.message);
                forecast.notes.push(format!("the image {name} stays, and could not be built now: {why}"));
                continue;
            }
        };
        let stays =
            |why: &str| format!("the image {name} stays; its files have changed{why}: `carrack up --build` builds it");
        match prediction {
            Prediction::Image(image) if present == Some(image.id) => {}
            Prediction::Image(image) if is_built => {
                forecast.notes.push(format!("the image {name} is built of cached steps only"));
                forecast.known.insert(service.name.clone(), image);
                changing.extend(tags);
            }
            Prediction::Unknown(why) if is_built => {
                forecast.unknown.insert(service.name.clone(), why);
                changing.extend(tags);
            }
            Prediction::Image(_) => forecast.notes.push(stays("")),
            Prediction::Unknown(why) => forecast.notes.push(stays(&format!(" or its cache is gone ({why})"))),
        }
    }
    Ok(forecast)
}

/// A build that failed before it had a text to point into points at what asked for it.
fn placed(mut failure: Failure, loaded: &Loaded, how: &Build) -> Failure {
    if failure.diagnostics.iter().all(|diagnostic| diagnostic.labels.is_empty()) {
        let span = how.dockerfile.as_ref().map_or(how.context.span, |file| file.span);
        failure.diagnostics =
            failure.diagnostics.into_iter().map(|diagnostic| diagnostic.at(span, "asked for here")).collect();
        failure.sources = loaded.sources.clone();
    }
    failure
}
