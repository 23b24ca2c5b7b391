use std::collections::{BTreeMap, BTreeSet};

use carrack_specgen::Container;

use crate::builder::{Builder, Reason};
use crate::reconcile::{attached_to, has_anonymous_volume, mounted};
use crate::{Cause, Desired, NodeId, ObservedContainer, ObservedState, Operation, Plan, label};

/// What `down` takes away beside the containers.
#[derive(Debug, Clone, Default)]
pub struct DownOptions {
    /// The project's volumes, **with their data**, and the containers' anonymous ones.
    pub volumes: bool,
    /// Containers of services that the project does not have. Without the project's files every container is its own.
    pub remove_orphans: bool,
    /// Between stop signal and SIGKILL; where none, the containers' own.
    pub stop_timeout_ms: Option<u64>,
}

/// Takes a project down: dependents stop first, then the containers go, then the networks, and the volumes where asked for.
///
/// The order comes from the containers' labels, so that a project can be taken down whose files are gone.
pub fn down(project: &str, desired: Option<&Desired>, observed: &ObservedState, options: &DownOptions) -> Plan {
    let mut builder = Builder::default();
    let (own, orphans): (Vec<&ObservedContainer>, Vec<&ObservedContainer>) =
        observed.containers.iter().partition(|container| {
            let service = container.service();
            options.remove_orphans
                || desired.is_none_or(|desired| service.is_some_and(|name| desired.services.contains_key(name)))
        });
    if !orphans.is_empty() {
        let names: Vec<&str> = orphans.iter().map(|container| container.name.as_str()).collect();
        builder.notes.push(format!("{} stays: `--remove-orphans` removes it as well", names.join(", ")));
    }
    let mut stops: BTreeMap<&str, Vec<NodeId>> = BTreeMap::new();
    let mut removals = Vec::new();
    for (service, containers) in dependents_first(&own).into_iter().flatten() {
        let before: Vec<NodeId> =
            dependents_of(service, &own).into_iter().filter_map(|name| stops.get(name)).flatten().copied().collect();
        for container in containers {
            let reason = Reason::new(&container.name, Cause::Requested);
            let mut after = before.clone();
            if container.state.is_active() {
                builder.impact.downtime.insert(service.to_owned());
                let op = Operation::StopContainer {
                    name: container.name.clone(),
                    timeout_ms: options.stop_timeout_ms,
                    withdrawn: false,
                };
                let stop = builder.add(op, before.iter().copied(), &reason);
                stops.entry(service).or_default().push(stop);
                after = vec![stop];
            }
            removals.push((container, after, reason));
        }
    }
    // Removed only after all have stopped: until then everything can be taken back.
    let stopped: Vec<NodeId> = stops.into_values().flatten().collect();
    let mut removed = Vec::new();
    for (container, after, reason) in removals {
        if options.volumes && has_anonymous_volume(container) {
            builder.impact.data.insert(format!("{} (anonymous)", container.name));
        }
        let op = Operation::RemoveContainer { name: container.name.clone(), anonymous_volumes: options.volumes };
        removed.push(builder.add(op, after.into_iter().chain(stopped.iter().copied()), &reason));
    }
    let used = |uses: for<'c> fn(&'c Container) -> Vec<&'c str>| -> BTreeMap<&str, &str> {
        orphans.iter().flat_map(|it| uses(&it.container).into_iter().map(|name| (name, it.name.as_str()))).collect()
    };
    let on_network = used(|container| attached_to(&container.network).collect());
    let on_volume = used(|container| mounted(container).collect());
    let is_own = |labels: &BTreeMap<String, String>| labels.get(label::PROJECT).is_some_and(|owner| owner == project);
    for network in observed.networks.values().filter(|network| is_own(&network.labels)) {
        let shared = observed.shared_networks.get(&network.name).map(String::as_str);
        if let Some(other) = shared.or_else(|| on_network.get(network.name.as_str()).copied()) {
            builder.notes.push(format!("the network {} stays: {other} is on it", network.name));
            continue;
        }
        let reason = Reason::new(format!("network {}", network.name), Cause::Requested);
        builder.add(Operation::RemoveNetwork { network: network.clone() }, removed.iter().copied(), &reason);
    }
    let volumes = observed.volumes.values().filter(|volume| options.volumes && is_own(&volume.labels));
    for volume in volumes {
        let shared = observed.shared_volumes.get(&volume.name).map(String::as_str);
        if let Some(other) = shared.or_else(|| on_volume.get(volume.name.as_str()).copied()) {
            builder.notes.push(format!("the volume {} stays: {other} mounts it", volume.name));
            continue;
        }
        builder.impact.data.insert(volume.name.clone());
        let reason = Reason::new(format!("volume {}", volume.name), Cause::Requested);
        builder.add(Operation::RemoveVolume { name: volume.name.clone() }, removed.iter().copied(), &reason);
    }
    if observed.release.is_some() {
        let ends = builder.ends();
        let reason = Reason::new("release", Cause::Commit);
        builder.add(Operation::RetireRelease { project: project.to_owned() }, ends, &reason);
    }
    builder.finish(project, observed)
}

/// A service with its containers.
type Crew<'a> = (&'a str, Vec<&'a ObservedContainer>);

/// The containers by service, in waves: a service stands in a later wave than all that depend on it.
pub fn dependents_first<'a>(containers: &[&'a ObservedContainer]) -> Vec<Vec<Crew<'a>>> {
    let mut services: BTreeMap<&str, Vec<&ObservedContainer>> = BTreeMap::new();
    for container in containers {
        services.entry(container.service().unwrap_or(&container.name)).or_default().push(container);
    }
    let mut waves = Vec::new();
    while let Some(any) = services.keys().next().copied() {
        let needed: BTreeSet<&str> =
            services.values().flatten().flat_map(|container| container.dependencies()).map(|(name, _)| name).collect();
        let mut free: Vec<&str> = services.keys().copied().filter(|name| !needed.contains(name)).collect();
        if free.is_empty() {
            // Labels that somebody has changed may form a ring.
            free.push(any);
        }
        waves.push(free.into_iter().filter_map(|name| services.remove_entry(name)).collect());
    }
    waves
}

fn dependents_of<'a>(service: &str, containers: &[&'a ObservedContainer]) -> Vec<&'a str> {
    let dependents = containers.iter().filter(|container| container.dependencies().any(|(name, _)| name == service));
    let names: BTreeSet<&str> = dependents.map(|container| container.service().unwrap_or(&container.name)).collect();
    names.into_iter().collect()
}
