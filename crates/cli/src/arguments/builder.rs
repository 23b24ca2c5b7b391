//! The build cache.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use super::Deferred;
use super::{BuildArguments, Progress};

#[derive(Debug, Subcommand)]
pub(crate) enum BuilderCommand {
    /// Build an image from a Dockerfile
    Build(Deferred<Box<BuildArguments>>),
    /// Show what the build cache takes on disk
    Du(Deferred<BuilderUsageArguments>),
    /// Free what the build cache takes on disk
    Prune(Deferred<BuilderPruneArguments>),
    /// Take cache mounts (RUN --mount=type=cache) to another machine
    #[command(subcommand)]
    Mounts(MountsCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum MountsCommand {
    /// Write cache mounts into a folder
    Export(Deferred<MountsArguments>),
    /// Read cache mounts that were written
    Import(Deferred<MountsImportArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct MountsArguments {
    /// The folder: of each mount a tar and what it is
    pub(crate) folder: PathBuf,
    /// Only the mount of this id
    #[arg(long, value_name = "ID")]
    pub(crate) id: Vec<String>,
    /// How much may go, used last first
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_size: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct MountsImportArguments {
    #[command(flatten)]
    pub(crate) mounts: MountsArguments,
    /// Replace those that are here
    #[arg(long)]
    pub(crate) replace: bool,
}

/// What a build is done with, and what becomes of it.
#[derive(Debug, Args)]
pub(crate) struct BuildMoreArguments {
    /// Say of each step why it was not cached
    #[arg(long)]
    pub(crate) explain: bool,
    /// Report where time and bytes went: steps, what the cache saved, sizes, the context's largest files
    #[arg(long)]
    pub(crate) report: bool,
    /// Say it without building
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// What is left of the build: type=image|registry|oci|docker|tar|local with dest=, name=, push=, compression=, rewrite-timestamp=; or a
    /// folder; or - for a tar on standard output
    #[arg(short, long, value_name = "OUTPUT")]
    pub(crate) output: Vec<String>,
    /// Use no cache for these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    pub(crate) no_cache_filter: Vec<String>,
    /// Write digests and names of what was built to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Annotation of the image's manifest
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) annotation: Vec<String>,
    /// Further name in /etc/hosts of steps
    #[arg(long, value_name = "HOST:ADDRESS")]
    pub(crate) add_host: Vec<String>,
    /// Size of /dev/shm of steps
    #[arg(long, value_name = "BYTES")]
    pub(crate) shm_size: Option<String>,
    /// Limit of the programs of steps, for example nofile=1024:2048
    #[arg(long, value_name = "LIMIT")]
    pub(crate) ulimit: Vec<String>,
    /// A secret for RUN --mount=type=secret: id=NAME[,src=FILE|,env=VARIABLE]
    #[arg(long, value_name = "SECRET")]
    pub(crate) secret: Vec<String>,
    /// Memory limit of each step
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<String>,
    /// Memory and swap together of each step; -1 is unlimited
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    pub(crate) memory_swap: Option<String>,
    /// Processor time of each step in a period, in microseconds
    #[arg(long, value_name = "MICROSECONDS")]
    pub(crate) cpu_quota: Option<u64>,
    /// That period
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1000..=1_000_000))]
    pub(crate) cpu_period: u64,
    /// Relative processor time of each step
    #[arg(short, long, value_name = "NUMBER")]
    pub(crate) cpu_shares: Option<u64>,
    /// Processors that steps may use: 0-3, 0,1
    #[arg(long, value_name = "CPUS")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes that steps may use: 0-3, 0,1
    #[arg(long, value_name = "NODES")]
    pub(crate) cpuset_mems: Option<String>,
    /// What the control groups of steps are below
    #[arg(long, value_name = "CGROUP")]
    pub(crate) cgroup_parent: Option<String>,
    /// What is said of the image beside it: type=sbom, or type=provenance[,mode=min|max][,builder-id=URI][,reproducible=true]
    #[arg(long, value_name = "ATTESTATION")]
    pub(crate) attest: Vec<String>,
    /// List the image's packages beside it: --attest type=sbom
    #[arg(long, value_name = "BOOLEAN", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) sbom: Option<String>,
    /// Say beside the image how it was built: mode=min (the default), mode=max or false
    #[arg(long, value_name = "MODE", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) provenance: Option<String>,
    /// Cache from elsewhere: NAME, type=registry,ref=NAME or type=local,src=FOLDER
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_from: Vec<String>,
    /// Write the cache for elsewhere: type=registry,ref=NAME, type=local,dest=FOLDER or type=inline; with mode=min|max,
    /// compression=, ignore-error=
    #[arg(long, value_name = "CACHE")]
    pub(crate) cache_to: Vec<String>,
    /// Accepted: what is built is in the store
    #[arg(long)]
    pub(crate) load: bool,
    /// Send the image to the registries of its names: --output type=registry
    #[arg(long)]
    pub(crate) push: bool,
    /// Tags by convention for names without a tag, from the commit: `git` gives sha-COMMIT, the version of a tag like v1.2.3
    /// with 1.2, 1 and latest where they move on to it, and the branch
    #[arg(long, value_name = "SOURCE", value_parser = ["git"])]
    pub(crate) tags_from: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BuilderUsageArguments {
    /// Whole ids and what each entry is
    #[arg(long)]
    pub(crate) verbose: bool,
    /// Only these: until=24h, id=, type=regular|exec.cachemount|source.http, description=, inuse, mutable, immutable,
    /// shared, private
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BuilderPruneArguments {
    /// Also what images have too, so that nothing of the cache is left
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only these: until=24h, id=, type=regular|exec.cachemount|source.http, description=, inuse, mutable, immutable,
    /// shared, private
    #[arg(long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// How much may stay at most, used last first
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_used_space: Option<String>,
    /// How much stays in any case; alone, how much may stay at most
    #[arg(long, visible_alias = "keep-storage", value_name = "BYTES")]
    pub(crate) reserved_space: Option<String>,
    /// How much is to be free on the file system
    #[arg(long, value_name = "BYTES")]
    pub(crate) min_free_space: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Whole ids and what each entry is
    #[arg(long)]
    pub(crate) verbose: bool,
}

/// Flags of a build that no shell has written.
#[derive(Debug, Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
pub(crate) struct BuildLine {
    #[command(flatten)]
    pub(crate) build: BuildArguments,
}

#[derive(Debug, Args)]
pub(crate) struct BakeArguments {
    /// A bake file (.hcl, .json, `-` for standard input) or Compose file (.yaml); later ones add to earlier ones
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Change targets: TARGET.KEY=VALUE, where TARGET may be a pattern; += adds to a list
    #[arg(long, value_name = "TARGET.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Value of a variable, before the environment's
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) var: Vec<String>,
    /// Print what would be built, as JSON, and build nothing
    #[arg(long)]
    pub(crate) print: bool,
    /// List targets or variables, and build nothing
    #[arg(long, value_name = "KIND", num_args = 0..=1, default_missing_value = "targets", require_equals = true)]
    pub(crate) list: Option<String>,
    /// Push every target's image
    #[arg(long)]
    pub(crate) push: bool,
    /// Accepted: what is built is in the store
    #[arg(long)]
    pub(crate) load: bool,
    /// Use no cache
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Ask the registries for newer base images
    #[arg(long)]
    pub(crate) pull: bool,
    /// auto, plain, tty, quiet, rawjson; BUILDKIT_PROGRESS without
    #[arg(long, value_name = "KIND")]
    pub(crate) progress: Option<Progress>,
    /// Write digests and names of what was built to a file, by target
    #[arg(long, value_name = "FILE")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Report what the build checks find, and build nothing
    #[arg(long, conflicts_with = "call")]
    pub(crate) check: bool,
    /// Ask instead of building: check, outline (what a target can be given), targets; each with ,format=json
    #[arg(long, value_name = "METHOD")]
    pub(crate) call: Option<String>,
    /// Privileges that the targets may ask for: security.insecure
    #[arg(long, value_name = "PRIVILEGE")]
    pub(crate) allow: Vec<String>,
    /// Targets and groups; without, `default`
    pub(crate) targets: Vec<String>,
}
