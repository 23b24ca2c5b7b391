//! What images are made of, and limits for it (E2 E3).

use serde_json::{Value, json};

use crate::machine::{Machine, exit_code};

const DOCKERFILE: &str = "\
FROM busybox
RUN mkdir -p /srv/deep && head -c 600000 /dev/zero > /srv/deep/big && head -c 300000 /dev/zero > /srv/other && ln /srv/other /srv/linked
RUN rm /srv/deep/big && chmod 600 /srv/linked
COPY text /srv/
";

#[test]
fn layers_files_and_waste() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("made");
    project.write("Dockerfile", DOCKERFILE).write("text", "one");
    project.ok(&["build", "-t", "made", "."]);
    let tree = project.json(&["image", "tree", "made"]);
    let layer = |number: usize| tree["layers"][number].clone();
    assert!(layer(1)["instruction"].as_str().unwrap().contains("head -c 600000"), "{tree}");
    assert_eq!((&layer(1)["size_bytes"], &layer(3)["size_bytes"]), (&json!(900_000), &json!(3)));
    // The file that is gone is wasted. The one whose copy has another mode is still seen under its other name.
    assert_eq!((&layer(1)["wasted_bytes"], &layer(2)["size_bytes"]), (&json!(600_000), &json!(300_000)));
    assert_eq!((&layer(2)["removed"], &layer(0)["wasted_bytes"]), (&json!(1), &json!(0)));
    assert_eq!(tree["wasted"][0]["path"], "/srv/deep/big");
    assert_eq!(tree["wasted"][0]["layers"], json!([2]));
    let sum: u64 = tree["layers"].as_array().unwrap().iter().map(|layer| layer["size_bytes"].as_u64().unwrap()).sum();
    assert_eq!(tree["size_bytes"], json!(sum));
    assert_eq!(layer(3)["entries"], json!([]), "only when asked for");

    let text = project.ok(&["image", "tree", "--files", "made"]);
    for line in ["  A    600kB  /srv/deep/big", "  D       0B  /srv/deep/big", "  A       3B  /srv/text"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let text = project.ok(&["image", "tree", "--depth", "1", "made"]);
    assert!(text.contains("  A    900kB  /srv/\n") && !text.contains("/srv/text"), "{text}");
    let lines = project.ok(&["image", "tree", "--format", "{{.Number}} {{.Size}} {{.Removed}}", "made"]);
    assert!(lines.ends_with("\n4 3B 0"), "{lines}");

    // Limits, as sizes are printed: 1 kB is 1000 bytes.
    let code = |flags: &[&str]| exit_code(&project.carrack(&[&["image", "tree", "made"], flags].concat()));
    assert_eq!((code(&["--max-size", "400MB", "--max-waste", "99%"]), code(&["--max-size=1MB"])), (0, 16));
    assert_eq!(
        (code(&["--max-waste", "5%"]), code(&["--max-waste", "599kB"]), code(&["--max-waste", "2MB"])),
        (16, 16, 0)
    );
    assert_eq!((code(&["--max-size", "much"]), code(&["--max-waste", "101%"])), (1, 1));
    let output = project.carrack(&["--json", "image", "tree", "made", "--max-size", "1MB", "--max-waste=1%"]);
    let envelope: Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes: Vec<&Value> = envelope["diagnostics"].as_array().unwrap().iter().map(|one| &one["code"]).collect();
    assert_eq!(
        (&envelope["ok"], codes),
        (&json!(false), vec![&json!("image/too-large"), &json!("image/too-wasteful")])
    );
    assert_eq!(envelope["result"]["size_bytes"], json!(sum), "the result comes all the same");

    // What an archive brings, compressed, is told alike.
    project.ok(&["build", "-t", "made", "-o", "type=oci,dest=made.tar,compression=zstd", "."]);
    let other = machine.path().join("other").display().to_string();
    let run_root = format!("{other}-run");
    let on = |arguments: &[&'static str]| [&["--root", &other, "--run-root", &run_root], arguments].concat();
    project.ok(&on(&["load", "-i", "made.tar"]));
    assert_eq!(project.json(&on(&["image", "tree", "made"]))["wasted"], tree["wasted"]);
    assert_eq!(project.fails(&["image", "tree", "nothing"]).code(), "store/image-not-found");
    machine.finish();
}

#[test]
fn two_images() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("two");
    let build = |name: &str, tail: &str| {
        project.write(
            "Dockerfile",
            format!("FROM busybox\nRUN echo kept > /kept; echo gone > /gone; echo x > /x\n{tail}"),
        );
        project.ok(&["build", "-t", name, "."]);
    };
    build("one", "");
    build("two", "RUN rm /gone && echo yy > /x && touch /new && chown 5:5 /kept\nENV A=b\n");
    let diff = project.json(&["image", "diff", "one", "two"]);
    let files: Vec<(&str, &Value, &Value)> = (diff["files"].as_array().unwrap().iter())
        .map(|file| (file["path"].as_str().unwrap(), &file["change"], &file["what"]))
        .collect();
    assert_eq!(
        files,
        [
            ("/gone", &json!("removed"), &json!([])),
            ("/kept", &json!("changed"), &json!(["owner"])),
            ("/new", &json!("added"), &json!([])),
            ("/x", &json!("changed"), &json!(["content"])),
        ]
    );
    assert_eq!(diff["settings"]["Env"][1].as_array().unwrap().last(), Some(&json!("A=b")));
    assert_eq!(diff["shared_layers"], 2);
    let text = project.ok(&["image", "diff", "one", "two"]);
    assert!(text.starts_with("D /gone (5B)\nC /kept (5B): owner\nA /new\nC /x (2B -> 3B): content\nC Env: "), "{text}");
    assert!(text.contains("\n1 added, 2 changed, 1 removed; ") && text.ends_with("; 2 layers shared"), "{text}");
    let same = project.json(&["image", "diff", "two", "two"]);
    assert_eq!((&same["files"], &same["settings"]), (&json!([]), &json!({})));
    machine.finish();
}
