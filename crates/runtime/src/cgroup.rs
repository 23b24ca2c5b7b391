//! Control groups of containers.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The control groups of one container, one folder a hierarchy.
#[derive(Debug)]
pub struct Cgroup {
    unified: Option<OwnedFd>,
    processes: Vec<OwnedFd>,
}

impl Cgroup {
    /// The v2 folder that a process can be born into.
    pub(crate) fn born_into(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(AsFd::as_fd)
    }

    /// The `cgroup.procs` files that a process must write itself into: v1's.
    pub(crate) fn joined_by_writing(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.processes.iter().map(AsFd::as_fd)
    }
}
