//! Proxies, by the scheme of what is asked for.

use std::net::IpAddr;

use ureq::{Proxy, ProxyProtocol};

/// Proxies as the environment names them.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    /// For `https://`.
    pub https: Option<String>,
    /// For `http://`.
    pub http: Option<String>,
    /// Hosts that are reached without, separated by commas.
    pub bypass: String,
}

impl Proxies {
    /// Of `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, or else of the same in lower case. An empty one is none.
    pub fn of_environment() -> Self {
        Self::of(|name| std::env::var(name).ok())
    }

    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let named = |name: &str| {
            [name.to_owned(), name.to_ascii_lowercase()]
                .iter()
                .find_map(|name| variable(name).filter(|value| !value.is_empty()))
        };
        Self { https: named("HTTPS_PROXY"), http: named("HTTP_PROXY"), bypass: named("NO_PROXY").unwrap_or_default() }
    }

    /// The proxy for an address; none where it is reached without.
    pub fn of_address(&self, scheme: &str, host: &str, port: u16) -> Option<&str> {
        let proxy = if scheme == "https" { &self.https } else { &self.http };
        let bypassed = is_loopback(host) || self.bypass.split(',').any(|entry| bypasses(entry, host, port));
        proxy.as_deref().filter(|_| !bypassed)
    }
}

/// A proxy that [`Proxies`] names.
///
/// # Errors
/// Why it can't be used, without the password that it may hold.
pub fn proxy(address: &str) -> Result<Proxy, String> {
    let scheme = address.split_once("://").map_or("http", |(scheme, _)| scheme).to_ascii_lowercase();
    if scheme.starts_with("socks") {
        return Err(format!("it is a `{scheme}://` proxy, and SOCKS is not supported: name one of HTTP"));
    }
    let malformed = || "it is not http://[USER:PASSWORD@]HOST:PORT".to_owned();
    let proxy = Proxy::new(address).map_err(|_| malformed())?;
    match proxy.protocol() {
        ProxyProtocol::Http | ProxyProtocol::Https if !proxy.host().is_empty() => Ok(proxy),
        _ => Err(malformed()),
    }
}

/// `localhost`, 127.0.0.0/8, ::1: what nobody can listen in on between.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an entry of NO_PROXY is about a host: a name with all below it, an address, a network, `*`; with a port or not.
fn bypasses(entry: &str, host: &str, port: u16) -> bool {
    let entry = entry.trim();
    if entry == "*" {
        return true;
    }
    if let (Some((network, bits)), Ok(IpAddr::V4(address))) = (entry.split_once('/'), host.parse()) {
        let parsed =
            network.parse::<std::net::Ipv4Addr>().ok().zip(bits.parse::<u32>().ok().filter(|bits| *bits <= 32));
        return parsed.is_some_and(|(network, bits)| {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            network.to_bits() & mask == address.to_bits() & mask
        });
    }
    let entry = match entry.rsplit_once(':') {
        Some((name, given)) if given.parse::<u16>().is_ok() && !name.contains(':') => {
            if given.parse() != Ok(port) {
                return false;
            }
            name
        }
        _ => entry,
    };
    let name = entry.trim_start_matches("*.").trim_start_matches('.').to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    !name.is_empty() && (host == name || host.strip_suffix(&name).is_some_and(|rest| rest.ends_with('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_by_scheme_and_leave_out_what_they_should() {
        let proxies = Proxies {
            https: Some("http://proxy:3128".into()),
            http: None,
            bypass: "lan, .corp.example,10.0.0.0/8,special.example:5000".into(),
        };
        let proxied = |host: &str, port: u16| proxies.of_address("https", host, port).is_some();
        assert!(proxied("docker.io", 443) && proxied("nolan", 443) && proxied("special.example", 443));
        for host in ["lan", "a.LAN", "x.corp.example", "10.1.2.3", "127.0.0.1", "localhost", "::1"] {
            assert!(!proxied(host, 443), "{host}");
        }
        assert!(!proxied("special.example", 5000));
        assert_eq!(proxies.of_address("http", "docker.io", 80), None);
    }

    #[test]
    fn variables_are_known_in_both_cases() {
        let of = |known: &[(&str, &str)]| {
            Proxies::of(|name| known.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        let proxies = of(&[("https_proxy", "a"), ("HTTP_PROXY", "b"), ("http_proxy", "c"), ("no_proxy", "d")]);
        assert_eq!((proxies.https.as_deref(), proxies.http.as_deref()), (Some("a"), Some("b")));
        assert_eq!(proxies.bypass, "d");
        let proxies = of(&[("HTTPS_PROXY", ""), ("https_proxy", "a"), ("ALL_PROXY", "x"), ("HTTP_PROXY", "")]);
        assert_eq!((proxies.https.as_deref(), proxies.http), (Some("a"), None));
    }

    #[test]
    fn what_is_no_proxy_of_http_is_refused_by_name() {
        for good in ["http://proxy:3128", "proxy:3128", "https://ann:s3cret@proxy"] {
            assert!(proxy(good).is_ok(), "{good}");
        }
        for scheme in ["socks5", "SOCKS5h", "socks4", "socks4a", "socks"] {
            let reason = proxy(&format!("{scheme}://ann:s3cret@proxy:1080")).unwrap_err();
            assert!(reason.contains(&scheme.to_ascii_lowercase()) && !reason.contains("s3cret"), "{reason}");
        }
        for bad in ["ftp://proxy", "http://", "http://ann:s3cret@:80", ""] {
            assert!(!proxy(bad).expect_err(bad).contains("s3cret"));
        }
    }
}
