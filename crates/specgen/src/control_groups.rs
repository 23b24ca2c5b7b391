//! What a container sees of the control groups: its own, and no name of another's.
//!
//! A v1 hierarchy shows whoever has not joined a group of it the groups of the whole host. Joining costs a start more than
//! all else of it where the machine is busy, so that a container without limits joins none that it need not and sees none;
//! one with limits joins all, as runc does, because programs that adapt to them (Java's among them) look for each.

use carrack_oci::runtime::{Cpu, Memory, Mount, Spec};

use crate::facts::{Cgroups, Hierarchy};
use crate::init_plan::{InitStep, MountAttributes, MountSource, MountStep, Propagation};

/// Whether the container's processes go into a group of its own in every v1 hierarchy, not only where they have to.
pub fn joins_every_hierarchy(spec: &Spec) -> bool {
    let limited = spec.linux.resources.as_ref().is_some_and(|resources| {
        resources.memory.as_ref().is_some_and(|memory| *memory != Memory::default())
            || resources.cpu.as_ref().is_some_and(|cpu| *cpu != Cpu::default())
            || resources.pids.is_some()
            || resources.block_io.is_some()
    });
    let is_writable = |mount: &Mount| mount.kind == "cgroup" && !mount.options.iter().any(|option| option == "ro");
    limited || !has_own_view(spec) || spec.mounts.iter().any(is_writable)
}

/// Whether its own groups are the roots of what it sees.
fn has_own_view(spec: &Spec) -> bool {
    spec.linux.namespaces.iter().any(|namespace| namespace.kind == "cgroup")
}

/// The mounts of one that the specification has, at `target`.
pub(crate) fn mount_steps(
    target: &str,
    attributes: MountAttributes,
    spec: &Spec,
    cgroups: &Cgroups,
    steps: &mut Vec<InitStep>,
) {
    let step = |target: String, source, attributes| {
        InitStep::Mount(MountStep { target, source, attributes, propagation: Propagation::default(), identities: None })
    };
    let new = |kind: &str, options| MountSource::FileSystem { kind: kind.into(), source: kind.into(), options };
    let hierarchies = match cgroups {
        Cgroups::V2 => return steps.push(step(target.to_owned(), new("cgroup2", Vec::new()), attributes)),
        Cgroups::V1 { hierarchies } => hierarchies,
    };
    let writable = MountAttributes { read_only: false, ..attributes };
    steps.push(step(target.to_owned(), new("tmpfs", vec![("mode".into(), Some("755".into()))]), writable));
    let joins_every = joins_every_hierarchy(spec);
    for hierarchy in hierarchies.iter().filter(|hierarchy| joins_every || hierarchy.is_always_joined) {
        let folder = hierarchy.folder();
        let source = if has_own_view(spec) {
            new("cgroup", hierarchy.options.iter().map(|option| parameter(option)).collect())
        } else {
            own_group(hierarchy, spec)
        };
        steps.push(step(format!("{target}/{folder}"), source, attributes));
        // Programs look for each controller by its own name.
        for option in hierarchy.options.iter().filter(|option| *option != folder && !option.contains('=')) {
            steps.push(InitStep::Symlink { link: format!("{target}/{option}"), target: folder.to_owned() });
        }
    }
}

/// In the host's view a new mount would begin at the host's root.
fn own_group(hierarchy: &Hierarchy, spec: &Spec) -> MountSource {
    let path = format!("{}/{}", hierarchy.mountpoint, spec.linux.cgroups_path.trim_start_matches('/'));
    MountSource::Bind { path, subpath: String::new(), recursive: false }
}

fn parameter(option: &str) -> (String, Option<String>) {
    match option.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (option.to_owned(), None),
    }
}
