//! Diagnostic codes of this crate.

use carrack_diag::Code;

/// A capability that Linux does not have.
pub static UNKNOWN_CAPABILITY: Code = Code {
    id: "container/unknown-capability",
    title: "unknown capability",
    cause: "--cap-add, --cap-drop, cap_add or cap_drop names something that is not in capabilities(7).",
    check: "Compare the name with `man 7 capabilities`; CAP_ may be left out and case does not matter.",
    fix: "Write the right name, or ALL.",
};

/// Nothing to execute.
pub static NO_COMMAND: Code = Code {
    id: "container/no-command",
    title: "no command to run",
    cause: "Neither the image nor the request names a program: the image has no ENTRYPOINT and no CMD, or an empty \
            entrypoint took the image's away.",
    check: "Look at Config.Entrypoint and Config.Cmd in `carrack image inspect IMAGE`.",
    fix: "Give a command after the image's name, or `command:` in the Compose file.",
};

/// A setting that has no meaning.
pub static INVALID_SETTING: Code = Code {
    id: "container/invalid-setting",
    title: "a setting of the container can't be met",
    cause: "A limit, path, device, kernel parameter or mount option is malformed or contradicts another one.",
    check: "The message names the setting and what is wrong about it.",
    fix: "Correct the value in the flag or in the Compose file.",
};

/// A kernel parameter that is not the container's own.
pub static HOST_SYSCTL: Code = Code {
    id: "container/host-sysctl",
    title: "the kernel parameter belongs to the host",
    cause: "Only parameters of the container's own namespaces can be set for one container: net.* unless it uses the \
            host's network, kernel.msg*, kernel.sem, kernel.shm* and fs.mqueue.* unless it uses the host's IPC.",
    check: "Read the namespaces that the container shares with the host.",
    fix: "Set the parameter on the host, or give the container the namespace of its own.",
};

/// A seccomp profile that can't be used.
pub static SECCOMP_PROFILE: Code = Code {
    id: "container/seccomp-profile",
    title: "the seccomp profile can't be used",
    cause: "A profile is JSON in Docker's form: defaultAction and syscalls with names, action, args.",
    check: "The message says where it departs from that form.",
    fix: "Correct the file, or leave it out for the default profile.",
};

/// All codes of this crate.
pub static ALL: &[&Code] = &[&HOST_SYSCTL, &INVALID_SETTING, &NO_COMMAND, &SECCOMP_PROFILE, &UNKNOWN_CAPABILITY];
