//! Writing into a layer: folders, files written in place, copies.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use carrack_diag::Diagnostic;
use carrack_llb::{CopyAction, FileContent, FileMode};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};

use crate::archive;
use crate::select::{Source, xattrs};
use crate::tree::{Owner, Tree, kind, own, relative};

/// What could not be written, and why.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) path: PathBuf,
    pub(crate) error: io::Error,
    /// Said instead, where there is more to say than the system's error.
    pub(crate) diagnostic: Option<Box<Diagnostic>>,
}

impl Failure {
    fn new(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = Path::new("/").join(path);
        move |error| Self { path, error, diagnostic: None }
    }
}

/// Writes a file at a destination.
pub(crate) fn make_file(tree: &Tree, file: &FileContent, owner: Owner) -> Result<(), Failure> {
    let above = Above { owner, mode: file.mode.as_ref().map_or(Above::MODE, FileMode::of_new_folders) };
    let target = target(tree, &file.destination, Path::new(&file.name), above)?;
    let write = || -> io::Result<()> {
        let parent = tree.parent(&target)?;
        let name = target.file_name().unwrap_or_default();
        clear(tree, &target)?;
        let mut out = create(&parent, name)?;
        out.write_all(file.content.as_bytes())?;
        own(&parent, name, owner)?;
        Ok(rustix::fs::fchmod(
            &out,
            Mode::from_raw_mode(file.mode.as_ref().map_or(0o644, |mode| mode.apply(0o644, false))),
        )?)
    };
    write().map_err(Failure::new(&target))
}

/// Copies sources to the destination of `action`. `owner` none keeps the sources' owners; `from_context` makes them root's.
pub(crate) fn copy(
    from: &Tree,
    sources: &[Source],
    to: &Tree,
    action: &CopyAction,
    owner: Option<Owner>,
    from_context: bool,
) -> Result<(), Failure> {
    let owner = owner.or(from_context.then_some(Owner::ROOT));
    let mut copier = Copier { from, to, owner, mode: action.mode.as_ref(), links: HashMap::new() };
    for source in sources {
        copier.source(source, action)?;
    }
    Ok(())
}

/// What folders that are missing on the way are made with: as the reference does it, --chmod is for them too.
#[derive(Clone, Copy)]
struct Above {
    owner: Owner,
    mode: u32,
}

impl Above {
    const MODE: u32 = 0o755;

    fn make(self, tree: &Tree, path: &Path) -> io::Result<PathBuf> {
        tree.make_folders(path, self.mode, self.owner)
    }
}

/// Where a file goes: into the destination where that is a folder or ends in a slash, else it is the destination. Folders
/// that are missing are made.
fn target(tree: &Tree, destination: &str, name: &Path, above: Above) -> Result<PathBuf, Failure> {
    let path = relative(destination.trim_end_matches('/'));
    let find = || -> io::Result<PathBuf> {
        let is_folder = |path: &Path| -> io::Result<bool> {
            Ok(tree.stat(path)?.is_some_and(|stat| kind(&stat) == FileType::Directory))
        };
        if destination.ends_with('/') {
            return Ok(above.make(tree, path)?.join(name));
        }
        match tree.resolve(path)? {
            Some(real) if is_folder(&real)? => Ok(real.join(name)),
            Some(real) => Ok(real),
            None => {
                let parent = above.make(tree, path.parent().unwrap_or(Path::new("")))?;
                let target = parent.join(path.file_name().unwrap_or_default());
                // A link that leads nowhere yet: what it leads to is made.
                match tree.stat(&target)? {
                    Some(stat) if kind(&stat) == FileType::Symlink => through_link(tree, &target, above),
                    _ => Ok(target),
                }
            }
        }
    };
    find().map_err(Failure::new(path))
}

fn through_link(tree: &Tree, link: &Path, above: Above) -> io::Result<PathBuf> {
    let target = tree.link_target(link)?;
    let joined = if target.is_absolute() { target } else { link.parent().unwrap_or(Path::new("")).join(target) };
    let parent = above.make(tree, joined.parent().unwrap_or(Path::new("")))?;
    joined.file_name().map(|name| parent.join(name)).ok_or(io::ErrorKind::InvalidInput.into())
}

struct Copier<'a> {
    from: &'a Tree,
    to: &'a Tree,
    owner: Option<Owner>,
    mode: Option<&'a FileMode>,
    /// The first copy of each file that has several names.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    fn above(&self) -> Above {
        Above {
            owner: self.owner.unwrap_or(Owner::ROOT),
            mode: self.mode.map_or(Above::MODE, FileMode::of_new_folders),
        }
    }

    fn source(&mut self, source: &Source, action: &CopyAction) -> Result<(), Failure> {
        let above = self.above();
        let mut destination = action.destination.clone();
        if action.parents {
            destination = format!("{}/{}/", destination.trim_end_matches('/'), source.kept.display());
        }
        if kind(&source.stat) == FileType::Directory {
            let path = relative(destination.trim_end_matches('/'));
            let root = above.make(self.to, path).map_err(Failure::new(path))?;
            return self.folder(source, &root);
        }
        let name = Path::new(source.name.file_name().unwrap_or_default());
        if action.unpack && kind(&source.stat) == FileType::RegularFile && self.unpack(source, &destination)? {
            return Ok(());
        }
        let target = target(self.to, &destination, name, above)?;
        self.leaf(&source.real, &source.stat, &target).map_err(Failure::new(&target))
    }

    /// The content of a folder. Folders get their attributes last, when nothing changes their times any more.
    fn folder(&mut self, source: &Source, root: &Path) -> Result<(), Failure> {
        let mut folders = Vec::new();
        for entry in &source.entries {
            let (real, target) = (source.real.join(&entry.path), root.join(&entry.path));
            if kind(&entry.stat) == FileType::Directory {
                self.make(&target).map_err(Failure::new(&target))?;
                folders.push((real, target, &entry.stat));
            } else {
                self.leaf(&real, &entry.stat, &target).map_err(Failure::new(&target))?;
            }
        }
        for (real, target, stat) in folders.into_iter().rev() {
            self.attributes(&real, stat, &target).map_err(Failure::new(&target))?;
        }
        Ok(())
    }

    fn make(&self, target: &Path) -> io::Result<()> {
        match self.to.stat(target)? {
            Some(stat) if kind(&stat) == FileType::Directory => Ok(()),
            Some(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, "a folder cannot replace what is no folder")),
            None => {
                let parent = self.to.parent(target)?;
                Ok(rustix::fs::mkdirat(parent, target.file_name().unwrap_or_default(), Mode::RWXU)?)
            }
        }
    }

    fn leaf(&mut self, real: &Path, stat: &Stat, target: &Path) -> io::Result<()> {
        clear(self.to, target)?;
        let parent = self.to.parent(target)?;
        let name = target.file_name().unwrap_or_default();
        match kind(stat) {
            FileType::RegularFile => {
                if stat.st_nlink > 1 {
                    if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                        let (folder, old) = (self.to.parent(first)?, first.file_name().unwrap_or_default());
                        return Ok(rustix::fs::linkat(folder, old, &parent, name, AtFlags::empty())?);
                    }
                    self.links.insert((stat.st_dev, stat.st_ino), target.to_owned());
                }
                io::copy(&mut self.from.file(real)?, &mut create(&parent, name)?)?;
            }
            FileType::Symlink => rustix::fs::symlinkat(self.from.link_target(real)?, &parent, name)?,
            other => rustix::fs::mknodat(&parent, name, other, Mode::RUSR, stat.st_rdev)?,
        }
        self.attributes(real, stat, target)
    }

    /// Owner first: a change of owner takes set-id bits and capabilities away.
    fn attributes(&self, real: &Path, stat: &Stat, target: &Path) -> io::Result<()> {
        let parent = self.to.parent(target)?;
        let name = target.file_name().unwrap_or_default();
        own(&parent, name, self.owner.unwrap_or(Owner { uid: stat.st_uid, gid: stat.st_gid }))?;
        if kind(stat) != FileType::Symlink {
            let is_folder = kind(stat) == FileType::Directory;
            let mode = self.mode.map_or(stat.st_mode, |mode| mode.apply(stat.st_mode, is_folder));
            let mode = Mode::from_raw_mode(mode & 0o7777);
            rustix::fs::chmodat(&parent, name, mode, AtFlags::empty())?;
        }
        // Nothing else can be opened for them.
        if matches!(kind(stat), FileType::RegularFile | FileType::Directory) {
            for (key, value) in xattrs(self.from.open(real, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?)? {
                let file = self.to.open(target, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?;
                rustix::fs::fsetxattr(&file, &key, &value, XattrFlags::empty())?;
            }
        }
        let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::utimensat(&parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Unpacks an archive into the destination. Whether it was one.
    fn unpack(&self, source: &Source, destination: &str) -> Result<bool, Failure> {
        let mut file = self.from.file(&source.real).map_err(Failure::new(&source.real))?;
        if !archive::is_archive(&mut file).map_err(Failure::new(&source.real))? {
            return Ok(false);
        }
        let path = relative(destination.trim_end_matches('/'));
        let folder = self.above().make(self.to, path).map_err(Failure::new(path))?;
        let open = self.to.open(&folder, OFlags::RDONLY | OFlags::DIRECTORY).map_err(Failure::new(&folder))?;
        // The tree is mounted nowhere, so the folder has no other path.
        let here = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        let unpacked = archive::decompress(file).and_then(|tar| {
            carrack_store::extract(
                tar,
                &here,
                &Path::new("/").join(&folder),
                self.owner.map(|owner| (owner.uid, owner.gid)),
            )
        });
        unpacked.map(|()| true).map_err(|diagnostic| Failure {
            path: source.real.clone(),
            error: io::ErrorKind::InvalidData.into(),
            diagnostic: Some(diagnostic),
        })
    }
}

fn create(parent: &OwnedFd, name: &std::ffi::OsStr) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Takes away what a file replaces.
fn clear(tree: &Tree, target: &Path) -> io::Result<()> {
    match tree.stat(target)? {
        Some(stat) if kind(&stat) == FileType::Directory => {
            Err(io::Error::new(io::ErrorKind::IsADirectory, "a file cannot replace a folder"))
        }
        Some(_) => {
            Ok(rustix::fs::unlinkat(tree.parent(target)?, target.file_name().unwrap_or_default(), AtFlags::empty())?)
        }
        None => Ok(()),
    }
}
