//! Shims that were killed a moment ago, or whose number is another process's by now (I-3, I-4).

use std::path::Path;

use crate::machine::{Machine, eventually, kill};

/// The next command finds that it is gone, whether it has ended yet or not, and says what it has done about it.
#[test]
fn a_shim_that_is_still_dying_is_gone() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "web", "-p", "127.0.0.1::80", "busybox", "sleep", "1000"]);
    let program = machine.pid("web");
    for _ in 0..10 {
        let former = machine.shim_pid("web");
        kill(former);
        let output = machine.carrack(&["rm", "--force", "nobody"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("web: adopted by a new shim") && told.contains("engine/shim-gone"), "{told}");
        assert_ne!(machine.shim_pid("web"), former);
    }
    assert_eq!(machine.pid("web"), program);
    let output = machine.carrack(&["rm", "--force", "nobody"]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("shim-gone"), "it is told once");
    machine.finish();
}

/// Another process of the shims' group, such as a worker or a probe, is no shim.
#[test]
fn a_number_that_was_given_to_another_process_is_no_shim() {
    let Some(machine) = Machine::new() else { return };
    for name in ["one", "two"] {
        machine.ok(&["run", "-d", "--name", name, "--network", "none", "busybox", "sh", "-c", "echo hi; sleep 1000"]);
    }
    let state = |name: &str| -> serde_json::Value {
        let id = machine.ok(&["inspect", "--format", "{{.Id}}", name]);
        serde_json::from_slice(
            &std::fs::read(machine.path().join("run/containers").join(id).join("state.json")).unwrap(),
        )
        .unwrap()
    };
    let worker = eventually("a worker", || state("two")["worker_pid"].as_i64());
    let former = machine.shim_pid("one");
    kill(former);
    eventually("its end", || (!Path::new(&format!("/proc/{former}")).exists()).then_some(()));
    let path = machine.path().join("run/containers").join(machine.ok(&["inspect", "--format", "{{.Id}}", "one"]));
    let mut known = state("one");
    known["shim_pid"] = worker.into();
    std::fs::write(path.join("state.json"), known.to_string()).unwrap();
    let id = machine.ok(&["inspect", "--format", "{{.Id}}", "one"]);
    let mark = |shim: i64| machine.path().join("run/active").join(format!("{id}.{shim}"));
    std::fs::rename(mark(former.into()), mark(worker)).unwrap();
    machine.carrack(&["rm", "--force", "nobody"]);
    assert_ne!(i64::from(machine.shim_pid("one")), worker, "it was adopted");
    assert!(Path::new(&format!("/proc/{}", machine.shim_pid("one"))).exists());
    machine.finish();
}

/// A successor that can't be made is told as well, by each command that tries.
#[test]
fn an_adoption_that_fails_is_told() {
    let Some(machine) = Machine::new() else { return };
    machine.ok(&["run", "-d", "--name", "web", "-p", "127.0.0.1::80", "busybox", "sleep", "1000"]);
    let port = machine.ok(&["port", "web", "80"]);
    kill(machine.shim_pid("web"));
    // Its port is free in the moment in which its shim is gone, and another program's from then on.
    let squatter = eventually("the port", || std::net::TcpListener::bind(&port).ok());
    for _ in 0..2 {
        let output = machine.carrack(&["rm", "--force", "nobody"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("web: it runs without a shim") && told.contains("tries again"), "{told}");
    }
    drop(squatter);
    // Processes that other tests begin to start have it open for a moment more.
    eventually("an adoption", || {
        let output = machine.carrack(&["rm", "--force", "nobody"]);
        String::from_utf8_lossy(&output.stderr).contains("web: adopted by a new shim").then_some(())
    });
    machine.finish();
}

/// A mark that stays makes each command that follows look after a container that is gone. Nor does a start read what other
/// images are called.
#[test]
fn a_run_leaves_no_mark_and_reads_no_other_image_s_name() {
    let Some(machine) = Machine::new() else { return };
    let other = machine.path().join("data/images/names").join(format!("{}.json", "ab".repeat(32)));
    std::fs::write(&other, "no record").unwrap();
    for flags in [&["--rm"][..], &["--name", "kept"]] {
        machine.ok(&[&["run", "--network", "none"], flags, &["busybox", "true"]].concat());
        let marks: Vec<_> = std::fs::read_dir(machine.path().join("run/active")).unwrap().collect();
        assert!(flags[0] != "--rm" || marks.is_empty(), "{marks:?}");
    }
    machine.ok(&["rm", "kept"]);
    assert_eq!(std::fs::read_dir(machine.path().join("run/active")).unwrap().count(), 0);
    std::fs::remove_file(other).unwrap();
    machine.finish();
}
