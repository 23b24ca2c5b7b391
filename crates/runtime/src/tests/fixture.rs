use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use carrack_oci::Config;
use carrack_oci::runtime::{Resources, Spec};
use carrack_specgen::container::NetworkMode;
use carrack_specgen::init_plan::{Execute, InitStep, MountAttributes, MountSource, MountStep, Propagation, RootSource};
use carrack_specgen::{Container, HostFacts, InitPlan, Launch, Resolved, init_plan, launch, spec};
use rustix::pipe::PipeFlags;

use crate::cgroup::{Cgroup, Hierarchies, Membership, Version};
use crate::host;
use crate::init::{Child, InitFailure, SpawnRequest, spawn};

/// Whether containers can be made here; else says why not.
pub(crate) fn can_run() -> bool {
    let problem = if !rustix::process::geteuid().is_root() {
        Some("needs root")
    } else if !Path::new("/bin/busybox").exists() {
        Some("needs /bin/busybox, statically linked")
    } else {
        None
    };
    if let Some(problem) = problem {
        eprintln!("skipped: {problem}");
    }
    problem.is_none()
}

/// A root file system of busybox, what overlay needs beside it, and control groups. Everything goes at the end.
pub(crate) struct Bundle {
    folder: tempfile::TempDir,
    id: String,
    pub(crate) hierarchies: Hierarchies,
    pub(crate) facts: HostFacts,
    pub(crate) resolved: Resolved,
    cgroup: Option<Cgroup>,
}

impl Bundle {
    /// A bundle where containers can be made.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !can_run() {
            return None;
        }
        let folder = tempfile::Builder::new().prefix("carrack-runtime-").tempdir().expect("a folder");
        make_root(&folder.path().join("lower"));
        for name in ["upper", "work", "merged"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let id = format!("{:032x}{:032x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let hierarchies = Hierarchies::detect().expect("hierarchies");
        let facts = host::facts(&hierarchies).expect("facts");
        let rootfs = folder.path().join("merged").to_str().expect("a plain path").to_owned();
        let cgroup = format!("{}/{id}", parent());
        let resolved = Resolved { id: id.clone(), rootfs, cgroup, ..Resolved::default() };
        Some(Self { folder, id, hierarchies, facts, resolved, cgroup: None })
    }

    /// On the host as it is, and where it has v1 as if it had nothing else.
    pub(crate) fn with_unified_and_without() -> impl Iterator<Item = Self> {
        let without = || {
            Self::new().filter(|bundle| bundle.hierarchies.version() == Version::V1).map(|mut bundle| {
                bundle.hierarchies = bundle.hierarchies.clone().without_unified();
                bundle
            })
        };
        Self::new().into_iter().chain(std::iter::once_with(without).flatten())
    }

    /// The v2 folder of the control groups.
    pub(crate) fn unified_folder(&self) -> Option<std::path::PathBuf> {
        self.hierarchies.unified().map(|mount| mount.join(self.hierarchies.path_of(&self.resolved.cgroup)))
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("a plain path").to_owned()
    }

    /// Writes a file into the image.
    pub(crate) fn add(&self, name: &str, content: &str) {
        let path = self.folder.path().join("lower").join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, content).expect("written");
    }

    pub(crate) fn overlay(&self) -> RootSource {
        RootSource::Overlay {
            lower: vec![self.path("lower")],
            upper: Some(self.path("upper")),
            work: Some(self.path("work")),
            // A volatile upper folder can't be used twice, and some tests start a container again.
            volatile: false,
        }
    }

    pub(crate) fn spec(&self, container: &Container) -> Spec {
        spec(container, &Config::default(), &self.facts, &self.resolved).expect("a spec")
    }

    pub(crate) fn launch(&self, container: &Container) -> Launch {
        launch(container, &Config::default(), &self.resolved, self.overlay())
    }

    pub(crate) fn plan(&self, container: &Container) -> InitPlan {
        init_plan(&self.spec(container), &self.launch(container), &self.facts).expect("a plan")
    }

    /// The control groups, made at the first call.
    pub(crate) fn cgroup(&mut self, resources: &Resources) -> &Cgroup {
        self.cgroup_with(resources, Membership::Needed)
    }

    fn cgroup_with(&mut self, resources: &Resources, membership: Membership) -> &Cgroup {
        let made =
            || Cgroup::create(&self.hierarchies, &parent(), &self.id, resources, membership).expect("control groups");
        self.cgroup.get_or_insert_with(made)
    }

    /// Starts a container with its output in a pipe.
    pub(crate) fn start(&mut self, container: &Container) -> Result<(Child, OwnedFd), InitFailure> {
        let spec = self.spec(container);
        let plan = self.plan(container);
        let membership = Membership::of(&spec);
        let cgroup = self.cgroup_with(&spec.linux.resources.unwrap_or_default(), membership);
        start(&plan, Some(cgroup))
    }

    /// Runs a container to its end.
    pub(crate) fn run(&mut self, container: &Container) -> Result<Outcome, InitFailure> {
        self.start(container).map(finish)
    }

    /// The output of a shell line in a container.
    pub(crate) fn shell(&mut self, line: &str, container: Container) -> Outcome {
        let command = Some(vec!["sh".into(), "-c".into(), line.into()]);
        self.run(&Container { command, ..container }).expect("it runs")
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        if let Some(cgroup) = self.cgroup.take() {
            let cleaned = cgroup.kill().and_then(|()| cgroup.remove());
            assert!(cleaned.is_ok() || std::thread::panicking(), "{cleaned:?}");
        }
    }
}

/// Of this test run alone.
fn parent() -> String {
    format!("carrack-test-{}", std::process::id())
}

fn make_root(root: &Path) {
    for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        fs::create_dir_all(root.join(name)).expect("a folder");
    }
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("a copy");
    let applets = [
        "sh", "true", "cat", "id", "echo", "ls", "mknod", "dd", "sleep", "mount", "grep", "stat", "kill", "hostname",
        "readlink", "umount", "touch", "unshare", "tty", "env", "pwd", "ps", "test", "head", "wc", "stty", "chroot",
    ];
    for name in applets {
        symlink("busybox", root.join("bin").join(name)).expect("a link");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/srv:/bin/sh\n";
    fs::write(root.join("etc/passwd"), passwd).expect("written");
    fs::write(root.join("etc/group"), "root:x:0:\nweb:x:1000:\nlogs:x:4:web\nextra:x:77:\n").expect("written");
}

/// A container without network that runs `words`.
pub(crate) fn container(words: &[&str]) -> Container {
    let command = Some(words.iter().map(|word| (*word).to_owned()).collect());
    Container { command, network: NetworkMode::None, ..Container::default() }
}

/// What came of a container.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) output: String,
}

/// Starts a plan with its output in a pipe.
pub(crate) fn start(plan: &InitPlan, cgroup: Option<&Cgroup>) -> Result<(Child, OwnedFd), InitFailure> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let null = fs::File::open("/dev/null").expect("the null device");
    let stdio = [null.as_fd(), writer.as_fd(), writer.as_fd()];
    spawn(&SpawnRequest { plan, stdio, network_namespace: None, container: None, cgroup }).map(|child| (child, reader))
}

/// Reads the output to its end and waits.
pub(crate) fn finish((child, reader): (Child, OwnedFd)) -> Outcome {
    let mut output = Vec::new();
    fs::File::from(reader).read_to_end(&mut output).expect("output");
    let output = String::from_utf8_lossy(&output).into_owned();
    Outcome { status: child.wait().expect("a status"), output }
}

/// Runs a plan to its end.
pub(crate) fn run(plan: &InitPlan) -> Result<Outcome, InitFailure> {
    start(plan, None).map(finish)
}

pub(crate) fn execute(words: &[&str]) -> InitStep {
    InitStep::Execute(Execute {
        args: words.iter().map(|word| (*word).to_owned()).collect(),
        env: vec!["PATH=/bin".into()],
        reap: false,
    })
}

pub(crate) fn bind(path: &str, target: &str, attributes: MountAttributes) -> InitStep {
    InitStep::Mount(MountStep {
        target: target.into(),
        source: MountSource::Bind { path: path.into(), subpath: String::new(), recursive: true },
        attributes,
        propagation: Propagation::default(),
        identities: None,
    })
}
