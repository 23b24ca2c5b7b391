//! `bake`: targets of bake files and Compose files (D11).

use serde_json::Value;

use crate::machine::{Machine, Project};

const FILE: &str = r#"
variable "TAG" { default = "latest" }
group "default" { targets = ["app", "tools"] }
target "base" {
  dockerfile-inline = <<E
FROM busybox
RUN cat /proc/sys/kernel/random/uuid > /id
E
}
target "app" {
  context           = "app"
  contexts          = { base = "target:base" }
  tags              = ["app:${TAG}"]
  args              = { GREETING = "hello" }
  dockerfile-inline = "FROM base\nARG GREETING\nCOPY file /file\nRUN echo $GREETING > /greeting\n"
}
target "tools" {
  contexts          = { base = "target:base" }
  tags              = ["tools:${TAG}"]
  dockerfile-inline = "FROM base\nRUN cp /id /own\n"
}
target "files" {
  dockerfile-inline = "FROM scratch\nCOPY app/file /\n"
  platforms         = ["linux/amd64", "linux/arm64"]
  tags              = ["files:${TAG}"]
}
"#;

fn project(machine: &Machine) -> Project<'_> {
    let project = machine.project("bake");
    project.write("docker-bake.hcl", FILE).write("app/file", "of the context");
    project
}

#[test]
fn targets_are_built_with_what_they_share_once() {
    let Some(machine) = Machine::new() else { return };
    let project = project(&machine);
    let built = project.json(&["bake", "--metadata-file", "meta.json"]);
    assert_eq!(built.as_object().unwrap().keys().collect::<Vec<_>>(), ["app", "tools"]);
    let read = |image: &str, file: &str| project.ok(&["run", "--rm", image, "cat", file]);
    assert_eq!(read("app", "/file") + &read("app", "/greeting"), "of the contexthello");
    assert_eq!(read("app", "/id"), read("tools", "/own"), "one step for both");
    let metadata: Value = serde_json::from_slice(&std::fs::read(project.dir.join("meta.json")).unwrap()).unwrap();
    assert_eq!(metadata["app"]["containerimage.config.digest"], built["app"]["id"]);
    let listed = project.json(&["images"]);
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|one| one["repository"].as_str().unwrap()).collect();
    assert!(!names.contains(&"<none>"), "a target that nobody asked for leaves no image: {names:?}");

    // From the environment, by flags, and by Docker's other name.
    let mut command =
        project.command(&["buildx", "bake", "app", "files", "--set", "app.args.GREETING=bye", "--no-cache"]);
    assert!(command.env("TAG", "v1").output().unwrap().status.success());
    assert_eq!(read("app:v1", "/greeting"), "bye");
    assert_ne!(read("app:v1", "/id"), read("app", "/id"));
    let index = &project.json(&["image", "inspect", "files:v1"])[0]["Manifests"];
    assert_eq!(index.as_array().unwrap().len(), 2);
    machine.finish();
}

const MATRIX: &str = r#"
function "tag" {
  params = [version]
  result = ["matrix:${version}", version == "two" ? "matrix:latest" : ""]
}
target "all" {
  name              = "all-${version}"
  matrix            = { version = ["one", "two"] }
  args              = { VERSION = upper(version) }
  tags              = tag(version)
  attest            = ["type=sbom", "type=provenance,mode=max"]
  dockerfile-inline = "FROM busybox\nARG VERSION\nRUN echo $VERSION > /version\n"
}
target "both" {
  dockerfile-inline = "FROM scratch\nCOPY app/file /\n"
  platforms         = ["linux/amd64", "linux/arm64"]
  tags              = ["both"]
  args              = { CHOSEN = "for this build" }
  attest            = ["type=sbom", "type=provenance"]
}
"#;

/// A matrix is as many images, each with what is said of it (D11, X17).
#[test]
fn a_matrix_is_built_and_attested() {
    let Some(machine) = Machine::new() else { return };
    let project = project(&machine);
    project.write("docker-bake.hcl", MATRIX);
    let built = project.json(&["bake", "all", "both"]);
    assert_eq!(built.as_object().unwrap().keys().collect::<Vec<_>>(), ["all-one", "all-two", "both"]);
    let read = |image: &str| project.ok(&["run", "--rm", image, "cat", "/version"]);
    assert_eq!((read("matrix:one"), read("matrix:latest")), ("ONE".into(), "TWO".into()));
    let predicate = |image: &str| project.json(&["attestation", "inspect", image])["predicate"].clone();
    let said = predicate("matrix:two");
    let definition = &said["buildDefinition"];
    assert_eq!(definition["externalParameters"]["request"]["args"]["build-arg:VERSION"], "TWO");
    assert!(definition["resolvedDependencies"][0]["uri"].as_str().unwrap().starts_with("pkg:docker/busybox"));
    for image in ["matrix:one", "both"] {
        let types = project.json(&["attestation", "ls", image]);
        let types: Vec<&str> = types.as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["sbom", "provenance"], "{image}");
    }
    // Each platform's image has its own.
    let subject = |platform: &str| {
        let statement = project.json(&["attestation", "inspect", "--platform", platform, "both"]);
        statement["subject"][0]["digest"]["sha256"].as_str().unwrap().to_owned()
    };
    let manifests = &project.json(&["image", "inspect", "both"])[0]["Manifests"];
    let mut images = std::collections::BTreeSet::new();
    for (index, platform) in ["linux/amd64", "linux/arm64"].into_iter().enumerate() {
        let digest = manifests[index]["Descriptor"]["digest"].as_str().unwrap();
        assert_eq!(digest, format!("sha256:{}", subject(platform)), "{platform}");
        let bill = project.json(&["sbom", "--platform", platform, "both"]);
        images.insert(bill["image"].as_str().unwrap().to_owned());
    }
    assert_eq!(images.len(), 2);
    let missing = project.fails(&["attestation", "ls", "--platform", "linux/s390x", "both"]);
    assert_eq!(missing.code(), "registry/no-such-platform");
    let least = &predicate("both")["buildDefinition"]["externalParameters"]["request"]["args"];
    assert!(least["platform"].is_string() && least["build-arg:CHOSEN"].is_null(), "{least}");
    machine.finish();
}

#[test]
fn files_are_found_printed_and_listed() {
    let Some(machine) = Machine::new() else { return };
    let project = project(&machine);
    let printed: Value = serde_json::from_str(&project.ok(&["bake", "--print", "app"])).unwrap();
    assert_eq!(printed["target"]["app"]["tags"], serde_json::json!(["app:latest"]));
    assert_eq!(printed["target"]["base"]["output"][0]["type"], "cacheonly");
    // Overrides and Compose files are read beside.
    project
        .write("docker-bake.override.json", r#"{"target": {"app": {"tags": ["other:1"]}}}"#)
        .write("compose.yaml", "services:\n  web:\n    image: web\n    build: {context: ./app, args: {A: b}}\n");
    let printed: Value = serde_json::from_str(&project.ok(&["bake", "--print", "app", "web"])).unwrap();
    assert_eq!(printed["target"]["app"]["tags"], serde_json::json!(["other:1"]));
    assert_eq!(printed["target"]["web"]["args"]["A"], "b");
    let listed = project.ok(&["bake", "--list"]);
    assert!(listed.contains("web") && listed.contains("app, tools"), "{listed}");
    assert!(project.ok(&["bake", "--list=variables"]).contains("latest"));
    project.write("shown.hcl", "target \"_base\" {}\ntarget \"a\" {}\ngroup \"g\" {\n  targets = [\"a\"]\n}\n");
    let shown = project.ok(&["bake", "-f", "shown.hcl", "--list", "type=targets,format=json"]);
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown, serde_json::json!([{ "name": "a" }, { "name": "g", "group": true, "description": "a" }]));
    assert!(project.ok(&["bake", "--list", "variables"]).contains("latest"));
    assert_eq!(project.fails(&["bake", "--list=targets,format=xml"]).code(), "cli/invalid-value");

    let place = |arguments: &[&str]| project.fails(arguments).place();
    project.write("wrong.hcl", "target \"x\" {\n  tags = [uper(\"a\")]\n}\n");
    assert_eq!(place(&["bake", "-f", "wrong.hcl", "x"]), ("bake/unknown-function".into(), "wrong.hcl:2:11".into()));
    assert_eq!(project.fails(&["bake", "nobody"]).code(), "bake/unknown-target");
    assert_eq!(project.fails(&["bake", "--set", "app.nothing=1"]).code(), "bake/invalid-override");
    assert_eq!(project.fails(&["bake", "https://example.com/repository.git"]).code(), "cli/not-yet");
    let empty = machine.project("empty");
    assert_eq!(empty.fails(&["bake"]).code(), "cli/no-project");
    machine.finish();
}

#[test]
fn checks_and_failures_name_their_target() {
    let Some(machine) = Machine::new() else { return };
    let project = project(&machine);
    project.write(
        "checked.hcl",
        "target \"x\" {\n  dockerfile-inline = \"from busybox AS a\\nRUN true\\n\"\n}\ntarget \"y\" {\n  context = \"nowhere\"\n}\n\
         target \"z\" {\n  dockerfile-inline = \"FROM busybox\\nRUN false\\n\"\n}\n",
    );
    let checked = project.carrack(&["bake", "-f", "checked.hcl", "--check", "x"]);
    assert_eq!(checked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&checked.stderr).contains("ConsistentInstructionCasing"));
    assert!(project.fails(&["bake", "-f", "checked.hcl", "y"]).text().contains("nowhere"));
    let failed = project.fails(&["bake", "-f", "checked.hcl", "z"]);
    assert_eq!(failed.place().1, "z (dockerfile-inline):2:1");
    machine.finish();
}

#[test]
fn a_dockerfile_is_asked_instead_of_built() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("asked");
    project.write(
        "Dockerfile",
        "# V the version\nARG V=1\nfrom nowhere:$V AS base\n# app runs it\nFROM base AS app\nRUN --mount=type=secret,id=tok true\n",
    );
    let targets: Value = serde_json::from_str(&project.ok(&["build", "--call=targets,format=json", "."])).unwrap();
    assert_eq!(
        targets["targets"][1],
        serde_json::json!({"name": "app", "default": true, "description": "runs it", "base": "base"})
    );
    assert!(project.ok(&["build", "--call=targets", "."]).contains("app (default)"));
    let outline = project.json(&["build", "--call=outline", "--build-arg", "V=2", "."]);
    assert_eq!(outline["args"][0], serde_json::json!({"name": "V", "description": "the version", "value": "2"}));
    assert_eq!(outline["secrets"][0]["name"], "tok");
    assert_eq!(project.code(&["build", "--call=check", "."]), 1);
    assert_eq!(project.code(&["build", "--call=check,ignorestatus", "."]), 0);
    let found: Value = serde_json::from_str(&String::from_utf8_lossy(
        &project.carrack(&["build", "--call=check,format=json", "."]).stdout,
    ))
    .unwrap();
    assert_eq!(found["findings"][0]["ruleName"], "ConsistentInstructionCasing");
    assert_eq!(project.fails(&["build", "--call=nothing", "."]).code(), "cli/invalid-value");
    assert_eq!(project.fails(&["build", "--call=outline", "--target", "ap", "."]).code(), "build/unknown-stage");
    project.write("docker-bake.hcl", "target \"default\" {\n  call = \"outline\"\n}\n");
    assert!(project.ok(&["bake"]).contains("BUILD ARG"));
    assert_eq!(project.code(&["bake", "--check"]), 1);
    machine.finish();
}
