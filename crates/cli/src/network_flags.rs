//! The flags that say which networks a container is on, and what a network is made of.

use std::collections::BTreeMap;

use carrack_diag::Result;
use carrack_specgen::container::{Attachment, NetworkMode};

use crate::arguments::{ContainerFlags, NetworkConnectArguments, NetworkCreateArguments};
use crate::flags::{self, invalid};

/// `--network` (short and long syntax) with the flags that are about the first of them: `--network-alias`, `--ip`, `--ip6`,
/// `--mac-address`, `--link-local-ip`.
pub(crate) fn networks(given: &ContainerFlags) -> Result<NetworkMode> {
    let special = given.network.iter().find_map(|value| match value.as_str() {
        "host" => Some(NetworkMode::Host),
        "none" => Some(NetworkMode::None),
        _ => value.strip_prefix("container:").map(|name| NetworkMode::Container(name.to_owned())),
    });
    if let Some(mode) = special {
        if given.network.len() > 1 {
            let wanted = "either one of host, none, container:NAME, or networks";
            return Err(invalid("--network", &given.network.join(", "), wanted));
        }
        let about_networks = [
            ("--network-alias", given.network_alias.first()),
            ("--ip", given.ip.as_ref()),
            ("--ip6", given.ip6.as_ref()),
            ("--link-local-ip", given.link_local_ip.first()),
            ("--mac-address", given.mac_address.as_ref()),
        ];
        return match about_networks.iter().find_map(|(flag, value)| Some((flag, value.as_ref()?))) {
            Some((flag, value)) => Err(invalid(flag, value, "a --network of carrack's beside it")),
            None => Ok(mode),
        };
    }
    let default = ["bridge".to_owned()];
    let values = if given.network.is_empty() { &default[..] } else { &given.network };
    let mut attachments = values.iter().map(|value| attachment(value)).collect::<Result<Vec<_>>>()?;
    for (index, attachment) in attachments.iter().enumerate() {
        if attachments.iter().take(index).any(|other| other.network == attachment.network) {
            return Err(invalid("--network", &attachment.network, "each network once"));
        }
    }
    if let Some(first) = attachments.first_mut() {
        first.aliases.extend(given.network_alias.iter().cloned());
        once("--ip", &mut first.ipv4, given.ip.as_deref(), "an IPv4 address")?;
        once("--ip6", &mut first.ipv6, given.ip6.as_deref(), "an IPv6 address")?;
        first.link_local.extend(addresses("--link-local-ip", &given.link_local_ip)?);
        if let Some(mac) = &given.mac_address {
            first.mac = Some(flags::mac(mac)?);
        }
    }
    Ok(NetworkMode::Networks(attachments))
}

/// `NAME`, or `name=NAME,alias=…,ip=…,ip6=…,mac-address=…,link-local-ip=…,driver-opt=KEY=VALUE,gw-priority=…`.
pub(crate) fn attachment(text: &str) -> Result<Attachment> {
    let named = |name: &str| if name == "default" { "bridge".to_owned() } else { name.to_owned() };
    if !text.contains('=') {
        return Ok(Attachment { network: named(text), ..Attachment::default() });
    }
    let mut attachment = Attachment::default();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => attachment.network = named(value),
            "alias" => attachment.aliases.push(value.to_owned()),
            "ip" => once("--network ip", &mut attachment.ipv4, Some(value), "an IPv4 address")?,
            "ip6" => once("--network ip6", &mut attachment.ipv6, Some(value), "an IPv6 address")?,
            "mac-address" => attachment.mac = Some(flags::mac(value)?),
            "link-local-ip" => {
                attachment.link_local.extend(addresses("--network link-local-ip", &[value.to_owned()])?);
            }
            "driver-opt" => attachment.driver_options.extend(options("--network driver-opt", &[value.to_owned()])?),
            "gw-priority" => {
                let number = || invalid("--network gw-priority", value, "a whole number");
                attachment.gateway_priority = value.parse().map_err(|_| number())?;
            }
            _ => {
                let keys = "name, alias, ip, ip6, mac-address, link-local-ip, driver-opt, gw-priority";
                return Err(invalid("--network", key, keys));
            }
        }
    }
    if attachment.network.is_empty() {
        return Err(invalid("--network", text, "name=NETWORK"));
    }
    Ok(attachment)
}

/// `network connect`.
pub(crate) fn connection(arguments: &NetworkConnectArguments) -> Result<Attachment> {
    let mut attachment = Attachment {
        aliases: arguments.alias.clone(),
        link_local: addresses("--link-local-ip", &arguments.link_local_ip)?,
        links: arguments.link.iter().map(|text| flags::link(text)).collect::<Result<_>>()?,
        gateway_priority: arguments.gw_priority,
        driver_options: options("--driver-opt", &arguments.driver_opt)?,
        ..Attachment::default()
    };
    once("--ip", &mut attachment.ipv4, arguments.ip.as_deref(), "an IPv4 address")?;
    once("--ip6", &mut attachment.ipv6, arguments.ip6.as_deref(), "an IPv6 address")?;
    Ok(attachment)
}

/// `network create`: flags of a range belong to the subnet that holds their address, as in Docker.
pub(crate) fn network(arguments: &NetworkCreateArguments) -> Result<carrack_plan::Network> {
    let mut subnets: Vec<carrack_plan::Subnet> = arguments
        .subnet
        .iter()
        .map(|subnet| carrack_plan::Subnet { subnet: subnet.clone(), ..carrack_plan::Subnet::default() })
        .collect();
    for gateway in &arguments.gateway {
        let subnet = holder(&mut subnets, "--gateway", gateway)?;
        if subnet.gateway.replace(gateway.clone()).is_some() {
            return Err(invalid("--gateway", gateway, "one gateway for each subnet"));
        }
    }
    for range in &arguments.ip_range {
        let first = range.split('/').next().unwrap_or_default();
        let subnet = holder(&mut subnets, "--ip-range", first)?;
        if subnet.ip_range.replace(range.clone()).is_some() {
            return Err(invalid("--ip-range", range, "one range for each subnet"));
        }
    }
    for (name, address) in options("--aux-address", &arguments.aux_address)? {
        holder(&mut subnets, "--aux-address", &address)?.reserved.insert(name, address);
    }
    Ok(carrack_plan::Network {
        name: arguments.name.clone(),
        internal: arguments.internal,
        attachable: arguments.attachable,
        ipv6: arguments.ipv6,
        driver_options: options("--opt", &arguments.opt)?,
        subnets,
        labels: arguments
            .label
            .iter()
            .map(|label| label.split_once('=').unwrap_or((label, "")))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect(),
        ..carrack_plan::Network::default()
    })
}

fn holder<'a>(
    subnets: &'a mut [carrack_plan::Subnet],
    flag: &str,
    address: &str,
) -> Result<&'a mut carrack_plan::Subnet> {
    let parsed: std::net::IpAddr = address.parse().map_err(|_| invalid(flag, address, "an IP address"))?;
    let holds = |subnet: &&mut carrack_plan::Subnet| {
        let range = subnet.subnet.parse::<carrack_engine::Subnet>();
        range.is_ok_and(|range| range.contains(parsed))
    };
    subnets.iter_mut().find(holds).ok_or_else(|| invalid(flag, address, "an address of a --subnet beside it"))
}

fn addresses(flag: &str, texts: &[String]) -> Result<Vec<std::net::IpAddr>> {
    texts.iter().map(|text| text.parse().map_err(|_| invalid(flag, text, "an IP address"))).collect()
}

fn options(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>> {
    let split = |text: &String| {
        let (key, value) = text.split_once('=').ok_or_else(|| invalid(flag, text, "KEY=VALUE"))?;
        Ok((key.trim().to_owned(), value.trim().to_owned()))
    };
    texts.iter().map(split).collect()
}

fn once<T: std::str::FromStr>(flag: &str, to: &mut Option<T>, text: Option<&str>, wanted: &str) -> Result<()> {
    let Some(text) = text else { return Ok(()) };
    if to.is_some() {
        return Err(invalid(flag, text, "the address once"));
    }
    *to = Some(text.parse().map_err(|_| invalid(flag, text, wanted))?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(networks: &[&str]) -> ContainerFlags {
        let mut flags = ContainerFlags::default();
        flags.network = networks.iter().map(|text| (*text).to_owned()).collect();
        flags
    }

    #[test]
    fn long_syntax_says_what_the_flags_say_and_several_networks_stand_side_by_side() {
        let text = "name=front,alias=web,alias=www,ip=10.0.0.9,ip6=fd00::9,mac-address=02-42-AC-11-00-02,\
                    link-local-ip=169.254.1.1,driver-opt=com.docker.network.endpoint.ifname=up,gw-priority=-1";
        let NetworkMode::Networks(found) = networks(&flags(&[text, "back"])).unwrap() else { panic!() };
        assert_eq!(found[0].network, "front");
        assert_eq!(found[0].aliases, ["web", "www"]);
        assert_eq!(found[0].ipv4, Some([10, 0, 0, 9].into()));
        assert_eq!(found[0].ipv6, Some("fd00::9".parse().unwrap()));
        assert_eq!(found[0].mac.as_deref(), Some("02:42:ac:11:00:02"));
        assert_eq!((found[0].link_local.len(), found[0].gateway_priority), (1, -1));
        assert_eq!(found[0].driver_options["com.docker.network.endpoint.ifname"], "up");
        assert_eq!(found[1], Attachment { network: "back".into(), ..Attachment::default() });
        for wrong in [&["name=a,color=red"][..], &["alias=x"], &["a", "name=a"], &["host", "a"], &["name=a,ip=x"]] {
            assert!(networks(&flags(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn flags_of_networks_are_refused_where_there_is_none() {
        for wrong in ["host", "name=a,ip=10.0.0.3"] {
            let mut given = flags(&[wrong]);
            given.ip = Some("10.0.0.2".into());
            assert!(networks(&given).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_said_of_a_range_belongs_to_the_subnet_that_holds_it() {
        let text = |text: &str| vec![text.to_owned()];
        let arguments = NetworkCreateArguments {
            name: "n".into(),
            ipv6: true,
            subnet: vec!["10.9.0.0/16".into(), "fd00:9::/64".into()],
            gateway: vec!["fd00:9::99".into(), "10.9.0.1".into()],
            ip_range: text("10.9.8.0/24"),
            aux_address: text("printer=10.9.0.7"),
            ..NetworkCreateArguments::default()
        };
        let network = network(&arguments).unwrap();
        assert_eq!(network.subnets[0].gateway.as_deref(), Some("10.9.0.1"));
        assert_eq!(network.subnets[0].ip_range.as_deref(), Some("10.9.8.0/24"));
        assert_eq!(network.subnets[0].reserved["printer"], "10.9.0.7");
        assert_eq!(network.subnets[1].gateway.as_deref(), Some("fd00:9::99"));
        let stray = NetworkCreateArguments { gateway: text("10.8.0.1"), ..arguments };
        assert!(super::network(&stray).is_err());
    }
}
