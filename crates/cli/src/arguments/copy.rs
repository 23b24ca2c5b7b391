//! Files of containers: `cp`, `diff`, `export`, `commit`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct CopyArguments {
    /// Owners: of the container's user into it, and as they are out of it
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// A link as source stands for what it leads to
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// Say nothing of what was copied
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// CONTAINER:PATH, a path, or - for a tar on standard input
    pub(crate) source: String,
    /// CONTAINER:PATH, a path, or - for a tar on standard output
    pub(crate) target: String,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// Write to a file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A container
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArguments {
    /// A container
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct CommitArguments {
    /// Who made the image
    #[arg(short, long)]
    pub(crate) author: Option<String>,
    /// A Dockerfile instruction over the container's settings
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Why it was made
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    /// Pause the container meanwhile
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) pause: bool,
    /// Do not pause the container
    #[arg(long)]
    pub(crate) no_pause: bool,
    /// A container
    pub(crate) name: String,
    /// Name of the image
    pub(crate) image: Option<String>,
}
