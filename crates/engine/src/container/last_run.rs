//! How a container ran last, kept where a boot finds it: what is on the run root is void then.

use std::path::PathBuf;

use carrack_diag::Result;
use carrack_runtime::state::State;

use super::ContainerRecord;
use crate::engine::{Engine, host_error, now};

/// In the container's folder on the data root. It is not synced: after a power failure a container may look as it did a
/// moment before.
const FILE: &str = "last-run.json";

impl Engine {
    /// Notes that a container runs. A full disk is no reason to end it.
    pub(super) fn note_start(&self, record: &ContainerRecord) {
        let _not_noted = self.note_run(record, &State { started_at: Some(now()), ..State::default() });
    }

    /// Notes how a container ended.
    pub(super) fn note_end(&self, record: &ContainerRecord, state: &State) {
        if state.started_at.is_some() && !state.actual_status().is_active() {
            let _not_noted = self.note_run(record, state);
        }
    }

    /// One that goes at its end leaves nobody to ask how it was.
    fn note_run(&self, record: &ContainerRecord, state: &State) -> Result<()> {
        if record.container.auto_remove {
            return Ok(());
        }
        let path = self.last_run_path(&record.id)?;
        // Plain data: writing it as text can't fail.
        let text = serde_json::to_vec(&state.clone().of_former_boot()).unwrap_or_default();
        let temporary = path.with_extension("new");
        std::fs::write(&temporary, text)
            .and_then(|()| std::fs::rename(&temporary, &path))
            .map_err(|error| host_error(format!("can't write {}", path.display()), error))
    }

    /// The state of a container that ran in a former boot; none where it never did.
    pub(super) fn last_run(&self, id: &str) -> Result<Option<State>> {
        let path = self.last_run_path(id)?;
        match std::fs::read(&path) {
            // Cut short by a power failure, it still says that it ran.
            Ok(text) => Ok(Some(serde_json::from_slice::<State>(&text).unwrap_or_default().of_former_boot())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(host_error(format!("can't read {}", path.display()), error)),
        }
    }

    fn last_run_path(&self, id: &str) -> Result<PathBuf> {
        Ok(self.store.container_dir(id)?.join(FILE))
    }
}
