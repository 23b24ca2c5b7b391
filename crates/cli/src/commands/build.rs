//! `build`: an image from a Dockerfile, or the images of a project's services.

use carrack_diag::Diagnostic;
use carrack_engine::Engine;

use super::Session;
use crate::arguments::{BuildArguments, ComposeBuildArguments, ProjectArguments};
use crate::codes;
use crate::output::{Failure, Outcome};
use crate::project::Loaded;

pub(crate) fn build(_: &Session, _: &BuildArguments) -> Outcome {
    Err(Diagnostic::error(&codes::NOT_YET, "build is not there yet").into())
}

pub(crate) fn services(_: &Session, _: &ProjectArguments, _: &ComposeBuildArguments) -> Outcome {
    Err(Diagnostic::error(&codes::NOT_YET, "build is not there yet").into())
}

/// Builds the images of services that have none yet, or of all that are built.
pub(crate) fn project_images(
    _: &Session,
    _: &Engine,
    _: &Loaded,
    _: &[String],
    _: bool,
    _: &[String],
) -> Result<(), Failure> {
    Ok(())
}
