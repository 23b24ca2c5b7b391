//! One file over another (Compose specification, "Merge and override").

use std::collections::{HashMap, HashSet};

use carrack_diag::{Diagnostic, Spanned};

use crate::codes;
use crate::node::{Entry, MergeTag, Node, Value};

/// How the values at one place are brought together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Mappings by key, sequences by appending, scalars by replacing.
    Default,
    /// The later value.
    Replace,
    /// `KEY=value` lists and mappings are one thing: the later value of a key.
    KeyValue,
    /// Lists of single values, or one of them, appended; each value once.
    Set,
    /// `HOST=ADDRESS` lists and mappings are one thing; a host may have several addresses.
    Hosts,
    /// The list of names is short for a mapping of names.
    Names,
    /// The text is short for `context`.
    Build,
    /// Sequences appended, an entry replacing the one with the same key.
    Unique(Key),
    /// Options of one driver are merged, another driver replaces them.
    Logging,
}

/// What makes an entry the same as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    VolumeTarget,
    SecretTarget,
    ConfigTarget,
    DeviceTarget,
    Port,
    EnvFile,
    Subnet,
}

/// Places below the top level; `*` stands for any one name.
const RULES: &[(&[&str], Rule)] = &[
    (&["services", "*", "command"], Rule::Replace),
    (&["services", "*", "entrypoint"], Rule::Replace),
    (&["services", "*", "healthcheck", "test"], Rule::Replace),
    (&["services", "*", "ulimits", "*"], Rule::Replace),
    (&["services", "*", "environment"], Rule::KeyValue),
    (&["services", "*", "labels"], Rule::KeyValue),
    (&["services", "*", "annotations"], Rule::KeyValue),
    (&["services", "*", "sysctls"], Rule::KeyValue),
    (&["services", "*", "extra_hosts"], Rule::Hosts),
    (&["services", "*", "deploy", "labels"], Rule::KeyValue),
    (&["services", "*", "build"], Rule::Build),
    (&["services", "*", "build", "args"], Rule::KeyValue),
    (&["services", "*", "build", "labels"], Rule::KeyValue),
    (&["services", "*", "build", "additional_contexts"], Rule::KeyValue),
    (&["services", "*", "build", "extra_hosts"], Rule::Hosts),
    (&["services", "*", "build", "ssh"], Rule::KeyValue),
    (&["services", "*", "depends_on"], Rule::Names),
    (&["services", "*", "networks"], Rule::Names),
    (&["services", "*", "networks", "*", "aliases"], Rule::Set),
    (&["services", "*", "logging"], Rule::Logging),
    (&["services", "*", "volumes"], Rule::Unique(Key::VolumeTarget)),
    (&["services", "*", "secrets"], Rule::Unique(Key::SecretTarget)),
    (&["services", "*", "configs"], Rule::Unique(Key::ConfigTarget)),
    (&["services", "*", "devices"], Rule::Unique(Key::DeviceTarget)),
    (&["services", "*", "ports"], Rule::Unique(Key::Port)),
    (&["services", "*", "env_file"], Rule::Unique(Key::EnvFile)),
    (&["services", "*", "label_file"], Rule::Set),
    (&["services", "*", "cap_add"], Rule::Set),
    (&["services", "*", "cap_drop"], Rule::Set),
    (&["services", "*", "dns"], Rule::Set),
    (&["services", "*", "dns_opt"], Rule::Set),
    (&["services", "*", "dns_search"], Rule::Set),
    (&["services", "*", "expose"], Rule::Set),
    (&["services", "*", "links"], Rule::Set),
    (&["services", "*", "profiles"], Rule::Set),
    (&["services", "*", "security_opt"], Rule::Set),
    (&["services", "*", "tmpfs"], Rule::Set),
    (&["services", "*", "group_add"], Rule::Set),
    (&["services", "*", "device_cgroup_rules"], Rule::Set),
    (&["services", "*", "external_links"], Rule::Set),
    (&["networks", "*", "labels"], Rule::KeyValue),
    (&["networks", "*", "ipam", "config"], Rule::Unique(Key::Subnet)),
    (&["volumes", "*", "labels"], Rule::KeyValue),
    (&["secrets", "*", "labels"], Rule::KeyValue),
    (&["configs", "*", "labels"], Rule::KeyValue),
];

fn rule(path: &[String]) -> Rule {
    let matches = |pattern: &[&str]| {
        pattern.len() == path.len() && pattern.iter().zip(path).all(|(part, name)| *part == "*" || part == name)
    };
    RULES.iter().find(|(pattern, _)| matches(pattern)).map_or(Rule::Default, |(_, rule)| *rule)
}

/// `over` over `base`, both whole files.
pub(crate) fn files(base: Node, over: Node, diagnostics: &mut Vec<Diagnostic>) -> Node {
    Merge { path: Vec::new(), diagnostics }.merge(base, over)
}

/// `over` over `base`, both service definitions: what `extends` does.
pub(crate) fn services(base: Node, over: Node, diagnostics: &mut Vec<Diagnostic>) -> Node {
    Merge { path: vec!["services".into(), String::new()], diagnostics }.merge(base, over)
}

/// A tree without merge tags: what is tagged `!reset` is gone.
pub(crate) fn settled(mut node: Node) -> Node {
    node.tag = None;
    node.value = match node.value {
        Value::Sequence(items) => Value::Sequence(items.into_iter().filter_map(kept).collect()),
        Value::Mapping(entries) => Value::Mapping(
            entries.into_iter().filter_map(|Entry { key, value }| Some(Entry { key, value: kept(value)? })).collect(),
        ),
        other => other,
    };
    node
}

fn kept(node: Node) -> Option<Node> {
    if node.tag == Some(MergeTag::Reset) { None } else { Some(settled(node)) }
}

struct Merge<'d> {
    path: Vec<String>,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl Merge<'_> {
    fn merge(&mut self, base: Node, over: Node) -> Node {
        if over.tag == Some(MergeTag::Override) {
            return settled(over);
        }
        match rule(&self.path) {
            Rule::Replace => over,
            Rule::KeyValue => self.default(key_values(base), key_values(over)),
            Rule::Names => self.default(named(base), named(over)),
            Rule::Hosts => self.append(hosts(base), hosts(over), |node| node.as_text().map(str::to_owned)),
            Rule::Build => self.default(build(base), build(over)),
            Rule::Set => self.append(listed(base), listed(over), |node| node.as_text().map(str::to_owned)),
            Rule::Unique(key) => self.append(listed(base), listed(over), |node| identity(node, key)),
            Rule::Logging => {
                let driver = |node: &Node| node.get("driver").and_then(Node::as_text).map(str::to_owned);
                match (driver(&base), driver(&over)) {
                    (Some(old), Some(new)) if old != new => over,
                    _ => self.default(base, over),
                }
            }
            Rule::Default => self.default(base, over),
        }
    }

    fn default(&mut self, base: Node, over: Node) -> Node {
        let span = over.span;
        match (base.value, over.value) {
            (Value::Mapping(base), Value::Mapping(over)) => Node::new(Value::Mapping(self.mappings(base, over)), span),
            (Value::Sequence(mut base), Value::Sequence(over)) => {
                base.extend(over.into_iter().filter_map(kept));
                Node::new(Value::Sequence(base), span)
            }
            (value @ (Value::Mapping(_) | Value::Sequence(_)), Value::Null) => Node::new(value, base.span),
            (Value::Null | Value::Scalar(_), over) => settled(Node::new(over, span)),
            (base_value, over) => {
                let over = Node::new(over, span);
                let base = Node::new(base_value, base.span);
                self.diagnostics.push(
                    Diagnostic::error(
                        &codes::MERGE_MISMATCH,
                        format!("`{}` is {} here and {} in the base", self.path.join("."), over.kind(), base.kind()),
                    )
                    .at(over.span, over.kind())
                    .at(base.span, base.kind())
                    .hint("write both in one form, or replace the base's value with `!override`"),
                );
                settled(over)
            }
        }
    }

    fn mappings(&mut self, base: Vec<Entry>, over: Vec<Entry>) -> Vec<Entry> {
        let mut known: HashMap<String, usize> =
            base.iter().enumerate().map(|(at, entry)| (entry.key.value.clone(), at)).collect();
        let mut merged: Vec<Option<Entry>> = base.into_iter().map(Some).collect();
        for Entry { key, value } in over {
            let reset = value.tag == Some(MergeTag::Reset);
            let old = known.get(&key.value).and_then(|at| merged[*at].take().map(|entry| (*at, entry)));
            match old {
                Some(_) if reset => {}
                None if reset => {}
                None => {
                    known.insert(key.value.clone(), merged.len());
                    merged.push(Some(Entry { key, value: settled(value) }));
                }
                Some((at, old)) => {
                    self.path.push(key.value);
                    let value = self.merge(old.value, value);
                    merged[at] = Some(Entry { key: old.key, value });
                    self.path.pop();
                }
            }
        }
        merged.into_iter().flatten().collect()
    }

    fn append(&mut self, base: Node, over: Node, identity: impl Fn(&Node) -> Option<String>) -> Node {
        let span = over.span;
        let (Value::Sequence(_), Value::Sequence(_)) = (&base.value, &over.value) else {
            return self.default(base, over);
        };
        let mut items = Vec::new();
        let mut known: HashMap<String, usize> = HashMap::new();
        for item in [base, over].into_iter().flat_map(into_items).filter_map(kept) {
            let same = identity(&item);
            match same.as_ref().and_then(|same| known.get(same)) {
                Some(at) => items[*at] = item,
                None => {
                    known.extend(same.map(|same| (same, items.len())));
                    items.push(item);
                }
            }
        }
        Node::new(Value::Sequence(items), span)
    }
}

fn into_items(node: Node) -> Vec<Node> {
    match node.value {
        Value::Sequence(items) => items,
        _ => Vec::new(),
    }
}

/// `["A=1", "B"]` as `{A: "1", B: null}`. A list with something else in it stays, for its reader to refuse.
pub(crate) fn key_values(node: Node) -> Node {
    if !node.items().iter().all(|item| item.as_text().is_some()) {
        return node;
    }
    let Value::Sequence(items) = node.value else { return node };
    let mut entries: Vec<Entry> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for item in items {
        let Some(text) = item.as_text() else { continue };
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Node { value: Node::text(value, item.span).value, ..item.clone() }),
            None => (text, Node { value: Value::Null, ..item.clone() }),
        };
        let entry = Entry { key: Spanned::new(key.to_owned(), item.span), value };
        match known.get(key) {
            Some(at) => entries[*at] = entry,
            None => {
                known.insert(key.to_owned(), entries.len());
                entries.push(entry);
            }
        }
    }
    Node { value: Value::Mapping(entries), span: node.span, tag: node.tag }
}

/// `{host: [address, …]}` and `["host:address"]` as `["host=address"]`.
fn hosts(node: Node) -> Node {
    let one = |text: String, address: Node| Node { value: Node::text(text, address.span).value, ..address };
    let items = match node.value {
        Value::Mapping(entries) => entries
            .into_iter()
            .flat_map(|Entry { key, value }| {
                let addresses = if matches!(value.value, Value::Sequence(_)) { into_items(value) } else { vec![value] };
                let named = move |address: Node| {
                    let text = format!("{}={}", key.value, address.as_text().unwrap_or_default());
                    one(text, address)
                };
                addresses.into_iter().map(named)
            })
            .collect(),
        Value::Sequence(items) => items
            .into_iter()
            .map(|item| match item.as_text() {
                Some(text) if !text.contains('=') => one(text.replacen(':', "=", 1), item),
                _ => item,
            })
            .collect(),
        _ => return node,
    };
    Node { value: Value::Sequence(items), span: node.span, tag: node.tag }
}

/// `[a, b]` as `{a: null, b: null}`. A list with something else in it stays, for its reader to refuse.
fn named(node: Node) -> Node {
    if !node.items().iter().all(|item| item.as_text().is_some()) {
        return node;
    }
    let Value::Sequence(items) = node.value else { return node };
    let mut entries: Vec<Entry> = Vec::new();
    let mut known: HashSet<String> = HashSet::new();
    for item in items {
        let Some(name) = item.as_text().map(str::to_owned) else { continue };
        if known.insert(name.clone()) {
            let key = Spanned::new(name, item.span);
            entries.push(Entry { key, value: Node { value: Value::Null, ..item } });
        }
    }
    Node { value: Value::Mapping(entries), span: node.span, tag: node.tag }
}

fn build(node: Node) -> Node {
    if !matches!(node.value, Value::Scalar(_)) {
        return node;
    }
    let (span, tag) = (node.span, node.tag);
    let entry = Entry { key: Spanned::new("context".to_owned(), span), value: Node { tag: None, ..node } };
    Node { value: Value::Mapping(vec![entry]), span, tag }
}

/// A single value as a list of it.
fn listed(node: Node) -> Node {
    if !matches!(node.value, Value::Scalar(_)) {
        return node;
    }
    let (span, tag) = (node.span, node.tag);
    Node { value: Value::Sequence(vec![Node { tag: None, ..node }]), span, tag }
}

/// The unique key of an entry, in one form for short and long syntax. None is unlike every other.
fn identity(node: &Node, key: Key) -> Option<String> {
    let field = |name: &str| node.get(name).and_then(Node::as_text).map(str::to_owned);
    let text = node.as_text();
    match key {
        Key::VolumeTarget => {
            let short = text.map(|text| text.split(':').nth(usize::from(text.contains(':'))).map(str::to_owned));
            let target = short.unwrap_or_else(|| field("target"))?;
            // One place, written in two ways.
            Some(format!("/{}", target.trim_matches('/')))
        }
        Key::SecretTarget => file_target(node, "/run/secrets/"),
        Key::ConfigTarget => file_target(node, "/"),
        Key::DeviceTarget => match text {
            Some(text) => Some(text.split(':').nth(usize::from(text.contains(':')))?.to_owned()),
            None => field("target").or_else(|| field("source")),
        },
        Key::EnvFile => text.map(str::to_owned).or_else(|| field("path")),
        Key::Subnet => field("subnet"),
        Key::Port => match text {
            Some(text) => {
                let (rest, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
                let (host, target) = rest.rsplit_once(':').unwrap_or(("", rest));
                let (ip, published) = host.rsplit_once(':').unwrap_or(("", host));
                let ip = ip.trim_start_matches('[').trim_end_matches(']');
                Some(format!("{ip} {published} {target} {protocol}"))
            }
            None => Some(format!(
                "{} {} {} {}",
                field("host_ip").unwrap_or_default(),
                field("published").unwrap_or_default(),
                field("target")?,
                field("protocol").unwrap_or_else(|| "tcp".into())
            )),
        },
    }
}

fn file_target(node: &Node, folder: &str) -> Option<String> {
    let field = |name: &str| node.get(name).and_then(Node::as_text);
    let target = node.as_text().or_else(|| field("target")).or_else(|| field("source"))?;
    Some(if target.starts_with('/') { target.to_owned() } else { format!("{folder}{target}") })
}
