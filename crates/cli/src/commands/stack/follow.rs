//! The output of a project's services, and `up` in the foreground.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use carrack_compose::Project;
use carrack_engine::{Engine, LogLine, LogOptions, interrupt};
use carrack_plan::selection;
use carrack_specgen::container::LogDriver;

use super::{Session, check_services, load, service};
use crate::arguments::{ComposeLogsArguments, ProjectArguments, UpOptions};
use crate::commands::logs as lines;
use crate::output::{Outcome, exit, note};

pub(crate) fn logs(session: &Session, arguments: &ProjectArguments, options: &ComposeLogsArguments) -> Outcome {
    let log_options = lines::options(options.follow, &options.lines)?;
    let shape = lines::Shape { json: session.output.json, timestamps: options.timestamps, details: false };
    let style = Style { shape, prefix: !options.no_log_prefix };
    project_logs(session, arguments, &options.services, &log_options, &style)
}

/// How lines of several containers are shown.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    /// Of each line.
    pub(crate) shape: lines::Shape,
    /// Behind the name of its container.
    pub(crate) prefix: bool,
}

/// The logs of services, each line behind its container's name.
pub(crate) fn project_logs(
    session: &Session,
    arguments: &ProjectArguments,
    services: &[String],
    options: &LogOptions,
    style: &Style,
) -> Outcome {
    let loaded = load(session, arguments, services)?;
    check_services(&loaded, services)?;
    let engine = session.observer()?;
    let containers: Vec<String> = engine
        .status(&loaded.project.name)?
        .containers
        .iter()
        .filter(|view| !view.is_one_off() && (services.is_empty() || services.contains(&service(view))))
        // Of all services, those that keep no log have nothing to show.
        .filter(|view| !services.is_empty() || view.record.container.log.driver != LogDriver::None)
        .map(|view| view.record.name.clone())
        .collect();
    if options.follow {
        follow(&engine, &loaded.project.name, &containers, options, style, &|_| {});
    } else {
        in_order(&engine, &loaded.project.name, &containers, options, style)?;
    }
    Ok(exit::DONE)
}

/// One stream, ordered by time.
fn in_order(
    engine: &Engine,
    project: &str,
    containers: &[String],
    options: &LogOptions,
    style: &Style,
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
    let prefixes = prefixes(project, containers, style.prefix);
    let ends = containers.iter().zip(&prefixes);
    let mut writers: Vec<_> = ends.map(|(name, prefix)| lines::Writer::new(style.shape, name, prefix)).collect();
    for ((_, index, _), line) in all {
        // Between two of them there may be one of another container.
        if !writers[index].line(&LogLine { more: false, ..line }) {
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
    style: &Style,
    ended: &(dyn Fn(&str) + Sync),
) {
    let gone = AtomicBool::new(false);
    let writer = Mutex::new(());
    let prefixes = prefixes(project, containers, style.prefix);
    std::thread::scope(|scope| {
        for (name, prefix) in containers.iter().zip(&prefixes) {
            let (gone, writer) = (&gone, &writer);
            scope.spawn(move || {
                let mut lines = lines::Writer::new(style.shape, name, prefix);
                let read = engine.logs(name, options, &mut |line| {
                    let _turn = writer.lock();
                    if !lines.line(line) {
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

/// Shows the output of the services that were asked for until every container has ended or somebody interrupts; then
/// stops them and what they depend on, as Compose does.
pub(crate) fn foreground(engine: &Engine, project: &Project, options: &UpOptions, since: jiff::Timestamp) -> Outcome {
    let is_shown = |service: &String| {
        let attached = project.services.get(service).is_some_and(|service| service.attach);
        attached && (options.services.is_empty() || options.services.contains(service))
    };
    let views = engine.status(&project.name)?.containers;
    let containers: Vec<(String, String)> = views
        .iter()
        .filter(|view| !view.is_one_off())
        .map(|view| (view.record.name.clone(), service(view)))
        .filter(|(_, service)| is_shown(service) || options.exit_code_from.as_ref() == Some(service))
        .collect();
    let names: Vec<String> = containers.iter().map(|(name, _)| name.clone()).collect();
    let stop_all = {
        let (engine, name) = (engine.clone(), project.name.clone());
        let services: Vec<String> = selection(project, &options.services, false).into_iter().collect();
        let stop = super::stop_options(options.timeout);
        move || {
            for error in engine.stop_services(&name, &services, &stop).err().into_iter().flatten() {
                note(&format!("carrack: {error}\n"));
            }
        }
    };
    let interrupted = Arc::new(AtomicBool::new(false));
    let on_interrupt = {
        let (interrupted, stop_all) = (interrupted.clone(), stop_all.clone());
        move || {
            interrupted.store(true, Ordering::SeqCst);
            note("\nstopping …\n");
            stop_all();
        }
    };
    interrupt::on_signal(on_interrupt)?;
    let one_ends_all = options.abort_on_container_exit || options.exit_code_from.is_some();
    let first = Mutex::new(None::<String>);
    let style = Style { shape: lines::Shape::default(), prefix: true };
    let shown = LogOptions { follow: true, since: Some(since), ..LogOptions::default() };
    follow(engine, &project.name, &names, &shown, &style, &|name| {
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
    // The last line of output is not the end of the stopping: whoever does that ends the process.
    while interrupted.load(Ordering::SeqCst) {
        std::thread::park();
    }
    let first = first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match first {
        Some(name) => Ok(crate::commands::container::status(engine.container(&name)?.exit_code())),
        None => Ok(exit::DONE),
    }
}
