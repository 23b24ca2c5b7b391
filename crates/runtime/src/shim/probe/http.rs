//! One page asked for over HTTP/1.1 (RFC 9112), as much as a probe needs of it.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use carrack_oci::probe::HttpProbe;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use super::own::{Connection, Failure};

/// A head of an answer that is longer is none.
const HEAD_MAX_BYTES: usize = 64 << 10;
/// What is shown of the body of a bad answer.
const BODY_SHOWN_BYTES: usize = 2048;

/// The head of an answer, and the beginning of its body.
#[derive(Debug)]
struct Answer {
    status: u16,
    reason: String,
    location: Option<String>,
    body: Vec<u8>,
}

pub(super) fn ask(probe: &HttpProbe, deadline: Instant) -> Result<String, Failure> {
    let mut path = probe.path.clone();
    let mut redirects = probe.redirects;
    loop {
        let connection = Connection::open(&probe.target, deadline)?;
        let answer = if probe.tls {
            exchange(&mut secured(connection, &probe.host)?, &path, &probe.host)?
        } else {
            exchange(&mut { connection }, &path, &probe.host)?
        };
        let scheme = if probe.tls { "https" } else { "http" };
        let next = answer.location.as_deref().and_then(|location| same_server(location, scheme, &probe.host));
        if let Some(next) = next.filter(|_| (300..400).contains(&answer.status) && redirects > 0) {
            redirects -= 1;
            path = next;
            continue;
        }
        let line = format!("GET {scheme}://{}{path}: {} {}", probe.host, answer.status, answer.reason);
        let line = line.trim_end();
        let good = probe.statuses.iter().any(|(first, last)| (*first..=*last).contains(&answer.status));
        if good {
            return Ok(line.to_owned());
        }
        let body = answer.body.get(..BODY_SHOWN_BYTES.min(answer.body.len())).unwrap_or_default();
        return Err(Failure::Said(format!("{line}\n{}", String::from_utf8_lossy(body)).trim_end().to_owned()));
    }
}

/// The path of a redirect that stays on the server; nothing else is followed.
fn same_server(location: &str, scheme: &str, host: &str) -> Option<String> {
    let path = match location.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://")) {
        Some(rest) => rest.strip_prefix(host)?,
        None => location,
    };
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.is_empty() { "/" } else { path };
    let ours = path.starts_with('/') && !path.starts_with("//") && path.bytes().all(|byte| byte.is_ascii_graphic());
    ours.then(|| path.to_owned())
}

fn exchange(stream: &mut (impl Read + Write), path: &str, host: &str) -> Result<Answer, Failure> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: carrack\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(Failure::at("sending the request"))?;
    stream.flush().map_err(Failure::at("sending the request"))?;
    let mut bytes = Vec::new();
    let mut answer = loop {
        if let Some((answer, length)) = head(&bytes)? {
            bytes.drain(..length);
            // Interim answers precede the real one.
            if (100..200).contains(&answer.status) && answer.status != 101 {
                continue;
            }
            break answer;
        }
        if bytes.len() > HEAD_MAX_BYTES {
            return Err(Failure::Said("the head of the answer does not end".into()));
        }
        if read_some(stream, &mut bytes).map_err(Failure::at("reading the answer"))? == 0 {
            return Err(Failure::Said("reading the answer: the connection ended".into()));
        }
    };
    // What the answer says of itself is a bonus: its status is the verdict.
    while answer.status >= 400 && bytes.len() < BODY_SHOWN_BYTES && read_some(stream, &mut bytes).is_ok_and(|n| n > 0) {
    }
    answer.body = bytes;
    Ok(answer)
}

fn read_some(stream: &mut impl Read, bytes: &mut Vec<u8>) -> std::io::Result<usize> {
    let mut buffer = [0; 4096];
    let length = stream.read(&mut buffer)?;
    bytes.extend(buffer.iter().take(length));
    Ok(length)
}

/// What is kept is bounded, and a redirect that is followed leads to this server.
#[cfg(any(test, fuzzing))]
pub(super) fn fuzz(data: &[u8]) {
    let mut server = crate::shim::fuzzing::Answering { bytes: data, told: 0 };
    let Ok(answer) = exchange(&mut server, "/", "localhost") else { return };
    assert!((0..1000).contains(&answer.status));
    assert!(answer.body.len() <= HEAD_MAX_BYTES + 4096);
    if let Some(path) = answer.location.as_deref().and_then(|location| same_server(location, "http", "localhost:80")) {
        assert!(path.starts_with('/') && !path.starts_with("//") && !path.contains(['\r', '\n', ' ']));
    }
}

/// The head with its length, where it is there as a whole.
fn head(bytes: &[u8]) -> Result<Option<(Answer, usize)>, Failure> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let malformed = || Failure::Said(format!("no answer of HTTP: {}", first.chars().take(80).collect::<String>()));
    let (version, rest) = first.split_once(' ').ok_or_else(malformed)?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let status = status.parse().ok().filter(|_| version.starts_with("HTTP/1.") && status.len() == 3);
    let location =
        lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("location"));
    let answer = Answer {
        status: status.ok_or_else(malformed)?,
        reason: reason.to_owned(),
        location: location.map(|(_, value)| value.trim().to_owned()),
        body: Vec::new(),
    };
    Ok(Some((answer, end + 4)))
}

fn secured(connection: Connection, host: &str) -> Result<StreamOwned<ClientConnection, Connection>, Failure> {
    let said = |error: rustls::Error| Failure::Said(format!("TLS: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(said)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(name).map_err(|error| Failure::Said(format!("TLS: {error}")))?;
    Ok(StreamOwned::new(ClientConnection::new(Arc::new(config), name).map_err(said)?, connection))
}

/// The container's own server is asked whether it works, and over its own loopback: who it says it is decides nothing.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Duration;

    use carrack_oci::probe::Probe;

    use super::*;

    /// Serves these answers, one a connection, and returns the requests.
    fn served(answers: &'static [&'static str]) -> (u16, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = std::thread::spawn(move || {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    assert_ne!(read_some(&mut stream, &mut request).unwrap(), 0);
                }
                requests.push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).unwrap();
            }
            requests
        });
        (port, server)
    }

    fn probe(text: &str, port: u16) -> HttpProbe {
        let words: Vec<String> = text.replace("PORT", &port.to_string()).split(' ').map(str::to_owned).collect();
        let Ok(Probe::Http(probe)) = Probe::parse(&words) else { panic!("{text}") };
        probe
    }

    fn asked(text: &str, answers: &'static [&'static str]) -> (Result<String, Failure>, Vec<String>) {
        let (port, server) = served(answers);
        let outcome = ask(&probe(text, port), Instant::now() + Duration::from_secs(20));
        (outcome, server.join().unwrap())
    }

    #[test]
    fn the_status_is_the_verdict() {
        let (good, requests) = asked("http://:PORT/ready host=shop.example", &["HTTP/1.1 204 No Content\r\n\r\n"]);
        assert!(good.unwrap().ends_with("/ready: 204 No Content"));
        let lines: Vec<&str> = requests[0].split("\r\n").collect();
        assert_eq!(lines[..2], ["GET /ready HTTP/1.1", "Host: shop.example"]);
        let (bad, _) = asked("http://:PORT/", &["HTTP/1.0 503 Busy\r\nX: y\r\n\r\nno database"]);
        let Err(Failure::Said(said)) = bad else { panic!("{bad:?}") };
        assert!(said.ends_with("503 Busy\nno database"), "{said}");
        let (expected, _) = asked("http://:PORT/ status=401", &["HTTP/1.1 401 No\r\n\r\n"]);
        expected.unwrap();
        let (interim, _) = asked("http://:PORT/", &["HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"]);
        interim.unwrap();
    }

    #[test]
    fn redirects_are_followed_as_far_as_asked_and_never_to_others() {
        const ONCE: &[&str] = &["HTTP/1.1 302 Found\r\nlocation: /login\r\n\r\n", "HTTP/1.1 500 Bad\r\n\r\n"];
        let (followed, requests) = asked("http://:PORT/ redirects=1", ONCE);
        assert!(followed.is_err() && requests[1].starts_with("GET /login "));
        asked("http://:PORT/", &["HTTP/1.1 302 Found\r\nlocation: /login\r\n\r\n"]).0.unwrap();
        let elsewhere = &["HTTP/1.1 302 Found\r\nlocation: http://elsewhere.example/\r\n\r\n"];
        asked("http://:PORT/ redirects=3 status=302", elsewhere).0.unwrap();
    }

    #[test]
    fn what_is_no_http_fails_and_silence_ends_in_time() {
        let (bad, _) = asked("http://:PORT/", &["SSH-2.0-OpenSSH\r\n\r\n"]);
        assert!(matches!(bad, Err(Failure::Said(said)) if said.starts_with("no answer of HTTP: SSH-2.0")));
        let (bad, _) = asked("http://:PORT/", &["HTTP/1.1 200 OK\r\n"]);
        assert!(matches!(bad, Err(Failure::Said(said)) if said.ends_with("the connection ended")));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = probe("http://:PORT/", listener.local_addr().unwrap().port());
        let timed_out = ask(&silent, Instant::now() + Duration::from_millis(50));
        assert!(matches!(timed_out, Err(Failure::TimedOut)));
        drop(listener);
        let refused = ask(&silent, Instant::now() + Duration::from_secs(20));
        assert!(matches!(refused, Err(Failure::Said(said)) if said.starts_with("connecting to 127.0.0.1")));
    }
}
