use std::collections::BTreeMap;

use carrack_diag::Result;
use carrack_oci::Config;
use carrack_oci::runtime::{Device, Mount, Namespace, Process, Spec};

use crate::capability::Set;
use crate::container::{Container, Identities};
use crate::control_groups;
use crate::facts::HostFacts;
use crate::init_plan::{
    CapabilityMasks, DeviceKind, DeviceNode, Execute, InitPlan, InitStep, MountAttributes, MountSource, MountStep,
    NamespaceKind, NamespaceSource, Propagation, RootSource, UserRequest,
};
use crate::seccomp;
use crate::spec::{self, Resolved, invalid};

/// What a start needs beyond the words of the specification.
#[derive(Debug, Clone, PartialEq)]
pub struct Launch {
    /// The user as asked for, by name or number.
    pub user: UserRequest,
    /// What the root file system consists of.
    pub root: RootSource,
    /// Further layers and the folders of the host that they are attached to, for binds of what they hold.
    pub layers: Vec<(RootSource, String)>,
    /// Folders below the sources of binds, by target: whoever writes there must not lead the mount out of the source.
    pub subpaths: BTreeMap<String, String>,
    /// Whether a small init of ours is the first process.
    pub reap: bool,
    /// Columns and rows of the terminal; 0 where nobody knows.
    pub terminal_size: (u16, u16),
    /// Whether the network namespace is handed over as a descriptor.
    pub network_inherited: bool,
}

/// The start of a container on this root file system.
pub fn launch(container: &Container, image: &Config, resolved: &Resolved, root: RootSource) -> Launch {
    Launch {
        user: UserRequest { user: spec::user_of(container, image), groups: container.group_add.clone() },
        root,
        layers: Vec::new(),
        subpaths: subpaths(container),
        reap: container.init,
        terminal_size: (0, 0),
        network_inherited: resolved.network_inherited,
    }
}

fn subpaths(container: &Container) -> BTreeMap<String, String> {
    use crate::container::MountSource::{Image, Volume};
    let below = container.mounts.iter().filter_map(|mount| match &mount.source {
        Volume { subpath, .. } | Image { subpath, .. } if !subpath.is_empty() => Some((mount, subpath)),
        _ => None,
    });
    below.map(|(mount, subpath)| (mount.target.clone(), subpath.clone())).collect()
}

/// What init must do for this configuration, step by step.
pub fn init_plan(spec: &Spec, launch: &Launch, facts: &HostFacts) -> Result<InitPlan> {
    let mut namespaces = Vec::new();
    let mut steps = vec![InitStep::JoinCgroups];
    join_namespaces(spec, launch, &mut namespaces, &mut steps)?;
    if !spec.hostname.is_empty() {
        let (hostname, domainname) = (spec.hostname.clone(), spec.domainname.clone());
        steps.push(InitStep::Hostname { hostname, domainname });
    }
    let is_shared = |mount: &&Mount| mount.options.iter().any(|option| option == "shared" || option == "rshared");
    let source = |mount: &Mount| (mount.source.clone(), mount.options.iter().any(|option| option == "rbind"));
    steps.push(InitStep::IsolateMounts { shared: spec.mounts.iter().filter(is_shared).map(source).collect() });
    for (source, mountpoint) in &launch.layers {
        steps.push(InitStep::Layers { source: source.clone(), mountpoint: mountpoint.clone() });
    }
    steps.push(InitStep::Root { source: launch.root.clone(), mountpoint: spec.root.path.clone() });
    for mount in &spec.mounts {
        mount_steps(mount, spec, launch, facts, &mut steps)?;
        if mount.destination == "/dev" && mount.kind == "tmpfs" {
            steps.extend(default_devices());
        }
    }
    for device in &spec.linux.devices {
        steps.push(InitStep::Device(device_node(device)?));
    }
    steps.extend(
        spec.linux.sysctl.iter().map(|(name, value)| InitStep::Sysctl { name: name.clone(), value: value.clone() }),
    );
    steps.extend(spec.linux.masked_paths.iter().map(|path| InitStep::Mask { path: path.clone() }));
    steps.extend(spec.linux.readonly_paths.iter().map(|path| InitStep::ReadOnly { path: path.clone() }));
    steps.push(InitStep::Pivot);
    // The terminal covers /dev/console and the working directory may have to be made: before the root closes.
    process_steps(&spec.process, launch, true, &mut steps)?;
    if spec.root.readonly {
        steps.push(InitStep::ReadOnlyRoot);
    }
    confinement_steps(spec, &spec.process, false, &mut steps)?;
    steps.push(InitStep::Execute(Execute {
        args: spec.process.args.clone(),
        env: spec.process.env.clone(),
        reap: launch.reap,
    }));
    Ok(InitPlan::new(namespaces, steps))
}

/// The same without a program: a mount namespace with the root and the mounts below it, for whoever looks at the files of a
/// container that does not run.
pub fn mount_plan(spec: &Spec, launch: &Launch, facts: &HostFacts) -> Result<InitPlan> {
    let mut steps = init_plan(spec, launch, facts)?.steps;
    steps.retain(|step| {
        matches!(
            step,
            InitStep::IsolateMounts { .. }
                | InitStep::Layers { .. }
                | InitStep::Root { .. }
                | InitStep::Mount(_)
                | InitStep::Pivot
                | InitStep::ReadOnlyRoot
        )
    });
    steps.push(InitStep::Hold);
    Ok(InitPlan::new(vec![NamespaceKind::Mount], steps))
}

/// A further program in a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// Argument vector, never empty.
    pub args: Vec<String>,
    /// `NAME=VALUE`, over the container's.
    pub env: Vec<String>,
    /// Absolute; the container's where none is given.
    pub working_dir: Option<String>,
    /// `user[:group]`; the container's where none is given.
    pub user: Option<String>,
    /// Whether it gets a pseudo-terminal.
    pub tty: bool,
    /// Columns and rows of it; 0 where nobody knows.
    pub terminal_size: (u16, u16),
    /// Every capability and no filter.
    pub privileged: bool,
}

/// What the process of an exec must do: enter, and be confined as the container is.
pub fn exec_plan(spec: &Spec, launch: &Launch, request: &ExecRequest, facts: &HostFacts) -> Result<InitPlan> {
    let mut process = spec.process.clone();
    process.terminal = request.tty;
    process.args.clone_from(&request.args);
    if process.args.first().is_none_or(String::is_empty) {
        return Err(invalid("run a program in the container", "no program is named"));
    }
    process.env = overlaid(&process.env, &request.env, request.tty);
    if let Some(path) = &request.working_dir {
        process.cwd.clone_from(path);
    }
    if request.privileged {
        let names = Set(Set::all().0 & facts.capabilities).names();
        let capabilities = process.capabilities.get_or_insert_default();
        capabilities.bounding.clone_from(&names);
        capabilities.effective.clone_from(&names);
        capabilities.permitted = names;
        process.apparmor_profile = None;
    }
    let launch = Launch {
        user: match &request.user {
            Some(user) => UserRequest { user: user.clone(), groups: launch.user.groups.clone() },
            None => launch.user.clone(),
        },
        terminal_size: request.terminal_size,
        ..launch.clone()
    };
    let shared: Vec<NamespaceKind> = ["mount", "pid", "ipc", "uts", "network", "cgroup"]
        .into_iter()
        .filter(|kind| spec.linux.namespaces.iter().any(|namespace| namespace.kind == *kind))
        .filter_map(namespace_kind)
        .collect();
    let mut steps = vec![InitStep::JoinCgroups, InitStep::EnterContainer { namespaces: shared }];
    process_steps(&process, &launch, false, &mut steps)?;
    confinement_steps(spec, &process, request.privileged, &mut steps)?;
    steps.push(InitStep::Execute(Execute { args: process.args, env: process.env, reap: false }));
    Ok(InitPlan::new(Vec::new(), steps))
}

/// Later entries replace earlier ones in their place.
fn overlaid(base: &[String], over: &[String], tty: bool) -> Vec<String> {
    let name_of = |entry: &str| entry.split_once('=').map_or(entry, |(name, _)| name).to_owned();
    let mut all: Vec<String> = base.to_vec();
    if tty && !all.iter().any(|entry| name_of(entry) == "TERM") {
        all.push("TERM=xterm".into());
    }
    for entry in over {
        match all.iter_mut().find(|known| name_of(known) == name_of(entry)) {
            Some(known) => known.clone_from(entry),
            None => all.push(entry.clone()),
        }
    }
    all
}

fn namespace_kind(kind: &str) -> Option<NamespaceKind> {
    Some(match kind {
        "mount" => NamespaceKind::Mount,
        "pid" => NamespaceKind::Pid,
        "ipc" => NamespaceKind::Ipc,
        "uts" => NamespaceKind::Uts,
        "network" => NamespaceKind::Network,
        "cgroup" => NamespaceKind::Cgroup,
        _ => return None,
    })
}

fn join_namespaces(
    spec: &Spec,
    launch: &Launch,
    born_into: &mut Vec<NamespaceKind>,
    steps: &mut Vec<InitStep>,
) -> Result<()> {
    let mut by_kind = BTreeMap::new();
    for Namespace { kind, path } in &spec.linux.namespaces {
        let kind = namespace_kind(kind)
            .ok_or_else(|| invalid(format!("make a namespace of kind {kind:?}"), "carrack does not know that kind"))?;
        by_kind.insert(kind, path.clone());
    }
    for (kind, path) in by_kind {
        match path {
            Some(path) => steps.push(InitStep::JoinNamespace { kind, from: NamespaceSource::Path(path) }),
            None if kind == NamespaceKind::Network && launch.network_inherited => {
                steps.push(InitStep::JoinNamespace { kind, from: NamespaceSource::Inherited });
            }
            // At birth it would show the spawner's groups as the root: only after joining the container's.
            None if kind == NamespaceKind::Cgroup => steps.push(InitStep::NewCgroupNamespace),
            None => {
                born_into.push(kind);
                if kind == NamespaceKind::Network {
                    steps.push(InitStep::LoopbackUp);
                }
            }
        }
    }
    Ok(())
}

/// One mount of the specification; a `cgroup` one is several on v1.
fn mount_steps(
    mount: &Mount,
    spec: &Spec,
    launch: &Launch,
    facts: &HostFacts,
    steps: &mut Vec<InitStep>,
) -> Result<()> {
    let parsed = parse_options(mount)?;
    let (uids, gids) = (mount.uid_mappings.clone(), mount.gid_mappings.clone());
    let identities = (!uids.is_empty() || !gids.is_empty()).then_some(Identities { uids, gids });
    match mount.kind.as_str() {
        "cgroup" => {
            control_groups::mount_steps(&mount.destination, parsed.attributes, spec, &facts.cgroups, steps);
        }
        "bind" => steps.push(InitStep::Mount(MountStep {
            target: mount.destination.clone(),
            source: MountSource::Bind {
                path: mount.source.clone(),
                subpath: launch.subpaths.get(&mount.destination).cloned().unwrap_or_default(),
                recursive: parsed.recursive,
            },
            attributes: parsed.attributes,
            propagation: parsed.propagation,
            identities: identities.clone(),
        })),
        kind => steps.push(InitStep::Mount(MountStep {
            target: mount.destination.clone(),
            source: MountSource::FileSystem { kind: kind.into(), source: mount.source.clone(), options: parsed.data },
            attributes: parsed.attributes,
            propagation: parsed.propagation,
            identities: identities.clone(),
        })),
    }
    Ok(())
}

/// How mounts made on one side of a bind appear on the other.
pub(crate) fn propagation_of(mount: &Mount) -> Propagation {
    parse_options(mount).map(|options| options.propagation).unwrap_or_default()
}

pub(crate) fn has_option(mount: &Mount, name: &str) -> bool {
    mount.options.iter().any(|option| option == name)
}

#[derive(Default)]
struct Options {
    attributes: MountAttributes,
    propagation: Propagation,
    recursive: bool,
    data: Vec<(String, Option<String>)>,
}

/// Options of mount(8) and the specification's, apart from those of the file system itself.
fn parse_options(mount: &Mount) -> Result<Options> {
    let mut parsed = Options::default();
    let attributes = &mut parsed.attributes;
    for option in &mount.options {
        match option.as_str() {
            "ro" => attributes.read_only = true,
            "rro" => (attributes.read_only, attributes.recursive) = (true, true),
            "rw" => attributes.read_only = false,
            "nosuid" => attributes.nosuid = true,
            "suid" => attributes.nosuid = false,
            "nodev" => attributes.nodev = true,
            "dev" => attributes.nodev = false,
            "noexec" => attributes.noexec = true,
            "exec" => attributes.noexec = false,
            "noatime" => attributes.noatime = true,
            "atime" => attributes.noatime = false,
            "strictatime" => attributes.strictatime = true,
            // A mount's access times are the kernel's relative ones anyway.
            "relatime" | "bind" | "idmap" => {}
            "rbind" => parsed.recursive = true,
            "private" => parsed.propagation = Propagation::Private,
            "rprivate" => parsed.propagation = Propagation::PrivateRecursive,
            "slave" => parsed.propagation = Propagation::Slave,
            "rslave" => parsed.propagation = Propagation::SlaveRecursive,
            "shared" => parsed.propagation = Propagation::Shared,
            "rshared" => parsed.propagation = Propagation::SharedRecursive,
            // A new devpts is always of its own since Linux 4.7.
            "newinstance" => {}
            other if mount.kind == "bind" => {
                return Err(invalid(
                    format!("mount {} with the option {other:?}", mount.destination),
                    "a bind takes no options of a file system",
                ));
            }
            other => parsed.data.push(match other.split_once('=') {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (other.to_owned(), None),
            }),
        }
    }
    Ok(parsed)
}

/// The nodes and links that every container has (runtime-spec `config-linux.md`, Default Devices).
fn default_devices() -> impl Iterator<Item = InitStep> {
    let nodes = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
    let links = [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("core", "/proc/kcore"),
        ("ptmx", "pts/ptmx"),
    ];
    let nodes = nodes.into_iter().map(|(name, major, minor)| {
        InitStep::Device(DeviceNode {
            path: format!("/dev/{name}"),
            kind: DeviceKind::Character,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
        })
    });
    let links = links
        .into_iter()
        .map(|(name, target)| InitStep::Symlink { link: format!("/dev/{name}"), target: target.to_owned() });
    nodes.chain(links)
}

fn device_node(device: &Device) -> Result<DeviceNode> {
    let kind = match device.kind.as_str() {
        "c" | "u" => DeviceKind::Character,
        "b" => DeviceKind::Block,
        "p" => DeviceKind::Fifo,
        other => {
            return Err(invalid(format!("make the device {}", device.path), format!("there is no kind {other:?}")));
        }
    };
    let number = |number: i64| {
        u32::try_from(number)
            .map_err(|_| invalid(format!("make the device {}", device.path), format!("{number} is no device number")))
    };
    Ok(DeviceNode {
        path: device.path.clone(),
        kind,
        major: number(device.major)?,
        minor: number(device.minor)?,
        mode: device.file_mode.unwrap_or(0o666),
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
    })
}

/// What a program of the container gets: limits, identity, streams, folder. The first one also gets the console, and its
/// folder is made where it is missing.
fn process_steps(process: &Process, launch: &Launch, is_first: bool, steps: &mut Vec<InitStep>) -> Result<()> {
    for limit in &process.rlimits {
        let resource = rlimit_number(&limit.kind)
            .ok_or_else(|| invalid(format!("set the limit {}", limit.kind), "Linux has no resource of that name"))?;
        steps.push(InitStep::Rlimit { resource, soft: limit.soft, hard: limit.hard });
    }
    steps.extend(process.oom_score_adj.map(InitStep::OomScoreAdjustment));
    steps.push(InitStep::SessionKeyring { name: "carrack".into() });
    steps.push(InitStep::Identify(launch.user.clone()));
    if process.terminal {
        let (columns, rows) = launch.terminal_size;
        steps.push(InitStep::Terminal { columns, rows, console: is_first });
    } else {
        steps.push(InitStep::OwnStdio);
    }
    steps.push(InitStep::WorkingDirectory { path: process.cwd.clone(), create: is_first });
    Ok(())
}

/// The last steps before the program: from here on it only loses rights.
fn confinement_steps(spec: &Spec, process: &Process, unfiltered: bool, steps: &mut Vec<InitStep>) -> Result<()> {
    let capabilities = process.capabilities.clone().unwrap_or_default();
    if let Some(profile) = &process.apparmor_profile {
        steps.push(InitStep::AppArmor { profile: profile.clone() });
    }
    steps.push(InitStep::BoundCapabilities { keep: Set::from_names(&capabilities.bounding).0 });
    steps.push(InitStep::SwitchUser { umask: process.user.umask });
    if process.no_new_privileges {
        steps.push(InitStep::NoNewPrivileges);
    }
    if let Some(profile) = spec.linux.seccomp.as_ref().filter(|_| !unfiltered) {
        let (program, flags) = (seccomp::compile(profile)?, seccomp::flags(profile)?);
        steps.push(InitStep::Seccomp { program, flags });
    }
    steps.push(InitStep::Capabilities(CapabilityMasks {
        effective: Set::from_names(&capabilities.effective).0,
        permitted: Set::from_names(&capabilities.permitted).0,
        inheritable: Set::from_names(&capabilities.inheritable).0,
        ambient: Set::from_names(&capabilities.ambient).0,
    }));
    Ok(())
}

/// The number of a resource by its name (asm-generic/resource.h; the same on every architecture of ours).
pub(crate) fn rlimit_number(name: &str) -> Option<u32> {
    const NAMES: &[&str] = &[
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    let plain = name.strip_prefix("RLIMIT_")?;
    NAMES.iter().position(|known| *known == plain).map(|number| number as u32)
}
