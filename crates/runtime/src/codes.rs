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

/// systemd made no scope for containers.
pub static SYSTEMD: Code = Code {
    id: "runtime/systemd",
    title: "systemd makes no scope for containers",
    cause: "Where systemd is process 1, containers lie in a scope of their root, `carrack-TAG.scope`. It was asked to make \
            it over /run/systemd/private, and did not.",
    check: "`systemctl status 'carrack-*'` and `journalctl -b` say what became of it; `systemctl is-system-running` \
            whether systemd works at all.",
    fix: "`systemctl reset-failed`, and repeat the command; in a container, give it no /run/systemd of its host.",
};

/// The init plan of a container failed.
pub static START: Code = Code {
    id: "runtime/start",
    title: "container did not start",
    cause: "A step between the birth of the container's first process and its program failed: a mount, a user that \
            is not in the image, a program that is missing or can't be executed.",
    check: "The cause names the step and what it acted on. `carrack inspect CONTAINER` shows mounts, user and command.",
    fix: "Correct what the step acted on, and start the container again.",
};

/// Another runtime than ours did not start a container.
pub static EXTERNAL: Code = Code {
    id: "runtime/external",
    title: "the runtime did not start the container",
    cause: "The program that --runtime or runtime: names was called, and failed; the message has its own words. Its version \
            may not know something that the container asks for, or not this host's control groups (crun needs cgroup \
            version 2).",
    check: "`PROGRAM --version` and `PROGRAM features`; the same container without --runtime shows whether it is the runtime.",
    fix: "Correct what it complains of, install a newer one, or leave --runtime out.",
};

/// A published port is taken or may not be bound.
pub static PORT: Code = Code {
    id: "runtime/port",
    title: "port of the host can't be bound",
    cause: "Another program or container listens on this address and port, or the address is not one of this host.",
    check: "`ss -ltnup` lists who listens; `carrack ps` lists published ports; `ip address` the host's addresses.",
    fix: "Publish another port or address, or stop who has it.",
};

/// The shim of a container can't work.
pub static SHIM: Code = Code {
    id: "runtime/shim",
    title: "the container's shim can't work",
    cause: "The small process that stays with each container could not be made or could not make what it needs: its \
            socket, pipes, sockets inside of the container's network namespace.",
    check: "The cause names what was attempted; shim.log in the container's folder on the run root may say more.",
    fix: "Free what is exhausted (descriptors, processes, space on the run root), and try again.",
};

/// A running shim can't be spoken to.
pub static SHIM_GONE: Code = Code {
    id: "runtime/shim-gone",
    title: "the container's shim does not answer",
    cause: "The shim was killed, or the container has ended and its shim with it.",
    check: "`carrack ps -a` shows whether the container runs.",
    fix: "Any command that changes the container first gives it a new shim; start it where it has ended.",
};

/// A shim refused what it was told.
pub static SHIM_REFUSED: Code = Code {
    id: "runtime/shim-refused",
    title: "the container's shim refused",
    cause: "The order does not fit what the container is doing, for example a restart while it runs.",
    check: "`carrack inspect CONTAINER` shows its state.",
    fix: "Repeat the command; it looks at the state anew.",
};

/// The state file of a container can't be used.
pub static STATE: Code = Code {
    id: "runtime/state",
    title: "state of a container can't be read",
    cause: "The file state.json in the container's folder on the run root is unreadable or not what carrack wrote.",
    check: "Look at the file that the message names.",
    fix: "Remove the container with `carrack rm --force` and make it anew; its volumes stay.",
};

/// A host whose system calls carrack does not know.
pub static UNKNOWN_ARCHITECTURE: Code = Code {
    id: "runtime/unknown-architecture",
    title: "containers can't run on this architecture",
    cause: "The system call filter needs a table of the kernel's numbers, and carrack has those of x86_64 and aarch64.",
    check: "`uname -m` says what this host is.",
    fix: "Run on an x86_64 or aarch64 host.",
};

/// All codes of this crate.
pub static ALL: &[&Code] =
    &[&CGROUP, &EXTERNAL, &PORT, &SHIM, &SHIM_GONE, &SHIM_REFUSED, &START, &STATE, &SYSTEMD, &UNKNOWN_ARCHITECTURE];
