//! Diagnostic codes of the command line, and the collection of every crate's for `carrack explain`.

use carrack_diag::Code;

/// A command line that the grammar does not allow.
pub static USAGE: Code = Code {
    id: "cli/usage",
    title: "wrong usage",
    cause: "A command, flag or value is unknown, missing or malformed.",
    check: "Compare with `carrack COMMAND --help`.",
    fix: "Correct the command line; the hint names the nearest that exists.",
};

/// A value of a flag that can't be read.
pub static INVALID_VALUE: Code = Code {
    id: "cli/invalid-value",
    title: "malformed value of a flag",
    cause: "The value does not have the form that the flag takes.",
    check: "Read the form in the message, and whether a shell variable expanded to nothing.",
    fix: "Write the value in that form.",
};

/// A file named on the command line that can't be read.
pub static UNREADABLE_FILE: Code = Code {
    id: "cli/unreadable-file",
    title: "a file can't be read",
    cause: "The file does not exist, is not readable by this user, or is not UTF-8.",
    check: "Run `ls -l` on the path; relative paths count from the current folder.",
    fix: "Correct the path or the file's permissions.",
};

/// `carrack explain` of a code that no crate has.
pub static UNKNOWN_CODE: Code = Code {
    id: "cli/unknown-code",
    title: "no such diagnostic code",
    cause: "No part of this version of carrack reports that code.",
    check: "List the codes with `carrack explain`.",
    fix: "Copy the code from between the brackets of the message: error[area/name].",
};

/// No Compose file where a project was expected.
pub static NO_PROJECT: Code = Code {
    id: "cli/no-project",
    title: "no Compose file here",
    cause: "Neither the current folder nor one above it has a compose.yaml, compose.yml, docker-compose.yaml or \
            docker-compose.yml, and none was named.",
    check: "Run `ls compose.yaml` where you expect the project.",
    fix: "Change into the project's folder, or name the file: `carrack up -f path/compose.yaml`.",
};

/// Something that nobody said of an image.
pub static NO_ATTESTATION: Code = Code {
    id: "cli/no-attestation",
    title: "nothing of this type is said of the image",
    cause: "The image was built without it, or came from a registry or archive: attestations stay where they are said.",
    check: "`carrack attestation ls IMAGE` lists what is said.",
    fix: "Build the image with `--attest type=sbom` or `--attest type=provenance`. `carrack sbom IMAGE` lists the packages of any image.",
};

/// A verb that Docker has and carrack does not have yet.
pub static NOT_YET: Code = Code {
    id: "cli/not-yet",
    title: "not implemented yet",
    cause: "The verb or flag is known and planned, but this version does not do it.",
    check: "Look for it in CHANGELOG.md.",
    fix: "Do without for now; nothing was changed.",
};

/// A verb or flag of Docker's that has no place here.
pub static REFUSED: Code = Code {
    id: "cli/refused",
    title: "a verb or flag of Docker's that carrack does not do",
    cause: "It belongs to something that carrack is not: a cluster, another kernel, a daemon, what Docker has deprecated. The message \
            names which.",
    check: "docs/docker-verbs.md lists what becomes of each verb and flag of Docker's.",
    fix: "Leave it out; nothing was changed.",
};

/// Something that takes things away, without a terminal to ask on.
pub static CONFIRM: Code = Code {
    id: "cli/confirm",
    title: "a confirmation is needed",
    cause: "The command takes something away and asks first, but standard input is no terminal or the answer is to be JSON.",
    check: "Look at what it would take away: `carrack builder du` for the build cache.",
    fix: "Repeat the command with --force.",
};

/// An image above a limit of the caller's.
pub static IMAGE_TOO_LARGE: Code = Code {
    id: "image/too-large",
    title: "the image is larger than allowed",
    cause: "The files of its layers together are above the limit that --max-size gives.",
    check: "`carrack image tree IMAGE --depth 2` shows which layer and folder is large.",
    fix: "Begin with a smaller base image, leave build tools in an earlier stage, or raise the limit.",
};

/// An image with more bytes that nobody sees than the caller allows.
pub static IMAGE_TOO_WASTEFUL: Code = Code {
    id: "image/too-wasteful",
    title: "too much of the image is overwritten or removed by its own later layers",
    cause: "A later layer replaces or removes files, or changes their owner or mode, which copies them; the bytes below stay in the \
            image. The limit is that of --max-waste.",
    check: "`carrack image tree IMAGE` lists the files that waste most and their layers.",
    fix: "Remove files in the RUN that makes them, set owners with COPY --chown, or copy the result into a last stage.",
};

/// Builder instances, which there are none of.
pub static ONE_BUILDER: Code = Code {
    id: "cli/one-builder",
    title: "there are no builders to choose from",
    cause: "Docker's buildx keeps builders: daemons that build. carrack builds in the process of the command, so the one that is \
            there is called `default`, and none can be made, started or removed.",
    check: "`carrack buildx ls` shows it.",
    fix: "Leave the command or --builder out.",
};

/// `-it` without a terminal to give.
pub static NO_TERMINAL: Code = Code {
    id: "cli/no-terminal",
    title: "standard input is not a terminal",
    cause: "-t connects the program with the caller's terminal, and -i with its input, which is a pipe or a file here.",
    check: "Run `tty`: in scripts and CI jobs it prints `not a tty`.",
    fix: "Leave -t out: `-i` alone passes the input on.",
};

/// `-p` on a network that nothing is forwarded into.
pub static NOT_PUBLISHED: Code = Code {
    id: "cli/not-published",
    title: "ports are not published",
    cause: "On the host's network the program listens on the host's ports itself; without a network nothing reaches it.",
    check: "`carrack port NAME` lists what is published.",
    fix: "Leave -p and -P out, or connect the container to a network with --network.",
};

/// A filter without a value.
pub static NO_FILTER: Code = Code {
    id: "cli/no-filter",
    title: "a filter has no key and value",
    cause: "What --filter takes is a key, an equals sign and a value.",
    check: "The message names the keys that the list knows.",
    fix: "Write it as --filter KEY=VALUE.",
};

/// Neither a limit nor anybody who ends what takes too much.
pub static UNBOUNDED: Code = Code {
    id: "cli/unbounded",
    title: "a container may take all memory",
    cause: "--oom-kill-disable keeps the kernel from ending what takes too much memory, and there is no limit of the container's.",
    check: "`carrack stats NAME` shows what it takes.",
    fix: "Give a limit with --memory, or leave --oom-kill-disable out.",
};

/// A service that the project does not have.
pub static NO_SUCH_SERVICE: Code = Code {
    id: "cli/no-such-service",
    title: "no such service",
    cause: "The command names a service that the project's files do not define, or whose profile is off.",
    check: "`carrack config --services` lists them.",
    fix: "Correct the name, or enable its profile with --profile.",
};

/// All codes of this crate.
pub static ALL: &[&Code] = &[
    &IMAGE_TOO_LARGE,
    &IMAGE_TOO_WASTEFUL,
    &INVALID_VALUE,
    &NO_ATTESTATION,
    &NOT_PUBLISHED,
    &NOT_YET,
    &NO_PROJECT,
    &NO_SUCH_SERVICE,
    &NO_TERMINAL,
    &ONE_BUILDER,
    &REFUSED,
    &UNBOUNDED,
    &NO_FILTER,
    &CONFIRM,
    &UNKNOWN_CODE,
    &UNREADABLE_FILE,
    &USAGE,
];

/// Every code of every crate, in order of their ids.
pub fn every() -> Vec<&'static Code> {
    let mut codes: Vec<&'static Code> = [ALL, &carrack_engine::codes::every()].concat();
    codes.sort_by_key(|code| code.id);
    codes
}
