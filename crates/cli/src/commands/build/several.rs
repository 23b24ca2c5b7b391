//! The builds of a project: at once, but for those that begin with another's image.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use carrack_compose::project::Build;
use carrack_engine::build::{BuildRequest, BuildResult};
use carrack_engine::{Engine, interrupt};
use carrack_oci::Reference;

use super::progress::Display;
use super::{Session, placed, run_until};
use crate::output::Failure;
use crate::project::Loaded;

/// A service's image that is to be built.
pub(super) struct Wanted<'a> {
    pub(super) service: &'a str,
    pub(super) how: &'a Build,
    pub(super) request: BuildRequest,
}

/// Builds them all. The first failure ends the others; it comes with the service whose it is.
pub(super) fn all<'a>(
    session: &Session,
    engine: &Engine,
    loaded: &Loaded,
    wanted: &[Wanted<'a>],
    display: &Display,
) -> Result<Vec<BuildResult>, (Failure, &'a str)> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let interrupted = interrupt::Flag::new().map_err(|error| (error.into(), ""))?;
    display.during(|| all_until(session, engine, loaded, wanted, (display, interrupted.is_set())))
}

fn all_until<'a>(
    session: &Session,
    engine: &Engine,
    loaded: &Loaded,
    wanted: &[Wanted<'a>],
    (display, cancel): (&Display, &AtomicBool),
) -> Result<Vec<BuildResult>, (Failure, &'a str)> {
    let waits = waits(engine, wanted);
    let mut results: Vec<Option<BuildResult>> = wanted.iter().map(|_| None).collect();
    let mut failure: Option<(Failure, &str)> = None;
    std::thread::scope(|scope| {
        let (sender, ended) = mpsc::channel();
        let mut begun = vec![false; wanted.len()];
        let mut running = 0;
        loop {
            for index in 0..wanted.len() {
                let is_ready = waits[index].iter().all(|other| results[*other].is_some());
                if begun[index] || !is_ready || failure.is_some() {
                    continue;
                }
                begun[index] = true;
                running += 1;
                let sender = sender.clone();
                scope.spawn(move || {
                    let Wanted { service, how, request } = &wanted[index];
                    let label = (wanted.len() > 1).then_some(*service);
                    let built = run_until(session, engine, request, (display, label), cancel);
                    // Whoever waits for it is there until all have ended.
                    let _ = sender.send((index, built.map_err(|error| placed(error, loaded, how))));
                });
            }
            if running == 0 {
                break;
            }
            let Ok((index, built)) = ended.recv() else { break };
            running -= 1;
            match built {
                Ok(built) => results[index] = Some(built),
                Err(error) => {
                    // What ends because of another failure has nothing to say of its own.
                    cancel.store(true, Ordering::SeqCst);
                    failure.get_or_insert((error, wanted[index].service));
                }
            }
        }
    });
    match failure {
        Some(failure) => Err(failure),
        None => Ok(results.into_iter().flatten().collect()),
    }
}

/// Of each build those whose images it begins with. A circle is broken where it closes: the image that is there is used.
fn waits(engine: &Engine, wanted: &[Wanted<'_>]) -> Vec<BTreeSet<usize>> {
    let mut waits: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); wanted.len()];
    for (index, own) in wanted.iter().enumerate() {
        let bases: BTreeSet<Reference> = engine.build_bases(&own.request);
        for (other, made) in wanted.iter().enumerate() {
            let is_base = other != index && made.request.tags.iter().any(|tag| bases.contains(tag));
            if is_base && !reaches(&waits, other, index) {
                waits[index].insert(other);
            }
        }
    }
    waits
}

fn reaches(waits: &[BTreeSet<usize>], from: usize, to: usize) -> bool {
    from == to || waits[from].iter().any(|next| reaches(waits, *next, to))
}
