use std::collections::BTreeMap;

use carrack_diag::Span;
use carrack_oci::Digest;
use carrack_specgen::Container;
use serde::{Deserialize, Serialize};

/// What a project should be: everything a release has to remember, and all that [`crate::reconcile`] needs to know.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Desired {
    /// The project's name.
    pub project: String,
    /// The canonical Compose model, as `carrack config --format json` prints it.
    pub model: serde_json::Value,
    /// By name in the project.
    pub services: BTreeMap<String, DesiredService>,
    /// By name on the root.
    pub networks: BTreeMap<String, Network>,
    /// By name on the root.
    pub volumes: BTreeMap<String, Volume>,
    /// Every secret and config that a container is given.
    pub files: Vec<FileVersion>,
    /// Images that are not known yet and that a shown plan counts on: names, each with what is to be said of it.
    #[serde(skip)]
    pub absent_images: BTreeMap<String, String>,
}

/// The containers of one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DesiredService {
    /// In the order of their numbers, from 1.
    pub replicas: Vec<Replica>,
    /// What has to be there first.
    pub dependencies: Vec<Dependency>,
    /// Whether a service waits for this one's completion: a job that ended with 0 is done, not down.
    pub job: bool,
    /// How replicas are replaced.
    pub update: Update,
    /// Whether its containers are not known: something they need is not here, and the command does not touch them.
    #[serde(skip)]
    pub unresolved: bool,
    /// Where the service was written.
    #[serde(skip)]
    pub origin: Vec<Span>,
}

/// One container of a service, with the image it is to run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Replica {
    /// From 1.
    pub number: u32,
    /// The image's id: the digest of its configuration.
    pub image: Digest,
    /// Whether the container or its image has a health check.
    #[serde(default)]
    pub health_checked: bool,
    /// Everything else.
    pub container: Container,
}

/// One entry of a service's `depends_on`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// The service that comes first.
    pub service: String,
    /// When it counts as ready.
    pub condition: Condition,
    /// Whether the dependent may not start without it.
    pub required: bool,
    /// Whether the dependent restarts after the dependency was replaced.
    pub restart: bool,
    /// Whether the dependent lives in a namespace of the dependency's container, and so has to be replaced with it.
    pub shares_namespace: bool,
}

/// When a container counts as ready for those that wait for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It runs.
    #[default]
    Running,
    /// Its health check has succeeded.
    Healthy,
    /// It has ended with 0.
    CompletedSuccessfully,
}

/// How the replicas of a service are replaced (Compose's `deploy.update_config`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Update {
    /// How many at a time; 0 is all of them.
    pub parallelism: u32,
    /// Whether the new one starts before the old one stops.
    pub start_first: bool,
}

/// One after the other, stop-first.
impl Default for Update {
    fn default() -> Self {
        Self { parallelism: 1, start_first: false }
    }
}

/// A network as it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// Unique on a root.
    pub name: String,
    /// Somebody else's: it has to exist and is never changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// `bridge` where empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// By the driver's names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_options: BTreeMap<String, String>,
    /// Without a way out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub internal: bool,
    /// Without IPv4 addresses.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub without_ipv4: bool,
    /// Whether containers may be connected by hand where an orchestrator owns it; a mark.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub attachable: bool,
    /// With IPv6 addresses.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ipv6: bool,
    /// Asked-for address ranges; one is chosen where there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subnets: Vec<Subnet>,
    /// Free text by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where it was written.
    #[serde(skip)]
    pub origin: Vec<Span>,
}

/// An address range of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Subnet {
    /// CIDR.
    pub subnet: String,
    /// The bridge's own address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// CIDR: the part that containers are numbered from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_range: Option<String>,
    /// Addresses of others, by name: never given to a container.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub reserved: BTreeMap<String, String>,
}

/// A named volume as it is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Unique on a root.
    pub name: String,
    /// Somebody else's: it has to exist and is never changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub external: bool,
    /// `local` where empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// By the driver's names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_options: BTreeMap<String, String>,
    /// Free text by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where it was written.
    #[serde(skip)]
    pub origin: Vec<Span>,
}

/// One content of a secret or config. The content itself lies in the vault under `version`, never here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileVersion {
    /// The name it has in the project.
    pub name: String,
    /// The vault's keyed hash of the content.
    pub version: String,
    /// Whether it is a secret.
    pub secret: bool,
}
