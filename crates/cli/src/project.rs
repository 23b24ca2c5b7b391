//! The project of the current folder: which files it consists of, and what the environment gives them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use carrack_compose as compose;
use carrack_compose::{LoadOptions, Project};
use carrack_diag::{Diagnostic, SourceMap};

use crate::arguments::ProjectArguments;
use crate::commands::current_folder;
use crate::output::Failure;
use crate::{codes, container_flags};

/// Where a project's files are and what surrounds them.
#[derive(Debug)]
pub(crate) struct Files {
    /// The folder that relative paths count from.
    pub(crate) folder: PathBuf,
    /// Compose files in the order of merging.
    pub(crate) files: Vec<PathBuf>,
    /// Environment files for interpolation.
    pub(crate) env_files: Vec<PathBuf>,
    /// The caller's environment.
    pub(crate) environment: BTreeMap<String, String>,
    /// The project's name, where flag or environment give one.
    pub(crate) name: Option<String>,
    /// Profiles that are asked for.
    pub(crate) profiles: Vec<String>,
}

/// Finds the files by flags, `COMPOSE_FILE`, or upward from the current folder.
pub(crate) fn find(arguments: &ProjectArguments) -> Result<Files, Failure> {
    let mut environment: BTreeMap<String, String> = std::env::vars().collect();
    let current = current_folder();
    let explicit = !arguments.file.is_empty() || environment.get("COMPOSE_FILE").is_some_and(|list| !list.is_empty());
    let chosen = choose_files(arguments, &environment, &current);
    let folder = match (&arguments.setting.project_directory, chosen.first()) {
        (Some(folder), _) => current.join(folder),
        (None, Some(first)) => first.parent().map_or_else(|| current.clone(), Path::to_owned),
        (None, None) => current.clone(),
    };
    let env_files: Vec<PathBuf> = if arguments.setting.env_file.is_empty() {
        Some(folder.join(".env")).filter(|file| file.is_file()).into_iter().collect()
    } else {
        arguments.setting.env_file.iter().map(|file| current.join(file)).collect()
    };
    // COMPOSE_* variables may stand in .env; what the caller exports wins.
    for file in &env_files {
        let text = container_flags::read(file)?;
        for (name, value) in compose_variables(&text) {
            environment.entry(name).or_insert(value);
        }
    }
    let files = if explicit { chosen } else { choose_files(arguments, &environment, &folder) };
    if files.is_empty() {
        return Err(Diagnostic::error(&codes::NO_PROJECT, format!("no Compose file in {}", current.display()))
            .cause("looked for compose.yaml, compose.yml, docker-compose.yml and docker-compose.yaml, here and above")
            .hint("change into the project's folder, or name the file with -f")
            .into());
    }
    let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty()).cloned();
    let mut profiles = arguments.setting.profile.clone();
    if profiles.is_empty() {
        profiles = variable("COMPOSE_PROFILES")
            .map(|list| list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
            .unwrap_or_default();
    }
    let name = arguments.setting.project_name.clone().or_else(|| variable("COMPOSE_PROJECT_NAME"));
    Ok(Files { folder, files, env_files, environment, name, profiles })
}

fn choose_files(arguments: &ProjectArguments, environment: &BTreeMap<String, String>, current: &Path) -> Vec<PathBuf> {
    if !arguments.file.is_empty() {
        return arguments
            .file
            .iter()
            .map(|file| if file.as_os_str() == "-" { file.clone() } else { current.join(file) })
            .collect();
    }
    if let Some(list) = environment.get("COMPOSE_FILE").filter(|list| !list.is_empty()) {
        let separator = environment.get("COMPOSE_PATH_SEPARATOR").map_or(":", String::as_str);
        return list.split(separator).filter(|file| !file.is_empty()).map(|file| current.join(file)).collect();
    }
    current.ancestors().find_map(base_and_override).unwrap_or_default()
}

fn base_and_override(folder: &Path) -> Option<Vec<PathBuf>> {
    let first = |names: &[&str]| names.iter().map(|name| folder.join(name)).find(|file| file.is_file());
    let base = first(&compose::FILE_NAMES)?;
    Some([Some(base), first(&compose::OVERRIDE_FILE_NAMES)].into_iter().flatten().collect())
}

/// The `COMPOSE_…` lines of a .env file; the rest is read, with its whole syntax, by the loader.
fn compose_variables(text: &str) -> Vec<(String, String)> {
    text.lines()
        .filter_map(|line| line.trim().trim_start_matches("export ").split_once('='))
        .filter(|(name, _)| name.starts_with("COMPOSE_"))
        .map(|(name, value)| (name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// A project, and the texts that its spans point into.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) project: Project,
    pub(crate) sources: SourceMap,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) environment: BTreeMap<String, String>,
}

/// Reads the project's files and whatever they ask for. `services` are those that the command names.
pub(crate) fn load(arguments: &ProjectArguments, services: &[String]) -> Result<Loaded, Failure> {
    let found = find(arguments)?;
    let mut sources = SourceMap::new();
    let mut options = LoadOptions {
        project_directory: found.folder.to_string_lossy().into_owned(),
        project_name: found.name,
        profiles: found.profiles,
        services: services.to_vec(),
        env_files: found.env_files.iter().map(|file| file.to_string_lossy().into_owned()).collect(),
        ..LoadOptions::default()
    };
    for file in &found.files {
        let text = if file.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin().lock()).map_err(|error| {
                Diagnostic::error(&codes::UNREADABLE_FILE, "can't read standard input").cause(error.to_string())
            })?
        } else {
            container_flags::read(file)?
        };
        options.files.push(sources.add(shown(file), text));
    }
    loop {
        match compose::load(&sources, &found.environment, &options) {
            compose::Loaded::Needs(needs) => {
                for need in needs {
                    let text = std::fs::read_to_string(&need.path).ok();
                    let id = text.map(|text| sources.add(shown(Path::new(&need.path)), text));
                    options.read.insert(need.path, id);
                }
            }
            compose::Loaded::Done { project: Some(mut project), environment, diagnostics } => {
                // Other tools read them from the containers' labels.
                project.files = found.files.iter().map(|file| file.to_string_lossy().into_owned()).collect();
                return Ok(Loaded { project: *project, sources, warnings: diagnostics, environment });
            }
            compose::Loaded::Done { project: None, diagnostics, .. } => return Err(Failure::new(diagnostics, sources)),
        }
    }
}

/// Relative to the current folder where it lies below it: that is how people know their files.
fn shown(file: &Path) -> String {
    file.strip_prefix(current_folder()).unwrap_or(file).to_string_lossy().into_owned()
}
