//! Volumes, for people.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result};
use carrack_store::anonymous_volume_name;
use serde_json::{Value, json};

use crate::codes;
use crate::engine::Engine;

impl Engine {
    /// The names of all volumes.
    pub fn volumes(&self) -> Result<Vec<String>> {
        Ok(self.store.volumes()?.into_keys().collect())
    }

    /// Makes a volume where it is not there; without a name, an anonymous one. Gives its name.
    pub fn create_volume(&self, name: Option<&str>, labels: BTreeMap<String, String>) -> Result<String> {
        let (name, anonymous) = match name {
            Some(name) => (name.to_owned(), false),
            None => (anonymous_volume_name()?, true),
        };
        self.make_volume(&name, anonymous, labels)?;
        Ok(name)
    }

    /// Makes a volume where there is none of that name.
    pub(crate) fn make_volume(&self, name: &str, anonymous: bool, labels: BTreeMap<String, String>) -> Result<()> {
        let is_new = self.store.volume(name)?.is_none();
        self.store.create_volume(name, anonymous, labels)?;
        if is_new {
            self.emit_volume("create", name, &[]);
        }
        Ok(())
    }

    /// Removes a volume that nothing uses; whether it was there.
    pub(crate) fn discard_volume(&self, name: &str) -> Result<bool> {
        let was_there = self.store.remove_volume(name)?;
        if was_there {
            self.emit_volume("destroy", name, &[]);
        }
        Ok(was_there)
    }

    /// Removes a volume with its data; refused while a container uses it.
    pub fn remove_volume(&self, name: &str, force: bool) -> Result<()> {
        if self.discard_unused_volume(name)? || force { Ok(()) } else { Err(self.no_volume(name)) }
    }

    /// Whether it was there.
    pub(crate) fn discard_unused_volume(&self, name: &str) -> Result<bool> {
        let was_there = self.store.remove_volume_unless(name, || {
            let records = self.records().list()?;
            match records.values().find(|record| record.volumes.values().any(|used| used.name == name)) {
                Some(record) => Err(Diagnostic::error(&codes::VOLUME_IN_USE, format!("the volume {name} is in use"))
                    .cause(format!("the container {} has it", record.name))
                    .hint(format!("remove the container first: `carrack rm {}`", record.name))
                    .boxed()),
                None => Ok(()),
            }
        })?;
        if was_there {
            self.emit_volume("destroy", name, &[]);
        }
        Ok(was_there)
    }

    fn no_volume(&self, name: &str) -> Box<Diagnostic> {
        let diagnostic = Diagnostic::error(&codes::NO_SUCH_VOLUME, format!("there is no volume `{name}`"));
        let names = self.volumes().unwrap_or_default();
        match carrack_diag::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")).boxed(),
            None => diagnostic.hint("`carrack volume ls` lists them").boxed(),
        }
    }

    /// Everything known of a volume.
    pub fn inspect_volume(&self, name: &str) -> Result<Value> {
        let volume = self.store.volume(name)?.ok_or_else(|| self.no_volume(name))?;
        Ok(json!({
            "Name": volume.name,
            "CreatedAt": volume.created,
            "Driver": "local",
            "Labels": volume.labels,
            "Mountpoint": self.store.volume_data(name)?,
            "Scope": "local",
        }))
    }
}
