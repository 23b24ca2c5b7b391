//! `network ls`, `create`, `connect`, `disconnect`, `rm`.

use carrack_diag::{Diagnostic, Result};

use super::Session;
use crate::arguments::{
    ListArguments, NamesArguments, NetworkConnectArguments, NetworkCreateArguments, NetworkDisconnectArguments,
};
use crate::output::{Outcome, exit, table};
use crate::{codes, flags, network_flags};

pub(crate) fn list(session: &Session, arguments: &ListArguments) -> Outcome {
    let networks = session.observer()?.networks()?;
    session.output.result("networks", &networks, |networks| {
        if arguments.quiet {
            return networks.iter().map(|network| format!("{}\n", network.short_id())).collect();
        }
        let rows: Vec<Vec<String>> = networks
            .iter()
            .map(|network| vec![network.short_id().to_owned(), network.name.clone(), "bridge".into(), "local".into()])
            .collect();
        table(&["NETWORK ID", "NAME", "DRIVER", "SCOPE"], &rows)
    });
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
