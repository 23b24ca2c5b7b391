//! Killed at any step, without room, without processes: each ends with a next command that leaves nothing over (X16 X21;
//! I-3). `CARRACK_KILL=all` kills at every call; without, at a sample of them.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::machine::{Machine, eventually, exit_code};

/// System calls that change something, each a place to die at.
const CALLS: [&str; 15] = [
    "openat",
    "rename",
    "renameat",
    "unlink",
    "unlinkat",
    "mkdir",
    "mkdirat",
    "symlink",
    "write",
    "flock",
    "sendto",
    "sendmsg",
    "clone3",
    "pidfd_send_signal",
    "mount_setattr",
];

/// Runs the verb under `strace`, which kills it as it makes the call for that time; whether it came so far.
fn killed_at(machine: &Machine, arguments: &[&str], call: &str, time: usize) -> bool {
    let own = machine.command(arguments);
    let inject = format!("inject={call}:signal=KILL:when={time}");
    let mut traced = Command::new("strace");
    traced
        .args(["-qqq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject])
        .arg(own.get_program())
        .args(own.get_args());
    traced
        .env_clear()
        .envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(machine.path());
    let status = traced.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    use std::os::unix::process::ExitStatusExt as _;
    status.signal() == Some(9) || status.code() == Some(128 + 9)
}

fn is_clean(machine: &Machine) -> bool {
    let leaks = machine.json_whatever(&["doctor", "--leaks"]);
    leaks.as_array().unwrap().iter().all(|leak| leak["kind"] == "deleted root")
}

/// Kills a verb everywhere; `before` makes its ground, `after` sees that it can be said again and is done then.
fn kill_everywhere(machine: &Machine, arguments: &[&str], before: &dyn Fn(), after: &dyn Fn(&str)) {
    let all = std::env::var("CARRACK_KILL").is_ok_and(|text| text == "all");
    let mut kills = 0;
    for call in CALLS {
        // The first ones are the loader's and the opening of the store.
        for time in (1..).step_by(if all { 1 } else { 11 }) {
            before();
            let what = format!("{arguments:?} killed at {call} number {time}");
            let was_killed = killed_at(machine, arguments, call, time);
            kills += usize::from(was_killed);
            machine.ok(&["rm", "--force", "nobody"]);
            eventually(&what, || {
                machine.ok(&["rm", "--force", "nobody"]);
                is_clean(machine).then_some(())
            });
            after(&what);
            if !was_killed {
                break;
            }
        }
    }
    assert!(kills > 2, "{arguments:?} was hardly ever killed: {kills}");
}

fn has_strace() -> bool {
    let there = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !there {
        eprintln!("skipped: strace is not installed");
    }
    there
}

/// `running`, `exited`, …; empty where there is no such container.
fn state_of(machine: &Machine, name: &str) -> String {
    let shown = machine.carrack(&["inspect", "--format", "{{.State.Status}}", name]);
    String::from_utf8_lossy(&shown.stdout).trim().to_owned()
}

#[test]
fn a_create_and_a_run_are_killed_at_every_call() {
    let Some(machine) = Machine::new() else { return };
    if !has_strace() {
        return machine.finish();
    }
    let clear = || drop(machine.ok(&["rm", "--force", "-v", "box"]));
    let create = ["create", "--name", "box", "-v", "/anonymous", "busybox", "sleep", "1000"];
    kill_everywhere(&machine, &create, &clear, &|what| {
        assert!(["", "created"].contains(&state_of(&machine, "box").as_str()), "{what}");
        clear();
        machine.ok(&create);
    });
    let run = ["run", "-d", "--name", "box", "-v", "data:/data", "busybox", "sleep", "1000"];
    kill_everywhere(&machine, &run, &clear, &|what| {
        clear();
        machine.ok(&run);
        assert_eq!(state_of(&machine, "box"), "running", "{what}");
    });
    machine.finish();
}

#[test]
fn a_start_a_stop_and_a_removal_are_killed_at_every_call() {
    let Some(machine) = Machine::new() else { return };
    if !has_strace() {
        return machine.finish();
    }
    let make = || {
        machine.ok(&["rm", "--force", "-v", "box"]);
        machine.ok(&["create", "--name", "box", "-v", "/anonymous", "busybox", "sleep", "1000"]);
    };
    kill_everywhere(&machine, &["start", "box"], &make, &|what| {
        machine.ok(&["start", "box"]);
        assert_eq!(state_of(&machine, "box"), "running", "{what}");
    });
    let run = || {
        make();
        machine.ok(&["start", "box"]);
    };
    kill_everywhere(&machine, &["stop", "-t", "0", "box"], &run, &|what| {
        machine.ok(&["stop", "-t", "0", "box"]);
        assert_eq!(state_of(&machine, "box"), "exited", "{what}");
        machine.ok(&["start", "box"]);
        assert_eq!(state_of(&machine, "box"), "running", "{what}");
    });
    kill_everywhere(&machine, &["rm", "--force", "-v", "box"], &run, &|what| {
        machine.ok(&["rm", "--force", "-v", "box"]);
        assert_eq!(state_of(&machine, "box"), "", "{what}");
        assert_eq!(machine.ok(&["ps", "-aq"]), "", "{what}");
    });
    machine.finish();
}

/// It fills its own limit with processes that start others; it is seen, entered if there is room, and ended at once.
#[test]
fn a_container_that_forks_without_end_is_ended() {
    let Some(machine) = Machine::new() else { return };
    // The first process only sleeps: a shell that can't fork ends, and with it would the container.
    let bomb = "bomb() { bomb | bomb & }; bomb; while :; do sleep 100 & done";
    for verb in [["stop", "-t", "0"].as_slice(), &["kill"], &["rm", "-f"], &["restart", "-t", "0"]] {
        machine.ok(&["run", "-d", "--name", "bomb", "--pids-limit", "150", "busybox", "sleep", "1000"]);
        let id = machine.ok(&["inspect", "--format", "{{.Id}}", "bomb"]);
        // A program that can't be started is told, and nobody waits for it.
        eventually("the limit is reached", || {
            (machine.code(&["exec", "-d", "bomb", "sh", "-c", bomb]) != 0).then_some(())
        });
        machine.ok(&[verb, &["bomb"]].concat());
        machine.ok(&["rm", "-f", "bomb"]);
        let left = std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| {
            std::fs::read_to_string(entry.path().join("cgroup")).is_ok_and(|groups| groups.contains(&id))
        });
        assert_eq!(left.count(), 0, "{verb:?}");
        eventually("all is given back", || is_clean(&machine).then_some(()));
    }
    machine.finish();
}

/// A control group that lets its members have so many processes; none where this host limits them otherwise.
struct Pids(std::path::PathBuf);

impl Pids {
    fn new() -> Option<Self> {
        let folder = ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
            .into_iter()
            .map(|mount| Path::new(mount).join(format!("carrack-fire-{}", std::process::id())))
            .find(|folder| std::fs::create_dir(folder).is_ok() && folder.join("pids.max").exists());
        if folder.is_none() {
            eprintln!("skipped: no controller of processes here");
        }
        folder.map(Self)
    }
}

impl Drop for Pids {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// The host has no process left at every step of a start.
#[test]
fn a_host_without_processes_is_told_and_survived() {
    let Some(machine) = Machine::new() else { return };
    let Some(group) = Pids::new() else { return machine.finish() };
    let mut failures = 0;
    for limit in 1..=4 {
        std::fs::write(group.0.join("pids.max"), limit.to_string()).unwrap();
        let own = machine.command(&["--json", "run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
        let mut inside = Command::new("sh");
        let enter = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", group.0.display());
        inside.args(["-c", &enter, "sh"]).arg(own.get_program()).args(own.get_args());
        inside.env_clear().envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = inside.stdin(Stdio::null()).output().unwrap();
        if !output.status.success() {
            failures += 1;
            let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
            let said = answer["diagnostics"].to_string();
            assert!(said.contains("temporarily unavailable"), "limit {limit}: {said}");
        }
        machine.ok(&["rm", "-f", "box"]);
        eventually("all is given back", || is_clean(&machine).then_some(()));
    }
    assert!(failures > 0, "every start got by with one process");
    machine.finish();
}

/// The disk fills under a container that writes its log: it goes on, and can be looked at, stopped and removed.
#[test]
fn a_disk_that_fills_under_a_container_is_survived() {
    let Some(machine) = Machine::new() else { return };
    let (data, run) = (machine.path().join("small"), machine.path().join("small-run"));
    let archive = machine.path().join("busybox.tar");
    let size_bytes = 3 * std::fs::metadata(&archive).unwrap().len() + (2 << 20);
    let mount = |path: &Path, size_bytes: u64| {
        std::fs::create_dir(path).unwrap();
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size_bytes}"), "none"]).arg(path).status();
        status.is_ok_and(|status| status.success())
    };
    if !mount(&data, size_bytes) || !mount(&run, 8 << 20) {
        eprintln!("skipped: no tmpfs can be mounted here");
        return machine.finish();
    }
    let roots = [data.join("data").display().to_string(), run.join("run").display().to_string()];
    let on = |arguments: &[&'static str]| {
        [&["--root", roots[0].as_str(), "--run-root", roots[1].as_str()], arguments].concat()
    };
    machine.ok(&[on(&["import"]).as_slice(), &[archive.to_str().unwrap(), "busybox"]].concat());
    // Its output has no bound here but the disk's. What it does meanwhile shows that it is not held up.
    let script =
        "i=0; while :; do i=$((i+1)); echo line $i of some length to fill the disk; echo $i > /dev/shm/count; done";
    let flags = ["run", "-d", "--name", "loud", "--network", "none", "--log-opt", "max-size=1g"];
    machine.ok(&[on(&flags).as_slice(), &["busybox", "sh", "-c", script]].concat());
    let free = |path: &Path| rustix::fs::statvfs(path).map(|found| found.f_bavail).unwrap();
    eventually("the disk is full", || (free(&data) == 0).then_some(()));
    let count = || machine.ok(&on(&["exec", "loud", "cat", "/dev/shm/count"])).parse::<u64>().unwrap_or(0);
    let before = count();
    eventually("it goes on", || (count() > before).then_some(()));
    // Among the last lines are notes of those that were lost, on standard error.
    assert!(machine.ok(&on(&["logs", "--tail", "200", "loud"])).contains("to fill the disk"));
    let failure = machine.fails(&on(&["run", "-d", "--name", "second", "--network", "none", "busybox", "true"]));
    assert_eq!(failure.code(), "store/disk-full", "{}", failure.text());
    machine.ok(&on(&["stop", "-t", "0", "loud"]));
    machine.ok(&on(&["rm", "loud"]));
    machine.ok(&on(&["run", "--rm", "--network", "none", "busybox", "true"]));

    // The same of the run root: what was made of a start goes.
    let filler = run.join("filler");
    let _ = std::fs::write(&filler, vec![0; 16 << 20]);
    assert_eq!(free(&run), 0);
    assert_ne!(
        exit_code(&machine.carrack(&on(&["run", "-d", "--name", "second", "--network", "none", "busybox", "true"]))),
        0
    );
    std::fs::remove_file(&filler).unwrap();
    machine.ok(&on(&["rm", "-f", "second"]));
    machine.ok(&on(&["run", "--rm", "--network", "none", "busybox", "true"]));
    eventually("nothing is left", || (machine.json_whatever(&on(&["doctor", "--leaks"])) == json!([])).then_some(()));
    for path in [&data, &run] {
        assert!(Command::new("umount").arg(path).status().unwrap().success(), "something holds {}", path.display());
    }
    machine.finish();
}
