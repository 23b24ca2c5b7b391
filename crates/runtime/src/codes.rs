//! Diagnostic codes of this crate.

use carrack_diag::Code;

/// Something about a container's control groups failed.
pub static CGROUP: Code = Code {
    id: "runtime/cgroup",
    title: "a control group of the container can't be used",
    cause: "The kernel refused to make, change or remove a folder of its control group file system: for want of \
            rights, because the hierarchy is mounted read-only or a controller is not delegated, or because processes \
            are still in it.",
    check: "Read the path in the message and `ls -l` it; `carrack doctor` says which hierarchies and controllers this \
            host has.",
    fix: "Run as root, or on a host that delegates the controller; end the processes that `cgroup.procs` of the folder \
          lists.",
};

/// All codes of this crate.
pub static ALL: &[&Code] = &[&CGROUP];
