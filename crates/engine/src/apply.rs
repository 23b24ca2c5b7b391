//! Follows a plan: starts each node when what it waits for is done, keeps the journal, and takes everything back where a
//! node fails before the point of no return.
//!
//! What a node means for the machine is the caller's: this module decides nothing but order.

use std::collections::BTreeSet;
use std::sync::mpsc;

use carrack_diag::{Diagnostic, Result};
use carrack_plan::{NodeId, Operation, Plan, PlanNode};

use crate::codes;
use crate::fault::{self, Moment};
use crate::journal::{Journal, Outcome, Progress};

/// More starts at a time than processors: they wait for the kernel, not for us.
const PARALLEL_NODES: usize = 8;

/// Does one operation. Has to be repeatable: after an interruption a node that was started is done again, or taken back.
pub type Perform<'a> = dyn Fn(&Operation) -> Result<()> + Sync + 'a;

/// Does an operation that changes the project's ledger, in the thread that holds the project's lock.
pub type Commit<'a> = dyn Fn(&Operation) -> Result<()> + 'a;

/// What an apply says of itself while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A node is being done.
    Started,
    /// A node is done.
    Done,
    /// A node was taken back.
    Undone,
}

/// Told of each step.
pub type Watch<'a> = dyn Fn(&PlanNode, Step) + Sync + 'a;

/// Who does what a plan says.
#[derive(Clone, Copy)]
pub struct Executor<'a> {
    /// Everything but the ledger, in any thread.
    pub perform: &'a Perform<'a>,
    /// The ledger.
    pub commit: &'a Commit<'a>,
    /// Is told.
    pub watch: &'a Watch<'a>,
}

/// Whether an operation belongs to [`Executor::commit`].
fn is_commit(operation: &Operation) -> bool {
    matches!(operation, Operation::RecordRelease { .. } | Operation::RetireRelease { .. })
}

/// With the faults that a test asks for.
fn with_faults(operation: &Operation, act: impl FnOnce() -> Result<()>) -> Result<()> {
    fault::inject(operation, Moment::Before)?;
    act()?;
    fault::inject(operation, Moment::After)
}

/// Does what is left of the journal's plan. Where a node fails and everything can be taken back, it is.
pub fn apply(journal: &mut Journal, executor: Executor<'_>) -> Result<()> {
    match forward(journal, executor) {
        Ok(()) => journal.end(Outcome::Applied),
        Err(failure) if journal.progress.has_to_be_finished() => Err(unfinished(&failure, &journal.progress)),
        Err(failure) => {
            journal.undoing(failure.to_string())?;
            undo(journal, executor).map_err(|second| both(&failure, &second))?;
            Err(failure.hint("what was done before is undone: all is as it was").boxed())
        }
    }
}

/// An apply that failed when it was too late to take it back: what is there, and what finishes it.
fn unfinished(failure: &Diagnostic, progress: &Progress) -> Box<Diagnostic> {
    let commit = progress.plan.iter().find(|node| matches!(node.op, Operation::RecordRelease { .. }));
    let standing = match commit {
        Some(node) if progress.done.contains(&node.id) => {
            "the new release is recorded and serves, and what it replaced is not all gone"
        }
        Some(_) => "what is new serves already, and no release says so yet",
        None => "it was too late to take back",
    };
    let hint = format!("{standing}: the next `carrack up`, `down`, `rollback` or `boot` finishes it");
    failure.clone().hint(hint).boxed()
}

/// Settles a journal that was interrupted: forwards where something can't be taken back, else backwards.
pub fn settle(journal: &mut Journal, executor: Executor<'_>) -> Result<Outcome> {
    if journal.progress.has_to_be_finished() {
        forward(journal, executor).map_err(|failure| {
            let failure = failure.cause("an earlier apply was being finished");
            unfinished(&failure, &journal.progress)
        })?;
        journal.end(Outcome::Applied)?;
        return Ok(Outcome::Applied);
    }
    if journal.progress.undoing.is_none() {
        journal.undoing("the apply was interrupted".into())?;
    }
    undo(journal, executor)?;
    Ok(Outcome::Undone)
}

fn forward(journal: &mut Journal, executor: Executor<'_>) -> Result<()> {
    let plan = journal.progress.plan.clone();
    let mut waiting: BTreeSet<NodeId> =
        plan.iter().map(|node| node.id).filter(|id| !journal.progress.done.contains(id)).collect();
    let (sender, receiver) = mpsc::channel::<(NodeId, Result<()>)>();
    std::thread::scope(|scope| {
        let mut running = 0;
        let mut failure = None;
        loop {
            while failure.is_none() && running < PARALLEL_NODES {
                let Some(node) = next(&plan, &waiting, &journal.progress.done) else { break };
                waiting.remove(&node.id);
                if let Err(error) = journal.started(node.id, node.op.is_point_of_no_return()) {
                    failure = Some(error);
                    break;
                }
                (executor.watch)(node, Step::Started);
                running += 1;
                // The receiver outlives every sender.
                if is_commit(&node.op) {
                    let result = with_faults(&node.op, || (executor.commit)(&node.op));
                    let _ = sender.send((node.id, result));
                } else {
                    let (sender, perform) = (sender.clone(), executor.perform);
                    scope.spawn(move || {
                        let result = with_faults(&node.op, || perform(&node.op));
                        let _ = sender.send((node.id, result));
                    });
                }
            }
            if running == 0 {
                return failure.map_or(Ok(()), Err);
            }
            let Ok((id, result)) = receiver.recv() else { return failure.map_or(Ok(()), Err) };
            running -= 1;
            let outcome = result.and_then(|()| journal.done(id));
            match (outcome, plan.node(id)) {
                (Ok(()), Some(node)) => (executor.watch)(node, Step::Done),
                (Err(error), Some(node)) => failure = failure.or(Some(explain(node, *error))),
                (_, None) => {}
            }
        }
    })
}

/// The first node that waits for nothing any more.
fn next<'a>(plan: &'a Plan, waiting: &BTreeSet<NodeId>, done: &BTreeSet<NodeId>) -> Option<&'a PlanNode> {
    waiting.iter().filter_map(|id| plan.node(*id)).find(|node| node.after.iter().all(|before| done.contains(before)))
}

/// Takes back, last first, every node that was started.
fn undo(journal: &mut Journal, executor: Executor<'_>) -> Result<()> {
    let plan = journal.progress.plan.clone();
    let mut nodes: Vec<&PlanNode> = plan.iter().collect();
    nodes.reverse();
    for node in nodes {
        if !journal.progress.started.contains(&node.id) || journal.progress.undone.contains(&node.id) {
            continue;
        }
        if let Some(inverse) = node.op.inverse() {
            (executor.perform)(&inverse).map_err(|error| {
                Diagnostic {
                    code: &codes::UNDO_INCOMPLETE,
                    message: format!("could not take back `{}`", node.op),
                    causes: [vec![error.message.clone()], error.causes.clone()].concat(),
                    ..*error
                }
                .boxed()
            })?;
        }
        journal.undone(node.id)?;
        (executor.watch)(node, Step::Undone);
    }
    journal.end(Outcome::Undone)
}

/// The error of a node, with the place in the project's files that asked for it.
fn explain(node: &PlanNode, mut error: Diagnostic) -> Box<Diagnostic> {
    if error.labels.is_empty()
        && let Some(span) = node.origin.first()
    {
        error = error.at(*span, format!("asked for here: {}", node.op));
    }
    error.boxed()
}

fn both(first: &Diagnostic, second: &Diagnostic) -> Box<Diagnostic> {
    second.clone().cause(format!("it was being undone because: {first}")).boxed()
}
