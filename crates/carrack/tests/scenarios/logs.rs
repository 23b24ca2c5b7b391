//! What a container has said, read again (F8).

use std::process::Stdio;

use serde_json::Value;

use super::machine::{Machine, eventually};

/// Standard output and standard error of a command that succeeds.
fn said(machine: &Machine, arguments: &[&str]) -> (Vec<u8>, Vec<u8>) {
    let output = machine.carrack(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    (output.stdout, output.stderr)
}

fn run(machine: &Machine, flags: &[&str], script: &str) {
    let rest = ["--network", "none", "busybox", "sh", "-c", script];
    machine.carrack(&[&["run", "--name", "one"][..], flags, &rest].concat());
}

#[test]
fn bytes_come_back_as_they_were_and_on_the_stream_they_came_from() {
    let Some(machine) = Machine::new() else { return };
    run(&machine, &[], r"printf 'a\377\376b\n\000'; printf 'w\303\nrong' >&2; printf 'rest'");
    assert_eq!(said(&machine, &["logs", "one"]), (b"a\xff\xfeb\n\0rest".to_vec(), b"w\xc3\nrong".to_vec()));
    let id = machine.ok(&["inspect", "--format", "{{.Id}}", "one"]);
    let file = std::fs::read_to_string(machine.data().join("containers").join(id).join("log.json")).unwrap();
    for line in file.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert!(entry["log"].is_string() && entry["stream"].is_string() && entry["time"].is_string(), "{entry}");
    }
    let (lines, _) = said(&machine, &["--json", "logs", "one"]);
    let lines: Vec<Value> = lines.split(|b| *b == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["schema"], "carrack/v1/logs");
    assert_eq!(lines.iter().filter(|line| line["result"]["stream"] == "stderr").count(), 2);
    assert!(lines.iter().any(|line| line["result"]["bytes"] == "Yf/+Ygo="), "{lines:?}");
    machine.ok(&["rm", "one"]);
    machine.finish();
}

/// A line of 40,000 bytes is three entries of the file and one line for its reader.
#[test]
fn long_lines_are_whole_and_have_one_time() {
    let Some(machine) = Machine::new() else { return };
    run(&machine, &[], "head -c 40000 /dev/zero | tr '\\0' x; echo; echo next");
    let (out, _) = said(&machine, &["logs", "one"]);
    assert_eq!(out, [vec![b'x'; 40000], b"\nnext\n".to_vec()].concat());
    let (out, _) = said(&machine, &["logs", "-t", "one"]);
    let lines: Vec<&[u8]> = out.split(|byte| *byte == b'\n').collect();
    // 2026-01-31T08:00:00.123456789Z
    assert_eq!((lines[0].len(), lines[1].len(), lines.len()), (31 + 40000, 31 + 4, 3));
    let time = String::from_utf8(lines[1][..30].to_vec()).unwrap();
    assert!(time.as_bytes()[19] == b'.' && time.ends_with('Z'), "{time}");
    machine.ok(&["rm", "one"]);
    machine.finish();
}

#[test]
fn a_log_stays_within_its_files_and_its_end_is_found_in_them() {
    let Some(machine) = Machine::new() else { return };
    let limits = ["--log-opt", "max-size=100k", "--log-opt", "max-file=3"];
    run(&machine, &limits, "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done");
    let id = machine.ok(&["inspect", "--format", "{{.Id}}", "one"]);
    let folder = machine.data().join("containers").join(id);
    let sizes: Vec<u64> = std::fs::read_dir(&folder)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("log.json"))
        .map(|entry| entry.metadata().unwrap().len())
        .collect();
    assert_eq!(sizes.len(), 3);
    assert!(sizes.iter().all(|size| *size < 103_000), "{sizes:?}");
    let all = machine.ok(&["logs", "one"]);
    let lines: Vec<&str> = all.lines().collect();
    assert!(lines.len() > 2000, "{} lines are left", lines.len());
    // Across the rotated files too.
    for tail in [0, 1, 5, 1500, lines.len() - 1, lines.len(), 30_000] {
        let shown = machine.ok(&["logs", "--tail", &tail.to_string(), "one"]);
        assert_eq!(shown.lines().collect::<Vec<_>>(), lines[lines.len() - tail.min(lines.len())..], "--tail {tail}");
    }
    machine.ok(&["rm", "one"]);
    machine.finish();
}

#[test]
fn a_follower_goes_on_over_restarts_and_ends_with_the_container() {
    let Some(machine) = Machine::new() else { return };
    let script = "echo run; [ -e /twice ] && exec sleep 1000; touch /twice; exit 1";
    let flags = ["-d", "--restart", "on-failure"];
    run(&machine, &flags, script);
    let mut lines = machine.follow(&["logs", "-f", "one"]);
    lines.until("run");
    lines.until("run");
    machine.ok(&["stop", "-t", "0", "one"]);
    let output = machine.command(&["logs", "-f", "one"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.stdout, b"run\nrun\n");
    machine.ok(&["rm", "one"]);
    machine.finish();
}

#[test]
fn options_and_drivers_are_done_or_refused_by_name() {
    let Some(machine) = Machine::new() else { return };
    let flags = ["--label", "team=blue", "-e", "TIER=web", "--log-opt", "labels=team,none", "--log-opt", "env=TIER"];
    run(&machine, &flags, "echo text");
    assert_eq!(machine.ok(&["logs", "--details", "one"]), "TIER=web,team=blue text");
    machine.ok(&["rm", "one"]);

    run(&machine, &["--log-driver", "none"], "echo text");
    assert_eq!(machine.fails(&["logs", "one"]).code(), "engine/no-log");
    machine.ok(&["rm", "one"]);

    for driver in ["journald", "syslog"] {
        assert_eq!(machine.fails(&["run", "--log-driver", driver, "busybox", "true"]).code(), "cli/not-yet");
    }
    for driver in ["fluentd", "splunk", "nothing"] {
        let failure = machine.fails(&["run", "--log-driver", driver, "busybox", "true"]);
        assert!(failure.text().contains(driver), "{}", failure.text());
    }
    for without in ["max-file=1", "max-size=-1"] {
        let flags = ["run", "--log-opt", "compress=true", "--log-opt", without, "busybox", "true"];
        assert_eq!(machine.fails(&flags).code(), "cli/invalid-value", "{without}");
    }
    assert_eq!(machine.fails(&["run", "--log-opt", "nothing=1", "busybox", "true"]).code(), "cli/invalid-value");
    machine.finish();
}

/// A container whose shim was killed is adopted by the next command that changes anything: who follows goes on.
#[test]
fn a_follower_survives_the_shim() {
    let Some(machine) = Machine::new() else { return };
    run(&machine, &["-d"], "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.2; done");
    let mut lines = machine.follow(&["logs", "-f", "one"]);
    lines.until("line 1");
    let shim = machine.shim_pid("one");
    super::machine::kill(shim);
    eventually("it is gone", || (!std::path::Path::new(&format!("/proc/{shim}")).exists()).then_some(()));
    let mut watcher = machine.follow(&["attach", "one"]);
    watcher.until("line");
    assert!(machine.shim_pid("one") != shim);
    lines.until("line 9");
    let all = machine.ok(&["logs", "one"]);
    for (number, line) in all.lines().enumerate() {
        assert_eq!(line, format!("line {number}"), "none is lost");
    }
    machine.ok(&["rm", "-f", "one"]);
    machine.finish();
}
