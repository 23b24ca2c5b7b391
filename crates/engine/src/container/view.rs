//! What is known of containers, for people and programs that ask.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::rc::Rc;

use carrack_diag::Result;
use carrack_network::{Endpoint, Networks};
use carrack_oci::{Config, Digest};
use carrack_runtime::shim::BoundPort;
use carrack_runtime::state::{HealthStatus, State, Status};
use carrack_specgen::Container;
use carrack_specgen::container::{MountSource, PortMapping};
use serde::{Deserialize, Serialize};

use super::ContainerRecord;
use crate::engine::{Engine, seconds_since};

/// How many containers are worth a thread that reads them.
const VIEWS_PER_THREAD: usize = 64;

/// A container with its state.
#[derive(Debug, Clone)]
pub struct ContainerView {
    /// As it was made.
    pub record: ContainerRecord,
    /// What its shim wrote last, corrected where shim or program are gone; none where it was never started.
    pub state: Option<State>,
    /// What it runs, entrypoint first.
    pub command: Vec<String>,
    /// Its address on each network.
    pub networks: BTreeMap<String, IpAddr>,
    /// Ports that are published now.
    pub ports: Vec<PublishedPort>,
    /// Ports that the image exposes, `80/tcp`.
    pub exposed: Vec<String>,
    /// Since it was made.
    pub age_seconds: i64,
    /// Since it started, or since it ended.
    pub state_seconds: i64,
    /// Those of the image and its own.
    pub labels: BTreeMap<String, String>,
    /// What is true of its state: processes are asked once.
    status: Status,
}

/// A port of the host that leads into a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// On the host.
    pub address: IpAddr,
    /// On the host.
    pub host_port: u16,
    /// In the container.
    pub container_port: u16,
    /// `tcp`, `udp`.
    pub protocol: String,
}

impl From<&BoundPort> for PublishedPort {
    fn from(bound: &BoundPort) -> Self {
        Self {
            address: bound.host.ip(),
            host_port: bound.host.port(),
            container_port: bound.container_port,
            protocol: bound.protocol.to_string(),
        }
    }
}

impl ContainerView {
    /// Whether `compose run` made it: no replica of its service.
    pub fn is_one_off(&self) -> bool {
        self.record.container.labels.get(carrack_plan::label::ONE_OFF).is_some_and(|value| value == "True")
    }

    /// `created`, `running`, `paused`, `restarting`, `exited`, `dead`, as Docker's.
    pub fn status(&self) -> &'static str {
        match self.status {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
            Status::Lost => "dead",
        }
    }

    /// Whether `ps` shows it without `-a`.
    pub fn is_active(&self) -> bool {
        matches!(self.status(), "running" | "paused" | "restarting")
    }

    /// `starting`, `healthy`, `unhealthy`; none where it has no check or does not run.
    pub fn health_word(&self) -> Option<&'static str> {
        let state = self.state.as_ref().filter(|_| self.is_active())?;
        Some(match state.health.as_ref()?.status {
            HealthStatus::Starting => "starting",
            HealthStatus::Healthy => "healthy",
            HealthStatus::Unhealthy => "unhealthy",
        })
    }

    /// Paths of the host that are mounted.
    pub fn binds(&self) -> impl Iterator<Item = &str> {
        self.record.container.mounts.iter().filter_map(|mount| match &mount.source {
            MountSource::Bind { path, .. } => Some(path.as_str()),
            MountSource::Volume { .. } | MountSource::Tmpfs { .. } | MountSource::Image { .. } => None,
        })
    }

    /// Paths in the container that something is mounted at.
    pub fn mount_targets(&self) -> impl Iterator<Item = &str> {
        let mounts = self.record.container.mounts.iter().map(|mount| mount.target.as_str());
        mounts.chain(self.record.volumes.keys().map(String::as_str))
    }

    /// Ports that it serves, exposed or published, each with its protocol.
    pub fn served_ports(&self) -> impl Iterator<Item = (u16, &str)> {
        let exposed = self.exposed.iter().filter_map(|text| {
            let (port, protocol) = text.split_once('/')?;
            Some((port.parse().ok()?, protocol))
        });
        exposed.chain(self.ports.iter().map(|port| (port.container_port, port.protocol.as_str())))
    }

    /// The status that its program ended with last; 0 before, and 255 where nobody saw its end.
    pub fn exit_code(&self) -> i32 {
        self.state.as_ref().map_or(0, State::last_exit_code)
    }
}

impl Engine {
    /// One container by name, id, or the beginning of an id.
    pub fn container(&self, name: &str) -> Result<ContainerView> {
        let record = self.find(name)?;
        self.view(record)
    }

    /// All containers of the root.
    pub fn containers(&self) -> Result<Vec<ContainerView>> {
        let endpoints = Networks::new(&self.store).endpoints_by_container()?;
        let ids = self.records().names()?;
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(1 + ids.len() / VIEWS_PER_THREAD);
        let mut parts = ids.chunks(ids.len().div_ceil(threads).max(1));
        let first = parts.next().unwrap_or_default();
        std::thread::scope(|scope| {
            let others: Vec<_> = parts.map(|part| scope.spawn(|| self.views(part, &endpoints))).collect();
            let mut views = self.views(first, &endpoints)?;
            for other in others {
                views.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok(views)
        })
    }

    fn views(&self, ids: &[String], endpoints: &BTreeMap<String, Vec<Endpoint>>) -> Result<Vec<ContainerView>> {
        let records = self.records();
        // What many of them share is read once.
        let mut configs: BTreeMap<Digest, Rc<Config>> = BTreeMap::new();
        let view = |record: ContainerRecord| {
            let config = configs.entry(record.image).or_insert_with(|| Rc::new(self.image_config(&record))).clone();
            let endpoints = endpoints.get(&record.id).map_or(&[][..], Vec::as_slice);
            self.view_of(record, &config, endpoints)
        };
        let found = ids.iter().filter_map(|id| records.get(id).transpose());
        found.collect::<Result<Vec<_>>>()?.into_iter().map(view).collect()
    }

    pub(crate) fn view(&self, record: ContainerRecord) -> Result<ContainerView> {
        let endpoints = Networks::new(&self.store).endpoints_of(&record.id)?;
        let config = self.image_config(&record);
        self.view_of(record, &config, &endpoints)
    }

    fn view_of(&self, record: ContainerRecord, config: &Config, endpoints: &[Endpoint]) -> Result<ContainerView> {
        let state = self.state(&record.id)?;
        let status = state.as_ref().map_or(Status::Created, State::actual_status);
        let ended = state.as_ref().and_then(|state| state.finished_at.clone());
        let started = state.as_ref().and_then(|state| state.started_at.clone());
        let active = matches!(status, Status::Running | Status::Paused);
        let since = if active { started } else { ended.or(started) };
        let mut labels = config.labels.clone();
        labels.extend(record.container.labels.clone());
        Ok(ContainerView {
            command: record.container.arguments(config),
            networks: endpoints.iter().map(|one| (one.network.clone(), one.address.into())).collect(),
            ports: state.iter().filter(|_| active).flat_map(|state| &state.ports).map(PublishedPort::from).collect(),
            exposed: if active { exposed(&record.container, config) } else { Vec::new() },
            age_seconds: seconds_since(&record.created).unwrap_or(0),
            state_seconds: since.and_then(|time| seconds_since(&time)).unwrap_or(0),
            labels,
            status,
            record,
            state,
        })
    }

    /// What a container has written, and that together with its image, in bytes.
    pub fn container_size_bytes(&self, record: &ContainerRecord) -> Result<(u64, u64)> {
        let written = apparent_size_bytes(&self.store.container_dir(&record.id)?.join("upper"));
        let image = match self.store.image(&record.image.to_string()) {
            Ok(image) => self.store.image_size_bytes(&image)?,
            Err(_) => 0,
        };
        Ok((written, written + image))
    }

    /// The image's configuration; an empty one where the image was removed by force.
    pub(crate) fn image_config(&self, record: &ContainerRecord) -> Config {
        self.store.image_config(&record.image).map(|image| image.config).unwrap_or_default()
    }
}

/// `80/tcp`, of image and container.
pub(super) fn exposed(container: &Container, image: &Config) -> Vec<String> {
    let mut ports: Vec<String> = image.exposed_ports.keys().cloned().collect();
    // Read when it was made.
    for port in container.expose.iter().filter_map(|text| PortMapping::of_exposed(text).ok()).flatten() {
        let text = format!("{}/{}", port.container_port, port.protocol);
        if !ports.contains(&text) {
            ports.push(text);
        }
    }
    ports
}

/// The lengths of the files below a folder, each once: what Docker counts.
fn apparent_size_bytes(folder: &Path) -> u64 {
    let mut seen = HashSet::new();
    let mut total = 0;
    let mut open = vec![folder.to_owned()];
    while let Some(path) = open.pop() {
        for entry in std::fs::read_dir(&path).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                open.push(entry.path());
            } else if seen.insert(metadata.ino()) {
                total += metadata.len();
            }
        }
    }
    total
}
