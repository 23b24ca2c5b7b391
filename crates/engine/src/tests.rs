use std::collections::BTreeSet;
use std::sync::Mutex;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use carrack_plan::{Cause, Condition, Impact, NodeId, Operation, Plan, PlanNode};

use crate::journal::{Journal, Outcome};
use crate::{apply, codes};

fn plan(nodes: &[(Operation, &[u32])]) -> Plan {
    let nodes = nodes.iter().enumerate().map(|(index, (op, after))| PlanNode {
        id: NodeId(index as u32),
        op: op.clone(),
        after: after.iter().copied().map(NodeId).collect(),
        cause: Cause::Missing,
        subject: "s".into(),
        origin: Vec::new(),
    });
    Plan {
        project: "p".into(),
        fingerprint: Digest::of(""),
        nodes: nodes.collect(),
        impact: Impact::default(),
        notes: Vec::new(),
        provisional: false,
    }
}

fn start(name: &str) -> Operation {
    Operation::StartContainer { name: name.into(), announced: true }
}

fn stop(name: &str) -> Operation {
    Operation::StopContainer { name: name.into(), timeout_ms: None, withdrawn: false }
}

fn remove(name: &str) -> Operation {
    Operation::RemoveContainer { name: name.into(), anonymous_volumes: false }
}

/// A machine of containers that run or do not, on which any operation may be told to fail.
#[derive(Default)]
struct Machine {
    running: Mutex<BTreeSet<String>>,
    order: Mutex<Vec<String>>,
    fails: Option<String>,
}

impl Machine {
    fn perform(&self, operation: &Operation) -> Result<()> {
        self.order.lock().unwrap().push(operation.to_string());
        if self.fails.as_deref() == Some(&operation.to_string()) {
            return Err(Diagnostic::error(&codes::HOST, "no").boxed());
        }
        match operation {
            Operation::StartContainer { name, .. } => self.running.lock().unwrap().insert(name.clone()),
            Operation::StopContainer { name, .. } => self.running.lock().unwrap().remove(name),
            _ => true,
        };
        Ok(())
    }

    fn executor<'a>(&'a self, perform: &'a apply::Perform<'a>) -> apply::Executor<'a> {
        apply::Executor { perform, commit: perform, watch: &|_, _| {} }
    }

    fn running(&self) -> Vec<String> {
        self.running.lock().unwrap().iter().cloned().collect()
    }
}

fn apply_on(machine: &Machine, journal: &mut Journal) -> Result<()> {
    apply::apply(journal, machine.executor(&|operation| machine.perform(operation)))
}

#[test]
fn nodes_run_after_what_they_wait_for() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(&[
        (start("db"), &[]),
        (Operation::WaitFor { name: "db".into(), condition: Condition::Healthy, timeout_ms: 1, required: true }, &[0]),
        (start("web"), &[1]),
    ]);
    let mut journal = Journal::begin(folder.path(), plan, String::new()).unwrap();
    let machine = Machine::default();
    apply_on(&machine, &mut journal).unwrap();
    assert_eq!(*machine.order.lock().unwrap(), ["start db", "wait for db to be healthy", "start web"]);
    assert_eq!(Journal::read(folder.path()).unwrap().unwrap().outcome, Some(Outcome::Applied));
}

#[test]
fn i1_a_failure_takes_back_what_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(&[(stop("old"), &[]), (start("new"), &[0]), (start("last"), &[1]), (remove("old"), &[2])]);
    let machine = Machine { fails: Some("start last".into()), ..Machine::default() };
    machine.running.lock().unwrap().insert("old".into());
    let mut journal = Journal::begin(folder.path(), plan, String::new()).unwrap();
    let error = apply_on(&machine, &mut journal).unwrap_err();
    assert_eq!(error.code.id, "engine/host");
    assert_eq!(machine.running(), ["old"], "the old one serves again");
    assert_eq!(Journal::read(folder.path()).unwrap().unwrap().outcome, Some(Outcome::Undone));
}

#[test]
fn i3_an_interrupted_journal_is_undone_before_and_finished_after_the_point_of_no_return() {
    let steps = [(stop("old"), &[][..]), (start("new"), &[0]), (remove("old"), &[1])];
    for interrupted_after in 0..=3 {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::default();
        machine.running.lock().unwrap().insert("old".into());
        let mut journal = Journal::begin(folder.path(), plan(&steps), String::new()).unwrap();
        for node in plan(&steps).iter().take(interrupted_after) {
            journal.started(node.id, node.op.is_point_of_no_return()).unwrap();
            machine.perform(&node.op).unwrap();
        }
        assert!(Journal::interrupted(folder.path()).unwrap().is_none(), "its writer lives");
        drop(journal);
        let mut journal = Journal::interrupted(folder.path()).unwrap().expect("its writer is gone");
        let outcome = apply::settle(&mut journal, machine.executor(&|operation| machine.perform(operation))).unwrap();
        let expected = if interrupted_after == 3 { (Outcome::Applied, "new") } else { (Outcome::Undone, "old") };
        assert_eq!((outcome, machine.running()), (expected.0, vec![expected.1.to_owned()]));
        assert!(Journal::interrupted(folder.path()).unwrap().is_none(), "it has ended");
    }
}

/// J1: an upgrade finds journals of older versions.
#[test]
fn a_journal_that_has_ended_is_no_obstacle_whatever_its_plan_was() {
    let folder = tempfile::tempdir().unwrap();
    Journal::begin(folder.path(), plan(&[(start("a"), &[])]), String::new()).unwrap().end(Outcome::Applied).unwrap();
    let path = folder.path().join("journal");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("start-container", "start-ship")).unwrap();
    assert!(Journal::interrupted(folder.path()).unwrap().is_none());
    assert_eq!(Journal::read(folder.path()).unwrap(), None);
    std::fs::write(&path, text.replace("start-container", "start-ship").lines().next().unwrap()).unwrap();
    assert_eq!(Journal::interrupted(folder.path()).unwrap_err().code.id, "engine/journal-damaged");
}

#[test]
fn a_torn_last_line_is_as_if_it_was_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal =
        Journal::begin(folder.path(), plan(&[(start("a"), &[]), (start("b"), &[])]), String::new()).unwrap();
    journal.started(NodeId(0), false).unwrap();
    journal.started(NodeId(1), false).unwrap();
    drop(journal);
    let path = folder.path().join("journal");
    let text = std::fs::read(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 3]).unwrap();
    let progress = Journal::read(folder.path()).unwrap().unwrap();
    assert_eq!(progress.started, BTreeSet::from([NodeId(0)]));
}

#[test]
fn a_foreign_journal_is_a_diagnostic() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("journal"), "what is this\n").unwrap();
    assert_eq!(Journal::interrupted(folder.path()).unwrap_err().code.id, "engine/journal-damaged");
}
