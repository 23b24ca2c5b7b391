use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use rustix::fs::{FileType, Stat, major, minor};
use rustix::io::Errno;

use super::node::{self, Attributes, file_type, is_whiteout};
use super::view::is_opaque;
use super::{OPAQUE, WHITEOUT};
use crate::codes;
use crate::fault::fault;
use crate::files::{check_room, entries};
use crate::tar::{Kind, Member, Writer};

/// What the root folder of a container has, whatever the archive says that its image was made of: as in Docker, anybody
/// may enter it.
pub(crate) const ROOT_MODE: u32 = 0o755;

/// Writes the upper directory of an overlay as a layer's tar: the same bytes for the same tree (image-spec `layer.md`).
///
/// Names are sorted; hard links within the directory stay links; sockets are left out, as every differ does. The root
/// folder is a member only where it differs from `root_below`; its mode, which no upper directory has from there, from
/// [`ROOT_MODE`].
/// `each` is told of every member and of where in the tar its content begins.
pub(crate) fn diff(upper: &Path, root_below: &Path, out: impl Write, each: Each<'_>) -> Result<()> {
    diff_without(upper, root_below, &[], out, each)
}

/// The same without what stands at the paths of `left_out`.
pub(crate) fn diff_without(
    upper: &Path,
    root_below: &Path,
    left_out: &[Vec<u8>],
    out: impl Write,
    each: Each<'_>,
) -> Result<()> {
    walk(upper, out, each, |walk, root| {
        let (above, below) = (Attributes::of(root, b".")?, Attributes::of(File::open(root_below)?.as_fd(), b".")?);
        if (above.mode, above.uid, above.gid, &above.xattrs) != (ROOT_MODE, below.uid, below.gid, &below.xattrs) {
            let mut member = member(b"./".to_vec(), Kind::Dir, above);
            member.mtime = below.mtime;
            walk.append(&member, &mut io::empty())?;
        }
        walk.is_layer = true;
        walk.left_out = left_out;
        walk.children(root, b"")
    })
}

/// Writes a folder as a tar with every name below `prefix` (empty, or a path that ends with a slash): the same bytes for
/// the same tree. Sockets are left out.
///
/// # Errors
/// Where something can't be read or written, or changes meanwhile.
pub fn write_tree(dir: &Path, prefix: &str, out: impl Write) -> Result<()> {
    walk(dir, out, &mut |_, _| Ok(()), |walk, root| walk.children(root, prefix.as_bytes()))
}

/// Writes what was found at `name` in a folder, with everything below it, under the name `shown`. Sockets below are left out.
/// Nothing else is written that has taken its place meanwhile.
pub(super) fn write_entry(
    dir: BorrowedFd<'_>,
    name: &[u8],
    found: &Stat,
    shown: Vec<u8>,
    out: impl Write,
) -> io::Result<()> {
    let tar = Writer::new(out);
    let each: Each<'_> = &mut |_, _| Ok(());
    let mut walk = Walk { tar, each, is_layer: false, keeps_holes: true, left_out: &[], links: HashMap::new() };
    let stat = node::stat(dir, name)?;
    if (stat.st_dev, stat.st_ino, stat.st_mode) != (found.st_dev, found.st_ino, found.st_mode) {
        return Err(io::Error::other("something else has taken its place meanwhile"));
    }
    // Neither follows a link from here on.
    match file_type(&stat) {
        FileType::Directory => walk.folder(dir, name, shown)?,
        kind => walk.leaf(dir, name, shown, kind, &stat)?,
    }
    walk.tar.finish()?.flush()
}

fn walk<'a, W: Write>(
    dir: &Path,
    out: W,
    each: Each<'a>,
    run: impl FnOnce(&mut Walk<'a, W>, BorrowedFd<'_>) -> io::Result<()>,
) -> Result<()> {
    let tar = Writer::new(out);
    let mut walk = Walk { tar, each, is_layer: false, keeps_holes: false, left_out: &[], links: HashMap::new() };
    let all = || -> io::Result<()> {
        let root = File::open(dir)?;
        run(&mut walk, root.as_fd())?;
        walk.tar.finish()?.flush()
    };
    all().map_err(|error| match error.kind() {
        io::ErrorKind::InvalidFilename => {
            Diagnostic::error(&codes::HOSTILE_LAYER, format!("{} can't be written as a layer", dir.display()))
                .cause(error.to_string())
                .boxed()
        }
        _ => fault("write as a tar", dir, error),
    })
}

/// Who is told of members as they are written.
pub(crate) type Each<'a> = &'a mut dyn FnMut(&Member, u64) -> io::Result<()>;

struct Walk<'a, W> {
    tar: Writer<W>,
    each: Each<'a>,
    is_layer: bool,
    /// Whether whoever gets the tar makes holes again.
    keeps_holes: bool,
    /// Paths that are passed over.
    left_out: &'a [Vec<u8>],
    /// The name of the first link to an inode.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Walk<'_, W> {
    fn append(&mut self, member: &Member, content: &mut dyn io::Read) -> io::Result<()> {
        let offset = self.tar.append(member, content)?;
        (self.each)(member, offset)
    }

    fn children(&mut self, dir: BorrowedFd<'_>, prefix: &[u8]) -> io::Result<()> {
        // Deeper trees can't be named, and their folders would use up descriptors and stack.
        if prefix.len() > 4096 {
            return Err(Errno::NAMETOOLONG.into());
        }
        for name in entries(dir)? {
            self.child(dir, &name, [prefix, &name].concat())?;
        }
        Ok(())
    }

    fn child(&mut self, dir: BorrowedFd<'_>, name: &[u8], path: Vec<u8>) -> io::Result<()> {
        if self.left_out.contains(&path) {
            return Ok(());
        }
        let stat = node::stat(dir, name)?;
        if self.is_layer && is_whiteout(&stat) {
            let prefix = &path[..path.len() - name.len()];
            return self.mark([prefix, WHITEOUT, name].concat());
        }
        if self.is_layer && name.starts_with(WHITEOUT) {
            let message =
                format!("`{}` would read as a removal: layers reserve names with .wh.", crate::tar::shown(&path));
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, message));
        }
        match file_type(&stat) {
            FileType::Directory => self.folder(dir, name, path),
            FileType::Socket => Ok(()),
            kind => self.leaf(dir, name, path, kind, &stat),
        }
    }

    fn folder(&mut self, dir: BorrowedFd<'_>, name: &[u8], mut path: Vec<u8>) -> io::Result<()> {
        path.push(b'/');
        let folder = node::open_dir(dir, name)?;
        let attributes = Attributes::of(folder.as_fd(), b".")?;
        self.append(&member(path.clone(), Kind::Dir, attributes), &mut io::empty())?;
        if self.is_layer && is_opaque(folder.as_fd(), b".")? {
            self.mark([path.as_slice(), OPAQUE].concat())?;
        }
        self.children(folder.as_fd(), &path)
    }

    fn mark(&mut self, path: Vec<u8>) -> io::Result<()> {
        let mut member = Member::new(path, Kind::File);
        member.mode = 0;
        self.append(&member, &mut io::empty())
    }

    fn leaf(&mut self, dir: BorrowedFd<'_>, name: &[u8], path: Vec<u8>, kind: FileType, stat: &Stat) -> io::Result<()> {
        let attributes = Attributes::of(dir, name)?;
        if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
            let mut member = member(path, Kind::HardLink, attributes);
            member.link.clone_from(first);
            return self.append(&member, &mut io::empty());
        }
        if stat.st_nlink > 1 {
            self.links.insert((stat.st_dev, stat.st_ino), path.clone());
        }
        match kind {
            FileType::RegularFile => {
                let mut file = node::open_file(dir, name)?;
                if !self.keeps_holes {
                    check_room([*stat], &file)?;
                }
                let mut member = member(path, Kind::File, attributes);
                member.size_bytes = file.metadata()?.len();
                self.append(&member, &mut file)
            }
            FileType::Symlink => {
                let mut member = member(path, Kind::Symlink, attributes);
                member.link = rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes();
                self.append(&member, &mut io::empty())
            }
            other => {
                let kind = match other {
                    FileType::CharacterDevice => Kind::CharDevice,
                    FileType::BlockDevice => Kind::BlockDevice,
                    _ => Kind::Fifo,
                };
                let mut member = member(path, kind, attributes);
                if kind != Kind::Fifo {
                    member.device = (major(stat.st_rdev), minor(stat.st_rdev));
                }
                self.append(&member, &mut io::empty())
            }
        }
    }
}

fn member(path: Vec<u8>, kind: Kind, attributes: Attributes) -> Member {
    let Attributes { mode, uid, gid, mtime, xattrs } = attributes;
    // Of a link, its inode's first name says all the rest.
    let mut xattrs = if kind == Kind::HardLink { Vec::new() } else { xattrs };
    // The label belongs to the host that the tree was made on.
    xattrs.retain(|(name, _)| name != b"security.selinux");
    Member { mode, uid, gid, mtime, xattrs, ..Member::new(path, kind) }
}
