use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use carrack_diag::Diagnostic;
use carrack_oci::probe::Probe;
use carrack_specgen::container::{LogDriver, Protocol};
use carrack_specgen::{External, InitPlan};
use serde::{Deserialize, Serialize};

use super::health::Check;
use crate::codes;
use crate::init::InitFailure;

/// Everything that a shim has to know about its container beside the init plan.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShimConfig {
    /// Of the container, 64 hexadecimal digits.
    pub id: String,
    /// What its event lines say about it: `name`, `image`, labels.
    pub attributes: BTreeMap<String, String>,
    /// The container's folder on the run root: state, socket, streams. It exists and is nobody else's (0700).
    pub folder: PathBuf,
    /// The root's file of events.
    pub events: PathBuf,
    /// Where the output goes.
    pub log: LogConfig,
    /// The container's control groups, which exist; none puts it nowhere.
    pub cgroup: Option<CgroupName>,
    /// Whether the plan has a terminal.
    pub tty: bool,
    /// Whether standard input is a pipe from the clients; /dev/null otherwise.
    pub open_stdin: bool,
    /// Whether standard input ends when the client that wrote to it ends or says so.
    pub stdin_once: bool,
    /// The check; none has no check.
    pub health: Option<HealthConfig>,
    /// What is run at an exit, a change of health, a due restart; none runs nothing.
    pub event_command: Option<EventCommand>,
    /// Name service inside the container's network namespace.
    pub dns: Option<DnsConfig>,
    /// The runtime that makes the container instead of ours; then the plan ends where that one is called.
    pub external: Option<External>,
    /// Ports to bind on the host.
    pub ports: Vec<PublishedPort>,
}

/// Where a container's control groups are in every hierarchy, as [`crate::cgroup::Cgroup::open`] takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupName {
    /// `carrack-TAG`.
    pub parent: String,
    /// The container's.
    pub id: String,
}

/// Where output goes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogConfig {
    /// `json-file` and `local` are Docker's JSON lines.
    pub driver: LogDriver,
    /// The file; rotated ones have `.1`, `.2`, … behind it.
    pub path: PathBuf,
    /// A file of this size is rotated before the next line; 0 never is.
    pub max_size_bytes: u64,
    /// How many files there are at most, at least one.
    pub max_files: u32,
    /// What each line says beside its text: labels and variables of the container.
    pub attributes: BTreeMap<String, String>,
    /// How many bytes of output may wait for the disk before more is dropped; none has the program wait.
    pub buffer_bytes: Option<u64>,
    /// Whether rotated files are compressed (gzip).
    pub compress: bool,
}

/// A check and how it is run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HealthConfig {
    /// When it runs and what its results mean.
    pub check: Check,
    /// What is run.
    pub probe: HealthProbe,
}

/// One run of a check.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum HealthProbe {
    /// Enters the container and executes the probe's program.
    Program(InitPlan),
    /// Needs no program in the container.
    Own(Probe),
}

/// A program that is told what happened: `program args… KIND`, KIND being `exited`, `health` or `restart`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventCommand {
    /// Path of the program; none is this very binary.
    pub program: Option<String>,
    /// Argument vector from argument zero, without the kind.
    pub args: Vec<String>,
    /// The whole environment as `NAME=VALUE`.
    pub env: Vec<String>,
}

/// The container's name server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DnsConfig {
    /// Address inside the container's network namespace, 127.0.0.11.
    pub address: IpAddr,
    /// Where it must listen, as NAT rules lead there already; none is any free port.
    pub ports: Option<DnsPorts>,
    /// File of `ADDRESS NAME…` lines, replaced by rename; the first name of an address answers for it backwards.
    pub names: PathBuf,
    /// Servers that know the rest of the world, asked from the host's network, unless the file of names says that the
    /// container is on internal networks only.
    pub upstreams: Vec<SocketAddr>,
}

/// Ports of the name server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsPorts {
    /// UDP.
    pub udp: u16,
    /// TCP.
    pub tcp: u16,
}

/// A port of the host that leads to one of the container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    /// Address on the host; `0.0.0.0` and `::` are all of one family.
    pub host_address: IpAddr,
    /// Port on the host; 0 is any free one, the same for both families where they follow each other.
    pub host_port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The container's address as the host reaches it; none goes through the container's own loopback.
    pub address: Option<IpAddr>,
    /// Its address of IPv6, for programs that listen on that only.
    #[serde(default)]
    pub ipv6: Option<Ipv6Addr>,
    /// Port in the container.
    pub container_port: u16,
}

/// A port that is bound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundPort {
    /// On the host.
    pub host: SocketAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// In the container.
    pub container_port: u16,
}

/// Why there is no running container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartError {
    /// The init plan failed.
    Init(InitFailure),
    /// A port of the host can't be bound.
    Port {
        /// Which.
        host: SocketAddr,
        /// TCP or UDP.
        protocol: Protocol,
        /// `EADDRINUSE` where somebody has it.
        errno: i32,
    },
    /// Another runtime failed.
    Runtime {
        /// Its program.
        program: String,
        /// `create`, `start`.
        verb: String,
        /// In its own words.
        message: String,
    },
    /// The shim itself can't work.
    Shim {
        /// What was attempted.
        attempt: String,
        /// 0 where no system call failed.
        errno: i32,
    },
}

impl StartError {
    pub(super) fn shim(attempt: impl Into<String>, errno: impl Into<std::io::Error>) -> Self {
        Self::Shim { attempt: attempt.into(), errno: errno.into().raw_os_error().unwrap_or(0) }
    }

    /// Docker's exit status for it: 127 and 126 for a program that is missing or can't be executed, else 125.
    pub fn exit_status(&self) -> i32 {
        match self {
            // Docker looks before it starts anything.
            Self::Init(failure) if failure.is_no_folder_to_work_in() => 125,
            Self::Init(failure) => failure.exit_status(),
            Self::Runtime { message, .. } => exit_status_of(message),
            Self::Port { .. } | Self::Shim { .. } => 125,
        }
    }

    /// As something to read. The engine may know more, for example who holds the port.
    pub fn diagnostic(&self) -> Diagnostic {
        match self {
            Self::Init(failure) => {
                Diagnostic::error(&codes::START, "starting the container").cause(failure.to_string())
            }
            Self::Port { host, protocol, .. } => {
                Diagnostic::error(&codes::PORT, format!("binding port {host}/{protocol} of the host"))
                    .cause(self.to_string())
            }
            Self::Runtime { .. } => Diagnostic::error(&codes::EXTERNAL, "having another runtime start the container")
                .cause(self.to_string()),
            Self::Shim { .. } => {
                Diagnostic::error(&codes::SHIM, "starting the container's shim").cause(self.to_string())
            }
        }
    }
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Init(failure) => failure.fmt(f),
            Self::Port { host, protocol, errno } => {
                write!(f, "{host}/{protocol}: {}", std::io::Error::from_raw_os_error(*errno))
            }
            Self::Runtime { program, verb, message } => write!(f, "{program} {verb}: {message}"),
            Self::Shim { attempt, errno: 0 } => f.write_str(attempt),
            Self::Shim { attempt, errno } => write!(f, "{attempt}: {}", std::io::Error::from_raw_os_error(*errno)),
        }
    }
}

impl std::error::Error for StartError {}

/// Docker's status by what a runtime says of the program, in the words of runc and crun.
fn exit_status_of(message: &str) -> i32 {
    let message = message.to_ascii_lowercase();
    let says = |text: &str| message.contains(text);
    if says("chdir to cwd") && says("permission denied") {
        return 126;
    }
    // crun's.
    if says("it is not executable") || says("is not a regular file") {
        return 126;
    }
    if !says("exec") {
        return 125;
    }
    match () {
        () if says("executable file") && says("not found") => 127,
        () if says("no such file or directory") && !says("mount") => 127,
        () if says("permission denied") || says("is a directory") || says("exec format error") => 126,
        () => 125,
    }
}

#[cfg(test)]
mod tests {
    use super::exit_status_of;

    #[test]
    fn what_a_runtime_says_of_a_program_is_dockers_exit_status() {
        for (message, status) in [
            ("unable to start container process: exec: \"nope\": executable file not found in $PATH", 127),
            ("executable file `nope` not found in $PATH: No such file or directory", 127),
            ("exec: \"/nope\": stat /nope: no such file or directory", 127),
            ("open executable: Permission denied", 126),
            ("the path `/etc/passwd` exists but it is not executable: Operation not permitted", 126),
            ("the path `/etc` is not a regular file: Operation not permitted", 126),
            ("exec: \"/etc\": permission denied", 126),
            ("exec: \"/etc\": is a directory", 126),
            ("error mounting \"/x\" to rootfs at \"/y\": no such file or directory", 125),
            ("cgroup is not empty", 125),
        ] {
            assert_eq!(exit_status_of(message), status, "{message}");
        }
    }
}
