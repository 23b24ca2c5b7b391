//! Files into and out of containers, and images of their changes: `cp`, `diff`, `export`, `commit` (F1, F9).

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use carrack_testkit::tar::Builder;

use crate::machine::{Machine, exit_code, feed};

fn sleeper(machine: &Machine, name: &str, flags: &[&str]) {
    let run = ["run", "-d", "--name", name, "--network", "none"];
    machine.ok(&[&run, flags, &["busybox", "sleep", "1000"]].concat());
}

/// What a file of a container says, asked of a program in it.
#[track_caller]
fn inside(machine: &Machine, name: &str, path: &str) -> String {
    machine.ok(&["exec", name, "cat", path])
}

fn tar_of(dir: &Path, name: &str) -> Vec<u8> {
    let output = Command::new("tar").arg("-C").arg(dir).args(["-cf", "-", name]).output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn paths_mean_what_they_mean_in_docker() {
    let Some(machine) = Machine::new() else { return };
    sleeper(&machine, "box", &[]);
    let here = machine.path();
    fs::create_dir_all(here.join("src/sub")).unwrap();
    fs::write(here.join("src/a"), "a").unwrap();
    fs::write(here.join("src/sub/b"), "b").unwrap();
    fs::write(here.join("file"), "f").unwrap();
    symlink("file", here.join("link")).unwrap();

    // A folder: into one that is there, as one that is not, and its content alone.
    machine.ok(&["cp", "src", "box:/tmp"]);
    assert_eq!(inside(&machine, "box", "/tmp/src/sub/b"), "b");
    machine.ok(&["cp", "src", "box:/new"]);
    assert_eq!(inside(&machine, "box", "/new/a"), "a");
    machine.ok(&["cp", "src", "box:/new"]);
    assert_eq!(inside(&machine, "box", "/new/src/a"), "a");
    machine.ok(&["container", "cp", "src/.", "box:new/src/sub"]);
    assert_eq!(inside(&machine, "box", "/new/src/sub/a"), "a");
    // A file: under its name, under another, over one that is there.
    machine.ok(&["cp", "file", "box:/new/"]);
    assert_eq!(inside(&machine, "box", "/new/file"), "f");
    machine.ok(&["cp", "file", "box:/new/a"]);
    assert_eq!(inside(&machine, "box", "/new/a"), "f");
    // Links: as they are, unless they are to be followed or lead to where something goes.
    machine.ok(&["cp", "link", "box:/new/"]);
    assert_eq!(machine.ok(&["exec", "box", "readlink", "/new/link"]), "file");
    machine.ok(&["cp", "-L", "link", "box:/new/followed"]);
    assert_eq!(machine.ok(&["exec", "box", "sh", "-c", "readlink /new/followed || echo none"]), "none");
    machine.ok(&["exec", "box", "sh", "-c", "ln -s /new /to; ln -s /made /dangling"]);
    machine.ok(&["cp", "src", "box:/to/there"]);
    machine.ok(&["cp", "file", "box:/dangling"]);
    assert_eq!(inside(&machine, "box", "/new/there/a") + &inside(&machine, "box", "/made"), "af");

    // The same rules the other way.
    machine.ok(&["cp", "box:/new/src", "out"]);
    assert_eq!(fs::read_to_string(here.join("out/sub/b")).unwrap(), "b");
    machine.ok(&["cp", "box:/new/src/.", "out/sub"]);
    assert_eq!(fs::read_to_string(here.join("out/sub/a")).unwrap(), "a");
    machine.ok(&["cp", "box:/to", "linked"]);
    assert_eq!(fs::read_link(here.join("linked")).unwrap(), Path::new("/new"));
    machine.ok(&["cp", "-L", "box:/to", "followed"]);
    assert!(here.join("followed/src/a").is_file());

    for (words, said) in [
        (["src", "box:/new/a"], "which is none"),
        (["box:/new/src", "file"], "which is none"),
        (["file", "box:/nowhere/x"], "/nowhere"),
        (["file", "box:/nowhere/"], "no folder"),
        (["box:/etc/passwd", "nowhere/x"], "nowhere"),
        (["file/", "box:/x"], "is no folder"),
        (["box:/etc/passwd/.", "x"], "is no folder"),
        (["nothing", "box:/x"], "there is no"),
        (["box:/nothing", "x"], "there is no"),
        (["nobody:/etc", "x"], "no container `nobody`"),
        (["box:/a", "box:/b"], "between containers"),
        (["a", "b"], "CONTAINER:PATH"),
        (["file", "box:"], "CONTAINER:PATH"),
        (["box:/etc/passwd", "/dev/null"], "is no file"),
    ] {
        let failure = machine.fails(&["cp", words[0], words[1]]);
        assert!(failure.status == 1 && failure.text().contains(said), "{words:?}: {}", failure.text());
    }
    machine.ok(&["exec", "box", "sh", "-c", "mkdir -p /q/file; echo x > /q/sub"]);
    assert!(machine.fails(&["cp", "file", "box:/q"]).text().contains("what stands in its place is one"));
    assert!(machine.fails(&["cp", "src/.", "box:/q"]).text().contains("what stands in its place is none"));
    machine.finish();
}

#[test]
fn a_container_is_copied_to_and_from_whatever_it_does() {
    let Some(machine) = Machine::new() else { return };
    let here = machine.path();
    fs::create_dir(here.join("bound")).unwrap();
    let bind = format!("{}:/bound", here.join("bound").display());
    let mounts = ["-v", "data:/data", "-v", &bind, "--tmpfs", "/scratch"];
    machine
        .ok(&[&["create", "--name", "box", "--network", "none"], &mounts[..], &["busybox", "sleep", "1000"]].concat());
    fs::write(here.join("file"), "content").unwrap();
    let copies = |when: &str, targets: &[&str]| {
        for target in targets {
            machine.ok(&["cp", "file", &format!("box:{target}/{when}")]);
            machine.ok(&["cp", &format!("box:{target}/{when}"), "back"]);
            assert_eq!(fs::read_to_string(here.join("back")).unwrap(), "content", "{when} {target}");
        }
    };
    let volume = machine.data().join("volumes/data/_data");
    copies("created", &["/etc", "/data", "/bound"]);
    assert!(volume.join("created").is_file() && here.join("bound/created").is_file());
    assert_eq!(machine.fails(&["cp", "file", "box:/scratch/x"]).code(), "store/copy");
    machine.ok(&["start", "box"]);
    assert_eq!(inside(&machine, "box", "/etc/created"), "content");
    copies("running", &["/etc", "/data", "/bound", "/scratch", "/dev/shm"]);
    assert_eq!(inside(&machine, "box", "/scratch/running"), "content");
    machine.ok(&["pause", "box"]);
    copies("paused", &["/etc", "/data", "/bound", "/scratch"]);
    machine.ok(&["unpause", "box"]);
    assert_eq!(inside(&machine, "box", "/scratch/paused"), "content");
    // What is mounted as one file is written into, and stays what it is.
    machine.ok(&["cp", "file", "box:/etc/hosts"]);
    assert_eq!(inside(&machine, "box", "/etc/hosts"), "content");
    machine.ok(&["stop", "-t", "0", "box"]);
    copies("stopped", &["/etc", "/data", "/bound"]);
    assert!(volume.join("stopped").is_file());
    machine.ok(&["start", "box"]);
    assert_eq!(inside(&machine, "box", "/etc/stopped"), "content");

    sleeper(&machine, "locked", &["--read-only", "-v", "data:/data:ro", "--tmpfs", "/scratch"]);
    for target in ["/etc/x", "/data/x"] {
        assert!(machine.fails(&["cp", "file", &format!("locked:{target}")]).text().contains("Read-only"));
        assert!(!volume.join("x").exists());
    }
    machine.ok(&["cp", "file", "locked:/scratch/x"]);
    machine.ok(&["cp", "locked:/data/stopped", "back"]);
    machine.ok(&["stop", "-t", "0", "locked"]);
    assert!(machine.fails(&["cp", "file", "locked:/etc/x"]).text().contains("Read-only"));
    machine.finish();
}

#[test]
fn files_stay_what_they_are() {
    let Some(machine) = Machine::new() else { return };
    sleeper(&machine, "box", &["-u", "app"]);
    let source = machine.path().join("src");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("one"), "same").unwrap();
    fs::hard_link(source.join("one"), source.join("two")).unwrap();
    fs::set_permissions(source.join("one"), fs::Permissions::from_mode(0o4751)).unwrap();
    std::os::unix::fs::chown(&source, Some(1234), Some(567)).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, source.join("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let device = rustix::fs::makedev(1, 3);
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, source.join("null"), kind, 0o600.into(), device).unwrap();
    rustix::fs::setxattr(source.join("one"), "user.color", b"blue", rustix::fs::XattrFlags::empty()).unwrap();
    let holes = fs::File::create(source.join("holes")).unwrap();
    holes.set_len(256 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&holes, b"island", 100 << 20).unwrap();
    let _listening = std::os::unix::net::UnixListener::bind(source.join("socket")).unwrap();

    machine.ok(&["cp", "src", "box:/copy"]);
    machine.ok(&["cp", "-a", "box:/copy", "back"]);
    let back = machine.path().join("back");
    let look = |name: &str| fs::symlink_metadata(back.join(name)).unwrap();
    assert_eq!((look("").uid(), look("").gid()), (1234, 567), "owners stay, as in Docker");
    assert_eq!((look("one").ino(), look("one").mode() & 0o7777), (look("two").ino(), 0o4751));
    assert_eq!(look("one").mtime_nsec(), fs::metadata(source.join("one")).unwrap().mtime_nsec());
    assert!(look("pipe").file_type().is_fifo());
    assert!(look("null").file_type().is_char_device() && look("null").rdev() == device);
    assert!(!back.join("socket").exists(), "nobody listens on a copy");
    let mut color = [0; 4];
    rustix::fs::getxattr(back.join("one"), "user.color", &mut color).unwrap();
    assert_eq!(&color, b"blue");
    assert_eq!(look("holes").len(), 256 << 20);
    assert!(look("holes").blocks() < 1024, "{} blocks", look("holes").blocks());
    let mut island = [0; 6];
    std::os::unix::fs::FileExt::read_exact_at(&fs::File::open(back.join("holes")).unwrap(), &mut island, 100 << 20)
        .unwrap();
    assert_eq!(&island, b"island");

    machine.ok(&["cp", "box:/copy", "mine"]);
    assert_eq!(fs::metadata(machine.path().join("mine")).unwrap().uid(), 0, "the caller's, without -a");
    machine.ok(&["cp", "-a", "src", "box:/of-the-user"]);
    assert_eq!(machine.ok(&["exec", "box", "stat", "-c", "%u:%g", "/of-the-user/one"]), "1000:1000");
    assert!(machine.fails(&["cp", "src/socket", "box:/"]).text().contains("socket"));
    machine.finish();
}

#[test]
fn archives_come_and_go_on_the_streams() {
    let Some(machine) = Machine::new() else { return };
    sleeper(&machine, "box", &[]);
    fs::create_dir(machine.path().join("src")).unwrap();
    fs::write(machine.path().join("src/a"), "a").unwrap();
    let tar = tar_of(machine.path(), "src");
    let output = feed(machine.command(&["cp", "-", "box:/tmp"]), &tar);
    assert_eq!(exit_code(&output), 0, "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(inside(&machine, "box", "/tmp/src/a"), "a");
    let list = |arguments: &[&str]| {
        let tar = machine.carrack(arguments);
        assert_eq!(exit_code(&tar), 0, "{}", String::from_utf8_lossy(&tar.stderr));
        let mut command = Command::new("tar");
        command.args(["-tf", "-"]);
        String::from_utf8(feed(command, &tar.stdout).stdout).unwrap()
    };
    assert_eq!(list(&["cp", "box:/tmp/src", "-"]), "src/\nsrc/a\n");
    assert_eq!(list(&["cp", "box:/tmp/src/.", "-"]), "./\n./a\n");
    assert_eq!(list(&["cp", "box:/tmp/src/a", "-"]), "a\n");
    for (target, said) in [("box:/etc/passwd", "is no folder"), ("box:/nowhere", "is no folder")] {
        let output = feed(machine.command(&["--json", "cp", "-", target]), &tar);
        assert!(String::from_utf8_lossy(&output.stdout).contains(said));
    }
    let cut = feed(machine.command(&["cp", "-", "box:/tmp"]), &tar[..700]);
    assert_eq!(exit_code(&cut), 1);

    // Hostile ones stay inside of the container, or are refused.
    let name = format!("evil-{}", std::process::id());
    let up = format!("../../../{name}");
    let hostile = [
        Builder::new().file(&up, "x").build(),
        Builder::new().symlink("out", "../../../../../..").file(&format!("out/{name}"), "x").build(),
        Builder::new().symlink("abs", "/").file(&format!("abs/{name}"), "x").build(),
        Builder::new().file(&format!("/{name}"), "x").build(),
        Builder::new().hard_link("stolen", "../../../../etc/hostname").build(),
        Builder::new().symlink("self", "/proc/1/root").file(&format!("self/{name}"), "x").build(),
    ];
    for tar in &hostile {
        let _refused_or_inside = feed(machine.command(&["cp", "-", "box:/tmp"]), tar);
        for host in ["/", "/tmp", "/etc", "/var/tmp"] {
            assert!(!Path::new(host).join(&name).exists(), "{host}");
        }
    }
    assert_eq!(inside(&machine, "box", &format!("/{name}")), "x", "a link leads to the container's own root");
    assert_eq!(inside(&machine, "box", &format!("/tmp/{name}")), "x", "an absolute name counts from the folder");
    assert_eq!(machine.code(&["exec", "box", "test", "-e", "/tmp/stolen"]), 1);
    machine.finish();
}

/// CVE-2018-15664: a folder of the path becomes a link out of the container between its check and its use.
#[test]
fn a_link_in_the_making_never_leads_out_of_the_container() {
    let Some(machine) = Machine::new() else { return };
    let outside = machine.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "of the host").unwrap();
    fs::write(machine.path().join("payload"), "payload").unwrap();
    let links = format!(
        "mkdir /x; echo inside > /x/secret; ln -s {0} /absolute; ln -s ../../../../../..{0} /relative; echo ready; sleep 1000",
        outside.display()
    );
    machine.ok(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sh", "-c", &links]);
    machine.follow(&["logs", "-f", "box"]).until("ready");
    let root = std::path::PathBuf::from(format!("/proc/{}/root", machine.pid("box")));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (mut arrived, mut stolen) = (0, false);
    std::thread::scope(|scope| {
        // What a program inside would do, faster than a shell can.
        scope.spawn(|| {
            let flags = rustix::fs::RenameFlags::EXCHANGE;
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                for link in ["absolute", "absolute", "relative", "relative"] {
                    let (one, other) = (root.join("x"), root.join(link));
                    let _over = rustix::fs::renameat_with(rustix::fs::CWD, one, rustix::fs::CWD, other, flags);
                }
            }
        });
        for _ in 0..60 {
            machine.carrack(&["cp", "payload", "box:/x/payload"]);
            machine.carrack(&["cp", "payload", "box:/x"]);
            if machine.code(&["cp", "box:/x/secret", "got"]) == 0 {
                arrived += 1;
                stolen |= fs::read_to_string(machine.path().join("got")).unwrap_or_default() != "inside\n";
            }
            let _whatever = machine.carrack(&["cp", "-L", "box:/x", "tree"]);
            let secret = fs::read_to_string(machine.path().join("tree/secret")).unwrap_or_default();
            stolen |= secret.contains("host");
            // No link stands where a folder was asked for, either.
            stolen |= fs::symlink_metadata(machine.path().join("tree")).is_ok_and(|tree| tree.is_symlink());
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert!(!stolen, "something of the host was taken for the container's");
    let left: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["secret"]);
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "of the host");
    assert!(arrived > 0, "the folder was never seen");
    machine.finish();
}

#[test]
fn changes_are_told_exported_and_become_an_image() {
    let Some(machine) = Machine::new() else { return };
    let change = "rm /etc/group; mkdir -p /new/deep; echo x > /new/deep/f; echo y >> /etc/passwd; chmod 700 /home; \
                  mv /etc/motd /etc/moved; echo ready; sleep 1000";
    let image = machine.project("image");
    image.write(
        "Dockerfile",
        "FROM busybox\nRUN mkdir -p /home /old/in && echo 1 > /old/in/a && echo 2 > /etc/motd\nENV A=1\nCMD [\"sh\"]\n",
    );
    image.ok(&["build", "-q", "-t", "base", "."]);
    let flags = ["run", "-d", "--name", "box", "--network", "none", "-v", "/data", "-e", "B=2", "--tmpfs", "/tmp"];
    machine
        .ok(&[&flags[..], &["base", "sh", "-c", &format!("rm -r /old; mkdir /old; echo 3 > /old/b; {change}")]]
            .concat());
    machine.follow(&["logs", "-f", "box"]).until("ready");
    let expected = "C /etc\nD /etc/group\nD /etc/motd\nA /etc/moved\nC /etc/passwd\nC /home\nA /new\nA /new/deep\nA /new/deep/f\n\
                    C /old\nA /old/b\nD /old/in";
    let told: Vec<String> = machine.ok(&["diff", "box"]).lines().map(str::to_owned).collect();
    let of_mounts = |line: &&String| ["A /data", "A /tmp"].contains(&line.as_str());
    let own: Vec<&str> = told.iter().filter(|line| !of_mounts(line)).map(String::as_str).collect();
    assert_eq!(own.join("\n"), expected);

    let pid = machine.pid("box");
    machine.ok(&[
        "commit",
        "-a",
        "me",
        "-m",
        "because",
        "-c",
        "CMD [\"cat\", \"/new/deep/f\"]",
        "-c",
        "ENV C=3",
        "box",
        "made:1",
    ]);
    assert_eq!(machine.pid("box"), pid);
    assert_eq!(machine.ok(&["inspect", "--format", "{{.State.Status}}", "box"]), "running", "it goes on");
    assert_eq!(machine.ok(&["run", "--rm", "--network", "none", "made:1"]), "x");
    let script = "ls /old; cat /etc/moved; ls /etc; ls -d /proc/1 /data; env";
    let seen = machine.ok(&["run", "--rm", "--network", "none", "made:1", "sh", "-c", script]);
    for line in ["b", "2", "/data", "A=1", "B=2", "C=3"] {
        assert!(seen.lines().any(|other| other == line), "{line}: {seen}");
    }
    assert!(!seen.lines().any(|line| ["group", "motd", "in"].contains(&line)), "{seen}");
    assert!(machine.ok(&["history", "made:1"]).contains("because"));
    assert_eq!(machine.ok(&["inspect", "--format", "{{.Author}}", "made:1"]), "me");
    // A second one on top, of one that does not run.
    machine.ok(&["create", "--name", "second", "--network", "none", "made:1"]);
    machine.ok(&["cp", "image/Dockerfile", "second:/copied"]);
    let id = machine.ok(&["commit", "--pause=false", "second"]);
    assert!(id.starts_with("sha256:"));
    assert!(machine.ok(&["run", "--rm", "--network", "none", &id, "cat", "/copied"]).starts_with("FROM busybox"));
    assert_eq!(machine.fails(&["commit", "-c", "RUN true", "box"]).code(), "cli/invalid-value");
    assert_eq!(machine.fails(&["commit", "box", "UPPER"]).code(), "oci/invalid-reference");

    machine.ok(&["exec", "box", "sh", "-c", "echo in-volume > /data/v; echo in-tmpfs > /tmp/t"]);
    machine.ok(&["export", "-o", "running.tar", "box"]);
    machine.ok(&["stop", "-t", "0", "box"]);
    machine.ok(&["export", "-o", "stopped.tar", "box"]);
    for name in ["running.tar", "stopped.tar"] {
        let list = Command::new("tar").args(["-tf", name]).current_dir(machine.path()).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        for member in ["bin/busybox", "new/deep/f", "old/b", "data/", "etc/passwd"] {
            assert!(list.lines().any(|line| line == member), "{name}: {member}");
        }
        for member in ["data/v", "tmp/t", "etc/group", "proc/1/", "dev/null"] {
            assert!(!list.lines().any(|line| line == member), "{name}: {member}");
        }
    }
    // What was exported is a root file system.
    machine.ok(&["import", "running.tar", "again"]);
    assert_eq!(machine.ok(&["run", "--rm", "--network", "none", "again", "cat", "/new/deep/f"]), "x");
    machine.finish();
}
