use std::io::{self, Read, Write};

use super::{BLOCK, Kind, Member, Time, USTAR_SIZE_MAX};

/// Writes members as ustar headers, with a pax header before those that do not fit. It has a buffer of its own, which
/// content is read into.
pub(crate) struct Writer<W> {
    inner: W,
    buffer: Box<[u8]>,
    /// So much of the buffer waits to be written.
    filled: usize,
    /// With what waits.
    written: u64,
}

const BUFFER_BYTES: usize = 256 << 10;

const ID_MAX: u32 = 0o777_7777;

impl<W: Write> Writer<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, buffer: vec![0; BUFFER_BYTES].into(), filled: 0, written: 0 }
    }

    /// Adds a member with exactly `size_bytes` of content; gives how many bytes into the archive its content begins.
    ///
    /// # Errors
    /// Where the content is shorter or longer than that, or writing fails.
    pub(crate) fn append(&mut self, member: &Member, content: &mut dyn Read) -> io::Result<u64> {
        let pax = pax(member);
        if !pax.is_empty() {
            let mut header = Member::new(*b"PaxHeaders.0", Kind::File);
            header.size_bytes = pax.len() as u64;
            self.write(&header_block(&header, b'x'))?;
            self.write(&pax)?;
            self.pad(header.size_bytes)?;
        }
        self.write(&header_block(member, flag(member.kind)))?;
        let begin = self.written;
        self.copy(member, content)?;
        self.pad(member.size_bytes)?;
        Ok(begin)
    }

    fn copy(&mut self, member: &Member, content: &mut dyn Read) -> io::Result<()> {
        let mut left = member.size_bytes;
        while left > 0 {
            if self.filled == BUFFER_BYTES {
                self.flush()?;
            }
            let space = BUFFER_BYTES - self.filled;
            let wanted = usize::try_from(left).map_or(space, |left| left.min(space));
            match content.read(&mut self.buffer[self.filled..self.filled + wanted]) {
                Ok(0) => {
                    let message = format!("`{}` became shorter while it was read", super::shown(&member.path));
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
                }
                Ok(count) => {
                    self.filled += count;
                    self.written += count as u64;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.filled == BUFFER_BYTES {
                self.flush()?;
            }
            let count = bytes.len().min(BUFFER_BYTES - self.filled);
            self.buffer[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.write_all(&self.buffer[..self.filled])?;
        self.filled = 0;
        Ok(())
    }

    /// Ends the archive with two zero blocks.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.write(&[0; 2 * BLOCK])?;
        self.flush()?;
        Ok(self.inner)
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let rest = (size % BLOCK as u64) as usize;
        if rest == 0 { Ok(()) } else { self.write(&[0; BLOCK][rest..]) }
    }
}

fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::File => b'0',
        Kind::HardLink => b'1',
        Kind::Symlink => b'2',
        Kind::CharDevice => b'3',
        Kind::BlockDevice => b'4',
        Kind::Dir => b'5',
        Kind::Fifo => b'6',
    }
}

fn pax(member: &Member) -> Vec<u8> {
    let mut records = Vec::new();
    if member.path.len() > 100 {
        record(&mut records, b"path", &member.path);
    }
    if member.link.len() > 100 {
        record(&mut records, b"linkpath", &member.link);
    }
    if member.size_bytes > USTAR_SIZE_MAX {
        record(&mut records, b"size", member.size_bytes.to_string().as_bytes());
    }
    for (key, id) in [(b"uid", member.uid), (b"gid", member.gid)] {
        if id > ID_MAX {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    if !fits(member.mtime) {
        record(&mut records, b"mtime", time(member.mtime).as_bytes());
    }
    for (name, value) in &member.xattrs {
        record(&mut records, &[b"SCHILY.xattr.", name.as_slice()].concat(), value);
    }
    records
}

fn fits(mtime: Time) -> bool {
    mtime.nanoseconds == 0 && u64::try_from(mtime.seconds).is_ok_and(|seconds| seconds <= USTAR_SIZE_MAX)
}

fn time(mtime: Time) -> String {
    let total = i128::from(mtime.seconds) * 1_000_000_000 + i128::from(mtime.nanoseconds);
    let sign = if total < 0 { "-" } else { "" };
    let total = total.unsigned_abs();
    let text = format!("{sign}{}.{:09}", total / 1_000_000_000, total % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    // The length counts its own digits.
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(format!("{length} ").as_bytes());
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn header_block(member: &Member, flag: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    put(&mut block[..100], &member.path);
    octal(&mut block[100..108], u64::from(member.mode));
    octal(&mut block[108..116], u64::from(if member.uid > ID_MAX { 0 } else { member.uid }));
    octal(&mut block[116..124], u64::from(if member.gid > ID_MAX { 0 } else { member.gid }));
    octal(&mut block[124..136], if member.size_bytes > USTAR_SIZE_MAX { 0 } else { member.size_bytes });
    let seconds = u64::try_from(member.mtime.seconds).unwrap_or(0);
    octal(&mut block[136..148], if seconds > USTAR_SIZE_MAX { 0 } else { seconds });
    block[156] = flag;
    put(&mut block[157..257], &member.link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    if matches!(member.kind, Kind::CharDevice | Kind::BlockDevice) {
        octal(&mut block[329..337], u64::from(member.device.0));
        octal(&mut block[337..345], u64::from(member.device.1));
    }
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// What does not fit is cut: the pax header has the whole.
fn put(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

fn octal(field: &mut [u8], value: u64) {
    let width = field.len() - 1;
    put(field, format!("{value:0width$o}").as_bytes());
}
