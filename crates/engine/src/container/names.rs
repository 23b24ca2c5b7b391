//! A container's name is a symbolic link to its id: made, found and taken away in one step each.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_store::Lock;

use super::{ContainerRecord, check_name};
use crate::codes;
use crate::engine::{Engine, host_error};

impl Engine {
    fn name_link(&self, name: &str) -> PathBuf {
        self.roots().data.join("names").join(name)
    }

    /// The container of exactly this name.
    pub(crate) fn by_name(&self, name: &str) -> Result<Option<ContainerRecord>> {
        if check_name(name).is_err() {
            return Ok(None);
        }
        let Ok(id) = std::fs::read_link(self.name_link(name)) else { return Ok(None) };
        let record = self.records().get(&id.to_string_lossy())?;
        Ok(record.filter(|record| record.name == name))
    }

    /// Gives a name to the container `id`, whose lock the caller holds.
    pub(crate) fn claim_name(&self, name: &str, id: &str) -> Result<()> {
        check_name(name)?;
        let link = self.name_link(name);
        let failed = |error: std::io::Error| host_error(format!("can't give the name `{name}`"), error);
        if let Some(folder) = link.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        loop {
            match std::os::unix::fs::symlink(id, &link) {
                Ok(()) => return Ok(()),
                // Claimed by this container before it was killed.
                Err(error)
                    if error.kind() == ErrorKind::AlreadyExists
                        && std::fs::read_link(&link).is_ok_and(|owner| owner.as_os_str() == id) =>
                {
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => self.drop_stale_name(name)?,
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// Takes away a link whose container was never finished or is gone; an error where it is alive.
    fn drop_stale_name(&self, name: &str) -> Result<()> {
        let link = self.name_link(name);
        let Ok(owner) = std::fs::read_link(&link) else { return Ok(()) };
        let owner = owner.to_string_lossy().into_owned();
        let taken = || {
            Diagnostic::error(&codes::NAME_TAKEN, format!("the name `{name}` is in use"))
                .cause(format!("container {} has it", owner.get(..12).unwrap_or(&owner)))
                .hint(format!("remove it with `carrack rm {name}`, or choose another name"))
                .boxed()
        };
        if self.records().get(&owner)?.is_some_and(|record| record.name == name) {
            return Err(taken());
        }
        // Whoever is making that container holds its lock. The order of locks is a thread's, and this one is never waited
        // for: so it is tried in a thread of its own.
        std::thread::scope(|scope| {
            let attempt = scope.spawn(|| {
                let _guard = self.store.lock(Lock::Container(owner.clone()), Duration::ZERO).map_err(|_| taken())?;
                if self.records().get(&owner)?.is_some_and(|record| record.name == name) {
                    return Err(taken());
                }
                match std::fs::remove_file(&link) {
                    Err(error) if error.kind() != ErrorKind::NotFound => Err(host_error("can't free a name", error)),
                    _ => Ok(()),
                }
            });
            attempt.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Frees every name of a container that was never finished, whose lock the caller holds.
    pub(crate) fn forget_names_of(&self, id: &str) -> Result<()> {
        for name in crate::engine::entries(&self.roots().data.join("names")) {
            self.release_name(&name, id)?;
        }
        Ok(())
    }

    /// Frees a name, where it still is this container's.
    pub(crate) fn release_name(&self, name: &str, id: &str) -> Result<()> {
        let link = self.name_link(name);
        match std::fs::read_link(&link) {
            Ok(owner) if owner.as_os_str() == id => {
                std::fs::remove_file(&link).map_err(|error| host_error(format!("can't free the name `{name}`"), error))
            }
            _ => Ok(()),
        }
    }
}
