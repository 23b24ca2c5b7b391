use std::cell::RefCell;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::{Errno, Result};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags};

use crate::mount::{Attributes, set_attributes};
use crate::process::check;

/// Longest value that fsconfig(2) takes, in bytes.
const VALUE_LENGTH_MAX: usize = 255;
/// Where a process finds its descriptors by number.
const DESCRIPTORS: &str = "/proc/self/fd";
/// What mounts cover that a namespace is made for: there wherever there are [`DESCRIPTORS`].
const PLACE_APART: &str = "/proc";
const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

/// Said explicitly: the defaults are the kernel's build options, and layers are compared across hosts.
const SETTINGS: [(&str, &str); 4] = [
    ("redirect_dir", "off"),
    ("metacopy", "off"),
    // On, a write through one name of a file shows under the others that stay below, which no layer can tell.
    ("index", "off"),
    // "on" does the same and logs a line a mount where all layers share a file system.
    ("xino", "auto"),
];

/// What an overlay shows.
#[derive(Debug, Clone, Copy)]
pub struct Overlay<'a, P> {
    /// Folders of the layers, topmost first.
    pub lower: &'a [P],
    /// Where what is written goes, and the kernel's work folder beside it; none makes it read-only.
    pub upper: Option<(&'a Path, &'a Path)>,
    /// Nothing that is written needs to survive a power failure.
    pub volatile: bool,
    /// Of the mount.
    pub attributes: MountAttrFlags,
}

/// What the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub errno: Errno,
    /// The option, with what the kernel said about it.
    pub detail: String,
}

impl<P: AsRef<Path> + Sync> Overlay<'_, P> {
    /// The mount, attached nowhere.
    pub fn mount(&self) -> std::result::Result<OwnedFd, Refusal> {
        match self.mount_added() {
            // Before Linux 6.7 layers can't be added one by one, and before 6.15 one that is attached nowhere is none.
            Err(refusal) if refusal.errno == Errno::INVAL => self.mount_listed().map_err(|_| refusal),
            mounted => mounted,
        }
    }

    fn mount_added(&self) -> std::result::Result<OwnedFd, Refusal> {
        let context = Context::open("overlay")?;
        for layer in self.lower {
            context.set_path("lowerdir+", layer.as_ref())?;
        }
        if let Some((upper, work)) = self.upper {
            context.set_path("upperdir", upper)?;
            context.set_path("workdir", work)?;
        }
        self.finish(&context)
    }

    /// By mount(2), which takes a page of options: enough for any image where layers are told by numbers of descriptors,
    /// and those are paths where [`DESCRIPTORS`] is the current folder. It attaches what it mounts, so a thread with a
    /// current folder and a mount namespace of its own calls it.
    fn mount_listed(&self) -> std::result::Result<OwnedFd, Refusal> {
        std::thread::scope(|scope| {
            let mounting = scope.spawn(|| {
                // SAFETY: only this thread gets a current folder and a mount namespace of its own.
                check(unsafe { libc::unshare(libc::CLONE_FS | libc::CLONE_NEWNS) })?;
                rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
                self.mount_apart()
            });
            let mounted = mounting.join().unwrap_or(Err(Errno::IO));
            mounted.map_err(|errno| Refusal { errno, detail: "overlay".into() })
        })
    }

    /// In a mount namespace that goes with the thread. The folders are opened in it: others' mounts can't be shown.
    fn mount_apart(&self) -> Result<OwnedFd> {
        let upper = self.upper.map(|(upper, work)| Ok((folder(upper)?, folder(work)?))).transpose()?;
        let lower = self.lower_apart()?;
        let numbers: Vec<String> = lower.iter().map(|layer| layer.as_raw_fd().to_string()).collect();
        let mut options = format!("lowerdir={}", numbers.join(":"));
        if let Some((upper, work)) = &upper {
            options += &format!(",upperdir={},workdir={}", upper.as_raw_fd(), work.as_raw_fd());
        }
        for (key, value) in SETTINGS {
            options += &format!(",{key}={value}");
        }
        if self.volatile {
            options += ",volatile";
        }
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        rustix::mount::mount("overlay", PLACE_APART, "overlay", MountFlags::empty(), options.as_c_str())?;
        let mount = rustix::mount::open_tree(CWD, PLACE_APART, CLONE)?;
        let (set, clear) = (self.attributes, MountAttrFlags::empty());
        set_attributes(&mount, Attributes { set, clear, propagation: None, recursive: false })?;
        Ok(mount)
    }

    /// The folders of the layers, and [`DESCRIPTORS`] as the current folder. A mount that is attached nowhere comes into this
    /// namespace, as its folder is of no use otherwise, and a copy of it takes its place behind its number: the next overlay
    /// finds it as this one did.
    fn lower_apart(&self) -> Result<Vec<OwnedFd>> {
        static ONE_BY_ONE: Mutex<()> = Mutex::new(());
        let _guard = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let lower: Vec<OwnedFd> = self.lower.iter().map(|layer| folder(layer.as_ref())).collect::<Result<_>>()?;
        rustix::process::chdir(DESCRIPTORS)?;
        for (layer, opened) in self.lower.iter().zip(&lower) {
            let number = layer.as_ref().strip_prefix(DESCRIPTORS).ok().and_then(|number| number.to_str()?.parse().ok());
            let Some(number) = number else { continue };
            if crate::mount::attach(opened, Path::new(PLACE_APART)).is_ok() {
                let copy = rustix::mount::open_tree(opened, c"", CLONE | OpenTreeFlags::AT_EMPTY_PATH)?;
                // SAFETY: whoever names a descriptor by its path holds it open, and it stays open: the same folder of the
                // same file system, read through another mount of it.
                check(unsafe { libc::dup3(copy.as_raw_fd(), number, libc::O_CLOEXEC) })?;
            }
        }
        Ok(lower)
    }

    fn finish(&self, context: &Context) -> std::result::Result<OwnedFd, Refusal> {
        for (key, value) in SETTINGS {
            context.set(key, value)?;
        }
        if self.volatile {
            context.set_flag("volatile")?;
        }
        context.mount(self.attributes)
    }
}

/// A file system that is being configured (fsopen(2)).
#[derive(Debug)]
pub struct Context {
    descriptor: OwnedFd,
    kind: String,
    /// That options name, open until they have been looked up.
    files: RefCell<Vec<OwnedFd>>,
}

impl Context {
    /// Of a kind of file system.
    pub fn open(kind: &str) -> std::result::Result<Self, Refusal> {
        match rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC) {
            Ok(descriptor) => Ok(Self { descriptor, kind: kind.to_owned(), files: RefCell::default() }),
            Err(errno) => Err(Refusal { errno, detail: kind.to_owned() }),
        }
    }

    /// An option with a value of up to 255 bytes.
    pub fn set(&self, key: &str, value: &str) -> std::result::Result<(), Refusal> {
        rustix::mount::fsconfig_set_string(self.descriptor.as_fd(), key, value)
            .map_err(|errno| self.refusal(errno, &format!(" {key}={value}")))
    }

    /// An option whose value is a path, however long. The kernel looks it up now.
    fn set_path(&self, key: &str, path: &Path) -> std::result::Result<(), Refusal> {
        let refused = |errno| self.refusal(errno, &format!(" {key}={}", path.display()));
        if path.as_os_str().len() <= VALUE_LENGTH_MAX {
            return rustix::mount::fsconfig_set_string(self.descriptor.as_fd(), key, path).map_err(refused);
        }
        let folder = folder(path).map_err(refused)?;
        self.set(key, &format!("{DESCRIPTORS}/{}", folder.as_raw_fd()))
    }

    /// An option that names a file.
    pub fn set_file(&self, key: &str, path: &Path) -> std::result::Result<(), Refusal> {
        let file = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| self.refusal(errno, &format!(" {key}={}", path.display())))?;
        // By descriptor: paths may be longer than a value. The kernel looks it up when the mount is made.
        self.set(key, &format!("{DESCRIPTORS}/{}", file.as_raw_fd()))?;
        self.files.borrow_mut().push(file);
        Ok(())
    }

    /// An option without a value.
    pub fn set_flag(&self, key: &str) -> std::result::Result<(), Refusal> {
        rustix::mount::fsconfig_set_flag(self.descriptor.as_fd(), key)
            .map_err(|errno| self.refusal(errno, &format!(" {key}")))
    }

    /// The mount, attached nowhere.
    pub fn mount(&self, attributes: MountAttrFlags) -> std::result::Result<OwnedFd, Refusal> {
        rustix::mount::fsconfig_create(self.descriptor.as_fd()).map_err(|errno| self.refusal(errno, ""))?;
        rustix::mount::fsmount(self.descriptor.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| self.refusal(errno, ""))
    }

    fn refusal(&self, errno: Errno, what: &str) -> Refusal {
        Refusal { errno, detail: format!("{}{what}{}", self.kind, log_of(self.descriptor.as_fd())) }
    }
}

/// What the kernel has to say about a failed configuration, its log being read from the same descriptor.
fn log_of(context: BorrowedFd<'_>) -> String {
    let mut text = String::new();
    let mut line = [0u8; 1024];
    while let Ok(length @ 1..) = rustix::io::read(context, &mut line) {
        text.push_str(": ");
        text.push_str(String::from_utf8_lossy(line.get(..length).unwrap_or_default()).trim());
    }
    text
}

fn folder(path: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd as _, OwnedFd};
    use std::path::{Path, PathBuf};

    use rustix::fs::{Access, AtFlags, Mode, OFlags};
    use rustix::io::Errno;
    use rustix::mount::MountAttrFlags;

    use super::{Overlay, Refusal};

    /// A hundred layers with a file each, at paths longer than an option may be.
    fn layers(name: &str) -> Vec<PathBuf> {
        let root = std::env::temp_dir().join(format!("carrack-overlay-{}-{name}", std::process::id()));
        let long = root.join("l".repeat(150)).join("l".repeat(150));
        let layer = |number: usize| {
            let layer = long.join(number.to_string());
            std::fs::create_dir_all(&layer).unwrap();
            std::fs::write(layer.join(number.to_string()), "").unwrap();
            layer
        };
        (0..100).map(layer).collect()
    }

    fn shows_all(name: &str, mount: fn(&Overlay<'_, PathBuf>) -> Result<OwnedFd, Refusal>) {
        let lower = layers(name);
        let root = lower[0].ancestors().nth(3).unwrap().to_owned();
        let overlay =
            Overlay { lower: &lower, upper: None, volatile: false, attributes: MountAttrFlags::MOUNT_ATTR_RDONLY };
        match mount(&overlay) {
            Ok(tree) => {
                for number in 0..100 {
                    let path = number.to_string();
                    assert!(rustix::fs::openat(&tree, Path::new(&path), OFlags::PATH, Mode::empty()).is_ok(), "{path}");
                }
            }
            Err(refusal) if refusal.errno == Errno::PERM => eprintln!("skipped: no overlay mount here"),
            Err(refusal) => panic!("{refusal:?}"),
        }
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_hundred_layers_at_long_paths() {
        shows_all("any", |overlay| overlay.mount());
    }

    #[test]
    fn a_hundred_layers_at_long_paths_before_linux_6_7() {
        shows_all("listed", |overlay| overlay.mount_listed());
        assert!(std::env::current_dir().is_ok_and(|folder| !folder.starts_with("/proc")));
    }

    /// Between two folders a mount that is attached nowhere, which stays what it is for the next.
    #[test]
    fn a_layer_may_be_attached_nowhere() {
        let layer = match crate::mount::shared_memory(1 << 20) {
            Ok(layer) => layer,
            Err(refusal) if refusal.errno == Errno::PERM => return eprintln!("skipped: no mount here"),
            Err(refusal) => panic!("{refusal:?}"),
        };
        let nowhere = PathBuf::from(format!("/proc/self/fd/{}", layer.as_raw_fd()));
        std::fs::write(nowhere.join("inside"), "").unwrap();
        let mut lower = layers("nowhere");
        let root = lower[0].ancestors().nth(3).unwrap().to_owned();
        lower.truncate(2);
        lower.insert(1, nowhere.clone());
        let overlay =
            Overlay { lower: &lower, upper: None, volatile: false, attributes: MountAttrFlags::MOUNT_ATTR_RDONLY };
        let shown = |mounted: Result<OwnedFd, Refusal>| {
            let tree = mounted.unwrap();
            ["0", "inside", "1"].map(|name| rustix::fs::accessat(&tree, name, Access::EXISTS, AtFlags::empty()))
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for mount in [Overlay::mount, Overlay::mount_listed] {
                        assert_eq!(shown(mount(&overlay)), [Ok(()); 3]);
                    }
                });
            }
        });
        assert!(nowhere.join("inside").exists());
        std::fs::remove_dir_all(&root).unwrap();
    }
}
