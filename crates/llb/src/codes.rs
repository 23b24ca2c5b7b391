//! Diagnostic codes of this crate.

use carrack_diag::Code;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $id:literal, $title:literal, $cause:literal, $check:literal, $fix:literal;)*) => {
        $($(#[$doc])* pub static $name: Code = Code { id: $id, title: $title, cause: $cause, check: $check, fix: $fix };)*
        /// All codes of this crate.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    /// A target or `--from` that is no stage.
    UNKNOWN_STAGE = "build/unknown-stage",
        "unknown build stage",
        "The name or number after --target or --from is none of the stages that stand before it in the Dockerfile.",
        "Compare with the names after AS in the FROM lines.",
        "Correct the name. A stage can only be copied from below the place where it is written.";
    /// A word whose variables can't be expanded.
    INVALID_VARIABLE = "build/invalid-variable",
        "a variable cannot be expanded",
        "A quote or brace is not closed, an operator is unknown, or a required variable (`${NAME:?text}`) has no value.",
        "Read the reason below the underlined word.",
        "Correct the expression, or give the variable with --build-arg.";
    /// A FROM that expands to nothing.
    EMPTY_BASE = "build/empty-base",
        "the base image's name is empty",
        "The variables in FROM have no value: only ARG before the first FROM is visible there.",
        "Look for an ARG of that name above the first FROM, with a default.",
        "Give it a default, or pass --build-arg NAME=VALUE.";
    /// A value of a known form that isn't.
    INVALID_VALUE = "build/invalid-value",
        "malformed value in an instruction",
        "After its variables are expanded, the value does not have the form that the instruction needs.",
        "Read the message: it shows the expanded value and the form.",
        "Correct the value, or the variable it comes from.";
    /// Something that a Dockerfile may only do where the caller says so.
    NOT_ALLOWED = "build/not-allowed",
        "not allowed to this build",
        "The Dockerfile asks for privileges or devices of the host, which a build does not get from the file alone.",
        "See the underlined flag.",
        "Allow it on the command line where the hint names a flag for it, or do without.";
    /// A frontend other than the Dockerfile language.
    FOREIGN_SYNTAX = "build/foreign-syntax",
        "the file is written for another frontend",
        "The `# syntax=` line asks for a frontend that is not docker/dockerfile. Frontends are programs from an image that \
         translate a file of their own language; carrack reads the Dockerfile language only.",
        "Read the first line of the file.",
        "Remove the line if the file is a plain Dockerfile.";
    /// A build argument that nobody asked for.
    UNUSED_ARGUMENT = "build/unused-argument",
        "build argument is not used",
        "No ARG of a stage that is built declares it, so it has no effect.",
        "Look for a misspelt name; ARG before FROM must be repeated in the stage that uses it.",
        "Declare it with ARG in the stage, or do not pass it.";
    /// A user that a `--link` can't resolve.
    NAMED_OWNER = "build/named-owner-with-link",
        "an owner's name cannot be resolved with --link",
        "A linked layer does not depend on the image below, so there is no /etc/passwd to look names up in.",
        "See --chown of the underlined instruction.",
        "Give the owner as numbers (--chown=1000:1000), or leave --link away.";
    /// A port mapping in EXPOSE.
    HOST_PORT = "build/host-port",
        "EXPOSE names a port of the host",
        "An image cannot decide which address or port of the host is used; that part has no effect.",
        "See the underlined word.",
        "Write the container's port only, and publish it when the container is run.";
    /// Image with triggers that can't be read.
    INVALID_TRIGGER = "build/invalid-trigger",
        "an ONBUILD trigger of the base image cannot be used",
        "The base image defers an instruction to builds from it, and that instruction is malformed or not allowed there.",
        "See `OnBuild` in the output of `carrack image inspect` for the base image.",
        "Build from another image, or correct the base image's Dockerfile.";
}
