use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;

use crate::LayerForm;
use crate::codes;
use crate::files::{self, Durability};

/// The two folders that everything lives in. Two pairs of roots never touch each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// What outlives a reboot; absolute.
    pub data: PathBuf,
    /// What a reboot voids; absolute.
    pub run: PathBuf,
}

impl Roots {
    /// 8 hexadecimal digits of a hash of the data root's canonical path, for names that the kernel has only once.
    pub fn tag(&self) -> String {
        use std::os::unix::ffi::OsStrExt as _;
        Digest::of(canonical(&self.data).as_os_str().as_bytes()).hex()[..8].to_owned()
    }
}

/// Follows the links of the part that exists, so that the tag is the same before and after the root is made.
fn canonical(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut existing = path;
    loop {
        if let Ok(real) = existing.canonicalize() {
            return missing.iter().rev().fold(real, |path, name| path.join(name));
        }
        let (Some(parent), Some(name)) = (existing.parent(), existing.file_name()) else { return path.to_owned() };
        missing.push(name);
        existing = parent;
    }
}

/// The layout that this code writes; a root of another one is left alone.
const VERSION: &str = "1\n";

const DATA_FOLDERS: &[&str] = &[
    "content/blobs/sha256",
    "content/ingest",
    "snapshots/new",
    "images/records",
    "images/names",
    "images/indexes",
    "containers",
    "volumes",
    "networks",
    "stacks",
    "keeps",
];

const RUN_FOLDERS: &[&str] = &["active", "containers", "ingest", "locks", "leases", "networks"];

/// The store of one pair of roots. Cheap to clone and to send to other threads; every function may be called from
/// several processes at once.
#[derive(Debug, Clone)]
pub struct Store {
    roots: Roots,
    tag: OnceLock<String>,
    writable: bool,
    pub(crate) form: LayerForm,
}

impl Store {
    /// Opens for changing: makes missing folders (0700) and sweeps what processes that are gone have left half-made.
    ///
    /// # Errors
    /// Where a folder can't be made, or the root has another layout.
    pub fn open(roots: Roots) -> Result<Self> {
        let version = roots.data.join("version");
        check_version(&version)?;
        for (root, folders) in [(&roots.data, DATA_FOLDERS), (&roots.run, RUN_FOLDERS)] {
            for folder in folders {
                let path = root.join(folder);
                if !path.is_dir() {
                    files::make_dir(&path)?;
                }
            }
        }
        let store = Self { roots, tag: OnceLock::new(), writable: true, form: LayerForm::default() };
        let mut swept = false;
        for folder in store.work_in_progress() {
            swept |= files::sweep(&folder)?;
        }
        if swept {
            store.put_layers_away()?;
        }
        store.make_standing_dirs()?;
        if !version.exists() {
            files::write_atomic(&store.ingest_dir(), &version, VERSION.as_bytes(), Durability::Synced)?;
        }
        Ok(store)
    }

    /// Opens for looking: writes, locks, creates and sweeps nothing (I-5). A missing root reads as an empty one.
    ///
    /// # Errors
    /// Where the root has another layout.
    pub fn open_read_only(roots: Roots) -> Result<Self> {
        check_version(&roots.data.join("version"))?;
        Ok(Self { roots, tag: OnceLock::new(), writable: false, form: LayerForm::default() })
    }

    /// What processes that are gone have left half-made, and the next mutating command will sweep.
    ///
    /// # Errors
    /// Where a folder can't be read.
    pub fn abandoned(&self) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for folder in self.work_in_progress() {
            found.extend(files::abandoned(&folder)?.into_iter().map(|(path, _)| path));
        }
        Ok(found)
    }

    /// Where it lives.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// [`Roots::tag`], looked up once.
    pub fn root_tag(&self) -> &str {
        self.tag.get_or_init(|| self.roots.tag())
    }

    /// Whether it was opened for changing.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// The folder of a container on the data root: record, upper directory, logs.
    ///
    /// # Errors
    /// `store/invalid-name`.
    pub fn container_dir(&self, id: &str) -> Result<PathBuf> {
        files::check_name("container", id)?;
        Ok(self.roots.data.join("containers").join(id))
    }

    /// The folder of a container on the run root: state, socket, generated files.
    ///
    /// # Errors
    /// `store/invalid-name`.
    pub fn container_run_dir(&self, id: &str) -> Result<PathBuf> {
        files::check_name("container", id)?;
        Ok(self.roots.run.join("containers").join(id))
    }

    /// The folder of a project: journal, releases.
    ///
    /// # Errors
    /// `store/invalid-name`.
    pub fn stack_dir(&self, project: &str) -> Result<PathBuf> {
        files::check_name("project", project)?;
        Ok(self.roots.data.join("stacks").join(project))
    }

    pub(crate) fn mutable(&self) -> Result<()> {
        if self.writable { Ok(()) } else { Err(read_only(&self.roots.data.display().to_string())) }
    }

    pub(crate) fn ingest_dir(&self) -> PathBuf {
        self.roots.data.join("content/ingest")
    }

    pub(crate) fn run_ingest_dir(&self) -> PathBuf {
        self.roots.run.join("ingest")
    }

    /// Whose entries are held by `flock` while somebody works at them.
    fn work_in_progress(&self) -> [PathBuf; 4] {
        [self.ingest_dir(), self.new_snapshots_dir(), self.run_ingest_dir(), self.leases_dir()]
    }

    pub(crate) fn new_snapshots_dir(&self) -> PathBuf {
        self.roots.data.join("snapshots/new")
    }

    pub(crate) fn leases_dir(&self) -> PathBuf {
        self.roots.run.join("leases")
    }
}

pub(crate) fn read_only(what: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::READ_ONLY, format!("{what} can't be changed by a command that only looks")).boxed()
}

fn check_version(path: &Path) -> Result<()> {
    match files::read(path)? {
        Some(found) if found != VERSION.as_bytes() => {
            let found = String::from_utf8_lossy(&found).trim().to_owned();
            Err(Diagnostic::error(&codes::UNKNOWN_VERSION, format!("{} says layout {found}", path.display()))
                .cause(format!("this carrack reads and writes layout {}", VERSION.trim()))
                .hint("use the carrack that wrote the root, or another root with --root")
                .boxed())
        }
        _ => Ok(()),
    }
}
