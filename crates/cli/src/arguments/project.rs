//! The project of the current folder, and Compose's commands.

use std::path::PathBuf;

use super::Deferred;
use super::Pull;
use clap::{Args, Subcommand, ValueEnum};

/// Which project, and with which files.
#[derive(Debug, Args, Default, Clone)]
pub(crate) struct ProjectArguments {
    /// Compose file; several are merged in order
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) setting: ProjectSetting,
}

/// What surrounds the files.
#[derive(Debug, Args, Default, Clone)]
pub(crate) struct ProjectSetting {
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
    pub(crate) project: ProjectArguments,
    #[command(flatten)]
    pub(crate) options: UpOptions,
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
    /// When images that nobody builds are asked for at their registries, in place of each service's pull_policy
    #[arg(long, value_name = "POLICY")]
    pub(crate) pull: Option<Pull>,
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
    pub(crate) project: ProjectArguments,
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
    pub(crate) project: ProjectArguments,
    /// Exit with 10 where the plan is not empty
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Services; all without
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(flatten)]
    pub(crate) project: ProjectArguments,
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
    /// Services, with what they need; all without
    #[arg(id = "names", value_name = "SERVICES")]
    pub(crate) only: Vec<String>,
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
    Ls(Deferred<ProjectArguments>),
    /// Show a release
    Show(Deferred<ReleaseShowArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseShowArguments {
    #[command(flatten)]
    pub(crate) project: ProjectArguments,
    /// Its number; without, the current one
    pub(crate) number: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct RollbackArguments {
    #[command(flatten)]
    pub(crate) project: ProjectArguments,
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
    pub(crate) project: ProjectArguments,
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
    Ps(Deferred<ComposePsArguments>),
    /// Show the output of services
    Logs(Deferred<ComposeLogsArguments>),
    /// Run a command in a service's container
    Exec(Deferred<ComposeExecArguments>),
    /// Run a command in a new container of a service
    Run(Deferred<ComposeRunArguments>),
    /// Build the images of services
    Build(Deferred<ComposeBuildArguments>),
    /// Get the images of services from their registries
    Pull(Deferred<ComposePullArguments>),
    /// Send the built images of services to their registries
    Push(Deferred<ComposePushArguments>),
    /// Show the project after merging and interpolation
    #[command(visible_alias = "convert")]
    Config(ConfigOptions),
    /// Start stopped services
    Start(Deferred<ServicesArguments>),
    /// Stop services
    Stop(Deferred<ComposeStopArguments>),
    /// Restart services
    Restart(Deferred<ComposeStopArguments>),
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
    pub(super) words: Vec<String>,
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
    pub(super) words: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ComposeBuildArguments {
    /// Use no cache
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Value of an ARG
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) build_arg: Vec<String>,
    /// Send the images to the registries of their names
    #[arg(long)]
    pub(crate) push: bool,
    /// Print nothing while building
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Services; all without
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ComposePullArguments {
    /// Leave out services that are built
    #[arg(long)]
    pub(crate) ignore_buildable: bool,
    /// Go on after an image that can't be had
    #[arg(long)]
    pub(crate) ignore_pull_failures: bool,
    /// Also what the named services depend on
    #[arg(long)]
    pub(crate) include_deps: bool,
    /// always or missing, in place of each service's pull_policy
    #[arg(long, value_name = "POLICY", value_parser = ["always", "missing"])]
    pub(crate) policy: Option<String>,
    /// Print nothing while pulling
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Services; all without
    pub(crate) services: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ComposePushArguments {
    /// Go on after an image that can't be sent
    #[arg(long)]
    pub(crate) ignore_push_failures: bool,
    /// Also what the named services depend on
    #[arg(long)]
    pub(crate) include_deps: bool,
    /// Print nothing while pushing
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Services; all without
    pub(crate) services: Vec<String>,
}
