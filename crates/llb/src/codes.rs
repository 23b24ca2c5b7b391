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
    /// A step to stop at that the Dockerfile does not have.
    NO_SUCH_STEP = "build/no-such-step",
        "no such step to stop at",
        "The value of --debug names no instruction of the Dockerfile, or more than one.",
        "Compare with the lines of the Dockerfile, and with the steps as the build shows them.",
        "Give a line (`--debug=9`), a step (`--debug=build:2`) or a part of an instruction (`--debug='RUN make'`), with `before:` \
         or `after:` in front of it.";
    /// A word whose variables can't be expanded.
    INVALID_VARIABLE = "build/invalid-variable",
        "a variable cannot be expanded",
        "A quote or brace is not closed, an operator is unknown, or a required variable (`${NAME:?text}`) has no value.",
        "Read the reason below the underlined word.",
        "Correct the expression, or give the variable with --build-arg.";
    /// A file that becomes larger than any machine should hold.
    TOO_LARGE = "build/too-large",
        "the Dockerfile becomes too large",
        "Its instructions, with their variables expanded, take more memory than any real image needs: every RUN keeps the \
         environment that it has, and every stage the whole of the one that it begins with.",
        "Look for variables that are built from others again and again, and for generated files.",
        "Shorten the variables, or put large texts into files of the context.";
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
    /// Image with triggers that can't be read.
    INVALID_TRIGGER = "build/invalid-trigger",
        "an ONBUILD trigger of the base image cannot be used",
        "The base image defers an instruction to builds from it, and that instruction is malformed or not allowed there.",
        "See `OnBuild` in the output of `carrack image inspect` for the base image.",
        "Build from another image, or correct the base image's Dockerfile.";
    /// The reference's check of this name.
    STAGE_NAME_CASING = "check/StageNameCasing",
        "Stage names should be lowercase",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "write the name in lower case";
    /// The reference's check of this name.
    FROM_AS_CASING = "check/FromAsCasing",
        "The 'as' keyword should match the case of the 'from' keyword",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "write both in one case";
    /// The reference's check of this name.
    NO_EMPTY_CONTINUATION = "check/NoEmptyContinuation",
        "Empty continuation lines will become errors in a future release",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "remove the line, or put a comment there";
    /// The reference's check of this name.
    CONSISTENT_INSTRUCTION_CASING = "check/ConsistentInstructionCasing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "write all keywords in one case";
    /// The reference's check of this name.
    DUPLICATE_STAGE_NAME = "check/DuplicateStageName",
        "Stage names should be unique",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "give each stage a name of its own";
    /// The reference's check of this name.
    RESERVED_STAGE_NAME = "check/ReservedStageName",
        "Reserved words should not be used as stage names",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "choose another name";
    /// The reference's check of this name.
    JSON_ARGS_RECOMMENDED = "check/JSONArgsRecommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "write [\"program\", \"argument\"]";
    /// The reference's check of this name.
    MAINTAINER_DEPRECATED = "check/MaintainerDeprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "write LABEL org.opencontainers.image.authors=…";
    /// The reference's check of this name.
    UNDEFINED_ARG_IN_FROM = "check/UndefinedArgInFrom",
        "FROM command must use declared ARGs",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "declare it with ARG above the first FROM";
    /// The reference's check of this name.
    WORKDIR_RELATIVE_PATH = "check/WorkdirRelativePath",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "begin the path with a slash";
    /// The reference's check of this name.
    UNDEFINED_VAR = "check/UndefinedVar",
        "Variables should be defined before their use",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "declare it with ARG or ENV above, or correct its name";
    /// The reference's check of this name.
    MULTIPLE_INSTRUCTIONS_DISALLOWED = "check/MultipleInstructionsDisallowed",
        "Multiple instructions of the same type should not be used in the same stage",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "remove all but the last";
    /// The reference's check of this name.
    LEGACY_KEY_VALUE_FORMAT = "check/LegacyKeyValueFormat",
        "Legacy key/value format with whitespace separator should not be used",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "write an equals sign, and quotes around what holds blanks";
    /// The reference's check of this name.
    REDUNDANT_TARGET_PLATFORM = "check/RedundantTargetPlatform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "leave --platform away";
    /// The reference's check of this name.
    SECRETS_USED_IN_ARG_OR_ENV = "check/SecretsUsedInArgOrEnv",
        "Sensitive data should not be used in the ARG or ENV commands",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "mount it: RUN --mount=type=secret,id=NAME,env=NAME";
    /// The reference's check of this name.
    INVALID_DEFAULT_ARG_IN_FROM = "check/InvalidDefaultArgInFrom",
        "Default value for global ARG results in an empty or invalid base image name",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "give the ARG a default, or write ${NAME:-default}";
    /// The reference's check of this name.
    FROM_PLATFORM_FLAG_CONST_DISALLOWED = "check/FromPlatformFlagConstDisallowed",
        "FROM --platform flag should not use a constant value",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "build with --platform, write $BUILDPLATFORM, or name the platform in the stage's name";
    /// The reference's check of this name.
    COPY_IGNORED_FILE = "check/CopyIgnoredFile",
        "Attempting to Copy file that is excluded by .dockerignore",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "take it out of .dockerignore, or do not copy it";
    /// The reference's check of this name.
    INVALID_DEFINITION_DESCRIPTION = "check/InvalidDefinitionDescription",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "begin the comment with the name, or put an empty line below it";
    /// The reference's check of this name.
    EXPOSE_PROTO_CASING = "check/ExposeProtoCasing",
        "Protocol in EXPOSE instruction should be lowercase",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "write the protocol in lower case";
    /// The reference's check of this name.
    EXPOSE_INVALID_FORMAT = "check/ExposeInvalidFormat",
        "IP address and host-port mapping should not be used in EXPOSE instruction",
        "The file is understood, and something in it is probably not meant or will not be understood later.",
        "Look at the underlined place.",
        "write the container's port, and publish it when the container is run";
}
