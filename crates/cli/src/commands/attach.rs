//! `attach`, and which streams `run` and `create` are attached to.

use std::io::IsTerminal;

use carrack_diag::{Diagnostic, Result};
use carrack_engine::{AttachOptions, AttachOutcome};
use carrack_specgen::Container;

use super::Session;
use super::container::{no_terminal, status};
use super::stack::container_or_service;
use crate::arguments::{AttachArguments, Stream};
use crate::output::{Outcome, exit};
use crate::{codes, docker_config, flags};

pub(crate) fn attach(session: &Session, arguments: &AttachArguments) -> Outcome {
    // A container whose shim was killed gets a new one first: there is nothing to attach to without.
    let engine = session.engine()?;
    let name = container_or_service(&engine, &arguments.name)?;
    let container = engine.container(&name)?.record.container;
    let stdin = !arguments.no_stdin && container.open_stdin;
    if stdin && container.tty && !std::io::stdin().is_terminal() {
        return Err(no_terminal().hint("or add --no-stdin to watch only").into());
    }
    let options = AttachOptions {
        stdin,
        detach_keys: detach_keys(arguments.detach_keys.as_ref())?,
        signal_proxy: arguments.sig_proxy && !container.tty,
        ..AttachOptions::default()
    };
    match engine.attach(&name, &options)? {
        AttachOutcome::Exited(code) => Ok(status(code)),
        AttachOutcome::Detached => Ok(exit::DONE),
    }
}

/// What a container that is made stays with in the foreground: everything, or what was asked for.
pub(crate) fn foreground(container: &mut Container, streams: &[Stream]) -> AttachOptions {
    let has = |stream: Stream| streams.is_empty() || streams.contains(&stream);
    let stdin = container.open_stdin && has(Stream::Stdin);
    container.stdin_once = stdin;
    AttachOptions {
        stdin,
        stdout: has(Stream::Stdout),
        stderr: has(Stream::Stderr),
        foreground: true,
        ..AttachOptions::default()
    }
}

/// What the flag says, else `detachKeys` of Docker's `config.json`.
pub(crate) fn detach_keys(given: Option<&String>) -> Result<Option<String>> {
    // As in Docker, an empty flag is as good as none.
    if let Some(keys) = given.filter(|keys| !keys.is_empty()) {
        return Ok(Some(keys.clone()));
    }
    let Some(path) = docker_config::folder().map(|folder| folder.join("config.json")) else { return Ok(None) };
    let failed = |cause: String| {
        Diagnostic::error(&codes::UNREADABLE_FILE, format!("can't read {}", path.display())).cause(cause).boxed()
    };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error.to_string())),
    };
    let config: serde_json::Value = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    match config.get("detachKeys") {
        None => Ok(None),
        Some(serde_json::Value::String(keys)) if keys.is_empty() => Ok(None),
        Some(serde_json::Value::String(keys)) => Ok(Some(keys.clone())),
        Some(other) => Err(flags::invalid("detachKeys", &other.to_string(), "a text such as \"ctrl-p,ctrl-q\"")),
    }
}
