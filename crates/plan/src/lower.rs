use std::collections::{BTreeMap, BTreeSet};

use carrack_compose::Project;
use carrack_compose::project as compose;
use carrack_diag::{Diagnostic, Diagnostics, Span};
use carrack_oci::{Digest, Healthcheck};
use carrack_specgen::Container;
use carrack_specgen::container::{
    Attachment, BlockLimits, DeviceLimit, DeviceMapping, File, IpcMode, LogConfig, LogDriver, Mount, MountSource,
    NamespaceMode, NetworkMode, PortMapping, Protocol, Resources, RestartPolicy, SeccompMode, Ulimit,
};

use crate::{
    Condition, Dependency, Desired, DesiredService, FileVersion, Network, Replica, Subnet, Update, Volume, codes, label,
};

/// The kernel's limit of ports on a bridge, without the bridge's own.
const MAX_REPLICAS: u32 = 1_023;

/// What has to be known beside the Compose files.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// By service.
    pub images: BTreeMap<String, Image>,
    /// The vault's versions of secrets, by their name in the file.
    pub secrets: BTreeMap<String, String>,
    /// The vault's versions of configs, by their name in the file.
    pub configs: BTreeMap<String, String>,
    /// Numbers of replicas that the command line asks for, by service.
    pub scale: BTreeMap<String, u32>,
    /// The services that will be touched ([`selection`]); all where empty. The others may lack an image or a secret:
    /// they are lowered without containers.
    pub selected: BTreeSet<String>,
    /// Whether the plan is only to be shown: an image that is not here counts as one that will be made.
    pub provisional: bool,
    /// Services whose image will be built before, and be one that nobody knows yet; with what makes it so. Of plans that
    /// are only shown.
    pub unbuilt: BTreeMap<String, String>,
}

/// The services that a command names, with all that they depend on unless that is not wanted; all where none is named.
pub fn selection(project: &Project, named: &[String], without_dependencies: bool) -> BTreeSet<String> {
    if named.is_empty() {
        return project.services.keys().cloned().collect();
    }
    let mut selected = BTreeSet::new();
    let mut rest: Vec<&str> = named.iter().map(String::as_str).collect();
    while let Some(name) = rest.pop() {
        let Some(service) = project.services.get(name) else { continue };
        if selected.insert(service.name.clone()) && !without_dependencies {
            rest.extend(service.depends_on.keys().map(String::as_str));
        }
    }
    selected
}

/// The image that a service's name for it stands for at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// The digest of its configuration.
    pub id: Digest,
    /// Whether its configuration has a health check.
    pub has_healthcheck: bool,
}

/// The name of the image that a service runs: its `image`, or the name its build is given.
pub fn image_name(project: &Project, service: &compose::Service) -> String {
    match &service.image {
        Some(image) => image.value.clone(),
        None => format!("{}-{}", project.name, service.name),
    }
}

/// The name of a service's replica.
pub fn container_name(project: &Project, service: &compose::Service, number: u32) -> String {
    match &service.container_name {
        Some(name) => name.value.clone(),
        None => format!("{}-{}-{number}", project.name, service.name),
    }
}

/// The state that a project asks for. Only networks and volumes that a service uses are in it.
///
/// # Errors
/// An image or the content of a secret or config is not among `inputs`.
pub fn lower(project: &Project, inputs: &Inputs) -> Result<Desired, Diagnostics> {
    let mut diagnostics = Vec::new();
    let mut desired =
        Desired { project: project.name.clone(), model: carrack_compose::render::json(project), ..Desired::default() };
    let mut files = BTreeSet::new();
    let jobs = jobs(project);
    for service in project.services.values() {
        let needed = inputs.selected.is_empty() || inputs.selected.contains(&service.name);
        let mut lowered = DesiredService {
            dependencies: dependencies(service),
            job: jobs.contains(service.name.as_str()),
            update: update(service),
            origin: vec![service.span],
            ..DesiredService::default()
        };
        if let Some(why) = absence(service, inputs).filter(|_| needed) {
            desired.absent_images.insert(image_name(project, service), why);
        }
        let Some(image) = image(project, service, inputs) else {
            if needed {
                diagnostics.push(image_unresolved(project, service));
            }
            lowered.unresolved = true;
            desired.services.insert(service.name.clone(), lowered);
            continue;
        };
        let replicas = replica_count(service, inputs);
        if replicas > MAX_REPLICAS {
            diagnostics.push(too_many_replicas(service, replicas));
            continue;
        }
        for number in 1..=replicas {
            let container = match container(project, service, number, inputs) {
                Ok(container) => container,
                Err(_) if !needed => {
                    lowered.unresolved = true;
                    break;
                }
                Err(mut problems) => {
                    problems.retain(|problem| !diagnostics.contains(problem));
                    diagnostics.append(&mut problems);
                    continue;
                }
            };
            files.extend(container.files.iter().map(|file| FileVersion {
                name: file.name.clone(),
                version: file.version.clone(),
                secret: file.secret,
            }));
            let health_checked = match &service.healthcheck {
                Some(check) if check.is_disabled() => false,
                Some(check) if !check.effective_test().is_empty() => true,
                _ => image.has_healthcheck,
            };
            lowered.replicas.push(Replica { number, image: image.id, health_checked, container });
        }
        networks(project, service, &mut desired);
        volumes(project, service, &mut desired);
        desired.services.insert(service.name.clone(), lowered);
    }
    desired.files = files.into_iter().collect();
    if diagnostics.is_empty() { Ok(desired) } else { Err(diagnostics) }
}

/// Why the image of a service is one that a plan which is only shown has to count on; none where it is known.
fn absence(service: &compose::Service, inputs: &Inputs) -> Option<String> {
    let is_absent = inputs.provisional && !inputs.images.contains_key(&service.name);
    let unbuilt = inputs.unbuilt.get(&service.name).map(|why| format!("has to be built: {why}"));
    unbuilt.or_else(|| is_absent.then(|| "is not here: it has to be built or pulled first".to_owned()))
}

/// The image of a service; where a plan is only to be shown, a stand-in for one that is not known yet.
fn image(project: &Project, service: &compose::Service, inputs: &Inputs) -> Option<Image> {
    let present = inputs.images.get(&service.name);
    if absence(service, inputs).is_none() {
        return present.cloned();
    }
    let id = Digest::of(format!("absent: {}", image_name(project, service)));
    // The best guess for what will be built is what was.
    Some(Image { id, has_healthcheck: present.is_some_and(|image| image.has_healthcheck) })
}

/// What is said of a service whose image is not here.
pub fn image_unresolved(project: &Project, service: &compose::Service) -> Diagnostic {
    let name = image_name(project, service);
    let span = service.image.as_ref().map_or(service.span, |image| image.span);
    let hint = match &service.build {
        Some(_) => format!("build it: `carrack build {}`", service.name),
        None => "bring it with `carrack pull` or `carrack load`, or make a base with `carrack image bootstrap`".into(),
    };
    let message = format!("the image {name} of the service `{}` is not here", service.name);
    Diagnostic::error(&codes::IMAGE_UNRESOLVED, message).at(span, "asked for here").hint(hint)
}

fn too_many_replicas(service: &compose::Service, replicas: u32) -> Diagnostic {
    let message = format!("`{}` can't have {replicas} replicas", service.name);
    let span = service.replicas.as_ref().map_or(service.span, |replicas| replicas.span);
    Diagnostic::error(&codes::TOO_MANY_REPLICAS, message)
        .at(span, "asked for here")
        .hint(format!("a bridge has room for {MAX_REPLICAS}"))
}

fn replica_count(service: &compose::Service, inputs: &Inputs) -> u32 {
    let written = service.replicas.as_ref().map_or(1, |replicas| replicas.value);
    inputs.scale.get(&service.name).copied().unwrap_or(written)
}

/// The services whose completion another one waits for.
fn jobs(project: &Project) -> BTreeSet<&str> {
    let dependencies = project.services.values().flat_map(|service| &service.depends_on);
    let awaited =
        dependencies.filter(|(_, dependency)| dependency.condition == compose::Condition::CompletedSuccessfully);
    awaited.map(|(name, _)| name.as_str()).collect()
}

fn update(service: &compose::Service) -> Update {
    service.update.map_or_else(Update::default, |update| Update {
        parallelism: update.parallelism,
        start_first: update.start_first,
    })
}

fn dependencies(service: &compose::Service) -> Vec<Dependency> {
    let lower = |(name, dependency): (&String, &compose::Dependency)| Dependency {
        service: name.clone(),
        condition: match dependency.condition {
            compose::Condition::Started => Condition::Running,
            compose::Condition::Healthy => Condition::Healthy,
            compose::Condition::CompletedSuccessfully => Condition::CompletedSuccessfully,
        },
        required: dependency.required,
        restart: dependency.restart,
        shares_namespace: dependency.kind == compose::DependencyKind::SharedNamespace,
    };
    service.depends_on.iter().map(lower).collect()
}

fn networks(project: &Project, service: &compose::Service, desired: &mut Desired) {
    for key in service.networks.keys() {
        let Some(network) = project.networks.get(key) else { continue };
        let mut labels = plain(&network.labels);
        if !network.external {
            labels.insert(label::PROJECT.into(), project.name.clone());
            labels.insert(label::NETWORK.into(), key.clone());
        }
        let subnet = |subnet: &compose::Subnet| Subnet {
            subnet: subnet.subnet.as_ref().map(|range| range.value.clone()).unwrap_or_default(),
            gateway: subnet.gateway.as_ref().map(|gateway| gateway.value.to_string()),
            ip_range: subnet.ip_range.as_ref().map(|range| range.value.clone()),
            reserved: subnet.reserved.clone(),
        };
        let lowered = Network {
            name: network.name.value.clone(),
            external: network.external,
            driver: network.driver.as_ref().map(|driver| driver.value.clone()).unwrap_or_default(),
            driver_options: network.driver_options.clone(),
            internal: network.internal,
            without_ipv4: !network.ipv4,
            ipv6: network.ipv6,
            attachable: network.attachable,
            subnets: network.subnets.iter().map(subnet).collect(),
            labels,
            origin: network.span.into_iter().collect(),
        };
        desired.networks.insert(lowered.name.clone(), lowered);
    }
}

fn volumes(project: &Project, service: &compose::Service, desired: &mut Desired) {
    for mount in &service.volumes {
        let compose::MountKind::Volume { source: Some(source), .. } = &mount.kind else { continue };
        let Some(volume) = project.volumes.get(&source.value) else { continue };
        let mut labels = plain(&volume.labels);
        if !volume.external {
            labels.insert(label::PROJECT.into(), project.name.clone());
            labels.insert(label::VOLUME.into(), source.value.clone());
        }
        let lowered = Volume {
            name: volume.name.value.clone(),
            external: volume.external,
            driver: volume.driver.as_ref().map(|driver| driver.value.clone()).unwrap_or_default(),
            driver_options: volume.driver_options.clone(),
            labels,
            origin: vec![volume.span],
        };
        desired.volumes.insert(lowered.name.clone(), lowered);
    }
}

fn plain(labels: &BTreeMap<String, carrack_diag::Spanned<String>>) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect()
}

/// The container of one replica. A one-off container is made from it by changing what the command line says.
///
/// # Errors
/// The image or the content of a secret or config is not among `inputs`.
pub fn container(
    project: &Project,
    service: &compose::Service,
    number: u32,
    inputs: &Inputs,
) -> Result<Container, Diagnostics> {
    let Some(image) = image(project, service, inputs) else {
        return Err(vec![image_unresolved(project, service)]);
    };
    let text = |value: &Option<carrack_diag::Spanned<String>>| value.as_ref().map(|text| text.value.clone());
    let texts = |values: &[carrack_diag::Spanned<String>]| values.iter().map(|text| text.value.clone()).collect();
    let (paths, names): (Vec<_>, Vec<_>) =
        service.devices.iter().partition(|device| device.value.source.starts_with('/'));
    let (paths, names) = (paths.into_iter(), names.into_iter());
    let mut container = Container {
        name: container_name(project, service, number),
        image: image_name(project, service),
        entrypoint: service.entrypoint.as_ref().map(|words| words.value.clone()),
        command: service.command.as_ref().map(|words| words.value.clone()),
        env: service.environment.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect(),
        user: text(&service.user),
        group_add: texts(&service.group_add),
        working_dir: text(&service.working_dir),
        hostname: text(&service.hostname),
        domainname: text(&service.domainname),
        labels: plain(&service.labels),
        tty: service.tty,
        open_stdin: service.stdin_open,
        mounts: service.volumes.iter().map(|mount| lower_mount(project, mount)).collect(),
        files: lower_files(service, inputs)?,
        read_only: service.read_only,
        shm_size_bytes: service.shm_size_bytes,
        devices: paths.map(|device| lower_device(&device.value)).collect(),
        cdi_devices: names.map(|device| device.value.source.clone()).collect(),
        network: network_mode(project, service, number),
        ports: service.ports.iter().filter_map(|port| lower_port(port, number)).collect(),
        extra_hosts: service.extra_hosts.iter().map(|host| host.value.clone()).collect(),
        dns: service.dns.iter().map(|server| server.value).collect(),
        dns_search: texts(&service.dns_search),
        dns_options: texts(&service.dns_options),
        pid: namespace(project, service.pid.as_ref()),
        ipc: ipc(project, service),
        uts: namespace(project, service.uts.as_ref()),
        cgroupns: namespace(project, service.cgroup.as_ref()),
        privileged: service.privileged,
        cap_add: texts(&service.cap_add),
        cap_drop: texts(&service.cap_drop),
        sysctls: plain(&service.sysctls),
        annotations: plain(&service.tuning.annotations),
        device_rules: texts(&service.tuning.device_rules),
        runtime: service.tuning.runtime.as_ref().and_then(|runtime| carrack_specgen::external::named(&runtime.value)),
        cgroup_parent: text(&service.tuning.cgroup_parent),
        ulimits: service.ulimits.iter().map(|(name, limit)| (name.clone(), lower_ulimit(limit.value))).collect(),
        init: service.init.unwrap_or(false),
        oom_score_adj: service.oom_score_adj,
        resources: resources(service),
        stop_signal: text(&service.stop_signal),
        stop_timeout_ms: service.stop_grace_period_ns.map(|period| period / 1_000_000),
        healthcheck: service.healthcheck.as_ref().map(healthcheck),
        on_unhealthy: service.healthcheck.as_ref().map(|check| check.on_unhealthy).unwrap_or_default(),
        restart: service.restart.as_ref().map(|restart| restart_policy(restart.value)).unwrap_or_default(),
        log: service.logging.as_ref().map(log).unwrap_or_default(),
        platform: text(&service.platform),
        ..Container::default()
    };
    security_options(service, &mut container);
    compose_labels(project, service, number, &image, &mut container);
    Ok(container)
}

fn lower_mount(project: &Project, mount: &compose::Mount) -> Mount {
    let source = match &mount.kind {
        compose::MountKind::Bind { source, create, propagation, recursive, writable_below } => MountSource::Bind {
            path: source.value.clone(),
            create: *create,
            propagation: propagation.clone(),
            non_recursive: !recursive,
            writable_below: *writable_below,
        },
        compose::MountKind::Volume { source, subpath, no_copy } => MountSource::Volume {
            name: source.as_ref().map(|source| {
                let volume = project.volumes.get(&source.value);
                volume.map_or_else(|| source.value.clone(), |volume| volume.name.value.clone())
            }),
            subpath: subpath.clone().unwrap_or_default(),
            no_copy: *no_copy,
            settings: Default::default(),
        },
        compose::MountKind::Tmpfs { size_bytes, mode, options } => {
            MountSource::Tmpfs { size_bytes: *size_bytes, mode: *mode, options: options.clone() }
        }
    };
    Mount { target: mount.target.value.clone(), source, read_only: mount.read_only, identities: None }
}

fn lower_files(service: &compose::Service, inputs: &Inputs) -> Result<Vec<File>, Diagnostics> {
    let mut files = Vec::new();
    let mut diagnostics = Vec::new();
    for (grants, versions, secret) in
        [(&service.secrets, &inputs.secrets, true), (&service.configs, &inputs.configs, false)]
    {
        for grant in grants {
            let name = &grant.source.value;
            let Some(version) = versions.get(name) else {
                diagnostics.push(file_unresolved(name, secret, grant.source.span));
                continue;
            };
            files.push(File {
                name: name.clone(),
                target: grant.target.clone(),
                version: version.clone(),
                secret,
                uid: grant.uid.as_ref().map_or(0, |uid| uid.value),
                gid: grant.gid.as_ref().map_or(0, |gid| gid.value),
                // The specification: writable bits are ignored.
                mode: grant.mode.unwrap_or(0o444) & !0o222,
            });
        }
    }
    if diagnostics.is_empty() { Ok(files) } else { Err(diagnostics) }
}

fn file_unresolved(name: &str, secret: bool, span: Span) -> Diagnostic {
    let kind = if secret { "secret" } else { "config" };
    Diagnostic::error(&codes::FILE_UNRESOLVED, format!("the {kind} `{name}` has no content"))
        .at(span, "granted here")
        .hint(format!("look at `{kind}s.{name}`: its file has to be readable, its variable set"))
}

fn lower_device(device: &compose::Device) -> DeviceMapping {
    DeviceMapping { source: device.source.clone(), target: device.target.clone(), access: device.permissions.clone() }
}

fn network_mode(project: &Project, service: &compose::Service, number: u32) -> NetworkMode {
    match service.network_mode.as_ref().map(|mode| &mode.value) {
        Some(compose::NamespaceTarget::Host) => return NetworkMode::Host,
        Some(compose::NamespaceTarget::None) => return NetworkMode::None,
        Some(compose::NamespaceTarget::Private | compose::NamespaceTarget::Shareable) => {
            return NetworkMode::default();
        }
        Some(compose::NamespaceTarget::Container(name)) => return NetworkMode::Container(name.clone()),
        Some(compose::NamespaceTarget::Service(name)) => {
            return NetworkMode::Container(first_container(project, name));
        }
        None => {}
    }
    let mut attachments: Vec<(&String, &compose::NetworkAttachment)> = service.networks.iter().collect();
    // The order of connecting; the map is sorted by name, and this sort keeps that order among equals.
    attachments.sort_by_key(|(_, attachment)| std::cmp::Reverse((attachment.priority, attachment.gateway_priority)));
    let lower = |(key, attachment): (&String, &compose::NetworkAttachment)| {
        let mut aliases = vec![service.name.clone()];
        aliases.extend(attachment.aliases.iter().map(|alias| alias.value.clone()));
        aliases.extend(link_aliases(project, &service.name, key));
        let own = container_name(project, service, number);
        let mut seen = BTreeSet::new();
        aliases.retain(|alias| *alias != own && seen.insert(alias.clone()));
        Attachment {
            network: project.networks.get(key).map_or_else(|| key.clone(), |network| network.name.value.clone()),
            aliases,
            ipv4: attachment.ipv4.as_ref().map(|address| address.value),
            ipv6: attachment.ipv6.as_ref().map(|address| address.value),
            mac: attachment.mac.as_ref().map(|mac| mac.value.clone()),
            link_local: attachment.link_local.iter().map(|address| address.value).collect(),
            links: Vec::new(),
            gateway_priority: attachment.gateway_priority,
            driver_options: attachment.driver_options.clone(),
            interface: attachment.interface.as_ref().map(|name| name.value.clone()),
        }
    };
    NetworkMode::Networks(attachments.into_iter().map(lower).collect())
}

/// The names that other services on a network have for `service` through their links.
fn link_aliases(project: &Project, service: &str, network: &str) -> Vec<String> {
    let neighbours = project.services.values().filter(|other| other.networks.contains_key(network));
    let links = neighbours.flat_map(|other| &other.links).filter(|link| link.value.0 == service);
    links.map(|link| link.value.1.clone()).collect()
}

fn first_container(project: &Project, service: &str) -> String {
    let known = project.services.get(service);
    known.map_or_else(|| service.to_owned(), |service| container_name(project, service, 1))
}

/// From a range each replica takes the port of its number. None where the range is used up.
fn lower_port(port: &compose::Port, number: u32) -> Option<PortMapping> {
    let host_port = match port.published {
        None => None,
        Some((low, high)) if low == high => Some(low),
        Some((low, high)) => {
            let offset = u16::try_from(number - 1).ok()?;
            Some(low.checked_add(offset).filter(|port| *port <= high)?)
        }
    };
    Some(PortMapping {
        host_address: port.host_ip,
        host_port,
        container_port: port.target,
        protocol: if port.protocol == "udp" { Protocol::Udp } else { Protocol::Tcp },
    })
}

fn namespace(project: &Project, target: Option<&carrack_diag::Spanned<compose::NamespaceTarget>>) -> NamespaceMode {
    match target.map(|target| &target.value) {
        None
        | Some(
            compose::NamespaceTarget::Private | compose::NamespaceTarget::None | compose::NamespaceTarget::Shareable,
        ) => NamespaceMode::Private,
        Some(compose::NamespaceTarget::Host) => NamespaceMode::Host,
        Some(compose::NamespaceTarget::Container(name)) => NamespaceMode::Container(name.clone()),
        Some(compose::NamespaceTarget::Service(name)) => NamespaceMode::Container(first_container(project, name)),
    }
}

/// A service that others share the memory of is shareable, whether it says so or not.
fn ipc(project: &Project, service: &compose::Service) -> IpcMode {
    let is_this = |target: &compose::NamespaceTarget| match target {
        compose::NamespaceTarget::Service(name) => *name == service.name,
        _ => false,
    };
    let mut others = project.services.values().filter_map(|other| other.ipc.as_ref());
    match service.ipc.as_ref().map(|target| &target.value) {
        Some(compose::NamespaceTarget::Host) => IpcMode::Host,
        Some(compose::NamespaceTarget::Container(name)) => IpcMode::Container(name.clone()),
        Some(compose::NamespaceTarget::Service(name)) => IpcMode::Container(first_container(project, name)),
        Some(compose::NamespaceTarget::None) => IpcMode::None,
        Some(compose::NamespaceTarget::Shareable) => IpcMode::Shareable,
        None | Some(compose::NamespaceTarget::Private) if others.any(|target| is_this(&target.value)) => {
            IpcMode::Shareable
        }
        None | Some(compose::NamespaceTarget::Private) => IpcMode::Private,
    }
}

fn lower_ulimit((soft, hard): (i64, i64)) -> Ulimit {
    Ulimit { soft, hard }
}

fn block_limits(block: &compose::BlockLimits) -> BlockLimits {
    let limits = |limits: &[compose::BlockLimit]| {
        limits.iter().map(|limit| DeviceLimit { device: limit.device.clone(), value: limit.value }).collect()
    };
    BlockLimits {
        weight: block.weight,
        device_weights: limits(&block.device_weights),
        read_bps: limits(&block.read_bps),
        write_bps: limits(&block.write_bps),
        read_iops: limits(&block.read_iops),
        write_iops: limits(&block.write_iops),
    }
}

fn resources(service: &compose::Service) -> Resources {
    let tuning = &service.tuning;
    Resources {
        memory_bytes: service.limits.memory_bytes.as_ref().map(|memory| memory.value),
        memory_swap_bytes: service.memory_swap_bytes,
        memory_reservation_bytes: service.reservations.memory_bytes.as_ref().map(|memory| memory.value),
        nano_cpus: service.limits.nano_cpus.as_ref().map(|cpus| cpus.value),
        cpu_shares: service.cpu_shares.or(service.reservations.nano_cpus.as_ref().map(|cpus| weight(cpus.value))),
        cpuset_cpus: service.cpuset.as_ref().map(|cpus| cpus.value.clone()),
        pids: service.limits.pids.as_ref().map(|pids| pids.value),
        cpu_period_us: tuning.cpu_period_us,
        cpu_quota_us: tuning.cpu_quota_us,
        cpu_rt_period_us: tuning.cpu_rt_period_us,
        cpu_rt_runtime_us: tuning.cpu_rt_runtime_us.and_then(|time| i64::try_from(time).ok()),
        cpuset_mems: None,
        memory_swappiness: tuning.memory_swappiness,
        oom_kill_disable: tuning.oom_kill_disable,
        block: block_limits(&tuning.block),
    }
}

/// Processors are reserved as a weight: where the host is busy, containers share it in this proportion.
fn weight(nano_cpus: u64) -> u64 {
    const ONE: u64 = 1_000_000_000;
    const WEIGHT_OF_ONE: u64 = 1024;
    const LEAST: u64 = 2;
    (nano_cpus.saturating_mul(WEIGHT_OF_ONE) / ONE).max(LEAST)
}

fn healthcheck(check: &compose::Healthcheck) -> Healthcheck {
    Healthcheck {
        test: check.effective_test(),
        interval: check.interval_ns.unwrap_or(0),
        timeout: check.timeout_ns.unwrap_or(0),
        start_period: check.start_period_ns.unwrap_or(0),
        start_interval: check.start_interval_ns.unwrap_or(0),
        retries: check.retries.unwrap_or(0),
    }
}

fn restart_policy(restart: compose::Restart) -> RestartPolicy {
    match restart {
        compose::Restart::No => RestartPolicy::No,
        compose::Restart::Always => RestartPolicy::Always,
        compose::Restart::UnlessStopped => RestartPolicy::UnlessStopped,
        compose::Restart::OnFailure(max_retries) => RestartPolicy::OnFailure { max_retries },
    }
}

/// Options that can't be read were reported when the file was checked.
fn log(logging: &compose::Logging) -> LogConfig {
    let driver = match logging.driver.as_ref().map(|driver| driver.value.as_str()) {
        Some("local") => LogDriver::Local,
        Some("none") => LogDriver::None,
        _ => LogDriver::JsonFile,
    };
    let mut log = LogConfig { driver, ..LogConfig::default() };
    let option = |name: &str| logging.options.get(name).map(|value| value.value.as_str());
    if let Some(size) = option("max-size").and_then(carrack_compose::units::size_bytes) {
        log.max_size_bytes = size;
    }
    if let Some(files) = option("max-file").and_then(|files| files.parse().ok()) {
        log.max_files = files;
    }
    let names = |list: &str| list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    log.labels = option("labels").map(names).unwrap_or_default();
    log.env = option("env").map(names).unwrap_or_default();
    log.labels_regex = option("labels-regex").map(str::to_owned);
    log.env_regex = option("env-regex").map(str::to_owned);
    log.tag = option("tag").filter(|tag| !tag.is_empty()).map(str::to_owned);
    log.compress = option("compress") == Some("true");
    let buffer_bytes = option("max-buffer-size").and_then(carrack_compose::units::size_bytes);
    log.buffer_bytes =
        option("mode").filter(|mode| *mode == "non-blocking").map(|_| buffer_bytes.unwrap_or(LogConfig::BUFFER_BYTES));
    log
}

/// Options that are unknown were reported when the file was checked.
fn security_options(service: &compose::Service, container: &mut Container) {
    for option in &service.security_opt {
        let (key, value) = option.value.split_once([':', '=']).unwrap_or((&option.value, ""));
        match (key, value) {
            ("no-new-privileges", value) => container.no_new_privileges = value != "false",
            ("apparmor", profile) => container.apparmor = Some(profile.to_owned()),
            ("seccomp", "unconfined") => container.seccomp = SeccompMode::Unconfined,
            ("seccomp", _) => {
                container.seccomp = service.seccomp_profile.clone().map_or(SeccompMode::Default, SeccompMode::Profile);
            }
            ("systempaths", "unconfined") => container.unmasked = true,
            ("writable-cgroups", value) => container.writable_cgroups = value == "true",
            _ => {}
        }
    }
}

fn compose_labels(
    project: &Project,
    service: &compose::Service,
    number: u32,
    image: &Image,
    container: &mut Container,
) {
    let depends_on: Vec<String> = service
        .depends_on
        .iter()
        .map(|(name, dependency)| format!("{name}:{}:{}", dependency.condition.as_str(), dependency.restart))
        .collect();
    let labels = [
        (label::PROJECT, project.name.clone()),
        (label::SERVICE, service.name.clone()),
        (label::NUMBER, number.to_string()),
        (label::CONFIG_HASH, config_hash(container)),
        (label::ONE_OFF, "False".to_owned()),
        (label::DEPENDS_ON, depends_on.join(",")),
        (label::CONFIG_FILES, project.files.join(",")),
        (label::WORKING_DIR, project.directory.clone()),
        (label::IMAGE, image.id.to_string()),
    ];
    container.labels.extend(labels.map(|(name, value)| (name.to_owned(), value)));
}

/// The same for all replicas of a service.
fn config_hash(container: &Container) -> String {
    let nameless = Container { name: String::new(), ..container.clone() };
    // Plain data with text keys: writing it can't fail.
    Digest::of(serde_json::to_vec(&nameless).unwrap_or_default()).hex()
}
