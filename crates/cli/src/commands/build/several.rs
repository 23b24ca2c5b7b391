//! Several builds: at once, but for those that begin with another's image.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use carrack_compose::project::Build;
use carrack_engine::build::{BuildRequest, BuildResult, NamedContext, built_reference};
use carrack_engine::{Engine, interrupt};
use carrack_oci::Reference;

use super::progress::Display;
use super::project::placed;
use super::{Session, run_until};
use crate::output::Failure;
use crate::project::Loaded;

/// An image that is to be built.
pub(super) struct Wanted<'a> {
    /// What it is called in what is printed.
    pub(super) name: String,
    /// What asks for it, in a Compose file.
    pub(super) place: Option<(&'a Loaded, &'a Build)>,
    pub(super) request: BuildRequest,
    /// Named contexts that are images of others of these.
    pub(super) contexts: Vec<(String, usize)>,
}

/// Builds them all. The first failure ends the others; it comes with the place of what failed.
pub(super) fn all(
    session: &Session,
    engine: &Engine,
    wanted: &[Wanted<'_>],
    display: &Display,
) -> Result<Vec<BuildResult>, (Failure, usize)> {
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let interrupted = interrupt::Flag::new().map_err(|error| (error.into(), 0))?;
    display.during(|| all_until(session, engine, wanted, (display, interrupted.is_set())))
}

fn all_until(
    session: &Session,
    engine: &Engine,
    wanted: &[Wanted<'_>],
    (display, cancel): (&Display, &AtomicBool),
) -> Result<Vec<BuildResult>, (Failure, usize)> {
    let waits = waits(engine, wanted);
    let mut results: Vec<Option<BuildResult>> = wanted.iter().map(|_| None).collect();
    let mut failure: Option<(Failure, usize)> = None;
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
                let Wanted { name, place, request, contexts } = &wanted[index];
                let mut request = request.clone();
                for (context, other) in contexts {
                    if let Some(Ok(image)) = results[*other].as_ref().map(|built| built_reference(&built.image)) {
                        request.contexts.insert(context.clone(), NamedContext::Built(image));
                    }
                }
                scope.spawn(move || {
                    let label = (wanted.len() > 1).then_some(name.as_str());
                    let built = run_until(session, engine, &request, (display, label), cancel);
                    let built = built.map_err(|error| match place {
                        Some((loaded, how)) => placed(error, loaded, how),
                        None => error,
                    });
                    // Whoever waits for it is there until all have ended.
                    let _ = sender.send((index, built));
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
                    failure.get_or_insert((error, index));
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
        waits[index].extend(own.contexts.iter().map(|(_, other)| *other));
    }
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
    let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(next) = open.pop() {
        if next == to {
            return true;
        }
        open.extend(waits[next].iter().filter(|later| seen.insert(**later)));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each waits for all before it, by so many ways that nobody could go them all.
    #[test]
    fn many_ways_are_one() {
        let waits: Vec<BTreeSet<usize>> = (0..200).map(|index| (0..index).collect()).collect();
        assert!(reaches(&waits, 199, 0));
        assert!(!reaches(&waits, 0, 199));
    }
}
