//! `volume ls`, `create`, `rm`.

use carrack_diag::Result;

use super::Session;
use crate::arguments::{ListArguments, VolumeCreateArguments, VolumeRmArguments};
use crate::flags;
use crate::output::{Outcome, exit, table};

pub(crate) fn list(session: &Session, arguments: &ListArguments) -> Outcome {
    let names = session.observer()?.volumes()?;
    session.output.result("volumes", &names, |names| {
        if arguments.quiet {
            return names.iter().map(|name| format!("{name}\n")).collect();
        }
        let rows: Vec<Vec<String>> = names.iter().map(|name| vec!["local".to_owned(), name.clone()]).collect();
        table(&["DRIVER", "VOLUME NAME"], &rows)
    });
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
