//! The names that a container knows: its own file says which networks' files to read, and what it alone knows. Others
//! replace all of them by rename. Their format stands in the crate that writes them.

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::io::{Errno, Result};

/// A file that is larger is not read, in bytes: a network of a thousand containers with ten names each is a tenth of it.
const FILE_MAX: u64 = 4 << 20;

/// Opens the container's own file as it is now, or that of the network of this number in it.
pub(super) type OpenNames = Box<dyn FnMut(Option<usize>) -> Result<OwnedFd>>;

/// The names as they were when last looked at.
pub(super) struct Names {
    open: OpenNames,
    own: Own,
    own_file: Option<Seen>,
    /// Of each network in the own file.
    known: Vec<Known>,
    entries: Vec<(IpAddr, Vec<String>)>,
    /// Moves on with each answer, so that many addresses of one name share the load.
    turn: usize,
}

/// What the container's own file says.
#[derive(Debug, Default)]
struct Own {
    internal: bool,
    entries: Vec<(IpAddr, Vec<String>)>,
    networks: Vec<Network>,
}

#[derive(Debug)]
struct Network {
    path: PathBuf,
    /// What the container alone calls others there: their name or the beginning of their id, and the other name.
    links: Vec<(String, String)>,
}

/// What a network's file said.
#[derive(Debug, Default)]
struct Known {
    file: Option<Seen>,
    entries: Vec<(IpAddr, Vec<String>)>,
}

/// A file as it was read. Without a name another has taken its place.
#[derive(Debug)]
struct Seen {
    file: OwnedFd,
    stamp: Stamp,
}

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    is_named: bool,
    size: u64,
    changed_ns: i128,
}

impl Names {
    pub(super) fn new(open: OpenNames) -> Self {
        let own = Own { internal: true, ..Own::default() };
        Self { open, own, own_file: None, known: Vec::new(), entries: Vec::new(), turn: 0 }
    }

    /// Looks whether a file is another by now. One that is gone or can't be read has no names.
    pub(super) fn refresh(&mut self) {
        let mut is_new = !is_same(self.own_file.as_ref());
        if is_new {
            let (text, file) = read((self.open)(None));
            // Without it nobody says which networks the container is on.
            self.own = text.map_or(Own { internal: true, ..Own::default() }, |text| parse_own(&text));
            self.own_file = file;
            self.known.clear();
            self.known.resize_with(self.own.networks.len(), Known::default);
        }
        for (number, (network, known)) in self.own.networks.iter().zip(&mut self.known).enumerate() {
            if is_same(known.file.as_ref()) {
                continue;
            }
            is_new = true;
            let (text, file) = read((self.open)(Some(number)));
            *known = Known { file, entries: parse_network(&text.unwrap_or_default(), &network.links) };
        }
        if !is_new {
            return;
        }
        self.entries.clone_from(&self.own.entries);
        for (address, names) in self.known.iter().flat_map(|known| &known.entries) {
            match self.entries.iter_mut().find(|(own, _)| own == address) {
                Some((_, known)) => known.extend(names.iter().cloned()),
                None => self.entries.push((*address, names.clone())),
            }
        }
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
        self.own.internal
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

fn is_same(seen: Option<&Seen>) -> bool {
    seen.is_some_and(|seen| stamp(&seen.file).is_ok_and(|now| now.is_named && now == seen.stamp))
}

fn stamp(file: &OwnedFd) -> Result<Stamp> {
    let stat = rustix::fs::fstat(file)?;
    Ok(Stamp {
        is_named: stat.st_nlink > 0,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        changed_ns: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
    })
}

/// What a file says, where it can be read, and by what it is known again.
fn read(file: Result<OwnedFd>) -> (Option<String>, Option<Seen>) {
    let read = || {
        let file = file?;
        let stamp = stamp(&file)?;
        Ok::<_, Errno>((text_of(&file, stamp.size)?, Seen { file, stamp }))
    };
    read().map_or((None, None), |(text, seen)| (Some(text), Some(seen)))
}

fn text_of(file: &OwnedFd, size: u64) -> Result<String> {
    if size > FILE_MAX {
        return Err(Errno::FBIG);
    }
    let mut bytes = vec![0; size as usize];
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

/// Where the names of the network of this number in a container's own file are.
pub(super) fn path_of_network(own: &OwnedFd, number: usize) -> Result<PathBuf> {
    let text = text_of(own, stamp(own)?.size)?;
    parse_own(&text).networks.into_iter().nth(number).map(|network| network.path).ok_or(Errno::NOENT)
}

/// A target of `fuzz/`.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = parse_own(&text);
    let _ = parse_network(&text, &[("a".into(), "b".into())]);
}

/// Lines that say nothing are skipped: the file is our own, and half a list is better than none.
fn parse_own(text: &str) -> Own {
    let mut own = Own::default();
    for line in text.lines() {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("internal", "") => own.internal = true,
            ("own", rest) => own.entries.extend(entry(rest.split_ascii_whitespace())),
            ("network", path) => own.networks.push(Network { path: path.into(), links: Vec::new() }),
            ("link", rest) => {
                let link = rest.split_once(' ').map(|(target, alias)| (target.to_owned(), alias.to_owned()));
                own.networks.last_mut().into_iter().for_each(|network| network.links.extend(link.clone()));
            }
            _ => {}
        }
    }
    own
}

fn parse_network(text: &str, links: &[(String, String)]) -> Vec<(IpAddr, Vec<String>)> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next()?;
        let container = words.next()?;
        let (address, mut names) = entry(std::iter::once(address).chain(words))?;
        let linked =
            links.iter().filter(|(target, _)| names.contains(target) || container.starts_with(target.as_str()));
        let aliases: Vec<String> = linked.map(|(_, alias)| alias.clone()).collect();
        names.extend(aliases);
        Some((address, names))
    });
    lines.collect()
}

/// An address and its names.
fn entry<'a>(mut words: impl Iterator<Item = &'a str>) -> Option<(IpAddr, Vec<String>)> {
    let address = words.next()?.parse().ok()?;
    let names: Vec<String> = words.map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect();
    (!names.is_empty()).then_some((address, names))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_replaced_file_is_seen_at_once_and_addresses_take_turns() {
        let folder = tempfile::tempdir().unwrap();
        let (path, network) = (folder.path().join("names"), folder.path().join("net.names"));
        let at = path.clone();
        let mut names = Names::new(Box::new(move |number| {
            let open =
                |path: &std::path::Path| rustix::fs::open(path, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
            let own = open(&at)?;
            number.map_or(Ok(own), |number| open(&path_of_network(&open(&at)?, number)?))
        }));
        names.refresh();
        assert_eq!(names.addresses("web"), None);
        assert!(names.is_internal());
        std::fs::write(&network, "10.0.0.2 aa Web web-1\n\nnothing\n10.0.0.3 bb web web-2\nfd00::2 aa web\n").unwrap();
        let own = format!("own 10.0.0.9 me\nnetwork {}\nlink bb other\nlink web-1 first\n", network.display());
        std::fs::write(&path, &own).unwrap();
        names.refresh();
        assert!(!names.is_internal());
        let first: Vec<IpAddr> = (0..3).map(|_| names.addresses("web").unwrap()[0]).collect();
        let all: [IpAddr; 3] = [[10, 0, 0, 3].into(), "fd00::2".parse().unwrap(), [10, 0, 0, 2].into()];
        assert_eq!(first, all);
        assert_eq!(names.addresses("web-2"), Some(vec![[10, 0, 0, 3].into()]));
        assert_eq!(names.addresses("other"), Some(vec![[10, 0, 0, 3].into()]));
        assert_eq!(names.addresses("first"), Some(vec![[10, 0, 0, 2].into()]));
        // Its own name, which nobody else is told.
        assert_eq!(names.addresses("me"), Some(vec![[10, 0, 0, 9].into()]));
        assert_eq!(names.name([10, 0, 0, 2].into()), Some("web"));

        let new = folder.path().join("new");
        std::fs::write(&new, "10.0.0.9 cc web\n").unwrap();
        std::fs::rename(&new, &network).unwrap();
        names.refresh();
        assert_eq!(names.addresses("web"), Some(vec![[10, 0, 0, 9].into()]));
        assert_eq!(names.name([10, 0, 0, 9].into()), Some("me"));
        std::fs::write(&path, "internal\nown 10.0.0.9 me\n").unwrap();
        names.refresh();
        assert_eq!((names.addresses("web"), names.is_internal()), (None, true));
        std::fs::remove_file(&path).unwrap();
        names.refresh();
        assert_eq!(names.addresses("me"), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text: String) {
            let _ = parse_own(&text);
            let _ = parse_network(&text, &[("a".into(), "b".into())]);
        }
    }
}
