//! The networks that every root has without anybody making them: `bridge`, which is made when it is first used, `host` and
//! `none`, which are no more than names.

use carrack_diag::{Diagnostic, Result};
use carrack_network::{DEFAULT_NETWORK, Network, Networks};

use super::NetworkView;
use crate::codes;
use crate::engine::Engine;

/// A network that somebody named.
#[derive(Debug)]
pub(super) enum Found {
    /// A bridge, made or to be made.
    Bridge(Network),
    /// The host's own, or none.
    Name(NetworkView),
}

impl Found {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Bridge(network) => &network.name,
            Self::Name(view) => &view.name,
        }
    }
}

/// Networks without a bridge, with their drivers as Docker calls them.
const NAMES: [(&str, &str); 2] = [("host", "host"), ("none", "null")];

/// For a root that is not there yet.
const NEVER: &str = "0001-01-01T00:00:00Z";

pub(super) fn is_predefined(name: &str) -> bool {
    name == DEFAULT_NETWORK || NAMES.iter().any(|(known, _)| *known == name)
}

impl Engine {
    /// All networks that a container can be given.
    pub fn all_networks(&self) -> Result<Vec<NetworkView>> {
        let mut views = self.networks()?;
        views.extend(NAMES.iter().map(|(name, driver)| self.predefined_view(name, driver)));
        Ok(views)
    }

    pub(super) fn predefined_view(&self, name: &str, driver: &'static str) -> NetworkView {
        NetworkView {
            id: Networks::new(&self.store).predefined_id(name),
            name: name.to_owned(),
            created: self.root_created(),
            driver,
            internal: false,
            ipv6: false,
            is_predefined: true,
            wanted: carrack_plan::Network { name: name.to_owned(), ..carrack_plan::Network::default() },
        }
    }

    /// The network of a name, an id or the beginning of an id.
    pub(super) fn find_network(&self, wanted: &str) -> Result<Found> {
        let names = NAMES.map(|(name, driver)| self.predefined_view(name, driver));
        if let Some(view) = names.iter().find(|view| view.name == wanted) {
            return Ok(Found::Name(view.clone()));
        }
        match Networks::new(&self.store).find(wanted) {
            Ok(network) => Ok(Found::Bridge(network)),
            Err(error) if error.code == &carrack_network::codes::UNKNOWN_NETWORK && !wanted.is_empty() => {
                let by_id = names.into_iter().find(|view| view.id.starts_with(wanted));
                by_id.map(Found::Name).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    /// The network that a container is to be connected to or taken off.
    pub(crate) fn network_with_places(&self, wanted: &str) -> Result<Network> {
        match self.find_network(wanted)? {
            Found::Bridge(network) => Ok(network),
            Found::Name(view) => {
                let message = format!("no container can be connected to the network {} or taken off it", view.name);
                Err(Diagnostic::error(&codes::PREDEFINED_NETWORK, message)
                    .cause("a container that has it was made with it and keeps it")
                    .hint(format!("make the container anew: `carrack run --network {} …`", view.name))
                    .boxed())
            }
        }
    }

    /// When the root was made, which is when it got its predefined networks; RFC 3339.
    pub(super) fn root_created(&self) -> String {
        let made = std::fs::metadata(self.roots().data.join("version")).and_then(|version| version.modified());
        let made = made.ok().and_then(|time| jiff::Timestamp::try_from(time).ok());
        made.map_or(NEVER.to_owned(), |time| time.to_string())
    }
}
