//! Speaking with a shim: orders, and a program's streams in the caller's terminal.

mod keys;
mod terminal;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use carrack_diag::{Diagnostic, Result};
use carrack_sys::signal::{self, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Signal;

use super::StartError;
use super::protocol::{Answer, Frames, Malformed, Order, PAYLOAD_MAX, SOCKET, attach};
use crate::codes;

pub use keys::DetachKeys;
pub(crate) use keys::Detacher;
use terminal::RawTerminal;

/// How long a shim may take to answer an order; a start has a bound of its own below this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(90);

/// A connection to the shim of one container.
#[derive(Debug)]
pub struct Client {
    folder: PathBuf,
    socket: OwnedFd,
    frames: Frames,
}

/// What to attach to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttachOptions {
    /// Send input.
    pub stdin: bool,
    /// Get standard output; with a terminal all output.
    pub stdout: bool,
    /// Get standard error.
    pub stderr: bool,
    /// Run the container in the foreground: never dropped for being slow.
    pub foreground: bool,
    /// Send the signals that this process gets on to the program.
    pub sig_proxy: bool,
    /// Columns and rows of this process's terminal: attached before its start, the program's is as large from the first
    /// moment on.
    pub terminal_size: Option<(u16, u16)>,
    /// Promise to put the container away when it has ended.
    pub puts_away: bool,
}

/// A connection that is attached: from now on no output is missed.
#[derive(Debug)]
pub struct Attached {
    client: Client,
    options: AttachOptions,
    tty: bool,
}

/// How an attachment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttachEnd {
    /// With the program; its status is none where nobody knows it.
    Exited(Option<i32>),
    /// By the keys for it.
    Detached,
    /// By the shim's sudden death. The program may go on.
    Lost,
}

/// The folder as a descriptor makes any path short enough for a socket's name.
pub(super) fn socket_address(folder: &OwnedFd) -> Result<SocketAddrUnix, Errno> {
    use std::os::fd::AsRawFd;
    SocketAddrUnix::new(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

impl Client {
    /// Connects to the shim of the container with this folder on the run root.
    ///
    /// # Errors
    /// [`codes::SHIM_GONE`] where there is none.
    pub fn connect(folder: &Path) -> Result<Self> {
        let socket = connect(folder).map_err(|errno| gone(folder).cause(errno.to_string()))?;
        Ok(Self { folder: folder.to_owned(), socket, frames: Frames::default() })
    }

    /// Attaches. Done before the program starts, it misses nothing of it.
    pub fn attach(mut self, options: AttachOptions) -> Result<Attached> {
        if let Some((columns, rows)) = options.terminal_size {
            self.resize(columns, rows)?;
        }
        let flags = [
            (options.stdin, attach::STDIN),
            (options.stdout, attach::STDOUT),
            (options.stderr, attach::STDERR),
            (options.foreground, attach::FOREGROUND),
            (options.puts_away, attach::PUTS_AWAY),
        ];
        let flags = flags.into_iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, flag)| all | flag);
        match self.ask(&Order::Attach { flags })? {
            Reply::Attached { tty } => Ok(Attached { client: self, options, tty }),
            reply => Err(self.unexpected(reply)),
        }
    }

    /// Starts the program again after its end. The outer error says that the shim did not answer or refused, the inner
    /// one why the program does not run.
    pub fn restart(&mut self) -> Result<Result<i32, StartError>> {
        match self.ask(&Order::Restart)? {
            Reply::Started(pid) => Ok(Ok(pid)),
            Reply::Failed(error) => Ok(Err(error)),
            reply => Err(self.unexpected(reply)),
        }
    }

    /// Has `restart` told to the event command after a time.
    pub fn restart_in(&mut self, delay: Duration) -> Result<()> {
        self.order(&Order::RestartIn { delay_ms: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX) })
    }

    /// Says that the coming end is wanted, and forgets a restart that is due.
    pub fn stop_intended(&mut self) -> Result<()> {
        self.order(&Order::StopIntended)
    }

    /// Ends a shim whose container does not run.
    pub fn shutdown(&mut self) -> Result<()> {
        self.order(&Order::Shutdown)
    }

    /// Sends the program a signal by number.
    pub fn signal(&mut self, number: i32) -> Result<()> {
        self.order(&Order::Signal(number))
    }

    /// Says that the container has been frozen, or is no longer: no checks meanwhile.
    pub fn paused(&mut self, paused: bool) -> Result<()> {
        self.order(&Order::Paused(paused))
    }

    /// Keeps the shim, with network namespace, names and ports, after the end of its program.
    pub fn keep(&mut self) -> Result<()> {
        self.order(&Order::Keep)
    }

    /// Says where published ports lead from now on: to this address of the container and where that refuses to its other
    /// one, or where it is on no network to its loopback. Connections stay where they are.
    pub fn lead_to(&mut self, addresses: Option<(Ipv4Addr, Option<Ipv6Addr>)>) -> Result<()> {
        self.order(&Order::Lead(addresses))
    }

    /// Says what the container is called from now on in events.
    pub fn named(&mut self, name: &str) -> Result<()> {
        self.order(&Order::Named(name))
    }

    /// Sets the size of the program's terminal.
    pub fn resize(&mut self, columns: u16, rows: u16) -> Result<()> {
        self.send(&Order::Resize { columns, rows })
    }

    /// Waits for the end of the program. None where its status is not known.
    pub fn wait(self) -> Result<Option<i32>> {
        let folder = self.folder.clone();
        match self.attach(AttachOptions::default())?.wait() {
            AttachEnd::Exited(status) => Ok(status),
            AttachEnd::Detached | AttachEnd::Lost => Err(gone(&folder).boxed()),
        }
    }

    fn order(&mut self, order: &Order<'_>) -> Result<()> {
        match self.ask(order)? {
            Reply::Done => Ok(()),
            reply => Err(self.unexpected(reply)),
        }
    }

    fn ask(&mut self, order: &Order<'_>) -> Result<Reply> {
        self.send(order)?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            match self.frames.next_answer() {
                Ok(Some(answer)) => {
                    if let Some(reply) = Reply::from(answer) {
                        return Ok(reply);
                    }
                }
                Ok(None) => self.receive(Some(deadline))?,
                Err(Malformed) => return Err(gone(&self.folder).cause("it speaks another protocol").boxed()),
            }
        }
    }

    fn send(&mut self, order: &Order<'_>) -> Result<()> {
        let mut bytes = Vec::new();
        order.encode(&mut bytes);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match rustix::net::send(&self.socket, rest, SendFlags::NOSIGNAL) {
                Ok(sent) => rest = rest.get(sent..).unwrap_or_default(),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(gone(&self.folder).cause(errno.to_string()).boxed()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, deadline: Option<Instant>) -> Result<()> {
        let failed = |cause: String| gone(&self.folder).cause(cause).boxed();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        match rustix::event::poll(&mut [PollFd::new(&self.socket, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => return Err(failed("no answer in time".into())),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(errno) => return Err(failed(errno.to_string())),
        }
        let mut buffer = vec![0; PAYLOAD_MAX];
        match rustix::io::read(&self.socket, &mut buffer) {
            Ok(0) => Err(failed("it has closed the connection".into())),
            Ok(length) => {
                self.frames.push(buffer.get(..length).unwrap_or_default());
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(failed(errno.to_string())),
        }
    }

    fn unexpected(&self, reply: Reply) -> Box<Diagnostic> {
        let refused = |text: String| {
            Diagnostic::error(&codes::SHIM_REFUSED, format!("ordering the shim in {}", self.folder.display()))
                .cause(text)
        };
        match reply {
            Reply::Refused(text) => refused(text).boxed(),
            reply => refused(format!("it answered {reply:?}")).boxed(),
        }
    }
}

/// An answer that is no output.
#[derive(Debug)]
enum Reply {
    Done,
    Refused(String),
    Started(i32),
    Failed(StartError),
    Attached { tty: bool },
}

impl Reply {
    fn from(answer: Answer<'_>) -> Option<Self> {
        Some(match answer {
            Answer::Done => Self::Done,
            Answer::Refused(text) => Self::Refused(text.to_owned()),
            Answer::Started { pid } => Self::Started(pid),
            Answer::Failed(error) => Self::Failed(error),
            Answer::Attached { tty } => Self::Attached { tty },
            Answer::Stdout(_) | Answer::Stderr(_) | Answer::Exited { .. } => return None,
        })
    }
}

impl Attached {
    /// Whether the program has a terminal.
    pub fn has_terminal(&self) -> bool {
        self.tty
    }

    /// Waits for the end, taking the output and showing it to nobody.
    pub fn wait(self) -> AttachEnd {
        self.wait_until(None)
    }

    /// The same, at most for a time: then the shim counts as lost.
    pub fn wait_at_most(self, time: Duration) -> AttachEnd {
        self.wait_until(Some(Instant::now() + time))
    }

    fn wait_until(mut self, deadline: Option<Instant>) -> AttachEnd {
        loop {
            match self.client.frames.next_answer() {
                Ok(Some(Answer::Exited { status })) => return AttachEnd::Exited(status),
                Ok(Some(_)) => {}
                Ok(None) => {
                    if self.client.receive(deadline).is_err() {
                        return AttachEnd::Lost;
                    }
                }
                Err(Malformed) => return AttachEnd::Lost,
            }
        }
    }

    /// Connects the program with the caller's streams until one of them ends it.
    ///
    /// With a program that has a terminal and an input that is one, the input is raw meanwhile and the sizes follow each
    /// other. Signals are blocked in this thread meanwhile: call it while there is no other thread that could get them.
    ///
    /// # Errors
    /// [`codes::SHIM`] where the caller's own streams or terminal fail.
    pub fn run(mut self, stdio: [BorrowedFd<'_>; 3], detach_keys: &DetachKeys) -> Result<AttachEnd> {
        let failed = |attempt: &'static str| {
            move |errno: Errno| Diagnostic::error(&codes::SHIM, attempt).cause(errno.to_string()).boxed()
        };
        let mut watched = vec![Signal::WINCH.as_raw()];
        if self.options.sig_proxy {
            watched.extend(PROXIED);
        }
        let mask = signal::block(&[]).map_err(failed("reading the signal mask"))?;
        let signals = SignalFd::new(&watched).map_err(failed("blocking signals"))?;
        let raw = (self.tty && self.options.stdin && rustix::termios::isatty(stdio[0]))
            .then(|| RawTerminal::enter(stdio[0]))
            .transpose()
            .map_err(failed("making the terminal raw"))?;
        if self.tty {
            self.send_size(stdio);
        }
        let never = DetachKeys::never();
        let end = self.pump(stdio, &signals, Detacher::new(if raw.is_some() { detach_keys } else { &never }));
        drop(raw);
        let _ = signal::restore(&mask);
        end.map_err(failed("copying between the program and this terminal"))
    }

    fn pump(
        &mut self,
        stdio: [BorrowedFd<'_>; 3],
        signals: &SignalFd,
        mut detacher: Detacher<'_>,
    ) -> Result<AttachEnd, Errno> {
        let mut buffer = vec![0; PAYLOAD_MAX / 2];
        let mut input_open = self.options.stdin;
        // Never waited for: a program may want its output taken before it takes input.
        let mut unsent = Vec::new();
        loop {
            while let Some(answer) = self.client.frames.next_answer().or(Err(Errno::BADMSG))? {
                match answer {
                    Answer::Stdout(data) => write_all(stdio[1], data)?,
                    Answer::Stderr(data) => write_all(stdio[2], data)?,
                    Answer::Exited { status } => return Ok(AttachEnd::Exited(status)),
                    _ => {}
                }
            }
            let mut on_socket = PollFlags::IN;
            on_socket.set(PollFlags::OUT, !unsent.is_empty());
            let mut polled = [
                PollFd::new(&self.client.socket, on_socket),
                PollFd::new(signals, PollFlags::IN),
                PollFd::new(&stdio[0], PollFlags::IN),
            ];
            let wants_input = input_open && unsent.is_empty();
            let polled = if wants_input { &mut polled[..] } else { &mut polled[..2] };
            match rustix::event::poll(polled, None) {
                Err(Errno::INTR) => continue,
                ready => ready?,
            };
            let ready = |index: usize| polled.get(index).map_or(PollFlags::empty(), PollFd::revents);
            let (socket, has_signal, has_input) = (ready(0), !ready(1).is_empty(), !ready(2).is_empty());
            if socket.contains(PollFlags::OUT) && !send_some(&self.client.socket, &mut unsent) {
                // What the shim said last may still wait to be read.
                input_open = false;
                unsent.clear();
            }
            let says = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
            if socket.intersects(says) && self.client.receive(None).is_err() {
                return Ok(AttachEnd::Lost);
            }
            while let Some(signal) = if has_signal { signals.read()? } else { None } {
                self.pass_on(signal, stdio);
            }
            if has_input {
                let length = match rustix::io::read(stdio[0], &mut buffer) {
                    Err(Errno::INTR | Errno::AGAIN) => continue,
                    // A terminal that was hung up.
                    Err(Errno::IO) => 0,
                    length => length?,
                };
                input_open = length > 0;
                let (bytes, detached) = detacher.pass(buffer.get(..length).unwrap_or_default());
                if detached {
                    // What was typed before the keys is a few bytes; a program that takes none loses them.
                    Order::Stdin(&bytes).encode(&mut unsent);
                    send_some(&self.client.socket, &mut unsent);
                    return Ok(AttachEnd::Detached);
                }
                let order = if length == 0 { Order::StdinEnd } else { Order::Stdin(&bytes) };
                order.encode(&mut unsent);
            }
        }
    }

    /// Over a connection of its own, as this one may be full of input that the program does not read.
    fn pass_on(&mut self, signal: i32, stdio: [BorrowedFd<'_>; 3]) {
        if signal == Signal::WINCH.as_raw() {
            if self.tty {
                self.send_size(stdio);
            }
        } else if let Ok(mut client) = Client::connect(&self.client.folder) {
            // A program that has just ended needs no signal.
            let _ = client.signal(signal);
        }
    }

    fn send_size(&mut self, stdio: [BorrowedFd<'_>; 3]) {
        let size = [stdio[1], stdio[0]].into_iter().find_map(|fd| rustix::termios::tcgetwinsize(fd).ok());
        if let (Some(size), Ok(mut client)) = (size, Client::connect(&self.client.folder)) {
            let _ = client.resize(size.ws_col, size.ws_row);
        }
    }
}

/// What `docker run --sig-proxy` passes on: everything but the end of children, pipes and what the kernel sends for
/// faults.
const PROXIED: [i32; 8] = [
    Signal::HUP.as_raw(),
    Signal::INT.as_raw(),
    Signal::QUIT.as_raw(),
    Signal::TERM.as_raw(),
    Signal::USR1.as_raw(),
    Signal::USR2.as_raw(),
    Signal::CONT.as_raw(),
    Signal::ALARM.as_raw(),
];

/// As much as is taken now; says whether anybody is there to take it.
fn send_some(socket: &OwnedFd, unsent: &mut Vec<u8>) -> bool {
    match rustix::net::send(socket, unsent, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
        Ok(sent) => {
            unsent.drain(..sent);
            true
        }
        Err(Errno::AGAIN | Errno::INTR) => true,
        Err(_) => false,
    }
}

/// All of it, also to a descriptor that is not to block.
fn write_all(fd: BorrowedFd<'_>, mut data: &[u8]) -> Result<(), Errno> {
    while !data.is_empty() {
        match rustix::io::write(fd, data) {
            Ok(written) => data = data.get(written..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], None);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn connect(folder: &Path) -> Result<OwnedFd, Errno> {
    let folder = rustix::fs::open(folder, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(socket.as_fd(), &socket_address(&folder)?)?;
    Ok(socket)
}

fn gone(folder: &Path) -> Diagnostic {
    Diagnostic::error(&codes::SHIM_GONE, format!("speaking with the container's shim in {}", folder.display()))
}
