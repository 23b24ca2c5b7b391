//! Every class of diagnostic this crate reports.

use carrack_diag::Code;

macro_rules! codes {
    ($($name:ident = $id:literal, $title:literal, cause: $cause:literal, check: $check:literal, fix: $fix:literal;)*) => {
        $(#[doc = $title] pub static $name: Code = Code { id: $id, title: $title, cause: $cause, check: $check, fix: $fix };)*
        /// All of them, for `carrack explain`.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    INVALID_FILE = "bake/invalid-file", "A bake file can't be read",
        cause: "The text breaks the grammar of HCL or JSON.",
        check: "Look at the underlined place.",
        fix: "Correct it; strings stand in double quotes, lists in brackets, maps in braces.";
    UNKNOWN_KEY = "bake/unknown-key", "A key that bake files do not have",
        cause: "The key or block is misspelt, or it belongs elsewhere in the file.",
        check: "Compare with the bake file reference.",
        fix: "Correct or remove it.";
    WRONG_TYPE = "bake/wrong-type", "A value of another type than the key takes",
        cause: "A list stands where a text belongs, or the like.",
        check: "The message says what belongs there.",
        fix: "Write the value in that form.";
    INVALID_EXPRESSION = "bake/invalid-expression", "An expression can't be evaluated",
        cause: "Its operands are of types that the operator does not take, or a value leads to itself.",
        check: "Look at the underlined expression.",
        fix: "Correct it, or write the value out.";
    UNKNOWN_VARIABLE = "bake/unknown-variable", "A variable that is not defined",
        cause: "Variables are those of `variable` blocks and values at the top of the file; the environment only gives values.",
        check: "`carrack bake --list=variables` lists them.",
        fix: "Correct the name, or define it: `variable \"NAME\" { default = \"value\" }`.";
    UNKNOWN_FUNCTION = "bake/unknown-function", "A function that is not defined",
        cause: "Functions are those of `function` blocks and those that every bake file has.",
        check: "Compare the name with buildx's list of functions.",
        fix: "Correct the name, or define it: `function \"NAME\" { params = [a] result = upper(a) }`.";
    INVALID_MATRIX = "bake/invalid-matrix", "A matrix of targets can't be understood",
        cause: "`matrix` is a map of lists, and `name` gives each of its targets another name of letters, digits, `-` and `_`.",
        check: "`carrack bake --list=targets` lists the names that come of it.",
        fix: "Write `name = \"app-${version}\"` and `matrix = { version = [\"1\", \"2\"] }`; `sanitize()` makes names fit.";
    REFUSED_VARIABLE = "bake/refused-variable", "The value of a variable is refused",
        cause: "A `validation` of the variable is not met, or the environment's value is not of its type.",
        check: "The message repeats what the file says.",
        fix: "Give another value.";
    UNKNOWN_TARGET = "bake/unknown-target", "A target or group that is not defined",
        cause: "The name is misspelt, or the file that defines it is not read.",
        check: "`carrack bake --list=targets` lists them.",
        fix: "Correct the name, or name the file with -f.";
    CYCLE = "bake/cycle", "Targets or groups that lead to themselves",
        cause: "A target inherits from itself, or a group holds itself, over others or at once.",
        check: "Follow `inherits`, `targets` and `contexts` from the underlined place.",
        fix: "Take one of them out.";
    INVALID_OVERRIDE = "bake/invalid-override", "A --set that can't be understood",
        cause: "It is written TARGET.KEY=VALUE, or TARGET.args.NAME=VALUE for values that have names.",
        check: "Compare the key with those of a target.",
        fix: "Correct it; TARGET may be a pattern such as `*`.";
    NOT_YET = "bake/not-yet", "Something of bake files that is not there yet",
        cause: "Some functions of bake files, those of hashes and patterns above all, are known and not done.",
        check: "The place is underlined.",
        fix: "Write the value out, or give it by a variable.";
}
