//! What the tests of this crate share.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use carrack_oci::Digest;
use carrack_sys::overlay::Overlay;
use carrack_testkit::tar::Builder;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::mount::MountAttrFlags;

use crate::files::entries;
use crate::layer::node;
use crate::{LayerForm, Lease, Roots, Snapshotter as _, Store, chain_of};

/// A store on roots of its own, gone with the value.
pub(crate) struct Scene {
    /// Ends before the folder does.
    _attached: Attached,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) lease: Lease,
}

impl Scene {
    /// On memory, where a sync costs nothing.
    pub(crate) fn new() -> Self {
        Self::at(memory_dir())
    }

    pub(crate) fn on_disk() -> Self {
        Self::at(tempfile::Builder::new().prefix("carrack-store-").tempdir().unwrap())
    }

    pub(crate) fn at(dir: tempfile::TempDir) -> Self {
        Self::of(dir, LayerForm::Unpacked)
    }

    /// On a file system with files that can be mounted. None where this host can't.
    pub(crate) fn one_file() -> Option<Self> {
        Self::mounting(LayerForm::OneFile)
    }

    /// The same, in the form that suits each layer.
    pub(crate) fn auto() -> Option<Self> {
        Self::mounting(LayerForm::Auto)
    }

    fn mounting(form: LayerForm) -> Option<Self> {
        let dir = tempfile::Builder::new().prefix("carrack-store-").tempdir().unwrap();
        let scene = Self::of(dir, form);
        match scene.store.clone().with_form(LayerForm::OneFile).keeps_one_file() {
            Ok(_) => Some(scene),
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    fn of(dir: tempfile::TempDir, form: LayerForm) -> Self {
        let store = Store::open(roots(dir.path())).unwrap().with_form(form);
        let lease = store.lease().unwrap();
        Self { _attached: Attached(store.clone()), dir, store, lease }
    }

    /// Applies tars one on the other; the topmost chain.
    pub(crate) fn apply(&self, layers: &[Vec<u8>]) -> carrack_diag::Result<Digest> {
        let mut parent = None;
        for layer in layers {
            let diff_id = Digest::of(layer);
            self.store.apply(&self.lease, parent.as_ref(), &diff_id, &mut layer.as_slice())?;
            parent = Some(chain_of(parent.as_ref(), &diff_id));
        }
        Ok(parent.expect("at least one layer"))
    }

    /// What an overlay of the layers shows, and that our own view of them shows the same.
    pub(crate) fn tree(&self, layers: &[Builder]) -> String {
        let layers: Vec<Vec<u8>> = layers.iter().cloned().map(Builder::build).collect();
        let chain = self.apply(&layers).unwrap_or_else(|error| panic!("{error}"));
        let shown = self.show(&chain);
        if let Some(scene) = Self::one_file() {
            let chain = scene.apply(&layers).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(scene.show(&chain), shown, "as one file and unpacked");
            for (index, tar) in scene.store.one_files() {
                fsck_erofs(&index, &tar);
            }
        }
        shown
    }

    pub(crate) fn show(&self, chain: &Digest) -> String {
        let copy = tempfile::tempdir_in(self.dir.path()).unwrap();
        let view = self.store.view(Some(chain)).unwrap();
        assert!(view.copy_dir(Path::new("/"), copy.path()).unwrap());
        let seen = list(File::open(copy.path()).unwrap().as_fd());
        let lowers = self.store.lower_dirs(Some(chain)).unwrap();
        if let Some(overlay) = self.overlay(&lowers, None) {
            assert_eq!(without_counts(&list(overlay.as_fd())), without_counts(&seen), "overlay and view differ");
        }
        seen
    }

    /// What is refused, as `code: message`.
    pub(crate) fn refusal(&self, layers: &[Builder]) -> String {
        let layers: Vec<Vec<u8>> = layers.iter().cloned().map(Builder::build).collect();
        let error = self.apply(&layers).expect_err("refused");
        let leftovers = crate::files::names(&self.store.new_snapshots_dir()).unwrap();
        assert_eq!(leftovers, Vec::<String>::new(), "nothing half-made stays");
        if let Some(scene) = Self::one_file() {
            let other = scene.apply(&layers).expect_err("refused as one file too");
            assert_eq!(other.code.id, error.code.id);
            let leftovers = crate::files::names(&scene.store.new_snapshots_dir()).unwrap();
            assert_eq!(leftovers, Vec::<String>::new(), "nothing half-made stays");
        }
        let mut text = error.to_string();
        if let Some(at) = text.find(": it is the layer sha256:") {
            text.truncate(at);
        }
        let place = format!("{}/", self.store.new_snapshots_dir().display());
        if let Some(at) = text.find(&place) {
            text.replace_range(at..at + place.len() + "0123456789abcdef/fs".len(), "NEW");
        }
        text
    }

    /// A detached overlay mount: it is gone with its descriptor. None without the capability.
    pub(crate) fn overlay(&self, lowers: &[PathBuf], upper: Option<&crate::Upper>) -> Option<OwnedFd> {
        let bottom = self.dir.path().join("bottom");
        std::fs::create_dir_all(&bottom).unwrap();
        let lower: Vec<PathBuf> = lowers.iter().cloned().chain([bottom]).collect();
        let upper = upper.map(|upper| (upper.upper.as_path(), upper.work.as_path()));
        let overlay = Overlay { lower: &lower, upper, volatile: false, attributes: MountAttrFlags::empty() };
        let mount = match overlay.mount() {
            Ok(mount) => mount,
            Err(refusal) if refusal.errno == rustix::io::Errno::PERM => {
                eprintln!("skipped: no overlay mount here ({refusal:?})");
                return None;
            }
            Err(refusal) => panic!("{refusal:?}"),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Some(rustix::fs::openat(mount, ".", flags, Mode::empty()).unwrap())
    }
}

/// Folders with something attached in them can't be removed.
pub(crate) struct Attached(Store);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.detach_all();
    }
}

/// A folder on memory, where there is such a thing.
pub(crate) fn memory_dir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let mut builder = tempfile::Builder::new();
    builder.prefix("carrack-store-");
    if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() }.unwrap()
}

/// Lines without their link counts: of a link that was broken by a copy up, the kernel goes on to tell the old count.
pub(crate) fn without_counts(listing: &str) -> Vec<String> {
    let is_count = |word: &&str| word.strip_prefix('x').is_some_and(|count| count.parse::<u32>().is_ok());
    listing.lines().map(|line| line.split(' ').filter(|word| !is_count(word)).collect::<Vec<_>>().join(" ")).collect()
}

/// A path under a descriptor, for std's functions.
pub(crate) fn below(fd: &OwnedFd, path: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{path}", fd.as_raw_fd()))
}

pub(crate) fn roots(dir: &Path) -> Roots {
    Roots { data: dir.join("data"), run: dir.join("run") }
}

/// One line an inode: type and mode, owner, time, path, link count where it is not 1, content, link or device, xattrs.
pub(crate) fn list(root: BorrowedFd<'_>) -> String {
    let mut lines = String::new();
    line(root, b".", "/", &mut lines);
    folder(root, "", &mut lines);
    lines
}

fn folder(dir: BorrowedFd<'_>, prefix: &str, lines: &mut String) {
    for name in entries(dir).unwrap() {
        let path = format!("{prefix}/{}", name.escape_ascii());
        line(dir, &name, &path, lines);
        if node::file_type(&node::stat(dir, &name).unwrap()) == FileType::Directory {
            folder(node::open_dir(dir, &name).unwrap().as_fd(), &path, lines);
        }
    }
}

fn line(dir: BorrowedFd<'_>, name: &[u8], path: &str, lines: &mut String) {
    use std::fmt::Write as _;
    let stat = node::stat(dir, name).unwrap();
    let kind = node::file_type(&stat);
    let letter = match kind {
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        _ => '-',
    };
    let mode = if kind == FileType::Symlink { 0o777 } else { stat.st_mode & 0o7777 };
    write!(lines, "{letter}{mode:04o} {}:{} {}", stat.st_uid, stat.st_gid, stat.st_mtime).unwrap();
    if stat.st_mtime_nsec != 0 {
        write!(lines, ".{:09}", stat.st_mtime_nsec).unwrap();
    }
    write!(lines, " {path}").unwrap();
    if kind != FileType::Directory && stat.st_nlink > 1 {
        write!(lines, " x{}", stat.st_nlink).unwrap();
    }
    match kind {
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(dir, name, Vec::new()).unwrap();
            write!(lines, " -> {}", target.to_string_lossy()).unwrap();
        }
        FileType::RegularFile => {
            let mut content = Vec::new();
            node::open_file(dir, name).unwrap().read_to_end(&mut content).unwrap();
            if !content.is_empty() {
                write!(lines, " ={}", content.escape_ascii()).unwrap();
            }
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            write!(lines, " {}:{}", rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)).unwrap();
        }
        _ => {}
    }
    for (key, value) in node::xattrs(dir, name).unwrap() {
        if !key.starts_with(b"trusted.overlay.") {
            write!(lines, " {}={}", key.escape_ascii(), value.escape_ascii()).unwrap();
        }
    }
    lines.push('\n');
}

/// Whether the reference tools are here: before 1.7 they know neither blocks of 512 bytes nor tars.
pub(crate) fn has_erofs_utils() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    let numbers = |word: &str| -> Option<(u32, u32)> {
        let mut parts = word.trim_start_matches('v').split('.').map(str::parse);
        Some((parts.next()?.ok()?, parts.next()?.ok()?))
    };
    *FOUND.get_or_init(|| {
        let version = Command::new("fsck.erofs").arg("-V").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        version.split_whitespace().find_map(numbers) >= Some((1, 7))
    })
}

/// What `fsck.erofs` says of an image over a tar, where it is here.
pub(crate) fn fsck_erofs(image: &Path, tar: &Path) -> bool {
    if !has_erofs_utils() {
        return false;
    }
    let device = format!("--device={}", tar.display());
    let checked = Command::new("fsck.erofs").arg(device).arg(image).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    true
}

/// Whether tests may make devices and set owners; says so where not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}
