use serde::{Deserialize, Serialize};

use crate::container::Identities;

/// Everything the container's first process does between its birth and the program's, in order and as data.
///
/// Made without touching the host, handed over sealed, interpreted by one loop (`carrack_runtime::init`). Steps up to
/// [`InitStep::Pivot`] see the host's files, later ones the container's only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InitPlan {
    /// The namespaces that the process is born into, all new.
    pub namespaces: Vec<NamespaceKind>,
    /// What it does.
    pub steps: Vec<InitStep>,
    /// A misfortune to play, in tests only: no flag, file or variable sets it.
    fault: Option<Fault>,
}

impl InitPlan {
    /// A plan that does `steps`.
    pub fn new(namespaces: Vec<NamespaceKind>, steps: Vec<InitStep>) -> Self {
        Self { namespaces, steps, fault: None }
    }

    /// The same plan with a misfortune, for tests.
    #[must_use]
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    /// The misfortune to play just before step `index`.
    pub fn fault_at(&self, index: usize) -> Option<FaultKind> {
        self.fault.as_ref().filter(|fault| fault.step == index).map(|fault| fault.kind)
    }

    /// Whether the program gets a pseudo-terminal, which then comes back to the spawner.
    pub fn has_terminal(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, InitStep::Terminal { .. }))
    }

    /// Whether a descriptor of a network namespace must be handed over.
    pub fn joins_network(&self) -> bool {
        self.steps.iter().any(|step| {
            matches!(step, InitStep::JoinNamespace { kind: NamespaceKind::Network, from: NamespaceSource::Inherited })
        })
    }
}

/// What goes wrong in a test, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Index into the steps.
    pub step: usize,
    /// What happens instead of or before it.
    pub kind: FaultKind,
}

/// A misfortune.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The process dies of SIGKILL.
    Kill,
    /// The step fails with this errno.
    Error(i32),
    /// The step comes late.
    DelayMs(u64),
}

/// A kind of namespace (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NamespaceKind {
    /// File systems.
    Mount,
    /// Processes.
    Pid,
    /// System V and POSIX message queues, semaphores, shared memory.
    Ipc,
    /// Host name.
    Uts,
    /// Interfaces, addresses, ports.
    Network,
    /// The view of the control groups.
    Cgroup,
}

/// Where a joined namespace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceSource {
    /// The descriptor that the spawner hands over.
    Inherited,
    /// A file of the host such as `/proc/PID/ns/ipc`.
    Path(String),
}

/// One thing that init does. Paths are absolute; those in the container are resolved inside its root, whatever its
/// links say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InitStep {
    /// Moves itself into the control groups whose `tasks` were handed over (v1; v2 needs none of it).
    JoinCgroups,
    /// Makes its own control groups the root of what it sees.
    NewCgroupNamespace,
    /// Enters one namespace.
    JoinNamespace {
        /// Which.
        kind: NamespaceKind,
        /// Whose.
        from: NamespaceSource,
    },
    /// Enters namespaces of the running container whose process descriptor was handed over, and goes on as a child of
    /// the spawner inside of them.
    EnterContainer {
        /// Which.
        namespaces: Vec<NamespaceKind>,
    },
    /// Brings up the loopback interface of a network namespace of its own.
    LoopbackUp,
    /// Names the machine.
    Hostname {
        /// Host name.
        hostname: String,
        /// NIS domain; empty keeps it.
        domainname: String,
    },
    /// Cuts the copy of the host's mounts off, so that nothing mounted from here on reaches the host.
    IsolateMounts {
        /// Sources of binds whose mounts are to travel both ways, and whether the mounts below come along: bound before
        /// the cut, in the order of their mounts.
        shared: Vec<(String, bool)>,
    },
    /// Attaches layers to a folder of the host, seen by nobody else, for mounts of what they hold.
    Layers {
        /// The layers.
        source: RootSource,
        /// A folder of the host.
        mountpoint: String,
    },
    /// Mounts the root file system.
    Root {
        /// What it consists of.
        source: RootSource,
        /// A folder of the host to attach it to; seen by nobody else.
        mountpoint: String,
    },
    /// Mounts something below the root.
    Mount(MountStep),
    /// Makes a device node, or binds the host's where nodes may not be made.
    Device(DeviceNode),
    /// Makes a symbolic link, over nothing else.
    Symlink {
        /// Where.
        link: String,
        /// What it says.
        target: String,
    },
    /// Makes a path unreadable where it exists.
    Mask {
        /// In the container.
        path: String,
    },
    /// Makes a path read-only where it exists.
    ReadOnly {
        /// In the container.
        path: String,
    },
    /// Makes the root file system read-only; what is mounted below stays as it is.
    ReadOnlyRoot,
    /// Makes the root the root, and the host's mounts unreachable.
    Pivot,
    /// Sets a kernel parameter of its namespaces, in the real procfs.
    Sysctl {
        /// With dots or slashes.
        name: String,
        /// Text as written.
        value: String,
    },
    /// Sets a resource limit, no higher than the hard limit it has where it may not raise that.
    Rlimit {
        /// Number of the resource (setrlimit(2)).
        resource: u32,
        /// `u64::MAX` is unlimited.
        soft: u64,
        /// `u64::MAX` is unlimited.
        hard: u64,
    },
    /// Shifts the chance of being killed on memory exhaustion.
    OomScoreAdjustment(i32),
    /// Takes a session keyring of its own, so that the caller's keys stay out of reach.
    SessionKeyring {
        /// Name of the keyring.
        name: String,
    },
    /// Looks the user up in the container's own /etc/passwd and /etc/group. Nothing changes yet.
    Identify(UserRequest),
    /// Opens a pseudo-terminal of the container's, makes it its controlling terminal and standard streams, and sends
    /// the other end to the spawner.
    Terminal {
        /// Columns; 0 leaves the kernel's.
        columns: u16,
        /// Rows; 0 leaves the kernel's.
        rows: u16,
        /// Whether it also becomes /dev/console.
        console: bool,
    },
    /// Gives the standard streams that are pipes to the user, so that /dev/stdout can be opened again.
    OwnStdio,
    /// Changes to a folder of the container, made where it is missing.
    WorkingDirectory {
        /// In the container.
        path: String,
        /// Whether a missing one is made.
        create: bool,
    },
    /// Takes every capability that is not in the mask from the bounding set.
    BoundCapabilities {
        /// Bit n is capability number n.
        keep: u64,
    },
    /// Becomes the user, with the capabilities it has so far.
    SwitchUser {
        /// File mode creation mask; none keeps it.
        umask: Option<u32>,
    },
    /// Gives up raising privileges by execve for good.
    NoNewPrivileges,
    /// Installs the system call filter.
    Seccomp {
        /// Instructions of eight bytes as in `struct sock_filter`, native byte order.
        program: Vec<u8>,
        /// `SECCOMP_FILTER_FLAG_…`
        flags: u32,
    },
    /// Sets the five sets but the bounding one.
    Capabilities(CapabilityMasks),
    /// Has the program run under an AppArmor profile of the host.
    AppArmor {
        /// Name of a profile that is loaded.
        profile: String,
    },
    /// Writes the bundle that another runtime makes the container of, with the user who was looked up; from here on this
    /// process does not outlive its spawner.
    Bundle {
        /// File of the host with the configuration.
        template: String,
        /// Folder of the host for the bundle, which is there.
        folder: String,
        /// Path of the network namespace that the container joins; none where it has none of its own.
        network: Option<String>,
    },
    /// Executes the program.
    Execute(Execute),
    /// Instead of a program: tells the spawner that all is done, and stays until the spawner lets it go or is gone.
    Hold,
}

impl InitStep {
    /// The name in messages and tests.
    pub fn name(&self) -> &'static str {
        match self {
            Self::JoinCgroups => "join-cgroups",
            Self::NewCgroupNamespace => "new-cgroup-namespace",
            Self::JoinNamespace { .. } => "join-namespace",
            Self::EnterContainer { .. } => "enter-container",
            Self::LoopbackUp => "loopback-up",
            Self::Hostname { .. } => "hostname",
            Self::IsolateMounts { .. } => "isolate-mounts",
            Self::Layers { .. } => "layers",
            Self::Root { .. } => "root",
            Self::Mount(_) => "mount",
            Self::Device(_) => "device",
            Self::Symlink { .. } => "symlink",
            Self::Mask { .. } => "mask",
            Self::ReadOnly { .. } => "read-only",
            Self::ReadOnlyRoot => "read-only-root",
            Self::Pivot => "pivot",
            Self::Sysctl { .. } => "sysctl",
            Self::Rlimit { .. } => "rlimit",
            Self::OomScoreAdjustment(_) => "oom-score-adjustment",
            Self::SessionKeyring { .. } => "session-keyring",
            Self::Identify(_) => "identify",
            Self::Terminal { .. } => "terminal",
            Self::OwnStdio => "own-stdio",
            Self::WorkingDirectory { .. } => "working-directory",
            Self::BoundCapabilities { .. } => "bound-capabilities",
            Self::SwitchUser { .. } => "switch-user",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Seccomp { .. } => "seccomp",
            Self::Capabilities(_) => "capabilities",
            Self::AppArmor { .. } => "apparmor",
            Self::Bundle { .. } => "bundle",
            Self::Execute(_) => "execute",
            Self::Hold => "hold",
        }
    }

    /// What the step acts on, for messages: a path, a name; empty where the name of the step says it all.
    pub fn subject(&self) -> &str {
        match self {
            Self::JoinNamespace { from: NamespaceSource::Path(path), .. } => path,
            Self::Hostname { hostname, .. } => hostname,
            Self::Layers { mountpoint, .. } | Self::Root { mountpoint, .. } => mountpoint,
            Self::Mount(mount) => &mount.target,
            Self::Device(device) => &device.path,
            Self::Symlink { link, .. } => link,
            Self::Mask { path } | Self::ReadOnly { path } | Self::WorkingDirectory { path, .. } => path,
            Self::Sysctl { name, .. } | Self::SessionKeyring { name } => name,
            Self::Identify(request) => &request.user,
            Self::AppArmor { profile } => profile,
            Self::Bundle { template, .. } => template,
            Self::Execute(execute) => execute.args.first().map_or("", String::as_str),
            _ => "",
        }
    }
}

/// What the root file system consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RootSource {
    /// A folder of the host, bound with everything mounted below it.
    Folder {
        /// Absolute path on the host.
        path: String,
    },
    /// Layers under a writable folder.
    Overlay {
        /// Folders of the host, topmost first, at least one.
        lower: Vec<String>,
        /// Folder that takes the changes; none makes the root read-only from the start.
        upper: Option<String>,
        /// Empty folder on the same file system as `upper`.
        work: Option<String>,
        /// Whether nothing is ever synced: for what is thrown away. Such an upper folder must never be used again.
        volatile: bool,
    },
}

/// One mount below the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountStep {
    /// In the container; made where it is missing.
    pub target: String,
    /// What is mounted.
    pub source: MountSource,
    /// How it may be used.
    pub attributes: MountAttributes,
    /// How mounts below it travel.
    pub propagation: Propagation,
    /// As whose its files are shown; none shows them as they are.
    pub identities: Option<Identities>,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountSource {
    /// A new instance of a file system.
    FileSystem {
        /// `proc`, `tmpfs`, …
        kind: String,
        /// Device, or what stands for it.
        source: String,
        /// Parameters of the file system.
        options: Vec<(String, Option<String>)>,
    },
    /// A file or folder of the host.
    Bind {
        /// Absolute path on the host.
        path: String,
        /// What of it is mounted, reached without leaving it; all of it where empty.
        subpath: String,
        /// Whether the mounts below it come along.
        recursive: bool,
    },
}

/// How a mount may be used (mount_setattr(2)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountAttributes {
    /// No writing.
    pub read_only: bool,
    /// No set-user-id.
    pub nosuid: bool,
    /// No device nodes.
    pub nodev: bool,
    /// No programs.
    pub noexec: bool,
    /// No access times.
    pub noatime: bool,
    /// Every access time.
    pub strictatime: bool,
    /// Whether all of this also holds for every mount below.
    pub recursive: bool,
}

/// How mounts made on one side of a bind appear on the other (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// Not at all, also for the mounts below.
    #[default]
    PrivateRecursive,
    /// Not at all.
    Private,
    /// From the host only, also below.
    SlaveRecursive,
    /// From the host only.
    Slave,
    /// Both ways, also below.
    SharedRecursive,
    /// Both ways.
    Shared,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceNode {
    /// In the container.
    pub path: String,
    /// Kind.
    pub kind: DeviceKind,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What a device node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceKind {
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A named pipe.
    Fifo,
}

/// A user as asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRequest {
    /// `name|uid[:group|gid]`; empty is root.
    pub user: String,
    /// Further groups, by name or number.
    pub groups: Vec<String>,
}

/// Capability sets as masks; bit n is capability number n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityMasks {
    /// What is checked.
    pub effective: u64,
    /// Upper bound of effective.
    pub permitted: u64,
    /// Kept over execve for capable files.
    pub inheritable: u64,
    /// Kept over execve for all files.
    pub ambient: u64,
}

/// The program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execute {
    /// Argument vector, never empty. A first word without a slash is searched for in the environment's `PATH`.
    pub args: Vec<String>,
    /// `NAME=VALUE`. `HOME` is added from the user's record where it is missing.
    pub env: Vec<String>,
    /// Whether a small init of ours stays as the first process, passes signals on and reaps.
    pub reap: bool,
}
