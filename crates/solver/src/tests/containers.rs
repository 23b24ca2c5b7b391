use std::path::Path;
use std::sync::atomic::AtomicBool;

use carrack_diag::SourceMap;

use super::{Yard, is_able, lines};
use crate::{BuildResult, ContainerExecutor, HostNetwork, Services, Silent, StoreOnly, build};

// The tests' own binary is what a container's init executes.
carrack_sys::run_before_main!(carrack_runtime::dispatch);

/// A yard whose context holds a static shell; none where containers cannot be made.
fn yard() -> Option<Yard> {
    if !is_able() {
        return None;
    }
    if !Path::new("/bin/busybox").exists() {
        #[allow(clippy::print_stderr)]
        {
            eprintln!("skipped: needs /bin/busybox, statically linked");
        }
        return None;
    }
    let yard = Yard::new();
    std::fs::create_dir(yard.context().join("bin")).unwrap();
    std::fs::copy("/bin/busybox", yard.context().join("bin/sh")).unwrap();
    for name in ["cat", "ls", "id", "rm", "mkdir", "env", "kill", "sleep", "wc", "hostname", "pwd", "ln"] {
        std::os::unix::fs::symlink("sh", yard.context().join("bin").join(name)).unwrap();
    }
    Some(yard)
}

fn contained(yard: &Yard, text: &str) -> Result<BuildResult, String> {
    let mut sources = SourceMap::new();
    let executor = ContainerExecutor::new(&yard.store, &HostNetwork).unwrap();
    let cancel = AtomicBool::new(false);
    let services = Services { executor: &executor, progress: &Silent, images: &StoreOnly, cancel: &cancel };
    let text = format!("FROM scratch\nCOPY bin /bin\n{text}");
    build(&yard.request(&text), services, &mut sources).map_err(|errors| lines(&errors, &sources))
}

/// D1: what a program sees and what of it ends in the layer.
#[test]
fn programs_run_in_containers() {
    let Some(yard) = yard() else { return };
    yard.write("etc/passwd", "root:x:0:0::/:\napp:x:7:8::/home/app:/bin/sh\n")
        .write("etc/group", "app:x:8:\nmore:x:9:app\n");
    let result = contained(
        &yard,
        "COPY etc /etc\nARG WORD=hello\nENV KEY=value\nUSER app\nWORKDIR /work\n\
         RUN echo $WORD $KEY > said; id -u > user; id -G > groups; pwd > folder\n\
         USER root\nRUN [\"/bin/rm\", \"/etc/group\"]\nRUN --network=none ls /sys/class/net > /net\n",
    );
    let files = yard.files(&result.unwrap_or_else(|errors| panic!("{errors}")));
    for expected in [
        "644 7:8 work/said \"hello value\\n\"",
        "644 7:8 work/user \"7\\n\"",
        "644 7:8 work/groups \"8 9\\n\"",
        "644 7:8 work/folder \"/work\\n\"",
        "644 0:0 net \"lo\\n\"",
    ] {
        assert!(files.contains(expected), "{expected} in {files}");
    }
    for absent in ["etc/group", "etc/hosts", "etc/resolv.conf", "proc/", "dev/", "sys/"] {
        assert!(!files.contains(absent), "{absent} in {files}");
    }
}

#[test]
fn failures_of_programs_are_told() {
    let Some(yard) = yard() else { return };
    let failed = contained(&yard, "RUN echo first; echo second >&2; exit 4\n").unwrap_err();
    assert!(failed.starts_with("build/run-failed Dockerfile:3:1 "), "{failed}");
    assert!(failed.contains("exit status 4") && failed.contains("second"), "{failed}");
    let killed = contained(&yard, "RUN sh -c 'kill -9 $$'; exit $?\n").unwrap_err();
    assert!(killed.contains("signal 9"), "{killed}");
    let missing = contained(&yard, "RUN [\"/bin/none\"]\n").unwrap_err();
    assert!(missing.contains("was not found (status 127)"), "{missing}");
    let unknown = contained(&yard, "USER nobody-knows\nRUN id\n").unwrap_err();
    assert!(unknown.contains("Dockerfile:4:1") && unknown.contains("nobody-knows"), "{unknown}");
}

/// D4: mounts are seen while the program runs, and leave nothing behind.
#[test]
fn mounts_in_containers() {
    let Some(yard) = yard() else { return };
    yard.write("src/a", "1").write(".dockerignore", "src/b").write("src/b", "2");
    let text = "RUN --mount=source=src,target=/src ls /src > /seen; echo x > /src/w || echo refused > /refused\n\
                RUN --mount=type=cache,target=/cache,uid=5 echo 1 >> /cache/n; cat /cache/n > /count\n\
                RUN --mount=type=tmpfs,target=/t,size=1m echo x > /t/x\n\
                RUN <<EOF\n#!/bin/sh\necho script > /script\nEOF\n";
    let first = contained(&yard, text).unwrap_or_else(|errors| panic!("{errors}"));
    let files = yard.files(&first);
    for expected in ["seen \"a\\n\"", "refused \"refused\\n\"", "count \"1\\n\"", "script \"script\\n\""] {
        assert!(files.contains(expected), "{expected} in {files}");
    }
    for absent in ["src/", "cache/", " t/", "dev/"] {
        assert!(!files.contains(absent), "{absent} in {files}");
    }
    let again = contained(&yard, text).unwrap();
    assert_eq!((again.cached_steps, again.image_id()), (again.steps, first.image_id()));
}

/// I-3: a build that was killed leaves a step behind; the next one ends it and takes everything away.
#[test]
fn leftovers_of_a_killed_build_are_taken_away() {
    use std::sync::Mutex;

    #[derive(Default)]
    struct Network(Mutex<Vec<String>>);
    impl crate::BuildNetwork for Network {
        fn connect(&self, id: &str) -> carrack_diag::Result<crate::Connection> {
            HostNetwork.connect(id)
        }
        fn release(&self, id: &str) -> carrack_diag::Result<()> {
            self.0.lock().unwrap().push(id.to_owned());
            Ok(())
        }
    }

    let Some(yard) = yard() else { return };
    let id = "ab".repeat(32);
    let folder = yard.folder.path().join("run/build").join(&id);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("secret-0"), "hush").unwrap();
    let hierarchies = carrack_runtime::cgroup::Hierarchies::detect().unwrap();
    let parent = format!("carrack-{}", yard.store.roots().tag());
    let cgroup = carrack_runtime::cgroup::Cgroup::create(
        &hierarchies,
        &parent,
        &id,
        &Default::default(),
        carrack_runtime::cgroup::Membership::Needed,
    )
    .unwrap();
    drop(cgroup);
    let running = crate::private::Private::create(&yard.store, "held").unwrap();
    let network = Network::default();
    ContainerExecutor::new(&yard.store, &network).unwrap();
    assert_eq!(*network.0.lock().unwrap(), std::slice::from_ref(&id), "a step that runs is left alone");
    assert!(!folder.exists() && running.path().is_dir());
    let left = carrack_runtime::cgroup::Cgroup::open(&hierarchies, &parent, &id).unwrap();
    assert!(left.processes().unwrap().is_empty());
}

/// An interrupt ends the program that runs, and the build says so.
#[test]
fn a_cancelled_build_kills_its_programs() {
    struct Cancel<'a>(&'a AtomicBool);
    impl crate::Progress for Cancel<'_> {
        fn event(&self, event: crate::Event<'_>) {
            if matches!(event, crate::Event::Output { .. }) {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
        }
    }

    let Some(yard) = yard() else { return };
    let cancel = AtomicBool::new(false);
    let executor = ContainerExecutor::new(&yard.store, &HostNetwork).unwrap();
    let services = Services { executor: &executor, progress: &Cancel(&cancel), images: &StoreOnly, cancel: &cancel };
    let request = yard.request("FROM scratch\nCOPY bin /bin\nRUN echo running; sleep 1000\nRUN echo never\n");
    let mut sources = SourceMap::new();
    let errors = build(&request, services, &mut sources).unwrap_err();
    assert_eq!(errors[0].code.id, "build/cancelled");
}

/// D2: what is bound of another stage is its layers themselves, whatever links lead there, and what is written to it is in
/// no layer and in no other step.
#[test]
fn stages_are_bound_without_a_copy() {
    let Some(yard) = yard() else { return };
    yard.write("tool", "tool\n");
    let result = contained(
        &yard,
        "COPY tool /opt/tool\nRUN mkdir /full && cat /opt/tool > /full/file && ln -s /opt /way && ln -s ../../../opt/tool /full/link\n\
         FROM scratch AS last\nCOPY bin /bin\n\
         RUN --mount=from=0,target=/stage --mount=from=0,source=way/tool,target=/one --mount=from=0,source=/full,target=/full,rw \
         --mount=from=0,source=full/link,target=/two \
         cat /stage/opt/tool /one /two /full/file > /said; ls /stage > /names; rm -r /stage/opt 2> /dev/null && exit 1; rm /full/file; cat /bin/sh > /full/own; ls /full > /after\n\
         RUN --mount=from=0,source=full,target=/full ls /full > /again\n",
    );
    let files = yard.files(&result.unwrap_or_else(|errors| panic!("{errors}")));
    for expected in [
        r#"said "tool\ntool\ntool\ntool\n""#,
        r#"names "bin\nfull\nopt\nway\n""#,
        r#"after "link\nown\n""#,
        r#"again "file\nlink\n""#,
    ] {
        assert!(files.contains(expected), "{expected} in {files}");
    }
    for absent in ["stage", "one", "two", "full/"] {
        assert!(!files.contains(&format!(" {absent}")), "{absent} in {files}");
    }
    assert!(
        !std::fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .contains(yard.context().parent().unwrap().to_str().unwrap()),
        "nothing stays mounted"
    );
}
