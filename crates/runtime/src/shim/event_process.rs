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
    process::spawn(&process::Spawn {
        program: own_binary()?,
        argv0: c"carrack-event",
        namespaces: 0,
        cgroup: None,
        descriptors: &[null.as_fd(), null.as_fd(), rustix::stdio::stderr(), memory.as_fd()],
        failure: null.as_fd(),
    })
}

/// The new process's part. Standard error says why it failed.
pub(crate) fn main() -> ! {
    let errno = match become_command() {
        Ok(errno) | Err(errno) => errno,
    };
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("event command: {errno}\n").as_bytes());
    process::exit_immediately(127);
}

/// Returns only where it can't.
fn become_command() -> Result<Errno, Errno> {
    let command: EventCommand = unseal(&process::take_inherited(descriptor::MEMORY)?)?;
    let program = CString::new(command.program.unwrap_or_else(|| "/proc/self/exe".into())).map_err(|_| Errno::INVAL)?;
    let (args, env) = (c_strings(command.args)?, c_strings(command.env)?);
    let args: Vec<&CStr> = args.iter().map(CString::as_c_str).collect();
    let env: Vec<&CStr> = env.iter().map(CString::as_c_str).collect();
    Ok(process::execve(&program, &args, &env))
}

fn c_strings(list: Vec<String>) -> Result<Vec<CString>, Errno> {
    list.into_iter().map(|text| CString::new(text).map_err(|_| Errno::INVAL)).collect()
}
