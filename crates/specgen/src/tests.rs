use std::collections::BTreeMap;

use carrack_oci::Config;

use crate::container::{Mount, MountSource, NamespaceMode, NetworkMode, Resources, SeccompMode, Ulimit};
use crate::facts::{Architecture, Cgroups, Hierarchy};
use crate::init_plan::{InitStep, MountSource as PlannedSource, RootSource};
use crate::{
    Container, ExecRequest, HostFacts, Resolved, Source, exec_plan, init_plan, joins_every_hierarchy, launch, spec,
};

fn facts() -> HostFacts {
    HostFacts {
        architecture: Architecture::X86_64,
        kernel: (6, 1),
        cgroups: Cgroups::V1 {
            hierarchies: vec![Hierarchy {
                mountpoint: "/sys/fs/cgroup/cpu,cpuacct".into(),
                options: vec!["cpu".into(), "cpuacct".into()],
                is_always_joined: false,
            }],
        },
        capabilities: u64::MAX,
        apparmor: false,
        apparmor_profile: false,
        hostname: "host".into(),
    }
}

fn resolved() -> Resolved {
    Resolved {
        id: "0123456789abcdef".repeat(4),
        rootfs: "/run/carrack/root".into(),
        cgroup: "carrack-00000000/0123".into(),
        ..Resolved::default()
    }
}

fn container() -> Container {
    Container { command: Some(vec!["true".into()]), network: NetworkMode::None, ..Container::default() }
}

fn overlay() -> RootSource {
    RootSource::Overlay { lower: vec!["/l1".into()], upper: Some("/u".into()), work: Some("/w".into()), volatile: true }
}

/// A line a step: name and subject, the way failures name them.
fn outline(container: &Container, image: &Config) -> String {
    let spec = spec(container, image, &facts(), &resolved()).expect("a spec");
    let plan = init_plan(&spec, &launch(container, image, &resolved(), overlay()), &facts()).expect("a plan");
    let lines = plan.steps.iter().map(|step| format!("{} {}", step.name(), step.subject()).trim().to_owned());
    std::iter::once(format!("{:?}", plan.namespaces)).chain(lines).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_default_plan() {
    insta::assert_snapshot!(outline(&container(), &Config::default()), @r"
    [Mount, Pid, Ipc, Uts, Network]
    join-cgroups
    loopback-up
    new-cgroup-namespace
    hostname 0123456789ab
    isolate-mounts
    root /run/carrack/root
    mount /proc
    mount /dev
    device /dev/null
    device /dev/zero
    device /dev/full
    device /dev/random
    device /dev/urandom
    device /dev/tty
    symlink /dev/fd
    symlink /dev/stdin
    symlink /dev/stdout
    symlink /dev/stderr
    symlink /dev/core
    symlink /dev/ptmx
    mount /dev/pts
    mount /sys
    mount /sys/fs/cgroup
    mount /dev/mqueue
    mount /dev/shm
    sysctl net.ipv4.ip_unprivileged_port_start
    sysctl net.ipv4.ping_group_range
    mask /proc/acpi
    mask /proc/asound
    mask /proc/interrupts
    mask /proc/kcore
    mask /proc/keys
    mask /proc/latency_stats
    mask /proc/sched_debug
    mask /proc/scsi
    mask /proc/timer_list
    mask /proc/timer_stats
    mask /sys/devices/virtual/powercap
    mask /sys/firmware
    read-only /proc/bus
    read-only /proc/fs
    read-only /proc/irq
    read-only /proc/sys
    read-only /proc/sysrq-trigger
    pivot
    session-keyring carrack
    identify
    own-stdio
    working-directory /
    bound-capabilities
    switch-user
    seccomp
    capabilities
    execute true
    ");
}

#[test]
fn a_privileged_plan_masks_and_filters_nothing() {
    let outline = outline(&Container { privileged: true, ..container() }, &Config::default());
    for absent in ["mask", "read-only", "\nseccomp"] {
        assert!(!outline.contains(absent), "{absent}");
    }
}

/// F4, F5.
#[test]
fn a_read_only_root_closes_after_the_working_directory_is_made() {
    let tmpfs = Mount {
        target: "/tmp".into(),
        source: MountSource::Tmpfs { size_bytes: Some(100 << 20), mode: None, options: vec!["exec".into()] },
        read_only: false,
        identities: None,
    };
    let wanted = Container {
        read_only: true,
        no_new_privileges: true,
        user: Some("10001:10001".into()),
        working_dir: Some("/srv/app".into()),
        mounts: vec![tmpfs],
        ..container()
    };
    let outline = outline(&wanted, &Config::default());
    let order = [
        "working-directory /srv/app",
        "read-only-root",
        "bound-capabilities",
        "switch-user",
        "no-new-privileges",
        "\nseccomp",
        "\ncapabilities",
        "execute true",
    ];
    let positions: Vec<_> = order.iter().map(|step| outline.find(step).unwrap_or_else(|| panic!("{step}"))).collect();
    assert!(positions.is_sorted(), "{outline}");
    let spec = spec(&wanted, &Config::default(), &facts(), &resolved()).expect("a spec");
    let mount = spec.mounts.iter().find(|mount| mount.destination == "/tmp").expect("the mount");
    assert_eq!(mount.options, ["nosuid", "nodev", "rw", "exec", "size=104857600"]);
    assert_eq!((spec.process.user.uid, spec.process.user.gid), (10001, 10001));
}

#[test]
fn environment_follows_docker() {
    let image = Config { env: vec!["PATH=/opt/bin".into(), "A=image".into(), "B=image".into()], ..Config::default() };
    let env = BTreeMap::from([
        ("A".to_owned(), Some("own".to_owned())),
        ("B".to_owned(), None),
        ("C".to_owned(), Some(String::new())),
    ]);
    let wanted = Container { env, tty: true, hostname: Some("box".into()), ..container() };
    let spec = spec(&wanted, &image, &facts(), &resolved()).expect("a spec");
    assert_eq!(spec.process.env, ["PATH=/opt/bin", "HOSTNAME=box", "TERM=xterm", "A=own", "C="]);
}

/// F3: what the host can't give is an error where it was asked for by name, and as much as there is otherwise.
#[test]
fn capabilities_are_bounded_by_the_host() {
    let facts = HostFacts { capabilities: !(1 << 24 | 1), ..facts() };
    let of = |wanted: &Container| spec(wanted, &Config::default(), &facts, &resolved());
    let names = of(&Container { privileged: true, ..container() })
        .expect("a spec")
        .process
        .capabilities
        .expect("sets")
        .bounding;
    assert_eq!(names.len(), 39);
    let asked = Container { cap_add: vec!["SYS_RESOURCE".into()], ..container() };
    assert!(of(&asked).expect_err("refused").message.contains("CAP_SYS_RESOURCE"));
    let all = Container { cap_add: vec!["ALL".into()], ..container() };
    assert!(of(&all).is_ok() && of(&container()).is_ok());
}

/// A /dev of one's own gets nothing of ours.
#[test]
fn a_bound_dev_is_left_alone() {
    let bind = MountSource::Bind {
        path: "/dev".into(),
        create: false,
        propagation: None,
        non_recursive: false,
        writable_below: false,
    };
    let mounts = vec![Mount { target: "/dev".into(), source: bind, read_only: false, identities: None }];
    let wanted = Container { mounts, ..container() };
    let spec = spec(&wanted, &Config::default(), &facts(), &resolved()).expect("a spec");
    let plan =
        init_plan(&spec, &launch(&wanted, &Config::default(), &resolved(), overlay()), &facts()).expect("a plan");
    let touched: Vec<_> = plan.steps.iter().map(InitStep::subject).filter(|path| path.starts_with("/dev")).collect();
    assert_eq!(touched, ["/dev"]);
}

/// As Docker: on the host's network the host's name, unless another is asked for.
#[test]
fn the_hostname_follows_the_network() {
    let name = |wanted: &Container| spec(wanted, &Config::default(), &facts(), &resolved()).expect("a spec").hostname;
    assert_eq!(name(&container()), "0123456789ab");
    let on_host = Container { network: NetworkMode::Host, ..container() };
    assert_eq!(name(&on_host), "host");
    assert_eq!(name(&Container { hostname: Some("box".into()), ..on_host }), "box");
    assert_eq!(name(&Container { uts: NamespaceMode::Host, ..container() }), "");
}

#[test]
fn volumes_cover_the_images_and_parents_come_first() {
    let image = Config {
        volumes: BTreeMap::from([("/data".to_owned(), Default::default()), ("/var/x".to_owned(), Default::default())]),
        ..Config::default()
    };
    let volume = |target: &str| Mount {
        target: target.into(),
        source: MountSource::Volume {
            name: Some("v".into()),
            subpath: String::new(),
            no_copy: false,
            settings: Default::default(),
        },
        read_only: true,
        identities: None,
    };
    let source = |path: &str| Source { path: path.into(), read_only: false };
    let resolved = Resolved {
        sources: BTreeMap::from([
            ("/data".to_owned(), source("/v/1")),
            ("/data/deep/er".to_owned(), source("/v/2")),
            ("/var/x".to_owned(), source("/v/3")),
        ]),
        ..resolved()
    };
    let wanted = Container { mounts: vec![volume("/data/deep/er"), volume("/data")], ..container() };
    let spec = spec(&wanted, &image, &facts(), &resolved).expect("a spec");
    let own: Vec<_> = spec
        .mounts
        .iter()
        .filter(|mount| mount.source.starts_with("/v/"))
        .map(|mount| (mount.destination.as_str(), mount.options[2].as_str()))
        .collect();
    assert_eq!(own, [("/data", "rro"), ("/var/x", "rw"), ("/data/deep/er", "rro")]);
}

/// F2.
#[test]
fn limits_become_kernel_units() {
    let resources = Resources {
        memory_bytes: Some(256 << 20),
        nano_cpus: Some(1_500_000_000),
        pids: Some(100),
        ..Resources::default()
    };
    let spec =
        spec(&Container { resources, ..container() }, &Config::default(), &facts(), &resolved()).expect("a spec");
    let resources = spec.linux.resources.expect("resources");
    let memory = resources.memory.expect("memory");
    assert_eq!((memory.limit, memory.swap), (Some(256 << 20), Some(512 << 20)));
    let cpu = resources.cpu.expect("cpu");
    assert_eq!((cpu.quota, cpu.period), (Some(150_000), Some(100_000)));
    assert_eq!(resources.pids.map(|pids| pids.limit), Some(100));
}

#[test]
fn bad_settings_are_refused_with_a_code() {
    let refused =
        |wanted: Container| spec(&wanted, &Config::default(), &facts(), &resolved()).expect_err("refused").code.id;
    assert_eq!(refused(Container { command: None, ..container() }), "container/no-command");
    assert_eq!(refused(Container { cap_add: vec!["FLY".into()], ..container() }), "container/unknown-capability");
    let shared = NamespaceMode::Container("gone".into());
    assert_eq!(refused(Container { pid: shared, ..container() }), "container/invalid-setting");
    let shared = NetworkMode::Container("gone".into());
    assert_eq!(refused(Container { network: shared, ..container() }), "container/invalid-setting");
    let sysctls = |name: &str| BTreeMap::from([(name.to_owned(), "1".to_owned())]);
    assert_eq!(refused(Container { sysctls: sysctls("kernel.panic"), ..container() }), "container/host-sysctl");
    assert_eq!(
        refused(Container { sysctls: sysctls("net.ipv4.ip_forward"), network: NetworkMode::Host, ..container() }),
        "container/host-sysctl"
    );
    assert_eq!(
        refused(Container { sysctls: sysctls("kernel.sem"), ipc: crate::container::IpcMode::Host, ..container() }),
        "container/host-sysctl"
    );
    let ulimits = |name: &str, soft, hard| BTreeMap::from([(name.to_owned(), Ulimit { soft, hard })]);
    assert_eq!(refused(Container { ulimits: ulimits("nofiles", 1, 2), ..container() }), "container/invalid-setting");
    assert_eq!(refused(Container { ulimits: ulimits("nofile", -1, 2), ..container() }), "container/invalid-setting");
    assert_eq!(refused(Container { oom_score_adj: Some(1001), ..container() }), "container/invalid-setting");
    assert_eq!(
        refused(Container { seccomp: SeccompMode::Profile("{".into()), ..container() }),
        "container/seccomp-profile"
    );
    for target in ["relative", "/", "/a/../..", "//"] {
        let mounts = vec![Mount {
            target: target.into(),
            source: MountSource::Bind {
                path: "/tmp".into(),
                create: false,
                propagation: None,
                non_recursive: false,
                writable_below: false,
            },
            read_only: false,
            identities: None,
        }];
        assert_eq!(refused(Container { mounts, ..container() }), "container/invalid-setting", "{target}");
    }
}

/// An exec is confined as its container is, and never makes a namespace.
#[test]
fn an_exec_enters_and_is_confined() {
    let spec = spec(&container(), &Config::default(), &facts(), &resolved()).expect("a spec");
    let launch = launch(&container(), &Config::default(), &resolved(), overlay());
    let request = ExecRequest { args: vec!["sh".into()], env: vec!["A=1".into()], ..ExecRequest::default() };
    let plan = exec_plan(&spec, &launch, &request, &facts()).expect("a plan");
    let names: Vec<_> = plan.steps.iter().map(InitStep::name).collect();
    assert_eq!(
        names,
        [
            "join-cgroups",
            "enter-container",
            "session-keyring",
            "identify",
            "own-stdio",
            "working-directory",
            "bound-capabilities",
            "switch-user",
            "seccomp",
            "capabilities",
            "execute"
        ]
    );
    assert!(plan.namespaces.is_empty());
    let privileged = ExecRequest { privileged: true, ..request };
    let plan = exec_plan(&spec, &launch, &privileged, &facts()).expect("a plan");
    assert!(plan.steps.iter().all(|step| step.name() != "seccomp"));
}

/// What another runtime can't be told in its configuration stands before it is called: root, layers, subfolders, mounts
/// that travel to the host.
#[test]
fn another_runtime_finds_what_its_configuration_can_not_say() {
    let bind = |path: &str, propagation: Option<&str>| MountSource::Bind {
        path: path.into(),
        create: false,
        propagation: propagation.map(str::to_owned),
        non_recursive: false,
        writable_below: false,
    };
    let below = MountSource::Volume {
        name: Some("v".into()),
        subpath: "a/b".into(),
        no_copy: false,
        settings: Default::default(),
    };
    let mount = |target: &str, source| Mount { target: target.into(), source, read_only: true, identities: None };
    let mapped = crate::container::Identities::default();
    let wanted = Container {
        mounts: vec![
            mount("/alone", bind("/host/alone", None)),
            mount("/both", bind("/host/both", Some("rshared"))),
            mount("/below", below),
            Mount { identities: Some(mapped), ..mount("/mapped", bind("/host/mapped", None)) },
        ],
        domainname: Some("sea".into()),
        sysctls: [("net/ipv4/ip_forward".to_owned(), "1".to_owned())].into(),
        ..container()
    };
    let mut resolved = Resolved { network_inherited: true, ..resolved() };
    resolved.sources.insert("/below".into(), Source { path: "/volumes/v".into(), read_only: false });
    let image = Config::default();
    let ours = spec(&wanted, &image, &facts(), &resolved).expect("a spec");
    let launch = launch(&wanted, &image, &resolved, overlay());
    let external = crate::External {
        program: "/usr/sbin/runc".into(),
        id: "c".into(),
        folder: "/run/c/runtime".into(),
        template: "/run/c/config.json".into(),
    };
    let (theirs, plan) = crate::external::plan(&ours, &launch, &external, "carrack-00000000/0123");
    let lines: Vec<String> = plan.steps.iter().map(|step| format!("{} {}", step.name(), step.subject())).collect();
    let number = |target: &str| ours.mounts.iter().position(|mount| mount.destination == target).expect("a mount");
    let (both, below, mapped) = (number("/both"), number("/below"), number("/mapped"));
    let staged = |number: usize| format!("/run/c/runtime/binds/{number}");
    let mut expected = vec!["isolate-mounts ".to_owned()];
    let mut numbers = [both, below, mapped];
    numbers.sort_unstable();
    expected.extend(numbers.map(|number| format!("mount {}", staged(number))));
    expected.extend(["root /run/carrack/root", "identify ", "bundle /run/c/config.json"].map(str::to_owned));
    assert_eq!(lines, expected);
    let source = |target: &str| theirs.mounts[number(target)].source.clone();
    assert_eq!(
        (source("/alone"), source("/both"), source("/below")),
        ("/host/alone".into(), staged(both), staged(below))
    );
    let shown = &theirs.mounts[mapped];
    assert!(shown.uid_mappings.is_empty() && !shown.options.contains(&"idmap".to_owned()));
    // What is read-only stays so, and what travels is not cut off.
    assert!(theirs.mounts[both].options.contains(&"rro".to_owned()));
    assert_eq!(theirs.linux.rootfs_propagation, "shared");
    assert_eq!(theirs.linux.cgroups_path, "/carrack-00000000/0123");
    assert_eq!((theirs.domainname.as_str(), theirs.linux.sysctl["kernel.domainname"].as_str()), ("", "sea"));
    assert_eq!(theirs.linux.sysctl["net.ipv4.ip_forward"], "1");
    let mut identified = theirs.clone();
    let identity = crate::passwd::Identity { uid: 7, gid: 8, groups: vec![8, 9], home: "/home/x".into() };
    crate::external::identify(&mut identified, &identity);
    crate::external::join_network(&mut identified, "/proc/1/fd/5");
    let user = &identified.process.user;
    assert_eq!((user.uid, user.gid, &user.additional_gids[..], user.umask), (7, 8, &[8, 9][..], Some(0o022)));
    assert!(identified.process.env.contains(&"HOME=/home/x".to_owned()));
    let network = identified.linux.namespaces.iter().find(|namespace| namespace.kind == "network").expect("one");
    assert_eq!(network.path.as_deref(), Some("/proc/1/fd/5"));
}

/// Without a limit none is joined, so that none may be mounted: it would show the groups of the whole host.
#[test]
fn hierarchies_are_mounted_where_they_are_joined() {
    let limited = Resources { pids: Some(5), ..Resources::default() };
    let mounted = |container: &Container, is_always_joined: bool| {
        let mut facts = facts();
        let Cgroups::V1 { hierarchies } = &mut facts.cgroups else { unreachable!() };
        hierarchies[0].is_always_joined = is_always_joined;
        let spec = spec(container, &Config::default(), &facts, &resolved()).expect("a spec");
        let plan =
            init_plan(&spec, &launch(container, &Config::default(), &resolved(), overlay()), &facts).expect("a plan");
        let sources = plan.steps.into_iter().filter_map(|step| match step {
            InitStep::Mount(mount) if mount.target.starts_with("/sys/fs/cgroup/") => Some(mount.source),
            _ => None,
        });
        (sources.collect::<Vec<_>>(), joins_every_hierarchy(&spec))
    };
    let new = PlannedSource::FileSystem {
        kind: "cgroup".into(),
        source: "cgroup".into(),
        options: vec![("cpu".into(), None), ("cpuacct".into(), None)],
    };
    assert_eq!(mounted(&container(), false), (vec![], false));
    assert_eq!(mounted(&container(), true), (vec![new.clone()], false));
    for container in [
        Container { resources: limited, ..container() },
        Container { privileged: true, ..container() },
        Container { writable_cgroups: true, ..container() },
    ] {
        assert_eq!(mounted(&container, false), (vec![new.clone()], true));
    }
    let path = "/sys/fs/cgroup/cpu,cpuacct/carrack-00000000/0123".into();
    let own = PlannedSource::Bind { path, subpath: String::new(), recursive: false };
    assert_eq!(mounted(&Container { cgroupns: NamespaceMode::Host, ..container() }, false), (vec![own], true));
}
