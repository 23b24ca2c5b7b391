//! Projects: from their files to running containers and back, by plans.

mod inputs;
mod observe;
mod perform;
mod release;
mod services;
mod status;

use std::collections::BTreeMap;

use carrack_compose::Project;
use carrack_diag::{Diagnostic, Diagnostics, Result};
use carrack_plan::{Desired, DownOptions, Image, Operation, Options, Plan, Release, reconcile};
use carrack_store::{Guard, Lock};

pub use status::{ServiceStatus, StackStatus};

use crate::apply::{self, Executor, Watch};
use crate::codes;
use crate::engine::{Engine, LOCK_WAIT, now};
use crate::journal::{Journal, Outcome};
use perform::Contents;

/// What is asked of `up` and `plan` beside the project.
#[derive(Debug, Clone, Default)]
pub struct UpOptions {
    /// What the reconciler is told.
    pub reconcile: Options,
    /// Numbers of replicas by service, where the command line gives them.
    pub scale: BTreeMap<String, u32>,
    /// The caller's environment, for secrets and configs that come from it.
    pub environment: BTreeMap<String, String>,
    /// The commit of the project's files.
    pub commit: Option<String>,
    /// What is known of images that will be built before; of plans that are only shown.
    pub forecast: Forecast,
}

/// What builds before an apply will come to, by service.
#[derive(Debug, Clone, Default)]
pub struct Forecast {
    /// The image will be this one: all of its steps are cached.
    pub known: BTreeMap<String, Image>,
    /// The image can't be known before it is built, and why.
    pub unknown: BTreeMap<String, String>,
    /// What is to be said of builds beside.
    pub notes: Vec<String>,
}

/// What an apply did.
#[derive(Debug, Clone)]
pub struct Applied {
    /// What was done; empty where nothing was to do.
    pub plan: Plan,
    /// The release that is deployed now.
    pub release: Option<Release>,
    /// What became of an earlier apply that was found interrupted (I-3).
    pub settled: Option<Outcome>,
}

impl Engine {
    /// What `up` would do. Reads only (I-5). Images that are not here yet are counted on, as far as they are foretold.
    pub fn plan_up(&self, project: &Project, options: &UpOptions) -> Result<Plan, Diagnostics> {
        let (mut inputs, _) = self.inputs(project, options)?;
        inputs.provisional = true;
        inputs.images.extend(options.forecast.known.clone());
        inputs.unbuilt.clone_from(&options.forecast.unknown);
        let desired = carrack_plan::lower(project, &inputs)?;
        let observed = self.observe(&project.name).map_err(|error| vec![*error])?;
        let mut plan = reconcile(&desired, &observed, &options.reconcile)?;
        plan.notes.extend(options.forecast.notes.iter().cloned());
        Ok(plan)
    }

    /// Brings the project to what its files say. Its images are there already.
    pub fn up(&self, project: &Project, options: &UpOptions, watch: &Watch<'_>) -> Result<Applied, Diagnostics> {
        let one = |error: Box<Diagnostic>| vec![*error];
        let guard = self.lock_stack(&project.name).map_err(one)?;
        let settled = self.settle(&project.name, &guard, watch).map_err(one)?;
        let (desired, contents) = self.desired(project, options)?;
        let observed = self.observe(&project.name).map_err(one)?;
        let mut plan = reconcile(&desired, &observed, &options.reconcile)?;
        stamp(&mut plan, options.commit.as_deref());
        self.apply_plan(plan, settled, &contents, &guard, watch).map_err(one)
    }

    /// What `down` would do. Reads only.
    pub fn plan_down(&self, name: &str, project: Option<&Project>, options: &DownOptions) -> Result<Plan> {
        let observed = self.observe(name)?;
        let inputs = UpOptions::default();
        let desired = project.and_then(|project| self.desired(project, &inputs).ok()).map(|(desired, _)| desired);
        let desired = desired.or(self.current_release(name)?.map(|release| release.content));
        Ok(carrack_plan::down(name, desired.as_ref(), &observed, options))
    }

    /// Takes a project down; its files need not be there any more.
    pub fn down(
        &self,
        name: &str,
        project: Option<&Project>,
        options: &DownOptions,
        watch: &Watch<'_>,
    ) -> Result<Applied> {
        let guard = self.lock_stack(name)?;
        let settled = self.settle(name, &guard, watch)?;
        let plan = self.plan_down(name, project, options)?;
        self.apply_plan(plan, settled, &Contents::new(), &guard, watch)
    }

    /// What a rollback would do. Reads only.
    pub fn plan_rollback(&self, name: &str, number: Option<u64>) -> Result<(Release, Plan), Diagnostics> {
        let one = |error: Box<Diagnostic>| vec![*error];
        let release = self.release(name, number).map_err(one)?;
        let observed = self.observe(name).map_err(one)?;
        let options = Options { remove_orphans: true, ..Options::default() };
        let plan = reconcile(&release.content, &observed, &options)?;
        Ok((release, plan))
    }

    /// Brings an earlier release back: model, images, environment, configs, secrets. Data stays (I-2, M3).
    pub fn rollback(&self, name: &str, number: Option<u64>, watch: &Watch<'_>) -> Result<Applied, Diagnostics> {
        let one = |error: Box<Diagnostic>| vec![*error];
        let guard = self.lock_stack(name).map_err(one)?;
        let settled = self.settle(name, &guard, watch).map_err(one)?;
        let (release, mut plan) = self.plan_rollback(name, number)?;
        stamp(&mut plan, release.commit.as_deref());
        for node in &mut plan.nodes {
            if let Operation::RecordRelease { release: recorded } = &mut node.op {
                recorded.message = format!("rollback to release {}", release.number);
            }
        }
        self.apply_plan(plan, settled, &Contents::new(), &guard, watch).map_err(one)
    }

    /// Finishes or undoes what an interrupted apply of the project left (I-3).
    pub(crate) fn settle(&self, name: &str, guard: &Guard, watch: &Watch<'_>) -> Result<Option<Outcome>> {
        let folder = self.store.stack_dir(name)?;
        let Some(mut journal) = Journal::interrupted(&folder)? else { return Ok(None) };
        self.with_executor(&Contents::new(), guard, watch, |executor| apply::settle(&mut journal, executor)).map(Some)
    }

    fn apply_plan(
        &self,
        plan: Plan,
        settled: Option<Outcome>,
        contents: &Contents,
        guard: &Guard,
        watch: &Watch<'_>,
    ) -> Result<Applied> {
        let project = plan.project.clone();
        for node in &plan.nodes {
            if let Operation::CreateContainer { container, .. } = &node.op {
                crate::container::check_runtime(container)?;
            }
        }
        if !plan.is_empty() {
            let mut journal = Journal::begin(&self.store.stack_dir(&project)?, plan.clone(), now())?;
            self.with_executor(contents, guard, watch, |executor| apply::apply(&mut journal, executor))?;
        }
        Ok(Applied { release: self.current_release(&project)?, plan, settled })
    }

    fn with_executor<T>(
        &self,
        contents: &Contents,
        guard: &Guard,
        watch: &Watch<'_>,
        act: impl FnOnce(Executor<'_>) -> Result<T>,
    ) -> Result<T> {
        let perform = |operation: &Operation| self.perform(contents, operation);
        let commit = |operation: &Operation| self.commit(guard, operation);
        act(Executor { perform: &perform, commit: &commit, watch })
    }

    pub(crate) fn lock_stack(&self, name: &str) -> Result<Guard> {
        self.store.lock(Lock::Stack(name.to_owned()), LOCK_WAIT)
    }

    /// The state that the files ask for, and the contents of secrets and configs that go with it.
    fn desired(&self, project: &Project, options: &UpOptions) -> Result<(Desired, Contents), Diagnostics> {
        let (inputs, contents) = self.inputs(project, options)?;
        carrack_plan::lower(project, &inputs).map(|desired| (desired, contents))
    }
}

/// The release of a plan remembers the commit it was made from.
fn stamp(plan: &mut Plan, commit: Option<&str>) {
    for node in &mut plan.nodes {
        if let Operation::RecordRelease { release } = &mut node.op {
            release.commit = commit.map(str::to_owned);
        }
    }
}

/// Where Docker holds something of a project, `up` goes no further unasked (J9).
pub fn docker_holds(holdings: &[String], project: &str) -> Option<Diagnostic> {
    if holdings.is_empty() {
        return None;
    }
    let message = format!("Docker holds containers or volumes of the project {project}");
    let mut diagnostic = Diagnostic::error(&codes::DOCKER_HOLDS_PROJECT, message);
    for holding in holdings.iter().take(8) {
        diagnostic = diagnostic.cause(format!("Docker has the {holding}"));
    }
    Some(
        diagnostic
            .hint("nothing of Docker's was touched; its data is not in carrack's volumes")
            .hint("to start with empty volumes all the same: `carrack up --fresh`"),
    )
}

impl Engine {
    /// A container of a service beside its replicas, for `run`: without published ports, restarts and fixed addresses.
    /// Networks, volumes and files that it needs are there afterwards.
    pub fn one_off(
        &self,
        project: &Project,
        service: &str,
        options: &UpOptions,
    ) -> Result<carrack_specgen::Container, Diagnostics> {
        use carrack_plan::label;
        use carrack_specgen::container::{NetworkMode, RestartPolicy};

        let one = |error: Box<Diagnostic>| vec![*error];
        // The caller's options may be about what it depends on.
        let alone = Options { services: vec![service.to_owned()], without_dependencies: true, ..Options::default() };
        let options = UpOptions { reconcile: alone, environment: options.environment.clone(), ..UpOptions::default() };
        let (inputs, contents) = self.inputs(project, &options)?;
        let mut only = project.clone();
        only.services.retain(|name, _| name == service);
        let desired = carrack_plan::lower(&only, &inputs)?;
        // `up` made them for the dependencies, perhaps with what another file says of them: they serve as they are.
        let existing = self.networks().map_err(one)?;
        let is_missing = |name: &str| existing.iter().all(|view| view.wanted.name != name);
        for network in desired.networks.values().filter(|network| !network.external && is_missing(&network.name)) {
            self.create_network(network).map_err(one)?;
        }
        for volume in desired.volumes.values().filter(|volume| !volume.external) {
            self.create_volume(Some(&volume.name), volume.labels.clone(), volume.driver_options.clone())
                .map_err(one)?;
        }
        for content in contents.values() {
            self.store.put_version(content).map_err(one)?;
        }
        let mut container = carrack_plan::container(project, &project.services[service], 1, &inputs)?;
        let id = crate::container::new_id().map_err(one)?;
        container.name = format!("{}-{service}-run-{}", project.name, &id[..12]);
        container.labels.insert(label::ONE_OFF.into(), "True".into());
        container.ports.clear();
        container.restart = RestartPolicy::No;
        if let NetworkMode::Networks(attachments) = &mut container.network {
            for attachment in attachments {
                attachment.aliases.clear();
                attachment.ipv4 = None;
                attachment.ipv6 = None;
            }
        }
        Ok(container)
    }
}
