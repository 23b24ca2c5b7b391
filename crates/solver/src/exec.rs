//! Running the program of a `RUN`, behind a trait so that builds can be tested without a kernel's help.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use carrack_diag::Result;
use carrack_llb::Exec;
use carrack_specgen::container::Resources;
use carrack_store::Upper;

use crate::progress::Stream;

/// What is mounted while a program runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequestMount {
    /// Absolute, in the container.
    pub target: String,
    /// What is mounted there.
    pub source: ExecMountSource,
    /// Whether it cannot be written to.
    pub read_only: bool,
}

/// Where a mount's content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecMountSource {
    /// A file or folder of the host.
    Host(PathBuf),
    /// What layers hold, nothing of it copied.
    Layers {
        /// Read-only folders, topmost first.
        lower: Vec<PathBuf>,
        /// What is written to; none where nothing is.
        upper: Option<Upper>,
        /// An empty folder of the host, to attach the layers to where nobody sees it.
        mountpoint: PathBuf,
        /// What is mounted of them, from their root and without links.
        path: PathBuf,
    },
    /// A new temporary file system.
    Tmpfs {
        /// In bytes; none is the kernel's default.
        size_bytes: Option<u64>,
    },
}

/// A program to run on layers.
pub struct ExecRequest<'a> {
    /// Unique in this store while it runs; 64 hexadecimal digits.
    pub id: &'a str,
    /// Program, environment, user, network.
    pub exec: &'a Exec,
    /// Read-only folders of the root file system, topmost first.
    pub lower: Vec<PathBuf>,
    /// What is written to.
    pub upper: Upper,
    /// In order.
    pub mounts: Vec<ExecRequestMount>,
    /// `NAME=VALUE` of secrets, in no key and no message.
    pub secret_environment: Vec<String>,
    /// A folder of this step alone on the run root, gone after it.
    pub folder: &'a Path,
    /// Whether it gets the streams of this process, its terminal where it has one: a shell.
    pub attached: bool,
    /// Receives the output as it comes, from any thread, where it is not attached.
    pub output: &'a (dyn Fn(Stream, &[u8]) + Sync),
    /// Set when the build has failed elsewhere: the program is to be killed.
    pub cancel: &'a AtomicBool,
    /// Limits.
    pub resources: &'a Resources,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Docker's exit status: the program's, or 128 and the signal's number.
    pub status: i32,
    /// Whether the kernel killed something of it for want of memory.
    pub out_of_memory: bool,
}

/// Runs programs.
pub trait Executor: Sync {
    /// Runs until the program has ended and nothing of it is left: no process, no mount of `upper`.
    ///
    /// # Errors
    /// Where the program could not be started.
    fn run(&self, request: &ExecRequest<'_>) -> Result<Ended>;
}
