//! What a build would come to, and why, without a step of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use carrack_diag::{Diagnostic, SourceMap};
use carrack_llb::Op;
use carrack_oci::{Digest, ImageConfig, Reference};

use crate::build::made;
use crate::cache::Aliases;
use crate::cache::export::Results;
use crate::codes;
use crate::configuration::configuration;
use crate::exec::Executor;
use crate::explain::{Explainer, StepExplanation};
use crate::plan::{BuildPlan, plan};
use crate::progress::Silent;
use crate::request::{BuildRequest, Services, StoreOnly};
use crate::schedule;
use crate::solve::solve;
use crate::vertex::{Outcome, Solver};

/// What [`crate::build`] would come to.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// Every step is cached: this image would be put together.
    Image {
        /// The digest of its configuration.
        id: Digest,
        /// What it says of itself.
        config: Box<ImageConfig>,
    },
    /// Something has to be done first, and what comes of it is not known before. The message says what.
    Unknown(Box<Diagnostic>),
}

/// What [`crate::build`] would come to. Writes nothing (I-5), so the store may be open for looking only. Names of `changing` will
/// stand for other images by then.
///
/// # Errors
/// As [`crate::build`], but for what only a running step can meet.
pub fn predict(
    request: &BuildRequest,
    changing: &BTreeSet<Reference>,
    sources: &mut SourceMap,
) -> Result<Prediction, Vec<Diagnostic>> {
    let unknown = |mut errors: Vec<Diagnostic>| {
        for error in errors.iter_mut().filter(|error| error.code == &codes::IMAGE_NOT_FOUND) {
            // Whether a registry has it is known when it is asked for.
            let message = std::mem::take(&mut error.message);
            *error = Diagnostic::error(&codes::NOT_CACHED, format!("{message} here yet"));
        }
        let mut problems = errors.iter().filter(|error| error.is_error());
        match (problems.next(), problems.all(|error| error.code == &codes::NOT_CACHED)) {
            (Some(first), true) if first.code == &codes::NOT_CACHED => Ok(Prediction::Unknown(first.clone().boxed())),
            _ => Err(errors),
        }
    };
    let mut plan = match plan(request, &StoreOnly, None, (changing, None), sources) {
        Ok(plan) => plan,
        Err(errors) => return unknown(errors),
    };
    let cancel = AtomicBool::new(false);
    let services = Services { executor: &Nothing, progress: &Silent, images: &StoreOnly, cancel: &cancel };
    let contexts = std::mem::take(&mut plan.contexts);
    let solver = Solver::new(request, services, None, &plan, contexts);
    // One at a time, so that of several steps that are not cached it is always the same that is named.
    let outcomes = match solve(&solver, 1) {
        Ok(outcomes) => outcomes,
        Err(errors) => return unknown(errors),
    };
    let layers = made(&plan.graph, &outcomes);
    let inline = || Results { outcomes: &outcomes, layers: &layers, aliases: Aliases::new() }.inline();
    let inline = if request.inline_cache { inline() } else { None };
    let (bytes, config) =
        configuration(&plan.graph, &outcomes, &layers, (request.epoch, inline)).map_err(|error| vec![*error])?;
    Ok(Prediction::Image { id: Digest::of(bytes), config: Box::new(config) })
}

/// Of each step that [`crate::build`] would take whether it is cached, and why not. Writes nothing (I-5).
///
/// # Errors
/// As [`crate::build`], but for what only a running step can meet.
pub fn explain(request: &BuildRequest, sources: &mut SourceMap) -> Result<Vec<StepExplanation>, Vec<Diagnostic>> {
    let mut plan = plan(request, &StoreOnly, None, (&BTreeSet::new(), None), sources)?;
    let cancel = AtomicBool::new(false);
    let services = Services { executor: &Nothing, progress: &Silent, images: &StoreOnly, cancel: &cancel };
    let contexts = std::mem::take(&mut plan.contexts);
    let mut solver = Solver::new(request, services, None, &plan, contexts);
    solver.explainer = Some(explainer(request, &plan)?);
    let outcomes = schedule::run(&solver.graph.vertices, 1, &cancel, |id, inputs: &[Arc<Option<Arc<Outcome>>>]| {
        let known: Option<Vec<Arc<Outcome>>> = inputs.iter().map(|input| input.as_ref().clone()).collect();
        let Some(known) = known else {
            solver.missed_after(id, inputs)?;
            return Ok(None);
        };
        match solver.evaluate(id, &known) {
            Ok(outcome) => Ok(Some(Arc::new(outcome))),
            Err(diagnostic) if diagnostic.code == &codes::NOT_CACHED => Ok(None),
            Err(diagnostic) => Err(diagnostic),
        }
    })?;
    let outcomes = outcomes.unwrap_or_default();
    Ok(explanation(&solver, |index| outcomes[index].is_some()))
}

pub(crate) fn explainer(request: &BuildRequest, plan: &BuildPlan) -> Result<Explainer, Vec<Diagnostic>> {
    let explainer = Explainer::new(&request.store, request.place(), plan.environment.clone());
    explainer.map_err(|diagnostic| vec![*diagnostic])
}

pub(crate) fn explanation(solver: &Solver<'_>, is_cached: impl Fn(usize) -> bool) -> Vec<StepExplanation> {
    let Some(explainer) = &solver.explainer else { return Vec::new() };
    let vertices = solver.graph.vertices.iter().enumerate();
    let steps = vertices.filter(|(_, vertex)| matches!(vertex.op, Op::Exec(_) | Op::File(_)));
    let explained = steps.map(|(index, vertex)| {
        let is_cached = is_cached(index);
        let reasons = if is_cached { Vec::new() } else { explainer.reasons(index) };
        StepExplanation { name: vertex.name.clone(), is_cached, reasons }
    });
    explained.collect()
}

/// Runs nothing: a prediction ends before.
struct Nothing;

impl Executor for Nothing {
    fn run(&self, _request: &crate::exec::ExecRequest<'_>) -> carrack_diag::Result<crate::exec::Ended> {
        Err(Diagnostic::error(&codes::NOT_CACHED, "a step of the build is not cached").boxed())
    }
}
