use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use carrack_diag::Result;
use carrack_store::{DEFAULT_WAIT, Lock};

use crate::{Endpoint, Networks, file};

/// What the name servers of containers answer from. Files are replaced by rename and looked at again at each question, so
/// a change of a network is one file however many containers are on it.
///
/// A line of a network's file is an address, the id of its container, and the names it goes by: in lower case, without a
/// final dot; the first is the container's own and answers for the address in reverse. Names that were withdrawn are not
/// in it.
///
/// ```text
/// 172.18.0.2 3f2a91bc77d0… shop-web-1 3f2a91bc77d0 web
/// 172.18.0.3 90e1c4aa0b12… shop-web-2 90e1c4aa0b12 web
/// ```
///
/// A container's own file says which networks it sees, and what it alone knows: its own names, also while they are
/// withdrawn, and what it calls others on the network before. On internal networks only, or on none, its questions about
/// the rest of the world go nowhere.
///
/// ```text
/// internal
/// own 172.18.0.2 shop-web-1 3f2a91bc77d0 web
/// network /run/carrack/networks/shop_default.names
/// link shop-db-1 database
/// ```
impl Networks {
    /// Writes the names files of these networks: after a container came, or after one left them.
    ///
    /// Under the lock of the networks, so that of two commands at once neither writes what was true before the other.
    ///
    /// # Errors
    /// `store/corrupt-record`, `network/kernel`.
    pub fn write_names<'a>(&self, networks: impl IntoIterator<Item = &'a str>) -> Result<()> {
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        for network in networks.into_iter().collect::<BTreeSet<_>>() {
            let (path, text) = (self.names_path(network), self.leases(network)?.announced());
            if text.is_empty() { file::remove(&path)? } else { file::replace(&path, &text)? }
        }
        Ok(())
    }

    /// Writes a container's own names file: after it came to a network or left one, or has another name.
    ///
    /// # Errors
    /// As [`Networks::write_names`].
    pub fn write_own_names(&self, container: &str, path: &Path) -> Result<()> {
        file::replace(path, &text_of_container(&self.endpoints_of(container)?, &|network| self.names_path(network)))
    }

    pub(crate) fn forget_names(&self, network: &str) -> Result<()> {
        file::remove(&self.names_path(network))
    }

    pub(crate) fn names_path(&self, network: &str) -> PathBuf {
        self.file_folder().join(format!("{network}.names"))
    }
}

fn text_of_container(own: &[Endpoint], path: &dyn Fn(&str) -> PathBuf) -> String {
    let mut text = String::new();
    if own.iter().all(|endpoint| endpoint.internal) {
        text.push_str("internal\n");
    }
    for endpoint in own {
        for address in endpoint.addresses() {
            text.push_str(&format!("own {address} {}\n", endpoint.names.join(" ")));
        }
        text.push_str(&format!("network {}\n", path(&endpoint.network).display()));
        for (target, alias) in &endpoint.links {
            text.push_str(&format!("link {target} {alias}\n"));
        }
    }
    text
}
