//! Layers that are written as tars from the start.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::diff::Each;
use crate::tar::{Kind, Member, Time, Writer};

/// What a layer says of one inode besides its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerAttributes {
    /// Permission bits with set-id and sticky bits.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub modified: (i64, u32),
    /// Names and values of extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What stands at a path of a layer.
pub enum LayerContent<'a> {
    /// A folder. What the layers below have in it stays.
    Folder,
    /// So many bytes.
    File(u64, &'a mut dyn Read),
    /// A symbolic link to this.
    Symlink(&'a Path),
    /// Another name of a file that this layer has at this path. Attributes are those of the file.
    HardLink(&'a Path),
    /// A character device, by major and minor number.
    CharDevice(u32, u32),
    /// A block device, by major and minor number.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// A layer that is being written.
pub struct LayerWriter<'a> {
    tar: Writer<Box<dyn Write + 'a>>,
    each: Each<'a>,
}

impl<'a> LayerWriter<'a> {
    pub(crate) fn new(out: impl Write + 'a, each: Each<'a>) -> Self {
        Self { tar: Writer::new(Box::new(out)), each }
    }

    /// Adds what stands at `path`, relative to the root; gives how many bytes into the layer's tar its content begins. Of
    /// entries with one path the last one counts. A folder should come before what is in it.
    ///
    /// # Errors
    /// Where it can't be written, or a file has fewer bytes than were said.
    pub fn add(&mut self, path: &Path, attributes: LayerAttributes, content: LayerContent<'_>) -> io::Result<u64> {
        let bytes = path.as_os_str().as_bytes();
        if path.components().any(|part| part.as_os_str().as_bytes().starts_with(super::WHITEOUT)) {
            let message =
                format!("`{}` would read as a removal: layers reserve names with .wh.", crate::tar::shown(bytes));
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, message));
        }
        let mut nothing = io::empty();
        let mut member = Member::new(bytes, Kind::File);
        let (kind, content): (Kind, &mut dyn Read) = match content {
            LayerContent::Folder => {
                member.path.push(b'/');
                (Kind::Dir, &mut nothing)
            }
            LayerContent::File(size_bytes, content) => {
                member.size_bytes = size_bytes;
                (Kind::File, content)
            }
            LayerContent::Symlink(target) => {
                member.link = target.as_os_str().as_bytes().to_vec();
                (Kind::Symlink, &mut nothing)
            }
            LayerContent::HardLink(first) => {
                member.link = first.as_os_str().as_bytes().to_vec();
                (Kind::HardLink, &mut nothing)
            }
            LayerContent::CharDevice(major, minor) => {
                member.device = (major, minor);
                (Kind::CharDevice, &mut nothing)
            }
            LayerContent::BlockDevice(major, minor) => {
                member.device = (major, minor);
                (Kind::BlockDevice, &mut nothing)
            }
            LayerContent::Fifo => (Kind::Fifo, &mut nothing),
        };
        member.kind = kind;
        (member.mode, member.uid, member.gid) = (attributes.mode & 0o7777, attributes.uid, attributes.gid);
        member.mtime = Time { seconds: attributes.modified.0, nanoseconds: attributes.modified.1 };
        // Of a link, its inode's first name says all the rest.
        member.xattrs = if kind == Kind::HardLink { Vec::new() } else { attributes.xattrs };
        let offset = self.tar.append(&member, content)?;
        (self.each)(&member, offset)?;
        Ok(offset)
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        self.tar.finish()?.flush()
    }
}
