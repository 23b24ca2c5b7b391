//! Killed, failing and slow at every kind of step; two at once; no space (I-1 I-3 I-4 X21). `CARRACK_KILL=all` tries
//! all faults at all steps, which takes minutes; without, every seventh and each kind of step.

use std::process::Stdio;

use carrack_engine::fault::KINDS;

use crate::machine::{Machine, Project, eventually, exit_code, kill};

/// What is interrupted. Each begins with release 1 serving, but for the first.
const COMMANDS: [&[&str]; 4] = [&["up", "-d"], &["up", "-d", "--wait"], &["rollback"], &["down", "-v"]];

/// One service that serves what its release says, and what it leans on; where asked for, one that is replaced gradually.
fn write(project: &Project, version: &str, gradual: bool) {
    let gate = format!(
        "  gate:
    image: busybox
    init: true
    command: sleep 1000
    environment: {{VERSION: {version}}}
    deploy: {{update_config: {{order: start-first}}}}
"
    );
    let gate = if gradual { gate } else { String::new() };
    let extra = match version {
        "one" => "networks: {default: , old: }\nvolumes: {data: , old: }\n",
        _ => "networks: {default: , new: }\nvolumes: {data: , new: }\n",
    };
    let own = if version == "one" { "old" } else { "new" };
    // Not the same in any two projects, so that each has to be stored.
    let folder = project.dir.display();
    let file = format!(
        "services:
  web:
    image: busybox
    init: true
    command: sh -c 'head -n 1 /conf > /served; exec sleep 1000'
    healthcheck: {{test: test -e /served, interval: 1s, start_period: 10s, start_interval: 50ms}}
    configs: [{{source: conf, target: /conf}}]
    volumes: [data:/data, {own}:/own]
    networks: [default, {own}]
    stop_grace_period: 2s
  bystander:
    image: busybox
    init: true
    command: sleep 1000
{gate}configs: {{conf: {{content: \"{version}\\n{folder}\"}}}}
{extra}"
    );
    project.write("compose.yaml", file);
}

fn served(project: &Project) -> String {
    project.ok(&["compose", "exec", "-T", "web", "cat", "/served"])
}

/// One fault in one command, and what must hold after it. Whether the fault struck: not every command has every step.
fn interrupt(machine: &Machine, number: usize, command: &[&str], fault: &str) -> bool {
    let what = format!("{fault} in {command:?}");
    let project = machine.project(&format!("fault{number}"));
    let gradual = fault.ends_with("-names");
    write(&project, "one", gradual);
    project.ok(&["up", "-d", "--wait"]);
    project.ok(&["compose", "exec", "-T", "web", "sh", "-c", "echo precious > /data/file"]);
    write(&project, "two", gradual);
    if command[0] == "rollback" {
        project.ok(&["up", "-d", "--wait"]);
    }
    let hit = project.command(command).env("CARRACK_FAULT", fault).output().unwrap();
    let text = String::from_utf8_lossy(&hit.stderr).into_owned();

    let status = project.carrack(&["status"]);
    assert!([0, 14].contains(&exit_code(&status)), "{what}: status works: {}", String::from_utf8_lossy(&status.stderr));
    match exit_code(&hit) {
        0 => {}
        137 => {
            // Killed: the journal is open unless it was before the first node or after the last mark.
            let open = project.json(&["status"])["open"].clone();
            let shown = String::from_utf8_lossy(&status.stdout).contains("unfinished");
            assert_eq!(!open.is_null(), shown, "{what}: people and machines are told the same");
        }
        _ => {
            assert!(text.contains("injected fault"), "{what}: {text}");
            if command[0] != "down" {
                // I-1: until the release is to be recorded the old one serves again, from there on the new one.
                let content = ["", "one", "two", "one"];
                let old = if command[0] == "rollback" { 2 } else { 1 };
                let late = ["record-release", "remove-container", "retire-release", "remove-network", "remove-volume"];
                let serves = if late.iter().any(|kind| fault.ends_with(kind)) { old + 1 } else { old };
                let status = project.json(&["status"]);
                let told = serves == status["release"] || !status["open"].is_null();
                assert!(told, "{what}: {status}");
                let hint = if serves == old { "is undone" } else { "finishes it" };
                assert!(text.contains(hint), "{what}: {text}");
                assert_eq!(served(&project), content[serves], "{what}: {text}");
            }
        }
    }
    // The next one ends in the new release, whatever was left.
    project.ok(&["up", "-d", "--wait"]);
    assert_eq!(served(&project), "two", "{what}");
    assert_eq!(project.json(&["status"])["open"], serde_json::Value::Null, "{what}");
    assert_eq!(
        project.ok(&["compose", "ps", "-q", "-a"]).lines().count(),
        2 + usize::from(gradual),
        "{what}: no container too many"
    );
    if command[0] != "down" {
        assert_eq!(project.ok(&["compose", "exec", "-T", "web", "cat", "/data/file"]), "precious", "{what}");
    }
    assert_eq!(project.json(&["plan"])["nodes"], serde_json::json!([]), "{what}: nothing is left to do");
    assert_eq!(machine.json(&["doctor", "--leaks"]), serde_json::json!([]), "{what}");
    project.ok(&["down", "-v"]);
    exit_code(&hit) != 0
}

/// All of one action, on one machine: whole, or a sample and whatever more it takes to strike each kind of step once.
fn interrupt_all(action: &str, offset: usize) {
    let Some(machine) = Machine::new() else { return };
    let all = std::env::var_os("CARRACK_KILL").is_some_and(|value| value == "all");
    let mut cases = Vec::new();
    for command in COMMANDS {
        for kind in KINDS {
            cases.extend(["before", "after"].map(|moment| (command, moment, *kind)));
        }
    }
    let (sample, rest): (Vec<_>, Vec<_>) =
        cases.into_iter().enumerate().partition(|(number, _)| all || number % 7 == offset);
    // A delay leaves no trace that would tell whether it struck.
    let complete = action != "delay";
    let whole = |command: &[&str]| command.contains(&"--wait") || command.contains(&"down");
    let sampled = sample.len();
    let mut never = KINDS.to_vec();
    for (place, (number, (command, moment, kind))) in sample.into_iter().chain(rest).enumerate() {
        let missing = complete && never.contains(&kind) && moment == "before" && whole(command);
        if (place < sampled || missing) && interrupt(&machine, number, command, &format!("{action}:{moment}:{kind}")) {
            never.retain(|one| *one != kind);
        }
    }
    if complete {
        assert_eq!(never, [""; 0], "steps of these kinds were never struck");
    }
    machine.finish();
}

#[test]
fn a_fault_that_kills_is_finished_or_undone_by_the_next_up() {
    interrupt_all("kill", 0);
}

#[test]
fn a_fault_that_fails_leaves_the_old_release_serving() {
    interrupt_all("error", 3);
}

#[test]
fn a_fault_that_delays_changes_nothing() {
    interrupt_all("delay", 5);
}

fn tells_how_others_end() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 15)
}

/// I-4: the container outlives its shim, is adopted by the next mutating command, and its output goes on.
#[test]
fn a_killed_shim_kills_nothing() {
    let Some(machine) = Machine::new() else { return };
    let script = "echo before; while ! test -e /go; do sleep 0.1; done; echo after; exec sleep 1000";
    machine.ok(&["run", "-d", "--name", "orphan", "--network", "none", "busybox", "sh", "-c", script]);
    machine.follow(&["logs", "-f", "orphan"]).until("before");
    let program = machine.pid("orphan");
    let status = std::fs::read_to_string(format!("/proc/{program}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    kill(parent);
    eventually("the shim is gone", || (!std::path::Path::new(&format!("/proc/{parent}")).exists()).then_some(()));
    assert!(std::path::Path::new(&format!("/proc/{program}")).exists(), "the program lives");
    assert!(machine.ok(&["ps"]).contains("orphan"));
    // Any command that may write adopts it.
    machine.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
    assert_eq!(machine.pid("orphan"), program);
    machine.ok(&["exec", "orphan", "touch", "/go"]);
    machine.follow(&["logs", "-f", "orphan"]).until("after");
    machine.ok(&["stop", "-t", "1", "orphan"]);
    let status = machine.ok(&["inspect", "--format", "{{.State.Status}}", "orphan"]);
    // Before Linux 6.15 nobody but its reaper learns how a process ended.
    assert!(status == "exited" || (status == "dead" && !tells_how_others_end()), "{status}");
    machine.finish();
}

/// What serves and what is recorded may differ for a moment: it is said in so many words, and the next command ends it.
#[test]
fn a_release_that_can_not_be_recorded_is_recorded_by_the_next_command() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("late");
    write(&project, "one", false);
    project.ok(&["up", "-d", "--wait"]);
    write(&project, "two", false);
    let fails = || {
        let output =
            project.command(&["up", "-d"]).env("CARRACK_FAULT", "error:before:record-release").output().unwrap();
        assert_eq!(exit_code(&output), 1);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains("what is new serves already, and no release says so yet"), "{text}");
        assert!(text.contains("finishes it"), "{text}");
        assert_eq!(served(&project), "two");
        assert_eq!(project.json(&["status"])["release"], 1);
        text
    };
    fails();
    assert!(fails().contains("an earlier apply was being finished"));
    let finished = project.json(&["up", "-d"]);
    assert_eq!((&finished["release"], &finished["steps"]), (&serde_json::json!(2), &serde_json::json!(0)));
    assert!(finished["notes"][0].as_str().unwrap().contains("was finished first"), "{finished}");
    machine.finish();
}

/// A start that is killed when it has its address and nothing else yet.
#[test]
fn an_address_that_nobody_uses_is_given_back() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["network", "create", "tenement"]);
    machine.ok(&["run", "-d", "--init", "--name", "tenant", "--network", "tenement", "busybox", "sleep", "1000"]);
    let leases = machine.path().join("run/networks/tenement.leases");
    let held = std::fs::read(&leases).unwrap();
    machine.ok(&["stop", "tenant"]);
    eventually("all of it has ended", || (machine.code(&["doctor", "--leaks"]) == 0).then_some(()));
    std::fs::write(&leases, held).unwrap();
    let id = machine.ok(&["inspect", "--format", "{{.Id}}", "tenant"]);
    std::fs::write(machine.path().join("run/active").join(id), "").unwrap();
    let leaks = machine.carrack(&["doctor", "--leaks"]);
    assert!(String::from_utf8_lossy(&leaks.stdout).contains("address on network tenement"), "{leaks:?}");
    machine.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
    assert_eq!(machine.json(&["doctor", "--leaks"]), serde_json::json!([]));
    machine.finish();
}

/// A removal that stops half way leaves no container without its name or its files: it goes on with the next command.
#[test]
fn a_removal_that_was_interrupted_goes_on() {
    let Some(machine) = Machine::new() else { return };
    let id = machine.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "true"]);
    machine.ok(&["wait", "box"]);
    let state = machine.path().join("run/containers").join(&id).join("state.json");
    eventually("it is put away", || (machine.code(&["doctor", "--leaks"]) == 0).then_some(()));
    std::fs::copy(state, machine.path().join("state.json")).unwrap();
    let stuck = machine.data().join("containers").join(&id).join("stuck");
    std::fs::create_dir(&stuck).unwrap();
    let Some(mounted) = Tmpfs::mount(&stuck, 1 << 20) else {
        eprintln!("skipped: no tmpfs can be mounted here");
        return machine.finish();
    };
    assert_ne!(machine.code(&["rm", "box"]), 0);
    assert_eq!(machine.ok(&["ps", "-aq"]), "", "what can not be started any more is no container");
    drop(mounted);
    // The last word of a shim, written when the rest was removed.
    let run = machine.path().join("run/containers").join(&id);
    std::fs::create_dir_all(&run).unwrap();
    std::fs::copy(machine.path().join("state.json"), run.join("state.json")).unwrap();
    machine.ok(&["run", "--rm", "--name", "box", "--network", "none", "busybox", "true"]);
    assert!(!stuck.exists());
    assert_eq!(machine.json(&["doctor", "--leaks"]), serde_json::json!([]));
    machine.finish();
}

#[test]
fn two_ups_at_once_both_end_well() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("race");
    write(&project, "one", false);
    let spawn = || {
        let mut command = project.command(&["up", "-d", "--wait"]);
        command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let both = [spawn(), spawn(), spawn()];
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(project.json(&["release", "ls"]).as_array().unwrap().len(), 1, "one did it, the others found it done");
    assert_eq!(project.ok(&["compose", "ps", "-q", "-a"]).lines().count(), 2);
    assert_eq!(served(&project), "one");
    machine.finish();
}

/// Same project, same names, two roots: neither sees or hinders the other.
#[test]
fn two_roots_on_one_host() {
    let (Some(left), Some(right)) = (Machine::new(), Machine::new()) else { return };
    let (here, there) = (left.project("twin"), right.project("twin"));
    write(&here, "one", false);
    write(&there, "two", false);
    std::thread::scope(|scope| {
        for project in [&here, &there] {
            scope.spawn(|| project.ok(&["up", "-d", "--wait"]));
        }
    });
    assert_eq!((served(&here).as_str(), served(&there).as_str()), ("one", "two"));
    here.ok(&["down", "-v"]);
    assert_eq!(served(&there), "two");
    assert_eq!(left.ok(&["ps", "-q"]), "");
    left.finish();
    assert_eq!(served(&there), "two", "the other's end is not ours");
    right.finish();
}

/// A store on a small file system that fills: the error says so, nothing is torn, and room is all it takes.
#[test]
fn a_full_disk_is_named_and_survived() {
    let Some(machine) = Machine::new() else { return };
    let archive = machine.path().join("busybox.tar");
    let small = machine.path().join("small");
    std::fs::create_dir(&small).unwrap();
    // Room for the image as blob and as files, not for what the container will ask for.
    let size = 3 * std::fs::metadata(&archive).unwrap().len() + (1 << 20);
    let Some(mounted) = Tmpfs::mount(&small, size) else {
        eprintln!("skipped: no tmpfs can be mounted here");
        return machine.finish();
    };
    let small_root = small.join("data").display().to_string();
    let on = |arguments: &[&'static str]| [&["--root", small_root.as_str()], arguments].concat();
    let import = |name| [on(&["import"]).as_slice(), &[archive.to_str().unwrap(), name]].concat();
    machine.ok(&import("busybox"));
    let full = machine.project("full");
    full.write("Dockerfile", "FROM busybox\nRUN head -c 100000 /dev/zero > /cached\n");
    full.ok(&on(&["build", "-t", "cached", "."]));
    full.ok(&on(&["rmi", "cached"]));

    let filler = small.join("filler");
    std::fs::write(&filler, "").unwrap();
    fill(&filler);
    let failure = machine.fails(&import("second"));
    assert_eq!(failure.code(), "store/disk-full", "{}", failure.text());
    assert!(failure.text().contains(small.to_str().unwrap()), "the place is named: {}", failure.text());
    let failure = machine.fails(&on(&["create", "--name", "box", "--network", "none", "busybox", "true"]));
    assert_eq!(failure.code(), "store/disk-full", "{}", failure.text());
    let dockerfile = |text: &str| {
        full.write("Dockerfile", text);
        full.fails(&on(&["build", "-t", "second", "."]))
    };
    full.write("big", vec![7; 1 << 20]);
    let failure = dockerfile("FROM busybox\nCOPY big /\n");
    assert_eq!(failure.place(), ("store/disk-full".into(), "Dockerfile:2:1".into()), "{}", failure.text());
    let failure = dockerfile("FROM busybox\nRUN dd if=/dev/zero of=/big bs=1M count=1\n");
    assert!(failure.hints().contains("free space"), "{}", failure.text());
    let archive = full.dir.join("many.tar");
    let packed =
        std::process::Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(&full.dir).arg("big").status();
    assert!(packed.unwrap().success());
    let failure = dockerfile("FROM busybox\nADD many.tar /unpacked/\n");
    let text = failure.text();
    assert!(failure.code() == "store/disk-full" && text.contains("/unpacked") && !text.contains("/proc/"), "{text}");
    // What was there is whole, what failed is not there.
    assert!(machine.ok(&on(&["images"])).contains("busybox"));
    assert_eq!(machine.ok(&on(&["images", "-q", "second"])), "");
    assert_eq!(machine.ok(&on(&["ps", "-aq"])), "");

    // What the hint says can be done without any room.
    let pruned = machine.json(&on(&["builder", "prune", "-f"]));
    assert!(pruned["freed_bytes"].as_u64().unwrap() > 100_000, "{pruned}");
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(machine.ok(&on(&["run", "--rm", "--network", "none", "busybox", "echo", "room"])), "room");
    assert_eq!(machine.json(&on(&["doctor", "--leaks"])), serde_json::json!([]));
    machine.ok(&on(&["network", "prune", "-f"]));
    drop(mounted);
    machine.finish();
}

/// A small file system of its own, unmounted at the end.
struct Tmpfs<'a>(&'a std::path::Path);

impl<'a> Tmpfs<'a> {
    fn mount(path: &'a std::path::Path, size_bytes: u64) -> Option<Self> {
        let options = std::ffi::CString::new(format!("size={size_bytes}")).unwrap();
        rustix::mount::mount("none", path, "tmpfs", rustix::mount::MountFlags::empty(), options.as_c_str()).ok()?;
        Some(Self(path))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Writes until there is no room at all.
fn fill(path: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 20, 4096, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}
