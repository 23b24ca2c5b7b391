//! From what somebody wants of a container to what the kernel is asked for: [`Container`] with the image's configuration
//! becomes the OCI runtime [`Spec`](carrack_oci::runtime::Spec), and that the plan of the container's init.
//!
//! This crate never looks at the host: what it must know of it is handed in as facts.

pub mod apparmor;
/// Capabilities by name.
pub mod capability;
pub mod codes;
/// What is asked for.
pub mod container;
mod control_groups;
pub mod external;
/// What must be known of the host.
pub mod facts;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
/// What init does about it.
pub mod init_plan;
mod limits;
pub mod log_tag;
/// Users and groups of a container.
pub mod passwd;
mod plan;
pub mod seccomp;
mod spec;

#[cfg(test)]
mod tests;

pub use container::Container;
pub use control_groups::joins_every_hierarchy;
pub use external::External;
pub use facts::HostFacts;
pub use init_plan::{InitPlan, InitStep};
pub use limits::{block_weight, check_cgroup_parent, check_on_host, device_rule, resources};
pub use plan::{ExecRequest, Launch, exec_plan, init_plan, launch, mount_plan};
pub use spec::{DEFAULT_SHM_BYTES, MASKED_PATHS, READ_ONLY_PATHS, Resolved, ResolvedDevice, Source, check, spec};
