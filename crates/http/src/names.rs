//! Names to addresses by `/etc/hosts` and `/etc/resolv.conf` (RFC 1035, resolv.conf(5)), without the C library, whose
//! look-ups a static program can't rely on.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;
use ureq::{Error, Timeout};

/// How a name server's port is called where nobody says another.
const PORT: u16 = 53;
/// More servers than this are not asked, as in the C library.
const SERVERS_MAX: usize = 3;
/// As many as ureq takes.
const ADDRESSES_MAX: usize = 16;
/// A datagram is never larger.
const MESSAGE_MAX: usize = 65_535;

/// Looks names up.
#[derive(Debug)]
pub struct Names {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    port: u16,
}

impl Default for Names {
    fn default() -> Self {
        Self { hosts: "/etc/hosts".into(), resolv_conf: "/etc/resolv.conf".into(), port: PORT }
    }
}

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let authority = uri.authority().ok_or_else(|| Error::BadUri(uri.to_string()))?;
        let default = if uri.scheme_str() == Some("https") { 443 } else { 80 };
        let port = authority.port_u16().unwrap_or(default);
        let bound = timeout.not_zero().map_or(Duration::from_secs(60), |bound| *bound);
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let mut resolved = self.empty();
        for address in self.addresses(host, Instant::now() + bound)?.into_iter().take(ADDRESSES_MAX) {
            resolved.push(SocketAddr::new(address, port));
        }
        if resolved.is_empty() { Err(Error::HostNotFound) } else { Ok(resolved) }
    }
}

/// What `/etc/resolv.conf` says.
#[derive(Debug, PartialEq, Eq)]
struct Resolvers {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    dots: usize,
    patience: Duration,
    attempts: u32,
}

/// A server's word on a name.
enum Answer {
    Addresses(Vec<IpAddr>),
    Truncated,
    /// It does not know, and another may.
    Failure,
}

impl Names {
    fn addresses(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, Error> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let known = from_hosts(&std::fs::read_to_string(&self.hosts).unwrap_or_default(), &name);
        if !known.is_empty() {
            return Ok(known);
        }
        // RFC 6761: never a question for a server.
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let resolvers = Resolvers::read(&std::fs::read_to_string(&self.resolv_conf).unwrap_or_default());
        for candidate in resolvers.candidates(host) {
            let Some(question) = encode(&candidate) else { continue };
            let found = self.ask_all(&resolvers, &question, deadline)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }

    /// Addresses from the first server that knows about the name; none where it knows that there are none.
    fn ask_all(&self, resolvers: &Resolvers, question: &[u8], deadline: Instant) -> Result<Vec<IpAddr>, Error> {
        for _ in 0..resolvers.attempts {
            for server in &resolvers.servers {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(Error::Timeout(Timeout::Resolve));
                }
                let until = Instant::now() + left.min(resolvers.patience);
                // What goes wrong with one server is no word on the name.
                if let Ok(Some(found)) = ask(SocketAddr::new(*server, self.port), question, until) {
                    return Ok(found);
                }
            }
        }
        match deadline.saturating_duration_since(Instant::now()).is_zero() {
            true => Err(Error::Timeout(Timeout::Resolve)),
            false => Ok(Vec::new()),
        }
    }
}

impl Resolvers {
    fn read(text: &str) -> Self {
        let mut read =
            Self { servers: Vec::new(), search: Vec::new(), dots: 1, patience: Duration::from_secs(5), attempts: 2 };
        for line in text.lines() {
            let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty());
            match words.next() {
                Some("nameserver") => {
                    // A zone of a link-local address is not for this socket to choose.
                    let address = words.next().and_then(|address| address.split('%').next()?.parse().ok());
                    if read.servers.len() < SERVERS_MAX {
                        read.servers.extend::<Option<IpAddr>>(address);
                    }
                }
                Some("search" | "domain") => {
                    read.search = words.map(|domain| domain.trim_matches('.').to_owned()).collect();
                }
                Some("options") => {
                    for (name, value) in words.filter_map(|option| option.split_once(':')) {
                        match (name, value.parse::<u32>()) {
                            ("ndots", Ok(dots)) => read.dots = dots.min(15) as usize,
                            ("timeout", Ok(seconds)) => {
                                read.patience = Duration::from_secs(seconds.clamp(1, 30).into())
                            }
                            ("attempts", Ok(attempts)) => read.attempts = attempts.clamp(1, 5),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        if read.servers.is_empty() {
            read.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        read
    }

    /// The name itself and below the domains of the search list, in the order that its dots ask for.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let mut candidates: Vec<String> = self.search.iter().map(|domain| format!("{host}.{domain}")).collect();
        let is_first = host.matches('.').count() >= self.dots;
        candidates.insert(if is_first { 0 } else { candidates.len() }, host.to_owned());
        candidates
    }
}

fn from_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next().and_then(|address| address.parse().ok()) else { continue };
        if words.any(|known| known.eq_ignore_ascii_case(name)) && !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// A name as it stands in a message; none where it can't.
fn encode(name: &str) -> Option<Vec<u8>> {
    let mut encoded = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        encoded.push(length);
        encoded.extend_from_slice(label.as_bytes());
    }
    encoded.push(0);
    (encoded.len() <= 255).then_some(encoded)
}

const A: u16 = 1;
const AAAA: u16 = 28;

/// Asks one server for both kinds of address; none where it does not know.
fn ask(server: SocketAddr, name: &[u8], until: Instant) -> io::Result<Option<Vec<IpAddr>>> {
    let own: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own)?;
    // From then on only what the server sends is received.
    socket.connect(server)?;
    let mut open = Vec::new();
    for kind in [A, AAAA] {
        let question = question(name, kind)?;
        socket.send(&question)?;
        open.push((kind, question));
    }
    let mut found: Vec<(u16, Vec<IpAddr>)> = Vec::new();
    let mut buffer = vec![0; MESSAGE_MAX];
    while !open.is_empty() {
        socket.set_read_timeout(Some(left(until)?))?;
        let count = socket.recv(&mut buffer)?;
        let message = &buffer[..count];
        let Some(place) = open.iter().position(|(_, question)| is_answer(message, question)) else { continue };
        let (kind, question) = open.swap_remove(place);
        match read_answer(message) {
            Answer::Addresses(addresses) => found.push((kind, addresses)),
            Answer::Failure => return Ok(None),
            Answer::Truncated => match read_answer(&ask_by_tcp(server, &question, until)?) {
                Answer::Addresses(addresses) => found.push((kind, addresses)),
                _ => return Ok(None),
            },
        }
    }
    // Where both work, the way over version 4 is there more often.
    found.sort_by_key(|(kind, _)| *kind);
    Ok(Some(found.into_iter().flat_map(|(_, addresses)| addresses).collect()))
}

fn ask_by_tcp(server: SocketAddr, question: &[u8], until: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, left(until)?)?;
    stream.set_write_timeout(Some(left(until)?))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    stream.set_read_timeout(Some(left(until)?))?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message)?;
    if is_answer(&message, question) { Ok(message) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// A message with one question, recursion desired, under a number that nobody can guess.
fn question(name: &[u8], kind: u16) -> io::Result<Vec<u8>> {
    let mut id = [0; 2];
    getrandom(&mut id, GetRandomFlags::empty())?;
    let mut message = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(name);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&1_u16.to_be_bytes());
    Ok(message)
}

/// Whether a message answers a question: its number, and the question again.
fn is_answer(message: &[u8], question: &[u8]) -> bool {
    let repeated = message.get(12..question.len());
    message.get(..2) == question.get(..2)
        && message.get(2).is_some_and(|flags| flags & 0x80 != 0)
        && repeated.is_some_and(|repeated| repeated.eq_ignore_ascii_case(&question[12..]))
}

/// A target of `fuzz/`: an answer has no more addresses than it has bytes for.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    if let Answer::Addresses(addresses) = read_answer(data) {
        assert!(addresses.len() * 14 <= data.len());
    }
    let _ = is_answer(data, b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01");
    let resolvers = Resolvers::read(&String::from_utf8_lossy(data));
    let _ = resolvers.candidates("a.b");
}

fn read_answer(message: &[u8]) -> Answer {
    let (Some(flags), Some(code)) = (message.get(2), message.get(3).map(|flags| flags & 15)) else {
        return Answer::Failure;
    };
    match code {
        0 if flags & 2 != 0 => Answer::Truncated,
        0 => records(message).map_or(Answer::Failure, Answer::Addresses),
        // There is no such name.
        3 => Answer::Addresses(Vec::new()),
        _ => Answer::Failure,
    }
}

/// The addresses of an answer. The server has followed aliases: theirs are among them.
fn records(message: &[u8]) -> Option<Vec<IpAddr>> {
    let number = |at: usize| message.get(at..at + 2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut at = 12;
    for _ in 0..number(4)? {
        at = after_name(message, at)? + 4;
    }
    let mut addresses = Vec::new();
    for _ in 0..number(6)? {
        at = after_name(message, at)?;
        let (kind, class, length) = (number(at)?, number(at + 2)?, usize::from(number(at + 8)?));
        let data = message.get(at + 10..at + 10 + length)?;
        match (class, kind) {
            (1, A) => addresses.extend(<[u8; 4]>::try_from(data).map(IpAddr::from)),
            (1, AAAA) => addresses.extend(<[u8; 16]>::try_from(data).map(IpAddr::from)),
            _ => {}
        }
        at += 10 + length;
    }
    Some(addresses)
}

/// Where a name ends; what a pointer points to does not matter for that.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + length,
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_are_read_as_resolv_conf_5_says() {
        let text = "# x\nnameserver 10.0.0.1\nnameserver\tfe80::1%eth0\nnameserver nonsense\nsearch a.lan b.lan.\n\
                    options ndots:2 timeout:1 attempts:9\n";
        let resolvers = Resolvers::read(text);
        assert_eq!(resolvers.servers, ["10.0.0.1".parse::<IpAddr>().unwrap(), "fe80::1".parse().unwrap()]);
        assert_eq!((resolvers.patience, resolvers.attempts), (Duration::from_secs(1), 5));
        assert_eq!(resolvers.candidates("r.x"), ["r.x.a.lan", "r.x.b.lan", "r.x"]);
        assert_eq!(resolvers.candidates("r.x.y"), ["r.x.y", "r.x.y.a.lan", "r.x.y.b.lan"]);
        assert_eq!(resolvers.candidates("r."), ["r"]);
        assert_eq!(Resolvers::read("").servers, [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        let hosts = "127.0.0.1 localhost # r.lan\n10.0.0.2 R.lan other\n::2 r.lan\n";
        assert_eq!(from_hosts(hosts, "r.lan"), ["10.0.0.2".parse::<IpAddr>().unwrap(), "::2".parse().unwrap()]);
        assert_eq!(encode("a..b"), None);
        assert_eq!(encode(&"a.".repeat(200)), None);
    }

    #[test]
    fn a_server_is_asked_and_no_other_message_believed() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            for _ in 0..2 {
                let (count, from) = server.recv_from(&mut buffer).unwrap();
                let question = buffer[..count].to_vec();
                let mut answer = question.clone();
                answer[2] = 0x81;
                answer[7] = 2;
                // An alias, then the address of what it stands for.
                answer.extend_from_slice(&[0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 9, 0, 2, 0xc0, 12]);
                let data: &[u8] = if question[count - 3] == 28 { &[0; 16] } else { &[10, 1, 2, 3] };
                answer.extend_from_slice(&[0xc0, 12, 0, question[count - 3], 0, 1, 0, 0, 0, 9, 0, data.len() as u8]);
                answer.extend_from_slice(data);
                let mut forged = answer.clone();
                forged[0] ^= 1;
                server.send_to(&forged, from).unwrap();
                server.send_to(&answer, from).unwrap();
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let names = Names { hosts: dir.path().join("hosts"), resolv_conf: dir.path().join("resolv"), port };
        std::fs::write(&names.resolv_conf, "nameserver 127.0.0.1\n").unwrap();
        let found = names.addresses("r.lan", Instant::now() + Duration::from_secs(60)).unwrap();
        assert_eq!(found, ["10.1.2.3".parse::<IpAddr>().unwrap(), "::".parse().unwrap()]);
        served.join().unwrap();
    }

    #[test]
    fn a_server_that_does_not_answer_is_not_waited_for_beyond_the_bound() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let port = silent.local_addr().unwrap().port();
        let names = Names { hosts: dir.path().join("hosts"), resolv_conf: dir.path().join("resolv"), port };
        std::fs::write(&names.resolv_conf, "nameserver 127.0.0.1\n").unwrap();
        let error = names.addresses("r.lan", Instant::now() + Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, Error::Timeout(Timeout::Resolve)), "{error}");
    }

    proptest::proptest! {
        #[test]
        fn no_message_is_too_strange(message in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            read_answer(&message);
        }
    }
}
