//! Devices by their names in the Container Device Interface (CDI 1.1, `SPEC.md`): a vendor's file says what a container that
//! gets one has to be given.

use std::path::Path;

use carrack_compose::yaml;
use carrack_diag::{Diagnostic, Result};
use carrack_oci::runtime::Mount;
use carrack_specgen::{Container, ResolvedDevice};
use serde::Deserialize;
use serde_json::Value;

use super::devices;
use crate::codes;

/// Where the files are; what the later folder says of a device goes.
const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// A file of a vendor's. Whatever it says beyond this is no part of the specification.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Specification {
    #[serde(rename = "cdiVersion")]
    _version: String,
    kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: Value,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Device {
    name: String,
    #[serde(default, rename = "annotations")]
    _annotations: Value,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<DeviceMount>,
    hooks: Vec<Value>,
    net_devices: Vec<Value>,
    intel_rdt: Option<Value>,
    additional_gids: Vec<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Node {
    path: String,
    host_path: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    major: Option<i64>,
    minor: Option<i64>,
    file_mode: Option<u32>,
    permissions: Option<String>,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct DeviceMount {
    host_path: String,
    container_path: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default, rename = "type")]
    kind: String,
}

/// What devices bring beside what can be said of a container.
#[derive(Debug, Default)]
pub(super) struct Brought {
    pub(super) nodes: Vec<ResolvedDevice>,
    pub(super) mounts: Vec<Mount>,
}

/// Looks the container's devices up, as they are now, and gives it their variables and groups.
pub(super) fn inject(container: &mut Container) -> Result<Brought> {
    inject_from(container, &FOLDERS.map(Path::new))
}

fn inject_from(container: &mut Container, folders: &[&Path]) -> Result<Brought> {
    let mut brought = Brought::default();
    if container.cdi_devices.is_empty() {
        return Ok(brought);
    }
    // What may say a device's name last is looked at first.
    let specifications: Vec<Vec<(String, Specification)>> =
        folders.iter().rev().map(|folder| read_folder(folder)).collect::<Result<_>>()?;
    let mut general = Vec::new();
    for name in container.cdi_devices.clone() {
        let (kind, device) = name.split_once('=').unwrap_or((&name, ""));
        let found = specifications.iter().find_map(|folder| {
            let in_folder: Vec<_> = folder
                .iter()
                .filter(|(_, one)| one.kind == kind)
                .filter_map(|(path, one)| Some((path, one, one.devices.iter().find(|known| known.name == device)?)))
                .collect();
            (!in_folder.is_empty()).then_some(in_folder)
        });
        let (path, specification, device) = match found.as_deref() {
            Some([(path, specification, device)]) => (*path, *specification, *device),
            Some([(first, ..), (second, ..), ..]) => {
                return Err(wrong(&name, format!("{first} and {second} both say what it is")).boxed());
            }
            _ => {
                let known = specifications.iter().flatten().filter(|(_, one)| one.kind == kind);
                let names: Vec<&str> = known.flat_map(|(_, one)| &one.devices).map(|one| one.name.as_str()).collect();
                let cause = match names.as_slice() {
                    [] => format!("no file in {} is of the kind {kind}", FOLDERS.join(" or ")),
                    names => format!("{kind} has {}", names.join(", ")),
                };
                return Err(wrong(&name, cause).boxed());
            }
        };
        // What a file says of all its devices is given once, and before what it says of one.
        if !general.contains(&path) {
            general.push(path);
            apply(&name, path, &specification.container_edits, container, &mut brought)?;
        }
        apply(&name, path, &device.container_edits, container, &mut brought)?;
    }
    Ok(brought)
}

fn apply(name: &str, path: &str, edits: &Edits, container: &mut Container, brought: &mut Brought) -> Result<()> {
    let asks_for = [
        (!edits.hooks.is_empty(), "hooks: programs of the host's that would change the container as root"),
        (!edits.net_devices.is_empty(), "network devices of the host's"),
        (edits.intel_rdt.is_some(), "a class of the processor's cache"),
    ];
    if let Some((_, what)) = asks_for.iter().find(|(asked, _)| *asked) {
        return Err(Diagnostic::error(&codes::CDI_REFUSED, format!("the device {name} is refused"))
            .cause(format!("{path} asks for {what}, which carrack gives to none"))
            .hint("give its nodes and files themselves: --device /dev/…, --volume …")
            .boxed());
    }
    for entry in &edits.env {
        let (key, value) = entry.split_once('=').unwrap_or((entry, ""));
        container.env.insert(key.to_owned(), Some(value.to_owned()));
    }
    container.group_add.extend(edits.additional_gids.iter().filter(|gid| **gid != 0).map(u32::to_string));
    for node in &edits.device_nodes {
        brought.nodes.push(resolved(name, node)?);
    }
    for mount in &edits.mounts {
        let mut options = mount.options.clone();
        let kind = if mount.kind.is_empty() { "bind" } else { &mount.kind };
        if kind == "bind" && !options.iter().any(|option| option == "bind" || option == "rbind") {
            options.push("rbind".into());
        }
        let inside = mount.container_path.split('/').any(|part| !part.is_empty() && part != "." && part != "..");
        let climbs = mount.container_path.split('/').any(|part| part == "..");
        if !mount.container_path.starts_with('/') || climbs || !inside {
            return Err(wrong(name, format!("{path} mounts onto {}", mount.container_path)).boxed());
        }
        brought.mounts.push(Mount {
            destination: mount.container_path.clone(),
            kind: kind.to_owned(),
            source: mount.host_path.clone(),
            options,
            uid_mappings: Vec::new(),
            gid_mappings: Vec::new(),
        });
    }
    Ok(())
}

/// The node as the host has it, where the file says nothing else.
fn resolved(name: &str, given: &Node) -> Result<ResolvedDevice> {
    let source = given.host_path.as_ref().unwrap_or(&given.path);
    let mut node = devices::node(Path::new(source), &given.path)
        .map_err(|error| wrong(name, format!("{source}: {error}")).boxed())?;
    let differs = given.kind.as_ref().is_some_and(|kind| *kind != node.kind && !(kind == "u" && node.kind == "c"))
        || given.major.is_some_and(|major| major != 0 && major != node.major)
        || given.minor.is_some_and(|minor| given.major.is_some_and(|major| major != 0) && minor != node.minor);
    if differs {
        return Err(wrong(name, format!("{source} is another device than its file says: make the file anew")).boxed());
    }
    node.file_mode = given.file_mode.or(node.file_mode);
    node.uid = given.uid.or(node.uid);
    node.gid = given.gid.or(node.gid);
    let access = given.permissions.clone().unwrap_or_default();
    let is_known = access.bytes().all(|byte| b"rwm".contains(&byte));
    if !is_known {
        return Err(wrong(name, format!("`{access}` are no rights on {source}")).boxed());
    }
    Ok(ResolvedDevice { node, access: if access.is_empty() { "rwm".into() } else { access } })
}

/// The specifications of a folder, in the order of their names. A file that can't be read is told where a device is asked
/// for: it may be the one that has it.
fn read_folder(folder: &Path) -> Result<Vec<(String, Specification)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if !path.extension().is_some_and(|extension| extension == "json" || extension == "yaml") {
            continue;
        }
        let shown = path.display().to_string();
        let failed = |cause: String| {
            Diagnostic::error(&codes::CDI, format!("can't read the device specification {shown}")).cause(cause).boxed()
        };
        let text = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
        let specification = parse(&shown, &text).map_err(failed)?;
        all.push((shown, specification));
    }
    all.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(all)
}

fn parse(shown: &str, text: &str) -> std::result::Result<Specification, String> {
    let value = yaml(shown, text).map_err(|error| error.message.clone())?;
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// A target of `fuzz/`: a file whose devices a container is given, all of them.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(specification) = parse("/etc/cdi/a.yaml", text) else { return };
    let (mut container, mut brought) = (Container::default(), Brought::default());
    let edits = specification.devices.iter().map(|device| &device.container_edits);
    for edits in edits.chain([&specification.container_edits]) {
        let given = apply("a/b=c", "/etc/cdi/a.yaml", edits, &mut container, &mut brought);
        assert!(given.is_err() || edits.hooks.is_empty(), "a program of the host's would run as root");
    }
}

fn wrong(name: &str, cause: String) -> Diagnostic {
    Diagnostic::error(&codes::CDI, format!("can't give the container the device {name}")).cause(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(devices: &[&str]) -> Container {
        Container { cdi_devices: devices.iter().map(|name| (*name).to_owned()).collect(), ..Container::default() }
    }

    #[test]
    fn the_later_folder_s_file_says_what_a_device_is() {
        let dir = tempfile::tempdir().unwrap();
        let folders = [dir.path().join("etc"), dir.path().join("run")];
        for folder in &folders {
            std::fs::create_dir(folder).unwrap();
        }
        let folders: Vec<&Path> = folders.iter().map(std::path::PathBuf::as_path).collect();
        let json = r#"{"cdiVersion": "0.6.0", "kind": "shop.example/null", "devices": [
            {"name": "one", "containerEdits": {"env": ["ONE=1"], "deviceNodes": [
                {"path": "/dev/shop", "hostPath": "/dev/null", "fileMode": 384, "gid": 7, "permissions": "r"}]}},
            {"name": "hooked", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/x"}]}},
            {"name": "gone", "containerEdits": {"deviceNodes": [{"path": "/dev/nobody"}]}}],
            "containerEdits": {"env": ["ALL=1"], "additionalGids": [7],
                "mounts": [{"hostPath": "/usr", "containerPath": "/opt/shop", "options": ["ro", "nosuid"]}]}}"#;
        std::fs::write(folders[0].join("shop.json"), json).unwrap();
        let mut container = asked(&["shop.example/null=one", "shop.example/null=one"]);
        let brought = inject_from(&mut container, &folders).unwrap();
        assert_eq!(container.env.keys().collect::<Vec<_>>(), ["ALL", "ONE"]);
        assert_eq!(container.group_add, ["7"]);
        let node = &brought.nodes[0];
        assert_eq!((node.node.path.as_str(), node.node.major, node.node.minor), ("/dev/shop", 1, 3));
        assert_eq!((node.node.file_mode, node.node.gid, node.access.as_str()), (Some(0o600), Some(7), "r"));
        assert_eq!(brought.mounts[0].options, ["ro", "nosuid", "rbind"]);
        let refused = |name: &str| inject_from(&mut asked(&[name]), &folders).unwrap_err();
        assert_eq!(refused("shop.example/null=hooked").code.id, "engine/device-refused");
        assert_eq!(refused("shop.example/null=gone").code.id, "engine/device");
        assert_eq!(refused("shop.example/null=two").causes, ["shop.example/null has one, hooked, gone"]);
        assert_eq!(refused("other.example/x=y").code.id, "engine/device");
        // In YAML, and with less.
        let yaml =
            "cdiVersion: '0.6.0'\nkind: shop.example/null\ndevices:\n- name: one\n  containerEdits: {env: [LATE=1]}\n";
        std::fs::write(folders[1].join("shop.yaml"), yaml).unwrap();
        let mut container = asked(&["shop.example/null=one"]);
        assert!(inject_from(&mut container, &folders).unwrap().nodes.is_empty());
        assert_eq!(container.env.keys().collect::<Vec<_>>(), ["LATE"]);
        std::fs::write(folders[1].join("twice.yaml"), yaml).unwrap();
        assert_eq!(refused("shop.example/null=one").code.id, "engine/device");
        std::fs::write(folders[1].join("twice.yaml"), "kind: [").unwrap();
        assert_eq!(refused("shop.example/null=one").code.id, "engine/device");
        std::fs::write(folders[1].join("twice.yaml"), format!("{yaml}more: 1\n")).unwrap();
        assert!(refused("shop.example/null=one").causes[0].contains("more"));
    }
}
