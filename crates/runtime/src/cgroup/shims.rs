//! The control group of a root's shims: a logout, the stop of a service or a limit that meets the caller's group does not
//! reach them. It has neither rules nor limits, and is there while a shim is.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use carrack_diag::Result;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Cgroup, Hierarchies, failed, make_folder, open_folder, open_tasks};

/// Its name beside those of containers, which are 64 hexadecimal digits.
pub const SHIMS: &str = "shims";

impl Cgroup {
    /// The group of the shims below `parent`. While the value lives, nobody removes the group.
    pub fn of_shims(hierarchies: &Hierarchies, parent: &str) -> Result<Self> {
        let mut cgroup = Self::unopened(hierarchies, parent, SHIMS);
        if let Some(folder) = cgroup.unified_folder() {
            cgroup.held.extend(hierarchies.prepare(&cgroup.name)?);
            let descriptor = hold(&folder)?;
            cgroup.unified = Some(descriptor);
        }
        let mut mounts = hierarchies.v1_mounts_left_by_caller();
        if cgroup.unified.is_none()
            && let Some(mount) = mounts.next()
        {
            super::limits::prepare_cpuset(&mount, &cgroup.name)?;
            let folder = mount.join(&cgroup.name);
            cgroup.held.push(hold(&folder)?);
            cgroup.joined.push(open_tasks(&folder)?);
        }
        // One group is enough to know them by; of the others it is only asked that they have left the caller's.
        for mount in mounts {
            cgroup.joined.push(open_tasks(&mount)?);
        }
        Ok(cgroup)
    }

    /// The processes of the shims' group below `parent`; none where there is no such group.
    pub fn shims(hierarchies: &Hierarchies, parent: &str) -> Result<HashSet<i32>> {
        let group = Self::unopened(hierarchies, parent, SHIMS);
        let v1 = hierarchies.v1_mounts_left_by_caller().map(|mount| mount.join(&group.name));
        let Some(folder) = group.unified_folder().into_iter().chain(v1).next() else { return Ok(HashSet::new()) };
        let path = folder.join("cgroup.procs");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound) => Ok(HashSet::new()),
            // Removed while it was read.
            Err(error) if error.raw_os_error() == Some(Errno::NODEV.raw_os_error()) => Ok(HashSet::new()),
            Err(error) => Err(failed("list the processes of", &path, &error).boxed()),
        }
    }

    /// Takes the group of the shims below `parent` away, and `parent` with it, where no shim is in it or about to be.
    pub fn remove_shims(hierarchies: &Hierarchies, parent: &str) {
        for folder in Self::unopened(hierarchies, parent, SHIMS).folders() {
            let Ok(descriptor) = fs::File::open(&folder) else { continue };
            let removed =
                flock(&descriptor, FlockOperation::NonBlockingLockExclusive).is_ok() && fs::remove_dir(&folder).is_ok();
            if removed && !hierarchies.keeps_parents() {
                let _containers = folder.parent().map(fs::remove_dir);
            }
        }
    }
}

/// Makes a folder and locks it against its removal.
fn hold(folder: &Path) -> Result<OwnedFd> {
    loop {
        make_folder(folder)?;
        let descriptor = match open_folder(folder) {
            // Removed since it was made.
            Err(_) if !folder.exists() => continue,
            opened => opened?,
        };
        flock(&descriptor, FlockOperation::LockShared)
            .map_err(|errno| failed("lock the control group", folder, &errno.into()).boxed())?;
        if is_at(&descriptor, folder).map_err(|error| failed("look at the control group", folder, &error).boxed())? {
            return Ok(descriptor);
        }
    }
}

/// Whether the locked folder is still the one of that name.
fn is_at(descriptor: &OwnedFd, folder: &Path) -> io::Result<bool> {
    let held = rustix::fs::fstat(descriptor)?;
    match fs::metadata(folder) {
        Ok(found) => Ok(found.ino() == held.st_ino),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
