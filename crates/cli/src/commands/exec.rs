//! `exec`: a program in a running container.

use std::io::IsTerminal;

use carrack_engine::{Engine, ExecOptions};

use super::container::{no_terminal, status};
use super::{Session, stack};
use crate::arguments::ExecArguments;
use crate::flags;
use crate::output::{Failure, Outcome, exit};

pub(crate) fn exec(session: &Session, arguments: &ExecArguments) -> Outcome {
    let engine = session.observer()?;
    let mut env = Vec::new();
    for text in &arguments.env {
        env.push(flags::env(text)?);
    }
    let options = ExecOptions {
        args: arguments.command().to_vec(),
        env,
        user: arguments.user.clone(),
        working_dir: arguments.workdir.clone(),
        tty: arguments.tty,
        stdin: arguments.interactive,
        detach: arguments.detach,
        privileged: arguments.privileged,
    };
    let name = stack::container_or_service(&engine, arguments.name())?;
    perform(&engine, &name, &options)
}

/// Runs it and exits as it did.
pub(crate) fn perform(engine: &Engine, name: &str, options: &ExecOptions) -> Outcome {
    if options.tty && options.stdin && !std::io::stdin().is_terminal() {
        return Err(no_terminal().into());
    }
    match engine.exec(name, options) {
        Ok(Some(code)) => Ok(status(code)),
        Ok(None) => Ok(exit::DONE),
        Err(failure) => Err(Failure::from(failure.diagnostic).exit(failure.exit_code.unwrap_or(exit::FAILED))),
    }
}
