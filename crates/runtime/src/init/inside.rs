//! Paths inside of a container, resolved there whatever its links say.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};

use super::interpret::State;

/// What a missing target becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Folder,
    File,
}

/// How many links one path may lead over; the kernel's own bound.
const LINKS_MAX: usize = 40;

/// Opens a path below the root. Links resolve inside of it; those of procfs to other files do not at all.
pub(super) fn open(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    carrack_sys::file::open_below(root, relative(path), flags, resolve)
}

/// The same without any link on the way: for paths that only an attack turns into one.
pub(super) fn open_plain(root: &OwnedFd, path: &str, flags: OFlags) -> Result<OwnedFd> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    carrack_sys::file::open_below(root, relative(path), flags, resolve)
}

/// Opens (`O_PATH`) a path below a folder of the host that containers write to. Links that would lead out of it do not.
pub(super) fn open_below(folder: &OwnedFd, path: &str) -> Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(folder, relative(path), OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn relative(path: &str) -> &str {
    match path.trim_start_matches('/') {
        "" => ".",
        path => path,
    }
}

/// Opens (`O_PATH`) a path below the root; what is missing of it is made, over dangling links too.
pub(super) fn ensure(root: &OwnedFd, path: &str, kind: Kind) -> Result<OwnedFd> {
    match open(root, path, OFlags::PATH) {
        Err(Errno::NOENT) => make(root, path, kind),
        opened => opened,
    }
}

/// Opens (`O_PATH`) the link that a path below the root names, not what it leads to; none where there is no link.
pub(super) fn link_at(root: &OwnedFd, path: &str) -> Option<OwnedFd> {
    let (folder, name) = path.rsplit_once('/')?;
    let folder = open(root, folder, OFlags::PATH | OFlags::DIRECTORY).ok()?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entry = rustix::fs::openat(&folder, name, flags, Mode::empty()).ok()?;
    is_link(&entry).ok()?.then_some(entry)
}

/// Walks the path component by component. `done` holds no link, so `..` may be taken literally.
fn make(root: &OwnedFd, path: &str, kind: Kind) -> Result<OwnedFd> {
    let mut pending: VecDeque<String> = components(path);
    let mut done: Vec<String> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            done.pop();
            continue;
        }
        let parent = open_plain(root, &done.join("/"), OFlags::PATH | OFlags::DIRECTORY)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, name.as_str(), flags, Mode::empty()) {
            Ok(entry) if is_link(&entry)? => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&entry, "", Vec::new())?;
                let target = target.to_str().map_err(|_| Errno::ILSEQ)?;
                if target.starts_with('/') {
                    done.clear();
                }
                for component in components(target).into_iter().rev() {
                    pending.push_front(component);
                }
                continue;
            }
            Ok(_) => {}
            Err(Errno::NOENT) if kind == Kind::File && pending.is_empty() => {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
                rustix::fs::openat(&parent, name.as_str(), flags, Mode::from_raw_mode(0o644))?;
            }
            Err(Errno::NOENT) => rustix::fs::mkdirat(&parent, name.as_str(), Mode::from_raw_mode(0o755))?,
            Err(errno) => return Err(errno),
        }
        done.push(name);
    }
    open_plain(root, &done.join("/"), OFlags::PATH)
}

fn components(path: &str) -> VecDeque<String> {
    path.split('/').filter(|name| !name.is_empty() && *name != ".").map(str::to_owned).collect()
}

fn is_link(entry: &OwnedFd) -> Result<bool> {
    Ok(file_type(entry)? == FileType::Symlink)
}

/// What lies behind a descriptor.
pub(super) fn file_type(entry: &OwnedFd) -> Result<FileType> {
    let status = rustix::fs::statat(entry, "", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(status.st_mode))
}

/// Magic number of procfs (linux/magic.h).
pub(super) const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// Magic number of devpts.
pub(super) const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;

/// Magic number of the file system that a descriptor lies on.
pub(super) fn file_system(entry: &OwnedFd) -> Result<u64> {
    Ok(rustix::fs::fstatfs(entry)?.f_type as u64)
}

/// Writes to a file of procfs: of the one that we mounted, reached without leaving it (CVE-2025-52881).
pub(super) fn write_procfs(state: &mut State, path: &str, value: &[u8]) -> Result<()> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let file = carrack_sys::file::open_below(state.procfs()?, path, OFlags::WRONLY, resolve)?;
    if file_system(&file)? != PROC_SUPER_MAGIC {
        return Err(Errno::XDEV);
    }
    match rustix::io::write(&file, value)? {
        written if written == value.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Text for the kernel.
pub(super) fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Errno::INVAL)
}
