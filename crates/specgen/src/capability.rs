use carrack_diag::{Diagnostic, Result};

use crate::codes;

/// Every capability by number (linux/capability.h).
const NAMES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has without being asked: Docker's set.
const DEFAULT: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// A set of capabilities; bit n is capability number n.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Set(pub u64);

impl Set {
    /// Every one that has a name.
    pub fn all() -> Self {
        Self((1 << NAMES.len()) - 1)
    }

    /// Docker's default set.
    pub fn default_set() -> Self {
        DEFAULT.iter().filter_map(|name| number(name)).fold(Self(0), |set, number| Self(set.0 | 1 << number))
    }

    /// The default set with additions and removals after Docker's rules: `ALL` among the additions is everything but
    /// the removals, `ALL` among the removals nothing but the additions.
    pub fn adjusted(add: &[String], drop: &[String]) -> Result<Self> {
        let (add_all, added) = read(add)?;
        let (drop_all, dropped) = read(drop)?;
        Ok(Self(match (add_all, drop_all) {
            (true, _) => Self::all().0 & !dropped.0,
            (false, true) => added.0,
            (false, false) => Self::default_set().0 & !dropped.0 | added.0,
        }))
    }

    /// The set with these `CAP_…` names; unknown ones are passed over.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        names.into_iter().filter_map(|name| number(name)).fold(Self(0), |set, number| Self(set.0 | 1 << number))
    }

    /// `CAP_…`, by number.
    pub fn names(self) -> Vec<String> {
        let held = NAMES.iter().enumerate().filter(|(number, _)| self.0 & 1 << number != 0);
        held.map(|(_, name)| format!("CAP_{name}")).collect()
    }

    /// Whether `CAP_…` is in it.
    pub fn contains(self, name: &str) -> bool {
        number(name).is_some_and(|number| self.0 & 1 << number != 0)
    }
}

/// Whether `ALL` is among them, and the others.
fn read(names: &[String]) -> Result<(bool, Set)> {
    let mut set = Set(0);
    let mut all = false;
    for name in names {
        match number(name) {
            Some(number) => set.0 |= 1 << number,
            None if name.eq_ignore_ascii_case("ALL") => all = true,
            None => return Err(unknown(name)),
        }
    }
    Ok((all, set))
}

/// By name, with or without `CAP_`, in any case.
fn number(name: &str) -> Option<usize> {
    let upper = name.to_ascii_uppercase();
    let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|known| *known == plain)
}

fn unknown(name: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::UNKNOWN_CAPABILITY, format!("read the capability {name:?}"))
        .cause("Linux has no capability of that name")
        .hint("names are those of capabilities(7), such as NET_ADMIN or CAP_NET_ADMIN, or ALL")
        .boxed()
}

#[cfg(test)]
mod tests {
    use super::Set;

    fn adjusted(add: &[&str], drop: &[&str]) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Set::adjusted(&owned(add), &owned(drop)).expect("known names").names()
    }

    /// F3.
    #[test]
    fn docker_rules() {
        assert_eq!(adjusted(&[], &[]).len(), 14);
        assert_eq!(adjusted(&["CHOWN", "cap_setgid", "SetUid"], &["ALL"]), ["CAP_CHOWN", "CAP_SETGID", "CAP_SETUID"]);
        assert_eq!(adjusted(&["ALL"], &["SYS_ADMIN"]).len(), 40);
        assert!(adjusted(&["SYS_ADMIN"], &[]).contains(&"CAP_SYS_ADMIN".to_owned()));
        assert!(!adjusted(&[], &["MKNOD"]).contains(&"CAP_MKNOD".to_owned()));
        let error = Set::adjusted(&["NET_ADMIM".into()], &[]).expect_err("unknown");
        assert_eq!(error.code.id, "container/unknown-capability");
    }
}
