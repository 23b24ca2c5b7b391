//! What is mounted as whose, and devices by their names (F4, F5, G7).

use std::os::unix::fs::{MetadataExt, chown};

use crate::machine::Machine;

/// Files are shown as another's, and what is written is their owner's on the host.
#[test]
fn a_bind_shows_its_files_as_another_s() {
    let Some(machine) = Machine::new() else { return };
    let folder = machine.path().join("files");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("old"), "text").unwrap();
    for path in [folder.clone(), folder.join("old")] {
        chown(path, Some(3000), Some(3001)).unwrap();
    }
    let mount = |more: &str| format!("type=bind,source={},target=/files,{more}", folder.display());
    let mapped = mount("idmap=uids=3000-0-10;gids=3001-0-10");
    let run = |mount: &str, line: &str| {
        machine.carrack(&["run", "--rm", "--network", "none", "--mount", mount, "busybox", "sh", "-c", line])
    };
    let output = run(&mapped, "stat -c %u:%g /files/old && echo new > /files/new");
    if String::from_utf8_lossy(&output.stderr).contains("can't show its files as other users'") {
        eprintln!("skipped: this file system shows no files as other users'");
        return machine.finish();
    }
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0:0", "{output:?}");
    let made = std::fs::metadata(folder.join("new")).unwrap();
    assert_eq!((made.uid(), made.gid()), (3000, 3001));
    // Owners alone: groups are as they were.
    let output = run(&mount("idmap=uids=3000-7-1"), "stat -c %u:%g /files/old");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "7:3001");
    // In no range, it is nobody's, and nobody writes there.
    let output = run(&mount("idmap=uids=1-1-1;gids=1-1-1"), "stat -c %u:%g /files/old; touch /files/other");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "65534:65534");
    assert!(!output.status.success() && !folder.join("other").exists());
    // Read-only beside it, and a volume's files the same.
    let output = run(&format!("{mapped},readonly"), "stat -c %u /files/old; touch /files/x");
    assert!(output.stdout.starts_with(b"0\n") && !output.status.success());
    let volume = "type=volume,source=vol,target=/files,idmap=uids=0-50-1;gids=0-60-1";
    assert_eq!(String::from_utf8_lossy(&run(volume, "stat -c %u:%g /files").stdout).trim(), "50:60");
    // It is so again in the next run, as its shim starts it.
    machine.ok(&["run", "-d", "--name", "web", "--network", "none", "--mount", &mapped, "busybox", "sleep", "1000"]);
    machine.ok(&["restart", "-t", "0", "web"]);
    assert_eq!(machine.ok(&["exec", "web", "stat", "-c", "%u", "/files/old"]), "0");
    assert!(machine.ok(&["exec", "web", "ps"]).lines().count() <= 3, "nobody is left of who said so");
    let failure = machine.fails(&["run", "--rm", "--mount", &mount("idmap"), "busybox", "true"]);
    assert_eq!((failure.code(), failure.status), ("cli/invalid-value", 125));
    machine.finish();
}

/// What is mounted at /etc keeps the container's names and servers in sight; mounts that can't travel are not said to.
#[test]
fn a_volume_at_etc_covers_no_file_of_the_container_s() {
    let Some(machine) = Machine::new() else { return };
    let run = ["run", "--rm", "--network", "none", "--hostname", "box", "--mount"];
    let volume = "type=volume,source=own,target=/etc,volume-nocopy";
    assert_eq!(
        machine.ok(&[&run[..], &[volume, "busybox", "sh", "-c", "cat /etc/hostname; ls /etc | wc -l"]].concat()),
        "box\n3"
    );
    let script = "mount -t tmpfs none files && exec \"$@\"";
    std::fs::create_dir(machine.path().join("files")).unwrap();
    let bind = format!("type=bind,source={}/files,target=/x,bind-propagation=rshared", machine.path().display());
    let carrack = machine.command(&[&["--json"], &run[..], &[&bind, "busybox", "true"]].concat());
    // In a mount namespace of its own, where nothing is shared.
    let mut alone = std::process::Command::new("unshare");
    alone.args(["-m", "--propagation", "private", "sh", "-c", script, "sh"]).arg(carrack.get_program());
    alone.args(carrack.get_args()).current_dir(machine.path());
    alone.env_clear().envs(carrack.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = alone.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && said.contains("which is not shared"), "{output:?}");
    machine.finish();
}

/// A vendor's file of this test's own among the host's.
struct Specification(std::path::PathBuf);

impl Specification {
    fn new(kind: &str, text: &str) -> Self {
        std::fs::create_dir_all("/var/run/cdi").unwrap();
        let path = std::path::Path::new("/var/run/cdi").join(format!("{}.json", kind.replace('/', "-")));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Specification {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir("/var/run/cdi");
    }
}

#[test]
fn a_device_is_given_by_its_name() {
    let Some(machine) = Machine::new() else { return };
    if !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("skipped: no device here that containers don't have anyway");
        return machine.finish();
    }
    let kind = format!("carrack.example/p{}", std::process::id());
    let kept = machine.path().join("kept");
    std::fs::write(&kept, "library\n").unwrap();
    let text = serde_json::json!({
        "cdiVersion": "0.6.0", "kind": kind,
        "containerEdits": { "env": ["DRIVER=1.2"] },
        "devices": [
            { "name": "zero", "containerEdits": {
                "deviceNodes": [{ "path": "/dev/shop", "hostPath": "/dev/fuse", "permissions": "r" }],
                "mounts": [{ "hostPath": kept, "containerPath": "/opt/library", "options": ["ro", "nosuid", "nodev"] }],
            } },
            { "name": "hooked", "containerEdits": { "hooks": [{ "hookName": "createContainer", "path": "/bin/true" }] } },
        ],
    });
    let _specification = Specification::new(&kind, &text.to_string());
    let device = format!("{kind}=zero");
    let flags = ["run", "--rm", "--network", "none", "--device"];
    let line = "echo $DRIVER; cat /opt/library; (: < /dev/shop) && echo read; (: >> /dev/shop) || echo kept";
    let said = machine.ok(&[&flags[..], &[&device, "busybox", "sh", "-c", line]].concat());
    assert_eq!(said, "1.2\nlibrary\nread\nkept");
    for (name, code) in [("hooked", "engine/device-refused"), ("nobody", "engine/device")] {
        let failure = machine.fails(&[&flags[..], &[&format!("{kind}={name}"), "busybox", "true"]].concat());
        assert_eq!((failure.code(), failure.status), (code, 125), "{}", failure.text());
    }
    let project = machine.project("shop");
    let service = format!(
        "services: {{web: {{image: busybox, network_mode: none, init: true, command: [sleep, '1000'], devices: ['{device}']}}}}\n"
    );
    project.write("compose.yaml", &service);
    project.ok(&["up", "-d"]);
    assert_eq!(project.ok(&["compose", "exec", "-T", "web", "sh", "-c", "echo $DRIVER"]), "1.2");
    project.ok(&["down"]);
    machine.finish();
}
