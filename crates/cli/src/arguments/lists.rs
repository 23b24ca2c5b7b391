//! Lists of networks and volumes, and what little there is of contexts.

use clap::{Args, Subcommand};

use super::Deferred;

#[derive(Debug, Args)]
pub(crate) struct NetworkListArguments {
    /// Ids only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Do not cut ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only those: name=, id=, label=KEY[=VALUE], driver=, scope=, type=custom|builtin, dangling=true|false
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// `table`, `json`, or a Go template: {{.ID}} {{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{.Labels}} {{.CreatedAt}}
    #[arg(long)]
    pub(crate) format: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VolumeListArguments {
    /// Names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Only those: name=, label=KEY[=VALUE], driver=, dangling=true|false
    #[arg(short, long, value_name = "FILTER")]
    pub(crate) filter: Vec<String>,
    /// `table`, `json`, or a Go template: {{.Name}} {{.Driver}} {{.Scope}} {{.Mountpoint}} {{.Labels}}
    #[arg(long)]
    pub(crate) format: Option<String>,
}

/// Docker's contexts name daemons. There is none, so there is one context.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List contexts: there is one
    #[command(visible_alias = "list")]
    Ls(Deferred<ContextListArguments>),
    /// Show contexts
    Inspect(Deferred<ContextInspectArguments>),
    /// Print the context's name
    Show,
    /// Choose a context: the one there is
    Use(Deferred<ContextUseArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct ContextListArguments {
    /// Names only
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// `table`, `json`, or a Go template: {{.Name}} {{.Current}} {{.Description}} {{.DockerEndpoint}} {{.Error}}
    #[arg(long)]
    pub(crate) format: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ContextInspectArguments {
    /// `json`, or a Go template: {{.Name}}
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    /// Names; the context in use without
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ContextUseArguments {
    /// Its name
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArguments {
    /// `json`, or a Go template: {{.Client.Version}} {{.Server.Version}}
    #[arg(short, long)]
    pub(crate) format: Option<String>,
}
