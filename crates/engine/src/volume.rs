//! Volumes, for people.

mod attached;
mod local;

use std::collections::BTreeMap;
use std::path::PathBuf;

use carrack_diag::{Diagnostic, Result};
use carrack_specgen::container::VolumeSettings;
use carrack_store::{Volume, anonymous_volume_name};
use serde_json::{Value, json};

use crate::codes;
use crate::engine::Engine;
use local::LocalMount;

/// A volume as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeView {
    /// Unique on the root.
    pub name: String,
    /// Free text by key.
    pub labels: BTreeMap<String, String>,
    /// The folder that is mounted.
    pub mountpoint: PathBuf,
}

/// Docker's mark of volumes that nobody has named.
const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

fn labels_of(volume: &Volume) -> BTreeMap<String, String> {
    let mark = volume.anonymous.then(|| (ANONYMOUS_LABEL.to_owned(), String::new()));
    volume.labels.clone().into_iter().chain(mark).collect()
}

/// Whether a volume can be made so.
///
/// # Errors
/// `engine/invalid-volume-option`.
pub(crate) fn check_volume_settings(name: &str, settings: &VolumeSettings) -> Result<()> {
    LocalMount::read(name, &settings.options).map(drop)
}

/// RFC 3339, as Docker tells when a volume was made.
fn to_the_second(time: &str) -> String {
    time.split_once('.').map_or(time.to_owned(), |(seconds, _)| format!("{seconds}Z"))
}

/// As Go writes a map that nobody made.
fn filled(map: BTreeMap<String, String>) -> Value {
    if map.is_empty() { Value::Null } else { json!(map) }
}

impl Engine {
    /// All volumes, by name.
    pub fn volume_views(&self) -> Result<Vec<VolumeView>> {
        let volumes = self.store.volumes()?.into_values();
        let view = |volume: Volume| {
            Ok(VolumeView {
                labels: labels_of(&volume),
                mountpoint: self.store.volume_data(&volume.name)?,
                name: volume.name,
            })
        };
        volumes.map(view).collect()
    }

    /// The names of all volumes.
    pub fn volumes(&self) -> Result<Vec<String>> {
        Ok(self.store.volumes()?.into_keys().collect())
    }

    /// Makes a volume where it is not there; without a name, an anonymous one. Options are those of Docker's driver `local`.
    /// Gives its name.
    pub fn create_volume(
        &self,
        name: Option<&str>,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<String> {
        let (name, anonymous) = match name {
            Some(name) => (name.to_owned(), false),
            None => (anonymous_volume_name()?, true),
        };
        let settings = VolumeSettings { labels, options };
        check_volume_settings(&name, &settings)?;
        self.make_volume(&name, anonymous, &settings)?;
        Ok(name)
    }

    /// Makes a volume where there is none of that name.
    pub(crate) fn make_volume(&self, name: &str, anonymous: bool, settings: &VolumeSettings) -> Result<Volume> {
        if let Some(volume) = self.store.volume(name)? {
            return Ok(volume);
        }
        let volume =
            self.store.create_volume_with(name, anonymous, settings.labels.clone(), settings.options.clone())?;
        self.emit_volume("create", name, &[]);
        Ok(volume)
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
            "CreatedAt": to_the_second(&volume.created),
            "Driver": "local",
            "Labels": filled(labels_of(&volume)),
            "Mountpoint": self.store.volume_data(name)?,
            "Name": volume.name,
            "Options": filled(volume.options),
            "Scope": "local",
        }))
    }
}
