//! One suite for several runtimes: what a person sees of a container is the same, whether runc, crun or our own runs it
//! (F1 to F5, I-6).
//!
//! Those on PATH are tried, crun where the host has cgroup version 2; `CARRACK_TEST_RUNTIMES` names others by their paths.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::machine::{Machine, eventually, exit_code, feed, kill, limit};
use super::streams::terminal;

/// Paths of the runtimes to compare with; says so where there are none.
fn others() -> Vec<String> {
    let on_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if let Some(named) = std::env::var_os("CARRACK_TEST_RUNTIMES") {
        return std::env::split_paths(&named).map(|path| path.display().to_string()).collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &str| std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file());
    let found: Vec<PathBuf> =
        ["runc", "crun"].into_iter().filter(|name| on_v2 || *name != "crun").filter_map(find).collect();
    if found.is_empty() {
        eprintln!("skipped: runc is not installed");
    }
    found.iter().map(|path| path.display().to_string()).collect()
}

/// What a scenario has seen, line by line, by each runtime in turn: the others first, ours last.
#[track_caller]
fn compare(scenario: impl Fn(&Machine, &str) -> Vec<String>) {
    let others = others();
    if others.is_empty() {
        return;
    }
    let Some(machine) = Machine::new() else { return };
    let expected: Vec<(String, Vec<String>)> = others
        .iter()
        .map(|runtime| {
            let seen = scenario(&machine, runtime);
            assert_eq!(machine.ok(&["ps", "-aq"]), "", "{runtime} leaves a container");
            (runtime.clone(), seen)
        })
        .collect();
    let ours = scenario(&machine, "carrack");
    for (runtime, seen) in expected {
        for (theirs, ours) in seen.iter().zip(&ours) {
            assert_eq!(ours, theirs, "ours (left) and {runtime}");
        }
        assert_eq!(ours.len(), seen.len());
    }
    machine.finish();
}

/// Status and both outputs of a command; of one that did not start the status alone, as the words are each runtime's.
fn whole(output: &std::process::Output) -> String {
    if exit_code(output) == 125 {
        return "125".into();
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{} {:?} {:?}", exit_code(output), text(&output.stdout), text(&output.stderr))
}

fn inspect(machine: &Machine, name: &str, template: &str) -> String {
    machine.ok(&["inspect", "--format", template, name])
}

/// Flags, and a line of shell that tells what came of them.
const CASES: &[(&[&str], &str)] = &[
    (&[], "echo out; echo err >&2; exit 7"),
    (&[], "kill -9 $$"),
    (&["-u", "app"], "id; umask; echo $HOME; touch /root/x 2>&1"),
    (&["-u", "app:extra", "--group-add", "nogroup", "--group-add", "77"], "id -u; id -g; id -G"),
    (&["-u", "4711:77"], "id -u; id -g; id -G; echo $HOME"),
    (
        &["-e", "A=b c", "-w", "/made/here", "-h", "vessel", "--domainname", "sea"],
        "echo $A $PATH $HOME; pwd; hostname; hostname -f; uname -n; cat /proc/sys/kernel/domainname; stat -c %a /made",
    ),
    (&[], "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status"),
    (&["-u", "app"], "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status"),
    (
        &["--cap-drop", "ALL", "--cap-add", "CHOWN", "--cap-add", "NET_ADMIN", "--security-opt", "no-new-privileges"],
        "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status",
    ),
    (
        &["--privileged"],
        "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; mount -t tmpfs none /tmp && echo mounted; ls /dev/loop-control; grep -c ' /proc/' /proc/mounts",
    ),
    (&["--security-opt", "seccomp=unconfined"], "grep Seccomp: /proc/self/status; chroot / true && echo chroot"),
    (&[], "unshare -U true 2>&1; mount -t tmpfs none /tmp 2>&1; chroot / true && echo chroot"),
    (
        &["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--oom-score-adj", "500"],
        "ulimit -n; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj",
    ),
    (
        &["--read-only", "--tmpfs", "/scratch:size=1m,mode=711"],
        "touch /x 2>&1; touch /etc/x 2>&1; touch /scratch/x && stat -c %a /scratch; grep ' /scratch ' /proc/mounts | cut -d' ' -f3,4; (: > /etc/hosts) 2>&1",
    ),
    (
        &[],
        "for f in /proc/interrupts /proc/keys /proc/timer_list; do stat -c '%n %F %t:%T' $f 2>&1; cat $f | wc -c; done; ls /sys/firmware | wc -l; (echo h > /proc/sysrq-trigger) 2>&1; (echo 1 > /proc/sys/kernel/panic) 2>&1",
    ),
    (&["--security-opt", "systempaths=unconfined"], "grep -c ' /proc/' /proc/mounts"),
    (
        &[],
        "ls /dev | grep -v -E 'console|core'; stat -c '%n %F %t:%T %a' /dev/null /dev/zero /dev/tty; mknod /tmp/loop b 7 0; (: < /tmp/loop) 2>&1; readlink /dev/fd /dev/ptmx",
    ),
    (
        &["--device", "/dev/loop-control:/dev/other:r"],
        "stat -c '%n %F %t:%T' /dev/other; (: < /dev/other) && echo read; (: > /dev/other) 2>&1",
    ),
    (&["--device-cgroup-rule", "b 7:* rmw"], "mknod /tmp/loop b 7 200; (: < /tmp/loop) 2>&1 | grep -v permitted; true"),
    (
        &["--sysctl", "kernel.shmmax=65536", "--sysctl", "net.ipv4.ip_forward=1"],
        "cat /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range",
    ),
    (&["--shm-size", "1m"], "df -k /dev/shm | tail -n 1 | tr -s ' ' | cut -d' ' -f2"),
    (&["--ipc", "none"], "test -e /dev/shm/. || echo none; grep -c /dev/shm /proc/mounts"),
    (&["--ipc", "host"], "grep ' /dev/shm ' /proc/mounts | wc -l"),
    (&["--uts", "host"], "uname -n"),
    (&["--pid", "host"], "test $$ -gt 1 && echo shared; ps | grep -c sh >/dev/null && echo seen"),
    (&["--cgroupns", "host"], "cut -d: -f3 /proc/self/cgroup | grep -c carrack- >/dev/null && echo the host; echo $?"),
    // Without a limit it sees less of v1 than under others (`docs/design/016`).
    (
        &["-m", "64m"],
        "cut -d: -f3 /proc/self/cgroup | sort -u; ls /sys/fs/cgroup | sort | head -3; (mkdir /sys/fs/cgroup/x || mkdir /sys/fs/cgroup/pids/x) 2>&1 | cut -d: -f3",
    ),
    (&["--network", "host"], "ls /sys/class/net | grep lo; hostname"),
    (&["--annotation", "a=b"], "cat /etc/hostname /etc/hosts; ls -l /etc/resolv.conf | cut -c1-10"),
    (
        &["--stop-signal", "INT"],
        "cat /proc/1/cmdline | tr '\\0' ' '; cat /proc/self/mountinfo | cut -d' ' -f5 | grep -v cgroup | sort; grep ' /dev ' /proc/mounts",
    ),
    (
        &[],
        "sleep 0.01 & wait; cat /proc/1/sessionid /proc/self/loginuid 2>/dev/null | wc -l; ulimit -n; nice; ls /proc/self/fd | wc -l",
    ),
    (&[], "for s in $(seq 1 31); do :; done; grep -E '^Sig(Blk|Ign)' /proc/self/status"),
];

/// F1 to F5: exit codes, users, rights, filter, limits of processes, file systems, devices, namespaces.
#[test]
fn containers_are_the_same_under_each_runtime() {
    compare(|machine, runtime| {
        let network =
            |flags: &[&str]| if flags.contains(&"--network") { [].as_slice() } else { &["--network", "none"] };
        let run = |(flags, line): &(&[&str], &str)| {
            let name = ["-h", "same"].as_slice();
            let shares = flags.iter().any(|flag| ["-h", "--uts", "--network"].contains(flag));
            let name = if shares { &[] } else { name };
            let words = ["run", "--rm", "--runtime", runtime];
            let rest = ["busybox", "sh", "-c", line];
            let output = machine.carrack(&[&words[..], network(flags), name, *flags, &rest].concat());
            format!("{flags:?} {line}: {}", whole(&output))
        };
        CASES.iter().map(run).collect()
    });
}

/// F2: what limits the container, as the kernel says it on the host.
#[test]
fn limits_are_the_same_under_each_runtime() {
    compare(|machine, runtime| {
        let flags = [
            "--memory",
            "64m",
            "--memory-reservation",
            "32m",
            "--cpu-period",
            "50000",
            "--cpu-quota",
            "20000",
            "--cpuset-cpus",
            "0",
            "--pids-limit",
            "30",
            // What becomes the same weight of version 2 by the conversion of runc 1.3 and crun 1.23, ours, and by that of older ones.
            "--cpu-shares",
            "262144",
        ];
        machine.ok(&[
            &["run", "-d", "--name", "one", "--network", "none", "--runtime", runtime],
            &flags[..],
            &["busybox", "sleep", "1000"],
        ]
        .concat());
        let seen = |name: &str| {
            let pid = machine.pid(name);
            vec![
                limit(pid, ("memory", "memory.limit_in_bytes"), "memory.max"),
                limit(pid, ("memory", "memory.soft_limit_in_bytes"), "memory.low"),
                limit(pid, ("cpu", "cpu.cfs_quota_us"), "cpu.max"),
                limit(pid, ("cpu", "cpu.shares"), "cpu.weight"),
                limit(pid, ("cpuset", "cpuset.cpus"), "cpuset.cpus"),
                limit(pid, ("pids", "pids.max"), "pids.max"),
            ]
        };
        let mut all = seen("one");
        machine.ok(&["update", "--memory", "80m", "--memory-swap", "160m", "--pids-limit", "40", "one"]);
        all.extend(seen("one"));
        all.push(inspect(machine, "one", "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}"));
        machine.ok(&["restart", "-t", "0", "one"]);
        all.extend(seen("one"));
        // A restart by its policy keeps to them too.
        machine.ok(&["update", "--restart", "always", "--pids-limit", "50", "one"]);
        let before = machine.pid("one");
        kill(before);
        eventually("a restart", || (![0, before].contains(&machine.pid("one"))).then_some(()));
        all.extend(seen("one"));
        all.push(machine.json(&["stats", "--no-stream", "one"])[0]["Name"].to_string());
        machine.ok(&["rm", "-f", "one"]);
        all
    });
}

/// Want of memory is told as such.
#[test]
fn the_end_of_memory_is_seen_under_each_runtime() {
    compare(|machine, runtime| {
        let words =
            ["run", "--name", "one", "--network", "none", "-m", "16m", "--memory-swap", "16m", "--runtime", runtime];
        let output = machine
            .carrack(&[&words[..], &["busybox", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"]].concat());
        let seen =
            vec![exit_code(&output).to_string(), inspect(machine, "one", "{{.State.OOMKilled}} {{.State.ExitCode}}")];
        machine.ok(&["rm", "one"]);
        seen
    });
}

/// A life: every verb on a container that runs.
#[test]
fn a_life_is_the_same_under_each_runtime() {
    compare(|machine, runtime| {
        let line =
            "trap 'echo asked; exit 9' TERM; echo ready; echo here > /file; while :; do sleep 1000 & wait $!; done";
        let words = [
            "run",
            "-d",
            "--name",
            "one",
            "--network",
            "none",
            "-h",
            "same",
            "-u",
            "app",
            "--group-add",
            "extra",
            "-w",
            "/tmp",
        ];
        let line = line.replace("/file", "/tmp/file");
        machine.ok(&[&words[..], &["--runtime", runtime, "busybox", "sh", "-c", &line]].concat());
        let mut seen =
            vec![inspect(machine, "one", "{{.State.Status}} {{.HostConfig.Runtime}}").replace(runtime, "RUNTIME")];
        eventually("it is ready", || machine.ok(&["logs", "one"]).contains("ready").then_some(()));
        let rights = "id; pwd; echo $HOME; hostname; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; exit 5";
        seen.push(whole(&machine.carrack(&["exec", "one", "sh", "-c", rights])));
        seen.push(whole(&machine.carrack(&[
            "exec",
            "-u",
            "0",
            "--privileged",
            "-e",
            "A=b",
            "one",
            "sh",
            "-c",
            "echo $A; grep -E '^(Cap|Seccomp:)' /proc/self/status",
        ])));
        seen.push(whole(&machine.carrack(&["exec", "one", "nothing"])));
        seen.push(
            String::from_utf8_lossy(&feed(machine.command(&["exec", "-i", "one", "cat"]), b"through").stdout)
                .into_owned(),
        );
        let listed = machine.ok(&["top", "one", "-o", "comm"]);
        seen.push(listed.lines().map(str::trim).collect::<Vec<_>>().join(" "));
        machine.ok(&["cp", "one:/tmp/file", "fetched"]);
        seen.push(std::fs::read_to_string(machine.path().join("fetched")).unwrap());
        seen.push(machine.ok(&["diff", "one"]));
        machine.ok(&["pause", "one"]);
        seen.push(inspect(machine, "one", "{{.State.Status}} {{.State.Paused}}"));
        let frozen = std::fs::read_to_string(format!("/proc/{}/cgroup", machine.pid("one"))).unwrap();
        seen.push(frozen.lines().filter(|line| line.contains("carrack-")).count().min(1).to_string());
        machine.ok(&["unpause", "one"]);
        seen.push(machine.ok(&["exec", "one", "echo", "thawed"]));
        machine.ok(&["kill", "one"]);
        eventually("its end", || (inspect(machine, "one", "{{.State.Status}}") == "exited").then_some(()));
        seen.push(inspect(machine, "one", "{{.State.ExitCode}} {{.State.OOMKilled}} {{.State.Error}}"));
        machine.ok(&["start", "one"]);
        eventually("it is ready again", || (machine.ok(&["logs", "one"]).matches("ready").count() == 2).then_some(()));
        machine.ok(&["stop", "one"]);
        seen.push(inspect(machine, "one", "{{.State.Status}} {{.State.ExitCode}}"));
        seen.push(machine.ok(&["logs", "one"]));
        seen.push(machine.ok(&["wait", "one"]));
        machine.ok(&["commit", "one", "made"]);
        seen.push(machine.ok(&["run", "--rm", "--runtime", runtime, "--network", "none", "made", "cat", "/tmp/file"]));
        machine.ok(&["rmi", "-f", "made"]);
        machine.ok(&["rm", "one"]);
        std::fs::remove_file(machine.path().join("fetched")).unwrap();
        seen
    });
}

/// Programs that can't be run, mounts that can't be made, users who are not there: Docker's exit codes, and nothing left.
#[test]
fn failures_have_the_same_codes_under_each_runtime() {
    compare(|machine, runtime| {
        let attempt = |words: &[&str]| {
            let all = [&["run", "--rm", "--network", "none", "--runtime", runtime], words].concat();
            format!("{words:?} {}", machine.code(&all))
        };
        let seen = vec![
            attempt(&["busybox", "nothing"]),
            attempt(&["busybox", "/no/such/program"]),
            attempt(&["busybox", "/etc/passwd"]),
            attempt(&["busybox", "/etc"]),
            attempt(&["-u", "nobody-known", "busybox", "true"]),
            attempt(&[
                "-v",
                "/no/such/folder:/x:ro",
                "--mount",
                "type=bind,source=/no/such/either,target=/y",
                "busybox",
                "true",
            ]),
            attempt(&["-w", "/etc/passwd", "busybox", "true"]),
        ];
        // What the runtime itself wrote to the container's output is none of the container's.
        let output = machine.carrack(&["run", "--rm", "--network", "none", "--runtime", runtime, "busybox", "nothing"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.stdout.is_empty() && said.contains("error") && said.contains("nothing"), "{said}");
        assert_eq!(said.matches("not found").count(), 1, "{said}");
        seen
    });
}

/// Input, output and terminals.
#[test]
fn streams_are_the_same_under_each_runtime() {
    compare(|machine, runtime| {
        let base = ["run", "--rm", "--network", "none", "--runtime", runtime];
        let bytes: Vec<u8> = (0..300_000u32).map(|number| (number % 251) as u8).collect();
        let output = feed(machine.command(&[&base[..], &["-i", "busybox", "cat"]].concat()), &bytes);
        assert!(output.stdout == bytes, "{} bytes of {}", output.stdout.len(), bytes.len());
        let mut seen = vec![];
        let line = "test -t 0 && test -t 1 && test -t 2 && echo terminal; tty; stty size; ls -l $(tty) | cut -c1-10; stat -c '%U %a' $(tty); \
                    grep ' /dev/console ' /proc/mounts | cut -d' ' -f3; echo $TERM; : < /dev/tty && echo controlling";
        for user in ["root", "app"] {
            let words = ["run", "-d", "-t", "--name", "one", "-u", user, "--network", "none", "--runtime", runtime];
            machine.ok(&[&words[..], &["busybox", "sh", "-c", line]].concat());
            seen.push(machine.ok(&["wait", "one"]));
            seen.push(machine.ok(&["logs", "one"]));
            machine.ok(&["rm", "one"]);
        }
        let script = "stty size; trap 'stty size' WINCH; echo ready; read line; stty size; exit 3";
        let mut person = terminal(machine, &[&base[..], &["-it", "busybox", "sh", "-c", script]].concat());
        person.until("33 101");
        person.until("ready");
        person.resize(90, 40);
        person.until("40 90");
        person.write(b"\n");
        person.until("40 90");
        seen.push(person.end().to_string());
        // Output of a program that ends at once is whole, and its pipes are its own.
        let line =
            "id -u; echo again > /dev/stdout; echo twice > /proc/self/fd/2; ls -l /proc/self/fd/1 | grep -c pipe";
        seen.push(whole(&machine.carrack(&[&base[..], &["-u", "app", "busybox", "sh", "-c", line]].concat())));
        seen
    });
}

/// Folders of the host: how mounts travel, subfolders of volumes, what is read-only below.
#[test]
fn binds_are_the_same_under_each_runtime() {
    compare(|machine, runtime| {
        let host = machine.path().join("shared");
        std::fs::create_dir_all(host.join("below")).unwrap();
        let path = host.to_str().unwrap().to_owned();
        let mount =
            |words: &[&str]| assert!(std::process::Command::new("mount").args(words).status().unwrap().success());
        mount(&["--bind", &path, &path]);
        mount(&["--make-shared", &path]);
        mount(&["-t", "tmpfs", "none", &format!("{path}/below")]);
        std::fs::write(host.join("below/file"), "below").unwrap();
        let on_host = |place: &str| std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains(place);
        let run = |flags: &[&str], line: &str| {
            let words = ["run", "--rm", "--network", "none", "--runtime", runtime];
            whole(&machine.carrack(&[&words[..], flags, &["busybox", "sh", "-c", line]].concat()))
        };
        let bind = |options: &str| format!("{path}:/x{options}");
        let look = "cat /x/below/file; touch /x/new /x/below/new 2>&1; grep -c ' /x' /proc/mounts";
        let mut seen = vec![
            run(&["-v", &bind("")], look),
            run(&["-v", &bind(":ro")], look),
            run(&["--mount", &format!("type=bind,source={path},target=/x,bind-recursive=disabled")], look),
            run(&["--mount", &format!("type=bind,source={path},target=/x,readonly,bind-recursive=writable")], look),
        ];
        // From the container to the host, and not.
        for (options, travels) in [(":rshared", true), (":shared", true), (":rslave", false), ("", false)] {
            let line = "mkdir -p /x/made && mount -t tmpfs none /x/made && touch /x/made/inside && grep -c /x/made /proc/mounts";
            seen.push(run(&["--privileged", "-v", &bind(options)], line));
            let made = format!("{path}/made");
            assert_eq!(on_host(&made), travels, "{runtime} {options}");
            if travels {
                mount(&["--make-private", &made]);
                assert!(std::process::Command::new("umount").arg(&made).status().unwrap().success());
            }
        }
        // From the host to a container that runs.
        for (options, travels) in [(":rslave", "1"), (":rshared", "1"), ("", "0")] {
            machine.ok(&[
                "run",
                "-d",
                "--name",
                "one",
                "--network",
                "none",
                "--runtime",
                runtime,
                "-v",
                &bind(options),
                "busybox",
                "sleep",
                "1000",
            ]);
            let later = format!("{path}/later");
            std::fs::create_dir_all(&later).unwrap();
            mount(&["-t", "tmpfs", "none", &later]);
            let count = machine.carrack(&["exec", "one", "grep", "-c", "/x/later", "/proc/mounts"]);
            let count = String::from_utf8_lossy(&count.stdout).trim().to_owned();
            assert!(std::process::Command::new("umount").arg(&later).status().unwrap().success());
            assert_eq!(count, travels, "{runtime} {options}");
            machine.ok(&["rm", "-f", "one"]);
        }
        // X16: shown as another user's.
        let owned = machine.path().join("owned");
        std::fs::create_dir_all(&owned).unwrap();
        std::os::unix::fs::chown(&owned, Some(3000), Some(3001)).unwrap();
        let source = format!("type=bind,source={},target=/x", owned.display());
        let mapped = format!("{source},idmap=uids=3000-7-1;gids=3001-8-1");
        seen.push(run(&["--mount", &mapped], "stat -c %u:%g /x"));
        assert!(seen.last().is_some_and(|said| said.contains("7:8")), "{runtime}: {seen:?}");
        machine.ok(&["volume", "create", "kept"]);
        machine.ok(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            "kept:/v",
            "busybox",
            "sh",
            "-c",
            "mkdir -p /v/a/b && echo deep > /v/a/b/file && ln -sfn / /v/out",
        ]);
        seen.push(run(
            &["--mount", "type=volume,source=kept,target=/v,volume-subpath=a/b"],
            "cat /v/file; touch /v/new && ls /v",
        ));
        let out = run(&["--mount", "type=volume,source=kept,target=/v,volume-subpath=out"], "ls /v");
        assert_eq!(out, "125");
        seen.push(run(
            &["--mount", "type=image,source=busybox,target=/image", "-v", "kept:/v:ro"],
            "ls /image | head -3; touch /image/x /v/x 2>&1; id > /dev/null",
        ));
        machine.ok(&["volume", "rm", "kept"]);
        for place in [format!("{path}/below"), path.clone()] {
            assert!(std::process::Command::new("umount").arg(&place).status().unwrap().success(), "{place}");
        }
        std::fs::remove_dir_all(&host).unwrap();
        seen
    });
}

/// Namespaces of others, networks with names and published ports, restart policies, health.
#[test]
fn what_goes_on_around_a_container_is_the_same_under_each_runtime() {
    let others = others();
    if others.is_empty() {
        return;
    }
    super::machine::on_both_hosts(|machine| {
        let mut all: Vec<Vec<String>> = Vec::new();
        for runtime in others.iter().map(String::as_str).chain(["carrack"]) {
            all.push(around(&machine, runtime));
            assert_eq!(machine.ok(&["ps", "-aq"]), "", "{runtime} leaves a container");
        }
        let ours = all.pop().unwrap();
        for theirs in all {
            assert_eq!(ours, theirs, "ours (left)");
        }
        machine.finish();
    });
}

fn around(machine: &Machine, runtime: &str) -> Vec<String> {
    let mut seen = Vec::new();
    let by = ["--runtime", runtime];
    machine.ok(&["network", "create", "net"]);
    let server = "mkdir -p /www && echo page > /www/index.html && exec httpd -f -p 80 -h /www";
    let web = [
        "run",
        "-d",
        "--name",
        "web",
        "--network",
        "net",
        "-p",
        "127.0.0.1:18080:80",
        "--health-cmd",
        "test -e /www/index.html",
        "--health-interval",
        "100ms",
    ];
    machine.ok(&[&web[..], &by, &["busybox", "sh", "-c", server]].concat());
    eventually("it is healthy", || (inspect(machine, "web", "{{.State.Health.Status}}") == "healthy").then_some(()));
    let client = ["run", "--rm", "--network", "net"];
    seen.push(machine.ok(&[&client[..], &by, &["busybox", "wget", "-q", "-O-", "http://web/"]].concat()));
    let page = eventually("the published port", || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect("127.0.0.1:18080").ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.contains("200 OK").then_some(text)
    });
    seen.push(page.lines().last().unwrap_or_default().to_owned());
    for (flag, line) in
        [("--network", "wget -q -O- http://127.0.0.1/; hostname | wc -c"), ("--pid", "tr '\\0' ' ' </proc/1/cmdline")]
    {
        let words = ["run", "--rm", flag, "container:web"];
        seen.push(machine.ok(&[&words[..], &by, &["busybox", "sh", "-c", line]].concat()));
    }
    machine.ok(&["network", "create", "further"]);
    machine.ok(&["network", "connect", "further", "web"]);
    seen.push(machine.ok(&["exec", "web", "sh", "-c", "ls /sys/class/net | grep -c eth"]));
    machine.ok(&["exec", "web", "rm", "/www/index.html"]);
    eventually("it is unhealthy", || {
        (inspect(machine, "web", "{{.State.Health.Status}}") == "unhealthy").then_some(())
    });
    // Its own namespace outlives a restart by policy, and with it its address.
    machine.ok(&["update", "--restart", "always", "web"]);
    let address = inspect(machine, "web", "{{.NetworkSettings.Networks.net.IPAddress}}");
    let before = machine.pid("web");
    kill(before);
    eventually("a restart", || (![0, before].contains(&machine.pid("web"))).then_some(()));
    seen.push((inspect(machine, "web", "{{.NetworkSettings.Networks.net.IPAddress}}") == address).to_string());
    eventually("it serves again", || {
        let output = machine.carrack(&[&client[..], &by, &["busybox", "wget", "-q", "-O-", "http://web/"]].concat());
        output.status.success().then_some(())
    });
    machine.ok(&["rm", "-f", "web"]);
    machine.ok(&["network", "rm", "net", "further"]);
    let tries = ["run", "-d", "--name", "tries", "--network", "none", "--restart", "on-failure:2"];
    machine.ok(&[&tries[..], &by, &["busybox", "sh", "-c", "echo try; exit 3"]].concat());
    eventually("the last try", || {
        (inspect(machine, "tries", "{{.RestartCount}} {{.State.Status}}") == "2 exited").then_some(())
    });
    seen.push(machine.ok(&["logs", "tries"]));
    seen.push(inspect(machine, "tries", "{{.State.ExitCode}}"));
    machine.ok(&["rm", "tries"]);
    machine.ok(&[
        &["run", "-d", "--name", "shares", "--network", "none", "--ipc", "shareable"][..],
        &by,
        &["busybox", "sh", "-c", "echo seen > /dev/shm/file; sleep 1000"],
    ]
    .concat());
    let line = "until test -s /dev/shm/file; do :; done; cat /dev/shm/file";
    seen.push(
        machine.ok(&[
            &["run", "--rm", "--network", "none", "--ipc", "container:shares"][..],
            &by,
            &["busybox", "sh", "-c", line],
        ]
        .concat()),
    );
    machine.ok(&["rm", "-f", "shares"]);
    seen
}

/// A killed shim takes no container of another runtime's with it, and its successor sees the end of it (I-4).
#[test]
fn a_killed_shim_is_replaced_under_each_runtime() {
    compare(|machine, runtime| {
        let words = ["run", "-d", "--name", "one", "--network", "none", "--runtime", runtime];
        machine.ok(&[
            &words[..],
            &["busybox", "sh", "-c", "trap 'exit 4' TERM; echo up; while :; do sleep 1000 & wait $!; done"],
        ]
        .concat());
        eventually("it is up", || machine.ok(&["logs", "one"]).contains("up").then_some(()));
        let pid = machine.pid("one");
        kill(machine.shim_pid("one"));
        eventually("the shim's end", || {
            assert_ne!(machine.code(&["rm", "nobody"]), 0);
            machine.carrack(&["exec", "one", "true"]).status.success().then_some(())
        });
        let seen = vec![(machine.pid("one") == pid).to_string()];
        machine.ok(&["stop", "one"]);
        assert!(["4", "255"].contains(&inspect(machine, "one", "{{.State.ExitCode}}").as_str()));
        machine.ok(&["start", "one"]);
        machine.ok(&["rm", "-f", "one"]);
        seen
    });
}

/// Shim and runtime killed before and after each of the runtime's verbs: the next command finds nothing in its way, and
/// nothing is left (I-3).
#[test]
fn a_kill_at_any_verb_of_a_runtime_leaves_nothing() {
    let others = others();
    if others.is_empty() {
        return;
    }
    let Some(machine) = Machine::new() else { return };
    let wrapper = machine.path().join("wrapper");
    let path = wrapper.to_str().unwrap().to_owned();
    let once = machine.path().join("once");
    for runtime in &others {
        for verb in ["create", "start", "delete"] {
            for (before, victim) in [(true, "$PPID"), (true, "$$"), (false, "$PPID"), (false, "$$")] {
                // One kill each: what puts things in order may call the runtime too.
                let shot = format!("rm {} && kill -9 {victim}", once.display());
                let (first, last) = if before { (shot.as_str(), ":") } else { (":", shot.as_str()) };
                let script = format!(
                    "#!/bin/sh\ncase \"$*\" in *' {verb} '*) {first}; {runtime} \"$@\"; status=$?; {last}; exit $status;; esac\n\
                     exec {runtime} \"$@\"\n"
                );
                std::fs::write(&wrapper, script).unwrap();
                std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).unwrap();
                std::fs::write(&once, "").unwrap();
                let what = format!("{runtime} {verb}, before: {before}, {victim}");
                let words = ["run", "--name", "one", "--network", "none", "--runtime", &path];
                let output = machine.carrack(&[&words[..], &["busybox", "true"]].concat());
                // In the shell's own `&&` a kill of the shim kills the script too, at the latest at its end.
                if verb != "delete" {
                    assert_ne!(exit_code(&output), 0, "{what}: {output:?}");
                }
                assert!(!once.exists(), "{what}");
                assert_ne!(machine.code(&["rm", "nobody"]), 0);
                // A shim that lives may still be putting things away.
                eventually(&format!("nothing is left: {what}"), || {
                    (machine.json_whatever(&["doctor", "--leaks"]) == serde_json::json!([])).then_some(())
                });
                assert_eq!(machine.code(&["start", "-a", "one"]), 0, "{what}");
                machine.ok(&["rm", "-f", "one"]);
            }
        }
    }
    std::fs::remove_file(&wrapper).unwrap();
    machine.finish();
}

/// Which runtime it is, is said; a runtime that is not there, or can't do what is asked, is refused before anything is
/// made.
#[test]
fn a_runtime_is_named_kept_and_refused_by_name() {
    let Some(machine) = Machine::new() else { return };
    for ours in ["carrack", "io.containerd.runc.v2"] {
        machine.ok(&["create", "--name", "one", "--runtime", ours, "busybox", "true"]);
        assert_eq!(inspect(&machine, "one", "{{.HostConfig.Runtime}}"), "carrack");
        machine.ok(&["rm", "one"]);
    }
    for (flags, code) in [
        (["--runtime", "no-such-runtime"].as_slice(), "engine/no-runtime"),
        (&["--runtime", "/no/such/runtime"], "engine/no-runtime"),
        (&["--runtime", "relative/runtime"], "container/invalid-setting"),
        (&["--runtime", "io.containerd.runsc.v1"], "container/invalid-setting"),
        (&["--runtime", "kata-runtime"], "container/invalid-setting"),
        (&["--runtime", "/bin/sh", "--init"], "container/invalid-setting"),
    ] {
        // Docker's answers: what is refused is no wrong usage for `create`.
        for (verb, status) in [("create", 1), ("run", 125)] {
            let failure = machine.fails(&[&[verb], flags, &["busybox", "true"]].concat());
            assert_eq!((failure.code(), failure.status), (code, status), "{verb} {flags:?}");
        }
    }
    let failure = machine.fails(&["create", "--runtime", "no-such-runtime", "busybox", "true"]);
    assert!(failure.text().contains("/usr/sbin:/usr/bin"), "{}", failure.text());
    // A program that is no runtime says so in its own words, and leaves nothing.
    let failure = machine.fails(&["run", "--rm", "--network", "none", "--runtime", "/bin/false", "busybox", "true"]);
    assert_eq!(failure.status, 125, "{}", failure.text());
    assert!(failure.text().contains("/bin/false create"), "{}", failure.text());

    let project = machine.project("shop");
    project.write(
        "compose.yaml",
        "services:\n  web:\n    image: busybox\n    command: sleep 1000\n    runtime: no-such-runtime\n",
    );
    let failure = project.fails(&["up", "-d"]);
    assert_eq!(failure.code(), "engine/no-runtime");
    assert_eq!(machine.ok(&["ps", "-aq"]), "");
    assert!(!machine.ok(&["network", "ls", "--format", "{{.Name}}"]).contains("shop"));

    // One that is gone when the container is to start.
    let copy = machine.path().join("gone");
    std::fs::copy("/bin/busybox", &copy).unwrap();
    machine.ok(&["create", "--name", "one", "--runtime", copy.to_str().unwrap(), "busybox", "true"]);
    std::fs::remove_file(&copy).unwrap();
    assert_eq!(machine.fails(&["start", "one"]).code(), "engine/no-runtime");
    machine.ok(&["rm", "one"]);
    assert_eq!(machine.ok(&["ps", "-aq"]), "");
    machine.finish();
}

/// A project by another runtime: made anew when that changes, and once only.
#[test]
fn a_project_names_its_runtime() {
    let Some(runtime) = others().into_iter().next() else { return };
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("shop");
    let with = |line: &str| {
        let text =
            format!("services:\n  web:\n    image: busybox\n    command: sleep 1000\n    stop_signal: KILL\n{line}");
        project.write("compose.yaml", text);
    };
    with(&format!("    runtime: {runtime}\n"));
    project.ok(&["up", "-d"]);
    let made: Value = machine.json(&["inspect", "shop-web-1"]);
    let id = made[0]["Id"].clone();
    assert_eq!(made[0]["HostConfig"]["Runtime"], Value::from(runtime.as_str()));
    assert!(project.ok(&["config"]).contains(&format!("runtime: {runtime}")));
    project.ok(&["up", "-d"]);
    assert_eq!(machine.json(&["inspect", "shop-web-1"])[0]["Id"], id, "nothing to do");
    with("    runtime: io.containerd.runc.v2\n");
    project.ok(&["up", "-d"]);
    let now = machine.json(&["inspect", "shop-web-1"]);
    assert_ne!(now[0]["Id"], id);
    assert_eq!(now[0]["HostConfig"]["Runtime"], "carrack");
    project.ok(&["down"]);
    machine.finish();
}
