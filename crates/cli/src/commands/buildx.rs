//! `buildx ls`, `inspect`, `use`, `version`, and the names below `buildx` that mean nothing here.

use carrack_diag::{Diagnostic, Result};
use carrack_oci::Platform;
use serde_json::json;

use super::{Session, not_yet};
use crate::arguments::{BuilderInspectArguments, BuilderInstanceCommand, BuilderListArguments};
use crate::output::{Failure, Outcome, exit, print, table};
use crate::{codes, template};

/// As Docker calls the builder that is always there.
const NAME: &str = "default";

const HEADINGS: [(&str, &str); 4] =
    [("Name", "NAME/NODE"), ("DriverEndpoint", "DRIVER/ENDPOINT"), ("Status", "STATUS"), ("Platforms", "PLATFORMS")];

pub(crate) fn instance(session: &Session, command: &BuilderInstanceCommand) -> Outcome {
    match command {
        BuilderInstanceCommand::Ls(arguments) => list(session, arguments),
        BuilderInstanceCommand::Inspect(arguments) => inspect(session, arguments),
        BuilderInstanceCommand::Use(arguments) => {
            known(&arguments.name)?;
            Ok(exit::DONE)
        }
    }
}

fn list(session: &Session, arguments: &BuilderListArguments) -> Outcome {
    let rows = [json!({
        "Name": NAME,
        "DriverEndpoint": "carrack",
        "Status": "running",
        "Platforms": Platform::host().to_string(),
        "Current": true,
    })];
    let text = match arguments.format.as_deref() {
        Some("json" | "{{json .}}") => format!("{}\n", rows[0]),
        Some(format) if format != "table" => template::rows(format, &rows, &HEADINGS)?,
        _ => {
            let row = [format!("{NAME}*"), "carrack".into(), "running".into(), Platform::host().to_string()];
            table(&HEADINGS.map(|(_, heading)| heading), &[row.to_vec()])
        }
    };
    session.output.result("buildx-ls", &rows, |_| text);
    Ok(exit::DONE)
}

fn inspect(session: &Session, arguments: &BuilderInspectArguments) -> Outcome {
    arguments.name.iter().chain(&arguments.builder).try_for_each(|name| known(name))?;
    let view = json!({ "name": NAME, "driver": "carrack", "status": "running", "platforms": [Platform::host()] });
    session.output.result("buildx-inspect", &view, |_| {
        let (version, platform) = (env!("CARGO_PKG_VERSION"), Platform::host());
        format!(
            "Name:   {NAME}\nDriver: carrack\n\nNodes:\nName:      {NAME}\nStatus:    running\nCarrack version: {version}\n\
             Platforms: {platform}\n"
        )
    });
    Ok(exit::DONE)
}

/// Refuses every builder but the one there is.
pub(crate) fn known(name: &str) -> Result<()> {
    if name == NAME || name.is_empty() { Ok(()) } else { Err(one_builder(&format!("there is no builder `{name}`"))) }
}

fn one_builder(message: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::ONE_BUILDER, message)
        .cause("builds run in the command's own process: there is no builder to make, start, choose or remove")
        .hint("leave it out: `carrack build` needs none")
        .boxed()
}

/// Names below `buildx` that are no commands of the grammar.
pub(crate) fn other(words: &[String]) -> Outcome {
    match words.first().map_or("", String::as_str) {
        "version" => {
            print(&format!("carrack {}\n", env!("CARGO_PKG_VERSION")));
            Ok(exit::DONE)
        }
        verb @ ("create" | "rm" | "stop" | "dial-stdio") => {
            Err(one_builder(&format!("`carrack buildx {verb}` has nothing to act on")).into())
        }
        _ => Err::<u8, Failure>(not_yet(
            "buildx",
            words,
            "`carrack buildx build`, `du`, `prune`, `ls` and `inspect` are",
        )),
    }
}
