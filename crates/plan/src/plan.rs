use std::collections::BTreeSet;
use std::fmt;

use carrack_diag::Span;
use carrack_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::compare::Change;
use crate::{Condition, Operation};

/// What will be done, in an order that can be followed, each step with its reason. Data: it can be printed, saved,
/// read again, refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The project it changes.
    pub project: String,
    /// The state it was made for ([`crate::ObservedState::fingerprint`]): elsewhere it must not be applied.
    pub fingerprint: Digest,
    /// In a topological order: a node stands after all that it waits for.
    pub nodes: Vec<PlanNode>,
    /// What it costs.
    pub impact: Impact,
    /// What was seen and will be left alone.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Whether it counts on images that are not known yet: such a plan is shown and never applied.
    #[serde(default)]
    pub provisional: bool,
}

/// Counted from 0 in each plan; the index of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanNode {
    /// Its index.
    pub id: NodeId,
    /// What is done.
    pub op: Operation,
    /// What has to be done before.
    pub after: Vec<NodeId>,
    /// Why.
    pub cause: Cause,
    /// What the steps of one change have in common: the name of the container, network or volume as people know it.
    pub subject: String,
    /// What asked for it. Not saved: spans belong to the run that read the files.
    #[serde(skip)]
    pub origin: Vec<Span>,
}

/// Why a step is in the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cause", rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum Cause {
    /// It is wanted and not there.
    Missing,
    /// It is there and otherwise.
    Changed {
        /// In these fields.
        changes: Vec<Change>,
    },
    /// It is wanted running and is not.
    NotRunning {
        /// What it is instead.
        state: String,
    },
    /// Another one, on which it depends, is replaced.
    Follows {
        /// That one's service.
        service: String,
    },
    /// It has what only one container can have, and another one is to get it.
    Yields {
        /// `port 80/tcp`, `address 10.0.0.5 on shop_default`.
        holding: String,
        /// The name of that one.
        to: String,
    },
    /// Another one waits for it.
    NeededBy {
        /// That one's service.
        service: String,
        /// What it waits for.
        condition: Condition,
    },
    /// There are more replicas than wanted.
    Surplus {
        /// So many are wanted.
        wanted: u32,
    },
    /// No service of the project wants it.
    Orphaned,
    /// Somebody asked for just this.
    Requested,
    /// It ends the change.
    Commit,
}

/// What a plan costs (its blast radius).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impact {
    /// Services of which for a while no container runs that runs now.
    pub downtime: BTreeSet<String>,
    /// Volumes whose data goes; `NAME (anonymous)` for those of a container.
    pub data: BTreeSet<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes in an order that can be followed.
    pub fn iter(&self) -> impl Iterator<Item = &PlanNode> {
        self.nodes.iter()
    }

    /// The node of an id.
    pub fn node(&self, id: NodeId) -> Option<&PlanNode> {
        self.nodes.get(id.0 as usize)
    }

    /// Whether each node is at its index and waits only for earlier ones: to be asked of a plan that was read from a file.
    pub fn is_well_formed(&self) -> bool {
        let mut nodes = self.nodes.iter().enumerate();
        nodes.all(|(index, node)| node.id.0 as usize == index && node.after.iter().all(|before| before.0 < node.id.0))
    }

    /// What will be done in a line for each thing that changes: `recreate shop-web-1: environment DEBUG changed`.
    pub fn summary(&self) -> Vec<String> {
        let mut subjects: Vec<&str> = Vec::new();
        for node in &self.nodes {
            if !subjects.contains(&node.subject.as_str()) {
                subjects.push(&node.subject);
            }
        }
        subjects.into_iter().flat_map(|subject| self.summary_of(subject)).collect()
    }

    fn summary_of(&self, subject: &str) -> Vec<String> {
        let nodes: Vec<&PlanNode> = self.nodes.iter().filter(|node| node.subject == subject).collect();
        let (waits, acts): (Vec<&PlanNode>, Vec<&PlanNode>) =
            nodes.into_iter().partition(|node| matches!(node.op, Operation::WaitFor { .. }));
        let mut lines = Vec::new();
        if let Some(first) = acts.first() {
            let has = |wanted: fn(&Operation) -> bool| acts.iter().any(|node| wanted(&node.op));
            let create = has(|op| matches!(op, Operation::CreateContainer { .. }));
            let start = has(|op| matches!(op, Operation::StartContainer { .. }));
            let stop = has(|op| matches!(op, Operation::StopContainer { .. }));
            let remove = has(|op| matches!(op, Operation::RemoveContainer { .. }));
            let action = match (create, start, stop, remove) {
                (true, _, _, true) => format!("recreate {subject}"),
                (true, true, ..) => format!("create and start {subject}"),
                (false, true, true, _) => format!("restart {subject}"),
                (false, false, true, true) => format!("stop and remove {subject}"),
                _ => {
                    let words: Vec<String> = acts.iter().map(|node| node.op.to_string()).collect();
                    words.join(", ")
                }
            };
            lines.push(with_reason(action, &first.cause));
        }
        // The reason of what is waited for was told with it.
        let told = acts.first().map(|first| &first.cause);
        lines.extend(waits.iter().map(|node| match told == Some(&node.cause) {
            true => node.op.to_string(),
            false => with_reason(node.op.to_string(), &node.cause),
        }));
        lines
    }
}

fn with_reason(action: String, cause: &Cause) -> String {
    match cause {
        Cause::Commit | Cause::Requested => action,
        cause => format!("{action}: {cause}"),
    }
}

/// A line for each thing that changes; `{:#}` prints every step.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            writeln!(f, "{}: nothing to do", self.project)?;
        }
        if f.alternate() {
            for node in &self.nodes {
                writeln!(f, "{:>3}  {}", node.id.0 + 1, with_reason(node.op.to_string(), &node.cause))?;
            }
        } else {
            for line in self.summary() {
                writeln!(f, "{line}")?;
            }
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        if !self.is_empty() {
            writeln!(f, "{}", self.impact)?;
        }
        Ok(())
    }
}

impl fmt::Display for Impact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match self.downtime.is_empty() {
            true => write!(f, "downtime: none")?,
            false => write!(f, "downtime: {}", list(&self.downtime))?,
        }
        match self.data.is_empty() {
            true => write!(f, "; data: kept"),
            false => write!(f, "; data: {} removed", list(&self.data)),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("not there yet"),
            Self::Changed { changes } => {
                let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
                f.write_str(&changes.join("; "))
            }
            Self::NotRunning { state } => write!(f, "it is {state}"),
            Self::Follows { service } => write!(f, "follows {service}, which is replaced"),
            Self::Yields { holding, to } => write!(f, "{holding} passes to {to}"),
            Self::NeededBy { service, .. } => write!(f, "{service} depends on it"),
            Self::Surplus { wanted: 1 } => f.write_str("1 replica is wanted"),
            Self::Surplus { wanted } => write!(f, "{wanted} replicas are wanted"),
            Self::Orphaned => f.write_str("no service of the project wants it"),
            Self::Requested => f.write_str("as asked"),
            Self::Commit => f.write_str("the change is complete"),
        }
    }
}
