//! What is said of images beside them (X17).

use std::path::Path;

use serde_json::{Value, json};

use crate::machine::Machine;

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
        project.write(&file, &json!({ "name": name, "version": "1.0.0" }).to_string());
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
            && warned.contains("engine/sbom-incomplete")
            && warned.contains("/app/node_modules/kept"),
        "{warned}"
    );
    assert_eq!(project.fails(&["sbom", "nothing"]).code(), "store/image-not-found");
    assert_eq!(project.fails(&["sbom", "bill", "--output", "none/bill.json"]).code(), "cli/unreadable-file");
}
