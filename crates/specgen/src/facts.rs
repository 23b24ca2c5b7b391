use serde::{Deserialize, Serialize};

/// What plans need to know of the host. The caller asks the kernel; two hosts with the same facts get the same plans.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Of the kernel.
    pub architecture: Architecture,
    /// Major and minor version.
    pub kernel: (u32, u32),
    /// How control groups are mounted.
    pub cgroups: Cgroups,
    /// The capabilities that the caller can hand on; bit n is capability number n.
    pub capabilities: u64,
    /// Whether AppArmor is on.
    pub apparmor: bool,
    /// Whether [`crate::apparmor::PROFILE_NAME`] is loaded.
    pub apparmor_profile: bool,
    /// Name of the host, which a container on the host's network has too.
    pub hostname: String,
}

/// A processor architecture that carrack knows the system calls of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Architecture {
    /// 64-bit x86; its kernels also run x86 and x32 programs.
    X86_64,
    /// 64-bit Arm; its kernels may also run 32-bit Arm programs.
    Aarch64,
}

/// How control groups are mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cgroups {
    /// One hierarchy.
    V2,
    /// One hierarchy a controller.
    V1 {
        /// In the order of their mount points.
        hierarchies: Vec<Hierarchy>,
    },
}

/// A v1 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hierarchy {
    /// Where the host has it: `/sys/fs/cgroup/cpu,cpuacct`.
    pub mountpoint: String,
    /// Controllers, or `name=…`.
    pub options: Vec<String>,
    /// Whether each container is in a group of it.
    pub is_always_joined: bool,
}

impl Hierarchy {
    /// Name of its folder: `cpu,cpuacct`.
    pub fn folder(&self) -> &str {
        self.mountpoint.rsplit('/').next().unwrap_or_default()
    }
}
