//! A further program in a running container: a process of the caller's, no shim's.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicBool;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Config;
use carrack_oci::runtime::Spec;
use carrack_runtime::cgroup::Cgroup;
use carrack_runtime::foreground::{Streams, keep_terminal, terminal_size};
use carrack_runtime::host;
use carrack_runtime::init::{self, Child, SpawnRequest};
use carrack_runtime::state::State;
use carrack_specgen::init_plan::RootSource;
use carrack_specgen::{ExecRequest, InitPlan, Resolved, exec_plan, launch};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::start::RunFailure;
use super::stop::not_running;
use super::{ContainerRecord, attach};
use crate::codes;
use crate::engine::{Engine, host_error};

/// What is to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Argument vector, never empty.
    pub args: Vec<String>,
    /// Over the container's environment. A name without a value is left as it is.
    pub env: Vec<(String, Option<String>)>,
    /// `user[:group]`; the container's own without.
    pub user: Option<String>,
    /// Absolute; the container's own without.
    pub working_dir: Option<String>,
    /// Whether it gets a pseudo-terminal.
    pub tty: bool,
    /// Whether it gets the caller's standard input.
    pub stdin: bool,
    /// Returns when it runs.
    pub detach: bool,
    /// With every capability and without a filter.
    pub privileged: bool,
    /// Docker's notation of the keys that leave a program with a terminal running; none is ctrl-p,ctrl-q.
    pub detach_keys: Option<String>,
}

/// What the kernel gave a start: the configuration that later programs are confined by.
pub(crate) const SPEC_FILE: &str = "config.json";

impl Engine {
    /// Runs a program in a container and returns its exit code; none where it was left running.
    pub fn exec(&self, name: &str, options: &ExecOptions) -> Result<Option<i32>, RunFailure> {
        let record = self.find(name)?;
        let keys = attach::keys(options.detach_keys.as_deref())?;
        let state = self.running_state(&record)?;
        let request = ExecRequest {
            args: options.args.clone(),
            env: options.env.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))).collect(),
            working_dir: options.working_dir.clone(),
            user: options.user.clone(),
            tty: options.tty,
            terminal_size: if options.tty { terminal_size() } else { (0, 0) },
            privileged: options.privileged,
        };
        let image = self.image_config(&record);
        let plan = self.exec_plan_of(&record, &image, &request)?;
        let streams = if options.tty || options.detach { Streams::none() } else { Streams::pipes(options.stdin) };
        let streams = streams.map_err(|error| host_error("can't make pipes for the program", error))?;
        let said = [("execID", super::new_id()?)];
        let words = options.args.join(" ");
        self.emit_as(&record, &image, &format!("exec_create: {words}"), &said);
        self.emit_as(&record, &image, &format!("exec_start: {words}"), &said);
        let child = self.spawn(&record, &state, &plan, streams.theirs())?;
        if options.detach {
            return Ok(None);
        }
        let failed = |error| host_error("can't stay with the program", error);
        let status = streams.stay_or_detach(&child, options.stdin, &keys, &AtomicBool::new(false)).map_err(failed)?;
        if let (None, Some(terminal)) = (status, &child.terminal) {
            let shims = Cgroup::of_shims(self.hierarchies()?, &self.cgroup_parent())?;
            keep_terminal(terminal, &shims)
                .map_err(|errno| host_error("can't leave the program its terminal", errno))?;
        }
        if let Some(status) = status {
            let [exec_id] = said;
            self.emit_as(&record, &image, "exec_die", &[exec_id, ("exitCode", status.to_string())]);
        }
        Ok(status)
    }

    /// The plan of a program that enters the container, confined as the container is.
    fn exec_plan_of(&self, record: &ContainerRecord, image: &Config, request: &ExecRequest) -> Result<InitPlan> {
        let path = self.store.container_run_dir(&record.id)?.join(SPEC_FILE);
        let text = std::fs::read(&path).map_err(|error| host_error(format!("can't read {}", path.display()), error))?;
        let spec: Spec = serde_json::from_slice(&text)
            .map_err(|error| host_error(format!("can't read {}", path.display()), error))?;
        let root = RootSource::Folder { path: String::new() };
        let launch = launch(&record.container, image, &Resolved::default(), root);
        exec_plan(&spec, &launch, request, &host::facts(self.hierarchies()?)?)
    }

    fn running_state(&self, record: &ContainerRecord) -> Result<State> {
        // In a paused one it would be born frozen, and whoever waits for it with it.
        self.refuse_paused(record, "run another program")?;
        self.state(&record.id)?.filter(State::is_alive).ok_or_else(|| not_running(record))
    }

    fn spawn(
        &self,
        record: &ContainerRecord,
        state: &State,
        plan: &InitPlan,
        stdio: [BorrowedFd<'_>; 3],
    ) -> Result<Child, RunFailure> {
        let container = Pid::from_raw(state.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let container = match container {
            // Held now: the number can't have changed hands if the start time is still the same.
            Some(Ok(fd)) if state.is_alive() => fd,
            _ => {
                return Err(RunFailure::from(
                    self.running_state(record)
                        .err()
                        .unwrap_or_else(|| host_error(format!("can't enter {}", record.name), "it has just ended")),
                ));
            }
        };
        let cgroup = self.cgroup_of(record)?;
        let request = SpawnRequest {
            plan,
            stdio,
            network_namespace: None,
            container: Some(container.as_fd()),
            cgroup: Some(&cgroup),
        };
        init::spawn(&request).map_err(|failure| {
            let message = format!("the program could not be run in {}", record.name);
            RunFailure {
                diagnostic: Diagnostic::error(&codes::START_FAILED, message).cause(failure.to_string()).boxed(),
                exit_code: u8::try_from(failure.exit_status()).ok().filter(|code| *code != 125),
            }
        })
    }
}
