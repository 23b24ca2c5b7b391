//! The names that a container knows: its own file says which networks' files to read, and what it alone knows. Others
//! replace all of them by rename. Their format stands in the crate that writes them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// A file that is larger is not read, in bytes: a network of a thousand containers with ten names each is a tenth of it.
const FILE_MAX: u64 = 4 << 20;

/// The names as they were when last looked at.
#[derive(Debug)]
pub(super) struct Names {
    path: PathBuf,
    own: Own,
    /// Of the own file and of each network's, what was read.
    seen: Vec<Option<Stamp>>,
    entries: Vec<(IpAddr, Vec<String>)>,
    /// Moves on with each answer, so that many addresses of one name share the load.
    turn: usize,
}

/// Device, inode, length and time of change.
type Stamp = [i128; 4];

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

impl Names {
    pub(super) fn new(path: PathBuf) -> Self {
        let own = Own { internal: true, ..Own::default() };
        Self { path, own, seen: Vec::new(), entries: Vec::new(), turn: 0 }
    }

    /// Looks whether a file is another by now. One that is gone or can't be read has no names.
    pub(super) fn refresh(&mut self) {
        let stamp_of_own = stamp(&self.path);
        let own_is_new = self.seen.first() != Some(&stamp_of_own);
        if own_is_new {
            self.own = match stamp_of_own.and_then(|_| read(&self.path)) {
                Some(text) => parse_own(&text),
                // Nobody says which networks it is on.
                None => Own { internal: true, ..Own::default() },
            };
        }
        let networks = self.own.networks.iter().map(|network| stamp(&network.path));
        let seen: Vec<Option<Stamp>> = std::iter::once(stamp_of_own).chain(networks).collect();
        if seen == self.seen && !own_is_new {
            return;
        }
        self.seen = seen;
        self.entries.clone_from(&self.own.entries);
        for network in &self.own.networks {
            let text = read(&network.path).unwrap_or_default();
            for (address, names) in parse_network(&text, &network.links) {
                match self.entries.iter_mut().find(|(own, _)| *own == address) {
                    Some((_, known)) => known.extend(names),
                    None => self.entries.push((address, names)),
                }
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

fn stamp(path: &Path) -> Option<Stamp> {
    let stat = rustix::fs::stat(path).ok().filter(|stat| stat.st_size as u64 <= FILE_MAX)?;
    let changed = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    Some([stat.st_dev.into(), stat.st_ino.into(), stat.st_size.into(), changed])
}

fn read(path: &Path) -> Option<String> {
    std::fs::read(path).ok().map(|text| String::from_utf8_lossy(&text).into_owned())
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
        let mut names = Names::new(path.clone());
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
