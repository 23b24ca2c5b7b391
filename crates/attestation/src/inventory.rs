use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};
use std::sync::Arc;

use carrack_oci::Digest;

use crate::bill::{Bill, Listed, Origin, Unread};
use crate::packages::{Form, OperatingSystem, Package, form_of, read};
use crate::purl::purl;

/// Most packages that an image may have, most files that are told to be unreadable, and most that is told of an
/// instruction, in characters.
const PACKAGES_MAX: usize = 50_000;
const UNREAD_MAX: usize = 100;
const INSTRUCTION_MAX: usize = 200;

/// What a member of a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A file, with its permission bits.
    File(u32),
    /// A folder: what lies below it in lower layers stays.
    Folder,
    /// Another name of a file, by its path.
    HardLink(&'a str),
    /// A link, a device.
    Other,
    /// A name that is gone, with all below it (image-spec `layer.md`, Whiteouts).
    Gone,
    /// A folder of which everything below is gone.
    Emptied,
}

/// Collects what the files of an image say of its packages, layer after layer, base first.
#[derive(Debug, Default)]
pub struct Inventory {
    layers: Vec<Arc<Origin>>,
    /// By path, without a leading slash.
    found: BTreeMap<String, Found>,
    unread: Vec<Unread>,
    count: usize,
}

#[derive(Debug, Clone)]
struct Found {
    /// That has the file.
    layer: usize,
    form: Form,
    /// Each with the layer that brought it.
    packages: Vec<(Package, usize)>,
    system: Option<OperatingSystem>,
}

impl Inventory {
    /// Of an image without layers.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is told next belongs to this layer.
    pub fn layer(&mut self, layer: Digest, instruction: &str) {
        let line = instruction.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut cut: String = line.chars().take(INSTRUCTION_MAX).collect();
        if cut.len() < line.len() {
            cut.push('…');
        }
        self.layers.push(Arc::new(Origin { layer, instruction: cut }));
    }

    /// Tells of a member by its path, without a leading slash or dot. The form that its content is to be read as with
    /// [`Inventory::read`], where that is of interest.
    pub fn member(&mut self, path: &str, kind: Kind<'_>) -> Option<Form> {
        match kind {
            Kind::Folder => self.forget(path),
            Kind::Emptied => self.forget_below(path),
            Kind::Gone => {
                if self.found.get(path).is_some_and(|found| found.layer < self.layers.len()) {
                    self.forget(path);
                }
                self.forget_below(path);
            }
            Kind::Other => {
                self.forget(path);
                self.forget_below(path);
            }
            Kind::HardLink(target) => {
                self.forget_below(path);
                let same = self.found.get(target).cloned();
                self.forget(path);
                if let Some(found) = same {
                    self.insert(path, found);
                }
            }
            Kind::File(mode) => {
                self.forget_below(path);
                let form = form_of(path, mode);
                if form.is_none() {
                    self.forget(path);
                }
                return form;
            }
        }
        None
    }

    /// What lower layers have below a path.
    fn forget_below(&mut self, path: &str) {
        let below = format!("{path}/");
        let inner = self.found.range(below.clone()..).take_while(|(known, _)| known.starts_with(&below));
        let inner = inner.filter(|(_, found)| found.layer < self.layers.len()).map(|(known, _)| known.clone());
        inner.collect::<Vec<_>>().iter().for_each(|known| self.forget(known));
    }

    fn forget(&mut self, path: &str) {
        if let Some(found) = self.found.remove(path) {
            self.count -= found.packages.len();
        }
    }

    fn insert(&mut self, path: &str, found: Found) {
        if self.count + found.packages.len() > PACKAGES_MAX {
            return self.unread(path, format!("there are more than {PACKAGES_MAX} packages"));
        }
        self.count += found.packages.len();
        self.found.insert(path.to_owned(), found);
    }

    /// Reads the content of the file that was told of last. What can't be understood is noted.
    pub fn read(&mut self, path: &str, form: Form, content: &mut (impl Read + Seek)) {
        let before = self.found.get(path).cloned();
        self.forget(path);
        let said = match read(form, content) {
            Ok(Some(said)) => said,
            Ok(None) => return,
            Err(reason) => return self.unread(path, reason),
        };
        let current = self.layers.len();
        let known: BTreeMap<&Package, usize> =
            before.iter().flat_map(|found| &found.packages).map(|(package, layer)| (package, *layer)).collect();
        let packages = said.packages.into_iter().map(|package| {
            let layer = known.get(&package).copied().unwrap_or(current);
            (package, layer)
        });
        let found = Found { layer: current, form, packages: packages.collect(), system: said.system };
        self.insert(path, found);
    }

    /// Notes that a file can't be read: what it knows is missing.
    pub fn unread(&mut self, path: &str, reason: impl Into<String>) {
        self.forget(path);
        let (path, reason) = match self.unread.len() {
            ..UNREAD_MAX => (path.chars().take(500).collect(), reason.into()),
            UNREAD_MAX => ("…".to_owned(), "there are more of them than are told".to_owned()),
            _ => return,
        };
        self.unread.push(Unread { path, reason });
    }

    /// The packages that are there in the end.
    pub fn finish(mut self) -> Bill {
        // What is installed counts; what was to be installed only where nothing is.
        let declared: Vec<String> =
            self.found.iter().filter(|(_, found)| found.form.is_declared()).map(|(path, _)| path.clone()).collect();
        for path in declared {
            let folder = path.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
            let installed = format!("{folder}node_modules/");
            if self.found.range(installed.clone()..).next().is_some_and(|(known, _)| known.starts_with(&installed)) {
                self.found.remove(&path);
            }
        }
        let system =
            ["etc/os-release", "usr/lib/os-release"].iter().find_map(|path| self.found.get(*path)?.system.clone());
        let mut packages: BTreeMap<Package, (BTreeSet<String>, usize)> = BTreeMap::new();
        for (path, found) in self.found {
            for (package, layer) in found.packages {
                let (locations, first) = packages.entry(package).or_insert_with(|| (BTreeSet::new(), layer));
                locations.insert(format!("/{path}"));
                *first = layer.min(*first);
            }
        }
        let listed = packages.into_iter().filter_map(|(package, (locations, layer))| {
            Some(Listed {
                purl: purl(&package, system.as_ref()),
                locations: locations.into_iter().collect(),
                origin: self.layers.get(layer.checked_sub(1)?)?.clone(),
                from: None,
                package,
            })
        });
        Bill { packages: listed.collect(), unread: self.unread, system }
    }
}
