//! Every class of diagnostic this crate reports.

use carrack_diag::Code;

/// An image was not resolved before planning.
pub static IMAGE_UNRESOLVED: Code = Code {
    id: "plan/image-unresolved",
    title: "The image of a service is not here",
    cause: "A plan is made for images whose digests are known: pulled, loaded or built before.",
    check: "`carrack images` lists the images of this root.",
    fix: "Build it with `carrack build`, bring it with `carrack pull`, `carrack load` or `carrack image bootstrap`, or correct its name.",
};
/// The content of a secret or config could not be had.
pub static FILE_UNRESOLVED: Code = Code {
    id: "plan/file-unresolved",
    title: "A secret or config has no content",
    cause: "Its file can't be read, its variable is not set, or it is external and nothing provides it.",
    check: "Look at its entry under the top-level `secrets:` or `configs:`.",
    fix: "Create the file, set the variable, or name another source.",
};
/// An external network or volume is not there.
pub static EXTERNAL_MISSING: Code = Code {
    id: "plan/external-missing",
    title: "An external network or volume does not exist",
    cause: "`external: true` says that somebody else made it, and nobody has.",
    check: "`carrack network ls` and `carrack volume ls` list what is there.",
    fix: "Create it, correct its `name`, or remove `external: true`.",
};
/// A container name is another project's.
pub static NAME_TAKEN: Code = Code {
    id: "plan/name-taken",
    title: "A container name is taken",
    cause: "Names are unique on a root, and a container that is not this project's has this one.",
    check: "`carrack ps -a` lists all containers.",
    fix: "Remove or rename the other container, or change `container_name` or the project's name.",
};
/// A service that was asked for does not exist.
pub static UNKNOWN_SERVICE: Code = Code {
    id: "plan/unknown-service",
    title: "The project has no such service",
    cause: "The command names a service that the Compose files do not define or whose profile is not active.",
    check: "`carrack config --services` lists the services.",
    fix: "Correct the name.",
};

/// A port or address is held by a container that the command leaves alone.
pub static HELD: Code = Code {
    id: "plan/held",
    title: "A port or address is held by another container of the project",
    cause: "Only one container can have it, and the one that has it is not touched by this command.",
    check: "`carrack ps` shows the published ports.",
    fix: "Bring both services up, remove the orphan with `--remove-orphans`, or take another port.",
};
/// More replicas than a bridge can hold.
pub static TOO_MANY_REPLICAS: Code = Code {
    id: "plan/too-many-replicas",
    title: "A service wants more replicas than a host can hold",
    cause: "Each replica takes a port of its network's bridge, and the kernel gives a bridge 1,023.",
    check: "Look at `deploy.replicas`, `scale` and `--scale`.",
    fix: "Ask for fewer.",
};

/// All of them, for `carrack explain`.
pub static ALL: &[&Code] =
    &[&IMAGE_UNRESOLVED, &FILE_UNRESOLVED, &EXTERNAL_MISSING, &NAME_TAKEN, &UNKNOWN_SERVICE, &TOO_MANY_REPLICAS, &HELD];
