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
    let ended = |vertex: usize, duration: std::time::Duration| {
        let began = now.saturating_sub(SignedDuration::try_from(duration).unwrap_or_default());
        let began = began.unwrap_or(now).to_string();
        json!({ "digest": digest(vertex), "name": name(vertex), "started": began, "completed": now.to_string() })
    };
    let line = match event {
        Event::Planned { .. } => {
            let all = (0..build.steps.len()).map(|vertex| json!({ "digest": digest(vertex), "name": name(vertex) }));
            json!({ "vertexes": all.collect::<Vec<_>>() })
        }
        Event::Started { vertex } => json!({
            "vertexes": [{ "digest": digest(*vertex), "name": name(*vertex), "started": now.to_string() }],
        }),
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
