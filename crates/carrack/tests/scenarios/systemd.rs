//! Containers on a host of systemd and cgroup v2 (F11, X21): no unit, session or scope of a caller holds them.

use std::process::Command;
use std::time::Instant;

use super::machine::{Machine, eventually, kill};

/// None, with the reason printed, elsewhere.
pub(crate) fn machine() -> Option<Machine> {
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if !v2 || !std::path::Path::new("/run/systemd/system").is_dir() {
        eprintln!("skipped: needs systemd as process 1 and cgroup version 2");
        return None;
    }
    Machine::new()
}

#[track_caller]
pub(crate) fn systemctl(arguments: &[&str]) {
    // Another test's daemon-reexec loses who speaks to systemd meanwhile.
    eventually("systemd answers", || {
        let output = Command::new("systemctl").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_lost =
            ["Connection refused", "Connection reset", "Transport endpoint"].iter().any(|loss| said.contains(loss));
        assert!(output.status.success() || is_lost, "{arguments:?}: {said}");
        output.status.success().then_some(())
    });
}

/// The v2 group of a process, from the root of the hierarchy on.
pub(crate) fn group(pid: i32) -> String {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap().to_owned()
}

/// Runs a command of ours as a unit of this kind, and waits as long as its kind does.
#[track_caller]
pub(crate) fn in_unit(kind: &[&str], ours: &Command) {
    let mut command = Command::new("systemd-run");
    command.args(["--quiet", "--collect"]).args(kind).arg(ours.get_program()).args(ours.get_args());
    for (name, value) in ours.get_envs() {
        if let Some(value) = value {
            command.arg(format!("--setenv={}={}", name.to_string_lossy(), value.to_string_lossy()));
        }
    }
    // Options of systemd-run come before the program.
    let mut words: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    words.sort_by_key(|word| !word.to_string_lossy().starts_with("--setenv="));
    let output = Command::new("systemd-run").args(words).output().unwrap();
    assert!(output.status.success(), "{kind:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A service that ran `carrack up` may end, be stopped and be killed, and systemd be reloaded: containers go on.
#[test]
fn who_started_containers_takes_none_with_him() {
    let Some(machine) = machine() else { return };
    let unit = format!("carrack-scenario-{}", std::process::id());
    let service = ["--unit", &unit, "--property=Type=oneshot", "--property=RemainAfterExit=yes"];
    let sleeper = |name| ["run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000"];
    in_unit(&service, &machine.command(&sleeper("one")));
    in_unit(&["--scope"], &machine.command(&sleeper("two")));
    let (one, two) = (machine.pid("one"), machine.pid("two"));
    for pid in [one, two, machine.shim_pid("one"), machine.shim_pid("two")] {
        assert!(group(pid).starts_with("/carrack.slice/carrack-"), "{}", group(pid));
    }
    systemctl(&["daemon-reload"]);
    systemctl(&["stop", &unit]);
    assert_eq!((machine.pid("one"), machine.pid("two")), (one, two));
    assert_eq!(machine.ok(&["exec", "one", "echo", "still there"]), "still there");
    machine.finish();
}

/// Limits are what was asked for, and stay so whatever systemd does to its tree (F2).
#[test]
fn limits_hold_and_outlive_a_reload() {
    let Some(machine) = machine() else { return };
    let flags = ["--memory", "64m", "--cpus", "0.5", "--pids-limit", "50", "--cpuset-cpus", "0"];
    let run =
        [&["run", "-d", "--name", "one", "--network", "none"], &flags[..], &["busybox", "sleep", "1000"]].concat();
    machine.ok(&run);
    let folder = std::path::PathBuf::from(format!("/sys/fs/cgroup{}", group(machine.pid("one"))));
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap().trim().to_owned();
    let expected = [("memory.max", "67108864"), ("cpu.max", "50000 100000"), ("pids.max", "50"), ("cpuset.cpus", "0")];
    let holds = || expected.iter().all(|(file, value)| read(file) == *value);
    assert!(holds(), "{:?}", expected.map(|(file, _)| read(file)));
    systemctl(&["daemon-reload"]);
    systemctl(&["daemon-reexec"]);
    let slice = folder.parent().unwrap().file_name().unwrap().to_str().unwrap();
    systemctl(&["set-property", "--runtime", slice, "MemoryHigh=1G"]);
    assert!(holds(), "{:?}", expected.map(|(file, _)| read(file)));
    systemctl(&["set-property", "--runtime", slice, "MemoryHigh=infinity"]);
    machine.ok(&["run", "--rm", "--network", "none", "--memory", "32m", "busybox", "true"]);
    machine.finish();
}

/// The first start of a root has its scope made; several at once are no race, and an emptied one is there for the next.
#[test]
fn a_scope_is_made_once() {
    let Some(machine) = machine() else { return };
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| machine.ok(&["run", "--rm", "--network", "none", "busybox", "true"]));
        }
    });
    let keepers = || {
        machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]);
        let group = group(machine.pid("one"));
        let scope = group.rsplit_once('/').unwrap().0.to_owned();
        let keepers = std::fs::read_to_string(format!("/sys/fs/cgroup{scope}/keeper/cgroup.procs")).unwrap();
        machine.ok(&["rm", "-f", "one"]);
        (scope, keepers.trim().parse::<i32>().unwrap())
    };
    let (scope, keeper) = keepers();
    systemctl(&["is-active", "--quiet", scope.rsplit('/').next().unwrap()]);
    let next = keepers();
    // After a minute without containers it may end.
    let same = if began.elapsed().as_secs() < 60 { keeper } else { next.1 };
    assert_eq!(next, (scope.clone(), same), "the same scope with the same keeper");
    // Killed, it takes nothing with it, and the next start has another.
    machine.ok(&["run", "-d", "--name", "two", "--network", "none", "busybox", "sleep", "1000"]);
    let pid = machine.pid("two");
    let (_, keeper) = keepers();
    kill(keeper);
    let (again, another) = keepers();
    assert_eq!((again, machine.pid("two")), (scope, pid));
    assert_ne!(another, keeper);
    machine.finish();
}
