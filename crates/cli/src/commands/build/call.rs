//! `build --call`: what is asked of a Dockerfile instead of building it.

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_engine::Engine;
use carrack_engine::build::{BuildRequest, MountOutline, Outline, TargetOutline};
use carrack_oci::Platform;
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

    /// The requests are one, for each of its platforms. Outlines and targets are the same for all.
    pub(super) fn answer(self, session: &Session, engine: &Engine, requests: &[BuildRequest]) -> Outcome {
        let Some(request) = requests.first() else { return Ok(exit::DONE) };
        let mut sources = SourceMap::new();
        let failed = |errors: Vec<Diagnostic>, sources: &SourceMap| Failure::new(errors, sources.clone());
        match self.method {
            Method::Check => self.check(session, engine, requests),
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
    fn check(self, session: &Session, engine: &Engine, requests: &[BuildRequest]) -> Outcome {
        let mut sources = SourceMap::new();
        let (mut all, mut has_errors) = (Vec::new(), false);
        for request in requests {
            let found = engine.check_build(request, &mut sources);
            has_errors |= found.is_err();
            all.push((request.platform.as_ref(), found.unwrap_or_else(|errors| errors)));
        }
        let found = together(all, &sources);
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

/// Findings of several platforms: what is found for all is told once, and of the others it is told which they are for.
fn together(all: Vec<(Option<&Platform>, Vec<Diagnostic>)>, sources: &SourceMap) -> Vec<Diagnostic> {
    let count = all.len();
    let place = |finding: &Diagnostic| finding.labels.first().map(|label| sources.position(label.span));
    let mut found: Vec<(Diagnostic, Vec<&Platform>)> = Vec::new();
    for (platform, findings) in all {
        for finding in findings {
            let is_same = |known: &Diagnostic| {
                known.code == finding.code && known.message == finding.message && place(known) == place(&finding)
            };
            // One platform may have the same finding twice.
            let known = found.iter_mut().find(|(known, platforms)| {
                is_same(known) && platform.is_some_and(|platform| !platforms.contains(&platform))
            });
            match known {
                Some((_, platforms)) => platforms.extend(platform),
                None => found.push((finding, platform.into_iter().collect())),
            }
        }
    }
    let told = found.into_iter().map(|(finding, platforms)| match platforms.len() < count && count > 1 {
        true => platforms.iter().fold(finding, |finding, platform| finding.cause(format!("building for {platform}"))),
        false => finding,
    });
    told.collect()
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
