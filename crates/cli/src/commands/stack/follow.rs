//! The output of a project's services, and `up` in the foreground.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use carrack_engine::{Engine, LogOptions, StopOptions, interrupt};

use super::{Session, check_services, load, service};
use crate::arguments::{ComposeLogsArguments, ProjectArguments, UpOptions};
use crate::commands::logs as lines;
use crate::output::{Outcome, exit, note};

pub(crate) fn logs(session: &Session, arguments: &ProjectArguments, options: &ComposeLogsArguments) -> Outcome {
    let log_options = lines::options(options.follow, &options.lines)?;
    project_logs(session, arguments, &options.services, &log_options, options.timestamps, !options.no_log_prefix)
}

/// The logs of services, each line behind its container's name.
pub(crate) fn project_logs(
    session: &Session,
    arguments: &ProjectArguments,
    services: &[String],
    options: &LogOptions,
    timestamps: bool,
    prefix: bool,
) -> Outcome {
    let loaded = load(session, arguments, services)?;
    check_services(&loaded, services)?;
    let engine = session.observer()?;
    let containers: Vec<String> = engine
        .status(&loaded.project.name)?
        .containers
        .iter()
        .filter(|view| services.is_empty() || services.contains(&service(view)))
        .map(|view| view.record.name.clone())
        .collect();
    if options.follow {
        follow(&engine, &loaded.project.name, &containers, options, timestamps, prefix, &|_| {});
    } else {
        in_order(&engine, &loaded.project.name, &containers, options, timestamps, prefix)?;
    }
    Ok(exit::DONE)
}

/// One stream, ordered by time.
fn in_order(
    engine: &Engine,
    project: &str,
    containers: &[String],
    options: &LogOptions,
    timestamps: bool,
    prefix: bool,
) -> carrack_diag::Result<()> {
    let mut all = BTreeMap::new();
    for (index, name) in containers.iter().enumerate() {
        let mut number = 0;
        engine.logs(name, options, &mut |line| {
            number += 1;
            all.insert((line.time.clone(), index, number), line.clone());
            true
        })?;
    }
    let prefixes = prefixes(project, containers, prefix);
    for ((_, index, _), line) in all {
        if !lines::write_line(&line, timestamps, &prefixes[index]) {
            break;
        }
    }
    Ok(())
}

/// All of them as they grow, until each has ended or nobody reads any more.
fn follow(
    engine: &Engine,
    project: &str,
    containers: &[String],
    options: &LogOptions,
    timestamps: bool,
    prefix: bool,
    ended: &(dyn Fn(&str) + Sync),
) {
    let gone = AtomicBool::new(false);
    let writer = Mutex::new(());
    let prefixes = prefixes(project, containers, prefix);
    std::thread::scope(|scope| {
        for (name, prefix) in containers.iter().zip(&prefixes) {
            let (gone, writer) = (&gone, &writer);
            scope.spawn(move || {
                let read = engine.logs(name, options, &mut |line| {
                    let _turn = writer.lock();
                    if !lines::write_line(line, timestamps, prefix) {
                        gone.store(true, Ordering::Relaxed);
                    }
                    !gone.load(Ordering::Relaxed)
                });
                if let Err(error) = read {
                    note(&format!("{prefix}{error}\n"));
                }
                ended(name);
            });
        }
    });
}

/// `web-1  | `, padded to the longest.
fn prefixes(project: &str, containers: &[String], wanted: bool) -> Vec<String> {
    if !wanted {
        return vec![String::new(); containers.len()];
    }
    let short = |name: &String| name.strip_prefix(&format!("{project}-")).unwrap_or(name).to_owned();
    let names: Vec<String> = containers.iter().map(short).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    names.iter().map(|name| format!("{name:width$}  | ")).collect()
}

/// Shows the output until every container has ended or somebody interrupts; then stops them, as Compose does.
pub(crate) fn foreground(engine: &Engine, project: &str, options: &UpOptions) -> Outcome {
    let containers: Vec<(String, String)> =
        engine.status(project)?.containers.iter().map(|view| (view.record.name.clone(), service(view))).collect();
    let names: Vec<String> = containers.iter().map(|(name, _)| name.clone()).collect();
    let timeout_ms = options.timeout.map(|seconds| seconds.saturating_mul(1000));
    let stop_all = {
        let (engine, names) = (engine.clone(), names.clone());
        move || {
            let stop = StopOptions { signal: None, timeout_ms };
            for name in names.iter().rev() {
                if let Err(error) = engine.stop(name, &stop) {
                    note(&format!("carrack: {error}\n"));
                }
            }
        }
    };
    let on_interrupt = stop_all.clone();
    interrupt::on_signal(move || {
        note("\nstopping …\n");
        on_interrupt();
    })?;
    let one_ends_all = options.abort_on_container_exit || options.exit_code_from.is_some();
    let first = Mutex::new(None::<String>);
    follow(engine, project, &names, &super::follow_options(), false, true, &|name| {
        let deciding = options
            .exit_code_from
            .as_ref()
            .is_none_or(|wanted| containers.iter().any(|(container, service)| container == name && service == wanted));
        if one_ends_all && deciding {
            let mut first = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if first.is_none() {
                *first = Some(name.to_owned());
                drop(first);
                stop_all();
            }
        }
    });
    let first = first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match first {
        Some(name) => Ok(crate::commands::container::status(engine.container(&name)?.exit_code())),
        None => Ok(exit::DONE),
    }
}
