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
        program.extend(tests);
        program.push(instruction(op::MOVE, 0, 0, i32::from(rule.allow)));
        program.push(instruction(op::EXIT, 0, 0, 0));
    }
    // The kernel refuses a program with an end that nothing reaches: after a rule without tests.
    if rules.first().is_none_or(|rule| !is_about_everything(rule)) {
        program.push(instruction(op::MOVE, 0, 0, 0));
        program.push(instruction(op::EXIT, 0, 0, 0));
    }
    program
}

fn is_about_everything(rule: &DeviceRule) -> bool {
    let mask = access(rule).chars().fold(0, |mask, letter| mask | bit(letter));
    !matches!(rule.kind.as_str(), "b" | "c") && rule.major.is_none() && rule.minor.is_none() && mask == ALL_ACCESS
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
