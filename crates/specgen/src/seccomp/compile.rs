use carrack_diag::Result;
use carrack_oci::runtime::{Seccomp, SeccompArgument, SeccompRule};

use super::profile::refused;
use super::{Abi, X32_BIT};

/// One instruction of classic BPF (`struct sock_filter`, linux/filter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jump_true: u8,
    pub(super) jump_false: u8,
    pub(super) constant: u32,
}

/// Opcodes (linux/bpf_common.h).
pub(super) mod op {
    pub(in crate::seccomp) const LOAD: u16 = 0x20;
    pub(in crate::seccomp) const AND: u16 = 0x54;
    pub(in crate::seccomp) const JUMP: u16 = 0x05;
    pub(in crate::seccomp) const JUMP_EQUAL: u16 = 0x15;
    pub(in crate::seccomp) const JUMP_GREATER: u16 = 0x25;
    pub(in crate::seccomp) const JUMP_GREATER_EQUAL: u16 = 0x35;
    pub(in crate::seccomp) const RETURN: u16 = 0x06;
}

/// Offsets into `struct seccomp_data` (linux/seccomp.h).
pub(super) mod offset {
    pub(in crate::seccomp) const NUMBER: u32 = 0;
    pub(in crate::seccomp) const ARCHITECTURE: u32 = 4;
    pub(in crate::seccomp) const ARGUMENTS: u32 = 16;
}

/// `AUDIT_ARCH_…` (linux/audit.h).
pub(super) const AUDIT_X86_64: u32 = 0xc000_003e;
pub(super) const AUDIT_X86: u32 = 0x4000_0003;
pub(super) const AUDIT_AARCH64: u32 = 0xc000_00b7;
pub(super) const AUDIT_ARM: u32 = 0x4000_0028;

/// The answer to an ABI that the profile does not name: nobody checked those numbers.
pub(super) const KILL_PROCESS: u32 = 0x8000_0000;

/// Most instructions that the kernel takes (`BPF_MAXINSNS`).
const LENGTH_MAX: usize = 4096;

/// Compiles a profile to a program for `SECCOMP_SET_MODE_FILTER`: eight bytes an instruction, native byte order.
///
/// The first rule of a system call whose tests all hold decides; without one the default action does. A call of an ABI
/// that the profile does not name ends the process. Names that no ABI of ours has are passed over, as libseccomp does:
/// a profile serves many kernels.
pub fn compile(profile: &Seccomp) -> Result<Vec<u8>> {
    let program = program(profile)?;
    if program.len() > LENGTH_MAX {
        return Err(refused(format!("it needs {} instructions, and Linux takes {LENGTH_MAX}", program.len())));
    }
    let encode = |instruction: &Instruction| {
        let [c0, c1] = instruction.code.to_ne_bytes();
        let [k0, k1, k2, k3] = instruction.constant.to_ne_bytes();
        [c0, c1, instruction.jump_true, instruction.jump_false, k0, k1, k2, k3]
    };
    Ok(program.iter().flat_map(encode).collect())
}

/// `SECCOMP_FILTER_FLAG_…` by name (seccomp(2)).
pub(crate) fn flags(profile: &Seccomp) -> Result<u32> {
    profile.flags.iter().try_fold(0, |flags, name| match name.as_str() {
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(flags | 1),
        "SECCOMP_FILTER_FLAG_LOG" => Ok(flags | 2),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(flags | 4),
        other => Err(refused(format!("the flag {other:?} is not supported"))),
    })
}

pub(super) fn program(profile: &Seccomp) -> Result<Vec<Instruction>> {
    let default = action(&profile.default_action, profile.default_errno_ret)?;
    let mut blocks: Vec<(u32, Vec<Instruction>)> = Vec::new();
    let abis = abis(profile)?;
    let block = |abi: Abi| -> Result<Vec<Instruction>> {
        if abis.contains(&abi) { search(&leaves(profile, abi, default)?) } else { Ok(vec![ret(KILL_PROCESS)]) }
    };
    if abis.contains(&Abi::X86_64) || abis.contains(&Abi::X32) {
        // One architecture for two ABIs, told apart by a bit of the number.
        let mut both = vec![load(offset::NUMBER)];
        both.extend(branch(op::JUMP_GREATER_EQUAL, X32_BIT, block(Abi::X86_64)?, block(Abi::X32)?));
        blocks.push((AUDIT_X86_64, both));
    }
    for (abi, architecture) in [(Abi::X86, AUDIT_X86), (Abi::Aarch64, AUDIT_AARCH64), (Abi::Arm, AUDIT_ARM)] {
        if abis.contains(&abi) {
            let mut one = vec![load(offset::NUMBER)];
            one.extend(block(abi)?);
            blocks.push((architecture, one));
        }
    }
    let mut program = vec![ret(KILL_PROCESS)];
    for (architecture, block) in blocks.into_iter().rev() {
        program = branch(op::JUMP_EQUAL, architecture, program, block);
    }
    program.insert(0, load(offset::ARCHITECTURE));
    Ok(program)
}

fn abis(profile: &Seccomp) -> Result<Vec<Abi>> {
    let known = [Abi::X86_64, Abi::X86, Abi::X32, Abi::Aarch64, Abi::Arm];
    let named: Vec<Abi> =
        known.into_iter().filter(|abi| profile.architectures.iter().any(|name| name == abi.name())).collect();
    if named.is_empty() {
        return Err(refused("it names no architecture that carrack knows".into()));
    }
    Ok(named)
}

/// What happens from a number on, up to the next leaf's.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Leaf {
    from: u32,
    code: Vec<Instruction>,
}

/// The whole range of numbers of an ABI in as few pieces as the rules allow.
fn leaves(profile: &Seccomp, abi: Abi, default: u32) -> Result<Vec<Leaf>> {
    let mut rules: Vec<(u32, &str, &SeccompRule)> = Vec::new();
    for rule in &profile.syscalls {
        action(&rule.action, rule.errno_ret)?;
        for name in &rule.names {
            rules.extend(abi.number(name).map(|number| (number, name.as_str(), rule)));
        }
    }
    // Stable: the rules of one number keep their order.
    rules.sort_by_key(|(number, ..)| *number);
    let mut leaves = vec![Leaf { from: 0, code: vec![ret(default)] }];
    let mut push = |from: u32, code: Vec<Instruction>| {
        if leaves.last().is_some_and(|last| last.from == from) {
            leaves.pop();
        }
        if leaves.last().is_none_or(|last| last.code != code) {
            leaves.push(Leaf { from, code });
        }
    };
    for rules in rules.chunk_by(|one, other| one.0 == other.0) {
        let Some((number, name, _)) = rules.first() else { continue };
        push(*number, decide(rules.iter().map(|(.., rule)| *rule), name, default)?);
        push(number + 1, vec![ret(default)]);
    }
    Ok(leaves)
}

/// Tries the rules of one system call in order.
fn decide<'a>(rules: impl Iterator<Item = &'a SeccompRule>, name: &str, default: u32) -> Result<Vec<Instruction>> {
    let mut code = Vec::new();
    for rule in rules {
        let verdict = ret(action(&rule.action, rule.errno_ret)?);
        if rule.args.is_empty() {
            code.push(verdict);
            return Ok(code);
        }
        let mut tests = Vec::new();
        for argument in &rule.args {
            test(argument, is_cut(name, argument.index), &mut tests)?;
        }
        // What fails jumps past the verdict.
        let length = tests.len();
        for (position, (instruction, outcome)) in tests.into_iter().enumerate() {
            let fail =
                u8::try_from(length - position).map_err(|_| refused(format!("a rule of {name} has too many tests")))?;
            code.push(outcome.applied(instruction, fail));
        }
        code.push(verdict);
    }
    code.push(ret(default));
    Ok(code)
}

/// Arguments that the kernel itself cuts to 32 bits, so that a filter must too: with anything above them set,
/// `socket` still opens the family that a plain comparison would have taken for another.
fn is_cut(name: &str, index: u32) -> bool {
    matches!((name, index), ("socket" | "socketpair", 0..=2) | ("personality", 0))
}

/// Where the two outcomes of a comparison lead.
#[derive(Debug, Clone, Copy)]
enum Outcome {
    /// No comparison.
    Straight,
    /// On where it holds.
    Holds,
    /// On where it does not.
    HoldsNot,
    /// So many instructions on where it holds, else on.
    HoldsSkips(u8),
    /// So many instructions on where it does not hold, else on.
    HoldsNotSkips(u8),
}

impl Outcome {
    fn applied(self, mut instruction: Instruction, fail: u8) -> Instruction {
        (instruction.jump_true, instruction.jump_false) = match self {
            Self::Straight => (0, 0),
            Self::Holds => (0, fail),
            Self::HoldsNot => (fail, 0),
            Self::HoldsSkips(skip) => (skip, 0),
            Self::HoldsNotSkips(skip) => (0, skip),
        };
        instruction
    }
}

/// The comparison of one argument: both halves, or only the lower one where the kernel looks at no more.
fn test(argument: &SeccompArgument, cut: bool, code: &mut Vec<(Instruction, Outcome)>) -> Result<()> {
    use Outcome::{Holds, HoldsNot, HoldsNotSkips, HoldsSkips, Straight};
    if argument.index > 5 {
        return Err(refused(format!("there is no argument {}", argument.index)));
    }
    let base = offset::ARGUMENTS + 8 * argument.index;
    let (low_at, high_at) = if cfg!(target_endian = "little") { (base, base + 4) } else { (base + 4, base) };
    let halves = |value: u64| (value as u32, if cut { 0 } else { (value >> 32) as u32 });
    let (low, high) = halves(argument.value);
    let mut emit = |instruction, outcome| code.push((instruction, outcome));
    match argument.op.as_str() {
        "SCMP_CMP_EQ" => {
            if !cut {
                emit(load(high_at), Straight);
                emit(jump(op::JUMP_EQUAL, high), Holds);
            }
            emit(load(low_at), Straight);
            emit(jump(op::JUMP_EQUAL, low), Holds);
        }
        "SCMP_CMP_NE" => {
            if !cut {
                emit(load(high_at), Straight);
                // Another upper half is enough: past the other comparison.
                emit(jump(op::JUMP_EQUAL, high), HoldsNotSkips(2));
            }
            emit(load(low_at), Straight);
            emit(jump(op::JUMP_EQUAL, low), HoldsNot);
        }
        "SCMP_CMP_GT" | "SCMP_CMP_GE" => {
            let code = if argument.op == "SCMP_CMP_GT" { op::JUMP_GREATER } else { op::JUMP_GREATER_EQUAL };
            if !cut {
                emit(load(high_at), Straight);
                emit(jump(op::JUMP_GREATER, high), HoldsSkips(3));
                emit(jump(op::JUMP_EQUAL, high), Holds);
            }
            emit(load(low_at), Straight);
            emit(jump(code, low), Holds);
        }
        "SCMP_CMP_LT" | "SCMP_CMP_LE" => {
            let code = if argument.op == "SCMP_CMP_LT" { op::JUMP_GREATER_EQUAL } else { op::JUMP_GREATER };
            if !cut {
                emit(load(high_at), Straight);
                emit(jump(op::JUMP_GREATER, high), HoldsNot);
                emit(jump(op::JUMP_EQUAL, high), HoldsNotSkips(2));
            }
            emit(load(low_at), Straight);
            emit(jump(code, low), HoldsNot);
        }
        "SCMP_CMP_MASKED_EQ" => {
            let (expected_low, expected_high) = halves(argument.value_two);
            for (at, mask, expected) in [(high_at, high, expected_high), (low_at, low, expected_low)] {
                emit(load(at), Straight);
                emit(Instruction { code: op::AND, jump_true: 0, jump_false: 0, constant: mask }, Straight);
                emit(jump(op::JUMP_EQUAL, expected), Holds);
            }
        }
        other => return Err(refused(format!("{other:?} is no comparison"))),
    }
    Ok(())
}

/// The value of `SECCOMP_RET_…` with its data.
fn action(name: &str, errno: Option<u32>) -> Result<u32> {
    let data = errno.unwrap_or(1);
    Ok(match name {
        "SCMP_ACT_ALLOW" => 0x7fff_0000,
        "SCMP_ACT_LOG" => 0x7ffc_0000,
        "SCMP_ACT_ERRNO" if data < 4096 => 0x0005_0000 | data,
        "SCMP_ACT_TRACE" if data <= 0xffff => 0x7ff0_0000 | data,
        "SCMP_ACT_TRAP" => 0x0003_0000,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => 0,
        "SCMP_ACT_KILL_PROCESS" => KILL_PROCESS,
        "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE" => return Err(refused(format!("errnoRet {data} is out of range"))),
        other => return Err(refused(format!("the action {other:?} is not supported"))),
    })
}

/// A binary search over the leaves.
fn search(leaves: &[Leaf]) -> Result<Vec<Instruction>> {
    match leaves {
        [] => Err(refused("it has no rules and no default".into())),
        [leaf] => Ok(leaf.code.clone()),
        leaves => {
            let (below, from) = leaves.split_at(leaves.len() / 2);
            let middle = from.first().map_or(0, |leaf| leaf.from);
            Ok(branch(op::JUMP_GREATER_EQUAL, middle, search(below)?, search(from)?))
        }
    }
}

/// Goes to `holds` where the comparison does, else to `holds_not`. Conditional jumps reach 255 instructions, others all.
fn branch(code: u16, constant: u32, holds_not: Vec<Instruction>, holds: Vec<Instruction>) -> Vec<Instruction> {
    let mut all = Vec::with_capacity(holds.len() + holds_not.len() + 2);
    match u8::try_from(holds_not.len()) {
        Ok(length) => all.push(Instruction { code, jump_true: length, jump_false: 0, constant }),
        Err(_) => {
            all.push(Instruction { code, jump_true: 0, jump_false: 1, constant });
            all.push(Instruction { code: op::JUMP, jump_true: 0, jump_false: 0, constant: holds_not.len() as u32 });
        }
    }
    all.extend(holds_not);
    all.extend(holds);
    all
}

fn load(offset: u32) -> Instruction {
    Instruction { code: op::LOAD, jump_true: 0, jump_false: 0, constant: offset }
}

fn jump(code: u16, constant: u32) -> Instruction {
    Instruction { code, jump_true: 0, jump_false: 0, constant }
}

fn ret(value: u32) -> Instruction {
    Instruction { code: op::RETURN, jump_true: 0, jump_false: 0, constant: value }
}
