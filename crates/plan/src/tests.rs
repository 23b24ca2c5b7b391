//! A machine is simulated: plans are executed on the observed state, and a second reconcile has nothing to do.

mod lowering;
mod random;
mod scenario;

use std::collections::BTreeMap;

use carrack_compose::{LoadOptions, Loaded, Project};
use carrack_diag::{Rendering, SourceMap};
use carrack_oci::Digest;

use crate::*;

/// Loads one Compose file of the project `shop` in /srv/shop; it has to be free of errors.
fn project(text: &str) -> Project {
    let mut sources = SourceMap::new();
    let file = sources.add("compose.yaml", text);
    let options = LoadOptions {
        files: vec![file],
        project_directory: "/srv/shop".into(),
        read: BTreeMap::from([("/srv/shop/.env".to_owned(), None)]),
        ..LoadOptions::default()
    };
    match carrack_compose::load(&sources, &carrack_compose::Env::new(), &options) {
        Loaded::Done { project: Some(project), .. } => *project,
        Loaded::Done { diagnostics, .. } => {
            let text = |it| carrack_diag::text(it, &sources, Rendering::default());
            panic!("{}", diagnostics.iter().map(text).collect::<String>())
        }
        Loaded::Needs(needs) => panic!("{needs:?}"),
    }
}

/// Every image is here, and every secret and config has a version made of its name and `generation`.
fn inputs(project: &Project, generation: &str) -> Inputs {
    let image = |service: &carrack_compose::project::Service| Image {
        id: Digest::of(image_name(project, service)),
        has_healthcheck: false,
    };
    let version = |name: &String| (name.clone(), format!("{name}-{generation}"));
    Inputs {
        images: project.services.values().map(|service| (service.name.clone(), image(service))).collect(),
        secrets: project.secrets.keys().map(version).collect(),
        configs: project.configs.keys().map(version).collect(),
        ..Inputs::default()
    }
}

fn desired(text: &str) -> Desired {
    let project = project(text);
    lower(&project, &inputs(&project, "1")).expect("everything is among the inputs")
}

fn plan(desired: &Desired, observed: &ObservedState, options: &Options) -> Plan {
    let plan = reconcile(desired, observed, options).unwrap_or_else(|diagnostics| panic!("{diagnostics:?}"));
    assert!(plan.is_well_formed());
    plan
}

/// The state after `up`.
fn up(text: &str) -> (Desired, ObservedState) {
    let desired = desired(text);
    let mut machine = ObservedState::default();
    execute(&plan(&desired, &machine, &Options::default()), &mut machine);
    (desired, machine)
}

/// Does what the plan says, and fails where an operation is impossible.
fn execute(plan: &Plan, machine: &mut ObservedState) {
    assert_eq!(plan.fingerprint, machine.fingerprint(), "the plan is for another state");
    for node in plan.iter() {
        perform(&node.op, machine);
    }
}

fn perform(op: &Operation, machine: &mut ObservedState) {
    let at = |machine: &ObservedState, name: &str| {
        let position = machine.containers.iter().position(|container| container.name == name);
        position.unwrap_or_else(|| panic!("no container {name} for {op}"))
    };
    match op {
        Operation::StoreFile { file } => {
            machine.files.insert(file.version.clone());
        }
        Operation::CreateNetwork { network } => {
            assert!(machine.networks.insert(network.name.clone(), network.clone()).is_none(), "{op}");
        }
        Operation::RemoveNetwork { network } => {
            let on_it = machine.containers.iter().filter(|container| container.state.is_active());
            let on_it = on_it.filter(|container| {
                reconcile::attached_to(&container.container.network).any(|name| name == network.name)
            });
            assert_eq!(on_it.count(), 0, "{op}: containers are on it");
            machine.networks.remove(&network.name).expect("the network is there");
        }
        Operation::CreateVolume { volume } => {
            assert!(machine.volumes.insert(volume.name.clone(), volume.clone()).is_none(), "{op}");
        }
        Operation::RemoveVolume { name } => drop(machine.volumes.remove(name).expect("the volume is there")),
        Operation::CreateContainer { container, image, inherit_volumes_from } => {
            assert!(machine.containers.iter().all(|other| other.name != container.name), "{op}: the name is taken");
            for network in reconcile::attached_to(&container.network) {
                assert!(machine.networks.contains_key(network), "{op}: no network {network}");
            }
            for file in &container.files {
                assert!(machine.files.contains(&file.version), "{op}: no content of {}", file.name);
            }
            if let Some(old) = inherit_volumes_from {
                at(machine, old);
            }
            let id = Digest::of(format!("{} {}", container.name, machine.containers.len())).hex();
            machine.containers.push(ObservedContainer {
                id,
                name: container.name.clone(),
                container: (**container).clone(),
                image: *image,
                state: State::Created,
                health: None,
            });
        }
        Operation::StartContainer { name, .. } => {
            let at = at(machine, name);
            assert!(!machine.containers[at].state.is_active(), "{op}: it runs");
            let ports = |container: &ObservedContainer| -> Vec<u16> {
                container.container.ports.iter().filter_map(|port| port.host_port).collect()
            };
            let wanted = ports(&machine.containers[at]);
            for other in machine.containers.iter().filter(|other| other.state.is_active()) {
                let busy = ports(other).into_iter().find(|port| wanted.contains(port));
                assert_eq!(busy, None, "{op}: {} holds the port", other.name);
            }
            machine.containers[at].state = State::Running;
        }
        Operation::WaitFor { name, condition, .. } => {
            let at = at(machine, name);
            let container = &mut machine.containers[at];
            match condition {
                Condition::Running => assert!(container.state.is_active(), "{op}"),
                Condition::Healthy => container.health = Some(Health::Healthy),
                Condition::CompletedSuccessfully => container.state = State::Exited { code: 0 },
            }
        }
        Operation::AnnounceNames { name } | Operation::WithdrawNames { name } => {
            let at = at(machine, name);
            assert!(machine.containers[at].state.is_active(), "{op}: {name} does not run");
        }
        Operation::StopContainer { name, .. } => {
            let at = at(machine, name);
            if machine.containers[at].state.is_active() {
                machine.containers[at].state = State::Exited { code: 143 };
            }
        }
        Operation::RenameContainer { from, to } => {
            assert!(machine.containers.iter().all(|other| other.name != *to), "{op}: the name is taken");
            let at = at(machine, from);
            machine.containers[at].name = to.clone();
        }
        Operation::RemoveContainer { name, .. } => {
            let at = at(machine, name);
            assert!(!machine.containers[at].state.is_active(), "{op}: it runs");
            machine.containers.remove(at);
        }
        Operation::RecordRelease { release } => machine.release = Some(release.id),
        Operation::RetireRelease { .. } => machine.release = None,
    }
}

/// A plan's text with the ids in it masked: they are digests of everything.
fn masked(plan: &Plan, text: String) -> String {
    let mut text = text;
    for node in plan.iter() {
        match &node.op {
            Operation::RecordRelease { release } => text = text.replace(&release.id.short(), "RELEASE"),
            Operation::RenameContainer { to, .. } => text = text.replace(&to[..12], "ID"),
            _ => {}
        }
    }
    text
}

/// The plan as the operations' words, in order.
fn steps(plan: &Plan) -> Vec<String> {
    plan.iter().map(|node| node.op.to_string()).collect()
}
