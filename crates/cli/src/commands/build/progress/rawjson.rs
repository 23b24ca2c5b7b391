//! A line of JSON an event, as `docker buildx build --progress=rawjson` writes BuildKit's `SolveStatus`.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use carrack_diag::Diagnostic;
use carrack_engine::build::{Event, Stream};
use carrack_oci::Digest;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::Build;
use crate::output::note;

pub(super) fn warnings(warnings: &[Diagnostic]) {
    let warning = |warning: &Diagnostic| {
        let text = format!("{}: {}", warning.code.id, warning.message);
        json!({ "level": 1, "short": BASE64_STANDARD.encode(text) })
    };
    note(&format!("{}\n", json!({ "warnings": warnings.iter().map(warning).collect::<Vec<_>>() })));
}

pub(super) fn event(build: &Build, number: usize, event: &Event<'_>) {
    let now = Timestamp::now();
    let name = |vertex: usize| match &build.label {
        Some(label) => format!("{label} {}", build.steps[vertex].name),
        None => build.steps[vertex].name.clone(),
    };
    let digest = |vertex: usize| Digest::of(format!("{number} {vertex} {}", name(vertex)));
    // As in BuildKit, a vertex says each time what it is.
    let vertex = |vertex: usize| {
        let mut told = json!({ "digest": digest(vertex), "name": name(vertex) });
        let inputs = &build.steps[vertex].inputs;
        if !inputs.is_empty() {
            told["inputs"] = inputs.iter().map(|input| digest(*input).to_string()).collect();
        }
        told
    };
    let ended = |index: usize, duration: std::time::Duration| {
        let began = now.saturating_sub(SignedDuration::try_from(duration).unwrap_or_default());
        let mut told = vertex(index);
        told["started"] = began.unwrap_or(now).to_string().into();
        told["completed"] = now.to_string().into();
        told
    };
    let line = match event {
        Event::Planned { .. } => {
            json!({ "vertexes": (0..build.steps.len()).map(vertex).collect::<Vec<_>>() })
        }
        Event::Started { vertex: index } => {
            let mut begun = vertex(*index);
            begun["started"] = now.to_string().into();
            json!({ "vertexes": [begun] })
        }
        Event::Output { vertex, stream, bytes } => json!({
            "logs": [{
                "vertex": digest(*vertex),
                "stream": match stream { Stream::Out => 1, Stream::Error => 2 },
                "data": BASE64_STANDARD.encode(bytes),
                "timestamp": now.to_string(),
            }],
        }),
        Event::Done { vertex, is_cached, duration } => {
            let mut vertex = ended(*vertex, *duration);
            if *is_cached {
                vertex["cached"] = true.into();
            }
            json!({ "vertexes": [vertex] })
        }
        Event::Failed { vertex, duration } => {
            let mut vertex = ended(*vertex, *duration);
            vertex["error"] = "the step failed".into();
            json!({ "vertexes": [vertex] })
        }
        _ => return,
    };
    note(&format!("{line}\n"));
}
