//! Further programs in a running container.

use std::os::fd::BorrowedFd;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::runtime::Spec;
use carrack_specgen::{ExecRequest, HostFacts, Launch, exec_plan};

use crate::cgroup::Cgroup;
use crate::codes;
use crate::init::{self, Child, SpawnRequest};

/// A container that runs, and how it was made.
#[derive(Debug)]
pub struct Running<'a> {
    /// Descriptor of its first process.
    pub pidfd: BorrowedFd<'a>,
    /// Its control groups, which the new program joins.
    pub cgroup: &'a Cgroup,
    /// Its configuration: the new program is confined as it says.
    pub spec: &'a Spec,
    /// Its user and terminal.
    pub launch: &'a Launch,
    /// What it was planned for.
    pub facts: &'a HostFacts,
}

/// Starts a program in the namespaces and control groups of a container, with its capabilities, filter and user.
///
/// The caller is the process's parent and reaps it. With a terminal the standard streams are replaced by it.
pub fn spawn(running: &Running<'_>, request: &ExecRequest, stdio: [BorrowedFd<'_>; 3]) -> Result<Child> {
    let plan = exec_plan(running.spec, running.launch, request, running.facts)?;
    let started = init::spawn(&SpawnRequest {
        plan: &plan,
        stdio,
        network_namespace: None,
        container: Some(running.pidfd),
        cgroup: Some(running.cgroup),
    });
    match started {
        Ok(child) => Ok(child),
        Err(failure) => {
            let program = request.args.first().map_or("", String::as_str);
            Err(Diagnostic::error(&codes::START, format!("run {program} in the container"))
                .cause(failure.to_string())
                .boxed())
        }
    }
}
