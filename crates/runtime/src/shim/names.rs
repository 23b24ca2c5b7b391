//! The names that a container knows: lines of `ADDRESS NAME…` in a file that others replace by rename. A first line
//! `# internal` says that it is on internal networks only.

use std::net::IpAddr;
use std::os::fd::OwnedFd;

use rustix::io::{Errno, Result};

/// A file that is larger is not read, in bytes: a network of a thousand containers with ten names each is a tenth of it.
const FILE_MAX: u64 = 4 << 20;

/// Opens the file as it is now.
pub(super) type OpenNames = Box<dyn FnMut() -> Result<OwnedFd>>;

/// The names as they were when last looked at.
pub(super) struct Names {
    open: OpenNames,
    /// What was read, with its length and time of change by then.
    seen: Option<(OwnedFd, Stamp)>,
    entries: Vec<(IpAddr, Vec<String>)>,
    internal: bool,
    /// Moves on with each answer, so that many addresses of one name share the load.
    turn: usize,
}

impl Names {
    pub(super) fn new(open: OpenNames) -> Self {
        Self { open, seen: None, entries: Vec::new(), internal: true, turn: 0 }
    }

    /// Looks whether the file is another by now. One that is gone or can't be read has no names.
    pub(super) fn refresh(&mut self) {
        let is_same = |(file, stamp): &(OwnedFd, Stamp)| Stamp::of(file).is_ok_and(|now| now == *stamp);
        if self.seen.as_ref().is_some_and(is_same) {
            return;
        }
        let read = (self.open)().and_then(|file| {
            let stamp = Stamp::of(&file)?;
            Ok((stamp.read(&file)?, (file, stamp)))
        });
        let (text, seen) = read.map_or((None, None), |(text, seen)| (Some(text), Some(seen)));
        self.seen = seen;
        self.internal = text.as_ref().is_none_or(|text| text.starts_with("# internal\n"));
        self.entries = parse(&text.unwrap_or_default());
    }

    /// All addresses of a name, another one first each time. None where there is no such name.
    pub(super) fn addresses(&mut self, name: &str) -> Option<Vec<IpAddr>> {
        let has = |names: &[String]| names.iter().any(|own| own == name);
        let mut addresses: Vec<IpAddr> = Vec::new();
        for (address, _) in self.entries.iter().filter(|(_, names)| has(names)) {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        if addresses.is_empty() {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        let by = self.turn % addresses.len();
        addresses.rotate_left(by);
        Some(addresses)
    }

    /// Whether nobody else may be asked: the container is on internal networks only, or nobody says on which.
    pub(super) fn is_internal(&self) -> bool {
        self.internal
    }

    /// The first name of an address.
    pub(super) fn name(&self, address: IpAddr) -> Option<&str> {
        let (_, names) = self.entries.iter().find(|(own, _)| *own == address)?;
        names.first().map(String::as_str)
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("entries", &self.entries).finish_non_exhaustive()
    }
}

/// What an open file was like: without a name once another has taken its place.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    is_named: bool,
    size: u64,
    changed_ns: i128,
}

impl Stamp {
    fn of(file: &OwnedFd) -> Result<Self> {
        let stat = rustix::fs::fstat(file)?;
        Ok(Self {
            is_named: stat.st_nlink > 0,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            changed_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
        })
    }

    /// What the file says, as far as it was that large.
    fn read(&self, file: &OwnedFd) -> Result<String> {
        if self.size > FILE_MAX {
            return Err(Errno::FBIG);
        }
        let mut bytes = vec![0; self.size as usize];
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(file, rest, filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Lines that say nothing are skipped: the file is our own, and half a list is better than none.
pub(super) fn parse(text: &str) -> Vec<(IpAddr, Vec<String>)> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = words.next()?.parse().ok()?;
            let names: Vec<String> = words.map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect();
            (!names.is_empty()).then_some((address, names))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_replaced_file_is_seen_at_once_and_addresses_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names");
        let at = path.clone();
        let mut names =
            Names::new(Box::new(move || rustix::fs::open(&at, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())));
        names.refresh();
        assert_eq!(names.addresses("web"), None);
        std::fs::write(&path, "10.0.0.2 Web web-1\n\n# nothing\n10.0.0.3 web web-2\nfd00::2 web\n").unwrap();
        names.refresh();
        let first: Vec<IpAddr> = (0..3).map(|_| names.addresses("web").unwrap()[0]).collect();
        let all: [IpAddr; 3] = [[10, 0, 0, 3].into(), "fd00::2".parse().unwrap(), [10, 0, 0, 2].into()];
        assert_eq!(first, all);
        assert_eq!(names.addresses("web-2"), Some(vec![[10, 0, 0, 3].into()]));
        assert_eq!(names.name([10, 0, 0, 2].into()), Some("web"));

        let new = folder.path().join("new");
        std::fs::write(&new, "10.0.0.9 web\n").unwrap();
        std::fs::rename(&new, &path).unwrap();
        names.refresh();
        assert_eq!(names.addresses("web"), Some(vec![[10, 0, 0, 9].into()]));
        std::fs::remove_file(&path).unwrap();
        names.refresh();
        assert_eq!(names.addresses("web"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text: String) {
            let _ = parse(&text);
        }
    }
}
