//! How a service is connected: namespaces, networks, names, name servers.

use std::collections::BTreeMap;

use carrack_diag::Spanned;

use crate::node::{Entry, Node, Value};
use crate::project::{NamespaceTarget, NetworkAttachment};
use crate::read::Reading;
use crate::schema;

impl Reading<'_> {
    pub(crate) fn namespace(&mut self, node: &Node, path: &str, key: &str) -> Option<Spanned<NamespaceTarget>> {
        let hint = match key {
            "network_mode" => "it is `bridge`, `host`, `none`, `service:NAME` or `container:NAME`",
            "uts" => "it is `host`",
            "cgroup" => "it is `host` or `private`",
            "ipc" => "it is `private`, `shareable`, `none`, `host`, `service:NAME` or `container:NAME`",
            _ => "it is `host`, `service:NAME` or `container:NAME`",
        };
        let network = key == "network_mode";
        let joins = matches!(key, "network_mode" | "pid" | "ipc");
        self.converted_of(node, path, key, hint, |text| match text {
            "host" => Some(NamespaceTarget::Host),
            "shareable" if key == "ipc" => Some(NamespaceTarget::Shareable),
            "private" if !network => Some(NamespaceTarget::Private),
            "bridge" | "default" if network => Some(NamespaceTarget::Private),
            "none" if network || key == "ipc" => Some(NamespaceTarget::None),
            other if joins => {
                let (kind, name) = other.split_once(':')?;
                match kind {
                    "service" if !name.is_empty() => Some(NamespaceTarget::Service(name.into())),
                    "container" if !name.is_empty() => Some(NamespaceTarget::Container(name.into())),
                    _ => None,
                }
            }
            _ => None,
        })
    }

    pub(crate) fn attachments(&mut self, node: &Node, path: &str) -> BTreeMap<String, NetworkAttachment> {
        let Some(value) = node.get("networks") else { return BTreeMap::new() };
        let path = format!("{path}.networks");
        let mut attachments = BTreeMap::new();
        match &value.value {
            Value::Null => {}
            Value::Scalar(_) => self.wrong_type(value, &path, "a list or a mapping"),
            Value::Sequence(items) => {
                for name in items.iter().filter_map(|item| self.text(item, &path)).collect::<Vec<_>>() {
                    attachments.insert(name.value, NetworkAttachment::at(name.span));
                }
            }
            Value::Mapping(entries) => {
                for entry in entries {
                    let path = format!("{path}.{}", entry.key.value);
                    if self.mapping(&entry.value, &path, schema::ATTACHMENT) {
                        let attachment = self.attachment(entry, &path);
                        attachments.insert(entry.key.value.clone(), attachment);
                    }
                }
            }
        }
        attachments
    }

    fn attachment(&mut self, entry: &Entry, path: &str) -> NetworkAttachment {
        let node = &entry.value;
        let whole = "it is a whole number";
        NetworkAttachment {
            aliases: self.list_of(node, path, "aliases", false),
            ipv4: self.parsed_of(node, path, "ipv4_address", "it is an address, as `172.20.0.10`"),
            ipv6: self.parsed_of(node, path, "ipv6_address", "it is an address, as `2001:db8::10`"),
            mac: self.filled_of(node, path, "mac_address"),
            gateway_priority: self.parsed_of(node, path, "gw_priority", whole).map_or(0, |priority| priority.value),
            priority: self.parsed_of(node, path, "priority", whole).map_or(0, |priority| priority.value),
            link_local: self.addresses_of(node, path, "link_local_ips"),
            driver_options: crate::top::plain(self.options_of(node, path, "driver_opts")),
            interface: self.filled_of(node, path, "interface_name"),
            ..NetworkAttachment::at(entry.key.span)
        }
    }

    pub(crate) fn links(&mut self, node: &Node, path: &str) -> Vec<Spanned<(String, String)>> {
        let links = self.list_of(node, path, "links", false);
        let split = |link: String| match link.split_once(':') {
            Some((service, alias)) => (service.to_owned(), alias.to_owned()),
            None => (link.clone(), link),
        };
        links.into_iter().map(|link| link.map(split)).collect()
    }

    /// `HOST=ADDRESS`, `HOST:ADDRESS`, or a mapping of hosts to one or several addresses.
    pub(crate) fn extra_hosts(&mut self, node: &Node, path: &str) -> Vec<Spanned<(String, String)>> {
        let Some(value) = node.get("extra_hosts") else { return Vec::new() };
        let path = format!("{path}.extra_hosts");
        let mut written = Vec::new();
        match &value.value {
            Value::Null => {}
            Value::Scalar(_) => self.wrong_type(value, &path, "a list or a mapping"),
            Value::Sequence(items) => {
                for item in items.iter().filter_map(|item| self.text(item, &path)).collect::<Vec<_>>() {
                    match item.value.split_once('=').or_else(|| item.value.split_once(':')) {
                        Some((host, address)) => written.push((host.to_owned(), address.to_owned(), item.span)),
                        None => self.invalid(item.span, &path, &item.value, "it is written `HOST=ADDRESS`"),
                    }
                }
            }
            Value::Mapping(entries) => {
                for entry in entries {
                    let single = std::slice::from_ref(&entry.value);
                    let addresses = if entry.value.items().is_empty() { single } else { entry.value.items() };
                    for address in addresses.iter().filter_map(|address| self.text(address, &path)).collect::<Vec<_>>()
                    {
                        written.push((entry.key.value.clone(), address.value, address.span));
                    }
                }
            }
        }
        let mut hosts = Vec::new();
        for (host, address, span) in written {
            let address = address.trim().trim_start_matches('[').trim_end_matches(']').to_owned();
            if address != "host-gateway" && address.parse::<std::net::IpAddr>().is_err() {
                self.invalid(span, &path, &address, "it is an IP address or `host-gateway`");
            }
            hosts.push(Spanned::new((host.trim().to_owned(), address), span));
        }
        hosts
    }

    pub(crate) fn name_servers(&mut self, node: &Node, path: &str) -> Vec<Spanned<std::net::IpAddr>> {
        self.addresses_of(node, path, "dns")
    }

    fn addresses_of(&mut self, node: &Node, path: &str, key: &str) -> Vec<Spanned<std::net::IpAddr>> {
        let mut addresses = Vec::new();
        for address in self.list_of(node, path, key, true) {
            match address.value.parse() {
                Ok(parsed) => addresses.push(Spanned::new(parsed, address.span)),
                Err(_) => self.invalid(address.span, &format!("{path}.{key}"), &address.value, "it is an IP address"),
            }
        }
        addresses
    }
}

impl NetworkAttachment {
    pub(crate) fn at(span: carrack_diag::Span) -> Self {
        Self {
            span,
            aliases: Vec::new(),
            ipv4: None,
            ipv6: None,
            mac: None,
            gateway_priority: 0,
            priority: 0,
            link_local: Vec::new(),
            driver_options: BTreeMap::new(),
            interface: None,
        }
    }
}
