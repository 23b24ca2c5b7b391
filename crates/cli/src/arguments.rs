//! The grammar of the command line.
//!
//! Docker's verbs keep Docker's flags; the workflow's verbs act on the project of the current folder.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// carrack: the whole container workflow in one binary.
#[derive(Debug, Parser)]
#[command(name = "carrack", version, about, disable_help_subcommand = true, max_term_width = 110)]
pub(crate) struct Arguments {
    /// Where images, volumes, containers and releases live
    #[arg(long, global = true, env = "CARRACK_ROOT", default_value = crate::commands::DEFAULT_ROOT, hide_env = true)]
    pub(crate) root: PathBuf,
    /// Where everything lives that a reboot voids
    #[arg(long, global = true, env = "CARRACK_RUN_ROOT", hide_env = true)]
    pub(crate) run_root: Option<PathBuf>,
    /// Answer with one JSON envelope
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // The project.
    /// Build what is missing and bring the project up
    Up(UpArguments),
    /// Take the project's containers and networks down
    Down(DownArguments),
    /// Show what `up` would do, and why
    Plan(PlanArguments),
    /// Show the project after merging and interpolation
    Config(ConfigArguments),
    /// Show the project's services, their health and release
    Status(ProjectArguments),
    /// The project's releases
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// Bring an earlier release back, without a network; data stays
    Rollback(RollbackArguments),
    /// Docker Compose's commands
    Compose(ComposeArguments),

    // Containers.
    /// Run a command in a new container
    Run(Box<RunArguments>),
    /// Make a container without starting it
    Create(Box<CreateArguments>),
    /// Start stopped containers
    Start(StartArguments),
    /// Stop running containers
    Stop(StopArguments),
    /// Stop and start containers
    Restart(StopArguments),
    /// Send a signal to containers
    Kill(KillArguments),
    /// Remove containers
    Rm(RmArguments),
    /// Run a command in a running container
    Exec(ExecArguments),
    /// Attach to a running container
    Attach(AttachArguments),
    /// Show the output of a container, or of the project's services
    Logs(LogsArguments),
    /// List containers
    Ps(PsArguments),
    /// Show everything known of containers, images, networks or volumes
    Inspect(InspectArguments),
    /// Wait until containers stop and print their exit codes
    Wait(NamesArguments),
    /// List published ports
    Port(PortArguments),

    // Images.
    /// Build an image from a Dockerfile, or the images of the project
    Build(BuildArguments),
    /// List images
    Images(ImagesArguments),
    /// Load images from an archive
    Load(LoadArguments),
    /// Save images to an archive
    Save(SaveArguments),
    /// Make an image of a root file system's tar
    Import(ImportArguments),
    /// Give an image another name
    Tag(TagArguments),
    /// Remove images
    Rmi(RmiArguments),

    /// Container commands
    #[command(subcommand)]
    Container(ContainerCommand),
    /// Image commands
    #[command(subcommand)]
    Image(ImageCommand),
    /// Network commands
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Volume commands
    #[command(subcommand)]
    Volume(VolumeCommand),

    // The host.
    /// Explain a diagnostic's code; without one, list them
    Explain(ExplainArguments),
    /// What this host allows; with --leaks, what it holds that no record knows
    Doctor(DoctorArguments),
    /// Finish or undo what an interruption left, and start what the restart policies say
    Boot,
    /// Show the version
    Version,

    /// A shim reports: started by carrack itself
    #[command(name = "_event", hide = true)]
    Event(EventArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Run a command in a new container
    Run(Box<RunArguments>),
    /// Make a container without starting it
    Create(Box<CreateArguments>),
    /// Start stopped containers
    Start(StartArguments),
    /// Stop running containers
    Stop(StopArguments),
    /// Stop and start containers
    Restart(StopArguments),
    /// Send a signal to containers
    Kill(KillArguments),
    /// Remove containers
    Rm(RmArguments),
    /// Run a command in a running container
    Exec(ExecArguments),
    /// Attach to a running container
    Attach(AttachArguments),
    /// Show the output of a container
    Logs(LogsArguments),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(PsArguments),
    /// Show everything known of containers
    Inspect(InspectArguments),
    /// Wait until containers stop and print their exit codes
    Wait(NamesArguments),
    /// List published ports
    Port(PortArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image from a Dockerfile
    Build(BuildArguments),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImagesArguments),
    /// Load images from an archive
    Load(LoadArguments),
    /// Save images to an archive
    Save(SaveArguments),
    /// Make an image of a root file system's tar
    Import(ImportArguments),
    /// Give an image another name
    Tag(TagArguments),
    /// Remove images
    Rm(RmiArguments),
    /// Show everything known of images
    Inspect(InspectArguments),
    /// Make a base image from a Debian archive, its signatures verified
    Bootstrap(BootstrapArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// List networks
    #[command(visible_alias = "list")]
    Ls(ListArguments),
    /// Make a network
    Create(NetworkCreateArguments),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(NamesArguments),
    /// Show everything known of networks
    Inspect(InspectArguments),
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(ListArguments),
    /// Make a volume
    Create(VolumeCreateArguments),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(VolumeRmArguments),
    /// Show everything known of volumes
    Inspect(InspectArguments),
}

/// The flags of `run` and `create` that say what the container is.
#[derive(Debug, Args, Default)]
pub(crate) struct ContainerFlags {
    /// Name of the container
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Set an environment variable: NAME=VALUE, or NAME for the caller's own
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Further groups
    #[arg(long, value_name = "GROUP")]
    pub(crate) group_add: Vec<String>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    pub(crate) workdir: Option<String>,
    /// Host name
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Domain name
    #[arg(long)]
    pub(crate) domainname: Option<String>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Replace the image's entrypoint
    #[arg(long)]
    pub(crate) entrypoint: Option<String>,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Mount a path or volume: [SOURCE:]TARGET[:OPTIONS]
    #[arg(short, long, value_name = "VOLUME")]
    pub(crate) volume: Vec<String>,
    /// Mount anything: type=bind|volume|tmpfs,source=…,target=…
    #[arg(long, value_name = "MOUNT")]
    pub(crate) mount: Vec<String>,
    /// Mount a temporary file system
    #[arg(long, value_name = "TARGET[:OPTIONS]")]
    pub(crate) tmpfs: Vec<String>,
    /// Make the root file system read-only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Size of /dev/shm
    #[arg(long, value_name = "SIZE")]
    pub(crate) shm_size: Option<String>,
    /// Show a device of the host
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Vec<String>,
    /// Connect to a network: its name, bridge, host, none, container:NAME
    #[arg(long, visible_alias = "net", value_name = "NETWORK")]
    pub(crate) network: Vec<String>,
    /// Name on the network
    #[arg(long, visible_alias = "net-alias", value_name = "NAME")]
    pub(crate) network_alias: Vec<String>,
    /// Address on the network
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<String>,
    /// Publish a port: [[ADDRESS:]HOST_PORT:]PORT[/PROTOCOL]
    #[arg(short, long, value_name = "PORT")]
    pub(crate) publish: Vec<String>,
    /// Publish every exposed port on a free one
    #[arg(short = 'P', long)]
    pub(crate) publish_all: bool,
    /// Expose a port
    #[arg(long, value_name = "PORT")]
    pub(crate) expose: Vec<String>,
    /// Add a line to /etc/hosts
    #[arg(long, value_name = "HOST:ADDRESS")]
    pub(crate) add_host: Vec<String>,
    /// Name server
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dns: Vec<std::net::IpAddr>,
    /// Search domain
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) dns_search: Vec<String>,
    /// Resolver option
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION")]
    pub(crate) dns_option: Vec<String>,
    /// PID namespace: host, container:NAME
    #[arg(long, value_name = "MODE")]
    pub(crate) pid: Option<String>,
    /// IPC namespace: private, host, container:NAME
    #[arg(long, value_name = "MODE")]
    pub(crate) ipc: Option<String>,
    /// UTS namespace: host
    #[arg(long, value_name = "MODE")]
    pub(crate) uts: Option<String>,
    /// Cgroup namespace: private, host
    #[arg(long, value_name = "MODE")]
    pub(crate) cgroupns: Option<String>,
    /// Allow everything
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Drop a capability
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// no-new-privileges, seccomp=unconfined, seccomp=FILE, apparmor=PROFILE
    #[arg(long, value_name = "OPTION")]
    pub(crate) security_opt: Vec<String>,
    /// Set a kernel parameter of the container's namespaces
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) sysctl: Vec<String>,
    /// Limit a resource of the process
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit: Vec<String>,
    /// Run a small init as process 1
    #[arg(long)]
    pub(crate) init: bool,
    /// Memory limit
    #[arg(short, long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Limit of memory and swap together; -1 is unlimited
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,
    /// Soft memory limit
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory_reservation: Option<String>,
    /// Processors
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<String>,
    /// Weight of the processors, 1024 is one
    #[arg(short = 'c', long, value_name = "NUMBER")]
    pub(crate) cpu_shares: Option<u64>,
    /// Processors that may be used: 0-1,3
    #[arg(long, value_name = "LIST")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Limit of processes; -1 is unlimited
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) pids_limit: Option<i64>,
    /// Adjust the out-of-memory score
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub(crate) oom_score_adj: Option<i32>,
    /// Signal that stops it
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Seconds between the stop signal and SIGKILL
    #[arg(long, value_name = "SECONDS")]
    pub(crate) stop_timeout: Option<u64>,
    /// Health check: a shell command
    #[arg(long, value_name = "COMMAND")]
    pub(crate) health_cmd: Option<String>,
    /// Time between two probes
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_interval: Option<String>,
    /// Bound of a probe
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_timeout: Option<String>,
    /// Failures that make it unhealthy
    #[arg(long, value_name = "NUMBER")]
    pub(crate) health_retries: Option<u32>,
    /// Time in which failures do not count
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_start_period: Option<String>,
    /// Time between two probes while starting
    #[arg(long, value_name = "DURATION")]
    pub(crate) health_start_interval: Option<String>,
    /// No health check
    #[arg(long)]
    pub(crate) no_healthcheck: bool,
    /// no, always, unless-stopped, on-failure[:N]
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<String>,
    /// Remove the container when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// json-file, local, none
    #[arg(long, value_name = "DRIVER")]
    pub(crate) log_driver: Option<String>,
    /// max-size=SIZE, max-file=NUMBER
    #[arg(long, value_name = "OPTION")]
    pub(crate) log_opt: Vec<String>,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Platform of the image
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) container: ContainerFlags,
    /// Print the id and leave the container running
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Hand signals on to the program
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) sig_proxy: bool,
    /// The image, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    #[command(flatten)]
    pub(crate) container: ContainerFlags,
    /// The image, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NamesArguments {
    /// Names or ids
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArguments {
    /// Names or ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    /// Attach its output
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Attach standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StopArguments {
    /// Seconds between the stop signal and SIGKILL
    #[arg(short = 't', long, visible_alias = "timeout", value_name = "SECONDS")]
    pub(crate) time: Option<u64>,
    /// Signal to send first
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct KillArguments {
    /// Signal to send
    #[arg(short, long, default_value = "KILL")]
    pub(crate) signal: String,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RmArguments {
    /// Kill it first
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Remove its anonymous volumes
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExecArguments {
    /// Return at once
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    pub(crate) workdir: Option<String>,
    /// With every capability
    #[arg(long)]
    pub(crate) privileged: bool,
    /// A container, or a service of the project, then the command and its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["NAME", "COMMAND"])]
    words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AttachArguments {
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Do not attach standard input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// A container, or a service of the project
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// Go on as it grows
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Lines from the end; `all` for all of them
    #[arg(short = 'n', long, visible_alias = "tail", default_value = "all", value_name = "NUMBER")]
    pub(crate) lines: String,
    /// With the time of each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// A container; in a project, services (all without)
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) project: ProjectArguments,
}

#[derive(Debug, Args)]
pub(crate) struct PsArguments {
    /// Stopped ones too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Do not cut ids and commands
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only those: name=…, label=…, status=…, id=…
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// `json`, or a Go template of plain fields: {{.Names}} {{.Status}}
    #[arg(long)]
    pub(crate) format: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// `json`, or a Go template of plain fields: {{.State.Status}}
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PortArguments {
    /// A container, or a service of the project
    pub(crate) name: String,
    /// PORT[/PROTOCOL]
    pub(crate) port: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BuildArguments {
    /// Name of the image
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// The Dockerfile (`-` for standard input); in a project, the Compose file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Stage to build
    #[arg(long, value_name = "STAGE")]
    pub(crate) target: Option<String>,
    /// Value of an ARG
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// Label of the image
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<String>,
    /// Use no cache
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Network of RUN: default, none, host
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Option<String>,
    /// Print the image's id only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// auto, plain
    #[arg(long, value_name = "KIND", default_value = "auto")]
    pub(crate) progress: Progress,
    /// Platform to build for
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// The context's folder; in a project, services (all without)
    pub(crate) context: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Progress {
    Auto,
    Plain,
}

#[derive(Debug, Args)]
pub(crate) struct ImagesArguments {
    /// Ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// With digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Do not cut ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Images without a name too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only this repository
    pub(crate) repository: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// The archive; without, standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Print names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SaveArguments {
    /// The archive; without, standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Images
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// A Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Comment of the history entry
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    /// The tar; `-` for standard input
    pub(crate) source: PathBuf,
    /// Name of the image
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TagArguments {
    /// The image
    pub(crate) source: String,
    /// Its further name
    pub(crate) target: String,
}

#[derive(Debug, Args)]
pub(crate) struct RmiArguments {
    /// Although containers use it
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Images
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BootstrapArguments {
    /// Name of the image: a local one, never an official name
    pub(crate) name: String,
    /// Debian's release
    #[arg(long, default_value = "bookworm")]
    pub(crate) suite: String,
    /// mmdebstrap's variant: minbase, apt, essential, …
    #[arg(long, default_value = "minbase")]
    pub(crate) variant: String,
    /// Further packages, separated by commas
    #[arg(long, value_name = "PACKAGES", value_delimiter = ',')]
    pub(crate) include: Vec<String>,
    /// The archive; without, the host's own
    #[arg(long, value_name = "URL")]
    pub(crate) mirror: Option<String>,
    /// Take the name although it looks official
    #[arg(long)]
    pub(crate) force_name: bool,
}

#[derive(Debug, Args)]
pub(crate) struct NetworkCreateArguments {
    /// bridge is the only one
    #[arg(short, long, default_value = "bridge")]
    pub(crate) driver: String,
    /// Subnet, for example 10.9.0.0/24
    #[arg(long, value_name = "CIDR")]
    pub(crate) subnet: Option<String>,
    /// Gateway in that subnet
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) gateway: Option<std::net::Ipv4Addr>,
    /// Range to give addresses from
    #[arg(long, value_name = "CIDR")]
    pub(crate) ip_range: Option<String>,
    /// No way out
    #[arg(long)]
    pub(crate) internal: bool,
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Its name
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeCreateArguments {
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// local is the only one
    #[arg(short, long, default_value = "local")]
    pub(crate) driver: String,
    /// Its name
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeRmArguments {
    /// No error where it does not exist
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Volumes
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

/// Which project, and with which files.
#[derive(Debug, Args, Default, Clone)]
pub(crate) struct ProjectArguments {
    /// Compose file; several are merged in order
    #[arg(long = "file", value_name = "FILE", id = "compose_file")]
    pub(crate) file: Vec<PathBuf>,
    /// Name of the project
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// Environment file instead of .env
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Profile to enable
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Vec<String>,
    /// Folder that relative paths count from
    #[arg(long, value_name = "PATH")]
    pub(crate) project_directory: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct UpArguments {
    #[command(flatten)]
    pub(crate) project: ProjectFlags,
    #[command(flatten)]
    pub(crate) options: UpOptions,
}

/// [`ProjectArguments`] with `-f`, for verbs whose own `-f` means nothing else.
#[derive(Debug, Args, Default, Clone)]
pub(crate) struct ProjectFlags {
    /// Compose file; several are merged in order
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Name of the project
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// Environment file instead of .env
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Profile to enable
    #[arg(long, value_name = "NAME")]
    pub(crate) profile: Vec<String>,
    /// Folder that relative paths count from
    #[arg(long, value_name = "PATH")]
    pub(crate) project_directory: Option<PathBuf>,
}

impl From<ProjectFlags> for ProjectArguments {
    fn from(flags: ProjectFlags) -> Self {
        Self {
            file: flags.file,
            project_name: flags.project_name,
            env_file: flags.env_file,
            profile: flags.profile,
            project_directory: flags.project_directory,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct UpOptions {
    /// Return when everything is started
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Build all images first
    #[arg(long)]
    pub(crate) build: bool,
    /// Build nothing
    #[arg(long, conflicts_with = "build")]
    pub(crate) no_build: bool,
    /// Return when everything is healthy
    #[arg(long)]
    pub(crate) wait: bool,
    /// Bound of the waiting in seconds
    #[arg(long, value_name = "SECONDS")]
    pub(crate) wait_timeout: Option<u64>,
    /// Make all containers anew
    #[arg(long)]
    pub(crate) force_recreate: bool,
    /// Remove containers of services that are no more
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Replicas of a service
    #[arg(long, value_name = "SERVICE=NUMBER")]
    pub(crate) scale: Vec<String>,
    /// Go on although Docker holds containers or volumes of this project
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Stop all when one stops
    #[arg(long)]
    pub(crate) abort_on_container_exit: bool,
    /// Return the exit code of this service, and stop all when it stops
    #[arg(long, value_name = "SERVICE")]
    pub(crate) exit_code_from: Option<String>,
    /// Print the plan only
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Seconds to let containers stop in
    #[arg(short = 't', long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Services; all without
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DownArguments {
    #[command(flatten)]
    pub(crate) project: ProjectFlags,
    #[command(flatten)]
    pub(crate) options: DownOptions,
}

#[derive(Debug, Args)]
pub(crate) struct DownOptions {
    /// Remove the project's volumes too
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Remove containers of services that are no more
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Seconds to let containers stop in
    #[arg(short = 't', long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArguments {
    #[command(flatten)]
    pub(crate) project: ProjectFlags,
    /// Exit with 10 where the plan is not empty
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Services; all without
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(flatten)]
    pub(crate) project: ProjectFlags,
    #[command(flatten)]
    pub(crate) options: ConfigOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigOptions {
    /// Names of the services only
    #[arg(long)]
    pub(crate) services: bool,
    /// Names of the volumes only
    #[arg(long)]
    pub(crate) volumes: bool,
    /// Names of the images only
    #[arg(long)]
    pub(crate) images: bool,
    /// Check only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// yaml, json
    #[arg(long, default_value = "yaml")]
    pub(crate) format: ConfigFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum ConfigFormat {
    Yaml,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ReleaseCommand {
    /// List the releases
    #[command(visible_alias = "list")]
    Ls(ProjectFlags),
    /// Show a release
    Show(ReleaseShowArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseShowArguments {
    #[command(flatten)]
    pub(crate) project: ProjectFlags,
    /// Its number; without, the current one
    pub(crate) number: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArguments {
    #[command(flatten)]
    pub(crate) project: ProjectFlags,
    /// Print the plan only
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The release's number; without, the one before the current
    pub(crate) number: Option<u64>,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = false)]
pub(crate) struct ComposeArguments {
    #[command(flatten)]
    pub(crate) project: ProjectFlags,
    #[command(subcommand)]
    pub(crate) command: ComposeCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ComposeCommand {
    /// Build what is missing and bring the project up
    Up(UpOptions),
    /// Take the project's containers and networks down
    Down(DownOptions),
    /// List the project's containers
    Ps(ComposePsArguments),
    /// Show the output of services
    Logs(ComposeLogsArguments),
    /// Run a command in a service's container
    Exec(ComposeExecArguments),
    /// Run a command in a new container of a service
    Run(ComposeRunArguments),
    /// Build the images of services
    Build(ComposeBuildArguments),
    /// Show the project after merging and interpolation
    #[command(visible_alias = "convert")]
    Config(ConfigOptions),
    /// Start stopped services
    Start(ServicesArguments),
    /// Stop services
    Stop(ComposeStopArguments),
    /// Restart services
    Restart(ComposeStopArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ServicesArguments {
    /// Services; all without
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ComposeStopArguments {
    /// Seconds to let containers stop in
    #[arg(short = 't', long, value_name = "SECONDS")]
    pub(crate) timeout: Option<u64>,
    /// Services; all without
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ComposePsArguments {
    /// Stopped ones too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// table, json
    #[arg(long, default_value = "table")]
    pub(crate) format: String,
    /// Names of the services only
    #[arg(long)]
    pub(crate) services: bool,
    /// Services; all without
    #[arg(id = "names")]
    pub(crate) only: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ComposeLogsArguments {
    /// Go on as it grows
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Lines from the end; `all` for all of them
    #[arg(short = 'n', long = "tail", default_value = "all", value_name = "NUMBER")]
    pub(crate) lines: String,
    /// With the time of each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Without the service's name before each line
    #[arg(long)]
    pub(crate) no_log_prefix: bool,
    /// Services; all without
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ComposeExecArguments {
    /// Return at once
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// No terminal
    #[arg(short = 'T', long)]
    pub(crate) no_tty: bool,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    pub(crate) workdir: Option<String>,
    /// With every capability
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Which replica
    #[arg(long, default_value_t = 1)]
    pub(crate) index: u32,
    /// The service, then the command and its arguments
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_names = ["SERVICE", "COMMAND"])]
    words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ComposeRunArguments {
    /// Remove the container when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// Print the name and leave the container running
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// No terminal
    #[arg(short = 'T', long)]
    pub(crate) no_tty: bool,
    /// Do not start what the service depends on
    #[arg(long)]
    pub(crate) no_deps: bool,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Replace the entrypoint
    #[arg(long)]
    pub(crate) entrypoint: Option<String>,
    /// User and group, by name or number
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "PATH")]
    pub(crate) workdir: Option<String>,
    /// Name of the container
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The service, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["SERVICE", "COMMAND"])]
    words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ComposeBuildArguments {
    /// Use no cache
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Value of an ARG
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// Print nothing while building
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Services; all without
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// The code, as between the brackets of a message: area/name
    pub(crate) code: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArguments {
    /// Compare what the kernel holds with the records
    #[arg(long)]
    pub(crate) leaks: bool,
}

#[derive(Debug, Args)]
pub(crate) struct EventArguments {
    /// The container's id
    pub(crate) id: String,
    /// exited, health, restart-due
    pub(crate) kind: String,
}

/// Where and what a command is run: one list of words, because after the first of them nothing is a flag of ours, as
/// Docker has it: `run --entrypoint sh IMAGE -c true`.
macro_rules! words {
    ($($arguments:ty: $first:ident),+) => {$(
        impl $arguments {
            /// The first word.
            pub(crate) fn $first(&self) -> &str {
                self.words.first().map_or("", String::as_str)
            }

            /// The command and its arguments; may be empty where the grammar says so.
            pub(crate) fn command(&self) -> &[String] {
                self.words.get(1..).unwrap_or_default()
            }
        }
    )+};
}

words!(
    RunArguments: image,
    CreateArguments: image,
    ExecArguments: name,
    ComposeExecArguments: service,
    ComposeRunArguments: service
);
