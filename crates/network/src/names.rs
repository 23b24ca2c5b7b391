use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use carrack_diag::Result;
use carrack_store::{DEFAULT_WAIT, Lock};

use crate::fault::Context as _;
use crate::{Endpoint, Networks};

/// Read by the container's resolver.
const INTERNAL: &str = "# internal\n";

/// What a container's resolver answers from: a file of its own, replaced by rename, looked at again at each question.
///
/// A line is an address and the names it goes by, in lower case, without a final dot; the first is the container's own
/// and answers for the address in reverse.
///
/// A container that is on internal networks only has a first line that says so: its questions about others go nowhere.
///
/// ```text
/// # internal
/// 172.18.0.2 shop-web-1 3f2a91bc77d0 web
/// 172.18.0.3 shop-web-2 90e1c4aa0b12 web
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    internal: bool,
    by_address: BTreeMap<IpAddr, Vec<String>>,
}

impl Names {
    /// What a container on no network knows: nothing, and whom to ask neither.
    pub fn of_nobody() -> Self {
        Self { internal: true, by_address: BTreeMap::new() }
    }

    /// What a container on the networks of `own` sees of `all` endpoints. A name that is on several of its networks has
    /// the addresses of all of them; names that were withdrawn are known to their own container only.
    pub fn visible<'a>(own: &[Endpoint], all: impl IntoIterator<Item = &'a Endpoint>) -> Self {
        let networks: BTreeSet<&str> = own.iter().map(|endpoint| endpoint.network_id.as_str()).collect();
        let is_own = |endpoint: &Endpoint| own.iter().any(|own| own.container == endpoint.container);
        let seen = all.into_iter().filter(|endpoint| networks.contains(endpoint.network_id.as_str()));
        let seen = seen.filter(|endpoint| !endpoint.withdrawn || is_own(endpoint));
        let mut by_address = BTreeMap::new();
        for endpoint in seen {
            let mut names = endpoint.names.clone();
            // Names that this container alone has for another.
            let links = own.iter().filter(|own| own.network_id == endpoint.network_id).flat_map(|own| &own.links);
            for (target, alias) in links {
                if endpoint.names.contains(target) || endpoint.container.starts_with(target.as_str()) {
                    names.push(alias.clone());
                }
            }
            for address in endpoint.addresses() {
                by_address.insert(address, names.clone());
            }
        }
        Self { internal: !own.is_empty() && own.iter().all(|endpoint| endpoint.internal), by_address }
    }

    /// The addresses of a name as a program asks for it: any case, with or without a final dot.
    pub fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let wanted = name.strip_suffix('.').unwrap_or(name).to_lowercase();
        let matching = self.by_address.iter().filter(|(_, names)| names.contains(&wanted));
        matching.map(|(address, _)| *address).collect()
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let first = if self.internal { INTERNAL } else { "" };
        let lines = self.by_address.iter().map(|(address, names)| format!("{address} {}\n", names.join(" ")));
        std::iter::once(first.to_owned()).chain(lines).collect()
    }

    /// Replaces the file by rename, unless it says the same already.
    ///
    /// # Errors
    /// `network/kernel` with the file's name.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = self.text();
        if std::fs::read(path).is_ok_and(|present| present == text.as_bytes()) {
            return Ok(());
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let write = || {
            let mut options = std::fs::OpenOptions::new();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            std::io::Write::write_all(&mut file, text.as_bytes())?;
            carrack_store::replace(Path::new(&temporary), path)
        };
        let written = write();
        if written.is_err() {
            // Nothing refers to it; the error of the write is the one to tell.
            let _ = std::fs::remove_file(&temporary);
        }
        written.context(|| format!("can't write the names file {}", path.display()))
    }
}

impl Networks {
    /// Writes the names files of all containers on these networks: after one came, or after one left them. `path` gives a
    /// container's file, none for one that asks nothing any more.
    ///
    /// Under the lock of the networks, so that of two commands at once neither writes what was true before the other.
    ///
    /// # Errors
    /// `store/corrupt-record`, `network/kernel`.
    pub fn write_names<'a>(
        &self,
        networks: impl IntoIterator<Item = &'a str>,
        path: impl Fn(&str) -> Option<PathBuf>,
    ) -> Result<()> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        for (container, names) in self.names_on(networks)? {
            if let Some(path) = path(&container) {
                names.write(&path)?;
            }
        }
        Ok(())
    }

    /// What every container on any of these networks sees, by the container's id.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn names_on<'a>(&self, networks: impl IntoIterator<Item = &'a str>) -> Result<BTreeMap<String, Names>> {
        let networks: BTreeSet<&str> = networks.into_iter().collect();
        let mut all = Vec::new();
        for network in self.lease_records().names()? {
            all.extend(self.endpoints(&network)?);
        }
        let mut by_container: BTreeMap<&str, Vec<Endpoint>> = BTreeMap::new();
        for endpoint in &all {
            by_container.entry(&endpoint.container).or_default().push(endpoint.clone());
        }
        by_container.retain(|_, own| own.iter().any(|endpoint| networks.contains(endpoint.network.as_str())));
        Ok(by_container.into_iter().map(|(id, own)| (id.to_owned(), Names::visible(&own, &all))).collect())
    }
}
