//! Contexts from elsewhere: archives, repositories, addresses. They lie on the data root while a build uses them.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use carrack_attestation::Material;
use carrack_diag::{Diagnostic, Result};
use carrack_llb::{GitAddress, HttpAddress};
use carrack_store::{Roots, Scratch, Store};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::authorization::Secrets;
use crate::tree::small;
use crate::{archive, codes, fetch, git};

/// A context that has come from elsewhere; its folder is gone with this value.
#[derive(Debug)]
pub struct ArrivedContext {
    path: PathBuf,
    origin: Option<Material>,
    _hold: Scratch,
    _apart: Option<Apart>,
}

/// What a stream or an address without a folder's form turns out to be.
#[derive(Debug)]
pub enum Arrival {
    /// A context.
    Context(ArrivedContext),
    /// A Dockerfile's text, without any context.
    Dockerfile(String),
}

impl ArrivedContext {
    /// The folder of a git repository.
    ///
    /// # Errors
    /// `build/fetch-failed`, `build/wrong-checksum`; where there is no git.
    pub fn git(store: &Store, address: &GitAddress, secrets: &Secrets, cancel: &AtomicBool) -> Result<Self> {
        let place = Place::new(store)?;
        let (hold, folder) = place.scratch()?;
        let (path, origin) = git::checkout(address, secrets, &folder, cancel)?;
        Ok(Self { path, origin: Some(origin), _hold: hold, _apart: place.apart })
    }

    /// What it is to others; none where it came from standard input.
    pub fn origin(&self) -> Option<&Material> {
        self.origin.as_ref()
    }

    /// The context's root.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Arrival {
    /// A tar, plain or compressed, or a Dockerfile, told by the first bytes.
    ///
    /// # Errors
    /// Where it is neither, or can't be unpacked.
    pub fn of_stream(store: &Store, stream: impl Read) -> Result<Self> {
        Self::put(|| Place::new(store), stream)
    }

    fn put(place: impl FnOnce() -> Result<Place>, stream: impl Read) -> Result<Self> {
        let mut stream = archive::decompress(stream)?;
        let mut start = Vec::new();
        let read = Read::by_ref(&mut stream).take(512).read_to_end(&mut start);
        read.map_err(|error| unreadable(&error.to_string()))?;
        let is_tar = archive::is_tar(&start);
        let whole = start.as_slice().chain(stream);
        if is_tar {
            let place = place()?;
            let (hold, path) = place.scratch()?;
            carrack_store::extract(whole, &path, &path, Some((0, 0)))?;
            return Ok(Self::Context(ArrivedContext { path, origin: None, _hold: hold, _apart: place.apart }));
        }
        let bytes = small(whole).map_err(|error| unreadable(&format!("it is no tar, and {error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is neither a tar nor text"))?;
        Ok(Self::Dockerfile(text))
    }

    /// What is behind an `http://` or `https://` address.
    ///
    /// # Errors
    /// `build/fetch-failed`, and as for a stream.
    pub fn of_address(store: &Store, address: &HttpAddress, secrets: &Secrets, cancel: &AtomicBool) -> Result<Self> {
        let place = Place::new(store)?;
        let (_hold, folder) = place.scratch()?;
        let digest = fetch::fetch(&place.store, address, secrets, &folder, cancel)?;
        let file = fs::File::open(folder.join(&address.name)).map_err(|error| unreadable(&error.to_string()))?;
        let mut arrival = Self::put(|| Ok(place), file)?;
        if let Self::Context(context) = &mut arrival {
            context.origin = Some(fetch::material(address, &digest));
        }
        Ok(arrival)
    }
}

/// Where what arrives is put: on the data root, or apart where that is only to be looked at (I-5).
struct Place {
    store: Store,
    apart: Option<Apart>,
}

/// A folder for temporary files, gone with this value. The lock says that somebody uses it: the folder of a command that was
/// killed goes with the next one that takes a context in.
#[derive(Debug)]
struct Apart {
    path: PathBuf,
    _lock: OwnedFd,
}

const APART_PREFIX: &str = "carrack-context-";

impl Apart {
    fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        loop {
            let name = format!("{APART_PREFIX}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            // Nobody else's: one that is there already is refused.
            fs::DirBuilder::new().mode(0o700).create(&path)?;
            // Whoever sweeps may come in between: then it is gone, or about to be.
            if let Some(lock) = locked(&path)?
                && fs::symlink_metadata(&path).is_ok()
            {
                return Ok(Self { path, _lock: lock });
            }
        }
    }

    /// Takes away what commands have left that were killed.
    fn sweep() {
        for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().to_string_lossy().starts_with(APART_PREFIX)
                && entry.metadata().is_ok_and(|entry| entry.is_dir() && entry.uid() == geteuid().as_raw());
            if is_ours && let Ok(Some(_lock)) = locked(&entry.path()) {
                // Another one may do the same.
                let _ = carrack_store::remove_tree(&entry.path());
            }
        }
    }
}

/// None where somebody else uses the folder, or has just taken it away.
fn locked(path: &Path) -> io::Result<Option<OwnedFd>> {
    let folder = match rustix::fs::open(path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        other => other?,
    };
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(folder)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Place {
    fn new(store: &Store) -> Result<Self> {
        Apart::sweep();
        if store.is_writable() {
            return Ok(Self { store: store.clone(), apart: None });
        }
        let apart =
            Apart::new().map_err(|error| unreadable(&format!("{}: {error}", std::env::temp_dir().display())))?;
        let store = Store::open(Roots { data: apart.path.join("data"), run: apart.path.join("run") })?;
        Ok(Self { store, apart: Some(apart) })
    }

    fn scratch(&self) -> Result<(Scratch, PathBuf)> {
        let hold = self.store.scratch(None)?;
        let folder = hold.dir().join("context");
        fs::create_dir(&folder).map_err(|error| unreadable(&error.to_string()))?;
        Ok((hold, folder))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // The next command takes it away otherwise.
        let _ = carrack_store::remove_tree(&self.path);
    }
}

fn unreadable(reason: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::UNREADABLE, "the build context cannot be taken in")
        .cause(reason)
        .hint("give a tar (plain, gzip, bzip2, xz, zstd) of the context, or a Dockerfile")
        .boxed()
}
