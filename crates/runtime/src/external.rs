//! Calls of another runtime: runc's command line, as crun and others have it too.
//!
//! ```text
//! shim, for this moment the reaper of orphans          launcher (our init, in a mount namespace of its own)
//! ----                                                 ----
//! bundle folder, console socket
//! clone ──────────────────────────────────────────►    layers, root, user, config.json
//!                                                      execve(RUNTIME create) ──► the container's first process, which waits
//!           ◄─ ends ───────────────────────────────────┘                          and is the shim's child from here on
//! pid file, terminal, control groups
//! RUNTIME start ──────────────────────────────────────────────────────────────►   executes the program
//!           ◄─ the program ends ──────────────────────────────────────────────────┘
//! RUNTIME delete --force
//! ```
//!
//! Everything else (signals, exec, pause, limits, files) goes by process, namespaces and control groups, as under our own
//! runtime. What a runtime says of a failure is read from its log; it also writes it to the standard error that is the
//! container's, where it is taken away again.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::{Duration, Instant};

use carrack_specgen::init_plan::Execute;
use carrack_specgen::{External, InitPlan, InitStep};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::init::{self, Child, InitFailure, SpawnRequest};
use crate::state::parent_of;

/// How long one call may take; a folder on a dead network file system can hang it.
const TIMEOUT: Duration = Duration::from_secs(40);
/// More than any runtime has to say of a failure.
const LOG_MAX_BYTES: usize = 64 << 10;
/// What runtimes find the programs by that they call.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why a runtime did not do what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// What has to stand before it is called could not be made.
    Ground(InitFailure),
    /// It failed, or what it has made is not what it should be.
    Runtime {
        /// `create`, `start`, `delete`.
        verb: &'static str,
        /// In its own words, as far as it had some.
        message: String,
    },
}

/// A container that was made and waits for its start.
#[derive(Debug)]
pub(crate) struct Created {
    /// Of its first process.
    pub(crate) pid: i32,
    pub(crate) pidfd: OwnedFd,
    /// Whether it is our child.
    pub(crate) child: bool,
    /// Our end of its terminal, where it has one.
    pub(crate) terminal: Option<OwnedFd>,
}

/// Makes the container. `plan` is what [`carrack_specgen::external::plan`] returned; the network namespace is one that this
/// process holds open.
///
/// Single-threaded callers only: while it lasts, this process is the reaper of what its children leave behind.
pub(crate) fn create(
    external: &External,
    plan: &InitPlan,
    stdio: [BorrowedFd<'_>; 3],
    network: Option<BorrowedFd<'_>>,
    has_terminal: bool,
) -> Result<Created, Failure> {
    let verb = "create";
    let failed = |attempt: &str, errno: Errno| Failure::Runtime { verb, message: format!("{attempt}: {errno}") };
    for folder in [external.bundle(), external.state()] {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| Failure::Runtime { verb, message: format!("make {folder}: {error}") })?;
    }
    let _not_there = std::fs::remove_file(external.pid_file());
    let own = rustix::process::getpid();
    let below_own = |fd: i32| format!("/proc/{}/fd/{fd}", own.as_raw_pid());
    let console = if has_terminal {
        Some(Console::open(&external.folder).map_err(|errno| failed("make the console socket", errno))?)
    } else {
        None
    };

    let mut plan = plan.clone();
    for step in &mut plan.steps {
        if let (InitStep::Bundle { network: path @ Some(_), .. }, Some(network)) = (step, network) {
            *path = Some(below_own(network.as_raw_fd()));
        }
    }
    let (bundle, pid_file) = (external.bundle(), external.pid_file());
    let mut words = vec!["--bundle", &bundle, "--pid-file", &pid_file];
    let socket = console.as_ref().map(|console| format!("{}/{CONSOLE}", below_own(console.folder.as_raw_fd())));
    if let Some(socket) = &socket {
        words.extend(["--console-socket", socket]);
    }
    plan.steps.push(execute(external, verb, &words));

    rustix::process::set_child_subreaper(Some(own)).map_err(|errno| failed("become the reaper", errno))?;
    let called = call(external, verb, &plan, stdio);
    let _ = rustix::process::set_child_subreaper(None);
    if let Err(failure) = called {
        let _nothing_else_to_do = delete(external);
        return Err(failure);
    }

    let text = std::fs::read_to_string(external.pid_file()).unwrap_or_default();
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Failure::Runtime { verb, message: "it has told no process".into() })?;
    // A child that nobody has reaped keeps its number; another process's is looked at after it is held.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .map_err(|errno| failed("hold the container's process", errno))?;
    let child = parent_of(pid.as_raw_pid()) == Some(own.as_raw_pid());
    let mut created = Created { pid: pid.as_raw_pid(), pidfd, child, terminal: None };
    if let Some(console) = console {
        match console.receive() {
            Ok(terminal) => created.terminal = Some(terminal),
            Err(errno) => {
                created.discard(external);
                return Err(failed("take the container's terminal", errno));
            }
        }
    }
    Ok(created)
}

impl Created {
    /// Has the program executed.
    pub(crate) fn start(&self, external: &External) -> Result<(), Failure> {
        let plan = InitPlan::new(Vec::new(), vec![execute(external, "start", &[])]);
        quietly(external, "start", &plan)
    }

    /// The end of one that never ran.
    pub(crate) fn discard(self, external: &External) {
        let _gone_already = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        if self.child {
            let _ = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
        let _nothing_else_to_do = delete(external);
    }
}

/// Has the runtime forget the container and end what is left of it. Nothing to forget is as good.
pub fn delete(external: &External) -> Result<(), Failure> {
    let is_known = std::fs::read_dir(external.state()).is_ok_and(|mut entries| entries.next().is_some());
    if !is_known {
        return Ok(());
    }
    let plan = InitPlan::new(Vec::new(), vec![execute(external, "delete", &["--force"])]);
    quietly(external, "delete", &plan)
}

fn quietly(external: &External, verb: &'static str, plan: &InitPlan) -> Result<(), Failure> {
    let null = rustix::fs::openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Failure::Runtime { verb, message: format!("open /dev/null: {errno}") })?;
    call(external, verb, plan, [null.as_fd(); 3])
}

/// `PROGRAM --root … --log … VERB WORDS ID`.
fn execute(external: &External, verb: &str, words: &[&str]) -> InitStep {
    let (state, log) = (external.state(), external.log());
    let global = [external.program.as_str(), "--root", &state, "--log", &log, "--log-format", "json", verb];
    let args = global.into_iter().chain(words.iter().copied()).chain([external.id.as_str()]);
    InitStep::Execute(Execute {
        args: args.map(str::to_owned).collect(),
        env: vec![PATH.into(), "HOME=/root".into()],
        reap: false,
    })
}

/// Calls it and waits for its end.
fn call(external: &External, verb: &'static str, plan: &InitPlan, stdio: [BorrowedFd<'_>; 3]) -> Result<(), Failure> {
    let _not_there = std::fs::remove_file(external.log());
    let child = init::spawn(&SpawnRequest { plan, stdio, network_namespace: None, container: None, cgroup: None });
    let child = child.map_err(|failure| match failure.name.as_str() {
        "execute" => {
            let errno = std::io::Error::from_raw_os_error(failure.errno);
            Failure::Runtime { verb, message: format!("it can't be executed: {errno}") }
        }
        _ => Failure::Ground(failure),
    })?;
    match ended(&child) {
        Ok(0) => Ok(()),
        Ok(status) => {
            let text = std::fs::read(external.log()).unwrap_or_default();
            let said = last_error(&text).unwrap_or_default();
            let message = if said.is_empty() { format!("it ended with status {status}") } else { said };
            Err(Failure::Runtime { verb, message })
        }
        Err(errno) => {
            let message = format!("it did not end within {} s: {errno}", TIMEOUT.as_secs());
            Err(Failure::Runtime { verb, message })
        }
    }
}

/// The status of a call; one that takes too long is killed.
fn ended(child: &Child) -> Result<i32, Errno> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut [PollFd::new(&child.pidfd, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) => {}
            Ok(0) => {
                let _ = child.signal(Signal::KILL.as_raw());
                return child.wait().and(Err(Errno::TIMEDOUT));
            }
            _ => return child.wait(),
        }
    }
}

/// The last error of a log of JSON lines.
fn last_error(log: &[u8]) -> Option<String> {
    let tail = log.get(log.len().saturating_sub(LOG_MAX_BYTES)..)?;
    let text = String::from_utf8_lossy(tail);
    text.lines().rev().find_map(|line| {
        let entry: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_error = matches!(entry["level"].as_str(), Some("error" | "fatal" | "panic"));
        entry["msg"].as_str().filter(|_| is_error).map(str::to_owned)
    })
}

/// In the folder of an external container: where its runtime sends the terminal.
const CONSOLE: &str = "console.sock";

/// A socket that a runtime sends a terminal to (runc `docs/terminals.md`).
struct Console {
    folder: OwnedFd,
    socket: OwnedFd,
}

impl Console {
    fn open(folder: &str) -> Result<Self, Errno> {
        let _not_there = std::fs::remove_file(Path::new(folder).join(CONSOLE));
        let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // By descriptor: a path may be longer than such an address.
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/{CONSOLE}", folder.as_raw_fd()))?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, 1)?;
        Ok(Self { folder, socket })
    }

    /// What was sent before the runtime ended.
    fn receive(&self) -> Result<OwnedFd, Errno> {
        let connection = rustix::net::accept_with(&self.socket, SocketFlags::CLOEXEC)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0; 4096];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        rustix::net::recvmsg(&connection, &mut [IoSliceMut::new(&mut name)], &mut ancillary, flags)?;
        let mut received = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let terminal = received.next().ok_or(Errno::BADMSG)?;
        if rustix::termios::isatty(&terminal) { Ok(terminal) } else { Err(Errno::NOTTY) }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(&self.folder, CONSOLE, rustix::fs::AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::last_error;

    #[test]
    fn the_last_error_of_a_log_is_what_failed() {
        let log = br#"{"level":"warning","msg":"a","time":"x"}
{"level":"error","msg":"first"}
{"level":"error","msg":"exec: \"nope\": executable file not found in $PATH"}
{"level":"info","msg":"b"}
"#;
        assert_eq!(last_error(log).unwrap(), "exec: \"nope\": executable file not found in $PATH");
        assert_eq!(last_error(b"no JSON\n\xff"), None);
        assert_eq!(last_error(b""), None);
    }
}
