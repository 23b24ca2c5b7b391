//! Dockerfiles become images, and say where they are wrong (D1 D2 D7 D9).

use serde_json::Value;

use crate::machine::{Failure, Machine, Project};

/// Runs a shell line in an image.
fn shell(project: &Project, image: &str, line: &str) -> String {
    project.ok(&["run", "--rm", "--network", "none", image, "sh", "-c", line])
}

/// Steps of a build, and how many of them were cached.
fn steps(result: &Value) -> (u64, u64) {
    (result["steps"].as_u64().unwrap(), result["cached_steps"].as_u64().unwrap())
}

#[test]
fn stages_arguments_owners_and_configuration() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write("src/main.txt", "source\n").write(
        "Dockerfile",
        "ARG BASE=nothing\n\
         ARG FLAVOUR=plain\n\
         FROM ${BASE} AS builder\n\
         ARG FLAVOUR\n\
         WORKDIR /make\n\
         COPY src/ .\n\
         RUN tr a-z A-Z < main.txt > result && echo \"$FLAVOUR\" >> result\n\
         FROM builder AS unneeded\n\
         RUN false\n\
         FROM busybox\n\
         ARG FLAVOUR=outer-is-not-seen\n\
         COPY --from=builder --chown=app:extra --chmod=750 /make/result /srv/\n\
         ENV KIND=$FLAVOUR GREETING=\"hello there\"\n\
         LABEL maintainer=us\n\
         EXPOSE 8080\n\
         USER app\n\
         WORKDIR /srv\n\
         STOPSIGNAL SIGINT\n\
         ENTRYPOINT [\"cat\"]\n\
         CMD [\"result\"]\n",
    );
    let flags = ["--build-arg", "BASE=busybox", "--build-arg", "FLAVOUR=salty", "-t", "app:1"];
    let built = project.json(&[&["build"], &flags[..], &["."]].concat());
    assert_eq!(project.ok(&["run", "--rm", "--network", "none", "app:1"]), "SOURCE\nsalty");
    let run = |command: &[&str]| {
        let flags = ["run", "--rm", "--network", "none", "--entrypoint", command[0], "app:1"];
        project.ok(&[&flags[..], &command[1..]].concat())
    };
    assert_eq!(run(&["stat", "-c", "%U:%G %a", "/srv/result"]), "app:extra 750");
    assert_eq!(run(&["sh", "-c", "echo $(id -un) $(pwd) $KIND $GREETING"]), "app /srv salty hello there");
    let image = project.json(&["image", "inspect", "app:1"])[0].clone();
    assert_eq!(image["Id"], built["id"]);
    assert_eq!(image["Config"]["StopSignal"], "SIGINT");
    assert_eq!(image["Config"]["Labels"]["maintainer"], "us");
    assert!(image["Config"]["ExposedPorts"]["8080/tcp"].is_object());
    // The unneeded stage is built only when asked for (D2).
    let failure = project.fails(&[&["build", "--target", "unneeded"], &flags[..], &["."]].concat());
    assert_eq!(failure.place(), ("build/run-failed".into(), "Dockerfile:9:1".into()));
    machine.finish();
}

#[test]
fn the_cache_misses_what_changed_and_what_follows() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("cached");
    project.write("first", "1").write("second", "2").write(
        "Dockerfile",
        "FROM busybox\nRUN cat /proc/sys/kernel/random/uuid > /once\nCOPY first /\nRUN cp first copy\nCOPY second /\n",
    );
    let build = || project.json(&["build", "-t", "cached", "."]);
    let cold = build();
    assert_eq!(steps(&cold), (4, 0));
    let once = shell(&project, "cached", "cat /once");
    let warm = build();
    assert_eq!(steps(&warm), (4, 4));
    assert_eq!(warm["id"], cold["id"], "the same image");

    // Written again with the same bytes, at another time: nothing to do.
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(3600);
    std::fs::File::open(project.dir.join("first")).unwrap().set_modified(later).unwrap();
    assert_eq!(steps(&build()), (4, 4));

    project.write("second", "two");
    assert_eq!(steps(&build()), (4, 3));
    project.write("first", "one");
    // The last COPY stands on another layer now.
    assert!(steps(&build()).1 <= 2);
    assert_eq!(shell(&project, "cached", "cat first copy second /once"), format!("oneonetwo{once}"));
    assert_eq!(steps(&project.json(&["build", "--no-cache", "-t", "cached", "."])), (4, 0));
    assert_ne!(shell(&project, "cached", "cat /once"), once, "it ran again");
    machine.finish();
}

#[test]
fn ignored_files_are_not_in_the_context() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("ignoring");
    project
        .write(".dockerignore", "# comment\n*.log\n!keep.log\nsecrets\n**/cache\n")
        .write("Dockerfile", "FROM busybox\nCOPY . /context\n")
        .write("a.log", "")
        .write("keep.log", "")
        .write("secrets/key", "")
        .write("deep/cache/file", "")
        .write("deep/kept", "");
    project.ok(&["build", "-t", "ignoring", "."]);
    let files = shell(&project, "ignoring", "cd /context && find . -type f | sort");
    assert_eq!(files, "./.dockerignore\n./Dockerfile\n./deep/kept\n./keep.log");
    // What is ignored can't miss the cache.
    project.write("a.log", "changed");
    assert_eq!(steps(&project.json(&["build", "-t", "ignoring", "."])), (1, 1));
    project.write("Dockerfile", "FROM busybox\nCOPY secrets/key /\n");
    let failure = project.fails(&["build", "."]);
    assert_eq!(failure.place(), ("build/source-not-found".into(), "Dockerfile:2:6".into()));
    assert!(failure.text().contains(".dockerignore"), "the reason is named: {}", failure.text());
    machine.finish();
}

#[test]
fn a_failing_step_shows_its_line_output_and_code() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("failing");
    project.write("Dockerfile", "FROM busybox\n\nRUN echo all well\nRUN echo the reason >&2 \\\n && exit 42\n");
    let output = project.carrack(&["build", "."]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("Dockerfile:4:1") && text.contains("RUN echo the reason"), "{text}");
    assert!(text.contains("the reason\n") && text.contains("exit status 42"), "{text}");
    let failure = project.fails(&["build", "."]);
    assert_eq!(failure.place(), ("build/run-failed".into(), "Dockerfile:4:1".into()));
    assert_eq!(failure.status, 1);
    machine.finish();
}

/// Each malformed Dockerfile with code, place and a word of its hint.
#[test]
fn bad_dockerfiles_are_pointed_at() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("bad");
    for (dockerfile, code, place, hint) in [
        ("FROM busybox\nRUM true\n", "dockerfile/unknown-instruction", "Dockerfile:2:1", "RUN"),
        ("FROM busybox\nCOPY --chwon=app . /\n", "dockerfile/unknown-flag", "Dockerfile:2:6", "--chown"),
        ("FROM busybox\nCOPY missing /\n", "build/source-not-found", "Dockerfile:2:6", "context"),
        (
            "FROM busybox AS base\nFROM busybox\nCOPY --from=bsae /etc /\n",
            "build/image-not-found",
            "Dockerfile:3:13",
            "base",
        ),
        ("FROM nowhere.invalid/app:9\n", "build/image-not-found", "Dockerfile:1:6", ""),
        ("RUN true\n", "dockerfile/before-from", "Dockerfile:1:1", "FROM"),
        ("FROM busybox\nCOPY --chown=stranger Dockerfile /\n", "build/unknown-owner", "Dockerfile:2:1", ""),
        ("FROM busybox\nRUN <<END\necho\n", "dockerfile/unterminated-heredoc", "Dockerfile:2:5", "END"),
    ] {
        project.write("Dockerfile", dockerfile);
        let failure = project.fails(&["build", "."]);
        assert_eq!(failure.place(), (code.to_owned(), place.to_owned()), "{dockerfile}{}", failure.text());
        assert!(failure.hints().contains(hint), "{dockerfile}{}", failure.text());
    }
    let failure: Failure = project.fails(&["build", "-f", "nowhere", "."]);
    assert_eq!(failure.code(), "build/unreadable");
    project.write("Dockerfile", "FROM busybox AS base\n");
    assert_eq!(project.fails(&["build", "--target", "bsae", "."]).code(), "build/unknown-stage");
    machine.finish();
}
