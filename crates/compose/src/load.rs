use std::collections::{BTreeMap, BTreeSet};

use carrack_diag::{Diagnostic, Diagnostics, FileId, SourceMap, Span, Spanned, nearest};

use crate::node::{Entry, Node, Value};
use crate::project::Project;
use crate::read::{Reading, absolute, extensions, parent};
use crate::{Env, codes, dotenv, interpolate, merge, parse, schema, top, validate};

/// What to load, and what has been read for it so far.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {
    /// The Compose files, the base first.
    pub files: Vec<FileId>,
    /// Absolute path of the folder that relative paths in those files start from.
    pub project_directory: String,
    /// The project's name where the command line gives one; else `COMPOSE_PROJECT_NAME`, the files' `name` or the folder's.
    pub project_name: Option<String>,
    /// Active profiles, beside those of `COMPOSE_PROFILES`. `*` is all.
    pub profiles: Vec<String>,
    /// Services that the command names: their profiles are active as well.
    pub services: Vec<String>,
    /// Files with defaults for variables (`--env-file`), absolute; where empty, `.env` in the project's folder.
    pub env_files: Vec<String>,
    /// What the caller has read because an earlier call needed it, by path. None is "not there".
    pub read: BTreeMap<String, Option<FileId>>,
}

/// What came of loading.
#[derive(Debug)]
pub enum Loaded {
    /// Everything was at hand. There is no project where a diagnostic is an error.
    Done {
        /// The project.
        project: Option<Box<Project>>,
        /// The process environment over the env files: what secrets and configs with `environment` are looked up in.
        environment: Env,
        /// Errors, warnings and notes.
        diagnostics: Diagnostics,
    },
    /// Read these, put what was found into [`LoadOptions::read`], and call again.
    Needs(Vec<Need>),
}

/// A file that loading needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Absolute path.
    pub path: String,
    /// What asks for it, where a file does.
    pub origin: Option<Span>,
}

/// The names of a base file in a folder, in the order of preference.
pub const FILE_NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];

/// The names of a file that is laid over the base without being asked for.
pub const OVERRIDE_FILE_NAMES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yml", "docker-compose.override.yaml"];

/// How many services may extend one another in a row.
const MAX_EXTENDS: usize = 50;

/// Loads a project. `env` is the process environment; nothing else is looked at.
pub fn load(sources: &SourceMap, env: &Env, options: &LoadOptions) -> Loaded {
    let mut loader = Loader {
        sources,
        options,
        needs: BTreeMap::new(),
        bases: BTreeMap::new(),
        unset: BTreeSet::new(),
        environment: Env::new(),
        diagnostics: Vec::new(),
    };
    let project = loader.project(env);
    if !loader.needs.is_empty() {
        let needs = loader.needs.into_iter().map(|(path, origin)| Need { path, origin });
        return Loaded::Needs(needs.collect());
    }
    let Loader { environment, diagnostics, .. } = loader;
    let failed = diagnostics.iter().any(Diagnostic::is_error);
    Loaded::Done { project: project.filter(|_| !failed).map(Box::new), environment, diagnostics }
}

/// The name that a folder's path gives a project: its last part in lower case, without what names can't have.
pub fn project_name_of(directory: &str) -> String {
    let last = directory.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_lowercase();
    let kept = last.chars().filter(|character| matches!(character, 'a'..='z' | '0'..='9' | '-' | '_'));
    kept.collect::<String>().trim_start_matches(['-', '_']).to_owned()
}

struct Loader<'a> {
    sources: &'a SourceMap,
    options: &'a LoadOptions,
    needs: BTreeMap<String, Option<Span>>,
    bases: BTreeMap<FileId, String>,
    unset: BTreeSet<String>,
    environment: Env,
    diagnostics: Diagnostics,
}

impl Loader<'_> {
    fn project(&mut self, process: &Env) -> Option<Project> {
        let mut env = self.environment(process)?;
        for file in &self.options.files {
            self.bases.insert(*file, self.options.project_directory.clone());
        }
        let documents: Vec<Node> = self.options.files.iter().map(|file| self.document(*file)).collect();
        self.is_sound()?;
        let name = self.name(&documents, &env)?;
        env.insert("COMPOSE_PROJECT_NAME".into(), name.clone());
        self.environment.clone_from(&env);
        let mut root = self.merged(documents, &env)?;
        let mut stack = self.options.files.clone();
        self.include(&mut root, &env, &mut stack);
        self.is_sound()?;
        self.note_version(&root);
        let mut project = self.read(&root, &env, name);
        if self.needs.is_empty() {
            let base = self.options.files.first().copied();
            validate::check(&mut project, &root, base, &mut self.diagnostics);
        }
        Some(project)
    }

    /// Whether there is no error so far: what is read from half a file, or without its variables, gives errors that are none.
    fn is_sound(&self) -> Option<()> {
        (!self.diagnostics.iter().any(Diagnostic::is_error)).then_some(())
    }

    /// The process environment over the env files. None where those have to be read first.
    fn environment(&mut self, process: &Env) -> Option<Env> {
        let default = [format!("{}/.env", self.options.project_directory.trim_end_matches('/'))];
        let explicit = !self.options.env_files.is_empty();
        let files = if explicit { &self.options.env_files[..] } else { &default[..] };
        let mut env = Env::new();
        for path in files {
            self.env_file(path, explicit, None, process, &mut env);
        }
        if !self.needs.is_empty() {
            return None;
        }
        env.extend(process.clone());
        Some(env)
    }

    fn env_file(&mut self, path: &str, required: bool, origin: Option<Span>, over: &Env, env: &mut Env) {
        let Some(found) = self.wanted(path, origin) else { return };
        let Some(file) = found else {
            if required {
                let message = format!("the env file {path} does not exist or can't be read");
                let mut diagnostic =
                    Diagnostic::error(&codes::ENV_FILE_MISSING, message).hint("create it or correct the path");
                if let Some(origin) = origin {
                    diagnostic = diagnostic.at(origin, "named here");
                }
                self.diagnostics.push(diagnostic);
            }
            return;
        };
        let Some(source) = self.sources.find(file) else { return };
        let known = env.clone();
        let environment = |name: &str| over.get(name).cloned();
        match dotenv::parse(file, &source.text, &environment, &|name| known.get(name).cloned()) {
            Ok(assignments) => {
                env.extend(assignments.into_iter().filter_map(|(name, value)| Some((name.value, value?))));
            }
            Err(diagnostic) => self.diagnostics.push(*diagnostic),
        }
    }

    /// What the caller found at `path`. None where it has not looked yet: then it is asked to.
    fn wanted(&mut self, path: &str, origin: Option<Span>) -> Option<Option<FileId>> {
        let found = self.options.read.get(path).copied();
        if found.is_none() {
            self.needs.entry(path.to_owned()).or_insert(origin);
        }
        found
    }

    /// The documents of a file, merged, with variables still in it. An empty mapping where it can't be read.
    fn document(&mut self, file: FileId) -> Node {
        let empty = Node::new(Value::Mapping(Vec::new()), Span::new(file, 0, 0));
        let Some(source) = self.sources.find(file) else { return empty };
        let mut merged = empty;
        for document in parse::documents(file, &source.text, &mut self.diagnostics) {
            match document.value {
                Value::Null => {}
                // Tags stay for the merge with other files.
                Value::Mapping(_) if merged.entries().is_empty() => merged = document,
                Value::Mapping(_) => merged = merge::files(merged, document, &mut self.diagnostics),
                _ => self.diagnostics.push(
                    Diagnostic::error(
                        &codes::WRONG_TYPE,
                        format!("a Compose file is a mapping, and this is {}", document.kind()),
                    )
                    .at(document.span, "`services:` and so on are expected")
                    .hint("look at the first lines of the file"),
                ),
            }
        }
        merged
    }

    fn name(&mut self, documents: &[Node], env: &Env) -> Option<String> {
        let given = self.options.project_name.clone().or_else(|| env.get("COMPOSE_PROJECT_NAME").cloned());
        let given = given.filter(|name| !name.is_empty()).map(|name| (name, None));
        let written = || {
            let node = documents.iter().rev().find_map(|document| document.get("name"))?;
            let text = node.as_text()?;
            let name = interpolate::interpolate(text, &|name| env.get(name).cloned()).ok()?.text.into_owned();
            Some((name, Some(node.span))).filter(|(name, _)| !name.is_empty())
        };
        let (name, span) =
            given.or_else(written).unwrap_or_else(|| (project_name_of(&self.options.project_directory), None));
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        if name.bytes().all(valid) && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric()) {
            return Some(name);
        }
        let mut diagnostic = Diagnostic::error(&codes::PROJECT_NAME, format!("`{name}` can't be the project's name"))
            .hint(match project_name_of(&name).as_str() {
                "" => "give a name of lower-case letters, digits, `-` and `_` with `name:` or `-p`".to_owned(),
                near => format!("use `{near}`: lower-case letters, digits, `-` and `_`"),
            });
        if let Some(span) = span {
            diagnostic = diagnostic.at(span, "given here");
        }
        self.diagnostics.push(diagnostic);
        None
    }

    /// Several files in one: variables replaced and `extends` resolved in each, then merged. None where one is needed.
    fn merged(&mut self, documents: Vec<Node>, env: &Env) -> Option<Node> {
        let file = documents.first().map_or(FileId(0), |document| document.span.file);
        let mut root = Node::new(Value::Mapping(Vec::new()), Span::new(file, 0, 0));
        for mut document in documents {
            interpolate::tree(&mut document, env, self.sources, &mut self.unset, &mut self.diagnostics);
            self.extend_all(&mut document, &root, env);
            root = merge::files(root, document, &mut self.diagnostics);
        }
        Some(merge::settled(root)).filter(|_| self.needs.is_empty())
    }

    /// Resolves the `extends` of every service of a file.
    fn extend_all(&mut self, document: &mut Node, earlier: &Node, env: &Env) {
        let names: Vec<String> = match document.get("services") {
            Some(services) => {
                let extending = services.entries().iter().filter(|entry| entry.value.get("extends").is_some());
                extending.map(|entry| entry.key.value.clone()).collect()
            }
            None => return,
        };
        let original = document.clone();
        for name in names {
            let resolved = self.extended(&original, earlier, &name, env, &mut Vec::new());
            let services = match &mut document.value {
                Value::Mapping(entries) => entries.iter_mut().find(|entry| entry.key.value == "services"),
                _ => None,
            };
            if let Some(Entry { value: Node { value: Value::Mapping(services), .. }, .. }) = services
                && let Some(service) = services.iter_mut().find(|service| service.key.value == name)
                && let Some(resolved) = resolved
            {
                service.value = resolved;
            }
        }
    }

    /// The service `name` of `document`, over the one it extends. None where there is a diagnostic or a need.
    fn extended(
        &mut self,
        document: &Node,
        earlier: &Node,
        name: &str,
        env: &Env,
        stack: &mut Vec<(FileId, String, Span)>,
    ) -> Option<Node> {
        let service = document.get("services").and_then(|services| services.get(name)).or_else(|| {
            // A service of the base file, extended in an override.
            earlier.get("services").and_then(|services| services.get(name))
        })?;
        let Some(extends) = service.get("extends").filter(|extends| !extends.is_null()) else {
            return Some(service.clone());
        };
        let file = service.span.file;
        if stack.len() > MAX_EXTENDS || stack.iter().any(|(other, known, _)| *other == file && known == name) {
            let mut diagnostic =
                Diagnostic::error(&codes::EXTENDS_CYCLE, format!("the service `{name}` extends itself"))
                    .at(extends.span, "leads back to where it began")
                    .hint("remove one of these links");
            for (_, known, span) in stack.iter().filter(|(.., span)| *span != extends.span) {
                diagnostic = diagnostic.at(*span, format!("`{known}` extends here"));
            }
            self.diagnostics.push(diagnostic);
            return None;
        }
        stack.push((file, name.to_owned(), extends.span));
        let path = format!("services.{name}.extends");
        let short = extends.as_text().is_some();
        if !short && !self.reading(env).mapping(extends, &path, schema::EXTENDS) {
            return None;
        }
        let base_name = if short { Some(extends) } else { extends.get("service") };
        let Some(base_name) = base_name.filter(|node| node.as_text().is_some()) else {
            self.reading(env).wrong_type(extends, &path, "the name of a service");
            return None;
        };
        let wanted = base_name.as_text().unwrap_or_default();
        let base = match extends.get("file").filter(|file| file.as_text().is_some()) {
            None => self.extended_in(document, earlier, wanted, base_name.span, env, stack)?,
            Some(file) => {
                let text = file.as_text().unwrap_or_default();
                let other = self.foreign(text, file.span, env)?;
                self.extended_in(&other, &other, wanted, base_name.span, env, stack)?
            }
        };
        let mut own = service.clone();
        if let Value::Mapping(entries) = &mut own.value {
            entries.retain(|entry| entry.key.value != "extends");
        }
        let base = merge::settled(base);
        Some(merge::services(base, own, &mut self.diagnostics))
    }

    fn extended_in(
        &mut self,
        document: &Node,
        earlier: &Node,
        wanted: &str,
        span: Span,
        env: &Env,
        stack: &mut Vec<(FileId, String, Span)>,
    ) -> Option<Node> {
        let services = |node: &Node| node.get("services").cloned();
        let here = services(document);
        let before = services(earlier);
        let known = |node: &Option<Node>| node.as_ref().is_some_and(|services| services.get(wanted).is_some());
        if known(&here) || known(&before) {
            return self.extended(document, earlier, wanted, env, stack);
        }
        let entries = here.iter().chain(&before).flat_map(|services| services.entries());
        let near = nearest(wanted, entries.map(|entry| entry.key.value.as_str()));
        let hint = near.map_or("define it, or correct the name".to_owned(), |near| format!("did you mean `{near}`?"));
        let message = format!("there is no service `{wanted}` to extend");
        self.diagnostics
            .push(Diagnostic::error(&codes::UNKNOWN_SERVICE, message).at(span, "not defined in that file").hint(hint));
        None
    }

    /// Another Compose file, variables replaced; its relative paths start from its own folder.
    fn foreign(&mut self, path: &str, span: Span, env: &Env) -> Option<Node> {
        let base = self.bases.get(&span.file).unwrap_or(&self.options.project_directory);
        let path = absolute(path, base, env);
        let Some(file) = self.wanted(&path, Some(span))? else {
            self.missing(&path, span);
            return None;
        };
        self.bases.entry(file).or_insert_with(|| parent(&path).to_owned());
        let mut document = self.document(file);
        interpolate::tree(&mut document, env, self.sources, &mut self.unset, &mut self.diagnostics);
        Some(document)
    }

    fn missing(&mut self, path: &str, span: Span) {
        self.diagnostics.push(
            Diagnostic::error(&codes::FILE_MISSING, format!("the Compose file {path} does not exist or can't be read"))
                .at(span, "named here")
                .hint("create it or correct the path, which is relative to this file"),
        );
    }

    /// Loads what `include` names and copies it into `root`.
    fn include(&mut self, root: &mut Node, env: &Env, stack: &mut Vec<FileId>) {
        let Value::Mapping(entries) = &mut root.value else { return };
        let Some(at) = entries.iter().position(|entry| entry.key.value == "include") else { return };
        let include = entries.remove(at).value;
        if !include.is_null() && include.items().is_empty() {
            self.reading(env).wrong_type(&include, "include", "a list");
        }
        for item in include.items() {
            if let Some(included) = self.included(item, env, stack) {
                self.import(root, included);
            }
        }
    }

    fn included(&mut self, item: &Node, env: &Env, stack: &mut Vec<FileId>) -> Option<Node> {
        let short = item.as_text().is_some();
        let mut reading = self.reading(env);
        if !short && !reading.mapping(item, "include", schema::INCLUDE) {
            return None;
        }
        let paths = if short {
            reading.text(item, "include").into_iter().collect()
        } else {
            reading.list_of(item, "include", "path", true)
        };
        let env_files = reading.list_of(item, "include", "env_file", true);
        let directory = reading.filled_of(item, "include", "project_directory");
        let complete = |path: &Spanned<String>| Spanned::new(reading.absolute(&path.value, path.span), path.span);
        let paths: Vec<_> = paths.iter().map(complete).collect();
        let env_files: Vec<_> = env_files.iter().map(complete).collect();
        let directory = directory.as_ref().map(|directory| complete(directory).value);
        let first = paths.first()?;
        let directory = directory.unwrap_or_else(|| parent(&first.value).to_owned());
        let mut local = Env::new();
        match env_files.is_empty() {
            true => self.env_file(&format!("{directory}/.env"), false, Some(item.span), env, &mut local),
            false => {
                for file in &env_files {
                    self.env_file(&file.value, true, Some(file.span), env, &mut local);
                }
            }
        }
        local.extend(env.clone());
        let before = stack.len();
        let mut documents = Vec::new();
        for path in &paths {
            let Some(found) = self.wanted(&path.value, Some(path.span)) else { continue };
            let Some(file) = found else {
                self.missing(&path.value, path.span);
                continue;
            };
            if stack.contains(&file) {
                let message = format!("{} includes itself", path.value);
                self.diagnostics.push(
                    Diagnostic::error(&codes::EXTENDS_CYCLE, message)
                        .at(path.span, "leads back to where it began")
                        .hint("remove one of these links"),
                );
                continue;
            }
            stack.push(file);
            self.bases.insert(file, directory.clone());
            documents.push(self.document(file));
        }
        let included = self.merged(documents, &local).map(|mut root| {
            self.include(&mut root, &local, stack);
            root
        });
        stack.truncate(before);
        included
    }

    fn import(&mut self, root: &mut Node, included: Node) {
        let Value::Mapping(sections) = included.value else { return };
        for section in sections {
            let name = section.key.value.as_str();
            if !matches!(name, "services" | "networks" | "volumes" | "secrets" | "configs") {
                continue;
            }
            let Value::Mapping(root) = &mut root.value else { return };
            let target = match root.iter().position(|entry| entry.key.value == name) {
                Some(at) => &mut root[at].value,
                None => {
                    root.push(section);
                    continue;
                }
            };
            if target.is_null() {
                target.value = Value::Mapping(Vec::new());
            }
            let Value::Mapping(target) = &mut target.value else { continue };
            for entry in section.value.entries() {
                match target.iter().find(|known| known.key.value == entry.key.value) {
                    None => target.push(entry.clone()),
                    Some(known) if known.value.to_json() == entry.value.to_json() => {}
                    Some(known) => self.diagnostics.push(
                        Diagnostic::error(
                            &codes::INCLUDE_CONFLICT,
                            format!("an included file defines `{name}.{}` otherwise", entry.key.value),
                        )
                        .at(entry.key.span, "included from here")
                        .at(known.key.span, "defined here")
                        .hint("rename one of them: `include` does not merge"),
                    ),
                }
            }
        }
    }

    fn note_version(&mut self, root: &Node) {
        let version = root.entries().iter().find(|entry| entry.key.value == "version");
        if let Some(version) = version {
            self.diagnostics.push(
                Diagnostic::note(&codes::OBSOLETE_VERSION, "`version` is obsolete and selects nothing")
                    .at(version.key.span.to(version.value.span), "can be removed")
                    .hint("remove this line"),
            );
        }
    }

    fn read(&mut self, root: &Node, env: &Env, name: String) -> Project {
        self.need_files(root, env);
        let mut reading = self.reading(env);
        reading.mapping(root, "", schema::TOP);
        let services = reading.section(root, "services", |reading, entry, path| reading.service(entry, path));
        let networks = reading.section(root, "networks", |reading, entry, path| reading.network(entry, path, &name));
        let volumes = reading.section(root, "volumes", |reading, entry, path| reading.volume(entry, path, &name));
        let secrets = reading
            .section(root, "secrets", |reading, entry, path| reading.file_source(entry, path, &name, schema::SECRET));
        let configs = reading
            .section(root, "configs", |reading, entry, path| reading.file_source(entry, path, &name, schema::CONFIG));
        let mut profiles: BTreeSet<String> = self.options.profiles.iter().cloned().collect();
        let listed = env.get("COMPOSE_PROFILES").map_or("", String::as_str);
        profiles.extend(listed.split(',').map(str::trim).filter(|profile| !profile.is_empty()).map(str::to_owned));
        for service in self.options.services.iter().filter_map(|name| services.get(name)) {
            profiles.extend(service.profiles.iter().map(|profile| profile.value.clone()));
        }
        let (services, inactive) = services.into_iter().partition(|(_, service)| {
            service.profiles.is_empty()
                || profiles.contains("*")
                || service.profiles.iter().any(|profile| profiles.contains(&profile.value))
        });
        let mut project = Project {
            name,
            directory: self.options.project_directory.clone(),
            files: self.options.files.iter().filter_map(|file| Some(self.sources.find(*file)?.path.clone())).collect(),
            services,
            inactive,
            networks,
            volumes,
            secrets,
            configs,
            profiles,
            extensions: extensions(root),
        };
        join_default_network(&mut project);
        project
    }

    /// Asks for every env file before services are read, so that one more call is enough.
    fn need_files(&mut self, root: &Node, env: &Env) {
        let Some(services) = root.get("services") else { return };
        let mut files = Vec::new();
        let mut unheard = Vec::new();
        std::mem::swap(&mut self.diagnostics, &mut unheard);
        for service in services.entries() {
            let path = format!("services.{}", service.key.value);
            let mut reading = self.reading(env);
            files.extend(reading.env_files(&service.value, &path).into_iter().map(|file| file.path));
            files.extend(reading.seccomp_file(&service.value, &path));
        }
        // What is wrong with them is said when the service is read.
        self.diagnostics = unheard;
        for file in files {
            self.wanted(&file.value, Some(file.span));
        }
    }

    fn reading<'r>(&'r mut self, env: &'r Env) -> Reading<'r> {
        Reading {
            bases: &self.bases,
            directory: &self.options.project_directory,
            env,
            files: &self.options.read,
            sources: self.sources,
            diagnostics: &mut self.diagnostics,
        }
    }
}

/// Services that name no network join `default`, which is there then.
fn join_default_network(project: &mut Project) {
    let mut joined = None;
    for service in project.services.values_mut().chain(project.inactive.values_mut()) {
        if service.network_mode.is_none() && service.networks.is_empty() {
            let attachment = crate::project::NetworkAttachment::at(service.span);
            service.networks.insert("default".into(), attachment);
        }
        if let Some(attachment) = service.networks.get("default") {
            joined.get_or_insert(attachment.span);
        }
    }
    if let Some(span) = joined
        && !project.networks.contains_key("default")
    {
        project.networks.insert("default".into(), top::default_network(&project.name, span));
    }
}
