//! What a container's shim is on the machine while it waits.

use super::machine::{Machine, eventually, kill};

fn shim_of(machine: &Machine, name: &str) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", machine.pid(name))).unwrap();
    status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap()
}

/// Groups of a process, a line each.
fn groups(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap()
}

/// Whatever happens to the caller's control group, its end included, meets no shim (I-1).
#[test]
fn a_shim_is_in_no_group_of_its_caller() {
    let Some(machine) = Machine::new() else { return };
    for name in ["one", "two"] {
        machine.ok(&["run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000"]);
    }
    let own = groups(std::process::id().cast_signed());
    for name in ["one", "two"] {
        let shims = groups(shim_of(&machine, name));
        for (line, shim) in own.lines().zip(shims.lines()) {
            assert!(line.ends_with(":/") || line != shim, "{name}: {shims}");
        }
        assert!(shims.lines().any(|line| line.starts_with("0::") && line.ends_with("/shims")), "{shims}");
    }
    let group = groups(shim_of(&machine, "one"));
    let group = group.lines().find_map(|line| line.strip_prefix("0::/")).unwrap().to_owned();
    let tag = group.split('/').next().unwrap();
    let exists = || {
        let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(std::path::PathBuf::from);
        mounts.iter().any(|mount| mount.join(tag).exists())
    };
    assert!(exists());
    machine.ok(&["rm", "-f", "one"]);
    assert!(exists(), "the other's shim is there");
    machine.ok(&["rm", "-f", "two"]);
    assert!(!exists(), "{tag} goes with the last shim");
    machine.finish();
}

/// A host has one shim a container: while it waits, none of its code needs to be mapped.
#[test]
fn a_waiting_shim_gives_code_back() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]);
    let shim = shim_of(&machine, "one");
    let code_kib = || {
        let maps = std::fs::read_to_string(format!("/proc/{shim}/smaps")).unwrap();
        let mut lines = maps.lines().skip_while(|line| !line.contains(" r-xp "));
        let size = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        size.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
    };
    // A start touches 2 MB of it; a kernel may map 64 KB and more around what one wait touches.
    eventually("the shim's code is unmapped", || (code_kib() < 1000).then_some(()));
    assert_eq!(machine.ok(&["exec", "one", "echo", "still there"]), "still there");
    machine.ok(&["stop", "-t", "0", "one"]);
    assert_eq!(machine.ok(&["inspect", "--format", "{{.State.Status}}", "one"]), "exited");
    machine.ok(&["rm", "one"]);
    machine.finish();
}

/// Whoever runs a container with `--rm` in the foreground puts it away himself. If he is killed, or stopped at that very
/// moment, it goes all the same, and no lock stays behind (I-4).
#[test]
fn what_its_client_does_not_put_away_goes_by_itself() {
    let Some(machine) = Machine::new() else { return };
    let client = |name: &str| {
        let words = ["run", "--rm", "--name", name, "--network", "none", "busybox", "sleep", "1000"];
        machine.command(&words).stdin(std::process::Stdio::null()).spawn().unwrap()
    };
    let running = |name: &str| {
        eventually("it runs", || {
            let output = machine.carrack(&["inspect", "--format", "{{.State.Pid}}", name]);
            String::from_utf8_lossy(&output.stdout).trim().parse::<i32>().ok().filter(|pid| *pid > 0)
        })
    };
    let gone = |name: &str| eventually("it is gone", || (machine.code(&["inspect", name]) != 0).then_some(()));
    let signal = |child: &std::process::Child, signal| {
        rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
    };

    let mut killed = client("killed");
    let pid = running("killed");
    killed.kill().unwrap();
    killed.wait().unwrap();
    kill(pid);
    gone("killed");

    let mut stopped = client("stopped");
    let pid = running("stopped");
    signal(&stopped, rustix::process::Signal::STOP);
    kill(pid);
    gone("stopped");
    signal(&stopped, rustix::process::Signal::CONT);
    assert_eq!(stopped.wait().unwrap().code(), Some(137));

    let mut served = client("served");
    kill(running("served"));
    assert_eq!(served.wait().unwrap().code(), Some(137));
    assert_ne!(machine.code(&["inspect", "served"]), 0, "gone when `run` returns");
    let locks =
        || std::fs::read_dir(machine.path().join("run/locks")).unwrap().flatten().map(|entry| entry.file_name());
    eventually("locks of containers are gone", || {
        locks().all(|name| !name.to_string_lossy().starts_with("container-")).then_some(())
    });
    machine.finish();
}
