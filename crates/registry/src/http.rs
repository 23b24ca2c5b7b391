//! Requests over HTTP/1.1: agents by host, time-outs, and why a request failed.

use std::collections::HashMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use carrack_diag::{Diagnostic, Result};
use carrack_http::{Names, Pace, is_loopback};
use ureq::http::{HeaderMap, Method, Uri};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Proxy, SendBody};

use crate::codes;
use crate::settings::{Settings, wrong};

/// Largest manifest, configuration or token answer, in bytes (distribution-spec "Pushing Manifests" recommends it).
pub(crate) const SMALL_LIMIT: u64 = 4 << 20;

/// Where requests go: an agent, with its connections, for each `scheme://host:port` and the registry whose settings hold
/// for it, if any.
pub(crate) struct Http {
    pub(crate) settings: Settings,
    agents: Mutex<HashMap<(String, Option<String>), Agent>>,
    authorities: OnceLock<Vec<Certificate<'static>>>,
}

/// A request, ready to be sent any number of times.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) url: String,
    /// The registry's host as in images' names: whose certificates and settings count.
    pub(crate) host: String,
    pub(crate) headers: Vec<(&'static str, String)>,
}

/// What is sent with a request.
pub(crate) enum Content<'a> {
    Nothing,
    Bytes(&'a [u8]),
    /// Exactly so many bytes.
    Stream(&'a mut dyn Read, u64),
    /// As many bytes as come.
    Chunked(&'a mut dyn Read),
}

pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ureq::Body,
    /// Where it came from after redirections.
    pub(crate) url: String,
    pub(crate) pace: Pace,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The connection was there and broke, or nothing came for too long: worth another try.
    Cut(String),
    /// No use in trying again.
    Final(Box<Diagnostic>),
}

impl From<Box<Diagnostic>> for Fault {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        Self::Final(diagnostic)
    }
}

impl Request {
    pub(crate) fn new(method: Method, url: impl Into<String>, host: &str) -> Self {
        Self { method, url: url.into(), host: host.to_owned(), headers: Vec::new() }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The whole of a small body.
    pub(crate) fn small(mut self, what: &str) -> Result<Vec<u8>, Fault> {
        let mut bytes = Vec::new();
        let mut body = self.body.into_with_config().limit(u64::MAX).reader().take(SMALL_LIMIT + 1);
        let mut piece = vec![0; 16 << 10];
        loop {
            let count = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Fault::Cut(error.to_string())),
            };
            bytes.extend_from_slice(&piece[..count]);
            self.pace.keep(count).map_err(Fault::Cut)?;
        }
        if bytes.len() as u64 > SMALL_LIMIT {
            let message = format!("{what} from {} is larger than {} MiB", without_query(&self.url), SMALL_LIMIT >> 20);
            return Err(Diagnostic::error(&codes::TOO_LARGE, message).boxed().into());
        }
        Ok(bytes)
    }

    /// The body as it arrives, and whether it comes fast enough.
    pub(crate) fn stream(self) -> (impl Read, Pace) {
        (self.body.into_with_config().limit(u64::MAX).reader(), self.pace)
    }
}

impl Http {
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings, agents: Mutex::new(HashMap::new()), authorities: OnceLock::new() }
    }

    /// Sends a request once, following no redirection. Any status is an answer.
    pub(crate) fn send(&self, request: &Request, content: Content<'_>) -> Result<Response, Fault> {
        let agent = self.agent(&request.url, &request.host)?;
        let mut builder = ureq::http::Request::builder().method(request.method.clone()).uri(&request.url);
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let malformed = |error: ureq::http::Error| {
            Fault::Final(protocol(&request.url, format!("the address or a header is malformed: {error}")))
        };
        let answer = match content {
            Content::Nothing if matches!(request.method, Method::GET | Method::HEAD) => {
                agent.run(builder.body(()).map_err(malformed)?)
            }
            Content::Nothing => agent.run(builder.body(&[][..]).map_err(malformed)?),
            Content::Bytes(bytes) => agent.run(builder.body(bytes).map_err(malformed)?),
            Content::Stream(stream, size_bytes) => {
                let builder = builder.header("content-length", size_bytes.to_string());
                agent.run(builder.body(SendBody::from_reader(stream)).map_err(malformed)?)
            }
            Content::Chunked(stream) => {
                let builder = builder.header("transfer-encoding", "chunked");
                agent.run(builder.body(SendBody::from_reader(stream)).map_err(malformed)?)
            }
        };
        let response = answer.map_err(|error| self.fault(request, error))?;
        let (parts, body) = response.into_parts();
        let (status, pace) = (parts.status.as_u16(), Pace::new(self.settings.idle_timeout));
        Ok(Response { status, headers: parts.headers, body, url: request.url.clone(), pace })
    }

    fn agent(&self, url: &str, host: &str) -> Result<Agent, Fault> {
        let uri: Uri = url.parse().map_err(|_| protocol(url, "it is not an address".into()))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(protocol(url, "it has no host".into()).into());
        };
        if authority.as_str().contains('@') {
            return Err(protocol(&without_query(url), "it carries a user name".into()).into());
        }
        // What is said of a registry holds for no other host that it redirects to.
        let own = authority.as_str() == host || host == "docker.io";
        let key = (format!("{scheme}://{authority}"), own.then(|| host.to_owned()));
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        let tls = if scheme == "https" { Some(self.tls(authority.as_str(), host, own)?) } else { None };
        let proxy = self.settings.proxies.of_address(scheme, authority.host(), port);
        let proxy = proxy.map(|address| proxy_of(scheme, address)).transpose()?;
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("carrack/", env!("CARGO_PKG_VERSION")))
            .accept_encoding("identity")
            .proxy(proxy)
            .timeout_resolve(Some(self.settings.connect_timeout))
            .timeout_connect(Some(self.settings.connect_timeout))
            .timeout_per_read(Some(self.settings.idle_timeout))
            .timeout_per_write(Some(self.settings.idle_timeout))
            .timeout_send_request(Some(self.settings.idle_timeout))
            .timeout_recv_response(Some(self.settings.idle_timeout * 5))
            .input_buffer_size(128 << 10)
            .output_buffer_size(128 << 10)
            .max_idle_connections_per_host(8);
        if let Some(tls) = tls {
            config = config.tls_config(tls);
        }
        let agent = Agent::with_parts(config.build(), DefaultConnector::default(), Names::default());
        agents.insert(key, agent.clone());
        Ok(agent)
    }

    fn tls(&self, authority: &str, host: &str, own: bool) -> Result<TlsConfig> {
        let registry = if own { self.settings.registry(host) } else { Default::default() };
        let mut trusted = self.system_authorities()?.to_vec();
        if let Some(path) = &registry.certificate_authority {
            trusted.extend(certificates(path)?);
        }
        let mut client = None;
        for folder in &self.settings.certificate_folders {
            let folder = folder.join(authority);
            let Ok(entries) = std::fs::read_dir(&folder) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                match path.extension().and_then(|extension| extension.to_str()) {
                    Some("crt") => trusted.extend(certificates(&path)?),
                    Some("cert") => {
                        let key = path.with_extension("key");
                        let pem = std::fs::read(&key).map_err(|error| wrong(&key, error))?;
                        let key = PrivateKey::from_pem(&pem).map_err(|error| wrong(&key, error))?;
                        client = Some(ClientCert::new_with_certs(&certificates(&path)?, key));
                    }
                    _ => {}
                }
            }
        }
        Ok(TlsConfig::builder()
            .root_certs(RootCerts::new_with_certs(&trusted))
            .client_cert(client)
            .disable_verification(registry.insecure)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build())
    }

    fn system_authorities(&self) -> Result<&[Certificate<'static>]> {
        if let Some(known) = self.authorities.get() {
            return Ok(known);
        }
        let bundle = self.settings.bundles.iter().find(|path| path.exists());
        let found = bundle.map(|path| certificates(path)).transpose()?.unwrap_or_default();
        Ok(self.authorities.get_or_init(|| found))
    }

    fn fault(&self, request: &Request, error: ureq::Error) -> Fault {
        let at = without_query(&request.url);
        let uri: Option<Uri> = at.parse().ok();
        let host = uri.as_ref().and_then(Uri::authority).map_or(request.host.as_str(), |authority| authority.as_str());
        let unreachable = |reason: String| {
            let diagnostic = Diagnostic::error(&codes::UNREACHABLE, format!("can't reach the registry {host}"));
            Fault::Final(diagnostic.cause(reason).hint(self.advice(host)).boxed())
        };
        match error {
            ureq::Error::HostNotFound => {
                let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
                let diagnostic =
                    Diagnostic::error(&codes::UNKNOWN_HOST, format!("the registry's host `{name}` is not known"))
                        .cause("the name server has no address for it, or there is no way to a name server")
                        .hint(match is_loopback(name) || name.contains('.') {
                            true => "check the spelling and the machine's network".to_owned(),
                            false => format!("the first part of the name, `{name}`, was taken for a host"),
                        });
                Fault::Final(diagnostic.boxed())
            }
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                unreachable(format!("no connection within {} s", self.settings.connect_timeout.as_secs()))
            }
            ureq::Error::Timeout(_) => {
                Fault::Cut(format!("{at}: nothing came for {} s", self.settings.idle_timeout.as_secs()))
            }
            ureq::Error::ConnectProxyFailed(reason) => unreachable(format!("the proxy refused: {reason}")),
            ureq::Error::ConnectionFailed => unreachable("no connection came about".into()),
            ureq::Error::Tls(reason) => tls_fault(host, reason),
            ureq::Error::Rustls(error) => tls_fault(host, &error.to_string()),
            ureq::Error::Pem(error) => tls_fault(host, &format!("a certificate is malformed: {error:?}")),
            ureq::Error::Io(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(error) => tls_fault(host, &error.to_string()),
                None => match error.kind() {
                    io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
                    | io::ErrorKind::AddrNotAvailable
                    | io::ErrorKind::PermissionDenied => unreachable(error.to_string()),
                    _ => Fault::Cut(format!("{at}: {error}")),
                },
            },
            ureq::Error::BodyExceedsLimit(_) => {
                Fault::Cut(format!("{at}: the body is not as long as it was said to be"))
            }
            error => Fault::Final(protocol(&at, error.to_string())),
        }
    }

    fn advice(&self, host: &str) -> String {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        match is_loopback(name) {
            true => "start a registry there, or correct the port".into(),
            false => "check the host, the port and HTTPS_PROXY, HTTP_PROXY, NO_PROXY".into(),
        }
    }
}

fn tls_fault(host: &str, reason: &str) -> Fault {
    let mut diagnostic =
        Diagnostic::error(&codes::TLS, format!("no trusted TLS connection with the registry {host}")).cause(reason);
    diagnostic = if reason.contains("UnknownIssuer") || reason.contains("CaUsedAsEndEntity") {
        diagnostic.hint(format!("put its authority's certificate into /etc/docker/certs.d/{host}/ca.crt"))
    } else if reason.contains("InvalidContentType") || reason.contains("corrupt message") {
        diagnostic.hint(format!(
            "it seems to speak plain HTTP: if that is meant, write `insecure = true` under [registry.\"{host}\"] in \
             /etc/carrack/registries.toml"
        ))
    } else {
        diagnostic
    };
    Fault::Final(diagnostic.boxed())
}

/// An answer that can't be used.
pub(crate) fn protocol(url: &str, reason: String) -> Box<Diagnostic> {
    Diagnostic::error(&codes::PROTOCOL, format!("the answer of {} can't be used", without_query(url)))
        .cause(reason)
        .boxed()
}

/// Signed addresses carry secrets in their query.
pub(crate) fn without_query(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or(url).to_owned()
}

fn certificates(path: &Path) -> Result<Vec<Certificate<'static>>> {
    carrack_http::certificates(path).map_err(|error| wrong(path, error))
}

fn proxy_of(scheme: &str, address: &str) -> Result<Proxy> {
    carrack_http::proxy(address).map_err(|reason| {
        let message = format!("the proxy of {}_PROXY can't be used", scheme.to_ascii_uppercase());
        Diagnostic::error(&codes::SETTINGS, message).cause(reason).boxed()
    })
}

/// How long to wait before a further try: doubled each time, a quarter more or less so that many clients do not come at
/// once.
pub(crate) fn pause(first: Duration, attempt: u32) -> Duration {
    let nanoseconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    first * 2_u32.pow(attempt.min(6)) * (75 + nanoseconds % 50) / 100
}

/// Lets a busy registry be.
pub(crate) fn wait(duration: Duration) {
    std::thread::sleep(duration);
}
