use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use carrack_diag::{Diagnostic, Result};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::codes;
use crate::fault::{Context as _, fault};

/// One for all roots of a host, whatever their run roots: what the kernel has only once is chosen under it.
const PATH: &str = "/run/carrack-network.lock";

const WAIT: Duration = Duration::from_secs(30);

/// Holds the lock of the host until it is dropped. Taken after every lock of the store.
#[derive(Debug)]
pub(crate) struct HostLock {
    _file: File,
}

impl HostLock {
    pub(crate) fn take() -> Result<Self> {
        let path = Path::new(PATH);
        let attempt = || format!("can't lock {PATH}");
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).context(attempt)?;
        let start = Instant::now();
        let mut pause = Duration::from_micros(100);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(Errno::INTR) => {}
                // flock itself knows no bound, so it is tried at growing intervals.
                Err(Errno::WOULDBLOCK) if start.elapsed() < WAIT => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(Duration::from_millis(5));
                }
                Err(Errno::WOULDBLOCK) => {
                    let message = format!("{PATH} was not free within {} s", WAIT.as_secs());
                    return Err(Diagnostic::error(&codes::HOST_LOCKED, message).boxed());
                }
                Err(error) => return Err(fault(attempt(), error)),
            }
        }
    }
}
