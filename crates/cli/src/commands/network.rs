//! `network ls`, `create`, `connect`, `disconnect`, `rm`.

use carrack_diag::{Diagnostic, Result};
use serde_json::{Value, json};

use super::{Session, list_text, ps};
use crate::arguments::{
    NamesArguments, NetworkConnectArguments, NetworkCreateArguments, NetworkDisconnectArguments, NetworkListArguments,
};
use crate::filters::Filters;
use crate::output::{Outcome, exit};
use crate::template::Row;
use crate::{codes, flags, network_flags};

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
    refuse(arguments)?;
    let id = session.engine()?.create_new_network(&network_flags::network(arguments)?)?;
    session.output.result("network", &serde_json::json!({ "id": id }), |_| format!("{id}\n"));
    Ok(exit::DONE)
}

/// What can be asked of Docker and not of carrack, with the reason.
fn refuse(arguments: &NetworkCreateArguments) -> Result<()> {
    let error = |code, what: String, hint: &'static str| {
        let message = format!("network {}: {what}", arguments.name);
        Err(Diagnostic::error(code, message).hint(hint).boxed())
    };
    match arguments.driver.as_str() {
        "bridge" => {}
        driver @ ("macvlan" | "ipvlan") => {
            return error(&codes::NOT_YET, format!("the driver {driver} is not there yet"), "use the driver bridge");
        }
        "overlay" => {
            let hint = "an overlay spans the hosts of a Swarm; on one host a bridge does the same";
            return error(&codes::USAGE, "the driver overlay is refused".into(), hint);
        }
        driver @ ("host" | "none" | "null") => {
            let hint = "use it as it is: `carrack run --network host`, `--network none`";
            return error(&codes::USAGE, format!("there is one network of the driver {driver} already"), hint);
        }
        other => return Err(flags::invalid("--driver", other, "bridge")),
    }
    if arguments.scope != "local" {
        return error(
            &codes::USAGE,
            format!("the scope {} is refused", arguments.scope),
            "only Swarm has others than local",
        );
    }
    if !arguments.ipv4 {
        return error(&codes::NOT_YET, "a network without IPv4 is not there yet".into(), "leave --ipv4=false out");
    }
    if arguments.ipam_driver != "default" {
        return Err(flags::invalid("--ipam-driver", &arguments.ipam_driver, "default"));
    }
    match arguments.ipam_opt.first() {
        Some(option) => Err(flags::invalid("--ipam-opt", option, "nothing: the driver default has no options")),
        None => Ok(()),
    }
}

pub(crate) fn connect(session: &Session, arguments: &NetworkConnectArguments) -> Outcome {
    let attachment = network_flags::connection(arguments)?;
    session.engine()?.connect_network(&arguments.network, &arguments.container, attachment)?;
    session.output.result("connect", &serde_json::json!({}), |_| String::new());
    Ok(exit::DONE)
}

pub(crate) fn disconnect(session: &Session, arguments: &NetworkDisconnectArguments) -> Outcome {
    session.engine()?.disconnect_network(&arguments.network, &arguments.container, arguments.force)?;
    session.output.result("disconnect", &serde_json::json!({}), |_| String::new());
    Ok(exit::DONE)
}

pub(crate) fn remove(session: &Session, arguments: &NamesArguments) -> Outcome {
    let engine = session.engine()?;
    arguments.names.iter().try_for_each(|name| -> Result<()> { engine.remove_network(name) })?;
    session.output.result("names", &arguments.names, |names| names.iter().map(|name| format!("{name}\n")).collect());
    Ok(exit::DONE)
}
