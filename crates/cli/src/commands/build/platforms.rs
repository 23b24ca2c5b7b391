//! A build for several platforms: one build each, and an index of what they come to (D8).

use carrack_diag::{Diagnostic, Result};
use carrack_engine::Engine;
use carrack_engine::build::{BuildOutput, BuildRequest, BuildResult, Compression, ImageIndex};
use carrack_oci::{Platform, Reference};
use serde_json::json;

use super::outputs::Outputs;
use super::progress::Display;
use super::several::{self, Wanted};
use super::{Session, context, report, result};
use crate::arguments::BuildArguments;
use crate::commands::registry;
use crate::output::{Failure, Outcome, exit, note};
use crate::{cache_flags, codes, destination};

/// The platforms of `--platform`, each once.
pub(super) fn wanted(arguments: &BuildArguments) -> Result<Vec<Platform>> {
    let mut wanted: Vec<Platform> = Vec::new();
    for text in arguments.platform.iter().flat_map(|list| list.split(',')) {
        let platform = match text.trim() {
            "local" => Platform::host(),
            text => text.parse()?,
        };
        if !wanted.iter().any(|known| known.matches(&platform)) {
            wanted.push(platform);
        }
    }
    Ok(wanted)
}

/// Whether an index is wanted of one platform too, as of several.
pub(super) fn is_forced(request: &BuildRequest) -> bool {
    request.build_args.get("BUILDKIT_MULTI_PLATFORM").is_some_and(|value| matches!(value.as_str(), "1" | "true"))
}

/// Builds for all of them at once, and gives out the index.
pub(super) fn build(
    session: &Session,
    engine: &Engine,
    (request, arguments): (&BuildRequest, &BuildArguments),
    platforms: &[Platform],
    (outputs, pushed): (&mut Outputs, Option<Compression>),
    display: &Display,
) -> Outcome {
    if request.outputs.iter().any(|output| matches!(output, BuildOutput::Tar(_))) {
        let diagnostic =
            Diagnostic::error(&codes::INVALID_VALUE, "a tar has no place for the files of several platforms");
        return Err(diagnostic.hint("take type=local, a folder a platform, or build for one").into());
    }
    let host = [Platform::host()];
    let platforms = if platforms.is_empty() { &host } else { platforms };
    let mut shared = request.clone();
    cache_flags::share(&mut shared, platforms.len());
    let mut wanted: Vec<Wanted<'_>> = platforms.iter().map(|platform| one(&shared, platform)).collect();
    for own in &mut wanted {
        context::layouts(engine, arguments, &mut own.request)?;
    }
    let built = several::all(session, engine, &wanted, display).map_err(|(failure, _)| failure)?;
    let images: Vec<_> = platforms.iter().cloned().zip(built.iter().map(|built| built.image.clone())).collect();
    let mut index = engine.join_platforms(&images, &request.tags, &request.outputs)?;
    outputs.finish()?;
    if let Some(compression) = pushed {
        registry::push_built(session, engine, &request.tags, compression, display.is_quiet())?;
        index = engine.index_of(&request.tags[0])?.unwrap_or(index);
    }
    let names: Vec<String> = request.tags.iter().map(Reference::to_string).collect();
    let Some(descriptor) = &index.descriptor else { return Ok(exit::DONE) };
    if let Some(path) = &arguments.more.metadata_file {
        let mut metadata =
            json!({ "containerimage.descriptor": descriptor, "containerimage.digest": descriptor.digest });
        if !names.is_empty() {
            metadata["image.name"] = names.join(",").into();
        }
        destination::write(path, &format!("{metadata:#}\n"))?;
    }
    if let Some(path) = &arguments.iidfile {
        destination::write(path, &descriptor.digest.to_string())?;
    }
    if outputs.takes_standard_output() {
        return Ok(exit::DONE);
    }
    if !display.is_quiet() && !session.output.json {
        let names: Vec<String> = request.tags.iter().map(Reference::familiar).collect();
        note(&format!("{} {} ({} platforms)\n", descriptor.digest.short(), names.join(" "), images.len()));
    }
    let answer = json!({ "id": descriptor.digest, "names": names, "platforms": parts(&index, platforms, &built) });
    session.output.result("build", &answer, |_| {
        let id = if display.is_quiet() { format!("{}\n", descriptor.digest) } else { String::new() };
        built.iter().map(report::text).fold(id, |text, report| text + &report)
    });
    Ok(exit::DONE)
}

/// The request for each of the platforms; itself where none is named.
pub(super) fn each(
    engine: &Engine,
    (request, arguments): (&BuildRequest, &BuildArguments),
    platforms: &[Platform],
) -> Result<Vec<BuildRequest>, Failure> {
    if platforms.is_empty() {
        return Ok(vec![request.clone()]);
    }
    let of = |platform| {
        let mut request = one(request, platform).request;
        context::layouts(engine, arguments, &mut request)?;
        Ok(request)
    };
    platforms.iter().map(of).collect()
}

/// The build for one platform: an image of the store without a name.
pub(super) fn one<'a>(request: &BuildRequest, platform: &Platform) -> Wanted<'a> {
    let mut request = request.clone();
    request.platform = Some(platform.clone());
    request.tags.clear();
    request.outputs.clear();
    Wanted { name: platform.to_string(), place: None, request, contexts: Vec::new() }
}

fn parts(index: &ImageIndex, platforms: &[Platform], built: &[BuildResult]) -> Vec<serde_json::Value> {
    let images = index.images.iter().zip(platforms).zip(built);
    let part = |((image, platform), built): ((&_, &Platform), &BuildResult)| {
        let image: &carrack_engine::build::StoredImage = image;
        let mut part = result(built);
        part["platform"] = platform.to_string().into();
        part["manifest"] = image.manifest.digest.to_string().into();
        part
    };
    images.map(part).collect()
}
