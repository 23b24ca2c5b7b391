//! Freezing a container's processes where they are, and letting them go on.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_runtime::cgroup::Cgroup;
use carrack_runtime::shim::Client;
use carrack_runtime::state::{State, Status};
use carrack_store::Lock;

use super::ContainerRecord;
use super::stop::not_running;
use crate::codes;
use crate::engine::{Engine, entries, host_error};

/// On the run root: a file for each container that a command has paused for a moment, locked by it.
const MOMENTS: &str = "moments";

impl Engine {
    /// Freezes every process of a running container.
    ///
    /// The shim hears of it first: its probes are not to be frozen half-way, and somebody who is killed in between leaves a
    /// container that calls itself paused and that `unpause` and another `pause` set right.
    pub fn pause(&self, name: &str) -> Result<()> {
        let record = self.find(name)?;
        let _guard = self.lock_container(&record.id)?;
        self.forget_moment(&record.id)?;
        self.pause_locked(&record)
    }

    /// Freezes a running container for as long as the caller holds what it gets, and lets it go on himself: whoever is
    /// killed in between leaves it to the next command that changes anything.
    pub(super) fn pause_for_a_moment(&self, record: &ContainerRecord) -> Result<File> {
        let _guard = self.lock_container(&record.id)?;
        let path = self.moment(&record.id);
        let failed = |error| host_error(format!("can't write {}", path.display()), error);
        std::fs::create_dir_all(self.roots().run.join(MOMENTS)).map_err(failed)?;
        let moment = File::create(&path).map_err(failed)?;
        moment.lock().map_err(failed)?;
        let paused = self.pause_locked(record);
        if paused.is_err() {
            self.forget_moment(&record.id)?;
        }
        paused.map(|()| moment)
    }

    /// Lets go on what is paused on behalf of commands that were killed meanwhile.
    pub(crate) fn end_moments(&self) -> Result<()> {
        for id in entries(&self.roots().run.join(MOMENTS)) {
            // Whoever pauses or lets go on just now has the lock.
            let Ok(_guard) = self.store.lock(Lock::Container(id.clone()), Duration::ZERO) else { continue };
            let is_over = File::open(self.moment(&id)).is_ok_and(|moment| moment.try_lock().is_ok());
            if !is_over {
                continue;
            }
            if let Some(record) = self.records().get(&id)? {
                // One that has ended meanwhile, or was let go on, needs nobody.
                let _ = self.unpause_locked(&record);
            }
            self.forget_moment(&id)?;
        }
        Ok(())
    }

    pub(super) fn forget_moment(&self, id: &str) -> Result<()> {
        let path = self.moment(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(host_error(format!("can't remove {}", path.display()), error))
            }
            _ => Ok(()),
        }
    }

    fn moment(&self, id: &str) -> PathBuf {
        self.roots().run.join(MOMENTS).join(id)
    }

    fn pause_locked(&self, record: &ContainerRecord) -> Result<()> {
        let cgroup = self.cgroup_of(record)?;
        match self.status_of(record)? {
            Status::Running => {}
            Status::Paused if !cgroup.is_frozen() => return cgroup.freeze(true),
            Status::Paused => return Err(wrong(record, "is already paused")),
            Status::Restarting => return Err(wrong(record, "is restarting: wait until it runs")),
            _ => return Err(not_running(record)),
        }
        self.tell_paused(record, true)?;
        let frozen = cgroup.freeze(true);
        if frozen.is_err() {
            cgroup.freeze(false)?;
            self.tell_paused(record, false)?;
        }
        frozen
    }

    /// Lets the processes of a paused container go on.
    pub fn unpause(&self, name: &str) -> Result<()> {
        let record = self.find(name)?;
        let _guard = self.lock_container(&record.id)?;
        self.unpause_locked(&record)
    }

    fn unpause_locked(&self, record: &ContainerRecord) -> Result<()> {
        match self.status_of(record)? {
            Status::Paused => {
                self.cgroup_of(record)?.freeze(false)?;
                self.tell_paused(record, false)?;
                self.forget_moment(&record.id)
            }
            Status::Running | Status::Restarting => Err(wrong(record, "is not paused")),
            _ => Err(not_running(record)),
        }
    }

    /// Lets a container that may be paused go on, so that it gets its signals. One that ends meanwhile has nobody to tell.
    pub(crate) fn thaw(&self, record: &ContainerRecord) -> Result<()> {
        if self.status_of(record)? == Status::Paused {
            self.cgroup_of(record)?.freeze(false)?;
            let _ended = self.tell_paused(record, false);
            self.forget_moment(&record.id)?;
        }
        Ok(())
    }

    /// Refuses what a frozen program can't do.
    pub(crate) fn refuse_paused(&self, record: &ContainerRecord, attempt: &str) -> Result<()> {
        if self.status_of(record)? != Status::Paused {
            return Ok(());
        }
        Err(wrong(record, &format!("is paused and can't {attempt}")))
    }

    fn tell_paused(&self, record: &ContainerRecord, paused: bool) -> Result<()> {
        let folder = self.store.container_run_dir(&record.id)?;
        match Client::connect(&folder).and_then(|mut shim| shim.paused(paused)) {
            // It has ended since it was asked after.
            Err(_) if !matches!(self.status_of(record)?, Status::Running | Status::Paused) => Err(not_running(record)),
            told => told,
        }
    }

    pub(crate) fn status_of(&self, record: &ContainerRecord) -> Result<Status> {
        Ok(self.state(&record.id)?.map_or(Status::Created, |state: State| state.actual_status()))
    }

    pub(crate) fn cgroup_of(&self, record: &ContainerRecord) -> Result<Cgroup> {
        Cgroup::open(self.hierarchies()?, &self.cgroup_parent_of(Some(&record.container)), &record.id)
    }
}

fn wrong(record: &ContainerRecord, what: &str) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::error(&codes::PAUSED, format!("{} {what}", record.name));
    if what.contains("is not paused") || what.contains("restarting") {
        return diagnostic.hint("`carrack ps` shows what it does").boxed();
    }
    diagnostic.hint(format!("let it go on with `carrack unpause {}`", record.name)).boxed()
}
