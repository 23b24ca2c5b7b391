//! Random lives of many containers, with kills of everything at any time: at the end the records equal the kernel, and
//! nothing is left over (F11, X16; I-3, I-4). `make soak` lets it run for longer; a seed gives the same lives again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::{Machine, eventually};

/// What the environment says, for longer runs.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// xorshift64*: the same seed, the same numbers.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// What may be said to somebody beside whom others stop, remove and prune.
const EXPECTED: [&str; 17] = [
    "cli/not-yet",
    "engine/connection-lost",
    "engine/invalid-network",
    "engine/name-taken",
    "engine/no-such-container",
    "engine/no-such-network",
    "engine/no-such-volume",
    "engine/not-paused",
    "engine/not-running",
    "engine/paused",
    "engine/running",
    "engine/volume-in-use",
    "network/in-use",
    "network/name-taken",
    "network/not-connected",
    "network/unknown-network",
    "network/already-connected",
];

/// A worker with names of its own; networks, volumes and prunes are everybody's.
struct Worker<'a> {
    machine: &'a Machine,
    random: Random,
    number: u64,
    names: u64,
    /// Names that were given to a container once.
    given: Vec<String>,
    trouble: &'a Mutex<Vec<String>>,
    counts: BTreeMap<&'static str, usize>,
}

impl Worker<'_> {
    /// Mostly that of a container that there is, or was.
    fn name(&mut self) -> String {
        let fresh = format!("w{}-{}", self.number, self.random.below(self.names));
        if self.given.is_empty() || self.random.below(10) == 0 {
            return fresh;
        }
        self.given[usize::try_from(self.random.below(self.given.len() as u64)).unwrap()].clone()
    }

    /// One verb, perhaps killed on its way; what nobody expects to hear is trouble.
    fn carrack(&mut self, arguments: &[&str]) {
        let mut command = self.machine.command(&[&["--json"], arguments].concat());
        let is_killed = self.random.below(12) == 0;
        let delay = Duration::from_micros(self.random.below(40_000));
        if is_killed {
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            // The instant is what is random here, so it is given by the clock.
            std::thread::sleep(delay);
            let _ = child.kill();
            child.wait().unwrap();
            *self.counts.entry("killed on its way").or_default() += 1;
            return;
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let envelope: Option<Value> = text.lines().last().and_then(|line| serde_json::from_str(line).ok());
        let codes: Vec<String> = envelope
            .iter()
            .flat_map(|envelope| envelope["diagnostics"].as_array().cloned().unwrap_or_default())
            .filter(|one| one["severity"] == "error")
            .map(|one| one["code"].as_str().unwrap_or_default().to_owned())
            .collect();
        let is_expected = codes.iter().all(|code| EXPECTED.contains(&code.as_str()));
        let is_program = arguments[0] == "exec" && codes.iter().all(|code| code == "engine/start-failed");
        if !(output.status.success() || is_program || is_expected && !codes.is_empty()) {
            let stderr = String::from_utf8_lossy(&output.stderr);
            self.trouble.lock().unwrap().push(format!("{arguments:?}: {}: {text}{stderr}", output.status));
        }
    }

    /// SIGKILL to the shim or the program of a container, as its state has them now.
    fn kill_process(&mut self, name: &str, field: &str) {
        let id = self.machine.carrack(&["inspect", "--format", "{{.Id}}", name]);
        let id = String::from_utf8_lossy(&id.stdout).trim().to_owned();
        let path = self.machine.path().join("run/containers").join(id).join("state.json");
        let state = std::fs::read(path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let pid = state.and_then(|state| i32::try_from(state[field].as_i64()?).ok()).filter(|pid| *pid > 1);
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }

    fn step(&mut self) {
        let name = self.name();
        let network = format!("net{}", self.random.below(4));
        let volume = format!("vol{}", self.random.below(6));
        let program = *self.random.pick(
            &[
                &["sleep", "1000"][..],
                &["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.2; echo tick; done"],
                &["true"],
                &["sh", "-c", "sleep 0.3; exit 3"],
            ]
            .iter()
            .collect::<Vec<_>>(),
        );
        let policy = self.random.pick(&["no", "always", "on-failure:2", "unless-stopped"]);
        let mount = format!("{volume}:/data");
        let mut flags = vec!["--name", name.as_str(), "--init"];
        match self.random.below(4) {
            0 => flags.extend(["--network", "none"]),
            1 => flags.extend(["--network", network.as_str()]),
            _ => {}
        }
        match self.random.below(4) {
            0 => flags.extend(["-v", mount.as_str()]),
            1 => flags.extend(["-v", "/anonymous"]),
            _ => {}
        }
        match self.random.below(4) {
            0 => flags.push("--rm"),
            _ => flags.extend(["--restart", policy]),
        }
        let dice = self.random.below(100);
        let what = match dice {
            0..22 => "run",
            22..28 => "create",
            28..34 => "start",
            34..40 => "stop",
            40..45 => "kill",
            45..49 => "restart",
            49..52 => "pause",
            52..56 => "unpause",
            56..63 => "exec",
            63..73 => "rm",
            73..77 => "kill -9 of a shim",
            77..81 => "kill -9 of a program",
            81..84 => "network create",
            84..86 => "network rm",
            86..89 => "network connect",
            89..91 => "network disconnect",
            91..94 => "volume create",
            94..96 => "volume rm",
            96 => "container prune",
            97 => "volume prune",
            98 => "network prune",
            _ => "ps",
        };
        *self.counts.entry(what).or_default() += 1;
        match what {
            "run" | "create" if self.random.below(2) == 0 => {
                // A fresh one, as there are to be many.
                let fresh = format!("w{}-{}", self.number, self.random.below(self.names));
                flags[1] = &fresh;
                let detach = if what == "run" { ["run", "-d"].as_slice() } else { &["create"] };
                self.carrack(&[detach, &flags[..], &["busybox"], program].concat());
                self.given.push(fresh);
            }
            "run" => self.carrack(&[&["run", "-d"], &flags[..], &["busybox"], program].concat()),
            "create" => self.carrack(&[&["create"], &flags[..], &["busybox"], program].concat()),
            "stop" => self.carrack(&["stop", "-t", "0", &name]),
            "restart" => self.carrack(&["restart", "-t", "0", &name]),
            "exec" => self.carrack(&["exec", &name, "true"]),
            "rm" => self.carrack(&["rm", "-f", "-v", &name]),
            "kill -9 of a shim" => self.kill_process(&name, "shim_pid"),
            "kill -9 of a program" => self.kill_process(&name, "pid"),
            "network create" | "network rm" => self.carrack(&["network", &what[8..], &network]),
            "network connect" | "network disconnect" => self.carrack(&["network", &what[8..], &network, &name]),
            "volume create" | "volume rm" => self.carrack(&["volume", &what[7..], &volume]),
            "container prune" | "volume prune" | "network prune" => {
                self.carrack(&[what.split(' ').next().unwrap(), "prune", "--force"]);
            }
            "ps" => self.carrack(&["ps", "-a"]),
            verb => self.carrack(&[verb, &name]),
        }
    }
}

#[test]
fn random_lives_leave_the_kernel_as_the_records_have_it() {
    let Some(machine) = Machine::new() else { return };
    let seconds = setting("SOAK_SECONDS", 6);
    let seed = setting("SOAK_SEED", u64::from(std::process::id()));
    let (workers, containers) = (setting("SOAK_WORKERS", 4), setting("SOAK_CONTAINERS", 500));
    eprintln!("soak: {containers} containers, {workers} at once, {seconds} s; again: SOAK_SEED={seed} make soak");
    let zombies_before = zombies();
    let trouble = Mutex::new(Vec::new());
    let end = Instant::now() + Duration::from_secs(seconds);
    let counts = std::thread::scope(|scope| {
        let started: Vec<_> = (0..workers)
            .map(|number| {
                let (machine, trouble) = (&machine, &trouble);
                scope.spawn(move || {
                    let random = Random::new(seed.wrapping_mul(1000).wrapping_add(number));
                    let (names, given) = ((containers / workers).max(1), Vec::new());
                    let mut worker = Worker { machine, random, number, names, given, trouble, counts: BTreeMap::new() };
                    while Instant::now() < end && trouble.lock().unwrap().is_empty() {
                        worker.step();
                    }
                    worker.counts
                })
            })
            .collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for (what, count) in started.into_iter().flat_map(|worker| worker.join().unwrap()) {
            *counts.entry(what).or_default() += count;
        }
        counts
    });
    eprintln!("soak: {counts:?}");
    assert_eq!(trouble.into_inner().unwrap(), Vec::<String>::new(), "SOAK_SEED={seed}");

    // The next command that changes something puts away what was killed; who has just ended is at it himself.
    machine.ok(&["rm", "--force", "nobody"]);
    let mut differences = Vec::new();
    let agree = || {
        machine.carrack(&["rm", "--force", "nobody"]);
        differences = differences_of(&machine);
        differences.is_empty().then_some(())
    };
    within(Duration::from_secs(60), agree);
    assert_eq!(differences, Vec::<String>::new(), "SOAK_SEED={seed}");
    eventually("no zombie is left", || zombies().difference(&zombies_before).next().is_none().then_some(()));
    machine.finish();
}

/// As [`eventually`], for a question whose answer is looked at by the caller.
fn within(bound: Duration, mut question: impl FnMut() -> Option<()>) {
    let start = Instant::now();
    while question().is_none() && start.elapsed() < bound {}
}

/// Where the records and the kernel do not say the same.
fn differences_of(machine: &Machine) -> Vec<String> {
    let mut differences: Vec<String> = machine
        .json_whatever(&["doctor", "--leaks"])
        .as_array()
        .unwrap()
        .iter()
        .filter(|leak| leak["kind"] != "deleted root")
        .map(|leak| format!("leak: {leak}"))
        .collect();
    let containers = machine.json(&["ps", "-a", "--no-trunc"]);
    let containers = containers.as_array().unwrap();
    let mut on_networks = 0;
    for container in containers {
        let (id, state) = (container["ID"].as_str().unwrap(), container["State"].as_str().unwrap());
        let known = machine.carrack(&["inspect", id]);
        let Ok(known) = serde_json::from_slice::<Value>(&known.stdout) else { continue };
        // Gone since the list.
        let Some(pid) = known[0]["State"]["Pid"].as_i64() else { continue };
        let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let is_alive = pid > 0 && groups.contains(id);
        let runs = matches!(state, "running" | "paused");
        if runs != is_alive {
            differences.push(format!("{id}: {state}, and its process {pid} lives: {is_alive}"));
        }
        // Between two runs it keeps its places.
        if runs || state == "restarting" {
            on_networks += known[0]["NetworkSettings"]["Networks"].as_object().map_or(0, |networks| {
                networks
                    .values()
                    .filter(|network| network["IPAddress"].as_str().is_some_and(|ip| !ip.is_empty()))
                    .count()
            });
        }
    }
    // Ports that are up in a bridge of this root are those of the containers, each its own.
    let bridges: BTreeSet<String> = machine
        .json(&["network", "ls"])
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|network| {
            let name = network["Name"].as_str().or(network["name"].as_str())?;
            let known = machine.carrack(&["network", "inspect", "--format", "{{.Bridge}}", name]);
            known.status.success().then(|| String::from_utf8_lossy(&known.stdout).trim().to_owned())
        })
        .filter(|bridge| !bridge.is_empty())
        .collect();
    let ports: usize = bridges
        .iter()
        .map(|bridge| {
            std::fs::read_dir(Path::new("/sys/class/net").join(bridge).join("brif")).map_or(0, Iterator::count)
        })
        .sum();
    // Sysfs shows the namespace that it was mounted in.
    if bridges.iter().any(|bridge| Path::new("/sys/class/net").join(bridge).exists()) && ports != on_networks {
        differences.push(format!("{ports} ports in the bridges, {on_networks} addresses of running containers"));
    }
    differences
}

/// Processes that have ended and that nobody has heard of, but for children of this very process.
fn zombies() -> BTreeSet<i32> {
    let own = std::process::id().to_string();
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let Some((head, rest)) = stat.rsplit_once(") ") else { return false };
            let mut fields = rest.split(' ');
            head.contains("(carrack") && fields.next() == Some("Z") && fields.next() != Some(own.as_str())
        })
        .collect()
}
