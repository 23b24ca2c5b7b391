//! Whether what is mounted later can travel between the host and a container: only as far as the host's own mount passes it on.

use std::path::Path;

use carrack_diag::{Diagnostic, Result};
use rustix::fs::{AtFlags, CWD, StatxFlags};

use crate::codes;
use crate::engine::host_error;

/// Refuses a bind that is to pass mounts on and has nobody to get them from or give them to, as Docker does.
pub(super) fn check(container: &str, source: &str, propagation: Option<&str>) -> Result<()> {
    let wanted = propagation.unwrap_or_default().trim_start_matches('r');
    if !matches!(wanted, "shared" | "slave") {
        return Ok(());
    }
    let found = rustix::fs::statx(CWD, Path::new(source), AtFlags::empty(), StatxFlags::MNT_ID)
        .map_err(|error| host_error(format!("can't look at {source}"), error))?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| host_error("can't read /proc/self/mountinfo", error))?;
    let (place, is_shared, is_slave) = of(&mounts, found.stx_mnt_id).unwrap_or(("/", false, false));
    if is_shared || (is_slave && wanted == "slave") {
        return Ok(());
    }
    let kinds = if wanted == "slave" { "neither shared nor a slave" } else { "not shared" };
    let message = format!("{container}: mounts can't travel by {}", propagation.unwrap_or_default());
    Err(Diagnostic::error(&codes::NO_PROPAGATION, message)
        .cause(format!("{source} is on the mount at {place}, which is {kinds}"))
        .hint(format!("`mount --make-rshared {place}` on the host, or leave the propagation out"))
        .boxed())
}

/// Where the mount of an id is attached, whether it is shared, and whether it is a slave (proc_pid_mountinfo(5)).
fn of(mounts: &str, id: u64) -> Option<(&str, bool, bool)> {
    let id = id.to_string();
    let line = mounts.lines().find(|line| line.split(' ').next() == Some(id.as_str()))?;
    let optional: Vec<&str> = line.split(' ').skip(6).take_while(|field| *field != "-").collect();
    let has = |kind: &str| optional.iter().any(|field| field.starts_with(kind));
    Some((line.split(' ').nth(4)?, has("shared:"), has("master:")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_known_by_its_id() {
        let mounts = "21 1 8:1 / / rw,noatime shared:1 - ext4 /dev/sda rw\n\
                      22 21 0:5 / /dev rw master:2 propagate_from:3 - devtmpfs dev rw\n\
                      221 21 0:9 / /run rw - tmpfs run rw\n";
        assert_eq!(of(mounts, 21), Some(("/", true, false)));
        assert_eq!(of(mounts, 22), Some(("/dev", false, true)));
        assert_eq!(of(mounts, 221), Some(("/run", false, false)));
        assert_eq!(of(mounts, 2), None);
    }

    #[test]
    fn private_needs_nothing_of_the_host() {
        for private in [None, Some("private"), Some("rprivate")] {
            check("web", "/nowhere", private).unwrap();
        }
        assert!(check("web", "/nowhere", Some("rslave")).is_err());
    }
}
