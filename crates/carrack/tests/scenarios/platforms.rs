//! Builds for other platforms than the machine's (D8).

use carrack_testkit::registry::Registry;
use serde_json::Value;

use crate::machine::{Machine, Project};

/// The machine's architecture, and another.
fn architectures() -> (&'static str, &'static str) {
    if cfg!(target_arch = "aarch64") { ("arm64", "amd64") } else { ("amd64", "arm64") }
}

const CROSS: &str = "FROM --platform=$BUILDPLATFORM busybox AS build\nARG TARGETARCH\nRUN echo \"for $TARGETARCH\" > /out\n\
                     FROM scratch\nCOPY --from=build /out /out\n";

fn records(project: &Project<'_>) -> usize {
    std::fs::read_dir(project.machine.data().join("images/records")).unwrap().count()
}

#[test]
fn several_platforms_give_an_index() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("index");
    let (own, other) = architectures();
    let list = format!("linux/{other},linux/{own},linux/arm/v7");
    project.write("Dockerfile", CROSS);
    let built = project.json(&[
        "build",
        "-t",
        "app",
        "--platform",
        &list,
        "--iidfile",
        "id",
        "-o",
        "type=image",
        "-o",
        "type=oci,dest=app.tar",
        ".",
    ]);
    assert_eq!(built["platforms"].as_array().unwrap().len(), 3, "{built}");

    let shown = &project.json(&["image", "inspect", "app"])[0];
    assert_eq!(shown["Architecture"], own, "the name means the machine's own");
    assert_eq!(shown["Descriptor"]["digest"], built["id"]);
    assert_eq!(std::fs::read_to_string(project.dir.join("id")).unwrap(), built["id"].as_str().unwrap());
    let platforms: Vec<&Value> = shown["Manifests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["ImageData"]["Platform"]["architecture"])
        .collect();
    assert_eq!(platforms, [other, own, "arm"]);
    let listed = project.json(&["images"]);
    let names: Vec<&str> = listed.as_array().unwrap().iter().map(|one| one["repository"].as_str().unwrap()).collect();
    assert_eq!(names.iter().filter(|name| **name == "<none>").count(), 0, "{listed}");

    // The archive holds the index and all that it names.
    std::fs::create_dir(project.dir.join("layout")).unwrap();
    let tar = ["-xf", "app.tar", "-C", "layout"];
    assert!(std::process::Command::new("tar").args(tar).current_dir(&project.dir).status().unwrap().success());
    let read = |path: &str| -> Value {
        serde_json::from_slice(&std::fs::read(project.dir.join("layout").join(path)).unwrap()).unwrap()
    };
    let blob = |digest: &Value| format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"));
    let index = read(&blob(&read("index.json")["manifests"][0]["digest"]));
    for manifest in index["manifests"].as_array().unwrap() {
        let config = read(&blob(&read(&blob(&manifest["digest"]))["config"]["digest"]));
        assert_eq!(config["architecture"], manifest["platform"]["architecture"]);
    }
    // Another build takes the platform that it wants of it, and the second build is the same index.
    project.write("Second", "FROM app\nCOPY Second /\n");
    let foreign =
        project.json(&["build", "-f", "Second", "--platform", &format!("linux/{other}"), "-t", "foreign", "."]);
    assert_eq!(project.json(&["image", "inspect", "foreign"])[0]["Architecture"], other, "{foreign}");
    let again = project.json(&["build", "-t", "app", "--platform", &list, "."]);
    assert_eq!(again["id"], built["id"]);

    // With its name everything goes.
    project.ok(&["rmi", "foreign"]);
    project.ok(&["tag", "app", "kept"]);
    project.ok(&["rmi", "app"]);
    assert_eq!(project.json(&["image", "inspect", "kept"])[0]["Descriptor"]["digest"], built["id"]);
    project.ok(&["rmi", "kept"]);
    assert_eq!(records(&project), 1, "the base image only");
    machine.finish();
}

/// Explanations, forecasts and checks are of every platform, and say which (D7).
#[test]
fn each_platform_is_told() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("told");
    let (own, other) = architectures();
    project.write("Dockerfile", CROSS).write("Checked", CROSS.replace("AS build", "as build"));
    let list = format!("--platform=linux/{own},linux/{other}");
    let one = format!("--platform=linux/{other}");
    let steps = |built: &Value| -> Vec<(String, bool)> {
        let steps = built["steps"].as_array().unwrap().iter();
        steps.map(|step| (step["platform"].as_str().unwrap_or("?").to_owned(), step["cached"] == true)).collect()
    };
    project.ok(&["build", &one, "."]);
    let (own, other) = (format!("linux/{own}"), format!("linux/{other}"));
    let foretold = steps(&project.json(&["build", "--dry-run", &list, "."]));
    let of = |name: &str, cached: bool| (name.to_owned(), cached);
    assert_eq!(foretold, [of(&own, false), of(&own, false), of(&other, true), of(&other, true)]);
    let text = project.ok(&["build", "--dry-run", &list, "."]);
    assert!(text.contains(&format!("missed {own} [build 2/2] RUN")), "{text}");
    assert!(text.contains(&format!("cached {other} [build 2/2] RUN")), "{text}");
    // One platform has no need of its name.
    assert_eq!(steps(&project.json(&["build", "--dry-run", &one, "."])), [of("?", true), of("?", true)]);

    let built = project.carrack(&["build", "--progress=plain", "--explain", &list, "."]);
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(said.contains(&format!("missed {own} [build 2/2] RUN")), "{said}");
    assert!(said.contains(&format!("ARG TARGETARCH is `{}`", own.replace("linux/", ""))), "{said}");
    assert!(said.contains(&format!("cached {other} [build 2/2] RUN")), "{said}");

    // What is wrong for all is told once; what is for one names it.
    let checked = project.carrack(&["build", "--check", "-f", "Checked", &list, "."]);
    let said = String::from_utf8_lossy(&checked.stderr);
    assert_eq!((checked.status.code(), said.matches("warning[check/FromAsCasing]").count()), (Some(1), 1), "{said}");
    assert!(!said.contains("building for"), "{said}");
    project.write("Checked", format!("{CROSS}FROM --platform=$TARGETPLATFORM busybox\nENV A=$UNKNOWN\n"));
    let checked = project.carrack(&["build", "--check", "-f", "Checked", &list, "."]);
    let said = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(said.matches(&format!("building for {own}")).count(), 1, "{said}");
    machine.finish();
}

#[test]
fn what_is_not_an_image_of_the_store_leaves_none() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("folders");
    let (own, other) = architectures();
    project.write("Dockerfile", CROSS);
    let list = format!("linux/{own},linux/{other}");
    project.ok(&["build", "--platform", &list, "-o", "out", "."]);
    for architecture in [own, other] {
        let text = std::fs::read_to_string(project.dir.join(format!("out/linux_{architecture}/out"))).unwrap();
        assert_eq!(text, format!("for {architecture}\n"));
    }
    assert_eq!(records(&project), 1, "the base image only");
    let refused = project.fails(&["build", "--platform", &list, "-o", "type=tar,dest=x.tar", "."]);
    assert_eq!(refused.code(), "cli/invalid-value");
    assert!(!project.dir.join("x.tar").exists());
    machine.finish();
}

#[test]
fn a_foreign_program_is_told_with_its_step() {
    let Some(machine) = Machine::new() else { return };
    let handlers = std::fs::read_dir("/proc/sys/fs/binfmt_misc").map_or(0, Iterator::count);
    if handlers > 2 {
        return eprintln!("skipped: the kernel has emulators");
    }
    let project = machine.project("foreign");
    let (_, other) = architectures();
    project.write("file", "1").write("Dockerfile", "FROM scratch\nCOPY file /\nRUN [\"/file\"]\n");
    let refused = project.fails(&["build", "--platform", &format!("linux/{other}"), "."]);
    assert_eq!(refused.place(), ("build/foreign-platform".into(), "Dockerfile:3:1".into()));
    assert!(refused.hints().contains("BUILDPLATFORM"), "{}", refused.hints());
    project.write("Dockerfile", "FROM scratch\nCOPY file /\n");
    project.ok(&["build", "--platform", &format!("linux/{other}"), "."]);
    machine.finish();
}

#[test]
fn a_project_builds_for_several_platforms() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("several");
    let (own, other) = architectures();
    project.write("Dockerfile", CROSS).write(
        "compose.yaml",
        format!(
            "services:\n  app:\n    image: app\n    build: {{context: ., platforms: [linux/{other}, linux/{own}]}}\n"
        ),
    );
    project.ok(&["compose", "build"]);
    let shown = &project.json(&["image", "inspect", "app"])[0];
    assert_eq!((&shown["Architecture"], shown["Manifests"].as_array().unwrap().len()), (&own.into(), 2));
    // A container of the other platform is made of what is here: no registry is asked.
    project.ok(&["create", "--name", "foreign", "--platform", &format!("linux/{other}"), "app", "true"]);
    let image = project.ok(&["inspect", "-f", "{{.Image}}", "foreign"]);
    assert_ne!(image, shown["Id"].as_str().unwrap());
    assert_eq!(project.json(&["image", "inspect", &image])[0]["Architecture"], other);
    project.ok(&["rm", "foreign"]);
    machine.finish();
}

/// Puts an image for several platforms into a registry.
fn serve(project: &Project<'_>, registry: &Registry, platforms: &str) {
    project.write("Base", "FROM scratch\nARG TARGETARCH\nENV ARCH=$TARGETARCH\nCOPY Base /\n");
    project.ok(&["build", "-f", "Base", "--platform", platforms, "-o", "type=oci,dest=base.tar", "."]);
    std::fs::create_dir(project.dir.join("served")).unwrap();
    let tar = ["-xf", "base.tar", "-C", "served"];
    assert!(std::process::Command::new("tar").args(tar).current_dir(&project.dir).status().unwrap().success());
    let read = |path: &str| std::fs::read(project.dir.join("served").join(path)).unwrap();
    let blob = |digest: &Value| read(&format!("blobs/{}", digest.as_str().unwrap().replace(':', "/")));
    let parse = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
    let index = blob(&parse(&read("index.json"))["manifests"][0]["digest"]);
    for descriptor in parse(&index)["manifests"].as_array().unwrap() {
        let manifest = blob(&descriptor["digest"]);
        let parsed = parse(&manifest);
        for part in parsed["layers"].as_array().unwrap().iter().chain([&parsed["config"]]) {
            registry.put_blob("team/base", &blob(&part["digest"]));
        }
        let digest = descriptor["digest"].as_str().unwrap();
        registry.put_manifest("team/base", digest, descriptor["mediaType"].as_str().unwrap(), &manifest);
    }
    registry.put_manifest("team/base", "1", "application/vnd.oci.image.index.v1+json", &index);
}

#[test]
fn a_base_image_for_another_platform_leaves_the_name_to_the_machines_own() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("bases");
    let (own, other) = architectures();
    let registry = Registry::start();
    let platforms = format!("linux/{own},linux/{other}");
    serve(&project, &registry, &platforms);
    let base = format!("{}/team/base:1", registry.host());
    project.write("Dockerfile", format!("FROM {base}\nCOPY Base /again\nENV SEEN=$ARCH\n"));
    let built_for = |architecture: &str, flags: &[&str]| {
        let platform = format!("linux/{architecture}");
        project.ok(&[&["build", "-t", "app", "--platform", &platform], flags, &["."]].concat());
        let image = project.json(&["image", "inspect", "app"])[0].clone();
        assert_eq!(image["Architecture"], architecture);
        let environment = image["Config"]["Env"].to_string();
        assert!(environment.contains(&format!("SEEN={architecture}")), "{environment}");
    };
    let base_is = || project.json(&["image", "inspect", &base])[0]["Architecture"].as_str().unwrap().to_owned();
    built_for(other, &[]);
    built_for(own, &[]);
    assert_eq!(base_is(), own, "whichever came first");
    // Both are here now, and nobody is asked again.
    registry.take_seen();
    built_for(other, &[]);
    built_for(own, &[]);
    assert_eq!(registry.take_seen().len(), 0);
    built_for(other, &["--pull"]);
    assert_eq!(base_is(), own);
    // At once, and from nothing.
    project.ok(&["rmi", "-f", &base, "app"]);
    let index = project.json(&["build", "-t", "both", "--platform", &platforms, "."]);
    assert_eq!(index["platforms"].as_array().unwrap().len(), 2);
    machine.finish();
}

/// Each platform's build takes what a layout has for it (D8 D9).
#[test]
fn a_layout_serves_every_platform() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("layouts");
    let (own, other) = architectures();
    let list = format!("linux/{own},linux/{other}");
    project.write("Dockerfile", CROSS);
    project.ok(&["build", "--platform", &list, "-o", "type=oci,dest=app.tar", "."]);
    std::fs::create_dir(project.dir.join("layout")).unwrap();
    let tar = ["-xf", "app.tar", "-C", "layout"];
    assert!(std::process::Command::new("tar").args(tar).current_dir(&project.dir).status().unwrap().success());
    project.write("Second", "FROM lay\nCOPY --from=lay /out /again\n");
    let context = ["-f", "Second", "--build-context", "lay=oci-layout://layout", "--platform", &list];
    assert_eq!(project.code(&[&["build", "--check"], &context[..], &["."]].concat()), 0);
    project.ok(&[&["build", "-o", "out"], &context[..], &["."]].concat());
    let json = format!(
        r#"{{"target":{{"default":{{"dockerfile":"Second","contexts":{{"lay":"oci-layout://layout"}},"output":["baked"],
           "platforms":["linux/{other}","linux/{own}"]}}}}}}"#
    );
    project.write("docker-bake.json", &json).ok(&["bake"]);
    for folder in ["out", "baked"] {
        for architecture in [own, other] {
            let read = |file: &str| {
                std::fs::read_to_string(project.dir.join(format!("{folder}/linux_{architecture}/{file}"))).unwrap()
            };
            assert_eq!(
                [read("out"), read("again")],
                [format!("for {architecture}\n"), format!("for {architecture}\n")]
            );
        }
    }
    let missing = format!("linux/{own},linux/s390x");
    let context = ["-f", "Second", "--build-context", "lay=oci-layout://layout", "--platform", &missing];
    let refused = project.fails(&[&["build"], &context[..], &["."]].concat());
    assert!(refused.diagnostics[0].to_string().contains("s390x"), "{:?}", refused.diagnostics);
    machine.finish();
}
