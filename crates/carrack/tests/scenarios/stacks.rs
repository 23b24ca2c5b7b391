//! Compose projects: `up`, `plan`, releases, `rollback`, `down` (G1 G3 G4 G11 G14 K1 X1 X4; I-2, I-5).

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::machine::{Failure, Machine, Project, exit_code};

/// A program that runs until it is asked to stop.
const STEADY: &str = "image: busybox\n    init: true\n    command: sleep 1000\n";

/// A check that holds from the first probe on.
const HEALTHY: &str = "healthcheck: {test: [CMD, 'true'], interval: 1s, start_period: 10s, start_interval: 50ms}\n";

/// Path, time of change, size and inode of everything in a folder.
fn fingerprint(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = std::fs::symlink_metadata(entry.path()).unwrap();
            let (seconds, nanoseconds) = (metadata.ctime(), metadata.ctime_nsec());
            found.push(format!("{:?} {seconds}.{nanoseconds} {} {}", entry.path(), metadata.size(), metadata.ino()));
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Ids of the project's containers by name.
fn ids(project: &Project) -> Vec<String> {
    let text = project.ok(&["ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.ID}}"]);
    let mut ids: Vec<String> = text.lines().map(str::to_owned).collect();
    ids.sort();
    ids
}

/// What a service's program reads or prints.
#[track_caller]
fn inside(project: &Project, service: &str, line: &str) -> String {
    project.ok(&["compose", "exec", "-T", service, "sh", "-c", line])
}

#[test]
fn a_second_up_does_nothing_and_looking_writes_nothing() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("twice");
    project.write(
        "compose.yaml",
        format!("services:\n  web:\n    {STEADY}    {HEALTHY}    volumes: [data:/data]\nvolumes: {{data: }}\n"),
    );
    // I-5: not even before anything is there.
    let before = fingerprint(&machine.data());
    assert_eq!(project.code(&["plan", "--exit-code"]), 10);
    for look in [&["plan"][..], &["config"], &["status"], &["ps"], &["up", "--dry-run"], &["release", "ls"]] {
        project.ok(look);
    }
    assert_eq!(fingerprint(&machine.data()), before);

    let first = project.json(&["up", "-d", "--wait"]);
    assert_eq!(first["release"], 1);
    let containers = ids(&project);
    let before = fingerprint(&machine.data().join("stacks"));
    let second = project.json(&["up", "-d", "--wait"]);
    assert_eq!((&second["release"], &second["steps"]), (&json!(1), &json!(0)));
    assert_eq!(ids(&project), containers);
    assert_eq!(fingerprint(&machine.data().join("stacks")), before, "an empty plan is no release");
    assert_eq!(project.code(&["plan", "--exit-code"]), 0);

    let before = fingerprint(&machine.data());
    for look in [&["plan"][..], &["config"], &["status"], &["ps"], &["compose", "ps"], &["logs"], &["down", "--help"]] {
        project.ok(look);
    }
    assert_eq!(fingerprint(&machine.data()), before);
    project.ok(&["down"]);
    assert_eq!(ids(&project), [""; 0]);
    assert_eq!(project.ok(&["volume", "ls", "-q"]), "twice_data", "data stays");
    project.ok(&["down", "-v"]);
    assert_eq!(project.ok(&["volume", "ls", "-q"]), "");
    machine.finish();
}

#[test]
fn dependencies_are_waited_for() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("order");
    project.write(
        "compose.yaml",
        format!(
            "services:
  app:
    image: busybox
    init: true
    command: sh -c 'cat /shared/* && exec sleep 1000'
    volumes: [shared:/shared]
    depends_on:
      job: {{condition: service_completed_successfully}}
      database: {{condition: service_healthy}}
      cache: {{condition: service_started}}
  job:
    image: busybox
    command: sh -c 'echo migrated > /shared/job'
    volumes: [shared:/shared]
    depends_on: {{database: {{condition: service_healthy}}}}
  database:
    image: busybox
    init: true
    command: sh -c 'echo stored > /shared/database; exec sleep 1000'
    volumes: [shared:/shared]
    healthcheck: {{test: test -e /shared/database, interval: 1s, start_period: 10s, start_interval: 50ms}}
  cache:
    {STEADY}volumes: {{shared: }}
"
        ),
    );
    project.ok(&["up", "-d", "--wait"]);
    // It read both files when it started.
    machine.follow(&["logs", "-f", "order-app-1"]).until("migrated");
    assert_eq!(project.ok(&["logs", "--project-name", "order", "app"]).matches("stored").count(), 1);
    assert_eq!(
        project.ok(&["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "order-job-1"]),
        "exited 0"
    );
    // What has done its work does not do it again.
    assert_eq!(project.json(&["up", "-d"])["steps"], 0);
    project.ok(&["down", "-v"]);
    machine.finish();
}

/// X24: not "unhealthy", but what the last probe and the program said.
#[test]
fn an_unhealthy_dependency_is_told_with_its_cause() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("sick");
    project.write(
        "compose.yaml",
        format!(
            "services:
  database:
    image: busybox
    init: true
    command: sh -c 'echo FATAL no space left; exec sleep 1000'
    healthcheck: {{test: echo connection refused; exit 1, interval: 50ms, retries: 2}}
  app:
    {STEADY}    depends_on: {{database: {{condition: service_healthy}}}}
"
        ),
    );
    let failure = project.fails(&["up", "-d"]);
    assert_eq!((failure.code(), failure.status), ("engine/not-ready", 14));
    assert_eq!(failure.place().1, "compose.yaml:2:3", "{}", failure.text());
    assert!(failure.hints().contains("is undone"), "{}", failure.text());
    for part in ["to be healthy", "connection refused", "FATAL no space left"] {
        assert!(failure.text().contains(part), "{part}: {}", failure.text());
    }
    // I-1: nothing was serving before, so nothing is there now, and a correction goes through.
    assert_eq!(ids(&project), [""; 0]);
    let corrected = std::fs::read_to_string(project.dir.join("compose.yaml")).unwrap().replace("exit 1", "exit 0");
    project.write("compose.yaml", corrected);
    assert_eq!(project.json(&["up", "-d", "--wait"])["release"], 1);
    machine.finish();
}

#[test]
fn secrets_and_configs_are_files_with_modes() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("files");
    project.write("password.txt", "hunter2").write("app.conf", "level=high\n").write(
        "compose.yaml",
        format!(
            "services:
  web:
    {STEADY}    user: app
    secrets:
      - password
      - {{source: token, target: /run/token, uid: '1000', gid: '2000', mode: 0400}}
    configs:
      - {{source: app, target: /etc/app.conf, mode: 0440}}
      - {{source: inline, target: /etc/inline.conf}}
secrets:
  password: {{file: ./password.txt}}
  token: {{environment: TOKEN}}
configs:
  app: {{file: ./app.conf}}
  inline: {{content: 'greeting=hello'}}
"
        ),
    );
    let up = project.command(&["up", "-d"]).env("TOKEN", "t0ken").output().unwrap();
    assert!(up.status.success(), "{}", String::from_utf8_lossy(&up.stderr));
    assert_eq!(inside(&project, "web", "cat /run/secrets/password /run/token"), "hunter2t0ken");
    assert_eq!(
        inside(&project, "web", "stat -c '%a %u:%g' /run/secrets/password /run/token"),
        "444 0:0\n400 1000:2000"
    );
    assert_eq!(inside(&project, "web", "stat -c %a /etc/app.conf && cat /etc/inline.conf"), "440\ngreeting=hello");
    // K6: neither plan nor records show a value; the vault alone does, readable by its owner alone.
    assert!(!project.ok(&["--json", "inspect", "files-web-1"]).contains("hunter2"));
    let vault = std::fs::metadata(machine.data().join("vault")).unwrap();
    assert_eq!(vault.mode() & 0o077, 0);
    machine.finish();
}

/// What a one-off is granted, and what it depends on is not; and it is no release.
#[test]
fn a_one_off_has_its_service_s_secrets() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("oneoff");
    project.write("key", "s3cret");
    project.write(
        "compose.yaml",
        format!(
            "services:\n  db:\n    {STEADY}  job:\n    image: busybox\n    command: cat /run/secrets/key\n    \
             depends_on: [db]\n    secrets: [key]\nsecrets: {{key: {{file: ./key}}}}\n"
        ),
    );
    project.ok(&["up", "-d", "db"]);
    assert_eq!(project.ok(&["compose", "run", "--rm", "job"]).trim(), "s3cret");
    project.ok(&["up", "-d"]);
    let releases = project.json(&["release", "ls"]);
    assert_eq!(project.ok(&["compose", "run", "--rm", "job"]).trim(), "s3cret");
    assert_eq!(project.json(&["release", "ls"]), releases);
}

#[test]
fn files_merge_profiles_choose_and_env_files_fill() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("merged");
    project
        .write(".env", "GREETING=from-dotenv\n")
        .write("production.env", "GREETING=from-production\n")
        .write(
            "compose.yaml",
            format!(
                "services:\n  web:\n    {STEADY}    environment: {{GREETING: '${{GREETING}}', KEPT: base}}\n  debug:\n    {STEADY}    profiles: [tools]\n"
            ),
        )
        .write("compose.override.yaml", "services:\n  web:\n    environment: {LAYER: override}\n")
        .write("extra.yaml", "services:\n  web:\n    environment: {LAYER: extra}\n");
    let environment = |arguments: &[&str], file: Option<&str>| {
        let mut command = project.command(&[&["config", "--format", "json"], arguments].concat());
        if let Some(file) = file {
            command.env("COMPOSE_FILE", file);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let config: Value = serde_json::from_slice(&output.stdout).unwrap();
        config["services"]["web"]["environment"].clone()
    };
    let of = |greeting: &str, layer: &str| json!({"GREETING": greeting, "KEPT": "base", "LAYER": layer});
    assert_eq!(environment(&[], None), of("from-dotenv", "override"));
    assert_eq!(environment(&["-f", "compose.yaml", "-f", "extra.yaml"], None), of("from-dotenv", "extra"));
    assert_eq!(environment(&[], Some("compose.yaml:extra.yaml")), of("from-dotenv", "extra"));
    assert_eq!(environment(&["--env-file", "production.env"], None), of("from-production", "override"));
    project.write("more.env", "GREETING=more\nSECOND=$GREETING\n").write(
        "second.yaml",
        "services:\n  web: {image: busybox, environment: {GREETING: '$SECOND', KEPT: base, LAYER: $$second}}\n",
    );
    let several = ["-f", "second.yaml", "--env-file", "production.env", "--env-file", "more.env"];
    // What is printed is a Compose file again: a dollar sign is doubled.
    assert_eq!(environment(&several, None), of("more", "$$second"));
    assert_eq!(environment(&["-f", "compose.yaml"], None), json!({"GREETING": "from-dotenv", "KEPT": "base"}));

    project.ok(&["up", "-d"]);
    assert_eq!(project.ok(&["compose", "ps", "--services"]), "web");
    assert_eq!(inside(&project, "web", "echo $GREETING $LAYER"), "from-dotenv override");
    project.ok(&["up", "-d", "--profile", "tools"]);
    let services = project.ok(&["compose", "--profile", "tools", "ps", "--services"]);
    assert!(services.contains("debug") && services.contains("web"), "{services}");
    machine.finish();
}

#[test]
fn replicas_and_names() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("crowd");
    let file = |replicas: u32| {
        format!("services:\n  web:\n    {STEADY}    deploy: {{replicas: {replicas}}}\n  asker:\n    {STEADY}")
    };
    project.write("compose.yaml", file(3));
    project.ok(&["up", "-d"]);
    let containers = ids(&project);
    assert_eq!(containers.len(), 4);
    let addresses = |name: &str| {
        let answer = inside(&project, "asker", &format!("nslookup {name} | sed 1,2d"));
        let mut found: Vec<String> =
            answer.lines().filter_map(|line| line.strip_prefix("Address: ").map(str::to_owned)).collect();
        found.sort();
        found
    };
    assert_eq!(addresses("web").len(), 3, "the service's name gives every replica (G14)");
    assert_eq!(addresses("crowd-web-2").len(), 1);
    // Fewer: the highest numbers go, the others are not touched.
    project.write("compose.yaml", file(1));
    project.ok(&["up", "-d"]);
    let left = ids(&project);
    assert!(left.len() == 2 && left.iter().all(|one| containers.contains(one)), "{left:?} of {containers:?}");
    assert_eq!(addresses("web").len(), 1);
    machine.finish();
}

#[test]
fn the_plan_names_what_changed() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("causes");
    let file = |level: &str| {
        format!("services:\n  web:\n    {STEADY}    environment: {{LEVEL: {level}}}\n  bystander:\n    {STEADY}")
    };
    project.write("compose.yaml", file("low"));
    project.ok(&["up", "-d"]);
    let before = ids(&project);
    project.write("compose.yaml", file("high"));
    let plan = project.ok(&["plan"]);
    assert!(plan.contains("recreate causes-web-1: environment LEVEL changed"), "{plan}");
    assert!(!plan.contains("bystander"), "{plan}");
    assert!(plan.contains("downtime: web; data: kept"), "{plan}");
    project.ok(&["up", "-d"]);
    let after = ids(&project);
    assert_eq!(before[0], after[0], "who is not in the plan is not touched");
    assert_ne!(before[1], after[1]);
    machine.finish();
}

/// X1, I-2: image, environment, config and secret come back without their sources; data stays.
#[test]
fn rollback_restores_all_but_data() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("back");
    project.write(
        "compose.yaml",
        "services:
  web:
    build: .
    image: back-web:1
    init: true
    environment: {LEVEL: '${LEVEL}'}
    secrets: [key]
    configs: [{source: conf, target: /conf}]
    volumes: [data:/data]
secrets:
  key: {file: ./key}
configs:
  conf: {file: ./conf}
volumes: {data: }
",
    );
    let deploy = |version: &str| {
        let dockerfile = format!("FROM busybox\nRUN echo {version} > /version\nCMD [\"sleep\", \"1000\"]\n");
        project.write("Dockerfile", dockerfile).write("key", version).write("conf", version);
        project.write(".env", format!("LEVEL={version}\n"));
        project.json(&["up", "-d", "--build"])
    };
    let shown = || inside(&project, "web", "echo $(cat /version) $LEVEL $(cat /run/secrets/key) $(cat /conf)");
    assert_eq!(deploy("one")["release"], 1);
    inside(&project, "web", "echo written under one > /data/file");
    assert_eq!(shown(), "one one one one");
    assert_eq!(deploy("two")["release"], 2);
    inside(&project, "web", "echo written under two >> /data/file");
    assert_eq!(shown(), "two two two two");

    for file in ["Dockerfile", "key", "conf", ".env"] {
        std::fs::remove_file(project.dir.join(file)).unwrap();
    }
    project.ok(&["rollback"]);
    assert_eq!(shown(), "one one one one");
    assert_eq!(inside(&project, "web", "cat /data/file"), "written under one\nwritten under two");
    let releases = project.json(&["release", "ls"]);
    let releases = releases.as_array().unwrap();
    assert_eq!(releases.len(), 3);
    assert_eq!(releases[2]["current"], true);
    // Forward again, by number and name alone: the project's own files are broken by now, or elsewhere.
    project.write("compose.yaml", "services: [");
    let failure = project.fails(&["rollback", "2"]);
    assert_eq!(failure.code(), "compose/yaml-syntax");
    assert!(failure.hints().contains("-p NAME"), "{}", failure.text());
    project.ok(&["rollback", "-p", "back", "2"]);
    assert_eq!(machine.ok(&["exec", "back-web-1", "cat", "/version", "/conf"]), "two\ntwo");
    let elsewhere = machine.project("elsewhere");
    assert_eq!(elsewhere.json(&["status", "-p", "back"])["release"], 4);
    assert_eq!(elsewhere.json(&["release", "ls", "-p", "back"]).as_array().unwrap().len(), 4);
    assert_eq!(elsewhere.fails(&["rollback", "-p", "back", "99"]).code(), "engine/no-such-release");
    assert_eq!(elsewhere.fails(&["rollback", "-p", "../back"]).code(), "store/invalid-name");
    elsewhere.ok(&["down", "-p", "back", "-v"]);
    assert_eq!(machine.ok(&["ps", "-aq"]) + &machine.ok(&["volume", "ls", "-q"]), "");
    machine.finish();
}

/// J9: nobody must think that we ate their database.
#[test]
fn what_docker_holds_stops_us_unless_told() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("held");
    project.write("compose.yaml", format!("services:\n  web:\n    {STEADY}"));
    let socket = machine.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut line = String::new();
            if BufReader::new(&connection).read_line(&mut line).is_err() {
                continue;
            }
            let body = match line.contains("/containers/json") {
                true => r#"[{"Names":["/held-db-1"],"State":"exited"}]"#,
                false => r#"{"Volumes":[{"Name":"held_data"}]}"#,
            };
            let _ = write!(&connection, "HTTP/1.0 200 OK\r\n\r\n{body}");
        }
    });
    let up = |flags: &[&str]| {
        let mut command = project.command(&[&["--json", "up", "-d"], flags].concat());
        command.env("DOCKER_HOST", format!("unix://{}", socket.display())).output().unwrap()
    };
    let failure = Failure::of(up(&[]));
    assert_eq!(failure.code(), "engine/docker-holds-project");
    for part in ["held-db-1", "held_data", "--fresh"] {
        assert!(failure.text().contains(part), "{part}: {}", failure.text());
    }
    assert_eq!(ids(&project), [""; 0]);
    assert!(up(&["--fresh"]).status.success());
    assert_eq!(ids(&project).len(), 1);
    machine.finish();
}

/// Services that a command names are looked for before anything else is.
#[test]
fn unknown_services_on_the_command_line() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("unknown");
    project.write(
        "compose.yaml",
        format!("services:\n  web:\n    {STEADY}    configs: [conf]\nconfigs: {{conf: {{content: x}}}}\n"),
    );
    for command in [
        &["up", "-d", "wbe"][..],
        &["up", "-d", "--scale", "wbe=2"],
        &["up", "--exit-code-from", "wbe"],
        &["plan", "wbe"],
        &["config", "wbe"],
        &["build", "wbe"],
        &["compose", "stop", "wbe"],
        &["compose", "exec", "wbe", "true"],
        &["compose", "run", "wbe"],
        &["logs", "wbe"],
    ] {
        let failure = project.fails(command);
        assert_eq!((failure.code(), failure.status), ("cli/no-such-service", 1), "{command:?} {}", failure.text());
        assert!(failure.hints().contains("`web`"), "{command:?} {}", failure.text());
    }
    assert_eq!(ids(&project), [""; 0]);
    machine.finish();
}

/// A build that has no text of its own to point into points at what asked for it.
#[test]
fn a_missing_dockerfile_is_asked_for_in_the_compose_file() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("unbuilt");
    for (file, place) in [
        ("services:\n  web: {build: .}\n", "2:16"),
        ("services:\n  web: {build: {context: ., dockerfile: web.Dockerfile}}\n", "2:41"),
    ] {
        project.write("compose.yaml", file);
        for command in [&["up", "-d"][..], &["build"], &["compose", "run", "web"]] {
            let failure = project.fails(command);
            let expected = ("build/unreadable".to_owned(), format!("compose.yaml:{place}"));
            assert_eq!(failure.place(), expected, "{command:?} {}", failure.text());
            assert!(failure.hints().contains("`dockerfile:`"), "{}", failure.text());
        }
    }
    machine.finish();
}

/// Brought up with an override that the taking down does not know: by the labels of what runs, and what stays is said.
#[test]
fn down_with_other_files_than_up() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("partly");
    project.write("compose.yaml", format!("services:\n  web:\n    {STEADY}")).write(
        "production.yaml",
        format!("services:\n  web: {{networks: [default, extra]}}\n  proxy:\n    {STEADY}networks: {{extra: }}\n"),
    );
    project.ok(&["up", "-d", "-f", "compose.yaml", "-f", "production.yaml"]);
    let again = project.json(&["up", "-d", "web"]);
    assert!(again["notes"][0].as_str().unwrap().contains("partly-proxy-1"), "orphans are named: {again}");

    let down = project.carrack(&["down"]);
    let said = String::from_utf8_lossy(&down.stderr).into_owned();
    assert!(said.contains("note: partly-proxy-1 stays") && said.contains("--remove-orphans"), "{said}");
    assert!(said.contains("note: the network partly_default stays"), "{said}");
    assert_eq!(project.ok(&["ps", "-a", "--format", "{{.Names}}"]), "partly-proxy-1");
    let networks = project.ok(&["network", "ls"]);
    assert!(networks.contains("partly_default") && !networks.contains("partly_extra"), "{networks}");
    project.ok(&["down", "--remove-orphans"]);
    assert_eq!(project.ok(&["ps", "-aq"]), "");
    machine.finish();
}

/// Dependents stop first and start last, what depends on nothing of the other at once; what `run` left is no replica.
#[test]
fn stopping_and_starting_keeps_the_order() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("order2");
    // `alpha` stands before `beta` in every alphabet, and depends on it.
    let log = |name: &str| {
        format!(
            "sh -c 'trap \"echo {name} ends >> /log/all; exit 0\" TERM; echo {name} begins >> /log/all; touch /ok; while :; do sleep 0.05; done'"
        )
    };
    project.write(
        "compose.yaml",
        format!(
            "services:
  alpha:
    image: busybox
    command: {}
    volumes: [log:/log]
    depends_on: {{beta: {{condition: service_healthy}}}}
  beta:
    image: busybox
    command: {}
    volumes: [log:/log]
    {HEALTHY}volumes: {{log: }}
",
            log("alpha"),
            log("beta")
        ),
    );
    project.ok(&["up", "-d", "--wait"]);
    project.ok(&["compose", "run", "-d", "alpha", "true"]);
    project.ok(&["compose", "stop"]);
    project.ok(&["compose", "start"]);
    project.ok(&["compose", "restart"]);
    project.ok(&["compose", "stop"]);
    let once = "beta begins\nalpha begins\nalpha ends\nbeta ends\n";
    let read = machine.ok(&["run", "--rm", "--network", "none", "-v", "order2_log:/log", "busybox", "cat", "/log/all"]);
    assert_eq!(format!("{read}\n"), once.repeat(3));

    let status = project.json(&["status"]);
    let alpha = status["services"].as_array().unwrap().iter().find(|one| one["service"] == "alpha").unwrap();
    assert_eq!(alpha["containers"], 1, "{status}");
    project.ok(&["down", "-v"]);
    assert_eq!(ids(&project), [""; 0], "down takes what `run` left as well");
    machine.finish();
}

/// One envelope a command, with what was noticed in the files: also where the command did what was asked.
#[test]
fn the_envelope_of_every_command_carries_the_warnings() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("json");
    project.write("compose.yaml", format!("services:\n  web:\n    {STEADY}    labels: {{level: $LEVEL}}\n"));
    for command in [
        &["plan"][..],
        &["up", "-d"],
        &["config"],
        &["config", "-q"],
        &["status"],
        &["release", "ls"],
        &["release", "show"],
        &["build"],
        &["compose", "ps"],
        &["compose", "ps", "-q"],
        &["compose", "run", "-d", "web", "true"],
        &["compose", "stop"],
        &["compose", "start"],
        &["compose", "restart"],
        &["rollback", "1"],
        &["down"],
    ] {
        let output = project.carrack(&[&["--json"], command].concat());
        let text = String::from_utf8_lossy(&output.stdout);
        let envelope: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{command:?} {error}: {text}"));
        assert_eq!((exit_code(&output), &envelope["ok"]), (0, &json!(true)), "{command:?} {text}");
        assert_eq!(envelope["diagnostics"][0]["code"], "compose/unset-variable", "{command:?} {text}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command:?}");
    }
    let failure = project.fails(&["rollback", "99"]);
    assert_eq!(failure.code(), "engine/no-such-release");
    assert_eq!(failure.diagnostics.len(), 2, "the warning stands beside the error: {}", failure.text());
    machine.finish();
}

/// What only the machine can refuse: a port that somebody has, files and roots that somebody else may read.
#[test]
fn a_busy_port_and_missing_permission_are_told() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("refused");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    project.write("compose.yaml", format!("services:\n  web:\n    {STEADY}    ports: ['127.0.0.1:{port}:80']\n"));
    let failure = project.fails(&["up", "-d"]);
    assert_eq!(failure.place(), ("engine/port-busy".to_owned(), "compose.yaml:2:3".to_owned()), "{}", failure.text());
    for part in [&format!("127.0.0.1:{port}"), &format!("process {}", std::process::id()), "another port", "is undone"]
    {
        assert!(failure.text().contains(part), "{part}: {}", failure.text());
    }
    assert_eq!(ids(&project), [""; 0]);
    drop(holder);
    project.ok(&["up", "-d"]);

    let nobody = |arguments: &[&str]| {
        let arguments = [&["--json"], arguments].concat();
        Failure::of(project.command(&arguments).uid(65_534).gid(65_534).output().unwrap())
    };
    let open = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for folder in project.dir.ancestors().take_while(|folder| folder.starts_with(machine.path())) {
        open(folder, 0o755);
    }
    open(&project.dir.join("compose.yaml"), 0o644);
    for (arguments, code, hint) in
        [(&["up", "-d"][..], "engine/not-root", "sudo"), (&["status"], "store/no-permission", "--root")]
    {
        let failure = nobody(arguments);
        assert_eq!(failure.code(), code, "{}", failure.text());
        assert!(failure.hints().contains(hint), "{}", failure.text());
    }
    open(&project.dir.join("compose.yaml"), 0o600);
    let failure = nobody(&["config"]);
    assert_eq!(failure.code(), "cli/unreadable-file");
    assert!(failure.text().contains("compose.yaml") && failure.hints().contains("permissions"), "{}", failure.text());
    machine.finish();
}

/// Each malformed project with code, place and a word of its hint.
#[test]
fn bad_projects_are_pointed_at() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("bad");
    let before = fingerprint(&machine.data());
    let web = "services:\n  web:\n    image: busybox\n    command: sleep 1000\n";
    for (file, code, place, hint) in [
        ("services:\n  web:\n    image: ${IMAGE:?which}\n".to_owned(), "compose/required-variable", "3:12", "IMAGE"),
        (format!("{web}    restrat: always\n"), "compose/unknown-key", "5:5", "`restart`"),
        (
            "services:\n  a: {image: busybox, depends_on: [b]}\n  b: {image: busybox, depends_on: [a]}\n".to_owned(),
            "compose/dependency-cycle",
            "2:36",
            "remove",
        ),
        (
            format!("{web}    depends_on: [wbe]\n  wbb: {{image: busybox}}\n"),
            "compose/unknown-service",
            "5:18",
            "`wbb`",
        ),
        (format!("{web}    networks: [frnt]\nnetworks: {{front: }}\n"), "compose/unknown-network", "5:16", "`front`"),
        (format!("{web}    volumes: ['dta:/data']\nvolumes: {{data: }}\n"), "compose/unknown-volume", "5:15", "`data`"),
        (format!("{web}    ports: ['80:eighty']\n"), "compose/malformed-port", "5:13", "127.0.0.1:8080:80"),
        (
            format!("{web}    secrets: [key]\nsecrets:\n  key: {{file: ./missing}}\n"),
            "engine/no-file-content",
            "7:15",
            "create the file",
        ),
        ("services:\n  web:\n    image: nowhere.invalid/app:9\n".to_owned(), "plan/image-unresolved", "3:12", "load"),
        ("services:\n  web: [\n".to_owned(), "compose/yaml-syntax", "3:1", ""),
    ] {
        project.write("compose.yaml", &file);
        let failure = project.fails(&["up", "-d"]);
        assert_eq!(failure.place(), (code.to_owned(), format!("compose.yaml:{place}")), "{file}{}", failure.text());
        assert!(failure.hints().contains(hint), "{file}{}", failure.text());
        assert_eq!(failure.status, 1, "{file}");
    }
    assert_eq!(ids(&project), [""; 0], "nothing was begun");
    let changed =
        fingerprint(&machine.data()).into_iter().filter(|one| !before.contains(one) && one.contains("stacks/"));
    assert_eq!(changed.collect::<Vec<_>>(), [""; 0]);
    machine.finish();
}
