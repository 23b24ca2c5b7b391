//! Lists, filters and templates as Docker's users know them (E1, X9, I-6): state is made by other verbs, and asked for in each way.

use serde_json::Value;

use crate::machine::{Machine, exit_code};

/// Names that `ps -a` gives for filters, in the order of the list.
#[track_caller]
fn names(machine: &Machine, filters: &[&str]) -> String {
    let mut line = vec!["ps", "-a", "--format", "{{.Names}}"];
    filters.iter().for_each(|filter| line.extend(["--filter", filter]));
    machine.ok(&line).replace('\n', " ")
}

/// The error's code.
#[track_caller]
fn refused(machine: &Machine, line: &[&str]) -> String {
    machine.fails(line).diagnostics[0]["code"].as_str().unwrap().to_owned()
}

#[test]
fn containers_are_listed_filtered_and_shown() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["volume", "create", "kept"]);
    let one =
        ["--name", "one", "-v", "kept:/data", "-v", "/anonymous", "-l", "tier=web", "-l", "com.example.my-name=first"];
    machine
        .ok(&[&["create", "--network", "none", "--expose", "9000-9001"], &one[..], &["busybox", "sleep", "600"]]
            .concat());
    machine.code(&["run", "--name", "two", "--network", "none", "busybox", "sh", "-c", "printf 12345 >/file; exit 3"]);
    machine.ok(&["run", "-d", "--name", "three", "--network", "host", "busybox", "sleep", "600"]);

    assert_eq!(machine.ok(&["ps", "--format", "{{.Names}}"]), "three");
    assert_eq!(machine.ok(&["ps", "-n", "2", "--format", "{{.Names}} {{.State}}"]), "three running\ntwo exited");
    assert_eq!(machine.ok(&["ps", "-l", "--format", "{{.Names}}"]), "three");
    for (filters, found) in [
        (["name=^/t", "status=exited"].as_slice(), "two"),
        (&["name=one", "name=two"], "two one"),
        (&["label=tier=web", "label=com.example.my-name"], "one"),
        (&["label=tier=db"], ""),
        (&["exited=3"], "two"),
        (&["exited=0"], ""),
        (&["before=three"], "two one"),
        (&["since=one"], "three two"),
        (&["volume=kept"], "one"),
        (&["volume=/anonymous"], "one"),
        (&["network=host"], "three"),
        (&["ancestor=busybox:latest", "status=created"], "one"),
        (&["ancestor=other"], ""),
        (&["health=none", "name=three"], "three"),
    ] {
        assert_eq!(names(&machine, filters), found, "{filters:?}");
    }
    for (filter, code) in [
        ("status=asleep", "cli/invalid-value"),
        ("colour=red", "cli/invalid-value"),
        ("exited=x", "cli/invalid-value"),
        ("publish=x", "cli/invalid-value"),
        ("is-task=true", "cli/refused"),
        ("isolation=hyperv", "cli/refused"),
        ("before=nobody", "engine/no-such-container"),
    ] {
        assert_eq!(refused(&machine, &["ps", "--filter", filter]), code, "{filter}");
    }
    assert_eq!(exit_code(&machine.carrack(&["ps", "--filter", "name"])), 125);

    let table = machine.ok(&["ps", "-a", "-s", "--filter", "name=two"]);
    let mut lines = table.lines();
    assert!(lines.next().unwrap().starts_with("CONTAINER ID   IMAGE     COMMAND "), "{table}");
    let line = lines.next().unwrap();
    assert!(
        line.contains("\"sh -c 'printf 12345…\"") && line.contains("Exited (3) ") && line.contains("5B (virtual "),
        "{line}"
    );
    let columns = "table {{upper .Names}}\\t{{.Label \"com.example.my-name\"}}\\t{{.LocalVolumes}}";
    let table = machine.ok(&["ps", "-a", "--filter", "name=one", "--format", columns]);
    assert_eq!(table, "NAMES     my name   LOCAL VOLUMES\nONE       first     2");
    let row: Value = serde_json::from_str(&machine.ok(&["ps", "-l", "--format", "json"])).unwrap();
    assert_eq!((&row["Networks"], &row["Names"]), (&"host".into(), &"three".into()));
    machine.ok(&["rm", "-f", "one", "two", "three"]);
    machine.finish();
}

#[test]
fn inspect_has_docker_s_shape() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "-m",
        "64m",
        "-l",
        "a=b",
        "--restart",
        "on-failure:3",
        "busybox",
        "sleep",
        "600",
    ]);
    let all: Value = serde_json::from_str(&machine.ok(&["inspect", "web", "busybox"])).unwrap();
    let (web, image) = (&all[0], &all[1]);
    assert_eq!(web["State"]["Running"], true);
    assert_eq!(web["HostConfig"]["Memory"], 64 << 20);
    assert_eq!(web["HostConfig"]["RestartPolicy"], serde_json::json!({ "Name": "on-failure", "MaximumRetryCount": 3 }));
    assert_eq!(web["Config"]["Cmd"], serde_json::json!(["sleep", "600"]));
    assert_eq!(web["Image"], image["Id"]);
    let network = &web["NetworkSettings"]["Networks"]["bridge"];
    assert_eq!(web["NetworkSettings"]["IPAddress"], network["IPAddress"]);
    let own = machine.ok(&["exec", "web", "ip", "address", "show", "eth0"]);
    assert!(own.contains(network["IPAddress"].as_str().unwrap()), "{own}");
    let hosts = std::fs::read_to_string(web["HostsPath"].as_str().unwrap()).unwrap();
    assert!(hosts.contains(network["IPAddress"].as_str().unwrap()), "{hosts}");
    let asked = |format: &str| machine.ok(&["inspect", "-f", format, "web"]);
    let addresses = "{{range $name, $network := .NetworkSettings.Networks}}{{$name}} {{$network.IPAddress}}{{end}}";
    assert_eq!(asked(addresses), format!("bridge {}", network["IPAddress"].as_str().unwrap()));
    assert_eq!(asked("{{.State.Health}} {{if .State.Health}}x{{end}}{{.HostConfig.CapAdd}}"), "<nil> []");
    assert_eq!(asked("{{index .Config.Labels \"a\"}}{{.Config.Labels.none}}"), "b<no value>");
    assert_eq!(machine.ok(&["inspect", "-s", "-f", "{{.SizeRw}}", "web"]), "0");
    // What was found is printed, what was not is told, and the exit code is 1.
    let output = machine.carrack(&["inspect", "-f", "{{.Name}}", "web", "nobody"]);
    assert_eq!((exit_code(&output), String::from_utf8_lossy(&output.stdout).as_ref()), (1, "/web\n"));
    let output = machine.carrack(&["inspect", "nobody"]);
    assert_eq!((exit_code(&output), String::from_utf8_lossy(&output.stdout).as_ref()), (1, "[]\n"));
    assert_eq!(machine.code(&["inspect", "--type", "image", "web"]), 1);
    assert_eq!(refused(&machine, &["inspect", "--type", "node", "web"]), "cli/refused");
    let said = machine.carrack(&["inspect", "-f", "{{.Nmae}}", "web"]);
    assert!(exit_code(&said) == 1 && String::from_utf8_lossy(&said.stderr).contains("`Nmae`"), "{said:?}");
    machine.ok(&["rm", "-f", "web"]);
    machine.finish();
}

/// A verb or flag of Docker's that is not done says so by name, with Docker's exit codes (I-6).
#[test]
fn what_of_docker_s_is_not_done_is_told() {
    let machine = Machine::empty();
    for (line, code, exit) in [
        (["swarm", "init"].as_slice(), "cli/refused", 1),
        (&["search", "nginx"], "cli/refused", 1),
        (&["run", "--isolation", "hyperv", "x"], "cli/refused", 125),
        (&["container", "create", "--cpu-count", "1", "x"], "cli/refused", 125),
        (&["-H", "tcp://elsewhere", "ps"], "cli/refused", 125),
        (&["ps", "--no-such-flag"], "cli/usage", 125),
        (&["ps", "surplus"], "cli/usage", 1),
        (&["run"], "cli/usage", 1),
        (&["container", "frobnicate"], "cli/usage", 1),
        (&["frobnicate"], "cli/usage", 2),
    ] {
        let failure = machine.fails(line);
        assert_eq!((failure.diagnostics[0]["code"].as_str(), failure.status), (Some(code), exit), "{line:?}");
    }
}

#[test]
fn images_networks_and_volumes_are_listed_and_filtered() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["tag", "busybox", "team/app:1"]);
    machine.ok(&["volume", "create", "--label", "tier=db", "kept"]);
    machine.ok(&["volume", "create", "used"]);
    machine.ok(&["create", "--name", "holder", "--network", "none", "-v", "used:/data", "busybox", "true"]);
    let images =
        |filter: &str| machine.ok(&["images", "-f", filter, "--format", "{{.Repository}}:{{.Tag}}"]).replace('\n', " ");
    assert_eq!(images("reference=*"), "busybox:latest");
    assert_eq!(images("reference=team/*"), "team/app:1");
    assert_eq!(images("dangling=true"), "");
    assert_eq!(images("label=none"), "");
    assert_eq!(images("until=2000-01-01"), "");
    assert_eq!(machine.ok(&["images", "team/app:1", "--format", "{{.Tag}}"]), "1");
    assert_eq!(refused(&machine, &["images", "-f", "colour=red"]), "cli/invalid-value");

    let volumes = |filter: &str| machine.ok(&["volume", "ls", "-q", "-f", filter]);
    assert_eq!((volumes("dangling=true"), volumes("dangling=false")), ("kept".into(), "used".into()));
    assert_eq!((volumes("label=tier=db"), volumes("name=^us")), ("kept".into(), "used".into()));
    let format = "table {{.Name}}\\t{{.Label \"tier\"}}";
    assert_eq!(machine.ok(&["volume", "ls", "--format", format]), "VOLUME NAME   tier\nkept          db\nused");

    let networks = |filter: &str| machine.ok(&["network", "ls", "-f", filter, "--format", "{{.Name}} {{.Internal}}"]);
    machine.ok(&["network", "create", "--internal", "back"]);
    assert_eq!(networks("type=custom"), "back true");
    assert_eq!(networks("name=^b.ck$"), "back true");
    assert_eq!((networks("driver=host").as_str(), networks("dangling=true").as_str()), ("host false", "back true"));
    machine.ok(&["network", "rm", "back"]);
    // The format of Docker's config file stands where none is given.
    std::fs::create_dir_all(machine.path().join(".docker")).unwrap();
    let config = r#"{ "psFormat": "{{.Names}} of {{.Image}}", "volumesFormat": "v {{.Name}}" }"#;
    std::fs::write(machine.path().join(".docker/config.json"), config).unwrap();
    assert_eq!(machine.ok(&["ps", "-a"]), "holder of busybox");
    assert_eq!(machine.ok(&["volume", "ls"]), "v kept\nv used");
    machine.ok(&["rm", "holder"]);
    machine.finish();
}

/// What is one of a kind without a daemon: its version, its context.
#[test]
fn version_and_context_answer_tools() {
    let machine = Machine::empty();
    let version = machine.ok(&["version", "--format", "{{.Server.Version}}"]);
    assert_eq!(machine.ok(&["version"]), format!("carrack {version}"));
    assert_eq!(machine.ok(&["context", "show"]), "default");
    assert_eq!(machine.ok(&["context", "ls", "--format", "{{.Name}} {{.Current}}"]), "default true");
    assert_eq!(refused(&machine, &["context", "use", "elsewhere"]), "cli/refused");
    assert_eq!(refused(&machine, &["context", "create", "elsewhere"]), "cli/refused");
}
