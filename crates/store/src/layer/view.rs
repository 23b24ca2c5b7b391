use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use carrack_diag::Result;
use rustix::fs::{FileType, Mode, OFlags, Stat};

use super::OVERLAY_OPAQUE;
use super::node::{self, Attributes, Links, file_type, is_whiteout};
use crate::fault::Context as _;
use crate::files::entries;

/// Unpacked layers seen as the one tree that an overlay of them would show, without mounting anything.
///
/// Paths are the image's: absolute or not, links followed within it, `..` never leads out of it.
#[derive(Debug)]
pub struct View {
    /// Topmost first.
    layers: Vec<OwnedFd>,
    /// Which layers a folder is made of.
    folders: RefCell<HashMap<PathBuf, Rc<[usize]>>>,
}

/// An inode and the layer that has it.
pub(crate) struct Found {
    layer: usize,
    pub(crate) stat: Stat,
}

/// As many as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

impl View {
    /// Of layers on disk, topmost first.
    ///
    /// # Errors
    /// Where one can't be opened.
    pub fn open(layers: &[PathBuf]) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |path: &PathBuf| rustix::fs::open(path, flags, Mode::empty()).context("open the layer", path);
        let layers = layers.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { layers, folders: RefCell::default() })
    }

    /// The content of a file; none where there is no file of that name.
    ///
    /// # Errors
    /// Where it can't be read or is larger than `limit_bytes`.
    pub fn read(&self, path: &Path, limit_bytes: u64) -> Result<Option<Vec<u8>>> {
        let read = || -> io::Result<Option<Vec<u8>>> {
            let Some(mut file) = self.open_file(path)? else { return Ok(None) };
            let mut content = Vec::new();
            file.by_ref().take(limit_bytes + 1).read_to_end(&mut content)?;
            if content.len() as u64 > limit_bytes {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit_bytes} bytes")));
            }
            Ok(Some(content))
        };
        read().context("read from the image", path)
    }

    /// Where a path leads after all links, relative to the image's root; none where there is nothing.
    ///
    /// # Errors
    /// Where a layer can't be read, or links go round in a circle.
    pub fn resolve(&self, path: &Path) -> Result<Option<PathBuf>> {
        self.follow(path).context("follow in the image", path)
    }

    /// Whether a path, links followed, is a folder.
    ///
    /// # Errors
    /// As [`View::resolve`].
    pub fn is_dir(&self, path: &Path) -> Result<bool> {
        let look = || -> io::Result<bool> {
            let Some(real) = self.follow(path)? else { return Ok(false) };
            Ok(self.find(&real)?.is_some_and(|found| file_type(&found.stat) == FileType::Directory))
        };
        look().context("look at, in the image,", path)
    }

    /// Copies what a folder of the image holds into a folder on disk, as [`crate::copy_tree`] does. Whether there is such
    /// a folder.
    ///
    /// # Errors
    /// Where something can't be read or written.
    pub fn copy_dir(&self, path: &Path, to: &Path) -> Result<bool> {
        let copy = || -> io::Result<bool> {
            let Some(real) = self.follow(path)? else { return Ok(false) };
            let is_dir = self.find(&real)?.is_some_and(|found| file_type(&found.stat) == FileType::Directory);
            if is_dir {
                self.copy_folder(&real, File::open(to)?.as_fd(), &mut Links::new())?;
            }
            Ok(is_dir)
        };
        copy().context(&format!("copy the image's {} to", path.display()), to)
    }

    fn copy_folder(&self, path: &Path, to: BorrowedFd<'_>, links: &mut Links) -> io::Result<()> {
        for name in self.names(path)? {
            let child = path.join(OsStr::from_bytes(&name));
            let Some(found) = self.find(&child)? else { continue };
            if file_type(&found.stat) == FileType::Directory {
                rustix::fs::mkdirat(to, name.as_slice(), Mode::RWXU)?;
                self.copy_folder(&child, node::open_dir(to, &name)?.as_fd(), links)?;
            } else {
                let parent = self.open_in(found.layer, path)?;
                node::copy_node(parent.as_fd(), &name, to, &name, links)?;
            }
        }
        let attributes = self.attributes(path)?;
        attributes.set(to, b".", FileType::Directory)?;
        attributes.set_time(to, b".")
    }

    /// Names in a folder of the merged tree, sorted.
    pub(super) fn names(&self, path: &Path) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for layer in self.folder(path)?.iter() {
            names.extend(entries(self.open_in(*layer, path)?)?);
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// The attributes of a folder are those of its topmost part.
    pub(crate) fn attributes(&self, path: &Path) -> io::Result<Attributes> {
        let layer = self.folder(path)?.first().copied().ok_or(io::ErrorKind::NotFound)?;
        Attributes::of(self.open_in(layer, path)?.as_fd(), b".")
    }

    /// The folder that holds a found inode, in its layer.
    pub(crate) fn parent_of(&self, found: &Found, path: &Path) -> io::Result<OwnedFd> {
        self.open_in(found.layer, path.parent().unwrap_or(Path::new("")))
    }

    /// The target of a link that was found.
    pub(crate) fn link_target(&self, found: &Found, path: &Path) -> io::Result<Vec<u8>> {
        let parent = self.parent_of(found, path)?;
        let name = path.file_name().unwrap_or_default();
        Ok(rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes())
    }

    fn open_file(&self, path: &Path) -> io::Result<Option<File>> {
        let Some(real) = self.follow(path)? else { return Ok(None) };
        match self.find(&real)? {
            Some(found) if file_type(&found.stat) == FileType::RegularFile => {
                let name = real.file_name().unwrap_or_default();
                node::open_file(self.parent_of(&found, &real)?.as_fd(), name.as_bytes()).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn open_in(&self, layer: usize, path: &Path) -> io::Result<OwnedFd> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        node::open_dir(self.layers[layer].as_fd(), path.as_os_str().as_bytes())
    }

    /// Looks a path without links up, through whiteouts and opaque folders.
    pub(crate) fn find(&self, path: &Path) -> io::Result<Option<Found>> {
        if path.as_os_str().is_empty() {
            let root = self.layers.first().map(|layer| node::stat(layer.as_fd(), b".")).transpose()?;
            return Ok(root.map(|stat| Found { layer: 0, stat }));
        }
        for layer in self.folder(path.parent().unwrap_or(Path::new("")))?.iter() {
            if let Some(stat) = node::find(self.layers[*layer].as_fd(), path.as_os_str().as_bytes())? {
                return Ok((!is_whiteout(&stat)).then_some(Found { layer: *layer, stat }));
            }
        }
        Ok(None)
    }

    /// The layers that take part in a folder, topmost first; none where it is no folder.
    fn folder(&self, path: &Path) -> io::Result<Rc<[usize]>> {
        if path.as_os_str().is_empty() {
            return Ok((0..self.layers.len()).collect());
        }
        if let Some(known) = self.folders.borrow().get(path) {
            return Ok(known.clone());
        }
        let mut parts = Vec::new();
        for layer in self.folder(path.parent().unwrap_or(Path::new("")))?.iter() {
            let dir = self.layers[*layer].as_fd();
            match node::find(dir, path.as_os_str().as_bytes())? {
                None => {}
                Some(stat) if file_type(&stat) != FileType::Directory => break,
                Some(_) => {
                    parts.push(*layer);
                    if is_opaque(dir, path.as_os_str().as_bytes())? {
                        break;
                    }
                }
            }
        }
        let parts: Rc<[usize]> = parts.into();
        self.folders.borrow_mut().insert(path.to_owned(), parts.clone());
        Ok(parts)
    }

    fn follow(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        let mut rest = components(path);
        let mut here = PathBuf::new();
        let mut links = 0;
        while let Some(step) = rest.pop_front() {
            let Step::Down(name) = step else {
                here.pop();
                continue;
            };
            here.push(OsStr::from_bytes(&name));
            let Some(found) = self.find(&here)? else { return Ok(None) };
            if file_type(&found.stat) == FileType::Symlink {
                links += 1;
                if links > LINKS_MAX {
                    return Err(rustix::io::Errno::LOOP.into());
                }
                let target = self.link_target(&found, &here)?;
                enter_link(&mut here, &mut rest, &target);
            }
        }
        Ok(Some(here))
    }
}

pub(crate) fn is_opaque(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
    Ok(node::get_xattr(dir, name, OVERLAY_OPAQUE.as_bytes())?.as_deref() == Some(b"y"))
}

/// One step of a path.
pub(crate) enum Step {
    Up,
    Down(Vec<u8>),
}

pub(crate) fn components(path: &Path) -> VecDeque<Step> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(Step::Down(name.as_bytes().to_vec())),
            Component::ParentDir => Some(Step::Up),
            _ => None,
        })
        .collect()
}

/// Replaces the link that `here` ends with by its target.
pub(crate) fn enter_link(here: &mut PathBuf, rest: &mut VecDeque<Step>, target: &[u8]) {
    here.pop();
    if target.starts_with(b"/") {
        here.clear();
    }
    for step in components(Path::new(OsStr::from_bytes(target))).into_iter().rev() {
        rest.push_front(step);
    }
}

/// For messages and joins.
pub(crate) fn path_of(bytes: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec()))
}
