//! What shows everything known of something.

use clap::Args;

use super::InspectArguments;

#[derive(Debug, Args)]
pub(crate) struct ContainerInspectArguments {
    #[command(flatten)]
    pub(crate) inspect: InspectArguments,
    /// With what each has written, and that with its image, in bytes
    #[arg(short, long)]
    pub(crate) size: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AnyInspectArguments {
    #[command(flatten)]
    pub(crate) inspect: InspectArguments,
    /// With what containers have written, and that with their image, in bytes
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Only things of a kind: container, image, network, volume
    #[arg(long = "type", value_name = "KIND")]
    pub(crate) kind: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ImageInspectArguments {
    #[command(flatten)]
    pub(crate) inspect: InspectArguments,
    /// Of images for several platforms, the one for this
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct NetworkInspectArguments {
    #[command(flatten)]
    pub(crate) inspect: InspectArguments,
    /// Accepted: nothing is left out
    #[arg(short, long)]
    pub(crate) verbose: bool,
}
