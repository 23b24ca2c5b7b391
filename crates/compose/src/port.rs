//! `ports` in both syntaxes.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use carrack_diag::{Diagnostic, Span, Spanned};

use crate::node::Node;
use crate::project::Port;
use crate::read::Reading;
use crate::{codes, schema};

/// How many ports one service may publish, ranges written out.
const MAX_PORTS: usize = 10_000;

/// As a port of the host: whichever is free.
const ANY: &str = "0";

impl Reading<'_> {
    /// `expose`: ports and ranges of the container.
    pub(crate) fn exposed(&mut self, node: &Node, path: &str) -> Vec<Spanned<String>> {
        let exposed = self.list_of(node, path, "expose", false);
        for port in &exposed {
            let (ports, name) = port.value.split_once('/').unwrap_or((&port.value, "tcp"));
            if let Err(problem) = range(ports).and_then(|_| protocol(name)) {
                let message = format!("`{path}.expose` has a malformed port: `{}`", port.value);
                self.report(
                    Diagnostic::error(&codes::MALFORMED_PORT, message)
                        .at(port.span, problem)
                        .hint("it is a port of the container, as \"8080\" or \"8080-8085/tcp\""),
                );
            }
        }
        exposed
    }

    pub(crate) fn ports(&mut self, node: &Node, path: &str) -> Vec<Port> {
        let mut ports: Vec<Port> = Vec::new();
        let mut first: HashMap<(u16, &str), Port> = HashMap::new();
        let mut seen = HashSet::new();
        for item in self.items_of(node, path, "ports") {
            let read = match item.as_text() {
                Some(text) => short(text, item.span),
                None => self.long_port(item, &format!("{path}.ports")),
            };
            match read {
                Ok(read) if ports.len() + read.len() > MAX_PORTS => {
                    let hint = format!("a service publishes at most {MAX_PORTS} ports: give a smaller range");
                    self.invalid(item.span, &format!("{path}.ports"), item.as_text().unwrap_or_default(), hint);
                    return ports;
                }
                Ok(read) => {
                    for port in read {
                        if !seen.insert((port.host_ip, port.published, port.target, port.protocol)) {
                            continue;
                        }
                        let earlier = first.entry((port.target, port.protocol)).or_insert_with(|| port.clone());
                        self.warn_of_appended(path, earlier, &port);
                        ports.push(port);
                    }
                }
                Err(problem) => {
                    let text = item.as_text().map_or(String::new(), |text| format!(": `{text}`"));
                    self.report(
                        Diagnostic::error(&codes::MALFORMED_PORT, format!("`{path}.ports` has a malformed port{text}"))
                            .at(item.span, problem)
                            .hint("a port is written `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, as \"127.0.0.1:8080:80\""),
                    );
                }
            }
        }
        ports
    }

    /// An override that means to move a port adds one (Z4).
    fn warn_of_appended(&mut self, path: &str, earlier: &Port, port: &Port) {
        let moved = earlier.span.file != port.span.file && earlier.published != port.published;
        let (Some((old, _)), Some((new, _)), true) = (earlier.published, port.published, moved) else { return };
        self.report(
            Diagnostic::warning(
                &codes::PORTS_APPENDED,
                format!("`{path}` publishes port {} of the container twice: at {old} and at {new}", port.target),
            )
            .at(port.span, "appended by this file")
            .at(earlier.span, "still published from here")
            .hint(format!("if {new} should replace {old}, write `ports: !override` here")),
        );
    }

    fn long_port(&mut self, node: &Node, path: &str) -> Result<Vec<Port>, String> {
        if !self.mapping(node, path, schema::PORT) {
            return Err("neither text nor a mapping".into());
        }
        let field = |key: &str| node.get(key).and_then(Node::as_text).filter(|text| !text.is_empty());
        let target = field("target").ok_or("a port needs a `target`")?;
        let host_ip = field("host_ip").map(address).transpose()?;
        let published = field("published").filter(|published| *published != ANY).map(range).transpose()?;
        let targets = range(target)?;
        let expanded = expand(host_ip, published, targets, protocol(field("protocol").unwrap_or("tcp"))?, node.span)?;
        let text = |key: &str| field(key).map(str::to_owned);
        Ok(expanded
            .into_iter()
            .map(|port| Port { mode: text("mode"), name: text("name"), app_protocol: text("app_protocol"), ..port })
            .collect())
    }
}

fn short(text: &str, span: Span) -> Result<Vec<Port>, String> {
    let (rest, protocol_name) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol(protocol_name)?;
    let (host, container) = match rest.rsplit_once(':') {
        Some((host, container)) => (Some(host), container),
        None => (None, rest),
    };
    let (host_ip, published) = match host {
        None => (None, None),
        Some(host) => match host.rsplit_once(':') {
            Some((ip, published)) => (Some(address(ip)?), Some(published)),
            None => (None, Some(host)),
        },
    };
    let published = match published {
        // `127.0.0.1::80` takes any port of that address.
        Some("") if host_ip.is_some() => None,
        Some(ANY) => None,
        Some("") => return Err("the host's port is missing before the `:`".into()),
        Some(published) => Some(range(published)?),
        None => None,
    };
    expand(host_ip, published, range(container)?, protocol, span)
}

fn expand(
    host_ip: Option<IpAddr>,
    published: Option<(u16, u16)>,
    targets: (u16, u16),
    protocol: &'static str,
    span: Span,
) -> Result<Vec<Port>, String> {
    let count = targets.1 - targets.0;
    if usize::from(count) >= MAX_PORTS {
        return Err(format!("a range stands for at most {MAX_PORTS} ports"));
    }
    let port = |target: u16, published: Option<(u16, u16)>| Port {
        span,
        target,
        published,
        host_ip,
        protocol,
        mode: None,
        name: None,
        app_protocol: None,
    };
    match published {
        Some((low, high)) if count > 0 && high - low != count => {
            Err(format!("{} host ports can't stand for {} of the container", u32::from(high - low) + 1, count + 1))
        }
        Some((low, _)) if count > 0 => {
            Ok((0..=count).map(|offset| port(targets.0 + offset, Some((low + offset, low + offset)))).collect())
        }
        published => Ok((0..=count).map(|offset| port(targets.0 + offset, published)).collect()),
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (number(low)?, number(high)?);
    if low > high { Err(format!("the range {text} runs backwards")) } else { Ok((low, high)) }
}

fn number(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ if digits => Err(format!("{text} is not between 1 and 65535")),
        _ if text.is_empty() => Err("a port number is missing".into()),
        _ => Err(format!("`{text}` is not a port number")),
    }
}

fn protocol(text: &str) -> Result<&'static str, String> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" => Ok("tcp"),
        "udp" => Ok("udp"),
        "sctp" => Err("SCTP is not published yet".into()),
        _ => Err(format!("`{text}` is not a protocol: tcp or udp")),
    }
}

fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map_err(|_| format!("`{text}` is not an IP address"))
}
