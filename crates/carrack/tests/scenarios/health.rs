//! Health checks: Docker's, and carrack's own probes (H2, H6, H10, X24).

use serde_json::Value;

use super::machine::{Machine, eventually};

/// `run -d --network none …`
fn start(machine: &Machine, name: &str, flags: &[&str], command: &[&str]) {
    machine.ok(&[&["run", "-d", "--name", name, "--network", "none"], flags, &["busybox"], command].concat());
}

fn state(machine: &Machine, name: &str) -> Value {
    let text = machine.ok(&["inspect", "--format", "{{json .State}}", name]);
    serde_json::from_str(&text).unwrap()
}

/// Waits for a verdict and returns the last probe.
#[track_caller]
fn becomes(machine: &Machine, name: &str, verdict: &str) -> Value {
    eventually(&format!("{name} is {verdict}"), || {
        let health = state(machine, name)["Health"].clone();
        (health["Status"] == verdict).then(|| health["Log"].as_array().unwrap().last().unwrap().clone())
    })
}

const SERVER: &str = "mkdir -p /www && echo ok > /www/ready && exec httpd -f -p 8080 -h /www";
const OFTEN: [&str; 4] = ["--health-interval", "50ms", "--health-retries", "1"];

#[test]
fn probes_of_our_own_need_no_program_in_the_image() {
    let Some(machine) = Machine::new() else { return };
    for (name, probe, good, spoil, bad) in [
        ("page", "http://:8080/ready", "GET http://localhost:8080/ready: 200 OK", "rm /www/ready", "404"),
        ("port", "tcp://:8080", "connected to 127.0.0.1:8080", "kill $(pidof httpd)", "Connection refused"),
        ("file", "file:///www/ready", "/www/ready exists", "rm /www/ready", "No such file"),
        ("program", "exec test -e /www/ready", "", "rm /www/ready", ""),
    ] {
        let flags = [&["--init", "--health-probe", probe], &OFTEN[..]].concat();
        let server = format!("({SERVER}) & while :; do sleep 1000; done");
        start(&machine, name, &flags, &["sh", "-c", &server]);
        let probe = becomes(&machine, name, "healthy");
        assert_eq!((probe["ExitCode"].as_i64(), probe["Output"].as_str().unwrap().trim()), (Some(0), good), "{name}");
        machine.ok(&["exec", name, "sh", "-c", spoil]);
        let probe = becomes(&machine, name, "unhealthy");
        assert_eq!(probe["ExitCode"], 1, "{name}: {probe}");
        assert!(probe["Output"].as_str().unwrap().contains(bad), "{name}: {probe}");
        machine.ok(&["rm", "-f", name]);
    }
    let events = std::fs::read_to_string(machine.path().join("run/events")).unwrap();
    assert!(events.contains("health_status: healthy") && events.contains("health_status: unhealthy"), "{events}");
    for (probe, said) in
        [("http://db/", "not resolved"), ("ping", "begins with"), ("tcp://:80 status=200", "no option")]
    {
        let failure = machine.fails(&["run", "--rm", "--health-probe", probe, "busybox", "true"]);
        assert!(failure.text().contains(said), "{}", failure.text());
    }
    machine.finish();
}

/// What `/proc` says of the process that asks for a container's health; its parent is the shim.
fn probing(machine: &Machine, name: &str) -> Option<(String, Vec<String>)> {
    let shim = format!("PPid:\t{}\n", machine.shim_pid(name));
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let mut probes =
        processes.filter(|path| std::fs::read(path.join("cmdline")).is_ok_and(|text| text == b"carrack-probe\0"));
    let path =
        probes.find(|path| std::fs::read_to_string(path.join("status")).is_ok_and(|text| text.contains(&shim)))?;
    let status = std::fs::read_to_string(path.join("status")).ok()?;
    let open = std::fs::read_dir(path.join("fd")).ok()?.flatten();
    let open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    Some((status, open.map(|target| target.display().to_string()).collect()))
}

/// Who listens to a server of the container's can do nothing else, and who waits for a program of it can end it (F8).
#[test]
fn a_probe_has_no_more_rights_than_it_needs() {
    let Some(machine) = Machine::new() else { return };
    let slow = ["--health-interval", "50ms", "--health-timeout", "100s"];
    // It takes connections and says nothing.
    let silent = ["nc", "-ll", "-p", "8080", "-e", "sleep", "1000"];
    start(&machine, "page", &[&["--init", "--health-probe", "http://:8080/"], &slow[..]].concat(), &silent);
    let (status, open) = eventually("a probe that waits for its answer", || {
        probing(&machine, "page").filter(|(status, open)| {
            status.contains("Seccomp:\t2\n") && open.iter().filter(|target| target.starts_with("socket:")).count() == 2
        })
    });
    for line in ["Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    let others: Vec<&String> = open.iter().filter(|target| !target.starts_with("socket:")).collect();
    assert!(others.len() <= 3, "the null device twice and the shim's log: {open:?}");

    start(&machine, "program", &[&["--init", "--health-cmd", "sleep 1000"], &slow[..]].concat(), &["sleep", "1000"]);
    let (status, _) = eventually("a probe that waits for its program", || {
        probing(&machine, "program").filter(|(status, _)| status.contains("Seccomp:\t2\n"))
    });
    assert!(status.contains("CapEff:\t0000000000000020") && status.contains("CapBnd:\t0000000000000000"), "{status}");
    machine.finish();
}

/// A service is found to be ready when it is, and not an interval later, by the check of a container's own user (H10).
#[test]
fn the_first_probes_do_not_wait_for_an_interval() {
    let Some(machine) = Machine::new() else { return };
    let before = std::time::Instant::now();
    start(&machine, "one", &["-u", "1000", "--health-cmd", "id -u"], &["sleep", "1000"]);
    assert_eq!(becomes(&machine, "one", "healthy")["Output"], "1000\n");
    assert!(before.elapsed().as_secs() < 25, "Docker's first probe comes after 30 s");
    machine.finish();
}

#[test]
fn a_probe_that_takes_too_long_ends_with_all_that_it_has_started() {
    let Some(machine) = Machine::new() else { return };
    let probe = "setsid sleep 4321 & (sleep 4321 &) ; sleep 4321";
    let flags = [&["--init", "--health-cmd", probe, "--health-timeout", "300ms"], &OFTEN[..]].concat();
    start(&machine, "one", &flags, &["sleep", "1000"]);
    let last = becomes(&machine, "one", "unhealthy");
    assert_eq!(last["ExitCode"], -1);
    assert_eq!(last["Output"], "Health check exceeded timeout (300ms)");
    // The next probe may run: what counts is that no two of them ever do.
    let most = (0..20).map(|_| machine.ok(&["exec", "one", "sh", "-c", "pgrep -f '^sleep 4321' | wc -l"]));
    let most = most.map(|count| count.parse::<u32>().unwrap()).max().unwrap();
    assert!(most <= 3, "{most} processes of probes");
    machine.finish();
}

#[test]
fn what_follows_when_it_becomes_unhealthy_is_chosen() {
    let Some(machine) = Machine::new() else { return };
    let sick = |name: &str, action: &str, restart: &str| {
        let policy =
            ["--health-cmd", "false", "--health-on-failure", action, "--restart", restart, "--stop-signal", "KILL"];
        start(&machine, name, &[&policy[..], &OFTEN].concat(), &["sleep", "1000"]);
    };
    sick("stopped", "stop", "always");
    sick("killed", "kill", "no");
    sick("restarted", "restart:2", "no");
    eventually("the end of what is stopped", || (state(&machine, "stopped")["Status"] == "exited").then_some(()));
    eventually("the end of what is killed", || (state(&machine, "killed")["ExitCode"] == 137).then_some(()));
    let count = || machine.ok(&["inspect", "--format", "{{.RestartCount}}", "restarted"]);
    eventually("two restarts", || (count() == "2").then_some(()));
    becomes(&machine, "restarted", "unhealthy");
    assert_eq!(state(&machine, "restarted")["Status"], "running", "its budget is used up");
    assert_eq!(count(), "2");
    assert_eq!(state(&machine, "stopped")["Status"], "exited", "no policy undoes a stop");
    machine.finish();
}

/// Other tools go by `test` and ignore what is ours (H2).
#[test]
fn compose_files_name_probes_in_keys_of_our_own() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("shop");
    let file = |probe: &str| {
        format!(
            "services:\n  web:\n    image: busybox\n    network_mode: none\n    stop_signal: KILL\n    \
             command: [sh, -c, '{SERVER}']\n    healthcheck:\n      test: [CMD, curl, -f, 'http://localhost:8080/ready']\n      \
             {probe}\n      x-carrack-on-failure: restart:3\n  after:\n    image: busybox\n    network_mode: none\n    \
             command: [sleep, '1000']\n    stop_signal: KILL\n    depends_on: {{web: {{condition: service_healthy}}}}\n"
        )
    };
    project.write("compose.yaml", file("x-carrack-probe: http://:8080/ready status=200"));
    project.ok(&["up", "-d"]);
    assert_eq!(state(&machine, "shop-web-1")["Health"]["Status"], "healthy");
    assert_eq!(state(&machine, "shop-after-1")["Status"], "running");
    let config = project.ok(&["config"]);
    assert!(config.contains("x-carrack-probe: \"http://:8080/ready status=200\""), "{config}");
    assert!(config.contains("x-carrack-on-failure: restart:3") && config.contains("- curl"), "{config}");
    project.ok(&["down"]);
    for (wrong, said) in
        [("x-carrack-probe: http://db/", "not resolved"), ("x-carrack-prob: tcp://:80", "x-carrack-probe")]
    {
        project.write("compose.yaml", file(wrong));
        let failure = project.fails(&["config"]);
        assert!(failure.text().contains(said), "{}", failure.text());
    }
    machine.finish();
}
