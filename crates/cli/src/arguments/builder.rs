//! The build cache.

use clap::{Args, Subcommand};

use super::BuildArguments;

#[derive(Debug, Subcommand)]
pub(crate) enum BuilderCommand {
    /// Build an image from a Dockerfile
    Build(BuildArguments),
    /// Show what the build cache takes on disk
    Du(BuilderUsageArguments),
    /// Free what the build cache takes on disk
    Prune(BuilderPruneArguments),
}

/// What a build is done with, and what becomes of it.
#[derive(Debug, Args)]
pub(crate) struct BuildMoreArguments {
    /// Say of each step why it was not cached
    #[arg(long)]
    pub(crate) explain: bool,
    /// Say it without building
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BuilderUsageArguments {
    /// Whole ids and what each entry is
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Only these: until=24h, id=, type=regular|exec.cachemount, shared, private
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BuilderPruneArguments {
    /// Also what images have too, so that nothing of the cache is left
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only these: until=24h, id=, type=regular|exec.cachemount, shared, private
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// How much may stay, used last first
    #[arg(long, visible_aliases = ["max-used-space", "reserved-space"], value_name = "BYTES")]
    pub(crate) keep_storage: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Whole ids and what each entry is
    #[arg(long)]
    pub(crate) verbose: bool,
}
