//! What a process gives up that reads what strangers have sent: root, every capability, and all system calls but those for
//! descriptors that it has.

use carrack_oci::runtime::{Seccomp, SeccompArgument, SeccompRule};
use carrack_specgen::facts::Architecture;
use carrack_specgen::seccomp::compile;
use rustix::fs::{Gid, Uid};
use rustix::io::{Errno, Result};
use rustix::process::{DumpableBehavior, Pid, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

/// The user that no file belongs to.
const NOBODY: u32 = 65_534;

/// What a worker or a probe goes on to use, whatever the arguments. The descriptors that it has are what bounds it. Names
/// that an architecture does not have (`poll` and `epoll_wait` on 64-bit Arm) mean nothing there.
const ALLOWED: &[&str] = &[
    "accept4",
    "brk",
    "clock_gettime",
    "close",
    "connect",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "exit",
    "exit_group",
    "fstat",
    "ftruncate",
    "futex",
    "getpeername",
    "getrandom",
    "getsockname",
    "getsockopt",
    "lseek",
    "madvise",
    "mremap",
    "munmap",
    "pipe2",
    "poll",
    "ppoll",
    "pread64",
    "read",
    "recvfrom",
    "recvmsg",
    "restart_syscall",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sendmsg",
    "sendto",
    "shutdown",
    "splice",
    "write",
    "writev",
];

/// What only somebody who has broken in would call: such a process ends at once, and the kernel's audit log says so.
const FATAL: &[&str] = &[
    "add_key",
    "bpf",
    "chroot",
    "clone",
    "clone3",
    "creat",
    "delete_module",
    "execve",
    "execveat",
    "finit_module",
    "fork",
    "fsmount",
    "fsopen",
    "init_module",
    "io_uring_enter",
    "io_uring_register",
    "io_uring_setup",
    "kexec_load",
    "keyctl",
    "kill",
    "link",
    "linkat",
    "mknod",
    "mknodat",
    "mount",
    "mount_setattr",
    "move_mount",
    "open",
    "open_by_handle_at",
    "open_tree",
    "openat",
    "openat2",
    "perf_event_open",
    "pidfd_getfd",
    "pidfd_open",
    "pidfd_send_signal",
    "pivot_root",
    "process_vm_readv",
    "process_vm_writev",
    "ptrace",
    "rename",
    "renameat",
    "renameat2",
    "request_key",
    "setns",
    "symlink",
    "symlinkat",
    "umount2",
    "unlink",
    "unlinkat",
    "unshare",
    "userfaultfd",
    "vfork",
];

/// Unknown calls are told to be unknown, so that a newer C library falls back to what it did before.
const ENOSYS: u32 = 38;

const AF_INET: u64 = 2;
const AF_INET6: u64 = 10;
const SOCK_STREAM: u64 = 1;
const SOCK_DGRAM: u64 = 2;
/// The other bits of a socket's type are flags.
const SOCKET_TYPE: u64 = 0xf;
const SOL_SOCKET: u64 = 1;
const IPPROTO_TCP: u64 = 6;
const PROT_EXEC: u64 = 4;
const FIONBIO: u64 = 0x5421;

/// Calls of [`FATAL`] that a process which ends others goes on to use: it looks into control groups, and takes them away.
const ENDING: &[&str] = &["kill", "open", "openat", "pidfd_open", "pidfd_send_signal", "unlink", "unlinkat"];

/// Gives up everything, for good, and dies with its parent.
pub(in crate::shim) fn confine(parent: Pid) -> Result<()> {
    become_nobody(CapabilitySet::empty())?;
    close_in(parent, &filter(HOST))
}

/// Gives up all but what ends processes and takes their control groups away, and dies with its parent: for who waits for a
/// program of the container's and keeps what it says.
pub(in crate::shim) fn keep_ending(parent: Pid) -> Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    drop_bounding_set()?;
    // Root's files are its own without any capability; processes of other users are not.
    let kept = CapabilitySet::KILL;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: none })?;
    close_in(parent, &filter_of_ending(HOST))
}

fn close_in(parent: Pid, filter: &Seccomp) -> Result<()> {
    // Nothing is left of a shim that was killed, so that the next one can bind the same ports. Another user id has taken
    // such a wish back.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() != Some(parent) {
        return Err(Errno::SRCH);
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let program = compile(filter).map_err(|_| Errno::INVAL)?;
    carrack_sys::seccomp::set_filter(&program, 0)
}

/// The user without files, who never gets any rights again but the capabilities that are kept.
pub(in crate::shim) fn become_nobody(kept: CapabilitySet) -> Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    drop_bounding_set()?;
    rustix::thread::set_keep_capabilities(!kept.is_empty())?;
    rustix::thread::set_thread_groups(&[])?;
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    rustix::thread::set_thread_res_gid(group, group, group)?;
    rustix::thread::set_thread_res_uid(user, user, user)?;
    let none = CapabilitySet::empty();
    rustix::thread::set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: none })
}

fn drop_bounding_set() -> Result<()> {
    for bit in 0..u64::BITS {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            // From here on there is none that this kernel knows.
            Err(Errno::INVAL) => break,
            done => done?,
        }
    }
    Ok(())
}

/// What this program was built for.
const HOST: Architecture = if cfg!(target_arch = "aarch64") { Architecture::Aarch64 } else { Architecture::X86_64 };

fn rule(names: &[&str], action: &str, args: Vec<SeccompArgument>) -> SeccompRule {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    SeccompRule { names, action: action.into(), errno_ret: None, args }
}

/// Calls by its own ABI alone: any other's end the process.
fn name_of(architecture: Architecture) -> String {
    let name = match architecture {
        Architecture::X86_64 => "SCMP_ARCH_X86_64",
        Architecture::Aarch64 => "SCMP_ARCH_AARCH64",
    };
    name.to_owned()
}

fn filter_of_ending(architecture: Architecture) -> Seccomp {
    let fatal: Vec<&str> = FATAL.iter().copied().filter(|name| !ENDING.contains(name)).collect();
    Seccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        default_errno_ret: None,
        architectures: vec![name_of(architecture)],
        flags: Vec::new(),
        syscalls: vec![rule(&fatal, "SCMP_ACT_KILL_PROCESS", vec![])],
    }
}

fn filter(architecture: Architecture) -> Seccomp {
    let equal = |index, value| SeccompArgument { index, value, value_two: 0, op: "SCMP_CMP_EQ".into() };
    let masked =
        |index, mask, value| SeccompArgument { index, value: mask, value_two: value, op: "SCMP_CMP_MASKED_EQ".into() };
    let allow = "SCMP_ACT_ALLOW";
    let mut syscalls = vec![
        rule(ALLOWED, allow, vec![]),
        rule(FATAL, "SCMP_ACT_KILL_PROCESS", vec![]),
        // Memory that is never code.
        rule(&["mmap", "mprotect"], allow, vec![masked(2, PROT_EXEC, 0)]),
        // Connections that are not waited for.
        rule(&["ioctl"], allow, vec![equal(1, FIONBIO)]),
    ];
    for (family, kind) in
        [AF_INET, AF_INET6].into_iter().flat_map(|family| [(family, SOCK_STREAM), (family, SOCK_DGRAM)])
    {
        syscalls.push(rule(&["socket"], allow, vec![equal(0, family), masked(1, SOCKET_TYPE, kind)]));
    }
    for level in [SOL_SOCKET, IPPROTO_TCP] {
        syscalls.push(rule(&["setsockopt"], allow, vec![equal(1, level)]));
    }
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        default_errno_ret: Some(ENOSYS),
        architectures: vec![name_of(architecture)],
        flags: Vec::new(),
        syscalls,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    use carrack_sys::process::{self, SingleThreaded, namespace};
    use rustix::fs::{CWD, Mode, OFlags};
    use rustix::net::{AddressFamily, SocketFlags, SocketType};

    use super::*;

    const ARGV0: &str = "carrack-confined";
    /// Of the kernel's signal for a call that a filter ends a process for.
    const SIGSYS: i32 = 31;

    /// A process that gives up everything and then tries what its one argument says; its status is the errno.
    pub(crate) fn confined_main() {
        let mut words = std::env::args();
        if words.next().as_deref() != Some(ARGV0) {
            return;
        }
        let proof = SingleThreaded::check().unwrap();
        let this = rustix::process::getpid();
        let folder = std::fs::File::open("/proc/self/ns/net").unwrap();
        confine(rustix::process::getppid().unwrap()).unwrap();
        let socket = |family, kind| rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None).map(drop);
        let done = match words.next().unwrap().as_str() {
            "open" => rustix::fs::open("/etc/shadow", OFlags::RDONLY, Mode::empty()).map(drop),
            "openat" => rustix::fs::openat(CWD, "x", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).map(drop),
            "unlink" => rustix::fs::unlink("/nowhere"),
            "execve" => Err(process::execve(c"/bin/true", &[c"true"], &[])),
            "fork" => process::fork(&proof, false).map(drop),
            "mount" => rustix::mount::mount_bind("/", "/"),
            "setns" => process::set_namespaces(&proof, &folder, namespace::NETWORK),
            "unshare" => process::unshare(&proof, namespace::MOUNT),
            "kill" => rustix::process::kill_process(this, Signal::CONT),
            "pidfd_open" => rustix::process::pidfd_open(this, rustix::process::PidfdFlags::empty()).map(drop),
            "chdir" => rustix::process::chdir("/"),
            "setuid" => rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT),
            "socket-unix" => socket(AddressFamily::UNIX, SocketType::STREAM),
            "socket-netlink" => socket(AddressFamily::NETLINK, SocketType::DGRAM),
            "socket-packet" => socket(AddressFamily::PACKET, SocketType::DGRAM),
            "socket-raw" => socket(AddressFamily::INET, SocketType::RAW),
            "socket-inet" => socket(AddressFamily::INET, SocketType::STREAM),
            "socket-inet6" => socket(AddressFamily::INET6, SocketType::DGRAM),
            "bind" => rustix::net::bind(&folder, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))),
            "read" => rustix::io::read(rustix::stdio::stdin(), &mut [0; 1]).map(drop),
            other => unreachable!("{other}"),
        };
        process::exit_immediately(done.err().map_or(0, |errno| errno.raw_os_error()));
    }

    #[test]
    fn a_confined_process_can_use_what_it_has_and_nothing_else() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let outcome = |what: &str| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            let status = command.arg0(ARGV0).arg(what).stdin(std::process::Stdio::null()).status().unwrap();
            (status.code(), status.signal())
        };
        let fatal = ["open", "openat", "unlink", "execve", "fork", "mount", "setns", "unshare", "kill", "pidfd_open"];
        for what in fatal {
            assert_eq!(outcome(what), (None, Some(SIGSYS)), "{what}");
        }
        for what in ["chdir", "setuid", "socket-unix", "socket-netlink", "socket-packet", "socket-raw", "bind"] {
            assert_eq!(outcome(what), (Some(ENOSYS.cast_signed()), None), "{what}");
        }
        for what in ["socket-inet", "socket-inet6", "read"] {
            assert_eq!(outcome(what), (Some(0), None), "{what}");
        }
    }

    /// `AUDIT_ARCH_…` (linux/audit.h).
    const AUDIT_X86_64: u32 = 0xc000_003e;
    const AUDIT_AARCH64: u32 = 0xc000_00b7;
    const KILL: u32 = 0x8000_0000;
    const ALLOW: u32 = 0x7fff_0000;
    const UNKNOWN: u32 = 0x0005_0000 | ENOSYS;

    /// What the filter says to a call (classic BPF, linux/filter.h).
    fn verdict(program: &[u8], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = [number.to_ne_bytes(), architecture.to_ne_bytes(), [0; 4], [0; 4]].concat();
        data.extend(arguments.iter().flat_map(|argument| argument.to_ne_bytes()));
        let (mut at, mut held) = (0, 0);
        loop {
            let [c0, c1, yes, no, k @ ..] = program.as_chunks::<8>().0[at];
            let k = u32::from_ne_bytes(k);
            let jump = |holds: bool| usize::from(if holds { yes } else { no });
            at += 1;
            match u16::from_ne_bytes([c0, c1]) {
                0x20 => held = u32::from_ne_bytes(data[k as usize..][..4].try_into().unwrap()),
                0x54 => held &= k,
                0x05 => at += k as usize,
                0x15 => at += jump(held == k),
                0x25 => at += jump(held > k),
                0x35 => at += jump(held >= k),
                0x06 => return k,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn the_filter_judges_also_what_no_library_offers() {
        for (architecture, audit, other, [ptrace, bpf, mprotect, ioctl]) in [
            (Architecture::X86_64, AUDIT_X86_64, AUDIT_AARCH64, [101, 321, 10, 16]),
            (Architecture::Aarch64, AUDIT_AARCH64, AUDIT_X86_64, [117, 280, 226, 29]),
        ] {
            let program = compile(&filter(architecture)).unwrap();
            let verdict_of = verdict;
            let verdict = |number, arguments| verdict_of(&program, audit, number, arguments);
            assert_eq!([ptrace, bpf].map(|number| verdict(number, [0; 6])), [KILL; 2]);
            assert_eq!(verdict(9999, [0; 6]), UNKNOWN, "a call of a kernel to come");
            assert_eq!(verdict(mprotect, [0, 4096, 3, 0, 0, 0]), ALLOW);
            assert_eq!(verdict(mprotect, [0, 4096, 5, 0, 0, 0]), UNKNOWN, "memory is never code");
            assert_eq!(verdict(ioctl, [0, FIONBIO, 0, 0, 0, 0]), ALLOW);
            assert_eq!(verdict(ioctl, [0, 0x5412, 0, 0, 0, 0]), UNKNOWN, "nothing is typed into a terminal");
            assert_eq!(verdict_of(&program, other, mprotect, [0; 6]), KILL, "another ABI's numbers");
        }
    }

    /// Numbers of include/uapi/asm-generic/unistd.h, which 64-bit Arm has: what its C libraries call in place of what is
    /// only older architectures'.
    #[test]
    fn on_64_bit_arm_the_filter_allows_what_its_libraries_call() {
        let program = compile(&filter(Architecture::Aarch64)).unwrap();
        let verdict = |number| verdict(&program, AUDIT_AARCH64, number, [0; 6]);
        let allowed = [
            ("epoll_ctl", 21),
            ("epoll_pwait", 22),
            ("epoll_pwait2", 441),
            ("ftruncate", 46),
            ("close", 57),
            ("pipe2", 59),
            ("lseek", 62),
            ("read", 63),
            ("write", 64),
            ("writev", 66),
            ("pread64", 67),
            ("ppoll", 73),
            ("splice", 76),
            ("fstat", 80),
            ("exit", 93),
            ("exit_group", 94),
            ("futex", 98),
            ("clock_gettime", 113),
            ("restart_syscall", 128),
            ("rt_sigprocmask", 135),
            ("rt_sigreturn", 139),
            ("connect", 203),
            ("getsockname", 204),
            ("getpeername", 205),
            ("sendto", 206),
            ("recvfrom", 207),
            ("getsockopt", 209),
            ("shutdown", 210),
            ("sendmsg", 211),
            ("recvmsg", 212),
            ("brk", 214),
            ("munmap", 215),
            ("mremap", 216),
            ("madvise", 233),
            ("accept4", 242),
            ("getrandom", 278),
        ];
        for (name, number) in allowed {
            assert_eq!(verdict(number), ALLOW, "{name}");
        }
        // What is allowed by name and not here has no number there: another call waits, for the same.
        let without: Vec<_> = ALLOWED.iter().filter(|name| !allowed.iter().any(|(known, _)| known == *name)).collect();
        assert_eq!(without, [&"epoll_wait", &"poll"]);
        let fatal = [
            ("setns", 268),
            ("unshare", 97),
            ("clone", 220),
            ("clone3", 435),
            ("execve", 221),
            ("execveat", 281),
            ("openat", 56),
            ("openat2", 437),
            ("open_by_handle_at", 265),
            ("kill", 129),
            ("mount", 40),
            ("unlinkat", 35),
            ("renameat", 38),
            ("renameat2", 276),
            ("process_vm_writev", 271),
            ("userfaultfd", 282),
            ("io_uring_setup", 425),
        ];
        for (name, number) in fatal {
            assert_eq!(verdict(number), KILL, "{name}");
        }
    }

    #[test]
    fn who_ends_others_can_start_nothing() {
        for (architecture, audit, [execve, clone, mount, ptrace, openat, kill]) in [
            (Architecture::X86_64, AUDIT_X86_64, [59, 56, 165, 101, 257, 62]),
            (Architecture::Aarch64, AUDIT_AARCH64, [221, 220, 40, 117, 56, 129]),
        ] {
            let program = compile(&filter_of_ending(architecture)).unwrap();
            let verdict = |number| verdict(&program, audit, number, [0; 6]);
            assert_eq!([execve, clone, mount, ptrace].map(verdict), [KILL; 4]);
            assert_eq!([openat, kill, 9999].map(verdict), [ALLOW; 3]);
        }
        assert!(ENDING.iter().all(|name| FATAL.contains(name)));
    }

    #[test]
    fn nothing_is_both_allowed_and_fatal_and_all_is_in_order() {
        let sets = [ALLOWED, FATAL].map(|names| names.iter().copied().collect::<BTreeSet<_>>());
        assert!(sets[0].is_disjoint(&sets[1]));
        for (names, set) in [ALLOWED, FATAL].iter().zip(&sets) {
            assert!(names.iter().eq(set.iter()), "sorted, each once");
        }
    }
}
