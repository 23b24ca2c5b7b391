//! One suite for two runtimes: what our runtime does with a configuration is what runc does with the same, as it stands in
//! the bundle that any OCI runtime takes.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use carrack_specgen::Container;
use carrack_specgen::container::{Mount, MountSource, Resources, Ulimit};

use super::fixture::{Bundle, Outcome, container};

/// Where runc is, if it is.
fn runc() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("runc")).find(|program| program.is_file());
    if found.is_none() {
        eprintln!("skipped: no runc here");
    }
    found
}

/// Writes the bundle, and tells its folder and the container's name.
fn write_bundle(bundle: &Bundle, wanted: &Container) -> (String, String) {
    let folder = bundle.path("oci");
    fs::create_dir_all(&folder).expect("a folder");
    let mut spec = bundle.spec(wanted);
    spec.root.path = bundle.path("lower");
    spec.linux.cgroups_path = format!("/{}", spec.linux.cgroups_path);
    fs::write(format!("{folder}/config.json"), serde_json::to_vec(&spec).expect("a spec")).expect("written");
    let id = spec.linux.cgroups_path.rsplit('/').next().unwrap_or_default();
    (folder, id.to_owned())
}

/// One of runc's verbs.
fn call(runc: &PathBuf, bundle: &Bundle, words: &[&str]) -> Command {
    let mut command = Command::new(runc);
    command.args(["--root", &bundle.path("state")]).args(words).stdin(Stdio::null());
    command
}

/// Runs a container by runc, out of a bundle of ours.
fn by_runc(runc: &PathBuf, bundle: &Bundle, wanted: &Container) -> Outcome {
    let (folder, id) = write_bundle(bundle, wanted);
    let ended = call(runc, bundle, &["run", "--bundle", &folder, &id]).output().expect("it runs");
    remove_parents(bundle);
    let output = [ended.stdout, ended.stderr].concat();
    Outcome { status: ended.status.code().unwrap_or(-1), output: String::from_utf8_lossy(&output).into_owned() }
}

fn remove_parents(bundle: &Bundle) {
    for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("hierarchies").flatten() {
        let group = hierarchy.path().join(&bundle.resolved.cgroup);
        // Not there, or another test's too.
        let _others = group.parent().map(fs::remove_dir);
    }
}

fn bind_of(bundle: &Bundle, target: &str, read_only: bool) -> Mount {
    let path = bundle.path("shared");
    fs::create_dir_all(format!("{path}/below")).expect("a folder");
    let source =
        MountSource::Bind { path, create: false, propagation: None, non_recursive: false, writable_below: false };
    Mount { target: target.into(), source, read_only, identities: None }
}

/// What is compared, by name: a container, and a line of shell that says what it got.
fn cases(bundle: &Bundle) -> Vec<(&'static str, Container, &'static str)> {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let rights = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    vec![
        ("exit", container(&[]), "echo out; exit 7"),
        ("identity", Container { user: Some("4711:77".into()), ..container(&[]) }, "id -u; id -g; id -G; umask"),
        (
            "environment",
            Container {
                env: [("A".to_owned(), Some("b c".to_owned()))].into(),
                working_dir: Some("/tmp".into()),
                hostname: Some("vessel".into()),
                ..container(&[])
            },
            "echo $A $PATH; pwd; hostname; cat /proc/1/cmdline | head -c 2",
        ),
        ("default rights", container(&[]), rights),
        (
            "chosen rights",
            Container {
                cap_drop: texts(&["ALL"]),
                cap_add: texts(&["CHOWN", "NET_ADMIN"]),
                no_new_privileges: true,
                ..container(&[])
            },
            rights,
        ),
        ("rights of a user", Container { user: Some("4711:77".into()), ..container(&[]) }, rights),
        ("all rights", Container { privileged: true, ..container(&[]) }, rights),
        (
            "mounts",
            Container { shm_size_bytes: Some(1 << 20), ..container(&[]) },
            // The order of v1's hierarchies is each runtime's own, as is whose null device masks a file.
            "grep -v ' / ' /proc/mounts | grep -v cgroup | cut -d' ' -f2 | sort; \
             grep -v ' /proc/' /proc/mounts | grep -v -E ' / |cgroup' | cut -d' ' -f2-3 | sort; \
             for t in /proc /dev /sys /dev/shm /proc/sys; do echo $t; \
             grep \" $t \" /proc/mounts | grep -o -w -E 'ro|rw|nosuid|nodev|noexec|size=[0-9]*k'; done",
        ),
        (
            "binds",
            Container {
                mounts: vec![bind_of(bundle, "/writable", false), bind_of(bundle, "/fixed", true)],
                ..container(&[])
            },
            "touch /writable/new && ls /fixed; touch /fixed/below/other 2>&1",
        ),
        (
            "a read-only root",
            Container {
                read_only: true,
                mounts: vec![Mount {
                    target: "/scratch".into(),
                    source: MountSource::Tmpfs { size_bytes: Some(1 << 20), mode: Some(0o711), options: Vec::new() },
                    read_only: false,
                    identities: None,
                }],
                ..container(&[])
            },
            "touch /x 2>&1; touch /scratch/x && stat -c %a /scratch; grep ' /scratch ' /proc/mounts | cut -d' ' -f3,4",
        ),
        (
            "masks",
            container(&[]),
            "for f in /proc/interrupts /proc/keys /proc/timer_list; do stat -c '%n %F %t:%T' $f 2>&1; cat $f | wc -c; done; \
             ls /sys/firmware | wc -l; (echo h > /proc/sysrq-trigger) 2>&1; (echo 1 > /proc/sys/kernel/panic) 2>&1",
        ),
        ("no masks", Container { unmasked: true, ..container(&[]) }, "grep -c ' /proc/' /proc/mounts"),
        (
            "devices",
            container(&[]),
            "ls /dev | grep -v -E 'console|ptmx|core'; stat -c '%n %F %t:%T %a' /dev/null /dev/zero /dev/tty; \
             mknod /tmp/loop b 7 0; (: < /tmp/loop) 2>/dev/null && echo opened || echo shut",
        ),
        (
            "limits of the process",
            Container {
                ulimits: [("nofile".to_owned(), Ulimit { soft: 100, hard: 200 })].into(),
                oom_score_adj: Some(500),
                ..container(&[])
            },
            "ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj",
        ),
        (
            "limits of the container",
            Container {
                resources: Resources {
                    memory_bytes: Some(64 << 20),
                    memory_reservation_bytes: Some(32 << 20),
                    cpu_quota_us: Some(20_000),
                    cpu_period_us: Some(50_000),
                    cpuset_cpus: Some("0".into()),
                    pids: Some(30),
                    ..Resources::default()
                },
                ..container(&[])
            },
            "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.soft_limit_in_bytes cpu/cpu.cfs_quota_us \
             cpu/cpu.cfs_period_us cpuset/cpuset.cpus pids/pids.max memory.max memory.low cpu.max cpuset.cpus pids.max 2>/dev/null",
        ),
        (
            "kernel parameters",
            Container { sysctls: [("kernel.shmmax".to_owned(), "65536".to_owned())].into(), ..container(&[]) },
            "cat /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_unprivileged_port_start",
        ),
        (
            "the filter",
            container(&[]),
            "unshare -U true 2>&1; mount -t tmpfs none /tmp 2>&1; chroot / true && echo chroot; unshare -m true 2>&1",
        ),
        (
            "want of memory",
            Container {
                resources: Resources {
                    memory_bytes: Some(16 << 20),
                    memory_swap_bytes: Some(16 << 20),
                    ..Resources::default()
                },
                ..container(&[])
            },
            "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo $?",
        ),
    ]
}

#[test]
fn our_runtime_does_what_runc_does() {
    let Some(runc) = runc() else { return };
    let Some(bundle) = Bundle::new() else { return };
    let count = cases(&bundle).len();
    let mut differences = Vec::new();
    for index in 0..count {
        // Each its own root: what one runtime makes in it is not to be found by the other.
        let (Some(mut ours), Some(theirs)) = (Bundle::new(), Bundle::new()) else { return };
        let case = |bundle: &Bundle| {
            let (name, wanted, line) = cases(bundle).swap_remove(index);
            let command = ["sh", "-c", line].map(str::to_owned).to_vec();
            (
                name,
                Container {
                    command: Some(command),
                    hostname: wanted.hostname.clone().or(Some("same".into())),
                    ..wanted
                },
            )
        };
        let (name, wanted) = case(&theirs);
        let expected = by_runc(&runc, &theirs, &wanted);
        let (_, wanted) = case(&ours);
        let done = ours.run(&wanted).unwrap_or_else(|failure| panic!("{name}: {failure}"));
        if done != expected {
            differences.push(format!("{name}\n  ours: {done:?}\n  runc: {expected:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Its whole life, and a program that enters it: state, signal, status, rights.
#[test]
fn a_life_under_runc_is_one_under_ours() {
    let Some(runc) = runc() else { return };
    let (Some(mut ours), Some(theirs)) = (Bundle::new(), Bundle::new()) else { return };
    let line = "trap 'exit 9' TERM; echo ready; while :; do sleep 1 & wait $!; done";
    let wanted = container(&["sh", "-c", line]);
    let rights = "id -u; pwd; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status; exit 5";

    let (folder, id) = write_bundle(&theirs, &wanted);
    let log = fs::File::create(theirs.path("log")).expect("a file");
    let create = call(&runc, &theirs, &["create", "--bundle", &folder, &id]).stdout(log).status().expect("it runs");
    assert!(create.success(), "{create}");
    let state = |word: &str| {
        let output = call(&runc, &theirs, &["state", &id]).output().expect("it runs").stdout;
        let value: serde_json::Value = serde_json::from_slice(&output).expect("a state");
        (value["status"] == word).then_some(value["pid"].as_i64())
    };
    assert!(state("created").is_some());
    assert!(call(&runc, &theirs, &["start", &id]).status().expect("it runs").success());
    assert!(state("running").is_some());
    let exec = call(&runc, &theirs, &["exec", &id, "sh", "-c", rights]).output().expect("it runs");
    let expected = (exec.status.code(), String::from_utf8_lossy(&exec.stdout).into_owned());
    while !fs::read_to_string(theirs.path("log")).is_ok_and(|text| text.contains("ready")) {
        std::thread::yield_now();
    }
    assert!(call(&runc, &theirs, &["kill", &id, "TERM"]).status().expect("it runs").success());
    while state("stopped").is_none() {
        std::thread::yield_now();
    }
    assert!(call(&runc, &theirs, &["delete", &id]).status().expect("it runs").success());
    remove_parents(&theirs);

    let (child, output) = ours.start(&wanted).expect("it runs");
    let mut ready = [0; 6];
    rustix::io::read(&output, &mut ready).expect("a line");
    let request =
        carrack_specgen::ExecRequest { args: ["sh", "-c", rights].map(str::to_owned).to_vec(), ..Default::default() };
    let (entered, reader) = super::exec::enter(&mut ours, &wanted, &child, &request).expect("it runs");
    let done = super::fixture::finish((entered, reader));
    assert_eq!((Some(done.status), done.output), expected);
    child.signal(15).expect("sent");
    assert_eq!(child.wait(), Ok(9));
}
