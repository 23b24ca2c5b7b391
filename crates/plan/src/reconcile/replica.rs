//! What a replica is, as far as planning has to know.

use carrack_specgen::Container;
use carrack_specgen::container::{MountSource, NetworkMode};

use crate::{Condition, DesiredService, ObservedContainer, Replica};

/// Whether the new container of a replica can run beside the old one: nothing that only one can hold is fixed.
pub(super) fn starts_first(service: &DesiredService, replica: &Replica) -> bool {
    let fixed_address = match &replica.container.network {
        NetworkMode::Networks(attachments) => {
            attachments.iter().any(|attachment| attachment.ipv4.is_some() || attachment.ipv6.is_some())
        }
        _ => false,
    };
    let fixed_port = replica.container.ports.iter().any(|port| port.host_port.is_some());
    service.update.start_first && !fixed_address && !fixed_port
}

pub(super) fn ready_condition(service: &DesiredService, replica: &Replica) -> Condition {
    if service.job {
        Condition::CompletedSuccessfully
    } else if replica.health_checked {
        Condition::Healthy
    } else {
        Condition::Running
    }
}

/// How long a container may take to become ready, where nobody says: its check's start period and all its retries
/// (with Docker's defaults for what is not set), and a minute; ten minutes for a job or the check of an image.
pub fn patience_ms(container: &Container, condition: Condition) -> u64 {
    const TEN_MINUTES_MS: u64 = 600_000;
    let check = container.healthcheck.as_ref().filter(|check| !check.test.is_empty());
    match (condition, check) {
        (Condition::Running, _) => 60_000,
        (Condition::Healthy, Some(check)) => {
            let or = |ns: u64, default_ms: u64| if ns == 0 { default_ms } else { ns / 1_000_000 };
            let round = or(check.interval, 30_000).saturating_add(or(check.timeout, 30_000));
            let retries = if check.retries == 0 { 3 } else { u64::from(check.retries) };
            or(check.start_period, 0).saturating_add(round.saturating_mul(retries)).saturating_add(60_000)
        }
        (Condition::Healthy, None) | (Condition::CompletedSuccessfully, _) => TEN_MINUTES_MS,
    }
}

/// The networks that a container joins.
pub(crate) fn attached_to(network: &NetworkMode) -> impl Iterator<Item = &str> {
    let attachments = match network {
        NetworkMode::Networks(attachments) => attachments.as_slice(),
        _ => &[],
    };
    attachments.iter().map(|attachment| attachment.network.as_str())
}

/// The named volumes that a container mounts.
pub(crate) fn mounted(container: &Container) -> impl Iterator<Item = &str> {
    container.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume { name, .. } => name.as_deref(),
        _ => None,
    })
}

pub(crate) fn has_anonymous_volume(old: &ObservedContainer) -> bool {
    old.container.mounts.iter().any(|mount| matches!(mount.source, MountSource::Volume { name: None, .. }))
}
