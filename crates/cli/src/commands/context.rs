//! `context`: the one there is.

use carrack_diag::Diagnostic;
use serde_json::{Value, json};

use super::{Session, inspect};
use crate::arguments::{ContextCommand, ContextInspectArguments, ContextListArguments};
use crate::output::{Outcome, exit, print, table};
use crate::template::{Row, Template};
use crate::{codes, docker};

/// The one context's name, as Docker's.
const NAME: &str = "default";

pub(crate) fn run(session: &Session, command: &ContextCommand) -> Outcome {
    match command {
        ContextCommand::Ls(arguments) => list(session, arguments),
        ContextCommand::Inspect(arguments) => show(session, arguments),
        ContextCommand::Show => {
            session.output.result("context", &json!({ "name": NAME }), |_| format!("{NAME}\n"));
            Ok(exit::DONE)
        }
        ContextCommand::Use(arguments) => {
            known(&arguments.name)?;
            session.output.result("context", &json!({ "name": NAME }), |_| format!("{NAME}\n"));
            Ok(exit::DONE)
        }
    }
}

fn list(session: &Session, arguments: &ContextListArguments) -> Outcome {
    let row = Row {
        fields: json!({
            "Name": NAME,
            "Current": true,
            "Description": "This host, without a daemon",
            "DockerEndpoint": "",
            "Error": "",
        }),
        ..Row::default()
    };
    const HEADINGS: [(&str, &str); 5] = [
        ("Name", "NAME"),
        ("Current", "CURRENT"),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
    ];
    let text = match arguments.format.as_deref() {
        _ if arguments.quiet => format!("{NAME}\n"),
        Some("json") => row.json() + "\n",
        Some(format) if format != "table" => Template::of_list(format)?.lines(std::slice::from_ref(&row), &HEADINGS)?,
        _ => {
            let fields = |field: &str| row.fields[field].as_str().unwrap_or_default().to_owned();
            let cells = vec![format!("{NAME} *"), fields("Description"), String::new(), String::new()];
            table(&["NAME", "DESCRIPTION", "DOCKER ENDPOINT", "ERROR"], &[cells])
        }
    };
    session.output.result("contexts", &[&row.fields], |_| text);
    Ok(exit::DONE)
}

fn show(session: &Session, arguments: &ContextInspectArguments) -> Outcome {
    for name in &arguments.names {
        known(name)?;
    }
    let one = json!({ "Name": NAME, "Metadata": {}, "Endpoints": {}, "TLSMaterial": {}, "Storage": {} });
    let all: Vec<Value> = std::iter::repeat_n(one, arguments.names.len().max(1)).collect();
    if session.output.json {
        session.output.result("context", &all, |_| String::new());
        return Ok(exit::DONE);
    }
    match arguments.format.as_deref() {
        None => print(&inspect::indented(&Value::Array(all))),
        Some("json") => print(&format!("{}\n", Value::Array(all))),
        Some(text) => {
            let template = Template::of_one(text)?;
            for one in &all {
                print(&format!("{}\n", template.fill(one)?));
            }
        }
    }
    Ok(exit::DONE)
}

/// Refuses every context but the one there is.
fn known(name: &str) -> Result<(), Diagnostic> {
    if name == NAME {
        return Ok(());
    }
    Err(Diagnostic::error(&codes::REFUSED, format!("there is no context `{name}`"))
        .cause(docker::reason("daemon"))
        .hint("the one context is called `default`"))
}
