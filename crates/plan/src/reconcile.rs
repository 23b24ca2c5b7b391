mod holdings;
mod replica;
mod resources;

use std::collections::{BTreeMap, BTreeSet};

use carrack_diag::{Diagnostic, Diagnostics, nearest};

pub use replica::patience_ms;
pub(crate) use replica::{attached_to, has_anonymous_volume, mounted};
use replica::{ready_condition, starts_first};

use crate::builder::{Builder, Reason};
use crate::compare::{self, Change};
use crate::{
    Cause, Condition, Dependency, Desired, DesiredService, Health, NodeId, ObservedContainer, ObservedState, Operation,
    Plan, Release, Replica, State, codes,
};

/// How to get to the wanted state.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only these services and what they depend on; all where empty.
    pub services: Vec<String>,
    /// Not what they depend on.
    pub without_dependencies: bool,
    /// Replace containers that are as wanted.
    pub force_recreate: bool,
    /// Leave containers alone that are otherwise than wanted.
    pub keep_changed: bool,
    /// Remove containers of services that the project does not have.
    pub remove_orphans: bool,
    /// New containers get new anonymous volumes; the old ones' are removed.
    pub renew_anonymous_volumes: bool,
    /// Create, and start nothing.
    pub without_start: bool,
    /// Wait until everything is ready.
    pub wait: bool,
    /// For each wait; where none, what the health check allows for, or ten minutes.
    pub wait_timeout_ms: Option<u64>,
    /// Between stop signal and SIGKILL; where none, the containers' own.
    pub stop_timeout_ms: Option<u64>,
}

/// What has to be done to get from what is to what is wanted. Nothing, where nothing has to.
///
/// Containers that change are renamed out of the way, stopped, and removed only after the release is recorded, so that
/// an apply that fails can go back to them.
///
/// # Errors
/// Something that the plan would need is not there or is somebody else's.
pub fn reconcile(desired: &Desired, observed: &ObservedState, options: &Options) -> Result<Plan, Diagnostics> {
    let mut reconciler = Reconciler {
        desired,
        observed,
        options,
        selected: BTreeSet::new(),
        builder: Builder::default(),
        diagnostics: Vec::new(),
        new_networks: BTreeMap::new(),
        new_volumes: BTreeMap::new(),
        stored: BTreeMap::new(),
        set_aside: BTreeMap::new(),
        freed: BTreeMap::new(),
        started: BTreeMap::new(),
        waits: BTreeMap::new(),
        replaced: BTreeSet::new(),
        removals: Vec::new(),
    };
    reconciler.select();
    reconciler.count_on_images();
    reconciler.networks();
    reconciler.volumes();
    reconciler.contested();
    for service in order(&desired.services) {
        if reconciler.selected.contains(service) {
            reconciler.service(service);
        }
    }
    reconciler.orphans();
    if options.wait && !options.without_start {
        reconciler.wait_for_all();
    }
    reconciler.commit();
    if reconciler.diagnostics.is_empty() {
        Ok(reconciler.builder.finish(&desired.project, observed))
    } else {
        Err(reconciler.diagnostics)
    }
}

/// The services, each after those it depends on. A ring, which the Compose reader refuses, is cut somewhere.
pub(crate) fn order(services: &BTreeMap<String, DesiredService>) -> Vec<&str> {
    let known = |service: &DesiredService| {
        let mut names: BTreeSet<&str> = service.dependencies.iter().map(|it| it.service.as_str()).collect();
        names.retain(|name| services.contains_key(*name));
        names.len()
    };
    let mut waiting: BTreeMap<&str, usize> =
        services.iter().map(|(name, service)| (name.as_str(), known(service))).collect();
    let mut dependents: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, service) in services {
        for dependency in &service.dependencies {
            dependents.entry(&dependency.service).or_default().insert(name);
        }
    }
    let mut free: BTreeSet<&str> = waiting.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    let mut ordered = Vec::new();
    while let Some(name) = free.pop_first().or_else(|| waiting.keys().next().copied()) {
        if waiting.remove(name).is_none() {
            continue;
        }
        ordered.push(name);
        for dependent in dependents.get(name).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    free.insert(dependent);
                }
            }
        }
    }
    ordered
}

struct Reconciler<'a> {
    desired: &'a Desired,
    observed: &'a ObservedState,
    options: &'a Options,
    selected: BTreeSet<&'a str>,
    builder: Builder,
    diagnostics: Diagnostics,
    /// The nodes that make networks, by their name.
    new_networks: BTreeMap<String, NodeId>,
    /// The nodes that make volumes, by their name.
    new_volumes: BTreeMap<String, NodeId>,
    /// The nodes that store secrets and configs, by version.
    stored: BTreeMap<String, NodeId>,
    /// Containers that were stopped early, because their network is made anew or another one gets what they hold, by
    /// id: what stopped them.
    set_aside: BTreeMap<&'a str, NodeId>,
    /// The nodes that free a port or address for another container.
    freed: BTreeMap<String, Vec<NodeId>>,
    /// The nodes after which a container runs, by its name.
    started: BTreeMap<String, NodeId>,
    waits: BTreeMap<(String, Condition), NodeId>,
    /// Services of which a container was replaced or restarted.
    replaced: BTreeSet<&'a str>,
    /// What goes once the release is recorded.
    removals: Vec<(Operation, Vec<NodeId>, Reason)>,
}

/// What is to become of one replica.
enum Action<'a> {
    Keep,
    Create,
    Start(&'a ObservedContainer),
    Restart(&'a ObservedContainer, Cause),
    Replace(&'a ObservedContainer, Cause),
}

impl<'a> Reconciler<'a> {
    fn select(&mut self) {
        let services = &self.desired.services;
        let mut wanted: Vec<&'a str> = Vec::new();
        for name in &self.options.services {
            match services.get_key_value(name) {
                Some((name, _)) => wanted.push(name),
                None => {
                    let near = nearest(name, services.keys().map(String::as_str));
                    let hint = near.map_or("`carrack config --services` lists them".into(), |near| {
                        format!("did you mean `{near}`?")
                    });
                    let message = format!("the project {} has no service `{name}`", self.desired.project);
                    self.diagnostics.push(Diagnostic::error(&codes::UNKNOWN_SERVICE, message).hint(hint));
                }
            }
        }
        if self.options.services.is_empty() {
            wanted = services.keys().map(String::as_str).collect();
        }
        while let Some(name) = wanted.pop() {
            if self.selected.insert(name) && !self.options.without_dependencies {
                let dependencies = services.get(name).map_or(&[][..], |service| &service.dependencies);
                wanted.extend(dependencies.iter().filter_map(|dependency| {
                    services.get_key_value(&dependency.service).map(|(name, _)| name.as_str())
                }));
            }
        }
    }

    fn count_on_images(&mut self) {
        for (name, why) in &self.desired.absent_images {
            self.builder.provisional = true;
            self.builder.notes.push(format!("the image {name} {why}"));
        }
    }

    fn service(&mut self, name: &'a str) {
        let Some(service) = self.desired.services.get(name) else { return };
        let mut found: Vec<&'a ObservedContainer> =
            self.observed.containers.iter().filter(|old| old.service() == Some(name) && !old.is_one_off()).collect();
        let actions: Vec<(&'a Replica, Action<'a>)> = service
            .replicas
            .iter()
            .map(|replica| {
                let old = take(&mut found, replica);
                (replica, self.action(name, service, replica, old))
            })
            .collect();
        self.count_downtime(name, service, &actions, &found);
        let gates = self.gates(name, service, &actions);
        let mut done: Vec<NodeId> = Vec::new();
        for (replica, action) in actions {
            let parallelism = service.update.parallelism as usize;
            let turn = (parallelism > 0).then(|| done.len().checked_sub(parallelism)).flatten();
            let turn = turn.and_then(|at| done.get(at)).copied();
            let reason = |cause| Reason::new(&replica.container.name, cause).at(&service.origin);
            match action {
                Action::Keep => {}
                Action::Create => {
                    let reason = reason(Cause::Missing);
                    let create = self.create(replica, None, [], &reason);
                    self.start(replica, true, gates.iter().copied().chain([create]), &reason);
                }
                Action::Start(old) => {
                    let reason = reason(Cause::NotRunning { state: old.state.to_string() });
                    self.start(replica, true, gates.iter().copied(), &reason);
                }
                Action::Restart(old, cause) => {
                    self.replaced.insert(name);
                    let reason = reason(cause);
                    let serves_on = self.serves_on(old);
                    let stop = self.stop_serving(&old.name, serves_on, gates.iter().copied().chain(turn), &reason);
                    self.start(replica, !serves_on, [stop], &reason);
                    let settled = self.settled(service, replica, stop, &reason);
                    done.push(if serves_on { self.announce(replica, settled, &reason) } else { settled });
                }
                Action::Replace(old, cause) => {
                    self.replaced.insert(name);
                    done.push(self.replace(service, replica, old, turn, &gates, &reason(cause)));
                }
            }
        }
        let wanted = u32::try_from(service.replicas.len()).unwrap_or(u32::MAX);
        for old in found {
            let reason = Reason::new(&old.name, Cause::Surplus { wanted }).at(&service.origin);
            self.remove(old, &reason);
        }
    }

    /// A service is down where for a while none of its containers runs.
    fn count_downtime(
        &mut self,
        name: &str,
        service: &DesiredService,
        actions: &[(&Replica, Action<'_>)],
        surplus: &[&ObservedContainer],
    ) {
        let active = self.observed.containers.iter().filter(|old| old.service() == Some(name) && old.state.is_active());
        let active = active.count();
        let held = |(replica, action): &&(&Replica, Action<'_>)| {
            matches!(action, Action::Replace(old, _) if old.state.is_active()) && !starts_first(service, replica)
        };
        let held = actions.iter().filter(held).count();
        let interrupted = held + actions.iter().filter(|(_, action)| matches!(action, Action::Restart(..))).count();
        let at_once = if service.update.parallelism == 0 { interrupted } else { service.update.parallelism as usize };
        let surplus = surplus.iter().filter(|old| old.state.is_active()).count();
        if active > 0 && (interrupted.min(at_once) >= active || surplus >= active) {
            self.builder.impact.downtime.insert(name.to_owned());
        }
        if service.update.start_first && held > 0 {
            let why = "only one container can have a fixed port or address";
            self.builder.notes.push(format!("{name} is replaced stop-first, not start-first: {why}"));
        }
    }

    fn action(
        &self,
        name: &str,
        service: &'a DesiredService,
        replica: &'a Replica,
        old: Option<&'a ObservedContainer>,
    ) -> Action<'a> {
        let Some(old) = old else { return Action::Create };
        let mut changes = compare::containers((&old.container, &old.image), (&replica.container, &replica.image));
        if self.desired.absent_images.contains_key(&replica.container.image) {
            // A stand-in's digest would be taken for one.
            let field = format!("image {}", replica.container.image);
            let own = changes.iter_mut().filter(|change| change.field == field);
            own.for_each(|change| (change.before, change.after) = (None, None));
        }
        if old.name != replica.container.name {
            changes.push(Change::text("name", &old.name, &replica.container.name));
        }
        let follows = |wanted: fn(&Dependency) -> bool| {
            let dependencies = service.dependencies.iter();
            let replaced = dependencies.filter(|dependency| self.replaced.contains(dependency.service.as_str()));
            replaced.filter(|dependency| wanted(dependency)).map(|dependency| dependency.service.clone()).next()
        };
        let misnamed = old.name != replica.container.name;
        if !changes.is_empty() && (!self.options.keep_changed || misnamed) {
            return Action::Replace(old, Cause::Changed { changes });
        }
        if self.set_aside.contains_key(old.id.as_str()) {
            let changes = vec![Change::unnamed("networks")];
            return Action::Replace(old, Cause::Changed { changes });
        }
        if self.options.force_recreate && self.is_asked_for(name) {
            return Action::Replace(old, Cause::Requested);
        }
        if let Some(service) = follows(|dependency| dependency.shares_namespace) {
            return Action::Replace(old, Cause::Follows { service });
        }
        let done = service.job && matches!(old.state, State::Exited { code: 0 });
        match old.state {
            State::Running | State::Restarting => match follows(|dependency| dependency.restart) {
                Some(service) => Action::Restart(old, Cause::Follows { service }),
                None => Action::Keep,
            },
            State::Paused => Action::Keep,
            _ if done || self.options.without_start => Action::Keep,
            State::Created | State::Exited { .. } | State::Dead => Action::Start(old),
        }
    }

    fn is_asked_for(&self, name: &str) -> bool {
        self.options.services.is_empty() || self.options.services.iter().any(|asked| asked == name)
    }

    /// What has to be ready before a container of the service may start.
    fn gates(&mut self, name: &str, service: &'a DesiredService, actions: &[(&Replica, Action<'_>)]) -> Vec<NodeId> {
        let starts = actions.iter().any(|(_, action)| !matches!(action, Action::Keep));
        if !starts || self.options.without_start {
            return Vec::new();
        }
        let mut gates = Vec::new();
        for dependency in &service.dependencies {
            let Some(other) = self.desired.services.get(&dependency.service) else { continue };
            for replica in &other.replicas {
                if dependency.condition == Condition::Running {
                    gates.extend(self.started.get(&replica.container.name));
                    continue;
                }
                let cause = Cause::NeededBy { service: name.to_owned(), condition: dependency.condition };
                gates.extend(self.ready(other, replica, dependency.condition, dependency.required, cause));
            }
        }
        gates
    }

    /// The node after which a container is ready. None where it is so already, or where it is not there.
    fn ready(
        &mut self,
        service: &DesiredService,
        replica: &Replica,
        condition: Condition,
        required: bool,
        cause: Cause,
    ) -> Option<NodeId> {
        let name = &replica.container.name;
        let started = self.started.get(name).copied();
        if let Some(wait) = self.waits.get(&(name.clone(), condition)) {
            return Some(*wait);
        }
        if started.is_none() {
            let old = self.observed.containers.iter().find(|old| old.name == *name)?;
            let ready = match condition {
                Condition::Running => old.state.is_active(),
                Condition::Healthy => old.state.is_active() && old.health == Some(Health::Healthy),
                Condition::CompletedSuccessfully => matches!(old.state, State::Exited { code: 0 }),
            };
            if ready {
                return None;
            }
        }
        let timeout_ms = self.options.wait_timeout_ms.unwrap_or_else(|| patience_ms(&replica.container, condition));
        let op = Operation::WaitFor { name: name.clone(), condition, timeout_ms, required };
        let reason = Reason::new(name, cause).at(&service.origin);
        let node = self.builder.add(op, started, &reason);
        self.waits.insert((name.clone(), condition), node);
        Some(node)
    }

    /// Makes a container, after what it uses.
    fn create(
        &mut self,
        replica: &Replica,
        inherit_volumes_from: Option<String>,
        after: impl IntoIterator<Item = NodeId>,
        reason: &Reason,
    ) -> NodeId {
        let container = &replica.container;
        if let Some(owner) = self.observed.taken.get(&container.name) {
            let message = format!("the container name {} is taken: {owner}", container.name);
            let mut diagnostic = Diagnostic::error(&codes::NAME_TAKEN, message);
            if let Some(span) = reason.origin.first() {
                diagnostic = diagnostic.at(*span, "wants this name");
            }
            self.diagnostics.push(diagnostic.hint(format!("remove the other one: `carrack rm -f {}`", container.name)));
        }
        let mut after: Vec<NodeId> = after.into_iter().collect();
        after.extend(attached_to(&container.network).filter_map(|name| self.new_networks.get(name)));
        after.extend(mounted(container).filter_map(|name| self.new_volumes.get(name)));
        for file in &container.files {
            let file =
                crate::FileVersion { name: file.name.clone(), version: file.version.clone(), secret: file.secret };
            after.extend(self.store(file, &reason.origin));
        }
        let op = Operation::CreateContainer {
            container: Box::new(container.clone()),
            image: replica.image,
            inherit_volumes_from,
        };
        self.builder.add(op, after, reason)
    }

    fn store(&mut self, file: crate::FileVersion, origin: &[carrack_diag::Span]) -> Option<NodeId> {
        if self.observed.files.contains(&file.version) {
            return None;
        }
        if let Some(node) = self.stored.get(&file.version) {
            return Some(*node);
        }
        let kind = if file.secret { "secret" } else { "config" };
        let reason = Reason::new(format!("{kind} {}", file.name), Cause::Missing).at(origin);
        let version = file.version.clone();
        let node = self.builder.add(Operation::StoreFile { file }, [], &reason);
        self.stored.insert(version, node);
        Some(node)
    }

    fn start(&mut self, replica: &Replica, announced: bool, after: impl IntoIterator<Item = NodeId>, reason: &Reason) {
        if self.options.without_start {
            return;
        }
        let name = replica.container.name.clone();
        let after = after.into_iter().chain(self.freed(&replica.container));
        let node = self.builder.add(Operation::StartContainer { name: name.clone(), announced }, after, reason);
        self.started.insert(name, node);
    }

    /// Puts a new container in the place of an old one. Returns the node after which the next replica may follow.
    fn replace(
        &mut self,
        service: &'a DesiredService,
        replica: &Replica,
        old: &'a ObservedContainer,
        turn: Option<NodeId>,
        gates: &[NodeId],
        reason: &Reason,
    ) -> NodeId {
        let set_aside = self.set_aside.get(old.id.as_str()).copied();
        let renamed = match set_aside {
            Some(stop) => vec![stop],
            None => self.rename(old, turn.as_slice(), reason),
        };
        let aside = set_aside_name(old);
        let inherits = (!self.options.renew_anonymous_volumes).then(|| aside.clone());
        let create = self.create(replica, inherits, renamed.iter().copied(), reason);
        let before_start: Vec<NodeId> = gates.iter().copied().chain([create]).chain(turn).collect();
        let active = old.state.is_active() && set_aside.is_none();
        let start_first = starts_first(service, replica);
        // Clients are led from the old one to others, and to the new one once it is ready.
        let gentle = active && !service.job && if start_first { has_names(old) } else { self.serves_on(old) };
        let stopped =
            (active && !start_first).then(|| self.stop_serving(&aside, gentle, before_start.iter().copied(), reason));
        let mut last = stopped.unwrap_or(create);
        if old.state.is_active() || !self.options.without_start {
            self.start(replica, !gentle, before_start.into_iter().chain(stopped), reason);
        }
        last = self.settled(service, replica, last, reason);
        if gentle {
            last = self.announce(replica, last, reason);
        }
        // The next one's turn is while clients still leave this one.
        let settled = last;
        if active && start_first {
            last = self.stop_serving(&aside, gentle, [last], reason);
        }
        let op = Operation::RemoveContainer { name: aside, anonymous_volumes: self.options.renew_anonymous_volumes };
        if self.options.renew_anonymous_volumes {
            self.note_anonymous(old);
        }
        self.removals.push((op, vec![last], reason.clone()));
        settled
    }

    /// The node after which a replica that was started by this plan is ready, as far as that can be told; else `last`.
    fn settled(&mut self, service: &DesiredService, replica: &Replica, last: NodeId, reason: &Reason) -> NodeId {
        let Some(started) = self.started.get(&replica.container.name).copied() else { return last };
        let condition = ready_condition(service, replica);
        if condition == Condition::Running {
            return started;
        }
        self.ready(service, replica, condition, true, reason.cause.clone()).unwrap_or(started)
    }

    /// Gives an old container a name that is in nobody's way, where it has one that is.
    fn rename(&mut self, old: &ObservedContainer, after: &[NodeId], reason: &Reason) -> Vec<NodeId> {
        let to = set_aside_name(old);
        if to == old.name {
            return after.to_vec();
        }
        let op = Operation::RenameContainer { from: old.name.clone(), to };
        vec![self.builder.add(op, after.iter().copied(), reason)]
    }

    fn stop(&mut self, name: &str, after: impl IntoIterator<Item = NodeId>, reason: &Reason) -> NodeId {
        self.stop_serving(name, false, after, reason)
    }

    /// Whether, while this container is down, others of its service answer to its names.
    fn serves_on(&self, old: &ObservedContainer) -> bool {
        let is_down = |service| self.builder.impact.downtime.contains(service);
        has_names(old) && old.state.is_active() && !old.service().is_some_and(is_down)
    }

    fn announce(&mut self, replica: &Replica, after: NodeId, reason: &Reason) -> NodeId {
        if self.options.without_start {
            return after;
        }
        self.builder.add(Operation::AnnounceNames { name: replica.container.name.clone() }, [after], reason)
    }

    /// Stops a container; a gentle stop has its clients go elsewhere first.
    fn stop_serving(
        &mut self,
        name: &str,
        gentle: bool,
        after: impl IntoIterator<Item = NodeId>,
        reason: &Reason,
    ) -> NodeId {
        let mut after: Vec<NodeId> = after.into_iter().collect();
        if gentle {
            after = vec![self.builder.add(Operation::WithdrawNames { name: name.to_owned() }, after, reason)];
        }
        let timeout_ms = self.options.stop_timeout_ms;
        let op = Operation::StopContainer { name: name.to_owned(), timeout_ms, withdrawn: gentle };
        self.builder.add(op, after, reason)
    }

    fn remove(&mut self, old: &'a ObservedContainer, reason: &Reason) {
        let (name, after) = match self.set_aside.get(old.id.as_str()) {
            Some(stop) => (set_aside_name(old), vec![*stop]),
            None if old.state.is_active() => {
                let is_surplus = matches!(reason.cause, Cause::Surplus { .. });
                let gentle = is_surplus && self.serves_on(old);
                (old.name.clone(), vec![self.stop_serving(&old.name, gentle, [], reason)])
            }
            None => (old.name.clone(), Vec::new()),
        };
        let op = Operation::RemoveContainer { name, anonymous_volumes: false };
        self.removals.push((op, after, reason.clone()));
    }

    fn note_anonymous(&mut self, old: &ObservedContainer) {
        if has_anonymous_volume(old) {
            self.builder.impact.data.insert(format!("{} (anonymous)", old.container.name));
        }
    }

    /// Containers of services that the project does not have.
    fn orphans(&mut self) {
        let mut noted = Vec::new();
        for old in &self.observed.containers {
            let known = old.service().is_some_and(|service| self.desired.services.contains_key(service));
            if known || old.is_one_off() {
                continue;
            }
            if self.options.remove_orphans {
                if old.state.is_active() {
                    self.builder.impact.downtime.insert(old.service().unwrap_or(&old.name).to_owned());
                }
                self.remove(old, &Reason::new(&old.name, Cause::Orphaned));
            } else {
                noted.push(old.name.as_str());
            }
        }
        if !noted.is_empty() {
            let are = if noted.len() == 1 { "is of a service" } else { "are of services" };
            self.builder.notes.push(format!(
                "{} {are} that the project does not have; `--remove-orphans` removes such containers",
                noted.join(", ")
            ));
        }
    }

    fn wait_for_all(&mut self) {
        let services: Vec<&'a str> = self.selected.iter().copied().collect();
        for service in services.into_iter().filter_map(|name| self.desired.services.get(name)) {
            for replica in &service.replicas {
                let condition = ready_condition(service, replica);
                self.ready(service, replica, condition, true, Cause::Requested);
            }
        }
    }

    /// Records the release where it is another one, and then takes away what was replaced.
    fn commit(&mut self) {
        let release = Release::new(self.result());
        let mut committed = None;
        if self.observed.release != Some(release.id) {
            let reason = Reason::new("release", Cause::Commit);
            let ends = self.builder.ends();
            let op = Operation::RecordRelease { release: Box::new(release) };
            committed = Some(self.builder.add(op, ends, &reason));
        }
        let ends = if committed.is_none() && !self.builder.is_empty() { self.builder.ends() } else { Vec::new() };
        for (op, after, reason) in std::mem::take(&mut self.removals) {
            self.builder.add(op, after.into_iter().chain(committed).chain(ends.iter().copied()), &reason);
        }
    }

    /// The state that the plan leads to: the wanted one, with services that were not selected as they are.
    fn result(&self) -> Desired {
        let mut result = self.desired.clone();
        for (name, service) in &mut result.services {
            if self.selected.contains(name.as_str()) {
                continue;
            }
            let mut replicas: Vec<Replica> = self
                .observed
                .containers
                .iter()
                .filter(|old| old.service() == Some(name) && !old.is_one_off())
                .map(|old| Replica {
                    number: old.number().unwrap_or(1),
                    image: old.image,
                    health_checked: old.health.is_some(),
                    container: old.container.clone(),
                })
                .collect();
            replicas.sort_by_key(|replica| replica.number);
            service.replicas = replicas;
            service.unresolved = false;
        }
        // What they are granted is a part of the release too, or it would not be kept for a rollback.
        let mut files: BTreeSet<crate::FileVersion> = result.files.drain(..).collect();
        let replicas = result.services.values().flat_map(|service| &service.replicas);
        files.extend(replicas.flat_map(|replica| &replica.container.files).map(|file| crate::FileVersion {
            name: file.name.clone(),
            version: file.version.clone(),
            secret: file.secret,
        }));
        result.files = files.into_iter().collect();
        result.services.retain(|name, service| self.selected.contains(name.as_str()) || !service.replicas.is_empty());
        result
    }
}

/// The observed container of a replica, taken from the list: by number, preferably with the right name.
fn take<'a>(found: &mut Vec<&'a ObservedContainer>, replica: &Replica) -> Option<&'a ObservedContainer> {
    let of_number = |old: &&ObservedContainer| old.number() == Some(replica.number);
    let named = found.iter().position(|old| of_number(old) && old.name == replica.container.name);
    let at = named.or_else(|| found.iter().position(of_number))?;
    Some(found.remove(at))
}

/// Whether others may ask for it by name.
fn has_names(old: &ObservedContainer) -> bool {
    attached_to(&old.container.network).next().is_some()
}

fn set_aside_name(old: &ObservedContainer) -> String {
    let short = old.id.get(..12).unwrap_or(&old.id);
    if old.name.starts_with(short) { old.name.clone() } else { format!("{short}_{}", old.name) }
}
