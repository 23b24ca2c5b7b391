mod builds;
mod caches;
mod containers;
mod contents;
mod copies;
mod explanations;
mod fetched;
mod keys;
mod scheduling;
mod selection;

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_oci::Reference;
use carrack_store::{Roots, Snapshotter as _, Store};

use crate::tree::Tree;
use crate::{
    BuildRequest, BuildResult, Ended, ExecMountSource, ExecRequest, Executor, Services, Silent, StoreOnly, Stream,
    build,
};

/// Builds mount overlays and change owners. Whether this process may.
fn is_able() -> bool {
    let able = rustix::process::geteuid().is_root()
        && tempfile::tempdir().is_ok_and(|folder| {
            let paths = ["lower", "empty"].map(|name| folder.path().join(name));
            paths.iter().all(|path| std::fs::create_dir(path).is_ok()) && Tree::overlay(&paths, None).is_ok()
        });
    if !able {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("skipped: this process cannot mount overlays");
        }
    }
    able
}

fn has_git() -> bool {
    let has = std::process::Command::new("git").arg("--version").output().is_ok();
    if !has {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("skipped: there is no git");
        }
    }
    has
}

/// A store and a context of their own.
struct Yard {
    folder: tempfile::TempDir,
    store: Store,
    executor: Script,
}

impl Yard {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("carrack-solver-").tempdir().unwrap();
        let roots = Roots { data: folder.path().join("data"), run: folder.path().join("run") };
        std::fs::create_dir(folder.path().join("context")).unwrap();
        Self { store: Store::open(roots).unwrap(), folder, executor: Script::default() }
    }

    fn context(&self) -> PathBuf {
        self.folder.path().join("context")
    }

    fn write(&self, path: &str, text: &str) -> &Self {
        let path = self.context().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn request(&self, dockerfile: &str) -> BuildRequest {
        self.write("Dockerfile", dockerfile);
        BuildRequest::new(self.store.clone(), &self.context())
    }

    fn build(&self, dockerfile: &str) -> BuildResult {
        self.run(&self.request(dockerfile)).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn fail(&self, dockerfile: &str) -> String {
        self.run(&self.request(dockerfile)).err().unwrap_or_default()
    }

    /// Errors as `code line:column message | causes [hints]`.
    fn run(&self, request: &BuildRequest) -> Result<BuildResult, String> {
        let mut sources = SourceMap::new();
        let cancel = AtomicBool::new(false);
        let services = Services { executor: &self.executor, progress: &Silent, images: &StoreOnly, cancel: &cancel };
        build(request, services, &mut sources).map_err(|errors| lines(&errors, &sources))
    }

    /// The files of an image: `mode uid:gid path` and what is in them.
    fn files(&self, result: &BuildResult) -> String {
        let mut out = String::new();
        list(&self.tree(result), Path::new(""), &mut out);
        out
    }

    fn tree(&self, result: &BuildResult) -> Tree {
        let mut lower = self.store.lower_dirs(result.image.chain()).unwrap();
        lower.extend(self.store.lower_dirs(None).unwrap());
        lower.dedup();
        let tree = if lower.len() == 1 { Tree::folder(&lower[0]) } else { Tree::overlay(&lower, None) };
        tree.unwrap()
    }

    fn programs(&self) -> Vec<String> {
        std::mem::take(&mut self.executor.log.lock().unwrap())
    }
}

/// The folder that the control groups of this root's steps lie in stays with the root; this one's is at its end.
impl Drop for Yard {
    fn drop(&mut self) {
        let name = format!("carrack-{}", self.store.roots().tag());
        let mounts = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        for mount in mounts.chain([PathBuf::from("/sys/fs/cgroup")]) {
            // Most hierarchies have none.
            let _ = std::fs::remove_dir(mount.join(&name));
        }
    }
}

fn lines(errors: &[Diagnostic], sources: &SourceMap) -> String {
    let line = |error: &Diagnostic| {
        let place = error.labels.first().map_or(String::new(), |label| {
            let position = sources.position(label.span);
            let name = Path::new(&position.path).file_name().unwrap_or_default().to_string_lossy().into_owned();
            format!(" {name}:{}:{}", position.line, position.column)
        });
        let causes: String = error.causes.iter().map(|cause| format!(" | {cause}")).collect();
        format!("{}{place} {}{causes} [{}]", error.code.id, error.message, error.hints.join("; "))
    };
    errors.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn list(tree: &Tree, folder: &Path, out: &mut String) {
    use std::fmt::Write as _;
    use std::io::Read as _;
    for name in tree.names(folder).unwrap() {
        let path = folder.join(name);
        let stat = tree.stat(&path).unwrap().unwrap();
        let _ = write!(out, "{:o} {}:{} {}", stat.st_mode & 0o7777, stat.st_uid, stat.st_gid, path.display());
        match crate::tree::kind(&stat) {
            rustix::fs::FileType::Directory => {
                out.push_str("/\n");
                list(tree, &path, out);
            }
            rustix::fs::FileType::Symlink => {
                let _ = writeln!(out, " -> {}", tree.link_target(&path).unwrap().display());
            }
            _ => {
                let mut text = Vec::new();
                tree.file(&path).unwrap().read_to_end(&mut text).unwrap();
                text.truncate(100);
                let _ = writeln!(out, " {:?}", String::from_utf8_lossy(&text));
            }
        }
    }
}

/// Runs a line of `COMMAND ARGUMENTS; …` on the layers, without a container: `write PATH TEXT`, `remove PATH`, `print TEXT`,
/// `exit STATUS`, `cat PATH`.
#[derive(Default)]
struct Script {
    log: Mutex<Vec<String>>,
    rendezvous: Option<std::sync::Barrier>,
}

impl Executor for Script {
    fn run(&self, request: &ExecRequest<'_>) -> Result<Ended> {
        let tree = Tree::overlay(&request.lower, Some(&request.upper)).unwrap();
        let line = request.exec.arguments.last().unwrap();
        self.log.lock().unwrap().push(line.clone());
        for target in ["proc", "dev", "etc"] {
            tree.make_folders(Path::new(target), 0o755, crate::tree::Owner::ROOT).unwrap();
        }
        for command in line.split(';').map(str::trim) {
            let words: Vec<&str> = command.splitn(3, ' ').collect();
            match words.as_slice() {
                ["write", path, text] => {
                    let content = carrack_llb::FileContent {
                        name: String::new(),
                        content: (*text).into(),
                        destination: (*path).into(),
                        owner: None,
                        mode: None,
                    };
                    crate::copy::make_file(&mut crate::place::OnDisk(&tree), &content, crate::tree::Owner::ROOT)
                        .unwrap();
                }
                ["remove", path] => {
                    let path = crate::tree::relative(path);
                    let parent = tree.parent(path).unwrap();
                    let flags = rustix::fs::AtFlags::empty();
                    rustix::fs::unlinkat(parent, path.file_name().unwrap(), flags).unwrap();
                }
                ["print", text] => (request.output)(Stream::Out, format!("{text}\n").as_bytes()),
                ["exit", status] => return Ok(Ended { status: status.parse().unwrap(), out_of_memory: false }),
                ["cat", path] => {
                    let mount = request.mounts.iter().find(|mount| mount.target == **path).unwrap();
                    let text = match &mount.source {
                        ExecMountSource::Host(source) if source.is_dir() => format!("{:?}", names(source)),
                        ExecMountSource::Host(source) => std::fs::read_to_string(source).unwrap(),
                        ExecMountSource::Layers { lower, upper, path, .. } => {
                            Tree::overlay(lower, upper.as_ref()).unwrap().text(path).unwrap()
                        }
                        ExecMountSource::Tmpfs { .. } => panic!(),
                    };
                    self.log.lock().unwrap().push(text);
                }
                ["append", path, text] => {
                    let mount = request.mounts.iter().find(|mount| mount.target == **path).unwrap();
                    let ExecMountSource::Host(source) = &mount.source else { panic!() };
                    std::fs::write(source.join(text), "").unwrap();
                }
                ["meet"] => {
                    self.rendezvous.as_ref().unwrap().wait();
                }
                ["agent", path] => {
                    use std::io::{Read as _, Write as _};
                    let mount = request.mounts.iter().find(|mount| mount.target == **path).unwrap();
                    let ExecMountSource::Host(source) = &mount.source else { panic!() };
                    // The tests' folders are longer than a socket's path may be.
                    let folder = std::fs::File::open(source.parent().unwrap()).unwrap();
                    let folder = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder));
                    let path = Path::new(&folder).join(source.file_name().unwrap());
                    let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
                    stream.write_all(b"ping").unwrap();
                    stream.shutdown(std::net::Shutdown::Write).unwrap();
                    let mut answer = String::new();
                    stream.read_to_string(&mut answer).unwrap();
                    self.log.lock().unwrap().push(answer);
                }
                ["secret"] => self.log.lock().unwrap().extend(request.secret_environment.iter().cloned()),
                other => panic!("{other:?}"),
            }
        }
        Ok(Ended { status: 0, out_of_memory: false })
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn tag(name: &str) -> Reference {
    name.parse().unwrap()
}
