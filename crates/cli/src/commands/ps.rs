//! `ps`.

use std::collections::{BTreeMap, HashMap};

use carrack_diag::{Diagnostic, Result, SourceMap};
use carrack_engine::{ContainerView, Engine, PublishedPort};
use carrack_specgen::container::NetworkMode;
use serde_json::{Value, json};

use super::Session;
use crate::arguments::PsArguments;
use crate::filters::Filters;
use crate::output::{Outcome, exit, human_duration, human_size, print};
use crate::template::{Row, Template, quoted};
use crate::{codes, docker_config, flags};

pub(crate) fn ps(session: &Session, arguments: &PsArguments) -> Outcome {
    let engine = session.observer()?;
    let filters = filters(&arguments.filter)?;
    let last = if arguments.latest { 1 } else { usize::try_from(arguments.last).unwrap_or(0) };
    let all = arguments.all || last > 0 || filters.has("status");
    let mut views = engine.containers()?;
    views.sort_by(|left, right| right.record.created.cmp(&left.record.created));
    retain(&engine, &filters, &mut views, all)?;
    if last > 0 {
        views.truncate(last);
    }
    let format = match &arguments.format {
        Some(format) => Some(format.clone()),
        None if arguments.quiet || session.output.json => None,
        None => docker_config::format("psFormat"),
    };
    let shown = Shown { engine: &engine, cut: !arguments.no_trunc };
    if arguments.quiet && !session.output.json {
        if arguments.format.is_some() {
            let warning =
                Diagnostic::warning(&codes::INVALID_VALUE, "--format is not looked at: --quiet shows ids only");
            session.output.diagnostics(&[warning.hint("leave one of them out")], &SourceMap::new());
        }
        print(&views.iter().map(|view| format!("{}\n", shown.id(view))).collect::<String>());
        return Ok(exit::DONE);
    }
    let template = match format.as_deref() {
        None | Some("table") if arguments.size => Some(Template::of_list(&format!("{TABLE}\\t{{{{.Size}}}}"))?),
        None | Some("table") => Some(Template::of_list(TABLE)?),
        Some("json") => None,
        Some(text) => Some(Template::of_list(text)?),
    };
    // Counting what a container has written reads all of its files.
    let size = arguments.size || template.as_ref().is_some_and(|template| template.names(".Size"));
    let rows: Vec<Row> = views.iter().map(|view| shown.row(view, size)).collect::<Result<_>>()?;
    if session.output.json {
        let rows: Vec<&Value> = rows.iter().map(|row| &row.fields).collect();
        session.output.result("ps", &rows, |_| String::new());
        return Ok(exit::DONE);
    }
    print(&match template {
        Some(template) => template.lines(&rows, &HEADINGS)?,
        None => rows.iter().map(|row| row.json() + "\n").collect(),
    });
    Ok(exit::DONE)
}

const TABLE: &str =
    "table {{.ID}}\\t{{.Image}}\\t{{.Command}}\\t{{.RunningFor}}\\t{{.Status}}\\t{{.Ports}}\\t{{.Names}}";

/// Docker's headings of the fields of `ps`.
const HEADINGS: [(&str, &str); 17] = [
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
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Mounts", "MOUNTS"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
    ("Size", "SIZE"),
];

/// How containers are shown.
struct Shown<'e> {
    engine: &'e Engine,
    /// Whether ids, commands and names of mounts are cut.
    cut: bool,
}

impl Shown<'_> {
    fn id<'v>(&self, view: &'v ContainerView) -> &'v str {
        if self.cut { view.record.short_id() } else { &view.record.id }
    }

    /// The fields that `docker ps --format` has, and two of our own: Health and ExitCode.
    fn row(&self, view: &ContainerView, size: bool) -> Result<Row> {
        let cut = |text: &str, length: usize| if self.cut { ellipsis(text, length) } else { text.to_owned() };
        let labels: Vec<String> = view.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let mounts = mounts(view);
        let names: Vec<String> = mounts.iter().map(|(name, _)| cut(name, 15)).collect();
        let size = if size {
            let (written, whole) = self.engine.container_size_bytes(&view.record)?;
            format!("{} (virtual {})", human_size(written), human_size(whole))
        } else {
            human_size(0)
        };
        let fields = json!({
            "ID": self.id(view),
            "Image": view.record.container.image,
            "Command": quoted(&cut(&command(&view.command), 20)),
            "CreatedAt": go_time(&view.record.created),
            "RunningFor": format!("{} ago", human_duration(view.age_seconds)),
            "Status": status(view),
            "State": view.status(),
            "Health": view.health_word().unwrap_or_default(),
            "ExitCode": view.exit_code(),
            "Ports": ports(view),
            "Names": view.record.name,
            "Labels": labels.join(","),
            "LocalVolumes": mounts.iter().filter(|(_, is_volume)| *is_volume).count().to_string(),
            "Mounts": names.join(","),
            "Networks": networks(view).join(","),
            "Platform": view.record.container.platform,
            "Size": size,
        });
        Ok(Row { fields, labels: view.labels.clone() })
    }
}

/// The last character a dot that stands for the rest, as Docker cuts.
fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

/// A container's command as lists show it.
pub(crate) fn short_command(words: &[String]) -> String {
    quoted(&ellipsis(&command(words), 20))
}

/// Words with spaces in quotes, but for the program.
fn command(words: &[String]) -> String {
    let quote = |(index, word): (usize, &String)| match word.contains(' ') && index > 0 {
        true => format!("'{word}'"),
        false => word.clone(),
    };
    words.iter().enumerate().map(quote).collect::<Vec<_>>().join(" ")
}

/// `2026-11-21 21:27:21 +0000 UTC`, as Go prints times.
pub(crate) fn go_time(text: &str) -> String {
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time} +0000 UTC"),
        _ => text.to_owned(),
    }
}

/// Name or path of what is mounted, and whether it is a volume.
fn mounts(view: &ContainerView) -> Vec<(String, bool)> {
    let mut mounts: Vec<(String, bool)> =
        view.record.volumes.values().map(|volume| (volume.name.clone(), true)).collect();
    mounts.extend(view.binds().map(|path| (path.to_owned(), false)));
    mounts
}

/// The networks it is on, or is to be on when it starts.
fn networks(view: &ContainerView) -> Vec<String> {
    match &view.record.container.network {
        NetworkMode::Host => vec!["host".to_owned()],
        NetworkMode::None if view.networks.is_empty() => vec!["none".to_owned()],
        NetworkMode::Networks(wanted) if !view.is_active() => wanted.iter().map(|one| one.network.clone()).collect(),
        _ => view.networks.keys().cloned().collect(),
    }
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
        _ => "Dead".to_owned(),
    }
}

/// `80/tcp, 9000-9002/tcp, 127.0.0.1:8080->80/tcp`: as Docker, what follows each other is one where host and container agree.
pub(crate) fn ports(view: &ContainerView) -> String {
    display_ports(&view.ports, &view.exposed)
}

/// Address and port of the host.
type OnHost = (String, u16);
/// What ports that are shown together have in common: the host's address, and the protocol.
type Kind<'a> = (Option<&'a str>, &'a str);

fn display_ports(published: &[PublishedPort], exposed: &[String]) -> String {
    // Port, address and port of the host, protocol.
    let mut ports: Vec<(u16, Option<OnHost>, &str)> = published
        .iter()
        .map(|port| (port.container_port, Some((port.address.to_string(), port.host_port)), port.protocol.as_str()))
        .collect();
    for text in exposed {
        let Some((port, protocol)) = text.split_once('/') else { continue };
        let Ok(port) = port.parse() else { continue };
        if !published.iter().any(|other| other.container_port == port && other.protocol == protocol) {
            ports.push((port, None, protocol));
        }
    }
    ports.sort();
    ports.dedup();
    let mut groups: Vec<(Kind<'_>, u16, u16)> = Vec::new();
    let (mut out, mut moved) = (Vec::new(), Vec::new());
    let host = |address: &str, ports: &str| match address.contains(':') {
        true => format!("[{address}]:{ports}"),
        false => format!("{address}:{ports}"),
    };
    let text = |(address, protocol): Kind<'_>, first: u16, last: u16| {
        let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
        match address {
            Some(address) => format!("{}->{range}/{protocol}", host(address, &range)),
            None => format!("{range}/{protocol}"),
        }
    };
    for (port, on_host, protocol) in &ports {
        let key = match on_host {
            Some((address, host_port)) if host_port != port => {
                moved.push(format!("{}->{port}/{protocol}", host(address, &host_port.to_string())));
                continue;
            }
            Some((address, _)) => (Some(address.as_str()), *protocol),
            None => (None, *protocol),
        };
        match groups.iter_mut().find(|(known, ..)| *known == key) {
            Some((_, _, last)) if port.checked_sub(1) == Some(*last) => *last = *port,
            Some((_, first, last)) => {
                out.push(text(key, *first, *last));
                (*first, *last) = (*port, *port);
            }
            None => groups.push((key, *port, *port)),
        }
    }
    out.extend(groups.into_iter().map(|(key, first, last)| text(key, first, last)));
    out.extend(moved);
    out.join(", ")
}

const FILTERS: [&str; 13] = [
    "ancestor", "before", "exited", "expose", "health", "id", "label", "name", "network", "publish", "since", "status",
    "volume",
];

fn filters(given: &[String]) -> Result<Filters> {
    let filters = Filters::parse(
        given,
        &FILTERS,
        &[
            ("is-task", "tasks belong to Swarm, a cluster of Docker's daemons, which carrack has none of"),
            ("isolation", "it is for containers of Windows: carrack's are Linux's"),
        ],
    )?;
    filters.check("status", &["created", "running", "paused", "restarting", "removing", "exited", "dead"])?;
    filters.check("health", &["none", "starting", "healthy", "unhealthy"])?;
    Ok(filters)
}

/// Keeps what the filters ask for of containers in the order in which they were made, latest first.
fn retain(engine: &Engine, filters: &Filters, views: &mut Vec<ContainerView>, all: bool) -> Result<()> {
    // Where in the list one stands that others are compared with.
    let place = |key: &str, views: &[ContainerView]| -> Result<Option<usize>> {
        let Some(name) = filters.values(key).last() else { return Ok(None) };
        let id = engine.container(name)?.record.id;
        Ok(views.iter().position(|view| view.record.id == id))
    };
    let (before, since) = (place("before", views)?, place("since", views)?);
    let codes: Vec<i32> = filters
        .values("exited")
        .iter()
        .map(|text| {
            text.parse().map_err(|_| flags::invalid("--filter", &format!("exited={text}"), "a number: exited=137"))
        })
        .collect::<Result<_>>()?;
    let ports = |key: &str| -> Result<Vec<(u16, u16, Option<String>)>> {
        filters.values(key).iter().map(|text| port_range(key, text)).collect()
    };
    let (exposed, published) = (ports("expose")?, ports("publish")?);
    let mut ancestors = HashMap::new();
    for name in filters.values("ancestor") {
        ancestors.insert(name.as_str(), engine.image_id(name)?);
    }
    let network_ids: BTreeMap<String, String> = if filters.has("network") {
        engine.all_networks()?.into_iter().map(|network| (network.name, network.id)).collect()
    } else {
        BTreeMap::new()
    };
    let names = filters.patterns("name");
    let is_wanted = |(index, view): (usize, &ContainerView)| {
        let record = &view.record;
        let within = |port: u16, protocol: &str, ranges: &[(u16, u16, Option<String>)]| {
            ranges.iter().any(|(first, last, wanted)| {
                (*first..=*last).contains(&port) && wanted.as_deref().is_none_or(|wanted| wanted == protocol)
            })
        };
        (all || view.is_active())
            && before.is_none_or(|place| index > place)
            && since.is_none_or(|place| index < place)
            && names.matches(&record.name)
            && filters.any("id", |prefix| record.id.starts_with(prefix))
            && filters.labels(&view.labels)
            && filters.any("status", |status| view.status() == status)
            && filters.any("health", |health| view.health_word().unwrap_or("none") == health)
            && (codes.is_empty() || (view.status() == "exited" && codes.contains(&view.exit_code())))
            && filters.any("ancestor", |name| {
                record.container.image == name || ancestors.get(name).is_some_and(|id| *id == Some(record.image))
            })
            && filters.any("network", |wanted| {
                networks(view).iter().any(|name| {
                    name == wanted
                        || network_ids.get(name).is_some_and(|id| !wanted.is_empty() && id.starts_with(wanted))
                })
            })
            && filters.any("volume", |wanted| {
                view.mount_targets().any(|target| target == wanted)
                    || mounts(view).iter().any(|(name, _)| name == wanted)
            })
            && (exposed.is_empty() || view.served_ports().any(|(port, protocol)| within(port, protocol, &exposed)))
            && (published.is_empty()
                || view.ports.iter().any(|port| within(port.host_port, &port.protocol, &published)))
    };
    let kept: Vec<bool> = views.iter().enumerate().map(is_wanted).collect();
    let mut kept = kept.into_iter();
    views.retain(|_| kept.next().unwrap_or(false));
    Ok(())
}

/// `80`, `80/tcp`, `8000-8010/udp`; any protocol where none is named.
fn port_range(key: &str, text: &str) -> Result<(u16, u16, Option<String>)> {
    let wrong = || flags::invalid("--filter", &format!("{key}={text}"), "PORT[-PORT][/PROTOCOL]");
    let (range, protocol) = text.split_once('/').map_or((text, None), |(range, protocol)| (range, Some(protocol)));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
    if last < first || protocol.is_some_and(|protocol| !["tcp", "udp", "sctp"].contains(&protocol)) {
        return Err(wrong());
    }
    Ok((first, last, protocol.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_grouped_as_docker_groups_them() {
        let port = |address: &str, host_port, container_port, protocol: &str| PublishedPort {
            address: address.parse().unwrap(),
            host_port,
            container_port,
            protocol: protocol.to_owned(),
        };
        let exposed: Vec<String> =
            ["9000/tcp", "9000/udp", "9001/tcp", "9002/tcp", "9005/udp", "80/tcp"].map(str::to_owned).into();
        assert_eq!(display_ports(&[], &exposed), "80/tcp, 9000/udp, 9000-9002/tcp, 9005/udp");
        let published = [
            port("0.0.0.0", 8000, 8000, "tcp"),
            port("::", 8000, 8000, "tcp"),
            port("0.0.0.0", 8001, 8001, "tcp"),
            port("::", 8001, 8001, "tcp"),
            port("0.0.0.0", 18080, 80, "tcp"),
            port("127.0.0.1", 53, 53, "udp"),
        ];
        assert_eq!(
            display_ports(&published, &["80/tcp".to_owned(), "443/tcp".to_owned()]),
            "127.0.0.1:53->53/udp, 443/tcp, 0.0.0.0:8000-8001->8000-8001/tcp, [::]:8000-8001->8000-8001/tcp, 0.0.0.0:18080->80/tcp"
        );
    }

    #[test]
    fn commands_are_quoted_and_cut_as_docker_s() {
        let words = |words: &[&str]| command(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["sh", "-c", "exit 3"]), "sh -c 'exit 3'");
        assert_eq!(ellipsis("sh -c 'echo hello >/file; sleep 1000'", 20), "sh -c 'echo hello >…");
        assert_eq!(quoted("say \"x\"\n"), "\"say \\\"x\\\"\\n\"");
    }

    #[test]
    fn ports_of_filters_are_ranges() {
        assert_eq!(port_range("expose", "80").unwrap(), (80, 80, None));
        assert_eq!(port_range("expose", "8000-8010/udp").unwrap(), (8000, 8010, Some("udp".to_owned())));
        for wrong in ["x", "", "10-1", "80/ftp", "70000"] {
            assert!(port_range("publish", wrong).is_err(), "{wrong}");
        }
    }
}
