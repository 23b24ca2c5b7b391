use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::{Ecosystem, PACKAGES_LIMIT, Package};

/// Whether a folder is one of an installed package: `…/node_modules/NAME` or `…/node_modules/@SCOPE/NAME`.
pub(super) fn is_installed(folder: &str) -> bool {
    let Some(name) = name_of(folder) else { return false };
    let parts = name.split('/').count();
    if name.starts_with('@') { parts == 2 } else { parts == 1 && !name.starts_with('.') }
}

/// What stands behind the last `node_modules` of a path.
fn name_of(path: &str) -> Option<&str> {
    let (before, name) = path.rsplit_once("node_modules/")?;
    (before.is_empty() || before.ends_with('/')).then_some(name).filter(|name| !name.is_empty())
}

#[derive(Deserialize)]
struct PackageFile {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    version: Option<String>,
}

/// `package.json` of an installed package.
pub(super) fn package(bytes: &[u8]) -> Result<Vec<Package>, String> {
    let file: PackageFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let (name, version) = (file.name.unwrap_or_default(), file.version.unwrap_or_default());
    let package = Package::new(Ecosystem::Npm, &name, &version).filter(|package| !package.version.is_empty());
    Ok(package.into_iter().collect())
}

#[derive(Deserialize)]
struct LockFile {
    /// Versions 2 and 3: by folder.
    #[serde(default)]
    packages: Option<Entries>,
    /// Versions 1 and 2: by name, nested.
    #[serde(default)]
    dependencies: Option<Entries>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    version: Option<String>,
    /// Of an alias.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    dev: bool,
    #[serde(default)]
    link: bool,
    #[serde(default)]
    dependencies: Option<Nested>,
}

/// Version 1 nests entries here; version 2 and 3 name ranges, which are no packages.
#[derive(Deserialize)]
#[serde(untagged)]
enum Nested {
    Entries(Entries),
    Ranges(serde::de::IgnoredAny),
}

/// An object that is not held whole where it is longer than any that is meant.
struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("packages by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                    if entries.len() > PACKAGES_LIMIT {
                        return Err(A::Error::custom(format!("more than {PACKAGES_LIMIT} packages")));
                    }
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// `package-lock.json` (npm's documentation, "package-lock.json"), without what only development needs.
pub(super) fn lock(bytes: &[u8]) -> Result<Vec<Package>, String> {
    let file: LockFile = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut packages = Vec::new();
    match (file.packages, file.dependencies) {
        (Some(entries), _) => {
            for (folder, entry) in entries.0 {
                // The project itself and folders of its own have no such path.
                let Some(name) = name_of(&folder).filter(|_| !entry.dev && !entry.link) else { continue };
                let name = entry.name.as_deref().unwrap_or(name);
                packages.extend(Package::new(Ecosystem::Npm, name, entry.version.as_deref().unwrap_or_default()));
            }
        }
        (None, Some(entries)) => nested(entries, &mut packages),
        (None, None) => {}
    }
    packages.retain(|package| !package.version.is_empty());
    Ok(packages)
}

/// As deep as JSON may be nested at most: the reader refuses more than 128.
fn nested(entries: Entries, packages: &mut Vec<Package>) {
    for (name, entry) in entries.0 {
        if !entry.dev {
            packages.extend(Package::new(Ecosystem::Npm, &name, entry.version.as_deref().unwrap_or_default()));
        }
        if let Some(Nested::Entries(inner)) = entry.dependencies {
            nested(inner, packages);
        }
    }
}
