//! Writing so that a kill or a power failure leaves the old or the new, never a mixture.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat};

use crate::codes;
use crate::fault::{Context as _, present};

/// Whether a write has to survive a power failure before the function returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// File and folder are synced.
    Synced,
    /// The kernel writes it back when it likes; a rename still makes it all or nothing for every process.
    Cached,
}

/// `[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}`, so that a name is a file name and nothing more.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && name.len() <= 128 {
        return Ok(());
    }
    Err(Diagnostic::error(&codes::INVALID_NAME, format!("`{}` can't name a {what}", name.escape_debug()))
        .hint("begin with a letter or digit, go on with letters, digits, `_`, `.`, `-`; 128 characters at most")
        .boxed())
}

/// A folder with mode 0700 and its parents.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).context("create the folder", path)
}

pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| dir.sync_all()).context("sync the folder", path)
}

/// A new folder is on disk only with the folders above it.
pub(crate) fn sync_parents(path: &Path, levels: usize) -> Result<()> {
    path.ancestors().take(levels).try_for_each(sync_dir)
}

/// One call for a whole tree.
pub(crate) fn sync_tree(path: &Path) -> Result<()> {
    File::open(path).and_then(|dir| rustix::fs::syncfs(dir).map_err(Into::into)).context("write back", path)
}

/// 16 random hexadecimal digits.
pub(crate) fn random_name() -> Result<String> {
    let mut bytes = [0_u8; 8];
    random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Fills `bytes` from the kernel.
pub(crate) fn random(bytes: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())
            .context("read random bytes from", Path::new("the kernel"))?;
    }
    Ok(())
}

/// Replaces `path` by rename, mode 0600. It is written in `ingest`, a folder of the same file system that is swept.
pub(crate) fn write_atomic(ingest: &Path, path: &Path, bytes: &[u8], durability: Durability) -> Result<()> {
    let held = Held::file(ingest)?;
    (&held.file).write_all(bytes).context("write", path)?;
    if durability == Durability::Cached {
        return replace(&held.path, path).context("write", path);
    }
    held.file.sync_all().context("sync", path)?;
    fs::rename(&held.path, path).context("write", path)?;
    sync_dir(path.parent().unwrap_or(path))
}

/// Puts the file `from` in the place of `to`: the old or the new for every process, either after a power failure.
///
/// ext4 gives a file that is renamed over another one its blocks at once, and takes them back when it is replaced in its
/// turn, which waits for the disk where that is told of free blocks. Two files that change places keep theirs in memory.
///
/// # Errors
/// As rename(2).
pub fn replace(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        // A sweep may have met the old one there.
        Ok(()) => present(fs::remove_file(from)).map(drop),
        // There is none yet, or this file system can't.
        Err(_) => fs::rename(from, to),
    }
}

/// The whole file; nothing where it is missing.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    present(fs::read(path)).context("read", path)
}

/// Names in a folder, sorted; none where it is missing.
pub(crate) fn names(path: &Path) -> Result<Vec<String>> {
    let Some(entries) = present(fs::read_dir(path)).context("list", path)? else { return Ok(Vec::new()) };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.context("list", path)?;
        // A name that is not UTF-8 is not one of ours.
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Removes a file; whether it was there.
pub(crate) fn remove_file(path: &Path) -> Result<bool> {
    Ok(present(fs::remove_file(path)).context("remove", path)?.is_some())
}

/// Removes a tree; nothing to do where it is missing. However deep it is: a container may have made it so that neither
/// descriptors nor stack would suffice to go down.
///
/// # Errors
/// Where something in it can't be removed.
pub fn remove_tree(path: &Path) -> Result<()> {
    let remove = || -> io::Result<()> {
        let Some(top) = present(rustix::fs::open(path, DIR_FLAGS, Mode::empty()))? else { return Ok(()) };
        while !entries(&top)?.is_empty() {
            remove_content(top.as_fd(), top.as_fd(), 0)?;
        }
        fs::remove_dir(path)
    };
    remove().context("remove", path)
}

const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Moves what lies deeper than this to the top, to be met there again.
const DEPTH_MAX: u32 = 64;

fn remove_content(dir: BorrowedFd<'_>, top: BorrowedFd<'_>, depth: u32) -> io::Result<()> {
    for name in entries(dir)? {
        let stat = rustix::fs::statat(dir, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
        } else if depth == DEPTH_MAX {
            let up = random_name().map_err(|error| io::Error::other(error.to_string()))?;
            rustix::fs::renameat(dir, name, top, format!(".{up}"))?;
        } else {
            let child = rustix::fs::openat(dir, name.as_slice(), DIR_FLAGS, Mode::empty())?;
            remove_content(child.as_fd(), top, depth + 1)?;
            rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?;
        }
    }
    Ok(())
}

/// Work in progress (a file or folder) that this process holds by `flock`; gone when dropped, unless it was renamed to
/// where it belongs. Whoever finds it unlocked may remove it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

impl Held {
    /// A new file below `dir`.
    pub(crate) fn file(dir: &Path) -> Result<Self> {
        let open = |path: &Path| OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path);
        Self::make(dir, "", open)
    }

    /// A new folder below `dir`.
    pub(crate) fn dir(dir: &Path) -> Result<Self> {
        Self::dir_named(dir, "", 0o700)
    }

    /// The same with the beginning of its name, and a mode.
    pub(crate) fn dir_named(dir: &Path, prefix: &str, mode: u32) -> Result<Self> {
        Self::make(dir, prefix, |path| {
            fs::DirBuilder::new().mode(mode).create(path)?;
            File::open(path)
        })
    }

    fn make(dir: &Path, prefix: &str, open: impl Fn(&Path) -> io::Result<File>) -> Result<Self> {
        loop {
            let path = dir.join(format!("{prefix}{}", random_name()?));
            let file = match open(&path) {
                // Swept between its creation and its opening.
                Err(error) if error.kind() == io::ErrorKind::NotFound && dir.exists() => continue,
                other => other.context("create", &path)?,
            };
            // Between creation and lock a sweep may have taken it for a leftover.
            let locked = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            if locked && path.exists() && file.metadata().is_ok_and(|metadata| metadata.nlink() > 0) {
                return Ok(Self { path, file });
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A leftover is swept by the next mutating open.
        if fs::remove_file(&self.path).is_err_and(|error| error.kind() == io::ErrorKind::IsADirectory) {
            let _ = remove_tree(&self.path);
        }
    }
}

/// What nobody holds below `dir`: the work of processes that are gone. Each with a lock on it.
pub(crate) fn abandoned(dir: &Path) -> Result<Vec<(PathBuf, OwnedFd)>> {
    let mut found = Vec::new();
    for name in names(dir)? {
        let path = dir.join(name);
        found.extend(unheld(&path).map(|file| (path, file)));
    }
    Ok(found)
}

/// The lock of what nobody holds.
pub(crate) fn unheld(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok().map(|()| file)
}

/// Removes what nobody holds below `dir`; whether there was anything.
pub(crate) fn sweep(dir: &Path) -> Result<bool> {
    let abandoned = abandoned(dir)?;
    let found = !abandoned.is_empty();
    for (path, file) in abandoned {
        let is_dir =
            rustix::fs::fstat(&file).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        if is_dir {
            remove_tree(&path)?;
        } else {
            remove_file(&path)?;
        }
    }
    Ok(found)
}

/// Bytes that a tree takes on disk, each inode once; 0 where it is missing.
pub fn disk_usage(path: &Path) -> u64 {
    let mut seen = std::collections::HashSet::new();
    let mut total = 0;
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        if seen.insert((metadata.dev(), metadata.ino())) {
            total += metadata.blocks() * 512;
        }
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            open.extend(entries.map(|entry| entry.path()));
        }
    }
    total
}

/// Names in a folder given by descriptor, without `.` and `..`, as bytes, sorted.
pub(crate) fn entries(dir: impl AsFd) -> io::Result<Vec<Vec<u8>>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Refuses a file with holes that claims more bytes than are free where `place` lies: written out, it would fill the disk
/// first.
///
/// # Errors
/// That the disk is full.
pub fn check_room(files: impl IntoIterator<Item = Stat>, place: impl AsFd) -> io::Result<()> {
    let holey = files.into_iter().filter(|file| file.st_blocks.saturating_mul(512) < file.st_size);
    let wanted_bytes = holey.fold(0_u64, |sum, file| sum.saturating_add(u64::try_from(file.st_size).unwrap_or(0)));
    if wanted_bytes == 0 {
        return Ok(());
    }
    let free = rustix::fs::fstatvfs(place)?;
    match wanted_bytes > free.f_bavail.saturating_mul(free.f_frsize) {
        true => {
            let reason = format!("files with holes come to {wanted_bytes} bytes, and layers keep the holes too");
            Err(io::Error::new(io::ErrorKind::StorageFull, reason))
        }
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_of_any_depth_are_removed() {
        let dir = crate::testing::memory_dir();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        let mut here = rustix::fs::open(&top, DIR_FLAGS, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&here, "d", Mode::RWXU).unwrap();
            rustix::fs::mkdirat(&here, "e", Mode::RWXU).unwrap();
            here = rustix::fs::openat(&here, "d", DIR_FLAGS, Mode::empty()).unwrap();
        }
        std::os::unix::fs::symlink("/etc", top.join("link")).unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        remove_tree(&top).unwrap();
        assert!(Path::new("/etc").exists());
    }
}
