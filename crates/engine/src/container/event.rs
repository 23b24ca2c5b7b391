//! What follows when a shim reports: an exit, a change of health, a restart that is due.

use std::path::Path;
use std::time::Duration;

use carrack_diag::Result;
use carrack_network::Networks;
use carrack_runtime::cgroup::Cgroup;
use carrack_runtime::shim::Client;
use carrack_runtime::state::{State, Status};
use carrack_specgen::Container;
use carrack_specgen::container::RestartPolicy;
use carrack_store::Lock;

use super::{ContainerRecord, external, sharing, unhealthy};
use crate::engine::{Engine, host_error};

/// The hidden verb that a shim starts.
pub(crate) const VERB: &str = "_event";

/// In the container's folder on the data root, as the wish outlives a reboot: somebody wants it to stay down.
pub(crate) const STOP_INTENT: &str = "stop";

/// Its content where the same command starts it again: then `--rm` does not take the container away in between.
pub(crate) const TO_COME_BACK: &[u8] = b"restart";

/// Its content where the host goes down: what its policy says of a boot still holds.
pub(crate) const UNTIL_BOOT: &[u8] = b"boot";

/// Docker's back-off: doubled from this at each exit…
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// … up to this, …
const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// … and begun anew after a run of this length.
const BACKOFF_RESET: Duration = Duration::from_secs(10);

impl Engine {
    /// Answers a shim's report. Told twice, it answers the same.
    pub fn event(&self, id: &str, kind: &str) -> Result<()> {
        let guard = self.lock_container(id)?;
        let Some(record) = self.records().get(id)? else {
            return self.store.forget_lock(&Lock::Container(id.to_owned()));
        };
        let folder = self.store.container_run_dir(id)?;
        let Some(state) = State::read(&folder)? else { return Ok(()) };
        // A shim that was dismissed meanwhile has nothing to say about the run of the next one.
        let shim = rustix::process::getppid().map_or(0, rustix::process::Pid::as_raw_pid);
        if state.shim_pid != shim {
            return Ok(());
        }
        match kind {
            "exited" if state.status != Status::Running => self.exited(&record, &state),
            "restart" => self.restart_due(&record),
            "health" => self.health_changed(&record, &state, guard),
            "filter" => Networks::new(&self.store).judge_kernel_path(),
            _ => Ok(()),
        }
    }

    fn exited(&self, record: &ContainerRecord, state: &State) -> Result<()> {
        let folder = self.store.container_run_dir(&record.id)?;
        if !self.stays_down(record)? && (unhealthy::take_due(&folder)? || wants_restart(record, state)) {
            let cgroup = self.cgroup_of(record)?;
            // It was killed while it was paused: what is started next is not to be born frozen.
            if cgroup.is_frozen() {
                cgroup.freeze(false)?;
            }
            return Client::connect(&folder)?.restart_in(backoff(state));
        }
        if record.container.auto_remove && !self.is_to_come_back(record)? {
            return self.remove_locked(record, true);
        }
        self.tear_down(record)
    }

    /// What a client does at the end of a container with `--rm` that it ran: what the shim would have had done by another
    /// process, while that one was awaited.
    pub(crate) fn put_away(&self, record: &ContainerRecord) -> Result<()> {
        if !record.container.auto_remove {
            return Ok(());
        }
        let guard = self.lock_container(&record.id)?;
        if self.records().get(&record.id)?.is_none() {
            return self.store.forget_lock(&Lock::Container(record.id.clone()));
        }
        let ended = self.state(&record.id)?.filter(|state| state.actual_status() == Status::Exited);
        match ended {
            Some(state) if !self.is_to_come_back(record)? => {
                self.dismiss_shim(&record.id, &state)?;
                self.remove_locked(record, true)
            }
            _ => {
                drop(guard);
                self.wait_until_put_away(record)
            }
        }
    }

    fn restart_due(&self, record: &ContainerRecord) -> Result<()> {
        if self.stays_down(record)? {
            self.forget_restart(&record.id)?;
            return self.tear_down(record);
        }
        let folder = self.store.container_run_dir(&record.id)?;
        if record.runtime.is_some() {
            self.renew_ground(record, &folder)?;
        }
        match Client::connect(&folder)?.restart()? {
            Ok(_) => {
                self.note_start(record);
                Ok(())
            }
            Err(error) => Err(error.diagnostic().boxed()),
        }
    }

    /// Ends what is left of a container's processes and gives back its control groups and addresses. Repeatable.
    pub(crate) fn give_back(&self, id: &str, container: Option<&Container>) -> Result<()> {
        let hierarchies = self.hierarchies()?;
        let cgroup = Cgroup::open(hierarchies, &self.cgroup_parent_of(container), id)?;
        cgroup.kill()?;
        cgroup.remove()?;
        Cgroup::remove_shims(hierarchies, &self.cgroup_parent());
        let networks = Networks::new(&self.store);
        let endpoints = self.with_leases(|| networks.endpoints_of(id))?;
        if !endpoints.is_empty() {
            networks.detach(id)?;
            self.emit_endpoints("disconnect", &endpoints);
            self.update_names(endpoints.iter().map(|endpoint| endpoint.network.as_str()))?;
        }
        Ok(())
    }

    /// Whether somebody stopped the container and nobody has started it since.
    pub(crate) fn stays_down(&self, record: &ContainerRecord) -> Result<bool> {
        Ok(self.store.container_dir(&record.id)?.join(STOP_INTENT).exists())
    }

    /// Whether somebody stopped it, rather than the host's going down.
    pub(crate) fn was_stopped(&self, record: &ContainerRecord) -> Result<bool> {
        let path = self.store.container_dir(&record.id)?.join(STOP_INTENT);
        Ok(std::fs::read(path).is_ok_and(|content| content != UNTIL_BOOT))
    }

    fn is_to_come_back(&self, record: &ContainerRecord) -> Result<bool> {
        let path = self.store.container_dir(&record.id)?.join(STOP_INTENT);
        Ok(std::fs::read(path).is_ok_and(|content| content == TO_COME_BACK))
    }

    /// Gives back what a container that ended held on the host: addresses, names, control groups, files. Repeatable.
    /// Its state stays, so that it can be asked how it ended. The caller holds its lock.
    pub(crate) fn tear_down(&self, record: &ContainerRecord) -> Result<()> {
        let shim_pid = self.tear_down_marked(record)?;
        self.unmark_active(&record.id, shim_pid)
    }

    /// The same, leaving its mark. The number of the shim that it had last.
    pub(crate) fn tear_down_marked(&self, record: &ContainerRecord) -> Result<Option<i32>> {
        let folder = self.store.container_run_dir(&record.id)?;
        external::forget(record, &folder);
        self.give_back(&record.id, Some(&record.container))?;
        sharing::detach_shared_memory(&folder);
        self.release_volumes(&folder)?;
        let mut shim_pid = None;
        if let Some(mut state) = State::read(&folder)? {
            shim_pid = Some(state.shim_pid);
            let status = state.actual_status();
            if !status.is_active() && state.status != status {
                state.status = status;
                state.write(&folder).map_err(|error| host_error("can't write a container's state", error))?;
            }
            self.note_end(record, &state);
        }
        // Told once, however often it is repeated.
        if clear(&folder)? {
            self.emit_unmounts(record);
        }
        Ok(shim_pid)
    }
}

/// Takes everything out of a run folder but what is asked for after the end. Whether there was anything.
fn clear(folder: &Path) -> Result<bool> {
    let failed = |error: std::io::Error| host_error(format!("can't clear {}", folder.display()), error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let mut was_used = false;
    for entry in entries.flatten().filter(|entry| entry.file_name() != carrack_runtime::state::FILE) {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed =
            if is_folder { std::fs::remove_dir_all(entry.path()) } else { std::fs::remove_file(entry.path()) };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            _ => was_used = true,
        }
    }
    // Stays where the state does; empty, it would look like something half made.
    let _ = std::fs::remove_dir(folder);
    Ok(was_used)
}

/// Whether its policy has a container started again that ended so. An end that nobody saw is a failure.
pub(crate) fn wants_restart(record: &ContainerRecord, state: &State) -> bool {
    let code = state.last_exit_code();
    match record.container.restart {
        RestartPolicy::No => false,
        RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
        RestartPolicy::OnFailure { max_retries } => {
            code != 0 && max_retries.is_none_or(|limit| limit == 0 || state.restart_count < limit)
        }
    }
}

fn backoff(state: &State) -> Duration {
    if Duration::from_nanos(state.ran_ns) >= BACKOFF_RESET {
        return BACKOFF_MIN;
    }
    Duration::from_millis(state.backoff_ms).saturating_mul(2).clamp(BACKOFF_MIN, BACKOFF_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_a_minute_and_begins_anew_after_ten_seconds() {
        let mut state = State::default();
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let pause = backoff(&state).as_millis() as u64;
            pauses.push(pause);
            state.backoff_ms = pause;
            state.restart_count += 1;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
        state.ran_ns = 10_000_000_000;
        assert_eq!(backoff(&state), BACKOFF_MIN);
        // The next quick end goes on from there, however often it was restarted before.
        (state.backoff_ms, state.ran_ns) = (100, 9_999_999_999);
        assert_eq!(backoff(&state), Duration::from_millis(200));
    }
}
