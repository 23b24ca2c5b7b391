//! Folders among the host's temporary files, for what must not lie on the data root.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use carrack_diag::Result;
use rustix::process::geteuid;

use crate::files::{self, Held};

/// A folder that is gone with this value. It is held by `flock`, so that whoever finds it unlocked knows that its command
/// was killed.
#[derive(Debug)]
pub struct TemporaryFolder(Held);

impl TemporaryFolder {
    /// A new one, whose name begins with `prefix`; of `mode` it gets what the umask leaves.
    ///
    /// # Errors
    /// `store/disk-full` and whatever else keeps it from being made.
    pub fn new(prefix: &str, mode: u32) -> Result<Self> {
        Held::dir_named(&std::env::temp_dir(), prefix, mode).map(Self)
    }

    /// Takes away what killed commands of the same user have left. What can't be removed is left to the next sweep.
    pub fn sweep(prefix: &str) {
        for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
            let is_ours = entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())
                && entry.metadata().is_ok_and(|entry| entry.is_dir() && entry.uid() == geteuid().as_raw());
            if is_ours && let Some(_lock) = files::unheld(&entry.path()) {
                let _left_to_the_next = files::remove_tree(&entry.path());
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_command_has_left_goes_and_what_is_held_stays() {
        let prefix = format!("carrack-temporary-{}-", std::process::id());
        let leftover = std::env::temp_dir().join(format!("{prefix}left"));
        fs::create_dir_all(leftover.join("below")).unwrap();
        let held = TemporaryFolder::new(&prefix, 0o700).unwrap();
        assert!(leftover.exists(), "making one takes nothing away");
        TemporaryFolder::sweep(&prefix);
        assert!(!leftover.exists() && held.path().is_dir());
        let path = held.path().to_owned();
        drop(held);
        assert!(!path.exists());
    }
}
