//! System call filters: Docker's default profile as a table of our own, profiles in Docker's JSON, and a compiler from
//! either to one BPF program.

mod compile;
mod profile;
mod table;

#[cfg(test)]
mod tests;

use carrack_oci::runtime::{Seccomp, SeccompArgument, SeccompRule};

use crate::capability::Set;
use crate::facts::{Architecture, HostFacts};

pub use compile::compile;
pub(crate) use compile::flags;
pub use profile::read_profile;

/// When the default profile allows a system call.
#[derive(Debug, Clone, Copy)]
enum Allowed {
    Always,
    /// Not to be had: it is obsolete, undermines the sandbox, or touches the whole host.
    Never,
    /// With any of these capabilities.
    With(&'static [&'static str]),
    /// Where it makes no namespace; with CAP_SYS_ADMIN always.
    Clone,
    /// Its flags lie behind a pointer that a filter can't follow, so it claims to be unknown and programs fall back to
    /// clone; with CAP_SYS_ADMIN always.
    Clone3,
    /// Any family but AF_ALG (38) and AF_VSOCK (40), which reach kernel or hypervisor past every namespace.
    Socket,
    /// Execution domains that are Linux.
    Personality,
}

/// The ABIs by which programs can call one kernel, in the order of the table's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

impl Abi {
    /// Every one that kernels of this architecture may offer, its own first.
    fn of(architecture: Architecture) -> &'static [Self] {
        match architecture {
            Architecture::X86_64 => &[Self::X86_64, Self::X86, Self::X32],
            Architecture::Aarch64 => &[Self::Aarch64, Self::Arm],
        }
    }

    /// Its name in profiles.
    fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "SCMP_ARCH_X86_64",
            Self::X86 => "SCMP_ARCH_X86",
            Self::X32 => "SCMP_ARCH_X32",
            Self::Aarch64 => "SCMP_ARCH_AARCH64",
            Self::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// The number of a system call as the filter sees it.
    pub(crate) fn number(self, name: &str) -> Option<u32> {
        let row = table::SYSTEM_CALLS.binary_search_by_key(&name, |row| row.0).ok()?;
        let number =
            table::SYSTEM_CALLS.get(row)?.2.get(self as usize).copied().filter(|number| *number != table::NO)?;
        Some(if self == Self::X32 { number | X32_BIT } else { number })
    }
}

/// Marks the numbers of x32, whose architecture is that of x86_64.
const X32_BIT: u32 = 0x4000_0000;

/// What `clone` may not make: mount, cgroup, UTS, IPC, user, process and network namespaces.
const NAMESPACE_FLAGS: u64 = 0x7e02_0000;

/// Execution domains: Linux, with and without 32-bit addresses or an old version's name; and the question for the
/// current one.
const PERSONALITIES: &[u64] = &[0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const ENOSYS: u32 = 38;

/// Docker's default profile, as it holds for a container with these capabilities.
pub fn default_profile(capabilities: Set, facts: &HostFacts) -> Seccomp {
    let administrator = capabilities.contains("SYS_ADMIN");
    let is_allowed = |allowed: &Allowed| match allowed {
        Allowed::Always => true,
        Allowed::With(any) => any.iter().any(|name| capabilities.contains(name)),
        Allowed::Clone | Allowed::Clone3 => administrator,
        Allowed::Never | Allowed::Socket | Allowed::Personality => false,
    };
    let allowed = table::SYSTEM_CALLS.iter().filter(|(_, allowed, _)| is_allowed(allowed));
    let mut rules = vec![allow(allowed.map(|(name, ..)| (*name).to_owned()).collect(), Vec::new())];
    let test =
        |op: &str, value: u64, value_two: u64| vec![SeccompArgument { index: 0, value, value_two, op: op.into() }];
    for (op, family) in [("SCMP_CMP_LT", 38), ("SCMP_CMP_EQ", 39), ("SCMP_CMP_GT", 40)] {
        rules.push(allow(vec!["socket".into()], test(op, family, 0)));
    }
    for personality in PERSONALITIES {
        rules.push(allow(vec!["personality".into()], test("SCMP_CMP_EQ", *personality, 0)));
    }
    if !administrator {
        rules.push(allow(vec!["clone".into()], test("SCMP_CMP_MASKED_EQ", NAMESPACE_FLAGS, 0)));
        let action = "SCMP_ACT_ERRNO".to_owned();
        rules.push(SeccompRule { names: vec!["clone3".into()], action, errno_ret: Some(ENOSYS), args: Vec::new() });
    }
    Seccomp {
        default_action: "SCMP_ACT_ERRNO".into(),
        default_errno_ret: Some(1),
        architectures: Abi::of(facts.architecture).iter().map(|abi| abi.name().to_owned()).collect(),
        flags: Vec::new(),
        syscalls: rules,
    }
}

fn allow(names: Vec<String>, args: Vec<SeccompArgument>) -> SeccompRule {
    SeccompRule { names, action: "SCMP_ACT_ALLOW".into(), errno_ret: None, args }
}
