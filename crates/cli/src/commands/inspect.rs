//! `ps`, `inspect`, `port`.

use carrack_diag::{Diagnostic, Result};
use carrack_engine::{ContainerView, Engine};
use serde_json::{Value, json};

use super::Session;
use super::stack::container_or_service;
use crate::arguments::{InspectArguments, PortArguments, PsArguments};
use crate::output::{Failure, Outcome, exit, human_duration, print, table};
use crate::{flags, template};

pub(crate) fn ps(session: &Session, arguments: &PsArguments) -> Outcome {
    let engine = session.observer()?;
    let mut views = engine.containers()?;
    // Asking for a status asks for stopped ones too, as in Docker.
    let all = arguments.all || arguments.filter.iter().any(|filter| filter.starts_with("status="));
    views.retain(|view| all || view.is_active());
    for filter in &arguments.filter {
        let wanted = Filter::parse(filter)?;
        views.retain(|view| wanted.matches(view));
    }
    views.sort_by(|left, right| right.record.created.cmp(&left.record.created));
    if session.output.json {
        let rows: Vec<Value> = views.iter().map(|view| summary(view, true)).collect();
        session.output.result("ps", &rows, |_| String::new());
        return Ok(exit::DONE);
    }
    let cut = !arguments.no_trunc;
    match arguments.format.as_deref() {
        _ if arguments.quiet => views.iter().for_each(|view| print(&format!("{}\n", id(view, cut)))),
        Some("json") => views.iter().for_each(|view| print(&format!("{}\n", summary(view, !cut)))),
        Some(text) if text != "table" => {
            let rows: Vec<Value> = views.iter().map(|view| summary(view, !cut)).collect();
            print(&template::rows(text, &rows, &HEADINGS)?);
        }
        _ => print(&containers_table(&views, cut)),
    }
    Ok(exit::DONE)
}

fn containers_table(views: &[ContainerView], cut: bool) -> String {
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            let row = summary(view, !cut);
            ["ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"]
                .map(|field| row[field].as_str().unwrap_or_default().to_owned())
                .to_vec()
        })
        .collect();
    table(&["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"], &rows)
}

/// Docker's headings of the fields of `ps`.
const HEADINGS: [(&str, &str); 13] = [
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Health", "HEALTH"),
    ("ExitCode", "EXIT CODE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Labels", "LABELS"),
    ("Networks", "NETWORKS"),
];

fn id(view: &ContainerView, cut: bool) -> &str {
    if cut { view.record.short_id() } else { &view.record.id }
}

/// The fields that `docker ps --format` has.
fn summary(view: &ContainerView, full: bool) -> Value {
    let command = view.command.join(" ");
    let command = if full || command.chars().count() <= 20 {
        command
    } else {
        format!("{}…", command.chars().take(19).collect::<String>())
    };
    let labels: Vec<String> =
        view.record.container.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "ID": id(view, !full),
        "Image": view.record.container.image,
        "Command": format!("\"{command}\""),
        "CreatedAt": view.record.created,
        "RunningFor": format!("{} ago", human_duration(view.age_seconds)),
        "Status": status(view),
        "State": view.status(),
        "Health": view.health_word().unwrap_or_default(),
        "ExitCode": view.exit_code(),
        "Ports": ports(view),
        "Names": view.record.name,
        "Labels": labels.join(","),
        "Networks": view.networks.keys().cloned().collect::<Vec<_>>().join(","),
    })
}

/// `Up 3 minutes (healthy)`, `Exited (0) 2 hours ago`, as Docker words it.
pub(crate) fn status(view: &ContainerView) -> String {
    let for_ = human_duration(view.state_seconds);
    match view.status() {
        "running" => match view.health_word() {
            Some("starting") => format!("Up {for_} (health: starting)"),
            Some(health) => format!("Up {for_} ({health})"),
            None => format!("Up {for_}"),
        },
        "paused" => format!("Up {for_} (Paused)"),
        "restarting" => format!("Restarting ({}) {for_} ago", view.exit_code()),
        "exited" => format!("Exited ({}) {for_} ago", view.exit_code()),
        "created" => "Created".to_owned(),
        other => other.to_owned(),
    }
}

/// `127.0.0.1:8080->80/tcp, 5432/tcp`
pub(crate) fn ports(view: &ContainerView) -> String {
    let mut texts: Vec<String> = view
        .ports
        .iter()
        .map(|port| format!("{}->{}/{}", address(port.address, port.host_port), port.container_port, port.protocol))
        .collect();
    texts.extend(
        view.exposed
            .iter()
            .filter(|exposed| {
                !view.ports.iter().any(|port| format!("{}/{}", port.container_port, port.protocol) == **exposed)
            })
            .cloned(),
    );
    texts.dedup();
    texts.join(", ")
}

fn address(address: std::net::IpAddr, port: u16) -> std::net::SocketAddr {
    std::net::SocketAddr::new(address, port)
}

/// `name=…`, `id=…`, `label=KEY[=VALUE]`, `status=…`, `ancestor=…`, `network=…`, `volume=…`, `health=…`.
enum Filter {
    Name(String),
    Id(String),
    Label(String, Option<String>),
    Status(String),
    Ancestor(String),
    Network(String),
    Volume(String),
    Health(String),
}

/// A word that nothing can have would hide everything without a word.
fn one_of(filter: &str, value: String, known: &[&str]) -> Result<String> {
    if known.contains(&value.as_str()) {
        return Ok(value);
    }
    Err(flags::invalid("--filter", filter, &known.join(", ")))
}

impl Filter {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            flags::invalid(
                "--filter",
                text,
                "name=, id=, label=, status=, ancestor=, network=, volume= or health= and a value",
            )
        };
        let (key, value) = text.split_once('=').ok_or_else(wrong)?;
        let value = value.to_owned();
        Ok(match key {
            "name" => Self::Name(value.trim_start_matches('/').to_owned()),
            "id" => Self::Id(value),
            "label" => match value.split_once('=') {
                Some((key, value)) => Self::Label(key.to_owned(), Some(value.to_owned())),
                None => Self::Label(value, None),
            },
            "status" => {
                Self::Status(one_of(text, value, &["created", "running", "paused", "restarting", "exited", "dead"])?)
            }
            "ancestor" => Self::Ancestor(value),
            "network" => Self::Network(value),
            "volume" => Self::Volume(value),
            "health" => Self::Health(one_of(text, value, &["starting", "healthy", "unhealthy", "none"])?),
            _ => return Err(wrong()),
        })
    }

    fn matches(&self, view: &ContainerView) -> bool {
        match self {
            Self::Name(part) => {
                // Docker's is a regular expression; anchors are the part of it that people use.
                let (start, part) = part.strip_prefix('^').map_or((false, part.as_str()), |rest| (true, rest));
                let part = part.trim_start_matches('/');
                let (end, part) = part.strip_suffix('$').map_or((false, part), |rest| (true, rest));
                let name = &view.record.name;
                match (start, end) {
                    (true, true) => name == part,
                    (true, false) => name.starts_with(part),
                    (false, true) => name.ends_with(part),
                    (false, false) => name.contains(part),
                }
            }
            Self::Id(prefix) => view.record.id.starts_with(prefix.as_str()),
            Self::Label(key, value) => match (view.record.container.labels.get(key), value) {
                (Some(_), None) => true,
                (Some(found), Some(value)) => found == value,
                (None, _) => false,
            },
            Self::Status(status) => view.status() == status,
            Self::Ancestor(image) => {
                view.record.container.image == *image || view.record.image.hex().starts_with(image.as_str())
            }
            Self::Network(name) => view.networks.contains_key(name),
            Self::Volume(name) => view.record.volumes.iter().any(|(target, used)| used.name == *name || target == name),
            Self::Health(health) => view.health_word().unwrap_or("none") == health,
        }
    }
}

pub(crate) fn containers(session: &Session, arguments: &InspectArguments) -> Outcome {
    inspect(session, arguments, &[Kind::Container])
}

pub(crate) fn images(session: &Session, arguments: &InspectArguments) -> Outcome {
    inspect(session, arguments, &[Kind::Image])
}

pub(crate) fn networks(session: &Session, arguments: &InspectArguments) -> Outcome {
    inspect(session, arguments, &[Kind::Network])
}

pub(crate) fn volumes(session: &Session, arguments: &InspectArguments) -> Outcome {
    inspect(session, arguments, &[Kind::Volume])
}

pub(crate) fn any(session: &Session, arguments: &InspectArguments) -> Outcome {
    inspect(session, arguments, &[Kind::Container, Kind::Image, Kind::Network, Kind::Volume])
}

#[derive(Clone, Copy)]
enum Kind {
    Container,
    Image,
    Network,
    Volume,
}

impl Kind {
    fn inspect(self, engine: &Engine, name: &str) -> Result<Value> {
        match self {
            Self::Container => engine.inspect_container(name),
            Self::Image => engine.inspect_image(name),
            Self::Network => engine.inspect_network(name),
            Self::Volume => engine.inspect_volume(name),
        }
    }
}

/// The first kind that has something of a name answers for it.
fn inspect(session: &Session, arguments: &InspectArguments, kinds: &[Kind]) -> Outcome {
    let engine = session.observer()?;
    let mut found = Vec::new();
    let mut failures: Vec<Diagnostic> = Vec::new();
    for name in &arguments.names {
        let mut answers = kinds.iter().map(|kind| kind.inspect(&engine, name));
        let first = answers.next().unwrap_or_else(|| Ok(Value::Null));
        match first.or_else(|error| answers.find(Result::is_ok).unwrap_or(Err(error))) {
            Ok(value) => found.push(value),
            Err(error) => failures.push(*error),
        }
    }
    if !failures.is_empty() {
        return Err(Failure::new(failures, carrack_diag::SourceMap::new()));
    }
    if session.output.json {
        session.output.result("inspect", &found, |_| String::new());
        return Ok(exit::DONE);
    }
    match arguments.format.as_deref() {
        None => print(&format!("{}\n", serde_json::to_string_pretty(&found).unwrap_or_default())),
        Some("json") => found.iter().for_each(|value| print(&format!("{value}\n"))),
        Some(text) => {
            for value in &found {
                print(&format!("{}\n", template::render(text, value)?));
            }
        }
    }
    Ok(exit::DONE)
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
