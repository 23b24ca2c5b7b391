//! `system df`.

use carrack_engine::build::CacheEntry;
use carrack_engine::{ContainerUsage, DiskUsage, ImageUsage, VolumeUsage};
use serde_json::{Value, json};

use super::{Session, builder, ps};
use crate::arguments::SystemUsageArguments;
use crate::output::{Outcome, exit, human_duration, human_size, human_sum, table};
use crate::template;

pub(crate) fn usage(session: &Session, arguments: &SystemUsageArguments) -> Outcome {
    let usage = session.observer()?.disk_usage()?;
    let rows = summary(&usage);
    let text = match arguments.format.as_deref() {
        Some("json" | "{{json .}}") if !arguments.verbose => rows.iter().map(|row| format!("{row}\n")).collect(),
        Some("json" | "{{json .}}") => format!("{}\n", details(&usage)),
        Some(format) if format != "table" => template::rows(format, &rows, &HEADINGS)?,
        _ if arguments.verbose => details_text(&usage),
        _ => {
            let cell = |row: &Value, field: &str| match &row[field] {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            let cells = |row| HEADINGS.iter().map(|(field, _)| cell(row, field)).collect();
            let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
            table(&HEADINGS.map(|(_, heading)| heading), &rows)
        }
    };
    let result = if arguments.verbose { details(&usage) } else { Value::Array(rows) };
    session.output.result("system-df", &result, |_| text);
    Ok(exit::DONE)
}

/// Docker's headings of the fields of `system df`.
const HEADINGS: [(&str, &str); 5] =
    [("Type", "TYPE"), ("TotalCount", "TOTAL"), ("Active", "ACTIVE"), ("Size", "SIZE"), ("Reclaimable", "RECLAIMABLE")];

fn summary(usage: &DiskUsage) -> Vec<Value> {
    let row = |kind: &str, total: usize, active: usize, size: u64, reclaimable: u64| {
        // As in Docker of all but the build cache.
        let whole = if kind == "Build Cache" { 0 } else { size };
        let share = (reclaimable * 100).checked_div(whole).map(|percent| format!(" ({percent}%)")).unwrap_or_default();
        json!({
            "Type": kind,
            "TotalCount": total,
            "Active": active,
            "Size": human_sum(size),
            "Reclaimable": format!("{}{share}", human_sum(reclaimable)),
        })
    };
    let sum = |sizes: &mut dyn Iterator<Item = u64>| sizes.sum::<u64>();
    let stopped = |one: &&ContainerUsage| !one.view.is_active();
    let unused = |one: &&VolumeUsage| one.links == 0;
    let cached = || usage.cache.iter().filter(|entry| !entry.is_shared);
    vec![
        row("Images", usage.image_count, usage.active_image_count, usage.images_bytes, usage.images_reclaimable_bytes),
        row(
            "Containers",
            usage.containers.len(),
            usage.containers.iter().filter(|one| one.view.is_active()).count(),
            sum(&mut usage.containers.iter().map(|one| one.size_bytes)),
            sum(&mut usage.containers.iter().filter(stopped).map(|one| one.size_bytes)),
        ),
        row(
            "Local Volumes",
            usage.volumes.len(),
            usage.volumes.iter().filter(|one| one.links > 0).count(),
            sum(&mut usage.volumes.iter().map(|one| one.size_bytes)),
            sum(&mut usage.volumes.iter().filter(unused).map(|one| one.size_bytes)),
        ),
        // What images have too counts for them.
        row(
            "Build Cache",
            usage.cache.len(),
            usage.cache.iter().filter(|entry| entry.is_in_use).count(),
            sum(&mut cached().map(|entry| entry.size_bytes)),
            sum(&mut cached().filter(|entry| !entry.is_in_use).map(|entry| entry.size_bytes)),
        ),
    ]
}

fn details(usage: &DiskUsage) -> Value {
    let image = |one: &ImageUsage| {
        json!({
            "repository": one.view.repository,
            "tag": one.view.tag,
            "id": one.view.id,
            "size_bytes": one.view.size_bytes,
            "shared_bytes": one.shared_bytes,
            "unique_bytes": one.unique_bytes,
            "containers": one.containers,
            "used_by": one.used_by,
        })
    };
    let container = |one: &ContainerUsage| {
        json!({
            "id": one.view.record.id,
            "name": one.view.record.name,
            "image": one.view.record.container.image,
            "status": one.view.status(),
            "volumes": one.view.record.volumes.len(),
            "size_bytes": one.size_bytes,
        })
    };
    let volume = |one: &VolumeUsage| json!({ "name": one.name, "links": one.links, "used_by": one.used_by, "size_bytes": one.size_bytes });
    json!({
        "images": usage.images.iter().map(image).collect::<Vec<_>>(),
        "containers": usage.containers.iter().map(container).collect::<Vec<_>>(),
        "volumes": usage.volumes.iter().map(volume).collect::<Vec<_>>(),
        "build_cache": usage.cache.iter().map(builder::view).collect::<Vec<_>>(),
        "summary": summary(usage),
    })
}

fn details_text(usage: &DiskUsage) -> String {
    let image = |one: &ImageUsage| {
        let view = &one.view;
        vec![
            view.repository.clone(),
            view.tag.clone(),
            view.id.short(),
            view.age_seconds.map_or("N/A".into(), |age| format!("{} ago", human_duration(age))),
            human_size(view.size_bytes),
            human_sum(one.shared_bytes),
            human_sum(one.unique_bytes),
            one.containers.to_string(),
        ]
    };
    let container = |one: &ContainerUsage| {
        let record = &one.view.record;
        vec![
            record.short_id().to_owned(),
            record.container.image.clone(),
            ps::short_command(&one.view.command),
            record.volumes.len().to_string(),
            human_size(one.size_bytes),
            format!("{} ago", human_duration(one.view.age_seconds)),
            ps::status(&one.view),
            record.name.clone(),
        ]
    };
    let volume = |one: &VolumeUsage| vec![one.name.clone(), one.links.to_string(), human_sum(one.size_bytes)];
    let images = table(
        &["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE", "SHARED SIZE", "UNIQUE SIZE", "CONTAINERS"],
        &usage.images.iter().map(image).collect::<Vec<_>>(),
    );
    let containers = table(
        &["CONTAINER ID", "IMAGE", "COMMAND", "LOCAL VOLUMES", "SIZE", "CREATED", "STATUS", "NAMES"],
        &usage.containers.iter().map(container).collect::<Vec<_>>(),
    );
    let volumes = table(&["VOLUME NAME", "LINKS", "SIZE"], &usage.volumes.iter().map(volume).collect::<Vec<_>>());
    // Nobody keeps account of when an entry was made, and of how often it was taken.
    let entry = |one: &CacheEntry| {
        let seconds = one.used.elapsed().map_or(0, |age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        vec![
            one.id.chars().take(12).collect(),
            builder::kind(one).to_owned(),
            human_sum(one.size_bytes),
            "N/A".to_owned(),
            format!("{} ago", human_duration(seconds)),
            "N/A".to_owned(),
            one.is_shared.to_string(),
        ]
    };
    let cache = table(
        &["CACHE ID", "CACHE TYPE", "SIZE", "CREATED", "LAST USED", "USAGE", "SHARED"],
        &usage.cache.iter().map(entry).collect::<Vec<_>>(),
    );
    format!(
        "Images space usage:\n\n{images}\nContainers space usage:\n\n{containers}\nLocal Volumes space usage:\n\n{volumes}\n\
         Build cache usage: {}\n\n{cache}",
        human_sum(usage.cache.iter().filter(|entry| !entry.is_shared).map(|entry| entry.size_bytes).sum()),
    )
}
