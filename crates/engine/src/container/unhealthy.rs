//! What follows when a container's check says that it is unhealthy.

use std::path::Path;

use carrack_diag::Result;
use carrack_oci::probe::OnUnhealthy;
use carrack_runtime::state::{HealthStatus, State, Status};
use carrack_store::Guard;

use super::ContainerRecord;
use super::stop::Target;
use crate::engine::{Engine, host_error};

/// In the run folder: how often the container was started again for it, and `due` behind it where the end that is about
/// to come is one more time.
const FILE: &str = "unhealthy";

impl Engine {
    /// The shim asks, and sees to what follows the end: it waits for nothing but this.
    pub(super) fn health_changed(&self, record: &ContainerRecord, state: &State, guard: Guard) -> Result<()> {
        let is_unhealthy = state.health.as_ref().is_some_and(|health| health.status == HealthStatus::Unhealthy);
        if !is_unhealthy || state.status != Status::Running || self.stays_down(record)? {
            return Ok(());
        }
        let target = match record.container.on_unhealthy {
            OnUnhealthy::Nothing => return Ok(()),
            OnUnhealthy::Kill => {
                drop(guard);
                Target::of(state)
            }
            OnUnhealthy::Stop => {
                drop(guard);
                self.intend_stop(record, b"")?
            }
            OnUnhealthy::Restart { max } => {
                let folder = self.store.container_run_dir(&record.id)?;
                let (count, _) = read(&folder);
                let is_left = max.is_none_or(|max| count < max);
                if is_left {
                    write(&folder, &format!("{} due", count.saturating_add(1)))?;
                }
                drop(guard);
                Target::of(state).filter(|_| is_left)
            }
        };
        let at_once = record.container.on_unhealthy == OnUnhealthy::Kill;
        target.map_or(Ok(()), |target| self.end_for_shim(record, &target, at_once))
    }
}

/// Whether the program has ended in order to be started again, which is so once.
pub(super) fn take_due(folder: &Path) -> Result<bool> {
    let (count, due) = read(folder);
    if due {
        write(folder, &count.to_string())?;
    }
    Ok(due)
}

fn read(folder: &Path) -> (u32, bool) {
    let text = std::fs::read_to_string(folder.join(FILE)).unwrap_or_default();
    let count = text.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
    (count, text.ends_with(" due"))
}

fn write(folder: &Path, text: &str) -> Result<()> {
    let path = folder.join(FILE);
    std::fs::write(&path, text).map_err(|error| host_error(format!("can't write {}", path.display()), error))
}
