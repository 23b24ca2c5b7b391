//! The loop that does a plan's steps, in a process that has done nothing else.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use carrack_specgen::init_plan::{CapabilityMasks, FaultKind, InitStep, NamespaceKind, NamespaceSource};
use carrack_specgen::{InitPlan, passwd::Identity};
use carrack_sys::overlay::Refusal;
use carrack_sys::process::{self, Fork, SingleThreaded};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use super::channel::{self, Message};
use super::{
    CHANNEL_DESCRIPTOR, Handover, PLAN_DESCRIPTOR, bundle, execute, identity, inside, mounts, namespace_flag, terminal,
};

/// What a step failed with.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) errno: Errno,
    /// Said instead of the step's subject where it is not empty.
    pub(super) detail: String,
}

impl Failure {
    pub(super) fn new(errno: Errno, detail: impl Into<String>) -> Self {
        Self { errno, detail: detail.into() }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::new(errno, "")
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.errno, refusal.detail)
    }
}

/// Result of a step.
pub(super) type Done<T = ()> = Result<T, Failure>;

/// What steps leave for later ones.
pub(super) struct State {
    pub(super) proof: SingleThreaded,
    /// To the spawner; none where another process of ours goes on reporting.
    pub(super) channel: Option<OwnedFd>,
    network: Option<OwnedFd>,
    container: Option<OwnedFd>,
    cgroups: Vec<OwnedFd>,
    /// The root of the container's file systems: from `Root` on, and `/` for a process that entered one.
    pub(super) root: Option<OwnedFd>,
    /// The procfs that we mounted ourselves, so that no path of the container's can stand in for it (CVE-2025-52881).
    pub(super) procfs: Option<OwnedFd>,
    /// The host's null device, verified (CVE-2025-31133).
    pub(super) null: Option<OwnedFd>,
    /// An empty read-only folder that covers another, to be bound over more.
    pub(super) empty_folder: Option<OwnedFd>,
    /// Binds made before the cut from the host's mounts, in the order of their mounts.
    pub(super) shared: VecDeque<OwnedFd>,
    /// Memory file systems that are to be read-only once everything lies in them.
    pub(super) closing: Vec<OwnedFd>,
    pub(super) identity: Identity,
}

impl State {
    /// Tells the spawner.
    pub(super) fn say(&self, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
        channel::send(self.channel.as_ref().ok_or(Errno::PIPE)?, message, descriptor)
    }

    /// The container's root.
    pub(super) fn root(&mut self) -> Result<&OwnedFd, Errno> {
        open_once(&mut self.root, || {
            rustix::fs::openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        })
    }

    /// A procfs of the process namespace that we are in.
    pub(super) fn procfs(&mut self) -> Result<&OwnedFd, Errno> {
        open_once(&mut self.procfs, mounts::procfs)
    }
}

/// What the slot holds, opened at the first call.
pub(super) fn open_once(
    slot: &mut Option<OwnedFd>,
    open: impl FnOnce() -> Result<OwnedFd, Errno>,
) -> Result<&OwnedFd, Errno> {
    match slot {
        Some(descriptor) => Ok(descriptor),
        empty => Ok(empty.insert(open()?)),
    }
}

/// Init, from its first instruction to the program's.
pub(crate) fn main() -> ! {
    let status = match prepare() {
        Ok((state, plan)) => run(state, &plan),
        // Nobody to tell: whoever calls this role by hand has no channel.
        Err(_) => 125,
    };
    process::exit_immediately(status)
}

/// The same for a process that its spawner forked: the channel comes first of its descriptors.
pub(super) fn go_on(descriptors: Vec<OwnedFd>, handover: &Handover<&InitPlan>) -> Infallible {
    let status = match rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .and_then(|()| state(descriptors.into_iter(), handover))
    {
        Ok(state) => run(state, handover.plan),
        Err(_) => 125,
    };
    process::exit_immediately(status)
}

fn prepare() -> Result<(State, InitPlan), Errno> {
    let plan = process::take_inherited(PLAN_DESCRIPTOR)?;
    let channel = process::take_inherited(CHANNEL_DESCRIPTOR)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;

    let mut bytes = Vec::new();
    rustix::fs::seek(&plan, rustix::fs::SeekFrom::Start(0))?;
    File::from(plan).read_to_end(&mut bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let handover: Handover<InitPlan> = postcard::from_bytes(&bytes).map_err(|_| Errno::BADMSG)?;
    let further = (CHANNEL_DESCRIPTOR + 1..).map_while(|number| process::take_inherited(number).ok());
    Ok((state(std::iter::once(channel).chain(further), &handover)?, handover.plan))
}

fn state<Plan>(mut descriptors: impl Iterator<Item = OwnedFd>, handover: &Handover<Plan>) -> Result<State, Errno> {
    rustix::process::umask(Mode::empty());
    let mut next = || descriptors.next().ok_or(Errno::BADF);
    Ok(State {
        proof: SingleThreaded::check().ok_or(Errno::BUSY)?,
        channel: Some(next()?),
        network: handover.network.then(&mut next).transpose()?,
        container: handover.container.then(&mut next).transpose()?,
        cgroups: (0..handover.cgroups).map(|_| next()).collect::<Result<_, _>>()?,
        root: None,
        procfs: None,
        null: None,
        empty_folder: None,
        shared: VecDeque::new(),
        closing: Vec::new(),
        identity: Identity::default(),
    })
}

/// Does every step. Comes back with an exit status where one fails; the program's never does.
fn run(mut state: State, plan: &InitPlan) -> i32 {
    for (index, step) in plan.steps.iter().enumerate() {
        let done = plan.fault_at(index).map_or(Ok(()), play).and_then(|()| perform(&mut state, step));
        let Err(failure) = done else { continue };
        let detail = if failure.detail.is_empty() { step.subject().to_owned() } else { failure.detail };
        let message = Message::Failed {
            step: Some(index as u32),
            name: step.name().into(),
            errno: failure.errno.raw_os_error(),
            detail: detail.chars().take(4096).collect(),
        };
        let _ = state.say(&message, None);
        return 1;
    }
    1
}

fn play(fault: FaultKind) -> Done {
    match fault {
        FaultKind::Kill => Ok(rustix::process::kill_process(rustix::process::getpid(), Signal::KILL)
            // The first process of a namespace does not die of its own signals.
            .map(|()| process::exit_immediately(137))?),
        FaultKind::Error(errno) => Err(Errno::from_raw_os_error(errno).into()),
        FaultKind::DelayMs(time_ms) => {
            std::thread::sleep(Duration::from_millis(time_ms));
            Ok(())
        }
    }
}

fn perform(state: &mut State, step: &InitStep) -> Done {
    match step {
        InitStep::JoinCgroups => join_cgroups(state)?,
        InitStep::NewCgroupNamespace => process::unshare(&state.proof, process::namespace::CGROUP)?,
        InitStep::JoinNamespace { kind, from } => join_namespace(state, *kind, from)?,
        InitStep::EnterContainer { namespaces } => enter(state, namespaces)?,
        InitStep::LoopbackUp => carrack_sys::link::loopback_up()?,
        InitStep::Hostname { hostname, domainname } => name_machine(hostname, domainname)?,
        InitStep::IsolateMounts { shared } => mounts::isolate(state, shared)?,
        InitStep::Layers { source, mountpoint } => mounts::attach_root(source, mountpoint).map(drop)?,
        InitStep::Root { source, mountpoint } => state.root = Some(mounts::attach_root(source, mountpoint)?),
        InitStep::Mount(mount) => mounts::mount(state, mount)?,
        InitStep::Device(device) => mounts::device(state, device)?,
        InitStep::Symlink { link, target } => mounts::symlink(state, link, target)?,
        InitStep::Mask { path } => mounts::mask(state, path)?,
        InitStep::ReadOnly { path } => mounts::read_only(state, path)?,
        InitStep::ReadOnlyRoot => mounts::read_only_root(state)?,
        InitStep::Pivot => mounts::pivot(state)?,
        InitStep::Sysctl { name, value } => set_sysctl(state, name, value)?,
        InitStep::Rlimit { resource, soft, hard } => set_rlimit(*resource, *soft, *hard)?,
        InitStep::OomScoreAdjustment(score) => {
            inside::write_procfs(state, "self/oom_score_adj", score.to_string().as_bytes())?;
        }
        InitStep::SessionKeyring { name } => join_keyring(name)?,
        InitStep::Identify(request) => state.identity = identity::identify(state, request)?,
        InitStep::Terminal { columns, rows, console } => terminal::open(state, *columns, *rows, *console)?,
        InitStep::OwnStdio => identity::own_stdio(&state.identity)?,
        InitStep::WorkingDirectory { path, create } => working_directory(state, path, *create)?,
        InitStep::BoundCapabilities { keep } => bound_capabilities(*keep)?,
        InitStep::SwitchUser { umask } => switch_user(&state.identity, *umask)?,
        InitStep::NoNewPrivileges => rustix::thread::set_no_new_privs(true)?,
        InitStep::Seccomp { program, flags } => carrack_sys::seccomp::set_filter(program, *flags)?,
        InitStep::Capabilities(masks) => set_capabilities(*masks, &state.identity)?,
        InitStep::AppArmor { profile } => apply_apparmor(state, profile)?,
        InitStep::Bundle { template, folder, network } => bundle::write(state, template, folder, network.as_deref())?,
        InitStep::Execute(program) => execute::execute(state, program)?,
        InitStep::Hold => hold(state)?,
    }
    Ok(())
}

/// The spawner says nothing: its end of the channel closes when it is done, however it ends.
fn hold(state: &mut State) -> Done {
    state.say(&Message::Held, None)?;
    let channel = state.channel.as_ref().ok_or(Errno::PIPE)?;
    let _closed = rustix::net::recv(channel, &mut [0; 1], rustix::net::RecvFlags::empty());
    process::exit_immediately(0)
}

fn join_cgroups(state: &mut State) -> Done {
    for cgroup in state.cgroups.drain(..) {
        rustix::io::write(&cgroup, b"0")?;
    }
    Ok(())
}

fn join_namespace(state: &mut State, kind: NamespaceKind, from: &NamespaceSource) -> Done {
    let namespace = match from {
        NamespaceSource::Inherited => state.network.take().ok_or(Errno::BADF)?,
        NamespaceSource::Path(path) => {
            rustix::fs::openat(CWD, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?
        }
    };
    process::set_namespaces(&state.proof, &namespace, namespace_flag(kind))?;
    // A process namespace takes in children only.
    if kind == NamespaceKind::Pid { go_on_as_sibling(state) } else { Ok(()) }
}

fn enter(state: &mut State, namespaces: &[NamespaceKind]) -> Done {
    let container = state.container.take().ok_or(Errno::BADF)?;
    let flags = namespaces.iter().fold(0, |flags, kind| flags | namespace_flag(*kind));
    process::set_namespaces(&state.proof, &container, flags)?;
    if namespaces.contains(&NamespaceKind::Pid) { go_on_as_sibling(state) } else { Ok(()) }
}

/// Forks into the process namespace that was joined. The new process is the spawner's child; this one ends.
fn go_on_as_sibling(state: &State) -> Done {
    match process::fork(&state.proof, true)? {
        Fork::Child => {
            rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
            rustix::process::setsid()?;
            Ok(())
        }
        Fork::Parent(sibling) => {
            let message = Message::Entered { pid: sibling.pid };
            let told = state.say(&message, Some(sibling.pidfd.as_fd()));
            if told.is_err() {
                let _ = rustix::process::pidfd_send_signal(&sibling.pidfd, Signal::KILL);
            }
            process::exit_immediately(i32::from(told.is_err()))
        }
    }
}

fn name_machine(hostname: &str, domainname: &str) -> Done {
    rustix::system::sethostname(hostname.as_bytes())?;
    if !domainname.is_empty() {
        rustix::system::setdomainname(domainname.as_bytes())?;
    }
    Ok(())
}

fn set_sysctl(state: &mut State, name: &str, value: &str) -> Done {
    // As sysctl(8): whichever separator comes first decides, so that `net/ipv4/conf/eth0.1/forwarding` can be said.
    let path = match name.find(['.', '/']).and_then(|first| name.get(first..=first)) {
        Some(".") => name.replace('.', "/"),
        _ => name.to_owned(),
    };
    Ok(inside::write_procfs(state, &format!("sys/{path}"), value.as_bytes())?)
}

fn set_rlimit(resource: u32, soft: u64, hard: u64) -> Done {
    match process::set_rlimit(resource, soft, hard) {
        // Without CAP_SYS_RESOURCE the hard limit can't be raised: as much as there is.
        Err(Errno::PERM) => {
            let (_, most) = process::rlimit(resource)?;
            Ok(process::set_rlimit(resource, soft.min(most), hard.min(most))?)
        }
        done => Ok(done?),
    }
}

fn join_keyring(name: &str) -> Done {
    let name = inside::c_string(name)?;
    match process::join_session_keyring(&name) {
        // A kernel without keys, or whose filter forbids them, has none to keep out of reach.
        Err(Errno::NOSYS) => Ok(()),
        done => Ok(done?),
    }
}

fn working_directory(state: &mut State, path: &str, create: bool) -> Done {
    if create {
        inside::ensure(state.root()?, path, inside::Kind::Folder)?;
    }
    rustix::process::chdir(path)?;
    // CVE-2024-21626: a link to a leaked descriptor's folder would leave the container.
    let current = process::current_directory()?;
    if !current.starts_with(b"/") {
        return Err(Failure::new(Errno::XDEV, format!("{path} is outside of the container")));
    }
    Ok(())
}

fn bound_capabilities(keep: u64) -> Done {
    for capability in single_bits(!keep) {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // Numbers that this kernel does not know.
            Err(Errno::INVAL) => {}
            done => done?,
        }
    }
    Ok(())
}

fn switch_user(identity: &Identity, umask: Option<u32>) -> Done {
    let group = Gid::from_raw(identity.gid);
    let user = Uid::from_raw(identity.uid);
    let groups: Vec<Gid> = identity.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    rustix::thread::set_keep_capabilities(true)?;
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    // Another user id empties the effective set; the filter that comes next needs it.
    let mut sets = rustix::thread::capabilities(None)?;
    sets.effective = sets.permitted;
    rustix::thread::set_capabilities(None, sets)?;
    rustix::process::umask(Mode::from_raw_mode(umask.unwrap_or(0o022)));
    Ok(())
}

fn set_capabilities(masks: CapabilityMasks, identity: &Identity) -> Done {
    let held = if identity.uid == 0 || masks.ambient != 0 {
        // What we do not hold, for the host's own bounds, can't be given.
        rustix::thread::capabilities(None)?.permitted
    } else {
        // execve(2) takes them from another user than root anyway, but only after it has looked, with them, whether the
        // program may be executed.
        CapabilitySet::empty()
    };
    let set = |mask: u64| CapabilitySet::from_bits_retain(mask) & held;
    let sets = CapabilitySets {
        effective: set(masks.effective),
        permitted: set(masks.permitted),
        inheritable: set(masks.inheritable),
    };
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::clear_ambient_capability_set()?;
    for capability in single_bits(set(masks.ambient).bits()) {
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

/// One by one, also those that have no name yet.
fn single_bits(mask: u64) -> impl Iterator<Item = CapabilitySet> {
    (0..u64::BITS).map(|bit| 1 << bit).filter(move |bit| mask & bit != 0).map(CapabilitySet::from_bits_retain)
}

fn apply_apparmor(state: &mut State, profile: &str) -> Done {
    let order = format!("exec {profile}");
    let written = match inside::write_procfs(state, "self/attr/apparmor/exec", order.as_bytes()) {
        // Before Linux 5.8, and the kernel's answer where there is no such profile.
        Err(Errno::NOENT) => inside::write_procfs(state, "self/attr/exec", order.as_bytes()),
        done => done,
    };
    match written {
        Err(Errno::NOENT) => Err(Failure::new(Errno::NOENT, format!("{profile}: no profile of this name is loaded"))),
        done => Ok(done?),
    }
}
