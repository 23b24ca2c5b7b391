//! Images whose /etc, /proc or the files that every container has of its own are not what is expected (I-6, F5).

use carrack_testkit::tar::Builder as Tar;

use crate::machine::Machine;

/// Imports busybox with further members.
fn import(machine: &Machine, name: &str, members: Tar) {
    let mut archive = carrack_testkit::image::busybox_rootfs().unwrap();
    // Before the end that is written in zeros.
    let used = archive.iter().rposition(|byte| *byte != 0).unwrap() / 512 + 1;
    archive.truncate(used * 512);
    archive.extend(members.build());
    let path = machine.path().join(format!("{name}.tar"));
    std::fs::write(&path, archive).unwrap();
    machine.ok(&["import", path.to_str().unwrap(), name]);
}

const SHOW: &str = "cd /etc; for name in hosts hostname resolv.conf; do test -s $name && stat -c '%F %n' $name; done";
const PLAIN: &str = "regular file hosts\nregular file hostname\nregular file resolv.conf";

/// As in Docker, whatever the image has there: nothing is read or written by way of it.
#[test]
fn links_in_the_place_of_own_files_are_covered() {
    let Some(machine) = Machine::new() else { return };
    let outside = machine.path().join("outside");
    let outside = outside.to_str().unwrap();
    let climbing = format!("../../../../../../../..{outside}");
    for (name, target) in [
        ("procfs", "/proc/net/pnp"),
        ("magic", "/proc/self/fd/0"),
        ("dangling", "/run/systemd/resolve/stub-resolv.conf"),
        ("absolute", "/root/file"),
        ("folder", "/tmp"),
        ("climbing", climbing.as_str()),
        ("device", "/dev/null"),
        ("nothing", "no-such-file"),
    ] {
        let members = ["hosts", "hostname", "resolv.conf"]
            .into_iter()
            .fold(Tar::new(), |tar, file| tar.symlink(&format!("etc/{file}"), target));
        import(&machine, name, members);
        assert_eq!(machine.ok(&["run", "--rm", name, "sh", "-c", SHOW]), PLAIN, "{target}");
        assert_eq!(machine.ok(&["run", "--rm", "--read-only", name, "sh", "-c", SHOW]), PLAIN, "{target}");
        let line = format!("test ! -e {outside} && test ! -e /run/systemd && test ! -e /root/file");
        assert_eq!(machine.code(&["run", "--rm", name, "sh", "-c", &line]), 0, "{target}");
        assert!(!std::path::Path::new(outside).exists());
    }
    import(&machine, "loop", Tar::new().symlink("etc/hosts", "hosts").symlink("etc/resolv.conf", "hosts"));
    assert_eq!(machine.ok(&["run", "--rm", "loop", "sh", "-c", SHOW]), PLAIN);
    // What a container writes there is its own file's.
    machine.ok(&["run", "-d", "--name", "one", "--network", "none", "loop", "sleep", "1000"]);
    machine.ok(&["exec", "one", "sh", "-c", "echo 192.0.2.1 x >> /etc/hosts"]);
    assert!(machine.ok(&["exec", "one", "cat", "/etc/hosts"]).ends_with("192.0.2.1 x"));
    assert_eq!(machine.ok(&["diff", "one"]), "");
    machine.finish();
}

/// What can't be made right is said, with a code and the path.
#[test]
fn what_is_in_the_way_is_named() {
    let Some(machine) = Machine::new() else { return };
    import(&machine, "folders", Tar::new().dir("etc/hosts"));
    let file = machine.path().join("file");
    std::fs::write(&file, "text").unwrap();
    let file = file.to_str().unwrap();
    let folder = machine.path().to_str().unwrap();
    let onto = |source: &str, target: &str| format!("{source}:{target}");
    for (flags, image, words) in [
        (vec![], "folders", ["/etc/hosts", "can't cover a folder"]),
        (vec!["-v".to_owned(), onto(folder, "/bin/busybox")], "busybox", ["/bin/busybox", "can't cover a file"]),
        (vec!["-v".to_owned(), onto(file, "/bin")], "busybox", ["/bin", "can't cover a folder"]),
        (vec!["-v".to_owned(), format!("{folder}:/etc:ro")], "busybox", ["/etc/resolv.conf", "Read-only file system"]),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let failure = machine.fails(&[&["run", "--rm"], &flags[..], &[image, "true"]].concat());
        assert_eq!((failure.code(), failure.status), ("runtime/start", 125), "{}", failure.text());
        assert!(words.iter().all(|word| failure.text().contains(word)), "{}", failure.text());
    }
    assert!(!machine.path().join("resolv.conf").exists());
    for (name, members, path) in [
        ("etc-loop", Tar::new().symlink("etc", "etc"), "/etc/"),
        ("proc-link", Tar::new().symlink("proc", "/tmp"), "/proc"),
        ("sys-link", Tar::new().symlink("sys", "/tmp"), "/sys"),
        ("proc-file", Tar::new().file("proc", "text"), "/proc"),
    ] {
        import(&machine, name, members);
        let failure = machine.fails(&["run", "--rm", name, "true"]);
        assert_eq!((failure.code(), failure.status), ("runtime/start", 125), "{name}: {}", failure.text());
        assert!(failure.text().contains(path), "{name}: {}", failure.text());
    }
    machine.finish();
}

/// What is mounted at /etc has the three files too, made where they may be.
#[test]
fn whatever_lies_at_etc_has_the_own_files() {
    let Some(machine) = Machine::new() else { return };
    for flags in [
        &["--tmpfs", "/etc"][..],
        &["-v", "kept:/etc"],
        &["-v", "closed:/etc:ro"],
        &["--read-only", "-v", "third:/etc"],
        &["-v", "closed:/etc:ro"],
    ] {
        assert_eq!(machine.ok(&[&["run", "--rm"], flags, &["busybox", "sh", "-c", SHOW]].concat()), PLAIN, "{flags:?}");
    }
    let folder = machine.path().join("etc");
    std::fs::create_dir(&folder).unwrap();
    for name in ["hosts", "hostname", "resolv.conf"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    let bind = format!("{}:/etc:ro", folder.display());
    assert_eq!(machine.ok(&["run", "--rm", "-v", &bind, "busybox", "sh", "-c", SHOW]), PLAIN);
    assert_eq!(std::fs::read_to_string(folder.join("hosts")).unwrap(), "", "the host's file is covered, not written");
    machine.finish();
}

/// An image of one file and no folder: what containers need is made, also under a root that is read-only.
#[test]
fn an_image_without_folders_runs() {
    let Some(machine) = Machine::new() else { return };
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let path = machine.path().join("bare.tar");
    std::fs::write(&path, Tar::new().mode(0o755).file("busybox", busybox).build()).unwrap();
    machine.ok(&["import", path.to_str().unwrap(), "bare"]);
    for flags in [&[][..], &["--read-only"]] {
        let words = ["bare", "/busybox", "ls", "-d", "/etc/hosts", "/proc/self", "/dev/null", "/sys/class"];
        let said = machine.ok(&[&["run", "--rm"], flags, &words].concat());
        assert_eq!(said.lines().count(), 4, "{said}");
    }
    assert_ne!(machine.code(&["run", "--rm", "--read-only", "bare", "/busybox", "touch", "/etc/x"]), 0);
    machine.finish();
}
