use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use carrack_diag::Result;
use serde::{Deserialize, Serialize};

use crate::fault::Context as _;
use crate::{Endpoint, Networks};

/// What a container's resolver answers from: a file of its own, replaced by rename, looked at again at each question.
///
/// ```json
/// {"names": {"web": ["172.18.0.2", "172.18.0.3"], "db": ["172.18.0.4"]}, "forward": true}
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Names in lower case, without a final dot, and their addresses in the order of the addresses.
    pub names: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// Whether other names are asked of the host's resolvers: not for a container that is on internal networks only.
    pub forward: bool,
}

impl Names {
    /// What a container on the networks of `own` sees of `all` endpoints. A name that is on several of its networks has
    /// the addresses of all of them.
    pub fn visible<'a>(own: &[Endpoint], all: impl IntoIterator<Item = &'a Endpoint>) -> Self {
        let networks: BTreeSet<&str> = own.iter().map(|endpoint| endpoint.network_id.as_str()).collect();
        let mut names: BTreeMap<String, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        for endpoint in all.into_iter().filter(|endpoint| networks.contains(endpoint.network_id.as_str())) {
            for name in &endpoint.names {
                names.entry(name.clone()).or_default().insert(endpoint.address);
            }
        }
        Self { names, forward: own.iter().any(|endpoint| !endpoint.internal) }
    }

    /// The addresses of a name as a program asks for it: any case, with or without a final dot.
    pub fn addresses(&self, name: &str) -> Option<&BTreeSet<Ipv4Addr>> {
        self.names.get(&name.strip_suffix('.').unwrap_or(name).to_lowercase())
    }

    /// A name of the address, for questions in reverse.
    pub fn name_of(&self, address: Ipv4Addr) -> Option<&str> {
        let mut names = self.names.iter();
        names.find(|(_, addresses)| addresses.contains(&address)).map(|(name, _)| name.as_str())
    }

    /// Reads the file.
    ///
    /// # Errors
    /// `network/kernel` with the file's name where it is missing or not what [`Names::write`] writes.
    pub fn read(path: &Path) -> Result<Self> {
        let attempt = || format!("can't read the names file {}", path.display());
        let bytes = std::fs::read(path).context(attempt)?;
        serde_json::from_slice(&bytes).map_err(std::io::Error::from).context(attempt)
    }

    /// Replaces the file by rename, unless it says the same already.
    ///
    /// # Errors
    /// `network/kernel` with the file's name.
    pub fn write(&self, path: &Path) -> Result<()> {
        let attempt = || format!("can't write the names file {}", path.display());
        let json = serde_json::to_vec(self).map_err(std::io::Error::from).context(attempt)?;
        if std::fs::read(path).is_ok_and(|present| present == json) {
            return Ok(());
        }
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}.{:?}", std::process::id(), std::thread::current().id()));
        let write = || {
            let mut file =
                std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            std::io::Write::write_all(&mut file, &json)?;
            std::fs::rename(&temporary, path)
        };
        let written = write();
        if written.is_err() {
            // Nothing refers to it; the error of the write is the one to tell.
            let _ = std::fs::remove_file(&temporary);
        }
        written.context(attempt)
    }
}

impl Networks {
    /// What a container sees.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn names(&self, container: &str) -> Result<Names> {
        Ok(self.names_around(container)?.remove(container).unwrap_or_default())
    }

    /// What a container sees, and what everybody sees who shares a network with it: the names files to write after it
    /// came. After [`Networks::detach`] ask for those of the networks that it was on, with [`Networks::names_on`].
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn names_around(&self, container: &str) -> Result<BTreeMap<String, Names>> {
        let networks: BTreeSet<String> =
            self.endpoints_of(container)?.into_iter().map(|endpoint| endpoint.network).collect();
        self.names_on(networks.iter().map(String::as_str))
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
