//! `volume ls`, `create`, `rm`.

use std::collections::{BTreeMap, BTreeSet};

use carrack_diag::Result;
use serde_json::{Value, json};

use super::{Session, list_text};
use crate::arguments::{VolumeCreateArguments, VolumeListArguments, VolumeRmArguments};
use crate::filters::Filters;
use crate::flags;
use crate::output::{Outcome, exit};
use crate::template::Row;

pub(crate) fn list(session: &Session, arguments: &VolumeListArguments) -> Outcome {
    let engine = session.observer()?;
    let filters = Filters::parse(&arguments.filter, &["dangling", "driver", "label", "name"], &[])?;
    let (dangling, wanted) = (filters.truth("dangling")?, filters.patterns("name"));
    let mut names = engine.volumes()?;
    names.retain(|name| wanted.matches(name) && filters.any("driver", |driver| driver == "local"));
    if let Some(dangling) = dangling {
        let containers = engine.containers()?;
        let volumes = containers.iter().flat_map(|view| view.record.volumes.values());
        let used: BTreeSet<&str> = volumes.map(|volume| volume.name.as_str()).collect();
        names.retain(|name| dangling != used.contains(name.as_str()));
    }
    let mut rows = Vec::new();
    for name in &names {
        let shown = engine.inspect_volume(name)?;
        let labels: BTreeMap<String, String> = shown["Labels"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect();
        let texts: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let fields = json!({
            "Availability": "N/A",
            "Driver": shown["Driver"],
            "Group": "N/A",
            "Labels": texts.join(","),
            "Links": "N/A",
            "Mountpoint": shown["Mountpoint"],
            "Name": name,
            "Scope": shown["Scope"],
            "Size": "N/A",
            "Status": "N/A",
        });
        rows.push(Row { fields, labels });
    }
    rows.retain(|row| filters.labels(&row.labels));
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
        return Err(flags::invalid("--driver", &arguments.driver, "local").into());
    }
    let labels = arguments
        .label
        .iter()
        .map(|label| label.split_once('=').unwrap_or((label, "")))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let name = session.engine()?.create_volume(arguments.name.as_deref(), labels)?;
    session.output.result("volume", &serde_json::json!({ "name": name }), |_| format!("{name}\n"));
    Ok(exit::DONE)
}

pub(crate) fn remove(session: &Session, arguments: &VolumeRmArguments) -> Outcome {
    let engine = session.engine()?;
    arguments.names.iter().try_for_each(|name| -> Result<()> { engine.remove_volume(name, arguments.force) })?;
    session.output.result("names", &arguments.names, |names| names.iter().map(|name| format!("{name}\n")).collect());
    Ok(exit::DONE)
}
