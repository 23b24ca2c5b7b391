//! The images of a project's services.

use std::collections::BTreeSet;

use carrack_compose::project::{Build, Service};
use carrack_diag::{Diagnostic, SourceMap};
use carrack_engine::build::{BuildRequest, Compression, Prediction, Together};
use carrack_engine::{Engine, Forecast};
use carrack_oci::Platform;
use clap::Args as _;

use super::call::Call;
use super::context::Fetched;
use super::foretell::{Foretold, foretell};
use super::outputs::Outputs;
use super::progress::Display;
use super::several::{self, Wanted};
use super::{build_argument, debug, platforms, report, result, service};
use crate::arguments::{BuildArguments, ComposeBuildArguments, DockerBuildArguments, ProjectArguments, Pull};
use crate::commands::stack::{check_services, load};
use crate::commands::{Session, registry};
use crate::output::{Failure, Outcome, exit};
use crate::project::Loaded;
use crate::{cache_flags, codes, flags};

/// A flag in the command line that says nothing to the build of a project.
pub(super) fn not_of_projects(session: &Session) -> Option<String> {
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

pub(super) fn project(session: &Session, arguments: &BuildArguments) -> Outcome {
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
pub(super) fn placed(mut failure: Failure, loaded: &Loaded, how: &Build) -> Failure {
    if failure.diagnostics.iter().all(|diagnostic| diagnostic.labels.is_empty()) {
        let span = how.dockerfile.as_ref().map_or(how.context.span, |file| file.span);
        failure.diagnostics =
            failure.diagnostics.into_iter().map(|diagnostic| diagnostic.at(span, "asked for here")).collect();
        failure.sources = loaded.sources.clone();
    }
    failure
}
