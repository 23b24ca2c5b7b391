use std::collections::BTreeSet;

use carrack_diag::Result;
use carrack_store::{DEFAULT_WAIT, Lock};
use carrack_sys::netlink::route::Link;

use crate::fault::Context as _;
use crate::host_lock::HostLock;
use crate::networks::{delete_link, open_filter, open_routes};
use crate::{Networks, firewall, forwarding, other_firewalls};

/// Something in the kernel or among the leases that no record accounts for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leak {
    /// A bridge or port with the root's tag.
    Link(String),
    /// The root's table, or the one that all roots share.
    Table(String),
    /// Our rules in Docker's chain.
    DockerRules,
    /// An address that a container holds which does not exist.
    Address {
        /// Name of the network.
        network: String,
        /// Id of the container.
        container: String,
    },
}

impl std::fmt::Display for Leak {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Link(name) => write!(f, "link {name}"),
            Self::Table(name) => write!(f, "packet filter table {name}"),
            Self::DockerRules => f.write_str("rules of ours in the chain ip filter DOCKER-USER"),
            Self::Address { network, container } => {
                write!(f, "address on network {network} of container {}", container.get(..12).unwrap_or(container))
            }
        }
    }
}

impl Networks {
    /// What is there and should not be. `holds` says of a container's id whether it may hold addresses. Changes nothing.
    ///
    /// # Errors
    /// `network/kernel`, `store/corrupt-record`.
    pub fn leaks(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<Leak>> {
        let networks = self.list()?;
        let mut leaks = Vec::new();
        let mut ports = BTreeSet::new();
        for name in self.leased_networks()? {
            for endpoint in self.endpoints(&name)? {
                let is_known = networks.iter().any(|network| network.name == name);
                if !is_known || !holds(&endpoint.container) {
                    leaks.push(Leak::Address { network: name.clone(), container: endpoint.container });
                } else {
                    ports.insert(endpoint.port);
                }
            }
        }
        let links = open_routes()?.links().context(|| "can't list the links".into())?;
        let is_known =
            |link: &Link| ports.contains(&link.name) || networks.iter().any(|network| network.bridge == link.name);
        // A port that leads nowhere was detached: it goes when the container's namespace does.
        let is_detached =
            |link: &Link| link.kind.as_deref() == Some("veth") && (link.is_blocked || link.bridge.is_none());
        let prefix = self.link_prefix();
        let strange =
            links.iter().filter(|link| link.name.starts_with(&prefix) && !is_known(link) && !is_detached(link));
        leaks.extend(strange.map(|link| Leak::Link(link.name.clone())));
        leaks.extend(self.filter_leaks(networks.is_empty())?);
        leaks.sort();
        Ok(leaks)
    }

    fn filter_leaks(&self, is_without_networks: bool) -> Result<Vec<Leak>> {
        let mut filter = open_filter()?;
        let tables = forwarding::all_tables(&mut filter)?;
        let mut leaks = Vec::new();
        if is_without_networks {
            if tables.contains(&self.table()) {
                leaks.push(Leak::Table(self.table().name));
            }
            if !other_firewalls::docker_rules(&mut filter, &self.tag)?.is_empty() {
                leaks.push(Leak::DockerRules);
            }
        }
        if !forwarding::has_root(&mut filter)? {
            leaks.extend(tables.into_iter().filter(forwarding::is_shared).map(|table| Leak::Table(table.name)));
        }
        Ok(leaks)
    }

    /// Removes what [`Networks::leaks`] finds, and says what that was. For mutating commands, which hold no network lock.
    ///
    /// # Errors
    /// As for [`Networks::leaks`].
    pub fn sweep(&self, holds: &dyn Fn(&str) -> bool) -> Result<Vec<Leak>> {
        let found = self.leaks(holds)?;
        if found.is_empty() {
            return Ok(found);
        }
        self.release_where(|held| !holds(held.container()))?;
        let _guard = self.store.lock(Lock::Network, DEFAULT_WAIT)?;
        let _host = HostLock::take()?;
        // Looked at again under the lock: what another command was about to record is no leak.
        for leak in self.leaks(holds)? {
            let mut routes = open_routes()?;
            let mut filter = open_filter()?;
            match leak {
                Leak::Link(name) => delete_link(&mut routes, &name)?,
                Leak::Table(name) if name == self.table().name => firewall::remove_table(&mut filter, &self.table())?,
                Leak::Table(_) => {}
                Leak::DockerRules => other_firewalls::withdraw(&mut filter, &self.tag)?,
                // Of a network that is gone, file and all.
                Leak::Address { network, .. } => self.forget_leases(&network)?,
            }
            let links = routes.links().context(|| "can't list the links".into())?;
            forwarding::turn_off_if_unused(&mut filter, &links)?;
        }
        Ok(found)
    }
}
