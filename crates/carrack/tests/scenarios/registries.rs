//! Images come from registries and go to them, whole and under the same digests (E4).

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use carrack_testkit::registry::{Access, Registry, Reply};

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

/// The name of an image that the registry has and the machine has not.
fn only_there(machine: &Machine, registry: &Registry) -> String {
    let name = format!("{}/box:1", registry.host());
    machine.ok(&["tag", "busybox", &name]);
    machine.ok(&["push", &name]);
    machine.ok(&["rmi", &name]);
    name
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
    let name = only_there(&machine, &registry);
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
    let name = only_there(&machine, &registry);
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

fn parsed(bytes: Option<Vec<u8>>) -> serde_json::Value {
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

#[test]
fn an_index_is_put_together_annotated_and_sent() {
    let Some(machine) = Machine::new() else { return };
    let (registry, other) = (Registry::start(), Registry::start());
    let image = |name: &str| format!("{}/{name}", registry.host());
    let (one, two, both) = (image("one:1"), image("two:1"), image("both:1"));
    machine.ok(&["tag", "busybox", &one]);
    make(&machine, &two);
    for name in [&one, &two] {
        machine.ok(&["push", "-q", name]);
    }
    machine.ok(&["manifest", "create", &both, &one, &two]);
    assert_eq!(machine.fails(&["manifest", "create", &both, &one]).code(), "engine/index-exists");
    machine.ok(&["manifest", "create", "--amend", &both, &two]);
    machine.ok(&["manifest", "annotate", &both, &two, "--arch", "arm", "--variant", "v7"]);
    assert_eq!(machine.fails(&["manifest", "annotate", &both, "none:1"]).code(), "engine/no-such-index");
    // Two names of one image are one image of the index, until something else is said of one of them.
    let (first, second, twice) = (image("twin:1"), image("twin:2"), image("twice:1"));
    for name in [&first, &second] {
        machine.ok(&["tag", &one, name]);
        machine.ok(&["push", "-q", name]);
    }
    machine.ok(&["manifest", "create", &twice, &first, &second]);
    machine.ok(&["manifest", "push", &twice]);
    assert_eq!(parsed(registry.manifest("twice", "1"))["manifests"].as_array().unwrap().len(), 1);
    machine.ok(&["manifest", "annotate", &twice, &first, "--variant", "v2"]);
    machine.ok(&["manifest", "annotate", &twice, &second, "--variant", "v3"]);
    machine.ok(&["manifest", "push", &twice]);
    let variants = parsed(registry.manifest("twice", "1"));
    let variant = |index: usize| variants["manifests"][index]["platform"]["variant"].as_str().unwrap();
    assert_eq!([variant(0), variant(1)], ["v2", "v3"]);
    let pushed = machine.json(&["manifest", "push", "--purge", &both]);
    let index = parsed(registry.manifest("both", "1"));
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(index["manifests"][1]["platform"]["variant"], "v7");
    assert_eq!(index["manifests"][0]["digest"], digest(&machine, &one));
    assert!(registry.manifest("both", &digest(&machine, &two)).is_some(), "its images are in its repository");
    assert_eq!(machine.fails(&["manifest", "push", &both]).code(), "engine/no-such-index", "it was forgotten");
    // The whole of it at another registry; one that is not there is no half.
    let copy = format!("{}/copy/both:2", other.host());
    machine.ok(&["buildx", "imagetools", "create", "-t", &copy, &both]);
    assert_eq!(other.manifest("copy/both", "2"), registry.manifest("both", "1"));
    assert!(machine.ok(&["buildx", "imagetools", "inspect", &copy]).contains("Platform:  linux/arm/v7"));
    let digest_of = machine.ok(&["buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", &copy]);
    assert_eq!(digest_of, pushed["digest"].as_str().unwrap());
    machine.ok(&["rmi", &one]);
    machine.ok(&["run", "--rm", "--network", "none", &copy, "true"]);
    // Of an index that was pulled for a platform, that platform's manifest goes on.
    let elsewhere = format!("{}/one:9", other.host());
    machine.ok(&["tag", &copy, &elsewhere]);
    machine.ok(&["push", "-q", &elsewhere]);
    assert_eq!(other.manifest("one", "9"), registry.manifest("one", "1"));
    let appended = format!("{}/copy/more:1", other.host());
    machine.ok(&["buildx", "imagetools", "create", "-t", &appended, "--annotation", "a=b", &one, &copy]);
    let index = parsed(other.manifest("copy/more", "1"));
    assert_eq!((index["annotations"]["a"].as_str(), index["manifests"].as_array().unwrap().len()), (Some("b"), 2));
    machine.finish();
}

#[test]
fn builds_and_services_go_out_under_all_their_names_and_come_back() {
    let Some(machine) = Machine::new() else { return };
    let registry = Registry::start();
    let image = |name: &str| format!("{}/{name}", registry.host());
    let project = machine.project("shop");
    project.write("Dockerfile", "FROM busybox\nRUN seq 1 100 > /numbers\n");
    let (one, two) = (image("app:1"), image("app:2"));
    assert_eq!(project.fails(&["build", "--push", "."]).code(), "cli/invalid-value");
    let built = project.ok(&["build", "-q", "--push", "-t", &one, "-t", &two, "--annotation", "made=here", "."]);
    assert!(built.starts_with("sha256:"), "{built}");
    assert_eq!(registry.manifest("app", "1"), registry.manifest("app", "2"));
    let manifest = parsed(registry.manifest("app", "1"));
    assert_eq!(manifest["annotations"]["made"], "here", "what was said of it goes with it");
    assert!(manifest["layers"][0]["mediaType"].as_str().unwrap().ends_with("+gzip"));
    project.write("Dockerfile", "FROM busybox\nRUN seq 1 200 > /numbers\n");
    let output = format!("type=image,name={},push=true,compression=zstd", image("app:3"));
    project.ok(&["build", "-q", "--output", &output, "."]);
    let manifest = parsed(registry.manifest("app", "3"));
    assert!(manifest["layers"][1]["mediaType"].as_str().unwrap().ends_with("+zstd"), "{manifest}");
    registry.take_seen();
    machine.ok(&["push", "-q", "--all-tags", &image("app")]);
    let seen = registry.take_seen();
    let tags: Vec<&str> =
        seen.iter().filter(|seen| seen.method == "PUT").map(|seen| seen.path.rsplit('/').next().unwrap()).collect();
    assert_eq!(tags, ["1", "2", "3"], "nothing but their manifests");
    for tag in 1..=3 {
        machine.ok(&["rmi", &image(&format!("app:{tag}"))]);
    }
    machine.ok(&["pull", "-q", "--all-tags", &image("app")]);
    for tag in 1..=3 {
        assert_eq!(machine.ok(&["run", "--rm", "--network", "none", &image(&format!("app:{tag}")), "true"]), "");
    }

    let compose = format!(
        "services:\n  web:\n    image: {}\n    build: .\n    command: sleep 1000\n  box:\n    image: {one}\n    command: sleep 1000\n",
        image("web:1")
    );
    project.write("compose.yaml", compose);
    project.ok(&["compose", "build", "-q"]);
    project.ok(&["compose", "push", "-q"]);
    assert!(registry.manifest("web", "1").is_some());
    machine.ok(&["rmi", "-f", &image("web:1"), &one]);
    project.ok(&["compose", "pull", "-q"]);
    registry.take_seen();
    project.ok(&["up", "-d", "--no-build", "--pull", "never"]);
    assert_eq!(registry.take_seen().len(), 0);
    project.ok(&["up", "-d", "--no-build", "--pull", "always"]);
    assert_ne!(registry.take_seen().len(), 0);
    project.ok(&["down", "-t", "0"]);
    machine.finish();
}

#[test]
fn an_image_for_several_platforms_goes_out_as_one() {
    let Some(machine) = Machine::new() else { return };
    let (registry, other) = (Registry::start(), Registry::start());
    let name = |tag: &str| format!("{}/multi:{tag}", registry.host());
    let project = machine.project("multi");
    project.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\n");
    project.write("amd64/which", "amd64").write("arm64/which", "arm64");
    let platforms = "linux/amd64,linux/arm64";
    project.ok(&["build", "-q", "--push", "--platform", platforms, "-t", &name("1"), "-t", &name("2"), "."]);
    let index = parsed(registry.manifest("multi", "1"));
    assert_eq!(registry.manifest("multi", "1"), registry.manifest("multi", "2"));
    let children = index["manifests"].as_array().unwrap();
    assert_eq!(children.len(), 2, "{index}");
    for child in children {
        let manifest = parsed(registry.manifest("multi", child["digest"].as_str().unwrap()));
        let layer = &manifest["layers"][0];
        assert!(layer["mediaType"].as_str().unwrap().ends_with("+gzip"), "{manifest}");
        assert!(registry.blob("multi", &layer["digest"].as_str().unwrap().parse().unwrap()).is_some());
    }
    // Elsewhere, under the same digest.
    let elsewhere = format!("{}/copy:1", other.host());
    machine.ok(&["tag", &name("2"), &elsewhere]);
    machine.ok(&["push", "-q", &elsewhere]);
    assert_eq!(other.manifest("copy", "1"), registry.manifest("multi", "1"));
    let arm = machine.json(&["pull", "--platform", "linux/arm64", &elsewhere]);
    assert_eq!(arm["digest"], sha256(&machine, &other.manifest("copy", "1").unwrap()));
    machine.finish();
}

/// All of it, or some of it.
#[test]
fn an_image_for_several_platforms_comes_as_one() {
    let Some(machine) = Machine::new() else { return };
    let (registry, other) = (Registry::start(), Registry::start());
    let name = format!("{}/multi:1", registry.host());
    let project = machine.project("multi");
    project.write("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /\n");
    for architecture in ["amd64", "arm64", "s390x"] {
        project.write(&format!("{architecture}/which"), architecture);
    }
    let platforms = "linux/amd64,linux/arm64,linux/s390x";
    project.ok(&["build", "-q", "--push", "--platform", platforms, "-t", &name, "."]);
    let index = registry.manifest("multi", "1");
    let digest_of_index = sha256(&machine, index.as_ref().unwrap());
    machine.finish();

    let Some(machine) = Machine::new() else { return };
    let here = || machine.json(&["images"]).as_array().unwrap().iter().find(|it| it["tag"] == "1").unwrap().clone();
    assert_eq!(machine.json(&["pull", "--platform", "linux/arm64,linux/s390x", &name])["digest"], *digest_of_index);
    assert_eq!(here()["platforms"], serde_json::json!(["linux/arm64", "linux/s390x"]));
    assert_eq!(machine.json(&["pull", "--all-platforms", &name])["digest"], *digest_of_index);
    assert_eq!(here()["platforms"].as_array().unwrap().len(), 3);
    let elsewhere = format!("{}/copy:1", other.host());
    machine.ok(&["tag", &name, &elsewhere]);
    assert_eq!(machine.json(&["push", &elsewhere])["digest"], *digest_of_index);
    assert_eq!(other.manifest("copy", "1"), index);
    // One of it alone, as the index lists it.
    let one = format!("{}/one:1", other.host());
    machine.ok(&["tag", &name, &one]);
    machine.ok(&["push", "-q", "--platform", "linux/s390x", &one]);
    let listed = parsed(index)["manifests"][2]["digest"].clone();
    assert_eq!(sha256(&machine, &other.manifest("one", "1").unwrap()), listed);
    let failure = machine.fails(&["push", "--platform", "linux/riscv64", &one]);
    assert_eq!(failure.code(), "registry/no-such-platform");
    assert_eq!(machine.json(&["push", &one])["digest"], *digest_of_index, "the name stands for all of it still");
    let failure = machine.fails(&["pull", "--platform", "linux/arm64,linux/riscv64", &name]);
    assert_eq!(failure.code(), "registry/no-such-platform");
    // What is published for one platform only is not there for two.
    let plain = format!("{}/box:1", registry.host());
    machine.ok(&["tag", "busybox", &plain]);
    machine.ok(&["push", "-q", &plain]);
    machine.ok(&["pull", "--all-platforms", &plain]);
    let failure = machine.fails(&["pull", "--platform", "linux/amd64,linux/riscv64", &plain]);
    assert_eq!(failure.code(), "registry/no-such-platform");
    machine.finish();
}

/// What is said of images at a registry, by us and as BuildKit does it, and by platform where there are several.
#[test]
fn imagetools_show_what_is_said_of_an_image() {
    let Some(machine) = Machine::new() else { return };
    let registry = Registry::start();
    registry.know_referrers();
    let name = |tag: &str| format!("{}/told:{tag}", registry.host());
    let project = machine.project("told");
    project.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    project.ok(&["build", "-q", "--push", "--sbom", "-t", &name("1"), "."]);
    let platforms = "linux/amd64,linux/arm64";
    project.ok(&["build", "-q", "--push", "--sbom", "--platform", platforms, "-t", &name("2"), "."]);
    let shown = |tag: &str, format: &str| -> serde_json::Value {
        let text = machine.ok(&["buildx", "imagetools", "inspect", &name(tag), "--format", format]);
        serde_json::from_str(&text).unwrap()
    };
    assert_eq!(shown("1", "{{ json .SBOM.SPDX }}")["spdxVersion"], "SPDX-2.3");
    assert!(shown("1", "{{json .Provenance}}")["SLSA"]["buildDefinition"].is_object());
    assert_eq!(shown("1", "{{json .Image}}")["os"], "linux");
    assert_eq!(shown("2", "{{json (index .SBOM \"linux/arm64\").SPDX}}")["spdxVersion"], "SPDX-2.3");
    assert_eq!(shown("2", "{{json .Image}}").as_object().unwrap().len(), 2);

    // BuildKit puts the statements beside the image, into its index.
    let manifest = registry.manifest("told", "1").unwrap();
    let digest = sha256(&machine, &manifest);
    let artifact = parsed(registry.referrers("told", &digest).into_iter().next());
    let mut children = vec![serde_json::json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": manifest.len(),
        "platform": {"architecture": "amd64", "os": "linux"},
    })];
    let said = serde_json::json!({"schemaVersion": 2, "config": artifact["config"], "layers": artifact["layers"]});
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let said_bytes = said.to_string().into_bytes();
    let told = registry.put_manifest("told", "said", kind, &said_bytes);
    children.push(serde_json::json!({
        "mediaType": kind, "digest": told.to_string(), "size": said.to_string().len(),
        "platform": {"architecture": "unknown", "os": "unknown"},
        "annotations": {
            "vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": digest,
        },
    }));
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = serde_json::json!({"schemaVersion": 2, "mediaType": kind, "manifests": children});
    registry.put_manifest("told", "3", kind, index.to_string().as_bytes());
    registry.lie(|seen| seen.path.contains("/referrers/").then(|| Reply::status(404)));
    let said = shown("3", "{{json .}}");
    assert!(said["SBOM"]["SPDX"].is_object() || said["Provenance"]["SLSA"].is_object(), "{said}");
    assert_eq!(said["Image"]["os"], "linux", "one platform is shown without its name");

    // Pulled as a whole, all of that goes on under the index's digest, also after what nothing needs went, and into archives.
    machine.ok(&["pull", "--all-platforms", &name("3")]);
    machine.ok(&["rmi", &name("1")]);
    let other = Registry::start();
    let elsewhere = format!("{}/copy:3", other.host());
    machine.ok(&["tag", &name("3"), &elsewhere]);
    machine.ok(&["push", "-q", &elsewhere]);
    assert_eq!(other.manifest("copy", "3"), registry.manifest("told", "3"));
    assert_eq!(other.manifest("copy", &told.to_string()).unwrap(), said_bytes);
    let blob = artifact["layers"][0]["digest"].as_str().unwrap();
    assert!(other.blob("copy", &blob.parse().unwrap()).is_some());
    let archive = machine.path().join("told.tar");
    machine.ok(&["save", "-o", archive.to_str().unwrap(), &elsewhere]);
    let members = Command::new("tar").arg("tf").arg(&archive).output().unwrap().stdout;
    assert!(String::from_utf8(members).unwrap().contains(&blob["sha256:".len()..]));
    // Where a part of it is gone from the registry, its images are had all the same.
    let gone = told.to_string();
    registry
        .lie(move |seen| (seen.path.ends_with(&gone) || seen.path.contains("/referrers/")).then(|| Reply::status(404)));
    machine.ok(&["rmi", "-f", &name("3"), &elsewhere]);
    machine.ok(&["pull", "--all-platforms", &name("3")]);
    machine.finish();
}

/// Images from files: a name, a digest, a descriptor that says more than the registry knows.
#[test]
fn an_index_is_made_of_what_files_say() {
    let Some(machine) = Machine::new() else { return };
    let registry = Registry::start();
    let name = |tag: &str| format!("{}/parts:{tag}", registry.host());
    make(&machine, &name("1"));
    machine.ok(&["push", "-q", &name("1")]);
    machine.ok(&["tag", "busybox", &name("2")]);
    machine.ok(&["push", "-q", &name("2")]);
    let project = machine.project("files");
    let descriptor = serde_json::json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&machine, &name("1")), "size": 1,
        "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}, "annotations": {"team": "ours"},
    });
    project.write("one.json", descriptor.to_string()).write("two", format!("{}\n", digest(&machine, &name("2"))));
    let create = ["buildx", "imagetools", "create", "-f", "one.json", "--file", "two", "-t"];
    project.ok(&[&create[..], &[name("both").as_str()]].concat());
    let index = parsed(registry.manifest("parts", "both"));
    let children = index["manifests"].as_array().unwrap();
    assert_eq!(
        (&children[0]["platform"]["variant"], &children[0]["annotations"]["team"]),
        (&"v7".into(), &"ours".into())
    );
    assert_eq!(children[1]["digest"], digest(&machine, &name("2")));
    assert_ne!(children[0]["size"], 1, "what the registry has counts");
    project.write("one.json", "{\"digest\": 1}");
    assert_eq!(project.fails(&[&create[..], &[name("both").as_str()]].concat()).code(), "cli/invalid-value");
    machine.finish();
}

/// Layers are unpacked before the registry's word on them is proved: what it lied about leaves nothing behind, and the lie is
/// what is told.
#[test]
fn what_a_registry_lies_about_leaves_nothing() {
    let Some(machine) = Machine::new() else { return };
    let registry = Registry::start();
    let name = format!("{}/app:1", registry.host());
    make(&machine, &name);
    machine.ok(&["push", "-q", &name]);
    machine.finish();

    let Some(machine) = Machine::new() else { return };
    let manifest = parsed(registry.manifest("app", "1"));
    let path = |blob: &serde_json::Value| format!("/v2/app/blobs/{}", blob["digest"].as_str().unwrap());
    let blob = |at: &serde_json::Value| registry.blob("app", &at["digest"].as_str().unwrap().parse().unwrap()).unwrap();
    let layer = &manifest["layers"][1];
    let content = blob(layer);
    let mut flipped = content.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let left = || {
        let names = |folder: &str| std::fs::read_dir(machine.data().join(folder)).unwrap().count();
        (names("snapshots/new"), names("content/ingest"), names("images/names"))
    };
    let before = left();
    let lies = [
        ("other bytes", Reply::body(200, flipped), "registry/digest-mismatch"),
        ("no archive", Reply::body(200, vec![b'x'; content.len()]), "registry/digest-mismatch"),
        ("shorter", Reply::body(200, &content[..content.len() - 1]), "registry/digest-mismatch"),
    ];
    for (what, reply, code) in lies {
        let path = path(layer);
        registry.lie(move |seen| (seen.path == path).then(|| reply.clone()));
        assert_eq!(machine.fails(&["pull", &name]).code(), code, "{what}");
        assert_eq!(left(), before, "{what}");
    }
    // Whole and as its digest says, but not what the configuration says: a few bytes that unpack to 64 MB are no layer.
    registry.lie(|_| None);
    let bomb = {
        let mut encoder = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = encoder.stdin.take().unwrap();
        std::thread::spawn(move || (0..64).for_each(|_| drop(input.write_all(&[0; 1 << 20]))));
        encoder.wait_with_output().unwrap().stdout
    };
    let digest = registry.put_blob("app", &bomb);
    let mut forged = manifest.clone();
    forged["layers"][1]["digest"] = digest.to_string().into();
    forged["layers"][1]["size"] = bomb.len().into();
    let kind = forged["mediaType"].as_str().unwrap().to_owned();
    registry.put_manifest("app", "bomb", &kind, forged.to_string().as_bytes());
    let failure = machine.fails(&["pull", &name.replace(":1", ":bomb")]);
    assert_eq!(failure.code(), "store/digest-mismatch", "{}", failure.text());
    assert_eq!(left(), before);
    machine.ok(&["pull", "-q", &name]);
    assert_eq!(machine.ok(&["run", "--rm", "--network", "none", &name]), "1000 /numbers");
    let failure = machine.fails(&["pull", &name.replace(":1", ":bomb")]);
    assert_eq!(failure.code(), "store/digest-mismatch", "also where the layer itself is here: {}", failure.text());
    machine.finish();
}

/// Names by convention, of one flag (E6).
#[test]
fn the_commit_names_the_image() {
    if Command::new("git").arg("--version").output().is_err() {
        println!("skipped: git is not on the path");
        return;
    }
    let Some(machine) = Machine::new() else { return };
    let registry = Registry::start();
    let project = machine.project("shop");
    project.write("Dockerfile", "FROM busybox\nCMD [\"true\"]\n");
    let name = format!("{}/shop", registry.host());
    let build = ["build", "-q", "--push", "--tags-from", "git", "-t", name.as_str(), "."];
    assert_eq!(project.fails(&build).code(), "engine/no-commit");
    let git = |line: &str| {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]);
        let output = command.args(line.split(' ')).current_dir(machine.path().join("shop")).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git("init -q");
    git("add .");
    git("commit -q -m first");
    git("tag v1.2.3");
    project.ok(&build);
    let commit = format!("sha-{}", git("rev-parse --short=12 HEAD"));
    for tag in [commit.as_str(), "1.2.3", "1.2", "1", "latest", "main"] {
        assert!(registry.manifest("shop", tag).is_some(), "{tag}");
    }
    project.write("Dockerfile", "FROM busybox\nCMD [\"false\"]\n");
    project.ok(&build);
    assert!(registry.manifest("shop", &format!("{commit}-dirty")).is_some());
    assert_ne!(registry.manifest("shop", "latest"), registry.manifest("shop", &format!("{commit}-dirty")));
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
    // Layer by layer, by a program that is not ours.
    let manifest: serde_json::Value =
        serde_json::from_str(&skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{name}")]))
            .unwrap();
    let inspected = machine.json(&["image", "inspect", &name]);
    for (at, layer) in manifest["layers"].as_array().unwrap().iter().enumerate() {
        let hex = layer["digest"].as_str().unwrap().split_once(':').unwrap().1;
        let blob = data.join(format!("docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]));
        let plain = Command::new("gzip").args(["-d", "-c"]).stdin(std::fs::File::open(blob).unwrap()).output().unwrap();
        assert!(plain.status.success());
        assert_eq!(sha256(&machine, &plain.stdout), inspected[0]["RootFS"]["Layers"][at]);
    }
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
    }
    // One configuration under several manifests: whichever name is pushed, its digest stays.
    for (format, compression) in [("oci", "gzip"), ("oci", "zstd"), ("v2s2", "gzip")] {
        let copy = format!("{host}/{format}/{compression}:1");
        let back = format!("{host}/back/{format}-{compression}:1");
        machine.ok(&["tag", &copy, &back]);
        machine.ok(&["push", "-q", &back]);
        assert_eq!(theirs(&back), theirs(&copy), "{back}");
    }
    // An index of both, and the whole of it to another repository.
    let (both, moved) = (format!("{host}/team/both:1"), format!("{host}/moved/both:1"));
    let zstd = format!("{host}/oci/zstd:1");
    machine.ok(&["manifest", "create", &both, &name, &zstd]);
    machine.ok(&["manifest", "annotate", &both, &zstd, "--arch", "arm64"]);
    assert_eq!(machine.ok(&["manifest", "push", "--purge", &both]), theirs(&both));
    machine.ok(&["buildx", "imagetools", "create", "-t", &moved, &both]);
    assert_eq!(theirs(&moved), theirs(&both));
    skopeo(&["copy", "--all", "--src-tls-verify=false", &format!("docker://{moved}"), "dir:both"]);
    // On an empty root everything comes back as it went, and goes on as it came.
    let Some(fresh) = Machine::new() else { return };
    for (name, at) in [(&name, "team"), (&zstd, "zstd"), (&both, "both")] {
        fresh.ok(&["pull", "-q", "--all-platforms", name]);
        let parts = |machine: &Machine| {
            let image = &machine.json(&["image", "inspect", name])[0];
            (image["Id"].clone(), image["RootFS"].clone(), image["Config"].clone())
        };
        if *name != both {
            assert_eq!(parts(&fresh), parts(&machine), "{name}");
        }
        let on = format!("{host}/on/{at}:1");
        fresh.ok(&["tag", name, &on]);
        fresh.ok(&["push", "-q", &on]);
        assert_eq!(theirs(&on), theirs(name), "{name}");
    }
    fresh.finish();
    machine.finish();
}

/// `sha256:…` of bytes, by the host's own program.
fn sha256(machine: &Machine, bytes: &[u8]) -> String {
    let path = machine.path().join("raw");
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    format!("sha256:{}", String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap())
}
