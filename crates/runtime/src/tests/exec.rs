use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use carrack_specgen::{Container, ExecRequest, exec_plan};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;

use super::fixture::{Bundle, Outcome, container, finish};
use crate::init::{self, Child, InitFailure, SpawnRequest};

/// A container that waits, and what is done in it.
struct Waiting {
    bundle: Bundle,
    container: Container,
    child: Child,
    _output: OwnedFd,
}

impl Waiting {
    fn start(wanted: Container) -> Option<Self> {
        let mut bundle = Bundle::new()?;
        let (child, output) = bundle.start(&wanted).expect("it runs");
        Some(Self { bundle, container: wanted, child, _output: output })
    }

    fn exec(&mut self, request: &ExecRequest) -> Result<(Child, OwnedFd), InitFailure> {
        enter(&mut self.bundle, &self.container, &self.child, request)
    }

    fn shell(&mut self, line: &str, request: ExecRequest) -> Outcome {
        let args = vec!["sh".into(), "-c".into(), line.into()];
        finish(self.exec(&ExecRequest { args, ..request }).expect("it runs"))
    }

    fn end(self) {
        self.child.signal(9).expect("sent");
        // The first process of a container lasts until every other one is reaped: one that was forgotten keeps it.
        let bound = Timespec { tv_sec: 20, tv_nsec: 0 };
        let ended = rustix::event::poll(&mut [PollFd::new(&self.child.pidfd, PollFlags::IN)], Some(&bound));
        assert_eq!(ended, Ok(1), "a process of an exec was not reaped");
        assert_eq!(self.child.wait(), Ok(137));
    }
}

/// Starts a further program in a container, with its output in a pipe.
pub(super) fn enter(
    bundle: &mut Bundle,
    container: &Container,
    first: &Child,
    request: &ExecRequest,
) -> Result<(Child, OwnedFd), InitFailure> {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let null = fs::File::open("/dev/null").expect("the null device");
    let (spec, launch, facts) = (bundle.spec(container), bundle.launch(container), bundle.facts.clone());
    let cgroup = bundle.cgroup(&Default::default());
    let plan = exec_plan(&spec, &launch, request, &facts).expect("a plan");
    let started = init::spawn(&SpawnRequest {
        plan: &plan,
        stdio: [null.as_fd(), writer.as_fd(), writer.as_fd()],
        network_namespace: None,
        container: Some(first.pidfd.as_fd()),
        cgroup: Some(cgroup),
    });
    started.map(|child| (child, reader))
}

#[test]
fn an_exec_sees_what_the_container_sees() {
    let Some(mut waiting) = Waiting::start(Container { hostname: Some("box".into()), ..container(&["sleep", "60"]) })
    else {
        return;
    };
    let request = ExecRequest { env: vec!["A=own".into()], working_dir: Some("/tmp".into()), ..ExecRequest::default() };
    let outcome = waiting.shell("hostname; pwd; echo $A $HOME; readlink /proc/1/exe; cat /proc/1/cgroup > /tmp/a; cat /proc/self/cgroup > /tmp/b; test \"$(cat /tmp/a)\" = \"$(cat /tmp/b)\" && echo same", request);
    assert_eq!(outcome, Outcome { status: 0, output: "box\n/tmp\nown /root\n/bin/busybox\nsame\n".into() });
    let rights = "grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):' /proc/self/status; cat /proc/1/status | grep -E '^(CapEff|CapBnd|Seccomp|NoNewPrivs):'";
    let output = waiting.shell(rights, ExecRequest::default()).output;
    let lines: Vec<&str> = output.lines().collect();
    let half = lines.len() / 2;
    assert_eq!(lines[..half], lines[half..], "confined as the container is");
    let user = ExecRequest { user: Some("web".into()), ..ExecRequest::default() };
    assert_eq!(waiting.shell("id -u", user).output, "1000\n");
    assert_eq!(waiting.shell("exit 5", ExecRequest::default()).status, 5);
    waiting.end();
}

/// CVE-2024-21626, the other way in: the working directory of an exec, by number or by a link of the container's to it.
#[test]
fn the_working_directory_of_an_exec_cannot_be_a_leaked_descriptor() {
    let Some(mut waiting) = Waiting::start(container(&["sleep", "60"])) else { return };
    let outside = waiting.bundle.path("outside");
    fs::create_dir(&outside).expect("a folder");
    fs::write(format!("{outside}/marker"), "the host's").expect("written");
    // What a careless caller leaves open, without close-on-exec.
    let leak = rustix::fs::openat(rustix::fs::CWD, &outside, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())
        .expect("the folder");
    let leaked = std::os::fd::AsRawFd::as_raw_fd(&leak);
    let through = format!("/proc/self/fd/{leaked}/marker");
    let naive = std::process::Command::new("/bin/busybox").args(["cat", &through]).output().expect("run");
    assert_eq!(naive.stdout, b"the host's", "what is started otherwise gets it");
    waiting.shell("for n in $(seq 3 16); do ln -s /proc/self/fd/$n /tmp/$n; done", ExecRequest::default());
    for number in (3..16).chain([leaked]) {
        for path in [format!("/proc/self/fd/{number}"), format!("/tmp/{number}")] {
            let args = ["cat", "marker"].map(str::to_owned).to_vec();
            let request = ExecRequest { args, working_dir: Some(path.clone()), ..ExecRequest::default() };
            if let Ok(started) = waiting.exec(&request) {
                let outcome = finish(started);
                assert!(!outcome.output.contains("the host's"), "{path}: {outcome:?}");
            }
        }
    }
    let listing = waiting.shell("ls -l /proc/self/fd", ExecRequest::default()).output;
    assert!(!listing.contains("outside") && !listing.contains(" -> /\n"), "nothing of ours is open: {listing}");
    waiting.end();
}

#[test]
fn a_missing_program_says_so() {
    let Some(mut waiting) = Waiting::start(container(&["sleep", "60"])) else { return };
    let request = ExecRequest { args: vec!["nothing".into()], ..ExecRequest::default() };
    let error = waiting.exec(&request).expect_err("no such program");
    assert!(error.to_string().contains("executable file not found in $PATH"), "{error}");
    waiting.end();
}

/// The process that entered may tell its failure before the one that made it could name it: neither is forgotten.
#[test]
fn failed_execs_leave_no_process() {
    let Some(mut waiting) = Waiting::start(container(&["sleep", "60"])) else { return };
    let request = ExecRequest { args: vec!["nothing".into()], ..ExecRequest::default() };
    for _ in 0..40 {
        waiting.exec(&request).expect_err("no such program");
    }
    waiting.end();
}

/// The terminal is one of the container's own, so its name means something there.
#[test]
fn a_terminal_is_the_containers() {
    let Some(mut waiting) = Waiting::start(container(&["sleep", "60"])) else { return };
    let request = ExecRequest {
        args: vec!["sh".into(), "-c".into(), "tty; stty size; echo $TERM".into()],
        tty: true,
        terminal_size: (100, 30),
        ..ExecRequest::default()
    };
    let (child, _unused) = waiting.exec(&request).expect("it runs");
    let terminal = child.terminal.as_ref().expect("a terminal");
    let mut text = Vec::new();
    let mut buffer = [0; 256];
    // The other end reads as an error once nobody holds it.
    while let Ok(length @ 1..) = rustix::io::read(terminal, &mut buffer) {
        text.extend_from_slice(&buffer[..length]);
    }
    assert_eq!(String::from_utf8_lossy(&text), "/dev/pts/0\r\n30 100\r\nxterm\r\n");
    assert_eq!(child.wait(), Ok(0));
    waiting.end();
}

/// An exec into a container whose process is gone fails and leaves nothing behind.
#[test]
fn a_dead_container_takes_no_exec() {
    let Some(mut waiting) = Waiting::start(container(&["sleep", "60"])) else { return };
    waiting.child.signal(9).expect("sent");
    waiting.child.wait().expect("a status");
    let request = ExecRequest { args: vec!["true".into()], ..ExecRequest::default() };
    let error = waiting.exec(&request).expect_err("nothing to enter");
    assert!(error.to_string().contains("enter-container"), "{error}");
}

/// Printed, not asserted: the machine may be busy.
#[test]
fn how_long_an_exec_takes() {
    let Some(mut waiting) = Waiting::start(container(&["sleep", "60"])) else { return };
    let mut times: Vec<_> = (0..10)
        .map(|_| {
            let start = Instant::now();
            let request = ExecRequest { args: vec!["true".into()], ..ExecRequest::default() };
            let started = waiting.exec(&request).expect("it runs");
            let time = start.elapsed();
            assert_eq!(finish(started).status, 0);
            time
        })
        .collect();
    times.sort_unstable();
    println!("exec: median {:?} of {times:?}", times[times.len() / 2]);
    waiting.end();
}
