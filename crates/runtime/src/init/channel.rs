//! The socket between init and its spawner.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, Result};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

/// What init says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    /// With a descriptor: the spawner's end of the terminal.
    Terminal,
    /// With a descriptor: the process that goes on inside of the container.
    Entered { pid: i32 },
    /// The program comes next.
    Executing,
    /// There is no program: all is done.
    Held,
    /// The end.
    Failed { step: Option<u32>, name: String, errno: i32, detail: String },
}

/// Messages are filled up to this length: four bytes are an errno from before the process was init.
const LENGTH_MIN: usize = 8;

/// What the spawner gets.
pub(super) enum Received {
    Message(Message, Option<OwnedFd>),
    NotExecuted(Errno),
    End,
}

/// Both ends, close-on-exec: the spawner's and init's.
pub(super) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends one message, with a descriptor where it has one.
pub(super) fn send(channel: impl AsFd, message: &Message, descriptor: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut bytes = postcard::to_stdvec(message).map_err(|_| Errno::INVAL)?;
    bytes.resize(bytes.len().max(LENGTH_MIN), 0);
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    rustix::net::sendmsg(channel, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL).map(drop)
}

/// The next message.
///
/// # Errors
/// `ETIMEDOUT` after the deadline, `EBADMSG` for something that is no message.
pub(super) fn receive(channel: &OwnedFd, deadline: Instant) -> Result<Received> {
    wait(channel, deadline)?;
    let mut bytes = [0u8; 8192];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        rustix::net::recvmsg(channel, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::CMSG_CLOEXEC);
    let length = match received {
        Ok(received) => received.bytes,
        // A spawner's end that was never read by a killed init reads as reset: the end all the same.
        Err(Errno::CONNRESET) => 0,
        Err(errno) => return Err(errno),
    };
    let descriptor = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match bytes.get(..length).unwrap_or_default() {
        [] => Ok(Received::End),
        bytes if bytes.len() < LENGTH_MIN => {
            let errno = bytes.try_into().map(i32::from_ne_bytes).unwrap_or_default();
            // The kernel's range; anything else is not from our own side of the fork.
            if !(1..4096).contains(&errno) {
                return Err(Errno::BADMSG);
            }
            Ok(Received::NotExecuted(Errno::from_raw_os_error(errno)))
        }
        bytes => match postcard::from_bytes(bytes) {
            Ok(message) => Ok(Received::Message(message, descriptor)),
            Err(_) => Err(Errno::BADMSG),
        },
    }
}

fn wait(channel: &OwnedFd, deadline: Instant) -> Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut [PollFd::new(channel, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(Errno::TIMEDOUT),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
