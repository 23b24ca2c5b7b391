//! What a layer says, without unpacking it.

use std::io::{self, BufReader, Read};
use std::path::Path;

use carrack_diag::Result;
use carrack_oci::{Digest, Hasher};

use super::{OPAQUE, WHITEOUT, WHITEOUT_META};
use crate::compression::decompress;
use crate::fault::fault;
use crate::tar::{Kind, Member, Reader, TarError};
use crate::{Layer, Store};

/// One thing that a layer adds to, or takes away from, those below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerEntry {
    /// From the root, without a slash in front; bytes that are no UTF-8 are replaced. Empty is the root itself.
    pub path: String,
    /// What it is.
    pub kind: EntryKind,
    /// Content of a file, in bytes.
    pub size_bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Of a file's content, where that was asked for.
    pub content: Option<Digest>,
}

/// What a [`LayerEntry`] is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// A file.
    File,
    /// A further name of a file of this layer: its path.
    HardLink(String),
    /// A link: its target.
    Symlink(String),
    /// A device or pipe.
    Special,
    /// Nothing: what layers below have there is gone.
    Removed,
    /// A folder: what layers below have in it is gone.
    Emptied,
}

impl Store {
    /// Goes through what a layer says, in its order. `with_content` has every file's content read for its digest.
    ///
    /// # Errors
    /// `store/not-found`; where it is no layer.
    pub fn layer_entries(&self, layer: &Layer, with_content: bool, mut each: impl FnMut(LayerEntry)) -> Result<()> {
        let failed = |error| match error {
            TarError::Io(error) => fault("read the layer", Path::new(&layer.diff_id.to_string()), error),
            TarError::Malformed(reason) => {
                let error = io::Error::new(io::ErrorKind::InvalidData, reason);
                fault("read the layer", Path::new(&layer.diff_id.to_string()), error)
            }
        };
        let tar = decompress(self.blob(&layer.blob.digest)?)?;
        let mut reader = Reader::new(BufReader::with_capacity(1 << 16, tar));
        while let Some(member) = reader.next().map_err(failed)? {
            let Some(mut entry) = entry(&member) else { continue };
            if with_content && entry.kind == EntryKind::File {
                entry.content = Some(digest(&mut reader).map_err(|error| failed(error.into()))?);
            }
            each(entry);
        }
        Ok(())
    }
}

fn digest(content: &mut impl Read) -> io::Result<Digest> {
    let mut hash = Hasher::new(io::sink());
    io::copy(content, &mut hash)?;
    Ok(hash.finish().1)
}

fn entry(member: &Member) -> Option<LayerEntry> {
    let path = clean(&member.path);
    let (folder, name) = path.rsplit_once('/').map_or(("", path.as_str()), |(folder, name)| (folder, name));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (whiteout, meta, opaque) = (text(WHITEOUT), text(WHITEOUT_META), text(OPAQUE));
    let join = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
    let is_device_whiteout = member.kind == Kind::CharDevice && member.device == (0, 0);
    let (path, kind) = if name == opaque {
        (folder.to_owned(), EntryKind::Emptied)
    } else if name.starts_with(&meta) {
        return None;
    } else if let Some(hidden) = name.strip_prefix(&whiteout) {
        (join(hidden), EntryKind::Removed)
    } else if is_device_whiteout {
        (path, EntryKind::Removed)
    } else {
        let kind = match member.kind {
            Kind::Dir => EntryKind::Folder,
            Kind::File => EntryKind::File,
            Kind::HardLink => EntryKind::HardLink(clean(&member.link)),
            Kind::Symlink => EntryKind::Symlink(text(&member.link)),
            Kind::CharDevice | Kind::BlockDevice | Kind::Fifo => EntryKind::Special,
        };
        (path, kind)
    };
    let size_bytes = if kind == EntryKind::File { member.size_bytes } else { 0 };
    let owner = (member.uid, member.gid);
    Some(LayerEntry { path, kind, size_bytes, mode: member.mode, owner, content: None })
}

/// Without `.`, doubled slashes and slashes at the ends. `..` is not looked at: nothing is opened by it.
fn clean(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    text.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<Vec<_>>().join("/")
}
