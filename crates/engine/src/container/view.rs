//! What is known of containers, for people and programs that ask.

use std::collections::BTreeMap;
use std::net::IpAddr;

use carrack_diag::Result;
use carrack_network::Networks;
use carrack_oci::Config;
use carrack_runtime::shim::BoundPort;
use carrack_runtime::state::{Health, HealthStatus, State, Status};
use carrack_specgen::Container;
use carrack_specgen::container::PortMapping;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ContainerRecord;
use crate::engine::{Engine, seconds_since};

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
        match self.state.as_ref().map(State::actual_status) {
            None | Some(Status::Created) => "created",
            Some(Status::Running) => "running",
            Some(Status::Paused) => "paused",
            Some(Status::Restarting) => "restarting",
            Some(Status::Exited) => "exited",
            Some(Status::Lost) => "dead",
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

    /// The status that its program ended with last; 0 before.
    pub fn exit_code(&self) -> i32 {
        self.state.as_ref().and_then(|state| state.exit_code).unwrap_or(0)
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
        self.records().list()?.into_values().map(|record| self.view(record)).collect()
    }

    pub(crate) fn view(&self, record: ContainerRecord) -> Result<ContainerView> {
        let state = self.state(&record.id)?;
        let config = self.image_config(&record);
        let endpoints = Networks::new(&self.store).endpoints_of(&record.id)?;
        let ended = state.as_ref().and_then(|state| state.finished_at.clone());
        let started = state.as_ref().and_then(|state| state.started_at.clone());
        let active =
            state.as_ref().is_some_and(|state| matches!(state.actual_status(), Status::Running | Status::Paused));
        let since = if active { started } else { ended.or(started) };
        Ok(ContainerView {
            command: record.container.arguments(&config),
            networks: endpoints.into_iter().map(|endpoint| (endpoint.network, endpoint.address.into())).collect(),
            ports: state.iter().filter(|_| active).flat_map(|state| &state.ports).map(PublishedPort::from).collect(),
            exposed: if active { exposed(&record.container, &config) } else { Vec::new() },
            age_seconds: seconds_since(&record.created).unwrap_or(0),
            state_seconds: since.and_then(|time| seconds_since(&time)).unwrap_or(0),
            record,
            state,
        })
    }

    /// The image's configuration; an empty one where the image was removed by force.
    pub(crate) fn image_config(&self, record: &ContainerRecord) -> Config {
        self.store.image(&record.image.to_string()).map(|image| image.config.config).unwrap_or_default()
    }

    /// Everything known of a container, in the shape of `docker inspect`.
    pub fn inspect_container(&self, name: &str) -> Result<Value> {
        let view = self.container(name)?;
        let record = &view.record;
        let container = &record.container;
        let config = self.image_config(record);
        let state = view.state.as_ref();
        let health = state.and_then(|state| state.health.as_ref()).map(docker_health);
        let mut env: BTreeMap<String, String> = config
            .env
            .iter()
            .filter_map(|text| text.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        for (name, value) in &container.env {
            match value {
                Some(value) => env.insert(name.clone(), value.clone()),
                None => env.remove(name),
            };
        }
        let mut ports: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for port in &view.ports {
            ports
                .entry(format!("{}/{}", port.container_port, port.protocol))
                .or_default()
                .push(json!({ "HostIp": port.address, "HostPort": port.host_port.to_string() }));
        }
        let networks = self.inspect_endpoints(record)?;
        let pid = state.map_or(0, |state| state.pid);
        let limits = if view.is_active() { self.effective(record, pid)? } else { Value::Null };
        Ok(json!({
            "Id": record.id,
            "Name": format!("/{}", record.name),
            "Created": record.created,
            "Path": view.command.first(),
            "Args": view.command.get(1..).unwrap_or_default(),
            "Image": record.image,
            "RestartCount": state.map_or(0, |state| state.restart_count),
            "State": {
                "Status": view.status(),
                // Docker counts one that waits for its next start among the running.
                "Running": view.is_active(),
                "Paused": view.status() == "paused",
                "Restarting": view.status() == "restarting",
                "OOMKilled": state.is_some_and(|state| state.oom_killed),
                "Dead": view.status() == "dead",
                "Pid": if view.is_active() { state.map_or(0, |state| state.pid) } else { 0 },
                "ExitCode": view.exit_code(),
                "Error": state.map_or("", |state| &state.error),
                "StartedAt": state.and_then(|state| state.started_at.clone()),
                "FinishedAt": state.and_then(|state| state.finished_at.clone()),
                "Health": health,
            },
            "Config": {
                "Hostname": container.hostname.clone().unwrap_or_else(|| record.short_id().to_owned()),
                "User": container.user.clone().unwrap_or_else(|| config.user.clone()),
                "Tty": container.tty,
                "OpenStdin": container.open_stdin,
                "Env": env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>(),
                "Cmd": container.command.as_ref().or(config.cmd.as_ref()),
                "Entrypoint": container.entrypoint.as_ref().or(config.entrypoint.as_ref()),
                "Image": container.image,
                "WorkingDir": container.working_dir.clone().unwrap_or_else(|| config.working_dir.clone()),
                "Labels": container.labels,
                "Healthcheck": container.effective_healthcheck(&config),
            },
            "HostConfig": container,
            "EffectiveLimits": limits,
            "Mounts": record.container.mounts.iter().map(|mount| json!({
                "Destination": mount.target,
                "RW": !mount.read_only,
                "Volume": record.volumes.get(&mount.target).map(|used| &used.name),
                "Source": mount.source,
            })).collect::<Vec<_>>(),
            "NetworkSettings": { "Networks": networks, "Ports": ports },
        }))
    }
}

/// `80/tcp`, of image and container.
fn exposed(container: &Container, image: &Config) -> Vec<String> {
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

/// In Docker's words.
fn docker_health(health: &Health) -> Value {
    json!({
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(|probe| json!({
            "Start": probe.start, "End": probe.end, "ExitCode": probe.exit_code, "Output": probe.output,
        })).collect::<Vec<_>>(),
    })
}
