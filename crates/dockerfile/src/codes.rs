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
    /// More words than any Dockerfile has.
    TOO_MANY_WORDS = "dockerfile/too-many-words",
        "too many words",
        "The instructions of a Dockerfile, without here-documents and comments, have half a million words at most, counted \
         between blanks and commas.",
        "Look for what writes the file, and for lists that it writes out.",
        "Take a list from a file in a RUN, copy a folder instead of each file, or put the text into a here-document.";
    /// A keyword that is no instruction.
    UNKNOWN_INSTRUCTION = "dockerfile/unknown-instruction",
        "unknown instruction",
        "A line starts with a word that is not an instruction of the Dockerfile language. A command that should belong to \
         the RUN above it, whose line lacks the continuation character, looks like this too.",
        "Look at the underlined word, and at the end of the line before it.",
        "Correct the word, or end the line before with the continuation character (a backslash by default).";
    /// A flag that the instruction does not have.
    UNKNOWN_FLAG = "dockerfile/unknown-flag",
        "unknown flag of an instruction",
        "Each instruction has its own flags, and this is none of its own.",
        "Compare with the instruction's entry in the Dockerfile reference.",
        "Correct or remove the flag. Words that start with -- and belong to a command come after the command's name.";
    /// A flag given twice.
    DUPLICATE_FLAG = "dockerfile/duplicate-flag",
        "flag given twice",
        "The flag can be given once only.",
        "Look for the second occurrence on the instruction's lines.",
        "Keep one of them.";
    /// A flag with a value that it can't have.
    INVALID_FLAG = "dockerfile/invalid-flag",
        "malformed flag",
        "The flag lacks its value, has one although it takes none, or has one of another form.",
        "Read the message: it names the form that is expected.",
        "Write the flag as --name=value with a value of that form.";
    /// A `RUN --mount` that is not well formed.
    INVALID_MOUNT = "dockerfile/invalid-mount",
        "malformed --mount",
        "A mount is a comma-separated list of key=value pairs; the keys depend on its type.",
        "Read the message: it names the key.",
        "Correct the key or its value, for example --mount=type=cache,target=/root/.cache.";
    /// Too few or too many arguments.
    WRONG_ARGUMENTS = "dockerfile/wrong-arguments",
        "wrong number of arguments",
        "The instruction has fewer or more arguments than it can work with.",
        "Compare with the form in the hint.",
        "Complete the instruction. In a file with continuation lines, look for one that ended too early.";
    /// A word of `ENV` or `LABEL` without an equals sign.
    INVALID_ASSIGNMENT = "dockerfile/invalid-assignment",
        "assignment without an equals sign",
        "Every word of ENV, LABEL or ARG has the form NAME=VALUE; a value with blanks must be quoted.",
        "Look for a blank in an unquoted value, or a name that is missing.",
        "Quote the value: NAME=\"some words\".";
    /// A parser directive that can't be obeyed.
    INVALID_DIRECTIVE = "dockerfile/invalid-directive",
        "malformed parser directive",
        "The directives `syntax`, `escape` and `check` stand once each at the head of the file; `escape` is a backslash or a \
         backtick.",
        "Read the first lines of the file.",
        "Remove the second one, or correct the value.";
    /// No `FROM`.
    NO_STAGE = "dockerfile/no-stage",
        "no build stage",
        "The file has no FROM instruction, so there is nothing to build.",
        "Check that the right file was read, and that it is not empty.",
        "Start it with FROM and an image, or FROM scratch.";
    /// An instruction before the first `FROM`.
    BEFORE_FROM = "dockerfile/before-from",
        "instruction before FROM",
        "Only ARG may stand before the first FROM: there is no stage yet for anything else.",
        "Find the first FROM of the file.",
        "Move the instruction below it.";
    /// A stage name that can't be one.
    INVALID_STAGE_NAME = "dockerfile/invalid-stage-name",
        "malformed stage name",
        "A stage's name starts with a letter and goes on with letters, digits, dots, dashes and underscores. `scratch` and \
         `context` are taken.",
        "Read the word after AS.",
        "Choose another name.";
    /// A here-document without end.
    UNTERMINATED_HEREDOC = "dockerfile/unterminated-heredoc",
        "here-document without an end",
        "The line that ends the here-document is missing: it holds the delimiter alone, without blanks before it (tabs are \
         allowed after <<-) or behind it.",
        "Look for the delimiter with blanks around it.",
        "Add the line, or write <<- and indent with tabs.";
    /// A port that is none.
    INVALID_PORT = "dockerfile/invalid-port",
        "malformed port",
        "EXPOSE takes PORT[-PORT][/PROTOCOL] with ports from 1 to 65535 and the protocols tcp, udp and sctp.",
        "Read the underlined word, with its variables expanded.",
        "Correct the port. Publishing at another port of the host is asked for when the container is run.";
    /// A variable expression that can't be expanded.
    INVALID_EXPANSION = "dockerfile/invalid-expansion",
        "a word cannot be expanded",
        "A quote or brace is not closed, an operator is unknown, or a variable that is required (`${NAME:?text}`) is missing.",
        "Read the message and the underlined word.",
        "Close it, or escape the dollar sign where it is meant literally.";
    /// A JSON array that is none.
    NOT_JSON = "dockerfile/not-json",
        "looks like the exec form and is not",
        "The text starts with a bracket and is not a JSON array of strings, so it is taken as a line for the shell, as Docker \
         does. Single quotes are not JSON.",
        "Look for single quotes, a missing comma, a trailing comma.",
        "Write a JSON array of strings in double quotes: [\"program\", \"argument\"].";
    /// A JSON array with something else than strings.
    NOT_STRINGS = "dockerfile/not-strings",
        "a JSON array holds something else than strings",
        "The exec form is an array of strings; a number, another array or an object in it has no meaning.",
        "Look at the underlined array.",
        "Put every element in double quotes.";
    /// A pattern of an ignore file that can't be matched with.
    INVALID_PATTERN = "dockerfile/invalid-pattern",
        "malformed pattern",
        "A bracket is not closed, a range is not complete, or the pattern ends with an escape character.",
        "Look at the brackets of the underlined pattern.",
        "Close or escape the bracket.";
    /// An ONBUILD that can't be.
    INVALID_TRIGGER = "dockerfile/invalid-trigger",
        "instruction not allowed in ONBUILD",
        "ONBUILD cannot defer FROM, MAINTAINER or another ONBUILD.",
        "Read the word after ONBUILD.",
        "Put the instruction into the Dockerfile that builds on this image.";
}
