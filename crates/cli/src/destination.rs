//! Files that a command is told to write.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};

use crate::codes;

/// A file that is written beside its name and gets it when all is in it. What stands under the name and is no regular file,
/// such as a pipe or /dev/null, is written to as it is.
#[derive(Debug)]
pub(crate) struct Destination {
    path: PathBuf,
    /// Where it is until it is whole.
    partial: Option<PathBuf>,
}

impl Destination {
    /// Opens it.
    pub(crate) fn open(path: &Path) -> Result<(Self, File)> {
        let is_special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let partial = (!is_special).then(|| {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{}.part", std::process::id()));
            PathBuf::from(name)
        });
        let opened = match &partial {
            Some(partial) => File::create(partial),
            None => File::options().write(true).open(path),
        };
        let file = opened.map_err(|error| unwritable(path, &error))?;
        Ok((Self { path: path.to_owned(), partial }, file))
    }

    /// Gives it its name.
    pub(crate) fn finish(mut self) -> Result<()> {
        let Some(partial) = self.partial.take() else { return Ok(()) };
        fs::rename(&partial, &self.path).map_err(|error| {
            // The error that is told is the first.
            let _ = fs::remove_file(&partial);
            unwritable(&self.path, &error)
        })
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Who is told why it is not there need not be told that a part of it is.
            let _ = fs::remove_file(partial);
        }
    }
}

/// Writes a small file in place.
pub(crate) fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| unwritable(path, &error))
}

pub(crate) fn unwritable(path: &Path, error: &io::Error) -> Box<Diagnostic> {
    Diagnostic::error(&codes::UNREADABLE_FILE, format!("can't write {}", path.display()))
        .cause(error.to_string())
        .boxed()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        fs::write(folder.path().join("a.tar.part"), "somebody else's").unwrap();
        let (destination, mut file) = Destination::open(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(destination);
        assert!(!path.exists());
        let (destination, mut file) = Destination::open(&path).unwrap();
        file.write_all(b"whole").unwrap();
        destination.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "what is not ours is not touched");
    }

    #[test]
    fn what_is_no_file_stays_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).unwrap()
        });
        let (destination, mut file) = Destination::open(&pipe).unwrap();
        file.write_all(b"all").unwrap();
        drop(file);
        destination.finish().unwrap();
        assert_eq!(reader.join().unwrap(), b"all");
        assert!(!fs::symlink_metadata(&pipe).unwrap().is_file());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Destination::open(folder.path()).is_err(), "a folder is refused");
    }
}
