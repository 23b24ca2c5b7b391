//! Who the program runs as, after the container's own records.

use std::fs::File;
use std::io::Read;

use carrack_specgen::init_plan::UserRequest;
use carrack_specgen::passwd::{self, Identity};
use rustix::fs::{FileType, OFlags, Uid};
use rustix::io::Errno;

use super::inside;
use super::interpret::{Done, Failure, State};

/// More of a passwd or group file than anybody has, and little enough to read.
const RECORDS_MAX_BYTES: u64 = 16 << 20;

pub(super) fn identify(state: &mut State, request: &UserRequest) -> Done<Identity> {
    let users = read_records(state, "/etc/passwd")?;
    let groups = read_records(state, "/etc/group")?;
    passwd::identify(&request.user, &request.groups, &users, &groups)
        .map_err(|unknown| Failure::new(Errno::INVAL, unknown.to_string()))
}

/// The file's text; empty where there is none. Nothing but a regular file is read, so none can make us wait.
fn read_records(state: &mut State, path: &str) -> Done<String> {
    let file = match inside::open(state.root()?, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        Err(errno) => return Err(Failure::new(errno, path)),
    };
    if inside::file_type(&file)? != FileType::RegularFile {
        return Err(Failure::new(Errno::INVAL, format!("{path} is not a regular file")));
    }
    let mut bytes = Vec::new();
    let read = File::from(file).take(RECORDS_MAX_BYTES).read_to_end(&mut bytes);
    read.map_err(|error| Failure::new(Errno::from_io_error(&error).unwrap_or(Errno::IO), path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Pipes and sockets only: a file or device that the caller's output was sent to stays the caller's.
pub(super) fn own_stdio(identity: &Identity) -> Done {
    for stream in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let status = rustix::fs::fstat(stream)?;
        let kind = FileType::from_raw_mode(status.st_mode);
        if !matches!(kind, FileType::Fifo) || status.st_uid == identity.uid {
            continue;
        }
        match rustix::fs::fchown(stream, Some(Uid::from_raw(identity.uid)), None) {
            // Of a user namespace in which its owner has no number.
            Err(Errno::INVAL | Errno::PERM) => {}
            done => done?,
        }
    }
    Ok(())
}
