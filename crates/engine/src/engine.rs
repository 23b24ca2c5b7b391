use std::io::ErrorKind;
use std::sync::OnceLock;
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_runtime::cgroup::Hierarchies;
use carrack_store::{LayerForm, Layout, Lock, Records, Roots, Store};

use crate::codes;
use crate::container::ContainerRecord;

/// Everything that one root can be asked for. Holds no state but the store's: any number of engines, in any number of
/// processes, may serve one root.
#[derive(Debug, Clone)]
pub struct Engine {
    pub(crate) store: Store,
    hierarchies: OnceLock<Hierarchies>,
}

/// How long a verb waits for another one that has the same container or project in hand.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(120);

impl Engine {
    /// For commands that change something: first takes care of containers whose shim is gone (I-3, I-4), and tells what
    /// became of each. As root only.
    pub fn open(roots: Roots, tell: &mut dyn FnMut(Diagnostic)) -> Result<Self> {
        let engine = Self::open_for_event(roots)?;
        engine.recover()?.into_iter().for_each(tell);
        Ok(engine)
    }

    /// For what a shim starts, which is about one container only.
    pub fn open_for_event(roots: Roots) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(Diagnostic::error(&codes::NOT_ROOT, "can't change anything: not root")
                .hint("repeat the command with sudo")
                .boxed());
        }
        Ok(Self::of(Store::open(roots)?))
    }

    /// For commands that only look: writes, locks and sweeps nothing (I-5).
    pub fn open_read_only(roots: Roots) -> Result<Self> {
        Ok(Self::of(Store::open_read_only(roots)?))
    }

    /// The same, keeping new layers in another form.
    #[must_use]
    pub fn with_form(self, form: LayerForm) -> Self {
        Self::of(self.store.with_form(form))
    }

    fn of(store: Store) -> Self {
        Self { store, hierarchies: OnceLock::new() }
    }

    /// The control groups' hierarchies of this host, asked for once.
    pub(crate) fn hierarchies(&self) -> Result<&Hierarchies> {
        if let Some(known) = self.hierarchies.get() {
            return Ok(known);
        }
        let found = Hierarchies::detect()?;
        Ok(self.hierarchies.get_or_init(|| found))
    }

    /// Where everything lives.
    pub fn roots(&self) -> &Roots {
        self.store.roots()
    }

    pub(crate) fn records(&self) -> Records<ContainerRecord> {
        self.store.records("containers", "container", Layout::Folder("record.json"))
    }

    pub(crate) fn lock_container(&self, id: &str) -> Result<carrack_store::Guard> {
        self.store.lock(Lock::Container(id.to_owned()), LOCK_WAIT)
    }

    /// The record of a name, an id, or the beginning of an id.
    pub(crate) fn find(&self, wanted: &str) -> Result<ContainerRecord> {
        if let Some(record) = self.by_name(wanted)? {
            return Ok(record);
        }
        let none = || {
            Diagnostic::error(&codes::NO_SUCH_CONTAINER, format!("there is no container `{wanted}`"))
                .hint("`carrack ps -a` lists all of them")
        };
        let hexadecimal = !wanted.is_empty() && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
        let ids = if hexadecimal { self.records().names()? } else { Vec::new() };
        let matching: Vec<&String> = ids.iter().filter(|id| id.starts_with(wanted)).collect();
        match matching.as_slice() {
            [id] => self.records().get(id)?.ok_or_else(|| none().boxed()),
            [] => {
                let names = self.container_names()?;
                let near = carrack_diag::nearest(wanted, names.iter().map(String::as_str));
                Err(match near {
                    Some(near) => none().hint(format!("did you mean `{near}`?")).boxed(),
                    None => none().boxed(),
                })
            }
            several => Err(Diagnostic::error(
                &codes::AMBIGUOUS,
                format!("`{wanted}` is the beginning of {} containers", several.len()),
            )
            .hint("give more digits of the id, or the name")
            .boxed()),
        }
    }

    /// The names of all containers.
    pub(crate) fn container_names(&self) -> Result<Vec<String>> {
        Ok(self.records().list()?.into_values().map(|record| record.name).collect())
    }
}

/// Now, in RFC 3339 with nanoseconds.
pub(crate) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Seconds since a time that [`now`] wrote; none where it is no time.
pub(crate) fn seconds_since(time: &str) -> Option<i64> {
    let then: jiff::Timestamp = time.parse().ok()?;
    Some(jiff::Timestamp::now().as_second() - then.as_second())
}

/// Names in a folder; none where it is missing.
pub(crate) fn entries(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Removes a folder with all that is in it; one that is not there is removed.
///
/// A shim that is about to end may write its last lines into it meanwhile: it has few of them, so removing goes on.
pub(crate) fn remove_folder(path: &std::path::Path) -> Result<()> {
    const ATTEMPTS: usize = 20;
    let mut attempt = 1;
    loop {
        match std::fs::remove_dir_all(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty && attempt < ATTEMPTS => attempt += 1,
            Err(error) => return Err(host_error(format!("can't remove {}", path.display()), error)),
        }
    }
}

/// An error of the host, with what was attempted.
pub(crate) fn host_error(attempted: impl Into<String>, error: impl std::fmt::Display) -> Box<Diagnostic> {
    Diagnostic::error(&codes::HOST, attempted).cause(error.to_string()).boxed()
}
