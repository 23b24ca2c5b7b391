use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use serde::{Deserialize, Serialize};

use crate::fault::Context as _;
use crate::files::{self, Durability, Held};
use crate::lock::{DEFAULT_WAIT, Lock};
use crate::record::to_json;
use crate::{Layout, Records, Store, View, codes};

/// A named folder that outlives containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Unique on a root.
    pub name: String,
    /// RFC 3339.
    pub created: String,
    /// Free text by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What is mounted on its folder while a container has it, in the words of Docker's driver `local`: `type`, `device`, `o`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Whether it was made for one container without being named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub anonymous: bool,
}

const DATA: &str = "_data";
const RECORD: &str = "record.json";

impl Store {
    /// Makes a volume, or gives the one of that name, as Docker does. Anonymous ones, which nobody has named, may go with
    /// their last container. Synced.
    ///
    /// # Errors
    /// `store/invalid-name`; where it can't be made.
    pub fn create_volume(&self, name: &str, anonymous: bool, labels: BTreeMap<String, String>) -> Result<Volume> {
        self.create_volume_with(name, anonymous, labels, BTreeMap::new())
    }

    /// The same with options, which are the caller's to know.
    ///
    /// # Errors
    /// As [`Store::create_volume`].
    pub fn create_volume_with(
        &self,
        name: &str,
        anonymous: bool,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
    ) -> Result<Volume> {
        self.mutable()?;
        files::check_name("volume", name)?;
        let _guard = self.lock(Lock::Volume(name.to_owned()), DEFAULT_WAIT)?;
        if let Some(volume) = self.volume_records().get(name)? {
            return Ok(volume);
        }
        let held = Held::dir(&self.new_snapshots_dir())?;
        let fresh = held.path.join("volume");
        let data = fresh.join(DATA);
        files::make_dir(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).context("set the mode of", &data)?;
        let volume =
            Volume { name: name.to_owned(), created: jiff::Timestamp::now().to_string(), labels, options, anonymous };
        let record = fresh.join(RECORD);
        files::write_atomic(&self.ingest_dir(), &record, &to_json(&record, &volume)?, Durability::Synced)?;
        let dir = self.volume_dir(&volume.name)?;
        fs::rename(&fresh, &dir).context("make the volume", &dir)?;
        files::sync_dir(&self.roots().data.join("volumes"))?;
        Ok(volume)
    }

    /// The volume of a name; none where there is none.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn volume(&self, name: &str) -> Result<Option<Volume>> {
        self.volume_records().get(name)
    }

    /// All volumes by name.
    ///
    /// # Errors
    /// `store/corrupt-record`.
    pub fn volumes(&self) -> Result<BTreeMap<String, Volume>> {
        self.volume_records().list()
    }

    /// The folder that is mounted.
    ///
    /// # Errors
    /// `store/invalid-name`.
    pub fn volume_data(&self, name: &str) -> Result<PathBuf> {
        Ok(self.volume_dir(name)?.join(DATA))
    }

    /// What a volume takes on disk, in bytes. What is mounted on it is not of this disk.
    ///
    /// # Errors
    /// `store/invalid-name`.
    pub fn volume_size_bytes(&self, name: &str) -> Result<u64> {
        let data = self.volume_data(name)?;
        Ok(if carrack_sys::mount::is_attached(&data) { 0 } else { files::disk_usage(&data) })
    }

    /// Gives an empty volume what an image holds at `path`: content, owners, modes, extended attributes, and those of the
    /// folder itself. One that is not empty stays as it is. Whether anything was copied.
    ///
    /// # Errors
    /// `store/not-found` for the volume; where copying fails: the volume then is as empty as before.
    pub fn populate_volume(&self, name: &str, image: &View, path: &Path) -> Result<bool> {
        let _guard = self.lock(Lock::Volume(name.to_owned()), DEFAULT_WAIT)?;
        let data = self.volume_data(name)?;
        let volume = self.volume(name)?.ok_or_else(|| no_volume(name))?;
        if !files::names(&data)?.is_empty() || !image.is_dir(path)? {
            return Ok(false);
        }
        if !volume.options.is_empty() {
            // Something is mounted on it, which nothing can take the place of.
            image.copy_dir(path, &data)?;
            return Ok(true);
        }
        let held = Held::dir(&self.new_snapshots_dir())?;
        let fresh = held.path.join(DATA);
        files::make_dir(&fresh)?;
        image.copy_dir(path, &fresh)?;
        files::sync_tree(&fresh)?;
        // Onto an empty folder, which rename(2) allows.
        fs::rename(&fresh, &data).context("fill the volume", &data)?;
        files::sync_dir(&self.volume_dir(name)?)?;
        Ok(true)
    }

    /// Removes a volume and all that is in it; whether it was there. Whether something uses it is the caller's to know.
    ///
    /// # Errors
    /// Where it can't be removed.
    pub fn remove_volume(&self, name: &str) -> Result<bool> {
        self.remove_volume_unless(name, || Ok(()))
    }

    /// The same where `check` finds nothing against it. It is asked while nobody can begin to use the volume: whoever has
    /// said before that they will is seen, and whoever says so later gets a new one.
    ///
    /// # Errors
    /// Those of `check`; where it can't be removed.
    pub fn remove_volume_unless(&self, name: &str, check: impl FnOnce() -> Result<()>) -> Result<bool> {
        let _guard = self.lock(Lock::Volume(name.to_owned()), DEFAULT_WAIT)?;
        check()?;
        let dir = self.volume_dir(name)?;
        if !dir.is_dir() {
            return Ok(false);
        }
        // What was mounted on it is not the volume's to remove.
        let data = dir.join(DATA);
        while carrack_sys::mount::is_attached(&data) {
            carrack_sys::mount::detach(&data).context("take away what is mounted on", &data)?;
        }
        let held = Held::dir(&self.new_snapshots_dir())?;
        fs::rename(&dir, held.path.join("removed")).context("remove the volume", &dir)?;
        files::sync_dir(&self.roots().data.join("volumes"))?;
        files::remove_tree(&held.path)?;
        Ok(true)
    }

    fn volume_dir(&self, name: &str) -> Result<PathBuf> {
        files::check_name("volume", name)?;
        Ok(self.roots().data.join("volumes").join(name))
    }

    fn volume_records(&self) -> Records<Volume> {
        self.records("volumes", "volume", Layout::Folder(RECORD))
    }
}

/// 64 random hexadecimal digits: a name for a volume that nobody has named.
///
/// # Errors
/// Where the kernel has no random bytes.
pub fn anonymous_volume_name() -> Result<String> {
    let mut bytes = [0; 32];
    files::random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn no_volume(name: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::NOT_FOUND, format!("there is no volume `{name}`"))
        .hint("`carrack volume ls` lists what is there")
        .boxed()
}
