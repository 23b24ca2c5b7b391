//! What copies put where: folders, files written in place, sources.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use carrack_diag::Diagnostic;
use carrack_llb::{CopyAction, FileContent, FileMode};
use carrack_store::Store;
use rustix::fs::{FileType, OFlags, Stat};

use crate::archive;
use crate::contents::{Contents, Inode};
use crate::place::{Attributes, Node, OnDisk, Place};
use crate::select::{Source, xattrs};
use crate::tree::{Owner, Tree, kind, relative};

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
pub(crate) fn make_file(to: &mut dyn Place, file: &FileContent, owner: Owner) -> Result<(), Failure> {
    let above = Above { owner, mode: file.mode.as_ref().map_or(Above::MODE, FileMode::of_new_folders) };
    let target = target(to, &file.destination, Path::new(&file.name), above)?;
    let mode = file.mode.as_ref().map_or(0o644, |mode| mode.apply(0o644, false));
    let node = Node::File(file.content.len() as u64, &mut file.content.as_bytes());
    to.put(&target, node, &Attributes::now(owner, mode)).map(|_| ()).map_err(Failure::new(&target))
}

/// Files that were written into a layer, and where in its tar their bytes begin.
pub(crate) type Written = Vec<(Inode, u64)>;

/// Copies sources to the destination of `action`. `owner` none keeps the sources' owners; `from_context` makes them root's.
/// What `known` says that a layer has is taken from there.
pub(crate) fn copy(
    (from, known): (&Tree, Option<(&Store, &Contents)>),
    sources: &[Source],
    to: &mut dyn Place,
    action: &CopyAction,
    owner: Option<Owner>,
    from_context: bool,
) -> Result<Written, Failure> {
    let owner = owner.or(from_context.then_some(Owner::ROOT));
    let mode = action.mode.as_ref();
    let mut copier = Copier { from, known, to, owner, mode, links: HashMap::new(), written: Written::new() };
    sources.iter().try_for_each(|source| copier.source(source, action))?;
    Ok(copier.written)
}

/// The same into a tree on disk, where `ADD` unpacks archives too.
pub(crate) fn copy_to_disk(
    from: &Tree,
    sources: &[Source],
    to: &Tree,
    action: &CopyAction,
    owner: Option<Owner>,
    from_context: bool,
) -> Result<(), Failure> {
    for source in sources {
        if action.unpack && kind(&source.stat) == FileType::RegularFile {
            // As in BuildKit: an archive knows its owners and modes, a root file system above all.
            let above = Above { owner: owner.unwrap_or(Owner::ROOT), mode: Above::MODE };
            if unpack(from, source, to, &destination(action, source), (owner, above))? {
                continue;
            }
        }
        copy((from, None), std::slice::from_ref(source), &mut OnDisk(to), action, owner, from_context)?;
    }
    Ok(())
}

/// Whether a copy unpacks what it copies.
pub(crate) fn unpacks(from: &Tree, sources: &[Source], action: &CopyAction) -> io::Result<bool> {
    if !action.unpack {
        return Ok(false);
    }
    for source in sources.iter().filter(|source| kind(&source.stat) == FileType::RegularFile) {
        if archive::is_archive(&mut from.file(&source.real)?)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What folders that are missing on the way are made with: as the reference does it, --chmod is for them too.
#[derive(Clone, Copy)]
struct Above {
    owner: Owner,
    mode: u32,
}

impl Above {
    const MODE: u32 = 0o755;

    fn make(self, to: &mut dyn Place, path: &Path) -> io::Result<PathBuf> {
        to.make_folders(path, self.mode, self.owner)
    }
}

fn destination(action: &CopyAction, source: &Source) -> String {
    match action.parents {
        true => format!("{}/{}/", action.destination.trim_end_matches('/'), source.kept.display()),
        false => action.destination.clone(),
    }
}

/// Where a file goes: into the destination where that is a folder or ends in a slash, else it is the destination. Folders
/// that are missing are made.
fn target(to: &mut dyn Place, destination: &str, name: &Path, above: Above) -> Result<PathBuf, Failure> {
    let path = relative(destination.trim_end_matches('/'));
    let mut find = || -> io::Result<PathBuf> {
        if destination.ends_with('/') {
            return Ok(above.make(to, path)?.join(name));
        }
        match to.resolve(path)? {
            Some(real) if to.kind(&real)? == Some(FileType::Directory) => Ok(real.join(name)),
            Some(real) => Ok(real),
            None => {
                let parent = above.make(to, path.parent().unwrap_or(Path::new("")))?;
                let target = parent.join(path.file_name().unwrap_or_default());
                // A link that leads nowhere yet: what it leads to is made.
                match to.kind(&target)? {
                    Some(FileType::Symlink) => through_link(to, &target, above),
                    _ => Ok(target),
                }
            }
        }
    };
    find().map_err(Failure::new(path))
}

fn through_link(to: &mut dyn Place, link: &Path, above: Above) -> io::Result<PathBuf> {
    let target = to.link_target(link)?;
    let joined = if target.is_absolute() { target } else { link.parent().unwrap_or(Path::new("")).join(target) };
    let parent = above.make(to, joined.parent().unwrap_or(Path::new("")))?;
    joined.file_name().map(|name| parent.join(name)).ok_or(io::ErrorKind::InvalidInput.into())
}

struct Copier<'a> {
    from: &'a Tree,
    known: Option<(&'a Store, &'a Contents)>,
    to: &'a mut dyn Place,
    owner: Option<Owner>,
    mode: Option<&'a FileMode>,
    /// The first copy of each file that has several names.
    links: HashMap<(u64, u64), PathBuf>,
    written: Written,
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
        let destination = destination(action, source);
        if kind(&source.stat) == FileType::Directory {
            let path = relative(destination.trim_end_matches('/'));
            let (root, made) = self.root(source, path, above).map_err(Failure::new(path))?;
            self.folder(source, &root)?;
            if let Some(attributes) = made {
                self.to.end_folder(&root, &attributes).map_err(Failure::new(&root))?;
            }
            return Ok(());
        }
        let name = Path::new(source.name.file_name().unwrap_or_default());
        let target = target(self.to, &destination, name, above)?;
        self.leaf(&source.real, &source.stat, &target).map_err(Failure::new(&target))
    }

    /// The folder that a folder's content goes into. One that is made is as old as what it is a copy of, as in BuildKit.
    fn root(&mut self, source: &Source, path: &Path, above: Above) -> io::Result<(PathBuf, Option<Attributes>)> {
        let Some(name) = path.file_name().filter(|_| !path.as_os_str().is_empty()) else {
            return Ok((above.make(self.to, path)?, None));
        };
        let parent = above.make(self.to, path.parent().unwrap_or(Path::new("")))?;
        let root = parent.join(name);
        // What is there stays as it is; a link may lead to what is not there yet.
        if self.to.kind(&root)?.is_some() {
            return Ok((above.make(self.to, path)?, None));
        }
        let modified = self.attributes(&source.stat, Vec::new()).modified;
        let attributes = Attributes { modified, ..Attributes::now(above.owner, above.mode) };
        self.to.begin_folder(&root, &attributes)?;
        Ok((root, Some(attributes)))
    }

    /// The content of a folder. Folders get their attributes last, when nothing changes their times any more.
    fn folder(&mut self, source: &Source, root: &Path) -> Result<(), Failure> {
        let mut folders = Vec::new();
        for entry in &source.entries {
            let (real, target) = (source.real.join(&entry.path), root.join(&entry.path));
            if kind(&entry.stat) == FileType::Directory {
                let begin = |copier: &mut Self| -> io::Result<Attributes> {
                    let open = copier.from.open(&real, OFlags::RDONLY | OFlags::DIRECTORY)?;
                    let attributes = copier.attributes(&entry.stat, xattrs(&open)?);
                    copier.to.begin_folder(&target, &attributes)?;
                    Ok(attributes)
                };
                let attributes = begin(self).map_err(Failure::new(&target))?;
                folders.push((target, attributes));
            } else {
                self.leaf(&real, &entry.stat, &target).map_err(Failure::new(&target))?;
            }
        }
        for (target, attributes) in folders.into_iter().rev() {
            self.to.end_folder(&target, &attributes).map_err(Failure::new(&target))?;
        }
        Ok(())
    }

    fn leaf(&mut self, real: &Path, stat: &Stat, target: &Path) -> io::Result<()> {
        match kind(stat) {
            FileType::RegularFile => {
                if stat.st_nlink > 1 {
                    if let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) {
                        let attributes = self.attributes(stat, Vec::new());
                        return self.to.put(target, Node::Again(first), &attributes).map(|_| ());
                    }
                    self.links.insert((stat.st_dev, stat.st_ino), target.to_owned());
                }
                let offset = match self.known.and_then(|(store, contents)| contents.stored(store, stat)) {
                    Some(mut stored) => {
                        let attributes = self.attributes(stat, Vec::new());
                        self.to.put(target, Node::File(stored.size_bytes(), &mut stored), &attributes)?
                    }
                    None => {
                        let mut file = self.from.file(real)?;
                        let attributes = self.attributes(stat, xattrs(&file)?);
                        self.to.put(target, Node::File(file.metadata()?.len(), &mut file), &attributes)?
                    }
                };
                self.written.extend(offset.map(|offset| (Inode::of(stat), offset)));
                Ok(())
            }
            FileType::Symlink => {
                let link = self.from.link_target(real)?;
                self.put(target, Node::Link(&link), &self.attributes(stat, Vec::new()))
            }
            other => self.put(target, Node::Special(other, stat.st_rdev), &self.attributes(stat, Vec::new())),
        }
    }

    fn put(&mut self, target: &Path, node: Node<'_>, attributes: &Attributes) -> io::Result<()> {
        self.to.put(target, node, attributes).map(|_| ())
    }

    fn attributes(&self, stat: &Stat, xattrs: Vec<(std::ffi::CString, Vec<u8>)>) -> Attributes {
        let is_folder = kind(stat) == FileType::Directory;
        let mode = match (kind(stat), self.mode) {
            (FileType::Symlink, _) => 0o777,
            (_, Some(mode)) => mode.apply(stat.st_mode, is_folder) & 0o7777,
            _ => stat.st_mode & 0o7777,
        };
        Attributes {
            owner: self.owner.unwrap_or(Owner { uid: stat.st_uid, gid: stat.st_gid }),
            mode,
            modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            xattrs,
        }
    }
}

/// Unpacks an archive into the destination. Whether it was one.
fn unpack(
    from: &Tree,
    source: &Source,
    to: &Tree,
    destination: &str,
    (owner, above): (Option<Owner>, Above),
) -> Result<bool, Failure> {
    let mut file = from.file(&source.real).map_err(Failure::new(&source.real))?;
    if !archive::is_archive(&mut file).map_err(Failure::new(&source.real))? {
        return Ok(false);
    }
    let path = relative(destination.trim_end_matches('/'));
    let folder = above.make(&mut OnDisk(to), path).map_err(Failure::new(path))?;
    let open = to.open(&folder, OFlags::RDONLY | OFlags::DIRECTORY).map_err(Failure::new(&folder))?;
    // The tree is mounted nowhere, so the folder has no other path.
    let here = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    let unpacked = archive::decompress(file).and_then(|tar| {
        let owner = owner.map(|owner| (owner.uid, owner.gid));
        carrack_store::extract(tar, &here, &Path::new("/").join(&folder), owner)
    });
    unpacked.map(|()| true).map_err(|diagnostic| Failure {
        path: source.real.clone(),
        error: io::ErrorKind::InvalidData.into(),
        diagnostic: Some(diagnostic),
    })
}
