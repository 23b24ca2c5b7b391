//! The process that is told what happened: born detached, then the command that the engine chose.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use carrack_sys::process::{self, Process};
use rustix::io::Errno;

use super::EventCommand;
use super::start::{descriptor, null, seal, unseal};
use crate::init::own_binary;

/// Argument zero of a process that is to become the command.
pub(crate) const ARGV0: &str = "carrack-event";

/// What is told. A later one of a kind says nothing that an earlier one, still waiting, did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Exited,
    Health,
    RestartDue,
    /// The host's packet filter is another.
    Filter,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Health => "health",
            Self::RestartDue => "restart",
            Self::Filter => "filter",
        }
    }
}

/// Starts the command. Its standard error is the shim's own log.
pub(super) fn spawn(command: &EventCommand, kind: Kind) -> Result<Process, Errno> {
    let mut command = command.clone();
    command.args.push(kind.word().to_owned());
    let memory = seal(&command)?;
    let null = null()?;
    let environment = c_strings(command.env)?;
    let environment: Vec<&CStr> = environment.iter().map(CString::as_c_str).collect();
    process::spawn(&process::Spawn {
        program: own_binary()?,
        argv0: c"carrack-event",
        environment: &environment,
        namespaces: 0,
        cgroup: None,
        descriptors: &[null.as_fd(), null.as_fd(), rustix::stdio::stderr(), memory.as_fd()],
        failure: null.as_fd(),
        awaited: true,
    })
}

/// The new process's part: the command's words, where it is a command of this binary. Standard error says why it failed.
pub(crate) fn main() -> Vec<String> {
    let errno = match become_command() {
        Ok(words) => return words,
        Err(errno) => errno,
    };
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("event command: {errno}\n").as_bytes());
    process::exit_immediately(127);
}

/// Another program's command does not come back.
fn become_command() -> Result<Vec<String>, Errno> {
    let EventCommand { program, args, env } = unseal(&process::take_inherited(descriptor::MEMORY)?)?;
    let Some(program) = program else { return Ok(args) };
    let program = CString::new(program).map_err(|_| Errno::INVAL)?;
    let (args, env) = (c_strings(args)?, c_strings(env)?);
    let args: Vec<&CStr> = args.iter().map(CString::as_c_str).collect();
    let env: Vec<&CStr> = env.iter().map(CString::as_c_str).collect();
    Err(process::execve(&program, &args, &env))
}

fn c_strings(list: Vec<String>) -> Result<Vec<CString>, Errno> {
    list.into_iter().map(|text| CString::new(text).map_err(|_| Errno::INVAL)).collect()
}
