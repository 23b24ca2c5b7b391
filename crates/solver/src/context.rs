//! Contexts: folders, as their ignore files leave them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_dockerfile::IgnoreFile;
use carrack_store::Scratch;
use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use crate::codes;
use crate::contents::Contents;
use crate::request::DockerfileSource;
use crate::select::Source;
use crate::tree::{Tree, kind, small};

/// How much of the context a build uses (D7).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContextReport {
    /// Files and folders.
    pub entries: u64,
    /// Content of files, in bytes.
    pub size_bytes: u64,
    /// The largest files with their sizes in bytes, largest first; at most ten.
    pub largest: Vec<(String, u64)>,
}

const LARGEST_COUNT: usize = 10;

/// What has been used of the context so far: sizes in bytes by path, none for what is no file.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    used: HashMap<PathBuf, Option<u64>>,
}

impl Usage {
    pub(crate) fn add(&mut self, source: &Source) {
        self.used.reserve(source.entries.len() + 1);
        self.count(source.real.clone(), &source.stat);
        for entry in &source.entries {
            self.count(source.real.join(&entry.path), &entry.stat);
        }
    }

    fn count(&mut self, path: PathBuf, stat: &Stat) {
        let is_file = kind(stat) == FileType::RegularFile;
        self.used.insert(path, is_file.then(|| u64::try_from(stat.st_size).unwrap_or_default()));
    }

    pub(crate) fn report(&self) -> ContextReport {
        let mut largest: Vec<(&Path, u64)> =
            self.used.iter().filter_map(|(path, size_bytes)| Some((path.as_path(), (*size_bytes)?))).collect();
        let size_bytes = largest.iter().map(|(_, size_bytes)| size_bytes).sum();
        let order = |left: &(&Path, u64), right: &(&Path, u64)| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0));
        if largest.len() > LARGEST_COUNT {
            largest.select_nth_unstable_by(LARGEST_COUNT, order);
            largest.truncate(LARGEST_COUNT);
        }
        largest.sort_by(order);
        let largest = largest.into_iter().map(|(path, size_bytes)| (path.display().to_string(), size_bytes)).collect();
        ContextReport { entries: self.used.len() as u64, size_bytes, largest }
    }
}

/// A folder that steps take files from: a context, or what was fetched. What is copied of it belongs to root.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) tree: Tree,
    /// What of it is left out.
    pub(crate) ignore: IgnoreFile,
    /// Where that stands.
    pub(crate) ignore_text: Option<IgnoreText>,
    /// What messages call it.
    pub(crate) name: String,
    /// Whether it counts as the context in reports.
    pub(crate) is_context: bool,
    /// What its files held when they were last read.
    pub(crate) contents: Contents,
    /// What holds it while it is used.
    hold: Option<Scratch>,
}

impl Folder {
    /// A folder that was fetched into `hold`.
    pub(crate) fn fetched(path: &Path, name: String, hold: Scratch) -> io::Result<Self> {
        let ignore = IgnoreFile::default();
        let contents = Contents::default();
        let tree = Tree::folder(path)?;
        Ok(Self { tree, ignore, ignore_text: None, name, is_context: false, contents, hold: Some(hold) })
    }

    /// Whether somebody else may write to it.
    pub(crate) fn is_shared(&self) -> bool {
        self.hold.is_none()
    }
}

/// An ignore file as it was written, for explanations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IgnoreText {
    /// Of the file, without its folder.
    pub(crate) name: String,
    text: String,
}

impl IgnoreText {
    /// What it leaves out. What was wrong with it was told when it was used.
    pub(crate) fn read(&self) -> IgnoreFile {
        let mut sources = SourceMap::new();
        let file = sources.add(self.name.clone(), self.text.clone());
        IgnoreFile::parse(file, sources.get(file)).0
    }
}

/// The folders of a build: the context, which a build from standard input has not, and the named ones.
#[derive(Debug, Default)]
pub(crate) struct Contexts {
    pub(crate) main: Option<Arc<Folder>>,
    pub(crate) named: BTreeMap<String, Arc<Folder>>,
}

impl Folder {
    /// Opens a context. The ignore file is the Dockerfile's own (`NAME.dockerignore`), else the folder's.
    pub(crate) fn open(
        name: Option<&str>,
        folder: &Path,
        dockerfile: &DockerfileSource,
        contents: Contents,
        sources: &mut SourceMap,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Self> {
        let called = name.map_or("the build context".to_owned(), |name| format!("the context `{name}`"));
        let tree = Tree::folder(folder).map_err(|error| {
            Diagnostic::error(&codes::UNREADABLE, format!("open {called} {}", folder.display()))
                .cause(error.to_string())
                .hint(match name {
                    Some(_) => "a named context is a folder, an address, docker-image://NAME or oci-layout://FOLDER",
                    None => "the context is a folder, given as the last argument",
                })
                .boxed()
        })?;
        let beside = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".dockerignore");
            PathBuf::from(name)
        };
        // The Dockerfile may lie outside of the context, and its ignore file beside it; links of a context lead nowhere else.
        let own = match dockerfile {
            DockerfileSource::Path(path) => (beside(path), std::fs::File::open(beside(path)).and_then(small).map(Some)),
            DockerfileSource::Inside(path) => (beside(path), tree.bytes(&beside(path))),
            DockerfileSource::Text { .. } => (PathBuf::new(), Ok(None)),
        };
        let (mut ignore, mut ignore_text) = (IgnoreFile::default(), None);
        for (path, read) in [own, (folder.join(".dockerignore"), tree.bytes(Path::new(".dockerignore")))] {
            match read {
                Ok(Some(bytes)) => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    ignore_text = Some(IgnoreText { name, text: text.clone() });
                    let file = sources.add(path.display().to_string(), text);
                    let (read, mut problems) = IgnoreFile::parse(file, sources.get(file));
                    diagnostics.append(&mut problems);
                    ignore = read;
                    break;
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Diagnostic::error(&codes::UNREADABLE, format!("read {}", path.display()))
                        .cause(error.to_string())
                        .hint("make it readable, or remove it")
                        .boxed());
                }
            }
        }
        Ok(Self { tree, ignore, ignore_text, name: called, is_context: name.is_none(), contents, hold: None })
    }
}
