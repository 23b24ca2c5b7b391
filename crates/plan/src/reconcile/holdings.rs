//! What only one container can hold: a port of the host, a fixed address. It may pass from one container to another.

use std::collections::BTreeMap;

use carrack_diag::Diagnostic;
use carrack_specgen::Container;
use carrack_specgen::container::NetworkMode;

use super::{Reconciler, set_aside_name};
use crate::builder::Reason;
use crate::{Cause, DesiredService, NodeId, ObservedContainer, codes};

/// In words that are equal where the holdings are. The address a port is bound at does not tell them apart: `0.0.0.0`
/// and `127.0.0.1` exclude each other.
fn holdings(container: &Container) -> Vec<String> {
    let ports = container.ports.iter().filter_map(|port| Some(format!("port {}/{}", port.host_port?, port.protocol)));
    let attachments = match &container.network {
        NetworkMode::Networks(attachments) => attachments.as_slice(),
        _ => &[],
    };
    let addresses = attachments.iter().flat_map(|attachment| {
        let four = attachment.ipv4.map(|address| address.to_string());
        let six = attachment.ipv6.map(|address| address.to_string());
        four.into_iter().chain(six).map(|address| format!("address {address} on {}", attachment.network))
    });
    ports.chain(addresses).collect()
}

impl<'a> Reconciler<'a> {
    /// Sets aside the containers whose port or address another one is to have: it has to be free before that one starts.
    pub(super) fn contested(&mut self) {
        if self.options.keep_changed || self.options.without_start {
            return;
        }
        let mut wanted: BTreeMap<String, BTreeMap<&str, &DesiredService>> = BTreeMap::new();
        for service in self.selected.iter().filter_map(|name| self.desired.services.get(*name)) {
            for replica in &service.replicas {
                for holding in holdings(&replica.container) {
                    wanted.entry(holding).or_default().insert(&replica.container.name, service);
                }
            }
        }
        let active = self.observed.containers.iter().filter(|old| old.state.is_active());
        for old in active.collect::<Vec<&'a ObservedContainer>>() {
            let lost = |holding: &String| wanted.get(holding).is_some_and(|by| !by.contains_key(old.name.as_str()));
            let lost: Vec<String> = holdings(&old.container).into_iter().filter(lost).collect();
            let Some(first) = lost.first() else { continue };
            let Some((to, service)) = wanted.get(first).and_then(|by| by.iter().next()) else { continue };
            if !self.can_be_set_aside(old) {
                self.diagnostics.push(held(first, old, to, service));
                continue;
            }
            let stop = match self.set_aside.get(old.id.as_str()) {
                Some(stop) => *stop,
                None => self.set_aside_for(old, first, to),
            };
            for holding in lost {
                self.freed.entry(holding).or_default().push(stop);
            }
        }
    }

    fn set_aside_for(&mut self, old: &'a ObservedContainer, holding: &str, to: &str) -> NodeId {
        self.builder.impact.downtime.extend(old.service().map(str::to_owned));
        let cause = Cause::Yields { holding: holding.to_owned(), to: to.to_owned() };
        let reason = Reason::new(&old.container.name, cause);
        let renamed = self.rename(old, &[], &reason);
        let stop = self.stop(&set_aside_name(old), renamed, &reason);
        self.set_aside.insert(&old.id, stop);
        stop
    }

    fn can_be_set_aside(&self, old: &ObservedContainer) -> bool {
        let service = old.service().and_then(|name| self.desired.services.get_key_value(name));
        let goes = match service {
            Some((name, service)) => self.selected.contains(name.as_str()) && !service.unresolved,
            None => self.options.remove_orphans,
        };
        goes && !old.is_one_off()
    }

    /// The nodes after which everything is free that a container has to hold.
    pub(super) fn freed(&self, container: &Container) -> Vec<NodeId> {
        holdings(container).iter().filter_map(|holding| self.freed.get(holding)).flatten().copied().collect()
    }
}

fn held(holding: &str, old: &ObservedContainer, name: &str, service: &DesiredService) -> Diagnostic {
    let message = format!("{name} is to have the {holding}, and {} has it", old.name);
    let mut diagnostic = Diagnostic::error(&codes::HELD, message);
    if let Some(span) = service.origin.first() {
        diagnostic = diagnostic.at(*span, "wants it");
    }
    diagnostic
        .hint(format!("stop it: `carrack stop {}`; `--remove-orphans` removes it if no service wants it", old.name))
}
