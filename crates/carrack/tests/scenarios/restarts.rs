//! Restart policies: back-off, wishes of people, boots (F11, J2, X21).

use carrack_runtime::state::start_ticks_of;

use super::machine::{Machine, eventually, kill};

/// `run -d --network none --restart POLICY …`
fn start(machine: &Machine, name: &str, policy: &str, command: &[&str]) {
    let flags = ["run", "-d", "--name", name, "--network", "none", "--restart", policy, "--stop-signal", "KILL"];
    machine.ok(&[&flags[..], &["busybox"], command].concat());
}

fn of(machine: &Machine, name: &str, field: &str) -> String {
    machine.ok(&["inspect", "--format", &format!("{{{{{field}}}}}"), name])
}

fn status(machine: &Machine, name: &str) -> String {
    of(machine, name, ".State.Status")
}

#[test]
fn policies_decide_what_follows_an_end() {
    let Some(machine) = Machine::new() else { return };
    start(&machine, "twice", "on-failure:2", &["false"]);
    start(&machine, "content", "on-failure", &["true"]);
    start(&machine, "always", "always", &["sleep", "1000"]);
    eventually("the last try", || (of(&machine, "twice", ".RestartCount") == "2").then_some(()));
    eventually("its end", || (status(&machine, "twice") == "exited").then_some(()));
    eventually("an end without failure", || (status(&machine, "content") == "exited").then_some(()));
    assert_eq!(of(&machine, "content", ".RestartCount"), "0");
    // Its first process dies by nobody's wish, and by somebody's.
    let pid = machine.pid("always");
    kill(pid);
    eventually("a restart", || (![0, pid].contains(&machine.pid("always"))).then_some(()));
    machine.ok(&["stop", "always"]);
    assert_eq!((status(&machine, "always").as_str(), of(&machine, "always", ".RestartCount")), ("exited", "1".into()));
    machine.ok(&["start", "always"]);
    assert_eq!(of(&machine, "always", ".RestartCount"), "0", "who starts it begins anew");
    machine.finish();
}

/// The shim and the program killed at once, in every order: a policy holds all the same (I-3, I-4).
#[test]
fn a_killed_shim_does_not_end_a_policy() {
    let Some(machine) = Machine::new() else { return };
    for (name, policy, comes_back) in [("always", "always", true), ("never", "no", false)] {
        for shim_first in [true, false] {
            start(&machine, name, policy, &["sleep", "1000"]);
            let mut victims = [machine.shim_pid(name), machine.pid(name)];
            if !shim_first {
                victims.reverse();
            }
            victims.into_iter().for_each(kill);
            let lives = |pid: &i32| start_ticks_of(*pid).is_some();
            eventually("both ends", || (!victims.iter().any(lives)).then_some(()));
            // Any command that changes something, and nothing of it.
            assert_ne!(machine.code(&["rm", "nobody"]), 0);
            let now = status(&machine, name);
            assert_eq!(now == "running", comes_back, "{name}, the shim first: {shim_first}: {now}");
            machine.ok(&["rm", "-f", name]);
        }
    }
    machine.finish();
}

/// The host goes down in order and comes back: what was stopped by people stays so, where the policy says so.
#[test]
fn a_boot_starts_what_policies_name_and_nobody_has_stopped() {
    let Some(machine) = Machine::new() else { return };
    let all = [
        ("always", "always", true),
        ("always-stopped", "always", true),
        ("unless", "unless-stopped", true),
        ("unless-stopped", "unless-stopped", false),
        ("failure", "on-failure", false),
        ("once", "no", false),
    ];
    for (name, policy, _) in all {
        start(&machine, name, policy, &["sleep", "1000"]);
    }
    start(&machine, "waiting", "always", &["sh", "-c", "test -e /again && exec sleep 1000; touch /again; exit 1"]);
    machine.ok(&["stop", "always-stopped", "unless-stopped"]);
    machine.ok(&["boot", "--stop"]);
    for (name, ..) in all {
        assert_eq!(status(&machine, name), "exited", "{name}");
    }
    assert_eq!(machine.ok(&["ps", "-q"]), "", "nothing starts again while the host goes down");
    let ended = of(&machine, "once", ".State.FinishedAt");
    std::fs::remove_dir_all(machine.path().join("run/containers")).unwrap();
    machine.ok(&["boot"]);
    let once = "{{.State.Status}} {{.State.ExitCode}} {{.State.FinishedAt}}";
    assert_eq!(
        machine.ok(&["inspect", "--format", once, "once"]),
        format!("exited 137 {ended}"),
        "it is known how it ended"
    );
    for (name, _, comes_back) in all {
        assert_eq!(status(&machine, name) == "running", comes_back, "{name}");
    }
    assert_eq!(machine.ok(&["boot"]), "", "what runs is left alone");
    machine.finish();
}

#[test]
fn the_service_of_each_init_names_binary_and_roots() {
    let machine = Machine::empty();
    for init in ["systemd", "openrc", "sysv", "cron"] {
        let text = machine.ok(&["system", "install-boot", "--print", "--init", init]);
        let data = machine.data();
        assert!(text.contains(env!("CARGO_BIN_EXE_carrack")) && text.contains(data.to_str().unwrap()), "{text}");
    }
    assert!(!machine.data().exists(), "who looks makes nothing");
    let failure = machine.fails(&["system", "install-boot", "--print", "--init", "upstart"]);
    assert!(failure.text().contains("systemd, openrc, sysv or cron"), "{}", failure.text());
}
