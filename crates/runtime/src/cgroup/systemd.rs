//! Where systemd is process 1, the cgroup v2 tree is its own: a root's containers are in a slice that it knows, so that no
//! process of theirs is in the session, scope or service of who started it, and people can limit them all by it.
//!
//! A slice, since a scope or service goes with its last process, and the next start would have to wait for another one
//! (`docs/design/014-a-slice-holds-containers.md`).

mod bus;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use carrack_diag::{Diagnostic, Result};

use self::bus::{Bus, Failure};
use crate::codes;

/// How long systemd may take: it may be busy with a boot.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A slice that holds containers of one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slice {
    /// `carrack-TAG.slice`.
    name: String,
}

/// Whether systemd is process 1 (sd_booted(3)).
pub(super) fn is_init() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

impl Slice {
    /// The slice of a group of this name, and what is below it: `carrack-TAG/ID`, or `x.slice/carrack-TAG/ID`, which is in a
    /// slice of its root within the one that was asked for. None where the parent is no slice.
    pub(super) fn of(name: &str) -> Option<(Self, PathBuf)> {
        let (parent, rest) = match name.split_once(".slice/") {
            Some((parent, rest)) if !parent.contains('/') => (Some(parent), rest),
            _ => (None, name),
        };
        let (own, below) = rest.split_once('/').unwrap_or((rest, ""));
        let own = own.strip_prefix("carrack-")?;
        let name = match parent {
            Some(parent) => format!("{parent}-carrack_{own}.slice"),
            None => format!("carrack-{own}.slice"),
        };
        Some((Self { name }, below.into()))
    }

    /// Its folder below the mount point: `a-b.slice` is in `a.slice` (systemd.slice(5)).
    pub(super) fn folder(&self) -> PathBuf {
        let base = self.name.trim_end_matches(".slice");
        let ends = base.match_indices('-').map(|(place, _)| place).chain([base.len()]);
        ends.filter_map(|end| base.get(..end)).map(|base| format!("{base}.slice")).collect()
    }

    /// Has systemd make it, where it is not there, and waits for it.
    pub(super) fn ensure(&self, mount: &Path) -> Result<()> {
        let folder = mount.join(self.folder());
        if folder.is_dir() {
            return Ok(());
        }
        self.start(&folder).map_err(|failure| {
            Diagnostic::error(&codes::SYSTEMD, format!("have systemd make {} for containers", self.name))
                .cause(failure.to_string())
                .boxed()
        })
    }

    fn start(&self, folder: &Path) -> std::result::Result<(), Failure> {
        let deadline = Instant::now() + TIMEOUT;
        let mut bus = Bus::connect(TIMEOUT)?;
        match bus.start_transient_unit(&self.name, "containers of carrack") {
            // Somebody else was quicker.
            Err(Failure::Refused { name, .. }) if name == "org.freedesktop.systemd1.UnitExists" => {}
            outcome => outcome?,
        }
        while !folder.is_dir() {
            let state = bus.active_state(&self.name)?;
            if Instant::now() >= deadline {
                return Err(format!("it is {state}, without {}", folder.display()).into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lie_in_the_slice_of_their_root_within_the_one_asked_for() {
        let of = |name: &str| Slice::of(name).map(|(slice, below)| slice.folder().join(below).display().to_string());
        let found = |folder: &str| Some(folder.to_owned());
        assert_eq!(of("carrack-0a1b2c3d/shims"), found("carrack.slice/carrack-0a1b2c3d.slice/shims"));
        assert_eq!(
            of("shop-web.slice/carrack-0a1b2c3d/ID"),
            found("shop.slice/shop-web.slice/shop-web-carrack_0a1b2c3d.slice/ID")
        );
        assert_eq!(of("elsewhere/carrack-0a1b2c3d/ID"), None);
        assert_eq!(of("a/b.slice/carrack-0a1b2c3d/ID"), None);
    }
}
