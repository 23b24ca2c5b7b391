//! Which crate may know which: `carrack, cli -> engine -> shell -> pure -> oci -> diag`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A package of the workspace with what it depends on.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) dependencies: Vec<Dependency>,
}

#[derive(Debug)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// For tests only.
    pub(crate) development: bool,
}

/// Each crate with the crates of ours that it may know. What is not in the table may not be at all: add a line, and with it
/// a thought.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("diag", &[]),
    ("oci", &["diag"]),
    ("dockerfile", &["diag", "oci"]),
    ("compose", &["diag", "oci"]),
    ("attestation", &["oci"]),
    ("bake", &["diag", "compose"]),
    ("llb", &["diag", "oci", "dockerfile"]),
    ("specgen", &["diag", "oci", "compose"]),
    ("plan", &["diag", "oci", "compose", "specgen"]),
    ("sys", &[]),
    ("http", &[]),
    ("store", &["diag", "oci", "sys"]),
    ("registry", &["diag", "oci", "http", "store"]),
    ("network", &["diag", "oci", "specgen", "plan", "sys", "store"]),
    ("runtime", &["diag", "oci", "specgen", "plan", "sys", "store"]),
    ("solver", &["diag", "oci", "dockerfile", "attestation", "llb", "specgen", "sys", "http", "store", "runtime"]),
    (
        "engine",
        &[
            "diag",
            "oci",
            "dockerfile",
            "compose",
            "attestation",
            "llb",
            "specgen",
            "plan",
            "sys",
            "store",
            "registry",
            "network",
            "runtime",
            "solver",
        ],
    ),
    ("cli", &["diag", "oci", "dockerfile", "compose", "bake", "llb", "specgen", "plan", "engine"]),
    // The re-exec switch: init and shim are the runtime's. The scenarios ask the engine for the kinds of steps.
    ("carrack", &["cli", "engine", "runtime"]),
    ("testkit", &["oci", "sys"]),
    ("xtask", &[]),
];

/// Libraries of others that do nothing but turn values into values, so that the pure crates may use them.
const PURE_LIBRARIES: &[&str] =
    &["annotate-snippets", "base64", "flate2", "hcl-edit", "saphyr-parser", "serde", "serde_json", "sha2"];
const PURE: &[&str] = &["diag", "oci", "dockerfile", "compose", "bake", "attestation", "llb", "specgen", "plan"];

/// The workspace's packages, as cargo sees them.
pub(crate) fn packages(root: &Path) -> Result<Vec<Package>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root)
        .output()
        .map_err(|error| format!("can't run cargo metadata: {error}"))?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    Ok(packages
        .map(|package| Package {
            name: text(&package["name"]),
            dependencies: package["dependencies"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|dependency| Dependency {
                    name: text(&dependency["name"]),
                    development: dependency["kind"] == "dev",
                })
                .collect(),
        })
        .collect())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn faults(packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages {
        let name = short(&package.name);
        let Some((_, allowed)) = MAY_KNOW.iter().find(|(known, _)| *known == name) else {
            faults.push(format!("{name}: not in the table of xtask/src/direction.rs"));
            continue;
        };
        for dependency in &package.dependencies {
            let other = short(&dependency.name);
            let ours = MAY_KNOW.iter().any(|(known, _)| *known == other);
            let fixture = other == "testkit" && dependency.development;
            if ours && !fixture && !allowed.contains(&other) {
                faults.push(format!("{name}: must not know {other}"));
            }
            if !ours && PURE.contains(&name) && !dependency.development && !PURE_LIBRARIES.contains(&other) {
                faults.push(format!("{name}: is pure and must not use {other}"));
            }
        }
    }
    faults
}

fn short(name: &str) -> &str {
    name.strip_prefix("carrack-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, bool)]) -> Package {
        let dependencies = dependencies
            .iter()
            .map(|(name, development)| Dependency { name: (*name).into(), development: *development });
        Package { name: name.into(), dependencies: dependencies.collect() }
    }

    #[test]
    fn the_table_runs_downhill() {
        for (place, (name, allowed)) in MAY_KNOW.iter().enumerate() {
            for other in *allowed {
                assert!(MAY_KNOW[..place].iter().any(|(known, _)| known == other), "{name} knows {other} above it");
            }
        }
    }

    #[test]
    fn what_points_upward_or_is_unknown_is_named() {
        let faults = faults(&[
            package("carrack-diag", &[("carrack-oci", false), ("tempfile", true), ("tempfile", false)]),
            package("carrack-store", &[("carrack-testkit", true), ("carrack-testkit", false)]),
            package("carrack-novel", &[]),
            package("carrack-engine", &[("carrack-solver", false), ("jiff", false)]),
        ]);
        assert_eq!(
            faults,
            [
                "diag: must not know oci",
                "diag: is pure and must not use tempfile",
                "store: must not know testkit",
                "novel: not in the table of xtask/src/direction.rs",
            ]
        );
    }
}
