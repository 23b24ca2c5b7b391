//! What changed between two descriptions, field by field.

use carrack_oci::Digest;
use carrack_specgen::Container;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Network, Volume, label};

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// In the words of the Compose file: `environment DEBUG`, `image`, `ports`.
    pub field: String,
    /// What it was. None where it was not there, or where the value is nobody's business (`environment`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is to be. None as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Change {
    /// A change whose values are not told.
    pub fn unnamed_values(field: impl Into<String>) -> Self {
        Self { field: field.into(), before: None, after: None }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{} {before} → {after}", self.field),
            _ => write!(f, "{} changed", self.field),
        }
    }
}

/// What differs between two containers. Compose's own labels and the name do not count: they follow from the rest.
pub(crate) fn containers(before: (&Container, &Digest), after: (&Container, &Digest)) -> Vec<Change> {
    let mut changes = Vec::new();
    if before.0.image != after.0.image {
        changes.push(Change {
            field: "image".into(),
            before: Some(before.0.image.clone()),
            after: Some(after.0.image.clone()),
        });
    } else if before.1 != after.1 {
        let field = format!("image {}", after.0.image);
        changes.push(Change { field, before: Some(before.1.short()), after: Some(after.1.short()) });
    }
    let strip = |container: &Container| {
        let mut container = container.clone();
        container.name.clear();
        container.image.clear();
        container.labels.retain(|key, _| !key.starts_with(label::PREFIX));
        container
    };
    let (before, after) = (strip(before.0), strip(after.0));
    if before != after {
        fields(&before, &after, &mut changes);
    }
    changes
}

/// What differs between two networks.
pub(crate) fn networks(before: &Network, after: &Network) -> Vec<Change> {
    let strip = |network: &Network| {
        let mut network = network.clone();
        network.labels.retain(|key, _| !key.starts_with(label::PREFIX));
        network.origin.clear();
        if network.driver.is_empty() {
            network.driver = "bridge".into();
        }
        network
    };
    let mut changes = Vec::new();
    fields(&strip(before), &strip(after), &mut changes);
    changes
}

/// What differs between two volumes.
pub(crate) fn volumes(before: &Volume, after: &Volume) -> Vec<Change> {
    let strip = |volume: &Volume| {
        let mut volume = volume.clone();
        volume.labels.retain(|key, _| !key.starts_with(label::PREFIX));
        volume.origin.clear();
        if volume.driver.is_empty() {
            volume.driver = "local".into();
        }
        volume
    };
    let mut changes = Vec::new();
    fields(&strip(before), &strip(after), &mut changes);
    changes
}

/// Fields whose entries are told apart: a change names the entry, never its value.
const MAPPINGS: [&str; 5] = ["env", "labels", "sysctls", "ulimits", "resources"];

/// The types are compared through JSON so that a field added to them later can't be forgotten here.
fn fields<T: Serialize>(before: &T, after: &T, changes: &mut Vec<Change>) {
    let object = |value: &T| match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (before, after) = (object(before), object(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            continue;
        }
        if !MAPPINGS.contains(&name.as_str()) {
            changes.push(scalars(name, old, new));
            continue;
        }
        let empty = serde_json::Map::new();
        let entries =
            |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_else(|| empty.clone());
        let (old, new) = (entries(old), entries(new));
        let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys.into_iter().filter(|key| old.get(*key) != new.get(*key)) {
            changes.push(if name == "resources" {
                scalars(key, old.get(key), new.get(key))
            } else {
                Change::unnamed_values(format!("{} {key}", field_name(name)))
            });
        }
    }
}

fn scalars(name: &str, old: Option<&Value>, new: Option<&Value>) -> Change {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Bool(flag)) => Some(flag.to_string()),
        _ => None,
    };
    Change { field: field_name(name).to_owned(), before: text(old), after: text(new) }
}

/// The Compose file's word for a field of [`Container`].
fn field_name(field: &str) -> &str {
    match field {
        "env" => "environment",
        "mounts" => "volumes",
        "files" => "secrets or configs",
        "network" => "networks",
        "log" => "logging",
        "shm_size_bytes" => "shm_size",
        "stop_timeout_ms" => "stop_grace_period",
        "open_stdin" => "stdin_open",
        "memory_bytes" => "memory limit",
        "memory_reservation_bytes" => "memory reservation",
        "nano_cpus" => "cpus",
        other => other,
    }
}
