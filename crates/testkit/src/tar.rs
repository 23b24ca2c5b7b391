//! Tars, well-formed and otherwise, written independently of the product's own writer.

use std::collections::BTreeMap;

const BLOCK: usize = 512;

/// Writes members one after the other. Every function takes any name and any number: hostile ones are the point.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    bytes: Vec<u8>,
    next: Attributes,
}

/// What the next member gets besides its name.
#[derive(Debug, Clone, Default)]
struct Attributes {
    mode: Option<u32>,
    owner: (u32, u32),
    mtime: u64,
    pax: BTreeMap<String, Vec<u8>>,
    size: Option<u64>,
}

impl Builder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Permission bits of the next member; default 0644, of folders 0755.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.next.mode = Some(mode);
        self
    }

    /// Owner and group of the next member; default 0 and 0.
    #[must_use]
    pub fn owner(mut self, uid: u32, gid: u32) -> Self {
        self.next.owner = (uid, gid);
        self
    }

    /// Time of the next member, in seconds since the epoch; default 0.
    #[must_use]
    pub fn mtime(mut self, seconds: u64) -> Self {
        self.next.mtime = seconds;
        self
    }

    /// A pax record before the next member: `mtime`, `SCHILY.xattr.user.key`, ….
    #[must_use]
    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.next.pax.insert(key.to_owned(), value.as_ref().to_vec());
        self
    }

    /// An extended attribute of the next member.
    #[must_use]
    pub fn xattr(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }

    /// The size in the next member's header, whatever its content.
    #[must_use]
    pub fn claimed_size(mut self, size_bytes: u64) -> Self {
        self.next.size = Some(size_bytes);
        self
    }

    /// A regular file.
    #[must_use]
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.member(path, b'0', "", (0, 0), content.as_ref())
    }

    /// A folder.
    #[must_use]
    pub fn dir(self, path: &str) -> Self {
        self.member(path, b'5', "", (0, 0), b"")
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.member(path, b'2', target, (0, 0), b"")
    }

    /// A hard link.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.member(path, b'1', target, (0, 0), b"")
    }

    /// A named pipe.
    #[must_use]
    pub fn fifo(self, path: &str) -> Self {
        self.member(path, b'6', "", (0, 0), b"")
    }

    /// A character device.
    #[must_use]
    pub fn char_device(self, path: &str, major: u32, minor: u32) -> Self {
        self.member(path, b'3', "", (major, minor), b"")
    }

    /// A member of any type.
    #[must_use]
    pub fn member(mut self, path: &str, flag: u8, link: &str, device: (u32, u32), content: &[u8]) -> Self {
        let mut attributes = std::mem::take(&mut self.next);
        for (key, text) in [("path", path), ("linkpath", link)] {
            if text.len() > 100 {
                attributes.pax.insert(key.to_owned(), text.as_bytes().to_vec());
            }
        }
        if !attributes.pax.is_empty() {
            let records: Vec<u8> = attributes.pax.iter().flat_map(|(key, value)| pax_record(key, value)).collect();
            self.bytes.extend(header("pax", b'x', "", (0, 0), records.len() as u64, &Attributes::default()));
            self.content(&records);
        }
        let size = attributes.size.unwrap_or(content.len() as u64);
        self.bytes.extend(header(path, flag, link, device, size, &attributes));
        self.content(content);
        self
    }

    /// Bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.bytes.extend_from_slice(bytes.as_ref());
        self
    }

    /// The archive with its end.
    pub fn build(mut self) -> Vec<u8> {
        self.bytes.extend([0; 2 * BLOCK]);
        self.bytes
    }

    /// The archive cut off where it is.
    pub fn build_cut(self) -> Vec<u8> {
        self.bytes
    }

    fn content(&mut self, content: &[u8]) {
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(BLOCK), 0);
    }
}

fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let length = (rest..).find(|length| rest + length.to_string().len() == *length).unwrap_or(rest);
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

fn header(path: &str, flag: u8, link: &str, device: (u32, u32), size: u64, attributes: &Attributes) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    put(&mut header.as_mut_bytes()[..100], path);
    put(&mut header.as_mut_bytes()[157..257], link);
    header.set_size(size);
    header.set_mode(attributes.mode.unwrap_or(if flag == b'5' { 0o755 } else { 0o644 }));
    header.set_uid(u64::from(attributes.owner.0));
    header.set_gid(u64::from(attributes.owner.1));
    header.set_mtime(attributes.mtime);
    header.set_entry_type(tar::EntryType::new(flag));
    if matches!(flag, b'3' | b'4') {
        // A ustar header has both fields.
        let _ = header.set_device_major(device.0).and_then(|()| header.set_device_minor(device.1));
    }
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// What does not fit is cut: the pax header has the whole.
fn put(field: &mut [u8], text: &str) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text.as_bytes()[..length]);
}
