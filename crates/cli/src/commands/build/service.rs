//! The build of a Compose service.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use carrack_compose::project::{Build, Content, Grant, Service};
use carrack_diag::{Diagnostic, Span, Spanned};
use carrack_engine::Engine;
use carrack_engine::build::{BuildRequest, DockerfileSource, NamedContext, Secrets};

use carrack_oci::Platform;

use super::context::{self, Fetched};
use crate::output::Failure;
use crate::project::Loaded;
use crate::{build_flags, cache_flags, codes};

/// Services by name, and those whose images are contexts of their builds.
pub(super) fn with_contexts(loaded: &Loaded, names: impl Iterator<Item = String>) -> Vec<&Service> {
    let project = &loaded.project;
    let mut open: Vec<String> = names.collect();
    let mut known = BTreeSet::new();
    while let Some(name) = open.pop() {
        let Some(service) = find(loaded, &name).filter(|_| known.insert(name.clone())) else { continue };
        let contexts = service.build.iter().flat_map(Build::services);
        open.extend(contexts.map(|(_, service)| service.value.to_owned()));
    }
    project.services.values().chain(project.inactive.values()).filter(|service| known.contains(&service.name)).collect()
}

fn find<'a>(loaded: &'a Loaded, name: &str) -> Option<&'a Service> {
    loaded.project.services.get(name).or_else(|| loaded.project.inactive.get(name))
}

/// What a service's `build:` asks for, with its places kept for errors that this makes itself. Nothing is fetched without a
/// place for it.
pub(super) fn request(
    engine: &Engine,
    loaded: &Loaded,
    service: &Service,
    how: &Build,
    mut fetched: Option<&mut Fetched>,
) -> Result<BuildRequest, Failure> {
    let keeps_git = how
        .args
        .iter()
        .any(|(name, value)| context::keeps_git(value.value.as_deref().map(|value| (name.as_str(), value))));
    let at = |span: Span, label: &str, failure: Failure| placed(loaded, span, label, failure);
    let dockerfile = how.dockerfile.as_ref().map(|file| file.value.as_str());
    if let Some(fetched) = &mut fetched {
        fetched.secrets = secrets(loaded, how)?;
    }
    let remote = match &mut fetched {
        Some(fetched) if how.is_remote() => context::remote(engine, &how.context.value, dockerfile, keeps_git, fetched)
            .map_err(|failure| at(how.context.span, "named here", failure))?,
        _ => None,
    };
    let mut request = match remote {
        Some(request) => request,
        None => local(engine, loaded, service, how)?,
    };
    if let Some(text) = &how.dockerfile_inline {
        let name = format!("{} (dockerfile_inline)", service.name);
        request.dockerfile = DockerfileSource::Text { name, text: text.value.clone() };
    }
    request.target = how.target.as_ref().map(|target| target.value.clone());
    request.no_cache = how.no_cache;
    request.pull = how.pull;
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
    request.platform = own_platform(service, how).map_err(|failure| at(how.span, "asked for here", failure))?;
    steps(&mut request, loaded, how)?;
    for (name, place) in &how.additional_contexts {
        let name = context::context_name(name);
        if let Some(other) = place.value.strip_prefix("service:").and_then(|other| find(loaded, other)) {
            let image = carrack_plan::image_name(&loaded.project, other).parse()?;
            let context = if other.build.is_some() { NamedContext::Built(image) } else { NamedContext::Image(image) };
            request.contexts.insert(name, context);
        } else if let Some(fetched) = &mut fetched {
            context::named_context(engine, &mut request, &name, &place.value, fetched)
                .map_err(|failure| at(place.span, "this context", failure))?;
        } else if place.value.starts_with('/') {
            request.contexts.insert(name, NamedContext::Folder(PathBuf::from(&place.value)));
        }
    }
    let texts = |list: &[Spanned<String>]| -> Vec<String> { list.iter().map(|text| text.value.clone()).collect() };
    let folder = PathBuf::from(&loaded.project.directory);
    cache_flags::apply(&mut request, &texts(&how.cache_from), &texts(&how.cache_to), &folder)?;
    cache_flags::inline(&mut request)?;
    build_flags::epoch(&mut request)?;
    build_flags::attest_by_default(&mut request);
    for (kind, wanted) in [("sbom", &how.sbom), ("provenance", &how.provenance)] {
        let Some(wanted) = wanted else { continue };
        build_flags::short_attestation(&mut request, kind, &wanted.value)
            .map_err(|error| at(wanted.span, "asked for here", error.into()))?;
    }
    Ok(request)
}

fn local(engine: &Engine, loaded: &Loaded, service: &Service, how: &Build) -> Result<BuildRequest, Failure> {
    let folder = PathBuf::from(&how.context.value);
    if !folder.is_dir() {
        let message = format!("the build context of the service `{}` is not a folder", service.name);
        let diagnostic = Diagnostic::error(&codes::UNREADABLE_FILE, message)
            .at(how.context.span, "named here")
            .cause(format!("{} does not exist or is a file", folder.display()))
            .hint("relative paths count from the Compose file's folder");
        return Err(Failure::new(vec![diagnostic], loaded.sources.clone()));
    }
    let mut request = engine.build_request(&folder);
    if let Some(file) = &how.dockerfile {
        request.dockerfile = DockerfileSource::Path(folder.join(&file.value));
    }
    Ok(request)
}

/// The platforms that an image is wanted for, where they are several.
pub(super) fn platforms(loaded: &Loaded, how: &Build) -> Result<Vec<Platform>, Failure> {
    let parse = |text: &Spanned<String>| {
        text.value.parse().map_err(|error: Box<Diagnostic>| placed(loaded, text.span, "asked for here", error.into()))
    };
    let platforms = how.platforms.iter().map(parse).collect::<Result<Vec<Platform>, Failure>>()?;
    Ok(if platforms.len() > 1 { platforms } else { Vec::new() })
}

/// What the containers are to run on: what the service says, else this machine's among those that are built, else the first.
fn own_platform(service: &Service, how: &Build) -> Result<Option<Platform>, Failure> {
    if let Some(platform) = &service.platform {
        return Ok(Some(platform.value.parse()?));
    }
    let platforms = how.platforms.iter().map(|text| text.value.parse()).collect::<Result<Vec<Platform>, _>>()?;
    let host = Platform::host();
    let own = platforms.iter().find(|platform| platform.matches(&host)).or(platforms.first());
    Ok(own.cloned())
}

/// What the programs of RUN get.
fn steps(request: &mut BuildRequest, loaded: &Loaded, how: &Build) -> Result<(), Failure> {
    let at = |span: Span, failure: Failure| placed(loaded, span, "asked for here", failure);
    if let Some(network) = &how.network {
        request.network =
            build_flags::network("network", &network.value).map_err(|error| at(network.span, error.into()))?;
    }
    request.settings.hosts = how.extra_hosts.iter().map(|host| host.value.clone()).collect();
    request.settings.shm_size_bytes = how.shm_size_bytes;
    request.settings.ulimits = how.ulimits.iter().map(|(name, limit)| (name.clone(), limit.value)).collect();
    request.allows_insecure |= how.privileged;
    for entitlement in &how.entitlements {
        build_flags::allow(request, &entitlement.value).map_err(|error| at(entitlement.span, error.into()))?;
    }
    for (id, socket) in &how.ssh {
        let text = socket.value.as_ref().map_or_else(|| id.clone(), |socket| format!("{id}={socket}"));
        let (id, socket) = context::agent(&text).map_err(|failure| at(socket.span, failure))?;
        request.agents.insert(id, socket);
    }
    request.secrets = secrets(loaded, how)?;
    Ok(())
}

/// By id.
fn secrets(loaded: &Loaded, how: &Build) -> Result<Secrets, Failure> {
    let content = |grant: &Grant| {
        let value = secret(loaded, grant);
        let value = value.map_err(|failure| placed(loaded, grant.source.span, "asked for here", failure))?;
        let id = if grant.target.is_empty() { &grant.source.value } else { &grant.target };
        Ok((id.clone(), value))
    };
    how.secrets.iter().map(content).collect()
}

fn secret(loaded: &Loaded, grant: &Grant) -> Result<Vec<u8>, Failure> {
    let name = &grant.source.value;
    let missing = |what: String, hint: &str| {
        Failure::from(
            Diagnostic::error(&codes::UNREADABLE_FILE, format!("there is no secret `{name}` for the build"))
                .cause(what)
                .hint(hint),
        )
    };
    match loaded.project.secrets.get(name).map(|secret| &secret.content) {
        Some(Content::File(path)) => Ok(build_flags::secret_file(name, Path::new(&path.value))?),
        Some(Content::Environment(variable)) => match loaded.environment.get(&variable.value) {
            Some(value) => Ok(value.clone().into_bytes()),
            None => Err(missing(format!("the variable {} is not set", variable.value), "set it; .env counts too")),
        },
        Some(Content::Inline(text)) => Ok(text.value.clone().into_bytes()),
        Some(Content::External) | None => {
            Err(missing("it is kept elsewhere".into(), "give it with `file:` or `environment:`"))
        }
    }
}

/// A failure that has no place of its own gets the one that asked for it.
fn placed(loaded: &Loaded, span: Span, label: &str, mut failure: Failure) -> Failure {
    if failure.diagnostics.iter().all(|diagnostic| diagnostic.labels.is_empty()) {
        failure.diagnostics = failure.diagnostics.into_iter().map(|diagnostic| diagnostic.at(span, label)).collect();
        failure.sources = loaded.sources.clone();
    }
    failure
}
