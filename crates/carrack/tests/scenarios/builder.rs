//! The build cache: what it takes, and what of it is let go (D1 I-5).

use serde_json::Value;

use crate::machine::{Machine, Project};

/// Descriptions of the cache's entries, last used first.
fn cached(project: &Project) -> Vec<String> {
    descriptions(&project.json(&["builder", "du"]))
}

fn descriptions(result: &Value) -> Vec<String> {
    let entries = result["entries"].as_array().unwrap().iter();
    entries.map(|entry| entry["description"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_cache_is_shown_and_pruned_by_what_images_have_age_and_budget() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("pruned");
    project.write("file", "1").write(
        "Dockerfile",
        "FROM busybox AS tools\nRUN head -c 300000 /dev/urandom > /tool\nRUN --mount=type=cache,target=/kept,id=wheels head -c 200000 /dev/zero > /kept/wheel\n\
         FROM busybox\nCOPY file /\nCOPY --from=tools /tool /\n",
    );
    let build = || project.json(&["build", "-t", "app", "."]);
    let first = build();
    assert_eq!(cached(&project).len(), 5, "four steps and a mount");

    // Without a terminal nobody can be asked.
    let refused = project.fails(&["builder", "prune"]);
    assert_eq!((refused.code(), refused.status), ("cli/confirm".into(), 11));
    assert!(refused.hints().contains("builder prune --force"), "{}", refused.text());
    for wrong in ["colour=red", "until=soon", "type=frontend", "id="] {
        assert_eq!(
            project.fails(&["builder", "prune", "-f", "--filter", wrong]).code(),
            "cli/invalid-value",
            "{wrong}"
        );
    }
    assert_eq!(cached(&project).len(), 5, "nothing was taken away");

    // Used a moment ago; and a budget that everything fits in.
    for flags in
        [&["--filter", "until=1h"][..], &["--keep-storage", "1g"], &["--max-used-space=1GB", "--filter", "until=0s"]]
    {
        let pruned = project.json(&[&["builder", "prune", "-f", "-a"], flags].concat());
        assert_eq!((descriptions(&pruned), &pruned["freed_bytes"]), (vec![], &0.into()), "{flags:?}");
    }
    // A budget that only what was used last fits in: the stage's two steps were used before the copy.
    let pruned = project.json(&["builder", "prune", "-f", "--keep-storage", "250k"]);
    assert!(descriptions(&pruned).iter().any(|name| name.contains("/tool")), "{pruned}");
    assert!(pruned["freed_bytes"].as_u64().unwrap() >= 300_000);

    // What images have stays, and the image is whole.
    project.ok(&["builder", "prune", "-f"]);
    let left = cached(&project);
    assert!(left.len() == 2 && left.iter().all(|name| name.contains("COPY")), "{left:?}");
    assert_eq!(project.json(&["image", "inspect", "app"])[0]["Id"], first["id"]);
    project.ok(&["builder", "prune", "-f", "--all"]);
    assert_eq!(cached(&project), Vec::<String>::new());
    assert_eq!(project.ok(&["run", "--rm", "--network", "none", "app", "cat", "/file"]), "1");
    assert_eq!(build()["cached_steps"], 0, "built again from nothing");
    machine.finish();
}

/// What runs keeps its folder, and an image that a stopped container was made of stays without its name.
#[test]
fn a_prune_leaves_what_is_in_use() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("busy");
    project.write("Dockerfile", "FROM busybox\nRUN echo made > /made\n");
    project.ok(&["build", "-t", "app", "."]);
    project.ok(&["create", "--name", "box", "--network", "none", "app", "cat", "/made"]);
    project.ok(&["rmi", "--force", "app"]);
    project.ok(&["builder", "prune", "-f", "-a"]);
    assert_eq!(project.ok(&["start", "-a", "box"]), "made");
    project.ok(&["rm", "box"]);

    project.write(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,target=/kept,id=busy echo x > /kept/x; echo begun; while ! [ -e /kept/go ]; do sleep 0.05; done\n",
    );
    let mut child = project.command(&["build", "."]).stderr(std::process::Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().ends_with(" begun")));
    let entry = project.json(&["builder", "du", "--filter", "type=exec.cachemount"])["entries"][0].clone();
    assert_eq!((&entry["description"], &entry["in_use"]), (&"busy".into(), &true.into()));
    project.ok(&["builder", "prune", "-f", "-a"]);
    let folder = machine.data().join("build/mounts").join(entry["id"].as_str().unwrap());
    std::fs::write(folder.join("go"), "").expect("the folder is there");
    lines.for_each(drop);
    assert!(child.wait().unwrap().success());
    project.ok(&["builder", "prune", "-f"]);
    assert!(!folder.exists());
    assert_eq!(std::fs::read_dir(machine.data().join("build/mounts")).unwrap().count(), 0, "nothing is left beside it");
    machine.finish();
}
