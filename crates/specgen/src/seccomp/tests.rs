use std::collections::{BTreeSet, HashMap};

use carrack_oci::runtime::{Seccomp, SeccompArgument, SeccompRule};
use proptest::prelude::*;

use super::compile::{AUDIT_AARCH64, AUDIT_ARM, AUDIT_X86, AUDIT_X86_64, Instruction, KILL_PROCESS, op, program};
use super::{Abi, X32_BIT, default_profile, read_profile, table};
use crate::capability::Set;
use crate::facts::{Architecture, Cgroups, HostFacts};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0000 | 38;

fn facts(architecture: Architecture) -> HostFacts {
    HostFacts {
        architecture,
        kernel: (6, 1),
        cgroups: Cgroups::V2,
        capabilities: u64::MAX,
        apparmor: false,
        apparmor_profile: false,
        hostname: String::new(),
    }
}

/// `struct seccomp_data`.
#[derive(Debug, Clone, Copy)]
struct Call {
    architecture: u32,
    number: u32,
    args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.architecture,
            _ => {
                let argument = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { argument as u32 } else { (argument >> 32) as u32 }
            }
        }
    }
}

/// Runs a program as the kernel does.
fn interpret(program: &[Instruction], call: &Call) -> u32 {
    let (mut at, mut accumulator) = (0, 0);
    loop {
        let instruction = program[at];
        at += 1;
        let compared = match instruction.code {
            op::LOAD => {
                accumulator = call.word(instruction.constant);
                continue;
            }
            op::AND => {
                accumulator &= instruction.constant;
                continue;
            }
            op::JUMP => {
                at += instruction.constant as usize;
                continue;
            }
            op::RETURN => return instruction.constant,
            op::JUMP_EQUAL => accumulator == instruction.constant,
            op::JUMP_GREATER => accumulator > instruction.constant,
            op::JUMP_GREATER_EQUAL => accumulator >= instruction.constant,
            code => panic!("no opcode {code:#x}"),
        };
        at += usize::from(if compared { instruction.jump_true } else { instruction.jump_false });
    }
}

/// The rules of each system call, by ABI and number, in the profile's order.
struct Meaning<'a> {
    profile: &'a Seccomp,
    rules: HashMap<(&'static str, u32), Vec<(&'a str, &'a SeccompRule)>>,
}

impl<'a> Meaning<'a> {
    fn of(profile: &'a Seccomp) -> Self {
        let mut rules: HashMap<_, Vec<_>> = HashMap::new();
        for rule in &profile.syscalls {
            for name in &rule.names {
                for abi in ABIS {
                    if let Some(number) = abi.number(name) {
                        rules.entry((abi.name(), number)).or_default().push((name.as_str(), rule));
                    }
                }
            }
        }
        Self { profile, rules }
    }
}

const ABIS: [Abi; 5] = [Abi::X86_64, Abi::X86, Abi::X32, Abi::Aarch64, Abi::Arm];

/// What a profile means for a call, read straight from its rules.
fn meaning(of: &Meaning<'_>, call: &Call) -> u32 {
    let profile = of.profile;
    let abi = match call.architecture {
        AUDIT_X86_64 if call.number >= X32_BIT => Abi::X32,
        AUDIT_X86_64 => Abi::X86_64,
        AUDIT_X86 => Abi::X86,
        AUDIT_AARCH64 => Abi::Aarch64,
        AUDIT_ARM => Abi::Arm,
        _ => return KILL_PROCESS,
    };
    if !profile.architectures.iter().any(|name| name == abi.name()) {
        return KILL_PROCESS;
    }
    let verdict = |action: &str, errno: Option<u32>| match action {
        "SCMP_ACT_ALLOW" => ALLOW,
        "SCMP_ACT_ERRNO" => 0x0005_0000 | errno.unwrap_or(1),
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        other => panic!("{other}"),
    };
    for (name, rule) in of.rules.get(&(abi.name(), call.number)).into_iter().flatten() {
        if rule.args.iter().all(|test| holds(test, name, call)) {
            return verdict(&rule.action, rule.errno_ret);
        }
    }
    verdict(&profile.default_action, profile.default_errno_ret)
}

fn holds(test: &SeccompArgument, name: &str, call: &Call) -> bool {
    let cut = matches!((name, test.index), ("socket" | "socketpair", 0..=2) | ("personality", 0));
    let narrow = |value: u64| if cut { value & 0xffff_ffff } else { value };
    let argument = narrow(call.args[test.index as usize]);
    let value = narrow(test.value);
    match test.op.as_str() {
        "SCMP_CMP_EQ" => argument == value,
        "SCMP_CMP_NE" => argument != value,
        "SCMP_CMP_LT" => argument < value,
        "SCMP_CMP_LE" => argument <= value,
        "SCMP_CMP_GT" => argument > value,
        "SCMP_CMP_GE" => argument >= value,
        "SCMP_CMP_MASKED_EQ" => argument & value == narrow(test.value_two),
        other => panic!("{other}"),
    }
}

/// Every number that any ABI has, those around them, and the ends.
fn numbers() -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..700).chain(X32_BIT..X32_BIT + 700).chain(0xf_0000..0xf_0010).collect();
    numbers.extend([X32_BIT - 1, u32::MAX, u32::MAX - 1, 0x8000_0000]);
    numbers
}

/// First arguments on both sides of every test of the default profile.
const ARGUMENTS: &[u64] = &[
    0,
    1,
    2,
    8,
    16,
    37,
    38,
    39,
    40,
    41,
    0x2_0000,
    0x2_0008,
    0x7e02_0000,
    0x0200_0000,
    0x1000_0000,
    0x11,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0026,
    0x1_0000_0027,
    0x1_0000_0028,
    0x1_0000_0029,
    u64::MAX,
];

#[test]
fn the_table_is_sorted_and_no_number_stands_twice() {
    assert!(table::SYSTEM_CALLS.is_sorted_by(|one, other| one.0 < other.0));
    for abi in ABIS {
        let mut numbers: Vec<(u32, &str)> = table::SYSTEM_CALLS
            .iter()
            .filter_map(|(name, ..)| abi.number(name).map(|number| (number, *name)))
            .collect();
        numbers.sort_unstable();
        for pair in numbers.windows(2) {
            let alias = matches!(pair[0].1, "arm_sync_file_range");
            assert!(pair[0].0 != pair[1].0 || alias, "{abi:?}: {pair:?}");
        }
        assert!(numbers.len() > 300, "{abi:?}");
    }
}

/// F4: every number × architecture, with arguments around each test, against the profile's meaning.
#[test]
fn the_default_program_means_what_the_profile_says() {
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        for capabilities in [Set::default_set(), Set::all(), Set(0)] {
            let profile = default_profile(capabilities, &facts(architecture));
            let program = program(&profile).expect("compiles");
            let meant = Meaning::of(&profile);
            assert!(program.len() < 1000, "{} instructions", program.len());
            for number in numbers() {
                for arch in [AUDIT_X86_64, AUDIT_X86, AUDIT_AARCH64, AUDIT_ARM, 0, u32::MAX] {
                    for first in ARGUMENTS {
                        let call = Call { architecture: arch, number, args: [*first, 0, 0, 0, 0, 0] };
                        assert_eq!(interpret(&program, &call), meaning(&meant, &call), "{call:x?}");
                    }
                }
            }
        }
    }
}

fn default_verdict(capabilities: Set, abi: Abi, name: &str, first: u64) -> u32 {
    let (architecture, audit) = match abi {
        Abi::X86_64 | Abi::X32 => (Architecture::X86_64, AUDIT_X86_64),
        Abi::X86 => (Architecture::X86_64, AUDIT_X86),
        Abi::Aarch64 => (Architecture::Aarch64, AUDIT_AARCH64),
        Abi::Arm => (Architecture::Aarch64, AUDIT_ARM),
    };
    let profile = default_profile(capabilities, &facts(architecture));
    let number = abi.number(name).expect("a number");
    let call = Call { architecture: audit, number, args: [first, 0, 0, 0, 0, 0] };
    interpret(&program(&profile).expect("compiles"), &call)
}

#[test]
fn the_default_profile_by_example() {
    let default = Set::default_set();
    for abi in ABIS {
        let verdict = |name, first| default_verdict(default, abi, name, first);
        assert_eq!(verdict("execve", 0), ALLOW);
        for refused in
            ["mount", "unshare", "setns", "bpf", "keyctl", "io_uring_setup", "kexec_load", "move_mount", "userfaultfd"]
        {
            assert_eq!(verdict(refused, 0), EPERM, "{abi:?} {refused}");
        }
        assert_eq!(verdict("clone3", 0), ENOSYS);
        assert_eq!(verdict("clone", 0x11), ALLOW);
        assert_eq!(verdict("clone", 0x1000_0011), EPERM, "a user namespace");
        assert_eq!(verdict("socket", 2), ALLOW);
        assert_eq!(verdict("socket", 38), EPERM, "AF_ALG");
        assert_eq!(verdict("socket", 40), EPERM, "AF_VSOCK");
        assert_eq!(verdict("socket", 0x1_0000_0028), EPERM, "the kernel looks at 32 bits only, and so must we");
        assert_eq!(verdict("personality", 0x40), EPERM);
        let administrator = |name| default_verdict(Set::all(), abi, name, 0x1000_0011);
        assert_eq!((administrator("mount"), administrator("clone"), administrator("clone3")), (ALLOW, ALLOW, ALLOW));
    }
}

#[test]
fn docker_profiles_are_read_with_their_conditions() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}],
        "syscalls":[{"names":["read","write","not_known_to_anybody"],"action":"SCMP_ACT_ALLOW"},
        {"names":["mount"],"action":"SCMP_ACT_ALLOW","includes":{"caps":["CAP_SYS_ADMIN"]}},
        {"names":["ptrace"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"6.2"}},
        {"names":["clone"],"action":"SCMP_ACT_ALLOW","excludes":{"arches":["amd64"]}},
        {"name":"getpid","action":"SCMP_ACT_ERRNO","errnoRet":22}]}"#;
    let seccomp = read_profile(json, Set(0), &facts(Architecture::X86_64)).expect("a profile");
    assert_eq!(seccomp.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    let names: Vec<&str> = seccomp.syscalls.iter().flat_map(|rule| &rule.names).map(String::as_str).collect();
    assert_eq!(names, ["read", "write", "not_known_to_anybody", "getpid"]);
    let program = program(&seccomp).expect("compiles");
    let verdict = |number| interpret(&program, &Call { architecture: AUDIT_X86_64, number, args: [0; 6] });
    assert_eq!((verdict(0), verdict(39), verdict(101)), (ALLOW, 0x0005_0000 | 22, EPERM));
    assert_eq!(verdict(X32_BIT), KILL_PROCESS, "x32 is not named");
}

#[test]
fn bad_profiles_are_refused() {
    for json in [
        "{",
        "{}",
        r#"{"defaultAction":"SCMP_ACT_SING"}"#,
        r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":70000}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_VAX"]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","unknownKey":1}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":0,"value":1,"op":"LIKE"}]}]}"#,
    ] {
        let error = read_profile(json, Set(0), &facts(Architecture::X86_64)).expect_err(json);
        assert_eq!(error.code.id, "container/seccomp-profile");
    }
}

fn any_rule() -> impl Strategy<Value = SeccompRule> {
    let names = prop::sample::select(vec!["read", "write", "socket", "clone", "ioctl", "accept4"]);
    let ops = prop::sample::select(vec![
        "SCMP_CMP_EQ",
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_GT",
        "SCMP_CMP_GE",
        "SCMP_CMP_MASKED_EQ",
    ]);
    let value = || prop::sample::select(vec![0, 1, 2, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, u64::MAX]);
    let test = (0..2u32, value(), value(), ops).prop_map(|(index, value, value_two, op)| SeccompArgument {
        index,
        value,
        value_two,
        op: op.into(),
    });
    let actions =
        prop::sample::select(vec!["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG", "SCMP_ACT_KILL_PROCESS"]);
    (prop::collection::vec(names, 1..3), actions, prop::collection::vec(test, 0..3)).prop_map(
        |(names, action, args)| {
            let names = names.into_iter().map(str::to_owned).collect();
            SeccompRule { names, action: action.into(), errno_ret: Some(7), args }
        },
    )
}

proptest! {
    #[test]
    fn any_program_means_what_its_profile_says(
        rules in prop::collection::vec(any_rule(), 0..8),
        args in prop::array::uniform2(prop::sample::select(vec![0, 1, 2, 3, 0xffff_ffff, 0x1_0000_0000, 0x1_0000_0001, 0x1_0000_0002, u64::MAX])),
    ) {
        let profile = Seccomp {
            default_action: "SCMP_ACT_ERRNO".into(),
            default_errno_ret: None,
            architectures: vec!["SCMP_ARCH_X86_64".into(), "SCMP_ARCH_X86".into()],
            flags: vec![],
            syscalls: rules,
        };
        let program = program(&profile).expect("compiles");
        let meant = Meaning::of(&profile);
        let known = meant.rules.keys().map(|(_, number)| *number);
        let numbers: BTreeSet<u32> = known.flat_map(|number| [number.wrapping_sub(1), number, number + 1]).collect();
        for number in numbers {
            for architecture in [AUDIT_X86_64, AUDIT_X86] {
                let call = Call { architecture, number, args: [args[0], args[1], 0, 0, 0, 0] };
                prop_assert_eq!(interpret(&program, &call), meaning(&meant, &call), "{:x?}", call);
            }
        }
    }
}
