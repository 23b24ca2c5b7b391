//! The configuration of the image that a build makes.

use std::sync::Arc;

use carrack_diag::Diagnostic;
use carrack_llb::Graph;
use carrack_oci::{History, ImageConfig};
use carrack_store::Layer;

use crate::codes;
use crate::vertex::Outcome;

/// Puts layers, history and configuration together.
///
/// Times come from when the layers were made: an image of cached steps only is the same image as before. An entry without
/// a layer takes the time of the layer before it.
pub(crate) fn configuration(
    graph: &Graph,
    outcomes: &[Arc<Outcome>],
    layers: &[Layer],
    (epoch, inline): (Option<i64>, Option<String>),
) -> carrack_diag::Result<(Vec<u8>, ImageConfig)> {
    // A base image's own would be of other layers.
    let mut config = ImageConfig { cache: inline, ..graph.config.clone() };
    let mut created = config.created.clone();
    for step in &graph.history {
        let mut entry = step.entry.clone();
        if let Some(record) = step.vertex.and_then(|vertex| outcomes.get(vertex.0)?.record.as_ref()) {
            entry.empty_layer = record.layer.is_none();
            if record.layer.is_some() {
                created = Some(record.created.clone());
            }
        }
        match &entry.created {
            Some(time) => created = Some(time.clone()),
            None => entry.created.clone_from(&created),
        }
        config.history.push(entry);
    }
    // A base image may tell less of its layers than it has; entries and layers are counted against each other by readers.
    let told = config.history.iter().filter(|entry| !entry.empty_layer).count();
    let untold = layers.len().saturating_sub(told);
    config.history.splice(0..0, std::iter::repeat_n(History::default(), untold));
    config.created = created;
    if let Some(epoch) = epoch.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok()) {
        let is_later = |time: &Option<String>| {
            time.as_ref().and_then(|time| time.parse().ok()).is_none_or(|time: jiff::Timestamp| time > epoch)
        };
        config.history.iter_mut().filter(|entry| is_later(&entry.created)).for_each(|entry| {
            entry.created = Some(epoch.to_string());
        });
        config.created = Some(epoch.to_string());
    }
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    let bytes = serde_json::to_vec(&config).map_err(|error| {
        Diagnostic::error(&codes::STEP_FAILED, "write the image's configuration").cause(error.to_string()).boxed()
    })?;
    Ok((bytes, config))
}
