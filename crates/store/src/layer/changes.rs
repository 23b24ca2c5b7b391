//! What an upper directory changes of the layers below it, name by name.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use carrack_diag::Result;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use super::node::{self, file_type, is_whiteout, mtime};
use super::view::{View, is_opaque};
use crate::fault::Context as _;
use crate::files::entries;

/// A name that is not as it is in the layers below.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameChange {
    /// From the root, without a slash at its beginning.
    pub path: PathBuf,
    /// Whether the layers below have it.
    pub was: bool,
    /// Whether the tree has it.
    pub is: bool,
}

/// Compares the upper directory of an overlay with the layers below, sorted. As in Docker a folder has changed where something
/// in it has. `left_out` are files and folders that a runtime makes to mount something on, and folders made for those: where
/// the layers below have them not, they are nobody's change.
///
/// # Errors
/// Where something can't be read.
pub fn changes(upper: &Path, below: &View, left_out: &[PathBuf]) -> Result<Vec<NameChange>> {
    let mut walk = Walk { below, left_out, found: Vec::new() };
    let root = File::open(upper).context("look at", upper)?;
    walk.folder(root.as_fd(), Path::new(""), Below::Merged).context("look at", upper)?;
    walk.found.sort();
    Ok(walk.found)
}

/// What the layers below have to do with a folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    /// They have it, and what is in it shows.
    Merged,
    /// They have it, and nothing of it shows.
    Hidden,
    /// They have it not.
    Nothing,
}

struct Walk<'a> {
    below: &'a View,
    left_out: &'a [PathBuf],
    found: Vec<NameChange>,
}

impl Walk<'_> {
    fn folder(&mut self, dir: BorrowedFd<'_>, path: &Path, below: Below) -> io::Result<()> {
        if path.as_os_str().len() > 4096 {
            return Err(Errno::NAMETOOLONG.into());
        }
        let names = entries(dir)?;
        if below == Below::Hidden {
            for name in self.below.names(path)?.into_iter().filter(|name| !names.contains(name)) {
                self.note(path.join(OsStr::from_bytes(&name)), true, false);
            }
        }
        for name in names {
            // A program may have taken it away since.
            let Some(stat) = node::find(dir, &name)? else { continue };
            let child = path.join(OsStr::from_bytes(&name));
            let before = match below {
                Below::Nothing => None,
                _ => self.below.find(&child)?.map(|found| found.stat),
            };
            if is_whiteout(&stat) {
                if before.is_some() {
                    self.note(child, true, false);
                }
            } else if file_type(&stat) == FileType::Directory {
                self.child_folder(dir, &name, child, (&stat, before))?;
            } else if !(before.is_none() && stat.st_size == 0 && self.left_out.contains(&child))
                && before.is_none_or(|before| !is_same(&before, &stat))
            {
                self.note(child, before.is_some(), true);
            }
        }
        Ok(())
    }

    fn child_folder(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: PathBuf,
        (stat, before): (&Stat, Option<Stat>),
    ) -> io::Result<()> {
        let dir = match node::open_dir(parent, name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let below = match before {
            Some(before) if file_type(&before) == FileType::Directory => match is_opaque(dir.as_fd(), b".")? {
                true => Below::Hidden,
                false => Below::Merged,
            },
            _ => Below::Nothing,
        };
        let count = self.found.len();
        self.folder(dir.as_fd(), &path, below)?;
        let changed_inside = self.found.len() > count;
        let was_made_for_a_mount = before.is_none() && self.left_out.iter().any(|other| other.starts_with(&path));
        if changed_inside || !(was_made_for_a_mount || before.is_some_and(|before| is_same(&before, stat))) {
            self.note(path, before.is_some(), true);
        }
        Ok(())
    }

    fn note(&mut self, path: PathBuf, was: bool, is: bool) {
        self.found.push(NameChange { path, was, is });
    }
}

/// Of a folder neither its size nor its time says anything.
fn is_same(before: &Stat, now: &Stat) -> bool {
    let owner = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    let is_dir = file_type(now) == FileType::Directory;
    owner(before) == owner(now) && (is_dir || (before.st_size == now.st_size && mtime(before) == mtime(now)))
}
