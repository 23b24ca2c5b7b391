use carrack_diag::{Diagnostic, Result};
use rustix::io::Errno;

use crate::codes;

/// The diagnostic of an operation that the kernel refused.
pub(crate) fn fault(attempt: impl Into<String>, error: impl Into<std::io::Error>) -> Box<Diagnostic> {
    let error = error.into();
    let code = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => &codes::NO_PERMISSION,
        _ => &codes::KERNEL,
    };
    Diagnostic::error(code, attempt).cause(error.to_string()).boxed()
}

/// Says what was attempted where an operation failed.
pub(crate) trait Context<T> {
    fn context(self, attempt: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Context<T> for Result<T, Errno> {
    fn context(self, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| fault(attempt(), error))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| fault(attempt(), error))
    }
}

impl<T> Context<T> for Result<T, carrack_sys::netlink::Refusal> {
    fn context(self, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|refusal| fault(attempt(), refusal.error))
    }
}
