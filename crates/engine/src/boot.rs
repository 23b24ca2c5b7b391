//! After a reboot, or an interruption: open journals are settled, shims that are gone are replaced, and what the restart
//! policies say is started.

use carrack_diag::Result;
use carrack_runtime::state::{FILE, State, Status};
use carrack_specgen::container::RestartPolicy;
use carrack_store::Layout;

use crate::container::ContainerRecord;
use crate::engine::Engine;
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
        report.extend(self.recover()?);
        for record in self.records().list()?.into_values() {
            let state = self.state(&record.id)?;
            let active = state.as_ref().is_some_and(|state| {
                matches!(state.actual_status(), Status::Running | Status::Paused | Status::Restarting)
            });
            if active || !starts_at_boot(&record, self.stays_down(&record)?) {
                continue;
            }
            match self.start_record(&record) {
                Ok(()) => report.push(format!("{}: started", record.name)),
                Err(error) => report.push(format!("{}: {error}", record.name)),
            }
        }
        Ok(report)
    }

    /// Takes care of containers whose shim is gone: a living program gets a new shim, a dead one is put away.
    pub(crate) fn recover(&self) -> Result<Vec<String>> {
        let mut report = Vec::new();
        for id in self.store.run_records::<State>("containers", "state", Layout::Folder(FILE)).names()? {
            let Some(state) = self.state(&id)? else { continue };
            let active = matches!(state.status, Status::Running | Status::Paused | Status::Restarting);
            if !active || state.has_shim() {
                continue;
            }
            let Some(record) = self.records().get(&id)? else { continue };
            let _guard = self.lock_container(&record.id)?;
            // Somebody may have been faster.
            let Some(state) = self.state(&record.id)?.filter(|state| !state.has_shim()) else { continue };
            if state.is_alive() {
                match self.adopt(&record, &state) {
                    Ok(()) => report.push(format!("{}: adopted by a new shim", record.name)),
                    Err(error) => report.push(format!("{}: {error}", record.name)),
                }
            } else {
                self.tear_down(&record)?;
                report.push(format!("{}: it is gone, and nobody saw how", record.name));
            }
        }
        Ok(report)
    }
}

fn starts_at_boot(record: &ContainerRecord, stays_down: bool) -> bool {
    match record.container.restart {
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !stays_down,
        RestartPolicy::No | RestartPolicy::OnFailure { .. } => false,
    }
}
