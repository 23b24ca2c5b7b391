//! How an operation differs from an earlier one, in the words of the Dockerfile and the command line.

use std::collections::{BTreeMap, BTreeSet};

use carrack_oci::Platform;
use serde::Deserialize as _;
use serde_json::Value;

use super::Reason;

/// Of two operations as cache keys have them. `environment` is the names that ENV sets.
pub(super) fn differences(was: &Value, is: &Value, environment: &BTreeSet<String>) -> Vec<Reason> {
    if was == is {
        return Vec::new();
    }
    if let (Some(was), Some(is)) = (was.get("Exec"), is.get("Exec")) {
        return exec(was, is, environment);
    }
    let actions = |op: &Value| op.get("File").and_then(Value::as_array).cloned().unwrap_or_default();
    let (before, after) = (actions(was), actions(is));
    let mut reasons = Vec::new();
    if before.len() == after.len() {
        before.iter().zip(&after).for_each(|(was, is)| action(was, is, &mut reasons));
    }
    if reasons.is_empty() {
        reasons.push(option("what it copies or writes"));
    }
    reasons.dedup();
    reasons
}

fn option(what: &str) -> Reason {
    Reason::Option { what: what.to_owned() }
}

fn value(what: impl Into<String>, was: Option<&Value>, is: Option<&Value>) -> Reason {
    let shown = |value: Option<&Value>| match value {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    Reason::Value { what: what.into(), was: shown(was), is: shown(is) }
}

/// Of programs that are not for this machine it is said what they are for.
fn platform(was: Option<&Value>, is: Option<&Value>) -> Reason {
    let shown = |value: Option<&Value>| {
        let foreign = value.and_then(|value| Platform::deserialize(value).ok());
        Some(foreign.unwrap_or_else(Platform::host).to_string())
    };
    Reason::Value { what: "its platform (--platform)".into(), was: shown(was), is: shown(is) }
}

/// Names of fields that either has: what is as usual is left out of an operation.
fn fields<'a>(was: &'a Value, is: &'a Value) -> impl Iterator<Item = &'a String> {
    let names: BTreeSet<&String> =
        [was, is].into_iter().filter_map(Value::as_object).flat_map(|fields| fields.keys()).collect();
    // Null is nothing said.
    let said = |fields: &'a Value, name: &str| fields.get(name).filter(|value| !value.is_null());
    names.into_iter().filter(move |name| said(was, name) != said(is, name))
}

fn exec(was: &Value, is: &Value, environment: &BTreeSet<String>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let (before, after) = (variables(&was["environment"]), variables(&is["environment"]));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names.into_iter().filter(|name| before.get(*name) != after.get(*name)) {
        reasons.push(Reason::Variable {
            instruction: if environment.contains(name) { "ENV" } else { "ARG" },
            name: name.clone(),
            was: before.get(name).cloned(),
            is: after.get(name).cloned(),
        });
    }
    for field in fields(was, is).filter(|field| *field != "environment") {
        let (old, new) = (was.get(field), is.get(field));
        match field.as_str() {
            "arguments" => {
                let last = |list: Option<&Value>| list.and_then(Value::as_array).and_then(|list| list.last()).cloned();
                let what = if last(old) == last(new) { "its shell (SHELL)" } else { "its command" };
                reasons.push(option(what));
            }
            "working_directory" => reasons.push(value("its working directory (WORKDIR)", old, new)),
            "user" => reasons.push(value("its user (USER)", old, new)),
            "network" => reasons.push(value("its network (--network)", old, new)),
            "foreign" => reasons.push(platform(old, new)),
            "insecure" => reasons.push(option("its privileges (--security)")),
            "mounts" => mounts(&was["mounts"], &is["mounts"], &mut reasons),
            "settings" => settings(&was["settings"], &is["settings"], &mut reasons),
            other => reasons.push(value(format!("its {other}"), old, new)),
        }
    }
    if reasons.is_empty() { vec![option("the order of its variables")] } else { reasons }
}

/// What the command line says of all steps.
fn settings(was: &Value, is: &Value, reasons: &mut Vec<Reason>) {
    for field in fields(was, is) {
        let (old, new) = (was.get(field), is.get(field));
        match field.as_str() {
            "hosts" => {
                let pairs = |list: Option<&Value>| -> BTreeMap<String, Value> {
                    let pairs = list.and_then(Value::as_array).into_iter().flatten();
                    pairs.map(|pair| (pair[0].as_str().unwrap_or_default().to_owned(), pair[1].clone())).collect()
                };
                maps(&pairs(old), &pairs(new), |name| format!("the address of {name} (--add-host)"), reasons);
            }
            "hostname" => reasons.push(value("the name of its machine (BUILDKIT_SANDBOX_HOSTNAME)", old, new)),
            "shm_size_bytes" => reasons.push(value("the size of /dev/shm (--shm-size)", old, new)),
            "ulimits" => {
                let limits = |map: Option<&Value>| -> BTreeMap<String, Value> {
                    map.and_then(Value::as_object)
                        .into_iter()
                        .flatten()
                        .map(|(key, limit)| (key.clone(), limit.clone()))
                        .collect()
                };
                maps(&limits(old), &limits(new), |name| format!("the limit {name} (--ulimit)"), reasons);
            }
            other => reasons.push(value(format!("the setting {other}"), old, new)),
        }
    }
}

fn maps(
    was: &BTreeMap<String, Value>,
    is: &BTreeMap<String, Value>,
    what: impl Fn(&str) -> String,
    reasons: &mut Vec<Reason>,
) {
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for name in names.into_iter().filter(|name| was.get(*name) != is.get(*name)) {
        reasons.push(value(what(name), was.get(name), is.get(name)));
    }
}

/// By where they are mounted.
fn mounts(was: &Value, is: &Value, reasons: &mut Vec<Reason>) {
    let by_target = |list: &Value| -> BTreeMap<String, Value> {
        let mounts = list.as_array().into_iter().flatten();
        let name = |mount: &Value| mount["target"].as_str().unwrap_or("a variable").to_owned();
        mounts.map(|mount| (name(mount), mount["kind"].clone())).collect()
    };
    let (before, after) = (by_target(was), by_target(is));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let count = reasons.len();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(was), Some(is)) if was != is => {
                let inner = |kind: &Value| {
                    kind.as_object()
                        .and_then(|kind| kind.iter().next())
                        .map(|(name, value)| (name.clone(), value.clone()))
                };
                match (inner(was), inner(is)) {
                    (Some((one, was)), Some((other, is))) if one == other => {
                        for field in fields(&was, &is) {
                            // What stands in a file may be long, and nobody's business.
                            if field == "content" {
                                reasons.push(option(&format!("the text mounted at {name}")));
                            } else {
                                let what = format!("{field} of the mount at {name}");
                                reasons.push(value(what, was.get(field), is.get(field)));
                            }
                        }
                    }
                    (one, other) => {
                        let kind =
                            |inner: Option<(String, Value)>| inner.map(|(name, _)| Value::from(name.to_lowercase()));
                        let what = format!("the kind of the mount at {name}");
                        reasons.push(value(what, kind(one).as_ref(), kind(other).as_ref()));
                    }
                }
            }
            (None, Some(_)) => reasons.push(Reason::Mount { target: name.clone(), is_new: true }),
            (Some(_), None) => reasons.push(Reason::Mount { target: name.clone(), is_new: false }),
            _ => {}
        }
    }
    if reasons.len() == count {
        reasons.push(option("the order of its mounts"));
    }
}

fn action(was: &Value, is: &Value, reasons: &mut Vec<Reason>) {
    let inner = |action: &Value| {
        action.as_object().and_then(|action| action.iter().next()).map(|(name, value)| (name.clone(), value.clone()))
    };
    let (Some((one, was)), Some((other, is))) = (inner(was), inner(is)) else { return };
    if one != other {
        return;
    }
    for field in fields(&was, &is) {
        let (old, new) = (was.get(field), is.get(field));
        reasons.push(match field.as_str() {
            "source" => value("what it takes", old, new),
            "destination" => value("its destination", old, new),
            "path" => value("its folder", old, new),
            "owner" => value("its owner (--chown)", old, new),
            "mode" => value("its mode (--chmod)", old, new),
            "parents" => value("--parents", old, new),
            "unpack" => value("--unpack", old, new),
            "exclude" => value("what it leaves out (--exclude)", old, new),
            "content" => option("its text"),
            other => value(format!("its {other}"), old, new),
        });
    }
}

/// `NAME=VALUE` entries, the later of one name counting.
fn variables(list: &Value) -> BTreeMap<String, String> {
    let entries = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    entries.filter_map(|entry| entry.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}
