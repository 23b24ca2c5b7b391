//! Docker's `config.json`: credentials of registries, formats of lists (`psFormat`, `imagesFormat` …), keys to detach with, and
//! the proxies that containers and builds are told. What else it may say is about a daemon or about plugins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use carrack_engine::registry::CredentialFile;
use serde_json::Value;

/// What `--config` says: one command line a process.
static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

/// Takes a folder instead of the environment's.
pub(crate) fn choose(folder: &Path) {
    // Once: there is one command line.
    let _ = CHOSEN.set(folder.to_owned());
}

/// The folder of `config.json`: `--config`, `DOCKER_CONFIG`, `~/.docker`; none without a home.
pub(crate) fn folder() -> Option<PathBuf> {
    if let Some(folder) = CHOSEN.get() {
        return Some(folder.clone());
    }
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")))
}

pub(crate) fn credentials() -> Option<CredentialFile> {
    folder().map(|folder| CredentialFile::in_folder(&folder))
}

/// The format of a key, where the file has one.
pub(crate) fn format(key: &str) -> Option<String> {
    read()?.get(key)?.as_str().filter(|format| !format.is_empty()).map(str::to_owned)
}

/// The variables of `proxies` that containers and builds get, in both spellings as in Docker.
pub(crate) fn proxies() -> BTreeMap<String, String> {
    read().map(|config| proxies_of(&config)).unwrap_or_default()
}

/// A file that can't be read says nothing here: who needs credentials of it says so.
fn read() -> Option<Value> {
    let text = std::fs::read(folder()?.join("config.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

fn proxies_of(config: &Value) -> BTreeMap<String, String> {
    const KEYS: [(&str, &str); 5] = [
        ("httpProxy", "HTTP_PROXY"),
        ("httpsProxy", "HTTPS_PROXY"),
        ("noProxy", "NO_PROXY"),
        ("ftpProxy", "FTP_PROXY"),
        ("allProxy", "ALL_PROXY"),
    ];
    // Docker has them by daemon; those for all of them are meant for this host too.
    let chosen = &config["proxies"]["default"];
    let mut variables = BTreeMap::new();
    for (key, name) in KEYS {
        if let Some(value) = chosen[key].as_str().filter(|value| !value.is_empty()) {
            variables.insert(name.to_owned(), value.to_owned());
            variables.insert(name.to_lowercase(), value.to_owned());
        }
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::proxies_of;

    #[test]
    fn proxies_are_variables_in_both_spellings() {
        let config = serde_json::json!({ "proxies": {
            "default": { "httpProxy": "http://p:1", "noProxy": "local", "allProxy": "" },
            "tcp://other": { "ftpProxy": "http://q" },
        } });
        let found: Vec<_> = proxies_of(&config).into_iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(found, ["HTTP_PROXY=http://p:1", "NO_PROXY=local", "http_proxy=http://p:1", "no_proxy=local"]);
        assert!(proxies_of(&serde_json::json!({ "proxies": [] })).is_empty());
    }
}
