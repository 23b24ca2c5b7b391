//! Whether containers run under the second wall that the host has, AppArmor or SELinux, and how they come under it.

use std::io::Write;
use std::process::{Command, Stdio};

use carrack_diag::{Diagnostic, Result};
use carrack_runtime::host;
use carrack_specgen::Container;
use carrack_specgen::apparmor::{PROFILE, PROFILE_NAME};

use crate::codes;
use crate::engine::{Engine, host_error};

/// On the run root: who was told, is told once a boot.
const TOLD: &str = "confinement-told";

impl Engine {
    /// What a container lacks here that the host could give it; none where it lacks nothing, and where it was said before.
    pub fn unconfined(&self, container: &Container) -> Result<Option<Diagnostic>> {
        if container.privileged || container.apparmor.is_some() {
            return Ok(None);
        }
        let (apparmor, profile) = host::apparmor();
        let selinux = std::fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|text| text.trim() == "1");
        let told = self.roots().run.join(TOLD);
        let lacking = match (apparmor && !profile, selinux) {
            (true, _) => Diagnostic::warning(&codes::UNCONFINED, "containers run without an AppArmor profile")
                .cause(format!("AppArmor is on, and the profile {PROFILE_NAME} is not loaded"))
                .hint("load it: `carrack doctor --install-profile`"),
            (false, true) => {
                Diagnostic::warning(&codes::UNCONFINED, "containers run without an SELinux label of their own")
                    .cause("SELinux is enforcing, and carrack does not label containers yet")
            }
            (false, false) => return Ok(None),
        };
        if told.exists() {
            return Ok(None);
        }
        std::fs::write(&told, "").map_err(|error| host_error(format!("can't write {}", told.display()), error))?;
        Ok(Some(lacking))
    }
}

/// Loads the AppArmor profile of containers, and leaves it where it is loaded at each boot.
pub fn install_profile() -> Result<String> {
    let failed = |cause: String, hint: &str| {
        Diagnostic::error(&codes::UNCONFINED, "the AppArmor profile can't be loaded").cause(cause).hint(hint).boxed()
    };
    if !host::apparmor().0 {
        return Err(failed("AppArmor is not on here".into(), "nothing is lacking"));
    }
    let folder = std::path::Path::new("/etc/apparmor.d");
    let path = folder.join(PROFILE_NAME);
    if folder.is_dir() {
        std::fs::write(&path, PROFILE).map_err(|error| host_error(format!("can't write {}", path.display()), error))?;
    }
    let hint = "install apparmor_parser: the package is called apparmor";
    let mut parser = Command::new("apparmor_parser")
        .args(["--replace", "--skip-cache"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("apparmor_parser: {error}"), hint))?;
    let mut input = parser.stdin.take();
    let written = input.as_mut().map_or(Ok(()), |input| input.write_all(PROFILE.as_bytes()));
    drop(input);
    let ended = parser.wait_with_output().map_err(|error| failed(format!("apparmor_parser: {error}"), hint))?;
    if !ended.status.success() || written.is_err() {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(failed(said, "look at the kernel's log: `dmesg | grep apparmor`"));
    }
    Ok(PROFILE_NAME.to_owned())
}
