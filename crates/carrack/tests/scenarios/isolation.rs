//! What keeps containers apart, and what of each other and of the host they are given when somebody asks (F2 to F5, I-6).

use crate::machine::{Machine, exit_code};

/// `run --rm --network none FLAGS busybox sh -c LINE`
fn shell(machine: &Machine, flags: &[&str], line: &str) -> std::process::Output {
    machine.carrack(&[&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", line]].concat())
}

/// Its output, which must be a success.
#[track_caller]
fn text(machine: &Machine, flags: &[&str], line: &str) -> String {
    machine.ok(&[&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", line]].concat())
}

/// A flag that Docker has is done, or answered by its name and before anything is made.
#[test]
fn what_is_not_done_is_refused_by_name() {
    let Some(machine) = Machine::new() else { return };
    for (flags, code) in [
        (["--gpus", "all"], "cli/refused"),
        (["--userns", "private"], "cli/refused"),
        (["--storage-opt", "size=1g"], "cli/refused"),
        (["--device", "vendor.com/gpu=all"], "engine/device"),
        (["--isolation", "hyperv"], "cli/refused"),
        (["--cpu-count", "2"], "cli/refused"),
        (["--runtime", "no-such-runtime"], "engine/no-runtime"),
        (["--runtime", "runsc"], "container/invalid-setting"),
        (["--mount", "type=npipe,source=a,target=/x"], "cli/refused"),
        (["--mount", "type=cluster,target=/x"], "cli/refused"),
        (["--uts", "container:x"], "cli/invalid-value"),
        (["--ip6", "::1"], "cli/invalid-value"),
        (["--memory-swap", "1g"], "container/invalid-setting"),
        (["--cpu-quota", "500"], "container/invalid-setting"),
        (["--device-cgroup-rule", "x 1:1 r"], "container/invalid-setting"),
        (["--cgroup-parent", "/a/../b"], "container/invalid-setting"),
        (["--volumes-from", "nobody"], "engine/no-such-container"),
    ] {
        let failure = machine.fails(&["run", "--rm", "--network", "none", flags[0], flags[1], "busybox", "true"]);
        assert_eq!((failure.code(), failure.status), (code, 125), "{flags:?}");
    }
    for harmless in [["--isolation", "default"], ["--userns", "host"], ["--volume-driver", "local"]] {
        text(&machine, &harmless, "true");
    }
    assert_eq!(machine.ok(&["ps", "-aq"]), "");
    machine.finish();
}

/// F2: what the kernel says of each limit, in the container's own control groups, as it sees them itself.
#[test]
fn limits_reach_the_kernel() {
    let Some(machine) = Machine::new() else { return };
    let on_v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let common = ["--cpu-period=50000", "--cpu-quota=20000", "--cpuset-mems=0", "--memory=64m"];
    let common = [&common[..], &["--memory-reservation=32m"]].concat();
    let (limits, files, expected) = if on_v2 {
        let files = "cd /sys/fs/cgroup; cat cpu.max cpuset.mems memory.low memory.max memory.swap.max";
        (common, files, "20000 50000\n0\n33554432\n67108864\n67108864")
    } else {
        let files = "cd /sys/fs/cgroup; cat cpu/cpu.cfs_period_us cpu/cpu.cfs_quota_us cpuset/cpuset.mems \
                     memory/memory.swappiness memory/memory.soft_limit_in_bytes; \
                     grep -o 'oom_kill_disable .' memory/memory.oom_control";
        let limits = [&common[..], &["--memory-swappiness=10", "--oom-kill-disable"]].concat();
        (limits, files, "50000\n20000\n0\n10\n33554432\noom_kill_disable 1")
    };
    assert_eq!(text(&machine, &limits, files), expected);
    if let Some(disk) =
        ["/dev/vda", "/dev/sda", "/dev/nvme0n1"].into_iter().find(|path| std::path::Path::new(path).exists())
    {
        let (bytes, operations) = (format!("{disk}:1m"), format!("{disk}:100"));
        let limits = ["--device-read-bps", &bytes, "--device-write-iops", &operations];
        if on_v2 {
            let said = text(&machine, &limits, "cat /sys/fs/cgroup/io.max");
            assert!(said.ends_with(" rbps=1048576 wbps=max riops=max wiops=100"), "{said}");
        } else {
            let files = "cd /sys/fs/cgroup/blkio; cat blkio.throttle.read_bps_device blkio.throttle.write_iops_device";
            let said = text(&machine, &limits, files);
            assert!(said.contains(" 1048576\n") && said.ends_with(" 100"), "{said}");
        }
    }
    let missing = machine.fails(&["run", "--rm", "--device-read-bps", "/dev/no-disk:1m", "busybox", "true"]);
    assert!(missing.diagnostics[0]["message"].as_str().is_some_and(|text| text.contains("/dev/no-disk")));
    if !on_v2 {
        let parent = format!("/carrack-scenario-{}", std::process::id());
        let line = "grep -c . /proc/self/cgroup > /dev/null; grep memory /proc/self/cgroup";
        let place = text(&machine, &["--cgroupns", "host", "--memory", "64m", "--cgroup-parent", &parent], line);
        assert!(place.contains(&format!(":{parent}/carrack-")), "{place}");
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            // As in Docker, the parent stays: it is the caller's.
            let _elsewhere = std::fs::remove_dir(hierarchy.path().join(&parent[1..]));
        }
    }
    machine.finish();
}

/// Devices: a folder of them, and a rule that opens what was made inside.
#[test]
fn device_rules_hold() {
    let Some(machine) = Machine::new() else { return };
    if std::fs::File::open("/dev/net/tun").is_err() {
        return eprintln!("skipped: needs /dev/net/tun");
    }
    let open = "mknod /tmp/tun c 10 200; (: < /tmp/tun) 2>/dev/null && echo opened || echo shut";
    assert_eq!(text(&machine, &[], open), "shut");
    assert_eq!(text(&machine, &["--device-cgroup-rule", "c 10:200 rwm"], open), "opened");
    assert_eq!(text(&machine, &["--device-cgroup-rule", "c 10:201 rwm"], open), "shut");
    let listed = text(&machine, &["--device", "/dev/net:/dev/ours:rw"], "(: < /dev/ours/tun) && ls /dev/ours");
    assert_eq!(listed, "tun");
    machine.finish();
}

/// Shared memory is a container's own unless it says otherwise, and then it is one for both.
#[test]
fn memory_is_shared_by_those_who_agree() {
    let Some(machine) = Machine::new() else { return };
    let start = |name: &str, mode: &str| {
        let line = "echo there > /dev/shm/word; exec sleep 300";
        machine.ok(&["run", "-d", "--name", name, "--network", "none", "--ipc", mode, "busybox", "sh", "-c", line]);
    };
    start("open", "shareable");
    start("closed", "private");
    // The one who waits looks until the word is there.
    let look = "until cat /dev/shm/word 2>/dev/null; do :; done";
    assert_eq!(text(&machine, &["--ipc", "container:open"], look), "there");
    let refused = machine.fails(&["run", "--rm", "--network", "none", "--ipc", "container:closed", "busybox", "true"]);
    assert_eq!(refused.code(), "engine/not-shareable");
    assert_eq!(text(&machine, &["--ipc", "none"], "grep -c /dev/shm /proc/mounts || true"), "0");
    machine.ok(&["rm", "-f", "open", "closed"]);
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    assert!(!mounts.contains(machine.path().to_str().unwrap()), "{mounts}");
    machine.finish();
}

/// J1: the volumes of another container, also after that one is gone; its anonymous ones go with the last.
#[test]
fn volumes_of_another_container_are_mounted() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&[
        "create",
        "--name",
        "first",
        "-v",
        "named:/named",
        "-v",
        "/nameless",
        "--tmpfs",
        "/own",
        "busybox",
        "true",
    ]);
    let write = "echo n > /named/file; echo a > /nameless/file";
    text(&machine, &["--volumes-from", "first"], write);
    let read = "cat /named/file /nameless/file; touch /named/more || echo refused; grep -c ' /own ' /proc/mounts";
    let output = shell(&machine, &["--volumes-from", "first:ro"], read);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "n\na\nrefused\n0\n");
    machine.ok(&["create", "--name", "second", "--volumes-from", "first", "busybox", "cat", "/nameless/file"]);
    machine.ok(&["rm", "-v", "first"]);
    assert_eq!(machine.ok(&["start", "-a", "second"]), "a");
    machine.ok(&["rm", "-v", "second"]);
    assert_eq!(machine.ok(&["volume", "ls", "-q"]), "named");
    let wrong = machine.fails(&["create", "--volumes-from", "first:what", "busybox", "true"]);
    assert_eq!(wrong.status, 1);
    machine.finish();
}

/// The files of an image are another one's mount, read-only, and stay while the container does.
#[test]
fn an_image_is_mounted() {
    let Some(machine) = Machine::new() else { return };
    let mount = ["--mount", "type=image,source=busybox,target=/image"];
    let line = "test -x /image/bin/busybox && touch /image/new 2>/dev/null || echo read-only";
    assert_eq!(text(&machine, &mount, line), "read-only");
    let below = ["--mount", "type=image,source=busybox,target=/image,image-subpath=etc"];
    assert!(text(&machine, &below, "ls /image").contains("passwd"));
    let missing = ["run", "--rm", "--mount", "type=image,source=nothing,target=/x", "busybox", "true"];
    assert_eq!(machine.code(&missing), 125);
    machine.finish();
}

/// Who writes to a volume does not choose what of the host the next container gets (as CVE-2021-30465 did): a folder
/// below a volume is looked for below it, whatever links lie there.
#[test]
fn a_folder_of_a_volume_stays_below_it() {
    let Some(machine) = Machine::new() else { return };
    let secret = machine.path().join("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("key"), "the host's").unwrap();
    let plant = format!(
        "mkdir -p /v/good/deep; echo mine > /v/good/deep/file; ln -s good/deep /v/inside; ln -s {0} /v/absolute; \
         ln -s ../../../../../../../../../..{0} /v/relative; ln -s /proc/1/root{0} /v/magic",
        secret.display()
    );
    text(&machine, &["-v", "bait:/v"], &plant);
    let mount = |folder: &str| format!("type=volume,source=bait,target=/x,volume-subpath={folder}");
    for folder in ["good/deep", "inside"] {
        assert_eq!(text(&machine, &["--mount", &mount(folder)], "cat /x/file"), "mine", "{folder}");
    }
    for folder in ["absolute", "relative", "magic", "missing"] {
        let ended = shell(&machine, &["--mount", &mount(folder)], "cat /x/*");
        assert_eq!(exit_code(&ended), 125, "{folder}: {ended:?}");
        assert!(!String::from_utf8_lossy(&ended.stdout).contains("host"), "{folder}");
    }
    machine.finish();
}

/// Labels from files, annotations for the runtime, paths of the kernel's shown where that was asked for.
#[test]
fn labels_annotations_and_paths_are_as_asked_for() {
    let Some(machine) = Machine::new() else { return };
    let file = machine.path().join("labels");
    std::fs::write(&file, "# a comment\nfrom=file\nboth=file\n").unwrap();
    let flags = ["--label-file", file.to_str().unwrap(), "--label", "both=flag", "--annotation", "note=here"];
    machine.ok(&[&["create", "--name", "labelled"], flags.as_slice(), &["busybox", "true"]].concat());
    let inspected = machine.json(&["inspect", "labelled"])[0].clone();
    assert_eq!(inspected["Config"]["Labels"]["from"], "file");
    assert_eq!(inspected["Config"]["Labels"]["both"], "flag");
    machine.ok(&["rm", "labelled"]);
    let covered = "grep -c ' /proc/' /proc/mounts || true";
    assert_ne!(text(&machine, &[], covered), "0");
    assert_eq!(text(&machine, &["--security-opt", "systempaths=unconfined"], covered), "0");
    let groups = "grep ' /sys/fs/cgroup' /proc/mounts | tail -1 | cut -d' ' -f4 | cut -d, -f1";
    assert_eq!(text(&machine, &[], groups), "ro");
    assert_eq!(text(&machine, &["--security-opt", "writable-cgroups=true"], groups), "rw");
    machine.finish();
}

/// F2: what `inspect` says of a running container is what the kernel says.
#[test]
fn effective_values_come_from_the_kernel() {
    let Some(machine) = Machine::new() else { return };
    let flags = [
        "--memory",
        "64m",
        "--memory-swap",
        "64m",
        "--cpus",
        "0.5",
        "--pids-limit",
        "50",
        "--cap-drop",
        "ALL",
        "--cap-add",
        "CHOWN",
        "--security-opt",
        "no-new-privileges",
        "--ulimit",
        "nofile=100:200",
        "--user",
        "4711:2000",
        "--oom-score-adj",
        "300",
        "--cpuset-cpus",
        "0",
    ];
    machine.ok(&[
        &["run", "-d", "--name", "held", "--network", "none"],
        flags.as_slice(),
        &["busybox", "sleep", "300"],
    ]
    .concat());
    let inspected = machine.json(&["inspect", "held"])[0].clone();
    let effective = &inspected["EffectiveLimits"];
    assert_eq!((&effective["Memory"], &effective["PidsLimit"]), (&(64 << 20).into(), &50.into()), "{effective}");
    assert_eq!((&effective["NanoCpus"], &effective["CpusetCpus"]), (&500_000_000.into(), &"0".into()), "{effective}");
    assert_eq!(
        (&effective["Uid"], &effective["Gid"], &effective["OomScoreAdj"]),
        (&4711.into(), &2000.into(), &300.into())
    );
    assert_eq!(effective["CapBounding"], serde_json::json!(["CAP_CHOWN"]));
    assert_eq!((&effective["NoNewPrivileges"], &effective["Seccomp"]), (&true.into(), &"filter".into()));
    let files = serde_json::json!({ "Name": "nofile", "Soft": 100, "Hard": 200 });
    assert!(effective["Ulimits"].as_array().is_some_and(|limits| limits.contains(&files)), "{effective}");
    // Changed behind carrack's back, it is told as it is.
    let pid = machine.pid("held");
    std::fs::write(format!("/proc/{pid}/oom_score_adj"), "400").unwrap();
    assert_eq!(machine.json(&["inspect", "held"])[0]["EffectiveLimits"]["OomScoreAdj"], 400);
    machine.ok(&["rm", "-f", "held"]);
    machine.finish();
}

/// CVE-2020-15257: what holds a container is not among the sockets without a name in the file system, which everybody on the
/// host's network reaches.
#[test]
fn a_container_on_the_hosts_network_reaches_no_socket_of_ours() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "held", "--network", "host", "busybox", "sleep", "300"]);
    let sockets = machine.ok(&["exec", "held", "cat", "/proc/net/unix"]);
    let ours: Vec<&str> =
        sockets.lines().filter(|line| line.contains("carrack") || line.contains("shim.sock")).collect();
    assert!(ours.iter().any(|line| line.ends_with("/shim.sock")), "that of the shim is seen: {sockets}");
    assert!(!ours.iter().any(|line| line.contains(" @")), "and none is abstract: {ours:?}");
    for line in ours {
        let path = line.split(' ').next_back().unwrap();
        assert_eq!(machine.code(&["exec", "held", "test", "-e", path]), 1, "{path}");
    }
    machine.ok(&["rm", "-f", "held"]);
    machine.finish();
}

/// An AppArmor profile that nothing could hold a container to is refused, and not dropped.
#[test]
fn a_profile_without_apparmor_is_refused() {
    let Some(machine) = Machine::new() else { return };
    if std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with('Y')) {
        return eprintln!("skipped: AppArmor is on here");
    }
    let refused = machine.fails(&["run", "--rm", "--security-opt", "apparmor=strict", "busybox", "true"]);
    assert_eq!(refused.code(), "container/invalid-setting");
    text(&machine, &["--security-opt", "apparmor=unconfined"], "true");
    assert_eq!(machine.fails(&["doctor", "--install-profile"]).code(), "engine/unconfined");
    machine.finish();
}
