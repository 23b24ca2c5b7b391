//! The container's standard streams, from the shim's side.
//!
//! Output comes through FIFOs with names in the container's folder. The container's end is open for reading too, so its
//! program never sees a broken pipe when the shim is killed, and a new shim finds them again. A terminal has no name:
//! it dies with the shim.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::pipe::PipeFlags;
use rustix::termios::Winsize;

use super::log::{Lines, Log};
use super::poll::{Interest, Poll, Token, Watch};
use super::start::null;

/// How much of a client's input is kept for a program that does not read, before the client is not read either.
const STDIN_HIGH_WATER_BYTES: usize = 128 << 10;
/// Room for output while nobody reads, in bytes: what a container can write between a shim's death and the adoption.
const FIFO_SIZE_BYTES: usize = 256 << 10;

/// Which output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What the program gets as its standard input, output and error.
#[derive(Debug)]
pub(super) struct Ends(pub(super) [OwnedFd; 3]);

/// The shim's ends.
#[derive(Debug)]
pub(super) struct Streams {
    outputs: Vec<Output>,
    stdin: Option<Stdin>,
    /// What a client last wanted the terminal to have: columns and rows.
    size: Option<(u16, u16)>,
    tty: bool,
    open_stdin: bool,
}

#[derive(Debug)]
struct Output {
    stream: Stream,
    fd: OwnedFd,
    watch: Watch,
    lines: Lines,
    ended: bool,
}

#[derive(Debug)]
struct Stdin {
    fd: OwnedFd,
    watch: Watch,
    pending: VecDeque<u8>,
    ending: bool,
}

impl Streams {
    /// Makes or finds the FIFOs.
    pub(super) fn open(folder: &Path, tty: bool, open_stdin: bool) -> Result<Self> {
        let mut outputs = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr].into_iter().filter(|_| !tty) {
            let path = folder.join(stream.name());
            match rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
            let fd = open_fifo(&path, OFlags::RDONLY | OFlags::NONBLOCK)?;
            // Refused beyond the user's allowance: then it has the default size.
            let _ = rustix::pipe::fcntl_setpipe_size(&fd, FIFO_SIZE_BYTES);
            outputs.push(Output::new(stream, fd));
        }
        Ok(Self { outputs, stdin: None, size: None, tty, open_stdin })
    }

    /// What the program gets, with a new pipe for its input where it has one.
    pub(super) fn ends(&mut self, folder: &Path) -> Result<Ends> {
        if self.tty {
            return Ok(Ends([null()?, null()?, null()?]));
        }
        let input = if self.open_stdin {
            let (theirs, ours) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
            self.stdin = Some(Stdin::new(ours));
            theirs
        } else {
            null()?
        };
        for output in &mut self.outputs {
            output.ended = false;
        }
        let end = |stream: Stream| open_fifo(&folder.join(stream.name()), OFlags::RDWR);
        Ok(Ends([input, end(Stream::Stdout)?, end(Stream::Stderr)?]))
    }

    /// Takes the container's terminal.
    pub(super) fn set_terminal(&mut self, terminal: OwnedFd) -> Result<()> {
        rustix::fs::fcntl_setfl(&terminal, OFlags::RDWR | OFlags::NONBLOCK)?;
        // The same one a second time: a descriptor can be watched once.
        self.stdin =
            if self.open_stdin { Some(Stdin::new(rustix::io::fcntl_dupfd_cloexec(&terminal, 0)?)) } else { None };
        self.outputs = vec![Output::new(Stream::Stdout, terminal)];
        Ok(())
    }

    /// Sets the terminal's size, and remembers it for terminals to come.
    pub(super) fn resize(&mut self, columns: u16, rows: u16) {
        self.size = Some((columns, rows));
        if let Some(terminal) = self.outputs.first().filter(|_| self.tty) {
            let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = rustix::termios::tcsetwinsize(&terminal.fd, size);
        }
    }

    /// The size that a new terminal is to have, where a client said.
    pub(super) fn size(&self) -> Option<(u16, u16)> {
        self.size
    }

    /// Watches what can be used: output only while somebody takes it, input while some of it waits.
    pub(super) fn watch(&mut self, poll: &Poll, take_output: bool) -> Result<()> {
        for output in &mut self.outputs {
            let wanted = if take_output && !output.ended { Interest::IN } else { Interest::empty() };
            poll.set(&output.fd, &mut output.watch, wanted)?;
        }
        if let Some(stdin) = &mut self.stdin {
            let wanted = if stdin.pending.is_empty() { Interest::empty() } else { Interest::OUT };
            poll.set(&stdin.fd, &mut stdin.watch, wanted)?;
        }
        Ok(())
    }

    /// Reads once from an output and logs it. Returns what came; empty where there is nothing now or ever.
    pub(super) fn read<'a>(&mut self, stream: Stream, buffer: &'a mut [u8], log: &mut Log, now_ns: u64) -> &'a [u8] {
        let Some(output) = self.outputs.iter_mut().find(|output| output.stream == stream) else { return &[] };
        let read = match rustix::io::read(&output.fd, &mut *buffer) {
            Ok(0) => None,
            Ok(read) => Some(read),
            Err(Errno::AGAIN | Errno::INTR) => return &[],
            // A terminal without programs reads as an error.
            Err(_) => None,
        };
        output.ended |= read.is_none();
        let data = buffer.get(..read.unwrap_or(0)).unwrap_or_default();
        output.lines.push(data, now_ns, |line, time| log.line(stream.name(), line, time));
        log.flush(now_ns);
        data
    }

    /// Takes away what was written to the outputs so far.
    pub(super) fn discard(&mut self) {
        let mut buffer = [0; 4096];
        for output in &self.outputs {
            while rustix::io::read(&output.fd, &mut buffer).is_ok_and(|read| read > 0) {}
        }
    }

    /// The program has ended: logs what has no line feed and drops its input and terminal.
    pub(super) fn finish(&mut self, log: &mut Log, now_ns: u64) {
        for output in &mut self.outputs {
            let name = output.stream.name();
            output.lines.finish(now_ns, |line, time| log.line(name, line, time));
        }
        log.flush(now_ns);
        self.stdin = None;
        if self.tty {
            self.outputs.clear();
        }
    }

    /// Whether more input is welcome.
    pub(super) fn takes_stdin(&self) -> bool {
        self.stdin.as_ref().is_none_or(|stdin| stdin.pending.len() < STDIN_HIGH_WATER_BYTES)
    }

    /// Input from a client. Without a program that wants it, it is thrown away.
    pub(super) fn push_stdin(&mut self, bytes: &[u8]) {
        if let Some(stdin) = self.stdin.as_mut().filter(|stdin| !stdin.ending) {
            stdin.pending.extend(bytes);
            self.write_stdin();
        }
    }

    /// No more input, behind what waits. A terminal knows no end.
    pub(super) fn end_stdin(&mut self) {
        if let Some(stdin) = self.stdin.as_mut().filter(|_| !self.tty) {
            stdin.ending = true;
            self.write_stdin();
        }
    }

    /// Writes what waits as far as the program takes it.
    pub(super) fn write_stdin(&mut self) {
        let Some(stdin) = &mut self.stdin else { return };
        while !stdin.pending.is_empty() {
            match rustix::io::write(&stdin.fd, stdin.pending.as_slices().0) {
                Ok(written) => drop(stdin.pending.drain(..written)),
                Err(Errno::AGAIN) => return,
                Err(Errno::INTR) => {}
                // The program has closed its input.
                Err(_) => {
                    self.stdin = None;
                    return;
                }
            }
        }
        if stdin.ending {
            self.stdin = None;
        }
    }
}

impl Output {
    fn new(stream: Stream, fd: OwnedFd) -> Self {
        let token = match stream {
            Stream::Stdout => Token::Stdout,
            Stream::Stderr => Token::Stderr,
        };
        Self { stream, fd, watch: Watch::new(token), lines: Lines::default(), ended: false }
    }
}

impl Stdin {
    fn new(fd: OwnedFd) -> Self {
        Self { fd, watch: Watch::new(Token::Stdin), pending: VecDeque::new(), ending: false }
    }
}

/// The folder is the shim's own, yet what is opened for a container is never anything but a FIFO.
fn open_fifo(path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let fd = rustix::fs::open(path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(fd.as_fd())?.st_mode);
    if kind == FileType::Fifo { Ok(fd) } else { Err(Errno::NOTSUP) }
}
