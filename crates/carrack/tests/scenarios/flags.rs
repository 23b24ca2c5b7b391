//! Flags that could be taken and then not be held: each has its effect, or is refused by name (F1 to F8, I-6).

use serde_json::Value;

use crate::machine::{Machine, eventually};

#[test]
fn what_could_have_no_effect_is_refused() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "other", "--network", "none", "busybox", "sleep", "1000"]);
    for (flags, code) in [
        (&["--uts", "host", "--hostname", "x"][..], "container/invalid-setting"),
        (&["--uts", "host", "--domainname", "x.y"], "container/invalid-setting"),
        (&["--network", "container:other", "--expose", "80"], "container/invalid-setting"),
        (&["--health-cmd", "true", "--health-interval", "1us"], "cli/invalid-value"),
        (&["--health-cmd", "true", "--health-start-interval", "999us"], "cli/invalid-value"),
        (&["--log-driver", "none", "--log-opt", "max-size=1m"], "cli/invalid-value"),
        (&["--pids-limit", "1", "--init"], "container/invalid-setting"),
        (&["--cpu-shares", "1"], "container/invalid-setting"),
        (&["--log-opt", "compress=true", "--log-opt", "max-file=1"], "cli/invalid-value"),
        (
            &["--pids-limit", "1", "--mount", "type=bind,src=/tmp,dst=/v,idmap=uids=0-1-1;gids=0-1-1"],
            "container/invalid-setting",
        ),
        (&["--mount", "type=volume,dst=/v,volume-driver=nobody"], "cli/refused"),
        (&["--mount", "type=volume,dst=/v,volume-opt=size"], "cli/invalid-value"),
        (&["--mount", "type=volume,dst=/v,volume-opt=size=1m"], "engine/invalid-volume-option"),
        (&["--mount", "type=tmpfs,dst=/v,volume-label=a=b"], "cli/invalid-value"),
    ] {
        let failure = machine.fails(&[&["run"], flags, &["busybox", "true"]].concat());
        assert_eq!((failure.code(), failure.status), (code, 125), "{flags:?}: {}", failure.text());
    }
    assert_eq!(machine.ok(&["ps", "-aq"]).lines().count(), 1);
    assert_eq!(machine.ok(&["volume", "ls", "-q"]), "");
    let run = ["run", "--rm", "--link-local-ip", "192.0.2.1", "busybox", "true"];
    assert_eq!(machine.fails(&run).code(), "engine/invalid-network");
    // 0 is nothing said, not a memory without bound.
    let run = ["run", "--rm", "--network", "none", "--shm-size", "0", "busybox"];
    let size = machine.ok(&[&run[..], &["df", "-k", "/dev/shm"]].concat());
    assert!(size.contains(" 65536 "), "{size}");
    machine.finish();
}

/// Where the kernel has no weights, that is said.
#[test]
fn a_weight_reaches_a_container_that_runs() {
    let Some(machine) = Machine::new() else { return };
    if !std::path::Path::new("/sys/fs/cgroup/blkio").is_dir() {
        return eprintln!("skipped: weights of v2 are looked at in the guest");
    }
    let run = ["run", "-d", "--network", "none", "--name"];
    machine.ok(&[&run[..], &["plain", "busybox", "sleep", "1000"]].concat());
    machine.ok(&[&run[..], &["weighed", "--blkio-weight", "200", "busybox", "sleep", "1000"]].concat());
    for name in ["plain", "weighed"] {
        machine.ok(&["update", "--blkio-weight", "300", name]);
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", machine.pid(name))).unwrap();
        let group = groups.lines().find_map(|line| line.split_once(":blkio:")).unwrap().1;
        let weight = std::fs::read_to_string(format!("/sys/fs/cgroup/blkio{group}/blkio.bfq.weight")).unwrap();
        assert_eq!(weight.trim(), "300", "{name}");
        assert_eq!(machine.fails(&["update", "--blkio-weight", "5", name]).code(), "container/invalid-setting");
        let said = machine.ok(&["inspect", "--format", "{{.HostConfig.BlkioWeight}}", name]);
        assert_eq!(said, "300", "{name}");
    }
    machine.finish();
}

#[test]
fn a_mount_makes_its_volume_as_it_says() {
    let Some(machine) = Machine::new() else { return };
    let settings =
        "volume-opt=type=tmpfs,volume-opt=device=tmpfs,\"volume-opt=o=size=1m,mode=700\",volume-label=team=blue";
    let show = ["busybox", "grep", " /v ", "/proc/mounts"];
    let named = format!("type=volume,src=made,dst=/v,volume-driver=local,{settings}");
    let run = ["run", "--rm", "--network", "none", "--mount"];
    let said = machine.ok(&[&run[..], &[&named], &show[..]].concat());
    assert!(said.starts_with("tmpfs /v tmpfs ") && said.contains("size=1024k"), "{said}");
    let volume: Value = serde_json::from_str(&machine.ok(&["volume", "inspect", "made"])).unwrap();
    assert_eq!(volume[0]["Labels"]["team"], "blue");
    assert_eq!(volume[0]["Options"]["o"], "size=1m,mode=700");
    // As in Docker, what is there already stays as it is.
    machine.ok(&[&run[..], &["type=volume,src=made,dst=/v,volume-label=team=red"], &show[..]].concat());
    assert_eq!(machine.ok(&["volume", "inspect", "--format", "{{.Labels.team}}", "made"]), "blue");

    let anonymous = format!("type=volume,dst=/v,{settings}");
    let said = machine.ok(&[&run[..], &[&anonymous], &show[..]].concat());
    assert!(said.contains("size=1024k"), "{said}");
    assert_eq!(machine.ok(&["volume", "ls", "-q"]), "made", "it went with its container");
    machine.finish();
}

/// F8: `compress` packs what is rotated away, and everybody reads it as before.
#[test]
fn rotated_files_are_compressed_and_read_back() {
    let Some(machine) = Machine::new() else { return };
    let line = "n=$(cat /last 2>/dev/null || echo 0); end=$((n + 4000)); \
                while test $n -lt $end; do n=$((n+1)); echo line $n; done; echo $n > /last";
    let options = ["compress=true", "max-size=50k", "max-file=8"].map(|option| ["--log-opt", option]).concat();
    let run = [&["run", "--name", "one", "--network", "none"][..], &options, &["busybox", "sh", "-c", line]].concat();
    machine.carrack(&run);
    machine.ok(&["start", "-a", "one"]);
    let id = machine.ok(&["inspect", "--format", "{{.Id}}", "one"]);
    let folder = machine.data().join("containers").join(id);
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.starts_with("log.json"))
        .collect();
    names.sort();
    let packed: Vec<String> = (1..8).map(|number| format!("log.json.{number}.gz")).collect();
    assert_eq!(names, [vec!["log.json".to_owned()], packed].concat());
    let magic = std::fs::read(folder.join("log.json.3.gz")).unwrap();
    assert_eq!(magic[..2], [0x1f, 0x8b]);
    assert!(magic.len() < 25_000, "{} bytes", magic.len());

    let all = machine.ok(&["logs", "one"]);
    let numbers: Vec<usize> = all.lines().map(|line| line[5..].parse().unwrap()).collect();
    assert!(numbers.len() > 3000 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{} lines", numbers.len());
    assert_eq!(numbers.last(), Some(&8000));
    let tail = machine.ok(&["logs", "--tail", "2500", "one"]);
    assert!(tail.starts_with("line 5501\n") && tail.ends_with("line 8000"), "{:.40}", tail);
    assert_eq!(machine.ok(&["logs", "-f", "--tail", "1", "one"]), "line 8000");
    let config = machine.ok(&["inspect", "--format", "{{.HostConfig.LogConfig.Config.compress}}", "one"]);
    assert_eq!(config, "true");
    // What a power failure left of one hides no other.
    std::fs::write(folder.join("log.json.3.gz"), &magic[..magic.len() / 2]).unwrap();
    assert!(machine.ok(&["logs", "one"]).ends_with("line 8000"));
    machine.finish();
}

/// `-a` gives files to the container's user, and where it has none leaves them whose they were.
#[test]
fn archives_are_the_users_of_the_container_if_it_has_one() {
    let Some(machine) = Machine::new() else { return };
    let file = machine.path().join("file");
    std::fs::write(&file, "text").unwrap();
    std::os::unix::fs::chown(&file, Some(3000), Some(3001)).unwrap();
    for (name, flags, owner) in [("nobody", &[][..], "3000:3001"), ("somebody", &["-u", "33:34"], "33:34")] {
        let run = ["run", "-d", "--network", "none", "--name", name];
        machine.ok(&[&run[..], flags, &["busybox", "sleep", "1000"]].concat());
        machine.ok(&["cp", "-a", "file", &format!("{name}:/tmp/file")]);
        assert_eq!(machine.ok(&["exec", name, "stat", "-c", "%u:%g", "/tmp/file"]), owner);
    }
    machine.finish();
}

/// The process that writes the log.
fn worker(machine: &Machine, name: &str) -> Option<i32> {
    let id = machine.ok(&["inspect", "--format", "{{.Id}}", name]);
    let state = std::fs::read(machine.path().join("run/containers").join(id).join("state.json")).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    state["worker_pid"].as_i64().filter(|pid| *pid > 0).map(|pid| i32::try_from(pid).unwrap())
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// F8: a disk that stands still costs lines and, where that was asked for, never the program's time.
#[test]
fn a_full_buffer_costs_lines_and_no_time() {
    use rustix::process::Signal;
    let Some(machine) = Machine::new() else { return };
    let line = "echo first; until test -e /go; do usleep 10000; done; \
                dd if=/dev/zero bs=64k count=64 2>/dev/null | tr '\\0' x | fold -w 63; touch /done; exec sleep 1000";
    let run = ["run", "-d", "--network", "none", "--name"];
    let buffered = ["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=256k"];
    machine.ok(&[&run[..], &["drops"], &buffered, &["busybox", "sh", "-c", line]].concat());
    machine.ok(&[&run[..], &["waits", "busybox", "sh", "-c", line]].concat());
    let config = machine.ok(&["inspect", "--format", "{{json .HostConfig.LogConfig.Config}}", "drops"]);
    assert!(
        config.contains(r#""mode":"non-blocking""#) && config.contains(r#""max-buffer-size":"262144""#),
        "{config}"
    );
    let names = ["drops", "waits"];
    let workers = names.map(|name| eventually("its worker", || worker(&machine, name)));
    for (name, worker) in names.iter().zip(workers) {
        eventually("the first line", || (machine.ok(&["logs", name]) == "first").then_some(()));
        signal(worker, Signal::STOP);
        machine.ok(&["exec", name, "touch", "/go"]);
    }
    let is_done = |name: &str| machine.code(&["exec", name, "test", "-e", "/done"]) == 0;
    eventually("the end of what is dropped", || is_done("drops").then_some(()));
    assert!(!is_done("waits"), "4 MiB find no room on the way");
    workers.iter().for_each(|worker| signal(*worker, Signal::CONT));
    eventually("the end of what waits", || is_done("waits").then_some(()));
    let lines = |name: &str| {
        let output = machine.carrack(&["logs", name]);
        let whole = String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.len() == 63).count();
        (whole, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let all = (4 << 20) / 63;
    eventually("every line", || (lines("waits").0 == all).then_some(()));
    let (kept, note) = eventually("what was dropped", || Some(lines("drops")).filter(|(_, note)| !note.is_empty()));
    assert!(note.contains("bytes of output were lost: the log's buffer was full"), "{note}");
    assert!((1000..all / 2).contains(&kept), "{kept} of {all}");
    machine.finish();
}
