use std::os::fd::AsFd;
use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_runtime::foreground::terminal_size;
use carrack_runtime::shim::{self, AttachEnd, Attached, Client, DetachKeys};
use carrack_runtime::state::Status;

use super::ContainerRecord;
use super::stop::not_running;
use crate::codes;
use crate::engine::Engine;

/// How a client is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachOptions {
    /// Sends standard input.
    pub stdin: bool,
    /// Gets standard output; with a terminal, all output.
    pub stdout: bool,
    /// Gets standard error.
    pub stderr: bool,
    /// Docker's notation; none is ctrl-p,ctrl-q.
    pub detach_keys: Option<String>,
    /// Hands the signals of this process on to the program.
    pub signal_proxy: bool,
    /// Never dropped for being slow: the container runs in the foreground.
    pub foreground: bool,
}

/// Output, as it comes.
impl Default for AttachOptions {
    fn default() -> Self {
        Self { stdin: false, stdout: true, stderr: true, detach_keys: None, signal_proxy: false, foreground: false }
    }
}

/// How an attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachOutcome {
    /// With the program and its exit code.
    Exited(i32),
    /// By the keys for it.
    Detached,
}

/// A connection that misses nothing from its opening on.
pub(crate) struct Session {
    attached: Attached,
    keys: DetachKeys,
}

impl Session {
    /// `puts_away`: the caller promises [`Engine::put_away`].
    pub(crate) fn open(run: &Path, options: &AttachOptions, puts_away: bool) -> Result<Self> {
        let keys = keys(options.detach_keys.as_deref())?;
        let size = terminal_size();
        let options = shim::AttachOptions {
            stdin: options.stdin,
            stdout: options.stdout,
            stderr: options.stderr,
            foreground: options.foreground,
            sig_proxy: options.signal_proxy,
            terminal_size: (size != (0, 0)).then_some(size),
            puts_away,
        };
        Ok(Self { attached: Client::connect(run)?.attach(options)?, keys })
    }

    /// Connects the caller's streams with the program's until one side ends it.
    fn stay(self) -> Result<AttachOutcome> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        match self.attached.run([stdin.as_fd(), stdout.as_fd(), stderr.as_fd()], &self.keys)? {
            AttachEnd::Exited(Some(code)) => Ok(AttachOutcome::Exited(code)),
            AttachEnd::Detached => Ok(AttachOutcome::Detached),
            AttachEnd::Exited(None) | AttachEnd::Lost => {
                Err(Diagnostic::error(&codes::CONNECTION_LOST, "the connection to the container was lost")
                    .cause("its shim ended without saying how the program did")
                    .hint("`carrack ps -a` shows what became of it")
                    .boxed())
            }
        }
    }
}

/// Docker's notation; none is ctrl-p,ctrl-q.
pub(crate) fn keys(text: Option<&str>) -> Result<DetachKeys> {
    let Some(text) = text else { return Ok(DetachKeys::default()) };
    DetachKeys::parse(text).ok_or_else(|| {
        Diagnostic::error(&codes::INVALID_KEYS, format!("`{text}` are no keys"))
            .hint("write them as in ctrl-p,ctrl-q")
            .boxed()
    })
}

impl Engine {
    /// Attaches to a running container.
    pub fn attach(&self, name: &str, options: &AttachOptions) -> Result<AttachOutcome> {
        let record = self.find(name)?;
        keys(options.detach_keys.as_deref())?;
        self.refuse_paused(&record, "be attached to")?;
        match self.status_of(&record)? {
            Status::Running | Status::Paused => {}
            Status::Restarting => {
                return Err(Diagnostic::error(&codes::NOT_RUNNING, format!("{} is between two runs", record.name))
                    .hint("wait until it runs again: `carrack ps` shows it")
                    .boxed());
            }
            Status::Created | Status::Exited | Status::Lost => return Err(not_running(&record)),
        }
        let session = Session::open(&self.store.container_run_dir(&record.id)?, options, false)?;
        self.emit(&record, "attach", &[]);
        self.stay(&record, session)
    }

    pub(crate) fn stay(&self, record: &ContainerRecord, session: Session) -> Result<AttachOutcome> {
        let outcome = session.stay()?;
        if outcome == AttachOutcome::Detached {
            self.emit(record, "detach", &[]);
        }
        Ok(outcome)
    }
}
