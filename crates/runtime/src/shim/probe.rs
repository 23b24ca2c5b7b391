//! One run of the health check, in a process of its own: entering a container may block, and the shim must not.

mod hpack;
mod http;
mod http2;
mod own;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use carrack_sys::process::{self, Process};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;
use rustix::process::{Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use super::start::{Received, descriptor, null, received, seal, send, unseal};
use super::worker::keep_ending;
use super::{CgroupName, HealthProbe};
use crate::cgroup::{Cgroup, Hierarchies};
use crate::init::{self, SpawnRequest, own_binary};

/// Argument zero of a process that is to run a probe.
pub(crate) const ARGV0: &str = "carrack-probe";

/// A target of `fuzz/`: a block of headers takes no more room than Huffman's shortest codes give it.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz_hpack(data: &[u8]) {
    if let Some(fields) = hpack::decode(data) {
        let length: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        assert!(length <= data.len() * 8 / 5 + 10 * fields.len() && fields.len() <= data.len());
    }
}

/// A target of `fuzz/`: an answer of HTTP/1.1.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz_http(data: &[u8]) {
    http::fuzz(data);
}

/// A target of `fuzz/`: an answer of HTTP/2.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz_http2(data: &[u8]) {
    http2::fuzz(data);
}

/// What is kept of a probe's output, in bytes; Docker's bound.
const OUTPUT_MAX: usize = 4096;

#[derive(Debug, Serialize, Deserialize)]
struct Handover<Probe, Group> {
    probe: Probe,
    timeout_ns: u64,
    cgroup: Group,
}

/// What a probe has found.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// −1 where it was not run or took too long.
    pub(super) exit_code: i32,
    pub(super) output: String,
}

/// A probe that runs.
#[derive(Debug)]
pub(super) struct Running {
    process: Process,
    /// Readable when there is an outcome.
    pub(super) channel: OwnedFd,
    pub(super) began_ns: u64,
    pub(super) began_wall_ns: u64,
}

/// What to run where.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) probe: &'a HealthProbe,
    pub(super) timeout_ns: u64,
    pub(super) container: BorrowedFd<'a>,
    pub(super) cgroup: Option<&'a CgroupName>,
}

/// Starts one.
pub(super) fn spawn(request: &Request<'_>, began_ns: u64, began_wall_ns: u64) -> Result<Running, Errno> {
    let memory = seal(&Handover { probe: request.probe, timeout_ns: request.timeout_ns, cgroup: request.cgroup })?;
    let (channel, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    let null = null()?;
    let process = process::spawn(&process::Spawn {
        program: own_binary()?,
        argv0: c"carrack-probe",
        environment: &[],
        namespaces: 0,
        cgroup: None,
        descriptors: &[
            null.as_fd(),
            null.as_fd(),
            rustix::stdio::stderr(),
            memory.as_fd(),
            theirs.as_fd(),
            request.container,
        ],
        failure: theirs.as_fd(),
        awaited: false,
    })?;
    Ok(Running { process, channel, began_ns, began_wall_ns })
}

impl Running {
    /// The outcome, where there is one by now.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let mut bytes = [0; 4 * OUTPUT_MAX];
        let length = match rustix::net::recv(&self.channel, &mut bytes, RecvFlags::DONTWAIT) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(_) => 0,
        };
        Some(match received(bytes.get(..length).unwrap_or_default()) {
            Ok(Received::Value(outcome)) => outcome,
            Ok(Received::NotExecuted(errno)) | Err(errno) => failed(format!("the probe's process: {errno}")),
            Ok(Received::Nothing) => failed("the probe's process died".into()),
        })
    }

    /// Ends it, whether there was an outcome or not; a program that still runs inside ends with its container.
    pub(super) fn kill(self) {
        let _ = rustix::process::pidfd_send_signal(&self.process.pidfd, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(self.process.pidfd.as_fd()), WaitIdOptions::EXITED);
    }
}

fn failed(output: String) -> Outcome {
    Outcome { exit_code: -1, output }
}

/// The new process's part.
pub(crate) fn main() -> ! {
    if let Ok(channel) = process::take_inherited(descriptor::CONTROL) {
        let outcome = run().unwrap_or_else(failed);
        let _ = send(&channel, &outcome);
    }
    process::exit_immediately(0);
}

fn run() -> Result<Outcome, String> {
    let at = |attempt: &'static str| move |errno: Errno| format!("{attempt}: {errno}");
    let memory = process::take_inherited(descriptor::MEMORY).map_err(at("find the plan"))?;
    let handover: Handover<HealthProbe, Option<CgroupName>> = unseal(&memory).map_err(at("read the plan"))?;
    let container = process::take_inherited(descriptor::FURTHER).map_err(at("find the container"))?;
    drop(memory);
    let parent = rustix::process::getppid().ok_or("the shim is gone")?;
    let plan = match &handover.probe {
        HealthProbe::Program(plan) => plan,
        HealthProbe::Own(probe) => return own::run(probe, container, parent, handover.timeout_ns),
    };
    let cgroup = handover.cgroup.as_ref().map(open_cgroup).transpose().map_err(|diagnostic| diagnostic.to_string())?;
    // A group of its own within the container's, so that a probe can be ended with all that it has started.
    let group = match &cgroup {
        Some(cgroup) => cgroup.below("probe").map_err(|diagnostic| diagnostic.to_string())?,
        None => None,
    };
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(at("make a pipe"))?;
    let null = null().map_err(at("open /dev/null"))?;

    let child = init::spawn(&SpawnRequest {
        plan,
        stdio: [null.as_fd(), write.as_fd(), write.as_fd()],
        network_namespace: None,
        container: Some(container.as_fd()),
        cgroup: group.as_ref().or(cgroup.as_ref()),
    });
    let outcome = child.map_err(|failure| failure.to_string()).and_then(|child| {
        drop(write);
        if let Err(errno) = keep_ending(parent) {
            let _ = child.signal(Signal::KILL.as_raw());
            return Err(at("give up root")(errno));
        }
        Ok(follow(&child, &read, group.as_ref(), handover.timeout_ns))
    });
    // What a probe that ended in time has left behind goes on.
    if let Some(group) = group {
        group.remove_where_empty();
    }
    outcome
}

/// The container's control groups by name.
pub(super) fn open_cgroup(name: &CgroupName) -> carrack_diag::Result<Cgroup> {
    Cgroup::open(&Hierarchies::detect()?, &name.parent, &name.id)
}

/// Collects output until the program ends; what it left behind may keep the pipe.
fn follow(child: &init::Child, output: &OwnedFd, group: Option<&Cgroup>, timeout_ns: u64) -> Outcome {
    let deadline = Instant::now().checked_add(Duration::from_nanos(timeout_ns));
    let mut kept = Vec::new();
    let mut truncated = false;
    let mut open = true;
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        let mut polled = [PollFd::new(&child.pidfd, PollFlags::IN), PollFd::new(output, PollFlags::IN)];
        let polled = if open { &mut polled[..] } else { &mut polled[..1] };
        let ready = match rustix::event::poll(polled, timeout.as_ref()) {
            Err(Errno::INTR) => continue,
            ready => ready.unwrap_or(0),
        };
        let has = |index: usize| polled.get(index).is_some_and(|polled| !polled.revents().is_empty());
        // Output that never ends must not keep the time from running out.
        if has(1) && left.is_none_or(|left| !left.is_zero()) {
            open = collect(output, &mut kept, &mut truncated);
            continue;
        }
        let mut text = String::from_utf8_lossy(&kept).into_owned();
        if truncated {
            text.push_str("...");
        }
        if ready > 0 {
            return Outcome { exit_code: child.wait().unwrap_or(-1), output: text };
        }
        let _ = child.signal(Signal::KILL.as_raw());
        let _ = group.map(Cgroup::kill);
        let _ = child.wait();
        let separator = if text.is_empty() { "" } else { ": " };
        let limit = go_duration(timeout_ns);
        return failed(format!("Health check exceeded timeout ({limit}){separator}{text}"));
    }
}

/// Reads once; says whether there may be more.
fn collect(output: &OwnedFd, kept: &mut Vec<u8>, truncated: &mut bool) -> bool {
    let mut buffer = [0; OUTPUT_MAX];
    let Ok(length @ 1..) = rustix::io::read(output, &mut buffer) else { return false };
    let room = OUTPUT_MAX - kept.len();
    *truncated |= length > room;
    kept.extend(buffer.iter().take(length.min(room)));
    true
}

/// `1m30s`, `1.5s`, `200ms`: a duration as Docker's messages have it.
fn go_duration(ns: u64) -> String {
    if ns < 1_000_000_000 {
        return format!("{}ms", ns as f64 / 1e6);
    }
    let seconds = (ns % 60_000_000_000) as f64 / 1e9;
    match (ns / 3_600_000_000_000, ns / 60_000_000_000 % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn durations_read_as_in_go() {
        let texts = [30, 90, 3600].map(|seconds| super::go_duration(seconds * 1_000_000_000));
        assert_eq!(texts, ["30s", "1m30s", "1h0m0s"]);
        assert_eq!([super::go_duration(1_500_000_000), super::go_duration(200_000_000)], ["1.5s", "200ms"]);
    }
}
