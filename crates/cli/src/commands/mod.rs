//! The verbs: each turns its arguments into requests and the answers into output.

pub(crate) mod attach;
mod attestation;
mod boot;
mod build;
mod builder;
pub(crate) mod buildx;
mod container;
mod contents;
mod context;
mod copy;
mod events;
mod exec;
mod host;
mod image;
mod image_tree;
mod info;
mod inspect;
mod logs;
mod network;
mod prune;
mod ps;
mod registry;
mod stack;
mod system;
mod top;
mod usage;
mod volume;

#[cfg(any(test, fuzzing))]
pub(crate) use logs::options as log_options;
#[cfg(any(test, fuzzing))]
pub(crate) use prune::filter as prune_filter;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_engine::{Engine, LayerForm, Roots};

use crate::arguments::{
    BuilderCommand, BuildxCommand, Command, ComposeCommand, ContainerCommand, ImageCommand, ImagetoolsCommand,
    NetworkCommand, Snapshotter, SystemCommand, VolumeCommand,
};
use crate::output::{Failure, Outcome, Output};
use crate::template::{Row, Template};
use crate::{codes, docker, docker_config};

/// Where state lives that no flag places elsewhere.
pub(crate) const DEFAULT_ROOT: &str = "/var/lib/carrack";

/// What every verb needs: where the state is, and how to answer.
pub(crate) struct Session {
    roots: Roots,
    form: LayerForm,
    /// Arguments of the verb that stand in the command line, by clap's ids.
    pub(crate) given: BTreeSet<String>,
    pub(crate) output: Output,
}

impl Session {
    /// A data root of one's own has a run root of its own.
    pub(crate) fn new(
        root: &Path,
        run_root: Option<&Path>,
        snapshotter: Snapshotter,
        given: BTreeSet<String>,
        output: Output,
    ) -> Self {
        let mut roots = Roots { data: absolute(root), run: PathBuf::from("/run/carrack") };
        match run_root {
            Some(run) => roots.run = absolute(run),
            None if root != Path::new(DEFAULT_ROOT) => roots.run = format!("/run/carrack-{}", roots.tag()).into(),
            None => {}
        }
        let form = match snapshotter {
            Snapshotter::Unpacked => LayerForm::Unpacked,
            Snapshotter::OneFile => LayerForm::OneFile,
            Snapshotter::Auto => LayerForm::Auto,
        };
        Self { roots, form, given, output }
    }

    /// For verbs that change something.
    pub(crate) fn engine(&self) -> Result<Engine> {
        let mut tell = |told| self.output.diagnostics(&[told], &SourceMap::new());
        Ok(Engine::open(self.roots.clone(), &mut tell)?.with_form(self.form))
    }

    /// For verbs that only look (I-5).
    pub(crate) fn observer(&self) -> Result<Engine> {
        Engine::open_read_only(self.roots.clone())
    }

    pub(crate) fn roots(&self) -> &Roots {
        &self.roots
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The caller's folder: what relative paths count from.
pub(crate) fn current_folder() -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"))
}

pub(crate) fn dispatch(session: &Session, command: Command) -> Outcome {
    match command {
        Command::Up(arguments) => stack::up(session, &arguments.project, &arguments.options),
        Command::Down(arguments) => stack::down(session, &arguments.project, &arguments.options),
        Command::Plan(arguments) => stack::plan(session, &arguments),
        Command::Config(arguments) => stack::config(session, &arguments.project, &arguments.options),
        Command::Status(arguments) => stack::status(session, &arguments),
        Command::Release(command) => stack::release(session, command),
        Command::Rollback(arguments) => stack::rollback(session, &arguments),
        Command::Compose(arguments) => {
            let crate::arguments::ComposeArguments { project, command } = arguments.0;
            match command {
                ComposeCommand::Up(options) => stack::up(session, &project, &options),
                ComposeCommand::Down(options) => stack::down(session, &project, &options),
                ComposeCommand::Ps(options) => stack::ps(session, &project, &options),
                ComposeCommand::Logs(options) => stack::logs(session, &project, &options),
                ComposeCommand::Exec(options) => stack::exec(session, &project, &options),
                ComposeCommand::Run(options) => stack::run(session, &project, &options),
                ComposeCommand::Build(options) => build::services(session, &project, &options),
                ComposeCommand::Pull(options) => registry::services_pull(session, &project, &options),
                ComposeCommand::Push(options) => registry::services_push(session, &project, &options),
                ComposeCommand::Config(options) => stack::config(session, &project, &options),
                ComposeCommand::Start(options) => stack::start(session, &project, &options),
                ComposeCommand::Stop(options) => stack::stop(session, &project, &options),
                ComposeCommand::Restart(options) => stack::restart(session, &project, &options),
            }
        }
        Command::Run(arguments) => container::run(session, &arguments),
        Command::Create(arguments) => container::create(session, &arguments),
        Command::Start(arguments) => container::start(session, &arguments),
        Command::Stop(arguments) => container::stop(session, &arguments),
        Command::Restart(arguments) => container::restart(session, &arguments),
        Command::Kill(arguments) => container::kill(session, &arguments),
        Command::Pause(arguments) => container::pause(session, &arguments),
        Command::Unpause(arguments) => container::unpause(session, &arguments),
        Command::Rename(arguments) => container::rename(session, &arguments),
        Command::Rm(arguments) => container::rm(session, &arguments),
        Command::Exec(arguments) => exec::exec(session, &arguments),
        Command::Attach(arguments) => attach::attach(session, &arguments),
        Command::Logs(arguments) => logs::logs(session, &arguments),
        Command::Ps(arguments) => ps::ps(session, &arguments),
        Command::Inspect(arguments) => inspect::any(session, &arguments),
        Command::Wait(arguments) => container::wait(session, &arguments),
        Command::Port(arguments) => inspect::port(session, &arguments),
        Command::Update(arguments) => usage::update(session, &arguments),
        Command::Top(arguments) => top::top(session, &arguments),
        Command::Stats(arguments) => usage::stats(session, &arguments),
        Command::Cp(arguments) => copy::copy(session, &arguments),
        Command::Diff(arguments) => copy::diff(session, &arguments),
        Command::Export(arguments) => copy::export(session, &arguments),
        Command::Commit(arguments) => copy::commit(session, &arguments),
        Command::Build(arguments) => build::build(session, &arguments),
        Command::Buildx(BuildxCommand::Build(arguments)) => build::build(session, &arguments),
        Command::Bake(arguments) | Command::Buildx(BuildxCommand::Bake(arguments)) => build::bake(session, &arguments),
        Command::Buildx(BuildxCommand::Du(arguments)) => builder::usage(session, &arguments),
        Command::Buildx(BuildxCommand::Prune(arguments)) => builder::prune(session, &arguments),
        Command::Buildx(BuildxCommand::Imagetools(ImagetoolsCommand::Inspect(arguments))) => {
            registry::imagetools_inspect(session, &arguments)
        }
        Command::Buildx(BuildxCommand::Imagetools(ImagetoolsCommand::Create(arguments))) => {
            registry::imagetools_create(session, &arguments)
        }
        Command::Buildx(BuildxCommand::Instance(command)) => buildx::instance(session, &command),
        Command::Buildx(BuildxCommand::Other(words)) => buildx::other(&words),
        Command::Images(arguments) => image::list(session, &arguments),
        Command::Load(arguments) => image::load(session, &arguments),
        Command::Save(arguments) => image::save(session, &arguments),
        Command::Import(arguments) => image::import(session, &arguments),
        Command::Tag(arguments) => image::tag(session, &arguments),
        Command::Rmi(arguments) => image::remove(session, &arguments),
        Command::Pull(arguments) => registry::pull(session, &arguments),
        Command::Push(arguments) => registry::push(session, &arguments),
        Command::Login(arguments) => registry::login(session, &arguments),
        Command::Logout(arguments) => registry::logout(session, &arguments),
        Command::History(arguments) => registry::history(session, &arguments),
        Command::Attestation(command) => attestation::run(session, &command),
        Command::Sbom(arguments) => attestation::sbom(session, &arguments),
        Command::Manifest(command) => registry::manifest(session, &command),
        Command::Container(command) => match command {
            ContainerCommand::Run(arguments) => container::run(session, &arguments),
            ContainerCommand::Create(arguments) => container::create(session, &arguments),
            ContainerCommand::Start(arguments) => container::start(session, &arguments),
            ContainerCommand::Stop(arguments) => container::stop(session, &arguments),
            ContainerCommand::Restart(arguments) => container::restart(session, &arguments),
            ContainerCommand::Kill(arguments) => container::kill(session, &arguments),
            ContainerCommand::Pause(arguments) => container::pause(session, &arguments),
            ContainerCommand::Unpause(arguments) => container::unpause(session, &arguments),
            ContainerCommand::Rename(arguments) => container::rename(session, &arguments),
            ContainerCommand::Rm(arguments) => container::rm(session, &arguments),
            ContainerCommand::Exec(arguments) => exec::exec(session, &arguments),
            ContainerCommand::Attach(arguments) => attach::attach(session, &arguments),
            ContainerCommand::Logs(arguments) => logs::logs(session, &arguments),
            ContainerCommand::Ls(arguments) => ps::ps(session, &arguments),
            ContainerCommand::Inspect(arguments) => inspect::containers(session, &arguments),
            ContainerCommand::Wait(arguments) => container::wait(session, &arguments),
            ContainerCommand::Port(arguments) => inspect::port(session, &arguments),
            ContainerCommand::Prune(arguments) => prune::containers(session, &arguments),
            ContainerCommand::Update(arguments) => usage::update(session, &arguments),
            ContainerCommand::Top(arguments) => top::top(session, &arguments),
            ContainerCommand::Stats(arguments) => usage::stats(session, &arguments),
            ContainerCommand::Cp(arguments) => copy::copy(session, &arguments),
            ContainerCommand::Diff(arguments) => copy::diff(session, &arguments),
            ContainerCommand::Export(arguments) => copy::export(session, &arguments),
            ContainerCommand::Commit(arguments) => copy::commit(session, &arguments),
        },
        Command::Image(command) => match command {
            ImageCommand::Build(arguments) => build::build(session, &arguments),
            ImageCommand::Ls(arguments) => image::list(session, &arguments),
            ImageCommand::Load(arguments) => image::load(session, &arguments),
            ImageCommand::Save(arguments) => image::save(session, &arguments),
            ImageCommand::Import(arguments) => image::import(session, &arguments),
            ImageCommand::Pull(arguments) => registry::pull(session, &arguments),
            ImageCommand::Push(arguments) => registry::push(session, &arguments),
            ImageCommand::History(arguments) => registry::history(session, &arguments),
            ImageCommand::Tag(arguments) => image::tag(session, &arguments),
            ImageCommand::Rm(arguments) => image::remove(session, &arguments),
            ImageCommand::Prune(arguments) => prune::images(session, &arguments),
            ImageCommand::Tree(arguments) => contents::tree(session, &arguments),
            ImageCommand::Diff(arguments) => contents::diff(session, &arguments),
            ImageCommand::Inspect(arguments) => inspect::images(session, &arguments),
            ImageCommand::Bootstrap(arguments) => image::bootstrap(session, &arguments),
        },
        Command::Builder(command) => match command {
            BuilderCommand::Build(arguments) => build::build(session, &arguments),
            BuilderCommand::Du(arguments) => builder::usage(session, &arguments),
            BuilderCommand::Prune(arguments) => builder::prune(session, &arguments),
            BuilderCommand::Mounts(command) => builder::mounts(session, &command),
        },
        Command::Network(command) => match command {
            NetworkCommand::Ls(arguments) => network::list(session, &arguments),
            NetworkCommand::Create(arguments) => network::create(session, &arguments),
            NetworkCommand::Connect(arguments) => network::connect(session, &arguments),
            NetworkCommand::Disconnect(arguments) => network::disconnect(session, &arguments),
            NetworkCommand::Rm(arguments) => network::remove(session, &arguments),
            NetworkCommand::Inspect(arguments) => inspect::networks(session, &arguments),
            NetworkCommand::Prune(arguments) => prune::networks(session, &arguments),
        },
        Command::Volume(command) => match command {
            VolumeCommand::Ls(arguments) => volume::list(session, &arguments),
            VolumeCommand::Create(arguments) => volume::create(session, &arguments),
            VolumeCommand::Rm(arguments) => volume::remove(session, &arguments),
            VolumeCommand::Inspect(arguments) => inspect::volumes(session, &arguments),
            VolumeCommand::Prune(arguments) => prune::volumes(session, &arguments),
        },
        Command::Explain(arguments) => host::explain(session, &arguments),
        Command::Doctor(arguments) => host::doctor(session, &arguments),
        Command::Boot(arguments) => boot::boot(session, &arguments),
        Command::Events(arguments) | Command::System(SystemCommand::Events(arguments)) => {
            events::events(session, &arguments)
        }
        Command::Info(arguments) | Command::System(SystemCommand::Info(arguments)) => info::info(session, &arguments),
        Command::System(SystemCommand::Df(arguments)) => system::usage(session, &arguments),
        Command::System(SystemCommand::Prune(arguments)) => prune::system(session, &arguments),
        Command::System(SystemCommand::InstallBoot(arguments)) => boot::install(session, &arguments),
        Command::System(SystemCommand::Other(words)) => Err(not_yet("system", &words, "`carrack system df` is")),
        Command::Context(command) => context::run(session, &command),
        Command::Version(arguments) => host::version(session, &arguments),
        Command::Event(arguments) => host::event(session, &arguments),
    }
}

/// The text of a list: what `--quiet` shows, else what `--format` says, else what Docker's config file says under `key`, else
/// the table.
fn list_text(
    rows: &[Row],
    format: Option<&str>,
    quiet: Option<&str>,
    key: &str,
    table: &str,
    headings: &[(&str, &str)],
) -> Result<String> {
    let configured = if quiet.is_none() && format.is_none() { docker_config::format(key) } else { None };
    let format = match quiet.or(format).or(configured.as_deref()) {
        Some("json") => return Ok(rows.iter().map(|row| row.json() + "\n").collect()),
        None | Some("table") => table,
        Some(format) => format,
    };
    Template::of_list(format)?.lines(rows, headings)
}

/// The refusal of a verb below another that is not there (I-6): Docker's table may know why.
fn not_yet(group: &str, words: &[String], instead: &str) -> Failure {
    let called: Vec<OsString> =
        ["carrack", group].into_iter().chain(words.iter().map(String::as_str)).map(OsString::from).collect();
    if let Some(diagnostic) = docker::verb_answer(&called) {
        return diagnostic.into();
    }
    let verb = words.first().map_or("", String::as_str);
    let diagnostic = Diagnostic::error(&codes::NOT_YET, format!("`carrack {group} {verb}` is not there yet"));
    diagnostic.hint(format!("{instead}; nothing was changed")).into()
}
