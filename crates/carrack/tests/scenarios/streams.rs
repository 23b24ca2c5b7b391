//! What goes into a program and comes out of it: attach, exec, terminals.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::machine::{BOUND, Machine, eventually, exit_code, feed};

/// A person at a terminal.
pub(crate) struct Terminal {
    master: OwnedFd,
    child: Child,
    seen: Vec<u8>,
    from: usize,
}

impl Terminal {
    fn open(mut command: Command, columns: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        // Nobody's controlling terminal: its end would end a test program that leads a session, as over ssh.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(name, flags, Mode::empty()).unwrap();
        tcsetwinsize(&master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let end = || Stdio::from(slave.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "dumb").process_group(0);
        let child = command.spawn().unwrap();
        Self { master, child, seen: Vec::new(), from: 0 }
    }

    pub(crate) fn write(&self, bytes: &[u8]) {
        assert_eq!(rustix::io::write(&self.master, bytes).unwrap(), bytes.len());
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) {
        tcsetwinsize(&self.master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        // No session of ours has it, so the kernel tells nobody.
        let group = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(group, rustix::process::Signal::WINCH).unwrap();
    }

    /// Waits for a text behind the last one that was waited for.
    pub(crate) fn until(&mut self, text: &str) {
        let deadline = Instant::now() + BOUND;
        loop {
            let rest = &self.seen[self.from..];
            if let Some(at) = rest.windows(text.len()).position(|window| window == text.as_bytes()) {
                self.from += at + text.len();
                return;
            }
            assert!(self.read_some(deadline), "no `{text}` in {:?}", String::from_utf8_lossy(&self.seen));
        }
    }

    fn read_some(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        if poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&left)).unwrap() == 0 {
            return false;
        }
        let mut buffer = [0; 4096];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(length @ 1..) => self.seen.extend_from_slice(&buffer[..length]),
            _ => return false,
        }
        true
    }

    /// Its exit code.
    pub(crate) fn end(mut self) -> i32 {
        let deadline = Instant::now() + BOUND;
        while self.read_some(deadline) {}
        self.child.wait().unwrap().code().unwrap()
    }
}

pub(crate) fn terminal(machine: &Machine, arguments: &[&str]) -> Terminal {
    Terminal::open(machine.command(arguments), 101, 33)
}

const DETACH: &[u8] = b"\x10\x11";

#[test]
fn a_terminal_is_as_large_as_its_caller_s_from_the_first_moment_and_follows_it() {
    let Some(machine) = Machine::new() else { return };
    let script = "stty size; trap 'stty size' WINCH; echo ready; read line; stty size";
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]);
    for verb in [&["run", "--rm", "-it", "--network", "none", "busybox"][..], &["exec", "-it", "one"]] {
        let mut person = terminal(&machine, &[verb, &["sh", "-c", script]].concat());
        person.until("33 101");
        person.until("ready");
        person.resize(90, 40);
        person.until("40 90");
        person.write(b"\n");
        person.until("40 90");
        assert_eq!(person.end(), 0, "{verb:?}");
    }
    machine.ok(&["rm", "-f", "one"]);
    machine.finish();
}

#[test]
fn keys_detach_from_run_start_attach_and_exec_and_the_programs_go_on() {
    let Some(machine) = Machine::new() else { return };
    let shell = ["sh", "-c", "while read line; do echo \"<$line>\"; done; exit 3"];
    let mut person =
        terminal(&machine, &[&["run", "-it", "--name", "one", "--network", "none", "busybox"][..], &shell].concat());
    person.write(b"first\n");
    person.until("<first>");
    person.write(DETACH);
    assert_eq!(person.end(), 0);
    let pid = machine.pid("one");

    let mut person = terminal(&machine, &["attach", "--detach-keys", "ctrl-a,x", "one"]);
    person.write(b"second\n");
    person.until("<second>");
    person.write(b"\x01x");
    assert_eq!(person.end(), 0);

    // The user's own keys, where no flag says otherwise.
    std::fs::create_dir(machine.path().join(".docker")).unwrap();
    std::fs::write(machine.path().join(".docker/config.json"), r#"{"detachKeys": "ctrl-e,e"}"#).unwrap();
    let mut person = terminal(&machine, &["attach", "one"]);
    person.write(b"third\n");
    person.until("<third>");
    person.write(b"\x05e");
    assert_eq!(person.end(), 0);
    std::fs::remove_dir_all(machine.path().join(".docker")).unwrap();

    // What an exec leaves behind keeps its terminal, and can write to it.
    let script = "echo begin; while :; do echo more; echo x >> /alive; sleep 0.1; done";
    let mut person = terminal(&machine, &["exec", "-it", "one", "sh", "-c", script]);
    person.until("begin");
    person.write(DETACH);
    assert_eq!(person.end(), 0);
    let count = || machine.ok(&["exec", "one", "sh", "-c", "wc -l </alive"]).parse::<u32>().unwrap();
    let before = count();
    eventually("the program goes on", || (count() > before + 2).then_some(()));
    assert_eq!(machine.pid("one"), pid);

    // And the end of input ends the first program as it says, for whoever is attached.
    let mut person = terminal(&machine, &["attach", "one"]);
    // Its own terminal is raw by the time that it has answered.
    person.write(b"last\n");
    person.until("<last>");
    person.write(b"\x04");
    assert_eq!(person.end(), 3);
    let mut person = terminal(&machine, &["start", "-ai", "one"]);
    person.write(b"again\n");
    person.until("<again>");
    person.write(DETACH);
    assert_eq!(person.end(), 0);
    machine.ok(&["rm", "-f", "one"]);
    machine.finish();
}

#[test]
fn exec_fails_as_docker_s() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]);
    let cases: [(&[&str], i32); 8] = [
        (&["exec", "one", "nothing"], 127),
        (&["exec", "one", "/etc/passwd"], 126),
        (&["exec", "one", "/etc"], 126),
        (&["exec", "-w", "/nowhere", "one", "true"], 127),
        (&["exec", "-w", "relative", "one", "true"], 128),
        (&["exec", "-u", "nobodyknows", "one", "true"], 1),
        (&["exec", "-it", "one", "true"], 1),
        (&["exec", "--detach-keys", "zz", "one", "true"], 1),
    ];
    machine.ok(&["exec", "one", "sh", "-c", "echo text > /etc/passwd; chmod 644 /etc/passwd"]);
    for (arguments, code) in cases {
        assert_eq!(machine.code(arguments), code, "{arguments:?}");
    }
    let file = machine.path().join("variables");
    std::fs::write(&file, "X=1\n# none\n Y=two words\n").unwrap();
    let show = ["one", "sh", "-c", "echo $X,$Y,$Z"];
    let given = ["exec", "--env-file", file.to_str().unwrap(), "-e", "Z=3", "-e", "X=9"];
    assert_eq!(machine.ok(&[&given[..], &show].concat()), "9,two words,3");
    assert_eq!(machine.ok(&["exec", "-d", "one", "sh", "-c", "echo $$ > /done"]), "");
    eventually("it has run", || {
        machine.carrack(&["exec", "one", "test", "-s", "/done"]).status.success().then_some(())
    });
    machine.ok(&["stop", "-t", "0", "one"]);
    for verb in [&["exec", "one", "true"][..], &["attach", "one"]] {
        assert_eq!(machine.fails(verb).code(), "engine/not-running");
    }
    machine.ok(&["rm", "one"]);
    machine.finish();
}

/// What a program has left behind may hold its output for ever: exec is over when the program is.
#[test]
fn exec_ends_with_its_program_and_has_all_that_it_wrote() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]);
    let began = Instant::now();
    let script = "sleep 1000 & i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done";
    let out = machine.ok(&["exec", "one", "sh", "-c", script]);
    assert_eq!(out.lines().last(), Some("line 1999"));
    assert!(began.elapsed() < BOUND);
    machine.ok(&["rm", "-f", "one"]);
    machine.finish();
}

#[test]
fn streams_are_attached_as_asked_for() {
    let Some(machine) = Machine::new() else { return };
    let run = |streams: &[&str], input: &[u8], script: &str| {
        let mut arguments = vec!["run", "--rm", "-i", "--network", "none"];
        streams.iter().for_each(|stream| arguments.extend(["-a", stream]));
        arguments.extend(["busybox", "sh", "-c", script]);
        let output = feed(machine.command(&arguments), input);
        (exit_code(&output), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let both = "echo out; echo err >&2; exit 4";
    assert_eq!(run(&[], b"", both), (4, "out\n".into(), "err\n".into()));
    assert_eq!(run(&["stdout"], b"", both), (4, "out\n".into(), String::new()));
    assert_eq!(run(&["STDERR"], b"", both), (4, String::new(), "err\n".into()));
    assert_eq!(run(&["stdin", "stdout"], b"in", "cat"), (0, "in".into(), String::new()));
    assert_eq!(machine.code(&["run", "-d", "-a", "stdout", "busybox", "true"]), 125);
    assert_eq!(machine.code(&["run", "-a", "nothing", "busybox", "true"]), 125);
    machine.finish();
}

/// Input of a container that runs by itself outlives those who give some; of one in the foreground it ends with them.
#[test]
fn input_ends_with_the_client_only_in_the_foreground() {
    let Some(machine) = Machine::new() else { return };
    let cat = ["--network", "none", "busybox", "sh", "-c", "while read line; do echo \"<$line>\"; done; echo over"];
    machine.ok(&[&["run", "-di", "--name", "one"][..], &cat].concat());
    for word in ["first", "second"] {
        let mut client = machine.command(&["attach", "one"]);
        client.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut client = client.spawn().unwrap();
        client.stdin.take().unwrap().write_all(format!("{word}\n").as_bytes()).unwrap();
        let mut said = vec![0; word.len() + 3];
        client.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
        assert_eq!(said, format!("<{word}>\n").into_bytes());
        client.kill().unwrap();
        client.wait().unwrap();
    }
    assert!(machine.pid("one") > 0, "it waits for more");
    machine.ok(&["rm", "-f", "one"]);
    let output = feed(machine.command(&[&["run", "-i", "--rm"][..], &cat].concat()), b"only\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "<only>\nover\n");
    machine.finish();
}

/// Bytes of no pattern, and a way to tell whether they came through without keeping them.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

const NOISE_SIZE: usize = 256 << 20;

/// Sends noise through a command that gives back what it gets, and compares what comes.
fn through(mut command: Command) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || {
        let (mut noise, mut buffer) = (Noise(42), vec![0; 1 << 20]);
        for _ in 0..NOISE_SIZE >> 20 {
            noise.fill(&mut buffer);
            stdin.write_all(&buffer).unwrap();
        }
    });
    let mut stdout = child.stdout.take().unwrap();
    let (mut noise, mut wanted, mut got) = (Noise(42), vec![0; 1 << 20], vec![0; 1 << 20]);
    for number in 0..NOISE_SIZE >> 20 {
        noise.fill(&mut wanted);
        stdout.read_exact(&mut got).unwrap();
        assert!(got == wanted, "MiB {number} differs");
    }
    assert_eq!(stdout.read(&mut got).unwrap(), 0, "nothing is added");
    writer.join().unwrap();
    assert!(child.wait().unwrap().success());
}

/// F9: no byte is lost between a program and who runs it, and the shim stays small meanwhile.
#[test]
fn any_amount_of_bytes_goes_through_whole() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]);
    through(machine.command(&["exec", "-i", "one", "cat"]));
    machine.ok(&["rm", "-f", "one"]);

    let run = ["run", "-i", "--name", "two", "--network", "none", "--log-driver", "none", "busybox", "cat"];
    let running = machine.command(&run);
    let peak = std::thread::scope(|scope| {
        let watched = scope.spawn(|| {
            let running = ["inspect", "--format", "{{.State.Running}}", "two"];
            eventually("it runs", || (machine.carrack(&running).stdout == b"true\n").then_some(()));
            let shim = machine.shim_pid("two");
            let status = || std::fs::read_to_string(format!("/proc/{shim}/status")).unwrap_or_default();
            let mut peak = 0;
            while let Some(line) = status().lines().find_map(|line| line.strip_prefix("VmHWM:").map(str::to_owned)) {
                peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap();
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            peak
        });
        through(running);
        watched.join().unwrap()
    });
    // Its program's pages are most of it; twice what it holds back for a client and a program is less than 2 MiB.
    assert!(peak > 0 && peak < 60 << 10, "the shim had {peak} KiB");
    machine.ok(&["rm", "-f", "two"]);
    machine.finish();
}

/// One that takes nothing is dropped after a time that is bounded; the program and the others go on.
#[test]
fn a_client_that_stalls_blocks_nobody_for_long() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&[
        "run",
        "-d",
        "--name",
        "one",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "while :; do cat /go 2>/dev/null; done",
    ]);
    let mut stalled = machine.command(&["attach", "one"]);
    let mut stalled = stalled.stdout(Stdio::piped()).spawn().unwrap();
    // As soon as both are attached there is output for both, and one of them never takes any.
    let script = "yes 0123456789012345678901234567890123456789 | head -c 3000000 > /new; mv /new /go";
    machine.ok(&["exec", "one", "sh", "-c", script]);
    let mut other = machine.command(&["attach", "one"]);
    let mut other = other.stdout(Stdio::piped()).spawn().unwrap();
    let mut bytes = vec![0; 20 << 20];
    other.stdout.as_mut().unwrap().read_exact(&mut bytes).unwrap();
    other.kill().unwrap();
    other.wait().unwrap();
    stalled.kill().unwrap();
    stalled.wait().unwrap();
    assert!(machine.ok(&["logs", "-n", "1", "one"]).starts_with("0123"));
    machine.ok(&["rm", "-f", "one"]);
    machine.finish();
}

#[test]
fn what_has_gone_is_dropped_from_a_descriptor_too() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]);
    let shim = machine.shim_pid("one");
    let open = || std::fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count();
    let before = open();
    let mut clients: Vec<Child> = (0..8)
        .map(|_| machine.command(&["attach", "one"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
        .collect();
    eventually("all are attached", || (open() == before + 8).then_some(()));
    for client in &mut clients {
        client.kill().unwrap();
        client.wait().unwrap();
    }
    eventually("all are dropped", || (open() == before).then_some(()));
    machine.ok(&["rm", "-f", "one"]);
    machine.finish();
}

/// A status that was lost with its shim is no success.
#[test]
fn an_end_that_nobody_saw_is_told_as_such() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]);
    let (shim, program) = (machine.shim_pid("one"), machine.pid("one"));
    super::machine::kill(shim);
    assert_eq!(machine.ok(&["exec", "one", "echo", "there"]), "there", "exec needs no shim");
    super::machine::kill(program);
    let state = ["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "one"];
    eventually("its end is noticed", || (machine.ok(&state) == "dead 255").then_some(()));
    assert_eq!(machine.ok(&["wait", "one"]), "255");
    machine.ok(&["start", "one"]);
    machine.ok(&["rm", "-f", "one"]);
    machine.finish();
}

/// CVE-2020-15257: what a container on the host's network can see of a shim's socket is a path that it can't reach.
#[test]
fn no_shim_listens_where_a_container_can_connect() {
    use std::os::unix::fs::PermissionsExt;
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "one", "--network", "host", "busybox", "sleep", "1000"]);
    let seen = machine.ok(&["exec", "one", "cat", "/proc/net/unix"]);
    let folder = machine.path().join("run/containers").join(machine.ok(&["inspect", "--format", "{{.Id}}", "one"]));
    assert!(seen.lines().all(|line| !(line.contains('@') && line.contains("shim"))), "{seen}");
    assert!(folder.join("shim.sock").exists());
    assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(std::fs::metadata(folder.join("shim.sock")).unwrap().permissions().mode() & 0o777, 0o600);
    machine.ok(&["rm", "-f", "one"]);
    machine.finish();
}
