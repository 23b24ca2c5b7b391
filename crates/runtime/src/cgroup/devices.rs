//! Device rules: a BPF program on v2, the devices controller on v1.

use std::os::fd::OwnedFd;
use std::path::Path;

use carrack_diag::Result;
use carrack_oci::runtime::DeviceRule;
use carrack_sys::bpf::{Instruction, attach_device_program, load_device_program};

/// Loads the rules as a program and attaches it. No rules, no program: everything is allowed.
pub(super) fn attach(cgroup: &OwnedFd, rules: &[DeviceRule]) -> rustix::io::Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let program = load_device_program(&compile(rules))?;
    attach_device_program(cgroup, program)
}

/// Writes the rules in order. The kernel keeps the list in the way that the last match wins.
pub(super) fn write_v1(folder: &Path, rules: &[DeviceRule]) -> Result<()> {
    for rule in rules {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        let all = rule.kind.is_empty() || rule.kind == "a";
        let entry = if all && rule.major.is_none() && rule.minor.is_none() {
            "a".to_owned()
        } else {
            let kind = if all { "a" } else { &rule.kind };
            format!("{kind} {}:{} {}", number(rule.major), number(rule.minor), access(rule))
        };
        super::write(folder, file, &entry)?;
    }
    Ok(())
}

fn number(number: Option<i64>) -> String {
    number.filter(|number| *number >= 0).map_or_else(|| "*".to_owned(), |number| number.to_string())
}

fn access(rule: &DeviceRule) -> &str {
    if rule.access.is_empty() { "rwm" } else { &rule.access }
}

/// Opcodes and registers (linux/bpf.h, linux/bpf_common.h).
mod op {
    pub(super) const LOAD_WORD: u8 = 0x61;
    pub(super) const AND: u8 = 0x57;
    pub(super) const SHIFT_RIGHT: u8 = 0x77;
    pub(super) const MOVE: u8 = 0xb7;
    pub(super) const MOVE_REGISTER: u8 = 0xbf;
    pub(super) const JUMP_UNLESS_EQUAL: u8 = 0x55;
    pub(super) const JUMP_IF_EQUAL: u8 = 0x15;
    pub(super) const EXIT: u8 = 0x95;
    /// The context, then scratch.
    pub(super) const CONTEXT: u8 = 1;
    pub(super) const KIND: u8 = 2;
    pub(super) const ACCESS: u8 = 3;
    pub(super) const MAJOR: u8 = 4;
    pub(super) const MINOR: u8 = 5;
}

/// A program that tries the rules from the last to the first and denies what none of them is about.
///
/// The kernel's context is three words: access in the upper and type in the lower half of the first, major, minor.
fn compile(rules: &[DeviceRule]) -> Vec<Instruction> {
    let instruction = |code, registers, offset, immediate| Instruction { code, registers, offset, immediate };
    let load = |register: u8, offset: i16| instruction(op::LOAD_WORD, register | op::CONTEXT << 4, offset, 0);
    let mut program = vec![
        load(op::KIND, 0),
        instruction(op::AND, op::KIND, 0, 0xffff),
        load(op::ACCESS, 0),
        instruction(op::SHIFT_RIGHT, op::ACCESS, 0, 16),
        load(op::MAJOR, 4),
        load(op::MINOR, 8),
    ];
    for rule in rules.iter().rev() {
        let mut tests = Vec::new();
        let mut unless_equal =
            |register: u8, value: i32| tests.push(instruction(op::JUMP_UNLESS_EQUAL, register, 0, value));
        match rule.kind.as_str() {
            "b" => unless_equal(op::KIND, 1),
            "c" => unless_equal(op::KIND, 2),
            _ => {}
        }
        if let Some(major) = rule.major.filter(|major| *major >= 0) {
            unless_equal(op::MAJOR, major as i32);
        }
        if let Some(minor) = rule.minor.filter(|minor| *minor >= 0) {
            unless_equal(op::MINOR, minor as i32);
        }
        let mask = access(rule).chars().fold(0, |mask, letter| mask | bit(letter));
        if mask != ALL_ACCESS {
            // An allowance must cover all that is asked for; a denial bites on any part of it.
            let (kept, jump) =
                if rule.allow { (!mask & ALL_ACCESS, op::JUMP_UNLESS_EQUAL) } else { (mask, op::JUMP_IF_EQUAL) };
            tests.push(instruction(op::MOVE_REGISTER, op::CONTEXT | op::ACCESS << 4, 0, 0));
            tests.push(instruction(op::AND, op::CONTEXT, 0, kept));
            tests.push(instruction(jump, op::CONTEXT, 0, 0));
        }
        // Every jump of a test leads past the verdict of its rule.
        let length = tests.len();
        for (position, test) in tests.iter_mut().enumerate() {
            if matches!(test.code, op::JUMP_UNLESS_EQUAL | op::JUMP_IF_EQUAL) {
                test.offset = (length - position + 1) as i16;
            }
        }
        let decides_all = tests.is_empty();
        program.extend(tests);
        program.push(instruction(op::MOVE, 0, 0, i32::from(rule.allow)));
        program.push(instruction(op::EXIT, 0, 0, 0));
        if decides_all {
            // The kernel refuses a program with instructions that nothing reaches.
            return program;
        }
    }
    program.push(instruction(op::MOVE, 0, 0, 0));
    program.push(instruction(op::EXIT, 0, 0, 0));
    program
}

/// `BPF_DEVCG_ACC_…`
const ALL_ACCESS: i32 = 7;

fn bit(letter: char) -> i32 {
    match letter {
        'm' => 1,
        'r' => 2,
        'w' => 4,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use carrack_oci::runtime::DeviceRule;
    use carrack_sys::bpf::{Instruction, load_device_program};
    use proptest::prelude::*;

    use super::{access, bit, compile, op};

    /// What a program asks to do.
    #[derive(Debug, Clone, Copy)]
    struct Question {
        kind: i64,
        access: i64,
        major: i64,
        minor: i64,
    }

    /// Runs a program as the kernel does.
    fn interpret(program: &[Instruction], question: Question) -> bool {
        let mut registers = [0i64; 6];
        let mut at = 0;
        loop {
            let instruction = program[at];
            at += 1;
            let (to, from) = (usize::from(instruction.registers & 15), usize::from(instruction.registers >> 4));
            let constant = i64::from(instruction.immediate);
            match instruction.code {
                op::LOAD_WORD => {
                    registers[to] = match instruction.offset {
                        0 => question.access << 16 | question.kind,
                        4 => question.major,
                        _ => question.minor,
                    };
                }
                op::AND => registers[to] &= constant,
                op::SHIFT_RIGHT => registers[to] >>= constant,
                op::MOVE => registers[to] = constant,
                op::MOVE_REGISTER => registers[to] = registers[from],
                op::JUMP_UNLESS_EQUAL if registers[to] != constant => at += instruction.offset as usize,
                op::JUMP_IF_EQUAL if registers[to] == constant => at += instruction.offset as usize,
                op::JUMP_UNLESS_EQUAL | op::JUMP_IF_EQUAL => {}
                op::EXIT => return registers[0] == 1,
                code => panic!("no opcode {code:#x}"),
            }
        }
    }

    /// The last rule that is about it decides; without one it is denied.
    fn meaning(rules: &[DeviceRule], question: Question) -> bool {
        let is_about = |rule: &&DeviceRule| {
            let mask = access(rule).chars().fold(0, |mask, letter| mask | bit(letter));
            let asked = question.access as i32;
            let kind = match rule.kind.as_str() {
                "b" => question.kind == 1,
                "c" => question.kind == 2,
                _ => true,
            };
            kind && rule.major.is_none_or(|major| major == question.major)
                && rule.minor.is_none_or(|minor| minor == question.minor)
                && if rule.allow { asked & !mask == 0 } else { asked & mask != 0 }
        };
        rules.iter().rev().find(is_about).is_some_and(|rule| rule.allow)
    }

    fn any_rule() -> impl Strategy<Value = DeviceRule> {
        let kind = prop::sample::select(vec!["a", "b", "c", ""]);
        let access = prop::sample::select(vec!["rwm", "rw", "r", "m", ""]);
        let number = || prop::option::of(0..3i64);
        (any::<bool>(), kind, number(), number(), access).prop_map(|(allow, kind, major, minor, access)| DeviceRule {
            allow,
            kind: kind.into(),
            major,
            minor,
            access: access.into(),
        })
    }

    proptest! {
        #[test]
        fn a_program_means_what_its_rules_say(rules in prop::collection::vec(any_rule(), 1..8)) {
            let program = compile(&rules);
            for kind in 1..3 {
                for access in 1..8 {
                    for (major, minor) in (0..4).flat_map(|major| (0..4).map(move |minor| (major, minor))) {
                        let question = Question { kind, access, major, minor };
                        prop_assert_eq!(interpret(&program, question), meaning(&rules, question), "{:?}", question);
                    }
                }
            }
            // The kernel's own check takes it, where we may ask.
            if rustix::process::geteuid().is_root() {
                prop_assert!(load_device_program(&program).is_ok(), "{:?}", program);
            }
        }
    }
}
