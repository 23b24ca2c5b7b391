//! Taking away what nobody uses. Safe beside whatever else is at work: each thing is looked at again under its lock, and
//! images that commands, containers, builds or releases keep are none (I-2).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use carrack_diag::{Diagnostic, Result};
use carrack_network::{DEFAULT_NETWORK, Networks};
use carrack_oci::{Digest, Reference};
use carrack_specgen::container::NetworkMode;
use carrack_store::{Image, Scope, disk_usage};
use serde::Serialize;

use crate::codes;
use crate::container::ContainerRecord;
use crate::engine::Engine;

/// What goes, of that which nobody uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PruneFilter {
    /// Only what was made before then.
    pub until: Option<jiff::Timestamp>,
    /// Only what has all of these.
    pub labels: Vec<LabelFilter>,
}

/// A condition on labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelFilter {
    /// The label.
    pub key: String,
    /// Its value; none is any.
    pub value: Option<String>,
    /// Whether the condition is that there is none such.
    pub is_absent: bool,
}

/// What went.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Ids of containers, names of networks and volumes, Docker's lines of images.
    pub names: Vec<String>,
    /// On disk.
    pub reclaimed_bytes: u64,
}

impl PruneFilter {
    fn selects(&self, created: Option<&str>, labels: &BTreeMap<String, String>) -> bool {
        let is_old = self.until.is_none_or(|until| {
            // What nobody knows the age of is as old as can be.
            created.and_then(|text| text.parse::<jiff::Timestamp>().ok()).is_none_or(|created| created < until)
        });
        is_old
            && self.labels.iter().all(|wanted| {
                let has = labels
                    .get(&wanted.key)
                    .is_some_and(|value| wanted.value.as_ref().is_none_or(|wanted| wanted == value));
                has != wanted.is_absent
            })
    }
}

impl Engine {
    /// Removes containers that do not run. Their volumes stay.
    pub fn prune_containers(&self, filter: &PruneFilter) -> Result<Removed> {
        let mut removed = Removed::default();
        for view in self.containers()?.iter().filter(|view| !view.is_active()) {
            let record = &view.record;
            let mut labels = self.image_config(record).labels;
            labels.extend(record.container.labels.clone());
            if !filter.selects(Some(&record.created), &labels) {
                continue;
            }
            let size_bytes = disk_usage(&self.store.container_dir(&record.id)?);
            match self.remove_record(record, false) {
                // Started meanwhile.
                Err(error) if error.code == &codes::RUNNING => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    removed.names.push(record.id.clone());
                    removed.reclaimed_bytes += size_bytes;
                }
            }
        }
        self.emit_prune("container", removed.reclaimed_bytes);
        Ok(removed)
    }

    /// Removes networks that no container has, running or not. The bridge of the default one goes too, which is there again
    /// when it is needed; it is not told, as it can't be removed.
    pub fn prune_networks(&self, filter: &PruneFilter) -> Result<Removed> {
        let mut removed = Removed::default();
        let used: BTreeSet<String> = self.records().list()?.values().flat_map(networks_of).collect();
        for network in Networks::new(&self.store).list()? {
            let is_free = !used.contains(&network.name) && !used.contains(&network.id);
            let is_default = network.name == DEFAULT_NETWORK;
            if !is_free
                || (is_default && *filter != PruneFilter::default())
                || !filter.selects(Some(&network.created), &network.labels)
            {
                continue;
            }
            let went = match is_default {
                true => Networks::new(&self.store).remove(&network.name),
                false => self.remove_network(&network.name),
            };
            match went {
                // Somebody came, or was faster.
                Err(error) if error.code == &carrack_network::codes::IN_USE => {}
                Err(error) if error.code == &carrack_network::codes::UNKNOWN_NETWORK => {}
                Err(error) => return Err(error),
                Ok(()) if is_default => {}
                Ok(()) => removed.names.push(network.name),
            }
        }
        self.emit_prune("network", 0);
        Ok(removed)
    }

    /// Removes volumes that no container has: those without a name, and with `named` all of them.
    pub fn prune_volumes(&self, filter: &PruneFilter, named: bool) -> Result<Removed> {
        let mut removed = Removed::default();
        let records = self.records().list()?;
        let used: BTreeSet<&String> =
            records.values().flat_map(|record| record.volumes.values()).map(|used| &used.name).collect();
        for (name, volume) in self.store.volumes()? {
            if used.contains(&name)
                || !(volume.anonymous || named)
                || !filter.selects(Some(&volume.created), &volume.labels)
            {
                continue;
            }
            let size_bytes = self.store.volume_size_bytes(&name)?;
            match self.discard_unused_volume(&name) {
                Err(error) if error.code == &codes::VOLUME_IN_USE => {}
                Err(error) => return Err(error),
                Ok(false) => {}
                Ok(true) => {
                    removed.names.push(name);
                    removed.reclaimed_bytes += size_bytes;
                }
            }
        }
        self.emit_prune("volume", removed.reclaimed_bytes);
        Ok(removed)
    }

    /// Removes images that nothing keeps: those without a name, and with `all` those with one.
    pub fn prune_images(&self, filter: &PruneFilter, all: bool) -> Result<Removed> {
        let images = self.store.images()?;
        let is_selected = |image: &&Image| filter.selects(image.config.created.as_deref(), &image.config.config.labels);
        let selected: HashSet<Digest> = images.iter().filter(is_selected).map(|image| image.id).collect();
        let is_filtered = *filter != PruneFilter::default();
        let scope = if all { Scope::Unused } else { Scope::Dangling };
        let garbage = self.store.prune_among(scope, is_filtered.then_some(&selected))?;
        let mut removed = Removed { reclaimed_bytes: garbage.size_bytes, ..Removed::default() };
        for id in &garbage.images {
            let Some(image) = images.iter().find(|image| image.id == *id) else { continue };
            for name in &image.names {
                removed.names.push(format!("untagged: {}", Reference::familiar(name)));
                self.emit_image("untag", &name.familiar(), image);
            }
            removed.names.push(format!("deleted: {id}"));
            self.emit_image("delete", &id.to_string(), image);
        }
        removed.names.extend(garbage.chains.iter().map(|chain| format!("deleted: {chain}")));
        self.emit_prune("image", removed.reclaimed_bytes);
        Ok(removed)
    }
}

/// Refused: an age says nothing about volumes, which live by being written to.
pub fn until_of_volumes() -> Box<Diagnostic> {
    Diagnostic::error(&codes::NO_AGE_OF_VOLUMES, "volumes can't be chosen by their age")
        .cause("when a volume was made says nothing about when its data was last needed")
        .hint("leave out --filter until=…, or --volumes")
        .boxed()
}

fn networks_of(record: &ContainerRecord) -> Vec<String> {
    match &record.container.network {
        NetworkMode::Networks(attachments) => attachments.iter().map(|attachment| attachment.network.clone()).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_ages_choose() {
        let label = |text: &str, is_absent| {
            let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
            LabelFilter { key: key.into(), value: value.map(str::to_owned), is_absent }
        };
        let labels = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        for (wanted, selects) in [
            (vec![], true),
            (vec![label("a", false)], true),
            (vec![label("a=1", false)], true),
            (vec![label("a=2", false)], false),
            (vec![label("a=2", true)], true),
            (vec![label("a", true)], false),
            (vec![label("a", false), label("b", false)], false),
        ] {
            let filter = PruneFilter { labels: wanted.clone(), ..PruneFilter::default() };
            assert_eq!(filter.selects(None, &labels), selects, "{wanted:?}");
        }
        let filter = PruneFilter { until: Some("2026-01-02T00:00:00Z".parse().unwrap()), ..PruneFilter::default() };
        assert!(filter.selects(Some("2026-01-01T00:00:00Z"), &labels));
        assert!(!filter.selects(Some("2026-01-03T00:00:00Z"), &labels));
    }
}
