//! `network ls`, `create`, `rm`.

use carrack_diag::Result;
use serde_json::{Value, json};

use super::{Session, list_text, ps};
use crate::arguments::{NamesArguments, NetworkCreateArguments, NetworkListArguments};
use crate::filters::Filters;
use crate::flags;
use crate::output::{Outcome, exit};
use crate::template::Row;

pub(crate) fn list(session: &Session, arguments: &NetworkListArguments) -> Outcome {
    let engine = session.observer()?;
    let filters =
        Filters::parse(&arguments.filter, &["dangling", "driver", "id", "label", "name", "scope", "type"], &[])?;
    filters.check("type", &["custom", "builtin"])?;
    filters.check("scope", &["local", "global", "swarm"])?;
    let (dangling, names) = (filters.truth("dangling")?, filters.patterns("name"));
    let mut networks = engine.networks()?;
    networks.retain(|network| {
        let is_builtin = network.name == "bridge";
        let kind = if is_builtin { "builtin" } else { "custom" };
        names.matches(&network.name)
            && filters.any("id", |id| network.id.starts_with(id))
            && filters.any("driver", |driver| driver == "bridge")
            && filters.any("scope", |scope| scope == "local")
            && filters.any("type", |wanted| wanted == kind)
            && filters.labels(&network.wanted.labels)
    });
    let mut rows = Vec::new();
    for network in &networks {
        let shown = engine.inspect_network(&network.name)?;
        let is_used = shown["Containers"].as_object().is_some_and(|containers| !containers.is_empty());
        // As in Docker the default network never dangles.
        if dangling.is_some_and(|wanted| wanted != (!is_used && network.name != "bridge")) {
            continue;
        }
        let labels = &network.wanted.labels;
        let texts: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let fields = json!({
            "CreatedAt": ps::go_time(shown["Created"].as_str().unwrap_or_default()),
            "Driver": shown["Driver"],
            "ID": if arguments.no_trunc { network.id.as_str() } else { network.short_id() },
            "IPv4": "true",
            "IPv6": shown.get("EnableIPv6").and_then(Value::as_bool).unwrap_or(false).to_string(),
            "Internal": shown["Internal"].as_bool().unwrap_or(false).to_string(),
            "Labels": texts.join(","),
            "Name": network.name,
            "Scope": "local",
        });
        rows.push(Row { fields, labels: labels.clone() });
    }
    const HEADINGS: [(&str, &str); 9] = [
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ];
    const TABLE: &str = "table {{.ID}}\\t{{.Name}}\\t{{.Driver}}\\t{{.Scope}}";
    let text = list_text(
        &rows,
        arguments.format.as_deref(),
        arguments.quiet.then_some("{{.ID}}"),
        "networksFormat",
        TABLE,
        &HEADINGS,
    )?;
    session.output.result("networks", &networks, |_| text);
    Ok(exit::DONE)
}

pub(crate) fn create(session: &Session, arguments: &NetworkCreateArguments) -> Outcome {
    if arguments.driver != "bridge" {
        return Err(flags::invalid("--driver", &arguments.driver, "bridge").into());
    }
    let subnets = match &arguments.subnet {
        Some(subnet) => vec![carrack_plan::Subnet {
            subnet: subnet.clone(),
            gateway: arguments.gateway.map(|gateway| gateway.to_string()),
            ip_range: arguments.ip_range.clone(),
            ..carrack_plan::Subnet::default()
        }],
        None if arguments.gateway.is_some() || arguments.ip_range.is_some() => {
            return Err(flags::invalid("--gateway", "without --subnet", "--subnet CIDR beside it").into());
        }
        None => Vec::new(),
    };
    let network = carrack_plan::Network {
        name: arguments.name.clone(),
        internal: arguments.internal,
        subnets,
        labels: arguments
            .label
            .iter()
            .map(|label| label.split_once('=').unwrap_or((label, "")))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        ..carrack_plan::Network::default()
    };
    let id = session.engine()?.create_network(&network)?;
    session.output.result("network", &serde_json::json!({ "id": id }), |_| format!("{id}\n"));
    Ok(exit::DONE)
}

pub(crate) fn remove(session: &Session, arguments: &NamesArguments) -> Outcome {
    let engine = session.engine()?;
    arguments.names.iter().try_for_each(|name| -> Result<()> { engine.remove_network(name) })?;
    session.output.result("names", &arguments.names, |names| names.iter().map(|name| format!("{name}\n")).collect());
    Ok(exit::DONE)
}
