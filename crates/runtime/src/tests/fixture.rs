use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use carrack_specgen::InitPlan;
use carrack_specgen::init_plan::{
    Execute, InitStep, MountAttributes, MountSource, MountStep, NamespaceKind, Propagation, RootSource,
};
use rustix::pipe::PipeFlags;

use crate::init::{Child, InitFailure, SpawnRequest, spawn};

/// Whether containers can be made here; else says why not.
pub(crate) fn can_run() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    } else if !Path::new("/bin/busybox").exists() {
        eprintln!("skipped: needs /bin/busybox, statically linked");
    }
    root && Path::new("/bin/busybox").exists()
}

/// A root file system of busybox, with what overlay needs beside it.
pub(crate) struct Bundle {
    pub(crate) folder: tempfile::TempDir,
}

impl Bundle {
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("carrack-runtime-").tempdir().expect("a folder");
        let lower = folder.path().join("lower");
        for name in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
            fs::create_dir_all(lower.join(name)).expect("a folder");
        }
        fs::copy("/bin/busybox", lower.join("bin/busybox")).expect("a copy");
        for name in ["sh", "true", "cat", "id", "echo", "ls", "mknod", "dd", "sleep", "mount", "grep", "stat", "kill"] {
            symlink("busybox", lower.join("bin").join(name)).expect("a link");
        }
        fs::write(lower.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/srv:/bin/sh\n").expect("written");
        fs::write(lower.join("etc/group"), "root:x:0:\nweb:x:1000:\nlogs:x:4:web\n").expect("written");
        for name in ["upper", "work", "merged"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("a plain path").to_owned()
    }

    pub(crate) fn overlay(&self) -> RootSource {
        RootSource::Overlay {
            lower: vec![self.path("lower")],
            upper: Some(self.path("upper")),
            work: Some(self.path("work")),
            volatile: true,
        }
    }
}

/// What came of a container.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) output: String,
}

/// Starts a plan with its output in a pipe.
pub(crate) fn start(plan: &InitPlan) -> Result<(Child, OwnedFd), InitFailure> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let null = fs::File::open("/dev/null").expect("the null device");
    let request = SpawnRequest {
        plan,
        stdio: [null.as_fd(), writer.as_fd(), writer.as_fd()],
        network_namespace: None,
        container: None,
        cgroup: None,
    };
    spawn(&request).map(|child| (child, reader))
}

/// Runs a plan to its end.
pub(crate) fn run(plan: &InitPlan) -> Result<Outcome, InitFailure> {
    let (child, reader) = start(plan)?;
    let mut output = String::new();
    fs::File::from(reader).read_to_string(&mut output).expect("text");
    Ok(Outcome { status: child.wait().expect("a status"), output })
}

pub(crate) fn execute(words: &[&str]) -> InitStep {
    InitStep::Execute(Execute {
        args: words.iter().map(|word| (*word).to_owned()).collect(),
        env: vec!["PATH=/bin".into()],
        reap: false,
    })
}

pub(crate) fn file_system(kind: &str, target: &str) -> InitStep {
    InitStep::Mount(MountStep {
        target: target.into(),
        source: MountSource::FileSystem { kind: kind.into(), source: kind.into(), options: Vec::new() },
        attributes: MountAttributes::default(),
        propagation: Propagation::default(),
    })
}

/// The smallest plan that is a container: `steps` stand between the root and the pivot.
pub(crate) fn small_plan(bundle: &Bundle, steps: Vec<InitStep>, last: Vec<InitStep>) -> InitPlan {
    let mut all = vec![
        InitStep::IsolateMounts,
        InitStep::Root { source: bundle.overlay(), mountpoint: bundle.path("merged") },
        file_system("proc", "/proc"),
    ];
    all.extend(steps);
    all.push(InitStep::Pivot);
    all.extend(last);
    let namespaces = vec![
        NamespaceKind::Mount,
        NamespaceKind::Pid,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Network,
    ];
    InitPlan::new(namespaces, all)
}
