//! What containers may use and do use: `update`, `top`, `stats` (F2, N2).

use crate::machine::{Machine, eventually, kill, limit};

fn memory(pid: i32) -> String {
    limit(pid, ("memory", "memory.limit_in_bytes"), "memory.max")
}

#[test]
fn limits_change_while_it_runs_and_stay_for_the_next_start() {
    let Some(machine) = Machine::new() else { return };
    // Two processes, so that all of them are to be found under the new limits.
    let script = "sleep 1000 & echo ready; wait";
    machine.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sh", "-c", script]);
    machine.follow(&["logs", "-f", "box"]).until("ready");
    let pid = machine.pid("box");
    assert_eq!(machine.ok(&["update", "-m", "48m", "--pids-limit", "33", "--cpus", "0.5", "box"]), "box");
    let child = machine.json(&["top", "box", "-o", "pid"]);
    let processes: Vec<i32> =
        child["Processes"].as_array().unwrap().iter().map(|row| row[0].as_str().unwrap().parse().unwrap()).collect();
    assert_eq!(processes.len(), 2);
    for process in &processes {
        assert_eq!(memory(*process), (48 << 20).to_string());
        assert_eq!(limit(*process, ("pids", "pids.max"), "pids.max"), "33");
        let quota = limit(*process, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
        assert!(["50000", "50000 100000"].contains(&quota.as_str()), "{quota}");
    }
    // Up and down, with swap beside it: the kernel takes them in one order only.
    for (memory_mib, swap_mib) in [(64, 128), (200, 300), (32, 40), (100, 100)] {
        machine.ok(&["update", "-m", &format!("{memory_mib}m"), "--memory-swap", &format!("{swap_mib}m"), "box"]);
        assert_eq!(memory(pid), (memory_mib << 20).to_string());
    }
    let failure = machine.fails(&["update", "-m", "101m", "box"]);
    assert!(failure.code() == "engine/update" && failure.status == 1);
    assert_eq!(memory(pid), (100 << 20).to_string());
    for (words, code) in [
        (["update", "-m", "1m", "box"].as_slice(), "container/invalid-setting"),
        (&["update", "--cpu-quota", "20000", "box"], "container/invalid-setting"),
        (&["update", "--restart", "nope", "box"], "cli/invalid-value"),
        (&["update", "box"], "cli/invalid-value"),
        (&["update", "-m", "50m", "nobody"], "engine/no-such-container"),
    ] {
        assert_eq!(machine.fails(words).code(), code, "{words:?}");
    }
    // What the kernel refuses leaves all as it was.
    assert_eq!(machine.code(&["update", "-m", "90m", "--cpuset-cpus", "4097", "box"]), 1);
    assert_eq!(memory(pid), (100 << 20).to_string());
    machine.ok(&["container", "update", "--cpuset-cpus", "0", "box"]);
    assert_eq!(limit(pid, ("cpuset", "cpuset.cpus"), "cpuset.cpus"), "0");
    // One that is paused, and one that does not run: for its next start.
    machine.ok(&["pause", "box"]);
    machine.ok(&["update", "-m", "60m", "box"]);
    assert_eq!(memory(pid), (60 << 20).to_string());
    machine.ok(&["stop", "-t", "0", "box"]);
    machine.ok(&["update", "-m", "70m", "box"]);
    machine.ok(&["start", "box"]);
    assert_eq!(memory(machine.pid("box")), (70 << 20).to_string());
    machine.finish();
}

#[test]
fn a_restart_policy_holds_from_the_next_exit_on() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "1000"]);
    machine.ok(&["update", "--restart", "on-failure:3", "box"]);
    let first = machine.pid("box");
    kill(first);
    let second = eventually("it runs again", || Some(machine.pid("box")).filter(|pid| ![first, 0].contains(pid)));
    machine.ok(&["update", "--restart", "no", "box"]);
    kill(second);
    assert_eq!(machine.ok(&["wait", "box"]), "137");
    eventually("it stays down", || {
        (machine.ok(&["inspect", "--format", "{{.State.Status}}", "box"]) == "exited").then_some(())
    });
    machine.ok(&["run", "-d", "--rm", "--name", "brief", "--network", "none", "busybox", "sleep", "1000"]);
    assert_eq!(machine.fails(&["update", "--restart", "always", "brief"]).code(), "engine/update");
    machine.finish();
}

#[test]
fn top_lists_every_process_in_the_columns_of_ps() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "box", "--network", "none", "-u", "4711", "busybox", "sleep", "1234"]);
    machine.ok(&["exec", "-d", "box", "sleep", "4321"]);
    let shown = machine.ok(&["top", "box"]);
    let mut lines = shown.lines();
    let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    assert!(shown.starts_with("UID                 PID                 PPID "), "{shown}");
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows.len(), 2);
    let first = rows.iter().find(|row| row[7..] == ["sleep", "1234"]).unwrap();
    assert_eq!((first[0], first[1].parse().ok()), ("4711", Some(machine.pid("box"))));
    assert!(rows.iter().any(|row| row[7..] == ["sleep", "4321"]), "an exec's too: {shown}");
    let shown = machine.ok(&["container", "top", "box", "-eo", "pid,comm,user=WHO"]);
    assert_eq!(shown.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND", "WHO"]);
    assert!(machine.ok(&["top", "box", "aux"]).starts_with("USER"));
    assert_eq!(machine.fails(&["top", "box", "-o", "nix"]).code(), "cli/invalid-value");
    machine.ok(&["kill", "box"]);
    assert_eq!(machine.fails(&["top", "box"]).code(), "engine/not-running");
    machine.finish();
}

#[test]
fn stats_are_the_kernels() {
    let Some(machine) = Machine::new() else { return };
    let busy = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo ready; while :; do :; done";
    machine.ok(&["run", "-d", "--name", "busy", "--network", "none", "--memory", "200m", "busybox", "sh", "-c", busy]);
    machine.ok(&["run", "-d", "--name", "idle", "--network", "none", "busybox", "sleep", "1000"]);
    machine.ok(&["create", "--name", "created", "--network", "none", "busybox", "true"]);
    machine.follow(&["logs", "-f", "busy"]).until("ready");
    let rows = machine.json(&["stats", "--no-stream", "busy", "idle", "created"]);
    let number = |row: &serde_json::Value, field: &str| -> f64 {
        row[field].as_str().unwrap().trim_end_matches('%').parse().unwrap()
    };
    assert!(number(&rows[0], "CPUPerc") > 5.0 && number(&rows[0], "MemPerc") > 5.0, "{rows}");
    assert!(rows[0]["MemUsage"].as_str().unwrap().ends_with(" / 200MiB"), "{rows}");
    assert!(number(&rows[1], "CPUPerc") < 5.0 && rows[1]["PIDs"] == "1", "{rows}");
    assert_eq!((&rows[2]["MemUsage"], &rows[2]["PIDs"]), (&"0B / 0B".into(), &"0".into()));
    let shown = machine.ok(&["stats", "--no-stream"]);
    assert_eq!(shown.lines().count(), 3, "{shown}");
    let head: Vec<&str> = shown.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head.join(" "), "CONTAINER ID NAME CPU % MEM USAGE / LIMIT MEM % NET I/O BLOCK I/O PIDS");
    assert_eq!(machine.ok(&["stats", "-a", "--no-stream", "--format", "{{.Name}}"]).lines().count(), 3);
    assert_eq!(machine.fails(&["stats", "--no-stream", "nobody"]).code(), "engine/no-such-container");
    // It goes on until somebody ends it.
    let mut lines = machine.follow(&["container", "stats", "--format", "json", "idle"]);
    lines.until("idle");
    lines.until("idle");
    machine.finish();
}
