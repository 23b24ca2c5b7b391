//! The project's verbs: `up`, `down`, `plan`, `config`, `status`, `release`, `rollback`, and what `compose` adds.

mod follow;
mod run;

use std::collections::BTreeMap;

use carrack_compose::Project;
use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_engine::apply::Step;
use carrack_engine::docker::Docker;
use carrack_engine::journal::Outcome as Settled;
use carrack_engine::{Applied, ContainerView, Engine, StackStatus, StopOptions, UpOptions as EngineOptions};
use carrack_plan::{DownOptions as PlanDownOptions, Options, Plan, PlanNode, label, selection};
use carrack_specgen::Container;
use serde_json::{Value, json};

pub(crate) use follow::{Style, logs, project_logs};
pub(crate) use run::{exec, run};

use super::build::Builds;
use super::{Session, build, ps};
use crate::arguments::{
    ComposePsArguments, ComposeStopArguments, ConfigFormat, ConfigOptions, DownOptions, PlanArguments,
    ProjectArguments, ReleaseCommand, RollbackArguments, ServicesArguments, UpOptions,
};
use crate::flags;
use crate::output::{Failure, Outcome, exit, human_duration, human_time, note, print, table};
use crate::project::{self, Loaded};

pub(crate) fn up(session: &Session, arguments: &ProjectArguments, options: &UpOptions) -> Outcome {
    let loaded = load(session, arguments, &options.services)?;
    let mut engine_options = engine_options(&loaded, options)?;
    let named = options.services.iter().chain(engine_options.scale.keys()).chain(&options.exit_code_from);
    check_services(&loaded, named)?;
    if options.dry_run {
        let engine = session.observer()?;
        if !options.no_build {
            engine_options.forecast = build::forecast(&engine, &loaded, &options.services, options.build)?;
        }
        return show_plan(session, &plan_of(&engine, &loaded, &engine_options)?);
    }
    if !options.fresh {
        refuse_docker(session, &loaded)?;
    }
    let engine = session.engine()?;
    let asks_for_nothing = loaded.project.services.values().any(|service| {
        !service.privileged && !service.security_opt.iter().any(|option| option.value.starts_with("apparmor"))
    });
    if asks_for_nothing && let Some(warning) = engine.unconfined(&Container::default())? {
        session.output.diagnostics(&[warning], &loaded.sources);
    }
    let builds = match (options.build, options.no_build) {
        (true, _) => Builds::All,
        (false, true) => Builds::None,
        (false, false) => Builds::Missing,
    };
    build::project_images(session, &engine, (&loaded, arguments), &options.services, builds, options.pull)?;
    let (started, since) = (std::time::Instant::now(), jiff::Timestamp::now());
    let watch = |node: &PlanNode, step: Step| announce(session, node, step);
    let applied = engine.up(&loaded.project, &engine_options, &watch);
    let applied = applied.map_err(|errors| failed(errors, &loaded))?;
    let result = json!({
        "project": loaded.project.name,
        "release": applied.release.as_ref().map(|release| release.number),
        "steps": applied.plan.nodes.len(),
        "notes": notes(&applied),
        "elapsed_ms": started.elapsed().as_millis() as u64,
    });
    show_notes(session, &applied);
    let foreground = !options.detach && !options.wait && !session.output.json;
    session.output.result("up", &result, |_| {
        let release =
            applied.release.as_ref().map_or(String::new(), |release| format!(" (release {})", release.number));
        let took = started.elapsed().as_secs_f64();
        if applied.plan.is_empty() {
            format!("{}: nothing to do{release}, {:.0} ms\n", loaded.project.name, took * 1000.0)
        } else {
            format!("{}: up{release}, {took:.1} s\n", loaded.project.name)
        }
    });
    if foreground || options.exit_code_from.is_some() || options.abort_on_container_exit {
        return follow::foreground(&engine, &loaded.project, options, since);
    }
    Ok(exit::DONE)
}

pub(crate) fn down(session: &Session, arguments: &ProjectArguments, options: &DownOptions) -> Outcome {
    let named = named(session, arguments)?;
    let engine = session.engine()?;
    let plan_options = PlanDownOptions {
        volumes: options.volumes,
        remove_orphans: options.remove_orphans,
        stop_timeout_ms: options.timeout.map(|seconds| seconds.saturating_mul(1000)),
    };
    let watch = |node: &PlanNode, step: Step| announce(session, node, step);
    let applied = engine.down(&named.name, named.project.as_ref(), &plan_options, &watch)?;
    let result = json!({ "project": named.name, "steps": applied.plan.nodes.len(), "notes": notes(&applied) });
    show_notes(session, &applied);
    session.output.result("down", &result, |_| {
        let what = if applied.plan.is_empty() { "nothing to take down" } else { "down" };
        format!("{}: {what}\n", named.name)
    });
    Ok(exit::DONE)
}

pub(crate) fn plan(session: &Session, arguments: &PlanArguments) -> Outcome {
    let loaded = load(session, &arguments.project, &arguments.services)?;
    check_services(&loaded, &arguments.services)?;
    let engine = session.observer()?;
    let options = EngineOptions {
        reconcile: Options { services: arguments.services.clone(), ..Options::default() },
        environment: loaded.environment.clone(),
        forecast: build::forecast(&engine, &loaded, &arguments.services, false)?,
        ..EngineOptions::default()
    };
    if let Some(warning) = docker_warning(&loaded) {
        session.output.diagnostics(&[warning], &loaded.sources);
    }
    let plan = plan_of(&engine, &loaded, &options)?;
    show_plan(session, &plan)?;
    Ok(if arguments.exit_code && !plan.is_empty() { exit::PLAN_NOT_EMPTY } else { exit::DONE })
}

fn plan_of(engine: &Engine, loaded: &Loaded, options: &EngineOptions) -> std::result::Result<Plan, Failure> {
    engine.plan_up(&loaded.project, options).map_err(|errors| failed(errors, loaded))
}

fn show_plan(session: &Session, plan: &Plan) -> Outcome {
    session.output.result("plan", plan, ToString::to_string);
    Ok(exit::DONE)
}

fn engine_options(loaded: &Loaded, options: &UpOptions) -> Result<EngineOptions> {
    let mut scale = BTreeMap::new();
    for text in &options.scale {
        let wrong = || flags::invalid("--scale", text, "SERVICE=NUMBER");
        let (service, number) = text.split_once('=').ok_or_else(wrong)?;
        scale.insert(service.to_owned(), number.parse().map_err(|_| wrong())?);
    }
    Ok(EngineOptions {
        reconcile: Options {
            services: options.services.clone(),
            force_recreate: options.force_recreate,
            remove_orphans: options.remove_orphans,
            wait: options.wait,
            wait_timeout_ms: options.wait_timeout.map(|seconds| seconds.saturating_mul(1000)),
            stop_timeout_ms: options.timeout.map(|seconds| seconds.saturating_mul(1000)),
            ..Options::default()
        },
        scale,
        environment: loaded.environment.clone(),
        commit: crate::vcs::commit(&loaded.project.directory),
        ..EngineOptions::default()
    })
}

fn refuse_docker(session: &Session, loaded: &Loaded) -> std::result::Result<(), Failure> {
    let host = loaded.environment.get("DOCKER_HOST").map(String::as_str);
    match Docker::new(host).holdings(&loaded.project.name) {
        Ok(holdings) => match carrack_engine::docker_holds(&holdings, &loaded.project.name) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        },
        Err(warning) => {
            session.output.diagnostics(&[*warning], &loaded.sources);
            Ok(())
        }
    }
}

fn docker_warning(loaded: &Loaded) -> Option<Diagnostic> {
    let host = loaded.environment.get("DOCKER_HOST").map(String::as_str);
    let found = Docker::new(host).holdings(&loaded.project.name);
    let mut warning = match found {
        Ok(holdings) => carrack_engine::docker_holds(&holdings, &loaded.project.name)?,
        Err(warning) => *warning,
    };
    warning.severity = carrack_diag::Severity::Warning;
    Some(warning)
}

/// What an apply has found and what it has left alone.
fn notes(applied: &Applied) -> Vec<String> {
    let settled = applied.settled.map(|outcome| {
        let done = if outcome == Settled::Applied { "finished" } else { "undone" };
        format!("an earlier apply had been interrupted and was {done} first")
    });
    settled.into_iter().chain(applied.plan.notes.iter().cloned()).collect()
}

/// In JSON they stand in the result.
fn show_notes(session: &Session, applied: &Applied) {
    if !session.output.json {
        notes(applied).iter().for_each(|text| note(&format!("note: {text}\n")));
    }
}

/// A line for each step that people wait for.
fn announce(session: &Session, node: &PlanNode, step: Step) {
    if session.output.json {
        return;
    }
    match step {
        Step::Started => {}
        Step::Done => note(&format!("  ✓ {}\n", node.op)),
        Step::Undone => note(&format!("  ↺ {}\n", node.op)),
    }
}

/// The project; its warnings are told, once.
pub(crate) fn load(
    session: &Session,
    arguments: &ProjectArguments,
    services: &[String],
) -> std::result::Result<Loaded, Failure> {
    let loaded = project::load(arguments, services)?;
    session.output.diagnostics(&loaded.warnings, &loaded.sources);
    Ok(loaded)
}

/// A project by its name, which is all that verbs need that work on what stands; its files where they can be read.
struct Named {
    name: String,
    project: Option<Project>,
    sources: SourceMap,
}

/// Where flag or environment name the project, its files may be gone or broken: rolling back needs none of them (I-2).
fn named(session: &Session, arguments: &ProjectArguments) -> std::result::Result<Named, Failure> {
    let given = arguments.setting.project_name.clone().or_else(|| std::env::var("COMPOSE_PROJECT_NAME").ok());
    match (load(session, arguments, &[]), given.filter(|name| !name.is_empty())) {
        (Ok(Loaded { project, sources, .. }), _) => {
            Ok(Named { name: project.name.clone(), project: Some(project), sources })
        }
        (Err(_), Some(name)) => Ok(Named { name, project: None, sources: SourceMap::new() }),
        (Err(mut failure), None) => {
            if let Some(first) = failure.diagnostics.first_mut() {
                first.hints.push("with `-p NAME` this command needs no file".to_owned());
            }
            Err(failure)
        }
    }
}

/// Errors of the engine, with the texts that they point into, and the exit code that their first one asks for.
pub(crate) fn failed(errors: Vec<Diagnostic>, loaded: &Loaded) -> Failure {
    failed_in(errors, loaded.sources.clone())
}

fn failed_in(errors: Vec<Diagnostic>, sources: SourceMap) -> Failure {
    let unhealthy = errors.iter().any(|error| error.code == &carrack_engine::codes::NOT_READY);
    let failure = Failure::new(errors, sources);
    if unhealthy { failure.exit(exit::UNHEALTHY) } else { failure }
}

pub(crate) fn config(session: &Session, arguments: &ProjectArguments, options: &ConfigOptions) -> Outcome {
    let mut loaded = load(session, arguments, &options.only)?;
    check_services(&loaded, &options.only)?;
    let needed = selection(&loaded.project, &options.only, false);
    loaded.project.services.retain(|name, _| needed.contains(name));
    let names = |names: Vec<String>| {
        session.output.result("config", &names, |names| names.iter().map(|name| format!("{name}\n")).collect());
        Ok(exit::DONE)
    };
    let project = &loaded.project;
    if options.services {
        return names(project.services.keys().cloned().collect());
    }
    if options.volumes {
        return names(project.volumes.keys().cloned().collect());
    }
    if options.images {
        return names(project.services.values().map(|service| carrack_plan::image_name(project, service)).collect());
    }
    if options.quiet {
        session.output.result("config", &json!({ "project": project.name }), |_| String::new());
        return Ok(exit::DONE);
    }
    let model = carrack_compose::render::json(project);
    session.output.result("config", &model, |_| match options.format {
        ConfigFormat::Json => carrack_compose::render::json_file(project),
        ConfigFormat::Yaml => carrack_compose::render::yaml(project),
    });
    Ok(exit::DONE)
}

pub(crate) fn status(session: &Session, arguments: &ProjectArguments) -> Outcome {
    let name = named(session, arguments)?.name;
    let status = session.observer()?.status(&name)?;
    let services = status.services();
    let result = json!({
        "project": status.project,
        "release": status.release.as_ref().map(|release| release.number),
        "open": status.open,
        "services": services,
        "containers": status.containers.iter().map(compose_summary).collect::<Vec<_>>(),
    });
    session.output.result("status", &result, |_| status_text(&status));
    let unhealthy =
        services.iter().any(|service| matches!(service.state.as_str(), "unhealthy" | "restarting" | "dead"));
    Ok(if unhealthy { exit::UNHEALTHY } else { exit::DONE })
}

fn status_text(status: &StackStatus) -> String {
    let release = match &status.release {
        Some(release) => format!("release {} of {}", release.number, human_time(&release.created)),
        None => "no release is deployed".to_owned(),
    };
    let mut text = format!("{}: {release}\n", status.project);
    if let Some(open) = &status.open {
        text.push_str(&format!("unfinished: {open}; the next `carrack up`, `down` or `boot` settles it\n"));
    }
    let rows: Vec<Vec<String>> = status
        .services()
        .into_iter()
        .map(|service| vec![service.service, service.state, format!("{}/{}", service.running, service.containers)])
        .collect();
    text.push_str(&table(&["SERVICE", "STATE", "RUNNING"], &rows));
    text
}

pub(crate) fn release(session: &Session, command: ReleaseCommand) -> Outcome {
    match command {
        ReleaseCommand::Ls(project) => {
            let name = named(session, &project)?.name;
            let engine = session.observer()?;
            let releases = engine.releases(&name)?;
            let current = engine.current_release(&name)?.map(|release| release.number);
            let list: Vec<Value> = releases
                .iter()
                .map(|release| json!({
                    "number": release.number, "id": release.id, "created": release.created,
                    "message": release.message, "commit": release.commit, "current": Some(release.number) == current,
                }))
                .collect();
            session.output.result("releases", &list, |_| {
                let rows: Vec<Vec<String>> = releases
                    .iter()
                    .rev()
                    .map(|release| {
                        let mark = if Some(release.number) == current { "*" } else { "" };
                        let commit = release.commit.as_deref().map_or("", |commit| &commit[..12.min(commit.len())]);
                        vec![
                            format!("{}{mark}", release.number),
                            release.id.short(),
                            human_time(&release.created),
                            commit.to_owned(),
                            release.message.clone(),
                        ]
                    })
                    .collect();
                table(&["RELEASE", "ID", "CREATED", "COMMIT", "MESSAGE"], &rows)
            });
            Ok(exit::DONE)
        }
        ReleaseCommand::Show(arguments) => {
            let name = named(session, &arguments.project)?.name;
            let engine = session.observer()?;
            let release = match arguments.number {
                Some(number) => Some(engine.release(&name, Some(number))?),
                None => engine.current_release(&name)?,
            };
            session.output.result("release", &release, |release| {
                format!("{}\n", serde_json::to_string_pretty(release).unwrap_or_default())
            });
            Ok(exit::DONE)
        }
    }
}

pub(crate) fn rollback(session: &Session, arguments: &RollbackArguments) -> Outcome {
    let named = named(session, &arguments.project)?;
    let name = &named.name;
    let failed = |errors| failed_in(errors, named.sources.clone());
    if arguments.dry_run {
        let (_, plan) = session.observer()?.plan_rollback(name, arguments.number).map_err(failed)?;
        return show_plan(session, &plan);
    }
    let engine = session.engine()?;
    let target = engine.release(name, arguments.number)?;
    let watch = |node: &PlanNode, step: Step| announce(session, node, step);
    let applied = engine.rollback(name, Some(target.number), &watch).map_err(failed)?;
    let now = applied.release.as_ref().map(|release| release.number);
    let steps = applied.plan.nodes.len();
    let notes = notes(&applied);
    let result = json!({ "project": name, "to": target.number, "release": now, "steps": steps, "notes": notes });
    show_notes(session, &applied);
    session.output.result("rollback", &result, |_| {
        let as_release = now.map_or(String::new(), |now| format!(", recorded as release {now}"));
        format!("{name}: back at release {}{as_release}; data was left alone\n", target.number)
    });
    Ok(exit::DONE)
}

pub(crate) fn ps(session: &Session, arguments: &ProjectArguments, options: &ComposePsArguments) -> Outcome {
    let loaded = load(session, arguments, &[])?;
    let mut views = session.observer()?.status(&loaded.project.name)?.containers;
    // As in Compose, what `run` left behind shows with `-a` only.
    views.retain(|view| options.all || (view.is_active() && !view.is_one_off()));
    views.retain(|view| options.only.is_empty() || options.only.contains(&service(view)));
    if options.services {
        let mut services: Vec<String> = views.iter().map(service).collect();
        services.dedup();
        session.output.result("ps", &services, |names| names.iter().map(|name| format!("{name}\n")).collect());
        return Ok(exit::DONE);
    }
    if options.quiet {
        let ids: Vec<&str> = views.iter().map(|view| view.record.id.as_str()).collect();
        session.output.result("ps", &ids, |ids| ids.iter().map(|id| format!("{id}\n")).collect());
        return Ok(exit::DONE);
    }
    let rows: Vec<Value> = views.iter().map(compose_summary).collect();
    if options.format == "json" && !session.output.json {
        rows.iter().for_each(|row| print(&format!("{row}\n")));
        return Ok(exit::DONE);
    }
    session.output.result("ps", &rows, |rows| {
        let fields = ["Name", "Image", "Command", "Service", "RunningFor", "Status", "Ports"];
        let cells: Vec<Vec<String>> = rows
            .iter()
            .map(|row| fields.iter().map(|field| row[field].as_str().unwrap_or_default().to_owned()).collect())
            .collect();
        table(&["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"], &cells)
    });
    Ok(exit::DONE)
}

/// The fields that `docker compose ps --format json` has.
fn compose_summary(view: &ContainerView) -> Value {
    json!({
        "ID": view.record.id,
        "Name": view.record.name,
        "Service": service(view),
        "Project": view.record.container.labels.get(label::PROJECT),
        "Image": view.record.container.image,
        "Command": format!("\"{}\"", view.command.join(" ")),
        "State": view.status(),
        "Health": view.health_word().unwrap_or_default(),
        "ExitCode": view.exit_code(),
        "Status": ps::status(view),
        "RunningFor": format!("{} ago", human_duration(view.age_seconds)),
        "Ports": ps::ports(view),
        "Publishers": view.ports,
    })
}

/// The service of a container, by its label.
pub(crate) fn service(view: &ContainerView) -> String {
    view.record.container.labels.get(label::SERVICE).cloned().unwrap_or_default()
}

pub(crate) fn start(session: &Session, arguments: &ProjectArguments, options: &ServicesArguments) -> Outcome {
    on_services(session, arguments, &options.services, |engine, name| engine.start_services(name, &options.services))
}

pub(crate) fn stop(session: &Session, arguments: &ProjectArguments, options: &ComposeStopArguments) -> Outcome {
    let stop = stop_options(options.timeout);
    on_services(session, arguments, &options.services, |engine, name| {
        engine.stop_services(name, &options.services, &stop)
    })
}

pub(crate) fn restart(session: &Session, arguments: &ProjectArguments, options: &ComposeStopArguments) -> Outcome {
    let stop = stop_options(options.timeout);
    on_services(session, arguments, &options.services, |engine, name| {
        engine.stop_services(name, &options.services, &stop)?;
        engine.start_services(name, &options.services)
    })
}

fn stop_options(timeout_seconds: Option<u64>) -> StopOptions {
    StopOptions { signal: None, timeout_ms: timeout_seconds.map(|seconds| seconds.saturating_mul(1000)) }
}

fn on_services(
    session: &Session,
    arguments: &ProjectArguments,
    services: &[String],
    act: impl Fn(&Engine, &str) -> std::result::Result<(), Vec<Diagnostic>>,
) -> Outcome {
    let loaded = load(session, arguments, services)?;
    check_services(&loaded, services)?;
    act(&session.engine()?, &loaded.project.name).map_err(|errors| failed(errors, &loaded))?;
    session.output.result("services", &json!({ "project": loaded.project.name }), |_| String::new());
    Ok(exit::DONE)
}

/// Services that the command names have to exist.
pub(crate) fn check_services<'a>(loaded: &Loaded, services: impl IntoIterator<Item = &'a String>) -> Result<()> {
    for name in services {
        if !loaded.project.services.contains_key(name) {
            let known = loaded.project.services.keys().map(String::as_str);
            let diagnostic =
                Diagnostic::error(&crate::codes::NO_SUCH_SERVICE, format!("the project has no service `{name}`"));
            return Err(match carrack_diag::nearest(name, known) {
                Some(near) => diagnostic.hint(format!("did you mean `{near}`?")).boxed(),
                None => diagnostic.hint("`carrack config --services` lists them").boxed(),
            });
        }
    }
    Ok(())
}

/// A container of that name; else, in a project's folder, the first running container of the service of that name.
pub(crate) fn container_or_service(engine: &Engine, name: &str) -> Result<String> {
    let error = match engine.container(name) {
        Ok(_) => return Ok(name.to_owned()),
        Err(error) => error,
    };
    let Ok(loaded) = project::load(&ProjectArguments::default(), &[]) else { return Err(error) };
    if !loaded.project.services.contains_key(name) {
        return Err(error);
    }
    service_container(engine, &loaded.project.name, name, None)
}

/// The name of a service's running container: the one of a number, or the first.
pub(crate) fn service_container(engine: &Engine, project: &str, wanted: &str, number: Option<u32>) -> Result<String> {
    let containers = engine.status(project)?.containers;
    let number_of = |view: &ContainerView| view.record.container.labels.get(label::NUMBER).and_then(|n| n.parse().ok());
    let running = containers.iter().find(|view| {
        service(view) == wanted
            && view.is_active()
            && !view.is_one_off()
            && number.is_none_or(|number| number_of(view) == Some(number))
    });
    running.map(|view| view.record.name.clone()).ok_or_else(|| {
        Diagnostic::error(
            &carrack_engine::codes::NOT_RUNNING,
            format!("no container of the service `{wanted}` is running"),
        )
        .hint("bring it up with `carrack up -d`; `carrack status` shows the services")
        .boxed()
    })
}
