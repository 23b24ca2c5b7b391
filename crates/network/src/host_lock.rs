use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
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

/// Whether the path still leads to the open file: its last holder may have retired it.
fn is_current(file: &File, path: &Path) -> bool {
    let inode = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (Ok(here), Ok(there)) = (std::fs::metadata(path), file.metadata()) else { return false };
    inode(here) == inode(there)
}

impl HostLock {
    pub(crate) fn take() -> Result<Self> {
        let path = Path::new(PATH);
        let attempt = || format!("can't lock {PATH}");
        let open = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600).open(path).context(attempt)
        };
        let mut file = open()?;
        let start = Instant::now();
        let mut pause = Duration::from_micros(100);
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_current(&file, path) => return Ok(Self { _file: file }),
                Ok(()) => file = open()?,
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

    /// Gives the lock back and removes its file: no root has networks on this host any more.
    pub(crate) fn retire(self) -> Result<()> {
        std::fs::remove_file(PATH).context(|| format!("can't remove {PATH}"))
    }
}
