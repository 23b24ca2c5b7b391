//! What a layer says, without unpacking it.

use std::io::{self, Read};

use carrack_diag::{Diagnostic, Result};

use crate::archive::normal;
use crate::layer::{OPAQUE, WHITEOUT, WHITEOUT_META};
use crate::tar::{Kind, Reader, TarError};
use crate::{Layer, Store, codes, decompress};

/// What a member of a layer is to those who look for files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerMember {
    /// A file with its permission bits and its size in bytes.
    File {
        /// Permission bits with set-id and sticky bits.
        mode: u32,
        /// Of the content.
        size_bytes: u64,
    },
    /// A folder.
    Dir,
    /// Another name of a file, by its path.
    HardLink(String),
    /// A link, a device, a pipe.
    Other,
    /// A name of a lower layer that is gone.
    Whiteout,
    /// A folder whose content in lower layers is gone.
    Opaque,
}

impl Store {
    /// Goes through a layer's members in their order: a path without a leading slash (what is no UTF-8 in it replaced), what
    /// it is, and its content. A visitor need not read all of that.
    ///
    /// # Errors
    /// `store/not-found`, `store/invalid-tar`; what the visitor meets.
    pub fn walk_layer(
        &self,
        layer: &Layer,
        visit: &mut dyn FnMut(&str, LayerMember, &mut dyn Read) -> io::Result<()>,
    ) -> Result<()> {
        let failed = |reason: String| {
            Diagnostic::error(&codes::INVALID_TAR, format!("the layer {} can't be read", layer.diff_id.short()))
                .cause(reason)
                .hint("pull, load or build the image again")
                .boxed()
        };
        let unreadable = |error: TarError| match error {
            TarError::Io(error) => failed(error.to_string()),
            TarError::Malformed(reason) => failed(reason),
        };
        let mut reader = Reader::new(decompress(self.blob(&layer.blob.digest)?)?);
        while let Some(member) = reader.next().map_err(unreadable)? {
            let (path, what) = named(&member.path, &member);
            visit(&path, what, &mut reader).map_err(|error| failed(error.to_string()))?;
        }
        Ok(())
    }
}

fn named(path: &[u8], member: &crate::tar::Member) -> (String, LayerMember) {
    let text = |bytes: &[u8]| normal(&String::from_utf8_lossy(bytes));
    let (dir, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    if name == OPAQUE {
        return (text(dir), LayerMember::Opaque);
    }
    if name.starts_with(WHITEOUT) && !name.starts_with(WHITEOUT_META) {
        return (text(&[dir, b"/", &name[WHITEOUT.len()..]].concat()), LayerMember::Whiteout);
    }
    let what = match member.kind {
        Kind::File => LayerMember::File { mode: member.mode, size_bytes: member.size_bytes },
        Kind::Dir => LayerMember::Dir,
        Kind::HardLink => LayerMember::HardLink(text(&member.link)),
        _ => LayerMember::Other,
    };
    (text(path), what)
}
