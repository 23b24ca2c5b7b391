//! What each operation of a plan means for the machine. Every one may be repeated: what is done already is done.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use carrack_diag::{Diagnostic, Result};
use carrack_network::Networks;
use carrack_plan::{Condition, Operation};
use carrack_runtime::shim::ANSWER_TTL;
use carrack_runtime::state::{HealthStatus, State, Status};
use carrack_store::Guard;
use rustix::thread::{ClockId, Timespec, clock_nanosleep_relative};

use crate::codes;
use crate::container::{ContainerRecord, StopOptions, VolumeUse};
use crate::engine::Engine;

/// Contents of secrets and configs by version, as the caller read them for this apply.
pub(crate) type Contents = BTreeMap<String, Vec<u8>>;

/// After an answer's time to live: for those who count it in whole seconds, and for connections that are being made.
const LATE_CLIENTS: Duration = Duration::from_millis(1500);

/// How long names wait for a container to become ready, where that is no step of its own: on the way back.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// Lines of output that a failed wait shows.
const LINES_SHOWN: usize = 10;

impl Engine {
    /// Does one operation of a project's plan.
    pub(crate) fn perform(&self, contents: &Contents, operation: &Operation) -> Result<()> {
        match operation {
            Operation::StoreFile { file } => match contents.get(&file.version) {
                Some(content) => self.store.put_version(content).map(drop),
                // After an interruption nobody has the content any more; the vault may have it already.
                None => Ok(()),
            },
            Operation::CreateNetwork { network } => self.create_network(network).map(|_| ()),
            Operation::RemoveNetwork { network } => self.remove_network_if_there(&network.name),
            Operation::CreateVolume { volume } => {
                self.create_volume(Some(&volume.name), volume.labels.clone(), volume.driver_options.clone()).map(|_| ())
            }
            Operation::RemoveVolume { name } => self.remove_volume(name, true),
            Operation::CreateContainer { container, image, inherit_volumes_from } => {
                if let Some(existing) = self.by_name(&container.name)?
                    && existing.container == **container
                    && existing.image == *image
                {
                    return Ok(());
                }
                let inherited = match inherit_volumes_from {
                    Some(name) => self.anonymous_volumes(name)?,
                    None => BTreeMap::new(),
                };
                self.create_from((**container).clone(), *image, &inherited).map(|_| ())
            }
            Operation::StartContainer { name, announced } => match self.by_name(name)? {
                Some(record) => self.start_container(&record, *announced),
                None => Err(gone(name)),
            },
            Operation::AnnounceNames { name } => match self.by_name(name)? {
                Some(record) => self.announce_names(&record),
                None => Err(gone(name)),
            },
            Operation::WithdrawNames { name } => match self.by_name(name)? {
                Some(record) => self.withdraw_names(&record),
                None => Ok(()),
            },
            Operation::WaitFor { name, condition, timeout_ms, required } => {
                let waited = self.wait_for(name, *condition, Duration::from_millis(*timeout_ms));
                if *required { waited } else { Ok(()) }
            }
            Operation::StopContainer { name, timeout_ms, .. } => match self.by_name(name)? {
                Some(record) => self.stop_record(&record, &StopOptions { signal: None, timeout_ms: *timeout_ms }),
                None => Ok(()),
            },
            Operation::RenameContainer { from, to } => match (self.by_name(from)?, self.by_name(to)?) {
                (Some(_), _) => self.rename(from, to),
                // Done, or taken back, but perhaps not to the end: one container has one name.
                (None, Some(record)) => self.release_name(from, &record.id),
                (None, None) => Err(gone(from)),
            },
            Operation::RemoveContainer { name, anonymous_volumes } => match self.by_name(name)? {
                Some(record) => {
                    self.kill_record(&record)?;
                    self.remove_record(&record, *anonymous_volumes)
                }
                None => Ok(()),
            },
            // The ledger's: see `commit`.
            Operation::RecordRelease { .. } | Operation::RetireRelease { .. } => Ok(()),
        }
    }

    /// Does an operation on the project's ledger.
    pub(crate) fn commit(&self, guard: &Guard, operation: &Operation) -> Result<()> {
        match operation {
            Operation::RecordRelease { release } => self.record_release(guard, release),
            Operation::RetireRelease { project } => self.retire_release(guard, project),
            _ => Ok(()),
        }
    }

    /// A stop that was interrupted is brought to its end first: its program may have the signal already.
    fn start_container(&self, record: &ContainerRecord, announced: bool) -> Result<()> {
        if self.is_active(record)? && self.stays_down(record)? {
            self.stop_record(record, &StopOptions::default())?;
        }
        if announced { self.start_record(record) } else { self.start_unannounced(record) }
    }

    /// One that does not become ready has been the error of an earlier step, or is the best there is to go back to.
    fn announce_names(&self, record: &ContainerRecord) -> Result<()> {
        let checked = self.state(&record.id)?.is_some_and(|state| state.health.is_some());
        let condition = if checked { Condition::Healthy } else { Condition::Running };
        self.wait_for_state(&record.id, Some(READY_TIMEOUT), |state| verdict(state.as_ref(), condition))?;
        self.set_withdrawn(record, false)
    }

    fn withdraw_names(&self, record: &ContainerRecord) -> Result<()> {
        if self.is_active(record)? {
            self.set_withdrawn(record, true)?;
            pause(ANSWER_TTL + LATE_CLIENTS);
        }
        Ok(())
    }

    fn set_withdrawn(&self, record: &ContainerRecord, withdrawn: bool) -> Result<()> {
        let networks = Networks::new(&self.store);
        if networks.set_withdrawn(&record.id, withdrawn)? {
            let endpoints = networks.endpoints_of(&record.id)?;
            self.update_names(endpoints.iter().map(|endpoint| endpoint.network.as_str()))?;
        }
        Ok(())
    }

    fn is_active(&self, record: &ContainerRecord) -> Result<bool> {
        let status = self.state(&record.id)?.map_or(Status::Created, |state| state.actual_status());
        Ok(matches!(status, Status::Running | Status::Paused | Status::Restarting))
    }

    fn anonymous_volumes(&self, name: &str) -> Result<BTreeMap<String, VolumeUse>> {
        let record = self.by_name(name)?;
        let volumes = record.map(|record| record.volumes).unwrap_or_default();
        Ok(volumes.into_iter().filter(|(_, used)| used.anonymous).collect())
    }

    /// Waits until a container is ready; says at once, and from the first cause on, why it will not be.
    pub(crate) fn wait_for(&self, name: &str, condition: Condition, timeout: Duration) -> Result<()> {
        let Some(record) = self.by_name(name)? else { return Err(gone(name)) };
        let verdict = self.wait_for_state(&record.id, Some(timeout), |state| verdict(state.as_ref(), condition))?;
        match verdict {
            Some(Verdict::Ready) => Ok(()),
            Some(Verdict::Never(why)) => Err(self.not_ready(&record, condition, &why)),
            None => {
                let seconds = timeout.as_secs_f64();
                Err(self.not_ready(&record, condition, &format!("{seconds} s were not enough")))
            }
        }
    }

    /// The cause chain of a container that is not ready (X24): what ended it, what its probes said, what it said itself.
    fn not_ready(&self, record: &ContainerRecord, condition: Condition, why: &str) -> Box<Diagnostic> {
        let message = format!("{} did not become ready: it was to {condition}", record.name);
        let mut diagnostic = Diagnostic::error(&codes::NOT_READY, message).cause(why);
        if let Ok(Some(state)) = self.state(&record.id) {
            if state.oom_killed {
                diagnostic = diagnostic.cause("the kernel killed a process of it: its memory limit was reached");
            }
            if !state.error.is_empty() {
                diagnostic = diagnostic.cause(state.error.clone());
            }
            let probes = state.health.iter().flat_map(|health| health.log.iter().rev()).take(3);
            for probe in probes.filter(|probe| probe.exit_code != 0) {
                let output = probe.output.trim();
                let said = if output.is_empty() { "without output".to_owned() } else { format!("and said: {output}") };
                diagnostic = diagnostic.cause(format!("a probe ended with {} {said}", probe.exit_code));
            }
        }
        let lines = self.last_lines(&record.name, LINES_SHOWN);
        if !lines.is_empty() {
            diagnostic = diagnostic.cause(format!("its last output:\n{}", lines.join("\n")));
        }
        diagnostic.boxed()
    }
}

/// Time itself is waited for here: nobody says when the last one has forgotten an answer.
fn pause(duration: Duration) {
    let until = Instant::now() + duration;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        let left =
            Timespec { tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: left.subsec_nanos().into() };
        let _ = clock_nanosleep_relative(ClockId::Monotonic, &left);
    }
}

enum Verdict {
    Ready,
    Never(String),
}

/// None is "not yet".
fn verdict(state: Option<&State>, condition: Condition) -> Option<Verdict> {
    let never = |why: &str| Some(Verdict::Never(why.to_owned()));
    let Some(state) = state else { return never("it was not started") };
    let code = state.last_exit_code();
    match (state.actual_status(), condition) {
        (Status::Running | Status::Paused, Condition::Running) => Some(Verdict::Ready),
        (Status::Running | Status::Paused, Condition::Healthy) => match state.health.as_ref().map(|h| h.status) {
            Some(HealthStatus::Healthy) => Some(Verdict::Ready),
            Some(HealthStatus::Unhealthy) => never("its health check failed as often as it may"),
            Some(HealthStatus::Starting) => None,
            None => never("it has no health check"),
        },
        (Status::Running | Status::Paused | Status::Restarting, _) => None,
        (Status::Exited, Condition::CompletedSuccessfully) if code == 0 => Some(Verdict::Ready),
        (Status::Exited, _) => never(&format!("its program ended with {code}")),
        (Status::Created, _) => never("it was not started"),
        (Status::Lost, _) => never("it is gone, and nobody saw how"),
    }
}

fn gone(name: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::NO_SUCH_CONTAINER, format!("the container {name} of the plan is not there"))
        .hint("somebody removed it meanwhile; run the command again")
        .boxed()
}
