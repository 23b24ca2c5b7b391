//! The programs of `RUN`, each in a container of its own.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use carrack_diag::{Diagnostic, Result};
use carrack_llb::Network;
use carrack_oci::Config;
use carrack_runtime::cgroup::{Cgroup, Hierarchies, Membership};
use carrack_runtime::foreground::{self, Streams};
use carrack_runtime::host;
use carrack_runtime::init::{self, Child, InitFailure, SpawnRequest};
use carrack_specgen::container::{Mount, MountSource, NetworkMode, Ulimit};
use carrack_specgen::init_plan::RootSource;
use carrack_specgen::{Container, HostFacts, InitPlan, Resolved};
use carrack_store::{Store, Upper};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::codes;
use crate::exec::{Ended, ExecMountSource, ExecRequest, ExecRequestMount, Executor};
use crate::private;
use crate::progress::Stream;

/// One for all steps that are not told another: a step that writes it down makes the same layer again. As in BuildKit, no
/// variable tells it.
const HOSTNAME: &str = "build";

/// A network that a step has been connected to.
pub struct Connection {
    /// The network namespace; none is the host's.
    pub namespace: Option<OwnedFd>,
    /// The text of the step's /etc/resolv.conf.
    pub resolv_conf: String,
    /// The host as the step reaches it; none where it has no way there but its own loopback.
    pub gateway: Option<IpAddr>,
    /// What keeps the connection; dropped after the step.
    pub hold: Box<dyn Any + Send>,
}

/// Connects steps to the network of builds.
pub trait BuildNetwork: Sync {
    /// Connects the step of this id (64 hexadecimal digits).
    ///
    /// # Errors
    /// Where addresses have run out or the kernel refuses.
    fn connect(&self, id: &str) -> Result<Connection>;

    /// Takes back what a step has left whose build was killed. Such a step may never have been connected.
    ///
    /// # Errors
    /// Where the kernel refuses.
    fn release(&self, id: &str) -> Result<()>;
}

/// The host's own network, as `RUN --network=host` asks for.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostNetwork;

impl BuildNetwork for HostNetwork {
    fn connect(&self, _id: &str) -> Result<Connection> {
        let resolv_conf = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        Ok(Connection { namespace: None, resolv_conf, gateway: None, hold: Box::new(()) })
    }

    fn release(&self, _id: &str) -> Result<()> {
        Ok(())
    }
}

/// Runs steps in containers of this host: Docker's default capabilities and filter, a control group with device rules.
pub struct ContainerExecutor<'a> {
    store: Store,
    network: &'a dyn BuildNetwork,
    hierarchies: Hierarchies,
    facts: HostFacts,
    /// What the control groups of steps are below, where somebody said it.
    cgroup_parent: Option<String>,
}

/// In a step's folder: what its control group is below, so that whoever finds it left over finds that one too.
const CGROUP_PARENT: &str = "cgroup-parent";

impl<'a> ContainerExecutor<'a> {
    /// Steps with the default network are connected by `network`. Ends the steps of builds that were killed, and takes
    /// away what they have left.
    ///
    /// # Errors
    /// Where the kernel does not say what must be known of it, or a leftover can't be taken away.
    pub fn new(store: &Store, network: &'a dyn BuildNetwork) -> Result<Self> {
        let hierarchies = Hierarchies::detect()?;
        let facts = host::facts(&hierarchies)?;
        let executor = Self { store: store.clone(), network, hierarchies, facts, cgroup_parent: None };
        for leftover in private::abandoned(store)? {
            let parent = fs::read_to_string(leftover.path().join(CGROUP_PARENT));
            let parent = parent.unwrap_or_else(|_| executor.cgroup_parent());
            let cgroup = Cgroup::open(&executor.hierarchies, &parent, leftover.id())?;
            cgroup.kill()?;
            cgroup.remove()?;
            network.release(leftover.id())?;
        }
        Ok(executor)
    }

    /// The same with the control groups of steps below another one.
    ///
    /// # Errors
    /// For a path that leads out of the hierarchy.
    pub fn below(self, cgroup_parent: Option<String>) -> Result<Self> {
        cgroup_parent.as_deref().map_or(Ok(()), carrack_specgen::check_cgroup_parent)?;
        Ok(Self { cgroup_parent, ..self })
    }

    fn connect(&self, request: &ExecRequest<'_>) -> Result<Connection> {
        match request.exec.network {
            Network::Default => self.network.connect(request.id),
            Network::Host => HostNetwork.connect(request.id),
            Network::None => {
                Ok(Connection { namespace: None, resolv_conf: String::new(), gateway: None, hold: Box::new(()) })
            }
        }
    }

    /// Where the container's root is attached, in a mount namespace of its own.
    fn mountpoint(&self) -> Result<PathBuf> {
        let path = self.store.roots().run.join("root");
        fs::create_dir_all(&path).map_err(|error| failed("make the root's mount point", &error))?;
        Ok(path)
    }

    fn plan(
        &self,
        request: &ExecRequest<'_>,
        connection: &Connection,
    ) -> Result<(InitPlan, carrack_oci::runtime::Resources, Membership)> {
        let mut container = container(request, connection);
        container.tty = is_in_terminal(request);
        container.cgroup_parent.clone_from(&self.cgroup_parent);
        let mut hosts = format!("127.0.0.1\tlocalhost {}\n::1\tlocalhost\n", hostname(request));
        let gateway = connection.gateway.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_string();
        for (name, address) in &request.exec.settings.hosts {
            let address = if address == "host-gateway" { &gateway } else { address };
            hosts.push_str(&format!("{address}\t{name}\n"));
        }
        for (name, text) in [("hosts", hosts.as_str()), ("resolv.conf", &connection.resolv_conf)] {
            let path = request.folder.join(name);
            let written = fs::write(&path, text).and_then(|()| readable(&path));
            written.map_err(|error| failed("write the step's files", &error))?;
            let source = ExecMountSource::Host(path);
            // Read-only: what a step writes there would be lost, so it is told.
            container.mounts.push(mount(&ExecRequestMount { target: format!("/etc/{name}"), source, read_only: true }));
        }
        let resolved = Resolved {
            id: request.id.to_owned(),
            rootfs: self.mountpoint()?.to_string_lossy().into_owned(),
            cgroup: format!("{}/{}", self.cgroup_parent(), request.id),
            network_inherited: connection.namespace.is_some(),
            ..Resolved::default()
        };
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let overlay = |lower: &[PathBuf], upper: Option<&Upper>| RootSource::Overlay {
            lower: lower.iter().map(text).collect(),
            upper: upper.map(|upper| text(&upper.upper)),
            work: upper.map(|upper| text(&upper.work)),
            volatile: upper.is_some(),
        };
        let root = overlay(&request.lower, Some(&request.upper));
        let image = Config::default();
        let mut spec = carrack_specgen::spec(&container, &image, &self.facts, &resolved)?;
        if !container.env.contains_key("HOSTNAME") {
            spec.process.env.retain(|entry| !entry.starts_with("HOSTNAME="));
        }
        let mut launch = carrack_specgen::launch(&container, &image, &resolved, root);
        launch.terminal_size = foreground::terminal_size();
        launch.layers = (request.mounts.iter())
            .filter_map(|mount| match &mount.source {
                ExecMountSource::Layers { lower, upper, mountpoint, .. } => {
                    Some((overlay(lower, upper.as_ref()), text(mountpoint)))
                }
                _ => None,
            })
            .collect();
        let plan = carrack_specgen::init_plan(&spec, &launch, &self.facts)?;
        let membership = Membership::of(&spec);
        Ok((plan, spec.linux.resources.unwrap_or_default(), membership))
    }

    fn cgroup_parent(&self) -> String {
        let own = format!("carrack-{}", self.store.roots().tag());
        self.cgroup_parent.as_ref().map_or(own.clone(), |parent| format!("{}/{own}", parent.trim_matches('/')))
    }

    fn start_and_wait(
        &self,
        request: &ExecRequest<'_>,
        connection: &Connection,
        plan: &InitPlan,
        cgroup: &Cgroup,
    ) -> Result<i32> {
        if request.attached {
            return self.attach(request, connection, plan, cgroup);
        }
        let pipe = || -> Result<(OwnedFd, OwnedFd)> {
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
                .map_err(|errno| failed("make a pipe", &errno.into()))
        };
        let (out, out_writer) = pipe()?;
        let (error, error_writer) = pipe()?;
        let null = File::open("/dev/null").map_err(|error| failed("open /dev/null", &error))?;
        let spawned = spawn(connection, plan, cgroup, [null.as_fd(), out_writer.as_fd(), error_writer.as_fd()]);
        // The pipes end when the container's copies are closed.
        drop((out_writer, error_writer));
        let child = match spawned {
            Ok(child) => child,
            Err(failure) if matches!(failure.exit_status(), 126 | 127) => {
                (request.output)(Stream::Error, format!("{failure}\n").as_bytes());
                return Ok(failure.exit_status());
            }
            Err(failure) => return Err(not_started(request, &failure)),
        };
        std::thread::scope(|scope| {
            scope.spawn(|| forward(out, Stream::Out, request));
            scope.spawn(|| forward(error, Stream::Error, request));
            let status = wait(&child, request);
            // The rest goes with the first process; what is stuck in the kernel a moment longer is waited for here.
            cgroup.kill()?;
            status
        })
    }

    /// With the streams of this process.
    fn attach(
        &self,
        request: &ExecRequest<'_>,
        connection: &Connection,
        plan: &InitPlan,
        cgroup: &Cgroup,
    ) -> Result<i32> {
        let streams = if is_in_terminal(request) { Streams::none() } else { Streams::pipes(true) };
        let streams = streams.map_err(|error| failed("make pipes", &error))?;
        let child = spawn(connection, plan, cgroup, streams.theirs());
        let child = child.map_err(|failure| not_started(request, &failure))?;
        let status = streams.stay(&child, true, request.cancel);
        cgroup.kill()?;
        status.map_err(|error| failed("stay with the shell", &error))
    }
}

fn spawn(
    connection: &Connection,
    plan: &InitPlan,
    cgroup: &Cgroup,
    stdio: [BorrowedFd<'_>; 3],
) -> std::result::Result<Child, InitFailure> {
    let network_namespace = connection.namespace.as_ref().map(OwnedFd::as_fd);
    init::spawn(&SpawnRequest { plan, stdio, network_namespace, container: None, cgroup: Some(cgroup) })
}

fn is_in_terminal(request: &ExecRequest<'_>) -> bool {
    request.attached && rustix::termios::isatty(io::stdin())
}

impl Executor for ContainerExecutor<'_> {
    fn run(&self, request: &ExecRequest<'_>) -> Result<Ended> {
        let connection = self.connect(request)?;
        let (plan, resources, membership) = self.plan(request, &connection)?;
        if self.cgroup_parent.is_some() {
            fs::write(request.folder.join(CGROUP_PARENT), self.cgroup_parent())
                .map_err(|error| failed("write the step's files", &error))?;
        }
        let cgroup = Cgroup::create(&self.hierarchies, &self.cgroup_parent(), request.id, &resources, membership)?;
        let status = self.start_and_wait(request, &connection, &plan, &cgroup);
        let out_of_memory = cgroup.oom_kills().is_some_and(|kills| kills > 0);
        let removed = cgroup.remove();
        let status = status?;
        removed.map(|()| Ended { status, out_of_memory })
    }
}

fn hostname<'a>(request: &ExecRequest<'a>) -> &'a str {
    request.exec.settings.hostname.as_deref().unwrap_or(HOSTNAME)
}

fn container(request: &ExecRequest<'_>, connection: &Connection) -> Container {
    let exec = request.exec;
    let entries = exec.environment.iter().chain(&exec.proxy_environment).chain(&request.secret_environment);
    let pairs = entries.map(|entry| entry.split_once('=').unwrap_or((entry, "")));
    let env: BTreeMap<_, _> = pairs.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).collect();
    let network = match (exec.network, &connection.namespace) {
        (Network::None, _) | (_, Some(_)) => NetworkMode::None,
        (_, None) => NetworkMode::Host,
    };
    let limits = exec.settings.ulimits.iter();
    let ulimits = limits.map(|(name, (soft, hard))| (name.clone(), Ulimit { soft: *soft, hard: *hard })).collect();
    Container {
        name: "build".into(),
        hostname: Some(hostname(request).into()),
        image: "build".into(),
        command: Some(exec.arguments.clone()),
        env,
        user: Some(exec.user.clone()).filter(|user| !user.is_empty()),
        working_dir: Some(exec.working_directory.clone()),
        mounts: request.mounts.iter().map(mount).collect(),
        shm_size_bytes: exec.settings.shm_size_bytes,
        ulimits,
        resources: request.resources.clone(),
        network,
        privileged: exec.insecure,
        ..Container::default()
    }
}

fn mount(mount: &ExecRequestMount) -> Mount {
    let bind = |path: &Path| MountSource::Bind {
        path: path.to_string_lossy().into_owned(),
        create: false,
        propagation: None,
        non_recursive: true,
        writable_below: false,
    };
    let source = match &mount.source {
        ExecMountSource::Host(path) => bind(path),
        ExecMountSource::Layers { mountpoint, path, .. } => bind(&mountpoint.join(path)),
        ExecMountSource::Tmpfs { size_bytes } => {
            MountSource::Tmpfs { size_bytes: *size_bytes, mode: None, options: Vec::new() }
        }
    };
    Mount { target: mount.target.clone(), source, read_only: mount.read_only, identities: None }
}

/// Waits for the program's end, and kills it where the build is over.
fn wait(child: &Child, request: &ExecRequest<'_>) -> Result<i32> {
    const LOOK_MS: i64 = 100;
    const KILL: i32 = 9;
    let pause = Timespec { tv_sec: 0, tv_nsec: LOOK_MS * 1_000_000 };
    let mut is_killed = false;
    loop {
        let mut ready = [PollFd::new(&child.pidfd, PollFlags::IN)];
        match poll(&mut ready, Some(&pause)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return child.wait().map_err(|errno| failed("wait for the program", &errno.into())),
            Err(errno) => return Err(failed("wait for the program", &errno.into())),
        }
        if request.cancel.load(Ordering::SeqCst) && !is_killed {
            // Gone already is as good.
            let _ = child.signal(KILL);
            is_killed = true;
        }
    }
}

/// Hands output on until the last writer is gone.
fn forward(pipe: OwnedFd, stream: Stream, request: &ExecRequest<'_>) {
    let mut pipe = File::from(pipe);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => (request.output)(stream, &buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // A pipe that can't be read has nothing more to say.
            Err(_) => return,
        }
    }
}

/// Programs of any user read these.
fn readable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

fn failed(what: &str, error: &io::Error) -> Box<Diagnostic> {
    Diagnostic::error(&codes::STEP_FAILED, format!("cannot {what}")).cause(error.to_string()).boxed()
}

pub(crate) const LOOP_HINT: &str =
    "a link of the image leads back to itself, or through too many others: correct it in a step above";

fn not_started(request: &ExecRequest<'_>, failure: &InitFailure) -> Box<Diagnostic> {
    let program = request.exec.arguments.first().map_or("", String::as_str);
    let diagnostic =
        Diagnostic::error(&codes::RUN_FAILED, format!("the container for `{program}` could not be started"))
            .cause(failure.to_string());
    let mount = request.mounts.iter().find(|mount| {
        let target = mount.target.trim_end_matches('/');
        let detail = failure.detail.split(':').next().unwrap_or_default();
        !target.is_empty() && (detail == target || failure.name.ends_with(target))
    });
    let diagnostic = match (rustix::io::Errno::from_raw_os_error(failure.errno), mount) {
        (rustix::io::Errno::LOOP, _) => diagnostic.hint(LOOP_HINT),
        (rustix::io::Errno::INVAL | rustix::io::Errno::NOTDIR | rustix::io::Errno::ISDIR, Some(mount)) => {
            let reason =
                format!("a folder can be mounted on a folder only, a file on a file, and {} is not", mount.target);
            diagnostic.cause(reason).hint("give another target=, or take away what stands there in a step above")
        }
        _ => diagnostic.hint("`carrack doctor` says what this host allows"),
    };
    diagnostic.boxed()
}
