//! `--set TARGET.KEY[.NAME][+]=VALUE`.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result};

use crate::codes;
use crate::target::{Kind, Setting, Target, key};

/// What `push` and `load` stand for where a target has no output of its own.
const PUSHED: &str = "type=image,push=true";
const LOADED: &str = "type=docker";

/// One `--set`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    pattern: String,
    key: &'static str,
    kind: Kind,
    /// Of a pair.
    name: Option<String>,
    /// None takes the caller's own.
    value: Option<String>,
    /// Whether it adds to what is there.
    adds: bool,
}

impl Override {
    /// Reads one.
    ///
    /// # Errors
    /// `bake/invalid-override`.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |reason: &str| {
            Diagnostic::error(&codes::INVALID_OVERRIDE, format!("--set `{text}` cannot be understood"))
                .cause(reason)
                .hint("write TARGET.KEY=VALUE, for example --set app.tags=app:1 or --set '*.args.VERSION=2'")
                .boxed()
        };
        let (place, value) = match text.split_once('=') {
            Some((place, value)) => (place, Some(value.to_owned())),
            None => (text, None),
        };
        let (place, adds) = place.strip_suffix('+').map_or((place, false), |place| (place, true));
        let (pattern, rest) = place.split_once('.').ok_or_else(|| wrong("it names no key"))?;
        let (word, name) = rest.split_once('.').map_or((rest, None), |(key, name)| (key, Some(name.to_owned())));
        let word = match word {
            "platform" => "platforms",
            "secrets" => "secret",
            "tag" => "tags",
            "ulimit" => "ulimits",
            "arg" => "args",
            "label" => "labels",
            "annotation" => "annotations",
            other => other,
        };
        if matches!(word, "push" | "load") {
            let is_wanted = match value.as_deref() {
                None | Some("true" | "1") => true,
                Some("false" | "0") => false,
                Some(_) => return Err(wrong("it is true or false")),
            };
            let output = if word == "push" { PUSHED } else { LOADED };
            let value = Some(if is_wanted { output.to_owned() } else { String::new() });
            return Ok(Self { pattern: pattern.to_owned(), key: "output", kind: Kind::List, name, value, adds: true });
        }
        let (key, kind) = key(word)
            .filter(|(key, _)| !matches!(*key, "inherits" | "description"))
            .ok_or_else(|| wrong(&format!("a target has no key `{word}`")))?;
        match (kind, &name, &value) {
            (Kind::Pairs, None, _) => return Err(wrong(&format!("`{word}` needs a name: {word}.NAME"))),
            (Kind::Pairs, ..) => {}
            (_, Some(_), _) => return Err(wrong(&format!("`{word}` has no names"))),
            (_, None, None) => return Err(wrong("it has no value")),
            (Kind::Flag, None, Some(value)) if !matches!(value.as_str(), "true" | "false" | "1" | "0") => {
                return Err(wrong("it is true or false"));
            }
            _ => {}
        }
        Ok(Self { pattern: pattern.to_owned(), key, kind, name, value, adds })
    }

    /// Whether the pattern takes in a target.
    pub(crate) fn is_for(&self, target: &str) -> bool {
        matches(self.pattern.as_bytes(), target.as_bytes())
    }

    /// The pattern, for saying that it takes in none.
    pub(crate) fn pattern(&self) -> &str {
        &self.pattern
    }
}

/// `*` for any characters, `?` for one. The time is bounded by the product of both lengths.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut position, mut star) = (0, 0, None);
    while position < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, position));
                at += 1;
            }
            Some(byte) if *byte == b'?' || *byte == text[position] => {
                at += 1;
                position += 1;
            }
            _ => match &mut star {
                Some((before, begin)) => {
                    *begin += 1;
                    (at, position) = (*before + 1, *begin);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Applies those of a target. The first of a list takes its place, those after it are added.
pub(crate) fn apply(
    target: &mut Target,
    name: &str,
    overrides: &[Override],
    environment: &dyn Fn(&str) -> Option<String>,
) {
    let mut replaced: BTreeMap<&str, ()> = BTreeMap::new();
    for one in overrides.iter().filter(|one| one.is_for(name)) {
        let value = || one.value.clone().unwrap_or_default();
        let setting = match one.kind {
            Kind::Text => Setting::Text(value()),
            Kind::Flag => Setting::Flag(matches!(one.value.as_deref(), Some("true" | "1"))),
            Kind::List | Kind::Fields => {
                let keeps = ["annotations", "entitlements"].contains(&one.key)
                    || one.adds
                    || replaced.insert(one.key, ()).is_some();
                let mut list = if keeps { target.list(one.key).to_vec() } else { Vec::new() };
                if one.key == "output" && one.value.as_deref() == Some(PUSHED) && !list.is_empty() {
                    let images = list.iter_mut().filter(|output| output.starts_with("type=image"));
                    images.filter(|output| !output.contains("push=")).for_each(|output| output.push_str(",push=true"));
                    target.set(one.key, Setting::List(list));
                    continue;
                }
                list.extend(one.value.clone().filter(|value| !value.is_empty() && !list.contains(value)));
                Setting::List(list)
            }
            Kind::Pairs => {
                let mut pairs: BTreeMap<String, Option<String>> =
                    target.pairs(one.key).map(|(name, value)| (name.to_owned(), value.map(str::to_owned))).collect();
                let name = one.name.clone().unwrap_or_default();
                let value = one.value.clone().or_else(|| environment(&name));
                pairs.insert(name, value);
                Setting::Pairs(pairs)
            }
        };
        target.set(one.key, setting);
    }
}
