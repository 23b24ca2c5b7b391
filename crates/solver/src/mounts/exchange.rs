//! Cache mounts on their way to another machine and back: in a folder, of each mount a plain tar `NAME.tar` and, as what says
//! that it is whole, `NAME.json`.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use carrack_store::{Store, extract, remove_tree, write_tree};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::{folder, hold, names, state};
use crate::codes;

/// Which cache mounts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MountsRequest {
    /// Their ids; empty is all.
    pub ids: Vec<String>,
    /// How much may go, in bytes of the tars: what was used last goes first.
    pub size_bytes: Option<u64>,
    /// Whether what is here is replaced by what comes.
    pub replace: bool,
}

/// What became of a cache mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountFate {
    /// It was written, or read.
    Done,
    /// A step works with it.
    InUse,
    /// It does not fit into what is left of the size.
    TooLarge,
    /// There is one of this id here.
    Kept,
}

/// A cache mount that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MovedMount {
    /// Its id.
    pub id: String,
    /// Of its tar, in bytes; 0 where there is none.
    pub size_bytes: u64,
    /// What became of it.
    pub fate: MountFate,
}

/// What stands beside a tar.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    id: String,
    size_bytes: u64,
    /// Seconds since 1970.
    used: u64,
    mode: u32,
    uid: u32,
    gid: u32,
}

const TOLD_LIMIT: u64 = 64 << 10;

/// Writes cache mounts into a folder, made where it is not there.
///
/// # Errors
/// Where something can't be read or written; mounts that were written before are whole.
pub fn export_mounts(store: &Store, to: &Path, request: &MountsRequest) -> Result<Vec<MovedMount>> {
    fs::create_dir_all(to).map_err(|error| failed("make", to, &error))?;
    let own = folder(store);
    let mut found = Vec::new();
    for name in names(store).map_err(|error| failed("read", &own, &error))? {
        let (id, used, _) = state(store, &name).map_err(|error| failed("read", &own, &error))?;
        found.push((used, name, id));
    }
    found.sort_by(|left, right| right.cmp(left));
    let mut left = request.size_bytes.unwrap_or(u64::MAX);
    let mut moved = Vec::new();
    for (used, name, id) in found.into_iter().filter(|(_, _, id)| request.ids.is_empty() || request.ids.contains(id)) {
        let path = own.join(&name);
        let held = hold(store, &name, FlockOperation::NonBlockingLockExclusive);
        let Some(_held) = held.map_err(|error| failed("lock", &path, &error))? else {
            moved.push(MovedMount { id, size_bytes: 0, fate: MountFate::InUse });
            continue;
        };
        let (tar, told) = (to.join(format!("{name}.tar")), to.join(format!("{name}.json")));
        let partial = to.join(format!(".{name}.part"));
        let mut out = Limited { file: create(&partial)?, written: 0, left };
        let written = write_tree(&path, "", &mut out);
        let size_bytes = out.written;
        if let Err(error) = written {
            remove(&partial)?;
            if size_bytes <= left {
                return Err(error);
            }
            moved.push(MovedMount { id, size_bytes, fate: MountFate::TooLarge });
            continue;
        }
        left -= size_bytes;
        let told_of = || -> io::Result<()> {
            let root = fs::metadata(&path)?;
            let used = used.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            let mode = root.mode() & 0o7777;
            let entry = Told { id: id.clone(), size_bytes, used, mode, uid: root.uid(), gid: root.gid() };
            // Never a tar beside what was told of another one.
            fs::remove_file(&told).or_else(super::ignore_missing)?;
            fs::rename(&partial, &tar)?;
            let text = to.join(format!(".{name}.told"));
            fs::write(&text, serde_json::to_vec(&entry)?)?;
            fs::rename(&text, &told)
        };
        told_of().map_err(|error| failed("write", &tar, &error))?;
        moved.push(MovedMount { id, size_bytes, fate: MountFate::Done });
    }
    Ok(moved)
}

/// Reads cache mounts that [`export_mounts`] wrote. One that is half there, or is not what its name says, is an error and
/// leaves nothing.
///
/// # Errors
/// Where something can't be read or written; `store/invalid-tar`, `store/hostile-layer`.
pub fn import_mounts(store: &Store, from: &Path, request: &MountsRequest) -> Result<Vec<MovedMount>> {
    let read = || -> io::Result<Vec<(Told, String)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(from)? {
            let entry = entry?.file_name().to_string_lossy().into_owned();
            let Some(name) = entry.strip_suffix(".json").filter(|name| !name.starts_with('.')) else { continue };
            let mut text = Vec::new();
            File::open(from.join(&entry))?.take(TOLD_LIMIT).read_to_end(&mut text)?;
            let told: Told = serde_json::from_slice(&text)?;
            let (digest, number) = name.split_once('-').map_or((name, None), |(digest, number)| (digest, Some(number)));
            let is_own =
                digest == Digest::of(&told.id).hex() && number.is_none_or(|number| number.parse::<u32>().is_ok());
            if !is_own {
                let message = format!("{entry} is not the cache mount `{}` that it claims to be", told.id);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
            found.push((told, name.to_owned()));
        }
        found.sort_by(|(left, one), (right, other)| (right.used, other).cmp(&(left.used, one)));
        Ok(found)
    };
    let found = read().map_err(|error| failed("read cache mounts from", from, &error))?;
    let mut left = request.size_bytes.unwrap_or(u64::MAX);
    let mut moved = Vec::new();
    for (told, name) in found.into_iter().filter(|(told, _)| request.ids.is_empty() || request.ids.contains(&told.id)) {
        let tar = from.join(format!("{name}.tar"));
        let fate = import(store, (&tar, &name), &told, request.replace, left)?;
        if fate == MountFate::Done {
            left -= told.size_bytes;
        }
        moved.push(MovedMount { id: told.id, size_bytes: told.size_bytes, fate });
    }
    Ok(moved)
}

fn import(store: &Store, (tar, name): (&Path, &str), told: &Told, replace: bool, left: u64) -> Result<MountFate> {
    if told.size_bytes > left {
        return Ok(MountFate::TooLarge);
    }
    let path = folder(store).join(name);
    let in_place = |error: io::Error| failed("make the cache mount", &path, &error);
    let held = hold(store, name, FlockOperation::NonBlockingLockExclusive).map_err(in_place)?;
    let Some(held) = held else { return Ok(MountFate::InUse) };
    if path.is_dir() && !replace {
        return Ok(MountFate::Kept);
    }
    let unreadable = |error: io::Error| failed("read", tar, &error);
    let file = File::open(tar).map_err(unreadable)?;
    let size_bytes = file.metadata().map_err(unreadable)?.len();
    if size_bytes != told.size_bytes {
        let error = io::Error::new(io::ErrorKind::InvalidData, "it is not as long as was written");
        return Err(unreadable(error));
    }
    let (fresh, gone) = (folder(store).join(format!(".new-{name}")), folder(store).join(format!(".gone-{name}")));
    remove_tree(&fresh)?;
    remove_tree(&gone)?;
    fs::DirBuilder::new().mode(0o700).create(&fresh).map_err(in_place)?;
    let unpacked = extract(io::BufReader::with_capacity(1 << 16, file), &fresh, tar, None);
    if let Err(error) = unpacked {
        remove_tree(&fresh)?;
        return Err(error);
    }
    let finish = || -> io::Result<()> {
        chown(&fresh, Some(told.uid), Some(told.gid))?;
        fs::set_permissions(&fresh, Permissions::from_mode(told.mode & 0o7777))?;
        fs::rename(&path, &gone).or_else(super::ignore_missing)?;
        fs::rename(&fresh, &path)?;
        held.set_len(0)?;
        serde_json::to_writer(&held, &told.id)?;
        held.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(told.used.min(1 << 40)))
    };
    finish().map_err(in_place)?;
    remove_tree(&gone)?;
    Ok(MountFate::Done)
}

/// A file that takes so much and no more.
struct Limited {
    file: File,
    written: u64,
    left: u64,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len() as u64;
        if self.written > self.left {
            return Err(io::Error::other("it is larger than what is left"));
        }
        io::Write::write_all(&mut self.file, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn create(path: &Path) -> Result<File> {
    File::create(path).map_err(|error| failed("write", path, &error))
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).or_else(super::ignore_missing).map_err(|error| failed("remove", path, &error))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Box<Diagnostic> {
    let path: PathBuf = path.into();
    Diagnostic::error(&codes::STEP_FAILED, format!("can't {what} {}", path.display())).cause(error.to_string()).boxed()
}
