//! How a registry is reached: where, by which certificates, through which mirror and proxy.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
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

/// Proxies as the environment names them.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// For `https://`.
    pub https: Option<String>,
    /// For `http://`.
    pub http: Option<String>,
    /// Hosts that are reached without, separated by commas.
    pub bypass: String,
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
            bundles: variable("SSL_CERT_FILE")
                .map(PathBuf::from)
                .into_iter()
                .chain(SYSTEM_BUNDLES.iter().map(PathBuf::from))
                .collect(),
            proxies: Proxies {
                https: variable("HTTPS_PROXY").or_else(|| variable("https_proxy")),
                http: variable("HTTP_PROXY").or_else(|| variable("http_proxy")),
                bypass: variable("NO_PROXY").or_else(|| variable("no_proxy")).unwrap_or_default(),
            },
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

    /// The proxy for an address; none where it is reached without.
    pub(crate) fn proxy(&self, scheme: &str, host: &str, port: u16) -> Option<&str> {
        let proxy = if scheme == "https" { &self.proxies.https } else { &self.proxies.http };
        let bypassed = is_loopback(host) || self.proxies.bypass.split(',').any(|entry| bypasses(entry, host, port));
        proxy.as_deref().filter(|_| !bypassed)
    }
}

/// Where distributions keep the authorities that they trust: Debian, Fedora, openSUSE, Alpine.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

pub(crate) fn wrong(path: &Path, reason: impl std::fmt::Display) -> Box<Diagnostic> {
    Diagnostic::error(&codes::SETTINGS, format!("can't read {}", path.display())).cause(reason.to_string()).boxed()
}

/// `localhost`, 127.0.0.0/8, ::1: what nobody can listen in on between.
pub(crate) fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an entry of NO_PROXY is about a host: a name with all below it, an address, a network, `*`; with a port or not.
fn bypasses(entry: &str, host: &str, port: u16) -> bool {
    let entry = entry.trim();
    if entry == "*" {
        return true;
    }
    if let (Some((network, bits)), Ok(IpAddr::V4(address))) = (entry.split_once('/'), host.parse()) {
        let parsed =
            network.parse::<std::net::Ipv4Addr>().ok().zip(bits.parse::<u32>().ok().filter(|bits| *bits <= 32));
        return parsed.is_some_and(|(network, bits)| {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        });
    }
    let entry = match entry.rsplit_once(':') {
        Some((name, given)) if given.parse::<u16>().is_ok() && !name.contains(':') => {
            if given.parse() != Ok(port) {
                return false;
            }
            name
        }
        _ => entry,
    };
    let name = entry.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    !name.is_empty() && (host == name || host.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.')))
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

    #[test]
    fn proxies_are_by_scheme_and_leave_out_what_they_should() {
        let settings = Settings {
            proxies: Proxies {
                https: Some("http://proxy:3128".into()),
                http: None,
                bypass: "lan, .corp.example,10.0.0.0/8,special.example:5000".into(),
            },
            ..Settings::default()
        };
        let proxied = |host: &str, port: u16| settings.proxy("https", host, port).is_some();
        assert!(proxied("docker.io", 443) && proxied("nolan", 443) && proxied("special.example", 443));
        for host in ["lan", "a.LAN", "x.corp.example", "10.1.2.3", "127.0.0.1", "localhost", "::1"] {
            assert!(!proxied(host, 443), "{host}");
        }
        assert!(!proxied("special.example", 5000));
        assert_eq!(settings.proxy("http", "docker.io", 80), None);
    }
}
