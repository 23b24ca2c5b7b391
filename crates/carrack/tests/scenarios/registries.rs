//! Images come from registries and go to them, whole and under the same digests (E4).

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use carrack_testkit::registry::{Access, Registry};

use crate::machine::{Machine, eventually, feed};

/// An image of two layers, made here.
fn make(machine: &Machine, name: &str) {
    let project = machine.project("made");
    project.write("Dockerfile", "FROM busybox\nRUN seq 1 1000 > /numbers\nCMD [\"wc\", \"-l\", \"/numbers\"]\n");
    project.ok(&["build", "-q", "-t", name, "."]);
}

/// The digest that a name has here.
fn digest(machine: &Machine, name: &str) -> String {
    machine.json(&["image", "inspect", name])[0]["Descriptor"]["digest"].as_str().unwrap().to_owned()
}

#[test]
fn what_goes_out_comes_back_and_keeps_its_digest_elsewhere() {
    let Some(machine) = Machine::new() else { return };
    let (registry, other) = (Registry::start(), Registry::start());
    let name = format!("{}/team/numbers:1", registry.host());
    make(&machine, &name);
    let pushed = machine.json(&["push", &name])["digest"].as_str().unwrap().to_owned();
    assert_eq!(digest(&machine, &name), pushed, "the image refers to what was sent");
    machine.finish();

    let Some(machine) = Machine::new() else { return };
    assert_eq!(machine.ok(&["run", "--rm", "--network", "none", &name]), "1000 /numbers");
    assert_eq!(digest(&machine, &name), pushed);
    let again = machine.json(&["pull", &name]);
    assert_eq!((again["is_new"].as_bool(), again["digest"].as_str()), (Some(false), Some(pushed.as_str())));
    let elsewhere = format!("{}/copy/numbers:2", other.host());
    machine.ok(&["tag", &name, &elsewhere]);
    assert_eq!(machine.json(&["push", &elsewhere])["digest"], *pushed);
    assert_eq!(other.manifest("copy/numbers", "2"), registry.manifest("team/numbers", "1"));
    // By its digest too, from the repository that it went to.
    machine.ok(&["rmi", &elsewhere]);
    machine.ok(&["rmi", &name]);
    let pinned = format!("{}/copy/numbers@{pushed}", other.host());
    assert_eq!(machine.ok(&["run", "--rm", "--network", "none", &pinned]), "1000 /numbers");
    let history = machine.json(&["history", &pinned]);
    assert_eq!(history[0]["created_by"], "CMD [\"wc\" \"-l\" \"/numbers\"]");
    assert!(history[1]["size_bytes"].as_u64().unwrap() > 0);
    machine.finish();
}

#[test]
fn an_image_is_asked_for_as_the_policy_says() {
    let Some(machine) = Machine::new() else { return };
    let registry = Registry::start();
    let name = format!("{}/box:1", registry.host());
    machine.ok(&["tag", "busybox", &name]);
    machine.ok(&["push", &name]);
    machine.ok(&["rmi", &name]);
    registry.take_seen();
    let run =
        |flags: &[&'static str]| [&["run", "--rm", "--network", "none"], flags, &[name.as_str(), "true"]].concat();
    assert_eq!(machine.fails(&run(&["--pull", "never"])).code(), "store/image-not-found");
    assert_eq!(registry.take_seen().len(), 0);
    machine.ok(&run(&[]));
    assert_ne!(registry.take_seen().len(), 0);
    machine.ok(&run(&[]));
    assert_eq!(registry.take_seen().len(), 0, "it is here");
    machine.ok(&run(&["--pull", "always"]));
    assert_ne!(registry.take_seen().len(), 0);
    let failure = machine.fails(&run(&["--pull", "always", "--platform", "linux/s390x"]));
    assert_eq!((failure.code(), failure.status), ("registry/no-such-platform", 125));
    // Where nobody answers, what counts is that the image is not here.
    let failure = machine.fails(&["run", "127.0.0.1:1/box", "true"]);
    assert_eq!((failure.code(), failure.status), ("store/image-not-found", 125));
    assert!(failure.text().contains("refused"), "{}", failure.text());
    machine.finish();
}

#[test]
fn projects_and_builds_get_what_they_are_based_on() {
    let Some(machine) = Machine::new() else { return };
    let registry = Registry::start();
    let name = format!("{}/box:1", registry.host());
    machine.ok(&["tag", "busybox", &name]);
    machine.ok(&["push", &name]);
    machine.ok(&["rmi", &name]);
    let project = machine.project("shop");
    let compose =
        |image: &str, more: &str| format!("services:\n  web:\n    image: {image}\n{more}    command: sleep 1000\n");
    project.write("compose.yaml", compose(&name.replace("box:1", "bxo:1"), ""));
    let failure = project.fails(&["up", "-d"]);
    assert_eq!(failure.place(), ("registry/not-found".into(), "compose.yaml:3:12".into()));
    project.write("compose.yaml", compose(&name, "    pull_policy: never\n"));
    assert_eq!(project.code(&["up", "-d"]), 1);
    project.write("compose.yaml", compose(&name, ""));
    project.ok(&["up", "-d"]);
    project.ok(&["down", "-t", "0"]);
    project.write("Dockerfile", format!("FROM {}\nRUN true\n", name.replace(":1", ":9")));
    let failure = project.fails(&["build", "."]);
    assert_eq!(failure.place(), ("build/image-not-found".into(), "Dockerfile:1:6".into()));
    assert!(failure.text().contains("manifest unknown"), "{}", failure.text());
    machine.ok(&["rmi", "-f", &name]);
    project.write("Dockerfile", format!("FROM {name}\nRUN echo built > /made\n"));
    project.ok(&["build", "-q", "-t", "made", "."]);
    assert_eq!(machine.ok(&["run", "--rm", "--network", "none", "made", "cat", "/made"]), "built");
    machine.finish();
}

#[test]
fn credentials_are_kept_by_a_helper_and_never_shown() {
    let machine = Machine::empty();
    let registry = Registry::start();
    let host = registry.host();
    registry.set_access(Access::Bearer { account: Some("ann:s3cret".into()), uses: 100 });
    let folder = machine.path().join(".docker");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("config.json"), r#"{"credsStore":"toy","psFormat":"x"}"#).unwrap();
    let helper = machine.path().join("docker-credential-toy");
    let kept = machine.path().join("kept");
    let script = format!(
        "#!/bin/sh\ncd {}\ncase $1 in\nstore) cat > kept;;\nerase) rm kept;;\n\
         get) [ -e kept ] && cat kept || {{ echo credentials not found in native keychain; exit 1; }};;\nesac\n",
        machine.path().display()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = machine.command(arguments);
        command.env("PATH", format!("{}:/usr/bin:/bin", machine.path().display()));
        command
    };
    let login = ["--json", "login", "-u", "ann", "--password-stdin", &host];
    let refused = feed(command(&login), b"wr0ng\n");
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8_lossy(&refused.stdout);
    assert!(said.contains("registry/unauthorised") && !said.contains("wr0ng"), "{said}");
    assert!(!kept.exists(), "what is refused is not kept");
    let taken = feed(command(&login), b"s3cret\n");
    assert!(taken.status.success());
    assert!(!String::from_utf8_lossy(&[taken.stdout, taken.stderr].concat()).contains("s3cret"));
    assert!(std::fs::read_to_string(&kept).unwrap().contains("s3cret"));
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    assert!(config.contains("psFormat") && config.contains(&host) && !config.contains("auth\""), "{config}");
    let asked = command(&["--json", "manifest", "inspect", &format!("{host}/none")]).output().unwrap();
    assert!(String::from_utf8_lossy(&asked.stdout).contains("registry/not-found"), "let in, and there is none");
    assert!(command(&["logout", &host]).status().unwrap().success());
    assert!(!kept.exists());
    machine.finish();
}

/// Ended with the value.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Debian's registry and another client agree with us about every digest.
#[test]
fn debians_registry_and_skopeo_understand_us() {
    for (program, flag) in [("docker-registry", "--version"), ("skopeo", "--version")] {
        if Command::new(program).arg(flag).output().is_err() {
            println!("skipped: {program} is not on the path");
            return;
        }
    }
    let Some(machine) = Machine::new() else { return };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = free.local_addr().unwrap().to_string();
    drop(free);
    let settings = machine.path().join("registry.yml");
    let data = machine.path().join("registry");
    let mut file = std::fs::File::create(&settings).unwrap();
    let folder = data.display();
    writeln!(file, "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}}}}}\nhttp: {{addr: \"{host}\"}}")
        .unwrap();
    let serve =
        Command::new("docker-registry").arg("serve").arg(&settings).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _served = Served(serve.unwrap());
    eventually("the registry listens", || std::net::TcpStream::connect(&host).ok());
    let skopeo = |arguments: &[&str]| {
        let mut command = Command::new("skopeo");
        let output = command.arg("--insecure-policy").args(arguments).current_dir(machine.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let theirs = |name: &str| {
        let manifest = skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]);
        sha256(&machine, manifest.as_bytes())
    };
    let name = format!("{host}/team/numbers:1");
    make(&machine, &name);
    machine.ok(&["push", &name]);
    assert_eq!(theirs(&name), digest(&machine, &name));
    let source = format!("docker://{name}");
    for (format, compression) in [("oci", "gzip"), ("oci", "zstd"), ("v2s2", "gzip")] {
        let copy = format!("{host}/{format}/{compression}:1");
        skopeo(&["copy", "--src-tls-verify=false", "--dest-compress-format", compression, &source, "dir:x"]);
        let to = format!("docker://{copy}");
        skopeo(&[
            "copy",
            "--dest-tls-verify=false",
            "--dest-compress-format",
            compression,
            "--format",
            format,
            "dir:x",
            &to,
        ]);
        machine.ok(&["pull", "-q", &copy]);
        assert_eq!(machine.ok(&["run", "--rm", "--network", "none", &copy]), "1000 /numbers");
        assert_eq!(digest(&machine, &copy), theirs(&copy), "{copy}");
        let back = format!("{host}/back/{format}-{compression}:1");
        machine.ok(&["tag", &copy, &back]);
        machine.ok(&["push", "-q", &back]);
        assert_eq!(theirs(&back), theirs(&copy), "{back}");
    }
    machine.finish();
}

/// `sha256:…` of bytes, by the host's own program.
fn sha256(machine: &Machine, bytes: &[u8]) -> String {
    let path = machine.path().join("raw");
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    format!("sha256:{}", String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap())
}
