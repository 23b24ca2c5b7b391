//! The engine's side of a shim's birth.

use std::fs::OpenOptions;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use carrack_specgen::InitPlan;
use carrack_sys::process;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use rustix::process::{WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};

use super::{BoundPort, DnsPorts, ShimConfig, StartError};
use crate::cgroup::Cgroup;
use crate::init::own_binary;
use crate::state::State;

/// How long a shim may take for one step; its init plan has a bound of its own below this.
const STEP_TIMEOUT: Duration = Duration::from_secs(90);
/// What the shim logs about itself, in the container's folder on the run root.
const OWN_LOG: &str = "shim.log";

/// What a shim is made of.
#[derive(Debug)]
pub struct ShimRequest<'a> {
    /// What it has to know.
    pub config: &'a ShimConfig,
    /// What the container's process does until its program runs; kept for restarts.
    pub plan: &'a InitPlan,
    /// The container's network namespace, which the shim keeps alive; none where the plan makes or needs none.
    pub network_namespace: Option<BorrowedFd<'a>>,
}

/// A shim that is being born while its caller finds out what for. Dropped, it ends.
#[derive(Debug)]
pub struct Seed {
    control: OwnedFd,
    first: First,
    /// Held until the shim is in it, lest somebody removes it.
    _cgroup: Option<Cgroup>,
}

/// The process that makes the shim and ends.
#[derive(Debug)]
struct First(OwnedFd);

impl Drop for First {
    fn drop(&mut self) {
        let _ = rustix::process::waitid(WaitId::PidFd(self.0.as_fd()), WaitIdOptions::EXITED);
    }
}

/// A shim that has bound what it needs and waits for the order to start the program. Dropped, it ends.
#[derive(Debug)]
pub struct Prepared {
    control: OwnedFd,
    shim_pid: i32,
    dns: Option<DnsPorts>,
    ports: Vec<BoundPort>,
}

/// A running container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// Of the shim.
    pub shim_pid: i32,
    /// Of the container's first process.
    pub pid: i32,
}

/// What the shim finds in its sealed memory file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Handover<Config, Plan> {
    pub(super) config: Config,
    pub(super) plan: Plan,
    /// The container that runs already.
    pub(super) adopted: Option<Adopted>,
}

/// What a new shim gets to know of its dead predecessor.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Adopted {
    /// JSON, as postcard does not carry fields that are left out.
    pub(super) state: String,
}

/// What the shim reports on the control socket.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Report {
    Prepared { shim_pid: i32, dns: Option<DnsPorts>, ports: Vec<BoundPort> },
    Started { pid: i32 },
    Failed(StartError),
}

/// Where a shim finds the control socket; `tasks` files of control groups follow, for it to write itself into.
pub(super) const CONTROL_DESCRIPTOR: i32 = 3;
/// Descriptors that processes of a shim are born with, after standard input, output and error.
pub(super) mod descriptor {
    pub(crate) const MEMORY: i32 = 3;
    pub(crate) const CONTROL: i32 = 4;
    pub(crate) const FURTHER: i32 = 5;
}
/// What comes with the descriptors that say what a shim is for.
const HANDOVER: &[u8] = b"handover";
/// How many those are at most.
const HANDED_MAX: usize = 3;

impl Seed {
    /// Begins the birth of a shim in a control group of its own, never the container's; none leaves it in the caller's.
    pub fn sow(cgroup: Option<Cgroup>) -> Result<Self, StartError> {
        let at = |attempt: &'static str| move |errno: Errno| StartError::shim(attempt, errno);
        let binary = own_binary().map_err(at("open our own binary"))?;
        let (control, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(at("make the control socket"))?;
        let null = null().map_err(at("open /dev/null"))?;
        let mut descriptors = vec![null.as_fd(), null.as_fd(), null.as_fd(), theirs.as_fd()];
        descriptors.extend(cgroup.iter().flat_map(Cgroup::joined_by_writing));
        let first = process::spawn(&process::Spawn {
            program: binary,
            argv0: super::server::ARGV0_C,
            environment: &[],
            namespaces: 0,
            cgroup: cgroup.as_ref().and_then(Cgroup::born_into),
            descriptors: &descriptors,
            failure: theirs.as_fd(),
            awaited: false,
        })
        .map_err(at("clone the shim"))?;
        Ok(Self { control, first: First(first.pidfd), _cgroup: cgroup })
    }

    /// Makes it the shim of a container that does not run, with everything bound and nothing started.
    pub fn prepare(self, request: &ShimRequest<'_>) -> Result<Prepared, StartError> {
        self.grow(request, None)
    }

    /// Makes it the shim of a container whose own was killed; `state` is what that one wrote last.
    ///
    /// The container goes on whatever comes of it. With a terminal it can't: the terminal died with the shim.
    pub fn adopt(self, request: &ShimRequest<'_>, state: &State) -> Result<Started, StartError> {
        let state = serde_json::to_string(state).map_err(|error| StartError::shim("encode the state", error))?;
        self.grow(request, Some(Adopted { state }))?.go()
    }

    fn grow(self, request: &ShimRequest<'_>, adopted: Option<Adopted>) -> Result<Prepared, StartError> {
        let at = |attempt: &'static str| move |errno: Errno| StartError::shim(attempt, errno);
        let memory = seal(&Handover { config: request.config, plan: request.plan, adopted })
            .map_err(at("seal the configuration"))?;
        let path = request.config.folder.join(OWN_LOG);
        let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path);
        let log = log.map_err(|error| StartError::shim(format!("open {}", path.display()), error))?;
        let mut handed = vec![memory.as_fd(), log.as_fd()];
        handed.extend(request.network_namespace);
        let handed = hand_over(&self.control, &handed);
        let report = receive(&self.control);
        drop(self.first);
        match report? {
            Report::Prepared { shim_pid, dns, ports } => Ok(Prepared { control: self.control, shim_pid, dns, ports }),
            Report::Failed(error) => Err(error),
            Report::Started { .. } => Err(StartError::shim("await the shim", handed.err().unwrap_or(Errno::BADMSG))),
        }
    }
}

fn hand_over(control: &OwnedFd, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::NOBUFS);
    }
    rustix::net::sendmsg(control, &[IoSlice::new(HANDOVER)], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// What the shim was told to become: the sealed configuration, its log, and the network namespace if it has one. None
/// where the engine has given it up.
pub(super) fn handed_over(control: &OwnedFd) -> Result<Option<(OwnedFd, OwnedFd, Option<OwnedFd>)>, Errno> {
    let mut bytes = [0u8; HANDOVER.len()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HANDED_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let parts = &mut [IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(control, parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut handed = ancillary.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
        _ => Vec::new(),
    });
    match (handed.next(), handed.next()) {
        (Some(memory), Some(log)) => Ok(Some((memory, log, handed.next()))),
        _ => Err(Errno::BADMSG),
    }
}

impl Prepared {
    /// Where the shim answers DNS inside the container's network namespace.
    pub fn dns(&self) -> Option<DnsPorts> {
        self.dns
    }

    /// What it has bound on the host.
    pub fn ports(&self) -> &[BoundPort] {
        &self.ports
    }

    /// Of the shim.
    pub fn shim_pid(&self) -> i32 {
        self.shim_pid
    }

    /// Starts the program and returns when it runs, or can't; then the shim is gone too.
    pub fn go(self) -> Result<Started, StartError> {
        rustix::net::send(&self.control, b"go", SendFlags::NOSIGNAL)
            .map_err(|errno| StartError::shim("order the start", errno))?;
        match receive(&self.control)? {
            Report::Started { pid } => Ok(Started { shim_pid: self.shim_pid, pid }),
            Report::Failed(error) => Err(error),
            Report::Prepared { .. } => Err(StartError::shim("await the start", Errno::BADMSG)),
        }
    }
}

/// Memory that nobody can change any more, with a value in postcard.
pub(super) fn seal(value: &impl Serialize) -> Result<OwnedFd, Errno> {
    let bytes = postcard::to_stdvec(value).map_err(|_| Errno::INVAL)?;
    let memory = rustix::fs::memfd_create("carrack-shim", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        let written = rustix::io::write(&memory, rest)?;
        rest = rest.get(written..).unwrap_or_default();
    }
    rustix::fs::fcntl_add_seals(&memory, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    Ok(memory)
}

/// What [`seal`] has sealed.
pub(super) fn unseal<T: serde::de::DeserializeOwned>(memory: &OwnedFd) -> Result<T, Errno> {
    let size = rustix::fs::fstat(memory)?.st_size as usize;
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(memory, rest, filled as u64)? {
            0 => return Err(Errno::BADMSG),
            read => filled += read,
        }
    }
    postcard::from_bytes(&bytes).map_err(|_| Errno::BADMSG)
}

/// /dev/null for reading and writing.
pub(super) fn null() -> Result<OwnedFd, Errno> {
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())
}

/// Before each message, so that none is as short as the errno of a process that could not be executed.
const PREFIX: &[u8] = b"report: ";

/// One value as one message.
pub(super) fn send(channel: &OwnedFd, value: &impl Serialize) -> Result<(), Errno> {
    let bytes = postcard::to_stdvec(value).map_err(|_| Errno::INVAL)?;
    let parts = [IoSlice::new(PREFIX), IoSlice::new(&bytes)];
    rustix::net::sendmsg(channel, &parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL).map(drop)
}

/// What came on a channel that a process of ours has the other end of.
pub(super) enum Received<T> {
    Value(T),
    /// It could not be executed.
    NotExecuted(Errno),
    Nothing,
}

pub(super) fn received<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<Received<T>, Errno> {
    match bytes {
        [] => Ok(Received::Nothing),
        [a, b, c, d] => Ok(Received::NotExecuted(Errno::from_raw_os_error(i32::from_ne_bytes([*a, *b, *c, *d])))),
        bytes => {
            let value = bytes.strip_prefix(PREFIX).ok_or(Errno::BADMSG)?;
            postcard::from_bytes(value).map(Received::Value).map_err(|_| Errno::BADMSG)
        }
    }
}

fn receive(control: &OwnedFd) -> Result<Report, StartError> {
    let deadline = Instant::now() + STEP_TIMEOUT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut [PollFd::new(control, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(StartError::shim("await the shim", Errno::TIMEDOUT)),
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(StartError::shim("await the shim", errno)),
        }
    }
    let mut bytes = vec![0; 128 << 10];
    let length = match rustix::net::recv(control, &mut bytes, RecvFlags::empty()) {
        Ok((length, _)) => length,
        Err(Errno::CONNRESET) => 0,
        Err(errno) => return Err(StartError::shim("hear from the shim", errno)),
    };
    match received(bytes.get(..length).unwrap_or_default()) {
        Ok(Received::Value(report)) => Ok(report),
        Ok(Received::NotExecuted(errno)) => Err(StartError::shim("execute our own binary", errno)),
        Ok(Received::Nothing) => Err(StartError::Shim { attempt: "await the shim, which died".into(), errno: 0 }),
        Err(errno) => Err(StartError::shim("understand the shim", errno)),
    }
}
