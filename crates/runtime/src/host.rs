//! What plans need to know of this host, asked of the kernel.

use std::fs;

use carrack_diag::{Diagnostic, Result};
use carrack_specgen::container::Resources;
use carrack_specgen::facts::{Architecture, HostFacts};

use crate::cgroup::Hierarchies;
use crate::codes;

/// The facts of this host, as this process sees it.
pub fn facts(hierarchies: &Hierarchies) -> Result<HostFacts> {
    let name = rustix::system::uname();
    let kernel = name.release().to_string_lossy();
    let mut numbers = kernel.split(|letter: char| !letter.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let (apparmor, apparmor_profile) = apparmor();
    Ok(HostFacts {
        architecture: architecture(&name.machine().to_string_lossy())?,
        kernel: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
        cgroups: hierarchies.facts(),
        capabilities: grantable_capabilities(),
        hostname: name.nodename().to_string_lossy().into_owned(),
        apparmor,
        apparmor_profile,
    })
}

/// Whether this host has the processors and memory nodes that limits speak of.
///
/// # Errors
/// `container/invalid-setting`.
pub fn check_limits(asked: &Resources) -> Result<()> {
    if asked.nano_cpus.is_none() && asked.cpuset_cpus.is_none() && asked.cpuset_mems.is_none() {
        return Ok(());
    }
    let online = |what: &str| fs::read_to_string(format!("/sys/devices/system/{what}/online")).unwrap_or_default();
    carrack_specgen::check_on_host(asked, online("cpu").trim(), online("node").trim())
}

/// Whether AppArmor is on, and our profile loaded; the kernel lists them a line each, as `NAME (enforce)`.
pub fn apparmor() -> (bool, bool) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let on = read("/sys/module/apparmor/parameters/enabled").starts_with('Y');
    let is_ours = |line: &str| line.split(' ').next() == Some(carrack_specgen::apparmor::PROFILE_NAME);
    (on, on && read("/sys/kernel/security/apparmor/profiles").lines().any(is_ours))
}

fn architecture(machine: &str) -> Result<Architecture> {
    match machine {
        "x86_64" => Ok(Architecture::X86_64),
        "aarch64" => Ok(Architecture::Aarch64),
        other => Err(Diagnostic::error(&codes::UNKNOWN_ARCHITECTURE, format!("run a container on {other}"))
            .cause("carrack has no table of its system calls")
            .boxed()),
    }
}

/// Those that we hold and that may pass an execve.
fn grantable_capabilities() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
    };
    mask("CapBnd:") & mask("CapPrm:")
}
