//! Health probes that need no program in the image: [`Healthcheck::test`](crate::Healthcheck::test) of `["CARRACK", word, …]`.
//!
//! The first word is what is asked, the others say what is a good answer:
//!
//! ```text
//! http://[HOST][:PORT][/PATH]   status=200-399,… host=NAME redirects=N      https:// as well
//! tcp://[HOST]:PORT
//! grpc://[HOST]:PORT[/SERVICE]
//! file:///PATH                  age=DURATION
//! ```
//!
//! `exec PROGRAM ARGUMENT…` is another way to write `CMD`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// The first word of such a test.
pub const KIND: &str = "CARRACK";

/// What follows when a container becomes unhealthy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnUnhealthy {
    /// Nothing, as in Docker.
    #[default]
    Nothing,
    /// It is killed; what follows is up to its restart policy.
    Kill,
    /// It is stopped, as if somebody had.
    Stop,
    /// It is stopped and started again, with the pauses of restart policies between.
    Restart {
        /// So many times at most until somebody starts it anew; none is without bound.
        max: Option<u32>,
    },
}

impl OnUnhealthy {
    /// What can be given.
    pub const FORMS: &str = "none, kill, stop, restart or restart:N";

    /// None where the text is none of [`Self::FORMS`].
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "none" => Self::Nothing,
            "kill" => Self::Kill,
            "stop" => Self::Stop,
            "restart" => Self::Restart { max: None },
            other => Self::Restart { max: Some(other.strip_prefix("restart:")?.parse().ok().filter(|max| *max > 0)?) },
        })
    }
}

impl std::fmt::Display for OnUnhealthy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::Kill => f.write_str("kill"),
            Self::Stop => f.write_str("stop"),
            Self::Restart { max: None } => f.write_str("restart"),
            Self::Restart { max: Some(max) } => write!(f, "restart:{max}"),
        }
    }
}

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Probe {
    /// A request for a page.
    Http(HttpProbe),
    /// A connection.
    Tcp(Target),
    /// The protocol of gRPC's health checks (grpc.health.v1) without TLS.
    Grpc {
        /// Where.
        target: Target,
        /// Empty is the server as a whole.
        service: String,
    },
    /// A file in the container.
    File {
        /// Absolute.
        path: String,
        /// How long ago it may have been written at most; none is any time.
        max_age_ns: Option<u64>,
    },
}

/// Whom to connect to, in the container's network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// None is the loopback of either family: names are not resolved.
    pub address: Option<IpAddr>,
    /// TCP.
    pub port: u16,
}

/// A request for a page, and what is a good answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// Whether over TLS. The certificate is not verified: it is seldom made out to a loopback address.
    pub tls: bool,
    /// Where.
    pub target: Target,
    /// Path and query.
    pub path: String,
    /// The `Host` header, and the name that TLS asks for.
    pub host: String,
    /// First and last of each good range of status codes.
    pub statuses: Vec<(u16, u16)>,
    /// How many redirects to the same server are followed.
    pub redirects: u8,
}

impl Target {
    /// The addresses to try, in order.
    pub fn addresses(&self) -> Vec<IpAddr> {
        match self.address {
            Some(address) => vec![address],
            None => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        }
    }
}

/// The test that a probe written as one text means.
///
/// # Errors
/// What is wrong about it.
pub fn test_of(text: &str) -> Result<Vec<String>, String> {
    let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
    match words.split_first() {
        Some((first, program)) if first == "exec" => {
            if program.is_empty() {
                return Err("`exec` names no program".into());
            }
            Ok(std::iter::once("CMD".to_owned()).chain(program.iter().cloned()).collect())
        }
        _ => {
            Probe::parse(&words)?;
            Ok(std::iter::once(KIND.to_owned()).chain(words).collect())
        }
    }
}

impl Probe {
    /// From the words behind [`KIND`].
    ///
    /// # Errors
    /// What is wrong about them.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        const FORMS: &str = "it begins with http://, https://, tcp://, grpc://, file:/// or exec";
        let (url, options) = words.split_first().ok_or(FORMS)?;
        let (scheme, rest) = url.split_once("://").ok_or_else(|| format!("`{url}` is no probe: {FORMS}"))?;
        let mut options = Options::parse(options)?;
        let probe = match scheme {
            "http" | "https" => http(scheme == "https", rest, &mut options)?,
            "tcp" => match split_path(rest) {
                (authority, "") => Self::Tcp(target(authority, None)?),
                (_, path) => return Err(format!("`{path}`: a tcp probe has no path")),
            },
            "grpc" => {
                let (authority, path) = split_path(rest);
                Self::Grpc { target: target(authority, None)?, service: visible(path.trim_start_matches('/'))? }
            }
            "file" if rest.starts_with('/') && !rest.contains('\0') => {
                let max_age_ns = options.take("age").map(|text| duration_ns(&text)).transpose()?;
                Self::File { path: rest.to_owned(), max_age_ns }
            }
            "file" => return Err(format!("`{url}`: the path is absolute, file:///run/ready")),
            _ => return Err(format!("`{scheme}` is no kind of probe: {FORMS}")),
        };
        options.done(scheme)?;
        Ok(probe)
    }
}

fn http(tls: bool, rest: &str, options: &mut Options) -> Result<Probe, String> {
    let (authority, path) = split_path(rest);
    let path = path.split('#').next().unwrap_or_default();
    let target = target(authority, Some(if tls { 443 } else { 80 }))?;
    let host = match options.take("host") {
        Some(host) => visible(&host)?,
        None if authority.starts_with(':') => format!("localhost{authority}"),
        None if authority.is_empty() => "localhost".to_owned(),
        None => authority.to_owned(),
    };
    let statuses = options.take("status").unwrap_or_else(|| "200-399".into());
    let statuses = statuses.split(',').map(status_range).collect::<Result<_, _>>()?;
    let redirects = options.take("redirects").unwrap_or_else(|| "0".into());
    let redirects = redirects.parse().map_err(|_| format!("`redirects={redirects}`: a number up to 255"))?;
    let path = if path.starts_with('/') { visible(path)? } else { format!("/{}", visible(path)?) };
    Ok(Probe::Http(HttpProbe { tls, target, path, host, statuses, redirects }))
}

/// What follows the authority begins with `/` or `?`.
fn split_path(rest: &str) -> (&str, &str) {
    rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()))
}

fn target(authority: &str, default_port: Option<u16>) -> Result<Target, String> {
    let wrong_port = || format!("`{authority}`: it ends with a port, as in localhost:8080");
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => {
            (host, port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong_port)?)
        }
        _ => (authority, default_port.ok_or_else(wrong_port)?),
    };
    let address = match host {
        "" | "localhost" => None,
        _ => {
            let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let address = match bare {
                Some(bare) => bare.parse::<Ipv6Addr>().ok().map(IpAddr::from),
                None => host.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            };
            Some(address.ok_or_else(|| {
                format!(
                    "`{host}`: names are not resolved; leave it away for the container's loopback, or give an address"
                )
            })?)
        }
    };
    Ok(Target { address, port })
}

fn status_range(text: &str) -> Result<(u16, u16), String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..=599).contains(code));
    match (code(first), code(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(format!("`status={text}`: codes or ranges of them, as in 200-299,404")),
    }
}

/// Nothing that could end a line of a request.
fn visible(text: &str) -> Result<String, String> {
    match text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{}`: only visible ASCII characters", text.escape_debug())),
    }
}

/// A number with a unit.
fn duration_ns(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 4] =
        [("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000)];
    let found = UNITS.iter().find_map(|(unit, ns)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*ns)
    });
    found.ok_or_else(|| format!("`age={text}`: a number with ms, s, m or h behind it"))
}

/// `NAME=VALUE`, each at most once.
struct Options(Vec<(String, String)>);

impl Options {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut options: Vec<(String, String)> = Vec::new();
        for word in words {
            let (name, value) = word.split_once('=').ok_or_else(|| format!("`{word}`: it is NAME=VALUE"))?;
            if options.iter().any(|(known, _)| known == name) {
                return Err(format!("`{name}` is given twice"));
            }
            options.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self(options))
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.remove(place).1)
    }

    fn done(&self, scheme: &str) -> Result<(), String> {
        let known = match scheme {
            "http" | "https" => "status, host and redirects",
            "file" => "age",
            _ => "none",
        };
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!("`{name}` is no option of {scheme}: there is {known}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Probe, String> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Probe::parse(&words)
    }

    #[test]
    fn each_kind_with_its_options() {
        // H6: probes that need nothing in the image.
        let Ok(Probe::Http(http)) =
            parse("https://:8443/ready?full=1 status=200,300-302 host=shop.example redirects=2")
        else {
            panic!()
        };
        assert!(http.tls && http.redirects == 2 && http.statuses == [(200, 200), (300, 302)]);
        assert_eq!((http.path.as_str(), http.host.as_str()), ("/ready?full=1", "shop.example"));
        assert_eq!(http.target, Target { address: None, port: 8443 });
        let Ok(Probe::Http(http)) = parse("http://localhost") else { panic!() };
        assert_eq!((http.path.as_str(), http.host.as_str(), http.target.port), ("/", "localhost", 80));
        assert_eq!(http.statuses, [(200, 399)]);
        let Ok(Probe::Http(http)) = parse("http://[::1]:80?x") else { panic!() };
        assert_eq!((http.path.as_str(), http.target.addresses()), ("/?x", vec![Ipv6Addr::LOCALHOST.into()]));
        assert_eq!(parse("tcp://:5432"), Ok(Probe::Tcp(Target { address: None, port: 5432 })));
        let Ok(Probe::Grpc { target, service }) = parse("grpc://127.0.0.1:50051/shop.Cart") else { panic!() };
        assert_eq!((target.port, service.as_str()), (50051, "shop.Cart"));
        assert_eq!(
            parse("file:///run/ready age=90s"),
            Ok(Probe::File { path: "/run/ready".into(), max_age_ns: Some(90_000_000_000) })
        );
        assert_eq!(test_of("exec pg_isready -U app").unwrap(), ["CMD", "pg_isready", "-U", "app"]);
        assert_eq!(test_of(" tcp://:80 ").unwrap(), ["CARRACK", "tcp://:80"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("", "begins with"),
            ("curl localhost", "is no probe"),
            ("ftp://x", "no kind"),
            ("http://db:80/", "not resolved"),
            ("http://user@localhost/", "not resolved"),
            ("http://:0/", "port"),
            ("tcp://localhost", "port"),
            ("tcp://:80/path", "no path"),
            ("http://:80/ status=99", "status"),
            ("http://:80/ status=300-200", "status"),
            ("http://:80/ redirects=many", "redirects"),
            ("http://:80/ verify=1", "no option of http"),
            ("http://:80/ status=200 status=200", "twice"),
            ("tcp://:80 age=1s", "no option of tcp"),
            ("file://run/x", "absolute"),
            ("file:///x age=soon", "age"),
            ("http://:80/ä", "ASCII"),
        ] {
            let said = parse(text).expect_err(text);
            assert!(said.contains(part), "{text}: {said}");
        }
        assert!(test_of("exec").unwrap_err().contains("no program"));
    }

    #[test]
    fn policies_are_read_as_they_are_written() {
        let policies = ["none", "kill", "stop", "restart", "restart:3"];
        assert_eq!(policies.map(|text| OnUnhealthy::parse(text).unwrap().to_string()), policies);
        assert!(
            ["", "Restart", "restart:0", "restart:-1", "restart:x"]
                .iter()
                .all(|text| OnUnhealthy::parse(text).is_none())
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String, scheme in "(http|https|tcp|grpc|file|exec)://") {
            let _ = test_of(&text);
            let _ = test_of(&format!("{scheme}{text}"));
        }
    }
}
