//! From files to what is built.

use std::collections::{BTreeMap, BTreeSet};

use carrack_compose::Project;
use carrack_diag::{Diagnostic, Result, Span, nearest};
use serde_json::{Map, Value, json};

use crate::codes;
use crate::expression::{Scope, text};
use crate::file::{Block, Expr, File};
use crate::overrides::{self, Override};
use crate::project;
use crate::target::{KEYS, Setting, Target, key};

/// Files in the order of merging: later ones add to earlier ones, and win.
#[derive(Debug, Default)]
pub struct Bake {
    files: Vec<Source>,
}

#[derive(Debug)]
enum Source {
    File(File),
    Project { targets: BTreeMap<String, Target>, active: Vec<String> },
}

/// What was asked for, resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Groups that were asked for; `default` is all that was.
    pub groups: BTreeMap<String, Vec<String>>,
    /// What is built, with the targets whose images are contexts of others.
    pub targets: BTreeMap<String, Target>,
    /// Those that were asked for themselves.
    pub asked: BTreeSet<String>,
}

/// A line of `--list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Of a target, group or variable.
    pub name: String,
    /// Of a variable its default, of a group its targets.
    pub value: String,
    /// In the file's own words.
    pub description: String,
}

impl Plan {
    /// As `--print` shows it.
    pub fn to_json(&self) -> Value {
        let group = |(name, targets): (&String, &Vec<String>)| {
            let sorted: BTreeSet<&String> = targets.iter().collect();
            (name.clone(), json!({ "targets": sorted }))
        };
        let groups: Map<String, Value> = self.groups.iter().map(group).collect();
        let target = |(name, target): (&String, &Target)| (name.clone(), target.to_json(self.asked.contains(name)));
        let targets: Map<String, Value> = self.targets.iter().map(target).collect();
        json!({ "group": groups, "target": targets })
    }
}

impl Bake {
    /// Adds a file.
    pub fn add(&mut self, file: File) {
        self.files.push(Source::File(file));
    }

    /// Adds the services of a Compose project.
    pub fn add_project(&mut self, project: &Project) {
        self.files.push(Source::Project { targets: project::targets(project), active: project::active(project) });
    }

    /// What is to be built of `names` (none: `default`), with `--set` on top. `environment` is asked for variables.
    ///
    /// # Errors
    /// What is wrong with the files, as far as they are needed.
    pub fn resolve(
        &self,
        names: &[String],
        overrides: &[Override],
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Plan> {
        let resolving = Resolving::new(self, overrides, environment);
        let default = ["default".to_owned()];
        let names = if names.is_empty() { &default } else { names };
        let mut plan = Plan::default();
        let mut all = Vec::new();
        for name in names {
            let found = resolving.members(name, None, &mut Vec::new(), &mut plan.groups)?;
            all.extend(found.into_iter().filter(|found| !all.contains(found)).collect::<Vec<_>>());
        }
        if !names.contains(&"default".to_owned()) || !plan.groups.contains_key("default") {
            plan.groups.insert("default".into(), names.to_vec());
        }
        plan.asked = all.iter().cloned().collect();
        let mut way = Vec::new();
        for name in &all {
            resolving.with_links(name, &mut plan.targets, &mut way)?;
        }
        let reached: Vec<&str> = plan.targets.keys().map(String::as_str).collect();
        if let Some(unused) = overrides.iter().find(|one| !reached.iter().any(|name| one.is_for(name))) {
            let diagnostic = Diagnostic::error(
                &codes::UNKNOWN_TARGET,
                format!("--set: no target of this build is `{}`", unused.pattern()),
            );
            return Err(diagnostic.hint(format!("they are {}", reached.join(", "))).boxed());
        }
        Ok(plan)
    }

    /// All targets and groups.
    pub fn targets(&self) -> Vec<Listed> {
        let mut listed: BTreeMap<String, Listed> = BTreeMap::new();
        let constant = |block: &Block, wanted: &str| {
            let nothing = |_: &str| None;
            let found = block.attributes.iter().find(|(key, _)| key.value == wanted);
            // Only what is written out is told: nothing is evaluated for a list.
            found.and_then(|(_, expr)| Scope::new(&nothing).value(expr).ok())
        };
        let mut put = |name: &str, value: String, description: String| {
            let line = listed.entry(name.to_owned()).or_insert_with(|| Listed {
                name: name.to_owned(),
                value: String::new(),
                description: String::new(),
            });
            for (own, new) in [(&mut line.value, value), (&mut line.description, description)] {
                if !new.is_empty() {
                    *own = new;
                }
            }
        };
        for source in &self.files {
            match source {
                Source::Project { targets, .. } => {
                    targets.keys().for_each(|name| put(name, String::new(), String::new()));
                }
                Source::File(file) => {
                    for block in file.targets.iter().chain(&file.groups) {
                        let described = constant(block, "description");
                        let description = described.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
                        let members = match constant(block, "targets") {
                            Some(Value::Array(names)) => {
                                names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
                            }
                            _ => String::new(),
                        };
                        put(&block.name.value, members, description);
                    }
                }
            }
        }
        listed.into_values().collect()
    }

    /// All variables, with what they hold now.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn variables(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Listed>> {
        let resolving = Resolving::new(self, &[], environment);
        let mut listed = Vec::new();
        for (name, blocks) in &resolving.scope.variables {
            let value = resolving.scope.variable_of(name, blocks)?;
            let description = blocks.iter().rev().find_map(|block| {
                let (_, expr) = block.attributes.iter().find(|(key, _)| key.value == "description")?;
                resolving.scope.value(expr).ok()?.as_str().map(str::to_owned)
            });
            let value = match value {
                Value::String(text) => text,
                Value::Null => String::new(),
                other => other.to_string(),
            };
            listed.push(Listed { name: (*name).to_owned(), value, description: description.unwrap_or_default() });
        }
        Ok(listed)
    }
}

struct Resolving<'a> {
    bake: &'a Bake,
    scope: Scope<'a>,
    overrides: &'a [Override],
    groups: BTreeMap<&'a str, Vec<&'a Block>>,
}

impl<'a> Resolving<'a> {
    fn new(bake: &'a Bake, overrides: &'a [Override], environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        let mut scope = Scope::new(environment);
        let mut groups: BTreeMap<&str, Vec<&Block>> = BTreeMap::new();
        for source in &bake.files {
            let Source::File(file) = source else { continue };
            for block in &file.variables {
                scope.variables.entry(&block.name.value).or_default().push(block);
            }
            for (name, value) in &file.values {
                scope.values.insert(&name.value, value);
            }
            for block in &file.groups {
                groups.entry(&block.name.value).or_default().push(block);
            }
        }
        Self { bake, scope, overrides, groups }
    }

    fn blocks(&self, name: &str) -> impl Iterator<Item = &'a Block> {
        let files = self.bake.files.iter().filter_map(|source| match source {
            Source::File(file) => Some(file),
            Source::Project { .. } => None,
        });
        files.flat_map(|file| &file.targets).filter(move |block| block.name.value == name)
    }

    fn is_target(&self, name: &str) -> bool {
        let of_service = self
            .bake
            .files
            .iter()
            .any(|source| matches!(source, Source::Project { targets, .. } if targets.contains_key(name)));
        of_service || self.blocks(name).next().is_some()
    }

    /// The targets that a name stands for. Groups are noted with their members.
    fn members(
        &self,
        name: &str,
        asked: Option<Span>,
        way: &mut Vec<String>,
        groups: &mut BTreeMap<String, Vec<String>>,
    ) -> Result<Vec<String>> {
        if comes_back(way, name) {
            return Err(cycle(name, asked));
        }
        // A later file's group takes the place of an earlier one's.
        let block = self.groups.get(name).and_then(|blocks| blocks.last());
        let projects = self.bake.files.iter().flat_map(|source| match source {
            Source::Project { active, .. } if name == "default" && block.is_none() => active.as_slice(),
            _ => &[],
        });
        let services: Vec<&String> = projects.collect();
        if block.is_none() && services.is_empty() {
            return if self.is_target(name) { Ok(vec![name.to_owned()]) } else { Err(self.unknown(name, asked)) };
        }
        way.push(name.to_owned());
        let mut members: Vec<String> = Vec::new();
        let mut written: Vec<String> = services.into_iter().cloned().collect();
        members.extend(written.iter().cloned());
        if let Some(block) = block {
            for (key, expr) in &block.attributes {
                match key.value.as_str() {
                    "targets" => {}
                    "description" => continue,
                    _ => return Err(unknown_key(&key.value, key.span, "a group", &["targets", "description"])),
                }
                for member in list(&self.scope, &key.value, expr)? {
                    let found = self.members(&member, Some(expr.span()), way, groups)?;
                    members.extend(found.into_iter().filter(|one| !members.contains(one)).collect::<Vec<_>>());
                    if !written.contains(&member) {
                        written.push(member);
                    }
                }
            }
        }
        way.pop();
        groups.insert(name.to_owned(), written);
        Ok(members)
    }

    fn unknown(&self, name: &str, asked: Option<Span>) -> Box<Diagnostic> {
        let known = self.bake.targets();
        let mut diagnostic = Diagnostic::error(&codes::UNKNOWN_TARGET, format!("there is no target or group `{name}`"));
        if let Some(span) = asked {
            diagnostic = diagnostic.at(span, "asked for here");
        }
        let names: Vec<&str> = known.iter().map(|listed| listed.name.as_str()).collect();
        match nearest(name, names.iter().copied()) {
            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
            None if names.is_empty() => diagnostic.hint("the files define none"),
            None => diagnostic.hint(format!("there are {}", names.join(", "))),
        }
        .boxed()
    }

    /// A target, and those whose images are its contexts.
    fn with_links(&self, name: &str, targets: &mut BTreeMap<String, Target>, way: &mut Vec<String>) -> Result<()> {
        if comes_back(way, name) {
            return Err(cycle(name, self.blocks(name).last().map(|block| block.name.span)));
        }
        if targets.contains_key(name) {
            return Ok(());
        }
        let mut target = self.inherited(name, None, &mut Vec::new())?;
        overrides::apply(&mut target, name, self.overrides, self.scope.environment);
        way.push(name.to_owned());
        for (_, linked) in target.links() {
            if !self.is_target(linked) {
                return Err(self.unknown(linked, self.blocks(name).last().map(|block| block.name.span)));
            }
            self.with_links(linked, targets, way)?;
        }
        way.pop();
        targets.insert(name.to_owned(), target);
        Ok(())
    }

    /// A target over those that it inherits from, in their order.
    fn inherited(&self, name: &str, asked: Option<Span>, way: &mut Vec<String>) -> Result<Target> {
        if comes_back(way, name) {
            return Err(cycle(name, asked));
        }
        if !self.is_target(name) {
            return Err(self.unknown(name, asked));
        }
        way.push(name.to_owned());
        let mut own = Target::default();
        let mut parents: Option<(Vec<String>, Span)> = None;
        for source in &self.bake.files {
            match source {
                Source::Project { targets, .. } => {
                    if let Some(target) = targets.get(name) {
                        own.merge(target);
                    }
                }
                Source::File(file) => {
                    for block in file.targets.iter().filter(|block| block.name.value == name) {
                        own.merge(&self.block(block)?);
                        let inherits = block.attributes.iter().find(|(key, _)| key.value == "inherits");
                        if let Some((_, expr)) = inherits {
                            parents = Some((own.list("inherits").to_vec(), expr.span()));
                        }
                    }
                }
            }
        }
        let mut whole = Target::default();
        let (parents, span) = parents.map_or((Vec::new(), None), |(parents, span)| (parents, Some(span)));
        for parent in parents {
            let mut parent = self.inherited(&parent, span, way)?;
            parent.settings.remove("description");
            whole.merge(&parent);
        }
        whole.merge(&own);
        way.pop();
        Ok(whole)
    }

    /// What one block says.
    fn block(&self, block: &Block) -> Result<Target> {
        let mut target = Target::default();
        if let Some(inner) = block.blocks.first() {
            let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
            return Err(unknown_key(&inner.name.value, inner.name.span, "a target", &known));
        }
        for (written, expr) in &block.attributes {
            if matches!(written.value.as_str(), "matrix" | "name") {
                let message = format!("`{}` of a target is not there yet", written.value);
                let diagnostic =
                    Diagnostic::error(&codes::NOT_YET, message).at(written.span, "a target for each value");
                return Err(diagnostic.hint("write the targets out, and share what they have with `inherits`").boxed());
            }
            let Some((key, kind)) = key(&written.value) else {
                let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
                return Err(unknown_key(&written.value, written.span, "a target", &known));
            };
            let value = self.scope.value(expr)?;
            if !value.is_null() {
                target.set(key, Setting::of(key, kind, &value, expr.span())?);
            }
        }
        Ok(target)
    }
}

fn list(scope: &Scope<'_>, key: &str, expr: &Expr) -> Result<Vec<String>> {
    match scope.value(expr)? {
        Value::Array(items) => items.iter().map(|item| text(item, expr.span())).collect(),
        _ => Err(Diagnostic::error(&codes::WRONG_TYPE, format!("`{key}` is a list of texts"))
            .at(expr.span(), "something else")
            .hint(format!("write {key} = [\"name\"]"))
            .boxed()),
    }
}

/// So many targets or groups may follow each other.
const MAX_WAY: usize = 100;

/// Whether a name has been come by, or the way is so long that it has no sensible end.
fn comes_back(way: &[String], name: &str) -> bool {
    way.len() >= MAX_WAY || way.iter().any(|before| before == name)
}

fn cycle(name: &str, span: Option<Span>) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::error(&codes::CYCLE, format!("`{name}` leads to itself"));
    let diagnostic = match span {
        Some(span) => diagnostic.at(span, "comes back to it"),
        None => diagnostic,
    };
    diagnostic.hint("take one of the names out of the circle").boxed()
}

fn unknown_key(name: &str, span: Span, of: &str, known: &[&str]) -> Box<Diagnostic> {
    let diagnostic =
        Diagnostic::error(&codes::UNKNOWN_KEY, format!("{of} has no key `{name}`")).at(span, "unknown key");
    match nearest(name, known.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint(format!("it has {}", known.join(", "))),
    }
    .boxed()
}
