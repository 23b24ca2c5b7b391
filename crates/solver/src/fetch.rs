//! Files behind addresses: fetched once, and afterwards only where the server says that they have changed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use carrack_attestation::Material;
use carrack_diag::{Diagnostic, Result};
use carrack_http::{Names, Pace, Proxies};
use carrack_llb::HttpAddress;
use carrack_oci::{Digest, Hasher};
use carrack_store::Store;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body};

use crate::authorization::{self, Secrets};
use crate::codes;
use crate::mounts::ignore_missing;

/// Larger than anything that is sensibly added to an image, in bytes.
const SIZE_LIMIT_BYTES: u64 = 16 << 30;
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// Without a byte for this long, the server is taken for dead.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
const WHOLE_LIMIT: Duration = Duration::from_secs(4 * 60 * 60);
const REDIRECTS_MAX: u32 = 10;
/// How often a fetch looks whether the build is over.
const LOOK: Duration = Duration::from_millis(100);

/// What is known of an address that was fetched.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The address, for people.
    url: String,
    etag: Option<String>,
    last_modified: Option<String>,
    digest: Digest,
}

/// Puts the file behind an address into `folder`, under the address's name. Its time is that of its last change as far as
/// the server tells, its mode 0600. Gives its digest.
pub(crate) fn fetch(
    store: &Store,
    address: &HttpAddress,
    secrets: &Secrets,
    folder: &Path,
    cancel: &AtomicBool,
) -> Result<Digest> {
    let authorization = authorization::of_file(secrets, &address.url)?;
    let kept = Kept::open(store, &address.url).map_err(|error| failed(address, &error.to_string()))?;
    let known = kept.record();
    let is_known = known.as_ref().is_some_and(|known| address.checksum.is_none_or(|wanted| wanted == known.digest));
    // What its digest names cannot have changed.
    if !(is_known && address.checksum.is_some()) {
        // What was not taken is of no use to the next fetch, which begins anew.
        kept.refresh((address, authorization), known.filter(|_| is_known), cancel).inspect_err(|_| {
            let _ = fs::remove_file(&kept.fresh);
        })?;
    }
    kept.give(&folder.join(&address.name)).map_err(|error| failed(address, &error.to_string()))?;
    kept.record().map(|record| record.digest).ok_or_else(|| failed(address, "what was fetched is gone"))
}

/// A fetched file as others know it.
pub(crate) fn material(address: &HttpAddress, digest: &Digest) -> Material {
    Material { uri: shown(&address.url), digest: ("sha256".to_owned(), digest.hex()) }
}

/// A file that was fetched and is kept.
pub(crate) struct Fetched {
    /// 64 hexadecimal digits.
    pub(crate) name: String,
    pub(crate) url: String,
    /// When it was last fetched or asked for.
    pub(crate) used: SystemTime,
    pub(crate) size_bytes: u64,
    pub(crate) is_in_use: bool,
}

pub(crate) fn folder(store: &Store) -> PathBuf {
    store.roots().data.join("build/fetched")
}

/// What is kept. Writes nothing (I-5).
pub(crate) fn kept(store: &Store) -> io::Result<Vec<Fetched>> {
    let entries = match fs::read_dir(folder(store)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut kept = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != "lock") {
            continue;
        }
        let files = ["json", "file", "new"].map(|ending| fs::symlink_metadata(path.with_extension(ending)).ok());
        let Some(used) = files.iter().flatten().filter_map(|found| found.modified().ok()).max() else { continue };
        let record = fs::read(path.with_extension("json")).ok();
        let record = record.and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok());
        kept.push(Fetched {
            name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            url: record.map_or_else(|| "a file that was being fetched".to_owned(), |record| record.url),
            used,
            size_bytes: files.iter().flatten().map(fs::Metadata::len).sum(),
            is_in_use: rustix::fs::flock(&File::open(&path)?, FlockOperation::NonBlockingLockExclusive).is_err(),
        });
    }
    Ok(kept)
}

/// Forgets what was fetched, unless somebody is looking at it. The files of running builds have names of their own.
/// Whether it is gone.
pub(crate) fn forget(store: &Store, name: &str) -> io::Result<bool> {
    let path = folder(store).join(format!("{name}.lock"));
    if rustix::fs::flock(&File::open(&path)?, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Ok(false);
    }
    // The lock itself stays: who waits for it must not hold another than who comes later.
    for ending in ["json", "file", "new"] {
        fs::remove_file(path.with_extension(ending)).or_else(ignore_missing)?;
    }
    Ok(true)
}

/// The copy of one address on the data root, held while it is looked at.
struct Kept {
    file: PathBuf,
    record: PathBuf,
    fresh: PathBuf,
    _lock: File,
}

impl Kept {
    fn open(store: &Store, url: &str) -> io::Result<Self> {
        let folder = folder(store);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let key = Digest::of(url).hex();
        let lock = File::options().create(true).append(true).open(folder.join(format!("{key}.lock")))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        let path = |ending: &str| folder.join(format!("{key}.{ending}"));
        Ok(Self { file: path("file"), record: path("json"), fresh: path("new"), _lock: lock })
    }

    /// What was fetched before, where it is still there.
    fn record(&self) -> Option<Record> {
        let record = serde_json::from_slice(&fs::read(&self.record).ok()?).ok()?;
        self.file.is_file().then_some(record)
    }

    /// Asks the server, and takes what is new.
    fn refresh(
        &self,
        (address, authorization): (&HttpAddress, Option<String>),
        known: Option<Record>,
        cancel: &AtomicBool,
    ) -> Result<()> {
        let is_abandoned = Arc::new(AtomicBool::new(false));
        let (sender, receiver) = channel();
        let job = (address.clone(), authorization, self.fresh.clone(), is_abandoned.clone());
        // A thread of its own, so that an interrupted build does not wait for a silent server.
        std::thread::spawn(move || {
            let (address, authorization, path, is_abandoned) = job;
            // Nobody listens any more once the build is over.
            let _ = sender.send(download((&address, authorization), known.as_ref(), &path, &is_abandoned));
        });
        let answer = loop {
            match receiver.recv_timeout(LOOK) {
                Ok(answer) => break answer?,
                Err(RecvTimeoutError::Timeout) if cancel.load(Ordering::SeqCst) => {
                    is_abandoned.store(true, Ordering::SeqCst);
                    return Err(Diagnostic::error(&codes::CANCELLED, "the build was cancelled").boxed());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(failed(address, "the fetch ended unexpectedly")),
            }
        };
        let Some(record) = answer else { return Ok(()) };
        let digest = record.digest;
        if let Some(wanted) = address.checksum.filter(|wanted| *wanted != digest) {
            let message = format!("what came from {} is not what --checksum says", shown(&address.url));
            return Err(Diagnostic::error(&codes::CHECKSUM, message)
                .cause(format!("it is {digest}, and {wanted} is wanted"))
                .hint("find out who changed it; write the new digest only if that was meant")
                .boxed());
        }
        let keep = || -> io::Result<()> {
            // The record goes first and comes last, and after a power failure too it never speaks of another file.
            match fs::remove_file(&self.record) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            File::open(&self.fresh)?.sync_all()?;
            fs::rename(&self.fresh, &self.file)?;
            fs::write(&self.record, serde_json::to_vec(&record)?)
        };
        keep().map_err(|error| failed(address, &error.to_string()))
    }

    /// Another name for the file, or a copy where there can be none.
    fn give(&self, path: &Path) -> io::Result<()> {
        if fs::hard_link(&self.file, path).is_ok() {
            return Ok(());
        }
        fs::copy(&self.file, path)?;
        File::open(path)?.set_modified(fs::metadata(&self.file)?.modified()?)
    }
}

/// Asks for the file and writes it to `path`; none where the server says that what is known still holds.
fn download(
    (address, authorization): (&HttpAddress, Option<String>),
    known: Option<&Record>,
    path: &Path,
    is_abandoned: &AtomicBool,
) -> Result<Option<Record>> {
    let etag = known.and_then(|known| known.etag.as_ref()).map(|etag| ("if-none-match", etag));
    let time = known.and_then(|known| known.last_modified.as_ref()).map(|time| ("if-modified-since", time));
    let headers: Vec<_> = etag.or(time).into_iter().collect();
    let response = ask((address, authorization.as_ref()), &headers)?;
    let status = response.status();
    if status.as_u16() == 304 && known.is_some() {
        return Ok(None);
    }
    if !status.is_success() {
        return Err(failed(address, &format!("the server answered {status}")));
    }
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::to_owned);
    let (etag, last_modified) = (header("etag"), header("last-modified"));
    let said_bytes = header("content-length").and_then(|length| length.parse::<u64>().ok());
    if said_bytes.is_some_and(|size_bytes| size_bytes > SIZE_LIMIT_BYTES) {
        return Err(too_large(address));
    }
    let body = response.into_body().into_with_config().limit(u64::MAX).reader();
    let (digest, size_bytes) = write(body, path, is_abandoned).map_err(|error| failed(address, &error.to_string()))?;
    if size_bytes > SIZE_LIMIT_BYTES {
        return Err(too_large(address));
    }
    // Without a time a file gets the epoch, so that the same content gives the same layer (as BuildKit does it).
    let time = last_modified.as_deref().and_then(http_date).unwrap_or(SystemTime::UNIX_EPOCH);
    File::open(path).and_then(|file| file.set_modified(time)).map_err(|error| failed(address, &error.to_string()))?;
    Ok(Some(Record { url: shown(&address.url), etag, last_modified, digest }))
}

fn write(body: impl Read, path: &Path, is_abandoned: &AtomicBool) -> io::Result<(Digest, u64)> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if is_abandoned.load(Ordering::SeqCst) {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    let mut out = Hasher::new(file);
    let mut body = body.take(SIZE_LIMIT_BYTES + 1);
    let mut buffer = vec![0; 1 << 17];
    let mut size_bytes = 0;
    let mut pace = Pace::new(IDLE_LIMIT);
    loop {
        if is_abandoned.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        match body.read(&mut buffer)? {
            0 => return Ok((out.finish().1, size_bytes)),
            length => {
                out.write_all(&buffer[..length])?;
                size_bytes += length as u64;
                pace.keep(length).map_err(io::Error::other)?;
            }
        }
    }
}

/// The answer of the server, or of where it redirects to: the way there goes by the scheme and host of each. Only the
/// server itself is told who asks.
fn ask(
    (address, authorization): (&HttpAddress, Option<&String>),
    headers: &[(&str, &String)],
) -> Result<Response<Body>> {
    let mut url = address.url.clone();
    for _ in 0..=REDIRECTS_MAX {
        let agent = agent(&url).map_err(|reason| failed(address, &reason))?;
        let own = authorization.filter(|_| authorization::origin(&url) == authorization::origin(&address.url));
        let own = own.map(|authorization| ("authorization", authorization));
        let all = headers.iter().copied().chain(own);
        let request = all.fold(agent.get(&url), |request, (name, value)| request.header(name, value));
        let response = request.call().map_err(|error| failed(address, &error.to_string()))?;
        if !matches!(response.status().as_u16(), 301..=303 | 307 | 308) {
            return Ok(response);
        }
        let location = response.headers().get("location").and_then(|location| location.to_str().ok());
        let location = location.and_then(|location| carrack_http::absolute(&url, location));
        url = location.ok_or_else(|| failed(address, "the server redirects to nowhere"))?;
    }
    Err(failed(address, &format!("more than {REDIRECTS_MAX} redirections")))
}

/// One for the process and each proxy, with its connections.
fn agent(url: &str) -> Result<Agent, String> {
    static AGENTS: Mutex<BTreeMap<Option<String>, Agent>> = Mutex::new(BTreeMap::new());
    let uri: Uri = url.parse().map_err(|_| format!("{} is no address", shown(url)))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    let proxies = Proxies::of_environment();
    let proxy = proxies.of_address(scheme, uri.host().unwrap_or_default(), port);
    let mut agents = AGENTS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = proxy.map(str::to_owned);
    if let Some(agent) = agents.get(&key) {
        return Ok(agent.clone());
    }
    let variable = || format!("{}_PROXY", scheme.to_ascii_uppercase());
    let proxy = proxy
        .map(carrack_http::proxy)
        .transpose()
        .map_err(|reason| format!("the proxy of {} can't be used: {reason}", variable()))?;
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&authorities()?))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(concat!("carrack/", env!("CARGO_PKG_VERSION")))
        // What is asked for is the file, not what it can be squeezed into on the way.
        .accept_encoding("identity")
        .proxy(proxy)
        .timeout_global(Some(WHOLE_LIMIT))
        .timeout_resolve(Some(CONNECT_LIMIT))
        .timeout_connect(Some(CONNECT_LIMIT))
        .timeout_per_read(Some(IDLE_LIMIT))
        .timeout_recv_response(Some(IDLE_LIMIT))
        .input_buffer_size(128 << 10)
        .tls_config(tls);
    let agent = Agent::with_parts(config.build(), DefaultConnector::default(), Names::default());
    agents.insert(key, agent.clone());
    Ok(agent)
}

/// The system's, or those that SSL_CERT_FILE names. Without any, https fails and says so; http needs none.
fn authorities() -> Result<Vec<Certificate<'static>>, String> {
    let Some(path) = carrack_http::system_bundles().into_iter().find(|path| path.exists()) else {
        return Ok(Vec::new());
    };
    carrack_http::certificates(&path)
        .map_err(|error| format!("the certificates of {} can't be read: {error}", path.display()))
}

/// The one form of a date that servers may write today (RFC 9110, 5.6.7).
fn http_date(text: &str) -> Option<SystemTime> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    Some(SystemTime::from(time))
}

/// An address without what may be a secret in it.
fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or(url);
    match plain.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) =
                rest.split_once('/').map_or((rest, String::new()), |(host, path)| (host, format!("/{path}")));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}{path}")
        }
        None => plain.to_owned(),
    }
}

fn failed(address: &HttpAddress, reason: &str) -> Box<Diagnostic> {
    Diagnostic::error(&codes::FETCH_FAILED, format!("cannot fetch {}", shown(&address.url)))
        .cause(reason)
        .hint("check the address and the machine's network; proxies are taken from HTTP_PROXY, HTTPS_PROXY, NO_PROXY")
        .boxed()
}

fn too_large(address: &HttpAddress) -> Box<Diagnostic> {
    failed(address, &format!("it is larger than {} GiB", SIZE_LIMIT_BYTES >> 30))
}
