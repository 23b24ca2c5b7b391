//! Volumes that something is mounted on while containers have them. A container that has one says so in its folder of the run
//! root; whoever is the last takes the mount away. Both happen under the volume's lock.

use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use carrack_store::{DEFAULT_WAIT, Lock, Volume};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_change, mount_remount, unmount};

use super::local::{LocalMount, without_password};
use crate::codes;
use crate::engine::{Engine, entries, host_error};

/// In a container's folder of the run root: an empty file for each volume that is mounted for it.
const MOUNTED: &str = "volumes";

impl Engine {
    /// Has what the volume's options say mounted on its folder for the container of that folder on the run root.
    pub(crate) fn attach_volume(&self, volume: &Volume, run: &Path) -> Result<()> {
        let Some(local) = LocalMount::read(&volume.name, &volume.options)? else { return Ok(()) };
        let local = local.resolved(&volume.name)?;
        let _guard = self.store.lock(Lock::Volume(volume.name.clone()), DEFAULT_WAIT)?;
        let mark = run.join(MOUNTED).join(&volume.name);
        let failed = |error| host_error(format!("can't write {}", mark.display()), error);
        std::fs::create_dir_all(run.join(MOUNTED)).map_err(failed)?;
        std::fs::write(&mark, "").map_err(failed)?;
        let data = self.store.volume_data(&volume.name)?;
        if carrack_sys::mount::is_attached(&data) {
            return Ok(());
        }
        attach(&local, &data).map_err(|error| {
            let _ = unmount(&data, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            let options = without_password(volume.options.get("o").map_or("", String::as_str));
            let diagnostic = Diagnostic::error(&codes::VOLUME_MOUNT, format!("can't mount the volume {}", volume.name))
                .cause(format!("mount -t {} -o '{options}' {}: {error}", local.kind, local.device));
            match error {
                rustix::io::Errno::NODEV => {
                    diagnostic.hint(format!("this host's kernel has no file system {}", local.kind))
                }
                _ => diagnostic.hint(format!("`carrack volume inspect {}` shows its options", volume.name)),
            }
            .boxed()
        })
    }

    /// Takes away what is mounted for the container of that folder on the run root and for nobody else. Repeatable.
    pub(crate) fn release_volumes(&self, run: &Path) -> Result<()> {
        let marks = run.join(MOUNTED);
        for name in entries(&marks) {
            let _guard = self.store.lock(Lock::Volume(name.clone()), DEFAULT_WAIT)?;
            let mark = marks.join(&name);
            let data = self.store.volume_data(&name)?;
            if self.volume_marks(&name).iter().all(|other| *other == mark) && carrack_sys::mount::is_attached(&data) {
                carrack_sys::mount::detach(&data).map_err(|error| {
                    host_error(format!("can't take away what is mounted on {}", data.display()), error)
                })?;
            }
            // Last: whoever finds it goes on here.
            let _ = std::fs::remove_file(&mark);
        }
        let _not_there = std::fs::remove_dir(&marks);
        Ok(())
    }

    /// Whether a folder is that of a volume with something mounted on it that a container has.
    pub(crate) fn is_volume_in_use(&self, folder: &Path) -> bool {
        let volumes = self.roots().data.join("volumes");
        let name = folder.strip_prefix(&volumes).ok().and_then(|rest| rest.parent()?.to_str());
        name.is_some_and(|name| {
            self.store.volume_data(name).is_ok_and(|data| data == folder) && !self.volume_marks(name).is_empty()
        })
    }

    fn volume_marks(&self, name: &str) -> Vec<PathBuf> {
        let containers = self.roots().run.join("containers");
        let marks = entries(&containers).into_iter().map(|id| containers.join(id).join(MOUNTED).join(name));
        marks.filter(|mark| mark.exists()).collect()
    }
}

fn attach(local: &LocalMount, data: &Path) -> rustix::io::Result<()> {
    let options = std::ffi::CString::new(local.data.as_str()).map_err(|_| rustix::io::Errno::INVAL)?;
    mount(local.device.as_str(), data, local.kind.as_str(), local.flags, options.as_c_str())?;
    // A bind takes its flags only afterwards.
    let rest = local.flags - (MountFlags::BIND | MountFlags::REC);
    if local.flags.contains(MountFlags::BIND) && !rest.is_empty() {
        mount_remount(data, rest | MountFlags::BIND, c"")?;
    }
    local.propagation.iter().try_for_each(|flags| mount_change(data, *flags))
}
