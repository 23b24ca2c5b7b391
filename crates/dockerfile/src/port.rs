//! Ports of `EXPOSE`.

/// Ports of one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The first one.
    pub first: u16,
    /// The last one, itself included.
    pub last: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// Whether the text names an address or port of the host, which an image cannot fix.
    pub has_host_part: bool,
}

/// Reads `PORT[-PORT][/PROTOCOL]`; the error says what is wrong. Docker's older `[ADDRESS:][HOST:]PORT` is understood too.
pub fn parse(text: &str) -> Result<Port, String> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, protocol)) => (ports, protocol.to_ascii_lowercase()),
        None => (text, "tcp".to_owned()),
    };
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("`{protocol}` is not a protocol: tcp, udp or sctp"));
    }
    let (has_host_part, ports) = match ports.rsplit_once(':') {
        Some((_, container)) => (true, container),
        None => (false, ports),
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(format!("the range {first}-{last} runs backwards"));
    }
    Ok(Port { first, last, protocol, has_host_part })
}

fn number(text: &str) -> Result<u16, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits => Ok(port),
        _ if digits => Err(format!("`{text}` is not between 0 and 65535")),
        _ => Err(format!("`{text}` is not a number")),
    }
}
