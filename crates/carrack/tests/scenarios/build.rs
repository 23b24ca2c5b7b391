//! Dockerfiles become images, and say where they are wrong (D1 D2 D7 D9).

use std::io::BufRead as _;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::machine::{Failure, Machine, Project, eventually, exit_code, feed};

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

/// An interrupt ends the program of the step too, and what it held.
#[test]
fn an_interrupted_build_leaves_nothing_running() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("interrupted");
    project.write("Dockerfile", "FROM busybox\nRUN echo begun; sleep 1000 & sleep 1000\n");
    let mut child = project.command(&["build", "."]).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.ends_with(" begun")), "the step runs");
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|line| line.contains("build/cancelled")), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(machine.json(&["doctor", "--leaks"]), serde_json::json!([]), "without another command");
    machine.finish();
}

/// Programs find every signal at its default, SIGPIPE too, and nothing in their environment that differs each time.
#[test]
fn steps_and_containers_begin_alike() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("alike");
    project.write("Dockerfile", "FROM busybox\nRUN env | sort > /env; hostname >> /env; cat /etc/hosts >> /env; grep SigIgn /proc/self/status > /ignored\n");
    let environment = || {
        project.ok(&["build", "--no-cache", "-t", "alike", "."]);
        shell(&project, "alike", "cat /env")
    };
    let first = environment();
    assert_eq!(environment(), first, "the same layer each time");
    assert!(!first.contains("HOSTNAME="), "{first}");
    // A shell may ignore others for its programs.
    let ignores_pipe = |text: String| {
        let mask = u64::from_str_radix(text.rsplit_once('\t').expect("SigIgn").1, 16).unwrap();
        mask & (1 << 12) != 0
    };
    assert!(!ignores_pipe(shell(&project, "alike", "cat /ignored")));
    let flags = ["run", "--rm", "--network", "none", "alike", "grep", "SigIgn", "/proc/self/status"];
    assert!(!ignores_pipe(project.ok(&flags)));
    machine.finish();
}

#[test]
fn a_dockerfile_from_standard_input() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("stdin");
    project.write("file", "here");
    let build = |arguments: &[&str], text: &[u8]| {
        let output = feed(project.command(&[&["build", "-t", "stdin"], arguments].concat()), text);
        (exit_code(&output), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(build(&["-"], b"FROM busybox\nRUN echo made > /made\n").0, 0);
    assert_eq!(shell(&project, "stdin", "cat /made"), "made");
    assert_eq!(build(&["-f", "-", "."], b"FROM busybox\nCOPY file /made\n").0, 0);
    assert_eq!(shell(&project, "stdin", "cat /made"), "here");
    let (status, text) = build(&["-"], b"FROM busybox\nCOPY file /made\n");
    assert!(status == 1 && text.contains("build/source-not-found"), "there is no context: {text}");
    let (status, text) = build(&["-"], b"\x1f\x8b\x08\x00\xff");
    assert!(status == 1 && text.contains("build/unreadable"), "{text}");
    machine.finish();
}

/// `import --change` reads its instructions as a Dockerfile's.
#[test]
fn an_imported_image_can_be_told_what_it_is() {
    let Some(machine) = Machine::new() else { return };
    let archive = machine.path().join("busybox.tar");
    let import = |change: &'static str| ["import", "-c", change, archive.to_str().unwrap(), "told"].map(str::to_owned);
    let changes = ["-c", "ENV A=1 B=\"2 3\"", "-c", "HEALTHCHECK --retries=2 CMD true", "-c", "WORKDIR /srv"];
    let mut arguments = import("LABEL x=\"y z\" u=v").to_vec();
    arguments.splice(1..1, changes.map(str::to_owned));
    machine.ok(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let config = machine.json(&["image", "inspect", "told"])[0]["Config"].clone();
    assert_eq!(config["Env"], serde_json::json!(["A=1", "B=2 3"]));
    assert_eq!(config["Labels"], serde_json::json!({"u": "v", "x": "y z"}));
    assert_eq!((&config["WorkingDir"], &config["Healthcheck"]["Retries"]), (&"/srv".into(), &2.into()));
    for (change, code) in [
        ("RUN true", "cli/invalid-value"),
        ("BOGUS", "cli/invalid-value"),
        ("CMD a\nFROM busybox", "cli/invalid-value"),
        ("ENV", "dockerfile/wrong-arguments"),
        ("EXPOSE many", "dockerfile/invalid-port"),
    ] {
        let arguments = import(change);
        let failure = machine.fails(&arguments.each_ref().map(String::as_str));
        assert_eq!(failure.code(), code, "{change}: {}", failure.text());
    }
    machine.finish();
}

/// `plan` says which images would be built and why, and writes nothing (I-5).
#[test]
fn a_plan_foretells_builds() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("shop");
    project
        .write("web/file", "1")
        .write(
            "web/Dockerfile",
            "FROM busybox\nCOPY file /\nRUN true\nHEALTHCHECK --interval=100ms CMD true\nCMD [\"sleep\", \"1000\"]\n",
        )
        .write("job/Dockerfile", "FROM shop-web\nRUN echo job > /job\n")
        .write(
            "compose.yaml",
            "services:\n  job: {build: job, network_mode: none, stop_grace_period: 0s}\n\
             \x20 app: {build: web, image: shop-web, network_mode: none, stop_grace_period: 0s}\n",
        );
    let notes = |arguments: &[&str]| {
        let plan = project.json(arguments);
        let notes: Vec<String> =
            plan["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap().to_owned()).collect();
        (notes, plan["provisional"] == true, plan["nodes"].as_array().unwrap().len())
    };
    let misses = "the image shop-web has to be built: the step `[2/3] COPY file /` is not cached";
    let follows = "the image shop-job has to be built: its base image shop-web:latest is built first";
    let (told, provisional, _) = notes(&["plan"]);
    assert!(told.contains(&misses.to_owned()) && told.contains(&follows.to_owned()) && provisional, "{told:?}");
    assert_eq!(project.json(&["images"]).as_array().unwrap().len(), 1, "nothing was built");

    project.ok(&["up", "-d"]);
    assert_eq!(notes(&["plan"]), (vec![], false, 0));
    // `up` leaves an image alone that is there; with --build it is another one.
    project.write("web/file", "2");
    let (told, provisional, nodes) = notes(&["plan"]);
    assert!(told.len() == 1 && told[0].contains("`carrack up --build` builds it"), "{told:?}");
    assert!(!provisional && nodes == 0);
    let (told, provisional, nodes) = notes(&["up", "--dry-run", "--build"]);
    assert!(told.contains(&misses.to_owned()) && provisional && nodes > 0, "{told:?}");
    // Back to what is cached: it is known which image comes of it.
    project.ok(&["up", "-d", "--build"]);
    project.write("web/file", "1");
    let (told, provisional, nodes) = notes(&["up", "--dry-run", "--build", "app"]);
    assert_eq!((told, provisional), (vec!["the image shop-web is built of cached steps only".to_owned()], false));
    assert!(nodes > 0);
    // What can't be built fails where it would be, and is told where it would not.
    project.write("web/Dockerfile", "FROM busybox\nCOPY missing /\n");
    assert_eq!(project.fails(&["up", "--dry-run", "--build"]).place().1, "Dockerfile:2:6");
    assert!(notes(&["plan"]).0[0].contains("could not be built now: `missing` is not in the build context"));
    machine.finish();
}

/// The same archive at another time, on another root: the same image.
#[test]
fn a_bootstrapped_image_is_reproducible() {
    let Some(machine) = Machine::new() else { return };
    let bootstrap = |name: &str| {
        let root = machine.path().join(name);
        let run_root = machine.path().join(format!("{name}-run"));
        let roots = ["--root", root.to_str().unwrap(), "--run-root", run_root.to_str().unwrap()];
        let arguments = ["--json", "image", "bootstrap", "base", "--variant", "essential"];
        let output = machine.command(&[&arguments[..], &roots].concat()).output().unwrap();
        let envelope: Value = serde_json::from_slice(&output.stdout).unwrap();
        (envelope["result"]["id"].clone(), envelope["diagnostics"].clone())
    };
    let (first, diagnostics) = bootstrap("one");
    if first.is_null() {
        eprintln!("skipped: no base image can be bootstrapped here: {}", diagnostics[0]["message"]);
        return machine.finish();
    }
    let (second, diagnostics) = bootstrap("two");
    assert_eq!(second, first, "{diagnostics}");
    machine.finish();
}

/// D9: contexts that are no folder, and contexts with names.
#[test]
fn contexts_from_elsewhere() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project
        .write("in/Dockerfile", "FROM busybox\nCOPY . /srv/\n")
        .write("in/other.Dockerfile", "FROM busybox\nCOPY other.Dockerfile /second\n")
        .write("in/file", "inside")
        .write("in/.dockerignore", "*Dockerfile*\n!other.Dockerfile\n")
        .write("lib/shared", "from the library");
    let packed =
        std::process::Command::new("tar").args(["-cz", "."]).current_dir(project.dir.join("in")).output().unwrap();
    let build = |arguments: &[&str], input: &[u8]| {
        let command = project.command(&[&["build", "-q", "-t", "made"], arguments].concat());
        let output = feed(command, input);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    build(&["-"], &packed.stdout);
    assert_eq!(shell(&project, "made", "cd /srv && cat file && ls -A"), "inside.dockerignore\nfile\nother.Dockerfile");
    build(&["-f", "other.Dockerfile", "-"], &packed.stdout);
    assert_eq!(shell(&project, "made", "head -n 1 /second"), "FROM busybox");
    build(&["-f", "-", "in"], b"FROM busybox\nCOPY file /third\n");
    assert_eq!(shell(&project, "made", "cat /third"), "inside");
    project.write("elsewhere", "FROM busybox\nCOPY shared /fourth\n");
    build(&["-f", "elsewhere", "lib"], b"");
    assert_eq!(shell(&project, "made", "cat /fourth"), "from the library");
    let named = ["--build-context", "lib=lib", "--build-context", "debian:12=docker-image://busybox", "-"];
    build(&named, b"FROM debian:12\nCOPY --from=lib shared /\n");
    assert_eq!(shell(&project, "made", "cat /shared"), "from the library");
}

/// D1: checks are reported by name, and nothing is built.
#[test]
fn build_checks() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write("Dockerfile", "FROM busybox AS Made\nCMD x\nRUN false\n");
    let checked = project.carrack(&["build", "--check", "."]);
    assert_eq!(checked.status.code(), Some(1));
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(told.contains("check/StageNameCasing") && told.contains("check/JSONArgsRecommended"), "{told}");
    assert!(told.contains("Dockerfile:1:17") && told.contains("Dockerfile:2:1"), "{told}");
    assert!(String::from_utf8_lossy(&checked.stdout).contains("2 warnings"));
    project.write("Dockerfile", "FROM busybox AS made\nCMD [\"x\"]\nRUN false\n");
    assert!(project.ok(&["build", "--check", "."]).contains("no warnings"));
}

/// D1: buildx is an accepted name, and so are Docker's flags; what means nothing here, or is not there yet, says so (I-6).
#[test]
fn the_other_names_of_build() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write("Dockerfile", "FROM busybox\nCOPY Dockerfile /\nCMD [\"true\"]\n");
    let accepted =
        ["--builder=default", "--rm", "--force-rm=true", "--compress", "--isolation=default", "--call=build"];
    project.ok(&[&["buildx", "build", "-t", "made"], &accepted[..], &["."]].concat());
    assert!(shell(&project, "made", "cat /Dockerfile").starts_with("FROM busybox"));
    assert!(project.ok(&["build", "--call=check", "."]).contains("no warnings"));
    assert_eq!(project.ok(&["build", "-t", "made", "--progress=none", "."]), "");
    for (flag, code) in [
        ("--builder=other", "cli/one-builder"),
        ("--rm=false", "cli/invalid-value"),
        ("--isolation=hyperv", "cli/invalid-value"),
        ("--squash", "cli/refused"),
        ("--security-opt=label=x", "cli/refused"),
        ("--call=nonsense", "cli/invalid-value"),
    ] {
        assert_eq!(project.fails(&["build", flag, "."]).code(), code, "{flag}");
    }
    assert_eq!(project.ok(&["buildx", "ls", "--format", "{{.Name}}"]), "default");
    assert!(project.ok(&["buildx", "inspect", "--bootstrap"]).contains("Driver: carrack"));
    assert_eq!(project.ok(&["buildx", "use", "default"]), "");
    assert!(project.ok(&["buildx", "version"]).starts_with("carrack "));
    for arguments in [&["create", "--use"][..], &["rm", "x"], &["stop"], &["use", "x"], &["inspect", "x"]] {
        assert_eq!(project.fails(&[&["buildx"], arguments].concat()).code(), "cli/one-builder", "{arguments:?}");
    }
    assert_eq!(project.fails(&["buildx", "history", "ls"]).code(), "cli/not-yet");
    machine.finish();
}

/// A context that has to arrive first is looked at too, and leaves nothing on the root (I-5).
#[test]
fn a_dry_run_of_a_context_that_arrives() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write("in/Dockerfile", "FROM busybox\nCOPY file /\n").write("in/file", "inside").write("tmp/own", "");
    let folder = project.dir.join("in");
    let packed = std::process::Command::new("tar").args(["-cz", "."]).current_dir(&folder).output().unwrap().stdout;
    let tree = || {
        let found = std::process::Command::new("find").arg(machine.data()).args(["-printf", "%P %s %T@\n"]).output();
        String::from_utf8(found.unwrap().stdout).unwrap()
    };
    let dry_run = |input: &[u8]| {
        let mut command = project.command(&["build", "--dry-run", "-"]);
        command.env("TMPDIR", project.dir.join("tmp"));
        let output = feed(command, input);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let before = tree();
    assert!(dry_run(&packed).starts_with("missed [2/2] COPY file /\n"));
    assert_eq!(dry_run(b"FROM busybox\nRUN true\n"), "missed [2/2] RUN true\n         no earlier build has done it\n");
    assert_eq!(tree(), before);
    assert_eq!(std::fs::read_dir(project.dir.join("tmp")).unwrap().count(), 1, "nor beside it");
    // What a killed one has left goes with the next; what somebody uses stays, and what is another's.
    project.write("tmp/carrack-context-1-0/data/left", "").write("tmp/carrack-context-2-0/data/used", "");
    let used = std::fs::File::open(project.dir.join("tmp/carrack-context-2-0")).unwrap();
    rustix::fs::flock(&used, rustix::fs::FlockOperation::LockExclusive).unwrap();
    std::os::unix::fs::symlink("../in", project.dir.join("tmp/carrack-context-3-0")).unwrap();
    dry_run(&packed);
    let mut left: Vec<_> =
        std::fs::read_dir(project.dir.join("tmp")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["carrack-context-2-0", "carrack-context-3-0", "own"]);
    assert!(folder.join("file").exists());
    feed(project.command(&["build", "-"]), &packed);
    assert_eq!(dry_run(&packed), "cached [2/2] COPY file /\n");
    machine.finish();
}

/// An interrupt ends the wait for a server, and nothing is left.
#[test]
fn an_interrupted_fetch_leaves_nothing() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write("Dockerfile", "FROM busybox\nCOPY --from=lib / /\n");
    // It takes connections and never answers.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    for suffix in ["lib.tar.gz", "lib.git"] {
        let address = format!("http://127.0.0.1:{}/{suffix}", server.local_addr().unwrap().port());
        for arguments in [&["build", "--build-context", &format!("lib={address}"), "."][..], &["build", &address]] {
            let mut command = project.command(arguments);
            let mut child =
                command.env_remove("HTTPS_PROXY").stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
            let asked = eventually("the server is asked", || server.accept().ok());
            let begin = std::time::Instant::now();
            kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
            assert_eq!(child.wait().unwrap().code(), Some(130), "{arguments:?}");
            assert!(begin.elapsed().as_secs() < 10, "at once: {:?}", begin.elapsed());
            drop(asked);
        }
    }
    assert_eq!(machine.json(&["doctor", "--leaks"]), serde_json::json!([]));
    machine.finish();
}

/// What a registry may have is not known before it is asked: the plan is provisional, not wrong.
#[test]
fn a_plan_does_not_need_the_base_image() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("shop");
    project
        .write("Dockerfile", "FROM registry.invalid/base:1\nRUN true\n")
        .write("compose.yaml", "services: {web: {build: .}}\n");
    let plan = project.json(&["plan"]);
    assert_eq!(plan["provisional"], true, "{plan}");
    let notes = plan["notes"].to_string();
    assert!(notes.contains("there is no image `registry.invalid/base:1` here yet"), "{notes}");
    machine.finish();
}

/// Docker's `build` takes a folder, Compose's a service, and a word may be either (D11).
#[test]
fn flags_tell_a_folder_from_a_service_and_none_is_ignored() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project
        .write("compose.yaml", "name: app\nservices:\n  web:\n    image: of-service\n    build: web\n")
        .write("web/Dockerfile", "FROM scratch\nLABEL of=service\n")
        .write("other/Dockerfile.other", "FROM scratch\nLABEL of=folder\n");
    project.ok(&["build", "-f", "other/Dockerfile.other", "-t", "of-folder", "other"]);
    let label = |image: &str| project.ok(&["image", "inspect", "-f", "{{.Config.Labels.of}}", image]);
    assert_eq!(label("of-folder"), "folder");
    project.ok(&["build", "-f", "compose.yaml", "--pull", "web"]);
    assert_eq!(label("of-service"), "service");
    for (flag, rest) in [("--tag", "nothing"), ("--target", "web")] {
        let Failure { status, diagnostics } = project.fails(&["build", "-f", "compose.yaml", flag, "x", rest]);
        assert_eq!((status, diagnostics[0]["code"].as_str()), (1, Some("cli/usage")));
        assert!(diagnostics[0]["message"].as_str().unwrap().contains(&format!("{flag} says nothing")));
    }
    assert!(!project.ok(&["images"]).contains("x:latest"));
    machine.finish();
}
