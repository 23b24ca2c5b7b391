//! `explain`, `doctor`, `version`, and what the shim calls.

use carrack_diag::{Diagnostic, nearest};
use carrack_engine::Engine;
use serde_json::json;

use super::Session;
use crate::arguments::{DoctorArguments, EventArguments, ExplainArguments, VersionArguments};
use crate::codes;
use crate::output::{Outcome, exit, note, print, table};
use crate::template::Template;

pub(crate) fn explain(session: &Session, arguments: &ExplainArguments) -> Outcome {
    let every = [codes::every(), carrack_bake::codes::ALL.to_vec()].concat();
    let Some(wanted) = &arguments.code else {
        let list: Vec<_> = every.iter().map(|code| json!({ "code": code.id, "title": code.title })).collect();
        session.output.result("explain", &list, |_| {
            let rows: Vec<Vec<String>> =
                every.iter().map(|code| vec![code.id.to_owned(), code.title.to_owned()]).collect();
            table(&["CODE", "TITLE"], &rows)
        });
        return Ok(exit::DONE);
    };
    let wanted = wanted.trim_matches(|c| c == '[' || c == ']');
    let Some(code) = every.iter().find(|code| code.id == wanted) else {
        let mut diagnostic = Diagnostic::error(&codes::UNKNOWN_CODE, format!("there is no code `{wanted}`"));
        if let Some(near) = nearest(wanted, every.iter().map(|code| code.id)) {
            diagnostic = diagnostic.hint(format!("did you mean `{near}`?"));
        }
        return Err(diagnostic.hint("`carrack explain` lists them all").into());
    };
    let value = json!({
        "code": code.id, "title": code.title, "cause": code.cause, "check": code.check, "fix": code.fix,
    });
    session.output.result("explain", &value, |_| {
        format!(
            "{}: {}\n\nCause\n  {}\n\nCheck\n  {}\n\nFix\n  {}\n",
            code.id, code.title, code.cause, code.check, code.fix
        )
    });
    Ok(exit::DONE)
}

pub(crate) fn doctor(session: &Session, arguments: &DoctorArguments) -> Outcome {
    if arguments.leaks {
        let leaks = session.observer()?.leaks()?;
        session.output.result("leaks", &leaks, |leaks| {
            if leaks.is_empty() {
                return "nothing is left over\n".to_owned();
            }
            let row = |leak: &carrack_engine::Leak| {
                vec![leak.kind.to_owned(), leak.name.clone(), leak.reason.clone(), leak.fix.clone()]
            };
            table(&["KIND", "NAME", "WHY", "WHAT REMOVES IT"], &leaks.iter().map(row).collect::<Vec<_>>())
        });
        return Ok(if leaks.is_empty() { exit::DONE } else { exit::FAILED });
    }
    if arguments.install_profile {
        let profile = carrack_engine::confinement::install_profile()?;
        session.output.result("profile", &json!({ "profile": profile }), |_| {
            format!("the AppArmor profile {profile} is loaded: containers that start from now on run under it\n")
        });
        return Ok(exit::DONE);
    }
    let report = carrack_engine::doctor::examine(session.roots());
    session.output.result("doctor", &report, |report| {
        let mut text = format!("this host allows: {}\n\n", report.level);
        let rows: Vec<Vec<String>> = report
            .checks
            .iter()
            .map(|check| {
                let mark = match (check.ok, check.required) {
                    (true, _) => "ok",
                    (false, true) => "no",
                    (false, false) => "-",
                };
                vec![mark.to_owned(), check.name.to_owned(), check.detail.clone()]
            })
            .collect();
        text.push_str(&table(&["", "WHAT", "FOUND"], &rows));
        let fixes: Vec<String> = report
            .checks
            .iter()
            .filter(|check| !check.fix.is_empty())
            .map(|check| format!("  {} [{}]: {}\n", check.name, check.code, check.fix))
            .collect();
        if !fixes.is_empty() {
            text.push_str(&format!("\nwhat to do:\n{}", fixes.concat()));
        }
        text
    });
    Ok(exit::DONE)
}

/// Client and server are one program: tools ask for either.
pub(crate) fn version(session: &Session, arguments: &VersionArguments) -> Outcome {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    let architecture = carrack_oci::Platform::host().architecture;
    if arguments.format.is_none() || session.output.json {
        let value = json!({ "version": VERSION, "os": "linux", "arch": std::env::consts::ARCH });
        session.output.result("version", &value, |_| format!("carrack {VERSION}\n"));
        return Ok(exit::DONE);
    }
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let value = json!({
        "Client": { "Version": VERSION, "Os": "linux", "Arch": architecture, "Context": "default" },
        "Server": {
            "Platform": { "Name": "carrack" },
            "Components": [{ "Name": "Engine", "Version": VERSION, "Details": { "Arch": architecture, "Os": "linux", "KernelVersion": kernel } }],
            "Version": VERSION,
            "Os": "linux",
            "Arch": architecture,
            "KernelVersion": kernel,
        },
    });
    match arguments.format.as_deref() {
        Some(format) if format != "json" => print(&format!("{}\n", Template::of_one(format)?.fill(&value)?)),
        _ => print(&format!("{value}\n")),
    }
    Ok(exit::DONE)
}

pub(crate) fn event(session: &Session, arguments: &EventArguments) -> Outcome {
    if let Err(error) =
        Engine::open_for_event(session.roots().clone()).and_then(|engine| engine.event(&arguments.id, &arguments.kind))
    {
        // Standard error of a shim's child is the system's log at best.
        note(&format!("carrack: {error}\n"));
        return Ok(exit::FAILED);
    }
    Ok(exit::DONE)
}
