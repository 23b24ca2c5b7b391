//! Everything that is known of a build before a step of it runs: read, parse, find base images, lower.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use carrack_diag::{Diagnostic, FileId, SourceMap, Span, Spanned, nearest};
use carrack_dockerfile::{Command, Dockerfile};
use carrack_llb::{
    Breakpoint, CheckInput, Graph, ImageNeed, LowerOptions, Lowered, Network, Op, ResolvedImage, check as check_file,
    lower,
};
use carrack_oci::{Platform, Reference};
use carrack_store::{Image, Lease};

use crate::codes;
use crate::contents::Contents;
use crate::context::{Contexts, Folder};
use crate::request::{BuildRequest, DockerfileSource, Images, NamedContext};
use crate::tree::{Tree, small};

/// Everything that is known before a step runs.
pub(crate) struct BuildPlan {
    pub(crate) dockerfile: FileId,
    pub(crate) graph: Graph,
    pub(crate) images: Vec<Image>,
    pub(crate) contexts: Contexts,
    pub(crate) warnings: Vec<Diagnostic>,
    /// Names that ENV sets, in any stage.
    pub(crate) environment: BTreeSet<String>,
    /// Vertices that are done again whatever is cached.
    pub(crate) uncached: BTreeSet<usize>,
}

pub(crate) fn plan(
    request: &BuildRequest,
    images: &dyn Images,
    lease: Option<&Lease>,
    (changing, stop): (&BTreeSet<Reference>, Option<&str>),
    sources: &mut SourceMap,
) -> Result<BuildPlan, Vec<Diagnostic>> {
    let mut warnings = Vec::new();
    // A folder that is not there is told before a Dockerfile that can't be in it.
    let contexts = open_contexts(request, sources, &mut warnings).map_err(|diagnostic| vec![*diagnostic])?;
    let file = read(request, sources).map_err(|diagnostic| vec![*diagnostic])?;
    let (dockerfile, found) = carrack_dockerfile::parse(file, sources.get(file));
    warnings.splice(0..0, found);
    if warnings.iter().any(Diagnostic::is_error) {
        return Err(warnings);
    }
    let mut options = lower_options(request);
    if let Some(text) = stop {
        let found = Breakpoint::find(text, &dockerfile, sources.get(file));
        options.breakpoint = Some(found.map_err(|diagnostic| vec![*diagnostic])?);
    }
    match lower_with_images(request, images, lease, changing, (&dockerfile, options)) {
        Ok((mut graph, images, options)) => {
            warnings.append(&mut graph.warnings);
            warnings.extend(findings(&dockerfile, sources, &options, &contexts));
            if warnings.iter().any(Diagnostic::is_error) {
                return Err(warnings);
            }
            // Labels of the request are the last word.
            graph.config.config.labels.extend(request.labels.clone());
            configure(&mut graph, request);
            let uncached = uncached(&graph, request, &dockerfile).map_err(|error| vec![*error])?;
            let environment = environment(&dockerfile);
            Ok(BuildPlan { dockerfile: file, graph, images, contexts, warnings, environment, uncached })
        }
        Err(errors) => Err(warnings.into_iter().chain(errors).collect()),
    }
}

/// What the request says of all steps.
fn configure(graph: &mut Graph, request: &BuildRequest) {
    let hostname = request.build_args.get("BUILDKIT_SANDBOX_HOSTNAME").filter(|name| !name.is_empty());
    for vertex in &mut graph.vertices {
        if let Op::Exec(exec) = &mut vertex.op {
            exec.settings.clone_from(&request.settings);
            exec.settings.hostname = hostname.cloned();
            if exec.network == Network::Default {
                exec.network = request.network;
            }
        }
    }
}

/// The steps of the stages that are built without the cache.
fn uncached(graph: &Graph, request: &BuildRequest, dockerfile: &Dockerfile) -> carrack_diag::Result<BTreeSet<usize>> {
    let mut uncached = BTreeSet::new();
    for wanted in &request.no_cache_stages {
        let named = |name: &Spanned<String>| name.value.eq_ignore_ascii_case(wanted);
        let by_name = dockerfile.stages.iter().position(|stage| stage.from.name.as_ref().is_some_and(named));
        let by_number = wanted.parse::<usize>().ok().filter(|number| *number < dockerfile.stages.len());
        let Some(stage) = by_name.or(by_number) else {
            let names = dockerfile.stages.iter().filter_map(|stage| stage.from.name.as_ref());
            let hint = match nearest(wanted, names.map(|name| name.value.as_str())) {
                Some(name) => format!("did you mean `{name}`?"),
                None => "give the name after AS of a FROM, or its number from 0".to_owned(),
            };
            let message = format!("there is no stage `{wanted}` to build without the cache");
            return Err(Diagnostic::error(&carrack_llb::codes::UNKNOWN_STAGE, message).hint(hint).boxed());
        };
        let begin = dockerfile.stages[stage].from.span;
        let end = dockerfile.stages.get(stage + 1).map_or(u32::MAX, |next| next.from.span.start);
        for (index, vertex) in graph.vertices.iter().enumerate() {
            let is_within = |span: &Span| span.file == begin.file && (begin.start..end).contains(&span.start);
            if vertex.origin.first().is_some_and(is_within) {
                uncached.insert(index);
            }
        }
    }
    Ok(uncached)
}

fn environment(dockerfile: &Dockerfile) -> BTreeSet<String> {
    let instructions = dockerfile.stages.iter().flat_map(|stage| &stage.instructions);
    let set = instructions.filter_map(|instruction| match &instruction.command {
        Command::Env(assignments) => Some(assignments.iter().map(|assignment| assignment.name.value.clone())),
        _ => None,
    });
    set.flatten().collect()
}

pub(crate) fn open_contexts(
    request: &BuildRequest,
    sources: &mut SourceMap,
    warnings: &mut Vec<Diagnostic>,
) -> carrack_diag::Result<Contexts> {
    let mut contexts = Contexts::default();
    let contents = |path: &Path| Contents::open(&request.store, &request.place(), path);
    if let Some(path) = &request.context {
        contexts.main =
            Some(Arc::new(Folder::open(None, path, &request.dockerfile, contents(path), sources, warnings)?));
    }
    let none = DockerfileSource::Text { name: String::new(), text: String::new() };
    for (name, context) in &request.contexts {
        if let NamedContext::Folder(path) = context {
            contexts.named.insert(
                name.clone(),
                Arc::new(Folder::open(Some(name), path, &none, contents(path), sources, warnings)?),
            );
        }
    }
    Ok(contexts)
}

pub(crate) fn read(request: &BuildRequest, sources: &mut SourceMap) -> carrack_diag::Result<FileId> {
    let read = |path: &Path| match &request.dockerfile {
        DockerfileSource::Inside(_) => {
            let folder = request.context.as_deref().unwrap_or(Path::new("/"));
            Tree::folder(folder).and_then(|tree| tree.bytes(path)?.ok_or(std::io::ErrorKind::NotFound.into()))
        }
        _ => small(std::fs::File::open(path)?),
    };
    let path = match &request.dockerfile {
        DockerfileSource::Text { name, text } => return Ok(sources.add(name.clone(), text.clone())),
        DockerfileSource::Path(path) | DockerfileSource::Inside(path) => path,
    };
    let lower_case = path.with_file_name("dockerfile");
    let (path, bytes) = match read(path) {
        // As in BuildKit.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path.ends_with("Dockerfile") => {
            match read(&lower_case) {
                Ok(bytes) => (&lower_case, Ok(bytes)),
                Err(_) => (path, Err(error)),
            }
        }
        other => (path, other),
    };
    let bytes = bytes.map_err(|error| {
        Diagnostic::error(&codes::UNREADABLE, format!("read the Dockerfile {}", path.display()))
            .cause(error.to_string())
            .hint("write it there, or name another one: with `--file`, in Compose with `dockerfile:`")
            .boxed()
    })?;
    Ok(sources.add(path.display().to_string(), String::from_utf8_lossy(&bytes)))
}

pub(crate) fn lower_options(request: &BuildRequest) -> LowerOptions {
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    LowerOptions {
        target: request.target.clone(),
        build_args: request.build_args.clone(),
        build_platform: Platform::host(),
        contexts: request.contexts.iter().map(|(name, context)| (name.clone(), lowered(context))).collect(),
        allows_insecure: request.allows_insecure,
        allows_host_network: request.allows_host_network || request.network == Network::Host,
        ..LowerOptions::new(platform)
    }
}

pub(crate) fn findings(
    dockerfile: &Dockerfile,
    sources: &SourceMap,
    options: &LowerOptions,
    contexts: &Contexts,
) -> Vec<Diagnostic> {
    let ignore = contexts.main.as_ref().map(|folder| &folder.ignore);
    check_file(&CheckInput { dockerfile, source: sources.get(dockerfile.file), options, ignore })
}

/// Lowers, finding base images in the store as they turn out to be needed.
fn lower_with_images(
    request: &BuildRequest,
    source: &dyn Images,
    lease: Option<&Lease>,
    changing: &BTreeSet<Reference>,
    (dockerfile, mut options): (&Dockerfile, LowerOptions),
) -> Result<(Graph, Vec<Image>, LowerOptions), Vec<Diagnostic>> {
    let mut images = Vec::new();
    loop {
        let needs = match lower(dockerfile, &options)? {
            Lowered::Graph(graph) => return Ok((*graph, images, options)),
            Lowered::Needs(needs) => needs,
        };
        let mut errors = Vec::new();
        for need in needs {
            if changing.contains(&need.reference) {
                let name = need.reference.familiar();
                errors.push(
                    Diagnostic::error(&codes::NOT_CACHED, format!("its base image {name} is built first"))
                        .at(need.span, "another image by then"),
                );
                continue;
            }
            match resolve(request, source, lease, &need) {
                Ok(image) => {
                    options.images.push(resolved(need, &image));
                    images.push(image);
                }
                Err(diagnostic) => errors.push(*diagnostic),
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
    }
}

pub(crate) fn resolve(
    request: &BuildRequest,
    source: &dyn Images,
    lease: Option<&Lease>,
    need: &ImageNeed,
) -> carrack_diag::Result<Image> {
    let store = &request.store;
    let name = need.reference.familiar();
    let found = || store.find_image_for(&need.reference.to_string(), &need.platform);
    let is_here = found()?.is_some_and(|image| image.config.platform().matches(&need.platform));
    let is_built = |context: &NamedContext| matches!(context, NamedContext::Built(name) if *name == need.reference);
    let is_built = request.contexts.values().any(is_built);
    // What a digest names is the same at any registry.
    let is_enough = is_built || is_here && (!request.pull || need.reference.digest().is_some());
    let fetched = if is_enough { Ok(true) } else { source.fetch(&need.reference, &need.platform) };
    let Some(image) = found()? else {
        let known: Vec<String> = store.names()?.keys().map(Reference::familiar).collect();
        let repository = need.reference.familiar_repository();
        let diagnostic = Diagnostic::error(&codes::IMAGE_NOT_FOUND, format!("there is no image `{name}`"))
            .at(need.span, "not in the store");
        let stage = nearest(&repository, need.stages.iter().map(String::as_str));
        let hint = match (stage, nearest(&name, known.iter().map(String::as_str))) {
            (Some(stage), _) => format!("did you mean the stage `{stage}`?"),
            (None, Some(image)) => format!("did you mean `{image}`?"),
            (None, None) => {
                format!("get it first: `carrack load`, or `carrack image bootstrap {name}`")
            }
        };
        let causes = fetched.err().map(|error| [vec![error.message], error.causes].concat()).unwrap_or_default();
        return Err(causes.into_iter().fold(diagnostic.hint(hint), Diagnostic::cause).boxed());
    };
    if let (Err(error), true) = (fetched, request.pull) {
        return Err(error.at(need.span, "asked for at its registry").boxed());
    }
    if let Some(lease) = lease {
        lease.add(&[image.id])?;
    }
    let found = image.config.platform();
    if !found.matches(&need.platform) {
        return Err(Diagnostic::error(
            &codes::WRONG_PLATFORM,
            format!("`{name}` is for {found}, and {} is wanted", need.platform),
        )
        .at(need.span, format!("for {found}"))
        .hint(format!("get it for {}, or build with --platform={found}", need.platform))
        .boxed());
    }
    Ok(image)
}

pub(crate) fn resolved(need: ImageNeed, image: &Image) -> ResolvedImage {
    ResolvedImage {
        reference: need.reference,
        platform: need.platform,
        manifest: image.manifest.digest,
        config: image.config.clone(),
    }
}

fn lowered(context: &NamedContext) -> carrack_llb::NamedContext {
    match context {
        NamedContext::Folder(_) => carrack_llb::NamedContext::Folder,
        NamedContext::Image(reference) | NamedContext::Built(reference) => {
            carrack_llb::NamedContext::Image(reference.clone())
        }
    }
}
