//! Stopping and starting what is there, service by service, without making or removing anything.

use std::time::Duration;

use carrack_diag::{Diagnostic, Diagnostics, Result};
use carrack_plan::{Condition, ObservedContainer, dependents_first, patience_ms};

use crate::container::StopOptions;
use crate::engine::Engine;

impl Engine {
    /// Stops the containers of services, of all where none is named: dependents first, at once what does not need each
    /// other.
    pub fn stop_services(
        &self,
        project: &str,
        services: &[String],
        options: &StopOptions,
    ) -> std::result::Result<(), Diagnostics> {
        self.in_waves(project, services, false, |_, container| self.stop(&container.name, options))
    }

    /// Starts the containers of services, of all where none is named: first what others depend on, and these when it is
    /// ready.
    pub fn start_services(&self, project: &str, services: &[String]) -> std::result::Result<(), Diagnostics> {
        self.in_waves(project, services, true, |all, container| {
            for (service, condition) in container.dependencies().filter(|(_, it)| *it != Condition::Running) {
                let needed = all.iter().filter(|other| other.service() == Some(service) && !other.is_one_off());
                for other in needed {
                    let patience = Duration::from_millis(patience_ms(&other.container, condition));
                    self.wait_for(&other.name, condition, patience).map_err(|failure| {
                        failure.hint(format!("`carrack logs {}` shows all of its output", other.name)).boxed()
                    })?;
                }
            }
            self.start(&container.name)
        })
    }

    /// Acts on the replicas of services; a wave after the one before it.
    fn in_waves(
        &self,
        project: &str,
        services: &[String],
        needed_first: bool,
        act: impl Fn(&[ObservedContainer], &ObservedContainer) -> Result<()> + Sync,
    ) -> std::result::Result<(), Diagnostics> {
        let all = self.observe(project).map_err(|error| vec![*error])?.containers;
        let is_asked = |name: &str| services.is_empty() || services.iter().any(|asked| asked == name);
        let replicas = all.iter().filter(|it| !it.is_one_off() && it.service().is_some_and(is_asked));
        let mut waves = dependents_first(&replicas.collect::<Vec<_>>());
        if needed_first {
            waves.reverse();
        }
        for wave in waves {
            let (all, act) = (&all, &act);
            let errors: Vec<Diagnostic> = std::thread::scope(|scope| {
                let containers = wave.into_iter().flat_map(|(_, containers)| containers);
                let threads: Vec<_> = containers.map(|container| scope.spawn(move || act(all, container))).collect();
                threads.into_iter().filter_map(|thread| thread.join().ok()?.err()).map(|error| *error).collect()
            });
            if !errors.is_empty() {
                return Err(errors);
            }
        }
        Ok(())
    }
}
