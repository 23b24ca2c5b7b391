use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use carrack_specgen::InitPlan;
use carrack_specgen::container::LogDriver;
use carrack_specgen::init_plan::{Execute, InitStep, NamespaceKind};

use crate::shim::{
    AttachEnd, AttachOptions, Attached, Client, EventCommand, LogConfig, Prepared, Seed, ShimConfig, ShimRequest,
    StartError, Started,
};
use crate::state::{State, Status};

/// Nothing here takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether shims can be made here; else says why not.
pub(super) fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

/// A container whose program runs on the host's own root, in a process namespace so that nothing outlives it.
pub(super) struct Fixture {
    pub(super) config: ShimConfig,
    pub(super) plan: InitPlan,
    folder: tempfile::TempDir,
}

impl Fixture {
    pub(super) fn new(script: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("carrack-shim-").tempdir().unwrap();
        let config = ShimConfig {
            id: "c0ffee".into(),
            attributes: BTreeMap::from([("name".to_owned(), "test".to_owned())]),
            folder: folder.path().to_owned(),
            events: folder.path().join("events"),
            log: LogConfig {
                driver: LogDriver::JsonFile,
                path: folder.path().join("log"),
                max_size_bytes: 0,
                max_files: 1,
                attributes: BTreeMap::new(),
                buffer_bytes: None,
                compress: false,
            },
            cgroup: None,
            tty: false,
            open_stdin: false,
            stdin_once: false,
            health: None,
            event_command: None,
            dns: None,
            external: None,
            ports: Vec::new(),
        };
        Self { config, plan: plan(vec![InitStep::IsolateMounts { shared: vec![] }, execute(script)]), folder }
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// Appends the kind of each event to the file `told`.
    pub(super) fn tell_to_file(&mut self) {
        let script = format!("echo $1 >> {}", self.path("told").display());
        self.config.event_command = Some(EventCommand {
            program: Some("/bin/sh".into()),
            args: ["sh", "-c", &script, "event"].map(str::to_owned).to_vec(),
            env: vec![],
        });
    }

    pub(super) fn request(&self) -> ShimRequest<'_> {
        ShimRequest { config: &self.config, plan: &self.plan, network_namespace: None }
    }

    pub(super) fn prepare(&self) -> Prepared {
        Seed::sow(None).and_then(|seed| seed.prepare(&self.request())).unwrap()
    }

    pub(super) fn start(&self) -> Result<Started, StartError> {
        Seed::sow(None)?.prepare(&self.request())?.go()
    }

    pub(super) fn client(&self) -> Client {
        Client::connect(self.folder()).unwrap()
    }

    pub(super) fn attach(&self, options: AttachOptions) -> Attached {
        self.client().attach(options).unwrap()
    }

    pub(super) fn state(&self) -> State {
        State::read(self.folder()).unwrap().unwrap()
    }

    /// Starts it and waits for its end.
    pub(super) fn run(&self) -> Option<i32> {
        let prepared = self.prepare();
        let attached = self.attach(AttachOptions::default());
        prepared.go().unwrap();
        match attached.wait() {
            AttachEnd::Exited(status) => status,
            end => panic!("{end:?}"),
        }
    }

    /// What is in the log, without its clothes.
    pub(super) fn logged(&self, stream: &str) -> String {
        let text = std::fs::read_to_string(&self.config.log.path).unwrap_or_default();
        // A line that is just being written is not there yet.
        let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
        whole
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
            .filter(|line| line["stream"] == stream)
            .map(|line| line["log"].as_str().unwrap().to_owned())
            .collect()
    }

    pub(super) fn wait_for_status(&self, status: Status) -> State {
        eventually(&format!("status {status}"), || Some(self.state()).filter(|state| state.status == status))
    }

    pub(super) fn wait_for_shims_end(&self) {
        eventually("the shim's end", || (!self.state().has_shim() && !self.path("shim.sock").exists()).then_some(()));
    }
}

/// Ends what a test has left, so that nobody writes into the folder while it is removed.
impl Drop for Fixture {
    fn drop(&mut self) {
        let Ok(Some(state)) = State::read(self.folder.path()) else { return };
        for lives in [
            |state: &State| state.has_shim().then_some(state.shim_pid),
            |state: &State| state.is_alive().then_some(state.pid),
        ] {
            while let Some(pid) = lives(&state) {
                let _ = rustix::process::kill_process(
                    rustix::process::Pid::from_raw(pid).unwrap(),
                    rustix::process::Signal::KILL,
                );
                std::thread::yield_now();
            }
        }
    }
}

/// Asks again until there is an answer.
pub(super) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(super) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

pub(super) fn plan(steps: Vec<InitStep>) -> InitPlan {
    InitPlan::new(vec![NamespaceKind::Mount, NamespaceKind::Pid], steps)
}

pub(super) fn execute(script: &str) -> InitStep {
    InitStep::Execute(Execute {
        args: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec!["PATH=/usr/bin:/bin".into()],
        reap: false,
    })
}

/// A network namespace with nothing but its loopback, up.
pub(super) struct Namespace {
    keeper: std::process::Child,
    descriptor: OwnedFd,
}

impl Namespace {
    /// None, saying why, where none can be made.
    pub(super) fn new() -> Option<Self> {
        let mut keeper = std::process::Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && echo up && exec cat"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .inspect_err(|error| eprintln!("skipped: unshare: {error}"))
            .ok()?;
        let mut word = [0; 3];
        if std::io::Read::read_exact(keeper.stdout.as_mut()?, &mut word).is_err() {
            eprintln!("skipped: needs root and `ip`");
            let _ = keeper.wait();
            return None;
        }
        let descriptor = std::fs::File::open(format!("/proc/{}/ns/net", keeper.id())).unwrap().into();
        Some(Self { keeper, descriptor })
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }

    /// Does something in it, in a thread of its own.
    pub(super) fn inside<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(rustix::thread::LinkNameSpaceType::Network);
                rustix::thread::move_into_link_name_space(self.descriptor.as_fd(), kind).unwrap();
                act()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}
