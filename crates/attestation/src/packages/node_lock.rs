//! Lock files of Yarn and pnpm: by lines, as both programs write them.

use super::{Ecosystem, Package};

/// `yarn.lock`, of Yarn 1 (yarnpkg.com, "yarn.lock") and of later ones, which write YAML of the same shape. It does not tell
/// what only development needs: that is among them.
pub(super) fn yarn(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let mut name = None;
    for line in text.lines() {
        if !line.starts_with(char::is_whitespace) {
            name = line.strip_suffix(':').and_then(yarn_name);
            continue;
        }
        let is_of_entry = line.starts_with("  ") && !line.starts_with("   ");
        let version = line.trim_start().strip_prefix("version").filter(|_| is_of_entry);
        if let (Some(version), Some(name)) = (version, &name) {
            let version = unquoted(version.trim_start_matches(':'));
            packages.extend(Package::new(Ecosystem::Npm, name, version).filter(|package| !package.version.is_empty()));
        }
    }
    packages
}

/// The package of an entry such as `"@scope/a@^1.0.0", "@scope/a@^1.1.0"`; none of the project's own folders.
fn yarn_name(entry: &str) -> Option<String> {
    let first = unquoted(entry.split(", ").next()?);
    let (name, range) = first.split_at(1 + first.get(1..)?.find('@')?);
    let range = &range[1..];
    if ["workspace:", "link:", "portal:", "file:"].iter().any(|own| range.starts_with(own)) {
        return None;
    }
    // Of an alias: what it stands for.
    let alias = range.strip_prefix("npm:").and_then(|real| real.rsplit_once('@')).map(|(real, _)| real);
    Some(alias.filter(|real| !real.is_empty()).unwrap_or(name).to_owned())
}

/// `pnpm-lock.yaml` (pnpm.io, lockfile versions 5 to 9), without what only development needs as far as it tells.
pub(super) fn pnpm(text: &str) -> Vec<Package> {
    let major = text.lines().find_map(|line| line.strip_prefix("lockfileVersion:"));
    let major: u32 = major.and_then(|version| unquoted(version).split('.').next()?.parse().ok()).unwrap_or(9);
    let mut packages: Vec<Package> = Vec::new();
    let (mut is_within, mut has_entry) = (false, false);
    for line in text.lines() {
        if !line.starts_with(char::is_whitespace) && !line.is_empty() {
            is_within = line == "packages:";
        } else if is_within && line.starts_with("  ") && !line.starts_with("   ") {
            let entry = line.trim().strip_suffix(':').and_then(|key| pnpm_entry(unquoted(key), major));
            has_entry = entry.is_some();
            packages.extend(entry);
        } else if is_within && has_entry && line == "    dev: true" {
            packages.pop();
            has_entry = false;
        }
    }
    packages
}

/// `/a/1.0.0_peer@1`, `/a@1.0.0(peer@1)` or `a@1.0.0`; none of what is no registry's.
fn pnpm_entry(key: &str, major: u32) -> Option<Package> {
    let key = key.split('(').next()?.trim_start_matches('/');
    let (name, version) = match major {
        ..=5 => key.rsplit_once('/').map(|(name, version)| (name, version.split('_').next().unwrap_or(version)))?,
        _ => (key.rsplit_once('@').filter(|(name, _)| !name.is_empty()))?,
    };
    let is_published = version.starts_with(|first: char| first.is_ascii_digit()) && !name.contains(':');
    is_published.then(|| Package::new(Ecosystem::Npm, name, version))?
}

fn unquoted(text: &str) -> &str {
    text.trim().trim_matches(['"', '\''])
}
