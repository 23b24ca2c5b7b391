//! What this host allows, before anything is done on it. Looks, tries, and changes nothing.

use std::path::Path;

use carrack_network::probe;
use carrack_store::Roots;
use serde::Serialize;

/// What `statfs` calls an overlay.
const OVERLAYFS_MAGIC: rustix::fs::FsWord = 0x794c_7630;

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
    /// What to do where it is not good enough; empty where it is, or where nothing has to be done.
    pub fix: String,
}

/// Asks the host. What it makes to try something dies with the question.
pub fn examine(roots: &Roots) -> Report {
    let mut checks = vec![user(), kernel(), namespaces()];
    checks.extend(networks());
    checks.extend([
        overlay(),
        cgroups(),
        seccomp(),
        folder("data root", "--root", &roots.data),
        folder("run root", "--run-root", &roots.run),
        forwarding(),
        apparmor(),
    ]);
    let all = checks.iter().all(|check| check.ok || !check.required);
    Report { level: if all { "everything" } else { "analysis only" }, checks }
}

/// Nothing runs where it is not as wanted: then `fix` says what to do.
fn required(name: &'static str, ok: bool, detail: impl Into<String>, fix: &str) -> Check {
    let fix = if ok { String::new() } else { fix.to_owned() };
    Check { name, ok, required: true, detail: detail.into(), fix }
}

fn optional(name: &'static str, ok: bool, detail: &str) -> Check {
    Check { name, ok, required: false, detail: detail.into(), fix: String::new() }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn user() -> Check {
    let detail = if is_root() { "root" } else { "not root: without, containers can't be run yet" };
    required("user", is_root(), detail, "run it as root or with sudo")
}

fn kernel() -> Check {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let fix = "boot a kernel of 6.1 or later, as Debian 12 has";
    required("kernel", at_least(&release, (6, 1)), format!("{release} (6.1 or later)"), fix)
}

fn namespaces() -> Check {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    let missing: Vec<&str> = kinds.into_iter().filter(|name| !Path::new("/proc/self/ns").join(name).exists()).collect();
    let detail = if missing.is_empty() { "all".to_owned() } else { format!("missing: {}", missing.join(", ")) };
    required("namespaces", missing.is_empty(), detail, "boot a kernel that is built with them, as distributions' are")
}

/// Tries what networks are made of, each thing where the one before works.
fn networks() -> Vec<Check> {
    type Attempt = fn() -> carrack_diag::Result<()>;
    let attempts: [(_, Attempt, _); 3] = [
        ("network", probe::try_namespace, "run carrack on the host itself, or with CAP_SYS_ADMIN and CAP_NET_ADMIN"),
        ("bridge, veth", probe::try_links, "modprobe bridge && modprobe veth"),
        ("packet filter", probe::try_filter, "modprobe nf_tables && modprobe nft_chain_nat && modprobe nft_masq"),
    ];
    let mut works = is_root();
    let mut checks = Vec::new();
    for (name, attempt, fix) in attempts {
        checks.push(match works.then(attempt) {
            None => required(name, false, "not tried", ""),
            Some(Ok(())) => required(name, true, "works", ""),
            Some(Err(error)) => {
                works = false;
                let causes: Vec<String> = error.causes.iter().map(|cause| format!(": {cause}")).collect();
                required(name, false, format!("{}{}", error.message, causes.concat()), fix)
            }
        });
    }
    checks
}

fn overlay() -> Check {
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let there = filesystems.lines().any(|line| line.split_whitespace().last() == Some("overlay"));
    required("overlay", there, if there { "there" } else { "not there" }, "modprobe overlay")
}

fn cgroups() -> Check {
    match carrack_runtime::cgroup::Hierarchies::detect() {
        Ok(hierarchies) => required("cgroups", true, format!("{:?}", hierarchies.version()).to_lowercase(), ""),
        Err(error) => required("cgroups", false, error.to_string(), "mount -t cgroup2 cgroup2 /sys/fs/cgroup"),
    }
}

fn seccomp() -> Check {
    let there = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
    let detail = if there { "system call filters" } else { "the kernel filters no system calls" };
    required("seccomp", there, detail, "boot a kernel with CONFIG_SECCOMP_FILTER, as distributions' are")
}

/// A root has to be writable, and its file system has to carry the upper layer of an overlay.
fn folder(name: &'static str, flag: &str, path: &Path) -> Check {
    // Of the folder itself, or of the nearest one above it that exists.
    let existing = path.ancestors().find(|folder| folder.exists()).unwrap_or(path);
    let writable = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_ok();
    let is_overlay = rustix::fs::statfs(existing).is_ok_and(|found| found.f_type == OVERLAYFS_MAGIC);
    let shown = path.display();
    let elsewhere = format!("name another folder with {flag}");
    match (writable, is_overlay) {
        (false, _) if !is_root() => required(name, false, format!("{shown}: root's"), ""),
        (false, _) => required(name, false, format!("{shown}: may not be written to"), &elsewhere),
        (true, true) if name == "data root" => {
            let detail =
                format!("{shown}: an overlay itself, as in a container, and containers can't be laid over one");
            required(name, false, detail, &format!("{elsewhere}, on a disk or a volume"))
        }
        _ => required(name, true, shown.to_string(), ""),
    }
}

fn forwarding() -> Check {
    let on = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1");
    optional("forwarding", on, if on { "on" } else { "off: carrack turns it on with the first network" })
}

fn apparmor() -> Check {
    let on = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.trim() == "Y");
    optional("apparmor", on, if on { "on" } else { "off: containers have one wall less" })
}

fn at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}
