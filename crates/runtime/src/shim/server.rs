//! The shim itself: one loop over everything that can happen to its container.

mod orders;
mod program;
mod reading;

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, Instant};

use carrack_specgen::InitPlan;
use carrack_sys::nftables;
use carrack_sys::process::{self, Fork, Process, SingleThreaded};
use carrack_sys::signal::SignalFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType};
use rustix::process::{Signal, WaitId, WaitIdOptions};
use rustix::time::{ClockId, clock_gettime};

use super::clients::Clients;
use super::event_process::{self, Kind};
use super::health::Monitor;
use super::log::NamedFiles;
use super::network::Network;
use super::packing::Packing;
use super::poll::{Interest, Poll, Token, Watch};
use super::probe;
use super::protocol::SOCKET;
use super::sockets::Sockets;
use super::start::{CONTROL_DESCRIPTOR, Handover, Report, handed_over, send, unseal};
use super::stdio::{Stream, Streams};
use super::worker::Worker;
use super::{ShimConfig, StartError};
use crate::state::{State, Status, boot_id, start_ticks_of};
use program::Program;

/// Argument zero of a process that is to be a shim.
pub(crate) const ARGV0: &str = "carrack-shim";
pub(super) const ARGV0_C: &std::ffi::CStr = c"carrack-shim";

/// How much is read at once from a stream or a client, in bytes; it must fit into one frame.
pub(super) const READ_SIZE: usize = 32 << 10;
/// How long an event's process may run before the shim no longer waits for it.
const EVENT_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a shim that has made a process goes on with all that it touched for it.
const RELEASE_DELAY: Duration = Duration::from_secs(1);
/// What the names of our own tables of the packet filter begin with.
const OWN_TABLES: &str = "carrack";
/// How long a change of the packet filter goes on: whoever changes it makes many changes at once.
const FILTER_DELAY: Duration = Duration::from_millis(100);
/// How long a client that promised to put the container away may take to begin.
const PUT_AWAY_PATIENCE: Duration = Duration::from_secs(2);
/// How long an ending shim waits for clients to take the rest.
const FAREWELL: Duration = Duration::from_secs(10);

/// Becomes a shim.
pub(crate) fn main() -> ! {
    let status = match birth() {
        Ok(()) => 0,
        Err(errno) => {
            complain(&format!("shim: {errno}"));
            1
        }
    };
    process::exit_immediately(status);
}

/// To the shim's own log.
pub(super) fn complain(text: &str) {
    let _ = rustix::io::write(rustix::stdio::stderr(), format!("{text}\n").as_bytes());
}

fn birth() -> Result<(), Errno> {
    let proof = SingleThreaded::check().ok_or(Errno::BUSY)?;
    let control = process::take_inherited(CONTROL_DESCRIPTOR)?;
    for tasks in (CONTROL_DESCRIPTOR + 1..).map_while(|number| process::take_inherited(number).ok()) {
        rustix::io::write(tasks, b"0")?;
    }
    // The starter reaps the first process at once; nobody has to reap this one.
    if let Fork::Parent(_) = process::fork(&proof, false)? {
        process::exit_immediately(0);
    }
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    // Docker's containers are born with it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));

    let Some((memory, log, network)) = handed_over(&control)? else { return Ok(()) };
    rustix::stdio::dup2_stderr(log)?;
    let handover: Handover<ShimConfig, InitPlan> = unseal(&memory)?;
    drop(memory);
    let folder = handover.config.folder.clone();
    let adopts = handover.adopted.is_some();
    match Shim::new(handover, network, proof) {
        Ok(mut shim) => {
            let pid = rustix::process::getpid().as_raw_pid();
            let ports = shim.state.ports.clone();
            send(&control, &Report::Prepared { shim_pid: pid, dns: shim.state.dns, ports })?;
            shim.poll.watch_input(&control, Token::Control)?;
            shim.control = Some(control);
            let result = shim.run();
            shim.clean_up();
            result
        }
        Err(error) => {
            let streams = [Stream::Stdout.name(), Stream::Stderr.name()];
            // The streams of a container that runs are not ours to take away.
            for name in [SOCKET].iter().chain(streams.iter().filter(|_| !adopts)) {
                let _ = std::fs::remove_file(folder.join(name));
            }
            send(&control, &Report::Failed(error))
        }
    }
}

struct Shim {
    config: ShimConfig,
    plan: InitPlan,
    network: Option<Network>,
    proof: Rc<SingleThreaded>,
    poll: Poll,
    signals: SignalFd,
    socket: OwnedFd,
    socket_watch: Watch,
    /// Until the first start has gone well or not.
    control: Option<OwnedFd>,
    state: State,
    log: NamedFiles,
    packing: Option<Packing>,
    streams: Streams,
    clients: Clients,
    program: Option<Program>,
    monitor: Option<Monitor>,
    next_probe: Option<Instant>,
    probe: Option<probe::Running>,
    sockets: Sockets,
    worker: Option<Worker>,
    rest: reading::Rest,
    /// How many bytes of output no worker has heard of.
    lost_bytes: u64,
    /// There while ports are published: what the kernel may forward depends on the host's packet filter.
    filter: Option<nftables::Watch>,
    /// When the engine is told that it changed.
    filter_changed: Option<Instant>,
    events: VecDeque<Kind>,
    event: Option<(Process, Instant)>,
    restart_at: Option<Instant>,
    /// When the end is reported, should the client that promised to put the container away not have done so.
    report_at: Option<Instant>,
    /// When what births of processes have touched of the program's code is given back.
    release_at: Option<Instant>,
    /// Whether it stays without anything to wait for.
    keep: bool,
    ending: Option<Instant>,
    buffer: Vec<u8>,
}

impl Shim {
    fn new(
        handover: Handover<ShimConfig, InitPlan>,
        network: Option<OwnedFd>,
        proof: SingleThreaded,
    ) -> Result<Self, StartError> {
        let at = |attempt: &'static str| move |errno: Errno| StartError::shim(attempt, errno);
        let Handover { config, plan, adopted } = handover;
        let signals = SignalFd::new(&IGNORED).map_err(at("block signals"))?;
        let poll = Poll::new().map_err(at("make the event loop"))?;
        poll.watch_input(&signals, Token::Signals).map_err(at("watch signals"))?;

        let former = match adopted {
            Some(adopted) => Some(
                serde_json::from_str::<State>(&adopted.state)
                    .map_err(|error| StartError::shim("read the state", error))?,
            ),
            None => None,
        };
        let network = match (&former, network) {
            (Some(former), None) => program::network_of(former),
            (_, network) => network,
        };
        let proof = Rc::new(proof);
        let network = network
            .map(|fd| Network::new(fd, Rc::clone(&proof)))
            .transpose()
            .map_err(at("hold the network namespace"))?;
        if let Some(former) = &former {
            reading::end_worker_of(former).map_err(at("end the former shim's worker"))?;
        }
        let former_dns = former.as_ref().and_then(|state| state.dns);
        let former_ports = former.as_ref().map_or(&[][..], |state| &state.ports);
        let mut sockets =
            Sockets::bind(config.dns.as_ref(), former_dns, &config.ports, former_ports, network.as_ref())?;
        sockets.watch(&poll, true).map_err(at("watch the ports"))?;
        let filter = watch_filter(&config, &poll).map_err(at("watch the packet filter"))?;
        let streams = Streams::open(&config.folder, config.tty, config.open_stdin).map_err(at("make the streams"))?;
        let socket = listen(&config).map_err(at("listen on shim.sock"))?;
        let pid = rustix::process::getpid().as_raw_pid();
        let mut shim = Self {
            state: State {
                boot_id: boot_id(),
                shim_pid: pid,
                shim_start_ticks: start_ticks_of(pid).unwrap_or(0),
                dns: sockets.dns(),
                ports: sockets.bound(),
                ..former.clone().unwrap_or_default()
            },
            log: NamedFiles::new(&config.log),
            packing: None,
            config,
            plan,
            network,
            proof,
            poll,
            signals,
            socket,
            socket_watch: Watch::new(Token::Socket),
            control: None,
            streams,
            clients: Clients::default(),
            program: None,
            monitor: None,
            next_probe: None,
            probe: None,
            sockets,
            worker: None,
            rest: reading::Rest::default(),
            lost_bytes: 0,
            filter,
            filter_changed: None,
            events: VecDeque::new(),
            event: None,
            restart_at: None,
            report_at: None,
            release_at: None,
            keep: false,
            ending: None,
            buffer: vec![0; READ_SIZE],
        };
        if let Some(former) = former {
            shim.adopt(&former)?;
        }
        Ok(shim)
    }

    fn run(&mut self) -> Result<(), Errno> {
        let mut ready = Vec::with_capacity(64);
        while !self.is_done() {
            self.settle()?;
            let now = Instant::now();
            let releases = self.release_at.take_if(|at| *at <= now).is_some();
            let mut timeout = self.deadline().map(|deadline| deadline.saturating_duration_since(now));
            if releases {
                self.poll.wait_without_code(timeout)?;
                timeout = Some(Duration::ZERO);
            }
            self.poll.wait(timeout, &mut ready)?;
            for (token, interest) in ready.drain(..) {
                self.handle(token, interest)?;
            }
            self.tick(Instant::now());
        }
        Ok(())
    }

    fn handle(&mut self, token: Token, interest: Interest) -> Result<(), Errno> {
        match token {
            // There is nothing to do about any of them while the container runs, and without it the shim ends anyway.
            Token::Signals => while self.signals.read()?.is_some() {},
            Token::Control => self.hear_starter()?,
            Token::Child => self.program_ended(),
            Token::Stdout => drop(self.pump(Stream::Stdout)),
            Token::Stderr => drop(self.pump(Stream::Stderr)),
            Token::Stdin => self.streams.write_stdin(),
            Token::Socket => self.clients.accept(&self.socket),
            Token::Client(number) => self.hear_client(number, interest),
            Token::Event => self.event_ended(),
            Token::Probe => self.probe_ended(),
            Token::Filter => {
                if self.filter.as_ref().is_some_and(|filter| filter.is_changed(OWN_TABLES)) {
                    self.filter_changed.get_or_insert_with(|| Instant::now() + FILTER_DELAY);
                }
            }
            Token::Knock => self.have_worker(),
            Token::Worker => self.worker_ended(),
            Token::Asked => self.hear_worker(),
            Token::Packing => self.finish_packing(),
            Token::Told => {
                if let Some(worker) = &mut self.worker {
                    worker.flush();
                }
            }
            // A worker's.
            Token::DnsUdp
            | Token::DnsTcp
            | Token::DnsClient(_)
            | Token::Upstream(_)
            | Token::TcpListener(_)
            | Token::TcpOutside(_)
            | Token::TcpInside(_)
            | Token::UdpListener(_)
            | Token::UdpSession(_) => {}
        }
        Ok(())
    }

    /// The starter gives its order, or is gone without one.
    fn hear_starter(&mut self) -> Result<(), Errno> {
        let Some(control) = self.control.take() else { return Ok(()) };
        let mut order = [0; 2];
        match rustix::net::recv(&control, &mut order, RecvFlags::DONTWAIT) {
            Ok((2, _)) => {}
            Err(Errno::AGAIN) => {
                self.control = Some(control);
                return Ok(());
            }
            _ if self.program.is_some() => return Ok(()),
            _ => {
                self.ending = Some(Instant::now());
                return Ok(());
            }
        }
        let started = match &self.program {
            Some(program) => Ok(program.pid()),
            None => self.start_program(),
        };
        match started {
            Ok(pid) => send(&control, &Report::Started { pid }),
            Err(error) => {
                self.ending = Some(Instant::now());
                send(&control, &Report::Failed(error))
            }
        }
        // A starter that was killed meanwhile has started a container all the same.
        .or(Ok(()))
    }

    /// Watches what can be used now.
    fn settle(&mut self) -> Result<(), Errno> {
        let now = Instant::now();
        let takes_stdin = self.streams.takes_stdin();
        if self.clients.settle(&self.poll, now, takes_stdin) && self.config.stdin_once {
            self.streams.end_stdin();
        }
        let mut takes_output = self.clients.take_output();
        if let Some(worker) = &mut self.worker {
            worker.watch(&self.poll)?;
            takes_output &= worker.has_room();
        }
        self.streams.watch(&self.poll, takes_output)?;
        let wanted = if self.clients.have_room(now) { Interest::IN } else { Interest::empty() };
        self.poll.set(&self.socket, &mut self.socket_watch, wanted)
    }

    fn deadline(&self) -> Option<Instant> {
        let event = self.event.as_ref().map(|(_, since)| *since + EVENT_TIMEOUT);
        let farewell = self.ending.map(|since| since + FAREWELL);
        [
            event,
            farewell,
            self.restart_at,
            self.report_at,
            self.filter_changed,
            self.release_at,
            self.next_probe,
            self.clients.deadline(Instant::now()),
            self.rest.until(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn tick(&mut self, now: Instant) {
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_at = None;
            self.tell(Kind::RestartDue);
        }
        if self.filter_changed.take_if(|at| *at <= now).is_some() {
            self.tell(Kind::Filter);
        }
        if self.report_at.take_if(|at| *at <= now).is_some() {
            self.tell(Kind::Exited);
        }
        if self.next_probe.is_some_and(|at| at <= now) {
            self.next_probe = None;
            self.start_probe();
        }
        if self.event.as_ref().is_some_and(|(_, since)| *since + EVENT_TIMEOUT <= now) {
            complain("shim: the event command takes too long; it is left to itself");
            self.event = None;
            self.next_event();
        }
        if self.rest.is_over(now) {
            self.rested();
        }
    }

    /// Has the engine told as soon as it is not being told something else.
    fn tell(&mut self, kind: Kind) {
        if !self.events.contains(&kind) {
            self.events.push_back(kind);
        }
        self.next_event();
    }

    fn next_event(&mut self) {
        let Some(command) = &self.config.event_command else {
            self.events.clear();
            return;
        };
        if self.event.is_some() {
            return;
        }
        let Some(kind) = self.events.pop_front() else { return };
        let born = event_process::spawn(command, kind).and_then(|process| {
            self.poll.watch_input(&process.pidfd, Token::Event)?;
            Ok(process)
        });
        match born {
            Ok(process) => self.event = Some((process, Instant::now())),
            Err(errno) => complain(&format!("shim: starting the event command: {errno}")),
        }
    }

    /// A shim sleeps most of its life: 2 MB of code that made a process are not to stay mapped for it.
    fn release_code_soon(&mut self) {
        self.release_at = Some(Instant::now() + RELEASE_DELAY);
    }

    fn event_ended(&mut self) {
        self.release_code_soon();
        if let Some((process, _)) = self.event.take() {
            let _ = rustix::process::waitid(WaitId::PidFd(process.pidfd.as_fd()), WaitIdOptions::EXITED);
        }
        self.next_event();
    }

    /// Whether there is nothing left to wait for.
    fn is_done(&self) -> bool {
        if self.program.is_some() {
            return false;
        }
        let served = self.clients.are_served();
        if let Some(since) = self.ending {
            return served || since.elapsed() > FAREWELL;
        }
        let awaited = self.control.is_some() || self.event.is_some() || !self.events.is_empty();
        let idle = !awaited && self.restart_at.is_none() && self.report_at.is_none() && !self.keep;
        idle && served && self.state.status != Status::Created
    }

    /// Takes away what would promise a shim. The state stays: it says how the container ended. With a container that
    /// runs, this shim has failed: the next one needs everything but the socket.
    fn clean_up(&mut self) {
        // Whoever binds these ports next finds them free.
        if let Some(worker) = self.worker.take() {
            let _ = worker.end();
        }
        let _ = std::fs::remove_file(self.config.folder.join(SOCKET));
        if self.program.is_some() {
            return;
        }
        for stream in [Stream::Stdout, Stream::Stderr] {
            let _ = std::fs::remove_file(self.config.folder.join(stream.name()));
        }
        if self.state.status != Status::Created || !self.state.error.is_empty() {
            // Its number stays: the container's mark bears it.
            self.state.shim_start_ticks = 0;
            self.state.dns = None;
            self.state.ports.clear();
            self.write_state();
        }
    }

    fn write_state(&self) {
        if let Err(error) = self.state.write(&self.config.folder) {
            complain(&format!("shim: writing the state: {error}"));
        }
    }

    fn append_event(&self, action: String, extra: &[(&str, String)]) {
        let mut attributes = self.config.attributes.clone();
        attributes.extend(extra.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let event = crate::event::Event {
            time: String::new(),
            kind: "container".into(),
            action,
            id: self.config.id.clone(),
            attributes,
        };
        if let Err(error) = crate::event::append(&self.config.events, &event) {
            complain(&format!("shim: appending an event: {error}"));
        }
    }
}

fn watch_filter(config: &ShimConfig, poll: &Poll) -> Result<Option<nftables::Watch>, Errno> {
    if config.ports.iter().all(|port| port.host_address.is_loopback()) {
        return Ok(None);
    }
    let watch = match nftables::Watch::open() {
        // A kernel without it, or a user who may not ask: nothing is forwarded by the kernel there.
        Err(Errno::PROTONOSUPPORT | Errno::PERM | Errno::ACCESS) => return Ok(None),
        other => other?,
    };
    poll.watch_input(&watch, Token::Filter)?;
    Ok(Some(watch))
}

/// Signals that a shim neither obeys nor lets its programs inherit.
const IGNORED: [i32; 6] = [
    Signal::HUP.as_raw(),
    Signal::INT.as_raw(),
    Signal::QUIT.as_raw(),
    Signal::TERM.as_raw(),
    Signal::PIPE.as_raw(),
    Signal::CHILD.as_raw(),
];

/// Time since boot in nanoseconds, which processes' start times are measured in too.
fn since_boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A dead shim's socket is in the way. Only the owner may connect.
fn listen(config: &ShimConfig) -> Result<OwnedFd, Errno> {
    let path = config.folder.join(SOCKET);
    let _ = std::fs::remove_file(&path);
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    let folder = rustix::fs::open(
        &config.folder,
        rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )?;
    let address = super::client::socket_address(&folder)?;
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = rustix::net::bind(&socket, &address);
    rustix::process::umask(before);
    bound?;
    rustix::net::listen(&socket, 64)?;
    Ok(socket)
}
