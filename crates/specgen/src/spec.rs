use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Config;
use carrack_oci::runtime::{
    Capabilities, Device, DeviceRule, IdMapping, Linux, Mount, Namespace, Process, Resources, Rlimit, Root, Spec, User,
};

use crate::container::{Container, IpcMode, MountSource, NamespaceMode, NetworkMode, SeccompMode};
use crate::facts::HostFacts;
use crate::{capability, codes, external, limits, seccomp};

/// What the caller found or made on the host for one container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Resolved {
    /// The container's id, 64 hexadecimal digits.
    pub id: String,
    /// Folder of the host that the root file system is attached to.
    pub rootfs: String,
    /// Of the control groups, `carrack-TAG/ID`.
    pub cgroup: String,
    /// Host path by target, for each volume, anonymous one, secret and config; the image's volumes included.
    pub sources: BTreeMap<String, Source>,
    /// Host path of the container's /etc/hosts; none leaves the image's.
    pub hosts: Option<String>,
    /// Host path of its /etc/resolv.conf.
    pub resolv_conf: Option<String>,
    /// Host path of its /etc/hostname.
    pub hostname_file: Option<String>,
    /// The nodes behind its device mappings, and all of the host's where it is privileged.
    pub devices: Vec<ResolvedDevice>,
    /// Namespaces of other containers, or held for this one, by kind (`network`, `pid`, `ipc`, `uts`, `cgroup`).
    pub namespaces: BTreeMap<String, String>,
    /// The network namespace is handed over as a descriptor instead.
    pub network_inherited: bool,
    /// Major and minor number of each block device that is limited, by its path on the host.
    pub block_devices: BTreeMap<String, (i64, i64)>,
    /// Host path of the shared memory that it shares with other containers; none is memory of its own.
    pub shared_memory: Option<String>,
}

/// A host path that something of the container is kept at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// Absolute.
    pub path: String,
    /// Whether the container may not write there.
    pub read_only: bool,
}

/// A device that the container gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedDevice {
    /// The node, with its path in the container.
    pub node: Device,
    /// Of `r`, `w`, `m`.
    pub access: String,
}

/// Paths of the kernel's that tell or endanger the host: Docker's list.
pub const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths of the kernel's that can be read and must not be written: Docker's list.
pub const READ_ONLY_PATHS: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Docker's.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Size of /dev/shm where nobody asks for another: Docker's.
pub const DEFAULT_SHM_BYTES: u64 = 64 << 20;

/// The OCI runtime configuration of a container, with Docker's defaults for what nobody asked for.
///
/// The user stands in it where it was given by numbers; names are looked up in the container when it starts.
pub fn spec(container: &Container, image: &Config, facts: &HostFacts, resolved: &Resolved) -> Result<Spec> {
    let hostname = hostname(container, facts, resolved);
    let args = container.arguments(image);
    if args.first().is_none_or(String::is_empty) {
        return Err(Diagnostic::error(&codes::NO_COMMAND, format!("run the image {}", container.image))
            .cause("neither the image nor the request names a program")
            .hint("add a command after the image's name")
            .boxed());
    }
    let capabilities = capabilities(container, facts)?;
    let seccomp = match &container.seccomp {
        _ if container.privileged => None,
        SeccompMode::Unconfined => None,
        SeccompMode::Default => Some(seccomp::default_profile(capabilities, facts)),
        SeccompMode::Profile(json) => Some(seccomp::read_profile(json, capabilities, facts)?),
    };
    let names = capabilities.names();
    let confine = |paths: &[&str]| -> Vec<String> {
        if container.privileged || container.unmasked {
            Vec::new()
        } else {
            paths.iter().map(|path| (*path).to_owned()).collect()
        }
    };
    Ok(Spec {
        oci_version: "1.2.0".into(),
        process: Process {
            terminal: container.tty,
            user: numeric_user(&user_of(container, image)),
            args,
            env: environment(container, image, &hostname),
            cwd: working_directory(container, image),
            capabilities: Some(Capabilities {
                bounding: names.clone(),
                effective: names.clone(),
                inheritable: Vec::new(),
                permitted: names,
                ambient: Vec::new(),
            }),
            rlimits: rlimits(container)?,
            no_new_privileges: container.no_new_privileges,
            apparmor_profile: apparmor_profile(container, facts)?,
            selinux_label: None,
            oom_score_adj: oom_score(container)?,
        },
        root: Root { path: resolved.rootfs.clone(), readonly: container.read_only },
        hostname: if container.uts == NamespaceMode::Private { hostname } else { String::new() },
        domainname: container.domainname.clone().unwrap_or_default(),
        mounts: mounts(container, image, resolved)?,
        annotations: container.annotations.clone(),
        linux: Linux {
            namespaces: namespaces(container, resolved)?,
            devices: resolved.devices.iter().map(|device| device.node.clone()).collect(),
            resources: Some(Resources {
                devices: device_rules(container, resolved)?,
                block_io: limits::block_io(&container.resources.block, &resolved.block_devices)?,
                ..limits::resources(&container.resources, &facts.cgroups)?
            }),
            cgroups_path: resolved.cgroup.clone(),
            seccomp,
            rootfs_propagation: String::new(),
            masked_paths: confine(MASKED_PATHS),
            readonly_paths: confine(READ_ONLY_PATHS),
            sysctl: sysctls(container)?,
        },
    })
}

/// The profile that was asked for, else ours where it is loaded.
fn apparmor_profile(container: &Container, facts: &HostFacts) -> Result<Option<String>> {
    match &container.apparmor {
        Some(profile) if profile == "unconfined" => Ok(None),
        Some(profile) if !facts.apparmor => Err(invalid(
            format!("run under the AppArmor profile {profile}"),
            "AppArmor is not on here, so nothing would hold the container to it",
        )),
        Some(profile) => Ok(Some(profile.clone())),
        None if container.privileged => Ok(None),
        None => Ok(facts.apparmor_profile.then(|| crate::apparmor::PROFILE_NAME.to_owned())),
    }
}

/// What is wrong with a container on every host, so that it can be refused before anything of it is made.
///
/// # Errors
/// [`codes::INVALID_SETTING`], `container/unknown-capability`.
pub fn check(container: &Container) -> Result<()> {
    for (index, mount) in container.mounts.iter().enumerate() {
        check_target(&mount.target)?;
        check_not_procfs(mount)?;
        let is_same = |other: &crate::container::Mount| parts(&other.target).eq(parts(&mount.target));
        if container.mounts.iter().take(index).any(is_same) {
            return Err(invalid(format!("mount onto {:?}", mount.target), "two mounts have this target"));
        }
    }
    if matches!(container.network, NetworkMode::Container(_)) {
        let without_network =
            |what: &str| invalid(what, "it is on the network of another container: that one's settings count");
        if !container.ports.is_empty() || container.publish_all {
            return Err(without_network("publish ports"));
        }
        if !container.expose.is_empty() {
            return Err(without_network("expose ports"));
        }
        if container.hostname.is_some() || container.domainname.is_some() {
            return Err(without_network("set the host name"));
        }
        if !container.extra_hosts.is_empty() {
            return Err(without_network("add lines to /etc/hosts"));
        }
        if !container.dns.is_empty() || !container.dns_search.is_empty() || !container.dns_options.is_empty() {
            return Err(without_network("set name servers"));
        }
    }
    let is_named = container.hostname.is_some() || container.domainname.is_some();
    if container.uts == NamespaceMode::Host && is_named {
        return Err(invalid(
            "set the host name",
            "with `uts` of the host it has the host's name, which is not its own",
        ));
    }
    if container.resources.pids == Some(1) {
        let alone = |what: &str| invalid("limit the processes to 1", format!("{what}: 2 are enough"));
        if container.init {
            return Err(alone("the small init and the program are two"));
        }
        if container.mounts.iter().any(|mount| mount.identities.is_some()) {
            return Err(alone("showing files as other users' takes a second one while it starts"));
        }
    }
    external::check(container)?;
    capability::Set::adjusted(&container.cap_add, &container.cap_drop)?;
    limits::check(&container.resources)?;
    for rule in &container.device_rules {
        limits::device_rule(rule)?;
    }
    if let Some(parent) = &container.cgroup_parent {
        limits::check_cgroup_parent(parent)?;
    }
    rlimits(container)?;
    oom_score(container)?;
    sysctls(container)?;
    Ok(())
}

/// `user[:group]` as the container or else its image has it.
pub(crate) fn user_of(container: &Container, image: &Config) -> String {
    container.user.clone().unwrap_or_else(|| image.user.clone())
}

fn numeric_user(user: &str) -> User {
    let (uid, gid) = user.split_once(':').unwrap_or((user, ""));
    User { uid: uid.parse().unwrap_or(0), gid: gid.parse().unwrap_or(0), ..User::default() }
}

fn hostname(container: &Container, facts: &HostFacts, resolved: &Resolved) -> String {
    let shares_the_hosts = container.network == NetworkMode::Host || container.uts == NamespaceMode::Host;
    match &container.hostname {
        Some(name) => name.clone(),
        None if shares_the_hosts => facts.hostname.clone(),
        None => resolved.id.chars().take(12).collect(),
    }
}

fn working_directory(container: &Container, image: &Config) -> String {
    let path = container.working_dir.as_deref().unwrap_or(&image.working_dir);
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Docker's few variables, the image's, the container's: later ones replace earlier ones in their place.
fn environment(container: &Container, image: &Config, hostname: &str) -> Vec<String> {
    let mut entries: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match entries.iter_mut().find(|(known, _)| known == name) {
        Some(entry) => value.clone_into(&mut entry.1),
        None => entries.push((name.to_owned(), value.to_owned())),
    };
    if let Some((name, value)) = DEFAULT_PATH.split_once('=') {
        set(name, value);
    }
    set("HOSTNAME", hostname);
    if container.tty {
        set("TERM", "xterm");
    }
    for entry in &image.env {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        set(name, value);
    }
    for (name, value) in &container.env {
        if let Some(value) = value {
            set(name, value);
        }
    }
    entries.retain(|(name, _)| !matches!(container.env.get(name), Some(None)));
    entries.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

fn capabilities(container: &Container, facts: &HostFacts) -> Result<capability::Set> {
    let wanted = if container.privileged {
        capability::Set::all()
    } else {
        capability::Set::adjusted(&container.cap_add, &container.cap_drop)?
    };
    let asked = capability::Set::from_names(&container.cap_add);
    let missing = capability::Set(asked.0 & wanted.0 & !facts.capabilities).names();
    if !missing.is_empty() {
        let attempt = format!("add the capability {}", missing.join(", "));
        return Err(invalid(attempt, "carrack itself does not have it here, so it can't hand it on"));
    }
    // What only `ALL` or the default asks for is as much as there is.
    Ok(capability::Set(wanted.0 & facts.capabilities))
}

fn namespaces(container: &Container, resolved: &Resolved) -> Result<Vec<Namespace>> {
    let network = match &container.network {
        NetworkMode::Host => NamespaceMode::Host,
        NetworkMode::Container(other) => NamespaceMode::Container(other.clone()),
        NetworkMode::None | NetworkMode::Networks(_) => NamespaceMode::Private,
    };
    let modes = [
        ("pid", &container.pid),
        ("ipc", &container.ipc.namespace()),
        ("uts", &container.uts),
        ("cgroup", &container.cgroupns),
        ("network", &network),
    ];
    let mut list = vec![Namespace { kind: "mount".into(), path: None }];
    for (kind, mode) in modes {
        let path = resolved.namespaces.get(kind).cloned();
        let inherited = kind == "network" && resolved.network_inherited;
        match mode {
            NamespaceMode::Host => continue,
            // A new one in its place would be silent and wrong.
            NamespaceMode::Container(other) if path.is_none() && !inherited => {
                return Err(invalid(
                    format!("share the {kind} namespace of {other}"),
                    "it was not found: is it running?",
                ));
            }
            NamespaceMode::Private | NamespaceMode::Container(_) => {}
        }
        list.push(Namespace { kind: kind.into(), path });
    }
    Ok(list)
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: source.into(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
    }
}

/// The kernel's file systems, the container's three files in /etc, and what was asked for: parents before children.
fn mounts(container: &Container, image: &Config, resolved: &Resolved) -> Result<Vec<Mount>> {
    let asked = asked_mounts(container, image, resolved)?;
    let taken = |path: &str| asked.iter().any(|mount| mount.destination.trim_end_matches('/') == path);
    let mut list = kernel_mounts(container, resolved);
    // Whoever brings a /dev of their own gets nothing of ours made in it.
    let covered = |path: &str| taken(path) || (taken("/dev") && path.starts_with("/dev/"));
    list.retain(|mount| !covered(&mount.destination));
    let files = [
        ("/etc/resolv.conf", &resolved.resolv_conf),
        ("/etc/hostname", &resolved.hostname_file),
        ("/etc/hosts", &resolved.hosts),
    ];
    let writable = if container.read_only { "ro" } else { "rw" };
    let wanted = files
        .into_iter()
        .filter(|(target, _)| !taken(target))
        .filter_map(|(target, source)| Some(mount(target, "bind", source.as_ref()?, &["rbind", "rprivate", writable])));
    // What is mounted at /etc does not cover them.
    let mut own: Vec<Mount> = wanted.chain(asked.iter().cloned()).collect();
    own.sort_by_key(|mount| mount.destination.split('/').filter(|name| !name.is_empty()).count());
    list.extend(own);
    Ok(list)
}

fn kernel_mounts(container: &Container, resolved: &Resolved) -> Vec<Mount> {
    let writable = if container.privileged { "rw" } else { "ro" };
    let cgroups = if container.writable_cgroups { "rw" } else { writable };
    let shm_size = format!("size={}", container.shm_size_bytes.filter(|bytes| *bytes > 0).unwrap_or(DEFAULT_SHM_BYTES));
    let mut list = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", writable]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", cgroups]),
    ];
    if container.ipc == IpcMode::Host {
        list.push(mount("/dev/mqueue", "bind", "/dev/mqueue", &["rbind", "rprivate", "rw"]));
        list.push(mount("/dev/shm", "bind", "/dev/shm", &["rbind", "rprivate", "rw"]));
        return list;
    }
    list.push(mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]));
    match &resolved.shared_memory {
        Some(path) => list.push(mount("/dev/shm", "bind", path, &["bind", "rprivate", "rw"])),
        None if container.ipc == IpcMode::None => {}
        None => list.push(mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm_size])),
    }
    list
}

fn asked_mounts(container: &Container, image: &Config, resolved: &Resolved) -> Result<Vec<Mount>> {
    let mut list = Vec::new();
    for asked in &container.mounts {
        check_target(&asked.target)?;
        let writable = if asked.read_only { "rro" } else { "rw" };
        list.push(match &asked.source {
            MountSource::Bind { path, propagation, non_recursive, writable_below, .. } => {
                let bind = if *non_recursive { "bind" } else { "rbind" };
                let this_one_only = *non_recursive || *writable_below;
                let read_only = if asked.read_only && this_one_only { "ro" } else { writable };
                mount(&asked.target, "bind", path, &[bind, propagation.as_deref().unwrap_or("rprivate"), read_only])
            }
            MountSource::Volume { .. } => {
                let source = source_of(resolved, &asked.target)?;
                let read_only = if asked.read_only || source.read_only { "rro" } else { "rw" };
                mount(&asked.target, "bind", &source.path, &["rbind", "rprivate", read_only])
            }
            MountSource::Image { .. } => {
                let source = source_of(resolved, &asked.target)?;
                mount(&asked.target, "bind", &source.path, &["bind", "rprivate", "ro"])
            }
            MountSource::Tmpfs { size_bytes, mode, options } => {
                tmpfs(&asked.target, *size_bytes, *mode, options, asked.read_only)
            }
        });
        if let (Some(identities), Some(mount)) = (&asked.identities, list.last_mut()) {
            mount.options.push("idmap".into());
            mount.uid_mappings = all_or(&identities.uids);
            mount.gid_mappings = all_or(&identities.gids);
        }
    }
    for file in &container.files {
        check_target(&file.target)?;
        let source = source_of(resolved, &file.target)?;
        list.push(mount(&file.target, "bind", &source.path, &["bind", "rprivate", "ro", "nosuid", "nodev", "noexec"]));
    }
    for target in image.volumes.keys() {
        let known = list.iter().any(|mount| mount.destination.trim_end_matches('/') == target.trim_end_matches('/'));
        if let Some(source) = resolved.sources.get(target).filter(|_| !known) {
            list.push(mount(
                target,
                "bind",
                &source.path,
                &["rbind", "rprivate", if source.read_only { "rro" } else { "rw" }],
            ));
        }
    }
    Ok(list)
}

/// Owners and groups are mapped together: what nobody spoke of stays as it is.
fn all_or(given: &[IdMapping]) -> Vec<IdMapping> {
    let all = IdMapping { container_id: 0, host_id: 0, size: u32::MAX };
    if given.is_empty() { vec![all] } else { given.to_vec() }
}

fn tmpfs(target: &str, size_bytes: Option<u64>, mode: Option<u32>, options: &[String], read_only: bool) -> Mount {
    let mut all: Vec<String> = ["noexec", "nosuid", "nodev"].map(str::to_owned).to_vec();
    all.push(if read_only { "ro" } else { "rw" }.to_owned());
    for option in options {
        // `exec` takes `noexec` back.
        let opposite = option.strip_prefix("no").map_or_else(|| format!("no{option}"), str::to_owned);
        all.retain(|known| *known != opposite);
        all.push(option.clone());
    }
    if let Some(size) = size_bytes {
        all.push(format!("size={size}"));
    }
    if let Some(mode) = mode.filter(|_| !options.iter().any(|option| option.starts_with("mode="))) {
        all.push(format!("mode={mode:o}"));
    }
    Mount {
        destination: target.into(),
        kind: "tmpfs".into(),
        source: "tmpfs".into(),
        options: all,
        uid_mappings: Vec::new(),
        gid_mappings: Vec::new(),
    }
}

fn source_of<'a>(resolved: &'a Resolved, target: &str) -> Result<&'a Source> {
    resolved.sources.get(target).ok_or_else(|| invalid(format!("mount {target}"), "nothing was prepared for it"))
}

fn parts(target: &str) -> impl Iterator<Item = &str> {
    target.split('/').filter(|name| !name.is_empty() && *name != ".")
}

fn check_target(target: &str) -> Result<()> {
    let inside: Vec<&str> = parts(target).collect();
    if !target.starts_with('/') {
        return Err(invalid(format!("mount onto {target:?}"), "the path in the container must be absolute"));
    }
    if inside.is_empty() || inside.contains(&"..") {
        return Err(invalid(format!("mount onto {target:?}"), "the path must lie below / and have no `..`"));
    }
    Ok(())
}

/// Whatever else lay there could tell the container's programs, and those who prepare it, anything of themselves.
fn check_not_procfs(mount: &crate::container::Mount) -> Result<()> {
    let is_procfs = matches!(&mount.source, MountSource::Bind { path, .. } if parts(path).eq(["proc"]));
    if parts(&mount.target).eq(["proc"]) && !is_procfs {
        return Err(invalid("mount onto \"/proc\"", "the kernel's own file system of processes has to be there"));
    }
    Ok(())
}

pub(crate) fn invalid(attempt: impl Into<String>, cause: impl Into<String>) -> Box<Diagnostic> {
    Diagnostic::error(&codes::INVALID_SETTING, attempt).cause(cause).boxed()
}

/// Names of setrlimit(2) by those of `--ulimit`.
fn rlimits(container: &Container) -> Result<Vec<Rlimit>> {
    let mut list = Vec::new();
    for (name, limit) in &container.ulimits {
        let kind = format!("RLIMIT_{}", name.to_ascii_uppercase());
        if crate::plan::rlimit_number(&kind).is_none() {
            return Err(invalid(format!("set the limit {name:?}"), "Linux has no resource of that name"));
        }
        let value = |number: i64| if number < 0 { u64::MAX } else { number as u64 };
        let (soft, hard) = (value(limit.soft), value(limit.hard));
        if soft > hard {
            let cause = format!("the soft limit {} is above the hard limit {}", limit.soft, limit.hard);
            return Err(invalid(format!("set the limit {name}"), cause));
        }
        list.push(Rlimit { kind, soft, hard });
    }
    Ok(list)
}

fn oom_score(container: &Container) -> Result<Option<i32>> {
    match container.oom_score_adj {
        Some(score) if !(-1000..=1000).contains(&score) => {
            Err(invalid(format!("set the OOM score adjustment {score}"), "it must lie between -1000 and 1000"))
        }
        score => Ok(score),
    }
}

/// Docker's: unprivileged programs may bind low ports and ping, in a network namespace of their own.
fn sysctls(container: &Container) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let own_network = !matches!(container.network, NetworkMode::Host | NetworkMode::Container(_));
    if own_network {
        all.insert("net.ipv4.ip_unprivileged_port_start".to_owned(), "0".to_owned());
        all.insert("net.ipv4.ping_group_range".to_owned(), "0 2147483647".to_owned());
    }
    for (name, value) in &container.sysctls {
        let dotted = if name.contains('/') && !name.contains('.') { name.replace('/', ".") } else { name.clone() };
        let of_ipc = dotted.starts_with("kernel.msg")
            || dotted.starts_with("kernel.shm")
            || dotted == "kernel.sem"
            || dotted.starts_with("fs.mqueue.");
        let of_network = dotted.starts_with("net.");
        let ours = (of_ipc && container.ipc.is_own()) || (of_network && own_network);
        if !ours || dotted.contains("..") {
            return Err(Diagnostic::error(&codes::HOST_SYSCTL, format!("set the kernel parameter {name}"))
                .cause("it is not one of the container's own namespaces")
                .boxed());
        }
        all.insert(name.clone(), value.clone());
    }
    Ok(all)
}

/// Docker's rules: nothing but nodes that give away nothing; making nodes is allowed, opening them is not.
fn device_rules(container: &Container, resolved: &Resolved) -> Result<Vec<DeviceRule>> {
    let rule = |allow, kind: &str, major, minor, access: &str| DeviceRule {
        allow,
        kind: kind.into(),
        major,
        minor,
        access: access.into(),
    };
    if container.privileged {
        return Ok(vec![rule(true, "a", None, None, "rwm")]);
    }
    let character = |major, minor| rule(true, "c", Some(major), minor, "rwm");
    let mut rules = vec![
        rule(false, "a", None, None, "rwm"),
        rule(true, "c", None, None, "m"),
        rule(true, "b", None, None, "m"),
        // null, zero, full, random, urandom; tty, console, ptmx; pseudo-terminals.
        character(1, Some(3)),
        character(1, Some(5)),
        character(1, Some(7)),
        character(1, Some(8)),
        character(1, Some(9)),
        character(5, Some(0)),
        character(5, Some(1)),
        character(5, Some(2)),
        character(136, None),
    ];
    for device in &resolved.devices {
        let node = &device.node;
        rules.push(rule(true, &node.kind, Some(node.major), Some(node.minor), &device.access));
    }
    for text in &container.device_rules {
        rules.push(limits::device_rule(text)?);
    }
    Ok(rules)
}
