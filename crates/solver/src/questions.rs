//! What is asked about a Dockerfile without building it.

use std::collections::BTreeSet;

use carrack_diag::{Diagnostic, SourceMap};
use carrack_dockerfile::Dockerfile;
use carrack_llb::{Lowered, Outline, TargetOutline, lower};
use carrack_oci::Reference;

use crate::plan::{findings, lower_options, open_contexts, read, resolve, resolved};
use crate::request::{BuildRequest, StoreOnly};

/// What the build checks find in the Dockerfile of a request. Writes nothing. Of base images that the store does not have,
/// nothing is known, and nothing is found.
///
/// # Errors
/// What a build would find wrong before its first step, and findings where the file says that they are errors.
pub fn check(request: &BuildRequest, sources: &mut SourceMap) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let file = read(request, sources).map_err(|diagnostic| vec![*diagnostic])?;
    let (dockerfile, mut found) = carrack_dockerfile::parse(file, sources.get(file));
    let contexts = open_contexts(request, sources, &mut found).map_err(|diagnostic| vec![*diagnostic])?;
    if found.iter().any(Diagnostic::is_error) {
        return Err(found);
    }
    let mut options = lower_options(request);
    loop {
        match lower(&dockerfile, &options) {
            Err(mut errors) => {
                found.append(&mut errors);
                break;
            }
            Ok(Lowered::Graph(mut graph)) => {
                found.append(&mut graph.warnings);
                break;
            }
            Ok(Lowered::Needs(needs)) => {
                let known = options.images.len();
                for need in needs {
                    // What is missing is the build's to say.
                    if let Ok(image) = resolve(request, &StoreOnly, None, &need) {
                        options.images.push(resolved(need, &image));
                    }
                }
                if options.images.len() == known {
                    break;
                }
            }
        }
    }
    found.extend(findings(&dockerfile, sources, &options, &contexts));
    if found.iter().any(Diagnostic::is_error) { Err(found) } else { Ok(found) }
}

/// The images that a build begins with, as far as its Dockerfile can be read.
pub fn bases(request: &BuildRequest) -> BTreeSet<Reference> {
    let mut sources = SourceMap::new();
    let Ok(file) = read(request, &mut sources) else { return BTreeSet::new() };
    let (dockerfile, _) = carrack_dockerfile::parse(file, sources.get(file));
    match lower(&dockerfile, &lower_options(request)) {
        Ok(Lowered::Needs(needs)) => needs.into_iter().map(|need| need.reference).collect(),
        // What is wrong with it is told by the build.
        Ok(Lowered::Graph(_)) | Err(_) => BTreeSet::new(),
    }
}

/// What the target of a request can be given. Writes nothing and asks for no image.
///
/// # Errors
/// What is wrong with the Dockerfile, as far as it can be told without images.
pub fn outline(request: &BuildRequest, sources: &mut SourceMap) -> Result<Outline, Vec<Diagnostic>> {
    let dockerfile = parsed(request, sources)?;
    carrack_llb::outline(&dockerfile, sources.get(dockerfile.file), &lower_options(request))
}

/// The stages of a request's Dockerfile. Writes nothing.
///
/// # Errors
/// What is wrong with the Dockerfile's grammar.
pub fn targets(request: &BuildRequest, sources: &mut SourceMap) -> Result<Vec<TargetOutline>, Vec<Diagnostic>> {
    let dockerfile = parsed(request, sources)?;
    Ok(carrack_llb::targets(&dockerfile, sources.get(dockerfile.file)))
}

fn parsed(request: &BuildRequest, sources: &mut SourceMap) -> Result<Dockerfile, Vec<Diagnostic>> {
    let file = read(request, sources).map_err(|diagnostic| vec![*diagnostic])?;
    let (dockerfile, found) = carrack_dockerfile::parse(file, sources.get(file));
    if found.iter().any(Diagnostic::is_error) { Err(found) } else { Ok(dockerfile) }
}
