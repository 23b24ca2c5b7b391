//! Registries.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Deferred;

#[derive(Debug, Args)]
pub(crate) struct PullArguments {
    /// All tags of the repository
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Print the image's name only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Platforms of the image
    #[arg(long, value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platform: Vec<String>,
    /// The image for all platforms that it is there for
    #[arg(long, conflicts_with = "platform")]
    pub(crate) all_platforms: bool,
    /// The image: [HOST[:PORT]/]NAME[:TAG][@DIGEST]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct PushArguments {
    /// All tags of the repository that are here
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Give the image tags by convention, from the commit of the current folder, and send those: see `build --tags-from`
    #[arg(long, value_name = "SOURCE", value_parser = ["git"], conflicts_with = "all_tags")]
    pub(crate) tags_from: Option<String>,
    /// Print the image's name only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The image for one platform only, without the index that lists it
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// The images: [HOST[:PORT]/]NAME[:TAG]
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LoginArguments {
    /// User name
    #[arg(short, long)]
    pub(crate) username: Option<String>,
    /// Password; everybody on this machine can see it there: --password-stdin is better
    #[arg(short, long, conflicts_with = "password_stdin")]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    pub(crate) password_stdin: bool,
    /// The registry; without, Docker Hub
    pub(crate) server: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogoutArguments {
    /// The registry; without, Docker Hub
    pub(crate) server: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ManifestCommand {
    /// Put an index together of images that registries have
    Create(Deferred<ManifestCreateArguments>),
    /// Say what an image of an index runs on
    Annotate(Deferred<ManifestAnnotateArguments>),
    /// Show a manifest or index, as it is put together or as the registry has it
    Inspect(Deferred<ManifestInspectArguments>),
    /// Send an index that was put together
    Push(Deferred<ManifestPushArguments>),
    /// Forget indexes that were put together
    Rm(Deferred<ManifestRmArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct ManifestCreateArguments {
    /// Add to an index that there is
    #[arg(short, long)]
    pub(crate) amend: bool,
    /// Without TLS or with a certificate that nobody trusts
    #[arg(long)]
    pub(crate) insecure: bool,
    /// The index: [HOST[:PORT]/]NAME[:TAG]
    pub(crate) name: String,
    /// Its images, as registries have them
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestAnnotateArguments {
    /// Processor: amd64, arm64
    #[arg(long)]
    pub(crate) arch: Option<String>,
    /// Operating system
    #[arg(long)]
    pub(crate) os: Option<String>,
    /// Version of the operating system
    #[arg(long)]
    pub(crate) os_version: Option<String>,
    /// Variant of the processor: v7
    #[arg(long)]
    pub(crate) variant: Option<String>,
    /// The index
    pub(crate) name: String,
    /// Its image
    pub(crate) image: String,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestInspectArguments {
    /// Without TLS or with a certificate that nobody trusts
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Also its descriptor
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// [INDEX] IMAGE
    #[arg(required = true, num_args = 1..=2)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestPushArguments {
    /// Without TLS or with a certificate that nobody trusts
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Forget it here afterwards
    #[arg(short, long)]
    pub(crate) purge: bool,
    /// The index
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestRmArguments {
    /// The indexes
    #[arg(required = true)]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ImagetoolsCommand {
    /// Show what a registry has under a name
    Inspect(Deferred<ImagetoolsInspectArguments>),
    /// Make an index of images that registries have, at a registry
    Create(Deferred<ImagetoolsCreateArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct ImagetoolsInspectArguments {
    /// The manifest as it is
    #[arg(long, conflicts_with = "format")]
    pub(crate) raw: bool,
    /// A template: {{json .Manifest}}, {{.Manifest.Digest}}, {{json .Image}}, {{json .SBOM}}, {{json .Provenance.SLSA}}
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// The image
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct ImagetoolsCreateArguments {
    /// What it is called
    #[arg(short, long)]
    pub(crate) tag: Vec<String>,
    /// Add to what the first tag names
    #[arg(long)]
    pub(crate) append: bool,
    /// Annotation of the index
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<String>,
    /// File with an image: its name, its digest, or its descriptor as JSON, with the platform and annotations that it is to have
    #[arg(short, long)]
    pub(crate) file: Vec<PathBuf>,
    /// Show it without sending
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also of one image make an index; `false` keeps a manifest a manifest
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) prefer_index: bool,
    /// The images
    pub(crate) sources: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct HistoryArguments {
    /// Do not cut ids and instructions
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Sizes and times for people; `false` gives bytes and dates
    #[arg(short = 'H', long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) human: bool,
    /// `json`, or a Go template: {{.ID}} {{.CreatedSince}} {{.CreatedBy}} {{.Size}} {{.Comment}}
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Of images for several platforms, the one for this
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// The image
    pub(crate) name: String,
}

/// When an image is asked for at its registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pull {
    Always,
    #[default]
    Missing,
    Never,
}
