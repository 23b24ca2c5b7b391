//! The birth of a container's process.
//!
//! ```text
//! spawner                                   init
//! -------                                   ----
//! seal the plan in a memfd
//! clone3(namespaces, cgroup) ─────────────► born: default signals, own session, descriptors placed
//!                                           execveat(own binary on a read-only mount)
//!                                             fails: ◄── errno, four bytes ── exit 127
//!                                           take descriptors, not dumpable, read the plan
//! or, where the spawner has one thread and was itself executed from such a mount:
//! clone3(namespaces, cgroup) ─────────────► born: the same, not dumpable, with the plan at hand
//!                                           step 0 … n−1
//!        ◄── Terminal + descriptor ───────  a terminal, where the plan has one
//!        ◄── Entered + descriptor, number   a plan that enters a container forks there and ends the first process
//!        ◄── Failed(step, errno, detail) ─  a step fails: exit 1
//!        ◄── Held ────────────────────────  a plan without a program: it waits until the channel is closed
//!        ◄── Executing ───────────────────  the last step
//!                                           execve(program); the channel is close-on-exec
//!                                             fails: ◄── Failed ── exit 1
//! end of file after Executing: it runs
//! end of file before: init was killed
//! ```
//!
//! The channel is a socket pair of whole messages. An init that can't report ends: without a spawner there is no program.

mod bundle;
mod channel;
mod execute;
mod identities;
mod identity;
mod inside;
mod interpret;
mod mounts;
mod own_binary;
mod terminal;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use carrack_specgen::InitPlan;
use carrack_specgen::init_plan::NamespaceKind;
use carrack_sys::process::{self, Process, SingleThreaded, namespace};
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use channel::{Message, Received};

pub(crate) use interpret::main;
pub use own_binary::own_binary;

/// Argument zero of a process that is to be an init.
pub(crate) const ARGV0: &str = "carrack-init";

/// How long a start may take before it counts as hung; a folder on a dead network file system can hang it.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How the failure of an init that told none begins.
const DIED: &str = "died before the program was executed";

/// What a process needs beside its plan.
#[derive(Debug)]
pub struct SpawnRequest<'a> {
    /// What it does until the program runs.
    pub plan: &'a InitPlan,
    /// Standard input, output and error. A plan with a terminal replaces them by it.
    pub stdio: [BorrowedFd<'a>; 3],
    /// The network namespace to join, where the plan says so.
    pub network_namespace: Option<BorrowedFd<'a>>,
    /// The running container to enter, where the plan says so: the descriptor of its first process.
    pub container: Option<BorrowedFd<'a>>,
    /// The control groups to be born into.
    pub cgroup: Option<&'a crate::cgroup::Cgroup>,
}

/// A container's process whose program runs.
#[derive(Debug)]
pub struct Child {
    /// In the spawner's process namespace.
    pub pid: i32,
    /// Stable reference to the process: signals and waits through it cannot hit another. The spawner is its parent.
    pub pidfd: OwnedFd,
    /// The spawner's end of the pseudo-terminal, where the plan has one.
    pub terminal: Option<OwnedFd>,
    /// What holds a process without a program: it goes when this is closed.
    hold: Option<OwnedFd>,
}

impl Child {
    /// Waits for its end and reaps it. Docker's exit status: the program's, or 128 and the signal's number.
    pub fn wait(&self) -> Result<i32, Errno> {
        reap(&self.pidfd)
    }

    /// Sends a signal by number.
    pub fn signal(&self, number: i32) -> Result<(), Errno> {
        process::send_signal(&self.pidfd, number)
    }
}

/// Why a container's program does not run. The process is dead and reaped by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitFailure {
    /// Index into the plan's steps; none is before the first or unknown.
    pub step: Option<usize>,
    /// [`InitStep::name`](carrack_specgen::InitStep::name), or what was attempted before the first step.
    pub name: String,
    /// 0 where no system call failed.
    pub errno: i32,
    /// The path or name that it concerns, with what is wrong about it; may be empty.
    pub detail: String,
}

impl InitFailure {
    fn before_steps(name: &str, errno: Errno) -> Self {
        Self { step: None, name: name.into(), errno: errno.raw_os_error(), detail: String::new() }
    }

    /// Whether somebody killed it before it could say a word.
    fn is_unexplained_kill(&self) -> bool {
        self.step.is_none() && self.detail.starts_with(DIED) && self.detail.ends_with("(status 137)")
    }

    /// Whether the working directory is something else.
    pub(crate) fn is_no_folder_to_work_in(&self) -> bool {
        self.name == "working-directory" && self.errno == Errno::NOTDIR.raw_os_error()
    }

    /// Docker's exit status for it: 127 where the program was not found, 126 where it can't be executed, else 125.
    pub fn exit_status(&self) -> i32 {
        match (self.name.as_str(), Errno::from_raw_os_error(self.errno)) {
            // Docker's answer to a working directory that is not there is that of a missing program.
            ("execute" | "working-directory", Errno::NOENT) | ("working-directory", Errno::NOTDIR) => 127,
            ("execute" | "working-directory", _) => 126,
            _ => 125,
        }
    }
}

impl std::fmt::Display for InitFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.name)?;
        if !self.detail.is_empty() {
            write!(f, " {}", self.detail)?;
        }
        if self.errno != 0 {
            write!(f, ": {}", std::io::Error::from_raw_os_error(self.errno))?;
        }
        Ok(())
    }
}

impl std::error::Error for InitFailure {}

/// What init reads from its sealed memory file. Descriptors follow the channel's in this order.
#[derive(Debug, Serialize, Deserialize)]
struct Handover<Plan> {
    network: bool,
    container: bool,
    cgroups: u8,
    plan: Plan,
}

/// Where init finds its plan.
const PLAN_DESCRIPTOR: i32 = 3;
/// Where init finds the socket to the spawner.
const CHANNEL_DESCRIPTOR: i32 = 4;

/// Makes the process and returns when its program has been executed, or has not.
///
/// Safe from any thread. The caller is the process's parent and reaps it.
pub fn spawn(request: &SpawnRequest<'_>) -> Result<Child, InitFailure> {
    let born_into = request.cgroup.and_then(|cgroup| cgroup.born_into());
    match attempt(request, born_into, None) {
        // Linux from 6.14 compares the kills of the new group with those of the spawner's, and kills what it lets be born
        // into a group that was killed as a whole once: such a group has to be joined from inside.
        Err(failure) if failure.is_unexplained_kill() => match born_into.map(crate::cgroup::processes_of) {
            Some(Ok(processes)) => attempt(request, None, Some(processes.as_fd())),
            _ => Err(failure),
        },
        outcome => outcome,
    }
}

fn attempt(
    request: &SpawnRequest<'_>,
    born_into: Option<BorrowedFd<'_>>,
    joined_instead: Option<BorrowedFd<'_>>,
) -> Result<Child, InitFailure> {
    let joined: Vec<BorrowedFd<'_>> =
        request.cgroup.into_iter().flat_map(|cgroup| cgroup.joined_by_writing()).chain(joined_instead).collect();
    if request.plan.joins_network() && request.network_namespace.is_none() {
        return Err(InitFailure::before_steps("join-network", Errno::BADF));
    }
    let (ours, theirs) = channel::pair().map_err(|errno| InitFailure::before_steps("channel", errno))?;
    let handover = Handover {
        network: request.network_namespace.is_some(),
        container: request.container.is_some(),
        cgroups: u8::try_from(joined.len()).map_err(|_| InitFailure::before_steps("join-cgroups", Errno::TOOBIG))?,
        plan: request.plan,
    };
    let namespaces = request.plan.namespaces.iter().map(|kind| namespace_flag(*kind)).fold(0, |all, flag| all | flag);
    let mut descriptors: Vec<BorrowedFd<'_>> = request.stdio.to_vec();
    // Executing again costs more than all else that is done before the first step.
    if let Some(proof) = SingleThreaded::check().filter(|_| own_binary::runs_from_it()) {
        descriptors.push(theirs.as_fd());
        descriptors.extend(request.network_namespace.into_iter().chain(request.container).chain(joined));
        let child = |descriptors| interpret::go_on(descriptors, &handover);
        let process = process::fork_into(&proof, namespaces, born_into, &descriptors, child)
            .map_err(|errno| InitFailure::before_steps("clone", errno))?;
        drop(theirs);
        return follow(ours, process);
    }
    let plan = seal(&handover).map_err(|errno| InitFailure::before_steps("seal-plan", errno))?;
    let binary = own_binary().map_err(|errno| InitFailure::before_steps("own-binary", errno))?;
    descriptors.extend([plan.as_fd(), theirs.as_fd()]);
    descriptors.extend(request.network_namespace.into_iter().chain(request.container).chain(joined));
    let process = process::spawn(&process::Spawn {
        program: binary,
        argv0: c"carrack-init",
        environment: &[],
        namespaces,
        cgroup: born_into,
        descriptors: &descriptors,
        failure: theirs.as_fd(),
        awaited: false,
    })
    .map_err(|errno| InitFailure::before_steps("clone", errno))?;
    drop(theirs);
    follow(ours, process)
}

/// The plan and its descriptors' order in memory that nobody can change any more.
fn seal(handover: &Handover<&InitPlan>) -> Result<OwnedFd, Errno> {
    let bytes = postcard::to_stdvec(handover).map_err(|_| Errno::INVAL)?;
    let memory = rustix::fs::memfd_create("carrack-plan", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&memory, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    rustix::fs::fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(memory)
}

/// Reads the channel to its end, also past a failure: the process that went on inside of a container may tell its own
/// before the one that entered it could name it, and both must be reaped.
fn follow(channel: OwnedFd, mut process: Process) -> Result<Child, InitFailure> {
    let deadline = Instant::now() + START_TIMEOUT;
    let mut terminal = None;
    let mut executing = false;
    let mut failure = None;
    loop {
        match channel::receive(&channel, deadline) {
            Ok(Received::Message(Message::Terminal, descriptor)) => terminal = descriptor,
            Ok(Received::Message(Message::Entered { pid }, Some(pidfd))) => {
                let first = std::mem::replace(&mut process, Process { pid, pidfd });
                let _ = reap(&first.pidfd);
            }
            Ok(Received::Message(Message::Entered { .. }, None)) => {
                failure = Some(InitFailure::before_steps("enter-container", Errno::BADMSG));
            }
            Ok(Received::Message(Message::Executing, _)) => executing = true,
            Ok(Received::Message(Message::Held, _)) => {
                return Ok(Child { pid: process.pid, pidfd: process.pidfd, terminal, hold: Some(channel) });
            }
            Ok(Received::Message(Message::Failed { step, name, errno, detail }, _)) => {
                failure = Some(InitFailure { step: step.map(|step| step as usize), name, errno, detail });
            }
            Ok(Received::NotExecuted(errno)) => failure = Some(InitFailure::before_steps("execute-own-binary", errno)),
            Ok(Received::End) => break,
            Err(errno) => {
                failure = Some(InitFailure::before_steps("await-init", errno));
                break;
            }
        }
    }
    if executing && failure.is_none() {
        return Ok(Child { pid: process.pid, pidfd: process.pidfd, terminal, hold: None });
    }
    // It has ended, but for one that hangs or a small init whose program is missing.
    if failure.is_some() {
        let _ = rustix::process::pidfd_send_signal(&process.pidfd, Signal::KILL);
    }
    let status = reap(&process.pidfd).unwrap_or(255);
    Err(failure.unwrap_or_else(|| {
        let detail = format!("{DIED} (status {status})");
        InitFailure { step: None, name: "init".into(), errno: 0, detail }
    }))
}

/// A mount namespace that is there for as long as this value.
#[derive(Debug)]
pub struct MountNamespace(Child);

impl MountNamespace {
    /// What a plan that ends with [`Hold`](carrack_specgen::InitStep::Hold) mounts.
    pub fn of(plan: &InitPlan) -> Result<Self, InitFailure> {
        let null = rustix::fs::openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| InitFailure::before_steps("open-null", errno))?;
        let stdio = [null.as_fd(); 3];
        spawn(&SpawnRequest { plan, stdio, network_namespace: None, container: None, cgroup: None }).map(Self)
    }

    /// Its root; `bare` is the root's mount alone.
    pub fn root(&self, bare: bool) -> Result<OwnedFd, Errno> {
        carrack_sys::mount::root_of(&self.0.pidfd, bare)
    }
}

impl Drop for MountNamespace {
    fn drop(&mut self) {
        self.0.hold = None;
        let _ = self.0.wait();
    }
}

/// Waits for the end of a child and collects its status.
fn reap(pidfd: &OwnedFd) -> Result<i32, Errno> {
    loop {
        match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                return Ok(status.exit_status().or(signal).unwrap_or(255));
            }
            Ok(None) => return Err(Errno::CHILD),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn namespace_flag(kind: NamespaceKind) -> u64 {
    match kind {
        NamespaceKind::Mount => namespace::MOUNT,
        NamespaceKind::Pid => namespace::PID,
        NamespaceKind::Ipc => namespace::IPC,
        NamespaceKind::Uts => namespace::UTS,
        NamespaceKind::Network => namespace::NETWORK,
        NamespaceKind::Cgroup => namespace::CGROUP,
    }
}
