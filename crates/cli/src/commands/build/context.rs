//! What is built from: folders, archives, repositories, addresses, and contexts with names.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use carrack_diag::Diagnostic;
use carrack_engine::build::{Arrival, ArrivedContext, BuildRequest, DockerfileSource, NamedContext};
use carrack_engine::{Engine, interrupt};
use carrack_oci::Reference;

use super::current_folder;
use crate::arguments::BuildArguments;
use crate::output::Failure;
use crate::{codes, flags};

/// A request with its contexts, and what has arrived for it, which must live as long as the build.
pub(super) struct Contexts {
    pub(super) request: BuildRequest,
    _arrived: Vec<ArrivedContext>,
}

/// The context and the Dockerfile as the arguments name them.
pub(super) fn open(engine: &Engine, arguments: &BuildArguments, context: &str) -> Result<Contexts, Failure> {
    let mut arrived = Vec::new();
    let is_on_input = arguments.file.iter().any(|file| file.as_os_str() == "-");
    let mut request = if context == "-" {
        if is_on_input {
            let reason = "standard input is the context, so the Dockerfile has to come from it";
            return Err(flags::invalid("--file", "-", reason).into());
        }
        from_arrival(engine, arguments, engine.arrival(std::io::stdin().lock())?, &mut arrived)?
    } else {
        let interrupted = interrupt::Flag::new()?;
        match engine.arrival_from(context, interrupted.is_set())? {
            Some(arrival) => from_arrival(engine, arguments, arrival, &mut arrived)?,
            None => {
                // Without `.`, for messages.
                let folder: PathBuf = current_folder().join(context).components().collect();
                let mut request = engine.build_request(&folder);
                request.dockerfile = dockerfile(arguments, &folder)?;
                request
            }
        }
    };
    for text in &arguments.build_context {
        let (name, value) = named(text)?;
        let context = named_context(engine, value, &mut arrived)?;
        request.contexts.insert(name, context);
    }
    Ok(Contexts { request, _arrived: arrived })
}

fn from_arrival(
    engine: &Engine,
    arguments: &BuildArguments,
    arrival: Arrival,
    arrived: &mut Vec<ArrivedContext>,
) -> Result<BuildRequest, Failure> {
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
            arrived.push(context);
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
    let text = std::io::read_to_string(std::io::stdin().lock()).map_err(|error| {
        Diagnostic::error(&codes::UNREADABLE_FILE, "can't read a Dockerfile from standard input")
            .cause(error.to_string())
            .hint("an archive is a context: give it with `-` as the last argument")
    })?;
    Ok(text)
}

/// `NAME=VALUE` of `--build-context`. A name that is an image's is told by the form that people know.
fn named(text: &str) -> Result<(String, &str), Failure> {
    let parts = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let Some((name, value)) = parts else {
        return Err(flags::invalid("--build-context", text, "NAME=FOLDER, an address or docker-image://IMAGE").into());
    };
    let familiar = name.parse::<Reference>().map(|reference| match name.contains([':', '@', '/']) {
        true => reference.familiar(),
        false => reference.familiar_repository(),
    });
    Ok((familiar.unwrap_or_else(|_| name.to_owned()).to_lowercase(), value))
}

pub(super) fn named_context(
    engine: &Engine,
    value: &str,
    arrived: &mut Vec<ArrivedContext>,
) -> Result<NamedContext, Failure> {
    if let Some(image) = value.strip_prefix("docker-image://") {
        return Ok(NamedContext::Image(image.parse()?));
    }
    if let Some(kind) = ["oci-layout://", "target:", "service:"].iter().find(|kind| value.starts_with(**kind)) {
        let diagnostic = Diagnostic::error(&codes::NOT_YET, format!("contexts of the kind {kind} are not there yet"));
        return Err(diagnostic.hint("take the image in with `carrack load`, and name it with docker-image://").into());
    }
    let never = AtomicBool::new(false);
    match engine.arrival_from(value, &never)? {
        Some(Arrival::Context(context)) => {
            let path = context.path().to_owned();
            arrived.push(context);
            Ok(NamedContext::Folder(path))
        }
        Some(Arrival::Dockerfile(_)) => {
            Err(flags::invalid("--build-context", value, "the address of an archive or a repository").into())
        }
        None => Ok(NamedContext::Folder(current_folder().join(value))),
    }
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
