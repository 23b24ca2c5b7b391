//! Evaluates a graph, again where a cache has promised too much, and hands the caches on that are asked for.

use std::sync::Arc;
use std::time::Instant;

use carrack_diag::{Diagnostic, Severity};
use carrack_store::Lease;

use crate::build::made;
use crate::cache::export::{Exchange, Results};
use crate::cache::import::lock;
use crate::progress::Event;
use crate::request::{BuildRequest, Services};
use crate::vertex::{Outcome, Solver};
use crate::{cache, codes, schedule};

/// Evaluates, and begins anew where a cache from elsewhere has promised what it does not have; what was done meanwhile is
/// in this root's own by then. All layers of the result are here in the end.
pub(crate) fn solve_with_caches(solver: &Solver<'_>, parallelism: usize) -> Result<Vec<Arc<Outcome>>, Vec<Diagnostic>> {
    loop {
        let lost = solver.imports.lost_count();
        let solved = solve(solver, parallelism).and_then(|outcomes| {
            let layers = made(solver.graph, &outcomes);
            solver.bring(&layers).map(|()| outcomes).map_err(|error| vec![*error])
        });
        match solved {
            Err(errors)
                if errors.iter().all(|error| error.code == &codes::CACHE_LOST)
                    && solver.imports.lost_count() > lost =>
            {
                // The warnings come again.
                lock(&solver.warnings).clear();
            }
            Err(mut errors) => {
                // What else went wrong is what is to be told.
                if errors.iter().any(|error| error.code != &codes::CACHE_LOST) {
                    errors.retain(|error| error.code != &codes::CACHE_LOST);
                }
                return Err(errors);
            }
            outcomes => return outcomes,
        }
    }
}

/// Writes the caches that are asked for. What may fail is a warning.
pub(crate) fn hand_on(
    request: &BuildRequest,
    lease: &Lease,
    services: Services<'_>,
    solver: &Solver<'_>,
    outcomes: &[Arc<Outcome>],
) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let mut warnings = Vec::new();
    if request.cache_to.is_empty() {
        return Ok(warnings);
    }
    let aliases = cache::aliases(&request.store).map_err(|error| vec![*error])?;
    let layers = made(solver.graph, outcomes);
    let made = Results { outcomes, layers: &layers, aliases };
    let exchange = Exchange {
        store: &request.store,
        lease,
        images: services.images,
        imports: &solver.imports,
        cancel: services.cancel,
    };
    for wanted in &request.cache_to {
        match exchange.export(wanted, &made) {
            Err(error) if wanted.ignore_error => warnings.push(Diagnostic { severity: Severity::Warning, ..*error }),
            Err(error) => return Err(vec![*error]),
            Ok(()) => {}
        }
    }
    Ok(warnings)
}

pub(crate) fn solve(solver: &Solver<'_>, parallelism: usize) -> Result<Vec<Arc<Outcome>>, Vec<Diagnostic>> {
    let parallelism = if parallelism == 0 { schedule::default_parallelism() } else { parallelism };
    let outcomes = schedule::run(&solver.graph.vertices, parallelism, solver.cancel, |id, inputs| {
        let begin = Instant::now();
        solver.progress.event(Event::Started { vertex: id.0 });
        let result = solver.evaluate(id, inputs);
        if result.as_ref().is_err_and(|error| error.code == &codes::CACHE_LOST) {
            // It is begun anew.
            return result;
        }
        let duration = begin.elapsed();
        solver.progress.event(match &result {
            Ok(outcome) => Event::Done { vertex: id.0, is_cached: outcome.is_cached, duration },
            Err(_) => Event::Failed { vertex: id.0, duration },
        });
        lock(&solver.durations).insert(id.0, duration);
        if result.is_err() {
            lock(&solver.failed).get_or_insert(id);
        }
        result
    })?;
    outcomes.ok_or_else(|| {
        vec![
            Diagnostic::error(&codes::CANCELLED, "the build was cancelled")
                .hint("build again: the steps that were done are cached"),
        ]
    })
}
