//! What happens on a host, and taking away what nobody uses.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct EventsArguments {
    /// Also what happened since then: a time, seconds since 1970, or how long ago
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// End then; without, go on until interrupted
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// Only these: container=, image=, network=, volume=, type=, event=, label=, scope=, daemon=; the same key twice is either
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// `json`, or a Go template: {{.Time}} {{.TimeNano}} {{.Type}} {{.Action}} {{.ID}} {{.From}} {{.Actor.ID}}
    /// {{.Actor.Attributes.name}}
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}

/// What every prune takes.
#[derive(Debug, Args)]
pub(crate) struct PruneArguments {
    /// Only what was made before then, or has these labels: until=24h, label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImagePruneArguments {
    /// Also images with a name, where no container, build or release keeps them
    #[arg(short, long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) prune: PruneArguments,
}

#[derive(Debug, Args)]
pub(crate) struct VolumePruneArguments {
    /// Also volumes with a name: their data is gone then
    #[arg(short, long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) prune: PruneArguments,
}

#[derive(Debug, Args)]
pub(crate) struct SystemPruneArguments {
    /// Also images with a name, and all of the build cache
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Also volumes without a name
    #[arg(long)]
    pub(crate) volumes: bool,
    #[command(flatten)]
    pub(crate) prune: PruneArguments,
}

#[derive(Debug, Args)]
pub(crate) struct InfoArguments {
    /// `json`, or a Go template: {{.CgroupVersion}} {{.KernelVersion}} {{.DockerRootDir}} …
    #[arg(short, long, value_name = "TEMPLATE")]
    pub(crate) format: Option<String>,
}
