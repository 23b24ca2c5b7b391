//! From an operating system's error to a diagnostic that says what was attempted and what to do.

use std::io;
use std::path::Path;

use carrack_diag::Diagnostic;

use crate::codes;

/// `attempt` completes "can't … PATH": `"read"`, `"create the folder"`.
pub(crate) fn fault(attempt: &str, path: &Path, error: impl Into<io::Error>) -> Box<Diagnostic> {
    let error = error.into();
    let message = format!("can't {attempt} {}", path.display());
    let diagnostic = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Diagnostic::error(&codes::DISK_FULL, message).hint(
            "free space, for example with `carrack builder prune` or `carrack rmi`, or move the root to a larger file \
                   system with --root",
        ),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Diagnostic::error(&codes::NO_PERMISSION, message)
            .hint("run as the owner of the root, or choose another with --root and --run-root"),
        _ => Diagnostic::error(&codes::IO, message),
    };
    diagnostic.cause(error.to_string()).boxed()
}

/// Adds the attempt and the path to an operating system's error.
pub(crate) trait Context<T> {
    /// See [`fault`].
    fn context(self, attempt: &str, path: &Path) -> carrack_diag::Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn context(self, attempt: &str, path: &Path) -> carrack_diag::Result<T> {
        self.map_err(|error| fault(attempt, path, error))
    }
}

/// Nothing where the file is missing.
pub(crate) fn present<T, E: Into<io::Error>>(result: Result<T, E>) -> io::Result<Option<T>> {
    match result.map_err(Into::into) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
