//! From a Dockerfile to a [`Graph`].

mod config;
mod copy;
mod run;
mod scope;
mod size;
mod stage;

use std::collections::{BTreeMap, BTreeSet};

use carrack_diag::{Diagnostic, Span, nearest};
use carrack_dockerfile::ast::{Command, Dockerfile, Instruction};
use carrack_oci::{Digest, ImageConfig, Platform, Reference};

use crate::breakpoint::Breakpoint;
use crate::codes;
use crate::graph::{Edge, Graph, HistoryStep, Op, Source, Vertex, VertexId};
use scope::Scope;
use stage::Stage;

/// What is wanted of a Dockerfile.
#[derive(Debug, Clone)]
pub struct LowerOptions {
    /// Name or number of a stage; none is the last.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// Where steps run.
    pub build_platform: Platform,
    /// What the image is for.
    pub target_platform: Platform,
    /// The images asked for by an earlier [`Lowered::Needs`].
    pub images: Vec<ResolvedImage>,
    /// `--build-context`: what a name after FROM and `--from` means before it is a stage or image. In lower case.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Whether a RUN may ask for every privilege (`--allow security.insecure`).
    pub allows_insecure: bool,
    /// Whether a RUN may ask for the host's network (`--allow network.host`).
    pub allows_host_network: bool,
    /// Where to stop: then the output is no image but a shell there, an `Exec` with what an instruction there would have.
    pub breakpoint: Option<Breakpoint>,
}

/// What a named context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamedContext {
    /// A folder, which whoever evaluates the graph knows by the name.
    Folder,
    /// An image.
    Image(Reference),
}

impl LowerOptions {
    /// The last stage, for this platform.
    pub fn new(platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            build_platform: platform.clone(),
            target_platform: platform,
            images: Vec::new(),
            contexts: BTreeMap::new(),
            allows_insecure: false,
            allows_host_network: false,
            breakpoint: None,
        }
    }
}

/// An image that must be known before the file can be lowered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageNeed {
    /// Its name.
    pub reference: Reference,
    /// What it is to be for.
    pub platform: Platform,
    /// Where it is asked for.
    pub span: Span,
    /// The stage names that were visible there, for the hint where no image is found.
    pub stages: Vec<String>,
}

/// An image and what it says of itself.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// As in the need.
    pub reference: Reference,
    /// As in the need.
    pub platform: Platform,
    /// Of its manifest.
    pub manifest: Digest,
    /// Its configuration.
    pub config: ImageConfig,
}

/// The outcome of [`lower`].
#[derive(Debug, Clone)]
pub enum Lowered {
    /// Done.
    Graph(Box<Graph>),
    /// These images must be resolved first; call again with all of them.
    Needs(Vec<ImageNeed>),
}

/// Lowers the target of a file that was parsed without errors. Only what the target needs is in the graph.
pub fn lower(dockerfile: &Dockerfile, options: &LowerOptions) -> Result<Lowered, Vec<Diagnostic>> {
    let mut lowering = Lowering::new(dockerfile, options);
    let target = match &options.breakpoint {
        Some(breakpoint) => breakpoint.stage,
        None => lowering.target().map_err(|diagnostic| vec![*diagnostic])?,
    };
    let mut needed = BTreeSet::from([target]);
    // A base image's triggers may name stages that were not needed so far; then everything is done again with them.
    loop {
        lowering.reset();
        lowering.find_needed(&mut needed);
        if lowering.has_errors() {
            return Err(lowering.diagnostics);
        }
        if !lowering.needs.is_empty() {
            return Ok(Lowered::Needs(lowering.needs));
        }
        let before = needed.len();
        for index in needed.clone() {
            if lowering.is_too_large() {
                break;
            }
            let stage = lowering.stage(index);
            lowering.stages.insert(index, stage);
            needed.append(&mut lowering.late);
        }
        if !lowering.needs.is_empty() && !lowering.has_errors() {
            return Ok(Lowered::Needs(lowering.needs));
        }
        if lowering.has_errors() || needed.len() == before {
            break;
        }
    }
    if options.breakpoint.is_none() {
        lowering.unused_arguments();
    }
    lowering.finish(target)
}

/// The target's number, and the stages that it is made of, itself included.
pub(crate) fn needed(
    dockerfile: &Dockerfile,
    options: &LowerOptions,
) -> Result<(usize, BTreeSet<usize>), Vec<Diagnostic>> {
    let mut lowering = Lowering::new(dockerfile, options);
    let target = lowering.target().map_err(|diagnostic| vec![*diagnostic])?;
    let mut needed = BTreeSet::from([target]);
    lowering.reset();
    lowering.find_needed(&mut needed);
    if lowering.has_errors() { Err(lowering.diagnostics) } else { Ok((target, needed)) }
}

/// What is known before the first FROM.
pub(crate) fn globals(dockerfile: &Dockerfile, options: &LowerOptions) -> Vec<(String, Option<String>)> {
    let mut lowering = Lowering::new(dockerfile, options);
    lowering.reset();
    lowering.globals.arguments
}

/// The work in progress.
struct Lowering<'a> {
    file: &'a Dockerfile,
    options: &'a LowerOptions,
    globals: Scope,
    stages: BTreeMap<usize, Stage>,
    vertices: Vec<Vertex>,
    needs: Vec<ImageNeed>,
    /// Stages that turned out to be needed while another was lowered.
    late: BTreeSet<usize>,
    used_arguments: BTreeSet<String>,
    /// Of everything above, roughly.
    size_bytes: usize,
    diagnostics: Vec<Diagnostic>,
}

/// What a name after FROM or --from means.
enum Base {
    Scratch,
    Stage(usize),
    Image(Reference),
    /// A named context that is a folder.
    Folder(String),
}

impl<'a> Lowering<'a> {
    fn new(file: &'a Dockerfile, options: &'a LowerOptions) -> Self {
        Self {
            file,
            options,
            globals: Scope::default(),
            stages: BTreeMap::new(),
            vertices: Vec::new(),
            needs: Vec::new(),
            late: BTreeSet::new(),
            used_arguments: BTreeSet::new(),
            size_bytes: 0,
            diagnostics: Vec::new(),
        }
    }

    fn reset(&mut self) {
        *self = Self::new(self.file, self.options);
        self.foreign_syntax();
        self.globals = self.global_scope();
    }

    fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }

    fn target(&self) -> carrack_diag::Result<usize> {
        let count = self.file.stages.len();
        let Some(name) = &self.options.target else {
            return count.checked_sub(1).ok_or_else(|| {
                Diagnostic::error(&codes::UNKNOWN_STAGE, "the Dockerfile has no stage to build").boxed()
            });
        };
        self.file.stage(name, count).ok_or_else(|| {
            let names = self.stage_names(count);
            let mut diagnostic = Diagnostic::error(
                &codes::UNKNOWN_STAGE,
                format!("the target `{name}` is not a stage of the Dockerfile"),
            );
            if let Some(stage) = self.file.stages.last() {
                diagnostic = diagnostic.at(stage.from.span, "the last stage");
            }
            diagnostic.hint(suggestion(name, &names)).boxed()
        })
    }

    fn stage_names(&self, limit: usize) -> Vec<String> {
        let stages = self.file.stages.iter().take(limit);
        stages.filter_map(|stage| stage.from.name.as_ref()).map(|name| name.value.clone()).collect()
    }

    /// A frontend of another language is not the Dockerfile language, however alike the file looks.
    fn foreign_syntax(&mut self) {
        // The argument stands for the directive. By this name BuildKit's own frontend asks for itself.
        let given = self.options.build_args.get("BUILDKIT_SYNTAX");
        let written = self.file.directives.syntax.as_ref();
        let Some(syntax) = given.or(written.map(|word| &word.value)).filter(|name| *name != "dockerfile.v0") else {
            return;
        };
        let repository = syntax.split(['@', ' ']).next().unwrap_or_default();
        let repository =
            repository.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(repository, |(name, _)| name);
        let is_ours = ["docker/dockerfile", "docker/dockerfile-upstream"]
            .into_iter()
            .any(|known| repository == known || repository.ends_with(&format!("/{known}")));
        if !is_ours {
            let mut diagnostic =
                Diagnostic::error(&codes::FOREIGN_SYNTAX, format!("`{syntax}` is not the Dockerfile frontend"));
            if let (None, Some(word)) = (given, written) {
                diagnostic = diagnostic.at(word.span, "another frontend");
            }
            self.diagnostics.push(diagnostic.hint("remove the line if the file is a plain Dockerfile"));
        }
    }

    /// ARG before the first FROM, above what the builder defines.
    fn global_scope(&mut self) -> Scope {
        let mut scope = Scope::new(self.file.directives.escape);
        let target_stage = self.options.target.clone().unwrap_or_else(|| "default".into());
        for (prefix, platform) in [("BUILD", &self.options.build_platform), ("TARGET", &self.options.target_platform)] {
            for (suffix, value) in [
                ("PLATFORM", platform.to_string()),
                ("OS", platform.os.clone()),
                ("ARCH", platform.architecture.clone()),
                ("VARIANT", platform.variant.clone().unwrap_or_default()),
            ] {
                self.predefine(&mut scope, format!("{prefix}{suffix}"), value);
            }
        }
        self.predefine(&mut scope, "TARGETSTAGE".into(), target_stage);
        for instruction in &self.file.global_args {
            let Command::Arg(arguments) = &instruction.command else { continue };
            for argument in arguments {
                let name = argument.name.value.clone();
                let given = self.options.build_args.get(&name).cloned();
                let value = match (given, &argument.default) {
                    (Some(given), _) => Some(given),
                    (None, Some(default)) => scope.word(default, &mut self.diagnostics),
                    (None, None) => None,
                };
                self.used_arguments.insert(name.clone());
                self.grow(value.as_ref().map_or(0, String::len), argument.name.span);
                if self.is_too_large() {
                    return scope;
                }
                // Without a value, a name that the builder defines keeps that.
                if value.is_some() || !scope.has(&name) {
                    scope.define(&name, value);
                }
            }
        }
        scope
    }

    /// What the builder knows, unless the caller says otherwise.
    fn predefine(&mut self, scope: &mut Scope, name: String, value: String) {
        let given = self.options.build_args.get(&name).cloned();
        scope.define(&name, Some(given.unwrap_or(value)));
        self.used_arguments.insert(name);
    }

    /// Grows the set by what its members build on and copy from, and notes the images that are not known yet.
    fn find_needed(&mut self, needed: &mut BTreeSet<usize>) {
        let mut open: Vec<usize> = needed.iter().copied().collect();
        while let Some(index) = open.pop() {
            let file = self.file;
            let stage = &file.stages[index];
            let mut found = Vec::new();
            if let Some((base, platform)) = self.base(index) {
                found.extend(self.require(base, platform, stage.from.image.span, index));
            }
            for instruction in &stage.instructions {
                for word in stages_named(instruction) {
                    if let Some(base) = self.from(&word.value, word.span, index) {
                        found.extend(self.require(base, self.options.target_platform.clone(), word.span, index));
                    }
                }
            }
            open.extend(found.into_iter().filter(|stage| needed.insert(*stage)));
        }
    }

    /// The stage that is needed, or notes the image.
    fn require(&mut self, base: Base, platform: Platform, span: Span, index: usize) -> Option<usize> {
        match base {
            Base::Stage(stage) => return Some(stage),
            Base::Image(reference) if self.image(&reference, &platform).is_none() => {
                let is_noted = self.needs.iter().any(|need| need.reference == reference && need.platform == platform);
                if !is_noted {
                    let stages = self.stage_names(index);
                    self.needs.push(ImageNeed { reference, platform, span, stages });
                }
            }
            Base::Image(_) | Base::Scratch | Base::Folder(_) => {}
        }
        None
    }

    fn image(&self, reference: &Reference, platform: &Platform) -> Option<&'a ResolvedImage> {
        self.options.images.iter().find(|image| image.reference == *reference && image.platform == *platform)
    }

    /// What the FROM of a stage means, and for which platform.
    fn base(&mut self, index: usize) -> Option<(Base, Platform)> {
        let from = &self.file.stages[index].from;
        let name = self.globals.word(&from.image, &mut self.diagnostics)?;
        if name.is_empty() {
            self.diagnostics.push(
                Diagnostic::error(&codes::EMPTY_BASE, "the base image's name is empty")
                    .at(from.image.span, "expands to nothing")
                    .hint("give the ARG before the first FROM a default, or pass --build-arg"),
            );
            return None;
        }
        let platform = match from.platform.as_ref().filter(|word| !word.value.is_empty()) {
            None => self.options.target_platform.clone(),
            Some(word) => match self.globals.word(word, &mut self.diagnostics)?.parse::<Platform>() {
                Ok(platform) => platform,
                Err(diagnostic) => {
                    self.diagnostics.push(diagnostic.at(word.span, "malformed platform"));
                    return None;
                }
            },
        };
        let base = if name == "scratch" && self.named_context(&name).is_none() {
            Base::Scratch
        } else {
            self.name(&name, from.image.span, index, false)?
        };
        Some((base, platform))
    }

    /// What `--from=NAME` in the stage `index` means.
    fn from(&mut self, name: &str, span: Span, index: usize) -> Option<Base> {
        self.name(name, span, index, true)
    }

    fn name(&mut self, name: &str, span: Span, index: usize, numbers: bool) -> Option<Base> {
        if let Some(base) = self.named_context(name) {
            return Some(base);
        }
        let is_number = name.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(stage) = self.file.stage(name, index).filter(|_| numbers || !is_number) {
            return Some(Base::Stage(stage));
        }
        if numbers && is_number {
            self.diagnostics.push(
                Diagnostic::error(&codes::UNKNOWN_STAGE, format!("there is no stage {name} before this one"))
                    .at(span, "no such stage")
                    .hint(format!("stages are counted from 0; {index} stand before this one")),
            );
            return None;
        }
        let own_or_later = self.file.stage(name, self.file.stages.len()).is_some();
        if own_or_later && numbers {
            self.diagnostics.push(
                Diagnostic::error(&codes::UNKNOWN_STAGE, format!("the stage `{name}` does not stand before this one"))
                    .at(span, "not yet built here")
                    .hint("move the stage up: a stage can only use those above it"),
            );
            return None;
        }
        match name.parse::<Reference>() {
            Ok(reference) => Some(Base::Image(reference)),
            Err(diagnostic) if numbers && name.contains('$') => {
                let diagnostic = diagnostic.at(span, "variables are not expanded here");
                let hint = "name the image in a FROM with AS, with an ARG before the first FROM, and take that stage";
                self.diagnostics.push(diagnostic.hint(hint));
                None
            }
            Err(diagnostic) => {
                let diagnostic = diagnostic.at(span, "neither a stage nor an image");
                self.diagnostics.push(diagnostic);
                None
            }
        }
    }

    /// A context given for a name, or for the image that the name stands for, with or without its defaults.
    fn named_context(&self, name: &str) -> Option<Base> {
        let contexts = &self.options.contexts;
        let full = || contexts.get(&name.parse::<Reference>().ok()?.familiar());
        let lower = name.to_lowercase();
        let (known, context) = contexts.get_key_value(&lower).map_or_else(
            || {
                full().map(|context| {
                    (name.parse::<Reference>().map_or_else(|_| lower.clone(), |name| name.familiar()), context)
                })
            },
            |(name, context)| Some((name.clone(), context)),
        )?;
        Some(match context {
            NamedContext::Folder => Base::Folder(known),
            NamedContext::Image(reference) => Base::Image(reference.clone()),
        })
    }

    fn folder(&mut self, name: String, origin: Span) -> VertexId {
        let shown = format!("[context {name}]");
        self.source(Source::Context(Some(name)), shown, origin)
    }

    fn add(&mut self, vertex: Vertex) -> VertexId {
        // One image or context is one vertex, however often it is used.
        let is_source = matches!(vertex.op, Op::Source(_));
        if let Some(index) = self.vertices.iter().position(|other| is_source && other.op == vertex.op) {
            self.vertices[index].origin.extend(vertex.origin);
            return VertexId(index);
        }
        self.vertices.push(vertex);
        VertexId(self.vertices.len() - 1)
    }

    fn source(&mut self, source: Source, name: String, origin: Span) -> VertexId {
        self.add(Vertex { op: Op::Source(source), inputs: Vec::new(), origin: vec![origin], name })
    }

    /// The vertex whose files `--from=NAME` (none: the context) means.
    fn files(&mut self, from: Option<(&str, Span)>, origin: Span, index: usize) -> Option<Edge> {
        let Some((name, span)) = from else {
            return Some(Edge {
                vertex: self.source(Source::Context(None), "[internal] build context".into(), origin),
            });
        };
        let vertex = match self.from(name, span, index)? {
            Base::Scratch => self.source(Source::Scratch, "scratch".into(), span),
            Base::Folder(name) => self.folder(name, span),
            Base::Image(reference) => {
                let platform = self.options.target_platform.clone();
                self.image_vertex(&reference, &platform, span, index)?.0
            }
            Base::Stage(stage) => match self.stages.get(&stage) {
                Some(stage) => stage.vertex,
                None => {
                    self.late.insert(stage);
                    return None;
                }
            },
        };
        Some(Edge { vertex })
    }

    fn image_vertex(
        &mut self,
        reference: &Reference,
        platform: &Platform,
        span: Span,
        index: usize,
    ) -> Option<(VertexId, &'a ImageConfig)> {
        let Some(image) = self.image(reference, platform) else {
            self.require(Base::Image(reference.clone()), platform.clone(), span, index);
            return None;
        };
        let source = Source::Image {
            reference: reference.to_string(),
            manifest: image.manifest,
            platform: platform.clone(),
            diff_ids: image.config.rootfs.diff_ids.clone(),
        };
        let vertex = self.source(source, format!("FROM {}", reference.familiar()), span);
        Some((vertex, &image.config))
    }

    fn unused_arguments(&mut self) {
        for name in self.options.build_args.keys() {
            if !self.used_arguments.contains(name) && !scope::is_predefined(name) {
                let known = self.used_arguments.iter().map(String::as_str);
                let hint = match nearest(name, known) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => "declare it with ARG in the stage that uses it".to_owned(),
                };
                self.diagnostics.push(
                    Diagnostic::warning(&codes::UNUSED_ARGUMENT, format!("the build argument `{name}` is not used"))
                        .hint(hint),
                );
            }
        }
    }

    fn finish(mut self, target: usize) -> Result<Lowered, Vec<Diagnostic>> {
        let stage = self.stages.remove(&target).filter(|_| !self.diagnostics.iter().any(Diagnostic::is_error));
        let Some(stage) = stage else { return Err(self.diagnostics) };
        let mut parts = vec![stage.history];
        let mut base = stage.base;
        while let Some(below) = base.and_then(|index| self.stages.remove(&index)) {
            parts.push(below.history);
            base = below.base;
        }
        let history: Vec<HistoryStep> = parts.into_iter().rev().flatten().collect();
        let mut config = stage.image;
        config.history.clear();
        config.rootfs.diff_ids.clear();
        let (vertices, output, history) = reachable(self.vertices, stage.vertex, history);
        Ok(Lowered::Graph(Box::new(Graph { vertices, output, config, history, warnings: self.diagnostics })))
    }
}

/// The words after `--from` of an instruction.
fn stages_named(instruction: &Instruction) -> Vec<&carrack_dockerfile::ast::Word> {
    let mut words: Vec<_> = match &instruction.command {
        Command::Copy(copy) | Command::Add(copy) => copy.from.iter().collect(),
        Command::Run(run) => run.mounts.iter().filter_map(|mount| mount.from.as_ref()).collect(),
        _ => Vec::new(),
    };
    // An empty one is the context, as if the flag were not there.
    words.retain(|word| !word.value.is_empty());
    words
}

/// The part of the graph that leads to `output`, renumbered.
fn reachable(
    vertices: Vec<Vertex>,
    output: VertexId,
    mut history: Vec<HistoryStep>,
) -> (Vec<Vertex>, VertexId, Vec<HistoryStep>) {
    let mut is_used = vec![false; vertices.len()];
    is_used[output.0] = true;
    for index in (0..vertices.len()).rev().filter(|index| *index <= output.0) {
        if is_used[index] {
            vertices[index].inputs.iter().for_each(|edge| is_used[edge.vertex.0] = true);
        }
    }
    let mut numbers = vec![VertexId(0); vertices.len()];
    let mut kept = Vec::new();
    for (index, mut vertex) in vertices.into_iter().enumerate().filter(|(index, _)| is_used[*index]) {
        numbers[index] = VertexId(kept.len());
        vertex.inputs.iter_mut().for_each(|edge| edge.vertex = numbers[edge.vertex.0]);
        kept.push(vertex);
    }
    for step in &mut history {
        step.vertex = step.vertex.filter(|vertex| is_used[vertex.0]).map(|vertex| numbers[vertex.0]);
    }
    (kept, numbers[output.0], history)
}

fn suggestion(name: &str, names: &[String]) -> String {
    match nearest(name, names.iter().map(String::as_str)) {
        Some(known) => format!("did you mean `{known}`?"),
        None if names.is_empty() => "no stage of it has a name".into(),
        None => format!("its stages are {}", names.join(", ")),
    }
}
