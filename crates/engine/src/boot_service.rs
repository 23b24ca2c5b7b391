//! What has a host run `carrack boot` when it starts, and `carrack boot --stop` before it goes down.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use carrack_diag::{Diagnostic, Result};
use carrack_store::Roots;

use crate::codes;
use crate::engine::host_error;

/// What starts services on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// A unit.
    Systemd,
    /// A script for openrc-run(8).
    OpenRc,
    /// A script with a header as the Linux Standard Base has it.
    SysV,
    /// A line for cron(8), which knows no shutdown.
    Cron,
}

impl Init {
    /// What can be asked for.
    pub const FORMS: &str = "systemd, openrc, sysv or cron";

    /// None where the text is none of [`Self::FORMS`].
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "systemd" => Self::Systemd,
            "openrc" => Self::OpenRc,
            "sysv" => Self::SysV,
            "cron" => Self::Cron,
            _ => return None,
        })
    }

    /// This host's; none where there is none of them.
    pub fn detect() -> Option<Self> {
        let exists = |path: &str| Path::new(path).exists();
        Some(match () {
            () if exists("/run/systemd/system") => Self::Systemd,
            () if exists("/sbin/openrc-run") => Self::OpenRc,
            () if exists("/etc/init.d") && exists("/etc/rc2.d") => Self::SysV,
            () if exists("/etc/cron.d") => Self::Cron,
            () => return None,
        })
    }
}

/// The service of one pair of roots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootService {
    init: Init,
    /// `carrack`, or `carrack-TAG` where the roots are not the usual ones.
    name: String,
    /// Absolute path of the binary.
    program: String,
    roots: Roots,
}

impl BootService {
    /// For these roots, run by this program.
    ///
    /// # Errors
    /// A path that no service file can hold.
    pub fn new(init: Init, program: &Path, roots: &Roots) -> Result<Self> {
        let usual = roots.data == Path::new("/var/lib/carrack") && roots.run == Path::new("/run/carrack");
        let name = if usual { "carrack".to_owned() } else { format!("carrack-{}", roots.tag()) };
        for path in [program, &roots.data, &roots.run] {
            let text = path.to_string_lossy();
            if !path.is_absolute() || path.to_str().is_none() || text.contains(|c: char| c.is_control()) {
                return Err(Diagnostic::error(&codes::BOOT_SERVICE, "can't have a service run at boot")
                    .cause(format!("`{}` can't be written into its file", text.escape_debug()))
                    .hint("the paths of the binary and of both roots have to be absolute, in UTF-8, without control characters")
                    .boxed());
            }
        }
        if program.to_string_lossy().ends_with(" (deleted)") {
            return Err(Diagnostic::error(&codes::BOOT_SERVICE, "can't have a service run at boot")
                .cause("the binary that runs was removed or replaced meanwhile")
                .hint("repeat the command")
                .boxed());
        }
        Ok(Self { init, name, program: program.to_string_lossy().into_owned(), roots: roots.clone() })
    }

    /// The service's file.
    pub fn path(&self) -> PathBuf {
        match self.init {
            Init::Systemd => format!("/etc/systemd/system/{}.service", self.name),
            Init::OpenRc | Init::SysV => format!("/etc/init.d/{}", self.name),
            Init::Cron => format!("/etc/cron.d/{}", self.name),
        }
        .into()
    }

    /// Its content.
    pub fn text(&self) -> String {
        let words = |quoted: &dyn Fn(&str) -> String| {
            let words = [
                self.program.as_str(),
                "--root",
                &self.roots.data.to_string_lossy(),
                "--run-root",
                &self.roots.run.to_string_lossy(),
                "boot",
            ];
            words.map(quoted).join(" ")
        };
        match self.init {
            Init::Systemd => {
                let boot = words(&unit_word);
                let data = unit_word(&self.roots.data.to_string_lossy());
                // Scopes of containers say themselves that they go after it.
                format!(
                    "[Unit]\n\
                     Description=Containers of carrack, as their restart policies say\n\
                     Wants=network-online.target\n\
                     After=network-online.target local-fs.target nss-lookup.target time-sync.target\n\
                     RequiresMountsFor={data}\n\n\
                     [Service]\n\
                     Type=oneshot\n\
                     RemainAfterExit=yes\n\
                     ExecStart={boot}\n\
                     ExecStop={boot} --stop\n\
                     TimeoutStartSec=infinity\n\
                     TimeoutStopSec=300\n\n\
                     [Install]\n\
                     WantedBy=multi-user.target\n"
                )
            }
            Init::OpenRc => {
                let boot = words(&shell_word);
                format!(
                    "#!/sbin/openrc-run\n\
                     description=\"Containers of carrack, as their restart policies say\"\n\n\
                     depend() {{\n\tneed localmount\n\tafter net firewall cgroups\n\tuse dns\n}}\n\n\
                     start() {{\n\tebegin \"Starting containers\"\n\t{boot}\n\teend $?\n}}\n\n\
                     stop() {{\n\tebegin \"Stopping containers\"\n\t{boot} --stop\n\teend $?\n}}\n"
                )
            }
            Init::SysV => {
                let boot = words(&shell_word);
                format!(
                    "#!/bin/sh\n\
                     ### BEGIN INIT INFO\n\
                     # Provides:          {name}\n\
                     # Required-Start:    $local_fs $remote_fs $network\n\
                     # Required-Stop:     $local_fs $remote_fs $network\n\
                     # Should-Start:      $named cgroupfs-mount\n\
                     # Default-Start:     2 3 4 5\n\
                     # Default-Stop:      0 1 6\n\
                     # Short-Description: containers of carrack, as their restart policies say\n\
                     ### END INIT INFO\n\
                     case \"$1\" in\n\
                     start|restart|force-reload) exec {boot} ;;\n\
                     stop) exec {boot} --stop ;;\n\
                     *) echo \"usage: $0 start|stop|restart|force-reload\" >&2; exit 3 ;;\n\
                     esac\n",
                    name = self.name,
                )
            }
            // A percent sign ends the command in a crontab.
            Init::Cron => format!("@reboot root {}\n", words(&shell_word).replace('%', "\\%")),
        }
    }

    /// Writes the file and enables the service; says what was done. Done already, it does nothing.
    ///
    /// # Errors
    /// The file can't be written, or the host's tool refuses.
    pub fn install(&self) -> Result<Vec<String>> {
        let (path, text) = (self.path(), self.text());
        if std::fs::read_to_string(&path).is_ok_and(|there| there == text) && self.is_enabled() {
            return Ok(vec![format!("{} is installed already", path.display())]);
        }
        let failed = |error: std::io::Error| host_error(format!("can't write {}", path.display()), error);
        let temporary = path.with_file_name(format!(".{}.new", self.name));
        let mode = if matches!(self.init, Init::OpenRc | Init::SysV) { 0o755 } else { 0o644 };
        std::fs::write(&temporary, &text).map_err(failed)?;
        std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
        std::fs::rename(&temporary, &path).map_err(failed)?;
        let mut report = vec![format!("wrote {}", path.display())];
        for command in self.commands(true) {
            report.push(run(&command)?);
        }
        Ok(report)
    }

    /// Takes it back; what runs goes on. Not there, it does nothing.
    ///
    /// # Errors
    /// The file can't be removed.
    pub fn uninstall(&self) -> Result<Vec<String>> {
        let path = self.path();
        if !path.exists() {
            return Ok(vec![format!("{} is not there", path.display())]);
        }
        let commands = self.commands(false);
        // The link to a unit goes before it, and systemd is told afterwards.
        let (before, after) = commands.split_at(commands.len().min(1));
        let mut report = before.iter().map(|command| run(command)).collect::<Result<Vec<_>>>()?;
        std::fs::remove_file(&path).map_err(|error| host_error(format!("can't remove {}", path.display()), error))?;
        report.push(format!("removed {}", path.display()));
        for command in after {
            report.push(run(command)?);
        }
        Ok(report)
    }

    fn is_enabled(&self) -> bool {
        let unit = format!("{}.service", self.name);
        match self.init {
            Init::Systemd => Path::new("/etc/systemd/system/multi-user.target.wants").join(unit).exists(),
            Init::OpenRc => Path::new("/etc/runlevels/default").join(&self.name).exists(),
            Init::SysV => std::fs::read_dir("/etc/rc2.d").into_iter().flatten().flatten().any(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                name.starts_with('S') && name.get(3..) == Some(&self.name)
            }),
            Init::Cron => true,
        }
    }

    fn commands(&self, install: bool) -> Vec<Vec<String>> {
        let unit = format!("{}.service", self.name);
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        match (self.init, install) {
            (Init::Systemd, true) => {
                // Started too: only what has been started is stopped at the shutdown.
                vec![words(&["systemctl", "daemon-reload"]), words(&["systemctl", "enable", "--now", "--quiet", &unit])]
            }
            (Init::Systemd, false) => {
                vec![words(&["systemctl", "disable", "--quiet", &unit]), words(&["systemctl", "daemon-reload"])]
            }
            (Init::OpenRc, true) => {
                vec![words(&["rc-update", "add", &self.name, "default"]), words(&["rc-service", &self.name, "start"])]
            }
            (Init::OpenRc, false) => vec![words(&["rc-update", "del", &self.name, "default"])],
            (Init::SysV, true) => vec![words(&["update-rc.d", &self.name, "defaults"])],
            (Init::SysV, false) => vec![words(&["update-rc.d", "-f", &self.name, "remove"])],
            (Init::Cron, _) => Vec::new(),
        }
    }
}

/// Runs a tool of the host, and says so.
fn run(words: &[String]) -> Result<String> {
    let line = words.join(" ");
    let (program, arguments) = words.split_first().map(|(first, rest)| (first.as_str(), rest)).unwrap_or_default();
    let refused =
        |cause: String| Diagnostic::error(&codes::BOOT_SERVICE, format!("`{line}` failed")).cause(cause).boxed();
    let output = Command::new(program).args(arguments).output().map_err(|error| refused(error.to_string()))?;
    if output.status.success() {
        return Ok(format!("ran {line}"));
    }
    Err(refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// A word of a unit's command line: `%` and `$` mean themselves (systemd.service(5), "Command lines").
fn unit_word(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if plain { text } else { format!("\"{text}\"") }
}

fn shell_word(text: &str) -> String {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
    if plain { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(init: Init, program: &str, data: &str) -> BootService {
        let run = if data == "/var/lib/carrack" { "/run/carrack" } else { "/run/other" };
        let roots = Roots { data: data.into(), run: run.into() };
        BootService::new(init, Path::new(program), &roots).unwrap()
    }

    #[test]
    fn every_init_runs_boot_on_the_same_roots_and_stops_before_the_end() {
        for init in [Init::Systemd, Init::OpenRc, Init::SysV, Init::Cron] {
            let usual = service(init, "/usr/bin/carrack", "/var/lib/carrack");
            let boot = "/usr/bin/carrack --root /var/lib/carrack --run-root /run/carrack boot";
            assert!(usual.text().contains(boot), "{}", usual.text());
            assert_eq!(usual.text().contains(&format!("{boot} --stop")), init != Init::Cron, "cron knows no shutdown");
            let other = service(init, "/usr/bin/carrack", "/srv/other");
            assert_ne!(usual.path(), other.path(), "two roots on one host");
        }
        let unit = service(Init::Systemd, "/usr/bin/carrack", "/var/lib/carrack").text();
        for line in ["RequiresMountsFor=/var/lib/carrack", "WantedBy=multi-user.target", "RemainAfterExit=yes"] {
            assert!(unit.lines().any(|found| found == line), "{line}: {unit}");
        }
    }

    #[test]
    fn paths_with_anything_in_them_stay_one_word() {
        let odd = service(Init::Systemd, "/opt/my \"tools\"/carrack", "/srv/100% $HOME");
        assert!(
            odd.text().contains(r#"ExecStart="/opt/my \"tools\"/carrack" --root "/srv/100%% $$HOME" "#),
            "{}",
            odd.text()
        );
        let odd = service(Init::OpenRc, "/opt/it's/carrack", "/srv/a b");
        assert!(odd.text().contains(r"'/opt/it'\''s/carrack' --root '/srv/a b' "), "{}", odd.text());
        let roots = Roots { data: "/srv/a\nExecStart=/bin/sh".into(), run: "/run/x".into() };
        assert!(BootService::new(Init::Systemd, Path::new("/usr/bin/carrack"), &roots).is_err());
        let roots = Roots { data: "/srv".into(), run: "/run/x".into() };
        assert!(BootService::new(Init::Systemd, Path::new("/usr/bin/carrack (deleted)"), &roots).is_err());
    }
}
