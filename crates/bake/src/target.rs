//! A target: its settings by a table of keys, merged, printed, and as flags of a build.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result, Span};
use serde_json::{Map, Value, json};

use crate::codes;
use crate::value::text;

/// What values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Flag,
    List,
    /// A list whose entries are `key=value,…` or maps.
    Fields,
    Pairs,
}

/// The keys of a target, in the order in which they are printed.
pub(crate) const KEYS: [(&str, Kind); 27] = [
    ("description", Kind::Text),
    ("annotations", Kind::List),
    ("attest", Kind::Fields),
    ("context", Kind::Text),
    ("contexts", Kind::Pairs),
    ("dockerfile", Kind::Text),
    ("dockerfile-inline", Kind::Text),
    ("args", Kind::Pairs),
    ("labels", Kind::Pairs),
    ("tags", Kind::List),
    ("cache-from", Kind::Fields),
    ("cache-to", Kind::Fields),
    ("target", Kind::Text),
    ("secret", Kind::Fields),
    ("ssh", Kind::Fields),
    ("platforms", Kind::List),
    ("output", Kind::Fields),
    ("pull", Kind::Flag),
    ("no-cache", Kind::Flag),
    ("network", Kind::Text),
    ("no-cache-filter", Kind::List),
    ("shm-size", Kind::Text),
    ("ulimits", Kind::List),
    ("call", Kind::Text),
    ("entitlements", Kind::List),
    ("extra-hosts", Kind::Pairs),
    ("inherits", Kind::List),
];

/// Lists to which inheriting adds instead of taking their place.
const ADDED: [&str; 3] = ["annotations", "attest", "entitlements"];

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Setting {
    Text(String),
    Flag(bool),
    List(Vec<String>),
    /// None takes the caller's own value, or is not given.
    Pairs(BTreeMap<String, Option<String>>),
}

/// A target with everything that it inherits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    pub(crate) settings: BTreeMap<&'static str, Setting>,
}

/// The key and kind of a name, as written.
pub(crate) fn key(name: &str) -> Option<(&'static str, Kind)> {
    KEYS.into_iter().find(|(known, _)| *known == name)
}

impl Setting {
    /// A value as the key takes it.
    pub(crate) fn of(key: &str, kind: Kind, value: &Value, span: Span) -> Result<Self> {
        let wrong = |form: &str| {
            Diagnostic::error(&codes::WRONG_TYPE, format!("`{key}` is {form}"))
                .at(span, "something else")
                .hint(format!("write {key} as {form}"))
                .boxed()
        };
        let flag = |value: &Value| match value {
            Value::Bool(truth) => Some(*truth),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        Ok(match (kind, value) {
            (Kind::Text, Value::Array(_) | Value::Object(_)) => return Err(wrong("a text")),
            (Kind::Text, value) => Self::Text(text(value, span)?),
            (Kind::Flag, value) => Self::Flag(flag(value).ok_or_else(|| wrong("true or false"))?),
            (Kind::List | Kind::Fields, Value::Array(items)) => {
                let mut list = Vec::new();
                for item in items.iter().filter(|item| !item.is_null()) {
                    match item {
                        Value::Object(fields) if kind == Kind::Fields => list.push(joined(fields, span)?),
                        Value::Object(_) | Value::Array(_) => return Err(wrong("a list of texts")),
                        item => list.push(text(item, span)?),
                    }
                }
                list.retain(|item| !item.is_empty());
                Self::List(list)
            }
            (Kind::List | Kind::Fields, _) => return Err(wrong("a list of texts")),
            (Kind::Pairs, Value::Object(fields)) => {
                let mut pairs = BTreeMap::new();
                for (name, value) in fields {
                    let value = match value {
                        Value::Null => None,
                        Value::Array(_) | Value::Object(_) => return Err(wrong("a map of texts")),
                        value => Some(text(value, span)?),
                    };
                    pairs.insert(name.clone(), value);
                }
                Self::Pairs(pairs)
            }
            (Kind::Pairs, _) => return Err(wrong("a map of texts")),
        })
    }
}

/// `{type = "local", dest = "x"}` as `type=local,dest=x`.
fn joined(fields: &Map<String, Value>, span: Span) -> Result<String> {
    let parts = fields.iter().map(|(key, value)| Ok(format!("{key}={}", text(value, span)?)));
    Ok(parts.collect::<Result<Vec<String>>>()?.join(","))
}

impl Target {
    pub(crate) fn set(&mut self, key: &'static str, setting: Setting) {
        self.settings.insert(key, setting);
    }

    /// What a later one says is taken; maps are merged.
    pub(crate) fn merge(&mut self, later: &Self) {
        for (key, setting) in &later.settings {
            match (self.settings.get_mut(key), setting) {
                (Some(Setting::Pairs(own)), Setting::Pairs(other)) => {
                    own.extend(other.iter().filter(|(_, value)| value.is_some()).map(|(k, v)| (k.clone(), v.clone())));
                }
                (Some(Setting::List(own)), Setting::List(other)) if ADDED.contains(key) => {
                    own.extend(other.iter().filter(|item| !own.contains(item)).cloned().collect::<Vec<_>>());
                }
                (_, setting) => self.set(key, setting.clone()),
            }
        }
    }

    pub(crate) fn list(&self, key: &str) -> &[String] {
        match self.settings.get(key) {
            Some(Setting::List(list)) => list,
            _ => &[],
        }
    }

    pub(crate) fn pairs(&self, key: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
        let pairs = match self.settings.get(key) {
            Some(Setting::Pairs(pairs)) => Some(pairs),
            _ => None,
        };
        pairs.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.settings.get(key) {
            Some(Setting::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// What it is for, in its own words.
    pub fn description(&self) -> &str {
        self.text("description").unwrap_or_default()
    }

    /// The folder or address that it is built from.
    pub fn context(&self) -> &str {
        self.text("context").unwrap_or(".")
    }

    /// Its Dockerfile, relative to the context; none where it is written in the bake file.
    pub fn dockerfile(&self) -> &str {
        self.text("dockerfile").unwrap_or("Dockerfile")
    }

    /// The Dockerfile itself.
    pub fn dockerfile_inline(&self) -> Option<&str> {
        self.text("dockerfile-inline")
    }

    /// `os/arch[/variant]`; none is this machine's.
    pub fn platforms(&self) -> &[String] {
        self.list("platforms")
    }

    /// What is asked instead of a build, as `--call` takes it.
    pub fn call(&self) -> Option<&str> {
        self.text("call")
    }

    /// Targets whose images are named contexts, by the contexts' names.
    pub fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs("contexts").filter_map(|(name, place)| Some((name, place?.strip_prefix("target:")?)))
    }

    /// The flags of the build, but for context and Dockerfile. Those of other targets' images are left out.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let mut each = |flag: &str, values: &[String]| {
            flags.extend(values.iter().map(|value| format!("--{flag}={value}")));
        };
        for (key, flag) in [
            ("annotations", "annotation"),
            ("attest", "attest"),
            ("tags", "tag"),
            ("cache-from", "cache-from"),
            ("cache-to", "cache-to"),
            ("secret", "secret"),
            ("ssh", "ssh"),
            ("output", "output"),
            ("no-cache-filter", "no-cache-filter"),
            ("ulimits", "ulimit"),
            ("entitlements", "allow"),
        ] {
            each(flag, self.list(key));
        }
        if !self.platforms().is_empty() {
            flags.push(format!("--platform={}", self.platforms().join(",")));
        }
        for key in ["target", "network", "shm-size"] {
            flags.extend(self.text(key).map(|text| format!("--{key}={text}")));
        }
        for key in ["pull", "no-cache"] {
            if self.settings.get(key) == Some(&Setting::Flag(true)) {
                flags.push(format!("--{key}"));
            }
        }
        for (key, flag) in [("args", "build-arg"), ("labels", "label"), ("extra-hosts", "add-host")] {
            let pairs = self.pairs(key).filter_map(|(name, value)| Some(format!("--{flag}={name}={}", value?)));
            flags.extend(pairs);
        }
        let contexts = self.pairs("contexts").filter_map(|(name, place)| Some((name, place?)));
        let contexts = contexts.filter(|(_, place)| !place.starts_with("target:"));
        flags.extend(contexts.map(|(name, place)| format!("--build-context={name}={place}")));
        flags
    }

    /// As `--print` shows it. Of one that is not asked for, no image is left.
    pub(crate) fn to_json(&self, is_asked: bool) -> Value {
        let mut fields = Map::new();
        for (key, kind) in KEYS.iter().filter(|(key, _)| *key != "inherits") {
            if *key == "output" && !is_asked {
                fields.insert("output".into(), json!([{ "type": "cacheonly" }]));
                continue;
            }
            let value = match (self.settings.get(key), *key) {
                (None, "context") => json!(self.context()),
                (None, "dockerfile") => json!(self.dockerfile()),
                (None, _) => continue,
                (Some(Setting::Text(text)), _) if text.is_empty() => continue,
                (Some(Setting::Text(text)), _) => json!(text),
                (Some(Setting::Flag(flag)), _) => json!(flag),
                (Some(Setting::List(list)), _) if list.is_empty() => continue,
                (Some(Setting::List(list)), _) if *kind == Kind::Fields => {
                    list.iter().map(|item| printed(key, item)).collect()
                }
                (Some(Setting::List(list)), _) => json!(list),
                (Some(Setting::Pairs(pairs)), _) => {
                    let given: Map<String, Value> =
                        pairs.iter().filter_map(|(name, value)| Some((name.clone(), json!(value.as_ref()?)))).collect();
                    if given.is_empty() {
                        continue;
                    }
                    Value::Object(given)
                }
            };
            // What is printed is a bake file again.
            let is_free = matches!(*key, "annotations" | "dockerfile-inline" | "args" | "labels");
            fields.insert((*key).to_owned(), if is_free { escaped(value) } else { value });
        }
        Value::Object(fields)
    }
}

/// What looks like a template and is none, written so that it is none; as in buildx, of what is free text.
fn escaped(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("${", "$${").replace("%{", "%%{")),
        Value::Array(items) => items.into_iter().map(escaped).collect(),
        Value::Object(fields) => Value::Object(fields.into_iter().map(|(key, value)| (key, escaped(value))).collect()),
        other => other,
    }
}

/// `type=local,dest=x` as an object; a bare word as what the key takes it for.
fn printed(key: &str, item: &str) -> Value {
    let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
    for part in item.split(',') {
        match part.split_once('=') {
            Some((name, value)) if key == "ssh" && !matches!(name, "id" | "paths") => {
                fields.insert("id", name);
                fields.insert("paths", value);
            }
            Some((name, value)) => {
                fields.insert(name, value);
            }
            None => match key {
                "cache-from" | "cache-to" => {
                    fields.insert("ref", part);
                    fields.insert("type", "registry");
                }
                "output" => {
                    fields.insert("dest", part);
                    fields.insert("type", if part == "-" { "tar" } else { "local" });
                }
                _ => {
                    fields.insert("id", part);
                }
            },
        }
    }
    if key == "secret" {
        let fields = ["id", "src", "env"].into_iter().filter_map(|key| Some((key.to_owned(), json!(fields.get(key)?))));
        return Value::Object(fields.collect());
    }
    if key == "ssh"
        && let Some(paths) = fields.remove("paths")
    {
        return json!({ "id": fields.get("id"), "paths": paths.split(',').collect::<Vec<_>>() });
    }
    json!(fields)
}
