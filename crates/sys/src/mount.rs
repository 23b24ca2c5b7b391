use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Result;
use rustix::mount::{MountAttrFlags, MountPropagationFlags};

use crate::process::check;

/// What [`set_attributes`] changes.
#[derive(Debug, Clone, Copy)]
pub struct Attributes {
    /// Attributes switched on.
    pub set: MountAttrFlags,
    /// Attributes switched off.
    pub clear: MountAttrFlags,
    /// New propagation; none keeps it.
    pub propagation: Option<MountPropagationFlags>,
    /// Whether it holds for the mounts below too, all or none.
    pub recursive: bool,
}

/// `struct mount_attr`, first version (linux/mount.h).
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Changes the attributes of the mount behind a descriptor (mount_setattr(2)).
pub fn set_attributes(mount: impl AsFd, attributes: Attributes) -> Result<()> {
    let structure = MountAttr {
        set: attributes.set.bits().into(),
        clear: attributes.clear.bits().into(),
        propagation: attributes.propagation.map_or(0, |flags| flags.bits().into()),
        user_namespace: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if attributes.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure is read only, its size is told, and the descriptor is borrowed for the time of the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const structure,
            size_of::<MountAttr>(),
        )
    };
    check(done as libc::c_int)
}
