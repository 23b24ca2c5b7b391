//! Files into and out of containers, by Docker's rules of what a path means (its reference of `docker cp`).

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use carrack_specgen::passwd;
use carrack_store::{Found, Place};
use rustix::fs::FileType;

use super::ContainerRecord;
use crate::codes;
use crate::engine::{Engine, host_error};

/// How files are copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Owners: into a container its own user, out of one those of the files. Without, they stay into a container and become
    /// the caller's out of it, as in Docker.
    pub archive: bool,
    /// A link given as source stands for what it leads to.
    pub follow_link: bool,
}

/// Largest /etc/passwd that is looked into.
const PASSWD_LIMIT_BYTES: u64 = 1 << 20;

impl Engine {
    /// Copies a path of the host to one of a container. Relative paths count from `folder`, the container's from its root.
    /// Gives how many bytes the archive between them had.
    pub fn copy_into(
        &self,
        (folder, from): (&Path, &str),
        (name, to): (&str, &str),
        options: CopyOptions,
    ) -> Result<u64> {
        let record = self.find(name)?;
        let host = Place::host()?;
        let source = Source::find(&host, &folder.join(from), from, options.follow_link)?;
        let root = self.root_of(&record, false)?;
        let place = self.place_of(&root, &record)?;
        let target = Target::find(&place, Path::new(to), to, &source)?;
        let copied = transfer((&host, &source), (&place, &target), self.owner_inside(&record, &place, options)?)?;
        self.emit(&record, "extract-to-dir", &[]);
        Ok(copied)
    }

    /// Copies a path of a container to one of the host.
    pub fn copy_out_of(
        &self,
        (name, from): (&str, &str),
        (folder, to): (&Path, &str),
        options: CopyOptions,
    ) -> Result<u64> {
        let record = self.find(name)?;
        let root = self.root_of(&record, false)?;
        let place = self.place_of(&root, &record)?;
        let source = Source::find(&place, Path::new(from), from, options.follow_link)?;
        let host = Place::host()?;
        let target = Target::find(&host, &folder.join(to), to, &source)?;
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let copied = transfer((&place, &source), (&host, &target), (!options.archive).then_some((uid, gid)))?;
        self.emit(&record, "archive-path", &[]);
        Ok(copied)
    }

    /// Unpacks a tar (plain, gzip or zstd) into a folder of a container.
    pub fn unpack_into(&self, tar: impl Read, (name, to): (&str, &str), options: CopyOptions) -> Result<()> {
        let record = self.find(name)?;
        let root = self.root_of(&record, false)?;
        let place = self.place_of(&root, &record)?;
        let found = place.find(Path::new(to), true)?;
        if !found.is_dir() {
            return Err(refuse(format!("{} is no folder", place.show(Path::new(to))))
                .hint("an archive is unpacked into a folder that is there")
                .boxed());
        }
        let owner = self.owner_inside(&record, &place, options)?;
        place.unpack(carrack_store::decompress(tar)?, found.path(), owner)?;
        self.emit(&record, "extract-to-dir", &[]);
        Ok(())
    }

    /// Writes a path of a container as a tar.
    pub fn pack_out_of(&self, (name, from): (&str, &str), out: impl Write, options: CopyOptions) -> Result<()> {
        let record = self.find(name)?;
        let root = self.root_of(&record, false)?;
        let place = self.place_of(&root, &record)?;
        let source = Source::find(&place, Path::new(from), from, options.follow_link)?;
        let shown = if source.contents { b"." } else { source.found.name() };
        place.pack(&source.found, if shown.is_empty() { b"." } else { shown }, out)?;
        self.emit(&record, "archive-path", &[]);
        Ok(())
    }

    /// Writes all files of a container as a tar, without what is mounted.
    pub fn export(&self, name: &str, out: impl Write) -> Result<()> {
        let record = self.find(name)?;
        let root = self.root_of(&record, true)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&root.root)));
        carrack_store::write_tree(&path, "", out)?;
        self.emit(&record, "export", &[]);
        Ok(())
    }

    fn owner_inside(
        &self,
        record: &ContainerRecord,
        place: &Place,
        options: CopyOptions,
    ) -> Result<Option<(u32, u32)>> {
        if !options.archive {
            return Ok(None);
        }
        let user = record.container.user.clone().unwrap_or_else(|| self.image_config(record).user);
        // Where nobody is named, Docker gives them to nobody else.
        if user.is_empty() {
            return Ok(None);
        }
        let text = |path: &str| {
            let bytes = place.read(Path::new(path), PASSWD_LIMIT_BYTES)?.unwrap_or_default();
            Ok::<_, Box<Diagnostic>>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let identity = passwd::identify(&user, &[], &text("/etc/passwd")?, &text("/etc/group")?);
        let identity = identity
            .map_err(|unknown| host_error(format!("{}: {unknown}", record.name), "`-a` gives files to that user"))?;
        Ok(Some((identity.uid, identity.gid)))
    }
}

/// What is copied.
struct Source {
    found: Found,
    /// What is in the folder rather than the folder.
    contents: bool,
    /// What it is called where it gets no other name.
    name: Vec<u8>,
}

impl Source {
    fn find(place: &Place, path: &Path, text: &str, follow: bool) -> Result<Self> {
        let contents = text == "." || text.ends_with("/.");
        let must_be_dir = contents || text.ends_with('/');
        let found = place.find(path, follow || must_be_dir)?;
        let shown = || place.show(path);
        match found.kind() {
            None => {
                return Err(refuse(format!("there is no {}", shown()))
                    .hint("correct the path, or copy it elsewhere")
                    .boxed());
            }
            Some(FileType::Socket) => {
                return Err(refuse(format!("{} is a socket", shown()))
                    .cause("nobody would listen on a copy of it")
                    .boxed());
            }
            Some(kind) if must_be_dir && kind != FileType::Directory => {
                return Err(refuse(format!("{} is no folder", shown())).hint("leave out the slash behind it").boxed());
            }
            Some(_) => {}
        }
        let own = path.file_name().map(|name| std::os::unix::ffi::OsStrExt::as_bytes(name).to_vec());
        // The root has no name: what is in it is copied.
        let contents = contents || found.name().is_empty();
        let name = own.unwrap_or_else(|| found.name().to_vec());
        Ok(Self { found, contents, name })
    }
}

/// Where it goes.
struct Target {
    /// A folder that is there.
    folder: PathBuf,
    /// What it is called in it; none is what is in a folder, into that folder.
    name: Option<Vec<u8>>,
}

impl Target {
    fn find(place: &Place, path: &Path, text: &str, source: &Source) -> Result<Self> {
        let must_be_dir = text.is_empty() || text == "." || text.ends_with('/') || text.ends_with("/.");
        let found = place.find(path, true)?;
        let shown = || place.show(path);
        let parent = || found.path().parent().unwrap_or(Path::new("/")).to_owned();
        match found.kind() {
            Some(FileType::Directory) => {
                let name = (!source.contents).then(|| source.name.clone());
                Ok(Self { folder: found.path().to_owned(), name })
            }
            None if must_be_dir && !source.found.is_dir() => Err(refuse(format!("there is no folder {}", shown()))
                .hint("make it first, or leave out the slash")
                .boxed()),
            Some(_) if source.found.is_dir() => {
                Err(refuse(format!("a folder can't be copied to {}, which is none", shown())).boxed())
            }
            Some(_) if must_be_dir => Err(refuse(format!("{} is no folder", shown())).boxed()),
            Some(kind @ (FileType::CharacterDevice | FileType::BlockDevice | FileType::Fifo | FileType::Socket)) => {
                Err(refuse(format!("{} is no file but a {kind:?}", shown()))
                    .hint("copy to `-` for a tar on standard output")
                    .boxed())
            }
            _ => Ok(Self { folder: parent(), name: Some(found.name().to_vec()) }),
        }
    }
}

/// One thread packs, this one unpacks. The first of both that failed by itself is told.
fn transfer(
    (from, source): (&Place, &Source),
    (to, target): (&Place, &Target),
    owner: Option<(u32, u32)>,
) -> Result<u64> {
    let pipe = std::io::pipe();
    let (reader, writer) = pipe.map_err(|error| host_error("can't make a pipe", error))?;
    // As much as the kernel gives without being told to give more.
    let _smaller = rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20);
    let name: &[u8] = target.name.as_deref().unwrap_or(b".");
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let mut counted = Counted { out: writer, bytes: 0, is_alone: false };
            let packed = from.pack(&source.found, name, &mut counted);
            (packed, counted.bytes, counted.is_alone)
        });
        let mut reader = reader;
        let unpacked = to.unpack(&mut reader, &target.folder, owner);
        // Who has failed reads no more.
        drop(reader);
        let (packed, bytes, is_alone) = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        match (packed, unpacked) {
            (Err(error), _) if !is_alone => Err(error),
            (_, unpacked) => unpacked.map(|()| bytes),
        }
    })
}

/// Counts, and notes that nobody reads any more.
struct Counted<W> {
    out: W,
    bytes: u64,
    is_alone: bool,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes);
        match &written {
            Ok(count) => self.bytes += *count as u64,
            Err(error) => self.is_alone |= error.kind() == std::io::ErrorKind::BrokenPipe,
        }
        written
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

fn refuse(message: String) -> Diagnostic {
    Diagnostic::error(&codes::COPY, message)
}
