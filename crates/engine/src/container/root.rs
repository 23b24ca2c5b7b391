//! The files of a container as programs in it see them, whether it runs or not.

use std::os::fd::OwnedFd;

use carrack_diag::{Diagnostic, Result};
use carrack_runtime::host;
use carrack_runtime::init::MountNamespace;
use carrack_runtime::state::State;
use carrack_specgen::container::{IpcMode, Mount, MountSource, NamespaceMode, NetworkMode};
use carrack_specgen::init_plan::RootSource;
use carrack_specgen::{Container, Resolved};
use carrack_store::{Guard, Place};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::ContainerRecord;
use crate::codes;
use crate::engine::{Engine, host_error};

/// A container's tree. One that does not run is mounted for it, and does not start meanwhile.
#[derive(Debug)]
pub(crate) struct ContainerRoot {
    pub(crate) root: OwnedFd,
    _mounts: Option<(MountNamespace, Guard)>,
}

impl Engine {
    /// With all its mounts; `bare` is the container's own file system without any.
    pub(crate) fn root_of(&self, record: &ContainerRecord, bare: bool) -> Result<ContainerRoot> {
        if let Some(root) = self.running_root(record, bare)? {
            return Ok(ContainerRoot { root, _mounts: None });
        }
        let guard = self.lock_container(&record.id)?;
        // It may have been started before it was locked.
        if let Some(root) = self.running_root(record, bare)? {
            return Ok(ContainerRoot { root, _mounts: None });
        }
        if self.records().get(&record.id)?.is_none() {
            return Err(
                Diagnostic::error(&codes::NO_SUCH_CONTAINER, format!("{} was removed meanwhile", record.name)).boxed()
            );
        }
        let mounts = self.mount_stopped(record)?;
        let root = mounts.root(bare).map_err(|error| host_error("can't open the container's files", error))?;
        Ok(ContainerRoot { root, _mounts: Some((mounts, guard)) })
    }

    pub(crate) fn place_of(&self, root: &ContainerRoot, record: &ContainerRecord) -> Result<Place> {
        let root = root.root.try_clone().map_err(|error| host_error("can't open the container's files", error))?;
        Ok(Place::confined(root, record.name.clone()))
    }

    fn running_root(&self, record: &ContainerRecord, bare: bool) -> Result<Option<OwnedFd>> {
        let Some(state) = self.state(&record.id)?.filter(State::is_alive) else { return Ok(None) };
        let Some(Ok(process)) = Pid::from_raw(state.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) else {
            return Ok(None);
        };
        // Held now: the number can't have changed hands if the start time is still the same.
        if !state.is_alive() {
            return Ok(None);
        }
        match carrack_sys::mount::root_of(&process, bare) {
            Ok(root) => Ok(Some(root)),
            // It has just ended.
            Err(_) if !state.is_alive() => Ok(None),
            Err(error) => Err(host_error("can't enter the container's mounts", error)),
        }
    }

    fn mount_stopped(&self, record: &ContainerRecord) -> Result<MountNamespace> {
        let image = self.store.unnamed_image(&record.image)?;
        self.forget_volatile(record, &image)?;
        let upper = self.store.prepare_upper(&record.id, image.chain())?;
        let lower = self.store.container_lower_dirs(image.chain())?;
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let root = RootSource::Overlay {
            lower: lower.iter().map(|path| text(path)).collect(),
            upper: Some(text(&upper.upper)),
            work: Some(text(&upper.work)),
            volatile: false,
        };
        let run = self.store.container_run_dir(&record.id)?;
        let container = at_rest(&record.container);
        let shown = ContainerRecord { container, ..record.clone() };
        let resolved = Resolved {
            id: record.id.clone(),
            rootfs: text(&self.mountpoint()?),
            sources: self.sources(&shown, &image, &run)?,
            ..Resolved::default()
        };
        let facts = host::facts(self.hierarchies()?)?;
        let config = &image.config.config;
        let mut spec = carrack_specgen::spec(&shown.container, config, &facts, &resolved)?;
        let is_own = |target: &str| shown.container.mounts.iter().any(|mount| mount.target == target);
        spec.mounts.retain(|mount| is_own(&mount.destination));
        let launch = carrack_specgen::launch(&shown.container, config, &resolved, root);
        let plan = carrack_specgen::mount_plan(&spec, &launch, &facts)?;
        let mounts = MountNamespace::of(&plan);
        // What was mounted for its volumes is in that namespace now.
        self.release_volumes(&run)?;
        mounts.map_err(|failure| host_error(format!("can't mount the files of {}", record.name), failure))
    }
}

/// What there is of a container while it does not run: files and mounts. Its temporary file systems are empty, and what
/// was written there would be lost.
fn at_rest(container: &Container) -> Container {
    let read_only_tmpfs = |mount: &Mount| Mount {
        read_only: mount.read_only || matches!(mount.source, MountSource::Tmpfs { .. }),
        ..mount.clone()
    };
    Container {
        mounts: container.mounts.iter().map(read_only_tmpfs).collect(),
        files: Vec::new(),
        devices: Vec::new(),
        network: NetworkMode::None,
        pid: NamespaceMode::Private,
        ipc: IpcMode::Private,
        uts: NamespaceMode::Private,
        cgroupns: NamespaceMode::Private,
        ..container.clone()
    }
}
