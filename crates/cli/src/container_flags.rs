//! From the flags of `run` and `create` to the container that is wanted.

use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Healthcheck;
use carrack_oci::probe::{self, OnUnhealthy};
use carrack_specgen::Container;
use carrack_specgen::container::{BlockLimits, DeviceLimit, IpcMode, NamespaceMode, Resources, SeccompMode};

use crate::arguments::ContainerFlags;
use crate::arguments::limits::LimitFlags;
use crate::{codes, docker_config, flags, mount_flags};

/// The container that the flags describe. Relative paths count from `folder`.
pub(crate) fn container(given: &ContainerFlags, image: &str, command: &[String], folder: &Path) -> Result<Container> {
    refuse(given)?;
    let mut container = Container {
        name: given.name.clone().unwrap_or_default(),
        image: image.to_owned(),
        // `--entrypoint ""` drops the image's entrypoint and its command.
        entrypoint: given.entrypoint.as_ref().map(
            |program| {
                if program.is_empty() { Vec::new() } else { vec![program.clone()] }
            },
        ),
        command: (!command.is_empty()).then(|| command.to_vec()),
        user: given.user.clone(),
        group_add: given.group_add.clone(),
        // Scripts give variables that may be empty.
        working_dir: filled(&given.workdir).map(absolute_in_container).transpose()?,
        hostname: filled(&given.hostname).map(str::to_owned),
        domainname: given.domainname.clone(),
        tty: given.tty,
        open_stdin: given.interactive,
        read_only: given.read_only,
        shm_size_bytes: given.shm_size.as_deref().map(|text| flags::size_bytes("--shm-size", text)).transpose()?,
        network: crate::network_flags::networks(given)?,
        expose: given.expose.iter().map(|text| flags::expose(text)).collect::<Result<_>>()?,
        publish_all: given.publish_all,
        dns: given.dns.clone(),
        dns_search: given.dns_search.clone(),
        dns_options: given.dns_option.clone(),
        pid: namespace("--pid", given.pid.as_deref())?,
        ipc: ipc(given.ipc.as_deref())?,
        uts: namespace("--uts", given.uts.as_deref())?,
        cgroupns: namespace("--cgroupns", given.cgroupns.as_deref())?,
        privileged: given.privileged,
        cap_add: given.cap_add.clone(),
        cap_drop: given.cap_drop.clone(),
        init: given.init,
        oom_score_adj: given.oom_score_adj,
        resources: resources(given)?,
        stop_signal: given.stop_signal.clone(),
        stop_timeout_ms: given.stop_timeout.map(flags::seconds_ms),
        healthcheck: healthcheck(given)?,
        on_unhealthy: on_unhealthy(given)?,
        restart: given.restart.as_deref().map(flags::restart).transpose()?.unwrap_or_default(),
        auto_remove: given.rm,
        log: flags::log(given.log_driver.as_deref(), &given.log_opt)?,
        platform: given.platform.clone(),
        volumes_from: given.volumes_from.clone(),
        device_rules: given.limits.device_cgroup_rule.clone(),
        cgroup_parent: given.limits.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
        runtime: given.runtime.as_deref().and_then(carrack_specgen::external::named),
        links: given.link.iter().map(|text| flags::link(text)).collect::<Result<_>>()?,
        ..Container::default()
    };
    for file in &given.env_file {
        container.env.extend(env_file(&folder.join(file))?);
    }
    for (name, value) in docker_config::proxies() {
        container.env.entry(name).or_insert(Some(value));
    }
    for text in &given.env {
        let (name, value) = flags::env(text)?;
        container.env.insert(name, value);
    }
    for file in &given.label_file {
        for line in lines(&read(&folder.join(file))?) {
            container.labels.extend([key_and_value("--label-file", line)?]);
        }
    }
    for text in &given.label {
        container.labels.extend([key_and_value("--label", text)?]);
    }
    for text in &given.annotation {
        container.annotations.extend([key_and_value("--annotation", text)?]);
    }
    for text in &given.volume {
        container.mounts.push(mount_flags::volume(text, folder)?);
    }
    for text in &given.mount {
        container.mounts.push(mount_flags::mount(text, folder)?);
    }
    for text in &given.tmpfs {
        container.mounts.push(mount_flags::tmpfs(text)?);
    }
    for text in &given.device {
        if carrack_oci::is_device_name(text) {
            container.cdi_devices.push(text.clone());
        } else {
            container.devices.push(flags::device(text)?);
        }
    }
    for text in &given.publish {
        container.ports.extend(flags::ports(text)?);
    }
    for text in &given.add_host {
        container.extra_hosts.push(flags::add_host(text)?);
    }
    for text in &given.sysctl {
        let (name, value) = text.split_once('=').ok_or_else(|| flags::invalid("--sysctl", text, "NAME=VALUE"))?;
        container.sysctls.insert(name.to_owned(), value.to_owned());
    }
    for text in &given.ulimit {
        let (name, limit) = flags::ulimit(text)?;
        container.ulimits.insert(name, limit);
    }
    for text in &given.security_opt {
        security_option(&mut container, text, folder)?;
    }
    if container.auto_remove && !matches!(container.restart, carrack_specgen::container::RestartPolicy::No) {
        return Err(flags::invalid("--rm", "true", "either --rm or --restart: they contradict each other"));
    }
    Ok(container)
}

fn key_and_value(flag: &str, text: &str) -> Result<(String, String)> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("", _) => Err(flags::invalid(flag, text, "KEY or KEY=VALUE")),
        (key, value) => Ok((key.to_owned(), value.to_owned())),
    }
}

fn filled(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

/// Flags that may ask for what is so anyway, and for nothing else (I-6).
fn refuse(given: &ContainerFlags) -> Result<()> {
    for (flag, value, accepted, cause) in [
        ("--isolation", &given.isolation, "default", "Linux has no other technology"),
        ("--userns", &given.userns, "host", "the identities of a container are those of the host"),
        ("--volume-driver", &given.volume_driver, "local", "other drivers are plugins of Docker's daemon"),
    ] {
        let Some(value) = value.as_ref().filter(|value| !value.is_empty() && *value != accepted) else { continue };
        return Err(Diagnostic::error(&codes::REFUSED, format!("`{flag} {value}` is refused"))
            .cause(format!("{cause}: `{flag} {accepted}`"))
            .hint("leave it out; nothing was changed")
            .boxed());
    }
    Ok(())
}

fn ipc(value: Option<&str>) -> Result<IpcMode> {
    Ok(match value {
        None | Some("" | "private") => IpcMode::Private,
        Some("shareable") => IpcMode::Shareable,
        Some("none") => IpcMode::None,
        Some("host") => IpcMode::Host,
        Some(other) => match other.strip_prefix("container:").filter(|name| !name.is_empty()) {
            Some(name) => IpcMode::Container(name.to_owned()),
            None => return Err(flags::invalid("--ipc", other, "private, shareable, none, host or container:NAME")),
        },
    })
}

fn absolute_in_container(path: &str) -> Result<String> {
    if path.starts_with('/') {
        return Ok(path.to_owned());
    }
    Err(flags::invalid("--workdir", path, "an absolute path"))
}

fn namespace(flag: &str, value: Option<&str>) -> Result<NamespaceMode> {
    match value {
        None | Some("" | "private") => Ok(NamespaceMode::Private),
        Some("host") => Ok(NamespaceMode::Host),
        Some(other) => match other.strip_prefix("container:").filter(|_| flag == "--pid") {
            Some(name) if !name.is_empty() => Ok(NamespaceMode::Container(name.to_owned())),
            _ if flag == "--pid" => Err(flags::invalid(flag, other, "private, host or container:NAME")),
            _ => Err(flags::invalid(flag, other, "private or host")),
        },
    }
}

fn resources(given: &ContainerFlags) -> Result<Resources> {
    let size =
        |flag: &str, text: &Option<String>| text.as_deref().map(|text| flags::size_bytes(flag, text)).transpose();
    let swap = match given.memory_swap.as_deref() {
        Some("-1") => Some(-1),
        Some(text) => i64::try_from(flags::size_bytes("--memory-swap", text)?).ok(),
        None => None,
    };
    Ok(Resources {
        memory_bytes: size("--memory", &given.memory)?,
        memory_swap_bytes: swap,
        memory_reservation_bytes: size("--memory-reservation", &given.memory_reservation)?,
        nano_cpus: given.cpus.as_deref().map(|text| flags::nano_cpus("--cpus", text)).transpose()?,
        cpu_shares: given.cpu_shares,
        cpuset_cpus: given.cpuset_cpus.clone(),
        pids: given.pids_limit,
        cpu_period_us: given.limits.cpu_period,
        cpu_quota_us: given.limits.cpu_quota,
        cpu_rt_period_us: given.limits.cpu_rt_period,
        cpu_rt_runtime_us: given.limits.cpu_rt_runtime,
        cpuset_mems: given.limits.cpuset_mems.clone(),
        memory_swappiness: match given.limits.memory_swappiness {
            None | Some(-1) => None,
            Some(number) => Some(u64::try_from(number).map_err(|_| {
                flags::invalid("--memory-swappiness", &number.to_string(), "a number from 0 to 100, or -1")
            })?),
        },
        oom_kill_disable: given.limits.oom_kill_disable,
        block: block_limits(&given.limits)?,
    })
}

fn block_limits(given: &LimitFlags) -> Result<BlockLimits> {
    let sizes = |flag: &str, texts: &[String]| -> Result<Vec<DeviceLimit>> {
        texts.iter().map(|text| flags::device_limit(flag, text, flags::size_bytes)).collect()
    };
    let number = |flag: &str, text: &str| text.parse().map_err(|_| flags::invalid(flag, text, "a whole number"));
    let numbers = |flag: &str, texts: &[String]| -> Result<Vec<DeviceLimit>> {
        texts.iter().map(|text| flags::device_limit(flag, text, number)).collect()
    };
    Ok(BlockLimits {
        weight: given.blkio_weight,
        device_weights: numbers("--blkio-weight-device", &given.blkio_weight_device)?,
        read_bps: sizes("--device-read-bps", &given.device_read_bps)?,
        write_bps: sizes("--device-write-bps", &given.device_write_bps)?,
        read_iops: numbers("--device-read-iops", &given.device_read_iops)?,
        write_iops: numbers("--device-write-iops", &given.device_write_iops)?,
    })
}

fn on_unhealthy(given: &ContainerFlags) -> Result<OnUnhealthy> {
    let Some(text) = &given.health_on_failure else { return Ok(OnUnhealthy::default()) };
    OnUnhealthy::parse(text).ok_or_else(|| flags::invalid("--health-on-failure", text, OnUnhealthy::FORMS))
}

fn healthcheck(given: &ContainerFlags) -> Result<Option<Healthcheck>> {
    if given.no_healthcheck {
        return Ok(Some(Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() }));
    }
    let time = |flag: &str, text: &Option<String>| match text.as_deref() {
        None => Ok(0),
        Some(text) => match flags::duration_ns(flag, text)? {
            1..1_000_000 => Err(flags::invalid(flag, text, "1ms or more, or 0 for what the image says")),
            time_ns => Ok(time_ns),
        },
    };
    let test = match (&given.health_cmd, &given.health_probe) {
        (Some(line), _) => vec!["CMD-SHELL".to_owned(), line.clone()],
        (None, Some(probe)) => {
            probe::test_of(probe).map_err(|wrong| flags::invalid("--health-probe", probe, &wrong))?
        }
        (None, None) => Vec::new(),
    };
    let check = Healthcheck {
        test,
        interval: time("--health-interval", &given.health_interval)?,
        timeout: time("--health-timeout", &given.health_timeout)?,
        start_period: time("--health-start-period", &given.health_start_period)?,
        start_interval: time("--health-start-interval", &given.health_start_interval)?,
        retries: given.health_retries.unwrap_or_default(),
    };
    Ok((check != Healthcheck::default()).then_some(check))
}

fn security_option(container: &mut Container, text: &str, folder: &Path) -> Result<()> {
    let (key, value) = text.split_once(['=', ':']).unwrap_or((text, "true"));
    match (key, value) {
        ("no-new-privileges", "true") => container.no_new_privileges = true,
        ("no-new-privileges", "false") => container.no_new_privileges = false,
        ("seccomp", "unconfined") => container.seccomp = SeccompMode::Unconfined,
        ("seccomp", "builtin") => container.seccomp = SeccompMode::Default,
        ("seccomp", path) => container.seccomp = SeccompMode::Profile(read(&folder.join(path))?),
        // Containers here are not labelled. Where the host has no SELinux, Docker takes every label too.
        ("label", "disable") => {}
        ("label", _) if !Path::new("/sys/fs/selinux/enforce").exists() => {}
        ("label", _) => {
            return Err(Diagnostic::error(&codes::NOT_YET, format!("`--security-opt {text}` is not there yet"))
                .cause("containers get no SELinux label of their own")
                .hint("leave it out, or say label=disable")
                .boxed());
        }
        ("apparmor", profile) => container.apparmor = Some(profile.to_owned()),
        ("systempaths", "unconfined") => container.unmasked = true,
        ("writable-cgroups", "true") => container.writable_cgroups = true,
        ("writable-cgroups", "false") => container.writable_cgroups = false,
        _ => {
            return Err(flags::invalid(
                "--security-opt",
                text,
                "no-new-privileges, seccomp=unconfined, seccomp=FILE, apparmor=PROFILE, systempaths=unconfined, \
                 writable-cgroups=true or label=disable",
            ));
        }
    }
    Ok(())
}

/// Lines of NAME=VALUE or NAME, `#` comments; quotes are literal, as in Docker (not as in Compose).
pub(crate) fn env_file(path: &Path) -> Result<Vec<(String, Option<String>)>> {
    entries(path, &read(path)?)
}

pub(crate) fn entries(path: &Path, text: &str) -> Result<Vec<(String, Option<String>)>> {
    let mut entries = Vec::new();
    for line in lines(text) {
        let (name, value) = flags::env(line)?;
        if name.contains(char::is_whitespace) {
            return Err(flags::invalid(
                &format!("--env-file {}", path.display()),
                line,
                "NAME=VALUE, with no white space in the name",
            ));
        }
        entries.push((name, value));
    }
    Ok(entries)
}

/// The lines of a file that are neither empty nor comments.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim_start);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// A text file that the command line names.
pub(crate) fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Diagnostic::error(&codes::UNREADABLE_FILE, format!("can't read {}", path.display()))
            .cause(error.to_string())
            .hint("check the path and its permissions")
            .boxed()
    })
}
