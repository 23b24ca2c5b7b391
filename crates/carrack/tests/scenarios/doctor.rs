//! `doctor` finds what is planted and says what removes it; `info` says what is true (O1, F11).

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::machine::{Machine, eventually, exit_code};

/// The only leak, or none.
fn leaks(machine: &Machine) -> Vec<Value> {
    let mut all = machine.json_whatever(&["doctor", "--leaks"]).as_array().unwrap().clone();
    all.retain(|leak| leak["kind"] != "deleted root");
    all
}

/// Sees that what was planted is the one thing found, does what removes it, and sees that it is gone.
fn found_and_removed(machine: &Machine, kind: &str, name: &str) {
    let found = leaks(machine);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["kind"], kind, "{found:?}");
    assert!(found[0]["name"].as_str().unwrap().contains(name), "{name}: {found:?}");
    let report = machine.json(&["doctor"]);
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["name"] == "leftovers").unwrap();
    assert_eq!((&check["ok"], &check["code"]), (&Value::from(false), &Value::from("doctor/leftovers")));
    let fix = found[0]["fix"].as_str().unwrap();
    if fix.starts_with("the next command") {
        machine.ok(&["rm", "--force", "nobody"]);
    } else {
        assert!(Command::new("sh").args(["-e", "-c", fix]).status().unwrap().success(), "{fix}");
    }
    eventually("it is gone", || leaks(machine).is_empty().then_some(()));
}

#[test]
fn each_kind_that_is_planted_is_found_with_what_removes_it() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "--name", "ended", "--network", "none", "busybox", "true"]);
    eventually("its shim has ended", || leaks(&machine).is_empty().then_some(()));
    let data = machine.data();
    let run = machine.path().join("run");

    // A mount below a root, in the host's namespace.
    let folder = data.join("volumes");
    std::fs::create_dir_all(&folder).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "planted"]).arg(&folder).status().unwrap();
    assert!(mounted.success());
    found_and_removed(&machine, "mount", "volumes");

    // A name that nobody has, and the folder of a container that does not exist.
    symlink("0".repeat(64), data.join("names/planted")).unwrap();
    found_and_removed(&machine, "name", "planted");
    std::fs::create_dir(data.join("containers/planted")).unwrap();
    found_and_removed(&machine, "file", "containers/planted");

    // What a container that does not run has no use for.
    let id = machine.ok(&["inspect", "--format", "{{.Id}}", "ended"]);
    std::fs::write(run.join("containers").join(&id).join("planted"), "").unwrap();
    found_and_removed(&machine, "file", "planted");

    // A control group, and a process in one.
    let running = machine.ok(&["run", "-d", "--network", "none", "busybox", "sleep", "1000"]);
    let groups = cgroups_of(machine.pid(&running));
    let group = groups.iter().find(|path| path.ends_with(&running)).unwrap().parent().unwrap().to_owned();
    let planted = group.join("planted");
    std::fs::create_dir(&planted).unwrap();
    found_and_removed(&machine, "cgroup", "planted");
    std::fs::create_dir(&planted).unwrap();
    let mut sleeper = Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap();
    std::fs::write(planted.join("cgroup.procs"), sleeper.id().to_string()).unwrap();
    let kinds: Vec<Value> = leaks(&machine).iter().map(|leak| leak["kind"].clone()).collect();
    assert_eq!(kinds, ["cgroup", "process"]);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    std::fs::remove_dir(&planted).unwrap();
    assert_eq!(leaks(&machine), Vec::<Value>::new());
    machine.finish();
}

/// Its control groups, one a hierarchy.
fn cgroups_of(pid: i32) -> Vec<std::path::PathBuf> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let point = |controllers: &str| {
        mounts.lines().find_map(|line| {
            let (mount, system) = line.split_once(" - ")?;
            let wanted =
                if controllers.is_empty() { system.starts_with("cgroup2 ") } else { is_of(system, controllers) };
            wanted.then(|| mount.split(' ').nth(4).unwrap().to_owned())
        })
    };
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            Some(std::path::PathBuf::from(format!("{}{path}", point(controllers)?)))
        })
        .collect()
}

fn is_of(system: &str, controllers: &str) -> bool {
    system.starts_with("cgroup ") && system.rsplit(' ').next().unwrap().split(',').any(|one| one == controllers)
}

#[test]
fn the_host_is_described_as_the_kernel_has_it() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "alive", "--network", "none", "busybox", "sleep", "1000"]);
    machine.ok(&["create", "busybox", "true"]);
    let info = machine.json(&["info"]);
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    assert_eq!(info["KernelVersion"], release.trim());
    assert_eq!((&info["Containers"], &info["ContainersRunning"]), (&Value::from(2), &Value::from(1)));
    assert_eq!((&info["ContainersStopped"], &info["Images"]), (&Value::from(1), &Value::from(1)));
    assert_eq!(info["DockerRootDir"], machine.data().to_str().unwrap());
    let processors = std::thread::available_parallelism().unwrap().get();
    assert!(info["NCPU"].as_u64().unwrap() as usize >= processors);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap();
    assert!(memory.contains(&format!("{} kB", info["MemTotal"].as_u64().unwrap() / 1024)));
    assert_eq!(
        machine.ok(&["system", "info", "--format", "{{.OSType}}/{{.Architecture}}"]),
        format!("linux/{}", std::env::consts::ARCH)
    );
    let text = machine.ok(&["info"]);
    assert!(text.contains("\n Containers: 2\n  Running: 1\n  Paused: 0\n  Stopped: 1\n Images: 1\n"), "{text}");
    assert_eq!(exit_code(&machine.carrack(&["info", "--format", "{{.Colour}}"])), 1);
    machine.finish();
}

#[test]
fn every_finding_has_a_code_that_can_be_explained() {
    let Some(machine) = Machine::new() else { return };
    let report = machine.json(&["doctor"]);
    assert_eq!(report["level"], "everything");
    for check in report["checks"].as_array().unwrap() {
        machine.ok(&["explain", check["code"].as_str().unwrap()]);
    }
    machine.finish();
}
