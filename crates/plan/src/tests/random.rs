use proptest::prelude::*;

use super::*;

/// The plan, where no container that stays has a port that another one is to get.
fn possible(desired: &Desired, machine: &ObservedState, options: &Options) -> Option<Plan> {
    match reconcile(desired, machine, options) {
        Ok(plan) => Some(plan),
        Err(diagnostics) => {
            assert!(diagnostics.iter().all(|it| it.code == &codes::HELD), "{diagnostics:?}");
            None
        }
    }
}

/// A small project: services a to e, each depending on earlier ones only.
fn compose() -> impl Strategy<Value = String> {
    let service = (
        prop::sample::select(vec!["one", "two"]),
        0u8..3,
        any::<[bool; 4]>(),
        prop::sample::select(vec!["service_started", "service_healthy", "service_completed_successfully"]),
        any::<bool>(),
        0u8..8,
    );
    let ports = Just(vec![8000u16, 8001, 8002, 8003, 8004]).prop_shuffle();
    let services = prop::collection::vec(prop::option::weighted(0.8, service), 1..5);
    (services, ports).prop_map(|(services, ports)| {
        let mut text = String::from("services:\n");
        let names = ["a", "b", "c", "d", "e"];
        let mut known: Vec<&str> = Vec::new();
        for ((name, service), port) in names.iter().zip(&services).zip(ports) {
            let Some((image, replicas, depends, condition, restart, kind)) = service else { continue };
            text.push_str(&format!(
                "  {name}:\n    image: {image}\n    deploy: {{replicas: {replicas}, update_config: "
            ));
            text.push_str(&format!(
                "{{parallelism: {}, order: {}}}}}\n",
                kind % 3,
                if kind % 2 == 0 { "stop-first" } else { "start-first" }
            ));
            let depends: Vec<&&str> =
                known.iter().zip(depends).filter(|(_, wanted)| **wanted).map(|(name, _)| name).collect();
            if !depends.is_empty() {
                text.push_str("    depends_on:\n");
                for other in depends {
                    text.push_str(&format!("      {other}: {{condition: {condition}, restart: {restart}}}\n"));
                }
            }
            if kind % 4 == 0 {
                text.push_str("    volumes: ['data:/data', '/scratch']\n");
            }
            if *replicas < 2 && kind % 3 != 1 {
                text.push_str(&format!("    ports: ['{port}:80']\n"));
            }
            if kind % 5 == 0 {
                text.push_str("    networks: [front, back]\n");
            }
            known.push(name);
        }
        if known.is_empty() {
            text.push_str("  z: {image: z}\n");
        }
        text.push_str("volumes: {data: {}}\nnetworks: {front: {}, back: {internal: true}}\n");
        text
    })
}

/// Something happens to the machine between two commands.
fn disturb(machine: &mut ObservedState, choices: &[(u8, u8)]) {
    for (which, how) in choices {
        let count = machine.containers.len();
        if count == 0 {
            return;
        }
        let at = usize::from(*which) % count;
        match how % 5 {
            0 => machine.containers[at].state = State::Exited { code: 1 },
            1 => machine.containers[at].state = State::Exited { code: 0 },
            2 => drop(machine.containers.remove(at)),
            3 => machine.containers[at].health = Some(Health::Unhealthy),
            _ => {
                let short = machine.containers[at].id[..12].to_owned();
                let name = format!("{short}_{}", machine.containers[at].name);
                machine.containers[at].name = name;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// J9: whatever was there, after the plan there is nothing left to do; and no step was impossible.
    #[test]
    fn a_second_reconcile_is_empty(
        before in compose(),
        after in compose(),
        disturbance in prop::collection::vec(any::<(u8, u8)>(), 0..4),
        wait in any::<bool>(),
        remove_orphans in any::<bool>(),
        only in prop::option::weighted(0.3, 0usize..5),
    ) {
        let (_, mut machine) = up(&before);
        disturb(&mut machine, &disturbance);
        let wanted = desired(&after);
        let names: Vec<String> = wanted.services.keys().cloned().collect();
        let services = only.map(|at| names[at % names.len()].clone()).into_iter().collect();
        let options = Options { wait, remove_orphans, services, ..Options::default() };
        let Some(first) = possible(&wanted, &machine, &options) else { return Ok(()) };
        execute(&first, &mut machine);
        let second = plan(&wanted, &machine, &options);
        prop_assert!(second.is_empty(), "{second:#}");
    }

    /// I-1: a plan's steps before its release can all be taken back.
    #[test]
    fn steps_before_the_release_can_be_taken_back(before in compose(), after in compose()) {
        let (_, machine) = up(&before);
        let plan = plan(&desired(&after), &machine, &Options { remove_orphans: true, ..Options::default() });
        let end = plan.iter().position(|node| node.op.is_point_of_no_return()).unwrap_or(plan.nodes.len());
        let mut undone = machine.clone();
        // Waiting changes nothing by itself; in this simulation it would end a job.
        let done = plan.nodes[..end].iter().filter(|node| !matches!(node.op, Operation::WaitFor { .. }));
        done.for_each(|node| perform(&node.op, &mut undone));
        plan.nodes[..end].iter().rev().filter_map(|node| node.op.inverse()).for_each(|op| perform(&op, &mut undone));
        let seen = |state: &ObservedState| -> Vec<(String, bool)> {
            state.containers.iter().map(|it| (it.name.clone(), it.state.is_active())).collect()
        };
        prop_assert_eq!(seen(&undone), seen(&machine));
        prop_assert_eq!(&undone.networks, &machine.networks);
    }

    /// Any order that respects `after` is possible, not only that of the list: nodes run in parallel.
    #[test]
    fn every_order_that_respects_after_is_possible(before in compose(), after in compose(), seed in any::<u64>()) {
        let (_, mut machine) = up(&before);
        let wanted = desired(&after);
        let Some(plan) = possible(&wanted, &machine, &Options::default()) else { return Ok(()) };
        let mut rest: Vec<&PlanNode> = plan.iter().collect();
        let mut done: Vec<NodeId> = Vec::new();
        let mut seed = seed;
        while !rest.is_empty() {
            let free: Vec<usize> =
                (0..rest.len()).filter(|at| rest[*at].after.iter().all(|id| done.contains(id))).collect();
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let node = rest.remove(free[(seed >> 33) as usize % free.len()]);
            perform(&node.op, &mut machine);
            done.push(node.id);
        }
        prop_assert!(super::plan(&wanted, &machine, &Options::default()).is_empty());
    }

    /// Down leaves nothing, and what it leaves is data.
    #[test]
    fn down_leaves_no_container(before in compose(), volumes in any::<bool>()) {
        let (_, mut machine) = up(&before);
        let kept = machine.volumes.len();
        let plan = down("shop", None, &machine, &DownOptions { volumes, ..DownOptions::default() });
        prop_assert!(plan.is_well_formed());
        execute(&plan, &mut machine);
        prop_assert!(machine.containers.is_empty() && machine.networks.is_empty());
        prop_assert_eq!(machine.volumes.len(), if volumes { 0 } else { kept });
    }
}
