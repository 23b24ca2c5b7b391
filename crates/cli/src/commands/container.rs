//! `run`, `create`, `start`, `stop`, `restart`, `kill`, `pause`, `rename`, `rm`, `wait`.

use std::io::{IsTerminal, Write};

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_engine::{AttachOptions, AttachOutcome, Engine, RemoveOptions, StopOptions};
use carrack_specgen::Container;
use carrack_specgen::container::NetworkMode;

use super::{Session, attach, current_folder, registry};
use crate::arguments::{
    ContainerFlags, CreateArguments, KillArguments, NamesArguments, RenameArguments, RmArguments, RunArguments,
    StartArguments, StopArguments,
};
use crate::output::{Failure, Outcome, exit, note, print};
use crate::{codes, container_flags, destination, flags};

pub(crate) fn run(session: &Session, arguments: &RunArguments) -> Outcome {
    let engine_failure = |error: Box<Diagnostic>| Failure::from(error).exit(exit::ENGINE);
    let mut container =
        container_flags::container(&arguments.container, arguments.image(), arguments.command(), &current_folder())
            .map_err(engine_failure)?;
    if arguments.detach && !arguments.container.attach.is_empty() {
        return Err(engine_failure(flags::invalid(
            "--attach",
            "with --detach",
            "one of them: they contradict each other",
        )));
    }
    let detach_keys = attach::detach_keys(arguments.detach_keys.as_ref()).map_err(engine_failure)?;
    let engine = session.engine().map_err(engine_failure)?;
    if container.tty && container.open_stdin && !arguments.detach && !std::io::stdin().is_terminal() {
        return Err(no_terminal().into());
    }
    check_cidfile(&arguments.container).map_err(engine_failure)?;
    warn_of_unpublished(session, &container);
    warn_of_unbounded(session, &container);
    warn_of_unconfined(session, &engine, &container).map_err(engine_failure)?;
    ensure(session, &engine, &arguments.container, &container.image).map_err(engine_failure)?;
    let attach = (!arguments.detach).then(|| AttachOptions {
        detach_keys,
        signal_proxy: arguments.sig_proxy && !container.tty,
        ..attach::foreground(&mut container, &arguments.container.attach)
    });
    let made = |id: &str| write_cidfile(&arguments.container, id);
    let started = engine.run(container, attach, &made).map_err(|failure| {
        let code = failure.exit_code.unwrap_or(exit::ENGINE);
        Failure::from(failure.diagnostic).exit(code)
    })?;
    if arguments.detach {
        session.output.result("run", &serde_json::json!({ "id": started.id }), |_| format!("{}\n", started.id));
        return Ok(exit::DONE);
    }
    match started.attached.map_err(engine_failure)? {
        AttachOutcome::Exited(code) => Ok(status(code)),
        AttachOutcome::Detached => Ok(exit::DONE),
    }
}

pub(crate) fn create(session: &Session, arguments: &CreateArguments) -> Outcome {
    let failed = |error: Box<Diagnostic>| Failure::from(error).exit(exit::ENGINE);
    let mut container =
        container_flags::container(&arguments.container, arguments.image(), arguments.command(), &current_folder())
            .map_err(failed)?;
    // Whether its input ends with its first client is a matter of the container.
    let _ = attach::foreground(&mut container, &arguments.container.attach);
    check_cidfile(&arguments.container).map_err(failed)?;
    // As in Docker 125 is for wrong flags alone.
    let engine = session.engine()?;
    warn_of_unpublished(session, &container);
    warn_of_unbounded(session, &container);
    warn_of_unconfined(session, &engine, &container)?;
    ensure(session, &engine, &arguments.container, &container.image)?;
    let id = engine.create(container)?.id;
    write_cidfile(&arguments.container, &id)?;
    session.output.result("create", &serde_json::json!({ "id": id }), |_| format!("{id}\n"));
    Ok(exit::DONE)
}

/// Whoever reads the file is to find this container's id in it, and no other.
fn check_cidfile(given: &ContainerFlags) -> Result<()> {
    match &given.cidfile {
        Some(path) if path.exists() => {
            Err(flags::invalid("--cidfile", &path.display().to_string(), "a file that is not there"))
        }
        _ => Ok(()),
    }
}

fn write_cidfile(given: &ContainerFlags, id: &str) -> Result<()> {
    let Some(path) = &given.cidfile else { return Ok(()) };
    destination::write(path, id)
}

/// Docker takes such flags too: scripts give them without looking at the network.
fn warn_of_unpublished(session: &Session, container: &Container) {
    let network = match container.network {
        NetworkMode::Host => "the host's own network",
        NetworkMode::None => "no network",
        NetworkMode::Container(_) | NetworkMode::Networks(_) => return,
    };
    if container.ports.is_empty() && !container.publish_all {
        return;
    }
    let warning = Diagnostic::warning(&codes::NOT_PUBLISHED, format!("no port is published: it is on {network}"));
    session.output.diagnostics(&[warning.hint("leave -p and -P out")], &SourceMap::new());
}

fn warn_of_unbounded(session: &Session, container: &Container) {
    let resources = &container.resources;
    if !resources.oom_kill_disable || resources.memory_bytes.is_some_and(|limit| limit > 0) {
        return;
    }
    let warning = Diagnostic::warning(&codes::UNBOUNDED, "what takes too much memory is not killed, and has no limit");
    let warning = warning.hint("give a limit with --memory, or the whole host may run out of it");
    session.output.diagnostics(&[warning], &SourceMap::new());
}

/// Where the host could hold containers to more than it does: said once a boot.
fn warn_of_unconfined(session: &Session, engine: &Engine, container: &Container) -> Result<()> {
    if let Some(warning) = engine.unconfined(container)? {
        session.output.diagnostics(&[warning], &SourceMap::new());
    }
    Ok(())
}

fn ensure(session: &Session, engine: &Engine, flags: &ContainerFlags, image: &str) -> Result<()> {
    registry::ensure(session, engine, image, flags.platform.as_deref(), flags.pull, flags.quiet)
}

pub(crate) fn start(session: &Session, arguments: &StartArguments) -> Outcome {
    let engine = session.engine()?;
    if arguments.attach || arguments.interactive {
        let [name] = arguments.names.as_slice() else {
            return Err(flags::invalid("--attach", &arguments.names.join(" "), "one container to attach to").into());
        };
        let record = engine.container(name)?.record;
        let attach = AttachOptions {
            stdin: arguments.interactive && record.container.open_stdin,
            detach_keys: attach::detach_keys(arguments.detach_keys.as_ref())?,
            signal_proxy: !record.container.tty,
            foreground: true,
            ..AttachOptions::default()
        };
        return match engine.start_attached(name, attach)? {
            AttachOutcome::Exited(code) => Ok(status(code)),
            AttachOutcome::Detached => Ok(exit::DONE),
        };
    }
    each(session, &arguments.names, |name| engine.start(name))
}

pub(crate) fn stop(session: &Session, arguments: &StopArguments) -> Outcome {
    let engine = session.engine()?;
    let options = stop_options(arguments);
    each(session, &arguments.names, |name| engine.stop(name, &options))
}

pub(crate) fn restart(session: &Session, arguments: &StopArguments) -> Outcome {
    let engine = session.engine()?;
    let options = stop_options(arguments);
    each(session, &arguments.names, |name| engine.restart(name, &options))
}

fn stop_options(arguments: &StopArguments) -> StopOptions {
    StopOptions { signal: arguments.signal.clone(), timeout_ms: arguments.time.map(flags::seconds_ms) }
}

pub(crate) fn kill(session: &Session, arguments: &KillArguments) -> Outcome {
    let engine = session.engine()?;
    each(session, &arguments.names, |name| engine.kill(name, &arguments.signal))
}

pub(crate) fn pause(session: &Session, arguments: &NamesArguments) -> Outcome {
    let engine = session.engine()?;
    each(session, &arguments.names, |name| engine.pause(name))
}

pub(crate) fn unpause(session: &Session, arguments: &NamesArguments) -> Outcome {
    let engine = session.engine()?;
    each(session, &arguments.names, |name| engine.unpause(name))
}

pub(crate) fn rename(session: &Session, arguments: &RenameArguments) -> Outcome {
    session.engine()?.rename_container(&arguments.name, &arguments.new_name)?;
    session.output.result("rename", &serde_json::json!({ "name": arguments.new_name }), |_| String::new());
    Ok(exit::DONE)
}

pub(crate) fn rm(session: &Session, arguments: &RmArguments) -> Outcome {
    let engine = session.engine()?;
    let options = RemoveOptions { force: arguments.force, anonymous_volumes: arguments.volumes };
    each_that(session, &arguments.names, |name| match engine.remove(name, &options) {
        // What is not there is as good as removed, and worth a word, as in Docker.
        Err(error) if options.force && error.code.id == "engine/no-such-container" => {
            let warning = Diagnostic { severity: carrack_diag::Severity::Warning, ..*error };
            session.output.diagnostics(&[warning], &SourceMap::new());
            Ok(false)
        }
        done => done.map(|()| true),
    })
}

pub(crate) fn wait(session: &Session, arguments: &NamesArguments) -> Outcome {
    let engine = session.observer()?;
    let (mut codes, mut failures) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        // All at once, so that none is gone before it is looked at.
        let threads: Vec<_> = arguments.names.iter().map(|name| scope.spawn(|| engine.wait(name))).collect();
        for thread in threads {
            match thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                Ok(code) if session.output.json => codes.push(code),
                Ok(code) => print(&format!("{code}\n")),
                Err(error) => failures.push(*error),
            }
        }
    });
    if !failures.is_empty() {
        return Err(Failure::new(failures, SourceMap::new()));
    }
    session.output.result("wait", &codes, |_| String::new());
    Ok(exit::DONE)
}

/// Does one thing to several containers: names of the done on standard output, errors of the others, 1 if any.
pub(super) fn each(session: &Session, names: &[String], act: impl Fn(&str) -> Result<()> + Sync) -> Outcome {
    each_that(session, names, |name| act(name).map(|()| true))
}

/// The same, where there may have been nothing to do.
pub(super) fn each_that(session: &Session, names: &[String], act: impl Fn(&str) -> Result<bool> + Sync) -> Outcome {
    let results: Vec<(&String, Result<bool>)> = std::thread::scope(|scope| {
        let act = &act;
        let threads: Vec<_> = names.iter().map(|name| (name, scope.spawn(move || act(name)))).collect();
        threads
            .into_iter()
            .map(|(name, thread)| (name, thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))))
            .collect()
    });
    let mut failures = Vec::new();
    let mut done = Vec::new();
    for (name, result) in results {
        match result {
            Ok(true) => done.push(name),
            Ok(false) => {}
            Err(error) => failures.push(*error),
        }
    }
    if failures.is_empty() {
        session.output.result("names", &done, |done| done.iter().map(|name| format!("{name}\n")).collect());
        return Ok(exit::DONE);
    }
    if !session.output.json {
        done.iter().for_each(|name| print(&format!("{name}\n")));
    }
    Err(Failure::new(failures, SourceMap::new()))
}

/// The answer to `-it` in a script.
pub(crate) fn no_terminal() -> Box<Diagnostic> {
    Diagnostic::error(&codes::NO_TERMINAL, "the input device is not a TTY")
        .hint("-t needs a terminal as standard input: `-i` alone passes the input on")
        .boxed()
}

/// A container's status as an exit code of ours.
pub(crate) fn status(code: i32) -> u8 {
    let _ = std::io::stdout().flush();
    u8::try_from(code).unwrap_or_else(|_| {
        note(&format!("carrack: the container's status {code} does not fit an exit code\n"));
        exit::ENGINE
    })
}
