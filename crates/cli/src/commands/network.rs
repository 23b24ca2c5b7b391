//! `network ls`, `create`, `connect`, `disconnect`, `rm`.

use carrack_diag::{Diagnostic, Result};
use carrack_engine::NetworkView;
use serde_json::json;

use super::container::each_that;
use super::{Session, list_text};
use crate::arguments::{
    NetworkConnectArguments, NetworkCreateArguments, NetworkDisconnectArguments, NetworkListArguments,
    NetworkRmArguments,
};
use crate::filters::Filters;
use crate::output::{Outcome, exit};
use crate::template::Row;
use crate::{codes, flags, natural, network_flags};

pub(crate) fn list(session: &Session, arguments: &NetworkListArguments) -> Outcome {
    let engine = session.observer()?;
    let filters =
        Filters::parse(&arguments.filter, &["dangling", "driver", "id", "label", "name", "scope", "type"], &[])?;
    filters.check("type", &["custom", "builtin"])?;
    filters.check("scope", &["local", "global", "swarm"])?;
    let (dangling, names) = (filters.truth("dangling")?, filters.patterns("name"));
    let ids = filters.patterns("id");
    let mut networks = engine.all_networks()?;
    networks.sort_by(|left, right| natural::compare(&left.name, &right.name));
    networks.retain(|network| {
        let kind = if network.is_predefined { "builtin" } else { "custom" };
        names.matches(&network.name)
            && ids.matches(&network.id)
            && filters.any("driver", |driver| driver == network.driver)
            && filters.any("scope", |scope| scope == "local")
            && filters.any("type", |wanted| wanted == kind)
            && filters.labels(&network.wanted.labels)
    });
    if let Some(wanted) = dangling {
        let mut kept = Vec::new();
        for network in networks {
            // As in Docker the predefined ones never dangle.
            if wanted == (!network.is_predefined && !engine.is_network_used(&network.name)?) {
                kept.push(network);
            }
        }
        networks = kept;
    }
    let row = |network: &NetworkView| {
        let labels = &network.wanted.labels;
        let texts: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let fields = json!({
            "CreatedAt": go_time(&network.created),
            "Driver": network.driver,
            "ID": if arguments.no_trunc { network.id.as_str() } else { network.short_id() },
            "IPv4": "true",
            "IPv6": network.ipv6.to_string(),
            "Internal": network.internal.to_string(),
            "Labels": texts.join(","),
            "Name": network.name,
            "Scope": "local",
        });
        Row { fields, labels: labels.clone() }
    };
    let rows: Vec<Row> = networks.iter().map(row).collect();
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

/// Go's `Time.String`, to the nanosecond, of RFC 3339 in UTC.
fn go_time(text: &str) -> String {
    format!("{} +0000 UTC", text.trim_end_matches('Z').replacen('T', " ", 1))
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
        let hint = "leave --ipv4=false out: --ipv6 gives the containers addresses of both kinds";
        let what = "every network has IPv4, by whose addresses its containers are found and published";
        return error(&codes::REFUSED, what.into(), hint);
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

pub(crate) fn remove(session: &Session, arguments: &NetworkRmArguments) -> Outcome {
    let engine = session.engine()?;
    each_that(session, &arguments.names, |name| match engine.remove_network(name) {
        Err(error) if arguments.force && error.code.id == "network/unknown-network" => Ok(false),
        removed => removed.map(|()| true),
    })
}
