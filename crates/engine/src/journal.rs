//! The journal of an apply: its plan and, node by node, what was started and what is done, in one append-only file.
//!
//! The process that applies holds the file by `flock`, so that whoever can take the lock of an open journal knows that its
//! writer is gone. A journal without an end is finished or undone by the next mutating command (I-3).

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use carrack_plan::{NodeId, Plan};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::codes;

/// One line of a journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Entry {
    /// The first line: everything that will be done.
    Begin { plan: Box<Plan>, time: String },
    /// A node is about to be done; it may be done, or half done, from here on.
    Started { node: NodeId },
    /// A node is done.
    Done { node: NodeId },
    /// What was done is being taken back.
    Undoing { reason: String },
    /// A node was taken back.
    Undone { node: NodeId },
    /// The last line.
    End { outcome: Outcome },
}

/// How an apply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Every node is done.
    Applied,
    /// Every node that was started is taken back.
    Undone,
}

/// The journal of an apply that this process performs.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    /// What has happened so far.
    pub progress: Progress,
}

/// What a journal says.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// What was to be done.
    pub plan: Plan,
    /// Nodes that may have had an effect.
    pub started: BTreeSet<NodeId>,
    /// Nodes that are done.
    pub done: BTreeSet<NodeId>,
    /// Nodes that were taken back.
    pub undone: BTreeSet<NodeId>,
    /// Why they are being taken back, where they are.
    pub undoing: Option<String>,
    /// How it ended; none is an apply that runs or was interrupted.
    pub outcome: Option<Outcome>,
}

impl Progress {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            started: BTreeSet::new(),
            done: BTreeSet::new(),
            undone: BTreeSet::new(),
            undoing: None,
            outcome: None,
        }
    }

    fn note(&mut self, entry: Entry) {
        match entry {
            Entry::Begin { .. } => {}
            Entry::Started { node } => {
                self.started.insert(node);
            }
            Entry::Done { node } => {
                self.done.insert(node);
            }
            Entry::Undoing { reason } => self.undoing = Some(reason),
            Entry::Undone { node } => {
                self.undone.insert(node);
            }
            Entry::End { outcome } => self.outcome = Some(outcome),
        }
    }

    /// Whether an interruption is answered by going on: nothing was taken back yet, and something can't be.
    pub fn has_to_be_finished(&self) -> bool {
        let irrevocable =
            |node: &&carrack_plan::PlanNode| node.op.is_point_of_no_return() && self.started.contains(&node.id);
        self.undoing.is_none() && self.plan.iter().any(|node| irrevocable(&node))
    }
}

impl Journal {
    /// Opens a journal for `plan` in the folder of a stack, whose lock the caller holds. A journal there has ended.
    pub fn begin(folder: &Path, plan: Plan, time: String) -> Result<Self> {
        let path = folder.join("journal");
        let failed = |error: std::io::Error| unwritable(&path, &error);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let fresh = folder.join("journal.new");
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(true).open(&fresh).map_err(failed)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| failed(error.into()))?;
        write_entry(&mut file, &Entry::Begin { plan: Box::new(plan.clone()), time }).map_err(failed)?;
        file.sync_data().map_err(failed)?;
        std::fs::rename(&fresh, &path).map_err(failed)?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(Self { file, path, progress: Progress::new(plan) })
    }

    /// Takes over a journal that has not ended and whose writer is gone; none where there is no such journal.
    pub fn interrupted(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("journal");
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unwritable(&path, &error)),
        };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        if has_ended(&mut file).map_err(|error| unwritable(&path, &error))? {
            return Ok(None);
        }
        let Some(progress) = read_progress(&mut file).map_err(|error| unwritable(&path, &error))? else {
            return Err(damaged(&path));
        };
        file.seek(SeekFrom::End(0)).map_err(|error| unwritable(&path, &error))?;
        Ok(Some(Self { file, path, progress }))
    }

    /// What the journal of a stack says, without touching it; none too where it has ended and another version made it.
    pub fn read(folder: &Path) -> Result<Option<Progress>> {
        let path = folder.join("journal");
        match File::open(&path) {
            Ok(mut file) => match read_progress(&mut file) {
                Ok(Some(progress)) => Ok(Some(progress)),
                Ok(None) if has_ended(&mut file).unwrap_or(false) => Ok(None),
                Ok(None) => Err(damaged(&path)),
                Err(error) => Err(unwritable(&path, &error)),
            },
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unwritable(&path, &error)),
        }
    }

    /// Says that a node is about to be done. What can't be taken back is on disk before it happens.
    pub fn started(&mut self, node: NodeId, irrevocable: bool) -> Result<()> {
        self.append(Entry::Started { node }, irrevocable)
    }

    /// Says that a node is done.
    pub fn done(&mut self, node: NodeId) -> Result<()> {
        self.append(Entry::Done { node }, false)
    }

    /// Says that what was done will be taken back, and why.
    pub fn undoing(&mut self, reason: String) -> Result<()> {
        self.append(Entry::Undoing { reason }, true)
    }

    /// Says that a node was taken back.
    pub fn undone(&mut self, node: NodeId) -> Result<()> {
        self.append(Entry::Undone { node }, false)
    }

    /// Ends the journal.
    pub fn end(&mut self, outcome: Outcome) -> Result<()> {
        self.append(Entry::End { outcome }, true)
    }

    fn append(&mut self, entry: Entry, sync: bool) -> Result<()> {
        write_entry(&mut self.file, &entry)
            .and_then(|()| if sync { self.file.sync_data() } else { Ok(()) })
            .map_err(|error| unwritable(&self.path, &error))?;
        self.progress.note(entry);
        Ok(())
    }
}

/// One write a line, so that a reader sees whole lines or a last one without its end.
fn write_entry(file: &mut File, entry: &Entry) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    file.write_all(&line)
}

/// Whether its last line says so: then nobody has to understand its plan, which another version may have made.
fn has_ended(file: &mut File) -> std::io::Result<bool> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    Ok(text.lines().last().is_some_and(|line| matches!(serde_json::from_str(line), Ok(Entry::End { .. }))))
}

/// None where the first line is no plan. A torn last line was never acted upon: marks are written before the act.
fn read_progress(file: &mut File) -> std::io::Result<Option<Progress>> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_string(&mut text)?;
    let mut entries = text.split_inclusive('\n').map_while(|line| serde_json::from_str::<Entry>(line).ok());
    let Some(Entry::Begin { plan, .. }) = entries.next() else { return Ok(None) };
    if !plan.is_well_formed() {
        return Ok(None);
    }
    let mut progress = Progress::new(*plan);
    for entry in entries {
        progress.note(entry);
    }
    Ok(Some(progress))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Box<Diagnostic> {
    Diagnostic::error(&codes::JOURNAL_IO, format!("can't keep the journal {}", path.display()))
        .cause(error.to_string())
        .hint("free space or correct the permissions, then repeat the command: nothing is lost")
        .boxed()
}

fn damaged(path: &Path) -> Box<Diagnostic> {
    Diagnostic::error(&codes::JOURNAL_DAMAGED, format!("the journal {} is not readable", path.display()))
        .cause("its first line is not a plan of this version of carrack")
        .hint("if no other version of carrack is at work, move the file away and run `carrack up`")
        .boxed()
}
