//! Values of templates, with what Go's types would say where JSON does not.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

/// A line of a list: its fields, and what `.Label "key"` answers from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Row {
    pub(crate) fields: Json,
    pub(crate) labels: BTreeMap<String, String>,
}

impl Row {
    /// One line of JSON, in the order of the fields' names as Docker's.
    pub(crate) fn json(&self) -> String {
        let mut fields = self.fields.clone();
        if let Json::Object(map) = &mut fields {
            map.sort_keys();
        }
        fields.to_string()
    }
}

#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    /// What is not there.
    Missing,
    Nil(Nil),
    Json(Cow<'a, Json>),
    Row(&'a Row),
}

/// What a field without a value is in Go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nil {
    Pointer,
    Slice,
    Map,
}

/// Fields that are maps: a key that they do not have is no mistake.
const MAPS: [&str; 15] = [
    "Annotations",
    "Attributes",
    "Containers",
    "DriverOpts",
    "ExposedPorts",
    "Labels",
    "Networks",
    "Options",
    "PortBindings",
    "Ports",
    "Runtimes",
    "StorageOpt",
    "Sysctls",
    "Tmpfs",
    "Volumes",
];

/// Fields that are lists: none of it prints as an empty one.
const SLICES: [&str; 31] = [
    "Aliases",
    "Binds",
    "BlkioWeightDevice",
    "CapAdd",
    "CapDrop",
    "Cmd",
    "Config",
    "DeviceCgroupRules",
    "DeviceRequests",
    "Devices",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "Entrypoint",
    "Env",
    "ExecIDs",
    "ExtraHosts",
    "GroupAdd",
    "Links",
    "Log",
    "MaskedPaths",
    "Mounts",
    "OnBuild",
    "ReadonlyPaths",
    "RepoDigests",
    "RepoTags",
    "SecurityOpt",
    "Shell",
    "Test",
    "Ulimits",
    "VolumesFrom",
];

/// Fields that are left out of the JSON where they have no value.
const OPTIONAL: [&str; 6] = ["Health", "Healthcheck", "SizeRootFs", "SizeRw", "StopTimeout", "UsageData"];

impl<'a> Value<'a> {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::Json(Cow::Owned(Json::String(text.into())))
    }

    pub(super) fn integer(number: i64) -> Self {
        Self::Json(Cow::Owned(number.into()))
    }

    pub(super) fn boolean(value: bool) -> Self {
        Self::Json(Cow::Owned(value.into()))
    }

    pub(super) fn list(items: Vec<Json>) -> Self {
        Self::Json(Cow::Owned(Json::Array(items)))
    }

    /// Whatever is below a value, under the name that led there.
    fn below(
        parent: &Cow<'a, Json>,
        child: &Json,
        borrowed: impl FnOnce(&'a Json) -> Option<&'a Json>,
        name: &str,
    ) -> Self {
        if child.is_null() {
            return Self::nil(name);
        }
        match parent {
            Cow::Borrowed(parent) => borrowed(parent).map_or(Self::Missing, |child| Self::Json(Cow::Borrowed(child))),
            Cow::Owned(_) => Self::Json(Cow::Owned(child.clone())),
        }
    }

    fn nil(name: &str) -> Self {
        Self::Nil(if SLICES.contains(&name) {
            Nil::Slice
        } else if MAPS.contains(&name) {
            Nil::Map
        } else {
            Nil::Pointer
        })
    }

    /// The value without the row around it.
    pub(super) fn json(&self) -> Cow<'_, Json> {
        match self {
            Self::Missing | Self::Nil(_) => Cow::Owned(Json::Null),
            Self::Json(json) => Cow::Borrowed(json),
            Self::Row(row) => Cow::Borrowed(&row.fields),
        }
    }

    /// A field by its name; `parent` is the name of the field that the value itself was. What is wrong otherwise.
    pub(super) fn field(&self, name: &str, parent: Option<&str>) -> Result<Self, String> {
        let is_map = parent.is_some_and(|parent| MAPS.contains(&parent));
        match self {
            Self::Missing => Err(format!("nothing is there that could have a field `{name}`")),
            Self::Nil(Nil::Map) => Ok(Self::Missing),
            Self::Nil(_) => Err(format!("nothing is there that could have a field `{name}` (nil)")),
            Self::Row(Row { fields, .. }) => match fields.get(name) {
                Some(Json::Null) => Ok(Self::nil(name)),
                Some(found) => Ok(Self::Json(Cow::Borrowed(found))),
                None => Err(no_field(fields, name)),
            },
            Self::Json(json) => match json.get(name) {
                Some(found) => Ok(Self::below(json, found, |json| json.get(name), name)),
                None if is_map => Ok(Self::Missing),
                None if json.is_object() && OPTIONAL.contains(&name) => Ok(Self::Nil(Nil::Pointer)),
                None => Err(no_field(json, name)),
            },
        }
    }

    /// What `index` finds, by a key or a number.
    pub(super) fn index(&self, key: &Json) -> Result<Self, String> {
        let json = match self {
            Self::Nil(Nil::Map) => return Ok(Self::Missing),
            Self::Missing | Self::Nil(_) => return Err("index of untyped nil".to_owned()),
            Self::Row(_) => return Err("index of a line".to_owned()),
            Self::Json(json) => json,
        };
        match (&**json, key) {
            (Json::Object(map), Json::String(key)) => {
                Ok(map.get(key).map_or(Self::Missing, |found| Self::below(json, found, |json| json.get(key), key)))
            }
            (Json::Object(_), _) => Err(format!("a map's key is text, not {key}")),
            (Json::Array(items), Json::Number(number)) => {
                let index = number.as_u64().and_then(|index| usize::try_from(index).ok());
                let index = index.ok_or_else(|| format!("index out of range: {number}"))?;
                let found = items.get(index).ok_or_else(|| format!("index out of range: {index}"))?;
                Ok(Self::below(json, found, |json| json.get(index), ""))
            }
            (Json::String(text), Json::Number(number)) => {
                let byte = number.as_u64().and_then(|index| text.as_bytes().get(usize::try_from(index).ok()?));
                byte.map(|byte| Self::integer((*byte).into())).ok_or_else(|| format!("index out of range: {number}"))
            }
            (Json::Array(_) | Json::String(_), _) => Err(format!("cannot index with {key}: a number is needed")),
            (other, _) => Err(format!("can't index item of type {}", kind(other))),
        }
    }

    /// Go's truth: not zero, not empty.
    pub(super) fn truth(&self) -> bool {
        match self {
            Self::Missing | Self::Nil(_) => false,
            Self::Row(_) => true,
            Self::Json(json) => match &**json {
                Json::Null => false,
                Json::Bool(value) => *value,
                Json::Number(number) => number.as_f64() != Some(0.0),
                Json::String(text) => !text.is_empty(),
                Json::Array(items) => !items.is_empty(),
                Json::Object(map) => !map.is_empty(),
            },
        }
    }

    /// Its pairs, as `range` takes them: indices and items, or keys in order and values.
    pub(super) fn pairs(&self) -> Result<Vec<(Self, Self)>, String> {
        let pairs: Vec<(Self, Self)> = match self {
            Self::Missing => return Err("range can't iterate over nothing".to_owned()),
            Self::Nil(_) => Vec::new(),
            Self::Row(_) => return Err("range can't iterate over a line".to_owned()),
            Self::Json(json) => match &**json {
                Json::Array(items) => items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        let number = i64::try_from(index).unwrap_or(i64::MAX);
                        (Self::integer(number), Self::below(json, item, |json| json.get(index), ""))
                    })
                    .collect(),
                Json::Object(map) => sorted(map)
                    .into_iter()
                    .map(|(key, item)| {
                        (Self::text(key.as_str()), Self::below(json, item, |json| json.get(key.as_str()), key))
                    })
                    .collect(),
                Json::Null => Vec::new(),
                other => return Err(format!("range can't iterate over {other}")),
            },
        };
        Ok(pairs)
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Missing | Self::Nil(_) => "nil",
            Self::Row(_) => "line",
            Self::Json(json) => kind(json),
        }
    }
}

/// The pairs of a map in the order in which Go shows them.
pub(super) fn sorted(map: &Map<String, Json>) -> Vec<(&String, &Json)> {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by_key(|(key, _)| *key);
    pairs
}

/// Go's name of a value's type.
pub(super) fn kind(json: &Json) -> &'static str {
    match json {
        Json::Null => "nil",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float64",
        Json::Number(_) => "int",
        Json::String(_) => "string",
        Json::Array(_) => "slice",
        Json::Object(_) => "map",
    }
}

fn no_field(json: &Json, name: &str) -> String {
    match json {
        Json::Object(_) => format!("no field `{name}` here"),
        other => format!("no field `{name}` here: it is of type {}", kind(other)),
    }
}
