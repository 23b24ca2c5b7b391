//! How a project is doing.

use carrack_diag::Result;
use carrack_plan::{Release, label};
use serde::Serialize;

use crate::container::ContainerView;
use crate::engine::Engine;
use crate::journal::Journal;

/// How a project is doing.
#[derive(Debug, Clone)]
pub struct StackStatus {
    /// Its name.
    pub project: String,
    /// Its containers, by service and number.
    pub containers: Vec<ContainerView>,
    /// The release that is deployed.
    pub release: Option<Release>,
    /// What an apply that was interrupted, or runs at this moment, has not finished.
    pub open: Option<String>,
}

/// A service in a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceStatus {
    /// Its name.
    pub service: String,
    /// How many containers of it run.
    pub running: usize,
    /// How many there are.
    pub containers: usize,
    /// `healthy`, `unhealthy`, `starting`, `running`, `done`, `exited`.
    pub state: String,
}

impl Engine {
    /// What is there of a project.
    pub fn status(&self, project: &str) -> Result<StackStatus> {
        let mut containers = self.project_containers(project)?;
        containers.sort_by_key(|view| (service_of(view), number_of(view)));
        let folder = self.store.stack_dir(project)?;
        let open = Journal::read(&folder)?.filter(|progress| progress.outcome.is_none()).map(|progress| {
            let (done, all) = (progress.done.len(), progress.plan.nodes.len());
            match progress.undoing {
                Some(reason) => format!("an apply is being undone ({reason})"),
                None => format!("an apply has done {done} of {all} steps"),
            }
        });
        Ok(StackStatus { project: project.to_owned(), containers, release: self.current_release(project)?, open })
    }

    /// The containers whose label names the project.
    pub fn project_containers(&self, project: &str) -> Result<Vec<ContainerView>> {
        let records = self.records().list()?.into_values();
        records
            .filter(|record| record.container.labels.get(label::PROJECT).is_some_and(|owner| owner == project))
            .map(|record| self.view(record))
            .collect()
    }
}

/// The service of a container, by its label.
pub(crate) fn service_of(view: &ContainerView) -> String {
    view.record.container.labels.get(label::SERVICE).cloned().unwrap_or_default()
}

fn number_of(view: &ContainerView) -> u32 {
    view.record.container.labels.get(label::NUMBER).and_then(|number| number.parse().ok()).unwrap_or(0)
}

impl StackStatus {
    /// One entry a service.
    pub fn services(&self) -> Vec<ServiceStatus> {
        let mut services: Vec<ServiceStatus> = Vec::new();
        for view in self.containers.iter().filter(|view| !view.is_one_off()) {
            let service = service_of(view);
            let state = match (view.status(), view.health_word()) {
                ("running", Some(health)) => health,
                ("exited", _) if view.exit_code() == 0 => "done",
                (status, _) => status,
            };
            match services.iter_mut().find(|known| known.service == service) {
                Some(known) => {
                    known.containers += 1;
                    known.running += usize::from(view.is_active());
                    if badness(state) > badness(&known.state) {
                        state.clone_into(&mut known.state);
                    }
                }
                None => services.push(ServiceStatus {
                    service,
                    running: usize::from(view.is_active()),
                    containers: 1,
                    state: state.to_owned(),
                }),
            }
        }
        services
    }
}

/// The worst replica speaks for its service.
fn badness(state: &str) -> u8 {
    match state {
        "done" => 0,
        "healthy" => 1,
        "running" => 2,
        "starting" => 3,
        "created" => 4,
        "restarting" => 5,
        "unhealthy" => 6,
        _ => 7,
    }
}
