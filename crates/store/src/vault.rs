use std::fs::{DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Digest;
use sha2::Digest as _;

use crate::fault::{Context as _, present};
use crate::files::{self, Durability, Held};
use crate::{Store, codes};

/// Names a secret's or config's content without telling it: HMAC-SHA-256 (RFC 2104) with a random key of the root, so that
/// nobody who reads a plan or the ledger can try passwords against it. 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(transparent)]
pub struct VersionId(String);

impl VersionId {
    /// The 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for VersionId {
    type Err = Box<Diagnostic>;

    fn from_str(text: &str) -> Result<Self> {
        match Digest::from_hex(text) {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(Diagnostic::error(&codes::INVALID_NAME, format!("`{text}` is no version of a secret")).boxed()),
        }
    }
}

impl std::fmt::Display for VersionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for VersionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|diagnostic: Box<Diagnostic>| serde::de::Error::custom(diagnostic.message))
    }
}

impl Store {
    /// The name that a content has or would have in the vault of this root. None where there is no vault yet: then no
    /// content is in it (I-5: making the key is left to [`Store::put_version`]).
    ///
    /// # Errors
    /// Where the key can't be read.
    pub fn version_of(&self, content: &[u8]) -> Result<Option<VersionId>> {
        Ok(self.key()?.map(|key| version(&key, content)))
    }

    /// Keeps a content, readable by the root's owner only; synced. The same content has the same version.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn put_version(&self, content: &[u8]) -> Result<VersionId> {
        self.mutable()?;
        let versions = self.vault_dir().join("versions");
        DirBuilder::new().recursive(true).mode(0o700).create(&versions).context("create the folder", &versions)?;
        let key = match self.key()? {
            Some(key) => key,
            None => self.make_key()?,
        };
        let id = version(&key, content);
        let path = versions.join(id.as_str());
        if !path.exists() {
            files::write_atomic(&self.ingest_dir(), &path, content, Durability::Synced)?;
        }
        Ok(id)
    }

    /// Opens a version for reading.
    ///
    /// # Errors
    /// `store/not-found`.
    pub fn open_version(&self, id: &VersionId) -> Result<File> {
        let path = self.vault_dir().join("versions").join(id.as_str());
        present(File::open(&path)).context("open the version", &path)?.ok_or_else(|| {
            Diagnostic::error(&codes::NOT_FOUND, format!("the version {id} of a secret or config is not in the vault"))
                .hint("apply the project again with its secret files at hand")
                .boxed()
        })
    }

    /// All versions.
    ///
    /// # Errors
    /// Where the vault can't be read.
    pub fn versions(&self) -> Result<Vec<VersionId>> {
        let names = files::names(&self.vault_dir().join("versions"))?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// Removes a version; whether it was there. That no container and no kept release needs it is the caller's to know.
    ///
    /// # Errors
    /// Where it can't be removed.
    pub fn remove_version(&self, id: &VersionId) -> Result<bool> {
        self.mutable()?;
        files::remove_file(&self.vault_dir().join("versions").join(id.as_str()))
    }

    fn vault_dir(&self) -> PathBuf {
        self.roots().data.join("vault")
    }

    fn key(&self) -> Result<Option<[u8; 32]>> {
        let path = self.vault_dir().join("key");
        let Some(bytes) = files::read(&path)? else { return Ok(None) };
        match bytes.try_into() {
            Ok(key) => Ok(Some(key)),
            Err(_) => {
                Err(Diagnostic::error(&codes::CORRUPT_RECORD, format!("the vault's key {} is damaged", path.display()))
                    .hint("restore it from a backup; without it no kept version can be told from another")
                    .boxed())
            }
        }
    }

    /// Whoever is first makes it; a link never replaces, so two processes agree.
    fn make_key(&self) -> Result<[u8; 32]> {
        let mut key = [0; 32];
        files::random(&mut key)?;
        let path = self.vault_dir().join("key");
        let own = Held::file(&self.ingest_dir())?;
        (&own.file).write_all(&key).and_then(|()| own.file.sync_all()).context("write", &own.path)?;
        let linked = std::fs::hard_link(&own.path, &path);
        match linked {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(crate::fault::fault("make the vault's key", &path, error))
            }
            _ => {
                files::sync_dir(&self.vault_dir())?;
                self.key()?.ok_or_else(|| crate::fault::fault("read", &path, std::io::ErrorKind::NotFound))
            }
        }
    }
}

fn version(key: &[u8; 32], content: &[u8]) -> VersionId {
    VersionId(hmac(key, content).iter().map(|byte| format!("{byte:02x}")).collect())
}

/// For keys of at most 64 bytes.
fn hmac(key: &[u8], content: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    block[..key.len()].copy_from_slice(key);
    let inner = sha2::Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(content).finalize();
    sha2::Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::testing::{Scene, roots};

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let hex: String = hmac(&[0x0b; 20], b"Hi There").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
        let hex: String =
            hmac(b"Jefe", b"what do ya want for nothing?").iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn versions_are_private_and_of_one_root() {
        let (scene, other) = (Scene::new(), Scene::new());
        assert_eq!(scene.store.version_of(b"secret").unwrap(), None);
        let id = scene.store.put_version(b"secret").unwrap();
        assert_eq!(scene.store.put_version(b"secret").unwrap(), id);
        assert_eq!(scene.store.version_of(b"secret").unwrap().as_ref(), Some(&id));
        assert_ne!(other.store.put_version(b"secret").unwrap(), id);
        let mut content = String::new();
        scene.store.open_version(&id).unwrap().read_to_string(&mut content).unwrap();
        assert_eq!(content, "secret");
        let vault = roots(scene.dir.path()).data.join("vault");
        for (path, mode) in [("", 0o700), ("key", 0o600), (&format!("versions/{id}"), 0o600)] {
            assert_eq!(std::fs::metadata(vault.join(path)).unwrap().permissions().mode() & 0o777, mode, "{path}");
        }
        assert!(scene.store.remove_version(&id).unwrap());
        assert_eq!(scene.store.open_version(&id).unwrap_err().code.id, "store/not-found");
        assert_eq!(scene.store.versions().unwrap(), []);
    }

    #[test]
    fn two_first_writers_agree_on_the_key() {
        let scene = Scene::new();
        let ids: Vec<_> = std::thread::scope(|scope| {
            let put = || scene.store.put_version(b"same").unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(put)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|id| *id == ids[0]));
        assert_eq!(scene.store.versions().unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_version_is_no_path() {
        assert!("../key".parse::<VersionId>().is_err());
    }
}
