use std::collections::{BTreeMap, BTreeSet};

use carrack_oci::Digest;
use carrack_specgen::Container;
use serde::{Deserialize, Serialize};

use crate::reconcile::{attached_to, mounted};
use crate::{Condition, Network, Volume, label};

/// What the engine found on the root, as far as it concerns one project.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ObservedState {
    /// Every container whose label names the project, orphans and leftovers of an interrupted apply included.
    pub containers: Vec<ObservedContainer>,
    /// Every network of the root, by name.
    pub networks: BTreeMap<String, Network>,
    /// Every named volume of the root, by name.
    pub volumes: BTreeMap<String, Volume>,
    /// The versions of secrets and configs that the vault holds.
    pub files: BTreeSet<String>,
    /// Names of containers that are not the project's, with a few words on whose they are.
    pub taken: BTreeMap<String, String>,
    /// Networks that containers outside of the project are on, with one of their names.
    pub shared_networks: BTreeMap<String, String>,
    /// Volumes that containers outside of the project mount, with one of their names.
    pub shared_volumes: BTreeMap<String, String>,
    /// The release that is deployed.
    pub release: Option<Digest>,
}

impl ObservedState {
    /// Notes a container that is not the project's: its name is taken, and so is what it uses.
    pub fn add_foreign(&mut self, name: &str, container: &Container, whose: String) {
        for network in attached_to(&container.network) {
            self.shared_networks.insert(network.to_owned(), name.to_owned());
        }
        for volume in mounted(container) {
            self.shared_volumes.insert(volume.to_owned(), name.to_owned());
        }
        self.taken.insert(name.to_owned(), whose);
    }
}

/// A container as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservedContainer {
    /// 64 hexadecimal digits.
    pub id: String,
    /// The name it has now; `container.name` is the one it was created with.
    pub name: String,
    /// What was asked for when it was created.
    pub container: Container,
    /// The id of the image it was created from.
    pub image: Digest,
    /// What it is doing.
    pub state: State,
    /// What its health check says; none where it has none.
    #[serde(default)]
    pub health: Option<Health>,
}

/// What a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Made and never started.
    Created,
    /// Its program runs.
    Running,
    /// Its program runs and is frozen.
    Paused,
    /// Its program ended and its policy will start it again.
    Restarting,
    /// Its program ended.
    Exited {
        /// The status; 128 and the number of the signal that ended it.
        code: i32,
    },
    /// Nobody knows how it ended.
    Dead,
}

/// What a health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Not yet anything.
    Starting,
    /// It succeeded.
    Healthy,
    /// It failed as often as was allowed.
    Unhealthy,
}

impl ObservedState {
    /// The state that a plan is made for: a plan is applied only where this has not moved.
    ///
    /// Health, and whether a program is just being restarted, are left out: they move by themselves.
    pub fn fingerprint(&self) -> Digest {
        let mut containers: Vec<_> = self
            .containers
            .iter()
            .map(|container| {
                let running = matches!(container.state, State::Running | State::Restarting);
                let state = if running { State::Running } else { container.state };
                (&container.name, &container.id, &container.container, &container.image, state)
            })
            .collect();
        containers.sort_by_key(|container| container.0);
        let seen = (containers, &self.networks, &self.volumes, &self.release);
        // Maps with text keys and plain data: this can't fail, and an empty text would only make every plan stale.
        Digest::of(serde_json::to_vec(&seen).unwrap_or_default())
    }
}

impl ObservedContainer {
    /// The service it belongs to, by its label.
    pub fn service(&self) -> Option<&str> {
        self.container.labels.get(label::SERVICE).map(String::as_str)
    }

    /// Its number among the replicas, by its label.
    pub fn number(&self) -> Option<u32> {
        self.container.labels.get(label::NUMBER)?.parse().ok()
    }

    /// The services that its label says it depends on, each with the condition that was waited for.
    pub fn dependencies(&self) -> impl Iterator<Item = (&str, Condition)> {
        let label = self.container.labels.get(label::DEPENDS_ON).map_or("", String::as_str);
        label.split(',').filter(|entry| !entry.is_empty()).map(|entry| {
            let mut parts = entry.split(':');
            let name = parts.next().unwrap_or_default();
            let condition = match parts.next() {
                Some("service_healthy") => Condition::Healthy,
                Some("service_completed_successfully") => Condition::CompletedSuccessfully,
                _ => Condition::Running,
            };
            (name, condition)
        })
    }

    /// Whether it was made by `run`, so that `up` leaves it alone.
    pub fn is_one_off(&self) -> bool {
        self.container.labels.get(label::ONE_OFF).is_some_and(|value| value == "True")
    }
}

impl State {
    /// Whether it has to be stopped before it can go.
    pub fn is_active(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

/// As `docker ps` words it.
impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Created => f.write_str("created"),
            Self::Running => f.write_str("running"),
            Self::Paused => f.write_str("paused"),
            Self::Restarting => f.write_str("restarting"),
            Self::Exited { code } => write!(f, "exited ({code})"),
            Self::Dead => f.write_str("dead"),
        }
    }
}
