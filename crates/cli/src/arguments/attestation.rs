//! What is said of images.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Deferred;

#[derive(Debug, Args)]
pub(crate) struct SbomArguments {
    /// table, spdx-json (SPDX 2.3) or cyclonedx-json (1.6)
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: SbomFormat,
    /// Write to a file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Of an image for several platforms: for which one (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// The image
    pub(crate) name: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AttestationCommand {
    /// List what is said of an image beside it
    Ls(Deferred<AttestationLsArguments>),
    /// Show a statement about an image: in-toto's, as it goes to registries
    Inspect(Deferred<AttestationInspectArguments>),
}

#[derive(Debug, Args)]
pub(crate) struct AttestationLsArguments {
    /// Of an image for several platforms: for which one (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// The image
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct AttestationInspectArguments {
    /// sbom, provenance, or the URI of a predicate's type
    #[arg(long, value_name = "TYPE", default_value = "provenance")]
    pub(crate) r#type: String,
    /// Of an image for several platforms: for which one (default: this machine's)
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// The image
    pub(crate) name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SbomFormat {
    Table,
    #[value(alias = "spdx")]
    SpdxJson,
    #[value(alias = "cyclonedx")]
    CyclonedxJson,
}
