//! `inspect`, `port`.

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_engine::Engine;
use carrack_oci::Platform;
use serde::Serialize as _;
use serde_json::Value;

use super::stack::container_or_service;
use super::{Session, image};
use crate::arguments::{
    AnyInspectArguments, ContainerInspectArguments, ImageInspectArguments, InspectArguments, NetworkInspectArguments,
    PortArguments,
};
use crate::output::{Failure, Outcome, exit, print, table};
use crate::template::Template;
use crate::{codes, flags};

pub(crate) fn containers(session: &Session, arguments: &ContainerInspectArguments) -> Outcome {
    inspect(session, &arguments.inspect, &Asked { size: arguments.size, ..Asked::default() }, &[Kind::Container])
}

pub(crate) fn images(session: &Session, arguments: &ImageInspectArguments) -> Outcome {
    let platform = image::platform(arguments.platform.as_ref())?;
    inspect(session, &arguments.inspect, &Asked { platform, ..Asked::default() }, &[Kind::Image])
}

pub(crate) fn networks(session: &Session, arguments: &NetworkInspectArguments) -> Outcome {
    inspect(session, &arguments.inspect, &Asked::default(), &[Kind::Network])
}

pub(crate) fn volumes(session: &Session, arguments: &InspectArguments) -> Outcome {
    inspect(session, arguments, &Asked::default(), &[Kind::Volume])
}

pub(crate) fn any(session: &Session, arguments: &AnyInspectArguments) -> Outcome {
    let kinds = match arguments.kind.as_deref() {
        None => &[Kind::Container, Kind::Image, Kind::Network, Kind::Volume] as &[Kind],
        Some("container") => &[Kind::Container],
        Some("image") => &[Kind::Image],
        Some("network") => &[Kind::Network],
        Some("volume") => &[Kind::Volume],
        Some(kind @ ("config" | "node" | "plugin" | "secret" | "service" | "task")) => {
            return Err(Diagnostic::error(&codes::REFUSED, format!("--type {kind} is refused"))
                .cause("it belongs to Swarm or to plugins of Docker's daemon, which carrack has none of")
                .hint("one of container, image, network, volume")
                .into());
        }
        Some(other) => return Err(flags::invalid("--type", other, "container, image, network or volume").into()),
    };
    inspect(session, &arguments.inspect, &Asked { size: arguments.size, ..Asked::default() }, kinds)
}

/// What flags ask for beside.
#[derive(Default)]
struct Asked {
    size: bool,
    platform: Option<Platform>,
}

#[derive(Clone, Copy)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

impl Kind {
    fn inspect(self, engine: &Engine, name: &str, asked: &Asked) -> Result<Value> {
        match self {
            Self::Container => {
                let mut value = engine.inspect_container(name)?;
                if asked.size {
                    let (written, whole) = engine.container_size_bytes(&engine.container(name)?.record)?;
                    value["SizeRw"] = written.into();
                    value["SizeRootFs"] = whole.into();
                }
                Ok(value)
            }
            Self::Image => engine.inspect_image(name, asked.platform.as_ref()),
            Self::Network => engine.inspect_network(name),
            Self::Volume => engine.inspect_volume(name),
        }
    }
}

/// The first kind that has something of a name answers for it. As in Docker what was found is printed, also where something
/// else was not.
fn inspect(session: &Session, arguments: &InspectArguments, asked: &Asked, kinds: &[Kind]) -> Outcome {
    let engine = session.observer()?;
    let template = match arguments.format.as_deref() {
        None | Some("json") => None,
        Some(text) => Some(Template::of_one(text)?),
    };
    let mut found = Vec::new();
    let mut failures: Vec<Diagnostic> = Vec::new();
    for name in &arguments.names {
        let mut answers = kinds.iter().map(|kind| kind.inspect(&engine, name, asked));
        let first = answers.next().unwrap_or_else(|| Ok(Value::Null));
        match first.or_else(|error| answers.find(Result::is_ok).unwrap_or(Err(error))) {
            Ok(value) => found.push(value),
            Err(error) => failures.push(*error),
        }
    }
    if session.output.json {
        if !failures.is_empty() {
            return Err(Failure::new(failures, SourceMap::new()));
        }
        session.output.result("inspect", &found, |_| String::new());
        return Ok(exit::DONE);
    }
    match (&template, &arguments.format) {
        (Some(template), _) => {
            for value in &found {
                print(&format!("{}\n", template.fill(value)?));
            }
        }
        (None, Some(_)) => print(&format!("{}\n", Value::Array(found))),
        (None, None) => print(&indented(&Value::Array(found))),
    }
    if failures.is_empty() { Ok(exit::DONE) } else { Err(Failure::new(failures, SourceMap::new())) }
}

/// As Docker indents, by four.
pub(super) fn indented(value: &Value) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    // Plain data into memory: it can't fail.
    let _ = value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, formatter));
    String::from_utf8_lossy(&text).into_owned() + "\n"
}

pub(crate) fn port(session: &Session, arguments: &PortArguments) -> Outcome {
    if arguments.reach {
        return reach(session, arguments);
    }
    let engine = session.observer()?;
    let name = arguments.name.as_deref().unwrap_or_default();
    let view = engine.container(&container_or_service(&engine, name)?)?;
    let wanted =
        arguments.port.as_ref().map(|port| if port.contains('/') { port.clone() } else { format!("{port}/tcp") });
    let lines: Vec<String> = view
        .ports
        .iter()
        .filter_map(|port| {
            let inside = format!("{}/{}", port.container_port, port.protocol);
            let outside = address(port.address, port.host_port);
            match &wanted {
                None => Some(format!("{inside} -> {outside}")),
                Some(wanted) => (*wanted == inside).then(|| outside.to_string()),
            }
        })
        .collect();
    if let (Some(wanted), true) = (&wanted, lines.is_empty()) {
        return Err(flags::invalid("port", wanted, "a port that the container publishes").into());
    }
    session.output.result("port", &lines, |lines| lines.iter().map(|line| format!("{line}\n")).collect());
    Ok(exit::DONE)
}

/// `port --reach`.
fn reach(session: &Session, arguments: &PortArguments) -> Outcome {
    let engine = session.engine()?;
    let name = arguments.name.as_ref().map(|name| container_or_service(&engine, name)).transpose()?;
    let mut found = engine.reach(name.as_deref())?;
    if let Some(port) = &arguments.port {
        let wanted = if port.contains('/') { port.clone() } else { format!("{port}/tcp") };
        found.retain(|reach| reach.port == wanted);
    }
    session.output.result("reach", &found, |found| {
        let row = |reach: &carrack_engine::Reach| {
            [&reach.container, &reach.port, &reach.from, &reach.to, reach.reached, &reach.reason]
                .map(str::to_owned)
                .to_vec()
        };
        table(&["CONTAINER", "PORT", "FROM", "TO", "REACHED", "WHY"], &found.iter().map(row).collect::<Vec<_>>())
    });
    Ok(exit::DONE)
}

fn address(address: std::net::IpAddr, port: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::new(address, port)
}
