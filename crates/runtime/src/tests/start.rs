use std::collections::BTreeMap;

use carrack_specgen::container::{Mount, MountSource, Ulimit};
use carrack_specgen::init_plan::RootSource;
use carrack_specgen::{Container, InitStep};

use super::fixture::{Bundle, Outcome, container};

/// F1: a container is a Linux process started from the image, with every namespace, filter and mask of the default.
#[test]
fn true_exits_with_zero() {
    let Some(mut bundle) = Bundle::new() else { return };
    assert_eq!(bundle.run(&container(&["true"])), Ok(Outcome { status: 0, output: String::new() }));
}

#[test]
fn exit_statuses_are_docker_s() {
    let Some(mut bundle) = Bundle::new() else { return };
    assert_eq!(bundle.shell("exit 7", container(&[])).status, 7);
    assert_eq!(bundle.shell("kill -9 $$; exit 3", container(&[])).status, 3, "process 1 is safe from itself");
    bundle.add("etc/data", "text");
    let missing = bundle.run(&container(&["nothing"])).expect_err("no such program");
    assert_eq!((missing.exit_status(), missing.name.as_str()), (127, "execute"));
    assert!(missing.to_string().contains("\"nothing\": executable file not found in $PATH"), "{missing}");
    assert_eq!(bundle.run(&container(&["/etc/data"])).expect_err("no program").exit_status(), 126);
    assert_eq!(bundle.run(&container(&["/etc/nothing"])).expect_err("no program").exit_status(), 127);
    let lost = Container { user: Some("ghost".into()), ..container(&["true"]) };
    let failure = bundle.run(&lost).expect_err("no such user");
    assert_eq!((failure.exit_status(), failure.name.as_str()), (125, "identify"));
    assert!(failure.detail.contains("unable to find user ghost"), "{failure}");
}

#[test]
fn it_sees_itself_alone() {
    let Some(mut bundle) = Bundle::new() else { return };
    let named = Container { hostname: Some("box".into()), ..container(&[]) };
    let outcome = bundle.shell("echo $$ $(hostname) $PWD $HOME; ls /proc | grep -c '^[0-9]'; ls /sys/class/net", named);
    let lines: Vec<&str> = outcome.output.lines().collect();
    assert_eq!(lines.first(), Some(&"1 box / /root"));
    assert_eq!(lines.last(), Some(&"lo"));
    let mounts = bundle.shell("cat /proc/self/mounts", container(&[])).output;
    assert!(!mounts.contains("/dev/vda") && !mounts.contains("ext4"), "nothing of the host's: {mounts}");
}

/// F4, CVE-2023-25173.
#[test]
fn users_by_name_and_number_with_their_groups() {
    let Some(mut bundle) = Bundle::new() else { return };
    let as_user = |user: &str, groups: &[&str]| Container {
        user: Some(user.into()),
        group_add: groups.iter().map(|group| (*group).to_owned()).collect(),
        ..container(&[])
    };
    let line = "grep -E '^(Uid|Gid|Groups)' /proc/self/status; echo $HOME";
    let text = |bundle: &mut Bundle, wanted| bundle.shell(line, wanted).output.replace(['\t', '\n'], " ");
    assert_eq!(
        text(&mut bundle, as_user("web", &[])),
        "Uid: 1000 1000 1000 1000 Gid: 1000 1000 1000 1000 Groups: 4 1000  /srv "
    );
    assert_eq!(
        text(&mut bundle, as_user("10001:10001", &["extra"])),
        "Uid: 10001 10001 10001 10001 Gid: 10001 10001 10001 10001 Groups: 77 10001  / "
    );
    assert_eq!(text(&mut bundle, as_user("0", &[])), "Uid: 0 0 0 0 Gid: 0 0 0 0 Groups: 0  /root ");
}

/// F3, F4.
#[test]
fn rights_are_the_default_ones_and_can_be_taken() {
    let Some(mut bundle) = Bundle::new() else { return };
    let line = "grep -E '^(CapEff|CapBnd|CapInh|NoNewPrivs|Seccomp):' /proc/self/status";
    let text = |bundle: &mut Bundle, wanted| bundle.shell(line, wanted).output.replace(['\t', '\n'], " ");
    assert_eq!(
        text(&mut bundle, container(&[])),
        "CapInh: 0000000000000000 CapEff: 00000000a80425fb CapBnd: 00000000a80425fb NoNewPrivs: 0 Seccomp: 2 "
    );
    let drop_all = Container {
        cap_drop: vec!["ALL".into()],
        cap_add: vec!["CHOWN".into()],
        no_new_privileges: true,
        ..container(&[])
    };
    assert_eq!(
        text(&mut bundle, drop_all),
        "CapInh: 0000000000000000 CapEff: 0000000000000001 CapBnd: 0000000000000001 NoNewPrivs: 1 Seccomp: 2 "
    );
    let user = Container { user: Some("web".into()), ..container(&[]) };
    assert!(text(&mut bundle, user).contains("CapEff: 0000000000000000"));
}

/// F4, F5.
#[test]
fn a_read_only_root_with_temporary_folders() {
    let Some(mut bundle) = Bundle::new() else { return };
    let tmpfs = Mount {
        target: "/tmp".into(),
        source: MountSource::Tmpfs { size_bytes: Some(1 << 20), mode: None, options: Vec::new() },
        read_only: false,
        identities: None,
    };
    let wanted =
        Container { read_only: true, mounts: vec![tmpfs], working_dir: Some("/srv/app".into()), ..container(&[]) };
    let outcome = bundle.shell(
        "pwd; touch /etc/x 2>/dev/null || echo closed; touch /tmp/x && echo open; dd if=/dev/zero of=/tmp/big bs=1M count=2 2>&1 | grep -c 'No space'",
        wanted,
    );
    assert_eq!(outcome.output, "/srv/app\nclosed\nopen\n1\n");
}

#[test]
fn limits_of_the_process_hold() {
    let Some(mut bundle) = Bundle::new() else { return };
    let ulimits = BTreeMap::from([("nofile".to_owned(), Ulimit { soft: 100, hard: 200 })]);
    let wanted = Container { ulimits, oom_score_adj: Some(500), ..container(&[]) };
    let outcome = bundle.shell("ulimit -Sn; ulimit -Hn; cat /proc/self/oom_score_adj", wanted);
    assert_eq!(outcome.output, "100\n200\n500\n");
    // Here without CAP_SYS_RESOURCE, elsewhere with: never a failure.
    let ulimits = BTreeMap::from([("nofile".to_owned(), Ulimit { soft: 1 << 20, hard: 1 << 20 })]);
    assert_eq!(bundle.shell("true", Container { ulimits, ..container(&[]) }).status, 0);
}

/// F6: the small init passes signals on and reaps orphans.
#[test]
fn the_small_init_reaps_and_forwards() {
    let Some(mut bundle) = Bundle::new() else { return };
    let line = "(sleep 0.01 &) ; trap 'echo got; exit 42' TERM; echo $$; while :; do sleep 0.05; n=$(ps -o stat= | grep -c Z); done";
    let command = Some(vec!["sh".into(), "-c".into(), line.into()]);
    let (child, reader) = bundle.start(&Container { init: true, command, ..container(&[]) }).expect("it runs");
    let mut first = [0; 16];
    let length = rustix::io::read(&reader, &mut first).expect("a line");
    assert_ne!(&first[..length], b"1\n", "the program is not the first process");
    child.signal(15).expect("sent");
    let outcome = super::fixture::finish((child, reader));
    assert_eq!(outcome, Outcome { status: 42, output: "got\n".into() });
    let failure = bundle.run(&Container { init: true, ..container(&["nothing"]) }).expect_err("no program");
    assert_eq!(failure.exit_status(), 127);
}

#[test]
fn binds_of_files_and_folders() {
    let Some(mut bundle) = Bundle::new() else { return };
    let folder = bundle.path("shared");
    std::fs::create_dir(&folder).expect("a folder");
    let file = bundle.path("file");
    std::fs::write(&file, "content").expect("written");
    let mount = |path: &str, target: &str, read_only| Mount {
        target: target.into(),
        source: MountSource::Bind {
            path: path.into(),
            create: false,
            propagation: None,
            non_recursive: false,
            writable_below: false,
        },
        read_only,
        identities: None,
    };
    let mounts = vec![
        mount(&folder, "/made/on/the/way", false),
        mount(&folder, "/closed", true),
        mount(&file, "/etc/made.conf", true),
    ];
    let line =
        "echo x > /made/on/the/way/new; cat /closed/new /etc/made.conf; touch /closed/y 2>/dev/null || echo closed";
    let outcome = bundle.shell(line, Container { mounts, ..container(&[]) });
    assert_eq!(outcome.output, "x\ncontentclosed\n");
    assert_eq!(std::fs::read_to_string(format!("{folder}/new")).ok().as_deref(), Some("x\n"));
}

/// Mounts made on either side of a shared bind show on the other, those of a private one do not.
#[test]
fn propagation_is_as_asked_for() {
    let Some(mut bundle) = Bundle::new() else { return };
    let folder = bundle.path("peer");
    std::fs::create_dir_all(format!("{folder}/inside")).expect("a folder");
    // A mount of its own, shared, as the folder of a volume driver would be.
    rustix::mount::mount_bind(folder.as_str(), folder.as_str()).expect("bound");
    rustix::mount::mount_change(folder.as_str(), rustix::mount::MountPropagationFlags::SHARED).expect("shared");
    let seen = |bundle: &mut Bundle, propagation: Option<&str>| {
        let mount = Mount {
            target: "/peer".into(),
            source: MountSource::Bind {
                path: folder.clone(),
                create: false,
                propagation: propagation.map(str::to_owned),
                non_recursive: false,
                writable_below: false,
            },
            read_only: false,
            identities: None,
        };
        let wanted = Container { mounts: vec![mount], privileged: true, ..container(&[]) };
        let line = "mount -t tmpfs made /peer/inside && grep -c peer/inside /proc/self/mounts";
        assert_eq!(bundle.shell(line, wanted).output, "1\n");
        let on_host =
            std::fs::read_to_string("/proc/self/mountinfo").expect("mounts").contains(&format!("{folder}/inside"));
        if on_host {
            rustix::mount::unmount(format!("{folder}/inside"), rustix::mount::UnmountFlags::DETACH).expect("unmounted");
        }
        on_host
    };
    let outcomes = [None, Some("rslave"), Some("rshared")].map(|propagation| seen(&mut bundle, propagation));
    rustix::mount::unmount(folder.as_str(), rustix::mount::UnmountFlags::DETACH).expect("unmounted");
    assert_eq!(outcomes, [false, false, true]);
}

/// The root may be a folder, and an overlay of many layers; upper ones win.
#[test]
fn roots_of_a_folder_and_of_many_layers() {
    let Some(bundle) = Bundle::new() else { return };
    let plan_with = |source: RootSource| {
        let mut plan = bundle.plan(&container(&["cat", "/etc/which"]));
        for step in &mut plan.steps {
            if let InitStep::Root { source: root, .. } = step {
                *root = source.clone();
            }
        }
        plan
    };
    bundle.add("etc/which", "the image");
    let folder = plan_with(RootSource::Folder { path: bundle.path("lower") });
    assert_eq!(super::fixture::run(&folder), Ok(Outcome { status: 0, output: "the image".into() }));
    let mut lower: Vec<String> = (0..100).map(|number| bundle.path(&format!("layer {number}: a,b"))).collect();
    for path in &lower {
        std::fs::create_dir_all(format!("{path}/etc")).expect("a folder");
        std::fs::write(format!("{path}/etc/which"), path).expect("written");
    }
    let topmost = lower[0].clone();
    lower.push(bundle.path("lower"));
    let (upper, work) = (Some(bundle.path("upper")), Some(bundle.path("work")));
    let overlay = plan_with(RootSource::Overlay { lower, upper, work, volatile: true });
    assert_eq!(super::fixture::run(&overlay), Ok(Outcome { status: 0, output: topmost }));
}

/// Printed, not asserted: the machine may be busy. The goal is 5 ms in a release build.
#[test]
fn how_long_true_takes() {
    let Some(mut bundle) = Bundle::new() else { return };
    let plan = bundle.plan(&container(&["true"]));
    let resources = bundle.spec(&container(&["true"])).linux.resources.unwrap_or_default();
    let cgroup = bundle.cgroup(&resources);
    let mut times: Vec<_> = (0..20)
        .map(|_| {
            let start = std::time::Instant::now();
            let started = super::fixture::start(&plan, Some(cgroup)).expect("it runs");
            let born = start.elapsed();
            assert_eq!(super::fixture::finish(started).status, 0);
            (start.elapsed(), born)
        })
        .collect();
    times.sort_unstable();
    println!("true with every namespace: median {:?} (until execve {:?})", times[10].0, times[10].1);
}

/// A container in the process, IPC and UTS namespaces of another, by path, and in its network, by descriptor.
#[test]
fn namespaces_of_another_container() {
    use carrack_specgen::container::{IpcMode, NamespaceMode, NetworkMode};
    use std::os::fd::AsFd;

    let Some(mut first) = Bundle::new() else { return };
    let (waiting, _output) =
        first.start(&Container { hostname: Some("first".into()), ..container(&["sleep", "60"]) }).expect("it runs");
    let namespace = |kind: &str| format!("/proc/{}/ns/{kind}", waiting.pid);
    let Some(mut second) = Bundle::new() else { return };
    let paths = ["pid", "ipc", "uts"].map(|kind| (kind.to_owned(), namespace(kind)));
    second.resolved.namespaces = paths.into();
    second.resolved.network_inherited = true;
    let shared = || NamespaceMode::Container("first".into());
    let line =
        "hostname; cat /proc/1/cmdline | head -c 5; echo; readlink /proc/self/ns/net; test $$ -gt 1 && echo later";
    let wanted = Container {
        pid: shared(),
        ipc: IpcMode::Container("first".into()),
        uts: shared(),
        network: NetworkMode::Container("first".into()),
        ..container(&["sh", "-c", line])
    };
    let plan = second.plan(&wanted);
    let network = std::fs::File::open(namespace("net")).expect("the namespace");
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
    let request = crate::init::SpawnRequest {
        plan: &plan,
        stdio: [network.as_fd(), writer.as_fd(), writer.as_fd()],
        network_namespace: Some(network.as_fd()),
        container: None,
        cgroup: None,
    };
    let child = crate::init::spawn(&request).expect("it runs");
    drop(writer);
    let name = std::fs::read_link(namespace("net")).expect("a name");
    let expected = format!("first\nsleep\n{}\nlater\n", name.display());
    assert_eq!(super::fixture::finish((child, reader)), Outcome { status: 0, output: expected });
    waiting.signal(9).expect("sent");
    assert_eq!(waiting.wait(), Ok(137));

    // A plan that joins what nobody hands over does not start.
    let missing = super::fixture::run(&plan).expect_err("no descriptor");
    assert_eq!((missing.name.as_str(), missing.exit_status()), ("join-network", 125));
}
