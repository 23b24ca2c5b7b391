//! Probes of carrack's own: made from inside the container's namespaces, with no program of it.
//!
//! What answers is not trusted: the process that listens to it has no more rights than a shim's worker.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime};

use carrack_oci::probe::{Probe, Target};
use carrack_sys::process::{self, SingleThreaded, namespace};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::CapabilitySet;

use super::{Outcome, failed, go_duration, http, http2};
use crate::shim::worker::{become_nobody, confine};

/// Why a probe has found nothing good.
#[derive(Debug)]
pub(super) enum Failure {
    TimedOut,
    Said(String),
}

impl Failure {
    /// Of a step, named as what was done.
    pub(super) fn at(step: impl std::fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Self::TimedOut,
            io::ErrorKind::UnexpectedEof => Self::Said(format!("{step}: the connection ended")),
            _ => Self::Said(format!("{step}: {error}")),
        }
    }
}

/// A connection whose every wait ends at one instant.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    deadline: Instant,
}

impl Connection {
    /// To the first address that answers; the error is the first one's.
    pub(super) fn open(target: &Target, deadline: Instant) -> Result<Self, Failure> {
        let mut failure = None;
        for address in target.addresses() {
            let address = SocketAddr::new(address, target.port);
            let connected = left(deadline).and_then(|left| TcpStream::connect_timeout(&address, left));
            match connected {
                Ok(stream) => return Ok(Self { stream, deadline }),
                Err(error) => failure = failure.or(Some(Failure::at(format!("connecting to {address}"))(error))),
            }
        }
        Err(failure.unwrap_or(Failure::TimedOut))
    }
}

fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// Looks, from inside of the container.
pub(super) fn run(probe: &Probe, container: OwnedFd, parent: Pid, timeout_ns: u64) -> Result<Outcome, String> {
    let deadline = Instant::now() + Duration::from_nanos(timeout_ns);
    let at = |attempt: &'static str| move |errno: Errno| format!("{attempt}: {errno}");
    let proof = SingleThreaded::check().ok_or("the probe's process has threads")?;
    let kind = if matches!(probe, Probe::File { .. }) { namespace::MOUNT } else { namespace::NETWORK };
    process::set_namespaces(&proof, &container, kind).map_err(at("enter the container"))?;
    drop(container);
    let given_up = match probe {
        // Whether a file is there is root's to see; nothing of it is read.
        Probe::File { .. } => become_nobody(CapabilitySet::DAC_READ_SEARCH),
        _ => confine(parent),
    };
    given_up.map_err(at("give up root"))?;
    Ok(match ask(probe, deadline) {
        Ok(output) => Outcome { exit_code: 0, output },
        Err(Failure::Said(output)) => Outcome { exit_code: 1, output },
        Err(Failure::TimedOut) => failed(format!("Health check exceeded timeout ({})", go_duration(timeout_ns))),
    })
}

fn ask(probe: &Probe, deadline: Instant) -> Result<String, Failure> {
    match probe {
        Probe::Http(request) => http::ask(request, deadline),
        Probe::Tcp(target) => {
            let connection = Connection::open(target, deadline)?;
            let peer = connection.stream.peer_addr().map_err(Failure::at("connecting"))?;
            Ok(format!("connected to {peer}"))
        }
        Probe::Grpc { target, service } => http2::ask(target, service, deadline),
        Probe::File { path, max_age_ns } => look_at(path, *max_age_ns),
    }
}

/// No link of /proc leads out of the container.
fn look_at(path: &str, max_age_ns: Option<u64>) -> Result<String, Failure> {
    let said = |what: String| Failure::Said(format!("{path}: {what}"));
    let status = rustix::fs::openat2(
        rustix::fs::CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )
    .and_then(rustix::fs::fstat)
    .map_err(|errno| said(errno.to_string()))?;
    let Some(max_age_ns) = max_age_ns else { return Ok(format!("{path} exists")) };
    let written = u64::try_from(status.st_mtime).unwrap_or(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let age = Duration::from_secs(now.saturating_sub(written));
    let found = format!("written {} ago", go_duration(age.as_nanos() as u64));
    if age <= Duration::from_nanos(max_age_ns) {
        return Ok(format!("{path}: {found}"));
    }
    Err(said(format!("{found}, which is more than {}", go_duration(max_age_ns))))
}
