//! Copying between trees that somebody else may change meanwhile, as `docker cp` does (CVE-2018-15664, CVE-2019-14271).
//!
//! A tree is a descriptor of its root. Its paths are resolved by the kernel inside of it (`openat2`), one lookup each; what
//! was found is what is used, and what a link in its place would lead to never is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::diff::write_entry;
use super::extract::{Merge, Trouble, merge};
use super::node;
use super::view::path_of;
use crate::codes;

/// How many links one path may lead over; the kernel's own bound.
const LINKS_MAX: usize = 40;

/// How much is looked at for being zeros: a page, the least that a file system leaves out.
const HOLE_BYTES: usize = 4096;

/// A tree, and what it is called.
#[derive(Debug)]
pub struct Place {
    root: OwnedFd,
    /// Whether nothing may lead out of it.
    is_confined: bool,
    shown: String,
}

/// What stands at a path, or could.
#[derive(Debug)]
pub struct Found {
    parent: OwnedFd,
    name: Vec<u8>,
    stat: Option<Stat>,
    /// From the root, with what the last link led to.
    path: PathBuf,
}

impl Found {
    /// None where there is nothing.
    pub fn kind(&self) -> Option<FileType> {
        self.stat.as_ref().map(node::file_type)
    }

    /// Whether there is a folder.
    pub fn is_dir(&self) -> bool {
        self.kind() == Some(FileType::Directory)
    }

    /// From the root of its tree, with what the last link led to.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        if self.name == b"." { b"" } else { &self.name }
    }
}

impl Place {
    /// The caller's own tree.
    ///
    /// # Errors
    /// `store/copy`.
    pub fn host() -> Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(rustix::fs::CWD, "/", flags, Mode::empty()) {
            Ok(root) => Ok(Self { root, is_confined: false, shown: String::new() }),
            Err(error) => Err(wrong("can't open /").cause(error.to_string()).boxed()),
        }
    }

    /// The tree below a folder, called `shown`, whose own links and mounts are those of somebody else.
    pub fn confined(root: OwnedFd, shown: impl Into<String>) -> Self {
        Self { root, is_confined: true, shown: shown.into() }
    }

    /// What people call a path of it.
    pub fn show(&self, path: &Path) -> String {
        match self.shown.as_str() {
            "" => path.display().to_string(),
            name => format!("{name}:{}", path.display()),
        }
    }

    /// Looks a path up, which counts from the root. Of its last component a link is what it leads to where `follow`
    /// says so.
    ///
    /// # Errors
    /// `store/copy` where the folder that it is to be in is missing.
    pub fn find(&self, path: &Path, follow: bool) -> Result<Found> {
        let mut path = Path::new("/").join(path);
        let failed = |path: &Path, error: io::Error| self.failed("find", path, &error);
        for _ in 0..LINKS_MAX {
            // Without a last component, as of `/` and `a/..`, it is a folder anyway.
            let (folder, name) = match (path.parent(), path.file_name()) {
                (Some(folder), Some(name)) => (folder.to_owned(), name.as_bytes().to_vec()),
                _ => (path.clone(), b".".to_vec()),
            };
            let parent = self.open(&folder).map_err(|error| failed(&folder, error.into()))?;
            let stat = node::find(parent.as_fd(), &name).map_err(|error| failed(&path, error))?;
            if follow && stat.as_ref().is_some_and(|stat| node::file_type(stat) == FileType::Symlink) {
                let target = rustix::fs::readlinkat(&parent, name.as_slice(), Vec::new());
                let target = target.map_err(|error| failed(&path, error.into()))?;
                path = folder.join(path_of(target.as_bytes()));
                continue;
            }
            return Ok(Found { parent, name, stat, path });
        }
        Err(failed(&path, Errno::LOOP.into()))
    }

    /// A regular file of at most so many bytes; none where there is none.
    ///
    /// # Errors
    /// `store/copy`.
    pub fn read(&self, path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>> {
        let Ok(found) = self.find(path, true) else { return Ok(None) };
        if found.kind() != Some(FileType::RegularFile) {
            return Ok(None);
        }
        let mut content = Vec::new();
        node::open_file(found.parent.as_fd(), &found.name)
            .and_then(|file| file.take(limit_bytes).read_to_end(&mut content))
            .map_err(|error| self.failed("read", path, &error))?;
        Ok(Some(content))
    }

    fn open(&self, folder: &Path) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if !self.is_confined {
            return rustix::fs::openat(&self.root, folder, flags, Mode::empty());
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, folder, flags, Mode::empty(), resolve)
    }

    /// Writes what was found as a tar, its first member under the name `name`.
    ///
    /// # Errors
    /// `store/copy`.
    pub fn pack(&self, found: &Found, name: &[u8], out: impl Write) -> Result<()> {
        let missing = || Err(io::ErrorKind::NotFound.into());
        let write = |stat| write_entry(found.parent.as_fd(), &found.name, stat, name.to_vec(), out);
        found.stat.as_ref().map_or_else(missing, write).map_err(|error| self.failed("read", &found.path, &error))
    }

    /// Unpacks a plain tar into the folder at `folder`, which exists. Members never leave the tree, whatever they are called
    /// and whatever links there are. `owner` replaces every member's.
    ///
    /// # Errors
    /// `store/copy`; what was unpacked until then stays.
    pub fn unpack(&self, tar: impl Read, folder: &Path, owner: Option<(u32, u32)>) -> Result<()> {
        let below = super::view::components(folder).into_iter();
        let below: Vec<Vec<u8>> = below
            .map(|step| match step {
                super::view::Step::Down(name) => name,
                super::view::Step::Up => b"..".to_vec(),
            })
            .collect();
        // What a tree is changed below is opened anew: this descriptor is for looking only.
        let root =
            rustix::fs::openat(&self.root, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|error| self.failed("open", Path::new("/"), &error.into()))?;
        merge(tar, Merge { root, below: &below, owner }).map_err(|(member, trouble)| {
            let path = folder.join(path_of(&member));
            match trouble {
                Trouble::Io(error) => self.failed("write", &path, &error),
                Trouble::Below(diagnostic) => diagnostic,
                Trouble::Refused(reason) => {
                    let shown = crate::tar::shown(path.as_os_str().as_bytes());
                    let shown = self.show(Path::new(&shown));
                    wrong(format!("can't write {shown}"))
                        .cause(format!("`{}` {reason}", crate::tar::shown(&member)))
                        .boxed()
                }
            }
        })
    }

    fn failed(&self, attempt: &str, path: &Path, error: &io::Error) -> Box<Diagnostic> {
        let shown = crate::tar::shown(path.as_os_str().as_bytes());
        let diagnostic = wrong(format!("can't {attempt} {}", self.show(Path::new(&shown)))).cause(error.to_string());
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::ROFS) => diagnostic.hint(
                "it is read-only there; a temporary file system is to be written to only while the container runs",
            ),
            Some(Errno::NOENT) => diagnostic.hint("the folder must be there before"),
            _ => diagnostic,
        }
        .boxed()
    }
}

/// An archive that is none, or ends too early.
pub(super) fn unreadable(reason: &str) -> Box<Diagnostic> {
    wrong("the archive can't be read").cause(reason).hint("write it again with GNU tar, bsdtar or docker").boxed()
}

fn wrong(message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(&codes::COPY, message)
}

/// Writes a new file and leaves out what is zeros.
pub(super) fn copy_with_holes(content: &mut impl Read, file: &File) -> io::Result<()> {
    let mut buffer = vec![0; 64 * HOLE_BYTES];
    let mut end = 0;
    loop {
        let count = fill(content, &mut buffer)?;
        let read = &buffer[..count];
        let mut from = 0;
        while from < count {
            let is_hole = |block: &[u8]| block.len() == HOLE_BYTES && block.iter().all(|byte| *byte == 0);
            let blocks = |from: usize| read[from..].chunks(HOLE_BYTES);
            let length: usize = blocks(from).take_while(|block| !is_hole(block)).map(<[u8]>::len).sum();
            file.write_all_at(&read[from..from + length], end + from as u64)?;
            from += length;
            from += blocks(from).take_while(|block| is_hole(block)).map(<[u8]>::len).sum::<usize>();
        }
        end += count as u64;
        if count < buffer.len() {
            return file.set_len(end);
        }
    }
}

/// Reads until the buffer is full or there is no more.
fn fill(content: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match content.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
