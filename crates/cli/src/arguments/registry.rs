//! Registries.

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
pub(crate) struct PullArguments {
    /// Print the image's name only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Platform of the image
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// The image: [HOST[:PORT]/]NAME[:TAG][@DIGEST]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct PushArguments {
    /// Print the image's name only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// The image: [HOST[:PORT]/]NAME[:TAG]
    pub(crate) name: String,
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
    /// Show a manifest or index as the registry has it
    Inspect(ManifestInspectArguments),
}

#[derive(Debug, Args)]
pub(crate) struct ManifestInspectArguments {
    /// The image
    pub(crate) name: String,
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
    /// `json`: an object a line
    #[arg(long)]
    pub(crate) format: Option<String>,
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
