//! Locks between processes.
//!
//! The order is that of [`Lock`]'s variants, and within one variant that of the names. A thread that holds a lock gets
//! only greater ones; everything else is refused at once, so no two commands can wait for each other in a circle.
//! Locks are `flock`s of files in `locks/` of the run root: the kernel releases them when their process ends.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use carrack_diag::{Diagnostic, Result};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::fault::Context as _;
use crate::files::{check_name, remove_file};
use crate::{Store, codes};

/// What is locked, in the order of taking.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lock {
    /// A project: plans, applies, releases.
    Stack(String),
    /// A container by id: its record and its processes.
    Container(String),
    /// A volume by name: its making, its first content, its removal.
    Volume(String),
    /// All networks of the root: subnets, addresses, ports.
    Network,
    /// The records of images, while one is made of what another says already.
    Images,
    /// What refers to what: exclusive while garbage is taken away, shared while something begins to be used.
    Content,
}

impl Lock {
    fn file_name(&self) -> Result<String> {
        let (kind, name) = match self {
            Self::Stack(name) => ("stack", name),
            Self::Container(id) => ("container", id),
            Self::Volume(name) => ("volume", name),
            Self::Network => return Ok("network".into()),
            Self::Images => return Ok("images".into()),
            Self::Content => return Ok("content".into()),
        };
        check_name(kind, name)?;
        Ok(format!("{kind}-{name}"))
    }
}

/// `the lock of container 3f…`
impl std::fmt::Display for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stack(name) => write!(f, "the lock of project {name}"),
            Self::Container(id) => write!(f, "the lock of container {id}"),
            Self::Volume(name) => write!(f, "the lock of volume {name}"),
            Self::Network => f.write_str("the lock of the networks"),
            Self::Images => f.write_str("the lock of the images' records"),
            Self::Content => f.write_str("the lock of the images and layers"),
        }
    }
}

/// Whether others may hold the lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody.
    Exclusive,
    /// Others that share it too.
    Shared,
}

/// How long internal locks are waited for; commands with `--timeout` give their own.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(30);

thread_local! {
    static TAKEN: RefCell<Vec<Lock>> = const { RefCell::new(Vec::new()) };
}

/// Holds a lock until it is dropped. Stays with its thread, as the order is one a thread.
#[derive(Debug)]
pub struct Guard {
    lock: Lock,
    _file: File,
    stays_with_its_thread: std::marker::PhantomData<*const ()>,
}

impl Guard {
    /// What is held.
    pub fn lock(&self) -> &Lock {
        &self.lock
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        TAKEN.with_borrow_mut(|taken| {
            if let Some(at) = taken.iter().rposition(|held| *held == self.lock) {
                taken.remove(at);
            }
        });
    }
}

impl Store {
    /// Takes a lock, waiting at most `wait`.
    ///
    /// # Errors
    /// `store/locked` with the holder's process; `store/lock-order` where this thread holds an equal or greater one.
    pub fn lock(&self, lock: Lock, wait: Duration) -> Result<Guard> {
        self.lock_as(lock, Sharing::Exclusive, wait)
    }

    /// Takes a lock that others may share.
    ///
    /// # Errors
    /// As [`Store::lock`].
    pub fn lock_as(&self, lock: Lock, sharing: Sharing, wait: Duration) -> Result<Guard> {
        self.mutable()?;
        check_order(&lock)?;
        let path = self.roots().run.join("locks").join(lock.file_name()?);
        let file = loop {
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = file.context("open the lock", &path)?;
            wait_for(&file, &lock, sharing, wait, &path)?;
            // Else it was forgotten meanwhile, and the next one takes another file of that name.
            if file.metadata().context("look at the lock", &path)?.nlink() > 0 {
                break file;
            }
        };
        TAKEN.with_borrow_mut(|taken| taken.push(lock.clone()));
        Ok(Guard { lock, _file: file, stays_with_its_thread: std::marker::PhantomData })
    }

    /// Takes a lock's file away, as what it was for is gone for good. The caller holds the lock, and does nothing more
    /// under it: from then on others take another file of that name.
    ///
    /// # Errors
    /// `store/io` with the file.
    pub fn forget_lock(&self, lock: &Lock) -> Result<()> {
        remove_file(&self.roots().run.join("locks").join(lock.file_name()?)).map(drop)
    }
}

fn check_order(lock: &Lock) -> Result<()> {
    let held = TAKEN.with_borrow(|taken| taken.iter().max().cloned());
    match held {
        Some(held) if held >= *lock => {
            Err(Diagnostic::error(&codes::LOCK_ORDER, format!("{lock} was asked for while this thread holds {held}"))
                .boxed())
        }
        _ => Ok(()),
    }
}

/// flock has no bound, so it is tried at growing intervals of at most 10 ms.
fn wait_for(file: &File, lock: &Lock, sharing: Sharing, wait: Duration, path: &Path) -> Result<()> {
    let operation = match sharing {
        Sharing::Exclusive => FlockOperation::NonBlockingLockExclusive,
        Sharing::Shared => FlockOperation::NonBlockingLockShared,
    };
    let start = Instant::now();
    let mut pause = Duration::from_micros(100);
    loop {
        match rustix::fs::flock(file, operation) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if start.elapsed() >= wait => return Err(locked(file, lock, wait)),
            Err(Errno::WOULDBLOCK) => {
                std::thread::sleep(pause.min(wait.saturating_sub(start.elapsed())));
                pause = (pause * 2).min(Duration::from_millis(10));
            }
            Err(error) => return Err(crate::fault::fault("lock", path, error)),
        }
    }
}

fn locked(file: &File, lock: &Lock, wait: Duration) -> Box<Diagnostic> {
    let message = format!("{lock} was not free within {} ms", wait.as_millis());
    let diagnostic = Diagnostic::error(&codes::LOCKED, message);
    match holder(file) {
        Some(pid) => {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " ");
            diagnostic
                .cause(format!("process {pid} holds it: {command}"))
                .hint("wait for it, or give a larger --timeout")
        }
        None => diagnostic.hint("try again, or give a larger --timeout"),
    }
    .boxed()
}

/// The first holder that the kernel lists (proc(5), /proc/locks).
fn holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, device_and_inode, ..] = fields.as_slice() else { return None };
        (device_and_inode.rsplit(':').next()? == inode).then(|| pid.parse().ok())?
    })
}
