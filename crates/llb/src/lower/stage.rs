//! One stage: what it starts from, and its instructions in order.

use std::fmt::Write as _;

use carrack_diag::{Diagnostic, Span, Spanned};
use carrack_dockerfile::ast::{Argument, Command, CommandLine, Instruction, Run};
use carrack_dockerfile::parse_trigger;
use carrack_oci::{History, ImageConfig, Platform};

use super::scope::Scope;
use super::{Base, Lowering};
use crate::breakpoint::{Breakpoint, Moment, Place, no_such_step};
use crate::codes;
use crate::graph::{Action, CopyAction, Edge, HistoryStep, Op, Source, Vertex, VertexId};

/// Tools that show an image's history (and scanners that read it) know BuildKit's words.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// What programs are looked up in where the base image says nothing.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage as far as it has come.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) index: usize,
    pub(super) image: ImageConfig,
    pub(super) scope: Scope,
    pub(super) vertex: VertexId,
    /// The stage that it begins with, whose history comes first.
    pub(super) base: Option<usize>,
    pub(super) history: Vec<HistoryStep>,
    /// Whether CMD was given in this very stage, so that ENTRYPOINT leaves it alone.
    pub(super) has_own_cmd: bool,
    label: String,
    step: usize,
    steps: usize,
}

impl Stage {
    /// `[build 2/5] `, counted over the steps that make layers.
    pub(super) fn prefix(&mut self) -> String {
        self.step += 1;
        let label = if self.label.is_empty() { String::new() } else { format!("{} ", self.label) };
        format!("[{label}{}/{}] ", self.step, self.steps)
    }

    /// Notes an instruction in the history.
    pub(super) fn record(&mut self, text: String, vertex: Option<VertexId>) {
        let entry = History {
            created_by: Some(text),
            comment: Some(HISTORY_COMMENT.into()),
            empty_layer: vertex.is_none(),
            ..History::default()
        };
        self.history.push(HistoryStep { entry, vertex });
    }

    /// The image's environment follows the stage's.
    pub(super) fn store_environment(&mut self) {
        self.image.config.env = self.scope.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    }

    /// Where programs begin. An image that says nothing begins at its root.
    pub(super) fn working_directory(&self) -> &str {
        match self.image.config.working_dir.as_str() {
            "" => "/",
            path => path,
        }
    }

    /// A path of the image, made absolute from the working directory. `..` ends at the root. A slash at the end stays.
    pub(super) fn absolute(&self, path: &str) -> String {
        let joined =
            if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.working_directory()) };
        let is_folder = path.ends_with('/') || path.ends_with("/.") || path == ".";
        let clean = clean(&joined);
        if is_folder && clean != "/" { format!("{clean}/") } else { clean }
    }
}

/// An absolute path without `.`, `..` and doubled slashes.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl Lowering<'_> {
    /// Lowers the stage `index`, whose base and sources among the stages are lowered already. Where something is wrong a
    /// diagnostic says so, and the stage is only good for finding further mistakes.
    pub(super) fn stage(&mut self, index: usize) -> Stage {
        let file = self.file;
        let ast = &file.stages[index];
        let mut stage = self.begin(index);
        self.grow(stage.inherited_bytes() + stage.history_bytes(0), ast.from.span);
        let triggers = std::mem::take(&mut stage.image.config.on_build);
        let triggers: Vec<Instruction> =
            triggers.iter().filter_map(|text| self.trigger(text, ast.from.image.span)).collect();
        let is_layer = |instruction: &&Instruction| {
            matches!(instruction.command, Command::Add(_) | Command::Copy(_) | Command::Run(_) | Command::Workdir(_))
        };
        stage.steps += triggers.iter().chain(&ast.instructions).filter(is_layer).count();
        let stop = self.options.breakpoint.as_ref().filter(|stop| stop.stage == index);
        if stop.is_some_and(|stop| stop.is_from(&ast.from)) {
            self.shell(&mut stage, (&ast.from.text, ast.from.span), None, Moment::After);
            return stage;
        }
        for instruction in triggers.iter().chain(&ast.instructions) {
            let stop = stop.filter(|stop| match stop.place {
                Place::Instruction(span) => span == instruction.span,
                Place::Step(number) => is_layer(&instruction) && number == stage.step + 1,
            });
            if stop.is_none_or(|stop| stop.moment == Moment::After) {
                let known = (self.vertices.len(), stage.history.len());
                self.instruction(&mut stage, instruction);
                self.grow(self.vertices_bytes(known.0) + stage.history_bytes(known.1), instruction.span);
            }
            if self.is_too_large() {
                return stage;
            }
            if let Some(stop) = stop {
                self.shell(&mut stage, (&instruction.text, instruction.span), Some(instruction), stop.moment);
                return stage;
            }
        }
        if let Some(Breakpoint { place: Place::Step(number), .. }) = stop {
            let hint = format!("its steps are 1 to {}, FROM being the first", stage.steps);
            self.diagnostics.push(no_such_step(format!("the stage has no step {number}")).hint(hint));
        }
        stage
    }

    /// A shell with what an instruction has: its files, its environment, and where it is a RUN its mounts and network.
    fn shell(&mut self, stage: &mut Stage, (text, span): (&str, Span), like: Option<&Instruction>, moment: Moment) {
        let program = stage.shell().into_iter().take(1).map(|program| Spanned::new(program, span));
        let like = like.and_then(|instruction| match &instruction.command {
            Command::Run(run) => Some(run),
            _ => None,
        });
        let run = Run {
            command: CommandLine::Exec(program.collect()),
            heredocs: Vec::new(),
            mounts: like.map(|run| run.mounts.clone()).unwrap_or_default(),
            network: like.and_then(|run| run.network.clone()),
            security: like.and_then(|run| run.security.clone()),
            devices: like.map(|run| run.devices.clone()).unwrap_or_default(),
        };
        let keyword = Spanned::new("RUN".to_owned(), span);
        let text = format!("shell {} {text}", moment.word());
        let instruction = Instruction { span, keyword, text, command: Command::Run(run.clone()) };
        let known = self.vertices.len();
        self.run(stage, &instruction, &run);
        // It is none of the counted steps.
        if let Some(vertex) = self.vertices.get_mut(known..).and_then(<[Vertex]>::last_mut) {
            vertex.name = instruction.text;
        }
    }

    fn begin(&mut self, index: usize) -> Stage {
        let from = &self.file.stages[index].from;
        let label = match &from.name {
            Some(name) => name.value.clone(),
            None if self.file.stages.len() > 1 => format!("stage-{index}"),
            None => String::new(),
        };
        let mut stage = Stage {
            index,
            image: empty_image(&self.options.target_platform),
            scope: Scope::new(self.file.directives.escape),
            vertex: VertexId(0),
            base: None,
            history: Vec::new(),
            has_own_cmd: false,
            label,
            step: 1,
            steps: 1,
        };
        match self.base(index) {
            Some((Base::Stage(base), _)) => {
                if let Some(base) = self.stages.get(&base) {
                    stage.image.clone_from(&base.image);
                    stage.scope.clone_from(&base.scope);
                    stage.vertex = base.vertex;
                    stage.base = Some(base.index);
                }
            }
            Some((Base::Image(reference), platform)) => {
                if let Some((vertex, config)) = self.image_vertex(&reference, &platform, from.image.span, index) {
                    stage.vertex = vertex;
                    stage.image.clone_from(config);
                    stage.history =
                        config.history.iter().map(|entry| HistoryStep { entry: entry.clone(), vertex: None }).collect();
                }
                stage.scope.environment = variables(&stage.image.config.env);
            }
            Some((Base::Folder(name), platform)) => {
                stage.image = empty_image(&platform);
                stage.vertex = self.folder_image(name, from.span);
            }
            Some((Base::Scratch, platform)) => {
                stage.image = empty_image(&platform);
                stage.vertex = self.source(Source::Scratch, "FROM scratch".into(), from.span);
            }
            None => stage.vertex = self.source(Source::Scratch, "FROM scratch".into(), from.span),
        }
        if stage.scope.get("PATH").is_none() {
            stage.scope.set("PATH".into(), DEFAULT_PATH.into());
        }
        stage.store_environment();
        stage
    }

    /// A root file system of everything in a named folder.
    fn folder_image(&mut self, name: String, span: Span) -> VertexId {
        let shown = format!("FROM {name}");
        let folder = self.folder(name, span);
        let scratch = self.source(Source::Scratch, "scratch".into(), span);
        let everything = CopyAction::whole(1, "/", span);
        let inputs = vec![Edge { vertex: scratch }, Edge { vertex: folder }];
        let op = Op::File(vec![Action::Copy(everything)]);
        self.add(Vertex { op, inputs, origin: vec![span], name: shown })
    }

    fn trigger(&mut self, text: &str, origin: Span) -> Option<Instruction> {
        let (instruction, diagnostics) = parse_trigger(text, origin);
        if let Some(problem) = diagnostics.into_iter().find(Diagnostic::is_error) {
            self.diagnostics.push(
                Diagnostic::error(&codes::INVALID_TRIGGER, format!("the base image's `ONBUILD {text}` cannot be used"))
                    .at(origin, "this image")
                    .cause(problem.message)
                    .hint("build from another image, or correct the base image"),
            );
            return None;
        }
        instruction
    }

    fn instruction(&mut self, stage: &mut Stage, instruction: &Instruction) {
        match &instruction.command {
            Command::Arg(arguments) => self.arguments(stage, arguments),
            Command::Add(copy) => self.copy(stage, instruction, copy, true),
            Command::Copy(copy) => self.copy(stage, instruction, copy, false),
            Command::Run(run) => self.run(stage, instruction, run),
            Command::Workdir(path) => {
                let Some(path) = stage.scope.word(path, &mut self.diagnostics) else { return };
                self.workdir(stage, instruction, &path);
            }
            _ => self.configure(stage, instruction),
        }
    }

    fn arguments(&mut self, stage: &mut Stage, arguments: &[Argument]) {
        let mut text = String::from("ARG");
        for argument in arguments {
            let name = &argument.name.value;
            self.used_arguments.insert(name.clone());
            let given = self.options.build_args.get(name).cloned();
            let value = match (given, &argument.default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => stage.scope.word(default, &mut self.diagnostics),
                (None, None) => self.globals.argument(name),
            };
            let _ = write!(text, " {name}");
            if let Some(value) = &value {
                let _ = write!(text, "={value}");
            }
            stage.scope.define(name, value);
        }
        stage.record(text, None);
    }

    fn workdir(&mut self, stage: &mut Stage, instruction: &Instruction, path: &str) {
        let path = stage.absolute(path);
        let path = if path == "/" { path } else { path.trim_end_matches('/').to_owned() };
        stage.image.config.working_dir.clone_from(&path);
        let prefix = stage.prefix();
        if path == "/" {
            stage.record("WORKDIR /".into(), None);
            return;
        }
        let user = Some(stage.image.config.user.clone()).filter(|user| !user.is_empty());
        let vertex = self.add(Vertex {
            op: Op::File(vec![Action::MakeFolder { path: path.clone(), mode: 0o755, owner: user }]),
            inputs: vec![Edge { vertex: stage.vertex }],
            origin: vec![instruction.span],
            name: format!("{prefix}WORKDIR {path}"),
        });
        stage.vertex = vertex;
        stage.record(format!("WORKDIR {path}"), Some(vertex));
    }
}

/// What is said of an image of nothing, as in BuildKit.
fn empty_image(platform: &Platform) -> ImageConfig {
    let mut image = ImageConfig::scratch(platform);
    image.config.working_dir = "/".into();
    image
}

/// `NAME=VALUE` pairs; a name without a value has an empty one.
fn variables(environment: &[String]) -> Vec<(String, String)> {
    let pairs = environment.iter().map(|entry| entry.split_once('=').unwrap_or((entry, "")));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
