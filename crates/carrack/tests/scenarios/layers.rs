//! Layers as one file (DESIGN: layers that are mounted, not unpacked).

use std::path::PathBuf;

use crate::machine::{Machine, eventually, kill};

const ONE_FILE: [&str; 2] = ["--snapshotter", "one-file"];

/// A machine that can keep layers as one file, with an image of two such layers and an unpacked one below.
fn machine() -> Option<Machine> {
    let machine = Machine::new()?;
    let project = machine.project("app");
    let dockerfile = "FROM busybox\nCOPY data /data\nRUN rm /data/gone && echo made > /data/made\n";
    project.write("Dockerfile", dockerfile).write("data/kept", "kept\n").write("data/gone", "gone\n");
    let built = project.carrack(&[&ONE_FILE[..], &["build", "-t", "app", "."]].concat());
    let said = String::from_utf8_lossy(&built.stderr).into_owned();
    if said.contains("store/layer-form") {
        eprintln!("skipped: {said}");
        return None;
    }
    assert!(built.status.success(), "{said}");
    Some(machine)
}

/// Where layers are attached.
fn attached(machine: &Machine) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let targets = table.lines().filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from);
    targets.filter(|target| target.starts_with(machine.path())).collect()
}

#[test]
fn layers_are_mounted_once_while_containers_have_them() {
    let Some(machine) = machine() else { return };
    assert_eq!(attached(&machine), Vec::<PathBuf>::new(), "the build is over");
    let unpacked = std::fs::read_dir(machine.data().join("snapshots")).unwrap();
    let folders = unpacked.filter(|entry| entry.as_ref().unwrap().path().join("fs").is_dir()).count();
    assert!(folders <= 1, "only what was imported is a folder");
    for name in ["one", "two"] {
        machine.ok(&["run", "-d", "--name", name, "--network", "none", "app", "sleep", "1000"]);
    }
    let layers = attached(&machine).len();
    assert!((2..=3).contains(&layers), "{layers}");
    assert_eq!(machine.ok(&["exec", "one", "ls", "/data"]), "kept\nmade");
    machine.ok(&["exec", "one", "sh", "-c", "echo changed > /data/kept"]);
    assert_eq!(machine.ok(&["exec", "two", "cat", "/data/kept"]), "kept");
    assert_eq!(machine.json(&["doctor", "--leaks"]), serde_json::json!([]));
    machine.ok(&["rm", "-f", "one"]);
    assert_eq!(attached(&machine).len(), layers, "the other has them still");
    machine.ok(&["rm", "-f", "two"]);
    assert_eq!(attached(&machine), Vec::<PathBuf>::new());
    machine.finish();
}

/// I-3: whoever is killed leaves nothing that the next command does not put away, and the oracle sees it until then.
#[test]
fn layers_of_a_killed_build_are_put_away() {
    let Some(machine) = machine() else { return };
    let project = machine.project("slow");
    project.write("Dockerfile", "FROM app\nRUN echo begun; sleep 1000\n");
    let mut build = project.command(&[&ONE_FILE[..], &["build", "-t", "slow", "."]].concat());
    let mut build = build.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually("its layers are attached", || (attached(&machine).len() >= 2).then_some(()));
    kill(i32::try_from(build.id()).unwrap());
    build.wait().unwrap();
    machine.ok(&["create", "--name", "next", "busybox", "true"]);
    machine.ok(&["rm", "next"]);
    assert_eq!(attached(&machine), Vec::<PathBuf>::new());

    let planted = machine.path().join("run/layers/planted");
    std::fs::create_dir_all(&planted).unwrap();
    rustix::mount::mount_bind(machine.path(), &planted).unwrap();
    let leaks = String::from_utf8(machine.carrack(&["doctor", "--leaks"]).stdout).unwrap();
    assert!(leaks.contains("mount") && leaks.contains(planted.to_str().unwrap()), "{leaks}");
    machine.ok(&["create", "--name", "next", "busybox", "true"]);
    machine.ok(&["rm", "next"]);
    machine.finish();
}

/// I-5: what comes of an image of such layers is told without attaching one.
#[test]
fn who_only_looks_reads_them_too() {
    let Some(machine) = machine() else { return };
    let project = machine.project("look");
    let dockerfile = "FROM busybox\nCOPY --from=app /data/kept /\nCOPY --from=app /data/made /\n";
    let service = "services:\n  web: {build: ., image: look, network_mode: none, stop_grace_period: 0s}\n";
    project.write("Dockerfile", dockerfile).write("compose.yaml", service);
    project.ok(&[&ONE_FILE[..], &["build", "-t", "look", "."]].concat());
    let plan = project.json(&["up", "--dry-run", "--build"]);
    assert_eq!((&plan["notes"], &plan["provisional"]), (&serde_json::json!([]), &false.into()), "it is what is there");
    assert_eq!(attached(&machine), Vec::<PathBuf>::new());
    machine.finish();
}

/// Whether a root can have them is told by everybody whom it may concern, and tried without leaving anything.
#[test]
fn where_they_can_not_be_is_told() {
    let Some(machine) = machine() else { return };
    let on_memory = tempfile::tempdir_in("/dev/shm").unwrap();
    let memory = on_memory.path().to_str().unwrap();
    let found = |root: &str| {
        let report = machine.json_whatever(&["--root", root, "doctor"]);
        let checks = report["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["code"] == "doctor/layers").unwrap();
        let warnings = machine.json(&["--root", root, "info"])["Warnings"].to_string();
        (check["ok"] == true, warnings.contains("one file"))
    };
    assert_eq!(found(machine.data().to_str().unwrap()), (true, false));
    assert_eq!(found(memory), (false, true));
    assert_eq!(std::fs::read_dir(memory).unwrap().count(), 0);
    machine.finish();
}
