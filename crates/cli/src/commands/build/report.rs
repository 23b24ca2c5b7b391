//! `build --report`.

use carrack_engine::build::BuildResult;
use serde_json::{Value, json};

use crate::output::{human_size, table};

/// Null where it was not asked for.
pub(super) fn json(built: &BuildResult) -> Value {
    let Some(report) = &built.report else { return Value::Null };
    let steps = report.steps.iter().map(|step| {
        json!({
            "name": step.name,
            "cached": step.is_cached,
            "seconds": step.duration.as_secs_f64(),
            "saved_seconds": step.saved.map(|saved| saved.as_secs_f64()),
            "size_bytes": step.size_bytes,
        })
    });
    let largest = built.context.largest.iter().map(|(path, bytes)| json!({ "path": path, "size_bytes": bytes }));
    json!({
        "steps": steps.collect::<Vec<_>>(),
        "saved_seconds": report.saved().as_secs_f64(),
        "size_bytes": report.size_bytes,
        "single_stage_bytes": report.single_stage_bytes,
        "context": {
            "entries": built.context.entries,
            "size_bytes": built.context.size_bytes,
            "largest": largest.collect::<Vec<_>>(),
        },
    })
}

/// Empty where it was not asked for.
pub(super) fn text(built: &BuildResult) -> String {
    let Some(report) = &built.report else { return String::new() };
    let rows: Vec<Vec<String>> = report
        .steps
        .iter()
        .map(|step| {
            let saved = step.saved.map_or_else(String::new, |saved| format!("{:.1}s", saved.as_secs_f64()));
            let time =
                if step.is_cached { "cached".to_owned() } else { format!("{:.1}s", step.duration.as_secs_f64()) };
            let name: Vec<&str> = step.name.split_whitespace().collect();
            vec![time, saved, human_size(step.size_bytes), name.join(" ")]
        })
        .collect();
    let mut text = table(&["TIME", "SAVED", "SIZE", "STEP"], &rows);
    let (size, single) = (report.size_bytes, report.single_stage_bytes);
    let less = if single > size {
        format!(", {:.0} % less", (single - size) as f64 * 100.0 / single as f64)
    } else {
        String::new()
    };
    text.push_str(&format!("\nThe cache saved {:.1}s.\n", report.saved().as_secs_f64()));
    text.push_str(&format!(
        "The image has {}; as a single stage it would have {}{less}.\n",
        human_size(size),
        human_size(single)
    ));
    let context = &built.context;
    text.push_str(&format!(
        "Of the context {} in {} entries are used.\n",
        human_size(context.size_bytes),
        context.entries
    ));
    for (path, bytes) in &context.largest {
        text.push_str(&format!("  {:>8}  {path}\n", human_size(*bytes)));
    }
    text
}
