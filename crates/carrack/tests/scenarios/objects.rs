//! Networks, images and volumes as Docker's users list, inspect and remove them (E1, X9): state first, then what is shown.

use serde_json::{Value, json};

use crate::machine::{Machine, eventually, exit_code, kill};

/// The names of an object's fields, and of those of the objects below it.
fn shape(value: &Value) -> Vec<String> {
    fn collect(value: &Value, path: &str, paths: &mut Vec<String>) {
        for (key, below) in value.as_object().into_iter().flatten() {
            let path = format!("{path}{key}");
            paths.push(path.clone());
            collect(below, &format!("{path}."), paths);
        }
    }
    let mut paths = Vec::new();
    collect(value, "", &mut paths);
    paths
}

#[test]
fn predefined_networks_are_there_from_the_beginning_and_stay() {
    let Some(machine) = Machine::new() else { return };
    let ls = |filters: &[&str]| {
        let line = [&["network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"], filters].concat();
        machine.ok(&line).replace('\n', ", ")
    };
    assert_eq!(ls(&[]), "bridge bridge local, host host local, none null local");
    let bridge = &machine.json(&["network", "inspect", "bridge"])[0];
    // To look at it makes nothing.
    assert!(!machine.data().join("networks/bridge.json").exists());
    let id = machine.ok(&["network", "ls", "--no-trunc", "-q", "--filter", "name=^bridge$"]);
    assert_eq!((bridge["Id"].as_str(), bridge["Scope"].as_str()), (Some(id.as_str()), Some("local")));
    assert!(bridge["IPAM"]["Config"][0]["Gateway"].is_string(), "{bridge}");
    for (name, driver) in [("host", "host"), ("none", "null")] {
        let network = &machine.json(&["network", "inspect", name])[0];
        assert_eq!((&network["Driver"], &network["IPAM"]["Config"]), (&json!(driver), &Value::Null));
        let by_id = machine.ok(&["network", "inspect", "-f", "{{.Name}}", &network["Id"].as_str().unwrap()[..12]]);
        assert_eq!(by_id, name);
    }
    for name in ["bridge", "host", "none"] {
        assert_eq!(machine.fails(&["network", "rm", name]).code(), "engine/predefined-network");
        assert_eq!(machine.fails(&["network", "create", name]).code(), "engine/predefined-network");
    }

    // Connected before any container ran on it.
    machine.ok(&["network", "create", "own"]);
    machine.ok(&["run", "-d", "--name", "cc", "--network", "own", "busybox", "sleep", "600"]);
    let foretold = &machine.json(&["network", "inspect", "bridge"])[0];
    machine.ok(&["network", "connect", "bridge", "cc"]);
    let made = &machine.json(&["network", "inspect", "bridge"])[0];
    let address = machine.ok(&["exec", "cc", "ip", "-o", "-4", "address", "show", "eth1"]);
    let place = made["Containers"].as_object().unwrap().values().next().unwrap();
    assert!(address.contains(place["IPv4Address"].as_str().unwrap()), "{address} {place}");
    assert_eq!((&made["Id"], &made["IPAM"]), (&bridge["Id"], &foretold["IPAM"]));
    for name in ["host", "none"] {
        assert_eq!(machine.fails(&["network", "connect", name, "cc"]).code(), "engine/predefined-network");
    }
    machine.ok(&["run", "-d", "--name", "hh", "--network", "host", "busybox", "sleep", "600"]);
    let host = &machine.json(&["network", "inspect", "host"])[0];
    assert_eq!(host["Containers"].as_object().unwrap().values().next().unwrap()["Name"], "hh");

    // Its bridge goes with a prune that finds nobody on it, and is back with the next container.
    let standing = || {
        let bridge = made["Bridge"].as_str().unwrap();
        let asked = std::process::Command::new("ip").args(["link", "show", bridge]).output().unwrap();
        asked.status.success()
    };
    machine.ok(&["network", "prune", "-f"]);
    assert!(standing(), "a container is on it");
    machine.ok(&["rm", "-f", "cc", "hh"]);
    assert_eq!(machine.ok(&["network", "prune", "-f"]), "Deleted Networks:\nown");
    assert!(!standing() && ls(&[]).contains("bridge bridge local"));
    machine.ok(&["run", "--rm", "busybox", "true"]);
    assert!(standing());
    machine.finish();
}

#[test]
fn networks_are_listed_and_removed_as_in_docker() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["network", "create", "net10", "--label", "a=1", "--label", "b=2"]);
    machine.ok(&["network", "create", "net2", "--internal"]);
    let names = |filters: &[&str]| {
        let line = [&["network", "ls", "--format", "{{.Name}}"], filters].concat();
        machine.ok(&line).replace('\n', " ")
    };
    let id = machine.ok(&["network", "ls", "-q", "--filter", "name=net2"]);
    let partly = format!("id={}", &id[3..9]);
    for (filter, found) in [
        ("driver=bridge", "bridge net2 net10"),
        ("driver=null", "none"),
        ("type=builtin", "bridge host none"),
        ("type=custom", "net2 net10"),
        ("scope=local", "bridge host net2 net10 none"),
        ("scope=swarm", ""),
        ("label=a=1", "net10"),
        ("label=a=2", ""),
        ("name=net", "net2 net10"),
        ("dangling=true", "net2 net10"),
        ("dangling=false", "bridge host none"),
        (&partly, "net2"),
    ] {
        assert_eq!(names(&["--filter", filter]), found, "{filter}");
    }
    assert_eq!(machine.fails(&["network", "ls", "--filter", "colour=red"]).code(), "cli/invalid-value");
    let table = machine.ok(&["network", "ls", "--filter", "name=net10"]);
    let id = machine.ok(&["network", "ls", "-q", "--filter", "name=net10"]);
    assert_eq!(table, format!("NETWORK ID     NAME      DRIVER    SCOPE\n{id}   net10     bridge    local"));
    let columns = "table {{.Name}}\\t{{.IPv4}}\\t{{.IPv6}}\\t{{.Internal}}\\t{{.Label \"a\"}}\\t{{.Labels}}";
    assert_eq!(
        machine.ok(&["network", "ls", "--filter", "type=custom", "--format", columns]),
        "NAME      IPV4      IPV6      INTERNAL   a         LABELS\n\
         net2      true      false     true                 \n\
         net10     true      false     false      1         a=1,b=2"
    );
    let keys = shape(&machine.json(&["network", "inspect", "--verbose", "net10"])[0]);
    let keys: Vec<&str> = keys.iter().map(String::as_str).filter(|key| !key.contains('.')).collect();
    assert_eq!(
        keys.join(" "),
        "Name Id Created Scope Driver EnableIPv4 EnableIPv6 IPAM Internal Attachable Ingress ConfigFrom ConfigOnly \
         Containers Options Labels Bridge"
    );

    // The others are removed where one is not there.
    let output = machine.carrack(&["network", "rm", "nobody", "net2"]);
    assert_eq!((exit_code(&output), String::from_utf8_lossy(&output.stdout).trim()), (1, "net2"));
    assert_eq!(machine.ok(&["network", "rm", "-f", "nobody", "net10"]), "net10");
    assert_eq!(names(&["--filter", "type=custom"]), "");
    for flag in ["--config-only", "--config-from=x"] {
        assert_eq!(machine.fails(&["network", "create", flag, "n"]).code(), "cli/refused");
    }
    machine.finish();
}

/// Whether something is mounted on a volume's folder.
fn is_mounted(machine: &Machine, volume: &str) -> bool {
    let data = machine.data().join("volumes").join(volume).join("_data");
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().any(|line| line.split(' ').nth(4) == data.to_str())
}

#[test]
fn volumes_are_what_their_options_say_while_containers_have_them() {
    let Some(machine) = Machine::new() else { return };
    let options = ["-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m,mode=0750,noexec"];
    machine.ok(&[&["volume", "create", "fast"], &options[..]].concat());
    assert!(!is_mounted(&machine, "fast"));
    let volume = &machine.json(&["volume", "inspect", "fast"])[0];
    assert_eq!(volume["Options"], json!({ "type": "tmpfs", "device": "tmpfs", "o": "size=1m,mode=0750,noexec" }));
    machine.ok(&["run", "-d", "--name", "aa", "--network", "none", "-v", "fast:/x", "busybox", "sleep", "600"]);
    let mounted = machine.ok(&["exec", "aa", "grep", " /x ", "/proc/mounts"]);
    assert!(mounted.starts_with("tmpfs /x tmpfs") && mounted.contains("size=1024k"), "{mounted}");
    assert!(mounted.contains("noexec") && mounted.contains("mode=750"), "{mounted}");
    machine.ok(&["exec", "aa", "sh", "-c", "echo shared > /x/file"]);
    let cat = ["run", "--rm", "--network", "none", "-v", "fast:/x", "busybox", "cat", "/x/file"];
    assert_eq!(machine.ok(&cat), "shared");
    assert!(is_mounted(&machine, "fast"), "the first has it still");
    assert_eq!(machine.json(&["doctor", "--leaks"]), json!([]));
    machine.ok(&["stop", "-t", "0", "aa"]);
    assert!(!is_mounted(&machine, "fast"), "nobody has it");
    // Read from a container that does not run, and put away again.
    assert_ne!(machine.code(&["cp", "aa:/x/file", "-"]), 0, "what is in memory is gone");
    assert!(!is_mounted(&machine, "fast"));

    // Whoever ends without a word leaves nothing either (I-3).
    machine.ok(&["start", "aa"]);
    let (shim, init) = (machine.shim_pid("aa"), machine.pid("aa"));
    kill(shim);
    kill(init);
    eventually("a command that changes something puts it away", || {
        machine.ok(&["volume", "create", "other"]);
        (!is_mounted(&machine, "fast")).then_some(())
    });
    machine.ok(&["rm", "-f", "aa"]);

    // A folder of the host: filled from it, and there when the volume is gone.
    let folder = machine.path().join("host");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("own"), "of the host").unwrap();
    let device = format!("device={}", folder.display());
    machine.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "bound"]);
    let script = "cat /x/own && echo new > /x/new";
    let run = ["run", "--rm", "--network", "none", "-v", "bound:/x", "busybox", "sh", "-c", script];
    assert_eq!(machine.ok(&run), "of the host");
    machine.ok(&["volume", "rm", "bound"]);
    assert_eq!(std::fs::read_to_string(folder.join("new")).unwrap(), "new\n");

    // What can't be mounted is said when it is tried, and nothing is left of the attempt.
    machine.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/nowhere", "lost"]);
    let failure = machine.fails(&["run", "--rm", "--network", "none", "-v", "lost:/x", "busybox", "true"]);
    assert_eq!((failure.status, failure.code()), (125, "engine/volume-mount"));
    assert!(failure.text().contains("/nowhere"), "{}", failure.text());
    assert_eq!(machine.fails(&["volume", "create", "-o", "colour=red"]).code(), "engine/invalid-volume-option");
    assert_eq!(machine.fails(&["volume", "create", "-d", "rexray"]).code(), "cli/refused");
    machine.finish();
}

#[test]
fn volumes_are_listed_and_removed_as_in_docker() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["volume", "create", "v10", "--label", "a=1"]);
    machine.ok(&["volume", "create", "v2"]);
    machine.ok(&["create", "--name", "cc", "-v", "v2:/x", "busybox", "true"]);
    let names = |filters: &[&str]| {
        let line = [&["volume", "ls", "-q"], filters].concat();
        machine.ok(&line).replace('\n', " ")
    };
    for (filter, found) in [
        ("name=v", "v2 v10"),
        ("name=^v2$", "v2"),
        ("label=a", "v10"),
        ("label=a=2", ""),
        ("driver=local", "v2 v10"),
        ("driver=nfs", ""),
        ("dangling=true", "v10"),
        ("dangling=false", "v2"),
    ] {
        assert_eq!(names(&["--filter", filter]), found, "{filter}");
    }
    assert_eq!(machine.ok(&["volume", "ls"]), "DRIVER    VOLUME NAME\nlocal     v2\nlocal     v10");
    let row: Value =
        serde_json::from_str(&machine.ok(&["volume", "ls", "-f", "name=v10", "--format", "json"])).unwrap();
    let mountpoint = machine.data().join("volumes/v10/_data");
    assert_eq!(
        row,
        json!({
            "Availability": "N/A", "Driver": "local", "Group": "N/A", "Labels": "a=1", "Links": "N/A",
            "Mountpoint": mountpoint, "Name": "v10", "Scope": "local", "Size": "N/A", "Status": "N/A",
        })
    );
    let used = machine.ok(&["volume", "ls", "--format", "{{.Name}} {{.Links}} {{.Size}}"]);
    assert!(used.starts_with("v2 1 ") && used.contains("\nv10 0 ") && !used.contains("N/A"), "{used}");
    let plain = &machine.json(&["volume", "inspect", "v2"])[0];
    assert_eq!(shape(plain).join(" "), "CreatedAt Driver Labels Mountpoint Name Options Scope");
    assert_eq!((&plain["Labels"], &plain["Options"]), (&Value::Null, &Value::Null));
    let anonymous = machine.ok(&["volume", "create"]);
    let labels = &machine.json(&["volume", "inspect", &anonymous])[0]["Labels"];
    assert_eq!(*labels, json!({ "com.docker.volume.anonymous": "" }));

    let output = machine.carrack(&["volume", "rm", "nobody", "v2", "v10"]);
    assert_eq!((exit_code(&output), String::from_utf8_lossy(&output.stdout).trim()), (1, "v10"));
    assert_eq!(names(&["--filter", "name=v"]), "v2", "a container has it");
    machine.ok(&["rm", "cc"]);
    machine.finish();
}

#[test]
fn images_are_shown_in_docker_s_shape() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write(
        "Dockerfile",
        "FROM busybox\nENV A=1\nRUN echo one > /one\nHEALTHCHECK CMD true\nLABEL tier=web\nCMD [\"sleep\", \"600\"]\n",
    );
    project.ok(&["build", "-q", "-t", "app:1", "."]);
    machine.ok(&["tag", "app:1", "app:2"]);
    let image = &machine.json(&["image", "inspect", "app:1"])[0];
    let keys = shape(image);
    let top: Vec<&str> = keys.iter().map(String::as_str).filter(|key| !key.contains('.')).collect();
    assert_eq!(
        top.join(" "),
        "Id RepoTags RepoDigests Parent Comment Created DockerVersion Author Architecture Os Size GraphDriver RootFS \
         Metadata Config Descriptor History"
    );
    let config: Vec<&str> =
        keys.iter().filter_map(|key| key.strip_prefix("Config.")).filter(|key| !key.contains('.')).collect();
    assert_eq!(config.join(" "), "ArgsEscaped Cmd Entrypoint Env Healthcheck Labels OnBuild User Volumes WorkingDir");
    assert_eq!(image["RepoTags"], json!(["app:1", "app:2"]));
    assert_eq!((&image["Config"]["Entrypoint"], &image["Config"]["Labels"]), (&Value::Null, &json!({ "tier": "web" })));
    assert_eq!(
        machine.ok(&["image", "inspect", "-f", "{{.Config.Entrypoint}} {{.GraphDriver.Name}}", "app:1"]),
        "[] overlay2"
    );

    machine.ok(&["create", "--name", "user", "--network", "none", "app:1"]);
    let row: Value = serde_json::from_str(&machine.ok(&["images", "--format", "json", "app:2"])).unwrap();
    let keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        keys.join(" "),
        "Containers CreatedAt CreatedSince Digest ID Repository SharedSize Size Tag UniqueSize VirtualSize"
    );
    assert_eq!((&row["Containers"], &row["Tag"], &row["SharedSize"]), (&json!("1"), &json!("2"), &json!("N/A")));
    for (filter, found) in [
        ("label=tier=web", "app:1 app:2"),
        ("label=tier=db", ""),
        ("reference=app:*", "app:1 app:2"),
        ("reference=*:2", "app:2"),
        ("before=app:1", "busybox:latest"),
        ("since=busybox", "app:1 app:2"),
        ("dangling=true", ""),
        ("until=1h", ""),
    ] {
        let format = ["images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", filter];
        let mut names: Vec<String> = machine.ok(&format).lines().map(str::to_owned).collect();
        names.sort();
        assert_eq!(names.join(" "), found, "{filter}");
    }
    let tree = machine.ok(&["images", "--tree"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[0].starts_with("IMAGE") && lines.contains(&"app:1"), "{tree}");
    assert!(lines.iter().any(|line| line.starts_with("app:2 ") && line.ends_with(" U")), "{tree}");
    let history: Value =
        serde_json::from_str(machine.ok(&["history", "--format", "json", "app:1"]).lines().next().unwrap()).unwrap();
    let keys: Vec<&str> = history.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys.join(" "), "Comment CreatedAt CreatedBy CreatedSince ID Size");
    let plain = machine.ok(&["history", "--human=false", "app:1"]);
    assert!(plain.starts_with("IMAGE          CREATED AT             CREATED BY "), "{plain}");

    // What is not for a platform is not taken for it.
    let arm = "linux/arm64";
    let archive = machine.path().join("saved.tar");
    for line in [
        ["image", "inspect", "--platform", arm, "app:1"].as_slice(),
        &["history", "--platform", arm, "app:1"],
        &["save", "--platform", arm, "-o", archive.to_str().unwrap(), "app:1"],
        &["image", "rm", "--platform", arm, "app:1"],
    ] {
        assert_eq!(machine.fails(line).code(), "engine/no-such-platform", "{line:?}");
    }
    let output = machine.carrack(&["rmi", "--no-prune", "app:2", "nobody"]);
    assert_eq!((exit_code(&output), String::from_utf8_lossy(&output.stdout).trim()), (1, "Untagged: app:2"));
    assert_eq!(machine.code(&["rmi", "-f", "nobody"]), 0);
    machine.ok(&["rm", "user"]);
    machine.finish();
}

#[test]
fn a_name_of_several_platforms_gives_the_one_that_is_asked_for() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /$TARGETARCH\n");
    project.ok(&["build", "-q", "--platform", "linux/amd64,linux/arm64", "-t", "app", "."]);
    let architecture = |name: &str, platform: &[&str]| {
        machine.ok(&[&["image", "inspect", "-f", "{{.Architecture}}"], platform, &[name]].concat())
    };
    let arm = ["--platform", "linux/arm64"];
    assert_eq!((architecture("app", &[]).as_str(), architecture("app", &arm).as_str()), ("amd64", "arm64"));
    let created_by = machine.ok(&["history", arm[0], arm[1], "--no-trunc", "--format", "{{.CreatedBy}}", "app"]);
    assert!(created_by.contains("arm64"), "{created_by}");
    let tree = machine.ok(&["images", "--tree"]);
    assert!(tree.contains("├─ linux/amd64") && tree.contains("└─ linux/arm64"), "{tree}");

    let archive = machine.path().join("saved.tar");
    let archive = archive.to_str().unwrap();
    machine.ok(&["save", arm[0], arm[1], "-o", archive, "app"]);
    assert_eq!(machine.ok(&["image", "rm", arm[0], arm[1], "app"]).lines().count(), 2);
    assert_eq!(machine.fails(&["image", "inspect", arm[0], arm[1], "app"]).code(), "engine/no-such-platform");
    assert_eq!(architecture("app", &[]), "amd64");
    machine.ok(&["rmi", "app"]);
    assert_eq!(machine.ok(&["load", arm[0], arm[1], "-i", archive]), "Loaded image: app:latest");
    assert_eq!(architecture("app", &arm), "arm64");
    machine.ok(&["rmi", "app"]);

    let empty = machine.path().join("empty.tar");
    std::fs::write(&empty, [0; 1024]).unwrap();
    machine.ok(&["import", arm[0], arm[1], empty.to_str().unwrap(), "other"]);
    assert_eq!(architecture("other", &[]), "arm64");
    machine.ok(&["rmi", "other"]);
    machine.finish();
}

#[test]
fn docker_s_own_flags_stand_before_the_verb() {
    let Some(machine) = Machine::new() else { return };
    let folder = machine.path().join("docker");
    std::fs::create_dir(&folder).unwrap();
    let config = json!({
        "networksFormat": "{{.Name}}!",
        "volumesFormat": "{{.Name}}?",
        "imagesFormat": "{{.Repository}}#",
        "proxies": { "default": { "httpProxy": "http://proxy:1" } },
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let with = ["--config", folder.to_str().unwrap()];
    let ok = |line: &[&str]| machine.ok(&[&with[..], line].concat());
    assert_eq!(ok(&["network", "ls"]), "bridge!\nhost!\nnone!");
    assert_eq!(ok(&["images"]), "busybox#");
    ok(&["volume", "create", "kept"]);
    assert_eq!(ok(&["volume", "ls"]), "kept?");
    let env = |flags: &[&str]| {
        ok(&[&["run", "--rm", "--network", "none"], flags, &["busybox", "sh", "-c", "echo $HTTP_PROXY $http_proxy"]]
            .concat())
    };
    assert_eq!(env(&[]), "http://proxy:1 http://proxy:1");
    assert_eq!(env(&["-e", "HTTP_PROXY=own"]), "own http://proxy:1");
    assert_eq!(machine.ok(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", "echo $HTTP_PROXY"]), "");

    // A port on no network is warned of, and nobody need read it.
    let run = ["run", "--rm", "--network", "none", "-p", "80", "busybox", "true"];
    let told = |flags: &[&str]| machine.carrack(&[flags, &run].concat()).stderr;
    assert!(!told(&[]).is_empty() && !told(&["-D"]).is_empty());
    assert!(told(&["-l", "error"]).is_empty() && told(&["--log-level", "fatal"]).is_empty());
    assert_ne!(machine.code(&["-l", "loud", "version"]), 0);
    machine.finish();
}

#[test]
fn steps_of_builds_run_where_flags_say() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write("Dockerfile", "FROM busybox\nRUN cat /proc/self/cgroup; grep Mems_allowed_list /proc/self/status\n");
    let build =
        ["build", "--no-cache", "--progress", "plain", "--cpuset-mems", "0", "--cgroup-parent", "objects-test", "."];
    let output = project.carrack(&build);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(exit_code(&output), 0, "{text}");
    assert!(text.contains("Mems_allowed_list:\t0"), "{text}");
    // What the kernel holds of it afterwards is nothing of the step's.
    let left = std::fs::read_dir("/sys/fs/cgroup/memory/objects-test").into_iter().flatten().flatten();
    for folder in left.filter(|entry| entry.path().is_dir()) {
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().flatten().filter(|entry| entry.path().is_dir()).count(),
            0
        );
        let _ = std::fs::remove_dir(folder.path());
    }
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        let parent = hierarchy.path().join("objects-test");
        for below in std::fs::read_dir(&parent).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
            let _ = std::fs::remove_dir(below.path());
        }
        let _ = std::fs::remove_dir(parent);
    }
    assert_eq!(project.fails(&["build", "--security-opt", "credentialspec=x", "."]).code(), "cli/refused");
    let outside = format!("../carrack-outside-{}", std::process::id());
    assert_eq!(project.fails(&["build", "--no-cache", "--cgroup-parent", &outside, "."]).status, 1);
    assert!(!std::path::Path::new("/sys/fs/cgroup").join(&outside[3..]).exists());
    machine.finish();
}

#[test]
fn volumes_of_a_stack_are_what_their_driver_options_say() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("shop");
    project.write(
        "compose.yaml",
        "services:\n  app:\n    image: busybox\n    command: [sleep, '600']\n    network_mode: none\n    volumes: ['fast:/x']\n\
         volumes:\n  fast:\n    driver_opts: {type: tmpfs, device: tmpfs, o: 'size=1m'}\n",
    );
    project.ok(&["up", "-d"]);
    assert!(is_mounted(&machine, "shop_fast"));
    let mounted = project.ok(&["exec", "app", "grep", " /x ", "/proc/mounts"]);
    assert!(mounted.starts_with("tmpfs /x tmpfs") && mounted.contains("size=1024k"), "{mounted}");
    assert_eq!(project.json(&["plan"])["nodes"].as_array().map_or(0, Vec::len), 0, "nothing to do");
    project.ok(&["down", "--volumes"]);
    assert!(!is_mounted(&machine, "shop_fast"));
    machine.finish();
}
