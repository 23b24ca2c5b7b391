//! Small files of a network on the run root, which readers see whole, old or new.

use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use carrack_diag::Result;

use crate::fault::Context as _;

/// Replaces the file by rename, unless it says the same already.
pub(crate) fn replace(path: &Path, text: &str) -> Result<()> {
    if std::fs::read(path).is_ok_and(|present| present == text.as_bytes()) {
        return Ok(());
    }
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let write = || {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        carrack_store::replace(Path::new(&temporary), path)
    };
    let written = write();
    if written.is_err() {
        // Nothing refers to it; the error of the write is the one to tell.
        let _ = std::fs::remove_file(&temporary);
    }
    written.context(|| format!("can't write {}", path.display()))
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("can't remove {}", path.display()))
        }
        _ => Ok(()),
    }
}
