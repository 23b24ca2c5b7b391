use carrack_diag::{Diagnostic, Result};
use carrack_runtime::state::Status;
use carrack_store::{KeepKind, Lock};

use super::ContainerRecord;
use crate::codes;
use crate::engine::{Engine, remove_folder};

/// How a container is removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Kills it first.
    pub force: bool,
    /// Its anonymous volumes go as well, with their data.
    pub anonymous_volumes: bool,
}

impl Engine {
    /// Removes a container.
    pub fn remove(&self, name: &str, options: &RemoveOptions) -> Result<()> {
        let record = self.find(name)?;
        if options.force {
            self.kill_to_remove(&record)?;
        }
        // With --rm they go at its exit, so they go where it never came to one.
        self.remove_record(&record, options.anonymous_volumes || record.container.auto_remove)
    }

    /// Removes a container that does not run.
    pub(crate) fn remove_record(&self, record: &ContainerRecord, anonymous_volumes: bool) -> Result<()> {
        let _guard = self.lock_container(&record.id)?;
        if let Some(state) = self.state(&record.id)?.filter(|state| state.actual_status() == Status::Exited) {
            self.dismiss_shim(&record.id, &state)?;
        }
        self.remove_locked(record, anonymous_volumes)
    }

    pub(crate) fn remove_locked(&self, record: &ContainerRecord, anonymous_volumes: bool) -> Result<()> {
        let lock = Lock::Container(record.id.clone());
        // Gone meanwhile: with --rm it goes by itself.
        let Some(current) = self.records().get(&record.id)? else { return self.store.forget_lock(&lock) };
        let status = self.state(&record.id)?.map_or(Status::Created, |state| state.actual_status());
        if matches!(status, Status::Running | Status::Paused | Status::Restarting) {
            return Err(Diagnostic::error(
                &codes::RUNNING,
                format!("{} is {status} and was not removed", current.name),
            )
            .hint(format!("stop it first, or use `carrack rm --force {}`", current.name))
            .boxed());
        }
        self.mark_active(&current.id)?;
        let shim_pid = self.tear_down_marked(&current)?;
        if anonymous_volumes {
            for used in self.volumes_of_its_own(&current)? {
                self.discard_volume(&used)?;
            }
        }
        // Whoever is killed from here on leaves no container that has lost its name or its files: what is kept without a
        // record is taken away by the next command that changes anything.
        self.records().remove(&current.id)?;
        self.release_name(&current.name, &current.id)?;
        remove_folder(&self.store.container_run_dir(&current.id)?)?;
        remove_folder(&self.store.container_dir(&current.id)?)?;
        self.store.unkeep(KeepKind::Container, &current.id)?;
        self.store.put_layers_away()?;
        self.unmark_active(&current.id, shim_pid)?;
        self.emit(&current, "destroy", &[]);
        self.store.forget_lock(&lock)
    }
}
