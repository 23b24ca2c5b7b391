//! The tree that a layer's tar means, without unpacking it: what [`super::apply`] would make on disk, as inodes that know
//! where in the tar their content lies.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::extract::{Trouble, attributes_of, implicit, refused, split, type_of};
use super::node::{Attributes, file_type};
use super::view::{Step, View, enter_link};
use super::{OPAQUE, OVERLAY_OPAQUE, WHITEOUT, WHITEOUT_META};
use crate::erofs::{self, Data, Inexpressible, Inode};
use crate::tar::{Kind, Member};

/// Why no index is made.
pub(crate) enum Stop {
    /// The layer must be unpacked instead.
    Inexpressible,
    /// The layer is bad.
    Trouble(Trouble),
}

impl<E: Into<Trouble>> From<E> for Stop {
    fn from(trouble: E) -> Self {
        Self::Trouble(trouble.into())
    }
}

struct Node {
    kind: FileType,
    attributes: Attributes,
    is_opaque: bool,
    content: Content,
}

enum Content {
    Dir(BTreeMap<Vec<u8>, usize>),
    File { offset: u64, size_bytes: u64 },
    Symlink(Vec<u8>),
    Device(u32, u32),
    None,
}

const ROOT: usize = 0;
const NAME_LENGTH_MAX: usize = 255;
const LINK_LENGTH_MAX: usize = 4095;
const PATH_LENGTH_MAX: usize = 4095;
/// All of them are in memory at once, some 500 bytes each, until the index is written; unpacking needs none of them.
const NODES_MAX: usize = 1 << 17;

/// A folder's path without links, and its node.
type Folder = (PathBuf, usize);

/// Takes the members of a layer in.
pub(crate) struct Indexer<'a> {
    nodes: Vec<Node>,
    lower: Option<&'a View>,
    /// Folders below which nothing of the lower layers shows.
    hidden: HashSet<PathBuf>,
    /// Members mostly come folder by folder.
    last_parent: Option<(Vec<Vec<u8>>, Folder)>,
}

impl<'a> Indexer<'a> {
    /// Of a layer over `lower`.
    pub(crate) fn new(lower: Option<&'a View>) -> io::Result<Self> {
        let attributes = match lower {
            Some(lower) => lower.attributes(Path::new(""))?,
            None => implicit(),
        };
        Ok(Self { nodes: vec![dir(attributes)], lower, hidden: HashSet::new(), last_parent: None })
    }

    /// The next member, whose content begins `offset` bytes into the tar.
    pub(crate) fn member(&mut self, member: &Member, offset: u64) -> Result<(), Stop> {
        if self.nodes.len() >= NODES_MAX {
            return Err(Stop::Inexpressible);
        }
        // Also of what is replaced by a later member: unpacking refuses what no file system takes.
        if !erofs::holds(&member.xattrs) {
            return Err(Stop::Inexpressible);
        }
        let mut path = split(&member.path)?;
        let Some(name) = path.pop() else {
            if member.kind != Kind::Dir {
                return Ok(refused("would replace the root folder")?);
            }
            self.nodes[ROOT].attributes = attributes_of(member, None)?;
            return Ok(());
        };
        if path.iter().chain([&name]).any(|part| part.len() > NAME_LENGTH_MAX) {
            return Err(Stop::Inexpressible);
        }
        if path.iter().chain([&name]).any(|part| part.starts_with(WHITEOUT_META) && part != OPAQUE) {
            return Ok(());
        }
        if path.iter().any(|part| part.starts_with(WHITEOUT)) {
            return Ok(refused("lies below a whiteout")?);
        }
        if name == OPAQUE {
            let (path, folder) = self.folder(path)?;
            self.make_opaque(&path, folder);
            return Ok(());
        } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(path, hidden);
        } else if member.kind == Kind::CharDevice && member.device == (0, 0) {
            return self.whiteout(path, &name);
        }
        let attributes = attributes_of(member, None)?;
        if !matches!(member.kind, Kind::Dir | Kind::File)
            && attributes.xattrs.iter().any(|(key, _)| key.starts_with(b"user."))
        {
            return Err(Stop::Inexpressible);
        }
        let (folder_path, folder) = self.folder(path)?;
        let content = match member.kind {
            Kind::Dir => {
                self.dir(&child(&folder_path, &name), folder, &name, attributes);
                return Ok(());
            }
            Kind::HardLink => return self.hard_link(&folder_path, folder, &name, &member.link),
            Kind::File => Content::File { offset, size_bytes: member.size_bytes },
            Kind::Symlink => Content::Symlink(member.link.clone()),
            Kind::CharDevice | Kind::BlockDevice => Content::Device(member.device.0, member.device.1),
            Kind::Fifo => Content::None,
        };
        if matches!(&content, Content::Symlink(target) if target.is_empty() || target.len() > LINK_LENGTH_MAX) {
            return Err(Stop::Inexpressible);
        }
        let node = Node { kind: type_of(member.kind), attributes, is_opaque: false, content };
        self.put(folder, &name, node);
        Ok(())
    }

    /// The image of all, over a tar of `tar_bytes`.
    pub(crate) fn image(self, tar_bytes: u64) -> Result<Vec<u8>, Inexpressible> {
        // Only what has a name, folders before what is in them.
        let mut numbers: Vec<Option<usize>> = vec![None; self.nodes.len()];
        let mut parents = vec![ROOT; self.nodes.len()];
        let mut links = vec![0_u32; self.nodes.len()];
        let mut order = vec![ROOT];
        (numbers[ROOT], links[ROOT]) = (Some(0), 2);
        let mut next = 0;
        while let Some(&node) = order.get(next) {
            next += 1;
            let Content::Dir(entries) = &self.nodes[node].content else { continue };
            for &entry in entries.values() {
                if matches!(self.nodes[entry].content, Content::Dir(_)) {
                    parents[entry] = node;
                    links[entry] = 2;
                    links[node] += 1;
                } else {
                    links[entry] += 1;
                }
                if numbers[entry].is_none() {
                    numbers[entry] = Some(order.len());
                    order.push(entry);
                }
            }
        }
        let number = |node: usize| numbers[node].unwrap_or(0);
        let mut inodes = Vec::with_capacity(order.len());
        let mut nodes: Vec<Option<Node>> = self.nodes.into_iter().map(Some).collect();
        for node in order {
            let Some(Node { kind, mut attributes, is_opaque, content }) = nodes[node].take() else { continue };
            if is_opaque {
                attributes.xattrs.push((OVERLAY_OPAQUE.into(), b"y".to_vec()));
            }
            let data = match content {
                Content::Dir(entries) => Data::Dir {
                    entries: entries.into_iter().map(|(name, entry)| (name, number(entry))).collect(),
                    parent: number(parents[node]),
                },
                Content::File { offset, size_bytes } => Data::File { offset, size_bytes },
                Content::Symlink(target) => Data::Symlink(target),
                Content::Device(major, minor) => Data::Device(major, minor),
                Content::None => Data::None,
            };
            let mode = if kind == FileType::Symlink { 0o777 } else { attributes.mode };
            inodes.push(Inode {
                mode: kind.as_raw_mode() | mode,
                uid: attributes.uid,
                gid: attributes.gid,
                mtime: attributes.mtime,
                xattrs: attributes.xattrs,
                links: links[node],
                data,
            });
        }
        erofs::image(&inodes, tar_bytes)
    }

    fn entries(&mut self, folder: usize) -> &mut BTreeMap<Vec<u8>, usize> {
        if !matches!(self.nodes[folder].content, Content::Dir(_)) {
            self.nodes[folder].content = Content::Dir(BTreeMap::new());
        }
        match &mut self.nodes[folder].content {
            Content::Dir(entries) => entries,
            _ => unreachable!("it was made a folder above"),
        }
    }

    fn find(&self, folder: usize, name: &[u8]) -> Option<usize> {
        match &self.nodes[folder].content {
            Content::Dir(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    fn is_dir(&self, node: usize) -> bool {
        matches!(self.nodes[node].content, Content::Dir(_))
    }

    fn is_whiteout(&self, node: usize) -> bool {
        self.nodes[node].kind == FileType::CharacterDevice && matches!(self.nodes[node].content, Content::Device(0, 0))
    }

    fn put(&mut self, folder: usize, name: &[u8], node: Node) -> usize {
        let number = self.nodes.len();
        self.nodes.push(node);
        self.link(folder, name, number);
        number
    }

    /// What had the name before is gone, with all that was in it.
    fn link(&mut self, folder: usize, name: &[u8], node: usize) {
        if self.entries(folder).insert(name.to_vec(), node).is_some() {
            self.last_parent = None;
        }
    }

    fn dir(&mut self, path: &Path, parent: usize, name: &[u8], attributes: Attributes) -> usize {
        match self.find(parent, name) {
            Some(node) if self.is_dir(node) => {
                self.nodes[node].attributes = attributes;
                node
            }
            before => {
                let node = self.put(parent, name, dir(attributes));
                if before.is_some() {
                    // What was below had been replaced or removed by this very layer.
                    self.make_opaque(path, node);
                }
                node
            }
        }
    }

    fn hard_link(&mut self, parent_path: &Path, parent: usize, name: &[u8], link: &[u8]) -> Result<(), Stop> {
        let mut target = split(link)?;
        let Some(target_name) = target.pop() else { return Ok(refused("is a hard link to the root folder")?) };
        let (folder_path, folder) = self.folder(target)?;
        if child(&folder_path, &target_name) == child(parent_path, name) {
            return Ok(());
        }
        match self.find(folder, &target_name) {
            Some(node) if self.is_dir(node) => Ok(refused("is a hard link to a folder")?),
            Some(node) if self.is_whiteout(node) => Ok(refused("is a hard link to something that this layer removes")?),
            // It would take its own target away.
            Some(_) if folder_path.starts_with(child(parent_path, name)) => Err(Errno::NOENT.into()),
            Some(node) => {
                self.link(parent, name, node);
                Ok(())
            }
            None => Err(Stop::Inexpressible),
        }
    }

    fn whiteout(&mut self, parent: Vec<Vec<u8>>, name: &[u8]) -> Result<(), Stop> {
        if matches!(name, b"" | b"." | b"..") {
            return Ok(refused("is a whiteout of no name")?);
        }
        let (folder_path, folder) = self.folder(parent)?;
        let path = child(&folder_path, name);
        match self.find(folder, name) {
            Some(node) if self.is_dir(node) => self.make_opaque(&path, node),
            Some(_) => {}
            None => {
                let hides = match self.below(&path) {
                    Some(lower) => lower.find(&path)?.is_some(),
                    None => false,
                };
                if hides {
                    let attributes = Attributes { mode: 0, ..implicit() };
                    let content = Content::Device(0, 0);
                    let kind = FileType::CharacterDevice;
                    self.put(folder, name, Node { kind, attributes, is_opaque: false, content });
                }
            }
        }
        Ok(())
    }

    fn make_opaque(&mut self, path: &Path, folder: usize) {
        if self.lower.is_none() {
            return;
        }
        // A folder that is not merged shows the marks of removed names as files, and so do those in it.
        let mut folders = vec![folder];
        while let Some(folder) = folders.pop() {
            let Content::Dir(entries) = &self.nodes[folder].content else { continue };
            let whiteouts = entries.iter().filter(|(_, node)| self.is_whiteout(**node)).map(|(name, _)| name.clone());
            let whiteouts: Vec<Vec<u8>> = whiteouts.collect();
            folders.extend(entries.values().copied().filter(|node| self.is_dir(*node)));
            for name in whiteouts {
                self.entries(folder).remove(&name);
            }
        }
        self.nodes[folder].is_opaque = true;
        self.hidden.insert(path.to_owned());
    }

    /// The lower layers, where they show at `path`.
    fn below(&self, path: &Path) -> Option<&'a View> {
        let lower = self.lower?;
        let is_hidden =
            !self.hidden.is_empty() && path.ancestors().skip(1).any(|ancestor| self.hidden.contains(ancestor));
        (!is_hidden).then_some(lower)
    }

    /// The folder that a path leads to, made where it is missing. Links are followed in the merged tree, never out of it.
    fn folder(&mut self, path: Vec<Vec<u8>>) -> Result<Folder, Stop> {
        if let Some((known, folder)) = &self.last_parent
            && *known == path
        {
            return Ok(folder.clone());
        }
        let mut rest: VecDeque<Step> = path.iter().cloned().map(Step::Down).collect();
        let mut here = PathBuf::new();
        let mut nodes = vec![ROOT];
        let mut links = 0;
        while let Some(step) = rest.pop_front() {
            let Step::Down(name) = step else {
                here.pop();
                nodes.truncate(nodes.len().saturating_sub(1).max(1));
                continue;
            };
            let parent = nodes.last().copied().unwrap_or(ROOT);
            if here.as_os_str().len() + name.len() >= PATH_LENGTH_MAX {
                return Err(Stop::Inexpressible);
            }
            here.push(OsStr::from_bytes(&name));
            match self.enter(&here, parent, &name)? {
                Entered::Dir(node) => nodes.push(node),
                Entered::Link(target) => {
                    links += 1;
                    if links > 40 {
                        return Err(Errno::LOOP.into());
                    }
                    if target.starts_with(b"/") {
                        nodes.truncate(1);
                    }
                    enter_link(&mut here, &mut rest, &target);
                }
            }
        }
        let folder = (here, nodes.last().copied().unwrap_or(ROOT));
        self.last_parent = Some((path, folder.clone()));
        Ok(folder)
    }

    fn enter(&mut self, path: &Path, parent: usize, name: &[u8]) -> Result<Entered, Stop> {
        if let Some(node) = self.find(parent, name) {
            return match &self.nodes[node].content {
                Content::Dir(_) => Ok(Entered::Dir(node)),
                Content::Symlink(target) => Ok(Entered::Link(target.clone())),
                _ if self.is_whiteout(node) => Ok(Entered::Dir(self.dir(path, parent, name, implicit()))),
                _ => Ok(refused(format!("lies below `{}`, which is no folder", path.display()))?),
            };
        }
        if name.len() > NAME_LENGTH_MAX {
            return Err(Stop::Inexpressible);
        }
        let attributes = match self.below(path) {
            None => implicit(),
            Some(lower) => match lower.find(path)? {
                None => implicit(),
                Some(found) => match file_type(&found.stat) {
                    FileType::Directory => lower.attributes(path)?,
                    FileType::Symlink => return Ok(Entered::Link(lower.link_target(&found, path)?)),
                    _ => return Ok(refused(format!("lies below `{}`, which is no folder", path.display()))?),
                },
            },
        };
        Ok(Entered::Dir(self.put(parent, name, dir(attributes))))
    }
}

enum Entered {
    Dir(usize),
    Link(Vec<u8>),
}

fn dir(attributes: Attributes) -> Node {
    Node { kind: FileType::Directory, attributes, is_opaque: false, content: Content::Dir(BTreeMap::new()) }
}

fn child(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::Reader;

    #[test]
    fn a_layer_of_more_than_memory_should_hold_is_unpacked() {
        let tar = (1..=NODES_MAX).fold(carrack_testkit::tar::Builder::new(), |tar, at| tar.file(&at.to_string(), ""));
        let tar = tar.build();
        let mut reader = Reader::new(tar.as_slice());
        let mut indexer = Indexer::new(None).unwrap();
        for _ in 1..NODES_MAX {
            let member = reader.next().unwrap().unwrap();
            assert!(indexer.member(&member, 0).is_ok());
        }
        let last = reader.next().unwrap().unwrap();
        assert!(matches!(indexer.member(&last, 0), Err(Stop::Inexpressible)));
    }
}
