//! What is there of a project, as values for the reconciler. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use carrack_diag::Result;
use carrack_plan::{Health, ObservedContainer, ObservedState, State, label};
use carrack_runtime::state::{HealthStatus, Status};

use crate::container::ContainerRecord;
use crate::engine::Engine;

impl Engine {
    /// The project's containers, the root's networks and volumes, the deployed release.
    pub fn observe(&self, project: &str) -> Result<ObservedState> {
        let mut observed = ObservedState {
            networks: self.networks()?.into_iter().map(|network| (network.name.clone(), network.wanted)).collect(),
            volumes: self.observed_volumes()?,
            files: self.store.versions()?.iter().map(|version| version.as_str().to_owned()).collect::<BTreeSet<_>>(),
            release: self.current_release(project)?.map(|release| release.id),
            ..ObservedState::default()
        };
        for record in self.records().list()?.into_values() {
            match record.container.labels.get(label::PROJECT) {
                Some(owner) if owner == project => {
                    let container = self.observed_container(record)?;
                    observed.containers.push(container);
                }
                owner => {
                    let whose = owner.map_or("a container of no project".to_owned(), |o| format!("project {o}"));
                    observed.add_foreign(&record.name, &record.container, whose);
                }
            }
        }
        observed.containers.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(observed)
    }

    fn observed_container(&self, record: ContainerRecord) -> Result<ObservedContainer> {
        let state = self.state(&record.id)?;
        let status = state.as_ref().map_or(Status::Created, |state| state.actual_status());
        let code = state.as_ref().map_or(0, |state| state.last_exit_code());
        let health = state.and_then(|state| state.health).map(|health| match health.status {
            HealthStatus::Starting => Health::Starting,
            HealthStatus::Healthy => Health::Healthy,
            HealthStatus::Unhealthy => Health::Unhealthy,
        });
        Ok(ObservedContainer {
            id: record.id,
            name: record.name,
            container: record.container,
            image: record.image,
            state: match status {
                Status::Created => State::Created,
                Status::Running => State::Running,
                Status::Paused => State::Paused,
                Status::Restarting => State::Restarting,
                Status::Exited => State::Exited { code },
                Status::Lost => State::Dead,
            },
            health,
        })
    }

    fn observed_volumes(&self) -> Result<BTreeMap<String, carrack_plan::Volume>> {
        let mut volumes = BTreeMap::new();
        for (_, record) in self.store.volumes()? {
            let volume = carrack_plan::Volume {
                name: record.name.clone(),
                labels: record.labels.clone(),
                driver_options: record.options.clone(),
                ..carrack_plan::Volume::default()
            };
            volumes.insert(record.name, volume);
        }
        Ok(volumes)
    }
}
