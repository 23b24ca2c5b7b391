//! The whole of a build: read, parse, lower, evaluate, write the image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use carrack_attestation::Material;
use carrack_diag::{Diagnostic, FileId, SourceMap, Span, Spanned, nearest};
use carrack_dockerfile::{Command, Dockerfile};
use carrack_llb::{
    Breakpoint, CheckInput, ExecSettings, Graph, ImageNeed, LowerOptions, Lowered, Network, Op, Outline, ResolvedImage,
    TargetOutline, check as check_file, lower,
};
use carrack_oci::{Digest, History, ImageConfig, Platform, Reference};
use carrack_specgen::container::Resources;
use carrack_store::{Image, Layer, Lease, NewImage, Store};

use crate::arrived::ArrivedContext;
use crate::attest::{self, Attestations, Made};
use crate::cache::Aliases;
use crate::cache::export::{CacheExport, CacheRegistry, Results};
use crate::cache::import::{CacheImport, lock};
use crate::codes;
use crate::contents::Contents;
use crate::context::{ContextReport, Contexts, Folder};
use crate::exec::Executor;
use crate::explain::{Explainer, StepExplanation};
use crate::export::{BuildOutput, export};
use crate::flight::Together;
use crate::progress::{Event, Progress, Silent};
use crate::report::{BuildReport, report};
use crate::schedule;
use crate::solve::{hand_on, solve, solve_with_caches};
use crate::tree::{Tree, small};
use crate::vertex::{Outcome, Solver};

/// Where a Dockerfile comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerfileSource {
    /// A file. An ignore file of its own may lie beside it.
    Path(PathBuf),
    /// A file of the context, which no link leads out of. An ignore file of its own may lie beside it.
    Inside(PathBuf),
    /// A text, such as standard input or `dockerfile_inline`.
    Text {
        /// What diagnostics call it.
        name: String,
        /// The whole of it.
        text: String,
    },
}

/// A context that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder.
    Folder(PathBuf),
    /// An image of the store, or of a registry.
    Image(Reference),
    /// An image of the store that no registry is asked for, such as what another build has made.
    Built(Reference),
}

/// What is to be built.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// Where images and cache are.
    pub store: Store,
    /// The folder that COPY copies from; none for a build without files.
    pub context: Option<PathBuf>,
    /// The instructions.
    pub dockerfile: DockerfileSource,
    /// Name or number of a stage; none is the last.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// What the image is for; none is this machine.
    pub platform: Option<Platform>,
    /// Names that the image takes over.
    pub tags: Vec<Reference>,
    /// Added to the image's labels.
    pub labels: BTreeMap<String, String>,
    /// Whether base images are asked for at their registries although they are here.
    pub pull: bool,
    /// Whether every step is done again. Its results are cached all the same.
    pub no_cache: bool,
    /// The builds that this one is done with: none of them repeats what another one has done.
    pub together: Together,
    /// Stages by name or number, of which every step is done again.
    pub no_cache_stages: Vec<String>,
    /// How steps are connected that do not say it themselves.
    pub network: Network,
    /// What holds for the programs of all steps.
    pub settings: ExecSettings,
    /// Limits of each step. No part of keys.
    pub resources: Resources,
    /// Of the image's manifest.
    pub annotations: BTreeMap<String, String>,
    /// What is left of the build; empty is an image of the store.
    pub outputs: Vec<BuildOutput>,
    /// Seconds since 1970 that no time in the image is later than (`SOURCE_DATE_EPOCH`).
    pub epoch: Option<i64>,
    /// Whether that holds for the times of files too.
    pub rewrite_times: bool,
    /// Contents by id.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// Sockets of SSH agents by id (`--ssh`).
    pub agents: BTreeMap<String, PathBuf>,
    /// What names after FROM and `--from` mean before they are stages or images (`--build-context`).
    pub contexts: BTreeMap<String, NamedContext>,
    /// Where contexts lie that have been fetched: they are there as long as this is.
    pub arrived: Vec<Arc<ArrivedContext>>,
    /// Whether a RUN may have every privilege (`--allow security.insecure`).
    pub allows_insecure: bool,
    /// Whether a RUN may have the host's network (`--allow network.host`) where `network` is another.
    pub allows_host_network: bool,
    /// Whether it is told of each step why it was not cached.
    pub explain: bool,
    /// Caches to take results from, beside this root's own.
    pub cache_from: Vec<CacheImport>,
    /// Caches to write.
    pub cache_to: Vec<CacheExport>,
    /// Whether the image carries what of the cache its layers are (`type=inline`).
    pub inline_cache: bool,
    /// Whether the result comes with a report.
    pub report: bool,
    /// Whether somebody gets a shell where a step fails, before the build ends.
    pub debug: bool,
    /// How many steps run at once (D3); 0 is as many as there are processors, and 16 at least.
    pub parallelism: usize,
    /// What is said of the image beside it.
    pub attestations: Attestations,
}

impl BuildRequest {
    /// The `Dockerfile` of a folder, with nothing asked for beside it.
    pub fn new(store: Store, context: &Path) -> Self {
        Self {
            store,
            context: Some(context.to_owned()),
            dockerfile: DockerfileSource::Path(context.join("Dockerfile")),
            target: None,
            build_args: BTreeMap::new(),
            platform: None,
            tags: Vec::new(),
            labels: BTreeMap::new(),
            pull: false,
            no_cache: false,
            together: Together::default(),
            no_cache_stages: Vec::new(),
            network: Network::Default,
            settings: ExecSettings::default(),
            resources: Resources::default(),
            annotations: BTreeMap::new(),
            outputs: Vec::new(),
            epoch: None,
            rewrite_times: false,
            secrets: BTreeMap::new(),
            agents: BTreeMap::new(),
            contexts: BTreeMap::new(),
            arrived: Vec::new(),
            allows_insecure: false,
            allows_host_network: false,
            explain: false,
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            inline_cache: false,
            report: false,
            debug: false,
            parallelism: 0,
            attestations: Attestations::default(),
        }
    }
}

/// Where base images come from that the store does not have.
pub trait Images: Sync {
    /// Brings an image into the store; whether there was any place to look for it.
    ///
    /// # Errors
    /// Why it could not be had.
    fn fetch(&self, reference: &Reference, platform: &Platform) -> carrack_diag::Result<bool>;

    /// The registries, for caches; none where there are none to be asked.
    ///
    /// # Errors
    /// Where their settings can't be read.
    fn registries(&self) -> carrack_diag::Result<Option<Box<dyn CacheRegistry + '_>>> {
        Ok(None)
    }
}

/// Only what is in the store.
#[derive(Debug, Clone, Copy, Default)]
pub struct StoreOnly;

impl Images for StoreOnly {
    fn fetch(&self, _reference: &Reference, _platform: &Platform) -> carrack_diag::Result<bool> {
        Ok(false)
    }
}

impl BuildRequest {
    /// Which Dockerfile and context this is, for telling builds of one apart from those of others.
    pub(crate) fn place(&self) -> Digest {
        let file = match &self.dockerfile {
            DockerfileSource::Path(path) | DockerfileSource::Inside(path) => path.display().to_string(),
            DockerfileSource::Text { name, .. } => name.clone(),
        };
        let context = self.context.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        Digest::of(format!("{context}\n{file}"))
    }
}

/// What a build makes use of.
#[derive(Clone, Copy)]
pub struct Services<'a> {
    /// Runs the programs of RUN.
    pub executor: &'a dyn Executor,
    /// Is told what happens.
    pub progress: &'a dyn Progress,
    /// Gets base images that the store does not have.
    pub images: &'a dyn Images,
    /// Set from outside (an interrupt), it ends the build and the programs that run; a failing step sets it too.
    pub cancel: &'a AtomicBool,
}

/// What a build made.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildResult {
    /// In the store, under its tags.
    pub image: Image,
    /// Steps that could be cached.
    pub steps: usize,
    /// How many of them were.
    pub cached_steps: usize,
    /// Of each step how it came by its result, where that was asked for.
    pub explanation: Vec<StepExplanation>,
    /// How much of the context was used.
    pub context: ContextReport,
    /// Where its time and its bytes went, where that was asked for.
    pub report: Option<BuildReport>,
    /// What stood in the way of nothing.
    pub warnings: Vec<Diagnostic>,
}

/// Builds an image. The same request on the same files gives the same image as long as its steps are cached.
///
/// Spans of diagnostics, also those of the result's warnings, point into texts that are added to `sources`.
///
/// # Errors
/// Everything that is wrong with the Dockerfile at once; of failing steps the first.
pub fn build(
    request: &BuildRequest,
    services: Services<'_>,
    sources: &mut SourceMap,
) -> Result<BuildResult, Vec<Diagnostic>> {
    let began = jiff::Timestamp::now();
    let lease = request.store.lease().map_err(|diagnostic| vec![*diagnostic])?;
    let mut plan = plan(request, services.images, Some(&lease), (&BTreeSet::new(), None), sources)?;
    let names = plan.graph.vertices.iter().map(|vertex| vertex.name.as_str()).collect();
    services.progress.event(Event::Planned { names });
    let contexts = std::mem::take(&mut plan.contexts);
    let mut solver = Solver::new(request, services, Some(&lease), &plan, contexts);
    if request.explain {
        solver.explainer = Some(explainer(request, &plan)?);
    }
    let outcomes = solve_with_caches(&solver, request.parallelism);
    solver.save_contents();
    let outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(errors) => {
            let failed = *lock(&solver.failed);
            let vertex = failed.filter(|_| request.debug).map(|id| solver.graph.vertex(id));
            let copied = vertex.filter(|vertex| matches!(vertex.op, Op::File(_)));
            if let Some(origin) = copied.and_then(|vertex| vertex.origin.first()) {
                let at = format!("before:{}", sources.position(*origin).line);
                // The failure has set it.
                services.cancel.store(false, Ordering::SeqCst);
                // What counts is why the step failed.
                let _ = debug(request, &at, services, sources);
            }
            return Err(errors);
        }
    };
    let explanation = explanation(&solver, |index| outcomes[index].is_cached);
    let report = request.report.then(|| report(&solver, &request.store, &outcomes)).transpose();
    let report = report.map_err(|diagnostic| vec![*diagnostic])?;
    let context = lock(&solver.usage).report();
    services.progress.event(Event::Context { entries: context.entries, size_bytes: context.size_bytes });
    let materials = std::mem::take(&mut *lock(&solver.materials));
    let written = write(request, &lease, &plan, (&outcomes, &materials, began), sources);
    let (image, missing) = written.map_err(|diagnostic| vec![*diagnostic])?;
    services.progress.event(Event::Image { id: image.id });
    let mut warnings = hand_on(request, &lease, services, &solver, &outcomes)?;
    warnings.splice(0..0, lock(&solver.imports.warnings).drain(..));
    warnings.splice(0..0, lock(&solver.warnings).drain(..));
    let steps: Vec<_> = outcomes.iter().filter(|outcome| outcome.record.is_some()).collect();
    let cached_steps = steps.iter().filter(|outcome| outcome.is_cached).count();
    warnings.splice(0..0, plan.warnings);
    warnings.extend(missing);
    Ok(BuildResult { image, steps: steps.len(), cached_steps, explanation, context, report, warnings })
}

/// Builds up to a step and opens a shell before or after it ([`carrack_llb::Breakpoint::find`] reads `at`), with what an
/// instruction there has. Gives the shell's exit status. What the steps before have made is cached as in a build; what the
/// shell does is thrown away.
///
/// # Errors
/// As [`build`], for the steps before; where there is no such step, and where there is no shell.
pub fn debug(
    request: &BuildRequest,
    at: &str,
    services: Services<'_>,
    sources: &mut SourceMap,
) -> Result<i32, Vec<Diagnostic>> {
    let lease = request.store.lease().map_err(|diagnostic| vec![*diagnostic])?;
    let mut plan = plan(request, services.images, Some(&lease), (&BTreeSet::new(), Some(at)), sources)?;
    let names = plan.graph.vertices.iter().map(|vertex| vertex.name.as_str()).collect();
    services.progress.event(Event::Planned { names });
    let contexts = std::mem::take(&mut plan.contexts);
    let mut solver = Solver::new(request, services, Some(&lease), &plan, contexts);
    solver.stops_at = Some(plan.graph.output);
    let ended = solve_with_caches(&solver, request.parallelism);
    solver.save_contents();
    ended?;
    Ok(lock(&solver.shell_status).take().unwrap_or_default())
}

/// What [`build`] would come to.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// Every step is cached: this image would be put together.
    Image {
        /// The digest of its configuration.
        id: Digest,
        /// What it says of itself.
        config: Box<ImageConfig>,
    },
    /// Something has to be done first, and what comes of it is not known before. The message says what.
    Unknown(Box<Diagnostic>),
}

/// What [`build`] would come to. Writes nothing (I-5), so the store may be open for looking only. Names of `changing` will
/// stand for other images by then.
///
/// # Errors
/// As [`build`], but for what only a running step can meet.
pub fn predict(
    request: &BuildRequest,
    changing: &BTreeSet<Reference>,
    sources: &mut SourceMap,
) -> Result<Prediction, Vec<Diagnostic>> {
    let unknown = |mut errors: Vec<Diagnostic>| {
        for error in errors.iter_mut().filter(|error| error.code == &codes::IMAGE_NOT_FOUND) {
            // Whether a registry has it is known when it is asked for.
            let message = std::mem::take(&mut error.message);
            *error = Diagnostic::error(&codes::NOT_CACHED, format!("{message} here yet"));
        }
        let mut problems = errors.iter().filter(|error| error.is_error());
        match (problems.next(), problems.all(|error| error.code == &codes::NOT_CACHED)) {
            (Some(first), true) if first.code == &codes::NOT_CACHED => Ok(Prediction::Unknown(first.clone().boxed())),
            _ => Err(errors),
        }
    };
    let mut plan = match plan(request, &StoreOnly, None, (changing, None), sources) {
        Ok(plan) => plan,
        Err(errors) => return unknown(errors),
    };
    let cancel = AtomicBool::new(false);
    let services = Services { executor: &Nothing, progress: &Silent, images: &StoreOnly, cancel: &cancel };
    let contexts = std::mem::take(&mut plan.contexts);
    let solver = Solver::new(request, services, None, &plan, contexts);
    // One at a time, so that of several steps that are not cached it is always the same that is named.
    let outcomes = match solve(&solver, 1) {
        Ok(outcomes) => outcomes,
        Err(errors) => return unknown(errors),
    };
    let layers = made(&plan.graph, &outcomes);
    let inline = || Results { outcomes: &outcomes, layers: &layers, aliases: Aliases::new() }.inline();
    let inline = if request.inline_cache { inline() } else { None };
    let (bytes, config) =
        configuration(&plan.graph, &outcomes, &layers, (request.epoch, inline)).map_err(|error| vec![*error])?;
    Ok(Prediction::Image { id: Digest::of(bytes), config: Box::new(config) })
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

/// Of each step that [`build`] would take whether it is cached, and why not. Writes nothing (I-5).
///
/// # Errors
/// As [`build`], but for what only a running step can meet.
pub fn explain(request: &BuildRequest, sources: &mut SourceMap) -> Result<Vec<StepExplanation>, Vec<Diagnostic>> {
    let mut plan = plan(request, &StoreOnly, None, (&BTreeSet::new(), None), sources)?;
    let cancel = AtomicBool::new(false);
    let services = Services { executor: &Nothing, progress: &Silent, images: &StoreOnly, cancel: &cancel };
    let contexts = std::mem::take(&mut plan.contexts);
    let mut solver = Solver::new(request, services, None, &plan, contexts);
    solver.explainer = Some(explainer(request, &plan)?);
    let outcomes = schedule::run(&solver.graph.vertices, 1, &cancel, |id, inputs: &[Arc<Option<Arc<Outcome>>>]| {
        let known: Option<Vec<Arc<Outcome>>> = inputs.iter().map(|input| input.as_ref().clone()).collect();
        let Some(known) = known else {
            solver.missed_after(id, inputs)?;
            return Ok(None);
        };
        match solver.evaluate(id, &known) {
            Ok(outcome) => Ok(Some(Arc::new(outcome))),
            Err(diagnostic) if diagnostic.code == &codes::NOT_CACHED => Ok(None),
            Err(diagnostic) => Err(diagnostic),
        }
    })?;
    let outcomes = outcomes.unwrap_or_default();
    Ok(explanation(&solver, |index| outcomes[index].is_some()))
}

fn explainer(request: &BuildRequest, plan: &BuildPlan) -> Result<Explainer, Vec<Diagnostic>> {
    let explainer = Explainer::new(&request.store, request.place(), plan.environment.clone());
    explainer.map_err(|diagnostic| vec![*diagnostic])
}

fn explanation(solver: &Solver<'_>, is_cached: impl Fn(usize) -> bool) -> Vec<StepExplanation> {
    let Some(explainer) = &solver.explainer else { return Vec::new() };
    let vertices = solver.graph.vertices.iter().enumerate();
    let steps = vertices.filter(|(_, vertex)| matches!(vertex.op, Op::Exec(_) | Op::File(_)));
    let explained = steps.map(|(index, vertex)| {
        let is_cached = is_cached(index);
        let reasons = if is_cached { Vec::new() } else { explainer.reasons(index) };
        StepExplanation { name: vertex.name.clone(), is_cached, reasons }
    });
    explained.collect()
}

/// Runs nothing: a prediction ends before.
struct Nothing;

impl Executor for Nothing {
    fn run(&self, _request: &crate::exec::ExecRequest<'_>) -> carrack_diag::Result<crate::exec::Ended> {
        Err(Diagnostic::error(&codes::NOT_CACHED, "a step of the build is not cached").boxed())
    }
}

/// Everything that is known before a step runs.
pub(crate) struct BuildPlan {
    pub(crate) dockerfile: FileId,
    pub(crate) graph: Graph,
    pub(crate) images: Vec<Image>,
    contexts: Contexts,
    warnings: Vec<Diagnostic>,
    /// Names that ENV sets, in any stage.
    environment: BTreeSet<String>,
    /// Vertices that are done again whatever is cached.
    pub(crate) uncached: BTreeSet<usize>,
}

fn plan(
    request: &BuildRequest,
    images: &dyn Images,
    lease: Option<&Lease>,
    (changing, stop): (&BTreeSet<Reference>, Option<&str>),
    sources: &mut SourceMap,
) -> Result<BuildPlan, Vec<Diagnostic>> {
    let file = read(request, sources).map_err(|diagnostic| vec![*diagnostic])?;
    let (dockerfile, mut warnings) = carrack_dockerfile::parse(file, sources.get(file));
    let contexts = open_contexts(request, sources, &mut warnings).map_err(|diagnostic| vec![*diagnostic])?;
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

fn open_contexts(
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

fn read(request: &BuildRequest, sources: &mut SourceMap) -> carrack_diag::Result<FileId> {
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

fn lower_options(request: &BuildRequest) -> LowerOptions {
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

fn findings(
    dockerfile: &Dockerfile,
    sources: &SourceMap,
    options: &LowerOptions,
    contexts: &Contexts,
) -> Vec<Diagnostic> {
    let ignore = contexts.main.as_ref().map(|folder| &folder.ignore);
    check_file(&CheckInput { dockerfile, source: sources.get(dockerfile.file), options, ignore })
}

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

fn resolved(need: ImageNeed, image: &Image) -> ResolvedImage {
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

fn resolve(
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

fn write(
    request: &BuildRequest,
    lease: &Lease,
    plan: &BuildPlan,
    (outcomes, materials, began): (&[Arc<Outcome>], &BTreeSet<Material>, jiff::Timestamp),
    sources: &SourceMap,
) -> carrack_diag::Result<(Image, Vec<Diagnostic>)> {
    let mut layers = made(&plan.graph, outcomes);
    let shows_files = |output: &BuildOutput| matches!(output, BuildOutput::Tar(_) | BuildOutput::Folder(_));
    if let Some(epoch) = request.epoch
        && (request.rewrite_times || request.outputs.iter().any(shows_files))
    {
        // What came with a base image is as it is everywhere.
        let foreign: BTreeSet<Digest> =
            plan.images.iter().flat_map(|image| &image.layers).map(|layer| layer.chain).collect();
        let mut parent: Option<Digest> = None;
        for layer in &mut layers {
            if !foreign.contains(&layer.chain) {
                *layer = request.store.clamp_times(lease, parent.as_ref(), layer, epoch)?;
            }
            parent = Some(layer.chain);
        }
    }
    let inline = || Results { outcomes, layers: &layers, aliases: Aliases::new() }.inline();
    let inline = if request.inline_cache { inline() } else { None };
    let (config, parsed) = configuration(&plan.graph, outcomes, &layers, (request.epoch, inline))?;
    let made = Made { config: (&config, &parsed), layers: &layers, outcomes, materials, began };
    let (predicates, missing) = attest::predicates(request, lease, plan, &made, sources)?;
    let (names, annotations) = (request.tags.clone(), request.annotations.clone());
    let new = NewImage { layers, names, annotations, predicates, ..NewImage::default() };
    Ok((export(&request.store, lease, &request.outputs, (&config, new))?, missing))
}

/// The layers of the result.
pub(crate) fn made(graph: &Graph, outcomes: &[Arc<Outcome>]) -> Vec<Layer> {
    outcomes.get(graph.output.0).map(|output| output.layers.clone()).unwrap_or_default()
}

/// Puts layers, history and configuration together.
///
/// Times come from when the layers were made: an image of cached steps only is the same image as before. An entry without
/// a layer takes the time of the layer before it.
fn configuration(
    graph: &Graph,
    outcomes: &[Arc<Outcome>],
    layers: &[Layer],
    (epoch, inline): (Option<i64>, Option<String>),
) -> carrack_diag::Result<(Vec<u8>, ImageConfig)> {
    // A base image's own would be of other layers.
    let mut config = ImageConfig { cache: inline, ..graph.config.clone() };
    let mut created = config.created.clone();
    for step in &graph.history {
        let mut entry = step.entry.clone();
        if let Some(record) = step.vertex.and_then(|vertex| outcomes.get(vertex.0)?.record.as_ref()) {
            entry.empty_layer = record.layer.is_none();
            if record.layer.is_some() {
                created = Some(record.created.clone());
            }
        }
        match &entry.created {
            Some(time) => created = Some(time.clone()),
            None => entry.created.clone_from(&created),
        }
        config.history.push(entry);
    }
    // A base image may tell less of its layers than it has; entries and layers are counted against each other by readers.
    let told = config.history.iter().filter(|entry| !entry.empty_layer).count();
    let untold = layers.len().saturating_sub(told);
    config.history.splice(0..0, std::iter::repeat_n(History::default(), untold));
    config.created = created;
    if let Some(epoch) = epoch.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
        let is_later = |time: &Option<String>| {
            time.as_ref().and_then(|time| time.parse().ok()).is_none_or(|time: jiff::Timestamp| time > epoch)
        };
        config.history.iter_mut().filter(|entry| is_later(&entry.created)).for_each(|entry| {
            entry.created = Some(epoch.to_string());
        });
        config.created = Some(epoch.to_string());
    }
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    let bytes = serde_json::to_vec(&config).map_err(|error| {
        Diagnostic::error(&codes::STEP_FAILED, "write the image's configuration").cause(error.to_string()).boxed()
    })?;
    Ok((bytes, config))
}

impl BuildResult {
    /// The image's id.
    pub fn image_id(&self) -> Digest {
        self.image.id
    }
}
