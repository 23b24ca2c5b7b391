use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Result;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use crate::overlay::{Context, Refusal};
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

/// An EROFS image over a second device, both of them files: a mount attached nowhere, read-only, on which no program runs
/// and no device opens but through an overlay. Linux 6.12.
pub fn erofs(image: &Path, device: &Path) -> std::result::Result<OwnedFd, Refusal> {
    let context = Context::open("erofs")?;
    context.set_file("source", image)?;
    context.set_file("device", device)?;
    let attributes = [MountAttrFlags::MOUNT_ATTR_RDONLY, MountAttrFlags::MOUNT_ATTR_NODEV];
    let attributes =
        attributes.into_iter().chain([MountAttrFlags::MOUNT_ATTR_NOSUID, MountAttrFlags::MOUNT_ATTR_NOEXEC]);
    context.mount(attributes.collect())
}

/// A temporary file system of at most so many bytes for everybody, attached nowhere, on which no program runs.
pub fn shared_memory(size_bytes: u64) -> std::result::Result<OwnedFd, Refusal> {
    let context = Context::open("tmpfs")?;
    context.set("source", "shm")?;
    context.set("mode", "1777")?;
    context.set("size", &size_bytes.to_string())?;
    let attributes = [MountAttrFlags::MOUNT_ATTR_NODEV, MountAttrFlags::MOUNT_ATTR_NOSUID];
    context.mount(attributes.into_iter().chain([MountAttrFlags::MOUNT_ATTR_NOEXEC]).collect())
}

/// Attaches a mount to a folder of this process's mount namespace.
pub fn attach(mount: impl AsFd, folder: &Path) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", CWD, folder, flags)
}

/// The root of a mount namespace, given by its own descriptor or by that of a process in it (setns(2)): what a path in it
/// begins with. With `bare` a copy of the mount alone that stands there, without what is mounted below it.
///
/// A thread that lives for this alone moves there, as the caller may have others and must stay where it is.
pub fn root_of(namespace: impl AsFd, bare: bool) -> Result<OwnedFd> {
    let namespace = namespace.as_fd();
    let open = || {
        // SAFETY: this thread gives up sharing its working directory and root with others, and nothing else.
        check(unsafe { libc::unshare(libc::CLONE_FS) })?;
        // SAFETY: a plain system call on a descriptor that is borrowed for its time.
        check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) })?;
        if bare {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            return rustix::mount::open_tree(CWD, c"/", flags);
        }
        rustix::fs::openat(CWD, c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
    };
    std::thread::scope(|scope| scope.spawn(open).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

/// Detaches what is attached to a folder; what still uses it goes on.
pub fn detach(folder: &Path) -> Result<()> {
    rustix::mount::unmount(folder, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)
}

/// Whether something is attached to a folder in this process's mount namespace.
pub fn is_attached(folder: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    rustix::fs::statx(CWD, folder, flags, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
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
    change(mount, &structure, attributes.recursive)
}

/// Shows owners and groups of the files of a mount that is attached nowhere as a user namespace maps them. Linux 5.12, and
/// not on every file system: `EINVAL` there.
pub fn map_identities(mount: impl AsFd, user_namespace: impl AsFd) -> Result<()> {
    let user_namespace = user_namespace.as_fd();
    let structure = MountAttr {
        set: MountAttrFlags::MOUNT_ATTR_IDMAP.bits().into(),
        clear: 0,
        propagation: 0,
        user_namespace: user_namespace.as_raw_fd() as u64,
    };
    change(mount, &structure, false)
}

fn change(mount: impl AsFd, structure: &MountAttr, recursive: bool) -> Result<()> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the structure is read only, its size is told, and the descriptor is borrowed for the time of the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            std::ptr::from_ref(structure),
            size_of::<MountAttr>(),
        )
    };
    check(done as libc::c_int)
}
