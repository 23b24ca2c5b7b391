//! What this host allows, before anything is tried on it. Looks, and changes nothing.

use std::path::Path;

use carrack_store::Roots;
use serde::Serialize;

/// What was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `everything`, or `analysis only`.
    pub level: &'static str,
    /// One entry a question.
    pub checks: Vec<Check>,
}

/// The answer to one question.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// What was asked.
    pub name: &'static str,
    /// Whether the answer is good enough.
    pub ok: bool,
    /// Whether nothing runs without it.
    pub required: bool,
    /// What was found.
    pub detail: String,
}

/// Asks the host.
pub fn examine(roots: &Roots) -> Report {
    let root = rustix::process::geteuid().is_root();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has_filesystem = |name: &str| filesystems.lines().any(|line| line.split_whitespace().last() == Some(name));
    let namespaces = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    let missing: Vec<&str> =
        namespaces.into_iter().filter(|name| !Path::new("/proc/self/ns").join(name).exists()).collect();
    let cgroups = carrack_runtime::cgroup::Hierarchies::detect();
    let checks = vec![
        check("user", root, true, if root { "root".into() } else { "not root: only analysis is possible".into() }),
        check("kernel", at_least(&kernel, (6, 1)), true, format!("{kernel} (6.1 or later)")),
        check(
            "namespaces",
            missing.is_empty(),
            true,
            match missing.as_slice() {
                [] => "all".into(),
                missing => format!("missing: {}", missing.join(", ")),
            },
        ),
        check("overlay", has_filesystem("overlay"), true, presence(has_filesystem("overlay"), "modprobe overlay")),
        check(
            "cgroups",
            cgroups.is_ok(),
            true,
            match &cgroups {
                Ok(hierarchies) => format!("{:?}", hierarchies.version()).to_lowercase(),
                Err(error) => error.to_string(),
            },
        ),
        check(
            "seccomp",
            Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
            true,
            "system call filters".into(),
        ),
        check("data root", writable(&roots.data), true, roots.data.display().to_string()),
        check("run root", writable(&roots.run), true, roots.run.display().to_string()),
        check(
            "forwarding",
            forwarding(),
            false,
            if forwarding() { "on".into() } else { "off: carrack turns it on with the first network".into() },
        ),
        check(
            "erofs",
            has_filesystem("erofs"),
            false,
            presence(has_filesystem("erofs"), "layers are unpacked instead"),
        ),
        check("apparmor", apparmor(), false, if apparmor() { "on".into() } else { "off".into() }),
    ];
    let all = checks.iter().all(|check| check.ok || !check.required);
    Report { level: if all { "everything" } else { "analysis only" }, checks }
}

fn check(name: &'static str, ok: bool, required: bool, detail: String) -> Check {
    Check { name, ok, required, detail }
}

fn presence(there: bool, otherwise: &str) -> String {
    if there { "there".into() } else { format!("not there: {otherwise}") }
}

fn at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

/// Whether the folder, or the nearest one above it that exists, may be written.
fn writable(path: &Path) -> bool {
    let existing = path.ancestors().find(|folder| folder.exists());
    existing.is_some_and(|folder| rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_ok())
}

fn forwarding() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1")
}

fn apparmor() -> bool {
    std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.trim() == "Y")
}
