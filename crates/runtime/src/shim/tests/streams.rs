//! What goes in and out of a program.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use carrack_specgen::init_plan::InitStep;
use rustix::pipe::PipeFlags;

use super::fixture::{Fixture, can_run, eventually, execute, plan};
use crate::shim::protocol::{Order, attach};
use crate::shim::{AttachEnd, AttachOptions, DetachKeys};
use crate::state::Status;

const ALL: AttachOptions =
    AttachOptions { stdin: true, stdout: true, stderr: true, foreground: true, sig_proxy: false, puts_away: false };

fn pipe() -> (std::fs::File, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).unwrap();
    (reader.into(), writer)
}

#[test]
fn a_hundred_megabytes_of_any_bytes_pass_through_unchanged() {
    if !can_run() {
        return;
    }
    const SIZE: usize = 100_000_000;
    let mut fixture = Fixture::new("cat");
    fixture.config.open_stdin = true;
    fixture.config.stdin_once = true;
    fixture.config.log.max_size_bytes = 1 << 20;
    fixture.config.log.max_files = 2;
    let prepared = fixture.prepare();
    let attached = fixture.attach(ALL);
    prepared.go().unwrap();

    let (mut output, output_end) = pipe();
    let (input, mut input_end) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map(|(r, w)| (r, std::fs::File::from(w))).unwrap();
    let byte = |position: usize| (position.wrapping_mul(2_654_435_761) >> 13) as u8;
    let writer = std::thread::spawn(move || {
        let data: Vec<u8> = (0..SIZE).map(byte).collect();
        input_end.write_all(&data).unwrap();
    });
    let reader = std::thread::spawn(move || {
        let mut data = Vec::with_capacity(SIZE);
        output.read_to_end(&mut data).unwrap();
        data
    });
    let end = attached.run([input.as_fd(), output_end.as_fd(), output_end.as_fd()], &DetachKeys::default()).unwrap();
    drop(output_end);
    writer.join().unwrap();
    let data = reader.join().unwrap();
    assert_eq!(end, AttachEnd::Exited(Some(0)));
    assert_eq!(data.len(), SIZE);
    assert!(data.iter().enumerate().all(|(position, found)| *found == byte(position)));
    let log_size = std::fs::metadata(&fixture.config.log.path).unwrap().len();
    assert!(log_size <= (1 << 20) + (7 << 14), "{log_size}");
}

#[test]
fn streams_stay_apart_and_can_be_opened_again() {
    if !can_run() {
        return;
    }
    let fixture = Fixture::new(
        "echo one > /dev/stdout; echo two > /dev/stderr; printf three; head -c 40000 /dev/zero | tr '\\0' x",
    );
    assert_eq!(fixture.run(), Some(0));
    assert_eq!(fixture.logged("stderr"), "two\n");
    let expected = format!("one\nthree{}", "x".repeat(40000));
    assert_eq!(fixture.logged("stdout"), expected);
    let log = std::fs::read_to_string(&fixture.config.log.path).unwrap();
    assert_eq!(log.lines().count(), 5, "pieces of 16 KiB");
}

#[test]
fn a_slow_client_in_the_foreground_slows_the_program_and_a_dead_one_does_not() {
    if !can_run() {
        return;
    }
    let fixture = Fixture::new("head -c 3000000 /dev/zero; echo finished >&2; sleep 600");
    let prepared = fixture.prepare();
    let slow = fixture.attach(ALL);
    prepared.go().unwrap();
    // It has been given all that it and the sockets hold, and the program waits.
    let log_size = || std::fs::metadata(&fixture.config.log.path).map_or(0, |log| log.len());
    eventually("the program to be stuck", || {
        let before = log_size();
        std::thread::sleep(std::time::Duration::from_millis(100));
        (before > 0 && before == log_size()).then_some(())
    });
    assert_eq!(fixture.logged("stderr"), "");
    drop(slow);
    eventually("the program to go on", || (fixture.logged("stderr") == "finished\n").then_some(()));
    fixture.client().signal(9).unwrap();
    fixture.wait_for_status(Status::Exited);
}

#[test]
fn hostile_frames_end_their_connection_only() {
    if !can_run() {
        return;
    }
    let fixture = Fixture::new("sleep 600");
    fixture.start().unwrap();
    for bytes in
        [&[0xffu8; 4096][..], &[1, 0, 0, 0, 0], &[2, 0xff, 0xff, 0xff, 0xff], &[9, 1, 0, 0, 0, 7], &[4, 2, 0, 0]]
    {
        let mut socket = std::os::unix::net::UnixStream::connect(fixture.path("shim.sock")).unwrap();
        socket.write_all(bytes).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = socket.read_to_end(&mut rest);
        assert_eq!(rest, b"");
    }
    fixture.client().signal(9).unwrap();
    fixture.wait_for_status(Status::Exited);
}

/// Says all of it at once and waits for the answer to the last order.
fn say(fixture: &Fixture, orders: &[Order<'_>]) {
    let mut bytes = Vec::new();
    orders.iter().for_each(|order| order.encode(&mut bytes));
    let mut socket = std::os::unix::net::UnixStream::connect(fixture.path("shim.sock")).unwrap();
    socket.write_all(&bytes).unwrap();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = socket.read(&mut [0; 64]);
}

#[test]
fn input_stays_open_over_clients() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new("read a; read b; echo $a $b");
    fixture.config.open_stdin = true;
    fixture.start().unwrap();
    for word in [&b"one\n"[..], b"two\n"] {
        say(&fixture, &[Order::Attach { flags: attach::STDIN }, Order::Stdin(word), Order::StdinEnd]);
    }
    fixture.wait_for_status(Status::Exited);
    assert_eq!(fixture.logged("stdout"), "one two\n");
}

#[test]
fn a_terminal_has_its_size_and_passes_keys() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new("");
    fixture.config.tty = true;
    fixture.config.open_stdin = true;
    fixture.plan = plan(vec![
        InitStep::IsolateMounts { shared: vec![] },
        InitStep::Terminal { columns: 0, rows: 0, console: false },
        // A process namespace's first process hears only what it has a handler for.
        execute(
            "trap 'exit 130' INT; stty size; stty -echo; echo ready; read word; echo got $word; \
             while :; do sleep 0.01; done",
        ),
    ]);
    let prepared = fixture.prepare();
    say(&fixture, &[Order::Resize { columns: 91, rows: 17 }, Order::Attach { flags: 0 }]);
    prepared.go().unwrap();
    eventually("the program", || fixture.logged("stdout").contains("ready").then_some(()));
    say(&fixture, &[Order::Attach { flags: attach::STDIN }, Order::Stdin(b"word\r")]);
    eventually("its answer", || fixture.logged("stdout").ends_with("got word\r\n").then_some(()));
    say(&fixture, &[Order::Attach { flags: attach::STDIN }, Order::Stdin(b"\x03")]);
    let state = fixture.wait_for_status(Status::Exited);
    assert_eq!(state.exit_code, Some(130), "control and c");
    assert_eq!(fixture.logged("stdout").lines().next(), Some("17 91"));
}

/// A terminal and the program's end of it.
fn terminal() -> (std::fs::File, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
    let end = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    (master.into(), end)
}

#[test]
fn the_detach_keys_leave_the_program_running_and_the_terminal_as_it_was() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new("");
    fixture.config.tty = true;
    fixture.config.open_stdin = true;
    fixture.plan = plan(vec![
        InitStep::IsolateMounts { shared: vec![] },
        InitStep::Terminal { columns: 0, rows: 0, console: false },
        execute("stty -echo; while read word; do echo got $word; done"),
    ]);
    fixture.start().unwrap();
    let (mut master, end) = terminal();
    let flags = |fd: &OwnedFd| rustix::termios::tcgetattr(fd).unwrap().local_modes;
    let before = flags(&end);
    let watched = end.try_clone().unwrap();
    let attached = fixture.attach(ALL);
    let running = std::thread::spawn(move || attached.run([end.as_fd(); 3], &DetachKeys::default()));
    eventually("a raw terminal", || (flags(&watched) != before).then_some(()));
    master.write_all(b"one\r").unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"got one\r\n") {
        let mut byte = [0; 1];
        master.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    master.write_all(b"\x10\x11").unwrap();
    assert_eq!(running.join().unwrap().unwrap(), AttachEnd::Detached);
    assert_eq!(flags(&watched), before);
    assert_eq!(fixture.state().actual_status(), Status::Running);
    fixture.client().signal(9).unwrap();
    fixture.wait_for_status(Status::Exited);
}

#[test]
fn input_that_nobody_reads_keeps_no_output_back() {
    if !can_run() {
        return;
    }
    let mut fixture = Fixture::new("head -c 3000000 /dev/zero; exit 9");
    fixture.config.open_stdin = true;
    let prepared = fixture.prepare();
    let attached = fixture.attach(ALL);
    prepared.go().unwrap();
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let sink = std::fs::File::options().write(true).open("/dev/null").unwrap();
    let end = attached.run([zero.as_fd(), sink.as_fd(), sink.as_fd()], &DetachKeys::default()).unwrap();
    assert_eq!(end, AttachEnd::Exited(Some(9)));
}
