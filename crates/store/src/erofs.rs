//! Writes EROFS images that hold no content of files: names and attributes, and where in a tar each file's bytes lie. The
//! tar is the image's second device (kernel `Documentation/filesystems/erofs.rst`, `fs/erofs/erofs_fs.h`).
//!
//! One block is 512 bytes, as in a tar. Behind the superblock come the inodes, then the folders, each from a block of its own.

use crate::tar::Time;

/// In bytes; that of a tar.
const BLOCK: usize = 512;
const BLOCK_BITS: u8 = 9;
const SUPERBLOCK: usize = 1024;
/// The table of devices follows the superblock.
const DEVICE_SLOT: usize = SUPERBLOCK + 128;
/// Inodes begin with the next block. They are known by their place in units of [`UNIT`].
const INODES: usize = SUPERBLOCK + BLOCK;
const UNIT: usize = 32;
const INODE_LENGTH: usize = 64;
const CHUNK_INDEX: usize = 8;
const DIRENT: usize = 12;
/// Longest chunk, as a power of two of blocks.
const CHUNK_BITS_MAX: u32 = 31;

const MAGIC: u32 = 0xe0f5_e1e2;
const FEATURE_COMPAT_MTIME: u32 = 2;
const FEATURE_INCOMPAT_CHUNKS_AND_DEVICES: u32 = 4 | 8;
const CHUNKS_BY_INDEX: u32 = 0x20;

/// What the writer is given of one inode. Inode 0 is the root.
#[derive(Debug, Clone)]
pub(crate) struct Inode {
    /// With the type.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) links: u32,
    pub(crate) data: Data,
}

#[derive(Debug, Clone)]
pub(crate) enum Data {
    /// Names, sorted, with the numbers of inodes; and the folder that it lies in.
    Dir {
        entries: Vec<(Vec<u8>, usize)>,
        parent: usize,
    },
    /// Bytes of the tar; the offset is a multiple of 512.
    File {
        offset: u64,
        size_bytes: u64,
    },
    Symlink(Vec<u8>),
    Device(u32, u32),
    None,
}

/// Why a tree can't be written in this form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inexpressible(pub(crate) &'static str);

/// Where an inode and what belongs to it come to lie, in bytes.
struct Place {
    at: usize,
    xattrs: Vec<u8>,
    /// Of a folder or a long link.
    data: Option<usize>,
}

/// The image of a tree over a tar of `tar_bytes`.
pub(crate) fn image(inodes: &[Inode], tar_bytes: u64) -> Result<Vec<u8>, Inexpressible> {
    let mut places = Vec::with_capacity(inodes.len());
    let mut end = INODES;
    for inode in inodes {
        let xattrs = xattrs(&inode.xattrs)?;
        let head = INODE_LENGTH + xattrs.len();
        let tail = match &inode.data {
            Data::File { size_bytes, .. } => {
                head.next_multiple_of(CHUNK_INDEX) - head + chunks(*size_bytes).1 * CHUNK_INDEX
            }
            Data::Symlink(target) if head + target.len() <= BLOCK => target.len(),
            _ => 0,
        };
        let is_inline = matches!(inode.data, Data::Symlink(_)) && tail > 0;
        if is_inline && end / BLOCK != (end + head + tail - 1) / BLOCK {
            end = end.next_multiple_of(BLOCK);
        }
        places.push(Place { at: end, xattrs, data: None });
        end = (end + head + tail).next_multiple_of(UNIT);
    }
    for (inode, place) in inodes.iter().zip(&mut places) {
        let length = match &inode.data {
            Data::Dir { entries, .. } => folder_length(entries),
            Data::Symlink(target) if INODE_LENGTH + place.xattrs.len() + target.len() > BLOCK => target.len(),
            _ => continue,
        };
        end = end.next_multiple_of(BLOCK);
        place.data = Some(end);
        end += length;
    }
    let end = end.next_multiple_of(BLOCK);
    let mut image = vec![0; end];
    superblock(&mut image, inodes.len(), &places[0], tar_bytes)?;
    for (number, (inode, place)) in inodes.iter().zip(&places).enumerate() {
        write_inode(&mut image, number, inode, place)?;
        if let Data::Dir { entries, parent } = &inode.data {
            folder(&mut image, place, (number, *parent, entries), inodes, &places);
        }
    }
    Ok(image)
}

fn superblock(image: &mut [u8], count: usize, root: &Place, tar_bytes: u64) -> Result<(), Inexpressible> {
    let blocks = image.len() / BLOCK;
    let (Ok(blocks), Ok(tar_blocks)) = (u32::try_from(blocks), u32::try_from(tar_bytes.div_ceil(BLOCK as u64))) else {
        return Err(Inexpressible("it is larger than 2 TiB"));
    };
    let block = &mut image[SUPERBLOCK..];
    put(block, 0, &MAGIC.to_le_bytes());
    put(block, 8, &FEATURE_COMPAT_MTIME.to_le_bytes());
    block[12] = BLOCK_BITS;
    put(block, 14, &((root.at / UNIT) as u16).to_le_bytes());
    put(block, 16, &(count as u64).to_le_bytes());
    put(block, 36, &blocks.to_le_bytes());
    put(block, 80, &FEATURE_INCOMPAT_CHUNKS_AND_DEVICES.to_le_bytes());
    put(block, 86, &1_u16.to_le_bytes());
    put(block, 88, &((DEVICE_SLOT / 128) as u16).to_le_bytes());
    put(&mut image[DEVICE_SLOT..], 64, &tar_blocks.to_le_bytes());
    Ok(())
}

/// The form of an inode that has room for every owner, size and time ("extended").
fn write_inode(image: &mut [u8], number: usize, inode: &Inode, place: &Place) -> Result<(), Inexpressible> {
    const EXTENDED: u16 = 1;
    const PLAIN: u16 = 0;
    const INLINE: u16 = 2;
    const CHUNKS: u16 = 4;
    let data_block = place.data.map_or(0, |data| (data / BLOCK) as u32);
    let (layout, size_bytes, detail) = match &inode.data {
        Data::Dir { entries, .. } => (PLAIN, folder_length(entries) as u64, data_block),
        Data::File { size_bytes: 0, .. } | Data::None => (PLAIN, 0, 0),
        Data::File { size_bytes, .. } => (CHUNKS, *size_bytes, chunks(*size_bytes).0 | CHUNKS_BY_INDEX),
        Data::Symlink(target) => (if place.data.is_some() { PLAIN } else { INLINE }, target.len() as u64, data_block),
        Data::Device(major, minor) => {
            if *major >= 1 << 12 || *minor >= 1 << 20 {
                return Err(Inexpressible("a device's number is too large"));
            }
            (PLAIN, 0, (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12))
        }
    };
    let at = &mut image[place.at..];
    put(at, 0, &(EXTENDED | layout << 1).to_le_bytes());
    put(at, 2, &xattr_count(&place.xattrs).to_le_bytes());
    put(at, 4, &(inode.mode as u16).to_le_bytes());
    put(at, 8, &size_bytes.to_le_bytes());
    put(at, 16, &detail.to_le_bytes());
    put(at, 20, &(number as u32 + 1).to_le_bytes());
    put(at, 24, &inode.uid.to_le_bytes());
    put(at, 28, &inode.gid.to_le_bytes());
    put(at, 32, &inode.mtime.seconds.to_le_bytes());
    put(at, 40, &inode.mtime.nanoseconds.to_le_bytes());
    put(at, 44, &inode.links.to_le_bytes());
    put(at, INODE_LENGTH, &place.xattrs);
    let behind = INODE_LENGTH + place.xattrs.len();
    match &inode.data {
        Data::File { offset, size_bytes } => {
            let (bits, count) = chunks(*size_bytes);
            for index in 0..count {
                let block = offset / BLOCK as u64 + ((index as u64) << bits);
                let Ok(block) = u32::try_from(block) else { return Err(Inexpressible("it is larger than 2 TiB")) };
                let index_at = behind.next_multiple_of(CHUNK_INDEX) + index * CHUNK_INDEX;
                // Of the first extra device.
                put(at, index_at + 2, &1_u16.to_le_bytes());
                put(at, index_at + 4, &block.to_le_bytes());
            }
        }
        Data::Symlink(target) => match place.data {
            Some(data) => put(image, data, target),
            None => put(at, behind, target),
        },
        _ => {}
    }
    Ok(())
}

/// How long the chunks of a file are, as a power of two of blocks, and how many there are: one, where that can be.
fn chunks(size_bytes: u64) -> (u32, usize) {
    let blocks = size_bytes.div_ceil(BLOCK as u64);
    let bits = blocks.next_power_of_two().trailing_zeros().min(CHUNK_BITS_MAX);
    (bits, (blocks.div_ceil(1 << bits)) as usize)
}

/// Names with `.` and `..`, in the order of their bytes, cut into blocks: how many go into each.
fn blocks(names: &[&[u8]]) -> Vec<usize> {
    let mut counts = Vec::new();
    let mut used = BLOCK;
    for name in names {
        let length = DIRENT + name.len();
        if used + length > BLOCK {
            counts.push(0);
            used = 0;
        }
        used += length;
        if let Some(count) = counts.last_mut() {
            *count += 1;
        }
    }
    counts
}

fn names(entries: &[(Vec<u8>, usize)]) -> Vec<&[u8]> {
    let mut names: Vec<&[u8]> = entries.iter().map(|(name, _)| name.as_slice()).chain([&b"."[..], b".."]).collect();
    names.sort_unstable();
    names
}

fn folder_length(entries: &[(Vec<u8>, usize)]) -> usize {
    let names = names(entries);
    let counts = blocks(&names);
    let last = counts.last().copied().unwrap_or(0);
    let tail: usize = names[names.len() - last..].iter().map(|name| DIRENT + name.len()).sum();
    (counts.len() - 1) * BLOCK + tail
}

fn folder(
    image: &mut [u8],
    place: &Place,
    (own, parent, entries): (usize, usize, &[(Vec<u8>, usize)]),
    inodes: &[Inode],
    places: &[Place],
) {
    let Some(data) = place.data else { return };
    let mut all: Vec<(&[u8], usize)> = entries.iter().map(|(name, number)| (name.as_slice(), *number)).collect();
    all.extend([(&b"."[..], own), (b"..", parent)]);
    all.sort_unstable();
    let names: Vec<&[u8]> = all.iter().map(|(name, _)| *name).collect();
    let mut rest = all.as_slice();
    for (index, count) in blocks(&names).into_iter().enumerate() {
        let (here, later) = rest.split_at(count);
        rest = later;
        let block = &mut image[data + index * BLOCK..];
        let mut name_at = count * DIRENT;
        for (position, (name, number)) in here.iter().enumerate() {
            let at = position * DIRENT;
            put(block, at, &((places[*number].at / UNIT) as u64).to_le_bytes());
            put(block, at + 8, &(name_at as u16).to_le_bytes());
            block[at + 10] = file_type(inodes[*number].mode);
            put(block, name_at, name);
            name_at += name.len();
        }
    }
}

/// The kernel's `FT_*`.
fn file_type(mode: u32) -> u8 {
    match mode >> 12 {
        0o10 => 1,
        0o4 => 2,
        0o2 => 3,
        0o6 => 4,
        0o1 => 5,
        0o14 => 6,
        _ => 7,
    }
}

const XATTR_HEADER: usize = 12;

/// The attributes in the inode's own room: a header, and entries of name and value.
fn xattrs(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<Vec<u8>, Inexpressible> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; XATTR_HEADER];
    for (name, value) in xattrs {
        let (index, name) =
            prefix(name).ok_or(Inexpressible("an extended attribute is of a kind that it cannot have"))?;
        let (Ok(name_length), Ok(value_length)) = (u8::try_from(name.len()), u16::try_from(value.len())) else {
            return Err(Inexpressible("an extended attribute is too long"));
        };
        bytes.extend([name_length, index]);
        bytes.extend(value_length.to_le_bytes());
        bytes.extend(name);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    if (bytes.len() - XATTR_HEADER) / 4 + 1 > usize::from(u16::MAX) {
        return Err(Inexpressible("it has too many extended attributes"));
    }
    Ok(bytes)
}

/// Whether an inode can have these.
pub(crate) fn holds(attributes: &[(Vec<u8>, Vec<u8>)]) -> bool {
    xattrs(attributes).is_ok()
}

fn xattr_count(xattrs: &[u8]) -> u16 {
    if xattrs.is_empty() { 0 } else { ((xattrs.len() - XATTR_HEADER) / 4 + 1) as u16 }
}

fn prefix(name: &[u8]) -> Option<(u8, &[u8])> {
    [(1, &b"user."[..]), (4, b"trusted."), (6, b"security.")]
        .into_iter()
        .find_map(|(index, prefix)| Some((index, name.strip_prefix(prefix)?)))
        .filter(|(_, rest)| !rest.is_empty())
}

fn put(bytes: &mut [u8], at: usize, what: &[u8]) {
    bytes[at..at + what.len()].copy_from_slice(what);
}
