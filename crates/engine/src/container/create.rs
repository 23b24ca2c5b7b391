use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use carrack_runtime::host;
use carrack_specgen::Container;
use carrack_specgen::container::{Mount, MountSource, RestartPolicy};
use carrack_store::{Durability, Guard, KeepKind, anonymous_volume_name};

use super::{ContainerRecord, VolumeUse, check_name, external, log_attributes, new_id};
use crate::codes;
use crate::engine::{Engine, now, remove_folder};
use crate::signal;
use crate::volume::check_volume_settings;

impl Engine {
    /// Makes a container and does not start it. Without a name it gets the first 12 digits of its id.
    pub fn create(&self, container: Container) -> Result<ContainerRecord> {
        let image = self.image_of(&container)?;
        self.create_from(container, image, &BTreeMap::new())
    }

    /// By its name, and the platform that is asked for.
    fn image_of(&self, container: &Container) -> Result<Digest> {
        match &container.platform {
            Some(platform) => Ok(self.image_for(&container.image, Some(&platform.parse()?))?.id),
            None => self.store.image_id(&container.image),
        }
    }

    /// The same with its lock, and marked, for who starts it next: nobody can prune it before.
    pub(crate) fn create_held(&self, container: Container) -> Result<(ContainerRecord, Guard)> {
        let image = self.image_of(&container)?;
        self.create_held_from(container, image, &BTreeMap::new())
    }

    /// The same of an image that is known by its id. `inherited` are volumes by target that it takes over from the
    /// container whose place it takes.
    pub(crate) fn create_from(
        &self,
        container: Container,
        image: Digest,
        inherited: &BTreeMap<String, VolumeUse>,
    ) -> Result<ContainerRecord> {
        let (record, _guard) = self.create_held_from(container, image, inherited)?;
        self.unmark_active(&record.id, None)?;
        Ok(record)
    }

    fn create_held_from(
        &self,
        mut container: Container,
        image: Digest,
        inherited: &BTreeMap<String, VolumeUse>,
    ) -> Result<(ContainerRecord, Guard)> {
        let id = new_id()?;
        if container.name.is_empty() {
            container.name = id[..12].to_owned();
        }
        check_name(&container.name)?;
        carrack_specgen::check(&container)?;
        host::check_limits(&container.resources)?;
        log_attributes::check(&container.log)?;
        if let Some(name) = &container.stop_signal {
            signal::parse(name)?;
        }
        external::check_runtime(&container)?;
        let guard = self.lock_container(&id)?;
        let durability = durability(&container);
        let images = self.mounted_images(&container)?;
        let kept: Vec<Digest> = std::iter::once(image).chain(images.values().copied()).collect();
        self.mark_active(&id)?;
        // First kept, then looked at: nothing can take it away in between.
        self.store.keep(KeepKind::Container, &id, &kept, durability)?;
        match self.create_kept(container, (image, images), inherited, &id, durability) {
            Ok(record) => Ok((record, guard)),
            Err(error) => {
                self.store.unkeep(KeepKind::Container, &id)?;
                self.unmark_active(&id, None)?;
                Err(error)
            }
        }
    }

    fn create_kept(
        &self,
        mut container: Container,
        (image, images): (Digest, BTreeMap<String, Digest>),
        inherited: &BTreeMap<String, VolumeUse>,
        id: &str,
        durability: Durability,
    ) -> Result<ContainerRecord> {
        let config = self.store.image_config(&image)?.config;
        if container.arguments(&config).is_empty() {
            return Err(Diagnostic::error(&codes::NO_COMMAND, format!("{} has no command to run", container.image))
                .hint("give one after the image, or add CMD or ENTRYPOINT to the image")
                .boxed());
        }
        let mut inherited = inherited.clone();
        self.take_volumes(&mut container, &mut inherited)?;
        for target in config.volumes.keys() {
            let covered = container.mounts.iter().any(|mount| same_path(&mount.target, target));
            if !covered {
                let source = MountSource::Volume {
                    name: None,
                    subpath: String::new(),
                    no_copy: false,
                    settings: Default::default(),
                };
                container.mounts.push(Mount { target: target.clone(), source, read_only: false, identities: None });
            }
        }
        container.ports = container.published_ports(&config)?;
        let runtime = external::found(container.runtime.as_deref())?;
        let name = container.name.clone();
        let volumes = volumes_of(&container, &inherited)?;
        let mut fresh = Vec::new();
        for mount in &container.mounts {
            let (MountSource::Volume { settings, .. }, Some(used)) = (&mount.source, volumes.get(&mount.target)) else {
                continue;
            };
            check_volume_settings(&used.name, settings)?;
            if used.anonymous && !inherited.values().any(|other| other.name == used.name) {
                fresh.push((used.name.clone(), settings.clone()));
            }
        }
        self.claim_name(&name, id)?;
        let make = || {
            let record = ContainerRecord {
                id: id.to_owned(),
                name: name.clone(),
                created: now(),
                container,
                image,
                volumes,
                runtime: runtime.clone(),
                images,
            };
            self.records().put(id, &record, durability)?;
            // After the record: a volume that no record names would never go.
            for (volume, settings) in &fresh {
                self.make_volume(volume, true, settings)?;
            }
            Ok(record)
        };
        match make() {
            Ok(record) => {
                self.emit_as(&record, &config, "create", &[]);
                Ok(record)
            }
            Err(error) => {
                self.release_name(&name, id)?;
                remove_folder(&self.store.container_dir(id)?)?;
                for (volume, _) in &fresh {
                    self.store.remove_volume(volume)?;
                }
                Err(error)
            }
        }
    }
}

/// The volume of each volume mount; anonymous ones get a new name unless they are inherited.
fn volumes_of(container: &Container, inherited: &BTreeMap<String, VolumeUse>) -> Result<BTreeMap<String, VolumeUse>> {
    let mut volumes = BTreeMap::new();
    for mount in &container.mounts {
        let MountSource::Volume { name, .. } = &mount.source else { continue };
        let used = match (name, inherited.get(&mount.target)) {
            (Some(name), _) => VolumeUse { name: name.clone(), anonymous: false },
            (None, Some(inherited)) => inherited.clone(),
            (None, None) => VolumeUse { name: anonymous_volume_name()?, anonymous: true },
        };
        volumes.insert(mount.target.clone(), used);
    }
    Ok(volumes)
}

/// What a reboot must find again is on disk before the command says done; the rest is not worth a sync.
pub(crate) fn durability(container: &Container) -> Durability {
    match container.restart {
        RestartPolicy::No => Durability::Cached,
        _ => Durability::Synced,
    }
}

fn same_path(left: &str, right: &str) -> bool {
    left.trim_end_matches('/') == right.trim_end_matches('/')
}
