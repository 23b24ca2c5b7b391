//! A machine for one test: its own data and run root, an image named `busybox`, and an end that checks for leaks.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Bound of whatever a scenario waits for; nothing takes a thirtieth of it on a quiet machine, emulated ones are slow.
pub(crate) const BOUND: Duration = Duration::from_secs(180);

/// Two roots and what was started under them. Ends with [`Machine::finish`].
pub(crate) struct Machine {
    dir: Option<tempfile::TempDir>,
}

/// What a command that failed said with `--json`.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: i32,
    pub(crate) diagnostics: Vec<Value>,
}

impl Machine {
    /// None, with the reason printed, where containers can't be run.
    pub(crate) fn new() -> Option<Self> {
        static ROOTFS: OnceLock<Option<Vec<u8>>> = OnceLock::new();
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: containers need root");
            return None;
        }
        let Some(rootfs) = ROOTFS.get_or_init(carrack_testkit::image::busybox_rootfs) else {
            eprintln!("skipped: /bin/busybox is no static program");
            return None;
        };
        let machine = Self::empty();
        let archive = machine.path().join("busybox.tar");
        std::fs::write(&archive, rootfs).unwrap();
        machine.ok(&["import", archive.to_str().unwrap(), "busybox"]);
        Some(machine)
    }

    /// No image, nothing; needs no root by itself.
    pub(crate) fn empty() -> Self {
        // Not on a tmpfs, which some kernels refuse as the upper layer of an overlay.
        let dir = tempfile::Builder::new().prefix("carrack-scenario-").tempdir_in("/var/tmp").unwrap();
        Self { dir: Some(dir) }
    }

    /// The scratch folder; the roots are `data` and `run` in it.
    pub(crate) fn path(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// The data root.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// The binary with an environment that shows nothing of the host's.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_carrack"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path())
            .env("NO_COLOR", "1")
            .env("CARRACK_ROOT", self.data())
            .env("CARRACK_RUN_ROOT", self.path().join("run"))
            // No registry but those on the loopback, which are reached without a proxy.
            .env("HTTPS_PROXY", "http://127.0.0.1:1")
            .env("DOCKER_HOST", format!("unix://{}/no-docker.sock", self.path().display()))
            .current_dir(self.path())
            .stdin(Stdio::null());
        // The whole suite runs with layers in either form.
        if let Some(form) = std::env::var_os("CARRACK_SNAPSHOTTER") {
            command.env("CARRACK_SNAPSHOTTER", form);
        }
        command
    }

    /// Runs to the end, whatever the end is.
    pub(crate) fn carrack(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Standard output, trimmed at its end, of a command that must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        succeeded(arguments, self.carrack(arguments))
    }

    /// The exit code alone.
    #[track_caller]
    pub(crate) fn code(&self, arguments: &[&str]) -> i32 {
        exit_code(&self.carrack(arguments))
    }

    /// The result in the JSON envelope of a command that must succeed.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[&["--json"], arguments].concat());
        let envelope: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(envelope["ok"], true, "{envelope}");
        envelope["result"].clone()
    }

    /// The result in the envelope, whatever the exit code.
    #[track_caller]
    pub(crate) fn json_whatever(&self, arguments: &[&str]) -> Value {
        let output = self.carrack(&[&["--json"], arguments].concat());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["result"].take()
    }

    /// What a command that must fail says.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str]) -> Failure {
        Failure::of(self.carrack(&[&["--json"], arguments].concat()))
    }

    /// The host's pid of a container's first process.
    #[track_caller]
    pub(crate) fn pid(&self, name: &str) -> i32 {
        self.ok(&["inspect", "--format", "{{.State.Pid}}", name]).parse().unwrap()
    }

    /// The host's pid of a container's shim.
    #[track_caller]
    pub(crate) fn shim_pid(&self, name: &str) -> i32 {
        let id = self.ok(&["inspect", "--format", "{{.Id}}", name]);
        let state = std::fs::read(self.path().join("run/containers").join(id).join("state.json")).unwrap();
        let state: Value = serde_json::from_slice(&state).unwrap();
        i32::try_from(state["shim_pid"].as_i64().unwrap()).unwrap()
    }

    /// A folder with a project in it.
    pub(crate) fn project(&self, name: &str) -> Project<'_> {
        let dir = self.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Project { machine: self, dir }
    }

    /// The lines of a command as they come, for waiting on what it says.
    pub(crate) fn follow(&self, arguments: &[&str]) -> Lines {
        let mut child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Lines { child, stdout }
    }

    /// Removes everything and asserts that the kernel holds nothing more.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        self.clear();
        let mut left = self.json(&["doctor", "--leaks"]);
        // Another test may have failed half-way.
        left.as_array_mut().unwrap().retain(|leak| leak["kind"] != "deleted root");
        assert_eq!(left, serde_json::json!([]), "left over");
        let dir = self.dir.take().unwrap();
        // Fails where a mount is left.
        dir.close().unwrap();
    }

    /// Where systemd has made one for this root.
    fn remove_scope(&self) {
        if Path::new("/sys/fs/cgroup/carrack.slice").is_dir() {
            let roots = carrack_engine::Roots { data: self.data(), run: self.path().join("run") };
            let scope = format!("carrack-{}.scope", roots.tag());
            let _not_there = Command::new("systemctl").args(["stop", "--quiet", &scope]).output();
        }
    }

    fn clear(&self) {
        for (list, remove) in [
            (["ps", "-aq"].as_slice(), ["rm", "-f", "-v"].as_slice()),
            (&["network", "ls", "-q", "--filter", "type=custom"], &["network", "rm"]),
            (&["volume", "ls", "-q"], &["volume", "rm"]),
        ] {
            let names = self.carrack(list);
            let names = String::from_utf8_lossy(&names.stdout);
            let names: Vec<&str> = names.split_whitespace().collect();
            if !names.is_empty() {
                self.carrack(&[remove, names.as_slice()].concat());
            }
        }
        // The default one's bridge, which no other verb takes away.
        self.carrack(&["network", "prune", "-f"]);
        self.remove_scope();
        // Whatever ended by itself is put away wholly by the next command that may change something.
        self.carrack(&["rm", "--force", "nobody"]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A test that failed half-way: its containers must not outlive it. What is left over is told by `finish` only.
        if self.dir.is_some() {
            self.clear();
        }
    }
}

impl Failure {
    #[track_caller]
    pub(crate) fn of(output: Output) -> Self {
        let text = String::from_utf8_lossy(&output.stdout);
        let status = exit_code(&output);
        assert_ne!(status, 0, "succeeded: {text}");
        let envelope: Value = serde_json::from_str(text.lines().last().unwrap_or_default()).unwrap_or_else(|_| {
            panic!("no envelope, exit code {status}: {text}{}", String::from_utf8_lossy(&output.stderr))
        });
        assert_eq!(envelope["ok"], false);
        Self { status, diagnostics: envelope["diagnostics"].as_array().unwrap().clone() }
    }

    /// The first error.
    #[track_caller]
    pub(crate) fn error(&self) -> &Value {
        self.diagnostics.iter().find(|one| one["severity"] == "error").unwrap()
    }

    /// Its code.
    #[track_caller]
    pub(crate) fn code(&self) -> &str {
        self.error()["code"].as_str().unwrap()
    }

    /// Everything that it says, for looking a word up.
    pub(crate) fn text(&self) -> String {
        serde_json::to_string(&self.diagnostics).unwrap()
    }

    /// Code and place (`file:line:column`, the path without its folder) of the first error.
    #[track_caller]
    pub(crate) fn place(&self) -> (String, String) {
        let label = &self.error()["labels"][0];
        let path = label["path"].as_str().unwrap_or_default();
        let file = path.rsplit('/').next().unwrap_or_default();
        (self.code().to_owned(), format!("{file}:{}:{}", label["line"], label["column"]))
    }

    /// The first error's hints, in one text.
    #[track_caller]
    pub(crate) fn hints(&self) -> String {
        self.error()["hints"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Runs a scenario on two hosts' networks of its own: one hides frames within a bridge from its packet filter, one shows
/// them to it.
pub(crate) fn on_both_hosts(scenario: impl Fn(Machine) + Sync) {
    // Where containers can't be run, that is the reason to print.
    let Some(machine) = Machine::new() else { return };
    machine.finish();
    carrack_testkit::host::on_both(|| scenario(Machine::new().unwrap()));
}

/// A folder with a Compose file or a build context, and commands run in it.
pub(crate) struct Project<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) dir: PathBuf,
}

impl Project<'_> {
    /// Writes a file, with its folders.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// The binary in this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.machine.command(arguments);
        command.current_dir(&self.dir);
        command
    }

    pub(crate) fn carrack(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        succeeded(arguments, self.carrack(arguments))
    }

    #[track_caller]
    pub(crate) fn code(&self, arguments: &[&str]) -> i32 {
        exit_code(&self.carrack(arguments))
    }

    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[&["--json"], arguments].concat());
        let envelope: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!(envelope["ok"], true, "{envelope}");
        envelope["result"].clone()
    }

    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str]) -> Failure {
        Failure::of(self.carrack(&[&["--json"], arguments].concat()))
    }
}

/// A running command whose output is read line by line.
pub(crate) struct Lines {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Lines {
    /// Blocks until a line holds `text`; the line.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stdout.read_line(&mut line).unwrap(), 0, "the output ended without `{text}`");
            if line.contains(text) {
                return line;
            }
        }
    }
}

impl Lines {
    /// Whether there is something to read just now.
    pub(crate) fn has_line(&mut self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        !self.stdout.buffer().is_empty()
            || poll(&mut [PollFd::new(self.stdout.get_ref(), PollFlags::IN)], Some(&now)).unwrap() > 0
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gives a command its whole standard input and returns what it wrote.
pub(crate) fn feed(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    })
}

/// Asks until the answer is some, at most [`BOUND`] long; each question must cost a process or a system call, so that
/// this is no busy loop of note.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(start.elapsed() < BOUND, "not within {BOUND:?}: {what}");
        std::thread::yield_now();
    }
}

/// SIGKILL to a process of the host.
pub(crate) fn kill(pid: i32) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), rustix::process::Signal::KILL).unwrap();
}

pub(crate) fn exit_code(output: &Output) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap())
}

#[track_caller]
fn succeeded(arguments: &[&str], output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text.trim_end().to_owned()
}

/// Whether this machine is the tests' own, as the virtual one of `make test-v2` is: what belongs to the whole host may be
/// changed then.
pub(crate) fn is_host_ours() -> bool {
    let ours = std::env::var_os("CARRACK_TEST_GUEST").is_some();
    if !ours {
        eprintln!("skipped: it changes the whole host: make test-v2 runs it in a virtual machine");
    }
    ours
}

/// A value of the container's control group, read on the host: both versions of the interface.
pub(crate) fn limit(pid: i32, v1: (&str, &str), v2: &str) -> String {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let of = |controller: &str| {
        groups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            let has = controllers.split(',').any(|one| one == controller);
            has.then(|| (controllers.to_owned(), path.trim_start_matches('/').to_owned()))
        })
    };
    let path = match of(v1.0).filter(|(_, path)| path.starts_with("carrack-")) {
        Some((controllers, path)) => {
            let mounts = [v1.0.to_owned(), controllers].map(|name| Path::new("/sys/fs/cgroup").join(name));
            mounts.into_iter().find(|mount| mount.is_dir()).unwrap().join(path).join(v1.1)
        }
        None => Path::new("/sys/fs/cgroup").join(of("").unwrap_or_default().1).join(v2),
    };
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).trim().to_owned()
}
