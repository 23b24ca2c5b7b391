//! `build --call`: what is asked of a Dockerfile instead of building it.

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_engine::Engine;
use carrack_engine::build::{BuildRequest, MountOutline, Outline, TargetOutline};
use serde::Serialize;
use serde_json::{Value, json};

use super::Session;
use crate::flags;
use crate::output::{Failure, Outcome, exit, table};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    method: Method,
    is_json: bool,
    /// Whether findings leave the exit code alone.
    ignores_status: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    Check,
    Outline,
    Targets,
}

impl Call {
    /// `METHOD[,format=json][,ignorestatus]`; none for a build.
    pub(super) fn of(check: bool, text: Option<&str>) -> Result<Option<Self>> {
        let mut call = Self { method: Method::Check, is_json: false, ignores_status: false };
        let Some(text) = text else { return Ok(check.then_some(call)) };
        let wrong = || flags::invalid("--call", text, "build, check, outline or targets, with ,format=json behind it");
        let mut parts = text.split(',');
        call.method = match parts.next().unwrap_or_default() {
            "build" => return Ok(None),
            "check" | "lint" => Method::Check,
            "outline" => Method::Outline,
            "targets" => Method::Targets,
            _ => return Err(wrong()),
        };
        for part in parts {
            match part {
                "format=json" => call.is_json = true,
                "format=text" => {}
                "ignorestatus" | "ignorestatus=true" => call.ignores_status = true,
                _ => return Err(wrong()),
            }
        }
        Ok(Some(call))
    }

    pub(super) fn answer(self, session: &Session, engine: &Engine, request: &BuildRequest) -> Outcome {
        let mut sources = SourceMap::new();
        let failed = |errors: Vec<Diagnostic>, sources: &SourceMap| Failure::new(errors, sources.clone());
        match self.method {
            Method::Check => self.check(session, engine, request),
            Method::Outline => {
                let outline = engine.outline_build(request, &mut sources).map_err(|errors| failed(errors, &sources))?;
                self.show(session, "outline", &outline, outline_text);
                Ok(exit::DONE)
            }
            Method::Targets => {
                let targets = engine.build_targets(request, &mut sources).map_err(|errors| failed(errors, &sources))?;
                let answer = json!({ "targets": targets });
                self.show(session, "targets", &answer, |_| targets_text(&targets));
                Ok(exit::DONE)
            }
        }
    }

    fn show<T: Serialize>(self, session: &Session, schema: &str, answer: &T, text: impl FnOnce(&T) -> String) {
        session.output.result(schema, answer, |answer| {
            if self.is_json { format!("{:#}\n", json!(answer)) } else { text(answer) }
        });
    }

    /// Says what the build checks find, and fails where they find anything, as in Docker.
    fn check(self, session: &Session, engine: &Engine, request: &BuildRequest) -> Outcome {
        let mut sources = SourceMap::new();
        let (found, has_errors) = match engine.check_build(request, &mut sources) {
            Ok(found) => (found, false),
            Err(found) => (found, true),
        };
        if has_errors {
            return Err(Failure::new(found, sources));
        }
        let warning = |finding: &Diagnostic| -> Value {
            let place = finding.labels.first().map(|label| sources.position(label.span));
            json!({
                "ruleName": finding.code.id.rsplit('/').next(),
                "description": finding.code.title,
                "detail": finding.message,
                "location": { "line": place.map(|place| place.line) },
            })
        };
        let answer = json!({
            "warnings": found.len(),
            "findings": found.iter().map(warning).collect::<Vec<Value>>(),
        });
        if !self.is_json {
            session.output.diagnostics(&found, &sources);
        }
        self.show(session, "check", &answer, |_| match found.len() {
            0 => "Check complete, no warnings found.\n".to_owned(),
            1 => "Check complete, 1 warning has been found!\n".to_owned(),
            count => format!("Check complete, {count} warnings have been found!\n"),
        });
        Ok(if found.is_empty() || self.ignores_status { exit::DONE } else { exit::FAILED })
    }
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    let name = if outline.name.is_empty() { "(default)" } else { &outline.name };
    match outline.description.as_str() {
        "" => text.push_str(&format!("TARGET: {name}\n")),
        description => text.push_str(&format!("TARGET:      {name}\nDESCRIPTION: {description}\n")),
    }
    if !outline.args.is_empty() {
        let row = |argument: &carrack_engine::build::ArgumentOutline| {
            vec![argument.name.clone(), argument.value.clone(), argument.description.clone()]
        };
        let rows: Vec<Vec<String>> = outline.args.iter().map(row).collect();
        text.push_str(&format!("\n{}", table(&["BUILD ARG", "VALUE", "DESCRIPTION"], &rows)));
    }
    for (header, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !mounts.is_empty() {
            let required = |mount: &MountOutline| if mount.required { "true".to_owned() } else { String::new() };
            let rows: Vec<Vec<String>> = mounts.iter().map(|mount| vec![mount.name.clone(), required(mount)]).collect();
            text.push_str(&format!("\n{}", table(&[header, "REQUIRED"], &rows)));
        }
    }
    text
}

fn targets_text(targets: &[TargetOutline]) -> String {
    let name = |target: &TargetOutline| match (target.name.as_str(), target.default) {
        ("", true) => "(default)".to_owned(),
        (name, true) => format!("{name} (default)"),
        (name, false) => name.to_owned(),
    };
    let rows: Vec<Vec<String>> = targets.iter().map(|target| vec![name(target), target.description.clone()]).collect();
    table(&["TARGET", "DESCRIPTION"], &rows)
}
