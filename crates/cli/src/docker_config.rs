//! `~/.docker/config.json`: what Docker's command line keeps there for the output of its lists (`psFormat`, `imagesFormat` …).

use std::path::PathBuf;

/// The format of a key, where the file has one. A file that can't be read says nothing here: who needs credentials of it says so.
pub(crate) fn format(key: &str) -> Option<String> {
    let folder = std::env::var_os("DOCKER_CONFIG").filter(|folder| !folder.is_empty());
    let folder = folder.map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".docker")))?;
    let text = std::fs::read(folder.join("config.json")).ok()?;
    let config: serde_json::Value = serde_json::from_slice(&text).ok()?;
    config.get(key)?.as_str().filter(|format| !format.is_empty()).map(str::to_owned)
}
