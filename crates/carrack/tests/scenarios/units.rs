//! carrack in units and sessions of systemd: what ends, restarts or reloads them does to containers what was asked for, and no
//! more (F7, F11, X21).

use std::process::Command;

use super::machine::{Machine, Project, eventually, is_host_ours};
use super::systemd::{group, in_unit, machine, systemctl};

/// Ends in order when it is asked to, and says so in its log.
const PATIENT: &str = "trap 'echo ended; exit 0' TERM; echo started; while :; do sleep 1; done";

/// A project with one service that has limits.
fn project(machine: &Machine) -> Project<'_> {
    let project = machine.project("shop");
    let service = format!(
        "services:\n  web:\n    image: busybox\n    network_mode: none\n    mem_limit: 64m\n    pids_limit: 50\n    cpus: 0.5\n    \
         command: [sh, -c, {}]\n",
        serde_json::to_string(&PATIENT).unwrap()
    );
    project.write("compose.yaml", service);
    project
}

fn unit(kind: &str) -> String {
    format!("carrack-scenario-{kind}-{}", std::process::id())
}

fn property(unit: &str, name: &str) -> String {
    let output = Command::new("systemctl").args(["show", "--property", name, "--value", unit]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn container(project: &Project<'_>) -> String {
    project.ok(&["compose", "ps", "--all", "--quiet", "web"])
}

/// Memory, processors, processes, and whether a device that no rule names can be opened.
fn holds(machine: &Machine, name: &str) -> [String; 4] {
    let folder = format!("/sys/fs/cgroup{}", group(machine.pid(name)));
    let read = |file: &str| std::fs::read_to_string(format!("{folder}/{file}")).unwrap().trim().to_owned();
    let open = "test -e /tmp/tun || mknod /tmp/tun c 10 200; (: < /tmp/tun) 2>/dev/null && echo open || echo shut";
    [read("memory.max"), read("cpu.max"), read("pids.max"), machine.ok(&["exec", name, "sh", "-c", open])]
}

#[test]
fn a_unit_that_brings_a_project_up_may_be_stopped_restarted_and_reloaded() {
    let Some(machine) = machine() else { return };
    let (project, unit) = (project(&machine), unit("oneshot"));
    let kind = ["--unit", &unit, "--property=Type=oneshot", "--property=RemainAfterExit=yes"];
    let folder = format!("--working-directory={}", project.dir.display());
    in_unit(&[&kind[..], &[&folder]].concat(), &project.command(&["up", "--detach"]));
    let id = container(&project);
    let pid = machine.pid(&id);
    let limits = ["67108864", "50000 100000", "50", "shut"].map(str::to_owned);
    assert_eq!(holds(&machine, &id), limits);
    for verb in ["daemon-reload", "daemon-reexec"] {
        systemctl(&[verb]);
        assert_eq!(holds(&machine, &id), limits, "{verb}");
    }
    // What is up as it should be is left alone.
    systemctl(&["restart", &unit]);
    assert_eq!((container(&project), machine.pid(&id)), (id.clone(), pid));
    systemctl(&["stop", &unit]);
    assert_eq!(property(&unit, "ActiveState"), "inactive");
    assert_eq!((machine.pid(&id), holds(&machine, &id)), (pid, limits));
    project.ok(&["down"]);
    machine.finish();
}

/// In the foreground the command is the project's, as in Docker: whoever ends it ends what it shows, and in order.
#[test]
fn a_unit_that_shows_a_project_ends_it_in_order() {
    let Some(machine) = machine() else { return };
    let (project, unit) = (project(&machine), unit("foreground"));
    let kind = ["--unit", &unit, "--property=Type=exec", "--property=SuccessExitStatus=130"];
    let folder = format!("--working-directory={}", project.dir.display());
    in_unit(&[&kind[..], &[&folder]].concat(), &project.command(&["up"]));
    for time in 1..3 {
        eventually("the program has begun", || {
            let said = project.carrack(&["compose", "logs", "--no-log-prefix", "web"]).stdout;
            (String::from_utf8_lossy(&said).matches("started").count() == time).then_some(())
        });
        let id = container(&project);
        assert!(group(machine.pid(&id)).starts_with("/carrack.slice/carrack-"));
        systemctl(&[if time == 1 { "restart" } else { "stop" }, &unit]);
        if time == 2 {
            let state = machine.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", &id]);
            assert_eq!(state, "exited 0", "it was given its time");
            assert_eq!(machine.ok(&["logs", &id]).matches("ended").count(), 2);
        }
    }
    project.ok(&["down"]);
    machine.finish();
}

/// A unit to which systemd has given its tree away gets no group of ours, and none of its rights are needed.
#[test]
fn a_delegated_unit_is_left_as_it_is() {
    let Some(machine) = machine() else { return };
    let unit = unit("delegated");
    let tree = format!("/sys/fs/cgroup/system.slice/{unit}.service");
    let run =
        machine.command(&["run", "-d", "--name", "one", "--network", "none", "-m", "64m", "busybox", "sleep", "1000"]);
    let folder = machine.path().display();
    let script = format!(
        "\"$@\" && ls -d {tree}/*/ 2>/dev/null | wc -l >{folder}/groups && wc -w <{tree}/cgroup.subtree_control >{folder}/handed; sleep 1000"
    );
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script, "sh"]).arg(run.get_program()).args(run.get_args());
    shell.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    in_unit(&["--unit", &unit, "--property=Delegate=yes", "--property=Type=exec"], &shell);
    let read = |file: &str| std::fs::read_to_string(machine.path().join(file)).ok().filter(|text| text.ends_with('\n'));
    assert_eq!(eventually("it has run", || read("handed")), "0\n");
    assert_eq!(read("groups"), Some("0\n".into()));
    let pid = machine.pid("one");
    systemctl(&["stop", &unit]);
    assert_eq!(machine.pid("one"), pid);
    assert!(group(pid).starts_with("/carrack.slice/carrack-"), "{}", group(pid));
    machine.finish();
}

/// `--cgroup-parent`: the slice's limits hold what is in it, and what is no slice is refused where systemd has the tree.
#[test]
fn a_slice_that_is_asked_for_holds_its_containers() {
    let Some(machine) = machine() else { return };
    let slice = format!("carrackscenario{}.slice", std::process::id());
    let run = |name: &str, parent: &str| {
        let flags = ["run", "-d", "--name", name, "--network", "none", "--cgroup-parent", parent];
        machine.carrack(&[&flags[..], &["-m", "64m", "busybox", "sleep", "1000"]].concat())
    };
    for name in ["one", "two"] {
        assert!(run(name, &slice).status.success());
        assert!(group(machine.pid(name)).starts_with(&format!("/{slice}/carrack-")), "{}", group(machine.pid(name)));
    }
    systemctl(&["set-property", "--runtime", &slice, "MemoryMax=100M", "TasksMax=200"]);
    let of_slice = std::fs::read_to_string(format!("/sys/fs/cgroup/{slice}/memory.max")).unwrap();
    assert_eq!(of_slice.trim(), (100 << 20).to_string());
    systemctl(&["daemon-reload"]);
    let limit =
        |name| std::fs::read_to_string(format!("/sys/fs/cgroup{}/memory.max", group(machine.pid(name)))).unwrap();
    assert_eq!(limit("one").trim(), (64 << 20).to_string());
    let refused = run("three", "/elsewhere");
    assert_eq!(refused.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("shop.slice"), "it says what can be named");
    machine.ok(&["rm", "-f", "three"]);
    // Both are the tests' own, so nothing has to wait for the keeper's patience.
    machine.ok(&["rm", "-f", "one", "two"]);
    systemctl(&["stop", &slice]);
    machine.finish();
}

/// A login ends with all of its processes where the administrator says so: containers are none of them.
#[test]
fn a_logout_takes_no_container_along() {
    let Some(machine) = machine() else { return };
    if !is_host_ours() {
        return;
    }
    let rules = std::path::Path::new("/run/systemd/logind.conf.d/carrack-scenario.conf");
    std::fs::create_dir_all(rules.parent().unwrap()).unwrap();
    std::fs::write(rules, "[Login]\nKillUserProcesses=yes\nKillExcludeUsers=\n").unwrap();
    systemctl(&["restart", "systemd-logind"]);
    let run = machine.command(&["run", "-d", "--name", "one", "busybox", "sleep", "1000"]);
    // A witness that the logout kills what is in the session.
    let [witness, session] = ["witness", "session"].map(|file| format!("{}/{file}", machine.path().display()));
    let script =
        format!("cat /proc/self/cgroup >{session}; setsid sleep 1000 & echo $! >{witness}; \"$@\"; exec sleep 1000");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &script, "sh"]).arg(run.get_program()).args(run.get_args());
    shell.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let unit = unit("login");
    in_unit(&["--unit", &unit, "--property=PAMName=login", "--property=User=root", "--property=Type=exec"], &shell);
    eventually("it runs", || {
        let output = machine.carrack(&["inspect", "--format", "{{.State.Status}}", "one"]);
        (output.stdout == b"running\n").then_some(())
    });
    let session = std::fs::read_to_string(session).unwrap();
    let session = session.trim().rsplit("/session-").next().unwrap().trim_end_matches(".scope").to_owned();
    let ended = Command::new("loginctl").args(["terminate-session", &session]).status().unwrap();
    assert!(ended.success(), "{session}");
    let witness: i32 = std::fs::read_to_string(witness).unwrap().trim().parse().unwrap();
    eventually("the session's own processes are gone", || {
        carrack_runtime::state::start_ticks_of(witness).is_none().then_some(())
    });
    assert!(group(machine.pid("one")).starts_with("/carrack.slice/carrack-"));
    assert_eq!(machine.ok(&["exec", "one", "echo", "still there"]), "still there");
    std::fs::remove_file(rules).unwrap();
    systemctl(&["restart", "systemd-logind"]);
    let _ended = Command::new("systemctl").args(["stop", &unit]).output();
    machine.finish();
}
