//! Kill, error and delay at each step: whatever happens, nothing of the container is left and the reason is known.

use carrack_specgen::init_plan::{DeviceKind, DeviceNode, Fault, FaultKind, InitStep, MountAttributes, RootSource};
use carrack_specgen::{Container, Launch, init_plan};

use super::fixture::{Bundle, bind, container, start};

/// A plan in which each kind of step that a start can have stands at least once.
fn plan(bundle: &Bundle) -> carrack_specgen::InitPlan {
    let wanted = Container {
        tty: false,
        read_only: true,
        no_new_privileges: true,
        oom_score_adj: Some(10),
        ulimits: [("core".to_owned(), carrack_specgen::container::Ulimit { soft: 0, hard: 0 })].into(),
        ..container(&["true"])
    };
    let root = RootSource::Folder { path: bundle.path("lower") };
    let launch = Launch { layers: vec![(root, bundle.spec(&wanted).root.path)], ..bundle.launch(&wanted) };
    let mut plan = init_plan(&bundle.spec(&wanted), &launch, &bundle.facts).expect("a plan");
    let pivot = plan.steps.iter().position(|step| step.name() == "pivot").expect("a pivot");
    plan.steps.insert(pivot, bind("/etc/hostname", "/etc/made", MountAttributes::default()));
    let fifo = DeviceNode {
        path: "/dev/made".into(),
        kind: DeviceKind::Fifo,
        major: 0,
        minor: 0,
        mode: 0o600,
        uid: 1,
        gid: 1,
    };
    plan.steps.insert(pivot, InitStep::Device(fifo));
    plan
}

/// Whether the plan above must contain it. Exhaustive, so that a new kind of step has to be placed.
fn belongs_to_a_start(step: &InitStep, bundle: &Bundle) -> bool {
    match step {
        InitStep::AppArmor { .. } => bundle.facts.apparmor_profile,
        InitStep::JoinCgroups
        | InitStep::NewCgroupNamespace
        | InitStep::LoopbackUp
        | InitStep::Hostname { .. }
        | InitStep::IsolateMounts { .. }
        | InitStep::Layers { .. }
        | InitStep::Root { .. }
        | InitStep::Mount(_)
        | InitStep::Device(_)
        | InitStep::Symlink { .. }
        | InitStep::Mask { .. }
        | InitStep::ReadOnly { .. }
        | InitStep::ReadOnlyRoot
        | InitStep::Pivot
        | InitStep::Sysctl { .. }
        | InitStep::Rlimit { .. }
        | InitStep::OomScoreAdjustment(_)
        | InitStep::SessionKeyring { .. }
        | InitStep::Identify(_)
        | InitStep::OwnStdio
        | InitStep::WorkingDirectory { .. }
        | InitStep::BoundCapabilities { .. }
        | InitStep::SwitchUser { .. }
        | InitStep::NoNewPrivileges
        | InitStep::Seccomp { .. }
        | InitStep::Capabilities(_)
        | InitStep::Execute(_) => true,
        // Of an exec, of shared namespaces, of a terminal, of another runtime, of no program: not of this start.
        InitStep::JoinNamespace { .. }
        | InitStep::EnterContainer { .. }
        | InitStep::Terminal { .. }
        | InitStep::Bundle { .. }
        | InitStep::Hold => false,
    }
}

/// The first step of each kind.
fn samples(plan: &carrack_specgen::InitPlan, bundle: &Bundle) -> Vec<(usize, &'static str)> {
    let mut seen = Vec::new();
    for (index, step) in plan.steps.iter().enumerate() {
        assert!(belongs_to_a_start(step, bundle), "{}", step.name());
        if seen.iter().all(|(_, name)| *name != step.name()) {
            seen.push((index, step.name()));
        }
    }
    seen
}

/// No process of ours is left: each spawned child was reaped before its failure was told.
fn assert_nothing_left(bundle: &Bundle) {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&bundle.path("")), "a mount is left");
}

#[test]
fn an_error_at_any_step_is_told() {
    let Some(mut bundle) = Bundle::new() else { return };
    let plan = plan(&bundle);
    let samples = samples(&plan, &bundle);
    // One more where AppArmor holds containers.
    assert_eq!(
        samples.len(),
        27 + usize::from(bundle.facts.apparmor_profile),
        "every kind that belongs to a start: {samples:?}"
    );
    for (index, name) in samples {
        let broken = plan.clone().with_fault(Fault { step: index, kind: FaultKind::Error(28) });
        let cgroup = bundle.cgroup(&Default::default());
        let failure = start(&broken, Some(cgroup)).map(|_| ()).expect_err(name);
        assert_eq!((failure.step, failure.name.as_str(), failure.errno), (Some(index), name, 28));
        assert_eq!(cgroup.processes().expect("processes"), Vec::<i32>::new(), "{name}");
    }
    assert_nothing_left(&bundle);
}

#[test]
fn a_death_at_any_step_is_noticed() {
    let Some(mut bundle) = Bundle::new() else { return };
    let plan = plan(&bundle);
    for (index, name) in samples(&plan, &bundle) {
        let broken = plan.clone().with_fault(Fault { step: index, kind: FaultKind::Kill });
        let cgroup = bundle.cgroup(&Default::default());
        let failure = start(&broken, Some(cgroup)).map(|_| ()).expect_err(name);
        assert_eq!((failure.step, failure.name.as_str()), (None, "init"), "{name}");
        assert_eq!(cgroup.processes().expect("processes"), Vec::<i32>::new(), "{name}");
    }
    assert_nothing_left(&bundle);
}

#[test]
fn a_delay_changes_nothing() {
    let Some(mut bundle) = Bundle::new() else { return };
    let plan = plan(&bundle);
    for (index, name) in samples(&plan, &bundle).into_iter().step_by(5) {
        let late = plan.clone().with_fault(Fault { step: index, kind: FaultKind::DelayMs(5) });
        let cgroup = bundle.cgroup(&Default::default());
        let started = start(&late, Some(cgroup)).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        assert_eq!(super::fixture::finish(started).status, 0, "{name}");
    }
}
