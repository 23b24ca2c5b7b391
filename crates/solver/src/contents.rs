//! What the files of a context held when they were read last: a file whose inode says that nothing has changed since is
//! not read again.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carrack_oci::Digest;
use carrack_store::Store;
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

/// What has been read of a file or folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    /// Of a file's bytes.
    pub(crate) digest: Option<Digest>,
    /// Extended attributes as the digest of a copy tells them.
    pub(crate) attributes: String,
}

/// An inode as it was. The kernel alone sets the time of its last change, which every write, change of attributes and
/// rename moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Inode {
    device: u64,
    number: u64,
    size_bytes: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Inode {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            number: stat.st_ino,
            size_bytes: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec),
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether a change from now on would show: times come in steps, of a scheduler tick on the host's own file systems and
    /// of up to two seconds where there are no fractions.
    fn is_settled(&self) -> bool {
        let step = Duration::from_millis(if self.changed.1 == 0 { 2000 } else { 50 });
        let changed = u64::try_from(self.changed.0).map(|seconds| Duration::new(seconds, self.changed.1 as u32));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        changed.is_ok_and(|changed| changed + step < now)
    }
}

/// The contents of one context. Whatever can't be read or written of what is kept is read again from the files.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Where they are kept; nowhere for what nobody will see again.
    path: Option<PathBuf>,
    before: HashMap<Inode, Content>,
    now: Mutex<HashMap<Inode, Content>>,
}

fn folder(store: &Store) -> PathBuf {
    store.roots().data.join("build/contents")
}

impl Contents {
    /// Of a folder that the builds of `place` take files from.
    pub(crate) fn open(store: &Store, place: &Digest, context: &Path) -> Self {
        // What arrived from elsewhere is unpacked anew each time.
        if context.starts_with(&store.roots().data) {
            return Self::default();
        }
        let name = Digest::of([place.to_string().as_bytes(), context.as_os_str().as_bytes()].concat());
        let path = folder(store).join(name.hex());
        let before = read(&path).unwrap_or_default();
        Self { path: Some(path), before, now: Mutex::default() }
    }

    fn now(&self) -> MutexGuard<'_, HashMap<Inode, Content>> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an inode.
    pub(crate) fn get(&self, stat: &Stat) -> Option<Content> {
        let inode = Inode::of(stat);
        let known = self.before.get(&inode)?;
        self.now().entry(inode).or_insert_with(|| known.clone());
        Some(known.clone())
    }

    /// Reads what is not known, and keeps it where nothing has changed meanwhile and nothing can have.
    pub(crate) fn learn(
        &self,
        stat: &Stat,
        read: impl FnOnce() -> io::Result<(Content, Option<Stat>)>,
    ) -> io::Result<Content> {
        let inode = Inode::of(stat);
        let is_settled = self.path.is_some() && inode.is_settled();
        let (content, after) = read()?;
        if is_settled && after.is_some_and(|after| Inode::of(&after) == inode) {
            self.now().insert(inode, content.clone());
        }
        Ok(content)
    }

    /// Keeps what this build has seen for the next one.
    pub(crate) fn save(&self) -> io::Result<()> {
        let now = self.now();
        let (Some(path), false) = (&self.path, *now == self.before || now.is_empty()) else { return Ok(()) };
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let bytes = postcard::to_stdvec(&*now).map_err(io::Error::other)?;
        let partial = path.with_extension(std::process::id().to_string());
        let write = || -> io::Result<()> {
            fs::write(&partial, [Digest::of(&bytes).bytes().as_slice(), &bytes].concat())?;
            fs::rename(&partial, path)
        };
        write().inspect_err(|_| {
            // The error that is told is the first.
            let _ = fs::remove_file(&partial);
        })
    }
}

/// None where it is missing or was cut short by a power failure.
fn read(path: &Path) -> Option<HashMap<Inode, Content>> {
    let bytes = fs::read(path).ok()?;
    let (digest, bytes) = bytes.split_at_checked(32)?;
    (Digest::of(bytes).bytes() == digest).then(|| postcard::from_bytes(bytes).ok())?
}

/// Forgets all; gives the bytes that this freed.
pub(crate) fn prune(store: &Store) -> io::Result<u64> {
    let freed_bytes = carrack_store::disk_usage(&folder(store));
    match fs::remove_dir_all(folder(store)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(freed_bytes),
    }
}
