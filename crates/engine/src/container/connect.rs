//! Networks that a container is connected to and taken off, whether it runs or not.

use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use carrack_network::{Namespace, Network, Networks};
use carrack_runtime::shim::Client;
use carrack_runtime::state::{State, Status};
use carrack_specgen::container::{Attachment, NetworkMode};

use super::ContainerRecord;
use super::create::durability;
use super::start::attachment_of;
use crate::codes;
use crate::engine::{Engine, host_error};
use crate::network::is_meant;

/// Docker's option of an endpoint: kernel parameters of its interface.
const OPTION_SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
/// Docker's option of an endpoint: the name of its interface.
const OPTION_INTERFACE: &str = "com.docker.network.endpoint.ifname";

impl Engine {
    /// Connects a container to one more network; at once where it runs, else at its next start.
    pub fn connect_network(&self, network: &str, container: &str, attachment: Attachment) -> Result<()> {
        let networks = Networks::new(&self.store);
        let (network, id) = named(self.network_with_places(network)?);
        let found = self.find(container)?;
        let _guard = self.lock_container(&found.id)?;
        let mut record = self.still(&found)?;
        let NetworkMode::Networks(attachments) = &mut record.container.network else {
            let message = format!("{} can't be connected to {network}", record.name);
            return Err(Diagnostic::error(&codes::INVALID_NETWORK, message)
                .cause("its network is the host's, none, or another container's")
                .hint("make it anew on a network: `carrack run --network NAME …`")
                .boxed());
        };
        if attachments.iter().any(|present| is_meant(&present.network, &network, &id)) {
            let message = format!("{} is on the network {network} already", record.name);
            return Err(Diagnostic::error(&codes::INVALID_NETWORK, message).boxed());
        }
        let attachment = Attachment { network: network.clone(), ..attachment };
        attachments.push(attachment.clone());
        let wanted = attachment_of(&record, &attachment, true)?;
        if let Some(state) = self.running(&record)? {
            let namespace = namespace_of(&state)?;
            let is_on = networks.endpoints_of(&record.id)?.iter().any(|endpoint| endpoint.network == network);
            if is_on {
                // Left by a command that was killed before it wrote that down.
                networks.disconnect(&record.id, &namespace, &network)?;
            }
            networks.connect(&record.id, &namespace, &wanted)?;
            if let Err(error) = self.after_connecting(&record, &network) {
                // The first error is the one to tell; what stays is a leak that doctor names.
                let _ = networks.disconnect(&record.id, &namespace, &network);
                return Err(error);
            }
        }
        self.records().put(&record.id, &record, durability(&record.container))?;
        self.emit_network("connect", &id, &network, Some(&record.id));
        Ok(())
    }

    /// Takes a container off a network; with `force` also where it is on it no longer.
    pub fn disconnect_network(&self, network: &str, container: &str, force: bool) -> Result<()> {
        let networks = Networks::new(&self.store);
        let (network, id) = named(self.network_with_places(network)?);
        let found = self.find(container)?;
        let _guard = self.lock_container(&found.id)?;
        let mut record = self.still(&found)?;
        let name = record.name.clone();
        let not_there = || {
            let message = format!("{name} is not on the network {network}");
            Err(Diagnostic::error(&codes::INVALID_NETWORK, message).boxed())
        };
        let NetworkMode::Networks(attachments) = &mut record.container.network else { return not_there() };
        let before = attachments.len();
        attachments.retain(|attachment| !is_meant(&attachment.network, &network, &id));
        if attachments.len() == before && !force {
            return not_there();
        }
        if let Some(state) = self.running(&record)? {
            let is_on = networks.endpoints_of(&record.id)?.iter().any(|endpoint| endpoint.network == network);
            if is_on {
                networks.disconnect(&record.id, &namespace_of(&state)?, &network)?;
                self.after_connecting(&record, &network)?;
            }
        }
        self.records().put(&record.id, &record, durability(&record.container))?;
        self.emit_network("disconnect", &id, &network, Some(&record.id));
        Ok(())
    }

    /// Its state, where it has a network namespace: between two runs its shim holds it.
    pub(super) fn running(&self, record: &ContainerRecord) -> Result<Option<State>> {
        Ok(self.state(&record.id)?.filter(|state| {
            let is_between = matches!(state.status, Status::Restarting | Status::Exited) && state.has_shim();
            state.is_alive() || is_between
        }))
    }

    /// Names, /etc/hosts, and where the forwarder leads.
    fn after_connecting(&self, record: &ContainerRecord, network: &str) -> Result<()> {
        let run = self.store.container_run_dir(&record.id)?;
        let endpoints = Networks::new(&self.store).endpoints_of(&record.id)?;
        self.update_names([network])?;
        self.write_own_names(&record.id)?;
        self.write_etc(record, &endpoints, &run)?;
        let gateway = endpoints.iter().find(|endpoint| endpoint.is_gateway).or(endpoints.first());
        Client::connect(&run)?
            .lead_to(gateway.map(|endpoint| (endpoint.address, endpoint.ipv6.map(|place| place.address))))
    }
}

fn named(network: Network) -> (String, String) {
    (network.name, network.id)
}

pub(super) fn namespace_of(state: &State) -> Result<Namespace> {
    // One that has just ended has none any more, and its shim holds it.
    let of_the_program = PathBuf::from(format!("/proc/{}/ns/net", state.pid));
    if state.is_alive()
        && let Ok(namespace) = Namespace::open(&of_the_program)
    {
        return Ok(namespace);
    }
    let shim = PathBuf::from(format!("/proc/{}", state.shim_pid));
    let failed = |error| host_error("can't look for a container's network namespace", error);
    let of_the_host = std::fs::read_link(shim.join("ns/net")).map_err(failed)?;
    let is_the_containers = |path: &Path| {
        let link = std::fs::read_link(path).unwrap_or_default();
        link != of_the_host && link.to_string_lossy().starts_with("net:[")
    };
    let open = std::fs::read_dir(shim.join("fd")).map_err(failed)?;
    let held = open.flatten().map(|entry| entry.path()).find(|path| is_the_containers(path));
    Namespace::open(&held.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?)
}

/// An interface's name may be given as an option, as for Docker.
pub(super) fn interface_of(attachment: &Attachment) -> Option<String> {
    attachment.interface.clone().or_else(|| attachment.driver_options.get(OPTION_INTERFACE).cloned())
}

/// `net.ipv4.conf.IFNAME.log_martians=1,…` as names within an interface and values.
pub(super) fn parameters(container: &str, attachment: &Attachment) -> Result<Vec<(String, String)>> {
    let wrong = |what: &str| {
        Diagnostic::error(&codes::INVALID_NETWORK, format!("{container}: {what}"))
            .hint(format!("{OPTION_SYSCTLS}=net.ipv4.conf.IFNAME.log_martians=1 is one that is known"))
            .boxed()
    };
    let mut parameters = Vec::new();
    let options = attachment.driver_options.iter().filter(|(key, _)| *key != OPTION_INTERFACE);
    for (key, value) in options {
        if key != OPTION_SYSCTLS {
            return Err(wrong(&format!("there is no option {key} of a container's place on a network")));
        }
        for text in value.split(',') {
            let split = text.split_once('=').and_then(|(name, value)| {
                let parts: Vec<&str> = name.split('.').collect();
                match parts.as_slice() {
                    ["net", family, group, "IFNAME", last] => {
                        Some((format!("{family}.{group}.{last}"), value.to_owned()))
                    }
                    _ => None,
                }
            });
            parameters.push(split.ok_or_else(|| wrong(&format!("`{text}` is no parameter of an interface")))?);
        }
    }
    Ok(parameters)
}
