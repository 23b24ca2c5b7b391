//! `volume ls`, `create`, `rm`.

use std::collections::{BTreeMap, BTreeSet};

use carrack_diag::Diagnostic;
use carrack_engine::VolumeView;
use serde_json::{Value, json};

use super::container::each;
use super::{Session, list_text};
use crate::arguments::{VolumeCreateArguments, VolumeListArguments, VolumeRmArguments};
use crate::filters::Filters;
use crate::output::{Outcome, exit, human_sum};
use crate::template::Row;
use crate::{codes, docker, natural};

pub(crate) fn list(session: &Session, arguments: &VolumeListArguments) -> Outcome {
    let engine = session.observer()?;
    let filters = Filters::parse(&arguments.filter, &["dangling", "driver", "label", "name"], &[])?;
    let (dangling, wanted) = (filters.truth("dangling")?, filters.patterns("name"));
    let mut volumes = engine.volume_views()?;
    volumes.sort_by(|left, right| natural::compare(&left.name, &right.name));
    volumes.retain(|volume| {
        wanted.matches(&volume.name)
            && filters.any("driver", |driver| driver == "local")
            && filters.labels(&volume.labels)
    });
    if let Some(dangling) = dangling {
        let containers = engine.containers()?;
        let used = containers.iter().flat_map(|view| view.record.volumes.values());
        let used: BTreeSet<&str> = used.map(|volume| volume.name.as_str()).collect();
        volumes.retain(|volume| dangling != used.contains(volume.name.as_str()));
    }
    // Looked at only where it is asked for: every file of them is.
    let asks_size = |format: &str| !format.contains(':') && (format.contains(".Size") || format.contains(".Links"));
    let usage = match arguments.format.as_deref().is_some_and(asks_size) && !arguments.quiet {
        true => engine.disk_usage()?.volumes,
        false => Vec::new(),
    };
    let row = |volume: VolumeView| {
        let texts: Vec<String> = volume.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let used = usage.iter().find(|used| used.name == volume.name);
        let fields = json!({
            "Availability": "N/A",
            "Driver": "local",
            "Group": "N/A",
            "Labels": texts.join(","),
            "Links": used.map_or("N/A".to_owned(), |used| used.links.to_string()),
            "Mountpoint": volume.mountpoint,
            "Name": volume.name,
            "Scope": "local",
            "Size": used.map_or("N/A".to_owned(), |used| human_sum(used.size_bytes)),
            "Status": "N/A",
        });
        Row { fields, labels: volume.labels }
    };
    let rows: Vec<Row> = volumes.into_iter().map(row).collect();
    let names: Vec<&Value> = rows.iter().map(|row| &row.fields["Name"]).collect();
    const HEADINGS: [(&str, &str); 10] = [
        ("Driver", "DRIVER"),
        ("Name", "VOLUME NAME"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Availability", "AVAILABILITY"),
        ("Group", "GROUP"),
        ("Status", "STATUS"),
    ];
    const TABLE: &str = "table {{.Driver}}\\t{{.Name}}";
    let text = list_text(
        &rows,
        arguments.format.as_deref(),
        arguments.quiet.then_some("{{.Name}}"),
        "volumesFormat",
        TABLE,
        &HEADINGS,
    )?;
    session.output.result("volumes", &names, |_| text);
    Ok(exit::DONE)
}

pub(crate) fn create(session: &Session, arguments: &VolumeCreateArguments) -> Outcome {
    if arguments.driver != "local" {
        return Err(Diagnostic::error(&codes::REFUSED, format!("the volume driver {} is refused", arguments.driver))
            .cause(docker::reason("plugin"))
            .hint(
                "local mounts what mount(8) does: `carrack volume create -o type=nfs -o device=:/PATH -o o=addr=HOST`",
            )
            .into());
    }
    let map = |texts: &[String]| -> BTreeMap<String, String> {
        let pairs = texts.iter().map(|text| text.split_once('=').unwrap_or((text, "")));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    let (labels, options) = (map(&arguments.label), map(&arguments.opt));
    let name = session.engine()?.create_volume(arguments.name.as_deref(), labels, options)?;
    session.output.result("volume", &serde_json::json!({ "name": name }), |_| format!("{name}\n"));
    Ok(exit::DONE)
}

pub(crate) fn remove(session: &Session, arguments: &VolumeRmArguments) -> Outcome {
    let engine = session.engine()?;
    each(session, &arguments.names, |name| engine.remove_volume(name, arguments.force))
}
