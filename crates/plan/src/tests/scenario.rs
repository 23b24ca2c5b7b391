use super::*;

const SHOP: &str = r#"
services:
  web:
    image: web:1
    environment: {DEBUG: "0"}
    ports: ["8080:80"]
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
  migrate:
    image: web:1
    command: migrate
    depends_on: {db: {condition: service_healthy}}
  db:
    image: postgres:15
    healthcheck: {test: [CMD, pg_isready], interval: 2s, timeout: 1s, retries: 5, start_period: 3s}
    volumes: ["data:/var/lib/postgresql/data"]
    secrets: [password]
volumes:
  data:
secrets:
  password: {file: ./password}
"#;

/// G4, X4: everything is made in the order of its dependencies, and each line has a reason.
#[test]
fn a_first_up_creates_everything_in_order() {
    let plan = plan(&desired(SHOP), &ObservedState::default(), &Options::default());
    insta::assert_snapshot!(masked(&plan, plan.to_string()), @"
    create network shop_default: not there yet
    create volume shop_data: not there yet
    store secret password: not there yet
    create and start shop-db-1: not there yet
    wait for shop-db-1 to be healthy: migrate depends on it
    create and start shop-migrate-1: not there yet
    wait for shop-migrate-1 to complete successfully: web depends on it
    create and start shop-web-1: not there yet
    record release RELEASE
    downtime: none; data: kept
    ");
    insta::assert_snapshot!(masked(&plan, format!("{plan:#}")), @"
      1  create network shop_default: not there yet
      2  create volume shop_data: not there yet
      3  store secret password: not there yet
      4  create shop-db-1: not there yet
      5  start shop-db-1: not there yet
      6  wait for shop-db-1 to be healthy: migrate depends on it
      7  create shop-migrate-1: not there yet
      8  start shop-migrate-1: not there yet
      9  wait for shop-migrate-1 to complete successfully: web depends on it
     10  create shop-web-1: not there yet
     11  start shop-web-1: not there yet
     12  record release RELEASE
    downtime: none; data: kept
    ");
}

/// The order in which nodes may run is in `after`, not in their places.
#[test]
fn dependents_start_after_what_they_wait_for() {
    let plan = plan(&desired(SHOP), &ObservedState::default(), &Options::default());
    let find = |text: &str| plan.iter().find(|node| node.op.to_string() == text).expect(text);
    let healthy = find("wait for shop-db-1 to be healthy");
    let done = find("wait for shop-migrate-1 to complete successfully");
    let web = find("start shop-web-1");
    assert!(web.after.contains(&healthy.id) && web.after.contains(&done.id));
    assert!(find("start shop-migrate-1").after.contains(&healthy.id));
    assert!(find("create shop-db-1").after.contains(&find("store secret password").id));
    assert!(matches!(healthy.op, Operation::WaitFor { timeout_ms: 78_000, required: true, .. }));
}

/// J9: nothing changed, nothing to do; the finished job stays finished.
#[test]
fn a_second_up_is_empty() {
    let (desired, machine) = up(SHOP);
    let second = plan(&desired, &machine, &Options::default());
    assert!(second.is_empty(), "{second:#}");
    assert_eq!(second.to_string(), "shop: nothing to do\n");
}

/// X4: one changed variable replaces one container, with the reason, and nothing else.
#[test]
fn a_changed_variable_recreates_its_service_only() {
    let (_, machine) = up(SHOP);
    let changed = desired(&SHOP.replace("DEBUG: \"0\"", "DEBUG: \"1\""));
    let plan = plan(&changed, &machine, &Options::default());
    insta::assert_snapshot!(masked(&plan, plan.to_string()), @"
    recreate shop-web-1: environment DEBUG changed
    record release RELEASE
    downtime: web; data: kept
    ");
    insta::assert_snapshot!(masked(&plan, format!("{plan:#}")), @"
      1  rename shop-web-1 to ID_shop-web-1: environment DEBUG changed
      2  create shop-web-1: environment DEBUG changed
      3  stop ID_shop-web-1: environment DEBUG changed
      4  start shop-web-1: environment DEBUG changed
      5  record release RELEASE
      6  remove ID_shop-web-1: environment DEBUG changed
    downtime: web; data: kept
    ");
}

/// I-1: until the release is recorded everything can be taken back, and taking it back restores the state.
#[test]
fn an_interrupted_update_can_be_taken_back_at_every_step() {
    let (_, machine) = up(SHOP);
    let changed = desired(&SHOP.replace("web:1", "web:2").replace("DEBUG: \"0\"", "DEBUG: \"1\""));
    let plan = plan(&changed, &machine, &Options::default());
    let commit = plan.iter().position(|node| node.op.is_point_of_no_return()).expect("a release is recorded");
    assert!(matches!(plan.nodes[commit].op, Operation::RecordRelease { .. }));
    for reached in 0..commit {
        let mut interrupted = machine.clone();
        plan.nodes[..reached].iter().for_each(|node| perform(&node.op, &mut interrupted));
        for node in plan.nodes[..reached].iter().rev() {
            if let Some(inverse) = node.op.inverse() {
                perform(&inverse, &mut interrupted);
            }
        }
        let names = |state: &ObservedState| -> Vec<(String, String, bool)> {
            let seen = state.containers.iter().map(|it| (it.name.clone(), it.id.clone(), it.state.is_active()));
            seen.collect()
        };
        assert_eq!(names(&interrupted), names(&machine), "interrupted after {reached} steps");
    }
}

/// X4: each field in the words of the file; values only where they are nobody's secret.
#[test]
fn every_change_is_named() {
    let base = "services:\n  web:\n    image: a\n";
    let changes = |before: &str, after: &str| {
        let (_, machine) = up(&format!("{base}{before}volumes: {{data: {{}}}}\nnetworks: {{back: {{}}}}\n"));
        let wanted = desired(&format!("{base}{after}volumes: {{data: {{}}}}\nnetworks: {{back: {{}}}}\n"));
        let plan = plan(&wanted, &machine, &Options::default());
        let cause = plan.iter().find_map(|node| match &node.cause {
            Cause::Changed { changes } => Some(changes.clone()),
            _ => None,
        });
        cause.unwrap_or_default().iter().map(Change::to_string).collect::<Vec<_>>().join("; ")
    };
    for (before, after, expected) in [
        ("", "    environment: {KEY: secret}\n", "environment KEY added"),
        ("    environment: {KEY: a}\n", "    environment: {KEY: b}\n", "environment KEY changed"),
        (
            "    ports: ['80:80']\n",
            "    ports: ['127.0.0.1:81:80', '53/udp']\n",
            "ports 80:80 → 127.0.0.1:81:80 53/udp",
        ),
        ("    ports: ['80:80']\n", "", "ports 80:80 removed"),
        ("", "    volumes: ['data:/data']\n", "volume /data added"),
        ("    volumes: ['data:/data']\n", "    volumes: ['data:/data:ro']\n", "volume /data changed"),
        ("", "    networks: [default, back]\n", "network shop_back added"),
        ("    network_mode: none\n", "    network_mode: host\n", "networks changed"),
        ("    user: a\n", "    user: b\n", "user a → b"),
        ("", "    user: b\n", "user b added"),
        ("    restart: always\n", "    restart: 'no'\n", "restart always → no"),
        ("", "    command: serve --fast\n", "command serve --fast added"),
        ("    command: a b\n", "    command: a c\n", "command a b → a c"),
        ("", "    read_only: true\n", "read_only true added"),
        ("", "    mem_limit: 1g\n", "memory limit 1g added"),
        ("    cpus: 0.5\n", "    cpus: 1.25\n", "cpus 0.5 → 1.25"),
        ("", "    stop_grace_period: 90s\n", "stop_grace_period 90s added"),
        ("", "    healthcheck: {test: ok, retries: 2}\n", "healthcheck retries added; healthcheck test added"),
        ("    cap_add: [A]\n", "    cap_add: [B]\n", "cap_add A → B"),
        ("", "    logging: {options: {max-size: 1m}}\n", "logging max-size 10000000 → 1m"),
        ("    labels: {a: '1'}\n", "    labels: {}\n", "label a removed"),
    ] {
        assert_eq!(changes(before, after), expected);
    }
}

#[test]
fn a_stopped_container_is_started_and_a_failed_job_run_again() {
    let (desired, mut machine) = up(SHOP);
    for container in &mut machine.containers {
        match container.service() {
            Some("web") => container.state = State::Exited { code: 137 },
            Some("migrate") => container.state = State::Exited { code: 1 },
            _ => {}
        }
    }
    let plan = plan(&desired, &machine, &Options::default());
    insta::assert_snapshot!(masked(&plan, plan.to_string()), @"
    start shop-migrate-1: it is exited (1)
    wait for shop-migrate-1 to complete successfully: web depends on it
    start shop-web-1: it is exited (137)
    downtime: none; data: kept
    ");
}

/// M3, X1: a release brings back what it was made of, and the data is not touched.
#[test]
fn a_release_can_be_rolled_back_to() {
    let (first, mut machine) = up(SHOP);
    let release = Release::new(first);
    assert_eq!(machine.release, Some(release.id));
    let changed = desired(&SHOP.replace("postgres:15", "postgres:16").replace("8080", "9090"));
    execute(&plan(&changed, &machine, &Options::default()), &mut machine);
    assert_ne!(machine.release, Some(release.id));

    let kept: Release = serde_json::from_str(&serde_json::to_string(&release).expect("json")).expect("json");
    assert!(kept.is_intact());
    let back = plan(&kept.content, &machine, &Options::default());
    assert!(back.impact.data.is_empty() && back.iter().all(|node| !matches!(node.op, Operation::RemoveVolume { .. })));
    execute(&back, &mut machine);
    assert_eq!(machine.release, Some(release.id));
    assert!(plan(&kept.content, &machine, &Options::default()).is_empty());
    let difference = diff(&release, &Release::new(changed));
    insta::assert_snapshot!(difference, @"
    ~ container shop-db-1: image postgres:15 → postgres:16
    ~ container shop-web-1: ports 8080:80 → 9090:80
    ");
}

#[test]
fn fewer_replicas_remove_the_surplus_and_orphans_are_noted() {
    let text = "services: {web: {image: a, deploy: {replicas: 3}}, old: {image: b}}";
    let (_, machine) = up(text);
    let fewer = desired("services: {web: {image: a, deploy: {replicas: 1}}}");
    let noted = plan(&fewer, &machine, &Options::default());
    insta::assert_snapshot!(masked(&noted, noted.to_string()), @"
    stop and remove shop-web-2: 1 replica is wanted
    stop and remove shop-web-3: 1 replica is wanted
    record release RELEASE
    note: shop-old-1 is of a service that the project does not have; `--remove-orphans` removes such containers
    downtime: none; data: kept
    ");
    let removed = plan(&fewer, &machine, &Options { remove_orphans: true, ..Options::default() });
    assert!(steps(&removed).contains(&"remove shop-old-1".to_owned()));
}

/// I-1: replicas are replaced one after the other, so that the service goes on.
#[test]
fn replicas_are_replaced_in_turn() {
    let (_, machine) = up("services: {web: {image: a, healthcheck: {test: ok}, deploy: {replicas: 2}}}");
    let changed = desired("services: {web: {image: b, healthcheck: {test: ok}, deploy: {replicas: 2}}}");
    let plan = plan(&changed, &machine, &Options::default());
    assert!(plan.impact.downtime.is_empty());
    let find = |text: &str| plan.iter().find(|node| node.op.to_string() == text).expect(text);
    let first_serves = find("announce the names of shop-web-1");
    assert!(first_serves.after.contains(&find("wait for shop-web-1 to be healthy").id));
    let second_renamed =
        plan.iter().find(|node| matches!(&node.op, Operation::RenameContainer { from, .. } if from == "shop-web-2"));
    assert!(second_renamed.is_some_and(|node| node.after.contains(&first_serves.id)));
    let stop = plan
        .iter()
        .find(|node| node.op.to_string().ends_with("_shop-web-1") && node.op.to_string().starts_with("stop"));
    let withdrawn = stop.and_then(|stop| plan.node(stop.after[0])).map(|node| node.op.to_string());
    assert!(withdrawn.is_some_and(|step| step.starts_with("withdraw the names of")));
}

#[test]
fn a_start_first_update_has_no_downtime() {
    let update = "deploy: {update_config: {order: start-first}}";
    let (_, mut machine) = up(&format!("services: {{web: {{image: a, {update}}}}}"));
    let changed = desired(&format!("services: {{web: {{image: b, {update}}}}}"));
    let plan = plan(&changed, &machine, &Options::default());
    assert!(plan.impact.downtime.is_empty());
    let steps = steps(&plan);
    let position = |start: &str| steps.iter().position(|step| step.starts_with(start)).expect(start);
    assert!(position("start shop-web-1") < position("stop "));
    execute(&plan, &mut machine);
}

/// I-6: what the file asks for and can't be is said.
#[test]
fn a_start_first_update_with_a_fixed_port_says_that_it_is_none() {
    let text = "services: {web: {image: a, ports: ['80:80'], deploy: {update_config: {order: start-first}}}}";
    let (_, machine) = up(text);
    let plan = plan(&desired(&text.replace("image: a", "image: b")), &machine, &Options::default());
    assert!(plan.impact.downtime.contains("web"));
    assert!(plan.notes[0].starts_with("web is replaced stop-first"));
}

/// A container in another's namespace has to be made anew with it; `restart: true` restarts.
#[test]
fn what_must_follow_follows() {
    let text = "services:\n  db: {image: a}\n  side: {image: s, network_mode: 'service:db'}\n  \
                web: {image: w, depends_on: {db: {condition: service_started, restart: true}}}\n  other: {image: o, depends_on: [db]}\n";
    let (_, mut machine) = up(text);
    let changed = desired(&text.replace("db: {image: a}", "db: {image: b}"));
    let plan = plan(&changed, &machine, &Options::default());
    insta::assert_snapshot!(masked(&plan, plan.to_string()), @"
    recreate shop-db-1: image a → b
    recreate shop-side-1: follows db, which is replaced
    restart shop-web-1: follows db, which is replaced
    record release RELEASE
    downtime: db, side, web; data: kept
    ");
    execute(&plan, &mut machine);
}

/// A network that changes takes its containers along.
#[test]
fn a_changed_network_is_made_anew() {
    let text =
        "services: {web: {image: a}, db: {image: b}}\nnetworks: {default: {ipam: {config: [{subnet: 10.1.0.0/24}]}}}\n";
    let (_, mut machine) = up(text);
    let changed = desired(&text.replace("10.1", "10.2"));
    let plan = plan(&changed, &machine, &Options::default());
    insta::assert_snapshot!(masked(&plan, format!("{plan:#}")), @"
      1  rename shop-db-1 to ID_shop-db-1: subnets changed
      2  stop ID_shop-db-1: subnets changed
      3  rename shop-web-1 to ID_shop-web-1: subnets changed
      4  stop ID_shop-web-1: subnets changed
      5  remove network shop_default: subnets changed
      6  create network shop_default: subnets changed
      7  create shop-db-1: networks changed
      8  start shop-db-1: networks changed
      9  create shop-web-1: networks changed
     10  start shop-web-1: networks changed
     11  record release RELEASE
     12  remove ID_shop-db-1: networks changed
     13  remove ID_shop-web-1: networks changed
    downtime: db, web; data: kept
    ");
    execute(&plan, &mut machine);
    assert!(super::plan(&changed, &machine, &Options::default()).is_empty());
}

/// A port that passes from one service to another is free before the other starts, and back again in an undo.
#[test]
fn a_port_passes_from_one_service_to_another() {
    let (_, mut machine) = up("services: {web: {image: a, ports: ['80:80']}, other: {image: o, ports: ['81:80']}}");
    let swapped = desired("services: {web: {image: a, ports: ['81:80']}, other: {image: o, ports: ['80:80']}}");
    let plan = plan(&swapped, &machine, &Options::default());
    insta::assert_snapshot!(masked(&plan, format!("{plan:#}")), @"
      1  rename shop-other-1 to ID_shop-other-1: port 81/tcp passes to shop-web-1
      2  stop ID_shop-other-1: port 81/tcp passes to shop-web-1
      3  rename shop-web-1 to ID_shop-web-1: port 80/tcp passes to shop-other-1
      4  stop ID_shop-web-1: port 80/tcp passes to shop-other-1
      5  create shop-other-1: ports 81:80 → 80:80
      6  start shop-other-1: ports 81:80 → 80:80
      7  create shop-web-1: ports 80:80 → 81:80
      8  start shop-web-1: ports 80:80 → 81:80
      9  record release RELEASE
     10  remove ID_shop-other-1: ports 81:80 → 80:80
     11  remove ID_shop-web-1: ports 80:80 → 81:80
    downtime: other, web; data: kept
    ");
    execute(&plan, &mut machine);
}

#[test]
fn a_port_that_an_orphan_holds_is_refused() {
    let (_, machine) = up("services: {web: {image: a, ports: ['80:80']}}");
    let renamed = desired("services: {site: {image: a, ports: ['80:80']}}");
    let diagnostics = reconcile(&renamed, &machine, &Options::default()).expect_err("the port is held");
    assert_eq!(diagnostics[0].message, "shop-site-1 is to have the port 80/tcp, and shop-web-1 has it");
    assert!(!diagnostics[0].labels.is_empty() && diagnostics[0].hints[0].contains("--remove-orphans"));
    let plan = plan(&renamed, &machine, &Options { remove_orphans: true, ..Options::default() });
    assert!(plan.impact.downtime.contains("web"));
}

/// X13: the data goes only where asked for, and is named.
#[test]
fn down_takes_away_in_reverse_and_leaves_data() {
    let (desired, mut machine) = up(SHOP);
    let kept = down("shop", Some(&desired), &machine, &DownOptions::default());
    assert!(kept.is_well_formed() && kept.impact.data.is_empty());
    insta::assert_snapshot!(masked(&kept, format!("{kept:#}")), @"
      1  stop shop-web-1
      2  stop shop-db-1
      3  remove shop-web-1
      4  remove shop-migrate-1
      5  remove shop-db-1
      6  remove network shop_default
      7  record that shop is down
    downtime: db, web; data: kept
    ");
    let gone = down("shop", None, &machine, &DownOptions { volumes: true, ..DownOptions::default() });
    assert_eq!(gone.impact.data.iter().collect::<Vec<_>>(), ["shop_data"]);
    execute(&gone, &mut machine);
    assert_eq!((machine.containers.len(), machine.volumes.len(), machine.networks.len()), (0, 0, 0));
    assert!(down("shop", None, &machine, &DownOptions::default()).is_empty());
}

/// What another project's container uses stays: taking it away would fail half-way.
#[test]
fn what_others_use_stays() {
    let (desired, mut machine) = up(SHOP);
    let db = machine.containers.iter().find(|it| it.service() == Some("db")).expect("db").container.clone();
    machine.add_foreign("blog-web-1", &db, "project blog".into());
    let plan = down("shop", Some(&desired), &machine, &DownOptions { volumes: true, ..DownOptions::default() });
    assert_eq!(
        plan.notes,
        ["the network shop_default stays: blog-web-1 is on it", "the volume shop_data stays: blog-web-1 mounts it"]
    );
    assert!(plan.impact.data.is_empty());
    let mut moved = desired.clone();
    moved.networks.get_mut("shop_default").expect("default").internal = true;
    let kept = super::plan(&moved, &machine, &Options::default());
    assert_eq!(kept.notes, ["the network shop_default stays as it was: blog-web-1 of another project is on it"]);
}

/// X1: what a part of the project is brought up for is a whole release all the same, with the secrets of the rest.
#[test]
fn a_part_brought_up_again_is_no_other_release() {
    let text = "services:\n  db: {image: a}\n  web: {image: w, depends_on: [db], secrets: [key]}\nsecrets: {key: {file: ./key}}\n";
    let (_, machine) = up(text);
    let project = project(text);
    let services = vec!["db".to_owned()];
    let selected = selection(&project, &services, false);
    let inputs = Inputs { secrets: BTreeMap::new(), selected, ..inputs(&project, "1") };
    let part = lower(&project, &inputs).unwrap();
    let plan = plan(&part, &machine, &Options { services, ..Options::default() });
    assert_eq!(steps(&plan), [""; 0]);
}

/// X1: secrets are versions, never values; a new version replaces the containers that have it.
#[test]
fn a_changed_secret_is_a_new_version() {
    let (_, machine) = up(SHOP);
    let project = project(SHOP);
    let changed = lower(&project, &inputs(&project, "2")).expect("inputs");
    let plan = plan(&changed, &machine, &Options::default());
    let steps = steps(&plan);
    assert!(steps.contains(&"store secret password".to_owned()));
    assert!(plan.summary().contains(&"recreate shop-db-1: secret password changed".to_owned()));
}

#[test]
fn only_selected_services_are_touched() {
    let (_, machine) = up(SHOP);
    let changed = desired(&SHOP.replace("web:1", "web:2").replace("postgres:15", "postgres:16"));
    let options = Options { services: vec!["migrate".into()], without_dependencies: true, ..Options::default() };
    let plan = plan(&changed, &machine, &options);
    assert!(plan.iter().all(|node| matches!(node.subject.as_str(), "shop-migrate-1" | "release")), "{plan:#}");
    let unknown = Options { services: vec!["wbe".into()], ..Options::default() };
    let diagnostics = reconcile(&changed, &machine, &unknown).expect_err("no such service");
    assert_eq!(diagnostics[0].code.id, "plan/unknown-service");
    assert_eq!(diagnostics[0].hints, ["did you mean `web`?"]);
}

#[test]
fn what_is_not_there_or_not_ours_is_refused() {
    let text = "services: {web: {image: a, container_name: taken, networks: [out], volumes: ['data:/d']}}\n\
                networks: {out: {external: true}}\nvolumes: {data: {external: true, name: elsewhere}}\n";
    let mut machine = ObservedState::default();
    machine.taken.insert("taken".into(), "a container of the project blog".into());
    let diagnostics = reconcile(&desired(text), &machine, &Options::default()).expect_err("three are missing");
    let found: Vec<&str> = diagnostics.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(
        found,
        [
            "the external network out does not exist",
            "the external volume elsewhere does not exist",
            "the container name taken is taken: a container of the project blog",
        ]
    );
    assert!(diagnostics.iter().all(|it| !it.labels.is_empty() && !it.hints.is_empty()));
}

/// X4: a plan can be saved, read again and refused where the state has moved.
#[test]
fn a_plan_survives_being_saved() {
    let (_, mut machine) = up(SHOP);
    let plan = plan(&desired(&SHOP.replace("web:1", "web:2")), &machine, &Options::default());
    let text = serde_json::to_string(&plan).expect("json");
    let mut read: Plan = serde_json::from_str(&text).expect("json");
    assert!(read.nodes.iter().all(|node| node.origin.is_empty()));
    for (node, original) in read.nodes.iter_mut().zip(&plan.nodes) {
        node.origin.clone_from(&original.origin);
        if let (Operation::RecordRelease { release: read }, Operation::RecordRelease { release }) =
            (&mut node.op, &original.op)
        {
            assert!(read.is_intact());
            read.clone_from(release);
        }
    }
    assert_eq!(read, plan);
    machine.containers[0].state = State::Exited { code: 1 };
    assert_ne!(read.fingerprint, machine.fingerprint());
}

/// The folder that a command was typed in is no change.
#[test]
fn a_release_does_not_depend_on_how_its_files_were_named() {
    let mut project = project(SHOP);
    let before = lower(&project, &inputs(&project, "1")).expect("inputs");
    project.files = vec!["../compose.yaml".into()];
    let after = lower(&project, &inputs(&project, "1")).expect("inputs");
    assert_ne!(before, after);
    assert_eq!(Release::new(before).id, Release::new(after).id);
}
