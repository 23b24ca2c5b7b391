use std::io::{self, Read};

use super::{BLOCK, EXTENSION_LIMIT, Kind, Member, Time, USTAR_SIZE_MAX};

/// Why a stream can't be read on.
#[derive(Debug)]
pub(crate) enum TarError {
    Io(io::Error),
    Malformed(String),
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn malformed<T>(reason: impl Into<String>) -> Result<T, TarError> {
    Err(TarError::Malformed(reason.into()))
}

/// Goes through the members of a stream. [`Read`] gives the content of the current one.
pub(crate) struct Reader<R> {
    inner: R,
    /// Of the current member: bytes of content, then of padding, not yet read.
    content: u64,
    padding: u64,
}

/// What extension headers say about the next member.
#[derive(Default)]
struct Extensions {
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Time>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl<R: Read> Reader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, content: 0, padding: 0 }
    }

    /// The next member; none at the end of the archive. Content that was not read is skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let Some(block) = self.header_block()? else {
                if extensions.pax.is_some() || extensions.long_name.is_some() || extensions.long_link.is_some() {
                    return malformed("it ends after an extension header");
                }
                return Ok(None);
            };
            check_sum(&block)?;
            let size = number(&block[124..136], "size")?;
            match block[156] {
                b'x' if extensions.pax.is_some() => return malformed("two pax headers for one member"),
                b'x' => extensions.pax = Some(parse_pax(&self.extension(size)?)?),
                b'g' => check_global(&self.extension(size)?)?,
                b'L' if extensions.long_name.is_some() => return malformed("two long names for one member"),
                b'L' => extensions.long_name = Some(self.long_text(size)?),
                b'K' if extensions.long_link.is_some() => return malformed("two long links for one member"),
                b'K' => extensions.long_link = Some(self.long_text(size)?),
                _ => return self.member(&block, size, extensions).map(Some),
            }
        }
    }

    /// What is read from.
    pub(crate) fn get_ref(&self) -> &R {
        &self.inner
    }

    /// The rest of the stream behind the end of the archive.
    pub(crate) fn into_inner(self) -> R {
        self.inner
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let rest = self.content + self.padding;
        let skipped = io::copy(&mut self.inner.by_ref().take(rest), &mut io::sink())?;
        (self.content, self.padding) = (0, 0);
        if skipped == rest { Ok(()) } else { malformed("it ends in the middle of a member") }
    }

    /// None at two zero blocks, or where the stream ends between members.
    fn header_block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let Some(block) = self.block()? else { return Ok(None) };
        if block != [0; BLOCK] {
            return Ok(Some(block));
        }
        match self.block()? {
            Some(second) if second != [0; BLOCK] => malformed("one zero block between members"),
            _ => Ok(None),
        }
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.inner.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return malformed("it ends in the middle of a header"),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(block))
    }

    fn enter(&mut self, size: u64) {
        self.content = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    }

    fn extension(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        if size > EXTENSION_LIMIT {
            return malformed(format!("an extension header of {size} bytes (at most {EXTENSION_LIMIT})"));
        }
        self.enter(size);
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn long_text(&mut self, size: u64) -> Result<Vec<u8>, TarError> {
        let mut text = self.extension(size)?;
        while text.last() == Some(&0) {
            text.pop();
        }
        Ok(text)
    }

    fn member(&mut self, block: &[u8; BLOCK], size: u64, extensions: Extensions) -> Result<Member, TarError> {
        let pax = extensions.pax.unwrap_or_default();
        let path = one_of("names", pax.path, extensions.long_name)?.unwrap_or_else(|| header_path(block));
        let link = one_of("links", pax.link, extensions.long_link)?.unwrap_or_else(|| text(&block[157..257]));
        if path.contains(&0) || link.contains(&0) {
            return malformed("a name with a zero byte");
        }
        let kind = kind(block[156], &path)?;
        let size_bytes = match pax.size {
            // Larger sizes do not fit beside it, and writers put anything there.
            Some(pax) if pax != size && pax <= USTAR_SIZE_MAX => {
                return malformed(format!("`{}` has two sizes, {size} and {pax}", super::shown(&path)));
            }
            Some(pax) => pax,
            None => size,
        };
        if kind != Kind::File && size_bytes != 0 {
            return malformed(format!("`{}` has content but is no file", super::shown(&path)));
        }
        let owner = |pax: Option<u32>, field: &[u8], what| match pax {
            Some(id) => Ok(id),
            None => number(field, what).and_then(|id| id32(id, what)),
        };
        let is_device = matches!(kind, Kind::CharDevice | Kind::BlockDevice);
        let member = Member {
            kind,
            link: if matches!(kind, Kind::HardLink | Kind::Symlink) { link } else { Vec::new() },
            mode: (number(&block[100..108], "mode")? & 0o7777) as u32,
            uid: owner(pax.uid, &block[108..116], "uid")?,
            gid: owner(pax.gid, &block[116..124], "gid")?,
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                None => Time { seconds: number(&block[136..148], "mtime")?.cast_signed(), nanoseconds: 0 },
            },
            size_bytes,
            device: if is_device {
                (
                    id32(number(&block[329..337], "device")?, "device")?,
                    id32(number(&block[337..345], "device")?, "device")?,
                )
            } else {
                (0, 0)
            },
            xattrs: pax.xattrs,
            path,
        };
        self.enter(size_bytes);
        Ok(member)
    }
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = usize::try_from(self.content).unwrap_or(usize::MAX).min(buffer.len());
        if wanted == 0 {
            return Ok(0);
        }
        let count = self.inner.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the tar ends in the middle of a member"));
        }
        self.content -= count as u64;
        Ok(count)
    }
}

fn one_of(what: &str, pax: Option<Vec<u8>>, gnu: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, TarError> {
    match (pax, gnu) {
        (Some(pax), Some(gnu)) if pax != gnu => malformed(format!("a member has two {what}")),
        (pax, gnu) => Ok(pax.or(gnu)),
    }
}

fn kind(flag: u8, path: &[u8]) -> Result<Kind, TarError> {
    Ok(match flag {
        // Before POSIX, a folder was a file whose name ends with a slash.
        0 if path.ends_with(b"/") => Kind::Dir,
        0 | b'0' | b'7' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Dir,
        b'6' => Kind::Fifo,
        b'S' => return malformed(format!("`{}` is a sparse member", super::shown(path))),
        other => return malformed(format!("`{}` is of unknown type `{}`", super::shown(path), other.escape_ascii())),
    })
}

/// Bytes up to the first zero.
fn text(field: &[u8]) -> Vec<u8> {
    field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// The prefix counts in POSIX headers only: GNU's has times in its place.
fn header_path(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = text(&block[..100]);
    let prefix = text(&block[345..500]);
    if &block[257..263] == b"ustar\0" && !prefix.is_empty() { [prefix.as_slice(), b"/", &name].concat() } else { name }
}

/// Octal digits between blanks, or GNU's base 256 (two's complement).
fn number(field: &[u8], what: &str) -> Result<u64, TarError> {
    let wrong = || TarError::Malformed(format!("`{}` is not a {what}", super::shown(field)));
    match field[0] {
        0x80 | 0xff => {
            let (high, low) = field.split_at(field.len() - 8);
            let low = low.try_into().map(u64::from_be_bytes).map_err(|_| wrong())?;
            let extension = if field[0] == 0xff { 0xff } else { 0 };
            let fits = field.len() == 8 || high[1..].iter().all(|byte| *byte == extension);
            // A field of 8 bytes keeps its marker in the number's first byte.
            let low = if field.len() == 8 && field[0] == 0x80 { low & !(0x80 << 56) } else { low };
            if fits { Ok(low) } else { Err(wrong()) }
        }
        _ => {
            let digits = text(field);
            let digits = digits.trim_ascii();
            digits
                .iter()
                .try_fold(0_u64, |value, digit| match digit {
                    b'0'..=b'7' => value.checked_mul(8).and_then(|value| value.checked_add(u64::from(digit - b'0'))),
                    _ => None,
                })
                .ok_or_else(wrong)
        }
    }
}

fn id32(value: u64, what: &str) -> Result<u32, TarError> {
    u32::try_from(value).map_err(|_| TarError::Malformed(format!("{value} is not a {what}")))
}

/// Old writers summed signed bytes.
fn check_sum(block: &[u8; BLOCK]) -> Result<(), TarError> {
    let said = number(&block[148..156], "checksum")?;
    let counted = |(at, byte): (usize, &u8)| if (148..156).contains(&at) { b' ' } else { *byte };
    let unsigned: u64 = block.iter().enumerate().map(|pair| u64::from(counted(pair))).sum();
    let signed: i64 = block.iter().enumerate().map(|pair| i64::from(counted(pair).cast_signed())).sum();
    if said == unsigned || said.cast_signed() == signed {
        Ok(())
    } else {
        malformed("a header's checksum is wrong: it is no tar, or it is damaged")
    }
}

/// `LENGTH KEY=VALUE\n`, LENGTH counting itself and the line feed.
fn pax_records(mut bytes: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> Result<(), TarError>) -> Result<(), TarError> {
    let wrong = || TarError::Malformed("a pax record is malformed".into());
    while !bytes.is_empty() {
        let space = bytes.iter().take(10).position(|byte| *byte == b' ').ok_or_else(wrong)?;
        let length = decimal(&bytes[..space]).ok_or_else(wrong)?;
        let length = usize::try_from(length).map_err(|_| wrong())?;
        if length < space + 3 || length > bytes.len() || bytes[length - 1] != b'\n' {
            return Err(wrong());
        }
        let record = &bytes[space + 1..length - 1];
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(wrong)?;
        each(&record[..equals], &record[equals + 1..])?;
        bytes = &bytes[length..];
    }
    Ok(())
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

const XATTR: &[u8] = b"SCHILY.xattr.";

fn parse_pax(bytes: &[u8]) -> Result<Pax, TarError> {
    let mut pax = Pax::default();
    pax_records(bytes, |key, value| {
        let wrong = || TarError::Malformed(format!("`{}` is not a {}", super::shown(value), key.escape_ascii()));
        let number = || decimal(value).ok_or_else(wrong);
        // POSIX: an empty value takes back what an earlier record said.
        let is_set = !value.is_empty();
        match key {
            b"path" => pax.path = is_set.then(|| value.to_vec()),
            b"linkpath" => pax.link = is_set.then(|| value.to_vec()),
            b"size" if is_set => pax.size = Some(number()?),
            b"uid" if is_set => pax.uid = Some(id32(number()?, "uid")?),
            b"gid" if is_set => pax.gid = Some(id32(number()?, "gid")?),
            b"mtime" if is_set => pax.mtime = Some(parse_time(value).ok_or_else(wrong)?),
            _ if key.starts_with(b"GNU.sparse.") => return malformed("a sparse member"),
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    pax.xattrs.retain(|(known, _)| known != name);
                    pax.xattrs.push((name.to_vec(), value.to_vec()));
                }
                // The rest (atime, ctime, uname, comment, …) has no place in a layer.
            }
        }
        Ok(())
    })?;
    Ok(pax)
}

/// Readers disagree on whether global headers apply to members, so those that would change one are refused.
fn check_global(bytes: &[u8]) -> Result<(), TarError> {
    pax_records(bytes, |key, _| {
        let changes = matches!(key, b"path" | b"linkpath" | b"size" | b"uid" | b"gid" | b"mtime");
        if changes || key.starts_with(XATTR) || key.starts_with(b"GNU.sparse.") {
            return malformed(format!("a global pax header sets `{}`", key.escape_ascii()));
        }
        Ok(())
    })
}

/// `[-]SECONDS[.FRACTION]`; what is finer than a nanosecond is cut.
fn parse_time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds =
        (0..9).fold(0_u32, |value, at| value * 10 + fraction.get(at).map_or(0, |digit| u32::from(digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => Time { seconds, nanoseconds },
        (true, 0) => Time { seconds: -seconds, nanoseconds },
        (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}
