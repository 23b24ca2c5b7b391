//! Images and builds.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Deferred;
use super::{
    BuildMoreArguments, DockerBuildArguments, HistoryArguments, ImageInspectArguments, ImagePruneArguments,
    PullArguments, PushArguments,
};

#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Build an image from a Dockerfile
    Build(Deferred<Box<BuildArguments>>),
    /// List images
    #[command(visible_alias = "list")]
    Ls(Deferred<ImagesArguments>),
    /// Load images from an archive
    Load(Deferred<LoadArguments>),
    /// Save images to an archive
    Save(Deferred<SaveArguments>),
    /// Make an image of a root file system's tar
    Import(Deferred<ImportArguments>),
    /// Give an image another name
    Tag(Deferred<TagArguments>),
    /// Get an image from its registry
    Pull(Deferred<PullArguments>),
    /// Send an image to its registry
    Push(Deferred<PushArguments>),
    /// Show how an image came about
    History(Deferred<HistoryArguments>),
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(Deferred<RmiArguments>),
    /// Remove images without a name that nothing keeps
    Prune(Deferred<ImagePruneArguments>),
    /// Show everything known of images
    Inspect(Deferred<ImageInspectArguments>),
    /// Show what each layer adds, and what of it later layers overwrite or remove
    Tree(Deferred<ImageTreeArguments>),
    /// Show what differs between two images: files and configuration
    Diff(Deferred<ImageDiffArguments>),
    /// Make a base image from a Debian archive, its signatures verified
    Bootstrap(Deferred<BootstrapArguments>),
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
    /// Ask the registries for newer base images
    #[arg(long)]
    pub(crate) pull: bool,
    /// Network of RUN: default, none, host
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Option<String>,
    /// Print the image's id only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) iidfile: Option<PathBuf>,
    /// auto, plain, tty, quiet, none, rawjson; BUILDKIT_PROGRESS without
    #[arg(long, value_name = "KIND")]
    pub(crate) progress: Option<Progress>,
    /// Platforms to build for; several give an index
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    #[command(flatten)]
    pub(crate) more: Box<BuildMoreArguments>,
    #[command(flatten)]
    pub(crate) docker: Box<DockerBuildArguments>,
    /// What a name after FROM and --from means: a folder, an address, docker-image://IMAGE
    #[arg(long, value_name = "NAME=CONTEXT")]
    pub(crate) build_context: Vec<String>,
    /// SSH agent for RUN --mount=type=ssh; without a socket, SSH_AUTH_SOCK
    #[arg(long, value_name = "ID[=SOCKET]")]
    pub(crate) ssh: Vec<String>,
    /// Privileges that the Dockerfile may ask for: security.insecure
    #[arg(long, value_name = "PRIVILEGE")]
    pub(crate) allow: Vec<String>,
    /// Open a shell where a step fails, or before or after a step: [before:|after:]LINE, STAGE:NUMBER or a part of its text
    #[arg(long, value_name = "STEP", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub(crate) debug: Option<String>,
    /// Report what the build checks find, and build nothing
    #[arg(long, conflicts_with = "call")]
    pub(crate) check: bool,
    /// Ask instead of building: check, outline (what a target can be given), targets; each with ,format=json
    #[arg(long, value_name = "METHOD")]
    pub(crate) call: Option<String>,
    /// A folder, an address, or `-` for a tar or Dockerfile on standard input; in a project, services (all without)
    pub(crate) context: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    Auto,
    Plain,
    Quiet,
    Tty,
    Rawjson,
    None,
}

#[derive(Debug, Args)]
pub(crate) struct ImageTreeArguments {
    /// List the files of each layer
    #[arg(long)]
    pub(crate) files: bool,
    /// List them as the folders of this depth
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) depth: Option<u16>,
    /// Exit with 16 where the image is larger: 400MB, 1.5GiB
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_size: Option<String>,
    /// Exit with 16 where more of it is overwritten or removed by later layers: 5%, 20MB
    #[arg(long, value_name = "PERCENT|BYTES")]
    pub(crate) max_waste: Option<String>,
    /// `json`, or a Go template for each layer: {{.Number}} {{.Instruction}} {{.Size}} {{.Files}} {{.Wasted}}
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Do not cut instructions
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// The image
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ImageDiffArguments {
    /// `json`, or a Go template for each file: {{.Change}} {{.Path}} {{.Size}} {{.What}}
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// The image that is compared with
    pub(crate) first: String,
    /// The image that is compared
    pub(crate) second: String,
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
    /// With what each name stands for on several platforms
    #[arg(long, conflicts_with_all = ["quiet", "digests", "no_trunc", "format", "filter", "repository"])]
    pub(crate) tree: bool,
    /// `json`, or a Go template: {{.Repository}} {{.Tag}} {{.ID}} {{.Digest}} {{.CreatedSince}} {{.Size}}
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Only those: reference=PATTERN, label=KEY[=VALUE], dangling=true|false, before=IMAGE, since=IMAGE, until=TIME
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// Only this repository, NAME:TAG, or a pattern of them
    pub(crate) repository: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// The archive; without, standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Of images for several platforms, the one for this; without, this host's
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Print names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SaveArguments {
    /// The archive; without, standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Of images for several platforms, the one for this
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Images
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// A Dockerfile instruction: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME, WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Comment of the history entry
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    /// What the image is for; without, this host's
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
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
    /// Accepted: no image here has others without a name that went into it
    #[arg(long)]
    pub(crate) no_prune: bool,
    /// Of images for several platforms, the one for this only
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
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
