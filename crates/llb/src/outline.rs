//! What a Dockerfile has to offer, without building it: its targets, and what a target can be given.

use std::collections::BTreeSet;

use carrack_diag::{Diagnostic, SourceFile, Span};
use carrack_dockerfile::Lexer;
use carrack_dockerfile::ast::{Command, Dockerfile, MountKind, Stage};
use serde::Serialize;

use crate::LowerOptions;
use crate::lower::{globals, needed};

/// A stage that can be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetOutline {
    /// Empty where it has none.
    pub name: String,
    /// What is built where no target is named.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub default: bool,
    /// What the comment above it says behind its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What it starts from, as written.
    pub base: String,
    /// Of what it starts from, as written.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub platform: String,
}

/// What a target can be given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// Empty for a stage without a name.
    pub name: String,
    /// What the comment above it says behind its name.
    pub description: String,
    /// In the order in which they are declared.
    pub args: Vec<ArgumentOutline>,
    /// Of `RUN --mount=type=secret`.
    pub secrets: Vec<MountOutline>,
    /// Of `RUN --mount=type=ssh`.
    pub ssh: Vec<MountOutline>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArgumentOutline {
    /// `--build-arg NAME=…`.
    pub name: String,
    /// What the comment above it says behind its name.
    pub description: String,
    /// What it holds in this build.
    pub value: String,
}

/// A secret, or an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MountOutline {
    /// Its id.
    pub name: String,
    /// Whether the build fails without it.
    pub required: bool,
}

/// The stages of a file, in order.
pub fn targets(dockerfile: &Dockerfile, source: &SourceFile) -> Vec<TargetOutline> {
    let last = dockerfile.stages.len().saturating_sub(1);
    let stages = dockerfile.stages.iter().enumerate();
    let target = |(index, stage): (usize, &Stage)| TargetOutline {
        name: name(stage),
        default: index == last,
        description: description(source, stage.from.span, &name(stage)),
        base: stage.from.image.value.clone(),
        platform: stage.from.platform.as_ref().map(|platform| platform.value.clone()).unwrap_or_default(),
    };
    stages.map(target).collect()
}

/// What the target of the options can be given, itself and through what it is made of.
///
/// # Errors
/// Where there is no such target, or what it is made of cannot be told.
pub fn outline(
    dockerfile: &Dockerfile,
    source: &SourceFile,
    options: &LowerOptions,
) -> Result<Outline, Vec<Diagnostic>> {
    let (target, needed) = needed(dockerfile, options)?;
    let stage = &dockerfile.stages[target];
    let mut outline = Outline {
        name: name(stage),
        description: description(source, stage.from.span, &name(stage)),
        args: Vec::new(),
        secrets: Vec::new(),
        ssh: Vec::new(),
    };
    let globals = globals(dockerfile, options);
    let known = |name: &str| globals.iter().rev().find(|(other, _)| other == name).and_then(|(_, value)| value.clone());
    let lexer = Lexer::new(dockerfile.directives.escape);
    let stages: Vec<&Stage> = needed.iter().map(|index| &dockerfile.stages[*index]).collect();
    let mut froms = BTreeSet::new();
    for stage in &stages {
        let words = stage.from.platform.iter().chain([&stage.from.image]);
        froms.extend(words.flat_map(|word| lexer.names(&word.value)));
    }
    let declared: BTreeSet<&str> = stages
        .iter()
        .flat_map(|stage| &stage.instructions)
        .filter_map(|instruction| match &instruction.command {
            Command::Arg(arguments) => Some(arguments),
            _ => None,
        })
        .flatten()
        .map(|argument| argument.name.value.as_str())
        .collect();
    let mut add = |span: Span, name: &str, value: String| {
        if outline.args.iter().all(|known| known.name != name) {
            let description = description(source, span, name);
            outline.args.push(ArgumentOutline { name: name.to_owned(), description, value });
        }
    };
    for instruction in &dockerfile.global_args {
        let Command::Arg(arguments) = &instruction.command else { continue };
        for argument in arguments {
            let name = argument.name.value.as_str();
            if froms.contains(name) || declared.contains(name) {
                add(instruction.span, name, known(name).unwrap_or_default());
            }
        }
    }
    for stage in &stages {
        let mut own: Vec<(String, String)> = Vec::new();
        for instruction in &stage.instructions {
            match &instruction.command {
                Command::Arg(arguments) => {
                    for argument in arguments {
                        let name = &argument.name.value;
                        let lookup = |name: &str| {
                            own.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value.clone())
                        };
                        let given = options.build_args.get(name).cloned();
                        let default = argument.default.as_ref();
                        // A word that can't be expanded is the build's to say.
                        let default = default.and_then(|word| lexer.word(&word.value, &lookup).ok());
                        let value = given.or(default).or_else(|| known(name)).unwrap_or_default();
                        // What the builder itself defines is nothing that one gives.
                        if argument.default.is_some() || options.build_args.contains_key(name) || known(name).is_none()
                        {
                            add(instruction.span, name, value.clone());
                        }
                        own.push((name.clone(), value));
                    }
                }
                Command::Run(run) => {
                    for mount in &run.mounts {
                        let word = mount.id.as_ref().or(mount.source.as_ref());
                        let target = mount.target.as_ref().and_then(|word| word.value.rsplit('/').next());
                        let name = word.map(|word| word.value.as_str()).or(target);
                        let (list, name) = match mount.kind {
                            MountKind::Secret => (&mut outline.secrets, name.unwrap_or_default()),
                            MountKind::Ssh => (&mut outline.ssh, mount.id.as_ref().map_or("default", |id| &id.value)),
                            _ => continue,
                        };
                        match list.iter_mut().find(|known| known.name == name) {
                            Some(known) => known.required |= mount.required,
                            None => list.push(MountOutline { name: name.to_owned(), required: mount.required }),
                        }
                    }
                }
                _ => {}
            }
        }
    }
    Ok(outline)
}

fn name(stage: &Stage) -> String {
    stage.from.name.as_ref().map(|name| name.value.clone()).unwrap_or_default()
}

/// `# NAME what it is for`, among the comments right above an instruction.
fn description(source: &SourceFile, span: Span, name: &str) -> String {
    let before = source.text.get(..span.start as usize).unwrap_or_default();
    // The last piece is the indentation of the instruction itself.
    let above = before.rsplit('\n').skip(1).map(str::trim);
    let comments = above.map_while(|line| line.strip_prefix('#')).map(str::trim);
    let mut described = comments.filter_map(|comment| {
        let (first, rest) = comment.split_once(char::is_whitespace)?;
        (!name.is_empty() && first.eq_ignore_ascii_case(name)).then(|| rest.trim().to_owned())
    });
    described.next().unwrap_or_default()
}
