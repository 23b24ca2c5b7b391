//! Contexts from elsewhere: archives, repositories, addresses. They lie on the data root while a build uses them.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use carrack_attestation::Material;
use carrack_diag::{Diagnostic, Result};
use carrack_llb::{GitAddress, HttpAddress};
use carrack_store::{Roots, Scratch, Store, TemporaryFolder};

use crate::authorization::Secrets;
use crate::tree::small;
use crate::{archive, codes, fetch, git};

/// A context that has come from elsewhere; its folder is gone with this value.
#[derive(Debug)]
pub struct ArrivedContext {
    path: PathBuf,
    origin: Option<Material>,
    _hold: Scratch,
    _apart: Option<TemporaryFolder>,
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
    apart: Option<TemporaryFolder>,
}

const APART_PREFIX: &str = "carrack-context-";

impl Place {
    fn new(store: &Store) -> Result<Self> {
        TemporaryFolder::sweep(APART_PREFIX);
        if store.is_writable() {
            return Ok(Self { store: store.clone(), apart: None });
        }
        let apart = TemporaryFolder::new(APART_PREFIX, 0o700)?;
        let store = Store::open(Roots { data: apart.path().join("data"), run: apart.path().join("run") })?;
        Ok(Self { store, apart: Some(apart) })
    }

    fn scratch(&self) -> Result<(Scratch, PathBuf)> {
        let hold = self.store.scratch(None)?;
        let folder = hold.dir().join("context");
        fs::create_dir(&folder).map_err(|error| unreadable(&error.to_string()))?;
        Ok((hold, folder))
    }
}

fn unreadable(reason: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::UNREADABLE, "the build context cannot be taken in")
        .cause(reason)
        .hint("give a tar (plain, gzip, bzip2, xz, zstd) of the context, or a Dockerfile")
        .boxed()
}
