//! What is said of images beside them (X17).

use std::path::Path;

use carrack_testkit::registry::{Registry, Reply};
use serde_json::{Value, json};

use crate::machine::{Machine, Project};

const STATUS: &str = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9\n\n";
const MORE: &str = "Package: curl\nStatus: install ok installed\nArchitecture: amd64\nVersion: 7.88.1-10\n\n";
const DOCKERFILE: &str = "FROM busybox\nCOPY status /var/lib/dpkg/status\nCOPY app /app\n\
                          RUN cat /app/more >> /var/lib/dpkg/status && rm -r /app/node_modules/gone\nCMD [\"true\"]\n";

fn document(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn each_package_of_an_image_names_the_layer_and_instruction_that_brought_it() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("bill");
    project.write("Dockerfile", DOCKERFILE).write("status", STATUS).write("app/more", MORE);
    for name in ["kept", "gone"] {
        let file = format!("app/node_modules/{name}/package.json");
        project.write(&file, json!({ "name": name, "version": "1.0.0" }).to_string());
    }
    let id = project.json(&["build", "-t", "bill", "."])["id"].clone();
    let layers = project.json(&["image", "inspect", "bill"])[0]["RootFS"]["Layers"].clone();
    let layers = layers.as_array().unwrap();
    let [.., status, app, run] = layers.as_slice() else { panic!("{layers:?}") };

    let found = project.json(&["sbom", "bill"]);
    assert_eq!(found["image"], id);
    let brought: Vec<_> =
        found["packages"].as_array().unwrap().iter().map(|it| (it["purl"].as_str().unwrap(), &it["layer"])).collect();
    let wanted = [
        ("pkg:deb/debian/curl@7.88.1-10?arch=amd64", run),
        ("pkg:deb/debian/libc6@2.36-9?arch=amd64", status),
        ("pkg:npm/kept@1.0.0", app),
    ];
    assert_eq!(brought, wanted);
    let instruction = found["packages"][2]["instruction"].as_str().unwrap();
    assert!(instruction.starts_with("COPY app /app"), "{instruction}");
    let table = project.ok(&["sbom", "bill"]);
    let [header, curl, ..] = table.lines().collect::<Vec<_>>()[..] else { panic!("{table}") };
    assert!(header.starts_with("NAME") && curl.starts_with("curl") && curl.contains("RUN /bin/sh -c cat"), "{table}");

    // Documents are files too, the same each time.
    for (format, key, value) in [("spdx-json", "spdxVersion", "SPDX-2.3"), ("cyclonedx-json", "specVersion", "1.6")] {
        project.ok(&["sbom", "bill", "--format", format, "--output", "bill.json"]);
        let written = document(&project.dir.join("bill.json"));
        assert_eq!((&written[key], &project.json(&["sbom", "bill", "--format", format])), (&json!(value), &written));
    }

    // A database that can't be read is no empty one.
    project.write("status", "").write("app/node_modules/kept/package.json", "{");
    project.ok(&["build", "-t", "bill", "."]);
    let answer = project.carrack(&["sbom", "bill"]);
    let warned = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(
        answer.status.success()
            && warned.contains("build/sbom-incomplete")
            && warned.contains("/app/node_modules/kept"),
        "{warned}"
    );
    assert_eq!(project.fails(&["sbom", "nothing"]).code(), "store/image-not-found");
    assert_eq!(project.fails(&["sbom", "bill", "--output", "none/bill.json"]).code(), "cli/unreadable-file");
    machine.finish();
}

/// What was copied from a stage is told with the instruction that brought it there, however many stages it went through, in
/// what is shown now and in what was attested (X17).
#[test]
fn a_package_that_was_copied_names_what_brought_it_into_its_stage() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("stages");
    let package = |name: &str| {
        let folder = format!("/out/node_modules/{name}");
        format!("mkdir -p {folder} && echo '{{\"name\": \"{name}\", \"version\": \"1.0.0\"}}' > {folder}/package.json")
    };
    let dockerfile = format!(
        "FROM busybox AS one\nRUN {}\nFROM busybox AS two\nCOPY --from=one /out /out\nRUN {}\n\
         FROM busybox\nCOPY --from=two /out/ /app/\nRUN {}\nCOPY --link --from=two /out/ /linked/\n",
        package("first"),
        package("second"),
        package("own")
    );
    project.write("Dockerfile", dockerfile);
    let failure = project.fails(&["build", "-t", "stages", "--sbom", "true", "."]);
    assert!(failure.code() == "cli/invalid-value" && failure.text().contains("--sbom=true"), "{}", failure.text());
    project.ok(&["build", "-t", "stages", "--sbom=true", "."]);
    let found = project.json(&["sbom", "stages"]);
    let of = |name: &str| {
        let mut packages = found["packages"].as_array().unwrap().iter();
        packages.find(|package| package["name"] == name).unwrap().clone()
    };
    for (name, stage) in [("first", "[one 2/2] RUN mkdir"), ("second", "[two 3/3] RUN mkdir")] {
        let package = of(name);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        assert!(text(&package["instruction"]).starts_with("COPY /out/ /app/"), "{package}");
        assert!(text(&package["from"]["instruction"]).starts_with(stage), "{package}");
        assert!(text(&package["from"]["instruction"]).contains(name), "{package}");
    }
    assert_eq!(of("own")["from"], Value::Null);
    let table = project.ok(&["sbom", "stages"]);
    let first = table.lines().find(|line| line.starts_with("first ")).unwrap();
    assert!(first.contains("[one 2/2] RUN") && first.contains(" by COPY /out/"), "{first}");
    let attested = project.json(&["attestation", "inspect", "--type", "sbom", "stages"]).to_string();
    assert!(attested.contains("from instruction: [two 3/3] RUN mkdir"), "{attested}");
    // Without the cache nobody knows any more; what the image itself tells stays.
    project.ok(&["builder", "prune", "--all", "--force"]);
    let found = project.json(&["sbom", "stages"]);
    let first = found["packages"].as_array().unwrap().iter().find(|package| package["name"] == "first").unwrap();
    assert_eq!((&first["from"], first["instruction"].is_string()), (&Value::Null, true));
    machine.finish();
}

/// The types of what is said of an image, and how much of each.
fn said(project: &Project<'_>, name: &str) -> Vec<(String, u64)> {
    let listed = project.json(&["attestation", "ls", name]);
    let one = |it: &Value| (it["type"].as_str().unwrap().to_owned(), it["size_bytes"].as_u64().unwrap());
    listed.as_array().unwrap().iter().map(one).collect()
}

#[test]
fn a_build_says_of_its_image_how_it_was_made_and_changes_nothing_in_it() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("told");
    let text = "FROM busybox\nARG VERSION=1\nARG API_TOKEN\nCOPY status /var/lib/dpkg/status\n\
                RUN --network=none --mount=type=secret,id=pass cat /run/secrets/pass > /dev/null\n";
    project.write("Dockerfile", text).write("status", STATUS).write("pass", "hunter2");
    project.write(".git/HEAD", "0123456789012345678901234567890123456789\n");
    project.write(".git/config", "[remote \"origin\"]\n\turl = https://me:hush@host/told.git\n");
    let build = |more: &[&'static str]| {
        let secret = ["build", "--secret", "id=pass,src=pass", "-t", "told"];
        project.json(&[&secret, more, &["."]].concat())["id"].as_str().unwrap().to_owned()
    };
    let manifest =
        || project.json(&["image", "inspect", "told"])[0]["Descriptor"]["digest"].as_str().unwrap().to_owned();
    let statement = |kind: &str| project.json(&["attestation", "inspect", "--type", kind, "told"]);

    // The least, unasked; the image is what it is without.
    let id = build(&["--provenance=false"]);
    let plain = manifest();
    assert_eq!(said(&project, "told"), []);
    assert_eq!(project.fails(&["attestation", "inspect", "told"]).code(), "cli/no-attestation");
    assert_eq!((build(&[]), manifest()), (id.clone(), plain.clone()));
    let [(kind, _)] = &said(&project, "told")[..] else { panic!() };
    assert_eq!(kind, "provenance");
    let least = statement("provenance");
    assert_eq!(least["subject"][0]["digest"]["sha256"], plain["sha256:".len()..]);
    let definition = &least["predicate"]["buildDefinition"];
    let base = project.json(&["image", "inspect", "busybox"])[0]["Descriptor"]["digest"].as_str().unwrap().to_owned();
    assert_eq!(definition["resolvedDependencies"][0]["digest"]["sha256"], base["sha256:".len()..]);
    assert_eq!(definition["resolvedDependencies"].as_array().unwrap().len(), 1);
    let metadata = &least["predicate"]["runDetails"]["metadata"];
    let vcs = json!({ "source": "https://host/told.git", "revision": "0123456789012345678901234567890123456789" });
    assert_eq!((&metadata["buildkit_metadata"]["vcs"], &metadata["buildkit_hermetic"]), (&vcs, &json!(true)));
    assert!(metadata["startedOn"].as_str() <= metadata["finishedOn"].as_str());

    // A build that finds all of it made does not speak of itself, unless it is asked to.
    build(&[]);
    assert_eq!(statement("provenance"), least);
    let most = ["--attest", "type=provenance,mode=max,reproducible=true", "--sbom"];
    assert_eq!((build(&most), manifest()), (id.clone(), plain.clone()));
    let told = statement("provenance");
    assert_eq!(told["predicate"]["runDetails"]["metadata"]["buildkit_reproducible"], true);
    let steps = &told["predicate"]["buildDefinition"]["internalParameters"]["buildConfig"]["steps"];
    let layers = project.json(&["image", "inspect", "told"])[0]["RootFS"]["Layers"].clone();
    let made: Vec<&Value> = steps.as_array().unwrap().iter().filter_map(|step| step.get("layer")).collect();
    assert_eq!(made, layers.as_array().unwrap()[1..].iter().collect::<Vec<_>>());
    assert_eq!(
        told["predicate"]["buildDefinition"]["externalParameters"]["request"]["secrets"],
        json!([{ "id": "pass" }])
    );
    assert_eq!(statement("sbom")["predicate"], project.json(&["sbom", "told", "--format", "spdx-json"]));

    // Arguments are told, and no secret is: neither a mounted one, nor one in an argument, nor one in an address.
    build(&[
        "--provenance=mode=max",
        "--build-arg",
        "VERSION=2",
        "--build-arg",
        "API_TOKEN=hush",
        "--build-arg",
        "HTTP_PROXY=http://me:hush@proxy",
    ]);
    let told = statement("provenance");
    let arguments = &told["predicate"]["buildDefinition"]["externalParameters"]["request"]["args"];
    assert_eq!(
        (&arguments["build-arg:VERSION"], &arguments["build-arg:API_TOKEN"]),
        (&json!("2"), &json!("(not told)"))
    );
    assert!(!told.to_string().contains("hush") && !told.to_string().contains("hunter2"));

    for wrong in
        ["type=scai", "mode=max", "type=provenance,mode=all", "type=sbom,mode=max", "type=provenance,version=v0.2"]
    {
        assert_eq!(project.fails(&["build", "--attest", wrong, "."]).code(), "cli/invalid-value", "{wrong}");
    }
    assert_eq!(project.fails(&["build", "--attest", "type=sbom,generator=a/b", "."]).code(), "cli/not-yet");

    // With the image it goes.
    let blobs = machine.data().join("content/blobs/sha256");
    let count = || std::fs::read_dir(&blobs).unwrap().count();
    let before = count();
    project.ok(&["tag", &id, "first"]);
    project.ok(&["rmi", "first"]);
    project.ok(&["builder", "prune", "--all", "--force"]);
    let after = count();
    assert!(before - after >= 4, "configuration, manifest and two predicates of the one, {before} and {after}");
    assert_eq!(said(&project, "told").len(), 1);
    machine.finish();
}

#[test]
fn attestations_go_with_the_image_to_archives_and_registries() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("sent");
    project.write("Dockerfile", "FROM busybox\nCOPY status /var/lib/dpkg/status\n").write("status", STATUS);

    // In an archive where they were asked for, and the image is the one without.
    project.ok(&["build", "-t", "sent:1", "-o", "type=oci,dest=plain.tar", "."]);
    project.ok(&["build", "-t", "sent:1", "--sbom", "-o", "type=oci,dest=told.tar", "."]);
    let unpack = |name: &str| {
        let to = project.dir.join(name.replace(".tar", ""));
        std::fs::create_dir(&to).unwrap();
        let tar = std::process::Command::new("tar").arg("-xf").arg(project.dir.join(name)).arg("-C").arg(&to).status();
        assert!(tar.unwrap().success());
        let index = document(&to.join("index.json"));
        (to, index["manifests"].as_array().unwrap().clone())
    };
    let (_, plain) = unpack("plain.tar");
    let (told, entries) = unpack("told.tar");
    let [image, artifact] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(plain, std::slice::from_ref(image));
    let blob = |it: &Value| document(&told.join("blobs").join(it["digest"].as_str().unwrap().replace(':', "/")));
    let manifest = blob(artifact);
    assert_eq!(artifact["artifactType"], "application/vnd.in-toto+json");
    assert_eq!(
        (&manifest["subject"]["digest"], &manifest["config"]["mediaType"]),
        (&image["digest"], &json!("application/vnd.oci.empty.v1+json"))
    );
    assert_eq!(blob(&manifest["layers"][0])["predicate"]["spdxVersion"], "SPDX-2.3");
    assert_eq!(project.ok(&["load", "-i", "told.tar"]), "Loaded image: sent:1");

    // To registries that keep lists of referrers, and to those that have tags for it.
    for knows in [true, false] {
        let registry = Registry::start();
        if knows {
            registry.know_referrers();
        }
        let name = format!("{}/sent:{knows}", registry.host());
        let referrers = |digest: &str| -> Vec<Value> {
            registry.referrers("sent", digest).iter().map(|bytes| serde_json::from_slice(bytes).unwrap()).collect()
        };
        project.ok(&["build", "-q", "-t", &name, "--label", &name, "."]);
        let pushed = project.json(&["push", &name])["digest"].as_str().unwrap().to_owned();
        let tag = pushed.replace(':', "-");
        // What nobody asked for leaves no tags.
        assert_eq!((referrers(&pushed).len(), registry.manifest("sent", &tag)), (usize::from(knows), None));
        project.ok(&["build", "-q", "-t", &name, "--label", &name, "--sbom", "."]);
        assert_eq!(project.json(&["push", &name])["digest"], *pushed);
        assert_eq!(registry.manifest("sent", &tag).is_some(), !knows);
        let mut types = Vec::new();
        for manifest in referrers(&pushed) {
            assert_eq!(manifest["subject"]["digest"], *pushed);
            types.push(manifest["annotations"]["in-toto.io/predicate-type"].as_str().unwrap().to_owned());
            let blob = registry.blob("sent", &manifest["layers"][0]["digest"].as_str().unwrap().parse().unwrap());
            let statement: Value = serde_json::from_slice(&blob.unwrap()).unwrap();
            assert_eq!(statement["subject"][0]["digest"]["sha256"], pushed["sha256:".len()..]);
        }
        types.sort();
        let wanted = ["https://slsa.dev/provenance/v1", "https://spdx.dev/Document"];
        assert_eq!(types, wanted[usize::from(!knows)..]);
    }
    machine.finish();
}

/// By registries of both kinds and by archives.
#[test]
fn what_is_said_of_an_image_comes_back_with_it() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("back");
    project.write("Dockerfile", "FROM busybox\nCOPY status /var/lib/dpkg/status\n").write("status", STATUS);
    for knows in [true, false] {
        let (registry, other) = (Registry::start(), Registry::start());
        if knows {
            registry.know_referrers();
        }
        let name = format!("{}/back:1", registry.host());
        project.ok(&["build", "-q", "-t", &name, "--sbom", "."]);
        // Registries list them in any order.
        let said = |name: &str| {
            let mut said = said(&project, name);
            said.sort();
            said
        };
        let before = said(&name);
        let asked = |all: &[(String, u64)]| all.iter().filter(|(kind, _)| kind == "sbom").cloned().collect::<Vec<_>>();
        assert_eq!((before.len(), asked(&before).len()), (2, 1));
        project.ok(&["push", &name]);
        // Once, whatever it is called.
        project.ok(&["tag", &name, "more:1"]);
        project.ok(&["save", "-o", "back.tar", &name, "more:1", &name]);
        let mut tar = std::process::Command::new("tar");
        let listed = tar.args(["-xOf", "back.tar", "manifest.json"]).current_dir(&project.dir).output().unwrap();
        let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
        assert_eq!((listed.as_array().unwrap().len(), &listed[0]["RepoTags"]), (1, &json!([name, "more:1"])));
        machine.ok(&["rmi", &name, "more:1"]);
        project.ok(&["pull", &name]);
        let statement = |name: &str| -> Value {
            serde_json::from_str(&project.ok(&["attestation", "inspect", "--type", "sbom", name])).unwrap()
        };
        let back = said(&name);
        assert_eq!(back, if knows { before.clone() } else { asked(&before) }, "what nobody asked for has no tag");
        let digest = machine.json(&["image", "inspect", &name])[0]["Descriptor"]["digest"].clone();
        assert_eq!(format!("sha256:{}", statement(&name)["subject"][0]["digest"]["sha256"].as_str().unwrap()), digest);
        // And on to the next registry, under the same digest.
        let next = format!("{}/next:1", other.host());
        project.ok(&["tag", &name, &next]);
        assert_eq!(project.json(&["push", &next])["digest"], digest);
        assert_eq!(other.referrers("next", digest.as_str().unwrap()).len(), 1);
        machine.ok(&["rmi", &next]);
        machine.ok(&["rmi", &name]);
        project.ok(&["load", "-i", "back.tar"]);
        assert_eq!(said("more:1"), asked(&before));
        assert_eq!(statement(&name)["predicate"]["spdxVersion"], "SPDX-2.3");
        // Whoever speaks of another image is not believed, and whoever fails keeps no image back.
        machine.ok(&["rmi", &name, "more:1"]);
        if knows {
            for status in [403, 500] {
                registry.lie(move |seen| seen.path.contains("/referrers/").then(|| Reply::status(status)));
                registry.take_seen();
                project.ok(&["pull", &name]);
                assert_eq!(said(&name), []);
                let asked = registry.take_seen().into_iter().filter(|seen| seen.path.contains("/referrers/")).count();
                assert_eq!(asked, 1, "nobody waits for it");
                machine.ok(&["rmi", &name]);
            }
        }
    }
    machine.finish();
}

#[test]
fn services_say_in_the_project_what_is_said_of_their_images() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("shop");
    let service = |more: &str| format!("    build: {{context: ., dockerfile_inline: FROM busybox{more}}}\n");
    let text = format!(
        "services:\n  plain:\n{}  told:\n{}  silent:\n{}",
        service(""),
        service(", sbom: true, provenance: mode=max"),
        service(", provenance: false, labels: {a: b}")
    );
    project.write("compose.yaml", &text);
    project.ok(&["build"]);
    let kinds = |name: &str| said(&project, name).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    assert_eq!(kinds("shop-silent"), [""; 0]);
    assert_eq!(kinds("shop-told").len(), 2);
    assert!(project.ok(&["config"]).contains("mode=max"));
    project.write("compose.yaml", text.replace("mode=max", "mode=all"));
    let failure = project.fails(&["build"]);
    assert!(failure.code() == "cli/invalid-value" && failure.text().contains("mode=all"), "{}", failure.text());
    machine.finish();
}
