//! `exec`: a program in a running container.

use std::io::IsTerminal;

use carrack_engine::{Engine, ExecOptions};

use super::attach::detach_keys;
use super::container::{no_terminal, status};
use super::{Session, current_folder, stack};
use crate::arguments::ExecArguments;
use crate::container_flags::env_file;
use crate::flags;
use crate::output::{Failure, Outcome, exit};

pub(crate) fn exec(session: &Session, arguments: &ExecArguments) -> Outcome {
    let engine = session.observer()?;
    let mut env = Vec::new();
    for file in &arguments.env_file {
        env.extend(env_file(&current_folder().join(file))?);
    }
    for text in &arguments.env {
        env.push(flags::env(text).map_err(|error| Failure::from(error).exit(exit::ENGINE))?);
    }
    let options = ExecOptions {
        args: arguments.command().to_vec(),
        env,
        user: arguments.user.clone(),
        // Scripts give variables that may be empty.
        working_dir: arguments.workdir.clone().filter(|path| !path.is_empty()),
        tty: arguments.tty,
        stdin: arguments.interactive,
        detach: arguments.detach,
        privileged: arguments.privileged,
        detach_keys: detach_keys(arguments.detach_keys.as_ref())?,
    };
    // Docker's runtime refuses it, with this code.
    if let Some(path) = options.working_dir.as_ref().filter(|path| !path.starts_with('/')) {
        return Err(Failure::from(flags::invalid("--workdir", path, "an absolute path")).exit(128));
    }
    let name = stack::container_or_service(&engine, arguments.name())?;
    perform(&engine, &name, &options)
}

/// Runs it and exits as it did.
pub(crate) fn perform(engine: &Engine, name: &str, options: &ExecOptions) -> Outcome {
    if options.tty && options.stdin && !options.detach && !std::io::stdin().is_terminal() {
        return Err(no_terminal().into());
    }
    match engine.exec(name, options) {
        Ok(Some(code)) => Ok(status(code)),
        Ok(None) => Ok(exit::DONE),
        Err(failure) => Err(Failure::from(failure.diagnostic).exit(failure.exit_code.unwrap_or(exit::FAILED))),
    }
}
