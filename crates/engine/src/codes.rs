//! Diagnostic codes of this crate, and the collection of all crates below it.

use carrack_diag::Code;

/// The journal can't be written or read.
pub static JOURNAL_IO: Code = Code {
    id: "engine/journal-io",
    title: "the journal of an apply can't be kept",
    cause: "The disk is full, the data root is read-only, or its permissions were changed.",
    check: "Run `df -h` and `ls -ld` on the data root.",
    fix: "Free space or correct the permissions and repeat the command; it goes on where the last one stopped.",
};

/// The journal is there and makes no sense.
pub static JOURNAL_DAMAGED: Code = Code {
    id: "engine/journal-damaged",
    title: "the journal of an apply is not readable",
    cause: "Another version of carrack wrote it, or the file was changed by hand.",
    check: "Look at the first line of the file: it is the plan, as JSON.",
    fix: "Move the file away and run `carrack up`: what the interrupted apply left is found by looking at the machine.",
};

/// An apply failed and was taken back.
pub static APPLY_FAILED: Code = Code {
    id: "engine/apply-failed",
    title: "an apply failed and was undone",
    cause: "A step of the plan failed; the ones before it were taken back, so that the old release serves.",
    check: "The causes name the step and, in order, why it failed.",
    fix: "Correct the first cause and run the command again.",
};

/// An undo did not get through.
pub static UNDO_INCOMPLETE: Code = Code {
    id: "engine/undo-incomplete",
    title: "an apply could not be taken back completely",
    cause: "A step failed and, while the ones before it were taken back, another failed too.",
    check: "`carrack status` shows what is there; the message names the step.",
    fix: "Correct its cause; the next mutating command goes on with the undoing.",
};

/// A container that does not exist.
pub static NO_SUCH_CONTAINER: Code = Code {
    id: "engine/no-such-container",
    title: "no such container",
    cause: "No container has this name, or an id that begins so.",
    check: "List them with `carrack ps -a`.",
    fix: "Correct the name or id.",
};

/// An id prefix that several containers share.
pub static AMBIGUOUS: Code = Code {
    id: "engine/ambiguous-id",
    title: "several containers begin so",
    cause: "The given part of an id fits more than one container.",
    check: "List the full ids with `carrack ps -a --no-trunc`.",
    fix: "Give more digits, or the name.",
};

/// A container's name is taken.
pub static NAME_TAKEN: Code = Code {
    id: "engine/name-taken",
    title: "the container's name is in use",
    cause: "Another container of this root has the name.",
    check: "`carrack ps -a --filter name=NAME` shows it.",
    fix: "Remove or rename that container, or give another name.",
};

/// A name that containers can't have.
pub static INVALID_NAME: Code = Code {
    id: "engine/invalid-name",
    title: "malformed name of a container",
    cause: "A name consists of letters, digits, `_`, `.` and `-` and begins with a letter or digit.",
    check: "Look for spaces, slashes and capitals of other scripts.",
    fix: "Choose a name of [a-zA-Z0-9][a-zA-Z0-9_.-]+.",
};

/// The operation needs a running container.
pub static NOT_RUNNING: Code = Code {
    id: "engine/not-running",
    title: "the container is not running",
    cause: "It was never started, or its program ended.",
    check: "`carrack ps -a` shows its state and exit code, `carrack logs NAME` what it said.",
    fix: "Start it: `carrack start NAME`.",
};

/// The operation needs a stopped container.
pub static RUNNING: Code = Code {
    id: "engine/still-running",
    title: "the container is running",
    cause: "A running container is not removed unasked.",
    check: "`carrack ps` shows it.",
    fix: "Stop it first, or use `carrack rm --force`.",
};

/// A container could not be started.
pub static START_FAILED: Code = Code {
    id: "engine/start-failed",
    title: "a container could not be started",
    cause: "The kernel refused a step of the container's set-up, or its program does not exist or is not executable.",
    check: "The causes name the step, the path and the kernel's answer.",
    fix: "For a program: look for it with `carrack run --entrypoint sh IMAGE -c 'ls -l PATH'`. For a mount: check its source.",
};

/// A push to something that is no tag.
pub static NOT_A_TAG: Code = Code {
    id: "engine/not-a-tag",
    title: "only a tag can be pushed",
    cause: "An image is pushed under a name with a tag; its digest follows from its content.",
    check: "Look for an `@sha256:` in the name.",
    fix: "Give it a tag with `carrack tag IMAGE HOST/NAME:TAG`, and push that.",
};

/// The command of a container is empty.
pub static NO_COMMAND: Code = Code {
    id: "engine/no-command",
    title: "no command to run",
    cause: "Neither the image nor the command line says what to run.",
    check: "`carrack inspect IMAGE` shows Entrypoint and Cmd.",
    fix: "Give a command, or add CMD or ENTRYPOINT to the image.",
};

/// A bind mount's source is missing.
pub static NO_BIND_SOURCE: Code = Code {
    id: "engine/no-bind-source",
    title: "the source of a bind mount does not exist",
    cause: "The path is not on this host, or not under the folder that relative paths count from.",
    check: "Run `ls -ld` on the path in the message.",
    fix: "Create it, or correct the path.",
};

/// A shim was killed, perhaps with its container.
pub static SHIM_GONE: Code = Code {
    id: "engine/shim-gone",
    title: "the shim of a container was gone",
    cause: "Somebody or the kernel killed the small process that stays with a container, or the host lost power. The container \
            itself goes on without it, but answers no names and no published ports, and nobody sees its end.",
    check: "`dmesg | grep -i killed` tells whether memory had run out; `carrack ps -a` what runs now.",
    fix: "The command that told it has given the container a new shim, or put it away. Where it could not, the message \
          says why: correct that and repeat any command that changes something.",
};

/// A wall of the host's that containers are not behind.
pub static UNCONFINED: Code = Code {
    id: "engine/unconfined",
    title: "containers are not under the host's AppArmor or SELinux",
    cause: "AppArmor is on and the profile of containers is not loaded, or SELinux is enforcing and containers have no label of \
            their own. Capabilities, masks and the system call filter hold all the same.",
    check: "`carrack doctor`; `aa-status` and `getenforce` say what the host has on.",
    fix: "Load the profile with `carrack doctor --install-profile`.",
};

/// Shared memory that its container keeps to itself.
pub static NOT_SHAREABLE: Code = Code {
    id: "engine/not-shareable",
    title: "the shared memory of the container is its own",
    cause: "--ipc container:NAME, or `ipc: container:NAME`, joins what the other container does not share, which is the default.",
    check: "Look at the IpcMode of the other container.",
    fix: "Make the other container with --ipc shareable.",
};

/// A published port is busy.
pub static PORT_BUSY: Code = Code {
    id: "engine/port-busy",
    title: "a published port is in use",
    cause: "Another program or container of the host listens on the port.",
    check: "The message names the holder where it can be found; `ss -ltnp` lists all.",
    fix: "Stop the holder, or publish on another port.",
};

/// A service that runs at boot can't be installed.
pub static BOOT_SERVICE: Code = Code {
    id: "engine/boot-service",
    title: "no service can be made that runs at boot",
    cause: "The host has no init system that carrack knows, its tool refused, or a path can't be written into a service's file.",
    check: "`carrack system install-boot --print` shows the file; the cause is the tool's own answer.",
    fix: "Have the host run `carrack boot` after its network is up, and `carrack boot --stop` before it goes down.",
};

/// A health probe of ours is malformed.
pub static INVALID_PROBE: Code = Code {
    id: "engine/invalid-probe",
    title: "a health probe can't be understood",
    cause: "The check begins with `CARRACK`, and what follows is none of the probes that carrack knows.",
    check: "`carrack run --help` lists them at `--health-probe`; `carrack image inspect` shows the check of an image.",
    fix: "Correct it, or give another check with `--health-cmd` or `--health-probe`.",
};

/// Mounts can't travel between the host and a container.
pub static NO_PROPAGATION: Code = Code {
    id: "engine/no-propagation",
    title: "mounts can't travel between the host and the container",
    cause: "The bind asks for shared or slave propagation, and the mount that its source is on passes nothing on.",
    check: "Run `findmnt -o TARGET,PROPAGATION -T PATH` on the source.",
    fix: "Make that mount shared with `mount --make-rshared`, or leave the propagation out.",
};

/// A device can't be given by its name.
pub static CDI: Code = Code {
    id: "engine/device",
    title: "a device can't be given by its name",
    cause: "Names such as `vendor.com/class=name` are those of the Container Device Interface: files in /etc/cdi and \
            /var/run/cdi say what a device consists of. None says it of this one, or what it says is not so.",
    check: "Read the files in /etc/cdi and /var/run/cdi; `kind` is what stands before the `=`.",
    fix: "Have the vendor's tool write the file again, or give the nodes themselves: `--device /dev/…`.",
};

/// A device asks for what no container gets.
pub static CDI_REFUSED: Code = Code {
    id: "engine/device-refused",
    title: "a device asks for what no container gets",
    cause: "The device's file in /etc/cdi or /var/run/cdi asks for programs of the host that run as root while the \
            container starts, or for network devices or processor caches of the host.",
    check: "Read `containerEdits` in the file that the message names.",
    fix: "Give the container the device's nodes and files themselves, with `--device /dev/…` and `--volume`.",
};

/// An option of a container's log can't be understood.
pub static INVALID_LOG: Code = Code {
    id: "engine/invalid-log",
    title: "an option of the log can't be understood",
    cause: "labels-regex or env-regex is no regular expression, or the tag has a field that containers don't have.",
    check: "The message quotes the option.",
    fix: "Correct `--log-opt`, or `logging.options` in the Compose file.",
};

/// A container did not become ready.
pub static NOT_READY: Code = Code {
    id: "engine/not-ready",
    title: "a container did not become ready",
    cause: "It ended, its health check failed too often, or the time was not enough.",
    check: "The causes show the last probes and the last lines of its output.",
    fix: "Correct what they say; raise start_period or retries where the program only needs longer.",
};

/// Something of the host could not be done.
pub static HOST: Code = Code {
    id: "engine/host",
    title: "the host refused an operation",
    cause: "A file, folder or process of the host could not be handled.",
    check: "The cause is the kernel's answer; `carrack doctor` shows what this host allows.",
    fix: "Correct permissions, space or limits as the cause says.",
};

/// An index is there already.
pub static INDEX_EXISTS: Code = Code {
    id: "engine/index-exists",
    title: "there is such an index already",
    cause: "`manifest create` begins an index under a name under which one is being put together.",
    check: "`carrack manifest inspect NAME` shows it.",
    fix: "Add to it by --amend, or forget it first: `carrack manifest rm NAME`.",
};

/// No commit to be told.
pub static NO_COMMIT: Code = Code {
    id: "engine/no-commit",
    title: "there is no commit to name the image by",
    cause: "`--tags-from git` asks git for the commit of the folder: it is no repository, has no commit yet, belongs to \
            somebody else, or git is not installed.",
    check: "`git -C FOLDER log -1`.",
    fix: "Commit first, or name the tags by -t.",
};

/// No such index, or no such image in it.
pub static NO_SUCH_INDEX: Code = Code {
    id: "engine/no-such-index",
    title: "no such index, or no such image in it",
    cause: "Indexes are put together on this root by `manifest create` before they are pushed; there is none of that name.",
    check: "`carrack manifest inspect NAME` shows one that there is, or the registry's.",
    fix: "Make it: `carrack manifest create NAME IMAGE …`.",
};

/// Not root.
pub static NOT_ROOT: Code = Code {
    id: "engine/not-root",
    title: "root is needed",
    cause: "This version of carrack makes containers as root only.",
    check: "Run `id -u`: it prints 0 for root.",
    fix: "Repeat the command with sudo.",
};

/// Docker has containers or volumes of the project.
pub static DOCKER_HOLDS_PROJECT: Code = Code {
    id: "engine/docker-holds-project",
    title: "Docker holds containers or volumes of this project",
    cause: "The project was brought up with Docker Compose before; its data lies in Docker's volumes, not in carrack's.",
    check: "`docker ps -a` and `docker volume ls` with --filter label=com.docker.compose.project=NAME.",
    fix: "Go on with empty volumes by `--fresh`, or take the project down in Docker first.",
};

/// No such release.
pub static NO_SUCH_RELEASE: Code = Code {
    id: "engine/no-such-release",
    title: "no such release",
    cause: "The project has no release of that number, or none before the current one.",
    check: "List them with `carrack release ls`.",
    fix: "Choose one of the list.",
};

/// A network that does not exist.
pub static NO_SUCH_NETWORK: Code = Code {
    id: "engine/no-such-network",
    title: "no such network",
    cause: "No network of this root has that name.",
    check: "List them with `carrack network ls`.",
    fix: "Create it with `carrack network create NAME`, or correct the name.",
};

/// The plan no longer fits.
pub static PLAN_STALE: Code = Code {
    id: "engine/plan-stale",
    title: "the state has moved since the plan was made",
    cause: "Another command changed the project between plan and apply.",
    check: "Run `carrack plan` again and compare.",
    fix: "Apply the new plan.",
};

/// The content of a secret or config can't be had.
pub static NO_FILE_CONTENT: Code = Code {
    id: "engine/no-file-content",
    title: "the content of a secret or config can't be read",
    cause: "The file is missing or unreadable, or the environment variable is not set.",
    check: "Run `ls -l` on the path, or `printenv` for the variable.",
    fix: "Create the file (mode 0600 for secrets), or set the variable; .env counts too.",
};

/// A volume that does not exist.
pub static NO_SUCH_VOLUME: Code = Code {
    id: "engine/no-such-volume",
    title: "no such volume",
    cause: "No volume of this root has that name.",
    check: "List them with `carrack volume ls`.",
    fix: "Correct the name, or create it with `carrack volume create NAME`.",
};

/// A volume that a container has.
pub static VOLUME_IN_USE: Code = Code {
    id: "engine/volume-in-use",
    title: "the volume is in use",
    cause: "A container, running or not, was made with the volume.",
    check: "`carrack ps -a --filter volume=NAME` lists them.",
    fix: "Remove those containers first.",
};

/// A network that can't be made as asked for.
pub static INVALID_NETWORK: Code = Code {
    id: "engine/invalid-network",
    title: "malformed address of a network",
    cause: "A subnet, gateway, range or reserved address is not an address.",
    check: "Read the network's `ipam` section, or --subnet, --gateway and --ip-range.",
    fix: "Write subnets as 10.9.0.0/24 and addresses as 10.9.0.1.",
};

/// A network that every root has, and that stays as it is.
pub static PREDEFINED_NETWORK: Code = Code {
    id: "engine/predefined-network",
    title: "predefined network",
    cause: "The networks bridge, host and none are there on every root, as in Docker: they can't be made or removed, and \
            nothing can be connected to host or none after it was made.",
    check: "`carrack network ls` lists them.",
    fix: "Make a network of your own with `carrack network create`. `carrack network prune` also takes the bridge of the \
          default network off the host while no container has it.",
};

/// Options of a volume that make no sense.
pub static INVALID_VOLUME_OPTION: Code = Code {
    id: "engine/invalid-volume-option",
    title: "unknown or incomplete options of a volume",
    cause: "The driver local mounts what `type`, `device` and `o` say, as mount(8) does; type and device are both needed.",
    check: "Read the -o of `volume create`, or the volume's `driver_opts`.",
    fix: "For example: carrack volume create -o type=tmpfs -o device=tmpfs -o o=size=100m,uid=1000 fast",
};

/// What a volume's options say can't be mounted.
pub static VOLUME_MOUNT: Code = Code {
    id: "engine/volume-mount",
    title: "what a volume stands for can't be mounted",
    cause: "The volume was made with options, and the kernel refuses to mount what they say; it is tried when a container \
            starts.",
    check: "`carrack volume inspect NAME` shows the options; try them with mount(8).",
    fix: "Remove the volume and make it anew with options that can be mounted: nothing that it stands for is removed with it.",
};

/// An image that is not here for a platform.
pub static NO_SUCH_PLATFORM: Code = Code {
    id: "engine/no-such-platform",
    title: "the image is not here for that platform",
    cause: "A name may stand for an image on several platforms; of this one none is here for the platform that was asked for.",
    check: "`carrack image inspect --format '{{json .Manifests}}' NAME` lists what is here.",
    fix: "Pull or build it for that platform, or leave --platform out.",
};

/// Detach keys that can't be read.
pub static INVALID_KEYS: Code = Code {
    id: "engine/invalid-keys",
    title: "malformed detach keys",
    cause: "Keys are separated by commas, each a character or ctrl- and a letter or one of @ [ \\ ] ^ _.",
    check: "Read the value of --detach-keys.",
    fix: "Write them as in ctrl-p,ctrl-q.",
};

/// The shim of a container ended while a client was attached.
pub static CONNECTION_LOST: Code = Code {
    id: "engine/connection-lost",
    title: "the connection to the container was lost",
    cause: "The container's shim was killed. The program may go on; its output is kept until a new shim takes over.",
    check: "`carrack ps -a` shows what became of the container.",
    fix: "Run any changing command, which adopts the container, and attach again.",
};

/// No such signal.
pub static INVALID_SIGNAL: Code = Code {
    id: "engine/invalid-signal",
    title: "no such signal",
    cause: "The text is neither the name nor the number of a signal.",
    check: "`kill -l` lists them.",
    fix: "Write a name such as TERM, SIGTERM or RTMIN+3, or a number from 1 to 64.",
};

/// A container that is paused, or is not, and should be otherwise.
pub static PAUSED: Code = Code {
    id: "engine/paused",
    title: "a container is paused, or is not",
    cause: "A frozen program can do nothing, and one that runs can't be unpaused.",
    check: "`carrack ps` shows which containers are paused.",
    fix: "Let it go on with `carrack unpause`, or pause it with `carrack pause`.",
};

/// More happened than a reader of events kept up with.
pub static EVENTS_MISSED: Code = Code {
    id: "engine/events-missed",
    title: "events were missed",
    cause: "Events came faster than they were read; only the youngest ten megabytes of them are kept.",
    check: "Look at what reads the output of `carrack events`, such as a pipe that stands still.",
    fix: "Read faster, or filter: `carrack events --filter type=container`. `--since` shows again what is kept.",
};

/// Volumes are not chosen by their age.
pub static NO_AGE_OF_VOLUMES: Code = Code {
    id: "engine/no-age-of-volumes",
    title: "volumes can't be pruned by their age",
    cause: "A volume's age is when it was made, which says nothing about when its data was last needed.",
    check: "`carrack system df --verbose` shows which volumes no container has.",
    fix: "Choose volumes by label (`--filter label=KEY`), or remove them by name with `carrack volume rm`.",
};

/// A log that nobody keeps.
pub static NO_LOG: Code = Code {
    id: "engine/no-log",
    title: "the container has no log",
    cause: "Its log driver is `none`: what it writes goes to whoever is attached, and nowhere else.",
    check: "`carrack inspect NAME` shows it as HostConfig.LogConfig.",
    fix: "Watch it with `carrack attach`, or make it again without `--log-driver none`.",
};

/// A copy that Docker's rules of paths do not allow.
pub static COPY: Code = Code {
    id: "engine/copy",
    title: "a path can't be copied so",
    cause: "The source is not there, a folder would become a file, or a slash at the end says folder where there is none.",
    check: "Look at both paths with `ls -ld`, in the container with `carrack exec`.",
    fix: "Correct the path. `FOLDER` copies the folder itself into one that is there, `FOLDER/.` what is in it.",
};

/// A change of a container that contradicts what it is.
pub static UPDATE: Code = Code {
    id: "engine/update",
    title: "a container can't be changed so",
    cause: "What was given does not go together with what the container has already.",
    check: "`carrack inspect` shows its limits and its restart policy.",
    fix: "Give the values that belong together at once, or make the container anew.",
};

/// Limits that their container does not see.
pub static LIMITS_UNSEEN: Code = Code {
    id: "engine/limits-unseen",
    title: "a container does not see its limits yet",
    cause: "It was started without limits on a host with version 1 of the control groups. It is held to what `update` gave it \
            since; what it sees in /sys/fs/cgroup was made at its start and stays as it is.",
    check: "`carrack exec NAME ls /sys/fs/cgroup`, and `carrack inspect` for the limits that hold.",
    fix: "Nothing, unless a program in it reads its limits there: then restart the container.",
};

/// A runtime that is not here.
pub static NO_RUNTIME: Code = Code {
    id: "engine/no-runtime",
    title: "no such runtime",
    cause: "--runtime or `runtime:` names a program that is not on this host: not in the folders of PATH, and not where \
            administrators' programs are; or the path does not lead to a program.",
    check: "`carrack info` lists the runtimes that were found. carrack's own needs none of them.",
    fix: "Install the runtime (`apt install runc`), name it by its absolute path, or leave the option out.",
};

/// All codes of this crate.
pub static ALL: &[&Code] = &[
    &INDEX_EXISTS,
    &NO_COMMIT,
    &NO_LOG,
    &NO_SUCH_INDEX,
    &AMBIGUOUS,
    &APPLY_FAILED,
    &CONNECTION_LOST,
    &COPY,
    &DOCKER_HOLDS_PROJECT,
    &EVENTS_MISSED,
    &HOST,
    &INVALID_KEYS,
    &INVALID_NAME,
    &INVALID_NETWORK,
    &INVALID_SIGNAL,
    &INVALID_VOLUME_OPTION,
    &JOURNAL_DAMAGED,
    &JOURNAL_IO,
    &NAME_TAKEN,
    &NO_AGE_OF_VOLUMES,
    &NO_BIND_SOURCE,
    &NO_COMMAND,
    &LIMITS_UNSEEN,
    &NO_RUNTIME,
    &NO_FILE_CONTENT,
    &NO_SUCH_CONTAINER,
    &NO_SUCH_NETWORK,
    &NO_SUCH_PLATFORM,
    &NO_SUCH_RELEASE,
    &NO_SUCH_VOLUME,
    &NOT_A_TAG,
    &BOOT_SERVICE,
    &INVALID_PROBE,
    &INVALID_LOG,
    &CDI,
    &NO_PROPAGATION,
    &CDI_REFUSED,
    &NOT_READY,
    &NOT_ROOT,
    &NOT_RUNNING,
    &NOT_SHAREABLE,
    &PAUSED,
    &PLAN_STALE,
    &PORT_BUSY,
    &PREDEFINED_NETWORK,
    &RUNNING,
    &START_FAILED,
    &UNDO_INCOMPLETE,
    &UPDATE,
    &VOLUME_IN_USE,
    &VOLUME_MOUNT,
    &UNCONFINED,
    &SHIM_GONE,
];

/// The codes of this crate and of every crate that it stands on.
pub fn every() -> Vec<&'static Code> {
    [
        ALL,
        crate::bootstrap::CODES,
        crate::doctor::codes::ALL,
        carrack_compose::codes::ALL,
        carrack_dockerfile::codes::ALL,
        carrack_llb::codes::ALL,
        carrack_network::codes::ALL,
        carrack_oci::codes::ALL,
        carrack_plan::codes::ALL,
        carrack_registry::codes::ALL,
        carrack_runtime::codes::ALL,
        carrack_solver::codes::ALL,
        carrack_specgen::codes::ALL,
        carrack_store::codes::ALL,
    ]
    .concat()
}
