//! Everything known of a container, in the shape of Docker's Engine API (`GET /containers/{id}/json`), in the order in which
//! Docker prints it. What that shape has no place for stands behind it under names of our own.

use std::collections::{BTreeMap, BTreeSet};

use carrack_diag::Result;
use carrack_network::{Endpoint, Networks};
use carrack_oci::Config;
use carrack_runtime::state::{Health, State};
use carrack_specgen::container::{
    DeviceLimit, IpcMode, LogConfig, LogDriver, Mount, MountSource, NamespaceMode, NetworkMode, PortMapping,
    RestartPolicy, SeccompMode,
};
use carrack_specgen::{Container, DEFAULT_SHM_BYTES, MASKED_PATHS, READ_ONLY_PATHS};
use serde_json::{Map, Value, json};

use super::view::{ContainerView, exposed};
use super::{ContainerRecord, logs};
use crate::engine::Engine;
use crate::network::endpoint_id;

/// Go's time of nothing.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// Everything known of a container, in the shape of `docker inspect`.
    pub fn inspect_container(&self, name: &str) -> Result<Value> {
        let view = self.container(name)?;
        let record = &view.record;
        let container = &record.container;
        let config = self.image_config(record);
        let state = view.state.as_ref();
        let endpoints = Networks::new(&self.store).endpoints_of(&record.id)?;
        let (own, run) = (self.store.container_dir(&record.id)?, self.store.container_run_dir(&record.id)?);
        // Those of the host are shown where its namespaces are shared, and none is made before the first start.
        let etc = |name: &str| {
            let path = run.join(name);
            if path.exists() { path.to_string_lossy().into_owned() } else { String::new() }
        };
        let log = match container.log.driver {
            LogDriver::None => String::new(),
            LogDriver::JsonFile | LogDriver::Local => own.join(logs::LOG_FILE).to_string_lossy().into_owned(),
        };
        let pid = if view.is_active() { state.map_or(0, |state| state.pid) } else { 0 };
        let limits = if view.is_active() { self.effective(record, pid)? } else { Value::Null };
        Ok(json!({
            "Id": record.id,
            "Created": record.created,
            "Path": view.command.first().map_or("", String::as_str),
            "Args": view.command.get(1..).unwrap_or_default(),
            "State": state_of(&view, pid),
            "Image": record.image,
            "ResolvConfPath": etc("resolv.conf"),
            "HostnamePath": etc("hostname"),
            "HostsPath": etc("hosts"),
            "LogPath": log,
            "Name": format!("/{}", record.name),
            "RestartCount": state.map_or(0, |state| state.restart_count),
            "Driver": "overlay2",
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": container.apparmor.as_deref().unwrap_or_default(),
            "ExecIDs": null,
            "HostConfig": host_config(container),
            "GraphDriver": {
                "Data": {
                    "ID": record.id,
                    "MergedDir": if pid > 0 { format!("/proc/{pid}/root") } else { String::new() },
                    "UpperDir": own.join("upper"),
                    "WorkDir": own.join("work"),
                },
                "Name": "overlay2",
            },
            "Mounts": self.inspected_mounts(record)?,
            "Config": config_of(&view, &config),
            "NetworkSettings": network_settings(&view, &endpoints, pid),
            "EffectiveLimits": limits,
        }))
    }

    /// Volumes and binds. As in Docker, temporary file systems stand in HostConfig.
    fn inspected_mounts(&self, record: &ContainerRecord) -> Result<Vec<Value>> {
        let mut mounts = Vec::new();
        for mount in &record.container.mounts {
            match &mount.source {
                MountSource::Volume { .. } => {
                    let Some(used) = record.volumes.get(&mount.target) else { continue };
                    mounts.push(json!({
                        "Type": "volume",
                        "Name": used.name,
                        "Source": self.store.volume_data(&used.name)?,
                        "Destination": mount.target,
                        "Driver": "local",
                        "Mode": if mount.read_only { "ro" } else { "" },
                        "RW": !mount.read_only,
                        "Propagation": "",
                    }));
                }
                MountSource::Image { name, .. } => mounts.push(json!({
                    "Type": "image",
                    "Source": name,
                    "Destination": mount.target,
                    "Mode": "ro",
                    "RW": false,
                    "Propagation": "",
                })),
                MountSource::Bind { path, propagation, .. } => mounts.push(json!({
                    "Type": "bind",
                    "Source": path,
                    "Destination": mount.target,
                    "Mode": if mount.read_only { "ro" } else { "" },
                    "RW": !mount.read_only,
                    "Propagation": propagation.as_deref().unwrap_or("rprivate"),
                })),
                MountSource::Tmpfs { .. } => {}
            }
        }
        // Volumes of the image, that no mount speaks of.
        let known: BTreeSet<&str> = record.container.mounts.iter().map(|mount| mount.target.as_str()).collect();
        for (target, used) in record.volumes.iter().filter(|(target, _)| !known.contains(target.as_str())) {
            mounts.push(json!({
                "Type": "volume",
                "Name": used.name,
                "Source": self.store.volume_data(&used.name)?,
                "Destination": target,
                "Driver": "local",
                "Mode": "",
                "RW": true,
                "Propagation": "",
            }));
        }
        Ok(mounts)
    }
}

fn state_of(view: &ContainerView, pid: i32) -> Value {
    let state = view.state.as_ref();
    let time =
        |of: fn(&State) -> &Option<String>| state.and_then(|state| of(state).clone()).unwrap_or_else(|| NEVER.into());
    let mut shown = json!({
        "Status": view.status(),
        // Docker counts one that waits for its next start among the running.
        "Running": view.is_active(),
        "Paused": view.status() == "paused",
        "Restarting": view.status() == "restarting",
        "OOMKilled": state.is_some_and(|state| state.oom_killed),
        "Dead": view.status() == "dead",
        "Pid": pid,
        "ExitCode": view.exit_code(),
        "Error": state.map_or("", |state| &state.error),
        "StartedAt": time(|state| &state.started_at),
        "FinishedAt": time(|state| &state.finished_at),
    });
    if let Some(health) = state.and_then(|state| state.health.as_ref()) {
        shown["Health"] = docker_health(health);
    }
    shown
}

/// In Docker's words.
fn docker_health(health: &Health) -> Value {
    json!({
        "Status": health.status,
        "FailingStreak": health.failing_streak,
        "Log": health.log.iter().map(|probe| json!({
            "Start": probe.start, "End": probe.end, "ExitCode": probe.exit_code, "Output": probe.output,
        })).collect::<Vec<_>>(),
    })
}

/// What was asked for of the host. What carrack has no setting for has Docker's value of nothing asked for.
fn host_config(container: &Container) -> Value {
    let some = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
    let namespace = |mode: &NamespaceMode, private: &str| match mode {
        NamespaceMode::Private => private.to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Container(name) => format!("container:{name}"),
    };
    let (restart, retries) = match &container.restart {
        RestartPolicy::No => ("no", 0),
        RestartPolicy::Always => ("always", 0),
        RestartPolicy::UnlessStopped => ("unless-stopped", 0),
        RestartPolicy::OnFailure { max_retries } => ("on-failure", max_retries.unwrap_or(0)),
    };
    let mut bindings: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for port in &container.ports {
        bindings.entry(format!("{}/{}", port.container_port, port.protocol)).or_default().push(json!({
            "HostIp": port.host_address.map(|address| address.to_string()).unwrap_or_default(),
            "HostPort": port.host_port.map(|port| port.to_string()).unwrap_or_default(),
        }));
    }
    let hosts: Vec<String> = container.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect();
    let mut config = json!({
        "Binds": some(&container.mounts.iter().filter_map(bind).collect::<Vec<_>>()),
        "ContainerIDFile": "",
        "LogConfig": {
            "Type": container.log.driver,
            "Config": log_options(&container.log),
        },
        "NetworkMode": match &container.network {
            NetworkMode::Host => "host".to_owned(),
            NetworkMode::None => "none".to_owned(),
            NetworkMode::Container(name) => format!("container:{name}"),
            NetworkMode::Networks(networks) => networks.first().map_or("bridge".to_owned(), |first| first.network.clone()),
        },
        "PortBindings": bindings,
        "RestartPolicy": { "Name": restart, "MaximumRetryCount": retries },
        "AutoRemove": container.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": some(&container.volumes_from),
        "ConsoleSize": [0, 0],
        "CapAdd": some(&container.cap_add),
        "CapDrop": some(&container.cap_drop),
        "CgroupnsMode": namespace(&container.cgroupns, "private"),
        "Dns": container.dns,
        "DnsOptions": container.dns_options,
        "DnsSearch": container.dns_search,
        "ExtraHosts": some(&hosts),
        "GroupAdd": some(&container.group_add),
        "IpcMode": match &container.ipc {
            IpcMode::Private => "private".to_owned(),
            IpcMode::Shareable => "shareable".to_owned(),
            IpcMode::None => "none".to_owned(),
            IpcMode::Host => "host".to_owned(),
            IpcMode::Container(name) => format!("container:{name}"),
        },
        "Cgroup": "",
        "Links": some(&container.links.iter().map(|(name, alias)| format!("{name}:{alias}")).collect::<Vec<_>>()),
        "OomScoreAdj": container.oom_score_adj.unwrap_or(0),
        "PidMode": namespace(&container.pid, ""),
        "Privileged": container.privileged,
        "PublishAllPorts": container.publish_all,
        "ReadonlyRootfs": container.read_only,
        "SecurityOpt": some(&security_options(container)),
        "UTSMode": namespace(&container.uts, ""),
        "UsernsMode": "",
        "ShmSize": container.shm_size_bytes.unwrap_or(DEFAULT_SHM_BYTES),
        "Runtime": container.runtime.as_deref().unwrap_or(carrack_specgen::external::OWN),
        "Isolation": "",
    });
    if let (Some(config), Value::Object(limits)) = (config.as_object_mut(), limits_of(container)) {
        config.extend(limits);
    }
    // Docker leaves these out where they are empty.
    let tmpfs: Map<String, Value> = container.mounts.iter().filter_map(temporary).collect();
    if !tmpfs.is_empty() {
        config["Tmpfs"] = Value::Object(tmpfs);
    }
    if !container.sysctls.is_empty() {
        config["Sysctls"] = json!(container.sysctls);
    }
    if !container.annotations.is_empty() {
        config["Annotations"] = json!(container.annotations);
    }
    if container.init {
        config["Init"] = json!(true);
    }
    config
}

/// The limits among what was asked for, devices and the kernel's paths: the second half of HostConfig.
fn limits_of(container: &Container) -> Value {
    let paths = |paths: &[&str]| if container.privileged || container.unmasked { Value::Null } else { json!(paths) };
    let devices = |limits: &[DeviceLimit], key: &str| -> Vec<Value> {
        limits.iter().map(|limit| json!({ "Path": limit.device, key: limit.value })).collect()
    };
    let resources = &container.resources;
    json!({
        "CpuShares": resources.cpu_shares.unwrap_or(0),
        "Memory": resources.memory_bytes.unwrap_or(0),
        "NanoCpus": resources.nano_cpus.unwrap_or(0),
        "CgroupParent": container.cgroup_parent.as_deref().unwrap_or_default(),
        "BlkioWeight": resources.block.weight.unwrap_or(0),
        "BlkioWeightDevice": devices(&resources.block.device_weights, "Weight"),
        "BlkioDeviceReadBps": devices(&resources.block.read_bps, "Rate"),
        "BlkioDeviceWriteBps": devices(&resources.block.write_bps, "Rate"),
        "BlkioDeviceReadIOps": devices(&resources.block.read_iops, "Rate"),
        "BlkioDeviceWriteIOps": devices(&resources.block.write_iops, "Rate"),
        "CpuPeriod": resources.cpu_period_us.unwrap_or(0),
        "CpuQuota": resources.cpu_quota_us.unwrap_or(0),
        "CpuRealtimePeriod": resources.cpu_rt_period_us.unwrap_or(0),
        "CpuRealtimeRuntime": resources.cpu_rt_runtime_us.unwrap_or(0),
        "CpusetCpus": resources.cpuset_cpus.as_deref().unwrap_or_default(),
        "CpusetMems": resources.cpuset_mems.as_deref().unwrap_or_default(),
        "Devices": container.devices.iter().map(|device| json!({
            "PathOnHost": device.source, "PathInContainer": device.target, "CgroupPermissions": device.access,
        })).collect::<Vec<_>>(),
        "DeviceCgroupRules": if container.device_rules.is_empty() { Value::Null } else { json!(container.device_rules) },
        "DeviceRequests": if container.cdi_devices.is_empty() { Value::Null } else { json!([{
            "Driver": "cdi", "Count": 0, "DeviceIDs": container.cdi_devices, "Capabilities": null, "Options": null,
        }]) },
        "MemoryReservation": resources.memory_reservation_bytes.unwrap_or(0),
        "MemorySwap": resources.memory_swap_bytes.unwrap_or(0),
        "MemorySwappiness": resources.memory_swappiness,
        "OomKillDisable": resources.oom_kill_disable,
        "PidsLimit": resources.pids,
        "Ulimits": container.ulimits.iter().map(|(name, limit)| json!({
            "Name": name, "Hard": limit.hard, "Soft": limit.soft,
        })).collect::<Vec<_>>(),
        "CpuCount": 0,
        "CpuPercent": 0,
        "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0,
        "MaskedPaths": paths(MASKED_PATHS),
        "ReadonlyPaths": paths(READ_ONLY_PATHS),
    })
}

/// As `-v` writes it; anonymous volumes are no binds.
fn bind(mount: &Mount) -> Option<String> {
    let source = match &mount.source {
        MountSource::Bind { path, .. } => path,
        MountSource::Volume { name, .. } => name.as_ref()?,
        MountSource::Tmpfs { .. } | MountSource::Image { .. } => return None,
    };
    Some(format!("{source}:{}{}", mount.target, if mount.read_only { ":ro" } else { "" }))
}

/// As `--tmpfs` writes it: its target, and its options.
fn temporary(mount: &Mount) -> Option<(String, Value)> {
    let MountSource::Tmpfs { size_bytes, mode, options } = &mount.source else { return None };
    let mut words: Vec<String> = options.clone();
    words.extend(size_bytes.map(|size| format!("size={size}")));
    words.extend(mode.map(|mode| format!("mode={mode:o}")));
    words.extend(mount.read_only.then(|| "ro".to_owned()));
    Some((mount.target.clone(), json!(words.join(","))))
}

fn security_options(container: &Container) -> Vec<String> {
    let mut options = Vec::new();
    if container.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    match &container.seccomp {
        SeccompMode::Default => {}
        SeccompMode::Unconfined => options.push("seccomp=unconfined".to_owned()),
        SeccompMode::Profile(profile) => options.push(format!("seccomp={profile}")),
    }
    options.extend(container.apparmor.iter().map(|profile| format!("apparmor={profile}")));
    options
}

/// What runs: the image's configuration with what was asked for over it.
fn config_of(view: &ContainerView, image: &Config) -> Value {
    let (record, container) = (&view.record, &view.record.container);
    let mut env: Vec<String> = container
        .env
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={value}")))
        .collect();
    let is_own = |text: &&String| text.split_once('=').is_some_and(|(name, _)| container.env.contains_key(name));
    env.extend(image.env.iter().filter(|text| !is_own(text)).cloned());
    let own_entrypoint = container.entrypoint.is_some();
    let mut config = json!({
        "Hostname": container.hostname.clone().unwrap_or_else(|| record.short_id().to_owned()),
        "Domainname": container.domainname.as_deref().unwrap_or_default(),
        "User": container.user.as_ref().unwrap_or(&image.user),
        "AttachStdin": false,
        "AttachStdout": false,
        "AttachStderr": false,
    });
    let ports: Map<String, Value> = served(container, image).into_iter().map(|port| (port, json!({}))).collect();
    if !ports.is_empty() {
        config["ExposedPorts"] = Value::Object(ports);
    }
    let volumes: Map<String, Value> = record
        .volumes
        .iter()
        .filter(|(_, used)| used.anonymous)
        .map(|(target, _)| (target.clone(), json!({})))
        .collect();
    let rest = json!({
        "Tty": container.tty,
        "OpenStdin": container.open_stdin,
        "StdinOnce": container.stdin_once,
        "Env": env,
        "Cmd": container.command.as_ref().or(image.cmd.as_ref().filter(|_| !own_entrypoint)),
        "Healthcheck": container.effective_healthcheck(image),
        "Image": container.image,
        "Volumes": if volumes.is_empty() { Value::Null } else { Value::Object(volumes) },
        "WorkingDir": container.working_dir.as_ref().unwrap_or(&image.working_dir),
        "Entrypoint": container.entrypoint.as_ref().or(image.entrypoint.as_ref()),
        "OnBuild": null,
        "Labels": view.labels,
        "StopSignal": container.stop_signal.as_ref().or(image.stop_signal.as_ref()),
        "StopTimeout": container.stop_timeout_ms.map(|time| time / 1000),
        "Shell": image.shell,
    });
    // Docker leaves these out where nobody has said anything.
    const OPTIONAL: [&str; 4] = ["Healthcheck", "StopSignal", "StopTimeout", "Shell"];
    if let (Some(config), Value::Object(rest)) = (config.as_object_mut(), rest) {
        config.extend(rest.into_iter().filter(|(key, value)| !(value.is_null() && OPTIONAL.contains(&key.as_str()))));
    }
    config
}

/// `80/tcp`: exposed by image and container, and published.
fn served(container: &Container, image: &Config) -> BTreeSet<String> {
    let text = |port: &PortMapping| format!("{}/{}", port.container_port, port.protocol);
    let mut ports: BTreeSet<String> = exposed(container, image).into_iter().collect();
    ports.extend(container.ports.iter().map(text));
    ports
}

fn network_settings(view: &ContainerView, endpoints: &[Endpoint], pid: i32) -> Value {
    let container = &view.record.container;
    let mut ports: BTreeMap<String, Value> = view.exposed.iter().map(|port| (port.clone(), Value::Null)).collect();
    for port in &view.ports {
        let binding = json!({ "HostIp": port.address, "HostPort": port.host_port.to_string() });
        match ports.entry(format!("{}/{}", port.container_port, port.protocol)).or_default() {
            Value::Array(bindings) => bindings.push(binding),
            place => *place = Value::Array(vec![binding]),
        }
    }
    let mut networks = Map::new();
    match &container.network {
        NetworkMode::Host => drop(networks.insert("host".into(), endpoint_settings(None))),
        NetworkMode::None => drop(networks.insert("none".into(), endpoint_settings(None))),
        NetworkMode::Container(_) => {}
        NetworkMode::Networks(wanted) => {
            if !view.is_active() {
                networks.extend(wanted.iter().map(|one| (one.network.clone(), endpoint_settings(None))));
            }
        }
    }
    networks.extend(endpoints.iter().map(|one| (one.network.clone(), endpoint_settings(Some(one)))));
    // Docker repeats the default network's here.
    let first = endpoints.iter().find(|one| one.network == carrack_network::DEFAULT_NETWORK);
    let text = |of: fn(&Endpoint) -> String| first.map(of).unwrap_or_default();
    json!({
        "Bridge": "",
        "SandboxID": if pid > 0 { view.record.id.as_str() } else { "" },
        "SandboxKey": if pid > 0 { format!("/proc/{pid}/ns/net") } else { String::new() },
        "Ports": ports,
        "HairpinMode": false,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": null,
        "SecondaryIPv6Addresses": null,
        "EndpointID": text(endpoint_id),
        "Gateway": text(|one| one.gateway.to_string()),
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "IPAddress": text(|one| one.address.to_string()),
        "IPPrefixLen": first.map_or(0, |one| one.prefix),
        "IPv6Gateway": "",
        "MacAddress": text(|one| one.mac.to_string()),
        "Networks": networks,
    })
}

/// The container's place on one network, as far as it has one.
fn endpoint_settings(endpoint: Option<&Endpoint>) -> Value {
    let text = |of: fn(&Endpoint) -> String| endpoint.map(of).unwrap_or_default();
    let ipv6 = endpoint.and_then(|one| one.ipv6);
    json!({
        "IPAMConfig": null,
        "Links": null,
        "Aliases": null,
        "MacAddress": text(|one| one.mac.to_string()),
        "DriverOpts": null,
        "GwPriority": endpoint.map_or(0, |one| one.gateway_priority),
        "NetworkID": text(|one| one.network_id.clone()),
        "EndpointID": text(endpoint_id),
        "Gateway": text(|one| one.gateway.to_string()),
        "IPAddress": text(|one| one.address.to_string()),
        "IPPrefixLen": endpoint.map_or(0, |one| one.prefix),
        "IPv6Gateway": ipv6.map(|place| place.gateway.to_string()).unwrap_or_default(),
        "GlobalIPv6Address": ipv6.map(|place| place.address.to_string()).unwrap_or_default(),
        "GlobalIPv6PrefixLen": ipv6.map_or(0, |place| place.prefix),
        "DNSNames": endpoint.map(|one| &one.names),
    })
}

fn log_options(log: &LogConfig) -> Value {
    let mut options = json!({ "max-size": log.max_size_bytes.to_string(), "max-file": log.max_files.to_string() });
    if log.compress {
        options["compress"] = "true".into();
    }
    if let Some(bytes) = log.buffer_bytes {
        options["mode"] = "non-blocking".into();
        options["max-buffer-size"] = bytes.to_string().into();
    }
    options
}
