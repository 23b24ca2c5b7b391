//! What a container has of others: volumes of containers, files of images, shared memory, further names.

use std::collections::BTreeMap;
use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_network::{Endpoint, Networks};
use carrack_oci::Digest;
use carrack_specgen::container::{Attachment, IpcMode, Mount, MountSource, NetworkMode};
use carrack_specgen::init_plan::RootSource;
use carrack_specgen::{Container, Source};
use carrack_store::Snapshotter;

use super::{ContainerRecord, VolumeUse};
use crate::codes;
use crate::engine::{Engine, host_error};
use crate::network::is_meant;

/// Where shareable memory is attached below a container's run folder.
const SHARED_MEMORY: &str = "shm";
/// Docker's.
const SHARED_MEMORY_BYTES: u64 = 64 << 20;

impl Engine {
    /// Adds the volumes and binds of the containers that it takes them from, where it has nothing of its own.
    pub(super) fn take_volumes(
        &self,
        container: &mut Container,
        inherited: &mut BTreeMap<String, VolumeUse>,
    ) -> Result<()> {
        for text in container.volumes_from.clone() {
            let (name, mode) = text.split_once(':').unwrap_or((&text, ""));
            let mut read_only = false;
            for word in mode.split(',') {
                match word {
                    "ro" => read_only = true,
                    // Labels are SELinux's.
                    "" | "rw" | "z" | "Z" => {}
                    _ => return Err(unknown_mode(&text)),
                }
            }
            let other = self.find(name)?;
            for mount in other.container.mounts {
                if container.mounts.iter().any(|own| own.target == mount.target) {
                    continue;
                }
                let source = match (mount.source, other.volumes.get(&mount.target)) {
                    (MountSource::Volume { subpath, no_copy, settings, .. }, Some(used)) => {
                        let name = (!used.anonymous).then(|| used.name.clone());
                        if used.anonymous {
                            inherited.insert(mount.target.clone(), used.clone());
                        }
                        MountSource::Volume { name, subpath, no_copy, settings }
                    }
                    (bind @ MountSource::Bind { .. }, _) => bind,
                    _ => continue,
                };
                let read_only = mount.read_only || read_only;
                container.mounts.push(Mount { target: mount.target, source, read_only, identities: mount.identities });
            }
        }
        Ok(())
    }

    /// The names of the anonymous volumes that no other container has as well.
    pub(super) fn volumes_of_its_own(&self, record: &ContainerRecord) -> Result<Vec<String>> {
        let mut names: Vec<String> =
            record.volumes.values().filter(|used| used.anonymous).map(|used| used.name.clone()).collect();
        if !names.is_empty() {
            let others = self.records().list()?;
            let others = others.values().filter(|other| other.id != record.id);
            for used in others.flat_map(|other| other.volumes.values()) {
                names.retain(|name| *name != used.name);
            }
        }
        Ok(names)
    }

    /// The ids of the images that are mounted, by target.
    pub(super) fn mounted_images(&self, container: &Container) -> Result<BTreeMap<String, Digest>> {
        let mut images = BTreeMap::new();
        for mount in &container.mounts {
            if let MountSource::Image { name, .. } = &mount.source {
                images.insert(mount.target.clone(), self.store.image(name)?.id);
            }
        }
        Ok(images)
    }

    /// Where the files of a mounted image are attached, seen by the container's init only.
    pub(super) fn image_mountpoint(&self, record: &ContainerRecord, target: &str, run: &Path) -> Result<String> {
        let index = record.images.keys().position(|known| known == target).unwrap_or(0);
        let path = run.join("images").join(index.to_string());
        std::fs::create_dir_all(&path).map_err(|error| host_error(format!("can't make {}", path.display()), error))?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// The layers of mounted images, and where each is attached.
    pub(super) fn image_layers(
        &self,
        record: &ContainerRecord,
        sources: &BTreeMap<String, Source>,
    ) -> Result<Vec<(RootSource, String)>> {
        let mut layers = Vec::new();
        for (target, id) in &record.images {
            let Some(source) = sources.get(target) else { continue };
            let image = self.store.image(&id.to_string())?;
            let lower = self.store.lower_dirs(image.chain())?;
            let mut lower: Vec<String> = lower.iter().map(|path| path.to_string_lossy().into_owned()).collect();
            if lower.len() == 1 {
                // Without an upper folder the kernel wants two.
                lower.extend(self.store.lower_dirs(None)?.iter().map(|path| path.to_string_lossy().into_owned()));
            }
            let root = RootSource::Overlay { lower, upper: None, work: None, volatile: false };
            layers.push((root, source.path.clone()));
        }
        Ok(layers)
    }

    /// Host path of the memory that a container shares with others: its own, made here, or that of the one it joins.
    pub(super) fn shared_memory(&self, container: &Container, run: &Path) -> Result<Option<String>> {
        match &container.ipc {
            IpcMode::Private | IpcMode::None | IpcMode::Host => Ok(None),
            IpcMode::Shareable => {
                let path = run.join(SHARED_MEMORY);
                let bytes = container.shm_size_bytes.unwrap_or(SHARED_MEMORY_BYTES);
                attach_shared_memory(&path, bytes)
                    .map_err(|error| host_error(format!("can't make shared memory at {}", path.display()), error))?;
                Ok(Some(path.to_string_lossy().into_owned()))
            }
            IpcMode::Container(name) => {
                let other = self.find(name)?;
                if other.container.ipc != IpcMode::Shareable {
                    return Err(Diagnostic::error(
                        &codes::NOT_SHAREABLE,
                        format!("can't share the memory of {}", other.name),
                    )
                    .cause("it keeps its shared memory, semaphores and message queues to itself")
                    .hint("make it anew with --ipc shareable, or `ipc: shareable` in the Compose file")
                    .boxed());
                }
                let path = self.store.container_run_dir(&other.id)?.join(SHARED_MEMORY);
                Ok(Some(path.to_string_lossy().into_owned()))
            }
        }
    }

    /// The containers that it has further names for, by id: its name server knows them wherever they are on a network of
    /// both. As in Docker, they must run when it starts.
    pub(super) fn linked(&self, record: &ContainerRecord, attachments: &[Attachment]) -> Result<Vec<(String, String)>> {
        let mut links = Vec::new();
        for (name, alias) in &record.container.links {
            let other = self.find(name)?;
            let theirs = Networks::new(&self.store).endpoints_of(&other.id)?;
            let is_shared = |theirs: &Endpoint| {
                attachments.iter().any(|own| is_meant(&own.network, &theirs.network, &theirs.network_id))
            };
            if !theirs.iter().any(is_shared) {
                let cause = match (&other.container.network, theirs.is_empty()) {
                    (NetworkMode::Networks(_), true) => "it is not running".to_owned(),
                    _ => "the two have no network in common".to_owned(),
                };
                let message = format!("{}: can't link {} as {alias}", record.name, other.name);
                return Err(Diagnostic::error(&codes::HOST, message).cause(cause).boxed());
            }
            links.push((other.short_id().to_owned(), alias.clone()));
        }
        Ok(links)
    }
}

fn unknown_mode(text: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::HOST, format!("can't take the volumes of `{text}`"))
        .cause("what follows the name is none of ro, rw, z")
        .hint("write NAME, NAME:ro or NAME:rw")
        .boxed()
}

/// A tmpfs on the host, so that the containers that share it can bind it.
fn attach_shared_memory(path: &Path, bytes: u64) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    if carrack_sys::mount::is_attached(path) {
        return Ok(());
    }
    let memory = carrack_sys::mount::shared_memory(bytes).map_err(|refusal| refusal.errno)?;
    Ok(carrack_sys::mount::attach(&memory, path)?)
}

/// Takes shareable memory off again, where there was any.
pub(super) fn detach_shared_memory(run: &Path) {
    let path = run.join(SHARED_MEMORY);
    if carrack_sys::mount::is_attached(&path) {
        let _ = carrack_sys::mount::detach(&path);
    }
}
