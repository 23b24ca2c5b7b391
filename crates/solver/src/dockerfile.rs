//! The Dockerfile of a build, read.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use carrack_diag::{Diagnostic, FileId, SourceMap};

use crate::arrived::DOCKERFILE_LIMIT_BYTES;
use crate::build::{BuildRequest, DockerfileSource};
use crate::codes;
use crate::tree::Tree;

/// Adds the file to the sources. Bytes that are no text are replaced.
pub(crate) fn read(request: &BuildRequest, sources: &mut SourceMap) -> carrack_diag::Result<FileId> {
    let read = |path: &Path| match &request.dockerfile {
        DockerfileSource::Inside(_) => {
            let folder = request.context.as_deref().unwrap_or(Path::new("/"));
            Tree::folder(folder).and_then(|tree| tree.bytes(path)?.ok_or(std::io::ErrorKind::NotFound.into()))
        }
        _ => File::open(path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(DOCKERFILE_LIMIT_BYTES + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        }),
    };
    let unreadable = |name: &str, reason: String| {
        Diagnostic::error(&codes::UNREADABLE, format!("read the Dockerfile {name}")).cause(reason)
    };
    let limited = |name: &str, text: &str| match text.len() as u64 > DOCKERFILE_LIMIT_BYTES {
        true => {
            let reason = format!("it is larger than {} MiB", DOCKERFILE_LIMIT_BYTES >> 20);
            Err(unreadable(name, reason).hint("put large files into the context, and copy them from there").boxed())
        }
        false => Ok(()),
    };
    let path = match &request.dockerfile {
        DockerfileSource::Text { name, text } => {
            limited(name, text)?;
            return Ok(sources.add(name.clone(), text.clone()));
        }
        DockerfileSource::Path(path) | DockerfileSource::Inside(path) => path,
    };
    let lower_case = path.with_file_name("dockerfile");
    let (path, bytes) = match read(path) {
        // As in BuildKit.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.ends_with("Dockerfile") => {
            match read(&lower_case) {
                Ok(bytes) => (&lower_case, Ok(bytes)),
                Err(_) => (path, Err(error)),
            }
        }
        other => (path, other),
    };
    let bytes = bytes.map_err(|error| {
        unreadable(&path.display().to_string(), error.to_string())
            .hint("write it there, or name another one: with `--file`, in Compose with `dockerfile:`")
            .boxed()
    })?;
    let (name, text) = (path.display().to_string(), String::from_utf8_lossy(&bytes));
    limited(&name, &text)?;
    Ok(sources.add(name, text))
}
