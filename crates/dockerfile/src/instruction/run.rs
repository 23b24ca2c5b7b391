//! `RUN` and its flags.

use carrack_diag::{Diagnostic, Span, Spanned, nearest};

use super::Context;
use crate::ast::{Command, CommandLine, Mount, MountKind, Network, Run, Security, Sharing, Word};
use crate::flags::Flags;
use crate::{codes, parser};

const KEYS: [&str; 19] = [
    "type",
    "target",
    "dst",
    "destination",
    "source",
    "src",
    "from",
    "id",
    "env",
    "ro",
    "readonly",
    "rw",
    "readwrite",
    "required",
    "sharing",
    "size",
    "mode",
    "uid",
    "gid",
];

impl Context<'_, '_> {
    pub(super) fn run(&mut self, flags: &mut Flags) -> Option<Command> {
        let mounts = flags.values("mount", self.diagnostics);
        let mounts = mounts.iter().filter_map(|flag| match read(flag, None) {
            Ok(mount) => Some(mount),
            Err(diagnostic) => {
                self.diagnostics.extend(diagnostic);
                None
            }
        });
        let mounts = mounts.collect();
        let network = flags.value("network", self.diagnostics).and_then(|word| {
            self.choice(
                "network",
                &word,
                &[("default", Network::Default), ("none", Network::None), ("host", Network::Host)],
            )
        });
        let security = flags.value("security", self.diagnostics).and_then(|word| {
            self.choice("security", &word, &[("sandbox", Security::Sandbox), ("insecure", Security::Insecure)])
        });
        let devices = flags.values("device", self.diagnostics);
        let command = self.command_line();
        let is_empty = match &command {
            CommandLine::Shell(text) => text.value.is_empty(),
            CommandLine::Exec(arguments) => arguments.is_empty(),
        };
        if is_empty {
            self.missing("a command, for example `RUN make` or `RUN [\"make\"]`");
            return None;
        }
        let heredocs = match &command {
            CommandLine::Shell(_) => parser::heredocs(self.line, self.start, self.reader, self.diagnostics),
            CommandLine::Exec(_) => Vec::new(),
        };
        Some(Command::Run(Run { command, heredocs, mounts, network, security, devices }))
    }

    fn choice<T: Copy>(&mut self, flag: &str, word: &Word, choices: &[(&str, T)]) -> Option<Spanned<T>> {
        let found = choices.iter().find(|(name, _)| *name == word.value);
        if let Some((_, value)) = found {
            return Some(Spanned::new(*value, word.span));
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        self.diagnostics.push(
            Diagnostic::error(&codes::INVALID_FLAG, format!("--{flag} cannot be `{}`", word.value))
                .at(word.span, "unknown value")
                .hint(format!("write one of {}", names.join(", "))),
        );
        None
    }
}

fn invalid(span: Span, message: String, hint: impl Into<String>) -> Diagnostic {
    Diagnostic::error(&codes::INVALID_MOUNT, message).at(span, "malformed mount").hint(hint)
}

/// How a value is expanded; none where that has failed and been told.
type Expand<'a> = &'a mut dyn FnMut(&Word) -> Option<String>;

impl Mount {
    /// The mount with every variable expanded: its words are to be taken as they are.
    ///
    /// # Errors
    /// What is wrong with it; none where `expand` has told already.
    pub fn expanded(&self, expand: Expand<'_>) -> Result<Self, Option<Diagnostic>> {
        read(&self.flag, Some(expand))
    }
}

/// Reads the flag. Without `expand`, values that name variables are left out, and whether anything is missing is not asked.
fn read(flag: &Word, mut expand: Option<Expand<'_>>) -> Result<Mount, Option<Diagnostic>> {
    let mut mount = Mount {
        flag: flag.clone(),
        kind: MountKind::Bind,
        target: None,
        source: None,
        from: None,
        id: None,
        env: None,
        read_only: None,
        required: false,
        sharing: Sharing::default(),
        size: None,
        mode: None,
        uid: None,
        gid: None,
    };
    let (mut given, mut is_known) = (Vec::new(), true);
    for (start, field) in fields(&flag.value) {
        let span = field_span(flag, start, field.len());
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(Spanned::new(value.to_owned(), span))),
            None => (field.to_ascii_lowercase(), None),
        };
        let is_variable = value.as_ref().is_some_and(|value| value.value.contains('$'));
        if key == "from" && is_variable {
            let message = "`from` of --mount takes no variables".to_owned();
            return Err(Some(invalid(span, message, "name the image in a FROM with AS, and mount from that stage")));
        }
        let value = match (&mut expand, value) {
            (None, _) if is_variable && KEYS.contains(&key.as_str()) => {
                is_known = false;
                continue;
            }
            (Some(expand), Some(value)) if key != "from" => Some(Spanned::new(expand(&value).ok_or(None)?, value.span)),
            (_, value) => value,
        };
        set(&mut mount, &key, value, span)?;
        given.push((key, span));
    }
    if is_known {
        complete(&mount, &given)?;
    }
    Ok(mount)
}

/// Fields between commas; quotes around one field keep its commas (as CSV).
fn fields(text: &str) -> Vec<(usize, String)> {
    let mut fields = Vec::new();
    let (mut field, mut start, mut is_quoted) = (String::new(), 0, false);
    for (index, character) in text.char_indices() {
        match character {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => {
                fields.push((start, std::mem::take(&mut field)));
                start = index + 1;
            }
            character => field.push(character),
        }
    }
    fields.push((start, field));
    fields
}

/// The field's own place, where the flag's text stands in the source as it is.
fn field_span(flag: &Word, start: usize, length: usize) -> Span {
    if (flag.span.end - flag.span.start) as usize != flag.value.len() {
        return flag.span;
    }
    let start = flag.span.start as usize + start;
    Span::new(flag.span.file, start, (start + length).min(flag.span.end as usize))
}

fn set(mount: &mut Mount, key: &str, word: Option<Word>, span: Span) -> Result<(), Diagnostic> {
    let flag = |is_true: bool| match word.as_ref().map(|word| word.value.to_ascii_lowercase()).as_deref() {
        None | Some("true" | "1") => Ok(is_true),
        Some("false" | "0") => Ok(!is_true),
        Some(other) => {
            Err(invalid(span, format!("`{key}` is true or false, not `{other}`"), format!("write {key}=true")))
        }
    };
    match key {
        "ro" | "readonly" => mount.read_only = Some(flag(true)?),
        "rw" | "readwrite" => mount.read_only = Some(flag(false)?),
        "required" => mount.required = flag(true)?,
        _ if KEYS.contains(&key) => {
            let word = word.ok_or_else(|| {
                invalid(span, format!("`{key}` of --mount needs a value"), format!("write {key}=VALUE"))
            })?;
            match key {
                "type" => mount.kind = kind(&word)?,
                "target" | "dst" | "destination" => mount.target = Some(word),
                "source" | "src" => mount.source = Some(word),
                "from" => mount.from = Some(word),
                "id" => mount.id = Some(word),
                "env" => mount.env = Some(word),
                "sharing" => mount.sharing = sharing(&word)?,
                "size" => mount.size = Some(word),
                "mode" => mount.mode = Some(word),
                "uid" => mount.uid = Some(word),
                _ => mount.gid = Some(word),
            }
        }
        _ => {
            let hint = match nearest(key, KEYS) {
                Some(known) => format!("did you mean `{known}`?"),
                None => format!("--mount takes {}", KEYS.join(", ")),
            };
            return Err(invalid(span, format!("--mount has no key `{key}`"), hint));
        }
    }
    Ok(())
}

fn kind(word: &Word) -> Result<MountKind, Diagnostic> {
    Ok(match word.value.to_ascii_lowercase().as_str() {
        "bind" => MountKind::Bind,
        "cache" => MountKind::Cache,
        "tmpfs" => MountKind::Tmpfs,
        "secret" => MountKind::Secret,
        "ssh" => MountKind::Ssh,
        other => {
            return Err(invalid(
                word.span,
                format!("there is no mount of type `{other}`"),
                "write one of bind, cache, tmpfs, secret, ssh",
            ));
        }
    })
}

fn sharing(word: &Word) -> Result<Sharing, Diagnostic> {
    Ok(match word.value.to_ascii_lowercase().as_str() {
        "shared" => Sharing::Shared,
        "private" => Sharing::Private,
        "locked" => Sharing::Locked,
        other => {
            let message = format!("`sharing` cannot be `{other}`");
            return Err(invalid(word.span, message, "write one of shared, private, locked"));
        }
    })
}

/// Whether everything that the type needs is there, and nothing that means nothing to it.
fn complete(mount: &Mount, given: &[(String, Span)]) -> Result<(), Diagnostic> {
    let span = mount.flag.span;
    let (name, is_foreign): (_, fn(&str) -> bool) = match mount.kind {
        MountKind::Bind => {
            ("bind", |key| matches!(key, "mode" | "uid" | "gid" | "size" | "sharing" | "required" | "env"))
        }
        MountKind::Cache => ("cache", |key| matches!(key, "size" | "required" | "env")),
        MountKind::Tmpfs => ("tmpfs", |key| matches!(key, "mode" | "uid" | "gid" | "sharing" | "required" | "env")),
        MountKind::Secret => ("secret", |key| matches!(key, "from" | "size" | "sharing")),
        MountKind::Ssh => ("ssh", |key| matches!(key, "size" | "sharing" | "env")),
    };
    if let Some((key, span)) = given.iter().find(|(key, _)| is_foreign(key)) {
        return Err(invalid(*span, format!("a mount of type {name} has no `{key}`"), "leave it out"));
    }
    let needs_target = matches!(mount.kind, MountKind::Bind | MountKind::Cache | MountKind::Tmpfs);
    if needs_target && mount.target.is_none() {
        return Err(invalid(span, "--mount lacks its target".into(), "add target=/path"));
    }
    if mount.kind == MountKind::Secret {
        if mount.id.is_none() && mount.target.is_none() && mount.source.is_none() {
            return Err(invalid(span, "the secret has neither id nor target".into(), "add id=NAME"));
        }
        if mount.id.is_some() && mount.source.is_some() {
            let message = "the secret has both id and source, which mean the same";
            return Err(invalid(span, message.into(), "keep id=NAME"));
        }
    }
    Ok(())
}
