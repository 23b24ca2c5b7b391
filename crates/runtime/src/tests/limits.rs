use carrack_specgen::Container;
use carrack_specgen::container::{NamespaceMode, Resources};

use super::fixture::{Bundle, container, finish};

/// F2: what was asked for is what the kernel says, and what it does.
#[test]
fn limits_hold_and_are_read_back() {
    let Some(mut bundle) = Bundle::new() else { return };
    let asked = Resources {
        memory_bytes: Some(32 << 20),
        memory_swap_bytes: Some(32 << 20),
        nano_cpus: Some(500_000_000),
        pids: Some(20),
        ..Resources::default()
    };
    let wanted = Container {
        resources: asked,
        ..container(&["sh", "-c", "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done 2>&1 | head -1"])
    };
    let started = bundle.start(&wanted).expect("it runs");
    let cgroup = bundle.cgroup(&Default::default());
    let limits = cgroup.limits();
    assert_eq!(limits.memory_bytes, Some(32 << 20));
    assert_eq!((limits.nano_cpus, limits.pids), (Some(500_000_000), Some(20)));
    cgroup.kill().expect("killed");
    finish(started);

    let hog = "x=$(dd if=/dev/zero bs=1M count=64 2>/dev/null | tr '\\0' 'x'); echo survived";
    let outcome = bundle.shell(hog, wanted);
    assert!(!outcome.output.contains("survived"), "{outcome:?}");
}

#[test]
fn a_fork_bomb_meets_its_limit() {
    let Some(mut bundle) = Bundle::new() else { return };
    let resources = Resources { pids: Some(8), ..Resources::default() };
    let line = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done 2>&1";
    let outcome = bundle.shell(line, Container { resources, ..container(&[]) });
    assert!(outcome.output.contains("can't fork"), "{outcome:?}");
}

/// Kill reaches what the program started, frozen or not, with v2 and without; then the folders can go.
#[test]
fn everything_is_killed_and_removed() {
    for mut bundle in Bundle::with_unified_and_without() {
        let line = "for i in 1 2 3; do sleep 60 & done; echo ready; wait";
        let (child, reader) = bundle.start(&container(&["sh", "-c", line])).expect("it runs");
        let mut ready = [0; 6];
        rustix::io::read(&reader, &mut ready).expect("a line");
        let cgroup = bundle.cgroup(&Default::default());
        assert_eq!(cgroup.processes().expect("processes").len(), 4);
        cgroup.freeze(true).expect("frozen");
        cgroup.freeze(false).expect("thawed");
        cgroup.kill().expect("killed");
        assert_eq!(finish((child, reader)).status, 137);
        assert_eq!(cgroup.processes().expect("processes"), Vec::<i32>::new());
    }
}

/// I7: what starts again whoever is killed, with no first process of a namespace to take all along.
#[test]
fn what_forks_as_fast_as_it_is_killed_is_killed() {
    const CHAINS: usize = 60;
    for mut bundle in Bundle::with_unified_and_without() {
        let line = format!(
            "keep() {{ while :; do sleep 60 & wait $!; done; }}; watch() {{ while :; do keep & wait $!; done; }}; \
             n=0; while [ $n -lt {CHAINS} ]; do watch & n=$((n+1)); done; echo ready; while :; do wait; done"
        );
        let wanted = Container { pid: NamespaceMode::Host, ..container(&["sh", "-c", &line]) };
        let (child, reader) = bundle.start(&wanted).expect("it runs");
        let mut ready = [0; 6];
        rustix::io::read(&reader, &mut ready).expect("a line");
        let cgroup = bundle.cgroup(&Default::default());
        while cgroup.processes().expect("processes").len() < 3 * CHAINS {
            std::thread::yield_now();
        }
        cgroup.kill().expect("killed");
        assert_eq!(cgroup.processes().expect("processes"), Vec::<i32>::new());
        assert_eq!(finish((child, reader)).status, 137);
    }
}

/// A limit given to a running container takes hold of the processes that it has.
#[test]
fn a_running_container_is_limited() {
    let Some(mut bundle) = Bundle::new() else { return };
    let started = bundle.start(&container(&["sleep", "60"])).expect("it runs");
    assert_eq!(bundle.cgroup(&Default::default()).limits().pids, None);
    let update =
        carrack_oci::runtime::Resources { pids: Some(carrack_oci::runtime::Pids { limit: 5 }), ..Default::default() };
    let mut cgroup = crate::cgroup::Cgroup::open(
        &bundle.hierarchies,
        bundle.resolved.cgroup.split_once('/').expect("a parent").0,
        &bundle.resolved.id,
    )
    .expect("it is there");
    cgroup.update(&update).expect("updated");
    assert_eq!((cgroup.limits().pids, cgroup.stats().pids), (Some(5), Some(1)));
    cgroup.kill().expect("killed");
    finish(started);
}

/// A group that somebody killed as a whole takes processes again, whatever the kernel makes of births into it.
#[test]
fn a_killed_group_can_be_used_again() {
    let Some(mut bundle) = Bundle::new() else { return };
    let Some(folder) = bundle.unified_folder() else {
        eprintln!("skipped: no v2 hierarchy");
        return;
    };
    bundle.cgroup(&Default::default());
    std::fs::write(folder.join("cgroup.kill"), "1").expect("killed");
    let outcome = bundle.shell("cat /proc/self/cgroup | grep ^0:", container(&[]));
    assert_eq!(outcome.output, "0::/\n", "in its own group, which is the root of what it sees");
}

/// v2 counts for every container, limited or not; v1 counts where it was joined.
#[test]
fn usage_is_counted() {
    let Some(mut bundle) = Bundle::new() else { return };
    let line = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; echo ready; cat /dev/zero > /dev/null";
    let started = bundle.start(&container(&["sh", "-c", line])).expect("it runs");
    let mut ready = [0; 6];
    rustix::io::read(&started.1, &mut ready).expect("a line");
    let v2 = bundle.hierarchies.version() == crate::cgroup::Version::V2;
    let cgroup = bundle.cgroup(&Default::default());
    let stats = cgroup.stats();
    if v2 {
        assert!(stats.memory_bytes.is_some_and(|bytes| bytes > 0), "{stats:?}");
        assert!(stats.pids.is_some_and(|count| count >= 1), "{stats:?}");
    }
    if v2 || cgroup.born_into().is_some() {
        assert!(stats.cpu_us.is_some_and(|time_us| time_us > 0), "{stats:?}");
    }
    let limits = cgroup.limits();
    let none = crate::cgroup::Limits::default();
    // What the kernel has a value of for everybody.
    let unset = match v2 {
        true => crate::cgroup::Limits { cpu_period_us: Some(100_000), cpu_weight: Some(100), ..none },
        false => crate::cgroup::Limits {
            memory_swappiness: limits.memory_swappiness,
            oom_kill_disabled: limits.oom_kill_disabled,
            ..none
        },
    };
    assert_eq!(limits, unset);
    cgroup.kill().expect("killed");
    assert_eq!(finish(started).status, 137);
}
