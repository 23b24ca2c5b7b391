//! `network ls`, `create`, `rm`.

use carrack_diag::Result;

use super::Session;
use crate::arguments::{ListArguments, NamesArguments, NetworkCreateArguments};
use crate::flags;
use crate::output::{Outcome, exit, table};

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
