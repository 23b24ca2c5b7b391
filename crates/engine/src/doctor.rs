//! What this host allows, before anything is done on it. Looks, tries, and changes nothing.

pub(crate) mod codes;

use std::path::Path;

use carrack_diag::Code;
use carrack_network::{Networks, probe};
use carrack_runtime::cgroup::Hierarchies;
use carrack_store::{Roots, Store};
use serde::Serialize;

use crate::engine::Engine;

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
    /// Of the entry of `carrack explain` about it.
    pub code: &'static str,
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
        controllers(),
        swap(),
        seccomp(),
        folder("data root", &codes::DATA_ROOT, "--root", &roots.data),
        folder("run root", &codes::RUN_ROOT, "--run-root", &roots.run),
        layers(&roots.data),
        disk(&roots.data),
        forwarding(),
        other_firewalls(roots),
        apparmor(),
        leftovers(roots),
    ]);
    let all = checks.iter().all(|check| check.ok || !check.required);
    Report { level: if all { "everything" } else { "analysis only" }, checks }
}

/// Nothing runs where it is not as wanted: then `fix` says what to do.
fn required(name: &'static str, code: &Code, ok: bool, detail: impl Into<String>, fix: &str) -> Check {
    let fix = if ok { String::new() } else { fix.to_owned() };
    Check { name, code: code.id, ok, required: true, detail: detail.into(), fix }
}

/// Containers run without it, some of them worse.
fn optional(name: &'static str, code: &Code, ok: bool, detail: impl Into<String>, fix: &str) -> Check {
    Check { required: false, ..required(name, code, ok, detail, fix) }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn user() -> Check {
    let detail = if is_root() { "root" } else { "not root: without, containers can't be run yet" };
    required("user", &codes::USER, is_root(), detail, "run it as root or with sudo")
}

fn kernel() -> Check {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let fix = "boot a kernel of 6.1 or later, as Debian 12 has";
    required("kernel", &codes::KERNEL, at_least(&release, (6, 1)), format!("{release} (6.1 or later)"), fix)
}

fn namespaces() -> Check {
    let kinds = ["cgroup", "ipc", "mnt", "net", "pid", "uts"];
    let missing: Vec<&str> = kinds.into_iter().filter(|name| !Path::new("/proc/self/ns").join(name).exists()).collect();
    let detail = if missing.is_empty() { "all".to_owned() } else { format!("missing: {}", missing.join(", ")) };
    required(
        "namespaces",
        &codes::NAMESPACES,
        missing.is_empty(),
        detail,
        "boot a kernel that is built with them, as distributions' are",
    )
}

/// Tries what networks are made of, each thing where the one before works.
fn networks() -> Vec<Check> {
    type Attempt = fn() -> carrack_diag::Result<()>;
    let attempts: [(_, &Code, Attempt, _); 3] = [
        (
            "network",
            &codes::NETWORK,
            probe::try_namespace,
            "run carrack on the host itself, or with CAP_SYS_ADMIN and CAP_NET_ADMIN",
        ),
        ("bridge, veth", &codes::LINKS, probe::try_links, "modprobe bridge && modprobe veth"),
        (
            "packet filter",
            &codes::PACKET_FILTER,
            probe::try_filter,
            "modprobe nf_tables && modprobe nft_chain_nat && modprobe nft_masq",
        ),
    ];
    let mut works = is_root();
    let mut checks = Vec::new();
    for (name, code, attempt, fix) in attempts {
        checks.push(match works.then(attempt) {
            None => required(name, code, false, "not tried", ""),
            Some(Ok(())) => required(name, code, true, "works", ""),
            Some(Err(error)) => {
                works = false;
                let causes: Vec<String> = error.causes.iter().map(|cause| format!(": {cause}")).collect();
                required(name, code, false, format!("{}{}", error.message, causes.concat()), fix)
            }
        });
    }
    checks
}

fn overlay() -> Check {
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let there = filesystems.lines().any(|line| line.split_whitespace().last() == Some("overlay"));
    required("overlay", &codes::OVERLAY, there, if there { "there" } else { "not there" }, "modprobe overlay")
}

fn cgroups() -> Check {
    match Hierarchies::detect() {
        Ok(hierarchies) => {
            required("cgroups", &codes::CGROUPS, true, format!("{:?}", hierarchies.version()).to_lowercase(), "")
        }
        Err(error) => {
            required("cgroups", &codes::CGROUPS, false, error.to_string(), "mount -t cgroup2 cgroup2 /sys/fs/cgroup")
        }
    }
}

/// Without a controller, the flags that need it are refused.
fn controllers() -> Check {
    let Ok(hierarchies) = Hierarchies::detect() else {
        return optional("controllers", &codes::CONTROLLERS, false, "not tried", "");
    };
    let there = hierarchies.controllers();
    let missing: Vec<&str> =
        ["cpu", "cpuset", "memory", "pids"].into_iter().filter(|name| !there.contains(*name)).collect();
    let detail = match missing.as_slice() {
        [] => "cpu, cpuset, memory, pids".to_owned(),
        missing => format!("missing: {}; limits of these are refused", missing.join(", ")),
    };
    let fix = "boot without cgroup_disable=, or with cgroup_enable=memory where the kernel asks for it; in a container, have \
               them delegated";
    optional("controllers", &codes::CONTROLLERS, missing.is_empty(), detail, fix)
}

fn swap() -> Check {
    let counts = Hierarchies::detect().is_ok_and(|hierarchies| hierarchies.counts_swap());
    let detail = if counts { "counted" } else { "not counted: --memory-swap can't be enforced" };
    optional("swap", &codes::SWAP, counts, detail, "boot with swapaccount=1")
}

fn seccomp() -> Check {
    let there = Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
    let detail = if there { "system call filters" } else { "the kernel filters no system calls" };
    required(
        "seccomp",
        &codes::SECCOMP,
        there,
        detail,
        "boot a kernel with CONFIG_SECCOMP_FILTER, as distributions' are",
    )
}

/// A root has to be writable, and its file system has to carry the upper layer of an overlay.
fn folder(name: &'static str, code: &Code, flag: &str, path: &Path) -> Check {
    let existing = existing(path);
    let writable = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_ok();
    let is_overlay = rustix::fs::statfs(existing).is_ok_and(|found| found.f_type == OVERLAYFS_MAGIC);
    let shown = path.display();
    let elsewhere = format!("name another folder with {flag}");
    match (writable, is_overlay) {
        (false, _) if !is_root() => required(name, code, false, format!("{shown}: root's"), ""),
        (false, _) => required(name, code, false, format!("{shown}: may not be written to"), &elsewhere),
        (true, true) if name == "data root" => {
            let detail =
                format!("{shown}: an overlay itself, as in a container, and containers can't be laid over one");
            required(name, code, false, detail, &format!("{elsewhere}, on a disk or a volume"))
        }
        _ => required(name, code, true, shown.to_string(), ""),
    }
}

/// Without it large layers are unpacked, as those of pulled images are everywhere.
fn layers(data: &Path) -> Check {
    let name = "layers as one file";
    let (ok, detail) = match is_root().then(|| carrack_store::try_one_file(existing(data))) {
        None => (false, "not tried".to_owned()),
        Some(Ok(())) => (true, "works".to_owned()),
        Some(Err(reason)) => (false, format!("all are unpacked, which builds wait for: {reason}")),
    };
    let fix = "boot a kernel of 6.12 or later with EROFS; have the data root on ext4, XFS or Btrfs";
    optional(name, &codes::LAYERS, ok, detail, if is_root() { fix } else { "" })
}

/// The folder itself, or the nearest one above it that exists.
pub(crate) fn existing(path: &Path) -> &Path {
    path.ancestors().find(|folder| folder.exists()).unwrap_or(path)
}

/// Half-written content is worth nothing, so a disk is full before it is.
fn disk(path: &Path) -> Check {
    const FEW_BYTES: u64 = 1 << 30;
    let existing = existing(path);
    let Ok(found) = rustix::fs::statvfs(existing) else {
        return optional("disk", &codes::DISK, false, format!("{}: can't be asked", existing.display()), "");
    };
    let free_bytes = found.f_bavail * found.f_frsize;
    let share = |free: u64, all: u64| (free * 100).checked_div(all).unwrap_or(100);
    let (space, files) = (share(found.f_bavail, found.f_blocks), share(found.f_favail, found.f_files));
    let ok = free_bytes >= FEW_BYTES && space >= 3 && files >= 3;
    let detail = format!("{} MB free ({space}%), {files}% of the inodes", free_bytes / 1_000_000);
    let fix = "carrack system df shows what takes room, carrack system prune what may go";
    optional("disk", &codes::DISK, ok, detail, fix)
}

/// A drop of another's is final.
fn other_firewalls(roots: &Roots) -> Check {
    let name = "other firewalls";
    let asked = is_root().then(|| Store::open_read_only(roots.clone())).and_then(carrack_diag::Result::ok);
    let warnings = asked.map(|store| Networks::new(&store).firewall_warnings());
    match warnings {
        Some(Ok(warnings)) if warnings.is_empty() => {
            optional(name, &codes::OTHER_FIREWALLS, true, "none that drops what containers send", "")
        }
        Some(Ok(warnings)) => {
            let said: Vec<&str> = warnings.iter().map(|warning| warning.message.as_str()).collect();
            let fixes: Vec<&str> = warnings.iter().flat_map(|warning| &warning.hints).map(String::as_str).collect();
            optional(name, &codes::OTHER_FIREWALLS, false, said.join("; "), &fixes.join("; "))
        }
        Some(Err(error)) => optional(name, &codes::OTHER_FIREWALLS, false, error.message, ""),
        None => optional(name, &codes::OTHER_FIREWALLS, false, "not tried", ""),
    }
}

fn leftovers(roots: &Roots) -> Check {
    let name = "leftovers";
    let asked = is_root().then(|| Engine::open_read_only(roots.clone()).and_then(|engine| engine.leaks()));
    match asked {
        Some(Ok(leaks)) if leaks.is_empty() => optional(name, &codes::LEFTOVERS, true, "none", ""),
        Some(Ok(leaks)) => {
            let detail = format!("{}: {} {}, …", leaks.len(), leaks[0].kind, leaks[0].name);
            optional(
                name,
                &codes::LEFTOVERS,
                false,
                detail,
                "carrack doctor --leaks says what each is and what removes it",
            )
        }
        Some(Err(error)) => {
            let fix = error.hints.join("; ");
            optional(name, error.code, false, error.message, &fix)
        }
        None => optional(name, &codes::LEFTOVERS, false, "not tried", ""),
    }
}

fn forwarding() -> Check {
    let on = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1");
    let detail = if on { "on" } else { "off: carrack turns it on with the first network" };
    optional("forwarding", &codes::FORWARDING, on, detail, "")
}

fn apparmor() -> Check {
    let profile = carrack_specgen::apparmor::PROFILE_NAME;
    let (ok, detail, fix) = match carrack_runtime::host::apparmor() {
        (false, _) => (false, "off: containers have one wall less".to_owned(), ""),
        (true, true) => (true, format!("on, and the profile {profile} is loaded"), ""),
        // Who may not read the list of profiles is told no more than he knows.
        (true, false) if !is_root() => (true, "on".to_owned(), ""),
        (true, false) => {
            (false, format!("on, but the profile {profile} is not loaded"), "carrack doctor --install-profile")
        }
    };
    optional("apparmor", &codes::APPARMOR, ok, detail, fix)
}

fn at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}
