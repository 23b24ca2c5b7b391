//! Ways out of a container that runtimes have left open. Each test shows first what the obvious thing would have done here.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use carrack_specgen::Container;
use carrack_specgen::container::{Mount, MountSource, NamespaceMode, SeccompMode};
use carrack_specgen::init_plan::{InitStep, MountAttributes, MountSource as PlanSource, MountStep, Propagation};
use rustix::fs::{CWD, RenameFlags};

use super::fixture::{Bundle, bind, container, run};

fn bind_of(path: &str, target: &str) -> Mount {
    let source = MountSource::Bind {
        path: path.into(),
        create: false,
        propagation: None,
        non_recursive: false,
        writable_below: false,
    };
    Mount { target: target.into(), source, read_only: false, identities: None }
}

/// What a runtime makes of a target that joins strings: links lead to where they lead on the host.
fn naive_target(root: &str, target: &str) {
    fs::create_dir_all(format!("{root}{target}")).expect("made");
}

/// CVE-2021-30465: while a container starts, another one that shares its volume swaps a folder of the volume for a link to
/// the host's files, and back.
#[test]
fn a_target_that_is_swapped_meanwhile_stays_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let (volume, source, victim) = (bundle.path("volume"), bundle.path("source"), bundle.path("victim"));
    for folder in [&volume, &source, &victim] {
        fs::create_dir(folder).expect("a folder");
    }
    fs::write(format!("{source}/mark"), "source").expect("written");
    symlink(&victim, format!("{volume}/link")).expect("a link");
    naive_target(&volume, "/link/naive");
    assert!(Path::new(&victim).join("naive").exists(), "joined strings leave the container");
    fs::remove_dir(format!("{victim}/naive")).expect("removed");

    fs::create_dir(format!("{volume}/folder")).expect("a folder");
    let (is_over, link, folder) = (AtomicBool::new(false), format!("{volume}/link"), format!("{volume}/folder"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                rustix::fs::renameat_with(CWD, &link, CWD, &folder, RenameFlags::EXCHANGE).expect("swapped");
            }
        });
        let mounts = vec![bind_of(&volume, "/volume"), bind_of(&source, "/volume/folder/made/here")];
        let line = "find / -xdev -name mark 2>/dev/null; cat /volume/folder/made/here/mark 2>/dev/null; ls /";
        let wanted = Container { mounts, ..container(&["sh", "-c", line]) };
        for _ in 0..60 {
            // Refused while the link is there is as good as mounted below the container's own folder of that name.
            if let Ok(outcome) = bundle.run(&wanted) {
                assert!(outcome.output.contains("proc\n") && !outcome.output.contains("lost+found"), "{outcome:?}");
            }
            assert_eq!(fs::read_dir(&victim).expect("a folder").count(), 0, "made on the host");
        }
        is_over.store(true, Ordering::Relaxed);
    });
}

/// CVE-2025-31133: the container's own null device, which it may have replaced, is not what masks are made of.
#[test]
fn masks_are_not_made_of_the_containers_null_device() {
    let Some(bundle) = Bundle::new() else { return };
    let bait = bundle.path("bait");
    fs::write(&bait, "a file that a mask would open").expect("written");
    let line = "cat /dev/null; echo; stat -c '%F %t:%T' /proc/interrupts; cat /proc/interrupts | wc -c";
    let mut plan = bundle.plan(&container(&["sh", "-c", line]));
    let first = plan.steps.iter().position(|step| step.name() == "mask").expect("masks");
    plan.steps.insert(first, bind(&bait, "/dev/null", MountAttributes::default()));
    let output = run(&plan).expect("it runs").output;
    assert!(output.starts_with("a file that a mask would open\n"), "its own device is replaced: {output}");
    assert!(output.ends_with("character special file 1:3\n0\n"), "{output}");
}

/// CVE-2019-16884 and CVE-2025-52881: nothing is mounted into procfs, so that no write meant for it, of a label or of a
/// parameter, goes elsewhere.
#[test]
fn no_file_system_is_mounted_into_procfs() {
    let Some(bundle) = Bundle::new() else { return };
    for target in ["/proc/sys", "/proc/self/attr", "/proc/1"] {
        let mut plan = bundle.plan(&container(&["true"]));
        let procfs = plan.steps.iter().position(|step| step.subject() == "/proc").expect("procfs");
        let cover = InitStep::Mount(MountStep {
            target: target.into(),
            source: PlanSource::FileSystem { kind: "tmpfs".into(), source: "tmpfs".into(), options: Vec::new() },
            attributes: MountAttributes::default(),
            propagation: Propagation::default(),
            identities: None,
        });
        plan.steps.insert(procfs + 1, cover);
        let failure = run(&plan).expect_err(target);
        assert!(failure.detail.contains("leads into procfs"), "{failure}");
    }
}

/// CVE-2022-0492: a program that the host runs when a control group empties can't be named from inside.
#[test]
fn the_release_agent_is_out_of_reach() {
    let Some(mut bundle) = Bundle::new() else { return };
    let line = "find /sys/fs/cgroup -name release_agent | while read f; do (echo x > $f) 2>/dev/null && echo written; done; \
                mkdir /tmp/c; mount -t cgroup -o cpu none /tmp/c 2>/dev/null && echo mounted; \
                unshare -U -m -C mount -t cgroup -o cpu none /tmp/c 2>/dev/null && echo mounted; \
                mount -o remount,rw /sys/fs/cgroup 2>/dev/null && echo writable; echo end";
    assert_eq!(bundle.shell(line, container(&[])).output, "end\n");
    let Some(mut writable) = Bundle::new() else { return };
    let wanted = Container { writable_cgroups: true, ..container(&[]) };
    assert_eq!(writable.shell(line, wanted).output, "end\n", "with control groups of its own to write to");
    // What it is that holds: with the rights and without the filter, a hierarchy is mounted.
    let Some(mut naive) = Bundle::new() else { return };
    let open = Container {
        cap_add: vec!["SYS_ADMIN".into()],
        seccomp: SeccompMode::Unconfined,
        cgroupns: NamespaceMode::Host,
        ..container(&[])
    };
    if Path::new("/sys/fs/cgroup/cpu/release_agent").exists() {
        assert!(naive.shell(line, open).output.contains("mounted"));
    }
}

/// CVE-2023-25173: the groups of whoever starts the container are not its own.
#[test]
fn the_groups_of_the_caller_stay_outside() {
    let Some(mut bundle) = Bundle::new() else { return };
    // Of this thread alone, and of what it starts.
    let groups = [4242, 27].map(rustix::thread::Gid::from_raw);
    rustix::thread::set_thread_groups(&groups).expect("groups");
    let plain = std::process::Command::new("/bin/busybox").args(["id", "-G"]).output().expect("run");
    assert!(String::from_utf8_lossy(&plain.stdout).contains("4242"), "what is started otherwise inherits them");
    for (user, ids) in [("", "0\n"), ("web", "1000 4\n"), ("4711", "0\n"), ("4711:77", "77\n")] {
        let wanted = Container { user: Some(user.to_owned()).filter(|user| !user.is_empty()), ..container(&[]) };
        assert_eq!(bundle.shell("id -G", wanted).output, ids, "{user:?}");
    }
    rustix::thread::set_thread_groups(&[]).expect("groups");
}

/// A default container may make the node of the host's disk and not open it, by v2's program and by v1's controller. Without
/// either it could: that is what is seen first.
#[test]
fn a_disk_that_the_host_can_open_stays_shut() {
    let Some((major, minor)) = openable_block_device() else {
        eprintln!("skipped: no block device here that its own host can open");
        return;
    };
    let line = format!("mknod /tmp/disk b {major} {minor} && (: < /tmp/disk) 2>/dev/null && echo opened || echo shut");
    let Some(bundle) = Bundle::new() else { return };
    let plan = bundle.plan(&container(&["sh", "-c", &line]));
    assert_eq!(run(&plan).expect("it runs").output, "opened\n", "with no rules");
    for mut bundle in Bundle::with_unified_and_without() {
        assert_eq!(bundle.shell(&line, container(&[])).output, "shut\n", "v2: {}", bundle.unified_folder().is_some());
    }
}

fn openable_block_device() -> Option<(u32, u32)> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let devices = fs::read_dir("/dev").ok()?.flatten();
    let mut blocks = devices.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_block_device()));
    let entry = blocks.find(|entry| fs::File::open(entry.path()).is_ok())?;
    let number = entry.metadata().ok()?.rdev();
    Some((rustix::fs::major(number), rustix::fs::minor(number)))
}
