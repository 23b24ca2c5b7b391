//! Values that this host can't be held to, and places that are not like others, as Docker takes or refuses them (F1, F2).

use super::machine::Machine;

#[test]
fn limits_beyond_the_host_are_refused() {
    let Some(machine) = Machine::new() else { return };
    let processors = std::fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    machine.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sleep", "1000"]);
    for (flag, value) in [("--cpus", "4096.5"), ("--cpuset-cpus", "4095"), ("--cpuset-mems", "0,1023")] {
        for verb in [&["run", "--rm"][..], &["create"], &["update"]] {
            let rest = if verb == ["update"] { &["box"][..] } else { &["busybox", "true"] };
            let failure = machine.fails(&[verb, &[flag, value], rest].concat());
            assert!(failure.text().contains("this host has"), "{verb:?} {flag}: {}", failure.text());
        }
    }
    let project = machine.project("shop");
    project.write("compose.yaml", "services: {web: {image: busybox, command: 'true', cpus: 4096}}\n");
    let failure = project.fails(&["up", "-d"]);
    assert!(failure.text().contains("this host has"), "{}", failure.text());
    assert_eq!(machine.ok(&["ps", "-aq"]).lines().count(), 1, "nothing else was made");
    // Where the container was in no group of the controller, its /sys/fs/cgroup lacks it until a restart: that is told once.
    let is_v1 = std::path::Path::new("/sys/fs/cgroup/cpuset").exists();
    for first in [true, false] {
        let update = machine.carrack(&["update", "--cpuset-cpus", processors.trim(), "--cpu-shares", "512", "box"]);
        assert!(update.status.success());
        assert_eq!(String::from_utf8_lossy(&update.stderr).contains("engine/limits-unseen"), is_v1 && first);
    }
    machine.ok(&["rm", "-f", "box"]);
    project.ok(&["down"]);
    machine.finish();
}

/// What follows a flag that takes a value is the value, whatever it begins with.
#[test]
fn values_may_begin_with_a_hyphen() {
    let Some(machine) = Machine::new() else { return };
    let flags = ["run", "--rm", "--network", "none", "-e", "-X=1", "--label", "--odd", "--entrypoint", "env"];
    assert!(machine.ok(&[&flags[..], &["busybox"]].concat()).contains("-X=1"));
    let failure = machine.fails(&["run", "--rm", "--name", "--rm", "busybox", "true"]);
    assert!(failure.text().contains("engine/invalid-name"), "{}", failure.text());
    let failure = machine.fails(&["run", "--rm", "--cpus", "-1", "busybox", "true"]);
    assert!(failure.text().contains("--cpus"), "{}", failure.text());
    machine.finish();
}

/// A memory file system over a folder shuts out whom the folder shuts out, and is read-only only once all lies in it.
#[test]
fn memory_over_a_folder_of_the_image() {
    let Some(machine) = Machine::new() else { return };
    let run = |flags: &[&str], script: &str| {
        machine.carrack(&[&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", script]].concat())
    };
    let says = |flags: &[&str], script: &str| {
        let output = run(flags, script);
        assert!(output.status.success(), "{flags:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(says(&["--tmpfs", "/new", "--tmpfs", "/bin/more", "-u", "7"], "touch /new/a && echo done"), "done\n");
    assert_eq!(says(&["--tmpfs", "/etc"], "stat -c %a /etc"), "755\n");
    assert_eq!(says(&["--tmpfs", "/etc:mode=700"], "stat -c %a /etc"), "700\n");
    assert!(!run(&["--tmpfs", "/etc", "-u", "7"], "touch /etc/a").status.success());
    let read_only = "test -s /etc/hosts && touch /etc/a 2>/dev/null || echo closed";
    assert_eq!(says(&["--tmpfs", "/etc:ro"], read_only), "closed\n");
    let failure = machine.fails(&["run", "--rm", "--tmpfs", "/proc", "busybox", "true"]);
    assert!(failure.text().contains("file system of processes"), "{}", failure.text());
    machine.finish();
}

/// Old programs read it; it is the start's doing, not the container's.
#[test]
fn mounts_are_listed_where_old_programs_look() {
    let Some(machine) = Machine::new() else { return };
    let run =
        ["run", "--name", "box", "--network", "none", "busybox", "sh", "-c", "touch /etc/own; grep -c . /etc/mtab"];
    assert!(machine.ok(&run).parse::<u32>().unwrap() > 3);
    assert_eq!(machine.ok(&["diff", "box"]), "C /etc\nA /etc/own");
    machine.ok(&["commit", "box", "image"]);
    let link = ["run", "--rm", "--network", "none", "--entrypoint", "readlink", "image", "/etc/mtab"];
    assert_eq!(machine.ok(&link), "/proc/mounts");
    let own = ["run", "--name", "own", "--network", "none", "busybox", "ln", "-sf", "/tmp/own", "/etc/mtab"];
    machine.ok(&own);
    assert!(machine.ok(&["diff", "own"]).contains("A /etc/mtab"));
    machine.ok(&["rm", "box", "own"]);
    machine.ok(&["rmi", "image"]);
    machine.finish();
}

/// Another platform's image is not taken for the one that was asked for, and no registry is asked about nonsense.
#[test]
fn platforms_are_what_they_are_called() {
    let Some(machine) = Machine::new() else { return };
    let run = |platform: &str| {
        machine.carrack(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--pull",
            "never",
            "--platform",
            platform,
            "busybox",
            "true",
        ])
    };
    for (platform, code) in [("linux/s390x", "registry/no-such-platform"), ("nonsense", "oci/invalid-platform")] {
        let output = run(platform);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(125) && told.contains(code), "{platform}: {told}");
    }
    assert!(run("linux").status.success());
    let create = machine.carrack(&["create", "--pull", "never", "nowhere", "true"]);
    assert_eq!(create.status.code(), Some(1), "as Docker's: 125 is for flags");
    for verb in ["ps", "images", "events"] {
        assert_eq!(machine.carrack(&[verb, "--filter", "bad"]).status.code(), Some(125), "{verb}");
    }
    assert!(machine.ok(&["help", "run"]).starts_with("Run a command in a new container"));
    let failure = machine.fails(&["ps", "--status", "running"]);
    assert!(failure.text().contains("--filter status=VALUE"), "{}", failure.text());
    machine.finish();
}

/// A profile of the project's own, and drivers that are not here: nothing else is taken for them.
#[test]
fn a_project_gets_what_it_asks_for_or_nothing() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("strict");
    let service = "services: {web: {image: busybox, network_mode: none, init: true, command: sleep 1000, security_opt: ['seccomp:own.json']}}\n";
    project.write("compose.yaml", service);
    let failure = project.fails(&["up", "-d"]);
    assert!(failure.text().contains("compose/seccomp-file-missing"), "{}", failure.text());
    let rule = r#"{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}"#;
    project.write("own.json", format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#));
    project.ok(&["up", "-d"]);
    let told = project.carrack(&["compose", "exec", "-T", "web", "mkdir", "/made"]);
    assert!(String::from_utf8_lossy(&told.stderr).contains("Function not implemented"), "{told:?}");
    project.write("own.json", r#"{"defaultAction": "SCMP_ACT_ALLOW"}"#);
    project.ok(&["up", "-d"]);
    project.ok(&["compose", "exec", "-T", "web", "mkdir", "/made"]);
    project.ok(&["down"]);
    for (kind, driver) in [("networks", "macvlan"), ("volumes", "nfs")] {
        project.write(
            "compose.yaml",
            format!("services: {{web: {{image: busybox}}}}\n{kind}: {{own: {{driver: {driver}}}}}\n"),
        );
        let failure = project.fails(&["up", "-d"]);
        assert!(failure.text().contains("compose/unknown-driver"), "{}", failure.text());
    }
    machine.finish();
}

/// Empty variables of scripts say nothing; names that are none, and folders without a device, are mistakes.
#[test]
fn empty_values_are_none_or_mistakes() {
    let Some(machine) = Machine::new() else { return };
    let run = |flags: &[&str], command: &str| {
        machine.carrack(&[&["run", "--rm", "--network", "none"], flags, &["busybox", command]].concat())
    };
    let name = String::from_utf8(run(&["-h", "", "-w", ""], "hostname").stdout).unwrap();
    assert!(name.trim().len() == 12 && name.trim().bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
    for flags in [["-l", "=x"], ["--annotation", ""], ["--device", "/sys/class"], ["--log-opt", "max-size=0"]] {
        assert_eq!(run(&flags, "true").status.code(), Some(125), "{flags:?}");
    }
    machine.ok(&["run", "-d", "--name", "box", "--network", "none", "-w", "/tmp", "busybox", "sleep", "1000"]);
    assert_eq!(machine.ok(&["exec", "-w", "", "box", "pwd"]), "/tmp");
    assert_eq!(machine.carrack(&["exec", "-e", "=x", "box", "true"]).status.code(), Some(125));
    machine.ok(&["exec", "-d", "-it", "box", "true"]);
    machine.ok(&["rm", "-f", "box"]);
    let unbounded = run(&["--oom-kill-disable"], "true");
    let told = String::from_utf8_lossy(&unbounded.stderr).into_owned();
    assert!(told.contains("cli/unbounded") || told.contains("version 2"), "{told}");
    assert_eq!(run(&["-it"], "true").status.code(), Some(1), "as Docker's: there is no terminal");
    machine.finish();
}
