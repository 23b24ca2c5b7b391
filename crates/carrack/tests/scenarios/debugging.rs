//! What somebody sees who looks for the reason of a failed build (X23, D1).

use std::io::{BufRead as _, Write as _};
use std::process::{Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::machine::{Machine, Project, exit_code, feed};

const DOCKERFILE: &str = "\
FROM busybox AS base
ENV WHO=everybody
WORKDIR /srv
COPY file .
RUN --mount=type=cache,target=/cache --mount=type=secret,id=key --mount=from=busybox,target=/tools,rw --network=none \\
    echo cached > /cache/kept && echo made > made && touch /tools/mark && \\
    test -e proper
USER app
RUN [\"id\"]
FROM scratch AS empty
COPY file /
FROM base AS broken
RUN true
COPY missing /
";

fn debug(project: &Project, arguments: &[&str], commands: &str) -> (i32, String, String) {
    let flags = ["build", "--secret", "id=key,src=key", "--progress=plain"];
    let output: Output = feed(project.command(&[&flags[..], arguments, &["."]].concat()), commands.as_bytes());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
    (exit_code(&output), text(&output.stdout), text(&output.stderr))
}

/// X23: what a step finds and what it leaves, a failed one too; and nothing of the shell stays.
#[test]
fn a_shell_before_and_after_any_step() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write("Dockerfile", DOCKERFILE).write("file", "in").write("key", "hidden");
    let look =
        "pwd; id -u; echo $WHO; ls; cat /cache/* /run/secrets/key; ip -o link | wc -l; echo evil > /cache/kept; exit 5";

    // The failure names the command that opens a shell in what it has left.
    let (status, _, told) = debug(&project, &["--target", "base"], "");
    assert_eq!(status, 1);
    let offered = "carrack build --debug=after:5 --secret id=key,src=key --progress=plain --target base .";
    assert!(told.contains(offered), "{told}");
    for at in ["--debug=after:6", "--debug=base:4", "--debug=test -e proper", "--debug"] {
        let (status, out, told) = debug(&project, &[at, "--target", "base"], look);
        assert_eq!(out, "/srv\n0\neverybody\nfile\nmade\ncached\nhidden1", "{at}: {told}");
        // The build fails as it did.
        assert!(status == 1 && told.contains("build/run-failed"), "{at}: {told}");
    }
    let (status, out, told) = debug(&project, &["--debug=before:5"], look);
    assert_eq!((status, out.as_str()), (5, "/srv\n0\neverybody\nfile\ncached\nhidden1"), "{told}");
    let (_, out, _) = debug(&project, &["--debug=after:5"], "ls -d /tools/bin/sh /tools/mark");
    assert_eq!(out, "/tools/bin/sh\n/tools/mark", "a mount of layers is as the failed step has left it");
    let (status, out, _) = debug(&project, &["--debug=after:[base 3/5]"], "cat file; echo here > new; ls");
    assert_eq!((status, out.as_str()), (0, "infile\nnew"));
    // Steps that are no RUN: what a RUN in their place would have.
    let (_, out, _) = debug(&project, &["--debug=before:workdir"], "pwd; ls /srv /run/secrets 2>&1 | wc -l");
    assert_eq!(out, "/\n2");
    // A COPY that fails, below a step that failed before.
    project.write("proper", "").write("Dockerfile", DOCKERFILE.replace("    test -e proper", "    true"));
    let (status, out, told) = debug(&project, &["--debug"], "id -un; ls");
    assert_eq!((status, out.as_str()), (1, "app\nfile\nmade"), "{told}");
    assert!(told.contains("build/source-not-found"), "{told}");
    // An image without a shell is lent one.
    let (status, out, told) = debug(&project, &["--debug=empty:2"], "ls -d /file /bin; exit 3");
    assert_eq!((status, out.as_str()), (3, "/file"), "{told}");
    // Nothing has been cached that a shell did, and nothing is left.
    let built = project.json(&["build", "--secret", "id=key,src=key", "--target", "base", "-t", "base", "."]);
    assert_eq!((&built["steps"], &built["cached_steps"]), (&json!(4), &json!(4)));
    let files = project.ok(&["run", "--rm", "--network=none", "base", "ls", "/", "/srv"]);
    assert!(!files.contains("new") && !files.contains(".carrack"), "{files}");
    machine.finish();
}

#[test]
fn stops_that_there_are_not() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write("Dockerfile", DOCKERFILE);
    for (at, word) in [("99", "line 99"), ("base:9", "1 to 5"), ("before:1", "after:"), ("RUN", "13"), ("RUM", "line")]
    {
        let output = feed(project.command(&["build", &format!("--debug={at}"), "."]), b"");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("build/no-such-step") && told.contains(word), "{at}: {told}");
    }
    assert_eq!(project.fails(&["build", "--debug", "."]).code(), "cli/invalid-value", "JSON and a shell");
    assert_eq!(project.code(&["build", "--debug", "-o", "-", "."]), 1);
    assert_eq!(project.code(&["build", "--debug", "-"]), 1);
    machine.finish();
}

/// An interrupt ends the shell of a script too.
#[test]
fn an_interrupted_shell_leaves_nothing() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write("Dockerfile", "FROM busybox\nRUN true\n");
    let mut command = project.command(&["build", "--debug=after:2", "."]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"echo begun; sleep 1000\n").unwrap();
    let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "begun");
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(137), "the shell was killed");
    assert_eq!(machine.json(&["doctor", "--leaks"]), json!([]));
    machine.finish();
}

/// Somebody at a terminal gets one in the shell.
#[test]
fn a_shell_in_a_terminal() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("app");
    project.write("Dockerfile", "FROM busybox\nRUN echo built > /made\n");
    let line = format!("{} build --debug=after:2 .", env!("CARGO_BIN_EXE_carrack"));
    let environment = project.command(&[]);
    let mut script = std::process::Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).current_dir(&project.dir).env_clear();
    script.envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if std::process::Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: there is no script(1)");
        return machine.finish();
    }
    let output = feed(script, b"test -t 0 && test -t 1 && cat /made && echo $TERM\nexit 3\n");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(told.contains("built\r\nxterm\r\n"), "{told}");
    assert_eq!(exit_code(&output), 3, "{told}");
    assert_eq!(machine.json(&["doctor", "--leaks"]), json!([]));
    machine.finish();
}

/// A step that its limit has ended says so.
#[test]
fn a_step_without_memory() {
    let Some(machine) = Machine::new() else { return };
    let controllers = std::fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !controllers.contains("memory") && !std::path::Path::new("/sys/fs/cgroup/memory").exists() {
        eprintln!("skipped: this host has no memory controller");
        return machine.finish();
    }
    let project = machine.project("app");
    project.write("Dockerfile", "FROM busybox\nRUN exec dd if=/dev/zero of=/dev/null bs=200M count=1\n");
    let failure = project.fails(&["build", "--memory=16m", "--memory-swap=16m", "."]);
    assert_eq!(failure.place(), ("build/run-failed".into(), "Dockerfile:2:1".into()));
    let text = failure.text();
    assert!(text.contains("signal 9, SIGKILL") && text.contains("out of memory"), "{text}");
    machine.finish();
}

/// Whatever has asked for a build that fails, the command that opens a shell there is told, and does (X23).
#[test]
fn every_verb_that_builds_names_the_command() {
    let Some(machine) = Machine::new() else { return };
    let project = machine.project("all");
    project.write("sources/Dockerfile", "FROM busybox\nARG WORD\nRUN --network=none echo $WORD > /left && false\n");
    project
        .write("compose.yaml", "services:\n  web:\n    build: {context: sources, args: {WORD: composed}}\n")
        .write("other.yaml", "services:\n  web:\n    build: {context: sources, args: {WORD: other}}\n")
        .write(
            "docker-bake.json",
            r#"{"target":{"default":{"context":"sources","tags":["x"],"args":{"WORD":"it's"}}}}"#,
        );
    for (line, word) in [
        (&["up"][..], "composed"),
        (&["up", "-f", "other.yaml", "--build"], "other"),
        (&["compose", "-f", "other.yaml", "build"], "other"),
        (&["compose", "run", "web"], "composed"),
        (&["bake", "-f", "docker-bake.json"], "it's"),
    ] {
        let built = project.carrack(line);
        let told = String::from_utf8_lossy(&built.stderr);
        let Some((_, command)) = told.split_once("to look around in what it has left: carrack ") else {
            panic!("{line:?}: {told}")
        };
        let command = command.lines().next().unwrap();
        // As a shell reads it, with a shell of ours.
        let script = format!("echo 'cat /left' | {} {command}", env!("CARGO_BIN_EXE_carrack"));
        let mut shell = std::process::Command::new("sh");
        for (name, value) in project.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))) {
            shell.env(name, value);
        }
        let output = shell.args(["-c", &script]).current_dir(&project.dir).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout).trim(),
            word,
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    assert_eq!(machine.json(&["doctor", "--leaks"]), json!([]));
    machine.finish();
}
