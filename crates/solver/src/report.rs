//! Where the time and the bytes of a build went.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use carrack_diag::Result;
use carrack_llb::{Action, Op, VertexId};
use carrack_oci::Digest;
use carrack_store::{Layer, Snapshotter as _, Store};

use crate::vertex::{Outcome, Solver};

/// What a build came to, for people who want it faster or smaller (D6 D7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildReport {
    /// In the order of the graph.
    pub steps: Vec<StepReport>,
    /// The layers of the image together, unpacked, in bytes.
    pub size_bytes: u64,
    /// The same if all stages that were needed were one: every layer of theirs, but for copies between them.
    pub single_stage_bytes: u64,
}

/// A step of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    /// As shown to people: `[build 2/5] RUN make`.
    pub name: String,
    /// Whether its result was there already.
    pub is_cached: bool,
    /// How long it took now.
    pub duration: Duration,
    /// How long it took when it was done, where it is cached and that is known.
    pub saved: Option<Duration>,
    /// The layer that it made, unpacked, in bytes; 0 where it made none.
    pub size_bytes: u64,
}

impl BuildReport {
    /// How long the cached steps took when they were done.
    pub fn saved(&self) -> Duration {
        self.steps.iter().filter_map(|step| step.saved).sum()
    }
}

pub(crate) fn report(solver: &Solver<'_>, store: &Store, outcomes: &[Arc<Outcome>]) -> Result<BuildReport> {
    let size_of = |layer: &Layer| -> Result<u64> {
        Ok(store.snapshot(&layer.chain)?.map_or(layer.blob.size, |snapshot| snapshot.size_bytes))
    };
    let durations = solver.durations.lock().unwrap_or_else(PoisonError::into_inner);
    let mut steps = Vec::new();
    // A layer that lies on several others, by --link, is one.
    let mut all: BTreeMap<Digest, u64> = BTreeMap::new();
    let mut copied: Vec<Digest> = Vec::new();
    for (index, (vertex, outcome)) in solver.graph.vertices.iter().zip(outcomes).enumerate() {
        for layer in &outcome.layers {
            all.insert(layer.diff_id, size_of(layer)?);
        }
        let Some(record) = &outcome.record else { continue };
        if let (Some(layer), true) = (&record.layer, copies_stages(solver, VertexId(index))) {
            copied.push(layer.diff_id);
        }
        steps.push(StepReport {
            name: vertex.name.clone(),
            is_cached: outcome.is_cached,
            duration: durations.get(&index).copied().unwrap_or_default(),
            saved: record.duration_ms.filter(|_| outcome.is_cached).map(Duration::from_millis),
            size_bytes: record.layer.as_ref().map(size_of).transpose()?.unwrap_or(0),
        });
    }
    let image = outcomes.get(solver.graph.output.0).map(|outcome| outcome.layers.as_slice()).unwrap_or_default();
    let size_bytes = image.iter().map(size_of).sum::<Result<u64>>()?;
    all.retain(|diff_id, _| !copied.contains(diff_id));
    Ok(BuildReport { steps, size_bytes, single_stage_bytes: all.values().sum() })
}

/// Whether all that a step does is to copy from stages that are built.
fn copies_stages(solver: &Solver<'_>, id: VertexId) -> bool {
    let vertex = solver.graph.vertex(id);
    let Op::File(actions) = &vertex.op else { return false };
    let is_built = |input: usize| {
        let source = &solver.graph.vertex(vertex.inputs[input].vertex).op;
        matches!(source, Op::Exec(_) | Op::File(_) | Op::Merge)
    };
    let mut copies = actions.iter().filter_map(|action| match action {
        Action::Copy(copy) => Some(is_built(copy.input)),
        _ => None,
    });
    copies.next() == Some(true) && copies.all(|is_built| is_built)
}
