//! Permission bits as `--chmod` gives them.

use serde::Serialize;

/// What becomes of a file's permission bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum FileMode {
    /// They are these.
    Octal(u32),
    /// They are changed, clause by clause, as chmod(1) does.
    Symbolic(Vec<Change>),
}

/// One operator with its operand: `go-w` is one, `u=rw+x` are two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Bits that can be touched.
    who: u32,
    operator: Operator,
    operand: Operand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Operand {
    /// Bits for all three classes, and whether `X` adds execution where it makes sense.
    Bits { bits: u32, execute_if_sensible: bool },
    /// The bits of a class, as a shift.
    Class(u32),
}

impl FileMode {
    /// Reads `755`, or clauses such as `u=rwX,go=rX`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            return u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777).map(Self::Octal);
        }
        let mut changes = Vec::new();
        for clause in text.split(',') {
            read_clause(clause, &mut changes)?;
        }
        Some(Self::Symbolic(changes))
    }

    /// The bits of a file or folder that had `mode`.
    pub fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        let mode = mode & 0o7777;
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(changes) => changes.iter().fold(mode, |mode, change| change.apply(mode, is_folder)),
        }
    }

    /// The bits of new folders on the way to a destination.
    pub fn of_new_folders(&self) -> u32 {
        match self {
            Self::Octal(bits) => *bits,
            Self::Symbolic(_) => 0o755,
        }
    }
}

fn read_clause(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let start = clause.find(['+', '-', '='])?;
    let mut who = 0;
    for class in clause[..start].chars() {
        who |= match class {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    // The reference knows no umask here: without a class it is everybody.
    if start == 0 {
        who = 0o7777;
    }
    let mut rest = &clause[start..];
    while let Some(operator) = rest.chars().next() {
        let operator = match operator {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            _ => Operator::Set,
        };
        let end = rest[1..].find(['+', '-', '=']).map_or(rest.len(), |end| end + 1);
        changes.push(Change { who, operator, operand: read_operand(&rest[1..end])? });
        rest = &rest[end..];
    }
    Some(())
}

fn read_operand(text: &str) -> Option<Operand> {
    let class = match text {
        "u" => Some(6),
        "g" => Some(3),
        "o" => Some(0),
        _ => None,
    };
    if let Some(shift) = class {
        return Some(Operand::Class(shift));
    }
    let (mut bits, mut execute_if_sensible) = (0, false);
    for letter in text.chars() {
        match letter {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= 0o111,
            's' => bits |= 0o6000,
            't' => bits |= 0o1000,
            'X' => execute_if_sensible = true,
            _ => return None,
        }
    }
    Some(Operand::Bits { bits, execute_if_sensible })
}

impl Change {
    fn apply(&self, mode: u32, is_folder: bool) -> u32 {
        let bits = match self.operand {
            Operand::Bits { bits, execute_if_sensible } => {
                let executes = execute_if_sensible && (is_folder || mode & 0o111 != 0);
                if executes { bits | 0o111 } else { bits }
            }
            Operand::Class(shift) => ((mode >> shift) & 0o7) * 0o111,
        } & self.who;
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => mode & !self.who | bits,
        }
    }
}
