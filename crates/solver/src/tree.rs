//! A file system tree seen from its root: every path is resolved inside of it, whatever links it holds.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use carrack_store::Upper;
use carrack_sys::overlay::Overlay;
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Uid};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

/// As many as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Dockerfiles, ignore files and lists of users are texts that somebody has written, in bytes.
const TEXT_LIMIT_BYTES: u64 = 16 << 20;

/// As long as the kernel takes a path (path_resolution(7)).
const PATH_MAX_BYTES: usize = 4095;

/// Who a new file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    pub(crate) const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// An open tree. Its mount, where it is one, is in no namespace and ends with this value.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
}

impl Tree {
    /// A folder of the host.
    pub(crate) fn folder(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// What layers show, topmost first, with what is written going to `upper`. Without one it is read-only.
    pub(crate) fn overlay(lower: &[PathBuf], upper: Option<&Upper>) -> io::Result<Self> {
        let attributes = match upper {
            Some(_) => MountAttrFlags::empty(),
            None => MountAttrFlags::MOUNT_ATTR_RDONLY,
        };
        let upper = upper.map(|Upper { upper, work }| (upper.as_path(), work.as_path()));
        let overlay = Overlay { lower, upper, volatile: upper.is_some(), attributes };
        let root = overlay.mount().map_err(|refusal| {
            let error = io::Error::from(refusal.errno);
            io::Error::new(error.kind(), format!("{}: {error}", refusal.detail))
        })?;
        Ok(Self { root })
    }

    pub(crate) fn descriptor(&self) -> std::os::fd::BorrowedFd<'_> {
        use std::os::fd::AsFd as _;
        self.root.as_fd()
    }

    /// Opens a path that holds no links. A link that appears there meanwhile is an error, not an escape.
    pub(crate) fn open(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(carrack_sys::file::open_below(&self.root, path, flags, resolve)?)
    }

    /// The folder that a path lies in.
    pub(crate) fn parent(&self, path: &Path) -> io::Result<OwnedFd> {
        self.open(path.parent().unwrap_or(Path::new("")), OFlags::PATH | OFlags::DIRECTORY)
    }

    /// A regular file's content, where it is one. Opening does not wait for a pipe's other end.
    pub(crate) fn file(&self, path: &Path) -> io::Result<File> {
        let file = File::from(self.open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(Errno::INVAL.into()) }
    }

    /// What stands at a path that holds no links but maybe its last part; none where nothing does.
    pub(crate) fn stat(&self, path: &Path) -> io::Result<Option<Stat>> {
        let found = match path.file_name() {
            None => rustix::fs::fstat(&self.root).map_err(io::Error::from),
            Some(name) => {
                self.parent(path).and_then(|parent| Ok(rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)?))
            }
        };
        match found {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names in a folder, sorted.
    pub(crate) fn names(&self, path: &Path) -> io::Result<Vec<OsString>> {
        names(&self.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?)
    }

    pub(crate) fn link_target(&self, path: &Path) -> io::Result<PathBuf> {
        let target = rustix::fs::readlinkat(self.parent(path)?, path.file_name().unwrap_or_default(), Vec::new())?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }

    /// Where a path leads after all links, relative to the root, which `..` and absolute links do not leave; none where
    /// nothing is there.
    pub(crate) fn resolve(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        walk(path, &mut |here| self.look(here))
    }

    fn look(&self, path: &Path) -> io::Result<Option<Option<PathBuf>>> {
        match self.stat(path)? {
            None => Ok(None),
            Some(stat) if kind(&stat) == FileType::Symlink => Ok(Some(Some(self.link_target(path)?))),
            Some(_) => Ok(Some(None)),
        }
    }

    /// What would have to be made for a path to be there: itself and the folders above it, after all links.
    pub(crate) fn missing(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut missing = Vec::new();
        walk(path, &mut |here| {
            let found = self.look(here)?;
            if found.is_none() {
                missing.push(here.to_owned());
            }
            Ok(Some(found.flatten()))
        })?;
        Ok(missing)
    }

    /// Where a path leads as in [`Tree::resolve`], making every folder that is missing.
    pub(crate) fn make_folders(&self, path: &Path, mode: u32, owner: Owner) -> io::Result<PathBuf> {
        let made = walk(path, &mut |here| {
            if let Some(found) = self.look(here)? {
                return Ok(Some(found));
            }
            let parent = self.parent(here)?;
            let name = here.file_name().unwrap_or_default();
            rustix::fs::mkdirat(&parent, name, Mode::RWXU)?;
            own(&parent, name, owner)?;
            rustix::fs::chmodat(&parent, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
            Ok(Some(None))
        })?;
        let made = made.ok_or(io::ErrorKind::NotFound)?;
        match self.stat(&made)? {
            Some(stat) if kind(&stat) == FileType::Directory => Ok(made),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// A small text file, links followed; empty where it is missing.
    pub(crate) fn text(&self, path: &Path) -> io::Result<String> {
        let bytes = self.bytes(path)?.unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A small file, links followed; none where it is missing. A large one is an error.
    pub(crate) fn bytes(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let Some(real) = self.resolve(path)? else { return Ok(None) };
        small(self.file(&real)?).map(Some)
    }
}

/// All of a small file. An endless one is an error, and so is one that would have to be cut.
pub(crate) fn small(file: impl io::Read) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut bytes = Vec::new();
    file.take(TEXT_LIMIT_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > TEXT_LIMIT_BYTES {
        true => Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {} MiB, and than any text that somebody has written", TEXT_LIMIT_BYTES >> 20),
        )),
        false => Ok(bytes),
    }
}

/// Names in an open folder, sorted.
pub(crate) fn names(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(OsString::from_vec(name));
        }
    }
    names.sort();
    Ok(names)
}

/// Follows a path inside of a root. `look` says what stands at a path whose folders are no links: nothing, something, or a
/// link to somewhere.
pub(crate) fn walk(
    path: &Path,
    look: &mut dyn FnMut(&Path) -> io::Result<Option<Option<PathBuf>>>,
) -> io::Result<Option<PathBuf>> {
    if path.as_os_str().len() > PATH_MAX_BYTES {
        return Err(Errno::NAMETOOLONG.into());
    }
    let mut rest = steps(path);
    let mut here = PathBuf::new();
    let mut links = 0;
    while let Some(step) = rest.pop_front() {
        let Some(name) = step else {
            here.pop();
            continue;
        };
        here.push(name);
        let Some(found) = look(&here)? else { return Ok(None) };
        let Some(target) = found else { continue };
        links += 1;
        if links > LINKS_MAX {
            return Err(Errno::LOOP.into());
        }
        here.pop();
        if target.is_absolute() {
            here.clear();
        }
        for step in steps(&target).into_iter().rev() {
            rest.push_front(step);
        }
    }
    Ok(Some(here))
}

pub(crate) fn own(parent: &OwnedFd, name: &OsStr, owner: Owner) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
    Ok(rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
}

pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The parts of a path; none is `..`.
fn steps(path: &Path) -> VecDeque<Option<OsString>> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(Some(name.to_owned())),
            Component::ParentDir => Some(None),
            _ => None,
        })
        .collect()
}

/// A path of an instruction, relative to the root of its tree.
pub(crate) fn relative(path: &str) -> &Path {
    Path::new(OsStr::from_bytes(path.trim_start_matches('/').as_bytes()))
}
