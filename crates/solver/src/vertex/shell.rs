//! A shell in the middle of a build. What is done in it is thrown away.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use carrack_diag::{Diagnostic, Result};
use carrack_llb::{Exec, Vertex, VertexId};
use carrack_store::{Scratch, Snapshotter as _, Upper};

use super::run::{Prepared, container_id};
use super::{Outcome, Solver, at_origin, failed};
use crate::exec::{ExecMountSource, ExecRequest, ExecRequestMount};
use crate::progress::Event;
use crate::tree::{Tree, relative};
use crate::{codes, mounts};

/// Where the host's busybox is shown in an image that has no shell.
const GUEST: &str = "/.carrack/busybox";

impl Solver<'_> {
    /// The shell that the build stops with.
    pub(super) fn stop(&self, id: VertexId, exec: &Exec, inputs: &[Arc<Outcome>]) -> Result<Outcome> {
        let vertex = self.graph.vertex(id);
        self.lease(vertex)?;
        let scratch = self.store.scratch(inputs[0].chain())?;
        let prepared = self.prepare(vertex, exec, inputs, (scratch.dir(), &container_id(scratch.dir())))?;
        let lower = self.store.lower_dirs(inputs[0].chain())?;
        let status = self.shell(id, (exec, false), (lower, scratch.upper()), &scratch, &prepared)?;
        *self.shell_status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        Ok(Outcome { is_cached: false, ..Outcome::of(None) })
    }

    /// A shell in what a failed program has left, with what it had.
    pub(super) fn look_around(
        &self,
        id: VertexId,
        exec: &Exec,
        scratch: &Scratch,
        lower: Vec<PathBuf>,
        prepared: &Prepared,
    ) -> Result<()> {
        // The kernel mounts no upper folder again whose work folder saw a mount that never synced.
        let upper = Upper { work: scratch.dir().join("shell-work"), ..scratch.upper() };
        let made = fs::create_dir(&upper.work);
        made.map_err(|error| failed(self.graph.vertex(id), "make a folder").cause(error.to_string()).boxed())?;
        self.shell(id, (exec, true), (lower, upper), scratch, prepared).map(|_| ())
    }

    fn shell(
        &self,
        id: VertexId,
        (exec, has_failed): (&Exec, bool),
        (lower, upper): (Vec<PathBuf>, Upper),
        scratch: &Scratch,
        prepared: &Prepared,
    ) -> Result<i32> {
        let vertex = self.graph.vertex(id);
        let io_failed = |error: io::Error| failed(vertex, "prepare the shell").cause(error.to_string()).boxed();
        let mut mounts = prepared.mounts.clone();
        for (index, mount) in mounts.iter_mut().enumerate() {
            let folder = scratch.dir().join(format!("shell-{index}"));
            discard(mount, &mounts::folder(self.store), &folder).map_err(io_failed)?;
        }
        let mut arguments = vec![exec.shell.clone()];
        let seen: Vec<PathBuf> = std::iter::once(upper.upper.clone()).chain(lower.iter().cloned()).collect();
        if !has_program(&Tree::overlay(&seen, None).map_err(io_failed)?, exec).map_err(io_failed)? {
            let source = ExecMountSource::Host(static_busybox().ok_or_else(|| no_shell(vertex, exec))?);
            mounts.push(ExecRequestMount { target: GUEST.into(), source, read_only: true });
            arguments = vec![GUEST.into(), "sh".into()];
        }
        self.progress.event(Event::ShellOpened { vertex: id.0, program: &arguments, has_failed });
        let ended = self.executor.run(&ExecRequest {
            id: &container_id(scratch.dir()),
            exec: &Exec { arguments, ..exec.clone() },
            lower,
            upper,
            mounts,
            secret_environment: prepared.secret_environment.clone(),
            folder: prepared.private.path(),
            attached: true,
            output: &|_, _| {},
            cancel: self.cancel,
            resources: self.resources,
        });
        self.progress.event(Event::ShellClosed);
        Ok(ended.map_err(|diagnostic| at_origin(*diagnostic, vertex).boxed())?.status)
    }
}

/// Shows a cache mount as it is, and keeps nothing of what the shell does.
fn discard(mount: &mut ExecRequestMount, caches: &Path, folder: &Path) -> io::Result<()> {
    let new = |name: &str| fs::create_dir_all(folder.join(name)).map(|()| folder.join(name));
    match &mut mount.source {
        ExecMountSource::Host(path) if path.starts_with(caches) => {
            let upper = Upper { upper: new("upper")?, work: new("work")? };
            // The root of what is shown is that of the upper folder.
            let metadata = fs::metadata(&path)?;
            chown(&upper.upper, Some(metadata.uid()), Some(metadata.gid()))?;
            fs::set_permissions(&upper.upper, fs::Permissions::from_mode(metadata.mode() & 0o7777))?;
            let lower = vec![path.clone()];
            let (upper, mountpoint) = (Some(upper), new("mountpoint")?);
            mount.source = ExecMountSource::Layers { lower, upper, mountpoint, path: PathBuf::new() };
        }
        // As with the step's own.
        ExecMountSource::Layers { upper: Some(upper), .. } => upper.work = new("work")?,
        _ => {}
    }
    Ok(())
}

/// Whether the stage's shell is in the image.
fn has_program(tree: &Tree, exec: &Exec) -> io::Result<bool> {
    let find = |path: &Path| tree.resolve(path).map(|found| found.is_some());
    if exec.shell.contains('/') {
        return find(relative(&exec.shell));
    }
    let path = exec.environment.iter().find_map(|entry| entry.strip_prefix("PATH="));
    for folder in path.unwrap_or_default().split(':').filter(|_| !exec.shell.is_empty()) {
        if find(&relative(folder).join(&exec.shell))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The host's busybox, where it needs no library of the host.
fn static_busybox() -> Option<PathBuf> {
    let places = ["/bin/busybox", "/usr/bin/busybox", "/usr/local/bin/busybox"];
    places.into_iter().map(PathBuf::from).find(|path| is_static(path).unwrap_or(false))
}

/// Whether a program names no loader (elf(5): no segment of type `PT_INTERP`).
fn is_static(path: &Path) -> io::Result<bool> {
    const LOADER: u64 = 3;
    let mut head = Vec::new();
    File::open(path)?.take(4096).read_to_end(&mut head)?;
    let number = |offset: usize, length: usize| {
        let bytes = head.get(offset..offset.checked_add(length)?)?;
        Some(bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte)))
    };
    // 64 bits, little-endian: what this program runs on.
    let table = || Some((usize::try_from(number(32, 8)?).ok()?, number(54, 2)? as usize, number(56, 2)? as usize));
    let Some((begin, size, count)) = table().filter(|_| head.starts_with(b"\x7fELF\x02\x01")) else { return Ok(false) };
    let mut kinds = (0..count).map(|index| number(begin.saturating_add(size * index), 4));
    Ok(kinds.all(|kind| kind.is_some_and(|kind| kind != LOADER)))
}

fn no_shell(vertex: &Vertex, exec: &Exec) -> Box<Diagnostic> {
    let message = format!("there is no shell to look around with: the image has no `{}`", exec.shell);
    at_origin(Diagnostic::error(&codes::NO_SHELL, message), vertex)
        .cause("this host has no busybox that could be lent either: a static one at /bin/busybox or /usr/bin/busybox")
        .hint("install one (Debian: `apt-get install busybox-static`), or stop in an earlier stage that has a shell")
        .boxed()
}
