//! Where copies go: a tree on disk, or a layer that is being written.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use carrack_store::LayerAttributes;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};

use crate::tree::{Owner, Tree, kind, own, walk};

/// What belongs to an inode besides its content.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) owner: Owner,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Seconds and nanoseconds since the epoch.
    pub(crate) modified: (i64, u32),
    pub(crate) xattrs: Vec<(CString, Vec<u8>)>,
}

impl Attributes {
    /// Of what is made just now.
    pub(crate) fn now(owner: Owner, mode: u32) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or_default();
        Self { owner, mode, modified: (seconds, now.subsec_nanos()), xattrs: Vec::new() }
    }

    pub(crate) fn of_a_layer(&self) -> LayerAttributes {
        let xattrs = self.xattrs.iter().map(|(name, value)| (name.to_bytes().to_vec(), value.clone()));
        LayerAttributes {
            mode: self.mode,
            uid: self.owner.uid,
            gid: self.owner.gid,
            modified: self.modified,
            xattrs: xattrs.collect(),
        }
    }
}

/// What is put somewhere.
pub(crate) enum Node<'a> {
    /// So many bytes.
    File(u64, &'a mut dyn Read),
    Link(&'a Path),
    /// Another name of a file that was put at this path.
    Again(&'a Path),
    /// Anything else, with its device number.
    Special(FileType, u64),
}

/// Paths are relative to the root. Those of [`Place::kind`], [`Place::link_target`], [`Place::put`] and folders hold no links
/// but maybe in their last part.
pub(crate) trait Place {
    fn kind(&self, path: &Path) -> io::Result<Option<FileType>>;

    fn link_target(&self, path: &Path) -> io::Result<PathBuf>;

    /// Where a path leads after all links, every folder that is missing being made.
    fn make_folders(&mut self, path: &Path, mode: u32, owner: Owner) -> io::Result<PathBuf>;

    /// Makes one folder, or takes one that is there.
    fn begin_folder(&mut self, path: &Path, attributes: &Attributes) -> io::Result<()>;

    /// When nothing more comes into it.
    fn end_folder(&mut self, path: &Path, attributes: &Attributes) -> io::Result<()>;

    /// Puts what is no folder, instead of what is there; gives where in a layer's tar its content begins, where there is one.
    fn put(&mut self, path: &Path, node: Node<'_>, attributes: &Attributes) -> io::Result<Option<u64>>;

    /// Where a path leads after all links; none where nothing is there.
    fn resolve(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        walk(path, &mut |path| match self.kind(path)? {
            None => Ok(None),
            Some(FileType::Symlink) => Ok(Some(Some(self.link_target(path)?))),
            Some(_) => Ok(Some(None)),
        })
    }
}

/// A tree on disk that may be written to.
pub(crate) struct OnDisk<'a>(pub(crate) &'a Tree);

impl OnDisk<'_> {
    fn set(&self, parent: &OwnedFd, name: &OsStr, is_link: bool, attributes: &Attributes) -> io::Result<()> {
        // Owner first: a change of owner takes set-id bits and capabilities away.
        own(parent, name, attributes.owner)?;
        if !is_link {
            rustix::fs::chmodat(parent, name, Mode::from_raw_mode(attributes.mode & 0o7777), AtFlags::empty())?;
        }
        if !attributes.xattrs.is_empty() {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = rustix::fs::openat(parent, name, flags, Mode::empty())?;
            for (key, value) in &attributes.xattrs {
                rustix::fs::fsetxattr(&file, key, value, XattrFlags::empty())?;
            }
        }
        let time = Timespec { tv_sec: attributes.modified.0, tv_nsec: attributes.modified.1.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

fn name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or(OsStr::from_bytes(b"."))
}

impl Place for OnDisk<'_> {
    fn kind(&self, path: &Path) -> io::Result<Option<FileType>> {
        Ok(self.0.stat(path)?.as_ref().map(kind))
    }

    fn link_target(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.link_target(path)
    }

    fn make_folders(&mut self, path: &Path, mode: u32, owner: Owner) -> io::Result<PathBuf> {
        self.0.make_folders(path, mode, owner)
    }

    fn begin_folder(&mut self, path: &Path, _: &Attributes) -> io::Result<()> {
        match self.kind(path)? {
            Some(FileType::Directory) => Ok(()),
            Some(_) => Err(io::Error::new(io::ErrorKind::NotADirectory, "a folder cannot replace what is no folder")),
            None => Ok(rustix::fs::mkdirat(self.0.parent(path)?, name(path), Mode::RWXU)?),
        }
    }

    fn end_folder(&mut self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        self.set(&self.0.parent(path)?, name(path), false, attributes)
    }

    fn put(&mut self, path: &Path, node: Node<'_>, attributes: &Attributes) -> io::Result<Option<u64>> {
        let (parent, name) = (self.0.parent(path)?, name(path));
        match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if kind(&stat) == FileType::Directory => {
                return Err(io::Error::new(io::ErrorKind::IsADirectory, "a file cannot replace a folder"));
            }
            Ok(_) => rustix::fs::unlinkat(&parent, name, AtFlags::empty())?,
            Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let is_link = matches!(node, Node::Link(_));
        match node {
            Node::File(size_bytes, content) => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut file = File::from(rustix::fs::openat(&parent, name, flags, Mode::RUSR | Mode::WUSR)?);
                io::copy(&mut content.take(size_bytes), &mut file)?;
            }
            Node::Link(target) => rustix::fs::symlinkat(target, &parent, name)?,
            Node::Again(first) => {
                let (folder, old) = (self.0.parent(first)?, first.file_name().unwrap_or_default());
                rustix::fs::linkat(folder, old, &parent, name, AtFlags::empty())?;
                return Ok(None);
            }
            Node::Special(kind, device) => rustix::fs::mknodat(&parent, name, kind, Mode::RUSR, device)?,
        }
        self.set(&parent, name, is_link, attributes)?;
        Ok(None)
    }
}
