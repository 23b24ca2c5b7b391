//! The tar format (POSIX pax and ustar, GNU long names), reading and writing.
//!
//! Reading is our own because it is a security boundary: a member that two readers would understand differently is
//! refused (a size said twice, a header-only member with data, sparse maps), and what is held in memory is bounded.

mod read;
mod write;

pub(crate) use read::{Reader, TarError};
pub(crate) use write::Writer;

pub(crate) const BLOCK: usize = 512;

/// Longest pax header or GNU long name in bytes, as in Go's archive/tar.
pub(crate) const EXTENSION_LIMIT: u64 = 1 << 20;

/// Largest number of the 11 octal digits of a ustar size.
pub(crate) const USTAR_SIZE_MAX: u64 = 0o777_7777_7777;

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Dir,
    Fifo,
}

/// Since the epoch; `nanoseconds` is 0 to 999,999,999 and counts upwards also before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// Everything that a tar says of a member but its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// As written: it may be absolute, end with a slash or hold `..`.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Target of a link; else empty.
    pub(crate) link: Vec<u8>,
    /// Permission bits with set-id and sticky bits.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) size_bytes: u64,
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    /// Name and value.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Member {
    /// A member of root's with the usual mode, at the epoch.
    pub(crate) fn new(path: impl Into<Vec<u8>>, kind: Kind) -> Self {
        Self {
            path: path.into(),
            kind,
            link: Vec::new(),
            mode: if kind == Kind::Dir { 0o755 } else { 0o644 },
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            size_bytes: 0,
            device: (0, 0),
            xattrs: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;

/// A name for people, without what a terminal would obey, and its middle left out where it is long.
pub(crate) fn shown(name: &[u8]) -> String {
    const ENDS: usize = 60;
    if name.len() <= 2 * ENDS {
        return name.escape_ascii().to_string();
    }
    format!("{}…{}", name[..ENDS].escape_ascii(), name[name.len() - ENDS..].escape_ascii())
}
