use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::{Digest, Hasher};

use crate::fault::{Context as _, present};
use crate::files::{self, Durability, Held};
use crate::{Lease, Store, codes};

/// Content on its way in: hashed as it is written, invisible until committed, gone when dropped.
pub struct Ingest {
    store: Store,
    held: Held,
    file: File,
    /// None where hashing has failed: what is written then can't be believed any more.
    hashing: Option<Hashing>,
    /// So much of it is on its way to the disk.
    written_back: u64,
}

/// Hashes beside the writing once there is much of it: both take about as long.
enum Hashing {
    Here(Hasher<io::Sink>),
    Beside(Beside),
}

struct Beside {
    full: SyncSender<Vec<u8>>,
    /// Buffers that have been hashed: new ones would cost as much as filling them.
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<Hasher<io::Sink>>,
    size_bytes: u64,
}

/// So much is hashed before a thread pays.
const HASHED_HERE_BYTES: u64 = 1 << 20;
/// Writes that may wait to be hashed.
const WAITING_COUNT: usize = 8;

impl Hashing {
    fn update(self, bytes: &[u8]) -> io::Result<Self> {
        match self {
            Self::Here(mut hasher) if hasher.size_bytes() < HASHED_HERE_BYTES => {
                hasher.write_all(bytes)?;
                Ok(Self::Here(hasher))
            }
            Self::Here(mut hasher) => {
                let size_bytes = hasher.size_bytes();
                let (full, filled) = sync_channel::<Vec<u8>>(WAITING_COUNT);
                let (emptied, empty) = channel();
                let work = move || {
                    for bytes in filled {
                        // Hashing into nothing can't fail; nor matters it that nobody wants the buffer any more.
                        let _ = hasher.write_all(&bytes);
                        let _ = emptied.send(bytes);
                    }
                    hasher
                };
                let thread = std::thread::Builder::new().name("hash".into()).spawn(work)?;
                Self::Beside(Beside { full, empty, thread, size_bytes }).update(bytes)
            }
            Self::Beside(mut beside) => {
                let mut buffer = beside.empty.try_recv().unwrap_or_default();
                buffer.clear();
                buffer.extend_from_slice(bytes);
                beside.full.send(buffer).map_err(|_| io::Error::other("the hashing thread ended"))?;
                beside.size_bytes += bytes.len() as u64;
                Ok(Self::Beside(beside))
            }
        }
    }

    fn size_bytes(&self) -> u64 {
        match self {
            Self::Here(hasher) => hasher.size_bytes(),
            Self::Beside(beside) => beside.size_bytes,
        }
    }

    fn finish(self) -> io::Result<(Digest, u64)> {
        let hasher = match self {
            Self::Here(hasher) => hasher,
            Self::Beside(beside) => {
                drop(beside.full);
                beside.thread.join().map_err(|_| io::Error::other("the hashing thread ended"))?
            }
        };
        let (_, digest, size_bytes) = hasher.finish();
        Ok((digest, size_bytes))
    }
}

/// So much at a time begins its way to the disk while more is written: a sync at the end shall find little to do.
const WRITEBACK_BYTES: u64 = 8 << 20;

impl Store {
    /// Begins to take in content.
    ///
    /// # Errors
    /// Where the temporary file can't be made.
    pub fn ingest(&self) -> Result<Ingest> {
        self.mutable()?;
        let held = Held::file(&self.ingest_dir())?;
        let file = held.file.try_clone().context("open", &held.path)?;
        let hashing = Some(Hashing::Here(Hasher::new(io::sink())));
        Ok(Ingest { store: self.clone(), held, file, hashing, written_back: 0 })
    }

    /// Takes in bytes that are at hand.
    ///
    /// # Errors
    /// As [`Store::ingest`] and [`Ingest::commit`].
    pub fn ingest_bytes(&self, lease: &Lease, bytes: &[u8]) -> Result<Digest> {
        let mut ingest = self.ingest()?;
        ingest.write_all(bytes).context("write", &ingest.held.path)?;
        Ok(ingest.commit(lease, None)?.0)
    }

    /// Whether the blob is there.
    pub fn has_blob(&self, digest: &Digest) -> bool {
        self.blob_path(digest).is_file()
    }

    /// Opens a blob for reading. The bytes were verified when they were committed.
    ///
    /// # Errors
    /// `store/not-found`.
    pub fn blob(&self, digest: &Digest) -> Result<File> {
        let path = self.blob_path(digest);
        present(File::open(&path)).context("read the blob", &path)?.ok_or_else(|| {
            Diagnostic::error(
                &codes::NOT_FOUND,
                format!("the blob {digest} is not below {}", self.roots().data.display()),
            )
            .boxed()
        })
    }

    /// The whole of a small blob, verified again.
    ///
    /// # Errors
    /// `store/not-found`, `store/digest-mismatch`, and `store/invalid-image` where it is larger than `limit_bytes`.
    pub fn read_blob(&self, digest: &Digest, limit_bytes: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut file = self.blob(digest)?.take(limit_bytes + 1);
        file.read_to_end(&mut bytes).context("read the blob", &self.blob_path(digest))?;
        if bytes.len() as u64 > limit_bytes {
            let message = format!("the blob {digest} is larger than {limit_bytes} bytes");
            return Err(Diagnostic::error(&codes::INVALID_IMAGE, message).boxed());
        }
        let found = Digest::of(&bytes);
        if found == *digest { Ok(bytes) } else { Err(mismatch(digest, &found)) }
    }

    /// The size of a blob in bytes; none where it is not there.
    pub fn blob_size_bytes(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.blob_path(digest)).ok().map(|metadata| metadata.len())
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs_dir().join(digest.hex())
    }

    pub(crate) fn blobs_dir(&self) -> PathBuf {
        self.roots().data.join("content/blobs/sha256")
    }

    /// All blobs.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn blobs(&self) -> Result<Vec<Digest>> {
        Ok(files::names(&self.blobs_dir())?.iter().filter_map(|name| Digest::from_hex(name)).collect())
    }
}

/// Complete and hashed; only the name is missing.
pub struct Sealed {
    held: Held,
    /// Of all of it.
    pub digest: Digest,
    /// All of it.
    pub size_bytes: u64,
}

impl Sealed {
    /// Waits until it is on disk.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn sync(&self) -> Result<()> {
        self.held.file.sync_all().context("sync", &self.held.path)
    }
}

impl Sealed {
    pub(crate) fn path(&self) -> &Path {
        &self.held.path
    }
}

impl Ingest {
    /// Verifies, syncs and makes the content visible; kept by `lease` until something refers to it.
    ///
    /// Gives the digest and the size in bytes. Content that is there already is not written twice.
    ///
    /// # Errors
    /// `store/digest-mismatch` where `expected` is another digest: nothing is kept then.
    pub fn commit(self, lease: &Lease, expected: Option<&Digest>) -> Result<(Digest, u64)> {
        let store = self.store.clone();
        let sealed = self.seal(expected, Durability::Synced)?;
        let result = (sealed.digest, sealed.size_bytes);
        store.publish(sealed, lease, Durability::Synced)?;
        Ok(result)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// `store/disk-full` and whatever else keeps them from being written.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).context("write", &self.held.path)
    }

    /// How many bytes were written.
    pub fn size_bytes(&self) -> u64 {
        self.hashing.as_ref().map_or(0, Hashing::size_bytes)
    }

    /// What is written so far, readable from its beginning while more is written; its own place in it.
    ///
    /// # Errors
    /// Where it can't be opened again.
    pub fn reader(&self) -> Result<File> {
        File::open(&self.held.path).context("read", &self.held.path)
    }

    /// Verified and, if asked for, synced, but without a name.
    ///
    /// # Errors
    /// `store/digest-mismatch` where `expected` is another digest.
    pub fn seal(self, expected: Option<&Digest>, durability: Durability) -> Result<Sealed> {
        let finished = self.hashing.ok_or_else(no_hashing).and_then(Hashing::finish);
        let (digest, size_bytes) = finished.context("hash", &self.held.path)?;
        let file = self.file;
        if let Some(expected) = expected
            && *expected != digest
        {
            return Err(mismatch(expected, &digest));
        }
        if durability == Durability::Synced {
            file.sync_all().context("sync", &self.held.path)?;
        }
        Ok(Sealed { held: self.held, digest, size_bytes })
    }
}

impl Store {
    /// Gives sealed content its name. The lease comes first, so that a prune beside us never takes it away.
    ///
    /// # Errors
    /// Where it can't be renamed or its folder not be synced.
    pub fn publish(&self, sealed: Sealed, lease: &Lease, durability: Durability) -> Result<()> {
        lease.add(&[sealed.digest])?;
        let path = self.blob_path(&sealed.digest);
        if !path.exists() {
            fs::rename(&sealed.held.path, &path).context("commit the blob", &path)?;
        }
        // Also where somebody else was faster: the folder may not be on disk yet.
        if durability == Durability::Synced { files::sync_dir(&self.blobs_dir()) } else { Ok(()) }
    }
}

fn no_hashing() -> io::Error {
    io::Error::other("what came before could not be hashed")
}

fn mismatch(expected: &Digest, found: &Digest) -> Box<Diagnostic> {
    Diagnostic::error(&codes::DIGEST_MISMATCH, format!("the content of {expected} is {found}"))
        .hint("fetch or make it again; nothing of it was kept")
        .boxed()
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let hashing = self.hashing.take().ok_or_else(no_hashing)?;
        let count = self.file.write(bytes);
        let hashing = self.hashing.insert(match &count {
            Ok(count) => hashing.update(&bytes[..*count])?,
            Err(_) => hashing,
        });
        let count = count?;
        let behind = hashing.size_bytes() - self.written_back;
        if behind >= WRITEBACK_BYTES {
            // Sooner or later the kernel does it unasked.
            let _ = carrack_sys::file::start_writeback(&self.held.file, self.written_back, behind);
            self.written_back += behind;
        }
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
