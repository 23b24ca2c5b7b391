//! Networks and volumes: made where missing, never changed under what uses them.

use std::collections::BTreeSet;

use carrack_diag::{Diagnostic, Span};

use super::replica::{attached_to, mounted};
use super::{Reconciler, set_aside_name};
use crate::builder::Reason;
use crate::compare::{self, Change};
use crate::{Cause, Operation, codes, label};

impl<'a> Reconciler<'a> {
    pub(super) fn networks(&mut self) {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for service in self.selected.iter().filter_map(|name| self.desired.services.get(*name)) {
            names.extend(service.replicas.iter().flat_map(|replica| attached_to(&replica.container.network)));
        }
        for network in names.iter().filter_map(|name| self.desired.networks.get(*name)) {
            let reason = |cause| Reason::new(format!("network {}", network.name), cause).at(&network.origin);
            match self.observed.networks.get(&network.name) {
                None if network.external => self.external_missing("network", &network.name, &network.origin),
                None => {
                    let op = Operation::CreateNetwork { network: network.clone() };
                    let node = self.builder.add(op, [], &reason(Cause::Missing));
                    self.new_networks.insert(network.name.clone(), node);
                }
                Some(_) if network.external => {}
                Some(found) => {
                    let owner = found.labels.get(label::PROJECT);
                    let changes = compare::networks(found, network);
                    if owner != Some(&self.desired.project) {
                        self.builder.notes.push(format!(
                            "the network {} was not made by this project and is used as it is",
                            network.name
                        ));
                    } else if !changes.is_empty() {
                        self.replace_network(found, network, changes);
                    }
                }
            }
        }
    }

    /// A network can't change under containers: they are set aside first, and made anew on the new one.
    fn replace_network(&mut self, found: &'a crate::Network, wanted: &crate::Network, changes: Vec<Change>) {
        let reason = Reason::new(format!("network {}", wanted.name), Cause::Changed { changes }).at(&wanted.origin);
        let on_it = self.observed.containers.iter().filter(|old| {
            let mut names = attached_to(&old.container.network);
            old.state.is_active()
                && !self.set_aside.contains_key(old.id.as_str())
                && names.any(|name| name == wanted.name)
        });
        if let Some(other) = self.observed.shared_networks.get(&wanted.name) {
            let message = format!("the network {} stays as it was: {other} of another project is on it", wanted.name);
            self.builder.notes.push(message);
            return;
        }
        let mut stops = Vec::new();
        let mut movable = Vec::new();
        for old in on_it {
            let service = old.service().and_then(|name| self.desired.services.get_key_value(name));
            match service.filter(|(_, service)| !old.is_one_off() && !service.unresolved) {
                Some((service, _)) => movable.push((service.as_str(), old)),
                None => {
                    let message = format!("the network {} stays as it was: {} is on it", wanted.name, old.name);
                    self.builder.notes.push(message);
                    return;
                }
            }
        }
        for (service, old) in movable {
            self.selected.insert(service);
            self.builder.impact.downtime.insert(service.to_owned());
            let reason = Reason { subject: old.container.name.clone(), ..reason.clone() };
            let renamed = self.rename(old, &[], &reason);
            let stop = self.stop(&set_aside_name(old), renamed, &reason);
            self.set_aside.insert(&old.id, stop);
            stops.push(stop);
        }
        let removed = self.builder.add(Operation::RemoveNetwork { network: found.clone() }, stops, &reason);
        let op = Operation::CreateNetwork { network: wanted.clone() };
        let created = self.builder.add(op, [removed], &reason);
        self.new_networks.insert(wanted.name.clone(), created);
    }

    pub(super) fn volumes(&mut self) {
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for service in self.selected.iter().filter_map(|name| self.desired.services.get(*name)) {
            names.extend(service.replicas.iter().flat_map(|replica| mounted(&replica.container)));
        }
        for volume in names.iter().filter_map(|name| self.desired.volumes.get(*name)) {
            match self.observed.volumes.get(&volume.name) {
                None if volume.external => self.external_missing("volume", &volume.name, &volume.origin),
                None => {
                    let reason = Reason::new(format!("volume {}", volume.name), Cause::Missing).at(&volume.origin);
                    let node = self.builder.add(Operation::CreateVolume { volume: volume.clone() }, [], &reason);
                    self.new_volumes.insert(volume.name.clone(), node);
                }
                Some(found) if !volume.external && !compare::volumes(found, volume).is_empty() => {
                    self.builder.notes.push(format!(
                        "the volume {} exists with other settings and is kept: a new one would lose its data",
                        volume.name
                    ));
                }
                Some(_) => {}
            }
        }
    }

    fn external_missing(&mut self, kind: &str, name: &str, origin: &[Span]) {
        let message = format!("the external {kind} {name} does not exist");
        let mut diagnostic = Diagnostic::error(&codes::EXTERNAL_MISSING, message);
        if let Some(span) = origin.first() {
            diagnostic = diagnostic.at(*span, "said to exist");
        }
        self.diagnostics.push(diagnostic.hint(format!("create it: `carrack {kind} create {name}`")));
    }
}
