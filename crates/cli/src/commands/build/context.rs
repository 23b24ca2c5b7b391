//! What is built from: folders, archives, repositories, addresses, and contexts with names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use carrack_diag::Diagnostic;
use carrack_engine::build::{Arrival, ArrivedContext, BuildRequest, DockerfileSource, NamedContext, Secrets};
use carrack_engine::{Engine, interrupt};
use carrack_oci::{Platform, Reference};

use super::{current_folder, platforms};
use crate::arguments::BuildArguments;
use crate::output::Failure;
use crate::{build_flags, codes, flags};

/// No Dockerfile that somebody has written is longer, in bytes.
const DOCKERFILE_LIMIT_BYTES: u64 = 16 << 20;

/// What has been fetched, each address once.
#[derive(Default)]
pub(super) struct Fetched {
    known: BTreeMap<String, Arc<ArrivedContext>>,
    /// Of the build that a context is for: there may be tokens among them.
    pub(super) secrets: Secrets,
}

impl Fetched {
    /// The context behind an address; none where the text is none.
    fn context(
        &mut self,
        engine: &Engine,
        text: &str,
        keeps_git: bool,
        cancel: &AtomicBool,
    ) -> Result<Option<Arc<ArrivedContext>>, Failure> {
        if let Some(known) = self.known.get(text) {
            return Ok(Some(known.clone()));
        }
        match engine.arrival_from(text, keeps_git, &self.secrets, cancel)? {
            None => Ok(None),
            Some(Arrival::Context(context)) => {
                Ok(Some(self.known.entry(text.to_owned()).or_insert(Arc::new(context)).clone()))
            }
            Some(Arrival::Dockerfile(_)) => {
                Err(flags::invalid("context", text, "the address of an archive or a repository").into())
            }
        }
    }
}

/// The request of a context from an address, for a Compose file or a bake file, whose Dockerfile lies in it.
pub(super) fn remote(
    engine: &Engine,
    text: &str,
    dockerfile: Option<&str>,
    keeps_git: bool,
    fetched: &mut Fetched,
) -> Result<Option<BuildRequest>, Failure> {
    let interrupted = interrupt::Flag::new()?;
    let Some(context) = fetched.context(engine, text, keeps_git, interrupted.is_set())? else { return Ok(None) };
    let mut request = engine.build_request(context.path());
    request.dockerfile = DockerfileSource::Inside(PathBuf::from(dockerfile.unwrap_or("Dockerfile")));
    request.attestations.context = context.origin().cloned();
    request.arrived.push(context);
    Ok(Some(request))
}

/// The request with its context and Dockerfile as the arguments name them.
pub(super) fn open(engine: &Engine, arguments: &BuildArguments, context: &str) -> Result<BuildRequest, Failure> {
    let is_on_input = arguments.file.iter().any(|file| file.as_os_str() == "-");
    let secrets = build_flags::secrets(&arguments.more.secret)?;
    let mut request = if context == "-" {
        if is_on_input {
            let reason = "standard input is the context, so the Dockerfile has to come from it";
            return Err(flags::invalid("--file", "-", reason).into());
        }
        from_arrival(engine, arguments, engine.arrival(std::io::stdin().lock())?)?
    } else {
        let interrupted = interrupt::Flag::new()?;
        let keeps_git = arguments.build_arg.iter().any(|text| keeps_git(text.split_once('=')));
        match engine.arrival_from(context, keeps_git, &secrets, interrupted.is_set())? {
            Some(arrival) => from_arrival(engine, arguments, arrival)?,
            None => {
                // Without `.`, for messages.
                let folder: PathBuf = current_folder().join(context).components().collect();
                let mut request = engine.build_request(&folder);
                request.dockerfile = dockerfile(arguments, &folder)?;
                request
            }
        }
    };
    request.platform = platforms::wanted(arguments)?.into_iter().next();
    let mut fetched = Fetched { secrets, ..Fetched::default() };
    for text in &arguments.build_context {
        let (name, value) = named(text)?;
        named_context(engine, &mut request, &name, value, &mut fetched)?;
    }
    Ok(request)
}

/// Whether a build argument asks for the `.git` of a context.
pub(super) fn keeps_git(pair: Option<(&str, &str)>) -> bool {
    pair.is_some_and(|(name, value)| name == "BUILDKIT_CONTEXT_KEEP_GIT_DIR" && matches!(value, "1" | "true"))
}

fn from_arrival(engine: &Engine, arguments: &BuildArguments, arrival: Arrival) -> Result<BuildRequest, Failure> {
    match arrival {
        Arrival::Dockerfile(text) => {
            let mut request = engine.build_request(Path::new("/"));
            request.context = None;
            request.dockerfile = DockerfileSource::Text { name: "-".into(), text };
            Ok(request)
        }
        Arrival::Context(context) => {
            let mut request = engine.build_request(context.path());
            request.dockerfile = match arguments.file.as_slice() {
                [file] if file.as_os_str() != "-" => DockerfileSource::Inside(file.clone()),
                [] => DockerfileSource::Inside(PathBuf::from("Dockerfile")),
                _ => dockerfile(arguments, context.path())?,
            };
            request.attestations.context = context.origin().cloned();
            request.arrived.push(Arc::new(context));
            Ok(request)
        }
    }
}

fn dockerfile(arguments: &BuildArguments, folder: &Path) -> Result<DockerfileSource, Failure> {
    match arguments.file.as_slice() {
        [] => Ok(DockerfileSource::Path(folder.join("Dockerfile"))),
        [file] if file.as_os_str() == "-" => Ok(DockerfileSource::Text { name: "-".into(), text: standard_input()? }),
        [file] => Ok(DockerfileSource::Path(current_folder().join(file))),
        several => {
            let files: Vec<String> = several.iter().map(|file| file.display().to_string()).collect();
            Err(flags::invalid("--file", &files.join(" "), "one Dockerfile").into())
        }
    }
}

fn standard_input() -> Result<String, Failure> {
    use std::io::Read as _;
    let unreadable = |reason: String| {
        Diagnostic::error(&codes::UNREADABLE_FILE, "can't read a Dockerfile from standard input")
            .cause(reason)
            .hint("an archive is a context: give it with `-` as the last argument")
    };
    let mut text = String::new();
    let read = std::io::stdin().lock().take(DOCKERFILE_LIMIT_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > DOCKERFILE_LIMIT_BYTES {
        return Err(unreadable(format!("it is larger than {} MiB", DOCKERFILE_LIMIT_BYTES >> 20)).into());
    }
    Ok(text)
}

/// `NAME=VALUE` of `--build-context`.
fn named(text: &str) -> Result<(String, &str), Failure> {
    let parts = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let Some((name, value)) = parts else {
        let form = "NAME=FOLDER, an address, docker-image://IMAGE or oci-layout://FOLDER";
        return Err(flags::invalid("--build-context", text, form).into());
    };
    Ok((context_name(name), value))
}

/// A name that is an image's is told by the form that people know.
pub(super) fn context_name(name: &str) -> String {
    let familiar = name.parse::<Reference>().map(|reference| match name.contains([':', '@', '/']) {
        true => reference.familiar(),
        false => reference.familiar_repository(),
    });
    familiar.unwrap_or_else(|_| name.to_owned()).to_lowercase()
}

/// Puts what a name means into a request. Other targets and services are the business of whoever knows them.
pub(super) fn named_context(
    engine: &Engine,
    request: &mut BuildRequest,
    name: &str,
    value: &str,
    fetched: &mut Fetched,
) -> Result<(), Failure> {
    let context = if let Some(image) = value.strip_prefix("docker-image://") {
        NamedContext::Image(image.parse()?)
    } else if let Some(layout) = value.strip_prefix(LAYOUT) {
        layout_image(engine, layout, request)?
    } else if let Some(kind) = ["target:", "service:"].iter().find(|kind| value.starts_with(**kind)) {
        let reason = match *kind {
            "target:" => "a folder, an address or an image: targets are known to `carrack bake`",
            _ => "a folder, an address or an image: services are known to `carrack compose build`",
        };
        return Err(flags::invalid("--build-context", value, reason).into());
    } else {
        let interrupted = interrupt::Flag::new()?;
        match fetched.context(engine, value, false, interrupted.is_set())? {
            Some(context) => {
                let path = context.path().to_owned();
                request.arrived.push(context);
                NamedContext::Folder(path)
            }
            None => NamedContext::Folder(current_folder().join(value)),
        }
    };
    request.contexts.insert(name.to_owned(), context);
    Ok(())
}

const LAYOUT: &str = "oci-layout://";

fn layout_image(engine: &Engine, layout: &str, request: &BuildRequest) -> Result<NamedContext, Failure> {
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let place = if layout.starts_with('/') {
        layout.to_owned()
    } else {
        current_folder().join(layout).to_string_lossy().into_owned()
    };
    Ok(NamedContext::Built(engine.layout_image(&place, &platform)?))
}

/// Gives a request for one of several platforms what layouts have for it.
pub(super) fn layouts(engine: &Engine, arguments: &BuildArguments, request: &mut BuildRequest) -> Result<(), Failure> {
    for text in &arguments.build_context {
        let (name, value) = named(text)?;
        if let Some(layout) = value.strip_prefix(LAYOUT) {
            let image = layout_image(engine, layout, request)?;
            request.contexts.insert(name, image);
        }
    }
    Ok(())
}

/// `ID[=SOCKET]` of `--ssh`.
pub(super) fn agent(text: &str) -> Result<(String, PathBuf), Failure> {
    use std::os::unix::fs::FileTypeExt as _;
    let (id, path) = text.split_once('=').map_or((text, None), |(id, path)| (id, Some(PathBuf::from(path))));
    let path = path.or_else(|| std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from));
    let Some(path) = path.filter(|_| !id.is_empty()) else {
        return Err(
            flags::invalid("--ssh", text, "ID or ID=SOCKET; without a socket SSH_AUTH_SOCK has to be set").into()
        );
    };
    let path = current_folder().join(path);
    let is_socket = std::fs::metadata(&path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        let message = format!("--ssh {id}: {} is not the socket of an agent", path.display());
        let diagnostic = Diagnostic::error(&codes::UNREADABLE_FILE, message);
        return Err(diagnostic
            .hint("load the key into an agent: `eval $(ssh-agent); ssh-add KEY`, then --ssh default")
            .into());
    }
    Ok((id.to_owned(), path))
}
