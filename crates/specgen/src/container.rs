use std::collections::BTreeMap;
use std::net::IpAddr;

use carrack_diag::Result;
use carrack_oci::probe::OnUnhealthy;
use carrack_oci::runtime::IdMapping;
use carrack_oci::{Config, Healthcheck};
use serde::{Deserialize, Serialize};

/// A container as somebody wants it: made from `carrack run`'s flags, from a Compose service or from a build's RUN.
///
/// Everything here was asked for; nothing is resolved against the host or the image. A field's default is "not asked
/// for", so two containers that want the same are equal, and a change of a field is a reason to make the container anew.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// Unique on a root.
    pub name: String,
    /// The image as asked for: a reference or an id.
    pub image: String,
    /// Replaces the image's entrypoint and, as in Docker, drops its command. An empty list drops both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<Vec<String>>,
    /// Over the image's environment. A name without value is removed.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, Option<String>>,
    /// `user[:group]`, by name or number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Supplementary groups, by name or number.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub group_add: Vec<String>,
    /// Absolute path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Of the UTS namespace; default the short id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// Of the UTS namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<String>,
    /// Free text by key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Free text by key, handed to the runtime.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Whether the program gets a pseudo-terminal.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tty: bool,
    /// Whether standard input stays open without a client.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub open_stdin: bool,
    /// Whether standard input ends with the first client that gave some.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stdin_once: bool,

    /// Binds, volumes and temporary file systems, in the order asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Containers whose volumes and binds it gets as well: `NAME[:ro|rw]`. Replaced by their mounts when it is made.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub volumes_from: Vec<String>,
    /// Secrets and configs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// Whether the root file system is read-only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// Size of /dev/shm in bytes; default 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_size_bytes: Option<u64>,
    /// Host devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<DeviceMapping>,
    /// Devices by the names that their vendors' files give them: `vendor.com/class=name`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cdi_devices: Vec<String>,
    /// Device rules beside those of the devices, as `c 1:3 rwm` or `a *:* rwm`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_rules: Vec<String>,

    /// How the container is connected.
    pub network: NetworkMode,
    /// Published ports.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<PortMapping>,
    /// Ports that it serves beside those that the image exposes: `80`, `53/udp`, `8000-8010/tcp`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<String>,
    /// Whether every exposed port is published on a free one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub publish_all: bool,
    /// Containers and the further names that they have in this one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<(String, String)>,
    /// `NAME` → address, for /etc/hosts; `host-gateway` stands for the host's address on the bridge.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extra_hosts: Vec<(String, String)>,
    /// Name servers instead of the host's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<IpAddr>,
    /// Search domains instead of the host's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_search: Vec<String>,
    /// Options of resolv.conf.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_options: Vec<String>,

    /// `private` (default), `host`.
    pub pid: NamespaceMode,
    /// Shared memory, semaphores, message queues.
    pub ipc: IpcMode,
    /// `private` (default), `host`.
    pub uts: NamespaceMode,
    /// `private` (default), `host`.
    pub cgroupns: NamespaceMode,
    /// Everything allowed, nothing masked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Added to the default capabilities; `ALL`, or names with or without `CAP_`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_add: Vec<String>,
    /// Taken from them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cap_drop: Vec<String>,
    /// Whether execve may not raise privileges. (carrack's default is as Docker's: it may, bounded by the capabilities.)
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privileges: bool,
    /// The system call filter.
    pub seccomp: SeccompMode,
    /// Whether no path of the kernel's is hidden or read-only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unmasked: bool,
    /// Whether it may change its own control groups below /sys/fs/cgroup.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub writable_cgroups: bool,
    /// AppArmor profile; `unconfined` for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor: Option<String>,
    /// Kernel parameters of the container's namespaces.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub sysctls: BTreeMap<String, String>,
    /// `nofile` → soft and hard limit; −1 is unlimited.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Whether a small init of ours is process 1.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub init: bool,
    /// −1000 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Limits.
    pub resources: Resources,
    /// The program that runs it instead of carrack's own runtime: a name to be found on the host's path, or a path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<String>,
    /// Control group that its own lies in, from the root of the hierarchy; default carrack's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_parent: Option<String>,

    /// Name or number; default the image's, else SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// Between the stop signal and SIGKILL; default 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout_ms: Option<u64>,
    /// Replaces the image's check, field by field; `["NONE"]` removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// What follows when the check says that it is unhealthy.
    #[serde(skip_serializing_if = "is_default")]
    pub on_unhealthy: OnUnhealthy,
    /// What follows an exit.
    pub restart: RestartPolicy,
    /// Whether the container and its anonymous volumes go when it exits.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub auto_remove: bool,
    /// Where its output goes.
    pub log: LogConfig,
    /// `linux/amd64`, where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

impl Container {
    /// Entrypoint and command after Docker's rule: an entrypoint of one's own drops the image's command.
    pub fn arguments(&self, image: &Config) -> Vec<String> {
        let (entrypoint, command) = match (&self.entrypoint, &self.command) {
            (Some(entrypoint), command) => (Some(entrypoint), command.as_ref()),
            (None, Some(command)) => (image.entrypoint.as_ref(), Some(command)),
            (None, None) => (image.entrypoint.as_ref(), image.cmd.as_ref()),
        };
        entrypoint.into_iter().chain(command).flatten().cloned().collect()
    }

    /// The published ports, with [`Container::publish_all`] those that image and container expose as well.
    ///
    /// # Errors
    /// `container/invalid-setting` for an exposed port that can't be published.
    pub fn published_ports(&self, image: &Config) -> Result<Vec<PortMapping>> {
        let mut ports = self.ports.clone();
        if !self.publish_all {
            return Ok(ports);
        }
        for text in image.exposed_ports.keys().chain(&self.expose) {
            for port in PortMapping::of_exposed(text)? {
                let is_same = |known: &&PortMapping| {
                    (known.container_port, known.protocol) == (port.container_port, port.protocol)
                };
                if !ports.iter().any(|known| is_same(&known)) {
                    ports.push(port);
                }
            }
        }
        Ok(ports)
    }

    /// The check after Compose's and Docker's rule: what is not set is inherited from the image. None where there is none.
    pub fn effective_healthcheck(&self, image: &Config) -> Option<Healthcheck> {
        let mut check = image.healthcheck.clone().unwrap_or_default();
        if let Some(own) = &self.healthcheck {
            if !own.test.is_empty() {
                check.test.clone_from(&own.test);
            }
            let inherit = |own: u64, image: u64| if own == 0 { image } else { own };
            check.interval = inherit(own.interval, check.interval);
            check.timeout = inherit(own.timeout, check.timeout);
            check.start_period = inherit(own.start_period, check.start_period);
            check.start_interval = inherit(own.start_interval, check.start_interval);
            check.retries = if own.retries == 0 { check.retries } else { own.retries };
        }
        let exists = check.test.first().is_some_and(|kind| kind != "NONE");
        exists.then_some(check)
    }
}

fn is_default(action: &OnUnhealthy) -> bool {
    *action == OnUnhealthy::default()
}

/// Something mounted into the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container.
    pub target: String,
    /// What is mounted there.
    pub source: MountSource,
    /// Whether it is read-only.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
    /// As whose its files are shown; none shows them as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identities: Option<Identities>,
}

/// Ranges of owners and groups of files, and where they are shown. What is in no range belongs to nobody there; an empty
/// list shows all as they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identities {
    /// Owners.
    pub uids: Vec<IdMapping>,
    /// Groups.
    pub gids: Vec<IdMapping>,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum MountSource {
    /// A file or folder of the host.
    Bind {
        /// Absolute path on the host.
        path: String,
        /// Whether a missing source becomes a folder (the short syntax of Docker and Compose).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        create: bool,
        /// `rprivate` (default), `private`, `rshared`, `shared`, `rslave`, `slave`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        propagation: Option<String>,
        /// Whether mounts below the source stay out.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        non_recursive: bool,
        /// Whether a read-only bind leaves the mounts below its source as they are.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        writable_below: bool,
    },
    /// A volume; an empty one first receives what the image holds at the target.
    Volume {
        /// None is an anonymous volume, made with the container.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// Folder of the volume that is mounted; its root where empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        subpath: String,
        /// Whether the image's content stays out.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        no_copy: bool,
        /// What it is made with, where there is none of its name yet.
        #[serde(default, skip_serializing_if = "VolumeSettings::is_default")]
        settings: VolumeSettings,
    },
    /// Files of an image, read-only.
    Image {
        /// A reference or an id.
        name: String,
        /// Folder of the image that is mounted; its root where empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        subpath: String,
    },
    /// A temporary file system.
    Tmpfs {
        /// In bytes; none is the kernel's default.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size_bytes: Option<u64>,
        /// Permission bits; those of the folder that it covers where none, and 1777 where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<u32>,
        /// Further options as in mount(8): `exec`, `uid=…`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        options: Vec<String>,
    },
}

/// A secret or config given to the container as a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// The name it has in the project.
    pub name: String,
    /// Absolute path in the container.
    pub target: String,
    /// The vault's version of its content: a keyed hash, never the content.
    pub version: String,
    /// Whether it is a secret.
    pub secret: bool,
    /// Owner; default 0.
    pub uid: u32,
    /// Group; default 0.
    pub gid: u32,
    /// Permission bits; default 0444.
    pub mode: u32,
}

/// A host device shown to the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMapping {
    /// On the host.
    pub source: String,
    /// In the container.
    pub target: String,
    /// Of `r`, `w`, `m`.
    pub access: String,
}

/// How a container is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMode {
    /// The host's network namespace.
    Host,
    /// A namespace with a loopback interface only.
    None,
    /// The namespace of the container of this name or id.
    Container(String),
    /// Networks of our own, at least one. The first with a default route gives the gateway.
    Networks(Vec<Attachment>),
}

impl Default for NetworkMode {
    fn default() -> Self {
        Self::Networks(vec![Attachment { network: "bridge".into(), ..Attachment::default() }])
    }
}

/// A container's place on one network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// The network's name on the root.
    pub network: String,
    /// Names it answers to there, beside the container's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Fixed address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<std::net::Ipv4Addr>,
    /// Fixed address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<std::net::Ipv6Addr>,
    /// Fixed hardware address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Further addresses of the interface, of its link alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
    /// Other containers by name or id, with a name that this one alone has for them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<(String, String)>,
    /// Of all its networks the one with the highest gives the default route; the first of those with the same.
    #[serde(skip_serializing_if = "is_zero")]
    pub gateway_priority: i64,
    /// By the driver's names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub driver_options: BTreeMap<String, String>,
    /// Name of the interface in the container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// A port of the container made reachable on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// Address on the host; none is every one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_address: Option<IpAddr>,
    /// Port on the host; none is any free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
    /// Port in the container.
    pub container_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl PortMapping {
    /// Each port of `80`, `53/udp`, `8000-8010/tcp`, published on a free one.
    ///
    /// # Errors
    /// `container/invalid-setting`.
    pub fn of_exposed(text: &str) -> Result<Vec<Self>> {
        let wrong = || crate::spec::invalid(format!("expose the port `{text}`"), "write PORT[-PORT][/tcp|/udp]");
        let (range, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
            Some((range, "udp")) => (range, Protocol::Udp),
            Some(_) => return Err(wrong()),
        };
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(wrong);
        let (first, last) = (number(first)?, number(last)?);
        if last < first {
            return Err(wrong());
        }
        let one = |container_port| Self { host_address: None, host_port: None, container_port, protocol };
        Ok((first..=last).map(one).collect())
    }
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Transmission Control Protocol.
    #[default]
    Tcp,
    /// User Datagram Protocol.
    Udp,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Whose namespace a container lives in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamespaceMode {
    /// One of its own.
    #[default]
    Private,
    /// The host's.
    Host,
    /// That of the container of this name or id.
    Container(String),
}

/// Whose shared memory, semaphores and message queues a container has.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IpcMode {
    /// Its own, for nobody else.
    #[default]
    Private,
    /// Its own, which others may share.
    Shareable,
    /// Its own, without /dev/shm.
    None,
    /// The host's.
    Host,
    /// Those of the container of this name or id, which is shareable.
    Container(String),
}

impl IpcMode {
    /// Whether the namespace is the container's own.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Private | Self::Shareable | Self::None)
    }

    /// As a namespace alone.
    pub fn namespace(&self) -> NamespaceMode {
        match self {
            Self::Private | Self::Shareable | Self::None => NamespaceMode::Private,
            Self::Host => NamespaceMode::Host,
            Self::Container(name) => NamespaceMode::Container(name.clone()),
        }
    }
}

/// The system call filter of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeccompMode {
    /// Docker's default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// A profile in Docker's JSON form.
    Profile(String),
}

/// A resource limit of the process; −1 is unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// What is enforced.
    pub soft: i64,
    /// How far the process may raise it.
    pub hard: i64,
}

/// Limits of the container's control group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Hard limit in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory and swap together in bytes; −1 is unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swap_bytes: Option<i64>,
    /// Soft limit in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_reservation_bytes: Option<u64>,
    /// Billionths of a processor (`--cpus 1.5` is 1,500,000,000).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nano_cpus: Option<u64>,
    /// Relative weight, 1024 is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_shares: Option<u64>,
    /// Microseconds in which the quota holds; instead of `nano_cpus`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_period_us: Option<u64>,
    /// Microseconds of processor time a period, −1 is unlimited; instead of `nano_cpus`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_quota_us: Option<i64>,
    /// Microseconds in which the real-time limit holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_rt_period_us: Option<u64>,
    /// Microseconds of real-time scheduling a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_rt_runtime_us: Option<i64>,
    /// `0-1,3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes, `0-1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpuset_mems: Option<String>,
    /// How readily anonymous memory is swapped out, 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_swappiness: Option<u64>,
    /// Whether programs wait instead of being killed where memory runs out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub oom_kill_disable: bool,
    /// Limits of block devices.
    #[serde(skip_serializing_if = "BlockLimits::is_empty")]
    pub block: BlockLimits,
    /// Processes and threads; −1 is unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pids: Option<i64>,
}

/// Limits of what is read from and written to block devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BlockLimits {
    /// Relative weight, 10 to 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// Relative weights on single devices.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub device_weights: Vec<DeviceLimit>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_bps: Vec<DeviceLimit>,
    /// Bytes a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_bps: Vec<DeviceLimit>,
    /// Operations a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read_iops: Vec<DeviceLimit>,
    /// Operations a second.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write_iops: Vec<DeviceLimit>,
}

impl BlockLimits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The devices that are named, on the host.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        let lists = [&self.device_weights, &self.read_bps, &self.write_bps, &self.read_iops, &self.write_iops];
        lists.into_iter().flatten().map(|limit| limit.device.as_str())
    }
}

/// A limit of one block device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLimit {
    /// Path of its node on the host.
    pub device: String,
    /// What it is limited to.
    pub value: u64,
}

/// What follows an exit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// Nothing.
    #[default]
    No,
    /// A start, also after a reboot.
    Always,
    /// A start, also after a reboot, unless it was stopped by somebody.
    UnlessStopped,
    /// A start after an exit other than 0, at most so many times in a row.
    OnFailure {
        /// None is without bound.
        max_retries: Option<u32>,
    },
}

/// What a volume is made with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSettings {
    /// Free text by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Those of Docker's driver `local`: `type`, `device`, `o`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

impl VolumeSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a container's output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// The driver.
    pub driver: LogDriver,
    /// Of one file; a full one is rotated.
    pub max_size_bytes: u64,
    /// How many files are kept.
    pub max_files: u32,
    /// Labels of the container that each line of the log says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// Variables of the container that each line of the log says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// The same for labels whose names match a regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels_regex: Option<String>,
    /// The same for variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env_regex: Option<String>,
    /// What each line says as its `tag`, with fields of the container ([`crate::log_tag`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// How many bytes of output may wait for the disk before more is dropped; none has the program wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer_bytes: Option<u64>,
    /// Whether rotated files are compressed (gzip).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub compress: bool,
}

impl LogConfig {
    /// Docker's size of a buffer that nobody gave one, in bytes.
    pub const BUFFER_BYTES: u64 = 1_000_000;
}

/// Bounded by default, unlike Docker's: 10 MB in 3 files.
impl Default for LogConfig {
    fn default() -> Self {
        Self {
            driver: LogDriver::JsonFile,
            max_size_bytes: 10_000_000,
            max_files: 3,
            labels: Vec::new(),
            env: Vec::new(),
            labels_regex: None,
            env_regex: None,
            tag: None,
            buffer_bytes: None,
            compress: false,
        }
    }
}

/// Who writes the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Docker's JSON lines.
    #[default]
    JsonFile,
    /// The same files, by its other name.
    Local,
    /// Nobody.
    None,
}
