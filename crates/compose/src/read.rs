//! The ground of all reading: typed values out of nodes, with a diagnostic where they are something else.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use carrack_diag::{Diagnostic, FileId, Span, Spanned, nearest};

use crate::node::{Node, Value};
use crate::schema::{Key, Support};
use crate::{Env, codes, merge, units};

/// Nobody reads more; and finding the nearest name for each of a hundred thousand would take minutes.
pub(crate) const MAX_DIAGNOSTICS: usize = 200;

/// What reading needs to know, and what it has to say.
pub(crate) struct Reading<'a> {
    /// Folder that relative paths of a file start from.
    pub(crate) bases: &'a BTreeMap<FileId, String>,
    /// For files without an entry.
    pub(crate) directory: &'a str,
    /// For values that are taken from the environment.
    pub(crate) env: &'a Env,
    /// Texts of env files by absolute path; none is missing.
    pub(crate) files: &'a BTreeMap<String, Option<FileId>>,
    pub(crate) sources: &'a carrack_diag::SourceMap,
    pub(crate) diagnostics: &'a mut Vec<Diagnostic>,
}

impl Reading<'_> {
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        // One value can be read in several places through aliases; once is enough.
        if self.diagnostics.len() < MAX_DIAGNOSTICS && !self.diagnostics.contains(&diagnostic) {
            self.diagnostics.push(diagnostic);
        }
    }

    /// Whether `node` is a mapping with known keys. Null counts as an empty one.
    pub(crate) fn mapping(&mut self, node: &Node, path: &str, keys: &[Key]) -> bool {
        if node.is_null() {
            return true;
        }
        if !matches!(node.value, Value::Mapping(_)) {
            self.wrong_type(node, path, "a mapping");
            return false;
        }
        for entry in node.entries() {
            let key = entry.key.value.as_str();
            // Ours are looked at like those of the specification: a slip of the pen is no other tool's key.
            if key.starts_with("x-") && !key.starts_with("x-carrack-") {
                continue;
            }
            let place = if path.is_empty() { format!("`{key}`") } else { format!("`{path}.{key}`") };
            match keys.iter().find(|(known, _)| *known == key).map(|(_, support)| *support) {
                Some(Support::Full) => {}
                Some(Support::NotYet(consequence)) => self.report(
                    Diagnostic::warning(&codes::NOT_YET, format!("{place} is not implemented yet: {consequence}"))
                        .at(entry.key.span, "has no effect"),
                ),
                Some(Support::Harmless(reason)) => self.report(
                    Diagnostic::note(&codes::NO_EFFECT, format!("{place} has no effect: {reason}"))
                        .at(entry.key.span, "can be removed"),
                ),
                Some(Support::Refused(reason)) => self.report(
                    Diagnostic::error(&codes::REFUSED_KEY, format!("{place} is not supported: {reason}"))
                        .at(entry.key.span, "not supported")
                        .hint("remove it"),
                ),
                None => self.unknown_key(&entry.key, path, keys),
            }
        }
        true
    }

    fn unknown_key(&mut self, key: &Spanned<String>, path: &str, keys: &[Key]) {
        if self.diagnostics.len() >= MAX_DIAGNOSTICS {
            return;
        }
        let place = if path.is_empty() { "the top level".to_owned() } else { format!("`{path}`") };
        let diagnostic = Diagnostic::error(&codes::UNKNOWN_KEY, format!("{place} has no key `{}`", key.value))
            .at(key.span, "unknown key");
        let hint = match nearest(&key.value, keys.iter().map(|(name, _)| *name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "look at the indentation; keys for your own use begin with `x-`".to_owned(),
        };
        self.report(diagnostic.hint(hint));
    }

    pub(crate) fn wrong_type(&mut self, node: &Node, path: &str, expected: &str) {
        self.report(
            Diagnostic::error(&codes::WRONG_TYPE, format!("`{path}` takes {expected}, not {}", node.kind()))
                .at(node.span, format!("{expected} is expected here"))
                .hint(match () {
                    () if expected.starts_with("a mapping") => "a mapping is written `key: value`, one in each line",
                    () if expected.contains("list") => {
                        "a list is written `- item`, one in each line, or `[item, item]`"
                    }
                    () => "write one value; look at the indentation of the lines below",
                }),
        );
    }

    pub(crate) fn invalid(&mut self, span: Span, path: &str, text: &str, hint: impl Into<String>) {
        self.report(
            Diagnostic::error(&codes::INVALID_VALUE, format!("`{path}` can't be `{text}`"))
                .at(span, "can't be understood")
                .hint(hint),
        );
    }

    /// A single value as text; none for null.
    pub(crate) fn text(&mut self, node: &Node, path: &str) -> Option<Spanned<String>> {
        match &node.value {
            Value::Null => None,
            Value::Scalar(scalar) => Some(Spanned::new(scalar.text.clone(), node.span)),
            _ => {
                self.wrong_type(node, path, "a single value");
                None
            }
        }
    }

    /// The field `key` of a mapping as text.
    pub(crate) fn text_of(&mut self, node: &Node, path: &str, key: &str) -> Option<Spanned<String>> {
        self.text(node.get(key)?, &format!("{path}.{key}"))
    }

    /// The field `key` as text that is not empty.
    pub(crate) fn filled_of(&mut self, node: &Node, path: &str, key: &str) -> Option<Spanned<String>> {
        self.text_of(node, path, key).filter(|text| !text.value.is_empty())
    }

    /// The field `key` as a boolean.
    pub(crate) fn boolean_of(&mut self, node: &Node, path: &str, key: &str) -> Option<bool> {
        let text = self.filled_of(node, path, key)?;
        // YAML 1.1's words as well: they arrive as text from variables, and the current tool takes them.
        match text.value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "y" | "on" | "1" => Some(true),
            "false" | "no" | "n" | "off" | "0" => Some(false),
            _ => {
                self.invalid(text.span, &format!("{path}.{key}"), &text.value, "it is `true` or `false`");
                None
            }
        }
    }

    /// The field `key` by [`FromStr`].
    pub(crate) fn parsed_of<T: FromStr>(
        &mut self,
        node: &Node,
        path: &str,
        key: &str,
        hint: impl Display,
    ) -> Option<Spanned<T>> {
        self.converted_of(node, path, key, hint, |text| text.parse().ok())
    }

    /// The field `key` by `convert`; `hint` says what it takes.
    pub(crate) fn converted_of<T>(
        &mut self,
        node: &Node,
        path: &str,
        key: &str,
        hint: impl Display,
        convert: impl Fn(&str) -> Option<T>,
    ) -> Option<Spanned<T>> {
        let text = self.filled_of(node, path, key)?;
        match convert(text.value.trim()) {
            Some(value) => Some(Spanned::new(value, text.span)),
            None => {
                self.invalid(text.span, &format!("{path}.{key}"), &text.value, hint.to_string());
                None
            }
        }
    }

    /// The field `key` as nanoseconds.
    pub(crate) fn duration_of(&mut self, node: &Node, path: &str, key: &str) -> Option<u64> {
        let hint = "a duration is written `10ms`, `40s`, `1m30s` or `1h5m30s`";
        self.converted_of(node, path, key, hint, units::duration_ns).map(|duration| duration.value)
    }

    /// The field `key` as bytes.
    pub(crate) fn size_of(&mut self, node: &Node, path: &str, key: &str) -> Option<Spanned<u64>> {
        self.converted_of(node, path, key, "a size is written `512k`, `300m`, `1gb` or in bytes", units::size_bytes)
    }

    /// The field `key` as a list of single values; with `single`, one value may stand for a list of it.
    pub(crate) fn list_of(&mut self, node: &Node, path: &str, key: &str, single: bool) -> Vec<Spanned<String>> {
        let Some(node) = node.get(key) else { return Vec::new() };
        let path = format!("{path}.{key}");
        match &node.value {
            Value::Null => Vec::new(),
            Value::Sequence(items) => items.iter().filter_map(|item| self.text(item, &path)).collect(),
            Value::Scalar(_) if single => self.text(node, &path).into_iter().collect(),
            _ => {
                self.wrong_type(node, &path, if single { "a single value or a list" } else { "a list" });
                Vec::new()
            }
        }
    }

    /// The field `key`, a mapping or a list of `KEY=value`. A key without value has none.
    pub(crate) fn pairs_of(&mut self, node: &Node, path: &str, key: &str) -> BTreeMap<String, Spanned<Option<String>>> {
        let Some(node) = node.get(key) else { return BTreeMap::new() };
        let path = format!("{path}.{key}");
        let node = merge::key_values(node.clone());
        let entries = match &node.value {
            Value::Null => return BTreeMap::new(),
            Value::Mapping(entries) => entries,
            _ => {
                self.wrong_type(&node, &path, "a mapping or a list of `KEY=value`");
                return BTreeMap::new();
            }
        };
        let mut pairs = BTreeMap::new();
        for entry in entries {
            let value = self.text(&entry.value, &format!("{path}.{}", entry.key.value)).map(|text| text.value);
            let span = if value.is_some() { entry.key.span.to(entry.value.span) } else { entry.key.span };
            pairs.insert(entry.key.value.clone(), Spanned::new(value, span));
        }
        pairs
    }

    /// The field `key`, a mapping or list of labels: without value they are empty.
    pub(crate) fn labels_of(&mut self, node: &Node, path: &str) -> BTreeMap<String, Spanned<String>> {
        let pairs = self.pairs_of(node, path, "labels");
        for (name, value) in &pairs {
            if name.starts_with("com.docker.compose.") {
                self.report(
                    Diagnostic::error(&codes::RESERVED_LABEL, format!("the label `{name}` is Compose's own"))
                        .at(value.span, "set here")
                        .hint("labels of your own have another prefix"),
                );
            }
        }
        pairs.into_iter().map(|(name, value)| (name, value.map(Option::unwrap_or_default))).collect()
    }

    /// The field `key`, a mapping of names to single values.
    pub(crate) fn options_of(&mut self, node: &Node, path: &str, key: &str) -> BTreeMap<String, Spanned<String>> {
        let Some(options) = node.get(key) else { return BTreeMap::new() };
        let path = format!("{path}.{key}");
        if !options.is_null() && !matches!(options.value, Value::Mapping(_)) {
            self.wrong_type(options, &path, "a mapping");
        }
        let mut values = BTreeMap::new();
        for entry in options.entries() {
            if let Some(text) = self.text(&entry.value, &format!("{path}.{}", entry.key.value)) {
                values.insert(entry.key.value.clone(), text);
            }
        }
        values
    }

    /// The items of the list `key`.
    pub(crate) fn items_of<'n>(&mut self, node: &'n Node, path: &str, key: &str) -> &'n [Node] {
        let Some(list) = node.get(key) else { return &[] };
        if !list.is_null() && !matches!(list.value, Value::Sequence(_)) {
            self.wrong_type(list, &format!("{path}.{key}"), "a list");
        }
        list.items()
    }

    /// A path of the file that `span` lies in, made absolute.
    pub(crate) fn absolute(&self, path: &str, span: Span) -> String {
        let base = self.bases.get(&span.file).map_or(self.directory, String::as_str);
        absolute(path, base, self.env)
    }
}

/// `path` made absolute from `base`, `~` replaced, `.` and `..` resolved by the text alone.
pub(crate) fn absolute(path: &str, base: &str, env: &Env) -> String {
    let home = || env.get("HOME").map_or("/", String::as_str);
    let joined = if path.starts_with('/') {
        path.to_owned()
    } else if path == "~" {
        home().to_owned()
    } else if let Some(rest) = path.strip_prefix("~/") {
        format!("{}/{rest}", home())
    } else {
        format!("{base}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The folder of a path.
pub(crate) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) => "/",
        Some((folder, _)) => folder,
        None => ".",
    }
}

/// Keys that begin with `x-`, as JSON.
pub(crate) fn extensions(node: &Node) -> BTreeMap<String, serde_json::Value> {
    let own = node.entries().iter().filter(|entry| entry.key.value.starts_with("x-"));
    own.map(|entry| (entry.key.value.clone(), entry.value.to_json())).collect()
}

/// Permission bits: text and numbers that begin with 0 are octal, other numbers decimal, as YAML reads them.
pub(crate) fn mode(node: &Node) -> Option<u32> {
    let Value::Scalar(scalar) = &node.value else { return None };
    let text = scalar.text.trim();
    let bits = match text.strip_prefix("0o").or_else(|| text.strip_prefix('0')) {
        Some("") => 0,
        Some(octal) => u32::from_str_radix(octal, 8).ok()?,
        None if scalar.plain => text.parse().ok()?,
        None => u32::from_str_radix(text, 8).ok()?,
    };
    (bits <= 0o7777).then_some(bits)
}
