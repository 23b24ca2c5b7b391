//! From files to what is built.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use carrack_compose::Project;
use carrack_diag::{Diagnostic, Result, Span, nearest};
use serde_json::{Map, Value, json};

use crate::codes;
use crate::expression::Locals;
use crate::file::{Block, Expr, File};
use crate::matrix::{self, Instance};
use crate::overrides::{self, Override};
use crate::project;
use crate::scope::Scope;
use crate::target::{KEYS, Setting, Target, key};
use crate::value::text;

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
        let group = |(name, targets): (&String, &Vec<String>)| (name.clone(), json!({ "targets": targets }));
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
        let resolving = Resolving::new(self, overrides, environment)?;
        let default = ["default".to_owned()];
        let names = if names.is_empty() { &default } else { names };
        let mut plan = Plan::default();
        let mut all = Vec::new();
        for name in names {
            let found = resolving.members(name, None, &mut Vec::new(), &mut plan.groups)?;
            all.extend(found.into_iter().filter(|found| !all.contains(found)).collect::<Vec<_>>());
        }
        // What is asked for by name joins the group that is asked for without one.
        let asked: BTreeSet<String> = names.iter().filter(|name| *name != "default").cloned().collect();
        let of_default = plan.groups.remove("default").unwrap_or_default();
        let of_default: BTreeSet<String> = asked.into_iter().chain(of_default).collect();
        let of_default = if of_default.is_empty() { names.to_vec() } else { of_default.into_iter().collect() };
        plan.groups.insert("default".into(), of_default);
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
    ///
    /// # Errors
    /// What is wrong with the names of a matrix.
    pub fn targets(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Listed>> {
        Ok(Resolving::new(self, &[], environment)?.listed().into_values().collect())
    }

    /// All variables, with what they hold now.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn variables(&self, environment: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Listed>> {
        let resolving = Resolving::new(self, &[], environment)?;
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
    /// Those of a file, for each of the files that are no project's.
    instances: Vec<Vec<Instance<'a>>>,
    /// Targets by the block whose matrix makes them.
    matrices: BTreeMap<&'a str, Vec<String>>,
    /// With all that they inherit, each made once however many inherit from it.
    inherited: RefCell<BTreeMap<String, Target>>,
    /// The targets of groups, each group's found once however many hold it.
    members: RefCell<BTreeMap<String, Vec<String>>>,
}

impl<'a> Resolving<'a> {
    fn new(bake: &'a Bake, overrides: &'a [Override], environment: &'a dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut scope = Scope::new(environment);
        let mut groups: BTreeMap<&str, Vec<&Block>> = BTreeMap::new();
        let files = || {
            bake.files.iter().filter_map(|source| match source {
                Source::File(file) => Some(file),
                Source::Project { .. } => None,
            })
        };
        for file in files() {
            for block in &file.variables {
                scope.variables.entry(&block.name.value).or_default().push(block);
            }
            for (name, value) in &file.values {
                scope.values.insert(&name.value, value);
            }
            for block in &file.functions {
                scope.functions.insert(&block.name.value, block);
            }
            for block in &file.groups {
                groups.entry(&block.name.value).or_default().push(block);
                scope.others.insert(("group", &block.name.value), block);
            }
            for block in &file.targets {
                scope.others.insert(("target", &block.name.value), block);
            }
        }
        // Conditions hold for every build, whatever names the variable.
        for (name, blocks) in &scope.variables {
            if blocks.iter().any(|block| !block.blocks.is_empty()) {
                scope.variable_of(name, blocks)?;
            }
        }
        let (mut instances, mut matrices): (Vec<_>, BTreeMap<&str, Vec<String>>) = (Vec::new(), BTreeMap::new());
        for file in files() {
            let mut own = Vec::new();
            for block in &file.targets {
                let made = matrix::instances(&scope, block)?;
                if made.iter().any(|instance| instance.name != block.name.value) {
                    let names = matrices.entry(&block.name.value).or_default();
                    names.extend(made.iter().map(|instance| instance.name.clone()));
                }
                own.extend(made);
            }
            instances.push(own);
        }
        Ok(Self {
            bake,
            scope,
            overrides,
            groups,
            instances,
            matrices,
            inherited: RefCell::default(),
            members: RefCell::default(),
        })
    }

    fn instances(&self, name: &str) -> impl Iterator<Item = &Instance<'a>> {
        self.instances.iter().flatten().filter(move |instance| instance.name == name)
    }

    fn place(&self, name: &str) -> Option<Span> {
        self.instances(name).last().map(|instance| instance.block.name.span)
    }

    fn is_target(&self, name: &str) -> bool {
        let of_service = self
            .bake
            .files
            .iter()
            .any(|source| matches!(source, Source::Project { targets, .. } if targets.contains_key(name)));
        of_service || self.instances(name).next().is_some()
    }

    /// Targets and groups by name.
    fn listed(&self) -> BTreeMap<String, Listed> {
        let mut listed: BTreeMap<String, Listed> = BTreeMap::new();
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
        let described = |block: &Block, locals: &Locals<'_>| {
            // What can't be evaluated is told when it is built.
            let value = block.attribute("description").and_then(|expr| self.scope.value_with(expr, locals).ok());
            value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        for source in &self.bake.files {
            if let Source::Project { targets, .. } = source {
                targets.keys().for_each(|name| put(name, String::new(), String::new()));
            }
        }
        for instance in self.instances.iter().flatten() {
            put(&instance.name, String::new(), described(instance.block, &instance.locals()));
        }
        for (name, targets) in &self.matrices {
            put(name, targets.join(", "), String::new());
        }
        for block in self.groups.values().flatten() {
            let members = block.attribute("targets").and_then(|expr| list(&self.scope, "targets", expr).ok());
            put(&block.name.value, members.unwrap_or_default().join(", "), described(block, &Locals::default()));
        }
        listed
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
        if let Some(known) = self.members.borrow().get(name) {
            return Ok(known.clone());
        }
        // A later file's group takes the place of an earlier one's.
        let block = self.groups.get(name).and_then(|blocks| blocks.last());
        let projects = self.bake.files.iter().flat_map(|source| match source {
            Source::Project { active, .. } if name == "default" && block.is_none() => active.as_slice(),
            _ => &[],
        });
        let services: Vec<&String> = projects.collect();
        if let (None, Some(targets)) = (block, self.matrices.get(name)) {
            groups.insert(name.to_owned(), targets.clone());
            return Ok(targets.clone());
        }
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
        self.members.borrow_mut().insert(name.to_owned(), members.clone());
        Ok(members)
    }

    fn unknown(&self, name: &str, asked: Option<Span>) -> Box<Diagnostic> {
        let known = self.listed();
        let mut diagnostic = Diagnostic::error(&codes::UNKNOWN_TARGET, format!("there is no target or group `{name}`"));
        if let Some(span) = asked {
            diagnostic = diagnostic.at(span, "asked for here");
        }
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
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
            return Err(cycle(name, self.place(name)));
        }
        if targets.contains_key(name) {
            return Ok(());
        }
        let mut target = self.inherited(name, None, &mut Vec::new())?;
        overrides::apply(&mut target, name, self.overrides, self.scope.environment);
        way.push(name.to_owned());
        for (_, linked) in target.links() {
            if !self.is_target(linked) {
                return Err(self.unknown(linked, self.place(name)));
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
        if let Some(known) = self.inherited.borrow().get(name) {
            return Ok(known.clone());
        }
        if !self.is_target(name) {
            return Err(self.unknown(name, asked));
        }
        way.push(name.to_owned());
        let mut own = Target::default();
        let mut parents: Option<(Vec<String>, Span)> = None;
        let mut instances = self.instances.iter();
        for source in &self.bake.files {
            match source {
                Source::Project { targets, .. } => {
                    if let Some(target) = targets.get(name) {
                        own.merge(target);
                    }
                }
                Source::File(_) => {
                    let of_file = instances.next().into_iter().flatten();
                    for instance in of_file.filter(|instance| instance.name == name) {
                        own.merge(&self.block(instance)?);
                        if let Some(expr) = instance.block.attribute("inherits") {
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
        self.inherited.borrow_mut().insert(name.to_owned(), whole.clone());
        Ok(whole)
    }

    /// What one block says.
    fn block(&self, instance: &Instance<'_>) -> Result<Target> {
        let (block, locals) = (instance.block, instance.locals());
        let mut target = Target::default();
        if let Some(inner) = block.blocks.first() {
            let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
            return Err(unknown_key(&inner.name.value, inner.name.span, "a target", &known));
        }
        for (written, expr) in &block.attributes {
            if matches!(written.value.as_str(), "matrix" | "name") {
                continue;
            }
            let Some((key, kind)) = key(&written.value) else {
                let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
                return Err(unknown_key(&written.value, written.span, "a target", &known));
            };
            let value = self.scope.value_with(expr, &locals)?;
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
