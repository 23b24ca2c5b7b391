use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Result;

use crate::process::{check, last_errno};

/// `bpf(2)` commands and constants (linux/bpf.h).
mod abi {
    pub(super) const PROG_LOAD: libc::c_int = 5;
    pub(super) const PROG_ATTACH: libc::c_int = 8;
    pub(super) const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    pub(super) const CGROUP_DEVICE: u32 = 6;
    pub(super) const F_ALLOW_MULTI: u32 = 2;
}

/// One instruction (`struct bpf_insn`): opcode, source and destination register, offset, immediate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Class and operation.
    pub code: u8,
    /// Destination in the low half, source in the high one.
    pub registers: u8,
    /// Of a jump or memory access.
    pub offset: i16,
    /// Constant.
    pub immediate: i32,
}

/// The first fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The fields of `union bpf_attr` for `BPF_PROG_ATTACH`.
#[repr(C)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a device program: it gets `struct bpf_cgroup_dev_ctx` (access and type, major, minor; 32 bits each) and returns
/// 1 to allow. The descriptor is close-on-exec.
pub fn load_device_program(instructions: &[Instruction]) -> Result<OwnedFd> {
    let attributes = LoadAttributes {
        kind: abi::PROG_TYPE_CGROUP_DEVICE,
        instruction_count: instructions.len() as u32,
        instructions: instructions.as_ptr().addr() as u64,
        license: c"Apache-2.0".as_ptr().addr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads as many instructions as the vector holds, and the structure by the size told.
    let fd = unsafe { bpf(abi::PROG_LOAD, &attributes) };
    if fd < 0 {
        return Err(last_errno());
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Attaches a device program to a v2 control group beside those above it. It stays as long as the group does.
pub fn attach_device_program(cgroup: impl AsFd, program: impl AsFd) -> Result<()> {
    let attributes = AttachAttributes {
        target: cgroup.as_fd().as_raw_fd() as u32,
        program: program.as_fd().as_raw_fd() as u32,
        kind: abi::CGROUP_DEVICE,
        flags: abi::F_ALLOW_MULTI,
    };
    // SAFETY: the structure is read only, by the size told.
    check(unsafe { bpf(abi::PROG_ATTACH, &attributes) } as libc::c_int)
}

/// # Safety
/// `attributes` must be the layout that the kernel expects for `command`, and every pointer in it valid.
unsafe fn bpf<T>(command: libc::c_int, attributes: &T) -> libc::c_long {
    // SAFETY: by the caller's promise.
    unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) }
}
