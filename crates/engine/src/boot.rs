//! After a reboot, or an interruption: open journals are settled, shims that are gone are replaced, and what the restart
//! policies say is started.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_runtime::cgroup::Cgroup;
use carrack_runtime::state::Status;
use carrack_specgen::container::RestartPolicy;
use carrack_store::{KeepKind, Lock};

use crate::codes;
use crate::container::{ContainerRecord, StopOptions, event};
use crate::engine::{Engine, entries, host_error, remove_folder};
use crate::journal::Outcome;

impl Engine {
    /// Settles and starts; a line for each thing done. What fails is said and does not keep the rest from being done.
    pub fn boot(&self) -> Result<Vec<String>> {
        let mut report = Vec::new();
        for project in self.store.projects()? {
            let guard = self.lock_stack(&project)?;
            match self.settle(&project, &guard, &|_, _| {}) {
                Ok(Some(Outcome::Applied)) => report.push(format!("{project}: an interrupted apply was finished")),
                Ok(Some(Outcome::Undone)) => report.push(format!("{project}: an interrupted apply was undone")),
                Ok(None) => {}
                Err(error) => report.push(format!("{project}: {error}")),
            }
        }
        report.extend(self.recover()?.into_iter().map(|told| told.message));
        for record in self.records().list()?.into_values() {
            let state = self.state(&record.id)?;
            let active = state.as_ref().is_some_and(|state| {
                matches!(state.actual_status(), Status::Running | Status::Paused | Status::Restarting)
            });
            if active || !starts_at_boot(&record, self.was_stopped(&record)?) {
                continue;
            }
            match self.start_record(&record) {
                Ok(()) => report.push(format!("{}: started", record.name)),
                Err(error) => report.push(format!("{}: {error}", record.name)),
            }
        }
        Ok(report)
    }

    /// Stops every container as the host goes down: policies say at the next boot which of them come back. A line for each
    /// that did not stop; the rest is stopped all the same.
    pub fn stop_for_shutdown(&self) -> Result<Vec<String>> {
        let mut running = Vec::new();
        for record in self.records().list()?.into_values() {
            let state = self.state(&record.id)?;
            if state.as_ref().is_some_and(|state| state.status.is_active() && (state.is_alive() || state.has_shim())) {
                running.push(record);
            }
        }
        let stop = |record: &ContainerRecord| {
            let outcome = self.stop_and(record, &StopOptions::default(), event::UNTIL_BOOT);
            outcome.err().map(|error| format!("{}: {error}", record.name))
        };
        // Each may take as long as its program does.
        let failures = std::thread::scope(|scope| {
            let stops: Vec<_> = running.iter().map(|record| scope.spawn(|| stop(record))).collect();
            stops.into_iter().filter_map(|stop| stop.join().ok().flatten()).collect()
        });
        Ok(failures)
    }

    /// Takes care of what interrupted commands and killed shims have left: a living program gets a new shim, a dead one is
    /// put away, what was half made is taken back. Tells of each container what became of it.
    pub(crate) fn recover(&self) -> Result<Vec<Diagnostic>> {
        let mut report = Vec::new();
        let hierarchies = self.hierarchies()?;
        let suspects = self.suspects(hierarchies)?;
        if suspects.is_none() {
            Cgroup::remove_shims(hierarchies, &self.cgroup_parent());
        }
        self.end_moments()?;
        for id in suspects.into_iter().flatten() {
            // What its program has left behind is the shim's to put away, also in the moment after the end.
            if let Some(state) = self.state(&id)? {
                // One that was killed a moment ago is as good as gone: its successor needs what it still holds.
                if state.is_served() || !self.wait_for_shim(&state)? {
                    continue;
                }
            }
            // Whoever is starting or stopping it has the lock, and is not interrupted.
            let Ok(guard) = self.store.lock(Lock::Container(id.clone()), Duration::ZERO) else { continue };
            let Some(record) = self.records().get(&id)? else {
                self.take_away_unrecorded(&id)?;
                continue;
            };
            let is_owed_a_start = self.recover_container(&record, &mut report)?;
            drop(guard);
            if is_owed_a_start && let Err(error) = self.start_record(&record) {
                report.push(failed(&record, "its restart policy wants it started", &error));
            }
        }
        self.recover_from_reboot()?;
        self.recover_builds()?;
        Ok(report)
    }

    /// Whether its restart policy wants it started again.
    fn recover_container(&self, record: &ContainerRecord, report: &mut Vec<Diagnostic>) -> Result<bool> {
        match self.state(&record.id)? {
            Some(state) if state.has_shim() => {}
            Some(state) if state.status.is_active() && state.is_alive() => match self.adopt(record, &state) {
                Ok(()) => {
                    let message = format!("{}: adopted by a new shim", record.name);
                    report.push(Diagnostic::note(&codes::SHIM_GONE, message));
                }
                Err(error) => report.push(failed(record, "it runs without a shim", &error)),
            },
            Some(state) if state.status.is_active() => {
                let waited_for_its_restart = state.status == Status::Restarting;
                // A boot is no failure of its program: what follows one is for policies that name boots.
                let has_failed = state.actual_status() == Status::Lost && event::wants_restart(record, &state);
                self.tear_down(record)?;
                if !waited_for_its_restart {
                    let message = format!("{}: it is gone, and nobody saw how", record.name);
                    report.push(Diagnostic::warning(&codes::SHIM_GONE, message));
                }
                let always = matches!(record.container.restart, RestartPolicy::Always | RestartPolicy::UnlessStopped);
                return Ok((always || has_failed || waited_for_its_restart) && !self.stays_down(record)?);
            }
            _ => self.tear_down(record)?,
        }
        Ok(false)
    }

    /// Once a boot: marks are void after one, so what was being made or removed is looked for everywhere.
    fn recover_from_reboot(&self) -> Result<()> {
        let (path, boot) = (self.roots().run.join("recovered"), carrack_runtime::state::boot_id());
        if std::fs::read(&path).is_ok_and(|recovered| recovered == boot.as_bytes()) {
            return Ok(());
        }
        let made: HashSet<String> = self.records().names()?.into_iter().collect();
        let run = &self.roots().run;
        let mut ids: BTreeSet<String> = self.store.keepers(KeepKind::Container)?.into_iter().collect();
        ids.extend(entries(&run.join("containers")).into_iter().chain(self.marked()));
        for id in ids.iter().filter(|id| !made.contains(*id)) {
            let Ok(_guard) = self.store.lock(Lock::Container(id.clone()), Duration::ZERO) else { continue };
            if self.records().get(id)?.is_none() {
                self.take_away_unrecorded(id)?;
            }
        }
        std::fs::write(&path, boot).map_err(|error| host_error(format!("can't write {}", path.display()), error))
    }

    /// Takes away a container that somebody was making or removing when he was killed: kept, perhaps named, perhaps with
    /// something on the run root, but not recorded. The caller holds its lock.
    fn take_away_unrecorded(&self, id: &str) -> Result<()> {
        self.give_back(id, None)?;
        remove_folder(&self.store.container_run_dir(id)?)?;
        remove_folder(&self.store.container_dir(id)?)?;
        self.forget_names_of(id)?;
        self.store.unkeep(KeepKind::Container, id)?;
        self.unmark_active(id, None)?;
        self.store.forget_lock(&Lock::Container(id.to_owned()))
    }
}

fn failed(record: &ContainerRecord, state: &str, error: &Diagnostic) -> Diagnostic {
    let told = Diagnostic::warning(&codes::SHIM_GONE, format!("{}: {state}: {error}", record.name));
    told.hint("the next command that changes anything tries again")
}

fn starts_at_boot(record: &ContainerRecord, was_stopped: bool) -> bool {
    match record.container.restart {
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !was_stopped,
        RestartPolicy::No | RestartPolicy::OnFailure { .. } => false,
    }
}
