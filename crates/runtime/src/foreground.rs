//! A program connected with the streams of this process: a terminal with its terminal, else pipes.

mod orphan;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use carrack_sys::signal::{self, Mask, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Signal;
use rustix::termios::{OptionalActions, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::init::Child;
use crate::shim::{DetachKeys, Detacher};

pub use orphan::keep_terminal;
pub(crate) use orphan::{ARGV0 as ORPHAN_ARGV0, main as orphan_main};

/// What a pipe can hold at most, unless its user is root: what a program has written before its end.
const PIPE_SIZE_MAX_BYTES: usize = 1 << 20;

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
        let never = DetachKeys::never();
        let ended = self.stay_or_detach(child, input, &never, cancel)?;
        Ok(ended.unwrap_or_default())
    }

    /// The same; none where somebody at this process's terminal typed the keys that detach it from the program's.
    pub fn stay_or_detach(
        self,
        child: &Child,
        input: bool,
        keys: &DetachKeys,
        cancel: &AtomicBool,
    ) -> io::Result<Option<i32>> {
        match &child.terminal {
            Some(terminal) if in_terminal(terminal, child, input, keys, cancel)? => return Ok(None),
            Some(_) => {}
            None => self.copy_until_end(child, cancel)?,
        }
        Ok(Some(child.wait()?))
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
                let ended = child.pidfd.as_fd();
                scope.spawn(move || copy(&from, to, ended));
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

/// To standard output or standard error, as it comes, until nobody can write any more. What the program has left behind
/// may do so for ever: after its end, what has been written by then is all.
fn copy(from: &OwnedFd, to: i32, program: BorrowedFd<'_>) {
    let mut buffer = vec![0; 64 << 10];
    let mut rest = None;
    // Refused, reading waits for whoever writes last.
    let _ = fcntl_setfl(from, OFlags::NONBLOCK);
    loop {
        let bytes = match rustix::io::read(from, &mut buffer) {
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) if rest.is_none() => {
                let mut polled = [PollFd::new(from, PollFlags::IN), PollFd::from_borrowed_fd(program, PollFlags::IN)];
                let _ = poll(&mut polled, None);
                if !polled[1].revents().is_empty() {
                    rest = Some(PIPE_SIZE_MAX_BYTES);
                }
                continue;
            }
            Err(_) => return,
        };
        if bytes.is_empty() {
            return;
        }
        let written = if to == 1 {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes).and_then(|()| stdout.flush())
        } else {
            io::stderr().lock().write_all(bytes)
        };
        if written.is_err() {
            return;
        }
        if let Some(left) = &mut rest {
            match usize::checked_sub(*left, bytes.len()) {
                Some(still) => *left = still,
                None => return,
            }
        }
    }
}

/// Connects the caller's terminal with the program's until the program ends, or the keys are typed that detach: then
/// true.
fn in_terminal(
    terminal: &OwnedFd,
    child: &Child,
    input: bool,
    keys: &DetachKeys,
    cancel: &AtomicBool,
) -> io::Result<bool> {
    let signals = SignalFd::new(&[Signal::WINCH.as_raw()])?;
    let stdin = io::stdin();
    let before = (input && isatty(&stdin)).then(|| tcgetattr(&stdin)).transpose()?;
    if let Some(before) = &before {
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
    }
    let never = DetachKeys::never();
    let detacher = Detacher::new(if before.is_some() { keys } else { &never });
    let pumped = pump(terminal, input.then(|| stdin.as_fd()), &signals, detacher, || kill_when(cancel, child));
    if let Some(before) = &before {
        let _ = tcsetattr(&stdin, OptionalActions::Now, before);
    }
    Ok(pumped?)
}

/// Whether the keys that detach ended it.
fn pump(
    terminal: &OwnedFd,
    mut stdin: Option<BorrowedFd<'_>>,
    signals: &SignalFd,
    mut detacher: Detacher<'_>,
    look: impl Fn(),
) -> Result<bool, Errno> {
    fcntl_setfl(terminal, OFlags::RDWR | OFlags::NONBLOCK)?;
    let mut buffer = vec![0; 32 << 10];
    // Never waited for: a program may want its output taken before it takes input.
    let mut unsent = Vec::new();
    loop {
        look();
        let mut on_terminal = PollFlags::IN;
        on_terminal.set(PollFlags::OUT, !unsent.is_empty());
        let mut polled = vec![PollFd::new(terminal, on_terminal), PollFd::new(signals, PollFlags::IN)];
        polled.extend(stdin.filter(|_| unsent.is_empty()).map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut polled, Some(&LOOK)) {
            Err(Errno::INTR) => continue,
            ready => ready?,
        };
        let ready = |index: usize| polled.get(index).map_or(PollFlags::empty(), PollFd::revents);
        let (on_terminal, resized, typed) = (ready(0), !ready(1).is_empty(), !ready(2).is_empty());
        if resized {
            while signals.read()?.is_some() {}
            if let Ok(size) = tcgetwinsize(io::stdout()) {
                let _ = tcsetwinsize(terminal, size);
            }
        }
        if on_terminal.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            match rustix::io::read(terminal, &mut buffer) {
                // The last descriptor of the other end is closed.
                Ok(0) | Err(Errno::IO) => return Ok(false),
                Ok(length) => {
                    let mut stdout = io::stdout().lock();
                    let _ = stdout.write_all(&buffer[..length]).and_then(|()| stdout.flush());
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
        if let Some(fd) = stdin.filter(|_| typed) {
            match rustix::io::read(fd, &mut buffer) {
                Ok(0) | Err(Errno::IO) => stdin = None,
                Ok(length) => {
                    let (bytes, detached) = detacher.pass(&buffer[..length]);
                    unsent.extend_from_slice(&bytes);
                    if detached {
                        let _ = rustix::io::write(terminal, &unsent);
                        return Ok(true);
                    }
                }
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
        if !unsent.is_empty() {
            match rustix::io::write(terminal, &unsent) {
                Ok(written) => drop(unsent.drain(..written)),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => unsent.clear(),
            }
        }
    }
}
