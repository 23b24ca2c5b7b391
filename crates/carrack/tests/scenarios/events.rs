//! What happens on a root is told as it happens, with Docker's words (F7, O1).

use std::collections::BTreeSet;

use serde_json::Value;

use crate::machine::Machine;

/// All events so far, as `TYPE ACTION NAME`.
fn told(machine: &Machine, filters: &[&str]) -> Vec<String> {
    let filters: Vec<&str> = filters.iter().flat_map(|filter| ["--filter", *filter]).collect();
    let text = machine.ok(&[&["events", "--since", "1h", "--until", "0s", "--format", "json"], &filters[..]].concat());
    text.lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let attributes = &event["Actor"]["Attributes"];
            let name = if event["Type"] == "volume" { &event["Actor"]["ID"] } else { &attributes["name"] };
            format!("{} {} {}", word(&event["Type"]), word(&event["Action"]), word(name)).trim_end().to_owned()
        })
        .collect()
}

#[test]
fn a_life_is_told_in_docker_s_words_and_order() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["volume", "create", "data"]);
    machine.ok(&["network", "create", "net"]);
    machine.ok(&["network", "create", "other"]);
    let run = ["run", "-d", "--name", "one", "--label", "tier=web", "--network", "net", "-v", "data:/data"];
    machine.ok(&[&run[..], &["busybox", "sleep", "1000"]].concat());
    machine.ok(&["exec", "one", "true"]);
    let copied = machine.path().join("copied");
    machine.ok(&["cp", "one:/bin/busybox", copied.to_str().unwrap()]);
    machine.ok(&["cp", copied.to_str().unwrap(), "one:/copied"]);
    machine.ok(&["network", "connect", "other", "one"]);
    machine.ok(&["network", "disconnect", "other", "one"]);
    machine.ok(&["top", "one"]);
    machine.ok(&["restart", "-t", "0", "one"]);
    machine.ok(&["kill", "one"]);
    machine.ok(&["rm", "one"]);
    let expected = [
        "volume create data",
        "network create net",
        "network create other",
        "container create one",
        "network connect net",
        "volume mount data",
        "container start one",
        "container exec_create: true one",
        "container exec_start: true one",
        "container exec_die one",
        "container archive-path one",
        "container extract-to-dir one",
        "network connect other",
        "network disconnect other",
        "container top one",
        "container kill one",
        "container kill one",
        "container die one",
        "network disconnect net",
        "volume unmount data",
        "container stop one",
        "network connect net",
        "volume mount data",
        "container start one",
        "container restart one",
        "container kill one",
        "container die one",
        "network disconnect net",
        "volume unmount data",
        "container destroy one",
    ];
    let filters = ["type=container", "type=network", "type=volume"];
    assert_eq!(told(&machine, &filters), expected);
    let died = ["label=tier=web", "event=die"];
    assert_eq!(told(&machine, &died), ["container die one"; 2]);
    assert_eq!(told(&machine, &["container=on", "event=exec_start"]), ["container exec_start: true one"]);
    assert_eq!(told(&machine, &["label=tier=database"]), Vec::<String>::new());
    // What it was killed with, and how it ended.
    let text =
        machine.ok(&["events", "--since", "1h", "--until", "0s", "--filter", "event=kill", "--filter", "event=die"]);
    assert!(text.contains("signal=15") && text.contains("signal=9") && text.contains("exitCode=137"), "{text}");
    assert!(text.contains("execDuration=0, exitCode=137, image=busybox, name=one, tier=web)"), "{text}");
    assert_eq!(machine.fails(&["events", "--filter", "colour=red"]).code(), "cli/invalid-value");
    assert_eq!(machine.fails(&["events", "--until", "0s", "--format", "{{.Colour}}"]).code(), "cli/invalid-value");
    machine.finish();
}

#[test]
fn images_tell_what_becomes_of_them() {
    let Some(machine) = Machine::new() else { return };
    let archive = machine.path().join("saved.tar");
    let project = machine.project("made");
    project.write("Dockerfile", "FROM busybox\nLABEL made=here\n");
    project.ok(&["build", "-t", "made", "."]);
    machine.ok(&["tag", "made", "other:1"]);
    machine.ok(&["save", "-o", archive.to_str().unwrap(), "made"]);
    machine.ok(&["rmi", "made", "other:1"]);
    machine.ok(&["load", "-i", archive.to_str().unwrap()]);
    let actions = |filters: &[&str]| -> Vec<String> {
        told(&machine, filters).iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    let expected = ["create", "tag", "tag", "save", "untag", "untag", "delete", "load"];
    assert_eq!(actions(&["type=image", "label=made=here"]), expected);
    assert_eq!(actions(&["event=import"]), ["import"], "the fixture's");
    machine.finish();
}

/// Nobody follows through a pipe of another's: who is there hears all, and a root without events is waited for (I-5).
#[test]
fn who_follows_hears_every_container() {
    let Some(machine) = Machine::new() else { return };
    let mut follower = machine.follow(&["events", "--filter", "event=die", "--format", "died {{.Actor.ID}}"]);
    let mut early = machine.follow(&["--run-root", machine.path().join("none").to_str().unwrap(), "events"]);
    // It watches from when it holds an inotify; a container before that is not waited for.
    let mut lines = BTreeSet::new();
    loop {
        machine.ok(&["run", "--rm", "--network", "none", "busybox", "true"]);
        if follower.has_line() {
            break;
        }
    }
    let ids: BTreeSet<String> = (0..5)
        .map(|_| {
            let id = machine.ok(&["run", "-d", "--network", "none", "busybox", "true"]);
            machine.ok(&["wait", &id]);
            format!("died {id}\n")
        })
        .collect();
    while !ids.is_subset(&lines) {
        lines.insert(follower.until("died"));
    }
    assert!(!machine.path().join("none").exists(), "looking made a folder");
    assert!(!early.has_line());
    machine.finish();
}
