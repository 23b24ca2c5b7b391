use carrack_diag::{Diagnostic, Result};
use carrack_network::Networks;
use carrack_runtime::shim::Client;

use super::ContainerRecord;
use super::create::durability;
use crate::codes;
use crate::engine::Engine;

impl Engine {
    /// Gives a container another name, by which its neighbours find it from now on.
    pub fn rename_container(&self, from: &str, to: &str) -> Result<()> {
        let found = self.find(from)?;
        let to = to.strip_prefix('/').unwrap_or(to);
        let _guard = self.lock_container(&found.id)?;
        let mut record = self.still(&found)?;
        if record.name == to {
            return Err(Diagnostic::error(&codes::NAME_TAKEN, format!("`{to}` is the container's name already"))
                .hint("give another name, or leave it")
                .boxed());
        }
        to.clone_into(&mut record.container.name);
        let old = self.put_renamed(record.clone(), to)?;
        let networks = Networks::new(&self.store);
        let changed = networks.rename(&record.id, &old, to)?;
        self.update_names(changed.iter().map(String::as_str))?;
        if changed.is_empty() { Ok(()) } else { self.write_own_names(&record.id) }
    }

    /// Gives a container another name; on its networks it goes on answering to those it was made with.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let found = self.find(from)?;
        let _guard = self.lock_container(&found.id)?;
        let record = self.still(&found)?;
        // So it is where a rename that was killed before it began is done again or taken back.
        if record.name == to {
            return Ok(());
        }
        self.put_renamed(record, to).map(drop)
    }

    /// As it is now that it is locked.
    pub(crate) fn still(&self, found: &ContainerRecord) -> Result<ContainerRecord> {
        self.records().get(&found.id)?.ok_or_else(|| {
            Diagnostic::error(&codes::NO_SUCH_CONTAINER, format!("{} was removed meanwhile", found.name)).boxed()
        })
    }

    /// Gives the old name.
    fn put_renamed(&self, mut record: ContainerRecord, to: &str) -> Result<String> {
        self.claim_name(to, &record.id)?;
        let old = std::mem::replace(&mut record.name, to.to_owned());
        if let Err(error) = self.records().put(&record.id, &record, durability(&record.container)) {
            self.release_name(to, &record.id)?;
            return Err(error);
        }
        self.release_name(&old, &record.id)?;
        if self.state(&record.id)?.is_some_and(|state| state.has_shim())
            && let Ok(mut shim) = Client::connect(&self.store.container_run_dir(&record.id)?)
        {
            // One that is about to end has nothing more to say.
            let _ = shim.named(to);
        }
        self.emit(&record, "rename", &[("oldName", format!("/{old}"))]);
        Ok(old)
    }
}
