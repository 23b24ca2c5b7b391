//! Containers.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Deferred;
use super::limits::LimitFlags;
use super::{
    CommitArguments, ContainerInspectArguments, CopyArguments, DiffArguments, ExportArguments, NamesArguments,
    ProjectSetting, PruneArguments, Pull, StatsArguments, TopArguments, UpdateArguments,
};

#[derive(Debug, Subcommand)]
pub(crate) enum ContainerCommand {
    /// Run a command in a new container
    #[command(disable_help_flag = true)]
    Run(Deferred<Box<RunArguments>>),
    /// Make a container without starting it
    #[command(disable_help_flag = true)]
    Create(Deferred<Box<CreateArguments>>),
    /// Start stopped containers
    Start(Deferred<StartArguments>),
    /// Stop running containers
    Stop(Deferred<StopArguments>),
    /// Stop and start containers
    Restart(Deferred<StopArguments>),
    /// Send a signal to containers
    Kill(Deferred<KillArguments>),
    /// Freeze the processes of containers
    Pause(Deferred<NamesArguments>),
    /// Let the processes of paused containers go on
    Unpause(Deferred<NamesArguments>),
    /// Give a container another name
    Rename(Deferred<RenameArguments>),
    /// Remove containers
    #[command(visible_alias = "remove")]
    Rm(Deferred<RmArguments>),
    /// Run a command in a running container
    Exec(Deferred<ExecArguments>),
    /// Attach to a running container
    Attach(Deferred<AttachArguments>),
    /// Show the output of a container
    Logs(Deferred<LogsArguments>),
    /// List containers
    #[command(visible_aliases = ["list", "ps"])]
    Ls(Deferred<PsArguments>),
    /// Show everything known of containers
    Inspect(Deferred<ContainerInspectArguments>),
    /// Wait until containers stop and print their exit codes
    Wait(Deferred<NamesArguments>),
    /// List published ports
    Port(Deferred<PortArguments>),
    /// Remove containers that do not run
    Prune(Deferred<PruneArguments>),
    /// Change limits and the restart policy of containers
    Update(Deferred<Box<UpdateArguments>>),
    /// List the processes of a container
    Top(Deferred<TopArguments>),
    /// Show what containers use
    Stats(Deferred<StatsArguments>),
    /// Copy files into or out of a container
    Cp(Deferred<CopyArguments>),
    /// Show what a container has changed of its image's files
    Diff(Deferred<DiffArguments>),
    /// Write all files of a container as a tar
    Export(Deferred<ExportArguments>),
    /// Make an image of a container's changes
    Commit(Deferred<CommitArguments>),
}

/// A standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Stream {
    Stdin,
    Stdout,
    Stderr,
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
    #[arg(short = 'h', long)]
    pub(crate) hostname: Option<String>,
    /// Domain name
    #[arg(long)]
    pub(crate) domainname: Option<String>,
    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) label_file: Vec<PathBuf>,
    /// Set an annotation, for the runtime
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) annotation: Vec<String>,
    /// Replace the image's entrypoint
    #[arg(long)]
    pub(crate) entrypoint: Option<String>,
    /// Keep standard input open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Attach to some of the streams only
    #[arg(short, long, value_name = "STREAM", ignore_case = true)]
    pub(crate) attach: Vec<Stream>,
    /// Give the program a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Mount a path or volume: [SOURCE:]TARGET[:OPTIONS]
    #[arg(short, long, value_name = "VOLUME")]
    pub(crate) volume: Vec<String>,
    /// Mount the volumes of another container
    #[arg(long, value_name = "NAME[:ro]")]
    pub(crate) volumes_from: Vec<String>,
    /// Mount anything: type=bind|volume|tmpfs|image,source=…,target=…
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
    /// IPv6 address on the network
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip6: Option<String>,
    /// Hardware address on the network
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) mac_address: Option<String>,
    /// Further address of the interface
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) link_local_ip: Vec<String>,
    /// Another container, with a name that this one alone has for it
    #[arg(long, value_name = "NAME[:ALIAS]")]
    pub(crate) link: Vec<String>,
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
    /// IPC namespace: private, shareable, none, host, container:NAME
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
    /// no-new-privileges, seccomp=unconfined|FILE, apparmor=PROFILE, systempaths=unconfined, writable-cgroups=true
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
    /// Seconds between the stop signal and SIGKILL; -1 is for ever
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub(crate) stop_timeout: Option<i64>,
    /// Health check: a shell command
    #[arg(long, value_name = "COMMAND")]
    pub(crate) health_cmd: Option<String>,
    /// Health check without a program in the image: http://:8080/ready [status=200-399] [host=NAME] [redirects=N],
    /// https://…, tcp://:5432, grpc://:50051[/SERVICE], file:///run/ready [age=30s], exec PROGRAM ARGUMENT…
    #[arg(long, value_name = "PROBE", conflicts_with = "health_cmd")]
    pub(crate) health_probe: Option<String>,
    /// When it becomes unhealthy: none, kill, stop, restart[:N]
    #[arg(long, value_name = "ACTION")]
    pub(crate) health_on_failure: Option<String>,
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
    #[arg(long, conflicts_with_all = [
        "health_cmd", "health_probe", "health_interval", "health_timeout", "health_retries", "health_start_period",
        "health_start_interval", "health_on_failure",
    ])]
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
    /// max-size=SIZE, max-file=NUMBER, labels=LIST, env=LIST, tag=TEXT, …
    #[arg(long, value_name = "OPTION")]
    pub(crate) log_opt: Vec<String>,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Another runtime instead of carrack's own: runc, crun, a name or a path
    #[arg(long, value_name = "RUNTIME")]
    pub(crate) runtime: Option<String>,
    #[command(flatten)]
    pub(crate) limits: LimitFlags,
    /// Accepted: `default`
    #[arg(long, hide = true)]
    pub(crate) isolation: Option<String>,
    /// Accepted: `host`
    #[arg(long, hide = true)]
    pub(crate) userns: Option<String>,
    /// Accepted: `local`
    #[arg(long, hide = true)]
    pub(crate) volume_driver: Option<String>,
    /// Platform of the image
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// When the image is asked for at its registry
    #[arg(long, value_name = "WHEN", default_value = "missing")]
    pub(crate) pull: Pull,
    /// Say nothing of the pull
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Print help (`-h` is the host name, as in Docker)
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
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
    pub(super) words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArguments {
    #[command(flatten)]
    pub(crate) container: ContainerFlags,
    /// The image, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["IMAGE", "COMMAND"])]
    pub(super) words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StartArguments {
    /// Attach its output
    #[arg(short, long)]
    pub(crate) attach: bool,
    /// Attach standard input
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RenameArguments {
    /// Name or id
    pub(crate) name: String,
    /// The name that it gets
    pub(crate) new_name: String,
}

#[derive(Debug, Args)]
pub(crate) struct StopArguments {
    /// Seconds between the stop signal and SIGKILL; -1 is for ever
    #[arg(short = 't', long, visible_alias = "timeout", value_name = "SECONDS", allow_hyphen_values = true)]
    pub(crate) time: Option<i64>,
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
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
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
    pub(super) words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AttachArguments {
    /// Keys that detach
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<String>,
    /// Do not attach standard input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Hand signals on to the program
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) sig_proxy: bool,
    /// A container, or a service of the project
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArguments {
    /// Go on as it grows
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Lines from the end; `all` for all of them
    #[arg(
        short = 'n',
        long,
        visible_alias = "tail",
        default_value = "all",
        value_name = "NUMBER",
        allow_hyphen_values = true
    )]
    pub(crate) lines: String,
    /// Only lines since a time: 2026-01-31T08:00:00Z, or 10m ago
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only lines until a time
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// With the time of each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// With the labels and variables that --log-opt labels and env have asked for
    #[arg(long)]
    pub(crate) details: bool,
    /// A container; in a project, services (all without)
    pub(crate) names: Vec<String>,
    /// Compose file; several are merged in order
    #[arg(long = "file", value_name = "FILE")]
    pub(crate) compose_files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) setting: ProjectSetting,
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
    /// Only those: name=, id=, label=KEY[=VALUE], status=, health=, exited=CODE, ancestor=IMAGE, before=, since=, network=,
    /// volume=, publish=PORT, expose=PORT
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// The last so many, whatever they do
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = -1, allow_hyphen_values = true)]
    pub(crate) last: i64,
    /// The last one, whatever it does
    #[arg(short, long)]
    pub(crate) latest: bool,
    /// What each has written, and that with its image
    #[arg(short, long)]
    pub(crate) size: bool,
    /// `table`, `json`, or a Go template: {{.Names}} {{.Status}} {{.Label "key"}}; `table` before it gives headings
    #[arg(long)]
    pub(crate) format: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PortArguments {
    /// Try who reaches the ports of a container, or of all that run, and say why
    #[arg(long)]
    pub(crate) reach: bool,
    /// A container, or a service of the project
    #[arg(required_unless_present = "reach")]
    pub(crate) name: Option<String>,
    /// PORT[/PROTOCOL]
    pub(crate) port: Option<String>,
}
