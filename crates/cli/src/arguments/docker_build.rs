//! Flags that `docker build` and `docker buildx build` have and that say little to a builder without a daemon: accepted
//! where they ask for what is so anyway, refused where they ask for something else.

use clap::{Args, Subcommand, ValueEnum};

use super::Deferred;

#[derive(Debug, Args)]
pub(crate) struct DockerBuildArguments {
    /// Accepted as default: there is one builder
    #[arg(long, value_name = "NAME")]
    pub(crate) builder: Option<String>,
    /// Accepted: nothing is left of steps. --rm=false is refused
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide = true)]
    pub(crate) rm: Switch,
    /// Accepted: nothing is left of steps, failed ones too
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide = true)]
    pub(crate) force_rm: Switch,
    /// Accepted: the context is read where it is and sent nowhere
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "false", hide = true)]
    pub(crate) compress: Switch,
    /// Accepted as default
    #[arg(long, value_name = "KIND", hide = true)]
    pub(crate) isolation: Option<String>,
    /// Refused: it belongs to the builder that Docker has deprecated
    #[arg(long, hide = true)]
    pub(crate) squash: bool,
    /// Refused: it is for containers of Windows
    #[arg(long, value_name = "OPTION", hide = true)]
    pub(crate) security_opt: Vec<String>,
}

/// A flag of Go's that takes a truth value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    #[value(alias = "1", alias = "t", alias = "T", alias = "TRUE", alias = "True")]
    True,
    #[value(alias = "0", alias = "f", alias = "F", alias = "FALSE", alias = "False")]
    False,
}

/// Docker's builder instances, of which there is one here.
#[derive(Debug, Subcommand)]
pub(crate) enum BuilderInstanceCommand {
    /// List builders: there is one
    Ls(Deferred<BuilderListArguments>),
    /// Show a builder
    Inspect(Deferred<BuilderInspectArguments>),
    /// Choose a builder: the one there is
    Use(Deferred<BuilderUseArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct BuilderListArguments {
    /// `table`, `json`, or a Go template: {{.Name}} {{.DriverEndpoint}} {{.Status}} {{.Platforms}}
    #[arg(long)]
    pub(crate) format: Option<String>,
    /// Accepted: nothing is cut
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BuilderInspectArguments {
    /// Accepted: there is nothing to start
    #[arg(long)]
    pub(crate) bootstrap: bool,
    /// Its name
    #[arg(long, value_name = "NAME")]
    pub(crate) builder: Option<String>,
    /// Its name
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct BuilderUseArguments {
    /// Accepted: it is so for every context
    #[arg(long)]
    pub(crate) default: bool,
    /// Accepted: it is so for every context
    #[arg(long)]
    pub(crate) global: bool,
    /// Its name
    pub(crate) name: String,
}
