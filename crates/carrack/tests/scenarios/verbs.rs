//! The verbs on containers that are there: pause, rename, wait, kill and their neighbours (F1, F6, F8).

use std::path::PathBuf;

use crate::machine::{Machine, eventually, exit_code, kill};

/// The container's folder in the hierarchy that freezes: v2's, else v1's freezer.
fn freezer(pid: i32) -> PathBuf {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let of = |wanted: &str| groups.lines().find_map(|line| line.split_once(wanted)).map(|(_, path)| path.to_owned());
    let v2 = of("0::/").filter(|path| path.starts_with("carrack-"));
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    match v2 {
        Some(path) => roots.map(|root| PathBuf::from(root).join(&path)).into_iter().find(|path| path.exists()).unwrap(),
        None => PathBuf::from("/sys/fs/cgroup/freezer").join(of("freezer:/").unwrap()),
    }
}

/// What the kernel says, not what we wrote.
fn is_frozen(pid: i32) -> bool {
    let folder = freezer(pid);
    match std::fs::read_to_string(folder.join("cgroup.events")) {
        Ok(events) => events.contains("frozen 1"),
        Err(_) => std::fs::read_to_string(folder.join("freezer.state")).unwrap().starts_with("FROZEN"),
    }
}

fn status(machine: &Machine, name: &str) -> String {
    machine.ok(&["inspect", "--format", "{{.State.Status}}", name])
}

fn sleeper(machine: &Machine, name: &str, flags: &[&str]) {
    let run = ["run", "-d", "--name", name, "--network", "none"];
    machine.ok(&[&run, flags, &["busybox", "sleep", "1000"]].concat());
}

#[test]
fn a_paused_container_does_nothing_until_it_is_told_to() {
    let Some(machine) = Machine::new() else { return };
    let count = "i=0; while :; do i=$((i+1)); echo $i > /shared/count; done";
    let shared = machine.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let bind = format!("{}:/shared", shared.display());
    machine.ok(&["run", "-d", "--name", "box", "--network", "none", "-v", &bind, "busybox", "sh", "-c", count]);
    let counted =
        || std::fs::read_to_string(shared.join("count")).ok().and_then(|text| text.trim().parse::<u64>().ok());
    eventually("it counts", || counted().filter(|count| *count > 10));

    assert_eq!(machine.ok(&["pause", "box"]), "box");
    let pid = machine.pid("box");
    assert!(is_frozen(pid));
    let stands = std::fs::read_to_string(shared.join("count")).unwrap();
    machine.ok(&["ps"]);
    assert_eq!(std::fs::read_to_string(shared.join("count")).unwrap(), stands);
    assert_eq!(status(&machine, "box"), "paused");
    assert!(machine.ok(&["ps"]).contains("(Paused)"));
    for (command, said) in [
        (["pause", "box"].as_slice(), "already paused"),
        (&["start", "box"], "is paused and can't be started"),
        (&["exec", "box", "true"], "is paused and can't run another program"),
        (&["rm", "box"], "is paused and was not removed"),
    ] {
        let failure = machine.fails(command);
        assert!(failure.status == 1 && failure.text().contains(said), "{command:?}: {}", failure.text());
        assert!(is_frozen(pid));
    }
    assert_eq!(machine.ok(&["unpause", "box"]), "box");
    assert!(!is_frozen(pid));
    let last = counted().unwrap_or(0);
    eventually("it counts on", || counted().filter(|count| *count > last));
    assert_eq!(machine.fails(&["unpause", "box"]).code(), "engine/paused");

    // Whatever ends a paused one lets it go on first, as in Docker.
    machine.ok(&["pause", "box"]);
    machine.ok(&["kill", "box"]);
    assert_eq!(status(&machine, "box"), "exited");
    assert_eq!(machine.fails(&["pause", "box"]).code(), "engine/not-running");
    assert_eq!(machine.fails(&["unpause", "box"]).code(), "engine/not-running");
    for end in [["stop", "-t", "1", "box"].as_slice(), &["restart", "-t", "1", "box"], &["rm", "-f", "box"]] {
        if status(&machine, "box") != "running" {
            machine.ok(&["start", "box"]);
        }
        machine.ok(&["pause", "box"]);
        machine.ok(end);
    }
    machine.finish();
}

#[test]
fn several_are_paused_at_once_and_each_fault_is_told_of_its_own() {
    let Some(machine) = Machine::new() else { return };
    for name in ["one", "two"] {
        sleeper(&machine, name, &[]);
    }
    machine.ok(&["create", "--name", "idle", "--network", "none", "busybox", "true"]);
    let output = machine.carrack(&["pause", "one", "nobody", "idle", "two"]);
    assert!(["one", "two"].iter().all(|name| is_frozen(machine.pid(name))));
    assert_eq!(exit_code(&output), 1);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "one\ntwo\n");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("nobody") && said.contains("idle is not running"), "{said}");
    assert_eq!(machine.ok(&["container", "unpause", "one", "two"]), "one\ntwo");
    machine.finish();
}

#[test]
fn a_paused_container_that_is_killed_from_outside_starts_again_and_runs() {
    let Some(machine) = Machine::new() else { return };
    sleeper(&machine, "box", &["--restart", "always"]);
    machine.ok(&["pause", "box"]);
    let first = machine.pid("box");
    kill(first);
    if !freezer(first).join("cgroup.freeze").exists() {
        // v1 lets no frozen process die.
        machine.ok(&["unpause", "box"]);
    }
    let second = eventually("it runs again", || Some(machine.pid("box")).filter(|pid| *pid != first && *pid > 0));
    assert!(!is_frozen(second));
    assert_eq!(machine.ok(&["exec", "box", "echo", "alive"]), "alive");
    machine.finish();
}

#[test]
fn a_paused_container_outlives_its_shim() {
    let Some(machine) = Machine::new() else { return };
    sleeper(&machine, "box", &[]);
    machine.ok(&["pause", "box"]);
    let pid = machine.pid("box");
    kill(machine.shim_pid("box"));
    // Any command that changes something gives it a new one.
    eventually("it is adopted", || {
        machine.ok(&["rm", "--force", "nobody"]);
        (status(&machine, "box") == "paused").then_some(())
    });
    assert!(is_frozen(pid));
    machine.ok(&["unpause", "box"]);
    assert!(!is_frozen(pid) && machine.pid("box") == pid);
    machine.finish();
}

#[test]
fn a_new_name_is_the_only_one_for_everybody() {
    crate::machine::on_both_hosts(|machine| {
        machine.ok(&["network", "create", "net"]);
        for name in ["server", "client"] {
            machine.ok(&["run", "-d", "--name", name, "--network", "net", "busybox", "sleep", "1000"]);
        }
        let finds = |name: &str| machine.code(&["exec", "client", "ping", "-c", "1", "-w", "5", name]) == 0;
        assert!(finds("server"));
        let id = machine.ok(&["inspect", "--format", "{{.Id}}", "server"]);
        assert_eq!(machine.ok(&["rename", "server", "Database"]), "");
        assert_eq!(machine.ok(&["inspect", "--format", "{{.Id}}", "Database"]), id);
        assert_eq!(std::fs::read_link(machine.data().join("names/Database")).unwrap().to_str(), Some(id.as_str()));
        assert!(!machine.data().join("names/server").exists());
        assert!(finds("database") && !finds("server"));
        // It holds beyond the next start.
        machine.ok(&["restart", "-t", "0", "Database"]);
        assert!(finds("database") && !finds("server"));

        assert_eq!(machine.fails(&["rename", "Database", "client"]).code(), "engine/name-taken");
        assert_eq!(machine.fails(&["rename", "Database", "Database"]).code(), "engine/name-taken");
        assert_eq!(machine.fails(&["rename", "Database", "a b"]).code(), "engine/invalid-name");
        assert_eq!(machine.fails(&["rename", "Database", ""]).code(), "engine/invalid-name");
        assert_eq!(machine.fails(&["rename", "server", "other"]).code(), "engine/no-such-container");
        assert_eq!(machine.ok(&["ps", "--format", "{{.Names}}", "--filter", "name=Database"]), "Database");
        // The old one is free.
        machine.ok(&["rename", "client", "server"]);
        machine.finish();
    });
}

#[test]
fn of_many_that_want_one_name_one_gets_it() {
    let Some(machine) = Machine::new() else { return };
    let names: Vec<String> = (0..8).map(|number| format!("box{number}")).collect();
    for name in &names {
        machine.ok(&["create", "--name", name, "--network", "none", "busybox", "true"]);
    }
    let won = std::thread::scope(|scope| {
        let threads: Vec<_> =
            names.iter().map(|name| scope.spawn(|| machine.code(&["rename", name, "king"]))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|code| *code == 0).count()
    });
    assert_eq!(won, 1);
    assert_eq!(machine.ok(&["ps", "-aq"]).lines().count(), 8);
    assert_eq!(std::fs::read_dir(machine.data().join("names")).unwrap().count(), 8);
    machine.finish();
}

#[test]
fn wait_tells_each_status_in_order_also_of_one_that_is_gone_by_then() {
    let Some(machine) = Machine::new() else { return };
    let read = ["run", "-d", "--network", "none", "-v"];
    let pipe = machine.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let bind = format!("{}:/pipe", pipe.display());
    let script = "read word < /pipe; exit 7";
    machine.ok(&[&read[..], &[&bind, "--rm", "--name", "gone", "busybox", "sh", "-c", script]].concat());
    machine.ok(&["run", "-d", "--network", "none", "--name", "killed", "busybox", "sleep", "1000"]);
    machine.ok(&["create", "--network", "none", "--name", "idle", "busybox", "true"]);
    let mut command = machine.command(&["wait", "killed", "gone", "nobody", "idle"]);
    let waiting = command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let sockets = || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", waiting.id())).unwrap().flatten();
        files
            .filter_map(|file| std::fs::read_link(file.path()).ok())
            .filter(|link| link.to_string_lossy().starts_with("socket:"))
            .count()
    };
    eventually("it is connected to both shims", || {
        (std::fs::read_dir(format!("/proc/{}/fd", waiting.id())).is_ok() && sockets() == 2).then_some(())
    });
    std::fs::write(&pipe, "go\n").unwrap();
    machine.ok(&["kill", "killed"]);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(exit_code(&output), 1);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "137\n7\n0\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("nobody"));
    eventually("--rm takes it away", || (machine.code(&["inspect", "gone"]) == 1).then_some(()));
    assert_eq!(machine.ok(&["wait", "killed"]), "137");
    machine.finish();
}

#[test]
fn signals_have_names_and_numbers() {
    let Some(machine) = Machine::new() else { return };
    let traps: String = ["HUP", "USR1", "37", "62"].map(|name| format!("trap 'echo got {name}' {name}; ")).concat();
    let script = format!("{traps} echo ready; while :; do sleep 1000 & wait; done");
    machine.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sh", "-c", &script]);
    let mut lines = machine.follow(&["logs", "-f", "box"]);
    lines.until("ready");
    for (signal, got) in [("SIGHUP", "HUP"), ("usr1", "USR1"), ("RTMIN+3", "37"), ("SIGRTMAX-2", "62"), ("1", "HUP")] {
        assert_eq!(machine.ok(&["kill", "-s", signal, "box"]), "box");
        lines.until(&format!("got {got}"));
    }
    for wrong in ["0", "65", "FOO", "RTMIN+99", ""] {
        assert_eq!(machine.fails(&["kill", "--signal", wrong, "box"]).code(), "engine/invalid-signal", "{wrong}");
    }
    assert_eq!(machine.fails(&["stop", "-s", "FOO", "box"]).code(), "engine/invalid-signal");
    assert_eq!(status(&machine, "box"), "running");
    machine.ok(&["stop", "-s", "KILL", "box"]);
    assert_eq!(machine.ok(&["wait", "box"]), "137");
    assert_eq!(machine.fails(&["kill", "box"]).code(), "engine/not-running");
    machine.finish();
}

#[test]
fn removing_tells_what_was_there_and_what_was_not() {
    let Some(machine) = Machine::new() else { return };
    for number in 0..6 {
        sleeper(&machine, &format!("box{number}"), &["-v", "/data"]);
    }
    let pids: Vec<i32> = (0..6).map(|number| machine.pid(&format!("box{number}"))).collect();
    let output = machine.carrack(&["rm", "box0", "nobody"]);
    assert!(exit_code(&output) == 1 && output.stdout.is_empty());
    let output = machine.carrack(&["rm", "-f", "nobody", "box0", "box1"]);
    assert!(exit_code(&output) == 0 && output.stdout == b"box0\nbox1\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("nobody"));
    assert_eq!(machine.ok(&["volume", "ls", "-q"]).lines().count(), 6);
    machine.ok(&["rm", "-fv", "box2", "box3", "box4", "box5"]);
    assert_eq!(machine.ok(&["volume", "ls", "-q"]).lines().count(), 2);
    assert!(pids.iter().all(|pid| !PathBuf::from(format!("/proc/{pid}")).exists()));
    assert_eq!(machine.fails(&["rm", "--link", "a"]).code(), "cli/refused");
    assert_eq!(machine.fails(&["start", "--checkpoint", "c", "a"]).code(), "cli/refused");
    machine.finish();
}
