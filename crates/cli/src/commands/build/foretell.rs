//! What builds would do, and why, said without building.

use carrack_diag::SourceMap;
use carrack_engine::Engine;
use carrack_engine::build::{BuildRequest, Reason, StepExplanation};
use carrack_oci::Platform;
use serde_json::json;

use super::Session;
use crate::output::{Failure, Outcome, exit};

/// A build whose steps are foretold.
pub(super) struct Foretold<'a> {
    pub(super) request: &'a BuildRequest,
    /// Of a project.
    pub(super) service: Option<&'a str>,
    /// Where it is for several.
    pub(super) platform: Option<String>,
}

impl<'a> Foretold<'a> {
    /// One build, for each of its platforms.
    pub(super) fn of(requests: &'a [BuildRequest]) -> Vec<Self> {
        let is_several = requests.len() > 1;
        let each = requests.iter().map(|request| Self {
            service: None,
            platform: request.platform.as_ref().filter(|_| is_several).map(Platform::to_string),
            request,
        });
        each.collect()
    }
}

/// What builds would do, and why (I-5).
pub(super) fn foretell(session: &Session, engine: &Engine, builds: &[Foretold<'_>]) -> Outcome {
    let (mut steps, mut text) = (Vec::new(), String::new());
    for Foretold { request, service, platform } in builds {
        let label: Vec<&str> = service.iter().copied().chain(platform.as_deref()).collect();
        let label = label.join(" ");
        let mut sources = SourceMap::new();
        let explained = engine.explain_build(request, &mut sources).map_err(|mut errors| {
            if !label.is_empty() {
                errors.iter_mut().for_each(|error| error.causes.push(format!("building {label}")));
            }
            Failure::new(errors, sources)
        })?;
        for mut step in explanation(&explained) {
            for (key, name) in [("service", service.as_deref()), ("platform", platform.as_deref())] {
                if let Some(name) = name {
                    step[key] = name.into();
                }
            }
            steps.push(step);
        }
        text.push_str(&explained_text(&explained, Some(label.as_str()).filter(|label| !label.is_empty())));
    }
    session.output.result("build-plan", &json!({ "steps": steps }), |_| text);
    Ok(exit::DONE)
}

pub(super) fn explanation(steps: &[StepExplanation]) -> Vec<serde_json::Value> {
    let reason = |reason: &Reason| {
        let mut value = json!(reason);
        value["text"] = reason.to_string().into();
        value
    };
    let step = |step: &StepExplanation| {
        let reasons: Vec<serde_json::Value> = step.reasons.iter().map(reason).collect();
        json!({ "name": step.name, "cached": step.is_cached, "reasons": reasons })
    };
    steps.iter().map(step).collect()
}

/// A line a step, with its reasons below it. Of several builds it is told which.
pub(super) fn explained_text(steps: &[StepExplanation], label: Option<&str>) -> String {
    const SHOWN: usize = 10;
    let mut text = String::new();
    let label = label.map(|label| format!("{label} ")).unwrap_or_default();
    for step in steps {
        text.push_str(&format!("{} {label}{}\n", if step.is_cached { "cached" } else { "missed" }, step.name));
        for reason in step.reasons.iter().take(SHOWN) {
            text.push_str(&format!("         {reason}\n"));
        }
        if step.reasons.len() > SHOWN {
            text.push_str(&format!("         and {} more\n", step.reasons.len() - SHOWN));
        }
    }
    text
}
