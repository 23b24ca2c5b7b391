//! `compose exec` and `compose run`.

use std::io::IsTerminal;

use carrack_engine::apply::Step;
use carrack_engine::{AttachOptions, AttachOutcome, ExecOptions, UpOptions};
use carrack_plan::{Options, PlanNode};

use super::{Builds, Session, announce, build, check_services, failed, load, service_container};
use crate::arguments::{ComposeExecArguments, ComposeRunArguments, ProjectArguments};
use crate::commands::attach::{detach_keys, foreground};
use crate::commands::container::status;
use crate::commands::exec::perform;
use crate::flags;
use crate::output::{Failure, Outcome, exit};

pub(crate) fn exec(session: &Session, arguments: &ProjectArguments, options: &ComposeExecArguments) -> Outcome {
    let service = options.service().to_owned();
    let loaded = load(session, arguments, &[])?;
    check_services(&loaded, std::slice::from_ref(&service))?;
    let engine = session.observer()?;
    let name = service_container(&engine, &loaded.project.name, &service, Some(options.index))?;
    let env = options.env.iter().map(|text| flags::env(text)).collect::<carrack_diag::Result<_>>()?;
    // A terminal and standard input are the default, where there is one.
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let exec = ExecOptions {
        args: options.command().to_vec(),
        env,
        user: options.user.clone(),
        working_dir: options.workdir.clone(),
        tty: !options.no_tty && !options.detach && terminal,
        stdin: !options.detach,
        detach: options.detach,
        privileged: options.privileged,
        detach_keys: detach_keys(None)?,
    };
    perform(&engine, &name, &exec)
}

pub(crate) fn run(session: &Session, arguments: &ProjectArguments, options: &ComposeRunArguments) -> Outcome {
    let name = options.service().to_owned();
    let loaded = load(session, arguments, std::slice::from_ref(&name))?;
    check_services(&loaded, std::slice::from_ref(&name))?;
    let engine = session.engine()?;
    let service = &loaded.project.services[&name];
    let dependencies: Vec<String> =
        if options.no_deps { Vec::new() } else { service.depends_on.keys().cloned().collect() };
    let mut needed = dependencies.clone();
    needed.push(name.clone());
    build::project_images(session, &engine, (&loaded, arguments), &needed, Builds::Missing, None)?;
    let up = UpOptions {
        reconcile: Options { services: dependencies.clone(), wait: true, ..Options::default() },
        environment: loaded.environment.clone(),
        ..UpOptions::default()
    };
    if !dependencies.is_empty() {
        let watch = |node: &PlanNode, step: Step| announce(session, node, step);
        engine.up(&loaded.project, &up, &watch).map_err(|errors| failed(errors, &loaded))?;
    }
    let mut container = engine.one_off(&loaded.project, &name, &up).map_err(|errors| failed(errors, &loaded))?;
    if let Some(name) = &options.name {
        container.name.clone_from(name);
    }
    for text in &options.env {
        let (name, value) = flags::env(text)?;
        container.env.insert(name, value);
    }
    if let Some(entrypoint) = &options.entrypoint {
        container.entrypoint = Some(vec![entrypoint.clone()]);
        container.command = None;
    }
    if !options.command().is_empty() {
        container.command = Some(options.command().to_vec());
    }
    container.user = options.user.clone().or(container.user);
    container.working_dir = options.workdir.clone().or(container.working_dir);
    container.auto_remove = options.rm;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    container.tty = !options.no_tty && !options.detach && terminal;
    container.open_stdin = !options.detach;
    let detach_keys = detach_keys(None)?;
    let attach = (!options.detach).then(|| AttachOptions {
        detach_keys,
        signal_proxy: !container.tty,
        ..foreground(&mut container, &[])
    });
    let name = container.name.clone();
    let started = engine.run(container, attach, &|_| Ok(())).map_err(|failure| {
        let code = failure.exit_code.unwrap_or(exit::FAILED);
        Failure::new(vec![*failure.diagnostic], loaded.sources.clone()).exit(code)
    })?;
    if options.detach {
        session.output.result("run", &serde_json::json!({ "id": started.id, "name": name }), |_| format!("{name}\n"));
        return Ok(exit::DONE);
    }
    match started.attached? {
        AttachOutcome::Exited(code) => Ok(status(code)),
        AttachOutcome::Detached => Ok(exit::DONE),
    }
}
