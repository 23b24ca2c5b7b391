//! The keys of each mapping, and what carrack does about them (the specification's JSON schema).

/// What carrack does about a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Support {
    /// It is implemented.
    Full,
    /// It is checked by nobody and acted on by nobody yet; the text completes "not implemented yet: ".
    NotYet(&'static str),
    /// Nothing acts on it, and what runs is the same without; the text completes "has no effect: ".
    Harmless(&'static str),
    /// It will not be; the text completes "not supported: ".
    Refused(&'static str),
}

/// A key and its support.
pub(crate) type Key = (&'static str, Support);

use Support::{Full, Harmless, NotYet, Refused};

const WINDOWS: Support = Refused("it exists for Windows containers only");
const SWARM: &str = "there is one host, so there is nothing to place";

pub(crate) const TOP: &[Key] = &[
    ("version", Full),
    ("name", Full),
    ("include", Full),
    ("services", Full),
    ("networks", Full),
    ("volumes", Full),
    ("secrets", Full),
    ("configs", Full),
    ("models", NotYet("no model is run, and services get no address of one")),
];

pub(crate) const SERVICE: &[Key] = &[
    ("annotations", Full),
    ("attach", Full),
    ("blkio_config", Full),
    ("build", Full),
    ("cap_add", Full),
    ("cap_drop", Full),
    ("cgroup", Full),
    ("cgroup_parent", Full),
    ("command", Full),
    ("configs", Full),
    ("container_name", Full),
    ("cpu_count", WINDOWS),
    ("cpu_percent", WINDOWS),
    ("cpu_period", Full),
    ("cpu_quota", Full),
    ("cpu_rt_period", Full),
    ("cpu_rt_runtime", Full),
    ("cpu_shares", Full),
    ("cpus", Full),
    ("cpuset", Full),
    ("credential_spec", WINDOWS),
    ("depends_on", Full),
    ("deploy", Full),
    ("develop", NotYet("nothing watches the files: changes are not synchronised")),
    ("device_cgroup_rules", Full),
    ("devices", Full),
    ("dns", Full),
    ("dns_opt", Full),
    ("dns_search", Full),
    ("domainname", Full),
    ("entrypoint", Full),
    ("env_file", Full),
    ("environment", Full),
    ("expose", Full),
    ("extends", Full),
    ("external_links", NotYet("the names are not resolved in the container")),
    ("extra_hosts", Full),
    ("gpus", NotYet("the container gets no GPU")),
    ("group_add", Full),
    ("healthcheck", Full),
    ("hostname", Full),
    ("image", Full),
    ("init", Full),
    ("ipc", Full),
    ("isolation", WINDOWS),
    ("label_file", NotYet("the container does not get the labels of the file")),
    ("labels", Full),
    ("links", Full),
    ("logging", Full),
    ("mac_address", NotYet("use `networks.NAME.mac_address`: the address is chosen")),
    ("mem_limit", Full),
    ("mem_reservation", Full),
    ("mem_swappiness", Full),
    ("memswap_limit", Full),
    ("models", NotYet("the service gets no address of a model")),
    ("network_mode", Full),
    ("networks", Full),
    ("oom_kill_disable", Full),
    ("oom_score_adj", Full),
    ("pid", Full),
    ("pids_limit", Full),
    ("platform", Full),
    ("ports", Full),
    ("post_start", NotYet("the commands are not run after the start")),
    ("pre_start", NotYet("the commands are not run before the start")),
    ("pre_stop", NotYet("the commands are not run before the stop")),
    ("privileged", Full),
    ("profiles", Full),
    ("provider", NotYet("no provider is called: the service is not there")),
    ("pull_policy", Full),
    ("pull_refresh_after", NotYet("the image is pulled only when it is missing")),
    ("read_only", Full),
    ("restart", Full),
    ("runtime", Full),
    ("scale", Full),
    ("secrets", Full),
    ("security_opt", Full),
    ("shm_size", Full),
    ("stdin_open", Full),
    ("stop_grace_period", Full),
    ("stop_signal", Full),
    ("storage_opt", NotYet("the container's layer is not limited")),
    ("sysctls", Full),
    ("tmpfs", Full),
    ("tty", Full),
    ("ulimits", Full),
    ("use_api_socket", NotYet("the container gets no socket of the engine")),
    ("user", Full),
    ("userns_mode", NotYet("user namespaces are not remapped")),
    ("uts", Full),
    ("volumes", Full),
    ("volumes_from", NotYet("the volumes of the other container are not mounted")),
    ("working_dir", Full),
];

pub(crate) const BLKIO: &[Key] = &[
    ("device_read_bps", Full),
    ("device_read_iops", Full),
    ("device_write_bps", Full),
    ("device_write_iops", Full),
    ("weight", Full),
    ("weight_device", Full),
];

pub(crate) const BLKIO_RATE: &[Key] = &[("path", Full), ("rate", Full)];

pub(crate) const BLKIO_WEIGHT: &[Key] = &[("path", Full), ("weight", Full)];

pub(crate) const BUILD: &[Key] = &[
    ("additional_contexts", Full),
    ("args", Full),
    ("cache_from", Full),
    ("cache_to", Full),
    ("context", Full),
    ("dockerfile", Full),
    ("dockerfile_inline", Full),
    ("entitlements", Full),
    ("extra_hosts", Full),
    ("isolation", WINDOWS),
    ("labels", Full),
    ("network", Full),
    ("no_cache", Full),
    ("platforms", Full),
    ("privileged", Full),
    ("provenance", Full),
    ("pull", Full),
    ("sbom", Full),
    ("secrets", Full),
    ("shm_size", Full),
    ("ssh", Full),
    ("tags", Full),
    ("target", Full),
    ("ulimits", Full),
];

pub(crate) const DEPENDENCY: &[Key] = &[("condition", Full), ("required", Full), ("restart", Full)];

pub(crate) const HEALTHCHECK: &[Key] = &[
    ("disable", Full),
    ("interval", Full),
    ("retries", Full),
    ("start_interval", Full),
    ("start_period", Full),
    ("test", Full),
    ("timeout", Full),
    ("x-carrack-on-failure", Full),
    ("x-carrack-probe", Full),
];

pub(crate) const DEPLOY: &[Key] = &[
    ("endpoint_mode", Full),
    ("labels", Harmless("there is no service object that could carry them")),
    ("mode", Full),
    ("placement", Harmless(SWARM)),
    ("replicas", Full),
    ("resources", Full),
    ("restart_policy", Full),
    ("rollback_config", NotYet("a rollback replaces replicas as an update does")),
    ("update_config", Full),
];

pub(crate) const RESOURCES: &[Key] = &[("limits", Full), ("reservations", Full)];

pub(crate) const LIMITS: &[Key] = &[("cpus", Full), ("memory", Full), ("pids", Full)];

pub(crate) const RESERVATIONS: &[Key] = &[
    ("cpus", Full),
    ("devices", NotYet("the container gets no such device")),
    ("generic_resources", Harmless(SWARM)),
    ("memory", Full),
];

pub(crate) const RESTART_POLICY: &[Key] = &[
    ("condition", Full),
    ("delay", NotYet("restarts wait by the engine's own rule")),
    ("max_attempts", Full),
    ("window", NotYet("a restart counts as successful at once")),
];

pub(crate) const UPDATE_CONFIG: &[Key] = &[
    ("delay", NotYet("the next replica follows when the one before is ready")),
    ("failure_action", NotYet("a failed update is rolled back")),
    ("max_failure_ratio", NotYet("one failure ends the update")),
    ("monitor", NotYet("a replica counts when it is ready")),
    ("order", Full),
    ("parallelism", Full),
];

pub(crate) const PORT: &[Key] = &[
    ("app_protocol", Full),
    ("host_ip", Full),
    ("mode", Full),
    ("name", Full),
    ("protocol", Full),
    ("published", Full),
    ("target", Full),
];

pub(crate) const MOUNT: &[Key] = &[
    ("bind", Full),
    ("consistency", Harmless("every mount is consistent on Linux")),
    ("image", NotYet("image mounts are not made")),
    ("read_only", Full),
    ("source", Full),
    ("target", Full),
    ("tmpfs", Full),
    ("type", Full),
    ("volume", Full),
];

pub(crate) const MOUNT_BIND: &[Key] = &[
    ("create_host_path", Full),
    ("propagation", Full),
    ("recursive", Full),
    ("selinux", NotYet("the files are not labelled anew")),
];

pub(crate) const MOUNT_VOLUME: &[Key] =
    &[("labels", NotYet("the anonymous volume gets no labels")), ("nocopy", Full), ("subpath", Full)];

pub(crate) const MOUNT_TMPFS: &[Key] = &[("mode", Full), ("size", Full)];

pub(crate) const GRANT: &[Key] = &[("gid", Full), ("mode", Full), ("source", Full), ("target", Full), ("uid", Full)];

pub(crate) const ATTACHMENT: &[Key] = &[
    ("aliases", Full),
    ("driver_opts", Full),
    ("gw_priority", Full),
    ("interface_name", Full),
    ("ipv4_address", Full),
    ("ipv6_address", Full),
    ("link_local_ips", Full),
    ("mac_address", Full),
    ("priority", Full),
];

pub(crate) const DEVICE: &[Key] = &[("permissions", Full), ("source", Full), ("target", Full)];

pub(crate) const LOGGING: &[Key] = &[("driver", Full), ("options", Full)];

pub(crate) const ENV_FILE: &[Key] = &[("format", Full), ("path", Full), ("required", Full)];

pub(crate) const EXTENDS: &[Key] = &[("file", Full), ("service", Full)];

pub(crate) const INCLUDE: &[Key] = &[("env_file", Full), ("path", Full), ("project_directory", Full)];

pub(crate) const ULIMIT: &[Key] = &[("hard", Full), ("soft", Full)];

pub(crate) const NETWORK: &[Key] = &[
    ("attachable", Full),
    ("driver", Full),
    ("driver_opts", Full),
    ("enable_ipv4", NotYet("containers get IPv4 addresses all the same")),
    ("enable_ipv6", Full),
    ("external", Full),
    ("internal", Full),
    ("ipam", Full),
    ("labels", Full),
    ("name", Full),
];

pub(crate) const IPAM: &[Key] =
    &[("config", Full), ("driver", Full), ("options", NotYet("address management has no options"))];

pub(crate) const IPAM_CONFIG: &[Key] =
    &[("aux_addresses", Full), ("gateway", Full), ("ip_range", Full), ("subnet", Full)];

pub(crate) const VOLUME: &[Key] =
    &[("driver", Full), ("driver_opts", Full), ("external", Full), ("labels", Full), ("name", Full)];

pub(crate) const SECRET: &[Key] = &[
    ("driver", Refused("secret drivers belong to Swarm")),
    ("driver_opts", Refused("secret drivers belong to Swarm")),
    ("environment", Full),
    ("external", Full),
    ("file", Full),
    ("labels", Full),
    ("name", Full),
    ("template_driver", Refused("templates belong to Swarm")),
];

pub(crate) const CONFIG: &[Key] = &[
    ("content", Full),
    ("environment", Full),
    ("external", Full),
    ("file", Full),
    ("labels", Full),
    ("name", Full),
    ("template_driver", Refused("templates belong to Swarm")),
];

pub(crate) const EXTERNAL: &[Key] = &[("name", Full)];
