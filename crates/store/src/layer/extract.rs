use std::cell::OnceCell;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, makedev};
use rustix::io::Errno;

use super::node::{self, Attributes, Links, file_type, find, is_whiteout};
use super::view::{Step, View, components, enter_link, path_of};
use super::{OPAQUE, OVERLAY_OPAQUE, OVERLAY_XATTRS, WHITEOUT, WHITEOUT_META, transfer};
use crate::codes;
use crate::fault::fault;
use crate::files::entries;
use crate::recompress::copy_large;
use crate::tar::{Kind, Member, Reader, TarError, Time};

/// Files from this size on begin their way to the disk at once: a sync at the end shall find little to do.
const WRITEBACK_MIN_BYTES: u64 = 64 << 10;

/// What a layer's tree is laid over.
enum Lower<'a> {
    /// Unpacked layers, or none: whiteouts mean something.
    Layers(Option<&'a Below<'a>>),
    /// An ordinary folder: whiteouts are files like any other.
    Nothing,
}

/// The layers below one that is unpacked, looked at only where it takes something from them: they may still be unpacked
/// themselves.
pub(crate) struct Below<'a> {
    open: &'a dyn Fn() -> Result<View>,
    view: OnceCell<View>,
}

impl<'a> Below<'a> {
    /// `open` may wait for them.
    pub(crate) fn new(open: &'a dyn Fn() -> Result<View>) -> Self {
        Self { open, view: OnceCell::new() }
    }

    fn view(&self) -> Result<&View> {
        if let Some(view) = self.view.get() {
            return Ok(view);
        }
        let view = (self.open)()?;
        Ok(self.view.get_or_init(|| view))
    }
}

/// Unpacks a plain tar into an existing folder, as `tar -x` does, but never outside of it: links are followed within it,
/// and what a member replaces is not followed at all. `owner` replaces every member's. Errors call the folder `shown`.
///
/// # Errors
/// `store/invalid-tar`, `store/hostile-layer`; what was unpacked until then stays.
pub fn extract(tar: impl Read, to: &Path, shown: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    run(tar, (to, shown), &Lower::Nothing, owner)
}

/// Unpacks a layer into an empty folder so that an overlay of it over `lower` shows what the layer means
/// (image-spec `layer.md`, "Applying changesets").
pub(crate) fn apply(tar: impl Read, to: &Path, lower: Option<&Below<'_>>) -> Result<()> {
    run(tar, (to, to), &Lower::Layers(lower), None)
}

/// Unpacks a plain tar below a folder of a tree that somebody else may change meanwhile: every path is resolved in the tree,
/// links of the folder's own path too. What is there is replaced by its like only: neither a folder by something else nor
/// the reverse. The folder itself stays as it is.
pub(super) fn merge(tar: impl Read, tree: Merge<'_>) -> Result<(), (Vec<u8>, Trouble)> {
    let mut extractor = Extractor {
        root: tree.root,
        lower: &Lower::Nothing,
        owner: tree.owner,
        below: Some(tree.below),
        times: BTreeMap::new(),
        hidden: HashSet::new(),
        last_parent: None,
    };
    let malformed = |error| match error {
        TarError::Io(error) => Trouble::Below(transfer::unreadable(&error.to_string())),
        TarError::Malformed(reason) => Trouble::Below(transfer::unreadable(&reason)),
    };
    let mut reader = Reader::new(BufReader::with_capacity(1 << 16, tar));
    while let Some(member) = reader.next().map_err(|error| (Vec::new(), malformed(error)))? {
        extractor.member(&member, &mut reader).map_err(|trouble| (member.path.clone(), trouble))?;
    }
    extractor.set_times().map_err(|trouble| (Vec::new(), trouble))?;
    io::copy(&mut reader.into_inner(), &mut io::sink()).map_err(|error| (Vec::new(), error.into()))?;
    Ok(())
}

/// Where [`merge`] unpacks.
pub(super) struct Merge<'a> {
    pub(super) root: OwnedFd,
    /// Components of the folder's path.
    pub(super) below: &'a [Vec<u8>],
    pub(super) owner: Option<(u32, u32)>,
}

fn run(tar: impl Read, (to, shown): (&Path, &Path), lower: &Lower<'_>, owner: Option<(u32, u32)>) -> Result<()> {
    let root = File::open(to).map_err(|error| fault("open the folder", shown, error))?;
    let mut extractor = Extractor {
        root: root.into(),
        lower,
        owner,
        below: None,
        times: BTreeMap::new(),
        hidden: HashSet::new(),
        last_parent: None,
    };
    extractor.all(tar, shown)
}

/// Why a member can't be unpacked.
pub(crate) enum Trouble {
    Io(io::Error),
    /// Completes "… was refused: it".
    Refused(String),
    /// The layers below can't be looked at.
    Below(Box<Diagnostic>),
}

impl<E: Into<io::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Io(error.into())
    }
}

pub(crate) fn refused<T>(reason: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Refused(reason.into()))
}

struct Extractor<'a> {
    root: OwnedFd,
    lower: &'a Lower<'a>,
    owner: Option<(u32, u32)>,
    /// Of a merge, where it goes.
    below: Option<&'a [Vec<u8>]>,
    /// Of folders, set at the end because every entry changes its folder's.
    times: BTreeMap<PathBuf, Attributes>,
    /// Folders below which nothing of the lower layers shows.
    hidden: HashSet<PathBuf>,
    /// Members mostly come folder by folder.
    last_parent: Option<(Vec<Vec<u8>>, Folder)>,
}

/// A folder of the tree being made; its path has no links.
#[derive(Clone)]
struct Folder {
    path: PathBuf,
    fd: std::rc::Rc<OwnedFd>,
}

impl Folder {
    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn child(&self, name: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(name))
    }
}

impl Extractor<'_> {
    fn all(&mut self, tar: impl Read, to: &Path) -> Result<()> {
        let mut reader = Reader::new(BufReader::with_capacity(1 << 16, tar));
        while let Some(member) = reader.next().map_err(|error| malformed(to, error))? {
            self.member(&member, &mut reader).map_err(|trouble| told(to, &member.path, trouble))?;
        }
        self.root().map_err(|trouble| told(to, b"/", trouble))?;
        self.set_times().map_err(|trouble| told(to, b"/", trouble))?;
        // Behind the end there may be padding, which counts for the layer's digest.
        io::copy(&mut reader.into_inner(), &mut io::sink()).map_err(|error| malformed(to, error.into()))?;
        Ok(())
    }

    /// The root of a layer that does not mention it is as below.
    fn root(&mut self) -> Result<(), Trouble> {
        if matches!(self.lower, Lower::Layers(_)) && !self.times.contains_key(Path::new("")) {
            let attributes = self.attributes_below(Path::new(""))?.unwrap_or_else(implicit);
            attributes.set(self.root.as_fd(), b".", FileType::Directory)?;
            self.times.insert(PathBuf::new(), attributes);
        }
        Ok(())
    }

    fn member(&mut self, member: &Member, content: &mut impl Read) -> Result<(), Trouble> {
        let mut path = self.place(&member.path)?;
        if self.below.is_some_and(|below| below.len() == path.len()) {
            return Ok(());
        }
        let Some(name) = path.pop() else { return self.root_member(member) };
        if matches!(self.lower, Lower::Layers(_)) {
            if path.iter().chain([&name]).any(|part| part.starts_with(WHITEOUT_META) && part != OPAQUE) {
                return Ok(());
            }
            if path.iter().any(|part| part.starts_with(WHITEOUT)) {
                return refused("lies below a whiteout");
            }
            let is_device_whiteout = member.kind == Kind::CharDevice && member.device == (0, 0);
            if name == OPAQUE {
                let folder = self.folder(path)?;
                return self.make_opaque(&folder);
            } else if let Some(hidden) = name.strip_prefix(WHITEOUT) {
                return self.whiteout(path, hidden);
            } else if is_device_whiteout {
                return self.whiteout(path, &name);
            }
        }
        let attributes = self.attributes(member)?;
        let folder = self.folder(path)?;
        match member.kind {
            Kind::Dir => self.dir(&folder, &name, attributes),
            Kind::HardLink => self.hard_link(&folder, &name, &member.link),
            kind => {
                if !self.clear(&folder, &name)? {
                    return overwrite(kind, &folder, &name, content);
                }
                create(kind, &folder, &name, member, content, self.below.is_some())?;
                attributes.set(folder.fd(), &name, type_of(kind))?;
                Ok(attributes.set_time(folder.fd(), &name)?)
            }
        }
    }

    /// Where a name of the archive is in the tree.
    fn place(&self, path: &[u8]) -> Result<Vec<Vec<u8>>, Trouble> {
        let mut place = self.below.map(<[Vec<u8>]>::to_vec).unwrap_or_default();
        place.extend(split(path)?);
        Ok(place)
    }

    fn root_member(&mut self, member: &Member) -> Result<(), Trouble> {
        if member.kind != Kind::Dir {
            return refused("would replace the root folder");
        }
        let attributes = self.attributes(member)?;
        self.set_dir(&Folder { path: PathBuf::new(), fd: self.open(Path::new(""))? }, attributes)
    }

    fn attributes(&self, member: &Member) -> Result<Attributes, Trouble> {
        attributes_of(member, self.owner)
    }

    /// What a member says of a folder, whether it is new or was made for something in it.
    fn set_dir(&mut self, folder: &Folder, attributes: Attributes) -> Result<(), Trouble> {
        if matches!(self.lower, Lower::Layers(_)) {
            for (key, _) in node::xattrs(folder.fd(), b".")? {
                if !OVERLAY_XATTRS.iter().any(|prefix| key.starts_with(prefix)) {
                    rustix::fs::fremovexattr(folder.fd(), key.as_slice())?;
                }
            }
        }
        attributes.set(folder.fd(), b".", FileType::Directory)?;
        self.times.insert(folder.path.clone(), attributes);
        Ok(())
    }

    fn dir(&mut self, parent: &Folder, name: &[u8], attributes: Attributes) -> Result<(), Trouble> {
        let path = parent.child(name);
        let before = find(parent.fd(), name)?;
        let is_dir = before.as_ref().is_some_and(|stat| file_type(stat) == FileType::Directory);
        if !is_dir {
            if before.is_some() && self.below.is_some() {
                return refused("is a folder, and what stands in its place is none");
            }
            let _no_folder = self.clear(parent, name)?;
            rustix::fs::mkdirat(parent.fd(), name, Mode::RWXU)?;
        }
        let folder = Folder { fd: self.open(&path)?, path };
        if before.is_some() && !is_dir {
            // What was below had been replaced or removed by this very layer.
            self.make_opaque(&folder)?;
        }
        self.set_dir(&folder, attributes)
    }

    fn hard_link(&mut self, parent: &Folder, name: &[u8], link: &[u8]) -> Result<(), Trouble> {
        let mut target = self.place(link)?;
        let Some(target_name) = target.pop() else { return refused("is a hard link to the root folder") };
        let folder = self.folder(target)?;
        let path = folder.child(&target_name);
        if path == parent.child(name) {
            return Ok(());
        }
        match find(folder.fd(), &target_name)? {
            Some(stat) if file_type(&stat) == FileType::Directory => return refused("is a hard link to a folder"),
            Some(stat) if is_whiteout(&stat) => return refused("is a hard link to something that this layer removes"),
            Some(_) => {}
            None => self.copy_up(&folder, &target_name)?,
        }
        let _busy = self.clear(parent, name)?;
        Ok(rustix::fs::linkat(folder.fd(), target_name, parent.fd(), name, AtFlags::empty())?)
    }

    /// As the kernel would do for a link made in a mounted overlay.
    fn copy_up(&self, folder: &Folder, name: &[u8]) -> Result<(), Trouble> {
        let path = folder.child(name);
        let Some(lower) = self.below(&path)? else { return refused("is a hard link to nothing") };
        match lower.find(&path)? {
            None => refused("is a hard link to nothing"),
            Some(found) if file_type(&found.stat) == FileType::Directory => refused("is a hard link to a folder"),
            Some(found) => {
                let from = lower.parent_of(&found, &path)?;
                Ok(node::copy_node(from.as_fd(), name, folder.fd(), name, &mut Links::new())?)
            }
        }
    }

    /// Whatever the layer itself put there stays: whiteouts speak of the layers below, in whatever order they come.
    fn whiteout(&mut self, parent: Vec<Vec<u8>>, name: &[u8]) -> Result<(), Trouble> {
        if matches!(name, b"" | b"." | b"..") {
            return refused("is a whiteout of no name");
        }
        let folder = self.folder(parent)?;
        let path = folder.child(name);
        match find(folder.fd(), name)? {
            Some(stat) if file_type(&stat) == FileType::Directory => {
                let folder = Folder { fd: self.open(&path)?, path };
                self.make_opaque(&folder)
            }
            Some(_) => Ok(()),
            None => {
                let hides = match self.below(&path)? {
                    Some(lower) => lower.find(&path)?.is_some(),
                    None => false,
                };
                if hides {
                    rustix::fs::mknodat(folder.fd(), name, FileType::CharacterDevice, Mode::empty(), makedev(0, 0))?;
                }
                Ok(())
            }
        }
    }

    fn make_opaque(&mut self, folder: &Folder) -> Result<(), Trouble> {
        if !matches!(self.lower, Lower::Layers(Some(_))) {
            return Ok(());
        }
        // A folder that is not merged shows the marks of removed names as files, and so do those in it.
        let mut folders = vec![folder.path.clone()];
        while let Some(path) = folders.pop() {
            let fd = self.open(&path)?;
            for name in entries(fd.as_fd())? {
                let Some(stat) = find(fd.as_fd(), &name)? else { continue };
                if is_whiteout(&stat) {
                    rustix::fs::unlinkat(&fd, name, AtFlags::empty())?;
                } else if file_type(&stat) == FileType::Directory {
                    folders.push(path.join(OsStr::from_bytes(&name)));
                }
            }
        }
        node::set_xattr(folder.fd(), b".", OVERLAY_OPAQUE.as_bytes(), b"y")?;
        self.hidden.insert(folder.path.clone());
        Ok(())
    }

    /// The lower layers, where they show at `path`.
    fn below(&self, path: &Path) -> Result<Option<&View>, Trouble> {
        let Lower::Layers(Some(lower)) = self.lower else { return Ok(None) };
        if path.ancestors().skip(1).any(|ancestor| self.hidden.contains(ancestor)) {
            return Ok(None);
        }
        lower.view().map(Some).map_err(Trouble::Below)
    }

    fn attributes_below(&self, path: &Path) -> Result<Option<Attributes>, Trouble> {
        match self.below(path)? {
            Some(lower) => Ok(Some(lower.attributes(path)?)),
            None => Ok(None),
        }
    }

    /// Takes away what a member replaces; false for a file that something is mounted on.
    fn clear(&mut self, folder: &Folder, name: &[u8]) -> Result<bool, Trouble> {
        let Some(stat) = find(folder.fd(), name)? else { return Ok(true) };
        self.last_parent = None;
        if file_type(&stat) == FileType::Directory {
            if self.below.is_some() {
                return refused("is no folder, and what stands in its place is one");
            }
            clear_dir(folder.fd(), name)?;
            let path = folder.child(name);
            self.times.retain(|known, _| !known.starts_with(&path));
        } else {
            match rustix::fs::unlinkat(folder.fd(), name, AtFlags::empty()) {
                Err(Errno::BUSY) if self.below.is_some() => return Ok(false),
                done => done?,
            }
        }
        Ok(true)
    }

    /// The folder that a path leads to, made where it is missing. Links are followed in the merged tree, never out of it.
    fn folder(&mut self, path: Vec<Vec<u8>>) -> Result<Folder, Trouble> {
        if let Some((known, folder)) = &self.last_parent
            && *known == path
        {
            return Ok(folder.clone());
        }
        let mut rest: VecDeque<Step> = path.iter().cloned().map(Step::Down).collect();
        let mut here = PathBuf::new();
        let mut links = 0;
        while let Some(step) = rest.pop_front() {
            let Step::Down(name) = step else {
                here.pop();
                continue;
            };
            let parent = Folder { fd: self.open(&here)?, path: here.clone() };
            here = parent.child(&name);
            if let Some(target) = self.enter(&parent, &name)? {
                links += 1;
                if links > 40 {
                    return Err(Errno::LOOP.into());
                }
                enter_link(&mut here, &mut rest, &target);
            }
        }
        let folder = Folder { fd: self.open(&here)?, path: here };
        self.last_parent = Some((path, folder.clone()));
        Ok(folder)
    }

    /// Makes sure that the child is a folder here, or gives the link that stands there.
    fn enter(&mut self, parent: &Folder, name: &[u8]) -> Result<Option<Vec<u8>>, Trouble> {
        let path = parent.child(name);
        match find(parent.fd(), name)? {
            Some(stat) if file_type(&stat) == FileType::Directory => return Ok(None),
            Some(stat) if file_type(&stat) == FileType::Symlink => {
                return Ok(Some(rustix::fs::readlinkat(parent.fd(), name, Vec::new())?.into_bytes()));
            }
            Some(stat) if is_whiteout(&stat) => {
                self.dir(parent, name, implicit())?;
                return Ok(None);
            }
            Some(_) => return refused(format!("lies below `{}`, which is no folder", path.display())),
            None => {}
        }
        let attributes = match self.below(&path)? {
            None => implicit(),
            Some(lower) => match lower.find(&path)? {
                None => implicit(),
                Some(found) => match file_type(&found.stat) {
                    FileType::Directory => lower.attributes(&path)?,
                    FileType::Symlink => return Ok(Some(lower.link_target(&found, &path)?)),
                    _ => return refused(format!("lies below `{}`, which is no folder", path.display())),
                },
            },
        };
        rustix::fs::mkdirat(parent.fd(), name, Mode::RWXU)?;
        attributes.set(parent.fd(), name, FileType::Directory)?;
        if matches!(self.lower, Lower::Layers(_)) {
            self.times.insert(path, attributes);
        }
        Ok(None)
    }

    /// By a path without links; the kernel holds us to that.
    fn open(&self, path: &Path) -> io::Result<std::rc::Rc<OwnedFd>> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        Ok(std::rc::Rc::new(carrack_sys::file::open_below(&self.root, path, flags, resolve)?))
    }

    fn set_times(&mut self) -> Result<(), Trouble> {
        self.last_parent = None;
        for (path, attributes) in std::mem::take(&mut self.times).into_iter().rev() {
            attributes.set_time(self.open(&path)?.as_fd(), b".")?;
        }
        Ok(())
    }
}

/// What a member says of its inode; `owner` replaces its own.
pub(crate) fn attributes_of(member: &Member, owner: Option<(u32, u32)>) -> Result<Attributes, Trouble> {
    for (name, _) in &member.xattrs {
        if OVERLAY_XATTRS.iter().any(|prefix| name.starts_with(prefix)) {
            return refused(format!("sets {}, which only the kernel's overlay may", name.escape_ascii()));
        }
        if name.is_empty() || name.contains(&0) {
            return refused("has an extended attribute without a usable name");
        }
    }
    let (uid, gid) = owner.unwrap_or((member.uid, member.gid));
    if uid == u32::MAX || gid == u32::MAX {
        return refused("belongs to user or group 4294967295, which means nobody at all to the kernel");
    }
    Ok(Attributes { mode: member.mode, uid, gid, mtime: member.mtime, xattrs: member.xattrs.clone() })
}

/// Of a folder that nothing describes.
pub(crate) fn implicit() -> Attributes {
    Attributes { mode: 0o755, uid: 0, gid: 0, mtime: Time::default(), xattrs: Vec::new() }
}

/// Gives a folder what a folder has that nothing describes.
pub(crate) fn make_implicit(path: &Path) -> Result<()> {
    let set = || -> io::Result<()> {
        let dir = File::open(path)?;
        implicit().set(dir.as_fd(), b".", FileType::Directory)?;
        implicit().set_time(dir.as_fd(), b".")
    };
    set().map_err(|error| fault("set the owner and mode of", path, error))
}

pub(crate) fn type_of(kind: Kind) -> FileType {
    match kind {
        Kind::File | Kind::HardLink => FileType::RegularFile,
        Kind::Symlink => FileType::Symlink,
        Kind::CharDevice => FileType::CharacterDevice,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::Dir => FileType::Directory,
        Kind::Fifo => FileType::Fifo,
    }
}

/// Writes into a file that can't be replaced as something is mounted there: the three of /etc, or a bind of one's own.
fn overwrite(kind: Kind, folder: &Folder, name: &[u8], content: &mut impl Read) -> Result<(), Trouble> {
    if kind != Kind::File {
        return Err(Errno::BUSY.into());
    }
    let flags = OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder.fd(), name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(Errno::BUSY.into());
    }
    file.set_len(0)?;
    io::copy(content, &mut file)?;
    Ok(())
}

fn create(
    kind: Kind,
    folder: &Folder,
    name: &[u8],
    member: &Member,
    content: &mut impl Read,
    with_holes: bool,
) -> Result<(), Trouble> {
    match kind {
        Kind::File if with_holes => transfer::copy_with_holes(content, &node::create_file(folder.fd(), name)?)?,
        Kind::File => {
            let mut file = node::create_file(folder.fd(), name)?;
            copy_large(content, &mut file, member.size_bytes)?;
            if member.size_bytes >= WRITEBACK_MIN_BYTES {
                // Sooner or later the kernel does it unasked.
                let _ = carrack_sys::file::start_writeback(&file, 0, 0);
            }
        }
        Kind::Symlink => rustix::fs::symlinkat(member.link.as_slice(), folder.fd(), name)?,
        _ => {
            let device = makedev(member.device.0, member.device.1);
            rustix::fs::mknodat(folder.fd(), name, type_of(kind), Mode::empty(), device)?;
        }
    }
    Ok(())
}

/// Depth is bounded by the length that the kernel allows a path.
fn clear_dir(parent: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    let dir = node::open_dir(parent, name)?;
    for child in entries(&dir)? {
        if file_type(&node::stat(dir.as_fd(), &child)?) == FileType::Directory {
            clear_dir(dir.as_fd(), &child)?;
        } else {
            rustix::fs::unlinkat(&dir, child, AtFlags::empty())?;
        }
    }
    Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Absolute names count from the root of the layer; `..` has no place in a name.
pub(crate) fn split(path: &[u8]) -> Result<Vec<Vec<u8>>, Trouble> {
    let mut parts = Vec::new();
    for step in components(&path_of(path)) {
        match step {
            Step::Down(name) => parts.push(name),
            Step::Up => return refused(format!("has `..` in its name or link: {}", crate::tar::shown(path))),
        }
    }
    Ok(parts)
}

pub(crate) fn told(to: &Path, member: &[u8], trouble: Trouble) -> Box<Diagnostic> {
    let member = crate::tar::shown(member);
    match trouble {
        Trouble::Refused(reason) => {
            Diagnostic::error(&codes::HOSTILE_LAYER, format!("the layer member `{member}` was refused: it {reason}"))
                .hint("do not use the image unless you know how it came about")
                .boxed()
        }
        Trouble::Below(diagnostic) => diagnostic,
        // The stream's own end, met while a file's content was copied.
        Trouble::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => malformed(to, TarError::Io(error)),
        Trouble::Io(error) => fault(&format!("unpack `{member}` into"), to, error),
    }
}

pub(crate) fn malformed(to: &Path, error: TarError) -> Box<Diagnostic> {
    let message = format!("can't unpack a tar into {}", to.display());
    match error {
        TarError::Io(error) if error.raw_os_error().is_some() => fault("unpack a tar into", to, error),
        TarError::Io(error) => Diagnostic::error(&codes::INVALID_TAR, message).cause(error.to_string()).boxed(),
        TarError::Malformed(reason) => Diagnostic::error(&codes::INVALID_TAR, message)
            .cause(reason)
            .hint("fetch it again, or write it again with GNU tar, bsdtar or docker")
            .boxed(),
    }
}
