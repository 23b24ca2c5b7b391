//! A program connected with the streams of this process: a terminal with its terminal, else pipes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use carrack_sys::signal::{self, Mask, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::init::Child;

/// How soon an end that is asked for from elsewhere is seen.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Until it is dropped, this thread and those that it starts keep the news that the terminal has another size, for
/// [`Streams::stay`] in one of them: the kernel throws away what the first thread does not block.
#[derive(Debug)]
pub struct KeepResizes(Mask);

/// To be called by the process's first thread, before those that call [`Streams::stay`] are started.
pub fn keep_resizes() -> rustix::io::Result<KeepResizes> {
    signal::block(&[Signal::WINCH.as_raw()]).map(KeepResizes)
}

impl Drop for KeepResizes {
    fn drop(&mut self) {
        // A mask that was read can be set again.
        let _ = signal::restore(&self.0);
    }
}

/// Columns and rows of this process's terminal; 0 where nobody knows.
pub fn terminal_size() -> (u16, u16) {
    tcgetwinsize(io::stdout()).map_or((0, 0), |size| (size.ws_col, size.ws_row))
}

/// What a program gets of this process's streams. Never the descriptors themselves: with a terminal or a file of the host,
/// it could do more than read and write.
#[derive(Debug)]
pub struct Streams {
    theirs: [OwnedFd; 3],
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Streams {
    /// Nothing: for a program with a terminal of its own, and for one that nobody listens to.
    pub fn none() -> io::Result<Self> {
        let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
        Ok(Self { theirs: [null()?, null()?, null()?], stdin: None, stdout: None, stderr: None })
    }

    /// Pipes for output and, where it is wanted, input.
    pub fn pipes(input: bool) -> io::Result<Self> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC);
        let (stdin_theirs, stdin) = if input {
            let (read, write) = pipe()?;
            (read, Some(write))
        } else {
            (File::open("/dev/null")?.into(), None)
        };
        let (stdout, stdout_theirs) = pipe()?;
        let (stderr, stderr_theirs) = pipe()?;
        let theirs = [stdin_theirs, stdout_theirs, stderr_theirs];
        Ok(Self { theirs, stdin, stdout: Some(stdout), stderr: Some(stderr) })
    }

    /// Standard input, output and error for the program.
    pub fn theirs(&self) -> [BorrowedFd<'_>; 3] {
        [self.theirs[0].as_fd(), self.theirs[1].as_fd(), self.theirs[2].as_fd()]
    }

    /// Copies until the program's end, and gives its exit status. `input` hands the caller's on where the program has a
    /// terminal. Once `cancel` is set the program is killed.
    pub fn stay(self, child: &Child, input: bool, cancel: &AtomicBool) -> io::Result<i32> {
        match &child.terminal {
            Some(terminal) => in_terminal(terminal, child, input, cancel)?,
            None => self.copy_until_end(child, cancel)?,
        }
        Ok(child.wait()?)
    }

    fn copy_until_end(self, child: &Child, cancel: &AtomicBool) -> io::Result<()> {
        drop(self.theirs);
        if let Some(stdin) = self.stdin {
            // Not waited for: nobody can take back a read of the caller's terminal.
            std::thread::spawn(move || {
                let _ = io::copy(&mut io::stdin().lock(), &mut File::from(stdin));
            });
        }
        std::thread::scope(|scope| {
            for (from, to) in [(self.stdout, 1), (self.stderr, 2)] {
                let Some(from) = from else { continue };
                scope.spawn(move || copy(File::from(from), to));
            }
            loop {
                let mut ended = [PollFd::new(&child.pidfd, PollFlags::IN)];
                match poll(&mut ended, Some(&LOOK)) {
                    Ok(0) | Err(Errno::INTR) => {}
                    Ok(_) => return Ok(()),
                    Err(errno) => return Err(errno.into()),
                }
                kill_when(cancel, child);
            }
        })
    }
}

fn kill_when(cancel: &AtomicBool, child: &Child) {
    if cancel.load(Ordering::SeqCst) {
        // Gone already is as good.
        let _ = child.signal(Signal::KILL.as_raw());
    }
}

/// To standard output or standard error, as it comes.
fn copy(mut from: File, to: i32) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else { return };
        let written = if to == 1 {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        } else {
            io::stderr().lock().write_all(bytes)
        };
        if written.is_err() {
            return;
        }
    }
}

/// Connects the caller's terminal with the program's until the program ends.
fn in_terminal(terminal: &OwnedFd, child: &Child, input: bool, cancel: &AtomicBool) -> io::Result<()> {
    let signals = SignalFd::new(&[Signal::WINCH.as_raw()])?;
    let stdin = io::stdin();
    let before = (input && isatty(&stdin)).then(|| tcgetattr(&stdin)).transpose()?;
    if let Some(before) = &before {
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
    }
    let pumped = pump(terminal, stdin.as_fd(), input, &signals, || kill_when(cancel, child));
    if let Some(before) = &before {
        let _ = tcsetattr(&stdin, OptionalActions::Now, before);
    }
    Ok(pumped?)
}

fn pump(
    terminal: &OwnedFd,
    stdin: BorrowedFd<'_>,
    mut input: bool,
    signals: &SignalFd,
    look: impl Fn(),
) -> Result<(), Errno> {
    let mut buffer = vec![0; 32 << 10];
    loop {
        look();
        let mut polled = [
            PollFd::new(terminal, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
            PollFd::from_borrowed_fd(stdin, PollFlags::IN),
        ];
        let polled = if input { &mut polled[..] } else { &mut polled[..2] };
        match poll(polled, Some(&LOOK)) {
            Err(Errno::INTR) => continue,
            ready => ready?,
        };
        let ready = |index: usize| polled.get(index).is_some_and(|polled| !polled.revents().is_empty());
        if ready(1) {
            while signals.read()?.is_some() {}
            if let Ok(size) = tcgetwinsize(io::stdout()) {
                let _ = tcsetwinsize(terminal, size);
            }
        }
        if ready(0) {
            match rustix::io::read(terminal, &mut buffer) {
                // The last descriptor of the other end is closed.
                Ok(0) | Err(Errno::IO) => return Ok(()),
                Ok(length) => {
                    let mut stdout = io::stdout().lock();
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
