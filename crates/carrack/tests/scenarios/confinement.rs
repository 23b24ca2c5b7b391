//! Containers under AppArmor: with nothing loaded `run` says so once; with the profile they can do what Docker's can, and no
//! more (F4, F10).

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::machine::{Machine, eventually, is_host_ours};

const INSTALLED: &str = "/etc/apparmor.d/carrack-default";
const HELD: &str = "carrack-default (enforce)";

/// None, with the reason printed, where there is nothing to try it with.
fn machine() -> Option<Machine> {
    if !is_host_ours() {
        return None;
    }
    if !std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y')) {
        eprintln!("skipped: AppArmor is not on here");
        return None;
    }
    Machine::new()
}

#[track_caller]
fn load(action: &str, profile: &str) {
    let mut parser =
        Command::new("apparmor_parser").args([action, "--skip-cache"]).stdin(Stdio::piped()).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(profile.as_bytes()).unwrap();
    assert!(parser.wait().unwrap().success(), "{action}: {profile}");
}

fn is_loaded(name: &str) -> bool {
    let profiles = std::fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap();
    profiles.lines().any(|line| line.split(' ').next() == Some(name))
}

fn run(machine: &Machine, flags: &[&str], line: &str) -> Output {
    machine.carrack(&[&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", line]].concat())
}

fn says(machine: &Machine, flags: &[&str], line: &str) -> String {
    String::from_utf8_lossy(&run(machine, flags, line).stdout).trim().to_owned()
}

const CURRENT: &str = "cat /proc/self/attr/apparmor/current";

#[test]
fn who_has_no_profile_is_told_once_and_doctor_loads_it() {
    let Some(machine) = machine() else { return };
    if is_loaded("carrack-default") {
        std::fs::write("/sys/kernel/security/apparmor/.remove", "carrack-default").unwrap();
        let _not_there = std::fs::remove_file(INSTALLED);
    }
    let first = run(&machine, &[], CURRENT);
    let said = String::from_utf8_lossy(&first.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&first.stdout), "unconfined\n");
    assert!(
        said.contains("carrack-default is not loaded") && said.contains("carrack doctor --install-profile"),
        "{said}"
    );
    let second = run(&machine, &[], CURRENT);
    assert_eq!((String::from_utf8_lossy(&second.stdout), second.stderr.len()), ("unconfined\n".into(), 0));
    // Who only ever brings projects up is told as well.
    let other = Machine::new().unwrap();
    let project = other.project("shop");
    project.write(
        "compose.yaml",
        "services:\n  web:\n    image: busybox\n    network_mode: none\n    command: sleep 1000\n",
    );
    let up = || String::from_utf8_lossy(&project.carrack(&["up", "--detach"]).stderr).into_owned();
    assert!(up().contains("carrack doctor --install-profile"));
    assert!(!up().contains("carrack doctor"));
    project.ok(&["down"]);
    other.finish();
    let check = || {
        let report = machine.json_whatever(&["doctor"]);
        report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "apparmor").unwrap().clone()
    };
    let found = check();
    assert_eq!((&found["ok"], &found["fix"]), (&false.into(), &"carrack doctor --install-profile".into()), "{found}");

    machine.ok(&["doctor", "--install-profile"]);
    assert!(is_loaded("carrack-default") && Path::new(INSTALLED).exists());
    assert_eq!(check()["ok"], true);
    assert_eq!(says(&machine, &[], CURRENT), HELD);
    // The next boot loads what lies in the folder: it must be the same.
    let at_boot = Command::new("apparmor_parser").args(["--replace", INSTALLED]).status().unwrap();
    assert!(at_boot.success());
    assert_eq!(says(&machine, &[], CURRENT), HELD);
    machine.finish();
}

#[test]
fn a_profile_is_chosen_and_holds_whoever_enters() {
    let Some(machine) = machine() else { return };
    machine.ok(&["doctor", "--install-profile"]);
    for flags in [["--user", "1000"], ["--security-opt", "no-new-privileges"], ["--cap-add", "ALL"], ["--pid", "host"]]
    {
        assert_eq!(says(&machine, &flags, CURRENT), HELD, "{flags:?}");
    }
    for flags in [&["--security-opt", "apparmor=unconfined"][..], &["--privileged"]] {
        assert_eq!(says(&machine, flags, CURRENT), "unconfined", "{flags:?}");
    }
    let own = "profile carrack-scenario flags=(attach_disconnected) { file, capability, network, signal, }";
    load("--replace", own);
    let chosen = ["--security-opt", "apparmor=carrack-scenario"];
    assert_eq!(says(&machine, &chosen, CURRENT), "carrack-scenario (enforce)");
    let missing = machine.fails(&["run", "--rm", "--security-opt", "apparmor=nobody", "busybox", "true"]);
    assert!(missing.text().contains("no profile of this name is loaded"), "{}", missing.text());

    for (name, flags, label) in [("default", &[][..], HELD), ("own", &chosen, "carrack-scenario (enforce)")] {
        machine
            .ok(&[&["run", "-d", "--name", name, "--network", "none"], flags, &["busybox", "sleep", "1000"]].concat());
        let kernel = std::fs::read_to_string(format!("/proc/{}/attr/apparmor/current", machine.pid(name))).unwrap();
        assert_eq!(kernel.trim(), label);
        assert_eq!(machine.ok(&["exec", name, "sh", "-c", CURRENT]), label);
        assert_eq!(machine.ok(&["exec", "--user", "1000", name, "sh", "-c", CURRENT]), label);
        assert_eq!(machine.json(&["inspect", name])[0]["EffectiveLimits"]["SecurityLabel"], label);
    }
    machine.ok(&["rm", "-f", "own"]);
    load("--remove", own);
    machine.finish();
}

/// A build's steps run as containers do.
#[test]
fn steps_of_a_build_are_held_too() {
    let Some(machine) = machine() else { return };
    machine.ok(&["doctor", "--install-profile"]);
    let project = machine.project("build");
    project.write("Dockerfile", format!("FROM busybox\nRUN {CURRENT} > /label\n"));
    project.ok(&["build", "--tag", "labelled", "."]);
    assert_eq!(machine.ok(&["run", "--rm", "--network", "none", "labelled", "cat", "/label"]), HELD);
    machine.finish();
}

/// Each with the rights and without the masks that would deny it otherwise, so that the profile is what does.
#[test]
fn what_the_profile_denies_is_denied() {
    let Some(machine) = machine() else { return };
    machine.ok(&["doctor", "--install-profile"]);
    let same = |file: &str| format!("v=$(cat {file}) && echo $v > {file}");
    let cases: [(&[&str], String); 5] = [
        (&["--cap-add", "SYS_ADMIN"], "mount -t tmpfs none /tmp".into()),
        (&["--security-opt", "systempaths=unconfined"], same("/proc/sys/kernel/panic")),
        (&["--security-opt", "systempaths=unconfined"], same("/proc/sys/vm/swappiness")),
        (&["--cap-add", "SYS_PTRACE", "--pid", "host"], "cat /proc/1/environ > /dev/null".into()),
        (&["--cap-add", "SYS_PTRACE", "--pid", "host"], "readlink /proc/1/fd/0".into()),
    ];
    for (flags, line) in &cases {
        assert_ne!(run(&machine, flags, line).status.code(), Some(0), "{line}");
        let open = [*flags, &["--security-opt", "apparmor=unconfined"][..]].concat();
        let allowed = run(&machine, &open, line);
        assert!(
            allowed.status.success(),
            "else nothing is tried by {line}: {}",
            String::from_utf8_lossy(&allowed.stderr)
        );
    }
    // What belongs to the container is its own.
    let own = [
        (&["--security-opt", "systempaths=unconfined"][..], same("/proc/sys/kernel/shmmax")),
        (&["--sysctl", "net.ipv4.ip_forward=1"], "grep 1 /proc/sys/net/ipv4/ip_forward".into()),
        (&[], "sleep 100 & cat /proc/$!/environ > /dev/null && kill $!".into()),
        (&["--cap-add", "SYS_ADMIN"], "umount /dev/mqueue".into()),
        (&["--tmpfs", "/scratch"], "echo a > /scratch/a && cat /scratch/a".into()),
    ];
    for (flags, line) in &own {
        let ended = run(&machine, flags, line);
        assert!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
    }
    machine.finish();
}

/// Signals come from the host and among containers, and never go the other way.
#[test]
fn signals_cross_the_border_one_way() {
    let Some(machine) = machine() else { return };
    machine.ok(&["doctor", "--install-profile"]);
    let line = "trap 'echo told' USR1; trap 'exit 7' TERM; echo ready; while :; do sleep 1; done";
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "busybox", "sh", "-c", line]);
    let mut log = machine.follow(&["logs", "-f", "one"]);
    log.until("ready");
    machine.ok(&["kill", "-s", "USR1", "one"]);
    log.until("told");
    machine.ok(&["run", "--rm", "--network", "none", "--pid", "container:one", "busybox", "kill", "-USR1", "1"]);
    log.until("told");
    machine.ok(&["exec", "one", "kill", "-USR1", "1"]);
    log.until("told");
    machine.ok(&["stop", "one"]);
    eventually("it ended in order", || {
        (machine.ok(&["inspect", "--format", "{{.State.ExitCode}}", "one"]) == "7").then_some(())
    });

    let mut victim = Command::new("sleep").arg("1000").spawn().unwrap();
    let kill = format!("kill {}", victim.id());
    assert_ne!(run(&machine, &["--pid", "host"], &kill).status.code(), Some(0));
    assert!(victim.try_wait().unwrap().is_none(), "it lives");
    assert!(run(&machine, &["--pid", "host", "--security-opt", "apparmor=unconfined"], &kill).status.success());
    victim.wait().unwrap();
    machine.finish();
}
