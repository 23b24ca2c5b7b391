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
    YAML_SYNTAX = "compose/yaml-syntax", "The file is not valid YAML",
        cause: "The text breaks YAML's grammar: mostly indentation, a missing quote, a tab, or `key:value` without a space.",
        check: "Look at the underlined place and the line before it.",
        fix: "Indent with spaces, quote values that contain `: ` or ` #`, close every quote and bracket.";
    YAML_LIMIT = "compose/yaml-limit", "The file stands for too much",
        cause: "Values nest too deep, or aliases repeat aliases so often that the file expands beyond every sensible size.",
        check: "Look for anchors whose value contains aliases of other anchors.",
        fix: "Write the values out, or split the file with `include`.";
    UNKNOWN_TAG = "compose/unknown-tag", "A YAML tag that Compose files do not know",
        cause: "Only `!reset` and `!override` have a meaning beside YAML's own tags.",
        check: "Look for a value that begins with `!` and should have been quoted.",
        fix: "Quote the value, or use one of the two tags.";
    DUPLICATE_KEY = "compose/duplicate-key", "A key is given twice in one mapping",
        cause: "A mapping has each key once. Tools disagree about which one would win.",
        check: "Both places are shown.",
        fix: "Remove one, or merge their values.";
    DOUBLED_MERGE_KEY = "compose/doubled-merge-key", "The merge key `<<` stands twice in one mapping",
        cause: "YAML wants one `<<` with a list. docker-compose 1 accepted two; the current tool refuses the file.",
        check: "Both places are shown.",
        fix: "Write one `<<: [*first, *second]`; where both give a key, the earlier item wins.";
    INTERPOLATION_SYNTAX = "compose/interpolation-syntax", "A malformed variable expression",
        cause: "`$` begins `$NAME`, `${NAME}`, or `${NAME` with one of the operators `:-` `-` `:?` `?` `:+` `+`.",
        check: "Look at the underlined expression.",
        fix: "Complete the expression, or write `$$` for a literal dollar sign.";
    REQUIRED_VARIABLE = "compose/required-variable", "A required variable is not set",
        cause: "The expression has the operator `?` or `:?`, so the file can't be used without the variable.",
        check: "`carrack config --environment` prints the variables that are known.",
        fix: "Set it in the environment, in `.env` or in a file given with `--env-file`.";
    UNSET_VARIABLE = "compose/unset-variable", "A variable is not set and reads as empty",
        cause: "`$NAME` or `${NAME}` of a variable that neither the environment nor an env file gives.",
        check: "`carrack config --environment` prints the variables that are known.",
        fix: "Set it, give a default with `${NAME:-default}`, or demand it with `${NAME:?reason}`. A literal dollar sign is `$$`.";
    DOTENV_SYNTAX = "compose/env-file-syntax", "A line of an env file can't be read",
        cause: "Lines are `NAME=value`, `export NAME=value`, comments or blank.",
        check: "Look at the underlined line.",
        fix: "Correct the line; close the quotes of a quoted value.";
    ENV_FILE_MISSING = "compose/env-file-missing", "An env file does not exist",
        cause: "A file named by `env_file`, `--env-file` or `include` is not there or can't be read.",
        check: "The path is relative to the Compose file that names it.",
        fix: "Create the file, correct the path, or say `required: false`.";
    FILE_MISSING = "compose/file-missing", "A Compose file does not exist",
        cause: "A file named by `extends` or `include` is not there or can't be read.",
        check: "The path is relative to the file that names it.",
        fix: "Create the file or correct the path.";
    OBSOLETE_VERSION = "compose/obsolete-version", "`version` is obsolete",
        cause: "The format is one since Compose 2; the key selects nothing.",
        check: "Nothing depends on it.",
        fix: "Remove the line.";
    UNKNOWN_KEY = "compose/unknown-key", "A key that the Compose specification does not have here",
        cause: "A misspelling, a key of another place, or wrong indentation.",
        check: "Compare with the nearest known key, and with the indentation of the lines around.",
        fix: "Correct it; keys for your own use begin with `x-`.";
    NOT_YET = "compose/not-yet", "A key that carrack does not implement yet",
        cause: "The key is valid; carrack knows it and does not act on it.",
        check: "The message names the consequence.",
        fix: "Do without it for now, or take the consequence into account.";
    NO_EFFECT = "compose/no-effect", "A key that changes nothing here",
        cause: "The key matters on other platforms, or says how a thing is made and not what it is.",
        check: "The message names the reason.",
        fix: "Keep it for others, or remove it.";
    REFUSED_KEY = "compose/refused-key", "A key that carrack does not support",
        cause: "The key needs something outside of carrack's scope, such as another operating system.",
        check: "The message names the reason.",
        fix: "Remove it.";
    UNKNOWN_DRIVER = "compose/unknown-driver", "A driver of networks or volumes that is not here",
        cause: "carrack makes networks of the driver `bridge` and volumes of the driver `local`. Another one in the place of what was asked \
                for would reach, keep or isolate something else than the file says.",
        check: "The message names the driver.",
        fix: "Remove the key, or give the driver's options to what is there, as `driver_opts` of a `local` volume.";
    SECCOMP_FILE_MISSING = "compose/seccomp-file-missing", "A seccomp profile that can't be read",
        cause: "`security_opt: [seccomp:FILE]` names a file that does not exist or can't be read.",
        check: "Paths are relative to the project's folder.",
        fix: "Create the file, or correct its path.";
    WRONG_TYPE = "compose/wrong-type", "A value of the wrong kind",
        cause: "The key takes another kind of value: a list, a mapping, a number, a boolean or text.",
        check: "The message names what is expected and what stands there.",
        fix: "Write the value as expected.";
    INVALID_VALUE = "compose/invalid-value", "A value that can't be understood",
        cause: "The value has the right kind, and its text does not follow the key's format.",
        check: "The message names the format.",
        fix: "Write the value in that format.";
    MALFORMED_PORT = "compose/malformed-port", "A port that can't be understood",
        cause: "Ports are `[[IP:]HOST:]CONTAINER[/PROTOCOL]` with numbers or ranges from 1 to 65535.",
        check: "Look at the underlined value.",
        fix: "Correct it, in quotes: `\"8080:80\"`.";
    MALFORMED_VOLUME = "compose/malformed-volume", "A volume that can't be understood",
        cause: "Volumes are `[SOURCE:]TARGET[:OPTIONS]` with an absolute target, or a mapping with `type` and `target`.",
        check: "Look at the underlined value.",
        fix: "Correct it.";
    MERGE_MISMATCH = "compose/merge-mismatch", "Two files give values of different kinds",
        cause: "An override can extend a mapping by a mapping and a list by a list only.",
        check: "Both places are shown.",
        fix: "Write both in one form, or replace with `!override`.";
    PORTS_APPENDED = "compose/ports-appended", "An override publishes a port a second time",
        cause: "Compose appends the ports of an override, so the port of the base stays published as well.",
        check: "Both places are shown.",
        fix: "Where the new one should replace the old, write `ports: !override` in the override.";
    OVERRIDE_WITHOUT_BASE = "compose/override-without-base", "An override of a service that no base file has",
        cause: "The service's name is misspelt or was changed: what the override says reaches no real service.",
        check: "Compare the name with the services of the base file.",
        fix: "Correct the name, or give the service an `image` or `build`.";
    NO_IMAGE = "compose/no-image", "A service has neither `image` nor `build`",
        cause: "A service needs an image to run, named or built.",
        check: "Look at the service; in an override file, compare its name with the base.",
        fix: "Add `image:` or `build:`.";
    UNKNOWN_SERVICE = "compose/unknown-service", "A service that is not defined",
        cause: "The name is misspelt, or the service is in a file that is not loaded.",
        check: "`carrack config --services` lists the services.",
        fix: "Correct the name or define the service.";
    INACTIVE_SERVICE = "compose/inactive-service", "A service whose profile is not active",
        cause: "The service exists, and none of its profiles is switched on.",
        check: "Look at its `profiles:`.",
        fix: "Add `--profile NAME`, or set `required: false` on the dependency.";
    UNKNOWN_NETWORK = "compose/unknown-network", "A network that is not defined",
        cause: "Services join networks of the top-level `networks:`.",
        check: "Compare the name with those defined.",
        fix: "Define it under `networks:`, or correct the name.";
    UNKNOWN_VOLUME = "compose/unknown-volume", "A named volume that is not defined",
        cause: "A name without `/` or `.` is a volume of the top-level `volumes:`.",
        check: "Compare the name with those defined; a folder begins with `./`.",
        fix: "Define it under `volumes:`, or write `./name` for a folder.";
    UNKNOWN_SECRET = "compose/unknown-secret", "A secret that is not defined",
        cause: "Services are granted secrets of the top-level `secrets:`.",
        check: "Compare the name with those defined.",
        fix: "Define it under `secrets:`, or correct the name.";
    UNKNOWN_CONFIG = "compose/unknown-config", "A config that is not defined",
        cause: "Services are granted configs of the top-level `configs:`.",
        check: "Compare the name with those defined.",
        fix: "Define it under `configs:`, or correct the name.";
    DEPENDENCY_CYCLE = "compose/dependency-cycle", "Services that wait for each other",
        cause: "The dependencies form a ring, so none of them can be started first.",
        check: "The ring is printed, each link with its place.",
        fix: "Remove one link; a service that only needs another later can retry its connection.";
    NO_HEALTHCHECK = "compose/no-healthcheck", "A wait for the health of a service without a health check",
        cause: "`condition: service_healthy` waits for a check that the file does not give. The image may have one.",
        check: "Look for HEALTHCHECK in the image: `carrack image inspect`.",
        fix: "Add a `healthcheck:` to the service that is waited for.";
    DUPLICATE_CONTAINER_NAME = "compose/duplicate-container-name", "Two services take one container name",
        cause: "Container names are unique on a host.",
        check: "Both places are shown.",
        fix: "Change or remove one `container_name:`.";
    REPLICAS_WITH_NAME = "compose/replicas-with-name", "Several replicas with one container name",
        cause: "`container_name` names one container.",
        check: "Both places are shown.",
        fix: "Remove `container_name:`, or run one replica.";
    REPLICAS_WITH_PORT = "compose/replicas-with-port", "Several replicas with one host port",
        cause: "Each replica would publish the same port of the host; only one can.",
        check: "Both places are shown.",
        fix: "Give a range as long as the replicas are many, no host port, or a proxy service that publishes the port.";
    PORT_CONFLICT = "compose/port-conflict", "Two services publish one host port",
        cause: "A port of the host can be bound once for an address and protocol.",
        check: "Both places are shown.",
        fix: "Change one of them.";
    CONFLICTING_KEYS = "compose/conflicting-keys", "Two keys that exclude each other",
        cause: "The specification forbids the combination, or they give different values for one thing.",
        check: "Both places are shown.",
        fix: "Keep one.";
    EXTENDS_CYCLE = "compose/extends-cycle", "Services or files that extend each other",
        cause: "`extends` or `include` lead back to where they began.",
        check: "The ring is printed.",
        fix: "Remove one link.";
    INCLUDE_CONFLICT = "compose/include-conflict", "An included file defines what is defined already",
        cause: "`include` copies definitions and merges nothing, so a name can come from one file only.",
        check: "Both places are shown.",
        fix: "Rename one, or use `extends` or an override file to change the included one.";
    NO_SERVICES = "compose/no-services", "The project defines no service",
        cause: "The files have no `services:`, or it is empty.",
        check: "Look at which files are loaded.",
        fix: "Add a service.";
    PROJECT_NAME = "compose/project-name", "A project name that can't be used",
        cause: "Project names are lower-case letters, digits, `-` and `_`, beginning with a letter or digit.",
        check: "The name comes from `-p`, COMPOSE_PROJECT_NAME, the top-level `name:`, or the folder, in this order.",
        fix: "Give a valid name with `name:` or `-p`.";
    RESERVED_LABEL = "compose/reserved-label", "A label with Compose's own prefix",
        cause: "Labels that begin with `com.docker.compose` are set by Compose itself.",
        check: "Look at the underlined label.",
        fix: "Use a prefix of your own.";
}
