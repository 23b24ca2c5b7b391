//! One inode: reading and writing what belongs to it besides its content.

use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use carrack_diag::Result;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, RawMode, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::OVERLAY_XATTRS;
use crate::fault::Context as _;
use crate::files::entries;
use crate::tar::Time;

/// Owner, mode, time and extended attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Attributes {
    /// Of an inode; without the overlay's own notes.
    pub(crate) fn of(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Self> {
        let stat = stat(dir, name)?;
        let mut xattrs = xattrs(dir, name)?;
        xattrs.retain(|(name, _)| !OVERLAY_XATTRS.iter().any(|prefix| name.starts_with(prefix)));
        Ok(Self { mode: stat.st_mode & 0o7777, uid: stat.st_uid, gid: stat.st_gid, mtime: mtime(&stat), xattrs })
    }

    /// Sets everything but the time. The order matters: chown takes set-id bits and capabilities away.
    pub(crate) fn set(&self, dir: BorrowedFd<'_>, name: &[u8], kind: FileType) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != FileType::Symlink {
            rustix::fs::chmodat(dir, name, Mode::from_raw_mode(self.mode as RawMode), AtFlags::empty())?;
        }
        for (key, value) in &self.xattrs {
            set_xattr(dir, name, key, value)?;
        }
        Ok(())
    }

    /// Sets the time of last change, as last thing: for folders after all that is in them.
    pub(crate) fn set_time(&self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
        let time = Timespec { tv_sec: self.mtime.seconds, tv_nsec: i64::from(self.mtime.nanoseconds) };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(rustix::fs::utimensat(dir, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }
}

pub(crate) fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Stat> {
    Ok(rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// None where there is nothing of that name.
pub(crate) fn find(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Option<Stat>> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// The overlay's mark for a removed name: character device 0:0.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(crate) fn mtime(stat: &Stat) -> Time {
    Time { seconds: stat.st_mtime, nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0) }
}

/// Extended attributes have no `*at` calls before Linux 6.13; the descriptor's path under /proc stands in. `dir` was
/// opened by us, and `name` is one component that is not followed.
fn proc_path(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<CString> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    Ok(CString::new(path)?)
}

pub(crate) fn set_xattr(dir: BorrowedFd<'_>, name: &[u8], key: &[u8], value: &[u8]) -> io::Result<()> {
    rustix::fs::lsetxattr(proc_path(dir, name)?, key, value, XattrFlags::empty()).map_err(|error| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("extended attribute {}: {error}", key.escape_ascii()))
    })
}

/// None where it is not set.
pub(crate) fn get_xattr(dir: BorrowedFd<'_>, name: &[u8], key: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let path = proc_path(dir, name)?;
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::lgetxattr(&path, key, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) if value.len() < 1 << 17 => value.resize(value.len() * 4, 0),
            Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// All, sorted by name.
pub(crate) fn xattrs(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = proc_path(dir, name)?;
    let mut list = vec![0; 512];
    let length = loop {
        match rustix::fs::llistxattr(&path, list.as_mut_slice()) {
            Ok(length) => break length,
            Err(Errno::RANGE) if list.len() < 1 << 17 => list.resize(list.len() * 4, 0),
            Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
    };
    let mut xattrs = Vec::new();
    for key in list[..length].split(|byte| *byte == 0).filter(|key| !key.is_empty()) {
        if let Some(value) = get_xattr(dir, name, key)? {
            xattrs.push((key.to_vec(), value));
        }
    }
    xattrs.sort();
    Ok(xattrs)
}

/// A folder below another, never through a link.
pub(crate) fn open_dir(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

pub(crate) fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?.into())
}

pub(crate) fn create_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Owner, mode, time and extended attributes of one folder for another.
pub(crate) fn copy_attributes(from: &Path, to: &Path) -> Result<()> {
    let copy = || -> io::Result<()> {
        let (from, to) = (File::open(from)?, File::open(to)?);
        let attributes = Attributes::of(from.as_fd(), b".")?;
        attributes.set(to.as_fd(), b".", FileType::Directory)?;
        attributes.set_time(to.as_fd(), b".")
    };
    copy().context("copy owner and mode to", to)
}

/// Inodes with several names: where the first copy went.
pub(crate) type Links = HashMap<(u64, u64), (OwnedFd, Vec<u8>)>;

/// Copies one inode that is no folder, with everything that belongs to it.
pub(crate) fn copy_node(
    from: BorrowedFd<'_>,
    name: &[u8],
    to: BorrowedFd<'_>,
    new_name: &[u8],
    links: &mut Links,
) -> io::Result<()> {
    let stat = stat(from, name)?;
    let kind = file_type(&stat);
    let inode = (stat.st_dev, stat.st_ino);
    if let Some((dir, first)) = links.get(&inode) {
        return Ok(rustix::fs::linkat(dir, first.as_slice(), to, new_name, AtFlags::empty())?);
    }
    match kind {
        FileType::RegularFile => {
            io::copy(&mut open_file(from, name)?, &mut create_file(to, new_name)?)?;
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(&target, to, new_name)?;
        }
        // A socket means nothing without the process that listens on it.
        FileType::Socket => return Ok(()),
        other => rustix::fs::mknodat(to, new_name, other, Mode::empty(), stat.st_rdev)?,
    }
    let attributes = Attributes::of(from, name)?;
    attributes.set(to, new_name, kind)?;
    attributes.set_time(to, new_name)?;
    if stat.st_nlink > 1 {
        links.insert(inode, (to.try_clone_to_owned()?, new_name.to_vec()));
    }
    Ok(())
}

/// Copies what is in one folder into another, existing one: types, owners, modes, times, extended attributes, hard links.
/// Sockets are left out. The folder itself gets the attributes of its source.
///
/// # Errors
/// Where something can't be read or written; what was copied until then stays.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let copy = || -> io::Result<()> {
        let (source, target) = (File::open(from)?, File::open(to)?);
        copy_folder(source.as_fd(), target.as_fd(), &mut Links::new())
    };
    copy().context(&format!("copy {} to", from.display()), to)
}

fn copy_folder(from: BorrowedFd<'_>, to: BorrowedFd<'_>, links: &mut Links) -> io::Result<()> {
    for name in entries(from)? {
        if file_type(&stat(from, &name)?) == FileType::Directory {
            rustix::fs::mkdirat(to, name.as_slice(), Mode::RWXU)?;
            copy_folder(open_dir(from, &name)?.as_fd(), open_dir(to, &name)?.as_fd(), links)?;
        } else {
            copy_node(from, &name, to, &name, links)?;
        }
    }
    let attributes = Attributes::of(from, b".")?;
    attributes.set(to, b".", FileType::Directory)?;
    attributes.set_time(to, b".")
}
