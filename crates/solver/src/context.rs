//! The build context: a folder, as its ignore file leaves it.

use std::io;
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_dockerfile::IgnoreFile;

use crate::codes;
use crate::select::Source;
use crate::tree::Tree;

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

impl ContextReport {
    pub(crate) fn add(&mut self, source: &Source) {
        self.count(&source.real, &source.stat);
        for entry in &source.entries {
            self.count(&source.real.join(&entry.path), &entry.stat);
        }
        self.largest.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        self.largest.dedup();
        self.largest.truncate(LARGEST_COUNT);
    }

    fn count(&mut self, path: &Path, stat: &rustix::fs::Stat) {
        self.entries += 1;
        if crate::tree::kind(stat) == rustix::fs::FileType::RegularFile {
            let size_bytes = u64::try_from(stat.st_size).unwrap_or_default();
            self.size_bytes += size_bytes;
            self.largest.push((path.display().to_string(), size_bytes));
        }
    }
}

/// The folder and what of it is left out.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) tree: Option<Tree>,
    pub(crate) ignore: IgnoreFile,
}

impl Context {
    /// Opens a folder. The ignore file is the Dockerfile's own (`NAME.dockerignore`), else the folder's.
    pub(crate) fn open(
        folder: Option<&Path>,
        dockerfile: Option<&Path>,
        sources: &mut SourceMap,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Self> {
        let Some(folder) = folder else { return Ok(Self { tree: None, ignore: IgnoreFile::default() }) };
        let tree = Tree::folder(folder).map_err(|error| {
            Diagnostic::error(&codes::UNREADABLE, format!("open the build context {}", folder.display()))
                .cause(error.to_string())
                .hint("the context is a folder, given as the last argument")
                .boxed()
        })?;
        let own = dockerfile.map(|path| {
            let mut name = path.as_os_str().to_owned();
            name.push(".dockerignore");
            PathBuf::from(name)
        });
        let mut ignore = IgnoreFile::default();
        for path in own.into_iter().chain([folder.join(".dockerignore")]) {
            match std::fs::read(&path) {
                Ok(bytes) => {
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    let file = sources.add(path.display().to_string(), text);
                    let (read, mut problems) = IgnoreFile::parse(file, sources.get(file));
                    diagnostics.append(&mut problems);
                    ignore = read;
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(Diagnostic::error(&codes::UNREADABLE, format!("read {}", path.display()))
                        .cause(error.to_string())
                        .hint("make it readable, or remove it")
                        .boxed());
                }
            }
        }
        Ok(Self { tree: Some(tree), ignore })
    }
}
