//! The grammar of the command line.
//!
//! Docker's verbs keep Docker's flags; the workflow's verbs act on the project of the current folder.

mod attestation;
mod boot;
mod builder;
mod container;
mod copy;
mod deferred;
mod docker_build;
mod image;
mod inspect;
pub(crate) mod limits;
mod lists;
mod network;
mod project;
mod registry;
mod system;
mod usage;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use attestation::*;
pub(crate) use boot::*;
pub(crate) use builder::*;
pub(crate) use container::*;
pub(crate) use copy::*;
pub(crate) use deferred::Deferred;
pub(crate) use docker_build::*;
pub(crate) use image::*;
pub(crate) use inspect::*;
pub(crate) use lists::*;
pub(crate) use network::*;
pub(crate) use project::*;
pub(crate) use registry::*;
pub(crate) use system::*;
pub(crate) use usage::*;

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
    /// What new layers are kept as
    #[arg(
        long,
        global = true,
        env = "CARRACK_SNAPSHOTTER",
        value_name = "FORM",
        default_value = "auto",
        hide_env = true
    )]
    pub(crate) snapshotter: Snapshotter,
    /// Answer with one JSON envelope
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Folder of Docker's config.json; without, DOCKER_CONFIG or ~/.docker
    #[arg(long, value_name = "FOLDER")]
    pub(crate) config: Option<PathBuf>,
    /// What is told on standard error: with error and fatal no warnings
    #[arg(short, long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
    /// As --log-level debug
    #[arg(short = 'D', long)]
    pub(crate) debug: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Docker's levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
    Fatal,
}

/// What new layers are kept as. Those that are there stay what they are.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Snapshotter {
    /// Folders of files
    Unpacked,
    /// Tars with an index that the kernel mounts (Linux 6.12)
    OneFile,
    /// Folders, but for large copies of builds where this host can mount tars
    Auto,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    // The project.
    /// Build what is missing and bring the project up
    Up(Deferred<UpArguments>),
    /// Take the project's containers and networks down
    Down(Deferred<DownArguments>),
    /// Show what `up` would do, and why
    Plan(Deferred<PlanArguments>),
    /// Show the project after merging and interpolation
    Config(Deferred<ConfigArguments>),
    /// Show the project's services, their health and release
    Status(Deferred<ProjectArguments>),
    /// The project's releases
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// Bring an earlier release back, without a network; data stays
    Rollback(Deferred<RollbackArguments>),
    /// Docker Compose's commands
    Compose(Deferred<ComposeArguments>),

    // Containers.
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
    Rm(Deferred<RmArguments>),
    /// Run a command in a running container
    Exec(Deferred<ExecArguments>),
    /// Attach to a running container
    Attach(Deferred<AttachArguments>),
    /// Show the output of a container, or of the project's services
    Logs(Deferred<LogsArguments>),
    /// List containers
    Ps(Deferred<PsArguments>),
    /// Show everything known of containers, images, networks or volumes
    Inspect(Deferred<AnyInspectArguments>),
    /// Wait until containers stop and print their exit codes
    Wait(Deferred<NamesArguments>),
    /// List published ports
    Port(Deferred<PortArguments>),
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

    // Images.
    /// Build an image from a Dockerfile, or the images of the project
    Build(Deferred<BuildArguments>),
    /// List images
    Images(Deferred<ImagesArguments>),
    /// Load images from an archive
    Load(Deferred<LoadArguments>),
    /// Save images to an archive
    Save(Deferred<SaveArguments>),
    /// Make an image of a root file system's tar
    Import(Deferred<ImportArguments>),
    /// Give an image another name
    Tag(Deferred<TagArguments>),
    /// Remove images
    Rmi(Deferred<RmiArguments>),
    /// Get an image from its registry
    Pull(Deferred<PullArguments>),
    /// Send an image to its registry
    Push(Deferred<PushArguments>),
    /// Keep credentials for a registry
    Login(Deferred<LoginArguments>),
    /// Forget the credentials for a registry
    Logout(Deferred<LogoutArguments>),
    /// Show how an image came about
    History(Deferred<HistoryArguments>),
    /// List the packages of an image, each with the instruction that brought it
    Sbom(Deferred<SbomArguments>),
    /// What is said of images beside them
    #[command(subcommand)]
    Attestation(AttestationCommand),
    /// Manifest commands
    #[command(subcommand)]
    Manifest(ManifestCommand),

    /// Build the targets of bake files: docker-bake.hcl, .json, Compose files
    Bake(Deferred<Box<BakeArguments>>),
    /// Build commands by Docker's other name
    #[command(subcommand)]
    Buildx(BuildxCommand),
    /// Container commands
    #[command(subcommand)]
    Container(ContainerCommand),
    /// Image commands
    #[command(subcommand)]
    Image(ImageCommand),
    /// What builds have left, and freeing it
    #[command(subcommand)]
    Builder(BuilderCommand),
    /// Network commands
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Volume commands
    #[command(subcommand)]
    Volume(VolumeCommand),

    // The host.
    /// Explain a diagnostic's code; without one, list them
    Explain(Deferred<ExplainArguments>),
    /// What this host allows; with --leaks, what it holds that no record knows
    Doctor(Deferred<DoctorArguments>),
    /// Finish or undo what an interruption left, and start what the restart policies say
    Boot(Deferred<BootArguments>),
    /// Show what happens to containers, images, networks and volumes, as it happens
    Events(Deferred<EventsArguments>),
    /// Show this host and root
    Info(Deferred<InfoArguments>),
    /// What takes room on disk, what happens, and taking away what nobody uses
    #[command(subcommand)]
    System(SystemCommand),
    /// Docker's contexts, of which there is one
    #[command(subcommand)]
    Context(ContextCommand),
    /// Show the version
    Version(Deferred<VersionArguments>),

    /// A shim reports: started by carrack itself
    #[command(name = "_event", hide = true)]
    Event(Deferred<EventArguments>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BuildxCommand {
    /// Build an image from a Dockerfile, or the images of the project
    #[command(visible_alias = "b")]
    Build(Deferred<Box<BuildArguments>>),
    /// Build the targets of bake files
    #[command(visible_alias = "f")]
    Bake(Deferred<Box<BakeArguments>>),
    /// Show what the build cache takes on disk
    Du(Deferred<BuilderUsageArguments>),
    /// Free what the build cache takes on disk
    Prune(Deferred<BuilderPruneArguments>),
    /// Images as registries have them
    #[command(subcommand)]
    Imagetools(ImagetoolsCommand),
    #[command(flatten)]
    Instance(BuilderInstanceCommand),
    /// Not yet
    #[command(external_subcommand)]
    Other(Vec<String>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SystemCommand {
    /// Show what images, containers, volumes and builds take on disk
    Df(Deferred<SystemUsageArguments>),
    /// Show what happens to containers, images, networks and volumes, as it happens
    Events(Deferred<EventsArguments>),
    /// Show this host and root
    Info(Deferred<InfoArguments>),
    /// Remove what nobody uses: containers, networks, images without a name, build cache
    Prune(Deferred<SystemPruneArguments>),
    /// Have the host run `carrack boot` when it starts
    InstallBoot(Deferred<InstallBootArguments>),
    /// Not yet
    #[command(external_subcommand)]
    Other(Vec<String>),
}

#[derive(Debug, Args)]
pub(crate) struct SystemUsageArguments {
    /// Show each of them
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// `table`, `json`, or a Go template: {{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}
    #[arg(long)]
    pub(crate) format: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// List networks
    #[command(visible_alias = "list")]
    Ls(Deferred<NetworkListArguments>),
    /// Make a network
    Create(Deferred<Box<NetworkCreateArguments>>),
    /// Connect a container to a network
    Connect(Deferred<NetworkConnectArguments>),
    /// Take a container off a network
    Disconnect(Deferred<NetworkDisconnectArguments>),
    /// Remove networks
    #[command(visible_alias = "remove")]
    Rm(Deferred<NetworkRmArguments>),
    /// Show everything known of networks
    Inspect(Deferred<NetworkInspectArguments>),
    /// Remove networks that no container has
    Prune(Deferred<PruneArguments>),
}

#[derive(Debug, Subcommand)]
pub(crate) enum VolumeCommand {
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(Deferred<VolumeListArguments>),
    /// Make a volume
    Create(Deferred<VolumeCreateArguments>),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(Deferred<VolumeRmArguments>),
    /// Show everything known of volumes
    Inspect(Deferred<InspectArguments>),
    /// Remove volumes without a name that no container has
    Prune(Deferred<VolumePruneArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct NamesArguments {
    /// Names or ids
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// `json`, or a Go template: {{.State.Status}}
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    /// Names or ids
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeCreateArguments {
    /// Set a label
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) label: Vec<String>,
    /// local is the only one
    #[arg(short, long, default_value = "local")]
    pub(crate) driver: String,
    /// What is mounted on it while a container has it: type=TYPE, device=DEVICE, o=OPTIONS, as for mount(8)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) opt: Vec<String>,
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
    /// Load the AppArmor profile of containers, now and at each boot
    #[arg(long, conflicts_with = "leaks")]
    pub(crate) install_profile: bool,
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
