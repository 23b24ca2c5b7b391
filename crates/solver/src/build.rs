//! The whole of a build: plan, evaluate, write the image.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use carrack_attestation::Material;
use carrack_diag::{Diagnostic, SourceMap};
use carrack_llb::{Graph, Op};
use carrack_oci::Digest;
use carrack_store::{Image, Layer, Lease, NewImage};

use crate::attest::{self, Made};
use crate::cache::Aliases;
use crate::cache::export::Results;
use crate::cache::import::lock;
use crate::configuration::configuration;
use crate::context::ContextReport;
use crate::explain::StepExplanation;
use crate::export::{BuildOutput, export};
use crate::plan::{BuildPlan, plan};
use crate::predict::{explainer, explanation};
use crate::progress::Event;
use crate::report::{BuildReport, report};
use crate::request::{BuildRequest, Services};
use crate::solve::{hand_on, solve_with_caches};
use crate::vertex::{Outcome, Solver};

/// What a build made.
#[derive(Debug, Clone, PartialEq)]
pub struct BuildResult {
    /// In the store, under its tags.
    pub image: Image,
    /// Steps that could be cached.
    pub steps: usize,
    /// How many of them were.
    pub cached_steps: usize,
    /// Of each step how it came by its result, where that was asked for.
    pub explanation: Vec<StepExplanation>,
    /// How much of the context was used.
    pub context: ContextReport,
    /// Where its time and its bytes went, where that was asked for.
    pub report: Option<BuildReport>,
    /// What stood in the way of nothing.
    pub warnings: Vec<Diagnostic>,
}

impl BuildResult {
    /// The image's id.
    pub fn image_id(&self) -> Digest {
        self.image.id
    }
}

/// Builds an image. The same request on the same files gives the same image as long as its steps are cached.
///
/// Spans of diagnostics, also those of the result's warnings, point into texts that are added to `sources`.
///
/// # Errors
/// Everything that is wrong with the Dockerfile at once; of failing steps the first.
pub fn build(
    request: &BuildRequest,
    services: Services<'_>,
    sources: &mut SourceMap,
) -> Result<BuildResult, Vec<Diagnostic>> {
    let began = jiff::Timestamp::now();
    let lease = request.store.lease().map_err(|diagnostic| vec![*diagnostic])?;
    let mut plan = plan(request, services.images, Some(&lease), (&BTreeSet::new(), None), sources)?;
    services.progress.event(Event::planned(&plan.graph));
    let contexts = std::mem::take(&mut plan.contexts);
    let mut solver = Solver::new(request, services, Some(&lease), &plan, contexts);
    if request.explain {
        solver.explainer = Some(explainer(request, &plan)?);
    }
    let outcomes = solve_with_caches(&solver, request.parallelism);
    solver.save_contents();
    let outcomes = match outcomes {
        Ok(outcomes) => outcomes,
        Err(errors) => {
            let failed = *lock(&solver.failed);
            let vertex = failed.filter(|_| request.debug).map(|id| solver.graph.vertex(id));
            let copied = vertex.filter(|vertex| matches!(vertex.op, Op::File(_)));
            if let Some(origin) = copied.and_then(|vertex| vertex.origin.first()) {
                let at = format!("before:{}", sources.position(*origin).line);
                // The failure has set it.
                services.cancel.store(false, Ordering::SeqCst);
                // What counts is why the step failed.
                let _ = debug(request, &at, services, sources);
            }
            return Err(errors);
        }
    };
    let explanation = explanation(&solver, |index| outcomes[index].is_cached);
    let report = request.report.then(|| report(&solver, &request.store, &outcomes)).transpose();
    let report = report.map_err(|diagnostic| vec![*diagnostic])?;
    let context = lock(&solver.usage).report();
    services.progress.event(Event::Context { entries: context.entries, size_bytes: context.size_bytes });
    let materials = std::mem::take(&mut *lock(&solver.materials));
    let written = write(request, &lease, &plan, (&outcomes, &materials, began), sources);
    let (image, missing) = written.map_err(|diagnostic| vec![*diagnostic])?;
    services.progress.event(Event::Image { id: image.id });
    let mut warnings = hand_on(request, &lease, services, &solver, &outcomes)?;
    warnings.splice(0..0, lock(&solver.imports.warnings).drain(..));
    warnings.splice(0..0, lock(&solver.warnings).drain(..));
    let steps: Vec<_> = outcomes.iter().filter(|outcome| outcome.record.is_some()).collect();
    let cached_steps = steps.iter().filter(|outcome| outcome.is_cached).count();
    warnings.splice(0..0, plan.warnings);
    warnings.extend(missing);
    Ok(BuildResult { image, steps: steps.len(), cached_steps, explanation, context, report, warnings })
}

/// Builds up to a step and opens a shell before or after it ([`carrack_llb::Breakpoint::find`] reads `at`), with what an
/// instruction there has. Gives the shell's exit status. What the steps before have made is cached as in a build; what the
/// shell does is thrown away.
///
/// # Errors
/// As [`build`], for the steps before; where there is no such step, and where there is no shell.
pub fn debug(
    request: &BuildRequest,
    at: &str,
    services: Services<'_>,
    sources: &mut SourceMap,
) -> Result<i32, Vec<Diagnostic>> {
    let lease = request.store.lease().map_err(|diagnostic| vec![*diagnostic])?;
    let mut plan = plan(request, services.images, Some(&lease), (&BTreeSet::new(), Some(at)), sources)?;
    services.progress.event(Event::planned(&plan.graph));
    let contexts = std::mem::take(&mut plan.contexts);
    let mut solver = Solver::new(request, services, Some(&lease), &plan, contexts);
    solver.stops_at = Some(plan.graph.output);
    let ended = solve_with_caches(&solver, request.parallelism);
    solver.save_contents();
    ended?;
    Ok(lock(&solver.shell_status).take().unwrap_or_default())
}

fn write(
    request: &BuildRequest,
    lease: &Lease,
    plan: &BuildPlan,
    (outcomes, materials, began): (&[Arc<Outcome>], &BTreeSet<Material>, jiff::Timestamp),
    sources: &SourceMap,
) -> carrack_diag::Result<(Image, Vec<Diagnostic>)> {
    let mut layers = made(&plan.graph, outcomes);
    let shows_files = |output: &BuildOutput| matches!(output, BuildOutput::Tar(_) | BuildOutput::Folder(_));
    if let Some(epoch) = request.epoch
        && (request.rewrite_times || request.outputs.iter().any(shows_files))
    {
        // What came with a base image is as it is everywhere.
        let foreign: BTreeSet<Digest> =
            plan.images.iter().flat_map(|image| &image.layers).map(|layer| layer.chain).collect();
        let mut parent: Option<Digest> = None;
        for layer in &mut layers {
            if !foreign.contains(&layer.chain) {
                *layer = request.store.clamp_times(lease, parent.as_ref(), layer, epoch)?;
            }
            parent = Some(layer.chain);
        }
    }
    let inline = || Results { outcomes, layers: &layers, aliases: Aliases::new() }.inline();
    let inline = if request.inline_cache { inline() } else { None };
    let (config, parsed) = configuration(&plan.graph, outcomes, &layers, (request.epoch, inline))?;
    let made = Made { config: (&config, &parsed), layers: &layers, outcomes, materials, began };
    let (predicates, missing) = attest::predicates(request, lease, plan, &made, sources)?;
    let (names, annotations) = (request.tags.clone(), request.annotations.clone());
    let new = NewImage { layers, names, annotations, predicates, ..NewImage::default() };
    Ok((export(&request.store, lease, &request.outputs, (&config, new))?, missing))
}

/// The layers of the result.
pub(crate) fn made(graph: &Graph, outcomes: &[Arc<Outcome>]) -> Vec<Layer> {
    outcomes.get(graph.output.0).map(|output| output.layers.clone()).unwrap_or_default()
}
