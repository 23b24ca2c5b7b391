//! What a container sees of the control groups: its own, and no name of another's (F2, I-6).

use std::collections::BTreeSet;

use crate::machine::Machine;

fn has_v1() -> bool {
    !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The v1 hierarchies that the host has mounted, by their folders.
fn hierarchies() -> BTreeSet<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let v1 = mounts.lines().filter(|line| line.contains(" - cgroup "));
    v1.filter_map(|line| line.split(' ').nth(4)?.rsplit('/').next().map(str::to_owned)).collect()
}

#[test]
fn no_name_of_another_group_is_seen() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "other", "--network", "none", "-m", "64m", "busybox", "sleep", "1000"]);
    let depth = if has_v1() { "2" } else { "1" };
    let line = format!("find /sys/fs/cgroup -mindepth {depth} -type d; cat /sys/fs/cgroup/*/cgroup.procs | sort -u");
    let mut seen = vec![&[][..], &["-m", "64m"], &["--privileged"], &["--security-opt", "writable-cgroups=true"]];
    if has_v1() {
        // On v2 the host's view is the host's tree, as in Docker.
        seen.push(&["--cgroupns", "host"]);
    }
    for flags in seen {
        let run = ["run", "--rm", "--network", "none"];
        let said = machine.ok(&[&run, flags, &["busybox", "sh", "-c", &line]].concat());
        // Itself and what the line starts; 0 is who can't be seen from inside.
        let is_own = |line: &str| line.parse::<u32>().is_ok_and(|number| (1..10).contains(&number));
        assert!(said.lines().all(is_own), "{flags:?}: {said}");
    }
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sleep", "1000"]);
    assert_eq!(machine.ok(&["exec", "one", "find", "/sys/fs/cgroup", "-mindepth", depth, "-type", "d"]), "");
    machine.finish();
}

/// Programs that adapt to their limits look for more than the controller that has one.
#[test]
fn who_has_limits_sees_every_controller() {
    if !has_v1() {
        return eprintln!("skipped: v2 has one hierarchy");
    }
    let Some(machine) = Machine::new() else { return };
    let run = |flags: &[&str], line: &str| {
        machine.ok(&[&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", line]].concat())
    };
    let line = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes cpu/cpu.cfs_quota_us; ls -d *";
    for view in ["private", "host"] {
        let said = run(&["--cgroupns", view, "-m", "64m"], line);
        let (values, folders) = said.split_at(said.find("-1\n").unwrap() + 3);
        assert_eq!(values, "67108864\n-1\n", "{view}");
        let folders: BTreeSet<String> = folders.lines().map(str::to_owned).collect();
        assert!(folders.is_superset(&hierarchies()), "{view}: {folders:?}");
    }
    // Its own, and for it to change: as root of the host it may.
    let nested = "mkdir /sys/fs/cgroup/cpu/below && cat /sys/fs/cgroup/cpu/below/cpu.cfs_quota_us; rmdir /sys/fs/cgroup/cpu/below";
    assert_eq!(run(&["--privileged"], nested), "-1");
    machine.finish();
}
