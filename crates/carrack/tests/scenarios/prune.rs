//! `prune` takes what nobody uses and nothing else (O1; I-2).

use serde_json::json;

use crate::machine::{Machine, exit_code};

#[test]
fn each_prune_takes_its_own() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "alive", "-v", "/kept", "--network", "bridge", "busybox", "sleep", "1000"]);
    machine.ok(&["volume", "create", "named"]);
    machine.ok(&["network", "create", "idle"]);
    machine.ok(&["network", "create", "of-stopped"]);
    machine.ok(&["create", "--name", "stopped", "--label", "keep=1", "--network", "of-stopped", "busybox", "true"]);
    let gone = machine.ok(&["create", "-v", "/anonymous", "busybox", "true"]);

    let refused = machine.fails(&["container", "prune", "--filter", "label!=keep"]);
    assert_eq!((refused.status, refused.code()), (11, "cli/confirm"));
    assert!(refused.hints().contains("carrack container prune --force --filter 'label!=keep'"), "{}", refused.hints());
    let pruned = machine.json(&["container", "prune", "-f", "--filter", "label!=keep"]);
    assert_eq!(pruned["names"], json!([gone]));
    assert_eq!(machine.ok(&["container", "prune", "-f", "--filter", "until=1h"]), "Total reclaimed space: 0B");

    // A stopped container will want its network again.
    assert_eq!(machine.ok(&["network", "prune", "-f"]), "Deleted Networks:\nidle");
    let volumes = machine.ok(&["volume", "prune", "-f"]);
    assert!(volumes.starts_with("Deleted Volumes:\n") && !volumes.contains("named"), "{volumes}");
    assert_eq!(machine.ok(&["volume", "ls", "-q"]).lines().count(), 2, "the named one, and that of `alive`");
    assert_eq!(machine.fails(&["volume", "prune", "-f", "--filter", "until=1h"]).code(), "engine/no-age-of-volumes");

    let text = machine.ok(&["system", "prune", "-f", "--volumes"]);
    assert!(
        text.starts_with("Deleted Containers:\n") && text.contains("\n\nDeleted Networks:\nof-stopped\n"),
        "{text}"
    );
    assert!(text.lines().last().unwrap().starts_with("Total reclaimed space: "), "{text}");
    assert_eq!(machine.ok(&["ps", "-a", "--format", "{{.Names}}"]), "alive");
    assert!(machine.ok(&["network", "ls"]).contains(" bridge "), "the default network is nobody's garbage");
    assert!(machine.ok(&["volume", "ls", "-q"]).lines().any(|name| name == "named"), "taken unasked");
    assert_eq!(machine.ok(&["volume", "prune", "-f", "-a"]).lines().nth(1), Some("named"));
    machine.finish();
}

/// I-2: what a release needs to come back is nobody's garbage.
#[test]
fn a_release_can_be_rolled_back_to_after_every_prune() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("back");
    project.write("compose.yaml", "services:\n  web:\n    build: .\n    image: back-web:1\n    init: true\n");
    for version in ["one", "two"] {
        let dockerfile = format!("FROM busybox\nRUN echo {version} > /version\nCMD [\"sleep\", \"1000\"]\n");
        project.write("Dockerfile", dockerfile);
        project.ok(&["up", "-d", "--build"]);
    }
    machine.ok(&["system", "prune", "-f", "-a", "--volumes"]);
    machine.ok(&["image", "prune", "-f", "-a"]);
    machine.ok(&["builder", "prune", "-f", "-a"]);
    assert_eq!(
        exit_code(&machine.carrack(&["image", "inspect", "busybox"])),
        1,
        "nobody kept it: the prune did nothing"
    );
    std::fs::remove_file(project.dir.join("Dockerfile")).unwrap();
    project.ok(&["rollback"]);
    assert_eq!(project.ok(&["exec", "web", "cat", "/version"]), "one");
    project.ok(&["down"]);
    machine.finish();
}

/// A prune at any moment of a start, a build or the making of a volume takes nothing from under it.
#[test]
fn a_prune_runs_beside_starts_and_builds() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("built");
    let done = std::sync::atomic::AtomicBool::new(false);
    let pruned = std::thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            let mut count = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                // Networks stay: the default one is not pruned, and others are none's here.
                for what in ["container", "volume", "image"] {
                    machine.ok(&[what, "prune", "-f"]);
                    count += 1;
                }
            }
            count
        });
        for number in 0..12 {
            let text = machine.ok(&[
                "run",
                "--rm",
                "-v",
                "/data",
                "busybox",
                "sh",
                "-c",
                "echo written > /data/x; cat /data/x",
            ]);
            assert_eq!(text, "written");
            project.write("Dockerfile", format!("FROM busybox\nRUN echo {number} > /number\nRUN cat /number\n"));
            project.ok(&["build", "-q", "-t", "built", "."]);
            assert_eq!(machine.ok(&["run", "--rm", "built", "cat", "/number"]), number.to_string());
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        pruner.join().unwrap()
    });
    assert!(pruned > 6, "the prunes and the rest were hardly beside each other: {pruned}");
    machine.finish();
}
