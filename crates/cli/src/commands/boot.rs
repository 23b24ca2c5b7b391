//! `boot` and `system install-boot`.

use carrack_diag::{Diagnostic, Result};
use carrack_engine::boot_service::{BootService, Init};
use carrack_engine::{Engine, codes};
use rustix::process::geteuid;
use serde_json::json;

use super::Session;
use crate::arguments::{BootArguments, InstallBootArguments};
use crate::flags;
use crate::output::{Outcome, exit};

pub(crate) fn boot(session: &Session, arguments: &BootArguments) -> Outcome {
    if arguments.stop {
        // Of a root that is gone there is nothing to stop, and none is made.
        if !session.roots().data.exists() {
            return Ok(exit::DONE);
        }
        let failures = Engine::open_for_event(session.roots().clone())?.stop_for_shutdown()?;
        session.output.result("boot", &failures, |failures| lines(failures));
        return Ok(if failures.is_empty() { exit::DONE } else { exit::FAILED });
    }
    let report = session.engine()?.boot()?;
    session.output.result("boot", &report, |report| lines(report));
    Ok(exit::DONE)
}

pub(crate) fn install(session: &Session, arguments: &InstallBootArguments) -> Outcome {
    let service = BootService::new(init(arguments)?, &own_path()?, session.roots())?;
    if arguments.print {
        let value = json!({ "path": service.path(), "text": service.text() });
        session
            .output
            .result("install-boot", &value, |_| format!("# {}\n{}", service.path().display(), service.text()));
        return Ok(exit::DONE);
    }
    if !geteuid().is_root() {
        return Err(Diagnostic::error(&codes::NOT_ROOT, "can't change what runs at boot: not root")
            .hint("repeat the command with sudo, or see what it would write with `--print`")
            .into());
    }
    let report = if arguments.uninstall { service.uninstall()? } else { service.install()? };
    session.output.result("install-boot", &report, |report| lines(report));
    Ok(exit::DONE)
}

fn init(arguments: &InstallBootArguments) -> Result<Init> {
    if let Some(text) = &arguments.init {
        return Init::parse(text).ok_or_else(|| flags::invalid("--init", text, Init::FORMS));
    }
    Init::detect().ok_or_else(|| {
        Diagnostic::error(&codes::BOOT_SERVICE, "can't tell what starts services on this host")
            .cause("there is neither systemd, OpenRC, /etc/rc2.d nor /etc/cron.d")
            .hint(format!("name it with `--init`: {}", Init::FORMS))
            .boxed()
    })
}

fn own_path() -> Result<std::path::PathBuf> {
    std::fs::read_link("/proc/self/exe").map_err(|error| {
        Diagnostic::error(&codes::BOOT_SERVICE, "can't find the binary that runs").cause(error.to_string()).boxed()
    })
}

fn lines(report: &[String]) -> String {
    report.iter().map(|line| format!("{line}\n")).collect()
}
