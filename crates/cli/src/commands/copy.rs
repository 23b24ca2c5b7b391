//! `cp`, `diff`, `export`, `commit`.

use std::io::IsTerminal;

use carrack_diag::Result;
use carrack_engine::{CommitRequest, CopyOptions, Engine};

use super::stack::container_or_service;
use super::{Session, current_folder, image};
use crate::arguments::{CommitArguments, CopyArguments, DiffArguments, ExportArguments};
use crate::destination::Destination;
use crate::flags;
use crate::output::{Outcome, exit, human_size, note};

/// One side of a copy.
enum Side<'a> {
    Container(&'a str, &'a str),
    Path(&'a str),
    Stream,
}

impl<'a> Side<'a> {
    /// As in Docker: what has a colon is a container's, unless it begins like a path.
    fn of(text: &'a str) -> Self {
        match text.split_once(':') {
            _ if text == "-" => Self::Stream,
            Some((name, path)) if !text.starts_with(['/', '.']) => Self::Container(name, path),
            _ => Self::Path(text),
        }
    }
}

pub(crate) fn copy(session: &Session, arguments: &CopyArguments) -> Outcome {
    let options = CopyOptions { archive: arguments.archive, follow_link: arguments.follow_link };
    let (source, target) = (Side::of(&arguments.source), Side::of(&arguments.target));
    let engine = session.engine()?;
    let resolved = |name: &str, path: &str| {
        if path.is_empty() {
            return Err(flags::invalid("cp", &format!("{name}:"), "CONTAINER:PATH"));
        }
        container_or_service(&engine, name)
    };
    let folder = current_folder();
    let bytes = match (source, target) {
        (Side::Path(from), Side::Container(name, to)) => {
            engine.copy_into((&folder, from), (&resolved(name, to)?, to), options)?
        }
        (Side::Container(name, from), Side::Path(to)) => {
            engine.copy_out_of((&resolved(name, from)?, from), (&folder, to), options)?
        }
        (Side::Stream, Side::Container(name, to)) => return unpack(&engine, (&resolved(name, to)?, to), options),
        (Side::Container(name, from), Side::Stream) => return pack(&engine, (&resolved(name, from)?, from), options),
        (Side::Container(..), Side::Container(..)) => {
            let both = format!("{} {}", arguments.source, arguments.target);
            let error = flags::invalid("cp", &both, "one CONTAINER:PATH, the other a path of the host or -");
            return Err((*error).cause("copying between containers is not supported").into());
        }
        _ => {
            let both = format!("{} {}", arguments.source, arguments.target);
            return Err(flags::invalid("cp", &both, "one of both as CONTAINER:PATH").into());
        }
    };
    if !arguments.quiet && !session.output.json && std::io::stderr().is_terminal() {
        note(&format!("Successfully copied {} to {}\n", human_size(bytes), arguments.target));
    }
    session.output.result("cp", &serde_json::json!({ "bytes": bytes }), |_| String::new());
    Ok(exit::DONE)
}

fn unpack(engine: &Engine, to: (&str, &str), options: CopyOptions) -> Outcome {
    if std::io::stdin().is_terminal() {
        return Err(flags::invalid("cp", "-", "an archive on standard input: it is a terminal").into());
    }
    engine.unpack_into(std::io::stdin().lock(), to, options)?;
    Ok(exit::DONE)
}

fn pack(engine: &Engine, from: (&str, &str), options: CopyOptions) -> Outcome {
    refuse_terminal("cp")?;
    engine.pack_out_of(from, std::io::stdout().lock(), options)?;
    Ok(exit::DONE)
}

/// An archive shows nothing to people.
fn refuse_terminal(flag: &str) -> Result<()> {
    if std::io::stdout().is_terminal() {
        return Err(flags::invalid(flag, "-", "a file, or redirect standard output: it is a terminal"));
    }
    Ok(())
}

pub(crate) fn export(session: &Session, arguments: &ExportArguments) -> Outcome {
    let engine = session.engine()?;
    match &arguments.output {
        Some(path) => {
            let (destination, file) = Destination::open(path)?;
            engine.export(&arguments.name, file)?;
            destination.finish()?;
        }
        None => {
            refuse_terminal("--output")?;
            engine.export(&arguments.name, std::io::stdout().lock())?;
        }
    }
    Ok(exit::DONE)
}

pub(crate) fn diff(session: &Session, arguments: &DiffArguments) -> Outcome {
    let changes = session.observer()?.changes(&arguments.name)?;
    let shown: Vec<_> =
        changes.iter().map(|(change, path)| serde_json::json!({ "change": change, "path": path })).collect();
    session.output.result("diff", &shown, |_| {
        changes.iter().map(|(change, path)| format!("{} {path}\n", change.letter())).collect()
    });
    Ok(exit::DONE)
}

pub(crate) fn commit(session: &Session, arguments: &CommitArguments) -> Outcome {
    let request = CommitRequest {
        author: arguments.author.clone(),
        message: arguments.message.clone(),
        changes: image::changed(&arguments.change)?,
        pause: arguments.pause && !arguments.no_pause,
        name: arguments.image.clone(),
    };
    let id = session.engine()?.commit_container(&arguments.name, &request)?;
    session.output.result("commit", &serde_json::json!({ "id": id }), |_| format!("{id}\n"));
    Ok(exit::DONE)
}
