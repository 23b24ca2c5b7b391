//! `build`: an image from a Dockerfile, or the images of a project's services.

mod progress;

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use carrack_compose::project::{Build, Service};
use carrack_diag::{Diagnostic, SourceMap};
use carrack_engine::Engine;
use carrack_engine::build::{BuildRequest, BuildResult, DockerfileSource};
use carrack_oci::Reference;
use serde_json::json;

use super::stack::{check_services, load};
use super::{Session, current_folder};
use crate::arguments::{BuildArguments, ComposeBuildArguments, ProjectArguments};
use crate::output::{Failure, Outcome, exit, human_size, note};
use crate::project::Loaded;
use crate::{codes, flags};
use progress::Lines;

/// With a folder, Docker's `build`; without one, the project's services.
pub(crate) fn build(session: &Session, arguments: &BuildArguments) -> Outcome {
    let [context] = arguments.context.as_slice() else { return project(session, arguments) };
    if !is_context(context) {
        return project(session, arguments);
    }
    let engine = session.engine()?;
    let folder = current_folder().join(context);
    let mut request = engine.build_request(&folder);
    request.dockerfile = dockerfile(arguments, &folder)?;
    if let Some(kind) = arguments.network.as_deref().filter(|kind| !matches!(*kind, "default" | "bridge")) {
        let diagnostic = Diagnostic::error(&codes::NOT_YET, format!("build --network {kind} is not there yet"));
        return Err(diagnostic.hint("`RUN --network=host` and `RUN --network=none` are").into());
    }
    request.target.clone_from(&arguments.target);
    request.no_cache = arguments.no_cache;
    request.platform = arguments.platform.as_deref().map(str::parse).transpose()?;
    for text in &arguments.build_arg {
        build_argument(&mut request, text);
    }
    for text in &arguments.label {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        request.labels.insert(key.to_owned(), value.to_owned());
    }
    for name in &arguments.tag {
        request.tags.push(name.parse::<Reference>()?);
    }
    let built = run(session, &engine, &request, arguments.quiet)?;
    if let Some(path) = &arguments.iidfile {
        std::fs::write(path, built.image.id.to_string()).map_err(|error| {
            Diagnostic::error(&codes::UNREADABLE_FILE, format!("can't write {}", path.display()))
                .cause(error.to_string())
        })?;
    }
    session.output.result("build", &result(&built), |_| {
        if arguments.quiet { format!("{}\n", built.image.id) } else { String::new() }
    });
    Ok(exit::DONE)
}

/// A service's name is no path.
fn is_context(text: &str) -> bool {
    text == "-" || text.contains(['/', '.']) || current_folder().join(text).join("Dockerfile").exists()
}

fn dockerfile(arguments: &BuildArguments, folder: &Path) -> Result<DockerfileSource, Failure> {
    match arguments.file.as_slice() {
        [] => Ok(DockerfileSource::Path(folder.join("Dockerfile"))),
        [file] if file.as_os_str() == "-" => {
            let text = std::io::read_to_string(std::io::stdin().lock()).map_err(|error| {
                Diagnostic::error(&codes::UNREADABLE_FILE, "can't read standard input").cause(error.to_string())
            })?;
            Ok(DockerfileSource::Text { name: "-".into(), text })
        }
        [file] => Ok(DockerfileSource::Path(current_folder().join(file))),
        several => {
            let files: Vec<String> = several.iter().map(|file| file.display().to_string()).collect();
            Err(flags::invalid("--file", &files.join(" "), "one Dockerfile").into())
        }
    }
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

fn run(session: &Session, engine: &Engine, request: &BuildRequest, quiet: bool) -> Result<BuildResult, Failure> {
    let progress = Lines::new(quiet || session.output.json);
    let cancel = AtomicBool::new(false);
    let mut sources = SourceMap::new();
    let built = engine.build(request, &progress, &cancel, &mut sources);
    let built = built.map_err(|errors| Failure::new(errors, sources.clone()))?;
    if !quiet {
        session.output.diagnostics(&built.warnings, &sources);
    }
    if !quiet && !session.output.json {
        let names: Vec<String> = built.image.names.iter().map(Reference::familiar).collect();
        let cached = format!("{} of {} steps cached", built.cached_steps, built.steps);
        let context = human_size(built.context.size_bytes);
        note(&format!("{} {} ({cached}, context {context})\n", built.image.id.short(), names.join(" ")));
    }
    Ok(built)
}

fn result(built: &BuildResult) -> serde_json::Value {
    json!({
        "id": built.image.id,
        "names": built.image.names.iter().map(Reference::familiar).collect::<Vec<_>>(),
        "steps": built.steps,
        "cached_steps": built.cached_steps,
        "context_bytes": built.context.size_bytes,
    })
}

fn project(session: &Session, arguments: &BuildArguments) -> Outcome {
    let project = ProjectArguments { file: arguments.file.clone(), ..ProjectArguments::default() };
    let options = ComposeBuildArguments {
        no_cache: arguments.no_cache,
        build_arg: arguments.build_arg.clone(),
        quiet: arguments.quiet,
        services: arguments.context.clone(),
    };
    services(session, &project, &options)
}

pub(crate) fn services(session: &Session, arguments: &ProjectArguments, options: &ComposeBuildArguments) -> Outcome {
    let loaded = load(session, arguments, &options.services)?;
    check_services(&loaded, &options.services)?;
    let engine = session.engine()?;
    let mut built = Vec::new();
    for service in loaded.project.services.values() {
        if !options.services.is_empty() && !options.services.contains(&service.name) {
            continue;
        }
        if let Some(how) = &service.build {
            let mut request = request(&engine, &loaded, service, how)?;
            request.no_cache |= options.no_cache;
            options.build_arg.iter().for_each(|text| build_argument(&mut request, text));
            let made = run(session, &engine, &request, options.quiet).map_err(|error| placed(error, &loaded, how))?;
            built.push(result(&made));
        }
    }
    session.output.result("build", &built, |_| String::new());
    Ok(exit::DONE)
}

/// Builds the images of services that have none yet, or, with `all`, of every service that is built.
pub(crate) fn project_images(
    session: &Session,
    engine: &Engine,
    loaded: &Loaded,
    only: &[String],
    all: bool,
) -> Result<(), Failure> {
    let needed = carrack_plan::selection(&loaded.project, only, false);
    for service in loaded.project.services.values().filter(|service| needed.contains(&service.name)) {
        let Some(how) = &service.build else { continue };
        let name = carrack_plan::image_name(&loaded.project, service);
        if all || !engine.has_image(&name)? {
            let request = request(engine, loaded, service, how)?;
            run(session, engine, &request, false).map_err(|error| placed(error, loaded, how))?;
        }
    }
    Ok(())
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

/// The build of a service, with its places kept for errors that this makes itself.
fn request(engine: &Engine, loaded: &Loaded, service: &Service, how: &Build) -> Result<BuildRequest, Failure> {
    let context = PathBuf::from(&how.context.value);
    if !context.is_dir() {
        let message = format!("the build context of the service `{}` is not a folder", service.name);
        let diagnostic = Diagnostic::error(&codes::UNREADABLE_FILE, message)
            .at(how.context.span, "named here")
            .cause(format!("{} does not exist or is a file", context.display()))
            .hint("relative paths count from the Compose file's folder");
        return Err(Failure::new(vec![diagnostic], loaded.sources.clone()));
    }
    let mut request = engine.build_request(&context);
    if let Some(text) = &how.dockerfile_inline {
        let name = format!("{} (dockerfile_inline)", service.name);
        request.dockerfile = DockerfileSource::Text { name, text: text.value.clone() };
    } else if let Some(file) = &how.dockerfile {
        request.dockerfile = DockerfileSource::Path(context.join(&file.value));
    }
    request.target = how.target.as_ref().map(|target| target.value.clone());
    request.no_cache = how.no_cache;
    for (name, value) in &how.args {
        if let Some(value) = value.value.clone().or_else(|| loaded.environment.get(name).cloned()) {
            request.build_args.insert(name.clone(), value);
        }
    }
    request.labels = how.labels.iter().map(|(key, value)| (key.clone(), value.value.clone())).collect();
    request.tags.push(carrack_plan::image_name(&loaded.project, service).parse()?);
    for tag in &how.tags {
        request.tags.push(tag.value.parse()?);
    }
    Ok(request)
}
