use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use carrack_diag::{Diagnostic, Result};
use carrack_network::{
    DNS_ADDRESS, Endpoint, Namespace, NamespaceBirth, Networks, Publication, Transport, who_listens,
};
use carrack_oci::probe::{self, Probe};
use carrack_oci::runtime::Spec;
use carrack_oci::{Config, Healthcheck};
use carrack_runtime::cgroup::{Cgroup, Membership};
use carrack_runtime::host;
use carrack_runtime::shim::{
    self, CgroupName, DnsConfig, EventCommand, HealthConfig, HealthProbe, LogConfig, Seed, ShimConfig, ShimRequest,
    StartError,
};
use carrack_runtime::state::{State, Status};
use carrack_specgen::container::{NamespaceMode, NetworkMode, PortMapping, Protocol};
use carrack_specgen::init_plan::RootSource;
use carrack_specgen::{Container, ExecRequest, External, HostFacts, InitPlan, Launch, Resolved};
use carrack_store::Image;

use super::attach::{AttachOptions, AttachOutcome, Session};
use super::exec::SPEC_FILE;
use super::files::hostname_of;
use super::log_attributes::log_attributes;
use super::logs::LOG_FILE;
use super::{ContainerRecord, cdi, devices, event, external};
use crate::codes;
use crate::engine::{Engine, host_error};
use crate::events::{EVENTS_FILE, attributes_of};

/// What a container may ask for by name, in its folder on the run root.
const NAMES_FILE: &str = "names";

/// A container that `run` has started.
#[derive(Debug)]
pub struct Started {
    /// 64 hexadecimal digits.
    pub id: String,
    /// How the attached client ended; nobody was attached where it is `Detached`.
    pub attached: Result<AttachOutcome>,
}

/// Why nothing runs, and the exit code that Docker gives for it where it gives one (126, 127).
#[derive(Debug)]
pub struct RunFailure {
    /// What to tell.
    pub diagnostic: Box<Diagnostic>,
    /// Of the command.
    pub exit_code: Option<u8>,
}

impl From<Box<Diagnostic>> for RunFailure {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        Self { diagnostic, exit_code: None }
    }
}

/// Everything on the host that a start has made and a failed one gives back.
struct Ground {
    run: PathBuf,
    namespace: Option<Namespace>,
    endpoints: Vec<Endpoint>,
    facts: HostFacts,
}

/// What a start was decided to be.
struct Decision {
    spec: Spec,
    /// Who carries it out, where it is not ours.
    external: Option<External>,
    launch: Launch,
    plan: InitPlan,
}

impl Engine {
    /// Makes a container and starts it; with `attach`, stays with it until it ends or is detached from. `made` is told
    /// its id before it starts.
    pub fn run(
        &self,
        container: Container,
        attach: Option<AttachOptions>,
        made: &dyn Fn(&str) -> Result<()>,
    ) -> Result<Started, RunFailure> {
        let namespace = own_namespace(&container.network);
        let (record, guard) = self.create_held(container)?;
        let told = made(&record.id).map_err(RunFailure::from);
        let started = told.and_then(|()| self.launch_locked(&record, namespace, attach.as_ref(), true));
        drop(guard);
        let session = match started {
            Ok(session) => session,
            Err(failure) => {
                match record.container.auto_remove {
                    true => self.remove_record(&record, true)?,
                    false => self.unmark_active(&record.id, None)?,
                }
                return Err(failure);
            }
        };
        let attached = session.map_or(Ok(AttachOutcome::Detached), |session| self.stay(&record, session));
        if matches!(attached, Ok(AttachOutcome::Exited(_))) {
            self.put_away(&record)?;
        }
        Ok(Started { id: record.id, attached })
    }

    /// Starts a container that does not run.
    pub fn start(&self, name: &str) -> Result<()> {
        let record = self.find(name)?;
        self.refuse_paused(&record, "be started")?;
        self.start_record(&record)
    }

    pub(crate) fn start_record(&self, record: &ContainerRecord) -> Result<()> {
        self.launch(record, None, true).map(drop).map_err(|failure| failure.diagnostic)
    }

    /// Starts a container that does not answer to its names on its networks before they are announced.
    pub(crate) fn start_unannounced(&self, record: &ContainerRecord) -> Result<()> {
        self.launch(record, None, false).map(drop).map_err(|failure| failure.diagnostic)
    }

    /// Starts a container and stays with it.
    pub fn start_attached(&self, name: &str, attach: AttachOptions) -> Result<AttachOutcome> {
        let record = self.find(name)?;
        self.refuse_paused(&record, "be started")?;
        let session = self.launch(&record, Some(&attach), true).map_err(|failure| failure.diagnostic)?;
        match session {
            Some(session) => {
                let outcome = self.stay(&record, session)?;
                if let AttachOutcome::Exited(_) = outcome {
                    self.put_away(&record)?;
                }
                Ok(outcome)
            }
            None => self.attach(name, &attach),
        }
    }

    /// The session is there where one was asked for and the container did not run already.
    fn launch(
        &self,
        record: &ContainerRecord,
        attach: Option<&AttachOptions>,
        announced: bool,
    ) -> std::result::Result<Option<Session>, RunFailure> {
        let _guard = self.lock_container(&record.id)?;
        self.launch_locked(record, None, attach, announced)
    }

    /// `namespace` where it is being made already.
    fn launch_locked(
        &self,
        record: &ContainerRecord,
        namespace: Option<NamespaceBirth>,
        attach: Option<&AttachOptions>,
        announced: bool,
    ) -> std::result::Result<Option<Session>, RunFailure> {
        let record = &self.still(record)?;
        external::still_there(record)?;
        let image = self.store.unnamed_image(&record.image)?;
        if let Some(state) = self.state(&record.id)? {
            match state.actual_status() {
                Status::Running | Status::Paused | Status::Restarting => return Ok(None),
                Status::Lost | Status::Exited => {
                    self.dismiss_shim(&record.id, &state)?;
                    self.tear_down(record)?;
                    self.forget_volatile(record, &image)?;
                }
                Status::Created => {}
            }
        }
        let intent = self.store.container_dir(&record.id)?.join(event::STOP_INTENT);
        if intent.exists() {
            std::fs::remove_file(&intent).map_err(|error| host_error("can't take back the wish to stop", error))?;
        }
        // Born beside all that comes before they are needed.
        let namespace = namespace.or_else(|| own_namespace(&record.container.network));
        let launched = self.sow(record).and_then(|seed| {
            let ground = self.ground(record, namespace, announced)?;
            self.launch_on(record, &image, &ground, seed, attach)
        });
        if launched.is_err() {
            self.tear_down(record)?;
        }
        launched
    }

    /// The kernel refuses an overlay that was mounted without syncing before, lest a power failure was in between. Here
    /// none was: the state is of this boot.
    pub(crate) fn forget_volatile(&self, record: &ContainerRecord, image: &Image) -> Result<()> {
        if !record.container.auto_remove {
            return Ok(());
        }
        let mark = self.store.prepare_upper(&record.id, image.chain())?.work.join("work/incompat/volatile");
        match std::fs::remove_dir_all(&mark) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(host_error(format!("can't remove {}", mark.display()), error))
            }
            _ => Ok(()),
        }
    }

    fn sow(&self, record: &ContainerRecord) -> std::result::Result<Seed, RunFailure> {
        let shims = Cgroup::of_shims(self.hierarchies()?, &self.cgroup_parent())?;
        Seed::sow(Some(shims)).map_err(|error| self.start_failure(record, &error))
    }

    /// Run folder, network namespace with its addresses, control groups.
    fn ground(&self, record: &ContainerRecord, namespace: Option<NamespaceBirth>, announced: bool) -> Result<Ground> {
        self.mark_active(&record.id)?;
        let run = self.store.container_run_dir(&record.id)?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&run)
            .map_err(|error| host_error(format!("can't make {}", run.display()), error))?;
        let attachments = match &record.container.network {
            NetworkMode::Networks(attachments) => attachments.as_slice(),
            _ => &[],
        };
        let links = self.linked(record, attachments)?;
        let namespace = namespace.map(NamespaceBirth::wait).transpose()?;
        let endpoints = match (&record.container.network, &namespace) {
            (NetworkMode::Networks(attachments), Some(namespace)) => {
                let mut wanted: Vec<carrack_network::Attachment> = attachments
                    .iter()
                    .map(|attachment| attachment_of(record, attachment, announced))
                    .collect::<Result<_>>()?;
                wanted.iter_mut().for_each(|one| one.links.extend(links.iter().cloned()));
                let networks = Networks::new(&self.store);
                let endpoints = self.with_leases(|| networks.attach(&record.id, namespace, &wanted))?;
                self.emit_endpoints("connect", &endpoints);
                endpoints
            }
            _ => Vec::new(),
        };
        let facts = host::facts(self.hierarchies()?)?;
        Ok(Ground { run, namespace, endpoints, facts })
    }

    fn launch_on(
        &self,
        record: &ContainerRecord,
        image: &Image,
        ground: &Ground,
        seed: Seed,
        attach: Option<&AttachOptions>,
    ) -> std::result::Result<Option<Session>, RunFailure> {
        let decision = self.decide(record, image, ground)?;
        let resources = decision.spec.linux.resources.clone().unwrap_or_default();
        // Its files stay open no longer than this: the shim opens its own.
        let parent = self.cgroup_parent_of(Some(&record.container));
        let membership = Membership::of(&decision.spec);
        drop(Cgroup::create(self.hierarchies()?, &parent, &record.id, &resources, membership)?);
        let config = self.shim_config(record, &image.config.config, ground, &decision)?;
        if !ground.endpoints.is_empty() {
            self.update_names(ground.endpoints.iter().map(|endpoint| endpoint.network.as_str()))?;
            self.write_own_names(&record.id)?;
        }
        let request = ShimRequest {
            config: &config,
            plan: &decision.plan,
            network_namespace: ground.namespace.as_ref().map(AsFd::as_fd),
        };
        let failed = |error: StartError| self.start_failure(record, &error);
        let prepared = seed.prepare(&request).map_err(failed)?;
        self.mark_shim(&record.id, prepared.shim_pid(), None)?;
        if let (Some(ports), Some(namespace)) = (prepared.dns(), &ground.namespace) {
            namespace.redirect_dns(ports.udp, ports.tcp)?;
        }
        if !ground.endpoints.is_empty() && !prepared.ports().is_empty() {
            Networks::new(&self.store).publish(&ground.endpoints, &publications(prepared.ports()))?;
        }
        let session =
            attach.map(|options| Session::open(&ground.run, options, record.container.auto_remove)).transpose()?;
        self.emit_mounts(record);
        if session.is_some() {
            self.emit_as(record, &image.config.config, "attach", &[]);
        }
        prepared.go().map_err(failed)?;
        self.note_start(record);
        Ok(session)
    }

    /// Gives a new shim to a container whose own was killed. Ports, names and addresses stay as they are.
    pub(crate) fn adopt(&self, record: &ContainerRecord, state: &State) -> Result<()> {
        let image = self.store.unnamed_image(&record.image)?;
        let namespace = match &record.container.network {
            NetworkMode::Networks(_) | NetworkMode::None => {
                Some(Namespace::open(Path::new(&format!("/proc/{}/ns/net", state.pid)))?)
            }
            NetworkMode::Host | NetworkMode::Container(_) => None,
        };
        let ground = Ground {
            run: self.store.container_run_dir(&record.id)?,
            namespace,
            endpoints: Networks::new(&self.store).endpoints_of(&record.id)?,
            facts: host::facts(self.hierarchies()?)?,
        };
        let decision = self.decide(record, &image, &ground)?;
        let mut config = self.shim_config(record, &image.config.config, &ground, &decision)?;
        if let Some(dns) = &mut config.dns {
            dns.ports = state.dns;
        }
        for port in config.ports.iter_mut().filter(|port| port.host_port == 0) {
            let bound = state.ports.iter().find(|bound| {
                bound.container_port == port.container_port
                    && bound.protocol == port.protocol
                    && bound.host.ip() == port.host_address
            });
            port.host_port = bound.map_or(0, |bound| bound.host.port());
        }
        let request = ShimRequest {
            config: &config,
            plan: &decision.plan,
            network_namespace: ground.namespace.as_ref().map(AsFd::as_fd),
        };
        let seed = self.sow(record).map_err(|failure| failure.diagnostic)?;
        let adopted = seed.adopt(&request, state).map_err(|error| self.start_failure(record, &error).diagnostic)?;
        self.mark_shim(&record.id, adopted.shim_pid, Some(state.shim_pid))?;
        if !config.ports.is_empty() {
            // What the kernel was told may be gone, and what it may do another.
            Networks::new(&self.store).judge_kernel_path()?;
        }
        Ok(())
    }

    fn decide(&self, record: &ContainerRecord, image: &Image, ground: &Ground) -> Result<Decision> {
        let facts = &ground.facts;
        let upper = self.store.prepare_upper(&record.id, image.chain())?;
        let lower = self.store.container_lower_dirs(image.chain())?;
        // Who shares a network shares its names as well, as in Docker.
        let (mut container, etc) = match &record.container.network {
            NetworkMode::Container(name) => {
                let other = self.owner_of_network(name)?;
                let hostname = Some(hostname_of(&other));
                let domainname = other.container.domainname.clone();
                let container = Container { hostname, domainname, ..record.container.clone() };
                (Cow::Owned(container), self.store.container_run_dir(&other.id)?)
            }
            _ => {
                self.write_etc(record, &ground.endpoints, &ground.run)?;
                (Cow::Borrowed(&record.container), ground.run.clone())
            }
        };
        let brought = match container.cdi_devices.is_empty() {
            true => cdi::Brought::default(),
            false => cdi::inject(container.to_mut())?,
        };
        let mut devices = devices::resolve(&container)?;
        devices.extend(brought.nodes);
        let path = |name: &str| Some(etc.join(name).to_string_lossy().into_owned());
        let resolved = Resolved {
            id: record.id.clone(),
            rootfs: self.mountpoint()?.to_string_lossy().into_owned(),
            cgroup: format!("{}/{}", self.cgroup_parent_of(Some(&record.container)), record.id),
            sources: self.sources(record, image, &ground.run)?,
            hosts: path("hosts"),
            resolv_conf: path("resolv.conf"),
            hostname_file: path("hostname"),
            devices,
            namespaces: self.shared_namespaces(&container)?,
            network_inherited: ground.namespace.is_some(),
            block_devices: devices::block_numbers(&container)?,
            shared_memory: self.shared_memory(&container, &ground.run)?,
        };
        let config = &image.config.config;
        let mut spec = carrack_specgen::spec(&container, config, facts, &resolved)?;
        spec.mounts.extend(brought.mounts);
        let root = RootSource::Overlay {
            lower: lower.iter().map(|path| path.to_string_lossy().into_owned()).collect(),
            upper: Some(upper.upper.to_string_lossy().into_owned()),
            work: Some(upper.work.to_string_lossy().into_owned()),
            volatile: record.container.auto_remove,
        };
        let mut launch = carrack_specgen::launch(&container, config, &resolved, root);
        launch.layers = self.image_layers(record, &resolved.sources)?;
        let path = ground.run.join(SPEC_FILE);
        let external = external::of(record, &ground.run, &path);
        let (spec, plan) = match &external {
            None => {
                let plan = carrack_specgen::init_plan(&spec, &launch, facts)?;
                (spec, plan)
            }
            Some(external) => {
                let group = self.hierarchies()?.path_of(&resolved.cgroup);
                carrack_specgen::external::plan(&spec, &launch, external, &group.to_string_lossy())
            }
        };
        // Plain data: writing it as text can't fail.
        std::fs::write(&path, serde_json::to_vec(&spec).unwrap_or_default())
            .map_err(|error| host_error(format!("can't write {}", path.display()), error))?;
        Ok(Decision { spec, external, launch, plan })
    }

    fn shim_config(
        &self,
        record: &ContainerRecord,
        image: &Config,
        ground: &Ground,
        decision: &Decision,
    ) -> Result<ShimConfig> {
        let container = &record.container;
        let check = container.effective_healthcheck(image);
        let health = check.map(|check| health(&check, image, decision, &ground.facts)).transpose()?;
        let dns = match ground.endpoints.is_empty() {
            true => None,
            false => Some(self.dns_config(container, ground)?),
        };
        Ok(ShimConfig {
            id: record.id.clone(),
            attributes: attributes_of(record, image),
            folder: ground.run.clone(),
            events: self.roots().run.join(EVENTS_FILE),
            log: LogConfig {
                driver: container.log.driver,
                path: self.store.container_dir(&record.id)?.join(LOG_FILE),
                max_size_bytes: container.log.max_size_bytes,
                max_files: container.log.max_files,
                attributes: log_attributes(record, image)?,
                buffer_bytes: container.log.buffer_bytes,
                compress: container.log.compress,
            },
            cgroup: Some(CgroupName { parent: self.cgroup_parent_of(Some(container)), id: record.id.clone() }),
            tty: container.tty,
            open_stdin: container.open_stdin,
            stdin_once: container.stdin_once,
            health,
            event_command: Some(self.event_command(&record.id)),
            dns,
            external: decision.external.clone(),
            ports: published(container, ground, self.host_binding(ground)?),
        })
    }

    /// Where the network that gives the default route has ports published that name no address.
    fn host_binding(&self, ground: &Ground) -> Result<Option<IpAddr>> {
        let Some(endpoint) = ground.endpoints.iter().find(|endpoint| endpoint.is_gateway) else { return Ok(None) };
        Ok(Networks::new(&self.store).get(&endpoint.network)?.and_then(|network| network.host_binding))
    }

    fn event_command(&self, id: &str) -> EventCommand {
        let roots = self.roots();
        let args = [
            "carrack",
            "--root",
            &roots.data.to_string_lossy(),
            "--run-root",
            &roots.run.to_string_lossy(),
            event::VERB,
            id,
        ];
        EventCommand {
            program: None,
            args: args.map(str::to_owned).to_vec(),
            env: vec!["PATH=/usr/sbin:/usr/bin:/sbin:/bin".into()],
        }
    }

    fn dns_config(&self, container: &Container, ground: &Ground) -> Result<DnsConfig> {
        let servers =
            if container.dns.is_empty() { carrack_network::host_resolvers()?.servers } else { container.dns.clone() };
        Ok(DnsConfig {
            address: DNS_ADDRESS.into(),
            ports: None,
            names: ground.run.join(NAMES_FILE),
            upstreams: servers.into_iter().map(|address| (address, 53).into()).collect(),
        })
    }

    /// What went wrong with a start, with what the engine knows beside the shim: who holds a port.
    fn start_failure(&self, record: &ContainerRecord, error: &StartError) -> RunFailure {
        let mut diagnostic = error.diagnostic();
        if let StartError::Port { host, protocol, errno } = error
            && *errno == rustix::io::Errno::ADDRINUSE.raw_os_error()
        {
            diagnostic = Diagnostic::error(
                &codes::PORT_BUSY,
                format!("{}: port {host}/{protocol} of the host is in use", record.name),
            );
            if let Some(holder) = who_listens(host.ip(), host.port(), transport_of(*protocol)) {
                diagnostic = diagnostic.cause(self.describe_holder(&holder));
            }
            diagnostic = diagnostic.hint("stop the holder, or publish on another port");
        } else {
            diagnostic.message = format!("{} could not be started", record.name);
        }
        let exit_code = u8::try_from(error.exit_status()).ok().filter(|code| *code != 125);
        RunFailure { diagnostic: diagnostic.boxed(), exit_code }
    }

    /// A shim that holds the port does so for its container.
    fn describe_holder(&self, holder: &carrack_network::Holder) -> String {
        let records = self.records().list().unwrap_or_default();
        let container = records.values().find(|record| {
            let state = self.state(&record.id).ok().flatten();
            state.is_some_and(|state| {
                let theirs = [state.shim_pid, state.worker_pid].map(|pid| u32::try_from(pid).ok());
                theirs.contains(&holder.pid) && state.has_shim()
            })
        });
        match container {
            Some(record) => format!("the container {} publishes it", record.name),
            None => format!("{holder} listens there"),
        }
    }

    /// The container whose network it is that the one of this name is on.
    fn owner_of_network(&self, name: &str) -> Result<ContainerRecord> {
        // As far as anybody goes, and no further where they share each other's.
        const LINKS_MAX: usize = 16;
        let mut owner = self.find(name)?;
        for _ in 0..LINKS_MAX {
            let NetworkMode::Container(next) = &owner.container.network else { break };
            owner = self.find(next)?;
        }
        Ok(owner)
    }

    /// Paths of namespaces that the container shares with others, by kind.
    fn shared_namespaces(&self, container: &Container) -> Result<BTreeMap<String, String>> {
        let mut namespaces = BTreeMap::new();
        let network = match &container.network {
            NetworkMode::Container(name) => NamespaceMode::Container(name.clone()),
            _ => NamespaceMode::Private,
        };
        for (kind, file, mode) in [
            ("network", "net", &network),
            ("pid", "pid", &container.pid),
            ("ipc", "ipc", &container.ipc.namespace()),
            ("uts", "uts", &container.uts),
            ("cgroup", "cgroup", &container.cgroupns),
        ] {
            if let NamespaceMode::Container(name) = mode {
                let other = self.find(name)?;
                let state = self.state(&other.id)?.filter(State::is_alive).ok_or_else(|| {
                    Diagnostic::error(&codes::NOT_RUNNING, format!("{} is not running", other.name))
                        .cause(format!("its {kind} namespace was to be shared"))
                        .hint(format!("start it first: `carrack start {}`", other.name))
                        .boxed()
                })?;
                namespaces.insert(kind.to_owned(), format!("/proc/{}/ns/{file}", state.pid));
            }
        }
        Ok(namespaces)
    }

    /// An empty folder that every container's root is attached to, each in a mount namespace of its own.
    pub(crate) fn mountpoint(&self) -> Result<PathBuf> {
        let path = self.roots().run.join("root");
        std::fs::create_dir_all(&path).map_err(|error| host_error(format!("can't make {}", path.display()), error))?;
        Ok(path)
    }

    pub(crate) fn cgroup_parent(&self) -> String {
        format!("carrack-{}", self.store.root_tag())
    }

    /// The group that a container's own lies in: below the one that it asked for, where it did.
    pub(crate) fn cgroup_parent_of(&self, container: Option<&Container>) -> String {
        match container.and_then(|container| container.cgroup_parent.as_deref()) {
            Some(parent) => format!("{}/{}", parent.trim_matches('/'), self.cgroup_parent()),
            None => self.cgroup_parent(),
        }
    }

    /// Writes anew what containers on these networks may ask for by name.
    pub(crate) fn update_names<'a>(&self, networks: impl IntoIterator<Item = &'a str>) -> Result<()> {
        Networks::new(&self.store).write_names(networks)
    }

    /// Writes anew which networks' names a container may ask for, and what it alone knows.
    pub(crate) fn write_own_names(&self, id: &str) -> Result<()> {
        let folder = self.store.container_run_dir(id)?;
        // One that does not run has no folder, and asks nothing.
        if !folder.is_dir() {
            return Ok(());
        }
        Networks::new(&self.store).write_own_names(id, &folder.join(NAMES_FILE))
    }
}

/// Begins to make a container's own network namespace, where it has one, beside what comes before it is needed.
fn own_namespace(network: &NetworkMode) -> Option<NamespaceBirth> {
    match network {
        NetworkMode::Networks(_) | NetworkMode::None => Some(Namespace::begin()),
        NetworkMode::Host | NetworkMode::Container(_) => None,
    }
}

/// The check, and the program of its probe.
fn health(check: &Healthcheck, image: &Config, decision: &Decision, facts: &HostFacts) -> Result<HealthConfig> {
    let own = check.test.split_first().filter(|(kind, _)| *kind == probe::KIND);
    let args = match check.test.split_first() {
        Some((kind, line)) if kind == "CMD-SHELL" => {
            let shell = image.shell.clone().unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
            shell.into_iter().chain([line.join(" ")]).collect()
        }
        Some((kind, words)) if kind == "CMD" => words.to_vec(),
        _ => check.test.clone(),
    };
    let request = ExecRequest { args, ..ExecRequest::default() };
    let probe = match own {
        Some((_, words)) => HealthProbe::Own(Probe::parse(words).map_err(|wrong| {
            Diagnostic::error(
                &codes::INVALID_PROBE,
                format!("the health check `{}` can't be understood", words.join(" ")),
            )
            .cause(wrong)
            .boxed()
        })?),
        None => HealthProbe::Program(carrack_specgen::exec_plan(&decision.spec, &decision.launch, &request, facts)?),
    };
    Ok(HealthConfig {
        probe,
        check: shim::Check {
            interval_ns: check.interval,
            timeout_ns: check.timeout,
            start_period_ns: check.start_period,
            start_interval_ns: check.start_interval,
            retries: check.retries,
        },
    })
}

/// The container's name, its short id and its aliases; Compose's containers have their service's name among those.
pub(super) fn attachment_of(
    record: &ContainerRecord,
    attachment: &carrack_specgen::container::Attachment,
    announced: bool,
) -> Result<carrack_network::Attachment> {
    let mac = attachment.mac.as_deref().map(|text| {
        text.parse().map_err(|_| {
            Diagnostic::error(&codes::HOST, format!("{}: `{text}` is no hardware address", record.name)).boxed()
        })
    });
    let is_link_local = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    if let Some(address) = attachment.link_local.iter().find(|address| !is_link_local(address)) {
        let message = format!("{}: {address} is not a link-local address", record.name);
        return Err(Diagnostic::error(&codes::INVALID_NETWORK, message)
            .hint("they are those of 169.254.0.0/16 and fe80::/10")
            .boxed());
    }
    let mut names = vec![record.container.name.clone(), record.short_id().to_owned()];
    names.extend(attachment.aliases.iter().cloned());
    Ok(carrack_network::Attachment {
        network: attachment.network.clone(),
        names,
        links: attachment.links.clone(),
        address: attachment.ipv4,
        ipv6: attachment.ipv6,
        link_local: attachment.link_local.clone(),
        mac: mac.transpose()?,
        interface: super::connect::interface_of(attachment),
        gateway_priority: attachment.gateway_priority,
        parameters: super::connect::parameters(&record.name, attachment)?,
        withdrawn: !announced,
    })
}

/// Every address of the host is two sockets: IPv4 and IPv6. None where nothing leads there: what is on the host's network
/// listens on the host's ports itself.
fn published(container: &Container, ground: &Ground, binding: Option<IpAddr>) -> Vec<shim::PublishedPort> {
    if !matches!(container.network, NetworkMode::Networks(_)) {
        return Vec::new();
    }
    // Answers leave by the default route, so that is where questions come in.
    let endpoint = ground.endpoints.iter().find(|endpoint| endpoint.is_gateway).or(ground.endpoints.first());
    let address = endpoint.map(|endpoint| endpoint.address.into());
    let ipv6 = endpoint.and_then(|endpoint| endpoint.ipv6).map(|place| place.address);
    let one = |port: &PortMapping, host_address: IpAddr| shim::PublishedPort {
        host_address,
        host_port: port.host_port.unwrap_or(0),
        protocol: port.protocol,
        address,
        ipv6,
        container_port: port.container_port,
    };
    let has_ipv6 = Path::new("/proc/net/if_inet6").exists();
    container
        .ports
        .iter()
        .flat_map(|port| match port.host_address.or(binding) {
            Some(address) => vec![one(port, address)],
            None if has_ipv6 => vec![one(port, [0; 4].into()), one(port, [0u16; 8].into())],
            None => vec![one(port, [0; 4].into())],
        })
        .collect()
}

pub(super) fn publications(bound: &[shim::BoundPort]) -> Vec<Publication> {
    let publication = |port: &shim::BoundPort| Publication {
        host: port.host,
        transport: transport_of(port.protocol),
        container_port: port.container_port,
    };
    bound.iter().map(publication).collect()
}

fn transport_of(protocol: Protocol) -> Transport {
    match protocol {
        Protocol::Tcp => Transport::Tcp,
        Protocol::Udp => Transport::Udp,
    }
}
