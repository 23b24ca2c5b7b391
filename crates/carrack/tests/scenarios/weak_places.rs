//! What was weak once: names, boots, ends that nobody saw, and moments between two runs (F11, I1, I3, J2, X21).

use crate::machine::{Machine, eventually, kill, on_both_hosts};

fn of(machine: &Machine, name: &str, field: &str) -> String {
    machine.ok(&["inspect", "--format", &format!("{{{{{field}}}}}"), name])
}

fn status(machine: &Machine, name: &str) -> String {
    of(machine, name, ".State.Status")
}

#[test]
fn what_a_shim_tells_has_the_new_name() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "old", "--network", "none", "busybox", "sleep", "1000"]);
    machine.ok(&["rename", "old", "new"]);
    machine.ok(&["kill", "new"]);
    let events = machine.ok(&["events", "--since", "1h", "--until", "0s", "--filter", "event=die", "--format", "json"]);
    assert!(events.contains(r#""name":"new""#) && !events.contains(r#""name":"old""#), "{events}");
    machine.finish();
}

/// Nothing of the run root is left, as after a boot where it lies in memory.
fn lose_the_run_root(machine: &Machine, names: &[&str]) {
    for name in names {
        for pid in [machine.shim_pid(name), machine.pid(name)] {
            kill(pid);
        }
    }
    let ids: Vec<String> = names.iter().map(|name| of(machine, name, ".Id")).collect();
    for id in ids {
        std::fs::remove_dir_all(machine.path().join("run/containers").join(id)).unwrap();
    }
}

#[test]
fn a_boot_leaves_what_ran_exited_and_what_did_not_created() {
    let Some(machine) = Machine::new() else { return };
    let none = ["--network", "none", "busybox"];
    machine.ok(&[&["create", "--name", "never"], &none[..], &["true"]].concat());
    machine.ok(&[&["run", "-d", "--name", "ran"], &none[..], &["sleep", "1000"]].concat());
    assert_eq!(machine.code(&[&["run", "--name", "ended"], &none[..], &["sh", "-c", "exit 3"]].concat()), 3);
    let (started, finished) = (of(&machine, "ended", ".State.StartedAt"), of(&machine, "ended", ".State.FinishedAt"));
    lose_the_run_root(&machine, &["ran"]);
    let id = of(&machine, "ended", ".Id");
    std::fs::remove_dir_all(machine.path().join("run/containers").join(id)).unwrap();
    let list = machine.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}}"]);
    assert!(list.contains("ran exited Exited (255)"), "{list}");
    assert!(list.contains("ended exited Exited (3)"), "{list}");
    assert!(list.contains("never created Created"), "{list}");
    assert_eq!(of(&machine, "ended", ".State.StartedAt"), started);
    assert_eq!(of(&machine, "ended", ".State.FinishedAt"), finished);
    assert_eq!(of(&machine, "ran", ".State.ExitCode"), "255");
    assert_eq!(machine.ok(&["wait", "ended"]), "3");
    machine.ok(&["start", "ran"]);
    assert_eq!(status(&machine, "ran"), "running");
    machine.finish();
}

#[test]
fn an_end_that_nobody_saw_is_a_failure() {
    let Some(machine) = Machine::new() else { return };
    let flags = ["run", "-d", "--name", "one", "--network", "none", "--restart", "on-failure:3", "busybox"];
    machine.ok(&[&flags[..], &["sleep", "1000"]].concat());
    let victims = [machine.shim_pid("one"), machine.pid("one")];
    victims.into_iter().for_each(kill);
    eventually("its end", || (status(&machine, "one") == "dead").then_some(()));
    assert_ne!(machine.code(&["rm", "nobody"]), 0);
    assert_eq!(status(&machine, "one"), "running", "on-failure holds");
    assert!(!victims.contains(&machine.pid("one")));
    machine.finish();
}

/// A link leads to where the other is now, as in Docker.
#[test]
fn a_link_follows_its_container() {
    on_both_hosts(|machine| {
        machine.ok(&["run", "-d", "--name", "db", "busybox", "sleep", "1000"]);
        machine.ok(&["run", "-d", "--name", "web", "--link", "db:store", "busybox", "sleep", "1000"]);
        let address = |name: &str| of(&machine, name, ".NetworkSettings.Networks.bridge.IPAddress");
        let looked_up = || machine.ok(&["exec", "web", "nslookup", "-type=a", "store"]);
        assert!(looked_up().contains(&address("db")), "{}", looked_up());
        let before = address("db");
        machine.ok(&["stop", "-t", "0", "db"]);
        machine.ok(&[
            "run",
            "-d",
            "--name",
            "squatter",
            "--ip",
            &before,
            "--network",
            "bridge",
            "busybox",
            "sleep",
            "9",
        ]);
        machine.ok(&["start", "db"]);
        assert_ne!(address("db"), before);
        assert!(
            looked_up().contains(&address("db")) && !looked_up().contains(&format!("{before}\n")),
            "{}",
            looked_up()
        );
        let failure = machine.fails(&["run", "--link", "nobody:x", "busybox", "true"]);
        assert_eq!(failure.status, 125);
        machine.ok(&["stop", "-t", "0", "db"]);
        let failure = machine.fails(&["run", "--link", "db:x", "busybox", "true"]);
        assert!(failure.text().contains("it is not running"), "{}", failure.text());
        machine.finish();
    });
}

#[test]
fn a_network_that_comes_between_two_runs_is_there_in_the_next() {
    on_both_hosts(|machine| {
        machine.ok(&["network", "create", "late"]);
        let script = "test -e /again && exec sleep 1000; touch /again; for n in 1 2 3 4 5; do :; done; exit 1";
        // Its fifth end is awaited for 1.6 s: time enough.
        let script = script
            .replace("test -e /again", "test $(cat /again | wc -l) -ge 5")
            .replace("touch /again", "echo >> /again");
        machine.ok(&["run", "-d", "--name", "web", "--restart", "always", "busybox", "sh", "-c", &script]);
        eventually("its fourth end", || {
            let waits = status(&machine, "web") == "restarting";
            (waits && of(&machine, "web", ".RestartCount") == "4").then_some(())
        });
        machine.ok(&["network", "connect", "late", "web"]);
        machine.ok(&["network", "disconnect", "bridge", "web"]);
        eventually("its next run", || (status(&machine, "web") == "running").then_some(()));
        let address = of(&machine, "web", ".NetworkSettings.Networks.late.IPAddress");
        let addresses = machine.ok(&["exec", "web", "ip", "-4", "addr"]);
        assert!(addresses.contains(&format!("{address}/")), "{address}: {addresses}");
        assert_eq!(addresses.matches("scope global").count(), 1, "{addresses}");
        machine.finish();
    });
}

/// Killed while everything stands still, a commit leaves nothing that does for ever; who paused one himself is obeyed.
#[test]
fn a_killed_commit_leaves_no_container_paused() {
    let Some(machine) = Machine::new() else { return };
    for name in ["held", "meant"] {
        machine.ok(&["run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000"]);
    }
    // Large enough that its copy is met half-way.
    machine.ok(&["exec", "held", "dd", "if=/dev/zero", "of=/large", "bs=1M", "count=300"]);
    let mut commit = machine.command(&["commit", "held", "made"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    eventually("the pause", || (status(&machine, "held") == "paused").then_some(()));
    commit.kill().unwrap();
    commit.wait().unwrap();
    assert_eq!(status(&machine, "held"), "paused");
    machine.ok(&["pause", "meant"]);
    assert_eq!((status(&machine, "held"), status(&machine, "meant")), ("running".into(), "paused".into()));
    assert_eq!(machine.ok(&["exec", "held", "echo", "lives"]), "lives");
    // Paused by somebody after that, it stays so.
    machine.ok(&["pause", "held"]);
    assert_ne!(machine.code(&["rm", "nobody"]), 0);
    assert_eq!(status(&machine, "held"), "paused");
    machine.finish();
}

/// A published port leads to a program that listens on IPv6 only, where its container has an address of it.
#[test]
fn a_port_leads_to_a_program_of_ipv6_only() {
    on_both_hosts(|machine| {
        machine.ok(&["network", "create", "--ipv6", "--subnet", "fd00:77::/64", "six"]);
        let flags = [
            "run",
            "-d",
            "--name",
            "web",
            "--network",
            "six",
            "-p",
            "127.0.0.1:8080:8000",
            "-p",
            "127.0.0.1:8053:8053/udp",
        ];
        // Bound to its address of IPv6, and to nothing of IPv4.
        let script = "echo six > /index.html; a=$(ip -6 addr show scope global | sed -n 's|.*inet6 \\(fd00[^/]*\\)/.*|\\1|p'); \
                      httpd -p [$a]:8000 -h /; exec sleep 1000";
        machine.ok(&[&flags[..], &["busybox", "sh", "-c", script]].concat());
        let answer = eventually("an answer", || {
            use std::io::{Read, Write};
            let mut stream = std::net::TcpStream::connect("127.0.0.1:8080").ok()?;
            stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            text.contains("six").then_some(text)
        });
        assert!(answer.contains("200 OK"), "{answer}");
        machine.finish();
    });
}

#[test]
fn lines_of_the_log_say_what_was_asked_for() {
    let Some(machine) = Machine::new() else { return };
    let flags = [
        "run",
        "--name",
        "web",
        "--network",
        "none",
        "--label",
        "com.shop.team=a",
        "--label",
        "other=b",
        "-e",
        "SHOP_A=1",
        "-e",
        "SHOP_B=2",
        "--log-opt",
        "labels-regex=^com\\.shop",
        "--log-opt",
        "env-regex=_B$",
        "--log-opt",
        "tag={{.Name}}/{{.ImageName}}",
        "--log-opt",
        "mode=non-blocking",
        "--log-opt",
        "max-buffer-size=4m",
        "busybox",
    ];
    machine.ok(&[&flags[..], &["echo", "hello"]].concat());
    assert_eq!(machine.ok(&["logs", "--details", "web"]), "SHOP_B=2,com.shop.team=a,tag=web%2Fbusybox hello");
    for (option, code) in [
        ("labels-regex=(", "engine/invalid-log"),
        ("tag={{.Nobody}}", "engine/invalid-log"),
        ("compress=yes", "cli/invalid-value"),
        ("max-buffer-size=1m", "cli/invalid-value"),
        ("nobody=1", "cli/invalid-value"),
    ] {
        let failure = machine.fails(&["run", "--log-opt", option, "busybox", "true"]);
        assert_eq!((failure.code(), failure.status), (code, 125), "{option}");
    }
    machine.finish();
}
