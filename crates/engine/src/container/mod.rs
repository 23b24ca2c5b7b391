//! Containers: their records, and every verb on one of them.

mod attach;
mod cdi;
mod commit;
mod connect;
mod copy;
mod create;
mod devices;
mod effective;
pub(crate) mod event;
mod exec;
mod external;
mod files;
mod inspect;
mod last_run;
mod log_attributes;
mod logs;
mod names;
mod pause;
mod processes;
mod propagation;
mod reach;
mod relearn;
mod remove;
mod rename;
mod root;
mod sharing;
mod start;
mod stop;
mod unhealthy;
mod update;
mod view;
mod watch;

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use carrack_specgen::Container;
use serde::{Deserialize, Serialize};

pub use attach::{AttachOptions, AttachOutcome};
#[cfg(any(test, fuzzing))]
pub(crate) use cdi::fuzz as fuzz_cdi;
pub use commit::CommitRequest;
pub use copy::CopyOptions;
pub use exec::ExecOptions;
pub(crate) use external::{check_runtime, on_path};
pub use logs::{LogLine, LogOptions};
pub use processes::{ProcessView, Usage};
pub use reach::Reach;
pub use remove::RemoveOptions;
pub use start::{RunFailure, Started};
pub use stop::StopOptions;
pub use update::UpdateRequest;
pub use view::{ContainerView, PublishedPort};

#[cfg(any(test, fuzzing))]
pub(crate) use logs::fuzz as fuzz_logs;

use crate::codes;

/// A container as it was made: what was asked for, and what was decided about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ContainerRecord {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique on the root.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// What was asked for.
    pub container: Container,
    /// The image's id.
    pub image: Digest,
    /// The volume of each target that has one.
    pub volumes: BTreeMap<String, VolumeUse>,
    /// The program that runs it, where that is not our own runtime: what its name stood for when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// The id of the image of each target that shows one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub images: BTreeMap<String, Digest>,
}

/// The volume behind a mount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUse {
    /// The volume's name.
    pub name: String,
    /// Whether it was made with the container and is named by nobody.
    pub anonymous: bool,
}

impl ContainerRecord {
    /// The first 12 digits of the id.
    pub fn short_id(&self) -> &str {
        &self.id[..12.min(self.id.len())]
    }
}

/// A name of a container: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, as Docker's.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if first
        && (2..=255).contains(&name.len())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
    {
        return Ok(());
    }
    Err(Diagnostic::error(&codes::INVALID_NAME, format!("`{name}` can't be the name of a container"))
        .hint("a name has at least two of the characters a-z A-Z 0-9 _ . - and begins with a letter or digit")
        .boxed())
}

/// 64 random hexadecimal digits that are not a number, so that an id is never taken for a count.
pub(crate) fn new_id() -> Result<String> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|error| Diagnostic::error(&codes::HOST, "can't get random bytes").cause(error.to_string()).boxed())?;
    let mut id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    if id[..12].bytes().all(|byte| byte.is_ascii_digit()) {
        id.replace_range(..1, "a");
    }
    Ok(id)
}
