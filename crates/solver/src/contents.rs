//! What the files of a context held when they were read last: a file whose inode says that nothing has changed since is
//! not read again, and copied from the layer that has it by now.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use carrack_oci::{Digest, Hasher};
use carrack_store::Store;
use rustix::fs::Stat;
use serde::{Deserialize, Serialize};

/// What has been read of a file or folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    /// Of a file's bytes.
    #[serde(with = "raw")]
    pub(crate) digest: Option<Digest>,
    /// Extended attributes as the digest of a copy tells them.
    pub(crate) attributes: String,
}

/// What is known of an inode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    content: Content,
    /// The plain tar of a layer that has the file's bytes, and how many bytes into it.
    #[serde(with = "raw")]
    tar: Option<Digest>,
    offset: u64,
}

/// Digests as their bytes; none of none.
mod raw {
    use std::fmt::{self, Formatter};

    use carrack_oci::Digest;
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(digest: &Option<Digest>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(digest.as_ref().map_or(&[], |digest| digest.bytes()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Digest>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Option<Digest>;

            fn expecting(&self, out: &mut Formatter<'_>) -> fmt::Result {
                out.write_str("32 bytes or none")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                if bytes.is_empty() {
                    return Ok(None);
                }
                let bytes = bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))?;
                Ok(Some(Digest::from_bytes(bytes)))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// An inode as it was. The kernel alone sets the time of its last change, which every write, change of attributes and
/// rename moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Inode {
    device: u64,
    number: u64,
    size_bytes: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

impl Inode {
    pub(crate) fn of(stat: &Stat) -> Self {
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
    /// With whether this build has asked for it.
    before: HashMap<Inode, (Known, AtomicBool)>,
    /// What this build has found out besides.
    learned: Mutex<HashMap<Inode, Known>>,
    /// Layers that files are copied from; none of those that are gone.
    tars: Mutex<HashMap<Digest, Option<Arc<File>>>>,
}

/// Of another layout nothing is known.
const FORMAT: &[u8] = b"3";

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
        let before = read(&path).unwrap_or_default().into_iter();
        let before = before.map(|(inode, known)| (inode, (known, AtomicBool::new(false)))).collect();
        Self { path: Some(path), before, ..Self::default() }
    }

    fn learned(&self) -> MutexGuard<'_, HashMap<Inode, Known>> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an inode.
    pub(crate) fn get(&self, stat: &Stat) -> Option<Content> {
        let (known, is_asked) = self.before.get(&Inode::of(stat))?;
        is_asked.store(true, Ordering::Relaxed);
        Some(known.content.clone())
    }

    /// The bytes of a file that a layer has, which is still here. What has extended attributes is not asked for.
    pub(crate) fn stored(&self, store: &Store, stat: &Stat) -> Option<Stored> {
        let (digest, offset) = match self.before.get(&Inode::of(stat))? {
            (Known { content, tar: Some(tar), offset }, _) if content.attributes.is_empty() => (tar, *offset),
            _ => return None,
        };
        let mut tars = self.tars.lock().unwrap_or_else(PoisonError::into_inner);
        let tar = tars.entry(*digest).or_insert_with(|| store.blob(digest).ok().map(Arc::new)).clone()?;
        Some(Stored { file: tar, offset, left: u64::try_from(stat.st_size).ok()? })
    }

    /// Notes where a layer has the bytes of files that have not changed since they were read.
    pub(crate) fn stored_in(&self, tar: &Digest, files: &[(Inode, u64)]) {
        let mut new = self.learned();
        for (inode, offset) in files {
            let known = match (new.get_mut(inode), self.before.get(inode)) {
                (Some(known), _) => known,
                (None, Some((known, _))) => new.entry(*inode).or_insert_with(|| known.clone()),
                (None, None) => continue,
            };
            (known.tar, known.offset) = (Some(*tar), *offset);
        }
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
            self.learned().insert(inode, Known { content: content.clone(), tar: None, offset: 0 });
        }
        Ok(content)
    }

    /// Refuses to read what the store has no room for. Of what nobody else writes it is known that it came through an archive.
    pub(crate) fn check_room<'a>(&self, files: impl Iterator<Item = &'a Stat>) -> io::Result<()> {
        let Some(root) = self.path.as_ref().and_then(|path| path.ancestors().find(|above| above.is_dir())) else {
            return Ok(());
        };
        carrack_store::check_room(files.copied(), File::open(root)?)
    }

    /// Keeps what this build has seen for the next one.
    pub(crate) fn save(&self) -> io::Result<()> {
        let new = self.learned();
        let asked = self.before.iter().filter(|(_, (_, is_asked))| is_asked.load(Ordering::Relaxed));
        let again = asked.filter(|(inode, _)| !new.contains_key(inode)).map(|(inode, (known, _))| (inode, known));
        let now: Vec<(&Inode, &Known)> = again.chain(new.iter()).collect();
        let is_as_before = new.is_empty() && now.len() == self.before.len();
        let (Some(path), false) = (&self.path, is_as_before || now.is_empty()) else { return Ok(()) };
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let bytes = postcard::to_stdvec(&now).map_err(io::Error::other)?;
        let partial = path.with_extension(std::process::id().to_string());
        let write = || -> io::Result<()> {
            let mut file = File::create(&partial)?;
            file.write_all(checksum(&bytes)?.bytes())?;
            file.write_all(&bytes)?;
            fs::rename(&partial, path)
        };
        write().inspect_err(|_| {
            // The error that is told is the first.
            let _ = fs::remove_file(&partial);
        })
    }
}

/// None where it is missing or was cut short by a power failure.
fn read(path: &Path) -> Option<Vec<(Inode, Known)>> {
    let bytes = fs::read(path).ok()?;
    let (digest, bytes) = bytes.split_at_checked(32)?;
    (checksum(bytes).ok()?.bytes() == digest).then(|| postcard::from_bytes(bytes).ok())?
}

fn checksum(bytes: &[u8]) -> io::Result<Digest> {
    let mut hasher = Hasher::new(io::sink());
    hasher.write_all(FORMAT)?;
    hasher.write_all(bytes)?;
    Ok(hasher.finish().1)
}

/// A file's bytes, in the tar of a layer.
pub(crate) type Stored = Stretch<Arc<File>>;

/// A part of a file, read without moving the file's own place.
pub(crate) struct Stretch<F> {
    pub(crate) file: F,
    pub(crate) offset: u64,
    pub(crate) left: u64,
}

impl<F> Stretch<F> {
    pub(crate) fn size_bytes(&self) -> u64 {
        self.left
    }
}

impl<F: Deref<Target = File>> Read for Stretch<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let count = self.file.read_at(&mut buffer[..wanted], self.offset)?;
        (self.offset, self.left) = (self.offset + count as u64, self.left - count as u64);
        Ok(count)
    }
}

/// Forgets all; gives the bytes that this freed.
pub(crate) fn prune(store: &Store) -> io::Result<u64> {
    let freed_bytes = carrack_store::disk_usage(&folder(store));
    match fs::remove_dir_all(folder(store)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(freed_bytes),
    }
}
