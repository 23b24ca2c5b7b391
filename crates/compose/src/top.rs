//! Top-level networks, volumes, secrets and configs.

use std::collections::BTreeMap;

use carrack_diag::{Diagnostic, Span, Spanned};

use crate::codes;
use crate::node::{Entry, Node};
use crate::project::{Content, FileSource, Network, Subnet, Volume};
use crate::read::Reading;
use crate::schema::{self, Key};

/// What `external` says, and the name it may give (the old long form).
struct External {
    is: bool,
    name: Option<Spanned<String>>,
}

impl Reading<'_> {
    /// Reads the section `section`, each entry by `read`.
    pub(crate) fn section<T>(
        &mut self,
        root: &Node,
        section: &str,
        mut read: impl FnMut(&mut Self, &Entry, &str) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let Some(node) = root.get(section) else { return BTreeMap::new() };
        if !self.mapping_of_names(node, section) {
            return BTreeMap::new();
        }
        let mut found = BTreeMap::new();
        for entry in node.entries() {
            let path = format!("{section}.{}", entry.key.value);
            if let Some(value) = read(self, entry, &path) {
                found.insert(entry.key.value.clone(), value);
            }
        }
        found
    }

    fn mapping_of_names(&mut self, node: &Node, section: &str) -> bool {
        if !node.is_null() && node.entries().is_empty() && node.kind() != "a mapping" {
            self.wrong_type(node, section, "a mapping");
            return false;
        }
        for entry in node.entries() {
            let name = &entry.key.value;
            let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            if name.is_empty() || !name.bytes().all(valid) {
                self.invalid(entry.key.span, section, name, "names are letters, digits, `.`, `_` and `-`");
            }
        }
        true
    }

    pub(crate) fn network(&mut self, entry: &Entry, path: &str, project: &str) -> Option<Network> {
        let node = &entry.value;
        self.mapping(node, path, schema::NETWORK).then_some(())?;
        let external = self.external(node, path, schema::NETWORK);
        let ipv4 = self.boolean_of(node, path, "enable_ipv4").unwrap_or(true);
        Some(Network {
            span: Some(entry.key.span),
            name: self.platform_name(node, path, entry, &external, project),
            external: external.is,
            driver: self.filled_of(node, path, "driver"),
            driver_options: plain(self.options_of(node, path, "driver_opts")),
            internal: self.boolean_of(node, path, "internal").unwrap_or(false),
            ipv4,
            ipv6: self.boolean_of(node, path, "enable_ipv6").unwrap_or(false),
            attachable: self.boolean_of(node, path, "attachable").unwrap_or(false),
            subnets: node.get("ipam").map(|ipam| self.subnets(ipam, &format!("{path}.ipam"))).unwrap_or_default(),
            labels: self.labels_of(node, path),
        })
    }

    fn subnets(&mut self, ipam: &Node, path: &str) -> Vec<Subnet> {
        if !self.mapping(ipam, path, schema::IPAM) {
            return Vec::new();
        }
        if let Some(driver) = self.filled_of(ipam, path, "driver")
            && driver.value != "default"
        {
            self.report(
                Diagnostic::warning(&codes::NOT_YET, format!("`{path}.driver` knows `default` only"))
                    .at(driver.span, "addresses are managed by carrack itself"),
            );
        }
        let mut subnets = Vec::new();
        for config in self.items_of(ipam, path, "config") {
            let path = format!("{path}.config");
            if !self.mapping(config, &path, schema::IPAM_CONFIG) {
                continue;
            }
            let hint = "an address range is written `172.20.0.0/16`";
            let cidr = |text: &str| is_cidr(text).then(|| text.to_owned());
            subnets.push(Subnet {
                subnet: self.converted_of(config, &path, "subnet", hint, cidr),
                ip_range: self.converted_of(config, &path, "ip_range", hint, cidr),
                gateway: self.parsed_of(config, &path, "gateway", "it is an address, as `172.20.0.1`"),
                reserved: plain(self.options_of(config, &path, "aux_addresses")),
            });
        }
        subnets
    }

    pub(crate) fn volume(&mut self, entry: &Entry, path: &str, project: &str) -> Option<Volume> {
        let node = &entry.value;
        self.mapping(node, path, schema::VOLUME).then_some(())?;
        let external = self.external(node, path, schema::VOLUME);
        Some(Volume {
            span: entry.key.span,
            name: self.platform_name(node, path, entry, &external, project),
            external: external.is,
            driver: self.filled_of(node, path, "driver"),
            driver_options: plain(self.options_of(node, path, "driver_opts")),
            labels: self.labels_of(node, path),
        })
    }

    /// A secret or config, by `keys`.
    pub(crate) fn file_source(&mut self, entry: &Entry, path: &str, project: &str, keys: &[Key]) -> Option<FileSource> {
        let node = &entry.value;
        self.mapping(node, path, keys).then_some(())?;
        let external = self.external(node, path, keys);
        let name = self.platform_name(node, path, entry, &external, project);
        let labels = self.labels_of(node, path);
        let mut contents = Vec::new();
        if external.is {
            contents.push((entry.key.span, Content::External));
        }
        if let Some(file) = self.filled_of(node, path, "file") {
            let file = Spanned::new(self.absolute(&file.value, file.span), file.span);
            contents.push((file.span, Content::File(file)));
        }
        if let Some(variable) = self.filled_of(node, path, "environment") {
            contents.push((variable.span, Content::Environment(variable)));
        }
        if let Some(content) = self.text_of(node, path, "content") {
            contents.push((content.span, Content::Inline(content)));
        }
        let span = entry.key.span;
        let mut contents = contents.into_iter();
        let inline = if keys.iter().any(|(key, _)| *key == "content") { ", `content`" } else { "" };
        let hint = format!("give one of `file`, `environment`{inline} or `external: true`");
        let Some((first, content)) = contents.next() else {
            self.report(
                Diagnostic::error(&codes::INVALID_VALUE, format!("`{path}` does not say where its content comes from"))
                    .at(span, "defined here")
                    .hint(hint),
            );
            return None;
        };
        if let Some((second, _)) = contents.next() {
            self.report(
                Diagnostic::error(&codes::CONFLICTING_KEYS, format!("`{path}` has two contents"))
                    .at(second, "one here")
                    .at(first, "and one here")
                    .hint(hint),
            );
        }
        Some(FileSource { span, name, content, labels })
    }

    fn external(&mut self, node: &Node, path: &str, keys: &[Key]) -> External {
        let Some(external) = node.get("external") else { return External { is: false, name: None } };
        let external = if external.entries().is_empty() {
            External { is: self.boolean_of(node, path, "external").unwrap_or(false), name: None }
        } else {
            let path = format!("{path}.external");
            self.mapping(external, &path, schema::EXTERNAL);
            External { is: true, name: self.filled_of(external, &path, "name") }
        };
        if external.is {
            let others = node.entries().iter().filter(|entry| {
                let key = entry.key.value.as_str();
                keys.iter().any(|(known, _)| *known == key)
                    && !matches!(key, "external" | "name")
                    && !is_empty(&entry.value)
            });
            for other in others {
                let message = format!("`{path}` is external, so `{}` can't be set here", other.key.value);
                self.report(
                    Diagnostic::error(&codes::CONFLICTING_KEYS, message)
                        .at(other.key.span, "says how to make it")
                        .at(node.get("external").map_or(node.span, |node| node.span), "says that it is there already")
                        .hint("keep one of them"),
                );
            }
        }
        external
    }

    fn platform_name(
        &mut self,
        node: &Node,
        path: &str,
        entry: &Entry,
        external: &External,
        project: &str,
    ) -> Spanned<String> {
        if let Some(name) = self.filled_of(node, path, "name").or_else(|| external.name.clone()) {
            return name;
        }
        let key = &entry.key.value;
        let name = if external.is { key.clone() } else { format!("{project}_{key}") };
        Spanned::new(name, entry.key.span)
    }
}

/// The network that services join where they name none.
pub(crate) fn default_network(project: &str, span: Span) -> Network {
    Network {
        span: None,
        name: Spanned::new(format!("{project}_default"), span),
        external: false,
        driver: None,
        driver_options: BTreeMap::new(),
        internal: false,
        ipv4: true,
        ipv6: false,
        attachable: false,
        subnets: Vec::new(),
        labels: BTreeMap::new(),
    }
}

pub(crate) fn plain(options: BTreeMap<String, Spanned<String>>) -> BTreeMap<String, String> {
    options.into_iter().map(|(name, value)| (name, value.value)).collect()
}

fn is_empty(node: &Node) -> bool {
    node.is_null() || (node.as_text().is_none() && node.entries().is_empty() && node.items().is_empty())
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    match (address.parse(), bits.parse::<u8>()) {
        (Ok(std::net::IpAddr::V4(_)), Ok(bits)) => bits <= 32,
        (Ok(std::net::IpAddr::V6(_)), Ok(bits)) => bits <= 128,
        _ => false,
    }
}
