use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Result;

use crate::process::check;

/// Has the kernel begin to write back what was written to a part of a file (sync_file_range(2)), and does not wait for it:
/// a sync at the end then finds little to do. It promises nothing.
pub fn start_writeback(fd: impl AsFd, offset: u64, length: u64) -> Result<()> {
    let clamp = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    // SAFETY: only numbers are handed over.
    check(unsafe {
        libc::sync_file_range(fd.as_fd().as_raw_fd(), clamp(offset), clamp(length), libc::SYNC_FILE_RANGE_WRITE)
    })
}
