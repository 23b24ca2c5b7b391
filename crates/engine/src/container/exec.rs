//! A further program in a running container: a process of the caller's, no shim's.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use carrack_diag::{Diagnostic, Result};
use carrack_oci::runtime::Spec;
use carrack_runtime::cgroup::{Cgroup, Hierarchies};
use carrack_runtime::host;
use carrack_runtime::init::{self, Child, SpawnRequest};
use carrack_runtime::state::State;
use carrack_specgen::init_plan::RootSource;
use carrack_specgen::{ExecRequest, InitPlan, Resolved, exec_plan, launch};
use carrack_sys::signal::SignalFd;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::ContainerRecord;
use super::start::RunFailure;
use crate::codes;
use crate::engine::{Engine, host_error};

/// What is to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecOptions {
    /// Argument vector, never empty.
    pub args: Vec<String>,
    /// Over the container's environment. A name without a value is left as it is.
    pub env: Vec<(String, Option<String>)>,
    /// `user[:group]`; the container's own without.
    pub user: Option<String>,
    /// Absolute; the container's own without.
    pub working_dir: Option<String>,
    /// Whether it gets a pseudo-terminal.
    pub tty: bool,
    /// Whether it gets the caller's standard input.
    pub stdin: bool,
    /// Returns when it runs.
    pub detach: bool,
    /// With every capability and without a filter.
    pub privileged: bool,
}

/// What the kernel gave a start: the configuration that later programs are confined by.
pub(crate) const SPEC_FILE: &str = "config.json";

impl Engine {
    /// Runs a program in a container and returns its exit code; none where it was left running.
    pub fn exec(&self, name: &str, options: &ExecOptions) -> Result<Option<i32>, RunFailure> {
        let record = self.find(name)?;
        let state = self.running_state(&record)?;
        let request = ExecRequest {
            args: options.args.clone(),
            env: options.env.iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))).collect(),
            working_dir: options.working_dir.clone(),
            user: options.user.clone(),
            tty: options.tty,
            terminal_size: if options.tty { terminal_size() } else { (0, 0) },
            privileged: options.privileged,
        };
        let plan = self.exec_plan_of(&record, &request)?;
        let streams = Streams::new(options)?;
        let child = self.spawn(&record, &state, &plan, &streams.theirs)?;
        if options.detach {
            return Ok(None);
        }
        let status = match &child.terminal {
            Some(terminal) => in_terminal(terminal, &child, options.stdin)?,
            None => streams.copy_until_end(&child)?,
        };
        Ok(Some(status))
    }

    /// The plan of a program that enters the container, confined as the container is.
    pub(crate) fn exec_plan_of(&self, record: &ContainerRecord, request: &ExecRequest) -> Result<InitPlan> {
        let path = self.store.container_run_dir(&record.id)?.join(SPEC_FILE);
        let text = std::fs::read(&path).map_err(|error| host_error(format!("can't read {}", path.display()), error))?;
        let spec: Spec = serde_json::from_slice(&text)
            .map_err(|error| host_error(format!("can't read {}", path.display()), error))?;
        let root = RootSource::Folder { path: String::new() };
        let launch = launch(&record.container, &self.image_config(record), &Resolved::default(), root);
        exec_plan(&spec, &launch, request, &host::facts(&Hierarchies::detect()?)?)
    }

    fn running_state(&self, record: &ContainerRecord) -> Result<State> {
        self.state(&record.id)?.filter(State::is_alive).ok_or_else(|| {
            Diagnostic::error(&codes::NOT_RUNNING, format!("{} is not running", record.name))
                .hint(format!("start it with `carrack start {}`", record.name))
                .boxed()
        })
    }

    fn spawn(
        &self,
        record: &ContainerRecord,
        state: &State,
        plan: &InitPlan,
        stdio: &[OwnedFd; 3],
    ) -> Result<Child, RunFailure> {
        let container = Pid::from_raw(state.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
        let container = match container {
            // Held now: the number can't have changed hands if the start time is still the same.
            Some(Ok(fd)) if state.is_alive() => fd,
            _ => {
                return Err(RunFailure::from(
                    self.running_state(record)
                        .err()
                        .unwrap_or_else(|| host_error(format!("can't enter {}", record.name), "it has just ended")),
                ));
            }
        };
        let cgroup = Cgroup::open(&Hierarchies::detect()?, &self.cgroup_parent(), &record.id)?;
        let request = SpawnRequest {
            plan,
            stdio: [stdio[0].as_fd(), stdio[1].as_fd(), stdio[2].as_fd()],
            network_namespace: None,
            container: Some(container.as_fd()),
            cgroup: Some(&cgroup),
        };
        init::spawn(&request).map_err(|failure| {
            let message = format!("the program could not be run in {}", record.name);
            RunFailure {
                diagnostic: Diagnostic::error(&codes::START_FAILED, message).cause(failure.to_string()).boxed(),
                exit_code: u8::try_from(failure.exit_status()).ok(),
            }
        })
    }
}

/// Columns and rows of the caller's terminal.
fn terminal_size() -> (u16, u16) {
    tcgetwinsize(std::io::stdout()).map_or((0, 0), |size| (size.ws_col, size.ws_row))
}

/// Pipes between the caller and the program. Never the caller's own descriptors: with a terminal or a file of the host,
/// the program could do more than read and write.
struct Streams {
    theirs: [OwnedFd; 3],
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Streams {
    fn new(options: &ExecOptions) -> Result<Self> {
        let failed = |error: rustix::io::Errno| host_error("can't make pipes for the program", error);
        let null = || {
            let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
            file.map(OwnedFd::from).map_err(|error| host_error("can't open /dev/null", error))
        };
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(failed);
        if options.tty || options.detach {
            return Ok(Self { theirs: [null()?, null()?, null()?], stdin: None, stdout: None, stderr: None });
        }
        let (stdin_theirs, stdin) = if options.stdin {
            let (read, write) = pipe()?;
            (read, Some(write))
        } else {
            (null()?, None)
        };
        let (stdout, stdout_theirs) = pipe()?;
        let (stderr, stderr_theirs) = pipe()?;
        let theirs = [stdin_theirs, stdout_theirs, stderr_theirs];
        Ok(Self { theirs, stdin, stdout: Some(stdout), stderr: Some(stderr) })
    }

    /// Copies until the program has ended and everything it wrote is handed on.
    fn copy_until_end(self, child: &Child) -> Result<i32> {
        drop(self.theirs);
        if let Some(stdin) = self.stdin {
            // Not waited for: nobody can take back a read of the caller's terminal.
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut std::io::stdin().lock(), &mut File::from(stdin));
            });
        }
        std::thread::scope(|scope| {
            for (from, to) in [(self.stdout, 1), (self.stderr, 2)] {
                let Some(from) = from else { continue };
                scope.spawn(move || copy(File::from(from), to));
            }
        });
        status_of(child)
    }
}

/// To standard output or standard error, as it comes.
fn copy(mut from: File, to: i32) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { return };
        let written = if to == 1 {
            let mut stdout = std::io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        } else {
            std::io::stderr().lock().write_all(bytes)
        };
        if written.is_err() {
            return;
        }
    }
}

fn status_of(child: &Child) -> Result<i32> {
    loop {
        match waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                let signalled = status.terminating_signal().map(|signal| 128 + signal);
                return Ok(status.exit_status().or(signalled).unwrap_or(0));
            }
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(host_error("can't wait for the program's end", error)),
        }
    }
}

/// Connects the caller's terminal with the program's until the program ends.
fn in_terminal(terminal: &OwnedFd, child: &Child, input: bool) -> Result<i32> {
    let failed = |error: rustix::io::Errno| host_error("can't connect the terminals", error);
    let signals = SignalFd::new(&[Signal::WINCH.as_raw()]).map_err(failed)?;
    let stdin = std::io::stdin();
    let before = (input && isatty(&stdin)).then(|| tcgetattr(&stdin)).transpose().map_err(failed)?;
    if let Some(before) = &before {
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).map_err(failed)?;
    }
    let pumped = pump(terminal, stdin.as_fd(), input, &signals);
    if let Some(before) = &before {
        let _ = tcsetattr(&stdin, OptionalActions::Now, before);
    }
    pumped.map_err(failed)?;
    status_of(child)
}

fn pump(
    terminal: &OwnedFd,
    stdin: BorrowedFd<'_>,
    mut input: bool,
    signals: &SignalFd,
) -> std::result::Result<(), rustix::io::Errno> {
    use rustix::io::Errno;

    let mut buffer = vec![0; 32 << 10];
    loop {
        let mut polled = [
            PollFd::new(terminal, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
            PollFd::from_borrowed_fd(stdin, PollFlags::IN),
        ];
        let polled = if input { &mut polled[..] } else { &mut polled[..2] };
        match poll(polled, None) {
            Err(Errno::INTR) => continue,
            ready => ready?,
        };
        let ready = |index: usize| polled.get(index).is_some_and(|polled| !polled.revents().is_empty());
        if ready(1) {
            while signals.read()?.is_some() {}
            if let Ok(size) = tcgetwinsize(std::io::stdout()) {
                let _ = tcsetwinsize(terminal, size);
            }
        }
        if ready(0) {
            match rustix::io::read(terminal, &mut buffer) {
                // The last descriptor of the other end is closed.
                Ok(0) | Err(Errno::IO) => return Ok(()),
                Ok(length) => {
                    let mut stdout = std::io::stdout().lock();
                    let _ = stdout.write_all(&buffer[..length]).and_then(|()| stdout.flush());
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
        if ready(2) {
            match rustix::io::read(stdin, &mut buffer) {
                Ok(0) | Err(Errno::IO) => input = false,
                Ok(length) => {
                    let mut rest = &buffer[..length];
                    while !rest.is_empty() {
                        match rustix::io::write(terminal, rest) {
                            Ok(written) => rest = &rest[written..],
                            Err(Errno::INTR) => {}
                            Err(_) => break,
                        }
                    }
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
