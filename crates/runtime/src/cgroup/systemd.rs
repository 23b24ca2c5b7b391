//! Where systemd is process 1, the cgroup v2 tree is its own, and it takes back what others hand down there. A root's
//! containers and shims are in a scope whose tree it has given away (`Delegate=`; systemd.resource-control(5)), so that their
//! limits hold and none of their processes is in the session, scope or service of who started it.

mod bus;
mod keeper;

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use carrack_diag::{Diagnostic, Result};
use rustix::fs::{FlockOperation, flock};

use self::bus::{Bus, Failure};
use crate::codes;

pub(crate) use keeper::{ARGV0 as KEEPER_ARGV0, GROUP as KEEPER, main as keeper_main};

/// Scopes lie in this slice where nobody asks for another.
const SLICE: &str = "carrack.slice";
/// How long systemd may take: it may be busy with a boot.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Between two questions.
const PAUSE: Duration = Duration::from_millis(2);

/// A scope that holds containers of one root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scope {
    /// `carrack-TAG.scope`.
    name: String,
    slice: String,
    /// `carrack-TAG`.
    root: String,
}

/// Whether systemd is process 1 (sd_booted(3)).
pub(super) fn is_init() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

impl Scope {
    /// The scope of a group of this name, and what is below it: `carrack-TAG/ID`, or `x.slice/carrack-TAG/ID`. None where the
    /// parent is no slice.
    pub(super) fn of(name: &str) -> Option<(Self, PathBuf)> {
        let (slice, rest) = match name.split_once('/') {
            Some((first, rest)) if first.ends_with(".slice") => (first, rest),
            _ => (SLICE, name),
        };
        let (own, below) = rest.split_once('/').unwrap_or((rest, ""));
        own.starts_with("carrack-").then(|| {
            let suffix = match slice.strip_suffix(".slice") {
                Some(other) if slice != SLICE => format!("-{other}"),
                _ => String::new(),
            };
            let name = format!("{own}{suffix}.scope");
            (Self { name, slice: slice.to_owned(), root: own.to_owned() }, below.into())
        })
    }

    /// Its folder below the mount point: `a-b.slice` is in `a.slice` (systemd.slice(5)).
    pub(super) fn folder(&self) -> PathBuf {
        // The root of all slices is no folder.
        let base = self.slice.trim_end_matches(".slice").trim_start_matches('-');
        let ends = base.match_indices('-').map(|(place, _)| place).chain([base.len()]);
        let slices: PathBuf = ends
            .filter_map(|end| base.get(..end).filter(|base| !base.is_empty()))
            .map(|base| format!("{base}.slice"))
            .collect();
        slices.join(&self.name)
    }

    /// Has systemd make it, where it is not there. While the value lives, the scope does.
    pub(super) fn ensure(&self, mount: &Path) -> Result<OwnedFd> {
        let folder = mount.join(self.folder());
        if let Some(held) = keeper::hold(&folder) {
            return Ok(held);
        }
        self.make(mount, &folder).map_err(|failure| {
            Diagnostic::error(&codes::SYSTEMD, format!("have systemd make {} for containers", self.name))
                .cause(failure.to_string())
                .boxed()
        })
    }

    fn make(&self, mount: &Path, folder: &Path) -> std::result::Result<OwnedFd, Failure> {
        // One at a time on a host.
        let turn = fs::File::open(mount)?;
        flock(&turn, FlockOperation::LockExclusive).map_err(std::io::Error::from)?;
        if let Some(held) = keeper::hold(folder) {
            return Ok(held);
        }
        let deadline = Instant::now() + TIMEOUT;
        let keeper = keeper::spawn(folder)?;
        let mut asked = false;
        loop {
            let failure = match self.have_made(folder, &keeper, &mut asked, deadline) {
                Ok(held) => return Ok(held),
                Err(failure) => failure,
            };
            // It loses who speaks to it while it executes itself anew, as at its own upgrade.
            if !failure.is_loss() || Instant::now() >= deadline {
                keeper.kill();
                return Err(failure);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn have_made(
        &self,
        folder: &Path,
        keeper: &keeper::Keeper,
        asked: &mut bool,
        deadline: Instant,
    ) -> std::result::Result<OwnedFd, Failure> {
        let mut bus = Bus::connect(TIMEOUT)?;
        // The service of boot, of the usual root or of this one: what is before it at a start is behind it at a shutdown, and
        // finds its containers stopped.
        let before = ["carrack.service".to_owned(), format!("{}.service", self.root)];
        loop {
            if !*asked {
                match bus.start_scope(&self.name, &self.slice, keeper.pid.cast_unsigned(), &before) {
                    // It lives without its keeper, or is about to end.
                    Err(Failure::Refused { name, .. }) if name == "org.freedesktop.systemd1.UnitExists" => {}
                    outcome => outcome.map(|()| *asked = true)?,
                }
            }
            let state = bus.active_state(&self.name)?;
            if state == "active" && folder.is_dir() && keeper::settle(folder, keeper.pid).is_ok() {
                // Had it ended before the keeper was in, it would not be any more.
                if bus.active_state(&self.name)? == "active"
                    && let Some(held) = keeper::hold(folder)
                {
                    return Ok(held);
                }
            }
            if Instant::now() >= deadline {
                return Err(format!("after {} s it is {state}", TIMEOUT.as_secs()).into());
            }
            std::thread::sleep(PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_lie_in_the_scope_of_their_root_in_the_slice_asked_for() {
        let of = |name: &str| Scope::of(name).map(|(scope, below)| scope.folder().join(below).display().to_string());
        let found = |folder: &str| Some(folder.to_owned());
        assert_eq!(of("carrack-0a1b2c3d/shims"), found("carrack.slice/carrack-0a1b2c3d.scope/shims"));
        assert_eq!(
            of("shop-web.slice/carrack-0a1b2c3d/ID"),
            found("shop.slice/shop-web.slice/carrack-0a1b2c3d-shop-web.scope/ID")
        );
        assert_eq!(of("-.slice/carrack-0a1b2c3d/ID"), found("carrack-0a1b2c3d--.scope/ID"));
        assert_eq!(of("elsewhere/carrack-0a1b2c3d/ID"), None);
        assert_eq!(of("a/b.slice/carrack-0a1b2c3d/ID"), None);
    }
}
