//! The birth of a container's process.

use std::os::fd::{BorrowedFd, OwnedFd};

use carrack_specgen::InitPlan;

/// Argument zero of a process that is to be an init.
pub(crate) const ARGV0: &str = "carrack-init";

/// What a process needs beside its plan.
#[derive(Debug)]
pub struct SpawnRequest<'a> {
    /// What it does until the program runs.
    pub plan: &'a InitPlan,
    /// Standard input, output and error. A plan with a terminal replaces them by it.
    pub stdio: [BorrowedFd<'a>; 3],
    /// The network namespace to join, where the plan says so.
    pub network_namespace: Option<BorrowedFd<'a>>,
    /// The running container to enter, where the plan says so: the descriptor of its first process.
    pub container: Option<BorrowedFd<'a>>,
    /// The control groups to be born into.
    pub cgroup: Option<&'a crate::cgroup::Cgroup>,
}

/// A container's process whose program runs.
#[derive(Debug)]
pub struct Child {
    /// In the spawner's process namespace.
    pub pid: i32,
    /// Stable reference to the process: signals and waits through it cannot hit another. The spawner is its parent.
    pub pidfd: OwnedFd,
    /// The spawner's end of the pseudo-terminal, where the plan has one.
    pub terminal: Option<OwnedFd>,
}

/// Why a container's program does not run. The process is dead and reaped by then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitFailure {
    /// Index into the plan's steps; none is before the first or unknown.
    pub step: Option<usize>,
    /// [`InitStep::name`](carrack_specgen::InitStep::name), or what was attempted before the first step.
    pub name: String,
    /// 0 where no system call failed.
    pub errno: i32,
    /// The path or name that it concerns, with what is wrong about it; may be empty.
    pub detail: String,
}

/// Makes the process and returns when its program has been executed, or has not.
pub fn spawn(request: &SpawnRequest<'_>) -> Result<Child, InitFailure> {
    let _ = request;
    Err(InitFailure { step: None, name: "clone".into(), errno: 38, detail: "being written".into() })
}

pub(crate) fn main() {}
