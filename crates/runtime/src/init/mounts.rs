//! Mounts, all by descriptor: a path of the container is looked up once, inside of its root, and what was found is what
//! is used.

use std::os::fd::OwnedFd;
use std::path::Path;

use carrack_specgen::init_plan::{
    DeviceKind, DeviceNode, MountAttributes, MountSource, MountStep, Propagation, RootSource,
};
use carrack_sys::mount::{Attributes, set_attributes};
use carrack_sys::overlay::{Context, Overlay};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::{Errno, Result};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};

use super::identities;
use super::inside::{self, Kind};
use super::interpret::{Done, Failure, State, open_once};

/// What carrack allows to be covered inside of procfs: files that LXCFS gives a container's own view of.
const PROCFS_TARGETS: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];

pub(super) fn isolate(state: &mut State, shared: &[(String, bool)]) -> Done {
    for (path, recursive) in shared {
        let tree = open_host(path).and_then(|source| clone_tree(&source, *recursive));
        state.shared.push_back(tree.map_err(|errno| Failure::new(errno, path.as_str()))?);
    }
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", flags)?)
}

/// A file system that consists of other folders, attached to one of the host's.
pub(super) fn attach_root(source: &RootSource, mountpoint: &str) -> Done<OwnedFd> {
    let detached = match source {
        RootSource::Folder { path } => {
            let tree = clone_tree(&open_host(path)?, true)?;
            set_propagation(&tree, Propagation::PrivateRecursive)?;
            tree
        }
        RootSource::Overlay { lower, upper, work, volatile } => {
            let upper = upper.as_ref().zip(work.as_ref()).map(|(upper, work)| (Path::new(upper), Path::new(work)));
            Overlay { lower, upper, volatile: *volatile, attributes: MountAttrFlags::empty() }.mount()?
        }
    };
    let target = open_host(mountpoint).map_err(|errno| Failure::new(errno, mountpoint))?;
    attach(&detached, &target)?;
    Ok(detached)
}

pub(super) fn mount(state: &mut State, step: &MountStep) -> Done {
    match &step.source {
        MountSource::FileSystem { kind, source, options } => {
            let is_tmpfs = kind == "tmpfs";
            // What lies below it is made in it first.
            let attributes = MountAttributes { read_only: step.attributes.read_only && !is_tmpfs, ..step.attributes };
            let mode = if is_tmpfs { covered_mode(state, step, options)? } else { None };
            let options: Vec<_> = options.iter().cloned().chain(mode).collect();
            let detached = file_system(kind, source, &options, flags_of(attributes))?;
            map_identities(state, &detached, step, kind)?;
            let target = new_file_system_target(state, kind, &step.target)?;
            attach(&detached, &target)?;
            if kind == "proc" {
                state.procfs = Some(detached);
            } else if is_tmpfs && step.attributes.read_only {
                state.closing.push(detached);
            }
        }
        MountSource::Bind { path, subpath, recursive } => {
            let source = open_host(path).map_err(|errno| Failure::new(errno, path.as_str()))?;
            let source = match subpath.as_str() {
                "" => source,
                below => inside::open_below(&source, below)
                    .map_err(|errno| Failure::new(errno, format!("{below} of {path}")))?,
            };
            let folder = inside::file_type(&source)? == FileType::Directory;
            let is_shared = matches!(step.propagation, Propagation::Shared | Propagation::SharedRecursive);
            let detached = match state.shared.pop_front_if(|_| is_shared) {
                // A peer of the host's mount already.
                Some(tree) => tree,
                None => {
                    let tree = clone_tree(&source, *recursive)?;
                    set_propagation(&tree, step.propagation)?;
                    tree
                }
            };
            add_attributes(&detached, step.attributes)?;
            map_identities(state, &detached, step, path)?;
            let target = bind_target(state, &step.target, if folder { Kind::Folder } else { Kind::File })?;
            attach(&detached, &target).map_err(|errno| match inside::file_type(&target) {
                Ok(kind) if (kind == FileType::Directory) != folder => {
                    let (covers, covered) = if folder { ("folder", "file") } else { ("file", "folder") };
                    let why = format!("{}: a {covers}, {path}, can't cover a {covered}", step.target);
                    Failure::new(if folder { Errno::NOTDIR } else { Errno::ISDIR }, why)
                }
                _ => errno.into(),
            })?;
        }
    }
    Ok(())
}

/// As runc does: a memory file system shuts out whom the folder that it covers shuts out, where nobody says otherwise.
fn covered_mode(
    state: &mut State,
    step: &MountStep,
    options: &[(String, Option<String>)],
) -> Done<Option<(String, Option<String>)>> {
    if options.iter().any(|(key, _)| key == "mode") {
        return Ok(None);
    }
    let Ok(covered) = inside::open(state.root()?, &step.target, OFlags::PATH | OFlags::DIRECTORY) else {
        return Ok(None);
    };
    let status = rustix::fs::statat(&covered, "", AtFlags::EMPTY_PATH)?;
    Ok(Some(("mode".into(), Some(format!("{:o}", status.st_mode & 0o7777)))))
}

fn map_identities(state: &State, detached: &OwnedFd, step: &MountStep, source: &str) -> Done {
    let Some(identities) = &step.identities else { return Ok(()) };
    let namespace = identities::user_namespace(&state.proof, identities)?;
    carrack_sys::mount::map_identities(detached, &namespace).map_err(|errno| match errno {
        Errno::INVAL => Failure::new(errno, format!("{source}: its file system can't show its files as other users'")),
        _ => Failure::new(errno, source),
    })
}

/// A new instance of a file system, attached nowhere.
fn file_system(kind: &str, source: &str, options: &[(String, Option<String>)], flags: MountAttrFlags) -> Done<OwnedFd> {
    let context = Context::open(kind)?;
    if !source.is_empty() {
        context.set("source", source)?;
    }
    for (key, value) in options {
        match value {
            Some(value) => context.set(key, value)?,
            None => context.set_flag(key)?,
        }
    }
    Ok(context.mount(flags)?)
}

/// A procfs of this process namespace, attached nowhere.
pub(super) fn procfs() -> Result<OwnedFd> {
    file_system("proc", "proc", &[], MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC)
        .map_err(|failure| failure.errno)
}

/// The kernel's own file systems go onto real folders only: an image whose /proc is a link could have our writes land
/// elsewhere (CVE-2019-19921, CVE-2023-28642).
fn new_file_system_target(state: &mut State, kind: &str, path: &str) -> Done<OwnedFd> {
    let root = state.root()?;
    let target = inside::ensure(root, path, Kind::Folder)?;
    if matches!(kind, "proc" | "sysfs") {
        return inside::open_plain(root, path, OFlags::PATH | OFlags::DIRECTORY)
            .map_err(|errno| Failure::new(errno, format!("{path} of the image is not a plain folder")));
    }
    if inside::file_system(&target)? == inside::PROC_SUPER_MAGIC {
        return Err(into_procfs(path));
    }
    Ok(target)
}

/// What is written to procfs is to arrive there (CVE-2019-16884, CVE-2025-52881).
fn into_procfs(path: &str) -> Failure {
    Failure::new(Errno::PERM, format!("{path} leads into procfs, which is not to be covered"))
}

/// Files that every container has of its own.
const OWN_FILES: &[&str] = &["/etc/resolv.conf", "/etc/hostname", "/etc/hosts"];

fn bind_target(state: &mut State, path: &str, kind: Kind) -> Done<OwnedFd> {
    // A link of the image's in their place is covered itself, wherever it leads: Docker's images have plain files there.
    if OWN_FILES.contains(&path)
        && let Some(link) = inside::link_at(state.root()?, path)
    {
        return Ok(link);
    }
    let target = inside::ensure(state.root()?, path, kind)?;
    let clean = path.trim_end_matches('/');
    if inside::file_system(&target)? == inside::PROC_SUPER_MAGIC && !PROCFS_TARGETS.contains(&clean) {
        return Err(into_procfs(path));
    }
    Ok(target)
}

pub(super) fn device(state: &mut State, device: &DeviceNode) -> Done {
    let (parent, name) = parent_of(state, &device.path)?;
    let kind = match device.kind {
        DeviceKind::Character => FileType::CharacterDevice,
        DeviceKind::Block => FileType::BlockDevice,
        DeviceKind::Fifo => FileType::Fifo,
    };
    let number = rustix::fs::makedev(device.major, device.minor);
    match rustix::fs::mknodat(&parent, name.as_str(), kind, Mode::from_raw_mode(device.mode), number) {
        // In a user namespace nodes can't be made; the host's own can be shown.
        Err(Errno::PERM) => {
            let source = open_host(&device.path)?;
            let target = inside::ensure(state.root()?, &device.path, Kind::File)?;
            attach(&clone_tree(&source, false)?, &target)?;
            return Ok(());
        }
        made => made?,
    }
    if (device.uid, device.gid) != (0, 0) {
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        rustix::fs::chownat(&parent, name.as_str(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

pub(super) fn symlink(state: &mut State, link: &str, target: &str) -> Done {
    let (parent, name) = parent_of(state, link)?;
    match rustix::fs::symlinkat(target, &parent, name.as_str()) {
        Err(Errno::EXIST) => Ok(()),
        made => Ok(made?),
    }
}

/// The folder of a path, made where it is missing, and the last component.
fn parent_of(state: &mut State, path: &str) -> Done<(OwnedFd, String)> {
    let (folder, name) = path.trim_end_matches('/').rsplit_once('/').ok_or(Errno::INVAL)?;
    Ok((inside::ensure(state.root()?, folder, Kind::Folder)?, name.to_owned()))
}

pub(super) fn mask(state: &mut State, path: &str) -> Done {
    let Some(target) = existing(state, path)? else { return Ok(()) };
    if inside::file_type(&target)? != FileType::Directory {
        let cover = clone_tree(open_once(&mut state.null, null_device)?, false)?;
        return Ok(attach(&cover, &target)?);
    }
    match &state.empty_folder {
        Some(first) => attach(&clone_tree(first, false)?, &target)?,
        // Attached itself: only what is attached somewhere can be cloned before Linux 6.15.
        None => attach(state.empty_folder.insert(empty_folder()?), &target)?,
    }
    Ok(())
}

fn empty_folder() -> Result<OwnedFd> {
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    file_system("tmpfs", "tmpfs", &[("mode".into(), Some("755".into()))], flags).map_err(|failure| failure.errno)
}

/// The host's null device, opened while its /dev is the one we see, and looked at (CVE-2025-31133).
fn null_device() -> Result<OwnedFd> {
    let null = open_host("/dev/null")?;
    let status = rustix::fs::statat(&null, "", AtFlags::EMPTY_PATH)?;
    let is_null = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice
        && status.st_rdev == rustix::fs::makedev(1, 3);
    if is_null { Ok(null) } else { Err(Errno::NODEV) }
}

pub(super) fn read_only(state: &mut State, path: &str) -> Done {
    let Some(target) = existing(state, path)? else { return Ok(()) };
    let tree = clone_tree(&target, true)?;
    add_attributes(&tree, MountAttributes { read_only: true, recursive: true, ..MountAttributes::default() })?;
    Ok(attach(&tree, &target)?)
}

/// A path to protect, none where there is nothing. A link in its place is refused: it would protect something else.
fn existing(state: &mut State, path: &str) -> Done<Option<OwnedFd>> {
    match inside::open_plain(state.root()?, path, OFlags::PATH) {
        Ok(target) => Ok(Some(target)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

pub(super) fn read_only_root(state: &mut State) -> Done {
    Ok(add_attributes(state.root()?, MountAttributes { read_only: true, ..MountAttributes::default() })?)
}

pub(super) fn pivot(state: &mut State) -> Done {
    let read_only = MountAttributes { read_only: true, ..MountAttributes::default() };
    state.closing.drain(..).try_for_each(|mount| add_attributes(&mount, read_only))?;
    rustix::process::fchdir(state.root()?)?;
    // The old root lands on top of the new one and is taken off at once, without a folder for it.
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    Ok(rustix::process::chdir("/")?)
}

/// A file or folder of the host, links followed as for anybody there.
fn open_host(path: &str) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// A bind of what is behind a descriptor, attached nowhere.
pub(super) fn clone_tree(source: &OwnedFd, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(source, c"", flags)
}

/// Attaches a detached mount over what is behind a descriptor.
pub(super) fn attach(detached: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(detached, c"", target, c"", flags)
}

fn flags_of(attributes: MountAttributes) -> MountAttrFlags {
    let mut flags = MountAttrFlags::empty();
    flags.set(MountAttrFlags::MOUNT_ATTR_RDONLY, attributes.read_only);
    flags.set(MountAttrFlags::MOUNT_ATTR_NOSUID, attributes.nosuid);
    flags.set(MountAttrFlags::MOUNT_ATTR_NODEV, attributes.nodev);
    flags.set(MountAttrFlags::MOUNT_ATTR_NOEXEC, attributes.noexec);
    flags.set(MountAttrFlags::MOUNT_ATTR_NOATIME, attributes.noatime);
    flags.set(MountAttrFlags::MOUNT_ATTR_STRICTATIME, attributes.strictatime && !attributes.noatime);
    flags
}

fn add_attributes(mount: &OwnedFd, attributes: MountAttributes) -> Result<()> {
    let set = flags_of(attributes);
    if set.is_empty() {
        return Ok(());
    }
    // The access time modes are one field: a new one replaces the old.
    let clear = if attributes.noatime || attributes.strictatime {
        MountAttrFlags::MOUNT_ATTR__ATIME
    } else {
        MountAttrFlags::empty()
    };
    set_attributes(mount, Attributes { set, clear, propagation: None, recursive: attributes.recursive })
}

fn set_propagation(mount: &OwnedFd, propagation: Propagation) -> Result<()> {
    let (flags, recursive) = match propagation {
        Propagation::PrivateRecursive => (MountPropagationFlags::PRIVATE, true),
        Propagation::Private => (MountPropagationFlags::PRIVATE, false),
        Propagation::SlaveRecursive => (MountPropagationFlags::DOWNSTREAM, true),
        Propagation::Slave => (MountPropagationFlags::DOWNSTREAM, false),
        Propagation::SharedRecursive => (MountPropagationFlags::SHARED, true),
        Propagation::Shared => (MountPropagationFlags::SHARED, false),
    };
    let none = MountAttrFlags::empty();
    set_attributes(mount, Attributes { set: none, clear: none, propagation: Some(flags), recursive })
}
