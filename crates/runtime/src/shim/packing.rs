//! Files rotated away from a log, compressed beside everything else: by a process that is nobody and has the two files only.
//!
//! A number names one file, plain or with `.gz`; only while the process works there are both, and the plain one counts.

use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::{Result, copy};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use carrack_sys::process::{self, Process, SingleThreaded};
use rustix::process::{WaitId, WaitIdOptions};
use rustix::thread::CapabilitySet;

use super::log::{missing_is_fine, numbered, packed};
use super::poll::{Poll, Token};
use super::start::null;
use super::worker::become_nobody;

/// One at work.
#[derive(Debug)]
pub(super) struct Packing {
    process: Process,
    rotated: PathBuf,
}

impl Packing {
    /// Begins with what was rotated last away from the log; none where there is nothing.
    pub(super) fn start(proof: &SingleThreaded, log: &Path, poll: &Poll) -> Result<Option<Self>> {
        let rotated = numbered(log, 1);
        let Ok(from) = File::open(&rotated) else { return Ok(None) };
        let to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(part(&rotated))?;
        let null = null()?;
        let descriptors = [null.as_fd(), null.as_fd(), rustix::stdio::stderr(), from.as_fd(), to.as_fd()];
        let process = process::fork_into(proof, 0, None, &descriptors, run)?;
        poll.watch_input(&process.pidfd, Token::Packing)?;
        Ok(Some(Self { process, rotated }))
    }

    /// Waits for it, and puts the compressed file in the place of the other where all went well.
    pub(super) fn finish(self) -> Result<()> {
        let status = rustix::process::waitid(WaitId::PidFd(self.process.pidfd.as_fd()), WaitIdOptions::EXITED)?;
        let part = part(&self.rotated);
        if status.is_none_or(|status| status.exit_status() != Some(0)) {
            return missing_is_fine(std::fs::remove_file(part));
        }
        std::fs::rename(&part, packed(&self.rotated))?;
        std::fs::remove_file(&self.rotated)
    }
}

fn part(rotated: &Path) -> PathBuf {
    let mut name = packed(rotated).into_os_string();
    name.push(".part");
    name.into()
}

fn run(descriptors: Vec<OwnedFd>) -> Infallible {
    let done = match <[OwnedFd; 2]>::try_from(descriptors) {
        Ok([from, to]) => become_nobody(CapabilitySet::empty()).is_ok() && pack(from.into(), to.into()).is_ok(),
        Err(_) => false,
    };
    process::exit_immediately(if done { 0 } else { 1 })
}

/// The next rotation waits for it: fast is more than small.
fn pack(mut from: File, to: File) -> Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(to, flate2::Compression::fast());
    copy(&mut from, &mut encoder)?;
    encoder.finish().map(drop)
}
