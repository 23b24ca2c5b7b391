use carrack_diag::{Diagnostic, Result};
use carrack_oci::runtime::{Seccomp, SeccompArgument, SeccompRule};
use serde::Deserialize;

use super::Abi;
use crate::capability::Set;
use crate::codes;
use crate::facts::{Architecture, HostFacts};

/// A profile in Docker's form: the specification's, with conditions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Profile {
    default_action: String,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    /// Of the specification; without it the host's.
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchitectureMap>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ArchitectureMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    /// The form of old profiles.
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<SeccompArgument>>,
    #[serde(default, rename = "comment")]
    _comment: Option<String>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Reads a profile in Docker's JSON and keeps what holds for these capabilities on this host.
pub fn read_profile(json: &str, capabilities: Set, facts: &HostFacts) -> Result<Seccomp> {
    let profile: Profile = serde_json::from_str(json).map_err(|error| refused(error.to_string()))?;
    let native = Abi::of(facts.architecture).first().map_or("", |abi| abi.name());
    let mapped = profile.arch_map.unwrap_or_default().into_iter().find(|map| map.architecture == native).map(|map| {
        let mut names = vec![map.architecture];
        names.extend(map.sub_architectures.unwrap_or_default());
        names
    });
    let mut rules = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        let includes = &rule.includes;
        let has = |cap: &String| capabilities.contains(cap);
        let is_here = |arch: &String| arch == go_name(facts.architecture);
        let included = includes.arches.as_ref().is_none_or(|arches| arches.is_empty() || arches.iter().any(is_here))
            && includes.caps.as_ref().is_none_or(|caps| caps.iter().all(has))
            && new_enough(includes.min_kernel.as_deref(), facts)?.unwrap_or(true);
        let excludes = &rule.excludes;
        let excluded = excludes.arches.as_ref().is_some_and(|arches| arches.iter().any(is_here))
            || excludes.caps.as_ref().is_some_and(|caps| caps.iter().any(has))
            || new_enough(excludes.min_kernel.as_deref(), facts)?.unwrap_or(false);
        if included && !excluded {
            let names = rule.names.into_iter().flatten().chain(rule.name).collect();
            let args = rule.args.unwrap_or_default();
            rules.push(SeccompRule { names, action: rule.action, errno_ret: rule.errno_ret, args });
        }
    }
    let seccomp = Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures: profile
            .architectures
            .filter(|list| !list.is_empty())
            .or(mapped)
            .unwrap_or_else(|| vec![native.to_owned()]),
        flags: profile.flags.unwrap_or_default(),
        syscalls: rules,
    };
    super::compile(&seccomp)?;
    Ok(seccomp)
}

/// The architecture's name in conditions: Go's.
fn go_name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "amd64",
        Architecture::Aarch64 => "arm64",
    }
}

/// Whether the kernel is at least this; none where no version is named.
fn new_enough(version: Option<&str>, facts: &HostFacts) -> Result<Option<bool>> {
    let Some(version) = version.filter(|version| !version.is_empty()) else { return Ok(None) };
    let mut numbers = version.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok(Some(facts.kernel >= (major, minor))),
        _ => Err(refused(format!("minKernel {version:?} is not MAJOR.MINOR"))),
    }
}

pub(super) fn refused(cause: String) -> Box<Diagnostic> {
    Diagnostic::error(&codes::SECCOMP_PROFILE, "read the seccomp profile").cause(cause).boxed()
}
