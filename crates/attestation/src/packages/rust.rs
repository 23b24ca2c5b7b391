use std::io::Read;

use serde::Deserialize;

use super::{Ecosystem, PACKAGES_LIMIT, Package};

/// Largest list that a program's section is unpacked to, in bytes.
const LIST_LIMIT: u64 = 8 << 20;

#[derive(Deserialize)]
struct Audit {
    packages: Vec<AuditPackage>,
}

#[derive(Deserialize)]
struct AuditPackage {
    name: String,
    version: String,
    #[serde(default)]
    kind: Option<String>,
}

/// The section `.dep-v0` of a program built with cargo-auditable (its PARSING.md): zlib of JSON. What only the build needed
/// is not in the program.
pub(super) fn audit(section: &[u8]) -> Result<Vec<Package>, String> {
    let mut json = Vec::new();
    let unpacked = flate2::read::ZlibDecoder::new(section).take(LIST_LIMIT + 1).read_to_end(&mut json);
    unpacked.map_err(|error| format!("its list of crates can't be unpacked: {error}"))?;
    if json.len() as u64 > LIST_LIMIT {
        return Err(format!("its list of crates is larger than {LIST_LIMIT} bytes"));
    }
    let audit: Audit =
        serde_json::from_slice(&json).map_err(|error| format!("its list of crates can't be read: {error}"))?;
    let runtime = audit.packages.iter().filter(|package| package.kind.as_deref().unwrap_or("runtime") == "runtime");
    Ok(runtime.filter_map(|package| Package::new(Ecosystem::Cargo, &package.name, &package.version)).collect())
}

/// `Cargo.lock` as cargo writes it: tables of `name = "…"` and `version = "…"`, a line each.
pub(super) fn lock(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    let (mut name, mut version) = ("", "");
    let mut is_package = false;
    for line in text.lines().map(str::trim).chain(["["]) {
        if line.starts_with('[') && !line.starts_with("[\"") {
            let package = Package::new(Ecosystem::Cargo, name, version);
            packages.extend(package.filter(|_| is_package && !version.is_empty()));
            is_package = line == "[[package]]";
            (name, version) = ("", "");
        }
        let value = |key: &str| {
            line.strip_prefix(key)?.trim_start().strip_prefix('=')?.trim().strip_prefix('"')?.strip_suffix('"')
        };
        name = value("name").unwrap_or(name);
        version = value("version").unwrap_or(version);
        if packages.len() > PACKAGES_LIMIT {
            break;
        }
    }
    packages
}
