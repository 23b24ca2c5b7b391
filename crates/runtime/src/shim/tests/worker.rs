//! The process that reads what the container sends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use carrack_specgen::container::Protocol;

use super::fixture::{Fixture, Namespace, can_run, eventually, kill};
use crate::shim::{PublishedPort, Seed, ShimRequest};
use crate::state::{State, start_ticks_of};

/// A program that writes a line whenever somebody touches the file `more`.
fn chatty() -> Fixture {
    let mut fixture = Fixture::new("");
    let more = fixture.path("more");
    let script =
        format!("echo first; while :; do if rm {0} 2>/dev/null; then echo more; fi; sleep 0.05; done", more.display());
    fixture.plan = Fixture::new(&script).plan.clone();
    fixture
}

fn worker_of(fixture: &Fixture) -> i32 {
    eventually("a worker", || {
        let state = fixture.state();
        let lives = start_ticks_of(state.worker_pid) == Some(state.worker_start_ticks);
        (state.worker_pid != 0 && lives).then_some(state.worker_pid)
    })
}

fn field(pid: i32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn who_reads_what_a_container_sends_has_no_rights() {
    if !can_run() {
        return;
    }
    let quiet = Fixture::new("sleep 600");
    quiet.start().unwrap();
    assert_eq!(quiet.state().worker_pid, 0, "nobody pays for a worker who has nothing to read");

    let fixture = chatty();
    let started = fixture.start().unwrap();
    eventually("a line", || (fixture.logged("stdout") == "first\n").then_some(()));
    let worker = worker_of(&fixture);
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        assert_eq!(u64::from_str_radix(&field(worker, set), 16), Ok(0), "{set}");
    }
    assert_eq!(field(worker, "NoNewPrivs:"), "1");
    assert_eq!(field(worker, "Seccomp:"), "2");
    assert_eq!(field(worker, "Uid:"), "65534 65534 65534 65534");
    assert_eq!(field(worker, "PPid:"), started.shim_pid.to_string());
    // Null device and log, the set it waits for, two ways to the shim, and the container's log.
    let open: Vec<String> = std::fs::read_dir(format!("/proc/{worker}/fd"))
        .unwrap()
        .flatten()
        .map(|entry| std::fs::read_link(entry.path()).unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(open.iter().filter(|target| target.starts_with("socket:")).count(), 2, "{open:?}");
    let ours = fixture.folder().to_string_lossy().into_owned();
    let known = |target: &&String| {
        target.starts_with("socket:")
            || ["/dev/null", "anon_inode:[eventpoll]"].contains(&target.as_str())
            || target.starts_with(&ours)
    };
    assert!(open.iter().all(|target| known(&target)), "{open:?}");
    for fixture in [&quiet, &fixture] {
        fixture.client().signal(9).unwrap();
    }
    fixture.wait_for_shims_end();
    eventually("the worker's end", || start_ticks_of(worker).is_none().then_some(()));
}

#[test]
fn a_killed_worker_is_followed_by_another() {
    if !can_run() {
        return;
    }
    let fixture = chatty();
    fixture.start().unwrap();
    eventually("a line", || (fixture.logged("stdout") == "first\n").then_some(()));
    let first = worker_of(&fixture);
    kill(first);
    eventually("its end", || start_ticks_of(first).is_none().then_some(()));
    std::fs::write(fixture.path("more"), "").unwrap();
    // Either it was logged by the next one, or it came while nobody read, and that is in the log.
    eventually("more", || {
        let lost = fixture.logged("stderr").contains("bytes of output were lost");
        (fixture.logged("stdout") == "first\nmore\n" || lost).then_some(())
    });
    assert_ne!(worker_of(&fixture), first);
    let own = std::fs::read_to_string(fixture.path("shim.log")).unwrap();
    assert!(own.contains("the worker has ended: signal 9"), "{own}");
    fixture.client().signal(9).unwrap();
    fixture.wait_for_shims_end();
}

#[test]
fn a_killed_shim_takes_its_worker_along_and_the_next_binds_the_same_ports() {
    // I-4.
    let Some(namespace) = Namespace::new().filter(|_| can_run()) else { return };
    let server = namespace.inside(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let container_port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            let _ = stream.write_all(b"here");
        }
    });
    let mut fixture = Fixture::new("sleep 600");
    fixture.config.ports = vec![PublishedPort {
        host_address: Ipv4Addr::LOCALHOST.into(),
        host_port: 0,
        protocol: Protocol::Tcp,
        address: None,
        ipv6: None,
        container_port,
    }];
    let request =
        ShimRequest { config: &fixture.config, plan: &fixture.plan, network_namespace: Some(namespace.descriptor()) };
    let prepared = Seed::sow(None).unwrap().prepare(&request).unwrap();
    let host = prepared.ports()[0].host;
    let started = prepared.go().unwrap();
    let answers = || {
        let mut stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer == "here"
    };
    assert!(answers());
    let worker = worker_of(&fixture);
    kill(started.shim_pid);
    let state: State = fixture.state();
    Seed::sow(None).unwrap().adopt(&request, &state).unwrap();
    assert!(start_ticks_of(worker).is_none(), "gone before the next shim binds its ports");
    assert_eq!(fixture.state().ports[0].host, host);
    assert!(answers());
    fixture.client().signal(9).unwrap();
    fixture.wait_for_shims_end();
}
