//! `compose pull` and `compose push`.

use carrack_compose::project::Service;
use carrack_diag::{Diagnostic, Result};
use carrack_engine::Engine;
use carrack_engine::build::Compression;
use carrack_engine::registry::PullPolicy;
use carrack_oci::{Platform, Reference};

use super::progress::{Lines, Verb};
use super::{client, push_built};
use crate::arguments::{ComposePullArguments, ComposePushArguments, ProjectArguments};
use crate::commands::Session;
use crate::commands::stack::{check_services, load};
use crate::output::{Failure, Outcome, exit, note};
use crate::project::Loaded;

pub(crate) fn services_pull(session: &Session, project: &ProjectArguments, options: &ComposePullArguments) -> Outcome {
    let loaded = load(session, project, &options.services)?;
    check_services(&loaded, &options.services)?;
    let engine = session.engine()?;
    let mut pulled = Vec::new();
    for service in chosen(&loaded, &options.services, options.include_deps) {
        let is_built = service.build.is_some();
        // What is built and has no name of its own is nowhere to be had.
        if is_built && (options.ignore_buildable || service.image.is_none()) {
            continue;
        }
        let name = carrack_plan::image_name(&loaded.project, service);
        let policy = match (options.policy.as_deref(), service.pull_policy.as_ref().map(|policy| policy.value.as_str()))
        {
            (Some("missing"), _) | (None, Some("missing" | "if_not_present")) => PullPolicy::Missing,
            (None, Some("never" | "build")) => continue,
            _ => PullPolicy::Always,
        };
        match pull(session, &engine, service, &name, (policy, options.quiet)) {
            Ok(()) => pulled.push(name),
            // Where no registry has it, it can still be built.
            Err(error) if is_built && error.code.id == "registry/not-found" => {
                note(&format!("{name} is at no registry: `carrack build {}` makes it\n", service.name));
            }
            Err(error) if options.ignore_pull_failures => note(&format!("{name}: {error}\n")),
            Err(error) => return Err(placed(&loaded, service, *error)),
        }
    }
    session.output.result("pull", &pulled, |_| String::new());
    Ok(exit::DONE)
}

fn pull(
    session: &Session,
    engine: &Engine,
    service: &Service,
    name: &str,
    (policy, quiet): (PullPolicy, bool),
) -> Result<()> {
    let platform = service.platform.as_ref().map(|platform| platform.value.parse::<Platform>()).transpose()?;
    let lines = Lines::new(Verb::Pull, quiet || session.output.json, true);
    let pulled = engine.ensure_image(&client()?, name, platform.as_ref(), policy, &lines);
    lines.end();
    if let (Some(pulled), false) = (pulled?, quiet || session.output.json) {
        note(&format!("{} {}\n", pulled.name, pulled.digest));
    }
    Ok(())
}

pub(crate) fn services_push(session: &Session, project: &ProjectArguments, options: &ComposePushArguments) -> Outcome {
    let loaded = load(session, project, &options.services)?;
    check_services(&loaded, &options.services)?;
    let engine = session.engine()?;
    let mut pushed = Vec::new();
    for service in chosen(&loaded, &options.services, options.include_deps) {
        // As Compose does: only what is built here and has a name of its own.
        let (Some(build), Some(image)) = (&service.build, &service.image) else { continue };
        let names = std::iter::once(image.value.as_str()).chain(build.tags.iter().map(|tag| tag.value.as_str()));
        let names: Vec<Reference> = names.map(str::parse).collect::<Result<_>>()?;
        match push_built(session, &engine, &names, Compression::OUTGOING, options.quiet) {
            Ok(()) => pushed.extend(names.iter().map(Reference::familiar)),
            Err(error) if options.ignore_push_failures => note(&format!("{}: {error}\n", service.name)),
            Err(error) => return Err(placed(&loaded, service, *error)),
        }
    }
    session.output.result("push", &pushed, |_| String::new());
    Ok(exit::DONE)
}

fn chosen<'a>(loaded: &'a Loaded, named: &[String], with_dependencies: bool) -> Vec<&'a Service> {
    let selection = carrack_plan::selection(&loaded.project, named, !with_dependencies);
    loaded.project.services.values().filter(|service| selection.contains(&service.name)).collect()
}

/// With the place that names the image.
fn placed(loaded: &Loaded, service: &Service, error: Diagnostic) -> Failure {
    let error = match &service.image {
        Some(image) => error.at(image.span, format!("the image of the service `{}`", service.name)),
        None => error,
    };
    Failure::new(vec![error], loaded.sources.clone())
}
