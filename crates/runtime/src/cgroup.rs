//! Control groups of containers.

/// The control groups of one container, one folder a hierarchy.
#[derive(Debug)]
pub struct Cgroup {}
