//! Contexts from elsewhere: archives, repositories, addresses. They lie on the data root while a build uses them.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use carrack_attestation::Material;
use carrack_diag::{Diagnostic, Result};
use carrack_llb::{GitAddress, HttpAddress};
use carrack_store::{Scratch, Store};

use crate::{archive, codes, fetch, git};

/// A Dockerfile that comes alone is text that somebody has written, in bytes.
const DOCKERFILE_LIMIT_BYTES: u64 = 16 << 20;

/// A context that has come from elsewhere; its folder is gone with this value.
#[derive(Debug)]
pub struct ArrivedContext {
    path: PathBuf,
    origin: Option<Material>,
    _hold: Scratch,
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
    pub fn git(store: &Store, address: &GitAddress, cancel: &AtomicBool) -> Result<Self> {
        let (hold, folder) = scratch(store)?;
        let (path, origin) = git::checkout(address, &folder, cancel)?;
        Ok(Self { path, origin: Some(origin), _hold: hold })
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
        let mut stream = archive::decompress(stream)?;
        let mut start = Vec::new();
        let read = Read::by_ref(&mut stream).take(512).read_to_end(&mut start);
        read.map_err(|error| unreadable(&error.to_string()))?;
        let is_tar = archive::is_tar(&start);
        let mut whole = start.as_slice().chain(stream);
        if is_tar {
            let (hold, path) = scratch(store)?;
            carrack_store::extract(whole, &path, &path, Some((0, 0)))?;
            return Ok(Self::Context(ArrivedContext { path, origin: None, _hold: hold }));
        }
        let mut bytes = Vec::new();
        let read = whole.by_ref().take(DOCKERFILE_LIMIT_BYTES + 1).read_to_end(&mut bytes);
        read.map_err(|error| unreadable(&error.to_string()))?;
        if bytes.len() as u64 > DOCKERFILE_LIMIT_BYTES {
            return Err(unreadable("it is no tar, and larger than any Dockerfile"));
        }
        let text = String::from_utf8(bytes).map_err(|_| unreadable("it is neither a tar nor text"))?;
        Ok(Self::Dockerfile(text))
    }

    /// What is behind an `http://` or `https://` address.
    ///
    /// # Errors
    /// `build/fetch-failed`, and as for a stream.
    pub fn of_address(store: &Store, address: &HttpAddress, cancel: &AtomicBool) -> Result<Self> {
        let (_hold, folder) = scratch(store)?;
        let digest = fetch::fetch(store, address, &folder, cancel)?;
        let file = fs::File::open(folder.join(&address.name)).map_err(|error| unreadable(&error.to_string()))?;
        let mut arrival = Self::of_stream(store, file)?;
        if let Self::Context(context) = &mut arrival {
            context.origin = Some(fetch::material(address, &digest));
        }
        Ok(arrival)
    }
}

fn scratch(store: &Store) -> Result<(Scratch, PathBuf)> {
    let hold = store.scratch(None)?;
    let folder = hold.dir().join("context");
    fs::create_dir(&folder).map_err(|error| unreadable(&error.to_string()))?;
    Ok((hold, folder))
}

fn unreadable(reason: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::UNREADABLE, "the build context cannot be taken in")
        .cause(reason)
        .hint("give a tar (plain, gzip, bzip2, xz, zstd) of the context, or a Dockerfile")
        .boxed()
}
