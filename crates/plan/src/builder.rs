//! The nodes of a plan while it is made.

use carrack_diag::Span;

use crate::{Cause, Impact, NodeId, ObservedState, Operation, Plan, PlanNode};

#[derive(Default)]
pub(crate) struct Builder {
    nodes: Vec<PlanNode>,
    pub(crate) impact: Impact,
    pub(crate) notes: Vec<String>,
    pub(crate) provisional: bool,
}

/// What the steps of one change have in common.
#[derive(Clone)]
pub(crate) struct Reason {
    pub(crate) subject: String,
    pub(crate) cause: Cause,
    pub(crate) origin: Vec<Span>,
}

impl Reason {
    pub(crate) fn new(subject: impl Into<String>, cause: Cause) -> Self {
        Self { subject: subject.into(), cause, origin: Vec::new() }
    }

    pub(crate) fn at(mut self, origin: &[Span]) -> Self {
        self.origin = origin.to_vec();
        self
    }
}

impl Builder {
    pub(crate) fn add(&mut self, op: Operation, after: impl IntoIterator<Item = NodeId>, reason: &Reason) -> NodeId {
        // A plan of four thousand million steps does not fit into memory.
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        let mut after: Vec<NodeId> = after.into_iter().collect();
        after.sort_unstable();
        after.dedup();
        self.nodes.push(PlanNode {
            id,
            op,
            after,
            cause: reason.cause.clone(),
            subject: reason.subject.clone(),
            origin: reason.origin.clone(),
        });
        id
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes that no other node waits for.
    pub(crate) fn ends(&self) -> Vec<NodeId> {
        let mut ends = vec![true; self.nodes.len()];
        for before in self.nodes.iter().flat_map(|node| &node.after) {
            ends[before.0 as usize] = false;
        }
        self.nodes.iter().map(|node| node.id).filter(|id| ends[id.0 as usize]).collect()
    }

    pub(crate) fn finish(self, project: &str, observed: &ObservedState) -> Plan {
        Plan {
            project: project.to_owned(),
            fingerprint: observed.fingerprint(),
            nodes: self.nodes,
            impact: self.impact,
            notes: self.notes,
            provisional: self.provisional,
        }
    }
}
