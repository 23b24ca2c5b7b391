//! Targets of `fuzz/`: files of users and of images that decide what a container may.

use crate::facts::{Architecture, Cgroups};
use crate::{HostFacts, capability, log_tag, passwd, seccomp};

/// The name of its seeds, and what is fed with them.
pub type Target = (&'static str, fn(&[u8]));

/// What `fuzz/` and a test feed.
pub const TARGETS: &[Target] = &[("log-tag", tag), ("passwd", users), ("seccomp", profile)];

/// The kernel takes no longer program (BPF_MAXINSNS), of 8 bytes an instruction.
const PROGRAM_MAX_BYTES: usize = 4096 * 8;

/// A profile, as `--security-opt seccomp=` takes it, on every architecture.
fn profile(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        let facts = HostFacts {
            architecture,
            kernel: (6, 12),
            cgroups: Cgroups::V2,
            capabilities: u64::MAX,
            apparmor: false,
            apparmor_profile: false,
            hostname: String::new(),
        };
        if let Ok(profile) = seccomp::read_profile(text, capability::Set::default(), &facts)
            && let Ok(program) = seccomp::compile(&profile)
        {
            assert!(!program.is_empty() && program.len() <= PROGRAM_MAX_BYTES && program.len() % 8 == 0);
        }
    }
}

/// The user that is asked for, an image's `/etc/passwd` and `/etc/group`: no name becomes root that is not root's there.
fn users(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\0');
    let (user, users, groups) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Ok(identity) = passwd::identify(user, &[], users, groups) {
        let is_said = user.is_empty()
            || user.split(':').next().is_some_and(|name| name.parse() == Ok(0_u32) || name.is_empty())
            || users.lines().any(|line| line.split(':').nth(2).is_some_and(|id| id.trim().parse() == Ok(0_u32)));
        assert!(identity.uid != 0 || is_said, "{user:?} is root");
    }
}

/// The template of a log's tag.
fn tag(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(tag) = log_tag::render(text, |_| String::new()) {
        assert!(tag.len() <= text.len());
    }
}

#[cfg(test)]
#[test]
fn no_input_breaks_what_reads_it() {
    carrack_testkit::fuzz::check(TARGETS);
}
