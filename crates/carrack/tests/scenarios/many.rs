//! Two hundred processes on one store (X9): each does what it was asked for, and nothing is left over.

use std::process::Stdio;
use std::sync::Barrier;

use crate::machine::{Failure, Machine};

const PROCESSES: usize = 200;

#[test]
fn two_hundred_processes_on_one_store_do_not_disturb_each_other() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("built");
    project.write("Dockerfile", "FROM busybox\nARG NUMBER\nRUN echo $NUMBER > /number\n");
    let archive = machine.path().join("busybox.tar");
    let archive = archive.to_str().unwrap();
    machine.ok(&["run", "-d", "--name", "steady", "busybox", "sleep", "1000"]);
    let barrier = Barrier::new(PROCESSES);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..PROCESSES)
            .map(|number| {
                let (machine, barrier, project) = (&machine, &barrier, &project);
                scope.spawn(move || {
                    let name = format!("n{number}");
                    let tag = format!("image{number}");
                    let argument = format!("NUMBER={}", number % 40 / 20);
                    let words: Vec<&str> = match number % 20 {
                        0..4 => vec!["run", "--rm", "busybox", "true"],
                        4 | 5 => vec!["run", "-d", "--name", &name, "busybox", "sleep", "1000"],
                        6 => vec![
                            "run",
                            "-d",
                            "--network",
                            "none",
                            "--name",
                            &name,
                            "-v",
                            "shared:/data",
                            "busybox",
                            "true",
                        ],
                        7 => vec!["create", "--name", &name, "-v", "/anonymous", "busybox", "true"],
                        // The same name: one of them gets it.
                        8 => vec!["create", "--name", "contended", "busybox", "true"],
                        9 | 10 => vec!["exec", "steady", "true"],
                        11 => vec!["volume", "create", &name],
                        12 => vec!["volume", "create", "shared"],
                        13 => vec!["network", "create", &name],
                        14 => vec!["build", "-q", "-t", &tag, "--build-arg", &argument, "."],
                        15 => vec!["tag", "busybox", &tag],
                        16 => vec!["import", archive, &tag],
                        17 => vec!["ps", "-a"],
                        18 => vec!["volume", "prune", "-f"],
                        _ => vec!["image", "prune", "-f"],
                    };
                    let mut command = project.command(&[&["--json"], &words[..]].concat());
                    command.stdin(Stdio::null());
                    barrier.wait();
                    let output = command.output().unwrap();
                    if output.status.success() {
                        return None;
                    }
                    let is_contended = words.contains(&"contended");
                    let failure = Failure::of(output);
                    let is_expected = is_contended && failure.code() == "engine/name-taken";
                    let _ = machine;
                    (!is_expected).then(|| format!("{words:?}: {}", failure.text()))
                })
            })
            .collect();
        started.into_iter().filter_map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(failures, Vec::<String>::new());
    let names = machine.ok(&["ps", "-a", "--format", "{{.Names}}"]);
    let has = |name: &str| names.lines().filter(|line| *line == name).count();
    assert_eq!(has("contended"), 1, "{names}");
    for number in (0..PROCESSES).filter(|number| matches!(number % 20, 4..8)) {
        assert_eq!(has(&format!("n{number}")), 1, "{names}");
    }
    assert_eq!(machine.ok(&["run", "--rm", "image34", "cat", "/number"]), "1");
    machine.finish();
}
