//! What a copy's source stands for: paths and patterns become entries of a tree, and these a digest.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use carrack_dockerfile::{IgnoreFile, has_wildcard, path_matches};
use carrack_llb::CopyAction;
use carrack_oci::{Digest, Hasher};
use rustix::fs::{AtFlags, FileType, OFlags, Stat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::contents::{Content, Contents, Stretch};
use crate::tree::{Tree, kind, names, relative};

/// A file or folder that is copied.
#[derive(Debug)]
pub(crate) struct Source {
    /// In its tree, without links.
    pub(crate) real: PathBuf,
    /// The name that it has been asked for by, which a link's target may not have.
    pub(crate) name: PathBuf,
    /// Folders that are kept between the destination and it (`--parents`).
    pub(crate) kept: PathBuf,
    /// Of the source itself.
    pub(crate) stat: Stat,
    /// Of a folder: everything in it. Empty for a file.
    pub(crate) entries: Vec<Entry>,
}

/// Something in a folder that is copied.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Relative to the folder.
    pub(crate) path: PathBuf,
    pub(crate) stat: Stat,
}

/// What is left out.
pub(crate) struct Filter<'a> {
    /// Of the context; none for stages and images.
    pub(crate) ignore: Option<&'a IgnoreFile>,
    pub(crate) exclude: IgnoreFile,
}

/// The sources of a copy, in order. Empty where nothing is there.
pub(crate) fn sources(tree: &Tree, copy: &CopyAction, ignore: Option<&IgnoreFile>) -> io::Result<Vec<Source>> {
    let exclude = IgnoreFile::from_patterns(copy.exclude.iter().map(String::as_str)).unwrap_or_default();
    let filter = Filter { ignore, exclude };
    let mut sources = Vec::new();
    for (base, path) in pivots(tree, copy, &filter)? {
        selected(tree, copy, &filter, (&base, &path), &mut sources)?;
    }
    Ok(sources)
}

/// The sources that a path or pattern names, kept from `base` on.
fn selected(
    tree: &Tree,
    copy: &CopyAction,
    filter: &Filter<'_>,
    (base, path): (&Path, &Path),
    sources: &mut Vec<Source>,
) -> io::Result<()> {
    let is_pattern = has_wildcard(&path.to_string_lossy());
    for name in named(tree, path, filter, copy.parents)? {
        let Some(real) = tree.resolve(&name)? else {
            if is_pattern {
                let reason = format!("{} is a link that leads nowhere", name.display());
                return Err(io::Error::new(io::ErrorKind::NotFound, reason));
            }
            continue;
        };
        let Some(stat) = tree.stat(&real)? else { continue };
        let is_folder = kind(&stat) == FileType::Directory;
        if !is_folder && (filter.ignores(&real) || filter.excludes(Path::new(name.file_name().unwrap_or_default()))) {
            continue;
        }
        let mut entries = Vec::new();
        if is_folder {
            collect(tree, &real, Path::new(""), (filter, false), &mut entries)?;
            if filter.ignores(&real) && entries.is_empty() {
                continue;
            }
        }
        let kept = match copy.parents {
            true => name.strip_prefix(base).unwrap_or(&name).parent().unwrap_or(Path::new("")).to_owned(),
            false => PathBuf::new(),
        };
        // A folder's content goes into the destination; with its path kept it goes into that.
        let kept = if copy.parents && is_folder { name.strip_prefix(base).unwrap_or(&name).to_owned() } else { kept };
        sources.push(Source { real, name, kept, stat, entries });
    }
    Ok(())
}

/// Where kept folders begin, and the whole path: `/a/./b` keeps `b` only, and `/*/./b` does so in every folder.
fn pivots(tree: &Tree, copy: &CopyAction, filter: &Filter<'_>) -> io::Result<Vec<(PathBuf, PathBuf)>> {
    let Some((before, after)) = copy.source.split_once("/./").filter(|_| copy.parents) else {
        return Ok(vec![(PathBuf::new(), relative(&copy.source).to_owned())]);
    };
    let bases = named(tree, relative(before), filter, true)?;
    Ok(bases.into_iter().map(|base| (base.clone(), base.join(relative(after)))).collect())
}

/// What a name is held against.
enum Pattern<'a> {
    /// Go's `path.Match`, so many folders deep.
    Path(&'a str, usize),
    /// With `**` for folders of any depth, as in ignore files.
    Deep(IgnoreFile),
}

impl Pattern<'_> {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Path(pattern, _) => path_matches(pattern, path).unwrap_or(false),
            Self::Deep(pattern) => pattern.is_ignored(path),
        }
    }

    fn reaches_below(&self, path: &Path) -> bool {
        match self {
            Self::Path(_, depth) => path.components().count() < *depth,
            Self::Deep(_) => true,
        }
    }
}

/// The paths that a path or pattern names, links not yet followed. Where `deep`, `**` stands for folders of any depth.
fn named(tree: &Tree, path: &Path, filter: &Filter<'_>, deep: bool) -> io::Result<Vec<PathBuf>> {
    let text = path.to_string_lossy();
    if !has_wildcard(&text) {
        return Ok(vec![path.to_owned()]);
    }
    // The folders above the first wildcard are followed; below it the pattern is held against what is there.
    let parts: Vec<&str> = text.split('/').collect();
    let literal = parts.iter().take_while(|part| !has_wildcard(part)).count();
    let folder = PathBuf::from(parts[..literal].join("/"));
    let pattern = parts[literal..].join("/");
    let Some(real) = tree.resolve(&folder)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let is_deep = deep && parts[literal..].contains(&"**");
    let compiled = match is_deep.then(|| IgnoreFile::from_patterns([pattern.as_str()])) {
        Some(Ok(compiled)) => Pattern::Deep(compiled),
        _ => Pattern::Path(&pattern, parts.len() - literal),
    };
    matching(tree, &real, Path::new(""), &compiled, filter, &mut found)?;
    Ok(found.into_iter().map(|path| real.join(path)).collect())
}

fn matching(
    tree: &Tree,
    folder: &Path,
    below: &Path,
    pattern: &Pattern<'_>,
    filter: &Filter<'_>,
    found: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let here = folder.join(below);
    match tree.stat(&here)? {
        Some(stat) if kind(&stat) == FileType::Directory => {}
        _ => return Ok(()),
    }
    for name in tree.names(&here)? {
        let path = below.join(&name);
        if filter.skips(&folder.join(&path)) {
            continue;
        }
        if pattern.matches(&path.to_string_lossy()) {
            found.push(path);
        } else if pattern.reaches_below(&path) {
            matching(tree, folder, &path, pattern, filter, found)?;
        }
    }
    Ok(())
}

/// A folder of fewer folders is gone through sooner than threads are started.
const BRANCHES: usize = 8;

/// Everything in a folder, parents before what is in them. Where it spreads first, by as many threads as there are
/// processors; `is_spread` says that it has.
fn collect(
    tree: &Tree,
    root: &Path,
    below: &Path,
    (filter, is_spread): (&Filter<'_>, bool),
    entries: &mut Vec<Entry>,
) -> io::Result<()> {
    let mut found = Vec::new();
    for (name, stat) in stats(tree, &root.join(below))? {
        let path = below.join(&name);
        let real = root.join(&path);
        let is_ignored = filter.ignores(&real);
        if is_ignored && filter.skips(&real) || filter.excludes(&path) {
            continue;
        }
        match kind(&stat) {
            // A socket is an open program's, and no file system keeps it.
            FileType::Socket => {}
            kind if is_ignored && kind != FileType::Directory => {}
            _ => found.push((Entry { path, stat }, is_ignored)),
        }
    }
    let is_folder = |entry: &Entry| kind(&entry.stat) == FileType::Directory;
    let branches = found.iter().filter(|(entry, _)| is_folder(entry)).count();
    let mut ready = BTreeMap::new();
    if !is_spread && branches >= BRANCHES {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some((folder, _)) = found.get(index) else { return Ok(done) };
                if is_folder(folder) {
                    let mut entries = Vec::new();
                    collect(tree, root, &folder.path, (filter, true), &mut entries)?;
                    done.push((index, entries));
                }
            }
        };
        ready.extend(together(branches, work)?);
    }
    for (index, (entry, is_ignored)) in found.into_iter().enumerate() {
        let (position, path) = (entries.len(), is_folder(&entry).then(|| entry.path.clone()));
        entries.push(entry);
        match (ready.remove(&index), path) {
            (Some(mut inside), _) => entries.append(&mut inside),
            (None, Some(path)) => collect(tree, root, &path, (filter, is_spread), entries)?,
            (None, None) => {}
        }
        // A folder that is left out itself is there only for what an exception brings back.
        if is_ignored && entries.len() == position + 1 {
            entries.pop();
        }
    }
    Ok(())
}

/// What is in one folder. Its descriptor is closed before anything below it is opened: trees may be deep.
fn stats(tree: &Tree, path: &Path) -> io::Result<Vec<(OsString, Stat)>> {
    let folder = tree.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
    let mut stats = Vec::new();
    for name in names(&folder)? {
        match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            // Gone meanwhile: as if it had never been there.
            Err(Errno::NOENT) => {}
            other => stats.push((name, other?)),
        }
    }
    Ok(stats)
}

impl Source {
    pub(crate) fn is_folder(&self) -> bool {
        kind(&self.stat) == FileType::Directory
    }
}

/// What a digest holds of one file, in the order of the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Kind and permission bits.
    pub(crate) mode: u32,
    /// User and group, where they are kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) owner: Option<(u32, u32)>,
    /// Of the bytes, a link's target, a device's number.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) content: Option<Digest>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) attributes: Option<Digest>,
}

impl Filter<'_> {
    fn ignores(&self, path: &Path) -> bool {
        !path.as_os_str().is_empty() && self.ignore.is_some_and(|ignore| ignore.is_ignored(&path.to_string_lossy()))
    }

    /// Whether neither it nor anything in it can be wanted.
    fn skips(&self, path: &Path) -> bool {
        let Some(ignore) = self.ignore else { return false };
        let text = path.to_string_lossy();
        ignore.is_ignored(&text) && !ignore.has_exceptions_below(&text)
    }

    fn excludes(&self, path: &Path) -> bool {
        !self.exclude.is_empty() && self.exclude.is_ignored(&path.to_string_lossy())
    }
}

/// The first of the sources that is not as it was when they were selected.
pub(crate) fn changed(tree: &Tree, sources: &[Source]) -> io::Result<Option<PathBuf>> {
    let differs = |now: Option<Stat>, before: &Stat| {
        let Some(now) = now else { return true };
        let content = |stat: &Stat| (stat.st_ino, stat.st_mode, stat.st_size, stat.st_ctime, stat.st_ctime_nsec);
        // What comes or goes in a folder may be what is left out; what is copied of it is looked at by itself.
        match kind(before) {
            FileType::Directory => now.st_mode != before.st_mode,
            _ => content(&now) != content(before),
        }
    };
    // Files of one folder mostly follow each other.
    let mut last: Option<(&Path, OwnedFd)> = None;
    for source in sources {
        if differs(tree.stat(&source.real)?, &source.stat) {
            return Ok(Some(source.real.clone()));
        }
        for entry in &source.entries {
            let folder = entry.path.parent().unwrap_or(Path::new(""));
            let open = match last.take() {
                Some((path, open)) if path == folder => open,
                _ => match tree.open(&source.real.join(folder), OFlags::PATH | OFlags::DIRECTORY) {
                    Ok(open) => open,
                    Err(error) if is_gone(&error) => return Ok(Some(source.real.join(folder))),
                    Err(error) => return Err(error),
                },
            };
            let now = match rustix::fs::statat(
                &open,
                entry.path.file_name().unwrap_or_default(),
                AtFlags::SYMLINK_NOFOLLOW,
            ) {
                Ok(now) => Some(now),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(errno.into()),
            };
            if differs(now, &entry.stat) {
                return Ok(Some(source.real.join(&entry.path)));
            }
            last = Some((folder, open));
        }
        last = None;
    }
    Ok(None)
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The digest of what is copied: names, kinds, modes, owners where they are kept, links' targets, contents. Times are no
/// part of it. What `known` has of them is not read.
pub(crate) fn digest(
    tree: &Tree,
    sources: &[Source],
    owners: bool,
    known: &Contents,
) -> io::Result<(Digest, Vec<State>)> {
    let mut contents = contents(tree, sources, known)?.into_iter();
    let mut hasher = Hasher::new(io::sink());
    let mut states = Vec::new();
    // The hash likes more at a time than a few words.
    let mut lines = BufWriter::with_capacity(1 << 16, &mut hasher);
    let mut describe = |real: (&Path, &Path), shown: &Path, stat: &Stat, out: &mut BufWriter<_>| -> io::Result<()> {
        let content = contents.next().unwrap_or(Content { digest: None, attributes: String::new() });
        states.push(describe(tree, real, shown, (stat, content), owners, out)?);
        Ok(())
    };
    for source in sources {
        // A folder's own name, mode and owner are nowhere in the result: its content goes into the destination.
        if kind(&source.stat) == FileType::Directory {
            write!(lines, "folder {} {}:", source.entries.len(), source.kept.as_os_str().len())?;
            lines.write_all(source.kept.as_os_str().as_bytes())?;
            for entry in &source.entries {
                describe((&source.real, &entry.path), &entry.path, &entry.stat, &mut lines)?;
            }
        } else {
            let shown = source.kept.join(source.name.file_name().unwrap_or_default());
            describe((&source.real, Path::new("")), &shown, &source.stat, &mut lines)?;
        }
    }
    lines.flush()?;
    drop(lines);
    Ok((hasher.finish().1, states))
}

/// What is in each file and folder, in the order in which a digest goes through them: read by as many threads as there are
/// processors.
fn contents(tree: &Tree, sources: &[Source], known: &Contents) -> io::Result<Vec<Content>> {
    let found = sources.iter().flat_map(|source| {
        let own = (!source.is_folder()).then_some((source, None, &source.stat));
        own.into_iter().chain(source.entries.iter().map(move |entry| (source, Some(&entry.path), &entry.stat)))
    });
    let (mut contents, mut unknown) = (Vec::new(), Vec::new());
    for (index, (source, below, stat)) in found.enumerate() {
        let content = known.get(stat);
        if content.is_none() && matches!(kind(stat), FileType::RegularFile | FileType::Directory) {
            let path = below.map_or_else(|| source.real.clone(), |below| source.real.join(below));
            unknown.push((index, path, stat));
        }
        contents.push(content.unwrap_or(Content { digest: None, attributes: String::new() }));
    }
    known.check_room(unknown.iter().map(|(_, _, stat)| *stat).filter(|stat| kind(stat) == FileType::RegularFile))?;
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<Vec<(usize, Content)>> {
        let mut read = Vec::new();
        while let Some((index, path, stat)) = unknown.get(next.fetch_add(1, Ordering::Relaxed)) {
            read.push((*index, known.learn(stat, || content(tree, path))?));
        }
        Ok(read)
    };
    let read = together(unknown.len(), work)?;
    for (index, content) in read {
        contents[index] = content;
    }
    Ok(contents)
}

/// Runs `work` in as many threads as there are processors, and no more than there is work for; what all of them give.
fn together<T: Send>(work_count: usize, work: impl Fn() -> io::Result<Vec<T>> + Sync) -> io::Result<Vec<T>> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(work_count);
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(&work)).collect();
        let mut all = work()?;
        for other in others {
            all.extend(other.join().map_err(|_| io::Error::other("a thread that read files ended"))??);
        }
        Ok(all)
    })
}

/// Reads a file or folder, and looks at it afterwards.
fn content(tree: &Tree, path: &Path) -> io::Result<(Content, Option<Stat>)> {
    let mut file = File::from(tree.open(path, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK)?);
    let mut attributes = String::new();
    for (name, value) in xattrs(&file)? {
        attributes.push_str(&format!(" {}={}", name.to_string_lossy(), Digest::of(&value)));
    }
    let digest = match file.metadata()? {
        metadata if metadata.is_file() && metadata.len() > PIECE_BYTES => Some(pieces(&file, metadata.len())?),
        metadata if metadata.is_file() => Some(rest(&mut file)?),
        metadata if metadata.is_dir() => None,
        _ => return Err(Errno::INVAL.into()),
    };
    Ok((Content { digest, attributes }, Some(rustix::fs::fstat(&file)?)))
}

/// The digest of all that is left of a file.
fn rest(file: &mut impl Read) -> io::Result<Digest> {
    let mut hasher = Hasher::new(io::sink());
    let mut buffer = [0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish().1),
            count => hasher.write_all(&buffer[..count])?,
        }
    }
}

/// A file of more than one piece is hashed by as many threads as there are processors.
const PIECE_BYTES: u64 = 16 << 20;

/// The digest of the digests of a large file's pieces.
fn pieces(file: &File, size_bytes: u64) -> io::Result<Digest> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut digests = Vec::new();
        loop {
            let offset = next.fetch_add(PIECE_BYTES, Ordering::Relaxed);
            if offset >= size_bytes {
                return Ok(digests);
            }
            let mut piece = Stretch { file, offset, left: PIECE_BYTES.min(size_bytes - offset) };
            digests.push((offset, rest(&mut piece)?));
        }
    };
    let mut digests = together(usize::MAX, work)?;
    digests.sort_unstable();
    Ok(Digest::of(digests.into_iter().flat_map(|(_, digest)| *digest.bytes()).collect::<Vec<u8>>()))
}

fn describe(
    tree: &Tree,
    (folder, below): (&Path, &Path),
    shown: &Path,
    (stat, found): (&Stat, Content),
    owners: bool,
    out: &mut impl io::Write,
) -> io::Result<State> {
    let owner = owners.then_some((stat.st_uid, stat.st_gid));
    let mut state = State { mode: stat.st_mode, owner, content: found.digest, attributes: None };
    let kind = kind(stat);
    let shown = shown.as_os_str().as_bytes();
    write!(out, "{}:", shown.len())?;
    out.write_all(shown)?;
    write!(out, " {:o}", stat.st_mode)?;
    if owners {
        write!(out, " {}:{}", stat.st_uid, stat.st_gid)?;
    }
    match kind {
        FileType::Symlink => {
            let target = tree.link_target(&folder.join(below))?;
            write!(out, " {}:", target.as_os_str().len())?;
            out.write_all(target.as_os_str().as_bytes())?;
            state.content = Some(Digest::of(target.as_os_str().as_bytes()));
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            write!(out, " {}", stat.st_rdev)?;
            state.content = Some(Digest::of(stat.st_rdev.to_string()));
        }
        _ => {
            if let Some(content) = &found.digest {
                write!(out, " {} {content}", stat.st_size)?;
            }
        }
    }
    write!(out, "{}", found.attributes)?;
    state.attributes = (!found.attributes.is_empty()).then(|| Digest::of(&found.attributes));
    writeln!(out)?;
    Ok(state)
}

/// Extended attributes that travel with a file or folder: labels and access rules are the host's; what programs need are
/// capabilities and user attributes.
pub(crate) fn xattrs(file: impl AsFd) -> io::Result<Vec<(CString, Vec<u8>)>> {
    xattrs_where(file, |name| name == b"security.capability" || name.starts_with(b"user."))
}

/// Those that a layer says of what it has from the layers below.
pub(crate) fn all_xattrs(file: impl AsFd) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let left = [&b"trusted.overlay."[..], b"user.overlay.", b"security.selinux"];
    let found = xattrs_where(file, |name| !left.iter().any(|left| name.starts_with(left)))?;
    Ok(found.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect())
}

fn xattrs_where(file: impl AsFd, is_wanted: impl Fn(&[u8]) -> bool) -> io::Result<Vec<(CString, Vec<u8>)>> {
    let length = match rustix::fs::flistxattr(&file, &mut [0_u8; 0]) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno.into()),
    };
    let mut found = Vec::new();
    if length == 0 {
        return Ok(found);
    }
    let mut names = vec![0; 1 << 16];
    let length = rustix::fs::flistxattr(&file, &mut names)?;
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty() && is_wanted(name)) {
        let mut value = vec![0; 1 << 16];
        let name = CString::new(name)?;
        let length = rustix::fs::fgetxattr(&file, &name, &mut value)?;
        value.truncate(length);
        found.push((name, value));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn threads_find_what_one_finds_in_its_order() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..3 * BRANCHES {
            let inner = folder.path().join(format!("top/f{number}/inner"));
            std::fs::create_dir_all(&inner).unwrap();
            std::fs::write(inner.join("kept"), "").unwrap();
            std::fs::write(inner.join("../ignored"), "").unwrap();
            std::fs::write(folder.path().join(format!("top/file{number}")), "").unwrap();
        }
        let ignore = IgnoreFile::from_patterns(["top/f*", "!top/f1*/inner/kept", "!top/file*"]).unwrap();
        let tree = Tree::folder(folder.path()).unwrap();
        let found = |is_spread| {
            let filter = Filter { ignore: Some(&ignore), exclude: IgnoreFile::default() };
            let mut entries = Vec::new();
            collect(&tree, Path::new(""), Path::new(""), (&filter, is_spread), &mut entries).unwrap();
            entries.into_iter().map(|entry| entry.path).collect::<Vec<_>>()
        };
        let alone = found(true);
        assert!(alone.contains(&"top/f10/inner/kept".into()) && !alone.contains(&"top/f2".into()), "{alone:?}");
        assert_eq!(found(false), alone);
    }

    #[test]
    fn each_byte_and_the_order_of_pieces_count() {
        let mut file = tempfile::tempfile().unwrap();
        let length = 2 * PIECE_BYTES + 5;
        file.set_len(length).unwrap();
        let digest = |file: &File| pieces(file, length).unwrap();
        let empty = digest(&file);
        assert_eq!(digest(&file), empty);
        let mut seen = vec![empty];
        for at in [0, PIECE_BYTES - 1, PIECE_BYTES, length - 1] {
            file.write_all_at(b"x", at).unwrap();
            seen.push(digest(&file));
            file.write_all_at(b"\0", at).unwrap();
        }
        assert_eq!(seen.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
        assert_eq!(rest(&mut file).unwrap(), Digest::of(vec![0; length as usize]));
    }
}
