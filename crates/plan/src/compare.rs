//! What changed between two descriptions, field by field.

use std::collections::BTreeSet;

use carrack_oci::Digest;
use carrack_specgen::Container;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Network, Volume, label};

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// In the words of the Compose file: `environment DEBUG`, `image`, `volume /data`.
    pub field: String,
    /// In what way.
    pub how: Way,
    /// What it was, where that is short and nobody's secret: never a value of `environment`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What it is to be, in the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// In what way a field differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// It was not there.
    Added,
    /// It was there.
    Removed,
    /// It is otherwise.
    Changed,
}

impl Change {
    /// A change whose values are not told.
    pub(crate) fn unnamed(field: impl Into<String>) -> Self {
        Self { field: field.into(), how: Way::Changed, before: None, after: None }
    }

    /// A change from one text to another.
    pub(crate) fn text(field: impl Into<String>, before: impl Into<String>, after: impl Into<String>) -> Self {
        Self { field: field.into(), how: Way::Changed, before: Some(before.into()), after: Some(after.into()) }
    }

    fn of(field: String, before: Option<&Value>, after: Option<&Value>) -> Self {
        let how = match (before, after) {
            (None, _) => Way::Added,
            (_, None) => Way::Removed,
            _ => Way::Changed,
        };
        Self { field, how, before: None, after: None }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.before, &self.after, self.how) {
            (Some(before), Some(after), _) => write!(f, "{} {before} → {after}", self.field),
            (Some(before), None, _) => write!(f, "{} {before} removed", self.field),
            (None, Some(after), _) => write!(f, "{} {after} added", self.field),
            (None, None, Way::Added) => write!(f, "{} added", self.field),
            (None, None, Way::Removed) => write!(f, "{} removed", self.field),
            (None, None, Way::Changed) => write!(f, "{} changed", self.field),
        }
    }
}

/// What differs between two containers. Compose's own labels and the name do not count: they follow from the rest.
pub(crate) fn containers(before: (&Container, &Digest), after: (&Container, &Digest)) -> Vec<Change> {
    let mut changes = Vec::new();
    if before.0.image != after.0.image {
        changes.push(Change::text("image", &before.0.image, &after.0.image));
    } else if before.1 != after.1 {
        changes.push(Change::text(format!("image {}", after.0.image), before.1.short(), after.1.short()));
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

/// How a field's entries are told apart.
enum Entries {
    /// It has none.
    Whole,
    /// By name; values are told.
    Named,
    /// By name; values are not told.
    Secret,
    /// By what the entry's own field says.
    Listed(&'static str),
}

/// The types are compared through JSON so that a field added to them later can't be forgotten here.
fn fields<T: Serialize>(before: &T, after: &T, changes: &mut Vec<Change>) {
    let (before, after) = (json(before), json(after));
    for name in names(&before, &after) {
        let (old, new) = (before.get(name), after.get(name));
        if old == new {
            continue;
        }
        match entries(name) {
            Entries::Whole => changes.push(told(field_name(name).to_owned(), old, new)),
            Entries::Named | Entries::Secret => {
                let told_apart = (object(old), object(new));
                named(name, &told_apart.0, &told_apart.1, changes);
            }
            Entries::Listed(key) => listed(name, (list(old, key), list(new, key)), changes),
        }
    }
}

fn entries(field: &str) -> Entries {
    match field {
        "env" | "labels" | "sysctls" | "ulimits" | "healthcheck" | "driver_options" => Entries::Secret,
        "resources" | "log" => Entries::Named,
        "mounts" => Entries::Listed("target"),
        "files" => Entries::Listed("name"),
        "network" => Entries::Listed("network"),
        "devices" => Entries::Listed("target"),
        _ => Entries::Whole,
    }
}

fn json<T: Serialize>(value: &T) -> Map<String, Value> {
    match serde_json::to_value(value) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

fn names<'a>(before: &'a Map<String, Value>, after: &'a Map<String, Value>) -> BTreeSet<&'a str> {
    before.keys().chain(after.keys()).map(String::as_str).collect()
}

fn named(field: &str, old: &Map<String, Value>, new: &Map<String, Value>, changes: &mut Vec<Change>) {
    for key in names(old, new) {
        let (old, new) = (old.get(key), new.get(key));
        if old == new {
            continue;
        }
        changes.push(match entries(field) {
            Entries::Named => told(field_name(key).to_owned(), old, new),
            _ if field == "healthcheck" => Change::of(format!("healthcheck {}", snake_case(key)), old, new),
            _ => Change::of(format!("{} {key}", field_name(field)), old, new),
        });
    }
}

fn listed(field: &str, (old, new): (Map<String, Value>, Map<String, Value>), changes: &mut Vec<Change>) {
    let before = changes.len();
    for key in names(&old, &new) {
        let (old, new) = (old.get(key), new.get(key));
        if old != new {
            let secret = [old, new].into_iter().flatten().any(|entry| entry.get("secret") == Some(&Value::Bool(true)));
            let kind = match field {
                "files" if secret => "secret",
                "files" => "config",
                "mounts" => "volume",
                "devices" => "device",
                _ => "network",
            };
            changes.push(Change::of(format!("{kind} {key}"), old, new));
        }
    }
    if changes.len() == before {
        // The same entries in another order, or a mode that has none.
        changes.push(Change::unnamed(field_name(field)));
    }
}

/// Docker's `StartPeriod` is the file's `start_period`.
fn snake_case(name: &str) -> String {
    let lower = |(at, letter): (usize, char)| {
        let separator = (at > 0 && letter.is_uppercase()).then_some('_');
        separator.into_iter().chain(letter.to_lowercase())
    };
    name.char_indices().flat_map(lower).collect()
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The entries of a list by one of their fields. A network mode carries its list in a field.
fn list(value: Option<&Value>, key: &str) -> Map<String, Value> {
    let inner = value.and_then(|value| value.get("networks").or(Some(value)));
    let items = inner.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(|item| Some((item.get(key)?.as_str()?.to_owned(), item.clone()))).collect()
}

/// A change with its values, where they are short.
fn told(field: String, old: Option<&Value>, new: Option<&Value>) -> Change {
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(quantity(&field, number)),
        Some(Value::Bool(flag)) => Some(flag.to_string()),
        Some(Value::Array(items)) if field == "ports" => {
            Some(items.iter().map(port).collect::<Vec<_>>().join(" ")).filter(|ports| !ports.is_empty())
        }
        Some(Value::Array(items)) => {
            let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            words.map(|words| words.join(" ")).filter(|text| !text.is_empty() && text.len() <= 60)
        }
        _ => None,
    };
    let (before, after) = (text(old), text(new));
    let told = |value: Option<&Value>, text: &Option<String>| value.is_none() || text.is_some();
    if told(old, &before) && told(new, &after) {
        Change { before, after, ..Change::of(field, old, new) }
    } else {
        Change::of(field, old, new)
    }
}

/// A number in the words of a Compose file.
fn quantity(field: &str, number: &serde_json::Number) -> String {
    let scaled = |units: &[(u64, &str)]| {
        let whole = number.as_u64().filter(|number| *number > 0)?;
        let (scale, unit) = units.iter().find(|(scale, _)| whole.is_multiple_of(*scale))?;
        Some(format!("{}{unit}", whole / scale))
    };
    let told = match field {
        "shm_size" | "memory limit" | "memory reservation" | "logging max-size" => {
            scaled(&[(1 << 30, "g"), (1 << 20, "m"), (1 << 10, "k")])
        }
        "stop_grace_period" => scaled(&[(60_000, "m"), (1000, "s"), (1, "ms")]),
        "cpus" => number.as_f64().map(|billionths| (billionths / 1e9).to_string()),
        _ => None,
    };
    told.unwrap_or_else(|| number.to_string())
}

/// A port as `docker ps` shows it.
fn port(port: &Value) -> String {
    let text = |key: &str| match port.get(key) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let host = match (text("host_address"), text("host_port")) {
        (Some(address), Some(port)) => format!("{address}:{port}:"),
        (Some(address), None) => format!("{address}::"),
        (None, Some(port)) => format!("{port}:"),
        (None, None) => String::new(),
    };
    let target = text("container_port").unwrap_or_default();
    let protocol = text("protocol").filter(|protocol| protocol != "tcp");
    format!("{host}{target}{}", protocol.map_or(String::new(), |protocol| format!("/{protocol}")))
}

/// The Compose file's word for a field of [`Container`].
fn field_name(field: &str) -> &str {
    match field {
        "env" => "environment",
        "labels" => "label",
        "sysctls" => "sysctl",
        "ulimits" => "ulimit",
        "mounts" => "volumes",
        "files" => "secrets or configs",
        "network" => "networks",
        "cdi_devices" => "devices",
        "log" => "logging",
        "shm_size_bytes" => "shm_size",
        "stop_timeout_ms" => "stop_grace_period",
        "open_stdin" => "stdin_open",
        "memory_bytes" => "memory limit",
        "memory_reservation_bytes" => "memory reservation",
        "nano_cpus" => "cpus",
        "driver_options" => "driver_opts",
        "max_size_bytes" => "logging max-size",
        "max_files" => "logging max-file",
        "compress" => "logging compress",
        "buffer_bytes" => "logging mode or max-buffer-size",
        other => other,
    }
}
