//! `info`: this host and root in the words of Docker's Engine API (SystemInfo), each value asked of the kernel or the store.

use std::path::Path;

use carrack_diag::Result;
use carrack_network::Networks;
use carrack_runtime::cgroup::{Hierarchies, Version};
use serde_json::{Map, Value, json};

use crate::container::{ContainerView, on_path};
use crate::doctor::existing;
use crate::engine::{Engine, now};

/// External runtimes that may be installed beside our own.
const RUNTIMES: [&str; 3] = ["runc", "crun", "youki"];

impl Engine {
    /// Reads only (I-5).
    pub fn info(&self) -> Result<Value> {
        let containers = self.containers()?;
        let count = |status: &str| containers.iter().filter(|view| view.status() == status).count();
        let active = containers.iter().filter(|view| ContainerView::is_active(view)).count();
        let hierarchies = self.hierarchies()?;
        let controllers = hierarchies.controllers();
        let has = |name: &str| controllers.contains(name);
        let name = rustix::system::uname();
        let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        let release = os_release();
        let field = |key: &str| release.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut runtimes = Map::from_iter([("carrack".to_owned(), json!({ "path": "built in" }))]);
        for runtime in RUNTIMES {
            runtimes.extend(on_path(runtime).map(|path| (runtime.to_owned(), json!({ "path": path }))));
        }
        let root = json!({
            "ID": self.roots().tag(),
            "Containers": containers.len(),
            "ContainersRunning": active - count("paused"),
            "ContainersPaused": count("paused"),
            "ContainersStopped": containers.len() - active,
            "Images": self.store.images()?.len(),
            "Driver": "overlay",
            "DriverStatus": [
                ["Backing Filesystem", file_system_of(&self.roots().data)],
                ["Supports d_type", "true"],
                ["Using metacopy", "false"],
                ["userxattr", "false"],
            ],
            "Plugins": {
                "Volume": ["local"],
                "Network": ["bridge", "host", "null"],
                "Authorization": null,
                "Log": ["json-file", "local", "none"],
            },
        });
        let limits = json!({
            "MemoryLimit": has("memory"),
            "SwapLimit": hierarchies.counts_swap(),
            "CpuCfsPeriod": has("cpu"),
            "CpuCfsQuota": has("cpu"),
            "CPUShares": has("cpu"),
            "CPUSet": has("cpuset"),
            "PidsLimit": has("pids"),
            "OomKillDisable": has("memory") && hierarchies.version() == Version::V1,
            "IPv4Forwarding": is_on("/proc/sys/net/ipv4/ip_forward"),
            "BridgeNfIptables": is_on("/proc/sys/net/bridge/bridge-nf-call-iptables"),
            "BridgeNfIp6tables": is_on("/proc/sys/net/bridge/bridge-nf-call-ip6tables"),
        });
        let host = json!({
            "Debug": false,
            "SystemTime": now(),
            "LoggingDriver": "json-file",
            "CgroupDriver": hierarchies.driver(),
            "CgroupVersion": match hierarchies.version() { Version::V1 => "1", Version::V2 => "2" },
            "KernelVersion": word(name.release()),
            "OperatingSystem": field("PRETTY_NAME"),
            "OSVersion": field("VERSION_ID"),
            "OSType": "linux",
            "Architecture": word(name.machine()),
            "IndexServerAddress": "https://index.docker.io/v1/",
            "NCPU": processors(),
            "MemTotal": memory_bytes(),
            "DockerRootDir": self.roots().data,
            "RunRootDir": self.roots().run,
            "Name": word(name.nodename()),
            "Labels": [],
            "ExperimentalBuild": false,
            "ServerVersion": env!("CARGO_PKG_VERSION"),
            "Runtimes": runtimes,
            "DefaultRuntime": "carrack",
            "Swarm": { "LocalNodeState": "inactive" },
            "LiveRestoreEnabled": true,
            "Isolation": "",
            "InitBinary": "built in",
            "SecurityOptions": security_options(),
            "Warnings": self.info_warnings(hierarchies),
        });
        Ok([root, limits, host].into_iter().filter_map(into_object).flatten().collect::<Map<_, _>>().into())
    }

    fn info_warnings(&self, hierarchies: &Hierarchies) -> Vec<String> {
        let controllers = hierarchies.controllers();
        let mut warnings: Vec<String> = [("memory", "memory"), ("cpu", "cpu"), ("cpuset", "cpuset"), ("pids", "pids")]
            .into_iter()
            .filter(|(controller, _)| !controllers.contains(*controller))
            .map(|(_, limit)| format!("WARNING: No {limit} limit support"))
            .collect();
        if controllers.contains("memory") && !hierarchies.counts_swap() {
            warnings.push("WARNING: No swap limit support".into());
        }
        // Whoever is not root may not ask.
        let is_root = rustix::process::geteuid().is_root();
        let tried = is_root.then(|| carrack_store::try_one_file(existing(&self.roots().data)));
        if let Some(Err(reason)) = tried {
            warnings.push(format!(
                "WARNING: Layers can't be kept as one file, so large ones take longer to build: {reason}"
            ));
        }
        let firewalls = Networks::new(&self.store).firewall_warnings().unwrap_or_default();
        warnings.extend(firewalls.into_iter().map(|warning| format!("WARNING: {}", warning.message)));
        warnings
    }
}

fn into_object(value: Value) -> Option<Map<String, Value>> {
    if let Value::Object(map) = value { Some(map) } else { None }
}

fn security_options() -> Vec<&'static str> {
    let mut options = Vec::new();
    if is_on_as("/sys/module/apparmor/parameters/enabled", "Y") {
        options.push("name=apparmor");
    }
    if Path::new("/proc/sys/kernel/seccomp/actions_avail").exists() {
        options.push("name=seccomp,profile=builtin");
    }
    if Path::new("/sys/fs/selinux/enforce").exists() {
        options.push("name=selinux");
    }
    if Path::new("/proc/self/ns/cgroup").exists() {
        options.push("name=cgroupns");
    }
    options
}

fn is_on(path: &str) -> bool {
    is_on_as(path, "1")
}

fn is_on_as(path: &str, on: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.trim() == on)
}

/// os-release(5): `KEY=value` or `KEY="value"`.
fn os_release() -> Map<String, Value> {
    let text = std::fs::read_to_string("/etc/os-release").or_else(|_| std::fs::read_to_string("/usr/lib/os-release"));
    let text = text.unwrap_or_default();
    let fields = text.lines().filter_map(|line| line.split_once('='));
    fields.map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).into())).collect()
}

/// The type of the file system that a folder is on, or will be.
fn file_system_of(folder: &Path) -> String {
    let existing = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    let existing = existing.canonicalize().unwrap_or_else(|_| existing.to_owned());
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mounts = table.lines().filter_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let point = Path::new(mount.split(' ').nth(4)?);
        let kind = file_system.split(' ').next()?;
        existing.starts_with(point).then(|| (point.components().count(), kind.to_owned()))
    });
    // The last of several on one place covers the others.
    mounts.max_by_key(|(depth, _)| *depth).map_or_else(|| "unknown".into(), |(_, kind)| kind)
}

/// Those that this process may run on.
fn processors() -> u32 {
    rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count())
}

fn memory_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes: Option<u64> = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kibibytes.unwrap_or(0) * 1024
}
