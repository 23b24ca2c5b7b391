//! Devices of the host that a container gets.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use carrack_diag::Result;
use carrack_oci::runtime::Device;
use carrack_specgen::container::DeviceMapping;
use carrack_specgen::{Container, ResolvedDevice};

use crate::engine::host_error;

/// The nodes behind the device mappings; a privileged container gets all of the host's.
pub(super) fn resolve(container: &Container) -> Result<Vec<ResolvedDevice>> {
    let mut devices = Vec::new();
    if container.privileged {
        collect(Path::new("/dev"), &mut devices);
    }
    for mapping in &container.devices {
        let failed = |error| host_error(format!("{}: can't use the device {}", container.name, mapping.source), error);
        if Path::new(&mapping.source).is_dir() {
            let count = devices.len();
            folder(mapping, &mut devices);
            if devices.len() == count {
                return Err(failed(std::io::Error::other("there is no device in it")));
            }
            continue;
        }
        let node = node(Path::new(&mapping.source), &mapping.target).map_err(failed)?;
        devices.push(ResolvedDevice { node, access: mapping.access.clone() });
    }
    Ok(devices)
}

/// All nodes below a folder, at the same places below the target, as in Docker.
fn folder(mapping: &DeviceMapping, devices: &mut Vec<ResolvedDevice>) {
    let mut found = Vec::new();
    collect(Path::new(&mapping.source), &mut found);
    for mut device in found {
        let below = device.node.path.strip_prefix(mapping.source.trim_end_matches('/')).unwrap_or_default();
        device.node.path = format!("{}{below}", mapping.target.trim_end_matches('/'));
        device.access.clone_from(&mapping.access);
        devices.push(device);
    }
}

/// The numbers of the block devices that are limited.
pub(super) fn block_numbers(container: &Container) -> Result<BTreeMap<String, (i64, i64)>> {
    let numbers = container.resources.block.devices().map(|path| {
        let node = node(Path::new(path), path).and_then(|node| match node.kind.as_str() {
            "b" => Ok((path.to_owned(), (node.major, node.minor))),
            _ => Err(std::io::Error::other("it is no block device")),
        });
        node.map_err(|error| host_error(format!("{}: can't limit the device {path}", container.name), error))
    });
    numbers.collect()
}

/// What every container has of its own below /dev, privileged or not: terminals, shared memory, queues, and the nodes
/// that the runtime specification asks for (config-linux.md, default devices).
const OWN: [&str; 12] =
    ["pts", "ptmx", "shm", "mqueue", "console", "fd", "null", "zero", "full", "random", "urandom", "tty"];

/// Links lead to nodes that are found themselves.
fn collect(folder: &Path, devices: &mut Vec<ResolvedDevice>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if folder == Path::new("/dev") && OWN.iter().any(|own| entry.file_name() == *own) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&path, devices),
            Ok(kind) if kind.is_char_device() || kind.is_block_device() => {
                if let Ok(node) = node(&path, &path.to_string_lossy()) {
                    devices.push(ResolvedDevice { node, access: "rwm".into() });
                }
            }
            _ => {}
        }
    }
}

pub(super) fn node(source: &Path, target: &str) -> std::io::Result<Device> {
    let metadata = std::fs::metadata(source)?;
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return Err(std::io::Error::other("it is no device")),
    };
    Ok(Device {
        path: target.to_owned(),
        kind: kind.to_owned(),
        major: rustix::fs::major(metadata.rdev()).into(),
        minor: rustix::fs::minor(metadata.rdev()).into(),
        file_mode: Some(metadata.mode() & 0o7777),
        uid: Some(metadata.uid()),
        gid: Some(metadata.gid()),
    })
}
