//! Containers that ask for everything at once: names, connections, restarts, their own root, processes (X10, X16, X21).

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use crate::machine::{Machine, eventually, on_both_hosts};

/// What a shim may come to hold in memory, whatever its container does, in KiB. A tenth of it is usual.
const SHIM_MEMORY_MAX_KIB: u64 = 24 << 10;

fn of(machine: &Machine, name: &str, field: &str) -> String {
    machine.ok(&["inspect", "--format", &format!("{{{{{field}}}}}"), name])
}

/// Does something in the network of a process. What is opened there stays there.
fn in_network_of<T: Send>(pid: i32, work: impl FnOnce() -> T + Send) -> T {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

    let namespace = std::fs::File::open(format!("/proc/{pid}/ns/net")).unwrap();
    let enter = move || {
        move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), Some(LinkNameSpaceType::Network)).unwrap();
        work()
    };
    std::thread::scope(|scope| scope.spawn(enter).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

fn memory_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    anonymous.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

fn open_files(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

/// A question for the address of `NUMBER.flood.example` (RFC 1035, section 4.1).
fn question(number: u32) -> Vec<u8> {
    let name = number.to_string();
    let mut message = vec![(number >> 8) as u8, number as u8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, name.len() as u8];
    message.extend(name.bytes());
    message.extend(b"\x05flood\x07example\x00\x00\x01\x00\x01");
    message
}

/// X16: a container that floods its name server holds up neither itself nor others, and the server stays as small as it was.
#[test]
fn a_flood_of_questions_drowns_nobody() {
    on_both_hosts(|machine| {
        // Nobody answers there.
        let flags = ["run", "-d", "--dns", "192.0.2.53", "--name"];
        for name in ["flooder", "other"] {
            machine.ok(&[&flags[..], &[name, "busybox", "sleep", "1000"]].concat());
        }
        let shim = machine.shim_pid("flooder");
        let socket = in_network_of(machine.pid("flooder"), || UdpSocket::bind("127.0.0.1:0").unwrap());
        socket.connect((Ipv4Addr::new(127, 0, 0, 11), 53)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let looked_up = |by: &str, name: &str| machine.ok(&["exec", by, "nslookup", "-type=a", name]);
        let (start, mut number, mut largest) = (Instant::now(), 0, (0, 0));
        while number < 100_000 || start.elapsed() < Duration::from_millis(500) {
            for _ in 0..1000 {
                number += 1;
                // A full socket is the kernel's way to say that it drops them.
                let _ = socket.send(&question(number));
            }
            largest = (largest.0.max(memory_kib(shim)), largest.1.max(open_files(shim)));
            if number == 50_000 {
                assert!(looked_up("other", "flooder").contains(&of(&machine, "flooder", ".NetworkSettings.IPAddress")));
            }
        }
        assert!(largest.0 < SHIM_MEMORY_MAX_KIB && largest.1 < 1500, "KiB and open files: {largest:?}");
        let address = of(&machine, "other", ".NetworkSettings.IPAddress");
        assert!(
            looked_up("flooder", "other").contains(&address),
            "who floods gets answers again as soon as he asks less"
        );
        eventually("it lets go of what it asked others", || (open_files(shim) < 64).then_some(()));
        machine.finish();
    });
}

/// X16: ten thousand connections to one published port: as many as there is room for are served, other ports are, and all of
/// it is given back.
#[test]
fn ten_thousand_connections_to_a_port_are_survived() {
    const CONNECTIONS: usize = 10_000;
    // Both ends of most of them are this process's.
    const OPEN_FILES: u64 = 16_000;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if limit.maximum.is_some_and(|maximum| maximum < OPEN_FILES) {
        eprintln!("skipped: fewer than {OPEN_FILES} files may be open here");
        return;
    }
    let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    on_both_hosts(|machine| {
        machine.ok(&["run", "-d", "--name", "sought", "-p", "127.0.0.1:8080:8000", "busybox", "sleep", "1000"]);
        let quiet = "echo quiet > /index.html; exec httpd -f -p 8000 -h /";
        machine.ok(&["run", "-d", "--name", "quiet", "-p", "127.0.0.1:8081:8000", "busybox", "sh", "-c", quiet]);
        let shim = machine.shim_pid("sought");
        // A program that takes every connection and says nothing.
        let listener = in_network_of(machine.pid("sought"), || TcpListener::bind("0.0.0.0:8000").unwrap());
        listener.set_nonblocking(true).unwrap();
        rustix::net::listen(&listener, 4096).unwrap();
        let mut held = Vec::new();
        let mut taken = Vec::new();
        let mut largest = (0, 0);
        for number in 0..CONNECTIONS {
            let socket = rustix::net::socket_with(
                rustix::net::AddressFamily::INET,
                rustix::net::SocketType::STREAM,
                rustix::net::SocketFlags::NONBLOCK | rustix::net::SocketFlags::CLOEXEC,
                None,
            )
            .unwrap();
            // Those that find no room wait in the kernel's queues, or are still on their way.
            let _ = rustix::net::connect(&socket, &SocketAddr::from(([127, 0, 0, 1], 8080)));
            held.push(socket);
            taken.extend(std::iter::from_fn(|| listener.accept().ok()));
            if number % 1000 == 999 {
                largest = (largest.0.max(memory_kib(shim)), largest.1.max(open_files(shim)));
            }
        }
        eventually("as many as there is room for", || {
            taken.extend(std::iter::from_fn(|| listener.accept().ok()));
            (taken.len() >= 4096).then_some(())
        });
        largest = (largest.0.max(memory_kib(shim)), largest.1.max(open_files(shim)));
        assert!(largest.0 < SHIM_MEMORY_MAX_KIB && largest.1 < 2 * 4096 + 100, "KiB and open files: {largest:?}");
        assert!(fetched(8081).contains("quiet"), "another container's port");
        assert_eq!(machine.ok(&["exec", "sought", "echo", "lives"]), "lives");
        drop((held, taken));
        let answer = std::thread::scope(|scope| {
            let client = scope.spawn(|| eventually("room again", || spoken(8080)));
            while !client.is_finished() {
                if let Ok((mut stream, _)) = listener.accept() {
                    use std::io::Write;
                    let _ = stream.write_all(b"hello");
                }
                std::thread::yield_now();
            }
            client.join().unwrap()
        });
        assert_eq!(answer, "hello");
        eventually("all of it is given back", || (open_files(shim) < 100).then_some(()));
        machine.finish();
    });
}

/// What a port says by itself; none where it is not served within a while.
fn spoken(port: u16) -> Option<String> {
    use std::io::Read;

    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    (!text.is_empty()).then_some(text)
}

fn fetched(port: u16) -> String {
    use std::io::{Read, Write};

    eventually("an answer", || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        (!text.is_empty()).then_some(text)
    })
}

/// X10: it takes away everything that it can reach, and reaches nothing but its own.
#[test]
fn a_container_that_deletes_its_root_deletes_nothing_else() {
    let Some(machine) = Machine::new() else { return };
    let kept = machine.path().join("kept");
    std::fs::create_dir(&kept).unwrap();
    std::fs::write(kept.join("file"), "kept").unwrap();
    let bind = format!("{}:/kept:ro", kept.display());
    let script =
        "rm -rf /* /.* 2>/dev/null; cd /; for name in *; do unset left; left=$name; done; echo done; exec sleep 1000";
    for flags in [&["--network", "none"][..], &["--network", "none", "--privileged", "--cap-drop", "SYS_ADMIN"]] {
        let all =
            [&["run", "-d", "--name", "wild", "-v", &bind, "-v", "own:/own"], flags, &["busybox", "sh", "-c", script]];
        // The shell is gone by the time it is to become `sleep`: then the container ends.
        machine.ok(&all.concat());
        eventually("it is done", || machine.ok(&["logs", "wild"]).contains("done").then_some(()));
        assert_eq!(std::fs::read_to_string(kept.join("file")).unwrap(), "kept");
        let failure = machine.fails(&["exec", "wild", "true"]);
        assert!([1, 126, 127].contains(&failure.status), "{}", failure.text());
        machine.ok(&["stop", "-t", "0", "wild"]);
        let changes = machine.ok(&["diff", "wild"]);
        assert!(changes.lines().any(|line| line == "D /bin"), "{changes}");
        // It can't be started for want of a program, which is said.
        assert_eq!(machine.fails(&["start", "wild"]).status, 1);
        assert_eq!(
            machine.ok(&["run", "--rm", "--network", "none", "busybox", "echo", "whole"]),
            "whole",
            "the image is"
        );
        machine.ok(&["rm", "wild"]);
    }
    machine.finish();
}

/// F11: fifty that end at once and are always to be started again: each waits twice as long as before, and one command ends it.
#[test]
fn a_storm_of_restarts_calms_down_and_is_ended_at_once() {
    const COUNT: usize = 50;
    let Some(machine) = Machine::new() else { return };
    let names: Vec<String> = (0..COUNT).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let start = Instant::now();
    for name in &names {
        machine.ok(&["run", "-d", "--name", name, "--network", "none", "--restart", "always", "busybox", "false"]);
    }
    let counts = || -> Vec<u32> {
        let format = ["inspect", "--format", "{{.RestartCount}}"];
        let text = machine.ok(&[&format[..], &names].concat());
        text.lines().map(|line| line.parse().unwrap()).collect()
    };
    eventually("each was started again thrice", || counts().iter().all(|count| *count >= 3).then_some(()));
    // The n-th restart comes after 0.1 + 0.2 + … + 0.1 · 2ⁿ⁻¹ seconds at the earliest.
    let counted = counts();
    let tenths = start.elapsed().as_millis() as u64 / 100 + 1;
    let most = u64::BITS - (tenths + 1).leading_zeros();
    assert!(counted.iter().all(|count| *count <= most), "after {tenths} tenths of a second: {counted:?}");
    machine.ok(&[&["stop", "-t", "0"], &names[..]].concat());
    let states = machine.ok(&["ps", "-a", "--format", "{{.State}}"]);
    assert_eq!(states.lines().filter(|state| *state == "exited").count(), COUNT, "{states}");
    let after = counts();
    assert_eq!(machine.ok(&["ps", "-q"]), "");
    machine.ok(&[&["rm"], &names[..]].concat());
    assert!(after.iter().zip(&counted).all(|(after, before)| after >= before));
    machine.finish();
}
