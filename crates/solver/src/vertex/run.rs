//! `RUN`.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use carrack_diag::{Diagnostic, Result};
use carrack_llb::{CacheMount, CopyAction, Exec, ExecMount, MountKind, Vertex, VertexId};
use carrack_oci::{Digest, Platform};
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, RenameFlags};

use super::file::unchanged;
use super::{Begun, Outcome, Solver, at_origin, failed, keys_of, led_astray};
use crate::agent::Forward;
use crate::context::Folder;
use crate::exec::{Ended, ExecMountSource, ExecRequest, ExecRequestMount};
use crate::explain::Taken;
use crate::private::Private;
use crate::progress::{Event, Stream};
use crate::select::{Source, State};
use crate::tree::{Tree, kind, relative};
use crate::{codes, copy, foreign, mounts, select};
use carrack_store::{Snapshotter as _, Upper};

/// How much of a failed program's output is repeated below the message.
const TAIL_LINES: usize = 20;

/// What every container has mounted in it; the folders and files are made where they are missing, and are not the step's.
const STUBS: [&str; 5] = ["/proc", "/sys", "/dev", "/etc/hosts", "/etc/resolv.conf"];

/// What a step needs beside its layers.
pub(super) struct Prepared {
    pub(super) mounts: Vec<ExecRequestMount>,
    pub(super) secret_environment: Vec<String>,
    pub(super) private: Private,
    /// Held while the step runs.
    _locks: Vec<File>,
    /// Serve the step while it runs.
    _agents: Vec<Forward>,
}

impl Solver<'_> {
    pub(super) fn exec(&self, id: VertexId, exec: &Exec, inputs: &[Arc<Outcome>]) -> Result<Outcome> {
        let vertex = self.graph.vertex(id);
        let base = &inputs[0];
        let mut identities: Vec<Digest> = inputs.iter().map(|input| input.identity()).collect();
        let mut bound = Vec::new();
        for mount in &exec.mounts {
            if let MountKind::Bind { input, source, .. } = &mount.kind
                && let Some(folder) = &inputs[*input].folder
            {
                let (digest, sources, states) = folder_files(vertex, *input, source, folder)?;
                identities[*input] = digest;
                bound.push((*input, digest, sources, states));
            }
        }
        let taken: Vec<Taken<'_>> = bound
            .iter()
            .map(|(input, digest, sources, states)| Taken {
                input: *input,
                digest: *digest,
                sources,
                states: states.clone(),
            })
            .collect();
        let keys = [keys_of(&vertex.op, identities)];
        if let Some(outcome) = self.cached(id, &keys, inputs, &taken)? {
            return Ok(outcome);
        }
        let work = match self.begin(id, &keys, inputs, &taken)? {
            Begun::Done(outcome) => return Ok(*outcome),
            Begun::Work(work) => work,
        };
        let scratch = &work.scratch;
        let lower = self.store.lower_dirs(base.chain())?;
        if let Some(platform) = &exec.foreign
            && let Some(obstacle) = foreign::obstacle(platform, &Platform::host(), &lower)
        {
            let message = format!("the step `{}` runs programs for {platform}", vertex.name);
            let diagnostic = Diagnostic::error(&codes::FOREIGN, message).cause(obstacle);
            return Err(at_origin(diagnostic, vertex).hint(foreign::cure(platform)).boxed());
        }
        let container = container_id(scratch.dir());
        let prepared = self.prepare(vertex, exec, inputs, (scratch.dir(), &container))?;
        for (input, _, sources, _) in &bound {
            if let Some(folder) = &inputs[*input].folder {
                unchanged(vertex, folder, sources)?;
            }
        }
        let targets = STUBS.iter().map(|stub| (*stub).to_owned());
        let targets = targets.chain(prepared.mounts.iter().map(|mount| mount.target.clone()));
        let stubs = self.missing(vertex, base, targets)?;
        let tail = Mutex::new(Vec::new());
        let output = |stream: Stream, bytes: &[u8]| {
            self.progress.event(Event::Output { vertex: id.0, stream, bytes });
            remember(&mut tail.lock().unwrap_or_else(PoisonError::into_inner), bytes);
        };
        let ended = self.executor.run(&ExecRequest {
            id: &container,
            exec,
            lower: lower.clone(),
            upper: scratch.upper(),
            mounts: prepared.mounts.clone(),
            secret_environment: prepared.secret_environment.clone(),
            folder: prepared.private.path(),
            attached: false,
            output: &output,
            cancel: self.cancel,
            resources: self.resources,
        });
        let ended = ended.map_err(|diagnostic| at_origin(*diagnostic, vertex).boxed())?;
        if ended.status != 0 {
            if self.debug && !self.cancel.load(Ordering::SeqCst) {
                self.look_around(id, exec, scratch, lower, &prepared)?;
            }
            let tail = tail.into_inner().unwrap_or_else(PoisonError::into_inner);
            return Err(run_failed(vertex, exec, ended, &tail));
        }
        drop(prepared);
        remove_stubs(&scratch.upper().upper, &stubs)
            .map_err(|error| failed(vertex, "tidy up after the step").cause(error.to_string()).boxed())?;
        self.commit(vertex, &keys, inputs, &taken, &work)
    }

    pub(super) fn prepare(
        &self,
        vertex: &Vertex,
        exec: &Exec,
        inputs: &[Arc<Outcome>],
        (scratch, container): (&Path, &str),
    ) -> Result<Prepared> {
        let private = Private::create(self.store, container)
            .map_err(|error| failed(vertex, "make a folder for the step").cause(error.to_string()).boxed())?;
        let mut prepared = Prepared {
            mounts: Vec::new(),
            secret_environment: Vec::new(),
            private,
            _locks: Vec::new(),
            _agents: Vec::new(),
        };
        for (index, mount) in exec.mounts.iter().enumerate() {
            let folder = scratch.join("mounts").join(index.to_string());
            self.mount(vertex, mount, inputs, &folder, &mut prepared)?;
        }
        Ok(prepared)
    }

    fn mount(
        &self,
        vertex: &Vertex,
        mount: &ExecMount,
        inputs: &[Arc<Outcome>],
        folder: &Path,
        prepared: &mut Prepared,
    ) -> Result<()> {
        let io_failed =
            |what: &'static str| move |error: io::Error| failed(vertex, what).cause(error.to_string()).boxed();
        let (source, read_only) = match &mount.kind {
            MountKind::Tmpfs { size_bytes } => (ExecMountSource::Tmpfs { size_bytes: *size_bytes }, false),
            MountKind::Bind { input, source, writable } => {
                let outcome = &inputs[*input];
                let source = match &outcome.folder {
                    None if !self.is_folder_source(vertex, *input) => {
                        self.bound_layers(vertex, source, outcome, (folder, *writable))?
                    }
                    _ => ExecMountSource::Host(self.materialise(vertex, *input, source, outcome, folder)?),
                };
                (source, !writable)
            }
            MountKind::Cache(cache) => {
                let (path, locks) = self.cache_folder(vertex, cache, inputs, folder)?;
                prepared._locks.extend(locks);
                (ExecMountSource::Host(path), cache.read_only)
            }
            MountKind::File { content, mode } => {
                let path = prepared.private.path().join(format!("file-{}", prepared.mounts.len()));
                write(&path, content.as_bytes(), *mode, (0, 0)).map_err(io_failed("write the step's file"))?;
                (ExecMountSource::Host(path), true)
            }
            MountKind::Ssh { id, required, mode, uid, gid } => {
                let Some(agent) = self.agents.get(id) else {
                    return if *required { Err(missing_agent(vertex, id)) } else { Ok(()) };
                };
                let path = prepared.private.path().join(format!("agent-{}", prepared.mounts.len()));
                let forward = Forward::start(agent, &path).and_then(|forward| {
                    chown(&path, Some(*uid), Some(*gid))?;
                    fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
                    Ok(forward)
                });
                prepared._agents.push(forward.map_err(io_failed("forward the SSH agent"))?);
                (ExecMountSource::Host(path), true)
            }
            MountKind::Secret { id, environment, required, mode, uid, gid } => {
                let Some(value) = self.secrets.get(id) else {
                    return if *required { Err(missing_secret(vertex, id)) } else { Ok(()) };
                };
                if let Some(name) = environment {
                    let value = String::from_utf8_lossy(value);
                    prepared.secret_environment.push(format!("{name}={value}"));
                }
                if mount.target.is_none() {
                    return Ok(());
                }
                let path = prepared.private.path().join(format!("secret-{}", prepared.mounts.len()));
                write(&path, value, *mode, (*uid, *gid)).map_err(io_failed("write the secret"))?;
                (ExecMountSource::Host(path), true)
            }
        };
        if let Some(target) = &mount.target {
            prepared.mounts.push(ExecRequestMount { target: target.clone(), source, read_only });
        }
        Ok(())
    }

    /// What is bound of layers, with what is written to it thrown away.
    fn bound_layers(
        &self,
        vertex: &Vertex,
        source: &str,
        outcome: &Outcome,
        (folder, writable): (&Path, bool),
    ) -> Result<ExecMountSource> {
        let io_failed = |error: io::Error| failed(vertex, "prepare a mount").cause(error.to_string()).boxed();
        let tree = self.tree(vertex, outcome)?;
        let path = tree.resolve(relative(source)).map_err(io_failed)?;
        let path = path.ok_or_else(|| not_bound(vertex, source))?;
        let make = |name: &str| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(io_failed)?;
            Ok(path)
        };
        let upper = if writable { Some(Upper { upper: make("upper")?, work: make("work")? }) } else { None };
        let lower = self.lower(outcome.chain())?;
        Ok(ExecMountSource::Layers { lower, upper, mountpoint: make("root")?, path })
    }

    /// A copy of what is bound, so that what is ignored is not seen and what is written is thrown away.
    fn materialise(
        &self,
        vertex: &Vertex,
        input: usize,
        source: &str,
        outcome: &Outcome,
        folder: &Path,
    ) -> Result<PathBuf> {
        let from_folder = self.is_folder_source(vertex, input);
        let own;
        let tree = match (&outcome.folder, from_folder) {
            (Some(folder), _) => &folder.tree,
            (None, true) => return Err(not_bound(vertex, source)),
            (None, false) => {
                own = self.tree(vertex, outcome)?;
                &own
            }
        };
        let ignore = outcome.folder.as_ref().map(|folder| &folder.ignore);
        let copy = whole(vertex, input, source);
        let work = || -> io::Result<Option<PathBuf>> {
            fs::create_dir_all(folder)?;
            let sources = select::sources(tree, &copy, ignore)?;
            let Some(first) = sources.first() else { return Ok(None) };
            copy::copy_to_disk(tree, &sources, &Tree::folder(folder)?, &copy, None, from_folder)
                .map_err(|failure| failure.error)?;
            let is_folder = kind(&first.stat) == FileType::Directory;
            let name = first.name.file_name().unwrap_or_default();
            Ok(Some(if is_folder { folder.to_owned() } else { folder.join(name) }))
        };
        let made = work().map_err(|error| failed(vertex, "prepare a mount").cause(error.to_string()).boxed())?;
        made.ok_or_else(|| not_bound(vertex, source))
    }

    /// The folder of a cache mount, made where it is new, and the locks that its use asks for. It is made in `fresh`, which
    /// goes with the step whatever happens to it.
    fn cache_folder(
        &self,
        vertex: &Vertex,
        cache: &CacheMount,
        inputs: &[Arc<Outcome>],
        fresh: &Path,
    ) -> Result<(PathBuf, Vec<File>)> {
        let folder = mounts::folder(self.store);
        let name = Digest::of(&cache.id).hex();
        let work = || -> io::Result<(PathBuf, Vec<File>)> {
            let using = |name: &str| mounts::using(self.store, name, &cache.id);
            let lock = |name: &str, operation| -> io::Result<Option<File>> {
                let file = File::options().create(true).append(true).open(mounts::lock_path(self.store, name))?;
                match rustix::fs::flock(&file, operation) {
                    Ok(()) => Ok(Some(file)),
                    Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
                    Err(errno) => Err(errno.into()),
                }
            };
            match cache.sharing.as_str() {
                "locked" => {
                    let mut held = vec![using(&name)?];
                    held.extend(lock(&name, FlockOperation::LockExclusive)?);
                    Ok((folder.join(&name), held))
                }
                "private" => {
                    for number in 0.. {
                        let name = format!("{name}-{number}");
                        let held = using(&name)?;
                        if let Some(file) = lock(&name, FlockOperation::NonBlockingLockExclusive)? {
                            return Ok((folder.join(name), vec![held, file]));
                        }
                    }
                    Err(io::ErrorKind::WouldBlock.into())
                }
                _ => Ok((folder.join(&name), vec![using(&name)?])),
            }
        };
        let io_failed = |error: io::Error| failed(vertex, "open a cache mount").cause(error.to_string()).boxed();
        let (path, lock) = work().map_err(io_failed)?;
        if path.is_dir() {
            return Ok((path, lock));
        }
        fs::create_dir_all(fresh).map_err(io_failed)?;
        if let Some((input, source)) = &cache.from {
            self.materialise(vertex, *input, source, &inputs[*input], fresh)?;
        }
        let finish = || -> io::Result<()> {
            chown(fresh, Some(cache.uid), Some(cache.gid))?;
            fs::set_permissions(fresh, fs::Permissions::from_mode(cache.mode))?;
            // Another step of this id may have been faster; its folder, although still empty, is in use.
            match rustix::fs::renameat_with(CWD, fresh, CWD, &path, RenameFlags::NOREPLACE) {
                Err(rustix::io::Errno::EXIST) => Ok(()),
                other => Ok(other?),
            }
        };
        finish().map_err(io_failed)?;
        Ok((path, lock))
    }

    /// The paths behind `targets`, and the folders above them, that are not in the layers below.
    fn missing(&self, vertex: &Vertex, base: &Outcome, targets: impl Iterator<Item = String>) -> Result<Vec<PathBuf>> {
        let tree = self.tree(vertex, base)?;
        let mut missing = Vec::new();
        for target in targets {
            let found = tree.missing(relative(&target));
            missing.extend(found.map_err(|error| {
                let diagnostic = failed(vertex, &format!("find {target} in the image"));
                led_astray(diagnostic.cause(error.to_string()), &error).boxed()
            })?);
        }
        // What lies deepest goes first.
        missing.sort_by_cached_key(|path| (std::cmp::Reverse(path.components().count()), path.clone()));
        missing.dedup();
        Ok(missing)
    }
}

/// What a mount binds of a folder.
fn folder_files(
    vertex: &Vertex,
    input: usize,
    source: &str,
    folder: &Folder,
) -> Result<(Digest, Vec<Source>, Vec<State>)> {
    let copy = whole(vertex, input, source);
    let read = || -> io::Result<_> {
        let sources = select::sources(&folder.tree, &copy, Some(&folder.ignore))?;
        let (digest, states) = select::digest(&folder.tree, &sources, false, &folder.contents)?;
        Ok((digest, sources, states))
    };
    read().map_err(|error| failed(vertex, "read what is bound").cause(error.to_string()).boxed())
}

/// Takes away the places that mounts needed and the step left as they were made: empty.
fn remove_stubs(upper: &Path, stubs: &[PathBuf]) -> io::Result<()> {
    let tree = Tree::folder(upper)?;
    for path in stubs {
        let stat = match tree.stat(path) {
            Ok(Some(stat)) => stat,
            Ok(None) => continue,
            // The step has put a link in the way: what lies behind it is not what the mount has made.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => continue,
            Err(error) => return Err(error),
        };
        let parent = tree.parent(path)?;
        let name = path.file_name().unwrap_or_default();
        let removed = match kind(&stat) {
            FileType::Directory => rustix::fs::unlinkat(&parent, name, AtFlags::REMOVEDIR),
            FileType::RegularFile if stat.st_size == 0 => rustix::fs::unlinkat(&parent, name, AtFlags::empty()),
            _ => Ok(()),
        };
        match removed {
            Ok(()) | Err(rustix::io::Errno::NOTEMPTY) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// A copy of a whole source, for mounts.
fn whole(vertex: &Vertex, input: usize, source: &str) -> CopyAction {
    let none = carrack_diag::Span::new(carrack_diag::FileId(0), 0, 0);
    CopyAction::whole(input, source, vertex.origin.first().copied().unwrap_or(none))
}

/// 64 digits that no other running step of the host has: the scratch folder's name is one of its kind.
pub(super) fn container_id(scratch: &Path) -> String {
    Digest::of(format!("{} {}", scratch.display(), std::process::id())).hex()
}

fn write(path: &Path, content: &[u8], mode: u32, (uid, gid): (u32, u32)) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    chown(path, Some(uid), Some(gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Keeps the last part of the output.
fn remember(tail: &mut Vec<u8>, bytes: &[u8]) {
    const LIMIT_BYTES: usize = 16 << 10;
    tail.extend_from_slice(bytes);
    if tail.len() > LIMIT_BYTES {
        tail.drain(..tail.len() - LIMIT_BYTES);
    }
}

fn run_failed(vertex: &Vertex, exec: &Exec, Ended { status, out_of_memory }: Ended, tail: &[u8]) -> Box<Diagnostic> {
    let ended = match status {
        126 => "could not be executed (status 126)".to_owned(),
        127 => "was not found (status 127)".to_owned(),
        129..=192 => format!("was killed by signal {} (exit status {status})", signal(status - 128)),
        status => format!("ended with exit status {status}"),
    };
    // Of a shell's command line the shell goes without saying.
    let shown = match exec.arguments.as_slice() {
        [_, flag, line] if flag == "-c" => line.lines().next().unwrap_or_default().to_owned(),
        arguments => arguments.join(" "),
    };
    let mut diagnostic =
        at_origin(Diagnostic::error(&codes::RUN_FAILED, format!("the RUN step `{}` failed", shorten(&shown))), vertex)
            .cause(format!("its program {ended}"));
    if out_of_memory {
        diagnostic = diagnostic.cause("out of memory: the kernel killed a process of the step at the step's limit");
    }
    let text = String::from_utf8_lossy(tail);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if !lines.is_empty() {
        let last = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        diagnostic = diagnostic.cause(format!("its last output was:\n{last}"));
    }
    // In the C library's words: a program that meets a full disk says so itself, if anybody does.
    let is_full = text.contains("No space left on device");
    let hint = match status {
        _ if is_full => super::DISK_FULL_HINT,
        _ if out_of_memory => "raise --memory, or do less at once",
        137 => "a kill without a reason is often a want of memory: raise the limit, or do less at once",
        127 => "install the program in a step above, or look for a typing error in its name",
        _ => "correct the command; the steps above are cached, so the next try starts here",
    };
    diagnostic.hint(hint).boxed()
}

/// A signal's number, with its name where programs of builds commonly end by it (signal(7)).
fn signal(number: i32) -> String {
    let name = match number {
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return number.to_string(),
    };
    format!("{number}, {name}")
}

fn shorten(text: &str) -> String {
    const LIMIT: usize = 60;
    if text.chars().count() <= LIMIT {
        return text.to_owned();
    }
    format!("{}…", text.chars().take(LIMIT).collect::<String>())
}

fn missing_secret(vertex: &Vertex, id: &str) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::error(&codes::MISSING_SECRET, format!("the build was not given the secret `{id}`"));
    at_origin(diagnostic, vertex).hint(format!("pass it: --secret id={id},src=FILE")).boxed()
}

fn missing_agent(vertex: &Vertex, id: &str) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::error(&codes::MISSING_SECRET, format!("the build was not given the SSH agent `{id}`"));
    at_origin(diagnostic, vertex)
        .hint(format!("pass it: --ssh {id}, with SSH_AUTH_SOCK set, or --ssh {id}=SOCKET"))
        .boxed()
}

fn not_bound(vertex: &Vertex, source: &str) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::error(&codes::NOT_FOUND, format!("`{source}` is not there to be mounted"));
    at_origin(diagnostic, vertex).hint("correct source= of the mount, or look at .dockerignore").boxed()
}
