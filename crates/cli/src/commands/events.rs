//! `events`: what happens on the root, as it happens.

use carrack_diag::Result;
use carrack_engine::{Event, EventSpan};
use serde_json::{Value, json};

use super::Session;
use crate::arguments::EventsArguments;
use crate::filters::no_filter;
use crate::output::{Outcome, exit, print};
use crate::{flags, template};

pub(crate) fn events(session: &Session, arguments: &EventsArguments) -> Outcome {
    let now = jiff::Timestamp::now();
    let time = |flag: &str, text: &Option<String>| text.as_deref().map(|text| flags::time(flag, text, now)).transpose();
    let span = EventSpan { since: time("--since", &arguments.since)?, until: time("--until", &arguments.until)? };
    let filters: Vec<Filter> = arguments.filter.iter().map(|text| Filter::parse(text)).collect::<Result<_>>()?;
    if let Some(format) = own_template(arguments) {
        // Told now, and not when something happens at last.
        template::render(format, &fields(&Event::default()))?;
    }
    let mut failed = None;
    session.observer()?.events(span, &mut |event| {
        if !admits(&filters, &event) {
            return true;
        }
        if session.output.json {
            session.output.result("event", &docker(&event), |_| String::new());
            return true;
        }
        match line(&event, arguments) {
            Ok(line) => print(&format!("{line}\n")),
            Err(error) => failed = Some(error),
        }
        failed.is_none()
    })?;
    failed.map_or(Ok(exit::DONE), |error| Err(error.into()))
}

fn own_template(arguments: &EventsArguments) -> Option<&str> {
    arguments.format.as_deref().filter(|format| !matches!(*format, "json" | "{{json .}}"))
}

fn line(event: &Event, arguments: &EventsArguments) -> Result<String> {
    if let Some(format) = own_template(arguments) {
        return template::render(format, &fields(event));
    }
    if arguments.format.is_some() {
        return Ok(docker(event).to_string());
    }
    let attributes: Vec<String> =
        event.attributes.iter().map(|(key, value)| format!("{}={}", shown(key), shown(value))).collect();
    let attributes = if attributes.is_empty() { String::new() } else { format!(" ({})", attributes.join(", ")) };
    Ok(format!("{} {} {} {}{attributes}", local_time(&event.time), event.kind, shown(&event.action), shown(&event.id)))
}

/// One event a line, whatever a label or an argument holds.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// In the caller's zone, with nine digits of the second, as Docker has it.
fn local_time(text: &str) -> String {
    let Ok(time) = text.parse::<jiff::Timestamp>() else { return text.to_owned() };
    let local = time.to_zoned(jiff::tz::TimeZone::system());
    let zone = if local.offset().is_zero() { "Z".to_owned() } else { local.strftime("%:z").to_string() };
    format!("{}{zone}", local.strftime("%Y-%m-%dT%H:%M:%S.%9f"))
}

fn unix_ns(event: &Event) -> i64 {
    let time = event.time.parse::<jiff::Timestamp>().unwrap_or_default();
    i64::try_from(time.as_nanosecond()).unwrap_or_default()
}

/// As Docker's Engine API writes it: the old fields too where it still has them.
fn docker(event: &Event) -> Value {
    let mut value = json!({
        "Type": event.kind,
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": event.attributes },
        "scope": "local",
        "time": unix_ns(event) / 1_000_000_000,
        "timeNano": unix_ns(event),
    });
    if matches!(event.kind.as_str(), "container" | "image") {
        value["status"] = event.action.clone().into();
        value["id"] = event.id.clone().into();
    }
    if let Some(image) = event.attributes.get("image").filter(|_| event.kind == "container") {
        value["from"] = image.clone().into();
    }
    value
}

/// The fields of a template, by the names that Docker's have there.
fn fields(event: &Event) -> Value {
    let is_old = matches!(event.kind.as_str(), "container" | "image");
    let image = event.attributes.get("image").filter(|_| event.kind == "container");
    json!({
        "Type": event.kind,
        "Action": event.action,
        "Actor": { "ID": event.id, "Attributes": event.attributes },
        "Scope": "local",
        "Status": if is_old { event.action.as_str() } else { "" },
        "ID": if is_old { event.id.as_str() } else { "" },
        "From": image.map_or("", String::as_str),
        "Time": unix_ns(event) / 1_000_000_000,
        "TimeNano": unix_ns(event),
    })
}

/// `KEY=VALUE` of `--filter`.
struct Filter {
    key: String,
    value: String,
}

/// Docker's kinds of objects that exist with Swarm and plugins only: they are filters that nothing passes.
const ABSENT: [&str; 6] = ["config", "daemon", "node", "plugin", "secret", "service"];

impl Filter {
    fn parse(text: &str) -> Result<Self> {
        const KEYS: [&str; 8] = ["container", "event", "image", "label", "network", "scope", "type", "volume"];
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        let (key, value) = (key.trim().to_lowercase(), value.trim().to_owned());
        if value.is_empty() || !(KEYS.contains(&key.as_str()) || ABSENT.contains(&key.as_str())) {
            let form = "container=, event=, image=, label=, network=, scope=, type= or volume= with a value";
            let is_filter = text.contains('=');
            return Err(if is_filter { flags::invalid("--filter", text, form) } else { no_filter(text, form) });
        }
        Ok(Self { key, value })
    }

    fn admits(&self, event: &Event) -> bool {
        let wanted = self.value.as_str();
        let named = || event.attributes.get("name").map_or("", String::as_str);
        match self.key.as_str() {
            "type" => event.kind == wanted,
            "scope" => wanted == "local",
            // Those with more behind a colon are meant by what stands before it.
            "event" => {
                event.action == wanted || event.action.split_once(": ").is_some_and(|(action, _)| action == wanted)
            }
            "label" => {
                let (key, value) = wanted.split_once('=').map_or((wanted, None), |(key, value)| (key, Some(value)));
                event.attributes.get(key).is_some_and(|has| value.is_none_or(|value| value == has))
            }
            "image" => {
                let name = event.attributes.get(if event.kind == "image" { "name" } else { "image" });
                let name = name.map_or("", String::as_str);
                [event.id.as_str(), name, without_tag(&event.id), without_tag(name)].contains(&wanted)
            }
            // Docker's beginnings of ids and names; `name` says what it is a name of.
            "container" | "network" | "volume" => {
                event.kind == self.key && (event.id.starts_with(wanted) || named().starts_with(wanted))
            }
            _ => false,
        }
    }
}

/// The same key twice is either of both, another key is a further condition; labels are all conditions.
fn admits(filters: &[Filter], event: &Event) -> bool {
    filters.iter().all(|filter| {
        let alike = filters.iter().filter(|other| other.key == filter.key && filter.key != "label");
        filter.admits(event) || alike.into_iter().any(|other| other.admits(event))
    })
}

fn without_tag(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, action: &str, attributes: &[(&str, &str)]) -> Event {
        Event {
            time: "2026-11-21T21:12:33.7179178Z".into(),
            kind: kind.into(),
            action: action.into(),
            id: "74aa09".into(),
            attributes: attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    #[test]
    fn filters_are_docker_s() {
        let start =
            event("container", "exec_create: sh -c true", &[("image", "a.io/b:1"), ("name", "web"), ("l", "1")]);
        for (filters, passes) in [
            (vec![], true),
            (vec!["type=container"], true),
            (vec!["type=image"], false),
            (vec!["type=image", "type=container"], true),
            (vec!["event=exec_create"], true),
            (vec!["event=exec"], false),
            (vec!["container=we"], true),
            (vec!["container=74a"], true),
            (vec!["volume=we"], false),
            (vec!["image=a.io/b"], true),
            (vec!["image=a.io/b:1"], true),
            (vec!["image=a.io"], false),
            (vec!["label=l", "label=l=1"], true),
            (vec!["label=l=1", "label=m"], false),
            (vec!["scope=swarm"], false),
            (vec!["daemon=x"], false),
            (vec!["type=container", "event=die"], false),
        ] {
            let parsed: Vec<Filter> = filters.iter().map(|text| Filter::parse(text).unwrap()).collect();
            assert_eq!(admits(&parsed, &start), passes, "{filters:?}");
        }
        for wrong in ["", "type", "type=", "colour=red"] {
            let code = if wrong.contains('=') { "cli/invalid-value" } else { "cli/no-filter" };
            assert_eq!(Filter::parse(wrong).err().unwrap().code.id, code, "{wrong}");
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let arguments = EventsArguments { since: None, until: None, filter: Vec::new(), format: None };
        let text = line(&event("container", "exec_start: a\nb", &[("l", "\u{1b}[0m\n")]), &arguments).unwrap();
        assert!(text.ends_with(" container exec_start: a\\nb 74aa09 (l=\\u{1b}[0m\\n)"), "{text}");
        let arguments = EventsArguments { format: Some("json".into()), ..arguments };
        let value: Value = serde_json::from_str(&line(&event("volume", "mount", &[]), &arguments).unwrap()).unwrap();
        assert_eq!(value["timeNano"], 1_795_295_553_717_917_800_i64);
        assert!(value.get("status").is_none() && value.get("id").is_none());
    }
}
