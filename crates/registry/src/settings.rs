//! How a registry is reached: where, by which certificates, through which mirror and proxy.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_http::Proxies;
use serde::Deserialize;

use crate::codes;

/// What the machine and the user say of registries.
#[derive(Debug, Clone)]
pub struct Settings {
    /// By host, as in an image's name.
    pub registries: BTreeMap<String, RegistrySettings>,
    /// Folders with `HOST[:PORT]/{ca.crt,*.crt,client.cert,client.key}`, as Docker has them.
    pub certificate_folders: Vec<PathBuf>,
    /// The system's authorities, one PEM file; the first that exists.
    pub bundles: Vec<PathBuf>,
    /// `https_proxy`, `http_proxy`, `no_proxy`.
    pub proxies: Proxies,
    /// How long a connection may take to come about, its name looked up.
    pub connect_timeout: Duration,
    /// How long nothing may arrive or leave.
    pub idle_timeout: Duration,
    /// Before the first repetition; doubled before each further one.
    pub backoff: Duration,
    /// Whether a host that could not be reached once is not asked again: nobody waits for it twice.
    pub asks_once: bool,
}

/// What is said of one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistrySettings {
    /// Hosts asked first, in this order; what none of them has comes from the registry itself.
    pub mirrors: Vec<String>,
    /// Whether TLS is neither verified nor needed.
    pub insecure: bool,
    /// An authority beside the system's.
    #[serde(rename = "ca")]
    pub certificate_authority: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registries: BTreeMap::new(),
            certificate_folders: Vec::new(),
            bundles: Vec::new(),
            proxies: Proxies::default(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            backoff: Duration::from_millis(250),
            asks_once: false,
        }
    }
}

impl Settings {
    /// Of this machine and user: `/etc/carrack/registries.toml`, then `$XDG_CONFIG_HOME/carrack/registries.toml` (by
    /// default in `~/.config`), whose word is the last on a registry.
    ///
    /// # Errors
    /// `registry/settings`.
    pub fn of_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let home = variable("HOME").map(PathBuf::from);
        let own = variable("XDG_CONFIG_HOME").map(PathBuf::from).or(home.map(|home| home.join(".config")));
        let mut settings = Self {
            certificate_folders: vec!["/etc/docker/certs.d".into()],
            bundles: carrack_http::system_bundles(),
            proxies: Proxies::of_environment(),
            ..Self::default()
        };
        let files = [Some(PathBuf::from("/etc/carrack")), own.map(|own| own.join("carrack"))];
        for folder in files.into_iter().flatten() {
            settings.read(&folder.join("registries.toml"))?;
        }
        Ok(settings)
    }

    fn read(&mut self, path: &Path) -> Result<()> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| wrong(path, error))?,
        };
        self.registries.extend(parse(&text).map_err(|error| wrong(path, error))?);
        Ok(())
    }

    pub(crate) fn registry(&self, host: &str) -> RegistrySettings {
        self.registries.get(host).cloned().unwrap_or_default()
    }
}

pub(crate) fn wrong(path: &Path, reason: impl std::fmt::Display) -> Box<Diagnostic> {
    Diagnostic::error(&codes::SETTINGS, format!("can't read {}", path.display())).cause(reason.to_string()).boxed()
}

/// `registries.toml`: tables `[registry."HOST"]`. A key that nobody knows is a mistake worth telling.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    registry: BTreeMap<String, RegistrySettings>,
}

fn parse(text: &str) -> Result<BTreeMap<String, RegistrySettings>, basic_toml::Error> {
    Ok(basic_toml::from_str::<File>(text)?.registry)
}

/// A target of `fuzz/`.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = parse(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_toml_is_read_strictly() {
        let text = "# ours\n[registry.\"docker.io\"]\nmirrors = [\"mirror.lan:5000\", 'two.lan']  # near\n\n\
                    [registry.'[::1]:5000']\ninsecure = true\nca = \"/etc/ca.pem\"\n";
        let registries = parse(text).unwrap();
        assert_eq!(registries["docker.io"].mirrors, ["mirror.lan:5000", "two.lan"]);
        assert!(registries["[::1]:5000"].insecure && !registries["docker.io"].insecure);
        assert_eq!(registries["[::1]:5000"].certificate_authority, Some("/etc/ca.pem".into()));
        for wrong in ["insecure = true", "[registry.\"a\"]\ninsecur = true", "[registry.a", "[registry.a]\nca = 1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
