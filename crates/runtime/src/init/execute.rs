//! The last step: the program, with a small init before it where one is wanted.

use std::ffi::{CStr, CString};

use carrack_specgen::init_plan::Execute;
use carrack_sys::process::{self, Fork};
use carrack_sys::signal;
use rustix::fs::{Access, AtFlags, CWD, FileType};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use super::channel::Message;
use super::inside::c_string;
use super::interpret::{Done, Failure, State};

/// What is searched where the environment has no `PATH`: Docker's default.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Comes back with an error only.
pub(super) fn execute(state: &mut State, program: &Execute) -> Done {
    let mut environment = program.env.clone();
    if !environment.iter().any(|entry| entry.starts_with("HOME=")) {
        environment.push(format!("HOME={}", state.identity.home));
    }
    let arguments = c_strings(&program.args)?;
    let environment = c_strings(&environment)?;
    let word = program.args.first().ok_or(Errno::INVAL)?;
    let path = find(word, &program.env)?;
    process::close_on_exec_from(3)?;
    if program.reap {
        stay_as_first_process(state)?;
    }
    state.say(&Message::Executing, None)?;
    let arguments: Vec<&CStr> = arguments.iter().map(CString::as_c_str).collect();
    let environment: Vec<&CStr> = environment.iter().map(CString::as_c_str).collect();
    // Our own start has made the runtime of Rust ignore SIGPIPE again.
    signal::reset_dispositions();
    let errno = process::execve(&path, &arguments, &environment);
    let path = path.to_string_lossy();
    if errno == Errno::NOENT && executable(&path).is_ok() {
        let missing = "it is there, but not the interpreter or program loader that it names";
        return Err(Failure::new(errno, format!("{path}: {missing}")));
    }
    Err(Failure::new(errno, path))
}

fn c_strings(list: &[String]) -> Done<Vec<CString>> {
    list.iter()
        .map(|text| c_string(text).map_err(|errno| Failure::new(errno, format!("{text:?} contains a zero byte"))))
        .collect()
}

/// A word with a slash is a path; another one is searched for in the container's `PATH`, as the user that it runs as.
fn find(word: &str, environment: &[String]) -> Done<CString> {
    if word.contains('/') {
        return Ok(c_string(word)?);
    }
    let path = environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(DEFAULT_PATH);
    let mut first_problem = None;
    for folder in path.split(':') {
        let candidate = if folder.is_empty() { format!("./{word}") } else { format!("{folder}/{word}") };
        match executable(&candidate) {
            Ok(()) => return Ok(c_string(&candidate)?),
            Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => first_problem = first_problem.or(Some(Failure::new(errno, candidate))),
        }
    }
    Err(first_problem
        .unwrap_or_else(|| Failure::new(Errno::NOENT, format!("{word:?}: executable file not found in $PATH"))))
}

fn executable(path: &str) -> Result<(), Errno> {
    let status = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(Errno::ACCESS);
    }
    rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// Goes on in a child. The first process stays: it passes signals on, reaps, and ends as the child does.
fn stay_as_first_process(state: &mut State) -> Done {
    signal::block_all()?;
    match process::fork(&state.proof, false)? {
        Fork::Child => {
            // A process group of its own, so that the terminal's signals reach it once, and not through us as well.
            rustix::process::setpgid(None, None)?;
            if rustix::termios::isatty(rustix::stdio::stdin()) {
                rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid())?;
            }
            signal::unblock_all()?;
            Ok(())
        }
        Fork::Parent(child) => {
            // The child reports from here on; our copy would keep the spawner waiting.
            state.channel = None;
            process::exit_immediately(reap_until_exit(&child))
        }
    }
}

fn reap_until_exit(child: &process::Process) -> i32 {
    loop {
        match signal::wait() {
            Ok(number) if number == Signal::CHILD.as_raw() => {
                if let Some(status) = reap_all(child.pid) {
                    return status;
                }
            }
            Ok(number) => {
                let _gone_meanwhile = process::send_signal(&child.pidfd, number);
            }
            Err(_) => {}
        }
    }
}

/// Collects every dead process; the program's status where it is among them.
fn reap_all(program: i32) -> Option<i32> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if Some(pid) == Pid::from_raw(program) {
            ended = status.exit_status().or(status.terminating_signal().map(|signal| 128 + signal));
        }
    }
    ended
}
