use carrack_specgen::container::{MountSource, NetworkMode, RestartPolicy, SeccompMode};

use super::*;

#[test]
fn a_service_becomes_its_containers() {
    let text = r#"
services:
  web:
    build: .
    command: serve "two words"
    environment: [A=1, B]
    ports: ["127.0.0.1:8000-8001:80", "53:53/udp"]
    deploy: {replicas: 2, resources: {limits: {cpus: '0.5', memory: 64M, pids: 50}, reservations: {cpus: '0.25'}}}
    networks: {front: {aliases: [shop]}, back: {gw_priority: 1}}
    links: ["db:database"]
    volumes: ["data:/data:ro", "./conf:/etc/app", "/cache", {type: tmpfs, target: /t, tmpfs: {size: 1m, mode: 0700}}]
    security_opt: ["no-new-privileges:true", "seccomp=unconfined"]
    restart: on-failure:3
    logging: {options: {max-size: 1m, max-file: "7"}}
    stop_grace_period: 1m30s
    configs: [{source: conf, target: /etc/conf, mode: 0640, uid: "7"}]
    expose: [53]
  db:
    image: postgres
    networks: [back]
networks: {front: {}, back: {internal: true}, unused: {}}
volumes: {data: {}, unused: {}}
configs: {conf: {content: "x"}}
"#;
    // 53 is fixed, so two replicas could not both publish it: the test asks for it in one.
    let text = text.replace(", \"53:53/udp\"", "");
    let desired = desired(&text);
    let web = &desired.services["web"];
    assert_eq!(web.replicas.len(), 2);
    let second = &web.replicas[1].container;
    assert_eq!((second.name.as_str(), second.image.as_str()), ("shop-web-2", "shop-web"));
    assert_eq!(second.command.as_deref(), Some(&["serve".to_owned(), "two words".to_owned()][..]));
    assert_eq!(second.env, BTreeMap::from([("A".to_owned(), Some("1".to_owned())), ("B".to_owned(), None)]));
    assert_eq!(second.ports[0].host_port, Some(8001));
    let NetworkMode::Networks(attachments) = &second.network else { panic!("networks") };
    assert_eq!(attachments[0].network, "shop_back");
    assert_eq!(attachments[1].aliases, ["web", "shop"]);
    let NetworkMode::Networks(db) = &desired.services["db"].replicas[0].container.network else { panic!("networks") };
    assert_eq!(db[0].aliases, ["db", "database"]);
    assert_eq!(second.resources.nano_cpus, Some(500_000_000));
    assert_eq!((second.resources.memory_bytes, second.resources.pids), (Some(64 << 20), Some(50)));
    assert_eq!(second.resources.cpu_shares, Some(256));
    assert!(second.no_new_privileges && second.seccomp == SeccompMode::Unconfined);
    assert_eq!(second.restart, RestartPolicy::OnFailure { max_retries: Some(3) });
    assert_eq!((second.log.max_size_bytes, second.log.max_files), (1 << 20, 7));
    assert_eq!(second.stop_timeout_ms, Some(90_000));
    assert_eq!((second.files[0].mode, second.files[0].uid), (0o440, 7));
    let sources: Vec<&MountSource> = second.mounts.iter().map(|mount| &mount.source).collect();
    assert!(matches!(sources[0], MountSource::Volume { name: Some(name), .. } if name == "shop_data"));
    assert!(matches!(sources[1], MountSource::Bind { path, create: true, .. } if path == "/srv/shop/conf"));
    assert!(matches!(sources[2], MountSource::Volume { name: None, .. }));
    assert!(matches!(sources[3], MountSource::Tmpfs { size_bytes: Some(0x10_0000), mode: Some(0o700), .. }));
    assert_eq!(desired.networks.keys().collect::<Vec<_>>(), ["shop_back", "shop_front"]);
    assert_eq!(desired.volumes.keys().collect::<Vec<_>>(), ["shop_data"]);
    assert_eq!(second.labels[label::DEPENDS_ON], "db:service_started:false");
    assert_eq!(second.labels[label::NUMBER], "2");
    assert_eq!(second.labels[label::CONFIG_HASH].len(), 64);
}

/// K1, X1: neither lowering nor a plan knows a secret's value.
#[test]
fn what_is_not_resolved_is_named() {
    let project = project("services: {web: {image: nginx, secrets: [key]}}\nsecrets: {key: {file: ./key}}\n");
    let diagnostics = lower(&project, &Inputs::default()).expect_err("no image");
    assert_eq!(diagnostics[0].code.id, "plan/image-unresolved");
    assert_eq!(
        diagnostics[0].hints,
        ["bring it with `carrack pull` or `carrack load`, or make a base with `carrack image bootstrap`"]
    );
    let inputs = Inputs { secrets: BTreeMap::new(), ..inputs(&project, "1") };
    let diagnostics = lower(&project, &inputs).expect_err("no secret");
    assert_eq!(
        (diagnostics[0].code.id, diagnostics[0].message.as_str()),
        ("plan/file-unresolved", "the secret `key` has no content")
    );
}

/// `up db` needs no image of `web`.
#[test]
fn services_that_are_not_selected_may_lack_their_image() {
    let project =
        project("services: {web: {build: ., depends_on: [api]}, api: {image: a, depends_on: [db]}, db: {image: b}}");
    let named = |names: &[&str], alone| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        selection(&project, &names, alone).into_iter().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(named(&[], false), "api db web");
    assert_eq!(named(&["api"], false), "api db");
    assert_eq!(named(&["api"], true), "api");
    let mut inputs = inputs(&project, "1");
    inputs.images.remove("web");
    assert!(lower(&project, &inputs).is_err());
    inputs.selected = selection(&project, &["api".to_owned()], false);
    let desired = lower(&project, &inputs).expect("nothing is missing");
    let options = Options { services: vec!["api".into()], ..Options::default() };
    let plan = plan(&desired, &ObservedState::default(), &options);
    assert!(plan.iter().all(|node| !node.subject.contains("web")));
    assert!(plan.notes.is_empty());

    // A network that changes would move `web` as well, whose container is not known.
    let (_, machine) = up("services: {web: {image: w}, db: {image: b}}");
    let mut desired = desired;
    desired.networks.get_mut("shop_default").expect("default").internal = true;
    let plan = super::plan(&desired, &machine, &options);
    assert_eq!(plan.notes, ["the network shop_default stays as it was: shop-web-1 is on it"]);
    assert!(plan.iter().all(|node| node.subject != "shop-web-1"));
}

/// I-5: a plan can be shown before anything is built.
#[test]
fn a_plan_can_be_shown_without_images() {
    let project = project("services: {web: {build: .}}");
    let inputs = Inputs { provisional: true, ..Inputs::default() };
    let desired = lower(&project, &inputs).expect("nothing is needed");
    let plan = plan(&desired, &ObservedState::default(), &Options::default());
    assert!(plan.provisional && steps(&plan).contains(&"start shop-web-1".to_owned()));
    assert_eq!(plan.notes, ["the image shop-web is not here: it has to be built or pulled first"]);
}

/// A build whose image can't be known before replaces the containers, and no digest is made up for it.
#[test]
fn an_image_that_will_be_built_replaces_what_runs() {
    let project = project("services: {web: {build: .}, db: {image: b}}");
    let known = inputs(&project, "1");
    let mut machine = ObservedState::default();
    let first = plan(&lower(&project, &known).expect("valid"), &machine, &Options::default());
    execute(&first, &mut machine);
    let unbuilt = [("web".to_owned(), "the step `RUN x` is not cached".to_owned())].into();
    let desired = lower(&project, &Inputs { provisional: true, unbuilt, ..known }).expect("valid");
    let plan = plan(&desired, &machine, &Options::default());
    assert!(plan.provisional);
    assert_eq!(plan.notes, ["the image shop-web has to be built: the step `RUN x` is not cached"]);
    assert_eq!(plan.summary()[0], "recreate shop-web-1: image shop-web changed");
    assert!(plan.iter().all(|node| node.subject != "shop-db-1"));
}

#[test]
fn replicas_have_a_bound() {
    let project = project("services: {web: {image: a, scale: 4000000000}}");
    let diagnostics = lower(&project, &inputs(&project, "1")).expect_err("too many");
    assert_eq!(diagnostics[0].code.id, "plan/too-many-replicas");
    assert_eq!(diagnostics[0].hints, ["a bridge has room for 1023"]);
}

#[test]
fn every_code_has_an_entry() {
    for code in codes::ALL {
        assert!(code.id.starts_with("plan/"));
        assert!([code.title, code.cause, code.check, code.fix].iter().all(|text| !text.is_empty()));
    }
}
