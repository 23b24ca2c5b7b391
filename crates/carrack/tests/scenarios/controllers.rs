//! Limits and counters where control groups are of version 2 alone: the files of its controllers (F2).

use std::path::{Path, PathBuf};

use super::machine::{Machine, eventually};
use super::systemd::group;

/// None, with the reason printed, where version 1 has the controllers.
fn machine() -> Option<Machine> {
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        eprintln!("skipped: needs cgroup version 2");
        return None;
    }
    Machine::new()
}

fn folder(machine: &Machine, name: &str) -> PathBuf {
    PathBuf::from(format!("/sys/fs/cgroup{}", group(machine.pid(name))))
}

#[track_caller]
fn assert_files(folder: &Path, expected: &[(&str, &str)]) {
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default().trim().to_owned();
    let found: Vec<(&str, String)> = expected.iter().map(|(file, _)| (*file, read(file))).collect();
    let expected: Vec<(&str, String)> = expected.iter().map(|(file, value)| (*file, (*value).to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn each_limit_is_in_its_file_and_can_be_changed() {
    let Some(machine) = machine() else { return };
    let flags = [
        "--memory=64m",
        "--memory-reservation=32m",
        "--cpu-shares=512",
        "--cpu-period=50000",
        "--cpu-quota=20000",
        "--cpuset-cpus=0",
        "--cpuset-mems=0",
        "--pids-limit=50",
    ];
    let run = ["run", "-d", "--name", "one", "--network", "none"];
    machine.ok(&[&run[..], &flags, &["busybox", "sleep", "1000"]].concat());
    let one = folder(&machine, "one");
    assert_files(
        &one,
        &[
            ("memory.max", "67108864"),
            // As much again, as in Docker.
            ("memory.swap.max", "67108864"),
            ("memory.low", "33554432"),
            ("cpu.weight", "59"),
            ("cpu.max", "20000 50000"),
            ("cpuset.cpus", "0"),
            ("cpuset.mems", "0"),
            ("pids.max", "50"),
        ],
    );
    let effective = machine.json(&["inspect", "one"])[0]["EffectiveLimits"].clone();
    for (field, value) in [
        ("Memory", 64 << 20),
        ("MemorySwap", 128 << 20),
        ("MemoryReservation", 32 << 20),
        ("CpuWeight", 59),
        ("PidsLimit", 50),
    ] {
        assert_eq!(effective[field], value, "{field}: {effective}");
    }
    machine.ok(&["update", "-m", "96m", "--memory-swap", "96m", "--cpu-quota", "10000", "--pids-limit", "-1", "one"]);
    assert_files(
        &one,
        &[("memory.max", "100663296"), ("memory.swap.max", "0"), ("cpu.max", "10000 50000"), ("pids.max", "max")],
    );
    let shown = machine.json(&["stats", "--no-stream", "one"]);
    assert!(shown[0]["MemUsage"].as_str().is_some_and(|text| text.ends_with("/ 96MiB")), "{shown}");
    // One that had none is given some, also where its neighbours have others.
    machine.ok(&["run", "-d", "--name", "two", "--network", "none", "busybox", "sleep", "1000"]);
    machine.ok(&["update", "--cpuset-cpus", "1", "--memory-swap", "-1", "-m", "64m", "two"]);
    assert_files(
        &folder(&machine, "two"),
        &[("cpuset.cpus", "1"), ("memory.max", "67108864"), ("memory.swap.max", "max")],
    );
    machine.finish();
}

/// What version 2 can't do is refused with that reason, where Docker warns and goes on without.
#[test]
fn what_the_kernel_can_not_do_is_refused() {
    let Some(machine) = machine() else { return };
    for flag in ["--oom-kill-disable", "--memory-swappiness=10", "--cpu-rt-runtime=1000"] {
        let failure = machine.fails(&["run", "--rm", "-m", "64m", "--network", "none", flag, "busybox", "true"]);
        assert_eq!((failure.code(), failure.status), ("container/invalid-setting", 125), "{flag}");
        assert!(failure.text().contains("version 2 of the control groups"), "{}", failure.text());
    }
    machine.finish();
}

#[test]
fn want_of_memory_is_reported_as_such() {
    let Some(machine) = machine() else { return };
    let hog = "x=$(dd if=/dev/zero bs=1M count=64 2>/dev/null | tr '\\0' x); echo survived";
    let run = ["run", "--name", "hog", "--network", "none", "-m", "24m", "--memory-swap", "24m", "busybox"];
    let ended = machine.carrack(&[&run[..], &["sh", "-c", hog]].concat());
    assert!(!String::from_utf8_lossy(&ended.stdout).contains("survived"));
    let state = machine.json(&["inspect", "hog"])[0]["State"].clone();
    assert_eq!((&state["OOMKilled"], &state["Status"]), (&true.into(), &"exited".into()), "{state}");
    let events = machine.ok(&["events", "--since", "1h", "--until", "0s", "--filter", "event=oom"]);
    assert!(events.contains("oom") && events.contains("hog"), "{events}");
    // Of a program beside the first one.
    machine.ok(&[
        "run",
        "-d",
        "--name",
        "beside",
        "--network",
        "none",
        "-m",
        "24m",
        "--memory-swap",
        "24m",
        "busybox",
        "sleep",
        "1000",
    ]);
    assert_ne!(machine.code(&["exec", "beside", "sh", "-c", hog]), 0);
    let events = std::fs::read_to_string(folder(&machine, "beside").join("memory.events")).unwrap();
    assert!(events.lines().any(|line| line.starts_with("oom_kill ") && line != "oom_kill 0"), "{events}");
    assert_eq!(machine.ok(&["inspect", "--format", "{{.State.Status}}", "beside"]), "running");
    machine.finish();
}

/// By the device's numbers, in the file of the controller, whose tree the root's own is.
#[test]
fn a_block_device_is_limited() {
    let Some(machine) = machine() else { return };
    let Some(disk) = ["/dev/vda", "/dev/sda", "/dev/nvme0n1"].into_iter().find(|path| Path::new(path).exists()) else {
        return eprintln!("skipped: no disk is known here");
    };
    let (bytes, operations) = (format!("{disk}:1m"), format!("{disk}:100"));
    let flags = ["--device-write-bps", &bytes, "--device-read-iops", &operations];
    let run = ["run", "-d", "--name", "one", "--network", "none"];
    machine.ok(&[&run[..], &flags, &["busybox", "sleep", "1000"]].concat());
    let limits = std::fs::read_to_string(folder(&machine, "one").join("io.max")).unwrap();
    assert!(limits.contains("wbps=1048576") && limits.contains("riops=100"), "{limits}");
    machine.finish();
}

/// Frozen and thawed by its file, killed with what it started, and nothing of its groups stays.
#[test]
fn a_group_is_frozen_and_killed_as_a_whole() {
    let Some(machine) = machine() else { return };
    let line = "for i in 1 2 3 4 5; do sleep 1000 & done; echo ready; wait";
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sh", "-c", line]);
    machine.follow(&["logs", "-f", "one"]).until("ready");
    let one = folder(&machine, "one");
    let events = || std::fs::read_to_string(one.join("cgroup.events")).unwrap_or_default();
    machine.ok(&["pause", "one"]);
    assert!(events().contains("frozen 1"), "{}", events());
    machine.ok(&["unpause", "one"]);
    assert!(events().contains("frozen 0"), "{}", events());
    // By somebody else: the shim sees its program's end.
    std::fs::write(one.join("cgroup.kill"), "1").unwrap();
    eventually("it has ended", || {
        (machine.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "one"]) == "exited 137")
            .then_some(())
    });
    machine.ok(&["start", "one"]);
    assert_eq!(machine.ok(&["exec", "one", "echo", "again"]), "again");
    machine.ok(&["rm", "-f", "one"]);
    assert!(!one.exists());
    machine.finish();
}
