use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use carrack_diag::{Span, Spanned};
use carrack_oci::probe::OnUnhealthy;

/// A whole Compose application: files merged, variables replaced, paths absolute, short forms written out, names
/// checked. What somebody may have to be blamed for keeps its place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Project {
    /// Lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// Absolute path of the folder that relative paths start from.
    pub directory: String,
    /// The Compose files, as the caller named them.
    pub files: Vec<String>,
    /// The active services by name.
    pub services: BTreeMap<String, Service>,
    /// Services whose profiles are not active.
    pub inactive: BTreeMap<String, Service>,
    /// Networks by their name in the file; `default` is there where a service uses it.
    pub networks: BTreeMap<String, Network>,
    /// Volumes by their name in the file.
    pub volumes: BTreeMap<String, Volume>,
    /// Secrets by their name in the file.
    pub secrets: BTreeMap<String, FileSource>,
    /// Configs by their name in the file.
    pub configs: BTreeMap<String, FileSource>,
    /// The profiles that are active.
    pub profiles: BTreeSet<String>,
    /// Top-level keys that begin with `x-`.
    pub extensions: BTreeMap<String, serde_json::Value>,
}

/// One service.
#[derive(Debug, Clone, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub span: Span,
    /// The image it runs, or the name its build gets.
    pub image: Option<Spanned<String>>,
    /// How its image is built.
    pub build: Option<Build>,
    /// When the image is asked for at its registry.
    pub pull_policy: Option<Spanned<String>>,
    /// `os/arch[/variant]`.
    pub platform: Option<Spanned<String>>,
    /// Replaces the image's entrypoint; empty removes it.
    pub entrypoint: Option<Spanned<Vec<String>>>,
    /// Replaces the image's command; empty removes it.
    pub command: Option<Spanned<Vec<String>>>,
    /// `environment` over `env_file`. A name without value was not set anywhere.
    pub environment: BTreeMap<String, Spanned<Option<String>>>,
    /// Of the container.
    pub labels: BTreeMap<String, Spanned<String>>,
    /// What comes first, by service. `links`, `volumes_from` and namespaces shared with a service are in it.
    pub depends_on: BTreeMap<String, Dependency>,
    /// None leaves the image's check.
    pub healthcheck: Option<Healthcheck>,
    /// What follows an exit.
    pub restart: Option<Spanned<Restart>>,
    /// Profiles that switch it on; always on where empty.
    pub profiles: Vec<Spanned<String>>,
    /// How many containers.
    pub replicas: Option<Spanned<u32>>,
    /// How replicas are replaced.
    pub update: Option<UpdateConfig>,
    /// `vip` or `dnsrr`.
    pub endpoint_mode: Option<Spanned<String>>,
    /// A name of its own instead of `PROJECT-SERVICE-N`.
    pub container_name: Option<Spanned<String>>,
    /// Who it is and where it lives.
    pub hostname: Option<Spanned<String>>,
    /// Domain of the UTS namespace.
    pub domainname: Option<Spanned<String>>,
    /// `user[:group]`.
    pub user: Option<Spanned<String>>,
    /// Supplementary groups.
    pub group_add: Vec<Spanned<String>>,
    /// Working directory.
    pub working_dir: Option<Spanned<String>>,
    /// A pseudo-terminal.
    pub tty: bool,
    /// Standard input stays open.
    pub stdin_open: bool,
    /// An init as process 1.
    pub init: Option<bool>,
    /// Whether `up` shows its log.
    pub attach: bool,
    /// Signal that stops it.
    pub stop_signal: Option<Spanned<String>>,
    /// Between the stop signal and SIGKILL, in nanoseconds.
    pub stop_grace_period_ns: Option<u64>,
    /// Published ports, one entry each: ranges are written out.
    pub ports: Vec<Port>,
    /// Ports for other services, `PORT[-PORT]/PROTOCOL`.
    pub expose: Vec<Spanned<String>>,
    /// None where it joins networks.
    pub network_mode: Option<Spanned<NamespaceTarget>>,
    /// By the network's name in the file.
    pub networks: BTreeMap<String, NetworkAttachment>,
    /// `HOST` and address, in order.
    pub extra_hosts: Vec<Spanned<(String, String)>>,
    /// Name servers.
    pub dns: Vec<Spanned<IpAddr>>,
    /// Search domains.
    pub dns_search: Vec<Spanned<String>>,
    /// Resolver options.
    pub dns_options: Vec<Spanned<String>>,
    /// Links: a service and the name it is known by here.
    pub links: Vec<Spanned<(String, String)>>,
    /// Process ids.
    pub pid: Option<Spanned<NamespaceTarget>>,
    /// Shared memory and semaphores.
    pub ipc: Option<Spanned<NamespaceTarget>>,
    /// Host name.
    pub uts: Option<Spanned<NamespaceTarget>>,
    /// Control groups.
    pub cgroup: Option<Spanned<NamespaceTarget>>,
    /// Volumes, binds, temporary file systems.
    pub volumes: Vec<Mount>,
    /// Secrets granted to it.
    pub secrets: Vec<Grant>,
    /// Configs granted to it.
    pub configs: Vec<Grant>,
    /// Host devices.
    pub devices: Vec<Spanned<Device>>,
    /// A root file system that can't be written.
    pub read_only: bool,
    /// Size of /dev/shm.
    pub shm_size_bytes: Option<u64>,
    /// Everything allowed.
    pub privileged: bool,
    /// Capabilities added.
    pub cap_add: Vec<Spanned<String>>,
    /// Capabilities taken away.
    pub cap_drop: Vec<Spanned<String>>,
    /// `no-new-privileges[:true]`, `seccomp=…`, `apparmor=…`.
    pub security_opt: Vec<Spanned<String>>,
    /// The profile of system calls that a file has, in Docker's JSON form.
    pub seccomp_profile: Option<String>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, Spanned<String>>,
    /// Limits of the process: soft and hard, −1 is unlimited.
    pub ulimits: BTreeMap<String, Spanned<(i64, i64)>>,
    /// −1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Limits of the container.
    pub limits: Limits,
    /// What is to be kept free for it.
    pub reservations: Limits,
    /// Memory and swap together; −1 is unlimited.
    pub memory_swap_bytes: Option<i64>,
    /// Relative weight.
    pub cpu_shares: Option<u64>,
    /// `0-1,3`.
    pub cpuset: Option<Spanned<String>>,
    /// What it asks of the kernel beside the common limits.
    pub tuning: Tuning,
    /// Where its output goes.
    pub logging: Option<Logging>,
    /// Keys that begin with `x-`.
    pub extensions: BTreeMap<String, serde_json::Value>,
}

/// What a service asks of the kernel beside the common limits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tuning {
    /// Free text by key, for the runtime.
    pub annotations: BTreeMap<String, Spanned<String>>,
    /// What runs its containers: the name of a runtime, or a path.
    pub runtime: Option<Spanned<String>>,
    /// Control group that its containers' lie in.
    pub cgroup_parent: Option<Spanned<String>>,
    /// Microseconds in which the quota holds.
    pub cpu_period_us: Option<u64>,
    /// Microseconds of processor time a period; −1 is unlimited.
    pub cpu_quota_us: Option<i64>,
    /// Microseconds in which the real-time limit holds.
    pub cpu_rt_period_us: Option<u64>,
    /// Microseconds of real-time scheduling a period.
    pub cpu_rt_runtime_us: Option<u64>,
    /// `c 1:3 rwm`
    pub device_rules: Vec<Spanned<String>>,
    /// 0 to 100.
    pub memory_swappiness: Option<u64>,
    /// Whether programs wait where memory runs out.
    pub oom_kill_disable: bool,
    /// Limits of block devices.
    pub block: BlockLimits,
}

/// Limits of what is read from and written to block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BlockLimits {
    /// 10 to 1000.
    pub weight: Option<u16>,
    /// Weights on single devices.
    pub device_weights: Vec<BlockLimit>,
    /// Bytes a second.
    pub read_bps: Vec<BlockLimit>,
    /// Bytes a second.
    pub write_bps: Vec<BlockLimit>,
    /// Operations a second.
    pub read_iops: Vec<BlockLimit>,
    /// Operations a second.
    pub write_iops: Vec<BlockLimit>,
}

/// A limit of one block device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockLimit {
    /// Path of its node on the host.
    pub device: String,
    /// What it is limited to.
    pub value: u64,
}

/// How an image is built.
#[derive(Debug, Clone, PartialEq)]
pub struct Build {
    /// Where `build` stands.
    pub span: Span,
    /// Absolute path, or the URL of a repository.
    pub context: Spanned<String>,
    /// Relative to the context, or absolute.
    pub dockerfile: Option<Spanned<String>>,
    /// The Dockerfile itself.
    pub dockerfile_inline: Option<Spanned<String>>,
    /// The stage.
    pub target: Option<Spanned<String>>,
    /// Build arguments. None takes the caller's environment.
    pub args: BTreeMap<String, Spanned<Option<String>>>,
    /// Labels of the image.
    pub labels: BTreeMap<String, Spanned<String>>,
    /// Further names of the image.
    pub tags: Vec<Spanned<String>>,
    /// Network of RUN.
    pub network: Option<Spanned<String>>,
    /// Secrets for RUN.
    pub secrets: Vec<Grant>,
    /// Named contexts.
    pub additional_contexts: BTreeMap<String, Spanned<String>>,
    /// `HOST` and address.
    pub extra_hosts: Vec<Spanned<(String, String)>>,
    /// Size of /dev/shm.
    pub shm_size_bytes: Option<u64>,
    /// Whether the cache stays unused.
    pub no_cache: bool,
    /// Whether base images are asked for again.
    pub pull: bool,
    /// `os/arch[/variant]`.
    pub platforms: Vec<Spanned<String>>,
    /// SSH agents for RUN: sockets by id, none is the caller's own agent.
    pub ssh: BTreeMap<String, Spanned<Option<String>>>,
    /// Where steps are looked up beside the cache here, as `--cache-from` takes it.
    pub cache_from: Vec<Spanned<String>>,
    /// Where the cache goes beside here, as `--cache-to` takes it.
    pub cache_to: Vec<Spanned<String>>,
    /// Rights that the Dockerfile may ask for, as `--allow` takes them.
    pub entitlements: Vec<Spanned<String>>,
    /// Whether RUN may ask for every privilege.
    pub privileged: bool,
    /// Limits of the programs of RUN: soft and hard, −1 is unlimited.
    pub ulimits: BTreeMap<String, Spanned<(i64, i64)>>,
    /// As `--provenance` takes it.
    pub provenance: Option<Spanned<String>>,
    /// As `--sbom` takes it.
    pub sbom: Option<Spanned<String>>,
}

impl Build {
    /// Whether the context has to be fetched.
    pub fn is_remote(&self) -> bool {
        crate::build::is_remote(&self.context.value)
    }

    /// The services whose images are named contexts, by the contexts' names.
    pub fn services(&self) -> impl Iterator<Item = (&str, Spanned<&str>)> {
        self.additional_contexts.iter().filter_map(|(name, place)| {
            let service = place.value.strip_prefix("service:")?;
            Some((name.as_str(), Spanned::new(service, place.span)))
        })
    }
}

/// One entry of `depends_on`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Where it stands.
    pub span: Span,
    /// When the dependency counts as ready.
    pub condition: Condition,
    /// Whether it is needed at all.
    pub required: bool,
    /// Whether the dependent restarts after the dependency was replaced.
    pub restart: bool,
    /// What brought it about.
    pub kind: DependencyKind,
}

/// What makes one service depend on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DependencyKind {
    /// `depends_on`.
    Declared,
    /// `links` or `volumes_from`.
    Implied,
    /// `network_mode`, `ipc` or `pid` `service:NAME`.
    SharedNamespace,
}

/// When a dependency counts as ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// `service_started`.
    Started,
    /// `service_healthy`.
    Healthy,
    /// `service_completed_successfully`.
    CompletedSuccessfully,
}

impl Condition {
    /// As the Compose file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "service_started",
            Self::Healthy => "service_healthy",
            Self::CompletedSuccessfully => "service_completed_successfully",
        }
    }
}

/// A health check; what is not set is the image's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healthcheck {
    /// Where it stands.
    pub span: Span,
    /// `CMD …` or `CMD-SHELL text`, or `NONE`. Empty leaves the image's.
    pub test: Vec<String>,
    /// `x-carrack-probe`: what is done instead of `test`, which other tools go by.
    pub probe: Option<String>,
    /// `x-carrack-on-failure`: what follows when it becomes unhealthy.
    pub on_unhealthy: OnUnhealthy,
    /// Between two checks.
    pub interval_ns: Option<u64>,
    /// For one check.
    pub timeout_ns: Option<u64>,
    /// In which failures do not count.
    pub start_period_ns: Option<u64>,
    /// Between two checks in the start period.
    pub start_interval_ns: Option<u64>,
    /// Failures in a row that make it unhealthy.
    pub retries: Option<u32>,
}

impl Healthcheck {
    /// The test that holds for carrack.
    pub fn effective_test(&self) -> Vec<String> {
        let own = self.probe.as_deref().filter(|_| !self.is_disabled());
        // Looked at when the file was read.
        own.and_then(|probe| carrack_oci::probe::test_of(probe).ok()).unwrap_or_else(|| self.test.clone())
    }

    /// Whether it switches the image's check off.
    pub fn is_disabled(&self) -> bool {
        self.test.first().is_some_and(|kind| kind == "NONE")
    }
}

/// What follows an exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Nothing.
    No,
    /// A start.
    Always,
    /// A start, unless somebody stopped it.
    UnlessStopped,
    /// A start after a failure, at most so many times in a row.
    OnFailure(Option<u32>),
}

/// How replicas are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateConfig {
    /// Where it stands.
    pub span: Span,
    /// So many at a time; 0 is all.
    pub parallelism: u32,
    /// The new one starts before the old one stops.
    pub start_first: bool,
}

/// A published port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Where it stands.
    pub span: Span,
    /// In the container.
    pub target: u16,
    /// On the host: one, or a range to choose from. None is any.
    pub published: Option<(u16, u16)>,
    /// Address on the host; none is every one.
    pub host_ip: Option<IpAddr>,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// `ingress` or `host`.
    pub mode: Option<String>,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub app_protocol: Option<String>,
}

/// Whose namespace is meant by `network_mode`, `pid`, `ipc`, `uts`, `cgroup`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamespaceTarget {
    /// The host's.
    Host,
    /// One of its own (`private`); for networks the default bridge (`bridge`).
    Private,
    /// One of its own that others may share (`ipc` only).
    Shareable,
    /// One without interfaces, or for `ipc` without shared memory.
    None,
    /// A service's.
    Service(String),
    /// A container's.
    Container(String),
}

/// A service's place on a network.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkAttachment {
    /// Where it stands.
    pub span: Span,
    /// Further names.
    pub aliases: Vec<Spanned<String>>,
    /// Fixed address.
    pub ipv4: Option<Spanned<Ipv4Addr>>,
    /// Fixed address.
    pub ipv6: Option<Spanned<Ipv6Addr>>,
    /// Fixed hardware address.
    pub mac: Option<Spanned<String>>,
    /// The network with the highest gives the gateway.
    pub gateway_priority: i64,
    /// The order of connecting, highest first.
    pub priority: i64,
    /// Further addresses of the interface, of its link alone.
    pub link_local: Vec<Spanned<IpAddr>>,
    /// By the driver's names.
    pub driver_options: BTreeMap<String, String>,
    /// Name of the interface in the container.
    pub interface: Option<Spanned<String>>,
}

/// Something mounted into the containers of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Mount {
    /// Where it stands.
    pub span: Span,
    /// Absolute path in the container.
    pub target: Spanned<String>,
    /// Whether it can't be written.
    pub read_only: bool,
    /// What is mounted.
    pub kind: MountKind,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq)]
pub enum MountKind {
    /// A file or folder of the host.
    Bind {
        /// Absolute path.
        source: Spanned<String>,
        /// A missing source becomes a folder.
        create: bool,
        /// Of mount events.
        propagation: Option<String>,
        /// Mounts below the source come along.
        recursive: bool,
        /// Read-only, it leaves those as they are.
        writable_below: bool,
    },
    /// A volume.
    Volume {
        /// Its name in the file; none is anonymous.
        source: Option<Spanned<String>>,
        /// Folder in it.
        subpath: Option<String>,
        /// Without the image's content.
        no_copy: bool,
    },
    /// A temporary file system.
    Tmpfs {
        /// Its size.
        size_bytes: Option<u64>,
        /// Permission bits.
        mode: Option<u32>,
        /// Further options as in mount(8).
        options: Vec<String>,
    },
}

/// A secret or config given to a service, or a secret given to a build.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    /// Its name in the file.
    pub source: Spanned<String>,
    /// Absolute path in the container; the id of a build's secret.
    pub target: String,
    /// Owner; name or number, default 0.
    pub uid: Option<Spanned<u32>>,
    /// Group; default 0.
    pub gid: Option<Spanned<u32>>,
    /// Permission bits; default 0444.
    pub mode: Option<u32>,
}

/// A host device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// On the host.
    pub source: String,
    /// In the container.
    pub target: String,
    /// Of `r`, `w`, `m`.
    pub permissions: String,
}

/// Limits or reservations of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Billionths of a processor.
    pub nano_cpus: Option<Spanned<u64>>,
    /// Bytes.
    pub memory_bytes: Option<Spanned<u64>>,
    /// Processes and threads; −1 is unlimited.
    pub pids: Option<Spanned<i64>>,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Logging {
    /// Where it stands.
    pub span: Span,
    /// The driver; none is the default.
    pub driver: Option<Spanned<String>>,
    /// By the driver's names.
    pub options: BTreeMap<String, Spanned<String>>,
}

/// A top-level network.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// Where it stands; none for the implied `default`.
    pub span: Option<Span>,
    /// Its name on the host.
    pub name: Spanned<String>,
    /// Somebody else's.
    pub external: bool,
    /// `bridge` where none.
    pub driver: Option<Spanned<String>>,
    /// By the driver's names.
    pub driver_options: BTreeMap<String, String>,
    /// Without a way out.
    pub internal: bool,
    /// With IPv4; default true.
    pub ipv4: bool,
    /// With IPv6.
    pub ipv6: bool,
    /// Whether containers outside of the project may join.
    pub attachable: bool,
    /// Address ranges.
    pub subnets: Vec<Subnet>,
    /// Free text by key.
    pub labels: BTreeMap<String, Spanned<String>>,
}

/// An address range of a network.
#[derive(Debug, Clone, PartialEq)]
pub struct Subnet {
    /// CIDR.
    pub subnet: Option<Spanned<String>>,
    /// CIDR: the part that containers are numbered from.
    pub ip_range: Option<Spanned<String>>,
    /// The bridge's address.
    pub gateway: Option<Spanned<IpAddr>>,
    /// Others' addresses by name.
    pub reserved: BTreeMap<String, String>,
}

/// A top-level volume.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// Where it stands.
    pub span: Span,
    /// Its name on the host.
    pub name: Spanned<String>,
    /// Somebody else's.
    pub external: bool,
    /// `local` where none.
    pub driver: Option<Spanned<String>>,
    /// By the driver's names.
    pub driver_options: BTreeMap<String, String>,
    /// Free text by key.
    pub labels: BTreeMap<String, Spanned<String>>,
}

/// A top-level secret or config.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSource {
    /// Where it stands.
    pub span: Span,
    /// Its name on the platform.
    pub name: Spanned<String>,
    /// Where its content comes from.
    pub content: Content,
    /// Free text by key.
    pub labels: BTreeMap<String, Spanned<String>>,
}

/// Where the content of a secret or config comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// A file, by absolute path.
    File(Spanned<String>),
    /// A variable of the caller's environment.
    Environment(Spanned<String>),
    /// Written in the Compose file (configs only).
    Inline(Spanned<String>),
    /// Stored on the platform already.
    External,
}
