use rustix::io::{Errno, Result};

use crate::process::last_errno;

/// Adds a filter to this thread and what it will start (seccomp(2), `SECCOMP_SET_MODE_FILTER`): instructions of eight
/// bytes each as in `struct sock_filter`, native byte order.
///
/// # Errors
/// `EINVAL` for a program that is no whole number of instructions or that the kernel's check refuses, `EACCES` without
/// CAP_SYS_ADMIN or no-new-privileges.
pub fn set_filter(program: &[u8], flags: u32) -> Result<()> {
    let (instructions, rest) = program.as_chunks::<8>();
    let length = u16::try_from(instructions.len()).map_err(|_| Errno::INVAL)?;
    if !rest.is_empty() {
        return Err(Errno::INVAL);
    }
    let filters: Vec<libc::sock_filter> = instructions
        .iter()
        .map(|[c0, c1, jt, jf, k @ ..]| libc::sock_filter {
            code: u16::from_ne_bytes([*c0, *c1]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes(*k),
        })
        .collect();
    let program = libc::sock_fprog { len: length, filter: filters.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions from a vector that holds as many and outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if done < 0 { Err(last_errno()) } else { Ok(()) }
}
