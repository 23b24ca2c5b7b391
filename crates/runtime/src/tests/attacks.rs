//! What a hostile image or program tries. Each of these succeeds against a runtime that does the obvious thing.

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use carrack_specgen::Container;
use carrack_specgen::container::{Mount, MountSource};
use carrack_specgen::init_plan::{InitStep, MountAttributes};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::fixture::{Bundle, bind, container, execute, run};

/// CVE-2019-5736: the program behind /proc/1/exe is ours where a small init is; it can't be written, by whatever way.
#[test]
fn our_binary_cannot_be_overwritten_from_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let own = fs::read("/proc/self/exe").expect("our binary").len();
    let line = "for way in /proc/1/exe; do \
                ( : > $way ) 2>&1; dd if=/dev/zero of=$way bs=1 count=1 conv=notrunc 2>&1; \
                exec 9<$way; ( : > /proc/self/fd/9 ) 2>&1; done; readlink /proc/1/exe";
    let wanted = Container { init: true, cap_add: vec!["ALL".into()], ..container(&[]) };
    let outcome = bundle.shell(line, wanted);
    assert!(!outcome.output.contains("1+0 records out"), "{}", outcome.output);
    assert!(
        outcome.output.contains("Read-only file system") || outcome.output.contains("Permission denied"),
        "{}",
        outcome.output
    );
    assert_eq!(fs::read("/proc/self/exe").expect("our binary").len(), own);
}

/// CVE-2019-5736, the other way: an image whose program is a link to /proc/self/exe runs our binary as the container's.
#[test]
fn an_image_cannot_have_our_binary_executed_and_keep_it_writable() {
    const INSIDE: &str = "CARRACK_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        // Truncating asks for the mount's leave before it asks whether the file is being executed.
        let opened = fs::OpenOptions::new().write(true).truncate(true).open("/proc/self/exe");
        println!("inside: {:?}", opened.expect_err("opened for writing").raw_os_error());
        return;
    }
    let Some(mut bundle) = Bundle::new() else { return };
    symlink("/proc/self/exe", bundle.path("lower/bin/trick")).expect("a link");
    // What it then runs is up to the image: by its arguments, or by a library in the place of one of ours.
    let test = "tests::attacks::an_image_cannot_have_our_binary_executed_and_keep_it_writable";
    let libraries = ["/lib", "/lib64", "/usr/lib"].into_iter().filter(|path| Path::new(path).exists());
    let mounts = libraries.map(|target| Mount {
        target: target.into(),
        source: MountSource::Bind {
            path: target.into(),
            create: false,
            propagation: None,
            non_recursive: false,
            writable_below: false,
        },
        read_only: true,
        identities: None,
    });
    let wanted = Container {
        mounts: mounts.collect(),
        env: [(INSIDE.to_owned(), Some("1".to_owned()))].into(),
        ..container(&["/bin/trick", "--nocapture", "--exact", test])
    };
    let outcome = bundle.run(&wanted).expect("it runs");
    let refused = [Errno::ROFS, Errno::PERM].map(|errno| format!("inside: {:?}", Some(errno.raw_os_error())));
    assert!(refused.iter().any(|line| outcome.output.contains(line)), "{outcome:?}");
}

/// CVE-2024-21626: a working directory that leads through a leaked descriptor out of the container.
#[test]
fn the_working_directory_cannot_be_a_leaked_descriptor() {
    let Some(mut bundle) = Bundle::new() else { return };
    // What a careless caller leaves open, without close-on-exec.
    let outside = bundle.path("outside");
    fs::create_dir(&outside).expect("a folder");
    fs::write(format!("{outside}/marker"), "the host's").expect("written");
    let leak = rustix::fs::openat(CWD, &outside, OFlags::RDONLY, Mode::empty()).expect("the folder");
    let number = leak.as_raw_fd();
    // Ours among the descriptors of every process on the way, whatever its number there.
    for number in (3..16).chain([number]) {
        let path = format!("/proc/self/fd/{number}");
        let wanted = Container { working_dir: Some(path), ..container(&["cat", "marker", "../outside/marker"]) };
        if let Ok(outcome) = bundle.run(&wanted) {
            assert!(!outcome.output.contains("the host's"), "{number}: {outcome:?}");
        }
    }
    let listing = bundle.shell("ls -l /proc/self/fd", container(&[])).output;
    assert!(
        !listing.contains("outside") && !listing.contains(" -> /\n") && !listing.contains("memfd"),
        "nothing of ours is open: {listing}"
    );
    drop(leak);
}

/// CVE-2025-31133: what masks a file is the null device itself, not what the image has in its place.
#[test]
fn masks_do_not_trust_the_image() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::remove_dir(bundle.path("lower/dev")).expect("removed");
    symlink("/proc/sys/kernel", bundle.path("lower/dev")).expect("a link");
    // The image's /dev is a link into procfs: the tmpfs meant for /dev must not open /proc/sys.
    let outcome =
        bundle.run(&container(&["sh", "-c", "cat /proc/kcore | wc -c; echo x 2>&1 > /proc/sys/kernel/core_pattern"]));
    match outcome {
        Ok(outcome) => {
            assert!(outcome.output.contains("Read-only") || outcome.output.contains("nonexistent"), "{outcome:?}")
        }
        Err(failure) => assert_eq!(failure.name, "mount", "{failure}"),
    }
}

#[test]
fn masked_files_are_the_null_device_and_masked_folders_empty() {
    let Some(mut bundle) = Bundle::new() else { return };
    let line = "stat -c '%F %t:%T' /proc/kcore /proc/timer_list 2>/dev/null; cat /proc/interrupts /proc/keys | wc -c; ls /sys/firmware | wc -l; \
                mount -o remount,rw /proc/sys 2>&1; umount /proc/kcore 2>&1; echo b 2>/dev/null > /proc/sysrq-trigger || echo closed";
    let outcome = bundle.shell(line, container(&[]));
    assert!(outcome.output.contains("character special file 1:3\n"), "{}", outcome.output);
    assert!(outcome.output.contains("\n0\n0\n"), "{}", outcome.output);
    assert!(outcome.output.ends_with("closed\n"), "{}", outcome.output);
}

/// CVE-2025-31133 again: a link in the place of a masked path is refused, not followed.
#[test]
fn a_link_in_the_place_of_a_masked_path_is_refused() {
    let Some(bundle) = Bundle::new() else { return };
    symlink("/etc", bundle.path("lower/secret")).expect("a link");
    let mut plan = bundle.plan(&container(&["true"]));
    let position = plan.steps.iter().position(|step| step.name() == "mask").expect("masks");
    plan.steps.insert(position, InitStep::Mask { path: "/secret".into() });
    let failure = run(&plan).expect_err("refused");
    assert_eq!((failure.name.as_str(), failure.errno, failure.detail.as_str()), ("mask", 40, "/secret"));
}

/// CVE-2025-52565: /dev/console is bound from the terminal that was opened, wherever its name leads.
#[test]
fn the_console_does_not_follow_the_image() {
    let Some(bundle) = Bundle::new() else { return };
    let wanted =
        Container { tty: true, ..container(&["sh", "-c", "tty; stat -c %F /dev/console; stat -f -c %t /dev/console"]) };
    let mut plan = bundle.plan(&wanted);
    // Before the terminal opens, the container's /dev/console leads to a file that it wants made writable.
    let position = plan.steps.iter().position(|step| step.name() == "pivot").expect("a pivot");
    let step = InitStep::Symlink { link: "/dev/console".into(), target: "/proc/sys/kernel/core_pattern".into() };
    plan.steps.insert(position, step);
    match run(&plan) {
        Err(failure) => assert_eq!(failure.name, "terminal"),
        Ok(outcome) => panic!("it followed the link: {outcome:?}"),
    }
}

/// CVE-2025-52881: kernel parameters are written to procfs, not to what a mount has put in its place.
#[test]
fn kernel_parameters_are_written_to_the_real_procfs() {
    let Some(bundle) = Bundle::new() else { return };
    let fake = bundle.path("fake");
    fs::create_dir_all(format!("{fake}/net/ipv4")).expect("a folder");
    fs::write(format!("{fake}/net/ipv4/ip_unprivileged_port_start"), "untouched").expect("written");
    let mut plan = bundle.plan(&container(&["true"]));
    let position = plan.steps.iter().position(|step| step.name() == "sysctl").expect("sysctls");
    // What a racing container does through a shared mount, done for it.
    let cover = bind(&fake, "/proc/sys", MountAttributes::default());
    plan.steps.insert(position, cover);
    let failure = run(&plan).expect_err("refused");
    assert!(["mount", "sysctl"].contains(&failure.name.as_str()), "{failure}");
    let content = fs::read_to_string(format!("{fake}/net/ipv4/ip_unprivileged_port_start")).expect("the file");
    assert_eq!(content, "untouched");
}

/// CVE-2019-16884, CVE-2019-19921, CVE-2023-28642: procfs is neither covered nor mounted through a link.
#[test]
fn procfs_is_where_it_belongs() {
    let Some(mut bundle) = Bundle::new() else { return };
    let folder = bundle.path("cover");
    fs::create_dir(&folder).expect("a folder");
    let mount = |target: &str| Mount {
        target: target.into(),
        source: MountSource::Bind {
            path: folder.clone(),
            create: false,
            propagation: None,
            non_recursive: false,
            writable_below: false,
        },
        read_only: false,
        identities: None,
    };
    let covered = Container { mounts: vec![mount("/proc/sys")], ..container(&["true"]) };
    let failure = bundle.run(&covered).expect_err("refused");
    assert!(failure.detail.contains("leads into procfs"), "{failure}");

    fs::remove_dir(bundle.path("lower/proc")).expect("removed");
    fs::create_dir(bundle.path("lower/elsewhere")).expect("a folder");
    symlink("/elsewhere", bundle.path("lower/proc")).expect("a link");
    let failure = bundle.run(&container(&["true"])).expect_err("refused");
    assert_eq!((failure.name.as_str(), failure.detail.as_str()), ("mount", "/proc of the image is not a plain folder"));
}

/// Links of the image resolve inside of it, for targets, their parents, and what is made on the way.
#[test]
fn mount_targets_stay_inside() {
    let Some(mut bundle) = Bundle::new() else { return };
    let victim = bundle.path("victim");
    fs::create_dir(&victim).expect("a folder");
    symlink(&victim, bundle.path("lower/out")).expect("a link");
    symlink("../../../../../../../../../../..", bundle.path("lower/up")).expect("a link");
    let source = bundle.path("source");
    fs::create_dir(&source).expect("a folder");
    let mount = |target: String| Mount {
        target,
        source: MountSource::Bind {
            path: source.clone(),
            create: false,
            propagation: None,
            non_recursive: false,
            writable_below: false,
        },
        read_only: false,
        identities: None,
    };
    let mounts = vec![mount("/out/a/b".into()), mount(format!("/up{victim}/c"))];
    let outcome = bundle.run(&Container { mounts, ..container(&["true"]) }).expect("it runs");
    assert_eq!(outcome.status, 0);
    assert_eq!(fs::read_dir(&victim).expect("a folder").count(), 0, "nothing was made on the host");
}

/// CVE-2024-40635: an id that overflows is root in disguise.
#[test]
fn overflowing_user_ids_are_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    for user in ["4294967296", "2147483648:0", "0:4294967296", "-1"] {
        let wanted = Container { user: Some(user.into()), ..container(&["true"]) };
        assert_eq!(bundle.run(&wanted).expect_err(user).name, "identify");
    }
}

/// CAP_MKNOD is a default capability: nodes can be made, and the rules keep them shut. v2's program, then v1's controller.
#[test]
fn a_made_node_of_the_hosts_disk_cannot_be_opened() {
    let Some(disk) = any_block_device() else {
        eprintln!("skipped: needs a block device");
        return;
    };
    for mut bundle in Bundle::with_unified_and_without() {
        let line = format!(
            "mknod /tmp/disk b {disk} && echo made; dd if=/tmp/disk of=/dev/null bs=512 count=1 2>&1 | head -1; \
             mknod /tmp/mem c 1 1; dd if=/tmp/mem of=/dev/null bs=1 count=1 2>&1 | head -1; \
             dd if=/dev/zero of=/dev/null bs=1 count=1 2>&1 | grep -c out"
        );
        let outcome = bundle.shell(&line, container(&[]));
        let expected = "made\ndd: can't open '/tmp/disk': Operation not permitted\ndd: can't open '/tmp/mem': Operation not permitted\n1\n";
        assert_eq!(outcome.output, expected, "v2: {}", bundle.unified_folder().is_some());
    }
}

fn any_block_device() -> Option<String> {
    let entries = fs::read_dir("/sys/block").ok()?;
    let numbers = entries.filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("dev")).ok());
    numbers.map(|text| text.trim().replace(':', " ")).next()
}

/// The filter holds inside: no namespaces, no mounts, no keys of the host's.
#[test]
fn the_filter_and_the_capabilities_hold() {
    let Some(mut bundle) = Bundle::new() else { return };
    let line =
        "unshare -U true 2>&1; mount -t tmpfs none /tmp 2>&1; unshare -m true 2>&1; chroot / true && echo chroot";
    let outcome = bundle.shell(line, container(&[])).output;
    assert_eq!(
        outcome.matches("Operation not permitted").count() + outcome.matches("permission denied").count(),
        3,
        "{outcome}"
    );
    assert!(outcome.ends_with("chroot\n"), "{outcome}");
}

/// The container's mounts are gone with it, and none ever showed on the host.
#[test]
fn the_host_sees_none_of_the_mounts() {
    let Some(bundle) = Bundle::new() else { return };
    let mut plan = bundle.plan(&container(&["true"]));
    plan.steps.pop();
    plan.steps.push(execute(&["sh", "-c", "echo ready; cat"]));
    let started = super::fixture::start(&plan, None).expect("it runs");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&bundle.path("")), "{mounts}");
    assert_eq!(super::fixture::finish(started).output, "ready\n");
    assert!(Path::new(&bundle.path("merged")).exists());
}
