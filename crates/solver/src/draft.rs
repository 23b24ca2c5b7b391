//! A layer that is written as a tar from the start, over what lies below it: nothing is mounted for writing, and nothing
//! is written twice.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use carrack_store::{LayerAttributes, LayerContent, LayerWriter};
use rustix::fs::{FileType, OFlags};

use crate::place::{Attributes, Node, Place};
use crate::select;
use crate::tree::{Owner, Tree, kind, walk};

/// What has been written so far.
enum Made {
    Link(PathBuf),
    Other(FileType),
}

pub(crate) struct Draft<'a, 'w> {
    below: &'a Tree,
    writer: &'a mut LayerWriter<'w>,
    made: HashMap<PathBuf, Made>,
    /// Folders that the layer has by now.
    told: HashSet<PathBuf>,
}

impl<'a, 'w> Draft<'a, 'w> {
    pub(crate) fn new(below: &'a Tree, writer: &'a mut LayerWriter<'w>) -> Self {
        Self { below, writer, made: HashMap::new(), told: HashSet::new() }
    }

    fn add(&mut self, path: &Path, attributes: &Attributes, content: LayerContent<'_>) -> io::Result<u64> {
        // Of a folder that is told, those above it are too.
        let above = path.ancestors().skip(1).take_while(|above| !self.told.contains(*above));
        let above: Vec<&Path> = above.filter(|above| !above.as_os_str().is_empty()).collect();
        for folder in above.into_iter().rev() {
            self.tell(folder)?;
        }
        self.writer.add(path, attributes.of_a_layer(), content)
    }

    /// A folder of the layers below that something is written into: whoever unpacks this layer alone makes it as it was.
    fn tell(&mut self, folder: &Path) -> io::Result<()> {
        if self.told.contains(folder) {
            return Ok(());
        }
        let stat = self.below.stat(folder)?.ok_or(io::ErrorKind::NotFound)?;
        let open = self.below.open(folder, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let attributes = LayerAttributes {
            mode: stat.st_mode,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            xattrs: select::all_xattrs(&open)?,
        };
        self.writer.add(folder, attributes, LayerContent::Folder)?;
        self.told.insert(folder.to_owned());
        Ok(())
    }
}

impl Place for Draft<'_, '_> {
    fn kind(&self, path: &Path) -> io::Result<Option<FileType>> {
        match self.made.get(path) {
            Some(Made::Link(_)) => Ok(Some(FileType::Symlink)),
            Some(Made::Other(kind)) => Ok(Some(*kind)),
            None => Ok(self.below.stat(path)?.as_ref().map(kind)),
        }
    }

    fn link_target(&self, path: &Path) -> io::Result<PathBuf> {
        match self.made.get(path) {
            Some(Made::Link(target)) => Ok(target.clone()),
            _ => self.below.link_target(path),
        }
    }

    fn make_folders(&mut self, path: &Path, mode: u32, owner: Owner) -> io::Result<PathBuf> {
        let mut missing = Vec::new();
        let mut known = HashSet::new();
        let made = walk(path, &mut |path| {
            if known.contains(path) {
                return Ok(Some(None));
            }
            match self.kind(path)? {
                Some(FileType::Symlink) => Ok(Some(Some(self.link_target(path)?))),
                Some(_) => Ok(Some(None)),
                None => {
                    missing.push(path.to_owned());
                    known.insert(path.to_owned());
                    Ok(Some(None))
                }
            }
        })?;
        let made = made.ok_or(io::ErrorKind::NotFound)?;
        for path in &missing {
            self.begin_folder(path, &Attributes::now(owner, mode))?;
        }
        // Also what lies on the way must be folders: below a file there is nothing.
        for path in made.ancestors() {
            if self.kind(path)? != Some(FileType::Directory) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        Ok(made)
    }

    fn begin_folder(&mut self, path: &Path, attributes: &Attributes) -> io::Result<()> {
        match self.kind(path)? {
            None | Some(FileType::Directory) => {}
            Some(_) => {
                return Err(io::Error::new(io::ErrorKind::NotADirectory, "a folder cannot replace what is no folder"));
            }
        }
        // The root is no entry of a layer.
        if !path.as_os_str().is_empty() {
            self.add(path, attributes, LayerContent::Folder)?;
            self.made.insert(path.to_owned(), Made::Other(FileType::Directory));
            self.told.insert(path.to_owned());
        }
        Ok(())
    }

    fn end_folder(&mut self, _: &Path, _: &Attributes) -> io::Result<()> {
        Ok(())
    }

    fn put(&mut self, path: &Path, node: Node<'_>, attributes: &Attributes) -> io::Result<Option<u64>> {
        if self.kind(path)? == Some(FileType::Directory) {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "a file cannot replace a folder"));
        }
        let numbers = |device: u64| (rustix::fs::major(device), rustix::fs::minor(device));
        let (made, content) = match node {
            Node::File(size_bytes, content) => {
                (Made::Other(FileType::RegularFile), LayerContent::File(size_bytes, content))
            }
            Node::Link(target) => (Made::Link(target.to_owned()), LayerContent::Symlink(target)),
            Node::Again(first) => (Made::Other(FileType::RegularFile), LayerContent::HardLink(first)),
            Node::Special(FileType::CharacterDevice, device) => {
                let (major, minor) = numbers(device);
                (Made::Other(FileType::CharacterDevice), LayerContent::CharDevice(major, minor))
            }
            Node::Special(FileType::BlockDevice, device) => {
                let (major, minor) = numbers(device);
                (Made::Other(FileType::BlockDevice), LayerContent::BlockDevice(major, minor))
            }
            Node::Special(FileType::Fifo, _) => (Made::Other(FileType::Fifo), LayerContent::Fifo),
            // A socket is an open program's, and no layer keeps it.
            Node::Special(..) => return Ok(None),
        };
        let offset = self.add(path, attributes, content)?;
        self.made.insert(path.to_owned(), made);
        Ok(Some(offset))
    }
}
