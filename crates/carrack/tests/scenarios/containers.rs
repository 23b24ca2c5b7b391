//! What `docker run` and its neighbours promise (F1 to F6, F8, F9, J1).

use crate::machine::{Machine, eventually, exit_code, feed, kill, limit};

/// `run --rm --network none busybox …`
fn run(machine: &Machine, flags: &[&str], command: &[&str]) -> std::process::Output {
    machine.carrack(&[&["run", "--rm", "--network", "none"], flags, &["busybox"], command].concat())
}

/// Its output, which must be a success.
#[track_caller]
fn text(machine: &Machine, flags: &[&str], command: &[&str]) -> String {
    machine.ok(&[&["run", "--rm", "--network", "none"], flags, &["busybox"], command].concat())
}

#[test]
fn the_exit_code_is_the_programs_or_dockers() {
    let Some(machine) = Machine::new() else { return };
    for (command, code) in
        [(["true"].as_slice(), 0), (&["sh", "-c", "exit 7"], 7), (&["/etc/passwd"], 126), (&["no-such-program"], 127)]
    {
        assert_eq!(exit_code(&run(&machine, &[], command)), code, "{command:?}");
    }
    let script = machine.path().join("script");
    std::fs::write(&script, "#!/gone\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let ended = run(&machine, &["-v", &format!("{}:/script", script.display())], &["/script"]);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(exit_code(&ended) == 127 && said.contains("not the interpreter"), "{said}");
    assert_eq!(machine.code(&["run", "--rm", "no-such-image", "true"]), 125);
    assert_eq!(machine.code(&["run", "--no-such-flag", "busybox", "true"]), 125);
    assert_eq!(machine.ok(&["ps", "-aq"]), "", "--rm leaves no container");
    machine.finish();
}

#[test]
fn arguments_environment_folder_and_user_reach_the_program() {
    let Some(machine) = Machine::new() else { return };
    assert_eq!(text(&machine, &[], &["printf", "[%s]", "a b", "", "$HOME"]), "[a b][][$HOME]");
    let environment = text(&machine, &["-e", "GREETING=hello world", "-e", "EMPTY="], &["env"]);
    assert!(environment.lines().any(|line| line == "GREETING=hello world"), "{environment}");
    assert!(environment.lines().any(|line| line == "EMPTY="), "{environment}");
    assert!(environment.lines().any(|line| line.starts_with("PATH=/usr/local/sbin:")), "{environment}");
    assert_eq!(text(&machine, &["-w", "/made/for/it"], &["pwd"]), "/made/for/it");
    assert_eq!(text(&machine, &["--hostname", "vessel"], &["hostname"]), "vessel");
    assert_eq!(text(&machine, &["--entrypoint", "echo"], &["to", "the", "entrypoint"]), "to the entrypoint");
    // Behind the image nothing is a flag of ours, whatever it looks like.
    assert_eq!(text(&machine, &["--entrypoint", "sh"], &["-c", "echo $0 $1", "--rm", "-e"]), "--rm -e");
    for (user, id) in [
        ("app", "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"),
        ("1000", "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)"),
        ("4711:2000", "uid=4711 gid=2000(extra) groups=2000(extra)"),
        ("nobody:app", "uid=65534(nobody) gid=1000(app) groups=1000(app)"),
    ] {
        assert_eq!(text(&machine, &["-u", user], &["id"]), id, "{user}");
    }
    assert!(text(&machine, &["-u", "4711", "--group-add", "extra"], &["id"]).contains("2000(extra)"));
    assert_eq!(exit_code(&run(&machine, &["-u", "stranger"], &["id"])), 125);
    machine.finish();
}

#[test]
fn mounts_are_what_was_asked_for() {
    let Some(machine) = Machine::new() else { return };
    let refused = "touch /file && echo written || echo refused";
    assert_eq!(text(&machine, &["--read-only"], &["sh", "-c", &format!("({refused}) 2>/dev/null")]), "refused");
    let writable = ["--read-only", "--tmpfs", "/scratch:size=1m,mode=1777"];
    let mounts = text(&machine, &writable, &["sh", "-c", "touch /scratch/file && grep ' /scratch ' /proc/mounts"]);
    assert!(mounts.starts_with("tmpfs ") && mounts.contains("size=1024k"), "{mounts}");

    let shared = machine.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("from-host"), "hello\n").unwrap();
    let bind = format!("{}:/shared", shared.display());
    assert_eq!(
        text(&machine, &["-v", &bind], &["sh", "-c", "cat /shared/from-host; echo back > /shared/answer"]),
        "hello"
    );
    assert_eq!(std::fs::read_to_string(shared.join("answer")).unwrap(), "back\n");
    let read_only = format!("{bind}:ro");
    let attempt = run(&machine, &["-v", &read_only], &["touch", "/shared/forbidden"]);
    assert_eq!(exit_code(&attempt), 1);
    assert!(!shared.join("forbidden").exists());
    let missing = format!("type=bind,source={}/nowhere,target=/x", machine.path().display());
    let failure = machine.fails(&["run", "--rm", "--network", "none", "--mount", &missing, "busybox", "true"]);
    assert_eq!(failure.code(), "engine/no-bind-source");
    machine.finish();
}

#[test]
fn volumes_begin_with_the_images_files_and_outlive_containers() {
    let Some(machine) = Machine::new() else { return };
    // Copy-up (J1): the image's files at that place, with owner and mode, once.
    let first = text(&machine, &["-v", "state:/etc"], &["sh", "-c", "cat /etc/group | wc -l; echo kept > /etc/kept"]);
    assert_eq!(first, "4");
    let again = text(&machine, &["-v", "state:/data"], &["sh", "-c", "ls /data; cat /data/kept"]);
    // As in Docker, it also has what the container's own files were mounted on.
    assert_eq!(again, "group\nhostname\nhosts\nkept\npasswd\nresolv.conf\nkept");
    assert_eq!(machine.ok(&["volume", "ls", "-q"]), "state");

    // An anonymous one lives as long as its container with --rm, and is kept without.
    text(&machine, &["-v", "/anonymous"], &["touch", "/anonymous/file"]);
    assert_eq!(machine.ok(&["volume", "ls", "-q"]), "state");
    machine.ok(&["run", "--name", "keeper", "--network", "none", "-v", "/anonymous", "busybox", "true"]);
    assert_eq!(machine.ok(&["volume", "ls", "-q"]).lines().count(), 2);

    machine.ok(&["run", "-d", "--name", "user", "--network", "none", "-v", "state:/data", "busybox", "sleep", "1000"]);
    assert_eq!(machine.fails(&["volume", "rm", "state"]).code(), "engine/volume-in-use");
    machine.ok(&["rm", "-f", "user"]);
    machine.ok(&["rm", "-v", "keeper"]);
    assert_eq!(machine.ok(&["volume", "ls", "-q"]), "state");
    machine.ok(&["volume", "rm", "state"]);
    machine.finish();
}

#[test]
fn limits_are_the_kernels() {
    let Some(machine) = Machine::new() else { return };
    let limits = ["--memory", "48m", "--cpus", "0.5", "--pids-limit", "20", "--ulimit", "nofile=100:200"];
    machine
        .ok(&[&["run", "-d", "--name", "box", "--network", "none"], &limits[..], &["busybox", "sleep", "1000"]]
            .concat());
    let pid = machine.pid("box");
    assert_eq!(limit(pid, ("memory", "memory.limit_in_bytes"), "memory.max"), (48 << 20).to_string());
    assert_eq!(limit(pid, ("pids", "pids.max"), "pids.max"), "20");
    let quota = limit(pid, ("cpu", "cpu.cfs_quota_us"), "cpu.max");
    assert!(["50000", "50000 100000"].contains(&quota.as_str()), "{quota}");
    let files = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let files: Vec<&str> =
        files.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(files[3..5], ["100", "200"]);
    // Beyond the limit the program is killed, and the container says why.
    let code = machine.code(&[
        "run",
        "--name",
        "glutton",
        "--network",
        "none",
        "--memory",
        "16m",
        "--memory-swap",
        "16m",
        "busybox",
        "dd",
        "if=/dev/zero",
        "of=/dev/null",
        "bs=64M",
        "count=1",
    ]);
    assert_eq!(code, 137);
    assert_eq!(machine.ok(&["inspect", "--format", "{{.State.OOMKilled}}", "glutton"]), "true");
    machine.finish();
}

#[test]
fn the_default_confinement_holds() {
    let Some(machine) = Machine::new() else { return };
    let status = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status";
    let values = |flags: &[&str]| -> Vec<String> {
        let text = text(&machine, flags, &["sh", "-c", status]);
        text.lines().map(|line| line.split_whitespace().nth(1).unwrap().to_owned()).collect()
    };
    // Docker's fourteen capabilities.
    let [effective, bounding, _, seccomp] = &values(&[])[..] else { panic!() };
    assert_eq!([effective.as_str(), bounding, seccomp], ["00000000a80425fb", "00000000a80425fb", "2"]);
    let dropped = values(&["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
    assert_eq!(dropped, ["0000000000000000", "0000000000000000", "1", "2"]);
    let chown_only = values(&["--cap-drop", "ALL", "--cap-add", "CHOWN"]);
    assert_eq!(chown_only[0], "0000000000000001");
    assert_eq!(values(&["-u", "app"])[0], "0000000000000000", "no effective capability for another user");

    let attempt = |flags: &[&str], command: &[&str]| exit_code(&run(&machine, flags, command));
    assert_ne!(attempt(&[], &["busybox", "unshare", "-m", "true"]), 0, "no namespaces without CAP_SYS_ADMIN");
    assert_ne!(attempt(&[], &["mount", "-t", "tmpfs", "none", "/tmp"]), 0);
    assert_eq!(attempt(&["--privileged"], &["mount", "-t", "tmpfs", "none", "/tmp"]), 0);
    // The node can be made (CAP_MKNOD is a default capability) and not opened.
    assert_eq!(attempt(&[], &["sh", "-c", "mknod /disk b 254 0 && ! head -c 1 /disk"]), 0);
    assert_ne!(attempt(&[], &["sh", "-c", "echo 1 > /proc/sys/kernel/panic"]), 0);
    assert_eq!(text(&machine, &[], &["sh", "-c", "head -c 1 /proc/kcore | wc -c"]), "0");
    machine.finish();
}

#[test]
fn init_reaps_and_hands_signals_on() {
    let Some(machine) = Machine::new() else { return };
    let orphans =
        "for i in 1 2 3; do (sh -c 'exit 0' &) ; done; trap 'exit 5' TERM; echo ready; while :; do sleep 1; done";
    machine.ok(&["run", "-d", "--init", "--name", "box", "--network", "none", "busybox", "sh", "-c", orphans]);
    machine.follow(&["logs", "-f", "box"]).until("ready");
    eventually("orphans are reaped", || {
        let list = machine.ok(&["exec", "box", "ps", "-o", "stat,comm"]);
        (!list.lines().any(|line| line.starts_with('Z'))).then_some(())
    });
    machine.ok(&["stop", "box"]);
    assert_eq!(machine.ok(&["inspect", "--format", "{{.State.ExitCode}}", "box"]), "5");
    machine.finish();
}

#[test]
fn a_detached_container_is_listed_logged_and_inspected() {
    let Some(machine) = Machine::new() else { return };
    let script = "for i in 1 2 3 4 5; do echo line $i; done; echo to-stderr >&2; exec sleep 1000";
    let id = machine.ok(&["run", "-d", "--name", "talker", "--network", "none", "busybox", "sh", "-c", script]);
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    machine.follow(&["logs", "-f", "talker"]).until("line 5");
    let listed = machine.ok(&["ps", "--format", "{{.ID}} {{.Image}} {{.Names}} {{.State}}"]);
    assert_eq!(listed, format!("{} busybox talker running", &id[..12]));
    assert_eq!(machine.ok(&["inspect", "--format", "{{.Id}} {{.State.Status}}", "talker"]), format!("{id} running"));
    let output = eventually("the last line", || {
        let output = machine.carrack(&["logs", "talker"]);
        (!output.stderr.is_empty()).then_some(output)
    });
    assert_eq!(String::from_utf8_lossy(&output.stdout), "line 1\nline 2\nline 3\nline 4\nline 5\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "to-stderr\n");
    let tail = machine.carrack(&["logs", "-n", "2", "talker"]);
    assert_eq!((tail.stdout.as_slice(), tail.stderr.as_slice()), (b"line 5\n".as_slice(), b"to-stderr\n".as_slice()));
    machine.finish();
}

#[test]
fn logs_rotate() {
    let Some(machine) = Machine::new() else { return };
    let flags = ["--log-opt", "max-size=10k", "--log-opt", "max-file=2"];
    let script = "seq 1 5000";
    machine.ok(&[&["run", "--name", "writer", "--network", "none"], &flags[..], &["busybox", "sh", "-c", script]].concat());
    let id = machine.ok(&["inspect", "--format", "{{.Id}}", "writer"]);
    let sizes: Vec<u64> = std::fs::read_dir(machine.data().join("containers").join(id))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().contains("log"))
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.len(), 2, "{sizes:?}");
    // As Docker's driver does it: the line that fills a file is its last.
    assert!(sizes.iter().all(|size| *size < (10 << 10) + 100), "{sizes:?}");
    let logs = machine.ok(&["logs", "writer"]);
    let lines: Vec<u32> = logs.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(lines.last(), Some(&5000));
    assert!(lines.len() > 50 && lines.windows(2).all(|pair| pair[0] + 1 == pair[1]), "an unbroken end");
    machine.finish();
}

#[test]
fn what_is_asked_wrongly_of_logs_and_lists_is_named() {
    let Some(machine) = Machine::new() else { return };
    let failure = machine.fails(&["logs", "nobody"]);
    assert_eq!(failure.code(), "engine/no-such-container", "no project was meant");
    machine.ok(&["run", "--name", "done", "--network", "none", "busybox", "echo", "said"]);
    assert_eq!(machine.ok(&["logs", "--since", "1h", "--tail", "-1", "done"]), "said");
    assert_eq!(machine.ok(&["logs", "--until", "1h", "done"]), "");
    assert_eq!(machine.fails(&["logs", "--since", "breakfast", "done"]).code(), "cli/invalid-value");
    assert_eq!(machine.ok(&["ps", "--filter", "status=exited", "--format", "table {{.Names}}"]), "NAMES\ndone");
    for wrong in ["status=finished", "health=fine", "colour=red"] {
        assert_eq!(machine.fails(&["ps", "--filter", wrong]).code(), "cli/invalid-value", "{wrong}");
    }
    assert_eq!(machine.fails(&["ps", "--filter", "name"]).code(), "cli/no-filter");
    machine.finish();
}

#[test]
fn anonymous_volumes_go_with_a_container_that_was_to_go() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["create", "--rm", "--name", "never-ran", "-v", "/data", "busybox", "true"]);
    assert_eq!(machine.ok(&["volume", "ls", "-q"]).lines().count(), 1);
    machine.ok(&["rm", "never-ran"]);
    assert_eq!(machine.ok(&["volume", "ls", "-q"]), "");
    machine.finish();
}

#[test]
fn exec_is_transparent() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "box", "--network", "none", "-e", "A=1", "busybox", "sleep", "1000"]);
    assert_eq!(machine.code(&["exec", "box", "sh", "-c", "exit 9"]), 9);
    assert_eq!(machine.code(&["exec", "box", "no-such-program"]), 127);
    assert_eq!(machine.code(&["exec", "box", "/etc/passwd"]), 126);
    assert_eq!(
        machine.ok(&["exec", "-e", "B=2", "-w", "/tmp", "-u", "app", "box", "sh", "-c", "echo $A $B $(pwd) $(id -un)"]),
        "1 2 /tmp app"
    );
    // Ten megabytes of every byte value, there and back.
    let input: Vec<u8> = (0..10_usize << 20).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let output = feed(machine.command(&["exec", "-i", "box", "cat"]), &input);
    assert!(output.status.success());
    assert!(output.stdout == input, "{} of {} bytes came back as they were", output.stdout.len(), input.len());
    assert_eq!(machine.fails(&["exec", "nobody", "true"]).code(), "engine/no-such-container");
    machine.ok(&["stop", "-t", "0", "box"]);
    assert_eq!(machine.fails(&["exec", "box", "true"]).code(), "engine/not-running");
    machine.finish();
}

#[test]
fn run_is_transparent() {
    let Some(machine) = Machine::new() else { return };
    let input: Vec<u8> = (0..3_usize << 20).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let output = feed(machine.command(&["run", "--rm", "-i", "--network", "none", "busybox", "cat"]), &input);
    assert!(output.status.success());
    assert!(output.stdout == input, "{} of {} bytes came back as they were", output.stdout.len(), input.len());
    let both = run(&machine, &[], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((both.stdout.as_slice(), both.stderr.as_slice()), (b"out\n".as_slice(), b"err\n".as_slice()));
    machine.finish();
}

#[test]
fn stop_asks_then_kills() {
    let Some(machine) = Machine::new() else { return };
    let polite = "trap 'exit 3' TERM; echo ready; while :; do sleep 1; done";
    let deaf = "trap '' TERM; echo ready; while :; do sleep 1; done";
    for (name, script, code) in [("polite", polite, "3"), ("deaf", deaf, "137")] {
        machine.ok(&["run", "-d", "--name", name, "--network", "none", "busybox", "sh", "-c", script]);
        machine.follow(&["logs", "-f", name]).until("ready");
        machine.ok(&["stop", "-t", "1", name]);
        assert_eq!(
            machine.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name]),
            format!("exited {code}")
        );
    }
    machine.ok(&["run", "-d", "--name", "victim", "--network", "none", "busybox", "sleep", "1000"]);
    assert_eq!(machine.fails(&["rm", "victim"]).code(), "engine/still-running");
    machine.ok(&["kill", "victim"]);
    assert_eq!(machine.ok(&["wait", "victim"]), "137");
    machine.ok(&["rm", "victim"]);
    machine.finish();
}

#[test]
fn restart_policy_counts_failures() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&[
        "run",
        "-d",
        "--name",
        "loser",
        "--restart",
        "on-failure:2",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo attempt; exit 4",
    ]);
    eventually("the policy gives up", || {
        let state = machine.ok(&["inspect", "--format", "{{.State.Status}} {{.RestartCount}}", "loser"]);
        (state == "exited 2").then_some(())
    });
    assert_eq!(machine.ok(&["logs", "loser"]), "attempt\nattempt\nattempt");
    // A success is no failure, and a stop is no reason to come back.
    machine.ok(&["run", "-d", "--name", "winner", "--restart", "on-failure", "--network", "none", "busybox", "true"]);
    assert_eq!(machine.ok(&["wait", "winner"]), "0");
    machine.ok(&[
        "run",
        "-d",
        "--name",
        "steady",
        "--restart",
        "always",
        "--network",
        "none",
        "busybox",
        "sleep",
        "1000",
    ]);
    machine.ok(&["stop", "-t", "0", "steady"]);
    assert_eq!(machine.ok(&["inspect", "--format", "{{.State.Status}} {{.RestartCount}}", "steady"]), "exited 0");
    machine.finish();
}

/// A container that fails at once, waiting for its next start.
fn in_back_off(machine: &Machine, name: &str) {
    let policy = ["--restart", "always", "--network", "none", "busybox", "false"];
    machine.ok(&[&["run", "-d", "--name", name], policy.as_slice()].concat());
    let waits = || {
        // From the fourth on, a back-off is longer than all the commands of a test.
        let format = "{{.State.Status}} {{.RestartCount}} {{.State.Running}}";
        let state = machine.ok(&["inspect", "--format", format, name]);
        let [status, count, running] = state.split(' ').collect::<Vec<_>>().try_into().unwrap();
        if status != "restarting" {
            return None;
        }
        assert_eq!(running, "true", "as in Docker");
        (count.parse::<u32>().unwrap() >= 5).then_some(())
    };
    eventually("it waits", waits);
}

#[test]
fn nobody_waits_for_a_back_off() {
    let Some(machine) = Machine::new() else { return };
    in_back_off(&machine, "loser");
    machine.ok(&["stop", "loser"]);
    let state = machine.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "loser"]);
    assert_eq!(state, "exited 1");
    machine.ok(&["rm", "loser"]);
    in_back_off(&machine, "other");
    machine.ok(&["rm", "-f", "other"]);
    machine.finish();
}

#[test]
fn what_has_just_ended_is_started_and_removed_at_once() {
    let Some(machine) = Machine::new() else { return };
    // Whatever its shim still has to do: the port is free, and nobody waits.
    let flags = ["run", "-d", "--name", "brief", "-p", "127.0.0.1:0:80", "busybox", "true"];
    for _ in 0..5 {
        machine.ok(&flags);
        machine.ok(&["wait", "brief"]);
        machine.ok(&["start", "brief"]);
        machine.ok(&["wait", "brief"]);
        machine.ok(&["rm", "brief"]);
    }
    machine.finish();
}

#[test]
fn a_back_off_outlives_its_shim() {
    let Some(machine) = Machine::new() else { return };
    in_back_off(&machine, "loser");
    kill(machine.shim_pid("loser"));
    // Any command that changes something takes care of it (I-3), unless somebody else was at it: then it is the next one.
    let starts = machine.ok(&["inspect", "--format", "{{.State.StartedAt}}", "loser"]);
    eventually("it is started again", || {
        machine.ok(&["rm", "--force", "nobody"]);
        (machine.ok(&["inspect", "--format", "{{.State.StartedAt}}", "loser"]) != starts).then_some(())
    });
    machine.finish();
}

#[test]
fn restart_keeps_a_container_that_goes_at_its_exit() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--rm", "--name", "brief", "--network", "none", "busybox", "sleep", "1000"]);
    machine.ok(&["exec", "brief", "touch", "/mine"]);
    let before = machine.pid("brief");
    machine.ok(&["restart", "-t", "0", "brief"]);
    assert!(![0, before].contains(&machine.pid("brief")));
    machine.ok(&["exec", "brief", "test", "-e", "/mine"]);
    machine.ok(&["stop", "-t", "0", "brief"]);
    assert_eq!(machine.ok(&["ps", "-aq"]), "");
    machine.finish();
}

#[test]
fn what_is_wrong_on_every_host_is_refused_before_anything_is_made() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "host", "--network", "none", "busybox", "sleep", "1000"]);
    for (flags, code) in [
        (["--memory", "1m"].as_slice(), "container/invalid-setting"),
        (&["-v", "/a", "--tmpfs", "/a/"], "container/invalid-setting"),
        (&["--cap-add", "FLY"], "container/unknown-capability"),
        (&["--stop-signal", "HELLO"], "engine/invalid-signal"),
        (&["--network", "container:host", "-p", "80"], "container/invalid-setting"),
        (&["--network", "container:host", "-h", "name"], "container/invalid-setting"),
        (&["--network", "container:host", "--network", "other"], "cli/invalid-value"),
        (&["--expose", "web"], "cli/invalid-value"),
    ] {
        let failure = machine.fails(&[&["run", "-d"], flags, &["busybox", "true"]].concat());
        assert_eq!((failure.code(), failure.status), (code, 125), "{flags:?}");
    }
    assert_eq!(machine.ok(&["ps", "-a", "--format", "{{.Names}}"]), "host");
    // As in Docker, no limit is no limit.
    assert_eq!(text(&machine, &["--memory", "0", "--cpus", "0", "--pids-limit", "0"], &["echo", "runs"]), "runs");
    machine.finish();
}

#[test]
fn a_program_that_its_user_may_not_execute_is_not() {
    let Some(machine) = Machine::new() else { return };
    let tool = machine.path().join("tool");
    std::fs::copy("/bin/busybox", &tool).unwrap();
    std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let mount = format!("{}:/bin/tool:ro", tool.display());
    for user in
        [["-u", "1000"].as_slice(), &["-u", "1000", "--init"], &["-u", "1000", "--security-opt", "seccomp=unconfined"]]
    {
        let flags = [&["-v", &mount], user].concat();
        assert_eq!(exit_code(&run(&machine, &flags, &["/bin/tool", "true"])), 126, "{user:?}");
    }
    machine.finish();
}

#[test]
fn the_id_is_in_its_file_while_the_container_runs() {
    let Some(machine) = Machine::new() else { return };
    let file = machine.path().join("cid");
    let script = ["run", "--rm", "--cidfile", file.to_str().unwrap(), "busybox", "sh", "-c", "echo up; sleep 1000"];
    let mut run = machine.follow(&script);
    run.until("up");
    let id = std::fs::read_to_string(&file).unwrap();
    assert_eq!(machine.ok(&["ps", "-q", "--no-trunc"]), id);
    machine.ok(&["rm", "-f", &id]);
    assert_eq!(machine.fails(&script).status, 125, "an id that is there stays");
    machine.finish();
}

#[test]
fn create_start_restart_and_names() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&[
        "create",
        "--name",
        "once",
        "--network",
        "none",
        "busybox",
        "sh",
        "-c",
        "echo ran >> /count; wc -l < /count",
    ]);
    assert_eq!(machine.ok(&["inspect", "--format", "{{.State.Status}}", "once"]), "created");
    assert_eq!(machine.ok(&["start", "-a", "once"]), "1");
    assert_eq!(machine.ok(&["start", "-a", "once"]), "2", "its files outlive a restart");
    assert_eq!(machine.fails(&["create", "--name", "once", "busybox", "true"]).code(), "engine/name-taken");
    machine.ok(&["run", "-d", "--name", "server", "--network", "none", "busybox", "sleep", "1000"]);
    let before = machine.pid("server");
    machine.ok(&["restart", "-t", "0", "server"]);
    assert_ne!(machine.pid("server"), before);
    let id = machine.ok(&["inspect", "--format", "{{.Id}}", "server"]);
    machine.ok(&["rm", "-f", &id[..8]]);
    assert_eq!(machine.ok(&["ps", "-q"]), "");
    machine.finish();
}
